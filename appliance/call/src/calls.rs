//! All calls of one shard: the only way into this room.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;

use foldhash::fast::RandomState;
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use slab::Slab;
use smallvec::SmallVec;
use tandem_ebpf_abi::{FlowKey, PuntReason};
use tandem_leg::{LegEvent, LegId, ListenerId, Now, ServerReason, Time, TimerWheel};
use tandem_media::ports::PortCounts;
use tandem_media::{AnchorRules, IpNet, PortPool, Side};

use crate::call::{Call, CallState};
use crate::flow_no::FlowNumbers;
use crate::guard::LoopGuard;
use crate::output::Output;
use crate::question::{Answer, CallKey, Question};
use crate::silence::Heard;
use crate::snapshot::Snapshot;
use crate::trace::{CallTimer, TraceEvent};
pub use crate::view::CallView;
use crate::weights::Weights;

/// One media address of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaAddress {
    /// Number of the address (media IP slot of the fast path).
    pub slot: u8,
    /// Address the sockets are bound to.
    pub ip: IpAddr,
    /// Address written into SDP; differs behind a 1:1 NAT.
    pub advertised: IpAddr,
}

/// Media of a shard.
#[derive(Clone, Debug)]
pub struct MediaConfig {
    /// Media addresses, by slot.
    pub addresses: Vec<MediaAddress>,
    /// Slots of the addresses that the legs of a listener use, by listener. None of the family that a leg needs, or no such
    /// listener: any address of that family.
    pub of_listener: Vec<Vec<u8>>,
    /// Ports of this shard, on each address.
    pub ports: RangeInclusive<u16>,
    /// Ports in the range that the kernel keeps for others.
    pub ports_excluded: Vec<RangeInclusive<u16>>,
    /// Where media may go, latching, RTCP.
    pub rules: Arc<AnchorRules>,
}

impl MediaConfig {
    /// The address of a slot.
    pub(crate) fn address(&self, slot: u8) -> Option<MediaAddress> {
        self.addresses.get(usize::from(slot)).copied()
    }

    /// The slot of a local address.
    pub(crate) fn slot_of(&self, ip: IpAddr) -> Option<u8> {
        self.addresses.iter().find(|address| address.ip == ip).map(|address| address.slot)
    }

    /// Slots of the addresses that a leg of `listener` may use.
    pub(crate) fn slots(&self, listener: ListenerId, v4: bool) -> SmallVec<[u8; 8]> {
        let fits = |slot: &u8| self.address(*slot).is_some_and(|address| address.ip.is_ipv4() == v4);
        let own = self.of_listener.get(usize::from(listener.0)).map(Vec::as_slice).unwrap_or_default();
        let named: SmallVec<[u8; 8]> = own.iter().copied().filter(fits).collect();
        if named.is_empty() { self.addresses.iter().map(|address| address.slot).filter(fits).collect() } else { named }
    }
}

/// What a shard's calls are configured with for life.
#[derive(Clone, Debug)]
pub struct CallsConfig {
    /// Shard number, below 16.
    pub shard: u8,
    /// Seed of every random choice; from the operating system's entropy in the daemon, fixed in tests.
    pub seed: [u8; 32],
    /// Our listeners, in the order of [`ListenerId`]: their addresses tell local networks and stand in the CDR.
    pub listeners: Vec<SocketAddr>,
    /// Media.
    pub media: MediaConfig,
    /// Every flow number is greater: the largest one in the journal.
    pub flow_floor: u64,
    /// Calls at once; more are answered 503 "System Overload".
    pub calls_max: usize,
}

/// A packet to send on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaSend {
    /// Local address and port to send from.
    pub from: SocketAddr,
    /// Destination.
    pub to: SocketAddr,
}

