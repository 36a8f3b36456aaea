//! CDR day tables: one row per call, one table per day of the end time in the server's zone (cdr.md 4.4), and a view of it
//! with one column per field of [`CDR_FIELDS`].

use std::path::Path;
use std::sync::LazyLock;

use rusqlite::types::{Null, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, Statement};
use serde_json::{Map, Value};
use tandem_rating::cdr::{CDR_FIELDS, Cdr, CdrKind};

use crate::amount;
use crate::block_index::Fields;
use crate::block_sums::{self, Sums};
use crate::block_values::TIME;
use crate::error::StoreError;
use crate::msgpack::{Token, Tokens};
use crate::payload::{ATTEMPT, FIELDS, Field};

/// Fields with a column of their own: what people ask by, and what is summed. The others stand in one JSON array, because a
/// column costs 50 ns to bind and write whether it has a value or not, and most of a hundred are 0 or empty.
const COLUMNS: [&str; 24] = [
    "flow_no",
    "caller_in",
    "caller_billed",
    "callee_in",
    "callee_billed",
    "caller_gateway",
    "callee_gateway",
    "account",
    "agent_account",
    "vendor_account",
    "connect_ms",
    "end_ms",
    "hold_s",
    "billed_s",
    "vendor_s",
    "fee",
    "tax",
    "vendor_fee",
    "vendor_tax",
    "margin",
    "end_reason",
    "caller_rtp_relayed",
    "callee_rtp_relayed",
    // JSON of some 700 bytes: within JSON every quotation mark of it would be written and read as two bytes.
    "legs",
];

/// Fields with an index ([`crate::block_index`]): what people ask by (cdr.md 4.4; the called number and the routing gateway
/// beside it, and the end reason as text).
pub(crate) const INDEXED: [&str; 10] = [
    "account",
    "agent_account",
    "callee_billed",
    "callee_gateway",
    "callee_in",
    "caller_billed",
    "caller_gateway",
    "caller_in",
    "end_reason",
    "vendor_account",
];

/// What the index has of a day: beside the keys the numbers that people bound and sort by.
pub(crate) const INDEX: Fields = Fields { keys: &INDEXED, values: &[TIME, HOLD_S, FEE, ANSWERED] };

/// What totals are of ([`crate::block_sums`]): the first [`SUMMED_NUMBERS`] are numbers, the others amounts.
pub(crate) const SUMMED: [&str; 10] = [
    "hold_s",
    "billed_s",
    "vendor_s",
    "caller_rtp_relayed",
    "callee_rtp_relayed",
    "fee",
    "tax",
    "vendor_fee",
    "vendor_tax",
    "margin",
];
/// See [`SUMMED`].
pub(crate) const SUMMED_NUMBERS: usize = 5;

/// Held seconds, in the index.
pub(crate) const HOLD_S: &str = "hold_s";
/// The customer's fee in units of 10^-8, in the index.
pub(crate) const FEE: &str = "fee";
/// 1 for an answered call, in the index.
pub(crate) const ANSWERED: &str = "answered";

/// The numbers of a row for the index, behind its time.
pub(crate) type Numbers = [i64; 3];

/// Fields that are unsigned in a [`Cdr`]; SQLite knows signed integers only, so these are turned back when read.
const UNSIGNED: [&str; 4] = ["flow_no", "flow_no_first", "rate_id", "vendor_rate_id"];

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// Places of the fields of [`INDEXED`].
static KEYS: LazyLock<[usize; INDEXED.len()]> = LazyLock::new(|| INDEXED.map(|name| place(name).unwrap_or(FIELDS)));
/// Places of held seconds, fee and time of the answer.
static NUMBERS: LazyLock<[usize; 3]> =
    LazyLock::new(|| ["hold_s", "fee", "connect_ms"].map(|name| place(name).unwrap_or(FIELDS)));
/// Places of the fields of [`SUMMED`].
static SUMMED_AT: LazyLock<[usize; SUMMED.len()]> = LazyLock::new(|| SUMMED.map(|name| place(name).unwrap_or(FIELDS)));
/// Place of the end time.
static END_MS: LazyLock<usize> = LazyLock::new(|| place("end_ms").unwrap_or(FIELDS));

/// Place of a field in [`CDR_FIELDS`].
pub(crate) fn place(name: &str) -> Option<usize> {
    CDR_FIELDS.iter().position(|(field, _)| *field == name)
}

