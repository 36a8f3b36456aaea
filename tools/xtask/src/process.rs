//! Programs that a demo starts: logged to a file, watched, and ended with it.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// Between two looks at a program that is to end.
const LOOK: Duration = Duration::from_millis(20);
/// What a program gets to end in order.
const PATIENCE: Duration = Duration::from_secs(8);
/// Lines of a log that an error shows.
const TAIL_LINES: usize = 15;

/// A program with its log. Ends with its owner: TERM, a moment, KILL; or KILL at once.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    patience: Duration,
}

impl Process {
    /// Starts `command` with both outputs in `log`.
    ///
    /// # Errors
    /// When the log or the program cannot be started, named.
    pub(crate) fn start(name: &'static str, command: &mut Command, log: &Path) -> Result<Process> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("cannot share a log")?)
            .stderr(file)
            // A Ctrl-C at the terminal is ours to pass on, so that everything ends in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        Ok(Process { name, child, log: log.to_owned(), patience: PATIENCE })
    }

    /// One that has nothing to put away, and would wait for its calls after TERM.
    pub(crate) fn expendable(mut self) -> Process {
        self.patience = Duration::ZERO;
        self
    }

    /// Process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        // What cannot be waited for is not there any more.
        self.child.try_wait().ok().flatten()
    }

    /// Whether it has a handler for `signal`: before that, and a moment after the start, the signal would end it.
    pub(crate) fn handles(&self, signal: Signal) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
        caught & (1 << (signal.as_raw() - 1)) != 0
    }

    /// Sends a signal; one that has ended gets none.
    pub(crate) fn signal(&mut self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let (None, Some(pid)) = (self.ended(), pid) {
            // Its end between the look and the signal is no failure: the child is not reaped yet.
            let _ = kill_process(pid, signal);
        }
    }

    /// Sends `signal` and waits; kills what does not end within `patience`.
    pub(crate) fn stop(&mut self, signal: Signal, patience: Duration) {
        self.signal(signal);
        let deadline = Instant::now() + patience;
        while self.ended().is_none() {
            if Instant::now() >= deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            sleep(LOOK);
        }
    }

    /// The end of the log as an indented block under a line that names it.
    pub(crate) fn tail(&self) -> String {
        tail(self.name, &self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop(Signal::TERM, self.patience);
    }
}

/// The last lines of a log, for an error message.
pub(crate) fn tail(name: &str, log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    let shown = if last.is_empty() { "    (nothing)".to_owned() } else { format!("    {}", last.join("\n    ")) };
    format!("{name} wrote, last, to {}:\n{shown}", log.display())
}
