//! INVITE client transaction (RFC 3261 17.1.1, RFC 6026 8.4).
//!
//! ```text
//!            Calling --1xx--> Proceeding --300-699--> Completed --D--> Terminated
//!               |  \--300-699------------------------/
//!               \--2xx--> Accepted (from Proceeding too) --M--> Terminated
//! ```

use tandem_leg::Time;

use crate::config::ResendSchedule;
use crate::timer::{ABSORB_MS, Timer, Timers, resend_at};

/// States of RFC 3261 figure 5 as corrected by RFC 6026.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// INVITE sent, nothing came back.
    Calling,
    /// A provisional response came.
    Proceeding,
    /// A 3xx-6xx came; its retransmissions are acknowledged.
    Completed,
    /// A 2xx came; its retransmissions and forks go to the user.
    Accepted,
    /// Gone.
    Terminated,
}

/// What has to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Send the INVITE again.
    Resend,
    /// Give the response to the user.
    Pass,
    /// Acknowledge the response and give it to the user.
    AckAndPass,
    /// Acknowledge a repeated response.
    Ack,
    /// Tell the user that no response came.
    Timeout,
    /// Tell the user that the transport failed.
    TransportError,
    /// The transaction is over and the user knows.
    Forget,
}

/// One INVITE of ours.
#[derive(Debug)]
pub struct ClientInvite {
    state: State,
    resend: ResendSchedule,
    resent: usize,
}

impl ClientInvite {
    /// The INVITE leaves at `now`.
    pub fn start(now: Time, resend: ResendSchedule, timers: &mut Timers) -> ClientInvite {
        if let Some(wait) = resend.wait_ms(0) {
            timers.start(Timer::A, now.plus_millis(wait.into()));
        }
        timers.start(Timer::B, now.plus_millis(resend.life_ms()));
        ClientInvite { state: State::Calling, resend, resent: 0 }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// A response with `status` matched.
    pub fn handle_response(&mut self, now: Time, status: u16, timers: &mut Timers) -> Action {
        match (self.state, status) {
            (State::Calling, 100..=199) => {
                timers.clear();
                self.state = State::Proceeding;
                Action::Pass
            }
            (State::Proceeding, 100..=199) => Action::Pass,
            (State::Calling | State::Proceeding, 200..=299) => {
                timers.clear();
                timers.start(Timer::M, now.plus_millis(ABSORB_MS));
                self.state = State::Accepted;
                Action::Pass
            }
            (State::Accepted, 200..=299) => Action::Pass,
            (State::Calling | State::Proceeding, _) => {
                timers.clear();
                timers.start(Timer::D, now.plus_millis(ABSORB_MS));
                self.state = State::Completed;
                Action::AckAndPass
            }
            (State::Completed, 300..=699) => Action::Ack,
            (State::Completed | State::Accepted | State::Terminated, _) => Action::Nothing,
        }
    }

    /// `timer`, due `at`, fired.
    pub fn handle_timer(&mut self, timer: Timer, at: Time, now: Time, timers: &mut Timers) -> Action {
        match (self.state, timer) {
            (State::Calling, Timer::A) => {
                self.resent += 1;
                if let Some(wait) = self.resend.wait_ms(self.resent) {
                    timers.start(Timer::A, resend_at(at, now, wait.into()));
                }
                Action::Resend
            }
            (State::Calling | State::Proceeding, Timer::B) => {
                timers.clear();
                self.state = State::Terminated;
                Action::Timeout
            }
            (State::Completed, Timer::D) | (State::Accepted, Timer::M) => {
                self.state = State::Terminated;
                Action::Forget
            }
            _ => Action::Nothing,
        }
    }

    /// The network says that the destination cannot be reached. Only before a response: after one the far side lives.
    pub fn handle_unreachable(&mut self, timers: &mut Timers) -> Action {
        if self.state != State::Calling {
            return Action::Nothing;
        }
        timers.clear();
        self.state = State::Terminated;
        Action::TransportError
    }

    /// The user gave up before any response: nothing is sent any more, but a late response is still awaited.
    pub fn stop_resending(&self, timers: &mut Timers) {
        if self.state == State::Calling {
            timers.stop(Timer::A);
        }
    }

    /// The user waits no longer than 64*T1 from now for a final response: after a CANCEL ("If there is no final response
    /// for the original request in 64*T1 seconds, the UAC SHOULD then consider the original transaction cancelled",
    /// RFC 3261 9.1), or when the dialog of a re-INVITE is gone.
    pub fn expect_final(&self, now: Time, timers: &mut Timers) {
        self.limit(now.plus_millis(self.resend.life_ms()), timers);
    }

    /// The user waits no longer than `until` for a final response after a provisional one; the earliest limit holds.
    pub fn limit(&self, until: Time, timers: &mut Timers) {
        if self.state == State::Proceeding {
            timers.start_by(Timer::B, until);
        }
    }
}
