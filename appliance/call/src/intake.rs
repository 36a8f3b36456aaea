//! A new call at the door: whose it is, whether it may start, where it may go; then the one question that spans cores
//! (spec routing.md 1, accounts.md 3).

use smallvec::SmallVec;
use tandem_leg::{EndDirection, EndReason, Fail, LegEvent, LegId, Now, Reason, ServerReason, Try, text};
use tandem_rating::text::{Text, ToCompactString};
use tandem_rating::usage::Usage;

use crate::call::{Call, CallState, RouteUse};
use crate::calls::Calls;
use crate::failover::Cause;
use crate::guard::{HOPS_MAX, LOOP_MAX, hops};
use crate::identify::identify;
use crate::media::{CallMedia, LegPlace};
use crate::output::{Finish, Output};
use crate::price::{Price, price};
use crate::question::{Admit, CallKey, Payer, Question};
use crate::replace::{replacement, status_for_caller};
use crate::route::{Wanted, plan};
use crate::session::Session;
use crate::snapshot::Snapshot;
use crate::trace::{CallTimer, TraceEvent};

/// Longest texts that a CDR keeps, characters (spec cdr.md 2).
const TEXT_MAX: usize = 64;
/// Longest original caller data.
const ORIG_INFO_MAX: usize = 255;
/// Longest Call-ID that is kept; legal ones have no bound.
const CALL_ID_MAX: usize = 255;

/// A call that is refused at the door.
struct Refusal {
    reason: ServerReason,
    detail: String,
    /// When it is not the status of the reason.
    status: Option<u16>,
    retry_after_s: Option<u32>,
}

impl Refusal {
    fn new(reason: ServerReason, detail: impl Into<String>) -> Refusal {
        Refusal { reason, detail: detail.into(), status: None, retry_after_s: None }
    }
}

impl Calls {
    /// Takes a new call. It is either refused here, with its `Finish`, or a question is on its way.
    pub(crate) fn intake(&mut self, now: Now, a_leg: LegId, invite: Box<Try>) {
        let flow_no = self.shared.flow_numbers.next(now.wall_ms);
        let snapshot = self.shared.snapshot.clone();
        let mut usage = self.first_usage(now, flow_no, &snapshot, &invite);
        self.trace(
            now,
            a_leg,
            flow_no,
            TraceEvent::Received {
                source: invite.remote,
                caller: usage.caller_in.clone(),
                dialled: usage.callee_in.clone(),
            },
        );
        if let Err(refusal) = self.begin(now, a_leg, flow_no, &snapshot, &mut usage, invite) {
            self.refuse(now, a_leg, &snapshot, usage, refusal);
        }
    }

