//! Replies about calls of other systems, and reports.

use serde::{Deserialize, Serialize};

use crate::value::CallId;

reply! {
    /// What became of one row of `cdr.insert`.
    InsertedCdr {
        /// Its number from 1.
        row: u32,
        /// Its flow number; 0 in a preview of one that the switch gives.
        call: CallId,
        /// `stored`, `preview`, or `known`: a call of this number is there, nothing was stored or charged.
        outcome: String,
        /// Account.
        account: String,
        /// Callee.
        callee: String,
        /// Matched prefix; empty for a free number.
        prefix: String,
        /// Billed seconds.
        billed_s: i64,
        /// Fee.
        fee: String,
        /// Tax on it.
        tax: String,
    }
}

reply! {
    /// `cdr.insert`
    CdrInserted {
        /// In the order of the request.
        rows: Vec<InsertedCdr>,
        /// How many were stored.
        stored: u32,
        /// How many were known.
        known: u32,
    }
}

reply! {
    /// Sums over the calls of a day that have `key` in common.
    ReportRow {
        /// What the day is divided by.
        by: String,
        /// Name, prefix or number; empty when the calls had none.
        key: String,
        /// The key in words, where it is a number.
        name: String,
        /// Calls.
        calls: i64,
        /// Of these, answered.
        answered: i64,
        /// Answered / calls in percent, two decimals.
        asr_pct: String,
        /// Held seconds / answered, one decimal; empty without an answered call.
        acd_s: String,
        /// Held seconds.
        hold_s: i64,
        /// Billed seconds of the customers.
        billed_s: i64,
        /// Seconds that packages paid.
        suite_s: i64,
        /// Billed seconds of the direct agents.
        agent_s: i64,
        /// Billed seconds of the vendors.
        vendor_s: i64,
        /// Fees.
        fee: String,
        /// Taxes on them.
        tax: String,
        /// What packages paid.
        suite_fee: String,
        /// Fees of the direct agents.
        agent_fee: String,
        /// Taxes on them.
        agent_tax: String,
        /// What packages of the direct agents paid.
        agent_suite_fee: String,
        /// Costs.
        cost: String,
        /// Taxes on them.
        cost_tax: String,
        /// Fees less costs.
        margin: String,
    }
}

reply! {
    /// `report.day`
    ReportDay {
        /// yyyymmdd.
        day: u32,
        /// ISO 4217 code.
        currency: String,
        /// Node name.
        node: String,
        /// By what the day is divided by, then by key.
        rows: Vec<ReportRow>,
    }
}

reply! {
    /// `report.check`
    ReportChecked {
        /// yyyymmdd.
        day: u32,
        /// CDRs that were added up; none when the day's CDRs were dropped.
        cdrs: Option<u64>,
        /// Rows of reports.
        rows: u64,
        /// Ledger rows that were added up.
        ledger_rows: u64,
        /// What does not agree, one sentence each.
        problems: Vec<String>,
    }
}
