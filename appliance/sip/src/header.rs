//! Headers: which ones there are, and typed views of their values, made when asked for.

use std::net::IpAddr;

use memchr::{memchr, memchr2};

use crate::find::{find, same};
use crate::message::Message;
use crate::method::Method;
use crate::uri::{Host, NameAddr, Params, host_port, is_lws, is_token, parse_u32, trim, trim_end, trim_start};

macro_rules! headers {
    ($($variant:ident $name:literal $list:ident $($compact:literal)?;)*) => {
        /// A header we know by name; every other is [`HeaderId::Other`] and found with [`Message::other`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum HeaderId {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
            /// A header without a place in this list.
            Other,
        }

        impl HeaderId {
            /// How many there are, `Other` included.
            pub const COUNT: usize = HeaderId::Other as usize + 1;

            const ALL: [HeaderId; HeaderId::COUNT] = [$(HeaderId::$variant,)* HeaderId::Other];
            const NAMES: [&'static str; HeaderId::COUNT] = [$($name,)* ""];
            const LISTS: [bool; HeaderId::COUNT] = [$(headers!(@list $list),)* false];
            /// By letter, RFC 3261 section 7.3.3 and the registry of compact forms.
            const COMPACT: [HeaderId; 26] = {
                let mut table = [HeaderId::Other; 26];
                $($(table[($compact - b'a') as usize] = HeaderId::$variant;)?)*
                table
            };
        }
    };
    (@list list) => { true };
    (@list one) => { false };
}

// `list`: a comma separates values (RFC 3261 section 7.3.1). `one`: the line is one value, commas and all.
headers! {
    Via "Via" list b'v';
    From "From" one b'f';
    To "To" one b't';
    CallId "Call-ID" one b'i';
    CSeq "CSeq" one;
    MaxForwards "Max-Forwards" one;
    Contact "Contact" list b'm';
    ContentLength "Content-Length" one b'l';
    ContentType "Content-Type" one b'c';
    ContentEncoding "Content-Encoding" list b'e';
    ContentDisposition "Content-Disposition" one;
    ContentLanguage "Content-Language" list;
    MimeVersion "MIME-Version" one;
    Supported "Supported" list b'k';
    Subject "Subject" one b's';
    Event "Event" one b'o';
    AllowEvents "Allow-Events" list b'u';
    ReferTo "Refer-To" one b'r';
    ReferredBy "Referred-By" one b'b';
    SessionExpires "Session-Expires" one b'x';
    AcceptContact "Accept-Contact" list b'a';
    RequestDisposition "Request-Disposition" list b'd';
    RejectContact "Reject-Contact" list b'j';
    Identity "Identity" list b'y';
    IdentityInfo "Identity-Info" one b'n';
    Route "Route" list;
    RecordRoute "Record-Route" list;
    Path "Path" list;
    ServiceRoute "Service-Route" list;
    Require "Require" list;
    ProxyRequire "Proxy-Require" list;
    Unsupported "Unsupported" list;
    Allow "Allow" list;
    Accept "Accept" list;
    AcceptEncoding "Accept-Encoding" list;
    AcceptLanguage "Accept-Language" list;
    Expires "Expires" one;
    MinExpires "Min-Expires" one;
    MinSe "Min-SE" one;
    RAck "RAck" one;
    RSeq "RSeq" one;
    Reason "Reason" list;
    RetryAfter "Retry-After" one;
    Authorization "Authorization" one;
    ProxyAuthorization "Proxy-Authorization" one;
    WwwAuthenticate "WWW-Authenticate" one;
    ProxyAuthenticate "Proxy-Authenticate" one;
    AuthenticationInfo "Authentication-Info" one;
    UserAgent "User-Agent" one;
    Server "Server" one;
    Warning "Warning" list;
    Date "Date" one;
    Timestamp "Timestamp" one;
    Organization "Organization" one;
    Priority "Priority" one;
    InReplyTo "In-Reply-To" list;
    ReplyTo "Reply-To" one;
    AlertInfo "Alert-Info" list;
    CallInfo "Call-Info" list;
    ErrorInfo "Error-Info" list;
    Privacy "Privacy" one;
    PAssertedIdentity "P-Asserted-Identity" list;
    PPreferredIdentity "P-Preferred-Identity" list;
    RemotePartyId "Remote-Party-ID" list;
    Diversion "Diversion" list;
    HistoryInfo "History-Info" list;
    PChargeInfo "P-Charge-Info" one;
    PChargingVector "P-Charging-Vector" one;
    PEarlyMedia "P-Early-Media" list;
    UserToUser "User-to-User" list;
    Replaces "Replaces" one;
    Join "Join" one;
    SubscriptionState "Subscription-State" one;
    SipETag "SIP-ETag" one;
    SipIfMatch "SIP-If-Match" one;
    XTandemHop "X-Tandem-Hop" one;
}

