//! ISO 8601 instants of rate files: the only file that names jiff.

use jiff::civil;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Unit};

/// UTC ms of a date ("2026-11-22", its first instant) or a date and time, with an offset or "Z";
/// without one it is UTC. `None`: no such text, or finer than a millisecond.
pub(crate) fn parse_ms(text: &str) -> Option<i64> {
    let instant = match text.parse::<Timestamp>() {
        Ok(instant) => instant,
        Err(_) => text.parse::<civil::DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp(),
    };
    let whole = instant.round(Unit::Millisecond).ok()?;
    (whole == instant).then(|| instant.as_millisecond())
}

/// `ms` as "2026-11-22T08:00:00Z", with as many decimals as it needs. An instant outside the
/// calendar (years -9999 to 9999) prints as its number.
pub(crate) fn format_ms(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(instant) => instant.to_string(),
        Err(_) => ms.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_utc_unless_they_say_otherwise() {
        for (text, ms) in [
            ("1970-01-02", 86_400_000),
            ("2026-11-22T00:00:00Z", 1_795_305_600_000),
            ("2026-11-22T01:00:00+01:00", 1_795_305_600_000),
            ("2026-11-22 00:00:00.5", 1_795_305_600_500),
            ("2026-11-22", 1_795_305_600_000),
        ] {
            assert_eq!(parse_ms(text), Some(ms), "{text}");
        }
        for text in ["", "tomorrow", "22/11/2026", "2026-13-01", "2026-11-22T00:00:00.0001Z"] {
            assert_eq!(parse_ms(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for ms in [0, 1_795_305_600_000, 1_795_305_600_123, -1] {
            assert_eq!(parse_ms(&format_ms(ms)), Some(ms), "{}", format_ms(ms));
        }
        assert_eq!(format_ms(1_795_305_600_000), "2026-11-22T00:00:00Z");
    }
}
