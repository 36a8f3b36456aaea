//! The money side of a plan: agents, numbers that pay or are paid for, prices by the hour, and what an office does all day.
//!
//! It is drawn from dice of its own, so that calls and faults of a seed stay as they are without it.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::civil::{Local, ZONES, Zone};
use crate::plan::{self, AccountPlan, CallPlan, Fault, FaultKind, Plan, Version};
use crate::price::{Billing, Gift, Row, UNITS};

/// Calls to numbers that begin so cost the callee's account.
pub const TOLL_FREE: &str = "800";
/// Calls to numbers that begin so end on a phone of ours.
pub const OWN_PHONE: &str = "801";
/// Calls to numbers that begin so are free (SERVER_BILLING_FREE_E164S).
pub const FREE: &str = "112";
/// And such leave no record (SERVER_BILLING_NO_CDR_E164S).
pub const NO_CDR: &str = "113";
/// The last seven digits of numbers of external calls begin here; calls of the plan stay below.
pub const EXTERNAL_FROM: u32 = 9_000_000;

const SECOND: u64 = 1_000_000;
const DAY_MS: i64 = 86_400_000;

/// Which number a caller has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Line {
    /// One that nobody knows: his gateway's account pays.
    #[default]
    Plain,
    /// A phone of ours.
    Phone,
    /// A bound number.
    Bound,
    /// A phone of ours that calls more than once.
    House(u8),
    /// A number that is bound to a phone card.
    Card(u8),
}

/// Prices of an account at some hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// Bit 0 is Monday; 0 is every day.
    pub days: u8,
    /// Only on this day, since 1970-01-01.
    pub date: Option<i64>,
    /// From this minute of the day on.
    pub from_min: i64,
    /// Up to this one; not above `from_min` is over midnight.
    pub to_min: i64,
    /// Price of a minute, units.
    pub per_min: i128,
}

const DAY_MIN: i64 = 1_440;

impl Period {
    /// Whether the clock on the wall is within it.
    pub fn holds(&self, at: Local) -> bool {
        let minute = at.second / 60;
        let timed = if self.from_min < self.to_min {
            self.from_min <= minute && minute < self.to_min
        } else {
            minute >= self.from_min || minute < self.to_min
        };
        timed && self.date.is_none_or(|day| day == at.day) && (self.days == 0 || self.days >> at.weekday() & 1 == 1)
    }

    /// The most specific comes first (billing.md 6.a), then the one with fewer minutes a week.
    pub fn rank(&self) -> (u8, i64) {
        let always = (self.from_min, self.to_min) == (0, DAY_MIN);
        let level = match (self.date, self.days) {
            (Some(_), _) => 0,
            (None, 1..) => 2,
            (None, 0) if !always => 3,
            (None, 0) => 4,
        };
        let minutes = (self.to_min - self.from_min).rem_euclid(DAY_MIN);
        let minutes = if minutes == 0 { DAY_MIN } else { minutes };
        (level, minutes * if self.days == 0 { 7 } else { i64::from(self.days.count_ones()) })
    }
}

/// A movement of money that an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Money is taken off, units.
    Deduct(i128),
    /// The balance becomes nothing.
    Zero,
    /// The movement of that name is taken back.
    Reverse(String),
    /// An agent pays out of its own money: which account, units.
    From(usize, i128),
    /// The vendor gets money, units.
    Pay(i128),
    /// All that a card has is paid: which account.
    Card(usize),
}

/// A call of another system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalCall {
    /// Number in the plan: its callee ends with it.
    pub index: u32,
    /// The number it comes with; `None` gets one.
    pub flow_no: Option<u64>,
    /// Who pays.
    pub account: usize,
    /// Digits in front.
    pub prefix: &'static str,
    /// Began so long before it is told, ms.
    pub ago_ms: i64,
    /// Held, s.
    pub hold_s: i64,
    /// Gift time.
    pub gifts: Vec<Gift>,
    /// Gift money, units.
    pub gift_money: i128,
}

impl ExternalCall {
    /// The number that was called.
    pub fn number(&self) -> String {
        format!("{}{:07}", self.prefix, EXTERNAL_FROM + self.index)
    }
}

/// By what finished calls are rated again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Again {
    /// The rows of a sheet, for the legs of an account or, with `None`, of who paid.
    Sheet(Option<usize>, Vec<Row>),
    /// Other parameters, for all legs.
    Params(Billing),
}

