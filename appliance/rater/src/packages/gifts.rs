//! What packages hold for calls in progress, and what calls used in the end (billing.md 5).
//!
//! A call holds gift time as it holds money: for the seconds it was granted, and more at each renewal, so that parallel calls
//! never spend the same second. What it did not use goes back when it ends.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use tandem_call::snapshot::AccountId;
use tandem_rating::fee::{BillingParams, Charge, Tariff, rate_tariff};
use tandem_rating::gift::{Gift, needed, whole_cycles};
use tandem_rating::money::Money;
use tandem_rating::package::{GiftUse, Period, matching};
use tandem_rating::text::Text;

use super::{Live, Packages, schedule};

/// Held for one leg of a call.
#[derive(Debug, Default)]
pub(crate) struct Held {
    phone: Text,
    number: Text,
    /// Gift time, in the order in which it is used; each names its order, period and row.
    pub(crate) gifts: Vec<Gift>,
    /// Gift money: order, period, amount.
    pub(crate) money: Vec<(String, u64, Money)>,
}

impl Held {
    pub(crate) fn new(phone: &Text, number: &Text) -> Held {
        Held { phone: phone.clone(), number: number.clone(), ..Held::default() }
    }

    /// What it has of a period.
    pub(crate) fn of(&self, order: &str, period: u64) -> (Vec<Gift>, Money) {
        let is_of =
            |gift: &&Gift| gift_of(&gift.package).is_some_and(|(of, number, _)| of == order && number == period);
        let money = self.money.iter().find(|(of, number, _)| of == order && *number == period);
        (self.gifts.iter().filter(is_of).cloned().collect(), money.map_or(Money::ZERO, |(_, _, amount)| *amount))
    }

    /// All gift money.
    pub(crate) fn gift_money(&self) -> Money {
        self.money.iter().fold(Money::ZERO, |sum, (_, _, amount)| sum.checked_add(*amount).unwrap_or(sum))
    }
}

/// Held seconds up to which packages are asked.
pub(crate) fn target_s(from_s: i64, advance_min: u32) -> i64 {
    from_s.saturating_add(i64::from(advance_min) * 60)
}

/// Names a gift: order, period and row.
fn gift_name(order: &str, period: u64, row: usize) -> Text {
    format!("{order}/{period}/{row}").into()
}

/// Takes the name of a gift apart.
fn gift_of(name: &str) -> Option<(&str, u64, usize)> {
    let mut parts = name.rsplitn(3, '/');
    let (row, period) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some((parts.next()?, period, row))
}

impl Live {
    /// The period, when it is this one.
    fn period(&self, number: u64) -> Option<&Period> {
        self.order.period.as_ref().filter(|period| period.number == number)
    }

    /// Whether its calls cost what its gifts wait for, and a call answered at that time is one of its period.
    fn gives(&self, period: &Period, connect_ms: i64) -> bool {
        self.spent >= period.lower && (period.from_ms..period.to_ms).contains(&connect_ms)
    }
}

impl Packages {
    /// Whether calls of the account have to ask for packages.
    pub(crate) fn serves(&self, account: AccountId) -> bool {
        self.payers.contains_key(&account)
    }

