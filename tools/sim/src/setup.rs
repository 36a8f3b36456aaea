//! From a version of the plan to what the rooms of the switch are configured with.

use std::net::SocketAddr;
use std::sync::Arc;

use jiff::tz::{Offset, TimeZone};
use rust_decimal::Decimal;
use tandem_call::calendar::{self, Calendar};
use tandem_call::snapshot::Snapshot;
use tandem_ladder::site::{Agent, Built, Customer, PhoneLine, Site, Vendor};
use tandem_rater::{PackageConfig, PhoneFee};
use tandem_rating::fee::{BillingParams, Section};
use tandem_rating::money::Money;
use tandem_rating::package::{GiftRow, Package, RentType};
use tandem_rating::rate::{Deck, Rate};

use crate::civil::{self, Zone};
use crate::plan::{AccountPlan, Plan, Version};
use crate::price::{Billing, Row};
use crate::rent;
use crate::trade::{FREE, Line, NO_CDR, OWN_PHONE, Period, TOLL_FREE};

/// Where customer `n` speaks SIP.
pub fn customer_address(n: usize) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 10 + n as u8], 5060))
}

/// Where vendor `n` speaks SIP.
pub fn vendor_address(n: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 10 + n as u8], 5060))
}

/// A party that nobody knows.
pub fn stranger_address(n: u32) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 200 + (n % 40) as u8], 5060))
}

/// Units of 10^-8 as the product writes money.
///
/// # Errors
/// Out of range.
pub fn money(units: i128) -> Result<Money, String> {
    Money::new(decimal(units)).map_err(|error| error.to_string())
}

pub(crate) fn decimal(units: i128) -> Decimal {
    Decimal::from_i128_with_scale(units, 8).normalize()
}

/// Rows of a deck as the product has them.
pub(crate) fn rates(rows: &[Row]) -> Vec<Rate> {
    rows.iter()
        .map(|row| Rate {
            rate_id: row.id,
            area_code: row.prefix.clone(),
            rate_per_min: decimal(row.per_min),
            first_s: row.first_s as u32,
            next_s: row.next_s as u32,
            conn_fee: decimal(row.connection),
            tax_pct: decimal(row.tax_pct),
            effective_from_ms: row.from_ms,
            effective_to_ms: row.to_ms,
            sections: (1..)
                .zip(&row.sections)
                .map(|(position, (time_s, amount))| Section {
                    position,
                    time_s: *time_s as u32,
                    amount: decimal(*amount),
                })
                .collect(),
            lock: row.locked,
            ..Rate::default()
        })
        .collect()
}

/// Parameters of billing as the product has them.
pub(crate) fn params(billing: &Billing) -> BillingParams {
    BillingParams {
        fp: billing.fp as u8,
        fu: decimal(billing.fee_unit),
        p_hold_ms: billing.hold_ms as u16,
        free_s: billing.free_s as u32,
        quantise_rate: billing.quantise,
        vendor_free_time: billing.free_vendor,
    }
}

/// Numbers that leave no record.
pub fn no_cdr_numbers() -> Vec<String> {
    vec![format!("{NO_CDR}*")]
}

/// The zone of the server. `fixed`: it does not know that clocks change.
pub fn zone(plan: &Plan, fixed: bool) -> Result<TimeZone, String> {
    if fixed {
        let seconds = plan.zone.offset_ms(plan.wall_start_ms) / 1_000;
        let offset = Offset::from_seconds(seconds as i32).map_err(|error| error.to_string())?;
        return Ok(TimeZone::fixed(offset));
    }
    match plan.zone {
        Zone::Utc => Ok(TimeZone::UTC),
        zone => TimeZone::get(zone.name()).map_err(|error| error.to_string()),
    }
}

