//! One endpoint on a bench: virtual time, everything it sends and says in order, and far sides written as text.
#![allow(unreachable_pub)]

use std::collections::VecDeque;
use std::net::SocketAddr;

use tandem_leg::{Connect, Fail, LegEvent, LegId, ListenerId, Reason, Ring, Time, Try};
use tandem_sip::scan::scan;
use tandem_sip::{Config, Counts, Endpoint, Listener, MessageSummary, OrderError, Output, Received};

pub const A: &str = "198.51.100.10:5062";
pub const B: &str = "192.0.2.10:5060";
pub const T: &str = "203.0.113.1:5060";
pub const T6: &str = "[2001:db8::1]:5060";
pub const SDP_A: &str =
    "v=0\r\no=- 1 1 IN IP4 198.51.100.10\r\ns=-\r\nc=IN IP4 198.51.100.10\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n";
pub const SDP_B: &str =
    "v=0\r\no=- 2 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\nm=audio 5000 RTP/AVP 8\r\n";

/// A datagram that left.
#[derive(Clone, Debug)]
pub struct Sent {
    pub at_ms: u64,
    pub listener: ListenerId,
    pub to: String,
    pub text: String,
    pub summary: MessageSummary,
    pub leg: Option<LegId>,
}

impl Sent {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> &str {
        header(&self.text, name).unwrap_or_else(|| panic!("no {name} in\n{}", self.text))
    }

    pub fn has(&self, name: &str) -> bool {
        header(&self.text, name).is_some()
    }

    pub fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    pub fn tag(&self, name: &str) -> String {
        self.header(name).split_once(";tag=").map(|(_, t)| t.to_owned()).unwrap_or_default()
    }
}

pub fn header<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let head = text.split_once("\r\n\r\n").map_or(text, |(head, _)| head);
    head.lines().skip(1).find_map(|line| {
        let (n, v) = line.split_once(':')?;
        n.eq_ignore_ascii_case(name).then(|| v.trim())
    })
}

pub struct Bench {
    pub e: Endpoint,
    pub now: Time,
    pub sent: VecDeque<Sent>,
    pub events: VecDeque<(LegId, LegEvent)>,
    pub forgotten: Vec<LegId>,
    started: u64,
}

pub fn config() -> Config {
    let listener = |text: &str| {
        let address: SocketAddr = text.parse().unwrap();
        Listener { local: address, advertised: address }
    };
    let mut config = Config::new(vec![listener(T), listener(T6)], [42; 32]);
    config.known = vec!["198.51.100.10".parse().unwrap(), "192.0.2.10".parse().unwrap()];
    config
}

impl Default for Bench {
    fn default() -> Self {
        Bench::new(config())
    }
}

impl Bench {
    pub fn new(config: Config) -> Bench {
        Bench {
            e: Endpoint::new(config),
            now: Time::ZERO,
            sent: VecDeque::new(),
            events: VecDeque::new(),
            forgotten: Vec::new(),
            started: 0,
        }
    }

    pub fn drain(&mut self) {
        while let Some(output) = self.e.poll_output() {
            match output {
                Output::Send { listener, to, bytes, leg, summary } => {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    // A 400 copies what was broken in the request.
                    if text.len() > 4 && !text.starts_with("SIP/2.0 400") {
                        scan(&bytes).unwrap_or_else(|error| panic!("we sent what cannot be read: {error}\n{text}"));
                    }
                    self.sent.push_back(Sent {
                        at_ms: self.now.millis(),
                        listener,
                        to: to.to_string(),
                        text,
                        summary,
                        leg,
                    });
                    self.e.recycle(bytes);
                }
                Output::Event { leg, event } => {
                    assert!(!self.forgotten.contains(&leg), "news of a forgotten leg: {event:?}");
                    self.events.push_back((leg, event));
                }
                Output::Forgotten { leg } => {
                    assert!(!self.forgotten.contains(&leg), "forgotten twice");
                    self.forgotten.push(leg);
                }
            }
        }
    }

    pub fn feed(&mut self, from: &str, text: &str) -> Received {
        self.feed_on(0, from, text)
    }

    pub fn feed_on(&mut self, listener: u16, from: &str, text: &str) -> Received {
        let received = self.e.handle_datagram(self.now, ListenerId(listener), from.parse().unwrap(), text.as_bytes());
        self.drain();
        received
    }

    #[track_caller]
    pub fn order(&mut self, leg: LegId, event: LegEvent) {
        self.try_order(leg, event).expect("the order is taken");
    }

