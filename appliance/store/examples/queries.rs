//! What questions take in a database of very many CDRs: `cargo run --release -p tandem-store --example queries -- [calls] [days]
//! [rounds] [folder] [keep]`; `cargo xtask bench cdrs` keeps the result.
//!
//! The database is written by the product's own writer, from settled records with every field: `calls` over `days` days, in
//! the order of their ends; seven of ten answered, the others with one of a dozen end reasons, of which the rarest comes once in a
//! hundred thousand. Nothing is journalled: the journal would be as large again, and no question reads it. The database stands in a folder that is made and
//! removed, or with `keep` in `folder` itself, where it stays: a second run asks it and writes nothing.
//!
//! Prints CSV, a line per question: rows of the page, how many there are in all (`all` 0: at least, the count was given up), and milliseconds of the page and of the count,
//! least and median of the rounds, and the first of all. Every question is asked of a new connection first, so `first_ms` has
//! the reading of the schema in it; the file is in the page cache of the kernel as far as the memory goes.

#[path = "common/traffic.rs"]
mod traffic;

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use tandem_rating::cdr::Cdr;
use tandem_rating::money::Money;
use tandem_rating::record::Record;
use tandem_rating::usage::Usage;
use tandem_store::{
    CdrFilter, CdrSort, Checkpointer, Counted, DATABASE_FILE, LedgerFilter, NumberMatch, Projector, Queries,
    StoreOptions, day_of,
};
use traffic::{Fallible, Traffic};

/// Records of a transaction, as the store thread of the daemon takes when it is behind.
const BATCH: u64 = 20_000;
/// Transactions between two checkpoints.
const CHECKPOINT: u64 = 5;
/// 2026-11-01T00:00:00Z.
const FIRST_MS: i64 = 1_793_491_200_000;
const DAY_MS: i64 = 86_400_000;

/// End reasons of calls that are not answered, and how many of a hundred thousand calls have each.
const REASONS: [(i32, &str, u64); 6] = [
    (-8, "Caller hung up", 12_000),
    (486, "Busy", 10_000),
    (404, "No such number", 5_000),
    (503, "No vendor", 2_500),
    (-21, "No money", 499),
    (-31, "Media resource exhausted", 1),
];

fn main() -> Fallible<()> {
    let mut args = std::env::args().skip(1);
    let calls: u64 = args.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let days: u64 = args.next().map_or(Ok(10), |text| text.parse())?;
    let rounds: usize = args.next().map_or(Ok(5), |text| text.parse())?;
    let under = args.next().map(PathBuf::from);
    let is_kept = args.next().is_some();
    let place = match &under {
        Some(under) => tempfile::tempdir_in(under)?,
        None => tempfile::tempdir()?,
    };
    let dir = under.as_deref().filter(|_| is_kept).unwrap_or(place.path());
    if !dir.join(DATABASE_FILE).exists() {
        let begun = Instant::now();
        fill(dir, calls, days.max(1))?;
        let seconds = begun.elapsed().as_secs_f64();
        let bytes: u64 =
            std::fs::read_dir(dir)?.flatten().filter_map(|file| file.metadata().ok()).map(|m| m.len()).sum();
        eprintln!(
            "{calls} calls in {seconds:.0} s, {:.1} us and {} bytes each",
            seconds * 1e6 / calls as f64,
            bytes / calls.max(1)
        );
    }
    println!("what,calls,days,rows,total,all,first_ms,page_ms,page_ms_median,count_ms,count_ms_median");
    ask_all(dir, rounds.max(1), &format!("{calls},{days}"))
}

/// Writes the database.
fn fill(dir: &Path, calls: u64, days: u64) -> Fallible<()> {
    let (sender, receiver) = mpsc::sync_channel::<Vec<(u64, Record)>>(4);
    let made = thread::spawn(move || -> Fallible<()> {
        let mut traffic = Traffic::default();
        let step_ms = (days as i64 * DAY_MS) / calls.max(1) as i64;
        let mut batch = Vec::with_capacity(BATCH as usize);
        for call in 1..=calls {
            let end_ms = FIRST_MS + call as i64 * step_ms.max(1) - 1;
            let usage = ended(&mut traffic, call, end_ms);
            batch.push((call, traffic.settled(usage)?));
            if batch.len() as u64 == BATCH || call == calls {
                sender.send(std::mem::take(&mut batch))?;
            }
        }
        Ok(())
    });
    let mut projector = Projector::open(dir, &StoreOptions::new("EUR"))?;
    let checkpointer = Checkpointer::open(dir)?;
    for (number, batch) in (1_u64..).zip(receiver) {
        projector.apply_batch(&batch)?;
        if number % CHECKPOINT == 0 {
            checkpointer.run()?;
        }
    }
    checkpointer.run()?;
    made.join().map_err(|_| "the thread that makes calls panicked")?
}

