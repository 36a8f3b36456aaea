//! What a message was, small enough to be copied into a trace or a counter.

use std::net::{IpAddr, SocketAddr};

use memchr::memchr;
use tandem_leg::LegId;

use crate::message::{Message, StartLine, sdp_body};
use crate::method::Method;
use crate::scan::ScanError;
use crate::uri::trim;

/// Request or response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// A request.
    Request(Method),
    /// A response with its status.
    Response(u16),
}

/// One message in a few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageSummary {
    /// What it is.
    pub kind: MessageKind,
    /// Method named in CSeq.
    pub cseq_method: Method,
    /// Where the sender wants its first audio stream (`c=` and `m=` of the session description).
    pub sdp: Option<SocketAddr>,
    /// Whether it was seen or sent before.
    pub retransmission: bool,
}

impl MessageSummary {
    pub(crate) fn of(message: &Message<'_>) -> MessageSummary {
        let kind = match message.start {
            StartLine::Request { method, .. } => MessageKind::Request(method),
            StartLine::Response { status, .. } => MessageKind::Response(status),
        };
        let sdp = if message.body.is_empty() { None } else { sdp_body(message).and_then(audio_address) };
        MessageSummary { kind, cseq_method: message.cseq.method, sdp, retransmission: false }
    }

    pub(crate) fn request(method: Method, sdp: Option<&[u8]>) -> MessageSummary {
        MessageSummary {
            kind: MessageKind::Request(method),
            cseq_method: method,
            sdp: sdp.and_then(audio_address),
            retransmission: false,
        }
    }

    pub(crate) fn response(status: u16, cseq_method: Method, sdp: Option<&[u8]>) -> MessageSummary {
        MessageSummary {
            kind: MessageKind::Response(status),
            cseq_method,
            sdp: sdp.and_then(audio_address),
            retransmission: false,
        }
    }

    pub(crate) fn again(self) -> MessageSummary {
        MessageSummary { retransmission: true, ..self }
    }
}

/// What became of a datagram; the name is the metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A request that was taken.
    Request,
    /// A response that was taken.
    Response,
    /// Something we had before.
    Retransmission,
    /// It only keeps a NAT binding open.
    KeepAlive,
    /// Not a usable message; answered when it could be.
    Malformed(ScanError),
    /// A request answered with this status, nothing kept of it: most refusals, OPTIONS.
    Answered(u16),
    /// From an unknown source, and unknown sources are not answered.
    Unknown,
    /// It matches nothing we know, and such are not answered (a response, an ACK).
    Stray,
    /// It belongs to another shard and was not looked at.
    NotMine {
        /// Its home.
        shard: u8,
    },
}

/// What [`Endpoint::handle_datagram`](crate::Endpoint::handle_datagram) made of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The leg it belongs to.
    pub leg: Option<LegId>,
    /// What it was, when it could be read.
    pub summary: Option<MessageSummary>,
    /// What became of it.
    pub outcome: Outcome,
}

/// `c=` (of the stream, else of the session) and the port of the first `m=audio`.
fn audio_address(sdp: &[u8]) -> Option<SocketAddr> {
    let mut session: Option<IpAddr> = None;
    let mut audio: Option<(u16, Option<IpAddr>)> = None;
    let mut rest = sdp;
    while !rest.is_empty() {
        let end = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        let (line, after) = rest.split_at(end);
        rest = after;
        // Most lines are neither.
        if !matches!(line, [b'c' | b'm', b'=', ..]) {
            continue;
        }
        let line = trim(line);
        if let Some(connection) = line.strip_prefix(b"c=") {
            let ip = connection_ip(connection);
            match &mut audio {
                Some((_, of_stream)) => *of_stream = of_stream.or(ip),
                None => session = session.or(ip),
            }
        } else if let Some(media) = line.strip_prefix(b"m=") {
            if audio.is_some() {
                break;
            }
            if let Some(rest) = media.strip_prefix(b"audio ") {
                let port = rest.split(|b| matches!(b, b' ' | b'/')).next()?;
                audio = Some((std::str::from_utf8(port).ok()?.parse().ok()?, None));
            }
        }
    }
    let (port, of_stream) = audio?;
    Some(SocketAddr::new(of_stream.or(session)?, port))
}

fn connection_ip(connection: &[u8]) -> Option<IpAddr> {
    let address = std::str::from_utf8(connection).ok()?.split_ascii_whitespace().nth(2)?;
    address.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_of_the_first_audio_stream() {
        let of = |text: &str| audio_address(text.as_bytes()).map(|a| a.to_string());
        assert_eq!(of("v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\n").as_deref(), Some("192.0.2.1:4000"));
        assert_eq!(
            of("c=IN IP4 192.0.2.1\nm=video 1 x\nm=audio 4000 RTP/AVP 0\nc=IN IP6 2001:db8::1\nm=audio 5 x\n")
                .as_deref(),
            Some("[2001:db8::1]:4000")
        );
        assert_eq!(of("m=audio 4000 RTP/AVP 0\r\n"), None);
        assert_eq!(of("c=IN IP4 192.0.2.1\r\nm=audio 70000 RTP/AVP 0\r\n"), None);
    }
}
