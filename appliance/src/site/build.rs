//! Site -> snapshot: every reference resolved, every value checked, all errors told at once.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use rust_decimal::Decimal;
use tandem_call::calendar::{self, Calendar, Period};
use tandem_call::number::RewriteRules;
use tandem_call::snapshot::{
    AGENTS_MAX, Account, AccountId, AccountKind, BillUntil, BillingNumbers, CalleeFrom, CallerFrom, GatewayBilling,
    GatewayId, LatchSetting, MappingGateway, MediaCheck, NatSetting, Phone, PrefixFilter, PrefixStyle, RoutePolicy,
    RoutingGateway, SetupTimeouts, Snapshot, Source, SwitchAllow,
};
use tandem_leg::ListenerId;
use tandem_media::decide::DeviceMode;
use tandem_rater::{AccountConfig, Bounds, PackageConfig};
use tandem_rating::money::Money;
use tandem_rating::rate::Deck;

use super::{AccountSite, FilterSite, MappingSite, RoutingSite, Site};
use crate::params::Params;
use tandem_media::rules::IpNet;

/// Kind of an account that is a phone card.
pub(crate) const CARD: &str = "card";

/// Names to the stable numbers of this process.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    accounts: HashMap<String, AccountId>,
    gateways: HashMap<(bool, String), GatewayId>,
}

impl Ids {
    /// The number of an account; a new name gets the next one.
    pub fn account(&mut self, name: &str) -> AccountId {
        let next = AccountId(self.accounts.len() as u32);
        *self.accounts.entry(name.to_owned()).or_insert(next)
    }

    /// The number of a gateway; mapping and routing gateways of one name are two.
    pub fn gateway(&mut self, routing: bool, name: &str) -> GatewayId {
        let next = GatewayId(self.gateways.len() as u32);
        *self.gateways.entry((routing, name.to_owned())).or_insert(next)
    }
}

/// Our listeners as the machine's configuration has them.
#[derive(Clone, Debug)]
pub struct Listeners(pub Vec<SocketAddr>);

/// A site that holds together.
#[derive(Debug)]
pub struct Built {
    /// What calls read.
    pub snapshot: Snapshot,
    /// Parameters, for those that others read.
    pub params: Params,
    /// Networks media may not be sent to.
    pub prohibited: Vec<IpNet>,
    /// What the rating thread is told of each account, in the order of the snapshot's accounts.
    pub money: Vec<AccountConfig>,
    /// What it is told of packages and phones.
    pub packages: PackageConfig,
}

pub(super) struct Errors(pub(super) Vec<String>);

impl Errors {
    /// Keeps the value, or notes `path = value: what`.
    pub(super) fn take<T, E: std::fmt::Display>(&mut self, path: &str, value: &str, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(what) => {
                self.0.push(format!("{path} = {value:?}: {what}"));
                None
            }
        }
    }

    pub(super) fn word<T: Copy>(&mut self, path: &str, value: &str, words: &[(&str, T)]) -> Option<T> {
        let found = words.iter().find(|(word, _)| *word == value).map(|(_, t)| *t);
        // The first word is the default, which an absent value takes.
        let found = if value.is_empty() { words.first().map(|(_, t)| *t) } else { found };
        if found.is_none() {
            let list: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.0.push(format!("{path} = {value:?} is not allowed; it takes {}", list.join(", ")));
        }
        found
    }
}

const MODES: &[(&str, DeviceMode)] =
    &[("auto", DeviceMode::Auto), ("on", DeviceMode::On), ("off", DeviceMode::Off), ("must_on", DeviceMode::MustOn)];
const NATS: &[(&str, NatSetting)] = &[("auto", NatSetting::Auto), ("yes", NatSetting::Yes), ("no", NatSetting::No)];
const LATCHES: &[(&str, LatchSetting)] = &[("strict", LatchSetting::Strict), ("always", LatchSetting::Always)];
const MEDIA_CHECKS: &[(&str, MediaCheck)] = &[
    ("none", MediaCheck::None),
    ("to_remote", MediaCheck::ToRemote),
    ("from_remote", MediaCheck::FromRemote),
    ("both", MediaCheck::Both),
];
const TO_PHONE: &[(&str, Option<bool>)] = &[("default", None), ("on", Some(true)), ("off", Some(false))];
const BILL_UNTIL: &[(&str, BillUntil)] = &[("signalling", BillUntil::Signalling), ("media", BillUntil::Media)];
const POLICIES: &[(&str, RoutePolicy)] =
    &[("none", RoutePolicy::None), ("asr", RoutePolicy::Asr), ("lowest_rate", RoutePolicy::LowestRate)];

