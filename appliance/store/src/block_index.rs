//! The index of day tables and ledger: written a block of rows at a time, when the block is full.
//!
//! An index of SQLite costs a look-up in a tree for each row and column, and a page of the log for nearly each: nine of them
//! cost three times what the row costs. Here the keys of [`BLOCK_ROWS`] rows are sorted once and written as one run. A
//! question looks into each run, and reads the rows behind the last one (fewer than a block) as they are. Runs follow each
//! other as the rows do, so the newest rows are found first.
//!
//! A run is rows of table `block_index`, each with its first key and some [`PART_BYTES`] of entries: bytes shared with the key
//! before, the other bytes, how many rows have it, and the rows as steps within the block; numbers as LEB128.
//!
//! The way to a part goes through an index of the table and not through the table itself: a tree whose inner pages hold whole
//! parts branches four ways, one of keys alone sixty, and each level is a page read by a connection that has just been opened.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use crate::block_sums::{self, Sums};
use crate::block_values;
use crate::error::StoreError;

/// Rows of a block. A question reads up to so many rows without an index (about 5 ms); ten million rows are 600 blocks
/// (about 3 ms to look into).
pub(crate) const BLOCK_ROWS: i64 = 16_384;

/// Bytes of entries in one row: with more, SQLite would put them on a page of their own.
const PART_BYTES: usize = 800;

/// The ledger among the days.
pub(crate) const LEDGER: i64 = 0;

pub(crate) const TABLES: &str = "
CREATE TABLE block (
    space INTEGER NOT NULL,
    first_id INTEGER NOT NULL,
    last_id INTEGER NOT NULL,
    min_ms INTEGER NOT NULL,
    max_ms INTEGER NOT NULL,
    PRIMARY KEY (space, first_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE block_index (
    space INTEGER NOT NULL,
    first_id INTEGER NOT NULL,
    field TEXT NOT NULL,
    first_key TEXT NOT NULL,
    entries BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX block_index_key ON block_index (space, first_id, field, first_key);
";

/// Statements that forget the index of a space.
pub(crate) fn forget_sql(space: i64) -> String {
    format!(
        "DELETE FROM block WHERE space = {space}; DELETE FROM block_index WHERE space = {space}; \
         DELETE FROM block_value WHERE space = {space}; DELETE FROM block_sum WHERE space = {space};"
    )
}

/// Rows in a row, and the times they span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) first_id: i64,
    pub(crate) last_id: i64,
    pub(crate) min_ms: i64,
    pub(crate) max_ms: i64,
}

impl Block {
    /// How many rows it has.
    pub(crate) fn rows(self) -> usize {
        usize::try_from(self.last_id - self.first_id + 1).unwrap_or(0)
    }
}

/// Some rows of a block: a bit a row, so that rows found by several keys need no sorting and two questions at once are an AND.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlockRows {
    first_id: i64,
    words: Vec<u64>,
}

impl BlockRows {
    /// None of the rows from `first_id` on.
    pub(crate) fn none(first_id: i64) -> BlockRows {
        BlockRows { first_id, words: vec![0; BLOCK_ROWS as usize / 64] }
    }

    fn add(&mut self, row: usize) {
        if let Some(word) = self.words.get_mut(row / 64) {
            *word |= 1 << (row % 64);
        }
    }

    /// Adds the rows whose number, one a row, is from `from` to `to`.
    pub(crate) fn add_within<T: PartialOrd + Copy>(&mut self, numbers: &[T], from: T, to: T) {
        for (word, numbers) in self.words.iter_mut().zip(numbers.chunks(64)) {
            for (bit, number) in numbers.iter().enumerate() {
                *word |= u64::from((from <= *number) & (*number <= to)) << bit;
            }
        }
    }

    /// Keeps what `other` has too.
    pub(crate) fn keep(&mut self, other: &BlockRows) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= other;
        }
    }

    /// Keeps the rows from `first_id` to `last_id`.
    pub(crate) fn keep_between(&mut self, first_id: i64, last_id: i64) {
        let (from, to) = (first_id - self.first_id, last_id - self.first_id);
        for (begin, word) in (0_i64..).step_by(64).zip(&mut self.words) {
            // Bits of this word that are within, from 0 to 64.
            let (low, high) = ((from - begin).clamp(0, 64) as u32, (to + 1 - begin).clamp(0, 64) as u32);
            let below = |bits: u32| if bits == 64 { u64::MAX } else { (1_u64 << bits) - 1 };
            *word &= below(high) & !below(low);
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// The rows, oldest first.
    pub(crate) fn ids(&self) -> Vec<i64> {
        self.rows().into_iter().map(|row| self.first_id + row as i64).collect()
    }

    /// Their places in the block.
    pub(crate) fn rows(&self) -> Vec<usize> {
        let mut rows = Vec::with_capacity(self.count() as usize);
        for (begin, word) in (0..).step_by(64).zip(&self.words) {
            let mut left = *word;
            while left != 0 {
                rows.push(begin + left.trailing_zeros() as usize);
                left &= left - 1;
            }
        }
        rows
    }
}

/// Which keys are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match<'a> {
    Exact(&'a str),
    Prefix(&'a str),
}

/// The keys of the rows behind the last block, in memory until they fill one.
#[derive(Debug)]
pub(crate) struct Tail {
    block: Block,
    columns: Vec<Column>,
    /// The time of each row, and what else is kept as a number.
    values: Vec<Vec<i64>>,
    /// Of CDRs; `None` once there was one whose amounts cannot be read.
    sums: Option<Sums>,
}

/// The fields that a space has an index of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields {
    /// Those that are looked up, as text.
    pub(crate) keys: &'static [&'static str],
    /// Those that are bounded and sorted by ([`block_values`]); [`block_values::TIME`] is the first.
    pub(crate) values: &'static [&'static str],
}

