//! The cases of RFC 4475, retold: what a scanner must take, and what it must not. The number in a name is the section.

use crate::corpus::crlf;
use tandem_sip::header::{HeaderId, Transport};
use tandem_sip::message::unfold;
use tandem_sip::method::Method;
use tandem_sip::scan::{Message, ScanError, StartLine, salvage, scan};
use tandem_sip::uri::{NameAddr, Scheme, Uri, UriError, unescape};
use tandem_sip::write::Writer;

fn take(datagram: &[u8]) -> Message<'_> {
    scan(datagram).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(datagram)))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A complete request with one line changed or added, so that a case shows only its point.
fn request(line: &str, extra: &str) -> Vec<u8> {
    let method = line.split(' ').next().unwrap();
    crlf(&format!(
        "{line}\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKt\nFrom: <sip:a@x>;tag=1\nTo: <sip:b@x>\nCall-ID: t@x\n\
         CSeq: 1 {method}\nMax-Forwards: 70\n{extra}\n"
    ))
}

/// The status and label a refused datagram is answered with, and that the answer can be scanned.
fn refused(datagram: &[u8]) -> (ScanError, Option<u16>) {
    let error = scan(datagram).expect_err("must be refused");
    let answer = error.status().filter(|_| salvage(datagram).is_some());
    if let Some(status) = answer {
        let message = salvage(datagram).unwrap();
        let mut buffer = Vec::new();
        Writer::response_to(&mut buffer, &message, status, None, Some("t"), "192.0.2.1:5060".parse().unwrap()).end();
        assert!(buffer.starts_with(format!("SIP/2.0 {status} ").as_bytes()));
        assert!(buffer.ends_with(b"\r\n\r\n"));
    }
    (error, answer)
}

#[test]
fn t3_1_1_1_short_tortuous_invite() {
    let datagram = crlf(concat!(
        "INVITE sip:vivekg@chair-dnrc.example.com;unknownparam SIP/2.0\n",
        "TO :\n sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n\n",
        "from   : \"J Rosenberg \\\\\\\"\"       <sip:jdrosen@example.com>\n  ;\n  tag = 98asjd8\n",
        "MaX-fOrWaRdS: 0068\n",
        "Call-ID: wsinv.ndaksdj@192.0.2.1\n",
        "Content-Length   : 5\n",
        "cseq: 0009\n  INVITE\n",
        "Via  : SIP  /   2.0\n /UDP\n    192.0.2.2;branch=390skdjuw\n",
        "s :\n",
        "NewFangledHeader:   newfangled value\n continued newfangled value\n",
        "UnknownHeaderWithUnusualValue: ;;,,;;,;\n",
        "Content-Type: application/sdp\n",
        "Route:\n <sip:services.example.com;lr;unknownwith=value;unknown-no-value>\n",
        "v:  SIP  / 2.0  / TCP     spindle.example.com   ;\n  branch  =   z9hG4bK9ikj8  ,\n",
        " SIP  /    2.0   / UDP  192.168.255.111   ; branch=\n z9hG4bK30239\n",
        "m:\"Quoted string \\\"\\\"\" <sip:jdrosen@example.com> ; newparam =\n      newvalue ;\n  secondparam ; q = 0.33\n",
        "\n",
        "v=0\n",
    ));
    let message = take(&datagram);
    assert_eq!(message.method(), Method::Invite);
    assert_eq!(message.cseq.number, 9);
    assert_eq!(message.max_forwards(), Some(68));
    assert_eq!(message.to_tag.map(text), Some("1918181833n"));
    assert_eq!(message.from_tag.map(text), Some("98asjd8"));
    let from = message.from().unwrap();
    assert_eq!(from.display_text().unwrap().as_ref(), b"J Rosenberg \\\"");
    assert_eq!(message.via.branch.map(text), Some("390skdjuw"));
    let vias: Vec<_> = message.vias().collect();
    assert_eq!(vias.len(), 3);
    assert_eq!((vias[1].transport, vias[1].branch.map(text)), (Transport::Tcp, Some("z9hG4bK9ikj8")));
    assert_eq!((vias[2].host.to_vec(), vias[2].branch.map(text)), (b"192.168.255.111".to_vec(), Some("z9hG4bK30239")));
    assert_eq!(message.header(HeaderId::Subject), Some(&b""[..]));
    let folded = message.other("newfangledheader").unwrap();
    assert_eq!(unfold(folded).as_ref(), b"newfangled value continued newfangled value");
    assert_eq!(message.other("UnknownHeaderWithUnusualValue"), Some(&b";;,,;;,;"[..]));
    let contact = message.contact().unwrap();
    assert_eq!(contact.param("q").map(text), Some("0.33"));
    assert_eq!(contact.param("newparam").map(text), Some("newvalue"));
    let route = message.name_addrs(HeaderId::Route).next().unwrap();
    assert_eq!(route.uri().unwrap().param("unknownwith").map(text), Some("value"));
    assert_eq!(message.body, b"v=0\r\n");
}