/// Slots of the name table: a power of two, and over three times the number of names, so that a probe is short.
const SLOTS: usize = 256;

/// Name -> index into `ALL`, open addressing; `u8::MAX` is an empty slot.
const SLOT: [u8; SLOTS] = {
    assert!(HeaderId::COUNT * 3 < SLOTS);
    let mut table = [u8::MAX; SLOTS];
    let mut id = 0;
    while id < HeaderId::COUNT - 1 {
        // What `same` can compare.
        assert!(HeaderId::NAMES[id].len() <= 24);
        let mut slot = hash(HeaderId::NAMES[id].as_bytes());
        while table[slot] != u8::MAX {
            slot = (slot + 1) % SLOTS;
        }
        table[slot] = id as u8;
        id += 1;
    }
    table
};

/// Of the length and three letters; a letter's case is bit 5, which is left out. The factors were searched so that no two
/// of today's names meet; a new one that does costs a second probe.
const fn hash(name: &[u8]) -> usize {
    let len = name.len();
    let first = (name[0] & 0x1f) as usize;
    let middle = (name[len / 2] & 0x1f) as usize;
    let last = (name[len - 1] & 0x1f) as usize;
    (len * 99 + first * 29 + middle * 118 + last * 130) % SLOTS
}

impl HeaderId {
    /// The header of that name, long or compact, compared without case (RFC 3261 section 7.3.1).
    pub fn parse(name: &[u8]) -> HeaderId {
        match name {
            [] => return HeaderId::Other,
            [letter] => {
                let at = (letter | 0x20).wrapping_sub(b'a');
                return HeaderId::COMPACT.get(usize::from(at)).copied().unwrap_or(HeaderId::Other);
            }
            _ => {}
        }
        let mut slot = hash(name);
        while let Some(&id) = HeaderId::ALL.get(usize::from(SLOT[slot])) {
            let known = id.as_str().as_bytes();
            if known.len() == name.len() && (same(known, name) || known.eq_ignore_ascii_case(name)) {
                return id;
            }
            slot = (slot + 1) % SLOTS;
        }
        HeaderId::Other
    }

    /// The long name as we write it; empty for [`HeaderId::Other`].
    pub const fn as_str(self) -> &'static str {
        HeaderId::NAMES[self as usize]
    }

    /// Whether commas separate values on one line.
    pub const fn is_list(self) -> bool {
        HeaderId::LISTS[self as usize]
    }
}

/// The transport named in a Via.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP
    Udp,
    /// TCP
    Tcp,
    /// TLS over TCP
    Tls,
    /// SCTP
    Sctp,
    /// WebSocket, RFC 7118
    Ws,
    /// WebSocket over TLS, RFC 7118
    Wss,
    /// Any other token.
    Other,
}

impl Transport {
    /// Compared without case.
    pub fn parse(token: &[u8]) -> Transport {
        const ALL: [Transport; 6] =
            [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Sctp, Transport::Ws, Transport::Wss];
        ALL.into_iter().find(|known| known.as_str().as_bytes().eq_ignore_ascii_case(token)).unwrap_or(Transport::Other)
    }

    /// As written in a Via. `OTHER` for [`Transport::Other`], never to be sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::Sctp => "SCTP",
            Transport::Ws => "WS",
            Transport::Wss => "WSS",
            Transport::Other => "OTHER",
        }
    }
}

