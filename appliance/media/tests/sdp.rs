//! Text to description and back: what is kept, what is understood, what is refused and with which sentence.

use proptest::prelude::*;
use tandem_media::sdp::{Direction, Host, MediaKind, Proto, SDP_BYTES_MAX, SDP_MEDIA_MAX, Sdp, SdpError};

const OFFER: &str = "v=0\r\n\
o=alice 2890844526 7 IN IP4 198.51.100.10\r\n\
s=A call \u{e9}\r\n\
c=IN IP4 198.51.100.10\r\n\
b=AS:84\r\n\
t=0 0\r\n\
x=unknown to everybody\r\n\
a=tool:odd  spaces \r\n\
m=audio 49170 RTP/AVP 8 0 18 101\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
a=fmtp:101 0-16\r\n\
a=fmtp:18 annexb=no\r\n\
a=ptime:20\r\n\
a=rtcp:49171 IN IP4 198.51.100.11\r\n\
a=x-vendor:1;2;3\r\n\
a=sendonly\r\n\
m=video 51372 RTP/AVP 99\r\n\
c=IN IP6 2001:db8::5\r\n\
a=rtpmap:99 h264/90000\r\n\
a=rtcp-mux\r\n";

fn rewrite(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Sdp::parse(text).unwrap().write(&mut out);
    out
}

#[test]
fn every_line_comes_back_in_order_with_its_bytes() {
    assert_eq!(rewrite(OFFER.as_bytes()), OFFER.as_bytes());
}

#[test]
fn bytes_that_are_no_utf8_survive() {
    let text = b"v=0\r\ns=caf\xe9\r\na=x:\xff\xfe\r\n";
    assert_eq!(rewrite(text), text);
}

#[test]
fn line_feeds_alone_and_blank_lines_are_accepted() {
    let lf = OFFER.replace("\r\n", "\n") + "\n\n";
    assert_eq!(rewrite(lf.as_bytes()), OFFER.as_bytes());
}

#[test]
fn what_the_relay_needs_is_understood() {
    let sdp: Sdp = OFFER.parse().unwrap();
    assert_eq!(sdp.origin_version(), Some((2890844526, 7)));
    assert_eq!(sdp.media().len(), 2);
    let audio = &sdp.media()[0];
    assert_eq!(audio.kind, MediaKind::Audio);
    assert_eq!(audio.proto, Proto::Rtp);
    assert_eq!(audio.address().unwrap().to_string(), "198.51.100.10:49170");
    assert_eq!(audio.direction, Direction::SendOnly);
    assert_eq!(audio.rtcp, Some((49171, Some("198.51.100.11".parse().unwrap()))));
    assert!(!audio.rtcp_mux);
    assert_eq!(audio.ptime_ms, Some(20));
    let names: Vec<_> = audio.codecs.iter().map(|c| (c.payload_type, c.name.as_str(), c.clock_hz)).collect();
    assert_eq!(names, [(8, "PCMA", 8000), (0, "PCMU", 8000), (18, "G729", 8000), (101, "telephone-event", 8000)]);
    assert_eq!(audio.codecs[2].fmtp.as_deref(), Some("annexb=no"));
    let video = &sdp.media()[1];
    assert_eq!(video.host, Some(Host::Ip("2001:db8::5".parse().unwrap())), "media level wins");
    assert!(video.rtcp_mux);
    assert_eq!(sdp.relayable_audio().unwrap().0, 0);
}

#[test]
fn session_direction_holds_until_a_stream_says_otherwise() {
    let sdp: Sdp = "v=0\na=inactive\nm=audio 1 RTP/AVP 0\nm=audio 2 RTP/AVP 0\na=sendrecv\n".parse().unwrap();
    assert_eq!(sdp.media()[0].direction, Direction::Inactive);
    assert_eq!(sdp.media()[1].direction, Direction::SendRecv);
}

#[test]
fn the_old_hold_counts_as_inactive() {
    let sdp: Sdp = "v=0\nc=IN IP4 0.0.0.0\nm=audio 4000 RTP/AVP 0\n".parse().unwrap();
    let audio = &sdp.media()[0];
    assert_eq!(audio.address(), None);
    assert!(audio.on_hold());
    assert_eq!(audio.effective_direction(), Direction::Inactive);
}

