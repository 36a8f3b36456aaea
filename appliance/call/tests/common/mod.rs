//! A shard in a test tube: calls, a rating thread that answers at once, both parties, and a clock that only moves when told.
#![allow(dead_code, reason = "every test file uses its own part")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use tandem_call::output::{Finish, Output};
use tandem_call::question::{Answer, LineSkip, Question};
use tandem_call::route::PrefixTable;
use tandem_call::settings::Settings;
use tandem_call::snapshot::*;
use tandem_call::{Calls, CallsConfig, MediaAddress, MediaConfig};
use tandem_leg::*;
use tandem_media::decide::DeviceMode;
use tandem_media::flow::{FlowCommand, FlowKey};
use tandem_media::{AnchorRules, Sdp};
use tandem_rating::fee::BillingParams;
use tandem_rating::money::parse_decimal;
use tandem_rating::rate::{Deck, Rate};
use tandem_rating::usage::Usage;

pub(crate) const A: &str = "198.51.100.10:5060";
pub(crate) const T: &str = "203.0.113.1";
pub(crate) const WALL: i64 = 1_780_000_000_000;

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A description with PCMA and PCMU.
pub(crate) fn sdp(host: &str, port: u16) -> Vec<u8> {
    format!(
        "v=0\r\no=x 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 8 0 101\r\n\
         a=rtpmap:101 telephone-event/8000\r\na=x-kept:1\r\n"
    )
    .into_bytes()
}

pub(crate) fn sdp_version(host: &str, port: u16, version: u32, direction: &str) -> Vec<u8> {
    let text = String::from_utf8(sdp(host, port)).unwrap();
    format!("{}a={direction}\r\n", text.replace("o=x 1 1", &format!("o=x 1 {version}"))).into_bytes()
}

/// Address and port of the audio stream of a description.
pub(crate) fn media_of(body: &Option<Vec<u8>>) -> String {
    let Some(body) = body else { return "none".into() };
    let sdp = Sdp::parse(body).unwrap();
    sdp.media()[0].address().map_or("nothing".into(), |a| a.to_string())
}

pub(crate) fn rate(prefix: &str, rate_per_min: &str) -> Rate {
    Rate {
        rate_id: 7,
        area_code: prefix.into(),
        rate_per_min: parse_decimal(rate_per_min).unwrap(),
        level: 5,
        ..Rate::default()
    }
}

pub(crate) fn deck(name: &str, rows: Vec<Rate>) -> Option<Arc<Deck>> {
    Some(Arc::new(Deck::build(name, rows).unwrap()))
}

pub(crate) fn account(id: u32, name: &str, kind: AccountKind, price: &str) -> Account {
    Account {
        id: AccountId(id),
        name: name.into(),
        display_name: format!("{name} Ltd"),
        kind,
        locked: false,
        cancelled: false,
        valid_until_ms: None,
        parent: None,
        private_deck: None,
        calendar: None,
        bill_until: Default::default(),
        deck: deck(name, vec![rate("", price)]),
    }
}

pub(crate) fn mapping(id: u32, name: &str, account: usize, source: &str) -> MappingGateway {
    MappingGateway {
        id: GatewayId(id),
        name: name.into(),
        account,
        sources: vec![Source { ip: source.parse().unwrap(), port: None }],
        locked: false,
        priority: 0,
        capacity: None,
        cps: None,
        call_level: 5,
        rewrite_caller: Default::default(),
        rewrite_callee: Default::default(),
        percent_routing: Vec::new(),
        caller_prefixes: Default::default(),
        callee_prefixes: Default::default(),
        caller_lengths: 0,
        callee_lengths: 0,
        routing_groups: Vec::new(),
        routing_groups_allow: true,
        media_mode: DeviceMode::On,
        nat: Default::default(),
        latch: Default::default(),
        media_check: Default::default(),
        max_duration_s: (-1, -1),
        timeout_call_proceeding_s: -1,
        callee_from: Default::default(),
        caller_from: Default::default(),
        failed_sip_code: Vec::new(),
        replace_before_switch: false,
        first_policy: Default::default(),
        second_policy: Default::default(),
        min_profit_percent: None,
        max_second_rate: None,
        pass_headers: Vec::new(),
        billing: Default::default(),
    }
}