/// What a Via says about `rport` (RFC 3581).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rport {
    /// Not there.
    Absent,
    /// There without a value: the sender asks for the answer at the port it sent from.
    Asked,
    /// Filled in by the one who received the request.
    Port(u16),
}

/// One Via value (RFC 3261 section 20.42).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Via<'a> {
    /// `SIP/2.0/UDP`, blanks included.
    pub protocol: &'a [u8],
    /// The transport in it.
    pub transport: Transport,
    /// Host and port as written.
    pub sent_by: &'a [u8],
    /// Host as written, an IPv6 literal with its brackets.
    pub host: &'a [u8],
    /// Port, if there is one.
    pub port: Option<u16>,
    /// Transaction id; `None` in requests of RFC 2543 elements.
    pub branch: Option<&'a [u8]>,
    /// Symmetric response routing.
    pub rport: Rport,
    /// Source address as the next hop saw it, raw; brackets around IPv6 are seen with and without.
    pub received: Option<&'a [u8]>,
    /// All parameters.
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    pub(crate) const EMPTY: Via<'static> = Via {
        protocol: b"",
        transport: Transport::Other,
        sent_by: b"",
        host: b"",
        port: None,
        branch: None,
        rport: Rport::Absent,
        received: None,
        params: Params::EMPTY,
    };

    /// Reads one value. `None` if the protocol or the sent-by is broken, or a quote is never closed. Blanks may stand around every separator.
    pub fn parse(value: &'a [u8]) -> Option<Via<'a>> {
        let value = trim(value);
        // What nearly everybody writes.
        let (protocol, transport) = match value.first_chunk() {
            Some(b"SIP/2.0/UDP ") => (&value[..b"SIP/2.0/UDP".len()], Transport::Udp),
            _ => via_protocol(value)?,
        };
        let rest = &value[protocol.len()..];
        let sent_by_end = find(rest, [b';']).unwrap_or(rest.len());
        let sent_by = trim(&rest[..sent_by_end]);
        let (host, port) = host_port(sent_by).ok()?;
        let params = Params::new(&rest[sent_by_end..]);
        if !params.is_closed() {
            return None;
        }
        let mut via = Via {
            protocol,
            transport,
            sent_by,
            host,
            port,
            branch: None,
            rport: Rport::Absent,
            received: None,
            params,
        };
        for (name, value) in params {
            // The first of each counts; a broken helper in between may have added a second.
            if name.eq_ignore_ascii_case(b"branch") {
                via.branch = via.branch.or(value).filter(|branch| !branch.is_empty());
            } else if name.eq_ignore_ascii_case(b"rport") && via.rport == Rport::Absent {
                // A value that is no port still asks; the answer replaces it.
                via.rport = match value.and_then(parse_u32).and_then(|port| u16::try_from(port).ok()) {
                    Some(port) => Rport::Port(port),
                    None => Rport::Asked,
                };
            } else if name.eq_ignore_ascii_case(b"received") {
                via.received = via.received.or(value);
            }
        }
        Some(via)
    }

    /// Host of the sent-by, with literals read.
    pub fn host(&self) -> Host<'a> {
        Host::parse(self.host)
    }

    /// The `received` address, if there is a valid one.
    pub fn received_ip(&self) -> Option<IpAddr> {
        let text = std::str::from_utf8(self.received?).ok()?;
        text.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// Whether the branch was made the way of RFC 3261 section 8.1.1.7 (it begins with `z9hG4bK`). Requests without it
    /// are matched the RFC 2543 way; so are those whose branch is nothing but the cookie, which tells no two transactions
    /// apart (RFC 4475 section 3.2.1).
    pub fn has_magic_cookie(&self) -> bool {
        const COOKIE: &[u8] = b"z9hG4bK";
        let start = self.branch.and_then(|branch| branch.split_at_checked(COOKIE.len()));
        start.is_some_and(|(start, rest)| start.eq_ignore_ascii_case(COOKIE) && !rest.is_empty())
    }
}

/// CSeq (RFC 3261 section 20.16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CSeq<'a> {
    /// Below 2^31.
    pub number: u32,
    /// The method.
    pub method: Method,
    /// The token behind it.
    pub method_raw: &'a [u8],
}

