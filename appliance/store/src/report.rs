//! Reports of a day: sums of its CDRs by account, gateway, area and so on, kept up to date with each batch (cdr.md 6).
//!
//! They outlive the CDRs they are made of: when a day's table is dropped its reports stay. [`check`] makes them again from the
//! CDRs, and compares them with those and with the ledger.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;
use tandem_rating::money::Money;

use crate::cdr_table;
use crate::error::StoreError;
use crate::ledger;
use crate::query::add;
use crate::tally::{Facts, INTS, MONEY, TEXTS, Tallies};

/// What a day is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReportBy {
    /// Nothing: the whole day.
    Total,
    /// The payer.
    Account,
    /// The direct agent of the payer.
    Agent,
    /// The agents above that one: an account for each call it was charged for, its fee less gift money and with tax in
    /// `agent_fee`.
    FurtherAgent,
    /// The clearing account.
    Vendor,
    /// Mapping gateway.
    Mapping,
    /// Routing gateway that was tried last.
    Routing,
    /// Rate prefix of the customer.
    Area,
    /// End reason, by number.
    EndReason,
    /// Hour of the end, 00 to 23, in the server's zone.
    Hour,
    /// Rate type 1, 2, 4, 5; 0 unknown.
    Level,
}

impl ReportBy {
    /// All of them, with the words they are stored and asked for by.
    pub const ALL: [(ReportBy, &'static str); 11] = [
        (ReportBy::Total, "total"),
        (ReportBy::Account, "account"),
        (ReportBy::Agent, "agent"),
        (ReportBy::FurtherAgent, "further-agent"),
        (ReportBy::Vendor, "vendor"),
        (ReportBy::Mapping, "gateway"),
        (ReportBy::Routing, "routing"),
        (ReportBy::Area, "area"),
        (ReportBy::EndReason, "end-reason"),
        (ReportBy::Hour, "hour"),
        (ReportBy::Level, "level"),
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        // Total over the table above; the fallback cannot be reached.
        ReportBy::ALL.iter().find(|(by, _)| *by == self).map_or("total", |(_, word)| word)
    }
}

/// Sums over CDRs, exact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportSums {
    /// CDRs.
    pub calls: i64,
    /// Of these, answered.
    pub answered: i64,
    /// Held seconds.
    pub hold_s: i64,
    /// Billed seconds of the customers.
    pub billed_s: i64,
    /// Seconds that packages paid.
    pub suite_s: i64,
    /// Billed seconds of the direct agents.
    pub agent_s: i64,
    /// Billed seconds of the vendors.
    pub vendor_s: i64,
    /// Fees of the customers.
    pub fee: Money,
    /// Tax on them.
    pub tax: Money,
    /// What packages paid.
    pub suite_fee: Money,
    /// Fees of the direct agents.
    pub agent_fee: Money,
    /// Tax on them.
    pub agent_tax: Money,
    /// What packages of the direct agents paid.
    pub agent_suite_fee: Money,
    /// Fees of the vendors.
    pub cost: Money,
    /// Tax on them.
    pub cost_tax: Money,
    /// Fees less costs, as the CDRs have it.
    pub margin: Money,
}

/// A row of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportRow {
    /// What the day is divided by.
    pub by: ReportBy,
    /// Name, prefix or number; empty when the calls had none.
    pub key: String,
    /// The sums.
    pub sums: ReportSums,
}

/// What [`check`] compared, and what does not agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportChecked {
    /// CDRs of the day; `None` when its table was dropped.
    pub cdrs: Option<u64>,
    /// Rows of reports.
    pub rows: u64,
    /// Ledger rows of its calls.
    pub ledger_rows: u64,
    /// What does not agree, in sentences.
    pub problems: Vec<String>,
}

/// The tables; see [`crate::schema`].
pub(crate) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS report_day (
    day INTEGER NOT NULL,
    divided_by TEXT NOT NULL,
    key TEXT NOT NULL,
    calls INTEGER NOT NULL,
    answered INTEGER NOT NULL,
    hold_s INTEGER NOT NULL,
    billed_s INTEGER NOT NULL,
    suite_s INTEGER NOT NULL,
    agent_s INTEGER NOT NULL,
    vendor_s INTEGER NOT NULL,
    fee TEXT NOT NULL,
    tax TEXT NOT NULL,
    suite_fee TEXT NOT NULL,
    agent_fee TEXT NOT NULL,
    agent_tax TEXT NOT NULL,
    agent_suite_fee TEXT NOT NULL,
    cost TEXT NOT NULL,
    cost_tax TEXT NOT NULL,
    margin TEXT NOT NULL,
    PRIMARY KEY (day, divided_by, key)
) STRICT, WITHOUT ROWID;
";

/// Columns of a row behind its key.
pub(crate) const COLUMNS: &str = "calls, answered, hold_s, billed_s, suite_s, agent_s, vendor_s, \
                       fee, tax, suite_fee, agent_fee, agent_tax, agent_suite_fee, cost, cost_tax, margin";
