//! What calls use of packages: which gift pays what part of which call, and what is left.
//!
//! What each call used stands in the ledger. Here it is judged: whether it may, whether as much was left, and whether nothing was
//! left that it should have used before. Calls in progress hold gifts, and how much at every instant nobody outside knows: where
//! another call of the account was up at the same time, what it may have held at most is not counted on.

use std::collections::BTreeMap;

use tandem_leg::Time;
use tandem_rating::package::uses;
use tandem_rating::record::LedgerKind;

use super::Auditor;
use super::books::{Books, units};
use super::due::Due;
use super::packages::{Desk, Order, Period};
use crate::bill::{self, Leg};
use crate::price::{self, Fee, Gift};

/// A call may hold gifts for so many seconds more than it lasts: what was granted and the next grant.
const AHEAD_S: i64 = 400;

/// What a leg used of one period, as the ledger says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Claim {
    order: String,
    period: u64,
    gifts: Vec<(usize, i64)>,
    money: i128,
    spent: i128,
}

/// A period that ran, or runs.
#[derive(Clone, Debug)]
pub(super) struct Ran {
    key: String,
    account: usize,
    phone: String,
    place: (bool, Option<u32>, bool, Option<i64>),
    period: Period,
    begin_seq: u64,
    pub(super) end_seq: u64,
    /// Its order was changed last.
    changed_seq: u64,
    used_s: Vec<i64>,
    money: i128,
    /// What calls cost the balance: the sum after each.
    spent: Vec<(u64, i128)>,
}

/// How sure it is that a call may use something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum May {
    Never,
    Perhaps,
    Surely,
}

impl May {
    /// Of two readings of a clock.
    fn of(readings: [bool; 2]) -> May {
        match readings {
            [true, true] => May::Surely,
            [false, false] => May::Never,
            _ => May::Perhaps,
        }
    }
}

fn place(order: &Order) -> (bool, Option<u32>, bool, Option<i64>) {
    (order.priority.is_none(), order.priority, order.expires_ms.is_none(), order.expires_ms)
}

impl Ran {
    pub(super) fn new(key: &str, order: &Order, period: Period, seq: u64) -> Ran {
        Ran {
            key: key.to_owned(),
            account: order.account,
            phone: order.phone.clone(),
            place: place(order),
            used_s: vec![0; period.gifts.len()],
            period,
            begin_seq: seq,
            end_seq: u64::MAX,
            changed_seq: 0,
            money: 0,
            spent: Vec::new(),
        }
    }

    /// The order was changed while it ran.
    pub(super) fn changed(&mut self, order: &Order, seq: u64) {
        self.place = place(order);
        if let Some(period) = &order.period {
            self.period = period.clone();
        }
        self.changed_seq = seq;
    }

    pub(super) fn spent(&self) -> i128 {
        self.spent.last().map_or(0, |(_, spent)| *spent)
    }

    fn spent_at(&self, seq: u64) -> i128 {
        self.spent.iter().take_while(|(at, _)| *at < seq).last().map_or(0, |(_, spent)| *spent)
    }

    pub(super) fn used(&self) -> (Vec<i64>, i128, i128) {
        (self.used_s.clone(), self.money, self.spent())
    }

    fn serves(&self, account: usize, phone: &str) -> bool {
        self.account == account && (self.phone.is_empty() || self.phone == phone)
    }

    fn counts(&self) -> bool {
        self.period.minimum != 0 || self.period.lower != 0
    }

    /// Whether a call between these places of the journal, answered then, may use it.
    fn may(&self, due: &Due, settled_seq: u64) -> May {
        let readings = due.answered_ms.map(|at_ms| (self.period.from_ms..self.period.to_ms).contains(&at_ms));
        let mut may = May::of(readings);
        if self.begin_seq > settled_seq || self.end_seq < due.start_seq {
            return May::Never;
        }
        if self.changed_seq > due.start_seq && self.changed_seq < settled_seq {
            return May::Perhaps;
        }
        if self.begin_seq > due.start_seq || self.end_seq < settled_seq {
            may = may.min(May::Perhaps);
        }
        if self.spent_at(due.start_seq) < self.period.lower {
            let reached = self.spent_at(settled_seq) >= self.period.lower;
            may = may.min(if reached { May::Perhaps } else { May::Never });
        }
        may
    }

    /// Rows of gift time that serve a number at a second of the day: those with the longest prefix.
    fn rows(&self, number: &str, second: i64) -> Vec<usize> {
        let fits = |n: usize| {
            let gift = &self.period.gifts[n];
            let open = if gift.from_s < gift.to_s {
                gift.from_s <= second && second < gift.to_s
            } else {
                second >= gift.from_s || second < gift.to_s
            };
            let any = gift.prefixes.is_empty().then_some(0);
            let longest = gift.prefixes.iter().filter(|prefix| number.starts_with(*prefix)).map(String::len).max();
            any.or(longest).filter(|_| open)
        };
        let best = (0..self.period.gifts.len()).filter_map(fits).max();
        (0..self.period.gifts.len()).filter(|n| best.is_some() && fits(*n) == best).collect()
    }
}

