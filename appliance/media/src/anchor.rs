//! The media of one relayed call: two sides, the addresses offered and learned, and what the fast path is told.
//!
//! Packets that the fast path punts come to [`Anchor::handle_packet`]: it latches, forwards that very packet with the
//! code of the fast path, and queues what changes for the flows. Drain [`Anchor::poll_flow`] and
//! [`Anchor::poll_event`] to their end after every call. There is no timer in here: the window of the latch closes by
//! itself when the first packet after it shows up.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tandem_ebpf_abi::{
    DropReason, Endpoint, FLAG_EARLY, FLAG_ON_HOLD, FLAG_RELATCH_OPEN, FLAG_RTCP_DROP, FLAG_RTCP_PAIR,
    FLAG_SOURCE_FIXED, FlowCounters, FlowKey, FlowValue, PuntReason, RemoveReason,
};

use crate::flow::FlowCommand;
use crate::latch::{Latch, LatchMode, Latching};
use crate::offer_answer::{PtMap, RtcpMode};
use crate::relay::{RelayVerdict, forward, wire_overhead};
use crate::rtcp::Quality;
use crate::rtp::{PacketClass, RtpHeader, classify};
use crate::rules::{AnchorRules, is_private};
use crate::sdp::{Direction, MediaDescription};

/// Packet time when the SDP names none, ms (RFC 3551 4.2).
const PTIME_MS_DEFAULT: u16 = 20;

/// One of the two sides of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The a-leg.
    Caller = 0,
    /// The b-leg.
    Callee = 1,
}

impl Side {
    /// The opposite one.
    pub fn other(self) -> Side {
        match self {
            Side::Caller => Side::Callee,
            Side::Callee => Side::Caller,
        }
    }
}

/// What is known of a side before its SDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SideSetup {
    /// Leased port, and the slot of the media address.
    pub key: FlowKey,
    /// The media address of that slot.
    pub local_ip: IpAddr,
    /// `None` takes [`AnchorRules::latch_default`].
    pub latch: Option<LatchMode>,
    /// Behind NAT (media.md M-D2, `decide::nat_address`): any source may latch first.
    pub nat: bool,
    /// Where the signalling comes from; a private SDP address is usable when it equals this.
    pub signalling_ip: Option<IpAddr>,
    /// The leg leads to another call of this node: our own media address is a good destination.
    pub hairpin: bool,
}

/// A side of a call that goes on after a restart.
#[derive(Clone, Debug)]
pub struct ResumedSide {
    /// As at its setup.
    pub setup: SideSetup,
    /// Its relayed stream in the last description that both sides agreed on.
    pub stream: Option<MediaDescription>,
    /// For packets that arrive from this side.
    pub pt: PtMap,
    /// The source its flow is latched to, when a flow outlived the process.
    pub source: Option<SocketAddr>,
    /// The RTCP source of that flow, when it is another one.
    pub rtcp_source: Option<SocketAddr>,
    /// Version of that flow; 0 without one.
    pub version: u32,
}

/// What happens to a punted packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketOut {
    /// Send the (rewritten) payload.
    Forward {
        /// Local port of the other side.
        from_port: u16,
        /// Local address of the other side.
        from_ip: IpAddr,
        /// Destination.
        to: SocketAddr,
    },
    /// Forget it; it is counted.
    Drop(DropReason),
}

/// What the call wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaEvent {
    /// First RTP of a side. `early` with the callee is what stops gateway switching (media.md 6).
    FirstRtp {
        /// From whom.
        side: Side,
        /// The call was not answered yet.
        early: bool,
    },
    /// A side sends from somewhere else now.
    Relatched {
        /// Which side.
        side: Side,
        /// The source before.
        from: SocketAddr,
        /// The source now.
        to: SocketAddr,
    },
    /// A side's source changed more than three times: alarm "RTP hijack suspect"; the source is frozen.
    HijackSuspect {
        /// Which side.
        side: Side,
        /// Who tried.
        source: SocketAddr,
    },
}

