//! Site text and system parameters with their history.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension};

use crate::error::StoreError;

/// A version of the site configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSite {
    /// Rising.
    pub version: u64,
    /// UTC ms.
    pub at_ms: i64,
    /// Who.
    pub user: String,
    /// The declarative text, whole.
    pub text: String,
}

/// The value of a system parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredParam {
    /// Name, exactly as the spec has it.
    pub name: String,
    /// Value as text.
    pub value: String,
    /// UTC ms.
    pub at_ms: i64,
    /// Who.
    pub user: String,
}

/// The newest site configuration, or the one of `version`.
pub(crate) fn site(
    connection: &Connection,
    path: &Path,
    version: Option<u64>,
) -> Result<Option<StoredSite>, StoreError> {
    connection
        .prepare_cached(
            "SELECT version, at_ms, user, text FROM site WHERE ?1 IS NULL OR version = ?1 ORDER BY version DESC LIMIT 1",
        )
        .and_then(|mut statement| {
            statement
                .query_row([version.map(|version| version as i64)], |row| {
                    Ok(StoredSite {
                        version: row.get::<_, i64>(0)? as u64,
                        at_ms: row.get(1)?,
                        user: row.get(2)?,
                        text: row.get(3)?,
                    })
                })
                .optional()
        })
        .map_err(StoreError::sql(path, "read table site"))
}

/// All versions of the site configuration without their texts, newest first: (version, at_ms, user).
pub(crate) fn site_history(connection: &Connection, path: &Path) -> Result<Vec<(u64, i64, String)>, StoreError> {
    connection
        .prepare_cached("SELECT version, at_ms, user FROM site ORDER BY version DESC")
        .and_then(|mut statement| {
            statement.query_map([], |row| Ok((row.get::<_, i64>(0)? as u64, row.get(1)?, row.get(2)?)))?.collect()
        })
        .map_err(StoreError::sql(path, "read table site"))
}

/// The parameters that were ever set, by name.
pub(crate) fn params(connection: &Connection, path: &Path) -> Result<Vec<StoredParam>, StoreError> {
    connection
        .prepare_cached("SELECT name, value, at_ms, user FROM param ORDER BY name")
        .and_then(|mut statement| {
            statement
                .query_map([], |row| {
                    Ok(StoredParam { name: row.get(0)?, value: row.get(1)?, at_ms: row.get(2)?, user: row.get(3)? })
                })?
                .collect()
        })
        .map_err(StoreError::sql(path, "read table param"))
}
