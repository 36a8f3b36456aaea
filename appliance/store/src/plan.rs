//! How a question finds its rows: by the block index where it has a key, by the times of the blocks, and row by row behind the
//! last block.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use crate::block_index::{self, Block, BlockRows, Match};
use crate::block_sums::{self, Sums};
use crate::block_values::{self, Range, TIME, Values, Within};
use crate::error::StoreError;
use crate::query::NumberMatch;

/// Rows fetched at once from those that the index names: a page needs few of them, and the newest come first.
const FETCH: usize = 512;

/// A key that the index can look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lookup {
    /// Any of these fields.
    pub(crate) fields: &'static [&'static str],
    pub(crate) key: NumberMatch,
}

/// A question to one table.
#[derive(Clone, Debug)]
pub(crate) struct Plan<'q> {
    pub(crate) connection: &'q Connection,
    pub(crate) path: &'q Path,
    /// Of the block index.
    pub(crate) space: i64,
    pub(crate) table: &'q str,
    /// Every condition, also those of `lookups` and the times.
    pub(crate) sql: &'q str,
    pub(crate) values: &'q [Value],
    /// All of them must hold.
    pub(crate) lookups: &'q [Lookup],
    /// So must these; the times are not among them.
    pub(crate) ranges: &'q [Range],
    /// Whether lookups, ranges and times are all there is.
    pub(crate) is_plain: bool,
    /// Whether the database has values of blocks.
    pub(crate) has_values: bool,
    /// At or after, and before.
    pub(crate) times: (Option<i64>, Option<i64>),
    /// Rows that are wanted, first and last.
    pub(crate) ids: (i64, i64),
    pub(crate) oldest_first: bool,
}

/// Rows that follow each other, with an index or without.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    first_id: i64,
    last_id: i64,
    block: Option<Block>,
}

impl Span {
    /// Rows that are looked at one by one, in a block or not.
    pub(crate) fn row_by_row(first_id: i64, last_id: i64) -> Span {
        Span { first_id, last_id, block: None }
    }
}

/// The rows of a span that can fit.
enum Rows {
    All,
    These(BlockRows),
}

/// What the index says of a span.
struct Found {
    rows: Rows,
    /// These rows fit; else some of them may not.
    is_exact: bool,
}

/// Rows of a span and the value that they are sorted by.
pub(crate) enum Sorted {
    /// No row of it comes before the bound that was given.
    Behind,
    /// An older block, or rows without an index.
    Unknown,
    /// (row, value)
    These(Vec<(i64, i64)>),
}

/// What a count may cost: in rows that have to be read each by itself, a page of the file and some 10 us each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    left: u64,
}

/// Rows found by the index that take as long as one row that is read.
const FOUND_PER_READ: u64 = 512;
/// As many such rows take as long as the values of a block.
const VALUES_READ: u64 = 5;
/// Rows of the table that take so long when they are read one behind the other.
const FOLLOWING_PER_READ: u64 = 8;

impl Budget {
    /// So many rows that are read each by itself.
    pub(crate) fn of(rows: u64) -> Budget {
        Budget { left: rows }
    }

    /// As much as it takes.
    pub(crate) fn endless() -> Budget {
        Budget { left: u64::MAX }
    }

    pub(crate) fn is_spent(self) -> bool {
        self.left == 0
    }

    fn spend(&mut self, rows: u64) {
        self.left = self.left.saturating_sub(rows);
    }
}

