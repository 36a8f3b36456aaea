//! The endpoint of one shard: bytes, orders and time in; bytes and news out.
//!
//! A datagram is matched to a transaction first, then to a dialog, then it may begin something new (RFC 3261 18, 17,
//! 12). After every `handle_*` call the outputs are drained with [`Endpoint::poll_output`] until there is none, and
//! [`Endpoint::poll_timeout`] says when to come back.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tandem_leg::{LegEvent, LegId, ListenerId, Time, TimerWheel};

use crate::compose::{self, Extra};
use crate::config::Config;
use crate::leg::{Leg, LegTimer, Phase};
use crate::message::{Message, StartLine};
use crate::method::Method;
use crate::mint::{Mint, home_shard};
use crate::relay::required;
use crate::scan::{KeepAlive, ScanError, keep_alive, salvage, scan};
use crate::summary::{MessageSummary, Outcome, Received};
use crate::transactions::{ClientTransaction, Purpose, ServerTransaction, Verdict, merge_key, reply_address};
use crate::uri::{Scheme, Uri};
use crate::write::{Copied, Writer};

/// Buffers kept for the next message. One call at a time fills at most about ten; more would only hold memory.
const BUFFERS_MAX: usize = 64;
/// Retry-After of a call refused at a limit, seconds: long enough to matter, short enough that the peer comes back.
const RETRY_AFTER_LIMIT_S: u32 = 5;

type FastMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// What the endpoint wants done or known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send a datagram.
    Send {
        /// From this listener.
        listener: ListenerId,
        /// To this address.
        to: SocketAddr,
        /// The datagram; give it back with [`Endpoint::recycle`].
        bytes: Vec<u8>,
        /// The leg it belongs to, if any.
        leg: Option<LegId>,
        /// What it is.
        summary: MessageSummary,
    },
    /// News of a leg.
    Event {
        /// The leg.
        leg: LegId,
        /// What happened.
        event: LegEvent,
    },
    /// Nothing of this leg is left: no dialog, transaction or timer. The last output about it.
    Forgotten {
        /// The leg.
        leg: LegId,
    },
}

/// Why an order was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// There is no such leg (any more).
    #[error("no such leg")]
    UnknownLeg,
    /// `Try` for a leg that exists, or that is not numbered as an outgoing one.
    #[error("the leg number is not free for an outgoing leg")]
    LegNumber,
    /// `Try` names a listener that is not configured.
    #[error("no such listener")]
    UnknownListener,
    /// `Try` asks an IPv4 listener to reach an IPv6 address or the other way round.
    #[error("listener and remote address are of different families")]
    AddressFamily,
    /// `Try` at the limit of transactions or legs.
    #[error("too many transactions or legs")]
    Full,
    /// The order does not fit where the leg stands, or is news that cannot be ordered.
    #[error("the order does not fit the state of the leg")]
    State,
}

/// How much is alive; all zero when nothing is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Client and server transactions.
    pub transactions: usize,
    /// Dialogs that requests can match.
    pub dialogs: usize,
    /// Legs not yet forgotten.
    pub legs: usize,
    /// Running timers.
    pub timers: usize,
    /// Entries of the tables by which transactions are found.
    pub keys: usize,
}

/// Whose turn it is when a timer fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Client(u64),
    Server(u64),
    Leg(LegId, LegTimer),
}

/// SIP of one shard; see the module text.
#[derive(Debug)]
pub struct Endpoint {
    pub(crate) config: Config,
    known: HashSet<IpAddr>,
    pub(crate) mint: Mint,
    pub(crate) wheel: TimerWheel<Due>,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) buffers: Vec<Vec<u8>>,
    pub(crate) clients: FastMap<u64, ClientTransaction>,
    /// Who waits for an answer from where, for ICMP.
    pub(crate) by_destination: BTreeSet<(SocketAddr, u64)>,
    pub(crate) servers: FastMap<u64, ServerTransaction>,
    pub(crate) server_ids: u64,
    /// Keyed by what strangers chose, hence the default hasher.
    pub(crate) server_keys: HashMap<Arc<[u8]>, u64>,
    pub(crate) merges: HashMap<Arc<[u8]>, u64>,
    pub(crate) legs: FastMap<LegId, Box<Leg>>,
    pub(crate) legs_in: u64,
    /// Local tag -> leg.
    pub(crate) dialogs: FastMap<u64, LegId>,
    pub(crate) scratch: Vec<u8>,
}

