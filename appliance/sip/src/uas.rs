//! The called side of an INVITE: a-legs (RFC 3261 13.3, 8.2).

use crate::Output;
use std::net::SocketAddr;

use tandem_leg::{
    Confirm, Connect, Disconnect, DisconnectCause, Fail, LegEvent, LegId, ListenerId, Reason, Redirect, Ring, Time,
    q850,
};

use crate::compose::Extra;
use crate::dialog::{Dialog, target_of};
use crate::endpoint::{Due, Endpoint, OrderError};
use crate::header::{ContentType, HeaderId};
use crate::leg::{Answer, Leg, LegTimer, OursState, Phase, answer_resend_at};
use crate::message::{Message, unfold};
use crate::method::Method;
use crate::relay::{self, body_unreadable, push_sip_uri, reason_of, required, sip_uri, try_of};
use crate::summary::Outcome;
use crate::uri::{Scheme, Uri};
use tandem_leg::text::{into_string, push_number};

/// Whether the caller takes a session description back, which is all that we answer with. No Accept at all means yes
/// (RFC 3261 20.1), an empty one no; parameters do not matter.
fn accepts_sdp(request: &Message<'_>) -> bool {
    !request.has(HeaderId::Accept)
        || request.all(HeaderId::Accept).any(|range| {
            let range = range.split(|byte| *byte == b';').next().unwrap_or(b"");
            ContentType::parse(range)
                .is_some_and(|kind| kind.is("*", "*") || kind.is("application", "*") || kind.is("application", "sdp"))
        })
}

impl Endpoint {
    /// An INVITE outside any dialog. Checks in the order of RFC 3261 8.2; what is refused here leaves no state.
    pub(crate) fn handle_invite(
        &mut self,
        listener: ListenerId,
        source: SocketAddr,
        request: &Message<'_>,
    ) -> (Option<LegId>, Outcome) {
        let Some(own) = self.listener_address(listener) else { return (None, Outcome::Stray) };
        if self.is_full() {
            return self.refuse_at_limit(listener, source, request);
        }
        if self.config.refuse_unknown && !self.is_known(source) {
            return self.refuse_stranger(listener, source, request);
        }
        let uri = match Uri::parse(request.request_uri().unwrap_or(b"")) {
            Ok(uri) if uri.scheme != Scheme::Other => uri,
            Ok(_) => return self.refuse(listener, source, request, 416, &Extra::default()),
            Err(_) => return self.refuse(listener, source, request, 400, &Extra::default()),
        };
        if self.is_merged(request) {
            return self.refuse(listener, source, request, 482, &Extra::default());
        }
        let required = required(request);
        if !required.is_empty() {
            // No extension is built yet, 100rel and replaces included.
            let extra = Extra { unsupported: &required, ..Extra::default() };
            return self.refuse(listener, source, request, 420, &extra);
        }
        if request.max_forwards() == Some(0) {
            return self.refuse(listener, source, request, 483, &Extra::default());
        }
        if body_unreadable(request) {
            return self.refuse(listener, source, request, 415, &Extra { accept: true, ..Extra::default() });
        }
        if !accepts_sdp(request) {
            return self.refuse(listener, source, request, 406, &Extra { accept: true, ..Extra::default() });
        }
        let id = LegId::incoming(self.legs_in);
        self.legs_in += 1;
        let offered = crate::message::sdp_body(request).is_some();
        let event = try_of(request, source, listener, &uri);
        let user = relay::text(uri.user.unwrap_or(b""));
        let dialog = self.dialog_of_invite(request, listener, source, own, &user);
        let mut leg = Leg::new(id, Phase::Incoming, dialog, request.cseq.number, offered);
        leg.allows_update = request.allows(Method::Update);
        leg.invite = self.start_server(&mut leg, listener, source, request);
        self.send_trying(leg.invite);
        self.dialogs.insert(leg.dialog.local_key, id);
        self.news(&leg, event);
        self.put_back(leg);
        (Some(id), Outcome::Request)
    }

    /// 403 without a transaction. The call room still hears of the attempt, for its record of illegal calls.
    fn refuse_stranger(
        &mut self,
        listener: ListenerId,
        source: SocketAddr,
        request: &Message<'_>,
    ) -> (Option<LegId>, Outcome) {
        if let Ok(uri) = Uri::parse(request.request_uri().unwrap_or(b"")) {
            let leg = LegId::incoming(self.legs_in);
            self.legs_in += 1;
            let event = try_of(request, source, listener, &uri);
            self.outputs.push_back(Output::Event { leg, event });
            self.outputs.push_back(Output::Forgotten { leg });
        }
        self.refuse(listener, source, request, 403, &Extra::default())
    }

