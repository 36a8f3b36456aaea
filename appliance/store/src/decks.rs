//! Versions of rate groups: rows that came in one record or in parts, and what is known of each version.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Row};
use tandem_rating::record::DeckText;

use crate::error::StoreError;

/// Bytes of one part: written in well below a millisecond, so that the records of calls wait no longer than for each other.
pub const DECK_PART_BYTES: usize = 256 << 10;

/// A version of a rate group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredDeck {
    /// Rate group.
    pub group: String,
    /// Rising per group.
    pub version: u64,
    /// UTC ms.
    pub at_ms: i64,
    /// Who.
    pub user: String,
    /// All rows, as exported CSV; empty when the group was deleted.
    pub csv: String,
    /// The group was deleted with this version.
    pub deleted: bool,
}

/// What is known of a version of a rate group, besides its rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeckVersion {
    /// Rising per group.
    pub version: u64,
    /// UTC ms.
    pub at_ms: i64,
    /// Who.
    pub user: String,
    /// Rows; `None` in versions that were made before rows were counted.
    pub rows: Option<u64>,
    /// The version of the configuration that it came with.
    pub site_version: Option<u64>,
    /// The word of [`tandem_rating::record::Change::how`].
    pub how: String,
    /// Words of the operator.
    pub comment: String,
    /// Where the rows came from.
    pub source: String,
    /// Old -> new.
    pub changes: Vec<String>,
    /// The group was deleted with this version.
    pub deleted: bool,
}

pub(crate) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS deck_part (
    import INTEGER NOT NULL,
    part INTEGER NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (import, part)
) STRICT;
CREATE TABLE IF NOT EXISTS deck_change (
    rate_group TEXT NOT NULL,
    version INTEGER NOT NULL,
    site_version INTEGER NOT NULL,
    import INTEGER NOT NULL,
    parts INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    deck_rows INTEGER NOT NULL,
    source TEXT NOT NULL,
    deleted INTEGER NOT NULL,
    PRIMARY KEY (rate_group, version)
) STRICT;
";

/// Cuts a deck's text into parts of at most [`DECK_PART_BYTES`], none of them inside a character.
pub fn deck_parts(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = rest.len().min(DECK_PART_BYTES);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (part, behind) = rest.split_at(end);
        rest = behind;
        Some(part)
    })
}

/// [`deck_crc`] of a text that comes piece by piece.
#[derive(Clone, Debug, Default)]
pub struct DeckCrc(crc32fast::Hasher);

impl DeckCrc {
    /// The next piece.
    pub fn add(&mut self, piece: &str) {
        self.0.update(piece.as_bytes());
    }

    /// Of all pieces so far.
    pub fn sum(self) -> u32 {
        self.0.finalize()
    }
}

/// The checksum that [`DeckText::crc`] has.
pub fn deck_crc(text: &str) -> u32 {
    crc32fast::hash(text.as_bytes())
}

/// Writes a part; it means nothing until a version names it.
pub(crate) fn part(
    connection: &Connection,
    path: &Path,
    (import, part): (u64, u32),
    text: &str,
) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO deck_part (import, part, text) VALUES (?1, ?2, ?3)")
        .and_then(|mut statement| statement.execute((import as i64, part, text)))
        .map(|_| ())
        .map_err(StoreError::sql(path, "write table deck_part"))
}

/// Writes what is known of a version that came with a change; its parts must be there.
pub(crate) fn version(
    connection: &Connection,
    path: &Path,
    site_version: u64,
    deck: &DeckText,
) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO deck_change
             (rate_group, version, site_version, import, parts, crc, deck_rows, source, deleted)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )
        .and_then(|mut statement| {
            statement.execute((
                &deck.group,
                deck.version as i64,
                site_version as i64,
                deck.import as i64,
                deck.parts,
                deck.crc,
                deck.rows as i64,
                &deck.source,
                deck.deleted,
            ))
        })
        .map_err(StoreError::sql(path, "write table deck_change"))?;
    if deck.parts > 0 {
        // Fails now, and not at the next start, when the journal did not have all of them.
        joined(connection, path, &deck.group, (deck.import, deck.parts, deck.crc))?;
        sweep(connection, path)?;
    }
    Ok(())
}

/// Removes the parts of imports that never came to an end.
pub(crate) fn sweep(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    connection
        .execute("DELETE FROM deck_part WHERE import NOT IN (SELECT import FROM deck_change WHERE parts > 0)", [])
        .map(|_| ())
        .map_err(StoreError::sql(path, "write table deck_part"))
}

/// The text of the parts of an import.
fn joined(
    connection: &Connection,
    path: &Path,
    group: &str,
    (import, parts, crc): (u64, u32, u32),
) -> Result<String, StoreError> {
    let mut text = String::new();
    let mut found = 0;
    let mut read = || -> rusqlite::Result<()> {
        let mut statement =
            connection.prepare_cached("SELECT text FROM deck_part WHERE import = ?1 AND part < ?2 ORDER BY part")?;
        let mut rows = statement.query((import as i64, parts))?;
        while let Some(row) = rows.next()? {
            text.push_str(row.get_ref(0)?.as_str()?);
            found += 1;
        }
        Ok(())
    };
    read().map_err(StoreError::sql(path, "read table deck_part"))?;
    if found != parts || deck_crc(&text) != crc {
        return Err(StoreError::Row {
            table: "deck_part".to_owned(),
            row: import.to_string(),
            column: "text".to_owned(),
            cause: format!("{found} of {parts} parts of rate group {group} do not make its text"),
        });
    }
    Ok(text)
}

