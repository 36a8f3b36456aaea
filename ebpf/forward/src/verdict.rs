//! What happens to one packet of a flow, on the level of the UDP payload: verdict, payload rewrite, statistics.

use tandem_ebpf_abi::{
    DropReason, Endpoint, FLAG_DTMF_COPY, FLAG_ON_HOLD, FLAG_RELATCH_OPEN, FLAG_RTCP_DROP, FLAG_RTCP_PAIR,
    FLAG_SOURCE_FIXED, FLAG_SSRC_PINNED, FlowCounters, FlowValue, PT_REWRITES_MAX, PuntReason,
};

use crate::clock::Clock;
use crate::rtp::{Head, PacketClass, RtpHeader};

/// A latched source that is silent this long may be replaced by another one with the same SSRC (media.md 4 rule 3b).
pub const SOURCE_SILENT_US: u64 = 2_000_000;

/// A sequence number up to this far ahead is loss; further is a jump (RFC 3550 A.1 `MAX_DROPOUT`).
const SEQ_DROPOUT_MAX: u16 = 3_000;
/// A sequence number up to this far behind is reordered or repeated; further is a jump. RFC 3550 A.1 takes 100.
const SEQ_MISORDER_MAX: u16 = 100;
/// Sequence numbers the window remembers.
const SEQ_WINDOW: u16 = 64;
/// The policer counts in 2^-10 microseconds, so that rates up to 65,535 a second are right to 0.01 %.
const POLICER_SHIFT: u32 = 10;
const POLICER_UNITS_PER_S: u32 = 1_000_000 << POLICER_SHIFT;
/// A pause longer than this does not count as jitter, and keeps the products below within 64 bits.
const JITTER_PAUSE_MAX_US: u64 = 10_000_000;

/// What to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Forward it.
    Send {
        /// It is RTCP and goes to the RTCP destination.
        rtcp: bool,
        /// User space wants a copy, for this reason.
        copy: Option<PuntReason>,
    },
    /// User space decides.
    Punt(PuntReason),
    /// Drop and count it.
    Drop(DropReason),
}

/// Judges one packet of a flow. Changes nothing but the policer; counting is [`count`]'s or
/// [`FlowCounters::drop_packet`]'s.
///
/// `source` is where it came from, `payload` the UDP payload, `now` the clock the counters use. Constant cost. Rules:
/// media.md 4 and 9, M-D4.
#[inline(always)]
pub fn verdict(
    flow: &FlowValue,
    counters: &mut FlowCounters,
    source: Endpoint,
    payload: &[u8],
    now: impl Clock,
) -> Verdict {
    verdict_head(flow, counters, source, Head::of(payload), now)
}

/// [`verdict`] for whoever has read the head of the payload already.
#[inline(always)]
pub fn verdict_head(
    flow: &FlowValue,
    counters: &mut FlowCounters,
    source: Endpoint,
    head: Head,
    now: impl Clock,
) -> Verdict {
    if flow.version == 0 {
        return Verdict::Punt(PuntReason::NoFlow);
    }
    let now_us = now.coarse_us();
    match head.class() {
        PacketClass::Rtp => rtp(flow, counters, source, head.rtp(), now_us),
        PacketClass::Rtcp => rtcp(flow, counters, source, now_us),
        PacketClass::Stun => Verdict::Punt(PuntReason::Stun),
        PacketClass::Dtls => Verdict::Punt(PuntReason::Dtls),
        PacketClass::TooShort => Verdict::Drop(DropReason::TooShort),
        PacketClass::Unknown => Verdict::Drop(DropReason::BadVersion),
    }
}

#[inline(always)]
fn rtp(flow: &FlowValue, counters: &mut FlowCounters, source: Endpoint, header: RtpHeader, now_us: u64) -> Verdict {
    if flow.source_port == 0 {
        return Verdict::Punt(PuntReason::Unlatched);
    }
    if source.port != flow.source_port || source.ip != flow.source_ip {
        return Verdict::from_stranger(flow, counters, header, now_us);
    }
    if flow.has(FLAG_SSRC_PINNED) && header.ssrc != flow.ssrc_pin {
        return Verdict::Drop(DropReason::SsrcPinned);
    }
    if let Some(reason) = closed_way(flow, flow.out_dest_port) {
        return Verdict::Drop(reason);
    }
    if !admit(flow, counters, now_us) {
        return Verdict::Drop(DropReason::Rate);
    }
    let dtmf = flow.has(FLAG_DTMF_COPY) && header.payload_type == flow.dtmf_pt;
    Verdict::Send { rtcp: false, copy: if dtmf { Some(PuntReason::DtmfCopy) } else { None } }
}

