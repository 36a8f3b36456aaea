//! The audit: every sum of money computed again from its rows, and compared with what is stored.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;
use tandem_rating::money::Money;
use tandem_rating::proof::{Proof, Role};

use crate::block_index::{self, Block, LEDGER, Tail};
use crate::cdr_table;
use crate::correction;
use crate::error::StoreError;
use crate::ledger;
use crate::package;
use crate::query::add;
use crate::report;

/// Problems listed; the rest is only counted.
const PROBLEMS_MAX: usize = 100;

/// What was compared, and what does not agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Accounts.
    pub accounts: u64,
    /// Ledger rows.
    pub ledger_rows: u64,
    /// CDRs.
    pub cdrs: u64,
    /// How many things do not agree.
    pub wrong: u64,
    /// The first of them, in sentences.
    pub problems: Vec<String>,
}

impl Verified {
    pub(crate) fn problem(&mut self, problem: String) {
        self.wrong += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }
}

/// The days with CDRs, oldest first: (yyyymmdd, CDRs).
pub(crate) fn days(connection: &Connection, path: &Path) -> Result<Vec<(i64, i64)>, StoreError> {
    connection
        .prepare_cached("SELECT day, cdrs FROM cdr_day ORDER BY day")
        .and_then(|mut statement| statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
        .map_err(StoreError::sql(path, "read table cdr_day"))
}

/// What the rows of one account come to.
#[derive(Default)]
struct Sums {
    ledger: Money,
    calls: Money,
    /// Rows of corrections of calls.
    corrected: Money,
    last_balance: Money,
    cdrs: Money,
}

/// Checks that
/// 1. each balance is the sum of the account's ledger rows, and the balance after its last row;
/// 2. what the CDRs charge an account (as payer, agent or vendor; fee and tax) is what its `call` rows took;
/// 3. what the corrections of calls changed is what their rows moved;
/// 4. the reports of each day are what its CDRs come to;
/// 5. each day has as many CDRs as were stored, and each of them is a settled call of that day;
/// 6. rent and differences of each order of a package are what its rows took, and no more is used than it gives.
pub(crate) fn verify(connection: &Connection, path: &Path) -> Result<Verified, StoreError> {
    let mut verified = Verified::default();
    let mut sums: BTreeMap<String, Sums> = BTreeMap::new();
    ledger_sums(connection, path, &mut verified, &mut sums)?;
    cdr_sums(connection, path, &mut verified, &mut sums)?;
    let mut corrections = correction::sums(connection, path)?;
    for (name, sum) in &sums {
        let changed = corrections.remove(name).unwrap_or_default();
        if changed != sum.corrected {
            verified.problem(format!(
                "account {name}: corrections of its calls come to {changed}, their rows to {}",
                sum.corrected
            ));
        }
    }
    for (name, changed) in corrections.into_iter().filter(|(_, changed)| !changed.is_zero()) {
        verified.problem(format!("account {name}: corrections of its calls come to {changed}, it has no rows"));
    }
    index(connection, path, &mut verified, LEDGER, i64::MAX)?;
    package::verify(connection, path, &mut verified)?;
    for account in ledger::accounts(connection, path)? {
        verified.accounts += 1;
        let sum = sums.entry(account.name.clone()).or_default();
        if account.balance != sum.ledger {
            verified.problem(format!(
                "account {}: balance {}, its rows sum to {}",
                account.name, account.balance, sum.ledger
            ));
        }
        if account.balance != sum.last_balance {
            verified.problem(format!(
                "account {}: balance {}, its last row says {}",
                account.name, account.balance, sum.last_balance
            ));
        }
    }
    for (name, sum) in &sums {
        if sum.calls.checked_neg().ok() != Some(sum.cdrs) {
            verified
                .problem(format!("account {name}: its CDRs charge {}, its call rows come to {}", sum.cdrs, sum.calls));
        }
    }
    Ok(verified)
}

fn ledger_sums(
    connection: &Connection,
    path: &Path,
    verified: &mut Verified,
    sums: &mut BTreeMap<String, Sums>,
) -> Result<(), StoreError> {
    let failed = || StoreError::sql(path, "read table ledger");
    let mut statement = connection
        .prepare("SELECT account, kind, amount, balance_after, key LIKE 'rerate:%' FROM ledger ORDER BY id")
        .map_err(failed())?;
    let mut rows = statement.query([]).map_err(failed())?;
    while let Some(row) = rows.next().map_err(failed())? {
        let text = |index: usize| row.get::<_, String>(index).map_err(failed());
        verified.ledger_rows += 1;
        let account = text(0)?;
        let amount = text(2)?;
        let last_balance = ledger::money(&account, "balance after", &text(3)?)?;
        let kind = text(1)?;
        let is_correction = kind == "correction" && row.get::<_, bool>(4).map_err(failed())?;
        let sum = sums.entry(account).or_default();
        sum.ledger = add(sum.ledger, &amount, "ledger")?;
        sum.last_balance = last_balance;
        if kind == "call" {
            sum.calls = add(sum.calls, &amount, "ledger")?;
        }
        if is_correction {
            sum.corrected = add(sum.corrected, &amount, "ledger")?;
        }
    }
    Ok(())
}

/// What the agents above the direct one paid for a call; only chains of two and more have them.
pub(crate) fn further_agents(legs: &str) -> Result<Vec<(String, Money)>, String> {
    if legs.matches(r#""leg":"agent""#).nth(1).is_none() {
        return Ok(Vec::new());
    }
    let proofs: Vec<Proof> = serde_json::from_str(legs).map_err(|error| error.to_string())?;
    let agents = proofs.into_iter().filter(|proof| proof.leg == Role::Agent).skip(1);
    let due = |proof: Proof| {
        let charge = proof.charge?;
        let due = charge.fee.checked_add(charge.tax).and_then(|total| total.checked_sub(charge.suite_fee)).ok()?;
        Some((proof.account.to_string(), due))
    };
    Ok(agents.filter_map(due).collect())
}

fn cdr_sums(
    connection: &Connection,
    path: &Path,
    verified: &mut Verified,
    sums: &mut BTreeMap<String, Sums>,
) -> Result<(), StoreError> {
    let failed = || StoreError::sql(path, "read a CDR day table");
    let days = days(connection, path)?;
    // Of days that were dropped the reports are left.
    for day in report::days(connection, path)? {
        if !days.iter().any(|(kept, _)| *kept == day) {
            for (account, charged) in report::charged(connection, path, day)? {
                let sum = sums.entry(account).or_default();
                sum.cdrs = add(sum.cdrs, &charged.to_string(), "report_day")?;
            }
        }
    }
    let zone_offset_ms = report::zone_offset_ms(connection, path)?;
    for (day, counted) in days {
        let table = cdr_table::table_name(day);
        let (batch, stored) = report::remade(connection, path, day, zone_offset_ms)?;
        for (account, charged) in report::charged_by(batch.rows(day)?.iter().map(|((by, key), sums)| (*by, key, sums)))?
        {
            let sum = sums.entry(account).or_default();
            sum.cdrs = add(sum.cdrs, &charged.to_string(), &table)?;
        }
        verified.cdrs += stored;
        let stored = i64::try_from(stored).unwrap_or(i64::MAX);
        if stored != counted {
            verified.problem(format!("{table}: {stored} CDRs, {counted} were stored"));
        }
        let strays: i64 = connection
            .query_row(
                &format!(
                    "SELECT count(*) FROM {table} AS cdr LEFT JOIN settled USING (flow_no)
                     WHERE settled.day IS NOT {day} OR settled.cdr_id <> cdr.id"
                ),
                [],
                |row| row.get(0),
            )
            .map_err(failed())?;
        index(connection, path, verified, day, counted)?;
        for problem in report::compare(connection, path, day, Some((batch, 0)))?.problems {
            verified.problem(problem);
        }
        if strays != 0 {
            verified.problem(format!("{table}: {strays} CDRs of calls that were not settled on that day"));
        }
    }
    Ok(())
}

/// Compares the index of a day, or of the ledger, with one made anew from its `rows` rows.
fn index(
    connection: &Connection,
    path: &Path,
    verified: &mut Verified,
    space: i64,
    rows: i64,
) -> Result<(), StoreError> {
    let failed = || StoreError::sql(path, "read table block_index");
    let of_ledger = space == LEDGER;
    let what = if of_ledger { "the ledger".to_owned() } else { format!("day {space}") };
    let fields = if of_ledger { ledger::INDEX } else { cdr_table::INDEX };
    let mut last_id = 0;
    for block in block_index::blocks(connection, space).map_err(failed())? {
        let Block { first_id, .. } = block;
        let mut tail = Tail::new(first_id, fields);
        if of_ledger {
            ledger::key_rows(connection, first_id, block.last_id, |id, at_ms, keys| {
                tail.skip_to(id, at_ms);
                tail.push(at_ms, keys, &[]);
            })
            .map_err(failed())?;
        } else {
            cdr_table::key_rows(
                connection,
                path,
                space,
                first_id,
                block.last_id,
                |id, end_ms, keys, numbers, sums| {
                    tail.skip_to(id, end_ms);
                    tail.push(end_ms, keys, &numbers);
                    tail.add(sums);
                },
            )?;
        }
        if first_id <= last_id || block.last_id > rows {
            verified.problem(format!("{what}: the index has a block from row {first_id} to {}", block.last_id));
        } else if !tail.agrees(connection, space, fields, block).map_err(failed())? {
            verified.problem(format!("{what}: the index of rows {first_id} to {} is wrong", block.last_id));
        }
        last_id = block.last_id;
    }
    Ok(())
}
