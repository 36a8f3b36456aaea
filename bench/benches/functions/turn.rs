//! The one question of a call that spans cores: reserve, and back. Two threads with the queues, the wake-ups, the rater
//! and the journal of the daemon; a call is admitted, answered and settled, so many times a second.
//!
//! The threads' own processor time is told beside the round trip, because on a busy machine most of that is waiting for
//! a core. `chrt -r 50` takes the machine's part out as far as it can be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crossbeam::queue::ArrayQueue;
use hdrhistogram::Histogram;
use tandem_call::question::{Answer, CallKey, Question};
use tandem_desk::Desk;
use tandem_leg::{Now, Time};
use tandem_rating::fee::BillingParams;
use tandem_rating::usage::Usage;
use tandem_ring::{GroupConfig, Ring, RingConfig, Waker};

use crate::ledger;
use crate::material::AT_MS;

/// Depth of both queues: a second of calls at the highest rate asked of one shard, three questions each.
const DEPTH: usize = 1 << 16;
/// Calls before anything is measured.
const WARM_UP: u64 = 200;
/// Longest round trip that is told apart from longer ones.
const LONGEST_NS: u64 = 60_000_000_000;
/// Net under the wake-ups, as in the daemon.
const NAP: Duration = Duration::from_millis(100);
/// How long the shard looks for an answer before it sleeps, as in the daemon.
const LOOK: Duration = Duration::from_micros(50);

/// What both threads see.
struct Doors {
    questions: ArrayQueue<Question>,
    answers: ArrayQueue<Answer>,
    /// The rating thread sleeps, or is about to.
    asleep: AtomicBool,
    stopping: AtomicBool,
    shard: Waker,
}

/// Processor time and waiting time of one thread.
struct Used {
    cpu_ns: u64,
    queued_ns: u64,
}

/// `rate` calls a second for `seconds`; prints one row a round trip and one a thread.
pub(crate) fn run(rate: u64, seconds: u64) -> Result<()> {
    let group = |count| GroupConfig { count, bytes: 4096 };
    let config = RingConfig { sockets_max: 64, signalling: group(64), media: group(64), ..RingConfig::default() };
    let mut ring = Ring::new(config).context("cannot set up io_uring")?;
    let (journal, _folder) = ledger::journal().context("cannot make a journal in the folder for temporary files")?;
    let doors = Arc::new(Doors {
        questions: ArrayQueue::new(DEPTH),
        answers: ArrayQueue::new(DEPTH),
        asleep: AtomicBool::new(false),
        stopping: AtomicBool::new(false),
        shard: ring.waker(),
    });
    let rating = {
        let (doors, desk) = (Arc::clone(&doors), Desk::new(ledger::rater(), journal));
        thread::Builder::new().name("rating".into()).spawn(move || rate_calls(&doors, desk))?
    };
    let calls = rate * seconds;
    let mut shard = Shard {
        doors: Arc::clone(&doors),
        rating: rating.thread().clone(),
        params: Arc::new(BillingParams::default()),
        usage: ledger::usage(0),
        asked: vec![None; calls as usize + 1],
        reserve: Histogram::new_with_bounds(1, LONGEST_NS, 3)?,
        start: Histogram::new_with_bounds(1, LONGEST_NS, 3)?,
        settled: 0,
        admitting: false,
    };
    let begun = Instant::now();
    let used = used();
    let mut next = 1;
    while shard.settled < calls {
        while next <= calls && begun.elapsed() >= Duration::from_nanos(next * 1_000_000_000 / rate) {
            shard.ask(next, ledger::admit(next, &shard.params.clone()));
            next += 1;
        }
        let due = if next <= calls { Duration::from_nanos(next * 1_000_000_000 / rate) } else { NAP + begun.elapsed() };
        if std::mem::take(&mut shard.admitting) {
            ring.look_for_wake(LOOK);
        }
        ring.wait(Some(due.saturating_sub(begun.elapsed()))).context("io_uring failed")?;
        while ring.next().is_some() {}
        shard.answers();
    }
    let shard_used = used.until(&self::used());
    doors.stopping.store(true, Ordering::SeqCst);
    rating.thread().unpark();
    let rating_used = rating.join().map_err(|_| anyhow::anyhow!("the rating thread panicked"))?;

    println!("what,calls_per_s,count,p50_us,p99_us,p999_us,max_us");
    for (what, histogram) in [("reserve", &shard.reserve), ("start_record", &shard.start)] {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        let max = histogram.max() as f64 / 1_000.0;
        println!("{what},{rate},{},{:.1},{:.1},{:.1},{max:.1}", histogram.len(), at(0.5), at(0.99), at(0.999));
    }
    println!("thread,cpu_us_per_call,waiting_for_a_core_us_per_call");
    for (name, used) in [("shard", shard_used), ("rating", rating_used)] {
        let per_call = |ns: u64| ns as f64 / 1_000.0 / calls as f64;
        println!("{name},{:.2},{:.2}", per_call(used.cpu_ns), per_call(used.queued_ns));
    }
    Ok(())
}

