//! The transactions of an endpoint: tables, matching (RFC 3261 17.1.3, 17.2.3), timers, and what the machines ask for.

use std::net::SocketAddr;
use std::sync::Arc;

use tandem_leg::{LegId, ListenerId, Reason, Time, TimerKey};

use crate::compose::{self, Extra};
use crate::endpoint::{Due, Endpoint, Output};
use crate::leg::Leg;
use crate::message::Message;
use crate::method::Method;
use crate::scan::{StartLine, scan};
use crate::summary::MessageSummary;
use crate::timer::Timers;
use crate::transaction::client::{self, Client};
use crate::transaction::client_invite::{self, ClientInvite};
use crate::transaction::server::{self, Server};
use crate::transaction::server_invite::{self, ServerInvite};
use crate::write::Copied;

/// Why a request of ours was sent; says who gets the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The INVITE of a b-leg.
    Call,
    /// re-INVITE or UPDATE.
    Change,
    /// The BYE that ends a leg.
    Bye,
    /// INFO.
    Info,
    /// Nobody waits: CANCEL, BYE to a fork that lost.
    Nothing,
}

#[derive(Debug)]
pub(crate) enum ClientMachine {
    Invite(ClientInvite),
    Other(Client),
}

/// One request of ours.
#[derive(Debug)]
pub(crate) struct ClientTransaction {
    pub(crate) machine: ClientMachine,
    pub(crate) leg: LegId,
    pub(crate) purpose: Purpose,
    pub(crate) method: Method,
    pub(crate) cseq: u32,
    listener: ListenerId,
    to: SocketAddr,
    request: Vec<u8>,
    summary: MessageSummary,
    /// ACK to a 3xx-6xx, for its repetitions.
    ack: Vec<u8>,
    /// The CANCEL of this INVITE, which shares its branch.
    cancel: Option<u64>,
    timers: Timers,
    armed: Option<(Time, TimerKey)>,
}

#[derive(Debug)]
pub(crate) enum ServerMachine {
    Invite(ServerInvite),
    Other(Server),
}

/// One request of theirs.
#[derive(Debug)]
pub(crate) struct ServerTransaction {
    pub(crate) machine: ServerMachine,
    pub(crate) leg: LegId,
    listener: ListenerId,
    reply_to: SocketAddr,
    /// What the responses copy from the request; emptied with the final one.
    copied: Copied,
    response: Vec<u8>,
    summary: MessageSummary,
    key: Arc<[u8]>,
    /// Only a new INVITE has one.
    merge_key: Option<Arc<[u8]>>,
    timers: Timers,
    armed: Option<(Time, TimerKey)>,
}

/// What a client transaction tells its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A response for the user.
    Pass,
    /// No response came.
    Timeout,
    /// The network refused.
    TransportError,
}

/// Where responses to a request go: source address, and port of the Via unless `rport` asks for the source port
/// (RFC 3261 18.2.2, RFC 3581 4).
pub(crate) fn reply_address(request: &Message<'_>, source: SocketAddr) -> SocketAddr {
    match request.via.rport {
        crate::header::Rport::Absent => {
            SocketAddr::new(source.ip(), request.via.port.unwrap_or(crate::dialog::PORT_DEFAULT))
        }
        crate::header::Rport::Asked | crate::header::Rport::Port(_) => source,
    }
}

/// The key by which a request finds its server transaction; `method` INVITE for ACK and for what a CANCEL cancels.
///
/// Without the magic cookie the branch says nothing: then Request-URI, From tag, Call-ID, CSeq number and top Via must
/// be the same (the To tag is left out, since that of an ACK is ours).
pub(crate) fn server_key(key: &mut Vec<u8>, request: &Message<'_>, method: &[u8]) {
    key.clear();
    let mut add = |part: &[u8]| {
        key.extend_from_slice(part);
        key.push(0);
    };
    if request.via.has_magic_cookie() {
        add(request.via.branch.unwrap_or(b""));
        add(&request.via.sent_by.to_ascii_lowercase());
        add(method);
    } else {
        add(b"2543");
        add(method);
        add(request.request_uri().unwrap_or(b""));
        add(request.from_tag.unwrap_or(b""));
        add(request.call_id);
        add(&request.cseq.number.to_be_bytes());
        add(request.via.sent_by);
        add(request.via.params.raw());
    }
}