    fn dialog_of_invite(
        &mut self,
        request: &Message<'_>,
        listener: ListenerId,
        source: SocketAddr,
        own: SocketAddr,
        user: &str,
    ) -> Dialog {
        let local_key = self.mint.key();
        let local_tag = self.mint.tag(local_key);
        let mut local = unfold(request.header(HeaderId::To).unwrap_or(b"")).into_owned();
        local.extend_from_slice(b";tag=");
        local.extend_from_slice(local_tag.as_bytes());
        Dialog {
            call_id: request.call_id.to_vec(),
            local_tag,
            local_key,
            remote_tag: Some(request.from_tag.unwrap_or(b"").to_vec()),
            local,
            remote: unfold(request.header(HeaderId::From).unwrap_or(b"")).into_owned(),
            local_seq: 0,
            remote_seq: Some(request.cseq.number),
            route_set: crate::dialog::record_routes(request),
            target: target_of(request).unwrap_or_else(|| Dialog::uri_of(source)),
            contact: contact(user, own),
            listener,
            peer: source,
            incoming: true,
        }
    }

    pub(crate) fn order_ring(&mut self, now: Time, leg: &mut Leg, ring: &Ring) -> Result<(), OrderError> {
        if leg.phase != Phase::Incoming || !(101..=199).contains(&ring.status) {
            return Err(OrderError::State);
        }
        let extra = Extra {
            contact: Some(&leg.dialog.contact),
            headers: &ring.headers,
            sdp: ring.sdp.as_deref(),
            ..Extra::default()
        };
        self.respond(now, leg.invite, ring.status, &leg.dialog.local_tag, &extra);
        Ok(())
    }

    pub(crate) fn order_connect(&mut self, now: Time, leg: &mut Leg, connect: &Connect) -> Result<(), OrderError> {
        if leg.phase != Phase::Incoming {
            return Err(OrderError::State);
        }
        let extra = Extra {
            contact: Some(&leg.dialog.contact),
            headers: &connect.headers,
            sdp: connect.sdp.as_deref(),
            ..Extra::default()
        };
        self.respond(now, leg.invite, 200, &leg.dialog.local_tag, &extra);
        leg.phase = Phase::Answered;
        self.start_answer(now, leg, leg.invite, leg.invite_cseq, !leg.offered);
        Ok(())
    }

    pub(crate) fn order_fail(&mut self, now: Time, leg: &mut Leg, fail: &Fail) -> Result<(), OrderError> {
        if leg.phase != Phase::Incoming || !(300..=699).contains(&fail.status) {
            return Err(OrderError::State);
        }
        let extra = Extra { reason: Some(&fail.reason), retry_after_s: fail.retry_after_s, ..Extra::default() };
        self.reject(now, leg, fail.status, &extra);
        Ok(())
    }

    pub(crate) fn order_redirect(&mut self, now: Time, leg: &mut Leg, redirect: &Redirect) -> Result<(), OrderError> {
        if leg.phase != Phase::Incoming || !(300..=399).contains(&redirect.status) {
            return Err(OrderError::State);
        }
        let contacts: Vec<String> = redirect
            .contacts
            .iter()
            .map(|target| {
                let uri = sip_uri(&target.user, &target.host);
                target.port.map_or_else(|| format!("<{uri}>"), |port| format!("<{uri}:{port}>"))
            })
            .collect();
        self.reject(now, leg, redirect.status, &Extra { redirect: &contacts, ..Extra::default() });
        Ok(())
    }

    /// Ends an unanswered a-leg with a final response.
    fn reject(&mut self, now: Time, leg: &mut Leg, status: u16, extra: &Extra<'_>) {
        self.respond(now, leg.invite, status, &leg.dialog.local_tag, extra);
        leg.phase = Phase::Ended;
        leg.muted = true;
    }

    /// The call room ends an a-leg that it did not answer: the status is read from the reason.
    pub(crate) fn reject_for(&mut self, now: Time, leg: &mut Leg, reason: &Reason) {
        let status = match (reason.sip, reason.q850) {
            (Some(status @ 300..=699), _) => status,
            (_, Some(cause)) => q850::to_sip(cause),
            (_, None) => 480,
        };
        self.reject(now, leg, status, &Extra { reason: Some(reason), ..Extra::default() });
    }

