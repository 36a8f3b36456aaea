//! The same call by other rates: what its legs would have cost (cdr.md 7). Nothing is booked here.

use serde::{Deserialize, Serialize};

use crate::deck::{Deck, Lookup};
use crate::error::BillingError;
use crate::fee::BillingParams;
use crate::money::Money;
use crate::proof::{Outcome, Proof, Role, Row, to_text};
use crate::prove::{due, leg_names};
use crate::record::{Correction, LedgerKind, LedgerRow};
use crate::text::Text;

/// Which legs take other rates. The default is that of the customer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pick {
    /// Who paid for the call.
    #[default]
    Customer,
    /// Legs that were priced by this rate group.
    Group(String),
    /// Legs of this account.
    Account(String),
}

impl Pick {
    /// Whether `proof` is of such a leg. One without a row was free and stays so.
    pub fn takes(&self, proof: &Proof) -> bool {
        proof.row.is_some()
            && match self {
                Pick::Customer => proof.leg == Role::Customer,
                Pick::Group(group) => proof.group == group.as_str(),
                Pick::Account(account) => proof.account == account.as_str(),
            }
    }
}

/// Where the rates come from.
#[derive(Clone, Copy, Debug)]
pub enum Rates<'a> {
    /// The stored rows.
    Stored,
    /// A deck: the row that is in force at this instant, UTC ms; at the answer when there is none.
    Deck(&'a Deck, Option<i64>),
}

/// Parameters that take the place of those of the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overrides {
    /// SERVER_BILLING_FEE_PRECISION.
    pub fp: Option<u8>,
    /// SERVER_BILLING_FEE_UNIT.
    pub fu: Option<rust_decimal::Decimal>,
    /// SERVER_BILLING_HOLD_TIME_PRECISION.
    pub p_hold_ms: Option<u16>,
    /// SERVER_BILLING_FREE_TIME.
    pub free_s: Option<u32>,
    /// TANDEM_RATE_QUANTISE.
    pub quantise_rate: Option<bool>,
}

impl Overrides {
    /// `params` with what is set here.
    pub fn over(&self, params: &BillingParams) -> BillingParams {
        BillingParams {
            fp: self.fp.unwrap_or(params.fp),
            fu: self.fu.unwrap_or(params.fu),
            p_hold_ms: self.p_hold_ms.unwrap_or(params.p_hold_ms),
            free_s: self.free_s.unwrap_or(params.free_s),
            quantise_rate: self.quantise_rate.unwrap_or(params.quantise_rate),
            vendor_free_time: params.vendor_free_time,
        }
    }
}

/// A leg before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// Its name in the ledger.
    pub name: String,
    /// As it was charged.
    pub before: Proof,
    /// As it would be charged; as before when there is no rate.
    pub after: Proof,
    /// It takes part: chosen by the [`Pick`], or rated by other parameters.
    pub taken: bool,
    /// The deck has no row for the number, or a locked one.
    pub no_rate: bool,
}

impl Leg {
    /// What the account paid before and would pay after.
    ///
    /// # Errors
    /// A sum is out of the range of amounts.
    pub fn due(&self) -> Result<(Money, Money), BillingError> {
        let of = |proof: &Proof| proof.charge.as_ref().map_or(Ok(Money::ZERO), due);
        Ok((of(&self.before)?, of(&self.after)?))
    }
}

/// A call before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repriced {
    /// The parameters it would be charged by.
    pub params: BillingParams,
    /// Its legs, in order.
    pub legs: Vec<Leg>,
}

/// Rates the legs that `pick` takes by `rates`, and all of them by `overrides`.
///
/// The row at the answer holds for the whole call. Of gifts the call has what it used: what was held beyond that went back to its
/// package when it ended, and may have paid for another call. A leg that was not charged because
/// the caller did not pay for it stays so.
///
/// # Errors
/// As of [`crate::rate_tariff`]; the call is then left alone as a whole.
pub fn reprice(
    connect_ms: i64,
    (params, proofs): (&BillingParams, &[Proof]),
    pick: &Pick,
    rates: Rates<'_>,
    overrides: &Overrides,
) -> Result<Repriced, BillingError> {
    let new = overrides.over(params);
    let mut legs = Vec::with_capacity(proofs.len());
    for (name, before) in leg_names(proofs).into_iter().zip(proofs) {
        let mut leg = Leg { name, before: before.clone(), after: before.clone(), taken: false, no_rate: false };
        let taken = pick.takes(before);
        if let (true, Rates::Deck(deck, at_ms)) = (taken, rates) {
            match deck.lookup(before.number.as_str(), at_ms.unwrap_or(connect_ms)) {
                Lookup::Found(row) => {
                    leg.after.row = Some(Row::from(&row.terms()));
                    leg.after.changes = Vec::new();
                }
                Lookup::Locked(_) | Lookup::NotFound => leg.no_rate = true,
            }
        }
        leg.taken = taken || new != *params;
        if leg.taken && !leg.no_rate && before.row.is_some() {
            keep_used(&mut leg.after);
            leg.after.charge = leg.after.rate(connect_ms, &new)?.as_ref().map(Outcome::from);
        }
        legs.push(leg);
    }
    Ok(Repriced { params: new, legs })
}

