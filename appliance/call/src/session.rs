//! The answered call: journal first, then the caller; paid time, changes of the session (spec accounts.md 5,
//! signalling.md 9).

use rand::Rng;
use tandem_leg::{
    Confirm, Connect, Info, LegEvent, Now, Reason, ServerReason, Update, UpdateFailed, UpdateMethod, Updated,
};
use tandem_media::Side;
use tandem_rating::text::{Text, ToCompactString};

use crate::call::{Call, CallState};
use crate::calls::Shared;
use crate::media::Change;
use crate::price::reprice;
use crate::question::Question;
use crate::route::Plan;
use crate::silence::Silence;
use crate::snapshot::MediaCheck;
use crate::trace::{CallTimer, TraceEvent};

/// A grant is renewed this long before it runs out, seconds (accounts.md 5).
const RENEW_BEFORE_S: u64 = 10;
/// Grants shorter than this are renewed half way, seconds.
const GRANT_SHORT_S: u64 = 20;
/// Renewals are never closer together, milliseconds.
const RENEW_GAP_MS: u64 = 1_000;
/// Longest wait of an answered call for its start record, in looks of [`START_RECORD_LOOK_MS`]: 5 s. It takes about one
/// millisecond, and some hundreds while the journal changes its file on a slow disk; a disk that needs longer would leave the
/// caller ringing while the vendor bills.
const START_RECORD_LOOKS: u8 = 5;
/// Between two looks, ms. A process that is stopped for a while loses one of them and not the calls that were being answered:
/// the record has waited no longer than they have.
const START_RECORD_LOOK_MS: u64 = 1_000;
/// Longest Retry-After of a change that came too early, seconds (RFC 3261 14.2).
const RETRY_AFTER_MAX_S: u32 = 10;

/// What an answered call knows beyond its set-up.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// Held seconds that are paid; `None` is no limit.
    pub(crate) until_s: Option<i64>,
    /// When the vendor answered: the call is held from here on.
    pub(crate) answered: Option<Now>,
    /// The answer for the caller, which waits for the start record.
    connect: Option<Connect>,
    /// Looks for it that are left.
    looks: u8,
    /// A change of the session that waits for the other side.
    change: Option<InProgress>,
    /// The rating thread was asked for more time.
    renewing: bool,
    /// The caller has acknowledged the answer: both sides know of each other.
    pub(crate) acknowledged: bool,
    /// When silence of the media ends the call.
    pub(crate) silence: Silence,
    /// The number is on the NO_CDR list.
    pub(crate) no_cdr: bool,
}

#[derive(Clone, Copy, Debug)]
struct InProgress {
    from: Side,
    /// A re-INVITE without offer.
    offerless: bool,
}

impl Session {
    pub(crate) fn new(no_cdr: bool) -> Session {
        Session { no_cdr, ..Session::default() }
    }

    /// Of a call that was answered in another life of the switch.
    pub(crate) fn adopted(no_cdr: bool, answered: Now, until_s: Option<i64>) -> Session {
        Session { no_cdr, answered: Some(answered), until_s, acknowledged: true, ..Session::default() }
    }
}

impl Call {
    /// The vendor answered: the start record is written before the caller hears of it, so that no second that could be
    /// billed is ever only in memory.
    pub(crate) fn answered(&mut self, cx: &mut Shared, now: Now, connect: Connect) {
        self.state = CallState::Answering;
        self.session.answered = Some(now);
        self.session.connect = Some(connect);
        self.unguard(cx);
        self.note_media();
        self.price_at_answer(cx, now);
        let mut usage = self.usage.clone();
        usage.connect_ms = Some(now.wall_ms);
        usage.end_ms = now.wall_ms;
        usage.sip_status_in = 200;
        let carry = self.carry();
        cx.ask(Question::Answered { call: self.key, usage: Box::new(usage), carry });
        self.session.looks = START_RECORD_LOOKS;
        self.look_for_record(cx, now);
    }

    /// Arms the next look for the start record; false when it has been waited for long enough.
    pub(crate) fn look_for_record(&mut self, cx: &mut Shared, now: Now) -> bool {
        let Some(left) = self.session.looks.checked_sub(1) else { return false };
        self.session.looks = left;
        self.arm(cx, CallTimer::StartRecord, now.mono.plus_millis(START_RECORD_LOOK_MS));
        true
    }

