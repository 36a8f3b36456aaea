//! Calls that come round again (spec signalling.md 1).

use std::collections::HashMap;
use std::net::IpAddr;

use smallvec::SmallVec;
use tandem_leg::Time;

/// Live, unanswered calls with the same numbers from the same place, above which the next one is a loop (`loop_max`).
pub(crate) const LOOP_MAX: usize = 5;
/// Only calls this young count, seconds.
pub(crate) const LOOP_AGE_S: u64 = 10;
/// Nodes like us a call may pass.
pub(crate) const HOPS_MAX: u32 = 5;

type Numbers = (IpAddr, String, String);

/// Counts equal calls that are being set up. Keys are chosen by strangers: std's hash.
#[derive(Debug, Default)]
pub(crate) struct LoopGuard {
    live: HashMap<Numbers, SmallVec<[Time; 4]>>,
}

impl LoopGuard {
    /// Whether one more call from `source` with these numbers is a loop.
    pub(crate) fn is_loop(&self, now: Time, source: IpAddr, caller: &str, callee: &str) -> bool {
        let key = (source, caller.to_owned(), callee.to_owned());
        let young = |start: &&Time| now.since(**start) < LOOP_AGE_S * 1_000_000;
        self.live.get(&key).is_some_and(|starts| starts.iter().filter(young).count() >= LOOP_MAX)
    }

    /// A call begins.
    pub(crate) fn begin(&mut self, now: Time, source: IpAddr, caller: &str, callee: &str) {
        self.live.entry((source, caller.to_owned(), callee.to_owned())).or_default().push(now);
    }

    /// That call is answered or over.
    pub(crate) fn end(&mut self, start: Time, source: IpAddr, caller: &str, callee: &str) {
        let key = (source, caller.to_owned(), callee.to_owned());
        if let Some(starts) = self.live.get_mut(&key) {
            if let Some(at) = starts.iter().position(|s| *s == start) {
                starts.swap_remove(at);
            }
            if starts.is_empty() {
                self.live.remove(&key);
            }
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.live.len()
    }
}

/// `<node>;<n>` of the header `X-Tandem-Hop`: how many nodes like us the call passed. Unreadable counts as none.
pub(crate) fn hops(header: Option<&str>) -> u32 {
    header.and_then(|h| h.rsplit(';').next()?.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_equal_call_is_a_loop_until_one_ends_or_grows_old() {
        let ip = IpAddr::from([192, 0, 2, 10]);
        let mut guard = LoopGuard::default();
        for n in 0..5 {
            let now = Time::from_millis(n);
            assert!(!guard.is_loop(now, ip, "1", "2"), "call {n}");
            guard.begin(now, ip, "1", "2");
        }
        assert!(guard.is_loop(Time::from_secs(1), ip, "1", "2"));
        assert!(!guard.is_loop(Time::from_secs(1), ip, "1", "3"));
        assert!(!guard.is_loop(Time::from_secs(11), ip, "1", "2"), "all are older than 10 s");
        guard.end(Time::from_millis(3), ip, "1", "2");
        assert!(!guard.is_loop(Time::from_secs(1), ip, "1", "2"));
        for n in [0, 1, 2, 4] {
            guard.end(Time::from_millis(n), ip, "1", "2");
        }
        assert_eq!(guard.len(), 0);
    }

    #[test]
    fn hops_of_the_private_header() {
        assert_eq!(hops(None), 0);
        assert_eq!(hops(Some("node-1;3")), 3);
        assert_eq!(hops(Some("a;b;4")), 4);
        assert_eq!(hops(Some("nonsense")), 0);
        assert_eq!(hops(Some("node;99999999999")), 0);
    }
}