struct Shard {
    doors: Arc<Doors>,
    rating: thread::Thread,
    params: Arc<BillingParams>,
    usage: Usage,
    /// When the open question of each call was put.
    asked: Vec<Option<Instant>>,
    reserve: Histogram<u64>,
    start: Histogram<u64>,
    settled: u64,
    /// A new call waits for the answer of the rating thread.
    admitting: bool,
}

impl Shard {
    fn ask(&mut self, flow_no: u64, question: Question) {
        self.asked[flow_no as usize] = Some(Instant::now());
        self.admitting |= matches!(question, Question::Admit(_));
        // As deep as all questions of a second; a full one would show as a call that never ends.
        let _ = self.doors.questions.push(question);
        if self.doors.asleep.swap(false, Ordering::SeqCst) {
            self.rating.unpark();
        }
    }

    fn answers(&mut self) {
        while let Some(answer) = self.doors.answers.pop() {
            let now = Instant::now();
            let taken = |asked: Option<Instant>| asked.map_or(0, |at| (now - at).as_nanos() as u64);
            match answer {
                Answer::Granted { call, .. } => {
                    record(&mut self.reserve, call, taken(self.asked[call.index as usize]));
                    let usage = Box::new(Usage { flow_no: u64::from(call.index), ..self.usage.clone() });
                    self.ask(u64::from(call.index), Question::Answered { call, usage, carry: Vec::new() });
                }
                Answer::Journaled { call, .. } => {
                    record(&mut self.start, call, taken(self.asked[call.index as usize]));
                    let usage = Box::new(Usage { flow_no: u64::from(call.index), ..self.usage.clone() });
                    self.ask(u64::from(call.index), Question::Settle { call, usage, awaited: false });
                }
                Answer::Settled { .. } => self.settled += 1,
                Answer::Refused { .. } | Answer::Line { .. } | Answer::Renewed { .. } => {}
            }
        }
    }
}

fn record(histogram: &mut Histogram<u64>, call: CallKey, ns: u64) {
    if u64::from(call.index) > WARM_UP {
        histogram.saturating_record(ns);
    }
}

/// The loop of the daemon's rating thread: take what is there, write once, answer, wake once, sleep.
fn rate_calls(doors: &Doors, mut desk: Desk) -> Used {
    let used = used();
    let begun = Instant::now();
    while !doors.stopping.load(Ordering::SeqCst) {
        let mut worked = false;
        while let Some(question) = doors.questions.pop() {
            worked = true;
            let us = begun.elapsed().as_micros() as u64;
            desk.handle(Now { mono: Time(us), wall_ms: AT_MS + (us / 1_000) as i64 }, question);
        }
        if let Err(error) = desk.write() {
            eprintln!("journal: {error}");
        }
        while let Some((_, answer)) = desk.poll_answer() {
            let _ = doors.answers.push(answer);
        }
        while let Some(alarm) = desk.poll_alarm() {
            eprintln!("alarm: {alarm}");
        }
        if worked {
            doors.shard.wake();
            continue;
        }
        doors.asleep.store(true, Ordering::SeqCst);
        if doors.questions.is_empty() {
            thread::park_timeout(NAP);
        }
        doors.asleep.store(false, Ordering::SeqCst);
    }
    used.until(&self::used())
}

/// Of the calling thread, from the scheduler's own books.
fn used() -> Used {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let mut fields = text.split_whitespace().map(|field| field.parse().unwrap_or(0));
    Used { cpu_ns: fields.next().unwrap_or(0), queued_ns: fields.next().unwrap_or(0) }
}

impl Used {
    fn until(&self, later: &Used) -> Used {
        Used { cpu_ns: later.cpu_ns - self.cpu_ns, queued_ns: later.queued_ns - self.queued_ns }
    }
}
