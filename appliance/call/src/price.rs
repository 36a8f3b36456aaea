//! Whether an account may call a number and what it pays, as far as the configuration tells (spec accounts.md 3 steps 1
//! to 5, rates.md 3 and 6). Calls and `tandem explain` use the same function; money and lines are asked afterwards.

use tandem_leg::ServerReason;
use tandem_rating::fee::RateTerms;
use tandem_rating::money::Money;
use tandem_rating::rate::{Deck, Lookup, Row};
use tandem_rating::split::RateChange;
use tandem_rating::text::Text;
use tandem_rating::usage::LegTerms;

use crate::lists::pattern_of;
use crate::number::billing_number;
use crate::snapshot::{Account, MappingGateway, Phone, Snapshot};

/// How far ahead rows that change during a call are looked up: no call lasts longer (accounts.md 4).
const AHEAD_MS: i64 = 7 * 86_400_000;
/// Changes kept of one leg: a window every hour for two days and a half. What comes later is rated by the last of them.
const CHANGES_MAX: usize = 64;

/// What the customer pays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// His row; `None` for a free number.
    pub terms: Option<RateTerms>,
    /// Entry of the free or the no-record list that matched, or why else the call is free.
    pub free: Option<String>,
    /// The number leaves no record (SERVER_BILLING_NO_CDR_E164S).
    pub no_cdr: bool,
    /// The number that was looked up.
    pub number: Text,
    /// Rows of the agents above the account, the direct one first; none for a free number.
    pub agents: Vec<RateTerms>,
    /// Who pays: index into [`Snapshot::accounts`].
    pub payer: usize,
    /// Which object named the payer: 0 phone, 1 mapping gateway, 2 bound number, 3 card (rates.md 6).
    pub billing_mode: i8,
    /// 0 caller pays, 1 callee pays.
    pub billing_type: u8,
    /// The phone that calls or is called on its account; empty for none.
    pub phone: Text,
    /// What that phone may cost in a month.
    pub monthly_max: Option<Money>,
    /// The called number is a phone of ours.
    pub to_phone: bool,
    /// Legs of the payer and of the agents above; empty for a free number.
    pub legs: Vec<LegTerms>,
}

/// Why there is no price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoPrice {
    /// End reason.
    pub reason: ServerReason,
    /// The values that led to it.
    pub detail: String,
}

/// Who calls on whose account.
struct Payer<'a> {
    account: usize,
    billing_mode: i8,
    phone: Option<(&'a str, &'a Phone)>,
}

/// The price of `callee` for `caller` (both after the rules of the mapping gateway) at `at_ms`, and who pays it.
///
/// Free and no-record numbers skip the checks that a paying call has to pass (accounts.md 3).
///
/// # Errors
/// [`NoPrice`] with the first check that failed, in the order of accounts.md 3.
pub fn price(
    snapshot: &Snapshot,
    gateway: &MappingGateway,
    caller: &str,
    callee: &str,
    at_ms: i64,
) -> Result<Price, NoPrice> {
    let settings = &snapshot.settings;
    let number = billing_number(callee, &gateway.billing.prefixes, settings.route_prefix_digits);
    let who = payer(snapshot, gateway, caller);
    let account = account_of(snapshot, who.account, || format!("mapping gateway {} has no account", gateway.name))?;
    if account.cancelled {
        return no(ServerReason::AccountDisabled, format!("account {} is cancelled", account.name));
    }
    let mut price = Price {
        terms: None,
        free: None,
        no_cdr: false,
        number: number.into(),
        agents: Vec::new(),
        payer: who.account,
        billing_mode: who.billing_mode,
        billing_type: 0,
        phone: who.phone.map_or_else(Text::default, |(number, _)| number.into()),
        monthly_max: who.phone.and_then(|(_, phone)| phone.monthly_max),
        to_phone: false,
        legs: Vec::new(),
    };
    let no_cdr = pattern_of(&settings.no_cdr_numbers, number);
    if let Some(pattern) = no_cdr.or_else(|| pattern_of(&settings.free_numbers, number)) {
        return Ok(Price { free: Some(pattern.to_owned()), no_cdr: no_cdr.is_some(), ..price });
    }
    usable(account, at_ms)?;
    if let Some((number, _)) = who.phone.filter(|(_, phone)| phone.locked) {
        return no(ServerReason::AccountLocked, format!("phone {number} is locked"));
    }
    let called = snapshot.billing_numbers.phones.get_key_value(number);
    price.to_phone = called.is_some();
    let mut level = who.phone.map_or(gateway.call_level, |(_, phone)| phone.call_level);
    let mut asked = who.phone;
    if let Some((number, phone)) = called.filter(|(_, phone)| phone.callee_billing) {
        // Toll-free: charged to that phone's account only, whoever calls (rates.md 6).
        price.payer = phone.account;
        (price.billing_mode, price.billing_type) = (0, 1);
        (price.phone, price.monthly_max) = (number.as_str().into(), phone.monthly_max);
        asked = Some((number.as_str(), phone));
        level = u8::MAX;
        if phone.locked {
            return no(ServerReason::AccountLocked, format!("phone {number} is locked"));
        }
    } else if let Some((number, _)) = called {
        let own = who.phone.map_or(gateway.billing.no_billing_to_phone, |(_, phone)| phone.no_billing_to_phone);
        if own.unwrap_or(false) {
            return Ok(Price { free: Some(format!("own phone {number}")), ..price });
        }
    }
    let account = account_of(snapshot, price.payer, || "the account that pays is gone".to_owned())?;
    if account.cancelled {
        return no(ServerReason::AccountDisabled, format!("account {} is cancelled", account.name));
    }
    usable(account, at_ms)?;
    for agent in snapshot.agents(account) {
        if agent.cancelled {
            return no(ServerReason::AccountDisabled, format!("agent {} is cancelled", agent.name));
        }
        usable(agent, at_ms)?;
    }
    let (deck, rate) = row(account, asked.and_then(|(_, phone)| phone.deck.as_deref()), number, at_ms)?;
    if level < rate.level() {
        let detail = format!("level {level} is below rate type {}", rate.level());
        return no(ServerReason::NoPermission, detail);
    }
    if deck.1 {
        return no(ServerReason::RateLocked, format!("rate {} is locked", rate.prefix()));
    }
    let private = asked.and_then(|(_, phone)| phone.deck.as_deref());
    let terms = rate.terms_for(number);
    price.legs.push(leg(snapshot, account, private, deck.0, terms.clone(), number, at_ms));
    for agent in snapshot.agents(account) {
        let (deck, rate) = row(agent, None, number, at_ms)?;
        if deck.1 {
            let detail = format!("rate {} of agent {} is locked", rate.prefix(), agent.name);
            return no(ServerReason::RateLocked, detail);
        }
        let terms = rate.terms_for(number);
        price.agents.push(terms.clone());
        price.legs.push(leg(snapshot, agent, None, deck.0, terms, number, at_ms));
    }
    Ok(Price { terms: Some(terms), ..price })
}