    fn begin(
        &mut self,
        now: Now,
        a_leg: LegId,
        flow_no: u64,
        snapshot: &std::sync::Arc<Snapshot>,
        usage: &mut Usage,
        mut invite: Box<Try>,
    ) -> Result<(), Refusal> {
        self.check_load()?;
        self.check_loop(now, snapshot, &invite)?;

        let cx = &mut self.shared;
        let identified = identify(snapshot, &invite, &mut cx.weights, &mut cx.rng);
        let (mapping, numbers) = match &identified {
            Ok(found) => (Some(found.mapping), &found.numbers),
            Err(rejected) => (rejected.mapping, &rejected.numbers),
        };
        usage.caller_in = clip(&numbers.caller_in, TEXT_MAX);
        usage.callee_in = clip(&numbers.callee_in, TEXT_MAX);
        usage.caller_billed = numbers.caller.as_str().into();
        usage.callee_billed = numbers.callee.as_str().into();
        if let Some(gateway) = mapping.map(|m| &snapshot.mapping[m]) {
            usage.caller_gateway = gateway.name.as_str().into();
            usage.billing_mode = 1;
            usage.customer = snapshot.accounts.get(gateway.account).map(|a| a.leg(None, Text::default()));
        }
        let found = identified.map_err(|r| Refusal::new(r.reason, r.detail))?;
        let gateway = &snapshot.mapping[found.mapping];
        let account = snapshot.accounts.get(gateway.account).ok_or_else(|| {
            Refusal::new(ServerReason::AccountDisabled, format!("mapping gateway {} has no account", gateway.name))
        })?;
        self.trace(
            now,
            a_leg,
            flow_no,
            TraceEvent::Identified { gateway: gateway.name.as_str().into(), account: account.name.as_str().into() },
        );
        self.trace(
            now,
            a_leg,
            flow_no,
            TraceEvent::Rewritten {
                caller: (usage.caller_in.clone(), usage.caller_billed.clone()),
                caller_rule: found.numbers.caller_rule,
                callee: (usage.callee_in.clone(), usage.callee_billed.clone()),
                callee_rule: found.numbers.callee_rule,
            },
        );

        let price = price(snapshot, gateway, &usage.caller_billed, &usage.callee_billed, now.wall_ms)
            .map_err(|no| Refusal::new(no.reason, no.detail))?;
        self.trace_price(now, a_leg, flow_no, &price);
        usage.call_level = price.terms.as_ref().map_or(0, |t| t.level);
        (usage.billing_mode, usage.billing_type) = (price.billing_mode, price.billing_type);
        usage.caller_type = if usage.billing_type == 0 { price.billing_mode.unsigned_abs() } else { 1 };
        let payers = payers(snapshot, &price);
        if let Some(account) = snapshot.accounts.get(price.payer) {
            usage.customer = Some(account.leg(None, Text::default()));
        }
        let mut legs = price.legs.iter().cloned();
        if let Some(leg) = legs.next() {
            usage.customer = Some(leg);
            usage.agents = legs.collect();
        }

        let media = CallMedia::new(invite.sdp.as_deref(), &self.shared.config.media)
            .map_err(|problem| Refusal::new(problem.reason(), problem.to_string()))?;

        let wanted = Wanted {
            mapping: found.mapping,
            caller: &usage.caller_billed,
            callee: &usage.callee_billed,
            at_ms: now.wall_ms,
            sell: price.terms.as_ref(),
            source: invite.remote.ip(),
        };
        let cx = &mut self.shared;
        let plan = plan(snapshot, &wanted, &mut cx.weights, &mut cx.rng);
        let name = |gateway: usize| Text::from(snapshot.routing[gateway].name.as_str());
        for (at, route) in plan.routes.iter().enumerate() {
            let event = TraceEvent::Candidate {
                place: at + 1,
                gateway: name(route.gateway),
                prefix_len: route.prefix_len,
                rate_per_min: route.vendor.map(|vendor| vendor.cost.per_minute()),
            };
            self.trace(now, a_leg, flow_no, event);
        }
        for skipped in &plan.skipped {
            let event =
                TraceEvent::Skipped { gateway: name(skipped.gateway), reason: skipped.reason.to_compact_string() };
            self.trace(now, a_leg, flow_no, event);
        }
        let mut asked = plan.open(false, |_| false, |_| false);
        if asked.is_empty() {
            asked = plan.open(true, |_| false, |_| false);
        }
        if asked.is_empty() {
            return Err(Refusal::new(plan.no_route(), format!("no gateway for {}", usage.callee_billed)));
        }

        // The description is in `media` now; the rest of the request is small.
        invite.sdp = None;
        let usage = std::mem::take(usage);
        let (listener, network) = (invite.listener, self.shared.network(invite.listener));
        let source = invite.remote.ip();
        self.shared.guard.begin(now.mono, source, &invite.caller.user, &invite.dialled);
        let make = |key: CallKey| {
            Box::new(Call {
                key,
                flow_no,
                a_leg,
                snapshot: snapshot.clone(),
                mapping: found.mapping,
                started: now,
                routes: vec![RouteUse::Fresh; plan.routes.len()],
                plan,
                asked,
                media,
                caller_place: LegPlace {
                    remote: source,
                    listener,
                    network,
                    device: gateway.media_mode,
                    nat: gateway.nat,
                    latch: gateway.latch,
                },
                invite,
                attempt: None,
                causes: Vec::<Cause>::new(),
                switches: 0,
                usage,
                session: Session::new(price.no_cdr),
                timers: SmallVec::new(),
                guarded: true,
                state: CallState::Authorizing,
            })
        };
        let key = self.admit(make).key;
        let (cx, calls) = (&mut self.shared, &mut self.calls);
        let Some(call) = calls.get_mut(key.index as usize) else {
            return Ok(());
        };
        cx.legs.insert(a_leg, key);
        cx.flows.insert(flow_no, key);
        if let Ok(limit_s @ 1..) = u64::try_from(gateway.timeout_call_proceeding_s) {
            call.arm(cx, CallTimer::CallProceeding, now.mono.plus_secs(limit_s));
        }
        if let Some(seconds) = call.invite.expires_s.filter(|s| *s > 0) {
            call.arm(cx, CallTimer::Expires, now.mono.plus_secs(u64::from(seconds)));
        }
        let candidates = call.candidates(&call.asked);
        call.trace(cx, now, TraceEvent::Reserve { candidates: candidates.len() });
        cx.ask(Question::Admit(Box::new(Admit {
            call: key,
            flow_no,
            mapping: gateway.id,
            payers,
            params: snapshot.billing.clone(),
            advance_min: snapshot.settings.overdraft_advance_min,
            candidates,
        })));
        Ok(())
    }