impl Site {
    /// Resolves and checks the tree.
    ///
    /// # Errors
    /// Every problem found, each one sentence naming the path, the value and what is allowed.
    pub fn build(
        &self,
        version: u64,
        node: &str,
        ids: &mut Ids,
        decks: &HashMap<String, Arc<Deck>>,
        listeners: &Listeners,
    ) -> Result<Built, Vec<String>> {
        let mut errors = Errors(Vec::new());
        let e = &mut errors;
        let mut params = Params::default();
        // Pairs that only fit together (FP and FU) must not depend on the order of their names.
        let mut left: Vec<(&String, &String)> = self.params.iter().collect();
        loop {
            let before = left.len();
            left.retain(|(name, value)| params.set(name, value).is_err());
            if left.is_empty() {
                break;
            }
            if left.len() == before {
                for (name, value) in left {
                    if let Err(error) = params.set(name, value) {
                        e.0.push(format!("params.{error}"));
                    }
                }
                break;
            }
        }
        for (name, template) in &self.rate_template {
            if let Err(error) = template.validate() {
                e.0.push(format!("rate_template.{name}: {error}"));
            }
        }
        let mut names = HashMap::new();
        let mut accounts = Vec::new();
        let mut money = Vec::new();
        for (name, site) in &self.account {
            names.insert(name.as_str(), accounts.len());
            let (account, own) = account(e, name, site, ids, decks);
            accounts.push(account);
            money.push(own);
        }
        agents(e, &self.account, &names, &mut accounts);
        for (account, own) in accounts.iter().zip(&mut money) {
            own.bounds.agent = account.parent.map(|above| accounts[above].id);
        }
        let mut mapping = Vec::new();
        for (name, site) in &self.mapping_gateway {
            mapping.extend(mapping_gateway(e, name, site, ids, &names, &accounts));
        }
        let mut routing = Vec::new();
        for (name, site) in &self.routing_gateway {
            routing.extend(routing_gateway(e, name, site, ids, &names, &accounts, listeners));
        }
        let billing_numbers = billing_numbers(e, self, &names, &accounts, decks);
        let mut prohibited = Vec::new();
        for (n, text) in self.media.prohibited.iter().enumerate() {
            prohibited.extend(e.take(&format!("media.prohibited[{n}]"), text, text.parse::<IpNet>()));
        }
        let billing = params.billing().unwrap_or_default();
        let packages = super::package::config(e, self, billing.clone());
        if !errors.0.is_empty() {
            return Err(errors.0);
        }
        let mut snapshot = Snapshot {
            version,
            node: node.to_owned(),
            settings: params.settings(),
            billing: Arc::new(billing),
            accounts,
            mapping,
            routing,
            by_source: HashMap::new(),
            by_prefix: Default::default(),
            billing_numbers,
        };
        snapshot.index().map_err(|error| vec![format!("routing_gateway: {error}")])?;
        Ok(Built { snapshot, params, prohibited, money, packages })
    }
}

/// Links each account with the agent above it. A chain that is too long or comes back to itself is refused: every account of
/// it would be charged for every call.
fn agents(
    e: &mut Errors,
    sites: &BTreeMap<String, AccountSite>,
    names: &HashMap<&str, usize>,
    accounts: &mut [Account],
) {
    for (account, site) in sites.values().enumerate().filter(|(_, site)| !site.agent.is_empty()) {
        let at = format!("account.{}.agent = {:?}", accounts[account].name, site.agent);
        let Some(&agent) = names.get(site.agent.as_str()) else {
            e.0.push(format!("{at} is not an account"));
            continue;
        };
        if accounts[account].kind != AccountKind::General || accounts[agent].kind != AccountKind::General {
            e.0.push(format!("{at} is not allowed; agents and their accounts are of kind customer"));
            continue;
        }
        accounts[account].parent = Some(agent);
    }
    for account in 0..accounts.len() {
        let (mut at, mut above) = (account, 0);
        while let Some(parent) = accounts[at].parent {
            (at, above) = (parent, above + 1);
            if at == account || above > AGENTS_MAX {
                let name = accounts[account].name.clone();
                let why = if at == account {
                    "it is above itself".to_owned()
                } else {
                    format!("more than {AGENTS_MAX} are above it")
                };
                e.0.push(format!("account.{name}.agent = {:?} is not allowed; {why}", sites[&name].agent));
                accounts[account].parent = None;
                break;
            }
        }
    }
}