#[test]
fn t3_1_1_2_wide_range_of_characters() {
    let method = "!interesting-Method0123456789_*+`.%indeed'~";
    let mut datagram = crlf(&format!(
        "{method} sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*:&it+has=1,weird!*pas$wo~d_too.(doesn't-it)@example.com SIP/2.0\n\
         Via: SIP/2.0/UDP host1.example.com;branch=z9hG4bK-.!%66*_+`'~\n\
         To: \"BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f\" <sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@example.com>\n\
         From: token1~` token2'+_ token3*%!.- <sip:mundane@example.com>;fromParam''~+*_!.-%=\"r\u{451}\";tag=_token~1'+`*%!-.\n\
         Call-ID: intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}}{{\n\
         CSeq: 139122385 {method}\n\
         Max-Forwards: 255\n\
         extensionHeader-!.%*+_`'~:\u{fffd}\n\n"
    ));
    datagram.truncate(datagram.len());
    let message = take(&datagram);
    assert!(
        matches!(message.start, StartLine::Request { method: Method::Other, method_raw, .. } if method_raw == method.as_bytes())
    );
    assert_eq!(message.via.branch.map(text), Some("z9hG4bK-.!%66*_+`'~"));
    assert_eq!(message.from_tag.map(text), Some("_token~1'+`*%!-."));
    assert_eq!(message.call_id, b"intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{");
    let uri = Uri::parse(message.request_uri().unwrap()).unwrap();
    assert_eq!(uri.user.map(text), Some("1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"));
    assert_eq!(uri.password.map(text), Some("&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"));
    assert_eq!(message.to().unwrap().display_text().unwrap().as_ref(), b"BEL:\x07 NUL:\x00 DEL:\x7f");
    assert_eq!(message.max_forwards(), Some(255));
}

#[test]
fn t3_1_1_3_escapes_in_uris_stay_until_asked_for() {
    let datagram = request("INVITE sip:sips%3Auser%40example.com@example.net SIP/2.0", "");
    let uri = Uri::parse(take(&datagram).request_uri().unwrap()).unwrap();
    assert_eq!((uri.scheme, text(uri.host)), (Scheme::Sip, "example.net"));
    assert_eq!(uri.user.map(text), Some("sips%3Auser%40example.com"));
    assert_eq!(unescape(uri.user.unwrap()).as_ref(), b"sips:user@example.com");
}

#[test]
fn t3_1_1_4_escaped_nulls_are_kept_and_never_dialled() {
    let datagram =
        request("REGISTER sip:null-%00-null@example.com SIP/2.0", "Contact: <sip:%00%00@host5.example.com>\n");
    let message = take(&datagram);
    let uri = Uri::parse(message.request_uri().unwrap()).unwrap();
    assert_eq!(uri.user.map(text), Some("null-%00-null"));
    assert_eq!(uri.dialled().unwrap_err(), UriError::Number);
    assert_eq!(message.contact().unwrap().uri().unwrap().user.map(text), Some("%00%00"));
}

#[test]
fn t3_1_1_5_percent_in_a_method_is_no_escape() {
    let datagram = request("RE%47IST%45R sip:registrar.example.com SIP/2.0", "");
    assert_eq!(take(&datagram).method(), Method::Other);
}