pub(crate) fn merge_key(request: &Message<'_>) -> Vec<u8> {
    let from_tag = request.from_tag.unwrap_or(b"");
    [from_tag, &[0], request.call_id, &[0], &request.cseq.number.to_be_bytes()].concat()
}

impl Endpoint {
    // --- client side ---------------------------------------------------------------------------------------------

    /// Sends a request, whose branch and User-Agent are filled in here; returns the transaction, which the caller counts
    /// in its leg.
    pub(crate) fn start_client(
        &mut self,
        now: Time,
        (leg, listener): (LegId, ListenerId),
        purpose: Purpose,
        to: SocketAddr,
        request: &compose::Request<'_>,
    ) -> u64 {
        let mut id = self.mint.key();
        while self.clients.contains_key(&id) {
            id = self.mint.key();
        }
        let branch = self.mint.branch(id);
        let mut bytes = self.buffer();
        compose::Request { branch: &branch, user_agent: &self.config.user_agent, ..*request }.write(&mut bytes);
        let summary = MessageSummary::request(request.method, request.sdp());
        self.add_client(now, id, (leg, listener), purpose, (request.method, request.cseq), to, bytes, summary);
        id
    }

    #[allow(clippy::too_many_arguments)]
    fn add_client(
        &mut self,
        now: Time,
        id: u64,
        (leg, listener): (LegId, ListenerId),
        purpose: Purpose,
        (method, cseq): (Method, u32),
        to: SocketAddr,
        request: Vec<u8>,
        summary: MessageSummary,
    ) {
        let mut timers = Timers::default();
        let resend = self.config.resend.clone();
        let machine = match method {
            Method::Invite => ClientMachine::Invite(ClientInvite::start(now, resend, &mut timers)),
            _ => ClientMachine::Other(Client::start(now, resend, &mut timers)),
        };
        self.send(listener, to, &request, leg, summary);
        self.by_destination.insert((to, id));
        self.clients.insert(
            id,
            ClientTransaction {
                machine,
                leg,
                purpose,
                method,
                cseq,
                listener,
                to,
                request,
                summary,
                ack: Vec::new(),
                cancel: None,
                timers,
                armed: None,
            },
        );
        self.rearm_client(id);
    }

    /// Cancels an INVITE of ours that was answered provisionally.
    pub(crate) fn cancel_client(&mut self, now: Time, leg: &mut Leg, invite: u64, reason: &Reason) {
        let mut bytes = self.buffer();
        let Some(transaction) = self.clients.get_mut(&invite) else { return };
        let Ok(message) = scan(&transaction.request) else { return };
        compose::cancel(&mut bytes, &message, reason, &self.config.user_agent);
        if let ClientMachine::Invite(machine) = &transaction.machine {
            machine.expect_final(now, &mut transaction.timers);
        }
        let (to, cseq) = (transaction.to, transaction.cseq);
        let id = self.mint.key();
        transaction.cancel = Some(id);
        self.rearm_client(invite);
        leg.transactions += 1;
        let owner = (leg.id, leg.dialog.listener);
        let summary = MessageSummary::request(Method::Cancel, None);
        self.add_client(now, id, owner, Purpose::Nothing, (Method::Cancel, cseq), to, bytes, summary);
    }

    /// No more INVITEs are sent, but a late response is still awaited.
    pub(crate) fn stop_resending(&mut self, invite: u64) {
        if let Some(transaction) = self.clients.get_mut(&invite)
            && let ClientMachine::Invite(machine) = &transaction.machine
        {
            machine.stop_resending(&mut transaction.timers);
            self.rearm_client(invite);
        }
    }

