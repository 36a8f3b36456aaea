//! One frame, from the wire to the wire: parse, look up, judge, rewrite, count, transmit. Everything that is not an
//! established stream is left to the stack, where user space finds it.

use core::arch::asm;
use core::ptr::{addr_of, read_volatile};

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::helpers::generated::{
    bpf_jiffies64, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns, bpf_sk_lookup_udp, bpf_sk_release,
};
use aya_ebpf::programs::XdpContext;
use tandem_ebpf_abi::{
    DropReason, EventKind, Express, FlowValue, Hop, Hot, IpWords, PuntReason, SLOTS_MAX, TOTAL_SLOTS, Totals, place_of,
};
use tandem_forward::frame::{self, Frame, Outgoing, Version};
use tandem_forward::{Clock, Head, Packet, Verdict, checksum, count_head, express, verdict_head};

use crate::events::{self, Subject};
use crate::frame::RawFrame;
use crate::hop::{self, Wanted};
use crate::maps::{LOCALS, PORTS, STREAMS, TOTALS, WAYS_OUT};

/// Samples of packets without a flow that are told per second and CPU (media.md 9).
const SAMPLES_PER_S: u64 = 100;
/// A neighbour is asked for again when the answer is older than this, in units of 2^30 ns.
const HOP_AGE_MAX: u32 = 1;
/// No action: the short way is not for this frame.
const LONG_WAY: u32 = u32::MAX;
/// The network namespace the frame came in (`BPF_F_CURRENT_NETNS`).
const THIS_NAMESPACE: u64 = u64::MAX;

/// The entry point.
#[inline(always)]
pub fn relay(ctx: &XdpContext) -> u32 {
    let Some(totals) = TOTALS.get_ptr_mut(0) else { return XDP_PASS };
    // SAFETY: one set per CPU, and nothing interrupts this program with another run of it.
    let totals = unsafe { &mut *totals };
    // The short way first: nearly all of what comes can take it. Untagged, then with a VLAN tag. Functions of their own,
    // so that their stack is given back before the long way wants it.
    let action = short_way::<14>(ctx, totals);
    if action != LONG_WAY {
        return action;
    }
    let action = short_way::<18>(ctx, totals);
    if action != LONG_WAY {
        return action;
    }
    let packet = RawFrame::new(ctx);
    let outcome = match frame::link(&packet) {
        // Written out, so that every place in the frame is a constant in each of the four, and each has a stack.
        Ok((Version::V4, 14)) => addressed::<4, 14>(ctx, totals),
        Ok((Version::V6, 14)) => addressed::<6, 14>(ctx, totals),
        Ok((Version::V4, _)) => addressed::<4, 18>(ctx, totals),
        Ok((Version::V6, _)) => addressed::<6, 18>(ctx, totals),
        Err(reason) => Outcome::punt(reason),
    };
    let number = (outcome.0 & 0xff) as usize & (TOTAL_SLOTS - 1);
    match outcome.0 >> 8 {
        Outcome::PUNT => {
            totals.punts[number] += 1;
            XDP_PASS
        }
        Outcome::DROP => {
            totals.drops[number] += 1;
            XDP_DROP
        }
        _ => outcome.0 & 0xff,
    }
}

/// What becomes of a frame, in one register, so that it can be the result of a function of its own: an enum of this shape
/// is returned with bytes that were never written, which the verifier does not let pass.
#[derive(Clone, Copy)]
struct Outcome(u32);

impl Outcome {
    const PUNT: u32 = 1;
    const DROP: u32 = 2;

    /// Decided and counted.
    #[inline(always)]
    fn action(action: u32) -> Outcome {
        Outcome(action & 0xff)
    }

    #[inline(always)]
    fn punt(reason: PuntReason) -> Outcome {
        Outcome(Self::PUNT << 8 | reason as u32)
    }

    #[inline(always)]
    fn drop(reason: DropReason) -> Outcome {
        Outcome(Self::DROP << 8 | reason as u32)
    }
}

/// The clock of this packet: coarse at hand, exact on demand.
#[derive(Clone, Copy)]
struct KernelClock {
    coarse_us: u64,
}

impl Clock for KernelClock {
    const JITTER_PERIOD: u64 = 16;

    #[inline(always)]
    fn coarse_us(self) -> u64 {
        self.coarse_us
    }

    #[inline(always)]
    fn exact_us(self) -> u64 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_ktime_get_ns() / 1_000 }
    }
}

