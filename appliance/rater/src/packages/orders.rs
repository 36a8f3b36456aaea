//! What people do with orders of packages: order, change, cancel.

use rust_decimal::Decimal;
use tandem_leg::Now;
use tandem_rating::error::OutOfRange;
use tandem_rating::money::Money;
use tandem_rating::package::{Ended, GiftRow, NoMoney, Order};
use tandem_rating::record::{Audit, Record};

use super::{Next, ORDERS_MAX, schedule};
use crate::{Output, Rater};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PackageAct {
    /// A package is ordered for an account, or for one of its phones.
    Order {
        /// Account.
        account: String,
        /// Phone of it; empty for every call of the account.
        phone: String,
        /// Package.
        package: String,
        /// First instant, UTC ms; `None` is now.
        effective_ms: Option<i64>,
        /// End, UTC ms; `None` is open.
        expires_ms: Option<i64>,
        /// Among the packages of a call, low first; none is last.
        priority: Option<u32>,
        /// Percent of the rent.
        rent_percent: Decimal,
        /// What a lack of money means.
        no_money: NoMoney,
        /// Who orders.
        user: String,
        /// The asker's key of this order; empty without one. Whoever asks looks first whether an order has it.
        request: String,
    },
    /// Some of it is changed; what is `None` stays.
    Change {
        /// Order.
        key: String,
        /// End, UTC ms; the inner `None` is open.
        expires_ms: Option<Option<i64>>,
        /// The inner `None` is last.
        priority: Option<Option<u32>>,
        /// Percent of the rent, from the next period on.
        rent_percent: Option<Decimal>,
        /// What a lack of money means.
        no_money: Option<NoMoney>,
    },
    /// No period begins any more.
    Cancel {
        /// Order.
        key: String,
        /// The period that runs ends now, with its gifts; its minimum is not asked for and no rent comes back.
        now: bool,
    },
    /// Periods that are due since long are taken after all.
    CatchUp {
        /// Order.
        key: String,
    },
}

/// What an act does, or did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackageDone {
    /// The order afterwards.
    pub order: Order,
    /// In words.
    pub what: String,
    /// Rent of the period that begins next, or began.
    pub rent: Money,
    /// First instant of that period, UTC ms.
    pub from_ms: i64,
    /// Its end, UTC ms.
    pub to_ms: i64,
    /// Its minimum.
    pub minimum: Money,
    /// Its gift money.
    pub gift_money: Money,
    /// Its gift time.
    pub gifts: Vec<GiftRow>,
    /// What the account has, before.
    pub available: Money,
}

fn refused(field: &'static str, value: impl ToString, allowed: impl Into<String>) -> OutOfRange {
    OutOfRange { field, value: value.to_string(), allowed: allowed.into() }
}

impl Rater {
    /// Does what is asked for, or says what it would do when `audit` is `None`.
    ///
    /// # Errors
    /// Field, value and what is allowed; nothing was done then.
    pub fn package(&mut self, now: Now, act: PackageAct, audit: Option<Audit>) -> Result<PackageDone, OutOfRange> {
        let zone = self.rules.zone.clone();
        let (mut order, what) = match act {
            PackageAct::Order { .. } => (self.new_order(now, act)?, "ordered".to_owned()),
            PackageAct::Change { key, expires_ms, priority, rent_percent, no_money } => {
                let mut order = self.live_order(&key)?;
                if let Some(expires_ms) = expires_ms {
                    check_expiry(order.effective_ms.max(now.wall_ms), expires_ms)?;
                    order.expires_ms = expires_ms;
                    if let Some(period) = &mut order.period {
                        period.to_ms = order.next_ms.min(expires_ms.unwrap_or(i64::MAX));
                    }
                }
                order.priority = priority.unwrap_or(order.priority);
                order.no_money = no_money.unwrap_or(order.no_money);
                if let Some(percent) = rent_percent {
                    check_percent(percent)?;
                    order.rent_percent = percent;
                }
                (order, "changed".to_owned())
            }
            PackageAct::Cancel { key, now: at_once } => {
                let mut order = self.live_order(&key)?;
                order.cancel = true;
                match &order.period {
                    Some(period) if !at_once => {
                        let what = format!("cancelled, ends {}", schedule::day_text(&zone, period.to_ms - 1));
                        (order, what)
                    }
                    _ => {
                        (order.period, order.ended) = (None, Some(Ended::Cancelled));
                        (order, "cancelled, over".to_owned())
                    }
                }
            }
            PackageAct::CatchUp { key } => {
                let order = self.live_order_or_fee(&key)?;
                if let Some(live) = self.packages.live.get_mut(&key).filter(|_| audit.is_some()) {
                    live.catch_up = true;
                }
                (order, "periods of long ago are taken".to_owned())
            }
        };
        let account = self.account_names.get(&order.account).and_then(|id| self.accounts.get(id));
        let mut done = PackageDone {
            available: account.map_or(Money::ZERO, |owned| owned.money.available()),
            what,
            ..PackageDone::default()
        };
        match (&order.period, self.packages.offer(&zone, &order)) {
            (Some(period), _) => {
                (done.rent, done.minimum, done.gift_money) = (period.rent, period.minimum, period.gift_money);
                (done.from_ms, done.to_ms, done.gifts) = (period.from_ms, period.to_ms, period.gifts.clone());
            }
            (None, Some(Ok(offer))) if order.ended.is_none() => {
                (done.rent, done.minimum, done.gift_money) = (offer.rent, offer.minimum, offer.gift_money);
                (done.from_ms, done.to_ms, done.gifts) = (order.next_ms, offer.to_ms, offer.gifts);
            }
            (None, Some(Err(error))) => return Err(refused("package", &order.package, error.to_string())),
            (None, _) => {}
        }
        let Some(audit) = audit else {
            done.order = order;
            return Ok(done);
        };
        if order.key.is_empty() {
            self.packages.last += 1;
            order.key = self.packages.last.to_string();
        }
        let key = order.key.clone();
        self.package_event(now.wall_ms, done.what.clone(), order, Vec::new(), Some(Box::new(audit)));
        self.package_step(now, &key);
        self.index_packages();
        let last = self.out.iter().rev().find_map(|output| match output {
            Output::Record(Record::Package(event)) => Some(event),
            _ => None,
        });
        if let Some(event) = last {
            if event.what != done.what {
                done.what = format!("{}; {}", done.what, event.what);
            }
            done.order = event.order.clone();
        }
        Ok(done)
    }

