//! Ordinary messages that the other files start from.

/// Lines joined the way they travel.
pub(crate) fn crlf(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

/// A trunk's INVITE with SDP, 15 headers.
pub(crate) fn invite() -> Vec<u8> {
    let sdp = "v=0\n\
        o=- 3868331676 3868331676 IN IP4 198.51.100.7\n\
        s=-\n\
        c=IN IP4 198.51.100.7\n\
        t=0 0\n\
        m=audio 40000 RTP/AVP 8 0 18 101\n\
        a=rtpmap:8 PCMA/8000\n\
        a=rtpmap:0 PCMU/8000\n\
        a=rtpmap:18 G729/8000\n\
        a=fmtp:18 annexb=no\n\
        a=rtpmap:101 telephone-event/8000\n\
        a=fmtp:101 0-15\n\
        a=ptime:20\n\
        a=sendrecv\n"
        .replace('\n', "\r\n");
    let head = "INVITE sip:442079460123@203.0.113.5:5060;user=phone SIP/2.0\n\
        Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK776asdhds;rport\n\
        Max-Forwards: 69\n\
        From: \"Alice Example\" <sip:12025550100@198.51.100.7>;tag=1928301774\n\
        To: <sip:442079460123@203.0.113.5>\n\
        Call-ID: a84b4c76e66710@198.51.100.7\n\
        CSeq: 314159 INVITE\n\
        Contact: <sip:12025550100@198.51.100.7:5060>\n\
        Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE, INFO\n\
        Supported: timer, 100rel, replaces\n\
        Session-Expires: 1800;refresher=uac\n\
        Min-SE: 90\n\
        P-Asserted-Identity: <sip:12025550100@198.51.100.7>\n\
        User-Agent: carrier-sbc/7.2\n\
        Content-Type: application/sdp\n"
        .replace('\n', "\r\n");
    format!("{head}Content-Length: {}\r\n\r\n{sdp}", sdp.len()).into_bytes()
}

/// The 200 to that INVITE, with a recorded route and an empty line's worth of body.
pub(crate) fn ok() -> Vec<u8> {
    crlf(
        "SIP/2.0 200 OK\n\
        Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK776asdhds;received=198.51.100.7;rport=5060\n\
        Record-Route: <sip:203.0.113.9;lr>\n\
        From: \"Alice Example\" <sip:12025550100@198.51.100.7>;tag=1928301774\n\
        To: <sip:442079460123@203.0.113.5>;tag=a6c85cf\n\
        Call-ID: a84b4c76e66710@198.51.100.7\n\
        CSeq: 314159 INVITE\n\
        Contact: <sip:442079460123@203.0.113.5:5060>\n\
        Content-Type: application/sdp\n\
        Content-Length: 7\n\
        \n\
        v=0\n\
        s=",
    )
}

/// The BYE that ends it.
pub(crate) fn bye() -> Vec<u8> {
    crlf(
        "BYE sip:442079460123@203.0.113.5:5060 SIP/2.0\n\
        Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bKnashds8\n\
        Max-Forwards: 70\n\
        From: <sip:12025550100@198.51.100.7>;tag=1928301774\n\
        To: <sip:442079460123@203.0.113.5>;tag=a6c85cf\n\
        Call-ID: a84b4c76e66710@198.51.100.7\n\
        CSeq: 314160 BYE\n\
        Reason: Q.850;cause=16;text=\"Terminated\"\n\
        Content-Length: 0\n\
        \n",
    )
}

/// A phone's REGISTER with credentials.
pub(crate) fn register() -> Vec<u8> {
    crlf(
        "REGISTER sip:registrar.example.com SIP/2.0\n\
        Via: SIP/2.0/UDP 192.168.1.20:5060;branch=z9hG4bKnashds7;rport\n\
        Max-Forwards: 70\n\
        From: <sip:2001@registrar.example.com>;tag=456248\n\
        To: <sip:2001@registrar.example.com>\n\
        Call-ID: 843817637684230@998sdasdh09\n\
        CSeq: 1826 REGISTER\n\
        Contact: <sip:2001@192.168.1.20:5060>;expires=300\n\
        Authorization: Digest username=\"2001\", realm=\"example.com\", nonce=\"84a4cc6f3082121f32b42a2187831a9e\", \
        uri=\"sip:registrar.example.com\", response=\"7587245234b3434cc3412213e5f113a5\"\n\
        Expires: 300\n\
        Content-Length: 0\n\
        \n",
    )
}

/// An INVITE in the other clothes: compact names, IPv6, tel, folding, several values a line.
pub(crate) fn odd() -> Vec<u8> {
    crlf(
        "INVITE tel:+1-202-555-0100;npdi;rn=+12025559999 SIP/2.0\n\
        v: SIP/2.0/UDP [2001:db8::7]:5070;branch=z9hG4bKodd , SIP / 2.0 / TCP first.example.net\n\
        \x20;branch=z9hG4bKfirst\n\
        f: \"a <b>, \\\"c\\\"\" <sip:anonymous@[2001:db8::7]>;tag=odd\n\
        t: tel:+12025550100\n\
        i: odd@2001:db8::7\n\
        CSeq: 1 INVITE\n\
        m: <sip:a;b@[2001:db8::7]:5070;transport=udp>;q=0.5, \"x, y\" <sip:second@example.net>\n\
        k: timer\n\
        Diversion: <tel:+12025550111>;reason=no-answer,<sip:2@x>;reason=\"user,busy\"\n\
        X-Custom: something\n\
        l: 0\n\
        \n",
    )
}

pub(crate) fn all() -> Vec<Vec<u8>> {
    vec![invite(), ok(), bye(), register(), odd()]
}
