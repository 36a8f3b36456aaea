//! Packages and monthly fees of phones (rates.md 10): orders, their periods, rent and minimum consumption.
//!
//! An order moves by steps: a period begins with its rent, a period ends with what is missing to its minimum, an order ends.
//! A step is one journal record: the order as it is afterwards and the money that moved. Whatever the clock does, a period
//! that began is never begun again, because its number is in the order and in the key of its ledger row.

mod gifts;
mod orders;
mod schedule;
mod steps;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::RandomState;
use rust_decimal::Decimal;
use tandem_call::snapshot::AccountId;
use tandem_leg::Now;
use tandem_rating::error::BillingError;
use tandem_rating::fee::BillingParams;
use tandem_rating::money::Money;
use tandem_rating::package::{self, Ended, GiftRow, Order, Package, RentType, StillHeld};

pub use orders::{PackageAct, PackageDone};

pub(crate) use gifts::{Held, target_s};

use crate::Rater;

/// Steps of orders between two looks at the questions of calls: each costs some ten microseconds, and at the first of a
/// month every order has one.
const STEPS_PER_TURN: usize = 100;
/// An order that waits for money looks again after this, ms; a payment wakes it at once, a call that gives back what it
/// reserved does not.
const RETRY_MS: i64 = 60_000;
/// Periods that should have begun longer ago than this are not taken by themselves, ms: 62 days. A switch that was off for
/// weeks takes what is due; a clock that is years ahead must not empty every account.
const CATCH_UP_MS: i64 = 62 * 86_400_000;
/// Orders and fees that are not over.
pub const ORDERS_MAX: usize = 100_000;

/// What a phone pays each month.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PhoneFee {
    /// Account of the phone.
    pub account: String,
    /// Taken as a month begins.
    pub rent: Money,
    /// What is missing to it is taken as the month ends.
    pub minimum: Money,
}

/// Packages and phones as configured.
#[derive(Clone, Debug, Default)]
pub struct PackageConfig {
    /// Packages by name.
    pub packages: BTreeMap<String, Package>,
    /// Every phone by number.
    pub phones: BTreeMap<String, PhoneFee>,
    /// Accounts that are cancelled.
    pub cancelled: BTreeSet<String>,
    /// What rent is rounded by.
    pub params: BillingParams,
}

#[derive(Debug, Default)]
pub(crate) struct Packages {
    config: PackageConfig,
    live: BTreeMap<String, Live>,
    /// Orders with a period, by who pays, in the order in which a call uses them.
    payers: HashMap<AccountId, Vec<String>, RandomState>,
    /// Fees of phones that are over: one that is set anew goes on behind it.
    fees_over: HashMap<String, Order>,
    /// What calls of another life held of periods that ended in it: order and amounts, by call.
    kept: HashMap<u64, Vec<(String, StillHeld)>>,
    /// Largest number of an order.
    last: u64,
    /// When a step may be due, UTC ms.
    due_ms: i64,
    /// The latest look at the clock.
    seen_ms: i64,
}

/// An order that is not over.
#[derive(Debug, Default)]
struct Live {
    order: Order,
    /// Seconds used and held of each gift of its period.
    used_s: Vec<i64>,
    held_s: Vec<i64>,
    /// Gift money used and held.
    money: Money,
    money_held: Money,
    /// What calls of the period cost the balance.
    spent: Money,
    due_ms: i64,
    /// What stands in its way was told.
    told: bool,
    /// The operator said that periods of long ago are to be taken.
    catch_up: bool,
}

/// What begins, before it is paid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Offer {
    rent: Money,
    minimum: Money,
    lower: Money,
    gift_money: Money,
    gifts: Vec<GiftRow>,
    /// End by the calendar, UTC ms.
    to_ms: i64,
}

/// What the step of an order is.
enum Next {
    /// Nothing before this time.
    At(i64),
    /// What stands in the way, told once, and when to look again.
    Stuck(String, i64),
    /// The period that runs is over.
    Close,
    /// The order is over.
    End(Ended),
    /// A period begins, once its rent can be paid.
    Begin(Box<Offer>),
}

impl Packages {
    fn is_closed(&self, order: &Order) -> bool {
        self.config.cancelled.contains(&order.account)
            || (!order.phone.is_empty() && !self.config.phones.contains_key(&order.phone))
    }