#[test]
fn t3_1_1_6_no_blank_before_the_bracket() {
    let datagram = crlf(
        "OPTIONS sip:user@example.com SIP/2.0\nTo: sip:user@example.com\nFrom: caller<sip:caller@example.com>;tag=323\n\
         Max-Forwards: 70\nCall-ID: lwsdisp.1234abcd@x\nCSeq: 60 OPTIONS\nVia: SIP/2.0/UDP x;branch=z9hG4bKkdjuw\nl: 0\n\n",
    );
    let message = take(&datagram);
    assert_eq!(message.from().unwrap().display_text().unwrap().as_ref(), b"caller");
    assert_eq!(message.from_tag.map(text), Some("323"));
}

#[test]
fn t3_1_1_7_long_values_arrive_whole() {
    let long = "unknown-".repeat(400);
    let mut vias = String::new();
    for hop in 0..34 {
        vias.push_str(&format!("Via: SIP/2.0/TCP sip{hop}.example.com\n"));
    }
    let datagram = request(
        &format!("INVITE sip:user@{}example.com SIP/2.0", "a-".repeat(300)),
        &format!("{vias}Contact: <sip:amazinglylongcallername{}@x>\nX-Long: {long}\n", "z".repeat(700)),
    );
    let message = take(&datagram);
    assert_eq!(message.all(HeaderId::Via).count(), 35);
    assert_eq!(message.other("x-long").map(text), Some(long.as_str()));
}

#[test]
fn t3_1_1_8_bytes_after_content_length_are_another_matter() {
    let mut datagram = request("REGISTER sip:example.com SIP/2.0", "Content-Length: 0\n");
    datagram.extend_from_slice(b"\r\nINVITE sip:joe@example.com SIP/2.0\r\nContent-Length: 150\r\n\r\n");
    let message = take(&datagram);
    assert_eq!(message.method(), Method::Register);
    assert_eq!((message.body, message.content_length), (&b""[..], Some(0)));
}

#[test]
fn t3_1_1_9_semicolon_in_the_user() {
    let datagram = request("OPTIONS sip:user;par=u%40example.net@example.com SIP/2.0", "");
    let uri = Uri::parse(take(&datagram).request_uri().unwrap()).unwrap();
    assert_eq!((uri.user.map(text), text(uri.host)), (Some("user;par=u%40example.net"), "example.com"));
    assert!(!uri.has_param("par"));
}

#[test]
fn t3_1_1_10_and_11_unknown_transports_and_multipart() {
    let datagram = crlf(
        "OPTIONS sip:user@example.com SIP/2.0\nVia: SIP/2.0/UNKNOWN 192.0.2.1;branch=z9hG4bK1\n\
         Via: SIP/2.0/SCTP a;branch=z9hG4bK2\nVia: SIP/2.0/TLS b;branch=z9hG4bK3\nFrom: <sip:a@x>;tag=1\nTo: <sip:b@x>\n\
         Call-ID: t@x\nCSeq: 1 OPTIONS\n\n",
    );
    let message = take(&datagram);
    assert_eq!(message.via.protocol, b"SIP/2.0/UNKNOWN");
    let transports: Vec<_> = message.vias().map(|via| via.transport).collect();
    assert_eq!(transports, [Transport::Other, Transport::Sctp, Transport::Tls]);
}

#[test]
fn t3_1_1_12_unusual_reason_phrases() {
    let phrase = "= 2**3 * 5**2 \u{43d}\u{43e} \u{441}\u{442}\u{43e}";
    let tail = "\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\nFrom: <sip:a@x>;tag=1\nTo: <sip:b@x>;tag=2\nCall-ID: t@x\nCSeq: 1 BYE\n\n";
    let datagram = crlf(&format!("SIP/2.0 200 {phrase}{tail}"));
    assert!(
        matches!(take(&datagram).start, StartLine::Response { status: 200, reason } if reason == phrase.as_bytes())
    );
    for line in ["SIP/2.0 100 ", "SIP/2.0 100"] {
        let datagram = crlf(&format!("{line}{tail}"));
        assert!(matches!(take(&datagram).start, StartLine::Response { status: 100, reason: b"" }));
    }
}

#[test]
fn t3_1_2_1_separators_without_parameters() {
    let datagram = request("INVITE sip:user@example.com SIP/2.0", "Contact: \"Joe\" <sip:joe@x>;;;;\n");
    let message = take(&datagram);
    assert_eq!(message.contact().unwrap().params.into_iter().count(), 0);
}

