//! What a leg was rated by and what came out: enough to rate it again years later, bit for bit (billing.md 7, cdr.md 7).
//!
//! A CDR keeps one [`Proof`] a leg as JSON beside the billing parameters of the call. Fields that have their usual value are
//! left out, because every call carries them.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::cdr::Cdr;
use crate::error::BillingError;
use crate::fee::{BillingParams, Charge, RateTerms, Section, Tariff, rate_tariff};
use crate::gift::Gift;
use crate::money::{Money, parse_decimal};
use crate::split::RateChange;
use crate::text::Text;
use crate::usage::{LegTerms, Usage};

/// Whose charge a leg is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Who pays for the call.
    #[default]
    Customer,
    /// An agent above the customer.
    Agent,
    /// Who is paid for carrying it.
    Vendor,
}

impl Role {
    /// The word in JSON and in sentences.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Customer => "customer",
            Role::Agent => "agent",
            Role::Vendor => "vendor",
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// See the module text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Whose charge.
    pub leg: Role,
    /// Account.
    pub account: Text,
    /// Its name for people.
    #[serde(default, skip_serializing_if = "is_default")]
    pub name: Text,
    /// Rate group.
    #[serde(default, skip_serializing_if = "is_default")]
    pub group: Text,
    /// The number that was looked up.
    #[serde(default, skip_serializing_if = "is_default")]
    pub number: Text,
    /// Held time that was charged, ms; it differs from that of the call for a leg charged by its media.
    #[serde(default, skip_serializing_if = "is_default")]
    pub charged_ms: i64,
    /// The row; absent for a free leg, and for a vendor without a rate.
    #[serde(default, skip_serializing_if = "is_default")]
    pub row: Option<Row>,
    /// Rows that took its place during the call.
    #[serde(default, skip_serializing_if = "is_default")]
    pub changes: Vec<Change>,
    /// Gift time that was held for the call.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gifts: Vec<Gift>,
    /// Gift money that was held for the call.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gift_money: Money,
    /// Both are what the call used of them, which is all that a correction may use: the rest went back when it ended.
    #[serde(default, skip_serializing_if = "is_default")]
    pub as_used: bool,
    /// What came out; absent for a leg that was not charged.
    #[serde(default, skip_serializing_if = "is_default")]
    pub charge: Option<Outcome>,
}

/// A rate row, without what is usual.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Number of the row.
    pub id: u64,
    /// Matched prefix.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prefix: Text,
    /// Price of 60 s, as stored.
    pub rate: Decimal,
    /// First block, s.
    pub first_s: u32,
    /// Later blocks, s.
    pub next_s: u32,
    /// Stepped start.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sections: Vec<Section>,
    /// Connection fee.
    #[serde(default, skip_serializing_if = "is_default")]
    pub conn_fee: Decimal,
    /// Tax in percent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tax: Decimal,
    /// Call level.
    pub level: u8,
}

/// A row that took the place of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// From this instant on, UTC ms.
    pub from_ms: i64,
    /// The row.
    pub row: Row,
}

/// What was charged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Billed seconds.
    pub billed_s: i64,
    /// Seconds paid by packages.
    #[serde(default, skip_serializing_if = "is_default")]
    pub suite_s: i64,
    /// Seconds taken from each gift.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gift_used_s: Vec<i64>,
    /// Fee.
    pub fee: Money,
    /// Tax.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tax: Money,
    /// Part of both that gift money paid.
    #[serde(default, skip_serializing_if = "is_default")]
    pub suite_fee: Money,
}

impl From<&RateTerms> for Row {
    fn from(terms: &RateTerms) -> Row {
        Row {
            id: terms.rate_id,
            prefix: terms.prefix.clone(),
            rate: terms.rate_per_min,
            first_s: terms.first_s,
            next_s: terms.next_s,
            sections: terms.sections.clone(),
            conn_fee: terms.conn_fee,
            tax: terms.tax_pct,
            level: terms.level,
        }
    }
}

impl Row {
    /// The row as the rating function takes it.
    pub fn terms(&self) -> RateTerms {
        RateTerms {
            rate_id: self.id,
            prefix: self.prefix.clone(),
            rate_per_min: self.rate,
            first_s: self.first_s,
            next_s: self.next_s,
            sections: self.sections.clone(),
            conn_fee: self.conn_fee,
            tax_pct: self.tax,
            level: self.level,
        }
    }
}

impl From<&Charge> for Outcome {
    fn from(charge: &Charge) -> Outcome {
        Outcome {
            billed_s: charge.billed_s,
            suite_s: charge.suite_s,
            gift_used_s: charge.gift_used_s.clone(),
            fee: charge.fee,
            tax: charge.tax,
            suite_fee: charge.suite_fee,
        }
    }
}

