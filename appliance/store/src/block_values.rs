//! Numbers of the rows of a block, packed: what a question bounds or sorts by (fee, held time, end, answered or not).
//!
//! A block ([`crate::block_index`]) has one row per field: the least value, the greatest, and the distance of each row's value
//! from the least in as few bytes as the greatest distance takes. A question leaves out the blocks that its bounds cannot meet,
//! and of another reads some ten to sixty kilobytes in one piece instead of 16,384 rows.
//!
//! A block that an older version wrote has no such rows: its table is read.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use crate::block_index::{Block, BlockRows};
use crate::error::StoreError;

pub(crate) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS block_value (
    space INTEGER NOT NULL,
    first_id INTEGER NOT NULL,
    field TEXT NOT NULL,
    least INTEGER NOT NULL,
    greatest INTEGER NOT NULL,
    distances BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS block_value_key ON block_value (space, first_id, field);
";

/// The time that a block has the least and the greatest of beside its rows: the first of the values of any space.
pub(crate) const TIME: &str = "time";

/// Whether the database has this table and that of [`crate::block_sums`]: one that an older version wrote, and no writer of
/// this one opened, does not.
pub(crate) fn are_there(connection: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT count(*) = 2 FROM sqlite_schema WHERE name IN ('block_value', 'block_sum')";
    connection.query_row(sql, [], |row| row.get(0))
}

/// A field that must be within bounds, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) field: &'static str,
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl Range {
    fn has(&self, value: i64) -> bool {
        self.from <= value && value <= self.to
    }
}

/// Which rows of a block are within bounds.
#[derive(Debug)]
pub(crate) enum Within {
    /// It is not known: an older block.
    Unknown,
    All,
    These(BlockRows),
}

/// The values of a field in a block, in the order of its rows.
#[derive(Debug)]
pub(crate) struct Values {
    least: i64,
    distances: Distances,
}

/// Distances from the least value, as wide as the greatest of them is.
#[derive(Debug)]
enum Distances {
    One(Vec<u8>),
    Two(Vec<u16>),
    Four(Vec<u32>),
    Eight(Vec<u64>),
}

impl Distances {
    /// `None` when the bytes are not one number a row.
    fn read(bytes: &[u8], width: usize, rows: usize) -> Option<Distances> {
        if bytes.len() != rows * width {
            return None;
        }
        Some(match width {
            1 => Distances::One(bytes.to_vec()),
            2 => Distances::Two(bytes.as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes)).collect()),
            4 => Distances::Four(bytes.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()),
            _ => Distances::Eight(bytes.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect()),
        })
    }
}

impl Values {
    /// Gives `rows`, or all, with their values.
    pub(crate) fn choose(&self, rows: Option<&[usize]>) -> Vec<(usize, i64)> {
        match &self.distances {
            Distances::One(distances) => self.chosen(distances, rows),
            Distances::Two(distances) => self.chosen(distances, rows),
            Distances::Four(distances) => self.chosen(distances, rows),
            Distances::Eight(distances) => self.chosen(distances, rows),
        }
    }

    fn chosen<T: Copy + Into<u64>>(&self, distances: &[T], rows: Option<&[usize]>) -> Vec<(usize, i64)> {
        let value = |distance: T| self.least.wrapping_add_unsigned(distance.into());
        match rows {
            None => distances.iter().enumerate().map(|(row, distance)| (row, value(*distance))).collect(),
            Some(rows) => rows.iter().filter_map(|row| Some((*row, value(*distances.get(*row)?)))).collect(),
        }
    }
}

