//! Instants as people write them.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::value::BadValue;

const WHEN_ALLOWED: &str = "2026-11-22, 2026-11-22T08:00:00Z, 20261122, 20261122080000 or UTC milliseconds";

/// A day or an instant. Without an offset it is in the time zone of the server, which the reader of the request knows.
///
/// Eight digits are a day (`yyyyMMdd`), fourteen a second (`yyyyMMddHHmmss`), other digits UTC milliseconds; all else is
/// ISO 8601.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct When {
    text: String,
    point: Point,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    Ms(i64),
    Day(Date),
    Civil(DateTime),
}

impl When {
    /// The instant `ms` milliseconds after 1970, UTC.
    pub fn from_ms(ms: i64) -> When {
        When { text: ms.to_string(), point: Point::Ms(ms) }
    }

    /// First instant in UTC milliseconds; of a day its midnight in `zone`. `None` beyond the calendar.
    pub fn start_ms(&self, zone: &TimeZone) -> Option<i64> {
        match self.point {
            Point::Ms(ms) => Some(ms),
            Point::Day(day) => in_zone(day.to_datetime(Time::midnight()), zone),
            Point::Civil(at) => in_zone(at, zone),
        }
    }

    /// First instant that is no longer meant by "up to this": of a day the next midnight in `zone`, else the instant
    /// itself. Ranges are half-open (billing.md 6.a).
    pub fn end_ms(&self, zone: &TimeZone) -> Option<i64> {
        match self.point {
            Point::Day(day) => in_zone(day.checked_add(1.day()).ok()?.to_datetime(Time::midnight()), zone),
            Point::Ms(_) | Point::Civil(_) => self.start_ms(zone),
        }
    }
}

fn in_zone(at: DateTime, zone: &TimeZone) -> Option<i64> {
    zone.to_timestamp(at).ok().map(Timestamp::as_millisecond)
}

impl FromStr for When {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<When, BadValue> {
        let point = parse(text).ok_or_else(|| BadValue { value: text.to_owned(), allowed: WHEN_ALLOWED })?;
        Ok(When { text: text.to_owned(), point })
    }
}

fn parse(text: &str) -> Option<Point> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return match text.len() {
            8 => Date::strptime("%Y%m%d", text).ok().map(Point::Day),
            14 => DateTime::strptime("%Y%m%d%H%M%S", text).ok().map(Point::Civil),
            _ => text.parse::<i64>().ok().filter(|ms| Timestamp::from_millisecond(*ms).is_ok()).map(Point::Ms),
        };
    }
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(Point::Ms(instant.as_millisecond()));
    }
    // jiff takes a date for a date-time at midnight and the other way round; the length tells them apart.
    if text.len() == "2026-11-22".len() {
        return text.parse::<Date>().ok().map(Point::Day);
    }
    text.parse::<DateTime>().ok().map(Point::Civil)
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for When {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<When, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(i64),
            Text(String),
        }
        match Form::deserialize(deserializer)? {
            // A JSON number is milliseconds or, with eight digits, a day, exactly as the same digits in a string.
            Form::Number(number) => number.to_string().parse(),
            Form::Text(text) => text.parse(),
        }
        .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22 00:00 UTC.
    const DAY_MS: i64 = 1_795_305_600_000;

    fn start(text: &str) -> Option<i64> {
        text.parse::<When>().unwrap().start_ms(&TimeZone::UTC)
    }

    #[test]
    fn every_form_of_one_instant() {
        for text in ["2026-11-22", "20261122", "20261122000000", "2026-11-22T00:00", "2026-11-22T00:00:00Z"] {
            assert_eq!(start(text), Some(DAY_MS), "{text}");
        }
        assert_eq!(start("2026-11-22T03:30:00+03:30"), Some(DAY_MS));
        assert_eq!(start(&DAY_MS.to_string()), Some(DAY_MS));
    }

    #[test]
    fn a_day_ends_at_the_next_midnight_of_its_zone() {
        let zone = TimeZone::fixed(jiff::tz::offset(3));
        let day: When = "20261122".parse().unwrap();
        assert_eq!(day.start_ms(&zone), Some(DAY_MS - 3 * 3_600_000));
        assert_eq!(day.end_ms(&zone), Some(DAY_MS + 21 * 3_600_000));
        let instant: When = "2026-11-22T00:00:00Z".parse().unwrap();
        assert_eq!(instant.end_ms(&zone), instant.start_ms(&zone));
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for bad in
            ["", "yesterday", "20261301", "20260230", "2026-02-30", "-", "99999999999999999999", "2026-11-22T25:00"]
        {
            assert!(bad.parse::<When>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_json_number_reads_as_its_digits() {
        assert_eq!(serde_json::from_str::<When>("20261122").unwrap().start_ms(&TimeZone::UTC), Some(DAY_MS));
    }
}
