//! The scanner: any datagram is taken or refused, what is found lies inside it, and an answer is one message.

use tandem_sip::header::HeaderId;
use tandem_sip::message::Message;
use tandem_sip::scan::{keep_alive, salvage, scan};
use tandem_sip::write::Writer;
use tandem_sip::{home_of_call_id, home_shard};

/// Any key and number of shards do: the point is that two ways to the home shard lead to the same one.
const KEY: (u64, u64) = (7, 11);
const SHARDS: u8 = 13;

/// One datagram.
pub fn run(datagram: &[u8]) {
    let _ = keep_alive(datagram);
    let home = home_shard(datagram, SHARDS, KEY);
    let request = match scan(datagram) {
        Ok(message) => {
            look(datagram, &message);
            assert_eq!(home, Some(home_of_call_id(message.call_id, SHARDS, KEY)), "two readings of the Call-ID");
            Some(message).filter(Message::is_request)
        }
        Err(error) => {
            assert!(!error.label().is_empty());
            salvage(datagram).filter(|_| error.status().is_some())
        }
    };
    if let Some(request) = request {
        look(datagram, &request);
        answer(&request);
    }
}

/// Whether a slice is a part of the datagram (empty ones may come from anywhere).
pub(crate) fn inside(datagram: &[u8], part: &[u8]) -> bool {
    let (outer, inner) = (datagram.as_ptr_range(), part.as_ptr_range());
    part.is_empty() || (outer.start <= inner.start && inner.end <= outer.end)
}

fn look(datagram: &[u8], message: &Message<'_>) {
    let found = [Some(message.body), Some(message.call_id), Some(message.cseq.method_raw), message.from_tag];
    let more = [message.to_tag, message.via.branch, message.via.received, message.request_uri(), Some(message.raw())];
    for part in found.into_iter().chain(more).flatten() {
        assert!(inside(datagram, part));
    }
    let mut lines = 0;
    for header in message.headers() {
        lines += 1;
        assert!(inside(datagram, header.name) && inside(datagram, header.value));
        assert!(!header.name.is_empty() && message.has(header.id));
        assert_eq!(HeaderId::parse(header.name), header.id);
        for value in message.all(header.id) {
            assert!(inside(datagram, value) && !value.is_empty());
        }
    }
    assert!(lines <= tandem_sip::message::HEADERS_MAX);
}

/// The answer to a request is one message that ends once, and reads back as the answer to that request.
fn answer(request: &Message<'_>) {
    let source = "192.0.2.1:5060".parse().expect("an address");
    let mut buffer = Vec::new();
    Writer::response_to(&mut buffer, request, 400, None, Some("t"), source).end();
    let breaks = buffer.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count();
    let lines = buffer.windows(2).filter(|pair| pair == b"\r\n").count();
    assert_eq!(breaks, lines * 2, "every line break in an answer is ours");
    assert_eq!(buffer.windows(4).filter(|four| four == b"\r\n\r\n").count(), 1, "an answer ends once");
    let Ok(answer) = scan(&buffer) else {
        // What was broken in the request is copied.
        assert!(scan(request.raw()).is_err(), "the answer to a good request must be good");
        return;
    };
    assert_eq!(answer.status(), Some(400));
    assert_eq!(answer.cseq.number, request.cseq.number);
    assert_eq!(answer.cseq.method_raw, request.cseq.method_raw);
    assert_eq!(answer.via.branch.map(plain), request.via.branch.map(plain));
    assert_eq!(answer.from_tag.map(plain), request.from_tag.map(plain));
    assert_eq!(plain(answer.call_id), plain(request.call_id));
    assert_eq!(answer.to_tag.map(plain), request.to_tag.map(plain).or(Some(b"t".to_vec())));
}

/// Without white space: folding is undone on the way out.
fn plain(value: &[u8]) -> Vec<u8> {
    value.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect()
}
