//! `deck`: rate sheets of a million rows imported into the running switch while it has calls: how long, how much memory, and
//! whether a call notices.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::account::peak_rss_kib;
use crate::common::{Bench, Common, again, number, reports};
use crate::peers::failures;
use crate::results::Results;
use crate::subject::{Kind, Target};

/// Between two looks at the command line's memory, which is gone with it.
const LOOK: Duration = Duration::from_millis(20);
/// Calls begin before the import does.
const LEAD: Duration = Duration::from_secs(2);

/// Options of `deck`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// Rows of a sheet
    #[arg(long, default_value_t = 1_000_000)]
    rows: u32,
    /// Sheets, each with another price for every row; a deck has room for four of a million
    #[arg(long, default_value_t = 3)]
    sheets: u32,
    /// Calls a second meanwhile
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Seconds of calls for each sheet
    #[arg(long, default_value_t = 25)]
    seconds: u32,
}

/// Imports the sheets and tells of each.
///
/// # Errors
/// What is missing, what the switch refused, or a sheet that took longer than the calls lasted.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (rows, rate, seconds) = (arguments.rows, arguments.rate, arguments.seconds);
    ensure!((1..=1_000_000).contains(&rows), "--rows is {rows}; allowed is 1 to 1000000");
    let bench = Bench::open(&arguments.common, &[Kind::TandemNomedia])?;
    let mut results = Results::new("deck", &arguments.common)?;
    let target = bench.start_warm(Kind::TandemNomedia)?;
    let ids = target.ids();
    results.say(&format!("## {rows} rows a sheet, {rate} calls a second meanwhile\n"));
    results.say(
        "| sheet | rows of the deck | preview and import s | peak RSS MiB: switch, command line | longest turn of the rating thread ms | calls | failed | sent again | INVITE-180 p50 / p99 / max ms |",
    );
    results.say("|---|---|---|---|---|---|---|---|---|");
    let path = target.folder().join("sheet.csv");
    // The first line is of calls alone, to compare with.
    for number in 0..=arguments.sheets {
        let step = vec![format!("calls:rate={rate},count={}", rate * seconds)];
        let calls = bench.load_command(&target, &ids, &step)?.spawn().context("cannot start the generator")?;
        sleep(LEAD);
        let import = if number == 0 { None } else { Some(import(&target, &path, number, rows)?) };
        let output = calls.wait_with_output().context("cannot read the generator's report")?;
        let report = reports(target.kind, &output)?.pop().context("the generator reported nothing")?;
        tell(&mut results, &target, number, import.as_ref(), &report)?;
    }
    results.save()
}

/// What one import took.
struct Import {
    seconds: f64,
    command_kib: u64,
}

fn import(target: &Target, path: &Path, number: u32, rows: u32) -> Result<Import> {
    fs::write(path, sheet(number, rows)).with_context(|| format!("cannot write {}", path.display()))?;
    let text = path.to_string_lossy();
    let words = ["rates", "import", &*text, "--group", "retail", "--mode", "replace", "--yes"];
    let mut command = target.command(&words).context("only tandem has a command line")?;
    let begun = Instant::now();
    let mut child =
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().context("cannot run tandem rates import")?;
    let mut command_kib = 0;
    while child.try_wait().context("cannot look at the import")?.is_none() {
        command_kib = command_kib.max(peak_rss_kib(child.id()));
        sleep(LOOK);
    }
    let seconds = begun.elapsed().as_secs_f64();
    let done = child.wait_with_output().context("cannot read what the import said")?;
    ensure!(done.status.success(), "sheet {number} was refused: {}", String::from_utf8_lossy(&done.stderr).trim());
    Ok(Import { seconds, command_kib })
}

fn tell(results: &mut Results, target: &Target, number_of: u32, import: Option<&Import>, report: &Value) -> Result<()> {
    let mib = |kib: u64| kib / 1_024;
    let daemon_kib = target.ids().iter().map(|id| peak_rss_kib(*id)).max().unwrap_or(0);
    let turn_ms = target.status()?["counters"]["rating_turn_max_us"].as_f64().map_or(0.0, |us| us / 1e3);
    let groups = target.ask(&["rates", "list"])?;
    let group = groups.as_array().into_iter().flatten().find(|group| group["group"] == "retail");
    let deck_rows = group.map_or(0, |group| group["rows"].as_u64().unwrap_or(0));
    results.say(&format!(
        "| {number_of} | {deck_rows} | {} | {}, {} | {turn_ms:.1} | {} | {} | {} | {:.2} / {:.2} / {:.1} |",
        import.map_or("-".to_owned(), |import| format!("{:.1}", import.seconds)),
        mib(daemon_kib),
        import.map_or(0, |import| mib(import.command_kib)),
        report["completed"],
        failures(report),
        again(report),
        number(report, "invite_180_ms.p50"),
        number(report, "invite_180_ms.p99"),
        number(report, "invite_180_ms.max"),
    ));
    results.row(json!({
        "sheet": number_of,
        "deck_rows": deck_rows,
        "import_s": import.map(|import| import.seconds),
        "switch_peak_kib": daemon_kib,
        "command_line_peak_kib": import.map(|import| import.command_kib),
        "rating_turn_max_ms": turn_ms,
        "calls": report,
    }));
    Ok(())
}

/// Prefixes of seven digits from 1000000 on, which the generator's numbers begin with; prices that differ from one sheet to
/// the next in every row, of some thousands, and five thousand destinations.
fn sheet(number: u32, rows: u32) -> String {
    let mut text = String::with_capacity(rows as usize * 36);
    text.push_str("code,area_name,price,increment\n");
    for row in 0..rows {
        // The called ones first, so that a smaller sheet has them too.
        let prefix = 1_000_000 + (row + 212_000) % 1_000_000;
        let price = 1_000 + (row * 7 + number * 13) % 8_999;
        let increment = ["1/1", "30/6", "60/60"][(row % 3) as usize];
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{prefix},Destination {},0.{price:04},{increment}", row % 5_000);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_is_another_prefix_and_every_sheet_another_price() {
        let (first, second) = (sheet(1, 20_000), sheet(2, 20_000));
        let prefix = |line: &str| line.split(',').next().unwrap().to_owned();
        let all: BTreeSet<String> = first.lines().skip(1).map(prefix).collect();
        assert_eq!((all.len(), all.first().map(String::as_str)), (20_000, Some("1212000")));
        let price = |line: &str| line.split(',').nth(2).unwrap().to_owned();
        assert!(first.lines().zip(second.lines()).skip(1).all(|(a, b)| prefix(a) == prefix(b) && price(a) != price(b)));
    }
}
