//! Session descriptions: one is read and written again; two make an offer and an answer through the relay.
//!
//! The input is one description, or two with the byte 0x1e between them: offer and answer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tandem_media::offer_answer::{LegSdp, LocalMedia, RtcpMode, pt_map, same_description};
use tandem_media::sdp::{SDP_FORMATS_MAX, SDP_LINES_MAX, SDP_MEDIA_MAX, Sdp};

const SEPARATOR: u8 = 0x1e;
const PORT: u16 = 10_002;

/// One description or two.
pub fn run(text: &[u8]) {
    let mut parts = text.splitn(2, |byte| *byte == SEPARATOR);
    let first = parts.next().and_then(read);
    let second = parts.next().and_then(read);
    let Some(offer) = first else { return };
    let answer = second.unwrap_or_else(|| offer.clone());
    for ip in [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        for rtcp in [RtcpMode::Mux, RtcpMode::Drop] {
            exchange(&offer, &answer, &LocalMedia { ip, port: PORT, rtcp });
        }
    }
}

/// Reads a description, and what it writes of it.
fn read(text: &[u8]) -> Option<Sdp> {
    let sdp = Sdp::parse(text).ok()?;
    assert!(sdp.lines().count() <= SDP_LINES_MAX && sdp.media().len() <= SDP_MEDIA_MAX);
    let mut written = Vec::new();
    sdp.write(&mut written);
    let again = Sdp::parse(&written).expect("what was read can be written");
    assert!(same_description(&sdp, &again), "writing changed a line");
    assert_eq!(sdp.media().len(), again.media().len());
    for (media, copy) in sdp.media().iter().zip(again.media()) {
        assert_eq!((media.port, media.kind, media.proto), (copy.port, copy.kind, copy.proto));
        assert_eq!((&media.codecs, &media.host, media.direction), (&copy.codecs, &copy.host, copy.direction));
        assert!(media.codecs.len() <= SDP_FORMATS_MAX && media.codecs.iter().all(|codec| codec.payload_type < 128));
        assert!(media.address().is_none_or(|address| !address.ip().is_unspecified() && address.port() != 0));
        let _ = (media.on_hold(), media.main_codec(), media.relayable());
    }
    let _ = (sdp.origin(), sdp.origin_version(), sdp.host());
    Some(sdp)
}

/// The offer goes to the other leg, its answer comes back.
fn exchange(offer: &Sdp, answer: &Sdp, local: &LocalMedia) {
    let (mut to_callee, mut to_caller) = (LegSdp::new(1), LegSdp::new(7));
    let offered = to_callee.offer(offer, local);
    ours(&offered.body, offered.stream, offer.media().len(), local);
    assert!(offered.changed && !to_callee.offer(offer, local).changed, "the same offer is the same");
    let answered = to_caller.answer(offer, answer, local);
    ours(&answered.body, answered.stream, offer.media().len(), local);
    let back = answered.pt.inverse();
    for pair in answered.pt.pairs() {
        assert_eq!((answered.pt.apply(pair.from), back.apply(pair.to)), (pair.to, pair.from), "there and back");
    }
    assert!((0..128).all(|payload_type| answered.pt.apply(payload_type) < 128));
    if let (Some(one), Some(other)) = (offer.media().first(), answer.media().first()) {
        assert!(pt_map(one, other).pairs().iter().all(|pair| pair.from != pair.to));
    }
}

/// What we send can be read, names our address alone, and relays at most one stream.
fn ours(body: &[u8], stream: Option<usize>, streams: usize, local: &LocalMedia) {
    let sdp = Sdp::parse(body).unwrap_or_else(|error| panic!("{error} in what we made:\n{}", body.escape_ascii()));
    assert_eq!(sdp.media().len(), streams, "an answer has a line for every line of the offer");
    for (index, media) in sdp.media().iter().enumerate() {
        if Some(index) == stream {
            assert_eq!(media.port, local.port);
            assert_eq!(media.address().map(|address| address.ip()), Some(local.ip), "media goes to us");
        } else {
            assert_eq!(media.port, 0, "only one stream is relayed");
        }
    }
}