/// A call of the traffic that ends then, answered or not.
fn ended(traffic: &mut Traffic, call: u64, end_ms: i64) -> Usage {
    let usage = traffic.usage(call);
    let hold_ms = usage.hold_ms;
    let setup_ms = end_ms - hold_ms - 3_000;
    let mut usage =
        Usage { setup_ms, ring_ms: Some(setup_ms + 2_000), connect_ms: Some(setup_ms + 3_000), end_ms, ..usage };
    let mut place = traffic.random(100_000);
    for (number, text, share) in REASONS {
        if place < share {
            usage.connect_ms = None;
            usage.hold_ms = 0;
            (usage.end_reason, usage.end_reason_text) = (number, text.into());
            return usage;
        }
        place -= share;
    }
    usage
}

/// Everything that people ask, each `rounds` times.
fn ask_all(dir: &Path, rounds: usize, of: &str) -> Fallible<()> {
    let queries = Queries::open(dir)?;
    let newest = queries.cdr_list(&CdrFilter { limit: Some(1), ..CdrFilter::default() })?;
    let oldest = queries.cdr_list(&CdrFilter { limit: Some(1), oldest_first: true, ..CdrFilter::default() })?;
    let (Some(call), Some(first)) = (newest.first(), oldest.first()) else { return Ok(()) };
    for (name, filter) in questions(call, first) {
        let mut page = Vec::new();
        let mut count = Vec::new();
        let (mut rows, mut total) = (0, Counted { rows: 0, is_all: true });
        let begun = Instant::now();
        Queries::open(dir)?.cdr_list(&filter)?;
        let first_ms = ms(begun);
        for _ in 0..rounds {
            let begun = Instant::now();
            rows = queries.cdr_list(&filter)?.len();
            let took = ms(begun);
            page.push(took);
            let begun = Instant::now();
            total = queries.cdr_page(&filter)?.1;
            // The page again, and the count with it.
            count.push((ms(begun) - took).max(0.0));
        }
        print(name, of, rows, total, first_ms, &mut page, &mut count);
    }
    let day = u32::try_from(day_of(call.end_ms, 0))?;
    let account = LedgerFilter { account: Some(call.account.to_string()), ..LedgerFilter::default() };
    other("ledger_account", of, rounds, || Ok(queries.ledger_list(&account)?.len()))?;
    let deep = LedgerFilter { offset: 10_000, ..account };
    other("ledger_account_deep", of, rounds, || Ok(queries.ledger_list(&deep)?.len()))?;
    // The count of calls, so that nothing is left out unseen.
    let totals = |filter: &CdrFilter| -> Fallible<usize> { Ok(usize::try_from(queries.cdr_totals(filter)?.calls)?) };
    other("totals", of, rounds, || totals(&CdrFilter::default()))?;
    let from_ms = Some(call.end_ms - 26 * 3_600_000);
    other("totals_26_hours", of, rounds, || totals(&CdrFilter { from_ms, ..CdrFilter::default() }))?;
    let of_account = CdrFilter { account: Some(call.account.to_string()), ..CdrFilter::default() };
    other("totals_account_day", of, rounds, || totals(&CdrFilter { day: Some(day), ..of_account.clone() }))?;
    other("report_day", of, rounds, || Ok(queries.report_day(day, None)?.len()))?;
    other("report_days", of, rounds, || {
        let days = queries.report_days()?;
        let rows =
            days.iter().map(|day| queries.report_day(*day, None).map(|rows| rows.len())).sum::<Result<usize, _>>();
        Ok(rows?)
    })?;
    other("show_call", of, rounds, || Ok(usize::from(queries.cdr_show(first.flow_no)?.is_some())))
}

