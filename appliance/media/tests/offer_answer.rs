//! Offers and answers on their way through the relay: what the other leg gets to see.

use tandem_media::offer_answer::{LegSdp, LocalMedia, PtMap, RtcpMode, pt_map, same_description};
use tandem_media::sdp::{Direction, Sdp};

const LOCAL_A: LocalMedia =
    LocalMedia { ip: std::net::IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1)), port: 10_000, rtcp: RtcpMode::Mux };
const LOCAL_B: LocalMedia = LocalMedia { port: 10_002, ..LOCAL_A };

fn sdp(text: &str) -> Sdp {
    text.parse().unwrap()
}

fn text(body: &[u8]) -> String {
    String::from_utf8(body.to_vec()).unwrap().replace("\r\n", "\n")
}

const OFFER: &str = "v=0\n\
o=alice 1 1 IN IP4 198.51.100.10\n\
s=-\n\
c=IN IP4 198.51.100.10\n\
t=0 0\n\
a=ice-lite\n\
a=group:BUNDLE 0 1\n\
a=x-session:kept\n\
m=audio 4000 RTP/AVP 8 0 101\n\
a=rtpmap:101 telephone-event/8000\n\
a=fmtp:101 0-16\n\
a=candidate:1 1 UDP 1 198.51.100.10 4000 typ host\n\
a=ice-ufrag:abcd\n\
a=ice-pwd:secret\n\
a=rtcp:4009\n\
a=x-kept:yes\n\
a=ptime:20\n";

#[test]
fn an_offer_shows_only_our_address_and_keeps_the_rest() {
    let made = LegSdp::new(77).offer(&sdp(OFFER), &LOCAL_B);
    assert_eq!(
        text(&made.body),
        "v=0\n\
o=- 77 77 IN IP4 203.0.113.1\n\
s=-\n\
c=IN IP4 203.0.113.1\n\
t=0 0\n\
a=x-session:kept\n\
m=audio 10002 RTP/AVP 8 0 101\n\
a=rtpmap:101 telephone-event/8000\n\
a=fmtp:101 0-16\n\
a=x-kept:yes\n\
a=ptime:20\n\
a=rtcp:10002\n"
    );
    assert_eq!(made.stream, Some(0));
    assert_eq!(made.pt, PtMap::IDENTITY);
    assert!(made.changed);
}

#[test]
fn the_version_counts_changes_only() {
    let mut leg = LegSdp::new(5);
    let version = |body: &[u8]| sdp(&text(body)).origin_version().unwrap();
    let first = leg.offer(&sdp(OFFER), &LOCAL_B);
    assert_eq!(version(&first.body), (5, 5));
    // The same again, from a leg that only counted its own version: nothing changes for this one.
    let again = leg.offer(&sdp(&OFFER.replace("alice 1 1", "alice 1 2")), &LOCAL_B);
    assert!(!again.changed);
    assert_eq!(again.body, first.body);
    let held = leg.offer(&sdp(&(OFFER.to_owned() + "a=sendonly\n")), &LOCAL_B);
    assert!(held.changed);
    assert_eq!(version(&held.body), (5, 6));
    assert!(text(&held.body).contains("a=sendonly\n"));
    let resumed = leg.offer(&sdp(OFFER), &LOCAL_B);
    assert_eq!(version(&resumed.body), (5, 7));
}