    /// The rows and parameters in force at the answer are those of the call (billing.md 6.a and 7): the admission looked
    /// them up when the call came in, and a deck may have changed while it rang. Accounts stay those of the set-up; a row
    /// that is gone leaves the one of the admission.
    fn price_at_answer(&mut self, cx: &Shared, now: Now) {
        let current = &cx.snapshot;
        self.usage.params = (*current.billing).clone();
        let usage = &mut self.usage;
        let phone = match (usage.billing_type, usage.billing_mode) {
            (1, 0) => usage.customer.as_ref().map(|leg| leg.number.clone()),
            (0, 0) => Some(usage.caller_billed.clone()),
            _ => None,
        };
        if let Some(leg) = &mut usage.customer {
            reprice(current, leg, phone.as_deref(), now.wall_ms);
        }
        for leg in usage.agents.iter_mut().chain(&mut usage.vendor) {
            reprice(current, leg, None, now.wall_ms);
        }
    }

    /// The start record is written. `regranted`: the price had changed since the admission, and this is what the account
    /// can pay now.
    pub(crate) fn connect(&mut self, cx: &mut Shared, now: Now, regranted: Option<(Option<i64>, bool)>) {
        let (Some(connect), Some(_)) = (self.session.connect.take(), self.session.answered) else {
            return;
        };
        self.disarm(cx, CallTimer::StartRecord);
        self.state = CallState::Connected;
        // "start = 200 to A" (call-flows.md 1): the caller does not pay for the wait for the journal. The start record
        // keeps the vendor's instant, at most that wait earlier.
        self.session.answered = Some(now);
        self.usage.connect_ms = Some(now.wall_ms);
        if self.usage.ring_ms.is_none() {
            self.usage.caller_pdd_ms = Some((now.mono.since(self.started.mono) / 1_000) as i64);
        }
        self.trace(cx, now, TraceEvent::Journaled);
        self.order(cx, self.a_leg, LegEvent::Connect(connect));
        self.media.established(now);
        let vendor = self.vendor().map_or(MediaCheck::None, |gateway| gateway.media_check);
        self.watch_media(cx, now, [self.snapshot.mapping[self.mapping].media_check, vendor]);
        self.end_set_up();
        let last = regranted.is_some_and(|(until_s, last)| {
            self.session.until_s = until_s;
            last
        });
        self.arm_grant(cx, now, last);
        self.arm_max_duration(cx, now);
    }

    /// The call goes on in another life: its deadlines count from its answer.
    pub(crate) fn resume(&mut self, cx: &mut Shared, now: Now, last: bool, checks: [MediaCheck; 2]) {
        self.arm_grant(cx, now, last);
        if let Some(answered) = self.session.answered {
            self.arm_max_duration(cx, answered);
        }
        self.watch_media(cx, now, checks);
    }

    fn arm_max_duration(&mut self, cx: &mut Shared, answered: Now) {
        if let Some(seconds) = self.draw_max_duration(cx) {
            self.arm(cx, CallTimer::MaxDuration, answered.mono.plus_secs(seconds));
        }
    }

    /// Lets go of what only the set-up asked: ways to other vendors, and the texts of the caller's request. Calls are
    /// connected by the thousand and set up by the hundred.
    fn end_set_up(&mut self) {
        self.plan = Plan::default();
        self.routes = Vec::new();
        self.asked = Vec::new();
        let invite = &mut *self.invite;
        (invite.call_id, invite.dialled, invite.user_agent) = Default::default();
        (invite.caller, invite.callee, invite.identity) = Default::default();
        (invite.headers, invite.hop) = Default::default();
    }

    /// Milliseconds since the answer, while connected.
    pub(crate) fn held_ms(&self, now: Now) -> Option<i64> {
        let answered = self.session.answered.filter(|_| self.state == CallState::Connected)?;
        Some((now.mono.since(answered.mono) / 1_000) as i64)
    }

    /// (-1, -1) system, (0, 0) none, else drawn between both.
    fn draw_max_duration(&self, cx: &mut Shared) -> Option<u64> {
        let (lower, upper) = self.snapshot.mapping[self.mapping].max_duration_s;
        let seconds = match (lower, upper) {
            (-1, -1) => i64::from(self.snapshot.settings.max_call_duration_s),
            _ if upper > lower => cx.rng.random_range(lower..=upper),
            _ => upper,
        };
        u64::try_from(seconds).ok().filter(|s| *s > 0)
    }

