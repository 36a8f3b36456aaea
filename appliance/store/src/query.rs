//! Questions to the database, on a connection that cannot write: CDRs, ledger, accounts, configuration.

use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};
use tandem_rating::cdr::Cdr;
use tandem_rating::money::Money;

use crate::cdr_table;
use crate::changes::{self, AuditFilter, StoredAudit, StoredChange};
use crate::config::{self, StoredDeck, StoredParam, StoredSite};
use crate::error::StoreError;
use crate::ledger::{self, StoredAccount};
use crate::rebuild;
use crate::schema;
use crate::verify::{self, Verified};

/// Rows of one page when none is asked for.
pub const LIMIT_DEFAULT: usize = 100;
/// Most rows of one page: about 1.5 MiB of CDRs. More come page by page.
pub const LIMIT_MAX: usize = 5000;

/// How a number is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NumberMatch {
    /// This very number.
    Exact(String),
    /// Numbers that begin so.
    Prefix(String),
}

/// Which CDRs. Every part that is set must hold; the default is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CdrFilter {
    /// The payer.
    pub account: Option<String>,
    /// The clearing account.
    pub vendor_account: Option<String>,
    /// Payer or clearing account.
    pub any_account: Option<String>,
    /// Billing caller begins so.
    pub caller_prefix: Option<String>,
    /// Billing callee begins so.
    pub callee_prefix: Option<String>,
    /// Caller as received or as billed.
    pub caller: Option<NumberMatch>,
    /// Callee as received or as billed.
    pub callee: Option<NumberMatch>,
    /// Mapping or routing gateway.
    pub gateway: Option<String>,
    /// Mapping gateway.
    pub caller_gateway: Option<String>,
    /// Routing gateway.
    pub callee_gateway: Option<String>,
    /// Day of the end in the server's zone, yyyymmdd.
    pub day: Option<u32>,
    /// Ended at or after, UTC ms.
    pub from_ms: Option<i64>,
    /// Ended before, UTC ms.
    pub to_ms: Option<i64>,
    /// End reason, by number.
    pub end_reason: Option<i32>,
    /// Answered calls only, or the others only.
    pub answered: Option<bool>,
    /// One call.
    pub flow_no: Option<u64>,
    /// Rows at most, 1 to [`LIMIT_MAX`]; [`LIMIT_DEFAULT`] when not set.
    pub limit: Option<usize>,
    /// Rows to leave out first: the next page begins at `offset + limit`.
    pub offset: u64,
    /// Oldest end first; newest first by default.
    pub oldest_first: bool,
    /// Only CDRs behind this one in the chosen order: pages that neither skip nor repeat while new calls end.
    pub after_flow_no: Option<u64>,
}

/// Sums over CDRs, exact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CdrTotals {
    /// CDRs.
    pub calls: u64,
    /// Of these, answered.
    pub answered: u64,
    /// Held seconds.
    pub hold_s: i64,
    /// Billed seconds of the customers.
    pub billed_s: i64,
    /// Billed seconds of the vendors.
    pub vendor_s: i64,
    /// RTP packets from callers that were forwarded.
    pub caller_rtp_relayed: u64,
    /// RTP packets from vendors that were forwarded.
    pub callee_rtp_relayed: u64,
    /// Fees of the customers.
    pub fee: Money,
    /// Tax on them.
    pub tax: Money,
    /// Fees of the vendors.
    pub cost: Money,
    /// Tax on them.
    pub cost_tax: Money,
    /// `fee - cost`, as the CDRs have it.
    pub margin: Money,
}

/// Which ledger rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerFilter {
    /// Account.
    pub account: Option<String>,
    /// `call`, `payment`, `opening`, `make_zero`, `correction`.
    pub kind: Option<String>,
    /// The call.
    pub flow_no: Option<u64>,
    /// At or after, UTC ms.
    pub from_ms: Option<i64>,
    /// Before, UTC ms.
    pub to_ms: Option<i64>,
    /// Rows at most, 1 to [`LIMIT_MAX`]; [`LIMIT_DEFAULT`] when not set.
    pub limit: Option<usize>,
    /// Rows to leave out first.
    pub offset: u64,
    /// In the order of booking; newest first by default.
    pub oldest_first: bool,
}

