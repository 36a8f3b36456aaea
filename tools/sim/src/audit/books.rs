//! The end of a run: journal and database against the wire.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tandem_leg::Time;
use tandem_rating::cdr::Cdr;
use tandem_rating::money::Money;
use tandem_rating::package::PackageEvent;
use tandem_rating::record::{Correction, LedgerRow, Record};
use tandem_store::{CdrFilter, LIMIT_MAX, LedgerFilter, Queries, Reader};

use super::Auditor;
use super::calls::{By, WireCall};
use crate::machine::Machine;
use crate::plan::FaultKind;
use crate::price;

/// From the end of a call to the write of its record when nothing is in the way, besides the rating thread's own time.
pub(super) const SLACK_US: u64 = 1_500_000;

/// What the journal says of one call.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub(super) start: Option<(u64, String)>,
    /// Longest hold time of a heartbeat before the settlement.
    pub(super) heartbeat_ms: Option<i64>,
    pub(super) settled: Option<(u64, Option<Box<Cdr>>, Vec<LedgerRow>)>,
}

impl Story {
    /// Its record, when it has one.
    pub(super) fn cdr(&self) -> Option<&Cdr> {
        self.settled.as_ref().and_then(|(_, cdr, _)| cdr.as_deref())
    }
}

/// The journal, read once.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) stories: BTreeMap<u64, Story>,
    /// All rows in order.
    pub(super) ledger: Vec<LedgerRow>,
    /// Corrections in order, with their place.
    pub(super) corrections: Vec<(u64, Correction)>,
    /// Steps of orders in order, with their place and how much of the ledger is before each.
    pub(super) packages: Vec<(u64, usize, PackageEvent)>,
    /// Rows of calls, with their place.
    pub(super) charges: Vec<(u64, LedgerRow)>,
    /// Versions of the configuration, with their place.
    pub(super) versions: Vec<(u64, u64)>,
    version: u64,
}

pub(super) fn units(money: Money) -> i128 {
    price::units(&money.to_string()).unwrap_or(i128::MIN)
}

impl Auditor {
    /// Compares everything.
    pub(super) fn books(&mut self, machine: &Machine) {
        let books = match self.read_journal(machine) {
            Ok(books) => books,
            Err(error) => {
                self.report("journal", None, format!("the journal cannot be read to its end: {error}"));
                return;
            }
        };
        self.read_claims(&books);
        self.check_calls(&books);
        self.check_external(&books);
        self.check_charges(&books);
        self.check_packages(&books, machine);
        self.check_bounds(&books);
        let corrected = self.check_corrections(&books);
        self.check_money(&books, machine, corrected);
        self.check_reports(&books, machine);
        self.check_database(&books, machine);
        if self.plan.has_packages() {
            self.check_rebuilt(machine);
        }
        self.check_leftovers(machine);
        if books.version != self.version {
            self.report("configuration", None, format!("{} is on record, {} in force", books.version, self.version));
        }
    }

