//! `soak`: very many calls in one run, with memory, files, ports and disk watched; flat after warm-up, or not.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::account::Snapshot;
use crate::common::{Bench, Common, again, number, reports};
use crate::peers::failures;
use crate::plot::{Axis, Line, Plot};
use crate::results::Results;
use crate::subject::{Kind, Target};

/// Share of a run that warms it up: pools and the kept traces fill.
const WARM: f64 = 0.2;
/// Growth after it that still counts as flat, as a share of the mean: what sampling and allocators make.
const FLAT: f64 = 0.02;

/// Bytes of a MiB.
const MIB: f64 = 1_048_576.0;

/// Options of `soak`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// What is measured; only tandem tells its ports and calls
    #[arg(long, value_enum, default_value_t = Kind::Tandem)]
    kind: Kind,
    /// Calls
    #[arg(long, default_value_t = 1_000_000)]
    calls: u32,
    /// Calls per second
    #[arg(long, default_value_t = 2_000)]
    rate: u32,
    /// From answer to BYE, ms
    #[arg(long, default_value_t = 500)]
    hold_ms: u32,
    /// Seconds between two looks
    #[arg(long, default_value_t = 2)]
    every: u64,
}

/// One look.
#[derive(Clone, Debug, Default)]
struct Sample {
    seconds: f64,
    calls: u64,
    active: u64,
    ports: u64,
    rss_kib: u64,
    pss_kib: u64,
    files: u64,
    cpu_s: f64,
    journal_bytes: u64,
    database_bytes: u64,
}