/// How much there is of everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls.
    pub calls: usize,
    /// Waiting for the rating thread before the first attempt or between two.
    pub authorizing: usize,
    /// An attempt is on its way.
    pub trying: usize,
    /// An attempt rings.
    pub ringing: usize,
    /// Answered, the start record is being written.
    pub answering: usize,
    /// Connected.
    pub connected: usize,
    /// Legs.
    pub legs: usize,
    /// Timers.
    pub timers: usize,
    /// Media ports leased.
    pub ports_leased: usize,
    /// Media ports ready to be leased.
    pub ports_ready: usize,
    /// Media ports in use, percent.
    pub ports_used_percent: u8,
    /// Questions the rating thread has not answered.
    pub questions: usize,
}

/// What all calls of the shard share.
pub(crate) struct Shared {
    pub(crate) config: CallsConfig,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) out: VecDeque<Output>,
    pub(crate) timers: TimerWheel<(CallKey, CallTimer)>,
    pub(crate) legs: HashMap<LegId, CallKey, RandomState>,
    pub(crate) media_ports: HashMap<FlowKey, (CallKey, Side), RandomState>,
    pub(crate) flows: HashMap<u64, CallKey, RandomState>,
    pub(crate) ports: PortPool,
    pub(crate) weights: Weights,
    pub(crate) rng: StdRng,
    pub(crate) flow_numbers: FlowNumbers,
    pub(crate) guard: LoopGuard,
    pub(crate) generation: u32,
    pub(crate) draining: bool,
    /// Calls whose answer was acknowledged since [`Calls::newly_alive`].
    pub(crate) acknowledged: Vec<CallKey>,
    next_leg: u64,
    questions: usize,
}

impl Shared {
    pub(crate) fn ask(&mut self, question: Question) {
        let answered = match question {
            Question::Admit(_) | Question::NextLine { .. } | Question::Answered { .. } | Question::Renew { .. } => true,
            Question::Heartbeat { .. } | Question::Pause { .. } | Question::Settle { .. } => false,
        };
        self.questions += usize::from(answered);
        self.out.push_back(Output::Ask(question));
    }

    pub(crate) fn next_leg(&mut self) -> LegId {
        self.next_leg += 1;
        LegId::outgoing(self.next_leg)
    }

    /// Number of the local network of a listener: listeners on one address are one network (media.md M-D2).
    pub(crate) fn network(&self, listener: ListenerId) -> u32 {
        let ip = self.listener(listener).map(|a| a.ip());
        let first = self.config.listeners.iter().position(|l| Some(l.ip()) == ip);
        first.map_or(u32::from(listener.0), |i| i as u32)
    }

    pub(crate) fn listener(&self, listener: ListenerId) -> Option<SocketAddr> {
        self.config.listeners.get(usize::from(listener.0)).copied()
    }

    /// Asks for sockets until the stock is full, and has lingering ones closed.
    fn tend_ports(&mut self, now_us: u64) {
        while let Some(port) = self.ports.poll_close(now_us) {
            self.out.push_back(Output::ClosePort(port));
        }
        while let Some(port) = self.ports.want_open() {
            self.out.push_back(Output::OpenPort(port));
        }
    }
}

/// Every call of one shard. One change, then [`Calls::poll_output`] to its end, then the next change.
pub struct Calls {
    pub(crate) shared: Shared,
    pub(crate) calls: Slab<Box<Call>>,
}

impl Calls {
    /// No calls yet. Drain the outputs: the first ports want to be opened.
    pub fn new(config: CallsConfig, snapshot: Arc<Snapshot>) -> Calls {
        let mut rng = StdRng::from_seed(config.seed);
        let seeds: SmallVec<[u64; 8]> = config.media.addresses.iter().map(|_| rng.next_u64()).collect();
        let mut ports = PortPool::new(&config.media.ports, &seeds, &config.media.ports_excluded);
        let mut out = VecDeque::new();
        while let Some(port) = ports.want_open() {
            out.push_back(Output::OpenPort(port));
        }
        Calls {
            shared: Shared {
                flow_numbers: FlowNumbers::new(config.shard, config.flow_floor),
                guard: LoopGuard::default(),
                config,
                snapshot,
                out,
                timers: TimerWheel::new(),
                legs: HashMap::default(),
                media_ports: HashMap::default(),
                flows: HashMap::default(),
                ports,
                weights: Weights::default(),
                rng,
                generation: 0,
                draining: false,
                acknowledged: Vec::new(),
                next_leg: 0,
                questions: 0,
            },
            calls: Slab::new(),
        }
    }

