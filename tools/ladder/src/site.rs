//! The switch of a story: who its customers and vendors are, what they cost, and its parameters.
//!
//! A story that says nothing has customer `a` (prepaid, 100.00, 0.06 a minute in whole minutes), vendor `b` (0.03) and
//! relayed media.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;

use rust_decimal::Decimal;
use tandem_call::calendar::{self, Calendar, Period};
use tandem_call::calls::{CallsConfig, MediaAddress, MediaConfig};
use tandem_call::number::RewriteRules;
use tandem_call::settings::Settings;
use tandem_call::snapshot::{
    Account, AccountId, AccountKind, BillUntil, BillingNumbers, CalleeFrom, CallerFrom, GatewayId, LatchSetting,
    MappingGateway, MediaCheck, NatSetting, Phone, PrefixFilter, PrefixStyle, RoutePolicy, RoutingGateway,
    SetupTimeouts, Snapshot, Source, SwitchAllow,
};
use tandem_leg::ListenerId;
use tandem_media::AnchorRules;
use tandem_media::decide::{DeviceMode, SystemMode};
use tandem_rater::{AccountConfig, Bounds, GatewayConfig, Rules};
use tandem_rating::fee::BillingParams;
use tandem_rating::money::Money;
use tandem_rating::rate::{Deck, Rate};
use tandem_sip::ResendSchedule;

use crate::params::{list, number, switch};

/// Where the switch listens for SIP over IPv4.
pub const SIP_V4: &str = "203.0.113.1:5060";
/// Where the switch listens for SIP over IPv6.
pub const SIP_V6: &str = "[2001:db8::1]:5060";
/// Where the switch receives media over IPv4; another address than signalling, so that a mix-up shows.
pub const MEDIA_V4: &str = "203.0.113.2";
/// Where the switch receives media over IPv6.
pub const MEDIA_V6: &str = "2001:db8::2";
/// Name of the node.
pub const NODE: &str = "ladder";

/// One customer: a mapping gateway and the account that pays.
#[derive(Clone, Debug)]
pub struct Customer {
    /// The gateway; numbers, sources and indexes are filled in when the switch is built.
    pub gateway: MappingGateway,
    /// From where it speaks SIP.
    pub address: SocketAddr,
    /// Account that pays; customers may share one.
    pub account: String,
    /// Opening balance.
    pub balance: Money,
    /// Credit limit.
    pub limit: Money,
    /// Account locked.
    pub account_locked: bool,
    /// Account expired.
    pub account_expired: bool,
    /// Account cancelled.
    pub account_cancelled: bool,
    /// The agent above the account; empty for none.
    pub agent: String,
    /// What calls may cost in a month.
    pub monthly_max: Option<Money>,
    /// Rate groups by time: what [`tandem_call::calendar::parse`] reads, with the price of a minute as the group.
    pub periods: Vec<String>,
    /// Rows may change during a call.
    pub split: bool,
    /// Private deck; empty for none.
    pub private: Vec<Rate>,
    /// Charged until the last packet of relayed media.
    pub bill_until_media: bool,
    /// Deck.
    pub rates: Vec<Rate>,
}

/// An account above others, charged for each of their calls by its own deck.
#[derive(Clone, Debug)]
pub struct Agent {
    /// Account.
    pub name: String,
    /// The agent above it; empty for none.
    pub above: String,
    /// Opening balance.
    pub balance: Money,
    /// Credit limit.
    pub limit: Money,
    /// Account locked.
    pub locked: bool,
    /// Account expired.
    pub expired: bool,
    /// Account cancelled.
    pub cancelled: bool,
    /// Deck; empty has no rate.
    pub rates: Vec<Rate>,
}

/// A phone as billing knows it.
#[derive(Clone, Debug, Default)]
pub struct PhoneLine {
    /// Account that pays.
    pub account: String,
    /// No calls.
    pub locked: bool,
    /// Call level; 5 when not said.
    pub call_level: Option<u8>,
    /// Calls to it are charged to its account.
    pub callee_billing: bool,
    /// Whether its calls to other phones are free.
    pub no_billing_to_phone: Option<bool>,
    /// What its calls may cost in a month.
    pub monthly_max: Option<Money>,
    /// Private deck; empty for none.
    pub rates: Vec<Rate>,
}