pub(crate) fn routing(
    id: u32,
    name: &str,
    account: usize,
    remote: &str,
    prefix: &str,
    priority: i32,
) -> RoutingGateway {
    RoutingGateway {
        id: GatewayId(id),
        name: name.into(),
        account,
        clearing_use_callout: false,
        remotes: vec![addr(remote)],
        listener: ListenerId(0),
        prefixes: if prefix.is_empty() { Vec::new() } else { vec![prefix.into()] },
        prefix_style: Default::default(),
        priority,
        weight: 100,
        capacity: None,
        cps: None,
        locked: false,
        valid_from_ms: None,
        valid_to_ms: None,
        groups: Vec::new(),
        rewrite_caller: Default::default(),
        rewrite_callee: Default::default(),
        caller_prefixes: Default::default(),
        callee_prefixes: Default::default(),
        caller_lengths: 0,
        callee_lengths: 0,
        check_rate: false,
        least_cost: false,
        min_profit_percent: None,
        max_second_rate: None,
        protect: false,
        switch: Default::default(),
        timeouts: Default::default(),
        media_mode: DeviceMode::Auto,
        nat: Default::default(),
        latch: Default::default(),
        media_check: Default::default(),
        send_asserted: false,
        pass_headers: Vec::new(),
        billing_prefixes: Vec::new(),
    }
}

/// One customer, three vendors b1, b2, b3 for 86, in this order.
pub(crate) fn snapshot() -> Snapshot {
    Snapshot {
        version: 1,
        node: "node-1".into(),
        settings: Settings::default(),
        billing: Arc::new(BillingParams::default()),
        accounts: vec![
            account(1, "acme", AccountKind::General, "0.06"),
            account(2, "v1", AccountKind::Clearing, "0.01"),
            account(3, "v2", AccountKind::Clearing, "0.02"),
            account(4, "v3", AccountKind::Clearing, "0.03"),
        ],
        mapping: vec![mapping(1, "acme-trunk", 0, "198.51.100.10")],
        routing: vec![
            routing(11, "b1", 1, "192.0.2.10:5060", "86", 1),
            routing(12, "b2", 2, "192.0.2.11:5060", "86", 2),
            routing(13, "b3", 3, "192.0.2.12:5060", "86", 3),
        ],
        by_source: Default::default(),
        by_prefix: PrefixTable::default(),
        billing_numbers: Default::default(),
    }
}

/// The rating thread: lines and grants, without money.
#[derive(Default)]
pub(crate) struct Rating {
    /// Held seconds of the first grant.
    pub(crate) until_s: Option<i64>,
    /// Answers to renewals, in order; without one there is no answer.
    pub(crate) renewals: VecDeque<(Option<i64>, bool)>,
    /// Refuses every call.
    pub(crate) refuse: Option<ServerReason>,
    /// Gateways without a free line.
    pub(crate) full: BTreeSet<u32>,
    /// Paused until, wall ms.
    pub(crate) paused: BTreeMap<u32, i64>,
    /// Line of each call: flow number -> gateway.
    pub(crate) lines: BTreeMap<u64, u32>,
    /// Calls whose reservation is held.
    pub(crate) reserved: BTreeSet<u64>,
    /// Names nobody it passes over.
    pub(crate) silent: bool,
    /// Answers wait for [`World::release_answers`].
    pub(crate) slow: bool,
    /// Renewals that got no answer.
    pub(crate) unanswered: usize,
    /// What was asked, as names.
    pub(crate) asked: Vec<String>,
    /// Start records.
    pub(crate) started: Vec<Usage>,
    waiting: VecDeque<Answer>,
}

