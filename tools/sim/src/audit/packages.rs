//! Packages and fees of phones: every order as it has to be, step by step, from the plan, the calendar and the calls alone.
//!
//! The journal says in which order things happened and when; what each step has to be is worked out here, and compared.

use std::collections::BTreeMap;

use tandem_rating::package::{self, PackageEvent};
use tandem_rating::record::{LedgerKind, LedgerRow};

use super::Auditor;
use super::books::{Books, units};
use super::gifts::Ran;
use crate::machine::Machine;
use crate::plan::{Plan, Version};
use crate::price;
use crate::rent::{self, OrderAct, Poor};
use crate::term;

/// Periods that should have begun longer ago are not taken by themselves, ms (PACKAGES.md: 62 days).
pub(super) const LONG_MS: i64 = 62 * 86_400_000;

/// Gift time as it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Time {
    pub(super) prefixes: Vec<String>,
    pub(super) from_s: i64,
    pub(super) to_s: i64,
    pub(super) gift_s: i64,
    pub(super) cycle_s: i64,
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) number: u64,
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
    pub(super) rent: i128,
    pub(super) minimum: i128,
    pub(super) lower: i128,
    pub(super) money: i128,
    pub(super) gifts: Vec<Time>,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) account: usize,
    pub(super) phone: String,
    pub(super) package: String,
    effective_ms: i64,
    pub(super) expires_ms: Option<i64>,
    pub(super) priority: Option<u32>,
    percent: i128,
    poor: &'static str,
    pub(super) user: String,
    next: u64,
    pub(super) next_ms: i64,
    pub(super) waits: bool,
    pub(super) cancel: bool,
    ended: Option<&'static str>,
    pub(super) period: Option<Period>,
    taken: i128,
}

impl Order {
    /// As the switch has it.
    pub(super) fn said(plan: &Plan, order: &package::Order) -> Result<Order, String> {
        let named = |name: &str| plan.versions[0].accounts.iter().position(|account| account.name == name);
        let gift = |gift: &package::GiftRow| Time {
            prefixes: gift.prefixes.clone(),
            from_s: i64::from(gift.from_s),
            to_s: i64::from(gift.to_s),
            gift_s: gift.gift_s,
            cycle_s: i64::from(gift.cycle_s),
        };
        let period = |period: &package::Period| Period {
            number: period.number,
            from_ms: period.from_ms,
            to_ms: period.to_ms,
            rent: units(period.rent),
            minimum: units(period.minimum),
            lower: units(period.lower),
            money: units(period.gift_money),
            gifts: period.gifts.iter().map(gift).collect(),
        };
        Ok(Order {
            account: named(&order.account).ok_or_else(|| format!("it is of {}, nobody is called so", order.account))?,
            phone: order.phone.clone(),
            package: order.package.clone(),
            effective_ms: order.effective_ms,
            expires_ms: order.expires_ms,
            priority: order.priority,
            percent: price::units(&order.rent_percent.to_string()).unwrap_or(-1),
            poor: order.no_money.as_str(),
            user: order.user.clone(),
            next: order.next,
            next_ms: order.next_ms,
            waits: order.waits,
            cancel: order.cancel,
            ended: order.ended.map(package::Ended::as_str),
            period: order.period.as_ref().map(period),
            taken: units(order.taken),
        })
    }

    fn is_fee(&self) -> bool {
        self.package.is_empty()
    }
}

/// What somebody asked for.
#[derive(Clone, Debug)]
pub(super) struct AskedOrder {
    pub(super) name: String,
    pub(super) act: OrderAct,
    pub(super) at: tandem_leg::Now,
    pub(super) boot: u32,
    pub(super) told: bool,
}

/// All orders while the journal is read.
#[derive(Debug, Default)]
pub(super) struct Desk {
    pub(super) live: BTreeMap<String, Order>,
    pub(super) over: BTreeMap<String, Order>,
    last: u64,
    /// Every period there was; those that run by their order.
    pub(super) ran: Vec<Ran>,
    pub(super) runs: BTreeMap<String, usize>,
    /// When each order wanted its next period, for alarms.
    pub(super) wanted_ms: Vec<(String, i64)>,
    balances: BTreeMap<usize, i128>,
    ledger_at: usize,
}

impl Auditor {
    /// Somebody ordered a package, or wanted something of an order, and whether he was told that it is done.
    pub fn ordered(&mut self, at: tandem_leg::Now, name: &str, act: &OrderAct, told: bool) {
        self.seen.orders += u64::from(told);
        self.office.orders.push(AskedOrder { name: name.to_owned(), act: act.clone(), at, boot: self.boot, told });
    }

