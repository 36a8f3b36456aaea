//! The joint between the rooms of one shard: every output of one is an input of another, or leaves.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use tandem_call::calls::{Calls, CallsConfig, MediaSend};
use tandem_call::output::{Finish, Output as CallOutput};
use tandem_call::question::{Answer, Question};
use tandem_call::silence::Heard;
use tandem_call::snapshot::Snapshot;
use tandem_call::trace::TraceEvent;
use tandem_ebpf_abi::{DropReason, FlowCounters, FlowKey, FlowValue, PuntReason, RemoveReason};
use tandem_leg::{Fail, LegEvent, LegId, ListenerId, Now, Time};
use tandem_media::{FlowCommand, RelayVerdict, Side, UserRelay};
use tandem_sip::method::Method;
use tandem_sip::{Endpoint, MessageKind, MessageSummary, OrderError, Output as SipOutput, Received};

use crate::byes::Byes;

/// What a shard is made of.
pub struct Config {
    /// SIP room.
    pub sip: tandem_sip::Config,
    /// Call room.
    pub calls: CallsConfig,
    /// Configuration it starts with.
    pub snapshot: Arc<Snapshot>,
    /// Calls that ended and are not settled; above this a new call gets 503.
    pub unsettled_max: usize,
    /// Retry-After of that 503, seconds.
    pub overload_retry_after_s: u32,
    /// Calls in one heartbeat question: bounds the size of its record.
    pub heartbeat_calls_max: usize,
    /// Names the time since the machine was started: the monotonic clock of a carried call means nothing in another one. All
    /// zero is unknown, and no call is carried.
    pub boot: [u8; 16],
    /// What forwards beside this shard; `None` when user space forwards everything.
    pub fast_path: Option<Box<dyn FastPath>>,
}

/// What the owner of sockets, queues and traces is to do or may want to know; drained to the end after every change.
#[derive(Debug)]
pub enum Output {
    /// Send a datagram; its buffer goes back with [`Core::recycle`].
    Send {
        /// From this listener.
        listener: ListenerId,
        /// Destination.
        to: SocketAddr,
        /// The message.
        bytes: Vec<u8>,
        /// Its leg, if there is one.
        leg: Option<LegId>,
        /// What it is.
        summary: MessageSummary,
    },
    /// Carry a question to the rating thread.
    Ask(Question),
    /// Open a socket on this media port and report with [`Core::port_opened`].
    OpenPort(FlowKey),
    /// Close the socket of this media port.
    ClosePort(FlowKey),
    /// A call came in and is being decided.
    Accepted(LegId),
    /// A call came from nobody we know; SIP has refused it, only its record is made.
    Stranger(LegId),
    /// A call was refused because settlement is behind or stands still.
    Overloaded(LegId),
    /// An outgoing leg was ordered.
    Attempt {
        /// The new leg.
        leg: LegId,
        /// The caller's.
        a_leg: LegId,
    },
    /// The SIP room would not take the order for a new outgoing leg.
    NotBegun(LegId),
    /// A vendor answered the call of this a-leg.
    VendorAnswered(LegId),
    /// The caller is told that his call is answered.
    Answered(LegId),
    /// The call of this a-leg is over, and its last question asked.
    Finished {
        /// The a-leg.
        a_leg: LegId,
        /// How long it was held when it was answered, ms.
        held_ms: Option<i64>,
    },
    /// Nothing of this leg is left in the SIP room.
    Forgotten(LegId),
    /// A decision was made.
    Decision {
        /// The a-leg of the call.
        a_leg: LegId,
        /// Its flow number.
        flow_no: u64,
        /// When.
        at: Now,
        /// What and why.
        event: TraceEvent,
    },
}

/// Forwards packets of installed flows beside this shard: the XDP program.
pub trait FastPath: Send {
    /// Does what `command` says. The final counters of a removed flow come back.
    fn apply(&mut self, command: &FlowCommand) -> Option<FlowCounters>;

