//! One shard: one thread, one io_uring, the calls that live on it.
//!
//! The loop is the same for every input: take what arrived, hand it to the room that owns it, drain every room's outputs
//! to the end, go on with the next. Nothing is nested and nothing waits except the ring.

pub mod inbox;
mod sockets;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use tandem_call::calls::{Calls, CallsConfig};
use tandem_call::output::{Finish, Output as CallOutput};
use tandem_call::question::{Answer, Question};
use tandem_call::snapshot::Snapshot;
use tandem_ebpf_abi::RemoveReason;
use tandem_leg::{Fail, LegEvent, LegId, ListenerId, Now, Time};
use tandem_media::{RelayVerdict, UserRelay};
use tandem_ring::{Buffer, BufferGroup, Completion, Ring, RingConfig, UdpOptions};
use tandem_sip::{Endpoint, Outcome, Output as SipOutput, home_shard};

use crate::clock::Clock;
use crate::limits;
use crate::topology::{ShardDoor, Shared};
use crate::trace::Traces;
use sockets::MediaSockets;

/// Tokens below this name a listener, above a media port.
const TOKEN_MEDIA: u32 = 1 << 16;

/// What a shard is started with.
pub struct ShardConfig {
    /// Number.
    pub id: u8,
    /// How many there are.
    pub shards: u8,
    /// SIP sockets to open.
    pub listeners: Vec<UdpOptions>,
    /// SIP room.
    pub sip: tandem_sip::Config,
    /// Call room.
    pub calls: CallsConfig,
    /// Configuration.
    pub snapshot: Arc<Snapshot>,
    /// Media addresses, at most one of each family.
    pub media_addresses: Vec<std::net::IpAddr>,
    /// How media sockets are opened; address and port are filled in.
    pub media: UdpOptions,
    /// Media ports of this shard.
    pub ports: std::ops::RangeInclusive<u16>,
    /// Core to pin to.
    pub core: Option<usize>,
}

/// Counters of a shard, published when asked.
#[derive(Clone, Debug)]
pub struct ShardCounts {
    /// Calls by state and so on.
    pub calls: tandem_call::calls::Counts,
    /// SIP state.
    pub sip: tandem_sip::Counts,
    /// Ring.
    pub ring: tandem_ring::Stats,
    /// Named counters.
    pub named: Vec<(String, u64)>,
    /// INVITE in to first 18x or 200 towards the caller, microseconds.
    pub pdd_us: Histogram<u64>,
    /// INVITE in to INVITE out, microseconds: what the switch itself adds.
    pub routing_us: Histogram<u64>,
    /// 200 in to 200 out, microseconds: journal included.
    pub answer_us: Histogram<u64>,
    /// Packets relayed by user space, both directions.
    pub relayed: u64,
    /// INVITEs that opened a call.
    pub accepted: u64,
    /// Calls that were answered.
    pub answered: u64,
    /// Of these, ended.
    pub answered_ended: u64,
    /// Calls ended without one.
    pub failed: u64,
    /// Held milliseconds of the answered ones.
    pub answered_ms: u64,
}

/// See the module text.
pub struct Shard {
    id: u8,
    shards: u8,
    clock: Clock,
    ring: Ring,
    endpoint: Endpoint,
    calls: Calls,
    relay: UserRelay,
    listeners: Vec<tandem_ring::SocketId>,
    media: MediaSockets,
    door: Arc<ShardDoor>,
    shared: Arc<Shared>,
    traces: Traces,
    counters: Counters,
    latency: Latency,
    /// Settled and not yet confirmed.
    unsettled: usize,
    asked: bool,
    next_heartbeat: Time,
    next_housekeeping: Time,
    shard_key: (u64, u64),
}

#[derive(Debug, Default)]
struct Counters {
    received: u64,
    malformed: std::collections::BTreeMap<&'static str, u64>,
    keep_alive: u64,
    stray: u64,
    unknown: u64,
    answered_stateless: u64,
    retransmissions: u64,
    handed_over: u64,
    handover_lost: u64,
    truncated: u64,
    send_failed: u64,
    send_dropped: u64,
    media_dropped: std::collections::BTreeMap<&'static str, u64>,
    media_relayed: u64,
    media_punted: u64,
    accepted: u64,
    strangers: u64,
    overloaded: u64,
    answered: u64,
    answered_ended: u64,
    failed: u64,
    answered_ms: u64,
}

