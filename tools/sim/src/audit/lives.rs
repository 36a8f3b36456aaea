//! What becomes of the calls when the switch dies and is started again: who may go on, who must, and what is held for them.
//!
//! The switch says which calls it goes on with; the auditor judges that by what it saw on the wire, and follows them into the
//! new life as the same calls: what they cost in the end is computed from their first 200 to their first BYE like any other's.

use std::collections::{BTreeMap, HashMap, HashSet};

use tandem_leg::Time;

use super::Auditor;
use super::calls::{By, Death};
use crate::bill;
use crate::machine::{ADOPT_WITHIN_S, HEARTBEAT_MS, Machine, Started};

/// A BYE is answered after this time at the latest, also when its end is not on record.
const BYE_WAIT_MS: u64 = 2_000;

/// A life of the switch.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) first_seq: u64,
    pub(crate) death: Option<Death>,
}

impl Auditor {
    /// A life begins.
    pub fn born(&mut self, at: Time, boot: u32, started: &Started) {
        self.boot = boot;
        let version = started.version;
        // After a power cut a confirmed change may be gone like a confirmed payment; what was never made cannot come.
        let power = self.lives.last().and_then(|life| life.death).is_some_and(|death| death.power);
        if version > self.versions_used || (!power && version < self.version) {
            self.report("configuration", None, format!("version {version} came up, {} was in force", self.version));
        }
        self.version = version;
        // What a power cut took was made in vain; its numbers come again.
        self.written.retain(|(next, _)| *next <= started.first_seq);
        self.lives.push(Life { first_seq: started.first_seq, death: None });
        self.broken_since = None;
        self.carry_on(at, started);
    }

    /// Records up to the one before `next_seq` were made by now.
    pub fn wrote(&mut self, at: Time, next_seq: u64) {
        if self.written.last().is_none_or(|(last, _)| *last < next_seq) {
            self.written.push((next_seq, at));
        }
    }

    /// When a record was made.
    pub(super) fn time_of(&self, seq: u64) -> Time {
        let at = self.written.partition_point(|(next, _)| *next <= seq);
        self.written.get(at).map_or(Time(u64::MAX), |(_, at)| *at)
    }

    /// It ends; `durable_until`: everything written before that is on the disk.
    pub fn died(&mut self, at: Time, power: bool, durable_until: Time) {
        self.broken(at, false);
        let death = Death { at, power, durable_until: if power { durable_until } else { at } };
        if let Some(life) = self.lives.last_mut() {
            life.death = Some(death);
        }
        self.hardware += u32::from(power);
        for call in self.calls.iter_mut().filter(|call| call.death.is_none()) {
            call.death = Some(death);
        }
        self.by_call_id.clear();
        self.by_number.clear();
        self.ports.clear();
        self.busy.clear();
        self.media.forget();
    }

    /// A life that ended before it wrote or said anything.
    pub fn stillborn(&mut self, at: Time) {
        let death = Some(Death { at, power: false, durable_until: at });
        self.lives.push(Life { first_seq: u64::MAX, death });
    }

    /// Sorts the calls that were open when the last life ended.
    fn carry_on(&mut self, at: Time, started: &Started) {
        let mut adopted: HashSet<&str> = started.adopted.iter().map(String::as_str).collect();
        let poor: HashSet<&str> = started.poor.iter().map(String::as_str).collect();
        let open: Vec<usize> = (0..self.calls.len()).filter(|n| !self.calls[*n].sorted).collect();
        let mut found = Vec::new();
        for n in open.into_iter().rev() {
            // What is over before it was answered can neither go on nor be hung up.
            let call = &mut self.calls[n];
            call.sorted = true;
            let Some(death) = call.death else { continue };
            if call.answered.is_some() && adopted.remove(call.call_id.as_str()) {
                if let Err(text) = self.go_on(n, at, death) {
                    found.push((n, text));
                }
            } else {
                if self.must_go_on(n, at, death) && !poor.contains(self.calls[n].call_id.as_str()) {
                    found.push((n, "it was up, acknowledged and alive, and does not go on".to_owned()));
                }
                if self.calls[n].hardware == self.hardware {
                    for leg in self.calls[n].legs.clone() {
                        let call_id = self.legs[leg].call_id.clone();
                        self.goodbyes.insert(call_id, n);
                    }
                }
            }
        }
        for (n, text) in found {
            let index = self.calls[n].index;
            self.report("adoption", index, text);
        }
        for call_id in adopted {
            self.report("adoption", None, format!("call {call_id} goes on, which nobody had"));
        }
    }

