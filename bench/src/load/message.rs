//! What a generator needs to know of a SIP message: one pass over its lines, everything borrowed.
//!
//! Deliberately not the switch's own scanner: a mistake in that one must show here as failed calls.

use std::net::{Ipv4Addr, SocketAddrV4};

/// Status or method of the first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start<'a> {
    /// Status code.
    Response(u16),
    /// Method and request URI.
    Request(&'a [u8], &'a [u8]),
}

/// A message; header values are without surrounding blanks, empty when absent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    /// First line.
    pub(crate) start: Start<'a>,
    /// All header lines.
    headers: &'a [u8],
    /// Call-ID.
    pub(crate) call_id: &'a [u8],
    /// From.
    pub(crate) from: &'a [u8],
    /// To.
    pub(crate) to: &'a [u8],
    /// First Contact.
    pub(crate) contact: &'a [u8],
    /// CSeq, whole.
    pub(crate) cseq: &'a [u8],
    /// Body.
    pub(crate) body: &'a [u8],
}

impl<'a> Message<'a> {
    /// Scans a datagram; `None` when it is no SIP message with the headers every message must have.
    pub(crate) fn scan(bytes: &'a [u8]) -> Option<Message<'a>> {
        let end = memchr::memchr(b'\n', bytes)?;
        let line = bytes[..end].trim_ascii_end();
        let start = match line.strip_prefix(b"SIP/2.0 ") {
            Some(rest) => Start::Response(number(rest.get(..3)?)? as u16),
            None => {
                let mut words = line.split(|byte| *byte == b' ');
                Start::Request(words.next()?, words.next()?)
            }
        };
        let rest = &bytes[end + 1..];
        let mut message =
            Message { start, headers: rest, call_id: b"", from: b"", to: b"", contact: b"", cseq: b"", body: b"" };
        let mut lines = Lines { rest };
        for (name, value) in &mut lines {
            // The first letter and the length tell most headers apart before they are compared.
            match (name.first().map(u8::to_ascii_lowercase), name.len()) {
                (Some(b't'), 1 | 2) if is(name, b"to", b't') => message.to = value,
                (Some(b'f'), 1 | 4) if is(name, b"from", b'f') => message.from = value,
                (Some(b'c' | b'i'), 1 | 7) if is(name, b"call-id", b'i') => message.call_id = value,
                (Some(b'c' | b'm'), 1 | 7) if message.contact.is_empty() && is(name, b"contact", b'm') => {
                    message.contact = value;
                }
                (Some(b'c'), 4) if is(name, b"cseq", 0) => message.cseq = value,
                _ => {}
            }
        }
        message.headers = &rest[..rest.len() - lines.rest.len()];
        message.body = lines.rest.strip_prefix(b"\r\n").or(lines.rest.strip_prefix(b"\n")).unwrap_or(lines.rest);
        let whole = [message.call_id, message.from, message.to, message.cseq].iter().all(|value| !value.is_empty());
        whole.then_some(message)
    }

    /// Method named by CSeq.
    pub(crate) fn method(&self) -> &'a [u8] {
        let at = self.cseq.iter().rposition(|byte| *byte == b' ').map_or(0, |at| at + 1);
        &self.cseq[at..]
    }

    /// Every value of a header that has no compact form, in order.
    pub(crate) fn values(&self, name: &'static [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.several(name, 0)
    }

    /// Every Via, in order.
    pub(crate) fn vias(&self) -> impl Iterator<Item = &'a [u8]> {
        self.several(b"via", b'v')
    }

    fn several(&self, name: &'static [u8], compact: u8) -> impl Iterator<Item = &'a [u8]> {
        Lines { rest: self.headers }.filter(move |(found, _)| is(found, name, compact)).map(|(_, value)| value)
    }
}

/// Header lines up to the empty one, folded lines joined as they are.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Lines<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if matches!(self.rest.first(), None | Some(b'\r' | b'\n')) {
            return None;
        }
        let mut end = 0;
        loop {
            end += memchr::memchr(b'\n', &self.rest[end..]).map_or(self.rest.len() - end, |at| at + 1);
            if !matches!(self.rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest;
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        Some((line[..colon].trim_ascii_end(), line.get(colon + 1..).unwrap_or(b"").trim_ascii()))
    }
}

fn is(name: &[u8], long: &[u8], compact: u8) -> bool {
    name.eq_ignore_ascii_case(long) || (name.len() == 1 && name[0].to_ascii_lowercase() == compact)
}

/// The number that `digits` begins with, up to nine digits.
pub(crate) fn number(digits: &[u8]) -> Option<u32> {
    let len = digits.iter().take(9).take_while(|byte| byte.is_ascii_digit()).count();
    (len > 0).then(|| digits[..len].iter().fold(0, |sum, byte| sum * 10 + u32::from(byte - b'0')))
}