/// Runs the soak.
///
/// # Errors
/// What is missing, what the target complained about, or a run too short to judge.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!((1..=60).contains(&arguments.every), "--every is {}; allowed is 1 to 60 s", arguments.every);
    let (kind, calls, rate) = (arguments.kind, arguments.calls, arguments.rate);
    let bench = Bench::open(&arguments.common, &[kind])?;
    let mut results = Results::new("soak", &arguments.common)?;
    let target = bench.start(kind)?;
    let ids = target.ids();
    let step = vec![format!("calls:rate={rate},count={calls},hold_ms={}", arguments.hold_ms)];
    let start = Instant::now();
    let cpu = Snapshot::take(&ids).cpu_ns();
    let mut samples = vec![look(&target, &ids, start, cpu)];
    let mut child = bench.load_command(&target, &ids, &step)?.spawn().context("cannot start the generator")?;
    let every = Duration::from_secs(arguments.every);
    let mut next = start + every;
    while child.try_wait().context("cannot look at the generator")?.is_none() {
        if Instant::now() >= next {
            samples.push(look(&target, &ids, start, cpu));
            next += every;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let output = child.wait_with_output().context("cannot read the generator's report")?;
    let mut all = reports(kind, &output)?;
    let report = all.pop().context("the generator reported nothing")?;
    // A moment later everything must be back where it was.
    std::thread::sleep(every);
    let last = look(&target, &ids, start, cpu);
    results.say(&format!("## {kind}: {calls} calls at {rate}/s, each held {} ms\n", arguments.hold_ms));
    tell(&mut results, &report, &samples, &last)?;
    samples.push(last);
    results.file("samples.csv", csv(&samples));
    for (name, plot) in plots(&samples) {
        results.file(name, plot.svg()?);
        results.say(&format!("\n![{name}]({name})"));
    }
    results.row(report);
    results.save()
}

fn tell(results: &mut Results, report: &Value, samples: &[Sample], last: &Sample) -> Result<()> {
    results.say(&format!(
        "- {} of {} calls completed in {:.0} s, failed: {}, sent again: {}",
        report["completed"],
        report["offered"],
        number(report, "seconds"),
        failures(report),
        again(report)
    ));
    results.say(&format!(
        "- INVITE to 180 p50 / p99 / p99.9 / max ms: {:.2} / {:.2} / {:.2} / {:.2}; late p99 {:.2} ms",
        number(report, "invite_180_ms.p50"),
        number(report, "invite_180_ms.p99"),
        number(report, "invite_180_ms.p999"),
        number(report, "invite_180_ms.max"),
        number(report, "late_ms.p99"),
    ));
    let span = number(report, "seconds");
    let steady: Vec<&Sample> = samples.iter().filter(|s| s.seconds >= span * WARM && s.seconds <= span).collect();
    ensure!(steady.len() >= 5, "the run was too short to judge: {} looks after the warm-up", steady.len());
    let first = samples.first().cloned().unwrap_or_default();
    let done = number(report, "completed").max(1.0);
    for (what, unit, of) in [
        ("RSS", "KiB", (|s: &Sample| s.rss_kib) as fn(&Sample) -> u64),
        ("PSS", "KiB", |s| s.pss_kib),
        ("open files", "", |s| s.files),
        ("ports leased", "", |s| s.ports),
        ("active calls", "", |s| s.active),
    ] {
        let points: Vec<(f64, f64)> = steady.iter().map(|s| (s.seconds, of(s) as f64)).collect();
        let verdict = Verdict::of(&points);
        let per_call = verdict.slope * (span / done);
        results.say(&format!(
            "- {what}: {} ({:+.0} {unit} over the run after warm-up, {:+.2} % of the mean {:.0}; max - min {:.0}; {:+.4} {unit} a call); at the start {}, at the end {}",
            if verdict.flat() { "**flat after warm-up**" } else { "**not flat**" },
            verdict.growth,
            verdict.growth / verdict.mean.max(1.0) * 100.0,
            verdict.mean,
            verdict.max - verdict.min,
            per_call,
            of(&first),
            of(last),
        ));
    }
    let bytes = |of: fn(&Sample) -> u64| (of(last).saturating_sub(of(&first))) as f64 / done;
    results.say(&format!(
        "- on disk (kept for ever, by design): journal {:.0} bytes a call, database {:.0} bytes a call, {:.0} MiB in all",
        bytes(|s| s.journal_bytes),
        bytes(|s| s.database_bytes),
        (last.journal_bytes + last.database_bytes) as f64 / MIB,
    ));
    results.say(&format!("- CPU {:.3} ms a call", last.cpu_s * 1e3 / done));
    Ok(())
}

fn look(target: &Target, ids: &[u32], start: Instant, cpu: u64) -> Sample {
    let snapshot = Snapshot::take(ids);
    // A status that is late or refused is a gap in two columns, not the end of the soak.
    let status = target.status().unwrap_or(Value::Null);
    let count = |key: &str| status[key].as_u64().unwrap_or(0);
    let (mut journal_bytes, mut database_bytes) = (0, 0);
    for (name, bytes) in files(&target.folder().join("data")) {
        // The database, and what SQLite keeps beside it.
        if name.starts_with("tandem.db") { database_bytes += bytes } else { journal_bytes += bytes }
    }
    Sample {
        seconds: start.elapsed().as_secs_f64(),
        calls: count("attempts"),
        active: count("calls_setup") + count("calls_ringing") + count("calls_talking"),
        ports: count("media_ports").saturating_sub(count("media_ports_free")),
        rss_kib: snapshot.rss_kib,
        pss_kib: snapshot.pss_kib,
        files: snapshot.files,
        cpu_s: snapshot.cpu_ns().saturating_sub(cpu) as f64 / 1e9,
        journal_bytes,
        database_bytes,
    }
}

/// Name and size of every file below a folder.
fn files(folder: &Path) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(found) if found.is_dir() => all.extend(files(&entry.path())),
            Ok(found) => all.push((entry.file_name().to_string_lossy().into_owned(), found.len())),
            // Gone since the folder was read.
            Err(_) => {}
        }
    }
    all
}

/// How values move over time.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Verdict {
    /// Per second, by least squares.
    slope: f64,
    /// Over the whole span.
    growth: f64,
    mean: f64,
    min: f64,
    max: f64,
}

impl Verdict {
    fn of(points: &[(f64, f64)]) -> Verdict {
        let n = points.len().max(1) as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let over: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
        let under: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
        let slope = if under > 0.0 { over / under } else { 0.0 };
        let span = points.last().map_or(0.0, |point| point.0) - points.first().map_or(0.0, |point| point.0);
        let fold = |start: f64, pick: fn(f64, f64) -> f64| points.iter().map(|point| point.1).fold(start, pick);
        Verdict { slope, growth: slope * span, mean: y, min: fold(f64::MAX, f64::min), max: fold(f64::MIN, f64::max) }
    }