    /// An INVITE of ours nobody waits for any more ends within 64*T1.
    pub(crate) fn expect_final(&mut self, now: Time, invite: u64) {
        if let Some(transaction) = self.clients.get_mut(&invite)
            && let ClientMachine::Invite(machine) = &transaction.machine
        {
            machine.expect_final(now, &mut transaction.timers);
            self.rearm_client(invite);
        }
    }

    /// A re-INVITE that was answered provisionally is not waited for without end.
    pub(crate) fn limit_proceeding(&mut self, invite: u64, until: Time) {
        if let Some(transaction) = self.clients.get_mut(&invite)
            && let ClientMachine::Invite(machine) = &transaction.machine
        {
            machine.limit(until, &mut transaction.timers);
            self.rearm_client(invite);
        }
    }

    /// Whether an INVITE of ours was answered provisionally and not finally.
    pub(crate) fn is_proceeding(&self, invite: u64) -> bool {
        self.clients.get(&invite).is_some_and(|transaction| match &transaction.machine {
            ClientMachine::Invite(machine) => machine.state() == client_invite::State::Proceeding,
            ClientMachine::Other(_) => false,
        })
    }

    /// The client transaction a response belongs to (RFC 3261 17.1.3).
    pub(crate) fn match_response(&self, response: &Message<'_>) -> Option<u64> {
        let id = self.mint.branch_key(response.via.branch?)?;
        let transaction = self.clients.get(&id)?;
        if transaction.method == response.cseq.method {
            return Some(id);
        }
        transaction.cancel.filter(|cancel| response.cseq.method == Method::Cancel && self.clients.contains_key(cancel))
    }

    /// Runs a response through its machine; `Some` when the user has to see it. The flag says that it was seen before.
    pub(crate) fn client_response(&mut self, now: Time, id: u64, response: &Message<'_>) -> Option<(Verdict, bool)> {
        let status = response.status()?;
        let mut ack = None;
        let transaction = self.clients.get_mut(&id)?;
        let (pass, seen) = match &mut transaction.machine {
            ClientMachine::Invite(machine) => {
                let was = machine.state();
                match machine.handle_response(now, status, &mut transaction.timers) {
                    client_invite::Action::Pass => (true, was == client_invite::State::Accepted),
                    client_invite::Action::AckAndPass => {
                        if let Ok(invite) = scan(&transaction.request) {
                            compose::ack_for_failure(&mut transaction.ack, &invite, response);
                        }
                        ack = Some(false);
                        (true, false)
                    }
                    client_invite::Action::Ack => {
                        ack = Some(true);
                        (false, true)
                    }
                    client_invite::Action::Nothing
                    | client_invite::Action::Resend
                    | client_invite::Action::Timeout
                    | client_invite::Action::TransportError
                    | client_invite::Action::Forget => (false, true),
                }
            }
            ClientMachine::Other(machine) => match machine.handle_response(now, status, &mut transaction.timers) {
                client::Action::Pass => (true, false),
                client::Action::Nothing
                | client::Action::Resend
                | client::Action::Timeout
                | client::Action::TransportError
                | client::Action::Forget => (false, true),
            },
        };
        let over = match &transaction.machine {
            ClientMachine::Invite(machine) => {
                matches!(machine.state(), client_invite::State::Accepted | client_invite::State::Completed)
            }
            ClientMachine::Other(_) => false,
        };
        // Nothing sends it again; half a minute of every call would hold a kilobyte for nothing.
        let request = if over { std::mem::take(&mut transaction.request) } else { Vec::new() };
        if let Some(again) = ack {
            let summary = MessageSummary::request(Method::Ack, None);
            let summary = if again { summary.again() } else { summary };
            let (listener, to, leg) = (transaction.listener, transaction.to, transaction.leg);
            let bytes = std::mem::take(&mut transaction.ack);
            self.send(listener, to, &bytes, leg, summary);
            if let Some(transaction) = self.clients.get_mut(&id) {
                transaction.ack = bytes;
            }
        }
        self.recycle(request);
        self.rearm_client(id);
        if pass { Some((Verdict::Pass, seen)) } else { None }
    }