impl Auditor {
    /// Reads what calls used, before anything is worked out.
    pub(super) fn read_claims(&mut self, books: &Books) {
        let mut found = Vec::new();
        for (flow_no, story) in &books.stories {
            let Some((_, _, rows)) = &story.settled else { continue };
            for row in rows.iter().filter(|row| row.kind == LedgerKind::Gift) {
                let leg = row.key.strip_prefix(&format!("call:{flow_no}:")).and_then(|leg| leg.strip_suffix(".gift"));
                let (Some(leg), Ok(uses), true) = (leg, uses(&row.memo), row.amount.is_zero()) else {
                    found.push(format!("call {flow_no}: {row:?} is no row of gifts"));
                    continue;
                };
                let claim = |one: &tandem_rating::package::GiftUse| Claim {
                    order: one.order.clone(),
                    period: one.period,
                    gifts: one.gifts.clone(),
                    money: units(one.money),
                    spent: units(one.spent),
                };
                let claims = uses.iter().map(claim).collect();
                self.claims.insert((*flow_no, leg.to_owned()), claims);
            }
        }
        for text in found {
            self.report("package", None, text);
        }
    }

    /// A leg with the gifts that it used.
    pub(super) fn with_claims(&self, flow_no: u64, mut leg: Leg) -> Leg {
        for claim in self.claims.get(&(flow_no, leg.name.clone())).into_iter().flatten() {
            // In cycles of a second: how they are cut is judged elsewhere.
            leg.gifts.extend(claim.gifts.iter().map(|(_, left_s)| Gift { cycle_s: 1, left_s: *left_s }));
            leg.gift_money += claim.money;
        }
        leg
    }

    /// What a call used of packages, leg by leg.
    pub(super) fn check_uses(&mut self, desk: &mut Desk, seq: u64, flow_no: u64) -> Result<(), String> {
        let Some(due) = self.due.get(&flow_no).cloned() else {
            let none = !self.claims.keys().any(|(no, _)| *no == flow_no);
            return if none { Ok(()) } else { Err("it uses gifts, and owes nothing".to_owned()) };
        };
        let mut problem = Ok(());
        for (n, (leg, fee)) in due.legs.iter().enumerate().filter(|(_, (leg, _))| leg.name != "vendor") {
            let phone = if n == 0 { due.phone.as_str() } else { "" };
            let claims = self.claims.get(&(flow_no, leg.name.clone())).cloned().unwrap_or_default();
            let judged = self.check_claims(desk, seq, flow_no, &due, (leg, fee), phone, &claims);
            problem = problem.and(judged.map_err(|text| format!("{}: {text}", leg.name)));
            self.seen.gifted += u64::from(claims.iter().any(|claim| !claim.gifts.is_empty() || claim.money > 0));
            // What it cost the balance counts for every period that wants to know.
            let counting: Vec<usize> =
                desk.runs.values().copied().filter(|n| desk.ran[*n].serves(leg.account, phone)).collect();
            for n in counting {
                let ran = &mut desk.ran[n];
                let said = claims
                    .iter()
                    .find(|claim| claim.order == ran.key && claim.period == ran.period.number)
                    .map_or(0, |claim| claim.spent);
                let wanted = if ran.counts() { fee.due() } else { 0 };
                if said != wanted && problem.is_ok() {
                    problem = Err(format!(
                        "{}: {} counts for order {}, {} does on record",
                        leg.name,
                        price::text(wanted),
                        ran.key,
                        price::text(said)
                    ));
                }
                if wanted != 0 {
                    let spent = ran.spent() + wanted;
                    ran.spent.push((seq, spent));
                }
            }
            for claim in &claims {
                let ran =
                    desk.ran.iter_mut().rev().find(|ran| ran.key == claim.order && ran.period.number == claim.period);
                let Some(ran) = ran else { continue };
                if claim.spent != 0 && ran.end_seq < seq && problem.is_ok() {
                    problem = Err(format!("{}: it counts for order {}, whose period is over", leg.name, claim.order));
                }
                for (row, used_s) in &claim.gifts {
                    if let Some(sum_s) = ran.used_s.get_mut(*row) {
                        *sum_s += used_s;
                    }
                }
                ran.money += claim.money;
            }
        }
        problem
    }

