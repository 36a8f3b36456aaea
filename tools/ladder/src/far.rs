//! A far party: a customer's or vendor's SIP device, written so that a story, a property test or a simulator can make it
//! say anything at any time. It keeps dialogs and numbers; it retransmits and answers nothing on its own.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::net::SocketAddr;

use tandem_leg::Time;

use crate::heard::{Heard, Kind, media_address, uri_of};
use crate::site::{SIP_V4, SIP_V6, parse};

/// What a message is made of beyond its kind.
#[derive(Clone, Debug, Default)]
pub struct Say {
    /// Media address; `None` sends no session description.
    pub sdp: Option<SocketAddr>,
    /// `a=` direction in it.
    pub direction: Option<String>,
    /// Payload types in it, comma separated; `8,101` when empty.
    pub codecs: String,
    /// Body instead of a session description: type and text.
    pub body: Option<(String, String)>,
    /// Extra headers.
    pub headers: Vec<(String, String)>,
    /// Our tag in a response; the dialog's own when empty.
    pub tag: String,
    /// Max-Forwards; 70 unless set.
    pub max_forwards: Option<u32>,
    /// Calling number.
    pub from: Option<String>,
    /// Called number.
    pub to: Option<String>,
}

/// A request that was sent and what came back.
#[derive(Clone, Debug)]
struct Asked {
    method: String,
    cseq: u32,
    branch: String,
    uri: String,
    /// Final status.
    status: Option<u16>,
    /// To tag of the final response.
    to_tag: String,
}

/// One dialog, or what may become one.
#[derive(Debug)]
pub struct Dialog {
    /// Name in a story; `None` until somebody took the call.
    pub label: Option<String>,
    /// Call-ID.
    pub call_id: String,
    /// The switch began it.
    pub from_switch: bool,
    local: String,
    remote: String,
    local_tag: String,
    remote_tag: String,
    target: String,
    cseq: u32,
    asked: Vec<Asked>,
    /// Requests of the switch and the final status they got.
    requests: Vec<(Heard, Option<u16>)>,
    /// Everything sent, with its name.
    sent: Vec<(String, String)>,
    /// Everything heard.
    pub heard: Vec<Heard>,
    /// Heard and not taken yet.
    pub inbox: VecDeque<Heard>,
    /// Over: BYE was said or the INVITE failed.
    pub over: bool,
    /// The INVITE of this dialog was answered 2xx.
    pub answered: bool,
    version: u64,
    last_sdp: Option<String>,
    /// Where we want media.
    pub media: Option<SocketAddr>,
    /// Session descriptions of the switch, in order.
    pub told: Vec<String>,
    rtp_seq: u16,
    /// Last CSeq of the switch by our tag: every fork is a dialog of its own.
    cseq_heard: BTreeMap<String, u32>,
}

/// A far party.
#[derive(Debug)]
pub struct Far {
    /// Name in a story.
    pub name: String,
    /// Where it speaks SIP.
    pub address: SocketAddr,
    /// Its dialogs, oldest first.
    pub dialogs: Vec<Dialog>,
    /// The network may reorder: what depends on the order of arrival is not judged.
    pub reordering: bool,
    minted: u32,
}

/// A datagram to the switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Source.
    pub from: SocketAddr,
    /// The text.
    pub text: String,
    /// Method or status, for drawings.
    pub name: String,
}

impl Far {
    /// A party without dialogs.
    pub fn new(name: &str, address: SocketAddr) -> Far {
        Far { name: name.to_owned(), address, dialogs: Vec::new(), reordering: false, minted: 0 }
    }

    fn host(&self) -> String {
        match self.address {
            SocketAddr::V4(a) => a.ip().to_string(),
            SocketAddr::V6(a) => format!("[{}]", a.ip()),
        }
    }

    /// The listener of the switch this party speaks with.
    pub fn switch(&self) -> SocketAddr {
        parse(if self.address.is_ipv4() { SIP_V4 } else { SIP_V6 })
    }

    fn mint(&mut self, what: &str) -> String {
        self.minted += 1;
        format!("{what}-{}-{}", self.name, self.minted)
    }