#[test]
fn t3_1_2_2_and_3_content_length_larger_or_negative() {
    // On UDP the length past the end is the work of a NAT helper (signalling section 6.4): the datagram's end counts.
    let mut larger = request("INVITE sip:user@example.com SIP/2.0", "Content-Length: 9999\n");
    larger.extend_from_slice(b"v=0\r\n");
    assert_eq!(take(&larger).body, b"v=0\r\n");
    for value in ["-999", "0x10", "1 2", "", "99999999999999999999"] {
        let datagram = request("INVITE sip:user@example.com SIP/2.0", &format!("Content-Length: {value}\n"));
        assert_eq!(refused(&datagram), (ScanError::ContentLength, Some(400)), "{value}");
    }
    let twice = request("INVITE sip:user@example.com SIP/2.0", "Content-Length: 0\nl: 00\n");
    assert_eq!(take(&twice).content_length, Some(0));
    let differing = request("INVITE sip:user@example.com SIP/2.0", "Content-Length: 0\nl: 4\n");
    assert_eq!(refused(&differing), (ScanError::ContentLength, Some(400)));
}

#[test]
fn t3_1_2_4_overlarge_numbers() {
    let cseq = String::from_utf8(request("REGISTER sip:example.com SIP/2.0", ""))
        .unwrap()
        .replace("CSeq: 1 ", "CSeq: 36893488147419103232 ");
    assert_eq!(refused(cseq.as_bytes()), (ScanError::CSeq, Some(400)));
    let datagram =
        request("INVITE sip:x SIP/2.0", "Expires: 10000000000000\nRetry-After: 949302838503028349304023988\n");
    let message = take(&datagram);
    assert_eq!(message.expires(), Some(u32::MAX));
    assert_eq!(message.retry_after().unwrap().seconds, u32::MAX);
}

#[test]
fn t3_1_2_5_overlarge_numbers_in_responses_are_dropped() {
    let datagram = crlf(
        "SIP/2.0 503 Service Unavailable\nVia: SIP/2.0/TCP x;branch=z9hG4bK1\nFrom: <sip:a@x>;tag=1\nTo: <sip:b@x>;tag=2\n\
         Call-ID: t@x\nCSeq: 9292394834772304023312 OPTIONS\n\n",
    );
    assert_eq!(refused(&datagram), (ScanError::CSeq, None));
}

#[test]
fn t3_1_2_6_unterminated_quote() {
    let datagram =
        String::from_utf8(request("INVITE sip:x SIP/2.0", "")).unwrap().replace("<sip:b@x>", "\"Mr. J. User <sip:b@x>");
    assert_eq!(refused(datagram.as_bytes()), (ScanError::To, Some(400)));
}

#[test]
fn t3_1_2_7_to_10_request_lines_out_of_shape() {
    for line in [
        "INVITE <sip:user@example.com> SIP/2.0",
        "INVITE sip:user@example.com; lr SIP/2.0",
        "INVITE sip:user@exa mple.com SIP/2.0",
    ] {
        assert_eq!(refused(&request(line, "")), (ScanError::RequestLine, Some(400)), "{line}");
    }
    // More blanks than one, or at the end, leave no doubt about the three parts.
    for line in ["INVITE  sip:user@example.com  SIP/2.0", "OPTIONS sip:user@example.com SIP/2.0  "] {
        assert_eq!(take(&request(line, "")).request_uri().map(text), Some("sip:user@example.com"), "{line}");
    }
}

#[test]
fn t3_1_2_11_uri_with_headers_without_brackets() {
    let addr = NameAddr::parse(b"sip:user@example.com?Route=%3Csip:example.com%3E").unwrap();
    assert_eq!(addr.uri().unwrap().headers, b"Route=%3Csip:example.com%3E");
}

#[test]
fn t3_1_2_12_invalid_dates_are_nobodys_business_here() {
    let datagram = request("INVITE sip:x SIP/2.0", "Date: Fri, 01 Jan 2010 16:00:00 EST\n");
    let message = take(&datagram);
    assert_eq!(message.all(HeaderId::Date).count(), 1, "a date holds a comma and is one value");
}

