//! The daemon's threads as instants of one virtual clock (`appliance/src/{rating_thread,disk,shard}.rs`).

use super::*;

impl Machine {
    pub(super) fn rating_turn(&mut self) {
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
        if !self.broken && self.stopping.is_none() && !self.sabotage.packages_sleep() {
            worked |= self.desk.rater_mut().packages_due(now);
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

    pub(super) fn wrote(&mut self, written: bool) {
        if written {
            self.sync_wanted = true;
            self.oldest_unsynced.get_or_insert(self.now.mono);
        }
    }

    pub(super) fn set_broken(&mut self, broken: bool) {
        if self.broken != broken {
            self.broken = broken;
            self.core.set_refusing(broken);
            self.news.push_back(News::Broken(broken));
        }
    }

    pub(super) fn sync_turn(&mut self) {
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
    pub(super) fn stop(&mut self) {
        if self.stopping.is_none() {
            self.stopping = Some(self.now.mono.plus_millis(SHUTDOWN_MS));
            self.core.set_draining(true);
            self.core.shutdown(self.now);
            self.drain();
        }
    }

    pub(super) fn has_news_for_database(&self) -> bool {
        self.sync.positions().synced() > self.projector.applied_seq()
    }

    pub(super) fn project(&mut self) {
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

    pub(super) fn drain(&mut self) {
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

    pub(super) fn emit(&mut self, sent: Sent) {
        if self.fuse.step() {
            self.sent.push_back(sent);
        }
    }
}
