//! What all measuring commands share: options, where things run, one run of the generator, and simple sums.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde_json::Value;

use crate::load::Step;
use crate::subject::{Binaries, Ground, Kind, Lane, Process, Target, Wires, find};

/// Calls that are placed before anything is measured, and at what rate: caches, allocators and pools are warm then.
const WARM: &str = "calls:rate=500,count=1000,hold_ms=100";
/// What a run of the generator may take beyond its schedule, s.
const GRACE_S: u32 = 60;

/// Options of every measuring command.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Common {
    /// This tandemd, with tandem beside it; the default is built (profile fast)
    #[arg(long, value_name = "PATH", global = true)]
    pub(crate) tandemd: Option<PathBuf>,
    /// Leave results in bench/results/DATE-NAME/COMMAND; without it they are only printed
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) name: Option<String>,
    /// Real-time scheduling of target and generator: for latency and limits on a machine that does other work (root)
    #[arg(long, global = true)]
    pub(crate) realtime: bool,
    /// Core of the target, all of its threads
    #[arg(long, default_value_t = 1, global = true, value_name = "CORE")]
    pub(crate) target_core: usize,
    /// Core of the generator
    #[arg(long, default_value_t = 0, global = true, value_name = "CORE")]
    pub(crate) load_core: usize,
}

/// Programs and places of one command. One at a time on a machine: addresses are fixed, and cores are not shared.
pub(crate) struct Bench {
    binaries: Binaries,
    target: Lane,
    load: Lane,
    wires: Option<Wires>,
    _turn: File,
}

impl Bench {
    /// Finds everything that measuring `kinds` needs.
    ///
    /// # Errors
    /// What is missing, with its cure.
    pub(crate) fn open(common: &Common, kinds: &[Kind]) -> Result<Bench> {
        for kind in kinds {
            for program in kind.needs() {
                find(program).with_context(|| format!("{kind} cannot be measured"))?;
            }
        }
        for program in ["setsid", "taskset", "setpriv", "timeout"] {
            find(program)?;
        }
        ensure!(common.target_core != common.load_core, "target and generator share core {}", common.target_core);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let highest = common.target_core.max(common.load_core);
        ensure!(highest < cores, "there is no core {highest}; this machine has {cores}, from 0");
        let root = rustix::process::geteuid().is_root();
        ensure!(root || !common.realtime, "--realtime needs root");
        let lane = |core| Lane { core, realtime: common.realtime };
        let binaries = Binaries::find(common.tandemd.as_deref())?;
        let turn = match turn(false)? {
            Some(turn) => turn,
            None => {
                println!("waiting for another measurement on this machine to end");
                turn(true)?.context("a lock that waits was not given")?
            }
        };
        Ok(Bench { binaries, target: lane(common.target_core), load: lane(common.load_core), wires: None, _turn: turn })
    }

    /// Goes from loopback to namespaces joined by veth, as [`Wires::up`]; later targets start there.
    ///
    /// # Errors
    /// What is missing.
    pub(crate) fn wire(&mut self, threads: bool) -> Result<()> {
        self.wires = Some(Wires::up(&self.target, &self.load, threads)?);
        Ok(())
    }

    /// Threads that do the work of the target's wires; none on loopback.
    pub(crate) fn drivers(&self) -> &[u32] {
        self.wires.as_ref().map_or(&[], |wires| &wires.drivers)
    }

    /// Starts a target.
    ///
    /// # Errors
    /// As [`Target::start`].
    pub(crate) fn start(&self, kind: Kind) -> Result<Target> {
        ensure!(self.wires.is_some() || !kind.needs_wires(), "{kind} is for `xdp` only, which has wires");
        let ground = self.wires.as_ref().map_or_else(Ground::loopback, Wires::ground);
        Target::start(kind, &self.target, &ground, &self.binaries)
    }

    /// Starts a target and places the calls that warm it.
    ///
    /// # Errors
    /// As [`Target::start`], or when the calls cannot be placed.
    pub(crate) fn start_warm(&self, kind: Kind) -> Result<Target> {
        let target = self.start(kind)?;
        self.load(&target, &[], &[WARM.to_owned()])?;
        Ok(target)
    }