    #[allow(clippy::too_many_arguments)]
    fn check_claims(
        &self,
        desk: &Desk,
        seq: u64,
        flow_no: u64,
        due: &Due,
        (leg, fee): (&Leg, &Fee),
        phone: &str,
        claims: &[Claim],
    ) -> Result<(), String> {
        if due.external {
            let any = claims.iter().any(|claim| !claim.gifts.is_empty() || claim.money != 0);
            return if any { Err("a call of another system uses gifts".to_owned()) } else { Ok(()) };
        }
        let mut claimed: BTreeMap<(&str, u64), &Claim> = BTreeMap::new();
        for claim in claims {
            if claimed.insert((&claim.order, claim.period), claim).is_some() {
                return Err(format!("order {} stands twice", claim.order));
            }
        }
        let mut candidates: Vec<&Ran> =
            desk.ran.iter().filter(|ran| ran.serves(leg.account, phone) && ran.may(due, seq) > May::Never).collect();
        candidates.sort_by_key(|ran| (ran.end_seq >= seq, ran.place, ran.key.parse::<u64>().unwrap_or(u64::MAX)));
        // Where the order of the packages may have been another one, only what is left counts.
        let loose = desk
            .ran
            .iter()
            .any(|ran| ran.serves(leg.account, phone) && ran.changed_seq > due.start_seq && ran.changed_seq < seq);
        let free = leg.costs_nothing();
        let others = self.others_s(leg.account, due);
        let mut left_s = (fee.hold_s - due.billing.free_s).max(0);
        let (mut money, mut surely) = (0, 0);
        for ran in candidates {
            let claim = claimed.remove(&(ran.key.as_str(), ran.period.number)).cloned().unwrap_or_default();
            let rows = due.answered_ms.map(|at_ms| ran.rows(&leg.number, self.plan.zone.local(at_ms).second));
            for n in 0..ran.period.gifts.len() {
                let gift = &ran.period.gifts[n];
                let may = May::of([rows[0].contains(&n), rows[1].contains(&n)]).min(ran.may(due, seq));
                let used_s = claim.gifts.iter().find(|(row, _)| *row == n).map_or(0, |(_, used_s)| *used_s);
                let cycles = |seconds: i64| seconds.max(0) / gift.cycle_s * gift.cycle_s;
                let has_s = gift.gift_s - ran.used_s[n];
                let needs_s = (left_s + gift.cycle_s - 1) / gift.cycle_s * gift.cycle_s;
                let most_s = if may == May::Never || free == Some(true) { 0 } else { cycles(has_s).min(needs_s) };
                let held_s: i64 =
                    others.iter().map(|seconds| (seconds + gift.cycle_s) / gift.cycle_s * gift.cycle_s).sum();
                let sure = may == May::Surely && free == Some(false) && !loose;
                let least_s = if sure { cycles(has_s - held_s).min(needs_s) } else { 0 };
                let most_s = if loose { cycles(has_s) } else { most_s };
                if used_s % gift.cycle_s != 0 || used_s > most_s || used_s < least_s {
                    return Err(format!(
                        "it used {used_s} s of gift {n} of order {}/{}, {least_s} to {most_s} by what is left ({has_s} s), {left_s} s to \
                         pay, {may:?}",
                        ran.key, ran.period.number
                    ));
                }
                left_s -= used_s.min(left_s);
            }
            let has = ran.period.money - ran.money;
            if claim.money > 0 && (claim.money > has || free == Some(true)) {
                let (money, has) = (price::text(claim.money), price::text(has));
                return Err(format!(
                    "it used {money} gift money of order {}/{}, which has {has}",
                    ran.key, ran.period.number
                ));
            }
            money += claim.money;
            if ran.may(due, seq) == May::Surely && free == Some(false) && others.is_empty() {
                surely += has;
            }
        }
        if let Some((order, period)) = claimed.keys().find(|key| {
            let claim = claimed[*key];
            !claim.gifts.is_empty() || claim.money != 0
        }) {
            return Err(format!("it used gifts of order {order}/{period}, which it may not: {claims:?}"));
        }
        let cost = fee.fee + fee.tax;
        if money > cost || money < surely.min(cost) {
            let (cost, surely) = (price::text(cost), price::text(surely));
            return Err(format!(
                "call {flow_no} used {} gift money, it cost {cost} and {surely} is left",
                price::text(money)
            ));
        }
        Ok(())
    }

    /// Seconds for which other calls of an account that were up at the same time may have held gifts.
    fn others_s(&self, account: usize, due: &Due) -> Vec<i64> {
        let (began, over) = due.span;
        let mut list = Vec::new();
        for call in
            self.calls.iter().filter(|call| (call.boot, call.call_id.as_str()) != (due.call.0, due.call.1.as_str()))
        {
            let ends = call.over.map(|(at, _)| self.settled_by(at)).or(call.death.map(|death| death.at));
            if call.began > over || ends.is_some_and(|ends| ends < began) {
                continue;
            }
            let payer = self.payer(call);
            let pays =
                std::iter::once(payer.account).chain(bill::agents(&self.plan, payer.account)).any(|at| at == account);
            if pays && !payer.free {
                let lasted = ends.unwrap_or(over).since(call.began) / 1_000_000;
                list.push(lasted as i64 + AHEAD_S);
            }
        }
        list
    }

    /// Whether an account has calls at an instant: it may hold money for them then.
    pub(super) fn has_calls(&self, account: usize, at: Time) -> bool {
        self.calls.iter().any(|call| {
            let ends = call.over.map(|(at, _)| self.settled_by(at));
            let payer = self.payer(call);
            let mut accounts = std::iter::once(payer.account).chain(bill::agents(&self.plan, payer.account));
            call.began <= at && ends.is_none_or(|ends| at <= ends) && accounts.any(|one| one == account)
        })
    }
}