    /// Whether the trend is within what sampling makes. Less than before counts as flat.
    fn flat(&self) -> bool {
        self.growth <= self.mean * FLAT
    }
}

fn csv(samples: &[Sample]) -> String {
    let mut text =
        String::from("seconds,calls,active,ports,rss_kib,pss_kib,files,cpu_s,journal_bytes,database_bytes\n");
    for s in samples {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:.1},{},{},{},{},{},{},{:.3},{},{}",
            s.seconds,
            s.calls,
            s.active,
            s.ports,
            s.rss_kib,
            s.pss_kib,
            s.files,
            s.cpu_s,
            s.journal_bytes,
            s.database_bytes
        );
    }
    text
}

fn plots(samples: &[Sample]) -> Vec<(&'static str, Plot)> {
    let line = |name: &str, colour: usize, of: fn(&Sample) -> f64| Line {
        name: name.to_owned(),
        colour,
        dashed: false,
        points: samples.iter().map(|sample| (sample.seconds, of(sample))).collect(),
    };
    let plot = |title: &str, y: &str, lines: Vec<Line>| Plot {
        title: title.to_owned(),
        x: Axis { label: "seconds".to_owned(), log: false },
        y: Axis { label: y.to_owned(), log: false },
        lines,
    };
    vec![
        (
            "memory.svg",
            plot(
                "Memory",
                "MiB",
                vec![line("RSS", 0, |s| s.rss_kib as f64 / 1024.0), line("PSS", 1, |s| s.pss_kib as f64 / 1024.0)],
            ),
        ),
        (
            "counts.svg",
            plot(
                "Ports, files, calls",
                "count",
                vec![
                    line("ports leased", 0, |s| s.ports as f64),
                    line("open files", 1, |s| s.files as f64),
                    line("active calls", 2, |s| s.active as f64),
                ],
            ),
        ),
        (
            "disk.svg",
            plot(
                "On disk",
                "MiB",
                vec![
                    line("journal", 0, |s| s.journal_bytes as f64 / MIB),
                    line("database", 1, |s| s.database_bytes as f64 / MIB),
                ],
            ),
        ),
        ("cpu.svg", plot("CPU so far", "seconds of CPU", vec![line("CPU", 0, |s| s.cpu_s)])),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(of: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        (0..100).map(|n| (f64::from(n) * 2.0, of(f64::from(n)))).collect()
    }

    #[test]
    fn noise_is_flat_and_a_trend_is_not() {
        let noise = Verdict::of(&series(|n| 100_000.0 + (n * 7.0) % 13.0 * 100.0));
        assert!(noise.flat(), "{noise:?}");
        let leak = Verdict::of(&series(|n| 100_000.0 + n * 40.0));
        assert!(!leak.flat(), "{leak:?}");
        assert!((leak.slope - 20.0).abs() < 1e-6 && (leak.growth - 3_960.0).abs() < 1e-3, "{leak:?}");
        assert_eq!((leak.min, leak.max), (100_000.0, 103_960.0));
        let shrinks = Verdict::of(&series(|n| 100_000.0 - n * 40.0));
        assert!(shrinks.flat(), "less is no leak");
        assert!(Verdict::of(&series(|_| 0.0)).flat(), "nothing stays nothing");
    }

    #[test]
    fn samples_are_written_as_a_table_and_drawn() {
        let samples: Vec<Sample> = (0..9u32)
            .map(|n| Sample { seconds: f64::from(n), rss_kib: 1_000 + u64::from(n), files: 7, ..Sample::default() })
            .collect();
        let text = csv(&samples);
        assert_eq!(text.lines().count(), 10);
        let columns = |line: &str| line.split(',').count();
        assert!(text.lines().all(|line| columns(line) == columns(text.lines().next().unwrap())), "{text}");
        assert_eq!(plots(&samples).len(), 4);
        assert!(plots(&samples).iter().all(|(_, plot)| plot.svg().is_ok()));
    }

    #[test]
    fn files_are_found_in_folders_below() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), [0; 10]).unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        fs::write(folder.path().join("b/c"), [0; 5]).unwrap();
        let mut found = files(folder.path());
        found.sort();
        assert_eq!(found, [("a".to_owned(), 10), ("c".to_owned(), 5)]);
        assert!(files(&folder.path().join("nothing")).is_empty());
    }
}