    /// Takes a datagram of the switch into the dialog it belongs to, making one for a new call. Returns that dialog.
    ///
    /// # Errors
    /// What is wrong with the message whatever was expected; `secrets` are words that must not be seen on this leg.
    pub fn hear(&mut self, seq: u64, at: Time, bytes: &[u8], secrets: &[String]) -> Result<usize, String> {
        let heard = Heard::read(seq, at, bytes)?;
        let at = match self.dialogs.iter().position(|d| d.call_id == heard.call_id) {
            Some(at) => at,
            None => {
                if heard.status().is_some() {
                    return Err(format!("{} for a Call-ID that {} never used", heard.name(), self.name));
                }
                let tag = self.mint("tag");
                let target = heard.contact().unwrap_or("").to_owned();
                let mut dialog = Dialog::new(heard.call_id.clone(), true, tag);
                dialog.local = heard.header("To").map(without_tag).unwrap_or_default();
                dialog.remote = heard.header("From").map(without_tag).unwrap_or_default();
                dialog.remote_tag.clone_from(&heard.from_tag);
                dialog.target = target;
                self.dialogs.push(dialog);
                self.dialogs.len() - 1
            }
        };
        let ours = self.switch();
        let result = heard.obeys(ours, secrets);
        let (name, reordering) = (heard.name(), self.reordering);
        let result = result.and_then(|()| self.dialogs[at].hear(heard, reordering));
        result.map(|()| at).map_err(|problem| format!("{name} to {}: {problem}", self.name))
    }

    /// A new call (or another request that begins a dialog) of this party.
    pub fn call(&mut self, method: &str, say: &Say) -> (usize, Datagram) {
        let call_id = format!("{}@{}", self.mint("call"), self.host());
        let tag = self.mint("tag");
        let switch = self.switch();
        let from = say.from.clone().unwrap_or_else(|| "4930100".to_owned());
        let to = say.to.clone().unwrap_or_else(|| "8613900000000".to_owned());
        let target = format!("sip:{to}@{switch}");
        let mut dialog = Dialog::new(call_id, false, tag);
        dialog.local = format!("\"{from}\" <sip:{from}@{}>", self.host());
        dialog.remote = format!("<{target}>");
        dialog.target = target;
        self.dialogs.push(dialog);
        let at = self.dialogs.len() - 1;
        let datagram = self.request(at, method, say);
        (at, datagram)
    }

