//! `peers`: two targets in turns, A B B A, so that the drift of a machine cancels; what counts is their ratio.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::common::{Bench, Common, again, cpu_ms_per_call, cpu_us_per_packet, median, number};
use crate::results::Results;
use crate::subject::Kind;

/// Options of `peers`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    common: Common,
    /// First of the two; the default compares tandem with Kamailio and with Kamailio and rtpengine
    #[arg(long, requires = "b", value_enum)]
    a: Option<Kind>,
    /// Second of the two
    #[arg(long, requires = "a", value_enum)]
    b: Option<Kind>,
    /// Calls per second
    #[arg(long, default_value_t = 300)]
    rate: u32,
    /// Calls of a run; with --media, calls that talk at once
    #[arg(long)]
    calls: Option<u32>,
    /// Rounds of four runs
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Compare the relays of RTP instead: tandem, rtpengine, and no relay
    #[arg(long)]
    media: bool,
    /// Seconds of RTP
    #[arg(long, default_value_t = 10)]
    seconds: u32,
}

/// Runs the comparison.
///
/// # Errors
/// What is missing, or what a target complained about.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!((1..=50).contains(&arguments.rounds), "--rounds is {}; allowed is 1 to 50", arguments.rounds);
    let pairs = match (arguments.a, arguments.b) {
        (Some(a), Some(b)) => vec![(a, b)],
        _ if arguments.media => vec![(Kind::Tandem, Kind::KamailioRtpengine)],
        _ => vec![(Kind::TandemNomedia, Kind::Kamailio), (Kind::Tandem, Kind::KamailioRtpengine)],
    };
    let all: Vec<Kind> = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
    let bench = Bench::open(&arguments.common, &all)?;
    let mut results = Results::new(if arguments.media { "relay" } else { "peers" }, &arguments.common)?;
    for (a, b) in pairs {
        if arguments.media {
            relay(&bench, &mut results, arguments, a, b)?;
        } else {
            calls(&bench, &mut results, arguments, a, b)?;
        }
    }
    results.save()
}

fn calls(bench: &Bench, results: &mut Results, arguments: &Arguments, a: Kind, b: Kind) -> Result<()> {
    let (rate, count) = (arguments.rate, arguments.calls.unwrap_or(3_000));
    results.say(&format!("## {a} and {b}, {rate} calls/s, {count} calls a run\n"));
    results.say("| round | target | CPU ms per call | failed | sent again | INVITE-180 p50 / p99 ms | late p99 ms |");
    results.say("|---|---|---|---|---|---|---|");
    let step = vec![format!("calls:rate={rate},count={count}")];
    let mut costs = Costs::default();
    for round in 1..=arguments.rounds {
        for kind in [a, b, b, a] {
            let target = bench.start_warm(kind)?;
            for mut report in bench.load(&target, &target.ids(), &step)? {
                report["round"] = round.into();
                let mut status = target.status()?;
                let steering = &status["steering"];
                ensure!(kind != Kind::TandemSteered || steering == "on", "SIP steering is {steering}");
                report["counters"] = status["counters"].take();
                let cost = cpu_ms_per_call(&report);
                costs.add(round, kind, cost);
                results.say(&format!(
                    "| {round} | {kind} | {cost:.3} | {} | {} | {:.2} / {:.2} | {:.2} |",
                    failures(&report),
                    again(&report),
                    number(&report, "invite_180_ms.p50"),
                    number(&report, "invite_180_ms.p99"),
                    number(&report, "late_ms.p99"),
                ));
                results.row(report);
            }
        }
    }
    costs.say(results, a, b, "CPU ms per call");
    threads(results, a);
    for kind in [a, b] {
        hand_overs(results, kind);
    }
    Ok(())
}

/// Datagrams that shards handed over, of all that came, warming included.
fn hand_overs(results: &mut Results, kind: Kind) {
    let sum = |name: &str| -> f64 {
        let rows = results.rows().iter().filter(|row| row["target"] == kind.to_string());
        rows.map(|row| number(row, &format!("counters.{name}"))).sum()
    };
    let (handed, received) = (sum("sip_handed_over"), sum("sip_datagrams_received"));
    if received > 0.0 {
        results.say(&format!("- {kind}: {handed:.0} of {received:.0} datagrams handed over"));
    }
}