    fn live_order_or_fee(&self, key: &str) -> Result<Order, OutOfRange> {
        let live = self.packages.live.get(key);
        live.map(|live| live.order.clone())
            .ok_or_else(|| refused("order", key, "the number of an order that is not over"))
    }

    fn live_order(&self, key: &str) -> Result<Order, OutOfRange> {
        match self.live_order_or_fee(key)? {
            order if order.is_phone_fee() => {
                Err(refused("order", key, "the number of an order; the fee of a phone is set by `set phone`"))
            }
            order => Ok(order),
        }
    }

    /// An order without a number, checked.
    fn new_order(&self, now: Now, act: PackageAct) -> Result<Order, OutOfRange> {
        let PackageAct::Order {
            account,
            phone,
            package,
            effective_ms,
            expires_ms,
            priority,
            rent_percent,
            no_money,
            user,
            request,
        } = act
        else {
            return Err(refused("order", "", "an order"));
        };
        if self.packages.live.len() >= ORDERS_MAX {
            return Err(refused("order", self.packages.live.len() + 1, format!("at most {ORDERS_MAX} orders")));
        }
        let owned = self.account_names.get(&account).and_then(|id| self.accounts.get(id));
        let owned = owned.ok_or_else(|| refused("account", &account, "an account of the configuration"))?;
        if owned.kind != tandem_call::snapshot::AccountKind::General {
            return Err(refused("account", &account, "an account of kind customer"));
        }
        if self.packages.config.cancelled.contains(&account) {
            return Err(refused("account", &account, "an account that is not cancelled"));
        }
        if !phone.is_empty() && self.packages.config.phones.get(&phone).is_none_or(|fee| fee.account != account) {
            return Err(refused("phone", &phone, format!("a phone of account {account}")));
        }
        if !self.packages.config.packages.contains_key(&package) {
            let known: Vec<&str> = self.packages.config.packages.keys().take(20).map(String::as_str).collect();
            let known = if known.is_empty() { "a package; there is none yet".to_owned() } else { known.join(", ") };
            return Err(refused("package", &package, known));
        }
        let today = schedule::midnight(&self.rules.zone, now.wall_ms);
        let effective_ms = match effective_ms {
            None => now.wall_ms,
            // Today began, and an order for today begins now: nobody pays for hours without it.
            Some(at_ms) if at_ms == today => now.wall_ms,
            Some(at_ms) if at_ms < now.wall_ms => {
                let day = schedule::day_text(&self.rules.zone, at_ms);
                return Err(refused("effective", day, "today or later"));
            }
            Some(at_ms) => at_ms,
        };
        check_expiry(effective_ms, expires_ms)?;
        check_percent(rent_percent)?;
        Ok(Order {
            account,
            phone,
            package,
            effective_ms,
            expires_ms,
            priority,
            rent_percent,
            no_money,
            user,
            next_ms: effective_ms,
            request,
            ..Order::default()
        })
    }

    /// Whether an order that is not over needs the package; its number then.
    pub fn order_of_package(&self, package: &str) -> Option<&str> {
        self.packages.live.iter().find(|(_, live)| live.order.package == package).map(|(key, _)| key.as_str())
    }

    /// Seconds and money that calls in progress hold of an order.
    pub fn package_held(&self, key: &str) -> (i64, Money) {
        let live = self.packages.live.get(key);
        live.map_or((0, Money::ZERO), |live| (live.held_s.iter().sum(), live.money_held))
    }

    /// What stands in the way of an order now, in words.
    pub fn package_stuck(&self, now: Now, key: &str) -> Option<String> {
        match self.packages.next(&self.rules.zone, now.wall_ms, self.packages.live.get(key)?) {
            Next::Stuck(text, _) => Some(text),
            Next::At(_) | Next::Close | Next::End(_) | Next::Begin(_) => None,
        }
    }
}

fn check_expiry(after_ms: i64, expires_ms: Option<i64>) -> Result<(), OutOfRange> {
    match expires_ms {
        Some(at_ms) if at_ms <= after_ms => {
            let text = jiff::Timestamp::from_millisecond(at_ms).map_or_else(|_| at_ms.to_string(), |at| at.to_string());
            Err(refused("expires", text, "after its begin, and not in the past"))
        }
        _ => Ok(()),
    }
}

fn check_percent(percent: Decimal) -> Result<(), OutOfRange> {
    if percent.is_sign_negative() || percent > Decimal::ONE_HUNDRED {
        return Err(refused("rent_percent", percent, "0 to 100"));
    }
    Ok(())
}
