//! Finished calls priced by other rates: looked at, or corrected.

use serde::{Deserialize, Serialize};

use crate::value::CallId;

reply! {
    /// Legs of one account, or to one destination, before and after.
    RepricedRow {
        /// `customer`, `agent` or `vendor`.
        side: String,
        /// Account, or prefix of the destination.
        key: String,
        /// Name of the destination.
        name: String,
        /// Legs.
        calls: u64,
        /// Of these, legs that come to something else.
        changed: u64,
        /// Billed seconds before.
        old_s: i64,
        /// Billed seconds after.
        new_s: i64,
        /// What was charged, with tax.
        old: String,
        /// What would be.
        new: String,
        /// `new - old`.
        difference: String,
        /// Legs for whose number there is no rate; their old charge is in none of the sums.
        no_rate: u64,
        /// What they were charged.
        no_rate_old: String,
    }
}

reply! {
    /// `rerate`: of the calls behind `after`, as far as this answer goes.
    Rerated {
        /// Calls looked at.
        calls: u64,
        /// Calls that come to something else.
        changed: u64,
        /// Calls whose record was written before records kept a proof; they are left alone.
        no_proof: u64,
        /// Calls with a leg for whose number there is no rate; that leg stays as it is.
        no_rate: u64,
        /// Calls that cannot be rated; they are left alone.
        failed: u64,
        /// Calls that were corrected by this answer.
        corrected: u64,
        /// Margin (customers' fees less vendors') before.
        old_margin: String,
        /// Margin after.
        new_margin: String,
        /// By destination.
        destinations: Vec<RepricedRow>,
        /// By account.
        accounts: Vec<RepricedRow>,
        /// Currency of all amounts.
        currency: String,
        /// What to name in the next question instead of the sheet.
        deck_held: Option<u64>,
        /// Where the next answer begins; `None` when this was the last.
        next: Option<CallId>,
    }
}

reply! {
    /// A correction of a call.
    CorrectionRow {
        /// 1 is the first of the call.
        revision: u32,
        /// Run it belongs to.
        run: String,
        /// UTC ms.
        at_ms: i64,
        /// Who.
        user: String,
        /// Words.
        memo: String,
        /// The legs that it changed: `LEG ACCOUNT: OLD -> NEW`.
        changes: Vec<String>,
    }
}
