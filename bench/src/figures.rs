//! Single promised figures: calls a second, recovery from overload, memory per call, growth with concurrent calls.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::common::{Bench, Common, again, cpu_ms_per_call, median, number};
use crate::peers::failures;
use crate::results::Results;
use crate::subject::Kind;

/// Options of `rate`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct RateArguments {
    #[command(flatten)]
    common: Common,
    /// What is measured
    #[arg(long, value_enum, default_value_t = Kind::TandemNomedia)]
    kind: Kind,
    /// Calls per second, each on a fresh start
    #[arg(long, value_delimiter = ',', default_value = "1000,2000,3000,4000,5000")]
    rates: Vec<u32>,
    /// Seconds at each rate
    #[arg(long, default_value_t = 10)]
    seconds: u32,
}

/// `rate`: the highest rate without a failed call and without anything sent again.
///
/// # Errors
/// As all commands here: what is missing, or what a target complained about.
pub(crate) fn rate(arguments: &RateArguments) -> Result<()> {
    let kind = arguments.kind;
    let bench = Bench::open(&arguments.common, &[kind])?;
    let mut results = Results::new("rate", &arguments.common)?;
    results.say(&format!("## {kind}: calls a second on one core, {} s each\n", arguments.seconds));
    results.say("| calls/s | failed | sent again | INVITE-180 p50 / p99 ms | BYE-200 p99 ms | late p99 ms | CPU ms per call | core busy % |");
    results.say("|---|---|---|---|---|---|---|---|");
    let mut clean = 0;
    for rate in &arguments.rates {
        let target = bench.start_warm(kind)?;
        let step = vec![format!("calls:rate={rate},count={}", rate * arguments.seconds)];
        for report in bench.load(&target, &target.ids(), &step)? {
            let busy = number(&report, "watched.cpu_s") / f64::from(arguments.seconds) * 100.0;
            results.say(&format!(
                "| {rate} | {} | {} | {:.2} / {:.2} | {:.2} | {:.2} | {:.3} | {busy:.0} |",
                failures(&report),
                again(&report),
                number(&report, "invite_180_ms.p50"),
                number(&report, "invite_180_ms.p99"),
                number(&report, "bye_200_ms.p99"),
                number(&report, "late_ms.p99"),
                cpu_ms_per_call(&report),
            ));
            if number(&report, "failed") == 0.0 && again(&report) == 0 {
                clean = clean.max(*rate);
            }
            results.row(report);
        }
    }
    results.say(&format!("\n- **clean at {clean} calls/s**: no call failed, nothing was sent again"));
    results.save()
}

/// Options of `overload`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct OverloadArguments {
    #[command(flatten)]
    common: Common,
    /// What is measured
    #[arg(long, value_enum, value_delimiter = ',', default_value = "tandem")]
    kinds: Vec<Kind>,
    /// Calls that talk
    #[arg(long, default_value_t = 500)]
    calls: u32,
    /// Packets per second and direction during the overload; 50 before and after
    #[arg(long, default_value_t = 250)]
    pps: u32,
    /// Busy loops on the target's core for the whole run: the relay gets its share of the core only, and is overloaded by
    /// what the generator can send
    #[arg(long, default_value_t = 0)]
    burners: u32,
}

