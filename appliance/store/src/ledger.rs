//! Accounts and their ledger: money moves only by a row, and a balance is the sum of its rows (accounts.md 2).

use std::collections::HashMap;
use std::path::Path;

use rusqlite::{CachedStatement, Connection};
use tandem_rating::money::Money;
use tandem_rating::record::LedgerRow;

use crate::error::StoreError;

/// Balances as the database has them, kept by the writer so that a row costs no look-up.
#[derive(Debug, Default)]
pub(crate) struct Balances {
    accounts: HashMap<String, Account>,
}

#[derive(Debug)]
struct Account {
    balance: Money,
    /// Time of the last row not yet written to table `account`.
    changed_ms: Option<i64>,
}

/// What became of a row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Booked {
    /// It is in.
    New,
    /// It is in, and its own balance after is not the sum of the rows.
    Disagrees {
        /// The sum.
        sum: Money,
    },
    /// A row with its key was there.
    Duplicate,
}

/// The statements of one batch.
pub(crate) struct LedgerWriter<'c> {
    insert: CachedStatement<'c>,
    open: CachedStatement<'c>,
}

impl<'c> LedgerWriter<'c> {
    pub(crate) fn new(connection: &'c Connection) -> rusqlite::Result<LedgerWriter<'c>> {
        Ok(LedgerWriter {
            insert: connection.prepare_cached(
                "INSERT INTO ledger (key, account, kind, amount, balance_after, at_ms, flow_no, user, memo)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (key) DO NOTHING",
            )?,
            open: connection.prepare_cached(
                "INSERT INTO account (name, balance, created_ms, changed_ms) VALUES (?1, '0', ?2, ?2)",
            )?,
        })
    }

    /// Books a row unless its key is known. The first row of an account opens it.
    pub(crate) fn book(&mut self, balances: &mut Balances, path: &Path, row: &LedgerRow) -> Result<Booked, StoreError> {
        if !balances.accounts.contains_key(&row.account) {
            self.open.execute((&row.account, row.at_ms)).map_err(StoreError::sql(path, "write table account"))?;
            balances.accounts.insert(row.account.clone(), Account { balance: Money::ZERO, changed_ms: None });
        }
        let inserted = self
            .insert
            .execute((
                &row.key,
                &row.account,
                row.kind.as_str(),
                row.amount.to_string(),
                row.balance_after.to_string(),
                row.at_ms,
                row.flow_no.map(|flow_no| flow_no as i64),
                &row.user,
                &row.memo,
            ))
            .map_err(StoreError::sql(path, "write table ledger"))?;
        if inserted == 0 {
            return Ok(Booked::Duplicate);
        }
        let account =
            balances.accounts.entry(row.account.clone()).or_insert(Account { balance: Money::ZERO, changed_ms: None });
        let sum = account.balance.checked_add(row.amount).map_err(|error| StoreError::Money {
            account: row.account.clone(),
            what: format!("{} + {} of row {}", account.balance, row.amount, row.key),
            cause: error.to_string(),
        })?;
        account.balance = sum;
        account.changed_ms = Some(account.changed_ms.map_or(row.at_ms, |at_ms| at_ms.max(row.at_ms)));
        Ok(if sum == row.balance_after { Booked::New } else { Booked::Disagrees { sum } })
    }
}

impl Balances {
    /// Reads all balances.
    pub(crate) fn load(connection: &Connection, path: &Path) -> Result<Balances, StoreError> {
        let accounts = accounts(connection, path)?
            .into_iter()
            .map(|account| (account.name, Account { balance: account.balance, changed_ms: None }))
            .collect();
        Ok(Balances { accounts })
    }

    /// Writes the balances that changed in this batch.
    pub(crate) fn store(&mut self, connection: &Connection, path: &Path) -> Result<(), StoreError> {
        let mut update = connection
            .prepare_cached("UPDATE account SET balance = ?2, changed_ms = max(changed_ms, ?3) WHERE name = ?1")
            .map_err(StoreError::sql(path, "write table account"))?;
        for (name, account) in &mut self.accounts {
            if let Some(changed_ms) = account.changed_ms.take() {
                update
                    .execute((name, account.balance.to_string(), changed_ms))
                    .map_err(StoreError::sql(path, "write table account"))?;
            }
        }
        Ok(())
    }
}

/// An account as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAccount {
    /// Unique name.
    pub name: String,
    /// Sum of its ledger rows.
    pub balance: Money,
    /// Time of its first row, UTC ms.
    pub created_ms: i64,
    /// Latest time of a row, UTC ms.
    pub changed_ms: i64,
}

/// All accounts, by name.
pub(crate) fn accounts(connection: &Connection, path: &Path) -> Result<Vec<StoredAccount>, StoreError> {
    let rows: Vec<(String, String, i64, i64)> = connection
        .prepare_cached("SELECT name, balance, created_ms, changed_ms FROM account ORDER BY name")
        .and_then(|mut statement| {
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?.collect()
        })
        .map_err(StoreError::sql(path, "read table account"))?;
    rows.into_iter()
        .map(|(name, balance, created_ms, changed_ms)| {
            let balance = money(&name, "its balance", &balance)?;
            Ok(StoredAccount { name, balance, created_ms, changed_ms })
        })
        .collect()
}

/// Reads an amount back; `what` says which one in the error.
pub(crate) fn money(account: &str, what: &str, text: &str) -> Result<Money, StoreError> {
    text.parse().map_err(|error: tandem_rating::money::MoneyError| StoreError::Money {
        account: account.to_owned(),
        what: what.to_owned(),
        cause: error.to_string(),
    })
}
