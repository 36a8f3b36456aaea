//! Rate tables as CSV: reading a sheet whole or not at all, and writing one (rates.md section 5).
//!
//! What is read: UTF-8 with or without BOM; comma, semicolon or tab, whichever the header holds
//! most of; RFC 4180 quoting; a header with known names in any case and order. [`export`] writes
//! the columns of rates.md in their order, and reading that back gives the same rows.

use std::collections::HashMap;
use std::fmt;

use csv::ByteRecord;
use rust_decimal::Decimal;

use crate::error::OutOfRange;
use crate::fee::{Section, in_order};
use crate::iso_time;
use crate::money::{self, MoneyError};
use crate::rate::{ROWS_MAX, Rate};

/// Most errors that are collected: enough to see the pattern of a bad sheet.
pub const ERRORS_MAX: usize = 100;

/// Blocks of a sheet that says nothing about them, in seconds.
const INCREMENT_DEFAULT_S: u32 = 60;

/// Longest value that is repeated in an error.
const VALUE_SHOWN_MAX: usize = 60;

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

/// What a column means. The first name is the one that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Column {
    FeePrefix,
    AreaCode,
    AreaName,
    Level,
    RatePerMin,
    /// Price of one billing cycle instead of 60 s, as VOS3000 keeps it (billing.md section 4).
    RatePerPeriod,
    Period,
    FirstS,
    /// "30/6", or "60" for 60/60.
    Increment,
    Sections,
    ConnFee,
    Tax,
    Lock,
    EffectiveFrom,
    EffectiveTo,
    Memo,
}

/// Every accepted header, lower case.
const NAMES: &[(Column, &[&str])] = &[
    (Column::FeePrefix, &["fee_prefix", "rate prefix"]),
    (Column::AreaCode, &["area_code", "area prefix", "prefix"]),
    (Column::AreaName, &["area_name", "area name", "destination"]),
    (Column::Level, &["type", "rate type"]),
    (Column::RatePerMin, &["rate_per_min", "rate(minute)", "rate", "rate_per_minute", "price_per_min"]),
    (Column::RatePerPeriod, &["billing rate"]),
    (Column::Period, &["period", "billing cycle"]),
    (Column::FirstS, &["first_s"]),
    (Column::Increment, &["increment", "increments", "billing_increment", "billing increment"]),
    (Column::Sections, &["sections", "section rate"]),
    (Column::ConnFee, &["conn_fee", "connection_fee", "connection fee", "setup_fee"]),
    (Column::Tax, &["tax", "tax rate"]),
    (Column::Lock, &["lock", "lock type", "blocked"]),
    (Column::EffectiveFrom, &["effective_from", "effective_date", "effective date", "valid_from"]),
    (Column::EffectiveTo, &["effective_to", "valid_to", "valid_until"]),
    (Column::Memo, &["memo"]),
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
}

/// Every name a column may have.
pub fn column_names() -> Vec<&'static str> {
    NAMES.iter().flat_map(|(_, names)| names.iter().copied()).collect()
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