/// An SDP names an address that media must not go to: 488 "Prohibited Media IP".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("media address {ip} of the SDP is refused: {why}")]
pub struct ProhibitedAddress {
    /// The address.
    pub ip: IpAddr,
    /// Which rule.
    pub why: &'static str,
}

struct SideState {
    setup: SideSetup,
    latch: Latch,
    /// RTP address in the current SDP, if it names one.
    offered: Option<SocketAddr>,
    offered_rtcp: Option<(u16, Option<IpAddr>)>,
    rtcp_mux: bool,
    /// RTCP source, when it is not the RTP source.
    learned_rtcp: Option<SocketAddr>,
    direction: Direction,
    negotiated: u128,
    dtmf_pt: Option<u8>,
    ptime_ms: u16,
    /// For packets that arrive from this side.
    pt: PtMap,
    heard: bool,
    counters: FlowCounters,
    quality: Quality,
    installed: FlowValue,
}

impl SideState {
    fn new(setup: SideSetup, rules: &AnchorRules) -> SideState {
        SideState {
            latch: Latch::new(setup.latch.unwrap_or(rules.latch_default), setup.nat),
            setup,
            offered: None,
            offered_rtcp: None,
            rtcp_mux: false,
            learned_rtcp: None,
            direction: Direction::SendRecv,
            negotiated: 0,
            dtmf_pt: None,
            ptime_ms: PTIME_MS_DEFAULT,
            pt: PtMap::IDENTITY,
            heard: false,
            counters: FlowCounters::ZERO,
            quality: Quality::default(),
            installed: FlowValue::default(),
        }
    }

    fn resume(resumed: ResumedSide, rules: &AnchorRules) -> SideState {
        let mut state = SideState::new(resumed.setup, rules);
        if let Some(media) = &resumed.stream {
            state.describe(media, rules);
        }
        let mode = resumed.setup.latch.unwrap_or(rules.latch_default);
        state.latch = Latch::resume(mode, resumed.setup.nat, state.offered, resumed.source);
        state.learned_rtcp = resumed.rtcp_source;
        state.heard = resumed.source.is_some();
        state.pt = resumed.pt;
        state.installed.version = resumed.version;
        state
    }

    /// Takes what a description says, the latch apart.
    fn describe(&mut self, media: &MediaDescription, rules: &AnchorRules) {
        self.offered = media.address();
        self.offered_rtcp = media.rtcp;
        self.rtcp_mux = media.rtcp_mux && rules.rtcp == RtcpMode::Mux;
        self.direction = media.effective_direction();
        self.ptime_ms = media.ptime_ms.unwrap_or(PTIME_MS_DEFAULT);
        self.negotiated = media.codecs.iter().fold(0, |set, c| set | 1 << (c.payload_type & 0x7f));
        self.dtmf_pt = media.codecs.iter().find(|c| c.is_telephone_event()).map(|c| c.payload_type);
    }

    /// RTP destination: the learned source, else the SDP address if it is usable, else the source before (rule 1).
    fn destination(&self, rules: &AnchorRules) -> Option<SocketAddr> {
        let announced = self.offered.filter(|a| self.reachable(a.ip()));
        self.latch.source().or(announced).or(self.latch.last_source()).filter(|a| self.permitted(rules, *a))
    }

    /// RTCP destination: the RTP one when muxed, else the learned source, else `a=rtcp`, else port + 1 (M-D4).
    fn rtcp_destination(&self, rules: &AnchorRules) -> Option<SocketAddr> {
        let rtp = self.destination(rules)?;
        if self.rtcp_mux {
            return Some(rtp);
        }
        if let Some(learned) = self.learned_rtcp.filter(|_| self.latch.open_to_any()) {
            return Some(learned).filter(|a| self.permitted(rules, *a));
        }
        let (ip, port) = match self.offered_rtcp {
            // An address in a=rtcp holds as long as the RTP address of the same SDP does.
            Some((port, Some(ip))) if self.offered == Some(rtp) => (ip, port),
            Some((port, _)) => (rtp.ip(), port),
            None => (rtp.ip(), rtp.port().checked_add(1).unwrap_or(rtp.port())),
        };
        Some(SocketAddr::new(ip, port)).filter(|a| self.permitted(rules, *a))
    }

