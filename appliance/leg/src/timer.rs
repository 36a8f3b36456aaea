//! One hierarchical timer wheel, in virtual-time units, so that a simulator can drive it as well as a shard.
//!
//! Six levels of 64 slots over millisecond ticks reach 2^36 ms (two years). Insert and cancel are constant time; a timer
//! moves down at most five levels before it fires. A timer never fires early; it fires with the first
//! [`TimerWheel::pop`] whose `now` has reached its deadline.

use std::collections::VecDeque;

use crate::time::Time;

const LEVELS: usize = 6;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
/// The farthest tick from now that keeps its place; later deadlines are parked at the edge and moved on when reached.
const REACH_TICKS: u64 = (1 << (SLOT_BITS * LEVELS as u32)) - 1;
const NIL: u32 = u32::MAX;

/// Names one pending timer; stale keys are harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerKey {
    index: u32,
    generation: u32,
}

#[derive(Debug)]
struct Entry<T> {
    deadline: Time,
    tick: u64,
    generation: u32,
    previous: u32,
    next: u32,
    place: Place,
    value: Option<T>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Free,
    Slot { level: u8, slot: u8 },
    Due,
}

#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
}

const EMPTY: List = List { head: NIL, tail: NIL };

/// Timers carrying a `T`; see the module text.
#[derive(Debug)]
pub struct TimerWheel<T> {
    elapsed: u64,
    occupied: [u64; LEVELS],
    slots: Vec<List>,
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
    due: VecDeque<u32>,
    len: usize,
}

impl<T> Default for TimerWheel<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> TimerWheel<T> {
    /// An empty wheel at the origin of time.
    pub fn new() -> Self {
        TimerWheel {
            elapsed: 0,
            occupied: [0; LEVELS],
            slots: vec![EMPTY; LEVELS * SLOTS],
            entries: Vec::new(),
            free: Vec::new(),
            due: VecDeque::new(),
            len: 0,
        }
    }

    /// Pending timers.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Starts a timer. A deadline in the past fires with the next [`pop`](Self::pop).
    pub fn insert(&mut self, deadline: Time, value: T) -> TimerKey {
        // Rounded up, so that a timer never fires before its deadline.
        let tick = deadline.micros().div_ceil(1_000);
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.entries.push(Entry {
                    deadline,
                    tick,
                    generation: 0,
                    previous: NIL,
                    next: NIL,
                    place: Place::Free,
                    value: None,
                });
                (self.entries.len() - 1) as u32
            }
        };
        let entry = &mut self.entries[index as usize];
        entry.deadline = deadline;
        entry.tick = tick;
        entry.value = Some(value);
        let generation = entry.generation;
        self.len += 1;
        self.place(index);
        TimerKey { index, generation }
    }

    /// Stops a timer and gives its value back; `None` when it fired or was stopped before.
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let entry = self.entries.get(key.index as usize)?;
        if entry.generation != key.generation {
            return None;
        }
        match entry.place {
            Place::Free => return None,
            Place::Slot { level, slot } => self.unlink(key.index, level as usize, slot as usize),
            Place::Due => self.due.retain(|&i| i != key.index),
        }
        self.retire(key.index)
    }

    /// The next timer whose deadline `now` has reached, in order of deadline tick.
    pub fn pop(&mut self, now: Time) -> Option<(Time, T)> {
        loop {
            if let Some(index) = self.due.pop_front() {
                let deadline = self.entries[index as usize].deadline;
                if let Some(value) = self.retire(index) {
                    return Some((deadline, value));
                }
                continue;
            }
            let (tick, level, slot) = self.next_slot()?;
            if tick > now.micros() / 1_000 {
                return None;
            }
            self.elapsed = self.elapsed.max(tick);
            self.drain(level, slot);
        }
    }

    /// When [`pop`](Self::pop) should be called next; never later than the earliest deadline (it may be earlier, when a
    /// far timer has to move down a level). `None` when nothing is pending.
    pub fn next_deadline(&self) -> Option<Time> {
        if let Some(&index) = self.due.front() {
            return Some(self.entries[index as usize].deadline);
        }
        self.next_slot().map(|(tick, _, _)| Time(tick.saturating_mul(1_000)))
    }

    fn place(&mut self, index: u32) {
        let tick = self.entries[index as usize].tick;
        if tick <= self.elapsed {
            self.entries[index as usize].place = Place::Due;
            self.due.push_back(index);
            return;
        }
        let tick = tick.min(self.elapsed.saturating_add(REACH_TICKS / 2));
        let level = level_of(self.elapsed, tick);
        let slot = ((tick >> (SLOT_BITS * level as u32)) & (SLOTS as u64 - 1)) as usize;
        let list = &mut self.slots[level * SLOTS + slot];
        let tail = list.tail;
        list.tail = index;
        if tail == NIL {
            list.head = index;
        } else {
            self.entries[tail as usize].next = index;
        }
        self.occupied[level] |= 1 << slot;
        let entry = &mut self.entries[index as usize];
        entry.previous = tail;
        entry.next = NIL;
        entry.place = Place::Slot { level: level as u8, slot: slot as u8 };
    }

    fn unlink(&mut self, index: u32, level: usize, slot: usize) {
        let (previous, next) = {
            let entry = &self.entries[index as usize];
            (entry.previous, entry.next)
        };
        if previous != NIL {
            self.entries[previous as usize].next = next;
        }
        if next != NIL {
            self.entries[next as usize].previous = previous;
        }
        let list = &mut self.slots[level * SLOTS + slot];
        if list.head == index {
            list.head = next;
        }
        if list.tail == index {
            list.tail = previous;
        }
        if list.head == NIL {
            self.occupied[level] &= !(1 << slot);
        }
    }

    fn retire(&mut self, index: u32) -> Option<T> {
        let entry = &mut self.entries[index as usize];
        entry.place = Place::Free;
        entry.generation = entry.generation.wrapping_add(1);
        let value = entry.value.take();
        self.free.push(index);
        self.len -= 1;
        value
    }

    /// The earliest occupied slot: the tick at which it must be looked at, its level and number.
    fn next_slot(&self) -> Option<(u64, usize, usize)> {
        for level in 0..LEVELS {
            if self.occupied[level] == 0 {
                continue;
            }
            let shift = SLOT_BITS * level as u32;
            let here = (self.elapsed >> shift) & (SLOTS as u64 - 1);
            let ahead = u64::from(self.occupied[level].rotate_right(here as u32).trailing_zeros());
            let slot = (here + ahead) & (SLOTS as u64 - 1);
            // Ticks of one turn of this level; a slot at or behind the hand belongs to the next turn of the last level.
            let turn = 1u64 << (shift + SLOT_BITS);
            let mut tick = (self.elapsed & !(turn - 1)) + (slot << shift);
            if tick <= self.elapsed && level > 0 && ahead != 0 {
                tick += turn;
            }
            return Some((tick.max(self.elapsed), level, slot as usize));
        }
        None
    }

    fn drain(&mut self, level: usize, slot: usize) {
        let list = std::mem::replace(&mut self.slots[level * SLOTS + slot], EMPTY);
        self.occupied[level] &= !(1 << slot);
        let mut index = list.head;
        while index != NIL {
            let next = self.entries[index as usize].next;
            self.place(index);
            index = next;
        }
    }
}

