//! A message of the switch as a far party reads it, and what every such message must obey whatever the story.

use std::net::SocketAddr;

use tandem_leg::Time;
use tandem_sip::scan::scan;

/// Request or response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request.
    Request(String),
    /// A response with its status.
    Response(u16),
}

/// A message that came from the switch.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Order of arrival over all parties.
    pub seq: u64,
    /// When.
    pub at: Time,
    /// Request or response.
    pub kind: Kind,
    /// Method of the request, or of the request it answers.
    pub method: String,
    /// CSeq number.
    pub cseq: u32,
    /// Call-ID.
    pub call_id: String,
    /// Branch of the top Via.
    pub branch: String,
    /// Tag of From.
    pub from_tag: String,
    /// Tag of To; empty without one.
    pub to_tag: String,
    /// The whole message.
    pub text: String,
}

impl Heard {
    /// Reads a datagram.
    ///
    /// # Errors
    /// Why it is no message that a strict peer would take.
    pub fn read(seq: u64, at: Time, bytes: &[u8]) -> Result<Heard, String> {
        let message = scan(bytes).map_err(|error| format!("what was sent cannot be read: {error}"))?;
        let string = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let kind = match message.status() {
            Some(status) => Kind::Response(status),
            None => Kind::Request(string(message.cseq.method_raw)),
        };
        let method = string(message.cseq.method_raw);
        let heard = Heard {
            seq,
            at,
            kind,
            method,
            cseq: message.cseq.number,
            call_id: string(message.call_id),
            branch: message.via.branch.map(string).unwrap_or_default(),
            from_tag: message.from_tag.map(string).unwrap_or_default(),
            to_tag: message.to_tag.map(string).unwrap_or_default(),
            text: string(bytes),
        };
        match message.content_length {
            Some(length) if length as usize == heard.body().len() => Ok(heard),
            other => Err(format!("Content-Length {other:?} but the body has {} bytes", heard.body().len())),
        }
    }

    /// Every value of a header.
    pub fn headers<'t>(&'t self, name: &'t str) -> impl Iterator<Item = &'t str> {
        self.head().lines().skip(1).filter_map(move |line| {
            let (n, value) = line.split_once(':')?;
            n.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The first value of a header.
    pub fn header<'t>(&'t self, name: &'t str) -> Option<&'t str> {
        self.headers(name).next()
    }

    /// Start line and headers.
    pub fn head(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or(self.text.as_str(), |(head, _)| head)
    }

    /// The first line.
    pub fn start_line(&self) -> &str {
        self.text.lines().next().unwrap_or("")
    }

    /// What follows the blank line.
    pub fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    /// The session description, if there is one.
    pub fn sdp(&self) -> Option<&str> {
        self.header("Content-Type").filter(|t| t.eq_ignore_ascii_case("application/sdp")).map(|_| self.body())
    }

    /// URI in Contact, without brackets.
    pub fn contact(&self) -> Option<&str> {
        self.header("Contact").map(uri_of)
    }

    /// Status of a response.
    pub fn status(&self) -> Option<u16> {
        match self.kind {
            Kind::Response(status) => Some(status),
            Kind::Request(_) => None,
        }
    }

    /// Whether this is a request with that method.
    pub fn is_request(&self, method: &str) -> bool {
        self.kind == Kind::Request(method.to_owned())
    }

    /// Method or status, with the method that a status answers unless that is INVITE.
    pub fn name(&self) -> String {
        match &self.kind {
            Kind::Request(method) => method.clone(),
            Kind::Response(status) if self.method == "INVITE" => status.to_string(),
            Kind::Response(status) => format!("{status} {}", self.method),
        }
    }

    /// What every message of the switch obeys: one Via and a Contact that are ours, no address and no Call-ID of another
    /// party, no product name of another party (signalling.md 1).
    pub(crate) fn obeys(&self, ours: SocketAddr, others: &[String]) -> Result<(), String> {
        let ours = ours.to_string();
        if let Some(contact) = self.contact() {
            if !contact.contains(&ours) {
                return Err(format!("Contact {contact} is not ours ({ours})"));
            }
        } else if self.is_request("INVITE") || (self.method == "INVITE" && self.status() == Some(200)) {
            return Err("an INVITE and its 200 need a Contact (RFC 3261 8.1.1.8, 12.1.1)".to_owned());
        }
        if let Kind::Request(_) = self.kind {
            let vias: Vec<&str> = self.headers("Via").collect();
            if vias.len() != 1 || !vias[0].contains(&ours) {
                return Err(format!("a request of ours carries one Via with {ours}, not {vias:?}"));
            }
            if !self.branch.starts_with("z9hG4bK") {
                return Err(format!("branch {:?} without magic cookie", self.branch));
            }
            match self.header("Max-Forwards").map(str::parse::<u8>) {
                Some(Ok(1..=70)) => {}
                other => return Err(format!("Max-Forwards is {other:?}")),
            }
        } else if self.to_tag.is_empty() && self.status() != Some(100) {
            return Err("a response above 100 without To tag (RFC 3261 8.2.6.2)".to_owned());
        }
        match others.iter().find(|secret| self.head().contains(secret.as_str())) {
            Some(secret) => Err(format!("{secret:?} of another leg is visible (topology hiding)")),
            None => Ok(()),
        }
    }
}

/// `"Name" <sip:x@y>;p=v` -> `sip:x@y`.
pub(crate) fn uri_of(value: &str) -> &str {
    match value.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or(rest),
        None => value.split(';').next().unwrap_or(value).trim(),
    }
}

/// User part of `<sip:user@host>`.
pub(crate) fn user_of(value: &str) -> &str {
    let uri = uri_of(value);
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    rest.split_once('@').map_or("", |(user, _)| user)
}

/// Address of the first audio stream.
pub fn media_address(sdp: &str) -> Option<SocketAddr> {
    let mut session = None;
    let mut port = None;
    for line in sdp.lines() {
        if let Some(c) = line.strip_prefix("c=") {
            if port.is_none() || session.is_none() {
                session = c.split_whitespace().nth(2)?.parse().ok();
            }
        } else if let Some(m) = line.strip_prefix("m=audio ") {
            if port.is_some() {
                break;
            }
            port = m.split_whitespace().next()?.parse::<u16>().ok();
        } else if line.starts_with("m=") && port.is_some() {
            break;
        }
    }
    Some(SocketAddr::new(session?, port?))
}

/// Direction of the first stream; `sendrecv` when it says nothing (RFC 3264 5.1).
pub(crate) fn direction(sdp: &str) -> &str {
    sdp.lines()
        .filter_map(|line| line.strip_prefix("a="))
        .find(|a| matches!(*a, "sendrecv" | "sendonly" | "recvonly" | "inactive"))
        .unwrap_or("sendrecv")
}

/// Session version in `o=`.
pub(crate) fn version(sdp: &str) -> Option<u64> {
    sdp.lines().find_map(|line| line.strip_prefix("o="))?.split_whitespace().nth(2)?.parse().ok()
}
