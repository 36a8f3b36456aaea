//! Leg vocabulary <-> header values: what of a message the other leg may learn (spec signalling.md 1, 15).

use std::borrow::Cow;

use tandem_leg::{Identity, LegEvent, Party, Reason, Redirect, RedirectTarget, Rel100, Transport, Try};

use crate::header::HeaderId;
use crate::message::{Message, sdp_body, unfold};
use crate::uri::{Host, NameAddr, Uri, unescape, unquote};
use tandem_leg::text::{into_string, push_host};

/// Max-Forwards of a request that carries none (RFC 3261 8.1.1.6).
pub(crate) const MAX_FORWARDS_DEFAULT: u8 = 70;

/// The header pass-list of spec signalling.md 1; `X-*` comes on top and is dropped later by the gateway's own list.
const PASSED: [HeaderId; 8] = [
    HeaderId::Diversion,
    HeaderId::HistoryInfo,
    HeaderId::PChargeInfo,
    HeaderId::Identity,
    HeaderId::UserToUser,
    HeaderId::Reason,
    HeaderId::PEarlyMedia,
    HeaderId::Subject,
];

/// Headers that only the protocol itself writes; an order that names one is not obeyed.
const OWN: [HeaderId; 25] = [
    HeaderId::Via,
    HeaderId::From,
    HeaderId::To,
    HeaderId::CallId,
    HeaderId::CSeq,
    HeaderId::MaxForwards,
    HeaderId::Contact,
    HeaderId::ContentLength,
    HeaderId::ContentType,
    HeaderId::ContentEncoding,
    HeaderId::Route,
    HeaderId::RecordRoute,
    HeaderId::Require,
    HeaderId::ProxyRequire,
    HeaderId::Supported,
    HeaderId::Unsupported,
    HeaderId::Allow,
    HeaderId::Accept,
    HeaderId::UserAgent,
    HeaderId::Server,
    HeaderId::SessionExpires,
    HeaderId::MinSe,
    HeaderId::RAck,
    HeaderId::RSeq,
    HeaderId::XTandemHop,
];

/// Text for people and records: unfolded, without control bytes, broken UTF-8 replaced.
pub(crate) fn text(raw: &[u8]) -> String {
    // What carriers send is plain ASCII.
    if raw.iter().all(|byte| matches!(byte, 0x20..=0x7e)) {
        return into_string(raw.to_vec());
    }
    String::from_utf8_lossy(raw).chars().filter(|c| !c.is_control()).collect()
}

/// Headers that may be passed to the other leg, long names, in order.
pub(crate) fn passed_headers(message: &Message<'_>) -> Vec<(String, String)> {
    message
        .headers()
        .filter(|header| {
            PASSED.contains(&header.id)
                || (header.id == HeaderId::Other && header.name.get(..2).is_some_and(|x| x.eq_ignore_ascii_case(b"X-")))
        })
        .map(|header| {
            let name = if header.id == HeaderId::Other { text(header.name) } else { header.id.as_str().to_owned() };
            (name, text(&unfold(header.value)))
        })
        .collect()
}

/// Whether an order may add a header of that name.
pub(crate) fn may_add(name: &str) -> bool {
    crate::uri::is_token(name.as_bytes()) && !OWN.contains(&HeaderId::parse(name.as_bytes()))
}

/// User part without its own parameters, escapes decoded.
fn user(uri: &Uri<'_>) -> String {
    let user = uri.user.unwrap_or(b"");
    let end = user.iter().position(|b| *b == b';').unwrap_or(user.len());
    text(&unescape(&user[..end]))
}

fn party(address: Option<NameAddr<'_>>) -> Party {
    let Some(address) = address else { return Party::default() };
    let display = address.display_text().map(|d| text(&unfold(&d))).unwrap_or_default();
    match address.uri() {
        Ok(uri) => Party { user: user(&uri), display, host: text(uri.host) },
        Err(_) => Party { display, ..Party::default() },
    }
}

fn first_user(message: &Message<'_>, id: HeaderId) -> Option<String> {
    let uri = message.name_addrs(id).next()?.uri().ok().map(|uri| user(&uri))?;
    Some(uri).filter(|user| !user.is_empty())
}