#[test]
fn t3_1_2_13_to_15_names_that_should_have_been_quoted() {
    let datagram = String::from_utf8(request("INVITE sip:x SIP/2.0", ""))
        .unwrap()
        .replace("<sip:a@x>", "Bell, Alexander <sip:a@x>");
    let message = take(datagram.as_bytes());
    assert_eq!(message.from().unwrap().display.map(text), Some("Bell, Alexander"));
    assert_eq!(message.from_tag.map(text), Some("1"));
}

#[test]
fn t3_1_2_16_unknown_version() {
    assert_eq!(refused(&request("OPTIONS sip:t@example.com SIP/7.0", "")), (ScanError::Version, Some(505)));
    assert_eq!(refused(&request("OPTIONS sip:t@example.com SIP/2.00", "")), (ScanError::Version, Some(505)));
    assert_eq!(take(&request("OPTIONS sip:t@example.com sip/2.0", "")).method(), Method::Options);
    let response = crlf(
        "SIP/7.0 200 OK\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\nFrom: <sip:a@x>;tag=1\nTo: <sip:b@x>\nCall-ID: t\nCSeq: 1 BYE\n\n",
    );
    assert_eq!(refused(&response), (ScanError::Version, None));
}

#[test]
fn t3_1_2_17_and_18_method_mismatch() {
    for (method, other) in [("OPTIONS", "INVITE"), ("NEWMETHOD", "INVITE"), ("NEWMETHOD", "OTHERMETHOD")] {
        let datagram = String::from_utf8(request(&format!("{method} sip:x SIP/2.0"), "")).unwrap();
        let datagram = datagram.replace(&format!("CSeq: 1 {method}"), &format!("CSeq: 8 {other}"));
        assert_eq!(refused(datagram.as_bytes()), (ScanError::CSeqMethod, Some(400)));
    }
}

#[test]
fn t3_1_2_19_status_out_of_range() {
    for status in ["4294967301", "99", "700", "20", "2000", "0200", "-20", "2x0", ""] {
        let datagram = crlf(&format!(
            "SIP/2.0 {status} better not\nVia: SIP/2.0/UDP x;branch=z9hG4bK1\nFrom: <sip:a@x>;tag=1\nTo: <sip:b@x>\nCall-ID: t\nCSeq: 1 BYE\n\n"
        ));
        assert_eq!(refused(&datagram), (ScanError::StatusLine, None), "{status}");
    }
}

#[test]
fn t3_3_1_missing_headers() {
    let whole = String::from_utf8(request("INVITE sip:x SIP/2.0", "")).unwrap();
    for (name, answer) in
        [("Via:", None), ("From:", Some(400)), ("To:", Some(400)), ("Call-ID:", Some(400)), ("CSeq:", None)]
    {
        let without: String = whole.split_inclusive('\n').filter(|line| !line.starts_with(name)).collect();
        // Without a Via there is no way back, without a CSeq nobody to match the answer.
        assert_eq!(refused(without.as_bytes()), (ScanError::Missing, answer), "{name}");
    }
}

#[test]
fn t3_3_2_and_4_unknown_schemes_are_the_business_of_routing() {
    for uri in ["nobodyKnowsThisScheme:totallyopaquecontent", "soap.beep://192.0.2.103:3002", "http://example.com"] {
        let datagram = request(&format!("OPTIONS {uri} SIP/2.0"), "");
        assert_eq!(Uri::parse(take(&datagram).request_uri().unwrap()).unwrap().scheme, Scheme::Other);
    }
}

#[test]
fn t3_3_8_single_headers_twice() {
    for line in ["From: <sip:x@x>;tag=2", "t: <sip:y@x>", "i: second", "CSeq: 1 INVITE"] {
        assert_eq!(
            refused(&request("INVITE sip:x SIP/2.0", &format!("{line}\n"))),
            (ScanError::Duplicate, Some(400)),
            "{line}"
        );
    }
}

#[test]
fn t3_4_1_invite_of_rfc_2543() {
    let datagram = crlf(
        "INVITE sip:UserB@example.com SIP/2.0\nVia: SIP/2.0/UDP iftgw.example.com\nFrom: <sip:+13035551111@ift.client.example.net;user=phone>\n\
         Record-Route: <sip:UserB@example.com;maddr=ss1.example.com>\nTo: sip:+16505552222@ss1.example.net;user=phone\n\
         Call-ID: inv2543.1717@ift.client.example.com\nCSeq: 56 INVITE\nContent-Type: application/sdp\n\nv=0\n",
    );
    let message = take(&datagram);
    assert_eq!((message.via.branch, message.from_tag, message.to_tag), (None, None, None));
    assert_eq!((message.max_forwards(), message.content_length), (None, None));
    assert_eq!(message.body, b"v=0\r\n");
    assert_eq!(message.from().unwrap().uri().unwrap().dialled().unwrap().number(), "13035551111");
    assert_eq!(message.to().unwrap().param("user").map(text), Some("phone"));
}

