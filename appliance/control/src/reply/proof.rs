//! Finished calls again: proved from what their records keep, and priced by other rates.

use serde::{Deserialize, Serialize};

use super::{CdrRow, CorrectionRow, LedgerRow};
use crate::value::CallId;

reply! {
    /// Two values that have to be one.
    CheckRow {
        /// What was compared.
        what: String,
        /// As it is stored.
        stored: String,
        /// As it comes out again.
        again: String,
        /// Whether both are one.
        agrees: bool,
    }
}

reply! {
    /// A leg of an explained call.
    ExplainedLeg {
        /// `customer`, `agent`, `agent2` and so on upward, `vendor`.
        leg: String,
        /// Account.
        account: String,
        /// Its name for people.
        name: String,
        /// Rate group.
        rate_group: String,
        /// The number that was looked up.
        number: String,
        /// The prefix that matched; empty without a row.
        prefix: String,
        /// Number of the row; 0 without one.
        rate_id: u64,
        /// The steps of the fee, one a line; none for a leg without a row.
        steps: Vec<String>,
        /// What was compared.
        checks: Vec<CheckRow>,
    }
}

reply! {
    /// `cdr.explain`
    CallExplained {
        /// The call.
        call: CallId,
        /// `proved`, `no_proof` or `differs`.
        verdict: String,
        /// Every disagreement as a sentence.
        differences: Vec<String>,
        /// Comparisons made.
        checked: u64,
        /// The record.
        cdr: CdrRow,
        /// Customer, agents, vendor.
        legs: Vec<ExplainedLeg>,
        /// What was compared of the call as a whole.
        checks: Vec<CheckRow>,
        /// Movements of money that name the call.
        ledger: Vec<LedgerRow>,
        /// Corrections of it, the first first; the last is what it is charged now.
        corrections: Vec<CorrectionRow>,
    }
}

reply! {
    /// A call that does not prove itself.
    DifferRow {
        /// The call.
        call: CallId,
        /// Its disagreements as sentences.
        differences: Vec<String>,
    }
}

reply! {
    /// `cdr.prove`: of the calls behind `after`, as far as this answer goes.
    CdrProved {
        /// Calls looked at.
        calls: u64,
        /// Calls whose record, proof and ledger agree to the last digit.
        proved: u64,
        /// Calls whose record was written before records kept a proof.
        no_proof: u64,
        /// Calls with a disagreement.
        differ: u64,
        /// The first of them.
        first: Vec<DifferRow>,
        /// Where the next answer begins; `None` when this was the last.
        next: Option<CallId>,
    }
}