/// A ledger row as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLedgerRow {
    /// Order of booking.
    pub id: i64,
    /// Unique key.
    pub key: String,
    /// Account.
    pub account: String,
    /// The word of [`tandem_rating::record::LedgerKind::as_str`].
    pub kind: String,
    /// Added to the balance.
    pub amount: Money,
    /// Balance after this row.
    pub balance_after: Money,
    /// UTC ms.
    pub at_ms: i64,
    /// The call.
    pub flow_no: Option<u64>,
    /// Who.
    pub user: String,
    /// Free text.
    pub memo: String,
}

/// Words accepted by [`LedgerFilter::kind`].
const KINDS: [&str; 5] = ["call", "payment", "opening", "make_zero", "correction"];

/// Leaves a note for the next start when the answer is that the database is damaged. The writer has most pages in memory and
/// may not see for long what a question meets.
fn noted<T>(path: &Path, answer: Result<T, StoreError>) -> Result<T, StoreError> {
    if let (Err(error @ StoreError::Damaged { .. }), Some(dir)) = (&answer, path.parent()) {
        // A folder that cannot be written to is told by everybody who has to write there.
        let _ = rebuild::mark_damaged(dir, &error.to_string());
    }
    answer
}

/// Reads the database while the switch writes it. Each answer is of one moment.
#[derive(Debug)]
pub struct Queries {
    connection: Connection,
    path: PathBuf,
}

impl Queries {
    /// Opens the database in folder `dir`, which must exist.
    ///
    /// # Errors
    /// The file is missing, damaged, of another program or of a newer version.
    pub fn open(dir: &Path) -> Result<Queries, StoreError> {
        let path = dir.join(schema::DATABASE_FILE);
        let connection = noted(&path, schema::open_reader(&path))?;
        Ok(Queries { connection, path })
    }

    /// A page of CDRs, by end time and flow number.
    ///
    /// # Errors
    /// [`StoreError::Refused`] naming the part of the question that cannot be answered; the database.
    pub fn cdr_list(&self, filter: &CdrFilter) -> Result<Vec<Cdr>, StoreError> {
        let limit = checked_limit(filter.limit)?;
        self.snapshot(|| {
            let after = match filter.after_flow_no {
                None => None,
                Some(flow_no) => Some((self.end_of(flow_no)?, flow_no)),
            };
            let condition = cdr_condition(filter, after);
            let mut days = self.days(filter)?;
            if !filter.oldest_first {
                days.reverse();
            }
            let order = if filter.oldest_first { "ASC" } else { "DESC" };
            let mut skip = filter.offset;
            let mut cdrs = Vec::new();
            for day in days {
                let table = cdr_table::table_name(day);
                if skip > 0 {
                    let count = self.count(&table, &condition)?;
                    if count <= skip {
                        skip -= count;
                        continue;
                    }
                }
                let columns = cdr_table::select_list(&self.connection, &self.path, day)?;
                let room = limit - cdrs.len();
                let sql = format!(
                    "SELECT {columns} FROM {table} WHERE {} ORDER BY end_ms {order}, flow_no {order} LIMIT {room} OFFSET {}",
                    condition.sql,
                    i64::try_from(skip).unwrap_or(i64::MAX)
                );
                skip = 0;
                let read = StoreError::sql(&self.path, "read a CDR day table");
                let mut statement = match self.connection.prepare(&sql) {
                    Ok(statement) => statement,
                    Err(error) => return Err(read(error)),
                };
                let mut rows =
                    statement.query(params_from_iter(&condition.values)).map_err(self.failed("read a CDR day table"))?;
                while let Some(row) = rows.next().map_err(self.failed("read a CDR day table"))? {
                    cdrs.push(cdr_table::read(row, day)?);
                }
                if cdrs.len() >= limit {
                    break;
                }
            }
            Ok(cdrs)
        })
    }

    /// The CDR of one call; `None` when that call is not known, not over, or was suppressed (cdr.md 3).
    ///
    /// # Errors
    /// The database.
    pub fn cdr_show(&self, flow_no: u64) -> Result<Option<Cdr>, StoreError> {
        let filter = CdrFilter { flow_no: Some(flow_no), limit: Some(1), ..CdrFilter::default() };
        Ok(self.cdr_list(&filter)?.pop())
    }

    /// How many CDRs `filter` has on all its pages.
    ///
    /// # Errors
    /// [`StoreError::Refused`]; the database.
    pub fn cdr_count(&self, filter: &CdrFilter) -> Result<u64, StoreError> {
        self.snapshot(|| {
            let condition = cdr_condition(filter, None);
            let mut total = 0;
            for day in self.days(filter)? {
                total += self.count(&cdr_table::table_name(day), &condition)?;
            }
            Ok(total)
        })
    }

