//! SDP text <-> description (RFC 8866). Liberal in what it reads: LF alone, missing lines, unknown lines and attributes
//! pass, and are written back in order with exactly their bytes. Strict where a wrong number would reach a socket.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Largest description, bytes. Real ones have 200-3,000; what does not fit into a UDP datagram cannot come anyway.
pub const SDP_BYTES_MAX: usize = 16_384;
/// Most lines. WebRTC offers reach some hundreds.
pub const SDP_LINES_MAX: usize = 1_000;
/// Most m-lines.
pub const SDP_MEDIA_MAX: usize = 16;
/// Most formats of one m-line: there are 128 payload types.
pub const SDP_FORMATS_MAX: usize = 128;
/// Longest packet time, ms. One second of audio in a packet is a mistake or an attack on a jitter buffer.
pub const PTIME_MS_MAX: u16 = 1_000;
/// Fastest RTP clock, Hz. The fastest registered audio clock is 192 kHz, video has 90 kHz.
pub const CLOCK_HZ_MAX: u32 = 768_000;

/// What is wrong with a description. The sentence names line and value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// Nothing there.
    #[error("SDP is empty")]
    Empty,
    /// More bytes, lines or streams than [`SDP_BYTES_MAX`] and its like.
    #[error("SDP has {have} {what}, at most {max} are accepted")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many came.
        have: usize,
        /// The bound.
        max: usize,
    },
    /// Not of the form `x=value`, or no `v=` at the start.
    #[error("SDP line {line} is {text:?}: {expected}")]
    BadLine {
        /// Line number from 1.
        line: usize,
        /// Its first bytes, made printable.
        text: String,
        /// What should be there.
        expected: &'static str,
    },
    /// A number, address or word outside its range.
    #[error("SDP line {line}: {what} {value:?} is not {expected}")]
    BadValue {
        /// Line number from 1.
        line: usize,
        /// Name of the field.
        what: &'static str,
        /// As it was written, cut to 40 characters.
        value: String,
        /// The allowed range.
        expected: &'static str,
    },
}

/// First word of an m-line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// `audio`
    Audio,
    /// `video`
    Video,
    /// `image` (T.38)
    Image,
    /// `text`, `message`, `application` and whatever comes.
    Other,
}

/// Transport of an m-line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proto {
    /// `RTP/AVP`, `RTP/AVPF`
    Rtp,
    /// `RTP/SAVP`, `RTP/SAVPF` with keys in the SDP (RFC 4568)
    Srtp,
    /// `UDP/TLS/RTP/...`: keys by DTLS
    DtlsSrtp,
    /// `udptl` (T.38)
    Udptl,
    /// Anything else.
    Other,
}

/// `a=sendrecv` and its like, seen from who wrote the description (RFC 3264 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Direction {
    /// Sends and receives; also when nothing is written.
    #[default]
    SendRecv,
    /// Only sends: the other party is on hold.
    SendOnly,
    /// Only receives.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// As written after `a=`.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }

    /// True when the writer wants to get packets.
    pub fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    fn parse(attribute: &[u8]) -> Option<Direction> {
        Some(match attribute {
            b"sendrecv" => Direction::SendRecv,
            b"sendonly" => Direction::SendOnly,
            b"recvonly" => Direction::RecvOnly,
            b"inactive" => Direction::Inactive,
            _ => return None,
        })
    }
}

/// Host of a `c=` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A name. It is never resolved here: such a party is only reached by latching.
    Name,
}

/// One format with what `a=rtpmap` (or the static table of RFC 3551) says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Codec {
    /// Payload type, 0-127.
    pub payload_type: u8,
    /// Encoding name as written; empty when unknown.
    pub name: String,
    /// RTP clock, Hz; 0 when unknown.
    pub clock_hz: u32,
    /// Channels.
    pub channels: u8,
    /// Value of `a=fmtp` without the payload type.
    pub fmtp: Option<String>,
}