struct Latency {
    pdd_us: Histogram<u64>,
    routing_us: Histogram<u64>,
    answer_us: Histogram<u64>,
    /// a-leg -> (INVITE in, first INVITE out seen, first 18x/200 seen, b-leg's 200 in).
    open: std::collections::HashMap<LegId, Marks, foldhash::fast::RandomState>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    invite: Time,
    routed: bool,
    rang: bool,
    answered: Option<Time>,
}

fn histogram() -> Histogram<u64> {
    // 1 us to 10 minutes with three digits: bounds that hold by construction.
    Histogram::new_with_bounds(1, 600_000_000, 3).unwrap_or_else(|_| unreachable!("constant bounds are valid"))
}

impl Shard {
    /// Opens ring and sockets. Runs on the shard's own thread: the ring belongs to the thread that made it.
    ///
    /// # Errors
    /// A sentence naming what could not be opened and the cure.
    pub fn new(config: ShardConfig, clock: Clock, ring: Ring, shared: Arc<Shared>) -> Result<Shard> {
        let door = shared.shards[usize::from(config.id)].clone();
        let mut ring = ring;
        let mut listeners = Vec::new();
        for (n, options) in config.listeners.iter().enumerate() {
            let socket = ring
                .open_udp(n as u32, options, BufferGroup::Signalling)
                .with_context(|| format!("cannot listen for SIP on {}", options.addr))?;
            listeners.push(socket);
        }
        let shard_key = config.sip.shard_key;
        let now = clock.now();
        let mut shard = Shard {
            id: config.id,
            shards: config.shards,
            clock,
            ring,
            endpoint: Endpoint::new(config.sip),
            calls: Calls::new(config.calls, config.snapshot),
            relay: UserRelay::new(config.ports.clone()),
            listeners,
            media: MediaSockets::new(config.media_addresses, config.media, config.ports),
            door,
            shared,
            traces: Traces::default(),
            counters: Counters::default(),
            latency: Latency {
                pdd_us: histogram(),
                routing_us: histogram(),
                answer_us: histogram(),
                open: std::collections::HashMap::default(),
            },
            unsettled: 0,
            asked: false,
            next_heartbeat: now.mono.plus_millis(limits::HEARTBEAT_MS),
            next_housekeeping: now.mono.plus_millis(limits::HOUSEKEEPING_MS),
            shard_key,
        };
        // The first ports are opened before the first call.
        shard.calls.handle_timeout(now);
        shard.drain(now);
        Ok(shard)
    }

    /// Makes the ring of a shard.
    ///
    /// # Errors
    /// What the kernel lacks, and the cure.
    pub fn ring(media_sockets: usize) -> Result<Ring> {
        let sockets_max = u32::try_from(media_sockets + 64).unwrap_or(u32::MAX).next_multiple_of(64);
        let config = RingConfig { sockets_max, send_slots: 8_192, ..RingConfig::default() };
        Ring::new(config).context("cannot set up io_uring")
    }

    /// Runs until the daemon stops and every call's last record is confirmed, or the wait for that is over.
    pub fn run(&mut self) -> Result<()> {
        let mut deadline = None;
        loop {
            let now = self.clock.now();
            self.inbox(now);
            self.timers(now);
            if self.shared.stopping.load(Ordering::Relaxed) {
                let stop = *deadline.get_or_insert_with(|| {
                    self.calls.set_draining(true);
                    self.calls.shutdown(now);
                    now.mono.plus_millis(limits::SHUTDOWN_MS)
                });
                self.drain(now);
                // Every BYE and CANCEL is given the time to be heard: a vendor that is not told goes on billing.
                let told = self.unsettled == 0 && self.calls.counts().calls == 0 && self.endpoint.unfinished() == 0;
                if told || now.mono >= stop {
                    // What is queued (the last BYEs) goes out with one more turn.
                    self.ring.wait(Some(Duration::ZERO)).context("io_uring failed")?;
                    return Ok(());
                }
            }
            self.wake_rating();
            let timeout = self.timeout();
            self.ring.wait(Some(timeout)).context("io_uring failed")?;
            while let Some(completion) = self.ring.next() {
                // Each completion has its own instant: a long batch must not age the next timer.
                let now = self.clock.now();
                self.completion(now, completion);
            }
        }
    }

