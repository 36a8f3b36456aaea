//! Rate rows and the compiled deck that finds one for a number (rates.md sections 1 to 3).

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::error::OutOfRange;
use crate::fee::{RateTerms, Section, in_order};
use crate::least_cost::{PerSecond, per_second};
use crate::prefix::{PREFIX_LEN_MAX, PrefixError, PrefixTrie};

/// Most rows of one deck (rates.md section 5).
pub const ROWS_MAX: usize = 1_000_000;

/// One row of a rate group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// Number of the row, kept for life and copied to the CDR; 0 until it is given one.
    pub rate_id: u64,
    /// Technical part of the prefix; digits, may be empty.
    pub fee_prefix: String,
    /// Destination part of the prefix; digits, may be empty.
    pub area_code: String,
    /// Name of the destination, for people.
    pub area_name: String,
    /// Call level: 1 in-network, 2 local, 4 domestic long distance, 5 international.
    pub level: u8,
    /// Price of 60 s, 0 or more, at most 8 decimals.
    pub rate_per_min: Decimal,
    /// First block, 1 s or more.
    pub first_s: u32,
    /// Every later block ("period", billing cycle), 1 s or more.
    pub next_s: u32,
    /// Stepped start of the call; normally empty.
    pub sections: Vec<Section>,
    /// Connection fee, 0 or more.
    pub conn_fee: Decimal,
    /// Tax on the fee in percent, 0 or more.
    pub tax_pct: Decimal,
    /// Destination forbidden: the row takes part in matching and then refuses the call.
    pub lock: bool,
    /// First instant of validity, UTC ms; `None` is open.
    pub effective_from_ms: Option<i64>,
    /// End of validity (exclusive), UTC ms; `None` is open.
    pub effective_to_ms: Option<i64>,
    /// Free text.
    pub memo: String,
}

impl Default for Rate {
    /// A free international row for every number, 60/60, valid always.
    fn default() -> Self {
        Rate {
            rate_id: 0,
            fee_prefix: String::new(),
            area_code: String::new(),
            area_name: String::new(),
            level: 5,
            rate_per_min: Decimal::ZERO,
            first_s: 60,
            next_s: 60,
            sections: Vec::new(),
            conn_fee: Decimal::ZERO,
            tax_pct: Decimal::ZERO,
            lock: false,
            effective_from_ms: None,
            effective_to_ms: None,
            memo: String::new(),
        }
    }
}

impl Rate {
    /// The whole prefix: rate prefix and area code together.
    pub fn prefix(&self) -> String {
        [self.fee_prefix.as_str(), self.area_code.as_str()].concat()
    }

    /// What a leg is charged by; taken at the answer and kept for the life of the call.
    pub fn terms(&self) -> RateTerms {
        RateTerms {
            rate_id: self.rate_id,
            prefix: self.prefix(),
            rate_per_min: self.rate_per_min,
            first_s: self.first_s,
            next_s: self.next_s,
            sections: in_order(&self.sections).into_iter().cloned().collect(),
            conn_fee: self.conn_fee,
            tax_pct: self.tax_pct,
            level: self.level,
        }
    }

    /// The price of one second, for routing (rates.md section 9).
    pub fn per_second(&self) -> PerSecond {
        per_second(self.rate_per_min)
    }

    /// True when the row is valid at `at_ms` (half-open, billing.md section 6.a).
    pub fn is_valid_at(&self, at_ms: i64) -> bool {
        self.valid_from() <= at_ms && self.effective_to_ms.is_none_or(|to_ms| at_ms < to_ms)
    }

    /// True when some instant is in the validity of both.
    pub fn overlaps(&self, other: &Rate) -> bool {
        let begins_before_end = |a: &Rate, b: &Rate| b.effective_to_ms.is_none_or(|to_ms| a.valid_from() < to_ms);
        begins_before_end(self, other) && begins_before_end(other, self)
    }

    /// Refuses values outside their range, naming the field, the value and what is allowed.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        for (field, part) in [("fee_prefix", &self.fee_prefix), ("area_code", &self.area_code)] {
            if !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(OutOfRange::new(field, format!("{part:?}"), "digits 0-9, or empty"));
            }
        }
        if self.fee_prefix.len() + self.area_code.len() > PREFIX_LEN_MAX {
            return Err(OutOfRange::new(
                "area_code",
                self.prefix(),
                format!("at most {PREFIX_LEN_MAX} digits with the rate prefix"),
            ));
        }
        if !matches!(self.level, 1 | 2 | 4 | 5) {
            return Err(OutOfRange::new("type", self.level, "1, 2, 4 or 5"));
        }
        if let (Some(from_ms), Some(to_ms)) = (self.effective_from_ms, self.effective_to_ms)
            && from_ms >= to_ms
        {
            return Err(OutOfRange::new("effective_to", to_ms, format!("after effective_from ({from_ms})")));
        }
        let mut positions: Vec<u32> = self.sections.iter().map(|s| s.position).collect();
        positions.sort_unstable();
        if let Some(pair) = positions.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(OutOfRange::new("sections", format!("position {} twice", pair[0]), "every position once"));
        }
        self.terms().validate()
    }

    pub(crate) fn valid_from(&self) -> i64 {
        self.effective_from_ms.unwrap_or(i64::MIN)
    }
}

