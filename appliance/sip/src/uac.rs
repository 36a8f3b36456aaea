//! The calling side of an INVITE: b-legs (RFC 3261 13.2, 9.1).

use tandem_leg::{Connect, Fail, FailCause, LegEvent, LegId, Reason, Ring, Time, Transport, Try};

use crate::compose::{Request, sdp_part};
use crate::dialog::Dialog;
use crate::endpoint::{Endpoint, OrderError};
use crate::leg::{Ack, Leg, Phase};
use crate::message::Message;
use crate::method::Method;
use crate::relay::{
    self, host_of, name_addr, passed_headers, reason_of, redirect_of, sip_uri, software, with_identity,
};
use crate::summary::MessageSummary;
use crate::transactions::{Purpose, Verdict};
use crate::uas::contact;
use tandem_leg::text::push_number;

/// Requests of ours inside a dialog start afresh (RFC 3261 8.1.1.6).
pub(crate) const MAX_FORWARDS: u8 = relay::MAX_FORWARDS_DEFAULT;

/// ACKs kept of one leg. Forking proxies in carrier networks reach a handful; a far side that invents To tags without end
/// is no longer answered.
const ACKS_MAX: usize = 16;

impl Endpoint {
    /// `Try`: INVITE with a Call-ID, tags and addresses of this leg alone.
    pub(crate) fn start_outgoing(&mut self, now: Time, id: LegId, order: Try) -> Result<(), OrderError> {
        if id.is_incoming() || self.legs.contains_key(&id) {
            return Err(OrderError::LegNumber);
        }
        let own = self.listener_address(order.listener).ok_or(OrderError::UnknownListener)?;
        if own.is_ipv4() != order.remote.is_ipv4() || order.transport != Transport::Udp {
            return Err(OrderError::AddressFamily);
        }
        if self.is_full() {
            return Err(OrderError::Full);
        }
        let call_id = self.mint.call_id();
        let local_key = self.mint.key();
        let local_tag = self.mint.tag(local_key);
        let own_host = host_of(own.ip());
        let remote_host = host_of(order.remote.ip());
        let mut uri = sip_uri(&order.dialled, &remote_host).into_bytes();
        uri.push(b':');
        push_number(&mut uri, order.remote.port().into());
        let mut callee = order.callee;
        if callee.user.is_empty() {
            callee.user = order.dialled;
        }
        let local = [&name_addr(&order.caller, &own_host), ";tag=", &local_tag].concat().into_bytes();
        let dialog = Dialog {
            call_id: call_id.clone().into_bytes(),
            local_tag,
            local_key,
            remote_tag: None,
            local,
            remote: name_addr(&callee, &remote_host).into_bytes(),
            local_seq: 1,
            remote_seq: None,
            route_set: Vec::new(),
            target: uri,
            contact: contact(&order.caller.user, own),
            listener: order.listener,
            peer: order.remote,
            incoming: false,
        };
        let headers = with_identity(order.headers, &order.identity, &own_host);
        let mut leg = Leg::new(id, Phase::Outgoing, dialog, 1, order.sdp.is_some());
        let request = Request {
            method: Method::Invite,
            uri: &leg.dialog.target,
            sent_by: own,
            branch: "",
            routes: &[],
            from: &leg.dialog.local,
            to: &leg.dialog.remote,
            call_id: &leg.dialog.call_id,
            cseq: 1,
            max_forwards: order.max_forwards,
            contact: Some(&leg.dialog.contact),
            user_agent: "",
            hop: order.hop.as_deref(),
            reason: None,
            headers: &headers,
            body: sdp_part(order.sdp.as_deref()),
        };
        leg.invite = self.start_client(now, (id, order.listener), Purpose::Call, order.remote, &request);
        leg.transactions += 1;
        self.dialogs.insert(local_key, id);
        self.news(&leg, LegEvent::Sent { call_id });
        self.put_back(leg);
        Ok(())
    }

    /// A response to the INVITE of a b-leg.
    pub(crate) fn uac_response(&mut self, now: Time, leg: &mut Leg, response: &Message<'_>, status: u16) {
        match status {
            100..=199 => self.uac_provisional(now, leg, response, status),
            200..=299 => self.uac_accepted(now, leg, response),
            300..=399 => {
                leg.phase = Phase::Ended;
                self.last_news(leg, LegEvent::Redirect(redirect_of(status, response)));
            }
            _ => {
                leg.phase = Phase::Ended;
                let fail = Fail {
                    status,
                    cause: FailCause::Response,
                    reason: reason_of(response),
                    retry_after_s: response.retry_after().map(|r| r.seconds),
                };
                self.last_news(leg, LegEvent::Fail(fail));
            }
        }
    }

    fn uac_provisional(&mut self, now: Time, leg: &mut Leg, response: &Message<'_>, status: u16) {
        if status == 100 {
            if !leg.proceeding {
                self.news(leg, LegEvent::Proceeding);
            }
        } else {
            if leg.dialog.remote_tag.is_none() && response.to_tag.is_some() {
                // The first early dialog; only a 2xx makes the choice (RFC 3261 13.2.2.4).
                leg.dialog.adopt_response(response);
            }
            leg.allows_update |= response.allows(Method::Update);
            let ring = Ring { status, sdp: relay::sdp(response), headers: passed_headers(response) };
            self.news(leg, LegEvent::Ring(ring));
        }
        leg.proceeding = true;
        if let Some(reason) = leg.give_up.clone() {
            self.send_cancel(now, leg, &reason);
        }
    }

