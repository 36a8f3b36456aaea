//! One life of the switch: from its start over a journal that may be torn, to its death.
//!
//! The rooms are the daemon's: `Core` (SIP, calls, relay), `Desk` (rater, journal), `Projector` (SQLite), `recover`. What
//! is written here are the daemon's threads as instants of one virtual clock: the rating thread's turn, the sync thread's
//! group commit, the store thread's batches, the shard's heartbeat. `appliance/src/{boot,rating_thread,disk,shard}.rs` are
//! the originals; whoever changes one looks at the other.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tandem_call::question::{Answer, Question};
use tandem_call::snapshot::Snapshot;
use tandem_call::trace::TraceEvent;
use tandem_desk::Desk;
use tandem_ladder::site::{Built, SIP_V4};
use tandem_leg::{ListenerId, Now, Time};
use tandem_rater::{Adoption, Rater, Rules};
use tandem_rating::record::{Change, Record};
use tandem_shard::{Carry, Config, Core, FlowKey, MediaPacket, Output};
use tandem_store::{
    Checkpointer, Encoded, Journal, JournalError, JournalOptions, OpenCall, Projector, Reader, StoreOptions,
    SyncHandle, recover, settle_recovered,
};

use crate::bug::{Bug, Sabotage};
use crate::disk::SimDisk;
use crate::fuse::Fuse;
use crate::office::Office;
use crate::plan::Plan;
use crate::setup;

/// Between two heartbeats (limits.rs HEARTBEAT_MS).
pub const HEARTBEAT_MS: u64 = 5_000;
/// Between the starts of two syncs (limits.rs GROUP_COMMIT_MS - 10).
const SYNC_EVERY_MS: u64 = 40;
/// A journal that could not be written is tried again after this (limits.rs GROUP_COMMIT_MS * 2).
const RETRY_MS: u64 = 100;
/// A call goes on that was alive so many seconds before the start (configuration `limits.adopt_within_s`).
pub const ADOPT_WITHIN_S: u64 = 32;
/// Questions of one turn of the rating thread (rating_thread.rs BATCH).
const BATCH: usize = 512;
/// Records of one transaction of the projection (limits.rs PROJECT_BATCH).
const PROJECT_BATCH: usize = 2_000;
/// Between two checkpoints of the database, ms (disk.rs).
const CHECKPOINT_MS: u64 = 10_000;
/// How long a stopping switch waits for its calls (limits.rs SHUTDOWN_MS).
const SHUTDOWN_MS: u64 = 5_000;
/// Turns in one instant before a timer is said not to move on.
const TURNS_MAX: u32 = 100_000;
/// Retry-After of a call that is refused without a record, seconds (limits.rs OVERLOAD_RETRY_AFTER_S).
pub const OVERLOAD_RETRY_AFTER_S: u32 = 2;

/// A datagram that left the switch.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Our address.
    pub from: SocketAddr,
    /// Where to.
    pub to: SocketAddr,
    /// The datagram.
    pub bytes: Vec<u8>,
    /// From a media port.
    pub media: bool,
}

/// What the world is told besides datagrams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The journal cannot be written (true) or can be again.
    Broken(bool),
    /// Something an operator has to know.
    Alarm(String),
    /// A decision of a call: its flow number, the number it dialled when this is its first one, and the words.
    Decision(u64, Option<String>, String),
}

/// How a start went.
#[derive(Clone, Debug)]
pub struct Started {
    /// Sequence of the first record of this life.
    pub first_seq: u64,
    /// Version of the configuration that it came up with, from 1.
    pub version: u64,
    /// Calls that an earlier life had left open.
    pub open: usize,
    /// Those that go on: Call-IDs of their callers.
    pub adopted: Vec<String>,
    /// Those that could not for lack of money: the same.
    pub poor: Vec<String>,
    /// What was cut off the journal, bytes.
    pub cut: u64,
}