/// What a deck says about a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// The rate in force.
    Found(&'a Rate),
    /// The destination is forbidden by this row ("rate locked").
    Locked(&'a Rate),
    /// No row: the call is refused before routing ("rate not found").
    NotFound,
}

/// Why rows do not make a deck.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeckError {
    /// A row with a value outside its range.
    #[error("deck {deck:?}, prefix {prefix:?}: {reason}")]
    Row {
        /// Name of the deck.
        deck: String,
        /// Prefix of the row.
        prefix: String,
        /// Field, value and allowed range.
        reason: OutOfRange,
    },
    /// Two rows of one prefix valid at the same time.
    #[error("deck {deck:?}: rows {first} and {second} (prefix {prefix:?}) are valid at the same time")]
    Overlap {
        /// Name of the deck.
        deck: String,
        /// Their common prefix.
        prefix: String,
        /// Number of the earlier row in the list as given, from 1.
        first: usize,
        /// Number of the later row in the list as given, from 1.
        second: usize,
    },
    /// More rows than [`ROWS_MAX`].
    #[error("deck {deck:?} has {rows} rows; at most {ROWS_MAX} are allowed")]
    TooManyRows {
        /// Name of the deck.
        deck: String,
        /// Rows given.
        rows: usize,
    },
    /// A prefix the index refuses.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
}

/// The rows of one prefix: a run in [`Deck::rows`].
#[derive(Clone, Copy, Debug)]
struct Run {
    first: u32,
    end: u32,
}

/// A compiled, immutable rate group: built and checked whole, then shared and swapped whole.
#[derive(Clone, Debug, Default)]
pub struct Deck {
    name: String,
    rows: Vec<Rate>,
    index: PrefixTrie<Run>,
}

impl Deck {
    /// Compiles `rows`, in any order.
    ///
    /// Errors: a row that is out of range, two rows of one rate prefix and area code that are valid
    /// at the same time, more than [`ROWS_MAX`] rows. Rows that make one prefix from different
    /// splits may overlap: the longer rate prefix wins (rates.md section 3).
    pub fn build(name: impl Into<String>, rows: Vec<Rate>) -> Result<Deck, DeckError> {
        let name = name.into();
        if rows.len() > ROWS_MAX {
            return Err(DeckError::TooManyRows { deck: name, rows: rows.len() });
        }
        if let Some((row, reason)) = rows.iter().find_map(|row| Some((row, row.validate().err()?))) {
            return Err(DeckError::Row { deck: name, prefix: row.prefix(), reason });
        }
        let mut numbered: Vec<(String, usize, Rate)> =
            rows.into_iter().enumerate().map(|(position, row)| (row.prefix(), position + 1, row)).collect();
        // In a run the longer rate prefix comes first, then the earlier validity: the first valid
        // row of a run is the answer.
        numbered.sort_by(|a, b| {
            let split = b.2.fee_prefix.len().cmp(&a.2.fee_prefix.len());
            let from = a.2.valid_from().cmp(&b.2.valid_from());
            a.0.cmp(&b.0).then(split).then(from)
        });
        for pair in numbered.windows(2) {
            let [(prefix, a_number, a), (other, b_number, b)] = pair else {
                continue;
            };
            let same_split = prefix == other && a.fee_prefix.len() == b.fee_prefix.len();
            if same_split && a.overlaps(b) {
                return Err(DeckError::Overlap {
                    deck: name,
                    prefix: prefix.clone(),
                    first: *a_number.min(b_number),
                    second: *a_number.max(b_number),
                });
            }
        }
        let mut runs: Vec<(String, Run)> = Vec::new();
        let mut sorted = Vec::with_capacity(numbered.len());
        for (position, (prefix, _, row)) in numbered.into_iter().enumerate() {
            // ROWS_MAX is far below u32::MAX.
            let end = position as u32 + 1;
            match runs.last_mut() {
                Some((last, run)) if *last == prefix => run.end = end,
                _ => runs.push((prefix, Run { first: end - 1, end })),
            }
            sorted.push(row);
        }
        Ok(Deck { name, rows: sorted, index: PrefixTrie::build(runs)? })
    }

    /// The row for `number` at `at_ms` (UTC ms): the longest prefix among the rows valid then, an
    /// empty prefix being the default row; of one length, the longer rate prefix.
    pub fn lookup(&self, number: impl AsRef<[u8]>, at_ms: i64) -> Lookup<'_> {
        let number = number.as_ref();
        // Nearly always the longest match is also valid; the full list is the exception.
        let valid =
            |run: &Run| self.rows[run.first as usize..run.end as usize].iter().find(|row| row.is_valid_at(at_ms));
        let Some((_, run)) = self.index.longest(number) else {
            return Lookup::NotFound;
        };
        let row = valid(run).or_else(|| self.index.matches(number).rev().skip(1).find_map(|(_, run)| valid(run)));
        match row {
            Some(row) if row.lock => Lookup::Locked(row),
            Some(row) => Lookup::Found(row),
            None => Lookup::NotFound,
        }
    }

    /// Name of the rate group.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The rows, ordered by prefix and validity.
    pub fn rows(&self) -> &[Rate] {
        &self.rows
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}