    /// Every step of every order, what each call used of it, and what is left.
    pub(super) fn check_packages(&mut self, books: &Books, machine: &Machine) {
        let mut desk = Desk::default();
        let mut found = Vec::new();
        let mut events = books.packages.iter().peekable();
        let mut settled: Vec<(u64, u64)> =
            books.stories.iter().filter_map(|(no, story)| Some((story.settled.as_ref()?.0, *no))).collect();
        settled.sort_unstable();
        let mut settled = settled.into_iter().peekable();
        loop {
            let next_event = events.peek().map_or(u64::MAX, |(seq, ..)| *seq);
            if let Some((seq, flow_no)) = settled.next_if(|(seq, _)| *seq < next_event) {
                if let Err(text) = self.check_uses(&mut desk, seq, flow_no) {
                    found.push(format!("call {flow_no}: {text}"));
                }
            } else if let Some((seq, ledger_at, event)) = events.next() {
                if let Err(text) = self.check_step(&mut desk, *seq, *ledger_at, event, books) {
                    found.push(format!("order {} at {} ({}): {text}", event.order.key, event.at_ms, event.what));
                }
            } else {
                break;
            }
        }
        found.extend(self.check_asked(&desk));
        found.extend(self.check_due(&desk, books, machine));
        if let Err(text) = self.compare_orders(&desk, machine) {
            found.push(text);
        }
        self.seen.periods += desk.ran.len() as u64;
        for text in found {
            self.report("package", None, text);
        }
    }

    /// One step.
    fn check_step(
        &mut self,
        desk: &mut Desk,
        seq: u64,
        ledger_at: usize,
        event: &PackageEvent,
        books: &Books,
    ) -> Result<(), String> {
        for row in &books.ledger[desk.ledger_at..ledger_at] {
            if let Some(at) = self.plan.versions[0].accounts.iter().position(|account| account.name == row.account) {
                *desk.balances.entry(at).or_default() += units(row.amount);
            }
        }
        desk.ledger_at = ledger_at;
        let key = &event.order.key;
        let said = Order::said(&self.plan, &event.order)?;
        let before = desk.live.get(key).cloned();
        let version = self.version_at(books, seq);
        let wanted = match (&before, event.audit.is_some()) {
            (None, true) => vec![self.new_order(desk, key, event.at_ms, &said.user)?],
            (None, false) => vec![self.new_fee(desk, key, event.at_ms, version)?],
            (Some(before), true) => self.acts_on(before, event.at_ms),
            (Some(before), false) => {
                let at = self.time_of(seq);
                let spent = desk.runs.get(key).map_or(0, |n| desk.ran[*n].spent());
                let balance = desk.balances.get(&before.account).copied().unwrap_or(0);
                vec![self.step(before, event.at_ms, at, version, balance, spent, &said)?]
            }
        };
        if !wanted.contains(&said) {
            return Err(format!("{said:?} is on record, {wanted:?} is due, before {before:?}"));
        }
        let taken = said.taken - before.as_ref().map_or(0, |before| before.taken);
        self.check_row(&event.ledger, key, &said, before.as_ref(), taken)?;
        self.put(desk, seq, key, said);
        Ok(())
    }

    /// Puts an order where it was.
    fn put(&mut self, desk: &mut Desk, seq: u64, key: &str, order: Order) {
        let number = |order: Option<&Order>| order.and_then(|order| order.period.as_ref()).map(|period| period.number);
        let before = desk.live.get(key);
        if number(before) != number(Some(&order)) {
            if let Some(n) = desk.runs.remove(key) {
                desk.ran[n].end_seq = seq;
            }
            if let Some(period) = &order.period {
                desk.runs.insert(key.to_owned(), desk.ran.len());
                desk.ran.push(Ran::new(key, &order, period.clone(), seq));
            }
        } else if let Some(n) = desk.runs.get(key) {
            // A change in the middle of a period: what calls held before may be different.
            desk.ran[*n].changed(&order, seq);
        }
        if let Ok(number) = key.parse::<u64>() {
            desk.last = desk.last.max(number);
        }
        desk.wanted_ms.push((key.to_owned(), order.next_ms));
        if order.ended.is_some() {
            desk.live.remove(key);
            desk.over.insert(key.to_owned(), order);
        } else {
            desk.live.insert(key.to_owned(), order);
        }
    }

