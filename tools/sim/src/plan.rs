//! What a seed decides before anything runs: who is connected at what price, which calls come when, and what goes wrong.
//!
//! A plan is a list of independent things. Each call and each fault has a name and, where it needs chance, a seed of its
//! own, so that leaving some of them out ([`Mask`]) leaves the others as they were: that is what shrinking needs.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::civil::Zone;
use crate::price::{Billing, Row, UNITS};
use crate::trade::{self, Act, Again, ExternalCall, Line, Period};

/// Which kinds of trouble a run has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Profile {
    /// A perfect network and a perfect disk.
    Calm,
    /// Loss, repetition, reordering, delay, strangers, clock jumps, payments and changes of the configuration.
    Faults,
    /// As `faults`, and the disk is full, slow or broken.
    Disk,
    /// As `faults`, and the switch is killed or loses power.
    Crash,
    /// As `calm`, and everything that moves money: agents, callees who pay, prices by the hour and over the change of clocks,
    /// payments and reversals, changes of decks, calls of other systems, calls rated again.
    Money,
    /// Everything at once.
    All,
}

impl Profile {
    /// The word of the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Profile::Calm => "calm",
            Profile::Faults => "faults",
            Profile::Disk => "disk",
            Profile::Crash => "crash",
            Profile::Money => "money",
            Profile::All => "all",
        }
    }
}

/// What is left out of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    /// Only these calls, by number; `None` is all.
    pub only_calls: Option<BTreeSet<u32>>,
    /// Faults by name: `loss`, `repeat`, `delay`, `rtp`, `crash.0`, `disk.1`, `clock.0`, `pay.2`, `configure.0`, ..
    pub without: BTreeSet<String>,
}

/// One call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallPlan {
    /// Number in the plan, from 0.
    pub index: u32,
    /// When the customer calls, virtual microseconds.
    pub at_us: u64,
    /// Which customer.
    pub customer: usize,
    /// Digits in front of the number that tells the call.
    pub prefix: &'static str,
    /// Everything its parties do by chance.
    pub seed: u64,
    /// Whose number the caller has.
    pub line: Line,
}

impl CallPlan {
    /// The number that is dialled: no other call has it.
    pub fn number(&self) -> String {
        format!("{}{:07}", self.prefix, self.index)
    }

    /// The caller's number.
    pub fn caller(&self) -> String {
        format!("49301{:07}", self.index)
    }
}

/// Which call a dialled number belongs to.
pub fn call_of(number: &str) -> Option<u32> {
    number.len().checked_sub(7).and_then(|at| number.get(at..)?.parse().ok())
}

/// One thing that goes wrong, or that an operator does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Name for the mask.
    pub name: String,
    /// When, virtual microseconds.
    pub at_us: u64,
    /// What.
    pub kind: FaultKind,
}

/// See [`Fault`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The switch dies.
    Crash {
        /// The power goes too: what was not synced may be lost.
        power: bool,
        /// After so many more steps.
        steps: u32,
        /// Only steps of the disk count: it dies in or right behind a write or a sync.
        on_disk: bool,
        /// How long it is away, ms.
        away_ms: u64,
        /// The database file is lost too, and has to be written anew from the journal.
        database_lost: bool,
        /// It dies again while it starts, after so many steps.
        again: Option<u32>,
    },
    /// The disk takes only so many bytes more.
    DiskFull {
        /// Bytes.
        room: u64,
        /// How long, ms.
        for_ms: u64,
    },
    /// Writes fail.
    WriteErrors {
        /// How long, ms.
        for_ms: u64,
    },
    /// A sync fails: the switch stops and is started again.
    SyncError,
    /// The disk is slow.
    DiskSlow {
        /// A write takes, microseconds.
        write_us: u64,
        /// A sync takes, microseconds.
        sync_us: u64,
        /// How long, ms.
        for_ms: u64,
    },
    /// Somebody sets the wall clock.
    Clock {
        /// By so much, ms.
        by_ms: i64,
    },
    /// A customer pays.
    Pay {
        /// Which account.
        account: usize,
        /// Amount in units of 10^-8.
        units: i128,
    },
    /// The next version of the configuration comes into force.
    Configure,
    /// An operator moves money.
    Move {
        /// Which account.
        account: usize,
        /// How.
        act: Act,
        /// He asks for it a second time.
        again: bool,
    },
    /// Calls of another system are told.
    External {
        /// The calls.
        list: Vec<ExternalCall>,
        /// They are told a second time, those that came with a number of their own.
        again: bool,
    },
    /// All finished calls are rated again, and corrected.
    Rerate {
        /// By what.
        again: Again,
        /// Calls of one page: between two of them anything may happen.
        page: usize,
    },
    /// The network says that a vendor is not there.
    Unreachable {
        /// Which.
        vendor: usize,
    },
    /// An operator ends every call.
    KillAll,
    /// Rubbish arrives.
    Garbage {
        /// Datagrams.
        count: u32,
        /// Chance.
        seed: u64,
    },
    /// Calls from somebody nobody knows.
    Strangers {
        /// How many.
        count: u32,
    },
}