#[test]
fn mux_is_offered_and_answered_when_the_peer_offered_it() {
    let with_mux = sdp(&(OFFER.to_owned() + "a=rtcp-mux\n"));
    let made = LegSdp::new(1).offer(&with_mux, &LOCAL_B);
    assert!(text(&made.body).ends_with("a=rtcp:10002\na=rtcp-mux\n"));
    // B does not speak it. A still gets it: the port towards A carries both.
    let answer = sdp("v=0\no=b 1 1 IN IP4 192.0.2.10\ns=-\nc=IN IP4 192.0.2.10\nt=0 0\nm=audio 6000 RTP/AVP 8\n");
    let back = LegSdp::new(2).answer(&with_mux, &answer, &LOCAL_A);
    assert!(text(&back.body).ends_with("a=rtcp:10000\na=rtcp-mux\n"));
    let back = LegSdp::new(2).answer(&sdp(OFFER), &answer, &LOCAL_A);
    assert!(text(&back.body).ends_with("m=audio 10000 RTP/AVP 8\na=rtcp:10000\n"));
    let quiet = LocalMedia { rtcp: RtcpMode::Drop, ..LOCAL_A };
    let back = LegSdp::new(2).answer(&with_mux, &answer, &quiet);
    assert!(!text(&back.body).contains("rtcp"));
}

#[test]
fn further_streams_are_rejected_in_their_place() {
    let offer = sdp("v=0\no=a 1 1 IN IP4 10.0.0.1\ns=-\nt=0 0\n\
m=video 5000 RTP/AVP 99\nc=IN IP4 10.0.0.1\na=rtpmap:99 H264/90000\na=mid:v\n\
m=audio 5002 RTP/AVP 8\nc=IN IP4 10.0.0.1\n\
m=audio 5004 RTP/AVP 0\nc=IN IP4 10.0.0.1\n\
m=image 5006 udptl t38\nc=IN IP4 10.0.0.1\n");
    let made = LegSdp::new(1).offer(&offer, &LOCAL_B);
    assert_eq!(made.stream, Some(1));
    assert_eq!(
        text(&made.body),
        "v=0\no=- 1 1 IN IP4 203.0.113.1\ns=-\nt=0 0\n\
m=video 0 RTP/AVP 99\na=mid:v\n\
m=audio 10002 RTP/AVP 8\nc=IN IP4 203.0.113.1\na=rtcp:10002\n\
m=audio 0 RTP/AVP 0\n\
m=image 0 udptl t38\n"
    );
    // B answers two of the four m-lines, against RFC 3264 6: A gets all four.
    let answer = sdp("v=0\no=b 1 1 IN IP4 192.0.2.10\ns=-\nc=IN IP4 192.0.2.10\nt=0 0\n\
m=video 0 RTP/AVP 99\nm=audio 6000 RTP/AVP 8\n");
    let back = LegSdp::new(2).answer(&offer, &answer, &LOCAL_A);
    assert_eq!(
        text(&back.body),
        "v=0\no=- 2 2 IN IP4 203.0.113.1\ns=-\nc=IN IP4 203.0.113.1\nt=0 0\n\
m=video 0 RTP/AVP 99\na=mid:v\n\
m=audio 10000 RTP/AVP 8\nc=IN IP4 203.0.113.1\na=rtcp:10000\n\
m=audio 0 RTP/AVP 0\n\
m=image 0 udptl t38\n"
            .replace("RTP/AVP 8\nc=IN IP4 203.0.113.1\n", "RTP/AVP 8\n")
    );
}

#[test]
fn a_refused_stream_is_mirrored() {
    let answer = sdp("v=0\nc=IN IP4 192.0.2.10\nm=audio 0 RTP/AVP 8\n");
    let back = LegSdp::new(2).answer(&sdp(OFFER), &answer, &LOCAL_A);
    assert_eq!(back.stream, None);
    assert!(text(&back.body).ends_with("m=audio 0 RTP/AVP 8 0 101\n"));
    let off = LegSdp::new(3).offer(&answer, &LOCAL_B);
    assert_eq!(off.stream, None);
}

#[test]
fn hold_passes_and_the_old_hold_becomes_inactive() {
    let old = sdp("v=0\nc=IN IP4 0.0.0.0\nm=audio 4000 RTP/AVP 8\na=sendrecv\n");
    let made = LegSdp::new(1).offer(&old, &LOCAL_B);
    let seen = sdp(&text(&made.body));
    assert_eq!(seen.media()[0].direction, Direction::Inactive);
    assert_eq!(seen.media()[0].address().unwrap().to_string(), "203.0.113.1:10002");
    assert!(!text(&made.body).contains("sendrecv"));
}

