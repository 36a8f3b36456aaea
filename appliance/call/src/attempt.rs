//! One attempt to reach a vendor: its INVITE, its set-up timers, its failure and what comes next.

use std::net::{IpAddr, SocketAddr};

use tandem_leg::text;
use tandem_leg::{
    Connect, EndDirection, EndReason, Fail, FailCause, Identity, LegEvent, LegId, Now, Party, Reason, Redirect, Rel100,
    Ring, ServerReason, Transport, Try,
};
use tandem_media::decide::Path;
use tandem_rating::usage::Attempt as AttemptRecord;

use crate::call::{Call, CallState, RouteUse, text_of};
use crate::calls::Shared;
use crate::failover::{Cause, Decision, Failed, decide, final_cause};
use crate::guard::hops;
use crate::media::LegPlace;
use crate::number::billing_number;
use crate::question::{Candidate, Question};
use crate::replace::replacement;
use crate::snapshot::{MappingGateway, RoutingGateway};
use crate::trace::{CallTimer, TraceEvent};

/// Redirects that one attempt may follow (signalling.md 8).
const REDIRECTS_MAX: u8 = 2;
/// Longest pause a vendor may ask for, seconds; a wrong Retry-After must not switch it off for days.
const PAUSE_S_MAX: u32 = 3_600;
/// SIP port of a contact that names none.
const PORT_DEFAULT: u16 = 5060;
/// Headers that pass unless a gateway says more (signalling.md 1).
const PASSED: [&str; 8] =
    ["diversion", "history-info", "p-charge-info", "identity", "user-to-user", "reason", "p-early-media", "subject"];

/// How far an attempt is. The order is the order of the set-up timers: it only ever goes up (S-D10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Progress {
    Sent,
    Proceeding,
    /// 18x without SDP, other than 180.
    Early,
    /// 18x with SDP, other than 180.
    EarlyMedia,
    Ringing,
}

/// The attempt that is on its way, or that answered.
#[derive(Debug)]
pub(crate) struct Attempt {
    /// Its place in the plan.
    pub(crate) route: usize,
    pub(crate) leg: LegId,
    pub(crate) remote: SocketAddr,
    pub(crate) sent: Now,
    pub(crate) place: LegPlace,
    pub(crate) progress: Progress,
    /// A 180 was seen.
    pub(crate) ringing_seen: bool,
    /// An 18x with SDP was seen.
    pub(crate) sdp_seen: bool,
    /// Early media was seen.
    pub(crate) rtp_seen: bool,
    /// It answered with a 2xx.
    pub(crate) answered: bool,
    redirects: u8,
    /// First 18x or 2xx, ms after the INVITE.
    pub(crate) pdd_ms: Option<i64>,
}

impl Attempt {
    /// The attempt of a call that was answered in another life of the switch.
    pub(crate) fn answered(leg: LegId, remote: SocketAddr, sent: Now, place: LegPlace) -> Attempt {
        Attempt {
            route: 0,
            leg,
            remote,
            sent,
            place,
            progress: Progress::Sent,
            ringing_seen: false,
            sdp_seen: true,
            rtp_seen: true,
            answered: true,
            redirects: 0,
            pdd_ms: None,
        }
    }

    pub(crate) fn is_ringing(&self) -> bool {
        self.progress == Progress::Ringing
    }
}

impl Call {
    /// Sends the call to a route whose line was taken.
    pub(crate) fn start_attempt(&mut self, cx: &mut Shared, now: Now, route: usize) {
        self.routes[route] = RouteUse::Tried;
        self.state = CallState::Trying;
        self.switches += u32::from(!self.causes.is_empty());
        let snapshot = self.snapshot.clone();
        let chosen = self.plan.routes[route].clone();
        let gateway = &snapshot.routing[chosen.gateway];
        // `plan` leaves out gateways without an address.
        // Not back to where the call came from, when the gateway has another address.
        let source = self.invite.remote.ip();
        let elsewhere = gateway.remotes.iter().find(|r| r.ip() != source);
        let Some(&remote) = elsewhere.or(gateway.remotes.first()) else {
            return self.end_by_server(cx, now, ServerReason::InternalError);
        };
        self.usage.callee_gateway = gateway.name.as_str().into();
        self.usage.caller_out = self.plan.caller_out(&chosen).into();
        self.usage.callee_out = self.plan.callee_out(&chosen).into();
        self.usage.callee_type = 1;
        let number = if gateway.clearing_use_callout { &self.usage.callee_out } else { &self.usage.callee_billed };
        let digits = snapshot.settings.route_prefix_digits;
        let number = billing_number(number, &gateway.billing_prefixes, digits).into();
        self.usage.vendor = snapshot
            .accounts
            .get(gateway.account)
            .map(|account| account.leg(chosen.terms(&snapshot, self.started.wall_ms), number));
        self.usage.flags.no_vendor_rate = chosen.vendor.is_none();
        if self.session.no_cdr {
            // NO_CDR_E164S: no vendor charge record either (rates.md 6).
            self.usage.vendor = None;
            self.usage.flags.no_vendor_rate = false;
        }
        self.invite_vendor(cx, now, route, gateway, remote, 0);
    }

