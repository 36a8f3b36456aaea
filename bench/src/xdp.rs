//! `xdp`: RTP between namespaces, through the relay in the kernel, in user space, through rtpengine, and through nothing but the
//! kernel's routing: added latency against load, and CPU of a packet against sessions.

use std::collections::BTreeMap;
use std::str::FromStr;

use anyhow::{Context, Error, Result, ensure};
use serde_json::{Value, json};

use crate::common::{Bench, Common, cpu_us_per_packet, median, number, reports};
use crate::plot::{Axis, Line, Plot};
use crate::results::Results;
use crate::subject::Kind;

/// Packets a second and direction when a level does not say.
const PPS: u32 = 50;
/// Seconds before each level, not counted: addresses are learned, caches warm.
const WARM_S: u32 = 1;
/// Of all packets, the least that must have gone through the kernel for a figure to be that of the kernel's relay: the first of
/// each stream goes through user space, and whatever comes before it is answered.
const KERNEL_SHARE_MIN: f64 = 0.98;

/// Options of `xdp`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// What is measured, in turns
    #[arg(long, value_enum, value_delimiter = ',', default_value = "wire,direct,tandem-xdp,kamailio-rtpengine,tandem")]
    kinds: Vec<Kind>,
    /// Calls that talk, with packets a second and direction if not 50: CALLS or CALLSxPPS, rising
    #[arg(long, value_delimiter = ',', default_value = "1,25,100,250,500,1000,4000x12")]
    levels: Vec<Level>,
    /// The driver's work in threads of its own, on the target's core for the target's ends; without, it is done in the interrupt
    /// of whoever sends, and what a relay costs is what all cost more than `wire`
    #[arg(long)]
    threads: bool,
    /// Seconds of each level
    #[arg(long, default_value_t = 4)]
    seconds: u32,
    /// Rounds; every second one in reverse order
    #[arg(long, default_value_t = 2)]
    rounds: u32,
}

/// How much is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Level {
    calls: u32,
    pps: u32,
}

impl FromStr for Level {
    type Err = Error;

    fn from_str(text: &str) -> Result<Level> {
        let (calls, pps) = text.split_once('x').map_or((text, None), |(calls, pps)| (calls, Some(pps)));
        let number = |text: &str| text.parse::<u32>().with_context(|| format!("{text:?} is no number"));
        let level = Level { calls: number(calls)?, pps: pps.map_or(Ok(PPS), number)? };
        ensure!(level.calls > 0 && level.pps > 0, "a level has at least one call and one packet a second");
        Ok(level)
    }
}

/// Runs it.
///
/// # Errors
/// What is missing, or what a target complained about.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let levels = &arguments.levels;
    ensure!(levels.is_sorted_by(|a, b| a.calls < b.calls), "--levels must rise: calls are added, none end");
    let mut bench = Bench::open(&arguments.common, &arguments.kinds)?;
    bench.wire(arguments.threads)?;
    let mut results = Results::new(if arguments.threads { "xdp-threads" } else { "xdp" }, &arguments.common)?;
    results.say(&format!(
        "## RTP across veth between namespaces, the driver's work {}, {} s a level, {} rounds\n",
        if arguments.threads { "in threads" } else { "in the interrupt of who sends" },
        arguments.seconds,
        arguments.rounds
    ));
    results.say(
        "| round | target | streams | packets/s | lost | p50 / p99 / p99.9 us | late p99 us | CPU us per packet: programs + driver | generator |",
    );
    results.say("|---|---|---|---|---|---|---|---|---|");
    for round in 1..=arguments.rounds {
        let mut order = arguments.kinds.clone();
        if round % 2 == 0 {
            order.reverse();
        }
        for kind in order {
            // One target's limit (ports, files) is a result, not the end of the others.
            if let Err(error) = one(&bench, &mut results, arguments, round, kind) {
                results.say(&format!("| {round} | {kind} | **not possible**: {} | | | | | | |", first_line(&error)));
            }
        }
    }
    summary(&mut results, arguments)?;
    results.save()
}

