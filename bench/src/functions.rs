//! `functions`: one function at a time, instructions and nanoseconds. The functions are in `benches/functions`; this builds
//! that program, runs it under callgrind and by the clock, and lets Kamailio's parser read the same INVITE.
//!
//! Callgrind is run directly: gungraun (formerly iai-callgrind) wants a runner of exactly its version installed beside the
//! tool chain, and Kamailio would still have to be read from callgrind's own files.

mod callgrind;
mod kamailio;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::common::Common;
use crate::results::Results;
use crate::subject::find;

/// Repetitions under callgrind: it runs some fifty times slower, and a count needs no more.
const TIMES: u32 = 200;
/// Where callgrind begins and ends to count.
const MEASURED: &str = "*harness::measured*";
/// Needs ten decks of a million rows, which takes callgrind half an hour; the count is that of `route_decision`.
const BY_CLOCK_ONLY: &str = "route_big_decks";

/// Options of `functions`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Only benches whose name begins so; `cargo xtask bench functions --list` names them
    #[arg(default_value = "")]
    bench: String,
    /// Name the benches and end
    #[arg(long)]
    list: bool,
    /// No instruction counts: valgrind is not needed then
    #[arg(long)]
    no_count: bool,
    /// Profile the benches are built with
    #[arg(long, default_value = "fast")]
    profile: String,
    /// A built program of the benches, instead of building it
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
    /// Calls a second for the round trip to the rating thread
    #[arg(long, default_value_t = 1_000)]
    rate: u32,
    /// Seconds of the round trips
    #[arg(long, default_value_t = 10)]
    seconds: u32,
}

/// Runs what was asked for and keeps the figures.
///
/// # Errors
/// What is missing, with its cure.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let program = match &arguments.program {
        Some(program) => program.clone(),
        None => build(&arguments.profile)?,
    };
    let names = names(&program)?;
    if arguments.list {
        for (name, what) in &names {
            println!("{name:24} {what}");
        }
        return Ok(());
    }
    let mut results = Results::new("functions", &arguments.common)?;
    let wanted = |name: &str| name.starts_with(&arguments.bench);
    results.say("| function | instructions | ns, least | ns, median |");
    results.say("|---|---|---|---|");
    let folder = tempfile::tempdir()?;
    for (name, what) in names.iter().filter(|(name, _)| wanted(name)) {
        let count = !arguments.no_count && name != BY_CLOCK_ONLY;
        let instructions = if count { Some(instructions(&program, name, folder.path())?) } else { None };
        let row = timed(&program, name, arguments.common.realtime)?;
        let shown = instructions.map_or("-".to_owned(), |count| format!("{count:.0}"));
        results.say(&format!("| {name}: {what} | {shown} | {} | {} |", row["ns_min"], row["ns_median"]));
        let mut row = row;
        row["instructions"] = json!(instructions);
        results.row(row);
    }
    if wanted("kamailio_parse") && !arguments.no_count {
        kamailio(&program, folder.path(), &mut results)?;
    }
    for (name, words) in [
        ("deck", vec!["deck".to_owned()]),
        ("reserve", vec!["reserve".to_owned(), arguments.rate.to_string(), arguments.seconds.to_string()]),
    ] {
        if wanted(name) {
            let text = output(clocked(&program, arguments.common.realtime).args(&words))?;
            results.say(&format!("\n{name}:\n\n```text\n{}```", text));
            results.file(&format!("{name}.csv"), text);
        }
    }
    results.save()
}

fn kamailio(program: &Path, folder: &Path, results: &mut Results) -> Result<()> {
    if find("kamailio").is_err() {
        results.say("| kamailio_parse | not installed | - | - |");
        return Ok(());
    }
    let invite = Command::new(program).arg("invite").output().context("cannot start the benches")?.stdout;
    let counted = kamailio::instructions(&invite, folder)?;
    results.say(&format!(
        "| kamailio_parse: the same INVITE, its headers as types | {:.0} | - | - |\n\
         | kamailio_scan: parse_msg and all headers indexed | {:.0} | - | - |",
        counted.typed, counted.scan
    ));
    for (name, count) in [("kamailio_parse", counted.typed), ("kamailio_scan", counted.scan)] {
        results.row(json!({ "name": name, "instructions": count }));
    }
    for (edge, count) in counted.edges {
        results.row(json!({ "name": "kamailio_edge", "edge": edge, "instructions": count }));
    }
    Ok(())
}

/// Builds the benches and tells where they are.
fn build(profile: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let done = Command::new(cargo)
        .args(["build", "--quiet", "--package", "tandem-bench", "--bench", "functions", "--profile", profile])
        .args(["--message-format", "json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    ensure!(done.status.success(), "the benches cannot be built ({})", done.status);
    let text = String::from_utf8_lossy(&done.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut built = messages.filter(|m| m["target"]["name"] == "functions");
    let path = built.find_map(|message| message["executable"].as_str().map(PathBuf::from));
    path.context("cargo does not tell where the benches are")
}

fn names(program: &Path) -> Result<Vec<(String, String)>> {
    let text = output(Command::new(program).arg("list"))?;
    Ok(text.lines().filter_map(|line| line.split_once('\t')).map(|(n, w)| (n.to_owned(), w.to_owned())).collect())
}

/// Instructions of one repetition.
fn instructions(program: &Path, name: &str, folder: &Path) -> Result<f64> {
    let file = folder.join(name);
    let valgrind = find("valgrind").context("instructions cannot be counted; --no-count leaves them out")?;
    output(
        Command::new(valgrind)
            .args(["--tool=callgrind", "--quiet", &format!("--toggle-collect={MEASURED}")])
            .arg(format!("--callgrind-out-file={}", file.display()))
            .arg(program)
            .args(["count", name, &TIMES.to_string()]),
    )?;
    let text = std::fs::read_to_string(&file).with_context(|| format!("callgrind left nothing for {name}"))?;
    let total = callgrind::total(&text).with_context(|| format!("callgrind counted nothing for {name}"))?;
    Ok(total as f64 / f64::from(TIMES))
}

fn timed(program: &Path, name: &str, realtime: bool) -> Result<Value> {
    let text = output(clocked(program, realtime).args(["time", name]))?;
    // The program takes every bench that begins so; this one is meant.
    let line = text.lines().find(|line| line.split(',').next() == Some(name));
    let fields: Vec<&str> = line.with_context(|| format!("the bench {name} told nothing"))?.split(',').collect();
    let number = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok());
    Ok(
        json!({ "name": name, "ns_min": number(1), "ns_median": number(2), "batches": number(3), "per_batch": number(4) }),
    )
}

/// The program, before everything else on the machine if that was asked.
fn clocked(program: &Path, realtime: bool) -> Command {
    if !realtime {
        return Command::new(program);
    }
    let mut command = Command::new("chrt");
    command.args(["-r", "50"]).arg(program);
    command
}

fn output(command: &mut Command) -> Result<String> {
    let done = command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(done.status.success(), "{command:?} failed ({})", done.status);
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}