/// Adds the money side to a plan that has none.
pub(crate) fn add(plan: &mut Plan, calls: u32) {
    let mut rng = StdRng::seed_from_u64(plan.seed ^ 0x006d_6f6e_6579);
    let rng = &mut rng;
    plan.zone = ZONES[rng.random_range(0..ZONES.len())];
    plan.store_offset_min = [0, 0, 60, -300, 630][rng.random_range(0..5)];
    // Of dice of its own: everything else stays as it is without it.
    let month = StdRng::seed_from_u64(plan.seed ^ 0x006d_6f6e_7468).random_bool(0.3);
    let wall_ms = begin(rng, plan.zone, month);
    let shift_ms = wall_ms - plan.wall_start_ms;
    plan.wall_start_ms = wall_ms;
    for row in plan.versions.iter_mut().flat_map(|v| &mut v.accounts).flat_map(|account| &mut account.rows) {
        row.from_ms = row.from_ms.map(|at| at + shift_ms);
        row.to_ms = row.to_ms.map(|at| at + shift_ms);
    }
    for call in &mut plan.calls {
        lines(rng, call);
    }
    let payers = plan.versions[0].accounts.iter().filter(|account| !account.clearing).count();
    tree(rng, plan, payers);
    let versions = plan.versions.len();
    for _ in 0..rng.random_range(1..=2 + (calls / 60).min(8)) {
        let next = change(rng, plan, payers);
        plan.versions.push(next);
    }
    let mut acts: Vec<FaultKind> = (versions..plan.versions.len()).map(|_| FaultKind::Configure).collect();
    office(rng, plan, calls, payers, &mut acts);
    for _ in 0..rng.random_range(0..2) {
        let by_ms = [-86_400_000, -3_600_000, -1_500, 900, 61_000, 3_600_000][rng.random_range(0..6)];
        acts.push(FaultKind::Clock { by_ms });
    }
    let active = plan.begin_us + 60 * SECOND;
    let mut numbers: BTreeMap<&'static str, u32> = BTreeMap::new();
    for fault in &plan.faults {
        *numbers.entry(fault.kind.word()).or_default() += 1;
    }
    for kind in acts {
        let n = numbers.entry(kind.word()).or_default();
        let at_us = rng.random_range(SECOND..SECOND + active);
        plan.faults.push(Fault { name: format!("{}.{n}", kind.word()), at_us, kind });
        *n += 1;
    }
    plan.faults.sort_by_key(|fault| fault.at_us);
}

/// When the run begins: often shortly before the clocks change, before a midnight, or before a month.
fn begin(rng: &mut StdRng, zone: Zone, month: bool) -> i64 {
    let usual = tandem_ladder::switch::WALL_START_MS;
    let before_ms = rng.random_range(5_000..120_000);
    let usual = match month {
        true => return zone.month_ends(usual) - before_ms,
        false => usual,
    };
    match rng.random_range(0..4) {
        0 | 1 if zone != Zone::Utc => zone.changes(2026 + rng.random_range(0..2))[rng.random_range(0..2)] - before_ms,
        2 => {
            let midnight_ms = (usual.div_euclid(DAY_MS) + 1) * DAY_MS;
            midnight_ms - if rng.random_bool(0.5) { zone.offset_ms(midnight_ms) } else { 0 } - before_ms
        }
        _ => usual,
    }
}

fn lines(rng: &mut StdRng, call: &mut CallPlan) {
    call.line = [Line::Plain, Line::Plain, Line::Phone, Line::Bound][rng.random_range(0..4)];
    let special = [TOLL_FREE, TOLL_FREE, OWN_PHONE, FREE, NO_CDR][rng.random_range(0..5)];
    if rng.random_bool(0.25) {
        call.prefix = special;
    }
}

/// Agents above customers, up to three levels; prices by the hour; groups that split.
fn tree(rng: &mut StdRng, plan: &mut Plan, payers: usize) {
    let agents = rng.random_range(0..=3usize);
    let first = plan.versions[0].accounts.len();
    let mut above: Vec<Option<usize>> = vec![None; first + agents];
    for n in 0..agents {
        // Only upward, so that the tree has no rings.
        above[first + n] = (n > 0 && rng.random_bool(0.6)).then(|| first + rng.random_range(0..n));
    }
    for below in above.iter_mut().take(payers) {
        *below = (agents > 0 && rng.random_bool(0.75)).then(|| first + rng.random_range(0..agents));
    }
    let made: Vec<AccountPlan> = (0..agents)
        .map(|n| AccountPlan {
            name: format!("agent{n}"),
            opening: [100, 1_000, 1_000_000, 1_000_000][rng.random_range(0..4)] * UNITS / 100,
            limit: [0, 0, 50, 100_000][rng.random_range(0..4)] * UNITS / 100,
            clearing: false,
            rows: rows(rng, plan.wall_start_ms),
            ..AccountPlan::default()
        })
        .collect();
    let lines: Vec<(bool, bool, Option<bool>)> = plan.versions[0]
        .customers
        .iter()
        .map(|_| (rng.random_bool(0.7), rng.random_bool(0.7), [None, Some(true), Some(false)][rng.random_range(0..3)]))
        .collect();
    let hours: Vec<(Vec<Period>, bool)> = (0..first + agents)
        .map(|_| {
            let by_hour = rng.random_bool(0.35);
            (if by_hour { periods(rng, plan) } else { Vec::new() }, rng.random_bool(0.5))
        })
        .collect();
    for version in &mut plan.versions {
        version.accounts.extend(made.iter().cloned());
        for (n, account) in version.accounts.iter_mut().enumerate() {
            account.above = above[n];
            (account.periods, account.split) = hours[n].clone();
        }
        for (gateway, (phones, bound, own_free)) in version.customers.iter_mut().zip(&lines) {
            (gateway.phones, gateway.bound, gateway.own_free) = (*phones, *bound, *own_free);
        }
    }
}