    fn first_usage(&self, now: Now, flow_no: u64, snapshot: &Snapshot, invite: &Try) -> Usage {
        let mut info = invite.caller.display.clone();
        if let Some(diversion) = &invite.identity.diversion {
            info.push_str(&format!(";diversion={diversion}"));
        }
        Usage {
            flow_no,
            flow_no_first: flow_no,
            softswitch: (&*snapshot.node).into(),
            softswitch_call_id: flow_no as i64,
            caller_call_id: clip(&invite.call_id, CALL_ID_MAX),
            caller_in: clip(&invite.caller.user, TEXT_MAX),
            callee_in: clip(&invite.dialled, TEXT_MAX),
            caller_orig_info: clip(&info, ORIG_INFO_MAX),
            caller_type: 1,
            caller_ip: text::address(invite.remote).into(),
            caller_product: clip(&invite.user_agent, TEXT_MAX),
            caller_transport: invite.transport.as_str().into(),
            caller_local_ip: self.shared.listener(invite.listener).map(|a| text::ip(a.ip())).unwrap_or_default().into(),
            setup_ms: now.wall_ms,
            end_ms: now.wall_ms,
            params: (*snapshot.billing).clone(),
            billing_mode: 1,
            ..Usage::default()
        }
    }

    fn check_load(&mut self) -> Result<(), Refusal> {
        if self.shared.draining {
            let refusal = Refusal::new(ServerReason::SystemOverload, "the node takes no new calls");
            return Err(Refusal { retry_after_s: Some(10), ..refusal });
        }
        let max = self.shared.config.calls_max;
        if self.calls.len() >= max {
            // Random, so that those who were refused do not come back together (signalling.md 11).
            let seconds = rand::Rng::random_range(&mut self.shared.rng, 2..=10);
            let refusal = Refusal::new(ServerReason::SystemOverload, format!("{max} calls"));
            return Err(Refusal { retry_after_s: Some(seconds), ..refusal });
        }
        Ok(())
    }

    /// Max-Forwards, the private hop header, and equal calls coming from where we send calls to (signalling.md 1).
    fn check_loop(&self, now: Now, snapshot: &Snapshot, invite: &Try) -> Result<(), Refusal> {
        let looped = |detail: String| Refusal::new(ServerReason::LoopDetected, detail);
        if invite.max_forwards == 0 {
            return Err(Refusal { status: Some(483), ..looped("Max-Forwards is 0".to_owned()) });
        }
        let passed = hops(invite.hop.as_deref());
        if passed >= HOPS_MAX {
            return Err(looped(format!("it passed {passed} nodes like this one")));
        }
        let source = invite.remote.ip();
        let vendor = || snapshot.routing.iter().any(|g| g.remotes.iter().any(|r| r.ip() == source));
        let guard = &self.shared.guard;
        if guard.is_loop(now.mono, source, &invite.caller.user, &invite.dialled) && vendor() {
            return Err(looped(format!("{LOOP_MAX} equal calls from {source} are being set up")));
        }
        Ok(())
    }

