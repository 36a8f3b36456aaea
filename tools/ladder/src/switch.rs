//! The switch on a bench: real SIP, calls, rater and relay, joined as the shard joins them, on a virtual clock.
//!
//! Datagrams go in by method call and come out of [`Switch::poll_sent`]; the network between is the caller's. Nothing
//! here judges: [`crate::story`] and property tests do.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use tandem_call::question::Answer;
use tandem_call::trace::TraceEvent;
use tandem_leg::{ListenerId, Now, Time};
use tandem_rater::{Adoption, Output as RaterOutput, PayError, Rater};
use tandem_rating::cdr::Cdr;
use tandem_rating::money::Money;
use tandem_rating::record::{LedgerRow, Record};
use tandem_rating::usage::Usage;
use tandem_shard::{Core, FlowKey, MediaPacket, Output};
use tandem_sip::Outcome;

use crate::site::{SIP_V4, SIP_V6, Site, parse};

/// Wall clock at the origin of virtual time: 2026-11-22 00:00 UTC.
pub const WALL_START_MS: i64 = 1_795_305_600_000;
/// Between two heartbeats of connected calls, as the daemon has it (its limits are not importable).
const HEARTBEAT_MS: u64 = 5_000;
/// As the daemon has them.
const UNSETTLED_MAX: usize = 2_048;
/// As the daemon has them.
const HEARTBEAT_CALLS_MAX: usize = 20_000;
/// The machine is never started anew in a story.
const BOOT: [u8; 16] = [7; 16];
/// Turns in one instant before a timer is said not to move on.
const TURNS_MAX: u32 = 100_000;

/// A datagram that left the switch.
#[derive(Clone, Debug)]
pub struct Sent {
    /// When.
    pub at: Time,
    /// Our address.
    pub from: SocketAddr,
    /// Where to.
    pub to: SocketAddr,
    /// The datagram.
    pub bytes: Vec<u8>,
    /// From a media port, not from a SIP listener.
    pub media: bool,
}

/// A decision of a call.
#[derive(Clone, Debug)]
pub struct TraceLine {
    /// When.
    pub at: Time,
    /// Which call.
    pub flow_no: u64,
    /// What and why.
    pub event: TraceEvent,
}

/// See the module text.
pub struct Switch {
    now: Now,
    core: Core,
    rater: Rater,
    listeners: [SocketAddr; 2],
    /// Ports with a socket.
    open: BTreeSet<FlowKey>,
    answers: VecDeque<(Time, Answer)>,
    rater_delay_us: u64,
    sent: VecDeque<Sent>,
    records: Vec<Record>,
    alarms: Vec<String>,
    trace: Vec<TraceLine>,
    outcomes: Vec<Outcome>,
    next_heartbeat: Time,
    turns: (Time, u32),
}

impl Switch {
    /// A switch without calls.
    ///
    /// # Errors
    /// What is wrong with the site.
    pub fn new(site: &Site) -> Result<Switch, String> {
        let built = site.build()?;
        let now = Now { mono: Time::ZERO, wall_ms: WALL_START_MS };
        let mut rater = Rater::new([]);
        rater.configure(now, &built.accounts, &built.gateways, site.rules.clone());
        let mut switch = Switch {
            now,
            core: Core::new(tandem_shard::Config {
                sip: built.sip,
                calls: built.calls,
                snapshot: built.snapshot,
                unsettled_max: UNSETTLED_MAX,
                overload_retry_after_s: 2,
                heartbeat_calls_max: HEARTBEAT_CALLS_MAX,
                boot: BOOT,
                fast_path: None,
            }),
            rater,
            listeners: [parse(SIP_V4), parse(SIP_V6)],
            open: BTreeSet::new(),
            answers: VecDeque::new(),
            rater_delay_us: site.rater_delay_us,
            sent: VecDeque::new(),
            records: Vec::new(),
            alarms: Vec::new(),
            trace: Vec::new(),
            outcomes: Vec::new(),
            next_heartbeat: Time::from_millis(HEARTBEAT_MS),
            turns: (Time::ZERO, 0),
        };
        while switch.core.handle_timeout(now) {
            switch.drain();
        }
        switch.drain_rater();
        Ok(switch)
    }

    /// Virtual time.
    pub fn now(&self) -> Now {
        self.now
    }

    /// Steps the wall clock, as NTP or an operator would; the monotonic clock does not move.
    pub fn step_wall_clock(&mut self, by_ms: i64) {
        self.now.wall_ms += by_ms;
    }

