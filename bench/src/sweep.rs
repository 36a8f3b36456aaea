//! `sweep`: CPU per call and latency against the call rate, and against the number of established calls; with plots.

use anyhow::Result;
use serde_json::Value;

use crate::common::{Bench, Common, again, cpu_ms_per_call, number};
use crate::figures::beside;
use crate::peers::failures;
use crate::plot::{Axis, Line, Plot};
use crate::results::Results;
use crate::subject::Kind;

/// Above this share of failed calls a target is beyond its limit: the point is in the table, not in the plots, and higher
/// rates are not tried.
const FAILED_MAX: f64 = 0.01;

/// Options of `sweep`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// What is measured
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_value = "tandem,tandem-nomedia,kamailio,kamailio-rtpengine"
    )]
    kinds: Vec<Kind>,
    /// Calls per second
    #[arg(long, value_delimiter = ',', default_value = "100,200,500,1000,1500,2000,3000,4000,5000")]
    rates: Vec<u32>,
    /// Established calls beside which calls are placed
    #[arg(long, value_delimiter = ',', default_value = "100,1000,4000,12000")]
    held: Vec<u32>,
    /// Calls per second beside established calls
    #[arg(long, default_value_t = 300)]
    rate: u32,
    /// Seconds of each point
    #[arg(long, default_value_t = 6)]
    seconds: u32,
}

/// Runs both sweeps, one point after the other, the targets in turns.
///
/// # Errors
/// What is missing, or what a target complained about.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let bench = Bench::open(&arguments.common, &arguments.kinds)?;
    let mut results = Results::new("sweep", &arguments.common)?;
    let seconds = arguments.seconds;
    results.say(&format!("## Against the call rate, {seconds} s a point\n"));
    head(&mut results, "calls/s");
    let mut beyond: Vec<Kind> = Vec::new();
    let mut by_rate = Vec::new();
    for rate in &arguments.rates {
        for kind in arguments.kinds.iter().filter(|kind| !beyond.contains(kind)).copied().collect::<Vec<_>>() {
            let target = bench.start_warm(kind)?;
            let step = vec![format!("calls:rate={rate},count={}", (rate * seconds).max(300))];
            for report in bench.load(&target, &target.ids(), &step)? {
                if row(&mut results, kind, *rate, &report) {
                    by_rate.push(Point::of(kind, *rate, &report));
                } else {
                    beyond.push(kind);
                }
                results.row(report);
            }
        }
    }
    results.say(&format!("\n## Against established calls, {} calls/s beside them\n", arguments.rate));
    head(&mut results, "established");
    let mut by_held = Vec::new();
    for held in &arguments.held {
        for kind in &arguments.kinds {
            let report = match beside(&bench, *kind, *held, arguments.rate, seconds) {
                Ok(report) => report,
                // One target's limit (ports, files, memory) is a result, not the end of the sweep.
                Err(error) => {
                    results.say(&format!("| {kind} | {held} | not possible: {} | | | | |", first_line(&error)));
                    continue;
                }
            };
            if row(&mut results, *kind, *held, &report) {
                by_held.push(Point::of(*kind, number(&report, "held") as u32, &report));
            }
            results.row(report);
        }
    }
    for (name, title, label, points) in [
        ("rate", "against the call rate", "calls per second", &by_rate),
        ("established", "beside established calls", "established calls", &by_held),
    ] {
        if points.is_empty() {
            continue;
        }
        results.file(&format!("cpu-by-{name}.svg"), cpu(title, label, &arguments.kinds, points).svg()?);
        results.file(&format!("latency-by-{name}.svg"), latency(title, label, &arguments.kinds, points).svg()?);
        results.say(&format!("\n![CPU](cpu-by-{name}.svg)\n\n![latency](latency-by-{name}.svg)"));
    }
    results.save()
}

fn first_line(error: &anyhow::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

fn head(results: &mut Results, what: &str) {
    results.say(&format!(
        "| target | {what} | CPU ms per call | INVITE-180 p50 / p99 ms | late p99 ms | failed | sent again |"
    ));
    results.say("|---|---|---|---|---|---|---|");
}

/// Tells a point; false when the target is beyond its limit there.
fn row(results: &mut Results, kind: Kind, at: u32, report: &Value) -> bool {
    results.say(&format!(
        "| {kind} | {at} | {:.3} | {:.2} / {:.2} | {:.2} | {} | {} |",
        cpu_ms_per_call(report),
        number(report, "invite_180_ms.p50"),
        number(report, "invite_180_ms.p99"),
        number(report, "late_ms.p99"),
        failures(report),
        again(report),
    ));
    number(report, "failed") <= number(report, "offered") * FAILED_MAX
}

/// A point of the plots.
#[derive(Clone, Copy, Debug)]
struct Point {
    kind: Kind,
    at: f64,
    cpu_ms: f64,
    p50_ms: f64,
    p99_ms: f64,
}

impl Point {
    fn of(kind: Kind, at: u32, report: &Value) -> Point {
        Point {
            kind,
            at: f64::from(at),
            cpu_ms: cpu_ms_per_call(report),
            p50_ms: number(report, "invite_180_ms.p50"),
            p99_ms: number(report, "invite_180_ms.p99"),
        }
    }
}

fn line(kinds: &[Kind], kind: Kind, name: &str, dashed: bool, points: &[Point], y: fn(&Point) -> f64) -> Line {
    Line {
        name: format!("{kind}{name}"),
        colour: kinds.iter().position(|found| *found == kind).unwrap_or(0),
        dashed,
        points: points.iter().filter(|point| point.kind == kind).map(|point| (point.at, y(point))).collect(),
    }
}

fn cpu(title: &str, label: &str, kinds: &[Kind], points: &[Point]) -> Plot {
    Plot {
        title: format!("CPU of a call {title}"),
        x: Axis { label: label.to_owned(), log: true },
        y: Axis { label: "CPU per call, ms".to_owned(), log: false },
        lines: kinds.iter().map(|kind| line(kinds, *kind, "", false, points, |point| point.cpu_ms)).collect(),
    }
}

fn latency(title: &str, label: &str, kinds: &[Kind], points: &[Point]) -> Plot {
    let lines = kinds.iter().flat_map(|kind| {
        [
            line(kinds, *kind, " p99", false, points, |point| point.p99_ms),
            line(kinds, *kind, " p50", true, points, |point| point.p50_ms),
        ]
    });
    Plot {
        title: format!("INVITE to 180 {title}"),
        x: Axis { label: label.to_owned(), log: true },
        y: Axis { label: "INVITE to 180, ms".to_owned(), log: true },
        lines: lines.collect(),
    }
}