    /// When the call of a cursor ended.
    fn end_of(&self, flow_no: u64) -> Result<i64, StoreError> {
        let one = CdrFilter { flow_no: Some(flow_no), ..CdrFilter::default() };
        for day in self.days(&one)? {
            let sql = format!("SELECT end_ms FROM {} WHERE flow_no = ?1", cdr_table::table_name(day));
            let found = self
                .connection
                .query_row(&sql, [flow_no as i64], |row| row.get(0))
                .optional()
                .map_err(self.failed("read a CDR day table"))?;
            if let Some(end_ms) = found {
                return Ok(end_ms);
            }
        }
        Err(StoreError::Refused {
            field: "after",
            value: flow_no.to_string(),
            range: "the flow number of a stored call".to_owned(),
        })
    }

    /// Sums over all CDRs of `filter`; limit and offset are not looked at. Reads every one of them, about a million a
    /// second.
    ///
    /// # Errors
    /// [`StoreError::Refused`]; a sum out of range; the database.
    pub fn cdr_totals(&self, filter: &CdrFilter) -> Result<CdrTotals, StoreError> {
        self.snapshot(|| {
            let condition = cdr_condition(filter, None);
            let mut totals = CdrTotals::default();
            for day in self.days(filter)? {
                let table = cdr_table::table_name(day);
                let sql = format!(
                    "SELECT connect_ms IS NOT NULL, hold_s, billed_s, vendor_s, caller_rtp_relayed, callee_rtp_relayed, fee, tax, vendor_fee, vendor_tax, margin FROM {table}
                     WHERE {}",
                    condition.sql
                );
                let mut statement = self.connection.prepare(&sql).map_err(self.failed("read a CDR day table"))?;
                let mut rows =
                    statement.query(params_from_iter(&condition.values)).map_err(self.failed("read a CDR day table"))?;
                while let Some(row) = rows.next().map_err(self.failed("read a CDR day table"))? {
                    let number = |index: usize| row.get::<_, i64>(index).map_err(self.failed("read a CDR day table"));
                    totals.calls += 1;
                    totals.answered += u64::from(number(0)? != 0);
                    totals.hold_s = totals.hold_s.saturating_add(number(1)?);
                    totals.billed_s = totals.billed_s.saturating_add(number(2)?);
                    totals.vendor_s = totals.vendor_s.saturating_add(number(3)?);
                    let packets = |index| number(index).map(|n| u64::try_from(n).unwrap_or(0));
                    totals.caller_rtp_relayed = totals.caller_rtp_relayed.saturating_add(packets(4)?);
                    totals.callee_rtp_relayed = totals.callee_rtp_relayed.saturating_add(packets(5)?);
                    let sums = [
                        &mut totals.fee,
                        &mut totals.tax,
                        &mut totals.cost,
                        &mut totals.cost_tax,
                        &mut totals.margin,
                    ];
                    for (index, sum) in (6..).zip(sums) {
                        let text = row.get_ref(index).and_then(|value| Ok(value.as_str()?));
                        let text = text.map_err(self.failed("read a CDR day table"))?;
                        *sum = add(*sum, text, &table)?;
                    }
                }
            }
            Ok(totals)
        })
    }

    /// A page of ledger rows.
    ///
    /// # Errors
    /// [`StoreError::Refused`]; the database.
    pub fn ledger_list(&self, filter: &LedgerFilter) -> Result<Vec<StoredLedgerRow>, StoreError> {
        let limit = checked_limit(filter.limit)?;
        if let Some(kind) = &filter.kind
            && !KINDS.contains(&kind.as_str())
        {
            return Err(StoreError::Refused {
                field: "kind",
                value: format!("{kind:?}"),
                range: format!("one of {}", KINDS.join(", ")),
            });
        }
        let condition = ledger_condition(filter);
        let order = if filter.oldest_first { "ASC" } else { "DESC" };
        let sql = format!(
            "SELECT id, key, account, kind, amount, balance_after, at_ms, flow_no, user, memo FROM ledger WHERE {}
             ORDER BY id {order} LIMIT {limit} OFFSET {}",
            condition.sql(),
            i64::try_from(filter.offset).unwrap_or(i64::MAX)
        );
        let mut statement = self.connection.prepare(&sql).map_err(self.failed("read table ledger"))?;
        let mut rows =
            statement.query(params_from_iter(&condition.values)).map_err(self.failed("read table ledger"))?;
        let mut list = Vec::new();
        while let Some(row) = rows.next().map_err(self.failed("read table ledger"))? {
            let (stored, amount, balance_after) = ledger_row(row).map_err(self.failed("read table ledger"))?;
            list.push(StoredLedgerRow {
                amount: ledger::money(&stored.account, "amount", &amount)?,
                balance_after: ledger::money(&stored.account, "balance after", &balance_after)?,
                ..stored
            });
        }
        Ok(list)
    }

