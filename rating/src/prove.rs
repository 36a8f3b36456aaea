//! Whether a finished call was charged what its record proves, to the last digit (billing.md 7, cdr.md 7).
//!
//! Three things have to say the same: the fee as it is rated again from the stored proof, the columns of the CDR, and the
//! rows of the ledger. Nothing here decides anything: it compares, and names each thing that does not agree.

use crate::cdr::Cdr;
use crate::duration;
use crate::fee::{BillingParams, Charge};
use crate::money::{Money, MoneyError};
use crate::proof::{self, Outcome, Proof, Role};

/// A movement of money that names the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booked {
    /// Leg of its key: what [`leg_names`] gives.
    pub leg: String,
    /// Account.
    pub account: String,
    /// Added to the balance; negative for a charge.
    pub amount: Money,
}

/// Two values that have to be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was compared.
    pub what: &'static str,
    /// As it is stored.
    pub stored: String,
    /// As it comes out again.
    pub again: String,
}

impl Check {
    fn new(what: &'static str, stored: impl ToString, again: impl ToString) -> Check {
        Check { what, stored: stored.to_string(), again: again.to_string() }
    }

    /// Whether both are one.
    pub fn agrees(&self) -> bool {
        self.stored == self.again
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Everything agrees.
    #[default]
    Proved,
    /// The record was written before records kept what they were rated by.
    NoProof,
    /// Something does not agree.
    Differs,
}

impl Verdict {
    /// The word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Proved => "proved",
            Verdict::NoProof => "no_proof",
            Verdict::Differs => "differs",
        }
    }
}

/// One leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvedLeg {
    /// Its name in the ledger.
    pub name: String,
    /// What it was rated by.
    pub proof: Proof,
    /// What was compared.
    pub checks: Vec<Check>,
}

/// See the module text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proven {
    /// What was found.
    pub verdict: Verdict,
    /// The legs: customer, agents, vendor.
    pub legs: Vec<ProvedLeg>,
    /// What is compared of the call as a whole.
    pub checks: Vec<Check>,
    /// What cannot be compared at all, in sentences.
    pub problems: Vec<String>,
}

impl Proven {
    /// Every disagreement as a sentence.
    pub fn differences(&self) -> Vec<String> {
        let sentence = |leg: &str, check: &Check| {
            format!("{leg}{} is stored as {}, comes out as {}", check.what, shown(&check.stored), shown(&check.again))
        };
        let of_call = self.checks.iter().filter(|check| !check.agrees()).map(|check| sentence("", check));
        let of_legs = self.legs.iter().flat_map(|leg| {
            let wrong = leg.checks.iter().filter(|check| !check.agrees());
            wrong.map(|check| sentence(&format!("{} ({}): ", leg.name, leg.proof.account), check))
        });
        self.problems.iter().cloned().chain(of_call).chain(of_legs).collect()
    }
}

fn shown(value: &str) -> &str {
    if value.is_empty() { "nothing" } else { value }
}

/// The names of legs in the keys of ledger rows, in the order of `proofs`.
pub fn leg_names(proofs: &[Proof]) -> Vec<String> {
    let mut agents = 0;
    let mut name = |proof: &Proof| match proof.leg {
        Role::Customer | Role::Vendor => proof.leg.as_str().to_owned(),
        Role::Agent => {
            agents += 1;
            if agents == 1 { "agent".to_owned() } else { format!("agent{agents}") }
        }
    };
    proofs.iter().map(&mut name).collect()
}

/// What an account pays of an outcome: fee and tax, without what gift money paid.
///
/// # Errors
/// The sum is out of the range of amounts.
pub fn due(outcome: &Outcome) -> Result<Money, MoneyError> {
    outcome.fee.checked_add(outcome.tax)?.checked_sub(outcome.suite_fee)
}

/// Compares the record of a call with what its proofs give, and with `booked`, the rows that charged it.
pub fn prove(cdr: &Cdr, booked: &[Booked]) -> Proven {
    let mut proven = Proven::default();
    let (proofs, params) = match (proof::of_cdr(cdr), proof::params_of(cdr)) {
        (Ok(proofs), Ok(params)) => (proofs, params),
        (Err(problem), _) | (_, Err(problem)) => {
            proven.verdict = Verdict::Differs;
            proven.problems.push(problem);
            return proven;
        }
    };
    let charged = !booked.is_empty() || !cdr.fee.is_zero() || !cdr.vendor_fee.is_zero() || !cdr.agent_fee.is_zero();
    if proofs.is_empty() && (charged || !cdr.account.is_empty() || !cdr.vendor_account.is_empty()) {
        proven.verdict = Verdict::NoProof;
        return proven;
    }
    of_call(cdr, &params, &mut proven);
    let names = leg_names(&proofs);
    for row in booked.iter().filter(|row| !names.contains(&row.leg)) {
        proven.problems.push(format!("the ledger has {} for the leg {} of {}", row.amount, row.leg, row.account));
    }
    for (name, proof) in names.into_iter().zip(proofs) {
        let checks = of_leg(cdr, &params, &name, &proof, booked);
        proven.legs.push(ProvedLeg { name, proof, checks });
    }
    let agrees = |checks: &[Check]| checks.iter().all(Check::agrees);
    if !proven.problems.is_empty() || !agrees(&proven.checks) || !proven.legs.iter().all(|leg| agrees(&leg.checks)) {
        proven.verdict = Verdict::Differs;
    }
    proven
}

