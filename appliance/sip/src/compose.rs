//! Our messages: the parts, in one fixed order, into a buffer.

use std::net::SocketAddr;

use tandem_leg::Reason;

use crate::header::{HeaderId, Transport};
use crate::message::Message;
use crate::method::Method;
use crate::relay::{may_add, reason_value};
use crate::write::{Copied, Writer};

/// What we really do; PRACK, REFER and the like join when they are built.
pub(crate) const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, UPDATE, INFO";
const SDP: &str = "application/sdp";

/// A request, part by part.
#[derive(Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) uri: &'a [u8],
    pub(crate) sent_by: SocketAddr,
    pub(crate) branch: &'a str,
    pub(crate) routes: &'a [Vec<u8>],
    pub(crate) from: &'a [u8],
    pub(crate) to: &'a [u8],
    pub(crate) call_id: &'a [u8],
    pub(crate) cseq: u32,
    pub(crate) max_forwards: u8,
    /// Written into requests that make or refresh a dialog.
    pub(crate) contact: Option<&'a str>,
    pub(crate) user_agent: &'a str,
    pub(crate) hop: Option<&'a str>,
    pub(crate) reason: Option<&'a Reason>,
    pub(crate) headers: &'a [(String, String)],
    /// Content-Type and bytes.
    pub(crate) body: Option<(&'a str, &'a [u8])>,
}

impl<'a> Request<'a> {
    /// The session description in it.
    pub(crate) fn sdp(&self) -> Option<&'a [u8]> {
        self.body.filter(|(kind, _)| *kind == SDP).map(|(_, bytes)| bytes)
    }

    pub(crate) fn write(&self, buffer: &mut Vec<u8>) {
        let mut w = Writer::request(buffer, self.method, self.uri);
        w.via(Transport::Udp, self.sent_by, self.branch);
        for route in self.routes {
            w.header("Route", route);
        }
        w.number("Max-Forwards", self.max_forwards.into());
        w.header("From", self.from).header("To", self.to).header("Call-ID", self.call_id);
        w.cseq(self.cseq, self.method);
        if let Some(contact) = self.contact {
            w.header("Contact", contact).header("Allow", ALLOW);
        }
        if !self.user_agent.is_empty() {
            w.header("User-Agent", self.user_agent);
        }
        if let Some(hop) = self.hop {
            w.header(HeaderId::XTandemHop.as_str(), hop);
        }
        if let Some(value) = self.reason.and_then(reason_value) {
            w.header("Reason", value);
        }
        add_headers(&mut w, self.headers);
        match self.body {
            Some((content_type, bytes)) => w.body(content_type, bytes),
            None => w.end(),
        }
    }
}

/// What a response carries beside what it copies from its request.
#[derive(Clone, Copy, Default)]
pub(crate) struct Extra<'a> {
    /// Contact and Allow: for responses that make or refresh a dialog.
    pub(crate) contact: Option<&'a str>,
    /// Allow alone: 405.
    pub(crate) allow: bool,
    /// Allow, Accept, Supported: OPTIONS.
    pub(crate) capabilities: bool,
    /// Accept: 415, 406.
    pub(crate) accept: bool,
    /// What the request requires and we cannot: 420.
    pub(crate) unsupported: &'a [Vec<u8>],
    pub(crate) reason: Option<&'a Reason>,
    pub(crate) retry_after_s: Option<u32>,
    /// Contacts of a 3xx.
    pub(crate) redirect: &'a [String],
    pub(crate) headers: &'a [(String, String)],
    pub(crate) sdp: Option<&'a [u8]>,
}

/// Writes a response to the request that `copied` was taken from.
pub(crate) fn response(
    buffer: &mut Vec<u8>,
    copied: &Copied,
    status: u16,
    tag: Option<&str>,
    server: &str,
    extra: &Extra<'_>,
) {
    let mut w = Writer::response_with(buffer, copied, status, None, tag);
    if let Some(contact) = extra.contact {
        w.record_route(copied).header("Contact", contact);
    }
    for contact in extra.redirect {
        w.header("Contact", contact);
    }
    if extra.allow || extra.capabilities || extra.contact.is_some() {
        w.header("Allow", ALLOW);
    }
    if extra.accept || extra.capabilities {
        w.header("Accept", "application/sdp, multipart/mixed");
    }
    if extra.capabilities {
        // "If empty, it means that no extensions are supported" (RFC 3261 20.37).
        w.header("Supported", "");
    }
    for tag in extra.unsupported {
        w.header("Unsupported", tag);
    }
    if !server.is_empty() && status != 100 {
        w.header("Server", server);
    }
    if let Some(value) = extra.reason.and_then(reason_value) {
        w.header("Reason", value);
    }
    if let Some(seconds) = extra.retry_after_s {
        w.number("Retry-After", seconds.into());
    }
    add_headers(&mut w, extra.headers);
    match extra.sdp {
        Some(sdp) => w.body(SDP, sdp),
        None => w.end(),
    }
}

/// The ACK to a 3xx-6xx: the INVITE's own branch, route and target, the To of the response (RFC 3261 17.1.1.3).
pub(crate) fn ack_for_failure(buffer: &mut Vec<u8>, invite: &Message<'_>, response: &Message<'_>) {
    let mut w = Writer::request(buffer, Method::Ack, invite.request_uri().unwrap_or(b""));
    w.copy(invite, HeaderId::Via).copy(invite, HeaderId::Route).copy(invite, HeaderId::MaxForwards);
    w.copy(invite, HeaderId::From).copy(response, HeaderId::To).copy(invite, HeaderId::CallId);
    w.cseq(invite.cseq.number, Method::Ack);
    w.end();
}

/// The CANCEL of an INVITE: everything as in the INVITE (RFC 3261 9.1).
pub(crate) fn cancel(buffer: &mut Vec<u8>, invite: &Message<'_>, reason: &Reason, user_agent: &str) {
    let mut w = Writer::request(buffer, Method::Cancel, invite.request_uri().unwrap_or(b""));
    w.copy(invite, HeaderId::Via).copy(invite, HeaderId::Route).copy(invite, HeaderId::MaxForwards);
    w.copy(invite, HeaderId::From).copy(invite, HeaderId::To).copy(invite, HeaderId::CallId);
    w.cseq(invite.cseq.number, Method::Cancel);
    if !user_agent.is_empty() {
        w.header("User-Agent", user_agent);
    }
    if let Some(value) = reason_value(reason) {
        w.header("Reason", value);
    }
    w.end();
}

fn add_headers(w: &mut Writer<'_>, headers: &[(String, String)]) {
    for (name, value) in headers.iter().filter(|(name, _)| may_add(name)) {
        w.header(name, value);
    }
}

/// The body of a message that carries a session description.
pub(crate) fn sdp_part(sdp: Option<&[u8]>) -> Option<(&str, &[u8])> {
    sdp.map(|bytes| (SDP, bytes))
}