#[inline(always)]
fn rtcp(flow: &FlowValue, counters: &mut FlowCounters, source: Endpoint, now_us: u64) -> Verdict {
    if flow.has(FLAG_RTCP_DROP) {
        return Verdict::Drop(DropReason::RtcpPolicy);
    }
    if flow.has(FLAG_RTCP_PAIR) {
        return Verdict::Drop(DropReason::RtcpStray);
    }
    let from_rtp_source = flow.source_port != 0 && source.port == flow.source_port && source.ip == flow.source_ip;
    let from_rtcp_source =
        flow.rtcp_source_port != 0 && source.port == flow.rtcp_source_port && source.ip == flow.rtcp_source_ip;
    if !from_rtp_source && !from_rtcp_source {
        // "Address and port of RTCP latch separately when not muxed" (media.md 4 rule 5): once, and only from the
        // machine that sends the RTP.
        if flow.rtcp_source_port == 0 && (flow.source_port == 0 || source.ip == flow.source_ip) {
            return Verdict::Punt(PuntReason::RtcpUnlatched);
        }
        return Verdict::Drop(DropReason::RtcpStray);
    }
    if flow.rtcp_dest_port == 0 {
        return Verdict::Drop(DropReason::NoDestination);
    }
    // RTCP passes on hold: it keeps NAT bindings and reception reports alive.
    if !admit(flow, counters, now_us) {
        return Verdict::Drop(DropReason::Rate);
    }
    Verdict::Send { rtcp: true, copy: Some(PuntReason::RtcpCopy) }
}

impl Verdict {
    /// RTP from another source than the latched one: a candidate only while the window is open, or when the latched
    /// source went silent and this one carries on with its SSRC (media.md 4 rule 3).
    #[inline(always)]
    fn from_stranger(flow: &FlowValue, counters: &FlowCounters, header: RtpHeader, now_us: u64) -> Verdict {
        if flow.has(FLAG_SOURCE_FIXED) {
            return Verdict::Drop(DropReason::SourceMismatch);
        }
        if flow.has(FLAG_RELATCH_OPEN) {
            return Verdict::Punt(PuntReason::SourceChange);
        }
        let silent = now_us.saturating_sub(counters.last_us) >= SOURCE_SILENT_US;
        if counters.packets > 0 && silent && header.ssrc == counters.ssrc {
            return Verdict::Punt(PuntReason::SourceSilent);
        }
        Verdict::Drop(DropReason::SourceMismatch)
    }
}

/// Why nothing can go to the other side at all, if so.
#[inline(always)]
fn closed_way(flow: &FlowValue, dest_port: u16) -> Option<DropReason> {
    if dest_port == 0 {
        return Some(DropReason::NoDestination);
    }
    if flow.has(FLAG_ON_HOLD) {
        return Some(DropReason::OnHold);
    }
    None
}

/// Takes one packet out of the policer's bucket; false when it is empty.
#[inline(always)]
fn admit(flow: &FlowValue, counters: &mut FlowCounters, now_us: u64) -> bool {
    if flow.policer_pps == 0 {
        return true;
    }
    match within_rate(counters.policer_due, interval_of(flow.policer_pps), flow.policer_burst, now_us) {
        Some(due) => {
            counters.policer_due = due;
            true
        }
        None => false,
    }
}

/// Time between two packets at this rate, in the unit of the policer.
#[inline(always)]
pub(crate) fn interval_of(pps: u16) -> u32 {
    if pps == 0 { 0 } else { POLICER_UNITS_PER_S / u32::from(pps) }
}

