//! Backup files: every interval a new CSV file with the calls that ended in it (cdr.md 5).
//!
//! The name of a file ends with the last journal record it has. A file that has its name is whole, and the next one begins
//! behind it: there is no moment at which a crash could lose or repeat a record.

use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tandem_control::cdr_names::{OPERATOR, PUBLISHED};
use tandem_rating::cdr::Cdr;
use tandem_store::Positions;

use super::names::{cell, time, value};
use super::place::{Kept, Source, sync_folder};
use super::{CdrOutput, Places, Settings};
use crate::clock::Clock;

const NAME: &str = "CDR backup files";
/// What the files are called: the time they were made and the last journal record in them.
const PREFIX: &str = "backup_";
const SUFFIX: &str = ".csv";
/// A file that is not whole.
const UNFINISHED: &str = ".backup-unfinished";
/// CDRs in one file at most: after a day without disk the rest goes into the next one at once. 100,000 are some 40 MiB.
const ROWS_MAX: usize = 100_000;
/// CDRs in memory at a time.
const ROWS_READ: usize = 1_000;
/// After a failure, s.
const RETRY: Duration = Duration::from_secs(2);

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    /// Last journal record that is in a file, or has no CDR.
    done_seq: u64,
}

/// See the module text.
pub(super) struct Backup {
    folder: PathBuf,
    kept: Kept,
    kept_seq: u64,
    source: Source,
    /// The last file was begun then; `None` before the first.
    last: Option<Instant>,
    /// Not before this, after a failure.
    wait_until: Option<Instant>,
    clock: Clock,
}

impl Backup {
    pub(super) fn new(places: &Places, positions: &Arc<Positions>) -> Backup {
        let kept = Kept::new(&places.state, "cdr-backup.json");
        // The name of a file counts at once, the state is written a moment later. A folder that cannot be read now is told
        // by the first file.
        let named = files(&places.files).ok().and_then(|files| files.iter().filter_map(|path| last_seq(path)).max());
        let state: State = kept.read();
        let written = positions.written();
        let named = named.filter(|seq| *seq <= written).unwrap_or(0);
        let source = Source::new(&places.journal, positions, state.done_seq.max(named));
        Backup {
            folder: places.files.clone(),
            kept,
            kept_seq: state.done_seq,
            source,
            last: None,
            wait_until: None,
            clock: Clock,
        }
    }

    /// Writes what is due; true when there is more to write at once.
    pub(super) fn turn(&mut self, output: &CdrOutput, settings: &Settings) -> bool {
        let now = Instant::now();
        if self.wait_until.is_some_and(|until| now < until) {
            return false;
        }
        self.wait_until = None;
        let last = *self.last.get_or_insert(now);
        output.backup.come_to(self.source.done_seq(), true);
        if now.duration_since(last) < settings.write_interval {
            return false;
        }
        match self.write(settings) {
            Ok((rows, full)) => {
                output.backup.come_to(self.source.done_seq(), true);
                output.backup.went(NAME, rows);
                if !full {
                    self.last = Some(now);
                }
                full
            }
            Err(error) => {
                output.backup.failed(NAME, &output.alarms, format!("{error:#}"));
                self.source.go_to(self.source.done_seq());
                self.wait_until = Some(now + RETRY);
                false
            }
        }
    }

    /// One file; how many rows it has, and whether there are more.
    fn write(&mut self, settings: &Settings) -> Result<(usize, bool)> {
        let unfinished = self.folder.join(UNFINISHED);
        let written = self.write_rows(&unfinished);
        if written.is_err() {
            // Gives the space back.
            let _ = fs::remove_file(&unfinished);
        }
        let (rows, full) = written?;
        if rows > 0 {
            let stamp = time(self.clock.now().wall_ms, "%Y%m%d%H%M%S");
            let path = self.folder.join(format!("{PREFIX}{stamp}_{:020}{SUFFIX}", self.source.read_seq()));
            fs::rename(&unfinished, &path)
                .and_then(|()| sync_folder(&path))
                .with_context(|| format!("cannot name {}", path.display()))?;
        }
        self.source.done();
        if self.source.done_seq() != self.kept_seq {
            self.kept.write(&State { done_seq: self.source.done_seq() }).context("cannot keep the place")?;
            self.kept_seq = self.source.done_seq();
        }
        if rows > 0 {
            self.remove_oldest(settings.files_max)?;
        }
        Ok((rows, full))
    }

    /// Everything up to the end of the journal as it is now. The file is made with its first row.
    fn write_rows(&mut self, path: &Path) -> Result<(usize, bool)> {
        let end = self.source.synced();
        let mut rows = 0;
        let mut file: Option<csv::Writer<BufWriter<File>>> = None;
        while self.source.read_seq() < end && rows < ROWS_MAX {
            let before = self.source.read_seq();
            let cdrs = self.source.next(ROWS_READ.min(ROWS_MAX - rows))?;
            for (_, cdr) in &cdrs {
                let writer = match &mut file {
                    Some(writer) => writer,
                    None => file.insert(self.begin(path)?),
                };
                write_row(writer, cdr).with_context(|| format!("cannot write {}", path.display()))?;
            }
            rows += cdrs.len();
            if self.source.read_seq() == before {
                break;
            }
        }
        if let Some(writer) = file {
            let file = writer
                .into_inner()
                .map_err(|error| error.into_error())
                .and_then(|buffer| buffer.into_inner().map_err(io::IntoInnerError::into_error));
            file.and_then(|file| file.sync_all()).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok((rows, rows >= ROWS_MAX))
    }

    fn begin(&self, path: &Path) -> Result<csv::Writer<BufWriter<File>>> {
        fs::create_dir_all(&self.folder).with_context(|| format!("cannot make {}", self.folder.display()))?;
        let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
        let mut writer = csv::Writer::from_writer(BufWriter::with_capacity(1 << 18, file));
        writer.write_record(PUBLISHED.iter().chain(OPERATOR).map(|name| name.column)).context("cannot write")?;
        Ok(writer)
    }

    fn remove_oldest(&self, files_max: usize) -> Result<()> {
        let mut files = files(&self.folder).with_context(|| format!("cannot read {}", self.folder.display()))?;
        files.sort_unstable();
        let too_many = files.len().saturating_sub(files_max.max(1));
        for path in files.iter().take(too_many) {
            match fs::remove_file(path) {
                // Somebody fetched it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.with_context(|| format!("cannot remove {}", path.display()))?,
            }
        }
        Ok(())
    }
}

fn write_row(writer: &mut csv::Writer<BufWriter<File>>, cdr: &Cdr) -> csv::Result<()> {
    for name in PUBLISHED.iter().chain(OPERATOR) {
        writer.write_field(cell(&value(cdr, name)).as_bytes())?;
    }
    writer.write_record(None::<&[u8]>)
}

/// The files that are whole, in no order.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if last_seq(&path).is_some() {
            files.push(path);
        }
    }
    Ok(files)
}

/// The last journal record in a file, by its name.
fn last_seq(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let (stamp, seq) = name.split_once('_')?;
    (stamp.len() == 14 && seq.len() == 20).then(|| seq.parse().ok())?
}