    fn read_journal(&mut self, machine: &Machine) -> Result<Books, String> {
        let mut reader = Reader::from_seq(&machine.dir(), 1).map_err(|error| error.to_string())?;
        let mut books = Books { version: 1, ..Books::default() };
        let mut keys = BTreeSet::new();
        while let Some((seq, record)) = reader.next_record().map_err(|error| error.to_string())? {
            match record {
                Record::Start { usage, .. } => {
                    let story = books.stories.entry(usage.flow_no).or_default();
                    // Again after every change of its session, always before its end.
                    story.start.get_or_insert((seq, usage.caller_call_id.to_string()));
                    if story.settled.is_some() {
                        self.report("journal", None, format!("call {} starts after its end", usage.flow_no));
                    }
                }
                Record::Heartbeat { alive, unacknowledged, .. } => {
                    for (flow_no, held_ms) in alive.into_iter().chain(unacknowledged) {
                        let story = books.stories.entry(flow_no).or_default();
                        if story.settled.is_some() {
                            self.report("journal", None, format!("call {flow_no} is alive after its end"));
                        }
                        story.heartbeat_ms = Some(story.heartbeat_ms.unwrap_or(0).max(held_ms));
                    }
                }
                Record::Settled { flow_no, cdr, ledger } => {
                    for row in &ledger {
                        self.key(&mut keys, row);
                        books.ledger.push(row.clone());
                        books.charges.push((seq, row.clone()));
                    }
                    let story = books.stories.entry(flow_no).or_default();
                    if story.settled.replace((seq, cdr, ledger)).is_some() {
                        self.report("journal", None, format!("call {flow_no} is settled twice"));
                    }
                }
                Record::Ledger(row) => {
                    self.key(&mut keys, &row);
                    books.ledger.push(row);
                }
                Record::Corrected(correction) => {
                    for row in &correction.ledger {
                        self.key(&mut keys, row);
                        books.ledger.push(row.clone());
                    }
                    books.corrections.push((seq, *correction));
                }
                Record::Package(event) => {
                    let ledger_at = books.ledger.len();
                    for row in &event.ledger {
                        self.key(&mut keys, row);
                        books.ledger.push(row.clone());
                    }
                    books.packages.push((seq, ledger_at, *event));
                }
                Record::Change(change) => {
                    books.version = books.version.max(change.version);
                    books.versions.push((seq, change.version));
                }
                Record::Site { version, .. } => books.version = books.version.max(version),
                _ => {}
            }
        }
        Ok(books)
    }

    fn key(&mut self, keys: &mut BTreeSet<String>, row: &LedgerRow) {
        if !keys.insert(row.key.clone()) {
            self.report("ledger", None, format!("key {} is booked twice", row.key));
        }
    }

    /// Which life wrote a record.
    pub(super) fn boot_of(&self, seq: u64) -> u32 {
        self.lives.iter().rposition(|life| life.first_seq <= seq).unwrap_or(0) as u32
    }

    // --- calls ----------------------------------------------------------------------------------------------------

    fn check_calls(&mut self, books: &Books) {
        // A call that a later life settled belongs to the life of its start record.
        let mut cdrs: HashMap<(u32, String), (u64, &Story)> = HashMap::new();
        for (flow_no, story) in &books.stories {
            if story.start.is_some() && story.settled.is_none() {
                self.report("cdr", None, format!("call {flow_no} was answered and never settled"));
            }
            let Some((seq, Some(cdr), _)) = &story.settled else { continue };
            self.seen.cdrs += 1;
            if cdr.billing_type == EXTERNAL {
                continue;
            }
            let boot = self.boot_of(story.start.as_ref().map_or(*seq, |(seq, _)| *seq));
            self.seen.recovered += u64::from(recovered(cdr));
            if let Some((other, _)) = cdrs.insert((boot, cdr.caller_call_id.to_string()), (*flow_no, story)) {
                self.report("cdr", None, format!("two records, {other} and {flow_no}, of call {}", cdr.caller_call_id));
            }
        }
        let mut found = Vec::new();
        let mut due = BTreeMap::new();
        for call in &self.calls {
            let story = cdrs.remove(&(call.boot, call.call_id.clone()));
            if let Err(text) = self.check_call(call, story.map(|(_, story)| story)) {
                found.push((call.index, text));
            } else if let Some((flow_no, story)) = story
                && let Some(cdr) = story.cdr()
                && let Ok(Some(mut owed)) = self.owed(call, cdr)
            {
                owed.start_seq = story.start.as_ref().map_or(u64::MAX, |(seq, _)| *seq);
                due.insert(flow_no, owed);
            }
        }
        let silent = |call: &&WireCall| call.answered.is_some() && self.payer(call).no_cdr;
        self.seen.no_cdr += self.calls.iter().filter(silent).count() as u64;
        for owed in due.values() {
            owed.count(&self.plan, &mut self.seen);
        }
        self.due.extend(due);
        for ((boot, call_id), (flow_no, story)) in cdrs {
            let cost = story.settled.as_ref().map_or(0, |(_, _, rows)| rows.len());
            // Strangers' calls leave a record (cdr.md 3 row 1) and cost nothing.
            let illegal =
                story.settled.as_ref().and_then(|(_, cdr, _)| cdr.as_ref()).is_some_and(|c| c.billing_mode == -1);
            if cost > 0 || !illegal {
                found.push((None, format!("record {flow_no} of life {boot} is of call {call_id}, which nobody made")));
            }
        }
        for (index, text) in found {
            self.report("cdr", index, text);
        }
    }