    fn reachable(&self, ip: IpAddr) -> bool {
        !self.setup.nat || !is_private(ip) || self.setup.signalling_ip == Some(ip)
    }

    fn permitted(&self, rules: &AnchorRules, to: SocketAddr) -> bool {
        to.port() != 0 && rules.prohibits(to.ip(), self.setup.hairpin).is_none()
    }

    fn local(&self) -> SocketAddr {
        SocketAddr::new(self.setup.local_ip, self.setup.key.port)
    }
}

/// The media of one call.
pub struct Anchor {
    rules: Arc<AnchorRules>,
    sides: [SideState; 2],
    answered_us: Option<u64>,
    closed: bool,
    clock_hz: u32,
    flows: VecDeque<FlowCommand>,
    events: VecDeque<MediaEvent>,
}

impl Anchor {
    /// Two sides with their leased ports. Both flows are installed at once, unlatched.
    pub fn new(rules: Arc<AnchorRules>, caller: SideSetup, callee: SideSetup) -> Anchor {
        let sides = [SideState::new(caller, &rules), SideState::new(callee, &rules)];
        let mut anchor = Anchor {
            rules,
            sides,
            answered_us: None,
            closed: false,
            clock_hz: 0,
            flows: VecDeque::new(),
            events: VecDeque::new(),
        };
        anchor.refresh(0);
        anchor
    }

    /// The media of an answered call goes on after a restart of the switch. Each flow is installed once, as it was: a flow
    /// that the fast path kept forwarding loses nothing.
    pub fn resume(rules: Arc<AnchorRules>, now_us: u64, [caller, callee]: [ResumedSide; 2]) -> Anchor {
        let clock_hz = [&caller, &callee].iter().rev().find_map(|side| {
            side.stream.as_ref().and_then(MediaDescription::main_codec).map(|c| c.clock_hz).filter(|hz| *hz != 0)
        });
        let sides = [SideState::resume(caller, &rules), SideState::resume(callee, &rules)];
        let mut anchor = Anchor {
            rules,
            sides,
            answered_us: Some(0),
            closed: false,
            clock_hz: clock_hz.unwrap_or(0),
            flows: VecDeque::new(),
            events: VecDeque::new(),
        };
        anchor.refresh(now_us);
        anchor
    }

    /// Payload types that are rewritten in packets from `side`.
    pub fn pt(&self, side: Side) -> &PtMap {
        &self.sides[side as usize].pt
    }

    /// Whether `side` may latch to any source.
    pub fn nat(&self, side: Side) -> bool {
        self.sides[side as usize].setup.nat
    }

    /// The SDP of `side` says this now.
    ///
    /// Call it for the first offer and the first answer (early or final) as they come; for a re-INVITE or UPDATE only
    /// when the exchange succeeded, with both descriptions, offer first: a refused offer must leave everything as it
    /// was. Also for a 200 whose answer differs from the one before. Repeating the same description changes nothing.
    ///
    /// # Errors
    /// [`ProhibitedAddress`] by rule 6; nothing is changed then.
    pub fn set_remote(&mut self, now_us: u64, side: Side, media: &MediaDescription) -> Result<(), ProhibitedAddress> {
        let state = &mut self.sides[side as usize];
        if let Some(address) = media.address() {
            let ip = address.ip();
            if let Some(why) = self.rules.prohibits(ip, state.setup.hairpin) {
                return Err(ProhibitedAddress { ip, why });
            }
        }
        state.describe(media, &self.rules);
        let before = state.latch.source();
        state.latch.set_offered(media.address());
        if before.is_some() && state.latch.source().is_none() {
            state.learned_rtcp = None;
        }
        // The answer comes last and begins with the codec that will be used (RFC 3264 6.1).
        if let Some(codec) = media.main_codec().filter(|c| c.clock_hz != 0) {
            self.clock_hz = codec.clock_hz;
        }
        self.refresh(now_us);
        Ok(())
    }

