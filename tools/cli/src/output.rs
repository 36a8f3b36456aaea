//! Text for people, JSON and CSV for programs.
//!
//! Lists are a table, a JSON array with one row a line, or CSV with a header; everything else is lines of
//! `name: value`, a JSON object, or CSV of `field,value`. Notes for people go to the standard error.

use std::io::{self, BufWriter, Stdout, Write};

use serde::Serialize;
use serde_json::Value;

use crate::failure::Failure;

/// What `-o` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Tables and lines for people
    Text,
    /// JSON: an array for lists, an object otherwise
    Json,
    /// JSON, one object a line without an array around them
    Jsonl,
    /// CSV with a header line
    Csv,
}

/// A list of rows of one kind.
pub(crate) struct List<'a, R> {
    /// Columns of CSV: names of JSON fields, in order.
    pub(crate) fields: &'a [&'a str],
    /// Titles of the table; one that begins with `>` is aligned to the right.
    pub(crate) titles: &'a [&'a str],
    /// One line of the table.
    pub(crate) line: fn(&R) -> Vec<String>,
}

/// The standard output in one format.
pub(crate) struct Output {
    pub(crate) format: Format,
    writer: BufWriter<Stdout>,
}

impl Output {
    pub(crate) fn new(format: Format) -> Output {
        Output { format, writer: BufWriter::new(io::stdout()) }
    }

    /// Everything reaches the reader, or says why not.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.writer.flush()?)
    }

    /// A line of text.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        Ok(writeln!(self.writer, "{}", printable(text))?)
    }

    /// A text of several lines, as it is; a last line break is added when missing.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        for line in text.lines() {
            self.line(line)?;
        }
        Ok(())
    }

    /// A file for another program: not a byte is changed.
    pub(crate) fn raw(&mut self, text: &str) -> Result<(), Failure> {
        Ok(self.writer.write_all(text.as_bytes())?)
    }

    /// `name: value`, with the values below each other.
    pub(crate) fn pairs(&mut self, pairs: &[(&str, String)]) -> Result<(), Failure> {
        let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0) + 1;
        for (name, value) in pairs {
            let label = format!("{name}:");
            self.line(format!("{label:width$} {value}").trim_end())?;
        }
        Ok(())
    }

    /// A table: columns as wide as their widest cell, two spaces between.
    pub(crate) fn table(&mut self, titles: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
        let right: Vec<bool> = titles.iter().map(|title| title.starts_with('>')).collect();
        let header = titles.iter().map(|title| title.trim_start_matches('>').to_owned()).collect::<Vec<_>>();
        let cells = |row: &[String]| row.iter().map(|cell| printable(cell)).collect::<Vec<_>>();
        let lines: Vec<Vec<String>> = std::iter::once(header).chain(rows.iter().map(|row| cells(row))).collect();
        let width = |column: usize| {
            lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..titles.len()).map(width).collect();
        for line in &lines {
            let mut text = String::new();
            for ((cell, width), right) in line.iter().zip(&widths).zip(&right) {
                let padded = if *right { format!("{cell:>width$}  ") } else { format!("{cell:width$}  ") };
                text.push_str(&padded);
            }
            writeln!(self.writer, "{}", text.trim_end())?;
        }
        Ok(())
    }

    /// A whole list in the chosen format.
    pub(crate) fn list<R: Serialize>(&mut self, list: &List<'_, R>, rows: &[R]) -> Result<(), Failure> {
        match self.format {
            Format::Text => {
                let lines: Vec<Vec<String>> = rows.iter().map(list.line).collect();
                self.table(list.titles, &lines)
            }
            Format::Json => {
                let mut array = Array::default();
                for row in rows {
                    array.row(self, row)?;
                }
                array.end(self)
            }
            Format::Jsonl => rows.iter().try_for_each(|row| self.json_line(row)),
            Format::Csv => {
                self.csv(list.fields)?;
                for row in rows {
                    let value = value_of(row)?;
                    let cells: Vec<String> = list.fields.iter().map(|field| plain(&value[*field])).collect();
                    self.csv(&cells)?;
                }
                Ok(())
            }
        }
    }

    /// One object: `text` writes it for people.
    pub(crate) fn object<R: Serialize>(
        &mut self,
        object: &R,
        text: impl FnOnce(&mut Output, &R) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Text => text(self, object),
            Format::Json => self.json(object),
            Format::Jsonl => self.json_line(object),
            Format::Csv => {
                self.csv(&["field", "value"])?;
                let mut rows = Vec::new();
                flatten("", &value_of(object)?, &mut rows);
                for (field, value) in rows {
                    self.csv(&[field, value])?;
                }
                Ok(())
            }
        }
    }

    /// Indented JSON.
    pub(crate) fn json<R: Serialize>(&mut self, object: &R) -> Result<(), Failure> {
        serde_json::to_writer_pretty(&mut self.writer, object).map_err(io::Error::from)?;
        Ok(writeln!(self.writer)?)
    }

    /// JSON on one line.
    pub(crate) fn json_line<R: Serialize>(&mut self, object: &R) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.writer, object).map_err(io::Error::from)?;
        Ok(writeln!(self.writer)?)
    }

    /// One line of CSV.
    pub(crate) fn csv<S: AsRef<[u8]>>(&mut self, cells: &[S]) -> Result<(), Failure> {
        let mut writer = csv::Writer::from_writer(&mut self.writer);
        writer.write_record(cells)?;
        Ok(writer.flush()?)
    }
}

/// A JSON array that is written row by row, one a line.
#[derive(Default)]
pub(crate) struct Array {
    begun: bool,
}

impl Array {
    pub(crate) fn row<R: Serialize>(&mut self, output: &mut Output, row: &R) -> Result<(), Failure> {
        output.writer.write_all(if self.begun { b",\n" } else { b"[\n" })?;
        self.begun = true;
        Ok(serde_json::to_writer(&mut output.writer, row).map_err(io::Error::from)?)
    }

    pub(crate) fn end(self, output: &mut Output) -> Result<(), Failure> {
        Ok(output.writer.write_all(if self.begun { b"\n]\n" } else { b"[]\n" })?)
    }
}

/// A JSON value as one cell: text without quotes, null as nothing, lists separated by spaces.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(|item| !item.is_object()) => {
            items.iter().map(plain).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

fn value_of<R: Serialize>(row: &R) -> Result<Value, Failure> {
    serde_json::to_value(row).map_err(|error| io::Error::from(error).into())
}

fn flatten(path: &str, value: &Value, rows: &mut Vec<(String, String)>) {
    let inside = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| flatten(&inside(key), value, rows)),
        Value::Array(items) if items.iter().any(Value::is_object) => {
            items.iter().enumerate().for_each(|(index, item)| flatten(&inside(&index.to_string()), item, rows));
        }
        other => rows.push((path.to_owned(), plain(other))),
    }
}

/// Text without control characters: names and headers come from strangers and must not drive the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_cell_is_plain_text() {
        assert_eq!(plain(&json!(null)), "");
        assert_eq!(plain(&json!(["a", 1])), "a 1");
        assert_eq!(plain(&json!(true)), "true");
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }

    #[test]
    fn an_object_is_flattened_by_path() {
        let mut rows = Vec::new();
        flatten("", &json!({"a": {"b": 1}, "c": [{"d": "x"}], "e": []}), &mut rows);
        let rows: Vec<(&str, &str)> = rows.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(rows, [("a.b", "1"), ("c.0.d", "x"), ("e", "")]);
    }
}
