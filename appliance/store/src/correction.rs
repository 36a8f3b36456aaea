//! Corrections of finished calls: the CDR stays as it is, each revision of it stands beside it.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;
use tandem_rating::fee::BillingParams;
use tandem_rating::money::Money;
use tandem_rating::proof::Proof;
use tandem_rating::prove::due;
use tandem_rating::record::Correction;

use crate::error::StoreError;

/// A correction as the database has it; its ledger rows are in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCorrection {
    /// The call.
    pub flow_no: u64,
    /// 1 is the first correction of the call.
    pub revision: u32,
    /// Run it belongs to.
    pub run: String,
    /// UTC ms.
    pub at_ms: i64,
    /// Who.
    pub user: String,
    /// Words.
    pub memo: String,
    /// Billing parameters from then on.
    pub params: BillingParams,
    /// Proofs of the legs before it.
    pub before: Vec<Proof>,
    /// Proofs of the legs from then on.
    pub after: Vec<Proof>,
}

/// Writes one; false when the call has that revision already.
pub(crate) fn insert(connection: &Connection, path: &Path, correction: &Correction) -> Result<bool, StoreError> {
    let params = serde_json::to_string(&correction.params).unwrap_or_default();
    let new = connection
        .prepare_cached(
            "INSERT INTO correction (flow_no, revision, run, at_ms, user, memo, params, before, after)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
        )
        .and_then(|mut statement| {
            statement.execute((
                correction.flow_no as i64,
                correction.revision,
                &correction.run,
                correction.at_ms,
                &correction.user,
                &correction.memo,
                params,
                correction.before.as_str(),
                correction.after.as_str(),
            ))
        })
        .map_err(StoreError::sql(path, "write table correction"))?;
    Ok(new > 0)
}

fn json<T: serde::de::DeserializeOwned>(row: i64, column: &str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Row {
        table: "correction".to_owned(),
        row: row.to_string(),
        column: column.to_owned(),
        cause: error.to_string(),
    })
}

/// Whether an older version wrote the database, which no writer has opened since.
fn is_missing(connection: &Connection, path: &Path) -> Result<bool, StoreError> {
    connection
        .prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'correction')")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(StoreError::sql(path, "read the schema"))
}

/// Those of one call, the first first.
pub(crate) fn of_call(connection: &Connection, path: &Path, flow_no: u64) -> Result<Vec<StoredCorrection>, StoreError> {
    if is_missing(connection, path)? {
        return Ok(Vec::new());
    }
    let failed = || StoreError::sql(path, "read table correction");
    let mut statement = connection
        .prepare_cached(
            "SELECT revision, run, at_ms, user, memo, params, before, after FROM correction WHERE flow_no = ?1
             ORDER BY revision",
        )
        .map_err(failed())?;
    let mut rows = statement.query([flow_no as i64]).map_err(failed())?;
    let mut list = Vec::new();
    while let Some(row) = rows.next().map_err(failed())? {
        let text = |index: usize| row.get::<_, String>(index).map_err(failed());
        let call = flow_no as i64;
        list.push(StoredCorrection {
            flow_no,
            revision: row.get(0).map_err(failed())?,
            run: text(1)?,
            at_ms: row.get(2).map_err(failed())?,
            user: text(3)?,
            memo: text(4)?,
            params: json(call, "params", &text(5)?)?,
            before: json(call, "before", &text(6)?)?,
            after: json(call, "after", &text(7)?)?,
        });
    }
    Ok(list)
}

/// What all corrections together add to the balance of each account.
pub(crate) fn sums(connection: &Connection, path: &Path) -> Result<BTreeMap<String, Money>, StoreError> {
    let mut sums = BTreeMap::new();
    if is_missing(connection, path)? {
        return Ok(sums);
    }
    let failed = || StoreError::sql(path, "read table correction");
    let mut statement = connection.prepare("SELECT flow_no, before, after FROM correction").map_err(failed())?;
    let mut rows = statement.query([]).map_err(failed())?;
    while let Some(row) = rows.next().map_err(failed())? {
        let call: i64 = row.get(0).map_err(failed())?;
        for (index, column) in [(1, "before"), (2, "after")] {
            let text: String = row.get(index).map_err(failed())?;
            for proof in json::<Vec<Proof>>(call, column, &text)? {
                let sum: &mut Money = sums.entry(proof.account.to_string()).or_default();
                let added = proof.charge.as_ref().map_or(Ok(Money::ZERO), due).and_then(|due| match column {
                    "before" => sum.checked_add(due),
                    _ => sum.checked_sub(due),
                });
                *sum = added.map_err(|error| StoreError::Money {
                    account: proof.account.to_string(),
                    what: format!("the corrections of call {call}"),
                    cause: error.to_string(),
                })?;
            }
        }
    }
    Ok(sums)
}
