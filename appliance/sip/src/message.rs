//! A scanned message: its start line, an index of its headers, its body. Headers get types in [`crate::header`] when
//! somebody asks; here are the raw values, lists taken apart, and the parts of a multipart body.
//!
//! If a full parser is ever to stand behind typed access, this is the one file that may name it. Today none does:
//! `rsip` refuses compact headers, IPv6, `tel:` and binary bodies, so it only serves as the oracle of
//! `tests/wire/differential.rs`.

use std::borrow::Cow;

use memchr::{memchr, memchr2, memchr3, memmem};

use crate::header::{CSeq, ContentType, HeaderId, Via};
use crate::method::Method;
use crate::uri::{NameAddr, is_lws, quoted_end, trim, trim_start};

/// Headers of one message, in lines. A carrier's INVITE has 15 to 40; the reference torture messages stay below 50.
/// More costs memory for nothing, and is what a flood of junk looks like.
pub const HEADERS_MAX: usize = 96;

/// The first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartLine<'a> {
    /// A request.
    Request {
        /// What is asked.
        method: Method,
        /// The token, which tells methods apart that are [`Method::Other`].
        method_raw: &'a [u8],
        /// The Request-URI as written; see [`crate::uri::Uri::parse`].
        uri: &'a [u8],
    },
    /// A response.
    Response {
        /// 100 to 699.
        status: u16,
        /// The phrase for people; may be empty.
        reason: &'a [u8],
    },
}

/// One line of the index. Offsets fit 16 bits because a datagram does.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) name_start: u16,
    pub(crate) name_len: u8,
    pub(crate) id: HeaderId,
    pub(crate) value_start: u16,
    pub(crate) value_len: u16,
}

impl Span {
    /// All zero bytes, Via being the first id, so that a table of them is one memset.
    const EMPTY: Span = Span { name_start: 0, name_len: 0, id: HeaderId::Via, value_start: 0, value_len: 0 };
}

/// A message borrowed from the datagram it came in. Made by [`crate::scan::scan`]; about 1.2 KB, no heap.
#[derive(Debug, Clone)]
pub struct Message<'a> {
    /// The first line.
    pub start: StartLine<'a>,
    /// What follows the blank line, cut to Content-Length.
    pub body: &'a [u8],
    /// Call-ID.
    pub call_id: &'a [u8],
    /// CSeq.
    pub cseq: CSeq<'a>,
    /// Tag of From; `None` from RFC 2543 elements.
    pub from_tag: Option<&'a [u8]>,
    /// Tag of To; `None` outside a dialog.
    pub to_tag: Option<&'a [u8]>,
    /// The top Via.
    pub via: Via<'a>,
    /// Content-Length as sent, which on UDP may be larger than the body that arrived.
    pub content_length: Option<u32>,
    /// From, if it can be read.
    pub(crate) from: Option<NameAddr<'a>>,
    /// To, if it can be read.
    pub(crate) to: Option<NameAddr<'a>>,
    pub(crate) datagram: &'a [u8],
    pub(crate) spans: [Span; HEADERS_MAX],
    pub(crate) count: u8,
    /// Line of the first header of each kind, `NONE` if there is none.
    pub(crate) first: [u8; HeaderId::COUNT],
}

pub(crate) const NONE: u8 = u8::MAX;
const _: () = assert!(HEADERS_MAX < NONE as usize);

impl<'a> Message<'a> {
    pub(crate) fn blank(datagram: &'a [u8]) -> Message<'a> {
        Message {
            start: StartLine::Response { status: 0, reason: b"" },
            body: b"",
            call_id: b"",
            cseq: CSeq::EMPTY,
            from_tag: None,
            to_tag: None,
            via: Via::EMPTY,
            content_length: None,
            from: None,
            to: None,
            datagram,
            spans: [Span::EMPTY; HEADERS_MAX],
            count: 0,
            first: [NONE; HeaderId::COUNT],
        }
    }

    /// Whether this is a request.
    pub fn is_request(&self) -> bool {
        matches!(self.start, StartLine::Request { .. })
    }

    /// Method of a request, or of the request a response answers.
    pub fn method(&self) -> Method {
        match self.start {
            StartLine::Request { method, .. } => method,
            StartLine::Response { .. } => self.cseq.method,
        }
    }

    /// Status of a response.
    pub fn status(&self) -> Option<u16> {
        match self.start {
            StartLine::Request { .. } => None,
            StartLine::Response { status, .. } => Some(status),
        }
    }

    /// Request-URI of a request, as written.
    pub fn request_uri(&self) -> Option<&'a [u8]> {
        match self.start {
            StartLine::Request { uri, .. } => Some(uri),
            StartLine::Response { .. } => None,
        }
    }