impl Endpoint {
    /// An endpoint without calls.
    pub fn new(config: Config) -> Endpoint {
        Endpoint {
            known: config.known.iter().map(IpAddr::to_canonical).collect(),
            mint: Mint::new(config.shard, config.seed),
            config,
            wheel: TimerWheel::new(),
            outputs: VecDeque::new(),
            buffers: Vec::new(),
            clients: FastMap::default(),
            by_destination: BTreeSet::new(),
            servers: FastMap::default(),
            server_ids: 0,
            server_keys: HashMap::new(),
            merges: HashMap::new(),
            legs: FastMap::default(),
            legs_in: 0,
            dialogs: FastMap::default(),
            scratch: Vec::new(),
        }
    }

    /// What it is configured with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Takes a new configuration for what begins from now on. Shard number and seed stay as they were: what is alive
    /// carries the one, and the other was used up. Listeners may be added at the end; those in use must keep their
    /// places.
    pub fn set_config(&mut self, config: Config) {
        self.known = config.known.iter().map(IpAddr::to_canonical).collect();
        self.config = Config { shard: self.config.shard, seed: self.config.seed, ..config };
    }

    /// One datagram from the wire. Never panics; says what the datagram was.
    pub fn handle_datagram(&mut self, now: Time, listener: ListenerId, source: SocketAddr, bytes: &[u8]) -> Received {
        let source = SocketAddr::new(source.ip().to_canonical(), source.port());
        let nothing = |outcome| Received { leg: None, summary: None, outcome };
        if let Some(kind) = keep_alive(bytes) {
            if kind == KeepAlive::Ping {
                let mut pong = self.buffer();
                pong.extend_from_slice(b"\r\n");
                let summary = MessageSummary::response(200, Method::Other, None);
                self.outputs.push_back(Output::Send { listener, to: source, bytes: pong, leg: None, summary });
            }
            return nothing(Outcome::KeepAlive);
        }
        if self.config.shards > 1
            && let Some(shard) = home_shard(bytes, self.config.shards, self.config.shard_key)
            && shard != self.config.shard
        {
            return nothing(Outcome::NotMine { shard });
        }
        let message = match scan(bytes) {
            Ok(message) => message,
            Err(error) => {
                self.answer_malformed(listener, source, bytes, error);
                return nothing(Outcome::Malformed(error));
            }
        };
        let mut summary = MessageSummary::of(&message);
        let (leg, outcome) = match message.start {
            StartLine::Request { method, method_raw, .. } => {
                self.handle_request(now, listener, source, &message, method, method_raw)
            }
            StartLine::Response { status, .. } => self.handle_response(now, &message, status),
        };
        summary.retransmission = outcome == Outcome::Retransmission;
        Received { leg, summary: Some(summary), outcome }
    }

    /// The network says that `to` cannot be reached from `listener` (ICMP): requests that wait for an answer from there
    /// fail at once.
    pub fn handle_unreachable(&mut self, now: Time, listener: ListenerId, to: SocketAddr) {
        for transaction in self.fail_clients_to(listener, to) {
            self.client_over(now, transaction, Some(Verdict::TransportError));
        }
    }

    /// An order of the call room. `Try` starts the outgoing leg `leg`.
    ///
    /// # Errors
    /// [`OrderError`]; then nothing was done. An order for a leg that has ended but is not forgotten is no error: it crossed
    /// the news of the end.
    pub fn handle_leg_event(&mut self, now: Time, leg: LegId, event: LegEvent) -> Result<(), OrderError> {
        if let LegEvent::Try(order) = event {
            return self.start_outgoing(now, leg, *order);
        }
        let mut found = self.legs.remove(&leg).ok_or(OrderError::UnknownLeg)?;
        let result = self.order(now, &mut found, event);
        self.put_back(found);
        result
    }

