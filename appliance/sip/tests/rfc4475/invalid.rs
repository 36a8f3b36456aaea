//! Sections 3.1.2 and 3.3: messages that are wrong, or right and beyond us.

use crate::support::{A, B, Bench, SDP_A};
use crate::{answered, called, dropped, feed, message, text};
use tandem_sip::Outcome;
use tandem_sip::scan::{ScanError, scan};

#[test]
fn t3_1_2_1_separators_without_anything() {
    // The Via list holds a value that is none; the answer would travel along it.
    assert!(answered(&message("3.1.2.1-badinv01"), 400).text.starts_with("SIP/2.0 400 malformed Via\r\n"));
    // Such a Contact alone leaves no doubt.
    let contact_only = text("3.1.2.1-badinv01").replace("192.0.2.15;;,;,,", "192.0.2.15;branch=z9hG4bKc");
    assert_eq!(called(contact_only.as_bytes()).dialled, "user");
}

#[test]
fn t3_1_2_2_content_length_beyond_the_datagram() {
    // The RFC would have 400. We take it: NAT helpers rewrite bodies and leave the length as it was (spec signalling.md
    // section 6.4), and the datagram says where it ends.
    let order = called(&message("3.1.2.2-clerr"));
    assert!(order.sdp.unwrap().starts_with(b"v=0\r\n"));
}

#[test]
fn t3_1_2_3_negative_content_length() {
    answered(&message("3.1.2.3-ncl"), 400);
}

#[test]
fn t3_1_2_4_overlarge_numbers_in_a_request() {
    assert!(answered(&message("3.1.2.4-scalar02"), 400).text.contains("malformed CSeq"));
}

#[test]
fn t3_1_2_5_overlarge_numbers_in_a_response() {
    assert_eq!(dropped(&message("3.1.2.5-scalarlg")).outcome, Outcome::Malformed(ScanError::CSeq));
    // The other overlarge numbers do no harm: "very long" is what they mean.
    let sane = text("3.1.2.5-scalarlg").replace("9292394834772304023312", "1");
    let retry_after = scan(sane.as_bytes()).unwrap().retry_after().unwrap();
    assert_eq!(retry_after.seconds, u32::MAX);
}

#[test]
fn t3_1_2_6_a_quote_that_never_ends() {
    answered(&message("3.1.2.6-quotbal"), 400);
}

#[test]
fn t3_1_2_7_brackets_around_the_request_uri() {
    answered(&message("3.1.2.7-ltgtruri"), 400);
}

#[test]
fn t3_1_2_8_a_blank_in_the_request_uri() {
    answered(&message("3.1.2.8-lwsruri"), 400);
}

#[test]
fn t3_1_2_9_more_blanks_than_one_in_the_request_line() {
    // May be refused; the three parts are clear, so it is taken.
    assert_eq!(called(&message("3.1.2.9-lwsstart")).dialled, "user");
}

#[test]
fn t3_1_2_10_blanks_behind_the_request_line() {
    // As above.
    answered(&message("3.1.2.10-trws"), 200);
}

#[test]
fn t3_1_2_11_headers_in_the_request_uri() {
    // May be refused; taken, and what stands there reaches nobody.
    let order = called(&message("3.1.2.11-escruri"));
    assert_eq!(order.dialled, "user");
    assert!(order.headers.is_empty());
}

#[test]
fn t3_1_2_12_a_date_in_another_zone() {
    // May be refused; nobody here reads the date.
    assert_eq!(called(&message("3.1.2.12-baddate")).dialled, "user");
}

#[test]
fn t3_1_2_13_a_uri_with_headers_and_no_brackets() {
    // The registrar would have to decide; there is none.
    answered(&message("3.1.2.13-regbadct"), 405);
}

#[test]
fn t3_1_2_14_blanks_inside_the_brackets() {
    // May be refused; the blanks mean nothing.
    let bytes = message("3.1.2.14-badaspec");
    assert_eq!(scan(&bytes).unwrap().to().unwrap().uri().unwrap().user, Some(&b"t.watson"[..]));
    answered(&bytes, 200);
}

#[test]
fn t3_1_2_15_a_name_that_wants_quotes() {
    // May be refused; the brackets say where the URI is.
    let bytes = message("3.1.2.15-baddn");
    assert_eq!(scan(&bytes).unwrap().from().unwrap().display, Some(&b"Bell, Alexander"[..]));
    answered(&bytes, 200);
}

#[test]
fn t3_1_2_16_another_version() {
    answered(&message("3.1.2.16-badvers"), 505);
}

#[test]
fn t3_1_2_17_two_methods() {
    answered(&message("3.1.2.17-mismatch01"), 400);
}

#[test]
fn t3_1_2_18_two_methods_one_of_them_unknown() {
    answered(&message("3.1.2.18-mismatch02"), 400);
}

#[test]
fn t3_1_2_19_a_status_that_is_none() {
    assert_eq!(dropped(&message("3.1.2.19-bigcode")).outcome, Outcome::Malformed(ScanError::StatusLine));
}

#[test]
fn t3_3_1_required_headers_missing() {
    // "It must respond with 400": with what there is to copy.
    let answer = answered(&message("3.3.1-insuf"), 400);
    assert!(answer.text.starts_with("SIP/2.0 400 a mandatory header is missing\r\n"));
    assert_eq!(answer.header("CSeq"), "193942 INVITE");
    assert!(answer.header("Via").contains("z9hG4bKkdj.insuf"));
    assert!(!answer.has("From") && !answer.has("To") && !answer.has("Call-ID"), "nothing is made up:\n{}", answer.text);
}

