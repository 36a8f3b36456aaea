//! What must hold whatever happened: recomputed from the journal alone, apart from the code that charges.

use std::collections::{BTreeMap, BTreeSet};

use tandem_call::snapshot::AccountKind;
use tandem_rater::Rater;
use tandem_rating::money::Money;
use tandem_rating::proof::{self, Role};
use tandem_rating::record::{LedgerKind, LedgerRow, Record};

/// Money is conserved: the balance of an account is the sum of its ledger rows, each key is booked once, and no prepaid
/// account is below its limit.
pub(crate) fn money<'a>(rater: &Rater, ledger: impl Iterator<Item = &'a LedgerRow>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut sums: BTreeMap<&str, Money> = BTreeMap::new();
    let mut keys = BTreeSet::new();
    for row in ledger {
        if !keys.insert(row.key.as_str()) {
            problems.push(format!("ledger key {} is booked twice", row.key));
        }
        let sum = sums.entry(&row.account).or_default();
        match sum.checked_add(row.amount) {
            Ok(next) => *sum = next,
            Err(error) => problems.push(format!("ledger of {}: {error}", row.account)),
        }
        if row.balance_after != *sum {
            problems.push(format!(
                "{}: balance after {} is {}, its rows say {sum}",
                row.account, row.key, row.balance_after
            ));
        }
    }
    for account in rater.accounts() {
        let sum = sums.get(account.name.as_str()).copied().unwrap_or_default();
        if sum != account.balance {
            problems.push(format!("{}: balance {} but ledger rows sum to {sum}", account.name, account.balance));
        }
        let floor = account.limit.checked_neg().unwrap_or_default();
        if account.kind == AccountKind::General && account.balance < floor {
            problems.push(format!("{}: balance {} is below the limit {floor}", account.name, account.balance));
        }
    }
    problems
}

/// The journal tells each call once: one settlement, starts before it, charges equal to the CDR. `over`:
/// every call is, so that none may be left open.
pub(crate) fn records(records: &[Record], over: bool) -> Vec<String> {
    let mut problems = Vec::new();
    let mut started = BTreeSet::new();
    let mut settled = BTreeSet::new();
    for record in records {
        match record {
            Record::Start { usage, .. } => {
                // Again after a change of its session.
                started.insert(usage.flow_no);
                if settled.contains(&usage.flow_no) {
                    problems.push(format!("call {} starts after it was settled", usage.flow_no));
                }
            }
            Record::Settled { flow_no, cdr, ledger } => {
                if !settled.insert(*flow_no) {
                    problems.push(format!("call {flow_no} is settled twice"));
                }
                let charged: Vec<&LedgerRow> = ledger.iter().filter(|row| row.kind == LedgerKind::Call).collect();
                let Some(cdr) = cdr else {
                    if !charged.is_empty() {
                        problems.push(format!("call {flow_no} is charged without a record"));
                    }
                    continue;
                };
                let mut owed: BTreeMap<&str, Money> = BTreeMap::new();
                let columns = [
                    (cdr.account.as_str(), cdr.fee, cdr.tax, cdr.suite_fee),
                    (cdr.agent_account.as_str(), cdr.agent_fee, cdr.agent_tax, cdr.agent_suite_fee),
                    (cdr.vendor_account.as_str(), cdr.vendor_fee, cdr.vendor_tax, Money::ZERO),
                ];
                // Agents above the first stand in the proofs alone.
                let legs = proof::of_cdr(cdr).unwrap_or_default();
                let above = legs.iter().filter(|leg| leg.leg == Role::Agent).skip(1).filter_map(|leg| {
                    let charge = leg.charge.as_ref()?;
                    Some((leg.account.as_str(), charge.fee, charge.tax, charge.suite_fee))
                });
                for (account, fee, tax, suite) in columns.into_iter().chain(above) {
                    let due = fee.checked_add(tax).and_then(|sum| sum.checked_sub(suite)).unwrap_or_default();
                    let sum = owed.entry(account).or_default();
                    *sum = sum.checked_add(due).unwrap_or_default();
                }
                for row in &charged {
                    owed.entry(row.account.as_str()).or_default();
                }
                for (account, due) in owed {
                    let rows = charged.iter().filter(|row| row.account == account);
                    let paid = rows.fold(Money::ZERO, |sum, row| sum.checked_sub(row.amount).unwrap_or_default());
                    if due != paid {
                        problems.push(format!("call {flow_no}: CDR says {account} owes {due}, ledger says {paid}"));
                    }
                }
                if cdr.connect_ms.is_some() && !started.contains(flow_no) {
                    problems.push(format!("call {flow_no} was answered without a start record"));
                }
                if cdr.hold_s > 0 && cdr.connect_ms.is_none() {
                    problems.push(format!("call {flow_no} was held without an answer"));
                }
            }
            Record::Heartbeat { alive, unacknowledged, .. } => {
                for (flow_no, _) in alive.iter().chain(unacknowledged).filter(|(flow_no, _)| settled.contains(flow_no))
                {
                    problems.push(format!("call {flow_no} has a heartbeat after it was settled"));
                }
            }
            Record::Ledger(_)
            | Record::Site { .. }
            | Record::Param { .. }
            | Record::Deck { .. }
            | Record::DeckPart { .. }
            | Record::Change(_)
            | Record::Confirmed { .. }
            | Record::Audit(_)
            | Record::Corrected(_)
            | Record::Package(_) => {}
        }
    }
    if over {
        problems.extend(started.difference(&settled).map(|flow_no| format!("call {flow_no} is not settled")));
    }
    problems
}
