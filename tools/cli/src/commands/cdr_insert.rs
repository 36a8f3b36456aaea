//! `tandem cdr insert`: calls of other systems, one or a file of them.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use serde_json::{Map, Value};
use tandem_control::reply::{CdrInserted, InsertedCdr};
use tandem_control::request::{self, ExternalCdr, INSERT_MAX};
use tandem_control::{ExitCode, When};

use crate::client::Client;
use crate::failure::Failure;
use crate::output::{List, Output};

/// Columns of a file, and whether each is a whole number.
const COLUMNS: [(&str, bool); 8] = [
    ("account", false),
    ("caller", false),
    ("callee", false),
    ("start", false),
    ("stop", false),
    ("billing_time", true),
    ("flow_no", true),
    ("mode", true),
];

#[derive(Args)]
pub(crate) struct Insert {
    /// CSV with a header, a JSON array, or a JSON object a line; `-` is the standard input. Columns: account, caller, callee,
    /// start, stop, billing_time, flow_no, mode
    #[arg(value_name = "FILE", conflicts_with_all = ["account", "caller", "callee", "start", "stop", "billing_time", "flow_no", "mode"])]
    file: Option<PathBuf>,
    /// Account that pays
    #[arg(long, value_name = "NAME", required_unless_present = "file")]
    account: Option<String>,
    /// Caller
    #[arg(long, value_name = "NUMBER", default_value = "")]
    caller: String,
    /// Callee; its rate is looked up in the rate group of the account
    #[arg(long, value_name = "NUMBER", required_unless_present = "file")]
    callee: Option<String>,
    /// When it was answered
    #[arg(long, value_name = "TIME", required_unless_present = "file")]
    start: Option<When>,
    /// When it ended
    #[arg(long, value_name = "TIME")]
    stop: Option<When>,
    /// Seconds to bill, when they are not stop less start
    #[arg(long, value_name = "SECONDS")]
    billing_time: Option<u32>,
    /// Its key; -1 or nothing: the switch gives one. A call of a known number is neither stored nor charged
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    flow_no: Option<i64>,
    /// Payer mode: 0 phone, 1 mapping gateway, 2 bound number, 3 phone card
    #[arg(long, value_name = "MODE", default_value_t = 0)]
    mode: u8,
    /// Words for the audit log
    #[arg(short = 'm', long, value_name = "TEXT", default_value = "")]
    message: String,
    /// Only say what it would cost
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(insert: Insert, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let rows = match (&insert.file, insert.account, insert.callee, insert.start) {
        (Some(file), ..) => read(file)?,
        (None, Some(account), Some(callee), Some(start)) => vec![ExternalCdr {
            account,
            caller: insert.caller,
            callee,
            start,
            stop: insert.stop,
            billing_time: insert.billing_time,
            flow_no: insert.flow_no,
            mode: Some(insert.mode),
        }],
        _ => return Err(Failure::bad("FILE, or --account, --callee and --start are needed")),
    };
    if rows.is_empty() || rows.len() > INSERT_MAX {
        return Err(Failure::bad(format!(
            "the file has {} rows; allowed are 1 to {INSERT_MAX}, all are booked or none",
            rows.len()
        )));
    }
    let inserted = client.ask(request::CdrInsert { rows, commit: !insert.dry_run, comment: insert.message })?;
    output.list(&INSERTED, &inserted.rows)?;
    note(&inserted, insert.dry_run);
    Ok(())
}

fn note(inserted: &CdrInserted, dry_run: bool) {
    let known = match inserted.known {
        0 => String::new(),
        known => format!(", {known} known before: neither stored nor charged"),
    };
    let what = if dry_run { "nothing was stored, a preview" } else { "stored" };
    super::note(&format!("{} {what}{known}", inserted.stored));
}

const INSERTED: List<'_, InsertedCdr> = List {
    fields: &["row", "call", "outcome", "account", "callee", "prefix", "billed_s", "fee", "tax"],
    titles: &[">row", ">call", "outcome", "account", "callee", "prefix", ">billed s", ">fee", ">tax"],
    line: |row| {
        vec![
            row.row.to_string(),
            row.call.to_string(),
            row.outcome.clone(),
            row.account.clone(),
            row.callee.clone(),
            row.prefix.clone(),
            row.billed_s.to_string(),
            row.fee.clone(),
            row.tax.clone(),
        ]
    },
};

fn read(path: &Path) -> Result<Vec<ExternalCdr>, Failure> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.map_err(|error| Failure::new(ExitCode::BadValue, format!("{} cannot be read: {error}", path.display())))?;
    parse(&text).map_err(|errors| Failure::bad(errors.join("\n")))
}