fn account(
    e: &mut Errors,
    name: &str,
    site: &AccountSite,
    ids: &mut Ids,
    decks: &HashMap<String, Arc<Deck>>,
) -> (Account, AccountConfig) {
    let at = |key: &str| format!("account.{name}.{key}");
    check_name(e, "account", name);
    let kind = match site.kind.as_str() {
        "customer" | "card" => AccountKind::General,
        "vendor" => AccountKind::Clearing,
        other => {
            e.0.push(format!("{} = {other:?} is not allowed; it takes customer, vendor, card", at("kind")));
            AccountKind::General
        }
    };
    let mut amount = |key: &str, text: &str| {
        if text.is_empty() { None } else { e.take(&at(key), text, Money::from_str(text)) }
    };
    let opening = amount("opening", &site.opening);
    let limit = amount("credit_limit", &site.credit_limit).unwrap_or_default();
    if limit < Money::ZERO {
        e.0.push(format!(
            "{} = {:?} is not allowed; it takes an amount of 0 or more",
            at("credit_limit"),
            site.credit_limit
        ));
    }
    let is_card = site.kind == CARD;
    if is_card && !(name.len() <= 64 && name.bytes().all(|b| b.is_ascii_digit())) {
        e.0.push(format!("account.{name:?} is no PIN of a card; it takes 1 to 64 digits"));
    }
    if !is_card && (site.valid_days != 0 || !site.batch.is_empty()) {
        e.0.push(format!("account.{name}: valid_days and batch are fields of a card"));
    }
    let monthly_max = positive(e, &at("monthly_max"), &site.monthly_max);
    let alarm_below = if site.alarm_below.is_empty() {
        None
    } else {
        e.take(&at("alarm_below"), &site.alarm_below, Money::from_str(&site.alarm_below))
    };
    let valid_until_ms = instant(e, &at("valid_until"), &site.valid_until, false);
    let account = Account {
        id: ids.account(name),
        name: name.to_owned(),
        display_name: if site.display_name.is_empty() { name.to_owned() } else { site.display_name.clone() },
        kind,
        locked: site.locked,
        cancelled: site.cancelled,
        valid_until_ms,
        bill_until: e.word(&at("bill_until"), &site.bill_until, BILL_UNTIL).unwrap_or_default(),
        deck: decks.get(&site.rate_group).cloned(),
        private_deck: decks.get(&site.private_rate_group).cloned(),
        calendar: calendar(e, &at("periods"), &site.periods, decks),
        parent: None,
    };
    let valid_days = Some(site.valid_days).filter(|days| is_card && *days > 0);
    let bounds = Bounds { monthly_max, alarm_below, agent: None, is_card, valid_days };
    let config = AccountConfig { id: account.id, name: name.to_owned(), kind, limit, opening, bounds };
    (account, config)
}

/// Rate groups by time; none for an account without.
fn calendar(
    e: &mut Errors,
    path: &str,
    periods: &[String],
    decks: &HashMap<String, Arc<Deck>>,
) -> Option<Arc<Calendar>> {
    let mut found = Vec::new();
    for (n, text) in periods.iter().enumerate() {
        let Some((window, group)) = e.take(&format!("{path}[{n}]"), text, calendar::parse(text)) else { continue };
        // A group without rows yet has no rate for any number.
        let deck = decks.get(group).cloned().or_else(|| Deck::build(group, Vec::new()).ok().map(Arc::new));
        found.extend(deck.map(|deck| Period { window, deck }));
    }
    (!periods.is_empty()).then(|| Arc::new(Calendar::new(found, super::zone())))
}

