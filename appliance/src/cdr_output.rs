//! CDRs on their way out of the switch (cdr.md 5): backup files, hourly files, and reports to another server.
//!
//! Each way reads the journal by itself, behind its sync, on a thread that nobody waits for, and keeps the place it has come
//! to. A disk that is full or a server that is away therefore costs no call and loses nothing: the way goes on from its place
//! when it can.

pub mod api;
mod backup;
mod hourly;
mod names;
mod place;
mod report;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use tandem_store::Positions;

use crate::log;
pub use crate::params::CdrSettings as Settings;

/// Between two looks at the journal, ms: a record leaves so much later than it was synced.
const LOOK_MS: u64 = 100;

/// How one way stands.
#[derive(Debug, Default)]
pub struct Way {
    /// Last journal record that it is done with.
    done_seq: AtomicU64,
    /// Whether it is on.
    on: AtomicBool,
    /// CDRs that left.
    cdrs: AtomicU64,
    /// Attempts that failed.
    failures: AtomicU64,
    /// Why it stands still.
    trouble: Mutex<Option<String>>,
}

impl Way {
    fn come_to(&self, seq: u64, on: bool) {
        self.done_seq.store(seq, Ordering::Release);
        self.on.store(on, Ordering::Release);
    }

    /// Something left: whatever stood in the way is over.
    fn went(&self, name: &str, cdrs: usize) {
        self.cdrs.fetch_add(cdrs as u64, Ordering::Relaxed);
        if self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            log::warning(&format!("{name}: CDRs leave again"));
        }
    }

    /// Tells the first of a row of failures.
    fn failed(&self, name: &str, alarms: &AtomicU64, cause: String) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        if trouble.is_none() {
            alarms.fetch_add(1, Ordering::Relaxed);
            log::error(&format!("alarm: {name}: {cause}; CDRs wait in the journal"));
        }
        *trouble = Some(cause);
    }
}

/// The settings, and behind which journal record a way begins that was off before.
#[derive(Clone, Debug)]
struct InForce {
    settings: Arc<Settings>,
    hourly_since: u64,
    report_since: u64,
}

/// The three ways, as others see them.
#[derive(Debug)]
pub struct CdrOutput {
    settings: Mutex<InForce>,
    /// Raised alarms.
    alarms: AtomicU64,
    backup: Way,
    hourly: Way,
    report: Way,
    stopping: AtomicBool,
}

impl CdrOutput {
    /// Nothing has left yet.
    pub fn new(settings: Settings) -> CdrOutput {
        CdrOutput {
            settings: Mutex::new(InForce { settings: Arc::new(settings), hourly_since: 0, report_since: 0 }),
            alarms: AtomicU64::new(0),
            backup: Way::default(),
            hourly: Way::default(),
            report: Way::default(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Other settings are in force; a way that was off begins behind journal record `seq`.
    pub fn configure(&self, settings: Settings, seq: u64) {
        let mut in_force = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        if settings.hourly && !in_force.settings.hourly {
            in_force.hourly_since = seq;
        }
        if settings.report_to.is_some() && in_force.settings.report_to.is_none() {
            in_force.report_since = seq;
        }
        in_force.settings = Arc::new(settings);
    }

    fn in_force(&self) -> InForce {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// TANDEM_CDR_RETENTION_DAYS; 0 keeps all.
    pub fn retention_days(&self) -> u32 {
        self.in_force().settings.retention_days
    }

    /// TANDEM_JOURNAL_MAX_MB in bytes; `None` keeps all.
    pub fn journal_bytes_max(&self) -> Option<u64> {
        let mib = self.in_force().settings.journal_max_mib;
        (mib > 0).then(|| u64::from(mib) << 20)
    }

    /// Last journal record that none of the ways needs any more; 0 until each has found its place.
    pub fn left_seq(&self) -> u64 {
        self.ways().iter().map(|(_, way)| way.done_seq.load(Ordering::Acquire)).min().unwrap_or(0)
    }

    /// Ends the threads; what has not left goes at the next start.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn ways(&self) -> [(&'static str, &Way); 3] {
        [("cdr_backup", &self.backup), ("cdr_hourly", &self.hourly), ("cdr_report", &self.report)]
    }

    /// Counters for `status`; `synced` is the last record that can leave.
    pub fn counters(&self, synced: u64) -> Vec<(String, u64)> {
        let mut counters = vec![("cdr_output_alarms".to_owned(), self.alarms.load(Ordering::Relaxed))];
        for (name, way) in self.ways() {
            let on = way.on.load(Ordering::Acquire);
            let behind = if on { synced.saturating_sub(way.done_seq.load(Ordering::Acquire)) } else { 0 };
            counters.extend([
                (format!("{name}_cdrs"), way.cdrs.load(Ordering::Relaxed)),
                (format!("{name}_failures"), way.failures.load(Ordering::Relaxed)),
                (format!("{name}_behind"), behind),
            ]);
        }
        counters
    }

    /// What stands still, a sentence each.
    pub fn troubles(&self) -> Vec<String> {
        let trouble = |way: &Way| way.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let names = ["CDR backup files", "hourly CDR files", "real-time CDR reports"];
        let ways = [&self.backup, &self.hourly, &self.report];
        let told = names.iter().zip(ways).filter_map(|(name, way)| Some((name, trouble(way)?)));
        told.map(|(name, cause)| format!("{name} stand still, CDRs wait in the journal: {cause}")).collect()
    }
}

/// Where things are.
#[derive(Clone, Debug)]
pub struct Places {
    /// Folder of the journal.
    pub journal: PathBuf,
    /// Folder of the files (`cdr/` beside the journal).
    pub files: PathBuf,
    /// Where the ways keep how far they have come.
    pub state: PathBuf,
}

impl Places {
    /// As `data_dir` has them.
    pub fn of(data_dir: &Path) -> Places {
        Places { journal: data_dir.join("journal"), files: data_dir.join("cdr"), state: data_dir.to_owned() }
    }
}

/// Starts a thread for the files and one for the reports. The first is given back to be joined; the other may hang on a
/// stranger's server for seconds, so nobody waits for it: it keeps its place after each answer, and what was under way is sent
/// again.
///
/// # Errors
/// When a thread cannot be made.
pub fn start(output: &Arc<CdrOutput>, places: &Places, positions: &Arc<Positions>) -> Result<JoinHandle<()>> {
    let files = {
        let (output, places, positions) = (output.clone(), places.clone(), positions.clone());
        std::thread::Builder::new()
            .name("cdr-files".to_owned())
            .spawn(move || write_files(&output, &places, &positions))
            .context("cannot start the thread of CDR files")?
    };
    let (output, places, positions) = (output.clone(), places.clone(), positions.clone());
    std::thread::Builder::new()
        .name("cdr-report".to_owned())
        .spawn(move || report::run(&output, &places, &positions))
        .context("cannot start the thread of CDR reports")?;
    Ok(files)
}

fn write_files(output: &CdrOutput, places: &Places, positions: &Arc<Positions>) {
    let mut backup = backup::Backup::new(places, positions);
    let mut hourly = hourly::Hourly::new(places, positions);
    loop {
        // Before the work: what is there when the end is known is still written.
        let stopping = output.is_stopping();
        let InForce { settings, hourly_since, .. } = output.in_force();
        let more = backup.turn(output, &settings) | hourly.turn(output, &settings, hourly_since);
        if stopping {
            return;
        }
        if !more {
            std::thread::park_timeout(Duration::from_millis(LOOK_MS));
        }
    }
}