/// The day of an instant as yyyymmdd, `zone_offset_ms` east of UTC.
///
/// Times beyond the years 0 to 9999 count as their nearest day, so that the number always has its eight digits.
pub fn day_of(at_ms: i64, zone_offset_ms: i64) -> i64 {
    // Days from 0000-03-01 (Unix day -719468), then the civil date (Hinnant, "chrono-compatible low-level date algorithms").
    let days = at_ms.saturating_add(zone_offset_ms).div_euclid(DAY_MS).clamp(-719_528, 2_932_896) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    year * 10_000 + month * 100 + day
}

/// The first instant of a day, UTC ms; of a number that is no day something near it.
pub fn day_start_ms(day: i64) -> i64 {
    let (year, month, day) = (day / 10_000, day / 100 % 100, day % 100);
    // The other way round (Hinnant, "days_from_civil").
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era - 719_468) * DAY_MS
}

/// Name of what people read: a view with a column for each field of [`CDR_FIELDS`].
pub(crate) fn view_name(day: i64) -> String {
    format!("cdr_{day:08}")
}

/// Name of the table under it: `id`, the columns, and `rest`, a JSON array of the other fields in order.
pub(crate) fn table_name(day: i64) -> String {
    format!("cdr_{day:08}_row")
}

/// Where the fields are in the table of a day. A table keeps the columns it was made with; `rest` is what has none, so that
/// fields added later stand at its end and older rows have shorter arrays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Places of the fields with a column, in the order of the columns.
    columns: Vec<usize>,
    /// Places of the others.
    rest: Vec<usize>,
}

impl Layout {
    fn new(columns: Vec<usize>) -> Layout {
        let id = place("id");
        let rest = (0..FIELDS).filter(|index| !columns.contains(index) && Some(*index) != id).collect();
        Layout { columns, rest }
    }

    /// Of the table of `day`; `None` when there is none.
    pub(crate) fn of(connection: &Connection, path: &Path, day: i64) -> Result<Option<Layout>, StoreError> {
        let names = columns_of(connection, path, &table_name(day))?;
        let columns: Vec<usize> = names.iter().filter(|name| *name != "id").filter_map(|name| place(name)).collect();
        Ok((!names.is_empty()).then(|| Layout::new(columns)))
    }

    fn names(&self) -> impl Iterator<Item = &'static str> {
        self.columns.iter().map(|index| CDR_FIELDS[*index].0)
    }

    /// The columns to select for [`read`].
    pub(crate) fn select_list(&self) -> String {
        let names: Vec<String> = self.names().map(|name| format!("\"{name}\"")).collect();
        format!("id, {}, rest", names.join(", "))
    }

    /// The statement that [`insert`] runs.
    pub(crate) fn insert_sql(&self, day: i64) -> String {
        let marks = vec!["?"; self.columns.len() + 2].join(", ");
        format!("INSERT INTO {} ({}) VALUES ({marks})", table_name(day), self.select_list())
    }

    fn create_table(&self, day: i64) -> String {
        let columns: Vec<String> = self.columns.iter().map(|index| column(*index)).collect();
        format!(
            "CREATE TABLE {} (id INTEGER PRIMARY KEY, {}, rest TEXT NOT NULL) STRICT;",
            table_name(day),
            columns.join(", ")
        )
    }

    fn create_view(&self, day: i64) -> String {
        let columns: Vec<String> = CDR_FIELDS
            .iter()
            .enumerate()
            .map(|(index, (name, _))| match self.rest.iter().position(|other| *other == index) {
                Some(at) => format!("json_extract(rest, '$[{at}]') AS \"{name}\""),
                None => format!("\"{name}\""),
            })
            .collect();
        let (view, table) = (view_name(day), table_name(day));
        format!("DROP VIEW IF EXISTS {view}; CREATE VIEW {view} AS SELECT {} FROM {table};", columns.join(", "))
    }
}

