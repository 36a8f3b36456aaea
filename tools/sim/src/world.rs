//! One run: the switch, everybody around it, the network between them and whatever goes wrong, on one virtual clock.

use std::collections::{BinaryHeap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tandem_leg::{Now, Time};
use tandem_rater::Move;
use tandem_store::DATABASE_FILE;

use crate::actor::{Actor, Device, Intent, Speech, Word};
use crate::audit::{Auditor, Finding, Seen};
use crate::bug::Bug;
use crate::fuse::Fuse;
use crate::hash::EventHash;
use crate::machine::{Machine, News, Sent};
use crate::plan::{CallPlan, Fault, FaultKind, Link, Plan, call_of};
use crate::setup;
use crate::trade::{Act, ExternalCall};

mod events;
mod troubles;
mod wire;

use wire::{first_line, header, network, rubbish, stranger};

/// A crash that no step has set off by then happens anyway, ms.
const CRASH_LATEST_MS: u64 = 4_000;
/// How long a sync would fail when one came, ms.
const SYNC_ERROR_MS: u64 = 5_000;
/// What a power cut may take when the disk is neither slow nor broken (limits.rs GROUP_COMMIT_MS).
const LOSS_MS: u64 = 50;
/// Starts in a row that may die before the run gives up; plans ask for one.
const STARTS_MAX: u32 = 8;
/// Parties of a call that was silent for so long are forgotten: no transaction and no session timer lasts longer.
const FORGET_S: u64 = 400;
/// An operator who was refused, or who did not believe it, asks again after this, ms.
const AGAIN_MS: u64 = 3_000;
/// Between two pages of a run of corrections, ms.
const PAGE_MS: u64 = 30;
/// How often a run of corrections is begun anew.
const TRIES_MAX: u32 = 10;
/// Findings after which a run stops: the rest says the same.
const FINDINGS_ENOUGH: usize = 20;

#[derive(Debug)]
struct Event {
    at: Time,
    order: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    Call(CallPlan),
    Say(u32, Device, Word),
    ToSwitch(SocketAddr, Vec<u8>),
    ToFar(u32, Device, Vec<u8>),
    MediaToSwitch(SocketAddr, u16, Vec<u8>),
    Fault(Fault),
    /// A fault of the disk is over.
    Mended(FaultKind),
    /// A crash that is overdue.
    Blow(u32),
    Boot,
    /// An operator repeats himself.
    Again(Fault),
    /// The next page of a run of corrections.
    Page(Job),
}

/// A run of corrections.
#[derive(Clone, Debug)]
struct Job {
    fault: Fault,
    /// The last call of the page before.
    after: Option<u64>,
    /// The life in which it began; it begins anew in the next one.
    boot: u32,
    tries: u32,
}

impl PartialEq for Event {
    fn eq(&self, other: &Event) -> bool {
        self.order == other.order
    }
}
impl Eq for Event {}
impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Event) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Event {
    fn cmp(&self, other: &Event) -> std::cmp::Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// A crash that was decided and may not have happened yet.
#[derive(Clone, Copy, Debug)]
struct Crash {
    power: bool,
    away_ms: u64,
    database_lost: bool,
    again: Option<u32>,
}

struct Party {
    actor: Actor,
    /// Chance of the network for this call alone: other calls do not change it.
    network: StdRng,
    last: Time,
    call_ids: Vec<String>,
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// How much was seen.
    pub seen: Seen,
    /// Hash of everything that happened.
    pub hash: u64,
    /// Deaths of the switch.
    pub crashes: u32,
    /// Of these, with the power gone.
    pub power_cuts: u32,
    /// Bytes that power cuts took.
    pub bytes_lost: u64,
    /// Writes and syncs that the disk refused.
    pub disk_refused: u64,
    /// What happened, in lines; empty unless it was asked for.
    pub story: Vec<(Option<u32>, String)>,
}

/// See the module text.
pub(crate) struct World<'p> {
    plan: &'p Plan,
    bug: Bug,
    dir: PathBuf,
    now: Now,
    machine: Option<Machine>,
    boot: u32,
    /// How often the power came back: calls go on only within one such time.
    hardware: u32,
    starts: u32,
    crash: Option<Crash>,
    /// The next start dies after so many steps, and whether the power goes then.
    again: Option<(u32, bool)>,
    events: BinaryHeap<Event>,
    order: u64,
    parties: HashMap<u32, Party>,
    by_call_id: HashMap<String, (u32, Device)>,
    media_owners: HashMap<SocketAddr, u32>,
    /// Calls by flow number, for the story.
    flows: HashMap<u64, u32>,
    secrets: [Vec<String>; 2],
    auditor: Auditor,
    hash: EventHash,
    record: bool,
    outcome: Outcome,
    slow_until: Time,
    next_sweep: Time,
    /// The run of corrections that is under way: one at a time.
    correcting: Option<String>,
}