/// Phones, bound numbers and what is set of rate groups.
fn billing_numbers(
    e: &mut Errors,
    site: &Site,
    names: &HashMap<&str, usize>,
    accounts: &[Account],
    decks: &HashMap<String, Arc<Deck>>,
) -> BillingNumbers {
    let mut numbers = BillingNumbers::default();
    for (number, phone) in &site.phone {
        let at = |key: &str| format!("phone.{number}.{key}");
        check_number(e, "phone", number);
        if !matches!(phone.call_level, 1 | 2 | 4 | 5) {
            e.0.push(format!("{} = {} is not allowed; it takes 1, 2, 4, 5", at("call_level"), phone.call_level));
        }
        let account = reference(e, &at("account"), &phone.account, names, accounts, AccountKind::General);
        let monthly_max = positive(e, &at("monthly_max"), &phone.monthly_max);
        let no_billing_to_phone = e.word(&at("no_billing_to_phone"), &phone.no_billing_to_phone, TO_PHONE).flatten();
        let Some(account) = account else { continue };
        numbers.phones.insert(
            number.clone(),
            Phone {
                account,
                locked: phone.locked,
                call_level: phone.call_level,
                callee_billing: phone.callee_billing,
                no_billing_to_phone,
                monthly_max,
                deck: decks.get(&phone.rate_group).cloned(),
            },
        );
    }
    for (number, bound) in &site.bound_number {
        check_number(e, "bound_number", number);
        let path = format!("bound_number.{number}.account");
        let account = reference(e, &path, &bound.account, names, accounts, AccountKind::General);
        numbers.bound.extend(account.map(|account| (number.clone(), account)));
    }
    numbers.cards = site
        .account
        .iter()
        .filter(|(_, account)| account.kind == CARD)
        .filter_map(|(name, _)| names.get(name.as_str()).copied())
        .collect();
    let split = site.rate_group.iter().filter(|(_, group)| group.split_sections);
    numbers.split_groups = split.map(|(name, _)| name.clone()).collect();
    numbers
}

fn check_number(e: &mut Errors, what: &str, number: &str) {
    if number.is_empty() || number.len() > 64 || !number.bytes().all(|b| b.is_ascii_digit()) {
        e.0.push(format!("{what}.{number:?}: a number takes 1 to 64 digits"));
    }
}

/// An amount above 0; none when the text is empty.
fn positive(e: &mut Errors, path: &str, text: &str) -> Option<Money> {
    if text.is_empty() {
        return None;
    }
    let amount = e.take(path, text, Money::from_str(text))?;
    if amount <= Money::ZERO {
        e.0.push(format!("{path} = {text:?} is not allowed; it takes an amount above 0"));
    }
    Some(amount)
}

