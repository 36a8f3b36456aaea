//! Shared by the tests of this room: short ways to write terms, and a second, slow rating function.

#![allow(dead_code, unreachable_pub, missing_docs)]

pub mod reference;

use rust_decimal::Decimal;
use tandem_rating::{BillingParams, Money, RateTerms, Section};

pub fn dec(text: &str) -> Decimal {
    text.parse().unwrap()
}

pub fn money(text: &str) -> Money {
    text.parse().unwrap()
}

/// A row at `rate` per minute with blocks `first_s`/`next_s` and nothing else.
pub fn terms(rate: &str, first_s: u32, next_s: u32) -> RateTerms {
    RateTerms {
        rate_id: 7,
        prefix: "1212".into(),
        rate_per_min: dec(rate),
        first_s,
        next_s,
        sections: Vec::new(),
        conn_fee: Decimal::ZERO,
        tax_pct: Decimal::ZERO,
        level: 5,
    }
}

pub fn section(position: u32, time_s: u32, amount: &str) -> Section {
    Section { position, time_s, amount: dec(amount) }
}

/// Precision `fp` with the unit of its last digit.
pub fn params(fp: u8) -> BillingParams {
    BillingParams { fp, fu: Decimal::new(1, u32::from(fp)), ..BillingParams::default() }
}