impl FaultKind {
    /// The word in names.
    pub fn word(&self) -> &'static str {
        match self {
            FaultKind::Crash { .. } => "crash",
            FaultKind::DiskFull { .. }
            | FaultKind::WriteErrors { .. }
            | FaultKind::SyncError
            | FaultKind::DiskSlow { .. } => "disk",
            FaultKind::Clock { .. } => "clock",
            FaultKind::Pay { .. } => "pay",
            FaultKind::Configure => "configure",
            FaultKind::Move { .. } => "move",
            FaultKind::External { .. } => "external",
            FaultKind::Rerate { .. } => "rerate",
            FaultKind::Unreachable { .. } => "unreachable",
            FaultKind::KillAll => "kill_all",
            FaultKind::Garbage { .. } => "garbage",
            FaultKind::Strangers { .. } => "strangers",
        }
    }
}

/// The way between the switch and one far address.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Link {
    /// Chance that a datagram is lost.
    pub loss: f64,
    /// Chance that it comes twice.
    pub repeat: f64,
    /// Longest delay, microseconds; each datagram has its own, and so they overtake each other.
    pub delay_us: u64,
}

/// An account that pays, with its prices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountPlan {
    /// Name.
    pub name: String,
    /// Opening balance, units.
    pub opening: i128,
    /// Credit limit, units.
    pub limit: i128,
    /// A vendor's.
    pub clearing: bool,
    /// Prices.
    pub rows: Vec<Row>,
    /// The agent above it.
    pub above: Option<usize>,
    /// Its rows may change during a call.
    pub split: bool,
    /// Prices of a minute by the hour, the most specific first; empty: those of the rows.
    pub periods: Vec<Period>,
}

/// A customer's or a vendor's gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GatewayPlan {
    /// Name.
    pub name: String,
    /// Index of its account.
    pub account: usize,
    /// Lines.
    pub capacity: Option<u32>,
    /// Calls per second.
    pub cps: Option<u32>,
    /// Vendors: prefixes.
    pub prefixes: Vec<&'static str>,
    /// Vendors: low first.
    pub priority: i32,
    /// Customers: callers that are phones pay themselves.
    pub phones: bool,
    /// Customers: callers that are bound numbers pay themselves.
    pub bound: bool,
    /// Customers: calls to phones of ours are free.
    pub own_free: Option<bool>,
}

/// One version of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Accounts, customers' first.
    pub accounts: Vec<AccountPlan>,
    /// Customers.
    pub customers: Vec<GatewayPlan>,
    /// Vendors.
    pub vendors: Vec<GatewayPlan>,
    /// How calls are billed.
    pub billing: Billing,
    /// Longest call, seconds.
    pub max_call_s: u32,
    /// `On`, `Off` or `Auto`.
    pub media_mode: &'static str,
    /// SERVER_BILLING_RECORD_ZERO_HOLD_TIME.
    pub record_zero_hold: bool,
}

