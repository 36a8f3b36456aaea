//! INVITE server transaction (RFC 3261 17.2.1, RFC 6026 8.5).
//!
//! A 2xx is resent by the user until its ACK comes (RFC 3261 13.3.1.4); meanwhile the transaction swallows repeated
//! INVITEs in `Accepted`.

use tandem_leg::Time;

use crate::config::ResendSchedule;
use crate::timer::{ABSORB_MS, Timer, Timers, resend_at};

/// States of RFC 3261 figure 7 as corrected by RFC 6026.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No final response yet.
    Proceeding,
    /// 3xx-6xx sent, ACK awaited.
    Completed,
    /// ACK to a 3xx-6xx came.
    Confirmed,
    /// 2xx sent.
    Accepted,
    /// Gone.
    Terminated,
}

/// What has to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Send the last response again.
    Resend,
    /// The ACK is for the user (it acknowledges a 2xx).
    Pass,
    /// The transaction is over.
    Forget,
}

/// One INVITE of theirs.
#[derive(Debug)]
pub struct ServerInvite {
    state: State,
    resend: ResendSchedule,
    resent: usize,
}

impl ServerInvite {
    /// An INVITE came; 100 is on its way.
    pub fn start(resend: ResendSchedule) -> ServerInvite {
        ServerInvite { state: State::Proceeding, resend, resent: 0 }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// The INVITE came again.
    pub fn handle_retransmission(&self) -> Action {
        match self.state {
            State::Proceeding | State::Completed => Action::Resend,
            State::Confirmed | State::Accepted | State::Terminated => Action::Nothing,
        }
    }

    /// A response with `status` leaves at `now`. False when it may not: a final one left before.
    pub fn send(&mut self, now: Time, status: u16, timers: &mut Timers) -> bool {
        if self.state != State::Proceeding {
            return false;
        }
        match status {
            100..=199 => {}
            200..=299 => {
                timers.start(Timer::L, now.plus_millis(ABSORB_MS));
                self.state = State::Accepted;
            }
            _ => {
                if let Some(wait) = self.resend.wait_ms(0) {
                    timers.start(Timer::G, now.plus_millis(wait.into()));
                }
                timers.start(Timer::H, now.plus_millis(self.resend.life_ms()));
                self.state = State::Completed;
            }
        }
        true
    }

    /// An ACK matched this transaction.
    pub fn handle_ack(&mut self, now: Time, timers: &mut Timers) -> Action {
        match self.state {
            State::Completed => {
                timers.clear();
                // Spec signalling.md 4: 32 s instead of T4, so that a delayed INVITE does not become a second call.
                timers.start(Timer::I, now.plus_millis(ABSORB_MS));
                self.state = State::Confirmed;
                Action::Nothing
            }
            State::Accepted => Action::Pass,
            State::Proceeding | State::Confirmed | State::Terminated => Action::Nothing,
        }
    }

    /// `timer`, due `at`, fired.
    pub fn handle_timer(&mut self, timer: Timer, at: Time, now: Time, timers: &mut Timers) -> Action {
        match (self.state, timer) {
            (State::Completed, Timer::G) => {
                self.resent += 1;
                if let Some(wait) = self.resend.wait_ms(self.resent) {
                    timers.start(Timer::G, resend_at(at, now, wait.into()));
                }
                Action::Resend
            }
            // Timer H is "drop silently" (spec signalling.md 4): there is no dialog that could be ended.
            (State::Completed, Timer::H) | (State::Confirmed, Timer::I) | (State::Accepted, Timer::L) => {
                timers.clear();
                self.state = State::Terminated;
                Action::Forget
            }
            _ => Action::Nothing,
        }
    }
}
