//! One call: an a-leg, b-leg attempts, and the states between (spec signalling.md 1 and 7-9, call-flows.md).

use std::net::SocketAddr;
use std::sync::Arc;

use smallvec::SmallVec;
use tandem_ebpf_abi::PuntReason;
use tandem_leg::{
    Disconnect, DisconnectCause, EndDirection, EndReason, Fail, LegEvent, LegId, Now, Reason, ServerReason, TimerKey,
    Try,
};
use tandem_media::{MediaEvent, Side};
use tandem_rating::usage::Usage;

use crate::attempt::Attempt;
use crate::calls::{MediaSend, Shared};
use crate::failover::Cause;
use crate::media::{CallMedia, LegPlace};
use crate::output::Output;
use crate::question::{Answer, CallKey, LineSkip};
use crate::replace::{replacement, status_for_caller};
use crate::route::Plan;
use crate::session::{Session, cause_of};
use crate::snapshot::{RoutingGateway, Snapshot};
use crate::trace::{CallTimer, TraceEvent};

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallState {
    /// The rating thread was asked to admit it.
    Authorizing,
    /// The rating thread was asked for the line of another gateway.
    Choosing,
    /// An attempt is on its way.
    Trying,
    /// A vendor answered; the start record is being written.
    Answering,
    /// The caller was told of the answer.
    Connected,
    /// It is over and about to be forgotten.
    Over,
}

impl CallState {
    /// Name for lists.
    pub const fn as_str(self) -> &'static str {
        match self {
            CallState::Authorizing => "authorizing",
            CallState::Choosing => "choosing",
            CallState::Trying => "trying",
            CallState::Answering => "answering",
            CallState::Connected => "connected",
            CallState::Over => "over",
        }
    }
}

/// What became of a route of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RouteUse {
    Fresh,
    /// The rating thread had no line: it does not count as tried (R-D11).
    Passed,
    Tried,
}

/// One call.
pub(crate) struct Call {
    pub(crate) key: CallKey,
    pub(crate) flow_no: u64,
    pub(crate) a_leg: LegId,
    pub(crate) snapshot: Arc<Snapshot>,
    /// What the caller asked; its description is in `media`, and its texts are gone once he is connected.
    pub(crate) invite: Box<Try>,
    /// Index of the mapping gateway.
    pub(crate) mapping: usize,
    pub(crate) started: Now,
    /// Empty once the caller is connected.
    pub(crate) plan: Plan,
    pub(crate) routes: Vec<RouteUse>,
    /// Routes of the question that waits for an answer.
    pub(crate) asked: Vec<usize>,
    pub(crate) media: CallMedia,
    pub(crate) caller_place: LegPlace,
    pub(crate) attempt: Option<Attempt>,
    /// How the attempts of `usage.attempts` failed, in the same order.
    pub(crate) causes: Vec<Cause>,
    pub(crate) switches: u32,
    /// Grows towards the CDR.
    pub(crate) usage: Usage,
    pub(crate) session: Session,
    pub(crate) timers: SmallVec<[(CallTimer, TimerKey); 4]>,
    /// The loop guard counts this call.
    pub(crate) guarded: bool,
    pub(crate) state: CallState,
}

impl Call {
    pub(crate) fn state(&self) -> CallState {
        self.state
    }

    pub(crate) fn is_ringing(&self) -> bool {
        self.attempt.as_ref().is_some_and(Attempt::is_ringing)
    }

    /// The gateway of the attempt that is on its way, or that answered.
    pub(crate) fn vendor(&self) -> Option<&RoutingGateway> {
        let attempt = self.attempt.as_ref()?;
        self.snapshot.routing.get(self.plan.routes.get(attempt.route)?.gateway)
    }

    /// News of one of the legs.
    pub(crate) fn handle_leg_event(&mut self, cx: &mut Shared, now: Now, leg: LegId, event: LegEvent) {
        if leg == self.a_leg {
            self.caller_event(cx, now, event);
        } else if self.attempt.as_ref().is_some_and(|a| a.leg == leg) {
            self.callee_event(cx, now, event);
        }
        self.drain_media(cx, now);
    }