impl Codec {
    /// Same encoding under whatever number: name (case-insensitive), clock and channels (RFC 8866 6.6).
    pub fn same_encoding(&self, other: &Codec) -> bool {
        !self.name.is_empty()
            && self.name.eq_ignore_ascii_case(&other.name)
            && self.clock_hz == other.clock_hz
            && self.channels == other.channels
    }

    /// True for RFC 4733 events.
    pub fn is_telephone_event(&self) -> bool {
        self.name.eq_ignore_ascii_case("telephone-event")
    }
}

/// One m-line with what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaDescription {
    /// First word.
    pub kind: MediaKind,
    /// Port; 0 = refused or turned off.
    pub port: u16,
    /// Transport.
    pub proto: Proto,
    /// RTP formats in order of preference; empty for other transports.
    pub codecs: Vec<Codec>,
    /// `c=` of the stream, else that of the session.
    pub host: Option<Host>,
    /// Direction of the stream, else that of the session.
    pub direction: Direction,
    /// `a=rtcp` (RFC 3605): port and, when given, address.
    pub rtcp: Option<(u16, Option<IpAddr>)>,
    /// `a=rtcp-mux` (RFC 5761).
    pub rtcp_mux: bool,
    /// `a=ptime`, ms.
    pub ptime_ms: Option<u16>,
    /// Line of the m= in the text, from 0.
    pub(crate) first_line: usize,
    /// One past the last line of the section.
    pub(crate) end_line: usize,
}

impl MediaDescription {
    /// Where the writer wants RTP: `None` without a numeric address, for 0.0.0.0 and for port 0.
    pub fn address(&self) -> Option<SocketAddr> {
        match self.host {
            Some(Host::Ip(ip)) if !ip.is_unspecified() && self.port != 0 => Some(SocketAddr::new(ip, self.port)),
            _ => None,
        }
    }

    /// True for `c=0.0.0.0` (or `::`), the hold of RFC 2543.
    pub fn null_address(&self) -> bool {
        matches!(self.host, Some(Host::Ip(ip)) if ip.is_unspecified())
    }

    /// What the writer does, the old hold included: `c=0.0.0.0` counts as inactive (signalling.md 9).
    pub fn effective_direction(&self) -> Direction {
        if self.null_address() { Direction::Inactive } else { self.direction }
    }

    /// True when the writer puts the other party on hold or is held itself: the interruption timers stop (media.md 5).
    pub fn on_hold(&self) -> bool {
        self.effective_direction() != Direction::SendRecv
    }

    /// An audio stream that the relay can carry: RTP or SRTP with keys in the SDP.
    pub fn relayable(&self) -> bool {
        self.kind == MediaKind::Audio && matches!(self.proto, Proto::Rtp | Proto::Srtp) && self.port != 0
    }

    /// First codec that is not telephone-event or comfort noise: what the audio will be.
    pub fn main_codec(&self) -> Option<&Codec> {
        self.codecs.iter().find(|c| !c.is_telephone_event() && !c.name.eq_ignore_ascii_case("CN"))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    kind: u8,
    start: u32,
    end: u32,
}

/// A description: its text, and what was understood of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Sdp {
    text: Vec<u8>,
    lines: Vec<Line>,
    media: Vec<MediaDescription>,
    host: Option<Host>,
}

impl Sdp {
    /// Reads a description. Bound: [`SDP_BYTES_MAX`], [`SDP_LINES_MAX`], [`SDP_MEDIA_MAX`].
    ///
    /// # Errors
    /// [`SdpError`] naming line and value. Unknown lines, attributes and an unreadable `o=` or `t=` are not errors.
    pub fn parse(text: &[u8]) -> Result<Sdp, SdpError> {
        at_most("bytes", text.len(), SDP_BYTES_MAX)?;
        let lines = split_lines(text)?;
        let Some(first) = lines.first() else {
            return Err(SdpError::Empty);
        };
        if first.kind != b'v' {
            return Err(SdpError::BadLine {
                line: 1,
                text: shown(value_of(text, first)),
                expected: "a description starts with v=0",
            });
        }
        let mut sdp = Sdp { text: text.to_vec(), lines, media: Vec::new(), host: None };
        sdp.understand()?;
        // Kept for as long as the call.
        sdp.lines.shrink_to_fit();
        sdp.media.shrink_to_fit();
        Ok(sdp)
    }