    fn timeout(&self) -> Duration {
        let now = self.clock.now().mono;
        let mut next = self.next_housekeeping.min(self.next_heartbeat);
        for due in [self.endpoint.poll_timeout(), self.calls.poll_timeout()].into_iter().flatten() {
            next = next.min(due);
        }
        if self.shared.stopping.load(Ordering::Relaxed) {
            next = next.min(now.plus_millis(20));
        }
        next - now
    }

    fn timers(&mut self, now: Now) {
        if self.endpoint.poll_timeout().is_some_and(|due| due <= now.mono) {
            self.endpoint.handle_timeout(now.mono);
            self.drain(now);
        }
        if self.calls.poll_timeout().is_some_and(|due| due <= now.mono) {
            self.calls.handle_timeout(now);
            self.drain(now);
        }
        if now.mono >= self.next_heartbeat {
            self.next_heartbeat = now.mono.plus_millis(limits::HEARTBEAT_MS);
            let mut alive = Vec::new();
            self.calls.heartbeat(now, &mut alive);
            for chunk in alive.chunks(limits::HEARTBEAT_CALLS_MAX) {
                self.ask(Question::Heartbeat { at_ms: now.wall_ms, alive: chunk.to_vec() });
            }
        }
        if now.mono >= self.next_housekeeping {
            self.next_housekeeping = now.mono.plus_millis(limits::HOUSEKEEPING_MS);
        }
    }

    fn completion(&mut self, now: Now, completion: Completion) {
        match completion {
            Completion::Datagram { token, socket: _, source, buffer, truncated } => {
                if truncated {
                    self.counters.truncated += 1;
                } else if token < TOKEN_MEDIA {
                    self.signalling(now, ListenerId(token as u16), source, &buffer);
                } else {
                    self.media_packet(now, (token - TOKEN_MEDIA) as u16, source, buffer);
                }
            }
            // What it announces is taken at the top of the loop.
            Completion::Wake => {}
            Completion::Unreachable { token, to, .. } => {
                if token < TOKEN_MEDIA {
                    self.endpoint.handle_unreachable(now.mono, ListenerId(token as u16), to);
                    self.drain(now);
                }
            }
            Completion::SendFailed { token, to, errno, .. } => {
                self.counters.send_failed += 1;
                // A full queue or a firewall's rate limit costs one datagram, which SIP sends again; no way to the
                // address costs the attempt.
                if token < TOKEN_MEDIA && is_unreachable(errno) {
                    self.endpoint.handle_unreachable(now.mono, ListenerId(token as u16), to);
                    self.drain(now);
                }
            }
            Completion::SocketError { token, socket, errno, deaf } => {
                if deaf {
                    crate::log::error(&format!("socket {token} receives no more: errno {errno}; it is opened again"));
                    self.reopen(token, socket);
                }
            }
        }
    }

    /// A datagram on a SIP listener: home it, or hand it over once.
    fn signalling(&mut self, now: Now, listener: ListenerId, source: SocketAddr, bytes: &[u8]) {
        self.counters.received += 1;
        let home = if self.shards > 1 { home_shard(bytes, self.shards, self.shard_key) } else { None };
        if let Some(home) = home.filter(|home| *home != self.id) {
            let door = &self.shared.shards[usize::from(home)];
            let stray = crate::topology::Stray { listener, source, bytes: bytes.into() };
            if door.strays.push(stray).is_ok() {
                door.waker.wake();
                self.counters.handed_over += 1;
            } else {
                self.counters.handover_lost += 1;
            }
            return;
        }
        self.sip(now, listener, source, bytes);
    }

