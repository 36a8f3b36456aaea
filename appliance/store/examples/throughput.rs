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
//! - `journal`: append, flush and sync of a batch at a time.
//! - `read`: every record read back and decoded by serde.
//! - `project`: the database written from the journal, `batch` records a transaction.
//! - `durable`: both at once in two threads, from the first append until the last call is in the database: the row of
//!   bench/SPECIFICATION.md.
//! - `query_*`: milliseconds of one question (`seconds`), in the last round.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tandem_rating::cdr::settle;
use tandem_rating::fee::{Charge, RateTerms};
use tandem_rating::money::Money;
use tandem_rating::record::{LedgerKind, LedgerRow, Record};
use tandem_rating::usage::{Attempt, LegTerms, MediaUsage, Usage};
use tandem_store::{
    CdrFilter, Checkpointer, Journal, JournalOptions, LedgerFilter, NumberMatch, Projector, Queries, Reader,
    StoreOptions,
};

type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Calls that are in progress at once: how far the order of the ends is from that of the beginnings.
const OPEN: u64 = 3000;
const CUSTOMERS: u64 = 200;
const VENDORS: u64 = 50;

fn main() -> Fallible<()> {
    let mut args = std::env::args().skip(1);
    let calls: u64 = args.next().map_or(Ok(200_000), |text| text.parse())?;
    let batch: usize = args.next().map_or(Ok(5000), |text| text.parse())?;
    let rounds: usize = args.next().map_or(Ok(3), |text| text.parse())?;
    let folder = args.next().map(PathBuf::from);
    let records = Traffic::default().records(calls)?;
    println!("step,round,calls,batch,seconds,cpu_seconds,calls_per_second,cpu_us_per_call,bytes_per_call");
    for round in 1..=rounds {
        let report = |step: &str, (seconds, cpu): (f64, f64), bytes: u64| {
            let (per_second, cpu_us) = (calls as f64 / seconds, cpu * 1e6 / calls as f64);
            let each = bytes / calls.max(1);
            println!("{step},{round},{calls},{batch},{seconds:.4},{cpu:.4},{per_second:.0},{cpu_us:.2},{each}");
        };
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

fn write(dir: &Path, records: &[Record], batch: usize) -> Fallible<(f64, f64)> {
    let (mut journal, _) = Journal::open(dir, JournalOptions::default())?;
    append(&mut journal, records, batch)
}

fn append(journal: &mut Journal, records: &[Record], batch: usize) -> Fallible<(f64, f64)> {
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

fn durable(dir: &Path, records: &[Record], batch: usize) -> Fallible<(f64, f64)> {
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

/// Makes the calls.
#[derive(Default)]
struct Traffic {
    state: u64,
    balances: std::collections::HashMap<String, Money>,
}

impl Traffic {
    /// The same numbers every time, in no order (splitmix64).
    fn random(&mut self, below: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }

    /// `calls` calls: start records and settled records in the order of their times.
    fn records(&mut self, calls: u64) -> Fallible<Vec<Record>> {
        let mut records: Vec<(u64, bool, Usage)> = Vec::with_capacity(calls as usize * 2);
        for call in 0..calls {
            let usage = self.usage(call + 1);
            records.push((call, false, usage.clone()));
            records.push((call + 1 + self.random(OPEN), true, usage));
        }
        records.sort_by_key(|(at, ended, usage)| (*at, *ended, usage.flow_no));
        records
            .into_iter()
            .map(|(_, ended, usage)| if ended { self.settled(usage) } else { Ok(start(usage)) })
            .collect()
    }

    fn usage(&mut self, flow_no: u64) -> Usage {
        let (customer, vendor) = (self.random(CUSTOMERS), self.random(VENDORS));
        let (caller, callee) = (self.random(1_000_000_000), self.random(10_000_000_000));
        let hold_ms = 1000 + self.random(600_000) as i64;
        let setup_ms = 1_795_305_600_000 + flow_no as i64;
        let connect_ms = setup_ms + 3000;
        let media = MediaUsage {
            packets: hold_ms as u64 / 20,
            bytes: hold_ms as u64 * 8,
            rtcp_packets: hold_ms as u64 / 5000,
            duration_us: hold_ms as u64 * 1000,
            lost: self.random(10),
            jitter_us: self.random(3000) as u32,
            jitter_max_us: self.random(30_000) as u32,
            relayed: hold_ms as u64 / 20,
            mos_x100: 400 + self.random(40) as u16,
            first_ms: Some(connect_ms),
            last_ms: Some(connect_ms + hold_ms),
            ..MediaUsage::default()
        };
        let leg = |account: String, name: String, prefix: &str, rate: i64| LegTerms {
            account: account.into(),
            account_name: name.into(),
            terms: Some(RateTerms {
                rate_id: 1 + callee % 10_000,
                prefix: prefix.into(),
                rate_per_min: rust_decimal::Decimal::new(rate, 4),
                first_s: 1,
                next_s: 1,
                sections: Vec::new(),
                conn_fee: rust_decimal::Decimal::ZERO,
                tax_pct: rust_decimal::Decimal::ZERO,
                level: 5,
            }),
            rate_group: "wholesale".into(),
            number: format!("44{callee:010}").into(),
            ..LegTerms::default()
        };
        Usage {
            flow_no,
            flow_no_first: flow_no,
            softswitch: "ss1".into(),
            softswitch_call_id: flow_no as i64,
            caller_call_id: format!("{caller:016x}{callee:016x}@192.0.2.10").into(),
            callee_call_id: format!("{callee:016x}{caller:016x}@198.51.100.1").into(),
            caller_in: format!("+8613{caller:09}").into(),
            caller_billed: format!("8613{caller:09}").into(),
            caller_out: format!("8613{caller:09}").into(),
            callee_in: format!("0044{callee:010}").into(),
            callee_billed: format!("44{callee:010}").into(),
            callee_out: format!("44{callee:010}").into(),
            caller_gateway: format!("mapping-{customer}").into(),
            callee_gateway: format!("routing-{vendor}").into(),
            caller_type: 1,
            callee_type: 1,
            caller_ip: "192.0.2.10:5060".into(),
            callee_ip: "198.51.100.7:5060".into(),
            caller_rtp_ip: "192.0.2.10:40000".into(),
            callee_rtp_ip: "198.51.100.7:30000".into(),
            caller_product: "Carrier SBC 9.1".into(),
            callee_product: "Vendor GW 4.2".into(),
            caller_codec: "PCMA".into(),
            callee_codec: "PCMA".into(),
            rtp_forward: true,
            media_step: "default: relay".into(),
            caller_transport: "UDP".into(),
            callee_transport: "UDP".into(),
            caller_local_ip: "198.51.100.1:5060".into(),
            callee_local_ip: "198.51.100.1:5060".into(),
            setup_ms,
            ring_ms: Some(setup_ms + 2000),
            connect_ms: Some(connect_ms),
            end_ms: connect_ms + hold_ms,
            hold_ms,
            caller_pdd_ms: Some(2000),
            callee_pdd_ms: Some(1900),
            customer: Some(leg(
                format!("customer-{customer}"),
                format!("Customer {customer}"),
                "447",
                120 + caller as i64 % 300,
            )),
            vendor: Some(leg(format!("vendor-{vendor}"), format!("Vendor {vendor}"), "447", 100)),
            call_level: 5,
            billing_mode: 1,
            end_reason: 0,
            end_reason_text: "Normal".into(),
            sip_status_in: 200,
            sip_status_out: 200,
            q850_in: 16,
            q850_out: 16,
            attempts: vec![Attempt {
                gateway: format!("routing-{vendor}").into(),
                status: 200,
                q850: 16,
                reason: "OK".into(),
                start_ms: setup_ms + 5,
                end_ms: connect_ms,
                next: "answered".into(),
            }],
            caller_media: media,
            callee_media: MediaUsage { lost: self.random(10), ..media },
            ..Usage::default()
        }
    }

    fn settled(&mut self, usage: Usage) -> Fallible<Record> {
        let settlement = settle(&usage, "EUR");
        let mut ledger = Vec::new();
        for (leg, terms, charge) in
            [("customer", &usage.customer, &settlement.customer), ("vendor", &usage.vendor, &settlement.vendor)]
        {
            if let (Some(terms), Some(charge)) = (terms, charge) {
                ledger.push(self.row(&usage, leg, &terms.account, charge)?);
            }
        }
        Ok(Record::Settled { flow_no: usage.flow_no, cdr: Some(Box::new(settlement.cdr)), ledger })
    }

    fn row(&mut self, usage: &Usage, leg: &str, account: &str, charge: &Charge) -> Fallible<LedgerRow> {
        let amount = charge.fee.checked_add(charge.tax)?.checked_neg()?;
        let balance = self.balances.entry(account.to_owned()).or_default();
        *balance = balance.checked_add(amount)?;
        Ok(LedgerRow {
            key: format!("call:{}:{leg}", usage.flow_no),
            account: account.to_owned(),
            kind: LedgerKind::Call,
            amount,
            balance_after: *balance,
            at_ms: usage.end_ms,
            flow_no: Some(usage.flow_no),
            user: String::new(),
            memo: String::new(),
        })
    }
}

/// A call as it is at the answer.
fn start(usage: Usage) -> Record {
    Record::Start {
        usage: Box::new(Usage {
            hold_ms: 0,
            end_ms: 0,
            end_reason_text: Default::default(),
            caller_media: MediaUsage::default(),
            callee_media: MediaUsage::default(),
            ..usage
        }),
        carry: Vec::new(),
    }
}
