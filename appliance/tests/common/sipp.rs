//! SIPp as customer and as vendor, with the scenarios of tools/sipp.

use std::collections::HashMap;
use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use super::{Switch, net, until};

/// A running SIPp; ends with the test.
pub(crate) struct Sipp {
    child: Child,
    /// Its files begin with this.
    stem: PathBuf,
}

/// What a customer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) placed: u64,
    pub(crate) good: u64,
    pub(crate) failed: u64,
}

/// A customer to start.
pub(crate) struct Customer<'a> {
    pub(crate) scenario: &'a str,
    pub(crate) from: Option<IpAddr>,
    pub(crate) callee: Option<&'a str>,
    pub(crate) status: &'a str,
    pub(crate) calls: u32,
    pub(crate) rate: u32,
    pub(crate) hold_ms: u32,
    /// Keeps every message with its Call-ID, so that SIPp itself says which calls were answered.
    pub(crate) messages: bool,
    pub(crate) more: &'a [&'a str],
}

impl Default for Customer<'_> {
    fn default() -> Self {
        Customer {
            scenario: "customer",
            from: None,
            callee: None,
            status: "",
            calls: 1,
            rate: 10,
            hold_ms: 100,
            messages: false,
            more: &[],
        }
    }
}

impl Customer<'_> {
    /// Starts to call.
    #[track_caller]
    pub(crate) fn start(&self, switch: &Switch) -> Sipp {
        let ip = self.from.unwrap_or(switch.net.customer());
        let numbers = match self.callee {
            None => fs::read_to_string(folder().join("numbers.csv")).unwrap(),
            Some(callee) => format!("SEQUENTIAL\n{callee};4930100\n"),
        };
        let stem = stem(switch, self.scenario);
        fs::write(stem.with_extension("numbers"), numbers).unwrap();
        let mut command = sipp(switch, &stem, self.scenario, self.status, SocketAddr::new(ip, 5060));
        command
            .arg(switch.net.sip().to_string())
            .arg("-inf")
            .arg(stem.with_extension("numbers"))
            .args(["-m", &self.calls.to_string(), "-r", &self.rate.to_string(), "-l", "5000"])
            .args(["-d", &self.hold_ms.to_string(), "-recv_timeout", "100000", "-timeout", "120s", "-timeout_error"])
            .args(["-trace_stat", "-fd", "1", "-stf"])
            .arg(stem.with_extension("stat"))
            .args(self.more);
        if self.messages {
            command.args(["-trace_shortmsg", "-shortmessage_file"]).arg(stem.with_extension("short"));
        }
        start(command, stem)
    }

    /// Calls, and every call must go as the scenario says.
    #[track_caller]
    pub(crate) fn run(&self, switch: &Switch) {
        let mut sipp = self.start(switch);
        sipp.assert_good(u64::from(self.calls));
    }
}

impl Sipp {
    /// Starts vendor `n`; it takes calls when this returns.
    #[track_caller]
    pub(crate) fn vendor(switch: &Switch, n: u8, scenario: &str, more: &[&str]) -> Sipp {
        Sipp::vendor_with(switch, n, scenario, "", more)
    }

    /// Starts a vendor that refuses with `status`.
    #[track_caller]
    pub(crate) fn vendor_refusing(switch: &Switch, n: u8, status: &str) -> Sipp {
        Sipp::vendor_with(switch, n, "vendor_refuses", status, &[])
    }

    #[track_caller]
    fn vendor_with(switch: &Switch, n: u8, scenario: &str, status: &str, more: &[&str]) -> Sipp {
        let stem = stem(switch, scenario);
        let address = switch.net.vendor(n);
        let mut command = sipp(switch, &stem, scenario, status, address);
        command.args(more);
        let sipp = start(command, stem);
        until("the vendor's SIPp has its socket", || net::is_bound(address).then_some(()));
        sipp
    }

    /// Waits for the end; all of `calls` must have gone as the scenario says.
    #[track_caller]
    pub(crate) fn assert_good(&mut self, calls: u64) {
        let count = self.wait();
        assert_eq!(count, Count { placed: calls, good: calls, failed: 0 }, "{}", self.complaints());
    }

