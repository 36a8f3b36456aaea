//! A party that speaks just enough SIP to call, answer, talk and hang up when a test says so. SIPp does the many calls;
//! this one can be asked about each.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::common::{Switch, until};

/// The vendor does not answer numbers that begin so.
pub(crate) const RINGS: &str = "12129";

/// T1 of RFC 3261 17.1.1.1.
const T1: Duration = Duration::from_millis(500);
/// T2: the longest pause between two tries.
const T2: Duration = Duration::from_secs(4);

/// How far a call is, as this side sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// INVITE sent or taken, not answered.
    Early,
    /// 200 seen; on the answering side, also its ACK.
    Talking,
    /// BYE sent, not answered.
    HangingUp,
    /// Over.
    Ended,
}

/// One call.
#[derive(Clone, Debug)]
pub(crate) struct Dialog {
    pub(crate) stage: Stage,
    /// Final status of the INVITE; 0 until there is one.
    pub(crate) status: u16,
    /// Retry-After of a refusal.
    pub(crate) retry_after: Option<u32>,
    /// 180 or 183 was seen, or sent.
    pub(crate) rang: bool,
    /// Requests and final answers of this call that came in, each once.
    pub(crate) heard: Vec<String>,
    /// Our audio.
    pub(crate) rtp: Arc<UdpSocket>,
    /// Theirs.
    pub(crate) media: Option<SocketAddr>,
    call_id: String,
    /// From and To as they stand in our requests.
    ours: String,
    theirs: String,
    cseq: u32,
    invite: String,
    /// Sent again until it is answered.
    pending: Option<(String, Instant, Duration)>,
    /// Said again when the question comes again.
    last: String,
}

impl Dialog {
    /// Something was said that nobody has answered yet.
    pub(crate) fn waits(&self) -> bool {
        self.pending.is_some()
    }
}

/// The party; ends with the test.
pub(crate) struct Peer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    socket: UdpSocket,
    switch: SocketAddr,
    stop: AtomicBool,
    /// By called number.
    calls: Mutex<BTreeMap<String, Dialog>>,
}

impl Peer {
    /// The customer of `switch`.
    pub(crate) fn customer(switch: &Switch) -> Peer {
        Peer::new((switch.net.customer(), 5060).into(), switch.net.sip())
    }

    /// Its vendor, which answers what it is called; but numbers that begin with [`RINGS`] only ring.
    pub(crate) fn vendor(switch: &Switch) -> Peer {
        Peer::new(switch.net.vendor(1), switch.net.sip())
    }

    /// A party at `address`; its sockets are where the calling thread is.
    pub(crate) fn new(address: SocketAddr, switch: SocketAddr) -> Peer {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let stop = AtomicBool::new(false);
        let shared = Arc::new(Shared { socket, switch, stop, calls: Mutex::default() });
        let thread = {
            let shared = shared.clone();
            thread::spawn(move || shared.run())
        };
        Peer { shared, thread: Some(thread) }
    }

    /// Calls `number`, which names the call from now on.
    pub(crate) fn call(&self, number: &str) {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let n = CALLS.fetch_add(1, Ordering::Relaxed);
        let us = self.shared.us();
        let rtp = rtp_socket(us.ip());
        let call_id = format!("{}-{n}", std::process::id());
        let ours = format!("<sip:4930100@{us}>;tag=a{n}");
        let theirs = format!("<sip:{number}@{}>", self.shared.switch);
        let body = sdp(us.ip(), rtp.local_addr().unwrap().port());
        let invite = format!(
            "INVITE sip:{number}@{to} SIP/2.0\r\nVia: SIP/2.0/UDP {us};branch=z9hG4bK{call_id}-1\r\nFrom: {ours}\r\nTo: {theirs}\r\n\
             Call-ID: {call_id}\r\nCSeq: 1 INVITE\r\nContact: <sip:gw@{us}>\r\nMax-Forwards: 70\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len(),
            to = self.shared.switch,
        );
        let dialog = Dialog {
            stage: Stage::Early,
            status: 0,
            retry_after: None,
            rang: false,
            heard: Vec::new(),
            rtp,
            media: None,
            call_id,
            ours,
            theirs,
            cseq: 1,
            pending: Some((invite.clone(), Instant::now(), T1)),
            invite,
            last: String::new(),
        };
        assert!(self.shared.calls().insert(number.to_owned(), dialog).is_none(), "{number} is called twice");
    }

    /// Calls and waits for the 200.
    #[track_caller]
    pub(crate) fn connect(&self, number: &str) {
        self.call(number);
        let dialog = self.once(number, |dialog| dialog.status >= 200);
        assert_eq!(dialog.status, 200, "{dialog:#?}");
    }

