//! The steps of an order: a period begins with its rent, ends with what is missing to its minimum, an order ends.

use tandem_leg::Now;
use tandem_rating::money::Money;
use tandem_rating::package::{Ended, NoMoney, Order, PackageEvent, Period, StillHeld};
use tandem_rating::record::{Audit, LedgerKind, LedgerRow, Record};

use super::{Next, Offer, RETRY_MS, schedule};
use crate::{Output, PayError, Rater};

impl Rater {
    /// One step of an order; false when none is due.
    pub(super) fn package_step(&mut self, now: Now, key: &str) -> bool {
        let zone = self.rules.zone.clone();
        let Some(live) = self.packages.live.get(key) else { return false };
        let mut order = live.order.clone();
        match self.packages.next(&zone, now.wall_ms, live) {
            Next::At(due_ms) => {
                self.package_later(key, due_ms);
                false
            }
            Next::Stuck(text, due_ms) => {
                self.package_later(key, due_ms);
                if self.packages.live.get_mut(key).is_some_and(|live| !std::mem::replace(&mut live.told, true)) {
                    self.out.push_back(Output::Alarm(text));
                }
                false
            }
            Next::End(ended) => {
                order.ended = Some(ended);
                self.package_event(now.wall_ms, format!("over: {}", ended.as_str()), order, Vec::new(), None);
                true
            }
            Next::Close => self.package_close(now, order, None),
            Next::Begin(offer) => self.package_begin(now, order, &offer),
        }
    }

    /// Looks at an order again later.
    fn package_later(&mut self, key: &str, due_ms: i64) {
        if let Some(live) = self.packages.live.get_mut(key) {
            live.due_ms = due_ms;
        }
    }

    fn package_begin(&mut self, now: Now, mut order: Order, offer: &Offer) -> bool {
        let zone = self.rules.zone.clone();
        if let Some(fee) = self.packages.config.phones.get(&order.phone) {
            // Of the account that the phone belongs to now.
            order.account.clone_from(&fee.account);
        }
        let Some(account) = self.account_names.get(&order.account).copied() else {
            order.ended = Some(Ended::Gone);
            self.package_event(now.wall_ms, "over: the account is gone".to_owned(), order, Vec::new(), None);
            return true;
        };
        let available = self.accounts.get(&account).map_or(Money::ZERO, |owned| owned.money.available());
        let days = schedule::days_text(&zone, order.next_ms, offer.to_ms);
        // A phone's fee is owed like a minimum; a package is bought (rates.md 10).
        if !offer.rent.is_zero() && available < offer.rent && !order.is_phone_fee() {
            let lacks = format!("{days}: {available} available, the rent is {}", offer.rent);
            let missed = offer.to_ms <= now.wall_ms;
            match order.no_money {
                NoMoney::Wait if !missed => {
                    if !order.waits {
                        order.waits = true;
                        self.package_event(now.wall_ms, format!("waits, {lacks}"), order.clone(), Vec::new(), None);
                    }
                    self.package_later(&order.key, offer.to_ms.min(now.wall_ms.saturating_add(RETRY_MS)));
                    return false;
                }
                NoMoney::Wait | NoMoney::Next => {
                    order.waits = true;
                    order.next_ms = offer.to_ms;
                    order.next += u64::from(order.is_phone_fee());
                    self.package_event(now.wall_ms, format!("left out, {lacks}"), order, Vec::new(), None);
                    return true;
                }
                NoMoney::Delete => {
                    order.ended = Some(Ended::NoMoney);
                    self.package_event(now.wall_ms, format!("over, {lacks}"), order, Vec::new(), None);
                    return true;
                }
            }
        }
        let number = order.next;
        let kind = if order.is_phone_fee() { LedgerKind::PhoneRent } else { LedgerKind::PackageRent };
        let Ok(row) = self.package_row(now, &order, kind, format!("rent:{}:{number}", order.key), offer.rent, &days)
        else {
            self.package_later(&order.key, now.wall_ms.saturating_add(RETRY_MS));
            return false;
        };
        let to_ms = order.expires_ms.map_or(offer.to_ms, |expires_ms| expires_ms.min(offer.to_ms));
        order.period = Some(Period {
            number,
            from_ms: order.next_ms,
            to_ms,
            rent: offer.rent,
            minimum: offer.minimum,
            lower: offer.lower,
            gift_money: offer.gift_money,
            gifts: offer.gifts.clone(),
        });
        order.next = number + 1;
        order.next_ms = offer.to_ms;
        order.waits = false;
        order.taken = order.taken.checked_add(offer.rent).unwrap_or(order.taken);
        self.package_event(now.wall_ms, format!("period {days} begins"), order, row.into_iter().collect(), None);
        true
    }

