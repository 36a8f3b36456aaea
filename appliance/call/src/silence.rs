//! RTP interruption: a relayed call whose media has gone silent is ended (spec media.md 5, M-D5).
//!
//! The fast path counts, the kernel never times anything out: when the earliest silence that could end the call is over, the
//! shard is asked when each side was heard last, and either the call ends or the timer is set to the next such instant. A
//! call with media is looked at once per time-out, not once per packet or second.

use tandem_leg::{Now, ServerReason, Time};
use tandem_media::Side;

use crate::call::{Call, CallState};
use crate::calls::Shared;
use crate::output::Output;
use crate::snapshot::MediaCheck;
use crate::trace::CallTimer;

/// How often a call on hold is looked at, milliseconds.
const HOLD_LOOK_MS: u64 = 1_000;

/// When the fast path heard one side last, microseconds of the monotonic clock; 0 = never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// RTP that was accepted.
    pub rtp_us: u64,
    /// RTCP that was accepted.
    pub rtcp_us: u64,
}

/// Since when silence counts: the answer, or the last change of the session; `None` on hold.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    since: Option<Time>,
    /// What the caller's and the vendor's gateway are watched for.
    checks: [MediaCheck; 2],
}

impl Call {
    /// The call is answered: from here on silence counts. `checks`: what the caller's and the vendor's gateway ask for.
    pub(crate) fn watch_media(&mut self, cx: &mut Shared, now: Now, checks: [MediaCheck; 2]) {
        self.session.silence.checks = checks;
        let watched = checks.iter().any(|check| *check != MediaCheck::None);
        if watched && self.media.is_relayed() && self.silence_us() > 0 {
            self.session.silence.since = Some(now.mono);
            self.arm(cx, CallTimer::Silence, Time(now.mono.micros() + self.silence_us()));
        }
    }

    /// The timer fired: the fast path is asked.
    pub(crate) fn ask_when_heard(&mut self, cx: &mut Shared) {
        if let (CallState::Connected, Some(ports)) = (self.state(), self.media.ports()) {
            cx.out.push_back(Output::WhenHeard { call: self.key, ports });
        }
    }

    /// When the fast path heard the caller and the callee.
    pub(crate) fn media_heard(&mut self, cx: &mut Shared, now: Now, fast: [Heard; 2]) {
        if self.state() != CallState::Connected {
            return;
        }
        if self.media.on_hold() {
            self.session.silence.since = None;
            return self.arm(cx, CallTimer::Silence, now.mono.plus_millis(HOLD_LOOK_MS));
        }
        let since = *self.session.silence.since.get_or_insert(now.mono);
        let rtcp = self.media.suppresses_silence();
        let heard = |side: Side| {
            let (fast, slow) = (fast[side as usize], self.media.heard_at(side));
            let rtcp_us = if rtcp { fast.rtcp_us.max(slow.rtcp_us) } else { 0 };
            since.micros().max(fast.rtp_us).max(slow.rtp_us).max(rtcp_us)
        };
        let [caller, callee] = self.session.silence.checks;
        let mut earliest = u64::MAX;
        for (check, own, other) in [(caller, Side::Caller, Side::Callee), (callee, Side::Callee, Side::Caller)] {
            // What is sent to a device is what was accepted from the other one.
            if matches!(check, MediaCheck::ToRemote | MediaCheck::Both) {
                earliest = earliest.min(heard(other));
            }
            if matches!(check, MediaCheck::FromRemote | MediaCheck::Both) {
                earliest = earliest.min(heard(own));
            }
        }
        let due = Time(earliest.saturating_add(self.silence_us()));
        if due <= now.mono {
            self.end_by_server(cx, now, ServerReason::RtpInterrupted);
        } else {
            self.arm(cx, CallTimer::Silence, due);
        }
    }

    /// The session was changed, perhaps on hold or off it: the time-out starts at zero. Whether it is on hold now is seen when
    /// the timer fires.
    pub(crate) fn restart_silence(&mut self, now: Now) {
        self.session.silence.since = Some(now.mono);
    }

    fn silence_us(&self) -> u64 {
        u64::from(self.snapshot.settings.no_media_hangup_s) * 1_000_000
    }
}
