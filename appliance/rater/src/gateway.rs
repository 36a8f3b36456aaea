//! Lines and call rate of one gateway (spec signalling.md 11, S-D14; routing.md 5, R-D9).

use tandem_call::question::LineSkip;
use tandem_call::snapshot::GatewayId;
use tandem_leg::{Now, Time};

/// A gateway as configured.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Stable number.
    pub id: GatewayId,
    /// Name.
    pub name: String,
    /// Vendor side or customer side.
    pub routing: bool,
    /// Concurrent calls; `None` unlimited, 0 blocks all.
    pub capacity: Option<u32>,
    /// New calls per second; `None` off.
    pub cps: Option<u32>,
}

/// A gateway as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayView {
    /// Stable number.
    pub id: GatewayId,
    /// Name.
    pub name: String,
    /// Vendor side or customer side.
    pub routing: bool,
    /// Lines in use.
    pub in_use: u32,
    /// Concurrent calls allowed.
    pub capacity: Option<u32>,
    /// New calls per second allowed.
    pub cps: Option<u32>,
    /// `Retry-After` still runs this long, ms.
    pub retry_after_ms: i64,
    /// Calls or attempts since the start.
    pub attempts: u64,
    /// Of these, answered.
    pub answered: u64,
    /// Sum of hold times of the answered ones, ms.
    pub answered_ms: u64,
}

const MICROS: u64 = 1_000_000;

#[derive(Debug, Default)]
pub(crate) struct Gateway {
    name: String,
    routing: bool,
    capacity: Option<u32>,
    cps: Option<u32>,
    pub(crate) configured: bool,
    pub(crate) in_use: u32,
    pub(crate) paused_until_ms: i64,
    /// Tokens in millionths, filled up to `filled`.
    tokens: u64,
    filled: Option<Time>,
    pub(crate) attempts: u64,
    pub(crate) answered: u64,
    pub(crate) answered_ms: u64,
}

impl Gateway {
    pub(crate) fn configure(&mut self, config: &GatewayConfig) {
        self.name.clone_from(&config.name);
        self.routing = config.routing;
        self.capacity = config.capacity;
        if self.cps != config.cps {
            self.cps = config.cps;
            self.filled = None;
        }
        self.configured = true;
    }

    /// A line and a token, or why not. Nothing is taken on an error.
    pub(crate) fn take(&mut self, now: Now) -> Result<(), LineSkip> {
        if self.paused_until_ms > now.wall_ms {
            return Err(LineSkip::Paused);
        }
        if self.capacity.is_some_and(|capacity| self.in_use >= capacity) {
            return Err(LineSkip::Capacity);
        }
        if !self.take_token(now) {
            return Err(LineSkip::Cps);
        }
        self.in_use += 1;
        Ok(())
    }

    pub(crate) fn take_line(&mut self) -> bool {
        if self.capacity.is_some_and(|capacity| self.in_use >= capacity) {
            return false;
        }
        self.in_use += 1;
        true
    }

    pub(crate) fn free_line(&mut self) {
        debug_assert!(self.in_use > 0, "a line of {} came back twice", self.name);
        self.in_use = self.in_use.saturating_sub(1);
    }

    /// Token bucket: rate = limit, burst = max(limit, 1) (S-D14).
    pub(crate) fn take_token(&mut self, now: Now) -> bool {
        let Some(cps) = self.cps else {
            return true;
        };
        let burst = u64::from(cps.max(1)) * MICROS;
        let filled = self.filled.replace(now.mono);
        self.tokens = match filled {
            None => burst,
            Some(filled) => {
                burst.min(self.tokens.saturating_add(now.mono.since(filled).saturating_mul(u64::from(cps))))
            }
        };
        if cps == 0 || self.tokens < MICROS {
            return false;
        }
        self.tokens -= MICROS;
        true
    }

    pub(crate) fn view(&self, id: GatewayId, now: Now) -> GatewayView {
        GatewayView {
            id,
            name: self.name.clone(),
            routing: self.routing,
            in_use: self.in_use,
            capacity: self.capacity,
            cps: self.cps,
            retry_after_ms: (self.paused_until_ms - now.wall_ms).max(0),
            attempts: self.attempts,
            answered: self.answered,
            answered_ms: self.answered_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Now {
        Now { mono: Time::from_millis(ms), wall_ms: ms as i64 }
    }

    #[test]
    fn ten_calls_a_second_let_ten_of_thirty_through() {
        let mut gateway = Gateway { cps: Some(10), ..Gateway::default() };
        let passed = (0..30).filter(|n| gateway.take_token(at(n * 33))).count();
        // The burst of ten, and what the second itself brings.
        assert_eq!(passed, 19);
        let mut gateway = Gateway { cps: Some(10), ..Gateway::default() };
        assert_eq!((0..30).filter(|_| gateway.take_token(at(0))).count(), 10);
        assert!(!gateway.take_token(at(99)));
        assert!(gateway.take_token(at(100)));
    }

    #[test]
    fn capacity_zero_blocks_and_none_is_unlimited() {
        let mut gateway = Gateway { capacity: Some(0), ..Gateway::default() };
        assert_eq!(gateway.take(at(0)), Err(LineSkip::Capacity));
        gateway.capacity = None;
        assert_eq!(gateway.take(at(0)), Ok(()));
    }
}