/// How many of them are numbers, and how many money.
pub(crate) const NUMBERS: usize = 7;
pub(crate) const AMOUNTS: usize = 9;

impl ReportSums {
    pub(crate) fn numbers(&mut self) -> [&mut i64; NUMBERS] {
        [
            &mut self.calls,
            &mut self.answered,
            &mut self.hold_s,
            &mut self.billed_s,
            &mut self.suite_s,
            &mut self.agent_s,
            &mut self.vendor_s,
        ]
    }

    pub(crate) fn amounts(&mut self) -> [&mut Money; AMOUNTS] {
        [
            &mut self.fee,
            &mut self.tax,
            &mut self.suite_fee,
            &mut self.agent_fee,
            &mut self.agent_tax,
            &mut self.agent_suite_fee,
            &mut self.cost,
            &mut self.cost_tax,
            &mut self.margin,
        ]
    }

    /// From a row whose column `first` is the first of [`COLUMNS`].
    pub(crate) fn read(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<(ReportSums, [String; AMOUNTS])> {
        let mut sums = ReportSums::default();
        for (n, number) in sums.numbers().into_iter().enumerate() {
            *number = row.get(first + n)?;
        }
        let mut amounts: [String; AMOUNTS] = Default::default();
        for (n, amount) in amounts.iter_mut().enumerate() {
            *amount = row.get(first + NUMBERS + n)?;
        }
        Ok((sums, amounts))
    }

    pub(crate) fn with(mut self, amounts: &[String; AMOUNTS]) -> Result<ReportSums, StoreError> {
        for (amount, text) in self.amounts().into_iter().zip(amounts) {
            *amount = ledger::money("of a report", "a sum", text)?;
        }
        Ok(self)
    }
}

/// The stored rows of a day, by division and key.
pub(crate) fn rows(
    connection: &Connection,
    path: &Path,
    day: i64,
    by: Option<ReportBy>,
) -> Result<Vec<ReportRow>, StoreError> {
    let failed = || StoreError::sql(path, "read table report_day");
    let sql = format!(
        "SELECT divided_by, key, {COLUMNS} FROM report_day WHERE day = ?1 AND (?2 IS NULL OR divided_by = ?2) ORDER BY 1, 2"
    );
    let mut statement = connection.prepare_cached(&sql).map_err(failed())?;
    let mut found = statement.query((day, by.map(ReportBy::as_str))).map_err(failed())?;
    let mut rows = Vec::new();
    while let Some(row) = found.next().map_err(failed())? {
        let (word, key): (String, String) = row.get(0).and_then(|word| Ok((word, row.get(1)?))).map_err(failed())?;
        // A division of a newer version is left alone.
        let Some((by, _)) = ReportBy::ALL.iter().find(|(_, known)| *known == word) else { continue };
        let (sums, amounts) = ReportSums::read(row, 2).map_err(failed())?;
        rows.push(ReportRow { by: *by, key, sums: sums.with(&amounts)? });
    }
    Ok(rows)
}

/// The days that have reports, oldest first.
pub(crate) fn days(connection: &Connection, path: &Path) -> Result<Vec<i64>, StoreError> {
    connection
        .prepare_cached("SELECT DISTINCT day FROM report_day ORDER BY day")
        .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
        .map_err(StoreError::sql(path, "read table report_day"))
}

/// The reports of a day made again from its CDRs; how many there are.
pub(crate) fn remade(
    connection: &Connection,
    path: &Path,
    day: i64,
    zone_offset_ms: i64,
) -> Result<(Tallies, u64), StoreError> {
    let failed = || StoreError::sql(path, "read a CDR day table");
    let columns: Vec<&str> = TEXTS.iter().chain(&INTS).chain(&MONEY).copied().collect();
    let mut statement = connection
        .prepare(&format!("SELECT {} FROM {}", columns.join(", "), cdr_table::view_name(day)))
        .map_err(failed())?;
    let mut found = statement.query([]).map_err(failed())?;
    let (mut batch, mut cdrs) = (Tallies::default(), 0);
    while let Some(row) = found.next().map_err(failed())? {
        let text = |index: usize| -> rusqlite::Result<&[u8]> {
            Ok(row.get_ref(index)?.as_bytes_or_null()?.unwrap_or_default())
        };
        let facts = || -> rusqlite::Result<Facts<'_>> {
            let mut facts = Facts { texts: [b""; TEXTS.len()], ints: [None; INTS.len()], money: [b""; AMOUNTS] };
            for (n, value) in facts.texts.iter_mut().enumerate() {
                *value = text(n)?;
            }
            for (n, value) in facts.ints.iter_mut().enumerate() {
                *value = row.get(TEXTS.len() + n)?;
            }
            for (n, value) in facts.money.iter_mut().enumerate() {
                *value = text(TEXTS.len() + INTS.len() + n)?;
            }
            Ok(facts)
        };
        batch.add(day, zone_offset_ms, &facts().map_err(failed())?)?;
        cdrs += 1;
    }
    Ok((batch, cdrs))
}