    /// Writes the text: the lines as they came, each ended by CRLF.
    pub fn write(&self, out: &mut Vec<u8>) {
        for (kind, value) in self.lines() {
            push_line(out, kind, value);
        }
    }

    /// The lines in order: letter and value.
    pub fn lines(&self) -> impl Iterator<Item = (u8, &[u8])> {
        self.lines.iter().map(|l| (l.kind, value_of(&self.text, l)))
    }

    /// The m-lines in order.
    pub fn media(&self) -> &[MediaDescription] {
        &self.media
    }

    /// First audio stream the relay can carry (its index), see [`MediaDescription::relayable`].
    pub fn relayable_audio(&self) -> Option<(usize, &MediaDescription)> {
        self.media.iter().enumerate().find(|(_, m)| m.relayable())
    }

    /// `c=` of the session.
    pub fn host(&self) -> Option<&Host> {
        self.host.as_ref()
    }

    /// Fields of `o=`: username, session id, version, nettype, addrtype, address; as many as were written.
    pub fn origin(&self) -> Option<Vec<&[u8]>> {
        let line = self.lines.iter().find(|l| l.kind == b'o')?;
        Some(words(value_of(&self.text, line)).collect())
    }

    /// Session id and version of `o=`, for telling a refresh from a change. `None` when they are not numbers.
    pub fn origin_version(&self) -> Option<(u64, u64)> {
        let origin = self.origin()?;
        let number = |i: usize| -> Option<u64> { std::str::from_utf8(origin.get(i)?).ok()?.parse().ok() };
        Some((number(1)?, number(2)?))
    }

    pub(crate) fn session_lines(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let end = self.media.first().map_or(self.lines.len(), |m| m.first_line);
        self.lines().take(end)
    }

    pub(crate) fn section(&self, media: &MediaDescription) -> impl Iterator<Item = (u8, &[u8])> {
        self.lines().skip(media.first_line).take(media.end_line - media.first_line)
    }

    fn understand(&mut self) -> Result<(), SdpError> {
        let mut host = None;
        let mut direction = Direction::default();
        let mut media: Vec<MediaDescription> = Vec::new();
        for (at, line) in self.lines.iter().enumerate() {
            let value = value_of(&self.text, line);
            let number = at + 1;
            match (line.kind, media.last_mut()) {
                (b'm', _) => {
                    at_most("m-lines", media.len() + 1, SDP_MEDIA_MAX)?;
                    if let Some(before) = media.last_mut() {
                        before.end_line = at;
                    }
                    let mut stream = parse_m_line(value, number)?;
                    stream.first_line = at;
                    stream.end_line = self.lines.len();
                    stream.host.clone_from(&host);
                    stream.direction = direction;
                    media.push(stream);
                }
                (b'c', None) => host = Some(parse_host(value, number)?),
                (b'c', Some(stream)) => stream.host = Some(parse_host(value, number)?),
                (b'a', None) => {
                    if let Some(d) = Direction::parse(value) {
                        direction = d;
                    }
                }
                (b'a', Some(stream)) => parse_attribute(stream, value, number)?,
                _ => {}
            }
        }
        self.host = host;
        self.media = media;
        Ok(())
    }
}

impl FromStr for Sdp {
    type Err = SdpError;

    fn from_str(s: &str) -> Result<Sdp, SdpError> {
        Sdp::parse(s.as_bytes())
    }
}

impl fmt::Debug for Sdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sdp({:?})", String::from_utf8_lossy(&self.text))
    }
}

