//! Rate tables as CSV: reading a sheet whole or not at all, and writing one (rates.md section 5).
//!
//! What is read: UTF-8 with or without BOM; comma, semicolon or tab, whichever makes a header of one of the first lines;
//! RFC 4180 quoting; known names in any case and order, or those of a [`Template`](crate::sheet::Template). [`export`]
//! writes the columns of rates.md in their order, and reading that back gives the same rows.

mod codes;
mod columns;
mod edit;
mod row;

use std::fmt;

use csv::ByteRecord;

use crate::fee::in_order;
use crate::iso_time;
use crate::rate::{DECK_ROWS_MAX, ROWS_MAX, Rate};
use crate::sheet::SheetOptions;

pub use edit::edit;

use columns::{Column, HEADER_SEARCHED, Header, is_header, name_of};
use row::{Reading, RowReader};

/// Most errors that are collected: enough to see the pattern of a bad sheet.
pub const ERRORS_MAX: usize = 100;

/// Blocks of a sheet that says nothing about them, in seconds.
const INCREMENT_DEFAULT_S: u32 = 60;

/// Rows between two words to whoever watches a long reading.
const TOLD_EVERY: usize = 4_096;

/// The columns of an export, in order.
const EXPORT_COLUMNS: [Column; 14] = [
    Column::FeePrefix,
    Column::AreaCode,
    Column::AreaName,
    Column::Level,
    Column::RatePerMin,
    Column::Period,
    Column::FirstS,
    Column::Sections,
    Column::ConnFee,
    Column::Tax,
    Column::Lock,
    Column::EffectiveFrom,
    Column::EffectiveTo,
    Column::Memo,
];

/// A sheet that was read without a single error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParsedDeck {
    /// The rows, in the order of the file, without row numbers (`rate_id` 0).
    pub rows: Vec<Rate>,
    /// What was understood in a way worth knowing.
    pub warnings: Vec<String>,
    /// Columns that mean nothing here, as the file spells them; their cells were not read.
    pub unknown_columns: Vec<String>,
    /// The template that it was read by.
    pub template: Option<String>,
    /// Lines of the file that made the rows; less than the rows when cells hold lists of codes.
    pub lines: usize,
}

/// Every name a column may have.
pub fn column_names() -> Vec<&'static str> {
    columns::names()
}

/// The names that mappings call columns by.
pub fn meanings() -> Vec<&'static str> {
    columns::meanings()
}

/// The name of the column that a mapping calls `word`.
pub fn meaning(word: &str) -> Option<&'static str> {
    columns::by_name(word).map(name_of)
}

/// One thing wrong with a sheet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct RowError {
    /// Line of the file, from 1, where the row begins.
    pub line: u64,
    /// Name of the column as the file spells it; empty when the whole row is meant.
    pub column: String,
    /// The value as given, shortened when long.
    pub value: String,
    /// What was broken.
    pub rule: String,
}

impl fmt::Display for RowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if !self.column.is_empty() {
            write!(f, ", column {}", self.column)?;
        }
        if !self.value.is_empty() {
            write!(f, ": {:?}", self.value)?;
        }
        write!(f, ": {}", self.rule)
    }
}

/// Reads a sheet that says everything itself: every row, or every error (the first [`ERRORS_MAX`]).
///
/// Besides each row's own values, it refuses a sheet whose rows contradict each other: two rows of
/// one prefix valid at the same time.
pub fn parse(bytes: &[u8]) -> Result<ParsedDeck, Vec<RowError>> {
    parse_with(bytes, &SheetOptions::default(), |_| {})
}

/// Reads a whole deck as it was exported, with the rows that have ended.
pub fn parse_stored(bytes: &[u8]) -> Result<ParsedDeck, Vec<RowError>> {
    parse_up_to(DECK_ROWS_MAX, bytes, &SheetOptions::default(), |_| {})
}

/// [`parse`] with what is known of the sheet; `watch` is told now and then how many bytes were read.
pub fn parse_with(bytes: &[u8], options: &SheetOptions, watch: impl Fn(u64)) -> Result<ParsedDeck, Vec<RowError>> {
    parse_up_to(ROWS_MAX, bytes, options, watch)
}

