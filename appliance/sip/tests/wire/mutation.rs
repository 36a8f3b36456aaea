//! Broken bytes: nothing panics, and everything that is found lies inside the datagram.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tandem_sip::header::{
    CSeq, Contact, ContentType, HeaderId, Privacy, RAck, Reason, RetryAfter, SessionExpires, Via,
};
use tandem_sip::message::{parts, sdp_body, unfold};
use tandem_sip::scan::{Message, keep_alive, salvage, scan};
use tandem_sip::uri::{NameAddr, Uri, unescape};
use tandem_sip::write::Writer;

use crate::corpus;

/// One change to a message. Positions and lengths are taken modulo the length.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Set(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Repeat(usize, usize),
    Cut(usize),
}

/// Pieces with a meaning, which hit more than random bytes do.
const PIECES: [&str; 32] = [
    "\r\n",
    "\n",
    "\r",
    "\r\n ",
    "\r\n\r\n",
    "\"",
    "\\\"",
    "<",
    ">",
    ",",
    ";",
    ":",
    "=",
    "@",
    "[",
    "]",
    "[::1]",
    "%00",
    "%",
    "?",
    " ",
    "\t",
    "\0",
    "\u{e9}",
    "SIP/2.0",
    "tel:",
    ";tag=",
    "99999999999",
    "-1",
    "v: SIP/2.0/UDP h\r\n",
    "l: 1\r\n",
    "CSeq: 1 BYE\r\n",
];

pub(crate) fn changes(most: usize) -> impl Strategy<Value = Vec<Change>> {
    let at = 0usize..4096;
    let change = prop_oneof![
        3 => (at.clone(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        4 => (at.clone(), proptest::sample::select(&PIECES[..])).prop_map(|(at, piece)| Change::Insert(at, piece.into())),
        2 => (at.clone(), 1usize..40).prop_map(|(at, length)| Change::Remove(at, length)),
        1 => (at.clone(), 1usize..80).prop_map(|(at, length)| Change::Repeat(at, length)),
        1 => at.prop_map(Change::Cut),
    ];
    proptest::collection::vec(change, 1..=most)
}

pub(crate) fn apply(mut message: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let place = |at: usize| if message.is_empty() { 0 } else { at % message.len() };
        match change {
            Change::Set(at, byte) => {
                let at = place(*at);
                if let Some(slot) = message.get_mut(at) {
                    *slot = *byte;
                }
            }
            Change::Insert(at, piece) => {
                let at = place(*at);
                message.splice(at..at, piece.iter().copied());
            }
            Change::Remove(at, length) => {
                let at = place(*at);
                let end = message.len().min(at + length);
                message.drain(at..end);
            }
            Change::Repeat(at, length) => {
                let at = place(*at);
                let end = message.len().min(at + length);
                let copy = message[at..end].to_vec();
                message.splice(end..end, copy);
            }
            Change::Cut(at) => {
                let at = place(*at);
                message.truncate(at);
            }
        }
    }
    message
}

/// The same cases every run; `PROPTEST_CASES` raises their number.
pub(crate) fn runner(cases: u32) -> TestRunner {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(cases);
    let config = Config { cases, failure_persistence: None, max_global_rejects: u32::MAX, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[26; 32]))
}

/// Whether a slice is a part of the datagram (empty ones may come from anywhere).
fn inside(datagram: &[u8], part: &[u8]) -> bool {
    part.is_empty() || {
        let (outer, inner) = (datagram.as_ptr_range(), part.as_ptr_range());
        outer.start <= inner.start && inner.end <= outer.end
    }
}

/// Looks at everything there is to see.
fn look(datagram: &[u8], message: &Message<'_>) {
    assert!(
        inside(datagram, message.body)
            && inside(datagram, message.call_id)
            && inside(datagram, message.cseq.method_raw)
    );
    for part in [message.from_tag, message.to_tag, message.via.branch, message.via.received, message.request_uri()] {
        assert!(part.is_none_or(|part| inside(datagram, part)));
    }
    for header in message.headers() {
        assert!(inside(datagram, header.name) && inside(datagram, header.value));
        assert!(message.has(header.id));
        let joined: usize = message.all(header.id).map(<[u8]>::len).sum();
        assert!(joined <= datagram.len());
        for value in message.all(header.id) {
            assert!(inside(datagram, value) && !value.is_empty());
            views(value);
        }
    }
    let _ = (message.max_forwards(), message.expires(), message.min_expires(), message.min_se(), message.rseq());
    let _ = (message.privacy(), message.lists(HeaderId::Require, "100rel"), message.other("x"));
    if let Some(sdp) = sdp_body(message) {
        assert!(inside(datagram, sdp));
    }
    for length in 1..4 {
        for part in parts(message.body, &message.body[..length.min(message.body.len())]).take(100) {
            assert!(inside(datagram, part.body));
        }
    }
}