impl Rating {
    fn handle(&mut self, now: Now, question: Question) {
        match question {
            Question::Admit(admit) => {
                self.asked.push(format!("admit {}", admit.candidates.len()));
                assert!(!self.reserved.contains(&admit.flow_no), "admitted twice");
                if let Some(reason) = self.refuse {
                    return self.waiting.push_back(Answer::Refused { call: admit.call, reason });
                }
                self.reserved.insert(admit.flow_no);
                let gateways: Vec<u32> = admit.candidates.iter().map(|c| c.gateway.0).collect();
                let (candidate, skipped) = self.line(now, admit.flow_no, &gateways);
                let until_s = if admit.payers.is_empty() { None } else { self.until_s };
                self.waiting.push_back(Answer::Granted { call: admit.call, until_s, candidate, skipped });
            }
            Question::NextLine { call, flow_no, candidates } => {
                self.asked.push(format!("next {}", candidates.len()));
                assert!(self.reserved.contains(&flow_no), "a line without a reservation");
                self.lines.remove(&flow_no);
                let gateways: Vec<u32> = candidates.iter().map(|c| c.gateway.0).collect();
                let (candidate, skipped) = self.line(now, flow_no, &gateways);
                self.waiting.push_back(Answer::Line { call, candidate, skipped });
            }
            Question::Answered { call, usage, .. } => {
                self.asked.push("answered".into());
                self.started.push(*usage);
                self.waiting.push_back(Answer::Journaled { call, regranted: None });
            }
            Question::Renew { call, .. } => {
                self.asked.push("renew".into());
                match self.renewals.pop_front() {
                    Some((until_s, last)) => self.waiting.push_back(Answer::Renewed { call, until_s, last }),
                    None => self.unanswered += 1,
                }
            }
            Question::Pause { gateway, until_ms } => {
                self.asked.push(format!("pause {}", gateway.0));
                self.paused.insert(gateway.0, until_ms);
            }
            Question::Heartbeat { .. } => {}
            Question::Settle { .. } => unreachable!("the shard asks that"),
        }
    }

    fn line(&mut self, now: Now, flow_no: u64, gateways: &[u32]) -> (Option<usize>, Vec<(usize, LineSkip)>) {
        let mut skipped = Vec::new();
        for (i, gateway) in gateways.iter().enumerate() {
            if self.full.contains(gateway) {
                skipped.push((i, LineSkip::Capacity));
            } else if self.paused.get(gateway).is_some_and(|until| now.wall_ms < *until) {
                skipped.push((i, LineSkip::Paused));
            } else {
                self.lines.insert(flow_no, *gateway);
                return (Some(i), skipped);
            }
        }
        (None, if self.silent { Vec::new() } else { skipped })
    }
}

/// A finished call.
pub(crate) struct Done {
    pub(crate) usage: Usage,
    pub(crate) ports: Option<(FlowKey, FlowKey)>,
    pub(crate) a_leg: LegId,
}

pub(crate) struct World {
    pub(crate) calls: Calls,
    pub(crate) now: Now,
    pub(crate) rating: Rating,
    /// Orders to legs, oldest first.
    pub(crate) orders: VecDeque<(LegId, LegEvent)>,
    pub(crate) traces: Vec<String>,
    pub(crate) done: Vec<Done>,
    /// Installed flows by port.
    pub(crate) flows: BTreeSet<FlowKey>,
    pub(crate) sockets: BTreeSet<FlowKey>,
    next_leg: u64,
    pub(crate) tried: usize,
}

pub(crate) fn media_address(slot: u8, ip: &str) -> MediaAddress {
    MediaAddress { slot, ip: ip.parse().unwrap(), advertised: ip.parse().unwrap() }
}

pub(crate) fn config() -> CallsConfig {
    CallsConfig {
        shard: 3,
        seed: [7; 32],
        listeners: vec![addr("203.0.113.1:5060"), addr("[2001:db8::1]:5060")],
        media: MediaConfig {
            addresses: vec![media_address(0, T), media_address(1, "2001:db8::1")],
            of_listener: Vec::new(),
            ports: 10_000..=10_199,
            ports_excluded: Vec::new(),
            rules: Arc::new(AnchorRules { own_media_ips: vec![T.parse().unwrap()], ..AnchorRules::default() }),
        },
        flow_floor: 0,
        calls_max: 1_000,
    }
}

impl World {
    pub(crate) fn new(change: impl FnOnce(&mut Snapshot)) -> World {
        World::with(config(), change)
    }

    pub(crate) fn with(config: CallsConfig, change: impl FnOnce(&mut Snapshot)) -> World {
        let mut snapshot = snapshot();
        change(&mut snapshot);
        snapshot.index().unwrap();
        let mut world = World {
            calls: Calls::new(config, Arc::new(snapshot)),
            now: Now { mono: Time::from_secs(1_000), wall_ms: WALL },
            rating: Rating::default(),
            orders: VecDeque::new(),
            traces: Vec::new(),
            done: Vec::new(),
            flows: BTreeSet::new(),
            sockets: BTreeSet::new(),
            next_leg: 0,
            tried: 0,
        };
        world.drain();
        world
    }

