//! One pass over a datagram: start line, header index, and the fields every message is matched by.
//!
//! Nothing is copied and nothing allocates; an INVITE with SDP costs a few thousand instructions. Liberal: compact
//! names, folding, bare LF, blanks before colons, leading line breaks, any URI scheme, any method, any byte in values.
//! Strict where the message would be matched or framed in two ways: Call-ID, CSeq, From, To must be there once, and
//! Content-Length must not contradict itself.

use memchr::{memchr, memchr3};

pub use crate::message::{Header, Message, StartLine, Values};

use crate::find::find;
use crate::header::{CSeq, HeaderId, Via};
use crate::message::{HEADERS_MAX, NONE, Span, split_comma};
use crate::method::Method;
use crate::uri::{NameAddr, is_lws, is_token, parse_u32, trim, trim_end, trim_start};

/// Longest header line, folds included, in bytes. Identity (RFC 8224) reaches about 1,500; larger serves no caller.
pub const LINE_BYTES_MAX: usize = 8192;

/// Longest header name in bytes; the index keeps its length in one byte.
const NAME_BYTES_MAX: usize = 255;

/// Why a datagram is not taken. The name is the metric label; [`ScanError::status`] says whether it may be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ScanError {
    /// Not SIP at all: noise, another protocol.
    #[error("not a SIP message")]
    NotSip,
    /// Longer than a datagram can be.
    #[error("message longer than 65535 bytes")]
    TooLarge,
    /// A request line that is not method, URI, version.
    #[error("malformed request line")]
    RequestLine,
    /// A status line without a status from 100 to 699.
    #[error("malformed status line")]
    StatusLine,
    /// SIP, but not version 2.0.
    #[error("SIP version is not 2.0")]
    Version,
    /// A header line without a colon or with a name that is no token.
    #[error("malformed header line")]
    HeaderLine,
    /// A header line longer than [`LINE_BYTES_MAX`].
    #[error("header line longer than {LINE_BYTES_MAX} bytes")]
    LineTooLong,
    /// More lines than [`HEADERS_MAX`].
    #[error("more than {HEADERS_MAX} header lines")]
    TooManyHeaders,
    /// The datagram ends inside its headers: in a line, or before the empty line that ends them. RFC 3261 section 7: "The
    /// empty line MUST be present even if the message-body is not"; without it a call would go on without its offer.
    #[error("message ends inside its headers")]
    Truncated,
    /// Via, From, To, Call-ID or CSeq is missing.
    #[error("a mandatory header is missing")]
    Missing,
    /// From, To, Call-ID or CSeq is there twice.
    #[error("a header that may stand once stands twice")]
    Duplicate,
    /// A value of the top Via line cannot be read. When it is the top one itself there is nobody to answer.
    #[error("malformed Via")]
    Via,
    /// From cannot be read.
    #[error("malformed From")]
    From,
    /// To cannot be read.
    #[error("malformed To")]
    To,
    /// Call-ID is empty.
    #[error("empty Call-ID")]
    CallId,
    /// CSeq is not a number below 2^31 and a method.
    #[error("malformed CSeq")]
    CSeq,
    /// The method in CSeq is not that of the request.
    #[error("CSeq names another method than the request line")]
    CSeqMethod,
    /// Content-Length is not a number, or stands twice with different numbers.
    #[error("malformed Content-Length")]
    ContentLength,
}

impl ScanError {
    /// Status to answer with, or `None` if the datagram is only to be counted and dropped. An answer needs what
    /// [`salvage`] can still find; where that is nothing, drop as well.
    pub const fn status(self) -> Option<u16> {
        match self {
            ScanError::NotSip | ScanError::TooLarge | ScanError::StatusLine => None,
            ScanError::Version => Some(505),
            ScanError::RequestLine
            | ScanError::HeaderLine
            | ScanError::LineTooLong
            | ScanError::TooManyHeaders
            | ScanError::Truncated
            | ScanError::Missing
            | ScanError::Duplicate
            | ScanError::Via
            | ScanError::From
            | ScanError::To
            | ScanError::CallId
            | ScanError::CSeq
            | ScanError::CSeqMethod
            | ScanError::ContentLength => Some(400),
        }
    }