    pub fn try_order(&mut self, leg: LegId, event: LegEvent) -> Result<(), OrderError> {
        let result = self.e.handle_leg_event(self.now, leg, event);
        self.drain();
        result
    }

    /// Moves time on to `ms`, serving every timer at its own instant.
    pub fn run_to(&mut self, ms: u64) {
        let end = Time::from_millis(ms);
        while let Some(due) = self.e.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.e.handle_timeout(self.now);
            self.drain();
        }
        self.now = self.now.max(end);
        self.e.handle_timeout(self.now);
        self.drain();
    }

    pub fn run_for(&mut self, ms: u64) {
        self.run_to(self.now.millis() + ms);
    }

    /// The next thing sent, which must begin so.
    #[track_caller]
    pub fn expect(&mut self, start: &str) -> Sent {
        let sent = self.sent.pop_front().unwrap_or_else(|| panic!("nothing sent, {start} expected"));
        assert!(sent.text.starts_with(start), "expected {start}, sent\n{}", sent.text);
        sent
    }

    #[track_caller]
    pub fn quiet(&mut self) {
        if let Some(sent) = self.sent.front() {
            panic!("nothing should have been sent, but\n{}", sent.text);
        }
        if let Some(event) = self.events.front() {
            panic!("nothing should have happened, but {event:?}");
        }
    }

    #[track_caller]
    pub fn event(&mut self) -> LegEvent {
        self.events.pop_front().expect("an event").1
    }

    /// Instants of everything sent so far, which must all begin with `start`; empties the list.
    #[track_caller]
    pub fn instants(&mut self, start: &str) -> Vec<u64> {
        let mut at = Vec::new();
        while !self.sent.is_empty() {
            at.push(self.expect(start).at_ms);
        }
        at
    }

    /// Everything fades: no leg, dialog, transaction or timer is left.
    #[track_caller]
    pub fn nothing_left(&mut self) {
        self.quiet();
        self.run_for(200_000);
        self.quiet();
        assert_eq!(self.e.counts(), Counts::default());
        assert_eq!(self.e.poll_timeout(), None);
    }

    // --- stories ---------------------------------------------------------------------------------------------------

    /// A calls; the 100 is checked, the leg and its Try returned.
    #[track_caller]
    pub fn incoming(&mut self, extra: &str, sdp: &str) -> (LegId, Try) {
        self.feed(A, &a_invite("z9hG4bKa1", 1, extra, sdp));
        let trying = self.expect("SIP/2.0 100 Trying");
        assert_eq!(trying.to, A);
        let (leg, event) = self.events.pop_front().expect("Try");
        let LegEvent::Try(order) = event else { panic!("{event:?}") };
        (leg, *order)
    }

    /// A calls and is answered and has acknowledged; returns the leg and our tag.
    #[track_caller]
    pub fn answered_incoming(&mut self) -> (LegId, String) {
        let (leg, _) = self.incoming("", SDP_A);
        self.order(leg, connect(SDP_B));
        let tag = self.expect("SIP/2.0 200 OK").tag("To");
        self.feed(A, &a_request("ACK", "z9hG4bKack1", 1, &tag, "", ""));
        assert!(matches!(self.event(), LegEvent::Confirm(_)));
        (leg, tag)
    }

    /// We call B; returns the leg and the INVITE.
    #[track_caller]
    pub fn outgoing(&mut self, sdp: &str) -> (LegId, Sent) {
        self.started += 1;
        let leg = LegId::outgoing(self.started);
        self.order(leg, LegEvent::Try(Box::new(b_try(sdp))));
        let invite = self.expect("INVITE sip:8613900000000@192.0.2.10:5060 SIP/2.0");
        let LegEvent::Sent { call_id } = self.event() else { panic!("Sent expected") };
        assert_eq!(call_id, invite.header("Call-ID"));
        (leg, invite)
    }

    /// We call B and B answered; returns the leg and the INVITE.
    #[track_caller]
    pub fn answered_outgoing(&mut self) -> (LegId, Sent) {
        let (leg, invite) = self.outgoing(SDP_A);
        self.feed(
            B,
            &reply(&invite, 200, "tb", "Contact: <sip:b@192.0.2.10:5060>\r\nAllow: INVITE, UPDATE\r\n", SDP_B),
        );
        self.expect("ACK sip:b@192.0.2.10:5060 SIP/2.0");
        assert!(matches!(self.event(), LegEvent::Connect(_)));
        (leg, invite)
    }
}

pub fn body(sdp: &str) -> String {
    if sdp.is_empty() {
        return "Content-Length: 0\r\n\r\n".to_owned();
    }
    format!("Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}", sdp.len())
}