#[test]
fn an_answer_with_other_numbers_is_numbered_back() {
    let offer = sdp("v=0\nc=IN IP4 1.1.1.1\nm=audio 4000 RTP/AVP 96 8 101\n\
a=rtpmap:96 iLBC/8000\na=rtpmap:101 telephone-event/8000\n");
    let answer = sdp("v=0\nc=IN IP4 2.2.2.2\nm=audio 6000 RTP/AVP 8 97 98\n\
a=rtpmap:97 ILBC/8000\na=fmtp:97 mode=30\na=rtpmap:98 telephone-event/8000\na=fmtp:98 0-15\n");
    let back = LegSdp::new(1).answer(&offer, &answer, &LOCAL_A);
    let lines = text(&back.body);
    assert!(lines.contains("m=audio 10000 RTP/AVP 8 96 101\n"), "{lines}");
    assert!(lines.contains("a=rtpmap:96 ILBC/8000\na=fmtp:96 mode=30\n"), "{lines}");
    assert!(lines.contains("a=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\n"), "{lines}");
    let b_to_a: Vec<_> = back.pt.pairs().iter().map(|p| (p.from, p.to)).collect();
    assert_eq!(b_to_a, [(97, 96), (98, 101)]);
    assert_eq!(back.pt.inverse().apply(101), 98);
    assert_eq!(back.pt.apply(8), 8);
}

#[test]
fn numbers_that_change_places_are_swapped_and_never_collide() {
    let one = sdp("v=0\nm=audio 1 RTP/AVP 96 97\na=rtpmap:96 A/8000\na=rtpmap:97 B/8000\n");
    let two = sdp("v=0\nm=audio 1 RTP/AVP 96 97\na=rtpmap:96 B/8000\na=rtpmap:97 A/8000\n");
    let map = pt_map(&one.media()[0], &two.media()[0]);
    assert_eq!((map.apply(96), map.apply(97)), (97, 96));
    // 96 would become 97, but 97 means something else that has no other number: leave both.
    let three = sdp("v=0\nm=audio 1 RTP/AVP 97\na=rtpmap:97 A/8000\n");
    assert_eq!(pt_map(&one.media()[0], &three.media()[0]), PtMap::IDENTITY);
}

#[test]
fn ipv4_becomes_ipv6_when_that_leg_speaks_it() {
    let local = LocalMedia { ip: "2001:db8::1".parse().unwrap(), ..LOCAL_B };
    let made = LegSdp::new(9).offer(&sdp(OFFER), &local);
    let lines = text(&made.body);
    assert!(lines.contains("o=- 9 9 IN IP6 2001:db8::1\n") && lines.contains("c=IN IP6 2001:db8::1\n"));
}

#[test]
fn a_description_without_any_address_gets_ours() {
    let bare = sdp("v=0\nm=audio 4000 RTP/AVP 8\ni=title\na=x\n");
    let made = LegSdp::new(9).offer(&bare, &LOCAL_B);
    assert_eq!(
        text(&made.body),
        "v=0\no=- 9 9 IN IP4 203.0.113.1\nm=audio 10002 RTP/AVP 8\ni=title\nc=IN IP4 203.0.113.1\na=x\na=rtcp:10002\n"
    );
}

#[test]
fn a_refresh_is_told_from_a_change() {
    let old = sdp(OFFER);
    assert!(same_description(&old, &sdp(&OFFER.replace('\n', "\r\n"))));
    // A phone that moved and forgot to count must be believed; one that counted means something by it.
    for (from, to) in [("m=audio 4000", "m=audio 4002"), ("a=x-kept:yes", "a=sendonly"), ("alice 1 1", "alice 1 2")] {
        assert!(!same_description(&old, &sdp(&OFFER.replace(from, to))), "{to}");
    }
}