impl<'a> CSeq<'a> {
    pub(crate) const EMPTY: CSeq<'static> = CSeq { number: 0, method: Method::Other, method_raw: b"" };

    /// Reads the value; `None` if it is not a number below 2^31 (RFC 3261 section 8.1.1.5) and a token.
    pub fn parse(value: &'a [u8]) -> Option<CSeq<'a>> {
        let (number, rest) = number(trim(value))?;
        let method_raw = trim(rest);
        if number > i32::MAX as u32 || rest.len() == method_raw.len() || !is_token(method_raw) {
            return None;
        }
        Some(CSeq { number, method: Method::parse(method_raw), method_raw })
    }
}

/// RAck (RFC 3262 section 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RAck<'a> {
    /// RSeq of the response that is confirmed.
    pub rseq: u32,
    /// CSeq of that response.
    pub cseq: CSeq<'a>,
}

impl<'a> RAck<'a> {
    /// Reads the value.
    pub fn parse(value: &'a [u8]) -> Option<RAck<'a>> {
        let (rseq, rest) = number(trim(value))?;
        Some(RAck { rseq, cseq: CSeq::parse(rest)? })
    }
}

/// One Contact value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contact<'a> {
    /// `*`: all bindings, RFC 3261 section 10.2.2.
    Star,
    /// An address.
    Addr(NameAddr<'a>),
}

impl<'a> Contact<'a> {
    /// Reads one value; `None` if it is broken.
    pub fn parse(value: &'a [u8]) -> Option<Contact<'a>> {
        if trim(value) == b"*" {
            return Some(Contact::Star);
        }
        NameAddr::parse(value).ok().map(Contact::Addr)
    }

    /// The address, unless it is the star.
    pub fn addr(&self) -> Option<&NameAddr<'a>> {
        match self {
            Contact::Star => None,
            Contact::Addr(addr) => Some(addr),
        }
    }
}

/// Who refreshes a session (RFC 4028 section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refresher {
    /// The side that sent the request.
    Uac,
    /// The side that answered it.
    Uas,
}

/// Session-Expires (RFC 4028 section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionExpires {
    /// Session interval in seconds.
    pub seconds: u32,
    /// Who refreshes, if named.
    pub refresher: Option<Refresher>,
}

impl SessionExpires {
    /// Reads the value.
    pub fn parse(value: &[u8]) -> Option<SessionExpires> {
        let (seconds, params) = delta(value)?;
        let refresher = match params.get("refresher") {
            Some(side) if side.eq_ignore_ascii_case(b"uac") => Some(Refresher::Uac),
            Some(side) if side.eq_ignore_ascii_case(b"uas") => Some(Refresher::Uas),
            _ => None,
        };
        Some(SessionExpires { seconds, refresher })
    }
}

/// Retry-After (RFC 3261 section 20.33).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter {
    /// Seconds to stay away.
    pub seconds: u32,
    /// Seconds it will then be reachable, if said.
    pub duration: Option<u32>,
}

impl RetryAfter {
    /// Reads the value; a comment in parentheses is skipped.
    pub fn parse(value: &[u8]) -> Option<RetryAfter> {
        let (seconds, params) = delta(value)?;
        Some(RetryAfter { seconds, duration: params.get("duration").and_then(delta).map(|(n, _)| n) })
    }
}

/// One Reason value (RFC 3326).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason<'a> {
    /// `SIP`, `Q.850` ...
    pub protocol: &'a [u8],
    /// Status or cause.
    pub cause: Option<u16>,
    /// Text as written, with its quotes; see [`crate::uri::unquote`].
    pub text: Option<&'a [u8]>,
}