/// What `express` of `forward` can do with a frame whose IP header is at `IP`; [`LONG_WAY`] when the long way must decide.
#[inline(never)]
fn short_way<const IP: usize>(ctx: &XdpContext, totals: &mut Totals) -> u32 {
    express_way::<IP>(ctx, totals).unwrap_or(LONG_WAY)
}

#[inline(always)]
fn express_way<const IP: usize>(ctx: &XdpContext, totals: &mut Totals) -> Option<u32> {
    let mut packet = RawFrame::new(ctx);
    let plain = express::read(&packet, IP)?;
    let slot = slot_of_v4(plain.dest_ip())?;
    let index = index_of(slot, plain.dest_port())?;
    let hot = STREAMS.get_ptr_mut(index)?;
    let (coarse_us, second) = clock(totals);
    let now = KernelClock { coarse_us };
    // SAFETY: as in `addressed`. The flow is copied before its version is read again.
    let (express, pulse, hop) = unsafe { (copied(hot), &mut (*hot).pulse, &(*hot).hop) };
    let decided = express::decide(&plain, &express, pulse, now)?;
    if hop.version != express.version
        || second.wrapping_sub(hop.asked) > HOP_AGE_MAX
        || hop.vlan != frame::vlan(&packet, IP)
        || hop.mtu != 0 && plain.wire_bytes() > u32::from(hop.mtu)
    {
        return None;
    }
    if verifies() && !plain.udp_is_right(&packet, IP) {
        return None;
    }
    let counters = if decided.sample {
        let port = PORTS.get_ptr_mut(index)?;
        // SAFETY: as in `addressed`.
        Some(unsafe { &mut (*port).counters })
    } else {
        None
    };
    // SAFETY: as in `unchanged`.
    if unsafe { read_volatile(&raw const (*hot).express.version) } != express.version {
        return None;
    }
    let action = send_by(ctx, totals, hop.ifindex)?;
    let [a, b, c] = hop.macs;
    packet.put_u32(0, a);
    packet.put_u32(4, b);
    packet.put_u32(8, c);
    express::rewrite(&mut packet, IP, &plain, &express);
    express::count(&plain, &express, decided, pulse, counters, now);
    totals.rtp_packets += 1;
    totals.rtp_bytes += u64::from(plain.payload_len());
    totals.express += 1;
    Some(action)
}

/// The short form of a flow, word by word, its version first. What was copied belongs together when the version is the
/// same afterwards.
///
/// # Safety
/// `hot` is an entry of the map.
#[inline(always)]
unsafe fn copied(hot: *const Hot) -> Express {
    // SAFETY: the caller's, and see `published`.
    unsafe {
        let from = &raw const (*hot).express;
        let version = read_volatile(&raw const (*from).version);
        asm!("");
        let express = Express {
            source_ip: read_volatile(&raw const (*from).source_ip),
            source_port: read_volatile(&raw const (*from).source_port),
            tos: read_volatile(&raw const (*from).tos),
            dtmf_pt: read_volatile(&raw const (*from).dtmf_pt),
            out_source_ip: read_volatile(&raw const (*from).out_source_ip),
            out_dest_ip: read_volatile(&raw const (*from).out_dest_ip),
            out_ports: read_volatile(&raw const (*from).out_ports),
            policer_interval: read_volatile(&raw const (*from).policer_interval),
            policer_burst: read_volatile(&raw const (*from).policer_burst),
            clock: read_volatile(&raw const (*from).clock),
            version,
        };
        asm!("");
        express
    }
}

/// Entry of a port in the tables; `None` for one outside the range.
#[inline(always)]
fn index_of(slot: u32, port: u16) -> Option<u32> {
    // SAFETY: constants of the loaded program.
    let (first, ports) = unsafe { (read_volatile(addr_of!(LOCALS.first_port)), read_volatile(addr_of!(LOCALS.ports))) };
    let offset = u32::from(port).wrapping_sub(first);
    if offset >= ports { None } else { Some(slot * ports + place_of(offset, ports)) }
}

/// Sends by this interface: the action, or `None` when there is no such way.
#[inline(always)]
fn send_by(ctx: &XdpContext, totals: &mut Totals, ifindex: u32) -> Option<u32> {
    if ifindex == ctx.ingress_ifindex() as u32 {
        return Some(XDP_TX);
    }
    // PASS when the interface is gone: the stack knows better.
    let action = WAYS_OUT.redirect(ifindex, u64::from(XDP_PASS)).unwrap_or(XDP_PASS);
    if action == XDP_PASS {
        return None;
    }
    totals.redirected += 1;
    Some(action)
}