    /// Until when a record that was due at `at` may have waited for the disk.
    pub(super) fn settled_by(&self, at: Time) -> Time {
        let slow = self.plan.faults.iter().any(|fault| matches!(fault.kind, FaultKind::DiskSlow { .. }));
        let slack = SLACK_US + 6 * self.plan.rating_us + if slow { 2_500_000 } else { 0 };
        let mut by = at;
        for (from, to) in &self.broken {
            if *from <= by.plus_micros(slack) && *to >= by {
                by = *to;
            }
        }
        by.plus_micros(slack)
    }

    fn check_call(&self, call: &WireCall, story: Option<&Story>) -> Result<(), String> {
        let settled = story.and_then(|story| story.settled.as_ref());
        let cdr = settled.and_then(|(_, cdr, _)| cdr.as_deref());
        let told = cdr.filter(|cdr| !recovered(cdr)).map(|cdr| call.ended_as(cdr.hold_ms, cdr.end_direction));
        let call = told.as_ref().unwrap_or(call);
        if self.payer(call).no_cdr {
            return cdr.map_or(Ok(()), |cdr| Err(format!("it has record {}, its number leaves none", cdr.flow_no)));
        }
        if call.overload && !call.refused {
            return Err("it was refused as if nothing could be written, but everything could".to_owned());
        }
        if call.refused && !call.overload && call.final_status.is_some() {
            return Err(format!("it came while nothing could be written and was answered {:?}", call.final_status));
        }
        if call.overload {
            return cdr
                .map_or(Ok(()), |cdr| Err(format!("refused for lack of a journal, but has record {}", cdr.flow_no)));
        }
        let Some(death) = call.death else {
            return match call.over {
                Some(_) => self.check_ordinary(call, story, cdr),
                None => Err(format!("it never ended: answered {:?}, status {:?}", call.answered, call.final_status)),
            };
        };
        let safe = call.over.is_some_and(|(at, _)| self.settled_by(at) <= death.durable_until);
        if safe {
            return self.check_ordinary(call, story, cdr);
        }
        let Some(cdr) = cdr else {
            // Its start record was written before the caller heard of the answer.
            let told = call.answered.is_some_and(|answered| !death.power || answered.mono <= death.durable_until);
            let may_be_short = !self.record_zero_hold();
            return if told && !may_be_short { Err("it was answered and has no record".to_owned()) } else { Ok(()) };
        };
        if call.told_lost && !recovered(cdr) {
            return Err(format!("record {} is no record of a crash, but the next life hung it up", cdr.flow_no));
        }
        if !recovered(cdr) {
            return if call.is_over() {
                self.check_ordinary(call, story, Some(cdr))
            } else {
                Err(format!("record {} tells of its end, the wire does not", cdr.flow_no))
            };
        }
        let last_ms = story.and_then(|story| story.heartbeat_ms).unwrap_or(0);
        if cdr.hold_ms != last_ms {
            return Err(format!("recovered: {} ms billed, the last heartbeat says {last_ms}", cdr.hold_ms));
        }
        if let Some(answered) = call.answered {
            let end = call.over.map_or(death.at, |(at, _)| at);
            // One that outlived an earlier death is held from the vendor's answer, see check_ordinary.
            let written = call.vendor_answer.as_ref().filter(|_| !call.gaps.is_empty()).map(|answer| answer.at);
            let most = (end.since(written.unwrap_or(answered).mono) / 1_000) as i64;
            // The last heartbeat that can have been written.
            let (alive, slack_ms) = self.last_heartbeat(end.min(death.durable_until), &call.gaps);
            let least = (alive.since(answered.mono) / 1_000) as i64 - slack_ms as i64;
            if cdr.hold_ms > most || cdr.hold_ms < least {
                return Err(format!("recovered: {} ms billed, {least} to {most} by the wire", cdr.hold_ms));
            }
        } else if cdr.hold_ms != 0 {
            return Err(format!("recovered: {} ms billed to a caller who never heard of an answer", cdr.hold_ms));
        }
        self.check_price(call, cdr)
    }