fn mapping_gateway(
    e: &mut Errors,
    name: &str,
    site: &MappingSite,
    ids: &mut Ids,
    names: &HashMap<&str, usize>,
    accounts: &[Account],
) -> Option<MappingGateway> {
    let at = |key: &str| format!("mapping_gateway.{name}.{key}");
    check_name(e, "mapping_gateway", name);
    let account = reference(e, &at("account"), &site.account, names, accounts, AccountKind::General);
    if site.sources.is_empty() {
        e.0.push(format!("{} is empty; name at least one source address", at("sources")));
    }
    let mut sources = Vec::new();
    for (n, text) in site.sources.iter().enumerate() {
        sources.extend(e.take(&format!("{}[{n}]", at("sources")), text, source(text)));
    }
    if !matches!(site.call_level, 1 | 2 | 4 | 5) {
        e.0.push(format!("{} = {} is not allowed; it takes 1, 2, 4, 5", at("call_level"), site.call_level));
    }
    let max_duration_s = match *site.max_duration_s.as_slice() {
        [] => (-1, -1),
        [one] if one >= 0 => (one, one),
        [low, high] if low >= 0 && high >= low => (low, high),
        _ => {
            e.0.push(format!(
                "{} = {:?} is not allowed; it takes one number of seconds or two, low and high",
                at("max_duration_s"),
                site.max_duration_s
            ));
            (-1, -1)
        }
    };
    for prefix in site.percent_routing.keys() {
        check_prefix(e, &at("percent_routing"), prefix);
    }
    Some(MappingGateway {
        id: ids.gateway(false, name),
        name: name.to_owned(),
        account: account?,
        sources,
        locked: site.locked,
        priority: site.priority,
        capacity: site.capacity,
        cps: site.cps,
        call_level: site.call_level,
        rewrite_caller: rules(e, &at("rewrite_caller"), &site.rewrite_caller)?,
        rewrite_callee: rules(e, &at("rewrite_callee"), &site.rewrite_callee)?,
        percent_routing: site.percent_routing.iter().map(|(prefix, share)| (*share, prefix.clone())).collect(),
        caller_prefixes: filter(e, &at("caller_prefixes"), &site.caller_prefixes),
        callee_prefixes: filter(e, &at("callee_prefixes"), &site.callee_prefixes),
        caller_lengths: lengths(e, &at("caller_lengths"), &site.caller_lengths),
        callee_lengths: lengths(e, &at("callee_lengths"), &site.callee_lengths),
        routing_groups: if site.routing_groups.allow.is_empty() {
            site.routing_groups.deny.clone()
        } else {
            site.routing_groups.allow.clone()
        },
        routing_groups_allow: !site.routing_groups.allow.is_empty(),
        media_mode: e.word(&at("media"), &site.media, MODES)?,
        nat: e.word(&at("nat"), &site.nat, NATS)?,
        latch: e.word(&at("latch"), &site.latch, LATCHES)?,
        media_check: e.word(&at("media_check"), &site.media_check, MEDIA_CHECKS)?,
        max_duration_s,
        timeout_call_proceeding_s: site.timeout_call_proceeding_s,
        callee_from: e.word(
            &at("callee_from"),
            &site.callee_from,
            &[("request_uri", CalleeFrom::RequestUri), ("to", CalleeFrom::To), ("diversion", CalleeFrom::Diversion)],
        )?,
        caller_from: e.word(
            &at("caller_from"),
            &site.caller_from,
            &[
                ("from", CallerFrom::From),
                ("remote_party_id", CallerFrom::RemotePartyId),
                ("display", CallerFrom::DisplayName),
                ("p_asserted_identity", CallerFrom::PAssertedIdentity),
                ("p_preferred_identity", CallerFrom::PPreferredIdentity),
            ],
        )?,
        failed_sip_code: failed_codes(e, &at("failed_sip_code"), &site.failed_sip_code),
        replace_before_switch: site.replace_before_switch,
        first_policy: e.word(&at("first_policy"), &site.first_policy, POLICIES)?,
        second_policy: e.word(&at("second_policy"), &site.second_policy, POLICIES)?,
        min_profit_percent: site.min_profit_percent,
        max_second_rate: decimal(e, &at("max_second_rate"), &site.max_second_rate),
        pass_headers: site.pass_headers.iter().map(|h| h.to_ascii_lowercase()).collect(),
        billing: GatewayBilling {
            phones: site.phone_billing,
            bound_numbers: site.bound_number_billing,
            no_billing_to_phone: e.word(&at("no_billing_to_phone"), &site.no_billing_to_phone, TO_PHONE)?,
            prefixes: billing_prefixes(e, &at("billing_prefixes"), &site.billing_prefixes),
        },
    })
}

fn billing_prefixes(e: &mut Errors, path: &str, prefixes: &[String]) -> Vec<String> {
    for prefix in prefixes {
        check_prefix(e, path, prefix);
    }
    prefixes.to_vec()
}