    /// A request inside dialog `at`. ACK and CANCEL belong to the last INVITE we sent.
    pub fn request(&mut self, at: usize, method: &str, say: &Say) -> Datagram {
        let branch = format!("z9hG4bK{}", self.mint("b"));
        let (address, name, host) = (self.address, self.name.clone(), self.host());
        let dialog = &mut self.dialogs[at];
        let invite = dialog.asked.iter().rev().find(|a| a.method == "INVITE").cloned();
        let (cseq, branch, uri, to_tag) = match (method, invite) {
            ("ACK", Some(invite)) if invite.status.is_some_and(|s| s >= 300) => {
                (invite.cseq, invite.branch, invite.uri, invite.to_tag)
            }
            ("ACK", Some(invite)) => (invite.cseq, branch, dialog.target.clone(), dialog.remote_tag.clone()),
            ("CANCEL", Some(invite)) => (invite.cseq, invite.branch, invite.uri, String::new()),
            _ => {
                dialog.cseq += 1;
                (dialog.cseq, branch, dialog.target.clone(), dialog.remote_tag.clone())
            }
        };
        // A request inside a dialog without tag from the other side is one before the dialog stands.
        let to_tag = if to_tag.is_empty() { to_tag } else { format!(";tag={to_tag}") };
        let mut text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch={branch};rport\r\n\
             Max-Forwards: {}\r\nFrom: {};tag={}\r\nTo: {}{to_tag}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\n",
            say.max_forwards.unwrap_or(70),
            dialog.local,
            dialog.local_tag,
            dialog.remote,
            dialog.call_id,
        );
        if matches!(method, "INVITE" | "UPDATE" | "SUBSCRIBE" | "REGISTER") {
            let _ = write!(text, "Contact: <sip:{name}@{address}>\r\nAllow: {ALLOW}\r\n");
        }
        let _ = write!(text, "User-Agent: far-{name}/1\r\n");
        dialog.finish(&mut text, &name, &host, say);
        if method != "ACK" {
            let method = method.to_owned();
            dialog.asked.push(Asked { method, cseq, branch, uri, status: None, to_tag: String::new() });
        }
        if method == "BYE" {
            dialog.over = true;
        }
        dialog.sent.push((method.to_owned(), text.clone()));
        Datagram { from: address, text, name: method.to_owned() }
    }

    /// A response in dialog `at` to the last request of the switch that has no final answer, or to the last one with
    /// `method`.
    ///
    /// # Errors
    /// When there is none.
    pub fn respond(&mut self, at: usize, status: u16, method: Option<&str>, say: &Say) -> Result<Datagram, String> {
        let (address, name, host) = (self.address, self.name.clone(), self.host());
        let dialog = &mut self.dialogs[at];
        let open = dialog.requests.iter().rposition(|(request, answer)| match method {
            Some(method) => request.method == method,
            None => answer.is_none() && request.method != "ACK",
        });
        let Some(index) = open else {
            return Err(format!("{name} has no request to answer {status}"));
        };
        let request = dialog.requests[index].0.clone();
        let tag = if say.tag.is_empty() { dialog.local_tag.clone() } else { say.tag.clone() };
        let mut text = format!("SIP/2.0 {status} {}\r\n", phrase(status));
        for via in request.headers("Via") {
            let _ = write!(text, "Via: {via}\r\n");
        }
        let _ = write!(text, "From: {}\r\n", request.header("From").unwrap_or(""));
        let to = request.header("To").unwrap_or("");
        if request.to_tag.is_empty() && status != 100 {
            let _ = write!(text, "To: {to};tag={tag}\r\n");
        } else {
            let _ = write!(text, "To: {to}\r\n");
        }
        let _ = write!(text, "Call-ID: {}\r\nCSeq: {} {}\r\n", request.call_id, request.cseq, request.method);
        if request.method == "INVITE" && (101..300).contains(&status) {
            let _ = write!(text, "Contact: <sip:{name}@{address}>\r\nAllow: {ALLOW}\r\n");
        }
        let _ = write!(text, "Server: far-{name}/1\r\n");
        dialog.finish(&mut text, &name, &host, say);
        if status >= 200 {
            dialog.requests[index].1.get_or_insert(status);
            if request.method == "INVITE" {
                dialog.answered |= status < 300;
                dialog.over |= status >= 300 && !dialog.answered;
            }
        }
        let label =
            if request.method == "INVITE" { status.to_string() } else { format!("{status} {}", request.method) };
        dialog.sent.push((label.clone(), text.clone()));
        Ok(Datagram { from: address, text, name: label })
    }

    /// What was sent last under that name, byte for byte.
    ///
    /// # Errors
    /// When nothing was.
    pub fn again(&self, at: usize, name: &str) -> Result<Datagram, String> {
        let found = self.dialogs[at].sent.iter().rev().find(|(n, _)| n == name || n.split(' ').next() == Some(name));
        let (_, text) = found.ok_or_else(|| format!("{} sent no {name} before", self.name))?;
        Ok(Datagram { from: self.address, text: text.clone(), name: format!("{name} again") })
    }

    /// Packet number `n` of a stream of G.711: 20 ms of it.
    ///
    /// # Errors
    /// When no media was negotiated.
    pub fn rtp(&mut self, at: usize, payload_type: u8) -> Result<(SocketAddr, u16, Vec<u8>), String> {
        let name = self.name.clone();
        let dialog = &mut self.dialogs[at];
        let from = dialog.media.ok_or_else(|| format!("{name} has no media address"))?;
        let to = dialog.told.iter().rev().find_map(|sdp| media_address(sdp));
        let to = to.ok_or_else(|| format!("{name} was told no media address"))?;
        let n = dialog.rtp_seq;
        dialog.rtp_seq = n.wrapping_add(1);
        let mut packet = vec![0x80, payload_type];
        packet.extend_from_slice(&n.to_be_bytes());
        packet.extend_from_slice(&(u32::from(n) * 160).to_be_bytes());
        // One source per party.
        packet.extend_from_slice(
            &name.bytes().fold(0u32, |s, b| s.wrapping_mul(31).wrapping_add(b.into())).to_be_bytes(),
        );
        let mut sound = format!("{name}/{n};").into_bytes();
        sound.resize(160, 0xd5);
        packet.extend_from_slice(&sound);
        Ok((from, to.port(), packet))
    }
}