impl<'p> World<'p> {
    pub(crate) fn new(plan: &'p Plan, dir: &Path, bug: Bug, record: bool) -> World<'p> {
        let first = &plan.versions[0];
        let ips = |n: usize, address: fn(usize) -> SocketAddr| (0..n).map(|n| address(n).ip().to_string()).collect();
        let mut world = World {
            plan,
            bug,
            dir: dir.join("journal"),
            now: Now { mono: Time::ZERO, wall_ms: plan.wall_start_ms },
            machine: None,
            boot: 0,
            hardware: 1,
            starts: 0,
            crash: None,
            again: None,
            events: BinaryHeap::new(),
            order: 0,
            parties: HashMap::new(),
            by_call_id: HashMap::new(),
            media_owners: HashMap::new(),
            flows: HashMap::new(),
            // What a customer must not see, and what a vendor must not see.
            secrets: [
                ips(first.vendors.len(), setup::vendor_address),
                ips(first.customers.len(), setup::customer_address),
            ],
            auditor: Auditor::new(plan),
            hash: EventHash::default(),
            record,
            outcome: Outcome {
                findings: Vec::new(),
                seen: Seen::default(),
                hash: 0,
                crashes: 0,
                power_cuts: 0,
                bytes_lost: 0,
                disk_refused: 0,
                story: Vec::new(),
            },
            slow_until: Time::ZERO,
            next_sweep: Time::from_secs(FORGET_S),
            correcting: None,
        };
        for call in &plan.calls {
            world.at(Time(call.at_us), What::Call(*call));
        }
        for fault in &plan.faults {
            world.at(Time(fault.at_us), What::Fault(fault.clone()));
        }
        world
    }

    fn at(&mut self, at: Time, what: What) {
        self.order += 1;
        self.events.push(Event { at, order: self.order, what });
    }

    fn after(&mut self, after_us: u64, what: What) {
        self.at(self.now.mono.plus_micros(after_us), what);
    }

    fn tell(&mut self, call: Option<u32>, line: impl FnOnce() -> String) {
        if self.record {
            let text = format!("{:>11.6} {}", self.now.mono.micros() as f64 / 1e6, line());
            self.outcome.story.push((call, text));
        }
    }

    fn move_to(&mut self, at: Time) {
        if at > self.now.mono {
            let moved_ms = (at.micros() / 1_000) as i64 - (self.now.mono.micros() / 1_000) as i64;
            self.now = Now { mono: at, wall_ms: self.now.wall_ms + moved_ms };
        }
        if let Some(machine) = &mut self.machine {
            machine.move_to(at);
        }
    }

    /// Plays the plan to its end.
    pub(crate) fn run(mut self) -> Outcome {
        self.boot();
        let end = Time(self.plan.end_us);
        loop {
            let due = self.machine.as_ref().map(Machine::next_due);
            let next = self.events.peek().map(|event| event.at);
            let due_first = due.is_some_and(|due| next.is_none_or(|next| due <= next));
            let Some(at) = (if due_first { due } else { next }).filter(|at| *at <= end) else { break };
            self.move_to(at.max(self.now.mono));
            if due_first {
                self.auditor.quiet();
                if let Some(machine) = &mut self.machine {
                    machine.step(at);
                }
            } else if let Some(event) = self.events.pop() {
                self.event(event.what);
            }
            self.collect();
            if let Some(machine) = &self.machine {
                self.auditor.wrote(self.now.mono, machine.next_seq());
            }
            self.bury();
            let over = self.events.is_empty() && self.machine.as_ref().is_some_and(Machine::is_idle);
            if over || self.auditor.findings().len() >= FINDINGS_ENOUGH {
                break;
            }
        }
        self.end()
    }

    fn end(mut self) -> Outcome {
        let stopped_early = self.auditor.findings().len() >= FINDINGS_ENOUGH;
        if !stopped_early {
            while self.machine.is_none() && self.starts < STARTS_MAX {
                self.boot();
            }
            match &mut self.machine {
                Some(machine) => {
                    if let Err(error) = machine.settle_down() {
                        self.auditor.report("disk", None, format!("the last records cannot be written: {error}"));
                    }
                    self.auditor.close(machine);
                    self.outcome.bytes_lost += machine.disk.asked().bytes_lost;
                    self.outcome.disk_refused += machine.disk.asked().writes_failed + machine.disk.asked().syncs_failed;
                    self.hash.add(b'd', self.now.mono.micros(), &machine.disk.hash().to_le_bytes());
                }
                None => self.auditor.report("start", None, "the switch is down at the end".to_owned()),
            }
        }
        self.outcome.findings = self.auditor.findings().to_vec();
        self.outcome.seen = self.auditor.seen();
        self.outcome.hash = self.hash.value();
        self.outcome
    }

    // --- the switch -----------------------------------------------------------------------------------------------

    fn boot(&mut self) {
        if self.machine.is_some() {
            return;
        }
        self.starts += 1;
        if self.starts > STARTS_MAX {
            return;
        }
        let fuse = Arc::new(Fuse::default());
        if let Some((steps, power)) = self.again.take() {
            fuse.light(steps, false);
            self.crash = Some(Crash { power, away_ms: 1_000, database_lost: false, again: None });
        }
        let hardware = u128::from(self.hardware).to_be_bytes();
        match Machine::boot(self.plan, &self.dir, fuse.clone(), self.boot, hardware, self.now, self.bug) {
            Ok((mut machine, started)) => {
                machine.tell_decisions(self.record);
                self.tell(None, || format!("the switch starts: {started:?}"));
                self.auditor.born(self.now.mono, self.boot, &started);
                self.auditor.wrote(self.now.mono, machine.next_seq());
                if !fuse.is_dead() {
                    self.auditor.check_held(&machine);
                }
                self.hash.add(b'b', started.first_seq, &started.version.to_le_bytes());
                self.machine = Some(machine);
                if !fuse.is_dead() {
                    self.starts = 0;
                }
            }
            Err(error) if fuse.is_dead() => {
                self.tell(None, || format!("the switch dies while it starts: {error}"));
                self.crash = None;
                self.auditor.stillborn(self.now.mono);
                self.after(0, What::Boot);
            }
            Err(error) => self.auditor.report("start", None, error),
        }
        self.boot += 1;
        self.collect();
        self.bury();
    }

    /// Looks whether the switch has died, and clears up behind it.
    fn bury(&mut self) {
        if !self.machine.as_ref().is_some_and(|machine| machine.fuse.is_dead()) {
            return;
        }
        let Some(machine) = self.machine.take() else { return };
        // A death without a plan is the switch's own: a sync failed, and what the kernel could not write is gone.
        let planned = self.crash.is_some() && !machine.is_stopping();
        let crash =
            self.crash.take().unwrap_or(Crash { power: true, away_ms: 1_000, database_lost: false, again: None });
        let (durable, oldest) = (machine.durable_until(), machine.oldest_unsynced());
        self.auditor.died(self.now.mono, crash.power, durable);
        if crash.power {
            self.outcome.power_cuts += 1;
            self.hardware += 1;
            let late = oldest.is_some_and(|at| self.now.mono.since(at) > LOSS_MS * 1_000);
            if planned && late && self.now.mono > self.slow_until {
                self.auditor.report(
                    "loss",
                    None,
                    format!("a power cut takes more than {LOSS_MS} ms: since {oldest:?}"),
                );
            }
            if let Err(error) = machine.disk.power_cut() {
                self.auditor.report("harness", None, format!("the disk cannot be cut: {error}"));
            }
        }
        let asked = machine.disk.asked();
        self.outcome.bytes_lost += asked.bytes_lost;
        self.outcome.disk_refused += asked.writes_failed + asked.syncs_failed;
        self.outcome.crashes += 1;
        self.hash.add(b'x', self.now.mono.micros(), &machine.disk.hash().to_le_bytes());
        self.tell(None, || format!("the switch dies: {crash:?}, {asked:?}"));
        drop(machine);
        if crash.database_lost {
            for suffix in ["", "-wal", "-shm"] {
                // What is not there need not go.
                let _ = std::fs::remove_file(self.dir.join(format!("{DATABASE_FILE}{suffix}")));
            }
        }
        for party in self.parties.values_mut() {
            party.actor.lenient = true;
        }
        self.again = crash.again.map(|steps| (steps, crash.power));
        self.after(crash.away_ms * 1_000, What::Boot);
    }

    fn collect(&mut self) {
        loop {
            let Some(machine) = &mut self.machine else { return };
            if let Some(news) = machine.poll_news() {
                self.news(news);
            } else if let Some(sent) = machine.poll_sent() {
                self.sent(sent);
            } else {
                return;
            }
        }
    }

    fn news(&mut self, news: News) {
        match news {
            News::Broken(broken) => {
                self.tell(None, || format!("the journal {} be written", if broken { "cannot" } else { "can" }));
                self.auditor.broken(self.now.mono, broken);
            }
            News::Alarm(text) => {
                self.tell(None, || format!("alarm: {text}"));
                // A sync that fails is a fault of the plan; every other alarm says that money is wrong.
                let known = text.starts_with("the journal could not be synced");
                if !known && !self.auditor.late_order(self.now.wall_ms, &text) {
                    self.auditor.report("alarm", None, text);
                }
            }
            News::Decision(flow_no, dialled, text) => {
                if let Some(call) = dialled.and_then(|number| call_of(&number)) {
                    self.flows.insert(flow_no, call);
                }
                self.tell(self.flows.get(&flow_no).copied(), || format!("    {flow_no} {text}"));
            }
        }
    }

    fn sent(&mut self, sent: Sent) {
        self.hash.add(if sent.media { b'm' } else { b'o' }, self.now.mono.micros(), &sent.bytes);
        if sent.media {
            let owner = self.media_owners.get(&sent.to).copied();
            self.auditor.media_out(self.now, sent.from, sent.to, &sent.bytes, owner);
            return;
        }
        self.auditor.said(self.now, sent.to, &sent.bytes);
        let text = String::from_utf8_lossy(&sent.bytes);
        let call_id = header(&text, "Call-ID").unwrap_or_default();
        let known = self.by_call_id.get(call_id).copied();
        let found = known.or_else(|| self.new_device(&text, call_id, sent.to));
        self.tell(found.map(|(call, _)| call), || format!("switch > {:<18} {}", sent.to, first_line(&text)));
        let Some((call, device)) = found else { return };
        let link = self.link(sent.to);
        let now = self.now.mono;
        let Some(party) = self.parties.get_mut(&call) else { return };
        party.last = now;
        let times = network(&mut party.network, link);
        for delay_us in times.into_iter().flatten() {
            self.after(delay_us, What::ToFar(call, device, sent.bytes.clone()));
        }
    }

    /// A vendor's device that an INVITE reaches for the first time.
    fn new_device(&mut self, text: &str, call_id: &str, to: SocketAddr) -> Option<(u32, Device)> {
        let rest = text.strip_prefix("INVITE sip:")?;
        let call = call_of(rest.split_once('@')?.0)?;
        let vendor = (0..self.plan.versions[0].vendors.len()).find(|n| setup::vendor_address(*n) == to)?;
        let party = self.parties.get_mut(&call)?;
        let device = party.actor.device(vendor);
        party.call_ids.push(call_id.to_owned());
        self.media_owners.insert(party.actor.media_address(device), call);
        self.by_call_id.insert(call_id.to_owned(), (call, device));
        Some((call, device))
    }

    fn link(&self, far: SocketAddr) -> Link {
        let customers = self.plan.versions[0].customers.len();
        let vendors = self.plan.versions[0].vendors.len();
        let customer = (0..customers).find(|n| setup::customer_address(*n) == far);
        let vendor = || (0..vendors).find(|n| setup::vendor_address(*n) == far).map(|n| n + self.plan.links.len() / 2);
        customer.or_else(vendor).map_or(Link::default(), |n| self.plan.links[n])
    }
}

/// The key of a movement.
pub(crate) fn key_of(name: &str) -> String {
    format!("sim:{name}")
}
