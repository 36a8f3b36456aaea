//! A journal that was purged and the base of its database are everything: whatever is damaged or killed when, nothing that was
//! acknowledged is lost. A second folder keeps links to every segment there ever was, to compare with.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::{Traffic, dump};
use tandem_rating::record::{LedgerRow, Record};
use tandem_store::{
    BASE_FILE, Checkpointer, DATABASE_FILE, Journal, JournalOptions, Positions, Queries, Rebuilt, Recovered,
    StoreError, StoreOptions, base, is_base_due, journal_bytes, make_base, purge, recover, recover_or_rebuild,
};
use tempfile::{TempDir, tempdir};

const CHILD_DIR: &str = "TANDEM_BASE_TEST_DIR";
const CHILD_ARCHIVE: &str = "TANDEM_BASE_TEST_ARCHIVE";
const CHILD_SEED: &str = "TANDEM_BASE_TEST_SEED";
const KILLS: u64 = 5;
const SEGMENT: u64 = 16 << 10;
/// Half of what a purge leaves.
const KEEP: u64 = 4 * SEGMENT;

fn options() -> StoreOptions {
    StoreOptions::new("EUR")
}

fn journal(dir: &Path) -> Journal {
    Journal::open(dir, JournalOptions { segment_bytes: SEGMENT, ..JournalOptions::default() }).unwrap().0
}

fn start(dir: &Path) -> Result<(Recovered, Option<Rebuilt>), StoreError> {
    recover_or_rebuild(&mut journal(dir), &options(), 0)
}

/// Writes records, syncing and rolling on the way.
fn write(dir: &Path, records: &[Record]) -> Arc<Positions> {
    let mut journal = journal(dir);
    for some in records.chunks(10) {
        support::write(&mut journal, some);
    }
    journal.sync_handle().sync().unwrap();
    drop(recover(&mut journal, &options(), 0).unwrap());
    Checkpointer::open(dir).unwrap().run().unwrap();
    journal.positions()
}

fn segments(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".tj")).collect();
    names.sort();
    names
}

/// Keeps what a purge might take.
fn archive(dir: &Path, archive: &Path) {
    for name in segments(dir) {
        match fs::hard_link(dir.join(&name), archive.join(&name)) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => panic!("{error}"),
            _ => {}
        }
    }
}

/// A database with a base, its journal purged behind it, and more records behind that; what it says, and the rest of the traffic.
fn purged() -> (TempDir, String, Traffic) {
    let dir = tempdir().unwrap();
    let mut traffic = Traffic::new(5);
    let positions = write(dir.path(), &traffic.take(600));
    let made = make_base(dir.path()).unwrap();
    assert_eq!(base(dir.path()).unwrap(), Some(made));
    assert_eq!(made.applied_seq, 600);
    let before = segments(dir.path()).len();
    let gone = purge(dir.path(), &positions, u64::MAX, 0).unwrap();
    assert_eq!((gone.segments, segments(dir.path()).len()), (before - 2, 2));
    drop(positions);
    write(dir.path(), &traffic.take(300));
    let says = dump(dir.path());
    (dir, says, traffic)
}

#[test]
fn a_database_is_written_anew_from_its_base_and_the_rest_of_the_journal() {
    for damage in ["gone", "cut", "noise"] {
        let (dir, says, _) = purged();
        let path = dir.path().join(DATABASE_FILE);
        match damage {
            "gone" => fs::remove_file(&path).unwrap(),
            "cut" => fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(10_000).unwrap(),
            _ => fs::write(&path, [7; 9_000]).unwrap(),
        }
        let (recovered, rebuilt) = start(dir.path()).unwrap();
        drop(recovered);
        let rebuilt = rebuilt.unwrap();
        assert_eq!(rebuilt.from_base, Some(600), "{damage}");
        assert_eq!(rebuilt.lost, [], "{damage}");
        assert!(rebuilt.lines().iter().any(|line| line.contains("from its base")), "{:?}", rebuilt.lines());
        assert_eq!(dump(dir.path()), says, "{damage}");
        assert_eq!(Queries::open(dir.path()).unwrap().verify().unwrap().problems, Vec::<String>::new());
        assert!(start(dir.path()).unwrap().1.is_none(), "{damage}: the new database is found damaged too");
    }
}