impl PhoneLine {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "account" => self.account = value.to_owned(),
            "locked" => self.locked = switch(key, value)?,
            "call_level" => self.call_level = Some(number(key, value)?),
            "callee_billing" => self.callee_billing = switch(key, value)?,
            "no_billing_to_phone" => self.no_billing_to_phone = Some(switch(key, value)?),
            "monthly_max" => self.monthly_max = Some(money(key, value)?),
            "deck" => self.rates = deck(key, value)?,
            _ => return Err(format!("a phone has no {key}")),
        }
        Ok(())
    }
}

/// One vendor: a routing gateway and its clearing account.
#[derive(Clone, Debug)]
pub struct Vendor {
    /// The gateway; numbers and indexes are filled in when the switch is built.
    pub gateway: RoutingGateway,
    /// Where it speaks SIP.
    pub address: SocketAddr,
    /// Clearing account.
    pub account: String,
    /// Opening balance of the clearing account.
    pub balance: Money,
    /// Deck; empty has no rate.
    pub rates: Vec<Rate>,
}

/// Everything a switch is set up with.
#[derive(Clone, Debug)]
pub struct Site {
    /// Parameters calls read.
    pub settings: Settings,
    /// Parameters of billing.
    pub billing: BillingParams,
    /// Parameters of the rating thread.
    pub rules: Rules,
    /// SS_SIP_RESEND_INTERVAL.
    pub resend: ResendSchedule,
    /// Customers.
    pub customers: Vec<Customer>,
    /// Agents.
    pub agents: Vec<Agent>,
    /// Phones that pay or are paid for, by number.
    pub phones: Vec<(String, PhoneLine)>,
    /// Bound numbers and their accounts.
    pub bound: Vec<(String, String)>,
    /// Vendors, in the order of their priority unless they say another.
    pub vendors: Vec<Vendor>,
    /// Far parties the switch does not know.
    pub strangers: Vec<(String, SocketAddr)>,
    /// Media ports.
    pub ports: RangeInclusive<u16>,
    /// Calls at once.
    pub calls_max: usize,
    /// How long an answer of the rating thread takes, microseconds.
    pub rater_delay_us: u64,
    /// Seed of everything random inside the switch.
    pub seed: [u8; 32],
}

impl Default for Site {
    fn default() -> Self {
        Site {
            // "Media relayed unless said otherwise" (call-flows.md).
            settings: Settings { media_proxy_mode: SystemMode::On, ..Settings::default() },
            billing: BillingParams::default(),
            rules: Rules::default(),
            resend: ResendSchedule::default(),
            customers: Vec::new(),
            agents: Vec::new(),
            phones: Vec::new(),
            bound: Vec::new(),
            vendors: Vec::new(),
            strangers: Vec::new(),
            ports: 10_000..=10_999,
            calls_max: 10_000,
            rater_delay_us: 0,
            seed: [7; 32],
        }
    }
}

/// A site ready to run.
pub struct Built {
    /// What calls read.
    pub snapshot: Arc<Snapshot>,
    /// Accounts for the owner of money.
    pub accounts: Vec<AccountConfig>,
    /// Gateways for the owner of lines.
    pub gateways: Vec<GatewayConfig>,
    /// SIP room.
    pub sip: tandem_sip::Config,
    /// Call room.
    pub calls: CallsConfig,
}