/// The zone that days and hours are in, as the writer has kept it, ms east of UTC.
pub(crate) fn zone_offset_ms(connection: &Connection, path: &Path) -> Result<i64, StoreError> {
    crate::schema::meta_number(connection, path, crate::schema::key::ZONE_OFFSET_MS)
}

/// How many problems of a day are told.
const PROBLEMS_MAX: usize = 50;

/// Compares the reports of a day with those that were made again from its CDRs; `None` when its table was dropped.
pub(crate) fn compare(
    connection: &Connection,
    path: &Path,
    day: i64,
    remade: Option<(Tallies, u64)>,
) -> Result<ReportChecked, StoreError> {
    let stored = rows(connection, path, day, None)?;
    let mut checked = ReportChecked { rows: stored.len() as u64, ..ReportChecked::default() };
    let mut problem = |text: String| {
        if checked.problems.len() < PROBLEMS_MAX {
            checked.problems.push(text);
        }
    };
    if let Some((batch, cdrs)) = remade {
        let mut wanted = batch.rows(day)?;
        for row in &stored {
            let name = format!("report of {day} by {}, {:?}", row.by.as_str(), row.key);
            match wanted.remove(&(row.by, row.key.clone())) {
                Some(sums) if sums == row.sums => {}
                Some(sums) => problem(format!("{name}: it says {:?}, the CDRs come to {sums:?}", row.sums)),
                None => problem(format!("{name}: no CDR belongs to it")),
            }
        }
        for (by, key) in wanted.keys() {
            problem(format!("report of {day} by {}, {key:?}: it is missing", by.as_str()));
        }
        checked.cdrs = Some(cdrs);
    }
    Ok(checked)
}

/// [`compare`], and with the ledger: what calls of the day took from each account is what the reports say.
pub(crate) fn check(
    connection: &Connection,
    path: &Path,
    day: i64,
    has_cdrs: bool,
    zone_offset_ms: i64,
) -> Result<ReportChecked, StoreError> {
    let again = has_cdrs.then(|| remade(connection, path, day, zone_offset_ms)).transpose()?;
    let mut checked = compare(connection, path, day, again)?;
    let mut told: BTreeMap<String, Money> = charged(connection, path, day)?;
    let (from_ms, to_ms) =
        (cdr_table::day_start_ms(day) - zone_offset_ms, cdr_table::day_start_ms(day) + 86_400_000 - zone_offset_ms);
    let failed = || StoreError::sql(path, "read table ledger");
    let mut statement = connection
        .prepare_cached("SELECT account, amount FROM ledger_row WHERE kind = 'call' AND at_ms >= ?1 AND at_ms < ?2")
        .map_err(failed())?;
    let mut found = statement.query([from_ms, to_ms]).map_err(failed())?;
    let mut booked: BTreeMap<String, Money> = BTreeMap::new();
    while let Some(row) = found.next().map_err(failed())? {
        let (account, amount): (String, String) = row.get(0).and_then(|a| Ok((a, row.get(1)?))).map_err(failed())?;
        let sum = booked.entry(account).or_default();
        *sum = add(*sum, &amount, "ledger")?;
        checked.ledger_rows += 1;
    }
    for (account, sum) in booked {
        let reported = told.remove(&account).unwrap_or_default();
        if sum.checked_neg().ok() != Some(reported) {
            checked.problems.push(format!(
                "account {account}: the reports of {day} charge {reported}, its ledger rows of calls come to {sum}"
            ));
        }
    }
    for (account, reported) in told.into_iter().filter(|(_, reported)| *reported != Money::ZERO) {
        checked.problems.push(format!("account {account}: the reports of {day} charge {reported}, no ledger row does"));
    }
    Ok(checked)
}

/// What the reports of a day charge each account, as payer, agent and vendor; tax included.
pub(crate) fn charged(connection: &Connection, path: &Path, day: i64) -> Result<BTreeMap<String, Money>, StoreError> {
    let rows = rows(connection, path, day, None)?;
    charged_by(rows.iter().map(|row| (row.by, &row.key, &row.sums)))
}

/// [`charged`], of any rows of reports.
pub(crate) fn charged_by<'a>(
    rows: impl Iterator<Item = (ReportBy, &'a String, &'a ReportSums)>,
) -> Result<BTreeMap<String, Money>, StoreError> {
    let mut charged: BTreeMap<String, Money> = BTreeMap::new();
    for (by, key, sums) in rows {
        // What gift money paid is not in the ledger.
        let (due, gift) = match by {
            ReportBy::Account => ([sums.fee, sums.tax], sums.suite_fee),
            ReportBy::Agent => ([sums.agent_fee, sums.agent_tax], sums.agent_suite_fee),
            ReportBy::FurtherAgent => ([sums.agent_fee, sums.agent_tax], Money::ZERO),
            ReportBy::Vendor => ([sums.cost, sums.cost_tax], Money::ZERO),
            _ => continue,
        };
        let sum = charged.entry(key.clone()).or_default();
        for amount in due.into_iter().chain(gift.checked_neg().ok()) {
            *sum = add(*sum, &amount.to_string(), "report_day")?;
        }
    }
    Ok(charged)
}
