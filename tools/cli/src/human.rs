//! Times and durations as people read them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// An instant in the time zone of this machine; empty when there is none.
pub(crate) fn time(ms: Option<i64>) -> String {
    let Some(Ok(instant)) = ms.map(Timestamp::from_millisecond) else { return String::new() };
    instant.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// Milliseconds as `1:02:03` or `2:03`; below zero, which a stepped clock can give, as `0:00`.
pub(crate) fn duration_ms(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// A value that may be missing, `-` when it is.
pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// `a of b`, or `a` when `b` is without a bound.
pub(crate) fn of_limit(used: u32, limit: Option<u32>) -> String {
    limit.map_or_else(|| used.to_string(), |limit| format!("{used} of {limit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration_ms(-5), "0:00");
        assert_eq!(duration_ms(65_999), "1:05");
        assert_eq!(duration_ms(3_600_000 + 2_000), "1:00:02");
    }
}
