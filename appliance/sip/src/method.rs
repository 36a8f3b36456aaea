//! Request methods (RFC 3261 section 7.1 and the extensions a carrier meets).

use std::fmt;

/// The method of a request, or of a CSeq header.
///
/// Methods are case-sensitive (RFC 3261 section 7.1): `invite` is [`Method::Other`]. The token behind `Other` stays in
/// the message, see `method_raw` of [`crate::scan::StartLine::Request`] and of [`crate::header::CSeq`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Opens or changes a session, RFC 3261 section 13.
    Invite,
    /// Confirms a final response to INVITE, RFC 3261 section 13.2.2.4.
    Ack,
    /// Ends a session, RFC 3261 section 15.
    Bye,
    /// Takes back a pending INVITE, RFC 3261 section 9.
    Cancel,
    /// Asks for capabilities, or whether somebody is there, RFC 3261 section 11.
    Options,
    /// Binds an address, RFC 3261 section 10.
    Register,
    /// Confirms a reliable provisional response, RFC 3262.
    Prack,
    /// Changes a session without touching the INVITE transaction, RFC 3311.
    Update,
    /// Carries application data inside a dialog, RFC 6086.
    Info,
    /// Transfers, RFC 3515.
    Refer,
    /// Tells a subscriber, RFC 6665.
    Notify,
    /// Subscribes to events, RFC 6665.
    Subscribe,
    /// Instant message, RFC 3428.
    Message,
    /// Publishes event state, RFC 3903.
    Publish,
    /// Any other token.
    Other,
}

impl Method {
    /// Every method that has a name of its own, in the order of the enum.
    pub const KNOWN: [Method; 14] = [
        Method::Invite,
        Method::Ack,
        Method::Bye,
        Method::Cancel,
        Method::Options,
        Method::Register,
        Method::Prack,
        Method::Update,
        Method::Info,
        Method::Refer,
        Method::Notify,
        Method::Subscribe,
        Method::Message,
        Method::Publish,
    ];

    /// The method named by a token; [`Method::Other`] for one we do not know.
    pub fn parse(token: &[u8]) -> Method {
        match token {
            b"INVITE" => Method::Invite,
            b"ACK" => Method::Ack,
            b"BYE" => Method::Bye,
            b"CANCEL" => Method::Cancel,
            b"OPTIONS" => Method::Options,
            b"REGISTER" => Method::Register,
            b"PRACK" => Method::Prack,
            b"UPDATE" => Method::Update,
            b"INFO" => Method::Info,
            b"REFER" => Method::Refer,
            b"NOTIFY" => Method::Notify,
            b"SUBSCRIBE" => Method::Subscribe,
            b"MESSAGE" => Method::Message,
            b"PUBLISH" => Method::Publish,
            _ => Method::Other,
        }
    }

    /// The token on the wire. `OTHER` for [`Method::Other`]: good as a metric label, never to be sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Method::Invite => "INVITE",
            Method::Ack => "ACK",
            Method::Bye => "BYE",
            Method::Cancel => "CANCEL",
            Method::Options => "OPTIONS",
            Method::Register => "REGISTER",
            Method::Prack => "PRACK",
            Method::Update => "UPDATE",
            Method::Info => "INFO",
            Method::Refer => "REFER",
            Method::Notify => "NOTIFY",
            Method::Subscribe => "SUBSCRIBE",
            Method::Message => "MESSAGE",
            Method::Publish => "PUBLISH",
            Method::Other => "OTHER",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_method_reads_back_what_it_writes() {
        for method in Method::KNOWN {
            assert_eq!(Method::parse(method.as_str().as_bytes()), method);
        }
    }

    #[test]
    fn methods_are_case_sensitive_and_open() {
        assert_eq!(Method::parse(b"invite"), Method::Other);
        assert_eq!(Method::parse(b"FOO"), Method::Other);
        assert_eq!(Method::parse(b""), Method::Other);
    }
}