/// A new INVITE as the call room sees it.
pub(crate) fn try_of(
    message: &Message<'_>,
    source: std::net::SocketAddr,
    listener: tandem_leg::ListenerId,
    uri: &Uri<'_>,
) -> LegEvent {
    LegEvent::Try(Box::new(Try {
        remote: source,
        listener,
        transport: Transport::Udp,
        call_id: text(message.call_id),
        caller: party(message.from()),
        callee: party(message.to()),
        dialled: user(uri),
        identity: Identity {
            asserted: first_user(message, HeaderId::PAssertedIdentity),
            preferred: first_user(message, HeaderId::PPreferredIdentity),
            remote_party: first_user(message, HeaderId::RemotePartyId),
            diversion: first_user(message, HeaderId::Diversion),
            private: message.privacy().id,
        },
        headers: passed_headers(message),
        max_forwards: message.max_forwards().unwrap_or(MAX_FORWARDS_DEFAULT),
        hop: message.header(HeaderId::XTandemHop).map(|hop| text(&unfold(hop))),
        user_agent: software(message),
        expires_s: message.expires(),
        rel100: if message.lists(HeaderId::Supported, "100rel") { Rel100::Supported } else { Rel100::Unsupported },
        sdp: sdp(message),
    }))
}

/// The headers of a b-leg with those its identity asks for (spec signalling.md 15): what the gateway's settings let out is
/// in the order, numbers in our own domain. A header that is given outright is not written a second time.
pub(crate) fn with_identity(
    mut headers: Vec<(String, String)>,
    identity: &Identity,
    own_host: &str,
) -> Vec<(String, String)> {
    let users = [
        (HeaderId::PAssertedIdentity, &identity.asserted),
        (HeaderId::PPreferredIdentity, &identity.preferred),
        (HeaderId::RemotePartyId, &identity.remote_party),
        (HeaderId::Diversion, &identity.diversion),
    ];
    let given = |headers: &[(String, String)], id| headers.iter().any(|(n, _)| HeaderId::parse(n.as_bytes()) == id);
    for (id, user) in users {
        if let Some(user) = user.as_deref().filter(|_| !given(&headers, id)) {
            headers.push((id.as_str().to_owned(), format!("<{}>", sip_uri(user, own_host))));
        }
    }
    if identity.private && !given(&headers, HeaderId::Privacy) {
        headers.push((HeaderId::Privacy.as_str().to_owned(), "id".to_owned()));
    }
    headers
}

/// User-Agent or Server; empty when absent.
pub(crate) fn software(message: &Message<'_>) -> String {
    let value = message.header(HeaderId::UserAgent).or_else(|| message.header(HeaderId::Server));
    value.map(|v| text(&unfold(v))).unwrap_or_default()
}

/// Session description of a message, copied.
pub(crate) fn sdp(message: &Message<'_>) -> Option<Vec<u8>> {
    sdp_body(message).map(<[u8]>::to_vec)
}

/// Whether a message has a body of which we can read nothing; such a request is refused with 415.
pub(crate) fn body_unreadable(message: &Message<'_>) -> bool {
    let optional = message.header(HeaderId::ContentDisposition).is_some_and(|value| {
        crate::uri::Params::new(value).get("handling").is_some_and(|h| h.eq_ignore_ascii_case(b"optional"))
    });
    !message.body.is_empty() && !optional && sdp_body(message).is_none()
}

/// The Reason headers of a message.
pub(crate) fn reason_of(message: &Message<'_>) -> Reason {
    let mut reason = Reason::default();
    for one in message.reasons() {
        if one.is_q850() {
            reason.q850 =
                reason.q850.or(one.cause.and_then(|c| u8::try_from(c).ok()).filter(|c| (1..=127).contains(c)));
        } else if one.is_sip() {
            reason.sip = reason.sip.or(one.cause);
        } else {
            continue;
        }
        if reason.text.is_none() {
            reason.text = one.text.map(|t| text(&unfold(&unquote(t)))).filter(|t| !t.is_empty());
        }
    }
    reason
}

