//! Rate groups in parts: from journal to questions, cut short at every record, and beside journals of before.

mod support;

use std::fs;
use std::path::Path;

use serde::Serialize;
use support::{open, param, write};
use tandem_rating::record::{Audit, Change, DeckText, Record};
use tandem_store::{
    DATABASE_FILE, DECK_PART_BYTES, JournalOptions, Queries, Recovered, StoreOptions, deck_crc, deck_parts, recover,
    recover_or_rebuild,
};
use tempfile::tempdir;

/// A text of three parts, with characters that a cut could fall into.
fn text(version: u64) -> String {
    let line = format!("{version},\u{d6}sterreich Mobil,0.0985\n");
    line.repeat(2 * DECK_PART_BYTES / line.len() + 100)
}

/// The parts of a version and the change that names them.
fn import(version: u64, text: &str) -> Vec<Record> {
    let import = 1_000 + version;
    let mut records: Vec<Record> = (0..)
        .zip(deck_parts(text))
        .map(|(part, text)| Record::DeckPart { group: "gold".into(), import, part, text: text.into() })
        .collect();
    let deck = DeckText {
        group: "gold".into(),
        version,
        import,
        parts: records.len() as u32,
        crc: deck_crc(text),
        rows: 7,
        source: "sheet.csv".into(),
        ..DeckText::default()
    };
    records.push(Record::Change(Box::new(change(version, deck))));
    records
}

fn change(version: u64, deck: DeckText) -> Change {
    let audit = Audit { at_ms: 5, comment: "why".into(), changes: vec!["~ rates".into()], ..Audit::default() };
    Change { version, how: "import".into(), audit, decks: vec![deck], ..Change::default() }
}

fn recovered(dir: &Path) -> Recovered {
    recover(&mut open(dir), &StoreOptions::new("EUR"), 0).unwrap()
}

fn parts_kept(dir: &Path) -> i64 {
    let connection = rusqlite::Connection::open(dir.join(DATABASE_FILE)).unwrap();
    connection.query_row("SELECT count(*) FROM deck_part", [], |row| row.get(0)).unwrap()
}

#[test]
fn parts_are_one_deck_once_the_change_names_them() {
    let dir = tempdir().unwrap();
    let (first, second) = (text(1), text(2));
    // Records of others stand between the parts.
    let mut records = Vec::new();
    for record in import(1, &first).into_iter().chain(import(2, &second)) {
        records.extend([record, param("1")]);
    }
    write(&mut open(dir.path()), &records);
    let found = recovered(dir.path());
    assert_eq!((found.decks.len(), found.decks[0].version), (1, 2));
    assert!(found.decks[0].csv == second);
    drop(found);
    let queries = Queries::open(dir.path()).unwrap();
    assert!(queries.deck_at("gold", 1).unwrap().unwrap().csv == first);
    assert_eq!(queries.deck_at("gold", 3).unwrap(), None);
    let (versions, total) = queries.deck_versions("gold", 1, 0).unwrap();
    assert_eq!((versions.len(), total, versions[0].version, versions[0].rows), (1, 2, 2, Some(7)));
    let newest = &versions[0];
    assert_eq!((newest.how.as_str(), newest.comment.as_str(), newest.source.as_str()), ("import", "why", "sheet.csv"));
    assert_eq!(queries.deck_versions("gold", 5, 1).unwrap().0[0].version, 1);
    drop(queries);

    // The journal alone has all of it.
    fs::remove_file(dir.path().join(DATABASE_FILE)).unwrap();
    let mut journal = open(dir.path());
    let (found, rebuilt) = recover_or_rebuild(&mut journal, &StoreOptions::new("EUR"), 0).unwrap();
    assert!(rebuilt.is_some() && found.decks[0].csv == second);
}

#[test]
fn an_import_that_is_cut_short_never_happened() {
    let (first, second) = (text(1), text(2));
    let records = import(2, &second);
    for cut in 0..records.len() {
        let dir = tempdir().unwrap();
        write(&mut open(dir.path()), &import(1, &first));
        write(&mut open(dir.path()), &records[..cut]);
        let found = recovered(dir.path());
        assert_eq!(found.decks[0].version, 1, "cut at {cut}");
        assert!(found.decks[0].csv == first);
        drop(found);
        assert_eq!(parts_kept(dir.path()), 3, "what came of the other is gone");
        // The next try has another number and is whole.
        let again: Vec<Record> = import(3, &second);
        write(&mut open(dir.path()), &again);
        let found = recovered(dir.path());
        assert!((found.decks[0].version, &found.decks[0].csv) == (3, &second));
    }
}

#[test]
fn a_deck_with_a_part_missing_is_refused_and_not_half_there() {
    let dir = tempdir().unwrap();
    let mut records = import(1, &text(1));
    records.remove(1);
    write(&mut open(dir.path()), &records);
    let error = recover(&mut open(dir.path()), &StoreOptions::new("EUR"), 0).unwrap_err().to_string();
    assert!(error.contains("2 of 3 parts of rate group gold"), "{error}");
}

#[test]
fn a_deleted_group_keeps_its_versions() {
    let dir = tempdir().unwrap();
    write(&mut open(dir.path()), &import(1, &text(1)));
    let gone = DeckText { group: "gold".into(), version: 2, deleted: true, ..DeckText::default() };
    write(&mut open(dir.path()), &[Record::Change(Box::new(change(2, gone)))]);
    let found = recovered(dir.path());
    assert_eq!((found.decks[0].version, found.decks[0].deleted, found.decks[0].csv.as_str()), (2, true, ""));
    drop(found);
    let queries = Queries::open(dir.path()).unwrap();
    assert!(queries.deck_versions("gold", 9, 0).unwrap().0[0].deleted);
    assert!(queries.deck_at("gold", 1).unwrap().is_some_and(|deck| deck.csv == text(1)));
}

/// What a journal of before has: a change whose decks end with their rows.
#[test]
fn decks_of_older_journals_are_read() {
    #[derive(Serialize)]
    struct OldDeck<'a>(&'a str, u64, &'a str);
    let deck: DeckText = rmp_serde::from_slice(&rmp_serde::to_vec(&OldDeck("gold", 4, "rows")).unwrap()).unwrap();
    assert_eq!(deck, DeckText { group: "gold".into(), version: 4, csv: "rows".into(), ..DeckText::default() });
    // A database of before has no table of parts.
    let dir = tempdir().unwrap();
    write(&mut open(dir.path()), &[Record::Change(Box::new(change(1, deck)))]);
    drop(recovered(dir.path()));
    let connection = rusqlite::Connection::open(dir.path().join(DATABASE_FILE)).unwrap();
    connection.execute_batch("DROP TABLE deck_part; DROP TABLE deck_change;").unwrap();
    drop(connection);
    let (mut journal, _) = tandem_store::Journal::open(dir.path(), JournalOptions::default()).unwrap();
    let (found, rebuilt) = recover_or_rebuild(&mut journal, &StoreOptions::new("EUR"), 0).unwrap();
    assert_eq!((found.decks[0].csv.as_str(), rebuilt), ("rows", None));
    drop(found);
    let versions = Queries::open(dir.path()).unwrap().deck_versions("gold", 9, 0).unwrap().0;
    assert_eq!((versions[0].version, versions[0].rows), (4, None));
}
