//! A start over what is there, as `appliance/src/boot.rs` does it: journal, database, money, then the rooms.

use std::collections::HashMap;

use jiff::tz::TimeZone;
use tandem_rater::PHONE_MEMO;
use tandem_rating::money::Money;
use tandem_rating::record::LedgerKind;
use tandem_store::{LIMIT_MAX, LedgerFilter, Queries, StoredOrder};

use super::*;
use crate::plan::Version;

impl Machine {
    /// Starts over what is in `dir`, as `appliance/src/boot.rs` does: journal, database, money, then the rooms.
    ///
    /// A lit fuse may kill it on the way: then there is a machine all the same, and it is dead. `hardware` is what the kernel
    /// calls the time since it was started: calls go on only under the same.
    ///
    /// # Errors
    /// It does not start; no crash may lead there.
    pub fn boot(
        plan: &Plan,
        dir: &Path,
        fuse: Arc<Fuse>,
        boot: u32,
        hardware: [u8; 16],
        now: Now,
        bug: Bug,
    ) -> Result<(Machine, Started), String> {
        let disk = SimDisk::new(plan.switch_seed ^ u64::from(boot), fuse.clone());
        let options =
            JournalOptions { segment_bytes: plan.segment_bytes, disk: disk.maker(), ..JournalOptions::default() };
        let failed = |what: &str, error: String| format!("the switch does not start, {what}: {error}");
        let (mut journal, report) = Journal::open(dir, options).map_err(|e| failed("journal", e.to_string()))?;
        let first_seq = journal.next_seq();
        let mut sabotage = Sabotage::new(bug);
        let zone_offset_min = plan.store_offset_min + sabotage.skew_min();
        let store = StoreOptions { zone_offset_min, ..StoreOptions::new("USD") };
        let recovered = recover(&mut journal, &store, now.wall_ms).map_err(|e| failed("database", e.to_string()))?;
        let fresh = recovered.version == 0;
        let version = recovered.version.max(1);
        let wanted = plan.versions.get(version as usize - 1).ok_or("a configuration that was never committed")?;
        let mut built = setup::build(plan, wanted, boot, sabotage.fixed_zone())?;
        sabotage.built(&mut built);

        let mut rater = Rater::new(recovered.balances.clone());
        let rules = rules(plan, &sabotage)?;
        rater.configure(now, &built.accounts, &built.gateways, rules.clone());
        let stored = recovered.packages.iter().cloned().map(|stored| sabotage.order(stored));
        rater.packages_before(
            stored.map(|StoredOrder { order, used_s, money, spent, .. }| (order, used_s, money, spent)),
        );
        let mut packages = setup::packages(plan, wanted)?;
        sabotage.packages(&mut packages);
        rater.configure_packages(now, packages);
        if !sabotage.forgets_spent() {
            before(&mut rater, now, plan, wanted, &rules.zone, dir, &recovered.balances)
                .map_err(|error| failed("what was spent", error))?;
        }
        let advance_min = built.snapshot.settings.overdraft_advance_min;
        let mut started = Started {
            first_seq,
            version,
            open: recovered.open_calls.len(),
            adopted: Vec::new(),
            poor: Vec::new(),
            cut: report.bytes_cut,
        };
        let (mut carried, mut hung_up) = (Vec::new(), Vec::new());
        // What is lost is charged before money is held for the others.
        let (alive, lost): (Vec<OpenCall>, Vec<OpenCall>) =
            recovered.open_calls.into_iter().partition(|call| may_go_on(now, &hardware, call).is_some());
        for call in lost.into_iter().filter(|_| !sabotage.forgets_open()) {
            rater.settle_recovered(now, &settle_recovered(call.usage.clone(), call.held_ms));
            if tandem_shard::home_of(&call.carry, &hardware, 1).is_some() {
                hung_up.push(call.carry);
            }
        }
        let mut going = Vec::new();
        for call in alive.into_iter().filter(|_| !sabotage.forgets_open()) {
            let Some(held_s) = may_go_on(now, &hardware, &call) else { continue };
            let lost = settle_recovered(call.usage.clone(), call.held_ms);
            going.push((call, lost, held_s));
        }
        let adoptions: Vec<_> =
            going.iter().map(|(call, lost, held_s)| Adoption { usage: &call.usage, lost, held_s: *held_s }).collect();
        let grants = if sabotage.reserves_nothing() {
            adoptions.iter().map(|_| Ok((None, false))).collect()
        } else {
            rater.adopt(now, &adoptions, advance_min)
        };
        for ((call, lost, _), grant) in going.into_iter().zip(grants) {
            let caller = call.usage.caller_call_id.to_string();
            let Ok(grant) = grant else {
                started.poor.push(caller);
                hung_up.push(call.carry);
                continue;
            };
            if sabotage.settles_adopted() {
                rater.settle_recovered(now, &lost);
            }
            sabotage.adopts(call.usage.flow_no, call.held_ms);
            carried.push((caller, Carry { usage: call.usage, carry: call.carry, grant, lost: Box::new(lost) }));
        }
        let sync = journal.sync_handle();
        let mut desk = Desk::new(rater, journal);
        if fresh {
            let change = Record::Change(Box::new(Change { version, how: "bootstrap".into(), ..change_text(1) }));
            desk.journal_mut().append(&change).map_err(|e| failed("first record", e.to_string()))?;
        }
        let written = desk.write().map_err(|e| e.to_string()).and_then(|_| sync.sync().map_err(|e| e.to_string()));
        if let Err(error) = written
            && !fuse.is_dead()
        {
            return Err(failed("first records", error));
        }
        let mut calls = built.calls;
        calls.flow_floor = recovered.flow_floor;
        let snapshot = built.snapshot.clone();
        let core = Core::new(Config {
            sip: built.sip,
            calls,
            snapshot: built.snapshot,
            unsettled_max: 2_048,
            overload_retry_after_s: OVERLOAD_RETRY_AFTER_S,
            heartbeat_calls_max: 20_000,
            boot: hardware,
            fast_path: None,
        });
        let checkpointer = Checkpointer::open(dir).map_err(|e| failed("database", e.to_string()))?;
        let mut machine = Machine {
            fuse,
            disk,
            now,
            core,
            desk,
            snapshot,
            office: Office::new(recovered.flow_floor),
            sync,
            projector: recovered.projector,
            reader: recovered.reader,
            checkpointer,
            sabotage,
            rules,
            rating_us: plan.rating_us,
            sync_us: 500 + plan.switch_seed % 8_000,
            project_ms: plan.project_ms,
            open: BTreeSet::new(),
            questions: VecDeque::new(),
            answers: VecDeque::new(),
            sent: VecDeque::new(),
            news: VecDeque::new(),
            tell_decisions: false,
            broken: false,
            busy_until: now.mono,
            retry_at: None,
            sync_wanted: false,
            sync_ends: None,
            sync_next: now.mono,
            oldest_unsynced: None,
            durable_until: now.mono,
            next_heartbeat: now.mono.plus_millis(HEARTBEAT_MS),
            next_project: now.mono.plus_millis(plan.project_ms),
            next_checkpoint: now.mono.plus_millis(CHECKPOINT_MS),
            stopping: None,
            turns: (now.mono, 0),
            version,
        };
        machine.core.handle_timeout(now);
        machine.drain();
        for (caller, carry) in carried {
            if machine.core.adopt(now, carry).is_ok() {
                started.adopted.push(caller);
            }
            machine.drain();
        }
        for carry in hung_up {
            machine.core.say_goodbye(now, &carry);
            machine.drain();
        }
        Ok((machine, started))
    }
}

