//! Timers by their RFC letters (RFC 3261 17 table 4, RFC 6026 7) and the table of those one transaction runs.
//!
//! A transaction runs at most two timers at once, so its table is two places; the endpoint keeps one entry in the
//! wheel per transaction, at the earliest of them.

use tandem_leg::Time;

/// T2: longest wait between retransmissions of a request that was answered provisionally, milliseconds.
pub const T2_MS: u64 = 4_000;
/// T4: how long a message may live in the network, milliseconds.
pub const T4_MS: u64 = 5_000;
/// How long a finished transaction absorbs what the far side still resends, milliseconds: 64*T1 with the far side's T1
/// at its standard value, whatever our own resend list is (spec signalling.md 4).
pub const ABSORB_MS: u64 = 32_000;

/// A timer of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// INVITE request retransmission.
    A,
    /// INVITE client transaction gives up.
    B,
    /// Wait for retransmissions of a 3xx-6xx to INVITE.
    D,
    /// Other request retransmission.
    E,
    /// Other client transaction gives up.
    F,
    /// 3xx-6xx response retransmission.
    G,
    /// No ACK came.
    H,
    /// Wait for retransmissions of the ACK.
    I,
    /// Wait for retransmissions of another request.
    J,
    /// Wait for retransmissions of another response.
    K,
    /// Wait for retransmissions of an accepted INVITE (RFC 6026).
    L,
    /// Wait for retransmissions and forks of a 2xx (RFC 6026).
    M,
}

const PLACES: usize = 2;

/// The running timers of one transaction.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timers {
    places: [Option<(Timer, Time)>; PLACES],
}

impl Timers {
    /// Starts `timer`, or moves it when it runs.
    pub fn start(&mut self, timer: Timer, at: Time) {
        self.stop(timer);
        // Invariant: no machine runs more than two timers at once (A and B, E and F, G and H).
        if let Some(free) = self.places.iter_mut().find(|p| p.is_none()) {
            *free = Some((timer, at));
        } else {
            debug_assert!(false, "a transaction runs more than {PLACES} timers");
        }
    }

    /// Starts `timer`, or moves it when it would fire later.
    pub fn start_by(&mut self, timer: Timer, at: Time) {
        let running = self.places.iter().flatten().find(|(t, _)| *t == timer).map(|(_, at)| *at);
        self.start(timer, running.map_or(at, |running| running.min(at)));
    }

    /// Stops `timer`; nothing happens when it does not run.
    pub fn stop(&mut self, timer: Timer) {
        for place in &mut self.places {
            if place.is_some_and(|(t, _)| t == timer) {
                *place = None;
            }
        }
    }

    /// Stops all.
    pub fn clear(&mut self) {
        self.places = [None; PLACES];
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Time> {
        self.places.iter().flatten().map(|&(_, at)| at).min()
    }

    /// Takes the earliest timer whose deadline `now` has reached. A give-up goes before a retransmission of the same
    /// instant, so that nothing is sent by a transaction that fails.
    pub fn pop(&mut self, now: Time) -> Option<(Timer, Time)> {
        let resend = |t: Timer| matches!(t, Timer::A | Timer::E | Timer::G);
        let due = self.places.iter_mut().filter(|p| p.is_some_and(|(_, at)| at <= now));
        due.min_by_key(|p| p.map(|(t, at)| (at, resend(t))))?.take()
    }
}

/// When the next retransmission after the one due `at` goes out: exact steps from the deadline, not from the moment the
/// timer was served, unless that moment is already past the next one (a stall must not become a burst).
pub fn resend_at(at: Time, now: Time, wait_ms: u64) -> Time {
    let next = at.plus_millis(wait_ms);
    if next > now { next } else { now.plus_millis(wait_ms) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_goes_first_and_a_give_up_before_a_resend() {
        let mut timers = Timers::default();
        timers.start(Timer::A, Time::from_secs(32));
        timers.start(Timer::B, Time::from_secs(32));
        assert_eq!(timers.pop(Time::from_secs(31)), None);
        assert_eq!(timers.pop(Time::from_secs(32)).map(|t| t.0), Some(Timer::B));
        assert_eq!(timers.pop(Time::from_secs(32)).map(|t| t.0), Some(Timer::A));
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_limit_is_never_moved_back() {
        let mut timers = Timers::default();
        timers.start_by(Timer::B, Time::from_secs(5));
        timers.start_by(Timer::B, Time::from_secs(9));
        assert_eq!(timers.next(), Some(Time::from_secs(5)));
        timers.start_by(Timer::B, Time::from_secs(2));
        assert_eq!(timers.next(), Some(Time::from_secs(2)));
    }
}