/// The bucket as one number: when it will be full again (a virtual schedule, ITU-T I.371 annex A). What it will be with
/// this packet, or `None` when the packet comes too soon. One number instead of level and time is one word less to keep
/// for every flow, and needs neither a division nor a refill.
#[inline(always)]
pub(crate) fn within_rate(due: u64, interval: u32, burst: u16, now_us: u64) -> Option<u64> {
    // The two upper bits stay free for the sums below.
    let now = (now_us << (POLICER_SHIFT + 2)) >> 2;
    let ahead = if burst == 0 { 0 } else { u64::from(burst) - 1 };
    if due > now + ahead * u64::from(interval) {
        return None;
    }
    Some(if due > now { due } else { now } + u64::from(interval))
}

/// Rewrites the payload type as the flow says, keeping the marker bit; returns whether anything changed. Only for RTP.
#[inline(always)]
pub fn rewrite_payload(flow: &FlowValue, payload: &mut [u8]) -> bool {
    let Some(byte) = payload.get_mut(1) else {
        return false;
    };
    match rewritten(flow, *byte) {
        Some(new) => {
            *byte = new;
            true
        }
        None => false,
    }
}

/// The second byte of an RTP packet after the rewrite; `None` when it stays as it is.
#[inline(always)]
pub(crate) fn rewritten(flow: &FlowValue, byte: u8) -> Option<u8> {
    let pt = byte & 0x7f;
    let mut at = 0;
    // Bounded by the array, so that the verifier sees the end.
    while at < PT_REWRITES_MAX {
        if at >= flow.pt_count as usize {
            return None;
        }
        let pair = flow.pt[at];
        if pair.from == pt {
            return Some((byte & 0x80) | (pair.to & 0x7f));
        }
        at += 1;
    }
    None
}

/// What counting noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counted {
    /// The SSRC differs from that of the packet before.
    pub ssrc_changed: bool,
    /// This was the first RTP packet of the counters.
    pub first: bool,
}

/// Counts one accepted packet as it arrived (before [`rewrite_payload`]).
///
/// `wire_bytes` includes IP and UDP headers. Loss, duplicates, order: RFC 3550 A.1 with a window of 64; jitter: 6.4.1
/// and A.8 with `flow.clock_hz`, telephone-event left out because its timestamp stands still during an event.
#[inline(always)]
pub fn count(
    flow: &FlowValue,
    counters: &mut FlowCounters,
    payload: &[u8],
    wire_bytes: u32,
    now: impl Clock,
) -> Counted {
    count_head(flow, counters, Head::of(payload), wire_bytes, now)
}

/// [`count`] for whoever has read the head of the payload already.
#[inline(always)]
pub fn count_head<C: Clock>(
    flow: &FlowValue,
    counters: &mut FlowCounters,
    head: Head,
    wire_bytes: u32,
    now: C,
) -> Counted {
    let now_us = now.coarse_us();
    match head.class() {
        PacketClass::Rtp => {}
        PacketClass::Rtcp => {
            counters.rtcp_packets += 1;
            counters.rtcp_bytes += u64::from(head.len);
            counters.rtcp_last_us = now_us;
            return Counted::default();
        }
        PacketClass::Stun | PacketClass::Dtls | PacketClass::TooShort | PacketClass::Unknown => {
            return Counted::default();
        }
    }
    let header = head.rtp();
    let packets = counters.packets;
    let first = packets == 0;
    let ssrc_changed = !first && header.ssrc != counters.ssrc;
    if first {
        counters.first_us = now_us;
    }
    if first || ssrc_changed {
        restart(counters, header);
        counters.ssrc_changes += u32::from(ssrc_changed);
    } else {
        sequence(counters, header.seq);
    }
    counters.packets = packets + 1;
    counters.bytes_payload += u64::from(head.len);
    counters.bytes_wire += u64::from(wire_bytes);
    counters.last_us = now_us;
    // A choice instead of an index, which a verifier would want proven.
    let bit = 1 << (header.payload_type & 63);
    if header.payload_type < 64 {
        counters.pt_seen[0] |= bit;
    } else {
        counters.pt_seen[1] |= bit;
    }
    if header.payload_type != flow.dtmf_pt {
        // With every packet, not only with those of a pair: the short way goes on behind any of them and cannot look.
        take_clock(counters, flow.clock_hz);
        // The first of a pair is only stamped, the second gives the sample.
        let phase = packets & (C::JITTER_PERIOD - 1);
        if C::JITTER_PERIOD == 1 || phase < 2 {
            let stamp_only = C::JITTER_PERIOD != 1 && phase == 0;
            jitter(counters, flow.clock_hz, header.timestamp, stamp_only, now);
        }
    }
    Counted { ssrc_changed, first }
}

