//! A dialog (RFC 3261 12): tags, sequence numbers, route set, remote target, and where its requests go.

use std::net::SocketAddr;

use tandem_leg::ListenerId;

use crate::header::HeaderId;
use crate::message::{Message, unfold};
use crate::uri::{NameAddr, Uri};

/// Port of SIP over UDP when none is written (RFC 3261 19.1.2).
pub(crate) const PORT_DEFAULT: u16 = 5060;

/// One dialog, or one that is about to be.
#[derive(Debug)]
pub(crate) struct Dialog {
    pub(crate) call_id: Vec<u8>,
    pub(crate) local_tag: String,
    /// Random part of `local_tag`, the key in the endpoint's table.
    pub(crate) local_key: u64,
    /// `None` until the far side named itself; empty for an RFC 2543 element, which has none.
    pub(crate) remote_tag: Option<Vec<u8>>,
    /// From of our requests, tag included.
    pub(crate) local: Vec<u8>,
    /// To of our requests, tag included once it is known.
    pub(crate) remote: Vec<u8>,
    pub(crate) local_seq: u32,
    pub(crate) remote_seq: Option<u32>,
    pub(crate) route_set: Vec<Vec<u8>>,
    /// Remote target: the Contact of the far side.
    pub(crate) target: Vec<u8>,
    /// Our Contact, with its brackets.
    pub(crate) contact: String,
    pub(crate) listener: ListenerId,
    /// Socket address of the far side: source of its INVITE, or where ours went.
    pub(crate) peer: SocketAddr,
    /// Whether the far side started it.
    pub(crate) incoming: bool,
}

/// Where a request inside a dialog goes and how it is addressed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) uri: Vec<u8>,
    pub(crate) routes: Vec<Vec<u8>>,
    pub(crate) to: SocketAddr,
}

impl Dialog {
    /// The far side as one address, for when it gave no usable Contact.
    pub(crate) fn uri_of(peer: SocketAddr) -> Vec<u8> {
        format!("sip:{peer}").into_bytes()
    }

    /// Takes the remote side from a response of the far side (RFC 3261 12.1.2). The route set is that of the response in
    /// reverse order.
    pub(crate) fn adopt_response(&mut self, response: &Message<'_>) {
        self.remote_tag = Some(response.to_tag.unwrap_or(b"").to_vec());
        if let Some(to) = response.header(HeaderId::To) {
            self.remote = unfold(to).into_owned();
        }
        self.route_set = record_routes(response);
        self.route_set.reverse();
        self.refresh_target(response);
    }

    /// Remote target refresh (RFC 3261 12.2.1.2, 12.2.2); a message without a usable Contact changes nothing.
    pub(crate) fn refresh_target(&mut self, message: &Message<'_>) {
        if let Some(target) = target_of(message) {
            self.target = target;
        }
    }

    /// Whether a request with these identifiers belongs here; the local tag was compared by the look-up.
    pub(crate) fn matches(&self, request: &Message<'_>) -> bool {
        self.call_id == request.call_id
            && self.remote_tag.as_deref().is_some_and(|tag| tag.eq_ignore_ascii_case(request.from_tag.unwrap_or(b"")))
    }

    /// Number of the next request of ours.
    pub(crate) fn next_seq(&mut self) -> u32 {
        self.local_seq += 1;
        self.local_seq
    }

    /// RFC 3261 12.2.1.1, with the address of spec signalling.md 2: a-legs are answered at the socket their INVITE came
    /// from (`sipRequestAddressMethod` 0), b-legs follow their route set or stay where the INVITE went.
    pub(crate) fn route(&self) -> Route {
        let Some(first) = self.route_set.first() else {
            return Route { uri: self.target.clone(), routes: Vec::new(), to: self.peer };
        };
        let first_uri = NameAddr::parse(first).ok().and_then(|route| route.uri().ok());
        let to = match first_uri.as_ref().and_then(uri_address) {
            Some(address) if !self.incoming && address.is_ipv4() == self.peer.is_ipv4() => address,
            _ => self.peer,
        };
        match first_uri {
            // A strict router (RFC 2543) wants itself as Request-URI and the target last.
            Some(uri) if !uri.has_param("lr") => {
                let mut routes = self.route_set[1..].to_vec();
                routes.push([b"<", self.target.as_slice(), b">"].concat());
                Route { uri: uri.raw.to_vec(), routes, to }
            }
            _ => Route { uri: self.target.clone(), routes: self.route_set.clone(), to },
        }
    }
}

/// The URI of the first usable Contact.
pub(crate) fn target_of(message: &Message<'_>) -> Option<Vec<u8>> {
    let contact = message.contact()?;
    contact.uri().ok()?;
    Some(unfold(contact.uri_raw).into_owned())
}

/// Record-Route values in order.
pub(crate) fn record_routes(message: &Message<'_>) -> Vec<Vec<u8>> {
    message.all(HeaderId::RecordRoute).map(|value| unfold(value).into_owned()).collect()
}

/// The address in a URI that needs no DNS.
pub(crate) fn uri_address(uri: &Uri<'_>) -> Option<SocketAddr> {
    let ip = uri.host().ip()?;
    Some(SocketAddr::new(ip, uri.port.unwrap_or(PORT_DEFAULT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialog(incoming: bool, routes: &[&str]) -> Dialog {
        Dialog {
            call_id: b"c".to_vec(),
            local_tag: "l".into(),
            local_key: 1,
            remote_tag: Some(b"r".to_vec()),
            local: b"<sip:l>;tag=l".to_vec(),
            remote: b"<sip:r>;tag=r".to_vec(),
            local_seq: 0,
            remote_seq: None,
            route_set: routes.iter().map(|r| r.as_bytes().to_vec()).collect(),
            target: b"sip:far@192.0.2.9".to_vec(),
            contact: "<sip:us>".into(),
            listener: ListenerId(0),
            peer: "192.0.2.1:5070".parse().unwrap(),
            incoming,
        }
    }

    #[test]
    fn loose_and_strict_routing() {
        let loose = dialog(false, &["<sip:192.0.2.77:5099;lr>", "<sip:two;lr>"]).route();
        assert_eq!(loose.uri, b"sip:far@192.0.2.9");
        assert_eq!(loose.routes.len(), 2);
        assert_eq!(loose.to, "192.0.2.77:5099".parse().unwrap());
        let strict = dialog(false, &["<sip:one.example>", "<sip:two>"]).route();
        assert_eq!(strict.uri, b"sip:one.example");
        assert_eq!(strict.routes, vec![b"<sip:two>".to_vec(), b"<sip:far@192.0.2.9>".to_vec()]);
        assert_eq!(strict.to, "192.0.2.1:5070".parse().unwrap());
    }

    #[test]
    fn an_a_leg_is_reached_at_the_socket_it_called_from() {
        assert_eq!(dialog(true, &["<sip:192.0.2.77:5099;lr>"]).route().to, "192.0.2.1:5070".parse().unwrap());
        assert_eq!(dialog(false, &[]).route().to, "192.0.2.1:5070".parse().unwrap());
    }
}