impl Proof {
    /// Of a leg as it was rated.
    pub fn of(role: Role, usage: &Usage, leg: &LegTerms, charge: Option<&Charge>) -> Proof {
        let change = |change: &RateChange| Change { from_ms: change.from_ms, row: Row::from(&change.terms) };
        Proof {
            leg: role,
            account: leg.account.clone(),
            name: leg.account_name.clone(),
            group: leg.rate_group.clone(),
            number: leg.number.clone(),
            charged_ms: usage.charged_ms(leg),
            row: leg.terms.as_ref().map(Row::from),
            changes: leg.changes.iter().map(change).collect(),
            gifts: leg.gifts.clone(),
            gift_money: leg.gift_money,
            as_used: false,
            charge: charge.map(Outcome::from),
        }
    }

    /// Rates the leg again from what is kept. `None` for a leg without a row.
    ///
    /// # Errors
    /// As of [`rate_tariff`].
    pub fn rate(&self, connect_ms: i64, params: &BillingParams) -> Result<Option<Charge>, BillingError> {
        self.with_tariff(connect_ms, |tariff| rate_tariff(self.charged_ms, tariff, &self.params(params))).transpose()
    }

    /// The steps of the fee, one a line. Empty for a leg without a row.
    pub fn explain(&self, connect_ms: i64, params: &BillingParams) -> Vec<String> {
        let params = self.params(params);
        let lines = |tariff: &Tariff<'_>| crate::fee::explain_tariff(self.charged_ms, tariff, &params);
        self.with_tariff(connect_ms, lines).unwrap_or_default()
    }

    /// The parameters the leg is rated with: vendors may give no free time (billing.md 9).
    fn params(&self, params: &BillingParams) -> BillingParams {
        if self.leg == Role::Vendor { params.for_vendor() } else { params.clone() }
    }

    fn with_tariff<T>(&self, connect_ms: i64, with: impl FnOnce(&Tariff<'_>) -> T) -> Option<T> {
        let terms = self.row.as_ref()?.terms();
        let changes: Vec<RateChange> = self
            .changes
            .iter()
            .map(|change| RateChange { from_ms: change.from_ms, terms: change.row.terms() })
            .collect();
        let (gifts, gift_money) = (&self.gifts[..], self.gift_money);
        Some(with(&Tariff { terms: &terms, changes: &changes, connect_ms, gifts, gift_money }))
    }

    /// True when the charge that is kept is the one that comes out again, to the last digit.
    pub fn holds(&self, connect_ms: i64, params: &BillingParams) -> bool {
        match self.rate(connect_ms, params) {
            Ok(charge) => charge.as_ref().map(Outcome::from) == self.charge,
            // What cannot be rated was not charged.
            Err(_) => self.charge.is_none(),
        }
    }
}

/// As a CDR keeps it; empty when there is nothing to keep.
pub fn to_text(proofs: &[Proof]) -> Text {
    if proofs.is_empty() {
        return Text::default();
    }
    // Plain structures of texts and numbers always have a JSON form.
    serde_json::to_string(proofs).unwrap_or_default().into()
}

/// What the CDR's legs were rated by.
///
/// # Errors
/// The text is not what [`to_text`] writes.
pub fn of_cdr(cdr: &Cdr) -> Result<Vec<Proof>, String> {
    if cdr.legs.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(&cdr.legs).map_err(|error| format!("call {}: legs is {}: {error}", cdr.flow_no, cdr.legs))
}

/// The billing parameters of the CDR's answer.
///
/// # Errors
/// A field out of its range; names it.
pub fn params_of(cdr: &Cdr) -> Result<BillingParams, String> {
    let range = |field: &str, value: i64| format!("call {}: {field} is {value}", cdr.flow_no);
    let params = BillingParams {
        fp: u8::try_from(cdr.fp).map_err(|_| range("fp", i64::from(cdr.fp)))?,
        fu: parse_decimal(&cdr.fu).map_err(|error| format!("call {}: fu is {}: {error}", cdr.flow_no, cdr.fu))?,
        p_hold_ms: u16::try_from(cdr.p_hold).map_err(|_| range("p_hold", i64::from(cdr.p_hold)))?,
        free_s: u32::try_from(cdr.free_s).map_err(|_| range("free_s", cdr.free_s))?,
        quantise_rate: cdr.rate_quantise != 0,
        vendor_free_time: cdr.vendor_free_time != 0,
    };
    params.validate().map_err(|error| format!("call {}: {error}", cdr.flow_no))?;
    Ok(params)
}

/// The instant from which the rows of a call are counted: its answer, or its beginning when it had none.
pub fn connect_ms_of(cdr: &Cdr) -> i64 {
    cdr.connect_ms.unwrap_or(cdr.setup_ms)
}
