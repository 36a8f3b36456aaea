//! `tandem quote --csv`: prices every row of a file with the columns of billing-golden.csv.
//!
//! All or nothing: when a row is wrong, every wrong row is named on the standard error and nothing is printed, so that
//! half a result is never taken for the whole.

use std::path::{Path, PathBuf};

use serde::Serialize;
use tandem_control::nearest;

use super::confirm::read_file;
use super::quote::{Case, Given};
use crate::failure::Failure;
use crate::output::{Format, List, Output};

/// The columns that are read; others (`expect_...`, `source`) are left alone.
const COLUMNS: [&str; 9] = [
    "id",
    "hold_ms",
    "hold_time_precision_ms",
    "free_time_s",
    "block_first_s",
    "block_next_s",
    "rate_per_min",
    "fee_precision",
    "fee_unit",
];
/// Wrong rows that are told one by one.
const TOLD_MAX: usize = 20;

#[derive(Serialize)]
struct Row {
    id: String,
    hold_s: i64,
    billed_s: i64,
    fee: String,
}

const LIST: List<'_, Row> = List {
    fields: &["id", "hold_s", "billed_s", "fee"],
    titles: &["id", ">hold_s", ">billed_s", ">fee"],
    line: |row| vec![row.id.clone(), row.hold_s.to_string(), row.billed_s.to_string(), row.fee.clone()],
};

pub(super) fn run(file: &PathBuf, output: &mut Output) -> Result<(), Failure> {
    let text = read_file(file)?;
    let rows = price_all(file, text.trim_start_matches('\u{feff}'))?;
    // CSV in, CSV out: for text too, so that the answer can be laid beside the question.
    if output.format == Format::Text {
        output.format = Format::Csv;
    }
    output.list(&LIST, &rows)
}

fn price_all(file: &Path, text: &str) -> Result<Vec<Row>, Failure> {
    let shown = file.display();
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| Failure::bad(format!("{shown}: {error}")))?.clone();
    let places = places(&shown.to_string(), &header)?;

    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    for (index, record) in reader.records().enumerate() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                wrong.push(format!("{shown} {}", unreadable(&error, index)));
                continue;
            }
        };
        let line = record.position().map_or(index as u64 + 2, csv::Position::line);
        match price(&record, &places) {
            Ok(row) => rows.push(row),
            Err(reason) => wrong.push(format!("{shown} line {line}: {reason}")),
        }
    }
    if wrong.is_empty() {
        return Ok(rows);
    }
    let more = wrong.len().saturating_sub(TOLD_MAX);
    wrong.truncate(TOLD_MAX);
    if more > 0 {
        wrong.push(format!("{more} more wrong rows"));
    }
    wrong.push("no row was priced".to_owned());
    Err(Failure::bad(wrong.join("\n")))
}

/// Where each of [`COLUMNS`] stands in the file.
fn places(shown: &str, header: &csv::StringRecord) -> Result<[usize; COLUMNS.len()], Failure> {
    let names: Vec<String> = header.iter().map(str::to_lowercase).collect();
    let mut places = [0; COLUMNS.len()];
    for (place, column) in places.iter_mut().zip(COLUMNS) {
        let mut found = names.iter().enumerate().filter(|(_, name)| *name == column).map(|(at, _)| at);
        *place = found.next().ok_or_else(|| {
            let unused: Vec<&String> = names.iter().filter(|name| !COLUMNS.contains(&name.as_str())).collect();
            let hint = nearest(column, &unused).map(|name| format!("; did you mean it by {name}?"));
            let hint = hint.unwrap_or_default();
            Failure::bad(format!("{shown} line 1: column {column} is missing; needed are {}{hint}", COLUMNS.join(", ")))
        })?;
        if found.next().is_some() {
            return Err(Failure::bad(format!("{shown} line 1: column {column} is there twice")));
        }
    }
    Ok(places)
}

fn price(record: &csv::StringRecord, places: &[usize; COLUMNS.len()]) -> Result<Row, String> {
    let cell = |index: usize| (COLUMNS[index], record.get(places[index]).unwrap_or_default());
    let given = Given {
        hold_ms: cell(1),
        p_hold_ms: cell(2),
        free_s: cell(3),
        first_s: cell(4),
        next_s: cell(5),
        rate: cell(6),
        fp: cell(7),
        fu: cell(8),
        conn_fee: ("conn_fee", "0"),
        tax: ("tax", "0"),
        quantise_rate: true,
    };
    let quoted = Case::read(&given)
        .map_err(|wrong| wrong.to_string())
        .and_then(|case| case.price().map_err(|error| error.to_string()))?;
    Ok(Row { id: cell(0).1.to_owned(), hold_s: quoted.hold_s, billed_s: quoted.billed_s, fee: quoted.fee })
}

fn unreadable(error: &csv::Error, index: usize) -> String {
    let line = error.position().map_or(index as u64 + 2, csv::Position::line);
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("line {line}: the row has {len} columns; allowed is {expected_len}, as in the header")
        }
        _ => format!("line {line}: {error}"),
    }
}
