//! What accounts and phones pay besides calls, and what bounds them: packages and their orders, fees of phones, bounds of a month,
//! cards, accounts that are locked or expire. Drawn from dice of its own, like the rest of the money side.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::plan::{AccountPlan, Fault, FaultKind, Plan, Version};
use crate::price::UNITS;
use crate::trade::{Act, Line};

const SECOND: u64 = 1_000_000;
const DAY_MS: i64 = 86_400_000;
/// Phones of ours that call more than once.
const HOUSE: u8 = 4;
/// Seconds of a day.
const DAY_S: i64 = 86_400;

/// Unit of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Months.
    Month,
    /// Days.
    Day,
    /// Years.
    Year,
    /// One period of so many seconds.
    Once,
}

/// What becomes of an order without money for its rent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poor {
    /// It waits.
    Wait,
    /// It is asked again with the next period.
    Next,
    /// It ends.
    Delete,
}

/// Gift time of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GiftTime {
    /// Beginnings of the called number; none is every number.
    pub prefixes: Vec<&'static str>,
    /// From this second of the day on.
    pub from_s: i64,
    /// Before this one; below `from_s` over midnight.
    pub to_s: i64,
    /// Seconds.
    pub gift_s: i64,
    /// Used in cycles of so many.
    pub cycle_s: i64,
}

/// A package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackagePlan {
    /// Name.
    pub name: String,
    /// Unit of a period.
    pub unit: Unit,
    /// Units of a period.
    pub length: u32,
    /// Periods are those of the calendar, the first is paid in part.
    pub partial: bool,
    /// Rent, units.
    pub rent: i128,
    /// Minimum consumption, units.
    pub minimum: i128,
    /// What calls must have cost before gifts are used, units.
    pub lower: i128,
    /// Gift money, units.
    pub money: i128,
    /// Gift time.
    pub gifts: Vec<GiftTime>,
}

/// A phone of ours that calls more than once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhonePlan {
    /// Index of its account.
    pub account: usize,
    /// Monthly rent, units.
    pub rent: i128,
    /// Monthly minimum, units.
    pub minimum: i128,
    /// What its calls may cost in a month, units.
    pub max: Option<i128>,
    /// No calls.
    pub locked: bool,
}

/// An order of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderPlan {
    /// Account.
    pub account: usize,
    /// Only one of its phones.
    pub phone: Option<usize>,
    /// Name of the package.
    pub package: String,
    /// Begins so long after it is ordered, ms.
    pub after_ms: i64,
    /// Ends so long after it is ordered, ms.
    pub for_ms: Option<i64>,
    /// Low first; none is last.
    pub priority: Option<u32>,
    /// Percent of the rent.
    pub percent: u32,
    /// Without money.
    pub poor: Poor,
}

/// What people do with orders; each is named by the act that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderAct {
    /// A new one.
    New(OrderPlan),
    /// It ends so long after this, ms; `None` is never.
    Expire(String, Option<i64>),
    /// Its place among others.
    Priority(String, Option<u32>),
    /// It ends with its period, or now.
    Cancel(String, bool),
    /// Periods of long ago are taken.
    CatchUp(String),
}

impl OrderAct {
    /// The act that made the order.
    pub fn of(&self) -> Option<&str> {
        match self {
            OrderAct::New(_) => None,
            OrderAct::Expire(name, _)
            | OrderAct::Priority(name, _)
            | OrderAct::Cancel(name, _)
            | OrderAct::CatchUp(name) => Some(name),
        }
    }
}

/// The number of a phone of ours.
pub fn house_number(n: usize) -> String {
    format!("4930200000{n}")
}