    fn caller_event(&mut self, cx: &mut Shared, now: Now, event: LegEvent) {
        match event {
            LegEvent::Confirm(confirm) => self.confirmed(cx, now, Side::Caller, confirm.sdp),
            LegEvent::Update(update) => self.update_asked(cx, now, Side::Caller, update),
            LegEvent::Updated(updated) => self.update_accepted(cx, now, Side::Caller, updated.sdp),
            LegEvent::UpdateFailed(failed) => self.update_refused(cx, now, Side::Caller, &failed),
            LegEvent::Info(info) => self.relay_info(cx, Side::Caller, info),
            LegEvent::Disconnect(disconnect) => self.disconnected(cx, now, Side::Caller, disconnect),
            // A caller does not ring, answer or refuse.
            LegEvent::Try(_)
            | LegEvent::Sent { .. }
            | LegEvent::Proceeding
            | LegEvent::Ring(_)
            | LegEvent::Connect(_)
            | LegEvent::Redirect(_)
            | LegEvent::Fail(_) => {}
        }
    }

    fn callee_event(&mut self, cx: &mut Shared, now: Now, event: LegEvent) {
        match event {
            LegEvent::Sent { call_id } => self.usage.callee_call_id = call_id.into(),
            LegEvent::Proceeding => self.vendor_proceeding(cx, now),
            LegEvent::Ring(ring) => self.vendor_rings(cx, now, ring),
            LegEvent::Connect(connect) => self.vendor_answers(cx, now, connect),
            LegEvent::Redirect(redirect) => self.vendor_redirects(cx, now, &redirect),
            LegEvent::Fail(fail) => self.vendor_fails(cx, now, fail),
            LegEvent::Confirm(confirm) => self.confirmed(cx, now, Side::Callee, confirm.sdp),
            LegEvent::Update(update) => self.update_asked(cx, now, Side::Callee, update),
            LegEvent::Updated(updated) => self.update_accepted(cx, now, Side::Callee, updated.sdp),
            LegEvent::UpdateFailed(failed) => self.update_refused(cx, now, Side::Callee, &failed),
            LegEvent::Info(info) => self.relay_info(cx, Side::Callee, info),
            LegEvent::Disconnect(disconnect) => self.disconnected(cx, now, Side::Callee, disconnect),
            LegEvent::Try(_) => {}
        }
    }

    /// An answer of the rating thread. One that does not fit the state is stale and changes nothing.
    pub(crate) fn handle_answer(&mut self, cx: &mut Shared, now: Now, answer: Answer) {
        match (self.state, answer) {
            (CallState::Authorizing, Answer::Granted { until_s, candidate, skipped, .. }) => {
                self.session.until_s = until_s;
                let gateway = candidate.and_then(|c| self.asked.get(c)).map(|r| self.gateway_name(*r).into());
                self.trace(cx, now, TraceEvent::Granted { until_s, gateway });
                self.line_found(cx, now, candidate, &skipped);
            }
            (CallState::Authorizing, Answer::Refused { reason, .. }) => {
                self.trace(cx, now, TraceEvent::Refused { reason });
                self.fail(cx, now, EndDirection::Server, reason.into());
            }
            (CallState::Choosing, Answer::Line { candidate, skipped, .. }) => {
                self.line_found(cx, now, candidate, &skipped);
            }
            (CallState::Answering, Answer::Journaled { regranted, .. }) => self.connect(cx, now, regranted),
            (CallState::Connected, Answer::Renewed { until_s, last, .. }) => self.renewed(cx, now, until_s, last),
            (
                CallState::Authorizing
                | CallState::Choosing
                | CallState::Trying
                | CallState::Answering
                | CallState::Connected
                | CallState::Over,
                _,
            ) => {}
        }
        self.drain_media(cx, now);
    }