    fn record_zero_hold(&self) -> bool {
        self.plan.versions[0].record_zero_hold
    }

    /// A call whose end is on record in the life that saw it.
    fn check_ordinary(&self, call: &WireCall, story: Option<&Story>, cdr: Option<&Cdr>) -> Result<(), String> {
        let held_ms = call.held_ms().unwrap_or(0);
        let Some(cdr) = cdr else {
            // A BYE ends the call when it comes; it is answered when the end is on record.
            let ended = call.answered.into_iter().flat_map(|answered| {
                let after = call.byes.iter().filter(move |(at, _)| *at >= answered.mono);
                after.map(move |(at, _)| (at.since(answered.mono) / 1_000) as i64)
            });
            let held_ms = ended.fold(held_ms, i64::min);
            let zero = self.hold_s(call, held_ms).map_or(held_ms == 0, |hold_s| hold_s == 0);
            return if zero && !self.record_zero_hold() {
                Ok(())
            } else {
                Err(format!("no record, held {held_ms} ms"))
            };
        };
        if recovered(cdr) {
            return Err(format!("record {} is that of a crash, but its end was on record before", cdr.flow_no));
        }
        if has_flag(cdr, "adopted") == call.gaps.is_empty() {
            return Err(format!("flags {:?}, it has outlived {} deaths", cdr.flags, call.gaps.len()));
        }
        let Some(answered) = call.answered else {
            if cdr.connect_ms.is_some() || cdr.hold_ms != 0 || !cdr.fee.is_zero() || !cdr.vendor_fee.is_zero() {
                return Err(format!("record {} says answered, the wire does not", cdr.flow_no));
            }
            return Ok(());
        };
        if story.is_some_and(|story| story.start.is_none()) {
            return Err("the caller was told of the answer before it was on record".to_owned());
        }
        // A start record is written before the caller is told: a call that outlived a crash is held from the vendor's answer,
        // unless its session was changed and it was written again.
        let written = call.vendor_answer.as_ref().map(|answer| answer.at);
        let from_answer = written.filter(|at| !call.gaps.is_empty() && cdr.connect_ms == Some(at.wall_ms));
        let longest_ms = from_answer.map_or(held_ms, |at| call.held_since(at).unwrap_or(0));
        let since_told_ms = held_ms;
        // Both may be within the same millisecond of the clock.
        let held_ms = if cdr.connect_ms == Some(answered.wall_ms) { held_ms } else { longest_ms };
        if cdr.connect_ms != Some(answered.wall_ms) && from_answer.is_none() {
            return Err(format!("connected at {:?}, the wire says {}", cdr.connect_ms, answered.wall_ms));
        }
        // A call whose money is used up is cut by a timer that may be a tick late; the tick is not charged.
        // Nor is what a call was on while nobody was there to cut it.
        let away = call.gaps.last().zip(call.over).filter(|((_, to), (over, _))| over.since(*to) < 1_000_000);
        let away_ms = away.map_or(0, |((from, _), (over, _))| over.since(*from) / 1_000) as i64;
        // One that goes on and cannot pay the second that runs is cut at once; that second is not charged.
        let running_ms = if away.is_some() { 1_000 } else { 0 };
        let late = if cdr.end_direction == 2 { 5 + away_ms + running_ms } else { 0 };
        // What was due to be cut while nobody was there was due from when the caller was told, as the life before counted.
        let least_ms = if late > 0 && away.is_some() { since_told_ms } else { held_ms };
        if cdr.hold_ms > longest_ms || cdr.hold_ms < least_ms - late {
            return Err(format!("held {} ms, {held_ms} by the wire", cdr.hold_ms));
        }
        let by = match call.over.and_then(|(_, by)| by) {
            Some(By::Caller) => Some(0),
            Some(By::Callee) => Some(1),
            _ => None,
        };
        if by.is_some_and(|by| by != cdr.end_direction) {
            return Err(format!("ended by {}, {by:?} by the wire", cdr.end_direction));
        }
        self.check_price(call, cdr)
    }

    // --- the database ---------------------------------------------------------------------------------------------

    fn check_database(&mut self, books: &Books, machine: &Machine) {
        if let Err(text) = self.compare_database(books, machine) {
            self.report("database", None, text);
        }
    }

