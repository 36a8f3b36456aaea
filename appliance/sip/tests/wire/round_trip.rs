//! parse(write(m)) == m.

use std::net::SocketAddr;

use proptest::prelude::*;
use tandem_sip::header::{HeaderId, Rport, Transport};
use tandem_sip::message::unfold;
use tandem_sip::method::Method;
use tandem_sip::scan::{StartLine, scan};
use tandem_sip::uri::{NameAddr, Uri};
use tandem_sip::write::Writer;

fn token() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9.!%*_+`'~-]{1,24}"
}

/// A value as it may come from another message or from configuration: anything, line breaks too.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[ -~]{0,60}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..40),
        "[a-z \r\n\t:]{0,30}".prop_map(String::into_bytes),
    ]
}

fn source() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![any::<([u8; 4], u16)>().prop_map(SocketAddr::from), any::<([u16; 8], u16)>().prop_map(SocketAddr::from),]
}

fn trimmed(value: &[u8]) -> Vec<u8> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let unfolded = unfold(value);
    let start = unfolded.iter().position(|byte| !blank(byte)).unwrap_or(unfolded.len());
    let end = unfolded.iter().rposition(|byte| !blank(byte)).map_or(start, |at| at + 1);
    unfolded[start..end].to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_request_reads_back_as_written(
        method in proptest::sample::select(&Method::KNOWN[..]),
        user in "[0-9a-z+*;=?/-]{1,20}",
        call_id in token(), branch in token(), tag in token(),
        number in 0u32..=i32::MAX as u32,
        names in proptest::collection::vec("X-[A-Za-z0-9]{1,10}", 0..12),
        values in proptest::collection::vec(value(), 12),
        from in source(),
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let uri = format!("sip:{user}@example.net:5062;transport=udp");
        let mut buffer = Vec::new();
        let mut writer = Writer::request(&mut buffer, method, uri.as_bytes());
        writer
            .via(Transport::Udp, from, &branch)
            .header_fmt("From", format_args!("\"{tag}\" <sip:a@example.net>;tag={tag}"))
            .header("To", format!("<{uri}>"))
            .header("Call-ID", &call_id)
            .header_fmt("CSeq", format_args!("{number} {method}"));
        for (name, value) in names.iter().zip(&values) {
            writer.header(name, value);
        }
        writer.body("application/octet-stream", &body);

        let message = scan(&buffer).expect("what we write we read");
        let start = StartLine::Request { method, method_raw: method.as_str().as_bytes(), uri: uri.as_bytes() };
        prop_assert_eq!(message.start, start);
        prop_assert_eq!(message.call_id, call_id.as_bytes());
        prop_assert_eq!((message.cseq.number, message.cseq.method), (number, method));
        prop_assert_eq!(message.from_tag, Some(tag.as_bytes()));
        prop_assert_eq!(message.to_tag, None);
        prop_assert_eq!(message.via.branch, Some(branch.as_bytes()));
        prop_assert_eq!(message.via.host().ip(), Some(from.ip()));
        prop_assert_eq!((message.via.port, message.via.rport), (Some(from.port()), Rport::Asked));
        prop_assert_eq!(message.body, &body[..]);
        prop_assert_eq!(message.headers().count(), 7 + names.len(), "no value may add a header");
        let kept: Vec<_> = message.headers().filter(|header| header.id == HeaderId::Other).collect();
        for ((name, value), kept) in names.iter().zip(&values).zip(kept) {
            prop_assert_eq!(kept.name, name.as_bytes());
            prop_assert_eq!(kept.value, &trimmed(value)[..]);
        }
        let to = message.to().expect("written");
        prop_assert_eq!(to.uri().map(|uri| uri.user), Ok(Some(user.as_bytes())));
    }

    #[test]
    fn a_response_matches_its_request(
        status in 100u16..=699,
        tag in proptest::option::of(token()),
        to_tag in proptest::option::of(token()),
        from in source(),
        hops in 1usize..5,
        rport in any::<bool>(),
        comma in any::<bool>(),
    ) {
        let mut request = b"INVITE sip:b@x SIP/2.0\r\n".to_vec();
        for hop in 0..hops {
            let lead = if comma && hop > 0 { ",\r\n " } else if hop > 0 { "\r\nVia: " } else { "Via: " };
            let rport = if rport { ";rport" } else { "" };
            request.extend_from_slice(format!("{lead}SIP/2.0/UDP h{hop}:5070;branch=z9hG4bK{hop}{rport};x=\"a;,b\"").as_bytes());
        }
        let tag_param = tag.as_ref().map_or(String::new(), |tag| format!(";tag={tag}"));
        request.extend_from_slice(format!("\r\nFrom: <sip:a@x>;tag=f\r\nt: \"b, c\" <sip:b@x>{tag_param}\r\ni: c\r\nCSeq: 5 INVITE\r\n\r\n").as_bytes());
        let request = scan(&request).expect("valid");

        let mut buffer = Vec::new();
        Writer::response_to(&mut buffer, &request, status, None, to_tag.as_deref(), from).end();
        let response = scan(&buffer).expect("what we write we read");
        prop_assert_eq!(response.status(), Some(status));
        prop_assert_eq!(response.call_id, request.call_id);
        prop_assert_eq!(response.cseq, request.cseq);
        prop_assert_eq!(response.from_tag, request.from_tag);
        let expected_tag = tag.or(to_tag);
        prop_assert_eq!(response.to_tag, expected_tag.as_ref().map(String::as_bytes));
        let branches: Vec<_> = response.vias().map(|via| via.branch.map(<[u8]>::to_vec)).collect();
        let expected: Vec<_> = (0..hops).map(|hop| Some(format!("z9hG4bK{hop}").into_bytes())).collect();
        prop_assert_eq!(branches, expected);
        prop_assert_eq!(response.via.received_ip(), Some(from.ip().to_canonical()));
        prop_assert_eq!(response.via.rport, if rport { Rport::Port(from.port()) } else { Rport::Absent });
        prop_assert_eq!(response.via.params.get("x"), Some(&b"\"a;,b\""[..]));
    }

    #[test]
    fn a_uri_is_its_parts(
        user in proptest::option::of("[0-9a-z+*;=?/%-]{1,20}"),
        password in proptest::option::of("[0-9a-z&=+$,]{0,8}"),
        host in prop_oneof![
            Just("example.net".to_owned()),
            any::<[u8; 4]>().prop_map(|ip| std::net::Ipv4Addr::from(ip).to_string()),
            any::<[u16; 8]>().prop_map(|ip| format!("[{}]", std::net::Ipv6Addr::from(ip))),
        ],
        port in proptest::option::of(any::<u16>()),
        params in proptest::collection::vec(("[a-z]{1,8}", proptest::option::of("[a-z0-9.:]{1,8}")), 0..5),
        headers in "[a-z=&]{0,10}",
        display in "[a-zA-Z<>,;:\" \\\\]{0,20}",
    ) {
        let mut text = "sip:".to_owned();
        if let Some(user) = &user {
            text += user;
            if let Some(password) = &password {
                text += &format!(":{password}");
            }
            text += "@";
        }
        text += &host;
        if let Some(port) = port {
            text += &format!(":{port}");
        }
        for (name, value) in &params {
            text += &format!(";{name}");
            if let Some(value) = value {
                text += &format!("={value}");
            }
        }
        if !headers.is_empty() {
            text += &format!("?{headers}");
        }
        let quoted = display.replace('\\', "\\\\").replace('"', "\\\"");
        let value = format!("\"{quoted}\" <{text}>;tag=z");
        let addr = NameAddr::parse(value.as_bytes()).expect("valid");
        let shown = addr.display_text().expect("there is one");
        prop_assert_eq!(shown.as_ref(), display.as_bytes());
        prop_assert_eq!(addr.tag(), Some(&b"z"[..]));
        prop_assert_eq!(addr.uri_raw, text.as_bytes());
        let uri = Uri::parse(addr.uri_raw).expect("valid");
        prop_assert_eq!(uri.user, user.as_ref().map(String::as_bytes));
        let expected_password = user.and(password);
        prop_assert_eq!(uri.password, expected_password.as_ref().map(String::as_bytes));
        prop_assert_eq!(uri.host, host.as_bytes());
        prop_assert_eq!(uri.port, port);
        prop_assert_eq!(uri.headers, headers.as_bytes());
        let read: Vec<_> = uri.params.into_iter().collect();
        let expected: Vec<_> = params.iter().map(|(name, value)| (name.as_bytes(), value.as_ref().map(String::as_bytes))).collect();
        prop_assert_eq!(read, expected);
    }
}
