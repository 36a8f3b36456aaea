//! Keeps the journal below its size: makes a base of the database, and removes the segments that nobody needs any more
//! (`tandem_store::base`). On a thread that nobody waits for, because a base takes as long as the database is large.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tandem_store::{DATABASE_FILE, Positions};

use crate::cdr_output::CdrOutput;
use crate::log;
use crate::topology;

/// Between two looks at the size: a segment is 64 MiB, which takes some ten seconds to fill at the highest rate.
const LOOK: Duration = Duration::from_secs(5);
/// After a failure: whoever is to make room has time, and the log stays readable.
const RETRY: Duration = Duration::from_secs(600);

/// Bytes of the disk that a base leaves free: the journal is more important than room for it. A few minutes of calls.
const FREE: u64 = 1 << 30;

/// Starts the thread. It is not joined: a base that a stop leaves half done is removed by the next start. So it holds nothing
/// that a stop takes apart, least of all the relay in the kernel.
///
/// # Errors
/// When the thread cannot be made.
pub fn start(dir: PathBuf, positions: Arc<Positions>, output: Arc<CdrOutput>) -> Result<()> {
    std::thread::Builder::new()
        .name("base".to_owned())
        .spawn(move || {
            topology::behind_calls();
            let mut wait_until: Option<Instant> = None;
            loop {
                std::thread::park_timeout(LOOK);
                if wait_until.is_some_and(|until| Instant::now() < until) {
                    continue;
                }
                wait_until = None;
                if let Err(error) = look(&dir, &positions, &output) {
                    log::error(&format!("the journal cannot be made smaller, it goes on growing: {error:#}"));
                    wait_until = Some(Instant::now() + RETRY);
                }
            }
        })
        .map(|_| ())
        .context("cannot start the thread of the base")
}

fn look(dir: &Path, positions: &Positions, output: &CdrOutput) -> Result<()> {
    let Some(bytes_max) = output.journal_bytes_max() else { return Ok(()) };
    let left_seq = output.left_seq();
    if tandem_store::is_base_due(dir, positions, left_seq, bytes_max)? {
        let begun = Instant::now();
        room_for_base(dir)?;
        let base = tandem_store::make_base(dir)?;
        let (seq, mib, seconds) = (base.applied_seq, base.bytes >> 20, begun.elapsed().as_secs());
        log::info(&format!("base of the database made: records up to {seq}, {mib} MiB, {seconds} s"));
    }
    let purged = tandem_store::purge(dir, positions, left_seq, bytes_max)?;
    if purged.segments > 0 {
        log::info(&format!("journal: {} segments removed, {} MiB", purged.segments, purged.bytes >> 20));
    }
    Ok(())
}

/// Refuses a copy of the database that would leave the journal without room: calls would be refused for it.
fn room_for_base(dir: &Path) -> Result<()> {
    let path = dir.join(DATABASE_FILE);
    let bytes = std::fs::metadata(&path).with_context(|| format!("cannot look at {}", path.display()))?.len();
    let disk = rustix::fs::statvfs(dir).with_context(|| format!("cannot ask for the room of {}", dir.display()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    ensure!(
        free >= bytes.saturating_add(FREE),
        "a copy of the database takes {} MiB and has to leave {} MiB free, the disk has {} MiB",
        bytes >> 20,
        FREE >> 20,
        free >> 20
    );
    Ok(())
}
