//! Sums over the rows of a block: totals of millions of calls are then additions of some hundred blocks.
//!
//! A block ([`crate::block_index`]) of CDRs has one row with its sums. A question that takes a block whole adds them up; of
//! another block, of an older version's, and of what stands behind the last one the rows are read.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use crate::amount;
use crate::cdr_table::SUMMED;
use crate::error::StoreError;

pub(crate) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS block_sum (
    space INTEGER NOT NULL,
    first_id INTEGER NOT NULL,
    sums TEXT NOT NULL,
    PRIMARY KEY (space, first_id)
) STRICT, WITHOUT ROWID;
";

/// Sums of rows: how many, how many of them answered, and each field of [`SUMMED`]; amounts in units of 10^-8.
///
/// An `i128` has room for 2^60 rows of 64 bits or of amounts of twenty digits. A damaged database may say more: such a sum
/// stays at the end of its range, where no amount is, and never wraps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) rows: i128,
    pub(crate) answered: i128,
    pub(crate) of: [i128; SUMMED.len()],
}

impl Sums {
    /// Adds those of other rows.
    pub(crate) fn add(&mut self, other: &Sums) {
        self.rows = self.rows.saturating_add(other.rows);
        self.answered = self.answered.saturating_add(other.answered);
        for (sum, one) in self.of.iter_mut().zip(other.of) {
            *sum = sum.saturating_add(one);
        }
    }

    fn numbers(&self) -> impl Iterator<Item = i128> {
        [self.rows, self.answered].into_iter().chain(self.of)
    }

    fn text(&self) -> String {
        let numbers: Vec<String> = self.numbers().map(|number| number.to_string()).collect();
        numbers.join(" ")
    }

    fn of_text(text: &str) -> Option<Sums> {
        let mut numbers = text.split(' ').map(|number| number.parse::<i128>().ok());
        let mut next = || numbers.next().flatten();
        let mut sums = Sums { rows: next()?, answered: next()?, ..Sums::default() };
        for sum in &mut sums.of {
            *sum = next()?;
        }
        numbers.next().is_none().then_some(sums)
    }
}

/// The sums of one row: whether it was answered, and its fields of [`SUMMED`], numbers as they are and amounts as text.
///
/// # Errors
/// A text that is no amount.
pub(crate) fn of_row(
    answered: bool,
    numbers: [i64; crate::cdr_table::SUMMED_NUMBERS],
    amounts: [&[u8]; SUMMED.len() - crate::cdr_table::SUMMED_NUMBERS],
    table: &str,
) -> Result<Sums, StoreError> {
    let mut sums = Sums { rows: 1, answered: answered.into(), ..Sums::default() };
    let (of_numbers, of_amounts) = sums.of.split_at_mut(numbers.len());
    for (sum, number) in of_numbers.iter_mut().zip(numbers) {
        *sum = number.into();
    }
    for (sum, text) in of_amounts.iter_mut().zip(amounts) {
        *sum = amount::units("of the sum", table, text)?;
    }
    Ok(sums)
}

/// Writes the sums of a block that begins at row `first_id`.
pub(crate) fn write(connection: &Connection, space: i64, first_id: i64, sums: &Sums) -> rusqlite::Result<()> {
    connection.prepare_cached("INSERT INTO block_sum (space, first_id, sums) VALUES (?1, ?2, ?3)")?.execute((
        space,
        first_id,
        sums.text(),
    ))?;
    Ok(())
}

fn stored(connection: &Connection, space: i64, first_id: i64) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT sums FROM block_sum WHERE space = ?1 AND first_id = ?2")?
        .query_row((space, first_id), |row| row.get(0))
        .optional()
}

/// Whether what is stored are these sums, or nothing at all.
pub(crate) fn agrees(connection: &Connection, space: i64, first_id: i64, sums: &Sums) -> rusqlite::Result<bool> {
    Ok(stored(connection, space, first_id)?.is_none_or(|text| text == sums.text()))
}

/// The sums of a block; `None` when it has none.
pub(crate) fn read(
    connection: &Connection,
    path: &Path,
    space: i64,
    first_id: i64,
) -> Result<Option<Sums>, StoreError> {
    let text = stored(connection, space, first_id).map_err(StoreError::sql(path, "read table block_sum"))?;
    let Some(text) = text else { return Ok(None) };
    match Sums::of_text(&text) {
        Some(sums) => Ok(Some(sums)),
        None => Err(StoreError::Row {
            table: "block_sum".to_owned(),
            row: format!("{space}/{first_id}"),
            column: "sums".to_owned(),
            cause: format!("{text:?} are not {} numbers", 2 + SUMMED.len()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_read_as_they_are_written() {
        let mut sums = Sums { rows: 3, answered: 2, of: std::array::from_fn(|at| at as i128 * -7) };
        sums.of[0] = i128::MAX;
        assert_eq!(Sums::of_text(&sums.text()), Some(sums));
        for text in ["", "1 2", &format!("{} 1", sums.text()), &sums.text().replace(' ', "  ")] {
            assert_eq!(Sums::of_text(text), None, "{text:?}");
        }
        let one = sums;
        sums.add(&one);
        assert_eq!((sums.of[0], sums.of[1], sums.rows), (i128::MAX, -14, 6), "nothing wraps");
    }
}
