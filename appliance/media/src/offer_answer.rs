//! RFC 3264 on two legs through the relay: what one leg said, rewritten for the other one (media.md 3 and M-D4).
//!
//! Each leg has a [`LegSdp`]: our session towards that leg, with its own `o=` line, whose version goes up by one with
//! every change. What is rewritten: `o=`, `c=`, the port of the relayed stream, `a=rtcp`. What is taken out: ICE
//! (`a=candidate`, `a=ice-*`, we answer as non-ICE) and `a=group:BUNDLE` with `a=bundle-only` (one port carries one
//! stream here). Everything else passes in order.
//!
//! The lease of a call is two ports, one per leg, so exactly one stream is relayed: the first audio stream over RTP or
//! SRTP. Every other m-line is offered and answered with port 0, which RFC 3264 6 calls rejected.

use std::net::IpAddr;

use tandem_ebpf_abi::{PT_REWRITES_MAX, PtRewrite};

use crate::sdp::{MediaDescription, Sdp, attribute, push_line};

/// `TANDEM_RTCP_MODE` (media.md M-D4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RtcpMode {
    /// RTP and RTCP on one local port.
    #[default]
    Mux,
    /// RTCP on the next local port. Needs leases of four ports, which come with a later issue.
    Pair,
    /// No `a=rtcp`, RTCP ignored.
    Drop,
}

/// Our media address for one leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalMedia {
    /// Address written into `c=` and `o=`.
    pub ip: IpAddr,
    /// Leased port.
    pub port: u16,
    /// What is done with RTCP.
    pub rtcp: RtcpMode,
}

/// Payload type numbers of one direction that change on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PtMap {
    pairs: [PtRewrite; PT_REWRITES_MAX],
    count: u8,
}

impl PtMap {
    /// Nothing changes.
    pub const IDENTITY: PtMap = PtMap { pairs: [PtRewrite { from: 0, to: 0 }; PT_REWRITES_MAX], count: 0 };

    /// The pairs in use.
    pub fn pairs(&self) -> &[PtRewrite] {
        &self.pairs[..usize::from(self.count)]
    }

    /// The array as a flow value holds it, and how much of it is in use.
    pub fn parts(&self) -> ([PtRewrite; PT_REWRITES_MAX], u8) {
        (self.pairs, self.count)
    }

    /// The map of these pairs; more than [`PT_REWRITES_MAX`] are left out.
    pub fn from_pairs(pairs: &[PtRewrite]) -> PtMap {
        let mut map = PtMap::IDENTITY;
        pairs.iter().for_each(|pair| map.push(pair.from, pair.to));
        map
    }

    /// The other direction.
    pub fn inverse(&self) -> PtMap {
        let mut back = PtMap::IDENTITY;
        for pair in self.pairs() {
            back.push(pair.to, pair.from);
        }
        back
    }

    /// What `payload_type` becomes.
    pub fn apply(&self, payload_type: u8) -> u8 {
        self.pairs().iter().find(|p| p.from == payload_type).map_or(payload_type, |p| p.to)
    }

    /// Adds a pair; without effect when it changes nothing, or when [`PT_REWRITES_MAX`] pairs are there.
    fn push(&mut self, from: u8, to: u8) {
        let at = usize::from(self.count);
        if from != to && at < PT_REWRITES_MAX {
            self.pairs[at] = PtRewrite { from, to };
            self.count += 1;
        }
    }
}

/// Payload types whose number differs between two descriptions of the same stream, matched by encoding (RFC 3264 6.1).
///
/// Where the same number means the same encoding in both, it stays. Encodings that only one side has are left alone. At
/// most [`PT_REWRITES_MAX`] pairs; when two numbers would fall together the result is the identity.
pub fn pt_map(from: &MediaDescription, to: &MediaDescription) -> PtMap {
    let mut map = PtMap::IDENTITY;
    let mut taken = [false; 128];
    for codec in &from.codecs {
        let same_number = to.codecs.iter().any(|c| c.payload_type == codec.payload_type && c.same_encoding(codec));
        let target = if same_number {
            codec.payload_type
        } else {
            to.codecs
                .iter()
                .find(|c| c.same_encoding(codec) && !taken[usize::from(c.payload_type & 0x7f)])
                .map_or(codec.payload_type, |c| c.payload_type)
        };
        let slot = &mut taken[usize::from(target & 0x7f)];
        if *slot {
            return PtMap::IDENTITY;
        }
        *slot = true;
        map.push(codec.payload_type, target);
    }
    map
}

/// A description made for one leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Produced {
    /// The text to send.
    pub body: Vec<u8>,
    /// Index of the relayed m-line; `None` when no stream can be relayed (488 for an initial offer, nothing to relay
    /// when all streams were turned off).
    pub stream: Option<usize>,
    /// False when the body is byte for byte the one sent before, `o=` version included.
    pub changed: bool,
    /// Payload types of packets that go from the leg which wrote the description to the leg it was made for.
    pub pt: PtMap,
}

