//! Real-time forwarding: each CDR to another server at the end of its call (cdr.md 5).
//!
//! A batch is done with when the server has said so, and then the place is kept: whatever breaks in between, records are sent
//! again and none is left out. The server tells what it has already by `flowNo`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tandem_rating::cdr::Cdr;
use tandem_store::Positions;

use super::place::{Kept, Source};
use super::{CdrOutput, InForce, LOOK_MS, Places, Settings, api};

const NAME: &str = "real-time CDR reports";
/// CDRs in one request at most (cdr.md 5).
pub(super) const BATCH: usize = 500;
/// Whole of one request, connection to answer: some 700 KiB take a slow line this long.
const REQUEST: Duration = Duration::from_secs(15);
/// Between attempts: doubled from the first to the last.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// While it is off its place is kept so often.
const KEEP_EVERY: Duration = Duration::from_secs(10);
/// What is read of an answer.
const ANSWER_MAX: u64 = 64 << 10;

#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    /// Last journal record that the server has, or that has no CDR.
    done_seq: u64,
}

pub(super) fn run(output: &CdrOutput, places: &Places, positions: &Arc<Positions>) {
    let kept = Kept::new(&places.state, "cdr-report.json");
    let state: State = kept.read();
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(REQUEST))
        .max_redirects(0)
        .proxy(None)
        .user_agent("tandem")
        .build()
        .into();
    let mut report = Report {
        agent,
        kept,
        kept_at: Instant::now(),
        kept_seq: state.done_seq,
        source: Source::new(&places.journal, positions, state.done_seq),
        on: None,
        wait: None,
    };
    while !output.is_stopping() {
        let InForce { settings, report_since, .. } = output.in_force();
        if !report.turn(output, &settings, report_since) {
            std::thread::park_timeout(Duration::from_millis(LOOK_MS));
        }
    }
}

struct Report {
    agent: ureq::Agent,
    kept: Kept,
    kept_at: Instant,
    kept_seq: u64,
    source: Source,
    /// Where it was sent at the last turn; `None` before the first.
    on: Option<Option<String>>,
    /// After a failure: not before that, and how long the next wait is.
    wait: Option<(Instant, Duration)>,
}

impl Report {
    /// Sends what is there; true when there may be more.
    fn turn(&mut self, output: &CdrOutput, settings: &Settings, since: u64) -> bool {
        let now = Instant::now();
        let before = self.on.replace(settings.report_to.clone());
        if before.as_ref() != Some(&settings.report_to) {
            self.wait = None;
            if before == Some(None) {
                self.source.go_to(since);
            }
        }
        let Some(server) = &settings.report_to else {
            self.source.go_to(self.source.synced());
            output.report.come_to(self.source.done_seq(), false);
            output.report.went(NAME, 0);
            if now.duration_since(self.kept_at) >= KEEP_EVERY {
                // What cannot be kept now is kept later: nothing was sent.
                let _ = self.keep(now);
            }
            return false;
        };
        if self.wait.is_some_and(|(until, _)| now < until) {
            return false;
        }
        match self.send(server) {
            Ok(sent) => {
                self.wait = None;
                let idle = self.source.done_seq() >= self.source.synced();
                // A place in the middle of nothing needs no sync of its own.
                if (sent > 0 || now.duration_since(self.kept_at) >= KEEP_EVERY)
                    && let Err(error) = self.keep(now)
                {
                    output.report.failed(NAME, &output.alarms, format!("cannot keep the place: {error}"));
                }
                output.report.come_to(self.source.done_seq(), true);
                if sent > 0 {
                    output.report.went(NAME, sent);
                }
                !idle
            }
            Err(error) => {
                output.report.come_to(self.source.done_seq(), true);
                output.report.failed(NAME, &output.alarms, format!("{error:#}"));
                self.source.go_to(self.source.done_seq());
                let pause = self.wait.map_or(BACK_OFF.0, |(_, pause)| pause);
                self.wait = Some((Instant::now() + pause, (pause * 2).min(BACK_OFF.1)));
                false
            }
        }
    }

    /// One batch; how many the server has taken.
    fn send(&mut self, server: &str) -> Result<usize> {
        let cdrs = self.source.next(BATCH)?;
        if !cdrs.is_empty() {
            post(&self.agent, server, cdrs.iter().map(|(_, cdr)| &**cdr)).with_context(|| server.to_owned())?;
        }
        self.source.done();
        Ok(cdrs.len())
    }

    fn keep(&mut self, now: Instant) -> std::io::Result<()> {
        if self.source.done_seq() != self.kept_seq {
            self.kept.write(&State { done_seq: self.source.done_seq() })?;
            self.kept_seq = self.source.done_seq();
        }
        self.kept_at = now;
        Ok(())
    }
}

/// Sends a batch. Taken is what is answered with 2xx, unless the answer is JSON with a `retCode` that is not 0.
fn post<'a>(agent: &ureq::Agent, server: &str, cdrs: impl Iterator<Item = &'a Cdr>) -> Result<()> {
    let body = serde_json::to_vec(&api::message(cdrs))?;
    let mut answer = agent.post(server).header("Content-Type", "application/json;charset=UTF-8").send(&body[..])?;
    if !answer.status().is_success() {
        bail!("it answered {}", answer.status());
    }
    let text = answer.body_mut().with_config().limit(ANSWER_MAX).read_to_vec()?;
    if let Ok(serde_json::Value::Object(map)) = serde_json::from_slice(&text)
        && let Some(code) = map.get("retCode")
        && code != 0
    {
        bail!("it answered retCode {code}");
    }
    Ok(())
}
