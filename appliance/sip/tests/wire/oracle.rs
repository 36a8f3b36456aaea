//! What `rsip` reads of a message beside what we read: the oracle of the differential test and of the fuzzer.
//!
//! It refuses much that is valid (see `carrier.rs`), so the comparison goes one way. Where we refuse what it takes, the
//! reason must be one it does not check, and the check is repeated here in another way.

use rsip::headers::{ToTypedHeader, UntypedHeader};
use rsip::message::HeadersExt;
use tandem_sip::header::HeaderId;
use tandem_sip::scan::{Message, ScanError};
use tandem_sip::uri::{NameAddr, Uri};

/// What both must agree on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    method_or_status: String,
    request_uri: Option<Address>,
    call_id: String,
    cseq: u32,
    cseq_method: String,
    branch: Option<String>,
    from: Address,
    from_tag: Option<String>,
    to: Address,
    to_tag: Option<String>,
    body: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq)]
struct Address {
    user: Option<String>,
    host: String,
    port: Option<u16>,
}

/// What rsip reads, if it reads all of it and there are no compact names, which it does not know.
///
/// Its parsers stop at what they do not understand and say nothing (`branch=z9>hG4bK` becomes `z9`), so a header counts
/// as read only if printing it gives it back. Control bytes are left out: it splits lines at CRLF alone.
pub(crate) fn theirs(datagram: &[u8]) -> Option<Reading> {
    let head = datagram.windows(4).position(|four| four == b"\r\n\r\n").map_or(datagram, |end| &datagram[..end + 4]);
    if String::from_utf8_lossy(head).replace("\r\n", "").bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return None;
    }
    if head.split(|byte| *byte == b'\n').any(|line| line.iter().position(|byte| *byte == b':').is_some_and(|at| at < 2))
    {
        return None;
    }
    let message = rsip::SipMessage::try_from(datagram).ok()?;
    let cseq = message.cseq_header().ok()?.typed().ok()?;
    // Meant to differ: "methods are case-sensitive" (RFC 3261 section 7.1), and INVItE is none that we know.
    let method = match &message {
        rsip::SipMessage::Request(request) => request.method.to_string(),
        rsip::SipMessage::Response(_) => String::new(),
    };
    let same_case = message.cseq_header().ok()?.value().trim().ends_with(&cseq.method.to_string())
        && head.starts_with(method.as_bytes());
    let (from_raw, to_raw, via_raw) =
        (message.from_header().ok()?, message.to_header().ok()?, message.via_header().ok()?);
    let (from, to, via) = (from_raw.typed().ok()?, to_raw.typed().ok()?, via_raw.typed().ok()?);
    let printed = same(from_raw.value(), &from.to_string())
        && same(to_raw.value(), &to.to_string())
        && same(via_raw.value(), &via.to_string());
    let closed = closed(from_raw.value()) && closed(to_raw.value()) && !via_raw.value().contains([',', '"', '<', '>']);
    let sent_by = via.uri.user().is_none() && plain(&via.uri.host().to_string(), "");
    let one_line = head.split(|byte| *byte == b'\r').next()?.windows(4).any(|four| four == b"SIP/");
    if !(printed && closed && sent_by && one_line && same_case) {
        return None;
    }
    let (method_or_status, request_uri) = match &message {
        rsip::SipMessage::Request(request) => (request.method.to_string(), Some(address(&request.uri)?)),
        rsip::SipMessage::Response(response) => (response.status_code.code().to_string(), None),
    };
    Some(Reading {
        method_or_status,
        request_uri,
        call_id: message.call_id_header().ok()?.value().trim().to_owned(),
        cseq: cseq.seq,
        cseq_method: cseq.method.to_string(),
        branch: via.branch().map(|branch| branch.value().to_owned()).filter(|branch| !branch.is_empty()),
        from: address(&from.uri)?,
        from_tag: from.tag().map(|tag| tag.value().to_owned()).filter(|tag| !tag.is_empty()),
        to: address(&to.uri)?,
        to_tag: to.tag().map(|tag| tag.value().to_owned()).filter(|tag| !tag.is_empty()),
        body: cut(message.body(), datagram),
    })
}

/// The body up to Content-Length. Meant to differ: rsip gives out everything behind the blank line, and over UDP the bytes
/// past Content-Length are no part of the message (RFC 3261 section 18.3).
fn cut(body: &[u8], datagram: &[u8]) -> Vec<u8> {
    let head = String::from_utf8_lossy(datagram);
    let length = head.split("\r\n\r\n").next().unwrap_or("").lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    body[..length.unwrap_or(body.len()).min(body.len())].to_vec()
}

/// Compares without blanks and quotes, which rsip does not keep.
fn same(raw: &str, printed: &str) -> bool {
    let plain = |text: &str| text.chars().filter(|c| !matches!(c, ' ' | '"' | '<' | '>')).collect::<String>();
    plain(raw) == plain(printed)
}