/// See the module text.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Kinds of trouble.
    pub profile: Profile,
    /// Calls, in the order of time.
    pub calls: Vec<CallPlan>,
    /// Faults, in the order of time.
    pub faults: Vec<Fault>,
    /// Versions of the configuration, the first in force at the start.
    pub versions: Vec<Version>,
    /// Links to customers, then to vendors.
    pub links: Vec<Link>,
    /// Whether parties send media.
    pub rtp: bool,
    /// Media ports: this many from 10000.
    pub ports: u16,
    /// Question to the rating thread and answer back, microseconds each way.
    pub rating_us: u64,
    /// Between two transactions of the projection, ms.
    pub project_ms: u64,
    /// Segment size of the journal, bytes.
    pub segment_bytes: u64,
    /// Seed of everything random inside the switch and its disk.
    pub switch_seed: u64,
    /// No more calls begin after this, virtual microseconds.
    pub begin_us: u64,
    /// Everything must be over by then, virtual microseconds; a run ends when it is.
    pub end_us: u64,
    /// Wall clock at the beginning, UTC ms.
    pub wall_start_ms: i64,
    /// Zone of prices by the hour.
    pub zone: Zone,
    /// Zone of the days of records and reports: minutes east of UTC.
    pub store_offset_min: i32,
}

/// What calls are made to: deck rows have these prefixes or beginnings of them.
pub const PREFIXES: [&str; 6] = ["8613", "8610", "4930", "4915", "1212", "999"];

const CUSTOMERS_MAX: usize = 5;
const VENDORS_MAX: usize = 5;
const MS: u64 = 1_000;
const SECOND: u64 = 1_000_000;