/// The rooms' configuration of `version`; `boot` makes the randomness of each start of the switch its own. `fixed`: see [`zone`].
///
/// # Errors
/// One sentence.
pub fn build(plan: &Plan, version: &Version, boot: u32, fixed: bool) -> Result<Built, String> {
    let mut site = Site::default();
    let account = |at: usize| -> &AccountPlan { &version.accounts[at] };
    let above = |plan: &AccountPlan| plan.above.map_or_else(String::new, |at| account(at).name.clone());
    for (n, gateway) in version.customers.iter().enumerate() {
        let mut customer = Customer::new(&gateway.name, customer_address(n));
        let payer = account(gateway.account);
        customer.account.clone_from(&payer.name);
        customer.balance = money(payer.opening)?;
        customer.limit = money(payer.limit)?;
        customer.rates = rates(&payer.rows);
        customer.gateway.capacity = gateway.capacity;
        customer.gateway.cps = gateway.cps;
        customer.gateway.billing.phones = gateway.phones;
        customer.gateway.billing.bound_numbers = gateway.bound;
        customer.gateway.billing.no_billing_to_phone = gateway.own_free;
        customer.agent = above(payer);
        site.customers.push(customer);
    }
    for (n, gateway) in version.vendors.iter().enumerate() {
        let mut vendor = Vendor::new(&gateway.name, vendor_address(n));
        let clearing = account(gateway.account);
        vendor.account.clone_from(&clearing.name);
        vendor.balance = money(clearing.opening)?;
        vendor.rates = rates(&clearing.rows);
        vendor.gateway.capacity = gateway.capacity;
        vendor.gateway.cps = gateway.cps;
        vendor.gateway.priority = gateway.priority;
        vendor.gateway.prefixes = gateway.prefixes.iter().map(|p| (*p).to_owned()).filter(|p| !p.is_empty()).collect();
        vendor.gateway.switch.ring = Some(true);
        site.vendors.push(vendor);
    }
    for agent in version.accounts.iter().filter(|account| is_agent(account) || account.is_card) {
        let balance = money(agent.opening)?;
        let limit = money(agent.limit)?;
        let rates = rates(&agent.rows);
        site.agents.push(Agent { above: above(agent), balance, limit, rates, ..Agent::new(&agent.name) });
    }
    for call in &plan.calls {
        let owner = |at: usize| account(at).name.clone();
        let callee_billing = call.prefix == TOLL_FREE;
        if callee_billing || call.prefix == OWN_PHONE {
            let line =
                PhoneLine { account: owner(plan.phone_owner(call.index)), callee_billing, ..PhoneLine::default() };
            site.phones.push((call.number(), line));
        }
        match call.line {
            Line::Plain => {}
            Line::Phone => {
                let line = PhoneLine { account: owner(plan.phone_owner(call.index)), ..PhoneLine::default() };
                site.phones.push((call.caller(), line));
            }
            Line::Bound => site.bound.push((call.caller(), owner(plan.bound_owner(call.index)))),
            // Below: they are there without a call.
            Line::House(_) | Line::Card(_) => {}
        }
    }
    for (n, phone) in version.phones.iter().enumerate() {
        let monthly_max = phone.max.map(money).transpose()?;
        let account = account(phone.account).name.clone();
        let line = PhoneLine { account, locked: phone.locked, monthly_max, ..PhoneLine::default() };
        site.phones.push((rent::house_number(n), line));
    }
    for card in version.accounts.iter().filter(|account| account.is_card) {
        let number = format!("4930300000{}", card.name.trim_start_matches("card"));
        site.bound.push((number, card.name.clone()));
    }
    site.settings.free_numbers = vec![format!("{FREE}*")];
    site.settings.no_cdr_numbers = no_cdr_numbers();
    site.billing = params(&version.billing);
    site.rules.record_zero_hold = version.record_zero_hold;
    site.settings.max_call_duration_s = version.max_call_s;
    site.set_param("SS_MEDIAPROXYMODE", version.media_mode)?;
    site.ports = 10_000..=10_000 + plan.ports - 1;
    for (n, byte) in site.seed.iter_mut().enumerate() {
        let word = plan.switch_seed.wrapping_add(u64::from(boot).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        *byte = word.to_le_bytes()[n % 8] ^ n as u8;
    }
    let mut built = site.build()?;
    built.sip.refuse_unknown = true;
    let snapshot = Arc::get_mut(&mut built.snapshot).ok_or("the snapshot is shared already")?;
    by_hour(snapshot, version, &zone(plan, fixed)?)?;
    for plan in &version.accounts {
        let found = snapshot.accounts.iter_mut().enumerate().find(|(_, account)| account.name == plan.name);
        let (at, account) = found.ok_or_else(|| format!("there is no account {}", plan.name))?;
        (account.locked, account.valid_until_ms) = (plan.locked, plan.until_ms);
        if plan.is_card {
            snapshot.billing_numbers.cards.insert(at);
        }
        for owned in built.accounts.iter_mut().filter(|owned| owned.name == plan.name) {
            owned.bounds.monthly_max = plan.monthly_max.map(money).transpose()?;
            (owned.bounds.is_card, owned.bounds.valid_days) = (plan.is_card, plan.card_days);
        }
    }
    Ok(built)
}

/// Packages and fees of a version, as the owner of money is told of them.
///
/// # Errors
/// One sentence.
pub fn packages(plan: &Plan, version: &Version) -> Result<PackageConfig, String> {
    let mut config = PackageConfig { params: params(&version.billing), ..PackageConfig::default() };
    for package in &version.packages {
        let gift = |gift: &rent::GiftTime| GiftRow {
            prefixes: gift.prefixes.iter().map(|prefix| (*prefix).to_owned()).collect(),
            from_s: gift.from_s as u32,
            to_s: gift.to_s as u32,
            gift_s: gift.gift_s,
            cycle_s: gift.cycle_s as u32,
        };
        let made = Package {
            name: package.name.clone(),
            rent_type: match package.unit {
                rent::Unit::Month => RentType::Month,
                rent::Unit::Day => RentType::Day,
                rent::Unit::Year => RentType::Year,
                rent::Unit::Once => RentType::Once,
            },
            rent_period: package.length,
            partial: package.partial,
            rent: money(package.rent)?,
            minimum: money(package.minimum)?,
            lower: money(package.lower)?,
            gift_money: money(package.money)?,
            gifts: package.gifts.iter().map(gift).collect(),
        };
        made.validate().map_err(|error| error.to_string())?;
        config.packages.insert(package.name.clone(), made);
    }
    let owner = |at: usize| version.accounts[at].name.clone();
    let none = |account| PhoneFee { account: owner(account), ..PhoneFee::default() };
    for call in &plan.calls {
        for number in [call.number(), call.caller()].into_iter().filter(|_| call.line == Line::Phone) {
            config.phones.insert(number, none(plan.phone_owner(call.index)));
        }
    }
    for (n, phone) in version.phones.iter().enumerate() {
        let fee = PhoneFee { rent: money(phone.rent)?, minimum: money(phone.minimum)?, ..none(phone.account) };
        config.phones.insert(rent::house_number(n), fee);
    }
    Ok(config)
}

/// Whether an account is only there for others.
pub fn is_agent(account: &AccountPlan) -> bool {
    account.name.starts_with("agent")
}

/// Prices by the hour, and groups that split.
fn by_hour(snapshot: &mut Snapshot, version: &Version, zone: &TimeZone) -> Result<(), String> {
    for plan in &version.accounts {
        let account = snapshot.accounts.iter_mut().find(|account| account.name == plan.name);
        let account = account.ok_or_else(|| format!("there is no account {}", plan.name))?;
        if plan.split {
            snapshot.billing_numbers.split_groups.insert(plan.name.clone());
        }
        if plan.periods.is_empty() {
            continue;
        }
        let mut periods = Vec::new();
        for period in &plan.periods {
            let text = words(period);
            let (window, price) = calendar::parse(&text)?;
            let rate_per_min: Decimal = price.parse().map_err(|error| format!("{text}: {error}"))?;
            let rows = rates(&plan.rows).into_iter().map(|rate| Rate { rate_per_min, ..rate });
            let deck = Deck::build(plan.name.clone(), rows.collect()).map_err(|error| error.to_string())?;
            periods.push(calendar::Period { window, deck: Arc::new(deck) });
        }
        account.calendar = Some(Arc::new(Calendar::new(periods, zone.clone())));
    }
    Ok(())
}

/// A period as an operator writes it, with its price for the rate group.
fn words(period: &Period) -> String {
    let mut text = String::new();
    if let Some(day) = period.date {
        let (year, month, day) = civil::date_of(day);
        text.push_str(&format!("{year:04}-{month:02}-{day:02} "));
    }
    let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let days: Vec<&str> = (0..7).filter(|n| period.days >> n & 1 == 1).map(|n| names[n]).collect();
    if !days.is_empty() {
        text.push_str(&format!("{} ", days.join(",")));
    }
    let clock = |minute: i64| format!("{:02}:{:02}", minute / 60, minute % 60);
    format!("{text}{}-{} {}", clock(period.from_min), clock(period.to_min), decimal(period.per_min))
}