impl Plan<'_> {
    /// The spans that can hold what is asked for, in order; `last_id` is the last row there is.
    pub(crate) fn spans(&self, last_id: i64) -> Result<Vec<Span>, StoreError> {
        let blocks = block_index::blocks(self.connection, self.space).map_err(self.failed("read table block"))?;
        let mut spans = Vec::with_capacity(blocks.len() + 1);
        let mut next_id = 1;
        for block in blocks {
            spans.push(Span { first_id: next_id, last_id: block.first_id - 1, block: None });
            spans.push(Span { first_id: block.first_id, last_id: block.last_id, block: Some(block) });
            next_id = block.last_id + 1;
        }
        spans.push(Span { first_id: next_id, last_id, block: None });
        spans.retain(|span| {
            let in_time = span.block.is_none_or(|block| {
                self.times.0.is_none_or(|from_ms| block.max_ms >= from_ms)
                    && self.times.1.is_none_or(|to_ms| block.min_ms < to_ms)
            });
            in_time && span.first_id <= span.last_id && span.last_id >= self.ids.0 && span.first_id <= self.ids.1
        });
        if !self.oldest_first {
            spans.reverse();
        }
        Ok(spans)
    }

    /// How many rows of `span` fit; what it costs is taken from `budget`.
    pub(crate) fn count(&self, span: Span, budget: &mut Budget) -> Result<u64, StoreError> {
        let Found { rows, is_exact } = self.found(span, budget)?;
        let (first_id, last_id) = (span.first_id.max(self.ids.0), span.last_id.min(self.ids.1));
        let (place, place_values) = match &rows {
            Rows::These(rows) if is_exact => return Ok(rows.count()),
            Rows::All if is_exact => {
                return Ok(u64::try_from(last_id - first_id + 1).unwrap_or(0));
            }
            Rows::These(rows) => {
                budget.spend(rows.count());
                among(&rows.ids())
            }
            Rows::All => {
                budget.spend(u64::try_from(last_id - first_id + 1).unwrap_or(0) / FOLLOWING_PER_READ);
                between(first_id, last_id)
            }
        };
        let sql = format!("SELECT count(*) FROM {} WHERE {place} AND ({})", self.table, self.sql);
        let values = place_values.iter().chain(self.values);
        self.connection
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_row(params_from_iter(values), |row| row.get::<_, i64>(0)))
            .map(|count| u64::try_from(count).unwrap_or(0))
            .map_err(self.failed("count rows"))
    }

    /// Gives rows of `span` that fit, in order, to `each` until it says false.
    pub(crate) fn read(
        &self,
        span: Span,
        columns: &str,
        mut each: impl FnMut(&Row<'_>) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        match self.found(span, &mut Budget::endless())?.rows {
            Rows::All => {
                let (first_id, last_id) = (span.first_id.max(self.ids.0), span.last_id.min(self.ids.1));
                self.fetch(between(first_id, last_id), columns, &mut each).map(|_| ())
            }
            Rows::These(rows) => {
                let mut ids = rows.ids();
                if !self.oldest_first {
                    ids.reverse();
                }
                for some in ids.chunks(FETCH) {
                    if !self.fetch(among(some), columns, &mut each)? {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    fn fetch(
        &self,
        (place, place_values): (&str, Vec<Value>),
        columns: &str,
        each: &mut impl FnMut(&Row<'_>) -> Result<bool, StoreError>,
    ) -> Result<bool, StoreError> {
        let order = if self.oldest_first { "ASC" } else { "DESC" };
        let sql = format!("SELECT {columns} FROM {} WHERE {place} AND ({}) ORDER BY id {order}", self.table, self.sql);
        let mut statement = self.connection.prepare_cached(&sql).map_err(self.failed("read rows"))?;
        let values = place_values.iter().chain(self.values);
        let mut rows = statement.query(params_from_iter(values)).map_err(self.failed("read rows"))?;
        while let Some(row) = rows.next().map_err(self.failed("read rows"))? {
            if !each(row)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The rows of `span` that fit with their values of `field`, which is [`crate::cdr_table::INDEX`]'s; those alone that are
    /// greater than `bound`, or less with `least_first`.
    pub(crate) fn sorted(
        &self,
        span: Span,
        field: &'static str,
        bound: Option<i64>,
        least_first: bool,
    ) -> Result<Sorted, StoreError> {
        let Some(block) = span.block.filter(|_| self.has_values) else { return Ok(Sorted::Unknown) };
        let Some((least, greatest)) = block_values::bounds(self.connection, self.path, self.space, block, field)?
        else {
            return Ok(Sorted::Unknown);
        };
        // Equal ones of a span that is asked later come behind those of an earlier one.
        let is_behind = |value: i64, bound: i64| if least_first { value >= bound } else { value <= bound };
        if bound.is_some_and(|bound| is_behind(if least_first { least } else { greatest }, bound)) {
            return Ok(Sorted::Behind);
        }
        // First the rows that beat the bound: behind the first blocks there are few, and mostly none.
        let mut best = None;
        if let Some(bound) = bound {
            let (from, to) =
                if least_first { (i64::MIN, bound.saturating_sub(1)) } else { (bound.saturating_add(1), i64::MAX) };
            let range = Range { field, from, to };
            match block_values::within(self.connection, self.path, self.space, block, range)? {
                Within::Unknown => return Ok(Sorted::Unknown),
                Within::All => {}
                Within::These(rows) if rows.count() == 0 => return Ok(Sorted::Behind),
                Within::These(rows) => best = Some(rows),
            }
        }
        let Found { rows, is_exact: true } = self.found(span, &mut Budget::endless())? else {
            return Ok(Sorted::Unknown);
        };
        if let Rows::These(mut rows) = rows {
            if let Some(best) = &best {
                rows.keep(best);
            }
            best = Some(rows);
        }
        let rows: Option<Vec<usize>> = best.map(|rows| rows.rows());
        if rows.as_ref().is_some_and(Vec::is_empty) {
            return Ok(Sorted::These(Vec::new()));
        }
        let values: Option<Values> = block_values::values(self.connection, self.path, self.space, block, field)?;
        let Some(values) = values else { return Ok(Sorted::Unknown) };
        let chosen = values.choose(rows.as_deref()).into_iter();
        let chosen = chosen.map(|(row, value)| (block.first_id + row as i64, value));
        let chosen = chosen.filter(|(id, _)| (self.ids.0..=self.ids.1).contains(id)).collect();
        Ok(Sorted::These(chosen))
    }

    /// The sums of `span`, when every row of it fits and they are known.
    pub(crate) fn sums(&self, span: Span) -> Result<Option<Sums>, StoreError> {
        let Some(block) = span.block.filter(|_| self.has_values) else { return Ok(None) };
        let is_whole = self.ids.0 <= block.first_id && block.last_id <= self.ids.1;
        if !is_whole || !matches!(self.found(span, &mut Budget::endless())?, Found { rows: Rows::All, is_exact: true })
        {
            return Ok(None);
        }
        block_sums::read(self.connection, self.path, self.space, block.first_id)
    }

    /// What the index says of a span.
    fn found(&self, span: Span, budget: &mut Budget) -> Result<Found, StoreError> {
        let is_free = self.lookups.is_empty() && self.ranges.is_empty() && self.times == (None, None);
        let Some(block) = span.block else { return Ok(Found { rows: Rows::All, is_exact: self.is_plain && is_free }) };
        let mut all: Option<BlockRows> = None;
        let mut is_exact = self.is_plain;
        let keep = |all: &mut Option<BlockRows>, found: BlockRows| match all {
            None => *all = Some(found),
            Some(all) => all.keep(&found),
        };
        let is_over = |all: &Option<BlockRows>| all.as_ref().is_some_and(|all| all.count() == 0);
        let (from_ms, to_ms) = self.times;
        let in_time =
            from_ms.is_none_or(|from_ms| block.min_ms >= from_ms) && to_ms.is_none_or(|to_ms| block.max_ms < to_ms);
        let time = Range {
            field: TIME,
            from: from_ms.unwrap_or(i64::MIN),
            to: to_ms.map_or(i64::MAX, |to_ms| to_ms.saturating_sub(1)),
        };
        // The bounds of a whole block are the cheapest to look at.
        for range in self.ranges.iter().chain((!in_time).then_some(&time)) {
            if is_over(&all) {
                break;
            }
            let within = match self.has_values {
                true => block_values::within(self.connection, self.path, self.space, block, *range)?,
                false => Within::Unknown,
            };
            budget.spend(1);
            match within {
                Within::All => {}
                Within::These(found) => {
                    budget.spend(VALUES_READ);
                    keep(&mut all, found);
                }
                Within::Unknown => is_exact = false,
            }
        }
        for lookup in self.lookups {
            if is_over(&all) {
                break;
            }
            let asked = match &lookup.key {
                NumberMatch::Exact(text) => Match::Exact(text),
                NumberMatch::Prefix(text) => Match::Prefix(text),
            };
            let mut found = BlockRows::none(block.first_id);
            for field in lookup.fields {
                block_index::find(self.connection, self.path, self.space, block, field, asked, &mut found)?;
                if found.count() == block.rows() as u64 {
                    break;
                }
            }
            budget.spend(1 + found.count() / FOUND_PER_READ);
            keep(&mut all, found);
        }
        let Some(mut rows) = all else { return Ok(Found { rows: Rows::All, is_exact }) };
        rows.keep_between(self.ids.0, self.ids.1);
        Ok(Found { rows: Rows::These(rows), is_exact })
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
        StoreError::sql(self.path, doing)
    }
}

fn between(first_id: i64, last_id: i64) -> (&'static str, Vec<Value>) {
    ("id BETWEEN ? AND ?", vec![Value::Integer(first_id), Value::Integer(last_id)])
}

fn among(ids: &[i64]) -> (&'static str, Vec<Value>) {
    let list: Vec<String> = ids.iter().map(i64::to_string).collect();
    ("id IN (SELECT value FROM json_each(?))", vec![Value::Text(format!("[{}]", list.join(",")))])
}