    /// What an order offers for the period that begins next; `None` when its package is gone.
    fn offer(&self, zone: &jiff::tz::TimeZone, order: &Order) -> Option<Result<Offer, BillingError>> {
        let fee = |fee: &PhoneFee| Package {
            name: String::new(),
            rent_type: RentType::Month,
            rent_period: 1,
            partial: true,
            rent: fee.rent,
            minimum: fee.minimum,
            ..Package::default()
        };
        let package = match order.is_phone_fee() {
            true => self.config.phones.get(&order.phone).map(fee)?,
            false => self.config.packages.get(&order.package)?.clone(),
        };
        let span = schedule::span(zone, &package, order.effective_ms, order.next_ms);
        let (part, whole) = (Decimal::from(span.part), Decimal::from(span.whole));
        let share = |amount| package::part_of(amount, part, whole, &self.config.params);
        let gift =
            |row: &GiftRow| GiftRow { gift_s: package::seconds_of(row.gift_s, span.part, span.whole), ..row.clone() };
        let offer = || {
            Ok(Offer {
                rent: package::rent_of(share(package.rent)?, order.rent_percent, &self.config.params)?,
                minimum: share(package.minimum)?,
                lower: share(package.lower)?,
                gift_money: share(package.gift_money)?,
                gifts: package.gifts.iter().map(gift).collect(),
                to_ms: span.to_ms,
            })
        };
        Some(offer())
    }

    fn next(&self, zone: &jiff::tz::TimeZone, now_ms: i64, live: &Live) -> Next {
        let order = &live.order;
        if let Some(period) = &order.period {
            return if now_ms < period.to_ms { Next::At(period.to_ms) } else { Next::Close };
        }
        if order.expires_ms.is_some_and(|expires_ms| order.next_ms >= expires_ms) {
            return Next::End(Ended::Expired);
        }
        if self.is_closed(order) {
            return Next::End(Ended::Gone);
        }
        let once = |package: &Package| package.rent_type == RentType::Once;
        if order.next > 0 && self.config.packages.get(&order.package).is_some_and(once) {
            return Next::End(Ended::Expired);
        }
        if order.is_phone_fee() {
            let due = |fee: &PhoneFee| !fee.rent.is_zero() || !fee.minimum.is_zero();
            if !self.config.phones.get(&order.phone).is_some_and(due) {
                return Next::End(Ended::Gone);
            }
        }
        if now_ms < order.next_ms {
            return Next::At(order.next_ms);
        }
        if now_ms.saturating_sub(order.next_ms) > CATCH_UP_MS && !live.catch_up {
            let text = format!(
                "order {} of account {}: a period is due since {}, longer than {} days: nothing is taken before `tandem \
                 package catch-up {}`",
                order.key,
                order.account,
                schedule::day_text(zone, order.next_ms),
                CATCH_UP_MS / 86_400_000,
                order.key
            );
            return Next::Stuck(text, now_ms.saturating_add(3_600_000));
        }
        match self.offer(zone, order) {
            None => {
                let text =
                    format!("order {} of account {}: package {} is gone", order.key, order.account, order.package);
                Next::Stuck(text, now_ms.saturating_add(RETRY_MS))
            }
            Some(Err(error)) => {
                let text = format!("order {} of account {}: no period begins: {error}", order.key, order.account);
                Next::Stuck(text, now_ms.saturating_add(3_600_000))
            }
            Some(Ok(offer)) => Next::Begin(Box::new(offer)),
        }
    }

    /// Money came in, or a limit was raised: whoever waits for it looks again.
    pub(crate) fn money_came(&mut self, account: Option<&str>) {
        for live in self.live.values_mut().filter(|live| live.order.waits) {
            if account.is_none_or(|account| live.order.account == account) {
                live.due_ms = i64::MIN;
                self.due_ms = i64::MIN;
            }
        }
    }
}

