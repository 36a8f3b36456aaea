//! Corrections of finished calls (spec cdr.md 7): all rows of one call are one record, booked once.

use tandem_rating::money::Money;
use tandem_rating::record::{Correction, Record};

use crate::{Output, PayError, Rater};

impl Rater {
    /// Books a correction; its rows get their balances here. A second one with the same number for the same call is the
    /// same correction, whatever run it belongs to.
    ///
    /// # Errors
    /// See [`PayError`]; nothing of the correction was booked then.
    pub fn correct(&mut self, at_ms: i64, user: &str, correction: Correction) -> Result<(), PayError> {
        let key = format!("rerate:{}:{}", correction.flow_no, correction.revision);
        if self.keys.contains(&key) {
            return Err(PayError::Duplicate(key));
        }
        let mut correction = Correction { at_ms, user: user.to_owned(), ..correction };
        // All rows or none: the balances are worked out first.
        let mut balances: Vec<(String, Money)> = Vec::new();
        for row in &mut correction.ledger {
            let known = balances.iter().rev().find(|(name, _)| *name == row.account).map(|(_, balance)| *balance);
            let before = known.unwrap_or_else(|| self.balance_of(&row.account));
            let after = before.checked_add(row.amount).map_err(|_| PayError::Overflow)?;
            row.balance_after = after;
            row.at_ms = at_ms;
            row.user = user.to_owned();
            row.memo.clone_from(&correction.memo);
            balances.push((row.account.clone(), after));
        }
        for (name, balance) in balances {
            let owned = self.account_names.get(&name).and_then(|id| self.accounts.get_mut(id));
            match owned {
                Some(owned) => owned.money.balance = balance,
                // The account left the configuration; its money has not left us.
                None => *self.unclaimed.entry(name).or_default() = balance,
            }
        }
        self.keys.insert(key);
        self.out.push_back(Output::Record(Record::Corrected(Box::new(correction))));
        Ok(())
    }

    fn balance_of(&self, account: &str) -> Money {
        let owned = self.account_names.get(account).and_then(|id| self.accounts.get(id));
        owned.map_or_else(|| self.unclaimed.get(account).copied().unwrap_or_default(), |owned| owned.money.balance)
    }
}
