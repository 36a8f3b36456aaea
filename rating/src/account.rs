//! The money of one account while calls run: what a balance buys, and the reservations that keep
//! parallel calls from spending it twice (accounts.md sections 4 and 5, the pattern of RFC 8506).
//!
//! The rating thread owns every [`Account`] and keeps one [`Reservation`] per call and account. A
//! reservation is not `Clone`: it is given out by [`Account::admit`] and ends in
//! [`Account::settle`] or [`Account::release`], so it cannot be released twice.
//!
//! As long as a call ends by its granted second, its charge is at most its reservation, and the
//! balance never falls below the negative limit.

use serde::{Deserialize, Serialize};

use crate::error::{BillingError, OutOfRange};
use crate::fee::{BillingParams, Charge, Tariff, cost_of, in_order};
use crate::money::{Money, MoneyError};

/// Advance times that may be set, in minutes (SERVER_BILLING_PREVENT_OVERDRAFT_ADVANCE_TIME).
pub const ADVANCE_MIN_RANGE: std::ops::RangeInclusive<u32> = 1..=15;
/// Seconds before the end of a grant at which it is renewed (accounts.md section 5).
pub const RENEW_BEFORE_S: i64 = 10;
/// "Unlimited", in seconds: thirty million years. Times 1000 it still fits an `i64` of ms with any
/// wall clock added to it.
pub const UNLIMITED_S: i64 = 1_000_000_000_000_000;

/// Money of one account. The invariant of the rating thread: `reserved` is the sum of the
/// reservations that are out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// What is there; below zero for a postpaid account.
    pub balance: Money,
    /// Overdraft, 0 or more.
    pub limit: Money,
    /// Held for running calls.
    pub reserved: Money,
}

/// How long a balance lasts for one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxHold {
    /// The call costs nothing, or the balance outlasts [`UNLIMITED_S`]; other limits apply.
    Unlimited,
    /// Held seconds, free time included; always the end of a block.
    Seconds(i64),
    /// Not one block can be paid: the call is refused, even when there is free time.
    NotOneBlock,
}

/// Until when a call may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Held seconds that are paid for: tear down at answer + this, never later.
    pub until_s: i64,
    /// The final grant: more money must come in before the next renewal can lift it.
    pub last: bool,
}

impl Grant {
    /// Held second at which to ask for more: 10 s before the end, half-way in a grant below 20 s.
    pub fn renew_at_s(&self) -> i64 {
        if self.until_s < 2 * RENEW_BEFORE_S { self.until_s / 2 } else { self.until_s - RENEW_BEFORE_S }
    }
}

/// Money of one account held for one call.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a reservation that is dropped stays reserved: settle or release it"]
pub struct Reservation {
    grant: Grant,
    amount: Money,
    free: bool,
}

impl Reservation {
    /// For a payer that is not asked (FREE_E164S): holds nothing and never ends.
    pub fn nothing() -> Reservation {
        Reservation { grant: Grant { until_s: UNLIMITED_S, last: false }, amount: Money::ZERO, free: true }
    }

    /// Until when the call may run.
    pub fn grant(&self) -> Grant {
        self.grant
    }

    /// What is held.
    pub fn amount(&self) -> Money {
        self.amount
    }

    /// True when the call costs nothing, so that no renewal is needed.
    pub fn is_unlimited(&self) -> bool {
        self.free
    }
}

/// Why a call was not admitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Nothing available at all (accounts.md section 3, step 6); also refuses a call at rate 0.
    #[error("no money: {available} available")]
    NoMoney {
        /// What was available.
        available: Money,
    },
    /// The first grant cannot be paid.
    #[error("balance insufficient: {available} available, {needed} needed for the first grant")]
    Insufficient {
        /// What was available.
        available: Money,
        /// What the first grant costs.
        needed: Money,
    },
    /// The leg cannot be rated.
    #[error(transparent)]
    Billing(#[from] BillingError),
}

/// What settling a call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Fee and tax without what gift money pays, taken from the balance.
    pub charged: Money,
    /// Part of the reservation that was not needed.
    pub unused: Money,
    /// Charge beyond the reservation; not zero only when the call ran past its grant. It is
    /// charged all the same, and worth an alarm.
    pub beyond: Money,
}

impl Account {
    /// What new calls may use: balance + limit - reserved.
    pub fn available(&self) -> Money {
        Money::from_units_clamped(self.balance.units() + self.limit.units() - self.reserved.units())
    }