    /// CANCEL, once, and only after a provisional response (RFC 3261 9.1).
    fn send_cancel(&mut self, now: Time, leg: &mut Leg, reason: &Reason) {
        if !leg.cancel_sent {
            leg.cancel_sent = true;
            self.cancel_client(now, leg, leg.invite, reason);
        }
    }

    /// The call room gives an unanswered b-leg up: CANCEL now, or as soon as a provisional response allows it.
    pub(crate) fn give_up(&mut self, now: Time, leg: &mut Leg, reason: Reason) {
        if self.is_proceeding(leg.invite) {
            self.send_cancel(now, leg, &reason);
        } else {
            self.stop_resending(leg.invite);
        }
        leg.give_up = Some(reason);
    }

    fn uac_accepted(&mut self, now: Time, leg: &mut Leg, response: &Message<'_>) {
        let tag = response.to_tag.unwrap_or(b"");
        if leg.phase != Phase::Outgoing {
            if leg.dialog.remote_tag.as_deref() == Some(tag) {
                self.repeat_ack(leg, leg.invite_cseq, tag);
            } else {
                self.refuse_fork(now, leg, response, tag);
            }
            return;
        }
        leg.dialog.adopt_response(response);
        leg.allows_update = response.allows(Method::Update);
        if let Some(reason) = leg.give_up.take() {
            // It answered before our CANCEL reached it.
            self.send_ack(leg, leg.invite_cseq, None);
            self.send_bye(now, leg, &reason);
            return;
        }
        let connect =
            Connect { sdp: relay::sdp(response), headers: passed_headers(response), user_agent: software(response) };
        if leg.offered {
            self.send_ack(leg, leg.invite_cseq, None);
            leg.phase = Phase::Established;
        } else {
            leg.phase = Phase::Unconfirmed;
        }
        self.news(leg, LegEvent::Connect(connect));
    }

    /// Another fork answered too: "the first 2xx wins, later 2xx are ACKed and BYEd" (spec signalling.md 1).
    fn refuse_fork(&mut self, now: Time, leg: &mut Leg, response: &Message<'_>, tag: &[u8]) {
        if self.repeat_ack(leg, leg.invite_cseq, tag) || leg.acks.len() >= ACKS_MAX {
            return;
        }
        let mut fork = Dialog {
            call_id: leg.dialog.call_id.clone(),
            local_tag: leg.dialog.local_tag.clone(),
            local_key: leg.dialog.local_key,
            remote_tag: None,
            local: leg.dialog.local.clone(),
            remote: leg.dialog.remote.clone(),
            local_seq: leg.invite_cseq,
            remote_seq: None,
            route_set: Vec::new(),
            target: leg.dialog.target.clone(),
            contact: String::new(),
            listener: leg.dialog.listener,
            peer: leg.dialog.peer,
            incoming: false,
        };
        fork.adopt_response(response);
        std::mem::swap(&mut leg.dialog, &mut fork);
        self.send_ack(leg, leg.invite_cseq, None);
        let cseq = leg.dialog.next_seq();
        let reason = Reason { sip: Some(200), q850: None, text: Some("Call answered elsewhere".to_owned()) };
        self.request(now, leg, Purpose::Nothing, Method::Bye, cseq, Some(&reason), None);
        std::mem::swap(&mut leg.dialog, &mut fork);
    }

    /// Nothing came back for the INVITE of a b-leg.
    pub(crate) fn uac_no_response(&mut self, leg: &mut Leg, verdict: Verdict) {
        leg.phase = Phase::Ended;
        let (status, cause) = match verdict {
            Verdict::TransportError => (503, FailCause::Transport),
            Verdict::Timeout | Verdict::Pass => (408, FailCause::Timeout),
        };
        self.last_news(leg, LegEvent::Fail(Fail { cause, ..Fail::status(status) }));
    }

    /// ACK to a 2xx: a request of its own, outside every transaction, kept for the case that the 2xx comes again.
    pub(crate) fn send_ack(&mut self, leg: &mut Leg, cseq: u32, sdp: Option<&[u8]>) {
        let Some(own) = self.listener_address(leg.dialog.listener) else { return };
        let route = leg.dialog.route();
        let key = self.mint.key();
        let branch = self.mint.branch(key);
        let request = Request {
            method: Method::Ack,
            uri: &route.uri,
            sent_by: own,
            branch: &branch,
            routes: &route.routes,
            from: &leg.dialog.local,
            to: &leg.dialog.remote,
            call_id: &leg.dialog.call_id,
            cseq,
            max_forwards: MAX_FORWARDS,
            contact: None,
            user_agent: &self.config.user_agent,
            hop: None,
            reason: None,
            headers: &[],
            body: sdp_part(sdp),
        };
        let mut bytes = Vec::new();
        request.write(&mut bytes);
        let summary = MessageSummary::request(Method::Ack, sdp);
        self.send(leg.dialog.listener, route.to, &bytes, leg.id, summary);
        let remote_tag = leg.dialog.remote_tag.clone().unwrap_or_default();
        leg.acks.push(Ack { cseq, remote_tag, to: route.to, bytes, summary });
    }

    /// A 2xx came again: so does its ACK. False when none was sent for it.
    pub(crate) fn repeat_ack(&mut self, leg: &Leg, cseq: u32, tag: &[u8]) -> bool {
        let Some(ack) = leg.acks.iter().find(|ack| ack.cseq == cseq && ack.remote_tag == tag) else { return false };
        self.send(leg.dialog.listener, ack.to, &ack.bytes, leg.id, ack.summary.again());
        true
    }
}
