//! What the fields of a CDR are called outside (cdr.md 2 and 5): in CSV, and in JSON for other systems.

/// A field under its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CdrName {
    /// Column of CSV.
    pub column: &'static str,
    /// Name in JSON for other systems.
    pub api: &'static str,
    /// Our own name, as in `cdr.list`.
    pub field: &'static str,
}

const fn col(column: &'static str, api: &'static str, field: &'static str) -> CdrName {
    CdrName { column, api, field }
}

/// The published columns, in the order of the table. Times are UTC milliseconds; a call that was not answered starts when
/// it ends ([`STARTS`]).
pub const PUBLISHED: &[CdrName] = &[
    col("callere164", "callerE164", "caller_billed"),
    col("calleraccesse164", "callerAccessE164", "caller_in"),
    col("calleee164", "calleeE164", "callee_billed"),
    col("calleeaccesse164", "calleeAccessE164", "callee_in"),
    col("callerip", "callerIp", "caller_ip"),
    col("callercodec", "callerCodec", "caller_codec"),
    col("callergatewayid", "callerGateway", "caller_gateway"),
    col("callerproductid", "callerProduct", "caller_product"),
    col("callertogatewaye164", "callerToGatewayE164", "caller_out"),
    col("callertype", "callerType", "caller_type"),
    col("calleeip", "calleeIp", "callee_ip"),
    col("calleecodec", "calleeCodec", "callee_codec"),
    col("calleegatewayid", "calleeGateway", "callee_gateway"),
    col("calleeproductid", "calleeProduct", "callee_product"),
    col("calleetogatewaye164", "calleeToGatewayE164", "callee_out"),
    col("calleetype", "calleeType", "callee_type"),
    col("billingmode", "billingMode", "billing_mode"),
    col("calllevel", "callLevel", "call_level"),
    col("agentfeetime", "agentFeeTime", "agent_s"),
    col("starttime", "start", "connect_ms"),
    col("stoptime", "stop", "end_ms"),
    col("callerpdd", "callerPdd", "caller_pdd_ms"),
    col("calleepdd", "calleePdd", "callee_pdd_ms"),
    col("holdtime", "holdTime", "hold_s"),
    col("callerareacode", "callerAreaCode", "caller_area"),
    col("feetime", "feeTime", "billed_s"),
    col("fee", "fee", "fee"),
    col("tax", "tax", "tax"),
    col("suitefee", "suiteFee", "suite_fee"),
    col("suitefeetime", "suiteFeeTime", "suite_s"),
    col("incomefee", "incomeFee", "income_fee"),
    col("incometax", "incomeTax", "income_tax"),
    col("customeraccount", "customerAccount", "account"),
    col("customername", "customerName", "account_name"),
    col("calleeareacode", "feePrefix", "callee_area"),
    col("agentfee", "agentFee", "agent_fee"),
    col("agenttax", "agentTax", "agent_tax"),
    col("agentsuitefee", "agentSuiteFee", "agent_suite_fee"),
    col("agentsuitefeetime", "agentSuiteFeeTime", "agent_suite_s"),
    col("agentaccount", "agentAccount", "agent_account"),
    col("agentname", "agentName", "agent_name"),
    col("flowno", "flowNo", "flow_no"),
    col("softswitchname", "softswitchName", "softswitch"),
    col("softswitchcallid", "softswitchCallId", "softswitch_call_id"),
    col("callercallid", "callerCallId", "caller_call_id"),
    col("calleecallid", "calleeCallId", "callee_call_id"),
    col("rtpforward", "rtpForward", "rtp_forward"),
    col("enddirection", "endDirection", "end_direction"),
    col("endreason", "endReason", "end_reason"),
    col("billingtype", "calleeBilling", "billing_type"),
    col("cdrlevel", "cdrLevel", "cdr_level"),
    col("agentcdr_id", "agentCdrId", "agent_cdr_id"),
];

/// What an operator has besides; customers never see it (cdr.md 5).
pub const OPERATOR: &[CdrName] = &[
    col("vendoraccount", "vendorAccount", "vendor_account"),
    col("vendorareacode", "vendorFeePrefix", "vendor_prefix"),
    col("vendorfeetime", "vendorFeeTime", "vendor_s"),
    col("vendorfee", "vendorFee", "vendor_fee"),
    col("vendortax", "vendorTax", "vendor_tax"),
    col("margin", "margin", "margin"),
];

/// The field that is null for a call that was not answered, and the one that stands for it then.
pub const STARTS: (&str, &str) = ("connect_ms", "end_ms");

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

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
        let columns: Vec<&str> = PUBLISHED.iter().map(|name| name.column).collect();
        assert_eq!(columns.join(", "), HEADER);
    }

    #[test]
    fn no_name_stands_twice() {
        let all = || PUBLISHED.iter().chain(OPERATOR);
        assert_eq!(all().map(|name| name.column).collect::<HashSet<_>>().len(), all().count());
        assert_eq!(all().map(|name| name.api).collect::<HashSet<_>>().len(), all().count());
    }
}