impl<'a> Reason<'a> {
    /// Reads one value.
    pub fn parse(value: &'a [u8]) -> Option<Reason<'a>> {
        let (protocol, params) = head(value);
        let cause = params.get("cause").and_then(parse_u32).and_then(|cause| u16::try_from(cause).ok());
        is_token(protocol).then_some(Reason { protocol, cause, text: params.get("text") })
    }

    /// Whether the cause is one of Q.850.
    pub fn is_q850(&self) -> bool {
        self.protocol.eq_ignore_ascii_case(b"Q.850")
    }

    /// Whether the cause is a SIP status.
    pub fn is_sip(&self) -> bool {
        self.protocol.eq_ignore_ascii_case(b"SIP")
    }
}

/// Content-Type (RFC 3261 section 20.15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentType<'a> {
    /// `application`
    pub kind: &'a [u8],
    /// `sdp`
    pub subtype: &'a [u8],
    /// Parameters.
    pub params: Params<'a>,
}

impl<'a> ContentType<'a> {
    /// Reads the value.
    pub fn parse(value: &'a [u8]) -> Option<ContentType<'a>> {
        // What nearly everybody writes.
        if value == b"application/sdp" {
            return Some(ContentType { kind: b"application", subtype: b"sdp", params: Params::EMPTY });
        }
        let (media, params) = head(value);
        let slash = memchr(b'/', media)?;
        let (kind, subtype) = (trim_end(&media[..slash]), trim_start(&media[slash + 1..]));
        (is_token(kind) && is_token(subtype)).then_some(ContentType { kind, subtype, params })
    }

    /// Compares without case.
    pub fn is(&self, kind: &str, subtype: &str) -> bool {
        let same = |one: &[u8], other: &str| one == other.as_bytes() || one.eq_ignore_ascii_case(other.as_bytes());
        same(self.kind, kind) && same(self.subtype, subtype)
    }

    /// The boundary of a multipart body, without quotes. `None` if missing, empty or over 70 bytes (RFC 2046
    /// section 5.1.1). Backslashes inside a quoted boundary are outside what a boundary may hold and are not undone.
    pub fn boundary(&self) -> Option<&'a [u8]> {
        let raw = self.params.get("boundary")?;
        let raw = raw.strip_prefix(b"\"").and_then(|raw| raw.strip_suffix(b"\"")).unwrap_or(raw);
        (1..=70).contains(&raw.len()).then_some(raw)
    }
}

/// The wishes of a Privacy header (RFC 3323, RFC 3325).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Privacy {
    /// Asserted identity must not leave the trust domain.
    pub id: bool,
    /// Hide headers that tell where the caller is.
    pub header: bool,
    /// Hide media addresses.
    pub session: bool,
    /// The user's own headers are to be hidden.
    pub user: bool,
    /// Explicitly no privacy.
    pub none: bool,
    /// Fail the call rather than do without.
    pub critical: bool,
}

impl Privacy {
    /// Reads the value; values we do not know are ignored. Commas, which some use instead of `;`, separate too.
    pub fn parse(value: &[u8]) -> Privacy {
        let mut privacy = Privacy::default();
        for word in value.split(|byte| matches!(byte, b';' | b',')).map(trim) {
            for (name, flag) in [
                ("id", &mut privacy.id),
                ("header", &mut privacy.header),
                ("session", &mut privacy.session),
                ("user", &mut privacy.user),
                ("none", &mut privacy.none),
                ("critical", &mut privacy.critical),
            ] {
                *flag |= word.eq_ignore_ascii_case(name.as_bytes());
            }
        }
        privacy
    }
}

/// Typed access, each for one header of a message. `None` means missing or unusable alike; where the difference matters,
/// look at [`Message::header`].
impl<'a> Message<'a> {
    /// Hops left; 255 for a larger number.
    pub fn max_forwards(&self) -> Option<u8> {
        let value = self.header(HeaderId::MaxForwards)?;
        value
            .iter()
            .all(u8::is_ascii_digit)
            .then(|| delta(value))?
            .map(|(hops, _)| u8::try_from(hops).unwrap_or(u8::MAX))
    }

    /// Expires in seconds.
    pub fn expires(&self) -> Option<u32> {
        delta(self.header(HeaderId::Expires)?).map(|(seconds, _)| seconds)
    }

    /// Min-Expires in seconds.
    pub fn min_expires(&self) -> Option<u32> {
        delta(self.header(HeaderId::MinExpires)?).map(|(seconds, _)| seconds)
    }