/// Looks the row of a leg up again: what is in force at the answer is what the call is rated by (billing.md 6.a and 7). A row
/// that is gone leaves the one of the admission; a leg without a row stays without one.
pub(crate) fn reprice(snapshot: &Snapshot, leg: &mut LegTerms, phone: Option<&str>, at_ms: i64) {
    let account = snapshot.accounts.iter().find(|account| account.name == leg.account.as_str());
    let (Some(account), Some(_)) = (account, &leg.terms) else { return };
    let private = phone.and_then(|number| snapshot.billing_numbers.phones.get(number)?.deck.as_deref());
    let number = leg.number.clone();
    if let Ok(((deck, false), rate)) = row(account, private, &number, at_ms) {
        leg.terms = Some(rate.terms_for(&number));
        leg.rate_group = deck.name().into();
    }
    leg.changes = changes(snapshot, account, private, leg, at_ms);
}

/// What `account` is charged by for a finished call to `number` that began at `at_ms`: by the rate groups that a call of its own
/// would have asked then, in their order. `phone` is the phone of the account that called.
///
/// # Errors
/// [`NoPrice`] when none of them has a row for it at that time, or the one that has it is locked.
pub fn leg_at(
    snapshot: &Snapshot,
    account: &Account,
    phone: Option<&Phone>,
    number: &str,
    at_ms: i64,
) -> Result<LegTerms, NoPrice> {
    let private = phone.and_then(|phone| phone.deck.as_deref());
    let ((deck, locked), rate) = row(account, private, number, at_ms)?;
    if locked {
        return no(ServerReason::RateLocked, format!("rate {} of account {} is locked", rate.prefix(), account.name));
    }
    Ok(leg(snapshot, account, private, deck, rate.terms(), number, at_ms))
}

fn no<T>(reason: ServerReason, detail: String) -> Result<T, NoPrice> {
    Err(NoPrice { reason, detail })
}

fn account_of(snapshot: &Snapshot, at: usize, gone: impl FnOnce() -> String) -> Result<&Account, NoPrice> {
    snapshot.accounts.get(at).ok_or_else(|| NoPrice { reason: ServerReason::AccountDisabled, detail: gone() })
}