    /// Deadline at exactly answer + T s, and the renewal before it. After the last grant the question is repeated ever
    /// closer to the end, so that a payment still helps ("the next renewal may lift the deadline").
    fn arm_grant(&mut self, cx: &mut Shared, now: Now, last: bool) {
        self.disarm(cx, CallTimer::Deadline);
        self.disarm(cx, CallTimer::Renewal);
        let (Some(until_s), Some(answered)) = (self.session.until_s, self.session.answered) else {
            return;
        };
        let until_s = u64::try_from(until_s).unwrap_or(0);
        let deadline = answered.mono.plus_secs(until_s);
        self.arm(cx, CallTimer::Deadline, deadline);
        let left_ms = deadline.since(now.mono) / 1_000;
        let planned = if last {
            now.mono.plus_millis(left_ms / 2)
        } else if until_s < GRANT_SHORT_S {
            answered.mono.plus_millis(until_s * 500)
        } else {
            answered.mono.plus_secs(until_s - RENEW_BEFORE_S)
        };
        let at = planned.max(now.mono.plus_millis(if self.session.renewing || last { RENEW_GAP_MS } else { 0 }));
        if at < deadline {
            self.arm(cx, CallTimer::Renewal, at);
        }
    }

    pub(crate) fn ask_renewal(&mut self, cx: &mut Shared) {
        if self.state == CallState::Connected && !self.session.renewing {
            self.session.renewing = true;
            cx.ask(Question::Renew { call: self.key, flow_no: self.flow_no });
        }
    }

    pub(crate) fn renewed(&mut self, cx: &mut Shared, now: Now, until_s: Option<i64>, last: bool) {
        self.trace(cx, now, TraceEvent::Renewed { until_s, last });
        self.session.until_s = until_s;
        self.arm_grant(cx, now, last);
        self.session.renewing = false;
    }

    /// One side asks to change the session: relayed serially, the answer waits for the other side (signalling.md 9).
    pub(crate) fn update_asked(&mut self, cx: &mut Shared, now: Now, from: Side, update: Update) {
        let refuse = |status, retry_after_s| UpdateFailed { status, retry_after_s };
        // Glare across the two legs is the same rule as inside one: 491 to the later one.
        let busy = match self.session.change {
            _ if self.state != CallState::Connected => Some(refuse(491, None)),
            Some(open) if open.from == from => Some(refuse(500, Some(cx.rng.random_range(1..=RETRY_AFTER_MAX_S)))),
            Some(_) => Some(refuse(491, None)),
            None if self.media.answer_due(from) || self.media.answer_due(from.other()) => Some(refuse(491, None)),
            None => None,
        };
        if let Some(failed) = busy {
            return self.refuse_update(cx, now, from, failed);
        }
        let change = match (update.sdp.as_deref(), update.method) {
            (None, UpdateMethod::Update) => return self.answer_update(cx, now, from, None, "answered here"),
            (None, UpdateMethod::Invite) => Ok(None),
            (Some(body), _) => self.media.change_offered(from, body, &cx.config.media).map(Some),
        };
        let sdp = match change {
            Ok(Some(Change::Same(answer))) => {
                return self.answer_update(cx, now, from, Some(answer), "answered here");
            }
            Ok(Some(Change::Ask(body))) => Some(body),
            Ok(None) => None,
            Err(problem) => {
                let detail = problem.to_string();
                self.trace(cx, now, TraceEvent::Rejected { reason: problem.reason(), detail: detail.into() });
                return self.refuse_update(cx, now, from, refuse(488, None));
            }
        };
        self.session.change = Some(InProgress { from, offerless: sdp.is_none() });
        self.trace(cx, now, TraceEvent::Change { from, outcome: Text::const_new("relayed") });
        if let Some(leg) = self.leg_of(from.other()) {
            self.order(cx, leg, LegEvent::Update(Update { method: update.method, sdp }));
        }
    }

