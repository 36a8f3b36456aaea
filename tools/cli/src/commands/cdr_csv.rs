//! CDRs as CSV: the published header of cdr.md 5.

use serde_json::Value;
use tandem_control::cdr_names::{PUBLISHED, STARTS};
use tandem_control::reply::CdrRow;

use crate::output::plain;

/// The header line.
pub(super) fn header() -> Vec<&'static str> {
    PUBLISHED.iter().map(|name| name.column).collect()
}

/// One line. An unanswered call starts when it ends (cdr.md 2, `connect_ms`).
pub(super) fn cells(row: &CdrRow) -> Vec<String> {
    let field = |name: &str| row.get(name).filter(|value| !value.is_null());
    let value = |name: &str| field(name).or_else(|| if name == STARTS.0 { field(STARTS.1) } else { None });
    PUBLISHED.iter().map(|name| plain(value(name.field).unwrap_or(&Value::Null))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_unanswered_call_starts_when_it_ends() {
        let row = json!({"connect_ms": null, "end_ms": 7, "ring_ms": null});
        let cells = cells(row.as_object().unwrap());
        let at = |column: &str| &cells[header().iter().position(|name| *name == column).unwrap()];
        assert_eq!(at("starttime"), "7");
        assert_eq!(at("stoptime"), "7");
        assert_eq!(at("fee"), "");
    }

    #[test]
    fn every_column_has_a_field_of_the_cdr() {
        let known: Vec<&str> = tandem_rating::cdr::CDR_FIELDS.iter().map(|(name, _)| *name).collect();
        for name in PUBLISHED {
            assert!(known.contains(&name.field), "{}: {}", name.column, name.field);
        }
    }
}