    /// A datagram arrives on the SIP listener of `source`'s address family.
    pub fn signalling(&mut self, source: SocketAddr, bytes: &[u8]) -> Outcome {
        let listener = ListenerId(u16::from(source.is_ipv6()));
        let received = self.core.handle_datagram(self.now, listener, source, bytes);
        self.outcomes.push(received.outcome);
        self.drain();
        self.core.first_heartbeats(self.now);
        self.drain();
        received.outcome
    }

    /// A datagram arrives on a media port. False when there is no socket on that port.
    pub fn media(&mut self, port: u16, source: SocketAddr, payload: &[u8]) -> bool {
        let port = FlowKey::new(u8::from(source.is_ipv6()), port);
        if !self.open.contains(&port) {
            return false;
        }
        let mut payload = payload.to_vec();
        let (MediaPacket::Relayed(send) | MediaPacket::Punted(Some(send))) =
            self.core.handle_media(self.now, port, source, &mut payload)
        else {
            self.drain();
            return true;
        };
        self.drain();
        self.send_media(send.from, send.to, payload);
        true
    }

    /// The network says that `to` cannot be reached.
    pub fn unreachable(&mut self, to: SocketAddr) {
        self.core.handle_unreachable(self.now, ListenerId(u16::from(to.is_ipv6())), to);
        self.drain();
    }

    /// A payment comes in.
    ///
    /// # Errors
    /// See [`PayError`].
    pub fn pay(&mut self, account: &str, amount: Money, key: &str) -> Result<LedgerRow, PayError> {
        let row = self.rater.pay(self.now.wall_ms, account, amount, key.to_owned(), "ladder", "");
        self.drain_rater();
        row
    }

    /// Ends every call by an operator's order; how many there were.
    pub fn kill_all(&mut self) -> usize {
        let flows: Vec<u64> = self.core.calls().list().map(|view| view.flow_no).collect();
        for flow_no in &flows {
            self.core.kill(self.now, *flow_no);
            self.drain();
        }
        flows.len()
    }

    /// The switch dies and is started anew on its records: answered calls go on, all else is forgotten. No flow outlives it.
    ///
    /// # Errors
    /// The site, or a call that cannot go on.
    pub fn restart(&mut self, site: &Site) -> Result<(), String> {
        let mut built = site.build()?;
        let mut open = std::collections::BTreeMap::new();
        let mut floor = 0;
        let mut alive = BTreeSet::new();
        for record in &self.records {
            match record {
                Record::Start { usage, carry } => {
                    open.insert(usage.flow_no, (usage.clone(), carry.clone()));
                }
                Record::Settled { flow_no, .. } => {
                    open.remove(flow_no);
                    floor = floor.max(*flow_no);
                }
                Record::Heartbeat { alive: told, .. } => alive.extend(told.iter().map(|(flow_no, _)| *flow_no)),
                _ => {}
            }
        }
        built.calls.flow_floor = open.keys().next_back().copied().unwrap_or(0).max(floor);
        // Another life, other random numbers.
        built.sip.seed[0] ^= 1;
        built.calls.seed[0] ^= 1;
        let balances: Vec<_> =
            self.rater.accounts().into_iter().map(|account| (account.name, account.balance)).collect();
        self.rater = Rater::new(balances);
        self.rater.configure(self.now, &built.accounts, &built.gateways, site.rules.clone());
        let advance_min = built.snapshot.settings.overdraft_advance_min;
        self.core = Core::new(tandem_shard::Config {
            sip: built.sip,
            calls: built.calls,
            snapshot: built.snapshot,
            unsettled_max: UNSETTLED_MAX,
            overload_retry_after_s: 2,
            heartbeat_calls_max: HEARTBEAT_CALLS_MAX,
            boot: BOOT,
            fast_path: None,
        });
        self.open.clear();
        self.answers.clear();
        while self.core.handle_timeout(self.now) {
            self.drain();
        }
        for (flow_no, (usage, carry)) in open {
            let (_, answered) =
                tandem_shard::home_of(&carry, &BOOT, 1).ok_or_else(|| format!("call {flow_no} is not written down"))?;
            if !alive.contains(&flow_no) {
                // Not acknowledged: settled as a call of no time, and both sides are told.
                let lost = Usage { hold_ms: 0, end_direction: 2, end_reason: -40, ..*usage };
                self.rater.settle_recovered(self.now, &lost);
                self.core.say_goodbye(self.now, &carry);
                self.drain();
                continue;
            }
            let held_s = (self.now.mono.since(answered) / 1_000_000) as i64;
            let lost = usage.clone();
            let adoption = Adoption { usage: &usage, lost: &lost, held_s };
            let grant = self.rater.adopt(self.now, &[adoption], advance_min).remove(0)?;
            self.core.adopt(self.now, tandem_shard::Carry { usage: *usage, carry, grant, lost })?;
            self.drain();
        }
        self.drain_rater();
        Ok(())
    }

