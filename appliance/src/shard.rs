//! One shard: one thread, one io_uring, the calls that live on it.
//!
//! The loop is the same for every input: take what arrived, hand it to the room that owns it, drain every room's outputs
//! to the end, go on with the next. Nothing is nested and nothing waits except the ring.

mod foreign;
pub mod inbox;
mod latency;
mod shared;
mod sockets;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use tandem_call::calls::CallsConfig;
use tandem_call::question::Question;
use tandem_call::snapshot::Snapshot;
use tandem_ebpf_abi::FlowKey;
use tandem_leg::{LegId, ListenerId, Now, Time};
use tandem_media::ports::PortCounts;
use tandem_media::rtp::{PacketClass, classify};
use tandem_ring::{Buffer, BufferGroup, Completion, Ring, RingConfig, UdpOptions};
use tandem_shard::{Carry, Core, MediaPacket, Output};
use tandem_sip::{Outcome, home_shard};

use crate::clock::Clock;
use crate::limits;
use crate::topology::{ShardDoor, Shared};
use crate::trace::Traces;
use latency::Latency;
use sockets::MediaSockets;

/// Tokens below this name a listener, above a media port.
const TOKEN_MEDIA: u32 = 1 << 16;

/// Media packets that share one reading of the clocks. Eight take some 40 us: less than the step of RFC 3550's jitter (125
/// us at 8 kHz), and reading both clocks for each costs 4 % of a packet.
const MEDIA_PER_CLOCK: u32 = 8;

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
    /// Media addresses, by slot.
    pub media_addresses: Vec<std::net::IpAddr>,
    /// How media sockets are opened; address and port are filled in.
    pub media: UdpOptions,
    /// Media ports of this shard.
    pub ports: std::ops::RangeInclusive<u16>,
    /// Core to pin to.
    pub core: Option<usize>,
    /// There are more cores than shards: the rating thread can answer while the shard looks for its answer.
    pub looks: bool,
    /// Names the time since the machine was started.
    pub boot: [u8; 16],
    /// Calls of another life of this switch that go on here.
    pub carried: Vec<Carry>,
    /// Those that are settled, whose parties are still to be told.
    pub hung_up: Vec<Vec<u8>>,
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

/// Media of a shard, told when asked.
#[derive(Clone, Debug)]
pub struct MediaCounts {
    /// Its ports.
    pub ports: std::ops::RangeInclusive<u16>,
    /// Of each media address: the states of its ports, flows that user space knows with those of the fast path among them, and
    /// packets to it that were forwarded.
    pub addresses: Vec<(PortCounts, usize, u64)>,
    /// RTP packets that user space has forwarded since the start.
    pub forwarded_rtp: u64,
    /// All packets that it has forwarded.
    pub forwarded: u64,
    /// RTP packets of calls that are on, less those of flows in the fast path.
    pub live: u64,
    /// RTP packets of attempts that failed.
    pub unbilled: u64,
    /// Drops of user space by reason.
    pub dropped: std::collections::BTreeMap<&'static str, u64>,
}

/// See the module text.
pub struct Shard {
    id: u8,
    shards: u8,
    clock: Clock,
    ring: Ring,
    core: Core,
    listeners: Vec<tandem_ring::SocketId>,
    media: MediaSockets,
    door: Arc<ShardDoor>,
    shared: Arc<Shared>,
    traces: Traces,
    counters: Counters,
    latency: Latency,
    asked: Asked,
    /// A new call waits for the answer of the rating thread.
    admitting: bool,
    /// As configured.
    looks: bool,
    next_heartbeat: Time,
    /// When calls that were acknowledged lately are told.
    first_heartbeats: Option<Time>,
    shard_key: (u64, u64),
    ports: std::ops::RangeInclusive<u16>,
}