    fn sip(&mut self, now: Now, listener: ListenerId, source: SocketAddr, bytes: &[u8]) {
        let received = self.endpoint.handle_datagram(now.mono, listener, source, bytes);
        match received.outcome {
            Outcome::Request | Outcome::Response => {}
            Outcome::Retransmission => self.counters.retransmissions += 1,
            Outcome::KeepAlive => self.counters.keep_alive += 1,
            Outcome::Malformed(error) => *self.counters.malformed.entry(error.label()).or_default() += 1,
            Outcome::Answered(_) => self.counters.answered_stateless += 1,
            Outcome::Unknown => self.counters.unknown += 1,
            Outcome::Stray | Outcome::NotMine { .. } => self.counters.stray += 1,
        }
        if let (Some(leg), Some(summary)) = (received.leg, received.summary) {
            self.traces.message(now, leg, false, source, summary);
        }
        self.drain(now);
    }

    /// A datagram on a media port: the flow table first, the anchor for what it does not decide.
    fn media_packet(&mut self, now: Now, port: u16, source: SocketAddr, mut buffer: Buffer) {
        match self.relay.handle(now.mono.micros(), port, source, &mut buffer) {
            RelayVerdict::Send { from_port, to, copy, .. } => {
                if let Some(reason) = copy {
                    self.calls.handle_media_copy(now, port, reason, &buffer);
                }
                self.counters.media_relayed += 1;
                self.send_media(from_port, to, buffer);
            }
            RelayVerdict::Punt(reason) => {
                self.counters.media_punted += 1;
                let send = self.calls.handle_media(now, port, source, reason, &mut buffer);
                // The flow the anchor installs serves the next packet; this one goes out now.
                self.drain(now);
                if let Some(send) = send {
                    self.counters.media_relayed += 1;
                    self.send_media(send.from_port, send.to, buffer);
                }
            }
            RelayVerdict::Drop(reason) => *self.counters.media_dropped.entry(reason.as_str()).or_default() += 1,
        }
    }

    fn send_media(&mut self, from_port: u16, to: SocketAddr, buffer: Buffer) {
        let sent = self.media.socket(from_port, to).map(|socket| self.ring.send_buffer(socket, to, buffer));
        if !matches!(sent, Some(Ok(()))) {
            self.counters.send_dropped += 1;
        }
    }

    /// Carries out every wish of every room, to the end.
    fn drain(&mut self, now: Now) {
        loop {
            if let Some(output) = self.endpoint.poll_output() {
                self.sip_output(now, output);
            } else if let Some(output) = self.calls.poll_output() {
                self.call_output(now, output);
            } else {
                return;
            }
        }
    }

    fn sip_output(&mut self, now: Now, output: SipOutput) {
        match output {
            SipOutput::Send { listener, to, bytes, leg, summary } => {
                let socket = self.listeners.get(usize::from(listener.0)).copied();
                let sent = socket.map(|socket| self.ring.send(socket, to, &bytes));
                if !matches!(sent, Some(Ok(()))) {
                    self.counters.send_dropped += 1;
                }
                if let Some(leg) = leg {
                    self.traces.message(now, leg, true, to, summary);
                    self.latency.sent(now.mono, leg, &summary);
                }
                self.endpoint.recycle(bytes);
            }
            SipOutput::Event { leg, event } => {
                match &event {
                    // Refused already; only its record is still to be made.
                    LegEvent::Try(_) if !self.endpoint.has_leg(leg) => self.counters.strangers += 1,
                    LegEvent::Try(_) if self.is_overloaded() => {
                        self.refuse(now, leg);
                        return;
                    }
                    LegEvent::Try(_) => {
                        self.counters.accepted += 1;
                        self.latency.open.insert(leg, Marks { invite: now.mono, ..Marks::default() });
                    }
                    LegEvent::Connect(_) => {
                        let a_leg = self.calls.a_leg_of(leg);
                        if let Some(marks) = a_leg.and_then(|leg| self.latency.open.get_mut(&leg)) {
                            marks.answered = Some(now.mono);
                        }
                    }
                    _ => {}
                }
                self.calls.handle_leg_event(now, leg, event);
            }
            SipOutput::Forgotten { leg } => {
                self.traces.forget(leg);
                self.latency.open.remove(&leg);
            }
        }
    }