    /// A busy loop on the target's core, until dropped.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn burn(&self, target: &Target) -> Result<Process> {
        let mut command = self.target.command(&find("sh")?);
        command.args(["-c", "while :; do :; done"]);
        Process::start("burner", &mut command, &target.folder().join("burner.log"))
    }

    /// Runs the generator against `target` and gives its report of each step, with the target's name.
    ///
    /// # Errors
    /// What the generator complained about.
    pub(crate) fn load(&self, target: &Target, watch: &[u32], steps: &[String]) -> Result<Vec<Value>> {
        let output = self.load_command(target, watch, steps)?.output().context("cannot run the generator")?;
        reports(target.kind, &output)
    }

    /// The command of [`Bench::load`], for those who look while it runs; its output goes to [`reports`].
    ///
    /// # Errors
    /// A step that is none.
    pub(crate) fn load_command(
        &self,
        target: &Target,
        watch: &[u32],
        steps: &[String],
    ) -> Result<std::process::Command> {
        let mut seconds = GRACE_S;
        for step in steps {
            seconds += step.parse::<Step>()?.seconds() * 2;
        }
        let own = std::env::current_exe().context("cannot find this program")?;
        let mut command = self.load.command(&find("timeout")?);
        command.args(["-k", "5", &seconds.to_string()]).arg(own).arg("load");
        let ground = &target.ground;
        command.args(["--target", &ground.address(target.kind).to_string()]);
        command.args(["--customer", &ground.customer.to_string(), "--vendor", &ground.vendor.to_string()]);
        if let Some([customer, _, vendor]) = &ground.namespaces {
            command.args(["--customer-namespace", customer, "--vendor-namespace", vendor]);
        }
        if !watch.is_empty() {
            let list: Vec<String> = watch.iter().map(u32::to_string).collect();
            command.args(["--watch", &list.join(",")]);
        }
        for step in steps {
            command.args(["--step", step]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(command)
    }
}

/// The right to measure, until dropped; `None` when somebody else has it and `wait` is false.
///
/// # Errors
/// When the lock file cannot be made.
pub(crate) fn turn(wait: bool) -> Result<Option<File>> {
    let path = std::env::temp_dir().join("tandem-bench.lock");
    let file = File::options().create(true).append(true).open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    let operation = if wait { FlockOperation::LockExclusive } else { FlockOperation::NonBlockingLockExclusive };
    match flock(&file, operation) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// What the generator printed.
///
/// # Errors
/// What it complained about.
pub(crate) fn reports(kind: Kind, output: &std::process::Output) -> Result<Vec<Value>> {
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("the generator failed against {kind} ({})\n{}", output.status, said.trim());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut reports = Vec::new();
    for line in text.lines() {
        let mut report: Value = serde_json::from_str(line).context("the generator wrote no JSON")?;
        report["target"] = kind.to_string().into();
        reports.push(report);
    }
    Ok(reports)
}

/// A number in a report, 0 when it is not there.
pub(crate) fn number(report: &Value, path: &str) -> f64 {
    path.split('.').fold(report, |value, key| &value[key]).as_f64().unwrap_or(0.0)
}

/// CPU of the target for a completed call, ms.
pub(crate) fn cpu_ms_per_call(report: &Value) -> f64 {
    number(report, "watched.cpu_s") * 1e3 / number(report, "completed").max(1.0)
}

/// CPU of the relay for a packet that came out, microseconds.
pub(crate) fn cpu_us_per_packet(report: &Value) -> f64 {
    number(report, "watched.cpu_s") * 1e6 / number(report, "rtp.received").max(1.0)
}

/// Messages that somebody sent again.
pub(crate) fn again(report: &Value) -> u64 {
    let sum = |key: &str| -> u64 {
        report[key].as_object().into_iter().flatten().filter_map(|(_, count)| count.as_u64()).sum()
    };
    // What the vendor heard again is what the target sent again.
    sum("sent_again") + sum("heard_again")
}

/// The middle of `values`, the mean of the two middle ones of an even number; 0 of none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let n = sorted.len();
    match n {
        0 => 0.0,
        _ if n % 2 == 1 => sorted[n / 2],
        _ => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn costs_are_of_completed_calls_and_received_packets() {
        let report = json!({"completed": 500, "watched": {"cpu_s": 0.25}, "rtp": {"received": 100_000},
            "sent_again": {"INVITE": 2, "BYE": 1}, "heard_again": {"INVITE": 4}});
        assert_eq!(cpu_ms_per_call(&report), 0.5);
        assert_eq!(cpu_us_per_packet(&report), 2.5);
        assert_eq!(again(&report), 7);
        assert_eq!(number(&report, "rtp.nothing"), 0.0);
    }
}