impl Plan {
    /// The plan of `seed` with `calls` calls.
    pub fn new(seed: u64, calls: u32, profile: Profile) -> Plan {
        let mut rng = StdRng::seed_from_u64(seed);
        let rng = &mut rng;
        let max_call_s = rng.random_range(60..200);
        let first = Version::first(rng, max_call_s);
        let customers = first.customers.len();
        let accounts_customers = first.accounts.iter().filter(|a| !a.clearing).count();
        // Between a trickle and a storm.
        let gap_us = [20 * MS, 100 * MS, 300 * MS, SECOND][rng.random_range(0..4)];
        let begin_us = (u64::from(calls) * gap_us).max(5 * SECOND);
        let mut list: Vec<CallPlan> = (0..calls)
            .map(|index| CallPlan {
                index,
                at_us: rng.random_range(SECOND..SECOND + begin_us),
                customer: rng.random_range(0..customers),
                prefix: PREFIXES[rng.random_range(0..PREFIXES.len())],
                seed: rng.random(),
                line: Line::Plain,
            })
            .collect();
        list.sort_by_key(|call| (call.at_us, call.index));
        let last_us = SECOND + begin_us + u64::from(max_call_s) * SECOND;

        let mut faults = Vec::new();
        let mut versions = vec![first];
        let trouble = !matches!(profile, Profile::Calm | Profile::Money);
        let active = begin_us + 60 * SECOND;
        let add = |faults: &mut Vec<Fault>, rng: &mut StdRng, kind: FaultKind| {
            faults.push(Fault { name: String::new(), at_us: rng.random_range(SECOND..SECOND + active), kind });
        };
        // An operator's day, in every profile: the longer the run, the more of it.
        let per = |n: u32| 1 + calls / n;
        for _ in 0..rng.random_range(0..=per(100)) {
            let account = rng.random_range(0..accounts_customers);
            let units = i128::from(rng.random_range(1..500u32)) * UNITS / 100;
            add(&mut faults, rng, FaultKind::Pay { account, units });
        }
        if trouble {
            for _ in 0..rng.random_range(0..=per(150)).min(20) {
                let next = versions[versions.len() - 1].next(rng);
                versions.push(next);
                add(&mut faults, rng, FaultKind::Configure);
            }
            for _ in 0..rng.random_range(0..=per(200)).min(10) {
                let by_ms = [-86_400_000, -61_000, -1_500, -700, 900, 30_000, 3_600_000][rng.random_range(0..7)];
                add(&mut faults, rng, FaultKind::Clock { by_ms });
            }
            for _ in 0..rng.random_range(0..=per(200)) {
                let kind = match rng.random_range(0..4) {
                    0 => FaultKind::Unreachable { vendor: rng.random_range(0..versions[0].vendors.len()) },
                    1 => FaultKind::Garbage { count: rng.random_range(1..200), seed: rng.random() },
                    2 => FaultKind::Strangers { count: rng.random_range(1..30) },
                    _ if rng.random_bool(0.3) => FaultKind::KillAll,
                    _ => FaultKind::Garbage { count: 20, seed: rng.random() },
                };
                add(&mut faults, rng, kind);
            }
        }
        if matches!(profile, Profile::Disk | Profile::All) {
            for _ in 0..rng.random_range(1..=per(150)).min(12) {
                let for_ms = rng.random_range(50..8_000);
                let kind = match rng.random_range(0..10) {
                    0..4 => FaultKind::DiskFull { room: rng.random_range(0..40_000), for_ms },
                    4..6 => FaultKind::WriteErrors { for_ms },
                    6 => FaultKind::SyncError,
                    _ => FaultKind::DiskSlow {
                        write_us: rng.random_range(0..300) * MS,
                        sync_us: rng.random_range(0..2_000) * MS,
                        for_ms,
                    },
                };
                add(&mut faults, rng, kind);
            }
        }
        if matches!(profile, Profile::Crash | Profile::All) {
            for _ in 0..rng.random_range(1..=1 + per(100)).min(25) {
                let on_disk = rng.random_bool(0.5);
                let kind = FaultKind::Crash {
                    power: rng.random_bool(0.5),
                    steps: rng.random_range(0..if on_disk { 6 } else { 60 }),
                    on_disk,
                    away_ms: [0, 50, 2_000, 20_000][rng.random_range(0..4)],
                    database_lost: rng.random_bool(0.1),
                    again: rng.random_bool(0.3).then(|| rng.random_range(0..40)),
                };
                add(&mut faults, rng, kind);
            }
        }
        faults.sort_by_key(|fault| fault.at_us);
        let mut numbers = std::collections::BTreeMap::new();
        for fault in &mut faults {
            let n: &mut u32 = numbers.entry(fault.kind.word()).or_default();
            fault.name = format!("{}.{n}", fault.kind.word());
            *n += 1;
        }
        let bad = trouble && rng.random_bool(0.7);
        let links = (0..CUSTOMERS_MAX + VENDORS_MAX)
            .map(|_| {
                let delay_us = [MS, 20 * MS, 400 * MS][rng.random_range(0..3)];
                let (loss, repeat) = (rng.random_range(0.0..0.2), rng.random_range(0.0..0.15));
                if bad { Link { loss, repeat, delay_us } } else { Link { delay_us: MS, ..Link::default() } }
            })
            .collect();
        let mut plan = Plan {
            seed,
            profile,
            calls: list,
            faults,
            versions,
            links,
            rtp: rng.random_bool(0.7),
            ports: [16, 64, 256, 2_000][rng.random_range(0..4)],
            rating_us: [0, 0, 30, 2_000, 200_000][rng.random_range(0..5)],
            project_ms: [20, 400, 400, 5_000][rng.random_range(0..4)],
            segment_bytes: [4_096, 65_536, 1 << 20][rng.random_range(0..3)],
            switch_seed: rng.random(),
            begin_us,
            // Every vendor may ring for two minutes and be given up; then the longest call, and what nobody answers.
            end_us: last_us + (VENDORS_MAX as u64 * 125 + 300) * SECOND,
            wall_start_ms: tandem_ladder::switch::WALL_START_MS,
            zone: Zone::Utc,
            store_offset_min: 0,
        };
        if matches!(profile, Profile::Money | Profile::All) {
            trade::add(&mut plan, calls);
        }
        plan
    }