/// See the module text.
pub struct Machine {
    /// What kills it.
    pub fuse: Arc<Fuse>,
    /// Its disk.
    pub disk: SimDisk,
    now: Now,
    pub(crate) core: Core,
    pub(crate) desk: Desk,
    /// What calls are priced by.
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) office: Office,
    sync: SyncHandle,
    projector: Projector,
    reader: Reader,
    checkpointer: Checkpointer,
    pub(crate) sabotage: Sabotage,
    rules: Rules,
    rating_us: u64,
    sync_us: u64,
    project_ms: u64,
    /// Ports with a socket.
    open: BTreeSet<FlowKey>,
    questions: VecDeque<(Time, Question)>,
    answers: VecDeque<(Time, Answer)>,
    sent: VecDeque<Sent>,
    news: VecDeque<News>,
    tell_decisions: bool,
    broken: bool,
    busy_until: Time,
    retry_at: Option<Time>,
    sync_wanted: bool,
    sync_ends: Option<Time>,
    sync_next: Time,
    oldest_unsynced: Option<Time>,
    durable_until: Time,
    next_heartbeat: Time,
    next_project: Time,
    next_checkpoint: Time,
    stopping: Option<Time>,
    turns: (Time, u32),
    version: u64,
}

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
        let built = setup::build(plan, wanted, boot, sabotage.fixed_zone())?;

        let mut rater = Rater::new(recovered.balances);
        let rules = rules(plan)?;
        rater.configure(now, &built.accounts, &built.gateways, rules.clone());
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

    /// Virtual time.
    pub fn now(&self) -> Now {
        self.now
    }

    /// Whether decisions of calls are told as news.
    pub fn tell_decisions(&mut self, tell: bool) {
        self.tell_decisions = tell;
    }

    /// The rooms of the shard, to look at.
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// The owner of money, to look at.
    pub fn rater(&self) -> &Rater {
        self.desk.rater()
    }

    /// The folder of journal and database.
    pub fn dir(&self) -> PathBuf {
        self.desk.journal().dir().to_owned()
    }

    /// Version of the configuration in force, from 1.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Sequence of the next record.
    pub fn next_seq(&self) -> u64 {
        self.desk.journal().next_seq()
    }

    /// Something an operator has to know.
    pub(crate) fn alarm(&mut self, text: String) {
        self.news.push_back(News::Alarm(text));
    }

    /// Has everything on record synced and in the database, as a question of an operator waits for. A slow disk takes longer
    /// than he waits.
    ///
    /// # Errors
    /// It cannot be.
    pub(crate) fn bring_up(&mut self) -> Result<(), String> {
        if self.broken || self.stopping.is_some() || self.disk.mood().sync_us > 0 || !self.fuse.step() {
            return Err("the database is behind".to_owned());
        }
        self.turn_write()?;
        match self.sync.sync() {
            Ok(_) => {
                // What is ordered in this very instant comes behind it.
                self.durable_until = Time(self.now.mono.micros().saturating_sub(1));
                self.oldest_unsynced = None;
            }
            Err(error) => {
                if !self.fuse.is_dead() {
                    self.alarm(format!("the journal could not be synced: {error}"));
                    self.stop();
                }
                return Err("the database is behind".to_owned());
            }
        }
        self.project();
        if self.fuse.is_dead() { Err("dead".to_owned()) } else { Ok(()) }
    }

    /// Whether it stops because its disk is broken.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    /// Everything written before this instant survives a power cut.
    pub fn durable_until(&self) -> Time {
        self.durable_until
    }

    /// The oldest write that a power cut may take.
    pub fn oldest_unsynced(&self) -> Option<Time> {
        self.oldest_unsynced
    }

    /// Questions and answers on their way between the threads, and records that are not written.
    pub fn under_way(&self) -> usize {
        self.questions.len() + self.answers.len() + usize::from(self.desk.journal().buffered_bytes() > 0)
    }

    /// Whether nothing is left to do: no call, no transaction, no port that lingers, nothing between the threads.
    pub fn is_idle(&self) -> bool {
        let (calls, sip) = (self.core.calls().counts(), self.core.endpoint().counts());
        let left = calls.calls + sip.transactions + sip.legs + sip.timers + self.core.unsettled() + self.under_way();
        left == 0 && self.open.len() == calls.ports_ready && self.stopping.is_none() && self.oldest_unsynced.is_none()
    }

    /// Media ports with a socket.
    pub fn sockets(&self) -> usize {
        self.open.len()
    }

    /// The wall clock is set.
    pub fn step_wall_clock(&mut self, by_ms: i64) {
        self.now.wall_ms += by_ms;
    }

    /// A datagram arrives on the SIP listener.
    pub fn signalling(&mut self, source: SocketAddr, bytes: &[u8]) {
        if self.fuse.step() {
            self.core.handle_datagram(self.now, ListenerId(0), source, bytes);
            self.drain();
            self.core.first_heartbeats(self.now);
            self.drain();
        }
    }

    /// A datagram arrives on a media port; without a socket it is lost.
    pub fn media(&mut self, port: u16, source: SocketAddr, bytes: &[u8]) {
        let port = FlowKey::new(0, port);
        if !self.open.contains(&port) || self.fuse.is_dead() {
            return;
        }
        let mut payload = bytes.to_vec();
        let send = match self.core.handle_media(self.now, port, source, &mut payload) {
            MediaPacket::Relayed(send) => Some(send),
            MediaPacket::Punted(send) => send,
            MediaPacket::Dropped(_) => None,
        };
        self.drain();
        if let Some(send) = send.filter(|send| self.open.contains(&FlowKey::new(0, send.from.port()))) {
            self.emit(Sent { from: send.from, to: send.to, bytes: payload, media: true });
        }
    }

    /// The network says that `to` cannot be reached.
    pub fn unreachable(&mut self, to: SocketAddr) {
        if self.fuse.step() {
            self.core.handle_unreachable(self.now, ListenerId(0), to);
            self.drain();
        }
    }

    /// An operator ends every call.
    pub fn kill_all(&mut self) {
        let flows: Vec<u64> = self.core.calls().list().map(|view| view.flow_no).collect();
        for flow_no in flows {
            self.core.kill(self.now, flow_no);
            self.drain();
        }
    }

    /// A customer's payment; `Ok` is what the operator is told when it is written.
    ///
    /// # Errors
    /// What he is told otherwise.
    pub fn pay(&mut self, account: &str, units: i128, key: &str) -> Result<(), String> {
        if self.sabotage.payment() {
            return Ok(());
        }
        let amount = setup::money(units)?;
        let at_ms = self.now.wall_ms;
        self.desk
            .rater_mut()
            .pay(at_ms, account, amount, key.to_owned(), "sim", "")
            .map_err(|error| error.to_string())?;
        self.turn_write()
    }

    /// The next version of the configuration: in force when its record is written, and not at all otherwise.
    ///
    /// # Errors
    /// What the operator is told.
    pub fn configure(&mut self, plan: &Plan, boot: u32) -> Result<u64, String> {
        let next = self.version + 1;
        let Some(version) = plan.versions.get(next as usize - 1) else {
            return Err("there is no other version".to_owned());
        };
        let built: Built = setup::build(plan, version, boot, self.sabotage.fixed_zone())?;
        let record = Record::Change(Box::new(Change { version: next, how: "apply".into(), ..change_text(next) }));
        let encoded = Encoded::of(&record)?;
        self.desk.journal_mut().write_whole(&encoded).map_err(|error| error.to_string())?;
        self.wrote(true);
        self.desk.rater_mut().configure(self.now, &built.accounts, &built.gateways, self.rules.clone());
        // What configure itself records (a new account) is written like any record of the rater.
        let _ = self.turn_write();
        self.version = next;
        if self.sabotage.publishes() {
            self.snapshot = built.snapshot.clone();
            self.core.publish(built.sip, Vec::new(), built.snapshot);
        }
        self.drain();
        Ok(next)
    }

    /// The next datagram that left.
    pub fn poll_sent(&mut self) -> Option<Sent> {
        self.sent.pop_front()
    }

    /// The next thing to know.
    pub fn poll_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// When something is due.
    pub fn next_due(&self) -> Time {
        let turn = self.questions.front().map(|(at, _)| (*at).max(self.busy_until));
        let sync_may = self.sync_wanted && self.sync_ends.is_none() && self.stopping.is_none();
        let sync_starts = sync_may.then_some(self.sync_next);
        [
            self.core.poll_timeout(),
            turn,
            self.retry_at.map(|at| at.max(self.busy_until)),
            self.answers.front().map(|(at, _)| *at),
            sync_starts,
            self.sync_ends,
            self.stopping,
            Some(self.next_heartbeat),
            // The daemon looks every time; here only when there is something, which is the same and cheaper.
            self.has_news_for_database().then_some(self.next_project),
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(self.next_heartbeat)
    }

    /// Goes to `at`, which is not behind [`Machine::next_due`], and serves what is due then.
    ///
    /// # Panics
    /// When a timer is due for ever: that is a bug of the switch.
    pub fn step(&mut self, at: Time) {
        self.move_to(at);
        let now = self.now;
        self.turns = if self.turns.0 == now.mono { (now.mono, self.turns.1 + 1) } else { (now.mono, 0) };
        assert!(self.turns.1 < TURNS_MAX, "a timer is due for ever at {} us", now.mono.micros());
        if self.fuse.is_dead() {
            return;
        }
        if self.core.handle_timeout(now) {
            self.drain();
        }
        while let Some((_, answer)) = self.answers.pop_front_if(|(at, _)| *at <= now.mono) {
            if !self.fuse.step() {
                return;
            }
            self.core.handle_answer(now, answer);
            self.drain();
        }
        if now.mono >= self.next_heartbeat {
            self.next_heartbeat = now.mono.plus_millis(HEARTBEAT_MS);
            self.core.heartbeat(now);
            self.drain();
        }
        self.rating_turn();
        self.sync_turn();
        if now.mono >= self.next_project && self.has_news_for_database() {
            self.next_project = now.mono.plus_millis(self.project_ms);
            self.project();
        }
        if let Some(until) = self.stopping {
            let told = self.core.calls().counts().calls == 0 && self.core.endpoint().unfinished() == 0;
            if now.mono >= until || (told && self.core.unsettled() == 0) {
                self.fuse.blow();
            }
        }
    }

    /// To `at`, where nothing of the switch is due.
    pub fn move_to(&mut self, at: Time) {
        if at > self.now.mono {
            // Whole milliseconds of the wall clock follow the monotonic one without drift.
            let moved_ms = (at.micros() / 1_000) as i64 - (self.now.mono.micros() / 1_000) as i64;
            self.now = Now { mono: at, wall_ms: self.now.wall_ms + moved_ms };
        }
    }

    /// Brings the database up to the journal; for the end of a run.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn settle_down(&mut self) -> Result<(), String> {
        self.desk.write().map_err(|error| error.to_string())?;
        self.sync.sync().map_err(|error| error.to_string())?;
        if self.sabotage.projection() {
            return Ok(());
        }
        while self.projector.run_once(&mut self.reader, PROJECT_BATCH).map_err(|error| error.to_string())?.records > 0 {
        }
        Ok(())
    }

    // --- threads as instants --------------------------------------------------------------------------------------

    fn rating_turn(&mut self) {
        let now = self.now;
        if self.busy_until > now.mono {
            return;
        }
        let retry = self.retry_at.is_some_and(|at| at <= now.mono);
        let mut worked = false;
        for _ in 0..BATCH {
            let Some((_, question)) = self.questions.pop_front_if(|(at, _)| *at <= now.mono) else {
                break;
            };
            if !self.fuse.step() {
                return;
            }
            worked = true;
            for question in self.sabotage.question(question, &mut self.answers, now.mono) {
                self.desk.handle(now, question);
            }
        }
        if worked || retry {
            let _ = self.turn_write();
        }
    }

    /// The end of a turn: write, then let go of the answers that may leave.
    pub(crate) fn turn_write(&mut self) -> Result<(), String> {
        let result = self.desk.write();
        if self.fuse.is_dead() {
            return Err("dead".to_owned());
        }
        let write_us = self.disk.mood().write_us;
        while let Some(alarm) = self.desk.poll_alarm() {
            self.news.push_back(News::Alarm(alarm));
        }
        let result = match result {
            Ok(written) => {
                self.wrote(written);
                self.set_broken(false);
                self.retry_at = None;
                if written {
                    self.busy_until = self.now.mono.plus_micros(write_us);
                }
                Ok(())
            }
            Err(error) => {
                self.set_broken(true);
                self.retry_at = Some(self.now.mono.plus_millis(RETRY_MS));
                // The sync at the end of a segment failed: the sync thread is woken, is told the same, and stops the switch.
                self.sync_wanted |= matches!(error, JournalError::Poisoned { .. });
                Err(error.to_string())
            }
        };
        let at = self.busy_until.max(self.now.mono).plus_micros(self.rating_us);
        while let Some((_, answer)) = self.desk.poll_answer() {
            if self.sabotage.answer(&answer) {
                self.answers.push_back((at, answer));
            }
        }
        result
    }

    fn wrote(&mut self, written: bool) {
        if written {
            self.sync_wanted = true;
            self.oldest_unsynced.get_or_insert(self.now.mono);
        }
    }

    fn set_broken(&mut self, broken: bool) {
        if self.broken != broken {
            self.broken = broken;
            self.core.set_refusing(broken);
            self.news.push_back(News::Broken(broken));
        }
    }

    fn sync_turn(&mut self) {
        let now = self.now.mono;
        if self.sync_ends.is_some_and(|at| at <= now) {
            self.sync_ends = None;
            match self.sync.sync() {
                Ok(_) => {
                    self.durable_until = now;
                    self.oldest_unsynced = None;
                    // What was written while it ran is taken by the same call here, so nothing is left to do.
                    self.sync_wanted = false;
                }
                Err(error) if !self.fuse.is_dead() => {
                    self.news.push_back(News::Alarm(format!("the journal could not be synced: {error}")));
                    self.stop();
                }
                Err(_) => {}
            }
        }
        if self.sync_wanted && self.sync_ends.is_none() && self.sync_next <= now && self.stopping.is_none() {
            self.sync_wanted = false;
            self.sync_ends = Some(now.plus_micros(self.sync_us.max(self.disk.mood().sync_us)));
            self.sync_next = now.plus_millis(SYNC_EVERY_MS);
        }
    }

    /// The service manager's TERM: every call ends, and after a while the process does.
    fn stop(&mut self) {
        if self.stopping.is_none() {
            self.stopping = Some(self.now.mono.plus_millis(SHUTDOWN_MS));
            self.core.set_draining(true);
            self.core.shutdown(self.now);
            self.drain();
        }
    }

    fn has_news_for_database(&self) -> bool {
        self.sync.positions().synced() > self.projector.applied_seq()
    }

    fn project(&mut self) {
        if !self.fuse.step() || self.sabotage.projection() {
            return;
        }
        loop {
            match self.projector.run_once(&mut self.reader, PROJECT_BATCH) {
                Ok(applied) => {
                    for note in &applied.notes {
                        self.news.push_back(News::Alarm(note.clone()));
                    }
                    if applied.records < PROJECT_BATCH {
                        break;
                    }
                }
                Err(error) => {
                    self.news.push_back(News::Alarm(format!("the database cannot be written: {error}")));
                    break;
                }
            }
        }
        if self.now.mono >= self.next_checkpoint {
            self.next_checkpoint = self.now.mono.plus_millis(CHECKPOINT_MS);
            if let Err(error) = self.checkpointer.run() {
                self.news.push_back(News::Alarm(format!("the database could not be checkpointed: {error}")));
            }
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.core.poll_output(self.now) {
            match output {
                Output::Send { to, bytes, .. } => {
                    for bytes in self.sabotage.send(&bytes) {
                        self.emit(Sent { from: constant(SIP_V4), to, bytes, media: false });
                    }
                    self.core.recycle(bytes);
                }
                Output::Ask(question) => {
                    self.questions.push_back((self.now.mono.plus_micros(self.rating_us), question));
                }
                Output::OpenPort(port) => {
                    let fresh = self.open.insert(port);
                    self.core.port_opened(self.now, port, fresh);
                }
                Output::ClosePort(port) if self.sabotage.close_port() => {
                    self.open.remove(&port);
                }
                Output::Decision { flow_no, event, .. } if self.tell_decisions => {
                    let dialled = match &event {
                        TraceEvent::Received { dialled, .. } => Some(dialled.to_string()),
                        _ => None,
                    };
                    self.news.push_back(News::Decision(flow_no, dialled, event.to_string()));
                }
                _ => {}
            }
        }
    }

    fn emit(&mut self, sent: Sent) {
        if self.fuse.step() {
            self.sent.push_back(sent);
        }
    }
}

/// Whether a call that was open may go on (boot.rs `may_go_on`): the seconds it is held by now.
fn may_go_on(now: Now, hardware: &[u8; 16], call: &OpenCall) -> Option<i64> {
    let (_, answered) = tandem_shard::home_of(&call.carry, hardware, 1)?;
    let alive = answered.plus_millis(u64::try_from(call.held_ms).unwrap_or(0));
    let silent_s = now.mono.since(alive) / 1_000_000;
    let young = silent_s <= ADOPT_WITHIN_S + HEARTBEAT_MS / 1_000;
    (call.acknowledged && young).then(|| (now.mono.since(answered) / 1_000_000) as i64)
}

fn change_text(version: u64) -> Change {
    Change { text: Some(format!("version {version}")), ..Change::default() }
}

fn rules(plan: &Plan) -> Result<Rules, String> {
    Ok(Rules {
        record_zero_hold: plan.versions[0].record_zero_hold,
        no_cdr_numbers: setup::no_cdr_numbers(),
        zone: setup::zone(plan, false)?,
        ..Rules::default()
    })
}

fn constant<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().unwrap_or_else(|e| panic!("constant {text}: {e:?}"))
}
