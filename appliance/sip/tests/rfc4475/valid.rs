//! Section 3.1.1: valid messages, however strange. And 3.4.1, an INVITE of RFC 2543.

use crate::support::{A, B, Bench, SDP_A, Sent, header};
use crate::{answered, called, dropped, feed, message, ringing, text};
use tandem_leg::LegEvent;
use tandem_sip::Outcome;
use tandem_sip::header::{HeaderId, Transport};
use tandem_sip::message::{parts, unfold};
use tandem_sip::scan::scan;
use tandem_sip::uri::Uri;

#[test]
fn t3_1_1_1_a_short_tortuous_invite() {
    let bytes = message("3.1.1.1-wsinv");
    let request = scan(&bytes).unwrap();
    assert_eq!((request.cseq.number, request.max_forwards()), (9, Some(68)));
    assert_eq!(request.vias().count(), 3);
    assert_eq!(request.vias().nth(1).unwrap().transport, Transport::Tcp);
    assert_eq!(
        unfold(request.other("NewFangledHeader").unwrap()).as_ref(),
        b"newfangled value continued newfangled value"
    );
    assert_eq!(request.from().unwrap().display_text().unwrap().as_ref(), b"J Rosenberg \\\"");
    assert_eq!(request.contact().unwrap().param("newparam"), Some(&b"newvalue"[..]));
    // It has a To tag, so it belongs to a dialog, which nobody here knows.
    let answer = answered(&bytes, 481);
    assert_eq!(answer.text.matches("Via: ").count(), 3);
    assert!(answer.header("To").ends_with("1918181833n"));
    // Without the tag it is a call.
    let order = called(text("3.1.1.1-wsinv").replace(" ;   tag    = 1918181833n", "").as_bytes());
    assert_eq!((order.dialled.as_str(), order.caller.display.as_str()), ("vivekg", "J Rosenberg \\\""));
    assert_eq!(order.max_forwards, 68);
}

#[test]
fn t3_1_1_2_a_wide_range_of_characters() {
    // A method that nobody knows is 501, and what it is called comes back as it was.
    let answer = answered(&message("3.1.1.2-intmeth"), 501);
    assert!(answer.header("Allow").contains("INVITE"));
    assert!(answer.header("CSeq").ends_with("!interesting-Method0123456789_*+`.%indeed'~"));
    assert!(answer.header("To").contains("BEL:\\\u{7} NUL:\\\0 DEL:\\\u{7f}"));
}

#[test]
fn t3_1_1_3_escapes_in_the_user() {
    let bytes = message("3.1.1.3-esc01");
    let request = scan(&bytes).unwrap();
    let contact = request.contact().unwrap().uri().unwrap();
    // "%6C%72" is a parameter name of its own, not "lr" in disguise of a routing decision.
    assert!(!contact.has_param("lr"));
    let order = called(&bytes);
    assert_eq!(order.dialled, "sips:user@example.com");
    assert_eq!((order.callee.user.as_str(), order.caller.user.as_str()), ("user", "I have spaces"));
}

#[test]
fn t3_1_1_4_escaped_nulls() {
    let bytes = message("3.1.1.4-escnull");
    let request = scan(&bytes).unwrap();
    let users: Vec<_> = request.contacts().filter_map(|contact| contact.addr()?.uri().ok()?.user).collect();
    assert_eq!(users, [&b"%00"[..], b"%00%00"], "two contacts, not one");
    assert!(request.to().unwrap().uri().unwrap().dialled().is_err(), "a NUL is never dialled");
    // There is no registrar here.
    assert!(answered(&bytes, 405).header("Allow").contains("INVITE"));
}

#[test]
fn t3_1_1_5_a_percent_sign_that_is_no_escape() {
    let bytes = message("3.1.1.5-esc02");
    let request = scan(&bytes).unwrap();
    assert_eq!(request.contacts().count(), 2, "C%6Fntact is another header");
    // RE%47IST%45R is not REGISTER.
    answered(&bytes, 501);
}

#[test]
fn t3_1_1_6_no_blank_between_name_and_bracket() {
    let answer = answered(&message("3.1.1.6-lwsdisp"), 200);
    assert_eq!(answer.header("From"), "caller<sip:caller@example.com>;tag=323");
}

#[test]
fn t3_1_1_7_long_values() {
    let bytes = message("3.1.1.7-longreq");
    assert_eq!(scan(&bytes).unwrap().vias().count(), 34);
    let order = called(&bytes);
    assert!(order.caller.user.len() > 100);
    assert_eq!(order.dialled, "user");
    // All Vias come back, in order.
    let mut bench = Bench::default();
    feed(&mut bench, A, &bytes);
    let trying = bench.expect("SIP/2.0 100 ");
    let vias: Vec<&str> = trying.text.lines().filter(|line| line.starts_with("Via: ")).collect();
    assert_eq!(vias.len(), 34);
    assert!(vias[0].contains("sip33.example.com") && vias[33].contains("host.example.com"));
}

