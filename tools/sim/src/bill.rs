//! Who pays for a call, and by which rows: accounts.md 3, rates.md 2, 3 and 6, billing.md 6.a, from the plan alone. It shares no
//! code with the call room, which it checks.

use crate::plan::{CallPlan, Plan};
use crate::price::{self, Billing, Extras, Fee, Gift, Row};
use crate::trade::{FREE, Line, NO_CDR, OWN_PHONE, TOLL_FREE};

/// How far ahead of the answer changes of a price count, ms: a week.
const AHEAD_MS: i64 = 7 * 86_400_000;
/// Agents above an account that take part.
const AGENTS_MAX: usize = 8;

/// An instant, and the version of the configuration in force then, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When {
    /// Version.
    pub version: u64,
    /// Wall clock, UTC ms.
    pub wall_ms: i64,
}

/// Who pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payer {
    /// Index of the account.
    pub account: usize,
    /// 0 phone, 1 mapping gateway, 2 bound number.
    pub mode: i32,
    /// 0 the caller, 1 the callee.
    pub kind: i32,
    /// Nobody but us pays anybody.
    pub free: bool,
    /// And no record is kept.
    pub no_cdr: bool,
}

/// Whose call it is, and which object says so: 0 phone, 1 mapping gateway, 2 bound number, 3 card.
pub fn caller(plan: &Plan, customer: usize, call: Option<&CallPlan>) -> (usize, i32) {
    let gateway = &plan.versions[0].customers[customer];
    let index = call.map_or(0, |call| call.index);
    match call.map_or(Line::Plain, |call| call.line) {
        Line::Phone if gateway.phones => (plan.phone_owner(index), 0),
        Line::House(n) if gateway.phones => (plan.versions[0].phones[usize::from(n)].account, 0),
        Line::Bound if gateway.bound => (plan.bound_owner(index), 2),
        Line::Card(n) if gateway.bound => (plan.card(n), 3),
        _ => (gateway.account, 1),
    }
}

/// Who pays for `number`, called by customer `customer`.
pub fn payer(plan: &Plan, customer: usize, number: &str, call: Option<&CallPlan>) -> Payer {
    let gateway = &plan.versions[0].customers[customer];
    let index = call.map_or(0, |call| call.index);
    let (account, mode) = caller(plan, customer, call);
    let caller = Payer { account, mode, kind: 0, free: false, no_cdr: false };
    let is = |prefix: &str| number.starts_with(prefix);
    if is(NO_CDR) || is(FREE) {
        return Payer { free: true, no_cdr: is(NO_CDR), ..caller };
    }
    if is(TOLL_FREE) {
        return Payer { account: plan.phone_owner(index), mode: 0, kind: 1, ..caller };
    }
    // A phone that calls has its own setting, which nothing sets here.
    if is(OWN_PHONE) && mode != 0 && gateway.own_free == Some(true) {
        return Payer { free: true, ..caller };
    }
    caller
}

/// The accounts above one, the nearest first.
pub fn agents(plan: &Plan, account: usize) -> Vec<usize> {
    let accounts = &plan.versions[0].accounts;
    std::iter::successors(accounts[account].above, |at| accounts[*at].above).take(AGENTS_MAX).collect()
}

/// The row of an account for a number.
pub fn row(plan: &Plan, account: usize, number: &str, when: When) -> Option<Row> {
    let account = &plan.versions[when.version as usize - 1].accounts[account];
    let row = price::find(&account.rows, number, when.wall_ms)?;
    if account.periods.is_empty() {
        return Some(row.clone());
    }
    let at = plan.zone.local(when.wall_ms);
    let best = account.periods.iter().filter(|period| period.holds(at)).min_by_key(|period| period.rank())?;
    Some(Row { per_min: best.per_min, ..row.clone() })
}

/// A leg: who pays, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// Its name in the keys of the ledger.
    pub name: String,
    /// Index of the account.
    pub account: usize,
    /// The number that is looked up.
    pub number: String,
    /// The row; `None` is a free leg.
    pub row: Option<Row>,
    /// Its rows change during the call: from the answer on.
    pub split: Option<When>,
    /// Gift time.
    pub gifts: Vec<Gift>,
    /// Gift money, units.
    pub gift_money: i128,
}