    /// A call goes on.
    fn go_on(&mut self, n: usize, at: Time, death: Death) -> Result<(), String> {
        let call = &self.calls[n];
        let silent = at.since(death.at);
        let ended = call.over.map(|(over, _)| (over, self.settled_by(over) <= death.at));
        let problem = if call.hardware != self.hardware {
            Some("it goes on after a power cut".to_owned())
        } else if call.acked.is_none() {
            Some("it goes on, its caller never acknowledged it".to_owned())
        } else if silent > (ADOPT_WITHIN_S * 1_000 + HEARTBEAT_MS) * 1_000 + 1_000_000 {
            Some(format!("it goes on after {silent} us"))
        } else if let Some((over, true)) = ended {
            Some(format!("it goes on, its end at {over:?} was on record"))
        } else if call.bye_answered.zip(call.over).is_some_and(|(told, (over, by))| {
            // Who crosses the BYE of the switch itself is answered at once: his dialog is over, whatever is on record.
            by != Some(By::Other) && told < over.plus_millis(BYE_WAIT_MS)
        }) {
            Some(format!("it goes on, who hung up was told at {:?} that it is over", call.bye_answered))
        } else {
            None
        };
        // A call that ended so shortly before the crash that its record was not written is on again, until somebody ends it
        // once more: who hung up was not answered, and repeats it.
        self.seen.adopted += 1;
        self.seen.ghosts += u64::from(ended.is_some());
        let call = &mut self.calls[n];
        (call.death, call.over, call.bye_answered, call.sorted) = (None, None, None, false);
        call.gaps.push((death.at, at));
        let vendor = call.vendor_answer.as_ref().map(|answer| answer.leg);
        for port in call.ports.clone() {
            self.ports.insert(port, n);
        }
        for at in self.calls[n].legs.first().copied().into_iter().chain(vendor) {
            let leg = &mut self.legs[at];
            leg.carried(ended.is_some());
            self.by_call_id.insert(leg.call_id.clone(), at);
            if leg.active {
                self.busy.push(at);
            }
        }
        problem.map_or(Ok(()), Err)
    }

    /// Whether a call must go on: it was acknowledged long enough before the crash for that to be on record, and its last
    /// heartbeat is young enough.
    fn must_go_on(&self, n: usize, at: Time, death: Death) -> bool {
        let call = &self.calls[n];
        let told = call.acked.is_some_and(|acked| self.settled_by(acked) <= death.at);
        let (alive, slack_ms) = self.last_heartbeat(death.at, &call.gaps);
        let silent_ms = at.since(alive) / 1_000 + slack_ms;
        call.answered.is_some()
            && call.over.is_none()
            && told
            && call.hardware == self.hardware
            && silent_ms < ADOPT_WITHIN_S * 1_000
    }

    /// The last instant before `end` in which a heartbeat could be written, and how much earlier it may have been written.
    pub(super) fn last_heartbeat(&self, end: Time, gaps: &[(Time, Time)]) -> (Time, u64) {
        let slack_ms =
            |alive: Time| self.settled_by(alive).since(alive).min(4 * super::books::SLACK_US) / 1_000 + HEARTBEAT_MS;
        let mut alive = end;
        let mut away: Vec<(Time, Time)> = self.broken.clone();
        // A new life tells of its calls only after a while.
        away.extend(gaps.iter().map(|(from, to)| (*from, to.plus_millis(slack_ms(*to)))));
        away.sort_by_key(|(_, to)| *to);
        for (from, to) in away.iter().rev() {
            if *from <= alive && *to >= alive {
                alive = *from;
            }
        }
        (alive, slack_ms(alive))
    }

    /// Right after a start: money and lines are held for the calls that go on, and for nobody else.
    pub fn check_held(&mut self, machine: &Machine) {
        let first = &self.plan.versions[0];
        let mut accounts: BTreeMap<&str, u32> = BTreeMap::new();
        let mut lines: HashMap<&str, u32> = HashMap::new();
        for call in self.calls.iter().filter(|call| call.death.is_none()) {
            let Some(answer) = &call.vendor_answer else { continue };
            let customer = &first.customers[call.customer];
            let payer = self.payer(call);
            // Who pays nothing holds nothing.
            // As the record of its start says, which the auditor knows by the prices: see bill.rs.
            let paying = (!payer.free).then(|| bill::agents(&self.plan, payer.account)).into_iter().flatten();
            for at in paying.chain((!payer.free).then_some(payer.account)) {
                *accounts.entry(first.accounts[at].name.as_str()).or_default() += 1;
            }
            *lines.entry(customer.name.as_str()).or_default() += 1;
            *lines.entry(first.vendors[answer.vendor].name.as_str()).or_default() += 1;
        }
        let mut found = Vec::new();
        for account in machine.rater().accounts() {
            let clearing = first.accounts.iter().any(|plan| plan.name == account.name && plan.clearing);
            let due = accounts.get(account.name.as_str()).copied().unwrap_or(0);
            if !clearing && account.calls != due {
                found.push(format!("{} calls are held on {}, {due} go on", account.calls, account.name));
            }
        }
        for gateway in machine.rater().gateways(machine.now()) {
            let due = lines.get(gateway.name.as_str()).copied().unwrap_or(0);
            if gateway.in_use != due {
                found.push(format!("{} lines of {} are in use, {due} calls go on", gateway.in_use, gateway.name));
            }
        }
        for text in found {
            self.report("adoption", None, text);
        }
    }
}
