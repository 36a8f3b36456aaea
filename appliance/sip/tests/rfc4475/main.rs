//! The messages of RFC 4475, each through a whole endpoint, with the answer that the RFC asks for.
//!
//! `messages/` holds them as they travel, retold: what makes each one difficult is as in the RFC, names and numbers need
//! not be. The number of a file and of a test is the section. Where we do something else than the RFC prefers, the test
//! says why; the table in the room's README has all of them.

#[path = "../endpoint/support.rs"]
#[allow(dead_code, reason = "the endpoint's tests use the rest")]
mod support;

mod invalid;
mod transactions;
mod valid;

use std::path::Path;

use support::{A, Bench, Sent, fail};
use tandem_leg::{LegEvent, LegId, ListenerId, Try};
use tandem_sip::Received;

/// Messages of the RFC.
const MESSAGES: usize = 49;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rfc4475/messages")
}

/// The message of that section.
fn message(name: &str) -> Vec<u8> {
    let path = folder().join(format!("{name}.sip"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The same as text, for those that are, to be changed before they are sent.
fn text(name: &str) -> String {
    String::from_utf8(message(name)).expect("a message of text")
}

fn feed(bench: &mut Bench, from: &str, bytes: &[u8]) -> Received {
    let received = bench.e.handle_datagram(bench.now, ListenerId(0), from.parse().unwrap(), bytes);
    bench.drain();
    received
}

/// A peer sends it and gets that answer, the same one again for the same message, and nothing is kept.
#[track_caller]
fn answered(bytes: &[u8], status: u16) -> Sent {
    let mut bench = Bench::default();
    feed(&mut bench, A, bytes);
    let answer = bench.expect(&format!("SIP/2.0 {status} "));
    assert_eq!(answer.leg, None);
    bench.quiet();
    feed(&mut bench, A, bytes);
    assert_eq!(bench.expect("SIP/2.0 ").text, answer.text);
    bench.nothing_left();
    answer
}

/// A peer sends it, nobody answers, nothing happens.
#[track_caller]
fn dropped(bytes: &[u8]) -> Received {
    let mut bench = Bench::default();
    let received = feed(&mut bench, A, bytes);
    bench.quiet();
    bench.nothing_left();
    received
}

/// A peer sends it and it becomes a call, which is then refused and confirmed, and nothing is left.
#[track_caller]
fn called(bytes: &[u8]) -> Try {
    let mut bench = Bench::default();
    feed(&mut bench, A, bytes);
    let (leg, order) = ringing(&mut bench);
    // The same datagram again is the same call.
    feed(&mut bench, A, bytes);
    bench.expect("SIP/2.0 100 ");
    bench.order(leg, fail(404));
    let refusal = bench.expect("SIP/2.0 404 ");
    let ack = ack(bytes, &refusal.tag("To"));
    feed(&mut bench, A, &ack);
    bench.nothing_left();
    order
}

#[track_caller]
fn ringing(bench: &mut Bench) -> (LegId, Try) {
    bench.expect("SIP/2.0 100 ");
    let (leg, event) = bench.events.pop_front().expect("news of a call");
    let LegEvent::Try(order) = event else { panic!("{event:?}") };
    (leg, *order)
}

/// The ACK to a refusal of that INVITE: its start line and CSeq, and our tag (RFC 3261 17.1.1.3).
fn ack(invite: &[u8], tag: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(invite).replace("\r\n ", " ");
    let (head, _) = text.split_once("\r\n\r\n").expect("a message has a head");
    let mut lines = Vec::new();
    for line in head.split("\r\n") {
        let name = line.split(':').next().unwrap_or("").trim().to_ascii_lowercase();
        match name.as_str() {
            "to" | "t" if line.contains('<') || !line.contains(";tag") => lines.push(format!("{line};tag={tag}")),
            "content-length" | "l" => lines.push("Content-Length: 0".to_owned()),
            _ => lines.push(line.replacen("INVITE", "ACK", 1)),
        }
    }
    lines.join("\r\n").into_bytes().into_iter().chain(*b"\r\n\r\n").collect()
}

#[test]
fn every_message_has_its_test() {
    let tests = [include_str!("valid.rs"), include_str!("invalid.rs"), include_str!("transactions.rs")].concat();
    let mut found = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        assert!(tests.contains(&format!("\"{name}\"")), "no test uses {name}");
        found += 1;
    }
    assert_eq!(found, MESSAGES);
}