    /// Takes out what `mask` names.
    pub fn masked(mut self, mask: &Mask) -> Plan {
        if let Some(only) = &mask.only_calls {
            self.calls.retain(|call| only.contains(&call.index));
        }
        self.faults.retain(|fault| !mask.without.contains(&fault.name));
        let without = |name: &str| mask.without.contains(name);
        for link in &mut self.links {
            if without("loss") {
                link.loss = 0.0;
            }
            if without("repeat") {
                link.repeat = 0.0;
            }
            if without("delay") {
                link.delay_us = MS;
            }
        }
        self.rtp &= !without("rtp");
        if without("rating_delay") {
            self.rating_us = 0;
        }
        self
    }

    /// Everything a mask can leave out.
    pub fn names(&self) -> Vec<String> {
        let general = ["loss", "repeat", "delay", "rtp", "rating_delay"].map(str::to_owned);
        general.into_iter().chain(self.faults.iter().map(|fault| fault.name.clone())).collect()
    }
}

impl Version {
    fn first(rng: &mut StdRng, max_call_s: u32) -> Version {
        let mut accounts = Vec::new();
        let mut customers = Vec::new();
        for n in 0..rng.random_range(2..=CUSTOMERS_MAX) {
            // Two gateways may share an account.
            let account = if n > 0 && rng.random_bool(0.3) {
                accounts.len() - 1
            } else {
                let cents = [0, 5, 100, 1_000, 1_000_000][rng.random_range(0..5)];
                let limit = [0, 0, 50, 100_000][rng.random_range(0..4)];
                accounts.push(AccountPlan {
                    name: format!("customer{n}"),
                    opening: cents * UNITS / 100,
                    limit: limit * UNITS / 100,
                    clearing: false,
                    rows: rows(rng, &[0, 6_000_000, 300_000_000, 456_000, 1_234_567]),
                    ..AccountPlan::default()
                });
                accounts.len() - 1
            };
            customers.push(GatewayPlan {
                name: format!("a{n}"),
                account,
                capacity: rng.random_bool(0.3).then(|| rng.random_range(1..40)),
                cps: rng.random_bool(0.2).then(|| rng.random_range(1..20)),
                ..GatewayPlan::default()
            });
        }
        let mut vendors = Vec::new();
        for n in 0..rng.random_range(2..=VENDORS_MAX) {
            accounts.push(AccountPlan {
                name: format!("vendor{n}"),
                opening: 0,
                limit: 0,
                clearing: true,
                rows: rows(rng, &[0, 3_000_000, 55_000_000, 235_000]),
                ..AccountPlan::default()
            });
            vendors.push(GatewayPlan {
                name: format!("b{n}"),
                account: accounts.len() - 1,
                capacity: rng.random_bool(0.5).then(|| rng.random_range(1..30)),
                cps: rng.random_bool(0.1).then(|| rng.random_range(1..20)),
                prefixes: if n == 0 || rng.random_bool(0.6) { vec![""] } else { vec!["86", "49"] },
                priority: rng.random_range(1..4),
                ..GatewayPlan::default()
            });
        }
        Version {
            accounts,
            customers,
            vendors,
            billing: billing(rng),
            max_call_s,
            media_mode: ["On", "On", "Off", "Auto"][rng.random_range(0..4)],
            record_zero_hold: rng.random_bool(0.8),
        }
    }

    /// A small change of it.
    fn next(&self, rng: &mut StdRng) -> Version {
        let mut next = self.clone();
        match rng.random_range(0..4) {
            0 => {
                let at = rng.random_range(0..next.accounts.len());
                next.accounts[at].rows = rows(rng, &[0, 9_000_000, 60_000_000, 999_000]);
            }
            1 => next.billing = billing(rng),
            2 => {
                let at = rng.random_range(0..next.vendors.len());
                next.vendors[at].capacity = rng.random_bool(0.7).then(|| rng.random_range(0..20));
            }
            _ => {
                let at = rng.random_range(0..next.customers.len());
                next.customers[at].capacity = rng.random_bool(0.5).then(|| rng.random_range(0..20));
                next.vendors.iter_mut().for_each(|v| v.priority = rng.random_range(1..4));
            }
        }
        next
    }
}

