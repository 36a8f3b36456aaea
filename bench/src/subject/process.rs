//! Programs under test: pinned, in a session of their own, ended with us.

use std::fs::{self, File};
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::account;

/// Between two looks at a program that starts or ends.
const LOOK: Duration = Duration::from_millis(20);
/// Longest start.
const START: Duration = Duration::from_secs(30);
/// Longest orderly end.
const STOP: Duration = Duration::from_secs(8);
/// Descriptors a program asks for: two for each of 12,000 relayed calls, and more than twice that. Raising the hard limit
/// takes CAP_SYS_RESOURCE; without it a program gets what the hard limit allows.
const FILES: u32 = 65_536;
/// The shell's words for it.
const RAISE: &str = "ulimit -n \"$FILES\" 2>/dev/null || ulimit -n \"$(ulimit -Hn)\" 2>/dev/null";

/// Descriptors that a program started here may open.
pub(crate) fn files() -> u32 {
    let script = format!("{RAISE}; ulimit -n");
    let done = Command::new("sh").args(["-c", &script]).env("FILES", FILES.to_string()).output();
    let text = done.map(|done| String::from_utf8_lossy(&done.stdout).trim().to_owned()).unwrap_or_default();
    text.parse().unwrap_or(0)
}
/// Lines of a log that an error shows.
const TAIL_LINES: usize = 15;

/// Where and how programs run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane {
    /// Core of the program.
    pub(crate) core: usize,
    /// Real-time round robin instead of ordinary scheduling.
    pub(crate) realtime: bool,
}

impl Lane {
    /// The command that runs `program` here. Its process id is that of the command.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let core = self.core.to_string();
        // Sessions compete as groups (sched_autogroup), so a nice value counts only between sessions: ours goes ahead of
        // whatever else the machine does. Only root may.
        let script = format!("echo -15 >/proc/self/autogroup 2>/dev/null; {RAISE}; exec \"$@\"");
        let mut command = Command::new("setsid");
        command.args(["sh", "-c", &script, "sh", "taskset", "-c", &core]).env("FILES", FILES.to_string());
        if self.realtime {
            command.args(["chrt", "-r", "10"]);
        }
        // Whatever happens to us, it does not stay behind.
        command.args(["setpriv", "--pdeathsig", "TERM", "--"]).arg(program);
        command
    }
}

/// A running program with its log.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with both outputs in `log`.
    ///
    /// # Errors
    /// When log or program cannot be started.
    pub(crate) fn start(name: &'static str, command: &mut Command, log: &Path) -> Result<Process> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("cannot share a log")?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Process { name, child, log: log.to_owned() })
    }

    /// Waits until somebody has bound UDP `address`.
    ///
    /// # Errors
    /// The end of the log when the program ends or takes too long.
    pub(crate) fn until_bound(&mut self, address: SocketAddrV4) -> Result<()> {
        let deadline = Instant::now() + START;
        // Of the namespace it is in.
        let table = format!("/proc/{}/net/udp", self.child.id());
        while !bound(address, &fs::read_to_string(&table).unwrap_or_default()) {
            if let Some(status) = self.child.try_wait().context("cannot look at a program")? {
                bail!("{} did not start ({status})\n{}", self.name, self.tail());
            }
            if Instant::now() >= deadline {
                bail!("{} has not bound {address} within {} s\n{}", self.name, START.as_secs(), self.tail());
            }
            sleep(LOOK);
        }
        Ok(())
    }

    /// It and all that it started.
    pub(crate) fn ids(&self) -> Vec<u32> {
        account::with_children(self.child.id())
    }

    fn tail(&self) -> String {
        let text = fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n    ");
        format!("its last words:\n    {last}")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let ids = self.ids();
        let signal = |id: u32, signal: Signal| {
            if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
                // One that has ended by itself needs no signal.
                let _ = kill_process(pid, signal);
            }
        };
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(self.child.id(), Signal::TERM);
            let deadline = Instant::now() + STOP;
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                sleep(LOOK);
            }
            if matches!(self.child.try_wait(), Ok(None)) {
                // Its children first, while they are still known to be its own.
                ids.iter().rev().for_each(|id| signal(*id, Signal::KILL));
                let _ = self.child.wait();
            }
        }
    }
}

/// Whether `table` (/proc/net/udp) has `address`.
fn bound(address: SocketAddrV4, table: &str) -> bool {
    let [a, b, c, d] = address.ip().octets();
    // The kernel prints the address as a number of this machine's byte order.
    let local = format!("{:08X}:{:04X}", u32::from_ne_bytes([a, b, c, d]), address.port());
    table.lines().filter_map(|line| line.split_whitespace().nth(1)).any(|found| found == local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_port_is_found_in_the_table_of_the_kernel() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let std::net::SocketAddr::V4(address) = socket.local_addr().unwrap() else { panic!() };
        let table = fs::read_to_string("/proc/net/udp").unwrap();
        assert!(bound(address, &table), "{table}");
        drop(socket);
        assert!(!bound(address, &fs::read_to_string("/proc/net/udp").unwrap()));
    }

    #[test]
    fn a_program_that_ends_at_once_is_told_with_its_last_words() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such luck; exit 3"]);
        let mut process = Process::start("it", &mut command, &folder.path().join("log")).unwrap();
        let error = format!("{:#}", process.until_bound("127.0.0.1:1".parse().unwrap()).unwrap_err());
        assert!(error.contains("did not start") && error.contains("no such luck"), "{error}");
    }
}
