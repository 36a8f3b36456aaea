//! Inside a dialog: BYE, re-INVITE, UPDATE and their collisions, INFO, OPTIONS (RFC 3261 12.2, 14, 15, RFC 3311).

use std::net::SocketAddr;

use tandem_leg::{
    Disconnect, DisconnectCause, Fail, Info, LegEvent, ListenerId, Reason, Time, Update, UpdateFailed, UpdateMethod,
    Updated,
};

use crate::compose::{Extra, Request, sdp_part};
use crate::dialog::target_of;
use crate::endpoint::{Due, Endpoint, OrderError};
use crate::header::HeaderId;
use crate::leg::{Leg, LegTimer, Ours, OursState, Phase, Theirs};
use crate::message::{Message, sdp_body};
use crate::method::Method;
use crate::relay::{self, body_unreadable, reason_of, required};
use crate::summary::Outcome;
use crate::transactions::{Purpose, Verdict};
use crate::uac::MAX_FORWARDS;

/// Times a change answered 491 is sent again (spec signalling.md 9).
const GLARE_RETRIES_MAX: u8 = 3;
/// Step of the wait before that, milliseconds (RFC 3261 14.1).
const GLARE_STEP_MS: u64 = 10;
/// Wait where we made the Call-ID (b-legs), steps: 2.1-4.0 s.
const GLARE_OWNER_STEPS: (u64, u64) = (210, 400);
/// Wait where they made it (a-legs), steps: 0-2.0 s.
const GLARE_OTHER_STEPS: (u64, u64) = (0, 200);
/// Largest Retry-After of a request that came too early, seconds (RFC 3261 14.2: "between 0 and 10").
const RETRY_AFTER_MAX_S: u64 = 10;
/// Longest wait for the final response to a re-INVITE after a provisional one, seconds. A person may be asked; the value
/// is that of timer C (RFC 3261 16.6), past which nobody still holds the transaction.
const CHANGE_PROCEEDING_S: u64 = 181;

/// What a request to change the session meets.
enum Door {
    Open,
    /// 491: ours is under way.
    Glare,
    /// 500 with Retry-After: theirs is.
    Busy,
}

