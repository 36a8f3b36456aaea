//! Which routing gateways a call may go to, best first, and why each other one may not (spec routing.md 6).
//!
//! [`plan`] is a pure function of the snapshot, the numbers, the time and the rotation: calls and `tandem explain` use
//! the same one.

use std::cmp::Reverse;
use std::fmt;
use std::net::IpAddr;

use rand::Rng;
use rust_decimal::Decimal;
use smallvec::SmallVec;
use tandem_leg::ServerReason;
use tandem_rating::fee::RateTerms;
use tandem_rating::least_cost::{PerSecond, SecondLimit, per_second, profit_percent_at_least};
use tandem_rating::prefix::{PrefixError, PrefixTrie};
use tandem_rating::rate::{Deck, Lookup};

use crate::lists::length_passes;
use crate::number::{RewriteError, billing_number};
use crate::rank::{Key, Order, Ranked};
use crate::snapshot::{Account, MappingGateway, PrefixStyle, RoutingGateway, Snapshot};
use crate::weights::Weights;

/// Routing gateways by prefix.
#[derive(Clone, Debug, Default)]
pub struct PrefixTable {
    trie: PrefixTrie<Vec<u32>>,
}

impl PrefixTable {
    /// Compiles the prefixes of `routing`; a gateway without any is a default gateway (length 0).
    ///
    /// # Errors
    /// [`PrefixError`] for a prefix that no number can have.
    pub fn build(routing: &[RoutingGateway]) -> Result<PrefixTable, PrefixError> {
        let mut by_prefix: std::collections::BTreeMap<&str, Vec<u32>> = std::collections::BTreeMap::new();
        for (index, gateway) in routing.iter().enumerate() {
            let index = u32::try_from(index).map_err(|_| PrefixError::TooMany)?;
            if gateway.prefixes.is_empty() {
                by_prefix.entry("").or_default().push(index);
            }
            for prefix in &gateway.prefixes {
                let list = by_prefix.entry(prefix).or_default();
                if list.last() != Some(&index) {
                    list.push(index);
                }
            }
        }
        Ok(PrefixTable { trie: PrefixTrie::build(by_prefix)? })
    }

    /// Gateways that match `number` as (length of their longest matching prefix, index), longest first.
    pub fn matching(&self, number: &str) -> SmallVec<[(usize, usize); ROUTES]> {
        let mut found: SmallVec<[(usize, usize); ROUTES]> = SmallVec::new();
        for (length, gateways) in self.trie.matches(number).rev() {
            let longer = found.len();
            for gateway in gateways.iter().map(|gateway| *gateway as usize) {
                if !found[..longer].iter().any(|(_, known)| *known == gateway) {
                    found.push((length, gateway));
                }
            }
        }
        found
    }
}

/// Candidates that are kept without a place on the heap; a number with more vendors costs one.
const ROUTES: usize = 16;

/// What is asked of [`plan`].
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Index of the mapping gateway.
    pub mapping: usize,
    /// Caller after the rules of the mapping gateway.
    pub caller: &'a str,
    /// Callee after those rules: routed and rated.
    pub callee: &'a str,
    /// UTC ms.
    pub at_ms: i64,
    /// What the customer pays; `None` for a free call, which no profit guard stops.
    pub sell: Option<&'a RateTerms>,
    /// Where the call came from.
    pub source: IpAddr,
}

/// One gateway the call may go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Index into [`Snapshot::routing`].
    pub gateway: usize,
    /// Length of the matching prefix: the group.
    pub prefix_len: usize,
    /// Its prefix style is terminal: shorter prefixes are out once it was tried.
    pub terminal: bool,
    /// A protect route.
    pub protect: bool,
    /// The vendor's price; `None` without a row (costs are then unknown).
    pub vendor: Option<VendorRate>,
    /// Caller for the vendor, when its rules change it; see [`Plan::caller_out`].
    caller_out: Option<Box<str>>,
    /// Callee for the vendor, when its rules change it.
    callee_out: Option<Box<str>>,
}