    /// The rating thread took the line of `asked[candidate]`, or of none of them.
    fn line_found(&mut self, cx: &mut Shared, now: Now, candidate: Option<usize>, skipped: &[(usize, LineSkip)]) {
        let asked = std::mem::take(&mut self.asked);
        for (index, why) in skipped {
            if let Some(&route) = asked.get(*index) {
                self.routes[route] = RouteUse::Passed;
                let gateway = self.gateway_name(route).into();
                self.trace(cx, now, TraceEvent::PassedOver { gateway, why: *why });
            }
        }
        match candidate.and_then(|c| asked.get(c)).copied() {
            Some(route) => {
                // Everything before it is behind us, named or not.
                for passed in asked.iter().take_while(|r| **r != route) {
                    self.routes[*passed] = RouteUse::Passed;
                }
                self.start_attempt(cx, now, route);
            }
            None => {
                for route in asked {
                    self.routes[route] = RouteUse::Passed;
                }
                self.next_route(cx, now);
            }
        }
    }

    /// A packet that the fast path did not decide.
    pub(crate) fn handle_media(
        &mut self,
        cx: &mut Shared,
        now: Now,
        side: Side,
        source: SocketAddr,
        reason: PuntReason,
        payload: &mut [u8],
    ) -> Option<MediaSend> {
        let send = self.media.packet(now, side, reason, source, payload);
        self.drain_media(cx, now);
        send
    }

    pub(crate) fn drain_media(&mut self, cx: &mut Shared, now: Now) {
        for event in self.media.drain(&mut cx.out) {
            if let (MediaEvent::FirstRtp { side: Side::Callee, early: true }, Some(attempt)) =
                (event, &mut self.attempt)
            {
                attempt.rtp_seen = true;
            }
            self.trace(cx, now, TraceEvent::Heard(event));
        }
    }

    pub(crate) fn handle_timer(&mut self, cx: &mut Shared, now: Now, timer: CallTimer) {
        self.timers.retain(|(t, _)| *t != timer);
        if timer == CallTimer::Silence {
            // Looking is no event of the call; only what is seen may be.
            return self.ask_when_heard(cx);
        }
        if timer == CallTimer::StartRecord && self.look_for_record(cx, now) {
            return;
        }
        self.trace(cx, now, TraceEvent::Timer(timer));
        match timer {
            CallTimer::Invite => self.attempt_timed_out(cx, now, ServerReason::ConnectionTimeout),
            CallTimer::Trying | CallTimer::SessionProgress | CallTimer::SessionProgressSdp => {
                self.attempt_timed_out(cx, now, ServerReason::ResponseTimeout);
            }
            CallTimer::Ringing => self.attempt_timed_out(cx, now, ServerReason::NoAnswer),
            CallTimer::CallProceeding => self.end_by_server(cx, now, ServerReason::SetupTimeLimit),
            CallTimer::Expires => {
                // The caller's patience is over; what it was waiting for decides the name.
                let ringing = self.is_ringing();
                let reason = if ringing { ServerReason::NoAnswer } else { ServerReason::SetupTimeLimit };
                self.end_by_server(cx, now, reason);
            }
            // The journal cannot be written: the vendor is let go, the caller is not connected to a call nobody bills.
            CallTimer::StartRecord => self.end_by_server(cx, now, ServerReason::SystemOverload),
            CallTimer::Renewal => self.ask_renewal(cx),
            CallTimer::Deadline => self.end_by_server(cx, now, ServerReason::BalanceExhausted),
            CallTimer::MaxDuration => self.end_by_server(cx, now, ServerReason::MaxDuration),
            CallTimer::Silence => {}
        }
        self.drain_media(cx, now);
    }

    pub(crate) fn handle_order_error(&mut self, cx: &mut Shared, now: Now, leg: LegId, full: bool) {
        let side = if leg == self.a_leg { Side::Caller } else { Side::Callee };
        self.trace(cx, now, TraceEvent::OrderFailed { side });
        let reason = if full { ServerReason::SystemOverload } else { ServerReason::InternalError };
        if side == Side::Callee && self.state == CallState::Trying {
            // The INVITE never left.
            self.forget_attempt_leg(cx);
            self.attempt_failed(cx, now, Cause::server(reason), false);
        } else {
            self.end_by_server(cx, now, reason);
        }
        self.drain_media(cx, now);
    }