    /// One INVITE; `redirects` of the attempt were followed to get here.
    fn invite_vendor(
        &mut self,
        cx: &mut Shared,
        now: Now,
        route: usize,
        gateway: &RoutingGateway,
        remote: SocketAddr,
        redirects: u8,
    ) {
        let place = LegPlace {
            remote: remote.ip(),
            listener: gateway.listener,
            network: cx.network(gateway.listener),
            device: gateway.media_mode,
            nat: gateway.nat,
            latch: gateway.latch,
        };
        self.usage.callee_ip = text::address(remote).into();
        self.usage.callee_call_id.clear();
        self.usage.callee_transport = Transport::Udp.as_str().into();
        self.usage.callee_local_ip = cx.listener(gateway.listener).map(|a| text::ip(a.ip())).unwrap_or_default().into();
        self.usage.callee_pdd_ms = None;
        let leg = cx.next_leg();
        self.attempt = Some(Attempt {
            route,
            leg,
            remote,
            sent: now,
            place,
            progress: Progress::Sent,
            ringing_seen: false,
            sdp_seen: false,
            rtp_seen: false,
            answered: false,
            redirects,
            pdd_ms: None,
        });

        let decision = self.media.decide(&self.snapshot.settings, &self.caller_place, &place);
        let relay = decision.path == Path::Relay;
        self.trace(cx, now, TraceEvent::Media { step: decision.step, relay, why: decision.why });
        let (config, ports) = (&cx.config.media, &mut cx.ports);
        let places = (&self.caller_place, &place);
        let begun = self.media.begin_attempt(now, self.flow_no, config, &decision, places, ports);
        if let Ok(Some(given_up)) = &begun {
            cx.media_ports.remove(given_up);
        }
        if let Some((caller, callee)) = self.media.ports() {
            cx.media_ports.insert(caller, (self.key, tandem_media::Side::Caller));
            cx.media_ports.insert(callee, (self.key, tandem_media::Side::Callee));
        }
        if let Err(problem) = begun {
            let detail = problem.to_string();
            self.trace(cx, now, TraceEvent::Rejected { reason: problem.reason(), detail: detail.into() });
            return self.attempt_failed(cx, now, Cause::server(problem.reason()), problem.is_final());
        }
        self.usage.rtp_forward = self.media.is_relayed();
        self.usage.media_step = self.media.step.clone();

        let order = self.invite_for(gateway, remote);
        let (caller, callee) = (order.caller.user.as_str().into(), order.dialled.as_str().into());
        self.trace(cx, now, TraceEvent::Attempt { gateway: gateway.name.as_str().into(), remote, caller, callee });
        cx.legs.insert(leg, self.key);
        self.order(cx, leg, LegEvent::Try(Box::new(order)));
        let system = self.snapshot.settings.timeout_invite_s;
        self.arm_setup(cx, now, CallTimer::Invite, gateway.timeouts.invite_s, system);
    }

