//! Answers to BYE that wait until the end of the call is on record.
//!
//! Who has his BYE answered forgets the call. Were the switch killed before the end is written, its next life would find an
//! answered call, go on with it, and charge for it, and nobody would hang up any more. Without the answer the party repeats
//! its BYE, and ends the call in the next life.

use std::collections::{HashMap, VecDeque};

use tandem_leg::{LegId, Time};

use crate::core::Output;

/// An answer leaves after this time whatever the journal does: a party should not wait for our disk, and repeats its BYE after
/// 0.5 and 1.5 s.
const WAIT_MAX_MS: u64 = 2_000;

/// See the module text.
#[derive(Debug, Default)]
pub(crate) struct Byes {
    waiting: HashMap<u64, Vec<(LegId, Output)>>,
    legs: HashMap<LegId, u64>,
    /// When the answers of a call leave at the latest, in order.
    due: VecDeque<(Time, u64)>,
}

impl Byes {
    /// Keeps an answer until call `flow_no` is settled; of a repeated one the first is kept.
    pub(crate) fn hold(&mut self, now: Time, flow_no: u64, leg: LegId, answer: Output) {
        let held = self.waiting.entry(flow_no).or_default();
        if held.is_empty() {
            self.due.push_back((now.plus_millis(WAIT_MAX_MS), flow_no));
        }
        if held.iter().all(|(other, _)| *other != leg) {
            held.push((leg, answer));
            self.legs.insert(leg, flow_no);
        }
    }

    /// The call whose end the answer on `leg` waits for.
    pub(crate) fn waiting(&self, leg: LegId) -> Option<u64> {
        self.legs.get(&leg).copied()
    }

    /// Whether somebody waits for the end of a call.
    pub(crate) fn waits_for(&self, flow_no: u64) -> bool {
        self.waiting.contains_key(&flow_no)
    }

    /// The call is settled: its answers may leave.
    pub(crate) fn release(&mut self, flow_no: u64) -> impl Iterator<Item = Output> + use<> {
        let held = self.waiting.remove(&flow_no).unwrap_or_default();
        for (leg, _) in &held {
            self.legs.remove(leg);
        }
        while self.due.front().is_some_and(|(_, first)| !self.waiting.contains_key(first)) {
            self.due.pop_front();
        }
        held.into_iter().map(|(_, answer)| answer)
    }

    /// Answers that have waited too long.
    pub(crate) fn overdue(&mut self, now: Time) -> Vec<Output> {
        let mut answers = Vec::new();
        while let Some(&(due, flow_no)) = self.due.front() {
            if due > now {
                break;
            }
            self.due.pop_front();
            answers.extend(self.release(flow_no));
        }
        answers
    }

    /// When the next answer has waited too long.
    pub(crate) fn poll_timeout(&self) -> Option<Time> {
        self.due.front().map(|(due, _)| *due)
    }
}
