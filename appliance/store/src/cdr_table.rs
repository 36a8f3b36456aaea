//! CDR day tables: one row per call, one column per field of [`CDR_FIELDS`], one table per day of the end time in the
//! server's zone (cdr.md 4.4).

use std::collections::HashSet;
use std::path::Path;
use std::sync::LazyLock;

use rusqlite::types::{Null, ValueRef};
use rusqlite::{Connection, Row, Statement};
use serde_json::{Map, Value};
use tandem_rating::cdr::{CDR_FIELDS, Cdr, CdrKind, CdrValue};

use crate::error::StoreError;

/// Columns with an index: what people ask by (cdr.md 4.4; the called number and the routing gateway beside it).
const INDEXED: [&str; 7] =
    ["caller_billed", "callee_billed", "caller_gateway", "callee_gateway", "connect_ms", "end_ms", "account"];

/// Fields that are unsigned in a [`Cdr`]; SQLite knows signed integers only, so these are turned back when read.
const UNSIGNED: [&str; 4] = ["flow_no", "flow_no_first", "rate_id", "vendor_rate_id"];

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// All columns, comma separated, in the order of [`CDR_FIELDS`].
static COLUMNS: LazyLock<String> =
    LazyLock::new(|| CDR_FIELDS.iter().map(|(name, _)| format!("\"{name}\"")).collect::<Vec<_>>().join(", "));

/// Place of the row id, which the store fills in.
static ID_INDEX: LazyLock<Option<usize>> = LazyLock::new(|| CDR_FIELDS.iter().position(|(name, _)| *name == "id"));

/// The day of an instant as yyyymmdd, `zone_offset_ms` east of UTC.
///
/// Times beyond the years 0 to 9999 count as their nearest day, so that the number always has its eight digits.
pub(crate) fn day_of(at_ms: i64, zone_offset_ms: i64) -> i64 {
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

/// Name of the table of a day.
pub(crate) fn table_name(day: i64) -> String {
    format!("cdr_{day:08}")
}

/// Makes the table of `day`, or gives an older one the columns that were added since.
pub(crate) fn ensure(connection: &Connection, path: &Path, day: i64) -> Result<(), StoreError> {
    let table = table_name(day);
    let have = columns_of(connection, path, &table)?;
    let mut sql = String::new();
    if have.is_empty() {
        let columns: Vec<String> = CDR_FIELDS.iter().map(|(name, kind)| column(name, *kind)).collect();
        sql.push_str(&format!("CREATE TABLE {table} ({}) STRICT;", columns.join(", ")));
        for name in INDEXED {
            sql.push_str(&format!("CREATE INDEX {table}_{name} ON {table} (\"{name}\");"));
        }
    } else {
        for (name, kind) in CDR_FIELDS.iter().filter(|(name, _)| !have.contains(*name)) {
            sql.push_str(&format!("ALTER TABLE {table} ADD COLUMN {};", column(name, *kind)));
        }
    }
    connection.execute_batch(&sql).map_err(StoreError::sql(path, "make a CDR day table"))?;
    connection
        .execute("INSERT INTO cdr_day (day, cdrs) VALUES (?1, 0) ON CONFLICT DO NOTHING", [day])
        .map_err(StoreError::sql(path, "write table cdr_day"))?;
    Ok(())
}

fn column(name: &str, kind: CdrKind) -> String {
    match (name, kind) {
        ("flow_no", _) => "\"flow_no\" INTEGER PRIMARY KEY".to_owned(),
        (_, CdrKind::Int) => format!("\"{name}\" INTEGER"),
        (_, CdrKind::Text | CdrKind::Money | CdrKind::Json) => format!("\"{name}\" TEXT"),
    }
}

fn columns_of(connection: &Connection, path: &Path, table: &str) -> Result<HashSet<String>, StoreError> {
    connection
        .prepare_cached("SELECT name FROM pragma_table_info(?1)")
        .and_then(|mut statement| statement.query_map([table], |row| row.get(0))?.collect())
        .map_err(StoreError::sql(path, "read the columns of a CDR day table"))
}

/// The statement that [`insert`] runs.
pub(crate) fn insert_sql(day: i64) -> String {
    let marks = vec!["?"; CDR_FIELDS.len()].join(", ");
    format!("INSERT INTO {} ({}) VALUES ({marks})", table_name(day), *COLUMNS)
}

/// Writes one row, with row id `id`.
pub(crate) fn insert(statement: &mut Statement<'_>, cdr: &Cdr, id: i64, text: &mut String) -> rusqlite::Result<()> {
    use std::fmt::Write;
    for index in 0..CDR_FIELDS.len() {
        match cdr.value(index) {
            _ if Some(index) == *ID_INDEX => statement.raw_bind_parameter(index + 1, id)?,
            CdrValue::Null => statement.raw_bind_parameter(index + 1, Null)?,
            CdrValue::Int(value) => statement.raw_bind_parameter(index + 1, value)?,
            CdrValue::Text(value) => statement.raw_bind_parameter(index + 1, value)?,
            CdrValue::Money(value) if value.is_zero() => statement.raw_bind_parameter(index + 1, "0")?,
            CdrValue::Money(value) => {
                text.clear();
                // Writing to a String cannot fail.
                let _ = write!(text, "{value}");
                statement.raw_bind_parameter(index + 1, text.as_str())?;
            }
            CdrValue::Attempts([]) => statement.raw_bind_parameter(index + 1, "[]")?,
            CdrValue::Attempts(attempts) => {
                let json = serde_json::to_string(attempts)
                    .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
                statement.raw_bind_parameter(index + 1, json)?;
            }
        }
    }
    statement.raw_execute()?;
    Ok(())
}

/// The columns to select from the table of `day`, in the order of [`CDR_FIELDS`]: `NULL` for one that table has not got.
pub(crate) fn select_list(connection: &Connection, path: &Path, day: i64) -> Result<String, StoreError> {
    let have = columns_of(connection, path, &table_name(day))?;
    let columns: Vec<String> = CDR_FIELDS
        .iter()
        .map(|(name, _)| if have.contains(*name) { format!("\"{name}\"") } else { "NULL".to_owned() })
        .collect();
    Ok(columns.join(", "))
}

/// Reads back a row selected with [`select_list`].
///
/// It goes through serde, field by name, so that a field added to [`Cdr`] with a default reads from older tables.
pub(crate) fn read(row: &Row<'_>, day: i64) -> Result<Cdr, StoreError> {
    let mut fields = Map::with_capacity(CDR_FIELDS.len());
    let mut flow_no = 0;
    let bad = |flow_no: i64, column: &str, cause: String| StoreError::Row {
        table: table_name(day),
        row: (flow_no as u64).to_string(),
        column: column.to_owned(),
        cause,
    };
    for (index, (name, kind)) in CDR_FIELDS.iter().enumerate() {
        let stored = row.get_ref(index).map_err(|error| bad(flow_no, name, error.to_string()))?;
        let value = match (stored, kind) {
            (ValueRef::Null, _) => continue,
            (ValueRef::Integer(value), CdrKind::Int) if UNSIGNED.contains(name) => {
                if *name == "flow_no" {
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
        fields.insert((*name).to_owned(), value);
    }
    serde_json::from_value(Value::Object(fields)).map_err(|error| bad(flow_no, "of any name", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
