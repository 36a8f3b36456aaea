//! The process is killed, again and again, while it writes; and two of them want the same folder.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::{Traffic, open};
use tandem_rating::record::Record;
use tandem_store::{Checkpointer, Journal, JournalError, JournalOptions, Queries, Reader, StoreOptions, recover};
use tempfile::tempdir;

/// Folder for the child to write in; the test function below does nothing without it.
const CHILD_DIR: &str = "TANDEM_STORE_TEST_DIR";
const CHILD_SEED: &str = "TANDEM_STORE_TEST_SEED";

/// Times the child is killed.
const KILLS: u64 = 15;

/// Small, so that segments roll under fire too.
fn options() -> JournalOptions {
    JournalOptions { segment_bytes: 64 << 10, ..JournalOptions::default() }
}

/// This test binary again, running only [`child_writes_until_it_is_killed`].
fn child(dir: &Path, seed: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_writes_until_it_is_killed", "--nocapture"])
        .env(CHILD_DIR, dir)
        .env(CHILD_SEED, seed.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The switch in small: recover, then append, flush, acknowledge, and now and then sync, project and checkpoint.
#[test]
fn child_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let dir = Path::new(&dir);
    let seed = std::env::var(CHILD_SEED).unwrap().parse().unwrap();
    let (mut journal, _) = Journal::open(dir, options()).unwrap();
    let mut recovered = recover(&mut journal, &StoreOptions::new("EUR"), 0).unwrap();
    let mut traffic = Traffic::new(seed);
    traffic.next_flow = recovered.flow_floor.max(1_000);
    traffic.balances = recovered.balances.into_iter().collect();
    let sync = journal.sync_handle();
    let checkpointer = Checkpointer::open(dir).unwrap();
    let mut out = std::io::stdout().lock();
    for call in &recovered.open_calls {
        journal.append(&traffic.call(call.usage.flow_no)).unwrap();
    }
    let mut rng = StdRng::seed_from_u64(seed);
    loop {
        for _ in 0..rng.random_range(1..20) {
            // Keys of payments must not repeat those of the process before.
            let record = match traffic.next() {
                Record::Ledger(row) => {
                    Record::Ledger(tandem_rating::record::LedgerRow { key: format!("{}/{seed}", row.key), ..row })
                }
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
            writeln!(out, "applied {}", recovered.projector.applied_seq()).unwrap();
        }
        if rng.random_range(0..20) == 0 {
            checkpointer.run().unwrap();
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_booked_twice() {
    let dir = tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(20_261_122);
    let (mut acknowledged, mut applied) = (0, 0);
    for kill in 0..KILLS {
        let mut child = child(dir.path(), kill + 1);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The child runs on while this reads: where it is when it is killed is left to chance.
        let mut patience = rng.random_range(1..60);
        let mut read = |line: &str| {
            for (word, value) in [("ack ", &mut acknowledged), ("applied ", &mut applied)] {
                if let Some(number) = line.strip_prefix(word) {
                    *value = number.parse::<u64>().unwrap();
                }
            }
        };
        while patience > 0 {
            let line = lines.next().expect("the child died by itself").unwrap();
            if line.starts_with("ack ") {
                patience -= 1;
            }
            read(&line);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What it still said is as good.
        for line in lines.map_while(Result::ok) {
            if line.ends_with(|last: char| last.is_ascii_digit()) && line.split(' ').count() == 2 {
                read(&line);
            }
        }
        let (mut journal, report) = Journal::open(dir.path(), options()).unwrap();
        assert!(report.last_seq >= acknowledged, "kill {kill}: {acknowledged} was acknowledged, {report:?}");
        let recovered = recover(&mut journal, &StoreOptions::new("EUR"), 0).unwrap();
        assert!(recovered.projector.applied_seq() >= applied);
        drop(recovered);
        audit(dir.path(), kill);
    }
    assert!(acknowledged > 100, "the child hardly wrote anything");
}

/// Compares the database with the journal, counted here anew.
fn audit(dir: &Path, kill: u64) {
    let mut balances = BTreeMap::new();
    let mut calls = BTreeMap::<u64, u64>::new();
    let mut reader = Reader::from_seq(dir, 1).unwrap();
    while let Some((_, record)) = reader.next_record().unwrap() {
        let rows = match record {
            Record::Settled { flow_no, cdr, ledger } => {
                *calls.entry(flow_no).or_default() += 1;
                assert!(cdr.is_none_or(|cdr| cdr.flow_no == flow_no));
                ledger
            }
            Record::Ledger(row) => vec![row],
            _ => Vec::new(),
        };
        for row in rows {
            let balance = balances.entry(row.account.clone()).or_insert(support::money("0"));
            *balance = balance.checked_add(row.amount).unwrap();
            assert_eq!(*balance, row.balance_after, "kill {kill}: row {}", row.key);
        }
    }
    assert!(calls.values().all(|times| *times == 1), "kill {kill}: a call was settled twice");
    let queries = Queries::open(dir).unwrap();
    let verified = queries.verify().unwrap();
    assert_eq!(verified.problems, Vec::<String>::new(), "kill {kill}");
    let stored: BTreeMap<_, _> = queries.accounts().unwrap().into_iter().map(|one| (one.name, one.balance)).collect();
    assert_eq!(stored, balances, "kill {kill}");
}

#[test]
fn two_processes_do_not_share_a_folder() {
    let dir = tempdir().unwrap();
    let mut child = child(dir.path(), 99);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    while !lines.next().expect("the child died by itself").unwrap().starts_with("ack ") {}
    let error = Journal::open(dir.path(), JournalOptions::default()).unwrap_err();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(matches!(error, JournalError::Locked { .. }), "{error}");
    open(dir.path());
}
