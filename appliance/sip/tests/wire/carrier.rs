//! What trunks and phones send and strict parsers refuse; most of it breaks `rsip`.

use crate::corpus::{crlf, invite, odd, register};
use tandem_sip::header::{Contact, HeaderId, Refresher};
use tandem_sip::message::{find_body, parts, sdp_body};
use tandem_sip::method::Method;
use tandem_sip::scan::{KeepAlive, ScanError, keep_alive, scan};
use tandem_sip::uri::{Scheme, Uri};

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn an_ordinary_invite_is_indexed() {
    let datagram = invite();
    let message = scan(&datagram).unwrap();
    assert_eq!((message.method(), message.status()), (Method::Invite, None));
    assert_eq!(text(message.call_id), "a84b4c76e66710@198.51.100.7");
    assert_eq!((message.cseq.number, message.cseq.method), (314_159, Method::Invite));
    assert_eq!(message.via.branch.map(text), Some("z9hG4bK776asdhds"));
    assert_eq!((text(message.via.host), message.via.port), ("198.51.100.7", Some(5060)));
    let session = message.session_expires().unwrap();
    assert_eq!((session.seconds, session.refresher, message.min_se()), (1800, Some(Refresher::Uac), Some(90)));
    assert!(message.lists(HeaderId::Supported, "100REL") && !message.lists(HeaderId::Supported, "rel"));
    assert!(message.allows(Method::Update) && !message.allows(Method::Refer));
    let uri = Uri::parse(message.request_uri().unwrap()).unwrap();
    assert_eq!(uri.param("user").map(text), Some("phone"));
    assert_eq!(uri.dialled().unwrap().number(), "442079460123");
    assert!(sdp_body(&message).unwrap().ends_with(b"a=sendrecv\r\n"));
    assert_eq!(message.headers().count(), 15);
}

#[test]
fn compact_names_ipv6_tel_folding_and_several_vias_in_a_line() {
    let datagram = odd();
    let message = scan(&datagram).unwrap();
    let uri = Uri::parse(message.request_uri().unwrap()).unwrap();
    assert_eq!(uri.scheme, Scheme::Tel);
    let dialled = uri.dialled().unwrap();
    assert_eq!((dialled.number(), dialled.plus, dialled.npdi), ("12025550100", true, true));
    assert_eq!(dialled.routing_number(), Some("12025559999"));
    assert_eq!((text(message.via.host), message.via.port), ("[2001:db8::7]", Some(5070)));
    let branches: Vec<_> = message.vias().map(|via| via.branch.map(text)).collect();
    assert_eq!(branches, [Some("z9hG4bKodd"), Some("z9hG4bKfirst")]);
    assert_eq!(message.from_tag.map(text), Some("odd"));
    assert_eq!(message.from().unwrap().display_text().unwrap().as_ref(), b"a <b>, \"c\"");
    assert_eq!(message.to().unwrap().uri().unwrap().dialled().unwrap().number(), "12025550100");
    let contacts: Vec<_> = message.contacts().collect();
    assert_eq!(contacts.len(), 2);
    let Contact::Addr(first) = contacts[0] else { panic!("no star") };
    assert_eq!(first.uri().unwrap().user.map(text), Some("a;b"));
    assert_eq!(first.uri().unwrap().host().ip(), Some("2001:db8::7".parse().unwrap()));
    let reasons: Vec<_> = message.name_addrs(HeaderId::Diversion).map(|one| one.param("reason").map(text)).collect();
    assert_eq!(reasons, [Some("no-answer"), Some("\"user,busy\"")]);
    assert!(message.lists(HeaderId::Supported, "timer"));
    assert_eq!(message.other("x-custom").map(text), Some("something"));
}

#[test]
fn a_short_tel_number_keeps_its_plus() {
    let datagram =
        String::from_utf8(invite()).unwrap().replace("<sip:12025550100@198.51.100.7>;tag", "<tel:+1415>;tag");
    let message = scan(datagram.as_bytes()).unwrap();
    let uri = message.from().unwrap().uri().unwrap();
    assert_eq!((uri.scheme, uri.user.map(text), uri.port), (Scheme::Tel, Some("+1415"), None));
    assert!(uri.dialled().unwrap().plus);
}

#[test]
fn emergency_urn_and_unknown_methods() {
    let datagram = String::from_utf8(invite()).unwrap();
    let sos = datagram.replace("sip:442079460123@203.0.113.5:5060;user=phone", "urn:service:sos");
    assert_eq!(Uri::parse(scan(sos.as_bytes()).unwrap().request_uri().unwrap()).unwrap().opaque, b"service:sos");
    let foo = datagram.replace("INVITE sip", "FOO sip").replace("314159 INVITE", "314159 FOO");
    assert_eq!(scan(foo.as_bytes()).unwrap().method(), Method::Other);
}

#[test]
fn latin_1_in_a_display_name() {
    let mut datagram = invite();
    let at = datagram.windows(5).position(|five| five == b"Alice").unwrap();
    datagram[at] = 0xc5;
    let message = scan(&datagram).unwrap();
    assert_eq!(message.from().unwrap().display_text().unwrap()[0], 0xc5);
    assert_eq!(message.from_tag.map(text), Some("1928301774"));
}

