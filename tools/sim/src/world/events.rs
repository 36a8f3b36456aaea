//! What happens, one event after the other: parties speak, datagrams arrive.

use super::*;

impl World<'_> {
    pub(super) fn event(&mut self, what: What) {
        match what {
            What::Call(plan) => self.call(plan),
            What::Say(call, device, word) => {
                let speech = self.parties.get_mut(&call).and_then(|party| party.actor.say(device, word));
                self.intents(call);
                if let Some(speech) = speech {
                    self.speak(call, device, speech);
                }
            }
            What::ToSwitch(source, bytes) => self.reach_switch(source, &bytes),
            What::ToFar(call, device, bytes) => self.reach_far(call, device, &bytes),
            What::MediaToSwitch(source, port, bytes) => {
                if let Some(machine) = &mut self.machine {
                    self.auditor.media_in(source, &bytes);
                    self.hash.add(b'M', self.now.mono.micros(), &bytes);
                    machine.media(port, source, &bytes);
                }
            }
            What::Fault(fault) => self.fault(fault),
            What::Mended(kind) => self.mended(&kind),
            What::Blow(boot) => {
                if let Some(machine) = self.machine.as_ref().filter(|_| self.boot == boot) {
                    machine.fuse.blow();
                }
            }
            What::Boot => self.boot(),
            What::Again(fault) => self.office(&fault, true),
            What::Page(job) => self.page(job),
        }
        if self.now.mono >= self.next_sweep {
            self.sweep();
        }
    }

    /// Forgets calls that nobody will speak of any more.
    pub(super) fn sweep(&mut self) {
        self.next_sweep = self.now.mono.plus_secs(FORGET_S / 4);
        let now = self.now.mono;
        let by_call_id = &mut self.by_call_id;
        self.parties.retain(|_, party| {
            let keep = now.since(party.last) < FORGET_S * 1_000_000;
            if !keep {
                party.call_ids.iter().for_each(|id| {
                    by_call_id.remove(id);
                });
            }
            keep
        });
    }

    pub(super) fn call(&mut self, plan: CallPlan) {
        let mut actor = Actor::new(plan, self.plan.rtp);
        let (call_id, speech) = actor.call();
        self.media_owners.insert(actor.media_address(0), plan.index);
        self.by_call_id.insert(call_id.clone(), (plan.index, 0));
        let party = Party {
            actor,
            network: StdRng::seed_from_u64(plan.seed ^ 0x006e_6574_776f_726b),
            last: self.now.mono,
            call_ids: vec![call_id],
        };
        self.parties.insert(plan.index, party);
        self.intents(plan.index);
        self.speak(plan.index, 0, speech);
    }

    pub(super) fn intents(&mut self, call: u32) {
        let intents = self.parties.get_mut(&call).map(|party| party.actor.take_intents()).unwrap_or_default();
        for Intent { device, after_us, word } in intents {
            self.after(after_us, What::Say(call, device, word));
        }
    }

    pub(super) fn speak(&mut self, call: u32, device: Device, speech: Speech) {
        let now = self.now.mono;
        let Some(party) = self.parties.get_mut(&call) else { return };
        party.last = now;
        let address = party.actor.address(device);
        let link = self.link(address);
        let Some(party) = self.parties.get_mut(&call) else { return };
        let times = network(&mut party.network, link);
        match speech {
            Speech::Sip(datagram) => {
                let lost = times.iter().all(Option::is_none);
                self.tell(Some(call), || {
                    let note = if lost { " (lost)" } else { "" };
                    format!("         {address:<18} > {}{note}", first_line(&datagram.text))
                });
                for delay_us in times.into_iter().flatten() {
                    self.after(delay_us, What::ToSwitch(datagram.from, datagram.text.clone().into_bytes()));
                }
            }
            Speech::Media(source, port, bytes) => {
                for delay_us in times.into_iter().flatten() {
                    self.after(delay_us, What::MediaToSwitch(source, port, bytes.clone()));
                }
            }
        }
    }

    pub(super) fn reach_switch(&mut self, source: SocketAddr, bytes: &[u8]) {
        let Some(machine) = &mut self.machine else { return };
        self.auditor.heard(self.now, source, bytes);
        self.hash.add(b'i', self.now.mono.micros(), bytes);
        machine.signalling(source, bytes);
        if self.record {
            let text = String::from_utf8_lossy(bytes);
            let call = header(&text, "Call-ID").and_then(|id| self.by_call_id.get(id)).map(|(call, _)| *call);
            self.tell(call, || format!("switch < {source:<18} {}", first_line(&text)));
        }
    }

    pub(super) fn reach_far(&mut self, call: u32, device: Device, bytes: &[u8]) {
        let secrets = &self.secrets[usize::from(device != 0)];
        let Some(party) = self.parties.get_mut(&call) else { return };
        if let Err(problem) = party.actor.hear(device, self.now.mono, bytes, secrets) {
            self.auditor.report("peer", Some(call), problem);
        }
        self.intents(call);
    }
}