    /// New calls read this from now on; running ones keep theirs.
    pub fn set_snapshot(&mut self, snapshot: Arc<Snapshot>) {
        self.shared.snapshot = snapshot;
    }

    /// Networks that the media of new calls may not be sent to.
    pub fn set_prohibited(&mut self, prohibited: Vec<IpNet>) {
        let rules = AnchorRules { prohibited, ..(*self.shared.config.media.rules).clone() };
        self.shared.config.media.rules = Arc::new(rules);
    }

    /// While draining, new calls are answered 503.
    pub fn set_draining(&mut self, draining: bool) {
        self.shared.draining = draining;
    }

    /// News of a leg. News of a leg whose call is over is ignored.
    pub fn handle_leg_event(&mut self, now: Now, leg: LegId, event: LegEvent) {
        match event {
            LegEvent::Try(invite) => {
                if leg.is_incoming() && !self.shared.legs.contains_key(&leg) {
                    self.intake(now, leg, invite);
                }
            }
            event => {
                if let Some(key) = self.shared.legs.get(&leg).copied() {
                    self.with(key, |call, shared| call.handle_leg_event(shared, now, leg, event));
                }
            }
        }
        self.shared.tend_ports(now.mono.micros());
    }

    /// An answer of the rating thread. Answers for a call that ended meanwhile change nothing: its settlement is behind
    /// them in the same queue and gives everything back.
    pub fn handle_answer(&mut self, now: Now, answer: Answer) {
        let (call, asked) = match &answer {
            Answer::Granted { call, .. }
            | Answer::Refused { call, .. }
            | Answer::Line { call, .. }
            | Answer::Journaled { call, .. }
            | Answer::Renewed { call, .. } => (Some(*call), true),
            Answer::Settled { .. } => (None, false),
        };
        self.shared.questions = self.shared.questions.saturating_sub(usize::from(asked));
        if let Some(key) = call {
            self.with(key, |call, shared| call.handle_answer(shared, now, answer));
        }
        self.shared.tend_ports(now.mono.micros());
    }

    /// A packet that the fast path did not decide. Returns where the (rewritten) packet goes, if anywhere.
    pub fn handle_media(
        &mut self,
        now: Now,
        port: FlowKey,
        source: SocketAddr,
        reason: PuntReason,
        payload: &mut [u8],
    ) -> Option<MediaSend> {
        let (key, side) = self.shared.media_ports.get(&port).copied()?;
        let mut send = None;
        self.with(key, |call, shared| send = call.handle_media(shared, now, side, source, reason, payload));
        send
    }

    /// A packet that was forwarded and that user space wants to see too (RTCP reports).
    pub fn handle_media_copy(&mut self, now: Now, port: FlowKey, reason: PuntReason, payload: &[u8]) {
        if let Some((key, side)) = self.shared.media_ports.get(&port).copied() {
            self.with(key, |call, _| call.media.copy(now, side, reason, payload));
        }
    }

    /// Whether a call has this media port.
    pub fn has_port(&self, port: FlowKey) -> bool {
        self.shared.media_ports.contains_key(&port)
    }

    /// RTP packets that the slow path forwarded in the calls that are on.
    pub fn slow_packets(&self) -> u64 {
        self.calls.iter().map(|(_, call)| call.media.slow_packets()).sum()
    }

    /// How many media ports are in which state, of each media address by slot.
    pub fn port_counts(&self) -> Vec<PortCounts> {
        self.shared.ports.counts().collect()
    }