#[test]
fn delimiters_in_a_quoted_display_name() {
    let datagram = String::from_utf8(invite()).unwrap().replace("Alice Example", "Alice <ext;tag=9>, Sales");
    let message = scan(datagram.as_bytes()).unwrap();
    assert_eq!(message.from_tag.map(text), Some("1928301774"));
    assert_eq!(message.from().unwrap().uri().unwrap().dialled().unwrap().number(), "12025550100");
}

#[test]
fn bare_line_feeds_and_leading_line_breaks() {
    let datagram = String::from_utf8(register()).unwrap();
    let bare = datagram.replace("\r\n", "\n");
    let late = format!("\r\n\r\n{datagram}");
    for text in [bare, late] {
        let message = scan(text.as_bytes()).unwrap();
        assert_eq!((message.method(), message.cseq.number), (Method::Register, 1826));
        assert_eq!(message.raw()[0], b'R');
        assert_eq!(message.all(HeaderId::Authorization).count(), 1, "digest commas do not separate values");
        assert!(message.body.is_empty());
    }
}

/// RFC 3261 section 18.3: over UDP what is cut off is an error. Behind a cut there could have been an offer.
#[test]
fn headers_that_end_without_a_blank_line_are_refused() {
    let datagram = register();
    assert_eq!(scan(&datagram[..datagram.len() - 2]).unwrap_err(), ScanError::Truncated);
}

#[test]
fn keep_alives_are_told_from_messages() {
    assert_eq!(keep_alive(b"\r\n\r\n"), Some(KeepAlive::Ping));
    for silent in [&b""[..], b"\r\n", b"\0", b"\0\0\0\0", b"ping"] {
        assert_eq!(keep_alive(silent), Some(KeepAlive::Silent));
    }
    assert_eq!(keep_alive(b"HELLO"), None);
    assert_eq!(keep_alive(&invite()), None);
}

/// SIP-I: SDP and ISUP, the latter holding every byte value, line breaks and half a boundary.
#[test]
fn a_binary_part_keeps_every_byte() {
    let isup: Vec<u8> = (0..=255).chain(*b"\r\n--uniq\r\r\n\n--unique-boundary-1x\r\n").collect();
    let mut body = crlf(
        "preamble\n--unique-boundary-1\nContent-Type: application/SDP; charset=ISO-10646\n\nv=0\n--unique-boundary-1\n",
    );
    body.extend_from_slice(&crlf(
        "Content-Disposition: signal;\n handling=optional\nc: application/ISUP;\n version=itu-t92+\n\n",
    ));
    body.extend_from_slice(&isup);
    body.extend_from_slice(&crlf("\n--unique-boundary-1--\nepilogue"));
    let mut datagram = crlf(&format!(
        "INVITE sip:b@x SIP/2.0\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\nFrom: <sip:a@x>;tag=1\nTo: <sip:b@x>\nCall-ID: t\nCSeq: 1 INVITE\n\
         Content-Type: multipart/mixed; boundary=\"unique-boundary-1\"\nContent-Length: {}\n\n",
        body.len()
    ));
    datagram.extend_from_slice(&body);
    let message = scan(&datagram).unwrap();
    assert_eq!(message.body, body);
    assert_eq!(sdp_body(&message), Some(&b"v=0"[..]));
    assert_eq!(find_body(&message, "application", "isup"), Some(&isup[..]));
    assert_eq!(find_body(&message, "application", "qsig"), None);
    assert_eq!(parts(message.body, b"unique-boundary-1").count(), 2);
}

#[test]
fn bodies_that_are_no_session_description() {
    for (headers, body, found) in [
        ("", "v=0\n", true),
        ("", "hello", false),
        ("Content-Type: text/plain\n", "v=0\n", false),
        ("Content-Type: broken\n", "v=0\n", false),
        ("Content-Type: application/sdp\nContent-Encoding: gzip\n", "v=0\n", false),
        ("Content-Type: application/sdp\ne: identity\n", "v=0\n", true),
        ("c: Application/SDP;charset=utf-8\n", "v=0\n", true),
        ("Content-Type: application/sdp\n", "", false),
        ("Content-Type: multipart/mixed\n", "--b\nContent-Type: application/sdp\n\nv=0\n--b--", false),
        ("Content-Type: multipart/mixed;boundary=b\n", "--b\nContent-Type: application/sdp\n\nv=0\n--b--", true),
        ("Content-Type: multipart/mixed;boundary=b\n", "--b\nContent-Type: application/sdp\n\nv=0", true),
        ("Content-Type: multipart/mixed;boundary=b\n", "--b\n\nv=0\n--b--", false),
        ("Content-Type: multipart/mixed;boundary=b\n", "--b--", false),
        (
            "Content-Type: multipart/mixed;boundary=o\n",
            "--o\nContent-Type: multipart/alternative;boundary=i\n\n--i\nContent-Type: application/sdp\n\nv=0\n--i--\n--o--",
            true,
        ),
    ] {
        let datagram = crlf(&format!(
            "INVITE sip:b@x SIP/2.0\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\nFrom: <sip:a@x>;tag=1\nTo: <sip:b@x>\nCall-ID: t\n\
             CSeq: 1 INVITE\n{headers}\n{body}"
        ));
        let message = scan(&datagram).unwrap();
        let sdp = sdp_body(&message);
        assert_eq!(sdp.is_some(), found, "{headers}{body}");
        assert!(sdp.is_none_or(|sdp| sdp.starts_with(b"v=0") && sdp.len() <= 5), "{headers}{body}");
    }
}