    /// Session-Expires.
    pub fn session_expires(&self) -> Option<SessionExpires> {
        SessionExpires::parse(self.header(HeaderId::SessionExpires)?)
    }

    /// Min-SE in seconds.
    pub fn min_se(&self) -> Option<u32> {
        delta(self.header(HeaderId::MinSe)?).map(|(seconds, _)| seconds)
    }

    /// Retry-After.
    pub fn retry_after(&self) -> Option<RetryAfter> {
        RetryAfter::parse(self.header(HeaderId::RetryAfter)?)
    }

    /// RSeq of a reliable provisional response.
    pub fn rseq(&self) -> Option<u32> {
        parse_u32(self.header(HeaderId::RSeq)?)
    }

    /// RAck of a PRACK.
    pub fn rack(&self) -> Option<RAck<'a>> {
        RAck::parse(self.header(HeaderId::RAck)?)
    }

    /// From.
    pub fn from(&self) -> Option<NameAddr<'a>> {
        self.from
    }

    /// To.
    pub fn to(&self) -> Option<NameAddr<'a>> {
        self.to
    }

    /// All usable Contact values, in order.
    pub fn contacts(&self) -> impl Iterator<Item = Contact<'a>> + '_ {
        self.all(HeaderId::Contact).filter_map(Contact::parse)
    }

    /// The first Contact that is an address.
    pub fn contact(&self) -> Option<NameAddr<'a>> {
        self.contacts().find_map(|contact| contact.addr().copied())
    }

    /// All usable values of a header made of name-addrs (Route, P-Asserted-Identity, Diversion ...), in order.
    pub fn name_addrs(&self, id: HeaderId) -> impl Iterator<Item = NameAddr<'a>> + '_ {
        self.all(id).filter_map(|value| NameAddr::parse(value).ok())
    }

    /// All usable Via values, top first.
    pub fn vias(&self) -> impl Iterator<Item = Via<'a>> + '_ {
        let mut values = self.all(HeaderId::Via);
        // The index has read the top one, which is the first value unless it could not be read.
        let top = Some(self.via).filter(|via| !via.host.is_empty());
        if top.is_some() {
            values.next();
        }
        top.into_iter().chain(values.filter_map(Via::parse))
    }

    /// All usable Reason values, in order.
    pub fn reasons(&self) -> impl Iterator<Item = Reason<'a>> + '_ {
        self.all(HeaderId::Reason).filter_map(Reason::parse)
    }

    /// Content-Type.
    pub fn content_type(&self) -> Option<ContentType<'a>> {
        ContentType::parse(self.header(HeaderId::ContentType)?)
    }

    /// The wishes of all Privacy lines together.
    pub fn privacy(&self) -> Privacy {
        let mut sum = Privacy::default();
        for one in self.all(HeaderId::Privacy).map(Privacy::parse) {
            sum.id |= one.id;
            sum.header |= one.header;
            sum.session |= one.session;
            sum.user |= one.user;
            sum.none |= one.none;
            sum.critical |= one.critical;
        }
        sum
    }

    /// Whether a list of tokens (Supported, Require, Allow ...) holds one, compared without case.
    pub fn lists(&self, id: HeaderId, token: &str) -> bool {
        self.any_token(id, token.as_bytes(), <[u8]>::eq_ignore_ascii_case)
    }

    /// Whether Allow names a method. Methods are case-sensitive; a missing Allow names none.
    pub fn allows(&self, method: Method) -> bool {
        self.any_token(HeaderId::Allow, method.as_str().as_bytes(), |one, other| one == other)
    }

    /// Whether a value of that header is `token`. Faster than [`Message::all`] by far, because lists of tokens have neither
    /// quotes nor brackets; one that has is read by that.
    fn any_token(&self, id: HeaderId, token: &[u8], same: impl Fn(&[u8], &[u8]) -> bool) -> bool {
        if !self.has(id) {
            return false;
        }
        if !id.is_list() || token.is_empty() || self.lines(id).any(|line| memchr2(b'"', b'<', line).is_some()) {
            return self.all(id).any(|value| same(value, token));
        }
        self.lines(id).any(|mut rest| {
            loop {
                rest = trim_start(rest);
                if let Some((start, tail)) = rest.split_at_checked(token.len())
                    && same(start, token)
                    && matches!(trim_start(tail), [] | [b',', ..])
                {
                    return true;
                }
                match find(rest, [b',']) {
                    Some(comma) => rest = &rest[comma + 1..],
                    None => return false,
                }
            }
        })
    }
}