    /// Calls and waits for the refusal.
    #[track_caller]
    pub(crate) fn refused(&self, number: &str) -> Dialog {
        self.call(number);
        let dialog = self.once(number, |dialog| dialog.status >= 200);
        assert!(dialog.status >= 300, "{dialog:#?}");
        dialog
    }

    /// Sends BYE; see [`Peer::once`] for its end.
    pub(crate) fn hang_up(&self, number: &str) {
        let mut calls = self.shared.calls();
        let dialog = calls.get_mut(number).unwrap();
        dialog.cseq += 1;
        dialog.stage = Stage::HangingUp;
        let bye = self.shared.request("BYE", dialog);
        dialog.pending = Some((bye, Instant::now(), T1));
    }

    /// The call as it is.
    pub(crate) fn dialog(&self, number: &str) -> Option<Dialog> {
        self.shared.calls().get(number).cloned()
    }

    /// Every call by number.
    pub(crate) fn dialogs(&self) -> BTreeMap<String, Dialog> {
        self.shared.calls().clone()
    }

    /// The call, once it is so.
    #[track_caller]
    pub(crate) fn once(&self, number: &str, is: impl Fn(&Dialog) -> bool) -> Dialog {
        until(&format!("the call to {number}"), || self.dialog(number).filter(&is))
    }

