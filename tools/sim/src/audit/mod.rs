//! The auditor: watches the wire, the payments and the clock, and says afterwards what the switch must have written.
//!
//! It shares no code with what it checks. While the run goes on it minds the protocol, lines and media ports; at the end
//! ([`Auditor::close`]) it reads journal and database and compares them, call by call and account by account, with what
//! went over the wire.

mod again;
mod books;
mod bounds;
mod calls;
mod due;
mod gifts;
mod lives;
mod media;
pub(crate) mod message;
mod money;
mod office;
mod orders;
mod packages;
mod rebuilt;
mod reports;
mod seen;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::net::SocketAddr;

use tandem_leg::{Now, Time};

use crate::bill::When;
use crate::machine::{Machine, OVERLOAD_RETRY_AFTER_S};
use crate::plan::{CallPlan, Plan, call_of};
use crate::setup;
use calls::{Leg, WireCall};
use lives::Life;
use message::{Kind, Message};

pub use seen::Seen;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind, for shrinking: a smaller run must show the same.
    pub kind: &'static str,
    /// Which call of the plan.
    pub call: Option<u32>,
    /// In words.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.call {
            Some(call) => write!(f, "[{}] call {call}: {}", self.kind, self.text),
            None => write!(f, "[{}] {}", self.kind, self.text),
        }
    }
}

/// What the switch heard last: whatever it sends now, it sends because of this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stimulus {
    bye_on: Option<usize>,
}

/// See the module text.
#[derive(Debug)]
pub struct Auditor {
    plan: Plan,
    findings: Vec<Finding>,
    seen: Seen,
    boot: u32,
    /// Power cuts so far.
    hardware: u32,
    lives: Vec<Life>,
    /// Version of the configuration in force, from 1.
    version: u64,
    versions_used: u64,
    broken_since: Option<Time>,
    /// Intervals in which the journal could not be written.
    broken: Vec<(Time, Time)>,
    calls: Vec<WireCall>,
    legs: Vec<Leg>,
    /// Leg of a Call-ID in this life.
    by_call_id: HashMap<String, usize>,
    /// Calls of a dialled number in this life.
    by_number: HashMap<u32, usize>,
    /// Calls of an earlier life that do not go on, by the Call-IDs of their legs: both sides may be told.
    goodbyes: HashMap<String, usize>,
    /// Branches of the BYEs of these: they are repeated, also when the caller has called again and was answered.
    goodbye_branches: HashSet<String>,
    /// Media port -> call that was told it last.
    ports: HashMap<u16, usize>,
    /// Legs that may have a line of a vendor in use.
    busy: Vec<usize>,
    /// Calls of the plan, by number.
    plans: HashMap<u32, CallPlan>,
    office: office::Asked,
    /// What each call with a record owes whom, by flow number.
    due: BTreeMap<u64, due::Due>,
    /// What it used of packages, by flow number and leg.
    claims: BTreeMap<(u64, String), Vec<gifts::Claim>>,
    /// When records were made: what was there at each instant, as the sequence of the next one.
    written: Vec<(u64, Time)>,
    stimulus: Stimulus,
    media: media::MediaBook,
}

/// Problems kept; a broken switch has one for every call.
const FINDINGS_MAX: usize = 200;

impl Auditor {
    /// For one run.
    pub fn new(plan: &Plan) -> Auditor {
        Auditor {
            plan: plan.clone(),
            findings: Vec::new(),
            seen: Seen::default(),
            boot: 0,
            hardware: 0,
            lives: Vec::new(),
            version: 1,
            versions_used: 1,
            broken_since: None,
            broken: Vec::new(),
            calls: Vec::new(),
            legs: Vec::new(),
            by_call_id: HashMap::new(),
            by_number: HashMap::new(),
            goodbyes: HashMap::new(),
            goodbye_branches: HashSet::new(),
            ports: HashMap::new(),
            busy: Vec::new(),
            plans: plan.calls.iter().map(|call| (call.index, *call)).collect(),
            office: office::Asked::default(),
            due: BTreeMap::new(),
            claims: BTreeMap::new(),
            written: Vec::new(),
            stimulus: Stimulus::default(),
            media: media::MediaBook::default(),
        }
    }

