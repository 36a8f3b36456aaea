//! Accounts and their ledger: money moves only by a row, and a balance is the sum of its rows (accounts.md 2).

use std::collections::HashMap;
use std::path::Path;

use foldhash::fast::RandomState;
use rusqlite::{CachedStatement, Connection};
use tandem_rating::money::Money;

use crate::amount;
use crate::block_index::{self, Fields, LEDGER, Tail};
use crate::block_values::TIME;
use crate::error::StoreError;
use crate::payload::{Booking, call_key};

/// Fields of a ledger row with an index ([`crate::block_index`]).
pub(crate) const INDEXED: [&str; 2] = ["account", "kind"];

/// What the index has of the ledger.
pub(crate) const INDEX: Fields = Fields { keys: &INDEXED, values: &[TIME] };

/// Ledger rows of a call that are found from table `settled`; the 15 in [`BY_KEY`] and in the questions is one less.
pub(crate) const CALL_ROWS_MAX: usize = 16;

/// What the writer knows of accounts and ledger, so that a row costs no look-up.
#[derive(Debug)]
pub(crate) struct Ledger {
    accounts: HashMap<String, Account, RandomState>,
    tail: Tail,
}

#[derive(Debug)]
struct Account {
    /// In units of 10^-8.
    balance: i128,
    /// Time and id of the last row not yet written to table `account`.
    changed: Option<(i64, i64)>,
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
    connection: &'c Connection,
    insert: CachedStatement<'c>,
    insert_call: CachedStatement<'c>,
    known: CachedStatement<'c>,
    open: CachedStatement<'c>,
}