/// The keys of one field, one behind the other.
#[derive(Debug, Default)]
struct Column {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Tail {
    /// An empty one that begins at row `first_id`.
    pub(crate) fn new(first_id: i64, fields: Fields) -> Tail {
        Tail::sized(first_id, fields.keys.len(), fields.values.len())
    }

    fn sized(first_id: i64, keys: usize, values: usize) -> Tail {
        let block = Block { first_id, last_id: first_id - 1, min_ms: i64::MAX, max_ms: i64::MIN };
        let columns = (0..keys).map(|_| Column::default()).collect();
        Tail { block, columns, values: vec![Vec::new(); values], sums: Some(Sums::default()) }
    }

    /// Adds the sums of a row that is pushed.
    pub(crate) fn add(&mut self, row: Option<Sums>) {
        match (&mut self.sums, row) {
            (Some(sums), Some(row)) => sums.add(&row),
            (sums, _) => *sums = None,
        }
    }

    /// Adds the next row: its time, its keys, one a field, and its values behind the time.
    pub(crate) fn push<K: AsRef<[u8]>>(&mut self, at_ms: i64, keys: impl IntoIterator<Item = K>, values: &[i64]) {
        for (of_field, value) in self.values.iter_mut().zip(std::iter::once(&at_ms).chain(values)) {
            of_field.push(*value);
        }
        self.block.last_id += 1;
        self.block.min_ms = self.block.min_ms.min(at_ms);
        self.block.max_ms = self.block.max_ms.max(at_ms);
        for (column, key) in self.columns.iter_mut().zip(keys) {
            column.bytes.extend_from_slice(key.as_ref());
            column.ends.push(column.bytes.len());
        }
    }

    /// Leaves out the rows before `id`, which are not there.
    pub(crate) fn skip_to(&mut self, id: i64, at_ms: i64) {
        if id - self.block.first_id >= BLOCK_ROWS {
            // More are gone than a block has: what is left of them stays without an index.
            *self = Tail::sized(id, self.columns.len(), self.values.len());
        }
        while self.next_id() < id {
            self.push(at_ms, vec![""; self.columns.len()], &vec![0; self.values.len().saturating_sub(1)]);
        }
    }

