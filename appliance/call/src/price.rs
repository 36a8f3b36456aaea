//! Whether an account may call a number and what it pays, as far as the configuration tells (spec accounts.md 3 steps 1
//! to 5, rates.md 3 and 6). Calls and `tandem explain` use the same function; money and lines are asked afterwards.

use tandem_leg::ServerReason;
use tandem_rating::fee::RateTerms;
use tandem_rating::rate::Lookup;
use tandem_rating::text::Text;

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
    /// The number that was looked up.
    pub number: Text,
    /// Rows of the agents above the account, the direct one first; none for a free number.
    pub agents: Vec<RateTerms>,
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
        return Ok(Price {
            terms: None,
            free: Some(pattern.to_owned()),
            no_cdr: no_cdr.is_some(),
            number: number.into(),
            agents: Vec::new(),
        });
    }
    usable(account, at_ms)?;
    for agent in snapshot.agents(account) {
        if agent.cancelled {
            return no(ServerReason::AccountDisabled, format!("agent {} is cancelled", agent.name));
        }
        usable(agent, at_ms)?;
    }
    let found = lookup(account, number, at_ms)?;
    let (Lookup::Found(rate) | Lookup::Locked(rate)) = found else {
        return Err(not_found(account, number));
    };
    if gateway.call_level < rate.level() {
        let detail = format!("level {} is below rate type {}", gateway.call_level, rate.level());
        return no(ServerReason::NoPermission, detail);
    }
    if matches!(found, Lookup::Locked(_)) {
        return no(ServerReason::RateLocked, format!("rate {} is locked", rate.prefix()));
    }
    let agents = snapshot.agents(account).map(|agent| match lookup(agent, number, at_ms)? {
        Lookup::Found(rate) => Ok(rate.terms()),
        Lookup::Locked(rate) => Err(NoPrice {
            reason: ServerReason::RateLocked,
            detail: format!("rate {} of agent {} is locked", rate.prefix(), agent.name),
        }),
        Lookup::NotFound => Err(not_found(agent, number)),
    });
    let agents = agents.collect::<Result<_, _>>()?;
    Ok(Price { terms: Some(rate.terms()), free: None, no_cdr: false, number: number.into(), agents })
}

/// Steps 2 and 3 of accounts.md 3; they hold for every agent above as well.
fn usable(account: &Account, at_ms: i64) -> Result<(), NoPrice> {
    let no = |reason, detail: String| Err(NoPrice { reason, detail });
    if account.locked {
        return no(ServerReason::AccountLocked, format!("account {} is locked", account.name));
    }
    if account.valid_until_ms.is_some_and(|until| at_ms >= until) {
        return no(ServerReason::AccountExpired, format!("account {} is expired", account.name));
    }
    Ok(())
}

fn lookup<'a>(account: &'a Account, number: &str, at_ms: i64) -> Result<Lookup<'a>, NoPrice> {
    let deck = account.deck.as_ref().ok_or_else(|| not_found(account, number))?;
    Ok(deck.lookup(number, at_ms))
}

fn not_found(account: &Account, number: &str) -> NoPrice {
    let group = account.deck.as_ref().map_or("none", |deck| deck.name());
    let detail = format!("no rate for {number} in rate group {group} of account {}", account.name);
    NoPrice { reason: ServerReason::RateNotFound, detail }
}