/// A row of the deck of a vendor's clearing account, in the snapshot that was planned with.
///
/// Of ten candidates one or two are tried: terms, with their prefix, are made of those only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VendorRate {
    /// Its place in the deck.
    row: u32,
    /// What it costs.
    pub cost: PerSecond,
}

impl Route {
    /// What the vendor is paid by; `None` without a row. `snapshot` and `at_ms` are those the call was planned with.
    pub fn terms(&self, snapshot: &Snapshot, at_ms: i64) -> Option<RateTerms> {
        let account = snapshot.accounts.get(snapshot.routing.get(self.gateway)?.account)?;
        Some(account.group_at(at_ms)?.row(self.vendor?.row)?.terms())
    }
}

/// One gateway the call may not go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Index into [`Snapshot::routing`].
    pub gateway: usize,
    /// Length of the matching prefix; `None` when none matches.
    pub prefix_len: Option<usize>,
    /// Why.
    pub reason: Skip,
}

/// Why a gateway is left out (spec routing.md 6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Skip {
    /// None of its prefixes begins the number.
    NoPrefix,
    /// `lockType` 3.
    Locked,
    /// Before its validity.
    NotYetValid {
        /// UTC ms.
        from_ms: i64,
    },
    /// After its validity.
    Expired {
        /// UTC ms.
        to_ms: i64,
    },
    /// Its groups are not those of the mapping gateway.
    Group,
    /// `capacity` 0.
    Blocked,
    /// No address to send to.
    NoAddress,
    /// The call came from its address.
    LoopBack {
        /// The address.
        source: IpAddr,
    },
    /// The clearing account cannot be used.
    Clearing {
        /// `cancelled`, `locked` or `expired`.
        state: &'static str,
    },
    /// Its caller prefix filter refuses.
    CallerPrefix,
    /// Its callee prefix filter refuses.
    CalleePrefix,
    /// Its caller lengths refuse.
    CallerLength,
    /// Its callee lengths refuse.
    CalleeLength,
    /// Its rules make no number of the caller or the callee.
    Rewrite(RewriteError),
    /// `feerateRestrict`, and the vendor has no row.
    NoVendorRate,
    /// The vendor's row is locked.
    VendorRateLocked {
        /// Its prefix.
        prefix: String,
    },
    /// Dearer than `maxSecondRates`.
    Dear {
        /// Price per second.
        cost: PerSecond,
        /// The strictest limit, per second.
        limit: Decimal,
    },
    /// Less profit than `minProfitPercent`.
    Profit {
        /// Sold for, per second.
        sell: PerSecond,
        /// Bought for, per second.
        cost: PerSecond,
        /// The strictest limit, percent.
        min_percent: i32,
    },
    /// A longer prefix has a terminal gateway (R-D11).
    Terminal {
        /// Index of that gateway.
        by: usize,
    },
}

impl Skip {
    /// Whether a rate or profit guard did it ("Profit Limit").
    pub fn is_money_guard(&self) -> bool {
        matches!(self, Skip::Dear { .. } | Skip::Profit { .. })
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Skip::NoPrefix => f.write_str("no prefix of it begins the number"),
            Skip::Locked => f.write_str("locked"),
            Skip::NotYetValid { from_ms } => write!(f, "not valid before {from_ms} ms"),
            Skip::Expired { to_ms } => write!(f, "not valid since {to_ms} ms"),
            Skip::Group => f.write_str("not in a group the mapping gateway may use"),
            Skip::Blocked => f.write_str("capacity is 0"),
            Skip::NoAddress => f.write_str("has no address"),
            Skip::LoopBack { source } => write!(f, "the call came from its address {source}"),
            Skip::Clearing { state } => write!(f, "clearing account is {state}"),
            Skip::CallerPrefix => f.write_str("caller prefix not allowed"),
            Skip::CalleePrefix => f.write_str("callee prefix not allowed"),
            Skip::CallerLength => f.write_str("caller length not allowed"),
            Skip::CalleeLength => f.write_str("callee length not allowed"),
            Skip::Rewrite(error) => write!(f, "number rewrite error: {error}"),
            Skip::NoVendorRate => f.write_str("vendor has no rate for the number"),
            Skip::VendorRateLocked { prefix } => write!(f, "vendor rate {prefix:?} is locked"),
            Skip::Dear { cost, limit } => write!(f, "costs {cost} per second, at most {limit} allowed"),
            Skip::Profit { sell, cost, min_percent } => {
                write!(f, "sold at {sell}, bought at {cost} per second: less than {min_percent} % profit")
            }
            Skip::Terminal { .. } => f.write_str("a gateway with a longer prefix is terminal"),
        }
    }
}