    /// Name of the error as a metric label.
    pub const fn label(self) -> &'static str {
        match self {
            ScanError::NotSip => "not_sip",
            ScanError::TooLarge => "too_large",
            ScanError::RequestLine => "request_line",
            ScanError::StatusLine => "status_line",
            ScanError::Version => "version",
            ScanError::HeaderLine => "header_line",
            ScanError::LineTooLong => "line_too_long",
            ScanError::TooManyHeaders => "too_many_headers",
            ScanError::Truncated => "truncated",
            ScanError::Missing => "missing",
            ScanError::Duplicate => "duplicate",
            ScanError::Via => "via",
            ScanError::From => "from",
            ScanError::To => "to",
            ScanError::CallId => "call_id",
            ScanError::CSeq => "cseq",
            ScanError::CSeqMethod => "cseq_method",
            ScanError::ContentLength => "content_length",
        }
    }
}

/// A datagram that only keeps a NAT binding open (signalling section 6.3). None is answered with 400; all refresh
/// "last seen" of their source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeepAlive {
    /// CRLFCRLF, to be answered with CRLF (RFC 5626 section 4.4.1).
    Ping,
    /// Empty, CRLF, or up to four bytes of anything; not answered.
    Silent,
}

/// Longest datagram that is always a keep-alive, in bytes.
const KEEP_ALIVE_BYTES_MAX: usize = 4;

/// Whether a datagram is a keep-alive. The configured `SS_SIP_NAT_KEEP_ALIVE_MESSAGE` is the caller's to compare first.
pub fn keep_alive(datagram: &[u8]) -> Option<KeepAlive> {
    match datagram {
        b"\r\n\r\n" => Some(KeepAlive::Ping),
        _ if datagram.len() <= KEEP_ALIVE_BYTES_MAX => Some(KeepAlive::Silent),
        _ => None,
    }
}

/// Indexes one datagram. Linear in its length.
///
/// Framing is that of UDP (RFC 3261 section 18.3): bytes past Content-Length are ignored; a Content-Length past the end
/// of the datagram is taken for the work of a broken NAT helper and the datagram's end is used (signalling
/// section 6.4), as it is when there is none.
///
/// # Errors
/// The first [`ScanError`] met.
pub fn scan(datagram: &[u8]) -> Result<Message<'_>, ScanError> {
    // Filled where it is returned: moving a message costs as much as reading a header or two.
    let mut result = Ok(Message::blank(datagram));
    if let Ok(message) = &mut result
        && let Err(fault) | Ok(Some(fault)) = read(message)
    {
        result = Err(fault);
    }
    result
}

/// What is left of a request that [`scan`] refused, enough to answer it with [`ScanError::status`]: a top Via that can
/// be read and a CSeq, by which the answer is matched; From, To and Call-ID are copied as far as they are there (RFC 4475
/// section 3.3.1). `None` for responses, for ACK (which is never answered) and when one of the two is missing. Fields of
/// the index that could not be read are empty.
pub fn salvage(datagram: &[u8]) -> Option<Message<'_>> {
    let mut message = Message::blank(datagram);
    read(&mut message).ok()?;
    let answerable = message.is_request()
        && message.method() != Method::Ack
        && !message.via.host.is_empty()
        && message.has(HeaderId::CSeq);
    answerable.then_some(message)
}

const MANDATORY: [HeaderId; 5] = [HeaderId::Via, HeaderId::From, HeaderId::To, HeaderId::CallId, HeaderId::CSeq];