/// Windows around the time of the run, with something for the rest of the day, unless they leave a gap.
fn periods(rng: &mut StdRng, plan: &Plan) -> Vec<Period> {
    let mut list = Vec::new();
    if rng.random_bool(0.9) {
        list.push(Period { days: 0, date: None, from_min: 0, to_min: DAY_MIN, per_min: price(rng) });
    }
    for _ in 0..rng.random_range(1..=3) {
        let near = plan.zone.local(plan.wall_start_ms + rng.random_range(-60_000..240_000));
        let minute = near.second / 60;
        let (from_min, to_min) = match rng.random_range(0..4) {
            0 => (minute, (minute + rng.random_range(1..5)) % DAY_MIN),
            1 => ((minute + 1) % DAY_MIN, (minute + 61) % DAY_MIN),
            2 => (minute, (minute + 720) % DAY_MIN),
            _ => (0, DAY_MIN),
        };
        // An end written 23:59 is the end of the day (billing.md 6.a).
        let to_min = if to_min == DAY_MIN - 1 { DAY_MIN } else { to_min };
        let (days, date) = match rng.random_range(0..4) {
            0 => (1 << near.weekday(), None),
            1 => (0, Some(near.day)),
            2 => (0x60, None),
            _ => (0, None),
        };
        list.push(Period { days, date, from_min, to_min, per_min: price(rng) });
    }
    // Equal ones would be told apart by their place alone.
    list.sort_by_key(Period::rank);
    list.dedup_by_key(|period| period.rank());
    list
}

fn price(rng: &mut StdRng) -> i128 {
    [0, 6_000_000, 30_000_000, 456_000, 1_234_567][rng.random_range(0..5)]
}

/// As [`plan::rows`], with stepped starts, prices that change within the run, and a destination that is forbidden.
fn rows(rng: &mut StdRng, wall_ms: i64) -> Vec<Row> {
    let mut rows = plan::rows_at(rng, &[0, 5_000_000, 40_000_000, 456_000, 777_777], wall_ms);
    for row in &mut rows {
        if rng.random_bool(0.15) {
            row.sections = (0..rng.random_range(1..3)).map(|_| (rng.random_range(0..40), price(rng) / 2)).collect();
        }
    }
    if rng.random_bool(0.3) {
        // A destination of its own from an instant on, which the shorter prefix had before.
        let from_ms = Some(wall_ms + rng.random_range(1_000..120_000));
        let id = rows.len() as u64 + 1;
        rows.push(Row { id, prefix: "86130".to_owned(), per_min: price(rng), from_ms, to_ms: None, ..rows[0].clone() });
    }
    if let Some(row) = rows.iter_mut().find(|row| row.prefix == "1212")
        && rng.random_bool(0.3)
    {
        row.locked = true;
    }
    rows
}

/// A version after the last one: other prices at once or from an instant on, another credit, other hours.
fn change(rng: &mut StdRng, plan: &Plan, payers: usize) -> Version {
    let mut next = plan.versions[plan.versions.len() - 1].clone();
    match rng.random_range(0..8) {
        0..4 => {
            let at = rng.random_range(0..next.accounts.len());
            let clearing = next.accounts[at].clearing;
            next.accounts[at].rows = rows(rng, plan.wall_start_ms);
            // A vendor with a forbidden row is passed over, which is the ladders' business.
            next.accounts[at].rows.iter_mut().for_each(|row| row.locked &= !clearing);
        }
        4 => {
            let at = rng.random_range(0..payers);
            next.accounts[at].limit = [0, 10, 500, 1_000_000][rng.random_range(0..4)] * UNITS / 100;
        }
        5 => {
            let at = rng.random_range(0..next.accounts.len());
            next.accounts[at].periods = if rng.random_bool(0.7) { periods(rng, plan) } else { Vec::new() };
        }
        6 => {
            let at = rng.random_range(0..next.accounts.len());
            next.accounts[at].split = !next.accounts[at].split;
        }
        _ => next.billing = plan::billing(rng),
    }
    next
}