/// Whether a call that was open may go on (boot.rs `may_go_on`): the seconds it is held by now.
pub(super) fn may_go_on(now: Now, hardware: &[u8; 16], call: &OpenCall) -> Option<i64> {
    let (_, answered) = tandem_shard::home_of(&call.carry, hardware, 1)?;
    let alive = answered.plus_millis(u64::try_from(call.held_ms).unwrap_or(0));
    let silent_s = now.mono.since(alive) / 1_000_000;
    let young = silent_s <= ADOPT_WITHIN_S + HEARTBEAT_MS / 1_000;
    (call.acknowledged && young).then(|| (now.mono.since(answered) / 1_000_000) as i64)
}

/// What accounts and phones spent this month, and when cards were used first (boot.rs `spent_before` and `first_uses`).
fn before(
    rater: &mut Rater,
    now: Now,
    plan: &Plan,
    version: &Version,
    zone: &TimeZone,
    dir: &Path,
    balances: &[(String, Money)],
) -> Result<(), String> {
    let fail = |error: tandem_store::StoreError| error.to_string();
    let queries = Queries::open(dir).map_err(fail)?;
    let begins = [tandem_rater::day_of(zone, now.wall_ms).0, tandem_rater::month_of(zone, now.wall_ms).0];
    let mut moved: HashMap<String, [Money; 2]> = HashMap::new();
    let mut phones: HashMap<String, Money> = HashMap::new();
    let mut first: HashMap<String, i64> = HashMap::new();
    let sum = |sum: Money, amount: Money| sum.checked_add(amount).map_err(|error| error.to_string());
    for kind in LedgerKind::ALL.into_iter().filter(|kind| *kind != LedgerKind::Gift) {
        let kind = Some(kind.as_str().to_owned());
        let mut filter = LedgerFilter { kind, oldest_first: true, limit: Some(LIMIT_MAX), ..LedgerFilter::default() };
        loop {
            let page = queries.ledger_list(&filter).map_err(fail)?;
            for row in &page {
                if row.kind == LedgerKind::Call.as_str() {
                    first.entry(row.account.clone()).or_insert(row.at_ms);
                    if let Some(phone) = row.memo.strip_prefix(PHONE_MEMO).filter(|_| row.at_ms >= begins[1]) {
                        let spent = phones.entry(phone.to_owned()).or_default();
                        *spent = spent.checked_sub(row.amount).map_err(|error| error.to_string())?;
                    }
                    continue;
                }
                let sums = moved.entry(row.account.clone()).or_default();
                for (total, _) in sums.iter_mut().zip(begins).filter(|(_, begin)| row.at_ms >= *begin) {
                    *total = sum(*total, row.amount)?;
                }
            }
            filter.offset += page.len() as u64;
            if page.len() < LIMIT_MAX {
                break;
            }
        }
    }
    for (account, balance) in balances {
        let moved = moved.get(account).copied().unwrap_or_default();
        let mut spent = [Money::ZERO; 2];
        for ((spent, from_ms), moved) in spent.iter_mut().zip(begins).zip(moved) {
            let (account, from_ms) = (Some(account.clone()), Some(from_ms));
            let filter =
                LedgerFilter { account, from_ms, oldest_first: true, limit: Some(1), ..LedgerFilter::default() };
            let rows = queries.ledger_list(&filter).map_err(fail)?;
            let Some(first) = rows.first() else { continue };
            let before = first.balance_after.checked_sub(first.amount).map_err(|error| error.to_string())?;
            *spent = sum(before, moved)?.checked_sub(*balance).map_err(|error| error.to_string())?;
        }
        rater.spent_before(now, account, spent[0], spent[1]);
    }
    let bounded = (0..version.phones.len()).filter(|n| version.phones[*n].max.is_some()).map(crate::rent::house_number);
    for number in bounded {
        if let Some(spent) = phones.get(&number) {
            rater.phone_spent_before(now, &number, *spent);
        }
    }
    for card in plan.versions[0].accounts.iter().filter(|account| account.card_days.is_some()) {
        if let Some(at_ms) = first.get(&card.name) {
            rater.first_use_before(&card.name, *at_ms);
        }
    }
    Ok(())
}

pub(super) fn change_text(version: u64) -> Change {
    Change { text: Some(format!("version {version}")), ..Change::default() }
}

pub(super) fn rules(plan: &Plan, sabotage: &Sabotage) -> Result<Rules, String> {
    Ok(Rules {
        record_zero_hold: plan.versions[0].record_zero_hold,
        no_cdr_numbers: setup::no_cdr_numbers(),
        zone: if sabotage.forgets_zone() { TimeZone::UTC } else { setup::zone(plan, false)? },
        ..Rules::default()
    })
}

pub(super) fn constant<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().unwrap_or_else(|e| panic!("constant {text}: {e:?}"))
}
