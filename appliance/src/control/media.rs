//! Media by path: what the kernel forwards, what user space does, and whether the sums agree.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use tandem_control::reply;
use tandem_datapath::{drops, punts};

use crate::fast_path::MediaPath;

/// How each interface is served.
pub(super) fn interfaces(media: &MediaPath) -> Vec<reply::MediaInterface> {
    let row = |interface: &crate::fast_path::Interface| reply::MediaInterface {
        interface: interface.name.clone(),
        path: interface.path.to_owned(),
        reason: interface.reason.clone(),
    };
    media.interfaces().iter().map(row).collect()
}

/// Counters of the kernel's relay under their metric names; those that are zero for one of many reasons are left out.
pub(super) fn count(media: &MediaPath, counters: &mut BTreeMap<String, u64>) {
    if media.datapath().is_none() {
        return;
    }
    let totals = media.totals();
    let own = &media.counters;
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    for (name, n) in [
        ("rtp_packets", totals.rtp_packets),
        ("rtp_packets_at_start", media.start.rtp),
        ("rtp_packets_of_adopted", media.start.live),
        ("rtp_bytes", totals.rtp_bytes),
        ("rtcp_packets", totals.rtcp_packets),
        ("rtcp_bytes", totals.rtcp_bytes),
        ("redirected", totals.redirected),
        ("passed", totals.passed),
        ("hop_lookups", totals.hop_lookups),
        ("events_lost", totals.events_lost),
        ("copies", load(&own.copies)),
        ("copies_dropped", load(&own.copies_dropped)),
        ("first_rtp", load(&own.first_rtp)),
        ("ssrc_changes", load(&own.ssrc_changes)),
        ("rate_exceeded_events", load(&own.rate_exceeded)),
        ("no_flow_samples", load(&own.no_flow)),
        ("orphans_removed", load(&own.orphans)),
        ("upgrades", load(&own.upgrades)),
    ] {
        counters.insert(format!("xdp_{name}"), n);
    }
    let punts = punts(&totals).map(|(reason, n)| (format!("xdp_punts_{}", reason.as_str()), n));
    let drops = drops(&totals).map(|(reason, n)| (format!("xdp_drops_{}", reason.as_str()), n));
    counters.extend(punts.chain(drops).filter(|(_, n)| *n > 0));
}