/// Makes table and view of `day`; gives an older view the fields that were added since.
pub(crate) fn ensure(connection: &Connection, path: &Path, day: i64) -> Result<Layout, StoreError> {
    let mut sql = String::new();
    let layout = match Layout::of(connection, path, day)? {
        Some(layout) => layout,
        None => {
            let layout = Layout::new(COLUMNS.iter().filter_map(|name| place(name)).collect());
            sql.push_str(&layout.create_table(day));
            layout
        }
    };
    let shown = columns_of(connection, path, &view_name(day))?;
    if !shown.iter().map(String::as_str).eq(CDR_FIELDS.iter().map(|(name, _)| *name)) {
        sql.push_str(&layout.create_view(day));
    }
    connection.execute_batch(&sql).map_err(StoreError::sql(path, "make a CDR day table"))?;
    connection
        .execute("INSERT INTO cdr_day (day, cdrs) VALUES (?1, 0) ON CONFLICT DO NOTHING", [day])
        .map_err(StoreError::sql(path, "write table cdr_day"))?;
    Ok(layout)
}

fn column(index: usize) -> String {
    let (name, kind) = CDR_FIELDS[index];
    match kind {
        CdrKind::Int => format!("\"{name}\" INTEGER"),
        CdrKind::Text | CdrKind::Money | CdrKind::Json => format!("\"{name}\" TEXT"),
    }
}

fn columns_of(connection: &Connection, path: &Path, table: &str) -> Result<Vec<String>, StoreError> {
    connection
        .prepare_cached("SELECT name FROM pragma_table_info(?1)")
        .and_then(|mut statement| statement.query_map([table], |row| row.get(0))?.collect())
        .map_err(StoreError::sql(path, "read the columns of a CDR day table"))
}

/// The end time of a CDR.
pub(crate) fn end_ms(fields: &[Field<'_>; FIELDS]) -> i64 {
    match fields.get(*END_MS) {
        Some(Field::Int(end_ms)) => *end_ms,
        _ => 0,
    }
}

/// A key of the index: a text, or a number as text.
pub(crate) enum Key<'a> {
    Text(&'a [u8]),
    Number([u8; NUMBER_LEN], u8),
}

/// 00 to 99.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut n = 0;
    while n < pairs.len() {
        pairs[n] = [b'0' + n as u8 / 10, b'0' + n as u8 % 10];
        n += 1;
    }
    pairs
};

/// Bytes of the longest number, with its sign.
const NUMBER_LEN: usize = 20;

impl Key<'_> {
    pub(crate) fn number(value: i64) -> Self {
        let mut text = [0; NUMBER_LEN];
        let mut at = NUMBER_LEN;
        let mut left = value.unsigned_abs();
        // Two digits at a time: most are times of thirteen.
        while left >= 10 {
            let [tens, ones] = PAIRS[(left % 100) as usize];
            (text[at - 2], text[at - 1]) = (tens, ones);
            at -= 2;
            left /= 100;
        }
        if left > 0 || at == NUMBER_LEN {
            at -= 1;
            text[at] = b'0' + left as u8;
        }
        if value < 0 {
            at -= 1;
            text[at] = b'-';
        }
        Key::Number(text, at as u8)
    }
}

impl AsRef<[u8]> for Key<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Key::Text(text) => text,
            Key::Number(text, from) => text.get(usize::from(*from)..).unwrap_or_default(),
        }
    }
}

/// What [`INDEXED`] names, of a CDR.
pub(crate) fn keys<'a>(fields: &[Field<'a>; FIELDS]) -> [Key<'a>; INDEXED.len()] {
    KEYS.map(|index| match fields.get(index) {
        Some(Field::Text(text)) => Key::Text(text),
        Some(Field::Int(number)) => Key::number(*number),
        _ => Key::Text(b""),
    })
}

