//! Who changed what: the history of the configuration and the audit log.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use tandem_rating::record::{Actor, Audit, Change};

use crate::config::{self, StoredSite};
use crate::decks;
use crate::error::StoreError;

/// Words of column `confirm_state`.
mod state {
    /// Nothing is to be confirmed.
    pub(super) const NONE: &str = "";
    /// Rolled back at `confirm_until_ms` unless confirmed.
    pub(super) const PENDING: &str = "pending";
    /// Stays.
    pub(super) const CONFIRMED: &str = "confirmed";
    /// Was taken back.
    pub(super) const ROLLED_BACK: &str = "rolled_back";
}

/// A change of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredChange {
    /// The version it made.
    pub version: u64,
    /// UTC ms.
    pub at_ms: i64,
    /// Who.
    pub actor: Actor,
    /// The word of [`Change::how`].
    pub how: String,
    /// Words of the operator.
    pub comment: String,
    /// Old -> new, one line a change.
    pub changes: Vec<String>,
    /// The version it falls back to when it is not confirmed.
    pub fallback: Option<u64>,
    /// Rolled back at this time, UTC ms, unless confirmed.
    pub confirm_until_ms: Option<i64>,
    /// Empty, `pending`, `confirmed` or `rolled_back`.
    pub confirm_state: String,
}

/// A row of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAudit {
    /// Its journal record.
    pub seq: u64,
    /// UTC ms.
    pub at_ms: i64,
    /// Who.
    pub actor: Actor,
    /// What was asked for.
    pub command: String,
    /// The word of [`tandem_rating::record::Outcome::as_str`].
    pub outcome: String,
    /// Why not.
    pub error: String,
    /// Version of the configuration it made.
    pub version: Option<u64>,
    /// Words of the operator.
    pub comment: String,
    /// Old -> new, one line a change.
    pub changes: Vec<String>,
}

/// Which rows of the audit log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// At or after, UTC ms.
    pub from_ms: Option<i64>,
    /// Before, UTC ms.
    pub to_ms: Option<i64>,
    /// Login name.
    pub user: Option<String>,
    /// Rows at most, 1 to [`crate::LIMIT_MAX`]; [`crate::LIMIT_DEFAULT`] when not set.
    pub limit: Option<usize>,
    /// Rows to leave out first.
    pub offset: u64,
    /// Oldest first; newest first by default.
    pub oldest_first: bool,
}

/// Writes a version of a rate group.
pub(crate) fn deck(
    connection: &Connection,
    path: &Path,
    (group, version): (&str, u64),
    (at_ms, user): (i64, &str),
    csv: &str,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO deck (rate_group, version, at_ms, user, csv) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (rate_group, version) DO UPDATE SET at_ms = ?3, user = ?4, csv = ?5",
        )
        .and_then(|mut statement| statement.execute((group, version as i64, at_ms, user, csv)))
        .map(|_| ())
        .map_err(StoreError::sql(path, "write table deck"))
}

/// Writes a change of the configuration: site, rate groups, history, audit log.
pub(crate) fn change(connection: &Connection, path: &Path, seq: u64, change: &Change) -> Result<(), StoreError> {
    let (at_ms, actor) = (change.audit.at_ms, &change.audit.actor);
    if let Some(text) = &change.text {
        connection
            .prepare_cached(
                "INSERT INTO site (version, at_ms, user, text) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (version) DO UPDATE SET at_ms = ?2, user = ?3, text = ?4",
            )
            .and_then(|mut statement| statement.execute((change.version as i64, at_ms, &actor.user, text)))
            .map_err(StoreError::sql(path, "write table site"))?;
    }
    for one in &change.decks {
        deck(connection, path, (&one.group, one.version), (at_ms, &actor.user), &one.csv)?;
        decks::version(connection, path, change.version, one)?;
    }
    if let Some(version) = change.ends_confirm {
        end_confirm(connection, path, version, state::ROLLED_BACK)?;
    }
    let waits = if change.confirm_until_ms.is_some() { state::PENDING } else { state::NONE };
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO site_change
             (version, at_ms, uid, user, pid, how, comment, changes, fallback, confirm_until_ms, confirm_state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )
        .and_then(|mut statement| {
            statement.execute((
                change.version as i64,
                at_ms,
                actor.uid,
                &actor.user,
                actor.pid,
                &change.how,
                &change.audit.comment,
                change.audit.changes.join("\n"),
                change.fallback.map(|version| version as i64),
                change.confirm_until_ms,
                waits,
            ))
        })
        .map_err(StoreError::sql(path, "write table site_change"))?;
    audit(connection, path, seq, &change.audit)
}

/// Writes that a change stays.
pub(crate) fn confirmed(
    connection: &Connection,
    path: &Path,
    seq: u64,
    version: u64,
    row: &Audit,
) -> Result<(), StoreError> {
    end_confirm(connection, path, version, state::CONFIRMED)?;
    audit(connection, path, seq, row)
}

fn end_confirm(connection: &Connection, path: &Path, version: u64, word: &str) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE site_change SET confirm_state = ?2 WHERE version = ?1")
        .and_then(|mut statement| statement.execute((version as i64, word)))
        .map(|_| ())
        .map_err(StoreError::sql(path, "write table site_change"))
}

