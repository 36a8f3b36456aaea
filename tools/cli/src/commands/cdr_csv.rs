//! CDRs as CSV: the published header of cdr.md 5 and the field each column is taken from.

use serde_json::Value;
use tandem_control::reply::CdrRow;

use crate::output::plain;

/// Column and field, in the order of the table. Times are UTC milliseconds, as in the API.
const COLUMNS: &[(&str, &str)] = &[
    ("callere164", "caller_billed"),
    ("calleraccesse164", "caller_in"),
    ("calleee164", "callee_billed"),
    ("calleeaccesse164", "callee_in"),
    ("callerip", "caller_ip"),
    ("callercodec", "caller_codec"),
    ("callergatewayid", "caller_gateway"),
    ("callerproductid", "caller_product"),
    ("callertogatewaye164", "caller_out"),
    ("callertype", "caller_type"),
    ("calleeip", "callee_ip"),
    ("calleecodec", "callee_codec"),
    ("calleegatewayid", "callee_gateway"),
    ("calleeproductid", "callee_product"),
    ("calleetogatewaye164", "callee_out"),
    ("calleetype", "callee_type"),
    ("billingmode", "billing_mode"),
    ("calllevel", "call_level"),
    ("agentfeetime", "agent_s"),
    ("starttime", "connect_ms"),
    ("stoptime", "end_ms"),
    ("callerpdd", "caller_pdd_ms"),
    ("calleepdd", "callee_pdd_ms"),
    ("holdtime", "hold_s"),
    ("callerareacode", "caller_area"),
    ("feetime", "billed_s"),
    ("fee", "fee"),
    ("tax", "tax"),
    ("suitefee", "suite_fee"),
    ("suitefeetime", "suite_s"),
    ("incomefee", "income_fee"),
    ("incometax", "income_tax"),
    ("customeraccount", "account"),
    ("customername", "account_name"),
    ("calleeareacode", "callee_area"),
    ("agentfee", "agent_fee"),
    ("agenttax", "agent_tax"),
    ("agentsuitefee", "agent_suite_fee"),
    ("agentsuitefeetime", "agent_suite_s"),
    ("agentaccount", "agent_account"),
    ("agentname", "agent_name"),
    ("flowno", "flow_no"),
    ("softswitchname", "softswitch"),
    ("softswitchcallid", "softswitch_call_id"),
    ("callercallid", "caller_call_id"),
    ("calleecallid", "callee_call_id"),
    ("rtpforward", "rtp_forward"),
    ("enddirection", "end_direction"),
    ("endreason", "end_reason"),
    ("billingtype", "billing_type"),
    ("cdrlevel", "cdr_level"),
    ("agentcdr_id", "agent_cdr_id"),
];

/// The header line.
pub(super) fn header() -> Vec<&'static str> {
    COLUMNS.iter().map(|(column, _)| *column).collect()
}

/// One line. An unanswered call starts when it ends (cdr.md 2, `connect_ms`).
pub(super) fn cells(row: &CdrRow) -> Vec<String> {
    let field = |name: &str| row.get(name).filter(|value| !value.is_null());
    let value = |name: &str| match name {
        "connect_ms" => field(name).or_else(|| field("end_ms")),
        _ => field(name),
    };
    COLUMNS.iter().map(|(_, name)| plain(value(name).unwrap_or(&Value::Null))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Copied from cdr.md 5.
    const HEADER: &str = "callere164, calleraccesse164, calleee164, calleeaccesse164, callerip, callercodec, \
        callergatewayid, callerproductid, callertogatewaye164, callertype, calleeip, calleecodec, calleegatewayid, \
        calleeproductid, calleetogatewaye164, calleetype, billingmode, calllevel, agentfeetime, starttime, stoptime, \
        callerpdd, calleepdd, holdtime, callerareacode, feetime, fee, tax, suitefee, suitefeetime, incomefee, incometax, \
        customeraccount, customername, calleeareacode, agentfee, agenttax, agentsuitefee, agentsuitefeetime, \
        agentaccount, agentname, flowno, softswitchname, softswitchcallid, callercallid, calleecallid, rtpforward, \
        enddirection, endreason, billingtype, cdrlevel, agentcdr_id";

    #[test]
    fn the_header_is_the_published_one() {
        assert_eq!(header().join(", "), HEADER);
    }

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
        for (column, field) in COLUMNS {
            assert!(known.contains(field), "{column}: {field}");
        }
    }
}