    fn order(&mut self, now: Time, leg: &mut Leg, event: LegEvent) -> Result<(), OrderError> {
        if leg.muted || matches!(leg.phase, Phase::Ending | Phase::Ended) {
            // The call room ended the leg itself, or the news of its end has crossed this order.
            return Ok(());
        }
        match event {
            LegEvent::Ring(ring) => self.order_ring(now, leg, &ring),
            LegEvent::Connect(connect) => self.order_connect(now, leg, &connect),
            LegEvent::Fail(fail) => self.order_fail(now, leg, &fail),
            LegEvent::Redirect(redirect) => self.order_redirect(now, leg, &redirect),
            LegEvent::Confirm(confirm) => self.order_confirm(leg, confirm.sdp.as_deref()),
            LegEvent::Update(update) => self.order_update(now, leg, update),
            LegEvent::Updated(updated) => self.order_updated(now, leg, updated.sdp.as_deref()),
            LegEvent::UpdateFailed(failed) => self.order_update_failed(now, leg, &failed),
            LegEvent::Info(info) => self.order_info(now, leg, &info),
            LegEvent::Disconnect(disconnect) => {
                self.order_disconnect(now, leg, disconnect.reason);
                Ok(())
            }
            LegEvent::Try(_) | LegEvent::Sent { .. } | LegEvent::Proceeding => Err(OrderError::State),
        }
    }

    /// Serves every timer that `now` has reached.
    pub fn handle_timeout(&mut self, now: Time) {
        while let Some((at, due)) = self.wheel.pop(now) {
            match due {
                Due::Client(id) => {
                    if let Some((transaction, verdict)) = self.client_timeout(now, id) {
                        self.client_over(now, transaction, verdict);
                    }
                }
                Due::Server(id) => {
                    if let Some(leg) = self.server_timeout(now, id)
                        && let Some(mut leg) = self.legs.remove(&leg)
                    {
                        leg.transactions -= 1;
                        self.put_back(leg);
                    }
                }
                Due::Leg(id, timer) => {
                    if let Some(mut leg) = self.legs.remove(&id) {
                        self.leg_timeout(now, at, &mut leg, timer);
                        self.put_back(leg);
                    }
                }
            }
        }
    }

    /// When [`Self::handle_timeout`] has to be called at the latest; it may be earlier than anything is due. `None` when
    /// nothing is pending.
    pub fn poll_timeout(&self) -> Option<Time> {
        self.wheel.next_deadline()
    }

    /// The next thing to do or to know, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Takes back the buffer of a sent datagram.
    pub fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.buffers.len() < BUFFERS_MAX && buffer.capacity() > 0 {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }

    /// Legs whose far side has not heard the end yet: an orderly stop waits until there are none.
    pub fn unfinished(&self) -> usize {
        self.legs.values().filter(|leg| leg.phase != crate::leg::Phase::Ended).count()
    }

    /// Whether this leg exists here. A stranger's INVITE is told as a leg that never did.
    pub fn has_leg(&self, leg: LegId) -> bool {
        self.legs.contains_key(&leg)
    }

    pub(crate) fn is_known(&self, source: SocketAddr) -> bool {
        self.known.contains(&source.ip().to_canonical())
    }

    /// What is alive, for metrics and for tests.
    pub fn counts(&self) -> Counts {
        Counts {
            transactions: self.clients.len() + self.servers.len(),
            dialogs: self.dialogs.len(),
            legs: self.legs.len(),
            timers: self.wheel.len(),
            keys: self.server_keys.len() + self.merges.len() + self.by_destination.len(),
        }
    }

    // --- requests ------------------------------------------------------------------------------------------------