    /// The one row of a step, or none.
    fn check_row(
        &self,
        rows: &[LedgerRow],
        key: &str,
        order: &Order,
        before: Option<&Order>,
        taken: i128,
    ) -> Result<(), String> {
        let closed = before.and_then(|before| before.period.as_ref()).filter(|_| order.period.is_none());
        let (kind, row_key) = match (closed, &order.period) {
            (Some(period), _) if order.is_fee() => (LedgerKind::PhoneMinimum, format!("min:{key}:{}", period.number)),
            (Some(period), _) => (LedgerKind::PackageMinimum, format!("min:{key}:{}", period.number)),
            (None, Some(period)) if order.is_fee() => (LedgerKind::PhoneRent, format!("rent:{key}:{}", period.number)),
            (None, Some(period)) => (LedgerKind::PackageRent, format!("rent:{key}:{}", period.number)),
            (None, None) => (LedgerKind::PackageRent, String::new()),
        };
        let name = &self.plan.versions[0].accounts[order.account].name;
        let fits = |row: &LedgerRow| {
            row.kind == kind && row.key == row_key && row.account == *name && units(row.amount) == -taken
        };
        match rows {
            [] if taken == 0 => Ok(()),
            [row] if taken != 0 && fits(row) => Ok(()),
            _ => Err(format!("{} is due under {row_key}, booked is {rows:?}", price::text(taken))),
        }
    }

    /// An order that somebody just made.
    fn new_order(&self, desk: &Desk, key: &str, at_ms: i64, user: &str) -> Result<Order, String> {
        if key != (desk.last + 1).to_string() {
            return Err(format!("it is number {key} behind {}", desk.last));
        }
        let asked = self.office.orders.iter().find(|asked| asked.name == user && matches!(asked.act, OrderAct::New(_)));
        let Some(AskedOrder { act: OrderAct::New(order), at, .. }) = asked else {
            return Err("nobody ordered it".to_owned());
        };
        if at.wall_ms != at_ms {
            return Err(format!("it was ordered at {}", at.wall_ms));
        }
        if desk.live.values().chain(desk.over.values()).any(|other| other.user == user) {
            return Err("it was ordered once".to_owned());
        }
        let begins_ms = at_ms + order.after_ms;
        Ok(Order {
            account: order.account,
            phone: order.phone.map(rent::house_number).unwrap_or_default(),
            package: order.package.clone(),
            effective_ms: begins_ms,
            expires_ms: order.for_ms.map(|for_ms| at_ms + for_ms),
            priority: order.priority,
            percent: i128::from(order.percent) * price::UNITS,
            poor: match order.poor {
                Poor::Wait => "wait",
                Poor::Next => "next",
                Poor::Delete => "delete",
            },
            user: user.to_owned(),
            next: 0,
            next_ms: begins_ms,
            waits: false,
            cancel: false,
            ended: None,
            period: None,
            taken: 0,
        })
    }

    /// The fee of a phone that has none yet: from the next month on.
    fn new_fee(&self, desk: &Desk, key: &str, at_ms: i64, version: &Version) -> Result<Order, String> {
        let number = key.strip_prefix("phone:").ok_or("nobody ordered it")?;
        let n = (0..version.phones.len()).find(|n| rent::house_number(*n) == number).ok_or("there is no such phone")?;
        let phone = &version.phones[n];
        if phone.rent == 0 && phone.minimum == 0 {
            return Err("that phone has no fee".to_owned());
        }
        let (mut next, mut next_ms) = term::next_month(self.plan.zone, at_ms);
        let over = desk.over.get(key);
        if let Some(over) = over {
            (next, next_ms) = (next, next_ms).max((over.next, over.next_ms));
        }
        Ok(Order {
            account: phone.account,
            phone: number.to_owned(),
            package: String::new(),
            effective_ms: next_ms,
            expires_ms: None,
            priority: None,
            percent: 100 * price::UNITS,
            poor: "wait",
            user: String::new(),
            next,
            next_ms,
            waits: false,
            cancel: false,
            ended: None,
            period: None,
            taken: over.map_or(0, |over| over.taken),
        })
    }

