//! Hourly export: `YYYYMMDDHH.txt` by the hour of a call's end, one line a call, 18 fields (cdr.md 5).
//!
//! Lines are added to files that are there, so a crash could leave half of a batch. Before each batch the lengths of the files it
//! touches are kept; the next start cuts them back to those and writes the batch again.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tandem_rating::cdr::Cdr;
use tandem_store::Positions;

use super::names::time;
use super::place::{Kept, Source, sync_folder};
use super::{CdrOutput, Places, Settings};

const NAME: &str = "hourly CDR files";
/// CDRs written together: each batch costs a few syncs.
const BATCH: usize = 2_000;
/// Between two batches, so that a busy second is one.
const EVERY: Duration = Duration::from_secs(1);
/// While the export is off its place is kept so often: a crash then exports at most what ended in this time.
const KEEP_EVERY: Duration = Duration::from_secs(10);
/// After a failure.
const RETRY: Duration = Duration::from_secs(2);

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    /// Last journal record that is written or has nothing to write.
    done_seq: u64,
    /// Files that are being added to, and how long each was before.
    lengths: BTreeMap<String, u64>,
}

/// See the module text.
pub(super) struct Hourly {
    folder: PathBuf,
    kept: Kept,
    kept_at: Instant,
    kept_seq: u64,
    source: Source,
    /// What a crash or a failure left half done.
    half_done: BTreeMap<String, u64>,
    /// Whether it was on at the last turn; `None` before the first.
    on: Option<bool>,
    wait_until: Option<Instant>,
}

impl Hourly {
    pub(super) fn new(places: &Places, positions: &Arc<Positions>) -> Hourly {
        let kept = Kept::new(&places.state, "cdr-hourly.json");
        let state: State = kept.read();
        Hourly {
            folder: places.files.clone(),
            kept,
            kept_at: Instant::now(),
            kept_seq: state.done_seq,
            source: Source::new(&places.journal, positions, state.done_seq),
            half_done: state.lengths,
            on: None,
            wait_until: None,
        }
    }

    /// Writes what is due; true when there is more to write at once.
    pub(super) fn turn(&mut self, output: &CdrOutput, settings: &Settings, since: u64) -> bool {
        let now = Instant::now();
        if self.on.replace(settings.hourly) == Some(false) && settings.hourly {
            self.source.go_to(since);
        }
        if !settings.hourly {
            self.source.go_to(self.source.synced());
            output.hourly.come_to(self.source.done_seq(), false);
            if now.duration_since(self.kept_at) >= KEEP_EVERY && self.source.done_seq() != self.kept_seq {
                self.kept_at = now;
                // What cannot be kept now is kept later: nothing was written that it belongs to.
                let _ = self.keep(BTreeMap::new());
            }
            return false;
        }
        if self.wait_until.is_some_and(|until| now < until) && !output.is_stopping() {
            return false;
        }
        self.wait_until = None;
        match self.write(settings) {
            Ok((rows, more)) => {
                output.hourly.come_to(self.source.done_seq(), true);
                output.hourly.went(NAME, rows);
                if rows > 0 && !more {
                    self.wait_until = Some(now + EVERY);
                }
                more
            }
            Err(error) => {
                output.hourly.failed(NAME, &output.alarms, format!("{error:#}"));
                self.source.go_to(self.source.done_seq());
                self.wait_until = Some(now + RETRY);
                false
            }
        }
    }