/// `overload`: four seconds of far too many packets, then ordinary ones: which streams live again within a second?
///
/// # Errors
/// As [`rate`].
pub(crate) fn overload(arguments: &OverloadArguments) -> Result<()> {
    let bench = Bench::open(&arguments.common, &arguments.kinds)?;
    let mut results = Results::new("overload", &arguments.common)?;
    let (calls, pps, burners) = (arguments.calls, arguments.pps, arguments.burners);
    results.say(&format!(
        "## {calls} calls: 2 s at 50, 4 s at {pps}, 5 s at 50 packets/s and direction; {burners} burners\n"
    ));
    results.say("| target | step | sent pps | lost % | p50 / p99 ms | relay CPU s | streams | alive within 1 s | last alive after ms | never |");
    results.say("|---|---|---|---|---|---|---|---|---|---|");
    let steps: Vec<String> = [
        format!("hold:count={calls}"),
        "rtp:seconds=2".into(),
        format!("rtp:seconds=4,pps={pps}"),
        "rtp:seconds=5".into(),
        "release".into(),
    ]
    .into();
    for kind in &arguments.kinds {
        let target = bench.start(*kind)?;
        let _burners = (0..arguments.burners).map(|_| bench.burn(&target)).collect::<Result<Vec<_>>>()?;
        let reports = bench.load(&target, &target.relay_ids(), &steps)?;
        let rtp = reports.into_iter().filter(|report| report["step"] == "rtp");
        for (report, name) in rtp.zip(["before", "overload", "after"]) {
            let lost = number(&report, "rtp.lost") / number(&report, "rtp.sent").max(1.0) * 100.0;
            results.say(&format!(
                "| {kind} | {name} | {} | {lost:.1} | {:.2} / {:.1} | {:.2} | {} | {} | {} | {} |",
                number(&report, "rtp.sent_pps"),
                number(&report, "rtp.relay_us.p50") / 1e3,
                number(&report, "rtp.relay_us.p99") / 1e3,
                number(&report, "watched.cpu_s"),
                report["rtp"]["streams"],
                report["rtp"]["streams_alive_within_1s"],
                report["rtp"]["last_alive_after_ms"],
                report["rtp"]["streams_never_alive"],
            ));
            if name == "after" {
                let (streams, alive) = (number(&report, "rtp.streams"), number(&report, "rtp.streams_alive_within_1s"));
                results.say(&format!(
                    "| {kind} | **{:.1} % alive within 1 s** | | | | | | | | |",
                    alive / streams * 100.0
                ));
            }
            results.row(report);
        }
    }
    results.save()
}

/// Options of `memory`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct MemoryArguments {
    #[command(flatten)]
    common: Common,
    /// What is measured
    #[arg(long, value_enum, value_delimiter = ',', default_value = "tandem")]
    kinds: Vec<Kind>,
    /// Established calls at the first look
    #[arg(long, default_value_t = 2_000)]
    from: u32,
    /// Established calls at the second look
    #[arg(long, default_value_t = 12_000)]
    to: u32,
    /// Calls per second while they are set up
    #[arg(long, default_value_t = 400)]
    rate: u32,
}

/// `memory`: what an established relayed call holds, as the difference between two numbers of calls.
///
/// # Errors
/// As [`rate`].
pub(crate) fn memory(arguments: &MemoryArguments) -> Result<()> {
    let (from, to, rate) = (arguments.from, arguments.to, arguments.rate);
    ensure!(from < to, "--from {from} is not below --to {to}");
    let bench = Bench::open(&arguments.common, &arguments.kinds)?;
    let mut results = Results::new("memory", &arguments.common)?;
    results.say(&format!("## memory of established calls, {from} and {to}, set up at {rate}/s\n"));
    results.say("| target | calls | PSS MiB | open files | failed |\n|---|---|---|---|---|");
    let steps: Vec<String> = [
        "idle:seconds=1".into(),
        format!("hold:count={from},rate={rate}"),
        "idle:seconds=3".into(),
        format!("hold:count={},rate={rate}", to - from),
        "idle:seconds=3".into(),
        "release:rate=1000".into(),
    ]
    .into();
    for kind in &arguments.kinds {
        let target = bench.start(*kind)?;
        let reports = bench.load(&target, &target.ids(), &steps)?;
        let mut looks: Vec<(f64, f64)> = Vec::new();
        for report in reports {
            if report["step"] == "idle" {
                let pss = number(&report, "watched.pss_kib");
                looks.push((number(&report, "held"), pss));
                results.say(&format!(
                    "| {kind} | {} | {:.1} | {} | |",
                    report["held"],
                    pss / 1024.0,
                    report["watched"]["files"]
                ));
            } else if number(&report, "failed") > 0.0 {
                results.say(&format!("| {kind} | {} | | | {} |", report["step"], failures(&report)));
            }
            results.row(report);
        }
        let [.., (few, less), (many, more)] = looks[..] else { continue };
        ensure!(many > few, "no more calls were established after the first {few}");
        let each = (more - less) / (many - few);
        results.say(&format!("| {kind} | **{each:.2} KiB per call** ({few} to {many}) | | | |"));
    }
    results.save()
}

