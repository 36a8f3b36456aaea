//! `cargo xtask sim`: runs seeds, prints what failed, how to see it again, and the smallest run that still fails.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use tandem_sim::audit::Seen;
use tandem_sim::plan::{Mask, Profile};
use tandem_sim::run::{Job, shrink, story};
use tandem_sim::world::Outcome;

/// Runs that shrinking may take.
const SHRINK_RUNS: u32 = 400;

/// The seeded simulator: the real switch, a virtual world, an auditor.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask sim", version)]
struct Options {
    /// One seed, with its summary and, when it fails, its story.
    #[arg(long, conflicts_with_all = ["runs", "from"])]
    seed: Option<u64>,
    /// So many seeds.
    #[arg(long, default_value_t = 50)]
    runs: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Calls of a run.
    #[arg(long, default_value_t = 200)]
    calls: u32,
    /// Kinds of trouble.
    #[arg(long, value_enum, default_value_t = Profile::All)]
    profile: Profile,
    /// Only these calls of the plan, comma separated; `none` for none.
    #[arg(long, requires = "seed")]
    only_calls: Option<String>,
    /// Without these faults, comma separated: loss, repeat, delay, rtp, rating_delay, crash.0, disk.1, ..
    #[arg(long, requires = "seed", value_delimiter = ',')]
    without: Vec<String>,
    /// Threads; as many as there are cores.
    #[arg(long)]
    jobs: Option<usize>,
    /// A failing seed is shown as it is.
    #[arg(long)]
    no_shrink: bool,
    /// Lines of the story of a failing seed.
    #[arg(long, default_value_t = 150)]
    lines: usize,
    /// The whole story of a good seed as well.
    #[arg(long, requires = "seed")]
    tell: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    match options.seed {
        Some(seed) => one(options, seed),
        None => Ok(many(options)),
    }
}

fn mask(options: &Options) -> Result<Mask> {
    let only_calls = match options.only_calls.as_deref() {
        None => None,
        Some("none") => Some(BTreeSet::new()),
        Some(list) => Some(
            list.split(',')
                .map(|word| word.trim().parse().with_context(|| format!("--only-calls takes numbers, not {word:?}")))
                .collect::<Result<BTreeSet<u32>>>()?,
        ),
    };
    Ok(Mask { only_calls, without: options.without.iter().cloned().collect() })
}

fn one(options: &Options, seed: u64) -> Result<bool> {
    let job = Job { mask: mask(options)?, ..Job::new(seed, options.calls, options.profile) };
    let started = Instant::now();
    let outcome = job.run(options.tell);
    println!("seed {seed}: {}", summary(&outcome));
    println!("event hash {:016x}, {:.1} s", outcome.hash, started.elapsed().as_secs_f64());
    for (_, line) in &outcome.story {
        println!("{line}");
    }
    if outcome.findings.is_empty() {
        return Ok(true);
    }
    explain(options, &job, &outcome);
    Ok(false)
}

fn explain(options: &Options, job: &Job, outcome: &Outcome) {
    println!("\n{} findings:", outcome.findings.len());
    for finding in outcome.findings.iter().take(10) {
        println!("  {finding}");
    }
    println!("again: {}", job.command());
    let whole = job.mask == Mask::default();
    let small = if options.no_shrink || !whole {
        job.clone()
    } else {
        println!("shrinking ..");
        shrink(job, SHRINK_RUNS, &mut |_| {})
    };
    if small.mask != job.mask {
        let plan = small.plan();
        println!("{} calls and {} faults are enough: {}", plan.calls.len(), plan.faults.len(), small.command());
        for finding in small.run(false).findings.iter().take(5) {
            println!("  {finding}");
        }
    }
    println!();
    for line in story(&small, options.lines) {
        println!("{line}");
    }
}

fn many(options: &Options) -> bool {
    let jobs = options.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1);
    let next = AtomicU64::new(options.from);
    let end = options.from.saturating_add(options.runs);
    let started = Instant::now();
    let total: Mutex<(u64, Totals)> = Mutex::default();
    let failed: Mutex<Vec<(Job, Outcome)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let job = Job::new(seed, options.calls, options.profile);
                    let outcome = job.run(false);
                    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                    total.0 += 1;
                    total.1.add(&outcome);
                    if total.0.is_multiple_of((options.runs / 20).max(1)) {
                        let rate = total.1.seen.calls as f64 / started.elapsed().as_secs_f64();
                        let done = total.0;
                        println!("{done} of {} seeds, {} calls, {rate:.0} calls/s", options.runs, total.1.seen.calls);
                    }
                    drop(total);
                    if !outcome.findings.is_empty() {
                        println!("seed {seed} fails: {}", outcome.findings[0]);
                        println!("  {}", job.command());
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push((job, outcome));
                    }
                }
            });
        }
    });
    let (seeds, totals) = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("\n{seeds} seeds in {:.1} s: {}", started.elapsed().as_secs_f64(), totals.text());
    failed.sort_by_key(|(job, _)| job.seed);
    if let Some((job, outcome)) = failed.first() {
        println!("\n{} seeds failed; the first, {}:", failed.len(), job.seed);
        explain(options, job, outcome);
    }
    failed.is_empty()
}

#[derive(Debug, Default)]
struct Totals {
    seen: Seen,
    crashes: u64,
    power_cuts: u64,
    bytes_lost: u64,
    disk_refused: u64,
}

impl Totals {
    fn add(&mut self, outcome: &Outcome) {
        self.seen.add(&outcome.seen);
        self.crashes += u64::from(outcome.crashes);
        self.power_cuts += u64::from(outcome.power_cuts);
        self.bytes_lost += outcome.bytes_lost;
        self.disk_refused += outcome.disk_refused;
    }

    fn text(&self) -> String {
        format!(
            "{}; {} deaths, {} with the power, {} calls went on ({} of them ended), {} unsynced bytes lost, {} refusals of \
             the disk; {}",
            self.seen.calls_text(),
            self.crashes,
            self.power_cuts,
            self.seen.adopted,
            self.seen.ghosts,
            self.bytes_lost,
            self.disk_refused,
            self.seen.money_text()
        )
    }
}

fn summary(outcome: &Outcome) -> String {
    let mut totals = Totals::default();
    totals.add(outcome);
    totals.text()
}