    /// One side is gone.
    fn disconnected(&mut self, cx: &mut Shared, now: Now, side: Side, news: Disconnect) {
        let ended_by = match side {
            Side::Caller => EndDirection::Caller,
            Side::Callee => EndDirection::Callee,
        };
        // That leg is finished on its own; nothing more is ordered for it.
        let leg = match side {
            Side::Caller => self.a_leg,
            Side::Callee => self.attempt.as_ref().map_or(self.a_leg, |a| a.leg),
        };
        cx.legs.remove(&leg);
        let reason = match news.cause {
            DisconnectCause::Bye | DisconnectCause::Cancel | DisconnectCause::Order => news.reason,
            DisconnectCause::NoAck | DisconnectCause::Lost => session_timeout(),
        };
        let lost = matches!(news.cause, DisconnectCause::NoAck | DisconnectCause::Lost);
        match (self.state, side) {
            (CallState::Connected, _) if lost => {
                self.note_cause(&reason);
                self.hang_up(cx, side.other(), &reason);
                self.finish(cx, now, EndDirection::Server, ServerReason::SessionTimeout.into(), 200);
            }
            (CallState::Connected, _) => {
                let reason = if reason.is_empty() { Reason::q850(16) } else { reason };
                self.note_cause(&reason);
                self.hang_up(cx, side.other(), &reason);
                self.finish(cx, now, ended_by, EndReason::Normal, 200);
            }
            (_, Side::Caller) => {
                // CANCEL: the protocol room answered 487 already.
                let reason = if reason.is_empty() { Reason::q850(16) } else { reason };
                self.hang_up(cx, Side::Callee, &reason);
                self.finish(cx, now, EndDirection::Caller, EndReason::Sip(487), 487);
            }
            (CallState::Answering, Side::Callee) => {
                // It hung up before the caller could be told that it had answered.
                self.fail(cx, now, EndDirection::Callee, EndReason::Normal);
            }
            (CallState::Authorizing | CallState::Choosing | CallState::Trying | CallState::Over, Side::Callee) => {
                self.attempt_failed(cx, now, Cause::status(480), false);
            }
        }
    }

    /// Ends the call whatever its state: BYE or a final failure to both sides.
    pub(crate) fn end_by_server(&mut self, cx: &mut Shared, now: Now, reason: ServerReason) {
        match self.state {
            CallState::Connected => {
                let said = reason_of_server(reason);
                self.note_cause(&said);
                self.hang_up(cx, Side::Caller, &said);
                self.hang_up(cx, Side::Callee, &said);
                self.finish(cx, now, EndDirection::Server, reason.into(), 200);
            }
            CallState::Authorizing | CallState::Choosing | CallState::Trying | CallState::Answering => {
                self.hang_up(cx, Side::Callee, &Reason::q850(reason.q850()));
                self.fail(cx, now, EndDirection::Server, reason.into());
            }
            CallState::Over => {}
        }
    }

    /// The call failed before the caller was connected: tells the caller and ends (endreasons.md 2 and 5).
    pub(crate) fn fail(&mut self, cx: &mut Shared, now: Now, direction: EndDirection, reason: EndReason) {
        let raw = status_for_caller(reason, self.snapshot.settings.no_route_code);
        let gateway = &self.snapshot.mapping[self.mapping];
        let replaced = replacement(&gateway.failed_sip_code, raw);
        let status = replaced.unwrap_or(raw);
        // The replaced cause hides the vendor's (E-D5 rule 2).
        let named = if self.usage.q850_out != 0 && direction == EndDirection::Callee {
            self.usage.q850_out
        } else {
            reason.q850()
        };
        let q850 = replaced.map_or(named, tandem_leg::q850::of_sip);
        let retry_after_s = match reason {
            EndReason::Server(ServerReason::CpsLimit) => Some(1),
            EndReason::Server(ServerReason::SystemOverload) => Some(2),
            EndReason::Server(_) | EndReason::Normal | EndReason::Sip(_) | EndReason::Q850(_) => None,
        };
        self.usage.q850_in = q850;
        self.hang_up(cx, Side::Callee, &Reason::q850(q850));
        let fail = Fail { reason: Reason::q850(q850), retry_after_s, ..Fail::status(status) };
        self.order(cx, self.a_leg, LegEvent::Fail(fail));
        self.finish(cx, now, direction, reason, status);
    }

