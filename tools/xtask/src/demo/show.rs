//! The demo itself: calls, progress, and what they came to.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::folder::Folder;
use super::interrupt::Interrupt;
use super::packets::{self, ByPath};
use super::report::{self, Outcome};
use super::scene::Scene;
use super::switch::Switch;
use super::tap::Tap;
use super::{Arguments, sipp};
use crate::build::Binaries;
use crate::process::Process;

/// Between two looks at SIPp; its screens are asked for as often.
const LOOK: Duration = Duration::from_millis(250);
/// A progress line as often at most.
const PROGRESS: Duration = Duration::from_secs(1);
/// Progress lines at most, so that a long demo stays readable.
const PROGRESS_LINES: u32 = 40;
/// What SIPp gets on top of the calls' own time: ringing, retransmissions on a busy machine, its linger.
const SPARE_S: u32 = 40;
/// What the switch gets to end in order.
const STOP: Duration = Duration::from_secs(8);
/// How long the last records may take to the database.
const RECORDS: Duration = Duration::from_secs(20);

/// Runs it and reports.
///
/// # Errors
/// Whatever kept calls from being placed, answered and billed; or when interrupted.
pub(super) fn run(
    arguments: &Arguments,
    binaries: &Binaries,
    folder: &Folder,
    scene: &Scene,
    interrupt: &Interrupt,
) -> Result<()> {
    if let Some(out) = &arguments.out {
        fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    }
    let mut switch = Switch::start(arguments, binaries, folder, scene, interrupt)?;
    switch.check_path(arguments)?;
    let status = switch.status()?;
    let addresses = scene.addresses;
    println!(
        "switch: SIP {}, media {} ({}), folder {}",
        addresses.sip,
        addresses.media,
        status["media"].as_str().unwrap_or("user space"),
        folder.path().display()
    );
    if scene.object().is_some() {
        println!("media path: {}", packets::interfaces(&status));
    }
    println!(
        "calls: {} at {}/s, {} s each, G.711 A-law: SIPp {} -> switch -> SIPp {}, which talks; the caller echoes",
        arguments.calls, arguments.rate, arguments.seconds, addresses.customer, addresses.vendor
    );
    let taps = scene.taps()?;
    let customer = place_calls(arguments, folder, scene, &mut switch, interrupt)?;
    let arrived = taps.map(count_of).transpose()?;
    let totals = all_records(&switch, customer.placed, interrupt)?;
    let out = report::print(&switch, folder, &customer, &totals, arrived)?;
    if let Some(folder) = &arguments.out {
        out.save(folder)?;
        println!("\ncdr.json, summary.json and ladder.txt are in {}", folder.display());
    }
    switch.process.stop(Signal::TERM, STOP);
    verdict(arguments, folder, &customer, &out)
}

/// Packets that arrived at the vendor and at the customer.
fn count_of(taps: [Tap; 2]) -> Result<(u64, u64)> {
    let [customer, vendor] = taps;
    Ok((vendor.finish()?, customer.finish()?))
}

/// Both SIPp from the first call to the last, with progress.
fn place_calls(
    arguments: &Arguments,
    folder: &Folder,
    scene: &Scene,
    switch: &mut Switch,
    interrupt: &Interrupt,
) -> Result<sipp::CustomerCount> {
    let mut vendor = sipp::vendor(arguments, folder, scene)?;
    // It is ready as soon as it has its socket; the first INVITE is sent again should it not be.
    let limit_s = arguments.calls / arguments.rate + arguments.seconds + SPARE_S;
    let mut customer = sipp::customer(arguments, folder, scene, limit_s)?;
    let begun = Instant::now();
    // SIPp ends itself at the limit; this is for a SIPp that does not.
    let deadline = begun + Duration::from_secs(u64::from(limit_s) + 10);
    let mut shown = begun;
    let between = PROGRESS.max(Duration::from_secs(u64::from(limit_s)) / PROGRESS_LINES);
    let status = loop {
        if let Some(status) = customer.ended() {
            break status;
        }
        if interrupt.came() {
            // While both parties still answer its BYEs.
            switch.process.stop(Signal::TERM, STOP);
        }
        interrupt.check()?;
        still_runs("tandemd", &mut switch.process)?;
        if vendor.ended().is_some() {
            bail!("the vendor's SIPp ended early\n{}", sipp::complaints(folder, "vendor"));
        }
        if Instant::now() >= deadline {
            bail!("the customer's SIPp does not end\n{}", sipp::complaints(folder, "customer"));
        }
        if shown.elapsed() >= between {
            shown = Instant::now();
            progress(begun, switch, scene.object().is_some());
        }
        sleep(LOOK);
        // SIPp writes its screens, and with them its packet counts, when asked.
        for sipp in [&mut customer, &mut vendor] {
            if sipp.handles(Signal::USR2) {
                sipp.signal(Signal::USR2);
            }
        }
    };
    vendor.stop(Signal::USR1, Duration::from_secs(1));
    let count = sipp::customer_count(folder);
    // 0: all calls succeeded, 1: some failed (told in the verdict); the rest is SIPp's own trouble.
    if !matches!(status.code(), Some(0 | 1)) || count.is_err() {
        bail!("the customer's SIPp ended with {status}\n{}", sipp::complaints(folder, "customer"));
    }
    count
}

fn still_runs(name: &str, process: &mut Process) -> Result<()> {
    if let Some(status) = process.ended() {
        bail!("{name} ended while calls were on ({status})\n{}", process.tail());
    }
    Ok(())
}

fn progress(begun: Instant, switch: &Switch, kernel: bool) {
    // A question that is not answered in time is no reason to end the demo; the next one tells.
    let Ok(status) = switch.status() else { return };
    let number = |name: &str| status[name].as_u64().unwrap_or(0);
    let sums = ByPath::of_status(&status);
    let by_path =
        if kernel { format!("  kernel {:>7}  user space {:>5}", sums.kernel, sums.user) } else { String::new() };
    println!(
        "{:>5} s  {:>5} live  {:>4} calls/s  {:>6} answered  {:>4} failed  {:>6} packets/s{by_path}",
        begun.elapsed().as_secs(),
        number("calls_setup") + number("calls_ringing") + number("calls_talking"),
        number("cps"),
        number("answered"),
        number("failed"),
        number("media_packets_per_s"),
    );
}

/// The sums, once every call has its record.
fn all_records(switch: &Switch, placed: u64, interrupt: &Interrupt) -> Result<Value> {
    let deadline = Instant::now() + RECORDS;
    loop {
        interrupt.check()?;
        let totals = switch.json(&["cdr", "totals"])?;
        if totals["calls"].as_u64() >= Some(placed) || Instant::now() >= deadline {
            return Ok(totals);
        }
        sleep(LOOK);
    }
}

fn verdict(arguments: &Arguments, folder: &Folder, customer: &sipp::CustomerCount, out: &Outcome) -> Result<()> {
    ensure!(
        customer.placed == u64::from(arguments.calls),
        "SIPp placed {} of {} calls\n{}",
        customer.placed,
        arguments.calls,
        sipp::complaints(folder, "customer")
    );
    ensure!(
        customer.failed == 0,
        "{} of {} calls failed\n{}",
        customer.failed,
        customer.placed,
        sipp::complaints(folder, "customer")
    );
    ensure!(out.records == customer.placed, "{} calls were placed and {} CDRs written", customer.placed, out.records);
    ensure!(out.relayed.0 > 0 && out.relayed.1 > 0, "no audio was relayed in one direction");
    out.account.check()
}