/// A frame with an IP header at `ip`: is it for a media port of ours?
#[inline(never)]
fn addressed<const FAMILY: u8, const IP: usize>(ctx: &XdpContext, totals: &mut Totals) -> Outcome {
    let mut packet = RawFrame::new(ctx);
    let version = if FAMILY == 4 { Version::V4 } else { Version::V6 };
    let frame = match frame::parse_at(&packet, version, IP) {
        Ok(frame) => frame,
        Err(reason) => return Outcome::punt(reason),
    };
    let Some(slot) = slot_of(version, frame.dest.ip) else {
        totals.passed += 1;
        return Outcome::action(XDP_PASS);
    };
    let Some(index) = index_of(slot, frame.dest.port) else {
        totals.passed += 1;
        return Outcome::action(XDP_PASS);
    };
    if slot_of(version, frame.source.ip).is_some() {
        return Outcome::drop(DropReason::Looped);
    }
    let (Some(port), Some(hot)) = (PORTS.get_ptr_mut(index), STREAMS.get_ptr_mut(index)) else {
        // The loader sizes the maps by the same numbers.
        return Outcome::punt(PuntReason::NoFlow);
    };
    // SAFETY: entries of arrays never go away. A stream comes through one receive queue, so its counters and its hop
    // have one writer; strangers on other CPUs may lose a count of a drop.
    let (flow, counters) = unsafe { (&raw const (*port).flow, &mut (*port).counters) };
    // SAFETY: as above.
    let (pulse, hop) = unsafe { (&mut (*hot).pulse, &mut (*hot).hop) };
    let Some((flow, version_before)) = published(flow) else {
        return without_flow::<FAMILY, IP>(ctx, slot);
    };
    if flow.family != FAMILY {
        return Outcome::punt(PuntReason::FamilyMixed);
    }
    if verifies() && !checksum::udp_is_right(&packet, &frame) {
        return Outcome::punt(PuntReason::BadChecksum);
    }
    if frame.ttl <= 1 {
        counters.drop_packet(DropReason::TtlExpired);
        return Outcome::drop(DropReason::TtlExpired);
    }
    let (coarse_us, second) = clock(totals);
    let now = KernelClock { coarse_us };
    let head = Head::read(&packet, frame.payload, frame.payload_len as u32);
    express::pour(pulse, counters);
    let (rtcp, wants_copy) = match verdict_head(flow, counters, frame.source, head, now) {
        Verdict::Send { rtcp, copy } => (rtcp, copy),
        Verdict::Punt(reason) => return Outcome::punt(reason),
        Verdict::Drop(reason) => {
            let so_far = counters.dropped(reason);
            counters.drop_packet(reason);
            if matches!(reason, DropReason::Rate) && so_far & 1023 == 0 {
                let subject = Subject::new(EventKind::RateExceeded, slot as u8, frame.dest.port, version_before);
                events::tell(subject, coarse_us, head.rtp().ssrc);
            }
            return Outcome::drop(reason);
        }
    };
    // Also when the packet goes to user space after all.
    pulse.policer_due = counters.policer_due;
    let outgoing = match Outgoing::of(flow, &frame, head, rtcp) {
        Ok(outgoing) => outgoing,
        Err(reason) => {
            counters.drop_packet(reason);
            return Outcome::drop(reason);
        }
    };
    let (hop_flow, same_way) = (flow, !rtcp || flow.rtcp_dest_ip == flow.out_dest_ip);
    if !unchanged(flow, version_before) {
        // Its owner is changing it just now: user space knows what is right, and nothing has been touched yet.
        return Outcome::punt(PuntReason::NoFlow);
    }
    let wanted = Wanted::new(FAMILY == 4, rtcp, frame.wire_bytes(), second);
    let action = match way_out(ctx, totals, &mut packet, &frame, hop_flow, version_before, same_way, wanted, hop) {
        Ok(action) => action,
        Err(reason) => return Outcome::punt(reason),
    };
    frame::rewrite_at(&mut packet, &frame, &outgoing);
    let counted = count_head(flow, counters, head, frame.wire_bytes(), now);
    express::take(pulse, counters, flow, head);
    if rtcp {
        totals.rtcp_packets += 1;
        totals.rtcp_bytes += u64::from(head.len);
    } else {
        totals.rtp_packets += 1;
        totals.rtp_bytes += u64::from(head.len);
    }
    if counted.first || counted.ssrc_changed {
        let kind = if counted.first { EventKind::FirstRtp } else { EventKind::SsrcChange };
        events::tell(Subject::new(kind, slot as u8, frame.dest.port, version_before), coarse_us, head.rtp().ssrc);
    }
    if let Some(reason) = wants_copy {
        let kind = if matches!(reason, PuntReason::RtcpCopy) { EventKind::RtcpCopy } else { EventKind::DtmfCopy };
        let subject = Subject::new(kind, slot as u8, frame.dest.port, version_before);
        events::copy(ctx, subject, coarse_us, frame.payload as u32, frame.payload_len as u32);
    }
    Outcome::action(action)
}

