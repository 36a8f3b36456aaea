//! `cdrs`: what questions take in a database of ten million finished calls. The program that fills and asks is an example of the
//! store (`appliance/store/examples/queries.rs`), so that it uses the product's own writer and reader; this builds and runs it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use crate::common::{Common, turn};
use crate::results::Results;

/// What a page and its count may take together (issue: indexed queries on ten million CDRs).
const PROMISE_MS: f64 = 100.0;

/// Options of `cdrs`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Finished calls; ten million take 19 GB of disk and a quarter of an hour
    #[arg(long, value_delimiter = ',', default_value = "10000000")]
    calls: Vec<u64>,
    /// Days that they are spread over
    #[arg(long, default_value_t = 10)]
    days: u32,
    /// How often each question is asked
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Folder for the database, which is removed; the default is that for temporary files
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Leave the database in the folder, or ask the one that is there; one number of calls only
    #[arg(long, requires = "folder")]
    keep: bool,
    /// A built program, instead of building it (profile fast)
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
}

/// Fills, asks, and keeps what it took.
///
/// # Errors
/// What is missing, or what the program complained about.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(!arguments.keep || arguments.calls.len() == 1, "--keep: one database stays, so --calls takes one number");
    let program = match &arguments.program {
        Some(program) => program.clone(),
        None => build()?,
    };
    let _turn = turn(true)?;
    let mut results = Results::new("cdrs", &arguments.common)?;
    let mut all = String::new();
    for calls in &arguments.calls {
        results.say(&format!("## {calls} calls over {} days\n", arguments.days));
        let text = asked(&program, *calls, arguments)?;
        tell(&mut results, &text);
        let skip = usize::from(!all.is_empty());
        all.extend(text.lines().skip(skip).flat_map(|line| [line, "\n"]));
    }
    results.file("queries.csv", all);
    results.save()
}

fn asked(program: &Path, calls: u64, arguments: &Arguments) -> Result<String> {
    let mut command = Command::new(program);
    command.args([calls.to_string(), arguments.days.to_string(), arguments.rounds.to_string()]);
    if let Some(folder) = &arguments.folder {
        command.arg(folder);
    }
    if arguments.keep {
        command.arg("keep");
    }
    let done = command.stderr(Stdio::inherit()).output().context("cannot start the program that asks")?;
    ensure!(done.status.success(), "the program that asks failed ({})", done.status);
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// A line a question, and those that take too long.
fn tell(results: &mut Results, text: &str) {
    results.say(
        "| question | rows of the page | all | first ms | page ms, least and median | count ms, least and median |",
    );
    results.say("|---|---|---|---|---|---|");
    let mut slow = Vec::new();
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let row: Map<String, Value> =
            header.iter().zip(&cells).map(|(name, cell)| ((*name).to_owned(), value(cell))).collect();
        let cell = |name: &str| row.get(name).map(|value| value.to_string().replace('"', "")).unwrap_or_default();
        let ms = |name: &str| row.get(name).and_then(Value::as_f64).unwrap_or(0.0);
        results.say(&format!(
            "| {} | {} | {}{} | {} | {} / {} | {} / {} |",
            cell("what"),
            cell("rows"),
            if cell("all") == "0" { "more than " } else { "" },
            cell("total"),
            cell("first_ms"),
            cell("page_ms"),
            cell("page_ms_median"),
            cell("count_ms"),
            cell("count_ms_median")
        ));
        if ms("page_ms_median") + ms("count_ms_median") > PROMISE_MS {
            slow.push(cell("what"));
        }
        results.row(Value::Object(row));
    }
    let verdict = match slow.as_slice() {
        [] => "all of them".to_owned(),
        slow => format!("all but {}", slow.join(", ")),
    };
    results.say(&format!("\n- **page and count below {PROMISE_MS} ms (medians): {verdict}**\n"));
}

fn value(cell: &str) -> Value {
    let whole = cell.parse::<u64>().map(|number| json!(number));
    whole.or_else(|_| cell.parse::<f64>().map(|number| json!(number))).unwrap_or_else(|_| json!(cell))
}

/// Builds the program and tells where it is.
fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let done = Command::new(cargo)
        .args(["build", "--quiet", "--package", "tandem-store", "--example", "queries", "--profile", "fast"])
        .args(["--message-format", "json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo")?;
    ensure!(done.status.success(), "the program that asks cannot be built ({})", done.status);
    let text = String::from_utf8_lossy(&done.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut built = messages.filter(|message| message["target"]["name"] == "queries");
    let path = built.find_map(|message| message["executable"].as_str().map(PathBuf::from));
    path.context("cargo does not tell where the program is")
}