fn parse_up_to(
    rows_max: usize,
    bytes: &[u8],
    options: &SheetOptions,
    watch: impl Fn(u64),
) -> Result<ParsedDeck, Vec<RowError>> {
    // A BOM is dropped by the reader itself.
    let (delimiter, header_at) = find_header(bytes, options);
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(bytes);
    let mut record = ByteRecord::new();
    let mut errors = Vec::new();
    let mut line_counter = LineCounter { bytes, at: 0, line: 1 };

    for _ in 0..=header_at {
        if !read(&mut reader, &mut record, &mut errors) {
            errors.push(file_error("the file is empty; a header line is required"));
            return Err(errors);
        }
    }
    let mut warnings = Vec::new();
    let mut unknown_columns = Vec::new();
    let header = Header::read(&record, line_counter.line_of(&record), options, &mut unknown_columns)?;
    let reading = Reading::new(&header, options);
    warnings.extend(unknown_columns.iter().map(|name| format!("column {name:?} is not known and was not read")));
    if !header.has(Column::Period) && !header.has(Column::Increment) {
        warnings.push(format!(
            "no column period or increment: every row is billed in blocks of \
             {INCREMENT_DEFAULT_S}/{INCREMENT_DEFAULT_S} s"
        ));
    }

    let mut rows: Vec<Rate> = Vec::new();
    // Line of each row; kept small, a sheet has a million.
    let mut lines: Vec<u32> = Vec::new();
    let mut counted = 0;
    while errors.len() < ERRORS_MAX && read(&mut reader, &mut record, &mut errors) {
        let line = line_counter.line_of(&record);
        if record.iter().all(|cell| cell.trim_ascii().is_empty()) {
            continue;
        }
        counted += 1;
        if counted % TOLD_EVERY == 0 {
            watch(line_counter.at as u64);
        }
        let before = rows.len();
        RowReader { reading: &reading, record: &record, line, errors: &mut errors }.rates(&mut rows);
        if rows.len() > rows_max {
            let rule = format!("more than {rows_max} rows");
            errors.push(RowError { line, column: String::new(), value: String::new(), rule });
            break;
        }
        // After the first error rows are only checked, so a bad sheet costs no memory.
        if !errors.is_empty() {
            rows.truncate(before);
        }
        lines.resize(rows.len(), u32::try_from(line).unwrap_or(u32::MAX));
    }
    if errors.is_empty() {
        let column = header.name(header.prefix_column());
        find_overlaps(&rows, &lines, &column, &mut errors);
    }
    if !errors.is_empty() {
        errors.truncate(ERRORS_MAX);
        return Err(errors);
    }
    if header.has(Column::RatePerPeriod) && !header.has(Column::RatePerMin) {
        let cycles = rows.iter().filter(|row| row.next_s != 60).count();
        if cycles > 0 {
            warnings.push(format!(
                "\"billing rate\" was read as the price of one billing cycle and converted to a \
                 price per minute in {cycles} rows whose cycle is not 60 s"
            ));
        }
    }
    Ok(ParsedDeck { rows, warnings, unknown_columns, template: header.template, lines: counted })
}

/// The separator of the file, and which of its records is the header: the first that can be one with any separator. A
/// file without one is read from its first line, so that the errors name what is missing there.
fn find_header(bytes: &[u8], options: &SheetOptions) -> (u8, usize) {
    let mut best: Option<(usize, usize, u8)> = None;
    let mut record = ByteRecord::new();
    for separator in [b',', b';', b'\t'] {
        let mut reader =
            csv::ReaderBuilder::new().delimiter(separator).has_headers(false).flexible(true).from_reader(bytes);
        for at in 0..HEADER_SEARCHED {
            if !reader.read_byte_record(&mut record).unwrap_or(false) {
                break;
            }
            if is_header(&record, options) {
                let cells = record.len();
                if best.is_none_or(|(known_at, known_cells, _)| (at, known_cells) < (known_at, cells)) {
                    best = Some((at, cells, separator));
                }
                break;
            }
        }
    }
    best.map_or_else(|| (delimiter(bytes), 0), |(at, _, separator)| (separator, at))
}

/// Writes rows with the columns of rates.md section 5; [`parse`] of it gives the same rows, apart
/// from row numbers, with sections renumbered from 1 and without blanks around text.
pub fn export(rows: &[Rate]) -> String {
    let mut text = header_line();
    rows.iter().for_each(|row| export_row(row, &mut text));
    text
}

/// The first line of an export.
pub fn header_line() -> String {
    let mut text = EXPORT_COLUMNS.map(name_of).join(",");
    text.push('\n');
    text
}

