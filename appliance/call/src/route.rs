//! Which routing gateways a call may go to, best first, and why each other one may not (spec routing.md 6).
//!
//! [`plan`] is a pure function of the snapshot, the numbers, the time and the rotation: calls and `tandem explain` use
//! the same one.

use std::cmp::{Ordering, Reverse};
use std::fmt;
use std::net::IpAddr;

use rand::Rng;
use rust_decimal::Decimal;
use smallvec::SmallVec;
use tandem_leg::ServerReason;
use tandem_rating::fee::RateTerms;
use tandem_rating::least_cost::{PerSecond, per_second, profit_percent_at_least};
use tandem_rating::prefix::{PrefixError, PrefixTrie};
use tandem_rating::rate::{Deck, Lookup};

use crate::lists::length_passes;
use crate::number::{RewriteError, without_route_prefix};
use crate::settings::SortPlace;
use crate::snapshot::{Account, MappingGateway, PrefixStyle, RoutePolicy, RoutingGateway, Snapshot};
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

    /// Gateways that match `number`, grouped by the length of their longest matching prefix, longest first.
    pub fn groups(&self, number: &str) -> Vec<(usize, Vec<usize>)> {
        let mut seen: Vec<u32> = Vec::new();
        let mut groups = Vec::new();
        for (length, gateways) in self.trie.matches(number).rev() {
            let fresh: Vec<usize> = gateways.iter().filter(|g| !seen.contains(g)).map(|g| *g as usize).collect();
            seen.extend(gateways);
            if !fresh.is_empty() {
                groups.push((length, fresh));
            }
        }
        groups
    }
}

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
    pub vendor: Option<RateTerms>,
    /// Caller for the vendor.
    pub caller_out: String,
    /// Callee for the vendor.
    pub callee_out: String,
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
}

impl Plan {
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
                let cost = route.vendor.as_ref().map_or("no rate".to_owned(), |t| format!("{}/min", t.rate_per_min));
                let kind = if protect { ", protect" } else { "" };
                writeln!(
                    f,
                    "{number}. {} (prefix of {}, {cost}{kind}): {} -> {}",
                    name(route.gateway),
                    route.prefix_len,
                    route.caller_out,
                    route.callee_out
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
    let groups = snapshot.by_prefix.groups(wanted.callee);
    let mut judged: Vec<Result<Judged<'_>, Skip>> = Vec::new();
    for index in groups.iter().flat_map(|(_, gateways)| gateways) {
        judged.push(judge(snapshot, mapping, &snapshot.routing[*index], wanted, rng));
    }
    // Prices of all of them at once: look-ups in large decks are waits for memory, which overlap.
    let prices = {
        let asked: Vec<_> = judged.iter().flatten().filter_map(|judged| judged.asks(snapshot, wanted)).collect();
        Deck::lookup_each(&asked, wanted.at_ms)
    };
    let mut prices = prices.into_iter();
    let vendors: SmallVec<[Lookup<'_>; 16]> = judged
        .iter()
        .map(|j| match j {
            Ok(Judged { deck: Some(_), .. }) => prices.next().unwrap_or(Lookup::NotFound),
            Ok(_) | Err(_) => Lookup::NotFound,
        })
        .collect();

    let mut plan = Plan::default();
    let mut protect = Vec::new();
    let mut outcomes = judged.into_iter().zip(vendors);
    for (prefix_len, gateways) in groups {
        let mut group = Vec::with_capacity(gateways.len());
        for (index, (outcome, vendor)) in gateways.into_iter().zip(outcomes.by_ref()) {
            let gateway = &snapshot.routing[index];
            let priced = outcome.and_then(|judged| Ok((buy(mapping, gateway, wanted, vendor)?, judged)));
            match priced {
                Ok((vendor, judged)) => group.push(Route {
                    gateway: index,
                    prefix_len,
                    terminal: gateway.prefix_style == PrefixStyle::Terminal,
                    protect: gateway.protect,
                    vendor,
                    caller_out: judged.caller_out,
                    callee_out: judged.callee_out,
                }),
                Err(reason) => {
                    plan.skipped.push(Skipped { gateway: index, prefix_len: Some(prefix_len), reason });
                }
            }
        }
        let (backup, normal) = group.into_iter().partition(|r: &Route| r.protect);
        sort(snapshot, mapping, normal, weights, &mut plan.routes);
        sort(snapshot, mapping, backup, weights, &mut protect);
    }
    plan.routes.append(&mut protect);
    plan
}

/// A gateway that may have the call, before its price is known.
struct Judged<'a> {
    /// Of its clearing account.
    deck: Option<&'a Deck>,
    /// The deck is asked for the number that is sent, not for the one that was dialled.
    use_callout: bool,
    caller_out: String,
    callee_out: String,
}

impl<'a> Judged<'a> {
    /// Deck and number of its price.
    fn asks<'s>(&'s self, snapshot: &Snapshot, wanted: &Wanted<'s>) -> Option<(&'a Deck, &'s str)> {
        let rated = if self.use_callout { self.callee_out.as_str() } else { wanted.callee };
        Some((self.deck?, without_route_prefix(rated, snapshot.settings.route_prefix_digits)))
    }
}

