//! Whether an account may call a number and what it pays, as far as the configuration tells (spec accounts.md 3 steps 1
//! to 5, rates.md 3 and 6). Calls and `tandem explain` use the same function; money and lines are asked afterwards.

use tandem_leg::ServerReason;
use tandem_rating::fee::RateTerms;
use tandem_rating::rate::Lookup;

use crate::lists::pattern_of;
use crate::number::without_route_prefix;
use crate::snapshot::{Account, MappingGateway, Snapshot};

/// What the customer pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// His row; `None` for a free number.
    pub terms: Option<RateTerms>,
    /// Entry of the free or the no-record list that matched.
    pub free: Option<String>,
    /// The number leaves no record (SERVER_BILLING_NO_CDR_E164S).
    pub no_cdr: bool,
}

/// Why there is no price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoPrice {
    /// End reason.
    pub reason: ServerReason,
    /// The values that led to it.
    pub detail: String,
}

/// The price of `callee` (after the rules of the mapping gateway) for `account` at `at_ms`.
///
/// Free and no-record numbers skip the checks that a paying call has to pass (accounts.md 3).
///
/// # Errors
/// [`NoPrice`] with the first check that failed, in the order of accounts.md 3.
pub fn price(
    snapshot: &Snapshot,
    gateway: &MappingGateway,
    account: &Account,
    callee: &str,
    at_ms: i64,
) -> Result<Price, NoPrice> {
    let no = |reason, detail: String| Err(NoPrice { reason, detail });
    let settings = &snapshot.settings;
    let number = without_route_prefix(callee, settings.route_prefix_digits);
    if account.cancelled {
        return no(ServerReason::AccountDisabled, format!("account {} is cancelled", account.name));
    }
    let no_cdr = pattern_of(&settings.no_cdr_numbers, number);
    if let Some(pattern) = no_cdr.or_else(|| pattern_of(&settings.free_numbers, number)) {
        return Ok(Price { terms: None, free: Some(pattern.to_owned()), no_cdr: no_cdr.is_some() });
    }
    if account.locked {
        return no(ServerReason::AccountLocked, format!("account {} is locked", account.name));
    }
    if account.valid_until_ms.is_some_and(|until| at_ms >= until) {
        return no(ServerReason::AccountExpired, format!("account {} is expired", account.name));
    }
    let found = account.deck.as_ref().map_or(Lookup::NotFound, |deck| deck.lookup(number, at_ms));
    let rate = match found {
        Lookup::Found(rate) | Lookup::Locked(rate) => rate,
        Lookup::NotFound => {
            let group = account.deck.as_ref().map_or("none", |d| d.name());
            return no(ServerReason::RateNotFound, format!("no rate for {number} in rate group {group}"));
        }
    };
    if gateway.call_level < rate.level() {
        let detail = format!("level {} is below rate type {}", gateway.call_level, rate.level());
        return no(ServerReason::NoPermission, detail);
    }
    if matches!(found, Lookup::Locked(_)) {
        return no(ServerReason::RateLocked, format!("rate {} is locked", rate.prefix()));
    }
    Ok(Price { terms: Some(rate.terms()), free: None, no_cdr: false })
}