    /// Serves the due timers of a client transaction; `Some` when the user has to know.
    pub(crate) fn client_timeout(&mut self, now: Time, id: u64) -> Option<(ClientTransaction, Option<Verdict>)> {
        let transaction = self.clients.get_mut(&id)?;
        transaction.armed = None;
        while let Some((timer, at)) = transaction.timers.pop(now) {
            let (resend, verdict, gone) = match &mut transaction.machine {
                ClientMachine::Invite(machine) => match machine.handle_timer(timer, at, now, &mut transaction.timers) {
                    client_invite::Action::Resend => (true, None, false),
                    client_invite::Action::Timeout => (false, Some(Verdict::Timeout), true),
                    client_invite::Action::Forget => (false, None, true),
                    client_invite::Action::Nothing
                    | client_invite::Action::Pass
                    | client_invite::Action::AckAndPass
                    | client_invite::Action::Ack
                    | client_invite::Action::TransportError => (false, None, false),
                },
                ClientMachine::Other(machine) => match machine.handle_timer(timer, at, now, &mut transaction.timers) {
                    client::Action::Resend => (true, None, false),
                    client::Action::Timeout => (false, Some(Verdict::Timeout), true),
                    client::Action::Forget => (false, None, true),
                    client::Action::Nothing | client::Action::Pass | client::Action::TransportError => {
                        (false, None, false)
                    }
                },
            };
            if gone {
                return self.take_client(id).map(|transaction| (transaction, verdict));
            }
            if resend {
                let mut bytes = self.buffers.pop().unwrap_or_default();
                bytes.extend_from_slice(&transaction.request);
                self.outputs.push_back(Output::Send {
                    listener: transaction.listener,
                    to: transaction.to,
                    bytes,
                    leg: Some(transaction.leg),
                    summary: transaction.summary.again(),
                });
            }
        }
        self.rearm_client(id);
        None
    }

    /// The client transactions that wait for an answer from `to`, failed and taken out.
    pub(crate) fn fail_clients_to(&mut self, listener: ListenerId, to: SocketAddr) -> Vec<ClientTransaction> {
        let ids: Vec<u64> = self.by_destination.range((to, 0)..=(to, u64::MAX)).map(|(_, id)| *id).collect();
        let mut failed = Vec::new();
        for id in ids {
            let Some(transaction) = self.clients.get_mut(&id).filter(|t| t.listener == listener) else { continue };
            let refused = match &mut transaction.machine {
                ClientMachine::Invite(machine) => {
                    machine.handle_unreachable(&mut transaction.timers) == client_invite::Action::TransportError
                }
                ClientMachine::Other(machine) => {
                    machine.handle_unreachable(&mut transaction.timers) == client::Action::TransportError
                }
            };
            if refused {
                failed.extend(self.take_client(id));
            }
        }
        failed
    }

    fn take_client(&mut self, id: u64) -> Option<ClientTransaction> {
        let mut transaction = self.clients.remove(&id)?;
        if let Some((_, key)) = transaction.armed.take() {
            self.wheel.cancel(key);
        }
        self.by_destination.remove(&(transaction.to, id));
        self.recycle(std::mem::take(&mut transaction.request));
        Some(transaction)
    }

    fn rearm_client(&mut self, id: u64) {
        if let Some(transaction) = self.clients.get_mut(&id) {
            let next = transaction.timers.next();
            if transaction.armed.map(|(at, _)| at) != next {
                if let Some((_, key)) = transaction.armed.take() {
                    self.wheel.cancel(key);
                }
                transaction.armed = next.map(|at| (at, self.wheel.insert(at, Due::Client(id))));
            }
        }
    }