    fn trace_price(&mut self, now: Now, a_leg: LegId, flow_no: u64, price: &Price) {
        let event = match (&price.terms, &price.free) {
            (Some(terms), _) => TraceEvent::Rate {
                prefix: terms.prefix.clone(),
                rate_per_min: terms.rate_per_min,
                rate_id: terms.rate_id,
                level: terms.level,
            },
            (None, Some(pattern)) => TraceEvent::Free { pattern: pattern.as_str().into(), no_cdr: price.no_cdr },
            (None, None) => return,
        };
        self.trace(now, a_leg, flow_no, event);
    }

    /// Tells the caller and reports the call that never was.
    ///
    /// An unknown source gets a 403 here; with `SS_REPLY_UNAUTHORIZED` off the protocol room, which knows the peers,
    /// swallows it before it comes this far.
    fn refuse(&mut self, now: Now, a_leg: LegId, snapshot: &Snapshot, mut usage: Usage, refusal: Refusal) {
        let reason = refusal.reason;
        let end: EndReason = reason.into();
        let raw = refusal.status.unwrap_or(status_for_caller(end, snapshot.settings.no_route_code));
        let gateway = snapshot.mapping.iter().find(|g| g.name == usage.caller_gateway);
        let replaced = gateway.and_then(|g| replacement(&g.failed_sip_code, raw));
        let status = replaced.unwrap_or(raw);
        let q850 = replaced.map_or(end.q850(), tandem_leg::q850::of_sip);
        if reason == ServerReason::IllegalCall {
            usage.billing_mode = -1;
            usage.customer = None;
        }
        usage.end_direction = EndDirection::Server.code();
        usage.end_reason = end.code();
        usage.end_reason_text = end.text().into();
        usage.sip_status_in = status;
        usage.q850_in = q850;
        let flow_no = usage.flow_no;
        self.trace(now, a_leg, flow_no, TraceEvent::Rejected { reason, detail: refusal.detail.into() });
        let fail = Fail { reason: Reason::q850(q850), retry_after_s: refusal.retry_after_s, ..Fail::status(status) };
        self.shared.out.push_back(Output::Leg { leg: a_leg, a_leg, event: LegEvent::Fail(fail) });
        let ended = TraceEvent::End { direction: EndDirection::Server, reason: end, status, hold_ms: 0 };
        self.trace(now, a_leg, flow_no, ended);
        // No slot was ever used; nobody will look for this key.
        let call = CallKey { shard: self.shared.config.shard, index: u32::MAX, generation: 0 };
        self.shared.out.push_back(Output::Finish(Box::new(Finish {
            call,
            a_leg,
            ports: None,
            usage: Box::new(usage),
            counters: Default::default(),
            quality: Default::default(),
            at: now,
            answered: None,
            unbilled_packets: 0,
        })));
    }
}

/// Who reserves money for the call. A free call asks nobody for money, so that an emergency call always passes (rates.md 6).
fn payers(snapshot: &Snapshot, price: &Price) -> Vec<Payer> {
    let Some(account) = snapshot.accounts.get(price.payer) else { return Vec::new() };
    let accounts = std::iter::once(account).chain(snapshot.agents(account));
    let mut payers: Vec<Payer> = accounts.zip(&price.legs).map(|(account, leg)| Payer::of(account.id, leg)).collect();
    if let Some(first) = payers.first_mut() {
        (first.phone, first.monthly_max) = (price.phone.clone(), price.monthly_max);
    }
    payers
}

/// At most `max` bytes of a text from outside, cut at a character.
fn clip(text: &str, max: usize) -> Text {
    let end = (0..=max.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    text[..end].into()
}