const COLUMNS: &str = "deck.rate_group, deck.version, deck.at_ms, deck.user, deck.csv, ifnull(import, 0), ifnull(parts, 0), \
                       ifnull(crc, 0), ifnull(deleted, 0) FROM deck LEFT JOIN deck_change USING (rate_group, version)";

type Found = (StoredDeck, (u64, u32, u32));

fn found(row: &Row<'_>) -> rusqlite::Result<Found> {
    let deck = StoredDeck {
        group: row.get(0)?,
        version: row.get::<_, i64>(1)? as u64,
        at_ms: row.get(2)?,
        user: row.get(3)?,
        csv: row.get(4)?,
        deleted: row.get(8)?,
    };
    Ok((deck, (row.get::<_, i64>(5)? as u64, row.get(6)?, row.get(7)?)))
}

fn whole(connection: &Connection, path: &Path, (mut deck, parts): Found) -> Result<StoredDeck, StoreError> {
    if parts.1 > 0 {
        deck.csv = joined(connection, path, &deck.group, parts)?;
    }
    Ok(deck)
}

/// The newest version of every rate group, by group, deleted ones included.
pub(crate) fn newest(connection: &Connection, path: &Path) -> Result<Vec<StoredDeck>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} WHERE deck.version = (SELECT max(version) FROM deck AS one WHERE one.rate_group = deck.rate_group)
         ORDER BY deck.rate_group"
    );
    let all: Vec<Found> = connection
        .prepare_cached(&sql)
        .and_then(|mut statement| statement.query_map([], found)?.collect())
        .map_err(StoreError::sql(path, "read table deck"))?;
    all.into_iter().map(|one| whole(connection, path, one)).collect()
}

/// One version of a group.
pub(crate) fn at(
    connection: &Connection,
    path: &Path,
    group: &str,
    version: u64,
) -> Result<Option<StoredDeck>, StoreError> {
    let sql = format!("SELECT {COLUMNS} WHERE deck.rate_group = ?1 AND deck.version = ?2");
    let one = connection
        .prepare_cached(&sql)
        .and_then(|mut statement| statement.query_row((group, version as i64), found).optional())
        .map_err(StoreError::sql(path, "read table deck"))?;
    one.map(|one| whole(connection, path, one)).transpose()
}

/// The versions of a group without their rows, newest first, and how many there are.
pub(crate) fn versions(
    connection: &Connection,
    path: &Path,
    group: &str,
    (limit, offset): (usize, u64),
) -> Result<(Vec<DeckVersion>, u64), StoreError> {
    let read = || -> rusqlite::Result<(Vec<DeckVersion>, i64)> {
        let total =
            connection.query_row("SELECT count(*) FROM deck WHERE rate_group = ?1", [group], |row| row.get(0))?;
        let mut statement = connection.prepare_cached(
            "SELECT deck.version, deck.at_ms, deck.user, deck_rows, site_version, ifnull(how, ''), ifnull(comment, ''),
                 ifnull(source, ''), ifnull(changes, ''), ifnull(deleted, 0)
             FROM deck LEFT JOIN deck_change USING (rate_group, version)
             LEFT JOIN site_change ON site_change.version = deck_change.site_version
             WHERE deck.rate_group = ?1 ORDER BY deck.version DESC LIMIT ?2 OFFSET ?3",
        )?;
        let page = (group, limit as i64, i64::try_from(offset).unwrap_or(i64::MAX));
        let rows = statement.query_map(page, |row| {
            Ok(DeckVersion {
                version: row.get::<_, i64>(0)? as u64,
                at_ms: row.get(1)?,
                user: row.get(2)?,
                rows: row.get::<_, Option<i64>>(3)?.map(|rows| rows as u64),
                site_version: row.get::<_, Option<i64>>(4)?.map(|version| version as u64),
                how: row.get(5)?,
                comment: row.get(6)?,
                source: row.get(7)?,
                changes: row.get::<_, String>(8)?.lines().map(str::to_owned).collect(),
                deleted: row.get(9)?,
            })
        })?;
        Ok((rows.collect::<rusqlite::Result<_>>()?, total))
    };
    let (rows, total) = read().map_err(StoreError::sql(path, "read table deck"))?;
    Ok((rows, total as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_text_again() {
        for text in [String::new(), "a".to_owned(), "\u{20ac}1,".repeat(300_000), "x".repeat(DECK_PART_BYTES)] {
            let parts: Vec<&str> = deck_parts(&text).collect();
            assert_eq!(parts.concat(), text);
            assert!(parts.iter().all(|part| !part.is_empty() && part.len() <= DECK_PART_BYTES));
            let mut crc = DeckCrc::default();
            parts.iter().for_each(|part| crc.add(part));
            assert_eq!(crc.sum(), deck_crc(&text));
        }
    }
}