/// Methods the far party says it takes.
const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO";

impl Dialog {
    fn new(call_id: String, from_switch: bool, local_tag: String) -> Dialog {
        Dialog {
            label: None,
            call_id,
            from_switch,
            local: String::new(),
            remote: String::new(),
            local_tag,
            remote_tag: String::new(),
            target: String::new(),
            cseq: 0,
            asked: Vec::new(),
            requests: Vec::new(),
            sent: Vec::new(),
            heard: Vec::new(),
            inbox: VecDeque::new(),
            over: false,
            answered: false,
            version: 0,
            last_sdp: None,
            media: None,
            told: Vec::new(),
            rtp_seq: 0,
            cseq_heard: BTreeMap::new(),
        }
    }

    /// Checks a message against what this dialog knows, and keeps it.
    fn hear(&mut self, heard: Heard, reordering: bool) -> Result<(), String> {
        match &heard.kind {
            Kind::Request(method) => {
                if self.from_switch && self.heard.is_empty() {
                    // Begins the dialog.
                } else if heard.from_tag != self.remote_tag && !self.remote_tag.is_empty() {
                    return Err(format!("From tag {} is not the {} of this dialog", heard.from_tag, self.remote_tag));
                }
                let repeated = self.is_repeated(&heard);
                if !repeated && !matches!(method.as_str(), "ACK" | "CANCEL") {
                    let last = self.cseq_heard.entry(heard.to_tag.clone()).or_default();
                    if heard.cseq <= *last && !reordering {
                        return Err(format!("CSeq {} is not above {last}", heard.cseq));
                    }
                    *last = heard.cseq.max(*last);
                }
                if !repeated && method != "ACK" {
                    self.requests.push((heard.clone(), None));
                }
                if method == "BYE" {
                    self.over = true;
                }
                if matches!(method.as_str(), "INVITE" | "UPDATE")
                    && let Some(contact) = heard.contact()
                {
                    self.target = contact.to_owned();
                }
            }
            Kind::Response(status) => {
                let asked = self.asked.iter_mut().find(|a| a.branch == heard.branch && a.method == heard.method);
                let Some(asked) = asked else {
                    return Err("it answers no request of ours".to_owned());
                };
                if asked.cseq != heard.cseq || heard.from_tag != self.local_tag {
                    return Err(format!("CSeq {} or From tag are not those of the request", heard.cseq));
                }
                if *status >= 200 {
                    // What overtook the message that made its dialog is 481, its copy behind that message is served, and
                    // the two answers may overtake each other as well.
                    let overtook = reordering && (asked.status == Some(481) || *status == 481);
                    if !overtook && asked.status.is_some_and(|s| s != *status) {
                        return Err(format!("a second final answer, {status} after {:?}", asked.status));
                    }
                    asked.status = Some(*status);
                    asked.to_tag.clone_from(&heard.to_tag);
                }
                if heard.method == "INVITE" && (101..300).contains(status) {
                    if self.remote_tag.is_empty() {
                        self.remote_tag.clone_from(&heard.to_tag);
                    } else if self.remote_tag != heard.to_tag {
                        return Err(format!("To tag {} after {}", heard.to_tag, self.remote_tag));
                    }
                    if let Some(contact) = heard.contact() {
                        self.target = contact.to_owned();
                    }
                    self.answered |= *status >= 200;
                }
                if heard.method == "INVITE" && *status >= 300 && !self.answered {
                    self.over = true;
                }
            }
        }
        if let Some(sdp) = heard.sdp()
            && !self.is_repeated(&heard)
        {
            self.told.push(sdp.to_owned());
        }
        self.heard.push(heard.clone());
        self.inbox.push_back(heard);
        Ok(())
    }

