//! Another gateway or stop: the decision table of spec routing.md 8, row by row.

use std::fmt;

use tandem_leg::{EndReason, ServerReason};

use crate::settings::Settings;
use crate::snapshot::SwitchAllow;

/// Answers that are definitive about the number or the user: no other gateway will know better (row 9, R-D20).
const DEFINITIVE_STATUS: [u16; 6] = [404, 410, 484, 485, 603, 604];
/// The same as Q.850 causes. Only a cause that the vendor named counts: the table would make 21 of every 403.
const DEFINITIVE_CAUSE: [u8; 4] = [1, 21, 22, 28];
/// Causes of a user, which win over those of a network when all attempts failed (R-D21).
const USER_STATUS: [u16; 5] = [486, 404, 484, 603, 480];

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The end reason it would be, if it were the last attempt.
    pub reason: EndReason,
    /// Q.850 cause the vendor named in a `Reason` header.
    pub q850: Option<u8>,
}

impl Cause {
    /// A final response.
    pub fn status(status: u16) -> Cause {
        Cause { reason: EndReason::Sip(status), q850: None }
    }

    /// A decision of the switch: a timer or a transport error.
    pub fn server(reason: ServerReason) -> Cause {
        Cause { reason: EndReason::Server(reason), q850: None }
    }

    fn sip(&self) -> Option<u16> {
        match self.reason {
            EndReason::Sip(status) => Some(status),
            EndReason::Server(_) | EndReason::Normal | EndReason::Q850(_) => None,
        }
    }

    fn is_one_of(&self, statuses: &[u16], causes: &[u8]) -> bool {
        self.sip().is_some_and(|s| statuses.contains(&s)) || self.q850.is_some_and(|c| causes.contains(&c))
    }

    /// Whether this is about the called user, not about the way to him (R-D21).
    pub fn is_user_level(&self) -> bool {
        self.sip().is_some_and(|s| USER_STATUS.contains(&s)) || self.reason == EndReason::Server(ServerReason::NoAnswer)
    }
}

/// What is known when an attempt failed.
#[derive(Clone, Copy, Debug)]
pub struct Failed {
    /// The caller gave up or is gone.
    pub a_gone: bool,
    /// A 2xx was seen.
    pub answered: bool,
    /// How it failed.
    pub cause: Cause,
    /// RTP from the vendor was seen; only ever with relayed media.
    pub rtp_seen: bool,
    /// An 18x with SDP was seen.
    pub sdp_seen: bool,
    /// A 180 was seen.
    pub ringing_seen: bool,
    /// The gateway registers with us and `SS_SIP_USER_AGENT_STOP_SWITCH_AFTER_INVITE_TIMEOUT` is on. Always false until
    /// there are registrations.
    pub registered_stop: bool,
    /// Switches made so far in this call.
    pub switches: u32,
}

/// What the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Row of the table that decided, 1 to 12.
    pub row: u8,
    /// Try another gateway.
    pub next: bool,
}

impl Decision {
    /// The row in words.
    pub const fn why(self) -> &'static str {
        match self.row {
            1 => "the caller is gone",
            2 => "the attempt was answered",
            3 => "switch until connect",
            4 => "cause in the gateway's error-code list",
            5 => "media came from the vendor",
            6 => "SDP came before the answer",
            7 => "it was ringing",
            8 => "user busy",
            9 => "definitive answer about the number",
            10 => "registered gateway did not answer INVITE",
            11 => "network-type failure",
            12 => "limit of switches reached",
            _ => "",
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}: {}, {}", self.row, if self.next { "next" } else { "stop" }, self.why())
    }
}

/// Decides after a failed attempt; the first row that applies (spec routing.md 8). Permissions of the gateway win over
/// the system parameters.
pub fn decide(failed: &Failed, allow: &SwitchAllow, settings: &Settings) -> Decision {
    let stop = |row| Decision { row, next: false };
    // Row 12 is tested before every switch.
    let switch = |row| match settings.switch_limit {
        Some(limit) if failed.switches >= limit => stop(12),
        _ => Decision { row, next: true },
    };
    if failed.a_gone {
        return stop(1);
    }
    if failed.answered {
        return stop(2);
    }
    if settings.switch_until_connect {
        return switch(3);
    }
    if listed(&failed.cause, &allow.error_codes) {
        return if allow.error_code { switch(4) } else { stop(4) };
    }
    if failed.rtp_seen && !allow.rtp.unwrap_or(!settings.switch_stop_after_rtp_start) {
        return stop(5);
    }
    if failed.sdp_seen && !allow.sdp.unwrap_or(!settings.switch_stop_after_sdp) {
        return stop(6);
    }
    if failed.ringing_seen && !allow.ring.unwrap_or(false) {
        return stop(7);
    }
    let busy = failed.cause.is_one_of(&[486, 600], &[17]);
    if busy && !allow.busy.unwrap_or(!settings.switch_stop_after_user_busy) {
        return stop(8);
    }
    if failed.cause.is_one_of(&DEFINITIVE_STATUS, &DEFINITIVE_CAUSE) {
        return stop(9);
    }
    let no_response = failed.cause.reason == EndReason::Server(ServerReason::ConnectionTimeout);
    if no_response && failed.registered_stop {
        return stop(10);
    }
    switch(11)
}

/// Codes from 200 are SIP statuses, below 128 Q.850 causes.
fn listed(cause: &Cause, codes: &[u16]) -> bool {
    codes.iter().any(|&code| cause.sip() == Some(code) || cause.q850.is_some_and(|c| u16::from(c) == code))
}

/// Which attempt's cause the caller is told when all failed: the last one, unless only an earlier one was about the
/// user (R-D21). `None` without attempts.
pub fn final_cause(causes: &[Cause]) -> Option<usize> {
    causes.iter().rposition(Cause::is_user_level).or(causes.len().checked_sub(1))
}