    /// What somebody made of an order: any of those who asked then.
    fn acts_on(&self, before: &Order, at_ms: i64) -> Vec<Order> {
        let asked = self.office.orders.iter();
        asked
            .filter(|asked| asked.at.wall_ms == at_ms && asked.act.of() == Some(before.user.as_str()))
            .filter_map(|asked| {
                let mut order = before.clone();
                match &asked.act {
                    OrderAct::New(_) => return None,
                    OrderAct::Expire(_, for_ms) => {
                        order.expires_ms = for_ms.map(|for_ms| at_ms + for_ms);
                        if let Some(period) = &mut order.period {
                            period.to_ms = order.next_ms.min(order.expires_ms.unwrap_or(i64::MAX));
                        }
                    }
                    OrderAct::Priority(_, priority) => order.priority = *priority,
                    OrderAct::Cancel(_, now) => {
                        order.cancel = true;
                        if *now || order.period.is_none() {
                            (order.period, order.ended) = (None, Some("cancelled"));
                        }
                    }
                    OrderAct::CatchUp(_) => {}
                }
                Some(order)
            })
            .collect()
    }

    /// What an order does by itself. Only which of several things happens for lack of money is taken from what happened, and judged.
    #[allow(clippy::too_many_arguments)]
    fn step(
        &self,
        before: &Order,
        at_ms: i64,
        at: tandem_leg::Time,
        version: &Version,
        balance: i128,
        spent: i128,
        said: &Order,
    ) -> Result<Order, String> {
        let mut order = before.clone();
        if let Some(period) = order.period.take() {
            if at_ms < period.to_ms {
                return Err(format!("its period lasts until {}", period.to_ms));
            }
            order.taken += (period.minimum - spent).max(0);
            order.ended = before.cancel.then_some("cancelled");
            return Ok(order);
        }
        if order.expires_ms.is_some_and(|expires_ms| order.next_ms >= expires_ms) {
            return Ok(Order { ended: Some("expired"), ..order });
        }
        let Some((package, once)) = term::package_of(version, &order.package, &order.phone) else {
            return Ok(Order { ended: Some("gone"), ..order });
        };
        if once && order.next > 0 {
            return Ok(Order { ended: Some("expired"), ..order });
        }
        if at_ms < order.next_ms {
            return Err(format!("its next period begins at {}", order.next_ms));
        }
        let asked =
            |asked: &AskedOrder| matches!(asked.act, OrderAct::CatchUp(_)) && asked.act.of() == Some(&order.user);
        if at_ms - order.next_ms > LONG_MS && !self.office.orders.iter().any(asked) {
            return Err(format!("that period was due at {}, too long ago", order.next_ms));
        }
        let zone = self.plan.zone;
        let offer = term::offer(zone, &package, &version.billing, order.percent, order.effective_ms, order.next_ms);
        if said.period.is_some() || order.is_fee() || offer.rent == 0 {
            if !order.is_fee() && offer.rent > 0 && balance + version.accounts[order.account].limit < offer.rent {
                return Err(format!("{} is there, the rent is {}", price::text(balance), price::text(offer.rent)));
            }
            let to_ms = order.expires_ms.map_or(offer.to_ms, |expires_ms| expires_ms.min(offer.to_ms));
            let gift = |(gift, gift_s): (&rent::GiftTime, &i64)| Time {
                prefixes: gift.prefixes.iter().map(|prefix| (*prefix).to_owned()).collect(),
                from_s: gift.from_s,
                to_s: gift.to_s,
                gift_s: *gift_s,
                cycle_s: gift.cycle_s,
            };
            order.period = Some(Period {
                number: order.next,
                from_ms: order.next_ms,
                to_ms,
                rent: offer.rent,
                minimum: offer.minimum,
                lower: offer.lower,
                money: offer.money,
                gifts: package.gifts.iter().zip(&offer.gifts_s).map(gift).collect(),
            });
            order.next += 1;
            (order.next_ms, order.waits) = (offer.to_ms, false);
            order.taken += offer.rent;
            return Ok(order);
        }
        // Calls in progress hold money, which this does not know to the unit.
        let available = balance + version.accounts[order.account].limit;
        if available >= offer.rent && !self.has_calls(order.account, at) {
            return Err(format!("{} is there, the rent is {}", price::text(available), price::text(offer.rent)));
        }
        Ok(match order.poor {
            "wait" if offer.to_ms > at_ms => Order { waits: true, ..order },
            "wait" | "next" => Order { waits: true, next_ms: offer.to_ms, ..order },
            _ => Order { ended: Some("no_money"), ..order },
        })
    }

    /// The version of the configuration in force at a place of the journal.
    pub(super) fn version_at(&self, books: &Books, seq: u64) -> &Version {
        let version = books.versions.iter().take_while(|(at, _)| *at <= seq).last().map_or(1, |(_, version)| *version);
        &self.plan.versions[version as usize - 1]
    }
}
