//! Once a second: how many calls and packets since the last second, so that `status` can speak of rates.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::Control;
use crate::log;
use crate::orders::ShardOrder;

/// Seconds the mean is taken over.
const WINDOW: usize = 10;
/// Between two marks of the latencies, seconds, and how many marks make a minute.
const MARK_S: u64 = 10;
const MARKS: usize = 6;

/// The latencies of `status` since the start: post-dial delay, routing, answer.
pub(crate) type Latencies = [Option<Histogram<u64>>; 3];

/// Rates of the last seconds.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    last: Option<(u64, u64)>,
    calls: VecDeque<u64>,
    packets: u64,
    highest: u64,
    seconds: u64,
    /// CDRs that wait for the database.
    pending: Pending,
    /// The latencies as they were, oldest first: what is younger than the oldest is the last minute.
    marks: VecDeque<Latencies>,
}

impl Sampler {
    /// Calls in the last full second, mean of the last ten in hundredths, highest.
    pub(crate) fn cps(&self) -> (u32, u32, u32) {
        let mean = self.calls.iter().sum::<u64>() * 100 / self.calls.len().max(1) as u64;
        (self.calls.back().copied().unwrap_or(0) as u32, mean as u32, self.highest as u32)
    }

    /// Packets relayed in the last full second.
    pub(crate) fn packets_per_s(&self) -> u64 {
        self.packets
    }

    /// What of `now` came in the last minute, 50 to 60 s; all of it in the first minute.
    pub(crate) fn last_minute(&self, now: &Latencies) -> Latencies {
        let mut recent = now.clone();
        if let Some(mark) = self.marks.front().filter(|_| self.marks.len() == MARKS) {
            for (recent, before) in recent.iter_mut().zip(mark) {
                if let (Some(recent), Some(before)) = (recent, before) {
                    // Counts only grow, so nothing is taken away that is not there.
                    let _ = recent.subtract(before);
                }
            }
        }
        recent
    }

    fn is_due(&mut self) -> bool {
        self.seconds += 1;
        self.seconds.is_multiple_of(MARK_S)
    }

    fn mark(&mut self, now: Latencies) {
        self.marks.push_back(now);
        if self.marks.len() > MARKS {
            self.marks.pop_front();
        }
    }

    fn sample(&mut self, accepted: u64, relayed: u64) {
        if let Some((calls, packets)) = self.last {
            let new = accepted.saturating_sub(calls);
            self.calls.push_back(new);
            if self.calls.len() > WINDOW {
                self.calls.pop_front();
            }
            self.highest = self.highest.max(new);
            self.packets = relayed.saturating_sub(packets);
        }
        self.last = Some((accepted, relayed));
    }
}

/// CDRs that wait for the database, of their limit in percent: the alarm is raised at the first and over below the second.
const PENDING_ALARM_PCT: (u64, u64) = (80, 70);

/// Where a queue of CDRs stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pending {
    #[default]
    Short,
    /// The alarm is raised.
    Long,
    /// At the limit.
    Full,
}

impl Pending {
    /// What it is now; between the two marks it stays what it was.
    fn next(self, pending: u64, max: u64) -> Pending {
        match self {
            _ if pending >= max => Pending::Full,
            _ if pending.saturating_mul(100) >= max.saturating_mul(PENDING_ALARM_PCT.0) => Pending::Long,
            Pending::Short => Pending::Short,
            _ if pending.saturating_mul(100) >= max.saturating_mul(PENDING_ALARM_PCT.1) => Pending::Long,
            _ => Pending::Short,
        }
    }
}

