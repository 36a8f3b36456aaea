//! Finished calls priced by other rates: looked at, or corrected.

use serde::{Deserialize, Serialize};

use super::CdrFilter;
use crate::value::CallId;
use crate::when::When;

/// `rerate`: at most [`super::SLICE_CALLS`] calls an answer, oldest first. Without `apply` nothing is changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rerate {
    /// Which calls.
    pub filter: CdrFilter,
    /// Legs that this rate group priced take other rates. Missing: those of the filter's account, else the customers'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The rates as they are stored with each call, whatever else is given.
    pub stored: bool,
    /// A rate sheet, whole. Missing: the present version of the group of each leg.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deck: Option<String>,
    /// The sheet of an earlier answer, which the switch holds: its `deck_held`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deck_held: Option<u64>,
    /// The row in force at this instant, for every call. Missing: at the answer of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rates_at: Option<When>,
    /// The rows as they are when all of them have begun; goes before `rates_at`.
    pub all_begun: bool,
    /// Decimals of rates and fees instead of those of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fp: Option<u8>,
    /// Fee unit instead of that of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fu: Option<String>,
    /// Hold-time precision, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_precision: Option<u16>,
    /// Free time, s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free: Option<u32>,
    /// Whether rates are rounded before use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantise: Option<bool>,
    /// Books corrections under this name of a run: 1 to 40 letters, digits, `-` and `_`. A call is corrected from what it is
    /// charged now, so that a run which is repeated, or goes on after a crash, finds nothing to correct in what is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apply: Option<String>,
    /// Words for the ledger.
    pub memo: String,
    /// Only calls behind this one: the `next` of the answer before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<CallId>,
}