    /// Counters of the flow of a local port, if it has one.
    fn counters(&self, port: FlowKey) -> Option<FlowCounters>;

    /// The flow of a local port, which may be that of another life of this switch.
    fn flow(&self, port: FlowKey) -> Option<FlowValue>;
}

/// What became of a media packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaPacket {
    /// A flow knew what to do with it.
    Relayed(MediaSend),
    /// The call looked at it, and may have let it through.
    Punted(Option<MediaSend>),
    /// Not for us.
    Dropped(DropReason),
}

/// See the module text. Every `handle_*` is followed by draining [`Core::poll_output`].
pub struct Core {
    pub(crate) endpoint: Endpoint,
    pub(crate) calls: Calls,
    /// Flows by media address.
    relays: Vec<UserRelay>,
    /// Last counters of removed flows until their call is finished. A flow may be installed and removed several times in
    /// one call (re-INVITE, a new source); the counts add up at the end.
    kept: Vec<(FlowKey, FlowCounters)>,
    pub(crate) queued: VecDeque<Output>,
    pub(crate) boot: [u8; 16],
    pub(crate) fast_path: Option<Box<dyn FastPath>>,
    pub(crate) unsettled: usize,
    unsettled_max: usize,
    overload_retry_after_s: u32,
    heartbeat_calls_max: usize,
    /// RTP packets of attempts that failed: in no record.
    unbilled_packets: u64,
    refusing: bool,
    byes: Byes,
    /// Legs that SIP said would not be heard of again.
    #[cfg(debug_assertions)]
    forgotten: std::collections::HashSet<LegId>,
}

impl Core {
    /// A shard without calls. The first ports are wished for by the first [`Core::handle_timeout`].
    pub fn new(config: Config) -> Core {
        Core {
            endpoint: Endpoint::new(config.sip),
            relays: config
                .calls
                .media
                .addresses
                .iter()
                .map(|_| UserRelay::new(config.calls.media.ports.clone()))
                .collect(),
            calls: Calls::new(config.calls, config.snapshot),
            kept: Vec::new(),
            queued: VecDeque::new(),
            boot: config.boot,
            fast_path: config.fast_path,
            unsettled: 0,
            unsettled_max: config.unsettled_max,
            overload_retry_after_s: config.overload_retry_after_s,
            heartbeat_calls_max: config.heartbeat_calls_max,
            unbilled_packets: 0,
            refusing: false,
            byes: Byes::default(),
            #[cfg(debug_assertions)]
            forgotten: std::collections::HashSet::new(),
        }
    }

    /// The SIP room, to look at.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The call room, to look at.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// Flows in the tables of user space.
    pub fn flows(&self) -> usize {
        self.relays.iter().map(UserRelay::len).sum()
    }

    /// Flows of one media address.
    pub fn flows_of(&self, slot: u8) -> usize {
        self.relays.get(usize::from(slot)).map_or(0, UserRelay::len)
    }

    /// Packets that came to a port without a flow.
    pub fn no_flow(&self) -> u64 {
        self.relays.iter().map(UserRelay::no_flow).sum()
    }

    fn own_counters(&self, port: FlowKey) -> Option<&FlowCounters> {
        self.relays.get(usize::from(port.slot))?.counters(port.port)
    }

    /// Calls that ended and whose settlement is not confirmed.
    pub fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// Counters of removed flows that no finished call has taken yet.
    pub fn counters_kept(&self) -> usize {
        self.kept.len()
    }

    /// A datagram on a SIP listener.
    pub fn handle_datagram(&mut self, now: Now, listener: ListenerId, source: SocketAddr, bytes: &[u8]) -> Received {
        self.endpoint.handle_datagram(now.mono, listener, source, bytes)
    }

