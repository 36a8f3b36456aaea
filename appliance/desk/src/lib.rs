//! The desk where money is decided: the rater, the journal in front of it, and the order of the two.
//!
//! A question goes in, the rater decides, its records go into the journal, and an answer that rests on a record leaves
//! only after that record was handed to the kernel. While the journal cannot be written such answers wait, and with them
//! the calls; answers about lines and reservations leave, so that calls which are ending can end.
//!
//! No thread and no queue: the daemon's rating thread and the simulator drive it. The journal's file operations go through
//! [`tandem_store::Disk`], which the simulator replaces.

#![forbid(unsafe_code)]

mod past;

use std::collections::VecDeque;

use tandem_call::question::{Answer, Question};
use tandem_leg::Now;
use tandem_rater::{Output, Rater};
use tandem_rating::record::Record;
use tandem_store::{Journal, JournalError};

pub use past::{Past, PastError, phone_payers};

/// An answer for a shard.
pub type Addressed = (u8, Answer);

/// See the module text. After any `handle`, and after any use of [`Desk::rater_mut`], [`Desk::write`] follows.
#[derive(Debug)]
pub struct Desk {
    rater: Rater,
    journal: Journal,
    /// Answers in the order they were given, whose records may not be written yet.
    waiting: VecDeque<Addressed>,
    /// Answers that may leave.
    ready: VecDeque<Addressed>,
    alarms: VecDeque<String>,
}

/// Whether an answer tells somebody that something is on record.
fn rests_on_record(answer: &Answer) -> bool {
    match answer {
        Answer::Journaled { .. } | Answer::Settled { .. } => true,
        Answer::Granted { .. } | Answer::Refused { .. } | Answer::Line { .. } | Answer::Renewed { .. } => false,
    }
}

impl Desk {
    /// A desk over a rater that knows the balances, and an open journal.
    pub fn new(rater: Rater, journal: Journal) -> Desk {
        let mut desk =
            Desk { rater, journal, waiting: VecDeque::new(), ready: VecDeque::new(), alarms: VecDeque::new() };
        desk.drain();
        desk
    }

    /// The owner of money and lines, to look at.
    pub fn rater(&self) -> &Rater {
        &self.rater
    }

    /// The owner of money and lines, for orders that are not questions of calls (payments, configuration). What it
    /// records is written by the next [`Desk::write`].
    pub fn rater_mut(&mut self) -> &mut Rater {
        &mut self.rater
    }

    /// The journal, to look at.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The journal, for records that no rater makes (configuration).
    pub fn journal_mut(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// One question of a shard.
    pub fn handle(&mut self, now: Now, question: Question) {
        self.rater.handle(now, question);
        self.drain();
    }

    /// Writes what was recorded and lets go of the answers that may leave. True when something was written.
    ///
    /// # Errors
    /// The disk. Nothing is lost: records and the answers that rest on them wait for the next call.
    pub fn write(&mut self) -> Result<bool, JournalError> {
        self.drain();
        let due = self.journal.buffered_bytes() > 0;
        if due && let Err(error) = self.journal.flush() {
            let mut held = VecDeque::new();
            for (shard, answer) in self.waiting.drain(..) {
                let queue = if rests_on_record(&answer) { &mut held } else { &mut self.ready };
                queue.push_back((shard, answer));
            }
            self.waiting = held;
            return Err(error);
        }
        self.ready.append(&mut self.waiting);
        Ok(due)
    }

    /// The next answer that may leave.
    pub fn poll_answer(&mut self) -> Option<Addressed> {
        self.ready.pop_front()
    }

    /// The next thing an operator has to know.
    pub fn poll_alarm(&mut self) -> Option<String> {
        self.alarms.pop_front()
    }

    fn drain(&mut self) {
        while let Some(output) = self.rater.poll_output() {
            match output {
                Output::Record(record) => self.append(&record),
                Output::Answer { shard, answer } => self.waiting.push_back((shard, answer)),
                Output::Alarm(text) => self.alarms.push_back(text),
            }
        }
    }

    fn append(&mut self, record: &Record) {
        if let Err(error) = self.journal.append(record) {
            // A record that cannot be taken is a full memory buffer after minutes of a dead disk, or our bug; its call
            // must not vanish silently.
            self.alarms.push_back(format!("a record could not be journalled: {error}: {record:?}"));
        }
    }
}