/// Our SDP session towards one leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegSdp {
    session_id: u64,
    version: u64,
    sent: Vec<u8>,
}

impl LegSdp {
    /// A session with an id that no other live session of this node has, e.g. from the clock and a counter (RFC 8866
    /// 5.2).
    pub fn new(session_id: u64) -> LegSdp {
        LegSdp { session_id, version: session_id, sent: Vec::new() }
    }

    /// A session that goes on: `sent` is what this leg was told last, by an earlier life of this switch.
    pub fn resume(session_id: u64, version: u64, sent: Vec<u8>) -> LegSdp {
        LegSdp { session_id, version, sent }
    }

    /// Session id and version of our `o=` line.
    pub fn origin(&self) -> (u64, u64) {
        (self.session_id, self.version)
    }

    /// What was sent to this leg last; empty when nothing was.
    pub fn sent(&self) -> &[u8] {
        &self.sent
    }

    /// The offer for this leg out of the offer `remote` of the other leg.
    ///
    /// `a=rtcp-mux` is offered when `remote` offered it. Call it also for a re-INVITE: ports and session stay.
    pub fn offer(&mut self, remote: &Sdp, local: &LocalMedia) -> Produced {
        let stream = remote.relayable_audio().map(|(i, _)| i);
        let keep_mux = stream.is_some_and(|i| remote.media()[i].rtcp_mux);
        let changed = self.send(|out, origin| {
            write_session(out, remote, local, origin);
            for (i, media) in remote.media().iter().enumerate() {
                if Some(i) == stream {
                    write_relayed(out, remote, media, local, keep_mux, &PtMap::IDENTITY);
                } else {
                    write_rejected(out, remote, media);
                }
            }
        });
        Produced { body: self.sent.clone(), stream, changed, pt: PtMap::IDENTITY }
    }

    /// The answer for this leg, which sent `offer`, out of the answer `remote` of the other leg.
    ///
    /// Has one m-line for every m-line of `offer`, in its order (RFC 3264 6), whatever `remote` made of it. Payload
    /// types that `remote` numbered differently get the numbers of `offer` back, and [`Produced::pt`] says which; its
    /// inverse is for the packets of the other direction. `a=rtcp-mux` is answered when `offer` had it, whatever the
    /// other leg does: each leg has its own port.
    pub fn answer(&mut self, offer: &Sdp, remote: &Sdp, local: &LocalMedia) -> Produced {
        // The stream that was relayed is the one the offer to the other leg carried; it counts only if answered.
        let stream =
            offer.relayable_audio().map(|(i, _)| i).filter(|i| remote.media().get(*i).is_some_and(|m| m.relayable()));
        let (keep_mux, pt) = stream.map_or((false, PtMap::IDENTITY), |i| {
            let offered = &offer.media()[i];
            (offered.rtcp_mux, pt_map(&remote.media()[i], offered))
        });
        let changed = self.send(|out, origin| {
            write_session(out, remote, local, origin);
            for (i, offered) in offer.media().iter().enumerate() {
                match remote.media().get(i) {
                    Some(media) if Some(i) == stream => {
                        write_relayed(out, remote, media, local, keep_mux, &pt);
                    }
                    _ => write_rejected(out, offer, offered),
                }
            }
        });
        Produced { body: self.sent.clone(), stream, changed, pt }
    }

    /// Writes a body with the current version; with the next one when it differs from what was sent before.
    fn send(&mut self, write: impl Fn(&mut Vec<u8>, (u64, u64))) -> bool {
        let mut body = Vec::with_capacity(self.sent.len().max(512));
        write(&mut body, (self.session_id, self.version));
        if body == self.sent {
            return false;
        }
        if !self.sent.is_empty() {
            self.version += 1;
            body.clear();
            write(&mut body, (self.session_id, self.version));
        }
        self.sent = body;
        true
    }
}

/// True when `new` is `old` again, line by line and with the same `o=` version.
///
/// Such an offer is a refresh; it is answered from the last answer, the other leg hears nothing (signalling.md 9). The
/// version alone is not trusted: phones exist that move and forget to count.
pub fn same_description(old: &Sdp, new: &Sdp) -> bool {
    old.lines().eq(new.lines())
}

fn write_session(out: &mut Vec<u8>, remote: &Sdp, local: &LocalMedia, origin: (u64, u64)) {
    let own_origin = |out: &mut Vec<u8>| {
        let value = format!("- {} {} {}", origin.0, origin.1, net_address(local.ip));
        push_line(out, b'o', value.as_bytes());
    };
    let has_origin = remote.session_lines().any(|(kind, _)| kind == b'o');
    for (kind, value) in remote.session_lines() {
        match kind {
            b'v' => {
                push_line(out, kind, value);
                if !has_origin {
                    own_origin(out);
                }
            }
            b'o' => own_origin(out),
            b'c' => push_line(out, kind, net_address(local.ip).as_bytes()),
            b'a' if taken_out(value) => {}
            _ => push_line(out, kind, value),
        }
    }
}