/// Writes the values of `field` in a block that begins at row `first_id`.
pub(crate) fn write(
    connection: &Connection,
    space: i64,
    first_id: i64,
    field: &str,
    values: &[i64],
) -> rusqlite::Result<()> {
    let Some((least, greatest, distances)) = encode(values) else { return Ok(()) };
    connection
        .prepare_cached(
            "INSERT INTO block_value (space, first_id, field, least, greatest, distances) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute((space, first_id, field, least, greatest, distances))?;
    Ok(())
}

/// Whether what is stored are these values, or nothing at all.
pub(crate) fn agrees(
    connection: &Connection,
    space: i64,
    first_id: i64,
    field: &str,
    values: &[i64],
) -> rusqlite::Result<bool> {
    let stored: Option<(i64, i64, Vec<u8>)> = connection
        .prepare_cached(
            "SELECT least, greatest, distances FROM block_value WHERE space = ?1 AND first_id = ?2 AND field = ?3",
        )?
        .query_row((space, first_id, field), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    Ok(stored.is_none() || stored == encode(values))
}

/// Least, greatest, and the distances from the least, one behind the other. Rows that all have the same value take a byte each.
fn encode(values: &[i64]) -> Option<(i64, i64, Vec<u8>)> {
    let (least, greatest) = (*values.iter().min()?, *values.iter().max()?);
    let width = width(least, greatest);
    let mut distances = Vec::with_capacity(values.len() * width);
    for value in values {
        let distance = value.abs_diff(least).to_le_bytes();
        distances.extend_from_slice(distance.get(..width).unwrap_or_default());
    }
    Some((least, greatest, distances))
}

/// Bytes of the greatest distance; of 3, 5, 6 and 7 none is made, so that a machine reads them as numbers.
fn width(least: i64, greatest: i64) -> usize {
    match greatest.abs_diff(least) {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    }
}

/// The rows of `block` that are within `range`.
pub(crate) fn within(
    connection: &Connection,
    path: &Path,
    space: i64,
    block: Block,
    range: Range,
) -> Result<Within, StoreError> {
    let failed = || StoreError::sql(path, "read table block_value");
    let mut statement = connection
        .prepare_cached(
            "SELECT least, greatest, distances FROM block_value WHERE space = ?1 AND first_id = ?2 AND field = ?3",
        )
        .map_err(failed())?;
    let mut rows = statement.query((space, block.first_id, range.field)).map_err(failed())?;
    let Some(row) = rows.next().map_err(failed())? else { return Ok(Within::Unknown) };
    let bounds = || -> rusqlite::Result<(i64, i64)> { Ok((row.get(0)?, row.get(1)?)) };
    let (least, greatest) = bounds().map_err(failed())?;
    if range.has(least) && range.has(greatest) {
        return Ok(Within::All);
    }
    let mut found = BlockRows::none(block.first_id);
    if range.from > greatest || range.to < least || range.from > range.to {
        return Ok(Within::These(found));
    }
    let distances = row.get_ref(2).and_then(|value| Ok(value.as_blob()?)).map_err(failed())?;
    let width = width(least, greatest);
    let bytes = distances.len();
    let Some(distances) = Distances::read(distances, width, block.rows()) else {
        return Err(damaged(space, block, range.field, bytes, block.rows() * width));
    };
    // Bounds as distances: what is below the least begins with it, what is above the greatest ends with it.
    let from = if range.from <= least { 0 } else { range.from.abs_diff(least) };
    let to = range.to.min(greatest).abs_diff(least);
    match &distances {
        Distances::One(numbers) => found.add_within(numbers, from as u8, to as u8),
        Distances::Two(numbers) => found.add_within(numbers, from as u16, to as u16),
        Distances::Four(numbers) => found.add_within(numbers, from as u32, to as u32),
        Distances::Eight(numbers) => found.add_within(numbers, from, to),
    }
    Ok(Within::These(found))
}

/// Least and greatest value of a field in a block; `None` for an older block.
pub(crate) fn bounds(
    connection: &Connection,
    path: &Path,
    space: i64,
    block: Block,
    field: &str,
) -> Result<Option<(i64, i64)>, StoreError> {
    connection
        .prepare_cached("SELECT least, greatest FROM block_value WHERE space = ?1 AND first_id = ?2 AND field = ?3")
        .and_then(|mut statement| {
            statement.query_row((space, block.first_id, field), |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
        .map_err(StoreError::sql(path, "read table block_value"))
}

/// The values of a field in a block; `None` for an older block.
pub(crate) fn values(
    connection: &Connection,
    path: &Path,
    space: i64,
    block: Block,
    field: &str,
) -> Result<Option<Values>, StoreError> {
    let stored: Option<(i64, i64, Vec<u8>)> = connection
        .prepare_cached(
            "SELECT least, greatest, distances FROM block_value WHERE space = ?1 AND first_id = ?2 AND field = ?3",
        )
        .and_then(|mut statement| {
            statement
                .query_row((space, block.first_id, field), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()
        })
        .map_err(StoreError::sql(path, "read table block_value"))?;
    let Some((least, greatest, distances)) = stored else { return Ok(None) };
    let width = width(least, greatest);
    match Distances::read(&distances, width, block.rows()) {
        Some(distances) => Ok(Some(Values { least, distances })),
        None => Err(damaged(space, block, field, distances.len(), block.rows() * width)),
    }
}

fn damaged(space: i64, block: Block, field: &str, found: usize, expected: usize) -> StoreError {
    StoreError::Row {
        table: "block_value".to_owned(),
        row: format!("{space}/{}/{field}", block.first_id),
        column: "distances".to_owned(),
        cause: format!("it has {found} bytes instead of {expected}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATH: &str = "x";

    fn block_of(values: &[i64]) -> Block {
        Block { first_id: 100, last_id: 99 + values.len() as i64, min_ms: 0, max_ms: 0 }
    }

    fn stored(values: &[i64]) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(TABLES).unwrap();
        write(&connection, 7, 100, "fee", values).unwrap();
        connection
    }

    proptest! {
        #[test]
        fn bounds_find_exactly_the_rows_within(
            values in prop_oneof![
                prop::collection::vec(-5_i64..5, 1..200),
                prop::collection::vec(0_i64..70_000, 1..200),
                prop::collection::vec(-3_000_000_000_i64..3_000_000_000, 1..200),
                prop::collection::vec(any::<i64>(), 1..200),
            ],
            ends in any::<(prop::sample::Index, prop::sample::Index)>(),
            off in -1_i64..=1,
        ) {
            let (connection, block) = (stored(&values), block_of(&values));
            let bound = |index: prop::sample::Index| values[index.index(values.len())];
            for (from, to) in [
                (bound(ends.0).saturating_add(off), bound(ends.1)),
                (i64::MIN, bound(ends.0).saturating_add(off)),
                (bound(ends.1).saturating_add(off), i64::MAX),
                (i64::MIN, i64::MAX),
            ] {
                let range = Range { field: "fee", from, to };
                let expected: Vec<i64> = (100..).zip(&values).filter(|(_, value)| (from..=to).contains(value)).map(|(id, _)| id).collect();
                match within(&connection, Path::new(PATH), 7, block, range).unwrap() {
                    Within::All => prop_assert_eq!(expected.len(), values.len()),
                    Within::These(found) => prop_assert_eq!(found.ids(), expected),
                    Within::Unknown => prop_assert!(false),
                }
            }
            let read = super::values(&connection, Path::new(PATH), 7, block, "fee").unwrap().unwrap();
            prop_assert_eq!(read.choose(None), values.iter().copied().enumerate().collect::<Vec<_>>());
            let row = ends.0.index(values.len());
            prop_assert_eq!(read.choose(Some(&[row])), [(row, values[row])]);
            let ends = (*values.iter().min().unwrap(), *values.iter().max().unwrap());
            prop_assert_eq!(bounds(&connection, Path::new(PATH), 7, block, "fee").unwrap(), Some(ends));
            prop_assert!(agrees(&connection, 7, 100, "fee", &values).unwrap());
            let mut other = values;
            other[0] = other[0].wrapping_add(1);
            prop_assert!(!agrees(&connection, 7, 100, "fee", &other).unwrap());
        }
    }

    #[test]
    fn an_older_block_is_not_known_and_a_damaged_one_is_told() {
        let connection = stored(&[1, 2, 300]);
        let block = block_of(&[1, 2, 300]);
        let range = Range { field: "fee", from: 2, to: 2 };
        let ask = |field| within(&connection, Path::new(PATH), 7, block, Range { field, ..range });
        assert!(matches!(ask("hold_s"), Ok(Within::Unknown)));
        assert!(values(&connection, Path::new(PATH), 7, block, "hold_s").unwrap().is_none());
        assert!(agrees(&connection, 7, 100, "hold_s", &[1]).unwrap(), "there is nothing to agree with");
        assert!(matches!(ask("fee"), Ok(Within::These(_))));
        connection.execute("UPDATE block_value SET distances = x'0000'", []).unwrap();
        assert!(ask("fee").is_err() && values(&connection, Path::new(PATH), 7, block, "fee").is_err());
    }
}