    /// Payload types to rewrite in packets that arrive from `side`: `Produced::pt` for the side that answered, its
    /// inverse for the side that offered.
    pub fn set_pt_map(&mut self, now_us: u64, side: Side, pt: PtMap) {
        self.sides[side as usize].pt = pt;
        self.refresh(now_us);
    }

    /// Whether `side` is behind NAT, when that is known later than the setup.
    pub fn set_nat(&mut self, now_us: u64, side: Side, nat: bool) {
        let state = &mut self.sides[side as usize];
        state.setup.nat = nat;
        state.latch.set_nat(nat);
        self.refresh(now_us);
    }

    /// 200 OK went to the caller: early media is over, and the re-latch window opens.
    pub fn established(&mut self, now_us: u64) {
        if self.answered_us.is_none() {
            self.answered_us = Some(now_us);
            for state in &mut self.sides {
                state.latch.answered(now_us);
            }
            self.refresh(now_us);
        }
    }

    /// The next valid packet of `side` latches anew: another fork answered, or the registration moved (rules 3 and 4).
    pub fn reopen(&mut self, now_us: u64, side: Side) {
        let state = &mut self.sides[side as usize];
        state.latch.reopen();
        state.learned_rtcp = None;
        self.refresh(now_us);
    }

    /// The B-leg attempt on `side` ended and another one begins on the same port: everything learned is forgotten.
    ///
    /// The old flow is removed with its own counters (reason `attempt_ended`); returns what the slow path counted.
    pub fn next_attempt(&mut self, now_us: u64, side: Side, setup: SideSetup) -> FlowCounters {
        let old = &mut self.sides[side as usize];
        let key = old.setup.key;
        let counted = old.counters;
        let version = old.installed.version;
        *old = SideState::new(setup, &self.rules);
        old.installed.version = version;
        self.flows.push_back(FlowCommand::Remove { key, reason: RemoveReason::AttemptEnded });
        self.refresh(now_us);
        counted
    }

    /// The call ended; both flows are removed and later packets dropped. Once per call.
    pub fn close(&mut self, reason: RemoveReason) {
        debug_assert!(!self.closed, "media of a call closed twice");
        if self.closed {
            return;
        }
        self.closed = true;
        for state in &self.sides {
            self.flows.push_back(FlowCommand::Remove { key: state.setup.key, reason });
        }
    }

    /// Judges a packet that came to the port of `side` and was punted for `reason`; forwards it when it is accepted.
    pub fn handle_packet(
        &mut self,
        now_us: u64,
        side: Side,
        reason: PuntReason,
        source: SocketAddr,
        payload: &mut [u8],
    ) -> PacketOut {
        let judged = if self.closed {
            Err(DropReason::Closed)
        } else {
            match classify(payload) {
                PacketClass::Rtp => self.judge_rtp(now_us, side, reason, source, payload),
                PacketClass::Rtcp => self.judge_rtcp(now_us, side, source),
                PacketClass::Stun => Err(DropReason::Stun),
                PacketClass::Dtls => Err(DropReason::Dtls),
                PacketClass::TooShort => Err(DropReason::TooShort),
                PacketClass::Unknown => Err(DropReason::BadVersion),
            }
        };
        if let Err(reason) = judged {
            self.sides[side as usize].counters.drop_packet(reason);
            return PacketOut::Drop(reason);
        }
        let state = &mut self.sides[side as usize];
        let value = state.installed;
        let overhead = wire_overhead(source);
        let endpoint = Endpoint::from(source);
        match forward(&value, &mut state.counters, endpoint, payload, overhead, now_us) {
            RelayVerdict::Send { from_port, from_ip, to, copy } => {
                if let Some(reason) = copy {
                    self.handle_copy(now_us, side, reason, payload);
                }
                PacketOut::Forward { from_port, from_ip, to }
            }
            RelayVerdict::Drop(reason) => PacketOut::Drop(reason),
            // The source was accepted above, so nothing is left to punt; a packet must not run in circles either way.
            RelayVerdict::Punt(_) => {
                state.counters.drop_packet(DropReason::SourceMismatch);
                PacketOut::Drop(DropReason::SourceMismatch)
            }
        }
    }