fn routing_gateway(
    e: &mut Errors,
    name: &str,
    site: &RoutingSite,
    ids: &mut Ids,
    names: &HashMap<&str, usize>,
    accounts: &[Account],
    listeners: &Listeners,
) -> Option<RoutingGateway> {
    let at = |key: &str| format!("routing_gateway.{name}.{key}");
    check_name(e, "routing_gateway", name);
    let account = reference(e, &at("account"), &site.account, names, accounts, AccountKind::Clearing);
    let mut remotes = Vec::new();
    for (n, text) in site.remotes.iter().enumerate() {
        remotes.extend(e.take(&format!("{}[{n}]", at("remotes")), text, remote(text)));
    }
    let Some(first) = remotes.first() else {
        e.0.push(format!("{} is empty; name at least one address:port", at("remotes")));
        return None;
    };
    let listener = if site.local.is_empty() {
        let found = listeners.0.iter().position(|l| l.is_ipv4() == first.is_ipv4());
        if found.is_none() {
            e.0.push(format!("{} = {first} has no listener of its address family", at("remotes")));
        }
        found
    } else {
        let found = listeners.0.iter().position(|l| l.to_string() == site.local);
        if found.is_none() {
            let list: Vec<String> = listeners.0.iter().map(ToString::to_string).collect();
            e.0.push(format!("{} = {:?} is no listener; there are {}", at("local"), site.local, list.join(", ")));
        }
        found
    };
    for prefix in &site.prefixes {
        check_prefix(e, &at("prefixes"), prefix);
    }
    if site.weight == 0 || site.weight > 1_000_000 {
        e.0.push(format!("{} = {} is not allowed; it takes 1 to 1000000", at("weight"), site.weight));
    }
    for code in &site.switch.error_codes {
        if !(300..700).contains(code) {
            e.0.push(format!("{} = {code} is not allowed; it takes 300 to 699", at("switch.error_codes")));
        }
    }
    for (key, value, max) in [
        ("invite", site.timeouts.invite, 120),
        ("trying", site.timeouts.trying, 300),
        ("session_progress", site.timeouts.session_progress, 300),
        ("session_progress_sdp", site.timeouts.session_progress_sdp, 600),
        ("ringing", site.timeouts.ringing, 600),
    ] {
        if value > max {
            e.0.push(format!("{} = {value} is not allowed; it takes 0 to {max}", at(&format!("timeouts.{key}"))));
        }
    }
    Some(RoutingGateway {
        id: ids.gateway(true, name),
        name: name.to_owned(),
        account: account?,
        clearing_use_callout: site.clearing_use_callout,
        remotes,
        listener: ListenerId(listener? as u16),
        prefixes: site.prefixes.clone(),
        prefix_style: e.word(
            &at("prefix_style"),
            &site.prefix_style,
            &[("continuation", PrefixStyle::Continuation), ("terminal", PrefixStyle::Terminal)],
        )?,
        priority: site.priority,
        weight: site.weight,
        capacity: site.capacity,
        cps: site.cps,
        locked: site.locked,
        valid_from_ms: instant(e, &at("valid_from"), &site.valid_from, false),
        valid_to_ms: instant(e, &at("valid_to"), &site.valid_to, true),
        groups: site.groups.clone(),
        rewrite_caller: rules(e, &at("rewrite_caller"), &site.rewrite_caller)?,
        rewrite_callee: rules(e, &at("rewrite_callee"), &site.rewrite_callee)?,
        caller_prefixes: filter(e, &at("caller_prefixes"), &site.caller_prefixes),
        callee_prefixes: filter(e, &at("callee_prefixes"), &site.callee_prefixes),
        caller_lengths: lengths(e, &at("caller_lengths"), &site.caller_lengths),
        callee_lengths: lengths(e, &at("callee_lengths"), &site.callee_lengths),
        check_rate: site.check_rate,
        least_cost: site.least_cost,
        min_profit_percent: site.min_profit_percent,
        max_second_rate: decimal(e, &at("max_second_rate"), &site.max_second_rate),
        protect: site.protect,
        switch: SwitchAllow {
            ring: site.switch.ring,
            sdp: site.switch.sdp,
            rtp: site.switch.rtp,
            busy: site.switch.busy,
            error_code: site.switch.error_code,
            error_codes: site.switch.error_codes.clone(),
        },
        timeouts: SetupTimeouts {
            invite_s: site.timeouts.invite,
            trying_s: site.timeouts.trying,
            session_progress_s: site.timeouts.session_progress,
            session_progress_sdp_s: site.timeouts.session_progress_sdp,
            ringing_s: site.timeouts.ringing,
        },
        media_mode: e.word(&at("media"), &site.media, MODES)?,
        nat: e.word(&at("nat"), &site.nat, NATS)?,
        latch: e.word(&at("latch"), &site.latch, LATCHES)?,
        media_check: e.word(&at("media_check"), &site.media_check, MEDIA_CHECKS)?,
        send_asserted: site.send_asserted,
        pass_headers: site.pass_headers.iter().map(|h| h.to_ascii_lowercase()).collect(),
        billing_prefixes: billing_prefixes(e, &at("billing_prefixes"), &site.billing_prefixes),
    })
}

fn reference(
    e: &mut Errors,
    path: &str,
    name: &str,
    names: &HashMap<&str, usize>,
    accounts: &[Account],
    kind: AccountKind,
) -> Option<usize> {
    let Some(&index) = names.get(name) else {
        let nearest =
            names.keys().max_by(|a, b| strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name)));
        e.0.push(format!(
            "{path} = {name:?} is no account{}",
            nearest.map_or_else(String::new, |n| format!("; the nearest is {n}"))
        ));
        return None;
    };
    if accounts[index].kind != kind {
        let wanted = if kind == AccountKind::General { "customer" } else { "vendor" };
        e.0.push(format!("{path} = {name:?} is no {wanted} account"));
        return None;
    }
    Some(index)
}