impl Site {
    /// One `site:` line.
    ///
    /// # Errors
    /// One sentence naming word, value and what is allowed.
    pub fn line(&mut self, words: &[String]) -> Result<(), String> {
        let (kind, rest) = words.split_first().ok_or("an empty site line")?;
        match kind.as_str() {
            "customer" => {
                let (name, keys) = rest.split_first().ok_or("site: customer needs a name")?;
                let mut customer = self.take_customer(name);
                let result = each(keys, |key, value| customer.set(key, value));
                self.customers.push(customer);
                result
            }
            "agent" => {
                let (name, keys) = rest.split_first().ok_or("site: agent needs a name")?;
                let at = self.agents.iter().position(|agent| agent.name == *name);
                let mut agent = at.map_or_else(|| Agent::new(name), |at| self.agents.remove(at));
                let result = each(keys, |key, value| agent.set(key, value));
                self.agents.push(agent);
                result
            }
            "phone" => {
                let (number, keys) = rest.split_first().ok_or("site: phone needs a number")?;
                let mut phone = PhoneLine::default();
                let result = each(keys, |key, value| phone.set(key, value));
                self.phones.push((number.clone(), phone));
                result
            }
            "bound" => {
                let (number, keys) = rest.split_first().ok_or("site: bound needs a number")?;
                each(keys, |key, value| match key {
                    "account" => {
                        self.bound.push((number.clone(), value.to_owned()));
                        Ok(())
                    }
                    _ => Err(format!("a bound number has no {key}")),
                })
            }
            "vendor" => {
                let (name, keys) = rest.split_first().ok_or("site: vendor needs a name")?;
                let mut vendor = self.take_vendor(name);
                let result = each(keys, |key, value| vendor.set(key, value));
                self.vendors.push(vendor);
                result
            }
            "stranger" => {
                let name = rest.first().ok_or("site: stranger needs a name")?;
                let mut address = SocketAddr::from(([198, 51, 100, 200 + self.strangers.len() as u8], 5060));
                each(&rest[1..], |key, value| match key {
                    "address" => number(key, value).map(|v| address = v),
                    _ => Err(format!("a stranger has no {key}")),
                })?;
                self.strangers.push((name.clone(), address));
                Ok(())
            }
            "param" => each(rest, |name, value| self.set_param(name, value)),
            _ => each(words, |key, value| match key {
                "ports" => {
                    let (first, last) = value.split_once('-').ok_or("ports takes FIRST-LAST")?;
                    self.ports = number(key, first)?..=number(key, last)?;
                    Ok(())
                }
                "calls_max" => number(key, value).map(|v| self.calls_max = v),
                "rater_delay" => {
                    self.rater_delay_us = crate::script::duration(value).ok_or("rater_delay takes a time like 50ms")?;
                    Ok(())
                }
                _ => Err(format!(
                    "site: customer, agent, phone, bound, vendor, stranger, param, ports, calls_max or rater_delay, not {key}"
                )),
            }),
        }
    }

    fn take_customer(&mut self, name: &str) -> Customer {
        if let Some(at) = self.customers.iter().position(|c| c.gateway.name == name) {
            return self.customers.remove(at);
        }
        Customer::new(name, SocketAddr::from(([198, 51, 100, 10 + self.customers.len() as u8], 5060)))
    }

    fn take_vendor(&mut self, name: &str) -> Vendor {
        if let Some(at) = self.vendors.iter().position(|v| v.gateway.name == name) {
            return self.vendors.remove(at);
        }
        let mut vendor = Vendor::new(name, SocketAddr::from(([192, 0, 2, 10 + self.vendors.len() as u8], 5060)));
        vendor.gateway.priority = self.vendors.len() as i32 + 1;
        vendor
    }

    /// Adds the customer and the vendor that a story without any means.
    pub fn fill(&mut self) {
        if self.customers.is_empty() {
            let customer = self.take_customer("a");
            self.customers.push(customer);
        }
        if self.vendors.is_empty() {
            let vendor = self.take_vendor("b");
            self.vendors.push(vendor);
        }
    }