fn of_call(cdr: &Cdr, params: &BillingParams, proven: &mut Proven) {
    let hold_ms = if cdr.connect_ms.is_some() { cdr.hold_ms } else { 0 };
    proven.checks.push(Check::new("hold_s", cdr.hold_s, duration::hold_s(hold_ms, params.p_hold_ms)));
    if let Some(connect_ms) = cdr.connect_ms {
        // billing.md 6.9: times and duration of a record always agree.
        proven.checks.push(Check::new("end_ms", cdr.end_ms, connect_ms.saturating_add(cdr.hold_ms)));
    }
    let (above_fee, above_tax) =
        if cdr.agent_account.is_empty() { (cdr.vendor_fee, cdr.vendor_tax) } else { (cdr.agent_fee, cdr.agent_tax) };
    let less = |a: Money, b: Money| a.checked_sub(b).map_or_else(|error| error.to_string(), |money| money.to_string());
    proven.checks.push(Check::new("margin", cdr.margin, less(cdr.fee, cdr.vendor_fee)));
    proven.checks.push(Check::new("income_fee", cdr.income_fee, less(cdr.fee, above_fee)));
    proven.checks.push(Check::new("income_tax", cdr.income_tax, less(cdr.tax, above_tax)));
}

/// The columns of a leg in the CDR, as far as there are any.
fn columns(cdr: &Cdr, name: &str) -> Option<[(&'static str, String); 6]> {
    let row = |account: &str, billed_s: i64, [fee, tax, suite_fee]: [Money; 3], suite_s: i64| {
        [
            ("account", account.to_owned()),
            ("billed seconds", billed_s.to_string()),
            ("fee", fee.to_string()),
            ("tax", tax.to_string()),
            ("fee paid by packages", suite_fee.to_string()),
            ("seconds paid by packages", suite_s.to_string()),
        ]
    };
    Some(match name {
        "customer" => row(&cdr.account, cdr.billed_s, [cdr.fee, cdr.tax, cdr.suite_fee], cdr.suite_s),
        "agent" => {
            let money = [cdr.agent_fee, cdr.agent_tax, cdr.agent_suite_fee];
            row(&cdr.agent_account, cdr.agent_s, money, cdr.agent_suite_s)
        }
        "vendor" => row(&cdr.vendor_account, cdr.vendor_s, [cdr.vendor_fee, cdr.vendor_tax, Money::ZERO], 0),
        _ => return None,
    })
}

fn of_leg(cdr: &Cdr, params: &BillingParams, name: &str, proof: &Proof, booked: &[Booked]) -> Vec<Check> {
    let mut checks = Vec::new();
    let again: Option<Charge> = match proof.rate(proof::connect_ms_of(cdr), params) {
        Ok(charge) => charge,
        // What cannot be rated was not charged; the alarm of that time says why.
        Err(error) => {
            if proof.charge.is_some() {
                checks.push(Check::new("charge", "a charge", error));
            }
            None
        }
    };
    let outcome = again.as_ref().map(Outcome::from);
    let kept = proof.charge.clone().unwrap_or_default();
    let derived = outcome.clone().unwrap_or_default();
    let is_charged = |outcome: bool| if outcome { "charged" } else { "not charged" };
    checks.push(Check::new("leg", is_charged(proof.charge.is_some()), is_charged(outcome.is_some())));
    let list = |seconds: &[i64]| seconds.iter().map(i64::to_string).collect::<Vec<_>>().join(" ");
    checks.push(Check::new("billed seconds in the proof", kept.billed_s, derived.billed_s));
    checks.push(Check::new("fee in the proof", kept.fee, derived.fee));
    checks.push(Check::new("tax in the proof", kept.tax, derived.tax));
    checks.push(Check::new("seconds paid by packages in the proof", kept.suite_s, derived.suite_s));
    checks.push(Check::new("fee paid by packages in the proof", kept.suite_fee, derived.suite_fee));
    checks.push(Check::new("gift seconds in the proof", list(&kept.gift_used_s), list(&derived.gift_used_s)));
    // A leg charged by its media is never charged for longer than the call.
    let longest_ms = if cdr.connect_ms.is_some() { cdr.hold_ms } else { 0 };
    if proof.charged_ms > longest_ms {
        checks.push(Check::new("charged milliseconds", proof.charged_ms, longest_ms));
    }
    if let Some(columns) = columns(cdr, name) {
        let again = [
            proof.account.to_string(),
            derived.billed_s.to_string(),
            derived.fee.to_string(),
            derived.tax.to_string(),
            derived.suite_fee.to_string(),
            derived.suite_s.to_string(),
        ];
        for ((what, stored), again) in columns.into_iter().zip(again) {
            checks.push(Check { what, stored, again });
        }
    }
    let rows: Vec<&Booked> = booked.iter().filter(|row| row.leg == name).collect();
    let stored = rows.iter().map(|row| format!("{} of {}", row.amount, row.account)).collect::<Vec<_>>().join(" and ");
    // What costs nothing is not booked.
    let again = match due(&derived).and_then(Money::checked_neg) {
        Ok(amount) if amount.is_zero() => String::new(),
        Ok(amount) => format!("{amount} of {}", proof.account),
        Err(error) => error.to_string(),
    };
    checks.push(Check { what: "ledger", stored, again });
    checks
}
