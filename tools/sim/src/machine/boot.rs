//! A start over what is there, as `appliance/src/boot.rs` does it: journal, database, money, then the rooms.

use jiff::tz::TimeZone;
use tandem_desk::{Past, phone_payers};
use tandem_store::{Queries, StoredOrder};

use super::*;

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
            let past = Past {
                now,
                zone: &rules.zone,
                balances: &recovered.balances,
                accounts: &built.accounts,
                phone_payers: phone_payers(&built.snapshot),
            };
            let queries = Queries::open(dir).map_err(|error| failed("what was spent", error.to_string()))?;
            past.tell(&mut rater, &queries).map_err(|error| failed("what was spent", error.to_string()))?;
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
