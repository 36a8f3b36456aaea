//! Client transaction of every request but INVITE and ACK (RFC 3261 17.1.2).

use tandem_leg::Time;

use crate::config::ResendSchedule;
use crate::timer::{T2_MS, T4_MS, Timer, Timers, resend_at};

/// States of RFC 3261 figure 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Request sent, nothing came back.
    Trying,
    /// A provisional response came.
    Proceeding,
    /// A final response came; its retransmissions are swallowed.
    Completed,
    /// Gone.
    Terminated,
}

/// What has to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Send the request again.
    Resend,
    /// Give the response to the user.
    Pass,
    /// Tell the user that no final response came.
    Timeout,
    /// Tell the user that the transport failed.
    TransportError,
    /// The transaction is over and the user knows.
    Forget,
}

/// One request of ours.
#[derive(Debug)]
pub struct Client {
    state: State,
    resend: ResendSchedule,
    resent: usize,
}

impl Client {
    /// The request leaves at `now`.
    pub fn start(now: Time, resend: ResendSchedule, timers: &mut Timers) -> Client {
        if let Some(wait) = resend.wait_ms(0) {
            timers.start(Timer::E, now.plus_millis(wait.into()));
        }
        timers.start(Timer::F, now.plus_millis(resend.life_ms()));
        Client { state: State::Trying, resend, resent: 0 }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// A response with `status` matched.
    pub fn handle_response(&mut self, now: Time, status: u16, timers: &mut Timers) -> Action {
        match (self.state, status) {
            (State::Trying, 100..=199) => {
                // Timer F goes on; "if timer E fires while in the Proceeding state, [it] MUST be reset to T2".
                timers.start(Timer::E, now.plus_millis(T2_MS));
                self.state = State::Proceeding;
                Action::Pass
            }
            (State::Proceeding, 100..=199) => Action::Pass,
            (State::Trying | State::Proceeding, _) => {
                timers.clear();
                timers.start(Timer::K, now.plus_millis(T4_MS));
                self.state = State::Completed;
                Action::Pass
            }
            (State::Completed | State::Terminated, _) => Action::Nothing,
        }
    }

    /// `timer`, due `at`, fired.
    pub fn handle_timer(&mut self, timer: Timer, at: Time, now: Time, timers: &mut Timers) -> Action {
        match (self.state, timer) {
            (State::Trying, Timer::E) => {
                self.resent += 1;
                if let Some(wait) = self.resend.wait_ms(self.resent) {
                    timers.start(Timer::E, resend_at(at, now, wait.into()));
                }
                Action::Resend
            }
            (State::Proceeding, Timer::E) => {
                timers.start(Timer::E, resend_at(at, now, T2_MS));
                Action::Resend
            }
            (State::Trying | State::Proceeding, Timer::F) => {
                timers.clear();
                self.state = State::Terminated;
                Action::Timeout
            }
            (State::Completed, Timer::K) => {
                self.state = State::Terminated;
                Action::Forget
            }
            _ => Action::Nothing,
        }
    }

    /// The network says that the destination cannot be reached.
    pub fn handle_unreachable(&mut self, timers: &mut Timers) -> Action {
        match self.state {
            State::Trying | State::Proceeding => {
                timers.clear();
                self.state = State::Terminated;
                Action::TransportError
            }
            State::Completed | State::Terminated => Action::Nothing,
        }
    }
}
