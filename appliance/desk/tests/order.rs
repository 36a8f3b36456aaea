//! What leaves the desk, and when, as the disk allows.

#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tandem_call::question::{Admit, Answer, CallKey, Question};
use tandem_desk::Desk;
use tandem_leg::{Now, Time};
use tandem_rater::Rater;
use tandem_rating::fee::BillingParams;
use tandem_rating::usage::Usage;
use tandem_store::{Disk, Journal, JournalOptions, Positions};

/// A file on a disk that is full while the switch is set.
#[derive(Debug)]
struct Full(File, Arc<AtomicBool>);

impl Disk for Full {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if self.1.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        FileExt::write_at(&self.0, bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

struct Bench {
    desk: Desk,
    full: Arc<AtomicBool>,
    positions: Arc<Positions>,
    _dir: tempfile::TempDir,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let switch = full.clone();
    let disk: tandem_store::MakeDisk = Arc::new(move |file| Arc::new(Full(file, switch.clone())) as Arc<dyn Disk>);
    let (journal, _) = Journal::open(dir.path(), JournalOptions { disk, ..JournalOptions::default() }).unwrap();
    let positions = journal.positions();
    Bench { desk: Desk::new(Rater::new([]), journal), full, positions, _dir: dir }
}

fn now() -> Now {
    Now { mono: Time::ZERO, wall_ms: 1_795_305_600_000 }
}

fn key(index: u32) -> CallKey {
    CallKey { shard: 0, index, generation: 0 }
}

fn answered(index: u32) -> Question {
    let usage = Usage { flow_no: u64::from(index), ..Usage::default() };
    Question::Answered { call: key(index), usage: Box::new(usage), carry: Vec::new() }
}

fn refused(index: u32) -> Question {
    Question::Admit(Box::new(Admit {
        call: key(index),
        flow_no: u64::from(index),
        mapping: tandem_call::snapshot::GatewayId(99),
        payers: Vec::new(),
        params: Arc::new(BillingParams::default()),
        advance_min: 0,
        candidates: Vec::new(),
    }))
}

fn kinds(desk: &mut Desk) -> Vec<&'static str> {
    std::iter::from_fn(|| desk.poll_answer())
        .map(|(_, answer)| match answer {
            Answer::Journaled { .. } => "journaled",
            Answer::Settled { .. } => "settled",
            Answer::Refused { .. } | Answer::Granted { .. } => "admitted or refused",
            Answer::Line { .. } | Answer::Renewed { .. } => "other",
        })
        .collect()
}

#[test]
fn an_answer_waits_for_its_record_to_be_written() {
    let mut bench = bench();
    bench.desk.handle(now(), answered(1));
    assert_eq!(kinds(&mut bench.desk), Vec::<&str>::new(), "told before it was written");
    assert_eq!(bench.positions.written(), 0);
    assert!(bench.desk.write().unwrap());
    assert_eq!(bench.positions.written(), 1);
    assert_eq!(kinds(&mut bench.desk), ["journaled"]);
    assert!(!bench.desk.write().unwrap(), "nothing is left to write");
}

#[test]
fn on_a_full_disk_only_answers_without_a_record_leave() {
    let mut bench = bench();
    bench.full.store(true, Ordering::Relaxed);
    bench.desk.handle(now(), answered(1));
    bench.desk.handle(now(), refused(2));
    assert!(bench.desk.write().is_err());
    assert_eq!(kinds(&mut bench.desk), ["admitted or refused"]);
    assert!(bench.desk.write().is_err());
    assert_eq!(kinds(&mut bench.desk), Vec::<&str>::new());
    bench.full.store(false, Ordering::Relaxed);
    assert!(bench.desk.write().unwrap());
    assert_eq!(kinds(&mut bench.desk), ["journaled"], "what waited leaves when its record is there");
    assert_eq!(bench.positions.written(), 1);
}
