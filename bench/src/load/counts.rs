//! What one step counted and timed, and how it is written down.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

/// Longest time a histogram keeps apart, ns; longer ones count as this.
const LONGEST: u64 = 60_000_000_000;

/// Times in nanoseconds, three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    // The bounds are constants that the crate accepts.
    let histogram = Histogram::new_with_bounds(100, LONGEST, 3);
    histogram.unwrap_or_else(|_| unreachable!("constant bounds"))
}

/// Calls of one step.
#[derive(Clone, Debug)]
pub(crate) struct Counts {
    /// INVITEs of new calls sent.
    pub(crate) offered: u64,
    /// 200 received.
    pub(crate) answered: u64,
    /// BYE answered.
    pub(crate) completed: u64,
    /// Ended otherwise, by status or reason.
    pub(crate) failed: BTreeMap<String, u64>,
    /// Messages that we sent again, by name.
    pub(crate) sent_again: BTreeMap<&'static str, u64>,
    /// Messages that came again, by name.
    pub(crate) heard_again: BTreeMap<&'static str, u64>,
    /// Requests outside the ladder, answered.
    pub(crate) other: u64,
    /// INVITE to 180, from the intended moment to the arrival in the kernel.
    pub(crate) ringing: Histogram<u64>,
    /// INVITE to 200.
    pub(crate) answer: Histogram<u64>,
    /// BYE to 200.
    pub(crate) bye: Histogram<u64>,
    /// How much later than intended INVITE and BYE were handed to the kernel.
    pub(crate) late: Histogram<u64>,
}

impl Default for Counts {
    fn default() -> Counts {
        Counts {
            offered: 0,
            answered: 0,
            completed: 0,
            failed: BTreeMap::new(),
            sent_again: BTreeMap::new(),
            heard_again: BTreeMap::new(),
            other: 0,
            ringing: histogram(),
            answer: histogram(),
            bye: histogram(),
            late: histogram(),
        }
    }
}

impl Counts {
    /// A call failed.
    pub(crate) fn fail(&mut self, reason: &str) {
        *self.failed.entry(reason.to_owned()).or_default() += 1;
    }

    /// As JSON, times in milliseconds.
    pub(crate) fn json(&self) -> Map<String, Value> {
        let mut map = Map::new();
        map.insert("offered".into(), self.offered.into());
        map.insert("answered".into(), self.answered.into());
        map.insert("completed".into(), self.completed.into());
        map.insert("failed".into(), self.failed.values().sum::<u64>().into());
        map.insert("failed_by".into(), json!(self.failed));
        map.insert("sent_again".into(), json!(self.sent_again));
        map.insert("heard_again".into(), json!(self.heard_again));
        map.insert("other".into(), self.other.into());
        for (name, histogram) in [
            ("invite_180_ms", &self.ringing),
            ("invite_200_ms", &self.answer),
            ("bye_200_ms", &self.bye),
            ("late_ms", &self.late),
        ] {
            map.insert(name.into(), percentiles(histogram, 1e6));
        }
        map
    }
}

/// Percentiles in units of `unit` ns; null when nothing was timed.
pub(crate) fn percentiles(histogram: &Histogram<u64>, unit: f64) -> Value {
    if histogram.is_empty() {
        return Value::Null;
    }
    let at = |value: u64| ((value as f64 / unit) * 1e4).round() / 1e4;
    json!({
        "n": histogram.len(),
        "p50": at(histogram.value_at_quantile(0.5)),
        "p99": at(histogram.value_at_quantile(0.99)),
        "p999": at(histogram.value_at_quantile(0.999)),
        "max": at(histogram.max()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_values() {
        let mut counts = Counts::default();
        for ms in 1..=1000 {
            counts.ringing.saturating_record(ms * 1_000_000);
        }
        counts.fail("503");
        counts.fail("timeout");
        let json = counts.json();
        let ringing = &json["invite_180_ms"];
        assert!((ringing["p50"].as_f64().unwrap() - 500.0).abs() < 1.0, "{ringing}");
        assert!((ringing["p99"].as_f64().unwrap() - 990.0).abs() < 2.0, "{ringing}");
        assert!((ringing["max"].as_f64().unwrap() - 1000.0).abs() < 2.0, "{ringing}");
        assert_eq!(json["bye_200_ms"], Value::Null);
        assert_eq!(json["failed"], 2);
        assert_eq!(json["failed_by"]["503"], 1);
    }
}
