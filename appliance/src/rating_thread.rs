//! The rating thread: takes questions, lets the rater decide, writes what it records, and only then answers.
//!
//! One turn takes a batch from every shard, writes the journal once, and wakes each shard once. An answer that depends on
//! a record leaves after the record's `write(2)`, so a killed process loses nothing that anybody was told.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tandem_call::question::Answer;
use tandem_desk::Desk;
use tandem_rating::record::{Audit, Record};
use tandem_store::{Encoded, JournalError};

use crate::clock::Clock;
use crate::limits;
use crate::log;
use crate::orders::{OrderNow, PackageRefused, RatingOrder};
use crate::topology::Shared;

/// Questions taken from one shard per turn: bounds the time to the write, and so the wait of the first asker.
const BATCH: usize = 512;

/// What the thread owns.
pub struct RatingThread {
    /// Decides and writes.
    pub desk: Desk,
    /// Queues.
    pub shared: Arc<Shared>,
    /// Clocks.
    pub clock: Clock,
    /// Told after each write.
    pub sync: crate::disk::SyncDoor,
    /// External CDRs of this life: the database may not have the last of them yet.
    pub external: HashSet<u64>,
}

/// Replies of the control thread that wait for a write.
type Done = Box<dyn FnOnce(Result<(), String>) + Send>;

impl RatingThread {
    /// Runs until the shards are gone and everything is written.
    pub fn run(mut self) {
        let _ = self.shared.rating.thread.set(std::thread::current());
        let mut done: Vec<Done> = Vec::new();
        loop {
            let mut worked = false;
            let began = self.clock.now().mono;
            for shard in 0..self.shared.rating.questions.len() {
                for _ in 0..BATCH {
                    let Some(question) = self.shared.rating.questions[shard].pop() else {
                        break;
                    };
                    worked = true;
                    self.desk.handle(self.clock.now(), question);
                }
            }
            while let Some(order) = self.shared.rating.orders.pop() {
                worked = true;
                self.order(order, &mut done);
            }
            // While the journal cannot be written nothing is taken: it would all wait in memory.
            if !self.shared.journal_broken.load(Ordering::Relaxed) {
                worked |= self.desk.rater_mut().packages_due(self.clock.now());
            }
            self.write(&mut done);
            if worked {
                let turn_us = self.clock.now().mono.since(began);
                self.shared.money.turn_max_us.fetch_max(turn_us, Ordering::Relaxed);
                continue;
            }
            if self.shared.shards_running.load(Ordering::SeqCst) == 0 && self.idle() {
                self.last_words();
                self.sync.wake();
                break;
            }
            self.shared.rating.asleep.store(true, Ordering::SeqCst);
            if self.idle() {
                // The timeout is only a net under the wake-ups: a journal that could not be written is tried again.
                std::thread::park_timeout(Duration::from_millis(limits::GROUP_COMMIT_MS * 2));
            }
            self.shared.rating.asleep.store(false, Ordering::SeqCst);
        }
        self.sync.close();
    }

    /// A disk that is full when the daemon stops gets a last chance; what it does not take is billed to the last
    /// heartbeat at the next start.
    fn last_words(&mut self) {
        let started = self.clock.now().mono;
        while self.desk.journal().buffered_bytes() > 0 {
            let Err(error) = self.desk.write() else {
                return;
            };
            if self.clock.now().mono.since(started) > limits::SHUTDOWN_MS * 1_000 {
                let bytes = self.desk.journal().buffered_bytes();
                log::error(&format!("{bytes} bytes of records could not be written before the end: {error}"));
                return;
            }
            std::thread::park_timeout(Duration::from_millis(limits::GROUP_COMMIT_MS));
        }
    }

    fn idle(&self) -> bool {
        self.shared.rating.questions.iter().all(|q| q.is_empty()) && self.shared.rating.orders.is_empty()
    }