    /// Numbers everything and makes what each room is configured with. Numbers follow the order of the lists, so two sites
    /// with the same lists have the same numbers.
    ///
    /// # Errors
    /// One sentence naming what does not hold together.
    pub fn build(&self) -> Result<Built, String> {
        self.billing.validate().map_err(|e| e.to_string())?;
        let mut accounts: Vec<Account> = Vec::new();
        let mut money: Vec<AccountConfig> = Vec::new();
        let mut account = |name: &str, kind, rates: &[Rate], opening: Money, limit: Money, locked| {
            if let Some(at) = accounts.iter().position(|a| a.name == name) {
                return Ok(at);
            }
            let id = AccountId(accounts.len() as u32);
            let deck = if rates.is_empty() {
                None
            } else {
                Some(Arc::new(Deck::build(name, rates.to_vec()).map_err(|e| e.to_string())?))
            };
            accounts.push(Account {
                id,
                name: name.to_owned(),
                display_name: name.to_owned(),
                kind,
                locked,
                cancelled: false,
                valid_until_ms: None,
                bill_until: Default::default(),
                deck,
                parent: None,
                private_deck: None,
                calendar: None,
            });
            money.push(AccountConfig {
                id,
                name: name.to_owned(),
                kind,
                limit,
                opening: Some(opening),
                bounds: Bounds::default(),
            });
            Ok::<usize, String>(accounts.len() - 1)
        };
        let mut until_media = Vec::new();
        let mut gateways = Vec::new();
        let mut mapping = Vec::new();
        for customer in &self.customers {
            let c = customer;
            let at = account(&c.account, AccountKind::General, &c.rates, c.balance, c.limit, c.account_locked)?;
            until_media.extend(c.bill_until_media.then_some(at));
            let mut gateway = c.gateway.clone();
            gateway.id = GatewayId(gateways.len() as u32);
            gateway.account = at;
            gateway.sources = vec![Source { ip: c.address.ip(), port: None }];
            gateways.push(GatewayConfig {
                id: gateway.id,
                name: gateway.name.clone(),
                routing: false,
                capacity: gateway.capacity,
                cps: gateway.cps,
            });
            mapping.push(gateway);
        }
        let mut routing = Vec::new();
        for vendor in &self.vendors {
            let v = vendor;
            let at = account(&v.account, AccountKind::Clearing, &v.rates, v.balance, Money::ZERO, false)?;
            let mut gateway = v.gateway.clone();
            gateway.id = GatewayId(gateways.len() as u32);
            gateway.account = at;
            gateway.listener = ListenerId(u16::from(v.address.is_ipv6()));
            if gateway.remotes.is_empty() {
                gateway.remotes = vec![v.address];
            }
            gateways.push(GatewayConfig {
                id: gateway.id,
                name: gateway.name.clone(),
                routing: true,
                capacity: gateway.capacity,
                cps: gateway.cps,
            });
            routing.push(gateway);
        }
        for a in &self.agents {
            account(&a.name, AccountKind::General, &a.rates, a.balance, a.limit, a.locked)?;
        }
        for at in until_media {
            accounts[at].bill_until = BillUntil::Media;
        }
        let find = |accounts: &[Account], name: &str| {
            accounts.iter().position(|a| a.name == name).ok_or_else(|| format!("there is no agent {name}"))
        };
        for c in &self.customers {
            money[find(&accounts, &c.account)?].bounds.monthly_max = c.monthly_max;
        }
        let customers = self.customers.iter().map(|c| (&c.account, &c.agent, c.account_expired, c.account_cancelled));
        let agents = self.agents.iter().map(|a| (&a.name, &a.above, a.expired, a.cancelled));
        for (name, above, expired, cancelled) in customers.chain(agents) {
            let at = find(&accounts, name)?;
            if !above.is_empty() {
                accounts[at].parent = Some(find(&accounts, above)?);
                money[at].bounds.agent = accounts[at].parent.map(|above| accounts[above].id);
            }
            // The first instant there is.
            accounts[at].valid_until_ms = expired.then_some(0).or(accounts[at].valid_until_ms);
            accounts[at].cancelled |= cancelled;
        }
        let mut billing_numbers = BillingNumbers::default();
        let built = |name: &str, rates: &[Rate]| {
            Deck::build(name, rates.to_vec()).map(Arc::new).map_err(|error| error.to_string())
        };
        for c in &self.customers {
            let at = find(&accounts, &c.account)?;
            if !c.private.is_empty() {
                accounts[at].private_deck = Some(built(&format!("{}-private", c.account), &c.private)?);
            }
            let mut periods = Vec::new();
            for text in &c.periods {
                let (window, price) = calendar::parse(text)?;
                let mut rates = c.rates.clone();
                rate_key(&mut rates, "rate", price).unwrap_or(Ok(()))?;
                periods.push(Period { window, deck: built(&c.account, &rates)? });
            }
            if !periods.is_empty() {
                accounts[at].calendar = Some(Arc::new(Calendar::new(periods, self.rules.zone.clone())));
            }
            billing_numbers.split_groups.extend(c.split.then(|| c.account.clone()));
        }
        for (number, line) in &self.phones {
            let phone = Phone {
                account: find(&accounts, &line.account)?,
                locked: line.locked,
                call_level: line.call_level.unwrap_or(5),
                callee_billing: line.callee_billing,
                no_billing_to_phone: line.no_billing_to_phone,
                monthly_max: line.monthly_max,
                deck: if line.rates.is_empty() { None } else { Some(built(number, &line.rates)?) },
            };
            billing_numbers.phones.insert(number.clone(), phone);
        }
        for (number, account) in &self.bound {
            billing_numbers.bound.insert(number.clone(), find(&accounts, account)?);
        }
        let mut snapshot = Snapshot {
            version: 1,
            node: NODE.to_owned(),
            settings: self.settings.clone(),
            billing: Arc::new(self.billing.clone()),
            accounts,
            mapping,
            routing,
            by_source: Default::default(),
            by_prefix: Default::default(),
            billing_numbers,
        };
        snapshot.index().map_err(|e| e.to_string())?;
        let listeners: Vec<SocketAddr> = [SIP_V4, SIP_V6].map(parse).to_vec();
        let address = |slot, text: &str| {
            let ip: IpAddr = parse(text);
            MediaAddress { slot, ip, advertised: ip }
        };
        let mut sip = tandem_sip::Config::new(
            listeners.iter().map(|l| tandem_sip::Listener { local: *l, advertised: *l }).collect(),
            self.seed,
        );
        sip.resend = self.resend.clone();
        sip.reply_unauthorized = self.settings.reply_unauthorized;
        sip.known = self.customers.iter().map(|c| c.address.ip()).collect();
        sip.known.extend(snapshot.routing.iter().flat_map(|g| g.remotes.iter().map(SocketAddr::ip)));
        let rules = AnchorRules {
            own_media_ips: vec![parse(MEDIA_V4), parse(MEDIA_V6)],
            policer_pps_min: 200,
            ..AnchorRules::default()
        };
        let calls = CallsConfig {
            shard: 0,
            seed: self.seed,
            listeners,
            media: MediaConfig {
                addresses: vec![address(0, MEDIA_V4), address(1, MEDIA_V6)],
                of_listener: Vec::new(),
                ports: self.ports.clone(),
                ports_excluded: Vec::new(),
                rules: Arc::new(rules),
            },
            flow_floor: 0,
            calls_max: self.calls_max,
        };
        Ok(Built { snapshot: Arc::new(snapshot), accounts: money, gateways, sip, calls })
    }
}

