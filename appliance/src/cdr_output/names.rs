//! Values of a CDR by name, and times as files have them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use tandem_control::cdr_names::{CdrName, STARTS};
use tandem_rating::cdr::{CDR_FIELDS, Cdr, CdrValue};

static PLACES: LazyLock<HashMap<&'static str, usize>> =
    LazyLock::new(|| CDR_FIELDS.iter().enumerate().map(|(index, (name, _))| (*name, index)).collect());

/// The value of a field; of a call that was not answered the time of its start is that of its end (cdr.md 2).
pub(super) fn value<'a>(cdr: &'a Cdr, name: &CdrName) -> CdrValue<'a> {
    match of_field(cdr, name.field) {
        CdrValue::Null if name.field == STARTS.0 => of_field(cdr, STARTS.1),
        value => value,
    }
}

fn of_field<'a>(cdr: &'a Cdr, field: &str) -> CdrValue<'a> {
    PLACES.get(field).map_or(CdrValue::Null, |index| cdr.value(*index))
}

/// A value as one cell of a text file.
pub(super) fn cell<'a>(value: &CdrValue<'a>) -> Cow<'a, str> {
    match value {
        CdrValue::Null => Cow::Borrowed(""),
        CdrValue::Int(number) => Cow::Owned(number.to_string()),
        CdrValue::Text(text) => Cow::Borrowed(text),
        CdrValue::Money(money) => Cow::Owned(money.to_string()),
        CdrValue::Attempts(attempts) => Cow::Owned(serde_json::to_string(attempts).unwrap_or_default()),
    }
}

/// An instant in the server's zone, which is UTC, by a pattern of strftime.
pub(super) fn time(at_ms: i64, pattern: &str) -> String {
    // Beyond the calendar there are no calls; an instant that is there all the same is written as it came.
    jiff::Timestamp::from_millisecond(at_ms)
        .map_or_else(|_| at_ms.to_string(), |at| at.to_zoned(jiff::tz::TimeZone::UTC).strftime(pattern).to_string())
}

#[cfg(test)]
mod tests {
    use tandem_control::cdr_names::{OPERATOR, PUBLISHED};

    use super::*;

    #[test]
    fn every_name_has_a_field_of_the_cdr() {
        for name in PUBLISHED.iter().chain(OPERATOR) {
            assert!(PLACES.contains_key(name.field), "{}: {}", name.column, name.field);
        }
    }

    #[test]
    fn an_unanswered_call_starts_when_it_ends() {
        let start = PUBLISHED.iter().find(|name| name.column == "starttime").unwrap();
        let cdr = Cdr { end_ms: 7, ..Cdr::default() };
        assert_eq!(value(&cdr, start), CdrValue::Int(7));
        assert_eq!(value(&Cdr { connect_ms: Some(5), ..cdr }, start), CdrValue::Int(5));
        assert_eq!(time(1_795_305_600_123, "%Y-%m-%d %H:%M:%S"), "2026-11-22 00:00:00");
    }
}
