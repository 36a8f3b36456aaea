//! Messages into bytes, in a buffer the caller keeps and reuses.
//!
//! Strict out: one header a line, long names, CRLF, always a Content-Length. No value can end a line early: a CR or LF
//! in it becomes a blank, so nothing taken from one message can add a header to another.

use std::fmt;
use std::net::SocketAddr;

use memchr::memchr2;

use crate::header::{HeaderId, Rport, Transport, Via};
use crate::message::Message;
use crate::method::Method;
use crate::uri::{is_token, trim_start};
use tandem_leg::text::{push_address, push_ip, push_number};

/// Writes one message. Begin with [`Writer::request`], [`Writer::response_to`] or [`Writer::response`], which empty the
/// buffer; finish with [`Writer::end`] or [`Writer::body`]. Allocates only when the buffer is too small.
#[derive(Debug)]
pub struct Writer<'b> {
    buffer: &'b mut Vec<u8>,
}

impl<'b> Writer<'b> {
    /// Begins a request. Blanks and line breaks in the URI, which would end it, are escaped.
    pub fn request(buffer: &'b mut Vec<u8>, method: Method, uri: &[u8]) -> Writer<'b> {
        debug_assert_ne!(method, Method::Other, "use request_token for methods without a name");
        Writer::request_token(buffer, method.as_str().as_bytes(), uri)
    }

    /// Begins a request with any method token.
    pub fn request_token(buffer: &'b mut Vec<u8>, method: &[u8], uri: &[u8]) -> Writer<'b> {
        debug_assert!(is_token(method), "a method is a token");
        buffer.clear();
        buffer.extend_from_slice(method);
        buffer.push(b' ');
        for &byte in uri {
            match byte {
                b' ' => buffer.extend_from_slice(b"%20"),
                b'\t' => buffer.extend_from_slice(b"%09"),
                b'\r' => buffer.extend_from_slice(b"%0D"),
                b'\n' => buffer.extend_from_slice(b"%0A"),
                _ => buffer.push(byte),
            }
        }
        buffer.extend_from_slice(b" SIP/2.0\r\n");
        Writer { buffer }
    }

    /// Begins a response without any header. `reason` `None` writes the usual phrase.
    pub fn response(buffer: &'b mut Vec<u8>, status: u16, reason: Option<&str>) -> Writer<'b> {
        debug_assert!((100..=699).contains(&status), "a status is 100 to 699");
        buffer.clear();
        let mut writer = Writer { buffer };
        writer.buffer.extend_from_slice(b"SIP/2.0 ");
        push_number(writer.buffer, status.into());
        writer.buffer.push(b' ');
        writer.value(reason.unwrap_or_else(|| phrase(status)).as_bytes());
        writer.line_end();
        writer
    }

    /// Begins the response to a request that came from `received`, with all that [`Copied`] takes over from it. `to_tag` is
    /// added unless To has a tag. `reason` `None` writes the usual phrase.
    pub fn response_to(
        buffer: &'b mut Vec<u8>,
        request: &Message<'_>,
        status: u16,
        reason: Option<&str>,
        to_tag: Option<&str>,
        received: SocketAddr,
    ) -> Writer<'b> {
        let mut copied = Copied::default();
        copied.take(request, received);
        Writer::response_with(buffer, &copied, status, reason, to_tag)
    }

    /// Begins a response from what was taken over from its request before.
    pub(crate) fn response_with(
        buffer: &'b mut Vec<u8>,
        copied: &Copied,
        status: u16,
        reason: Option<&str>,
        to_tag: Option<&str>,
    ) -> Writer<'b> {
        let writer = Writer::response(buffer, status, reason);
        let (before_tag, after_tag) = copied.bytes[..copied.cseq_end].split_at(copied.to_end);
        writer.buffer.extend_from_slice(before_tag);
        if let Some(tag) = to_tag.filter(|_| !copied.to_tagged) {
            writer.buffer.extend_from_slice(b";tag=");
            push_value(writer.buffer, tag.as_bytes());
        }
        writer.buffer.extend_from_slice(after_tag);
        if status == 100 {
            writer.buffer.extend_from_slice(&copied.bytes[copied.record_route_end..]);
        }
        writer
    }

    /// The Record-Route lines of the request (RFC 3261 section 12.1.1).
    pub(crate) fn record_route(&mut self, copied: &Copied) -> &mut Self {
        self.buffer.extend_from_slice(&copied.bytes[copied.cseq_end..copied.record_route_end]);
        self
    }

    /// One header.
    pub fn header(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Self {
        self.name(name);
        self.value(value.as_ref());
        self.line_end();
        self
    }

    /// One header from format arguments: `header_fmt("CSeq", format_args!("{number} {method}"))`.
    pub fn header_fmt(&mut self, name: &str, value: fmt::Arguments<'_>) -> &mut Self {
        self.name(name);
        // Writing into a Vec cannot fail; an error could only come from a Display that gives up half way.
        let _ = fmt::Write::write_fmt(&mut Value { buffer: self.buffer }, value);
        self.line_end();
        self
    }

    /// One header with a number.
    pub fn number(&mut self, name: &str, value: u64) -> &mut Self {
        self.name(name);
        push_number(self.buffer, value);
        self.line_end();
        self
    }

    /// CSeq (RFC 3261 section 20.16).
    pub fn cseq(&mut self, number: u32, method: Method) -> &mut Self {
        self.name("CSeq");
        push_number(self.buffer, number.into());
        self.buffer.push(b' ');
        self.buffer.extend_from_slice(method.as_str().as_bytes());
        self.line_end();
        self
    }

    /// A Via of our own, asking for symmetric responses (RFC 3581).
    pub fn via(&mut self, transport: Transport, sent_by: SocketAddr, branch: &str) -> &mut Self {
        debug_assert_ne!(transport, Transport::Other, "we send over transports that have a name");
        self.name("Via");
        self.buffer.extend_from_slice(b"SIP/2.0/");
        self.buffer.extend_from_slice(transport.as_str().as_bytes());
        self.buffer.push(b' ');
        push_address(self.buffer, sent_by);
        self.buffer.extend_from_slice(b";branch=");
        self.value(branch.as_bytes());
        self.buffer.extend_from_slice(b";rport");
        self.line_end();
        self
    }

    /// Every line of one header of another message, in order, under its long name. Not for [`HeaderId::Other`].
    pub fn copy(&mut self, from: &Message<'_>, id: HeaderId) -> &mut Self {
        debug_assert_ne!(id, HeaderId::Other, "headers without a name cannot be copied together");
        if from.has(id) {
            for header in from.headers().filter(|header| header.id == id) {
                self.header(id.as_str(), header.value);
            }
        }
        self
    }

    /// Ends the message with a body; its bytes are not looked at.
    pub fn body(&mut self, content_type: &str, body: &[u8]) {
        self.header("Content-Type", content_type);
        self.number("Content-Length", body.len() as u64);
        self.line_end();
        self.buffer.extend_from_slice(body);
    }

    /// Ends the message without a body.
    pub fn end(&mut self) {
        self.buffer.extend_from_slice(b"Content-Length: 0\r\n\r\n");
    }

    fn via_received(&mut self, via: &Via<'_>, received: SocketAddr) {
        let source = received.ip().to_canonical();
        self.name("Via");
        self.value(via.protocol);
        self.buffer.push(b' ');
        self.value(via.sent_by);
        for (name, value) in via.params {
            if name.eq_ignore_ascii_case(b"received") || name.eq_ignore_ascii_case(b"rport") {
                continue;
            }
            self.buffer.push(b';');
            self.value(name);
            if let Some(value) = value {
                self.buffer.push(b'=');
                self.value(value);
            }
        }
        let asked = via.rport != Rport::Absent;
        if asked || via.host().ip() != Some(source) {
            self.buffer.extend_from_slice(b";received=");
            push_ip(self.buffer, source);
        }
        if asked {
            self.buffer.extend_from_slice(b";rport=");
            push_number(self.buffer, received.port().into());
        }
        self.line_end();
    }

    fn name(&mut self, name: &str) {
        debug_assert!(is_token(name.as_bytes()), "a header name is a token");
        self.buffer.extend_from_slice(name.as_bytes());
        self.buffer.extend_from_slice(b": ");
    }

    fn value(&mut self, value: &[u8]) {
        push_value(self.buffer, value);
    }

    fn line_end(&mut self) {
        self.buffer.extend_from_slice(b"\r\n");
    }
}

/// What every response copies from its request (RFC 3261 section 8.2.6.2), written once: the Via stack in order, From, To,
/// Call-ID, CSeq; Record-Route for those that make a dialog, Timestamp for a 100.
///
/// The top Via gets `received` when its host is not the source address (RFC 3261 section 18.2.1), and both `received` and
/// `rport` when the request asked for it (RFC 3581 section 4); whatever stood there is replaced.
#[derive(Debug, Default)]
pub(crate) struct Copied {
    bytes: Vec<u8>,
    /// Where a tag of ours belongs.
    to_end: usize,
    to_tagged: bool,
    cseq_end: usize,
    record_route_end: usize,
}

impl Copied {
    /// What a request has, in a buffer that may have been used before.
    pub(crate) fn new(buffer: Vec<u8>, request: &Message<'_>, received: SocketAddr) -> Copied {
        let mut copied = Copied { bytes: buffer, ..Copied::default() };
        copied.take(request, received);
        copied
    }

    fn take(&mut self, request: &Message<'_>, received: SocketAddr) {
        self.bytes.clear();
        let mut writer = Writer { buffer: &mut self.bytes };
        let mut vias = request.all(HeaderId::Via);
        if vias.next().is_some() {
            writer.via_received(&request.via, received);
        }
        for via in vias {
            writer.header("Via", via);
        }
        writer.copy(request, HeaderId::From);
        // Not there in a request that was refused for it: then there is no place for a tag either.
        let to = request.header(HeaderId::To);
        if let Some(to) = to {
            writer.name("To");
            writer.value(to);
        }
        self.to_end = writer.buffer.len();
        self.to_tagged = to.is_none() || request.to_tag.is_some();
        if to.is_some() {
            writer.line_end();
        }
        writer.copy(request, HeaderId::CallId).copy(request, HeaderId::CSeq);
        self.cseq_end = writer.buffer.len();
        writer.copy(request, HeaderId::RecordRoute);
        self.record_route_end = writer.buffer.len();
        writer.copy(request, HeaderId::Timestamp);
    }

    /// The buffer, for another use.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }
}

/// Appends a value; each line break, with the blanks after it, becomes one blank. What [`crate::message::unfold`] does.
fn push_value(buffer: &mut Vec<u8>, value: &[u8]) {
    let mut rest = value;
    while let Some(at) = memchr2(b'\r', b'\n', rest) {
        buffer.extend_from_slice(&rest[..at]);
        buffer.push(b' ');
        rest = trim_start(&rest[at..]);
    }
    buffer.extend_from_slice(rest);
}

/// Takes formatted text as a header value.
struct Value<'b> {
    buffer: &'b mut Vec<u8>,
}

impl fmt::Write for Value<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        push_value(self.buffer, text.as_bytes());
        Ok(())
    }
}