/// Appends one line.
pub(crate) fn push_line(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    out.extend_from_slice(&[kind, b'=']);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The words of a value, separated by any number of blanks.
pub(crate) fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b' ' || *b == b'\t').filter(|w| !w.is_empty())
}

/// Splits `name:value` of an attribute.
pub(crate) fn attribute(value: &[u8]) -> (&[u8], &[u8]) {
    match value.iter().position(|b| *b == b':') {
        Some(colon) => (&value[..colon], &value[colon + 1..]),
        None => (value, b""),
    }
}

fn at_most(what: &'static str, have: usize, max: usize) -> Result<(), SdpError> {
    if have > max {
        return Err(SdpError::TooMany { what, have, max });
    }
    Ok(())
}

fn value_of<'a>(text: &'a [u8], line: &Line) -> &'a [u8] {
    &text[line.start as usize..line.end as usize]
}

/// At most 40 characters of outside bytes, for an error message.
fn shown(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(40)];
    String::from_utf8_lossy(cut).into_owned()
}

fn split_lines(text: &[u8]) -> Result<Vec<Line>, SdpError> {
    let mut lines = Vec::with_capacity(24);
    let mut at = 0;
    while at < text.len() {
        let len = memchr::memchr(b'\n', &text[at..]).unwrap_or(text.len() - at);
        let mut end = at + len;
        let next = end + 1;
        while end > at && text[end - 1] == b'\r' {
            end -= 1;
        }
        if end > at {
            at_most("lines", lines.len() + 1, SDP_LINES_MAX)?;
            let bytes = &text[at..end];
            if bytes.len() < 2 || bytes[1] != b'=' || !bytes[0].is_ascii_alphabetic() {
                return Err(SdpError::BadLine {
                    line: lines.len() + 1,
                    text: shown(bytes),
                    expected: "a line is a letter, '=' and a value",
                });
            }
            // Within SDP_BYTES_MAX, so 32 bits are enough.
            lines.push(Line { kind: bytes[0], start: (at + 2) as u32, end: end as u32 });
        }
        at = next;
    }
    Ok(lines)
}

fn bad(line: usize, what: &'static str, value: &[u8], expected: &'static str) -> SdpError {
    SdpError::BadValue { line, what, value: shown(value), expected }
}

fn parse_number(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() || bytes.len() > 19 || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(bytes.iter().fold(0, |n: u64, b| n * 10 + u64::from(b - b'0')))
}

fn parse_port(line: usize, what: &'static str, bytes: &[u8]) -> Result<u16, SdpError> {
    parse_number(bytes)
        .and_then(|n| u16::try_from(n).ok())
        .ok_or_else(|| bad(line, what, bytes, "a port number from 0 to 65535"))
}

fn parse_payload_type(line: usize, bytes: &[u8]) -> Result<u8, SdpError> {
    parse_number(bytes)
        .filter(|n| *n <= 127)
        .map(|n| n as u8)
        .ok_or_else(|| bad(line, "payload type", bytes, "a number from 0 to 127"))
}