#[test]
fn a_database_that_fell_behind_its_base_begins_from_it() {
    let dir = tempdir().unwrap();
    let mut traffic = Traffic::new(6);
    write(dir.path(), &traffic.take(100));
    let early = fs::read(dir.path().join(DATABASE_FILE)).unwrap();
    let positions = write(dir.path(), &traffic.take(600));
    let says = dump(dir.path());
    make_base(dir.path()).unwrap();
    assert!(purge(dir.path(), &positions, u64::MAX, 0).unwrap().segments > 0);
    // As after a power cut that took every transaction since.
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(dir.path().join(format!("{DATABASE_FILE}{suffix}")));
    }
    fs::write(dir.path().join(DATABASE_FILE), early).unwrap();
    let (recovered, rebuilt) = start(dir.path()).unwrap();
    drop(recovered);
    assert_eq!(rebuilt.unwrap().from_base, Some(700));
    assert_eq!(dump(dir.path()), says);
}

#[test]
fn a_segment_stays_that_somebody_needs() {
    let dir = tempdir().unwrap();
    let mut traffic = Traffic::new(7);
    let positions = write(dir.path(), &traffic.take(400));
    let all = segments(dir.path());
    assert!(all.len() > 6, "{all:?}");
    // Without a base nothing goes.
    assert_eq!(purge(dir.path(), &positions, u64::MAX, 0).unwrap().segments, 0);
    assert!(is_base_due(dir.path(), &positions, u64::MAX, 0).unwrap());
    assert!(
        !is_base_due(dir.path(), &positions, u64::MAX, journal_bytes(dir.path()).unwrap()).unwrap(),
        "there is room"
    );
    assert!(!is_base_due(dir.path(), &positions, 1, 0).unwrap(), "nothing could go");
    make_base(dir.path()).unwrap();
    assert!(!is_base_due(dir.path(), &positions, u64::MAX, 0).unwrap(), "it was just made");
    // What has not left stays, from its segment on.
    let first_of = |name: &str| name["journal-".len()..][..20].parse::<u64>().unwrap();
    let third = first_of(&all[2]);
    assert_eq!(purge(dir.path(), &positions, third - 2, 0).unwrap().segments, 1);
    assert_eq!(segments(dir.path()), all[1..]);
    assert_eq!(purge(dir.path(), &positions, third - 1, 0).unwrap().segments, 1);
    assert_eq!(segments(dir.path()), all[2..]);
    // No more goes than the size asks for.
    let bytes = journal_bytes(dir.path()).unwrap();
    assert_eq!(purge(dir.path(), &positions, u64::MAX, bytes).unwrap().segments, 0);
    assert_eq!(purge(dir.path(), &positions, u64::MAX, bytes - 1).unwrap().segments, 1);
    assert_eq!(segments(dir.path()), all[3..]);
    // Records behind the base stay, however many they are.
    let positions = write(dir.path(), &traffic.take(400));
    purge(dir.path(), &positions, u64::MAX, 0).unwrap();
    assert!(first_of(&segments(dir.path())[0]) <= 401 && segments(dir.path()).len() > 4, "{:?}", segments(dir.path()));
}

#[test]
fn a_base_that_cannot_be_made_leaves_the_one_before() {
    let (dir, ..) = purged();
    let good = fs::read(dir.path().join(BASE_FILE)).unwrap();
    let path = dir.path().join(DATABASE_FILE);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    make_base(dir.path()).unwrap_err();
    assert_eq!(fs::read(dir.path().join(BASE_FILE)).unwrap(), good);
    assert_eq!(
        fs::read_dir(dir.path())
            .unwrap()
            .filter(|file| { file.as_ref().unwrap().file_name().to_string_lossy().contains("unfinished") })
            .count(),
        0
    );
}

#[test]
fn without_base_a_journal_that_was_cut_stops_the_start() {
    let (dir, ..) = purged();
    fs::remove_file(dir.path().join(BASE_FILE)).unwrap();
    fs::remove_file(dir.path().join(DATABASE_FILE)).unwrap();
    let error = start(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::NoWayBack { .. }), "{error}");
}