/// What waits in the queue to a rating thread that may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    /// Only questions that no call waits for, the first of them since then.
    Since(Time),
    /// A call waits for the answer.
    Urgent,
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
    /// Of those, what came to each media address.
    media_relayed_by: [u64; limits::MEDIA_ADDRESSES_MAX],
    media_rtp: u64,
    media_punted: u64,
    accepted: u64,
    adopted: u64,
    strangers: u64,
    overloaded: u64,
    answered: u64,
    answered_ended: u64,
    failed: u64,
    answered_ms: u64,
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
            if let Some(socket) = ring.descriptor(socket) {
                shared.steering.join(n, config.id, socket);
            }
            listeners.push(socket);
        }
        let media = MediaSockets::new(
            &mut ring,
            config.id,
            config.media_addresses,
            config.media,
            config.ports.clone(),
            &shared.one_socket,
        );
        let shard_key = config.sip.shard_key;
        let ports = config.ports.clone();
        let now = clock.now();
        let mut shard = Shard {
            id: config.id,
            shards: config.shards,
            clock,
            ring,
            core: Core::new(tandem_shard::Config {
                sip: config.sip,
                calls: config.calls,
                snapshot: config.snapshot,
                unsettled_max: limits::UNSETTLED_MAX,
                overload_retry_after_s: limits::OVERLOAD_RETRY_AFTER_S,
                heartbeat_calls_max: limits::HEARTBEAT_CALLS_MAX,
                boot: config.boot,
                fast_path: shared.media.of_shard(),
            }),
            listeners,
            media,
            door,
            shared,
            traces: Traces::default(),
            counters: Counters::default(),
            latency: Latency::new(),
            asked: Asked::Nothing,
            admitting: false,
            looks: config.looks,
            next_heartbeat: now.mono.plus_millis(limits::HEARTBEAT_MS),
            first_heartbeats: None,
            shard_key,
            ports,
        };
        // The first ports are opened before the first call.
        while shard.core.handle_timeout(now) {
            shard.drain(now);
        }
        let carried = config.carried.len();
        let mut adopted = 0;
        for carry in config.carried {
            let flow_no = carry.usage.flow_no;
            match shard.core.adopt(now, carry) {
                Ok(()) => adopted += 1,
                Err(why) => crate::log::warning(&format!("call {flow_no} cannot go on and is settled: {why}")),
            }
            shard.drain(now);
        }
        for carry in config.hung_up {
            shard.core.say_goodbye(now, &carry);
            shard.drain(now);
        }
        let orphans = shard.core.remove_orphans(&shard.shared.media.flows(&shard.ports));
        shard.shared.media.count_orphans(&orphans);
        if !orphans.is_empty() {
            crate::log::info(&format!("shard {}: {} flows without a call are removed", shard.id, orphans.len()));
        }
        if carried > 0 {
            crate::log::info(&format!("shard {}: {adopted} of {carried} calls go on", shard.id));
        }
        shard.counters.adopted = adopted;
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
        let mut idle = false;
        loop {
            let now = self.clock.now();
            self.timers(now);
            if self.shared.stopping.load(Ordering::Relaxed) {
                let stop = *deadline.get_or_insert_with(|| {
                    self.core.set_draining(true);
                    self.core.shutdown(now);
                    now.mono.plus_millis(limits::SHUTDOWN_MS)
                });
                self.drain(now);
                // Every BYE and CANCEL is given the time to be heard: a vendor that is not told goes on billing.
                let told = self.core.unsettled() == 0
                    && self.core.calls().counts().calls == 0
                    && self.core.endpoint().unfinished() == 0;
                if told || now.mono >= stop {
                    // What is queued (the last BYEs) goes out with one more turn.
                    self.ring.wait(Some(Duration::ZERO)).context("io_uring failed")?;
                    return Ok(());
                }
            }
            let (before, timeout) = self.timeout();
            // Under load there is no time to look for an answer, and no need: the thread does not sleep.
            if std::mem::take(&mut self.admitting) && idle && self.looks {
                self.ring.look_for_wake(Duration::from_micros(limits::ANSWER_LOOK_US));
            }
            self.ring.wait(Some(timeout)).context("io_uring failed")?;
            let mut now = self.clock.now();
            idle = now.mono.since(before) >= limits::ANSWER_LOOK_US;
            // First what frees places and lets calls go on.
            self.inbox(now);
            let mut aged = 0;
            while let Some(completion) = self.ring.next() {
                // Each completion has its own instant, for a long batch must not age the next timer; only media packets, a
                // few of them, share one.
                aged += 1;
                let media = matches!(completion, Completion::Datagram { token, .. } if token >= TOKEN_MEDIA);
                if !media || aged == MEDIA_PER_CLOCK {
                    now = self.clock.now();
                    aged = 0;
                }
                self.completion(now, completion);
            }
        }
    }

    /// Now, and how long the ring may sleep. Wakes the rating thread when a question waits for it.
    fn timeout(&mut self) -> (Time, Duration) {
        let now = self.clock.now().mono;
        let mut next = self.next_heartbeat;
        if self.core.has_first_heartbeats() {
            let due = self.first_heartbeats.get_or_insert(now.plus_millis(limits::FIRST_HEARTBEATS_MS));
            next = next.min(*due);
        }
        if let Some(due) = self.core.poll_timeout() {
            next = next.min(due);
        }
        match self.asked {
            Asked::Nothing => {}
            Asked::Since(first) if now < first.plus_millis(limits::SETTLE_WAKE_MS) => {
                next = next.min(first.plus_millis(limits::SETTLE_WAKE_MS));
            }
            Asked::Since(_) | Asked::Urgent => {
                self.asked = Asked::Nothing;
                self.shared.rating.wake();
            }
        }
        if self.shared.stopping.load(Ordering::Relaxed) {
            next = next.min(now.plus_millis(20));
        }
        (now, next - now)
    }

    fn timers(&mut self, now: Now) {
        while self.core.handle_timeout(now) {
            self.drain(now);
        }
        if self.first_heartbeats.is_some_and(|due| due <= now.mono) {
            self.first_heartbeats = None;
            self.core.first_heartbeats(now);
            self.drain(now);
        }
        if now.mono >= self.next_heartbeat {
            self.next_heartbeat = now.mono.plus_millis(limits::HEARTBEAT_MS);
            self.core.heartbeat(now);
            self.drain(now);
        }
    }

    fn completion(&mut self, now: Now, completion: Completion) {
        match completion {
            Completion::Datagram { token, socket: _, source, buffer, truncated } => {
                if truncated {
                    self.counters.truncated += 1;
                } else if token < TOKEN_MEDIA {
                    self.signalling(now, ListenerId(token as u16), source, &buffer);
                } else if let Some(port) = self.media.port_of(token, &buffer) {
                    self.media_packet(now, port, source, buffer);
                }
            }
            // What it announces is taken at the top of the loop.
            Completion::Wake => {}
            Completion::Unreachable { token, to, .. } => {
                if token < TOKEN_MEDIA {
                    self.core.handle_unreachable(now, ListenerId(token as u16), to);
                    self.drain(now);
                }
            }
            Completion::SendFailed { token, to, errno, .. } => {
                self.counters.send_failed += 1;
                // A full queue or a firewall's rate limit costs one datagram, which SIP sends again; no way to the
                // address costs the attempt.
                if token < TOKEN_MEDIA && is_unreachable(errno) {
                    self.core.handle_unreachable(now, ListenerId(token as u16), to);
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
        self.core.set_refusing(self.shared.journal_broken.load(Ordering::Relaxed));
        let received = self.core.handle_datagram(now, listener, source, bytes);
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

    fn media_packet(&mut self, now: Now, port: FlowKey, source: SocketAddr, mut buffer: Buffer) {
        let rtp = classify(&buffer) == PacketClass::Rtp;
        let send = match self.core.handle_media(now, port, source, &mut buffer) {
            MediaPacket::Relayed(send) => Some(send),
            MediaPacket::Punted(send) => {
                self.counters.media_punted += 1;
                self.drain(now);
                send
            }
            MediaPacket::Dropped(reason) => {
                *self.counters.media_dropped.entry(reason.as_str()).or_default() += 1;
                None
            }
        };
        if let Some(send) = send {
            self.counters.media_relayed += 1;
            self.counters.media_rtp += u64::from(rtp);
            if let Some(of_address) = self.counters.media_relayed_by.get_mut(usize::from(port.slot)) {
                *of_address += 1;
            }
            self.send_media(send.from, send.to, buffer);
        }
    }

    fn send_media(&mut self, from: SocketAddr, to: SocketAddr, buffer: Buffer) {
        if self.media.send(&mut self.ring, from, to, buffer).is_err() {
            self.counters.send_dropped += 1;
        }
    }

    /// Carries out every wish of the core, to the end.
    fn drain(&mut self, now: Now) {
        while let Some(output) = self.core.poll_output(now) {
            self.output(now, output);
        }
    }

    fn output(&mut self, now: Now, output: Output) {
        match output {
            Output::Send { listener, to, bytes, leg, summary } => {
                let socket = self.listeners.get(usize::from(listener.0)).copied();
                let sent = socket.map(|socket| self.ring.send(socket, to, &bytes));
                if !matches!(sent, Some(Ok(()))) {
                    self.counters.send_dropped += 1;
                }
                if let Some(leg) = leg {
                    self.traces.message(now, leg, true, to, summary);
                    self.latency.sent(now.mono, leg, &summary);
                }
                self.core.recycle(bytes);
            }
            Output::Ask(question) => self.ask(now, question),
            Output::OpenPort(port) => {
                let ok = self.media.open(&mut self.ring, port);
                self.core.port_opened(now, port, ok);
            }
            Output::ClosePort(port) => self.media.close(&mut self.ring, port),
            Output::Accepted(leg) => {
                self.counters.accepted += 1;
                self.latency.begin(now.mono, leg);
            }
            Output::Stranger(_) => self.counters.strangers += 1,
            Output::Overloaded(_) => self.counters.overloaded += 1,
            Output::Attempt { leg, a_leg } => {
                self.traces.attach(leg, a_leg);
                self.latency.routed(now.mono, a_leg);
            }
            Output::NotBegun(leg) => self.traces.forget(leg),
            Output::VendorAnswered(a_leg) => self.latency.answered(now.mono, a_leg),
            Output::Answered(_) => self.counters.answered += 1,
            Output::Finished { a_leg, held_ms } => self.finished(a_leg, held_ms),
            Output::Forgotten(leg) => {
                self.traces.forget(leg);
                self.latency.forget(leg);
            }
            Output::Decision { a_leg, flow_no, at, event } => {
                // A flood of strangers must not push the traces of customers out.
                if self.core.endpoint().has_leg(a_leg) {
                    self.traces.decision(at, a_leg, flow_no, event);
                }
            }
        }
    }

    fn finished(&mut self, a_leg: LegId, held_ms: Option<i64>) {
        let known = self.core.endpoint().has_leg(a_leg);
        if let Some(held_ms) = held_ms {
            self.counters.answered_ended += 1;
            self.counters.answered_ms += u64::try_from(held_ms).unwrap_or(0);
        } else if known {
            self.counters.failed += 1;
        }
        if known {
            self.traces.finish(a_leg);
        }
        self.latency.forget(a_leg);
    }

    fn ask(&mut self, now: Now, question: Question) {
        self.admitting |= matches!(question, Question::Admit(_));
        self.asked = match question {
            Question::Admit(_) | Question::NextLine { .. } | Question::Answered { .. } | Question::Renew { .. } => {
                Asked::Urgent
            }
            Question::Settle { .. } | Question::Heartbeat { .. } | Question::Pause { .. } => match self.asked {
                Asked::Nothing => Asked::Since(now.mono),
                earlier @ (Asked::Since(_) | Asked::Urgent) => earlier,
            },
        };
        // Invariant: `limits.rs` gives every call its places and `draining` stops new calls before the spare ones are
        // used up, so a full queue is our own bug and would lose money.
        let full = self.shared.rating.questions[usize::from(self.id)].push(question).is_err();
        assert!(!full, "the queue to the rating thread is full although places were reserved");
    }

    fn reopen(&mut self, token: u32, socket: tandem_ring::SocketId) {
        if token >= TOKEN_MEDIA {
            self.media.reopen(&mut self.ring, token);
        } else if let Some(local) = self.ring.local_addr(socket) {
            let mut options = UdpOptions::new(local);
            options.reuse_port = self.shards > 1;
            self.ring.close_udp(socket);
            if let (Ok(new), Some(slot)) =
                (self.ring.open_udp(token, &options, BufferGroup::Signalling), self.listeners.get_mut(token as usize))
            {
                *slot = new;
                if let Some(socket) = self.ring.descriptor(new) {
                    self.shared.steering.join(token as usize, self.id, socket);
                }
            }
        }
    }

    fn media_counts(&self) -> MediaCounts {
        MediaCounts {
            ports: self.ports.clone(),
            addresses: self
                .core
                .calls()
                .port_counts()
                .into_iter()
                .zip(self.counters.media_relayed_by)
                .zip(0..)
                .map(|((states, forwarded), slot)| (states, self.core.flows_of(slot), forwarded))
                .collect(),
            forwarded_rtp: self.counters.media_rtp,
            forwarded: self.counters.media_relayed,
            live: self.core.live_packets(),
            unbilled: self.core.unbilled_packets(),
            dropped: self.counters.media_dropped.clone(),
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
            ("media_packets_no_flow".into(), self.core.no_flow()),
            ("media_flows".into(), self.core.flows() as u64),
            ("calls_of_strangers".into(), c.strangers),
            ("calls_refused_overload".into(), c.overloaded),
            ("calls_unsettled".into(), self.core.unsettled() as u64),
            ("calls_adopted".into(), c.adopted),
            ("calls_unacknowledged".into(), self.core.calls().unacknowledged_count() as u64),
            ("calls_first_heartbeat_due".into(), self.core.calls().newly_alive_count() as u64),
        ];
        named.extend(c.malformed.iter().map(|(name, n)| (format!("sip_malformed_{name}"), *n)));
        named.extend(c.media_dropped.iter().map(|(name, n)| (format!("media_dropped_{name}"), *n)));
        ShardCounts {
            calls: self.core.calls().counts(),
            sip: self.core.endpoint().counts(),
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
}

/// Whether the kernel says that there is no way to an address, as against a datagram that did not get out this time.
fn is_unreachable(errno: i32) -> bool {
    use rustix::io::Errno;
    [Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::CONNREFUSED, Errno::NETDOWN, Errno::HOSTDOWN]
        .iter()
        .any(|known| known.raw_os_error() == errno)
}