    /// Ends the period that runs and takes what is missing to its minimum.
    fn package_close(&mut self, now: Now, mut order: Order, audit: Option<Box<Audit>>) -> bool {
        let zone = self.rules.zone.clone();
        let Some(period) = order.period.take() else { return false };
        let spent = self.packages.live.get(&order.key).map_or(Money::ZERO, |live| live.spent);
        let missing = period.minimum.checked_sub(spent).unwrap_or_default().max(Money::ZERO);
        let kind = if order.is_phone_fee() { LedgerKind::PhoneMinimum } else { LedgerKind::PackageMinimum };
        let days = schedule::days_text(&zone, period.from_ms, period.to_ms);
        let memo = format!("{days}, {spent} of {}", period.minimum);
        let key = format!("min:{}:{}", order.key, period.number);
        let Ok(row) = self.package_row(now, &order, kind, key, missing, &memo) else {
            self.package_later(&order.key, now.wall_ms.saturating_add(RETRY_MS));
            return false;
        };
        order.taken = order.taken.checked_add(missing).unwrap_or(order.taken);
        if order.cancel {
            order.ended = Some(Ended::Cancelled);
        }
        let held = self.still_held(&order.key, period.number);
        order.still_held.extend(held);
        self.package_event(now.wall_ms, format!("period {memo} ends"), order, row.into_iter().collect(), audit);
        true
    }

    /// What calls hold of the period that runs. Of calls that still ring nothing: period and hours are those of the answer.
    fn still_held(&self, order: &str, period: u64) -> Vec<StillHeld> {
        let live = self.packages.live.get(order);
        if !live.is_some_and(|live| !live.money_held.is_zero() || live.held_s.iter().any(|held_s| *held_s > 0)) {
            return Vec::new();
        }
        let mut all = Vec::new();
        for (flow_no, state) in self.calls.iter().filter(|(_, state)| state.started) {
            for (leg, hold) in state.holds.iter().enumerate() {
                let Some(held) = &hold.held else { continue };
                let (gifts, money) = held.of(order, period);
                if !gifts.is_empty() || !money.is_zero() {
                    all.push(StillHeld { flow_no: *flow_no, leg, period, gifts, money });
                }
            }
        }
        // In the order of the calls, so that the same run makes the same record.
        all.sort_unstable_by_key(|held| (held.flow_no, held.leg));
        all
    }

    /// Takes money for an order; no row for nothing.
    fn package_row(
        &mut self,
        now: Now,
        order: &Order,
        kind: LedgerKind,
        key: String,
        amount: Money,
        memo: &str,
    ) -> Result<Option<LedgerRow>, PayError> {
        if amount.is_zero() {
            return Ok(None);
        }
        let of = if order.is_phone_fee() {
            format!("phone {}", order.phone)
        } else {
            format!("package {}, order {}", order.package, order.key)
        };
        let taken = amount.checked_neg().map_err(|_| PayError::Overflow)?;
        let memo = format!("{of}, {memo}");
        let row = match self.account_names.get(&order.account).copied() {
            Some(account) => self.move_balance(now.wall_ms, account, kind, taken, key, "", &memo),
            None => Err(PayError::NoAccount),
        };
        if let Err(error) = &row {
            self.out.push_back(Output::Alarm(format!("order {} of {}: {error}", order.key, order.account)));
        }
        row.map(Some)
    }

    /// Puts the order in the place of what it was, on record.
    pub(super) fn package_event(
        &mut self,
        at_ms: i64,
        what: String,
        mut order: Order,
        ledger: Vec<LedgerRow>,
        audit: Option<Box<Audit>>,
    ) {
        order.still_held.retain(|held| self.calls.contains_key(&held.flow_no));
        let account = self.account_names.get(&order.account).copied();
        let moved = !ledger.is_empty();
        let event = PackageEvent { at_ms, what, order: order.clone(), ledger, audit };
        self.out.push_back(Output::Record(Record::Package(Box::new(event))));
        if let Some(account) = account.filter(|_| moved) {
            self.watch(account);
        }
        if order.ended.is_some() {
            self.packages.live.remove(&order.key);
            if order.is_phone_fee() {
                self.packages.fees_over.insert(order.key.clone(), order);
            }
            return;
        }
        let live = self.packages.live.entry(order.key.clone()).or_default();
        let number = |order: &Order| order.period.as_ref().map(|period| period.number);
        if number(&live.order) != number(&order) {
            // Calls that hold gifts of a period that is over give them back to nobody.
            let gifts = order.period.as_ref().map_or(0, |period| period.gifts.len());
            (live.used_s, live.held_s) = (vec![0; gifts], vec![0; gifts]);
            (live.money, live.money_held, live.spent) = Default::default();
            // Caught up: the next gap is asked about again.
            live.catch_up &= order.period.as_ref().is_none_or(|period| period.to_ms <= at_ms);
        }
        live.order = order;
        (live.due_ms, live.told) = (i64::MIN, false);
        self.packages.due_ms = i64::MIN;
    }
}