/// Fills a blank message. `Err` where nothing more can be known, `Ok(Some)` for a fault that leaves the rest readable.
fn read(message: &mut Message<'_>) -> Result<Option<ScanError>, ScanError> {
    let mut datagram = message.datagram;
    // RFC 3261 section 7.5: ignore line breaks before the start line.
    while let [b'\r' | b'\n', rest @ ..] = datagram {
        datagram = rest;
    }
    message.datagram = datagram;
    if datagram.len() > u16::MAX as usize {
        return Err(ScanError::TooLarge);
    }
    let line_end = memchr(b'\n', datagram).ok_or(ScanError::NotSip)?;
    let mut faults = Faults { first: None };
    message.start = start_line(trim_end(&datagram[..line_end]), &mut faults)?;
    let body_start = headers(message, line_end + 1, &mut faults);
    index(message, &mut faults);
    let body = &datagram[body_start..];
    let wanted = message.content_length.map_or(body.len(), |length| length as usize);
    message.body = &body[..wanted.min(body.len())];
    Ok(faults.first)
}

struct Faults {
    first: Option<ScanError>,
}

impl Faults {
    fn note(&mut self, fault: ScanError) {
        self.first = self.first.or(Some(fault));
    }
}

fn start_line<'a>(line: &'a [u8], faults: &mut Faults) -> Result<StartLine<'a>, ScanError> {
    if line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/")) {
        return status_line(line);
    }
    // The line holds no line feed, so these are all blanks there are.
    let method_len = find(line, [b' ', b'\t', b'\r']).ok_or(ScanError::NotSip)?;
    let (method_raw, rest) = line.split_at(method_len);
    if !is_token(method_raw) {
        return Err(ScanError::NotSip);
    }
    let uri = match rest.split_last_chunk() {
        // What nearly everybody writes.
        Some((uri, b" SIP/2.0")) => trim(uri),
        _ => {
            let version_at = 1 + rest.iter().rposition(|byte| is_lws(*byte)).ok_or(ScanError::NotSip)?;
            let version = &rest[version_at..];
            if !version.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/")) {
                return Err(ScanError::NotSip);
            }
            if !version[4..].eq_ignore_ascii_case(b"2.0") {
                faults.note(ScanError::Version);
            }
            trim(&rest[..version_at])
        }
    };
    // RFC 4475 sections 3.1.2.6 and 3.1.2.7: brackets or blanks in the Request-URI deserve 400, not a guess.
    if uri.is_empty() || uri[0] == b'<' || memchr3(b' ', b'\t', b'\r', uri).is_some() {
        faults.note(ScanError::RequestLine);
    }
    Ok(StartLine::Request { method: Method::parse(method_raw), method_raw, uri })
}

fn status_line(line: &[u8]) -> Result<StartLine<'_>, ScanError> {
    let version_len = line.iter().position(|byte| is_lws(*byte)).ok_or(ScanError::StatusLine)?;
    if !line[4..version_len].eq_ignore_ascii_case(b"2.0") {
        return Err(ScanError::Version);
    }
    let rest = trim_start(&line[version_len..]);
    let status_len = rest.iter().position(|byte| is_lws(*byte)).unwrap_or(rest.len());
    let (digits, reason) = rest.split_at(status_len);
    match parse_u32(digits) {
        Some(status @ 100..=699) if digits.len() == 3 => {
            Ok(StartLine::Response { status: status as u16, reason: trim(reason) })
        }
        _ => Err(ScanError::StatusLine),
    }
}

/// Indexes header lines from `start` on; returns where the body begins.
fn headers(message: &mut Message<'_>, start: usize, faults: &mut Faults) -> usize {
    let datagram = message.datagram;
    let mut at = start;
    while at < datagram.len() {
        let rest = &datagram[at..];
        match rest {
            [b'\n', ..] => return at + 1,
            [b'\r', b'\n', ..] => return at + 2,
            _ => {}
        }
        let mut line_len = 0;
        loop {
            match memchr(b'\n', &rest[line_len..]) {
                Some(length) => line_len += length + 1,
                None => {
                    faults.note(ScanError::Truncated);
                    line_len = rest.len();
                    break;
                }
            }
            // RFC 3261 section 7.3.1: a line that begins with a blank continues the one before.
            if !matches!(rest.get(line_len), Some(b' ' | b'\t')) {
                break;
            }
        }
        if line_len > LINE_BYTES_MAX {
            faults.note(ScanError::LineTooLong);
        } else if message.count as usize == HEADERS_MAX {
            faults.note(ScanError::TooManyHeaders);
        } else {
            header_line(message, at, line_len, faults);
        }
        at += line_len;
    }
    // The datagram ended before the empty line.
    faults.note(ScanError::Truncated);
    at
}