/// One of the constants above.
pub(crate) fn parse<T: FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().unwrap_or_else(|e| panic!("constant address {text}: {e:?}"))
}

fn each(words: &[String], mut set: impl FnMut(&str, &str) -> Result<(), String>) -> Result<(), String> {
    for word in words {
        let (key, value) = word.split_once('=').ok_or_else(|| format!("{word:?} is not key=value"))?;
        set(key, value)?;
    }
    Ok(())
}

fn money(key: &str, value: &str) -> Result<Money, String> {
    value.parse().map_err(|e| format!("{key}={value}: {e}"))
}

fn rewrite(key: &str, value: &str) -> Result<RewriteRules, String> {
    RewriteRules::parse(value).map_err(|e| format!("{key}={value}: {e}"))
}

fn mode(key: &str, value: &str) -> Result<DeviceMode, String> {
    match value {
        "auto" => Ok(DeviceMode::Auto),
        "on" => Ok(DeviceMode::On),
        "off" => Ok(DeviceMode::Off),
        "must_on" => Ok(DeviceMode::MustOn),
        _ => Err(format!("{key} takes auto, on, off, must_on, not {value:?}")),
    }
}

fn nat(key: &str, value: &str) -> Result<NatSetting, String> {
    match value {
        "auto" => Ok(NatSetting::Auto),
        "yes" => Ok(NatSetting::Yes),
        "no" => Ok(NatSetting::No),
        _ => Err(format!("{key} takes auto, yes, no, not {value:?}")),
    }
}

fn latch(key: &str, value: &str) -> Result<LatchSetting, String> {
    match value {
        "strict" => Ok(LatchSetting::Strict),
        "always" => Ok(LatchSetting::Always),
        _ => Err(format!("{key} takes strict or always, not {value:?}")),
    }
}

fn media_check(key: &str, value: &str) -> Result<MediaCheck, String> {
    match value {
        "none" => Ok(MediaCheck::None),
        "to_remote" => Ok(MediaCheck::ToRemote),
        "from_remote" => Ok(MediaCheck::FromRemote),
        "both" => Ok(MediaCheck::Both),
        _ => Err(format!("{key} takes none, to_remote, from_remote, both, not {value:?}")),
    }
}

fn filter(key: &str, value: &str) -> Result<PrefixFilter, String> {
    let (word, prefixes) = value.split_once(':').ok_or_else(|| format!("{key} takes allow:LIST or deny:LIST"))?;
    Ok(PrefixFilter { prefixes: list(prefixes), allow: word == "allow" })
}