    /// Asks for the first grant of a call: checks and reserves in one step, or changes nothing.
    ///
    /// Reserved is the cost, tax included, of `free_s + advance_min` minutes; the grant is that
    /// time rounded down to the end of a block, but at least one block. A call that costs nothing
    /// reserves nothing and has no end.
    pub fn admit<'a>(
        &mut self,
        tariff: impl Into<Tariff<'a>>,
        params: &BillingParams,
        advance_min: u32,
    ) -> Result<Reservation, Refused> {
        let tariff = &tariff.into();
        let advance_s = advance_s(advance_min)?;
        let target_s = i64::from(params.free_s) + advance_s;
        // Rated first, so that a broken row is refused as such and not as a lack of money.
        let needed = cost_of(target_s, tariff, params)?;
        let available = self.available();
        // What packages pay whole needs no money of the account.
        let gift = !tariff.gifts.is_empty() || tariff.gift_money > Money::ZERO;
        if available <= Money::ZERO && !(gift && needed.is_zero()) {
            return Err(Refused::NoMoney { available });
        }
        if tariff.is_free() {
            return Ok(Reservation::nothing());
        }
        if !needed.is_zero() && available < needed {
            return Err(Refused::Insufficient { available, needed });
        }
        self.reserved = self.reserved.checked_add(needed).map_err(BillingError::from)?;
        Ok(Reservation {
            grant: Grant { until_s: Blocks::of(tariff, params).end_within(target_s), last: false },
            amount: needed,
            free: false,
        })
    }

    /// Makes a reservation anew for other terms, as if the call were admitted with them now: a deck changed between the
    /// admission and the answer. What the account can no longer pay shortens the grant (marked `last`), to nothing if need
    /// be; it never brings the balance below the limit. Errors: a value out of range; the reservation is then empty.
    pub fn reprice<'a>(
        &mut self,
        reservation: &mut Reservation,
        tariff: impl Into<Tariff<'a>>,
        params: &BillingParams,
        advance_min: u32,
    ) -> Result<Grant, BillingError> {
        let tariff = tariff.into();
        self.reserved = self.reserved_without(reservation.amount);
        // The free time is granted without money, as at the admission: a renewal reaches from its end.
        let until_s = i64::from(params.free_s);
        *reservation = Reservation { grant: Grant { until_s, last: true }, amount: Money::ZERO, free: false };
        if tariff.is_free() {
            *reservation = Reservation::nothing();
            return Ok(reservation.grant);
        }
        self.renew(reservation, tariff, params, advance_min)
    }

    /// Asks for more time: `advance_min` minutes more than the last grant when the account can pay
    /// them, otherwise the longest time it can pay, marked `last`.
    ///
    /// A grant is never taken back: what was promised is reserved, even when the balance was
    /// lowered since. Asking again after the last grant lifts it when a payment came in. Errors: a
    /// value out of range; the reservation is then as before.
    pub fn renew<'a>(
        &mut self,
        reservation: &mut Reservation,
        tariff: impl Into<Tariff<'a>>,
        params: &BillingParams,
        advance_min: u32,
    ) -> Result<Grant, BillingError> {
        let tariff = &tariff.into();
        let advance_s = advance_s(advance_min)?;
        if reservation.free {
            return Ok(reservation.grant);
        }
        let held = reservation.grant.until_s;
        let budget = Money::from_units_clamped(self.available().units() + reservation.amount.units());
        let target_s = held.saturating_add(advance_s).min(UNLIMITED_S);
        let (grant, amount) = match affordable(target_s, budget, tariff, params)? {
            Some(cost) => {
                // A block longer than the advance time would end the grant where it was; its cost
                // to the end is part of the cost of any second in it.
                let blocks = Blocks::of(tariff, params);
                let whole_s = blocks.end_within(target_s);
                let until_s = if whole_s > held { whole_s } else { blocks.end_after(held) };
                let last = false;
                (Grant { until_s, last }, cost)
            }
            None => {
                let until_s = match max_hold_s(budget, *tariff, params)? {
                    MaxHold::Seconds(until_s) => until_s.max(held),
                    MaxHold::Unlimited | MaxHold::NotOneBlock => held,
                };
                let cost = if until_s > held { cost_of(until_s, tariff, params)? } else { reservation.amount };
                let last = true;
                (Grant { until_s, last }, cost)
            }
        };
        self.reserved = self.reserved.checked_add(amount.checked_sub(reservation.amount)?)?;
        reservation.amount = amount;
        reservation.grant = grant;
        Ok(grant)
    }

    /// Holds again what a call of another life of the switch owes for `held_s` held seconds, to the end of their block. It is
    /// owed whatever the account has left: nothing is refused here, and nobody else can spend it. Errors: a value out of range.
    pub fn resume<'a>(
        &mut self,
        tariff: impl Into<Tariff<'a>>,
        params: &BillingParams,
        held_s: i64,
    ) -> Result<Reservation, BillingError> {
        let tariff = &tariff.into();
        if tariff.is_free() {
            return Ok(Reservation::nothing());
        }
        let until_s = Blocks::of(tariff, params).end_of(held_s);
        let amount = cost_of(until_s, tariff, params)?;
        self.reserved = self.reserved.checked_add(amount)?;
        Ok(Reservation { grant: Grant { until_s, last: false }, amount, free: false })
    }

    /// Lengthens a grant to the end of the block that `held_s` is in, or changes nothing and says `false`: the account cannot
    /// pay it. Errors: a value out of range; nothing has changed then.
    pub fn reach<'a>(
        &mut self,
        reservation: &mut Reservation,
        tariff: impl Into<Tariff<'a>>,
        params: &BillingParams,
        held_s: i64,
    ) -> Result<bool, BillingError> {
        let tariff = &tariff.into();
        if reservation.free || reservation.grant.until_s >= held_s {
            return Ok(true);
        }
        let until_s = Blocks::of(tariff, params).end_of(held_s);
        // What is held is this call's, even where the account owes more than its limit by now.
        let budget = Money::from_units_clamped(self.available().units() + reservation.amount.units());
        let budget = budget.max(reservation.amount);
        let Some(amount) = affordable(until_s, budget, tariff, params)? else { return Ok(false) };
        self.reserved = self.reserved.checked_add(amount.checked_sub(reservation.amount)?)?;
        reservation.amount = amount;
        reservation.grant = Grant { until_s, last: false };
        Ok(true)
    }

    /// Gives a reservation back without a charge: the call was never answered.
    pub fn release(&mut self, reservation: Reservation) {
        self.reserved = self.reserved_without(reservation.amount);
    }

    /// Ends a call: takes fee and tax from the balance and releases the whole reservation.
    ///
    /// Errors: an amount out of range. Then nothing has changed, and the money stays reserved,
    /// which is the safe side.
    pub fn settle(&mut self, reservation: Reservation, charge: &Charge) -> Result<Settled, BillingError> {
        let charged = charge.due()?;
        let balance = self.balance.checked_sub(charged)?;
        let settled = Settled {
            charged,
            unused: above_zero(reservation.amount.checked_sub(charged)?),
            beyond: above_zero(charged.checked_sub(reservation.amount)?),
        };
        self.balance = balance;
        self.reserved = self.reserved_without(reservation.amount);
        Ok(settled)
    }

    fn reserved_without(&self, amount: Money) -> Money {
        let left = self.reserved.units() - amount.units();
        debug_assert!(left >= 0, "a reservation went back to an account it did not come from");
        above_zero(Money::from_units_clamped(left))
    }
}

