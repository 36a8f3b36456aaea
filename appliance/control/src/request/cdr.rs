//! Verbs about calls of other systems, and reports.

use serde::{Deserialize, Serialize};

use crate::when::When;

/// Most rows of one `cdr.insert`: they are booked in one turn of the rating thread, and calls wait for it.
pub const INSERT_MAX: usize = 1_000;

/// A call that another system has made and that an account pays for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalCdr {
    /// Account that pays.
    pub account: String,
    /// Caller.
    pub caller: String,
    /// Callee; its rate is looked up in the account's rate group.
    pub callee: String,
    /// When it was answered.
    pub start: When,
    /// When it ended; `start` and the billed time if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<When>,
    /// Seconds to bill; `stop` less `start`, rounded up, if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub billing_time: Option<u32>,
    /// Its key; missing or -1: the switch gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow_no: Option<i64>,
    /// Payer mode: 0 phone (the default), 1 mapping gateway, 2 bound number, 3 phone card.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u8>,
}

/// `cdr.insert`: all rows or none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CdrInsert {
    /// 1 to [`INSERT_MAX`].
    pub rows: Vec<ExternalCdr>,
    /// False: says what it would cost.
    pub commit: bool,
    /// Words for the audit log.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub comment: String,
}

/// `report.day`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportDay {
    /// The day, or any instant of it.
    pub day: When,
    /// `total`, `account`, `agent`, `vendor`, `gateway`, `routing`, `area`, `end-reason`, `hour` or `level`; all if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// `report.check`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReportCheck {
    /// The day, or any instant of it.
    pub day: When,
}