    /// Whether the rating thread or the journal is too far behind to take another call: every call, even one that is
    /// refused by a rule, ends with a record.
    fn is_overloaded(&self) -> bool {
        self.unsettled >= limits::UNSETTLED_MAX || self.shared.journal_broken.load(Ordering::Relaxed)
    }

    /// 503 without a call and without a record; counted.
    fn refuse(&mut self, now: Now, leg: LegId) {
        self.counters.overloaded += 1;
        let fail = Fail { retry_after_s: Some(limits::OVERLOAD_RETRY_AFTER_S), ..Fail::status(503) };
        // The leg has just come in; an answer to it cannot be out of order.
        let _ = self.endpoint.handle_leg_event(now.mono, leg, LegEvent::Fail(fail));
    }

    fn call_output(&mut self, now: Now, output: CallOutput) {
        match output {
            CallOutput::Leg { leg, a_leg, event } => {
                if matches!(event, LegEvent::Try(_)) {
                    self.traces.attach(leg, a_leg);
                    if let Some(marks) = self.latency.open.get_mut(&a_leg).filter(|marks| !marks.routed) {
                        marks.routed = true;
                        let _ = self.latency.routing_us.record(now.mono.since(marks.invite).max(1));
                    }
                }
                if leg == a_leg && matches!(event, LegEvent::Connect(_)) {
                    self.counters.answered += 1;
                }
                let begins = matches!(event, LegEvent::Try(_));
                if let Err(error) = self.endpoint.handle_leg_event(now.mono, leg, event) {
                    if begins {
                        // The SIP room never had this leg and will not forget it.
                        self.traces.forget(leg);
                    }
                    self.calls.handle_order_error(now, leg, error == tandem_sip::OrderError::Full);
                }
            }
            CallOutput::Ask(question) => self.ask(question),
            CallOutput::Flow(command) => {
                // What a vendor sent whose attempt failed is not this call's media.
                let removed = self.relay.apply(&command);
                if let Some((port, _, counters)) = removed.filter(|(_, why, _)| *why != RemoveReason::AttemptEnded) {
                    self.media.keep(port, counters);
                }
            }
            CallOutput::OpenPort(port) => {
                let ok = self.media.open(&mut self.ring, port);
                self.calls.port_opened(now, port, ok);
            }
            CallOutput::ClosePort(port) => self.media.close(&mut self.ring, port),
            CallOutput::Finish(finish) => self.finish(*finish),
            CallOutput::Trace { a_leg, flow_no, at, event } => {
                // A flood of strangers must not push the traces of customers out.
                if self.endpoint.has_leg(a_leg) {
                    self.traces.decision(at, a_leg, flow_no, event);
                }
            }
        }
    }

    /// Adds what the fast path counted and hands the call to the rating thread.
    fn finish(&mut self, mut finish: Finish) {
        if let Some((caller, callee)) = finish.ports {
            for (port, side) in [(caller, tandem_media::Side::Caller), (callee, tandem_media::Side::Callee)] {
                while let Some(counters) = self.media.kept(port) {
                    finish.add_counters(side, &counters);
                }
            }
        }
        if finish.usage.answered() {
            self.counters.answered_ended += 1;
            self.counters.answered_ms += u64::try_from(finish.usage.hold_ms).unwrap_or(0);
        } else if self.endpoint.has_leg(finish.a_leg) {
            self.counters.failed += 1;
        }
        if self.endpoint.has_leg(finish.a_leg) {
            self.traces.finish(finish.a_leg);
        }
        self.latency.open.remove(&finish.a_leg);
        self.unsettled += 1;
        self.ask(Question::Settle { call: finish.call, usage: finish.usage });
    }

    fn ask(&mut self, question: Question) {
        // Invariant: `limits.rs` gives every call its places and `draining` stops new calls before the spare ones are
        // used up, so a full queue is our own bug and would lose money.
        let full = self.shared.rating.questions[usize::from(self.id)].push(question).is_err();
        assert!(!full, "the queue to the rating thread is full although places were reserved");
        self.asked = true;
    }

