//! The two threads that wait for the disk so that nobody else has to: one syncs the journal, one carries it into SQLite.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Signal;
use tandem_store::{Checkpointer, Positions, Projector, Reader, SyncHandle};

use crate::clock::Clock;
use crate::limits;
use crate::log;
use crate::topology::Shared;

/// How the rating thread wakes the sync thread.
#[derive(Clone)]
pub struct SyncDoor {
    due: Arc<AtomicBool>,
    closed: Arc<AtomicBool>,
    thread: Thread,
}

impl SyncDoor {
    /// Something was written.
    pub fn wake(&self) {
        if !self.due.swap(true, Ordering::SeqCst) {
            self.thread.unpark();
        }
    }

    /// Nothing more will be written.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// Starts the sync and the store thread.
///
/// # Errors
/// When a thread cannot be made, or the database cannot be opened a second time.
pub fn start(
    sync: SyncHandle,
    dir: &Path,
    positions: Arc<Positions>,
    mut projector: Projector,
    mut reader: Reader,
    shared: Arc<Shared>,
) -> Result<(SyncDoor, JoinHandle<()>, JoinHandle<()>)> {
    let (due, closed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let synced_all = Arc::new(AtomicBool::new(false));
    let store = {
        let checkpointer = Checkpointer::open(dir)?;
        let (synced_all, shared, dir) = (synced_all.clone(), shared.clone(), dir.to_owned());
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || project(&dir, &mut projector, &mut reader, &checkpointer, &positions, &synced_all, &shared))
            .context("cannot start the store thread")?
    };
    let store_thread = store.thread().clone();
    let handle = {
        let (due, closed) = (due.clone(), closed.clone());
        std::thread::Builder::new()
            .name("sync".to_owned())
            .spawn(move || {
                loop {
                    if !due.swap(false, Ordering::SeqCst) {
                        if closed.load(Ordering::SeqCst) {
                            break;
                        }
                        std::thread::park();
                        continue;
                    }
                    let started = Instant::now();
                    if let Err(error) = sync.sync() {
                        shared.money.journal_errors.fetch_add(1, Ordering::Relaxed);
                        // What the kernel has thrown away cannot be synced again, and the journal takes no more: end
                        // the calls and let the service manager start a switch that reads what is really there.
                        log::error(&format!("the journal could not be synced to disk, the switch stops: {error}"));
                        shared.failed.store(true, Ordering::SeqCst);
                        if let Err(error) = rustix::process::kill_process(rustix::process::getpid(), Signal::TERM) {
                            log::error(&format!("cannot stop: {error}"));
                        }
                        closed.store(true, Ordering::SeqCst);
                    }
                    // Commit in groups: the next sync waits until the oldest record that it can hold is nearly due.
                    let spare = Duration::from_millis(limits::GROUP_COMMIT_MS - 10);
                    // A write in between wakes this thread at once; it waits for the rest of its time all the same.
                    while started.elapsed() < spare && !closed.load(Ordering::SeqCst) {
                        std::thread::park_timeout(spare.saturating_sub(started.elapsed()));
                    }
                }
                synced_all.store(true, Ordering::SeqCst);
                store_thread.unpark();
            })
            .context("cannot start the sync thread")?
    };
    let door = SyncDoor { due, closed, thread: handle.thread().clone() };
    Ok((door, handle, store))
}

/// Between two looks for days that are too old. A change of the parameter is in force that much later.
const CLEAN_EVERY: Duration = Duration::from_secs(2);

/// Drops the CDRs of days that are too old. Only the database's: the journal keeps them, and a database that is written anew has
/// them until the next look.
fn clean(projector: &mut Projector, keep_days: u32, now_ms: i64) {
    const DAY_MS: i64 = 86_400_000;
    if keep_days == 0 {
        return;
    }
    // Days are those of the server; its zone is UTC until a zone can be set.
    match projector.drop_days_before(tandem_store::day_of(now_ms - i64::from(keep_days) * DAY_MS, 0)) {
        Ok(dropped) => {
            for day in dropped {
                log::info(&format!("the CDRs of {day} were dropped, they are older than {keep_days} days"));
            }
        }
        Err(error) => log::error(&format!("old CDRs could not be dropped: {error}")),
    }
}

fn project(
    dir: &Path,
    projector: &mut Projector,
    reader: &mut Reader,
    checkpointer: &Checkpointer,
    positions: &Positions,
    synced_all: &AtomicBool,
    shared: &Shared,
) {
    let _ = shared.projection.thread.set(std::thread::current());
    let mut last_checkpoint = Instant::now();
    let mut failing = false;
    let mut cleaned: Option<Instant> = None;
    loop {
        let started = Instant::now();
        let ending = synced_all.load(Ordering::SeqCst);
        match projector.run_once(reader, limits::PROJECT_BATCH) {
            Ok(applied) => {
                failing = false;
                positions.advance_cdrs_applied(applied.cdr_records as u64);
                positions.advance_applied(projector.applied_seq());
                if !ending && cleaned.is_none_or(|at| at.elapsed() > CLEAN_EVERY) {
                    cleaned = Some(Instant::now());
                    clean(projector, shared.cdr_output.retention_days(), Clock.now().wall_ms);
                }
                if last_checkpoint.elapsed() > Duration::from_secs(10) {
                    last_checkpoint = Instant::now();
                    if let Err(error) = checkpointer.run() {
                        log::warning(&format!("the database could not be checkpointed: {error}"));
                    }
                }
                // A full batch, or the last of them: there is more, or must be no more.
                if applied.records >= limits::PROJECT_BATCH || (ending && applied.records > 0) {
                    continue;
                }
            }
            Err(error) => {
                shared.money.store_errors.fetch_add(1, Ordering::Relaxed);
                if !std::mem::replace(&mut failing, true) {
                    log::error(&format!("the database cannot be written, records stay in the journal: {error}"));
                    // Pages that were good at the last start may be bad at the next one without looking so.
                    if tandem_store::is_damage(&error)
                        && let Err(error) = tandem_store::mark_damaged(dir, &error.to_string())
                    {
                        log::error(&format!("the next start will not know of the damage: {error}"));
                    }
                }
            }
        }
        if ending {
            let _ = checkpointer.run();
            return;
        }
        let pause = Duration::from_millis(limits::PROJECT_EVERY_MS);
        while started.elapsed() < pause && !shared.projection.take_hurry() && !synced_all.load(Ordering::SeqCst) {
            std::thread::park_timeout(pause.saturating_sub(started.elapsed()));
        }
    }
}