    /// Waits until every call is in `stage`.
    #[track_caller]
    pub(crate) fn all(&self, stage: Stage) {
        until(&format!("all calls {stage:?}"), || {
            self.shared.calls().values().all(|dialog| dialog.stage == stage).then_some(())
        });
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn us(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    fn calls(&self) -> MutexGuard<'_, BTreeMap<String, Dialog>> {
        self.calls.lock().unwrap()
    }

    fn run(&self) {
        let mut buffer = [0; 4096];
        while !self.stop.load(Ordering::Relaxed) {
            match self.socket.recv(&mut buffer) {
                Ok(len) => {
                    let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
                    if text.starts_with("SIP/2.0 ") { self.response(&text) } else { self.request_in(&text) }
                }
                // Nothing yet, or the switch is not there: ICMP of an earlier datagram.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionRefused) => {}
                Err(error) => panic!("the peer cannot receive: {error}"),
            }
            let now = Instant::now();
            for dialog in self.calls().values_mut() {
                if let Some((text, due, pause)) = &mut dialog.pending
                    && *due <= now
                {
                    (*due, *pause) = (now + *pause, (*pause * 2).min(T2));
                    self.send(text);
                }
            }
        }
    }

    fn send(&self, text: &str) {
        // A switch that is not there loses it, as a line would.
        let _ = self.socket.send_to(text.as_bytes(), self.switch);
    }

    /// A request of ours inside the call.
    fn request(&self, method: &str, dialog: &Dialog) -> String {
        let Dialog { ours, theirs, call_id, cseq, .. } = dialog;
        format!(
            "{method} sip:{to} SIP/2.0\r\nVia: SIP/2.0/UDP {us};branch=z9hG4bK{call_id}-{cseq}{method}\r\nFrom: {ours}\r\nTo: {theirs}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
            to = self.switch,
            us = self.us(),
        )
    }

    fn response(&self, text: &str) {
        let status: u16 = text[8..11].parse().unwrap();
        let (Some(call_id), Some(cseq)) = (header(text, "Call-ID"), header(text, "CSeq")) else { return };
        let mut calls = self.calls();
        let Some(dialog) = calls.values_mut().find(|dialog| dialog.call_id == call_id) else { return };
        if cseq.ends_with("BYE") {
            if status >= 200 && dialog.stage == Stage::HangingUp {
                dialog.heard.push(format!("{status} BYE"));
                (dialog.stage, dialog.pending) = (Stage::Ended, None);
            }
            return;
        }
        if cseq != "1 INVITE" || dialog.invite.is_empty() {
            return;
        }
        if status < 200 {
            // Provisional: the INVITE has arrived.
            dialog.rang |= status > 100;
            dialog.pending = dialog.pending.take().filter(|_| dialog.stage != Stage::Early);
            return;
        }
        let first = dialog.status == 0;
        if first {
            dialog.status = status;
            dialog.heard.push(format!("{status} INVITE"));
            dialog.pending = None;
            dialog.theirs = header(text, "To").unwrap_or_default().to_owned();
            dialog.retry_after = header(text, "Retry-After").and_then(|value| value.parse().ok());
        }
        // RFC 3261 13.2.2.4 and 17.1.1.3: every 2xx and every refusal has its ACK, also when it comes again.
        let ack = if status < 300 {
            if first {
                (dialog.stage, dialog.media) = (Stage::Talking, media_of(text));
            }
            let cseq = std::mem::replace(&mut dialog.cseq, 1);
            let ack = self.request("ACK", dialog);
            dialog.cseq = cseq;
            ack
        } else {
            dialog.stage = Stage::Ended;
            let branch = format!("z9hG4bK{}-1", dialog.call_id);
            let own = format!("z9hG4bK{}-{}ACK", dialog.call_id, dialog.cseq);
            self.request("ACK", dialog).replace(&own, &branch)
        };
        self.send(&ack);
    }

    fn request_in(&self, text: &str) {
        let method = text.split(' ').next().unwrap_or_default();
        let Some(call_id) = header(text, "Call-ID") else { return };
        let mut calls = self.calls();
        if method == "INVITE" && !calls.values().any(|dialog| dialog.call_id == call_id) {
            let number = text.split([':', '@']).nth(1).unwrap_or_default().to_owned();
            let rtp = rtp_socket(self.us().ip());
            let port = rtp.local_addr().unwrap().port();
            let tagged = format!("{};tag=b{port}", header(text, "To").unwrap_or_default());
            let rings = number.starts_with(RINGS);
            let (status, body) = match rings {
                true => ("180 Ringing", String::new()),
                false => ("200 OK", sdp(self.us().ip(), port)),
            };
            let answer = answer(text, status, &tagged, self.us(), &body);
            let dialog = Dialog {
                stage: Stage::Early,
                status: if rings { 0 } else { 200 },
                retry_after: None,
                rang: rings,
                heard: vec!["INVITE".to_owned()],
                rtp,
                media: media_of(text),
                call_id: call_id.to_owned(),
                ours: tagged,
                theirs: header(text, "From").unwrap_or_default().to_owned(),
                cseq: 1,
                invite: text.to_owned(),
                pending: (!rings).then(|| (answer.clone(), Instant::now() + T1, T1)),
                last: answer.clone(),
            };
            assert!(calls.insert(number, dialog).is_none(), "one number, two calls");
            self.send(&answer);
            return;
        }
        let Some(dialog) = calls.values_mut().find(|dialog| dialog.call_id == call_id) else {
            if method != "ACK" {
                let to = header(text, "To").unwrap_or_default();
                self.send(&answer(text, "481 Call/Transaction Does Not Exist", to, self.us(), ""));
            }
            return;
        };
        match method {
            "INVITE" => return self.send(&dialog.last),
            "ACK" => {
                dialog.pending = None;
                if dialog.stage == Stage::Early {
                    dialog.stage = if dialog.status == 200 { Stage::Talking } else { Stage::Ended };
                }
                return;
            }
            "BYE" => (dialog.stage, dialog.pending) = (Stage::Ended, None),
            "CANCEL" => {
                dialog.status = 487;
                dialog.last = answer(&dialog.invite, "487 Request Terminated", &dialog.ours, self.us(), "");
                dialog.pending = Some((dialog.last.clone(), Instant::now(), T1));
            }
            _ => {}
        }
        let heard = format!("{method} {}", header(text, "CSeq").unwrap_or_default());
        if !dialog.heard.contains(&heard) {
            dialog.heard.push(heard);
        }
        self.send(&answer(text, "200 OK", &dialog.ours, self.us(), ""));
    }
}

/// An answer to `request`.
fn answer(request: &str, status: &str, to: &str, us: SocketAddr, body: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for line in request.lines().filter(|line| line.starts_with("Via:")) {
        text.push_str(&format!("{line}\r\n"));
    }
    for name in ["From", "Call-ID", "CSeq"] {
        text.push_str(&format!("{name}: {}\r\n", header(request, name).unwrap_or_default()));
    }
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    text + &format!("To: {to}\r\nContact: <sip:{us}>\r\n{kind}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn header<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let mut lines = text.lines().take_while(|line| !line.is_empty());
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::trim))
}

fn sdp(ip: IpAddr, port: u16) -> String {
    let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
    format!(
        "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=ptime:20\r\n"
    )
}

fn media_of(text: &str) -> Option<SocketAddr> {
    let line = |start: &str| text.lines().find_map(|line| line.strip_prefix(start));
    let ip = line("c=IN IP4 ").or_else(|| line("c=IN IP6 "))?.trim().parse().ok()?;
    let port = line("m=audio ")?.split(' ').next()?.parse().ok()?;
    Some(SocketAddr::new(ip, port))
}

fn rtp_socket(ip: IpAddr) -> Arc<UdpSocket> {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.set_nonblocking(true).unwrap();
    Arc::new(socket)
}
