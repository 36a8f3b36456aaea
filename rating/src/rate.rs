//! Rate rows, as operators write them (rates.md sections 1 and 2). Compiled they are a [`Deck`].

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::error::OutOfRange;
use crate::fee::{RateTerms, Section, in_order};
use crate::least_cost::{PerSecond, per_second};
use crate::prefix::PREFIX_LEN_MAX;

pub use crate::deck::{DECK_ROWS_MAX, Deck, DeckError, Lookup, ROWS_MAX, Row};

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
            prefix: self.prefix().into(),
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

    /// Orders by whole prefix, without making it.
    pub(crate) fn cmp_prefix(&self, other: &Rate) -> std::cmp::Ordering {
        if self.fee_prefix.is_empty() && other.fee_prefix.is_empty() {
            return self.area_code.cmp(&other.area_code);
        }
        let (a, b) = (self.fee_prefix.bytes().chain(self.area_code.bytes()), other.fee_prefix.bytes());
        a.cmp(b.chain(other.area_code.bytes()))
    }

    pub(crate) fn valid_from(&self) -> i64 {
        self.effective_from_ms.unwrap_or(i64::MIN)
    }
}
