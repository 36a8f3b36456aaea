//! The network between the parties and the switch, and what nobody should send.

use super::*;

/// When the copies of a datagram arrive, microseconds from now: none, one or two.
pub(super) fn network(rng: &mut StdRng, link: Link) -> [Option<u64>; 2] {
    // The same dice whatever the link is, so that a mask changes only what it says.
    let (lost, twice): (f64, f64) = (rng.random(), rng.random());
    let delays = [rng.random::<f64>(), rng.random::<f64>()].map(|d| (d * link.delay_us as f64) as u64);
    if lost < link.loss {
        return [None, None];
    }
    [Some(delays[0]), (twice < link.repeat).then_some(delays[1])]
}

pub(super) fn header<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

pub(super) fn first_line(text: &str) -> String {
    let cseq = header(text, "CSeq").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    format!("{} [{cseq}]", line.replace(" SIP/2.0", "").replace("SIP/2.0 ", ""))
}

/// What nobody should send.
pub(super) fn rubbish(rng: &mut StdRng, n: u32) -> (SocketAddr, Vec<u8>) {
    let source = match rng.random_range(0..3) {
        0 => setup::customer_address(0),
        1 => setup::vendor_address(0),
        _ => setup::stranger_address(n),
    };
    let bytes = match rng.random_range(0..5) {
        0 => (0..rng.random_range(0..300)).map(|_| rng.random()).collect(),
        1 => b"\r\n\r\n".to_vec(),
        2 => {
            // Cut within a line: where only lines are missing, the switch takes what is there.
            let text = stranger(source, n, "cut");
            let cut = &text.as_bytes()[..rng.random_range(0..text.len() - 24)];
            cut.strip_suffix(b"\n").unwrap_or(cut).to_vec()
        }
        3 => format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 203.0.113.1:5060;branch=z9hG4bKnobody{n}\r\nFrom: <sip:x@y>;tag=1\r\n\
             To: <sip:z@y>;tag=2\r\nCall-ID: junk-{n}\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
        )
        .into_bytes(),
        _ => format!(
            "BYE sip:x@203.0.113.1 SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch=z9hG4bKjunk{n};rport\r\n\
             From: <sip:x@y>;tag=1\r\nTo: <sip:z@y>;tag=2\r\nCall-ID: junk-{n}\r\nCSeq: 1 BYE\r\nMax-Forwards: 70\r\n\
             Content-Length: 0\r\n\r\n"
        )
        .into_bytes(),
    };
    (source, bytes)
}

/// A good INVITE of somebody nobody knows.
pub(super) fn stranger(source: SocketAddr, n: u32, name: &str) -> String {
    format!(
        "INVITE sip:8613999@203.0.113.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP {source};branch=z9hG4bKjunk{name}{n};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:666@{source}>;tag=junk\r\nTo: <sip:8613999@203.0.113.1>\r\n\
         Call-ID: junk-{name}-{n}\r\nCSeq: 1 INVITE\r\nContact: <sip:666@{source}>\r\nContent-Length: 0\r\n\r\n"
    )
}