/// The gateway's account, unless the gateway lets phones or bound numbers pay and the caller is one (rates.md 6).
fn payer<'a>(snapshot: &'a Snapshot, gateway: &MappingGateway, caller: &str) -> Payer<'a> {
    let numbers = &snapshot.billing_numbers;
    if let Some((number, phone)) = numbers.phones.get_key_value(caller).filter(|_| gateway.billing.phones) {
        return Payer { account: phone.account, billing_mode: 0, phone: Some((number.as_str(), phone)) };
    }
    match numbers.bound.get(caller).filter(|_| gateway.billing.bound_numbers) {
        Some(account) => {
            // A number that is bound to a card is the way to call on it without its PIN (accounts.md 1).
            let billing_mode = if numbers.cards.contains(account) { 3 } else { 2 };
            Payer { account: *account, billing_mode, phone: None }
        }
        None => Payer { account: gateway.account, billing_mode: 1, phone: None },
    }
}

/// Steps 2 and 3 of accounts.md 3; they hold for every agent above as well.
fn usable(account: &Account, at_ms: i64) -> Result<(), NoPrice> {
    if account.locked {
        return no(ServerReason::AccountLocked, format!("account {} is locked", account.name));
    }
    if account.valid_until_ms.is_some_and(|until| at_ms >= until) {
        return no(ServerReason::AccountExpired, format!("account {} is expired", account.name));
    }
    Ok(())
}

/// The row of an account and whether it is locked: of the phone's private group, else of the group of the hour, else of the
/// account's private group, else of its group (rates.md 3). A private group without a match falls through; the hour does not.
fn row<'a>(
    account: &'a Account,
    phone: Option<&'a Deck>,
    number: &str,
    at_ms: i64,
) -> Result<((&'a Deck, bool), Row<'a>), NoPrice> {
    let found = |deck: &'a Deck| match deck.lookup(number, at_ms) {
        Lookup::Found(rate) => Some(((deck, false), rate)),
        Lookup::Locked(rate) => Some(((deck, true), rate)),
        Lookup::NotFound => None,
    };
    if let Some(row) = phone.and_then(found) {
        return Ok(row);
    }
    let own = account.deck.as_deref();
    let group = match &account.calendar {
        Some(calendar) => match calendar.deck_at(at_ms) {
            Some(deck) => Some(&**deck),
            None => {
                return no(
                    ServerReason::RateNotFound,
                    format!("no period of account {} covers the time", account.name),
                );
            }
        },
        None => match account.private_deck.as_deref().and_then(found) {
            Some(row) => return Ok(row),
            None => own,
        },
    };
    group.and_then(found).ok_or_else(|| {
        let group = group.map_or("none", Deck::name);
        let detail = format!("no rate for {number} in rate group {group} of account {}", account.name);
        NoPrice { reason: ServerReason::RateNotFound, detail }
    })
}

/// Every rate group that may price a call of the account: those that [`row`] asks.
fn decks<'a>(account: &'a Account, phone: Option<&'a Deck>) -> impl Iterator<Item = &'a Deck> {
    let by_hour = account.calendar.iter().flat_map(|calendar| calendar.decks());
    let always = [&account.private_deck, &account.deck].into_iter().filter(|_| account.calendar.is_none());
    phone.into_iter().chain(by_hour).chain(always.flatten().map(|deck| &**deck))
}

fn leg(
    snapshot: &Snapshot,
    account: &Account,
    phone: Option<&Deck>,
    deck: &Deck,
    terms: RateTerms,
    number: &str,
    at_ms: i64,
) -> LegTerms {
    let mut leg = LegTerms { rate_group: deck.name().into(), ..account.leg(Some(terms), number.into()) };
    leg.changes = changes(snapshot, account, phone, &leg, at_ms);
    leg
}

/// The rows that take the place of the leg's row during a call that begins at `at_ms`, for rate groups that split
/// (billing.md 6.a): where another period begins, and where a row for the number begins or ends. Where no row is in force the
/// one before goes on: the call is there.
fn changes(
    snapshot: &Snapshot,
    account: &Account,
    phone: Option<&Deck>,
    leg: &LegTerms,
    at_ms: i64,
) -> Vec<RateChange> {
    let mut changes: Vec<RateChange> = Vec::new();
    let splits = |group: &str| snapshot.billing_numbers.split_groups.contains(group);
    let Some(mut current) = leg.terms.as_ref().filter(|_| splits(&leg.rate_group)).cloned() else { return changes };
    let until_ms = at_ms.saturating_add(AHEAD_MS);
    let mut edges = account.calendar.as_ref().map_or_else(Vec::new, |calendar| calendar.edges(at_ms, until_ms));
    for deck in decks(account, phone) {
        edges.extend(deck.edges(&leg.number, at_ms, until_ms));
    }
    edges.sort_unstable();
    edges.dedup();
    for edge in edges {
        if changes.len() == CHANGES_MAX {
            break;
        }
        if let Ok(((_, false), rate)) = row(account, phone, &leg.number, edge) {
            let terms = rate.terms_for(&leg.number);
            if terms != current {
                current.clone_from(&terms);
                changes.push(RateChange { from_ms: edge, terms });
            }
        }
    }
    changes
}
