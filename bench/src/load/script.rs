//! What a run does, as steps: `calls:rate=300,count=3000`, one after the other.

use std::str::FromStr;

use anyhow::{Context, Error, Result, bail, ensure};

/// Most calls of one run; the number of a call has seven digits.
const CALLS_MAX: u32 = 5_000_000;
/// Most calls per second: beyond it the generator itself has not been tried.
const RATE_MAX: u32 = 50_000;
/// Longest step of RTP or rest, seconds.
const SECONDS_MAX: u32 = 3_600;
/// Most RTP packets per second and stream.
const PPS_MAX: u32 = 5_000;

/// One step. Each but `Hold` ends when its calls have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// `calls:rate=R,count=N[,hold_ms=500]`: N calls at R a second, open loop, each hung up after `hold_ms`.
    Calls {
        /// Calls per second.
        rate: u32,
        /// Calls.
        count: u32,
        /// From the answer to BYE.
        hold_ms: u32,
    },
    /// `hold:rate=R,count=N`: N more calls that stay until `release`.
    Hold {
        /// Calls per second.
        rate: u32,
        /// Calls.
        count: u32,
    },
    /// `rtp:pps=50,seconds=S`: both directions of every held call.
    Rtp {
        /// Packets per second and direction.
        pps: u32,
        /// Length.
        seconds: u32,
    },
    /// `idle:seconds=S`.
    Idle {
        /// Length.
        seconds: u32,
    },
    /// `release:rate=R`: hangs the held calls up.
    Release {
        /// Calls per second.
        rate: u32,
    },
}

impl Step {
    /// Its name in results.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Step::Calls { .. } => "calls",
            Step::Hold { .. } => "hold",
            Step::Rtp { .. } => "rtp",
            Step::Idle { .. } => "idle",
            Step::Release { .. } => "release",
        }
    }

    /// Seconds it takes when nothing goes wrong.
    pub(crate) fn seconds(&self) -> u32 {
        match *self {
            Step::Calls { rate, count, hold_ms } => count.div_ceil(rate) + hold_ms.div_ceil(1_000) + 1,
            Step::Hold { rate, count } => count.div_ceil(rate) + 1,
            Step::Rtp { seconds, .. } | Step::Idle { seconds } => seconds + 1,
            // As many as were held, which this step does not know; the schedule of all others covers it.
            Step::Release { .. } => 1,
        }
    }
}

impl FromStr for Step {
    type Err = Error;

    fn from_str(text: &str) -> Result<Step> {
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let mut pairs: Vec<(&str, u32)> = Vec::new();
        for pair in rest.split(',').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').with_context(|| format!("{pair:?} in step {text:?} has no ="))?;
            pairs.push((key, value.parse().with_context(|| format!("{value:?} in step {text:?} is no number"))?));
        }
        let mut take = |key: &str, default: Option<u32>, max: u32| -> Result<u32> {
            let value = match pairs.iter().position(|(found, _)| *found == key) {
                Some(at) => pairs.swap_remove(at).1,
                None => default.with_context(|| format!("step {text:?} needs {key}=..."))?,
            };
            ensure!((1..=max).contains(&value), "{key}={value} in step {text:?} is not within 1 to {max}");
            Ok(value)
        };
        let step = match name {
            "calls" => Step::Calls {
                rate: take("rate", None, RATE_MAX)?,
                count: take("count", None, CALLS_MAX)?,
                hold_ms: take("hold_ms", Some(500), SECONDS_MAX * 1_000)?,
            },
            "hold" => Step::Hold { rate: take("rate", Some(400), RATE_MAX)?, count: take("count", None, CALLS_MAX)? },
            "rtp" => Step::Rtp { pps: take("pps", Some(50), PPS_MAX)?, seconds: take("seconds", None, SECONDS_MAX)? },
            "idle" => Step::Idle { seconds: take("seconds", None, SECONDS_MAX)? },
            "release" => Step::Release { rate: take("rate", Some(400), RATE_MAX)? },
            _ => bail!("{name:?} is no step; there are calls, hold, rtp, idle and release"),
        };
        if let Some((key, _)) = pairs.first() {
            bail!("step {text:?} knows no {key}");
        }
        Ok(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read_with_their_defaults() {
        assert_eq!(
            "calls:rate=300,count=3000".parse::<Step>().unwrap(),
            Step::Calls { rate: 300, count: 3_000, hold_ms: 500 }
        );
        assert_eq!("rtp:seconds=4,pps=200".parse::<Step>().unwrap(), Step::Rtp { pps: 200, seconds: 4 });
        assert_eq!("release".parse::<Step>().unwrap(), Step::Release { rate: 400 });
    }

    #[test]
    fn wrong_steps_are_refused_by_name() {
        for (text, says) in [
            ("call:rate=1", "is no step"),
            ("calls:rate=300", "needs count"),
            ("calls:rate=0,count=1", "not within"),
            ("idle:seconds=9999999", "not within"),
            ("idle:seconds=1,pps=50", "knows no pps"),
            ("idle:seconds", "has no ="),
            ("idle:seconds=x", "is no number"),
        ] {
            let error = format!("{:#}", text.parse::<Step>().unwrap_err());
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