    fn wake_rating(&mut self) {
        if std::mem::take(&mut self.asked) {
            self.shared.rating.wake();
        }
    }

    fn reopen(&mut self, token: u32, socket: tandem_ring::SocketId) {
        if token >= TOKEN_MEDIA {
            let port = (token - TOKEN_MEDIA) as u16;
            self.media.close(&mut self.ring, port);
            self.media.open(&mut self.ring, port);
        } else if let Some(local) = self.ring.local_addr(socket) {
            let mut options = UdpOptions::new(local);
            options.reuse_port = self.shards > 1;
            self.ring.close_udp(socket);
            if let (Ok(new), Some(slot)) =
                (self.ring.open_udp(token, &options, BufferGroup::Signalling), self.listeners.get_mut(token as usize))
            {
                *slot = new;
            }
        }
    }

    fn counts(&self) -> ShardCounts {
        let c = &self.counters;
        let mut named: Vec<(String, u64)> = vec![
            ("sip_datagrams_received".into(), c.received),
            ("sip_keep_alive".into(), c.keep_alive),
            ("sip_retransmissions_received".into(), c.retransmissions),
            ("sip_stray".into(), c.stray),
            ("sip_unknown_source_dropped".into(), c.unknown),
            ("sip_answered_stateless".into(), c.answered_stateless),
            ("sip_handed_over".into(), c.handed_over),
            ("sip_handover_lost".into(), c.handover_lost),
            ("datagrams_truncated".into(), c.truncated),
            ("sends_failed".into(), c.send_failed),
            ("sends_dropped".into(), c.send_dropped),
            ("media_packets_relayed".into(), c.media_relayed),
            ("media_packets_punted".into(), c.media_punted),
            ("media_packets_no_flow".into(), self.relay.no_flow()),
            ("media_flows".into(), self.relay.len() as u64),
            ("calls_of_strangers".into(), c.strangers),
            ("calls_refused_overload".into(), c.overloaded),
            ("calls_unsettled".into(), self.unsettled as u64),
        ];
        named.extend(c.malformed.iter().map(|(name, n)| (format!("sip_malformed_{name}"), *n)));
        named.extend(c.media_dropped.iter().map(|(name, n)| (format!("media_dropped_{name}"), *n)));
        ShardCounts {
            calls: self.calls.counts(),
            sip: self.endpoint.counts(),
            ring: self.ring.stats(),
            named,
            pdd_us: self.latency.pdd_us.clone(),
            routing_us: self.latency.routing_us.clone(),
            answer_us: self.latency.answer_us.clone(),
            relayed: c.media_relayed,
            accepted: c.accepted,
            answered: c.answered,
            answered_ended: c.answered_ended,
            failed: c.failed,
            answered_ms: c.answered_ms,
        }
    }

    fn answer(&mut self, now: Now, answer: Answer) {
        if matches!(answer, Answer::Settled { .. }) {
            self.unsettled = self.unsettled.saturating_sub(1);
        } else {
            self.calls.handle_answer(now, answer);
            self.drain(now);
        }
    }
}

/// Whether the kernel says that there is no way to an address, as against a datagram that did not get out this time.
fn is_unreachable(errno: i32) -> bool {
    use rustix::io::Errno;
    [Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::CONNREFUSED, Errno::NETDOWN, Errno::HOSTDOWN]
        .iter()
        .any(|known| known.raw_os_error() == errno)
}

impl Latency {
    fn sent(&mut self, now: Time, leg: LegId, summary: &tandem_sip::MessageSummary) {
        let tandem_sip::MessageKind::Response(status @ 180..=299) = summary.kind else {
            return;
        };
        let Some(marks) = self.open.get_mut(&leg) else {
            return;
        };
        if summary.retransmission || summary.cseq_method != tandem_sip::method::Method::Invite {
            return;
        }
        if !marks.rang {
            marks.rang = true;
            let _ = self.pdd_us.record(now.since(marks.invite).max(1));
        }
        if let Some(answered) = marks.answered.take_if(|_| status >= 200) {
            let _ = self.answer_us.record(now.since(answered).max(1));
        }
    }
}