    pub(crate) fn drain(&mut self) {
        loop {
            while let Some(output) = self.calls.poll_output() {
                self.output(output);
            }
            if self.rating.slow {
                return;
            }
            let Some(answer) = self.rating.waiting.pop_front() else { return };
            self.calls.handle_answer(self.now, answer);
        }
    }

    /// Lets the answers of a slow rating thread through.
    pub(crate) fn release_answers(&mut self) {
        let slow = std::mem::take(&mut self.rating.slow);
        self.drain();
        self.rating.slow = slow;
    }

    /// One answer of a slow rating thread.
    pub(crate) fn release_one_answer(&mut self) -> bool {
        let answer = self.rating.waiting.pop_front();
        let some = answer.is_some();
        if let Some(answer) = answer {
            self.calls.handle_answer(self.now, answer);
        }
        self.drain();
        some
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Leg { leg, event, .. } => self.orders.push_back((leg, event)),
            Output::Ask(question) => self.rating.handle(self.now, question),
            Output::Flow(FlowCommand::Install { key, .. }) => {
                self.flows.insert(key);
            }
            Output::Flow(FlowCommand::Remove { key, .. }) => {
                assert!(self.flows.remove(&key), "a flow that was not there is removed");
            }
            Output::OpenPort(port) => {
                assert!(self.sockets.insert(port));
                self.calls.port_opened(self.now, port, true);
            }
            Output::ClosePort(port) => assert!(self.sockets.remove(&port)),
            Output::Finish(finish) => self.finish(*finish),
            // No fast path counts here: every packet is the slow path's.
            Output::WhenHeard { call, .. } => self.calls.media_heard(self.now, call, Default::default()),
            Output::Trace { event, .. } => self.traces.push(event.to_string()),
        }
    }

    fn finish(&mut self, finish: Finish) {
        for port in finish.ports.map(|(a, b)| [a, b]).into_iter().flatten() {
            assert!(!self.flows.contains(&port), "flows are removed before the call is finished");
        }
        let flow_no = finish.usage.flow_no;
        assert!(!self.done.iter().any(|d| d.usage.flow_no == flow_no), "finished twice");
        self.rating.lines.remove(&flow_no);
        self.rating.reserved.remove(&flow_no);
        self.done.push(Done { usage: *finish.usage, ports: finish.ports, a_leg: finish.a_leg });
    }

    pub(crate) fn news(&mut self, leg: LegId, event: LegEvent) {
        self.calls.handle_leg_event(self.now, leg, event);
        self.drain();
    }

    /// Moves the clock; timers fire at their own time.
    pub(crate) fn advance(&mut self, ms: u64) {
        let end = self.now.plus_micros(ms * 1_000);
        while let Some(due) = self.calls.poll_timeout().filter(|due| *due <= end.mono) {
            let step = due.since(self.now.mono);
            self.now = self.now.plus_micros(step.max(1));
            self.calls.handle_timeout(self.now);
            self.drain();
        }
        if self.now.mono < end.mono {
            self.now = Now { mono: end.mono, wall_ms: end.wall_ms };
        }
        self.calls.handle_timeout(self.now);
        self.drain();
    }

    pub(crate) fn invite(&self) -> Try {
        Try {
            remote: addr(A),
            listener: ListenerId(0),
            transport: Transport::Udp,
            call_id: "abc@198.51.100.10".into(),
            caller: Party { user: "+4930100".into(), display: "Anna".into(), host: "198.51.100.10".into() },
            callee: Party { user: "8613900000000".into(), ..Party::default() },
            dialled: "8613900000000".into(),
            identity: Identity::default(),
            headers: Vec::new(),
            max_forwards: 70,
            hop: None,
            user_agent: "phone/1".into(),
            expires_s: None,
            rel100: Rel100::Unsupported,
            sdp: Some(sdp("198.51.100.10", 4000)),
        }
    }

    /// The caller calls.
    pub(crate) fn call(&mut self) -> LegId {
        let invite = self.invite();
        self.call_with(invite)
    }

    pub(crate) fn call_with(&mut self, invite: Try) -> LegId {
        self.next_leg += 1;
        self.tried += 1;
        let leg = LegId::incoming(self.next_leg);
        self.news(leg, LegEvent::Try(Box::new(invite)));
        leg
    }

    /// The next order, which must exist.
    pub(crate) fn order(&mut self) -> (LegId, LegEvent) {
        let traces = &self.traces;
        self.orders.pop_front().unwrap_or_else(|| panic!("no order; trace:\n{}", traces.join("\n")))
    }

    /// The next order is an INVITE to a vendor at `remote`.
    pub(crate) fn expect_try(&mut self, remote: &str) -> (LegId, Box<Try>) {
        match self.order() {
            (leg, LegEvent::Try(order)) => {
                assert_eq!(order.remote, addr(remote));
                self.news(leg, LegEvent::Sent { call_id: format!("b-{}", leg.0) });
                (leg, order)
            }
            other => panic!("expected INVITE, got {other:?}"),
        }
    }

    pub(crate) fn expect_ring(&mut self, leg: LegId, status: u16) -> Option<Vec<u8>> {
        match self.order() {
            (to, LegEvent::Ring(ring)) if to == leg && ring.status == status => ring.sdp,
            other => panic!("expected {status} to {leg:?}, got {other:?}"),
        }
    }

    pub(crate) fn expect_connect(&mut self, leg: LegId) -> Option<Vec<u8>> {
        match self.order() {
            (to, LegEvent::Connect(connect)) if to == leg => connect.sdp,
            other => panic!("expected 200 to {leg:?}, got {other:?}"),
        }
    }

    pub(crate) fn expect_fail(&mut self, leg: LegId, status: u16) -> Fail {
        match self.order() {
            (to, LegEvent::Fail(fail)) if to == leg && fail.status == status => fail,
            other => panic!("expected {status} to {leg:?}, got {other:?}; trace:\n{}", self.traces.join("\n")),
        }
    }

    pub(crate) fn expect_end(&mut self, leg: LegId) -> Reason {
        match self.order() {
            (to, LegEvent::Disconnect(disconnect)) if to == leg => {
                assert_eq!(disconnect.cause, DisconnectCause::Order);
                disconnect.reason
            }
            other => panic!("expected the end of {leg:?}, got {other:?}"),
        }
    }

    pub(crate) fn fails(&mut self, leg: LegId, status: u16) {
        self.news(leg, LegEvent::Fail(Fail::status(status)));
    }

    pub(crate) fn rings(&mut self, leg: LegId, status: u16, sdp: Option<Vec<u8>>) {
        self.news(leg, LegEvent::Ring(Ring { status, sdp, headers: Vec::new() }));
    }

    pub(crate) fn answers(&mut self, leg: LegId, sdp: Option<Vec<u8>>) {
        self.news(leg, LegEvent::Connect(Connect { sdp, headers: Vec::new(), user_agent: "gw/2".into() }));
    }

    pub(crate) fn hangs_up(&mut self, leg: LegId, cause: DisconnectCause) {
        self.news(leg, LegEvent::Disconnect(Disconnect { cause, reason: Reason::default() }));
    }

    /// A connected call through b1: both legs.
    pub(crate) fn connected(&mut self) -> (LegId, LegId) {
        let a = self.call();
        let (b, _) = self.expect_try("192.0.2.10:5060");
        self.answers(b, Some(sdp("192.0.2.10", 5000)));
        self.expect_connect(a);
        self.news(a, LegEvent::Confirm(Confirm::default()));
        (a, b)
    }

    pub(crate) fn traced(&self, words: &str) -> bool {
        self.traces.iter().any(|t| t.contains(words))
    }

    /// Every call is over, every order was seen, nothing is left but sockets in stock; gives the last call.
    pub(crate) fn end(&mut self) -> Usage {
        assert!(self.orders.is_empty(), "orders left: {:?}", self.orders);
        self.nothing_left();
        self.done.last().unwrap().usage.clone()
    }

    pub(crate) fn nothing_left(&mut self) {
        let counts = self.calls.counts();
        assert_eq!(self.done.len(), self.tried, "one Finish for every call");
        assert_eq!((counts.calls, counts.legs, counts.timers, counts.ports_leased), (0, 0, 0, 0), "{counts:?}");
        assert!(self.flows.is_empty(), "flows left: {:?}", self.flows);
        assert!(self.rating.lines.is_empty() && self.rating.reserved.is_empty());
        self.advance(3_000);
        assert_eq!(self.sockets.len(), self.calls.counts().ports_ready, "lingering sockets are closed");
    }
}
