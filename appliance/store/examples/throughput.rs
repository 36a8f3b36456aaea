//! Calls per second through journal and database, with group commit: `cargo run --profile fast -p tandem-store --example
//! throughput [calls] [batch] [folder]`.
//!
//! Each call is a settled record with its CDR and two ledger rows. Prints a line per step: calls by the clock on the wall, and
//! the processor time of this thread per call, which a busy machine blurs less. Compare on one machine only.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tandem_rating::cdr::Cdr;
use tandem_rating::money::Money;
use tandem_rating::record::{LedgerKind, LedgerRow, Record};
use tandem_store::{Checkpointer, Journal, JournalOptions, Projector, Reader, StoreOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let calls: u64 = args.next().map_or(Ok(200_000), |text| text.parse())?;
    let batch: usize = args.next().map_or(Ok(1000), |text| text.parse())?;
    let temporary = tempfile::tempdir()?;
    let dir = args.next().map_or_else(|| temporary.path().to_owned(), PathBuf::from);

    let (mut journal, _) = Journal::open(&dir, JournalOptions::default())?;
    let sync = journal.sync_handle();
    let mut balances = [Money::ZERO; 50];
    let records: Vec<Record> = (0..calls).map(|index| call(index + 1, &mut balances)).collect::<Result<_, _>>()?;

    let start = Clock::start();
    for chunk in records.chunks(batch) {
        for record in chunk {
            journal.append(record)?;
        }
        journal.flush()?;
        sync.sync()?;
    }
    report("journal, append + flush + sync", calls, start);

    let mut reader = Reader::from_seq(&dir, 1)?;
    let start = Clock::start();
    while !reader.next_batch(batch)?.is_empty() {}
    report("journal, read", calls, start);

    let mut reader = Reader::from_seq(&dir, 1)?.bound_to(journal.positions());
    let mut projector = Projector::open(&dir, &StoreOptions::new("EUR"))?;
    let checkpointer = Checkpointer::open(&dir)?;
    let done = Arc::new(AtomicBool::new(false));
    let start = Clock::start();
    let checkpoints = thread::spawn({
        let done = Arc::clone(&done);
        move || {
            while !done.load(Ordering::Relaxed) {
                thread::park_timeout(Duration::from_millis(500));
                if let Err(error) = checkpointer.run() {
                    eprintln!("{error}");
                }
            }
        }
    });
    while projector.run_once(&mut reader, batch)?.records > 0 {}
    report("database, read + apply + commit", calls, start);
    done.store(true, Ordering::Relaxed);
    checkpoints.thread().unpark();
    let _ = checkpoints.join();
    Ok(())
}

/// The clock on the wall and the processor time of this thread.
struct Clock {
    wall: Instant,
    cpu_ns: u64,
}

impl Clock {
    fn start() -> Clock {
        Clock { wall: Instant::now(), cpu_ns: cpu_ns() }
    }
}

/// Nanoseconds this thread ran; 0 where the kernel does not tell.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn report(what: &str, calls: u64, start: Clock) {
    let seconds = start.wall.elapsed().as_secs_f64();
    let cpu_us = (cpu_ns() - start.cpu_ns) as f64 / 1e3 / calls as f64;
    println!("{what}: {:.0} calls/s by the clock, {cpu_us:.2} us of processor time each", calls as f64 / seconds);
}

fn call(flow_no: u64, balances: &mut [Money; 50]) -> Result<Record, Box<dyn std::error::Error>> {
    // Spreads the numbers, so that the indexes are hit in no order, as with real callers.
    let mixed = flow_no.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24;
    let (customer, vendor) = ((mixed % 40) as usize, (40 + mixed % 10) as usize);
    let hold_s = (mixed % 600) as i64;
    let end_ms = 1_795_305_600_000 + flow_no as i64;
    let fee: Money = format!("0.{:04}", mixed % 10_000).parse()?;
    let cost: Money = format!("0.{:04}", mixed % 9_000).parse()?;
    let cdr = Cdr {
        flow_no,
        flow_no_first: flow_no,
        softswitch: "ss1".into(),
        caller_call_id: format!("{mixed:016x}@10.0.0.1"),
        callee_call_id: format!("{mixed:016x}@10.0.0.2"),
        caller_in: format!("8613{:09}", mixed % 1_000_000_000),
        caller_billed: format!("13{:09}", mixed % 1_000_000_000),
        caller_out: format!("8613{:09}", mixed % 1_000_000_000),
        callee_in: format!("0044{:010}", mixed % 10_000_000_000),
        callee_billed: format!("44{:010}", mixed % 10_000_000_000),
        callee_out: format!("44{:010}", mixed % 10_000_000_000),
        callee_area: "447".into(),
        caller_gateway: format!("mapping-{customer}"),
        callee_gateway: format!("routing-{vendor}"),
        caller_ip: "192.0.2.10:5060".into(),
        callee_ip: "198.51.100.7:5060".into(),
        caller_rtp_ip: "192.0.2.10:40000".into(),
        callee_rtp_ip: "198.51.100.7:30000".into(),
        caller_product: "Carrier SBC 9.1".into(),
        callee_product: "Vendor GW 4.2".into(),
        caller_codec: "PCMA".into(),
        callee_codec: "PCMA".into(),
        media_step: "relay".into(),
        caller_protocol: "SIP".into(),
        callee_protocol: "SIP".into(),
        caller_transport: "UDP".into(),
        callee_transport: "UDP".into(),
        setup_ms: end_ms - hold_s * 1000 - 3000,
        ring_ms: Some(end_ms - hold_s * 1000 - 2000),
        connect_ms: Some(end_ms - hold_s * 1000),
        end_ms,
        hold_ms: hold_s * 1000,
        hold_s,
        account: format!("customer-{customer}"),
        account_name: format!("Customer {customer}"),
        billed_s: hold_s,
        fee,
        vendor_account: format!("vendor-{vendor}"),
        vendor_fee: cost,
        vendor_s: hold_s,
        vendor_prefix: "447".into(),
        margin: fee.checked_sub(cost)?,
        income_fee: fee.checked_sub(cost)?,
        fu: "0.01".into(),
        rate_id: mixed % 10_000,
        rate_used: "0.0123".into(),
        vendor_rate_used: "0.0101".into(),
        end_reason: 200,
        end_reason_text: "Normal".into(),
        caller_rtp_packets: hold_s * 50,
        callee_rtp_packets: hold_s * 50,
        currency: "EUR".into(),
        ..Cdr::default()
    };
    let mut row = |who: usize, word: &str, amount: Money| -> Result<LedgerRow, Box<dyn std::error::Error>> {
        balances[who] = balances[who].checked_sub(amount)?;
        Ok(LedgerRow {
            key: format!("call/{flow_no}/{word}"),
            account: format!("{word}-{who}"),
            kind: LedgerKind::Call,
            amount: amount.checked_neg()?,
            balance_after: balances[who],
            at_ms: end_ms,
            flow_no: Some(flow_no),
            user: String::new(),
            memo: String::new(),
        })
    };
    let ledger = vec![row(customer, "customer", fee)?, row(vendor, "vendor", cost)?];
    Ok(Record::Settled { flow_no, cdr: Some(Box::new(cdr)), ledger })
}