    /// The cause that ended an answered call, on both sides.
    fn note_cause(&mut self, reason: &Reason) {
        self.usage.sip_reason = text_of(reason).into();
        self.usage.q850_in = cause_of(reason);
        self.usage.q850_out = self.usage.q850_in;
    }

    /// Orders the end of a leg that still lives.
    pub(crate) fn hang_up(&mut self, cx: &mut Shared, side: Side, reason: &Reason) {
        let leg = match side {
            Side::Caller => Some(self.a_leg),
            Side::Callee => self.attempt.as_ref().map(|a| a.leg),
        };
        if let Some(leg) = leg.filter(|leg| cx.legs.contains_key(leg)) {
            self.order(cx, leg, LegEvent::Disconnect(Disconnect::order(reason.clone())));
            cx.legs.remove(&leg);
        }
    }

    pub(crate) fn order(&self, cx: &mut Shared, leg: LegId, event: LegEvent) {
        cx.out.push_back(Output::Leg { leg, a_leg: self.a_leg, event });
    }

    /// The leg of a side, while there is one.
    pub(crate) fn leg_of(&self, side: Side) -> Option<LegId> {
        match side {
            Side::Caller => Some(self.a_leg),
            Side::Callee => self.attempt.as_ref().map(|a| a.leg),
        }
    }

    pub(crate) fn trace(&self, cx: &mut Shared, now: Now, event: TraceEvent) {
        cx.out.push_back(Output::Trace { a_leg: self.a_leg, flow_no: self.flow_no, at: now, event });
    }

    pub(crate) fn gateway_name(&self, route: usize) -> &str {
        let gateway = self.plan.routes.get(route).and_then(|r| self.snapshot.routing.get(r.gateway));
        gateway.map_or("", |g| g.name.as_str())
    }

    /// Starts a timer, in place of one of the same kind.
    pub(crate) fn arm(&mut self, cx: &mut Shared, timer: CallTimer, deadline: tandem_leg::Time) {
        self.disarm(cx, timer);
        let key = cx.timers.insert(deadline, (self.key, timer));
        self.timers.push((timer, key));
    }

    pub(crate) fn disarm(&mut self, cx: &mut Shared, timer: CallTimer) {
        self.timers.retain(|(t, key)| {
            if *t == timer {
                cx.timers.cancel(*key);
            }
            *t != timer
        });
    }

    pub(crate) fn disarm_all(&mut self, cx: &mut Shared) {
        for (_, key) in self.timers.drain(..) {
            cx.timers.cancel(key);
        }
    }
}

/// "BYE on both legs, Reason: SIP;cause=408;text="Session Timeout" (a=Q.850;cause=102)" (signalling.md 10.2).
fn session_timeout() -> Reason {
    Reason { q850: Some(102), sip: Some(408), text: Some("Session Timeout".to_owned()) }
}

/// The Reason of a BYE that the switch decided.
fn reason_of_server(reason: ServerReason) -> Reason {
    let text = match reason {
        // As media.md 5 writes it.
        ServerReason::RtpInterrupted => "RTP interrupted",
        other => other.name(),
    };
    Reason { q850: Some(reason.q850()), sip: None, text: Some(text.to_owned()) }
}

/// A Reason header as the CDR keeps it.
pub(crate) fn text_of(reason: &Reason) -> String {
    let mut parts = Vec::new();
    if let Some(cause) = reason.q850 {
        parts.push(format!("Q.850;cause={cause}"));
    }
    if let Some(status) = reason.sip {
        parts.push(format!("SIP;cause={status}"));
    }
    let mut text = parts.join(",");
    if let Some(words) = &reason.text {
        text.push_str(&format!(";text=\"{words}\""));
    }
    text
}