    /// The whole datagram, from the start line on.
    pub fn raw(&self) -> &'a [u8] {
        self.datagram
    }

    /// The first line of that header, trimmed; lists are not split and folding is kept (see [`unfold`]). Constant cost.
    pub fn header(&self, id: HeaderId) -> Option<&'a [u8]> {
        self.spans().get(self.first[id as usize] as usize).map(|span| self.value(span))
    }

    /// Whether that header is there at all.
    pub fn has(&self, id: HeaderId) -> bool {
        self.first[id as usize] != NONE
    }

    /// All values of that header in order: every line, and every element of a comma list where commas separate
    /// (RFC 3261 section 7.3.1). Commas in quotes and in angle brackets do not separate; empty elements are left out.
    pub fn all(&self, id: HeaderId) -> Values<'_, 'a> {
        Values { message: self, id, line: self.first[id as usize], rest: b"" }
    }

    /// The first line of a header that has no [`HeaderId`], by name without case.
    pub fn other(&self, name: &str) -> Option<&'a [u8]> {
        self.headers().find(|header| header.name.eq_ignore_ascii_case(name.as_bytes())).map(|header| header.value)
    }

    /// The lines of that header in order, lists not split.
    pub(crate) fn lines(&self, id: HeaderId) -> impl Iterator<Item = &'a [u8]> + '_ {
        let first = usize::from(self.first[id as usize]);
        let spans = self.spans().get(first..).unwrap_or_default();
        spans.iter().filter(move |span| span.id == id).map(|span| self.value(span))
    }

    /// Every header line in order, as it came.
    pub fn headers(&self) -> impl Iterator<Item = Header<'a>> + '_ {
        self.spans().iter().map(|span| Header { id: span.id, name: self.name(span), value: self.value(span) })
    }

    fn spans(&self) -> &[Span] {
        &self.spans[..self.count as usize]
    }

    fn name(&self, span: &Span) -> &'a [u8] {
        let start = span.name_start as usize;
        &self.datagram[start..start + span.name_len as usize]
    }

    pub(crate) fn value(&self, span: &Span) -> &'a [u8] {
        let start = span.value_start as usize;
        &self.datagram[start..start + span.value_len as usize]
    }
}

/// One header line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Which it is.
    pub id: HeaderId,
    /// The name as written, perhaps compact.
    pub name: &'a [u8],
    /// The value, trimmed.
    pub value: &'a [u8],
}

/// Iterator over the values of one header. See [`Message::all`].
#[derive(Debug, Clone)]
pub struct Values<'m, 'a> {
    message: &'m Message<'a>,
    id: HeaderId,
    line: u8,
    rest: &'a [u8],
}

impl<'a> Iterator for Values<'_, 'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            while !self.rest.is_empty() {
                let (value, rest) = if self.id.is_list() { split_comma(self.rest) } else { (self.rest, &b""[..]) };
                self.rest = rest;
                let value = trim(value);
                if !value.is_empty() {
                    return Some(value);
                }
            }
            let spans = self.message.spans().get(self.line as usize..)?;
            let step = spans.iter().position(|span| span.id == self.id)?;
            self.rest = self.message.value(&spans[step]);
            self.line += step as u8 + 1;
        }
    }
}

/// The first element of a comma list, and the rest after its comma.
pub(crate) fn split_comma(list: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    while let Some(found) = memchr3(b',', b'"', b'<', &list[at..]) {
        let found = at + found;
        let skip = match list[found] {
            b',' => return (&list[..found], &list[found + 1..]),
            b'"' => quoted_end(&list[found..]),
            _ => memchr(b'>', &list[found..]).map(|close| close + 1),
        };
        match skip {
            Some(length) => at = found + length,
            None => break,
        }
    }
    (list, b"")
}

/// A value with its folds undone: every line break, with the blanks after it, becomes one space (RFC 3261
/// section 7.3.1). Borrowed when there is none.
pub fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    if memchr2(b'\r', b'\n', value).is_none() {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = memchr2(b'\r', b'\n', rest) {
        out.extend_from_slice(&rest[..at]);
        out.push(b' ');
        rest = trim_start(&rest[at..]);
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

/// Multipart bodies inside multipart bodies that are looked into. One level is what SIP-I and PIDF-LO senders use.
const NESTING_MAX: usize = 3;

/// The session description of a message: the body itself, or the `application/sdp` part of a multipart body
/// (signalling section 8). A body without Content-Type counts when it begins like SDP, for old gateways.
///
/// `None` if there is none, or if it is encoded (`Content-Encoding` other than identity).
pub fn sdp_body<'a>(message: &Message<'a>) -> Option<&'a [u8]> {
    find_body(message, "application", "sdp")
}