fn parse_m_line(value: &[u8], line: usize) -> Result<MediaDescription, SdpError> {
    let mut fields = words(value);
    let (Some(kind), Some(port), Some(proto)) = (fields.next(), fields.next(), fields.next()) else {
        return Err(SdpError::BadLine {
            line,
            text: shown(value),
            expected: "m= needs media, port, transport and formats",
        });
    };
    // "m=audio 49170/2": a count of port pairs; only the first pair is ever used.
    let mut port_and_count = port.splitn(2, |b| *b == b'/');
    let port = parse_port(line, "port", port_and_count.next().unwrap_or_default())?;
    if let Some(count) = port_and_count.next()
        && parse_number(count).is_none_or(|n| n == 0 || n > 128)
    {
        return Err(bad(line, "number of ports", count, "from 1 to 128"));
    }
    let proto = match proto.to_ascii_uppercase().as_slice() {
        b"RTP/AVP" | b"RTP/AVPF" => Proto::Rtp,
        b"RTP/SAVP" | b"RTP/SAVPF" => Proto::Srtp,
        b"UDP/TLS/RTP/SAVP" | b"UDP/TLS/RTP/SAVPF" => Proto::DtlsSrtp,
        b"UDPTL" => Proto::Udptl,
        _ => Proto::Other,
    };
    let mut codecs = Vec::new();
    if matches!(proto, Proto::Rtp | Proto::Srtp | Proto::DtlsSrtp) {
        for format in fields {
            at_most("formats", codecs.len() + 1, SDP_FORMATS_MAX)?;
            codecs.push(static_codec(parse_payload_type(line, format)?));
        }
        if codecs.is_empty() {
            return Err(bad(line, "list of formats", b"", "at least one format"));
        }
    }
    Ok(MediaDescription {
        kind: match kind {
            b"audio" => MediaKind::Audio,
            b"video" => MediaKind::Video,
            b"image" => MediaKind::Image,
            _ => MediaKind::Other,
        },
        port,
        proto,
        codecs,
        host: None,
        direction: Direction::default(),
        rtcp: None,
        rtcp_mux: false,
        ptime_ms: None,
        first_line: 0,
        end_line: 0,
    })
}

fn parse_host(value: &[u8], line: usize) -> Result<Host, SdpError> {
    let fields: Vec<&[u8]> = words(value).take(4).collect();
    let [net, family, host, ..] = fields[..] else {
        return Err(SdpError::BadLine {
            line,
            text: shown(value),
            expected: "c= needs IN, IP4 or IP6, and an address",
        });
    };
    if !net.eq_ignore_ascii_case(b"IN") {
        return Err(bad(line, "network type", net, "IN"));
    }
    // "224.2.1.1/127/3": TTL and number of addresses of multicast.
    let host = host.split(|b| *b == b'/').next().unwrap_or_default();
    let ip = std::str::from_utf8(host).ok().and_then(|s| s.parse::<IpAddr>().ok());
    let v4 = family.eq_ignore_ascii_case(b"IP4");
    let v6 = family.eq_ignore_ascii_case(b"IP6");
    match ip {
        _ if !v4 && !v6 => Err(bad(line, "address type", family, "IP4 or IP6")),
        Some(ip) if ip.is_ipv4() == v4 => Ok(Host::Ip(ip)),
        Some(_) => Err(bad(line, "address", host, "of the address type before it")),
        // "999.1.1.1" is a mistyped address and no name: names do not end in a number (RFC 1123 2.1).
        None if looks_numeric(host) => Err(bad(line, "address", host, "an IP address or a name")),
        None => Ok(Host::Name),
    }
}

fn looks_numeric(host: &[u8]) -> bool {
    let last = host.rsplit(|b| *b == b'.').next().unwrap_or_default();
    host.is_empty() || host.contains(&b':') || last.iter().all(u8::is_ascii_digit)
}

fn parse_attribute(stream: &mut MediaDescription, value: &[u8], line: usize) -> Result<(), SdpError> {
    let (name, rest) = attribute(value);
    match name {
        b"rtpmap" => parse_rtpmap(stream, rest, line),
        b"fmtp" => parse_fmtp(stream, rest, line),
        b"rtcp" => {
            let fields: Vec<&[u8]> = words(rest).take(5).collect();
            let port = parse_port(line, "RTCP port", fields.first().copied().unwrap_or_default())?;
            let ip = fields.get(3).and_then(|h| std::str::from_utf8(h).ok()?.parse().ok());
            // Port 0 would mean "no RTCP"; nobody specified that, so it counts as not given.
            stream.rtcp = (port != 0).then_some((port, ip));
            Ok(())
        }
        b"rtcp-mux" => {
            stream.rtcp_mux = true;
            Ok(())
        }
        b"ptime" => {
            // RFC 8866 6.4 allows "2.5"; whole milliseconds are enough for a policer.
            let whole = rest.split(|b| *b == b'.').next().unwrap_or_default();
            let ptime = parse_number(whole.trim_ascii())
                .filter(|ms| *ms <= u64::from(PTIME_MS_MAX))
                .ok_or_else(|| bad(line, "ptime", rest, "from 1 to 1000 ms"))?;
            stream.ptime_ms = (ptime != 0).then_some(ptime as u16);
            Ok(())
        }
        _ => {
            if let Some(direction) = Direction::parse(value) {
                stream.direction = direction;
            }
            Ok(())
        }
    }
}

