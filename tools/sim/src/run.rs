//! Runs of seeds: one, many, and the smallest one that still fails.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use crate::audit::{Finding, Seen};
use crate::bug::Bug;
use crate::plan::{Mask, Plan, Profile};
use crate::world::{Outcome, World};

/// One run.
#[derive(Clone, Debug)]
pub struct Job {
    /// Seed.
    pub seed: u64,
    /// Calls.
    pub calls: u32,
    /// Kinds of trouble.
    pub profile: Profile,
    /// What is left out.
    pub mask: Mask,
    /// What is planted.
    pub bug: Bug,
}

impl Job {
    /// A whole run without a planted bug.
    pub fn new(seed: u64, calls: u32, profile: Profile) -> Job {
        Job { seed, calls, profile, mask: Mask::default(), bug: Bug::None }
    }

    /// The plan.
    pub fn plan(&self) -> Plan {
        Plan::new(self.seed, self.calls, self.profile).masked(&self.mask)
    }

    /// Plays it. `record` keeps the story.
    pub fn run(&self, record: bool) -> Outcome {
        play(&self.plan(), self.bug, record)
    }

    /// The command that plays it again.
    pub fn command(&self) -> String {
        let mut text =
            format!("cargo xtask sim --seed {} --calls {} --profile {}", self.seed, self.calls, self.profile.as_str());
        if let Some(only) = &self.mask.only_calls {
            let list: Vec<String> = only.iter().map(u32::to_string).collect();
            text.push_str(&format!(
                " --only-calls {}",
                if list.is_empty() { "none".to_owned() } else { list.join(",") }
            ));
        }
        if !self.mask.without.is_empty() {
            let list: Vec<&str> = self.mask.without.iter().map(String::as_str).collect();
            text.push_str(&format!(" --without {}", list.join(",")));
        }
        text
    }
}

/// Plays a plan, which may be changed by hand. `record` keeps the story.
pub fn play(plan: &Plan, bug: Bug, record: bool) -> Outcome {
    let folder = match tempfile::Builder::new().prefix("tandem-sim-").tempdir_in(memory_folder()) {
        Ok(folder) => folder,
        Err(error) => return broken("harness", format!("no folder for the journal: {error}")),
    };
    let played = catch_unwind(AssertUnwindSafe(|| World::new(plan, folder.path(), bug, record).run()));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("of unknown cause");
        broken("panic", text.to_owned())
    })
}

/// Where journals of a simulation live: in memory if there is such a folder, because nothing there needs a real disk.
fn memory_folder() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

fn broken(kind: &'static str, text: String) -> Outcome {
    Outcome {
        findings: vec![Finding { kind, call: None, text }],
        seen: Seen::default(),
        hash: 0,
        crashes: 0,
        power_cuts: 0,
        bytes_lost: 0,
        disk_refused: 0,
        story: Vec::new(),
    }
}

/// Makes a failing run smaller: fewer faults, then fewer calls, for as long as it fails in the same way. `left` is how many
/// runs that may take. `tell` hears of every step that helped.
pub fn shrink(job: &Job, mut left: u32, tell: &mut dyn FnMut(&Job)) -> Job {
    let Some(kind) = job.run(false).findings.first().map(|finding| finding.kind) else {
        return job.clone();
    };
    let mut best = job.clone();
    let mut fails = |candidate: &Job| {
        if left == 0 {
            return false;
        }
        left -= 1;
        candidate.run(false).findings.iter().any(|finding| finding.kind == kind)
    };
    // Faults first: without them calls are independent, and far fewer are needed.
    let names = best.plan().names();
    let groups = [names.len(), names.len().div_ceil(2), names.len().div_ceil(4), 1];
    for size in groups {
        let standing: Vec<String> = names.iter().filter(|n| !best.mask.without.contains(*n)).cloned().collect();
        for group in standing.chunks(size.max(1)) {
            let mut candidate = best.clone();
            candidate.mask.without.extend(group.iter().cloned());
            if fails(&candidate) {
                best = candidate;
                tell(&best);
            }
        }
    }
    // Then calls: leave out ever smaller parts.
    let mut calls: Vec<u32> = best.plan().calls.iter().map(|call| call.index).collect();
    let mut size = calls.len().div_ceil(2).max(1);
    loop {
        let mut at = 0;
        while at < calls.len() {
            let mut fewer = calls.clone();
            fewer.drain(at..(at + size).min(calls.len()));
            let mut candidate = best.clone();
            candidate.mask.only_calls = Some(fewer.iter().copied().collect::<BTreeSet<u32>>());
            if fails(&candidate) {
                calls = fewer;
                best = candidate;
                tell(&best);
            } else {
                at += size;
            }
        }
        if size == 1 {
            return best;
        }
        size = size.div_ceil(2);
    }
}

/// The story of a failing run: the lines of the calls it is about and of everything that is no call's, the last ones.
pub fn story(job: &Job, lines_max: usize) -> Vec<String> {
    let outcome = job.run(true);
    let calls: BTreeSet<u32> = outcome.findings.iter().filter_map(|finding| finding.call).collect();
    let lines: Vec<String> = outcome
        .story
        .into_iter()
        .filter(|(call, _)| calls.is_empty() || call.is_none_or(|call| calls.contains(&call)))
        .map(|(_, line)| line)
        .collect();
    let from = lines.len().saturating_sub(lines_max);
    lines[from..].to_vec()
}