/// The largest T such that fee and tax of a call of T held seconds are at most `avail`
/// (accounts.md section 4), searched over the number of blocks.
///
/// The fee never falls as a call gets longer, so a binary search finds it; every fee is calculated
/// by the rating function itself. Cost: about two fees per bit of the answer. Errors: a value out
/// of range.
pub fn max_hold_s<'a>(
    avail: Money,
    tariff: impl Into<Tariff<'a>>,
    params: &BillingParams,
) -> Result<MaxHold, BillingError> {
    let tariff = &tariff.into();
    cost_of(0, tariff, params)?;
    if tariff.is_free() {
        return Ok(MaxHold::Unlimited);
    }
    let blocks = Blocks::of(tariff, params);
    let pays = |count: i64| -> Result<bool, BillingError> {
        let Some(end_s) = blocks.end(count).filter(|end_s| *end_s <= UNLIMITED_S) else {
            return Ok(false);
        };
        Ok(affordable(end_s, avail, tariff, params)?.is_some())
    };
    if !pays(1)? {
        return Ok(MaxHold::NotOneBlock);
    }
    let mut paid = 1;
    let mut unpaid = 2;
    while pays(unpaid)? {
        paid = unpaid;
        unpaid *= 2;
    }
    while unpaid - paid > 1 {
        let middle = paid + (unpaid - paid) / 2;
        if pays(middle)? {
            paid = middle;
        } else {
            unpaid = middle;
        }
    }
    let next_is_too_far = blocks.end(unpaid).is_none_or(|end_s| end_s > UNLIMITED_S);
    match blocks.end(paid) {
        Some(end_s) if !next_is_too_far => Ok(MaxHold::Seconds(end_s)),
        _ => Ok(MaxHold::Unlimited),
    }
}