    /// Writes what was recorded; answers and replies leave only when that worked.
    fn write(&mut self, done: &mut Vec<Done>) {
        let written = self.desk.write();
        while let Some(text) = self.desk.poll_alarm() {
            self.shared.money.alarms.fetch_add(1, Ordering::Relaxed);
            log::error(&text);
        }
        match written {
            Ok(written) => {
                if self.shared.journal_broken.swap(false, Ordering::SeqCst) {
                    log::warning("the journal can be written again");
                }
                if written {
                    self.sync.wake();
                }
                for reply in done.drain(..) {
                    reply(Ok(()));
                }
            }
            Err(error) => {
                self.shared.money.journal_errors.fetch_add(1, Ordering::Relaxed);
                if !self.shared.journal_broken.swap(true, Ordering::SeqCst) {
                    log::error(&format!("the journal cannot be written, new calls are refused: {error}"));
                }
                if matches!(error, JournalError::Poisoned { .. }) {
                    // The sync that ends a segment is made here and failed: no write will ever work again. The sync
                    // thread is told so too when it asks, and stops the switch as it does for its own.
                    self.sync.wake();
                }
                for reply in done.drain(..) {
                    reply(Err(format!("the journal cannot be written: {error}")));
                }
            }
        }
        let suppressed = self.desk.rater().suppressed();
        let held_back = suppressed.illegal + suppressed.no_cdr + suppressed.zero_hold + suppressed.server_hang_up;
        self.shared.money.suppressed.store(held_back, Ordering::Relaxed);
        self.shared.money.suppressed_packets.store(suppressed.packets, Ordering::Relaxed);
        self.shared.money.settled.store(self.desk.rater().settled(), Ordering::Relaxed);
        self.send();
    }

    /// Carries the answers that may leave to their shards; each shard is woken once, and not for settlements alone that
    /// no BYE waits for: they are taken whenever the shard wakes.
    fn send(&mut self) {
        let mut wake = 0u16;
        while let Some((shard, answer)) = self.desk.poll_answer() {
            if !matches!(answer, Answer::Settled { awaited: false, .. }) {
                wake |= 1 << shard;
            }
            // Invariant: one answer a question, and the queue is as deep as that of questions.
            let full = self.shared.shards[usize::from(shard)].answers.push(answer).is_err();
            assert!(!full, "the queue of answers to shard {shard} is full");
        }
        for (n, door) in self.shared.shards.iter().enumerate() {
            if wake & (1 << n) != 0 {
                door.waker.wake();
            }
        }
    }

    /// Writes a record of the configuration now or never.
    fn write_whole(&mut self, record: &Encoded) -> Result<u64, String> {
        let written = self.desk.journal_mut().write_whole(record);
        if written.is_ok() {
            self.sync.wake();
        }
        written.map_err(|error| format!("the journal cannot be written, nothing was changed: {error}"))
    }