fn first_line(error: &Error) -> String {
    format!("{error:#}").lines().next().unwrap_or_default().to_owned()
}

/// All levels of one target.
fn one(bench: &Bench, results: &mut Results, arguments: &Arguments, round: u32, kind: Kind) -> Result<()> {
    let target = bench.start(kind)?;
    let mut watch = target.relay_ids();
    watch.extend(bench.drivers());
    let (mut steps, mut held) = (Vec::new(), 0);
    for Level { calls, pps } in &arguments.levels {
        steps.push(format!("hold:count={}", calls - held));
        steps.push(format!("rtp:seconds={WARM_S},pps={pps}"));
        steps.push(format!("rtp:seconds={},pps={pps}", arguments.seconds));
        held = *calls;
    }
    let output = bench.load_command(&target, &watch, &steps)?.output().context("cannot run the generator")?;
    let rtp: Vec<Value> = reports(kind, &output)?.into_iter().filter(|report| report["step"] == "rtp").collect();
    let media = target.ask(&["media", "show"])?;
    if kind == Kind::TandemXdp {
        let (kernel, user) = (number(&media, "kernel_packets"), number(&media, "user_packets"));
        let share = kernel / (kernel + user).max(1.0);
        results.say(&format!("| {round} | {kind} | kernel {kernel:.0}, user space {user:.0} packets | | | | | | |"));
        ensure!(share >= KERNEL_SHARE_MIN, "only {:.1} % of the packets went through the kernel", share * 100.0);
    }
    for (level, mut report) in arguments.levels.iter().zip(rtp.into_iter().skip(1).step_by(2)) {
        let driver = driver_us_per_packet(&report);
        let programs = (cpu_us_per_packet(&report) - driver).max(0.0);
        let generator = number(&report, "generator_cpu_s") * 1e6 / number(&report, "rtp.received").max(1.0);
        results.say(&format!(
            "| {round} | {kind} | {} | {} | {} | {:.0} / {:.0} / {:.0} | {:.0} | {programs:.2} + {driver:.2} | {generator:.2} |",
            report["rtp"]["streams"],
            report["rtp"]["sent_pps"],
            report["rtp"]["lost"],
            number(&report, "rtp.relay_us.p50"),
            number(&report, "rtp.relay_us.p99"),
            number(&report, "rtp.relay_us.p999"),
            number(&report, "rtp.late_us.p99"),
        ));
        report["round"] = round.into();
        report["level"] = json!({ "calls": level.calls, "pps": level.pps });
        report["programs_us"] = json!(programs);
        report["driver_us"] = json!(driver);
        report["generator_us"] = json!(generator);
        report["media"] = media.clone();
        results.row(report);
    }
    Ok(())
}

/// CPU of the threads of the relay's wires for a packet that came out, microseconds.
fn driver_us_per_packet(report: &Value) -> f64 {
    let threads = report["watched"]["threads_cpu_s"].as_object().into_iter().flatten();
    let own = threads.filter(|(name, _)| name.starts_with("napi/"));
    // From 0: the sum of nothing is minus zero.
    let seconds = own.filter_map(|(_, cpu)| cpu.as_f64()).fold(0.0, |sum, cpu| sum + cpu);
    seconds * 1e6 / number(report, "rtp.received").max(1.0)
}

/// What a target came to at a level: the median of the rounds.
#[derive(Clone, Copy, Debug, Default)]
struct Point {
    p50: f64,
    p99: f64,
    p999: f64,
    programs: f64,
    driver: f64,
    generator: f64,
    lost: f64,
    sent: f64,
}