/// The cost of `hold_s` seconds when `budget` can pay it. A cost that does not fit an amount is
/// more than any budget.
fn affordable(
    hold_s: i64,
    budget: Money,
    tariff: &Tariff<'_>,
    params: &BillingParams,
) -> Result<Option<Money>, BillingError> {
    match cost_of(hold_s, tariff, params) {
        Ok(cost) => Ok((cost <= budget).then_some(cost)),
        Err(error) if error.is_overflow() => Ok(None),
        Err(error) => Err(error),
    }
}

fn advance_s(advance_min: u32) -> Result<i64, BillingError> {
    if ADVANCE_MIN_RANGE.contains(&advance_min) {
        return Ok(i64::from(advance_min) * 60);
    }
    Err(OutOfRange::new("SERVER_BILLING_PREVENT_OVERDRAFT_ADVANCE_TIME", advance_min, "1 to 15 minutes").into())
}

fn above_zero(money: Money) -> Money {
    money.max(Money::ZERO)
}

/// Where the blocks of a call end, in held seconds: sections first, then blocks.
struct Blocks {
    /// Held seconds before the first charged one.
    free_s: i64,
    /// Charged seconds at the end of each section that takes time.
    section_ends_s: Vec<i64>,
    first_s: i64,
    next_s: i64,
}

impl Blocks {
    fn of(tariff: &Tariff<'_>, params: &BillingParams) -> Blocks {
        let free_s = i64::from(params.free_s);
        if !(tariff.gifts.is_empty() && tariff.changes.is_empty()) {
            // Blocks begin where the gift ends, and may change on the way: every second is asked. What a second costs, its
            // block costs.
            return Blocks { free_s, section_ends_s: Vec::new(), first_s: 1, next_s: 1 };
        }
        let terms = tariff.terms;
        let mut end_s = 0;
        let section_ends_s = in_order(&terms.sections)
            .into_iter()
            .filter(|section| section.time_s > 0)
            .map(|section| {
                end_s += i64::from(section.time_s);
                end_s
            })
            .collect();
        let first_s = if terms.sections.is_empty() { terms.first_s } else { terms.next_s };
        Blocks {
            free_s,
            section_ends_s,
            // Blocks of no length are refused when the leg is rated; here they must only not hang.
            first_s: i64::from(first_s.max(1)),
            next_s: i64::from(terms.next_s.max(1)),
        }
    }

    /// Held seconds at the end of block `count`, counted from 1.
    fn end(&self, count: i64) -> Option<i64> {
        let sections = self.section_ends_s.len() as i64;
        let charged_s = if count <= sections {
            self.section_ends_s.get(usize::try_from(count - 1).ok()?).copied()?
        } else {
            (count - sections - 1)
                .checked_mul(self.next_s)?
                .checked_add(self.first_s)?
                .checked_add(self.section_ends_s.last().copied().unwrap_or(0))?
        };
        charged_s.checked_add(self.free_s)
    }

    /// Blocks that end by `hold_s`.
    fn count_within(&self, hold_s: i64) -> i64 {
        let charged_s = hold_s - self.free_s;
        let sections = self.section_ends_s.partition_point(|end_s| *end_s <= charged_s);
        if sections < self.section_ends_s.len() {
            return sections as i64;
        }
        let rest_s = charged_s - self.section_ends_s.last().copied().unwrap_or(0);
        if rest_s < self.first_s {
            return sections as i64;
        }
        sections as i64 + 1 + (rest_s - self.first_s) / self.next_s
    }

    /// The last block end by `hold_s`, but at least the first.
    fn end_within(&self, hold_s: i64) -> i64 {
        self.end(self.count_within(hold_s).max(1)).unwrap_or(hold_s)
    }

    /// Where the block ends that second `hold_s` is the last or an inner one of; in the free time its end.
    fn end_of(&self, hold_s: i64) -> i64 {
        if hold_s <= self.free_s {
            return self.free_s;
        }
        let within_s = self.end_within(hold_s);
        if within_s >= hold_s { within_s } else { self.end_after(hold_s) }
    }

    /// The first block end after `hold_s`.
    fn end_after(&self, hold_s: i64) -> i64 {
        self.end(self.count_within(hold_s) + 1).unwrap_or(hold_s)
    }
}

impl From<MoneyError> for Refused {
    fn from(error: MoneyError) -> Self {
        Refused::Billing(error.into())
    }
}

impl From<OutOfRange> for Refused {
    fn from(error: OutOfRange) -> Self {
        Refused::Billing(error.into())
    }
}