    /// What the vendor is sent. Nothing of the caller's dialog is in it (signalling.md 1).
    fn invite_for(&mut self, gateway: &RoutingGateway, remote: SocketAddr) -> Try {
        let mapping = &self.snapshot.mapping[self.mapping];
        let (caller, callee) = (self.usage.caller_out.to_string(), self.usage.callee_out.to_string());
        // RFC 3323: who asked for privacy is anonymous in From; a trusted vendor learns the number by its own header.
        let hidden = self.invite.identity.private;
        let from = if hidden {
            Party { user: "anonymous".into(), display: "Anonymous".into(), host: "anonymous.invalid".into() }
        } else {
            Party { user: caller.clone(), ..Party::default() }
        };
        let headers = passed(&self.invite.headers, mapping, gateway);
        Try {
            remote,
            listener: gateway.listener,
            transport: Transport::Udp,
            call_id: String::new(),
            caller: from,
            callee: Party { user: callee.clone(), ..Party::default() },
            dialled: callee,
            identity: Identity {
                asserted: gateway.send_asserted.then_some(caller),
                private: hidden,
                ..Identity::default()
            },
            headers,
            max_forwards: self.invite.max_forwards.saturating_sub(1),
            hop: Some(
                [&*self.snapshot.node, ";", &text::number((hops(self.invite.hop.as_deref()) + 1).into())].concat(),
            ),
            user_agent: String::new(),
            expires_s: None,
            rel100: Rel100::Unsupported,
            sdp: self.media.offer_for_callee(),
        }
    }

    /// Starts a set-up timer and stops the others; the gateway's value wins over the system's (S-D10).
    fn arm_setup(&mut self, cx: &mut Shared, now: Now, timer: CallTimer, own_s: u32, system_s: u32) {
        self.disarm_setup(cx);
        let seconds = if own_s != 0 { own_s } else { system_s };
        self.arm(cx, timer, now.mono.plus_secs(u64::from(seconds)));
    }

    fn disarm_setup(&mut self, cx: &mut Shared) {
        for timer in [
            CallTimer::Invite,
            CallTimer::Trying,
            CallTimer::SessionProgress,
            CallTimer::SessionProgressSdp,
            CallTimer::Ringing,
        ] {
            self.disarm(cx, timer);
        }
    }

    /// The attempt got so far; a repeat or a step back restarts nothing.
    fn progress(&mut self, cx: &mut Shared, now: Now, progress: Progress) {
        let Some(attempt) = self.attempt.as_mut().filter(|a| a.progress < progress) else {
            return;
        };
        attempt.progress = progress;
        let route = attempt.route;
        let snapshot = self.snapshot.clone();
        let own = &snapshot.routing[self.plan.routes[route].gateway].timeouts;
        let system = &snapshot.settings;
        match progress {
            Progress::Sent => {}
            Progress::Proceeding => self.arm_setup(cx, now, CallTimer::Trying, own.trying_s, system.timeout_trying_s),
            Progress::Early => {
                let system_s = system.timeout_session_progress_s;
                self.arm_setup(cx, now, CallTimer::SessionProgress, own.session_progress_s, system_s);
            }
            Progress::EarlyMedia => {
                let system_s = system.timeout_session_progress_sdp_s;
                self.arm_setup(cx, now, CallTimer::SessionProgressSdp, own.session_progress_sdp_s, system_s);
            }
            Progress::Ringing => {
                self.arm_setup(cx, now, CallTimer::Ringing, own.ringing_s, system.timeout_ringing_s);
            }
        }
    }

    pub(crate) fn vendor_proceeding(&mut self, cx: &mut Shared, now: Now) {
        if self.state == CallState::Trying {
            self.progress(cx, now, Progress::Proceeding);
        }
    }

    /// A provisional response above 100.
    pub(crate) fn vendor_rings(&mut self, cx: &mut Shared, now: Now, ring: Ring) {
        if self.state != CallState::Trying {
            return;
        }
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        attempt.ringing_seen |= ring.status == 180;
        attempt.sdp_seen |= ring.sdp.is_some();
        let (place, route) = (attempt.place, attempt.route);
        let progress = match (ring.status, ring.sdp.is_some()) {
            (180, _) => Progress::Ringing,
            (_, true) => Progress::EarlyMedia,
            (_, false) => Progress::Early,
        };
        self.progress(cx, now, progress);
        let sdp = match ring.sdp.as_deref().map(|body| self.media.described(now, body, &place, &cx.config.media)) {
            None => None,
            Some(Ok(body)) => Some(body),
            Some(Err(problem)) => {
                let detail = problem.to_string();
                self.trace(cx, now, TraceEvent::Rejected { reason: problem.reason(), detail: detail.into() });
                self.hang_up(cx, tandem_media::Side::Callee, &Reason::q850(problem.reason().q850()));
                return self.attempt_failed(cx, now, Cause::server(problem.reason()), problem.is_final());
            }
        };
        self.usage.ring_ms = self.usage.ring_ms.or(Some(now.wall_ms));
        self.first_response(cx, now);
        let snapshot = self.snapshot.clone();
        let gateway = &snapshot.routing[self.plan.routes[route].gateway];
        let headers = passed(&ring.headers, &snapshot.mapping[self.mapping], gateway);
        self.order(cx, self.a_leg, LegEvent::Ring(Ring { status: ring.status, sdp, headers }));
    }