impl Rater {
    /// Orders that the store kept, with what was used of their periods. Before [`Rater::configure_packages`] and before any
    /// call.
    pub fn packages_before(&mut self, orders: impl IntoIterator<Item = (Order, Vec<i64>, Money, Money)>) {
        for (order, used_s, money, spent) in orders {
            self.packages.last = self.packages.last.max(order.key.parse().unwrap_or(0));
            for held in &order.still_held {
                self.packages.kept.entry(held.flow_no).or_default().push((order.key.clone(), held.clone()));
            }
            if order.ended.is_some() && order.is_phone_fee() {
                self.packages.fees_over.insert(order.key.clone(), order);
            } else if order.ended.is_none() {
                let held_s = vec![0; order.period.as_ref().map_or(0, |period| period.gifts.len())];
                let due_ms = i64::MIN;
                let live = Live { used_s, held_s, money, spent, due_ms, ..Live::default() };
                self.packages.live.insert(order.key.clone(), Live { order, ..live });
            }
        }
        self.index_packages();
    }

    /// Takes over packages and phones of a new configuration, after [`Rater::configure`]. Periods that run stay as they
    /// began; the fee of a phone begins with the next month.
    pub fn configure_packages(&mut self, now: Now, config: PackageConfig) {
        self.packages.config = config;
        let fees: Vec<(String, String)> = self
            .packages
            .config
            .phones
            .iter()
            .filter(|(_, fee)| !fee.rent.is_zero() || !fee.minimum.is_zero())
            .map(|(number, fee)| (number.clone(), fee.account.clone()))
            .collect();
        for (number, account) in fees {
            let key = format!("phone:{number}");
            if !self.packages.live.contains_key(&key) {
                let mut order =
                    Order { account, phone: number, rent_percent: Decimal::ONE_HUNDRED, ..Order::default() };
                (order.next, order.next_ms) = schedule::next_month(&self.rules.zone, now.wall_ms);
                if let Some(over) = self.packages.fees_over.remove(&key) {
                    order.taken = over.taken;
                    // A month that was paid is not paid again, wherever the clock has been.
                    (order.next, order.next_ms) = (order.next, order.next_ms).max((over.next, over.next_ms));
                }
                (order.key, order.effective_ms) = (key, order.next_ms);
                self.package_event(
                    now.wall_ms,
                    "monthly fee from the next month on".to_owned(),
                    order,
                    Vec::new(),
                    None,
                );
            }
        }
        for live in self.packages.live.values_mut() {
            (live.due_ms, live.told) = (i64::MIN, false);
        }
        self.packages.due_ms = i64::MIN;
        self.index_packages();
    }

    /// Takes the steps that are due, a bounded number. True when there may be more: ask again.
    pub fn packages_due(&mut self, now: Now) -> bool {
        if now.wall_ms < self.packages.seen_ms {
            // The clock went back: what was put off by it is looked at again.
            self.packages.live.values_mut().for_each(|live| live.due_ms = i64::MIN);
            self.packages.due_ms = i64::MIN;
        }
        self.packages.seen_ms = now.wall_ms;
        if now.wall_ms < self.packages.due_ms {
            return false;
        }
        let due: Vec<String> = self
            .packages
            .live
            .iter()
            .filter(|(_, live)| live.due_ms <= now.wall_ms)
            .map(|(key, _)| key.clone())
            .take(STEPS_PER_TURN)
            .collect();
        let mut steps = 0;
        for key in &due {
            while steps < STEPS_PER_TURN && self.package_step(now, key) {
                steps += 1;
            }
        }
        if steps > 0 {
            self.index_packages();
        }
        self.packages.due_ms = self.packages.live.values().map(|live| live.due_ms).min().unwrap_or(i64::MAX);
        steps > 0 || due.len() == STEPS_PER_TURN
    }

    /// Which orders a payer has.
    fn index_packages(&mut self) {
        let Rater { packages: Packages { live, payers, .. }, account_names, .. } = self;
        payers.clear();
        for (key, live) in live.iter().filter(|(_, live)| live.order.period.is_some()) {
            if let Some(account) = account_names.get(&live.order.account) {
                payers.entry(*account).or_default().push(key.clone());
            }
        }
        for keys in payers.values_mut() {
            // Lowest priority number, then earliest expiry, then number (billing.md 5); fees of phones have no gifts.
            keys.sort_by_key(|key| {
                let order = &live[key].order;
                let last = |none: bool| u8::from(none);
                (
                    (last(order.priority.is_none()), order.priority),
                    (last(order.expires_ms.is_none()), order.expires_ms),
                    order.key.parse::<u64>().unwrap_or(u64::MAX),
                )
            });
        }
    }
}
