//! `all`: every figure that SPECIFICATION.md asks of this machine, one command after the other, into one result.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::common::Common;

/// The commands, with what makes them shorter when there is no time. RTP in real time: what its latency would show otherwise is
/// the neighbours'. Signalling in ordinary scheduling: real time makes the threads of a target wait for each other.
pub(crate) const COMMANDS: &[(&[&str], &[&str])] = &[
    (&["peers"], &["--rounds", "2", "--calls", "2000"]),
    (&["peers", "--media", "--realtime"], &["--rounds", "2"]),
    (&["rate"], &["--rates", "2000,3000,4000", "--seconds", "5"]),
    (&["overload", "--burners", "1", "--kinds", "tandem,kamailio-rtpengine"], &[]),
    (&["memory", "--kinds", "tandem"], &[]),
    (&["growth"], &["--rounds", "1", "--seconds", "6"]),
    (&["sweep"], &["--rates", "100,300,1000,3000", "--held", "100,1000,4000"]),
    (&["soak"], &["--calls", "100000", "--every", "1"]),
];

/// Options of `all`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Fewer rounds and points: a quarter of an hour instead of an hour
    #[arg(long)]
    quick: bool,
    /// Established calls for memory and growth; a relay in user space needs two open files for each
    #[arg(long, default_value_t = 12_000)]
    held: u32,
}

/// Runs all of them; one that fails does not keep the others from running.
///
/// # Errors
/// The commands that failed.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let own = std::env::current_exe().context("cannot find this program")?;
    let common = &arguments.common;
    let mut failed = Vec::new();
    for (words, quick) in COMMANDS {
        println!("\n# {}\n", words.join(" "));
        let start = Instant::now();
        let mut command = Command::new(&own);
        command.args(*words);
        if arguments.quick {
            command.args(*quick);
        }
        let held = arguments.held.to_string();
        match words[0] {
            "memory" => command.args(["--to", &held]),
            "growth" => command.args(["--many", &held]),
            _ => &mut command,
        };
        if let Some(tandemd) = &common.tandemd {
            command.arg("--tandemd").arg(tandemd);
        }
        if let Some(name) = &common.name {
            command.args(["--name", name]);
        }
        command.args(["--target-core", &common.target_core.to_string(), "--load-core", &common.load_core.to_string()]);
        if common.realtime && !words.contains(&"--realtime") {
            command.arg("--realtime");
        }
        let status = command.status().context("cannot run this program")?;
        if !status.success() {
            failed.push(words.join(" "));
        }
        println!("\n({} s)", start.elapsed().as_secs());
    }
    ensure!(failed.is_empty(), "not measured: {}", failed.join("; "));
    Ok(())
}