impl Control {
    /// Alarm 20006 (cdr.md 4.2). Nothing is dropped at the limit and no call is refused: the queue is the journal itself, it is
    /// read back in order when the database can be written.
    fn watch_pending_cdrs(&self) {
        let (pending, max, alarms) = {
            let state = self.state.borrow();
            (state.positions.cdrs_pending(), state.params.cdr_pending_max(), state.shared.clone())
        };
        let mut sampler = self.sampler.borrow_mut();
        let now = sampler.pending.next(pending, max);
        let before = std::mem::replace(&mut sampler.pending, now);
        if now == before {
            return;
        }
        let limit = format!("{pending} CDRs wait for the database, SERVER_MAX_CDR_PENDING_LIST_LENGTH is {max}");
        match now {
            Pending::Long if before == Pending::Short => {
                alarms.money.alarms.fetch_add(1, Ordering::Relaxed);
                log::error(&format!("alarm 20006: {limit}"));
            }
            Pending::Full => {
                alarms.money.alarms.fetch_add(1, Ordering::Relaxed);
                log::error(&format!(
                    "alarm 20006: {limit}: from here on they wait in the journal alone, none is dropped"
                ));
            }
            Pending::Long => {}
            Pending::Short => log::warning(&format!("alarm 20006 is over: {limit}")),
        }
    }

    /// The alarm as a warning of `status`.
    pub(super) fn pending_cdrs_warning(&self) -> Option<String> {
        let sampler = self.sampler.borrow();
        let state = self.state.borrow();
        let (pending, max) = (state.positions.cdrs_pending(), state.params.cdr_pending_max());
        (sampler.pending != Pending::Short).then(|| {
            format!("alarm 20006: {pending} CDRs wait for the database, the limit is {max}; none is dropped, queries miss them")
        })
    }
}

/// Runs as long as the thread.
pub(crate) async fn run(control: Control) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        control.drop_retired();
        control.drop_stale_imports();
        control.watch_pending_cdrs();
        let Ok(counts) = control.ask_shards(ShardOrder::Counts).await else {
            continue;
        };
        let accepted = counts.iter().map(|c| c.accepted).sum();
        let kernel = control.shared().media.totals();
        let relayed = counts.iter().map(|c| c.relayed).sum::<u64>() + kernel.rtp_packets + kernel.rtcp_packets;
        let mut sampler = control.sampler.borrow_mut();
        sampler.sample(accepted, relayed);
        if sampler.is_due() {
            sampler.mark(super::status::latencies(&counts));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[u64]) -> Latencies {
        let mut one = Histogram::<u64>::new_with_bounds(1, 60_000_000, 3).unwrap();
        values.iter().for_each(|value| one.record(*value).unwrap());
        [Some(one), None, None]
    }

    #[test]
    fn the_alarm_of_waiting_cdrs_is_raised_at_four_fifths_and_over_below_seven_tenths() {
        let run = |counts: &[u64]| {
            let mut pending = Pending::default();
            counts
                .iter()
                .map(|n| {
                    pending = pending.next(*n, 10);
                    pending
                })
                .collect::<Vec<_>>()
        };
        use Pending::{Full, Long, Short};
        assert_eq!(
            run(&[0, 7, 8, 7, 6, 7, 9, 10, 11, 9, 7, 0]),
            [Short, Short, Long, Long, Short, Short, Long, Full, Full, Long, Long, Short]
        );
    }

    #[test]
    fn what_is_older_than_a_minute_is_left_out() {
        let mut sampler = Sampler::default();
        let count = |sampler: &Sampler| {
            let [recent, ..] = sampler.last_minute(&histogram(&[10, 20, 30]));
            let recent = recent.unwrap();
            (recent.len(), recent.value_at_percentile(0.0))
        };
        assert_eq!(count(&sampler), (3, 10), "nothing is older than a minute");
        sampler.mark(histogram(&[10]));
        assert_eq!(count(&sampler), (3, 10), "that mark is not a minute old");
        (1..MARKS).for_each(|_| sampler.mark(histogram(&[10, 20])));
        assert_eq!(count(&sampler), (2, 20));
        sampler.mark(histogram(&[10, 20]));
        assert_eq!(count(&sampler), (1, 30));
    }
}