    fn compare_database(&mut self, books: &Books, machine: &Machine) -> Result<(), String> {
        let fail = |error: tandem_store::StoreError| error.to_string();
        let queries = Queries::open(&machine.dir()).map_err(fail)?;
        let verified = queries.verify().map_err(fail)?;
        if let Some(problem) = verified.problems.first() {
            return Err(problem.clone());
        }
        let mut stored: BTreeMap<u64, Cdr> = BTreeMap::new();
        loop {
            let filter = CdrFilter { limit: Some(LIMIT_MAX), offset: stored.len() as u64, ..CdrFilter::default() };
            let page = queries.cdr_list(&filter).map_err(fail)?;
            if page.is_empty() {
                break;
            }
            stored.extend(page.into_iter().map(|cdr| (cdr.flow_no, cdr)));
        }
        for (flow_no, story) in &books.stories {
            let Some((_, Some(cdr), _)) = &story.settled else { continue };
            let Some(mut row) = stored.remove(flow_no) else {
                return Err(format!("the record of call {flow_no} is not in the database"));
            };
            row.id = cdr.id;
            if row != **cdr {
                return Err(format!("the record of call {flow_no} differs: {row:?} is not {cdr:?}"));
            }
        }
        if let Some((flow_no, _)) = stored.first_key_value() {
            return Err(format!("the database has a record of call {flow_no} that the journal has not"));
        }
        let rows = queries.ledger_count(&LedgerFilter::default()).map_err(fail)?;
        if rows != books.ledger.len() as u64 {
            return Err(format!("{rows} ledger rows, {} in the journal", books.ledger.len()));
        }
        let balances: BTreeMap<String, i128> =
            queries.accounts().map_err(fail)?.into_iter().map(|a| (a.name, units(a.balance))).collect();
        for account in machine.rater().accounts() {
            if balances.get(&account.name).copied().unwrap_or(0) != units(account.balance) {
                return Err(format!(
                    "{} has {} in memory, {:?} in the database",
                    account.name,
                    account.balance,
                    balances.get(&account.name)
                ));
            }
        }
        Ok(())
    }

    // --- leftovers ------------------------------------------------------------------------------------------------

    fn check_leftovers(&mut self, machine: &Machine) {
        let core = machine.core();
        let (calls, sip) = (core.calls().counts(), core.endpoint().counts());
        let mut left: Vec<(usize, String)> = [
            (calls.calls, "calls"),
            (calls.legs, "legs of calls"),
            (calls.timers, "call timers"),
            (calls.ports_leased, "leased media ports"),
            (calls.questions, "questions without an answer"),
            (sip.transactions, "SIP transactions"),
            (sip.dialogs, "dialogs"),
            (sip.legs, "SIP legs"),
            (sip.timers, "SIP timers"),
            (sip.keys, "SIP keys"),
            (core.flows(), "media flows"),
            (core.counters_kept(), "counters of removed flows that no record got"),
            (core.unsettled(), "calls not settled"),
            (machine.under_way(), "messages between threads"),
            (machine.sockets().abs_diff(calls.ports_ready), "media sockets too many or too few"),
            (machine.rater().calls_held(), "calls held by the owner of money"),
        ]
        .map(|(n, what)| (n, what.to_owned()))
        .to_vec();
        for account in machine.rater().accounts() {
            left.push((account.calls as usize, format!("calls on account {}", account.name)));
            left.push((usize::from(!account.reserved.is_zero()), format!("reservation on account {}", account.name)));
        }
        for gateway in machine.rater().gateways(machine.now()) {
            left.push((gateway.in_use as usize, format!("lines in use of gateway {}", gateway.name)));
        }
        for (n, what) in left.into_iter().filter(|(n, _)| *n != 0) {
            self.report("left", None, format!("{n} {what}"));
        }
    }
}

/// `billing_type` of calls of other systems.
pub(super) const EXTERNAL: i32 = 2;

fn recovered(cdr: &Cdr) -> bool {
    has_flag(cdr, "recovered")
}

fn has_flag(cdr: &Cdr, wanted: &str) -> bool {
    cdr.flags.split([',', ' ']).any(|flag| flag == wanted)
}
