//! Calls per second through journal and database, with group commit: `cargo run --release -p tandem-store --example
//! throughput -- [calls] [batch] [rounds] [folder]`.
//!
//! Each call is what the daemon writes of one: a start record at the answer and, some thousand calls later, a settled one
//! with a CDR that the rating code filled from a usage with one attempt and media on both sides, and two ledger rows. Calls
//! end in another order than they began.
//!
//! Prints CSV, a line per step and round: what the clock on the wall says, and the processor time of the thread that does the
//! step (for `durable`, of both threads), which a busy machine blurs less. Compare on one machine only.
//!
//! - `journal_settled`: append, flush and sync of a batch at a time, the settled records alone: from then on a CDR is durable.
//! - `journal`: the same with the start records.
//! - `read`: every record read back and decoded by serde.
//! - `project`: the database written from the journal, `batch` records a transaction.
//! - `durable`: both at once in two threads, from the first append until the last call is in the database: the row of
//!   bench/SPECIFICATION.md.
//! - `query_*`: milliseconds of one question (`seconds`), in the last round.

#[path = "common/traffic.rs"]
mod traffic;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tandem_rating::record::Record;
use tandem_store::{
    CdrFilter, Checkpointer, Journal, JournalOptions, LedgerFilter, NumberMatch, Projector, Queries, Reader,
    StoreOptions,
};

use traffic::{Fallible, Traffic};

fn main() -> Fallible<()> {
    let mut args = std::env::args().skip(1);
    let calls: u64 = args.next().map_or(Ok(200_000), |text| text.parse())?;
    let batch: usize = args.next().map_or(Ok(5000), |text| text.parse())?;
    let rounds: usize = args.next().map_or(Ok(3), |text| text.parse())?;
    let folder = args.next().map(PathBuf::from);
    let all = Traffic::default().records(calls)?;
    let records: Vec<&Record> = all.iter().collect();
    let settled: Vec<&Record> = all.iter().filter(|record| matches!(record, Record::Settled { .. })).collect();
    println!("step,round,calls,batch,seconds,cpu_seconds,calls_per_second,cpu_us_per_call,bytes_per_call");
    for round in 1..=rounds {
        let report = |step: &str, (seconds, cpu): (f64, f64), bytes: u64| {
            let (per_second, cpu_us) = (calls as f64 / seconds, cpu * 1e6 / calls as f64);
            let each = bytes / calls.max(1);
            println!("{step},{round},{calls},{batch},{seconds:.4},{cpu:.4},{per_second:.0},{cpu_us:.2},{each}");
        };
        let place = Place::new(folder.as_deref())?;
        report("journal_settled", write(&place.0, &settled, batch)?, place.bytes("tj"));
        drop(place);
        let place = Place::new(folder.as_deref())?;
        let took = write(&place.0, &records, batch)?;
        report("journal", took, place.bytes("tj"));
        report("read", read(&place.0)?, 0);
        report("project", project_all(&place.0, batch)?, place.bytes("db") + place.bytes("db-wal"));
        if round == rounds {
            questions(&place.0, &mut |name, seconds| report(name, (seconds, 0.0), 0))?;
            let verified = Queries::open(&place.0)?.verify()?;
            if verified.wrong > 0 || verified.cdrs != calls {
                return Err(format!("the audit found {} CDRs and {:?}", verified.cdrs, verified.problems).into());
            }
        }
        drop(place);
        let place = Place::new(folder.as_deref())?;
        report(
            "durable",
            durable(&place.0, &records, batch)?,
            place.bytes("tj") + place.bytes("db") + place.bytes("db-wal"),
        );
    }
    Ok(())
}