    /// The row the next one will be.
    pub(crate) fn next_id(&self) -> i64 {
        self.block.last_id + 1
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.block.last_id < self.block.first_id
    }

    pub(crate) fn is_full(&self) -> bool {
        self.block.last_id - self.block.first_id + 1 >= BLOCK_ROWS
    }

    /// Writes the block and begins the next one.
    pub(crate) fn close(&mut self, connection: &Connection, space: i64, fields: Fields) -> rusqlite::Result<()> {
        let Block { first_id, last_id, min_ms, max_ms } = self.block;
        connection
            .prepare_cached("INSERT INTO block (space, first_id, last_id, min_ms, max_ms) VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute((space, first_id, last_id, min_ms, max_ms))?;
        let mut insert = connection.prepare_cached(
            "INSERT INTO block_index (space, first_id, field, first_key, entries) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?;
        // In the order of the table, so that each row goes to its end.
        let mut order: Vec<(&str, &Column)> = fields.keys.iter().copied().zip(&self.columns).collect();
        order.sort_by_key(|(field, _)| *field);
        for (field, column) in order {
            for (first_key, entries) in column.encode() {
                insert.execute((space, first_id, field, first_key, entries))?;
            }
        }
        for (field, values) in fields.values.iter().zip(&mut self.values) {
            block_values::write(connection, space, first_id, field, values)?;
            values.clear();
        }
        if let Some(sums) = self.sums.replace(Sums::default()).filter(|sums| sums.rows > 0) {
            block_sums::write(connection, space, first_id, &sums)?;
        }
        for column in &mut self.columns {
            column.bytes.clear();
            column.ends.clear();
        }
        self.block = Block { first_id: last_id + 1, last_id, min_ms: i64::MAX, max_ms: i64::MIN };
        Ok(())
    }

    /// Whether what is stored for `block` is what these rows make.
    pub(crate) fn agrees(
        &self,
        connection: &Connection,
        space: i64,
        fields: Fields,
        block: Block,
    ) -> rusqlite::Result<bool> {
        let mut statement = connection.prepare_cached(
            "SELECT first_key, entries FROM block_index WHERE space = ?1 AND first_id = ?2 AND field = ?3 ORDER BY first_key",
        )?;
        for (column, field) in self.columns.iter().zip(fields.keys) {
            let stored: Vec<(String, Vec<u8>)> = statement
                .query_map((space, block.first_id, field), |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<Result<_, _>>()?;
            if stored != column.encode() {
                return Ok(false);
            }
        }
        let has_values = block_values::are_there(connection)?;
        for (values, field) in self.values.iter().zip(fields.values).filter(|_| has_values) {
            if !block_values::agrees(connection, space, block.first_id, field, values)? {
                return Ok(false);
            }
        }
        if let Some(sums) = self.sums.filter(|sums| sums.rows > 0 && has_values)
            && !block_sums::agrees(connection, space, block.first_id, &sums)?
        {
            return Ok(false);
        }
        Ok(self.block == block)
    }
}

impl Column {
    /// The parts of the run: (first key, entries). Empty keys are left out: nobody asks for them.
    fn encode(&self) -> Vec<(String, Vec<u8>)> {
        let key_of = |row: usize| {
            let start = row.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
            self.ends.get(row).and_then(|end| self.bytes.get(start..*end)).unwrap_or_default()
        };
        // The first sixteen bytes as a number, and the length: nearly every comparison ends there.
        let mut entries: Vec<(u128, usize, usize)> = Vec::with_capacity(self.ends.len());
        for row in 0..self.ends.len() {
            let key = key_of(row);
            if !key.is_empty() {
                let mut head = [0; 16];
                let len = key.len().min(head.len());
                head[..len].copy_from_slice(&key[..len]);
                entries.push((u128::from_be_bytes(head), key.len(), row));
            }
        }
        entries.sort_unstable_by(|a, b| {
            let keys = a.0.cmp(&b.0).then_with(|| match (a.1, b.1) {
                // Equal heads of short keys: one is the other, or the other and zeros.
                (0..=16, 0..=16) => a.1.cmp(&b.1),
                _ => key_of(a.2).cmp(key_of(b.2)),
            });
            keys.then(a.2.cmp(&b.2))
        });
        let mut parts: Vec<(String, Vec<u8>)> = Vec::new();
        let mut before: &[u8] = &[];
        let same = |a: &(u128, usize, usize), b: &(u128, usize, usize)| {
            a.0 == b.0 && a.1 == b.1 && (a.1 <= 16 || key_of(a.2) == key_of(b.2))
        };
        for group in entries.chunk_by(same) {
            let Some((_, _, row)) = group.first() else { continue };
            let key = key_of(*row);
            if parts.last().is_none_or(|(_, bytes)| bytes.len() >= PART_BYTES) {
                parts.push((String::from_utf8_lossy(key).into_owned(), Vec::with_capacity(PART_BYTES + 64)));
                before = &[];
            }
            let Some((_, bytes)) = parts.last_mut() else { continue };
            let shared = before.iter().zip(key).take_while(|(a, b)| a == b).count();
            write_number(bytes, shared);
            write_number(bytes, key.len() - shared);
            bytes.extend_from_slice(&key[shared..]);
            write_number(bytes, group.len());
            let mut last = 0;
            for (_, _, row) in group {
                write_number(bytes, row - last);
                last = *row;
            }
            before = key;
        }
        parts
    }
}

fn write_number(bytes: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn read_number(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= usize::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Adds the rows of `entries` whose key fits; false when a key behind all that can fit was seen, `None` when the entries
/// are damaged.
fn scan(mut entries: &[u8], asked: Match<'_>, rows: &mut BlockRows) -> Option<bool> {
    let mut key: Vec<u8> = Vec::new();
    // How much of a key says that it begins as asked, once one did: what the next one shares with it is not looked at again.
    let mut known = usize::MAX;
    while !entries.is_empty() {
        let shared = read_number(&mut entries)?;
        let own = read_number(&mut entries)?;
        let rest = entries.get(..own)?;
        entries = &entries[own..];
        let fits = if shared >= known {
            true
        } else {
            key.truncate(shared);
            key.extend_from_slice(rest);
            known = usize::MAX;
            let (fits, behind) = match asked {
                Match::Exact(text) => (key == text.as_bytes(), *key > *text.as_bytes()),
                Match::Prefix(text) => {
                    let fits = key.starts_with(text.as_bytes());
                    if fits {
                        known = text.len();
                    }
                    (fits, !fits && *key > *text.as_bytes())
                }
            };
            if behind {
                return Some(false);
            }
            fits
        };
        let mut row: usize = 0;
        for _ in 0..read_number(&mut entries)? {
            row = read_number(&mut entries)?.checked_add(row).filter(|row| (*row as u64) < BLOCK_ROWS as u64)?;
            if fits {
                rows.add(row);
            }
        }
    }
    Some(true)
}

/// The blocks of a day, or of the ledger, oldest first.
pub(crate) fn blocks(connection: &Connection, space: i64) -> rusqlite::Result<Vec<Block>> {
    connection
        .prepare_cached("SELECT first_id, last_id, min_ms, max_ms FROM block WHERE space = ?1 ORDER BY first_id")?
        .query_map([space], |row| {
            Ok(Block { first_id: row.get(0)?, last_id: row.get(1)?, min_ms: row.get(2)?, max_ms: row.get(3)? })
        })?
        .collect()
}

/// Last row that is in a block; 0 when there is none.
pub(crate) fn last_id(connection: &Connection, space: i64) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("SELECT last_id FROM block WHERE space = ?1 ORDER BY first_id DESC LIMIT 1")?
        .query_row([space], |row| row.get(0))
        .optional()
        .map(|last| last.unwrap_or(0))
}

/// Adds the rows of a block whose `field` is as asked.
pub(crate) fn find(
    connection: &Connection,
    path: &Path,
    space: i64,
    block: Block,
    field: &str,
    asked: Match<'_>,
    found: &mut BlockRows,
) -> Result<(), StoreError> {
    let failed = || StoreError::sql(path, "read table block_index");
    let (Match::Exact(text) | Match::Prefix(text)) = asked;
    // A key is in one part: the last that begins at or before it. Keys that begin so are in that one and those after it.
    let before = "SELECT entries FROM block_index WHERE space = ?1 AND first_id = ?2 AND field = ?3 AND first_key <= ?4
                  ORDER BY first_key DESC LIMIT 1";
    let after = "SELECT entries FROM block_index WHERE space = ?1 AND first_id = ?2 AND field = ?3 AND first_key > ?4
                 ORDER BY first_key";
    for sql in [before, after] {
        let mut statement = connection.prepare_cached(sql).map_err(failed())?;
        let mut rows = statement.query((space, block.first_id, field, text)).map_err(failed())?;
        while let Some(row) = rows.next().map_err(failed())? {
            let entries = row.get_ref(0).and_then(|value| Ok(value.as_blob()?)).map_err(failed())?;
            match scan(entries, asked, found) {
                Some(true) => {}
                Some(false) => return Ok(()),
                None => {
                    return Err(StoreError::Row {
                        table: "block_index".to_owned(),
                        row: format!("{space}/{}/{field}", block.first_id),
                        column: "entries".to_owned(),
                        cause: "it does not follow the format".to_owned(),
                    });
                }
            }
        }
        if matches!(asked, Match::Exact(_)) {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    #[test]
    fn a_block_has_the_sums_of_its_rows_unless_one_cannot_be_read() {
        const FIELDS: Fields = Fields { keys: &[], values: &[block_values::TIME] };
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(&[TABLES, block_values::TABLES, block_sums::TABLES].concat()).unwrap();
        let mut tail = Tail::new(1, FIELDS);
        let one = Sums { rows: 1, answered: 1, of: std::array::from_fn(|at| at as i128) };
        let mut close = |rows: &[Option<Sums>]| {
            let first_id = tail.next_id();
            for row in rows {
                tail.push(5, [""; 0], &[]);
                tail.add(*row);
            }
            tail.close(&connection, 7, FIELDS).unwrap();
            block_sums::read(&connection, Path::new("x"), 7, first_id).unwrap()
        };
        let twice = Sums { rows: 2, answered: 2, of: one.of.map(|sum| 2 * sum) };
        assert_eq!(close(&[Some(one), Some(one)]), Some(twice));
        assert_eq!(close(&[Some(one), None, Some(one)]), None);
        assert_eq!(close(&[Some(one)]), Some(one), "the next block begins anew");
    }

    #[test]
    fn a_run_finds_exactly_the_rows_that_fit() {
        let mut rng = StdRng::seed_from_u64(1);
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(TABLES).unwrap();
        let mut keys: Vec<[String; 2]> = Vec::new();
        const FIELDS: Fields = Fields { keys: &["number", "gateway"], values: &[block_values::TIME] };
        connection.execute_batch(block_values::TABLES).unwrap();
        let mut tail = Tail::new(100, FIELDS);
        for _ in 0..3000 {
            let number = match rng.random_range(0..10) {
                0 => String::new(),
                1 => "4".to_owned(),
                2 => "\u{e4}\u{10ffff}".to_owned(),
                3 => format!("a key of more than sixteen bytes {}", rng.random_range(0..9)),
                4 => "4\0".repeat(rng.random_range(1..3)),
                _ => rng.random_range(0..5000).to_string(),
            };
            let row = [number, format!("gateway-{}", rng.random_range(0..3))];
            tail.push(5, row.iter().map(String::as_str), &[]);
            keys.push(row);
        }
        assert_eq!((tail.next_id(), tail.is_full()), (3100, false));
        let block = tail.block;
        tail.close(&connection, 7, FIELDS).unwrap();
        assert!(tail.is_empty());
        assert_eq!(blocks(&connection, 7).unwrap(), [block]);
        assert_eq!((last_id(&connection, 7).unwrap(), last_id(&connection, 8).unwrap()), (3099, 0));
        let found = |field: &str, asked: Match<'_>| {
            let mut rows = BlockRows::none(block.first_id);
            find(&connection, Path::new("x"), 7, block, field, asked, &mut rows).unwrap();
            assert_eq!(rows.count(), rows.ids().len() as u64);
            rows.ids()
        };
        let expected = |column: usize, fits: &dyn Fn(&str) -> bool| -> Vec<i64> {
            (100..).zip(&keys).filter(|(_, row)| fits(&row[column])).map(|(id, _)| id).collect()
        };
        let texts = (0..5000).step_by(7).map(|n: i32| n.to_string()).chain(
            [
                "4",
                "4\0",
                "4\x004\x00",
                "\u{e4}",
                "99999",
                "!",
                "~",
                "a key of more than",
                "a key of more than sixteen bytes 3",
            ]
            .map(String::from),
        );
        for text in texts {
            let text = text.as_str();
            assert_eq!(found("number", Match::Exact(text)), expected(0, &|key| key == text), "{text}");
            assert_eq!(found("number", Match::Prefix(text)), expected(0, &|key| key.starts_with(text)), "{text}*");
        }
        assert_eq!(found("gateway", Match::Exact("gateway-1")), expected(1, &|key| key == "gateway-1"));
        assert_eq!(found("gateway", Match::Prefix("gate")).len(), 3000);
        assert_eq!(found("gateway", Match::Exact("gateway")), [0_i64; 0]);
        assert_eq!(found("nothing", Match::Exact("gateway-1")), [0_i64; 0]);
    }

    #[test]
    fn rows_of_a_block_are_kept_between_two_and_with_others() {
        let mut rows = BlockRows::none(1_000);
        let all: Vec<i64> = (0..BLOCK_ROWS).step_by(7).collect();
        all.iter().for_each(|row| rows.add(*row as usize));
        assert_eq!(rows.ids(), all.iter().map(|row| row + 1_000).collect::<Vec<_>>());
        for (first_id, last_id) in
            [(1_000, 1_000), (1_001, 1_063), (1_064, 1_127), (900, 30_000), (5_000, 4_999), (0, 5)]
        {
            let mut kept = rows.clone();
            kept.keep_between(first_id, last_id);
            let expected: Vec<i64> = rows.ids().into_iter().filter(|id| (first_id..=last_id).contains(id)).collect();
            assert_eq!(kept.ids(), expected, "{first_id} to {last_id}");
        }
        let mut other = BlockRows::none(1_000);
        (0..BLOCK_ROWS).step_by(3).for_each(|row| other.add(row as usize));
        rows.keep(&other);
        assert_eq!(rows.ids(), (0..BLOCK_ROWS).step_by(21).map(|row| row + 1_000).collect::<Vec<_>>());
    }

    #[test]
    fn damaged_entries_are_told_and_never_followed_behind_their_end() {
        let mut column = Column::default();
        for key in ["a", "ab", "b", "b", "c"] {
            column.bytes.extend_from_slice(key.as_bytes());
            column.ends.push(column.bytes.len());
        }
        let entries = column.encode().remove(0).1;
        for cut in 0..entries.len() {
            // Every cut is told or loses what stood behind it; none is read past.
            let mut rows = BlockRows::none(1);
            let _ = scan(&entries[..cut], Match::Prefix(""), &mut rows);
            assert!(rows.count() <= 5);
        }
        let mut rows = BlockRows::none(1);
        assert_eq!(scan(&[0xff; 20], Match::Exact("a"), &mut rows), None);
        assert_eq!(scan(&[0, 200, 1, b'x'], Match::Exact("a"), &mut rows), None);
    }
}