/// The last seven digits of the user part of a URI: what pairs the two legs of a call, whatever stands before them.
pub(crate) fn last_seven(uri: &[u8]) -> Option<u32> {
    let user = &uri[..memchr::memchr2(b'@', b';', uri)?];
    number(user.get(user.len().checked_sub(7)?..)?).filter(|_| user[user.len() - 7..].iter().all(u8::is_ascii_digit))
}

/// The tag of a From or To value.
pub(crate) fn tag(value: &[u8]) -> Option<&[u8]> {
    let at = memchr::memmem::find(value, b";tag=")? + 5;
    let rest = &value[at..];
    Some(&rest[..memchr::memchr2(b';', b' ', rest).unwrap_or(rest.len())])
}

/// The URI of a Contact or Route value.
pub(crate) fn uri(value: &[u8]) -> &[u8] {
    match (memchr::memchr(b'<', value), memchr::memchr(b'>', value)) {
        (Some(from), Some(to)) if from < to => &value[from + 1..to],
        _ => &value[..memchr::memchr(b';', value).unwrap_or(value.len())],
    }
}

/// Address and port of the first audio of an SDP body, IPv4 only.
pub(crate) fn audio(body: &[u8]) -> Option<SocketAddrV4> {
    let (mut ip, mut port) = (None, None);
    for line in body.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii_end();
        if let Some(address) = line.strip_prefix(b"c=IN IP4 ") {
            // Of the session or, further down and more to the point, of the audio.
            if ip.is_none() || port.is_some() {
                ip = std::str::from_utf8(address).ok().and_then(|text| text.parse::<Ipv4Addr>().ok());
            }
        } else if let Some(rest) = line.strip_prefix(b"m=audio ") {
            if port.is_some() {
                break;
            }
            port = number(rest).and_then(|number| u16::try_from(number).ok()).filter(|port| *port != 0);
        }
    }
    Some(SocketAddrV4::new(ip?, port?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK1\r\nv: SIP/2.0/UDP b\r\n\
        Record-Route: <sip:a;lr>\r\nRecord-Route: <sip:b;lr>\r\nFrom: <sip:1@x>;tag=a1\r\nt: \"N\"\r\n <sip:2@x>;tag=b2;x=y\r\n\
        Call-ID: 17-abc@bench\r\nCSeq: 1 INVITE\r\nm: <sip:2@127.0.0.2:5060>;expires=3\r\nContent-Length: 4\r\n\r\nbody";

    #[test]
    fn an_answer_is_scanned_with_compact_and_folded_headers() {
        let message = Message::scan(ANSWER).unwrap();
        assert_eq!(message.start, Start::Response(200));
        assert_eq!(message.method(), b"INVITE");
        assert_eq!(tag(message.to), Some(&b"b2"[..]));
        assert_eq!(uri(message.contact), b"sip:2@127.0.0.2:5060");
        assert_eq!(message.vias().count(), 2);
        assert_eq!(message.values(b"record-route").collect::<Vec<_>>(), [b"<sip:a;lr>", b"<sip:b;lr>"]);
        assert_eq!(number(message.call_id), Some(17));
        assert_eq!(message.body, b"body");
    }

    #[test]
    fn what_is_no_message_is_none() {
        for bytes in [&b""[..], b"\r\n\r\n", b"SIP/2.0 2x0 OK\r\n\r\n", b"INVITE sip:1@x SIP/2.0\r\nTo: x\r\n\r\n"] {
            assert!(Message::scan(bytes).is_none(), "{bytes:?}");
        }
        for end in 0..ANSWER.len() {
            // Cut anywhere: an answer or none, never a panic.
            let _ = Message::scan(&ANSWER[..end]);
        }
    }

    #[test]
    fn legs_are_paired_by_the_last_seven_digits() {
        assert_eq!(last_seven(b"sip:12120000042@127.0.0.1:5060"), Some(42));
        assert_eq!(last_seven(b"sip:+99912121234567;npdi@h"), Some(1_234_567));
        assert_eq!(last_seven(b"sip:12345@h"), None);
        assert_eq!(last_seven(b"sip:123a567@h"), None);
        assert_eq!(last_seven(b"sip:h"), None);
    }

    #[test]
    fn the_address_of_audio_is_its_own_or_that_of_the_session() {
        let session = b"v=0\r\nc=IN IP4 127.0.0.9\r\nm=audio 4000 RTP/AVP 8\r\n";
        assert_eq!(audio(session), Some("127.0.0.9:4000".parse().unwrap()));
        let own = b"c=IN IP4 127.0.0.9\r\nm=audio 4000 RTP/AVP 8\r\nc=IN IP4 127.0.0.8\r\nm=audio 1 x\r\nc=IN IP4 1.1.1.1\r\n";
        assert_eq!(audio(own), Some("127.0.0.8:4000".parse().unwrap()));
        assert_eq!(audio(b"c=IN IP4 127.0.0.9\r\nm=audio 0 RTP/AVP 8\r\n"), None);
    }
}