/// The answer of [`plan`]: where the call may go, in order, and where not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Best first: groups by prefix length, in a group by the keys of R-D12; protect routes after all others. A shorter
    /// prefix after a terminal gateway is still listed; [`Plan::open`] holds it back.
    pub routes: Vec<Route>,
    /// Gateways whose prefix matches but which are left out.
    pub skipped: Vec<Skipped>,
    /// The caller that was planned for, before the rules of a vendor.
    caller: String,
    /// The callee.
    callee: String,
}

impl Plan {
    /// The callee that was planned for.
    pub fn callee(&self) -> &str {
        &self.callee
    }

    /// Caller for the vendor of `route`, after its rules.
    pub fn caller_out<'a>(&'a self, route: &'a Route) -> &'a str {
        route.caller_out.as_deref().unwrap_or(&self.caller)
    }

    /// Callee for the vendor of `route`, after its rules.
    pub fn callee_out<'a>(&'a self, route: &'a Route) -> &'a str {
        route.callee_out.as_deref().unwrap_or(&self.callee)
    }

    /// The routes that may be tried now, in order: not `used`, protect routes only with `protect`, and nothing with a
    /// shorter prefix than a terminal gateway that was not `passed` over (R-D11: "in the tried set").
    pub fn open(&self, protect: bool, used: impl Fn(usize) -> bool, passed: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut open = Vec::new();
        let mut terminal_len = 0;
        for (index, route) in self.routes.iter().enumerate() {
            if route.protect != protect {
                continue;
            }
            if route.prefix_len < terminal_len {
                break;
            }
            if route.terminal && !passed(index) {
                terminal_len = route.prefix_len;
            }
            if !used(index) {
                open.push(index);
            }
        }
        open
    }

    /// End reason when there is nothing to try at all (endreasons.md -1, -42).
    ///
    /// A number that no gateway has a prefix of is NoAvailableRouter as well (call-flows.md 17): upstream switches route
    /// on a 503 and stop at a 404. Not Found (-2) is for local numbers, which come with phones.
    pub fn no_route(&self) -> ServerReason {
        if self.routes.is_empty() && !self.skipped.is_empty() && self.skipped.iter().all(|s| s.reason.is_money_guard())
        {
            ServerReason::ProfitLimit
        } else {
            ServerReason::NoAvailableRouter
        }
    }

    /// Every gateway that is not a route, each with its reason: those of [`Plan::skipped`], those behind a terminal
    /// one, and those without a matching prefix.
    pub fn all_skipped(&self, snapshot: &Snapshot) -> Vec<Skipped> {
        let mut all = self.skipped.clone();
        for protect in [false, true] {
            let open = self.open(protect, |_| false, |_| false);
            let hidden = self.routes.iter().enumerate().filter(|(i, r)| r.protect == protect && !open.contains(i));
            for (_, route) in hidden {
                let mut longer = self.routes.iter().filter(|r| r.terminal && r.prefix_len > route.prefix_len);
                if let Some(by) = longer.find(|r| r.protect == protect) {
                    let reason = Skip::Terminal { by: by.gateway };
                    all.push(Skipped { gateway: route.gateway, prefix_len: Some(route.prefix_len), reason });
                }
            }
        }
        for gateway in 0..snapshot.routing.len() {
            let known =
                self.routes.iter().any(|r| r.gateway == gateway) || self.skipped.iter().any(|s| s.gateway == gateway);
            if !known {
                all.push(Skipped { gateway, prefix_len: None, reason: Skip::NoPrefix });
            }
        }
        all
    }