/// `PREFIX:RATE:FIRST/NEXT`, comma separated; an empty prefix is every number.
fn deck(key: &str, value: &str) -> Result<Vec<Rate>, String> {
    let mut rates = Vec::new();
    for (n, row) in value.split(',').filter(|r| !r.is_empty()).enumerate() {
        let mut parts = row.split(':');
        let prefix = parts.next().unwrap_or("");
        let price = parts.next().ok_or_else(|| format!("{key}: {row:?} is not PREFIX:RATE:FIRST/NEXT"))?;
        let mut rate = Rate {
            rate_id: n as u64 + 1,
            area_code: prefix.to_owned(),
            rate_per_min: number::<Decimal>(key, price)?,
            ..Rate::default()
        };
        if let Some(blocks_text) = parts.next() {
            (rate.first_s, rate.next_s) = blocks(key, blocks_text)?;
        }
        rates.push(rate);
    }
    Ok(rates)
}

fn blocks(key: &str, value: &str) -> Result<(u32, u32), String> {
    let (first, next) = value.split_once('/').ok_or_else(|| format!("{key} takes FIRST/NEXT, not {value:?}"))?;
    Ok((number(key, first)?, number(key, next)?))
}

fn flat(rate_per_min: Decimal) -> Vec<Rate> {
    vec![Rate { rate_id: 1, rate_per_min, ..Rate::default() }]
}

/// Changes every row: most stories have one.
fn rate_key(rates: &mut Vec<Rate>, key: &str, value: &str) -> Option<Result<(), String>> {
    let mut every = |change: &mut dyn FnMut(&mut Rate) -> Result<(), String>| rates.iter_mut().try_for_each(change);
    Some(match key {
        "rate" => every(&mut |r| number(key, value).map(|v| r.rate_per_min = v)),
        "blocks" => every(&mut |r| blocks(key, value).map(|(first, next)| (r.first_s, r.next_s) = (first, next))),
        "conn_fee" => every(&mut |r| number(key, value).map(|v| r.conn_fee = v)),
        "tax" => every(&mut |r| number(key, value).map(|v| r.tax_pct = v)),
        "level" => every(&mut |r| number(key, value).map(|v| r.level = v)),
        "deck" => deck(key, value).map(|rows| *rates = rows),
        _ => return None,
    })
}

impl Customer {
    /// A prepaid customer with 100.00 that pays 0.06 a minute in whole minutes.
    pub fn new(name: &str, address: SocketAddr) -> Customer {
        let hundred = Money::new(Decimal::ONE_HUNDRED).unwrap_or_default();
        Customer {
            gateway: MappingGateway {
                id: GatewayId(0),
                name: name.to_owned(),
                account: 0,
                sources: Vec::new(),
                locked: false,
                priority: 0,
                capacity: None,
                cps: None,
                call_level: 5,
                rewrite_caller: RewriteRules::default(),
                rewrite_callee: RewriteRules::default(),
                percent_routing: Vec::new(),
                caller_prefixes: PrefixFilter::default(),
                callee_prefixes: PrefixFilter::default(),
                caller_lengths: 0,
                callee_lengths: 0,
                routing_groups: Vec::new(),
                routing_groups_allow: false,
                media_mode: DeviceMode::Auto,
                nat: NatSetting::Auto,
                latch: LatchSetting::Strict,
                media_check: MediaCheck::None,
                max_duration_s: (-1, -1),
                timeout_call_proceeding_s: -1,
                callee_from: CalleeFrom::RequestUri,
                caller_from: CallerFrom::From,
                failed_sip_code: Vec::new(),
                replace_before_switch: false,
                first_policy: RoutePolicy::None,
                second_policy: RoutePolicy::None,
                min_profit_percent: None,
                max_second_rate: None,
                pass_headers: Vec::new(),
                billing: Default::default(),
            },
            address,
            account: name.to_owned(),
            balance: hundred,
            limit: Money::ZERO,
            account_locked: false,
            account_expired: false,
            account_cancelled: false,
            agent: String::new(),
            monthly_max: None,
            periods: Vec::new(),
            split: false,
            private: Vec::new(),
            bill_until_media: false,
            rates: flat(Decimal::new(6, 2)),
        }
    }