impl Point {
    fn of(rows: &[&Value]) -> Point {
        let middle = |path: &str| median(&rows.iter().map(|row| number(row, path)).collect::<Vec<_>>());
        let sum = |path: &str| rows.iter().map(|row| number(row, path)).sum();
        Point {
            p50: middle("rtp.relay_us.p50"),
            p99: middle("rtp.relay_us.p99"),
            p999: middle("rtp.relay_us.p999"),
            programs: middle("programs_us"),
            driver: middle("driver_us"),
            generator: middle("generator_us"),
            lost: sum("rtp.lost"),
            sent: sum("rtp.sent"),
        }
    }

    fn cpu(&self) -> f64 {
        self.programs + self.driver
    }

    /// What a relay costs the whole machine: `floor` is the same without one.
    fn added(&self, floor: &Point) -> f64 {
        self.cpu() + self.generator - floor.cpu() - floor.generator
    }
}

fn points(rows: &[Value]) -> BTreeMap<(Kind, Level), Point> {
    let mut by: BTreeMap<(Kind, Level), Vec<&Value>> = BTreeMap::new();
    let kinds: Vec<Kind> = clap::ValueEnum::value_variants().to_vec();
    for row in rows {
        let Some(kind) = kinds.iter().find(|kind| row["target"] == kind.to_string()) else { continue };
        let level = Level { calls: number(row, "level.calls") as u32, pps: number(row, "level.pps") as u32 };
        by.entry((*kind, level)).or_default().push(row);
    }
    by.into_iter().map(|(key, rows)| (key, Point::of(&rows))).collect()
}

fn summary(results: &mut Results, arguments: &Arguments) -> Result<()> {
    let points = points(results.rows());
    let at = |kind: Kind, level: &Level| points.get(&(kind, *level)).copied();
    results.say("\n## Medians of the rounds\n\nLatency in us, p50 / p99 / p99.9; added is that beyond `direct`.\n");
    let names: Vec<String> = arguments.kinds.iter().map(Kind::to_string).collect();
    results.say(&format!("| streams, packets/s each | {} | added by tandem-xdp |", names.join(" | ")));
    results.say(&format!("|---|{}---|", "---|".repeat(names.len())));
    for level in &arguments.levels {
        let cells: Vec<String> = arguments
            .kinds
            .iter()
            .map(|kind| {
                at(*kind, level)
                    .map(|p| {
                        format!("{:.0} / {:.0} / {:.0}, {:.0} of {:.0} lost", p.p50, p.p99, p.p999, p.lost, p.sent)
                    })
                    .unwrap_or_default()
            })
            .collect();
        let floor = at(Kind::Direct, level);
        let added = at(Kind::TandemXdp, level).zip(floor).map(|(xdp, floor)| {
            format!("{:.0} / {:.0} / {:.0}", xdp.p50 - floor.p50, xdp.p99 - floor.p99, xdp.p999 - floor.p999)
        });
        let name = format!("{}, {}", level.calls * 2, level.pps);
        results.say(&format!("| {name} | {} | {} |", cells.join(" | "), added.unwrap_or_default()));
    }
    costs(results, arguments, &points);
    let line = |kind: Kind, name: &str, dashed: bool, y: fn(&Point) -> f64| Line {
        name: format!("{kind}{name}"),
        colour: arguments.kinds.iter().position(|found| *found == kind).unwrap_or(0),
        dashed,
        points: points
            .iter()
            .filter(|((found, level), _)| *found == kind && level.pps == PPS)
            .map(|((_, level), point)| (f64::from(level.calls * 2), y(point)))
            .collect(),
    };
    let streams = || Axis { label: format!("streams of {PPS} packets/s"), log: true };
    let latency = Plot {
        title: "From sending to arrival, across veth".to_owned(),
        x: streams(),
        y: Axis { label: "latency, us".to_owned(), log: true },
        lines: arguments
            .kinds
            .iter()
            .flat_map(|kind| [line(*kind, " p99", false, |p| p.p99), line(*kind, " p50", true, |p| p.p50)])
            .collect(),
    };
    let cpu = Plot {
        title: "CPU of a packet: relay, wires and generator".to_owned(),
        x: streams(),
        y: Axis { label: "CPU per packet, us".to_owned(), log: true },
        lines: arguments.kinds.iter().map(|kind| line(*kind, "", false, |p| p.cpu() + p.generator)).collect(),
    };
    results.file("latency.svg", latency.svg()?);
    results.file("cpu.svg", cpu.svg()?);
    results.say("\n![latency](latency.svg)\n\n![CPU](cpu.svg)");
    Ok(())
}