    /// The plan as text, with names.
    pub fn show<'a>(&'a self, snapshot: &'a Snapshot) -> ShowPlan<'a> {
        ShowPlan { plan: self, snapshot }
    }
}

/// [`Plan`] for people; see [`Plan::show`].
#[derive(Debug)]
pub struct ShowPlan<'a> {
    plan: &'a Plan,
    snapshot: &'a Snapshot,
}

impl fmt::Display for ShowPlan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |gateway: usize| self.snapshot.routing.get(gateway).map_or("?", |g| g.name.as_str());
        let mut number = 0;
        for protect in [false, true] {
            for index in self.plan.open(protect, |_| false, |_| false) {
                let route = &self.plan.routes[index];
                number += 1;
                let cost =
                    route.vendor.as_ref().map_or("no rate".to_owned(), |v| format!("{}/min", v.cost.per_minute()));
                let kind = if protect { ", protect" } else { "" };
                writeln!(
                    f,
                    "{number}. {} (prefix of {}, {cost}{kind}): {} -> {}",
                    name(route.gateway),
                    route.prefix_len,
                    self.plan.caller_out(route),
                    self.plan.callee_out(route)
                )?;
            }
        }
        for skipped in self.plan.all_skipped(self.snapshot) {
            writeln!(f, "-  {}: {}", name(skipped.gateway), skipped.reason)?;
        }
        Ok(())
    }
}

/// Chooses and sorts (spec routing.md 6). `weights` turns by one step for every class of equals in the plan.
///
/// Cost: one walk of the prefix trie and one rate look-up for every matching gateway.
pub fn plan(snapshot: &Snapshot, wanted: &Wanted<'_>, weights: &mut Weights, rng: &mut impl Rng) -> Plan {
    let Some(mapping) = snapshot.mapping.get(wanted.mapping) else {
        return Plan::default();
    };
    // With the place among all candidates, in whose order they are told.
    let mut skipped: Vec<(usize, Skipped)> = Vec::new();
    let mut skip = |place, gateway, prefix_len, reason| {
        skipped.push((place, Skipped { gateway, prefix_len: Some(prefix_len), reason }));
    };
    let mut judged: SmallVec<[Judged<'_>; ROUTES]> = SmallVec::new();
    for (place, (prefix_len, index)) in snapshot.by_prefix.matching(wanted.callee).into_iter().enumerate() {
        match judge(snapshot, mapping, index, wanted, rng) {
            Ok(open) => judged.push(Judged { place, prefix_len, ..open }),
            Err(reason) => skip(place, index, prefix_len, reason),
        }
    }
    // Prices of all of them at once: look-ups in large decks are waits for memory, which overlap.
    let mut prices = {
        let asked: SmallVec<[_; ROUTES]> = judged.iter().filter_map(|judged| judged.asks(snapshot, wanted)).collect();
        Deck::lookup_each(&asked, wanted.at_ms).into_iter()
    };
    let guard = Guard::of(mapping, wanted);
    let order = Order::of(snapshot, mapping);
    // Keys are sorted, not routes: those are large.
    let mut ranked: SmallVec<[(Key, usize); ROUTES]> = SmallVec::new();
    for (at, candidate) in judged.iter_mut().enumerate() {
        let found = candidate.deck.and_then(|_| prices.next()).unwrap_or(Lookup::NotFound);
        match buy(&guard, candidate.gateway, found) {
            Ok(vendor) => {
                candidate.vendor = vendor;
                ranked.push((order.key(&candidate.ranked()), at));
            }
            Err(reason) => skip(candidate.place, candidate.index, candidate.prefix_len, reason),
        }
    }
    ranked.sort_unstable_by(|(a, at), (b, other)| {
        a.cmp(b).then_with(|| judged[*at].gateway.name.cmp(&judged[*other].gateway.name)).then(at.cmp(other))
    });
    turn_equals(&mut ranked, &judged, weights);

    skipped.sort_by_key(|(place, _)| *place);
    let route = |(_, at): (Key, usize)| {
        let candidate = &mut judged[at];
        Route {
            gateway: candidate.index,
            prefix_len: candidate.prefix_len,
            terminal: candidate.gateway.prefix_style == PrefixStyle::Terminal,
            protect: candidate.gateway.protect,
            vendor: candidate.vendor,
            caller_out: candidate.caller_out.take(),
            callee_out: candidate.callee_out.take(),
        }
    };
    Plan {
        routes: ranked.into_iter().map(route).collect(),
        skipped: skipped.into_iter().map(|(_, skipped)| skipped).collect(),
        caller: wanted.caller.to_owned(),
        callee: wanted.callee.to_owned(),
    }
}

/// A gateway that may have the call, as far as everything but its price says.
struct Judged<'a> {
    /// Among all candidates.
    place: usize,
    /// Index into [`Snapshot::routing`].
    index: usize,
    gateway: &'a RoutingGateway,
    prefix_len: usize,
    /// Of its clearing account.
    deck: Option<&'a Deck>,
    caller_out: Option<Box<str>>,
    callee_out: Option<Box<str>>,
    /// Its price, once that is known.
    vendor: Option<VendorRate>,
}