/// Writes a row of the audit log.
pub(crate) fn audit(connection: &Connection, path: &Path, seq: u64, row: &Audit) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO audit (seq, at_ms, uid, user, pid, command, outcome, error, version, comment, changes)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )
        .and_then(|mut statement| {
            statement.execute((
                seq as i64,
                row.at_ms,
                row.actor.uid,
                &row.actor.user,
                row.actor.pid,
                &row.command,
                row.outcome.as_str(),
                &row.error,
                row.version.map(|version| version as i64),
                &row.comment,
                row.changes.join("\n"),
            ))
        })
        .map(|_| ())
        .map_err(StoreError::sql(path, "write table audit"))
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

/// Columns that [`stored`] reads.
const COLUMNS: &str =
    "version, at_ms, uid, user, pid, how, comment, changes, fallback, confirm_until_ms, confirm_state";

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredChange> {
    Ok(StoredChange {
        version: row.get::<_, i64>(0)? as u64,
        at_ms: row.get(1)?,
        actor: Actor { uid: row.get(2)?, user: row.get(3)?, pid: row.get(4)? },
        how: row.get(5)?,
        comment: row.get(6)?,
        changes: lines(&row.get::<_, String>(7)?),
        fallback: row.get::<_, Option<i64>>(8)?.map(|version| version as u64),
        confirm_until_ms: row.get(9)?,
        confirm_state: row.get(10)?,
    })
}

/// A page of the history, newest first, and its length. Versions whose making was recorded in the older form have only
/// a time and a user.
pub(crate) fn list(
    connection: &Connection,
    path: &Path,
    limit: usize,
    offset: u64,
) -> Result<(Vec<StoredChange>, u64), StoreError> {
    let all = format!(
        "(SELECT {COLUMNS} FROM site_change UNION ALL
          SELECT version, at_ms, NULL, user, NULL, '', '', '', NULL, NULL, '' FROM site
          WHERE version NOT IN (SELECT version FROM site_change))"
    );
    let read = || -> rusqlite::Result<(Vec<StoredChange>, i64)> {
        let total = connection.query_row(&format!("SELECT count(*) FROM {all}"), [], |row| row.get(0))?;
        let sql = format!("SELECT {COLUMNS} FROM {all} ORDER BY version DESC LIMIT ?1 OFFSET ?2");
        let mut statement = connection.prepare(&sql)?;
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        let rows = statement.query_map((limit as i64, offset), stored)?.collect::<rusqlite::Result<_>>()?;
        Ok((rows, total))
    };
    let (rows, total) = read().map_err(StoreError::sql(path, "read table site_change"))?;
    Ok((rows, total as u64))
}

/// The newest version there is a change of; 0 without any.
pub(crate) fn newest(connection: &Connection, path: &Path) -> Result<u64, StoreError> {
    connection
        .query_row("SELECT coalesce(max(version), 0) FROM site_change", [], |row| row.get::<_, i64>(0))
        .map(|version| version as u64)
        .map_err(StoreError::sql(path, "read table site_change"))
}

/// The change that waits for a confirmation.
pub(crate) fn unconfirmed(connection: &Connection, path: &Path) -> Result<Option<StoredChange>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM site_change WHERE confirm_state = ?1 ORDER BY version DESC LIMIT 1");
    connection
        .query_row(&sql, [state::PENDING], stored)
        .optional()
        .map_err(StoreError::sql(path, "read table site_change"))
}

/// The site configuration as it was at `version`; `None` when there is no such version.
pub(crate) fn site_at(connection: &Connection, path: &Path, version: u64) -> Result<Option<StoredSite>, StoreError> {
    let found = connection
        .query_row(
            "SELECT max(version) FROM site WHERE version <= ?1 AND
             ?1 IN (SELECT version FROM site UNION SELECT version FROM site_change)",
            [version as i64],
            |row| row.get::<_, Option<i64>>(0),
        )
        .map_err(StoreError::sql(path, "read table site"))?;
    match found {
        None => Ok(None),
        Some(found) => config::site(connection, path, Some(found as u64)),
    }
}

/// A page of the audit log under a condition, and how many rows the condition has.
pub(crate) fn audit_list(
    connection: &Connection,
    path: &Path,
    condition: &str,
    values: &[Value],
    filter: &AuditFilter,
    limit: usize,
) -> Result<(Vec<StoredAudit>, u64), StoreError> {
    let read = || -> rusqlite::Result<(Vec<StoredAudit>, i64)> {
        let total = connection.query_row(
            &format!("SELECT count(*) FROM audit WHERE {condition}"),
            params_from_iter(values),
            |row| row.get(0),
        )?;
        let order = if filter.oldest_first { "ASC" } else { "DESC" };
        let sql = format!(
            "SELECT seq, at_ms, uid, user, pid, command, outcome, error, version, comment, changes FROM audit
             WHERE {condition} ORDER BY seq {order} LIMIT {limit} OFFSET {}",
            i64::try_from(filter.offset).unwrap_or(i64::MAX)
        );
        let mut statement = connection.prepare(&sql)?;
        let rows = statement.query_map(params_from_iter(values), |row| {
            Ok(StoredAudit {
                seq: row.get::<_, i64>(0)? as u64,
                at_ms: row.get(1)?,
                actor: Actor { uid: row.get(2)?, user: row.get(3)?, pid: row.get(4)? },
                command: row.get(5)?,
                outcome: row.get(6)?,
                error: row.get(7)?,
                version: row.get::<_, Option<i64>>(8)?.map(|version| version as u64),
                comment: row.get(9)?,
                changes: lines(&row.get::<_, String>(10)?),
            })
        })?;
        Ok((rows.collect::<rusqlite::Result<_>>()?, total))
    };
    let (rows, total) = read().map_err(StoreError::sql(path, "read table audit"))?;
    Ok((rows, total as u64))
}