pub fn a_invite(branch: &str, cseq: u32, extra: &str, sdp: &str) -> String {
    format!(
        "INVITE sip:8613900000000@203.0.113.1 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.10:5062;branch={branch};rport\r\n\
         Max-Forwards: 70\r\nFrom: \"Alice\" <sip:4930100@198.51.100.10>;tag=ta\r\nTo: <sip:8613900000000@203.0.113.1>\r\n\
         Call-ID: call-a\r\nCSeq: {cseq} INVITE\r\nContact: <sip:4930100@198.51.100.10:5062>\r\n{extra}{}",
        body(sdp)
    )
}

/// A request of A inside the dialog.
pub fn a_request(method: &str, branch: &str, cseq: u32, our_tag: &str, extra: &str, sdp: &str) -> String {
    let to_tag = if our_tag.is_empty() { String::new() } else { format!(";tag={our_tag}") };
    format!(
        "{method} sip:8613900000000@203.0.113.1:5060 SIP/2.0\r\n\
         Via: SIP/2.0/UDP 198.51.100.10:5062;branch={branch};rport\r\nMax-Forwards: 70\r\n\
         From: <sip:4930100@198.51.100.10>;tag=ta\r\nTo: <sip:8613900000000@203.0.113.1>{to_tag}\r\n\
         Call-ID: call-a\r\nCSeq: {cseq} {method}\r\nContact: <sip:4930100@198.51.100.10:5062>\r\n{extra}{}",
        body(sdp)
    )
}

/// A request of B inside the dialog that `invite` of ours began.
pub fn b_request(invite: &Sent, method: &str, branch: &str, cseq: u32, extra: &str, sdp: &str) -> String {
    let to_tag = if invite.header("To").contains("tag=") { "" } else { ";tag=tb" };
    format!(
        "{method} sip:x@203.0.113.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5060;branch={branch};rport\r\n\
         Max-Forwards: 70\r\nFrom: {}{to_tag}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n\
         Contact: <sip:b@192.0.2.10:5060>\r\n{extra}{}",
        invite.header("To"),
        invite.header("From"),
        invite.header("Call-ID"),
        body(sdp)
    )
}

/// The far side's response to a request of ours.
pub fn reply(request: &Sent, status: u16, tag: &str, extra: &str, sdp: &str) -> String {
    let tag =
        if tag.is_empty() || request.header("To").contains("tag=") { String::new() } else { format!(";tag={tag}") };
    format!(
        "SIP/2.0 {status} X\r\nVia: {}\r\nFrom: {}\r\nTo: {}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n{extra}{}",
        request.header("Via"),
        request.header("From"),
        request.header("To"),
        request.header("Call-ID"),
        request.header("CSeq"),
        body(sdp)
    )
}

pub fn b_try(sdp: &str) -> Try {
    Try {
        remote: B.parse().unwrap(),
        listener: ListenerId(0),
        transport: tandem_leg::Transport::Udp,
        call_id: String::new(),
        caller: tandem_leg::Party { user: "4930100".into(), display: "Alice".into(), host: String::new() },
        callee: tandem_leg::Party { user: "8613900000000".into(), ..Default::default() },
        dialled: "8613900000000".into(),
        identity: Default::default(),
        headers: vec![("Diversion".into(), "<sip:1@x>".into()), ("Contact".into(), "<sip:evil>".into())],
        max_forwards: 69,
        hop: Some("n1;1".into()),
        user_agent: "never relayed".into(),
        expires_s: None,
        rel100: Default::default(),
        sdp: (!sdp.is_empty()).then(|| sdp.as_bytes().to_vec()),
    }
}

pub fn some(sdp: &str) -> Option<Vec<u8>> {
    (!sdp.is_empty()).then(|| sdp.as_bytes().to_vec())
}

pub fn ring(status: u16) -> LegEvent {
    LegEvent::Ring(Ring { status, ..Ring::default() })
}

pub fn connect(sdp: &str) -> LegEvent {
    LegEvent::Connect(Connect { sdp: some(sdp), ..Connect::default() })
}

pub fn fail(status: u16) -> LegEvent {
    LegEvent::Fail(Fail { reason: Reason::q850(17), ..Fail::status(status) })
}

pub fn hang_up() -> LegEvent {
    LegEvent::Disconnect(tandem_leg::Disconnect::order(Reason::q850(16)))
}

/// Sends of the default resend list, milliseconds (spec signalling.md S-D1).
pub const S_D1: [u64; 11] = [0, 500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