    /// Looks at a packet from `side` that was forwarded already: RTCP reports feed [`Anchor::quality`].
    pub fn handle_copy(&mut self, now_us: u64, side: Side, reason: PuntReason, payload: &[u8]) {
        if reason == PuntReason::RtcpCopy {
            self.sides[side as usize].quality.received(now_us, payload);
            self.sides[side.other() as usize].quality.forwarded(now_us, payload);
        }
    }

    /// Next change for the fast path.
    pub fn poll_flow(&mut self) -> Option<FlowCommand> {
        let next = self.flows.pop_front();
        if next.is_none() && self.answered_us.is_some() {
            // An answered call changes its flows hardly ever; room for four commands is 800 bytes.
            self.flows.shrink_to_fit();
        }
        next
    }

    /// Next event for the call.
    pub fn poll_event(&mut self) -> Option<MediaEvent> {
        self.events.pop_front()
    }

    /// Which side a local port belongs to.
    pub fn side_of(&self, key: FlowKey) -> Option<Side> {
        [Side::Caller, Side::Callee].into_iter().find(|s| self.sides[*s as usize].setup.key == key)
    }

    /// What the slow path counted of `side`; the fast path has the rest (`stats::LegMedia` adds them).
    pub fn counters(&self, side: Side) -> &FlowCounters {
        &self.sides[side as usize].counters
    }

    /// What the RTCP of `side` says.
    pub fn quality(&self, side: Side) -> &Quality {
        &self.sides[side as usize].quality
    }

    /// Source that `side` is latched to.
    pub fn learned(&self, side: Side) -> Option<SocketAddr> {
        self.sides[side as usize].latch.source()
    }

    /// RTP address in the SDP of `side`.
    pub fn offered(&self, side: Side) -> Option<SocketAddr> {
        self.sides[side as usize].offered
    }

    /// True when either side is on hold: interruption timers stop (media.md 5).
    pub fn on_hold(&self) -> bool {
        self.sides.iter().any(|s| s.direction != Direction::SendRecv)
    }

    fn judge_rtp(
        &mut self,
        now_us: u64,
        side: Side,
        reason: PuntReason,
        source: SocketAddr,
        payload: &[u8],
    ) -> Result<(), DropReason> {
        let state = &mut self.sides[side as usize];
        let header = RtpHeader::read(payload).ok_or(DropReason::TooShort)?;
        if !known_payload_type(state.negotiated, header.payload_type) {
            return Err(DropReason::UnknownPayloadType);
        }
        // A source becomes a destination: what must not be sent to must not be learned (rule 6).
        if state.latch.source() != Some(source) && !state.permitted(&self.rules, source) {
            return Err(DropReason::Prohibited);
        }
        let outcome = state.latch.judge(now_us, reason, source);
        let accepted = match outcome {
            Latching::Known | Latching::Latched => Ok(()),
            Latching::Relatched { from } => {
                state.learned_rtcp = None;
                self.events.push_back(MediaEvent::Relatched { side, from, to: source });
                Ok(())
            }
            Latching::HijackSuspect => {
                self.events.push_back(MediaEvent::HijackSuspect { side, source });
                Err(DropReason::Frozen)
            }
            Latching::Refused(reason) => Err(reason),
        };
        if accepted.is_ok() && !state.heard {
            state.heard = true;
            self.events.push_back(MediaEvent::FirstRtp { side, early: self.answered_us.is_none() });
        }
        // Also after a refusal: the window may have closed since the flow was installed.
        self.refresh(now_us);
        accepted
    }

    fn judge_rtcp(&mut self, now_us: u64, side: Side, source: SocketAddr) -> Result<(), DropReason> {
        let rules = &self.rules;
        let state = &mut self.sides[side as usize];
        if rules.rtcp == RtcpMode::Drop {
            return Err(DropReason::RtcpPolicy);
        }
        if state.latch.source() == Some(source) || state.learned_rtcp == Some(source) {
            return Ok(());
        }
        // Only from the machine that sends the RTP; before any RTP, only from where the SDP expects RTCP.
        let expected = match state.latch.source() {
            Some(rtp) => source.ip() == rtp.ip(),
            None => state.rtcp_destination(rules) == Some(source),
        };
        if state.learned_rtcp.is_some() || !expected || !state.permitted(rules, source) {
            return Err(DropReason::RtcpStray);
        }
        state.learned_rtcp = Some(source);
        self.refresh(now_us);
        Ok(())
    }

