//! THE table of threads and queues: who runs, what connects them, how deep, and what happens when a queue is full.
//!
//! | thread | core | does | sleeps in |
//! |---|---|---|---|
//! | `shard-N` | N+1 (wraps) | one io_uring: SIP, calls, media relay | `io_uring_enter`, until the next timer |
//! | `rating` | any but the shards' | balances, lines, CDRs; appends and writes the journal | `park`, woken by whoever asks |
//! | `sync` | any | fdatasync of the journal, at most 50 ms behind | `park`, woken by `rating` |
//! | `store` | any | journal -> SQLite | `park`, at most 400 ms; woken by who asks for CDRs |
//! | `cdr-files` | any | journal -> backup and hourly files of CDRs | `park`, at most 100 ms |
//! | `cdr-report` | any | journal -> another server, by HTTP | `park`, at most 100 ms; the server, at most 15 s |
//! | `control` | any | Unix socket, configuration | tokio-uring |
//! | `media` | any | the kernel's events and copies, interfaces, orphan flows; only with a fast path | `park`, at most 100 ms |
//! | `rates` | any, behind all others | reads and compares one rate sheet, then ends | - |
//! | `base` | any, behind all others | copies the database, purges the journal; only with TANDEM_JOURNAL_MAX_MB | `park`, 5 s |
//! | `main` | any | waits for signals | `sigwait` |
//!
//! | queue | from -> to | depth | when full |
//! |---|---|---|---|
//! | questions | shard -> rating | `QUESTIONS_MAX` | cannot be: places are reserved at admission (`limits.rs`); new calls get 503 |
//! | answers | rating -> shard | `ANSWERS_MAX` | cannot be: one answer a question |
//! | strays | shard -> shard | `STRAYS_MAX` | datagram dropped and counted; SIP sends it again |
//! | orders | control -> shard | `CONTROL_MAX` | the control request is refused as busy |
//! | orders | media -> shard | `CONTROL_MAX` | copies are dropped and counted; orphans are looked for again in 60 s |
//! | orders | control -> rating | `CONTROL_MAX` | the control request is refused as busy |

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::Thread;

use crossbeam::queue::ArrayQueue;
use tandem_call::question::{Answer, Question};
use tandem_leg::ListenerId;
use tandem_ring::Waker;

use crate::cdr_output::CdrOutput;
use crate::fast_path::MediaPath;
use crate::limits;
use crate::one_socket::OneSocket;
use crate::orders::{RatingOrder, ShardOrder};
use crate::steering::Steering;

/// A datagram that came to the wrong shard, handed over once.
#[derive(Debug)]
pub struct Stray {
    /// Listener it came to.
    pub listener: ListenerId,
    /// Its sender.
    pub source: SocketAddr,
    /// Its bytes.
    pub bytes: Box<[u8]>,
}

/// The ways into one shard.
#[derive(Debug)]
pub struct ShardDoor {
    /// From the rating thread.
    pub answers: ArrayQueue<Answer>,
    /// From other shards.
    pub strays: ArrayQueue<Stray>,
    /// From the control thread.
    pub orders: ArrayQueue<ShardOrder>,
    /// Gets the shard out of its wait.
    pub waker: Waker,
}

impl ShardDoor {
    /// Empty queues of the depths above.
    pub fn new(waker: Waker) -> ShardDoor {
        ShardDoor {
            answers: ArrayQueue::new(limits::ANSWERS_MAX),
            strays: ArrayQueue::new(limits::STRAYS_MAX),
            orders: ArrayQueue::new(limits::CONTROL_MAX),
            waker,
        }
    }
}

/// The ways into the rating thread.
#[derive(Debug)]
pub struct RatingDoor {
    /// One queue per shard.
    pub questions: Vec<ArrayQueue<Question>>,
    /// From the control thread.
    pub orders: ArrayQueue<RatingOrder>,
    /// Set while the thread may sleep, so that askers know whether to wake it.
    pub asleep: AtomicBool,
    /// The thread, once it runs.
    pub thread: std::sync::OnceLock<Thread>,
}

impl RatingDoor {
    /// Empty queues for `shards` shards.
    pub fn new(shards: usize) -> RatingDoor {
        RatingDoor {
            questions: (0..shards).map(|_| ArrayQueue::new(limits::QUESTIONS_MAX)).collect(),
            orders: ArrayQueue::new(limits::CONTROL_MAX),
            asleep: AtomicBool::new(false),
            thread: std::sync::OnceLock::new(),
        }
    }

    /// Gets the thread out of its sleep, if it sleeps. `park` remembers a wake that came too early, so none is lost.
    pub fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }
}

/// What all threads see.
#[derive(Debug)]
pub struct Shared {
    /// The shards' doors, by number.
    pub shards: Vec<Arc<ShardDoor>>,
    /// The rating thread's door.
    pub rating: Arc<RatingDoor>,
    /// Everything is to end.
    pub stopping: AtomicBool,
    /// Something broke that only a new start mends; the exit code says so.
    pub failed: AtomicBool,
    /// Shards that still run; the rating thread ends after the last.
    pub shards_running: AtomicUsize,
    /// The journal cannot be written: no new calls.
    pub journal_broken: AtomicBool,
    /// Whether the kernel gives SIP datagrams to the right shard.
    pub steering: Steering,
    /// How media comes to user space.
    pub one_socket: OneSocket,
    /// Gets the projection out of its pause.
    pub projection: Projection,
    /// Counters of the rating, sync and store threads.
    pub money: MoneyCounters,
    /// The kernel's part in media.
    pub media: MediaPath,
    /// CDRs on their way out.
    pub cdr_output: Arc<CdrOutput>,
}

/// The store thread's door.
#[derive(Debug, Default)]
pub struct Projection {
    hurried: AtomicBool,
    /// The thread, once it runs.
    pub thread: std::sync::OnceLock<Thread>,
}

impl Projection {
    /// Somebody waits for the database to hold what the journal has.
    pub fn hurry(&self) {
        if !self.hurried.swap(true, Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Whether somebody waits; asked once per turn.
    pub fn take_hurry(&self) -> bool {
        self.hurried.swap(false, Ordering::SeqCst)
    }
}

/// Counters the money threads publish.
#[derive(Debug, Default)]
pub struct MoneyCounters {
    /// Calls settled.
    pub settled: AtomicU64,
    /// Records held back by the rules of cdr.md 3.
    pub suppressed: AtomicU64,
    /// RTP packets of their calls.
    pub suppressed_packets: AtomicU64,
    /// Journal write calls that failed.
    pub journal_errors: AtomicU64,
    /// Database transactions that failed.
    pub store_errors: AtomicU64,
    /// Alarms raised by the rating thread.
    pub alarms: AtomicU64,
    /// The longest turn of the rating thread, microseconds: nobody's question waited longer for another's.
    pub turn_max_us: AtomicU64,
}

/// How far a thread stands back that works for minutes while calls run: a tenth of what another thread gets of a core that
/// both want, all of one that nobody wants.
const BEHIND_CALLS: i32 = 10;

/// Lets all threads that serve calls go before this one.
pub fn behind_calls() {
    // On Linux this is of the calling thread alone. Standing back is always allowed; should it fail, the work is done all the same.
    let _ = rustix::process::setpriority_process(None, BEHIND_CALLS);
}