fn write_relayed(
    out: &mut Vec<u8>,
    remote: &Sdp,
    media: &MediaDescription,
    local: &LocalMedia,
    keep_mux: bool,
    pt: &PtMap,
) {
    let address = net_address(local.ip);
    // Hold by 0.0.0.0 would vanish with the rewritten address: it becomes a=inactive (signalling.md 9).
    let old_hold = media.null_address();
    let mut c_due = remote.host().is_none();
    for (at, (kind, value)) in remote.section(media).enumerate() {
        if c_due && at > 0 && kind != b'i' {
            push_line(out, b'c', address.as_bytes());
            c_due = false;
        }
        match kind {
            b'm' => push_line(out, b'm', &m_line(value, local.port, pt)),
            b'c' if remote.host().is_none() => {}
            b'c' => push_line(out, b'c', address.as_bytes()),
            b'a' => {
                let (name, _) = attribute(value);
                let own = matches!(name, b"rtcp" | b"rtcp-mux" | b"rtcp-mux-only");
                let direction = matches!(name, b"sendrecv" | b"sendonly" | b"recvonly" | b"inactive");
                let gone = own || taken_out(value) || (old_hold && direction);
                if !gone {
                    push_line(out, b'a', &renumbered(value, pt));
                }
            }
            _ => push_line(out, kind, value),
        }
    }
    if c_due {
        push_line(out, b'c', address.as_bytes());
    }
    if old_hold {
        push_line(out, b'a', b"inactive");
    }
    match local.rtcp {
        RtcpMode::Mux => {
            push_line(out, b'a', format!("rtcp:{}", local.port).as_bytes());
            if keep_mux {
                push_line(out, b'a', b"rtcp-mux");
            }
        }
        RtcpMode::Pair => {
            let port = local.port.saturating_add(1);
            push_line(out, b'a', format!("rtcp:{port}").as_bytes());
        }
        RtcpMode::Drop => {}
    }
}

/// A stream that is not relayed: port 0 and its formats, nothing that tells where it would have gone.
fn write_rejected(out: &mut Vec<u8>, source: &Sdp, media: &MediaDescription) {
    for (kind, value) in source.section(media) {
        match kind {
            b'm' => push_line(out, b'm', &m_line(value, 0, &PtMap::IDENTITY)),
            // The m-line keeps its name in a=group lines of the session (RFC 5888).
            b'a' if attribute(value).0 == b"mid" => push_line(out, b'a', value),
            _ => {}
        }
    }
}

/// The m-line with another port and renumbered formats. Other blanks and words stay.
fn m_line(value: &[u8], port: u16, pt: &PtMap) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + 2);
    for (at, word) in crate::sdp::words(value).enumerate() {
        if at > 0 {
            out.push(b' ');
        }
        match at {
            1 => out.extend_from_slice(port.to_string().as_bytes()),
            0 | 2 => out.extend_from_slice(word),
            _ => out.extend_from_slice(&renumbered_word(word, pt)),
        }
    }
    out
}

/// `rtpmap:`, `fmtp:` and `rtcp-fb:` begin with a payload type; it follows the m-line.
fn renumbered(value: &[u8], pt: &PtMap) -> Vec<u8> {
    let (name, rest) = attribute(value);
    if pt.pairs().is_empty() || !matches!(name, b"rtpmap" | b"fmtp" | b"rtcp-fb") {
        return value.to_vec();
    }
    let end = rest.iter().position(|b| *b == b' ').unwrap_or(rest.len());
    let mut out = name.to_vec();
    out.push(b':');
    out.extend_from_slice(&renumbered_word(&rest[..end], pt));
    out.extend_from_slice(&rest[end..]);
    out
}

fn renumbered_word(word: &[u8], pt: &PtMap) -> Vec<u8> {
    let number = std::str::from_utf8(word).ok().and_then(|w| w.parse::<u8>().ok());
    match number {
        Some(n) if pt.apply(n) != n => pt.apply(n).to_string().into_bytes(),
        _ => word.to_vec(),
    }
}

fn taken_out(value: &[u8]) -> bool {
    let (name, rest) = attribute(value);
    name.starts_with(b"ice-")
        || matches!(name, b"candidate" | b"remote-candidates" | b"end-of-candidates" | b"bundle-only")
        || (name == b"group" && rest.starts_with(b"BUNDLE"))
}

fn net_address(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("IN IP4 {ip}"),
        IpAddr::V6(ip) => format!("IN IP6 {ip}"),
    }
}