    fn order(&mut self, order: RatingOrder, done: &mut Vec<Done>) {
        let now = self.clock.now();
        // A reply nobody waits for any more is no error: the asker gave up at its deadline.
        match order {
            RatingOrder::Configure { accounts, gateways, rules, packages, record, done: reply } => {
                let written = self.write_whole(&record);
                if written.is_ok() {
                    self.desk.rater_mut().configure(now, &accounts, &gateways, rules);
                    self.desk.rater_mut().configure_packages(now, *packages);
                }
                let _ = reply.send(written);
            }
            RatingOrder::Write { record, done: reply } => {
                let _ = reply.send(self.write_whole(&record));
            }
            RatingOrder::Note(record, reply) => {
                if let Err(error) = self.desk.journal_mut().append(&record) {
                    log::error(&format!("a row of the audit log could not be journalled: {error}: {record:?}"));
                }
                done.push(Box::new(move |_| {
                    let _ = reply.send(());
                }));
            }
            RatingOrder::Accounts(reply) => {
                let _ = reply.send(self.desk.rater().accounts_at(now.wall_ms));
            }
            RatingOrder::Gateways(reply) => {
                let _ = reply.send(self.desk.rater().gateways(now));
            }
            RatingOrder::Reservations(account, reply) => {
                let _ = reply.send(self.desk.rater().reservations(&account));
            }
            RatingOrder::Correct { user, corrections, done: reply } => {
                // As with payments: not begun while the journal cannot be written.
                let begun = self.desk.journal_mut().flush().map_err(|error| error.to_string());
                let booked = begun.and_then(|_| {
                    corrections.into_iter().try_for_each(|correction| {
                        let call = correction.flow_no;
                        let booked = self.desk.rater_mut().correct(now.wall_ms, &user, correction);
                        booked.map_err(|error| format!("call {call} is not corrected: {error}"))
                    })
                });
                done.push(Box::new(move |written| {
                    let _ = reply.send(written.and(booked));
                }));
            }
            RatingOrder::External { usages, audit, done: reply } => {
                // Not begun while the journal cannot be written: what is refused must not be booked later.
                if let Err(error) = self.desk.journal_mut().flush() {
                    let _ = reply.send(Err(format!("the journal cannot be written, nothing was booked: {error}")));
                    return;
                }
                let mut stored = HashSet::new();
                for usage in &usages {
                    if self.external.insert(usage.flow_no) {
                        self.desk.rater_mut().settle_recovered(now, usage);
                        stored.insert(usage.flow_no);
                    }
                }
                if let Err(error) = self.desk.journal_mut().append(&Record::Audit(audit)) {
                    log::error(&format!("a row of the audit log could not be journalled: {error}"));
                }
                done.push(Box::new(move |result| {
                    let _ = reply.send(result.map(|()| stored));
                }));
            }
            RatingOrder::Package { act, audit: None, done: reply } => {
                let _ = reply.send(self.desk.rater_mut().package(now, act, None).map_err(PackageRefused::Value));
            }
            RatingOrder::Package { act, audit: Some(audit), done: reply } => {
                if let Err(error) = self.desk.journal_mut().flush() {
                    let text = format!("the journal cannot be written, nothing was done: {error}");
                    let _ = reply.send(Err(PackageRefused::Disk(text)));
                    return;
                }
                match self.desk.rater_mut().package(now, act, Some(*audit)) {
                    Ok(made) => done.push(Box::new(move |result| {
                        let _ = reply.send(result.map(|()| made).map_err(PackageRefused::Disk));
                    })),
                    Err(error) => {
                        let _ = reply.send(Err(PackageRefused::Value(error)));
                    }
                }
            }
            RatingOrder::Packages(keys, reply) => {
                let rater = self.desk.rater();
                let of = |key: String| {
                    let (held_s, held) = rater.package_held(&key);
                    OrderNow { held_s, held, stuck: rater.package_stuck(now, &key).unwrap_or_default() }
                };
                let _ = reply.send(keys.into_iter().map(of).collect());
            }
            RatingOrder::Move { movement, audit, done: reply } => {
                // Not begun while the journal cannot be written: what is refused must not be booked later.
                if let Err(error) = self.desk.journal_mut().flush() {
                    let _ = reply.send(Err(tandem_rater::PayError::NotBegun(error.to_string())));
                    return;
                }
                match self.desk.rater_mut().move_money(now.wall_ms, movement) {
                    Ok(row) => {
                        let before = row.balance_after.checked_sub(row.amount).unwrap_or_default();
                        let change = format!("~ account {} balance: {before} -> {}", row.account, row.balance_after);
                        let audit = Box::new(Audit { changes: vec![change], ..*audit });
                        // With the ledger row in one write.
                        if let Err(error) = self.desk.journal_mut().append(&Record::Audit(audit)) {
                            log::error(&format!("a row of the audit log could not be journalled: {error}"));
                        }
                        done.push(Box::new(move |result| {
                            let _ = reply.send(result.map(|()| row).map_err(tandem_rater::PayError::NotWritten));
                        }));
                    }
                    Err(error) => {
                        let _ = reply.send(Err(error));
                    }
                }
            }
        }
    }
}