impl<'a> Judged<'a> {
    /// Deck and number of its price.
    fn asks<'s>(&'s self, snapshot: &Snapshot, wanted: &Wanted<'s>) -> Option<(&'a Deck, &'s str)> {
        // For the number that is sent, or for the one that was dialled.
        let sent = self.callee_out.as_deref().filter(|_| self.gateway.clearing_use_callout);
        let rated = sent.unwrap_or(wanted.callee);
        let digits = snapshot.settings.route_prefix_digits;
        Some((self.deck?, billing_number(rated, &self.gateway.billing_prefixes, digits)))
    }

    /// What it is sorted by.
    fn ranked(&self) -> Ranked {
        let gateway = self.gateway;
        Ranked {
            protect: gateway.protect,
            prefix_len: self.prefix_len,
            priority: gateway.priority,
            least_cost: gateway.least_cost && gateway.check_rate,
            cost: self.vendor.map(|vendor| vendor.cost),
        }
    }
}

/// The exclusion filters of spec routing.md 6.2 that need no counter of the rating thread.
fn judge<'a>(
    snapshot: &'a Snapshot,
    mapping: &MappingGateway,
    index: usize,
    wanted: &Wanted<'_>,
    rng: &mut impl Rng,
) -> Result<Judged<'a>, Skip> {
    let gateway = &snapshot.routing[index];
    if gateway.locked {
        return Err(Skip::Locked);
    }
    if let Some(from_ms) = gateway.valid_from_ms.filter(|from| wanted.at_ms < *from) {
        return Err(Skip::NotYetValid { from_ms });
    }
    if let Some(to_ms) = gateway.valid_to_ms.filter(|to| wanted.at_ms >= *to) {
        return Err(Skip::Expired { to_ms });
    }
    let listed = gateway.groups.iter().any(|g| mapping.routing_groups.contains(g));
    if !mapping.routing_groups.is_empty() && listed != mapping.routing_groups_allow {
        return Err(Skip::Group);
    }
    if gateway.capacity == Some(0) {
        return Err(Skip::Blocked);
    }
    if gateway.remotes.is_empty() {
        return Err(Skip::NoAddress);
    }
    if gateway.remotes.iter().all(|r| r.ip() == wanted.source) {
        return Err(Skip::LoopBack { source: wanted.source });
    }
    let clearing = snapshot.accounts.get(gateway.account);
    if let Some(state) = clearing.map_or(Some("unknown"), |account| unusable(account, wanted.at_ms)) {
        return Err(Skip::Clearing { state });
    }
    if !gateway.caller_prefixes.passes(wanted.caller) {
        return Err(Skip::CallerPrefix);
    }
    if !gateway.callee_prefixes.passes(wanted.callee) {
        return Err(Skip::CalleePrefix);
    }
    if !length_passes(gateway.caller_lengths, wanted.caller) {
        return Err(Skip::CallerLength);
    }
    if !length_passes(gateway.callee_lengths, wanted.callee) {
        return Err(Skip::CalleeLength);
    }
    let caller_out = gateway.rewrite_caller.changed(wanted.caller, rng).map_err(Skip::Rewrite)?;
    let callee_out = gateway.rewrite_callee.changed(wanted.callee, rng).map_err(Skip::Rewrite)?;
    let deck = clearing.and_then(|account| account.group_at(wanted.at_ms)).map(|deck| &**deck);
    Ok(Judged { place: 0, index, gateway, prefix_len: 0, deck, caller_out, callee_out, vendor: None })
}

