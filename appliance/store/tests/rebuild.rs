//! A database that cannot be trusted is written anew from the journal, and says the same as before.

mod support;

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use support::{Traffic, dump, open, write};
use tandem_store::{
    Checkpointer, DATABASE_FILE, Journal, JournalOptions, Queries, Rebuilt, Recovered, StoreError, StoreOptions,
    is_damage, mark_damaged, marked_damaged, recover, recover_or_rebuild,
};
use tempfile::{TempDir, tempdir};

const NOW_MS: i64 = 1_795_400_000_000;
/// Bytes of a page of a new database.
const PAGE: u64 = 8_192;

fn options() -> StoreOptions {
    StoreOptions::new("EUR")
}

/// A folder with a journal and the database written from it, closed in order; and what the database says.
fn filled() -> (TempDir, String) {
    filled_with(900)
}

fn filled_with(records: usize) -> (TempDir, String) {
    let dir = tempdir().unwrap();
    let mut journal = open(dir.path());
    write(&mut journal, &Traffic::new(11).take(records));
    drop(recover(&mut journal, &options(), NOW_MS).unwrap());
    Checkpointer::open(dir.path()).unwrap().run().unwrap();
    drop(journal);
    let before = dump(dir.path());
    (dir, before)
}

fn start(dir: &Path) -> Result<(Recovered, Option<Rebuilt>), StoreError> {
    recover_or_rebuild(&mut open(dir), &options(), NOW_MS)
}

/// Starts, which must find damage, and gives the report.
#[track_caller]
fn rebuilt(dir: &Path, before: &str) -> Rebuilt {
    let (recovered, rebuilt) = start(dir).unwrap();
    drop(recovered);
    assert_eq!(dump(dir), before);
    assert_eq!(Queries::open(dir).unwrap().verify().unwrap().problems, Vec::<String>::new());
    assert!(start(dir).unwrap().1.is_none(), "the new database is found damaged too");
    rebuilt.expect("the damage was not seen")
}

fn database(dir: &Path) -> (PathBuf, File) {
    let path = dir.join(DATABASE_FILE);
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    (path, file)
}

#[test]
fn a_good_database_is_left_alone() {
    let (dir, before) = filled();
    let files = || fs::read_dir(dir.path()).unwrap().count();
    let count = files();
    let (recovered, rebuilt) = start(dir.path()).unwrap();
    assert_eq!(rebuilt, None);
    drop(recovered);
    assert_eq!((dump(dir.path()), files()), (before, count));
}

#[test]
fn a_new_folder_is_no_damage() {
    let dir = tempdir().unwrap();
    assert_eq!(start(dir.path()).unwrap().1, None);
}

#[test]
fn a_database_that_is_gone_is_written_anew() {
    let (dir, before) = filled();
    fs::remove_file(dir.path().join(DATABASE_FILE)).unwrap();
    // A log without its database must not be taken for the new one's.
    fs::write(dir.path().join("tandem.db-wal"), b"left behind").unwrap();
    let report = rebuilt(dir.path(), &before);
    assert!(report.cause.contains("missing") && report.aside.is_none(), "{report:?}");
}

#[test]
fn a_database_that_is_cut_short_is_written_anew() {
    for (numerator, denominator) in [(0, 1), (1, 3), (1, 2), (99, 100)] {
        let (dir, before) = filled();
        let (path, file) = database(dir.path());
        let len = file.metadata().unwrap().len();
        file.set_len(len * numerator / denominator).unwrap();
        let report = rebuilt(dir.path(), &before);
        let aside = report.aside.clone().unwrap();
        assert_eq!(fs::metadata(&aside).unwrap().len(), len * numerator / denominator, "{report:?}");
        assert!(aside.starts_with(dir.path()) && aside != path);
        assert!(report.lines().iter().any(|line| line.contains(&aside.display().to_string())));
    }
}

#[test]
fn damage_of_any_page_is_seen() {
    let (dir, before) = filled_with(200);
    let pages = database(dir.path()).1.metadata().unwrap().len() / PAGE;
    assert!(pages > 20, "{pages}");
    for page in 0..pages {
        let (_, file) = database(dir.path());
        let mut head = [0; 16];
        // Page 0 begins with the header of the file.
        file.read_exact_at(&mut head, page * PAGE).unwrap();
        head.iter_mut().for_each(|byte| *byte ^= 0x5a);
        file.write_all_at(&head, page * PAGE).unwrap();
        drop(file);
        rebuilt(dir.path(), &before);
    }
}