/// The switch in small: recovers, writes, and now and then makes a base and purges.
#[test]
fn child_purges_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let dir = Path::new(&dir);
    let kept = std::env::var_os(CHILD_ARCHIVE).unwrap();
    let seed: u64 = std::env::var(CHILD_SEED).unwrap().parse().unwrap();
    let mut journal = journal(dir);
    let (mut recovered, rebuilt) = recover_or_rebuild(&mut journal, &options(), 0).unwrap();
    let mut out = std::io::stdout().lock();
    if let Some(rebuilt) = rebuilt {
        writeln!(out, "rebuilt {}", rebuilt.from_base.unwrap_or(0)).unwrap();
    }
    let mut traffic = Traffic::new(seed);
    traffic.next_flow = recovered.flow_floor.max(1_000);
    traffic.balances = recovered.balances.into_iter().collect();
    let (sync, positions) = (journal.sync_handle(), journal.positions());
    let checkpointer = Checkpointer::open(dir).unwrap();
    let mut rng = StdRng::seed_from_u64(seed);
    loop {
        for _ in 0..rng.random_range(1..20) {
            let record = match traffic.next() {
                Record::Ledger(row) => Record::Ledger(LedgerRow { key: format!("{}/{seed}", row.key), ..row }),
                Record::Site { .. } | Record::Deck { .. } => support::param("1"),
                other => other,
            };
            journal.append(&record).unwrap();
        }
        let written = journal.flush().unwrap();
        writeln!(out, "ack {written}").unwrap();
        out.flush().unwrap();
        if rng.random_range(0..3) == 0 {
            sync.sync().unwrap();
            recovered.projector.run_once(&mut recovered.reader, 200).unwrap();
            positions.advance_applied(recovered.projector.applied_seq());
        }
        if rng.random_range(0..20) == 0 {
            checkpointer.run().unwrap();
        }
        if rng.random_range(0..8) == 0 && is_base_due(dir, &positions, u64::MAX, KEEP).unwrap() {
            make_base(dir).unwrap();
            writeln!(out, "base").unwrap();
        }
        archive(dir, Path::new(&kept));
        if purge(dir, &positions, u64::MAX, KEEP).unwrap().segments > 0 {
            writeln!(out, "purged").unwrap();
        }
    }
}

fn child(dir: &Path, archive: &Path, seed: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_purges_until_it_is_killed", "--nocapture"])
        .env(CHILD_DIR, dir)
        .env(CHILD_ARCHIVE, archive)
        .env(CHILD_SEED, seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn killed_at_any_moment_and_damaged_in_between_nothing_acknowledged_is_lost() {
    // On one file system, for the links.
    let root = tempdir().unwrap();
    let (dir, kept) = (root.path().join("data"), root.path().join("archive"));
    fs::create_dir(&dir).unwrap();
    fs::create_dir(&kept).unwrap();
    let mut rng = StdRng::seed_from_u64(20_261_122);
    let (mut acknowledged, mut bases, mut purges, mut from_base) = (0, 0, 0, 0);
    for kill in 0..KILLS {
        let mut child = child(&dir, &kept, kill + 1);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut patience = rng.random_range(40..90);
        let mut read = |line: &str| match line.split_once(' ') {
            Some(("ack", seq)) => acknowledged = seq.parse::<u64>().unwrap_or(acknowledged).max(acknowledged),
            Some(("rebuilt", seq)) => from_base += u64::from(seq != "0"),
            _ if line == "base" => bases += 1,
            _ if line == "purged" => purges += 1,
            _ => {}
        };
        while patience > 0 {
            let line = lines.next().expect("the child died by itself").unwrap();
            patience -= u32::from(line.starts_with("ack "));
            read(&line);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        // The last line may be half a number.
        rest.iter().rev().skip(1).for_each(|line| read(line));
        archive(&dir, &kept);
        if kill % 3 == 1 {
            for suffix in ["", "-wal", "-shm"] {
                let _ = fs::remove_file(dir.join(format!("{DATABASE_FILE}{suffix}")));
            }
        }
        let (mut journal, report) = Journal::open(&dir, JournalOptions::default()).unwrap();
        assert!(report.last_seq >= acknowledged, "kill {kill}: {acknowledged} was acknowledged, {report:?}");
        let (recovered, rebuilt) = recover_or_rebuild(&mut journal, &options(), 0).unwrap();
        from_base += u64::from(rebuilt.is_some_and(|rebuilt| rebuilt.from_base.is_some()));
        assert_eq!(recovered.projector.applied_seq(), report.last_seq, "kill {kill}");
        drop((recovered, journal));
        assert_eq!(Queries::open(&dir).unwrap().verify().unwrap().problems, Vec::<String>::new(), "kill {kill}");
        // The same as from the whole journal, of which nothing ever went.
        let whole = tempdir().unwrap();
        for name in segments(&kept) {
            fs::copy(kept.join(&name), whole.path().join(&name)).unwrap();
        }
        drop(start(whole.path()).unwrap());
        assert_eq!(dump(&dir), dump(whole.path()), "kill {kill}");
    }
    assert!(acknowledged > 500 && bases > 1 && purges > 1, "{acknowledged} records, {bases} bases, {purges} purges");
    assert!(from_base > 0, "no start began from the base");
}