    /// Waits for the end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> Count {
        // SIPp ends itself after 120 s: nothing here takes that long.
        let status = self.child.wait().unwrap();
        assert!(matches!(status.code(), Some(0 | 1)), "SIPp ended with {status}\n{}", self.complaints());
        let text = fs::read_to_string(self.file("stat")).unwrap();
        let mut lines = text.lines().filter(|line| !line.is_empty());
        let (names, values) = (lines.next().unwrap(), lines.next_back().unwrap());
        let row: HashMap<&str, &str> = names.split(';').zip(values.split(';').map(str::trim)).collect();
        let field = |name: &str| row[name].parse().unwrap();
        Count { placed: field("OutgoingCall(C)"), good: field("SuccessfulCall(C)"), failed: field("FailedCall(C)") }
    }

    /// Waits for the end and asks all the while how many packets were echoed; the last answer.
    #[track_caller]
    pub(crate) fn wait_echoed(&mut self) -> u64 {
        until("SIPp ends", || {
            // It writes its screens when asked; the scenario lingers after the last packet.
            self.signal(Signal::USR2);
            self.child.try_wait().unwrap()
        });
        let screens = fs::read_to_string(self.file("screen")).unwrap();
        let line = screens.lines().rev().find(|line| line.contains("Total echo RTP pckts 1st stream")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Waits for a vendor with `-m`; its calls must have gone as the scenario says.
    #[track_caller]
    pub(crate) fn assert_ended_well(&mut self) {
        let status = until("the vendor's SIPp ends", || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}\n{}", self.complaints());
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Call-IDs for which it got the 200 of its INVITE, from what [`Customer::messages`] wrote.
    pub(crate) fn answered_calls(&self) -> Vec<String> {
        self.calls_with("SIP/2.0 200", "1 INVITE")
    }

    /// Call-IDs that stand in the log of messages in a line with both texts.
    pub(crate) fn calls_with(&self, first: &str, second: &str) -> Vec<String> {
        let text = fs::read_to_string(self.file("short")).unwrap();
        let received = text.lines().filter(|line| line.contains(first) && line.contains(second));
        let mut calls: Vec<String> = received.filter_map(call_id).collect();
        calls.sort();
        calls.dedup();
        calls
    }

    /// Whether it runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// A file of it.
    pub(crate) fn file(&self, kind: &str) -> PathBuf {
        self.stem.with_extension(kind)
    }

    /// Ends it in order, so that it writes all its files.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        until("SIPp ends after TERM", || self.child.try_wait().unwrap());
    }

    /// Places no more calls; those that are on go to their end.
    pub(crate) fn place_no_more(&self) {
        self.signal(Signal::USR1);
    }

    /// Places no more calls and waits for the end of those that are on.
    #[track_caller]
    pub(crate) fn finish(&mut self) {
        self.place_no_more();
        until("SIPp ends after its last call", || self.child.try_wait().unwrap());
    }

    /// Sends a signal, unless SIPp does not handle it yet or has ended: it would only kill it.
    fn signal(&self, signal: Signal) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        if caught & (1 << (signal.as_raw() - 1)) != 0 {
            // It may have ended a moment ago.
            let _ = kill_process(Pid::from_child(&self.child), signal);
        }
    }

    fn complaints(&self) -> String {
        ["err", "out"].map(|kind| fs::read_to_string(self.file(kind)).unwrap_or_default()).join("\n")
    }
}

impl Drop for Sipp {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("SIPp {}:\n{}", self.stem.display(), self.complaints());
        }
        self.kill();
    }
}

/// The field that looks like a Call-ID of SIPp: `7-4711@127.0.0.20`.
fn call_id(line: &str) -> Option<String> {
    line.split(['\t', ' ']).find(|field| field.contains('@')).map(|field| field.trim().to_owned())
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/sipp")
}

/// Each SIPp has its own files in the folder of its switch.
fn stem(switch: &Switch, scenario: &str) -> PathBuf {
    static STARTED: AtomicU32 = AtomicU32::new(0);
    switch.folder.join(format!("{scenario}-{}", STARTED.fetch_add(1, Ordering::Relaxed)))
}

/// SIPp at `address`, with a copy of the scenario, in the folder of the switch.
fn sipp(switch: &Switch, stem: &Path, scenario: &str, status: &str, address: SocketAddr) -> Command {
    let text = fs::read_to_string(folder().join(scenario).with_extension("xml")).unwrap();
    fs::write(stem.with_extension("xml"), text.replace("@STATUS@", status)).unwrap();
    // Whole at once: another SIPp may be reading the last copy.
    let tone = stem.with_extension("tone");
    fs::copy(folder().join("tone.alaw"), &tone)
        .and_then(|_| fs::rename(&tone, switch.folder.join("tone.alaw")))
        .unwrap();
    let ip = address.ip().to_string();
    let mut command = Command::new("sipp");
    command
        .current_dir(&switch.folder)
        .arg("-sf")
        .arg(stem.with_extension("xml"))
        .args(["-i", &ip, "-mi", &ip, "-p", &address.port().to_string(), "-mp", "6000", "-nostdin"])
        .args(["-buff_size", "4194304", "-trace_err", "-error_file"])
        .arg(stem.with_extension("err"))
        .args(["-trace_screen", "-screen_file"])
        .arg(stem.with_extension("screen"));
    command
}

#[track_caller]
fn start(mut command: Command, stem: PathBuf) -> Sipp {
    let out = File::create(stem.with_extension("out")).unwrap();
    let child = command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out).spawn().unwrap();
    Sipp { child, stem }
}