#[test]
fn a_balance_that_is_not_the_sum_of_its_rows_is_not_believed() {
    let (dir, before) = filled();
    let connection = Connection::open(dir.path().join(DATABASE_FILE)).unwrap();
    connection.execute("UPDATE account SET balance = '1' || balance WHERE name = 'customer-1'", []).unwrap();
    drop(connection);
    let report = rebuilt(dir.path(), &before);
    assert!(report.cause.contains("customer-1"), "{report:?}");
}

#[test]
fn what_was_noticed_while_running_is_remembered_once() {
    let (dir, before) = filled();
    assert_eq!(marked_damaged(dir.path()), None);
    mark_damaged(dir.path(), "a page was wrong").unwrap();
    let report = rebuilt(dir.path(), &before);
    assert!(report.cause.contains("a page was wrong"), "{report:?}");
    assert_eq!(marked_damaged(dir.path()), None);
}

#[test]
fn a_question_that_meets_damage_leaves_a_note() {
    let (dir, before) = filled();
    let (_, file) = database(dir.path());
    let len = file.metadata().unwrap().len();
    file.write_all_at(&vec![0xff; (len - PAGE) as usize], PAGE).unwrap();
    let asked = Queries::open(dir.path()).and_then(|queries| queries.verify());
    assert!(matches!(asked, Err(StoreError::Damaged { .. })), "{asked:?}");
    assert!(marked_damaged(dir.path()).is_some());
    rebuilt(dir.path(), &before);
}

#[test]
fn a_rebuild_that_was_cut_short_is_finished_by_the_next_start() {
    let (dir, before) = filled();
    fs::remove_file(dir.path().join(DATABASE_FILE)).unwrap();
    // The new database stands half-way: whole, and behind the journal.
    let mut journal = open(dir.path());
    let mut projector = tandem_store::Projector::open(dir.path(), &options()).unwrap();
    let mut reader = tandem_store::Reader::from_start(dir.path()).unwrap();
    projector.run_once(&mut reader, 300).unwrap();
    drop(projector);
    let (recovered, rebuilt) = recover_or_rebuild(&mut journal, &options(), NOW_MS).unwrap();
    assert_eq!(rebuilt, None);
    drop(recovered);
    assert_eq!(dump(dir.path()), before);
}

#[test]
fn without_the_beginning_of_the_journal_nothing_is_touched() {
    let dir = tempdir().unwrap();
    let small = JournalOptions { segment_bytes: 4096, ..JournalOptions::default() };
    let mut journal = Journal::open(dir.path(), small.clone()).unwrap().0;
    let mut traffic = Traffic::new(12);
    for _ in 0..30 {
        write(&mut journal, &traffic.take(10));
    }
    drop(recover(&mut journal, &options(), NOW_MS).unwrap());
    assert!(journal.purge(u64::MAX, 1).unwrap().segments > 0);
    drop(journal);
    let (path, file) = database(dir.path());
    file.write_all_at(&[0xff; 64], 0).unwrap();
    let bytes = fs::read(&path).unwrap();
    let error = start(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::NoWayBack { first: 2.., .. }), "{error}");
    assert!(!is_damage(&error) && error.to_string().contains("backup"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn what_only_the_old_database_had_is_named() {
    let (dir, _) = filled();
    // The journal lost its end: it was restored from a backup, and the switch went on above the database.
    let segment = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.into_iter().find(|path| path.extension().is_some_and(|e| e == "tj")).unwrap();
    let len = fs::metadata(&segment).unwrap().len();
    OpenOptions::new().write(true).open(&segment).unwrap().set_len(len / 2).unwrap();
    let mut journal = open(dir.path());
    let last = journal.positions().written();
    drop(recover(&mut journal, &options(), NOW_MS).unwrap());
    drop(journal);
    mark_damaged(dir.path(), "test").unwrap();
    let (_, rebuilt) = start(dir.path()).unwrap();
    let rebuilt = rebuilt.unwrap();
    assert_eq!(rebuilt.lost, [(last + 1, 900)]);
    assert!(rebuilt.lines().iter().any(|line| line.contains(&format!("{} to 900", last + 1))), "{:?}", rebuilt.lines());
}

#[test]
fn another_currency_or_version_is_not_damage() {
    let (dir, before) = filled();
    let error = recover_or_rebuild(&mut open(dir.path()), &StoreOptions::new("USD"), NOW_MS).unwrap_err();
    assert!(matches!(error, StoreError::Currency { .. }), "{error}");
    let connection = Connection::open(dir.path().join(DATABASE_FILE)).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = start(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::TooNew { .. }), "{error}");
    assert_eq!(dump(dir.path()), before);
}