/// Appends the line of one row.
pub fn export_row(row: &Rate, text: &mut String) {
    use std::fmt::Write;
    let instant = |ms: Option<i64>| ms.map(iso_time::format_ms).unwrap_or_default();
    quoted(&row.fee_prefix, text);
    text.push(',');
    quoted(&row.area_code, text);
    text.push(',');
    quoted(&row.area_name, text);
    // Writing to a String cannot fail.
    let _ = write!(text, ",{},{},{},{},", row.level, row.rate_per_min.normalize(), row.next_s, row.first_s);
    for (n, section) in in_order(&row.sections).into_iter().enumerate() {
        let between = if n == 0 { "" } else { "|" };
        let _ = write!(text, "{between}{}:{}", section.time_s, section.amount.normalize());
    }
    let _ = write!(
        text,
        ",{},{},{},{},{},",
        row.conn_fee.normalize(),
        row.tax_pct.normalize(),
        u8::from(row.lock),
        instant(row.effective_from_ms),
        instant(row.effective_to_ms)
    );
    quoted(&row.memo, text);
    text.push('\n');
}

/// RFC 4180: quotes around what would be read differently without them.
fn quoted(cell: &str, text: &mut String) {
    if cell.contains([',', ';', '\t', '"', '\n', '\r']) {
        text.push('"');
        text.push_str(&cell.replace('"', "\"\""));
        text.push('"');
    } else {
        text.push_str(cell);
    }
}

/// The separator that the header line holds most of outside quotes; a comma when it has none.
fn delimiter(bytes: &[u8]) -> u8 {
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0)];
    let mut in_quotes = false;
    for byte in bytes {
        match byte {
            b'"' => in_quotes = !in_quotes,
            b'\n' | b'\r' if !in_quotes => break,
            _ if !in_quotes => {
                for (separator, count) in &mut counts {
                    *count += usize::from(byte == separator);
                }
            }
            _ => {}
        }
    }
    // On equal counts the earlier one in the list wins.
    let most = counts.iter().rev().max_by_key(|(_, count)| *count);
    most.map_or(b',', |(separator, _)| *separator)
}

/// Reads the next record; false at the end. The reader works on bytes and accepts any width, so it
/// has nothing to complain about; were that to change, the complaint ends the file.
fn read(reader: &mut csv::Reader<&[u8]>, record: &mut ByteRecord, errors: &mut Vec<RowError>) -> bool {
    match reader.read_byte_record(record) {
        Ok(more) => more,
        Err(error) => {
            errors.push(RowError {
                line: reader.position().line(),
                column: String::new(),
                value: String::new(),
                rule: error.to_string(),
            });
            false
        }
    }
}

/// Lines of the file. The reader's own count is that of the end of the record before, which is
/// short by every blank line and by one in files with CR LF.
struct LineCounter<'a> {
    bytes: &'a [u8],
    at: usize,
    line: u64,
}

impl LineCounter<'_> {
    /// Line on which `record` begins; asked in the order of the file, so it counts each byte once.
    fn line_of(&mut self, record: &ByteRecord) -> u64 {
        let begins = record.position().and_then(|position| usize::try_from(position.byte()).ok()).unwrap_or(self.at);
        while let Some(byte) = self.bytes.get(self.at) {
            if self.at >= begins && !matches!(byte, b'\r' | b'\n') {
                break;
            }
            self.line += u64::from(*byte == b'\n');
            self.at += 1;
        }
        self.line
    }
}

fn file_error(rule: impl Into<String>) -> RowError {
    RowError { line: 1, column: String::new(), value: String::new(), rule: rule.into() }
}

/// Rows of one prefix that are valid at the same time: which of them was meant is anyone's guess.
fn find_overlaps(rows: &[Rate], lines: &[u32], column: &str, errors: &mut Vec<RowError>) {
    let mut order: Vec<u32> = (0..rows.len() as u32).collect();
    let row = |index: u32| &rows[index as usize];
    order.sort_unstable_by(|a, b| {
        let (a, b) = (row(*a), row(*b));
        let split = a.fee_prefix.len().cmp(&b.fee_prefix.len());
        a.cmp_prefix(b).then(split).then(a.valid_from().cmp(&b.valid_from()))
    });
    for pair in order.windows(2) {
        let (a, b) = (row(pair[0]), row(pair[1]));
        let same = a.fee_prefix == b.fee_prefix && a.area_code == b.area_code;
        if same && a.overlaps(b) {
            let [a_line, b_line] = [pair[0], pair[1]].map(|index| u64::from(lines[index as usize]));
            let (first, second) = (a_line.min(b_line), a_line.max(b_line));
            errors.push(RowError {
                line: second,
                column: column.to_owned(),
                value: a.prefix(),
                rule: format!("the same prefix is valid at the same time in line {first}"),
            });
            if errors.len() >= ERRORS_MAX * 10 {
                break;
            }
        }
    }
    errors.sort_by_key(|error| error.line);
}