    /// One `key=value` of a `site: customer` line.
    ///
    /// # Errors
    /// One sentence.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        if let Some(result) = rate_key(&mut self.rates, key, value) {
            return result;
        }
        let g = &mut self.gateway;
        match key {
            "address" => self.address = number(key, value)?,
            "account" => self.account = value.to_owned(),
            "balance" => self.balance = money(key, value)?,
            "limit" => self.limit = money(key, value)?,
            "bill_until" => self.bill_until_media = value == "media",
            "account_locked" => self.account_locked = switch(key, value)?,
            "account_expired" => self.account_expired = switch(key, value)?,
            "account_cancelled" => self.account_cancelled = switch(key, value)?,
            "agent" => self.agent = value.to_owned(),
            "monthly_max" => self.monthly_max = Some(self::money(key, value)?),
            "period" => self.periods.push(value.to_owned()),
            "split" => self.split = switch(key, value)?,
            "private" => self.private = deck(key, value)?,
            "phones" => g.billing.phones = switch(key, value)?,
            "bound_numbers" => g.billing.bound_numbers = switch(key, value)?,
            "no_billing_to_phone" => g.billing.no_billing_to_phone = Some(switch(key, value)?),
            "billing_prefixes" => g.billing.prefixes = list(value),
            "locked" => g.locked = switch(key, value)?,
            "priority" => g.priority = number(key, value)?,
            "capacity" => g.capacity = Some(number(key, value)?),
            "cps" => g.cps = Some(number(key, value)?),
            "call_level" => g.call_level = number(key, value)?,
            "media" => g.media_mode = mode(key, value)?,
            "nat" => g.nat = nat(key, value)?,
            "latch" => g.latch = latch(key, value)?,
            "media_check" => g.media_check = media_check(key, value)?,
            "setup_limit" => g.timeout_call_proceeding_s = number(key, value)?,
            "max_duration" => {
                let (low, high) = value.split_once('-').unwrap_or((value, value));
                g.max_duration_s = (number(key, low)?, number(key, high)?);
            }
            "replace" => {
                for pair in value.split(',') {
                    let (from, to) = pair.split_once(':').ok_or("replace takes FROM:TO")?;
                    g.failed_sip_code.push((number(key, from)?, number(key, to)?));
                }
            }
            "replace_first" => g.replace_before_switch = switch(key, value)?,
            "caller_prefixes" => g.caller_prefixes = filter(key, value)?,
            "callee_prefixes" => g.callee_prefixes = filter(key, value)?,
            "rewrite_caller" => g.rewrite_caller = rewrite(key, value)?,
            "rewrite_callee" => g.rewrite_callee = rewrite(key, value)?,
            "min_profit" => g.min_profit_percent = Some(number(key, value)?),
            "pass" => g.pass_headers = list(value),
            _ => return Err(format!("a customer has no {key}")),
        }
        Ok(())
    }
}

impl Agent {
    /// A prepaid agent with 100.00 that pays 0.05 a minute in whole minutes: between customer and vendor.
    pub fn new(name: &str) -> Agent {
        Agent {
            name: name.to_owned(),
            above: String::new(),
            balance: Money::new(Decimal::ONE_HUNDRED).unwrap_or_default(),
            limit: Money::ZERO,
            locked: false,
            expired: false,
            cancelled: false,
            rates: flat(Decimal::new(5, 2)),
        }
    }

    /// One `key=value` of a `site: agent` line.
    ///
    /// # Errors
    /// One sentence.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        if let Some(result) = rate_key(&mut self.rates, key, value) {
            return result;
        }
        match key {
            "agent" => self.above = value.to_owned(),
            "balance" => self.balance = money(key, value)?,
            "limit" => self.limit = money(key, value)?,
            "locked" => self.locked = switch(key, value)?,
            "expired" => self.expired = switch(key, value)?,
            "cancelled" => self.cancelled = switch(key, value)?,
            _ => return Err(format!("an agent has no {key}")),
        }
        Ok(())
    }
}

impl Vendor {
    /// A vendor for every number at 0.03 a minute in whole minutes.
    pub fn new(name: &str, address: SocketAddr) -> Vendor {
        Vendor {
            gateway: RoutingGateway {
                id: GatewayId(0),
                name: name.to_owned(),
                account: 0,
                clearing_use_callout: false,
                remotes: Vec::new(),
                listener: ListenerId(0),
                prefixes: Vec::new(),
                prefix_style: PrefixStyle::Continuation,
                priority: 1,
                weight: 100,
                capacity: None,
                cps: None,
                locked: false,
                valid_from_ms: None,
                valid_to_ms: None,
                groups: Vec::new(),
                rewrite_caller: RewriteRules::default(),
                rewrite_callee: RewriteRules::default(),
                caller_prefixes: PrefixFilter::default(),
                callee_prefixes: PrefixFilter::default(),
                caller_lengths: 0,
                callee_lengths: 0,
                check_rate: false,
                least_cost: false,
                min_profit_percent: None,
                max_second_rate: None,
                protect: false,
                switch: SwitchAllow::default(),
                timeouts: SetupTimeouts::default(),
                media_mode: DeviceMode::Auto,
                nat: NatSetting::Auto,
                latch: LatchSetting::Strict,
                media_check: MediaCheck::None,
                send_asserted: false,
                pass_headers: Vec::new(),
                billing_prefixes: Vec::new(),
            },
            address,
            account: name.to_owned(),
            balance: Money::ZERO,
            rates: flat(Decimal::new(3, 2)),
        }
    }