fn relay(bench: &Bench, results: &mut Results, arguments: &Arguments, a: Kind, b: Kind) -> Result<()> {
    let (count, seconds) = (arguments.calls.unwrap_or(500), arguments.seconds);
    results.say(&format!("## {a} and {b}, {count} calls, RTP at 50 packets/s each way for {seconds} s\n"));
    results.say(
        "| round | target | CPU us per packet | lost | p50 / p99 / p99.9 us | from intended p99 us | late p99 us |",
    );
    results.say("|---|---|---|---|---|---|---|");
    // Two seconds first, not counted: addresses are learned, caches warm.
    let steps: Vec<String> =
        [format!("hold:count={count}"), "rtp:seconds=2".into(), format!("rtp:seconds={seconds}"), "release".into()]
            .into();
    let mut costs = Costs::default();
    for round in 1..=arguments.rounds {
        // The floor of machine and generator, once a round.
        for kind in [a, b, b, a, Kind::Direct] {
            let target = bench.start(kind)?;
            let reports = bench.load(&target, &target.relay_ids(), &steps)?;
            let Some(mut report) = reports.into_iter().filter(|report| report["step"] == "rtp").nth(1) else {
                continue;
            };
            report["round"] = round.into();
            let cost = cpu_us_per_packet(&report);
            if kind != Kind::Direct {
                costs.add(round, kind, cost);
            }
            results.say(&format!(
                "| {round} | {kind} | {cost:.2} | {} | {:.0} / {:.0} / {:.0} | {:.0} | {:.0} |",
                number(&report, "rtp.lost"),
                number(&report, "rtp.relay_us.p50"),
                number(&report, "rtp.relay_us.p99"),
                number(&report, "rtp.relay_us.p999"),
                number(&report, "rtp.relay_from_intended_us.p99"),
                number(&report, "rtp.late_us.p99"),
            ));
            results.row(report);
        }
    }
    costs.say(results, a, b, "CPU us per packet");
    for kind in [a, b, Kind::Direct] {
        let of = |path: &str| -> Vec<f64> {
            let rows = results.rows().iter().filter(|row| row["target"] == kind.to_string());
            rows.map(|row| number(row, path)).collect()
        };
        let (p50, p99) = (median(&of("rtp.relay_us.p50")), median(&of("rtp.relay_us.p99")));
        results.say(&format!("- {kind}: latency p50 {p50:.0} us, p99 {p99:.0} us (medians of the runs)"));
    }
    threads(results, a);
    Ok(())
}

/// Costs by round and target.
#[derive(Default)]
struct Costs {
    rounds: BTreeMap<u32, BTreeMap<Kind, Vec<f64>>>,
}

impl Costs {
    fn add(&mut self, round: u32, kind: Kind, cost: f64) {
        self.rounds.entry(round).or_default().entry(kind).or_default().push(cost);
    }

    /// A over B, round by round: each is the sum of two runs around the other's two.
    fn ratios(&self, a: Kind, b: Kind) -> Vec<f64> {
        let sum = |costs: &BTreeMap<Kind, Vec<f64>>, kind| costs.get(&kind).map(|costs| costs.iter().sum::<f64>());
        let ratio = |costs| sum(costs, a).zip(sum(costs, b)).filter(|(_, b)| *b > 0.0).map(|(a, b)| a / b);
        self.rounds.values().filter_map(ratio).collect()
    }

    fn say(&self, results: &mut Results, a: Kind, b: Kind, unit: &str) {
        results.say("");
        for kind in [a, b] {
            let all: Vec<f64> = self.rounds.values().filter_map(|costs| costs.get(&kind)).flatten().copied().collect();
            let (low, high) =
                all.iter().fold((f64::MAX, 0.0f64), |(low, high), cost| (low.min(*cost), high.max(*cost)));
            let middle = median(&all);
            results.say(&format!("- {kind}: median {middle:.3} {unit} ({low:.3} to {high:.3}, {} runs)", all.len()));
        }
        let ratios = self.ratios(a, b);
        let each: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.3}")).collect();
        results.say(&format!("- **{a} / {b}: {:.3}** (rounds: {})", median(&ratios), each.join(" ")));
    }
}

/// Where tandem's CPU goes, by thread.
fn threads(results: &mut Results, kind: Kind) {
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    for row in results.rows().iter().filter(|row| row["target"] == kind.to_string()) {
        for (name, cpu) in row["watched"]["threads_cpu_s"].as_object().into_iter().flatten() {
            *sums.entry(name.clone()).or_default() += cpu.as_f64().unwrap_or(0.0);
        }
    }
    let total: f64 = sums.values().sum();
    if total > 0.0 {
        let parts: Vec<String> =
            sums.iter().map(|(name, cpu)| format!("{name} {:.0} %", cpu / total * 100.0)).collect();
        results.say(&format!("- threads of {kind}: {}\n", parts.join(", ")));
    }
}

/// The text of a report's failures, for tables.
pub(crate) fn failures(report: &Value) -> String {
    let by = report["failed_by"].as_object().into_iter().flatten();
    let parts: Vec<String> = by.map(|(reason, count)| format!("{count} x {reason}")).collect();
    if parts.is_empty() { "0".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_of_the_sums_of_one_round() {
        let mut costs = Costs::default();
        for (round, kind, cost) in [
            (1, Kind::Tandem, 1.0),
            (1, Kind::Kamailio, 2.0),
            (1, Kind::Kamailio, 4.0),
            (1, Kind::Tandem, 2.0),
            (2, Kind::Tandem, 3.0),
            (2, Kind::Kamailio, 4.0),
            (3, Kind::Tandem, 9.0),
        ] {
            costs.add(round, kind, cost);
        }
        // A round without its other half has no ratio.
        assert_eq!(costs.ratios(Kind::Tandem, Kind::Kamailio), [0.5, 0.75]);
    }
}