/// The usual phrase for a status (RFC 3261 section 21 and the registry); for others that of the class.
pub const fn phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        199 => "Early Dialog Terminated",
        200 => "OK",
        202 => "Accepted",
        204 => "No Notification",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        380 => "Alternative Service",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        412 => "Conditional Request Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        417 => "Unknown Resource-Priority",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        428 => "Use Identity Header",
        429 => "Provide Referrer Identity",
        433 => "Anonymity Disallowed",
        436 => "Bad Identity Info",
        437 => "Unsupported Credential",
        438 => "Invalid Identity Header",
        469 => "Bad Info Package",
        470 => "Consent Needed",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        494 => "Security Agreement Required",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        555 => "Push Notification Service Not Supported",
        580 => "Precondition Failure",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        607 => "Unwanted",
        608 => "Rejected",
        _ => match status / 100 {
            1 => "Session Progress",
            2 => "OK",
            3 => "Multiple Choices",
            4 => "Bad Request",
            5 => "Server Internal Error",
            _ => "Global Failure",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::scan;

    const SOURCE: &str = "192.0.2.9:40000";

    fn answer(request: &str, status: u16, tag: Option<&str>, source: &str) -> String {
        let mut buffer = b"left over".to_vec();
        let request = scan(request.as_bytes()).unwrap();
        Writer::response_to(&mut buffer, &request, status, None, tag, source.parse().unwrap()).end();
        String::from_utf8(buffer).unwrap()
    }

    fn options(via: &str) -> String {
        format!(
            "OPTIONS sip:x SIP/2.0\r\nVia: {via}\r\nv: SIP/2.0/UDP far.example.net;branch=z9hG4bK3\r\nf: <sip:a@x>;tag=1\r\n\
             t: <sip:b@x>\r\ni: c1\r\nCSeq: 7 OPTIONS\r\nTimestamp: 5\r\n\r\n"
        )
    }

    #[test]
    fn a_request_byte_for_byte() {
        let mut buffer = Vec::new();
        Writer::request(&mut buffer, Method::Invite, b"sip:b@x")
            .via(Transport::Udp, "[2001:db8::1]:5060".parse().unwrap(), "z9hG4bK1")
            .header("Max-Forwards", "70")
            .header_fmt("CSeq", format_args!("{} {}", 1, Method::Invite))
            .body("application/sdp", b"v=0\r\n");
        assert_eq!(
            String::from_utf8(buffer).unwrap(),
            "INVITE sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bK1;rport\r\nMax-Forwards: 70\r\n\
             CSeq: 1 INVITE\r\nContent-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n"
        );
    }

    #[test]
    fn a_response_copies_the_stack_and_tells_the_source() {
        let request = options("SIP/2.0/UDP 10.0.0.1:5070;rport;branch=z9hG4bK1 , SIP/2.0/TCP h2;branch=z9hG4bK2");
        assert_eq!(
            answer(&request, 200, Some("t9"), SOURCE),
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 10.0.0.1:5070;branch=z9hG4bK1;received=192.0.2.9;rport=40000\r\n\
             Via: SIP/2.0/TCP h2;branch=z9hG4bK2\r\nVia: SIP/2.0/UDP far.example.net;branch=z9hG4bK3\r\n\
             From: <sip:a@x>;tag=1\r\nTo: <sip:b@x>;tag=t9\r\nCall-ID: c1\r\nCSeq: 7 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn only_a_100_gets_the_timestamp() {
        let request = options("SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1");
        assert!(answer(&request, 100, None, SOURCE).contains("\r\nTimestamp: 5\r\n"));
        assert!(!answer(&request, 200, None, SOURCE).contains("Timestamp"));
    }

    #[test]
    fn received_follows_rfc_3261_and_rport_rfc_3581() {
        for (via, source, expected) in [
            ("SIP/2.0/UDP 192.0.2.9;branch=z", SOURCE, "192.0.2.9;branch=z\r\n"),
            ("SIP/2.0/UDP gw.example.net;branch=z", SOURCE, "gw.example.net;branch=z;received=192.0.2.9\r\n"),
            ("SIP/2.0/UDP 192.0.2.9;rport;branch=z", SOURCE, "192.0.2.9;branch=z;received=192.0.2.9;rport=40000\r\n"),
            (
                "SIP/2.0/UDP 192.0.2.9;rport=1;rport=2;received=6.6.6.6",
                SOURCE,
                "192.0.2.9;received=192.0.2.9;rport=40000\r\n",
            ),
            ("SIP/2.0/UDP [2001:db8::9];branch=z", "[2001:db8:0::9]:5060", "[2001:db8::9];branch=z\r\n"),
            ("SIP/2.0/UDP 192.0.2.9;branch=z", "[::ffff:192.0.2.9]:5060", "192.0.2.9;branch=z\r\n"),
            ("SIP/2.0/UDP [2001:db8::8];branch=z", "[2001:db8::9]:5060", ";received=2001:db8::9\r\n"),
        ] {
            let text = answer(&options(via), 200, None, source);
            assert!(text.lines().nth(1).is_some_and(|line| format!("{line}\r\n").ends_with(expected)), "{via}: {text}");
        }
    }

    #[test]
    fn no_value_can_add_a_header() {
        let mut buffer = Vec::new();
        Writer::request(&mut buffer, Method::Bye, b"sip:x\r\nEvil: 1 SIP/2.0")
            .header("Subject", "a\r\nEvil: 1")
            .header_fmt("Reason", format_args!("SIP;text=\"{}\"", "b\r\n\r\nEvil: 1"))
            .via(Transport::Tcp, "192.0.2.1:5060".parse().unwrap(), "z\nEvil: 1")
            .end();
        let text = String::from_utf8(buffer).unwrap();
        assert!(text.lines().all(|line| !line.starts_with("Evil")), "{text}");
        assert_eq!(text.lines().filter(|line| line.is_empty()).count(), 1, "{text}");
        assert!(text.starts_with("BYE sip:x%0D%0AEvil:%201%20SIP/2.0 SIP/2.0\r\n"), "{text}");
        assert!(text.contains("\r\nSubject: a Evil: 1\r\n"), "{text}");

        let mut buffer = Vec::new();
        Writer::response(&mut buffer, 486, Some("Busy\r\nEvil: 1")).end();
        assert!(buffer.starts_with(b"SIP/2.0 486 Busy Evil: 1\r\n"));
    }

    #[test]
    fn phrases_fall_back_to_the_class() {
        assert_eq!((phrase(486), phrase(499), phrase(699)), ("Busy Here", "Bad Request", "Global Failure"));
    }
}