/// Takes from a leg what it held of gifts and did not use.
fn keep_used(proof: &mut Proof) {
    if proof.as_used || (proof.gifts.is_empty() && proof.gift_money.is_zero()) {
        return;
    }
    let used_s = proof.charge.as_ref().map_or(&[][..], |charge| &charge.gift_used_s);
    for (n, gift) in proof.gifts.iter_mut().enumerate() {
        gift.left_s = used_s.get(n).copied().unwrap_or(0).min(gift.left_s);
    }
    proof.gift_money = proof.charge.as_ref().map_or(Money::ZERO, |charge| charge.suite_fee);
    proof.as_used = true;
}

/// Longest name of a run, in bytes: it is part of the key of every row.
const RUN_MAX: usize = 40;

/// Whether a run may be called so: 1 to 40 letters, digits, `-` and `_`.
pub fn is_run(name: &str) -> bool {
    (1..=RUN_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

impl Repriced {
    /// Whether an account would pay something else.
    ///
    /// # Errors
    /// A sum is out of the range of amounts.
    pub fn changes(&self) -> Result<bool, BillingError> {
        for leg in &self.legs {
            let (before, after) = leg.due()?;
            if before != after {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What the customer's fee leaves over the vendor's, before and after.
    ///
    /// # Errors
    /// A sum is out of the range of amounts.
    pub fn margin(&self) -> Result<(Money, Money), BillingError> {
        let fee = |role: Role, after: bool| {
            let leg = self.legs.iter().find(|leg| leg.before.leg == role);
            let proof = leg.map(|leg| if after { &leg.after } else { &leg.before });
            proof.and_then(|proof| proof.charge.as_ref()).map_or(Money::ZERO, |charge| charge.fee)
        };
        let margin = |after| fee(Role::Customer, after).checked_sub(fee(Role::Vendor, after));
        Ok((margin(false)?, margin(true)?))
    }

    /// The correction that makes the call what it would be: its ledger rows have no balance yet.
    ///
    /// # Errors
    /// A sum is out of the range of amounts.
    pub fn correction(&self, flow_no: u64, revision: u32, run: &str) -> Result<Correction, BillingError> {
        let side = |after: bool| {
            let proofs: Vec<Proof> =
                self.legs.iter().map(|leg| if after { leg.after.clone() } else { leg.before.clone() }).collect();
            to_text(&proofs)
        };
        let mut ledger = Vec::new();
        for leg in &self.legs {
            let (before, after) = leg.due()?;
            let amount = before.checked_sub(after)?;
            if !amount.is_zero() {
                ledger.push(LedgerRow {
                    key: correction_key(run, flow_no, &leg.name),
                    account: leg.before.account.to_string(),
                    kind: LedgerKind::Correction,
                    amount,
                    balance_after: Money::ZERO,
                    at_ms: 0,
                    flow_no: Some(flow_no),
                    user: String::new(),
                    memo: String::new(),
                });
            }
        }
        let (before, after): (Text, Text) = (side(false), side(true));
        Ok(Correction {
            flow_no,
            revision,
            run: run.to_owned(),
            params: self.params.clone(),
            before,
            after,
            ledger,
            ..Correction::default()
        })
    }
}

/// The key of a correction's ledger row: one for each call, run and leg, so that none is booked twice.
pub fn correction_key(run: &str, flow_no: u64, leg: &str) -> String {
    format!("rerate:{run}:{flow_no}:{leg}")
}

/// A correction as it is kept.
#[derive(Clone, Copy, Debug)]
pub struct Revision<'a> {
    /// The call.
    pub flow_no: u64,
    /// 1 is the first of the call.
    pub number: u32,
    /// Run it belongs to.
    pub run: &'a str,
    /// Parameters from then on.
    pub params: &'a BillingParams,
    /// Proofs before it.
    pub before: &'a [Proof],
    /// Proofs from then on.
    pub after: &'a [Proof],
}

/// What of a correction does not agree: it begins where the record, or the correction before it, ended (`before`); each leg
/// proves itself; and `booked`, the correction rows of the call (key, account, amount), are the differences.
pub fn revision_problems(
    connect_ms: i64,
    before: &[Proof],
    revision: Revision<'_>,
    booked: &[(String, String, Money)],
) -> Vec<String> {
    let mut problems = Vec::new();
    let name = format!("correction {} of run {}", revision.number, revision.run);
    if revision.before != before {
        problems.push(format!("{name} does not begin where the one before ended"));
    }
    for (leg, proof) in leg_names(revision.after).into_iter().zip(revision.after) {
        if !proof.holds(connect_ms, revision.params) && revision.before.iter().all(|before| before != proof) {
            problems.push(format!("{name}: the {leg} leg does not prove itself"));
        }
    }
    for (leg, (before, after)) in leg_names(revision.after).iter().zip(revision.before.iter().zip(revision.after)) {
        let of = |proof: &Proof| proof.charge.as_ref().map_or(Ok(Money::ZERO), due);
        let wanted = of(before).and_then(|before| before.checked_sub(of(after)?)).unwrap_or_default();
        let key = correction_key(revision.run, revision.flow_no, leg);
        let row = booked.iter().find(|(other, _, _)| *other == key);
        let found = row.map_or(Money::ZERO, |(_, _, amount)| *amount);
        if wanted != found || row.is_some_and(|(_, account, _)| *account != before.account.as_str()) {
            problems.push(format!("{name}: the ledger has {found} for the {leg} leg, the difference is {wanted}"));
        }
    }
    problems
}