/// Adds it to a plan that has a money side.
pub(crate) fn add(plan: &mut Plan, calls: u32) {
    let mut rng = StdRng::seed_from_u64(plan.seed ^ 0x7265_6e74);
    let rng = &mut rng;
    let payers: Vec<usize> = (0..plan.versions[0].accounts.len())
        .filter(|at| {
            !plan.versions[0].accounts[*at].clearing && !crate::setup::is_agent(&plan.versions[0].accounts[*at])
        })
        .collect();
    let cards = cards(rng, plan);
    for call in &mut plan.calls {
        match rng.random_range(0..10) {
            0..3 => call.line = Line::House(rng.random_range(0..HOUSE)),
            3 if cards > 0 => call.line = Line::Card(rng.random_range(0..cards)),
            _ => {}
        }
    }
    let packages: Vec<PackagePlan> = (0..rng.random_range(1..=3)).map(|n| package(rng, plan, n)).collect();
    let phones: Vec<PhonePlan> = (0..usize::from(HOUSE)).map(|n| phone(rng, payers[n % payers.len()])).collect();
    for version in &mut plan.versions {
        version.packages.clone_from(&packages);
        version.phones.clone_from(&phones);
    }
    bounds(rng, plan);
    let changes = rng.random_range(0..=1 + (calls / 100).min(4));
    let mut acts: Vec<FaultKind> = (0..changes).map(|_| FaultKind::Configure).collect();
    for _ in 0..changes {
        let next = change(rng, plan);
        plan.versions.push(next);
    }
    let orders = rng.random_range(1..=3 + (calls / 60).min(12));
    for n in 0..orders {
        let act = if n == 0 || rng.random_bool(0.65) {
            OrderAct::New(order(rng, plan, &payers))
        } else {
            let of = format!("order.{}", rng.random_range(0..n));
            match rng.random_range(0..8) {
                0..2 => OrderAct::Expire(of, rng.random_bool(0.7).then(|| rng.random_range(1_000..60 * DAY_MS))),
                2..4 => OrderAct::Priority(of, rng.random_bool(0.7).then(|| rng.random_range(0..4))),
                4..6 => OrderAct::Cancel(of, rng.random_bool(0.4)),
                _ => OrderAct::CatchUp(of),
            }
        };
        acts.push(FaultKind::Order(act));
    }
    for _ in 0..if cards > 0 { rng.random_range(0..3) } else { 0 } {
        let card = plan.versions[0].accounts.len() - 1 - rng.random_range(0..usize::from(cards));
        let act = Act::Card(card);
        acts.push(FaultKind::Move {
            account: payers[rng.random_range(0..payers.len())],
            act,
            again: rng.random_bool(0.3),
        });
    }
    for _ in 0..rng.random_range(0..=2) {
        // Also while the switch is off.
        let by_ms = [1, 1, 7, 20, 32, 70][rng.random_range(0..6)] * DAY_MS;
        acts.push(FaultKind::Clock { by_ms });
    }
    let begin_us = plan.begin_us;
    let mut numbers: BTreeMap<&'static str, u32> = BTreeMap::new();
    for fault in &plan.faults {
        *numbers.entry(fault.kind.word()).or_default() += 1;
    }
    for kind in acts {
        let n = numbers.entry(kind.word()).or_default();
        // Orders come early: most calls are behind them.
        let until_us =
            if matches!(&kind, FaultKind::Order(act) if act.of().is_none()) { begin_us / 2 } else { begin_us };
        let at_us = rng.random_range(SECOND / 2..SECOND + until_us);
        plan.faults.push(Fault { name: format!("{}.{n}", kind.word()), at_us, kind });
        *n += 1;
    }
    plan.faults.sort_by_key(|fault| fault.at_us);
}

fn cents(rng: &mut StdRng, list: &[i128]) -> i128 {
    list[rng.random_range(0..list.len())] * UNITS / 100
}

fn cards(rng: &mut StdRng, plan: &mut Plan) -> u8 {
    let cards = rng.random_range(0..=2u8);
    for n in 0..cards {
        let card = AccountPlan {
            name: format!("card{n}"),
            opening: cents(rng, &[500, 5_000, 50_000]),
            rows: crate::plan::rows_at(rng, &[0, 6_000_000, 30_000_000, 1_234_567], plan.wall_start_ms),
            card_days: rng.random_bool(0.7).then(|| [1, 7, 30][rng.random_range(0..3)]),
            is_card: true,
            ..AccountPlan::default()
        };
        plan.versions.iter_mut().for_each(|version| version.accounts.push(card.clone()));
    }
    cards
}

fn package(rng: &mut StdRng, plan: &Plan, n: usize) -> PackagePlan {
    let unit = [Unit::Month, Unit::Month, Unit::Day, Unit::Day, Unit::Once, Unit::Year][rng.random_range(0..6)];
    let length = if unit == Unit::Once { rng.random_range(20..200) } else { [1, 1, 1, 3][rng.random_range(0..4)] };
    PackagePlan {
        name: format!("package{n}"),
        unit,
        length,
        partial: unit != Unit::Once && rng.random_bool(0.5),
        rent: cents(rng, &[0, 1, 99, 500, 777]),
        minimum: cents(rng, &[0, 0, 50, 1_000]),
        lower: cents(rng, &[0, 0, 0, 20]),
        money: cents(rng, &[0, 0, 25, 1_000, 100_000]),
        gifts: (0..rng.random_range(0..4)).map(|_| gift(rng, plan)).collect(),
    }
}