    /// The other side accepted.
    pub(crate) fn update_accepted(&mut self, cx: &mut Shared, now: Now, responder: Side, sdp: Option<Vec<u8>>) {
        let Some(open) = self.session.change.filter(|c| c.from == responder.other()) else {
            return;
        };
        let Some(body) = sdp else {
            // A 2xx without the description that was asked for changes nothing.
            self.session.change = None;
            self.media.change_refused();
            let failed = UpdateFailed { status: 488, retry_after_s: None };
            return self.refuse_update(cx, now, open.from, failed);
        };
        let made = if open.offerless {
            self.media.offered_back(open.from, &body, &cx.config.media)
        } else {
            self.session.change = None;
            self.media.answered(now, responder, &body, &cx.config.media)
        };
        self.restart_silence(now);
        match made {
            Ok(body) => {
                self.answer_update(cx, now, open.from, Some(body), "accepted");
                self.carry_again(cx);
            }
            // The responder uses the new session already, the other side cannot follow.
            Err(problem) => {
                let detail = problem.to_string();
                self.trace(cx, now, TraceEvent::Rejected { reason: problem.reason(), detail: detail.into() });
                self.end_by_server(cx, now, problem.reason());
            }
        }
    }

    /// The other side refused: "the session stays as it was".
    pub(crate) fn update_refused(&mut self, cx: &mut Shared, now: Now, responder: Side, failed: &UpdateFailed) {
        let Some(open) = self.session.change.filter(|c| c.from == responder.other()) else {
            return;
        };
        self.session.change = None;
        self.media.change_refused();
        let status = match failed.status {
            // A challenge is for us, a redirect of a session means nothing to the other side.
            401 | 407 | 300..=399 => 488,
            status @ 400..=699 => status,
            _ => 500,
        };
        self.refuse_update(cx, now, open.from, UpdateFailed { status, retry_after_s: failed.retry_after_s });
    }

    fn answer_update(&mut self, cx: &mut Shared, now: Now, side: Side, sdp: Option<Vec<u8>>, outcome: &str) {
        self.trace(cx, now, TraceEvent::Change { from: side, outcome: outcome.into() });
        if let Some(leg) = self.leg_of(side) {
            self.order(cx, leg, LegEvent::Updated(Updated { sdp }));
        }
    }

    fn refuse_update(&mut self, cx: &mut Shared, now: Now, side: Side, failed: UpdateFailed) {
        self.trace(cx, now, TraceEvent::Change { from: side, outcome: failed.status.to_compact_string() });
        if let Some(leg) = self.leg_of(side) {
            self.order(cx, leg, LegEvent::UpdateFailed(failed));
        }
    }

    /// An ACK. One that answers an offer goes to the other side; any other is news of one leg only.
    pub(crate) fn confirmed(&mut self, cx: &mut Shared, now: Now, from: Side, sdp: Option<Vec<u8>>) {
        if from == Side::Caller && self.state == CallState::Connected && !self.session.acknowledged {
            self.session.acknowledged = true;
            cx.acknowledged.push(self.key);
        }
        if self.state != CallState::Connected || !self.media.answer_due(from) {
            return;
        }
        self.session.change = None;
        let made = match sdp {
            Some(body) => {
                self.media.answered(now, from, &body, &cx.config.media).map_err(|p| (p.reason(), p.to_string()))
            }
            None => Err((ServerReason::CodecMismatch, "the offer was never answered".to_owned())),
        };
        self.restart_silence(now);
        match made {
            Ok(body) => {
                if let Some(leg) = self.leg_of(from.other()) {
                    self.order(cx, leg, LegEvent::Confirm(Confirm { sdp: Some(body) }));
                }
                self.carry_again(cx);
            }
            Err((reason, detail)) => {
                self.trace(cx, now, TraceEvent::Rejected { reason, detail: detail.into() });
                self.end_by_server(cx, now, reason);
            }
        }
    }

    /// INFO passes when it carries digits (signalling.md 3).
    pub(crate) fn relay_info(&mut self, cx: &mut Shared, from: Side, info: Info) {
        let kind = info.content_type.split(';').next().unwrap_or_default().trim();
        let digits = ["application/dtmf-relay", "application/dtmf"].iter().any(|t| kind.eq_ignore_ascii_case(t));
        if let Some(leg) = self.leg_of(from.other()).filter(|_| digits && self.state == CallState::Connected) {
            self.order(cx, leg, LegEvent::Info(info));
        }
    }
}

/// Q.850 cause of a clearing; 16 when the far side named none.
pub(crate) fn cause_of(reason: &Reason) -> u8 {
    reason.q850.or(reason.sip.map(tandem_leg::q850::of_sip)).unwrap_or(16)
}