/// The flow and its version; `None` when there is none, or while it is being changed.
#[inline(always)]
fn published(flow: *const FlowValue) -> Option<(&'static FlowValue, u32)> {
    // SAFETY: the verifier has seen the lookup succeed, and entries of arrays never go away. User space writes 0 to the
    // version before it changes anything and the new one after it, so equal versions before and after ([`unchanged`])
    // mean that nothing changed in between; loads are not reordered on x86-64, and the empty assembly keeps the
    // compiler from doing so (it has no fence for this target).
    unsafe {
        let version = read_volatile(addr_of!((*flow).version));
        asm!("");
        if version == 0 { None } else { Some((&*flow, version)) }
    }
}

/// Whether all that was read of the flow since [`published`] belongs together.
#[inline(always)]
fn unchanged(flow: &FlowValue, version: u32) -> bool {
    // SAFETY: as above.
    unsafe {
        asm!("");
        read_volatile(addr_of!(flow.version)) == version
    }
}

/// Whether UDP checksums are verified.
#[inline(always)]
fn verifies() -> bool {
    // SAFETY: a constant of the loaded program.
    unsafe { read_volatile(addr_of!(LOCALS.verify_udp)) != 0 }
}

/// Number of the media address, if it is one.
#[inline(always)]
fn slot_of(version: Version, ip: IpWords) -> Option<u32> {
    if matches!(version, Version::V4) {
        return slot_of_v4(ip.0[3]);
    }
    // SAFETY: constants of the loaded program.
    let count = unsafe { read_volatile(addr_of!(LOCALS.count)) };
    let mut slot = 0;
    while slot < SLOTS_MAX {
        if slot as u32 >= count {
            return None;
        }
        // SAFETY: as above.
        let same = unsafe {
            read_volatile(addr_of!(LOCALS.v6[slot].0[3])) == ip.0[3]
                && read_volatile(addr_of!(LOCALS.v6[slot].0[2])) == ip.0[2]
                && read_volatile(addr_of!(LOCALS.v6[slot].0[1])) == ip.0[1]
                && read_volatile(addr_of!(LOCALS.v6[slot].0[0])) == ip.0[0]
        };
        if same {
            return Some(slot as u32);
        }
        slot += 1;
    }
    None
}

/// The same for IPv4, by the word of the wire.
#[inline(always)]
fn slot_of_v4(ip: u32) -> Option<u32> {
    // SAFETY: constants of the loaded program.
    let count = unsafe { read_volatile(addr_of!(LOCALS.count)) };
    let mut slot = 0;
    while slot < SLOTS_MAX {
        if slot as u32 >= count {
            return None;
        }
        // SAFETY: as above.
        if unsafe { read_volatile(addr_of!(LOCALS.v4[slot])) } == ip {
            return Some(slot as u32);
        }
        slot += 1;
    }
    None
}

/// Coarse time: microseconds, and units of 2^30 ns.
#[inline(always)]
fn clock(totals: &mut Totals) -> (u64, u32) {
    // SAFETY: a helper without arguments.
    let tick = unsafe { bpf_jiffies64() };
    // The clock stands still for a whole tick, and the tick is one load where the clock is a call and a division.
    if tick != totals.tick {
        // SAFETY: as above.
        let ns = unsafe { bpf_ktime_get_coarse_ns() };
        totals.tick = tick;
        totals.clock_us = ns / 1_000;
        totals.clock_second = ns >> 30;
    }
    (totals.clock_us, totals.clock_second as u32)
}