    /// Whether these very bytes were heard before.
    pub fn is_repeated(&self, heard: &Heard) -> bool {
        self.heard.iter().any(|h| h.seq != heard.seq && h.seq < heard.seq && h.text == heard.text)
    }

    /// Whether a request of ours with `method` waits for its final answer.
    pub fn is_waiting(&self, method: &str) -> bool {
        self.asked.iter().any(|a| a.method == method && a.status.is_none())
    }

    /// Final status of our last request with `method`.
    pub fn status_of(&self, method: &str) -> Option<u16> {
        self.asked.iter().rev().find(|a| a.method == method).and_then(|a| a.status)
    }

    /// Methods of the switch's requests without a final answer, oldest first.
    pub fn open_requests(&self) -> impl Iterator<Item = &str> {
        self.requests.iter().filter(|(_, answer)| answer.is_none()).map(|(request, _)| request.method.as_str())
    }

    /// The session description we sent last.
    pub fn last_sdp(&self) -> Option<&str> {
        self.last_sdp.as_deref()
    }

    /// Extra headers and the body.
    fn finish(&mut self, text: &mut String, name: &str, host: &str, say: &Say) {
        for (header, value) in &say.headers {
            let _ = write!(text, "{header}: {value}\r\n");
        }
        let body = match (&say.body, say.sdp) {
            (Some((kind, body)), _) => Some((kind.clone(), body.clone())),
            (None, Some(media)) => {
                self.media = Some(media);
                Some(("application/sdp".to_owned(), self.sdp(name, host, media, say)))
            }
            (None, None) => None,
        };
        match body {
            Some((kind, body)) => {
                let _ = write!(text, "Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            }
            None => text.push_str("Content-Length: 0\r\n\r\n"),
        }
    }

    /// A description; its version rises when it differs from the last one (RFC 3264 8).
    fn sdp(&mut self, name: &str, host: &str, media: SocketAddr, say: &Say) -> String {
        let family = |v4| if v4 { "IP4" } else { "IP6" };
        let ip = media.ip();
        let codecs = if say.codecs.is_empty() { "8,101" } else { &say.codecs };
        let mut rest = format!(
            "s=-\r\nc=IN {} {ip}\r\nt=0 0\r\nm=audio {} RTP/AVP {}\r\n",
            family(ip.is_ipv4()),
            media.port(),
            codecs.replace(',', " ")
        );
        for codec in codecs.split(',') {
            if let Some(map) = rtpmap(codec) {
                let _ = write!(rest, "a=rtpmap:{codec} {map}\r\n");
            }
        }
        // A line nobody knows must come through.
        let _ = write!(rest, "a=ptime:20\r\na=x-{name}:kept\r\n");
        if let Some(direction) = &say.direction {
            let _ = write!(rest, "a={direction}\r\n");
        }
        let host = host.trim_matches(['[', ']']);
        let origin =
            |version| format!("v=0\r\no={name} 1 {version} IN {} {host}\r\n{rest}", family(!host.contains(':')));
        if self.last_sdp.as_deref() != Some(origin(self.version).as_str()) {
            self.version += 1;
        }
        let text = origin(self.version);
        self.last_sdp = Some(text.clone());
        text
    }
}

fn rtpmap(codec: &str) -> Option<&'static str> {
    Some(match codec {
        "0" => "PCMU/8000",
        "8" => "PCMA/8000",
        "18" => "G729/8000",
        "101" => "telephone-event/8000",
        _ => return None,
    })
}

fn without_tag(value: &str) -> String {
    let uri = uri_of(value);
    format!("<{uri}>")
}

fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        183 => "Session Progress",
        200 => "OK",
        486 => "Busy Here",
        487 => "Request Terminated",
        503 => "Service Unavailable",
        _ => "Far Party Says So",
    }
}
