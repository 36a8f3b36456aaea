//! SIPp on both sides: started, watched, and read for what it counted.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use tandem_netns::Place;

use super::Arguments;
use super::folder::Folder;
use super::scene::Scene;
use crate::process::{self, Process};

/// Port of the customer's audio and, two further, of its video; the vendor's streams begin here too.
const MEDIA_PORT: &str = "6000";
/// Port of the customer's SIP.
const CUSTOMER_PORT: &str = "5060";
/// What ends SIPp when we are killed: it has nothing to put away.
const KILL: &str = "KILL";
/// How long before the customer hangs up the vendor falls silent, ms: the last packets arrive before the call ends, even
/// when the machine is busy.
const SILENCE_MS: u32 = 500;

/// What the customer's SIPp counted.
#[derive(Debug, Default)]
pub(super) struct CustomerCount {
    pub(super) placed: u64,
    pub(super) answered: u64,
    pub(super) failed: u64,
    pub(super) retransmissions: u64,
    /// Packets that came and were sent back; `None` when SIPp did not tell.
    pub(super) echoed: Option<u64>,
    /// Milliseconds from the start of a call to 180 and to 200.
    pub(super) ringing_ms: Vec<u64>,
    pub(super) answer_ms: Vec<u64>,
}

/// Starts the vendor: answers everything, plays the tone.
///
/// # Errors
/// When SIPp cannot be started.
pub(super) fn vendor(arguments: &Arguments, folder: &Folder, scene: &Scene) -> Result<Process> {
    let address = scene.addresses.vendor;
    let mut command = sipp(folder, "vendor", scene.command(Place::B, KILL, Path::new("sipp")), address.ip());
    let talk_ms = arguments.seconds * 1000 - SILENCE_MS;
    command
        .args(["-sf", "vendor_talks.xml", "-p", &address.port().to_string(), "-mp", MEDIA_PORT])
        // One thread for all streams: SIPp's count of sent packets is exact only then.
        .args(["-d", &talk_ms.to_string(), "-rtp_threadtasks", "100000"]);
    Ok(Process::start("the vendor's SIPp", &mut command, &folder.file("vendor.log"))?.expendable())
}

/// Starts the customer: places the calls, echoes audio, hangs up, ends.
///
/// # Errors
/// When SIPp cannot be started.
pub(super) fn customer(arguments: &Arguments, folder: &Folder, scene: &Scene, limit_s: u32) -> Result<Process> {
    let program = scene.command(Place::A, KILL, Path::new("sipp"));
    let mut command = sipp(folder, "customer", program, scene.addresses.customer);
    command
        .arg(scene.addresses.sip.to_string())
        .args(["-sf", "customer_talks.xml", "-inf", "numbers.csv", "-p", CUSTOMER_PORT, "-mp", MEDIA_PORT, "-rtp_echo"])
        .args(["-r", &arguments.rate.to_string(), "-m", &arguments.calls.to_string(), "-l", "10000"])
        .args(["-d", &(arguments.seconds * 1000).to_string(), "-recv_timeout", "20000"])
        .args(["-trace_stat", "-stf", "customer.csv", "-fd", "1", "-trace_rtt", "-rtt_freq", "1"])
        .args(["-timeout", &format!("{limit_s}s"), "-timeout_error"]);
    Ok(Process::start("the customer's SIPp", &mut command, &folder.file("customer.log"))?.expendable())
}

fn sipp(folder: &Folder, side: &str, mut command: Command, ip: IpAddr) -> Command {
    command
        .current_dir(folder.path())
        .args(["-i", &ip.to_string(), "-mi", &ip.to_string(), "-nostdin", "-buff_size", "4194304"])
        .args(["-trace_err", "-error_file", &format!("{side}.err")])
        .args(["-trace_screen", "-screen_file", &format!("{side}.screen")]);
    command
}

/// The end of what a side complained about and of its log.
pub(super) fn complaints(folder: &Folder, side: &str) -> String {
    format!(
        "{}\n{}",
        process::tail("SIPp", &folder.file(&format!("{side}.err"))),
        process::tail("SIPp", &folder.file(&format!("{side}.log")))
    )
}

/// Packets that the vendor's streams sent, from the last screen on which SIPp told.
pub(super) fn sent_by_vendor(folder: &Folder) -> Option<u64> {
    last_count(&text(folder, "vendor.screen"), |line| line.contains("Total RTP pckts sent") && line.contains("RTP OUT"))
}

/// Packets that the customer has echoed so far.
pub(super) fn echoed(folder: &Folder) -> Option<u64> {
    last_count(&text(folder, "customer.screen"), |line| line.contains("Total echo RTP pckts 1st stream"))
}

/// Everything the customer's SIPp wrote down.
///
/// # Errors
/// When its statistics are missing.
pub(super) fn customer_count(folder: &Folder) -> Result<CustomerCount> {
    let statistics = text(folder, "customer.csv");
    let row = last_row(&statistics).context("SIPp left no statistics")?;
    let field = |name: &str| row.get(name).and_then(|value| value.parse().ok()).unwrap_or(0);
    let (ringing_ms, answer_ms) = response_times(folder);
    Ok(CustomerCount {
        placed: field("OutgoingCall(C)"),
        answered: field("SuccessfulCall(C)"),
        failed: field("FailedCall(C)"),
        retransmissions: field("Retransmissions(C)"),
        echoed: echoed(folder),
        ringing_ms,
        answer_ms,
    })
}

fn text(folder: &Folder, name: &str) -> String {
    fs::read(folder.file(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The number at the beginning of the last line that `is` it.
fn last_count(screens: &str, is: impl Fn(&str) -> bool) -> Option<u64> {
    screens.lines().rev().find(|line| is(line))?.split_whitespace().next()?.parse().ok()
}

/// The last row of SIPp's statistics by its column names.
fn last_row(statistics: &str) -> Option<HashMap<&str, &str>> {
    let mut lines = statistics.lines().filter(|line| !line.is_empty());
    let names = lines.next()?;
    let values = lines.next_back()?;
    Some(names.split(';').zip(values.split(';').map(str::trim)).collect())
}

/// What `-trace_rtt` wrote: lines of `date;milliseconds;timer`.
fn response_times(folder: &Folder) -> (Vec<u64>, Vec<u64>) {
    let (mut ringing, mut answer) = (Vec::new(), Vec::new());
    let files = fs::read_dir(folder.path()).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let is_rtt = |name: &OsString| name.to_str().is_some_and(|name| name.ends_with("_rtt.csv"));
    for name in files.filter(is_rtt) {
        for line in text(folder, &name.to_string_lossy()).lines() {
            let mut fields = line.split(';').skip(1).map(str::trim);
            let Some(ms) = fields.next().and_then(|ms| ms.parse::<f64>().ok()) else { continue };
            match fields.next() {
                Some("1") => ringing.push(ms as u64),
                Some("2") => answer.push(ms as u64),
                _ => {}
            }
        }
    }
    (ringing, answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_screen_counts() {
        let screens = "  9 Total echo RTP pckts 1st stream       3.0 last period\n\
                       x\n  471 Total echo RTP pckts 1st stream      0.0 last period\n";
        assert_eq!(last_count(screens, |line| line.contains("1st stream")), Some(471));
        assert_eq!(last_count("", |_| true), None);
    }

    #[test]
    fn the_last_row_of_the_statistics_counts() {
        let row = last_row("A;FailedCall(C);\n1;2;\n3; 4;\n").unwrap();
        assert_eq!(row["FailedCall(C)"], "4");
        assert!(last_row("A;B\n").is_none());
    }
}