/// Finds the way out and writes the link-layer addresses.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn way_out(
    ctx: &XdpContext,
    totals: &mut Totals,
    packet: &mut RawFrame,
    frame: &Frame,
    flow: &FlowValue,
    version: u32,
    same_way: bool,
    wanted: Wanted,
    kept: &mut Hop,
) -> Result<u32, PuntReason> {
    let mut other = Hop::default();
    let hop = if same_way {
        if kept.version != version || wanted.second().wrapping_sub(kept.asked) > HOP_AGE_MAX {
            known(hop::ask(ctx, flow, kept, wanted, version))?;
        }
        &*kept
    } else {
        // RTCP to another machine than RTP: rare, and not worth a place of its own.
        known(hop::ask(ctx, flow, &mut other, wanted, version))?;
        &other
    };
    if hop.vlan != frame::vlan(packet, frame.ip) {
        return Err(PuntReason::NoRoute);
    }
    if hop.mtu != 0 && frame.wire_bytes() > u32::from(hop.mtu) {
        return Err(PuntReason::TooLong);
    }
    if !packet.holds(frame.payload) {
        return Err(PuntReason::Truncated);
    }
    let Some(action) = send_by(ctx, totals, hop.ifindex) else {
        return Err(PuntReason::NoRoute);
    };
    let [a, b, c] = hop.macs;
    packet.put_u32(0, a);
    packet.put_u32(4, b);
    packet.put_u32(8, c);
    Ok(action)
}

/// What [`hop::ask`] answered.
#[inline(always)]
fn known(answer: u32) -> Result<(), PuntReason> {
    match answer.wrapping_sub(1) {
        n if n == PuntReason::NoNeighbour as u32 => Err(PuntReason::NoNeighbour),
        n if n == PuntReason::TooLong as u32 => Err(PuntReason::TooLong),
        u32::MAX => Ok(()),
        _ => Err(PuntReason::NoRoute),
    }
}

/// A port without a flow: to the stack when a socket waits for it, otherwise nothing at all, not even an ICMP message.
#[inline(never)]
fn without_flow<const FAMILY: u8, const IP: usize>(ctx: &XdpContext, slot: u32) -> Outcome {
    let packet = RawFrame::new(ctx);
    let header = if FAMILY == 4 { 20 } else { 40 };
    if !packet.holds(IP + header + 8) {
        return Outcome::punt(PuntReason::Truncated);
    }
    let word = |at| packet.u32(IP + at);
    let ports = word(header);
    // `struct bpf_sock_tuple`: source, destination, both ports.
    let (mut tuple, len) = if FAMILY == 4 {
        ([word(12), word(16), ports, 0, 0, 0, 0, 0, 0], 12)
    } else {
        ([word(8), word(12), word(16), word(20), word(24), word(28), word(32), word(36), ports], 36)
    };
    // SAFETY: the tuple has the size the helper is told; a socket that is found is given back.
    let has_socket = unsafe {
        let socket = bpf_sk_lookup_udp(ctx.ctx.cast(), tuple.as_mut_ptr().cast(), len, THIS_NAMESPACE, 0);
        if socket.is_null() {
            false
        } else {
            bpf_sk_release(socket.cast());
            true
        }
    };
    if has_socket {
        return Outcome::punt(PuntReason::NoFlow);
    }
    let Some(totals) = TOTALS.get_ptr_mut(0) else { return Outcome::drop(DropReason::NoFlow) };
    // SAFETY: one set per CPU.
    let totals = unsafe { &mut *totals };
    let (at_us, second) = clock(totals);
    if totals.sampled[0] != u64::from(second) {
        totals.sampled = [u64::from(second), 0];
    }
    if totals.sampled[1] < SAMPLES_PER_S {
        totals.sampled[1] += 1;
        let [s0, s1, d0, d1] = ports.to_ne_bytes();
        let source_ip = if FAMILY == 4 {
            IpWords::from_v4_word(word(12))
        } else {
            IpWords([word(8), word(12), word(16), word(20)])
        };
        let subject = Subject::new(EventKind::NoFlow, slot as u8, u16::from_be_bytes([d0, d1]), 0);
        events::tell_from(subject, at_us, 0, source_ip, u16::from_be_bytes([s0, s1]));
    }
    Outcome::drop(DropReason::NoFlow)
}