/// A new stream: sequence and transit start over, what was lost before stays lost.
#[inline(always)]
fn restart(c: &mut FlowCounters, header: RtpHeader) {
    c.ssrc = header.ssrc;
    c.seq_highest = u32::from(header.seq);
    // Nothing before the first packet is missing, so nothing there can be found again.
    c.seq_window = u64::MAX;
    c.jitter_at_us = 0;
    c.jitter_scaled = 0;
}

#[inline(always)]
fn sequence(c: &mut FlowCounters, seq: u16) {
    let ahead = seq.wrapping_sub(c.seq_highest as u16);
    let behind = ahead.wrapping_neg();
    if ahead == 0 {
        c.duplicates += 1;
    } else if ahead < SEQ_DROPOUT_MAX {
        c.seq_highest = c.seq_highest.wrapping_add(u32::from(ahead));
        c.seq_window = if ahead < SEQ_WINDOW { (c.seq_window << ahead) | 1 } else { 1 };
        c.lost += u64::from(ahead - 1);
    } else if behind < SEQ_WINDOW {
        let bit = 1 << behind;
        if c.seq_window & bit != 0 {
            c.duplicates += 1;
        } else {
            c.seq_window |= bit;
            c.reordered += 1;
            // It was counted as lost when the gap opened.
            c.lost = c.lost.saturating_sub(1);
        }
    } else if behind <= SEQ_MISORDER_MAX {
        c.late += 1;
    } else {
        c.seq_jumps += 1;
        c.seq_highest = u32::from(seq);
        c.seq_window = u64::MAX;
        c.jitter_at_us = 0;
    }
}

/// A clock other than that of the packets before: their jitter was counted in other units, so it starts over.
#[inline(always)]
fn take_clock(c: &mut FlowCounters, clock_hz: u32) {
    if clock_hz == 0 || c.clock_hz == clock_hz {
        return;
    }
    c.clock_hz = clock_hz;
    c.jitter_at_us = 0;
    c.jitter_scaled = 0;
    c.jitter_max_scaled = 0;
    c.jitter_sum_scaled = 0;
    c.jitter_samples = 0;
}

/// `J += (|D| - J) / 16` in integers, as in RFC 3550 A.8, with D from the pair of the last two packets.
#[inline(always)]
pub(crate) fn jitter(c: &mut FlowCounters, clock_hz: u32, timestamp: u32, stamp_only: bool, now: impl Clock) {
    if clock_hz == 0 {
        return;
    }
    take_clock(c, clock_hz);
    let now_us = now.exact_us();
    let at_us = c.jitter_at_us;
    let elapsed_us = now_us.saturating_sub(at_us);
    let step = timestamp.wrapping_sub(c.rtp_timestamp);
    c.jitter_at_us = if now_us == 0 { 1 } else { now_us };
    c.rtp_timestamp = timestamp;
    if stamp_only || at_us == 0 || elapsed_us > JITTER_PAUSE_MAX_US {
        return;
    }
    let elapsed = ((elapsed_us * u64::from(clock_hz) + 500_000) / 1_000_000) as u32;
    let transit = elapsed.wrapping_sub(step) as i32;
    let d = transit.unsigned_abs();
    // Timestamps that have nothing to do with time (a re-started encoder) are no jitter.
    if u64::from(d) > u64::from(clock_hz) * (JITTER_PAUSE_MAX_US / 1_000_000) {
        return;
    }
    c.jitter_scaled = c.jitter_scaled + d - ((c.jitter_scaled + 8) >> 4);
    if c.jitter_scaled > c.jitter_max_scaled {
        c.jitter_max_scaled = c.jitter_scaled;
    }
    c.jitter_sum_scaled += u64::from(c.jitter_scaled);
    c.jitter_samples += 1;
}