    /// How much was seen.
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// What is wrong so far.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Somebody else saw something wrong.
    pub fn report(&mut self, kind: &'static str, call: Option<u32>, text: String) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { kind, call, text });
        }
    }

    // --- the life of the switch -----------------------------------------------------------------------------------

    /// The journal cannot be written, or can be again.
    pub fn broken(&mut self, at: Time, broken: bool) {
        match (self.broken_since, broken) {
            (None, true) => self.broken_since = Some(at),
            (Some(since), false) => {
                self.broken.push((since, at));
                self.broken_since = None;
            }
            _ => {}
        }
    }

    /// The operator changed the configuration; `Ok` is the version that he was told is in force. A switch that dies over the
    /// change tells an error, or nothing; its record may stand in the journal all the same.
    pub fn configured(&mut self, result: Result<u64, String>) {
        let next = (self.version + 1).min(self.plan.versions.len() as u64);
        self.versions_used = self.versions_used.max(*result.as_ref().unwrap_or(&next));
        if let Ok(version) = result {
            self.seen.changes += 1;
            self.version = version;
        }
    }

    /// The network said that a vendor is not there: what it still answers belongs to no transaction any more.
    pub fn unreachable(&mut self, vendor: usize) {
        self.quiet();
        for at in self.by_call_id.values() {
            if self.legs[*at].vendor == Some(vendor) {
                self.legs[*at].lost = true;
            }
        }
    }

    /// The switch is about to do something by itself.
    pub fn quiet(&mut self) {
        self.stimulus = Stimulus::default();
    }

    // --- the wire -------------------------------------------------------------------------------------------------

    /// A SIP datagram reaches the switch.
    pub fn heard(&mut self, now: Now, source: SocketAddr, bytes: &[u8]) {
        self.seen.heard += 1;
        self.stimulus = Stimulus::default();
        let Some(message) = Message::read(bytes) else { return };
        match message.kind {
            Kind::Request("INVITE", user) if message.to_tag.is_empty() => self.new_call(now, source, &message, user),
            Kind::Request("ACK", _) => {
                let first = |at: &&usize| self.legs[**at].vendor.is_none() && self.legs[**at].is_of_first(message.cseq);
                if let Some(at) = self.by_call_id.get(message.call_id).filter(first) {
                    let call = &mut self.calls[self.legs[*at].call];
                    if call.answered.is_some() {
                        call.acked.get_or_insert(now.mono);
                    }
                }
            }
            Kind::Request("BYE", _) => {
                self.stimulus.bye_on = self.by_call_id.get(message.call_id).copied();
                if let Some(at) = self.stimulus.bye_on {
                    let leg = &self.legs[at];
                    let by = if leg.vendor.is_none() { calls::By::Caller } else { calls::By::Callee };
                    self.calls[leg.call].byes.push((now.mono, by));
                }
            }
            Kind::Response(status) if message.method == "INVITE" => {
                if let Some(leg) = self.by_call_id.get(message.call_id).copied() {
                    self.vendor_said(now, leg, &message, status);
                }
            }
            _ => {}
        }
    }

    fn new_call(&mut self, now: Now, source: SocketAddr, message: &Message<'_>, user: &str) {
        if self.by_call_id.contains_key(message.call_id) {
            return;
        }
        let customers = self.plan.versions[0].customers.len();
        let Some(customer) = (0..customers).find(|n| setup::customer_address(*n).ip() == source.ip()) else {
            return;
        };
        self.seen.calls += 1;
        let index = call_of(user);
        let refused = self.broken_since.is_some();
        let at = self.calls.len();
        let leg = self.leg(at, message.call_id, None);
        self.legs[leg].invite(message, now.mono);
        let mut call = WireCall::new(index, self.boot, customer, message.call_id, user, now.mono, leg, refused);
        call.hardware = self.hardware;
        call.admitted = When { version: self.version, wall_ms: now.wall_ms };
        self.calls.push(call);
        if let Some(index) = index {
            self.by_number.insert(index, at);
        }
    }

    fn leg(&mut self, call: usize, call_id: &str, vendor: Option<usize>) -> usize {
        self.legs.push(Leg::new(call, call_id, vendor));
        self.by_call_id.insert(call_id.to_owned(), self.legs.len() - 1);
        self.legs.len() - 1
    }

    /// A response to an INVITE of the switch.
    fn vendor_said(&mut self, now: Now, at: usize, message: &Message<'_>, status: u16) {
        let version = self.version;
        let leg = &mut self.legs[at];
        let fresh = leg.response(message, status, now.mono);
        let Some(vendor) = leg.vendor.filter(|_| fresh && status >= 200 && leg.is_first(message)) else {
            return;
        };
        let call = &mut self.calls[leg.call];
        debug_assert!(call.death.is_none(), "legs are forgotten with their life");
        if status < 300 && leg.active && call.answered.is_none() {
            call.vendor_answer =
                Some(calls::VendorAnswer { leg: at, vendor, version, at: now, tag: message.to_tag.to_owned() });
        }
        if status >= 300 {
            leg.active = false;
        }
    }

    /// A SIP datagram leaves the switch.
    pub fn said(&mut self, now: Now, to: SocketAddr, bytes: &[u8]) {
        self.seen.said += 1;
        // The answer to a keep-alive (RFC 5626 4.4.1).
        if bytes == b"\r\n" {
            return;
        }
        let Some(message) = Message::read(bytes) else {
            self.report(
                "wire",
                None,
                format!("something unreadable was sent to {to}: {:?}", String::from_utf8_lossy(bytes)),
            );
            return;
        };
        match message.kind {
            Kind::Request(method, user) => self.request_out(now, to, &message, method, user),
            Kind::Response(status) => self.response_out(now, &message, status),
        }
    }

    fn request_out(&mut self, now: Now, to: SocketAddr, message: &Message<'_>, method: &str, user: &str) {
        let known = self.by_call_id.get(message.call_id).copied();
        // A caller whose call did not go on may have called again under the same Call-ID meanwhile.
        let new = known.is_none_or(|at| self.calls[self.legs[at].call].answered.is_none());
        let repeated = self.goodbye_branches.contains(message.branch);
        if let Some(n) = self.goodbyes.get(message.call_id).filter(|_| method == "BYE" && (new || repeated)) {
            self.calls[*n].told_lost = true;
            self.goodbye_branches.insert(message.branch.to_owned());
            return;
        }
        let at = match known {
            Some(at) => at,
            None if method == "INVITE" => {
                let vendors = self.plan.versions[0].vendors.len();
                let vendor = (0..vendors).find(|n| setup::vendor_address(*n) == to);
                let call = call_of(user).and_then(|index| self.by_number.get(&index)).copied();
                let (Some(vendor), Some(call)) = (vendor, call) else {
                    self.report("wire", None, format!("an INVITE for {user} went to {to} that nobody asked for"));
                    return;
                };
                self.attempt(call, vendor, message)
            }
            None => {
                self.report("wire", None, format!("{method} to {to} belongs to no call"));
                return;
            }
        };
        let index = self.calls[self.legs[at].call].index;
        if let Err(text) = self.legs[at].request_out(message, method, now.mono) {
            self.report("dialog", index, text);
        }
        if let Some(port) = message.media_port(tandem_ladder::site::MEDIA_V4) {
            self.lease(at, port);
        }
        match method {
            "CANCEL" => self.legs[at].active = false,
            "BYE" => {
                self.legs[at].active = false;
                let call = self.legs[at].call;
                self.hung_up(now, call, at, message.to_tag);
            }
            _ => {}
        }
    }

    /// A new leg to a vendor: its lines are counted.
    fn attempt(&mut self, call: usize, vendor: usize, message: &Message<'_>) -> usize {
        for other in self.calls[call].legs.clone() {
            self.legs[other].active = false;
        }
        let leg = self.leg(call, message.call_id, Some(vendor));
        self.calls[call].legs.push(leg);
        let (index, refused) = (self.calls[call].index, self.calls[call].refused);
        if refused {
            self.report(
                "refuse",
                index,
                "it came while nothing could be written and was tried all the same".to_owned(),
            );
        }
        // The largest capacity that was ever in force: a smaller one does not end calls.
        let versions = &self.plan.versions[..self.versions_used as usize];
        let capacity =
            versions.iter().map(|v| v.vendors[vendor].capacity.unwrap_or(u32::MAX)).max().unwrap_or(u32::MAX);
        let (legs, calls) = (&self.legs, &self.calls);
        self.busy.retain(|at| legs[*at].active && !calls[legs[*at].call].is_over());
        self.busy.push(leg);
        let busy = self.busy.iter().filter(|at| legs[**at].vendor == Some(vendor)).count();
        if busy > capacity as usize {
            self.report("lines", index, format!("{busy} calls on vendor {vendor}, which has {capacity} lines"));
        }
        leg
    }

    fn response_out(&mut self, now: Now, message: &Message<'_>, status: u16) {
        let Some(at) = self.by_call_id.get(message.call_id).copied() else {
            // Refusals of what is no call of ours: strangers, rubbish, messages of an earlier life.
            return;
        };
        let call = self.legs[at].call;
        let index = self.calls[call].index;
        if let Err(text) = self.legs[at].response_out(message, status) {
            self.report("dialog", index, text);
        }
        if let Some(port) = message.media_port(tandem_ladder::site::MEDIA_V4) {
            self.lease(at, port);
        }
        let first = self.legs[at].vendor.is_none() && self.legs[at].is_first(message);
        match (message.method, status) {
            ("INVITE", 200..) if first => {
                let call = &mut self.calls[call];
                // At once, that is without having been looked at: later ones are calls that failed, and have a record.
                let overload =
                    status == 503 && message.retry_after == Some(OVERLOAD_RETRY_AFTER_S) && call.began == now.mono;
                let told = call.final_status.is_some();
                call.final_status.get_or_insert(status);
                call.overload |= overload;
                if !told && status < 300 {
                    call.answered = Some(now);
                    self.seen.answered += 1;
                } else if !told {
                    call.over.get_or_insert((now.mono, None));
                    self.seen.refused += u64::from(overload);
                    if call.refused && status == 200 {
                        self.report("refuse", index, "answered while nothing could be written".to_owned());
                    }
                }
            }
            ("BYE", 200) => {
                self.stimulus.bye_on = Some(at);
                self.hung_up(now, call, at, message.from_tag);
                let wire = &mut self.calls[call];
                if wire.answered.is_some() && wire.over.is_some() {
                    wire.bye_answered.get_or_insert(now.mono);
                }
            }
            _ => {}
        }
    }

    /// A BYE was sent or taken on a leg: the first one ends an answered call.
    fn hung_up(&mut self, now: Now, call: usize, leg: usize, tag: &str) {
        let of_leg = self.legs[leg].vendor.is_some();
        let wire = &mut self.calls[call];
        if wire.answered.is_none() || wire.over.is_some() {
            return;
        }
        // A second branch of a fork, or an attempt that was given up, is hung up without ending the call.
        let theirs = wire.vendor_answer.as_ref().is_some_and(|answer| answer.leg == leg && answer.tag == tag);
        if of_leg && !theirs {
            return;
        }
        let by = self.stimulus.bye_on.filter(|on| self.legs[*on].call == call).map(|on| self.legs[on].vendor.is_some());
        wire.over = Some((
            now.mono,
            Some(match by {
                Some(false) => calls::By::Caller,
                Some(true) => calls::By::Callee,
                None => calls::By::Other,
            }),
        ));
    }

    /// A leg is told a media port: nobody else may have it now.
    fn lease(&mut self, leg: usize, port: u16) {
        let call = self.legs[leg].call;
        // A 200 that nobody acknowledges is repeated with its description although the call is over and the port somebody
        // else's by now.
        if self.calls[call].is_over() {
            return;
        }
        if let Some(owner) = self.ports.insert(port, call)
            && owner != call
            && !self.calls[owner].is_over()
        {
            let index = self.calls[call].index;
            let other = self.calls[owner].index;
            self.report("ports", index, format!("media port {port} is that of call {other:?} as well"));
        }
        if !self.calls[call].ports.contains(&port) {
            self.calls[call].ports.push(port);
        }
    }

    /// The run is over: compares everything with journal and database.
    pub fn close(&mut self, machine: &Machine) {
        self.dialogs_are_finished();
        self.books(machine);
    }

    fn dialogs_are_finished(&mut self) {
        let mut found = Vec::new();
        for leg in &self.legs {
            let call = &self.calls[leg.call];
            if call.death.is_some() || leg.lost {
                continue;
            }
            found.extend(leg.unfinished().into_iter().map(|text| (call.index, text)));
        }
        for (index, text) in found {
            self.report("dialog", index, text);
        }
    }
}
