//! Server transaction of every request but INVITE and ACK (RFC 3261 17.2.2).

use tandem_leg::Time;

use crate::timer::{ABSORB_MS, Timer, Timers};

/// States of RFC 3261 figure 8. `Proceeding` is not entered: we send no provisional response to these requests
/// (RFC 4320 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No response yet.
    Trying,
    /// Final response sent.
    Completed,
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
    /// The transaction is over.
    Forget,
}

/// One request of theirs.
#[derive(Debug)]
pub struct Server {
    state: State,
}

impl Server {
    /// A request came.
    pub fn start() -> Server {
        Server { state: State::Trying }
    }

    /// Where it stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// The request came again.
    pub fn handle_retransmission(&self) -> Action {
        match self.state {
            State::Completed => Action::Resend,
            State::Trying | State::Terminated => Action::Nothing,
        }
    }

    /// The final response leaves at `now`. False when one left before.
    pub fn send(&mut self, now: Time, timers: &mut Timers) -> bool {
        if self.state != State::Trying {
            return false;
        }
        timers.start(Timer::J, now.plus_millis(ABSORB_MS));
        self.state = State::Completed;
        true
    }

    /// `timer` fired.
    pub fn handle_timer(&mut self, timer: Timer) -> Action {
        match (self.state, timer) {
            (State::Completed, Timer::J) => {
                self.state = State::Terminated;
                Action::Forget
            }
            _ => Action::Nothing,
        }
    }
}