#[test]
fn noise_is_dropped() {
    for noise in [
        "HELLO\n",
        "GET / HTTP/1.1\nHost: x\n\n",
        "INVITE\n",
        "INVITE sip:x\n",
        "IN<VITE sip:x SIP/2.0\nVia: SIP/2.0/UDP h\nCSeq: 1 IN<VITE\n\n",
        "\n\n\n\n\n",
        "hello world",
        "SIP/2.0\n",
        "x y SIP\n",
    ] {
        let (error, answer) = refused(&crlf(noise));
        assert!(matches!(error, ScanError::NotSip | ScanError::StatusLine), "{noise}: {error}");
        assert_eq!(answer, None);
    }
}

#[test]
fn broken_header_lines_are_answered() {
    for (line, error) in [
        ("no colon here", ScanError::HeaderLine),
        (": no name", ScanError::HeaderLine),
        ("two words: x", ScanError::HeaderLine),
        ("N\u{e4}me: x", ScanError::HeaderLine),
        (&format!("X: {}", "y".repeat(9000)), ScanError::LineTooLong),
        (&"X: y\n".repeat(96), ScanError::TooManyHeaders),
    ] {
        assert_eq!(refused(&request("OPTIONS sip:x SIP/2.0", &format!("{line}\n"))), (error, Some(400)));
    }
    let mut cut = request("OPTIONS sip:x SIP/2.0", "Subject: half a li");
    cut.truncate(cut.len() - 2);
    assert_eq!(refused(&cut), (ScanError::Truncated, Some(400)));
    // Cut behind a line, before the empty one.
    cut.extend(b"ne\r\n");
    assert_eq!(refused(&cut), (ScanError::Truncated, Some(400)));
    cut.extend(b"\r");
    assert_eq!(refused(&cut), (ScanError::Truncated, Some(400)));
    cut.extend(b"\n");
    assert!(scan(&cut).is_ok());
    let broken_via =
        String::from_utf8(request("OPTIONS sip:x SIP/2.0", "")).unwrap().replace("192.0.2.1", "192.0.2.1:x");
    assert_eq!(refused(broken_via.as_bytes()), (ScanError::Via, None));
}

/// Our tag, or `received`, would stand inside the quote for the next one who reads it.
#[test]
fn a_parameter_with_an_open_quote_is_refused() {
    let whole = String::from_utf8(request("INVITE sip:x SIP/2.0", "")).unwrap();
    for (from, to, error, answer) in [
        ("To: <sip:b@x>", "To: <sip:b@x>;p=\"open", ScanError::To, Some(400)),
        ("To: <sip:b@x>", "To: <sip:b@x>;p=\"open\\\"", ScanError::To, Some(400)),
        (";tag=1", ";tag=1;p=\"a\"\"", ScanError::From, Some(400)),
        (";branch=z9hG4bKt", ";branch=z9hG4\"bKt", ScanError::Via, None),
    ] {
        let text = whole.replace(from, to);
        assert_ne!(text, whole);
        assert_eq!(refused(text.as_bytes()), (error, answer), "{to}");
    }
    let closed = whole.replace(";tag=1", ";tag=1;p=\"a;\\\"b\"");
    assert_eq!(take(closed.as_bytes()).from().unwrap().param("p").map(text), Some("\"a;\\\"b\""));
}

#[test]
fn a_broken_ack_is_never_answered() {
    assert_eq!(refused(&request("ACK sip:x SIP/2.0", "Content-Length: -1\n")), (ScanError::ContentLength, None));
}

#[test]
fn as_many_headers_as_fit_are_taken() {
    let datagram = request("OPTIONS sip:x SIP/2.0", &"X: y\n".repeat(90));
    assert_eq!(take(&datagram).headers().count(), 96);
}