    /// The switch is about to stop: every call ends.
    pub fn shutdown(&mut self) {
        self.core.set_draining(true);
        self.core.shutdown(self.now);
        self.drain();
    }

    /// Whether new calls are refused.
    pub fn set_draining(&mut self, draining: bool) {
        self.core.set_draining(draining);
    }

    /// When something is due.
    pub fn next_due(&self) -> Option<Time> {
        let heartbeat = (self.core.calls().counts().connected > 0).then_some(self.next_heartbeat);
        let answer = self.answers.front().map(|(at, _)| *at);
        [self.core.poll_timeout(), answer, heartbeat].into_iter().flatten().min()
    }

    /// Goes to the next instant at which something is due, at most to `until`, and serves it. False when `until` is
    /// reached and nothing more is due by then.
    ///
    /// # Panics
    /// When a timer is due for ever: that is a bug of the switch.
    pub fn step(&mut self, until: Time) -> bool {
        let Some(due) = self.next_due().filter(|due| *due <= until) else {
            self.move_to(until);
            return false;
        };
        self.move_to(due);
        let now = self.now;
        self.turns = if self.turns.0 == now.mono { (now.mono, self.turns.1 + 1) } else { (now.mono, 0) };
        assert!(self.turns.1 < TURNS_MAX, "a timer is due for ever at {} us", now.mono.micros());
        while let Some((_, answer)) = self.answers.pop_front_if(|(at, _)| *at <= now.mono) {
            self.core.handle_answer(now, answer);
            self.drain();
        }
        while self.core.handle_timeout(now) {
            self.drain();
        }
        if now.mono >= self.next_heartbeat {
            self.next_heartbeat = now.mono.plus_millis(HEARTBEAT_MS);
            self.core.heartbeat(now);
            self.drain();
        }
        true
    }

    fn move_to(&mut self, at: Time) {
        if at > self.now.mono {
            // Whole milliseconds of the wall clock follow the monotonic one without drift.
            let moved_ms = (at.micros() / 1_000) as i64 - (self.now.mono.micros() / 1_000) as i64;
            self.now = Now { mono: at, wall_ms: self.now.wall_ms + moved_ms };
        }
    }

    /// The next datagram that left.
    pub fn poll_sent(&mut self) -> Option<Sent> {
        self.sent.pop_front()
    }

    /// Journal records so far.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// CDRs so far, in the order of settlement.
    pub fn cdrs(&self) -> impl Iterator<Item = &Cdr> {
        self.records.iter().filter_map(|record| match record {
            Record::Settled { cdr, .. } => cdr.as_deref(),
            _ => None,
        })
    }

    /// Ledger rows so far.
    pub fn ledger(&self) -> impl Iterator<Item = &LedgerRow> {
        self.records.iter().flat_map(|record| match record {
            Record::Settled { ledger, .. } => ledger.as_slice(),
            Record::Ledger(row) => std::slice::from_ref(row),
            _ => &[],
        })
    }

    /// Decisions so far.
    pub fn trace(&self) -> &[TraceLine] {
        &self.trace
    }

    /// What operators were told.
    pub fn alarms(&self) -> &[String] {
        &self.alarms
    }

    /// What became of each datagram that came in.
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// The owner of money and lines.
    pub fn rater(&self) -> &Rater {
        &self.rater
    }

    /// How many of everything calls have.
    pub fn call_counts(&self) -> tandem_call::calls::Counts {
        self.core.calls().counts()
    }

    /// How much SIP has.
    pub fn sip_counts(&self) -> tandem_sip::Counts {
        self.core.endpoint().counts()
    }

    /// Flows in the relay table.
    pub fn flows(&self) -> usize {
        self.core.flows()
    }