impl Endpoint {
    /// Sends a request inside the dialog of `leg`; returns its transaction.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn request(
        &mut self,
        now: Time,
        leg: &mut Leg,
        purpose: Purpose,
        method: Method,
        cseq: u32,
        reason: Option<&Reason>,
        body: Option<(&str, &[u8])>,
    ) -> u64 {
        let Some(own) = self.listener_address(leg.dialog.listener) else { return 0 };
        let route = leg.dialog.route();
        let refreshes = matches!(method, Method::Invite | Method::Update);
        let request = Request {
            method,
            uri: &route.uri,
            sent_by: own,
            branch: "",
            routes: &route.routes,
            from: &leg.dialog.local,
            to: &leg.dialog.remote,
            call_id: &leg.dialog.call_id,
            cseq,
            max_forwards: MAX_FORWARDS,
            contact: refreshes.then_some(leg.dialog.contact.as_str()),
            user_agent: "",
            hop: None,
            reason,
            headers: &[],
            body,
        };
        let id = self.start_client(now, (leg.id, leg.dialog.listener), purpose, route.to, &request);
        leg.transactions += 1;
        id
    }

    // --- the end -------------------------------------------------------------------------------------------------

    /// The call room ends the leg. What the far side hears depends on how far the call is (RFC 3261 15).
    pub(crate) fn order_disconnect(&mut self, now: Time, leg: &mut Leg, reason: Reason) {
        leg.muted = true;
        match leg.phase {
            Phase::Incoming => self.reject_for(now, leg, &reason),
            Phase::Outgoing => self.give_up(now, leg, reason),
            Phase::Answered => {
                // "The callee's UA MUST NOT send a BYE on a confirmed dialog until it has received an ACK for its 2xx
                // response or until the server transaction times out" (RFC 3261 15).
                self.refuse_theirs(now, leg, 487);
                leg.ours = None;
                leg.hang_up = Some(reason);
            }
            Phase::Unconfirmed | Phase::Established => self.send_bye(now, leg, &reason),
            Phase::Ending | Phase::Ended => {}
        }
    }

    /// BYE; the leg is gone when it was answered, or when nobody answers.
    pub(crate) fn send_bye(&mut self, now: Time, leg: &mut Leg, reason: &Reason) {
        self.close_changes(now, leg);
        if leg.phase == Phase::Unconfirmed {
            // "MUST generate an ACK request for each 2xx" (RFC 3261 13.2.2.4), also when the answer never came.
            self.send_ack(leg, leg.invite_cseq, None);
        }
        leg.phase = Phase::Ending;
        let cseq = leg.dialog.next_seq();
        if self.request(now, leg, Purpose::Bye, Method::Bye, cseq, Some(reason), None) == 0 {
            leg.phase = Phase::Ended;
        }
    }

    /// Our BYE was answered, or never will be.
    pub(crate) fn bye_over(&mut self, leg: &mut Leg, over: bool) {
        if over {
            leg.phase = Phase::Ended;
        }
    }

    /// The dialog is gone without a word: 481 or silence (RFC 3261 12.2.1.2: "the UAC SHOULD terminate the dialog").
    fn lost(&mut self, now: Time, leg: &mut Leg, status: u16) {
        let reason = Reason { sip: Some(status), q850: None, text: None };
        let event = Disconnect { cause: DisconnectCause::Lost, reason: reason.clone() };
        self.last_news(leg, LegEvent::Disconnect(event));
        self.send_bye(now, leg, &reason);
    }

    /// Ends every open change of a session that ends.
    fn close_changes(&mut self, now: Time, leg: &mut Leg) {
        self.refuse_theirs(now, leg, 487);
        self.drop_answer(leg);
        if let Some(ours) = leg.ours.take() {
            match ours.state {
                OursState::Queued => {}
                OursState::InFlight { transaction } => self.expect_final(now, transaction),
                OursState::Backoff { timer } => {
                    self.wheel.cancel(timer);
                }
                OursState::Unconfirmed { cseq } => self.send_ack(leg, cseq, None),
            }
        }
    }

    fn refuse_theirs(&mut self, now: Time, leg: &mut Leg, status: u16) {
        if let Some(theirs) = leg.theirs.take() {
            self.respond(now, theirs.transaction, status, &leg.dialog.local_tag, &Extra::default());
        }
    }

    /// Stops the timers of a leg that ended.
    pub(crate) fn drop_leg_timers(&mut self, leg: &mut Leg) {
        self.drop_answer(leg);
        if let Some(Ours { state: OursState::Backoff { timer }, .. }) = leg.ours.take() {
            self.wheel.cancel(timer);
        }
    }

    pub(crate) fn leg_timeout(&mut self, now: Time, at: Time, leg: &mut Leg, timer: LegTimer) {
        match timer {
            LegTimer::AnswerResend => self.answer_resend(now, at, leg),
            LegTimer::AnswerGiveUp => self.answer_give_up(now, leg),
            LegTimer::Glare => {
                if leg.theirs.is_some() || leg.answer.is_some() {
                    self.back_off(now, leg);
                } else {
                    self.start_change(now, leg);
                }
            }
        }
    }

    // --- requests of theirs --------------------------------------------------------------------------------------

    /// A request that matched the dialog of `leg`.
    pub(crate) fn dialog_request(
        &mut self,
        now: Time,
        leg: &mut Leg,
        listener: ListenerId,
        source: SocketAddr,
        request: &Message<'_>,
        method: Method,
    ) -> Outcome {
        // "If the remote sequence number is not empty, but the sequence number of the request is lower than the remote
        // sequence number, the request is out of order and MUST be rejected with a 500" (RFC 3261 12.2.2).
        if leg.dialog.remote_seq.is_some_and(|seq| request.cseq.number <= seq) {
            return self.refuse(listener, source, request, 500, &Extra::default()).1;
        }
        if self.clients.len() + self.servers.len() >= self.config.limits.transactions_max && method != Method::Bye {
            return self.refuse_at_limit(listener, source, request).1;
        }
        leg.dialog.remote_seq = Some(request.cseq.number);
        let id = self.start_server(leg, listener, source, request);
        let required = required(request);
        let (status, extra) = match method {
            Method::Bye => {
                self.answer(now, leg, id, 200, &Extra::default());
                self.their_bye(now, leg, request);
                return Outcome::Request;
            }
            _ if leg.phase == Phase::Ending => (481, Extra::default()),
            _ if !required.is_empty() => (420, Extra { unsupported: &required, ..Extra::default() }),
            Method::Invite | Method::Update if body_unreadable(request) => {
                (415, Extra { accept: true, ..Extra::default() })
            }
            Method::Invite => match door(leg, true) {
                Door::Open => {
                    self.send_trying(id);
                    self.take_theirs(leg, id, UpdateMethod::Invite, request);
                    return Outcome::Request;
                }
                Door::Glare => (491, Extra::default()),
                Door::Busy => (500, self.retry_later()),
            },
            Method::Update => match (door(leg, false), sdp_body(request).is_some()) {
                // A pure refresh asks nothing of the other leg.
                (_, false) if leg.theirs.as_ref().is_none_or(|t| t.method != UpdateMethod::Update) => {
                    leg.dialog.refresh_target(request);
                    self.accept(now, leg, id, None);
                    return Outcome::Request;
                }
                (Door::Open, _) => {
                    self.take_theirs(leg, id, UpdateMethod::Update, request);
                    return Outcome::Request;
                }
                (Door::Glare, _) => (491, Extra::default()),
                (Door::Busy, _) => (500, self.retry_later()),
            },
            Method::Info => {
                self.answer(now, leg, id, 200, &Extra::default());
                let content_type = request.header(HeaderId::ContentType).map(relay::text).unwrap_or_default();
                if leg.is_up() {
                    self.news(leg, LegEvent::Info(Info { content_type, body: request.body.to_vec() }));
                }
                return Outcome::Request;
            }
            Method::Options => (200, Extra { capabilities: true, ..Extra::default() }),
            Method::Other => (501, Extra { allow: true, ..Extra::default() }),
            Method::Register
            | Method::Prack
            | Method::Refer
            | Method::Notify
            | Method::Subscribe
            | Method::Message
            | Method::Publish
            | Method::Ack
            | Method::Cancel => (405, Extra { allow: true, ..Extra::default() }),
        };
        self.answer(now, leg, id, status, &extra);
        Outcome::Request
    }

    fn answer(&mut self, now: Time, leg: &Leg, id: u64, status: u16, extra: &Extra<'_>) {
        self.respond(now, id, status, &leg.dialog.local_tag, extra);
    }

    fn retry_later(&mut self) -> Extra<'static> {
        let seconds = self.mint.between(0, RETRY_AFTER_MAX_S) as u32;
        Extra { retry_after_s: Some(seconds), ..Extra::default() }
    }

    fn take_theirs(&mut self, leg: &mut Leg, transaction: u64, method: UpdateMethod, request: &Message<'_>) {
        let sdp = relay::sdp(request);
        leg.theirs = Some(Theirs {
            transaction,
            method,
            cseq: request.cseq.number,
            offered: sdp.is_some(),
            target: target_of(request),
        });
        self.news(leg, LegEvent::Update(Update { method, sdp }));
    }

    /// They hung up; 200 is already on its way.
    fn their_bye(&mut self, now: Time, leg: &mut Leg, request: &Message<'_>) {
        let reason = reason_of(request);
        let event = LegEvent::Disconnect(Disconnect { cause: DisconnectCause::Bye, reason: reason.clone() });
        match leg.phase {
            Phase::Incoming => {
                // "The UAS MUST still respond to any pending requests received for that dialog. It is RECOMMENDED that
                // a 487 response be generated" (RFC 3261 15.1.2).
                self.respond(now, leg.invite, 487, &leg.dialog.local_tag, &Extra::default());
            }
            Phase::Outgoing => {
                // A callee must not do that (RFC 3261 15); its 2xx was lost, or it is broken. Either way it is over.
                self.last_news(leg, LegEvent::Fail(Fail { reason: reason.clone(), ..Fail::status(480) }));
                self.give_up(now, leg, reason);
                return;
            }
            Phase::Unconfirmed => self.send_ack(leg, leg.invite_cseq, None),
            // Both sides hang up at once: our own BYE is still to be answered.
            Phase::Ending => return,
            Phase::Answered | Phase::Established | Phase::Ended => {}
        }
        self.close_changes(now, leg);
        leg.hang_up = None;
        leg.phase = Phase::Ended;
        self.last_news(leg, event);
    }

    pub(crate) fn order_updated(&mut self, now: Time, leg: &mut Leg, sdp: Option<&[u8]>) -> Result<(), OrderError> {
        let theirs = leg.theirs.take().ok_or(OrderError::State)?;
        if let Some(target) = theirs.target {
            leg.dialog.target = target;
        }
        self.accept(now, leg, theirs.transaction, sdp);
        if theirs.method == UpdateMethod::Invite {
            self.start_answer(now, leg, theirs.transaction, theirs.cseq, !theirs.offered);
        }
        Ok(())
    }

    fn accept(&mut self, now: Time, leg: &Leg, id: u64, sdp: Option<&[u8]>) {
        let extra = Extra { contact: Some(&leg.dialog.contact), sdp, ..Extra::default() };
        self.respond(now, id, 200, &leg.dialog.local_tag, &extra);
    }

    pub(crate) fn order_update_failed(
        &mut self,
        now: Time,
        leg: &mut Leg,
        failed: &UpdateFailed,
    ) -> Result<(), OrderError> {
        if !(300..=699).contains(&failed.status) {
            return Err(OrderError::State);
        }
        let theirs = leg.theirs.take().ok_or(OrderError::State)?;
        let extra = Extra { retry_after_s: failed.retry_after_s, ..Extra::default() };
        self.respond(now, theirs.transaction, failed.status, &leg.dialog.local_tag, &extra);
        Ok(())
    }

    // --- requests of ours ----------------------------------------------------------------------------------------

    pub(crate) fn order_update(&mut self, now: Time, leg: &mut Leg, change: Update) -> Result<(), OrderError> {
        if !matches!(leg.phase, Phase::Answered | Phase::Established) || leg.ours.is_some() {
            return Err(OrderError::State);
        }
        if leg.theirs.is_some() {
            // The later one of two that cross inside the switch gets what it would get from the far side.
            self.news(leg, LegEvent::UpdateFailed(UpdateFailed { status: 491, retry_after_s: None }));
            return Ok(());
        }
        leg.ours = Some(Ours { change, glares: 0, state: OursState::Queued });
        if leg.answer.is_none() {
            self.start_change(now, leg);
        }
        Ok(())
    }

    /// Sends what `ours` asks, for the first time or again.
    pub(crate) fn start_change(&mut self, now: Time, leg: &mut Leg) {
        let Some(mut ours) = leg.ours.take() else { return };
        let method = match ours.change.method {
            UpdateMethod::Update if leg.allows_update => Method::Update,
            UpdateMethod::Update | UpdateMethod::Invite => Method::Invite,
        };
        let cseq = leg.dialog.next_seq();
        let body = sdp_part(ours.change.sdp.as_deref());
        let transaction = self.request(now, leg, Purpose::Change, method, cseq, None, body);
        if transaction == 0 {
            // The listener was taken out of the configuration.
            self.news(leg, LegEvent::UpdateFailed(UpdateFailed { status: 503, retry_after_s: None }));
            return;
        }
        ours.state = OursState::InFlight { transaction };
        leg.ours = Some(ours);
    }

    /// A response to a re-INVITE or UPDATE of ours.
    pub(crate) fn change_response(
        &mut self,
        now: Time,
        leg: &mut Leg,
        id: u64,
        method: Method,
        response: &Message<'_>,
        status: u16,
    ) {
        let current = leg
            .ours
            .as_ref()
            .is_some_and(|ours| matches!(ours.state, OursState::InFlight { transaction } if transaction == id));
        let accepted = (200..=299).contains(&status);
        let cseq = response.cseq.number;
        if !current && status < 200 {
            // The session ended before this first answer to our INVITE.
            self.expect_final(now, id);
            return;
        }
        if !current {
            // A 2xx that came again, or one for a session that ended meanwhile; it wants its ACK all the same.
            let awaits = leg.ours.as_ref().is_some_and(|ours| ours.state == OursState::Unconfirmed { cseq });
            if accepted && method == Method::Invite && !awaits {
                let tag = response.to_tag.unwrap_or(b"");
                if !self.repeat_ack(leg, cseq, tag) {
                    self.send_ack(leg, cseq, None);
                }
            }
            return;
        }
        if status < 200 {
            self.limit_proceeding(id, now.plus_secs(CHANGE_PROCEEDING_S));
            return;
        }
        if status == 491 && leg.ours.as_ref().is_some_and(|ours| ours.glares < GLARE_RETRIES_MAX) {
            if let Some(ours) = &mut leg.ours {
                ours.glares += 1;
            }
            self.back_off(now, leg);
            return;
        }
        let Some(mut ours) = leg.ours.take() else { return };
        if accepted {
            leg.dialog.refresh_target(response);
            leg.allows_update |= response.allows(Method::Update);
            if method == Method::Invite {
                if ours.change.sdp.is_some() || sdp_body(response).is_none() {
                    // Without an offer in the 2xx there is no answer to wait for.
                    self.send_ack(leg, cseq, None);
                } else {
                    ours.state = OursState::Unconfirmed { cseq };
                    leg.ours = Some(ours);
                }
            }
            self.news(leg, LegEvent::Updated(Updated { sdp: relay::sdp(response) }));
        } else if matches!(status, 408 | 481) {
            self.lost(now, leg, status);
        } else {
            let retry_after_s = response.retry_after().map(|r| r.seconds);
            self.news(leg, LegEvent::UpdateFailed(UpdateFailed { status, retry_after_s }));
        }
    }

    /// Nothing came back for a re-INVITE or UPDATE of ours.
    pub(crate) fn change_no_response(&mut self, now: Time, leg: &mut Leg, verdict: Verdict) {
        if leg.ours.take().is_none() {
            return;
        }
        match verdict {
            Verdict::TransportError => {
                self.news(leg, LegEvent::UpdateFailed(UpdateFailed { status: 503, retry_after_s: None }));
            }
            Verdict::Timeout | Verdict::Pass => self.lost(now, leg, 408),
        }
    }

    /// Waits before a change is sent (again): it collided, or would.
    pub(crate) fn back_off(&mut self, now: Time, leg: &mut Leg) {
        let (low, high) = if leg.id.is_incoming() { GLARE_OTHER_STEPS } else { GLARE_OWNER_STEPS };
        let wait_ms = self.mint.between(low, high) * GLARE_STEP_MS;
        let timer = self.wheel.insert(now.plus_millis(wait_ms), Due::Leg(leg.id, LegTimer::Glare));
        if let Some(ours) = &mut leg.ours {
            ours.state = OursState::Backoff { timer };
        }
    }

    /// The answer to an offer that came in a 2xx. Without one that waits it is the echo of an ACK on the other leg.
    pub(crate) fn order_confirm(&mut self, leg: &mut Leg, sdp: Option<&[u8]>) -> Result<(), OrderError> {
        if leg.phase == Phase::Unconfirmed {
            self.send_ack(leg, leg.invite_cseq, sdp);
            leg.phase = Phase::Established;
            return Ok(());
        }
        if let Some(OursState::Unconfirmed { cseq }) = leg.ours.as_ref().map(|ours| ours.state) {
            leg.ours = None;
            self.send_ack(leg, cseq, sdp);
            return Ok(());
        }
        if leg.is_up() { Ok(()) } else { Err(OrderError::State) }
    }

    pub(crate) fn order_info(&mut self, now: Time, leg: &mut Leg, info: &Info) -> Result<(), OrderError> {
        if !leg.is_up() {
            return Err(OrderError::State);
        }
        let cseq = leg.dialog.next_seq();
        self.request(now, leg, Purpose::Info, Method::Info, cseq, None, Some((&info.content_type, &info.body)));
        Ok(())
    }

    /// "481 ... the dialog usage is destroyed" (RFC 5057 5.1); any other refusal concerns the INFO alone.
    pub(crate) fn info_response(&mut self, now: Time, leg: &mut Leg, status: u16) {
        if status == 481 && leg.is_up() {
            self.lost(now, leg, status);
        }
    }
}

/// RFC 3261 14.2 and RFC 3311 5.2 in one place.
fn door(leg: &Leg, invite: bool) -> Door {
    match leg.phase {
        // Their first offer is not answered.
        Phase::Incoming => return Door::Busy,
        // Ours is not.
        Phase::Outgoing | Phase::Unconfirmed => return Door::Glare,
        Phase::Answered | Phase::Established | Phase::Ending | Phase::Ended => {}
    }
    let under_way = |ours: &Ours| matches!(ours.state, OursState::InFlight { .. } | OursState::Unconfirmed { .. });
    if leg.theirs.is_some() {
        Door::Busy
    } else if leg.ours.as_ref().is_some_and(under_way) {
        Door::Glare
    } else {
        match &leg.answer {
            // Our 2xx is not acknowledged: a new INVITE is too early, an UPDATE only when that 2xx made an offer.
            Some(_) if invite => Door::Busy,
            Some(answer) if answer.offers => Door::Glare,
            Some(_) | None => Door::Open,
        }
    }
}