impl<'c> LedgerWriter<'c> {
    pub(crate) fn new(connection: &'c Connection) -> rusqlite::Result<LedgerWriter<'c>> {
        Ok(LedgerWriter {
            connection,
            insert: connection.prepare_cached(
                "INSERT INTO ledger_row (id, account, kind, amount, balance_after, at_ms, flow_no, leg, key, user, memo)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?,
            // Of a call there is less to say, and each value costs.
            insert_call: connection.prepare_cached(
                "INSERT INTO ledger_row (id, account, kind, amount, balance_after, at_ms, flow_no, leg, key, user, memo)
                 VALUES (?1, ?2, 'call', ?3, ?4, ?5, ?6, ?7, NULL, '', '')",
            )?,
            known: connection.prepare_cached(&format!("SELECT EXISTS (SELECT 1 FROM ledger_row WHERE {BY_KEY})"))?,
            open: connection.prepare_cached(
                "INSERT INTO account (name, balance, created_ms, changed_ms, last_id) VALUES (?1, '0', ?2, ?2, 0)",
            )?,
        })
    }

    /// Books a row of a call that is settled for the first time, so that only a row of its own record can have its key.
    pub(crate) fn book_call(
        &mut self,
        ledger: &mut Ledger,
        path: &Path,
        flow_no: u64,
        row: &Booking<'_>,
    ) -> Result<Booked, StoreError> {
        match row.leg().filter(|_| row.flow_no == Some(flow_no)) {
            Some(leg) => self.insert(ledger, path, row, Some(leg)),
            None => self.book(ledger, path, row),
        }
    }

    /// Books a row unless its key is known.
    pub(crate) fn book(&mut self, ledger: &mut Ledger, path: &Path, row: &Booking<'_>) -> Result<Booked, StoreError> {
        let (key, flow_no, leg) = by_key(row.key);
        let known: bool = self
            .known
            .query_row((key, flow_no, leg), |row| row.get(0))
            .map_err(StoreError::sql(path, "read table ledger"))?;
        if known { Ok(Booked::Duplicate) } else { self.insert(ledger, path, row, None) }
    }

    /// The first row of an account opens it.
    fn insert(
        &mut self,
        ledger: &mut Ledger,
        path: &Path,
        row: &Booking<'_>,
        leg: Option<&str>,
    ) -> Result<Booked, StoreError> {
        let amount = amount::units(row.account, "amount", row.amount.as_bytes())?;
        let balance_after = amount::units(row.account, "balance after", row.balance_after.as_bytes())?;
        if !ledger.accounts.contains_key(row.account) {
            self.open.execute((row.account, row.at_ms)).map_err(StoreError::sql(path, "write table account"))?;
            ledger.accounts.insert(row.account.to_owned(), Account { balance: 0, changed: None });
        }
        let id = ledger.tail.next_id();
        let mut write = || {
            let flow_no = row.flow_no.map(|flow_no| flow_no as i64);
            match leg {
                Some(leg) if row.kind == "call" && row.user.is_empty() && row.memo.is_empty() => {
                    let insert = &mut self.insert_call;
                    insert.raw_bind_parameter(1, id)?;
                    insert.raw_bind_parameter(2, row.account)?;
                    insert.raw_bind_parameter(3, row.amount)?;
                    insert.raw_bind_parameter(4, row.balance_after)?;
                    insert.raw_bind_parameter(5, row.at_ms)?;
                    insert.raw_bind_parameter(6, flow_no)?;
                    insert.raw_bind_parameter(7, leg)?;
                    insert.raw_execute()?;
                }
                _ => {
                    let key = if leg.is_none() { Some(row.key) } else { None };
                    let amounts = (row.amount, row.balance_after);
                    self.insert.execute((
                        id,
                        row.account,
                        row.kind,
                        amounts.0,
                        amounts.1,
                        row.at_ms,
                        flow_no,
                        leg,
                        key,
                        row.user,
                        row.memo,
                    ))?;
                }
            }
            ledger.tail.push(row.at_ms, [row.account, row.kind], &[]);
            if ledger.tail.is_full() {
                ledger.tail.close(self.connection, LEDGER, INDEX)?;
            }
            Ok(())
        };
        write().map_err(StoreError::sql(path, "write table ledger"))?;
        let account = match ledger.accounts.get_mut(row.account) {
            Some(account) => account,
            None => return Ok(Booked::New),
        };
        let sum = account.balance.saturating_add(amount);
        if sum == balance_after {
            // An amount that was read, so the sum is in range.
            account.set(sum, row.at_ms, id);
            return Ok(Booked::New);
        }
        let in_range = amount::money(sum).map_err(|error| StoreError::Money {
            account: row.account.to_owned(),
            what: format!("{} units of 10^-8 + {} of row {}", account.balance, row.amount, row.key),
            cause: error.to_string(),
        })?;
        account.set(sum, row.at_ms, id);
        Ok(Booked::Disagrees { sum: in_range })
    }
}

impl Account {
    fn set(&mut self, balance: i128, at_ms: i64, last_id: i64) {
        self.balance = balance;
        self.changed = Some((self.changed.map_or(at_ms, |(latest_ms, _)| latest_ms.max(at_ms)), last_id));
    }
}

/// The condition for one key; [`by_key`] gives its values. The rows of a call have no key of their own: they stand behind each
/// other, from the one that `settled` names.
pub(crate) const BY_KEY: &str = "key = ?1 OR id IN (
    SELECT row.id FROM settled JOIN ledger_row AS row
    ON row.id BETWEEN settled.ledger_id AND settled.ledger_id + 15
    WHERE settled.flow_no = ?2 AND row.flow_no = ?2 AND row.leg = ?3)";

/// The values of [`BY_KEY`].
pub(crate) fn by_key(key: &str) -> (&str, Option<i64>, Option<&str>) {
    match call_key(key) {
        Some((flow_no, leg)) => (key, Some(flow_no as i64), Some(leg)),
        None => (key, None, None),
    }
}

/// Rows as the index wants them: (id, time, keys).
pub(crate) fn key_rows(
    connection: &Connection,
    first_id: i64,
    last_id: i64,
    mut each: impl FnMut(i64, i64, [&str; INDEXED.len()]),
) -> rusqlite::Result<()> {
    let mut statement = connection
        .prepare_cached("SELECT id, at_ms, account, kind FROM ledger_row WHERE id BETWEEN ?1 AND ?2 ORDER BY id")?;
    let mut rows = statement.query([first_id, last_id])?;
    while let Some(row) = rows.next()? {
        each(row.get(0)?, row.get(1)?, [row.get_ref(2)?.as_str()?, row.get_ref(3)?.as_str()?]);
    }
    Ok(())
}

impl Ledger {
    /// Reads all balances, and the rows that are in no block yet.
    pub(crate) fn load(connection: &Connection, path: &Path) -> Result<Ledger, StoreError> {
        let accounts = accounts(connection, path)?
            .into_iter()
            .map(|account| (account.name, Account { balance: amount::of(account.balance), changed: None }))
            .collect();
        let tail = || -> rusqlite::Result<Tail> {
            let first_id = block_index::last_id(connection, LEDGER)? + 1;
            let mut tail = Tail::new(first_id, INDEX);
            key_rows(connection, first_id, i64::MAX, |id, at_ms, keys| {
                tail.skip_to(id, at_ms);
                tail.push(at_ms, keys, &[]);
            })?;
            Ok(tail)
        };
        Ok(Ledger { accounts, tail: tail().map_err(StoreError::sql(path, "read table ledger"))? })
    }

    /// The id the next row will have.
    pub(crate) fn next_id(&self) -> i64 {
        self.tail.next_id()
    }

    /// Writes the balances that changed in this batch.
    pub(crate) fn store(&mut self, connection: &Connection, path: &Path) -> Result<(), StoreError> {
        let mut update = connection
            .prepare_cached(
                "UPDATE account SET balance = ?2, changed_ms = max(changed_ms, ?3), last_id = ?4 WHERE name = ?1",
            )
            .map_err(StoreError::sql(path, "write table account"))?;
        let mut text = String::new();
        for (name, account) in &mut self.accounts {
            if let Some((changed_ms, last_id)) = account.changed.take() {
                text.clear();
                amount::write(&mut text, account.balance).map_err(|error| StoreError::Money {
                    account: name.clone(),
                    what: "its balance".to_owned(),
                    cause: error.to_string(),
                })?;
                update
                    .execute((name, &text, changed_ms, last_id))
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