    /// Compares what the flows should be with what was installed, and queues the difference.
    fn refresh(&mut self, now_us: u64) {
        if self.closed {
            return;
        }
        for side in [Side::Caller, Side::Callee] {
            let mut value = self.flow_value(now_us, side);
            let state = &mut self.sides[side as usize];
            value.version = state.installed.version;
            if value == state.installed && value.version != 0 {
                continue;
            }
            // 0 means "no entry" and is stepped over.
            value.version = value.version.checked_add(1).unwrap_or(1);
            state.installed = value;
            let key = state.setup.key;
            self.flows.push_back(FlowCommand::Install { key, value });
        }
    }

    fn flow_value(&self, now_us: u64, side: Side) -> FlowValue {
        let from = &self.sides[side as usize];
        let to = &self.sides[side.other() as usize];
        let never_back = |a: &SocketAddr| *a != from.local() && *a != to.local();
        let source = endpoint(from.latch.source());
        let rtcp_source = endpoint(from.learned_rtcp);
        let dest = endpoint(to.destination(&self.rules).filter(never_back));
        let rtcp_dest = endpoint(to.rtcp_destination(&self.rules).filter(never_back));
        let out_source = Endpoint::from(to.local());
        let mut flags = 0;
        let mut set = |flag: u16, on: bool| flags |= if on { flag } else { 0 };
        set(FLAG_EARLY, self.answered_us.is_none());
        set(FLAG_ON_HOLD, !to.direction.receives());
        set(FLAG_RELATCH_OPEN, from.latch.window_open(now_us));
        set(FLAG_SOURCE_FIXED, from.latch.fixed());
        set(FLAG_RTCP_DROP, self.rules.rtcp == RtcpMode::Drop);
        set(FLAG_RTCP_PAIR, self.rules.rtcp == RtcpMode::Pair);
        let (pt, pt_count) = from.pt.parts();
        let pps = self.policer_pps(from.ptime_ms.min(to.ptime_ms));
        FlowValue {
            source_ip: source.ip,
            out_source_ip: out_source.ip,
            out_dest_ip: dest.ip,
            source_port: source.port,
            out_source_port: out_source.port,
            out_dest_port: dest.port,
            family: match (from.setup.local_ip, to.setup.local_ip) {
                (IpAddr::V4(_), IpAddr::V4(_)) => 4,
                (IpAddr::V6(_), IpAddr::V6(_)) => 6,
                _ => 0,
            },
            tos: self.rules.tos & 0xfc,
            flags,
            pt_count,
            dtmf_pt: from.dtmf_pt.or(to.dtmf_pt).unwrap_or(u8::MAX),
            clock_hz: self.clock_hz,
            rtcp_source_ip: rtcp_source.ip,
            rtcp_dest_ip: rtcp_dest.ip,
            rtcp_source_port: rtcp_source.port,
            rtcp_dest_port: rtcp_dest.port,
            pt,
            ssrc_pin: 0,
            policer_pps: pps,
            policer_burst: pps,
            version: 0,
        }
    }

    /// Twice the rate of the codec, at least the configured minimum (media.md 9).
    fn policer_pps(&self, ptime_ms: u16) -> u16 {
        match self.rules.policer_pps_min {
            0 => 0,
            min => (2_000 / ptime_ms.max(1)).max(min),
        }
    }
}

/// Negotiated, or of a range that a peer may use without asking (media.md 4 rule 2).
fn known_payload_type(negotiated: u128, pt: u8) -> bool {
    matches!(pt, 0..=34 | 96..=127) || negotiated & (1 << pt) != 0
}

fn endpoint(address: Option<SocketAddr>) -> Endpoint {
    address.map_or(Endpoint::default(), Endpoint::from)
}