/// The level whose slot width tells `tick` from `elapsed`.
fn level_of(elapsed: u64, tick: u64) -> usize {
    let differing = (elapsed ^ tick) | (SLOTS as u64 - 1);
    let highest = 63 - differing.leading_zeros();
    ((highest / SLOT_BITS) as usize).min(LEVELS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fires_at_its_deadline_and_not_before() {
        let mut wheel = TimerWheel::new();
        wheel.insert(Time::from_millis(500), 'e');
        assert_eq!(wheel.pop(Time(499_999)), None);
        assert_eq!(wheel.pop(Time(500_000)), Some((Time(500_000), 'e')));
        assert!(wheel.is_empty());
    }

    #[test]
    fn a_cancelled_timer_is_silent_and_its_key_stays_dead() {
        let mut wheel = TimerWheel::new();
        let key = wheel.insert(Time::from_millis(5), 1);
        assert_eq!(wheel.cancel(key), Some(1));
        assert_eq!(wheel.cancel(key), None);
        let other = wheel.insert(Time::from_millis(5), 2);
        assert_eq!(wheel.cancel(key), None, "the old key must not name the entry's new tenant");
        assert_eq!(wheel.pop(Time::from_secs(1)), Some((Time::from_millis(5), 2)));
        assert_eq!(wheel.cancel(other), None);
    }

    proptest! {
        /// Against the plain model: a list sorted by deadline.
        #[test]
        fn equals_a_sorted_list(
            steps in prop::collection::vec((0u64..3_000_000_000, 0u64..400_000_000, any::<bool>()), 1..80),
        ) {
            let mut wheel = TimerWheel::new();
            let mut model: Vec<(u64, usize)> = Vec::new();
            let mut keys = Vec::new();
            let mut now = 0u64;
            for (n, (ahead, step, cancel)) in steps.into_iter().enumerate() {
                let at = now + ahead;
                keys.push((n, wheel.insert(Time(at), n)));
                model.push((at, n));
                if cancel && !keys.is_empty() {
                    let (id, key) = keys.remove(ahead as usize % keys.len());
                    let was = model.iter().position(|m| m.1 == id);
                    prop_assert_eq!(wheel.cancel(key).is_some(), was.is_some());
                    if let Some(p) = was { model.remove(p); }
                }
                now += step;
                if let Some(earliest) = model.iter().map(|m| m.0).min() {
                    let due = wheel.next_deadline().expect("something is pending");
                    prop_assert!(due.0 <= earliest.div_ceil(1000) * 1000);
                }
                let mut fired = Vec::new();
                while let Some((at, id)) = wheel.pop(Time(now)) {
                    prop_assert!(at.0 <= now);
                    fired.push(id);
                }
                let mut due: Vec<_> = model.iter().filter(|m| m.0.div_ceil(1000) <= now / 1000).map(|m| m.1).collect();
                model.retain(|m| m.0.div_ceil(1000) > now / 1000);
                fired.sort_unstable();
                due.sort_unstable();
                prop_assert_eq!(fired, due);
                prop_assert_eq!(wheel.len(), model.len());
            }
        }
    }
}