/// The questions: name and filter.
fn questions(call: &Cdr, first: &Cdr) -> Vec<(&'static str, CdrFilter)> {
    let all = CdrFilter::default;
    let exact = |text: &str| Some(NumberMatch::Exact(text.to_owned()));
    let prefix = |text: &str| Some(NumberMatch::Prefix(text.to_owned()));
    let account = || Some(call.account.to_string());
    let middle_ms = first.end_ms.midpoint(call.end_ms);
    let minute = (Some(middle_ms), Some(middle_ms + 60_000));
    vec![
        ("newest", all()),
        ("newest_deep", CdrFilter { offset: 1_000_000, ..all() }),
        ("oldest", CdrFilter { oldest_first: true, ..all() }),
        ("after_a_call", CdrFilter { after_flow_no: Some(first.flow_no + 1_000), ..all() }),
        ("account", CdrFilter { any_account: account(), ..all() }),
        ("account_deep", CdrFilter { any_account: account(), offset: 10_000, ..all() }),
        ("account_nobody", CdrFilter { any_account: Some("nobody".to_owned()), ..all() }),
        ("account_answered", CdrFilter { any_account: account(), answered: Some(true), ..all() }),
        ("account_reason", CdrFilter { any_account: account(), end_reason: Some(503), ..all() }),
        ("account_minute", CdrFilter { any_account: account(), from_ms: minute.0, to_ms: minute.1, ..all() }),
        ("agent_nobody", CdrFilter { agent_account: Some("nobody".to_owned()), ..all() }),
        ("caller", CdrFilter { caller: exact(&first.caller_in), ..all() }),
        ("callee", CdrFilter { callee: exact(&first.callee_billed), ..all() }),
        ("callee_prefix_9", CdrFilter { callee: prefix(&first.callee_billed[..9]), ..all() }),
        ("callee_prefix_5", CdrFilter { callee: prefix(&first.callee_billed[..5]), ..all() }),
        ("callee_prefix_2", CdrFilter { callee: prefix(&first.callee_billed[..2]), ..all() }),
        ("callee_prefix_2_deep", CdrFilter { callee: prefix(&first.callee_billed[..2]), offset: 1_000_000, ..all() }),
        ("callee_prefix_none", CdrFilter { callee: prefix("77"), ..all() }),
        ("gateway", CdrFilter { gateway: Some(call.callee_gateway.to_string()), ..all() }),
        ("gateway_deep", CdrFilter { gateway: Some(call.callee_gateway.to_string()), offset: 100_000, ..all() }),
        ("caller_gateway", CdrFilter { caller_gateway: Some(call.caller_gateway.to_string()), ..all() }),
        ("reason_common", CdrFilter { end_reason: Some(486), ..all() }),
        ("reason_common_deep", CdrFilter { end_reason: Some(486), offset: 100_000, ..all() }),
        ("reason_rare", CdrFilter { end_reason: Some(-31), ..all() }),
        ("reason_none", CdrFilter { end_reason: Some(-99), ..all() }),
        ("answered", CdrFilter { answered: Some(true), ..all() }),
        ("unanswered", CdrFilter { answered: Some(false), ..all() }),
        ("minute", CdrFilter { from_ms: minute.0, to_ms: minute.1, ..all() }),
        ("day", CdrFilter { from_ms: Some(middle_ms - DAY_MS), to_ms: Some(middle_ms), ..all() }),
        ("flow_no", CdrFilter { flow_no: Some(first.flow_no), ..all() }),
        ("duration_some", CdrFilter { hold_min_s: Some(590), ..all() }),
        ("duration_none", CdrFilter { hold_min_s: Some(3_600), ..all() }),
        ("duration_short", CdrFilter { hold_max_s: Some(5), answered: Some(true), ..all() }),
        ("answered_deep", CdrFilter { answered: Some(true), offset: 1_000_000, ..all() }),
        ("by_fee", CdrFilter { sort: CdrSort::Fee, ..all() }),
        ("by_fee_least", CdrFilter { sort: CdrSort::Fee, oldest_first: true, ..all() }),
        ("by_fee_deep", CdrFilter { sort: CdrSort::Fee, offset: 49_000, ..all() }),
        ("by_duration", CdrFilter { sort: CdrSort::Duration, ..all() }),
        (
            "answered_by_duration_least",
            CdrFilter { sort: CdrSort::Duration, oldest_first: true, answered: Some(true), ..all() },
        ),
        (
            "prefix_2_fee_none",
            CdrFilter { callee: prefix(&first.callee_billed[..2]), fee_min: "100".parse::<Money>().ok(), ..all() },
        ),
        ("fee_some", CdrFilter { fee_min: "0.4".parse::<Money>().ok(), ..all() }),
        ("fee_none", CdrFilter { fee_min: "100".parse::<Money>().ok(), ..all() }),
        ("account_by_fee", CdrFilter { any_account: account(), sort: CdrSort::Fee, ..all() }),
    ]
}

fn other(name: &str, of: &str, rounds: usize, mut ask: impl FnMut() -> Fallible<usize>) -> Fallible<()> {
    let mut took = Vec::new();
    let mut rows = 0;
    for _ in 0..=rounds {
        let begun = Instant::now();
        rows = ask()?;
        took.push(ms(begun));
    }
    let first_ms = took.remove(0);
    print(name, of, rows, Counted { rows: rows as u64, is_all: true }, first_ms, &mut took, &mut [0.0]);
    Ok(())
}

fn ms(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}

fn print(name: &str, of: &str, rows: usize, total: Counted, first_ms: f64, page: &mut [f64], count: &mut [f64]) {
    let pair = |values: &mut [f64]| {
        values.sort_by(f64::total_cmp);
        (values[0], values[values.len() / 2])
    };
    let ((page_ms, page_median), (count_ms, count_median)) = (pair(page), pair(count));
    let (total, all) = (total.rows, u8::from(total.is_all));
    println!(
        "{name},{of},{rows},{total},{all},{first_ms:.2},{page_ms:.2},{page_median:.2},{count_ms:.2},{count_median:.2}"
    );
}