/// Every typed view of any bytes.
fn views(value: &[u8]) {
    let _ = (unfold(value), unescape(value), keep_alive(value));
    let _ = (Via::parse(value).map(|via| (via.host(), via.received_ip(), via.has_magic_cookie())), CSeq::parse(value));
    let _ = (RAck::parse(value), Contact::parse(value), SessionExpires::parse(value), RetryAfter::parse(value));
    let _ =
        (Reason::parse(value), Privacy::parse(value), ContentType::parse(value).map(|kind| kind.boundary().is_some()));
    if let Ok(addr) = NameAddr::parse(value) {
        let _ = (addr.display_text(), addr.tag());
        uri(addr.uri_raw);
    }
    uri(value);
}

fn uri(raw: &[u8]) {
    if let Ok(uri) = Uri::parse(raw) {
        let _ = uri.host();
        assert!(uri.params.into_iter().count() <= raw.len());
        if let Ok(dialled) = uri.dialled() {
            assert!(!dialled.number().is_empty() && dialled.number().bytes().all(|byte| (0x20..0x7f).contains(&byte)));
        }
    }
}

/// Takes a datagram the whole way, to the answer.
fn digest(datagram: &[u8]) {
    let refused = match scan(datagram) {
        Ok(message) => {
            look(datagram, &message);
            Some(message).filter(Message::is_request)
        }
        Err(error) => salvage(datagram).filter(|_| error.status().is_some()),
    };
    if let Some(message) = refused {
        look(datagram, &message);
        let mut buffer = Vec::new();
        Writer::response_to(&mut buffer, &message, 400, None, Some("t"), "192.0.2.1:5060".parse().unwrap()).end();
        let lines = buffer.windows(2).filter(|pair| pair == b"\r\n").count();
        let breaks = buffer.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count();
        assert_eq!(breaks, lines * 2, "every line break in an answer is ours");
        assert_eq!(buffer.windows(4).filter(|four| four == b"\r\n\r\n").count(), 1, "an answer ends once");
    }
}

#[test]
fn mutated_messages_never_panic() {
    let messages = corpus::all();
    runner(6000)
        .run(&(0..messages.len(), changes(8)), |(message, changes)| {
            digest(&apply(messages[message].clone(), &changes));
            Ok(())
        })
        .unwrap();
}

#[test]
fn random_bytes_never_panic() {
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..60)
            .prop_map(|pieces| pieces.concat().into_bytes()),
    ];
    runner(3000)
        .run(&bytes, |bytes| {
            digest(&bytes);
            views(&bytes);
            Ok(())
        })
        .unwrap();
}

/// Every prefix of every message, so that no length check is left to luck.
#[test]
fn cut_messages_never_panic() {
    for message in corpus::all() {
        for length in 0..message.len() {
            digest(&message[..length]);
        }
    }
}

/// Shapes that make careless parsers quadratic or recursive, as large as a datagram gets. There is no clock here: a
/// quadratic pass over one of these is four thousand million steps and shows as a test that does not end.
#[test]
fn the_largest_datagrams_never_panic() {
    let head = "INVITE sip:x SIP/2.0\r\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\nCall-ID: t\r\nCSeq: 1 INVITE\r\n";
    let fill = |piece: &str| piece.repeat((65_000 - head.len()) / piece.len());
    for datagram in [
        format!("{head}Contact: {}\r\n\r\n", "<sip:x>,".repeat(1000)),
        format!("{head}Contact: {}\r\n\r\n", "\"\\\"".repeat(2600)),
        format!("{head}Contact: <sip:x>{}\r\n\r\n", ";a=\"b\"".repeat(1300)),
        format!("{head}{}\r\n", fill("X: y\r\n")),
        format!("{head}Subject: a{}\r\n\r\n", fill("\r\n ")),
        format!("{head}Subject: a{}", fill("\r\n ")),
        format!("{head}{}", fill(":")),
        format!("{head}c: multipart/mixed;boundary=-\r\n\r\n{}", fill("\n---")),
        format!("{head}c: multipart/mixed;boundary=-\r\n\r\n{}", fill("-")),
        fill("\r\n"),
    ] {
        digest(datagram.as_bytes());
    }
}