/// What an office does: movements of money, calls of other systems, calls rated again.
fn office(rng: &mut StdRng, plan: &Plan, calls: u32, payers: usize, acts: &mut Vec<FaultKind>) {
    let version = &plan.versions[0];
    let units = |rng: &mut StdRng| i128::from(rng.random_range(1..300u32)) * UNITS / 100;
    let moves = rng.random_range(2..=4 + (calls / 30).min(30));
    for n in 0..moves {
        let account = rng.random_range(0..version.accounts.len());
        let vendor = version.accounts[account].clearing;
        let act = match rng.random_range(0..10) {
            _ if vendor => Act::Pay(units(rng)),
            0 | 1 => Act::Deduct(units(rng)),
            2 => Act::Zero,
            3..6 => {
                let earlier = plan.faults.iter().filter(|fault| matches!(fault.kind, FaultKind::Pay { .. }));
                let paid: Vec<String> = earlier.map(|fault| fault.name.clone()).collect();
                let moved = (0..n).map(|n| format!("move.{n}"));
                let names: Vec<String> = paid.into_iter().chain(moved).collect();
                if names.is_empty() { Act::Zero } else { Act::Reverse(names[rng.random_range(0..names.len())].clone()) }
            }
            6..9 => match version.accounts[account].above {
                Some(agent) => Act::From(agent, units(rng) / 4),
                None => Act::Pay(units(rng)),
            },
            _ => Act::Pay(units(rng)),
        };
        acts.push(FaultKind::Move { account, act, again: rng.random_bool(0.3) });
    }
    let mut index = 0;
    for _ in 0..rng.random_range(1..=2 + (calls / 100).min(6)) {
        let list = (0..rng.random_range(1..6))
            .map(|_| {
                index += 1;
                let hold_s = [0, 1, 59, 61, 600][rng.random_range(0..5)];
                ExternalCall {
                    index,
                    // Few numbers, so that some come twice.
                    flow_no: rng.random_bool(0.6).then(|| rng.random_range(1..20)),
                    account: rng.random_range(0..payers),
                    prefix: plan::PREFIXES[rng.random_range(0..plan::PREFIXES.len())],
                    // It is over when it is told of.
                    ago_ms: hold_s * 1_000 + rng.random_range(0..200_000),
                    hold_s,
                    gifts: (0..rng.random_range(0..3u32) / 2 * 2)
                        .map(|_| Gift { cycle_s: [1, 6, 60][rng.random_range(0..3)], left_s: rng.random_range(0..200) })
                        .collect(),
                    gift_money: if rng.random_bool(0.2) { units(rng) / 10 } else { 0 },
                }
            })
            .collect();
        acts.push(FaultKind::External { list, again: rng.random_bool(0.4) });
    }
    for _ in 0..rng.random_range(1..=2 + (calls / 150).min(4)) {
        let again = if rng.random_bool(0.3) {
            Again::Params(plan::billing(rng))
        } else {
            let account = rng.random_bool(0.5).then(|| rng.random_range(0..version.accounts.len()));
            let mut rows = rows(rng, plan.wall_start_ms);
            if rng.random_bool(0.2) {
                rows.retain(|row| !row.prefix.is_empty());
            }
            Again::Sheet(account, rows)
        };
        acts.push(FaultKind::Rerate { again, page: [1, 3, 20, 500][rng.random_range(0..4)] });
    }
}

impl Plan {
    /// Index of the account that owns the phone of call `index`: the one who is called, and the one who calls.
    pub fn phone_owner(&self, index: u32) -> usize {
        index as usize % self.payers()
    }

    /// Index of the account of the bound number of call `index`.
    pub fn bound_owner(&self, index: u32) -> usize {
        (index as usize + 1) % self.payers()
    }

    /// Index of the account of a phone card.
    pub fn card(&self, n: u8) -> usize {
        let name = format!("card{n}");
        self.versions[0].accounts.iter().position(|account| account.name == name).unwrap_or(0)
    }

    fn payers(&self) -> usize {
        self.versions[0]
            .accounts
            .iter()
            .filter(|account| !account.clearing && !account.is_card && !account.name.starts_with("agent"))
            .count()
    }
}
