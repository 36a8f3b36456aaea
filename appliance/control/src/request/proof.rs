//! Finished calls again: proved from what their records keep, and priced by other rates.

use serde::{Deserialize, Serialize};

use super::CdrFilter;
use crate::value::CallId;

/// `cdr.explain`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CdrExplain {
    /// The call, which must be over.
    pub call: CallId,
}

/// Most calls that one answer of `cdr.prove` or `rerate` goes through: about a second's work, so that a question about a
/// year keeps nobody waiting for one answer.
pub const SLICE_CALLS: u32 = 20_000;

/// `cdr.prove`: at most [`SLICE_CALLS`] calls an answer, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CdrProve {
    /// Which.
    pub filter: CdrFilter,
    /// Only calls behind this one: the `next` of the answer before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<CallId>,
}