    /// CANCEL for the first INVITE; without effect once a final response left (RFC 3261 9.2).
    pub(crate) fn uas_cancelled(&mut self, now: Time, leg: &mut Leg, request: &Message<'_>) {
        if leg.phase != Phase::Incoming {
            return;
        }
        self.respond(now, leg.invite, 487, &leg.dialog.local_tag, &Extra::default());
        leg.phase = Phase::Ended;
        let reason = reason_of(request);
        self.last_news(leg, LegEvent::Disconnect(Disconnect { cause: DisconnectCause::Cancel, reason }));
    }

    /// A 2xx of ours left: it is repeated until its ACK comes (RFC 3261 13.3.1.4).
    pub(crate) fn start_answer(&mut self, now: Time, leg: &mut Leg, transaction: u64, cseq: u32, offers: bool) {
        let Some((bytes, to, summary)) = self.answer_bytes(transaction) else { return };
        let schedule = self.config.resend.clone();
        let resend_at = schedule.wait_ms(0).map(|wait| now.plus_millis(wait.into()));
        let resend = resend_at.map(|at| self.wheel.insert(at, Due::Leg(leg.id, LegTimer::AnswerResend)));
        let fail_at = now.plus_millis(schedule.life_ms());
        let give_up = self.wheel.insert(fail_at, Due::Leg(leg.id, LegTimer::AnswerGiveUp));
        leg.answer = Some(Answer { bytes, summary, to, cseq, offers, schedule, resent: 0, resend, give_up });
    }

    /// An ACK inside a dialog. False when it was seen before or acknowledges nothing.
    pub(crate) fn dialog_ack(&mut self, now: Time, leg: &mut Leg, request: &Message<'_>) -> bool {
        if leg.answer.as_ref().is_none_or(|answer| answer.cseq != request.cseq.number) {
            return false;
        }
        let offers = leg.answer.as_ref().is_some_and(|answer| answer.offers);
        self.drop_answer(leg);
        if leg.phase == Phase::Answered {
            leg.phase = Phase::Established;
        }
        let sdp = if offers { relay::sdp(request) } else { None };
        self.news(leg, LegEvent::Confirm(Confirm { sdp }));
        if let Some(reason) = leg.hang_up.take() {
            self.send_bye(now, leg, &reason);
        } else if leg.ours.as_ref().is_some_and(|ours| ours.state == OursState::Queued) {
            if leg.theirs.is_some() {
                self.back_off(now, leg);
            } else {
                self.start_change(now, leg);
            }
        }
        true
    }

    /// Forgets a 2xx that waited for its ACK.
    pub(crate) fn drop_answer(&mut self, leg: &mut Leg) {
        if let Some(answer) = leg.answer.take() {
            self.wheel.cancel(answer.give_up);
            if let Some(key) = answer.resend {
                self.wheel.cancel(key);
            }
            self.recycle(answer.bytes);
        }
    }

    pub(crate) fn answer_resend(&mut self, now: Time, at: Time, leg: &mut Leg) {
        let Some(answer) = leg.answer.as_mut() else { return };
        answer.resent += 1;
        let next = answer_resend_at(answer, at, now);
        answer.resend = next.map(|at| self.wheel.insert(at, Due::Leg(leg.id, LegTimer::AnswerResend)));
        let Some(answer) = leg.answer.as_ref() else { return };
        self.send(leg.dialog.listener, answer.to, &answer.bytes, leg.id, answer.summary.again());
    }

    /// No ACK within 64*T1: "the session SHOULD be terminated ... by sending a BYE" (RFC 3261 13.3.1.4).
    pub(crate) fn answer_give_up(&mut self, now: Time, leg: &mut Leg) {
        self.drop_answer(leg);
        if !leg.is_up() {
            return;
        }
        let timeout = Reason { sip: Some(408), q850: Some(102), text: Some("Session Timeout".to_owned()) };
        let reason = leg.hang_up.take().unwrap_or(timeout);
        let event = Disconnect { cause: DisconnectCause::NoAck, reason: reason.clone() };
        self.last_news(leg, LegEvent::Disconnect(event));
        self.send_bye(now, leg, &reason);
    }
}

/// Our Contact on one leg: nothing but our own address (spec signalling.md 1).
pub(crate) fn contact(user: &str, own: SocketAddr) -> String {
    let user = user.split(';').next().unwrap_or("");
    let mut out = Vec::with_capacity(user.len() + 32);
    out.push(b'<');
    push_sip_uri(&mut out, user, own.ip());
    out.push(b':');
    push_number(&mut out, own.port().into());
    out.push(b'>');
    into_string(out)
}