    /// What is still there although every call is over, one sentence each. Ports that linger count.
    pub fn leftovers(&self) -> Vec<String> {
        let (calls, sip) = (self.core.calls().counts(), self.core.endpoint().counts());
        let mut all: Vec<(usize, String)> = [
            (calls.calls, "calls"),
            (calls.legs, "legs of calls"),
            (calls.timers, "call timers"),
            (calls.ports_leased, "leased media ports"),
            (calls.questions, "questions without an answer"),
            (self.open.len().abs_diff(calls.ports_ready + calls.ports_leased), "media sockets too many or too few"),
            (sip.transactions, "SIP transactions"),
            (sip.dialogs, "dialogs"),
            (sip.legs, "SIP legs"),
            (sip.timers, "SIP timers"),
            (self.core.flows(), "media flows"),
            (self.core.counters_kept(), "counters of removed flows that no CDR got"),
            (self.answers.len(), "answers under way"),
            (self.core.unsettled(), "calls not settled"),
            (self.rater.calls_held(), "calls held by the rater"),
        ]
        .map(|(n, what)| (n, what.to_owned()))
        .to_vec();
        for account in self.rater.accounts() {
            all.push((account.calls as usize, format!("calls on account {}", account.name)));
            let reserved = account.reserved != Money::ZERO;
            all.push((
                usize::from(reserved),
                format!("reservation of {} on account {}", account.reserved, account.name),
            ));
        }
        for gateway in self.rater.gateways(self.now) {
            all.push((gateway.in_use as usize, format!("lines in use of gateway {}", gateway.name)));
        }
        all.into_iter().filter(|(n, _)| *n != 0).map(|(n, what)| format!("{n} {what}")).collect()
    }

    /// Checks what must hold at any time, one sentence for each that does not.
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.alarms.iter().map(|text| format!("alarm: {text}")).collect();
        let calls = self.core.calls().counts();
        if calls.calls == 0 {
            // What belongs to calls goes with the last of them, at once; only SIP has something to wait for.
            for (n, what) in [
                (calls.legs, "legs"),
                (calls.timers, "timers"),
                (calls.ports_leased, "leased ports"),
                (self.core.flows(), "flows"),
                (self.core.counters_kept(), "counters of removed flows"),
            ] {
                if n != 0 {
                    problems.push(format!("there is no call, but {n} {what} of calls"));
                }
            }
        }
        problems.extend(crate::audit::money(&self.rater, self.ledger()));
        problems.extend(crate::audit::records(
            &self.records,
            self.core.calls().counts().calls == 0 && self.core.unsettled() == 0,
        ));
        problems
    }

    // --- the glue of the shard ------------------------------------------------------------------------------------

    fn send_media(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        // A port without a socket cannot send.
        if self.open.contains(&FlowKey::new(u8::from(from.is_ipv6()), from.port())) {
            self.sent.push_back(Sent { at: self.now.mono, from, to, bytes, media: true });
        }
    }

    fn drain(&mut self) {
        loop {
            if let Some(output) = self.core.poll_output(self.now) {
                self.output(output);
            } else if !self.settle_down() {
                return;
            }
        }
    }

    /// Answers of a rating thread that takes no time come back after everything else of the instant, never nested.
    fn settle_down(&mut self) -> bool {
        if self.rater_delay_us != 0 {
            return false;
        }
        match self.answers.pop_front() {
            Some((_, answer)) => {
                self.core.handle_answer(self.now, answer);
                true
            }
            None => false,
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Send { listener, to, bytes, .. } => {
                let from = self.listeners[usize::from(listener.0)];
                self.sent.push_back(Sent { at: self.now.mono, from, to, bytes: bytes.clone(), media: false });
                self.core.recycle(bytes);
            }
            Output::Ask(question) => {
                self.rater.handle(self.now, question);
                self.drain_rater();
            }
            Output::OpenPort(port) => {
                let fresh = self.open.insert(port);
                self.core.port_opened(self.now, port, fresh);
            }
            Output::ClosePort(port) => {
                self.open.remove(&port);
            }
            Output::Decision { flow_no, at, event, .. } => {
                self.trace.push(TraceLine { at: at.mono, flow_no, event });
            }
            Output::Accepted(_)
            | Output::Stranger(_)
            | Output::Overloaded(_)
            | Output::Attempt { .. }
            | Output::NotBegun(_)
            | Output::VendorAnswered(_)
            | Output::Answered(_)
            | Output::Finished { .. }
            | Output::Forgotten(_) => {}
        }
    }

    fn drain_rater(&mut self) {
        let at = self.now.mono.plus_micros(self.rater_delay_us);
        while let Some(output) = self.rater.poll_output() {
            match output {
                RaterOutput::Record(record) => self.records.push(record),
                RaterOutput::Answer { answer, .. } => self.answers.push_back((at, answer)),
                RaterOutput::Alarm(text) => self.alarms.push(text),
            }
        }
    }
}