/// CPU by level: of the relay's programs and threads, and what the machine spends beyond a bare wire.
fn costs(results: &mut Results, arguments: &Arguments, points: &BTreeMap<(Kind, Level), Point>) {
    let at = |kind: Kind, level: &Level| points.get(&(kind, *level));
    results.say("\nCPU us per packet: programs + driver + generator; in brackets what all three are beyond `wire`.\n");
    let names: Vec<String> = arguments.kinds.iter().map(Kind::to_string).collect();
    results.say(&format!("| streams, packets/s each | {} | xdp / rtpengine | beyond wire |", names.join(" | ")));
    results.say(&format!("|---|{}---|---|", "---|".repeat(names.len())));
    for level in &arguments.levels {
        let floor = at(Kind::Wire, level);
        let cell = |kind: &Kind| {
            let Some(point) = at(*kind, level) else { return String::new() };
            let beyond = floor.map(|floor| format!(" ({:.2})", point.added(floor))).unwrap_or_default();
            format!("{:.2} + {:.2} + {:.2}{beyond}", point.programs, point.driver, point.generator)
        };
        let cells: Vec<String> = arguments.kinds.iter().map(cell).collect();
        let pair = at(Kind::TandemXdp, level).zip(at(Kind::KamailioRtpengine, level));
        let ratio = pair.map(|(xdp, peer)| format!("{:.3}", xdp.cpu() / peer.cpu())).unwrap_or_default();
        let beyond = pair.zip(floor).map(|((xdp, peer), floor)| format!("{:.3}", xdp.added(floor) / peer.added(floor)));
        let name = format!("{}, {}", level.calls * 2, level.pps);
        results.say(&format!("| {name} | {} | {ratio} | {} |", cells.join(" | "), beyond.unwrap_or_default()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_calls_and_perhaps_packets() {
        let level = |text: &str| text.parse::<Level>();
        assert_eq!(level("25").unwrap(), Level { calls: 25, pps: 50 });
        assert_eq!(level("4000x12").unwrap(), Level { calls: 4_000, pps: 12 });
        for wrong in ["", "0", "5x0", "x", "5x", "-1"] {
            assert!(level(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_driver_is_told_apart_and_rounds_have_a_median() {
        let row = |round: u32, p99: f64| {
            json!({"target": "tandem-xdp", "round": round, "level": {"calls": 25, "pps": 50},
                "rtp": {"received": 1_000_000, "sent": 1_000_000, "lost": 0, "relay_us": {"p99": p99}},
                "watched": {"cpu_s": 1.5, "threads_cpu_s": {"napi/r0-7": 0.75, "napi/r1-8": 0.5, "shard": 0.25}}})
        };
        assert_eq!(driver_us_per_packet(&row(1, 0.0)), 1.25);
        let points = points(&[row(1, 10.0), row(2, 30.0), row(3, 20.0)]);
        let point = points[&(Kind::TandemXdp, Level { calls: 25, pps: 50 })];
        assert_eq!((point.p99, point.sent), (20.0, 3e6));
        // The generator pays for what the wires do in its interrupts.
        let floor = Point { generator: 4.0, ..Point::default() };
        let relayed = Point { programs: 0.5, driver: 0.25, generator: 5.0, ..Point::default() };
        assert_eq!(relayed.added(&floor), 1.75);
    }
}