/// The body, or the part of a multipart body, of one media type; `application/isup` for SIP-I. Bytes are as sent.
pub fn find_body<'a>(message: &Message<'a>, kind: &str, subtype: &str) -> Option<&'a [u8]> {
    if message.body.is_empty()
        || message.all(HeaderId::ContentEncoding).any(|coding| !coding.eq_ignore_ascii_case(b"identity"))
    {
        return None;
    }
    match message.content_type() {
        Some(content_type) => find_part(content_type, message.body, kind, subtype, NESTING_MAX),
        None if message.has(HeaderId::ContentType) => None,
        None => (subtype == "sdp" && message.body.starts_with(b"v=")).then_some(message.body),
    }
}

fn find_part<'a>(
    content_type: ContentType<'a>,
    body: &'a [u8],
    kind: &str,
    subtype: &str,
    depth: usize,
) -> Option<&'a [u8]> {
    if content_type.is(kind, subtype) {
        return Some(body);
    }
    if depth == 0 || !content_type.kind.eq_ignore_ascii_case(b"multipart") {
        return None;
    }
    parts(body, content_type.boundary()?)
        .find_map(|part| find_part(ContentType::parse(part.content_type?)?, part.body, kind, subtype, depth - 1))
}

/// One part of a multipart body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part<'a> {
    /// Its Content-Type, raw; `None` means text/plain.
    pub content_type: Option<&'a [u8]>,
    /// Its bytes, without the line break that belongs to the next boundary.
    pub body: &'a [u8],
}

/// The parts between boundaries (RFC 2046 section 5.1). A missing closing boundary ends the last part at the end.
pub fn parts<'a>(body: &'a [u8], boundary: &'a [u8]) -> impl Iterator<Item = Part<'a>> {
    let mut rest = next_delimiter(body, boundary).and_then(|found| found.after);
    std::iter::from_fn(move || {
        let current = rest?;
        let found = next_delimiter(current, boundary);
        rest = found.as_ref().and_then(|found| found.after);
        Some(read_part(found.map_or(current, |found| found.before)))
    })
}

struct Delimiter<'a> {
    before: &'a [u8],
    /// `None` after the closing delimiter.
    after: Option<&'a [u8]>,
}

/// `--boundary` at the start of a line and alone on it.
fn next_delimiter<'a>(body: &'a [u8], boundary: &[u8]) -> Option<Delimiter<'a>> {
    for at in memmem::find_iter(body, boundary) {
        let Some(line_start) = at.checked_sub(2).filter(|start| &body[*start..at] == b"--") else { continue };
        let before = &body[..line_start];
        if !before.is_empty() && before.last() != Some(&b'\n') {
            continue;
        }
        let after = &body[at + boundary.len()..];
        let (closing, after) = match after.strip_prefix(b"--") {
            Some(after) => (true, after),
            None => (false, after),
        };
        let line_end = memchr(b'\n', after);
        let line = &after[..line_end.unwrap_or(after.len())];
        if !line.iter().copied().all(is_lws) {
            continue;
        }
        let before = before.strip_suffix(b"\n").map_or(before, |before| before.strip_suffix(b"\r").unwrap_or(before));
        let after = if closing { None } else { Some(line_end.map_or(&b""[..], |end| &after[end + 1..])) };
        return Some(Delimiter { before, after });
    }
    None
}

fn read_part(part: &[u8]) -> Part<'_> {
    let mut content_type = None;
    let mut rest = part;
    loop {
        let mut end = memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        if trim(&rest[..end]).is_empty() {
            return Part { content_type, body: &rest[end..] };
        }
        while matches!(rest.get(end), Some(b' ' | b'\t')) {
            end += memchr(b'\n', &rest[end..]).map_or(rest.len() - end, |at| at + 1);
        }
        if let Some(colon) = memchr(b':', &rest[..end])
            && HeaderId::parse(trim(&rest[..colon])) == HeaderId::ContentType
        {
            content_type = content_type.or(Some(trim(&rest[colon + 1..end])));
        }
        rest = &rest[end..];
    }
}