    /// One `key=value` of a `site: vendor` line.
    ///
    /// # Errors
    /// One sentence.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        if let Some(result) = rate_key(&mut self.rates, key, value) {
            return result;
        }
        let g = &mut self.gateway;
        match key {
            "address" => self.address = number(key, value)?,
            "also" => {
                // More addresses of the same gateway: where a redirect may lead.
                g.remotes = vec![self.address];
                for text in list(value) {
                    g.remotes.push(number(key, &text)?);
                }
            }
            "account" => self.account = value.to_owned(),
            "balance" => self.balance = money(key, value)?,
            "prefix" => g.prefixes = list(value),
            "style" => {
                g.prefix_style = match value {
                    "terminal" => PrefixStyle::Terminal,
                    "continuation" => PrefixStyle::Continuation,
                    _ => return Err(format!("{key} takes terminal or continuation, not {value:?}")),
                }
            }
            "priority" => g.priority = number(key, value)?,
            "weight" => g.weight = number(key, value)?,
            "capacity" => g.capacity = Some(number(key, value)?),
            "cps" => g.cps = Some(number(key, value)?),
            "locked" => g.locked = switch(key, value)?,
            "groups" => g.groups = list(value),
            "errors" => {
                g.switch.error_code = true;
                g.switch.error_codes = value.split(',').map(|c| number(key, c)).collect::<Result<_, _>>()?;
            }
            "errors_allowed" => g.switch.error_code = switch(key, value)?,
            "switch.ring" => g.switch.ring = Some(switch(key, value)?),
            "switch.sdp" => g.switch.sdp = Some(switch(key, value)?),
            "switch.rtp" => g.switch.rtp = Some(switch(key, value)?),
            "switch.busy" => g.switch.busy = Some(switch(key, value)?),
            "timeout.invite" => g.timeouts.invite_s = number(key, value)?,
            "timeout.trying" => g.timeouts.trying_s = number(key, value)?,
            "timeout.session_progress" => g.timeouts.session_progress_s = number(key, value)?,
            "timeout.session_progress_sdp" => g.timeouts.session_progress_sdp_s = number(key, value)?,
            "timeout.ringing" => g.timeouts.ringing_s = number(key, value)?,
            "check_rate" => g.check_rate = switch(key, value)?,
            "least_cost" => g.least_cost = switch(key, value)?,
            "protect" => g.protect = switch(key, value)?,
            "rewrite_caller" => g.rewrite_caller = rewrite(key, value)?,
            "rewrite_callee" => g.rewrite_callee = rewrite(key, value)?,
            "media" => g.media_mode = mode(key, value)?,
            "nat" => g.nat = nat(key, value)?,
            "latch" => g.latch = latch(key, value)?,
            "media_check" => g.media_check = media_check(key, value)?,
            "asserted" => g.send_asserted = switch(key, value)?,
            "pass" => g.pass_headers = list(value),
            "billing_prefixes" => g.billing_prefixes = list(value),
            _ => return Err(format!("a vendor has no {key}")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_without_a_word_has_one_customer_and_one_vendor() {
        let mut site = Site::default();
        site.fill();
        let built = site.build().unwrap();
        assert_eq!((built.snapshot.mapping.len(), built.snapshot.routing.len()), (1, 1));
        assert_eq!(built.gateways[0].id, built.snapshot.mapping[0].id);
    }

    #[test]
    fn unknown_words_are_named() {
        let mut site = Site::default();
        let line = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(site.line(&line("vendor b colour=red")), Err("a vendor has no colour".to_owned()));
        assert!(site.line(&line("param SS_NONSENSE=1")).unwrap_err().contains("SS_NONSENSE"));
        assert!(site.line(&line("customer a capacity=many")).unwrap_err().contains("many"));
    }
}