/// `<payload type> <encoding>/<clock>[/<channels>]`. For a payload type that the m-line does not list it is ignored.
fn parse_rtpmap(stream: &mut MediaDescription, rest: &[u8], line: usize) -> Result<(), SdpError> {
    if stream.codecs.is_empty() {
        return Ok(());
    }
    let mut fields = words(rest);
    let payload_type = parse_payload_type(line, fields.next().unwrap_or_default())?;
    let encoding = fields.next().unwrap_or_default();
    let mut parts = encoding.split(|b| *b == b'/');
    let name = parts.next().unwrap_or_default();
    let clock = parts.next().unwrap_or_default();
    let clock_hz = parse_number(clock)
        .filter(|hz| (1..=u64::from(CLOCK_HZ_MAX)).contains(hz))
        .ok_or_else(|| bad(line, "clock rate", clock, "from 1 to 768000 Hz"))? as u32;
    let channels = match parts.next() {
        None | Some(b"") => 1,
        Some(text) => parse_number(text)
            .filter(|n| (1..=255).contains(n))
            .ok_or_else(|| bad(line, "number of channels", text, "from 1 to 255"))? as u8,
    };
    if let Some(codec) = codec_mut(stream, payload_type) {
        codec.name = String::from_utf8_lossy(name).into_owned();
        codec.clock_hz = clock_hz;
        codec.channels = channels;
    }
    Ok(())
}

fn parse_fmtp(stream: &mut MediaDescription, rest: &[u8], line: usize) -> Result<(), SdpError> {
    if stream.codecs.is_empty() {
        return Ok(());
    }
    let mut parts = rest.splitn(2, |b| *b == b' ');
    let payload_type = parse_payload_type(line, parts.next().unwrap_or_default())?;
    let value = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    if let Some(codec) = codec_mut(stream, payload_type) {
        codec.fmtp = Some(value);
    }
    Ok(())
}

fn codec_mut(stream: &mut MediaDescription, payload_type: u8) -> Option<&mut Codec> {
    stream.codecs.iter_mut().find(|c| c.payload_type == payload_type)
}

/// Audio rows of the static table of RFC 3551 6; an empty name for every other number.
fn static_codec(payload_type: u8) -> Codec {
    let (name, clock_hz, channels) = match payload_type {
        0 => ("PCMU", 8_000, 1),
        3 => ("GSM", 8_000, 1),
        4 => ("G723", 8_000, 1),
        5 => ("DVI4", 8_000, 1),
        6 => ("DVI4", 16_000, 1),
        7 => ("LPC", 8_000, 1),
        8 => ("PCMA", 8_000, 1),
        9 => ("G722", 8_000, 1),
        10 => ("L16", 44_100, 2),
        11 => ("L16", 44_100, 1),
        12 => ("QCELP", 8_000, 1),
        13 => ("CN", 8_000, 1),
        14 => ("MPA", 90_000, 1),
        15 => ("G728", 8_000, 1),
        16 => ("DVI4", 11_025, 1),
        17 => ("DVI4", 22_050, 1),
        18 => ("G729", 8_000, 1),
        _ => ("", 0, 1),
    };
    Codec { payload_type, name: name.to_owned(), clock_hz, channels, fmtp: None }
}