    /// How many ledger rows `filter` has on all its pages.
    ///
    /// # Errors
    /// The database.
    pub fn ledger_count(&self, filter: &LedgerFilter) -> Result<u64, StoreError> {
        let condition = ledger_condition(filter);
        self.connection
            .prepare(&format!("SELECT count(*) FROM ledger WHERE {}", condition.sql()))
            .and_then(|mut statement| {
                statement.query_row(params_from_iter(&condition.values), |row| row.get::<_, i64>(0))
            })
            .map(|count| count as u64)
            .map_err(self.failed("count table ledger"))
    }

    /// The ledger row with this idempotency key, whatever its account.
    ///
    /// # Errors
    /// The database.
    pub fn ledger_by_key(&self, key: &str) -> Result<Option<StoredLedgerRow>, StoreError> {
        let sql = "SELECT id, key, account, kind, amount, balance_after, at_ms, flow_no, user, memo FROM ledger
                   WHERE key = ?1";
        let found =
            self.connection.query_row(sql, [key], ledger_row).optional().map_err(self.failed("read table ledger"))?;
        found
            .map(|(stored, amount, balance_after)| {
                Ok(StoredLedgerRow {
                    amount: ledger::money(&stored.account, "amount", &amount)?,
                    balance_after: ledger::money(&stored.account, "balance after", &balance_after)?,
                    ..stored
                })
            })
            .transpose()
    }

    /// All accounts with their balances, by name.
    ///
    /// # Errors
    /// The database.
    pub fn accounts(&self) -> Result<Vec<StoredAccount>, StoreError> {
        ledger::accounts(&self.connection, &self.path)
    }

    /// The newest site configuration, or the one of `version`; `None` when there is none.
    ///
    /// # Errors
    /// The database.
    pub fn site(&self, version: Option<u64>) -> Result<Option<StoredSite>, StoreError> {
        config::site(&self.connection, &self.path, version)
    }

    /// All versions of the site configuration, newest first: (version, UTC ms, user).
    ///
    /// # Errors
    /// The database.
    pub fn site_history(&self) -> Result<Vec<(u64, i64, String)>, StoreError> {
        config::site_history(&self.connection, &self.path)
    }

    /// The site configuration as it was at `version`, which may have been made by a change that left the site as it was.
    ///
    /// # Errors
    /// The database.
    pub fn site_at(&self, version: u64) -> Result<Option<StoredSite>, StoreError> {
        changes::site_at(&self.connection, &self.path, version)
    }

    /// Changes of the configuration, newest first, and how many there are in all.
    ///
    /// # Errors
    /// [`StoreError::Refused`]; the database.
    pub fn changes(&self, limit: Option<usize>, offset: u64) -> Result<(Vec<StoredChange>, u64), StoreError> {
        let limit = checked_limit(limit)?;
        self.snapshot(|| changes::list(&self.connection, &self.path, limit, offset))
    }

    /// A page of the audit log, and how many rows `filter` has on all its pages.
    ///
    /// # Errors
    /// [`StoreError::Refused`]; the database.
    pub fn audit(&self, filter: &AuditFilter) -> Result<(Vec<StoredAudit>, u64), StoreError> {
        let limit = checked_limit(filter.limit)?;
        let mut condition = Condition::default();
        condition.number("at_ms >= ?", filter.from_ms);
        condition.number("at_ms < ?", filter.to_ms);
        condition.text("user = ?", &filter.user);
        let sql = condition.sql();
        self.snapshot(|| changes::audit_list(&self.connection, &self.path, &sql, &condition.values, filter, limit))
    }

    /// Parameters that were ever set, by name.
    ///
    /// # Errors
    /// The database.
    pub fn params(&self) -> Result<Vec<StoredParam>, StoreError> {
        config::params(&self.connection, &self.path)
    }

    /// The newest deck of each rate group.
    ///
    /// # Errors
    /// The database.
    pub fn decks(&self) -> Result<Vec<StoredDeck>, StoreError> {
        config::decks(&self.connection, &self.path)
    }

