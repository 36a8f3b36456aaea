//! Exact money for one call: hold time to billed time, billed time to fee and tax, decks with
//! longest-prefix match, and the arithmetic of a prepaid or postpaid account.
//!
//! Everything here is a pure function of its arguments: no clock, no I/O, no floating point. The
//! caller brings the hold time, the rate row that was in force at the answer and the parameters of
//! that instant, and gets the same fee today and at every later re-rating. Amounts are decimals at
//! the edges and integers (`i128`, in steps of 10^-8) inside; an amount that does not fit is an
//! error value, never a wrapped number.
//!
//! It will not: keep accounts or calls (the rating thread does), know what a SIP message is, or
//! decide who pays (that is decided before a leg is rated).

#![forbid(unsafe_code)]

pub mod account;
pub mod cdr;
mod deck;
pub mod deck_csv;
pub mod duration;
pub mod error;
mod explain;
pub mod fee;
pub mod gift;
mod gift_use;
pub mod import;
mod iso_time;
pub mod least_cost;
pub mod money;
pub mod package;
pub mod prefix;
pub mod proof;
pub mod prove;
pub mod rate;
pub mod record;
pub mod reprice;
mod round;
pub mod sheet;
pub mod split;
mod sums;
pub mod text;
pub mod usage;

pub use account::{Account, Grant, MaxHold, Refused, Reservation, Settled, max_hold_s};
pub use error::{BillingError, OutOfRange};
pub use fee::{BillingParams, Charge, RateTerms, Section, Tariff, explain_leg, explain_tariff, rate_leg, rate_tariff};
pub use gift::Gift;
pub use money::{Money, MoneyError, RawFee};
pub use prefix::PrefixTrie;
pub use rate::{Deck, DeckError, Lookup, Rate, Row};
pub use split::RateChange;