impl Leg {
    /// A leg by the row in force at the answer; a row that is gone or forbidden by then leaves that of the admission.
    ///
    /// # Errors
    /// There was no row at the admission, or a forbidden one: the call should not have been.
    pub fn new(
        plan: &Plan,
        name: &str,
        account: usize,
        number: &str,
        admitted: When,
        answer: When,
    ) -> Result<Leg, String> {
        let of = &plan.versions[0].accounts[account].name;
        let usable = |when| row(plan, account, number, when).filter(|row| !row.locked);
        let first = usable(admitted);
        if first.is_none() && name == "vendor" {
            // Such a vendor is tried all the same, and paid nothing (rates.md 3).
            return Ok(Leg::free(name, account, number));
        }
        if first.is_none() {
            return Err(format!("{of} has no row for {number}, or a forbidden one, and the call was let in"));
        }
        let splits = plan.versions[answer.version as usize - 1].accounts[account].split;
        Ok(Leg {
            name: name.to_owned(),
            account,
            number: number.to_owned(),
            row: usable(answer).or(first),
            split: splits.then_some(answer),
            gifts: Vec::new(),
            gift_money: 0,
        })
    }

    /// Whether no duration of it costs anything; `None` when that may change while it lasts.
    pub fn costs_nothing(&self) -> Option<bool> {
        let Some(row) = &self.row else { return Some(true) };
        let free = row.per_min == 0 && row.connection == 0 && row.sections.iter().all(|(_, amount)| *amount == 0);
        if free && self.split.is_some() { None } else { Some(free) }
    }

    /// A leg that costs nothing.
    pub fn free(name: &str, account: usize, number: &str) -> Leg {
        Leg {
            name: name.to_owned(),
            account,
            number: number.to_owned(),
            row: None,
            split: None,
            gifts: Vec::new(),
            gift_money: 0,
        }
    }

    /// What it costs. Blocks are counted from `connect_ms`, the wall clock of the answer.
    pub fn fee(&self, plan: &Plan, hold_ms: i64, connect_ms: i64, billing: &Billing) -> Fee {
        let mut billing = billing.clone();
        if self.name == "vendor" && !billing.free_vendor {
            billing.free_s = 0;
        }
        let Some(row) = &self.row else {
            let hold_s = price::fee(hold_ms, &Row { first_s: 1, next_s: 1, ..Row::default() }, &billing).hold_s;
            return Fee { hold_s, ..Fee::default() };
        };
        let at = self.split.map(|answer| move |at_s: i64| self.row_at(plan, answer, connect_ms + at_s * 1_000));
        let row_at = at.as_ref().map(|at| at as &dyn Fn(i64) -> Row);
        price::fee_with(hold_ms, row, &billing, Extras { gifts: &self.gifts, money: self.gift_money, row_at })
    }

    /// Whether another row than the first is in force within `hold_ms` of the answer.
    pub fn changes(&self, plan: &Plan, hold_ms: i64, connect_ms: i64) -> bool {
        let (Some(answer), Some(row)) = (self.split, &self.row) else { return false };
        (0..=hold_ms / 1_000).any(|at_s| self.row_at(plan, answer, connect_ms + at_s * 1_000) != *row)
    }

    /// The row in force at an instant of the call: that of the answer until another one takes its place, and where none does,
    /// the one before.
    fn row_at(&self, plan: &Plan, answer: When, at_ms: i64) -> Row {
        let usable =
            |wall_ms| row(plan, self.account, &self.number, When { wall_ms, ..answer }).filter(|row| !row.locked);
        // Rows are looked up so far ahead: no call lasts longer (accounts.md 4), but somebody may set the clock.
        let mut at_ms = at_ms.min(answer.wall_ms + AHEAD_MS);
        // Nothing changes within a second here, so that the last good one is found by going back.
        while at_ms > answer.wall_ms {
            if let Some(row) = usable(at_ms) {
                return row;
            }
            at_ms -= 1_000;
        }
        self.row.clone().unwrap_or_default()
    }
}