#[test]
fn t3_1_1_8_a_second_request_behind_the_first() {
    // Over UDP what follows Content-Length is no message: one answer, to the REGISTER.
    let answer = answered(&message("3.1.1.8-dblreq"), 405);
    assert_eq!(answer.header("CSeq"), "8 REGISTER");
}

#[test]
fn t3_1_1_9_a_semicolon_in_the_user() {
    let bytes = message("3.1.1.9-semiuri");
    let uri = Uri::parse(scan(&bytes).unwrap().request_uri().unwrap()).unwrap();
    assert_eq!((uri.user, uri.host), (Some(&b"user;par=u%40example.net"[..]), &b"example.com"[..]));
    answered(&bytes, 200);
}

#[test]
fn t3_1_1_10_transports() {
    let answer = answered(&message("3.1.1.10-transports"), 200);
    let transports: Vec<&str> = answer.text.lines().filter_map(|line| line.strip_prefix("Via: SIP/2.0/")).collect();
    let names: Vec<&str> = transports.iter().map(|via| via.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["UDP", "SCTP", "TLS", "UNKNOWN", "TCP"]);
}

#[test]
fn t3_1_1_11_a_multipart_body_of_any_bytes() {
    let bytes = message("3.1.1.11-mpart01");
    let request = scan(&bytes).unwrap();
    let boundary = request.content_type().unwrap().boundary().unwrap();
    let bodies: Vec<&[u8]> = parts(request.body, boundary).map(|part| part.body).collect();
    assert_eq!(bodies.len(), 2);
    assert_eq!(bodies[0], b"Hello");
    assert_eq!(bodies[1][..256], (0..=255).collect::<Vec<u8>>());
    assert_eq!(request.header(HeaderId::Identity).map(<[u8]>::len), Some(172));
    // No messages here.
    assert!(answered(&bytes, 405).header("Allow").contains("INVITE"));
}

/// The response of that section, as if to an INVITE of ours.
fn as_answer(name: &str, invite: &Sent) -> String {
    let original = text(name);
    let (head, body) = original.split_once("\r\n\r\n").unwrap();
    let lines = head.split("\r\n").map(|line| {
        let name = line.split(':').next().unwrap_or("");
        match name {
            "Via" | "Call-ID" | "CSeq" | "From" => format!("{name}: {}", invite.header(name)),
            "To" => format!("To: {};tag=far", invite.header("To")),
            _ => line.to_owned(),
        }
    });
    format!("{}\r\n\r\n{body}", lines.collect::<Vec<_>>().join("\r\n"))
}

#[test]
fn t3_1_1_12_an_unusual_reason_phrase() {
    assert_eq!(dropped(&message("3.1.1.12-unreason")).outcome, Outcome::Stray);
    let mut bench = Bench::default();
    let (_, invite) = bench.outgoing(SDP_A);
    bench.feed(B, &as_answer("3.1.1.12-unreason", &invite));
    bench.expect("ACK ");
    assert!(matches!(bench.event(), LegEvent::Connect(_)));
}

#[test]
fn t3_1_1_13_an_empty_reason_phrase() {
    assert_eq!(dropped(&message("3.1.1.13-noreason")).outcome, Outcome::Stray);
    let mut bench = Bench::default();
    let (_, invite) = bench.outgoing(SDP_A);
    bench.feed(B, &as_answer("3.1.1.13-noreason", &invite));
    assert!(matches!(bench.event(), LegEvent::Proceeding));
}

#[test]
fn t3_4_1_an_invite_of_rfc_2543() {
    let bytes = message("3.4.1-inv2543");
    let order = called(&bytes);
    assert_eq!((order.caller.user.as_str(), order.callee.user.as_str()), ("+13035551111", "+16505552222"));
    assert_eq!(order.max_forwards, 70, "none is the default");
    assert!(order.sdp.is_some());
    // "The response to this request would carry a To tag of our own", and the recorded route.
    let mut bench = Bench::default();
    feed(&mut bench, A, &bytes);
    let (leg, _) = ringing(&mut bench);
    bench.order(leg, crate::support::connect(SDP_A));
    let answer = bench.expect("SIP/2.0 200 OK");
    assert!(!answer.tag("To").is_empty());
    assert_eq!(header(&answer.text, "Record-Route"), Some("<sip:UserB@example.com;maddr=ss1.example.com>"));
}