    /// Last journal record in the database.
    ///
    /// # Errors
    /// The database.
    pub fn applied_seq(&self) -> Result<u64, StoreError> {
        Ok(schema::meta_number(&self.connection, &self.path, schema::key::APPLIED_SEQ)? as u64)
    }

    /// Recomputes all money: balances against ledger rows, ledger rows against CDRs. Reads everything.
    ///
    /// # Errors
    /// The database. Wrong sums are no error but [`Verified::problems`].
    pub fn verify(&self) -> Result<Verified, StoreError> {
        self.snapshot(|| verify::verify(&self.connection, &self.path))
    }

    /// Runs `ask` within one read transaction, so that all its statements see the same moment.
    fn snapshot<T>(&self, ask: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let transaction = self.connection.unchecked_transaction().map_err(self.failed("begin to read"))?;
        let answer = noted(&self.path, ask());
        transaction.finish().map_err(self.failed("end to read"))?;
        answer
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
        StoreError::sql(&self.path, doing)
    }

    /// Days that can hold what `filter` asks for, oldest first.
    fn days(&self, filter: &CdrFilter) -> Result<Vec<i64>, StoreError> {
        let all = verify::days(&self.connection, &self.path)?;
        if let Some(day) = filter.day {
            let day = i64::from(day);
            if !all.iter().any(|(known, _)| *known == day) {
                let range = match (all.first(), all.last()) {
                    (Some((first, _)), Some((last, _))) => {
                        format!("no calls of that day are stored; there are days from {first} to {last}")
                    }
                    _ => "no calls are stored yet".to_owned(),
                };
                return Err(StoreError::Refused { field: "day", value: day.to_string(), range });
            }
        }
        if let (Some(from_ms), Some(to_ms)) = (filter.from_ms, filter.to_ms)
            && from_ms >= to_ms
        {
            return Err(StoreError::Refused {
                field: "from_ms",
                value: from_ms.to_string(),
                range: format!("must be before to_ms {to_ms}"),
            });
        }
        let settled = match filter.flow_no {
            None => None,
            Some(flow_no) => Some(
                self.connection
                    .prepare_cached("SELECT day FROM settled WHERE flow_no = ?1")
                    .and_then(|mut statement| {
                        statement.query_row([flow_no as i64], |row| row.get::<_, i64>(0)).optional()
                    })
                    .map_err(self.failed("read table settled"))?,
            ),
        };
        // The zone may have been another when a day was written: half a day either way covers all of them.
        let zone_ms = 14 * 3_600_000;
        let first = filter.from_ms.map_or(i64::MIN, |at_ms| cdr_table::day_of(at_ms, -zone_ms));
        let last = filter.to_ms.map_or(i64::MAX, |at_ms| cdr_table::day_of(at_ms, zone_ms));
        Ok(all
            .into_iter()
            .map(|(day, _)| day)
            .filter(|day| (first..=last).contains(day))
            .filter(|day| filter.day.is_none_or(|asked| i64::from(asked) == *day))
            .filter(|day| settled.is_none_or(|settled| settled == Some(*day)))
            .collect())
    }

    fn count(&self, table: &str, condition: &CdrCondition) -> Result<u64, StoreError> {
        self.connection
            .prepare(&format!("SELECT count(*) FROM {table} WHERE {}", condition.sql))
            .and_then(|mut statement| {
                statement.query_row(params_from_iter(&condition.values), |row| row.get::<_, i64>(0))
            })
            .map(|count| count as u64)
            .map_err(self.failed("count a CDR day table"))
    }
}

/// A row without its two amounts, which are given as text.
fn ledger_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<(StoredLedgerRow, String, String)> {
    let stored = StoredLedgerRow {
        id: row.get(0)?,
        key: row.get(1)?,
        account: row.get(2)?,
        kind: row.get(3)?,
        amount: Money::ZERO,
        balance_after: Money::ZERO,
        at_ms: row.get(6)?,
        flow_no: row.get::<_, Option<i64>>(7)?.map(|flow_no| flow_no as u64),
        user: row.get(8)?,
        memo: row.get(9)?,
    };
    Ok((stored, row.get(4)?, row.get(5)?))
}

/// `sum` and the stored amount `text` together.
pub(crate) fn add(sum: Money, text: &str, table: &str) -> Result<Money, StoreError> {
    let amount: Money = ledger::money("of the sum", table, text)?;
    sum.checked_add(amount).map_err(|error| StoreError::Money {
        account: "of the sum".to_owned(),
        what: format!("{sum} + {amount} in {table}"),
        cause: error.to_string(),
    })
}