    /// Holds what a leg takes to last until `target_s`, besides what it holds already. `tariff` is without packages.
    pub(crate) fn hold(
        &mut self,
        zone: &TimeZone,
        held: &mut Held,
        account: AccountId,
        target_s: i64,
        tariff: &Tariff<'_>,
        params: &BillingParams,
    ) {
        if tariff.is_free() {
            return;
        }
        let Packages { payers, live, .. } = self;
        let keys = payers.get(&account).map_or(&[][..], Vec::as_slice);
        let second_s = schedule::second_of_day(zone, tariff.connect_ms);
        let mut left_s = target_s.saturating_sub(i64::from(params.free_s)).max(0);
        let before = std::mem::take(&mut held.gifts);
        let runs = |live: &BTreeMap<String, Live>, order: &str, number: u64| {
            live.get(order).is_some_and(|live| live.period(number).is_some())
        };
        // What it has of periods that are over is used first: nobody else can.
        for gift in &before {
            if gift_of(&gift.package).is_none_or(|(order, number, _)| !runs(live, order, number)) {
                left_s -= needed(left_s, gift.cycle_s).unwrap_or(i64::MAX).min(gift.left_s).min(left_s);
                held.gifts.push(gift.clone());
            }
        }
        for key in keys {
            let Some(one) = live.get_mut(key) else { continue };
            let Some(period) = one.order.period.clone().filter(|_| is_of(one, &held.phone)) else { continue };
            let gives = one.gives(&period, tariff.connect_ms);
            for row in matching(&period.gifts, &held.number, second_s) {
                let name = gift_name(key, period.number, row);
                let has_s = before.iter().find(|gift| gift.package == name).map_or(0, |gift| gift.left_s);
                let gift = &period.gifts[row];
                let (Some(used_s), Some(held_s)) = (one.used_s.get(row), one.held_s.get_mut(row)) else { continue };
                let free_s = if gives { gift.gift_s - used_s - *held_s } else { 0 };
                let can_s = whole_cycles(has_s + free_s.max(0), gift.cycle_s).max(has_s);
                let take_s = needed(left_s, gift.cycle_s).unwrap_or(i64::MAX).min(can_s).max(has_s);
                *held_s += take_s - has_s;
                left_s -= take_s.min(left_s);
                if take_s > 0 {
                    held.gifts.push(Gift { package: name, cycle_s: gift.cycle_s, left_s: take_s });
                }
            }
        }
        self.hold_money(held, account, target_s, tariff, params);
    }

    /// Gift money for what gift time leaves to be paid.
    fn hold_money(
        &mut self,
        held: &mut Held,
        account: AccountId,
        target_s: i64,
        tariff: &Tariff<'_>,
        params: &BillingParams,
    ) {
        let Packages { payers, live, .. } = self;
        let keys = payers.get(&account).map_or(&[][..], Vec::as_slice);
        let money = |live: &Live| live.order.period.as_ref().is_some_and(|period| !period.gift_money.is_zero());
        if !keys.iter().any(|key| live.get(key).is_some_and(money)) {
            return;
        }
        let tariff = Tariff { gifts: &held.gifts, gift_money: Money::ZERO, ..*tariff };
        // A fee that cannot be worked out is refused by who asks for money next.
        let cost =
            rate_tariff(target_s.saturating_mul(1000), &tariff, params).ok().and_then(|charge| charge.due().ok());
        let mut left = cost.unwrap_or_default().checked_sub(held.gift_money()).unwrap_or_default();
        for key in keys {
            let Some(one) = live.get_mut(key) else { continue };
            let Some(period) = one.order.period.clone().filter(|_| is_of(one, &held.phone)) else { continue };
            if left <= Money::ZERO || !one.gives(&period, tariff.connect_ms) {
                continue;
            }
            let taken = one.money.checked_add(one.money_held).unwrap_or(period.gift_money);
            let take = left.min(period.gift_money.checked_sub(taken).unwrap_or_default());
            if take <= Money::ZERO {
                continue;
            }
            one.money_held = one.money_held.checked_add(take).unwrap_or(one.money_held);
            left = left.checked_sub(take).unwrap_or_default();
            match held.money.iter_mut().find(|(order, number, _)| order == key && *number == period.number) {
                Some((_, _, amount)) => *amount = amount.checked_add(take).unwrap_or(*amount),
                None => held.money.push((key.clone(), period.number, take)),
            }
        }
    }