fn source(text: &str) -> Result<Source, &'static str> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(Source { ip, port: None });
    }
    match text.parse::<SocketAddr>() {
        Ok(addr) => Ok(Source { ip: addr.ip(), port: Some(addr.port()) }),
        Err(_) => Err("it takes an IP address, or address:port"),
    }
}

fn remote(text: &str) -> Result<SocketAddr, &'static str> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, 5060));
    }
    match text.parse::<SocketAddr>() {
        Ok(addr) if addr.port() != 0 && !addr.ip().is_unspecified() => Ok(addr),
        _ => Err("it takes address:port"),
    }
}

fn rules(e: &mut Errors, path: &str, text: &str) -> Option<RewriteRules> {
    e.take(path, text, RewriteRules::parse(text))
}

fn filter(e: &mut Errors, path: &str, site: &FilterSite) -> PrefixFilter {
    if !site.allow.is_empty() && !site.deny.is_empty() {
        e.0.push(format!("{path} has both allow and deny; it takes one of them"));
    }
    for prefix in site.allow.iter().chain(&site.deny) {
        check_prefix(e, path, prefix);
    }
    if site.allow.is_empty() {
        PrefixFilter { prefixes: site.deny.clone(), allow: false }
    } else {
        PrefixFilter { prefixes: site.allow.clone(), allow: true }
    }
}

fn lengths(e: &mut Errors, path: &str, list: &[u8]) -> u64 {
    let mut mask = 0;
    for &length in list {
        if length > 63 {
            e.0.push(format!("{path} = {length} is not allowed; it takes 0 to 63"));
        } else {
            mask |= 1u64 << length;
        }
    }
    mask
}

fn failed_codes(e: &mut Errors, path: &str, text: &str) -> Vec<(u16, u16)> {
    let mut codes = Vec::new();
    for pair in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let parsed = pair.split_once(':').and_then(|(a, b)| Some((a.trim().parse().ok()?, b.trim().parse().ok()?)));
        match parsed {
            Some((from, to)) if (from == 0 || (300..700).contains(&from)) && (to == 0 || (400..700).contains(&to)) => {
                codes.push((from, to));
            }
            _ => e.0.push(format!(
                "{path} = {pair:?} is not allowed; it takes orig:target with 300-699 or 0 : 400-699 or 0"
            )),
        }
    }
    codes
}

fn decimal(e: &mut Errors, path: &str, text: &str) -> Option<Decimal> {
    if text.is_empty() { None } else { e.take(path, text, Decimal::from_str(text)) }
}

fn instant(e: &mut Errors, path: &str, text: &str, inclusive_day: bool) -> Option<i64> {
    if text.is_empty() {
        return None;
    }
    let parsed = text.parse::<jiff::Timestamp>().map(|t| t.as_millisecond()).or_else(|_| {
        let date = text
            .parse::<jiff::civil::Date>()
            .map_err(|_| "it takes a date such as 2026-12-31 or an instant such as 2026-12-31T10:00:00Z")?;
        let date = if inclusive_day { date.tomorrow().map_err(|_| "the date is out of range")? } else { date };
        date.to_zoned(jiff::tz::TimeZone::UTC)
            .map(|z| z.timestamp().as_millisecond())
            .map_err(|_| "the date is out of range")
    });
    e.take(path, text, parsed)
}

fn check_prefix(e: &mut Errors, path: &str, prefix: &str) {
    if prefix.is_empty() || prefix.len() > 64 || !prefix.bytes().all(|b| b.is_ascii_digit() || b == b'*' || b == b'#') {
        e.0.push(format!("{path} = {prefix:?} is not allowed; it takes 1 to 64 digits, * or #"));
    }
}

pub(super) fn check_name(e: &mut Errors, what: &str, name: &str) {
    if name.is_empty() || name.len() > 64 || name.chars().any(|c| c.is_control() || c == '"') {
        e.0.push(format!("{what}.{name:?}: a name takes 1 to 64 characters without control characters and quotes"));
    }
}
