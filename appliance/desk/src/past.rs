//! What a start tells the rater of the ledger: spent today and this month, and when cards were used first.

use std::collections::{BTreeSet, HashMap};

use jiff::tz::TimeZone;
use tandem_call::snapshot::Snapshot;
use tandem_leg::Now;
use tandem_rater::{AccountConfig, PHONE_MEMO, Rater, day_of, month_of};
use tandem_rating::money::{Money, MoneyError};
use tandem_rating::record::LedgerKind;
use tandem_store::{LIMIT_MAX, LedgerFilter, Queries, StoreError, StoredLedgerRow};

/// Why the past cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum PastError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A sum that is no amount.
    #[error(transparent)]
    Money(#[from] MoneyError),
}

/// A rater that is configured, and what its start knows.
#[derive(Debug)]
pub struct Past<'a> {
    /// Its clock.
    pub now: Now,
    /// Zone of the server: where days and months begin.
    pub zone: &'a TimeZone,
    /// Balances that the database told, by account.
    pub balances: &'a [(String, Money)],
    /// As the rater was configured.
    pub accounts: &'a [AccountConfig],
    /// As [`phone_payers`] finds them.
    pub phone_payers: BTreeSet<&'a str>,
}

/// The accounts of phones with a monthly bound.
pub fn phone_payers(snapshot: &Snapshot) -> BTreeSet<&str> {
    let bounded = snapshot.billing_numbers.phones.values().filter(|phone| phone.monthly_max.is_some());
    bounded.filter_map(|phone| snapshot.accounts.get(phone.account)).map(|account| account.name.as_str()).collect()
}

impl Past<'_> {
    /// Tells `rater` before anything of this start is booked: what the ledger has is what the balances are of.
    ///
    /// # Errors
    /// The database cannot be read, or its sums are no amounts.
    pub fn tell(&self, rater: &mut Rater, queries: &Queries) -> Result<(), PastError> {
        self.spent(rater, queries)?;
        self.phones_spent(rater, queries)?;
        self.first_uses(rater, queries)
    }

    /// Of an account that is the balance as the day (month) began, with all that came and went since without a call, less the
    /// balance now: no call is read.
    fn spent(&self, rater: &mut Rater, queries: &Queries) -> Result<(), PastError> {
        let begins = [day_of(self.zone, self.now.wall_ms).0, month_of(self.zone, self.now.wall_ms).0];
        let mut moved: HashMap<String, [Money; 2]> = HashMap::new();
        for kind in LedgerKind::ALL.into_iter().filter(|kind| !matches!(kind, LedgerKind::Call | LedgerKind::Gift)) {
            let kind = Some(kind.as_str().to_owned());
            let filter = LedgerFilter { kind, from_ms: Some(begins[1]), ..LedgerFilter::default() };
            each_row(queries, filter, |row| {
                let sums = moved.entry(row.account.clone()).or_default();
                for (sum, _) in sums.iter_mut().zip(begins).filter(|(_, begin)| row.at_ms >= *begin) {
                    *sum = sum.checked_add(row.amount)?;
                }
                Ok(())
            })?;
        }
        for (account, balance) in self.balances {
            let moved = moved.get(account).copied().unwrap_or_default();
            let mut spent = [Money::ZERO; 2];
            for ((spent, from_ms), moved) in spent.iter_mut().zip(begins).zip(moved) {
                // From the first row of this time on: what is booked behind it with an older date (a call of another system,
                // one that ended while the switch was off) was counted when it was booked.
                let filter = LedgerFilter { account: Some(account.clone()), from_ms: Some(from_ms), ..oldest() };
                let rows = queries.ledger_list(&filter)?;
                let Some(first) = rows.first() else { continue };
                let before = first.balance_after.checked_sub(first.amount)?;
                *spent = before.checked_add(moved)?.checked_sub(*balance)?;
            }
            rater.spent_before(self.now, account, spent[0], spent[1]);
        }
        Ok(())
    }

    /// Rows of calls say whose phone it was; only those of accounts with a phone that has a bound are read.
    fn phones_spent(&self, rater: &mut Rater, queries: &Queries) -> Result<(), PastError> {
        let begins_ms = month_of(self.zone, self.now.wall_ms).0;
        let mut spent: HashMap<String, Money> = HashMap::new();
        for account in &self.phone_payers {
            let (account, kind) = (Some((*account).to_owned()), Some(LedgerKind::Call.as_str().to_owned()));
            let filter = LedgerFilter { account, kind, from_ms: Some(begins_ms), ..LedgerFilter::default() };
            each_row(queries, filter, |row| {
                if let Some(number) = row.memo.strip_prefix(PHONE_MEMO) {
                    let sum = spent.entry(number.to_owned()).or_default();
                    *sum = sum.checked_sub(row.amount)?;
                }
                Ok(())
            })?;
        }
        for (number, month) in spent {
            rater.phone_spent_before(self.now, &number, month);
        }
        Ok(())
    }

    /// The validity of cards begins with their first use.
    fn first_uses(&self, rater: &mut Rater, queries: &Queries) -> Result<(), PastError> {
        for account in self.accounts.iter().filter(|account| account.bounds.valid_days.is_some()) {
            let (name, kind) = (Some(account.name.clone()), Some(LedgerKind::Call.as_str().to_owned()));
            let rows = queries.ledger_list(&LedgerFilter { account: name, kind, ..oldest() })?;
            if let Some(row) = rows.first() {
                rater.first_use_before(&account.name, row.at_ms);
            }
        }
        Ok(())
    }
}

/// The one oldest row.
fn oldest() -> LedgerFilter {
    LedgerFilter { oldest_first: true, limit: Some(1), ..LedgerFilter::default() }
}

/// Every row that fits, a page at a time.
fn each_row(
    queries: &Queries,
    filter: LedgerFilter,
    mut tell: impl FnMut(&StoredLedgerRow) -> Result<(), MoneyError>,
) -> Result<(), PastError> {
    let mut filter = LedgerFilter { limit: Some(LIMIT_MAX), ..filter };
    loop {
        let page = queries.ledger_list(&filter)?;
        page.iter().try_for_each(&mut tell)?;
        filter.offset += page.len() as u64;
        if page.len() < LIMIT_MAX {
            return Ok(());
        }
    }
}