/// The exclusion filters of spec routing.md 6.2 that need no counter of the rating thread.
fn judge<'a>(
    snapshot: &'a Snapshot,
    mapping: &MappingGateway,
    gateway: &RoutingGateway,
    wanted: &Wanted<'_>,
    rng: &mut impl Rng,
) -> Result<Judged<'a>, Skip> {
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
    let caller_out = gateway.rewrite_caller.apply(wanted.caller, rng).map_err(Skip::Rewrite)?.number;
    let callee_out = gateway.rewrite_callee.apply(wanted.callee, rng).map_err(Skip::Rewrite)?.number;

    let deck = clearing.and_then(|account| account.deck.as_deref());
    Ok(Judged { deck, use_callout: gateway.clearing_use_callout, caller_out, callee_out })
}

/// The vendor's price, or why it rules the gateway out.
fn buy(
    mapping: &MappingGateway,
    gateway: &RoutingGateway,
    wanted: &Wanted<'_>,
    found: Lookup<'_>,
) -> Result<Option<RateTerms>, Skip> {
    let vendor = match found {
        Lookup::Found(rate) => Some(rate.terms()),
        Lookup::Locked(rate) => return Err(Skip::VendorRateLocked { prefix: rate.prefix().to_owned() }),
        Lookup::NotFound if gateway.check_rate => return Err(Skip::NoVendorRate),
        Lookup::NotFound => None,
    };
    guard_money(mapping, gateway, wanted, vendor.as_ref())?;
    Ok(vendor)
}

/// Rates and profit, strictest of both gateways (rates.md 9). A free call and an unknown cost pass.
fn guard_money(
    mapping: &MappingGateway,
    gateway: &RoutingGateway,
    wanted: &Wanted<'_>,
    vendor: Option<&RateTerms>,
) -> Result<(), Skip> {
    let (Some(sell), Some(vendor)) = (wanted.sell, vendor) else {
        return Ok(());
    };
    let (sell, cost) = (per_second(sell.rate_per_min), per_second(vendor.rate_per_min));
    let limit = [mapping.max_second_rate, gateway.max_second_rate].into_iter().flatten().min();
    if let Some(limit) = limit.filter(|limit| cost.is_above(*limit)) {
        return Err(Skip::Dear { cost, limit });
    }
    let min_percent = [mapping.min_profit_percent, gateway.min_profit_percent].into_iter().flatten().max();
    if let Some(min_percent) = min_percent
        && !profit_percent_at_least(sell, cost, Decimal::from(min_percent))
    {
        return Err(Skip::Profit { sell, cost, min_percent });
    }
    Ok(())
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

/// A gateway that may be tried, with what it is sorted by.
struct Ranked<'a> {
    route: Route,
    gateway: &'a RoutingGateway,
    /// `None` is unknown, and sorted last.
    cost: Option<PerSecond>,
}