    /// The answer to [`Output::WhenHeard`]: the caller's side first.
    pub fn media_heard(&mut self, now: Now, call: CallKey, heard: [Heard; 2]) {
        self.with(call, |call, shared| call.media_heard(shared, now, heard));
        self.shared.tend_ports(now.mono.micros());
    }

    /// The answer to [`Output::OpenPort`].
    pub fn port_opened(&mut self, now: Now, port: FlowKey, ok: bool) {
        self.shared.ports.opened(now.mono.micros(), port, ok);
        self.shared.tend_ports(now.mono.micros());
    }

    /// An order to `leg` could not be carried out; `full` when the protocol room had no place for it. An attempt that
    /// never left is a failed attempt; anything else ends the call, because its two legs no longer agree.
    pub fn handle_order_error(&mut self, now: Now, leg: LegId, full: bool) {
        if let Some(key) = self.shared.legs.get(&leg).copied() {
            self.with(key, |call, shared| call.handle_order_error(shared, now, leg, full));
        }
        self.shared.tend_ports(now.mono.micros());
    }

    /// Fires what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some((_, (key, timer))) = self.shared.timers.pop(now.mono) {
            self.with(key, |call, shared| call.handle_timer(shared, now, timer));
        }
        self.shared.tend_ports(now.mono.micros());
    }

    /// When [`Calls::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Time> {
        let ports = self.shared.ports.next_timeout().map(Time);
        self.shared.timers.next_deadline().into_iter().chain(ports).min()
    }

    /// The next wish.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.shared.out.pop_front()
    }

    /// Appends every connected call with the milliseconds it is held (billing.md 6.10): to `alive`, or to `unacknowledged`
    /// while nobody can say whether its caller has heard the answer.
    pub fn heartbeat(&mut self, now: Now, alive: &mut Vec<(u64, i64)>, unacknowledged: &mut Vec<(u64, i64)>) {
        self.shared.acknowledged.clear();
        for (_, call) in &self.calls {
            let Some(held_ms) = call.held_ms(now) else { continue };
            let list = if call.session.acknowledged { &mut *alive } else { &mut *unacknowledged };
            list.push((call.flow_no, held_ms));
        }
    }

    /// Answered calls whose caller has not acknowledged the answer: none of them would go on after a restart.
    pub fn unacknowledged_count(&self) -> usize {
        let waits = |call: &Call| call.state == CallState::Connected && !call.session.acknowledged;
        self.calls.iter().filter(|(_, call)| waits(call)).count()
    }

    /// Calls that [`Calls::newly_alive`] has to tell.
    pub fn newly_alive_count(&self) -> usize {
        self.shared.acknowledged.len()
    }

    /// Appends the calls that were acknowledged since it was asked last: the first heartbeat of each, which says that it can
    /// go on after a restart.
    pub fn newly_alive(&mut self, now: Now, out: &mut Vec<(u64, i64)>) {
        for key in std::mem::take(&mut self.shared.acknowledged) {
            let call = self.calls.get(key.index as usize).filter(|call| call.key == key);
            out.extend(call.and_then(|call| Some((call.flow_no, call.held_ms(now)?))));
        }
    }

    /// Ends one call, "Server Forced Release". False when there is none.
    pub fn kill(&mut self, now: Now, flow_no: u64) -> bool {
        let Some(key) = self.shared.flows.get(&flow_no).copied() else {
            return false;
        };
        self.release(now, key, ServerReason::ServerForcedRelease);
        self.shared.tend_ports(now.mono.micros());
        true
    }

    /// Ends every call, "System Restart".
    pub fn shutdown(&mut self, now: Now) {
        let keys: Vec<CallKey> = self.calls.iter().map(|(_, call)| call.key).collect();
        for key in keys {
            self.release(now, key, ServerReason::SystemRestart);
        }
        self.shared.tend_ports(now.mono.micros());
    }

    /// The a-leg of the call that `leg` belongs to.
    pub fn a_leg_of(&self, leg: LegId) -> Option<LegId> {
        let key = self.shared.legs.get(&leg)?;
        self.calls.get(key.index as usize).map(|call| call.a_leg)
    }

    /// The flow number of the answered call that `leg` belongs to: it has a start record.
    pub fn answered_call_of(&self, leg: LegId) -> Option<u64> {
        let key = self.shared.legs.get(&leg)?;
        let call = self.calls.get(key.index as usize)?;
        call.usage.connect_ms.is_some().then_some(call.flow_no)
    }

    /// Every call.
    pub fn list(&self) -> impl Iterator<Item = CallView> + '_ {
        self.calls.iter().map(|(_, call)| call.view())
    }

    /// The calls in at most `most` places from place `from` on, and the place where the next page begins; `None` at the
    /// end. A call keeps its place while it lasts, so pages never show it twice; one that begins meanwhile may be missed.
    pub fn page(&self, from: usize, most: usize) -> (Vec<CallView>, Option<usize>) {
        let end = from.saturating_add(most).min(self.calls.capacity());
        let views = (from..end).filter_map(|place| self.calls.get(place)).map(|call| call.view()).collect();
        (views, (end < self.calls.capacity()).then_some(end))
    }

    /// One call.
    pub fn show(&self, flow_no: u64) -> Option<CallView> {
        let key = self.shared.flows.get(&flow_no)?;
        self.calls.get(key.index as usize).map(|call| call.view())
    }

    /// How much there is. Cost: one pass over the calls.
    pub fn counts(&self) -> Counts {
        let ports = || self.shared.ports.counts();
        let mut counts = Counts {
            calls: self.calls.len(),
            legs: self.shared.legs.len(),
            timers: self.shared.timers.len(),
            ports_leased: ports().map(|ports| ports.leased).sum(),
            ports_ready: ports().map(|ports| ports.ready).sum(),
            ports_used_percent: self.shared.ports.used_percent(),
            questions: self.shared.questions,
            ..Counts::default()
        };
        for (_, call) in &self.calls {
            match call.state() {
                CallState::Authorizing | CallState::Choosing => counts.authorizing += 1,
                CallState::Trying if call.is_ringing() => counts.ringing += 1,
                CallState::Trying => counts.trying += 1,
                CallState::Answering => counts.answering += 1,
                CallState::Connected => counts.connected += 1,
                CallState::Over => {}
            }
        }
        counts
    }

    fn release(&mut self, now: Now, key: CallKey, reason: ServerReason) {
        self.with(key, |call, shared| call.end_by_server(shared, now, reason));
    }

    /// Runs `change` on the call of `key`, if it still lives, and takes the call out when that was its end.
    fn with(&mut self, key: CallKey, change: impl FnOnce(&mut Call, &mut Shared)) {
        let index = key.index as usize;
        let Some(call) = self.calls.get_mut(index).filter(|call| call.key == key) else {
            return;
        };
        change(call, &mut self.shared);
        if call.state() == CallState::Over {
            self.calls.remove(index);
        }
    }

    /// A place for a call that passed the door.
    pub(crate) fn admit(&mut self, make: impl FnOnce(CallKey) -> Box<Call>) -> &mut Call {
        self.shared.generation = self.shared.generation.wrapping_add(1);
        let entry = self.calls.vacant_entry();
        // calls_max is far below 2^32.
        let key =
            CallKey { shard: self.shared.config.shard, index: entry.key() as u32, generation: self.shared.generation };
        entry.insert(make(key))
    }

    /// A decision about a call that has no place yet.
    pub(crate) fn trace(&mut self, now: Now, a_leg: LegId, flow_no: u64, event: TraceEvent) {
        self.shared.out.push_back(Output::Trace { a_leg, flow_no, at: now, event });
    }
}