#[test]
fn t3_3_2_a_scheme_nobody_knows() {
    answered(&message("3.3.2-unkscm"), 416);
    let invite = text("3.3.2-unkscm").replace("OPTIONS", "INVITE");
    answered(invite.as_bytes(), 416);
}

#[test]
fn t3_3_3_a_scheme_from_elsewhere() {
    answered(&message("3.3.3-novelsc"), 416);
}

#[test]
fn t3_3_4_unknown_schemes_in_headers() {
    // No registrar; a call with such a From is nobody's number, and no more.
    answered(&message("3.3.4-unksm2"), 405);
    let invite = text("3.3.4-unksm2").replace("REGISTER", "INVITE").replace("<name:John_Smith>", "<sip:j@192.0.2.21>");
    let order = called(invite.as_bytes());
    assert_eq!((order.caller.user.as_str(), order.callee.user.as_str()), ("", ""));
}

#[test]
fn t3_3_5_extensions_nobody_has() {
    let answer = answered(&message("3.3.5-bext01"), 420);
    let refused: Vec<&str> = answer.text.lines().filter_map(|line| line.strip_prefix("Unsupported: ")).collect();
    // Proxy-Require is for proxies, and we are none.
    assert_eq!(refused, ["nothingSupportsThis", "nothingSupportsThisEither"]);
    let invite = text("3.3.5-bext01").replace("OPTIONS", "INVITE");
    assert_eq!(answered(invite.as_bytes(), 420).text.matches("Unsupported: ").count(), 2);
}

#[test]
fn t3_3_6_a_body_nobody_reads() {
    assert!(answered(&message("3.3.6-invut"), 415).header("Accept").contains("application/sdp"));
}

#[test]
fn t3_3_7_credentials_of_an_unknown_kind() {
    answered(&message("3.3.7-regaut01"), 405);
    // A call with them is a call: nothing here asks for credentials yet.
    let invite = text("3.3.7-regaut01").replace("REGISTER", "INVITE");
    called(invite.as_bytes());
}

#[test]
fn t3_3_8_several_values_where_one_may_stand() {
    let answer = answered(&message("3.3.8-multi01"), 400);
    assert!(answer.text.contains("stands twice"));
}

#[test]
fn t3_3_9_two_lengths() {
    answered(&message("3.3.9-mcl01"), 400);
}

#[test]
fn t3_3_10_a_response_with_another_via() {
    assert_eq!(dropped(&message("3.3.10-bcast")).outcome, Outcome::Stray);
    // Even to a request of ours: it was not for us alone.
    let mut bench = Bench::default();
    let (_, invite) = bench.outgoing(SDP_A);
    let ours = format!("Via: {}\r\nVia: SIP/2.0/UDP 255", invite.header("Via"));
    let response = text("3.3.10-bcast")
        .replace("Via: SIP/2.0/UDP 192.0.2.198;branch=z9hG4bK1324923\r\nVia: SIP/2.0/UDP 255", &ours)
        .replace("CSeq: 35 INVITE", &format!("CSeq: {}", invite.header("CSeq")));
    assert_eq!(bench.feed(B, &response).outcome, Outcome::Stray);
    bench.quiet();
}

#[test]
fn t3_3_11_no_hops_left() {
    // "An endpoint should process the request": OPTIONS ends here. A call would be sent on, so it is 483.
    answered(&message("3.3.11-zeromf"), 200);
    answered(text("3.3.11-zeromf").replace("OPTIONS", "INVITE").as_bytes(), 483);
}

/// Where the parameter belongs decides what is bound; there is no registrar that could.
#[test]
fn t3_3_12_to_14_contacts_of_a_registration() {
    for (name, of_header, of_uri, headers) in [
        ("3.3.12-cparam01", true, false, &b""[..]),
        ("3.3.13-cparam02", false, true, b""),
        ("3.3.14-regescrt", false, false, b"Route=%3Csip:sip.example.com%3E"),
    ] {
        let bytes = message(name);
        let request = scan(&bytes).unwrap();
        let contact = request.contact().unwrap();
        let uri = contact.uri().unwrap();
        assert_eq!((contact.params.has("unknownparam"), uri.has_param("unknownparam")), (of_header, of_uri), "{name}");
        assert_eq!(uri.headers, headers, "{name}");
        answered(&bytes, 405);
    }
}

#[test]
fn t3_3_15_an_answer_the_caller_cannot_take() {
    let bytes = message("3.3.15-sdp01");
    assert!(answered(&bytes, 406).header("Accept").contains("application/sdp"));
    let accept = |value: &str| text("3.3.15-sdp01").replace("text/nobodyKnowsThis", value);
    for taken in ["application/sdp", "text/plain, Application/SDP;level=1", "application/*", "*/*;q=0.1"] {
        called(accept(taken).as_bytes());
    }
    // "If empty, no formats are acceptable" (RFC 3261 20.1).
    answered(accept("").as_bytes(), 406);
}

#[test]
fn strangers_get_the_same_refusals_or_none() {
    let stranger = "10.9.8.7:5060";
    for (name, status) in
        [("3.1.2.3-ncl", "SIP/2.0 400"), ("3.3.2-unkscm", "SIP/2.0 403"), ("3.1.2.16-badvers", "SIP/2.0 505")]
    {
        let mut bench = Bench::default();
        feed(&mut bench, stranger, &message(name));
        bench.expect(status);
        let mut silent = crate::support::config();
        silent.reply_unauthorized = false;
        bench.e.set_config(silent);
        feed(&mut bench, stranger, &message(name));
        bench.nothing_left();
        feed(&mut bench, A, &message("3.1.2.3-ncl"));
        bench.expect("SIP/2.0 400");
    }
}
