//! Once a second: how many calls and packets since the last second, so that `status` can speak of rates.

use std::collections::VecDeque;
use std::time::Duration;

use super::Control;
use crate::orders::ShardOrder;

/// Seconds the mean is taken over.
const WINDOW: usize = 10;

/// Rates of the last seconds.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    last: Option<(u64, u64)>,
    calls: VecDeque<u64>,
    packets: u64,
    highest: u64,
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

/// Runs as long as the thread.
pub(crate) async fn run(control: Control) {
    let mut every = tokio::time::interval(Duration::from_secs(1));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        control.drop_retired();
        let Ok(counts) = control.ask_shards(ShardOrder::Counts).await else {
            continue;
        };
        let accepted = counts.iter().map(|c| c.accepted).sum();
        let relayed = counts.iter().map(|c| c.relayed).sum();
        control.sampler.borrow_mut().sample(accepted, relayed);
    }
}