    fn handle_request(
        &mut self,
        now: Time,
        listener: ListenerId,
        source: SocketAddr,
        request: &Message<'_>,
        method: Method,
        method_raw: &[u8],
    ) -> (Option<LegId>, Outcome) {
        match method {
            Method::Ack => return self.handle_ack(now, request),
            Method::Cancel => return self.handle_cancel(now, listener, source, request),
            _ => {}
        }
        if let Some(id) = self.match_request(request, method_raw) {
            return (self.server_retransmission(id), Outcome::Retransmission);
        }
        if request.to_tag.is_some() {
            return self.handle_in_dialog(now, listener, source, request, method);
        }
        if !self.config.reply_unauthorized && !self.known.contains(&source.ip()) {
            return (None, Outcome::Unknown);
        }
        match method {
            Method::Invite => self.handle_invite(listener, source, request),
            Method::Options if self.known.contains(&source.ip()) => self.answer_options(listener, source, request),
            // Spec signalling.md 5.5: 403 to whom we do not know, for OPTIONS as for the rest.
            Method::Options => self.refuse(listener, source, request, 403, &Extra::default()),
            // These live in dialogs only.
            Method::Bye | Method::Update | Method::Info | Method::Prack | Method::Notify => {
                self.refuse(listener, source, request, 481, &Extra::default())
            }
            Method::Register | Method::Refer | Method::Subscribe | Method::Message | Method::Publish => {
                if self.known.contains(&source.ip()) {
                    self.refuse(listener, source, request, 405, &Extra { allow: true, ..Extra::default() })
                } else {
                    self.refuse(listener, source, request, 403, &Extra::default())
                }
            }
            Method::Other => self.refuse(listener, source, request, 501, &Extra { allow: true, ..Extra::default() }),
            Method::Ack | Method::Cancel => (None, Outcome::Stray),
        }
    }

    /// 200 with what we can do, or what the same request would get as an INVITE (RFC 3261 11.2, 8.2). Max-Forwards does not
    /// matter: nothing is sent on.
    fn answer_options(
        &mut self,
        listener: ListenerId,
        source: SocketAddr,
        request: &Message<'_>,
    ) -> (Option<LegId>, Outcome) {
        let required = required(request);
        let status = match Uri::parse(request.request_uri().unwrap_or(b"")) {
            Ok(uri) if uri.scheme == Scheme::Other => 416,
            Err(_) => 400,
            Ok(_) if !required.is_empty() => 420,
            Ok(_) if self.is_full() => 503,
            Ok(_) => 200,
        };
        let extra = Extra {
            capabilities: matches!(status, 200 | 503),
            unsupported: if status == 420 { &required } else { &[] },
            ..Extra::default()
        };
        self.refuse(listener, source, request, status, &extra)
    }

    fn handle_ack(&mut self, now: Time, request: &Message<'_>) -> (Option<LegId>, Outcome) {
        if let Some(id) = self.match_request(request, b"INVITE") {
            let leg = self.servers.get(&id).map(|transaction| transaction.leg);
            if !self.server_ack(now, id) {
                return (leg, Outcome::Request);
            }
        }
        // The ACK to a 2xx has a branch of its own; the dialog knows it.
        let Some(id) = self.find_dialog(request) else { return (None, Outcome::Stray) };
        let Some(mut leg) = self.legs.remove(&id) else { return (None, Outcome::Stray) };
        let fresh = self.dialog_ack(now, &mut leg, request);
        self.put_back(leg);
        (Some(id), if fresh { Outcome::Request } else { Outcome::Retransmission })
    }

    fn handle_cancel(
        &mut self,
        now: Time,
        listener: ListenerId,
        source: SocketAddr,
        request: &Message<'_>,
    ) -> (Option<LegId>, Outcome) {
        let id = self.match_request(request, b"INVITE");
        let leg = id.and_then(|id| self.servers.get(&id)).map(|transaction| transaction.leg);
        let (Some(id), Some(mut leg)) = (id, leg.and_then(|leg| self.legs.remove(&leg))) else {
            return self.unknown_dialog(listener, source, request);
        };
        // "The To tag of the response to the CANCEL and the To tag in the response to the original request SHOULD be the
        // same" (RFC 3261 9.2). No transaction is kept: a repeated CANCEL gets the same answer and has no effect.
        let mut bytes = self.buffer();
        let tag = leg.dialog.local_tag.clone();
        let server = self.config.user_agent.clone();
        let copied = Copied::new(Vec::new(), request, source);
        compose::response(&mut bytes, &copied, 200, Some(&tag), &server, &Extra::default());
        let summary = MessageSummary::response(200, Method::Cancel, None);
        let to = reply_address(request, source);
        self.outputs.push_back(Output::Send { listener, to, bytes, leg: Some(leg.id), summary });
        if id == leg.invite {
            self.uas_cancelled(now, &mut leg, request);
        }
        let id = leg.id;
        self.put_back(leg);
        (Some(id), Outcome::Request)
    }

