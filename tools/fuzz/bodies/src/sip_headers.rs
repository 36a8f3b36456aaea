//! Typed views of whatever the scanner accepted, and of bare bytes; what is read is written and read again.

use tandem_sip::header::{
    CSeq, Contact, ContentType, HeaderId, Privacy, RAck, Reason, RetryAfter, Rport, SessionExpires, Transport, Via,
};
use tandem_sip::message::{Message, find_body, parts, sdp_body, unfold};
use tandem_sip::method::Method;
use tandem_sip::scan::{StartLine, scan};
use tandem_sip::uri::{NUMBER_BYTES_MAX, NameAddr, Params, Uri, unescape, unquote};
use tandem_sip::write::Writer;

use crate::sip_scan::inside;

/// A message, or just a value.
pub fn run(bytes: &[u8]) {
    value(bytes);
    let Ok(message) = scan(bytes) else { return };
    let _ = (message.max_forwards(), message.expires(), message.min_expires(), message.min_se(), message.rseq());
    let _ =
        (message.session_expires(), message.retry_after(), message.rack(), message.privacy(), message.content_type());
    let _ = (message.other("x-tandem"), message.allows(Method::Update), message.lists(HeaderId::Require, "100rel"));
    // The scanner promised that these can be read.
    let (from, to) = (message.from().expect("From was read"), message.to().expect("To was read"));
    assert_eq!((from.tag(), to.tag()), (message.from_tag, message.to_tag));
    assert_eq!(message.vias().next(), Some(message.via));
    assert!(message.contacts().count() >= usize::from(message.contact().is_some()));
    assert!(message.reasons().all(|reason| !(reason.is_q850() && reason.is_sip())));
    for header in message.headers() {
        for one in message.all(header.id) {
            value(one);
        }
        let _ = message.name_addrs(header.id).count();
    }
    for body in [sdp_body(&message), find_body(&message, "application", "isup")].into_iter().flatten() {
        assert!(inside(bytes, body));
    }
    if let Some(boundary) = message.content_type().and_then(|kind| kind.boundary()) {
        assert!(parts(message.body, boundary).all(|part| inside(bytes, part.body)));
    }
    write_back(&message);
}

/// Every typed view of some bytes.
fn value(raw: &[u8]) {
    let (unfolded, unquoted) = (unfold(raw), unquote(raw));
    assert!(!unfolded.iter().any(|byte| matches!(byte, b'\r' | b'\n')), "a fold is left");
    assert!(unquoted.len() <= raw.len() && unescape(raw).len() <= raw.len());
    if let Some(via) = Via::parse(raw) {
        let _ = (via.received_ip(), via.has_magic_cookie(), via.params.into_iter().count());
        assert!(!via.host.is_empty() && inside(raw, via.sent_by) && inside(raw, via.protocol));
        assert!(via.host().ip().is_some() || via.host[0] != b'[');
        assert!(!via.branch.is_some_and(<[u8]>::is_empty), "an empty branch is none");
        assert_eq!(via.transport == Transport::Other, Transport::parse(last_word(via.protocol)) == Transport::Other);
    }
    if let Some(cseq) = CSeq::parse(raw) {
        assert!(cseq.number <= i32::MAX as u32 && Method::parse(cseq.method_raw) == cseq.method);
        let written = format!("{} {}", cseq.number, String::from_utf8_lossy(cseq.method_raw));
        assert_eq!(
            CSeq::parse(written.as_bytes()).map(|again| (again.number, again.method)),
            Some((cseq.number, cseq.method))
        );
    }
    let _ = (RAck::parse(raw), SessionExpires::parse(raw), RetryAfter::parse(raw), Privacy::parse(raw));
    if let Some(reason) = Reason::parse(raw) {
        let _ = reason.text.map(unquote);
    }
    if let Some(kind) = ContentType::parse(raw) {
        assert!(kind.boundary().is_none_or(|boundary| (1..=70).contains(&boundary.len())));
    }
    if let Some(Contact::Addr(addr)) = Contact::parse(raw) {
        assert_eq!(NameAddr::parse(raw), Ok(addr));
    }
    if let Ok(addr) = NameAddr::parse(raw) {
        assert!(!addr.uri_raw.is_empty() && inside(raw, addr.uri_raw));
        let _ = (addr.display_text(), addr.tag(), addr.param("q"));
        uri(addr.uri_raw);
    }
    assert!(
        Params::new(raw).into_iter().all(|(name, value)| inside(raw, name) && value.is_none_or(|v| inside(raw, v)))
    );
    uri(raw);
}

fn last_word(protocol: &[u8]) -> &[u8] {
    protocol.rsplit(|byte| matches!(byte, b'/' | b' ' | b'\t' | b'\r' | b'\n')).next().unwrap_or(b"")
}

fn uri(raw: &[u8]) {
    let Ok(uri) = Uri::parse(raw) else { return };
    assert_eq!(uri.raw, raw);
    assert!(uri.params.into_iter().count() <= raw.len() && inside(raw, uri.host) && inside(raw, uri.headers));
    let _ = uri.host();
    let Ok(dialled) = uri.dialled() else { return };
    for number in [Some(dialled.number()), dialled.routing_number()].into_iter().flatten() {
        assert!(!number.is_empty() && number.len() <= NUMBER_BYTES_MAX);
        assert!(number.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "a number is printable");
    }
}

/// Writes the message again, header by header, and reads that: the same message.
fn write_back(message: &Message<'_>) {
    let mut buffer = Vec::new();
    let mut writer = match message.start {
        StartLine::Request { method_raw, uri, .. } => Writer::request_token(&mut buffer, method_raw, uri),
        StartLine::Response { status, reason } => {
            Writer::response(&mut buffer, status, Some(&String::from_utf8_lossy(reason)))
        }
    };
    let mut lines = 0;
    for header in
        message.headers().filter(|header| !matches!(header.id, HeaderId::ContentLength | HeaderId::ContentType))
    {
        // The scanner takes names as tokens, and tokens are ASCII.
        let name = std::str::from_utf8(header.name).expect("a header name is a token");
        writer.header(name, header.value);
        lines += 1;
    }
    writer.body("application/octet-stream", message.body);
    let again = scan(&buffer).unwrap_or_else(|error| panic!("what we write we read: {error}"));
    assert_eq!(again.headers().count(), lines + 2, "no value may add a header");
    assert_eq!(again.body, message.body);
    assert_eq!(
        (again.is_request(), again.status(), again.method()),
        (message.is_request(), message.status(), message.method())
    );
    assert_eq!((again.cseq.number, again.cseq.method_raw), (message.cseq.number, message.cseq.method_raw));
    assert_eq!(again.request_uri(), message.request_uri());
    assert_eq!(
        (again.via.port, again.via.transport, again.via.host),
        (message.via.port, message.via.transport, message.via.host)
    );
    assert_eq!(again.via.rport == Rport::Absent, message.via.rport == Rport::Absent);
    let unfolded = |value: Option<&[u8]>| value.map(|value| unfold(value).into_owned());
    assert_eq!(unfolded(again.from_tag), unfolded(message.from_tag));
    assert_eq!(unfolded(again.to_tag), unfolded(message.to_tag));
    assert_eq!(unfolded(again.via.branch), unfolded(message.via.branch));
    assert_eq!(unfolded(Some(again.call_id)), unfolded(Some(message.call_id)));
}
