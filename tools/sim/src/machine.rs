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

mod boot;
mod threads;

use boot::{change_text, constant};

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
        let mut built: Built = setup::build(plan, version, boot, self.sabotage.fixed_zone())?;
        self.sabotage.built(&mut built);
        let mut packages = setup::packages(plan, version)?;
        self.sabotage.packages(&mut packages);
        let record = Record::Change(Box::new(Change { version: next, how: "apply".into(), ..change_text(next) }));
        let encoded = Encoded::of(&record)?;
        self.desk.journal_mut().write_whole(&encoded).map_err(|error| error.to_string())?;
        self.wrote(true);
        self.desk.rater_mut().configure(self.now, &built.accounts, &built.gateways, self.rules.clone());
        self.desk.rater_mut().configure_packages(self.now, packages);
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
        while !self.sabotage.packages_sleep() && self.desk.rater_mut().packages_due(self.now) {}
        self.desk.write().map_err(|error| error.to_string())?;
        self.sync.sync().map_err(|error| error.to_string())?;
        if self.sabotage.projection() {
            return Ok(());
        }
        while self.projector.run_once(&mut self.reader, PROJECT_BATCH).map_err(|error| error.to_string())?.records > 0 {
        }
        Ok(())
    }
}