/// `SIP / 2.0 / transport` at the start of a Via, up to the blank that ends it.
fn via_protocol(value: &[u8]) -> Option<(&[u8], Transport)> {
    let first_slash = memchr(b'/', value)?;
    let second_slash = first_slash + 1 + memchr(b'/', &value[first_slash + 1..])?;
    let version = trim(&value[first_slash + 1..second_slash]);
    if !is_token(trim_end(&value[..first_slash])) || !is_token(version) {
        return None;
    }
    let rest = trim_start(&value[second_slash + 1..]);
    let transport_len = rest.iter().position(|byte| is_lws(*byte))?;
    let transport = &rest[..transport_len];
    let protocol = &value[..value.len() - rest.len() + transport_len];
    is_token(transport).then(|| (protocol, Transport::parse(transport)))
}

/// What stands before the parameters, and the parameters.
fn head(value: &[u8]) -> (&[u8], Params<'_>) {
    let end = memchr(b';', value).unwrap_or(value.len());
    (trim(&value[..end]), Params::new(&value[end..]))
}

/// Leading digits and the rest.
fn number(value: &[u8]) -> Option<(u32, &[u8])> {
    let mut sum = None;
    let mut rest = value;
    while let [digit @ b'0'..=b'9', tail @ ..] = rest {
        sum = Some(sum.unwrap_or(0u32).checked_mul(10)?.checked_add(u32::from(digit - b'0'))?);
        rest = tail;
    }
    Some((sum?, rest))
}