/// Sorts one length group by R-D12 and appends it to `out`.
///
/// Not measured yet, so always equal: the real-time ASR (switched off by default, R-D14) and the utilisation, which
/// only the rating thread knows. Least-cost gateways come before the others of their class, cheap first.
fn sort(snapshot: &Snapshot, mapping: &MappingGateway, group: Vec<Route>, weights: &mut Weights, out: &mut Vec<Route>) {
    let own_policy = mapping.first_policy != RoutePolicy::None;
    let system = if own_policy { SortPlace::None } else { snapshot.settings.cost_sort };
    // Everything before the weight.
    let compare = |a: &Ranked<'_>, b: &Ranked<'_>| -> Ordering {
        let by_cost = |used: bool| if used { cheap_first(a.cost, b.cost) } else { Ordering::Equal };
        let least_cost = |r: &Ranked<'_>| r.gateway.least_cost && r.gateway.check_rate;
        by_cost(system == SortPlace::BeforePriority)
            .then_with(|| a.gateway.priority.cmp(&b.gateway.priority))
            .then_with(|| by_cost(system == SortPlace::AfterPriority))
            .then_with(|| by_cost(mapping.first_policy == RoutePolicy::LowestRate))
            .then_with(|| by_cost(mapping.second_policy == RoutePolicy::LowestRate))
            .then_with(|| match (least_cost(a), least_cost(b)) {
                (true, true) => a.cost.cmp(&b.cost),
                (true, false) => Ordering::Less,
                (false, true) => Ordering::Greater,
                (false, false) => Ordering::Equal,
            })
    };
    let mut ranked: Vec<Option<Ranked<'_>>> = Vec::with_capacity(group.len());
    for route in group {
        let cost = route.vendor.as_ref().map(|terms| per_second(terms.rate_per_min));
        ranked.push(Some(Ranked { gateway: &snapshot.routing[route.gateway], cost, route }));
    }
    // Places are sorted, not routes: those are large.
    let mut order: SmallVec<[usize; 16]> = (0..ranked.len()).collect();
    let of = |at: usize| ranked[at].as_ref();
    let compare_at = |a: usize, b: usize| match (of(a), of(b)) {
        (Some(a), Some(b)) => compare(a, b),
        // All are there until the order is made.
        _ => Ordering::Equal,
    };
    let name = |at: usize| of(at).map(|r| r.gateway.name.as_str());
    order.sort_by(|a, b| compare_at(*a, *b).then_with(|| name(*a).cmp(&name(*b))));
    let mut rest = &mut order[..];
    while let Some(first) = rest.first().copied() {
        let equal = rest.iter().take_while(|at| compare_at(first, **at) == Ordering::Equal).count();
        let (class, later) = rest.split_at_mut(equal);
        if class.len() > 1 {
            let members: SmallVec<[_; 16]> =
                class.iter().filter_map(|at| of(*at)).map(|r| (r.gateway.id, r.gateway.weight)).collect();
            let turn = weights.turn(&members);
            let mut places: SmallVec<[(i64, usize); 16]> = turn.into_iter().zip(class.iter().copied()).collect();
            // The sort is stable: equal rank leaves the order of names.
            places.sort_by_key(|(rank, _)| Reverse(*rank));
            for (place, (_, at)) in class.iter_mut().zip(places) {
                *place = at;
            }
        }
        rest = later;
    }
    out.reserve(order.len());
    out.extend(order.into_iter().filter_map(|at| ranked[at].take()).map(|r| r.route));
}

/// Cheap first, unknown last.
fn cheap_first(a: Option<PerSecond>, b: Option<PerSecond>) -> Ordering {
    (a.is_none(), a).cmp(&(b.is_none(), b))
}