    /// The first 18x or 2xx of the attempt, and of the call: post-dial delays, and the set-up limit is met.
    pub(crate) fn first_response(&mut self, cx: &mut Shared, now: Now) {
        if let Some(attempt) = &mut self.attempt {
            let pdd_ms = (now.mono.since(attempt.sent.mono) / 1_000) as i64;
            let pdd_ms = *attempt.pdd_ms.get_or_insert(pdd_ms);
            self.usage.callee_pdd_ms = Some(pdd_ms);
        }
        let since = (now.mono.since(self.started.mono) / 1_000) as i64;
        self.usage.caller_pdd_ms.get_or_insert(since);
        self.disarm(cx, CallTimer::CallProceeding);
    }

    /// 2xx.
    pub(crate) fn vendor_answers(&mut self, cx: &mut Shared, now: Now, connect: Connect) {
        if self.state != CallState::Trying {
            return;
        }
        let Some(attempt) = &mut self.attempt else {
            return;
        };
        attempt.answered = true;
        let (place, route) = (attempt.place, attempt.route);
        self.disarm_setup(cx);
        let sdp = match connect.sdp.as_deref().map(|body| self.media.described(now, body, &place, &cx.config.media)) {
            // The answer came in a provisional response; it is repeated (RFC 3261 13.2.1).
            None => self.media.told_caller(),
            Some(Ok(body)) => Some(body),
            Some(Err(problem)) => {
                let detail = problem.to_string();
                self.trace(cx, now, TraceEvent::Rejected { reason: problem.reason(), detail: detail.into() });
                self.hang_up(cx, tandem_media::Side::Callee, &Reason::q850(problem.reason().q850()));
                return self.attempt_failed(cx, now, Cause::server(problem.reason()), true);
            }
        };
        if sdp.is_none() {
            let reason = ServerReason::CodecMismatch;
            let detail = "the answer has no session description".to_owned();
            self.trace(cx, now, TraceEvent::Rejected { reason, detail: detail.into() });
            self.hang_up(cx, tandem_media::Side::Callee, &Reason::q850(reason.q850()));
            return self.attempt_failed(cx, now, Cause::server(reason), true);
        }
        self.first_response(cx, now);
        self.disarm(cx, CallTimer::Expires);
        self.usage.callee_product = connect.user_agent.into();
        self.usage.sip_status_out = 200;
        let snapshot = self.snapshot.clone();
        let gateway = &snapshot.routing[self.plan.routes[route].gateway];
        let headers = passed(&connect.headers, &snapshot.mapping[self.mapping], gateway);
        self.trace(cx, now, TraceEvent::Answered { gateway: gateway.name.as_str().into() });
        self.record_attempt(now, EndReason::Sip(200), 16, String::new());
        self.answered(cx, now, Connect { sdp, headers, user_agent: String::new() });
    }