    /// Takes back what a leg holds.
    pub(crate) fn give_back(&mut self, held: &Held) {
        for gift in &held.gifts {
            let Some((order, number, row)) = gift_of(&gift.package) else { continue };
            let Some(live) = self.live.get_mut(order).filter(|live| live.period(number).is_some()) else { continue };
            if let Some(held_s) = live.held_s.get_mut(row) {
                debug_assert!(*held_s >= gift.left_s, "gift time of order {order} came back twice");
                *held_s = (*held_s - gift.left_s).max(0);
            }
        }
        for (order, number, amount) in &held.money {
            if let Some(live) = self.live.get_mut(order).filter(|live| live.period(*number).is_some()) {
                live.money_held = live.money_held.checked_sub(*amount).unwrap_or_default().max(Money::ZERO);
            }
        }
    }

    /// Whether a call of another life held something of a period that ended in that life.
    pub(crate) fn kept(&self, flow_no: u64) -> bool {
        self.kept.contains_key(&flow_no)
    }

    /// Gives a leg of such a call what it held.
    pub(crate) fn keep(&self, held: &mut Held, flow_no: u64, leg: usize) {
        let of_call = self.kept.get(&flow_no).map_or(&[][..], Vec::as_slice);
        for (order, one) in of_call.iter().filter(|(_, one)| one.leg == leg) {
            held.gifts.extend(one.gifts.iter().cloned());
            if !one.money.is_zero() {
                held.money.push((order.clone(), one.period, one.money));
            }
        }
    }

    /// A leg is charged, or was not (`charge` is `None`): what it held comes back without what it used. Tells that, and what
    /// the balance paid where it counts for a minimum.
    pub(crate) fn settle(
        &mut self,
        account: AccountId,
        phone: &str,
        held: Option<&Held>,
        charge: Option<&Charge>,
    ) -> Vec<GiftUse> {
        let mut uses: BTreeMap<(String, u64), GiftUse> = BTreeMap::new();
        let mut of = |order: &str, period: u64, count: &dyn Fn(&mut GiftUse)| {
            let new = || GiftUse { order: order.to_owned(), period, ..GiftUse::default() };
            count(uses.entry((order.to_owned(), period)).or_insert_with(new));
        };
        if let Some(held) = held {
            self.give_back(held);
            let used = charge.map_or(&[][..], |charge| &charge.gift_used_s);
            for (gift, used_s) in held.gifts.iter().zip(used).filter(|(_, used_s)| **used_s > 0) {
                let Some((order, number, row)) = gift_of(&gift.package) else { continue };
                let live = self.live.get_mut(order).filter(|live| live.period(number).is_some());
                if let Some(sum_s) = live.and_then(|live| live.used_s.get_mut(row)) {
                    *sum_s += used_s;
                }
                of(order, number, &|one| one.gifts.push((row, *used_s)));
            }
            let mut left = charge.map_or(Money::ZERO, |charge| charge.suite_fee);
            for (order, number, amount) in held.money.iter().filter(|_| charge.is_some()) {
                let paid = left.min(*amount);
                if paid <= Money::ZERO {
                    continue;
                }
                left = left.checked_sub(paid).unwrap_or_default();
                if let Some(live) = self.live.get_mut(order).filter(|live| live.period(*number).is_some()) {
                    live.money = live.money.checked_add(paid).unwrap_or(live.money);
                }
                of(order, *number, &|one| one.money = paid);
            }
        }
        let due = charge.and_then(|charge| charge.due().ok()).unwrap_or_default();
        let keys = self.payers.get(&account).map_or(&[][..], Vec::as_slice);
        for key in keys.iter().filter(|_| !due.is_zero()) {
            let Some(live) = self.live.get_mut(key).filter(|live| is_of(live, phone)) else { continue };
            let counts = |period: &&Period| !period.minimum.is_zero() || !period.lower.is_zero();
            if let Some(number) = live.order.period.as_ref().filter(counts).map(|period| period.number) {
                live.spent = live.spent.checked_add(due).unwrap_or(live.spent);
                of(key, number, &|one| one.spent = due);
            }
        }
        uses.into_values().collect()
    }
}

/// Whether calls of this phone are the order's.
fn is_of(live: &Live, phone: &str) -> bool {
    live.order.phone.is_empty() || live.order.phone == phone
}
