//! The end of a call: everything it held is given back, and its usage is reported, once.

use tandem_ebpf_abi::RemoveReason;
use tandem_leg::{EndDirection, EndReason, Now, ServerReason, text};
use tandem_media::Side;

use crate::call::{Call, CallState};
use crate::calls::Shared;
use crate::failover::Decision;
use crate::output::{Finish, Output};
use crate::trace::TraceEvent;

/// The wall clock moved against the monotonic one by more than this, milliseconds: the CDR says so (billing.md 6.9).
const CLOCK_STEP_MS: i64 = 1_000;

impl Call {
    /// Ends the call. Orders to its legs went out before; `status` is the final status the caller got, 0 for none.
    pub(crate) fn finish(
        &mut self,
        cx: &mut Shared,
        now: Now,
        direction: EndDirection,
        reason: EndReason,
        status: u16,
    ) {
        debug_assert!(self.state != CallState::Over, "a call finished twice");
        if self.state == CallState::Over {
            return;
        }
        let connected = self.usage.connect_ms.is_some();
        if self.attempt.as_ref().is_some_and(|a| !a.answered) {
            let next = match direction {
                EndDirection::Caller => Decision { row: 1, next: false }.to_string(),
                EndDirection::Callee | EndDirection::Server => format!("stop, {}", reason.text()),
            };
            self.record_attempt(now, reason, reason.q850(), next);
        }
        self.disarm_all(cx);
        cx.legs.remove(&self.a_leg);
        self.forget_attempt_leg(cx);
        cx.flows.remove(&self.flow_no);
        self.unguard(cx);

        self.note_media();
        let why = match reason {
            EndReason::Server(ServerReason::SystemRestart) => RemoveReason::Shutdown,
            EndReason::Server(ServerReason::RtpInterrupted) => RemoveReason::RtpInterrupted,
            _ if connected => RemoveReason::CallEnded,
            _ => RemoveReason::CallFailed,
        };
        let remains = self.media.close(why);
        self.drain_media(cx, now);
        for port in remains.ports.map(|(a, b)| [a, b]).into_iter().flatten() {
            cx.media_ports.remove(&port);
            cx.ports.release(now.mono.micros(), port);
        }

        let usage = &mut self.usage;
        if let (Some(answered), true) = (self.session.answered, connected) {
            let held_ms = (now.mono.since(answered.mono) / 1_000) as i64;
            // A timer that fires late must not charge what was never reserved (accounts.md 4: "never later").
            usage.hold_ms = self.session.until_s.map_or(held_ms, |s| held_ms.min(s.saturating_mul(1_000)));
            usage.end_ms = answered.wall_ms + usage.hold_ms;
        } else {
            usage.hold_ms = 0;
            usage.end_ms = now.wall_ms;
        }
        let elapsed_ms = (now.mono.since(self.started.mono) / 1_000) as i64;
        usage.flags.clock_step = (now.wall_ms - self.started.wall_ms - elapsed_ms).abs() > CLOCK_STEP_MS;
        usage.end_direction = direction.code();
        usage.end_reason = reason.code();
        usage.end_reason_text = reason.text().into();
        usage.sip_status_in = status;
        if !connected {
            usage.flags.no_vendor_rate = false;
        }
        let hold_ms = usage.hold_ms;
        self.trace(cx, now, TraceEvent::End { direction, reason, status, hold_ms });
        let mut finish = Finish {
            call: self.key,
            a_leg: self.a_leg,
            ports: remains.ports,
            usage: Box::new(std::mem::take(&mut self.usage)),
            counters: remains.counters,
            quality: remains.quality,
            at: now,
            answered: self.session.answered.filter(|_| connected).map(|at| at.mono),
            unbilled_packets: remains.forgotten,
        };
        finish.sum_media(Side::Caller);
        finish.sum_media(Side::Callee);
        cx.out.push_back(Output::Finish(Box::new(finish)));
        self.state = CallState::Over;
    }

    /// The loop guard counts calls only while they are set up.
    pub(crate) fn unguard(&mut self, cx: &mut Shared) {
        if std::mem::take(&mut self.guarded) {
            let source = self.invite.remote.ip();
            cx.guard.end(self.started.mono, source, &self.invite.caller.user, &self.invite.dialled);
        }
    }

    /// Codecs and addresses as they are now.
    pub(crate) fn note_media(&mut self) {
        let address = |side| self.media.address(side).map(text::address).unwrap_or_default();
        self.usage.caller_rtp_ip = address(Side::Caller).into();
        self.usage.callee_rtp_ip = address(Side::Callee).into();
        let [caller, callee] = &self.media.codec;
        self.usage.caller_codec.clone_from(caller);
        self.usage.callee_codec.clone_from(callee);
        self.usage.rtp_forward = self.media.is_relayed();
    }
}