    /// 3xx: followed when it leads to another address of the same gateway with the same number, which its line and its
    /// price cover; otherwise a failure (signalling.md 8).
    pub(crate) fn vendor_redirects(&mut self, cx: &mut Shared, now: Now, redirect: &Redirect) {
        if self.state != CallState::Trying {
            return;
        }
        let Some((route, redirects, from)) = self.attempt.as_ref().map(|a| (a.route, a.redirects, a.remote)) else {
            return;
        };
        self.forget_attempt_leg(cx);
        let snapshot = self.snapshot.clone();
        let gateway = &snapshot.routing[self.plan.routes[route].gateway];
        let target = redirect.contacts.iter().find_map(|contact| {
            let ip: IpAddr = contact.host.trim_matches(['[', ']']).parse().ok()?;
            let to = SocketAddr::new(ip, contact.port.unwrap_or(PORT_DEFAULT));
            let same_number = contact.user.is_empty() || contact.user.trim_start_matches('+') == self.usage.callee_out;
            (gateway.remotes.contains(&to) && to != from && same_number).then_some(to)
        });
        match target {
            Some(to) if redirects < REDIRECTS_MAX => {
                self.disarm_setup(cx);
                self.record_attempt(now, EndReason::Sip(redirect.status), 0, format!("redirected to {to}"));
                self.causes.push(Cause::status(redirect.status));
                self.trace(cx, now, TraceEvent::Redirected { to });
                self.invite_vendor(cx, now, route, gateway, to, redirects + 1);
            }
            Some(_) | None => self.attempt_failed(cx, now, Cause::status(redirect.status), false),
        }
    }

    /// A final failure.
    pub(crate) fn vendor_fails(&mut self, cx: &mut Shared, now: Now, fail: Fail) {
        if self.state != CallState::Trying {
            return;
        }
        self.forget_attempt_leg(cx);
        let cause = match fail.cause {
            FailCause::Response => Cause { reason: EndReason::Sip(fail.status), q850: fail.reason.q850 },
            FailCause::Transport => Cause::server(ServerReason::ConnectionTimeout),
            FailCause::Timeout => {
                let heard = self.attempt.as_ref().is_some_and(|a| a.progress > Progress::Sent);
                let silent = ServerReason::ConnectionTimeout;
                Cause::server(if heard { ServerReason::ResponseTimeout } else { silent })
            }
        };
        if let (503, Some(seconds), Some(attempt)) = (fail.status, fail.retry_after_s, &self.attempt) {
            let gateway = self.snapshot.routing[self.plan.routes[attempt.route].gateway].id;
            let until_ms = now.wall_ms + i64::from(seconds.min(PAUSE_S_MAX)) * 1_000;
            cx.ask(Question::Pause { gateway, until_ms });
        }
        if !fail.reason.is_empty() {
            self.usage.sip_reason = text_of(&fail.reason).into();
        }
        self.attempt_failed(cx, now, cause, false);
    }

    /// A set-up timer fired: the leg is cancelled in the background, the call goes on at once (S-D10).
    pub(crate) fn attempt_timed_out(&mut self, cx: &mut Shared, now: Now, reason: ServerReason) {
        if self.state != CallState::Trying {
            return;
        }
        self.hang_up(cx, tandem_media::Side::Callee, &Reason::q850(reason.q850()));
        self.attempt_failed(cx, now, Cause::server(reason), false);
    }

    pub(crate) fn forget_attempt_leg(&mut self, cx: &mut Shared) {
        if let Some(attempt) = &self.attempt {
            cx.legs.remove(&attempt.leg);
        }
    }

    /// Another gateway or the end (routing.md 8). `is_final`: no other gateway could help.
    pub(crate) fn attempt_failed(&mut self, cx: &mut Shared, now: Now, cause: Cause, is_final: bool) {
        self.drain_media(cx, now);
        self.disarm_setup(cx);
        let Some(attempt) = &self.attempt else {
            return self.fail(cx, now, EndDirection::Server, cause.reason);
        };
        let route = attempt.route;
        let snapshot = self.snapshot.clone();
        let gateway = &snapshot.routing[self.plan.routes[route].gateway];
        let mapping = &snapshot.mapping[self.mapping];
        // E-D5 rule 4: on request the replaced cause also decides.
        let judged = match cause.reason {
            EndReason::Sip(status) if mapping.replace_before_switch => {
                replacement(&mapping.failed_sip_code, status).map_or(cause, Cause::status)
            }
            EndReason::Sip(_) | EndReason::Server(_) | EndReason::Normal | EndReason::Q850(_) => cause,
        };
        let mut decision = decide(
            &Failed {
                a_gone: false,
                answered: attempt.answered,
                cause: judged,
                rtp_seen: attempt.rtp_seen && self.media.is_relayed(),
                sdp_seen: attempt.sdp_seen,
                ringing_seen: attempt.ringing_seen,
                registered_stop: false,
                switches: self.switches,
            },
            &gateway.switch,
            &snapshot.settings,
        );
        if is_final && decision.next {
            decision = Decision { row: decision.row, next: false };
        }
        let q850 = cause.q850.unwrap_or(cause.reason.q850());
        self.record_attempt(now, cause.reason, q850, decision.to_string());
        self.causes.push(cause);
        let name = gateway.name.as_str().into();
        self.trace(cx, now, TraceEvent::AttemptFailed { gateway: name, reason: cause.reason, decision });
        self.attempt = None;
        if decision.next {
            self.next_route(cx, now);
        } else {
            self.give_up(cx, now);
        }
    }

