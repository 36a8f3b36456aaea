//! What goes wrong, and what operators do.

use super::*;

impl World<'_> {
    pub(super) fn fault(&mut self, fault: Fault) {
        self.tell(None, || format!("{}: {:?}", fault.name, fault.kind));
        if let FaultKind::Clock { by_ms } = fault.kind {
            // Somebody may also set it while the switch is off.
            self.now.wall_ms += by_ms;
            if let Some(machine) = &mut self.machine {
                machine.step_wall_clock(by_ms);
            }
            return;
        }
        let Some(machine) = &mut self.machine else { return };
        match fault.kind.clone() {
            FaultKind::Crash { power, steps, on_disk, away_ms, database_lost, again } => {
                if self.crash.is_none() {
                    self.crash = Some(Crash { power, away_ms, database_lost, again });
                    machine.fuse.light(steps, on_disk);
                    let boot = self.boot;
                    self.after(CRASH_LATEST_MS * 1_000, What::Blow(boot));
                }
            }
            FaultKind::DiskFull { room, for_ms } => {
                machine.disk.set_mood(|mood| mood.room = Some(room));
                self.after(for_ms * 1_000, What::Mended(fault.kind));
            }
            FaultKind::WriteErrors { for_ms } => {
                machine.disk.set_mood(|mood| mood.write_errors = true);
                self.after(for_ms * 1_000, What::Mended(fault.kind));
            }
            FaultKind::SyncError => {
                machine.disk.set_mood(|mood| mood.sync_error = true);
                self.after(SYNC_ERROR_MS * 1_000, What::Mended(fault.kind));
            }
            FaultKind::DiskSlow { write_us, sync_us, for_ms } => {
                machine.disk.set_mood(|mood| (mood.write_us, mood.sync_us) = (write_us, sync_us));
                self.slow_until = self.slow_until.max(self.now.mono.plus_millis(for_ms + sync_us / 1_000 + LOSS_MS));
                self.after(for_ms * 1_000, What::Mended(fault.kind));
            }
            FaultKind::Clock { .. } => {}
            FaultKind::Order(act) => {
                let at = self.now;
                self.auditor.quiet();
                let told = machine.order(self.plan, &fault.name, &act);
                self.auditor.ordered(at, &fault.name, &act, told.is_ok());
                self.tell(None, || format!("{}: {told:?}", fault.name));
            }
            FaultKind::Pay { account, units } => {
                let name = self.plan.versions[0].accounts[account].name.clone();
                let key = key_of(&fault.name);
                self.auditor.quiet();
                let result = machine.pay(&name, units, &key);
                self.auditor.paid(self.now.mono, account, units, &key, result.is_ok());
                self.tell(None, || format!("payment {key}: {result:?}"));
            }
            FaultKind::Move { .. } | FaultKind::External { .. } => self.office(&fault, false),
            FaultKind::Rerate { .. } => self.page(Job { fault, after: None, boot: 0, tries: 0 }),
            FaultKind::Configure => {
                self.auditor.quiet();
                let result = machine.configure(self.plan, self.boot - 1);
                self.auditor.configured(result.clone());
                self.tell(None, || format!("configure: {result:?}"));
            }
            FaultKind::Unreachable { vendor } => {
                self.auditor.unreachable(vendor);
                machine.unreachable(setup::vendor_address(vendor));
            }
            FaultKind::KillAll => {
                self.auditor.quiet();
                machine.kill_all();
            }
            FaultKind::Garbage { count, seed } => {
                let mut rng = StdRng::seed_from_u64(seed);
                for n in 0..count {
                    let (source, bytes) = rubbish(&mut rng, n);
                    self.reach_switch(source, &bytes);
                    self.collect();
                }
            }
            FaultKind::Strangers { count } => {
                for n in 0..count {
                    let source = setup::stranger_address(n);
                    let text = stranger(source, n, &fault.name);
                    self.reach_switch(source, text.as_bytes());
                    self.collect();
                }
            }
        }
    }

    /// Movements of money and external calls.
    pub(super) fn office(&mut self, fault: &Fault, repeated: bool) {
        self.auditor.quiet();
        let plan = self.plan;
        let Some(machine) = &mut self.machine else { return };
        let wanted = match &fault.kind {
            FaultKind::Move { account, act, again } => {
                let name = &plan.versions[0].accounts[*account].name;
                let key = key_of(&fault.name);
                let money = |units| setup::money(units);
                let told = match act {
                    Act::Deduct(units) => money(-units).and_then(|it| machine.move_money(name, Move::Pay(it), &key)),
                    Act::Pay(units) => money(*units).and_then(|it| machine.move_money(name, Move::Pay(it), &key)),
                    Act::Zero => machine.move_money(name, Move::MakeZero, &key),
                    Act::Card(card) => {
                        let card = plan.versions[0].accounts[*card].name.clone();
                        machine.move_money(name, Move::ByCard(card), &key)
                    }
                    Act::From(agent, units) => {
                        let agent = plan.versions[0].accounts[*agent].name.clone();
                        money(*units).and_then(|it| machine.move_money(name, Move::PayFrom(agent, it), &key))
                    }
                    Act::Reverse(other) => machine.reverse(&key_of(other)),
                };
                self.auditor.moved(self.now.mono, &fault.name, *account, act, told.is_ok());
                self.tell(None, || format!("{}: {told:?}", fault.name));
                told.is_err() || *again
            }
            FaultKind::External { list, again } => {
                // What gets its number from the switch is another call the second time.
                let named = |call: &&ExternalCall| !repeated || call.flow_no.is_some();
                let list: Vec<ExternalCall> = list.iter().filter(named).cloned().collect();
                let at = self.now;
                let told = machine.external(plan, &list);
                self.tell(None, || format!("{}: {told:?}", fault.name));
                let wanted = told.is_err() || *again;
                self.auditor.external(at, &list, told);
                wanted
            }
            _ => false,
        };
        if wanted && !repeated {
            self.after(AGAIN_MS * 1_000, What::Again(fault.clone()));
        }
    }

    /// A page of a run of corrections; when anything goes wrong, the run begins anew under its name.
    pub(super) fn page(&mut self, mut job: Job) {
        self.auditor.quiet();
        let FaultKind::Rerate { again, page } = &job.fault.kind else { return };
        let run = job.fault.name.replace('.', "-");
        if self.correcting.as_ref().is_some_and(|other| *other != run) {
            return self.after(AGAIN_MS * 1_000, What::Page(job));
        }
        self.correcting = Some(run.clone());
        let fresh = job.boot != self.boot || job.after.is_none();
        if fresh {
            (job.boot, job.after) = (self.boot, None);
        }
        let told = match &mut self.machine {
            None => Err("it is down".to_owned()),
            Some(machine) => {
                if fresh {
                    self.auditor.run_begins(&run, again, machine.next_seq());
                }
                machine.rerate(self.plan, &run, again, *page, job.after)
            }
        };
        self.tell(None, || format!("run {run}: {told:?}"));
        match told {
            Ok(done) => {
                self.auditor.corrected(&done.corrected);
                if done.after.is_some() {
                    job.after = done.after;
                    return self.after(PAGE_MS * 1_000, What::Page(job));
                }
                let seq = self.machine.as_ref().map_or(0, Machine::next_seq);
                self.auditor.run_ends(&run, self.now.mono, seq);
                self.correcting = None;
            }
            Err(_) if job.tries < TRIES_MAX => {
                (job.after, job.tries) = (None, job.tries + 1);
                self.after(AGAIN_MS * 1_000, What::Page(job));
            }
            Err(_) => self.correcting = None,
        }
    }

    pub(super) fn mended(&mut self, kind: &FaultKind) {
        let Some(machine) = &self.machine else { return };
        machine.disk.set_mood(|mood| match kind {
            FaultKind::DiskFull { .. } => mood.room = None,
            FaultKind::WriteErrors { .. } => mood.write_errors = false,
            FaultKind::SyncError => mood.sync_error = false,
            _ => (mood.write_us, mood.sync_us) = (0, 0),
        });
    }
}