/// Seconds (RFC 3261 `delta-seconds`), with their parameters; a comment in between is skipped. What does not fit is
/// taken as the largest, as RFC 3261 section 20.19 bounds it: to the sender it means "very long" either way.
pub(crate) fn delta(value: &[u8]) -> Option<(u32, Params<'_>)> {
    let value = trim(value);
    let end = value.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
    if end == 0 {
        return None;
    }
    let seconds = parse_u32(&value[..end]).unwrap_or(u32::MAX);
    let rest = trim_start(&value[end..]);
    let rest = match rest.first() {
        Some(b'(') => &rest[memchr(b')', rest)? + 1..],
        None | Some(b';') => rest,
        Some(_) => return None,
    };
    Some((seconds, Params::new(trim_start(rest))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uri::unquote;

    #[test]
    fn every_name_finds_itself_in_any_case() {
        for id in HeaderId::ALL.into_iter().filter(|id| *id != HeaderId::Other) {
            assert_eq!(HeaderId::parse(id.as_str().as_bytes()), id);
            assert_eq!(HeaderId::parse(id.as_str().to_uppercase().as_bytes()), id);
            assert_eq!(HeaderId::parse(id.as_str().to_lowercase().as_bytes()), id);
        }
        for name in ["", "-", "X-Unknown", "Vias", "Fro", "\u{7f}\u{7f}"] {
            assert_eq!(HeaderId::parse(name.as_bytes()), HeaderId::Other, "{name}");
        }
    }

    #[test]
    fn compact_forms_are_the_registered_ones() {
        for (letter, id) in [
            ("v", HeaderId::Via),
            ("f", HeaderId::From),
            ("t", HeaderId::To),
            ("i", HeaderId::CallId),
            ("m", HeaderId::Contact),
            ("l", HeaderId::ContentLength),
            ("c", HeaderId::ContentType),
            ("k", HeaderId::Supported),
            ("X", HeaderId::SessionExpires),
            ("z", HeaderId::Other),
            ("%", HeaderId::Other),
        ] {
            assert_eq!(HeaderId::parse(letter.as_bytes()), id, "{letter}");
        }
    }

    #[test]
    fn via_reads_through_blanks_and_folding() {
        let via =
            Via::parse(b"SIP  / 2.0\r\n / UdP\r\n   [2001:db8::1] : 5070 ; branch = z9hG4bKx;rport ;received=[::1]")
                .unwrap();
        assert_eq!((via.transport, via.port, via.rport), (Transport::Udp, Some(5070), Rport::Asked));
        assert_eq!(via.branch, Some(&b"z9hG4bKx"[..]));
        assert!(via.has_magic_cookie());
        assert_eq!(via.host().ip(), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(via.received_ip(), Some("::1".parse().unwrap()));
    }

    #[test]
    fn via_keeps_unknown_transports_and_old_branches() {
        let via = Via::parse(b"SIP/2.0/FOO gw.example.net;branch=1;rport=5071").unwrap();
        assert_eq!((via.transport, via.rport), (Transport::Other, Rport::Port(5071)));
        assert_eq!(via.protocol, b"SIP/2.0/FOO");
        assert!(!via.has_magic_cookie());
        let old = Via::parse(b"SIP/2.0/UDP h;rport=x").unwrap();
        assert_eq!((old.branch, old.rport), (None, Rport::Asked));
    }

    #[test]
    fn the_first_of_a_doubled_via_parameter_counts() {
        let via =
            Via::parse(b"SIP/2.0/UDP h;branch=a;rport=1;received=10.0.0.1;branch=b;rport=2;received=10.0.0.2").unwrap();
        assert_eq!((via.branch, via.rport), (Some(&b"a"[..]), Rport::Port(1)));
        assert_eq!(via.received_ip(), Some("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn broken_vias_are_refused() {
        for text in ["", "SIP/2.0", "SIP/2.0/UDP", "SIP/2.0/UDP ;branch=x", "SIP/2.0/UDP h:99999", "/2.0/UDP h"] {
            assert_eq!(Via::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn cseq_has_bounds() {
        assert_eq!(CSeq::parse(b"0009\r\n  INVITE").unwrap().number, 9);
        assert_eq!(CSeq::parse(b"2147483647 BYE").unwrap().method, Method::Bye);
        for text in ["2147483648 BYE", "36893488147419103232 BYE", "-1 BYE", "1", "1BYE", "BYE 1", "1 B YE"] {
            assert_eq!(CSeq::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn numbers_with_parameters_and_comments() {
        assert_eq!(delta(b"18000 (in a meeting) ;duration=3600").unwrap().0, 18000);
        assert_eq!(
            RetryAfter::parse(b"18000;duration=3600"),
            Some(RetryAfter { seconds: 18000, duration: Some(3600) })
        );
        assert_eq!(delta(b"99999999999").unwrap().0, u32::MAX);
        assert!(delta(b"-1").is_none() && delta(b"").is_none() && delta(b"1x").is_none());
        assert_eq!(
            SessionExpires::parse(b"600 ;Refresher=UAS"),
            Some(SessionExpires { seconds: 600, refresher: Some(Refresher::Uas) })
        );
        let rack = RAck::parse(b"776656 1 INVITE").unwrap();
        assert_eq!((rack.rseq, rack.cseq.number, rack.cseq.method), (776_656, 1, Method::Invite));
    }

    #[test]
    fn reasons_carry_their_text() {
        let reason = Reason::parse(br#"Q.850;cause=16;text="a, \"b\"; c""#).unwrap();
        assert!(reason.is_q850() && !reason.is_sip());
        assert_eq!(reason.cause, Some(16));
        assert_eq!(unquote(reason.text.unwrap()).as_ref(), br#"a, "b"; c"#);
    }

    #[test]
    fn content_types_and_boundaries() {
        let kind = ContentType::parse(b"Multipart/Mixed ;boundary=\"a b\"").unwrap();
        assert!(kind.is("multipart", "mixed"));
        assert_eq!(kind.boundary(), Some(&b"a b"[..]));
        assert_eq!(ContentType::parse(b"application/sdp").unwrap().boundary(), None);
        assert_eq!(ContentType::parse(b"sdp"), None);
    }

    #[test]
    fn privacy_words_add_up() {
        let privacy = Privacy::parse(b"id; header;critical;unheard-of");
        assert!(privacy.id && privacy.header && privacy.critical && !privacy.user);
    }
}