    /// Asks for the line of what is left: the rest of the plan, then protect routes while they may still be tried
    /// (R-D11, R-D15).
    pub(crate) fn next_route(&mut self, cx: &mut Shared, now: Now) {
        let used = |route: usize| self.routes[route] != RouteUse::Fresh;
        let passed = |route: usize| self.routes[route] == RouteUse::Passed;
        let mut open = self.plan.open(false, used, passed);
        if open.is_empty() {
            let delay_s = u64::from(self.snapshot.settings.protect_route_delay_s);
            let in_time = delay_s == 0 || now.mono.since(self.started.mono) <= delay_s * 1_000_000;
            if in_time {
                open = self.plan.open(true, used, passed);
            }
        }
        if open.is_empty() {
            return self.give_up(cx, now);
        }
        let candidates = self.candidates(&open);
        self.asked = open;
        self.state = CallState::Choosing;
        cx.ask(Question::NextLine { call: self.key, flow_no: self.flow_no, candidates });
    }

    pub(crate) fn candidates(&self, routes: &[usize]) -> Vec<Candidate> {
        let candidate = |route: &usize| {
            let gateway = self.snapshot.routing.get(self.plan.routes.get(*route)?.gateway)?;
            Some(Candidate { gateway: gateway.id, clearing: self.snapshot.accounts.get(gateway.account)?.id })
        };
        routes.iter().filter_map(candidate).collect()
    }

    /// Nothing is left to try: the caller is told the cause of R-D21, or that there was no way.
    fn give_up(&mut self, cx: &mut Shared, now: Now) {
        let Some(index) = final_cause(&self.causes) else {
            return self.fail(cx, now, EndDirection::Server, ServerReason::NoAvailableRouter.into());
        };
        let cause = self.causes[index];
        let direction = match cause.reason {
            EndReason::Sip(status) => {
                self.usage.sip_status_out = status;
                EndDirection::Callee
            }
            EndReason::Server(_) | EndReason::Normal | EndReason::Q850(_) => EndDirection::Server,
        };
        self.usage.q850_out = match cause.reason {
            EndReason::Sip(_) => cause.q850.unwrap_or(cause.reason.q850()),
            EndReason::Server(_) | EndReason::Normal | EndReason::Q850(_) => 0,
        };
        self.fail(cx, now, direction, cause.reason);
    }

    /// One line of the attempts list of the CDR.
    pub(crate) fn record_attempt(&mut self, now: Now, reason: EndReason, q850: u8, next: String) {
        let Some(attempt) = &self.attempt else {
            return;
        };
        let gateway = self.gateway_name(attempt.route).into();
        let status = match reason {
            EndReason::Sip(status) => status,
            EndReason::Server(_) | EndReason::Normal | EndReason::Q850(_) => 0,
        };
        let start_ms = attempt.sent.wall_ms;
        self.usage.attempts.push(AttemptRecord {
            gateway,
            status,
            q850,
            reason: reason.text().into(),
            start_ms,
            end_ms: start_ms + (now.mono.since(attempt.sent.mono) / 1_000) as i64,
            next: next.into(),
        });
    }
}

/// Headers that may go to the other leg: the default list and what either gateway names, `x-*` style wildcards allowed.
fn passed(headers: &[(String, String)], mapping: &MappingGateway, gateway: &RoutingGateway) -> Vec<(String, String)> {
    let listed = |name: &str| {
        let own = mapping.pass_headers.iter().chain(&gateway.pass_headers);
        PASSED.contains(&name)
            || own.into_iter().any(|entry| match entry.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => *entry == name,
            })
    };
    headers.iter().filter(|(name, _)| listed(&name.to_ascii_lowercase())).cloned().collect()
}
