//! Balances: every row of the ledger has a reason, every account has what its rows say, none falls below its credit.

use std::collections::BTreeMap;

use tandem_rating::record::LedgerKind;

use super::Auditor;
use super::books::{Books, units};
use super::office::Amount;
use crate::machine::Machine;
use crate::price;

impl Auditor {
    /// `corrected` is what corrections gave each account, by index, units.
    pub(super) fn check_money(&mut self, books: &Books, machine: &Machine, corrected: BTreeMap<usize, i128>) {
        let accounts = self.plan.versions[0].accounts.clone();
        let named = |name: &str| accounts.iter().position(|account| account.name == name);
        let mut found = Vec::new();
        let mut due: Vec<i128> = accounts.iter().map(|account| account.opening).collect();
        for owed in self.due.values() {
            owed.rows().for_each(|(_, at, units)| due[at] -= units);
        }
        for (at, amount) in corrected {
            due[at] += amount;
        }
        // Row by row: what came of it, and what takes money that no reservation held.
        let mut running = vec![0i128; accounts.len()];
        let mut unheld = vec![0i128; accounts.len()];
        let mut booked: BTreeMap<&str, i128> = BTreeMap::new();
        for row in &books.ledger {
            let Some(at) = named(&row.account) else {
                found.push(format!("{} is charged by {}, nobody is called so", row.account, row.key));
                continue;
            };
            let amount = units(row.amount);
            running[at] += amount;
            if units(row.balance_after) != running[at] {
                let balance = price::text(running[at]);
                found.push(format!("{}: {} after {}, the rows say {balance}", row.account, row.balance_after, row.key));
            }
            match row.kind {
                LedgerKind::Opening => {
                    if row.key != format!("opening:{}", row.account) || amount != accounts[at].opening {
                        found.push(format!("{} opens with {}", row.account, row.amount));
                    }
                }
                // Judged call by call, and correction by correction.
                LedgerKind::Call | LedgerKind::Correction => {
                    let held = row.kind == LedgerKind::Call && !row.flow_no.is_some_and(|no| self.is_external(no));
                    unheld[at] += if held { 0 } else { (-amount).max(0) };
                }
                // Judged step by step with the orders. A minimum and the fee of a phone are owed, whatever there is.
                LedgerKind::PackageRent => due[at] += amount,
                LedgerKind::PackageMinimum | LedgerKind::PhoneRent | LedgerKind::PhoneMinimum => {
                    due[at] += amount;
                    unheld[at] += (-amount).max(0);
                }
                LedgerKind::Gift if amount == 0 => {}
                _ => {
                    if let Err(text) = self.check_movement(row, at, &booked, running[at]) {
                        found.push(format!("{}: {text}", row.key));
                    }
                    due[at] += amount;
                    unheld[at] += if row.kind == LedgerKind::Transfer { 0 } else { (-amount).max(0) };
                }
            }
            booked.insert(&row.key, amount);
            let limit = self.plan.versions[..self.versions_used as usize].iter().map(|v| v.accounts[at].limit).max();
            if !accounts[at].clearing && running[at] < -limit.unwrap_or(0) - unheld[at] {
                found.push(format!("{} fell to {} by {}", row.account, price::text(running[at]), row.key));
            }
        }
        found.extend(self.missing_movements(&booked));
        for account in machine.rater().accounts() {
            let expected = named(&account.name).map_or(0, |at| due[at]);
            if units(account.balance) != expected {
                let expected = price::text(expected);
                found.push(format!("{} has {}, {expected} by calls and payments", account.name, account.balance));
            }
        }
        for text in found {
            self.report("money", None, text);
        }
    }

    /// A row that is no call's: somebody asked for it, and for this.
    fn check_movement(
        &self,
        row: &tandem_rating::record::LedgerRow,
        at: usize,
        booked: &BTreeMap<&str, i128>,
        balance: i128,
    ) -> Result<(), String> {
        let wanted = self.office.wanted.get(&row.key).ok_or("nobody asked for it")?;
        let amount = units(row.amount);
        let (account, due) = match &wanted.amount {
            Amount::Units(units) => (Some(wanted.account), Some(*units)),
            Amount::All => {
                let all = if amount < 0 && balance == 0 { None } else { Some(0) };
                (Some(wanted.account), all)
            }
            Amount::Zero if balance == 0 => (Some(wanted.account), None),
            Amount::Zero => return Err(format!("the balance is {} behind it", price::text(balance))),
            Amount::Given(key) => (Some(wanted.account), Some(-booked.get(key.as_str()).ok_or("nobody paid it")?)),
            Amount::Back(key) => (None, Some(-booked.get(key.as_str()).ok_or("there is nothing to take back")?)),
        };
        if account.is_some_and(|account| account != at) || due.is_some_and(|due| due != amount) {
            return Err(format!("{} of {} is not what was asked for: {wanted:?}", row.amount, row.account));
        }
        Ok(())
    }

    /// What an operator was told is booked, and is not; halves of payments.
    fn missing_movements(&self, booked: &BTreeMap<&str, i128>) -> Vec<String> {
        let mut found = Vec::new();
        for (key, wanted) in &self.office.wanted {
            let is_there = booked.contains_key(key.as_str());
            if !is_there && wanted.told.iter().any(|told| self.is_durable(told.0, told.1)) {
                found.push(format!("{key} was confirmed and is gone"));
            }
            if is_there && wanted.needs.as_ref().is_some_and(|half| !booked.contains_key(half.as_str())) {
                found.push(format!("{key} is there, and nobody paid it"));
            }
        }
        found
    }

    /// Whether what was told at an instant of a life is safe from its end.
    pub(super) fn is_durable(&self, at: tandem_leg::Time, boot: u32) -> bool {
        let death = self.lives.get(boot as usize).and_then(|life| life.death);
        death.is_none_or(|death| at <= death.durable_until)
    }
}
