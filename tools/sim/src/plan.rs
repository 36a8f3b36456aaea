//! What a seed decides before anything runs: who is connected at what price, which calls come when, and what goes wrong.
//!
//! A plan is a list of independent things. Each call and each fault has a name and, where it needs chance, a seed of its
//! own, so that leaving some of them out ([`Mask`]) leaves the others as they were: that is what shrinking needs.

use std::collections::BTreeSet;

use crate::civil::Zone;
use crate::price::{Billing, Row};
use crate::rent::{self, OrderAct, PackagePlan, PhonePlan};
use crate::trade::{Act, Again, ExternalCall, Line, Period};

mod draw;

pub use draw::PREFIXES;
pub(crate) use draw::{billing, rows_at};

const MS: u64 = 1_000;

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
        match self.line {
            Line::House(n) => rent::house_number(usize::from(n)),
            Line::Card(n) => format!("4930300000{n}"),
            _ => format!("49301{:07}", self.index),
        }
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
    /// Somebody orders a package, or changes an order.
    Order(OrderAct),
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
            FaultKind::Order(_) => "order",
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
    /// No calls.
    pub locked: bool,
    /// No calls from then on, UTC ms.
    pub until_ms: Option<i64>,
    /// What its calls may cost in a month, units.
    pub monthly_max: Option<i128>,
    /// It is a phone card.
    pub is_card: bool,
    /// It is valid for so many days after its first use.
    pub card_days: Option<u32>,
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
    /// Packages.
    pub packages: Vec<PackagePlan>,
    /// Phones that call more than once.
    pub phones: Vec<PhonePlan>,
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

impl Plan {
    /// Whether the plan has a money side.
    pub fn has_packages(&self) -> bool {
        !self.versions[0].packages.is_empty()
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