fn checked_limit(limit: Option<usize>) -> Result<usize, StoreError> {
    match limit {
        None => Ok(LIMIT_DEFAULT),
        Some(limit @ 1..=LIMIT_MAX) => Ok(limit),
        Some(limit) => Err(StoreError::Refused {
            field: "limit",
            value: limit.to_string(),
            range: format!("1 to {LIMIT_MAX}; the next page comes with an offset"),
        }),
    }
}

/// Conditions joined by AND, and their values in order.
#[derive(Default)]
struct Condition {
    parts: Vec<&'static str>,
    values: Vec<Value>,
}

/// A [`Condition`] in its final words.
struct CdrCondition {
    sql: String,
    values: Vec<Value>,
}

impl Condition {
    fn text(&mut self, part: &'static str, value: &Option<String>) {
        if let Some(value) = value {
            self.parts.push(part);
            // A part with several marks asks for the same value each time.
            self.values.extend(part.matches('?').map(|_| Value::Text(value.clone())));
        }
    }

    fn number(&mut self, part: &'static str, value: Option<i64>) {
        if let Some(value) = value {
            self.parts.push(part);
            self.values.push(Value::Integer(value));
        }
    }

    fn sql(&self) -> String {
        if self.parts.is_empty() { "1".to_owned() } else { self.parts.join(" AND ") }
    }
}

fn ledger_condition(filter: &LedgerFilter) -> Condition {
    let mut condition = Condition::default();
    condition.text("account = ?", &filter.account);
    condition.text("kind = ?", &filter.kind);
    condition.number("flow_no = ?", filter.flow_no.map(|flow_no| flow_no as i64));
    condition.number("at_ms >= ?", filter.from_ms);
    condition.number("at_ms < ?", filter.to_ms);
    condition
}

fn cdr_condition(filter: &CdrFilter, after: Option<(i64, u64)>) -> CdrCondition {
    let mut condition = Condition::default();
    condition.text("account = ?", &filter.account);
    condition.text("vendor_account = ?", &filter.vendor_account);
    condition.text("(account = ? OR vendor_account = ?)", &filter.any_account);
    for (number, exact, prefix) in [
        (
            &filter.caller,
            "(caller_billed = ? OR caller_in = ?)",
            "(caller_billed >= ? AND caller_billed < ? || char(0x10FFFF) OR caller_in >= ? AND caller_in < ? || char(0x10FFFF))",
        ),
        (
            &filter.callee,
            "(callee_billed = ? OR callee_in = ?)",
            "(callee_billed >= ? AND callee_billed < ? || char(0x10FFFF) OR callee_in >= ? AND callee_in < ? || char(0x10FFFF))",
        ),
    ] {
        match number {
            Some(NumberMatch::Exact(text)) => condition.text(exact, &Some(text.clone())),
            Some(NumberMatch::Prefix(text)) => condition.text(prefix, &Some(text.clone())),
            None => {}
        }
    }
    // A range instead of LIKE, so that the index serves; the last code point sorts behind all that can follow.
    condition.text("(caller_billed >= ? AND caller_billed < ? || char(0x10FFFF))", &filter.caller_prefix);
    condition.text("(callee_billed >= ? AND callee_billed < ? || char(0x10FFFF))", &filter.callee_prefix);
    condition.text("(caller_gateway = ? OR callee_gateway = ?)", &filter.gateway);
    condition.text("caller_gateway = ?", &filter.caller_gateway);
    condition.text("callee_gateway = ?", &filter.callee_gateway);
    condition.number("end_ms >= ?", filter.from_ms);
    condition.number("end_ms < ?", filter.to_ms);
    condition.number("end_reason = ?", filter.end_reason.map(i64::from));
    condition.number("(connect_ms IS NOT NULL) = ?", filter.answered.map(i64::from));
    condition.number("flow_no = ?", filter.flow_no.map(|flow_no| flow_no as i64));
    if let Some((end_ms, flow_no)) = after {
        condition.parts.push(if filter.oldest_first {
            "(end_ms, flow_no) > (?, ?)"
        } else {
            "(end_ms, flow_no) < (?, ?)"
        });
        condition.values.extend([Value::Integer(end_ms), Value::Integer(flow_no as i64)]);
    }
    CdrCondition { sql: condition.sql(), values: condition.values }
}