/// Options of `growth`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct GrowthArguments {
    #[command(flatten)]
    common: Common,
    /// What is measured
    #[arg(long, value_enum, default_value_t = Kind::Tandem)]
    kind: Kind,
    /// Few calls held
    #[arg(long, default_value_t = 100)]
    few: u32,
    /// Many calls held
    #[arg(long, default_value_t = 12_000)]
    many: u32,
    /// Calls per second placed beside them
    #[arg(long, default_value_t = 300)]
    rate: u32,
    /// Seconds of it
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Rounds of few, many, many, few
    #[arg(long, default_value_t = 2)]
    rounds: u32,
}

/// `growth`: what a call costs beside many established ones, against beside few.
///
/// The upkeep of the held calls is part of it: the switch is one, and its CPU cannot be told apart by call.
///
/// # Errors
/// As [`rate`].
pub(crate) fn growth(arguments: &GrowthArguments) -> Result<()> {
    let (kind, few, many, rate) = (arguments.kind, arguments.few, arguments.many, arguments.rate);
    let bench = Bench::open(&arguments.common, &[kind])?;
    let mut results = Results::new("growth", &arguments.common)?;
    results.say(&format!("## {kind}: {rate} calls/s beside {few} and beside {many} established calls\n"));
    results
        .say("| round | held | CPU ms per call | idle CPU ms per s | INVITE-180 p50 / p99 ms | failed | sent again |");
    results.say("|---|---|---|---|---|---|---|");
    let mut ratios = Vec::new();
    for round in 1..=arguments.rounds {
        let mut sums = [0.0; 2];
        for (n, held) in [(0, few), (1, many), (1, many), (0, few)] {
            let report = beside(&bench, kind, held, rate, arguments.seconds)?;
            sums[n] += cpu_ms_per_call(&report);
            results.say(&format!(
                "| {round} | {} | {:.3} | {:.2} | {:.2} / {:.2} | {} | {} |",
                report["held"],
                cpu_ms_per_call(&report),
                number(&report, "idle_cpu_ms_per_s"),
                number(&report, "invite_180_ms.p50"),
                number(&report, "invite_180_ms.p99"),
                failures(&report),
                again(&report),
            ));
            results.row(report);
        }
        ratios.push(sums[1] / sums[0]);
    }
    let each: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
    results.say(&format!(
        "\n- **{many} against {few} established calls: {:.2}** (rounds: {})",
        median(&ratios),
        each.join(" ")
    ));
    results.save()
}

/// Calls at `rate` beside `held` established ones; the report of the calls, with the CPU of the same switch at rest.
///
/// # Errors
/// As [`rate`].
pub(crate) fn beside(bench: &Bench, kind: Kind, held: u32, rate: u32, seconds: u32) -> Result<Value> {
    let target = bench.start_warm(kind)?;
    let steps: Vec<String> = [
        format!("hold:count={held}"),
        "idle:seconds=2".into(),
        format!("calls:rate={rate},count={}", rate * seconds),
        "release:rate=1000".into(),
    ]
    .into();
    let reports = bench.load(&target, &target.ids(), &steps)?;
    let idle = reports.iter().find(|report| report["step"] == "idle");
    let idle = idle.map(|report| number(report, "watched.cpu_s") * 1e3 / number(report, "seconds").max(0.001));
    let mut report = reports.into_iter().find(|report| report["step"] == "calls").context("no calls were reported")?;
    report["idle_cpu_ms_per_s"] = idle.into();
    Ok(report)
}