    // --- server side ---------------------------------------------------------------------------------------------

    /// The server transaction of a request, looked up as if its method were `method`.
    pub(crate) fn match_request(&mut self, request: &Message<'_>, method: &[u8]) -> Option<u64> {
        server_key(&mut self.scratch, request, method);
        self.server_keys.get(self.scratch.as_slice()).copied()
    }

    /// Whether another branch of the same new INVITE is being served: "482 (Loop Detected)" (RFC 3261 8.2.2.2).
    pub(crate) fn is_merged(&self, request: &Message<'_>) -> bool {
        self.merges.contains_key(merge_key(request).as_slice())
    }

    /// Keeps a request.
    pub(crate) fn start_server(
        &mut self,
        leg: &mut Leg,
        listener: ListenerId,
        source: SocketAddr,
        request: &Message<'_>,
    ) -> u64 {
        let StartLine::Request { method, method_raw, .. } = request.start else { return 0 };
        self.server_ids += 1;
        let id = self.server_ids;
        server_key(&mut self.scratch, request, method_raw);
        let key: Arc<[u8]> = self.scratch.as_slice().into();
        let mut merged = None;
        let machine = if method == Method::Invite {
            if request.to_tag.is_none() {
                let key: Arc<[u8]> = merge_key(request).into();
                self.merges.insert(Arc::clone(&key), id);
                merged = Some(key);
            }
            ServerMachine::Invite(ServerInvite::start(self.config.resend.clone()))
        } else {
            ServerMachine::Other(Server::start())
        };
        let copied = Copied::new(self.buffer(), request, source);
        let reply_to = reply_address(request, source);
        let response = self.buffer();
        let summary = MessageSummary::response(100, method, None);
        leg.transactions += 1;
        self.server_keys.insert(Arc::clone(&key), id);
        self.servers.insert(
            id,
            ServerTransaction {
                machine,
                leg: leg.id,
                listener,
                reply_to,
                copied,
                response,
                summary,
                key,
                merge_key: merged,
                timers: Timers::default(),
                armed: None,
            },
        );
        id
    }

    /// 100 to an INVITE, before any other work (spec signalling.md 4).
    pub(crate) fn send_trying(&mut self, id: u64) {
        let Some(transaction) = self.servers.get_mut(&id) else { return };
        compose::response(&mut transaction.response, &transaction.copied, 100, None, "", &Extra::default());
        let (listener, to) = (transaction.listener, transaction.reply_to);
        let (leg, summary) = (transaction.leg, transaction.summary);
        let mut bytes = self.buffers.pop().unwrap_or_default();
        bytes.extend_from_slice(&transaction.response);
        self.outputs.push_back(Output::Send { listener, to, bytes, leg: Some(leg), summary });
    }

    /// Answers a kept request. For a 2xx to INVITE the bytes stay in the transaction and [`Self::answer_bytes`] copies
    /// them. False when a final response left before.
    pub(crate) fn respond(&mut self, now: Time, id: u64, status: u16, tag: &str, extra: &Extra<'_>) -> bool {
        let Some(transaction) = self.servers.get_mut(&id) else { return false };
        let allowed = match &mut transaction.machine {
            ServerMachine::Invite(machine) => machine.send(now, status, &mut transaction.timers),
            ServerMachine::Other(machine) => machine.send(now, &mut transaction.timers),
        };
        if !allowed {
            return false;
        }
        let server = &self.config.user_agent;
        compose::response(&mut transaction.response, &transaction.copied, status, Some(tag), server, extra);
        transaction.summary = MessageSummary::response(status, transaction.summary.cseq_method, extra.sdp);
        let old = if status >= 200 { std::mem::take(&mut transaction.copied).into_buffer() } else { Vec::new() };
        let (listener, to, leg, summary) =
            (transaction.listener, transaction.reply_to, transaction.leg, transaction.summary);
        let mut bytes = self.buffers.pop().unwrap_or_default();
        bytes.extend_from_slice(&transaction.response);
        self.outputs.push_back(Output::Send { listener, to, bytes, leg: Some(leg), summary });
        self.recycle(old);
        self.rearm_server(id);
        true
    }

