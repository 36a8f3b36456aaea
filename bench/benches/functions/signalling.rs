//! An INVITE with SDP: indexed, read, and the same by `rsip` as the yardstick of design.md 8.

use std::hint::black_box;

use rsip::headers::ToTypedHeader;
use rsip::message::HeadersExt;
use tandem_sip::header::HeaderId;
use tandem_sip::message::{Message, sdp_body};
use tandem_sip::method::Method;
use tandem_sip::scan::scan;
use tandem_sip::uri::Uri;

use crate::harness::Bench;
use crate::material;

pub(crate) const BENCHES: &[Bench] = &[
    Bench { name: "nothing", what: "an empty bench: what the harness adds", make: nothing },
    Bench { name: "sip_scan", what: "index of an INVITE with SDP, 15 headers", make: sip_scan },
    Bench { name: "sip_scan_typed", what: "the same, and every header a call wants as a type", make: sip_scan_typed },
    Bench { name: "rsip_parse", what: "reference: rsip parses the same INVITE", make: rsip_parse },
    Bench { name: "rsip_parse_typed", what: "reference: rsip parses it and makes the same types", make: rsip_typed },
];

fn nothing() -> Box<dyn FnMut()> {
    Box::new(|| {
        black_box(());
    })
}

fn sip_scan() -> Box<dyn FnMut()> {
    let invite = material::invite();
    Box::new(move || {
        let _ = black_box(scan(black_box(&invite)));
    })
}

fn sip_scan_typed() -> Box<dyn FnMut()> {
    let invite = material::invite();
    Box::new(move || {
        if let Ok(message) = scan(black_box(&invite)) {
            typed(&message);
        }
    })
}

/// What the endpoint reads of a first INVITE.
fn typed(message: &Message<'_>) {
    black_box(message.request_uri().and_then(|uri| Uri::parse(uri).ok()?.dialled().ok()));
    for party in [message.from(), message.to(), message.contact()].into_iter().flatten() {
        black_box((party.tag(), party.display_text(), party.uri().ok().and_then(|uri| uri.dialled().ok())));
    }
    message.vias().for_each(|via| {
        black_box(via.received_ip());
    });
    black_box((message.cseq, message.call_id, message.max_forwards(), message.expires()));
    black_box((message.session_expires(), message.min_se()));
    black_box((message.allows(Method::Update), message.lists(HeaderId::Supported, "timer")));
    black_box(message.lists(HeaderId::Supported, "100rel"));
    for asserted in message.name_addrs(HeaderId::PAssertedIdentity) {
        black_box(asserted.uri().ok());
    }
    black_box((message.header(HeaderId::UserAgent), message.content_type(), sdp_body(message)));
}

fn rsip_parse() -> Box<dyn FnMut()> {
    let invite = material::invite();
    Box::new(move || {
        let _ = black_box(rsip::SipMessage::try_from(black_box(invite.as_slice())));
    })
}

fn rsip_typed() -> Box<dyn FnMut()> {
    let invite = material::invite();
    Box::new(move || {
        if let Ok(rsip::SipMessage::Request(request)) = rsip::SipMessage::try_from(black_box(invite.as_slice())) {
            black_box(request.uri.user());
            black_box(request.from_header().ok().and_then(|h| h.typed().ok()));
            black_box(request.to_header().ok().and_then(|h| h.typed().ok()));
            black_box(request.contact_header().ok().and_then(|h| h.typed().ok()));
            black_box(request.via_header().ok().and_then(|h| h.typed().ok()));
            black_box(request.cseq_header().ok().and_then(|h| h.typed().ok()));
            black_box(request.max_forwards_header().ok().and_then(|h| h.num().ok()));
            black_box(request.call_id_header().ok());
            black_box(request.body());
        }
    })
}
