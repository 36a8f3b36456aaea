//! `status`: how the switch is, in one answer.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use hdrhistogram::Histogram;
use tandem_control::reply;

use super::sampler::Latencies;
use super::{Control, Reply, reply};
use crate::orders::ShardOrder;
use crate::shard::ShardCounts;

/// Share of its ports at which an address is told, percent (media.md 2).
const PORTS_USED_ALARM: u8 = 90;
/// Percentiles that latency counters are given at.
const PERCENTILES: &[(&str, f64)] = &[("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p999", 99.9), ("max", 100.0)];

impl Control {
    pub(super) async fn status(&self) -> Reply {
        let shards = self.ask_shards(ShardOrder::Counts).await?;
        let state = self.state.borrow();
        let money = &state.shared.money;
        let mut status = reply::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: state.config.node.clone(),
            state: if state.shared.journal_broken.load(Ordering::Relaxed) { "draining" } else { "running" }.to_owned(),
            started_ms: state.started_ms,
            now_ms: state.clock.now().wall_ms,
            shards: shards.len() as u32,
            steering: state.shared.steering.status(),
            media: if state.shared.media.datapath().is_some() { "xdp" } else { "user space" }.to_owned(),
            media_sockets: state.shared.one_socket.status(),
            media_interfaces: super::media::interfaces(&state.shared.media),
            media_ports: state.ports,
            site_version: state.version,
            unconfirmed: state.pending.as_ref().map(super::confirm::Pending::shown),
            listen: state.listeners.0.iter().map(ToString::to_string).collect(),
            cdr_queue: state.positions.written().saturating_sub(state.positions.applied()),
            ..Default::default()
        };
        let mut counters: BTreeMap<String, u64> = BTreeMap::new();
        let (mut answered_ms, mut answered_ended, mut used) = (0, 0, 0u64);
        for shard in &shards {
            status.calls_setup += (shard.calls.authorizing + shard.calls.trying) as u64;
            status.calls_ringing += shard.calls.ringing as u64;
            status.calls_talking += (shard.calls.connected + shard.calls.answering) as u64;
            status.attempts += shard.accepted;
            status.answered += shard.answered;
            status.failed += shard.failed;
            answered_ended += shard.answered_ended;
            answered_ms += shard.answered_ms;
            used += shard.calls.ports_leased as u64;
            for (name, n) in &shard.named {
                *counters.entry(name.clone()).or_default() += n;
            }
            let ring = shard.ring;
            for (name, n) in [
                ("ring_received", ring.received),
                ("ring_sent", ring.sent),
                ("ring_starved", ring.starved),
                ("sip_transactions", shard.sip.transactions as u64),
                ("sip_legs", shard.sip.legs as u64),
                ("call_questions", shard.calls.questions as u64),
            ] {
                *counters.entry(name.to_owned()).or_default() += n;
            }
        }
        status.media_ports_free = state.ports.saturating_sub(used as u32);
        status.media_calls = used / 2;
        let ended = answered_ended + status.failed;
        status.asr_pct = (ended > 0).then(|| (answered_ended * 100 / ended) as u32);
        status.acd_s = u64::checked_div(answered_ms, answered_ended * 1_000).map(|s| s as u32);
        let since_start = latencies(&shards);
        let last_minute = self.sampler.borrow().last_minute(&since_start);
        for (window, of_window) in [("", &since_start), ("last_minute_", &last_minute)] {
            for (name, histogram) in ["pdd_us", "routing_us", "answer_us"].iter().zip(of_window) {
                let Some(histogram) = histogram else {
                    continue;
                };
                counters.insert(format!("{name}_{window}count"), histogram.len());
                for (label, percentile) in PERCENTILES {
                    let value = if histogram.is_empty() { 0 } else { histogram.value_at_percentile(*percentile) };
                    counters.insert(format!("{name}_{window}{label}"), value);
                }
            }
        }
        let [pdd, ..] = since_start;
        status.pdd_ms = pdd.filter(|h| !h.is_empty()).map(|h| (h.mean() / 1_000.0).round() as u32);
        for (name, n) in [
            ("cdr_settled", &money.settled),
            ("cdr_suppressed", &money.suppressed),
            ("journal_errors", &money.journal_errors),
            ("store_errors", &money.store_errors),
            ("alarms", &money.alarms),
            ("rating_turn_max_us", &money.turn_max_us),
        ] {
            counters.insert(name.to_owned(), n.load(Ordering::Relaxed));
        }
        super::media::count(&state.shared.media, &mut counters);
        status.warnings.extend(state.shared.media.troubles());
        counters.extend(state.shared.cdr_output.counters(state.positions.synced()));
        status.warnings.extend(state.shared.cdr_output.troubles());
        counters.insert("cdrs_pending".to_owned(), state.positions.cdrs_pending());
        counters.insert("cdrs_pending_max".to_owned(), state.params.cdr_pending_max());
        status.warnings.extend(self.pending_cdrs_warning());
        counters.insert("journal_written".to_owned(), state.positions.written());
        counters.insert("journal_synced".to_owned(), state.positions.synced());
        let sampler = self.sampler.borrow();
        (status.cps, status.cps_10s_x100, status.cps_max) = sampler.cps();
        status.media_packets_per_s = sampler.packets_per_s();
        if state.shared.journal_broken.load(Ordering::Relaxed) {
            status.warnings.push("the journal cannot be written: new calls are refused".to_owned());
        }
        if let Some(waiting) = &state.pending {
            let left_s = (waiting.until_ms - status.now_ms).max(0) / 1_000;
            status.warnings.push(format!(
                "version {} by {} is rolled back in {left_s} s unless it is confirmed (tandem confirm)",
                waiting.version, waiting.user
            ));
        }
        // One address may be used up while another one has room: whoever needs it is refused.
        if shards.iter().any(|shard| shard.calls.ports_used_percent >= PORTS_USED_ALARM) {
            status.warnings.push(format!(
                "{used} of {} media ports are in use, {PORTS_USED_ALARM} % or more of one address",
                state.ports
            ));
        }
        if counters.get("store_errors").is_some_and(|n| *n > 0) {
            status.warnings.push("the database could not be written at times; records stay in the journal".to_owned());
        }
        if let Some(cause) = tandem_store::marked_damaged(&state.config.data_dir.join("journal")) {
            status.warnings.push(format!("the database is damaged, the next start writes it anew: {cause}"));
        }
        status.counters = counters;
        reply(&status)
    }
}

/// The latencies of all shards together.
pub(super) fn latencies(shards: &[Box<ShardCounts>]) -> Latencies {
    let (mut pdd, mut routing, mut answer) = (None, None, None);
    for shard in shards {
        merge(&mut pdd, &shard.pdd_us);
        merge(&mut routing, &shard.routing_us);
        merge(&mut answer, &shard.answer_us);
    }
    [pdd, routing, answer]
}

fn merge(into: &mut Option<Histogram<u64>>, from: &Histogram<u64>) {
    match into {
        None => *into = Some(from.clone()),
        // Made with the same bounds.
        Some(sum) => {
            let _ = sum.add(from);
        }
    }
}
