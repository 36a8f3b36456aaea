//! A CDR as other systems read it: the API names, text for what is not known (cdr.md 2).

use serde_json::{Map, Value, json};
use tandem_control::cdr_names::{OPERATOR, PUBLISHED};
use tandem_rating::cdr::{Cdr, CdrValue};

use super::names;

/// One record. Numbers are numbers, times UTC milliseconds, and amounts decimal strings: a float would round them.
pub fn cdr(cdr: &Cdr) -> Value {
    let mut map = Map::with_capacity(PUBLISHED.len() + OPERATOR.len());
    for name in PUBLISHED.iter().chain(OPERATOR) {
        let value = match names::value(cdr, name) {
            CdrValue::Int(number) => Value::from(number),
            other => Value::from(names::cell(&other).into_owned()),
        };
        map.insert(name.api.to_owned(), value);
    }
    Value::Object(map)
}

/// A batch of them.
pub fn message<'a>(cdrs: impl Iterator<Item = &'a Cdr>) -> Value {
    json!({ "retCode": 0, "infoCdrs": cdrs.map(cdr).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_has_the_names_of_the_api_and_no_nulls() {
        let one =
            Cdr { flow_no: 9, fee: "0.1".parse().unwrap(), end_ms: 7, callee_area: "1212".into(), ..Cdr::default() };
        let message = message([&one].into_iter());
        let row = &message["infoCdrs"][0];
        assert_eq!(message["retCode"], 0);
        assert_eq!(
            (&row["flowNo"], &row["fee"], &row["start"], &row["stop"]),
            (&json!(9), &json!("0.1"), &json!(7), &json!(7))
        );
        assert_eq!(
            (&row["feePrefix"], &row["agentCdrId"], &row["callerPdd"]),
            (&json!("1212"), &json!(""), &json!(""))
        );
        assert!(row.as_object().unwrap().values().all(|value| !value.is_null()));
    }
}