/// A folder that is gone in the end.
struct Place(PathBuf, #[allow(dead_code, reason = "removes the folder")] tempfile::TempDir);

impl Place {
    fn new(under: Option<&Path>) -> Fallible<Place> {
        let dir = match under {
            Some(under) => tempfile::tempdir_in(under)?,
            None => tempfile::tempdir()?,
        };
        Ok(Place(dir.path().to_owned(), dir))
    }

    /// Bytes of the files that end so.
    fn bytes(&self, extension: &str) -> u64 {
        let files = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        files
            .filter(|file| file.path().extension().is_some_and(|is| is == extension))
            .filter_map(|file| file.metadata().ok())
            .map(|meta| meta.len())
            .sum()
    }
}

/// The clock on the wall and the processor time of this thread.
struct Clock {
    wall: Instant,
    cpu_s: f64,
}

impl Clock {
    fn start() -> Clock {
        Clock { wall: Instant::now(), cpu_s: cpu_s() }
    }

    fn took(&self) -> (f64, f64) {
        (self.wall.elapsed().as_secs_f64(), cpu_s() - self.cpu_s)
    }
}

/// Seconds this thread ran; 0 where the kernel does not tell.
fn cpu_s() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

fn write(dir: &Path, records: &[&Record], batch: usize) -> Fallible<(f64, f64)> {
    let (mut journal, _) = Journal::open(dir, JournalOptions::default())?;
    append(&mut journal, records, batch)
}

fn append(journal: &mut Journal, records: &[&Record], batch: usize) -> Fallible<(f64, f64)> {
    let sync = journal.sync_handle();
    let clock = Clock::start();
    for chunk in records.chunks(batch) {
        for record in chunk {
            journal.append(record)?;
        }
        journal.flush()?;
        sync.sync()?;
    }
    Ok(clock.took())
}

fn read(dir: &Path) -> Fallible<(f64, f64)> {
    let mut reader = Reader::from_seq(dir, 1)?;
    let clock = Clock::start();
    while reader.next_record()?.is_some() {}
    Ok(clock.took())
}

fn project_all(dir: &Path, batch: usize) -> Fallible<(f64, f64)> {
    let mut projector = Projector::open(dir, &StoreOptions::new("EUR"))?;
    let mut reader = Reader::from_seq(dir, 1)?;
    let checkpoints = Checkpoints::start(dir)?;
    let clock = Clock::start();
    while projector.run_once(&mut reader, batch)?.records > 0 {}
    let took = clock.took();
    checkpoints.stop();
    Ok(took)
}

fn durable(dir: &Path, records: &[&Record], batch: usize) -> Fallible<(f64, f64)> {
    let (mut journal, _) = Journal::open(dir, JournalOptions::default())?;
    let mut projector = Projector::open(dir, &StoreOptions::new("EUR"))?;
    let mut reader = Reader::from_seq(dir, 1)?.bound_to(journal.positions());
    let checkpoints = Checkpoints::start(dir)?;
    let last_seq = records.len() as u64;
    let started = Instant::now();
    let store = thread::spawn(move || -> Fallible<f64> {
        let clock = Clock::start();
        while projector.applied_seq() < last_seq {
            if projector.run_once(&mut reader, batch)?.records == 0 {
                thread::park_timeout(Duration::from_millis(1));
            }
        }
        Ok(clock.took().1)
    });
    let written = append(&mut journal, records, batch)?;
    let projected = store.join().map_err(|_| "the store thread panicked")??;
    let seconds = started.elapsed().as_secs_f64();
    checkpoints.stop();
    Ok((seconds, written.1 + projected))
}

/// A thread that checkpoints, as the daemon's does.
struct Checkpoints {
    done: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Checkpoints {
    fn start(dir: &Path) -> Fallible<Checkpoints> {
        let checkpointer = Checkpointer::open(dir)?;
        let done = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let done = Arc::clone(&done);
            move || {
                while !done.load(Ordering::Relaxed) {
                    thread::park_timeout(Duration::from_secs(1));
                    if let Err(error) = checkpointer.run() {
                        eprintln!("{error}");
                    }
                }
            }
        });
        Ok(Checkpoints { done, thread })
    }

    fn stop(self) {
        self.done.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        let _ = self.thread.join();
    }
}

/// What operators ask, once each.
fn questions(dir: &Path, report: &mut dyn FnMut(&str, f64)) -> Fallible<()> {
    let queries = Queries::open(dir)?;
    let newest = queries.cdr_list(&CdrFilter { limit: Some(1), ..CdrFilter::default() })?;
    let Some(call) = newest.first() else { return Ok(()) };
    let all = CdrFilter::default;
    let filters = [
        ("query_newest", all()),
        ("query_caller", CdrFilter { caller: Some(NumberMatch::Exact(call.caller_in.to_string())), ..all() }),
        (
            "query_callee_prefix",
            CdrFilter { callee: Some(NumberMatch::Prefix(call.callee_in[..9].to_owned())), ..all() },
        ),
        ("query_account", CdrFilter { any_account: Some(call.account.to_string()), ..all() }),
        ("query_vendor_gateway", CdrFilter { callee_gateway: Some(call.callee_gateway.to_string()), ..all() }),
        ("query_nobody", CdrFilter { any_account: Some("nobody".into()), ..all() }),
        ("query_flow_no", CdrFilter { flow_no: Some(call.flow_no), ..all() }),
        ("query_minute", CdrFilter { from_ms: Some(call.end_ms - 61_000), to_ms: Some(call.end_ms - 1000), ..all() }),
    ];
    for (name, filter) in filters {
        let clock = Clock::start();
        let rows = queries.cdr_list(&filter)?.len() as u64;
        let total = queries.cdr_count(&filter)?;
        report(name, clock.took().0);
        if rows != total.min(100) {
            return Err(format!("{name}: {rows} rows of {total}").into());
        }
    }
    let clock = Clock::start();
    queries.ledger_list(&LedgerFilter { account: Some(call.account.to_string()), ..LedgerFilter::default() })?;
    report("query_ledger", clock.took().0);
    let clock = Clock::start();
    queries.cdr_totals(&CdrFilter { any_account: Some(call.account.to_string()), ..all() })?;
    report("query_totals", clock.took().0);
    Ok(())
}