pub(crate) fn billing(rng: &mut StdRng) -> Billing {
    // Precision and unit fit each other (billing.md 6.6).
    let (fp, fee_unit) =
        [(2, UNITS / 100), (3, UNITS / 1_000), (4, UNITS / 10_000), (3, UNITS / 100), (2, UNITS / 1_000)]
            [rng.random_range(0..5)];
    Billing {
        fp,
        fee_unit,
        hold_ms: [0, 50, 50, 500, 999][rng.random_range(0..5)],
        free_s: [0, 0, 0, 6][rng.random_range(0..4)],
        quantise: rng.random_bool(0.7),
        free_vendor: rng.random_bool(0.7),
    }
}

/// A row for everything, and some for longer prefixes; one of them may change its price at an instant.
fn rows(rng: &mut StdRng, rates: &[i128]) -> Vec<Row> {
    rows_at(rng, rates, tandem_ladder::switch::WALL_START_MS)
}

/// The same for a run that begins at `wall_ms`.
pub(crate) fn rows_at(rng: &mut StdRng, rates: &[i128], wall_ms: i64) -> Vec<Row> {
    let mut rows = vec![row(rng, rates, "")];
    for prefix in ["86", "8613", "49", "1212"] {
        if rng.random_bool(0.4) {
            rows.push(row(rng, rates, prefix));
        }
    }
    if rng.random_bool(0.3) {
        let at_ms = wall_ms + rng.random_range(1_000..120_000);
        let mut later = row(rng, rates, "");
        rows[0].to_ms = Some(at_ms);
        later.from_ms = Some(at_ms);
        rows.push(later);
    }
    for (n, row) in rows.iter_mut().enumerate() {
        row.id = n as u64 + 1;
    }
    rows
}

fn row(rng: &mut StdRng, rates: &[i128], prefix: &str) -> Row {
    let (first_s, next_s) = [(60, 60), (1, 1), (6, 6), (30, 6)][rng.random_range(0..4)];
    Row {
        id: 0,
        prefix: prefix.into(),
        per_min: rates[rng.random_range(0..rates.len())],
        first_s,
        next_s,
        connection: if rng.random_bool(0.2) { UNITS / 50 } else { 0 },
        tax_pct: if rng.random_bool(0.2) { 19 * UNITS } else { 0 },
        ..Row::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_has_one_plan_and_another_seed_another() {
        let one = Plan::new(7, 50, Profile::All);
        let two = Plan::new(7, 50, Profile::All);
        assert_eq!((&one.calls, &one.faults, &one.versions), (&two.calls, &two.faults, &two.versions));
        assert_ne!(one.calls, Plan::new(8, 50, Profile::All).calls);
    }

    #[test]
    fn what_is_masked_leaves_the_rest_as_it_was() {
        let whole = Plan::new(3, 50, Profile::All);
        let crash = whole.faults.iter().find(|f| matches!(f.kind, FaultKind::Crash { .. })).unwrap().name.clone();
        let mask = Mask { only_calls: Some([4, 9].into()), without: [crash.clone(), "loss".to_owned()].into() };
        let less = whole.clone().masked(&mask);
        assert_eq!(less.calls.len(), 2);
        assert!(less.calls.iter().all(|call| whole.calls.contains(call)));
        assert_eq!(less.faults.len() + 1, whole.faults.len());
        assert!(less.links.iter().all(|link| link.loss == 0.0));
    }

    #[test]
    fn a_number_tells_its_call() {
        for call in &Plan::new(1, 20, Profile::Calm).calls {
            assert_eq!(call_of(&call.number()), Some(call.index));
        }
        assert_eq!(call_of("123"), None);
    }
}