fn gift(rng: &mut StdRng, plan: &Plan) -> GiftTime {
    let prefixes = [vec![], vec!["49"], vec!["4930", "86"], vec!["8613", "12"]][rng.random_range(0..4)].clone();
    let near_s = plan.zone.local(plan.wall_start_ms + rng.random_range(-30_000..90_000)).second / 60 * 60;
    let (from_s, to_s) = match rng.random_range(0..5) {
        0 => (near_s, (near_s + 60 * rng.random_range(1..20)) % DAY_S),
        1 => ((near_s + 43_200) % DAY_S, near_s),
        _ => (0, DAY_S),
    };
    // An end at midnight is the end of the day.
    let (from_s, to_s) = if to_s == 0 { (from_s, DAY_S) } else { (from_s, to_s) };
    let (from_s, to_s) = if from_s == to_s { (0, DAY_S) } else { (from_s, to_s) };
    let cycle_s = [1, 6, 60, 60][rng.random_range(0..4)];
    let gift_s = [60, 200, 3_600, 1_000_000][rng.random_range(0..4)];
    GiftTime { prefixes, from_s, to_s, gift_s, cycle_s }
}

fn phone(rng: &mut StdRng, account: usize) -> PhonePlan {
    PhonePlan {
        account,
        rent: cents(rng, &[0, 0, 199]),
        minimum: cents(rng, &[0, 0, 5, 500]),
        max: rng.random_bool(0.3).then(|| cents(rng, &[1, 50, 5_000])),
        locked: rng.random_bool(0.05),
    }
}

/// Accounts that expire, are locked, or may cost only so much in a month.
fn bounds(rng: &mut StdRng, plan: &mut Plan) {
    for at in 0..plan.versions[0].accounts.len() {
        let clearing = plan.versions[0].accounts[at].clearing;
        let soon_ms = plan.wall_start_ms + [30_000, 90_000, 3 * DAY_MS, 40 * DAY_MS][rng.random_range(0..4)];
        let until_ms = rng.random_bool(0.12).then_some(soon_ms);
        let max = rng.random_bool(0.2).then(|| cents(rng, &[1, 100, 1_000]));
        for version in plan.versions.iter_mut().filter(|_| !clearing) {
            // A card's validity is its own; nothing bounds what agents spend in a month.
            let account = &mut version.accounts[at];
            account.until_ms = until_ms;
            account.monthly_max = max.filter(|_| !crate::setup::is_agent(account));
        }
    }
}

/// A version after the last one.
fn change(rng: &mut StdRng, plan: &Plan) -> Version {
    let mut next = plan.versions[plan.versions.len() - 1].clone();
    let at = rng.random_range(0..next.accounts.len());
    let account = &mut next.accounts[at];
    match rng.random_range(0..6) {
        0 => account.locked = !account.clearing && !account.locked,
        1 if !account.clearing => account.until_ms = None,
        2 => {
            let n = rng.random_range(0..next.packages.len());
            let name = next.packages[n].name.clone();
            next.packages[n] = PackagePlan { name, ..package(rng, plan, n) };
        }
        3 => {
            let n = rng.random_range(0..next.phones.len());
            next.phones[n] = phone(rng, next.phones[n].account);
        }
        4 => {
            let n = rng.random_range(0..next.phones.len());
            next.phones[n].locked = !next.phones[n].locked;
        }
        _ if !account.clearing => account.locked = !account.locked,
        _ => {}
    }
    next
}

fn order(rng: &mut StdRng, plan: &Plan, payers: &[usize]) -> OrderPlan {
    let version = &plan.versions[0];
    let phone = rng.random_bool(0.3).then(|| rng.random_range(0..version.phones.len()));
    let agents: Vec<usize> =
        (0..version.accounts.len()).filter(|at| crate::setup::is_agent(&version.accounts[*at])).collect();
    let account = match phone {
        Some(phone) => version.phones[phone].account,
        None if !agents.is_empty() && rng.random_bool(0.2) => agents[rng.random_range(0..agents.len())],
        None => payers[rng.random_range(0..payers.len())],
    };
    OrderPlan {
        account,
        phone,
        package: version.packages[rng.random_range(0..version.packages.len())].name.clone(),
        after_ms: [0, 0, 0, 10_000, 2 * DAY_MS][rng.random_range(0..5)],
        for_ms: rng.random_bool(0.3).then(|| [40_000, 3 * DAY_MS, 45 * DAY_MS][rng.random_range(0..3)]),
        priority: rng.random_bool(0.6).then(|| rng.random_range(0..4)),
        percent: [100, 100, 100, 50, 0][rng.random_range(0..5)],
        poor: [Poor::Wait, Poor::Next, Poor::Delete][rng.random_range(0..3)],
    }
}