    fn handle_in_dialog(
        &mut self,
        now: Time,
        listener: ListenerId,
        source: SocketAddr,
        request: &Message<'_>,
        method: Method,
    ) -> (Option<LegId>, Outcome) {
        let Some(mut leg) = self.find_dialog(request).and_then(|id| self.legs.remove(&id)) else {
            return self.unknown_dialog(listener, source, request);
        };
        let id = leg.id;
        let outcome = self.dialog_request(now, &mut leg, listener, source, request, method);
        self.put_back(leg);
        (Some(id), outcome)
    }

    /// 481, unless we do not speak with strangers.
    fn unknown_dialog(
        &mut self,
        listener: ListenerId,
        source: SocketAddr,
        request: &Message<'_>,
    ) -> (Option<LegId>, Outcome) {
        if !self.config.reply_unauthorized && !self.known.contains(&source.ip()) {
            return (None, Outcome::Unknown);
        }
        self.refuse(listener, source, request, 481, &Extra::default())
    }

    /// The leg whose dialog a request names: our tag in To, their tag in From, Call-ID.
    fn find_dialog(&self, request: &Message<'_>) -> Option<LegId> {
        let id = *self.dialogs.get(&self.mint.tag_key(request.to_tag?)?)?;
        self.legs.get(&id).filter(|leg| leg.dialog.matches(request)).map(|leg| leg.id)
    }

    /// Answers without keeping anything (RFC 3261 8.2.7). The To tag is a function of the request, so that a repeated
    /// request gets the same answer.
    pub(crate) fn refuse(
        &mut self,
        listener: ListenerId,
        source: SocketAddr,
        request: &Message<'_>,
        status: u16,
        extra: &Extra<'_>,
    ) -> (Option<LegId>, Outcome) {
        let mut bytes = self.buffer();
        let tag = self.stateless_tag(request);
        let copied = Copied::new(Vec::new(), request, source);
        compose::response(&mut bytes, &copied, status, Some(&tag), &self.config.user_agent, extra);
        let summary = MessageSummary::response(status, request.cseq.method, None);
        // The same for a stranger; a peer may listen at the port of its Via (RFC 3261 18.2.2).
        let to = if self.is_known(source) { reply_address(request, source) } else { source };
        self.outputs.push_back(Output::Send { listener, to, bytes, leg: None, summary });
        (None, Outcome::Answered(status))
    }

    pub(crate) fn refuse_at_limit(
        &mut self,
        listener: ListenerId,
        source: SocketAddr,
        request: &Message<'_>,
    ) -> (Option<LegId>, Outcome) {
        let extra = Extra { retry_after_s: Some(RETRY_AFTER_LIMIT_S), ..Extra::default() };
        self.refuse(listener, source, request, 503, &extra)
    }

    fn stateless_tag(&self, request: &Message<'_>) -> String {
        let mut names = merge_key(request);
        names.extend_from_slice(request.via.branch.unwrap_or(b""));
        self.mint.tag(self.mint.digest(&names))
    }

    fn answer_malformed(&mut self, listener: ListenerId, source: SocketAddr, bytes: &[u8], error: ScanError) {
        let Some(status) = error.status() else { return };
        if !self.config.reply_unauthorized && !self.known.contains(&source.ip()) {
            return;
        }
        let Some(request) = salvage(bytes) else { return };
        let mut out = self.buffer();
        let reason = error.to_string();
        let tag = self.stateless_tag(&request);
        let phrase = (status == 400).then_some(reason.as_str());
        let mut w = Writer::response_to(&mut out, &request, status, phrase, Some(&tag), source);
        if !self.config.user_agent.is_empty() {
            w.header("Server", &self.config.user_agent);
        }
        w.end();
        let summary = MessageSummary::response(status, request.method(), None);
        // To where it came from: the Via of a broken message is no address to trust, and an answer to a port where nobody
        // listens comes back as an ICMP error that delays the next datagram of a good call.
        let to = source;
        self.outputs.push_back(Output::Send { listener, to, bytes: out, leg: None, summary });
    }