    /// The last response of a server transaction and where it goes.
    pub(crate) fn answer_bytes(&mut self, id: u64) -> Option<(Vec<u8>, SocketAddr, MessageSummary)> {
        let transaction = self.servers.get_mut(&id)?;
        // In Accepted the transaction itself sends nothing any more.
        Some((std::mem::take(&mut transaction.response), transaction.reply_to, transaction.summary))
    }

    /// A request came again.
    pub(crate) fn server_retransmission(&mut self, id: u64) -> Option<LegId> {
        let transaction = self.servers.get(&id)?;
        let resend = match &transaction.machine {
            ServerMachine::Invite(machine) => machine.handle_retransmission() == server_invite::Action::Resend,
            ServerMachine::Other(machine) => machine.handle_retransmission() == server::Action::Resend,
        };
        let leg = transaction.leg;
        if resend {
            self.resend_response(id);
        }
        Some(leg)
    }

    /// An ACK matched the INVITE transaction `id`; true when it acknowledges a 2xx and belongs to the dialog.
    pub(crate) fn server_ack(&mut self, now: Time, id: u64) -> bool {
        let Some(transaction) = self.servers.get_mut(&id) else { return false };
        let ServerMachine::Invite(machine) = &mut transaction.machine else { return false };
        let pass = machine.handle_ack(now, &mut transaction.timers) == server_invite::Action::Pass;
        self.rearm_server(id);
        pass
    }

    /// Serves the due timers of a server transaction; `Some` with its leg when it is gone.
    pub(crate) fn server_timeout(&mut self, now: Time, id: u64) -> Option<LegId> {
        let transaction = self.servers.get_mut(&id)?;
        transaction.armed = None;
        let mut resends = 0;
        let mut gone = false;
        while let Some((timer, at)) = transaction.timers.pop(now) {
            match &mut transaction.machine {
                ServerMachine::Invite(machine) => match machine.handle_timer(timer, at, now, &mut transaction.timers) {
                    server_invite::Action::Resend => resends += 1,
                    server_invite::Action::Forget => gone = true,
                    server_invite::Action::Nothing | server_invite::Action::Pass => {}
                },
                ServerMachine::Other(machine) => gone |= machine.handle_timer(timer) == server::Action::Forget,
            }
        }
        for _ in 0..resends {
            self.resend_response(id);
        }
        if !gone {
            self.rearm_server(id);
            return None;
        }
        let transaction = self.servers.remove(&id)?;
        self.server_keys.remove(&transaction.key);
        if let Some(key) = transaction.merge_key.filter(|key| self.merges.get(key) == Some(&id)) {
            self.merges.remove(&key);
        }
        self.recycle(transaction.response);
        self.recycle(transaction.copied.into_buffer());
        Some(transaction.leg)
    }

    fn resend_response(&mut self, id: u64) {
        let Some(transaction) = self.servers.get(&id).filter(|t| !t.response.is_empty()) else { return };
        let mut bytes = self.buffers.pop().unwrap_or_default();
        bytes.extend_from_slice(&transaction.response);
        self.outputs.push_back(Output::Send {
            listener: transaction.listener,
            to: transaction.reply_to,
            bytes,
            leg: Some(transaction.leg),
            summary: transaction.summary.again(),
        });
    }

    fn rearm_server(&mut self, id: u64) {
        if let Some(transaction) = self.servers.get_mut(&id) {
            let next = transaction.timers.next();
            if transaction.armed.map(|(at, _)| at) != next {
                if let Some((_, key)) = transaction.armed.take() {
                    self.wheel.cancel(key);
                }
                transaction.armed = next.map(|at| (at, self.wheel.insert(at, Due::Server(id))));
            }
        }
    }
}