/// Reads a sheet: every row, or every error (the first [`ERRORS_MAX`]).
///
/// Besides each row's own values, it refuses a sheet whose rows contradict each other: two rows of
/// one prefix valid at the same time.
pub fn parse(bytes: &[u8]) -> Result<ParsedDeck, Vec<RowError>> {
    // A BOM is dropped by the reader itself.
    let mut reader =
        csv::ReaderBuilder::new().delimiter(delimiter(bytes)).has_headers(false).flexible(true).from_reader(bytes);
    let mut record = ByteRecord::new();
    let mut errors = Vec::new();

    if !read(&mut reader, &mut record, &mut errors) {
        errors.push(file_error("the file is empty; a header line is required"));
        return Err(errors);
    }
    let mut warnings = Vec::new();
    let mut unknown_columns = Vec::new();
    let header = Header::read(&record, &mut unknown_columns)?;
    warnings.extend(unknown_columns.iter().map(|name| format!("column {name:?} is not known and was not read")));
    if !header.has(Column::Period) && !header.has(Column::Increment) {
        warnings.push(format!(
            "no column period or increment: every row is billed in blocks of \
             {INCREMENT_DEFAULT_S}/{INCREMENT_DEFAULT_S} s"
        ));
    }

    let mut line_counter = LineCounter { bytes, at: 0, line: 1 };
    let mut rows: Vec<Rate> = Vec::new();
    let mut lines: Vec<u64> = Vec::new();
    while errors.len() < ERRORS_MAX && read(&mut reader, &mut record, &mut errors) {
        let line = line_counter.line_of(&record);
        if record.iter().all(|cell| cell.trim_ascii().is_empty()) {
            continue;
        }
        if rows.len() == ROWS_MAX {
            errors.push(RowError {
                line,
                column: String::new(),
                value: String::new(),
                rule: format!("more than {ROWS_MAX} rows"),
            });
            break;
        }
        let mut row = RowReader { header: &header, record: &record, line, errors: &mut errors };
        // After the first error rows are only checked, so a bad sheet costs no memory.
        if let Some(rate) = row.rate()
            && errors.is_empty()
        {
            rows.push(rate);
            lines.push(line);
        }
    }
    if errors.is_empty() {
        find_overlaps(&rows, &lines, &mut errors);
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
    Ok(ParsedDeck { rows, warnings, unknown_columns })
}

/// Writes rows with the columns of rates.md section 5; [`parse`] of it gives the same rows, apart
/// from row numbers, with sections renumbered from 1 and without blanks around text.
pub fn export(rows: &[Rate]) -> String {
    let mut text = EXPORT_COLUMNS.map(name_of).join(",");
    text.push('\n');
    for row in rows {
        let cells = EXPORT_COLUMNS.map(|column| quoted(&cell_text(row, column)));
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

fn cell_text(row: &Rate, column: Column) -> String {
    let instant = |ms: Option<i64>| ms.map(iso_time::format_ms).unwrap_or_default();
    match column {
        Column::FeePrefix => row.fee_prefix.clone(),
        Column::AreaCode => row.area_code.clone(),
        Column::AreaName => row.area_name.clone(),
        Column::Level => row.level.to_string(),
        Column::RatePerMin => row.rate_per_min.normalize().to_string(),
        // Never written: the same facts as rate_per_min, period and first_s.
        Column::RatePerPeriod | Column::Increment => String::new(),
        Column::Period => row.next_s.to_string(),
        Column::FirstS => row.first_s.to_string(),
        Column::Sections => in_order(&row.sections)
            .into_iter()
            .map(|section| format!("{}:{}", section.time_s, section.amount.normalize()))
            .collect::<Vec<_>>()
            .join("|"),
        Column::ConnFee => row.conn_fee.normalize().to_string(),
        Column::Tax => row.tax_pct.normalize().to_string(),
        Column::Lock => u8::from(row.lock).to_string(),
        Column::EffectiveFrom => instant(row.effective_from_ms),
        Column::EffectiveTo => instant(row.effective_to_ms),
        Column::Memo => row.memo.clone(),
    }
}

/// RFC 4180: quotes around what would be read differently without them.
fn quoted(cell: &str) -> String {
    if cell.contains([',', ';', '\t', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

fn name_of(column: Column) -> &'static str {
    NAMES.iter().find(|(named, _)| *named == column).map_or("", |(_, names)| names[0])
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

/// Which cell of a row holds what.
struct Header {
    /// Names as the file spells them.
    names: Vec<String>,
    places: HashMap<Column, usize>,
}

impl Header {
    fn read(record: &ByteRecord, unknown: &mut Vec<String>) -> Result<Header, Vec<RowError>> {
        let mut header = Header { names: Vec::new(), places: HashMap::new() };
        let mut errors = Vec::new();
        for (place, cell) in record.iter().enumerate() {
            let name = String::from_utf8_lossy(cell).trim().to_owned();
            let lower = name.to_lowercase();
            let known = NAMES.iter().find(|(_, names)| names.contains(&lower.as_str()));
            match known {
                Some((column, _)) => {
                    if let Some(other) = header.places.insert(*column, place) {
                        errors.push(RowError {
                            line: 1,
                            column: name.clone(),
                            value: String::new(),
                            rule: format!("means the same as column {}; give it once", header.names[other]),
                        });
                    }
                }
                None if name.is_empty() => {}
                None => unknown.push(name.clone()),
            }
            header.names.push(name);
        }
        if !header.has(Column::AreaCode) && !header.has(Column::FeePrefix) {
            errors.push(file_error("the header names no prefix: one of area_code, prefix, fee_prefix is required"));
        }
        if !header.has(Column::RatePerMin) && !header.has(Column::RatePerPeriod) {
            errors.push(file_error("the header names no price: rate_per_min (or \"rate(minute)\") is required"));
        }
        if header.has(Column::Increment)
            && let Some(other) = [Column::Period, Column::FirstS].into_iter().find(|column| header.has(*column))
        {
            errors.push(RowError {
                line: 1,
                column: header.name(Column::Increment),
                value: String::new(),
                rule: format!("says the same as column {}; give one", header.name(other)),
            });
        }
        if errors.is_empty() { Ok(header) } else { Err(errors) }
    }

    fn has(&self, column: Column) -> bool {
        self.places.contains_key(&column)
    }

    fn name(&self, column: Column) -> String {
        match self.places.get(&column) {
            Some(place) => self.names[*place].clone(),
            None => name_of(column).to_owned(),
        }
    }
}

/// One row on its way from cells to a [`Rate`]; every bad cell is noted, not only the first.
struct RowReader<'a> {
    header: &'a Header,
    record: &'a ByteRecord,
    line: u64,
    errors: &'a mut Vec<RowError>,
}

impl RowReader<'_> {
    fn rate(&mut self) -> Option<Rate> {
        let errors_before = self.errors.len();
        if self.record.len() != self.header.names.len() {
            let rule = format!("{} cells, but the header has {}", self.record.len(), self.header.names.len());
            self.refuse_row(rule);
            return None;
        }
        let (first_s, next_s) = self.blocks();
        let rate = Rate {
            rate_id: 0,
            fee_prefix: self.digits(Column::FeePrefix),
            area_code: self.digits(Column::AreaCode),
            area_name: self.text(Column::AreaName).to_owned(),
            level: self.level(),
            rate_per_min: self.rate_per_min(next_s),
            first_s,
            next_s,
            sections: self.sections(),
            conn_fee: self.amount(Column::ConnFee),
            tax_pct: self.amount(Column::Tax),
            lock: self.lock(),
            effective_from_ms: self.instant(Column::EffectiveFrom),
            effective_to_ms: self.instant(Column::EffectiveTo),
            memo: self.text(Column::Memo).to_owned(),
        };
        if self.errors.len() > errors_before {
            return None;
        }
        // The same rules as for a row from anywhere else: ranges, order of validity, length.
        if let Err(out_of_range) = rate.validate() {
            self.refuse_value(out_of_range);
            return None;
        }
        Some(rate)
    }

    /// The trimmed cell; empty when the column is not there. Text that is not UTF-8 is an error.
    fn text(&mut self, column: Column) -> &str {
        let Some(cell) = self.header.places.get(&column).and_then(|place| self.record.get(*place)) else {
            return "";
        };
        match std::str::from_utf8(cell) {
            Ok(text) => text.trim(),
            Err(_) => {
                let value = String::from_utf8_lossy(cell).into_owned();
                self.refuse(column, value, "is not UTF-8");
                ""
            }
        }
    }

    fn digits(&mut self, column: Column) -> String {
        let text = self.text(column).to_owned();
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text;
        }
        self.refuse(column, text, "digits 0-9 only, or empty");
        String::new()
    }

    fn amount(&mut self, column: Column) -> Decimal {
        let text = self.text(column).to_owned();
        if text.is_empty() {
            return Decimal::ZERO;
        }
        self.price(column, &text)
    }

    fn price(&mut self, column: Column, text: &str) -> Decimal {
        match money::parse_decimal(text) {
            Ok(value) if value >= Decimal::ZERO => value,
            Ok(_) => {
                self.refuse(column, text, "0 or more");
                Decimal::ZERO
            }
            Err(MoneyError::TooFine { .. }) => {
                self.refuse(column, text, "at most 8 decimals");
                Decimal::ZERO
            }
            Err(_) => {
                self.refuse(column, text, "a decimal number like 0.0125");
                Decimal::ZERO
            }
        }
    }

    fn rate_per_min(&mut self, next_s: u32) -> Decimal {
        let per_minute = self.text(Column::RatePerMin).to_owned();
        if !per_minute.is_empty() {
            return self.price(Column::RatePerMin, &per_minute);
        }
        let per_period = self.text(Column::RatePerPeriod).to_owned();
        if per_period.is_empty() {
            let column = if self.header.has(Column::RatePerMin) { Column::RatePerMin } else { Column::RatePerPeriod };
            self.refuse(column, "", "a price is required; 0 for a free destination");
            return Decimal::ZERO;
        }
        // VOS3000 exports doubles: any number of decimals, and exponents (3.91666e-05).
        let price = decimal_or_scientific(&per_period)
            .filter(|price| !price.is_sign_negative())
            .and_then(|price| per_minute_price(price, next_s));
        match price {
            Some(price) => price,
            None => {
                self.refuse(Column::RatePerPeriod, per_period, "a decimal number, 0 or more");
                Decimal::ZERO
            }
        }
    }

    /// First and next block from period and first_s, or from "30/6".
    fn blocks(&mut self) -> (u32, u32) {
        let default = (INCREMENT_DEFAULT_S, INCREMENT_DEFAULT_S);
        if self.header.has(Column::Increment) {
            let text = self.text(Column::Increment).to_owned();
            let (first, next) = text.split_once('/').unwrap_or((&text, &text));
            return match (block_s(first), block_s(next)) {
                (Some(first_s), Some(next_s)) => (first_s, next_s),
                _ => {
                    let rule = "seconds, 1 or more: first/next like 30/6, or one number for both";
                    self.refuse(Column::Increment, text, rule);
                    default
                }
            };
        }
        let next_s = if self.header.has(Column::Period) {
            let text = self.text(Column::Period).to_owned();
            self.seconds(Column::Period, &text)
        } else {
            INCREMENT_DEFAULT_S
        };
        let text = self.text(Column::FirstS).to_owned();
        let first_s = if text.is_empty() { next_s } else { self.seconds(Column::FirstS, &text) };
        (first_s, next_s)
    }

    fn seconds(&mut self, column: Column, text: &str) -> u32 {
        block_s(text).unwrap_or_else(|| {
            self.refuse(column, text, "whole seconds, 1 or more");
            INCREMENT_DEFAULT_S
        })
    }

    fn level(&mut self) -> u8 {
        let text = self.text(Column::Level).to_lowercase();
        match text.as_str() {
            "1" | "in-network" => 1,
            "2" | "local" => 2,
            "4" | "domestic long distance" => 4,
            // Without a word the strictest level: only callers with the highest permission pass.
            "5" | "international" | "" => 5,
            _ => {
                let rule = "1 in-network, 2 local, 4 domestic long distance or 5 international";
                self.refuse(Column::Level, text, rule);
                5
            }
        }
    }

    fn lock(&mut self) -> bool {
        let text = self.text(Column::Lock).to_lowercase();
        match text.as_str() {
            "" | "0" | "no" | "off" | "false" => false,
            "1" | "yes" | "on" | "true" => true,
            _ => {
                self.refuse(Column::Lock, text, "0 or 1");
                false
            }
        }
    }

    /// "time:amount" joined by "|"; positions are given in this order, from 1.
    fn sections(&mut self) -> Vec<Section> {
        let text = self.text(Column::Sections).to_owned();
        if text.is_empty() {
            return Vec::new();
        }
        let read = text.split('|').zip(1_u32..).map(|(part, position)| {
            let (time_s, amount) = part.split_once(':')?;
            let amount = money::parse_decimal(amount.trim()).ok()?;
            Some(Section {
                position,
                time_s: whole_number(time_s)?,
                amount: (amount >= Decimal::ZERO).then_some(amount)?,
            })
        });
        match read.collect::<Option<Vec<Section>>>() {
            Some(sections) => sections,
            None => {
                let rule = "seconds:amount joined by |, like 30:0.03|60:0.05";
                self.refuse(Column::Sections, text, rule);
                Vec::new()
            }
        }
    }

    fn instant(&mut self, column: Column) -> Option<i64> {
        let text = self.text(column).to_owned();
        if text.is_empty() {
            return None;
        }
        let ms = iso_time::parse_ms(&text);
        if ms.is_none() {
            let rule = "an ISO 8601 date or time, like 2026-12-01 or 2026-12-01T00:00:00Z";
            self.refuse(column, text, rule);
        }
        ms
    }

    fn refuse(&mut self, column: Column, value: impl Into<String>, rule: impl Into<String>) {
        let value: String = value.into();
        let value = match value.char_indices().nth(VALUE_SHOWN_MAX) {
            Some((end, _)) => format!("{}...", &value[..end]),
            None => value,
        };
        self.errors.push(RowError { line: self.line, column: self.header.name(column), value, rule: rule.into() });
    }

    fn refuse_row(&mut self, rule: String) {
        self.errors.push(RowError { line: self.line, column: String::new(), value: String::new(), rule });
    }

    fn refuse_value(&mut self, error: OutOfRange) {
        let column = NAMES
            .iter()
            .find(|(_, names)| names[0] == error.field)
            .map_or(error.field.to_owned(), |(column, _)| self.header.name(*column));
        self.errors.push(RowError {
            line: self.line,
            column,
            value: error.value,
            rule: format!("allowed is {}", error.allowed),
        });
    }
}

fn decimal_or_scientific(text: &str) -> Option<Decimal> {
    // The decimal library would also read 1_000.
    if text.contains('_') {
        return None;
    }
    text.parse().or_else(|_| Decimal::from_scientific(text)).ok()
}

/// fee x 60 / period, rounded half up to 8 decimals (billing.md section 4, storage note).
fn per_minute_price(per_period: Decimal, period_s: u32) -> Option<Decimal> {
    let per_minute = per_period.checked_mul(Decimal::from(60))?.checked_div(Decimal::from(period_s))?;
    money::decimal_from_units(money::units_rounded(per_minute)).ok()
}

fn block_s(text: &str) -> Option<u32> {
    whole_number(text).filter(|seconds| *seconds > 0)
}

/// Digits only: `parse` alone would also take a plus sign.
fn whole_number(text: &str) -> Option<u32> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Rows of one prefix that are valid at the same time: which of them was meant is anyone's guess.
fn find_overlaps(rows: &[Rate], lines: &[u64], errors: &mut Vec<RowError>) {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    let key = |index: &usize| {
        let row = &rows[*index];
        (row.prefix(), row.fee_prefix.len(), row.valid_from())
    };
    order.sort_by_cached_key(key);
    for pair in order.windows(2) {
        let (a, b) = (&rows[pair[0]], &rows[pair[1]]);
        let same = a.fee_prefix == b.fee_prefix && a.area_code == b.area_code;
        if same && a.overlaps(b) {
            let (first, second) = (lines[pair[0]].min(lines[pair[1]]), lines[pair[0]].max(lines[pair[1]]));
            errors.push(RowError {
                line: second,
                column: "area_code".to_owned(),
                value: a.prefix(),
                rule: format!("the same prefix is valid at the same time in line {first}"),
            });
        }
    }
    errors.sort_by_key(|error| error.line);
}
