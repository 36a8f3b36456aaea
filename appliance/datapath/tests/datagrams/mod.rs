//! SIP datagrams as they come, and as nobody should write them.

use rand::Rng;
use rand::rngs::StdRng;
use tandem_home::{BLANKS_MAX, HEAD_MAX, VALUE_MAX};

/// A datagram, and whether its Call-ID stands plainly within the bounds of the search.
pub(crate) struct Datagram {
    pub(crate) bytes: Vec<u8>,
    pub(crate) plain: bool,
}

/// One at random, most of them plain.
pub(crate) fn datagram(rng: &mut StdRng) -> Datagram {
    if rng.random_bool(0.02) {
        let noise = [&b"\r\n\r\n"[..], b"", b"\0\0", b"\n", b"i:", b"\r\n\r\n\r\n\r\n\r\n", b"x\ni:"];
        return Datagram { bytes: noise[rng.random_range(0..noise.len())].to_vec(), plain: false };
    }
    let line_end = if rng.random_bool(0.9) { "\r\n" } else { "\n" };
    let mut plain = true;
    let mut text = String::new();
    if rng.random_bool(0.1) {
        let breaks = rng.random_range(1..4);
        text.push_str(&line_end.repeat(breaks));
        plain &= breaks * line_end.len() <= BLANKS_MAX;
    }
    text.push_str(match rng.random_range(0..4) {
        0 => "INVITE sip:12125551234@192.0.2.1:5060 SIP/2.0",
        1 => "SIP/2.0 180 Ringing",
        2 => "BYE sip:x SIP/2.0",
        _ => "i:not a request",
    });
    text.push_str(line_end);
    for _ in 0..rng.random_range(0..12) {
        text.push_str(&header(rng));
        text.push_str(line_end);
    }
    plain &= text.len() <= HEAD_MAX;
    plain &= call_id_line(rng, &mut text, line_end);
    for _ in 0..rng.random_range(0..4) {
        text.push_str(&header(rng));
        text.push_str(line_end);
    }
    text.push_str(line_end);
    text.push_str("v=0\r\ni:of the body\r\nCall-ID: of the body\r\n");
    let mut bytes = text.into_bytes();
    if rng.random_bool(0.05) {
        bytes.truncate(rng.random_range(0..bytes.len()));
        plain = false;
    }
    if rng.random_bool(0.05) {
        let at = rng.random_range(0..bytes.len().max(1));
        if let Some(byte) = bytes.get_mut(at) {
            *byte = rng.random();
        }
        plain = false;
    }
    Datagram { bytes, plain }
}

/// The line of the Call-ID; whether it is plain.
fn call_id_line(rng: &mut StdRng, text: &mut String, line_end: &str) -> bool {
    let name = ["Call-ID", "CALL-ID", "call-id", "cAlL-Id", "i", "I"][rng.random_range(0..6)];
    let mut plain = true;
    let mut blanks = |rng: &mut StdRng, often: f64| {
        let count = match rng.random_bool(often) {
            true => rng.random_range(0..=BLANKS_MAX + 1),
            false => 0,
        };
        plain &= count <= BLANKS_MAX;
        [" ", "\t"][rng.random_range(0..2)].repeat(count)
    };
    let before = blanks(rng, 0.1);
    let after = if rng.random_bool(0.8) { " ".to_owned() } else { blanks(rng, 1.0) };
    let behind = blanks(rng, 0.1);
    let value = value(rng);
    plain &= (1..=VALUE_MAX).contains(&value.len());
    let folded = match rng.random_range(0..20) {
        0 => format!("{line_end} "),
        _ => String::new(),
    };
    plain &= folded.is_empty();
    text.push_str(&match rng.random_bool(0.5) {
        true => format!("{name}{before}:{folded}{after}{value}{behind}{line_end}"),
        false => format!("{name}{before}:{after}{value}{folded}{behind}{line_end}"),
    });
    plain
}

fn value(rng: &mut StdRng) -> String {
    let len = match rng.random_range(0..10) {
        0 => rng.random_range(0..=VALUE_MAX + 20),
        1 => rng.random_range(1..10),
        _ => rng.random_range(10..70),
    };
    let letters = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._~@%!*+";
    let random: String = (0..len).map(|_| char::from(letters[rng.random_range(0..letters.len())])).collect();
    match rng.random_range(0..10) {
        0..3 => format!("tdm{:02x}-{random}", rng.random_range(0..20)),
        3 => format!("tdm{:02X}-{random}", rng.random_range(0..20)),
        4 => format!("tdm{}", random),
        _ => random,
    }
}

fn header(rng: &mut StdRng) -> String {
    let lines = [
        "Via: SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bK00-0123456789abcdef",
        "v: SIP/2.0/UDP 192.0.2.7",
        "From: \"Call-ID: quoted\" <sip:i@192.0.2.7>;tag=1",
        "To: <sip:12125551234@192.0.2.1>",
        "CSeq: 1 INVITE",
        "c: application/sdp",
        "Content-Length: 0",
        "Call-Info: <http://example.com/>",
        "Call-IDs: wrong",
        "Call-I: wrong",
        "Identity: abc",
        "In-Reply-To: i:wrong",
        "k:",
        "l:0",
        "Contact: <sip:a@192.0.2.7>",
        "Route: <sip:proxy.example.com;lr>, <sip:other.example.com;lr>",
    ];
    lines[rng.random_range(0..lines.len())].to_owned()
}
