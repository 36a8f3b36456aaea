//! SIP as the auditor reads it: the few fields it needs, by a reader of its own.

/// Request or response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind<'t> {
    /// Method and user part of the Request-URI.
    Request(&'t str, &'t str),
    /// Status.
    Response(u16),
}

/// A message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'t> {
    pub(crate) kind: Kind<'t>,
    pub(crate) call_id: &'t str,
    pub(crate) cseq: u32,
    /// Method of CSeq.
    pub(crate) method: &'t str,
    pub(crate) branch: &'t str,
    pub(crate) from_tag: &'t str,
    pub(crate) to_tag: &'t str,
    pub(crate) retry_after: Option<u32>,
    body: &'t str,
}

impl<'t> Message<'t> {
    /// Reads a datagram; `None` when it is no SIP message.
    pub(crate) fn read(bytes: &'t [u8]) -> Option<Message<'t>> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let first = lines.next()?;
        let kind = match first.strip_prefix("SIP/2.0 ") {
            Some(rest) => Kind::Response(rest.get(..3)?.parse().ok()?),
            None => {
                let mut words = first.split(' ');
                let (method, uri) = (words.next()?, words.next()?);
                if words.next() != Some("SIP/2.0") {
                    return None;
                }
                Kind::Request(method, user(uri))
            }
        };
        let mut message = Message {
            kind,
            call_id: "",
            cseq: 0,
            method: "",
            branch: "",
            from_tag: "",
            to_tag: "",
            retry_after: None,
            body,
        };
        for line in lines {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "call-id" | "i" => message.call_id = value,
                "cseq" => {
                    // An answer to rubbish copies what the rubbish had.
                    let (number, method) = value.split_once(' ').unwrap_or((value, ""));
                    message.cseq = number.parse().unwrap_or(0);
                    message.method = method.trim();
                }
                "via" | "v" if message.branch.is_empty() => message.branch = parameter(value, "branch").unwrap_or(""),
                "from" | "f" => message.from_tag = parameter(value, "tag").unwrap_or(""),
                "to" | "t" => message.to_tag = parameter(value, "tag").unwrap_or(""),
                "retry-after" => message.retry_after = value.split([' ', ';', '(']).next()?.parse().ok(),
                _ => {}
            }
        }
        (!message.call_id.is_empty()).then_some(message)
    }

    /// Port of the first audio stream, when the description names `host`.
    pub(crate) fn media_port(&self, host: &str) -> Option<u16> {
        let named = self.body.split("\r\n").any(|line| line.starts_with("c=") && line.ends_with(host));
        let line = self.body.split("\r\n").find_map(|line| line.strip_prefix("m=audio "))?;
        let port = line.split(' ').next()?.parse().ok()?;
        (named && port != 0).then_some(port)
    }
}

fn user(uri: &str) -> &str {
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    rest.split_once('@').map_or("", |(user, _)| user)
}

fn parameter<'t>(value: &'t str, name: &str) -> Option<&'t str> {
    // Parameters of the address in brackets are not the header's.
    let rest = value.rsplit_once('>').map_or(value, |(_, rest)| rest);
    rest.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_auditor_needs() {
        let text = "INVITE sip:8613@203.0.113.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 1.2.3.4;branch=z9hG4bKx;rport\r\n\
                    From: \"a\" <sip:1@h;x=1>;tag=f\r\nTo: <sip:2@h>\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\n\r\n\
                    v=0\r\nc=IN IP4 203.0.113.2\r\nm=audio 10000 RTP/AVP 8\r\n";
        let message = Message::read(text.as_bytes()).unwrap();
        assert_eq!(message.kind, Kind::Request("INVITE", "8613"));
        assert_eq!((message.call_id, message.cseq, message.method), ("c", 7, "INVITE"));
        assert_eq!((message.branch, message.from_tag, message.to_tag), ("z9hG4bKx", "f", ""));
        assert_eq!(message.media_port("203.0.113.2"), Some(10_000));
        assert_eq!(message.media_port("203.0.113.3"), None);
        assert!(Message::read(b"\r\n\r\n").is_none() && Message::read(b"junk").is_none());
    }
}