    /// One batch; how many lines it had, and whether there are more.
    fn write(&mut self, settings: &Settings) -> Result<(usize, bool)> {
        self.cut_back()?;
        let cdrs = self.source.next(BATCH)?;
        let more = self.source.read_seq() < self.source.synced();
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let mut rows = 0;
        for (_, cdr) in cdrs.iter().filter(|(_, cdr)| cdr.hold_s > 0 || settings.hourly_unanswered) {
            let text = files.entry(format!("{}.txt", time(cdr.end_ms, "%Y%m%d%H"))).or_default();
            write_line(text, cdr);
            rows += 1;
        }
        if rows == 0 {
            self.source.done();
            return Ok((0, more));
        }
        fs::create_dir_all(&self.folder).with_context(|| format!("cannot make {}", self.folder.display()))?;
        let length = |name: &String| fs::metadata(self.folder.join(name)).map_or(0, |meta| meta.len());
        let lengths: BTreeMap<String, u64> = files.keys().map(|name| (name.clone(), length(name))).collect();
        self.keep(lengths.clone()).context("cannot keep the place")?;
        // From here on there may be half of it.
        self.half_done = lengths;
        for (name, text) in &files {
            let path = self.folder.join(name);
            let add = || -> io::Result<()> {
                let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
                file.write_all(text)?;
                file.sync_all()?;
                sync_folder(&path)
            };
            add().with_context(|| format!("cannot write {}", path.display()))?;
        }
        let before = self.source.done_seq();
        self.source.done();
        if let Err(error) = self.keep(BTreeMap::new()) {
            self.source.go_to(before);
            return Err(error).context("cannot keep the place");
        }
        self.half_done.clear();
        Ok((rows, more))
    }

    /// Takes back what was half done. A file that somebody fetched meanwhile is shorter, or gone: it begins anew.
    fn cut_back(&mut self) -> Result<()> {
        for (name, length) in &self.half_done {
            let path = self.folder.join(name);
            let cut = || -> io::Result<()> {
                let file = match OpenOptions::new().write(true).open(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                    file => file?,
                };
                if file.metadata()?.len() > *length {
                    file.set_len(*length)?;
                    file.sync_all()?;
                }
                Ok(())
            };
            cut().with_context(|| format!("cannot cut {} back", path.display()))?;
        }
        self.half_done.clear();
        Ok(())
    }

    fn keep(&mut self, lengths: BTreeMap<String, u64>) -> io::Result<()> {
        self.kept.write(&State { done_seq: self.source.done_seq(), lengths })?;
        self.kept_seq = self.source.done_seq();
        Ok(())
    }
}

/// The 18 fields. What would break a line or a field becomes `_`.
fn write_line(text: &mut Vec<u8>, cdr: &Cdr) {
    let at = |ms: i64| time(ms, "%Y-%m-%d %H:%M:%S");
    let clean = |value: &str| value.replace(|c: char| c == '|' || c.is_control(), "_");
    let fields = [
        clean(&cdr.caller_billed),
        clean(&cdr.callee_billed),
        at(cdr.connect_ms.unwrap_or(cdr.end_ms)),
        at(cdr.end_ms),
        cdr.hold_s.to_string(),
        cdr.end_reason.to_string(),
        cdr.end_direction.to_string(),
        clean(&cdr.caller_gateway),
        clean(&cdr.callee_gateway),
        clean(&cdr.caller_ip),
        clean(&cdr.callee_ip),
        clean(&cdr.caller_in),
        clean(&cdr.callee_in),
        clean(&cdr.caller_out),
        clean(&cdr.callee_out),
        cdr.billing_type.to_string(),
        cdr.billing_mode.to_string(),
        cdr.flow_no.to_string(),
    ];
    text.extend_from_slice(fields.join("|").as_bytes());
    text.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_eighteen_fields_in_the_documented_order_whatever_is_in_them() {
        let cdr = Cdr {
            flow_no: 77,
            caller_billed: "1|2\n3".into(),
            callee_billed: "callee".into(),
            connect_ms: Some(1_795_305_600_000),
            end_ms: 1_795_305_605_400,
            hold_s: 5,
            end_reason: -69,
            end_direction: 2,
            caller_gateway: "mg".into(),
            callee_gateway: "rg".into(),
            caller_ip: "192.0.2.1:5060".into(),
            callee_ip: "192.0.2.2:5060".into(),
            caller_in: "a".into(),
            callee_in: "b".into(),
            caller_out: "c".into(),
            callee_out: "d".into(),
            billing_type: 1,
            billing_mode: 3,
            ..Cdr::default()
        };
        let mut text = Vec::new();
        write_line(&mut text, &cdr);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "1_2_3|callee|2026-11-22 00:00:00|2026-11-22 00:00:05|5|-69|2|mg|rg|192.0.2.1:5060|192.0.2.2:5060|a|b|c|d|1|3|77\n"
        );
    }
}