/// Rows of a file; every mistake with line, column, value and rule, or none.
fn parse(text: &str) -> Result<Vec<ExternalCdr>, Vec<String>> {
    let text = text.trim_start_matches('\u{feff}');
    let objects = match text.trim_start().chars().next() {
        Some('[') => array(text),
        Some('{') => lines(text),
        _ => csv_rows(text),
    }?;
    let mut errors = Vec::new();
    let mut rows = Vec::new();
    for (place, object) in objects {
        match row(object) {
            Ok(row) => rows.push(row),
            Err(error) => errors.push(format!("{place}: {error}")),
        }
    }
    if errors.is_empty() { Ok(rows) } else { Err(errors) }
}

type Objects = Vec<(String, Map<String, Value>)>;

fn array(text: &str) -> Result<Objects, Vec<String>> {
    let rows: Vec<Map<String, Value>> =
        serde_json::from_str(text).map_err(|error| vec![format!("the file is no array of objects: {error}")])?;
    Ok(rows.into_iter().zip(1..).map(|(row, n)| (format!("row {n}"), row)).collect())
}

fn lines(text: &str) -> Result<Objects, Vec<String>> {
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.trim().is_empty());
    let read = |(line, n): (&str, usize)| {
        let object = serde_json::from_str(line).map_err(|error| vec![format!("line {n}: no JSON object: {error}")])?;
        Ok((format!("line {n}"), object))
    };
    lines.map(read).collect()
}

fn csv_rows(text: &str) -> Result<Objects, Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| vec![error.to_string()])?.clone();
    let mut objects = Vec::new();
    let mut errors = Vec::new();
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                errors.push(error.to_string());
                continue;
            }
        };
        let line = record.position().map_or(0, csv::Position::line);
        let mut object = Map::new();
        for (name, cell) in header.iter().zip(&record).filter(|(_, cell)| !cell.is_empty()) {
            let is_number = COLUMNS.iter().any(|(column, is_number)| *column == name && *is_number);
            let value = match cell.parse::<i64>() {
                Ok(number) if is_number => Value::from(number),
                _ => Value::from(cell),
            };
            object.insert(name.to_owned(), value);
        }
        objects.push((format!("line {line}"), object));
    }
    if errors.is_empty() { Ok(objects) } else { Err(errors) }
}

fn row(object: Map<String, Value>) -> Result<ExternalCdr, String> {
    for (name, value) in &object {
        if !COLUMNS.iter().any(|(column, _)| column == name) {
            let known: Vec<&str> = COLUMNS.iter().map(|(column, _)| *column).collect();
            return Err(format!("column {name:?} is not known; allowed are {}", known.join(", ")));
        }
        let text = value.as_str();
        if matches!(name.as_str(), "start" | "stop")
            && let Some(Err(error)) = text.map(When::from_str)
        {
            return Err(format!("column {name}: {error}"));
        }
        if COLUMNS.iter().any(|(column, is_number)| column == name && *is_number) && value.as_i64().is_none() {
            return Err(format!("column {name}: {value} is no whole number"));
        }
    }
    serde_json::from_value(Value::Object(object)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_of_a_file_say_the_same() {
        let csv = "account,caller,callee,start,billing_time,flow_no\nacme,49,1212,2026-11-22T08:00:00Z,61,-1\n";
        let object = r#"{"account":"acme","caller":"49","callee":"1212","start":"2026-11-22T08:00:00Z","billing_time":61,"flow_no":-1}"#;
        let rows = parse(csv).unwrap();
        assert_eq!((rows.len(), rows[0].billing_time, rows[0].flow_no), (1, Some(61), Some(-1)));
        assert_eq!(parse(object).unwrap(), rows);
        assert_eq!(parse(&format!("[{object}]")).unwrap(), rows);
    }

    #[test]
    fn every_mistake_is_named_with_its_line_and_column() {
        let csv = "account,caller,callee,start,billing_time\nacme,49,1212,yesterday,61\nacme,49,1212,20261122,x\n";
        let errors = parse(csv).unwrap_err();
        assert_eq!(errors.len(), 2, "{errors:?}");
        assert!(errors[0].starts_with("line 2: column start: ") && errors[0].contains("yesterday"), "{errors:?}");
        assert!(errors[1].starts_with("line 3: column billing_time: \"x\""), "{errors:?}");
        let errors = parse("acount,callee\na,1\n").unwrap_err();
        assert!(errors[0].contains("\"acount\"") && errors[0].contains("account"), "{errors:?}");
        let errors = parse("account,callee\na,1\n").unwrap_err();
        assert!(errors[0].contains("caller"), "{errors:?}");
    }
}