/// Quotes in pairs, none escaped, one URI in brackets at most: it looks for neither.
fn closed(value: &str) -> bool {
    !value.contains('\\')
        && value.matches('"').count().is_multiple_of(2)
        && value.matches('<').count() <= 1
        && value.matches('>').count() <= 1
}

fn plain(text: &str, more: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || ".-_".contains(c) || more.contains(c))
}

/// Only sip URIs with an ordinary user and host: it also takes `sap:`, a missing scheme and nearly any byte in a host,
/// and a URI cut by a line break.
fn address(uri: &rsip::Uri) -> Option<Address> {
    let host = uri.host().to_string();
    let user = uri.user().map(str::to_owned).filter(|user| !user.is_empty());
    let known = matches!(uri.scheme, Some(rsip::Scheme::Sip | rsip::Scheme::Sips));
    let ordinary = known && plain(&host, "") && user.as_ref().is_none_or(|user| plain(user, "+"));
    ordinary.then(|| Address { user, host, port: uri.port().map(|port| *port.value()) })
}

fn string(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn ours(message: &Message<'_>) -> Option<Reading> {
    let address = |raw: &[u8]| {
        let uri = Uri::parse(raw).ok()?;
        Some(Address { user: uri.user.map(string), host: string(uri.host), port: uri.port })
    };
    let name_addr = |addr: Option<NameAddr<'_>>| address(addr?.uri_raw);
    Some(Reading {
        method_or_status: message.status().map_or_else(|| message.method().to_string(), |status| status.to_string()),
        request_uri: match message.request_uri() {
            Some(uri) => Some(address(uri)?),
            None => None,
        },
        call_id: string(message.call_id),
        cseq: message.cseq.number,
        cseq_method: string(message.cseq.method_raw),
        branch: message.via.branch.map(string),
        from: name_addr(message.from())?,
        from_tag: message.from_tag.map(string),
        to: name_addr(message.to())?,
        to_tag: message.to_tag.map(string),
        body: message.body.to_vec(),
    })
}

/// Whether a refusal is for a reason rsip does not look at; found out by reading the lines once more, naively.
pub(crate) fn excused(error: ScanError, datagram: &[u8]) -> bool {
    let text = String::from_utf8_lossy(datagram);
    let text = text.trim_start_matches(['\r', '\n']);
    let head = text.split("\r\n\r\n").next().unwrap_or("").replace("\r\n ", " ").replace("\r\n\t", " ");
    let lines: Vec<_> = head.lines().skip(1).filter_map(|line| line.split_once(':')).collect();
    let values = |id: HeaderId| -> Vec<&str> {
        lines
            .iter()
            .filter(|(name, _)| HeaderId::parse(name.trim().as_bytes()) == id)
            .map(|(_, value)| value.trim())
            .collect()
    };
    match error {
        ScanError::Duplicate => {
            [HeaderId::From, HeaderId::To, HeaderId::CallId, HeaderId::CSeq].into_iter().any(|id| values(id).len() > 1)
        }
        ScanError::ContentLength => {
            let lengths: Vec<_> =
                values(HeaderId::ContentLength).iter().map(|value| value.parse::<u32>().ok()).collect();
            let signed = values(HeaderId::ContentLength).iter().any(|value| value.starts_with('+'));
            signed || lengths.contains(&None) || lengths.windows(2).any(|pair| pair[0] != pair[1])
        }
        ScanError::CSeqMethod => {
            let method = text.split(' ').next().unwrap_or("");
            values(HeaderId::CSeq).iter().any(|value| !value.ends_with(&format!(" {method}")))
        }
        ScanError::Version => {
            let line = text.lines().next().unwrap_or("");
            !line.ends_with(" SIP/2.0") && !line.starts_with("SIP/2.0 ")
        }
        ScanError::RequestLine => {
            // Blanks in the Request-URI, or brackets around it (RFC 4475 sections 3.1.2.7 and 3.1.2.8).
            let words: Vec<_> = text.lines().next().unwrap_or("").split_ascii_whitespace().collect();
            words.len() != 3 || words[1].starts_with('<')
        }
        // No empty line behind the headers, without which rsip takes the message as well.
        ScanError::Truncated => !text.contains("\n\r\n") && !text.contains("\n\n"),
        ScanError::StatusLine => {
            let status = text.split(' ').nth(1).unwrap_or("");
            status.len() != 3 || !status.starts_with(['1', '2', '3', '4', '5', '6'])
        }
        ScanError::CallId => values(HeaderId::CallId).contains(&""),
        ScanError::CSeq => values(HeaderId::CSeq).iter().any(|value| {
            let number = value.split(' ').next().unwrap_or("");
            number.starts_with('+') || number.parse::<u32>().is_ok_and(|number| number > i32::MAX as u32)
        }),
        _ => false,
    }
}