    /// The network says that `to` cannot be reached from `listener`.
    pub fn handle_unreachable(&mut self, now: Now, listener: ListenerId, to: SocketAddr) {
        self.endpoint.handle_unreachable(now.mono, listener, to);
    }

    /// A datagram on a media port: the flow table first, the call for what it does not decide. What is sent is `payload`,
    /// rewritten in place.
    pub fn handle_media(&mut self, now: Now, port: FlowKey, source: SocketAddr, payload: &mut [u8]) -> MediaPacket {
        let now_us = now.mono.micros();
        let beside = self.fast_path.as_ref().and_then(|fast| fast.counters(port));
        let Some(relay) = self.relays.get_mut(usize::from(port.slot)) else {
            return MediaPacket::Dropped(DropReason::NoDestination);
        };
        let verdict = match &beside {
            Some(beside) => relay.handle_beside(now_us, port.port, source, payload, beside),
            None => relay.handle(now_us, port.port, source, payload),
        };
        match verdict {
            RelayVerdict::Send { from_port, from_ip, to, copy } => {
                if let Some(reason) = copy {
                    self.calls.handle_media_copy(now, port, reason, payload);
                }
                MediaPacket::Relayed(MediaSend { from: SocketAddr::new(from_ip, from_port), to })
            }
            RelayVerdict::Punt(reason) => {
                MediaPacket::Punted(self.calls.handle_media(now, port, source, reason, payload))
            }
            RelayVerdict::Drop(reason) => MediaPacket::Dropped(reason),
        }
    }

    /// A packet that the fast path forwarded and that is looked at here too: RTCP, telephone events.
    pub fn handle_copy(&mut self, now: Now, port: FlowKey, reason: PuntReason, payload: &[u8]) {
        self.calls.handle_media_copy(now, port, reason, payload);
    }

    /// What was forwarded so far from the sender to `port`: here, and by the fast path.
    pub fn media_counters(&self, port: FlowKey) -> [Option<FlowCounters>; 2] {
        let own = self.own_counters(port).copied();
        joined(own, self.fast_path.as_ref().and_then(|fast| fast.counters(port)))
    }

    /// RTP packets of calls that are on: those that user space has forwarded, and those of flows that the fast path has
    /// handed back.
    pub fn live_packets(&self) -> u64 {
        let kept: u64 = self.kept.iter().map(|(_, counters)| counters.packets).sum();
        kept + self.relays.iter().map(UserRelay::packets).sum::<u64>() + self.calls.slow_packets()
    }

    /// RTP packets of attempts that failed, which are in no record.
    pub fn unbilled_packets(&self) -> u64 {
        self.unbilled_packets
    }

    /// Removes those of `flows` that no call has: the fast path kept them while the switch was dead, and their calls ended with
    /// it. What they had counted comes back; there is no record that it belongs to.
    pub fn remove_orphans(&mut self, flows: &[FlowKey]) -> Vec<FlowCounters> {
        let Some(fast) = &mut self.fast_path else { return Vec::new() };
        let orphans = flows.iter().filter(|key| !self.calls.has_port(**key));
        orphans
            .filter_map(|key| fast.apply(&FlowCommand::Remove { key: *key, reason: RemoveReason::Orphaned }))
            .collect()
    }

    /// An answer of the rating thread.
    pub fn handle_answer(&mut self, now: Now, answer: Answer) {
        if let Answer::Settled { flow_no, .. } = answer {
            self.unsettled = self.unsettled.saturating_sub(1);
            self.queued.extend(self.byes.release(flow_no));
        } else {
            self.calls.handle_answer(now, answer);
        }
    }

    /// The port of an [`Output::OpenPort`] has a socket, or cannot have one.
    pub fn port_opened(&mut self, now: Now, port: FlowKey, ok: bool) {
        self.calls.port_opened(now, port, ok);
    }

