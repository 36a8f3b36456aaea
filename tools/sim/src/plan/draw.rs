//! The dice of a plan: connections and prices, calls, and what goes wrong; the money side has dice of its own.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{AccountPlan, CallPlan, Fault, FaultKind, GatewayPlan, Link, MS, Plan, Profile, Version};
use crate::civil::Zone;
use crate::price::{Billing, Row, UNITS};
use crate::rent;
use crate::trade::{self, Line};

/// What calls are made to: deck rows have these prefixes or beginnings of them.
pub const PREFIXES: [&str; 6] = ["8613", "8610", "4930", "4915", "1212", "999"];

const CUSTOMERS_MAX: usize = 5;
const VENDORS_MAX: usize = 5;
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
            rent::add(&mut plan, calls);
        }
        plan
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
            packages: Vec::new(),
            phones: Vec::new(),
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