/// The value of a Reason header; `None` when there is nothing to say. The text goes to the first protocol named.
pub(crate) fn reason_value(reason: &Reason) -> Option<String> {
    let mut value = String::new();
    let mut text = reason.text.as_deref();
    let mut add = |protocol: &str, cause: u16| {
        if !value.is_empty() {
            value.push_str(", ");
        }
        value.push_str(protocol);
        value.push_str(";cause=");
        value.push_str(itoa::Buffer::new().format(cause));
        if let Some(text) = text.take() {
            value.push_str(";text=");
            value.push_str(&quoted(text));
        }
    };
    if let Some(status) = reason.sip {
        add("SIP", status);
    }
    if let Some(cause) = reason.q850 {
        add("Q.850", cause.into());
    }
    Some(value).filter(|v| !v.is_empty())
}

/// Contacts of a 3xx.
pub(crate) fn redirect_of(status: u16, message: &Message<'_>) -> Redirect {
    let contacts = message
        .contacts()
        .filter_map(|contact| contact.addr()?.uri().ok())
        .map(|uri| RedirectTarget { user: user(&uri), host: text(uri.host), port: uri.port })
        .collect();
    Redirect { status, contacts }
}

/// A quoted string (RFC 3261 25.1).
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// A user part with everything escaped that RFC 3261 25.1 does not allow in one.
pub(crate) fn escaped_user(user: &str) -> Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&b);
    if user.bytes().all(plain) {
        return Cow::Borrowed(user);
    }
    let mut out = String::with_capacity(user.len() + 8);
    for b in user.bytes() {
        if plain(b) {
            out.push(b as char);
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    Cow::Owned(out)
}

/// `sip:user@host`, without the user when it is empty.
pub(crate) fn sip_uri(user: &str, host: &str) -> String {
    if user.is_empty() { ["sip:", host].concat() } else { ["sip:", &escaped_user(user), "@", host].concat() }
}

/// Appends `sip:user@host` for an address, without the user when it is empty.
pub(crate) fn push_sip_uri(out: &mut Vec<u8>, user: &str, host: std::net::IpAddr) {
    out.extend_from_slice(b"sip:");
    if !user.is_empty() {
        out.extend_from_slice(escaped_user(user).as_bytes());
        out.push(b'@');
    }
    push_host(out, host);
}

/// From or To of a party; `own_host` stands in for an empty host.
pub(crate) fn name_addr(party: &Party, own_host: &str) -> String {
    let host = if usable_host(&party.host) { party.host.as_str() } else { own_host };
    let uri = sip_uri(&party.user, host);
    if party.display.is_empty() {
        ["<", &uri, ">"].concat()
    } else {
        [&quoted(&party.display), " <", &uri, ">"].concat()
    }
}

fn usable_host(host: &str) -> bool {
    match Host::parse(host.as_bytes()) {
        Host::Ip(_) => true,
        Host::Name(name) => {
            !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        }
    }
}

/// An address as a host, IPv6 in brackets.
pub(crate) fn host_of(ip: std::net::IpAddr) -> String {
    let mut out = Vec::with_capacity(16);
    push_host(&mut out, ip);
    into_string(out)
}

/// What a request requires of us, value by value.
pub(crate) fn required(request: &Message<'_>) -> Vec<Vec<u8>> {
    request.all(HeaderId::Require).map(<[u8]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_reads_as_it_is_written() {
        let reason = Reason { sip: Some(408), q850: Some(102), text: Some("Session \"Timeout\"".into()) };
        let value = reason_value(&reason).unwrap();
        assert_eq!(value, "SIP;cause=408;text=\"Session \\\"Timeout\\\"\", Q.850;cause=102");
        let bytes = format!(
            "BYE sip:x SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a>;tag=1\r\nTo: <sip:b>;tag=2\r\n\
             Call-ID: c\r\nCSeq: 1 BYE\r\nReason: {value}\r\n\r\n"
        );
        assert_eq!(reason_of(&crate::scan::scan(bytes.as_bytes()).unwrap()), reason);
    }

    #[test]
    fn nothing_from_a_number_escapes_its_uri() {
        assert_eq!(sip_uri("+49(30)#1", "h"), "sip:+49(30)%231@h");
        assert_eq!(sip_uri("a@b>\r\nX: y", "h"), "sip:a%40b%3E%0D%0AX%3A%20y@h");
        let party = Party { user: "1".into(), display: "a\"b".into(), host: "x>y".into() };
        assert_eq!(name_addr(&party, "own"), "\"a\\\"b\" <sip:1@own>");
        assert!(!may_add("contact") && !may_add("v") && !may_add("bad name") && may_add("X-Any"));
    }
}