fn header_line(message: &mut Message<'_>, at: usize, line_len: usize, faults: &mut Faults) {
    let line = &message.datagram[at..at + line_len];
    let Some(colon) = find(line, [b':']) else { return faults.note(ScanError::HeaderLine) };
    let name = trim_end(&line[..colon]);
    let id = HeaderId::parse(name);
    if id == HeaderId::Other && (name.len() > NAME_BYTES_MAX || !is_token(name)) {
        return faults.note(ScanError::HeaderLine);
    }
    let value = trim_start(&line[colon + 1..]);
    let value_start = at + line_len - value.len();
    let value = trim_end(value.strip_suffix(b"\r\n").unwrap_or(value));
    let line = message.count;
    message.spans[line as usize] = Span {
        name_start: at as u16,
        name_len: name.len() as u8,
        id,
        value_start: value_start as u16,
        value_len: value.len() as u16,
    };
    message.count += 1;
    let first = message.first[id as usize];
    if first == NONE {
        message.first[id as usize] = line;
        return;
    }
    match id {
        HeaderId::From | HeaderId::To | HeaderId::CallId | HeaderId::CSeq => faults.note(ScanError::Duplicate),
        // The same length twice is one length; two lengths are two readings of where the message ends.
        HeaderId::ContentLength if parse_u32(message.value(&message.spans[first as usize])) != parse_u32(value) => {
            faults.note(ScanError::ContentLength);
        }
        _ => {}
    }
}

/// Reads the fields that messages are matched by.
fn index(message: &mut Message<'_>, faults: &mut Faults) {
    if MANDATORY.iter().any(|id| !message.has(*id)) {
        faults.note(ScanError::Missing);
    }
    if let Some(value) = message.header(HeaderId::Via) {
        let (top, mut more) = split_comma(value);
        match Via::parse(top) {
            Some(via) => message.via = via,
            None => faults.note(ScanError::Via),
        }
        // The answer goes back along all of them (RFC 4475 section 3.1.2.1). Empty elements harm nobody.
        while !more.is_empty() {
            let (via, rest) = split_comma(more);
            if !trim(via).is_empty() && Via::parse(via).is_none() {
                faults.note(ScanError::Via);
            }
            more = rest;
        }
    }
    if let Some(value) = message.header(HeaderId::From) {
        match NameAddr::parse(value) {
            Ok(from) => (message.from_tag, message.from) = (from.tag(), Some(from)),
            Err(_) => faults.note(ScanError::From),
        }
    }
    if let Some(value) = message.header(HeaderId::To) {
        match NameAddr::parse(value) {
            Ok(to) => (message.to_tag, message.to) = (to.tag(), Some(to)),
            Err(_) => faults.note(ScanError::To),
        }
    }
    if let Some(value) = message.header(HeaderId::CallId) {
        message.call_id = value;
        if value.is_empty() {
            faults.note(ScanError::CallId);
        }
    }
    if let Some(value) = message.header(HeaderId::CSeq) {
        match CSeq::parse(value) {
            Some(cseq) => message.cseq = cseq,
            None => faults.note(ScanError::CSeq),
        }
        if let StartLine::Request { method_raw, .. } = message.start
            && faults.first.is_none()
            && message.cseq.method_raw != method_raw
        {
            faults.note(ScanError::CSeqMethod);
        }
    }
    if let Some(value) = message.header(HeaderId::ContentLength) {
        message.content_length = parse_u32(value);
        if message.content_length.is_none() {
            faults.note(ScanError::ContentLength);
        }
    }
}
