//! `kernel`: what the relay in the kernel costs, with frames that the kernel makes itself. The measuring is done by an example of
//! `appliance/datapath`, which has the maps; this runs it on the target's core and keeps what it says.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::common::{Common, turn};
use crate::results::Results;
use crate::subject::{Lane, find};

/// Options of `kernel`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Only these parts: packet (the kernel's test run), veth (across a wire), rate (15,000 sessions in real time), scan, punts
    /// (sockets of ports against one for all)
    #[arg(value_delimiter = ',', default_value = "packet,scan,veth,rate,punts")]
    parts: Vec<String>,
    /// The built example, instead of building it (profile fast)
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
}

/// Runs the parts and keeps what they say.
///
/// # Errors
/// What is missing, or what a part complained about.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "programs of the kernel need root");
    ensure!(
        !arguments.common.realtime,
        "in real time the generator starves the kernel's own threads, and frames are lost"
    );
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("bench is a room of the repository")?;
    let objects = root.join("target/ebpf");
    ensure!(objects.join("bench.o").is_file(), "the kernel programs are not built: cargo xtask ebpf");
    let program = match &arguments.program {
        Some(program) => program.clone(),
        None => build(root)?,
    };
    let _turn = turn(true)?;
    let mut results = Results::new("kernel", &arguments.common)?;
    let folder = tempfile::tempdir()?;
    let raw = folder.path().join("raw.jsonl");
    let lane = Lane { core: arguments.common.target_core, realtime: false };
    for part in &arguments.parts {
        results.say(&format!("## {part}\n\n```text"));
        let mut command = lane.command(&program);
        command.arg(&objects).arg(part).arg(&raw).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start the example")?;
        for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
            results.say(&line.context("the example wrote no text")?);
        }
        results.say("```\n");
        let status = child.wait().context("cannot wait for the example")?;
        ensure!(status.success(), "part {part} failed ({status})");
    }
    for line in std::fs::read_to_string(&raw).unwrap_or_default().lines() {
        results.row(serde_json::from_str(line).context("the example wrote no JSON")?);
    }
    results.save()
}

fn build(root: &Path) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| find("cargo").map(Into::into).unwrap_or_default());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--profile", "fast", "--package", "tandem-datapath", "--example", "measure"]);
    let status = command.current_dir(root).status().context("cannot run cargo")?;
    ensure!(status.success(), "the example cannot be built");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(root.join(target).join("fast/examples/measure"))
}