    // --- responses -----------------------------------------------------------------------------------------------

    fn handle_response(&mut self, now: Time, response: &Message<'_>, status: u16) -> (Option<LegId>, Outcome) {
        // "If more than one Via header field value is present in a response, the UAC SHOULD discard" (RFC 3261 8.1.3.3).
        if response.vias().nth(1).is_some() {
            return (None, Outcome::Stray);
        }
        let Some(id) = self.match_response(response) else { return self.late_answer(response, status) };
        let Some((leg, purpose, method)) = self.clients.get(&id).map(|t| (t.leg, t.purpose, t.method)) else {
            return (None, Outcome::Stray);
        };
        let verdict = self.client_response(now, id, response);
        let Some((_, seen)) = verdict else { return (Some(leg), Outcome::Retransmission) };
        if let Some(mut found) = self.legs.remove(&leg) {
            match purpose {
                Purpose::Call => self.uac_response(now, &mut found, response, status),
                Purpose::Change => self.change_response(now, &mut found, id, method, response, status),
                Purpose::Bye => self.bye_over(&mut found, status >= 200),
                Purpose::Info => self.info_response(now, &mut found, status),
                Purpose::Nothing => {}
            }
            self.put_back(found);
        }
        (Some(leg), if seen { Outcome::Retransmission } else { Outcome::Response })
    }

    /// A client transaction ended without a response to give on.
    fn client_over(&mut self, now: Time, transaction: ClientTransaction, verdict: Option<Verdict>) {
        let Some(mut leg) = self.legs.remove(&transaction.leg) else { return };
        leg.transactions -= 1;
        if transaction.method == Method::Invite {
            // Its 2xx cannot come again.
            leg.acks.retain(|ack| ack.cseq != transaction.cseq);
        }
        if let Some(verdict) = verdict {
            match transaction.purpose {
                Purpose::Call => self.uac_no_response(&mut leg, verdict),
                Purpose::Change => self.change_no_response(now, &mut leg, verdict),
                Purpose::Bye => self.bye_over(&mut leg, true),
                Purpose::Info | Purpose::Nothing => {}
            }
        }
        self.put_back(leg);
    }

    // --- helpers -------------------------------------------------------------------------------------------------

    pub(crate) fn buffer(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    /// Sends a copy of `bytes`.
    pub(crate) fn send(
        &mut self,
        listener: ListenerId,
        to: SocketAddr,
        bytes: &[u8],
        leg: LegId,
        summary: MessageSummary,
    ) {
        let mut copy = self.buffer();
        copy.extend_from_slice(bytes);
        self.outputs.push_back(Output::Send { listener, to, bytes: copy, leg: Some(leg), summary });
    }

    /// Tells the call room, unless it wants to hear no more of this leg.
    pub(crate) fn news(&mut self, leg: &Leg, event: LegEvent) {
        if !leg.muted {
            self.outputs.push_back(Output::Event { leg: leg.id, event });
        }
    }

    /// The last news of a leg.
    pub(crate) fn last_news(&mut self, leg: &mut Leg, event: LegEvent) {
        self.news(leg, event);
        leg.muted = true;
    }

    pub(crate) fn is_full(&self) -> bool {
        self.clients.len() + self.servers.len() >= self.config.limits.transactions_max
            || self.legs.len() >= self.config.limits.dialogs_max
    }

    pub(crate) fn listener_address(&self, listener: ListenerId) -> Option<SocketAddr> {
        self.config.listeners.get(usize::from(listener.0)).map(|l| l.advertised)
    }

    /// Gives a leg its place back after it was worked on, or forgets it.
    pub(crate) fn put_back(&mut self, mut leg: Box<Leg>) {
        if leg.phase == Phase::Ended {
            self.dialogs.remove(&leg.dialog.local_key);
            self.drop_leg_timers(&mut leg);
        }
        if leg.is_spent() {
            self.outputs.push_back(Output::Forgotten { leg: leg.id });
        } else {
            self.legs.insert(leg.id, leg);
        }
    }
}