/// What [`INDEX`] has as numbers, of a CDR.
pub(crate) fn numbers(fields: &[Field<'_>; FIELDS]) -> Numbers {
    let [hold_s, fee, connect_ms] = NUMBERS.map(|index| fields.get(index).copied().unwrap_or_default());
    let hold_s = match hold_s {
        Field::Int(hold_s) => hold_s,
        _ => 0,
    };
    let fee = match fee {
        Field::Text(fee) => fee_units(fee),
        _ => 0,
    };
    [hold_s, fee, i64::from(matches!(connect_ms, Field::Int(_)))]
}

/// What a CDR adds to the sums; `None` when an amount of it cannot be read.
pub(crate) fn sums(fields: &[Field<'_>; FIELDS], answered: bool) -> Option<Sums> {
    let field = |at: usize| SUMMED_AT.get(at).and_then(|place| fields.get(*place)).copied().unwrap_or_default();
    let number = |at| match field(at) {
        Field::Int(number) => number,
        _ => 0,
    };
    let amount = |at| match field(SUMMED_NUMBERS + at) {
        Field::Text(text) => text,
        _ => b"",
    };
    block_sums::of_row(answered, std::array::from_fn(number), std::array::from_fn(amount), "a CDR").ok()
}

/// What to select for [`sums_of_row`].
pub(crate) fn sums_list() -> String {
    format!("connect_ms IS NOT NULL, {}", SUMMED.join(", "))
}

/// The same of a stored row, whose columns of [`sums_list`] begin at `first`.
///
/// # Errors
/// The database; an amount that cannot be read.
pub(crate) fn sums_of_row(row: &Row<'_>, first: usize, path: &Path, table: &str) -> Result<Sums, StoreError> {
    let failed = || StoreError::sql(path, "read a CDR day table");
    let mut numbers = [0; SUMMED_NUMBERS];
    for (at, number) in numbers.iter_mut().enumerate() {
        *number = row.get(first + 1 + at).map_err(failed())?;
    }
    let mut amounts: [&[u8]; SUMMED.len() - SUMMED_NUMBERS] = [b""; SUMMED.len() - SUMMED_NUMBERS];
    for (at, amount) in amounts.iter_mut().enumerate() {
        let value = row.get_ref(first + 1 + SUMMED_NUMBERS + at);
        *amount = value.and_then(|value| Ok(value.as_bytes()?)).map_err(failed())?;
    }
    block_sums::of_row(row.get(first).map_err(failed())?, numbers, amounts, table)
}

/// A fee in units; one that is beyond an `i64` is as large as it can be. What is no amount is refused where it is summed.
fn fee_units(fee: &[u8]) -> i64 {
    let units = amount::units("of the index", "fee", fee).unwrap_or(0);
    i64::try_from(units).unwrap_or(if units < 0 { i64::MIN } else { i64::MAX })
}

/// The last rows of the table of `day`, from `first_id` on, as the index wants them: (id, end time, keys, numbers, sums).
pub(crate) fn key_rows(
    connection: &Connection,
    path: &Path,
    day: i64,
    first_id: i64,
    last_id: i64,
    mut each: impl FnMut(i64, i64, [&str; INDEXED.len()], Numbers, Option<Sums>),
) -> Result<(), StoreError> {
    let texts: Vec<String> = INDEXED.iter().map(|name| format!("CAST({name} AS TEXT)")).collect();
    let sql = format!(
        "SELECT id, end_ms, {}, hold_s, fee, {} FROM {} WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
        texts.join(", "),
        sums_list(),
        // Whatever columns the table was made with.
        view_name(day)
    );
    let mut read = || -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query([first_id, last_id])?;
        while let Some(row) = rows.next()? {
            let mut keys = [""; INDEXED.len()];
            for (index, key) in keys.iter_mut().enumerate() {
                *key = row.get_ref(index + 2)?.as_str_or_null()?.unwrap_or_default();
            }
            let at = 2 + INDEXED.len();
            let numbers = [row.get(at)?, fee_units(row.get_ref(at + 1)?.as_bytes()?), row.get(at + 2)?];
            each(row.get(0)?, row.get(1)?, keys, numbers, sums_of_row(row, at + 2, path, "a CDR").ok());
        }
        Ok(())
    };
    read().map_err(StoreError::sql(path, "read a CDR day table"))
}

/// Writes one row, with row id `id`; `json` is room to work in.
pub(crate) fn insert(
    statement: &mut Statement<'_>,
    layout: &Layout,
    fields: &[Field<'_>; FIELDS],
    id: i64,
    json: &mut Vec<u8>,
) -> rusqlite::Result<()> {
    statement.raw_bind_parameter(1, id)?;
    let mut mark = 2;
    for index in &layout.columns {
        match fields[*index] {
            Field::Null => statement.raw_bind_parameter(mark, Null)?,
            Field::Int(value) => statement.raw_bind_parameter(mark, value)?,
            Field::Big(value) => statement.raw_bind_parameter(mark, value as i64)?,
            Field::Text(text) => statement.raw_bind_parameter(mark, as_text(text))?,
            Field::Attempts(encoded) => {
                json.clear();
                write_attempts(json, encoded).ok_or(rusqlite::Error::InvalidQuery)?;
                statement.raw_bind_parameter(mark, as_text(json))?;
            }
        }
        mark += 1;
    }
    json.clear();
    write_rest(json, layout, fields)?;
    statement.raw_bind_parameter(mark, as_text(json))?;
    statement.raw_execute()?;
    Ok(())
}

/// UTF-8 as SQLite takes it.
pub(crate) fn as_text(bytes: &[u8]) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(ValueRef::Text(bytes))
}

fn write_rest(json: &mut Vec<u8>, layout: &Layout, fields: &[Field<'_>; FIELDS]) -> rusqlite::Result<()> {
    json.push(b'[');
    for index in &layout.rest {
        match fields[*index] {
            Field::Null => json.extend_from_slice(b"null"),
            Field::Int(value) => write_int(json, value),
            Field::Big(value) => json.extend_from_slice(value.to_string().as_bytes()),
            Field::Text(text) => write_text(json, text),
            Field::Attempts(encoded) => write_attempts(json, encoded).ok_or(rusqlite::Error::InvalidQuery)?,
        }
        json.push(b',');
    }
    if json.len() > 1 {
        json.pop();
    }
    json.push(b']');
    Ok(())
}

/// Most are one digit.
fn write_int(json: &mut Vec<u8>, value: i64) {
    if (0..10).contains(&value) {
        json.push(b'0' + value as u8);
    } else {
        json.extend_from_slice(Key::number(value).as_ref());
    }
}

fn write_text(json: &mut Vec<u8>, text: &[u8]) {
    // Without a way out of the loop, so that it is done many bytes at a time.
    let is_plain = |plain, byte: &u8| plain & (*byte >= b' ') & (*byte < 0x7f) & (*byte != b'"') & (*byte != b'\\');
    if text.iter().fold(true, is_plain) {
        json.push(b'"');
        json.extend_from_slice(text);
        json.push(b'"');
    } else {
        // Writing to memory cannot fail, and the text was looked at before.
        let _ = serde_json::to_writer(json, std::str::from_utf8(text).unwrap_or_default());
    }
}

/// The attempts as serde writes them to JSON; `None` when they are not what [`ATTEMPT`] says.
fn write_attempts(json: &mut Vec<u8>, encoded: &[u8]) -> Option<()> {
    let mut tokens = Tokens::new(encoded);
    let Token::Array(attempts) = tokens.next()? else { return None };
    json.push(b'[');
    for attempt in 0..attempts {
        if tokens.next()? != Token::Array(ATTEMPT.len()) {
            return None;
        }
        for (index, name) in ATTEMPT.iter().enumerate() {
            json.extend_from_slice(match (attempt, index) {
                (0, 0) => b"{\"",
                (_, 0) => b",{\"",
                _ => b",\"",
            });
            json.extend_from_slice(name.as_bytes());
            json.extend_from_slice(b"\":");
            match tokens.next()? {
                Token::Int(value) => write_int(json, value),
                Token::Text(text) => write_text(json, text),
                _ => return None,
            }
        }
        json.push(b'}');
    }
    json.push(b']');
    Some(())
}

/// Reads back a row selected with [`Layout::select_list`].
///
/// It goes through serde, field by name, so that a field added to [`Cdr`] with a default reads from older tables.
pub(crate) fn read(row: &Row<'_>, layout: &Layout, day: i64) -> Result<Cdr, StoreError> {
    let mut map = Map::with_capacity(FIELDS);
    let mut flow_no = 0;
    let bad = |flow_no: i64, column: &str, cause: String| StoreError::Row {
        table: table_name(day),
        row: (flow_no as u64).to_string(),
        column: column.to_owned(),
        cause,
    };
    let id: i64 = row.get(0).map_err(|error| bad(0, "id", error.to_string()))?;
    map.insert("id".to_owned(), Value::from(id));
    for (at, index) in layout.columns.iter().enumerate() {
        let (name, kind) = CDR_FIELDS[*index];
        let stored = row.get_ref(at + 1).map_err(|error| bad(flow_no, name, error.to_string()))?;
        let value = match (stored, kind) {
            (ValueRef::Null, _) => continue,
            (ValueRef::Integer(value), CdrKind::Int) if UNSIGNED.contains(&name) => {
                if name == "flow_no" {
                    flow_no = value;
                }
                Value::from(value as u64)
            }
            (ValueRef::Integer(value), CdrKind::Int) => Value::from(value),
            (ValueRef::Text(text), CdrKind::Text | CdrKind::Money) => match std::str::from_utf8(text) {
                Ok(text) => Value::from(text),
                Err(error) => return Err(bad(flow_no, name, error.to_string())),
            },
            (ValueRef::Text(text), CdrKind::Json) => match serde_json::from_slice(text) {
                Ok(value) => value,
                Err(error) => return Err(bad(flow_no, name, error.to_string())),
            },
            (other, _) => return Err(bad(flow_no, name, format!("it holds a value of kind {}", other.data_type()))),
        };
        map.insert(name.to_owned(), value);
    }
    let rest = row.get_ref(layout.columns.len() + 1).and_then(|value| Ok(value.as_bytes()?));
    let rest: Vec<Value> = rest
        .map_err(|error| error.to_string())
        .and_then(|bytes| serde_json::from_slice(bytes).map_err(|error| error.to_string()))
        .map_err(|cause| bad(flow_no, "rest", cause))?;
    for (index, value) in layout.rest.iter().zip(rest) {
        // What is null was not known, or has a default.
        if !value.is_null() {
            map.insert(CDR_FIELDS[*index].0.to_owned(), value);
        }
    }
    serde_json::from_value(Value::Object(map)).map_err(|error| bad(flow_no, "of any name", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tandem_rating::usage::Attempt;

    #[test]
    fn days_follow_the_civil_calendar_in_the_servers_zone() {
        let hour = 3_600_000;
        for (at_ms, offset, day) in [
            (0, 0, 19_700_101),
            (-1, 0, 19_691_231),
            (951_782_400_000, 0, 20_000_229),
            (951_868_800_000, 0, 20_000_301),
            (1_795_305_600_000, 0, 20_261_122),
            (1_795_305_600_000 - 1, 0, 20_261_121),
            (1_795_305_600_000 - 1, 8 * hour, 20_261_122),
            (1_795_305_600_000, -hour, 20_261_121),
            (1_798_761_599_999, 0, 20_261_231),
            (1_798_761_600_000, 0, 20_270_101),
            (i64::MAX, hour, 99_991_231),
            (i64::MIN, -hour, 101),
        ] {
            assert_eq!(day_of(at_ms, offset), day, "{at_ms} at {offset}");
        }
    }

    #[test]
    fn a_day_begins_where_it_is_first_that_day() {
        for day in [101, 19_691_231, 19_700_101, 20_000_229, 20_240_301, 20_261_122, 20_261_231, 99_991_231] {
            let start_ms = day_start_ms(day);
            assert_eq!((day_of(start_ms, 0), day_of(start_ms + DAY_MS - 1, 0)), (day, day));
            assert!(day == 101 || day_of(start_ms - 1, 0) < day, "{day}");
        }
    }

    #[test]
    fn every_field_is_a_column_or_in_the_rest_and_the_indexed_ones_are_columns() {
        let layout = Layout::new(COLUMNS.iter().filter_map(|name| place(name)).collect());
        assert_eq!(layout.columns.len(), COLUMNS.len(), "a name is no field");
        assert_eq!(layout.columns.len() + layout.rest.len() + 1, FIELDS);
        assert!(INDEXED.iter().all(|name| COLUMNS.contains(name)));
        assert!(INDEXED.is_sorted());
    }

    #[test]
    fn numbers_are_keys_as_they_are_written() {
        for number in [0, 1, -1, 9, 10, 99, 100, 101, 110, 486, -40, 1_000, 10_007, i64::MAX, i64::MIN] {
            assert_eq!(Key::number(number).as_ref(), number.to_string().as_bytes());
        }
    }

    #[test]
    fn attempts_are_written_as_serde_writes_them() {
        let attempt = |reason: &str| Attempt {
            gateway: "rg1".into(),
            status: 503,
            q850: 41,
            reason: reason.into(),
            start_ms: -1,
            end_ms: i64::MAX,
            next: Default::default(),
        };
        for attempts in
            [vec![], vec![attempt("x")], vec![attempt("a\"b\\c\nd"), attempt("\u{e4}\u{1}"), Attempt::default()]]
        {
            let mut json = Vec::new();
            write_attempts(&mut json, &rmp_serde::to_vec(&attempts).unwrap()).unwrap();
            assert_eq!(String::from_utf8(json).unwrap(), serde_json::to_string(&attempts).unwrap());
        }
        assert_eq!(write_attempts(&mut Vec::new(), &rmp_serde::to_vec(&[["a"]]).unwrap()), None);
    }
}