#[test]
fn absurd_values_are_named() {
    for (text, sentence) in [
        ("v=0\nm=audio 99999 RTP/AVP 0", r#"SDP line 2: port "99999" is not a port number from 0 to 65535"#),
        ("v=0\nm=audio -1 RTP/AVP 0", r#"SDP line 2: port "-1" is not a port number from 0 to 65535"#),
        ("v=0\nm=audio 4000 RTP/AVP 200", r#"SDP line 2: payload type "200" is not a number from 0 to 127"#),
        ("v=0\nm=audio 4000 RTP/AVP -8", r#"SDP line 2: payload type "-8" is not a number from 0 to 127"#),
        ("v=0\nm=audio 4000/0 RTP/AVP 8", r#"SDP line 2: number of ports "0" is not from 1 to 128"#),
        ("v=0\nm=audio 4000 RTP/AVP", r#"SDP line 2: list of formats "" is not at least one format"#),
        ("v=0\nm=audio 4000 RTP/AVP 96\na=rtpmap:96 X/0", r#"SDP line 3: clock rate "0" is not from 1 to 768000 Hz"#),
        (
            "v=0\nm=audio 4000 RTP/AVP 96\na=rtpmap:96 X/4294967296",
            r#"SDP line 3: clock rate "4294967296" is not from 1 to 768000 Hz"#,
        ),
        (
            "v=0\nm=audio 4000 RTP/AVP 96\na=rtpmap:960 X/8000",
            r#"SDP line 3: payload type "960" is not a number from 0 to 127"#,
        ),
        (
            "v=0\nm=audio 4000 RTP/AVP 0\na=rtcp:70000",
            r#"SDP line 3: RTCP port "70000" is not a port number from 0 to 65535"#,
        ),
        (
            "v=0\nm=audio 4000 RTP/AVP 0\na=ptime:99999999999999999999",
            r#"SDP line 3: ptime "99999999999999999999" is not from 1 to 1000 ms"#,
        ),
        ("v=0\nc=IN IP4 999.1.1.1", r#"SDP line 2: address "999.1.1.1" is not an IP address or a name"#),
        ("v=0\nc=IN IP4 2001:db8::1", r#"SDP line 2: address "2001:db8::1" is not of the address type before it"#),
        ("v=0\nc=IN IP9 1.2.3.4", r#"SDP line 2: address type "IP9" is not IP4 or IP6"#),
        ("v=0\nm=audio", r#"SDP line 2 is "audio": m= needs media, port, transport and formats"#),
        ("v=0\nhello", r#"SDP line 2 is "hello": a line is a letter, '=' and a value"#),
        ("m=audio 1 RTP/AVP 0", r#"SDP line 1 is "audio 1 RTP/AVP 0": a description starts with v=0"#),
        ("", "SDP is empty"),
    ] {
        let error = Sdp::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), sentence, "{text:?}");
    }
}

#[test]
fn there_is_a_limit_to_everything() {
    let long = vec![b'v'; SDP_BYTES_MAX + 1];
    assert!(matches!(Sdp::parse(&long), Err(SdpError::TooMany { what: "bytes", .. })));
    let streams = "v=0\n".to_owned() + &"m=audio 1 RTP/AVP 0\n".repeat(SDP_MEDIA_MAX + 1);
    assert!(matches!(streams.parse::<Sdp>(), Err(SdpError::TooMany { what: "m-lines", have: 17, max: 16 })));
    let formats = "v=0\nm=audio 1 RTP/AVP".to_owned() + &" 8".repeat(129);
    assert!(matches!(formats.parse::<Sdp>(), Err(SdpError::TooMany { what: "formats", .. })));
    let lines = "v=0\n".to_owned() + &"a=b\n".repeat(1000);
    assert!(matches!(lines.parse::<Sdp>(), Err(SdpError::TooMany { what: "lines", .. })));
}

proptest! {
    #[test]
    fn bytes_from_outside_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Sdp::parse(&bytes);
    }

    #[test]
    fn damaged_descriptions_never_panic_and_what_is_read_is_stable(
        cut in 0..OFFER.len(), at in 0..OFFER.len(), byte: u8,
    ) {
        let mut bytes = OFFER.as_bytes()[..cut].to_vec();
        if let Some(b) = bytes.get_mut(at) { *b = byte; }
        if let Ok(sdp) = Sdp::parse(&bytes) {
            let mut once = Vec::new();
            sdp.write(&mut once);
            let again = Sdp::parse(&once).unwrap();
            let mut twice = Vec::new();
            again.write(&mut twice);
            prop_assert_eq!(once, twice);
            prop_assert_eq!(sdp.media(), again.media());
        }
    }
}