    /// Serves one room whose timer is due; false when none is. Drain after each.
    pub fn handle_timeout(&mut self, now: Now) -> bool {
        if self.byes.poll_timeout().is_some_and(|due| due <= now.mono) {
            self.queued.extend(self.byes.overdue(now.mono));
            true
        } else if self.endpoint.poll_timeout().is_some_and(|due| due <= now.mono) {
            self.endpoint.handle_timeout(now.mono);
            true
        } else if self.calls.poll_timeout().is_some_and(|due| due <= now.mono) {
            self.calls.handle_timeout(now);
            true
        } else {
            false
        }
    }

    /// When the next timer is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        [self.endpoint.poll_timeout(), self.calls.poll_timeout(), self.byes.poll_timeout()].into_iter().flatten().min()
    }

    /// Tells the rating thread which answered calls are alive.
    pub fn heartbeat(&mut self, now: Now) {
        let (mut alive, mut unacknowledged) = (Vec::new(), Vec::new());
        self.calls.heartbeat(now, &mut alive, &mut unacknowledged);
        self.tell_alive(now, &alive);
        for chunk in unacknowledged.chunks(self.heartbeat_calls_max) {
            let (alive, unacknowledged) = (Vec::new(), chunk.to_vec());
            self.queued.push_back(Output::Ask(Question::Heartbeat { at_ms: now.wall_ms, alive, unacknowledged }));
        }
    }

    /// Whether [`Core::first_heartbeats`] has something to tell.
    pub fn has_first_heartbeats(&self) -> bool {
        self.calls.newly_alive_count() > 0
    }

    /// Tells the rating thread which answers were acknowledged. Nobody waits for it, but until it is written a call cannot go
    /// on after a restart: some tens of milliseconds are enough to put many into one record.
    pub fn first_heartbeats(&mut self, now: Now) {
        let mut alive = Vec::new();
        self.calls.newly_alive(now, &mut alive);
        self.tell_alive(now, &alive);
    }

    fn tell_alive(&mut self, now: Now, alive: &[(u64, i64)]) {
        for chunk in alive.chunks(self.heartbeat_calls_max) {
            let (alive, unacknowledged) = (chunk.to_vec(), Vec::new());
            self.queued.push_back(Output::Ask(Question::Heartbeat { at_ms: now.wall_ms, alive, unacknowledged }));
        }
    }

    /// New calls get 503 for as long as `refusing`: their records could not be written.
    pub fn set_refusing(&mut self, refusing: bool) {
        self.refusing = refusing;
    }

    /// New calls are refused because the switch is about to stop.
    pub fn set_draining(&mut self, draining: bool) {
        self.calls.set_draining(draining);
    }

    /// Ends every call.
    pub fn shutdown(&mut self, now: Now) {
        self.calls.shutdown(now);
    }

    /// Ends one call by an operator's order; false when there is none with that flow number.
    pub fn kill(&mut self, now: Now, flow_no: u64) -> bool {
        self.calls.kill(now, flow_no)
    }

    /// Another configuration, for the next call; running ones keep theirs.
    pub fn publish(&mut self, sip: tandem_sip::Config, prohibited: Vec<tandem_media::IpNet>, snapshot: Arc<Snapshot>) {
        self.endpoint.set_config(sip);
        self.calls.set_prohibited(prohibited);
        self.calls.set_snapshot(snapshot);
    }

    /// Takes a sent buffer back for the next message.
    pub fn recycle(&mut self, bytes: Vec<u8>) {
        self.endpoint.recycle(bytes);
    }

    /// The next thing to do or to know; `None` when every room has said all.
    pub fn poll_output(&mut self, now: Now) -> Option<Output> {
        loop {
            let output = if let Some(output) = self.queued.pop_front() {
                Some(output)
            } else if let Some(output) = self.endpoint.poll_output() {
                self.sip_output(now, output)
            } else if let Some(output) = self.calls.poll_output() {
                self.call_output(now, output)
            } else {
                return None;
            };
            if output.is_some() {
                return output;
            }
        }
    }

    fn sip_output(&mut self, now: Now, output: SipOutput) -> Option<Output> {
        match output {
            SipOutput::Send { listener, to, bytes, leg, summary } => {
                let flow_no = leg.filter(|_| is_answer_to_bye(&summary)).and_then(|leg| self.settles(leg));
                let send = Output::Send { listener, to, bytes, leg, summary };
                match flow_no.zip(leg) {
                    // The end goes on record first: who hears the answer forgets the call, and a switch that was killed
                    // before it wrote would go on with it and charge for it.
                    Some((flow_no, leg)) => {
                        self.byes.hold(now.mono, flow_no, leg, send);
                        None
                    }
                    None => Some(send),
                }
            }
            SipOutput::Event { leg, event } => self.leg_event(now, leg, event),
            SipOutput::Forgotten { leg } => {
                #[cfg(debug_assertions)]
                self.forgotten.insert(leg);
                Some(Output::Forgotten(leg))
            }
        }
    }

    /// The answered call that a BYE on `leg` ends, or has ended without being settled yet.
    fn settles(&self, leg: LegId) -> Option<u64> {
        self.byes.waiting(leg).or_else(|| self.calls.answered_call_of(leg))
    }

    fn leg_event(&mut self, now: Now, leg: LegId, event: LegEvent) -> Option<Output> {
        #[cfg(debug_assertions)]
        debug_assert!(!self.forgotten.contains(&leg), "SIP told news of {leg:?} after it was forgotten");
        let note = match &event {
            // Refused already; only its record is still to be made.
            LegEvent::Try(_) if !self.endpoint.has_leg(leg) => Some(Output::Stranger(leg)),
            LegEvent::Try(_) if self.is_overloaded() => {
                self.refuse(now, leg);
                return Some(Output::Overloaded(leg));
            }
            LegEvent::Try(_) => Some(Output::Accepted(leg)),
            LegEvent::Connect(_) => self.calls.a_leg_of(leg).map(Output::VendorAnswered),
            _ => None,
        };
        self.calls.handle_leg_event(now, leg, event);
        note
    }

    /// Whether settlement is too far behind to take another call: every call, even one that is refused by a rule, ends
    /// with a record.
    fn is_overloaded(&self) -> bool {
        self.refusing || self.unsettled >= self.unsettled_max
    }

    /// 503 without a call and without a record.
    fn refuse(&mut self, now: Now, leg: LegId) {
        let fail = Fail { retry_after_s: Some(self.overload_retry_after_s), ..Fail::status(503) };
        // The leg has just come in; an answer to it cannot be out of order.
        let _ = self.endpoint.handle_leg_event(now.mono, leg, LegEvent::Fail(fail));
    }

    fn call_output(&mut self, now: Now, output: CallOutput) -> Option<Output> {
        match output {
            CallOutput::Leg { leg, a_leg, event } => self.order(now, leg, a_leg, event),
            CallOutput::Ask(Question::Answered { call, usage, carry }) => {
                let carry = self.carry(call, carry);
                Some(Output::Ask(Question::Answered { call, usage, carry }))
            }
            CallOutput::Ask(question) => Some(Output::Ask(question)),
            CallOutput::Flow(command) => {
                self.flow(&command);
                None
            }
            CallOutput::WhenHeard { call, ports: (caller, callee) } => {
                self.calls.media_heard(now, call, [self.heard(caller), self.heard(callee)]);
                None
            }
            CallOutput::OpenPort(port) => Some(Output::OpenPort(port)),
            CallOutput::ClosePort(port) => Some(Output::ClosePort(port)),
            CallOutput::Finish(finish) => Some(self.finish(*finish)),
            CallOutput::Trace { a_leg, flow_no, at, event } => Some(Output::Decision { a_leg, flow_no, at, event }),
        }
    }

    /// Carries out an order for the flows: here and in the fast path, whose counters of a removed flow join ours.
    fn flow(&mut self, command: &FlowCommand) {
        let removed = match command {
            FlowCommand::Remove { reason, .. } => Some(*reason),
            FlowCommand::Install { .. } => None,
        };
        let port = command.key();
        let relay = self.relays.get_mut(usize::from(port.slot));
        let own = relay.and_then(|relay| relay.apply(command)).map(|(_, _, counters)| counters);
        let fast = self.fast_path.as_mut().and_then(|fast| fast.apply(command));
        // What a vendor sent whose attempt failed is not this call's media.
        if removed.is_some_and(|reason| reason != RemoveReason::AttemptEnded) {
            self.kept.extend(joined(own, fast).into_iter().flatten().map(|counters| (port, counters)));
        } else if removed.is_some() {
            self.unbilled_packets += own.into_iter().chain(fast).map(|counters| counters.packets).sum::<u64>();
        }
    }

    /// When the sender to `port` was heard last, whoever forwarded it.
    fn heard(&self, port: FlowKey) -> Heard {
        let own = self.own_counters(port);
        let fast = self.fast_path.as_ref().and_then(|fast| fast.counters(port));
        own.into_iter().chain(&fast).fold(Heard::default(), |heard, counters| Heard {
            rtp_us: heard.rtp_us.max(counters.last_us),
            rtcp_us: heard.rtcp_us.max(counters.rtcp_last_us),
        })
    }

    /// An order of the call room for one of its legs.
    fn order(&mut self, now: Now, leg: LegId, a_leg: LegId, event: LegEvent) -> Option<Output> {
        let note = match &event {
            LegEvent::Try(_) => Some(Output::Attempt { leg, a_leg }),
            LegEvent::Connect(_) if leg == a_leg => Some(Output::Answered(a_leg)),
            _ => None,
        };
        let Err(error) = self.endpoint.handle_leg_event(now.mono, leg, event) else {
            return note;
        };
        self.calls.handle_order_error(now, leg, error == OrderError::Full);
        // The SIP room never had this leg and will not forget it.
        matches!(note, Some(Output::Attempt { .. })).then_some(Output::NotBegun(leg))
    }

    /// Adds what the fast path counted and hands the call to the rating thread.
    fn finish(&mut self, mut finish: Finish) -> Output {
        if let Some((caller, callee)) = finish.ports {
            for (port, side) in [(caller, Side::Caller), (callee, Side::Callee)] {
                while let Some(at) = self.kept.iter().position(|(kept, _)| *kept == port) {
                    let (_, counters) = self.kept.swap_remove(at);
                    finish.add_counters(side, &counters);
                }
            }
        }
        self.unbilled_packets += finish.unbilled_packets;
        let held_ms = finish.usage.answered().then_some(finish.usage.hold_ms);
        self.unsettled += 1;
        self.queued.push_back(Output::Finished { a_leg: finish.a_leg, held_ms });
        let awaited = self.byes.waits_for(finish.usage.flow_no);
        Output::Ask(Question::Settle { call: finish.call, usage: finish.usage, awaited })
    }
}

fn is_answer_to_bye(summary: &MessageSummary) -> bool {
    summary.cseq_method == Method::Bye && summary.kind == MessageKind::Response(200)
}

/// Counters of one flow that two paths forwarded: each took the other's packets for lost. The fast path has nearly all of
/// them, so its own view of order and jitter stands.
fn joined(own: Option<FlowCounters>, fast: Option<FlowCounters>) -> [Option<FlowCounters>; 2] {
    let (Some(mut own), Some(mut fast)) = (own, fast) else { return [own, fast] };
    if fast.packets > own.packets {
        fast.lost = fast.lost.saturating_sub(own.packets);
        (own.lost, own.jitter_max_scaled, own.jitter_sum_scaled, own.jitter_samples) = (0, 0, 0, 0);
    }
    [Some(own), Some(fast)]
}
