//! Timers in steps of a millisecond: constant cost however many calls wait.

use super::clock::MILLISECOND;

/// Slots; a timer further away than this many milliseconds stays in its slot for another turn.
const SLOTS: usize = 1 << 16;
/// How far ahead [`Wheel::next`] looks, ms. The generator wakes at least this often.
const LOOK_AHEAD: u64 = 20;

/// Timers with a value each.
pub(crate) struct Wheel<T> {
    slots: Vec<Vec<(u64, T)>>,
    /// The millisecond that was handled last.
    at: u64,
    len: usize,
}

impl<T> Wheel<T> {
    /// Empty, at `now` (ns).
    pub(crate) fn new(now: u64) -> Wheel<T> {
        Wheel { slots: (0..SLOTS).map(|_| Vec::new()).collect(), at: now / MILLISECOND, len: 0 }
    }

    /// Sets a timer for `at` (ns), at the next full millisecond, and returns the time it is due (ns).
    pub(crate) fn push(&mut self, at: u64, value: T) -> u64 {
        let due = at.div_ceil(MILLISECOND).max(self.at + 1);
        self.slots[due as usize % SLOTS].push((due, value));
        self.len += 1;
        due * MILLISECOND
    }

    /// Moves what is due at `now` (ns) to `out`, with the time it was due (ns).
    pub(crate) fn due(&mut self, now: u64, out: &mut Vec<(u64, T)>) {
        let now = now / MILLISECOND;
        while self.at < now {
            self.at += 1;
            let at = self.at;
            let slot = &mut self.slots[at as usize % SLOTS];
            let mut n = 0;
            while n < slot.len() {
                if slot[n].0 <= at {
                    let (due, value) = slot.swap_remove(n);
                    out.push((due * MILLISECOND, value));
                    self.len -= 1;
                } else {
                    n += 1;
                }
            }
        }
    }

    /// When to look again (ns): the next timer, or a while from now.
    pub(crate) fn next(&self) -> u64 {
        let ahead = (1..LOOK_AHEAD).find(|n| !self.slots[(self.at + n) as usize % SLOTS].is_empty());
        (self.at + ahead.unwrap_or(LOOK_AHEAD)) * MILLISECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_once_and_never_early() {
        let mut wheel = Wheel::new(5 * MILLISECOND);
        assert_eq!(wheel.push(7_500_000, 'a'), 8 * MILLISECOND, "at the next full millisecond");
        wheel.push(1, 'p');
        let far = wheel.push((SLOTS as u64 + 9) * MILLISECOND, 'f');
        let mut out = Vec::new();
        wheel.due(7_999_999, &mut out);
        assert_eq!(out, [(6 * MILLISECOND, 'p')], "a time that has passed is the next millisecond");
        assert_eq!(wheel.next(), 8 * MILLISECOND);
        wheel.due(10 * MILLISECOND, &mut out);
        assert_eq!(out.last(), Some(&(8 * MILLISECOND, 'a')));
        wheel.due(far - 1, &mut out);
        assert_eq!(out.len(), 2, "one turn of the wheel later, not before");
        wheel.due(far, &mut out);
        assert_eq!(out.last(), Some(&(far, 'f')));
        assert_eq!(wheel.len, 0);
    }
}