/// The vendor's price, or why it rules the gateway out.
fn buy(guard: &Guard<'_>, gateway: &RoutingGateway, found: Lookup<'_>) -> Result<Option<VendorRate>, Skip> {
    let row = match found {
        Lookup::Found(row) => row,
        Lookup::Locked(row) => return Err(Skip::VendorRateLocked { prefix: row.prefix().to_owned() }),
        Lookup::NotFound if gateway.check_rate => return Err(Skip::NoVendorRate),
        Lookup::NotFound => return Ok(None),
    };
    let vendor = VendorRate { row: row.place(), cost: row.per_second() };
    guard.check(gateway, vendor.cost)?;
    Ok(Some(vendor))
}

/// Rates and profit, strictest of both gateways (rates.md 9). A free call and an unknown cost pass.
struct Guard<'a> {
    mapping: &'a MappingGateway,
    /// What the customer pays; `None` for a free call.
    sell: Option<PerSecond>,
    /// Of the mapping gateway.
    limit: Option<SecondLimit>,
}

impl<'a> Guard<'a> {
    fn of(mapping: &'a MappingGateway, wanted: &Wanted<'_>) -> Guard<'a> {
        let sell = wanted.sell.map(|sell| per_second(sell.rate_per_min));
        Guard { mapping, sell, limit: mapping.max_second_rate.map(SecondLimit::of) }
    }

    fn check(&self, gateway: &RoutingGateway, cost: PerSecond) -> Result<(), Skip> {
        let Some(sell) = self.sell else { return Ok(()) };
        let limits = [self.limit, gateway.max_second_rate.map(SecondLimit::of)];
        if limits.into_iter().flatten().any(|limit| cost.is_above(limit)) {
            let strictest = [self.mapping.max_second_rate, gateway.max_second_rate].into_iter().flatten().min();
            return Err(Skip::Dear { cost, limit: strictest.unwrap_or_default() });
        }
        let min_percent = [self.mapping.min_profit_percent, gateway.min_profit_percent].into_iter().flatten().max();
        if let Some(min_percent) = min_percent.filter(|percent| !profit_percent_at_least(sell, cost, *percent)) {
            return Err(Skip::Profit { sell, cost, min_percent });
        }
        Ok(())
    }
}

fn unusable(account: &Account, at_ms: i64) -> Option<&'static str> {
    if account.cancelled {
        Some("cancelled")
    } else if account.locked {
        Some("locked")
    } else if account.valid_until_ms.is_some_and(|until| at_ms >= until) {
        Some("expired")
    } else {
        None
    }
}

/// Turns every class of equals of the sorted list by its weights.
fn turn_equals(ranked: &mut [(Key, usize)], judged: &[Judged<'_>], weights: &mut Weights) {
    let mut rest = ranked;
    while let [(key, _), ..] = *rest {
        let equal = rest.iter().take_while(|(other, _)| *other == key).count();
        let (class, later) = rest.split_at_mut(equal);
        if class.len() > 1 {
            let gateways = class.iter().map(|(_, at)| judged[*at].gateway);
            let members: SmallVec<[_; ROUTES]> = gateways.map(|gateway| (gateway.id, gateway.weight)).collect();
            let turn = weights.turn(&members);
            let mut places: SmallVec<[(i64, usize); ROUTES]> =
                turn.into_iter().zip(class.iter().map(|(_, at)| *at)).collect();
            // The sort is stable: equal rank leaves the order of names.
            places.sort_by_key(|(rank, _)| Reverse(*rank));
            for ((_, place), (_, at)) in class.iter_mut().zip(places) {
                *place = at;
            }
        }
        rest = later;
    }
}
