//! URIs and the name-addr around them, as views over borrowed bytes (RFC 3261 sections 19.1 and 20.10, RFC 3966,
//! RFC 4694).
//!
//! Liberal where the meaning is clear (bytes above 127, `_` in host names, escapes that are not hexadecimal), strict
//! where two readers could see different users or hosts. Nothing here allocates except the two functions that return a
//! `Cow`, and those only when there is something to change.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use memchr::{memchr, memchr2};

use crate::find::find;

/// Longest number, routing number or user name taken out of a URI, in bytes. E.164 has 15 digits; carrier prefixes and
/// phone contexts add to that. What is longer is refused, because a cut number would reach somebody else.
pub const NUMBER_BYTES_MAX: usize = 64;

/// Why a URI or a name-addr cannot be used. The name is the metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// No scheme, or one with bytes no scheme has.
    #[error("the URI has no valid scheme")]
    Scheme,
    /// The part before `@` holds white space, a control byte or a delimiter of the surrounding header.
    #[error("the user part of the URI holds a byte that must be escaped")]
    User,
    /// Missing host, a byte no host has, or a broken IPv6 literal.
    #[error("the host of the URI is not valid")]
    Host,
    /// A port that is not a number up to 65535.
    #[error("the port is not a number up to 65535")]
    Port,
    /// A quoted display name or parameter, or an angle bracket, that is never closed.
    #[error("a quote or an angle bracket is not closed")]
    Unclosed,
    /// A number or user longer than [`NUMBER_BYTES_MAX`], or holding bytes that are not printable ASCII.
    #[error("the user part is not a number or name we can route")]
    Number,
}

/// The scheme of a URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `sip:`
    Sip,
    /// `sips:`
    Sips,
    /// `tel:`, RFC 3966
    Tel,
    /// Anything else, `urn:service:sos` for one. Only `raw` and `opaque` mean something then.
    Other,
}

/// What stands for the machine in a URI or a Via.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Host<'a> {
    /// An IPv4 or IPv6 literal.
    Ip(IpAddr),
    /// A name for DNS.
    Name(&'a [u8]),
}

impl<'a> Host<'a> {
    /// Reads a host as it stands in a message: IPv6 in brackets, IPv4, or a name.
    pub fn parse(raw: &'a [u8]) -> Host<'a> {
        match ip_literal(raw) {
            Some(ip) => Host::Ip(ip),
            None => Host::Name(raw),
        }
    }

    /// The address, if the host is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Host::Ip(ip) => Some(*ip),
            Host::Name(_) => None,
        }
    }
}

/// A URI taken apart, nothing unescaped yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uri<'a> {
    /// The whole URI as written.
    pub raw: &'a [u8],
    /// The scheme.
    pub scheme: Scheme,
    /// User of a sip URI (escapes and `;`-parameters included), number of a tel URI. `None` when empty or absent.
    pub user: Option<&'a [u8]>,
    /// Password of a sip URI, as written. Never to be logged.
    pub password: Option<&'a [u8]>,
    /// Host of a sip URI as written, an IPv6 literal with its brackets. Empty for other schemes.
    pub host: &'a [u8],
    /// Port of a sip URI.
    pub port: Option<u16>,
    /// URI parameters (`transport`, `user`, `lr`, `maddr`, for tel `rn`, `npdi`, `phone-context`).
    pub params: Params<'a>,
    /// What follows `?` in a sip URI, without the `?`; empty if nothing does.
    pub headers: &'a [u8],
    /// What follows the colon after the scheme.
    pub opaque: &'a [u8],
}

impl<'a> Uri<'a> {
    /// Takes a URI apart. Linear in its length.
    ///
    /// # Errors
    /// [`UriError`] naming the part that is wrong. A scheme we do not know is not an error.
    pub fn parse(raw: &'a [u8]) -> Result<Uri<'a>, UriError> {
        // What nearly everybody writes.
        let colon = if raw.starts_with(b"sip:") { 3 } else { find(raw, [b':']).ok_or(UriError::Scheme)? };
        let (name, opaque) = (&raw[..colon], &raw[colon + 1..]);
        let scheme = if name == b"sip" || name.eq_ignore_ascii_case(b"sip") {
            Scheme::Sip
        } else if name.eq_ignore_ascii_case(b"sips") {
            Scheme::Sips
        } else if name.eq_ignore_ascii_case(b"tel") {
            Scheme::Tel
        } else if is_scheme(name) {
            Scheme::Other
        } else {
            return Err(UriError::Scheme);
        };
        let mut uri = Uri {
            raw,
            scheme,
            user: None,
            password: None,
            host: b"",
            port: None,
            params: Params::new(b""),
            headers: b"",
            opaque,
        };
        match scheme {
            Scheme::Sip | Scheme::Sips => uri.read_sip(opaque)?,
            Scheme::Tel => uri.read_tel(opaque)?,
            Scheme::Other => {
                if opaque.iter().copied().any(is_unfit) {
                    return Err(UriError::User);
                }
            }
        }
        Ok(uri)
    }

    /// RFC 3261 section 25.1: neither a parameter nor a header may hold a bare `@`, but a user may hold `;` and `?`.
    /// So the first `@`, wherever it stands, ends the user.
    fn read_sip(&mut self, rest: &'a [u8]) -> Result<(), UriError> {
        let mut rest = rest;
        if let Some(at) = find(rest, [b'@']) {
            let user_info = &rest[..at];
            // All bits of the bytes together: one look at the end.
            if user_info.iter().fold(0, |class, byte| class | CLASS[*byte as usize]) & UNFIT != 0 {
                return Err(UriError::User);
            }
            let (user, password) = match find(user_info, [b':']) {
                Some(colon) => (&user_info[..colon], Some(&user_info[colon + 1..])),
                None => (user_info, None),
            };
            // An empty user is outside the grammar, but anonymous callers send `sip:@host`.
            self.user = Some(user).filter(|user| !user.is_empty());
            self.password = password;
            rest = &rest[at + 1..];
        }
        let host_end = find(rest, [b';', b'?']).unwrap_or(rest.len());
        (self.host, self.port) = host_port(&rest[..host_end])?;
        rest = &rest[host_end..];
        if rest.is_empty() {
            return Ok(());
        }
        if let Some(question) = find(rest, [b'?']) {
            self.headers = &rest[question + 1..];
            rest = &rest[..question];
        }
        if rest.iter().chain(self.headers).any(|&byte| byte <= b' ' || byte == 0x7f) {
            return Err(UriError::Host);
        }
        self.params = Params::new(rest);
        Ok(())
    }

    fn read_tel(&mut self, rest: &'a [u8]) -> Result<(), UriError> {
        if rest.iter().copied().any(is_unfit) {
            return Err(UriError::User);
        }
        let end = memchr(b';', rest).unwrap_or(rest.len());
        if end == 0 {
            return Err(UriError::User);
        }
        self.user = Some(&rest[..end]);
        self.params = Params::new(&rest[end..]);
        Ok(())
    }

    /// The host, with literals read.
    pub fn host(&self) -> Host<'a> {
        Host::parse(self.host)
    }

    /// A URI parameter by name. See [`Params::get`].
    pub fn param(&self, name: &str) -> Option<&'a [u8]> {
        self.params.get(name)
    }

    /// Whether a parameter is present, with or without a value.
    pub fn has_param(&self, name: &str) -> bool {
        self.params.has(name)
    }

    /// The number (or user name) this URI dials, ready for matching: escapes decoded, `+` and visual separators taken
    /// off, `;npdi` and `;rn=` read from inside the user part or from the parameters (RFC 3966, RFC 4694,
    /// signalling section 15).
    ///
    /// A user that is not made of dialling characters (`alice`, `j.user`) is returned decoded and otherwise untouched.
    ///
    /// # Errors
    /// [`UriError::Number`] if there is no user, if it is longer than [`NUMBER_BYTES_MAX`], or if it decodes to bytes
    /// that are not printable ASCII (an escaped NUL, for one).
    pub fn dialled(&self) -> Result<Dialled, UriError> {
        let user = self.user.ok_or(UriError::Number)?;
        let end = find(user, [b';']).unwrap_or(user.len());
        let (number, plus) = dial_string(&user[..end])?;
        if number.is_empty() {
            return Err(UriError::Number);
        }
        if end == user.len() && self.params.rest.is_empty() {
            return Ok(Dialled { number, plus, npdi: false, routing: Text::default() });
        }
        let inside = Params::new(&user[end..]);
        let routing = inside.get("rn").or_else(|| self.param("rn"));
        Ok(Dialled {
            number,
            plus,
            npdi: inside.has("npdi") || self.has_param("npdi"),
            routing: match routing {
                Some(raw) => dial_string(raw)?.0,
                None => Text::default(),
            },
        })
    }
}

/// A dialled number without decoration. See [`Uri::dialled`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialled {
    number: Text,
    routing: Text,
    /// It began with `+`: an international number (RFC 3966 global-number).
    pub plus: bool,
    /// A portability lookup was already made (RFC 4694 `npdi`).
    pub npdi: bool,
}

impl Dialled {
    /// The number or user name.
    pub fn number(&self) -> &str {
        self.number.as_str()
    }

    /// The routing number (RFC 4694 `rn`), if one was given.
    pub fn routing_number(&self) -> Option<&str> {
        Some(self.routing.as_str()).filter(|number| !number.is_empty())
    }
}

/// A short piece of printable ASCII that needs no heap.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Text {
    bytes: [u8; NUMBER_BYTES_MAX],
    len: u8,
}

impl Default for Text {
    fn default() -> Text {
        Text { bytes: [0; NUMBER_BYTES_MAX], len: 0 }
    }
}

impl Text {
    fn push(&mut self, byte: u8) -> Result<(), UriError> {
        let slot = self.bytes.get_mut(self.len as usize).ok_or(UriError::Number)?;
        *slot = byte;
        self.len += 1;
        Ok(())
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }

    fn as_str(&self) -> &str {
        // Only printable ASCII is ever pushed, so this is never the empty fallback.
        std::str::from_utf8(self.as_bytes()).unwrap_or("")
    }

    fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// Decodes one number; true if it began with `+`.
fn dial_string(raw: &[u8]) -> Result<(Text, bool), UriError> {
    // What nearly everybody writes: digits, perhaps behind a plus.
    let (digits, plus) = match raw {
        [b'+', digits @ ..] => (digits, true),
        _ => (raw, false),
    };
    if raw.len() <= NUMBER_BYTES_MAX && digits.iter().all(|byte| CLASS[*byte as usize] & DIALLING != 0) {
        let mut number = Text::default();
        number.bytes[..digits.len()].copy_from_slice(digits);
        number.len = digits.len() as u8;
        return Ok((number, plus));
    }
    let mut decoded = Text::default();
    let mut rest = raw;
    while let Some((byte, tail)) = decode_one(rest) {
        if !(0x20..0x7f).contains(&byte) {
            return Err(UriError::Number);
        }
        decoded.push(byte)?;
        rest = tail;
    }
    let plus = decoded.as_bytes().first() == Some(&b'+');
    let digits = &decoded.as_bytes()[usize::from(plus)..];
    if !digits.iter().copied().all(|byte| is_dialling(byte) || is_separator(byte)) {
        return Ok((decoded, false));
    }
    let mut number = Text::default();
    for &byte in digits.iter().filter(|byte| !is_separator(**byte)) {
        number.push(byte)?;
    }
    Ok((number, plus))
}

/// Digits, the keys `*` and `#`, and the hexadecimal letters of routing numbers (RFC 3966 phonedigit-hex).
const fn is_dialling(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || byte == b'*' || byte == b'#'
}

/// RFC 3966 visual-separator; a blank is added because escapes can hide one.
fn is_separator(byte: u8) -> bool {
    matches!(byte, b'-' | b'.' | b'(' | b')' | b' ')
}

/// The next byte of an escaped string, and what follows it. A `%` without two hexadecimal digits stands for itself.
fn decode_one(raw: &[u8]) -> Option<(u8, &[u8])> {
    let (&first, tail) = raw.split_first()?;
    if first == b'%'
        && let [high, low, rest @ ..] = tail
        && let (Some(high), Some(low)) = (hex(*high), hex(*low))
    {
        return Some((high << 4 | low, rest));
    }
    Some((first, tail))
}

fn hex(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

/// Percent escapes decoded (RFC 3261 section 19.1.2); borrowed when there are none.
pub fn unescape(raw: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b'%', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((byte, tail)) = decode_one(rest) {
        out.push(byte);
        rest = tail;
    }
    Cow::Owned(out)
}

/// A URI with its display name and header parameters: From, To, Contact, Route, P-Asserted-Identity, Diversion ...
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name as written: quotes included, backslashes not yet taken off. `None` if there is none.
    pub display: Option<&'a [u8]>,
    /// The URI between the angle brackets, or up to the first `;` when there are no brackets (RFC 3261 section 20.10).
    pub uri_raw: &'a [u8],
    /// Header parameters: `tag`, `q`, `expires`, `reason`, `privacy` ...
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Takes one value apart; the URI itself is not looked into. Linear in the length.
    ///
    /// # Errors
    /// [`UriError::Unclosed`] for an open quote or bracket, also in a parameter, [`UriError::Scheme`] if there is no URI at all.
    pub fn parse(value: &'a [u8]) -> Result<NameAddr<'a>, UriError> {
        let value = trim(value);
        let name_end = if value.first() == Some(&b'"') { quoted_end(value).ok_or(UriError::Unclosed)? } else { 0 };
        let (display, uri_raw, rest) = match find(&value[name_end..], [b'<']) {
            Some(open) => {
                let open = name_end + open;
                let close = open + memchr(b'>', &value[open..]).ok_or(UriError::Unclosed)?;
                (trim(&value[..open]), trim(&value[open + 1..close]), &value[close + 1..])
            }
            None => {
                let end = memchr(b';', &value[name_end..]).map_or(value.len(), |at| name_end + at);
                (&value[..name_end], trim(&value[name_end..end]), &value[end..])
            }
        };
        if uri_raw.is_empty() {
            return Err(UriError::Scheme);
        }
        let params = Params::new(rest);
        if !rest.is_empty() && !params.is_closed() {
            return Err(UriError::Unclosed);
        }
        Ok(NameAddr { display: Some(display).filter(|name| !name.is_empty()), uri_raw, params })
    }

    /// The URI taken apart.
    ///
    /// # Errors
    /// As [`Uri::parse`].
    pub fn uri(&self) -> Result<Uri<'a>, UriError> {
        Uri::parse(self.uri_raw)
    }

    /// The display name as people read it: quotes and backslashes removed.
    pub fn display_text(&self) -> Option<Cow<'a, [u8]>> {
        self.display.map(unquote)
    }

    /// The dialog tag.
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.params.get("tag").filter(|tag| !tag.is_empty())
    }

    /// A header parameter by name. See [`Params::get`].
    pub fn param(&self, name: &str) -> Option<&'a [u8]> {
        self.params.get(name)
    }
}

/// Parameters `;name=value;flag`, read when asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params<'a> {
    rest: &'a [u8],
}

impl<'a> Params<'a> {
    pub(crate) const EMPTY: Params<'static> = Params { rest: b"" };

    /// Parameters of `raw`, which is everything from the first `;` on (the leading `;` may be missing).
    pub fn new(raw: &'a [u8]) -> Params<'a> {
        Params { rest: raw }
    }

    /// Whether every quote is closed. What we add behind an open one (a tag, `received`) would be read as part of it.
    pub(crate) fn is_closed(&self) -> bool {
        let mut rest = self.rest;
        while let Some(open) = find(rest, [b'"']) {
            match quoted_end(&rest[open..]) {
                Some(length) => rest = &rest[open + length..],
                None => return false,
            }
        }
        true
    }

    /// The bytes they are read from.
    pub fn raw(&self) -> &'a [u8] {
        self.rest
    }

    /// The value of the first parameter of that name (compared without case), as written; empty if it has none.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        self.into_iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value.unwrap_or(b""))
    }

    /// Whether a parameter of that name is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

impl<'a> IntoIterator for Params<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);
    type IntoIter = ParamsIter<'a>;

    fn into_iter(self) -> ParamsIter<'a> {
        ParamsIter { rest: self.rest }
    }
}

/// Iterator over `(name, value)`. See [`Params`].
#[derive(Debug, Clone)]
pub struct ParamsIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for ParamsIter<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        while let [first, tail @ ..] = self.rest {
            if *first == b';' {
                self.rest = tail;
                continue;
            }
            let (end, equals) = param_end(self.rest);
            let (part, rest) = self.rest.split_at(end);
            self.rest = rest.get(1..).unwrap_or(b"");
            if let Some(equals) = equals {
                return Some((trim(&part[..equals]), Some(trim(&part[equals + 1..]))));
            }
            let name = trim(part);
            if !name.is_empty() {
                return Some((name, None));
            }
        }
        None
    }
}

/// Where the first parameter ends, and its `=`.
fn param_end(raw: &[u8]) -> (usize, Option<usize>) {
    let mut equals = None;
    let mut at = 0;
    while let Some(found) = find(&raw[at..], [b';', b'=', b'"']) {
        at += found;
        match raw[at] {
            b';' => return (at, equals),
            b'=' => {
                equals = equals.or(Some(at));
                at += 1;
            }
            _ => match quoted_end(&raw[at..]) {
                Some(length) => at += length,
                None => break,
            },
        }
    }
    (raw.len(), equals)
}

/// Quotes and backslashes removed from a quoted string (RFC 3261 section 25.1); anything else is returned as it is.
pub fn unquote(raw: &[u8]) -> Cow<'_, [u8]> {
    let [b'"', inner @ .., b'"'] = raw else { return Cow::Borrowed(raw) };
    if memchr(b'\\', inner).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'\\' => out.extend(bytes.next()),
            _ => out.push(byte),
        }
    }
    Cow::Owned(out)
}

/// Host and optional port of a URI or a Via sent-by; blanks around the colon are allowed, as in a Via.
///
/// # Errors
/// [`UriError::Host`] or [`UriError::Port`].
pub(crate) fn host_port(raw: &[u8]) -> Result<(&[u8], Option<u16>), UriError> {
    let raw = trim(raw);
    let host_end = match raw.first() {
        Some(b'[') => memchr(b']', raw).ok_or(UriError::Host)? + 1,
        _ => raw.iter().position(|byte| !is_host_byte(*byte)).unwrap_or(raw.len()),
    };
    let (host, rest) = raw.split_at(host_end);
    if host.is_empty() || (host[0] == b'[' && ip_literal(host).is_none()) {
        return Err(UriError::Host);
    }
    if rest.is_empty() {
        return Ok((host, None));
    }
    let rest = trim_start(rest);
    let Some((colon, digits)) = rest.split_first() else { return Ok((host, None)) };
    if *colon != b':' {
        return Err(UriError::Host);
    }
    let digits = trim_start(digits);
    if digits.is_empty() {
        // `host:` is outside the grammar, harmless, and seen behind broken NAT helpers.
        return Ok((host, None));
    }
    let port = parse_u32(digits).and_then(|port| u16::try_from(port).ok()).ok_or(UriError::Port)?;
    Ok((host, Some(port)))
}

fn ip_literal(raw: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(raw).ok()?;
    match text.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None if raw.first().is_some_and(u8::is_ascii_digit) => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        None => None,
    }
}

/// Decimal digits and nothing else, at most `u32::MAX`.
pub(crate) fn parse_u32(raw: &[u8]) -> Option<u32> {
    if raw.is_empty() {
        return None;
    }
    raw.iter().try_fold(0u32, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u32::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Bytes of white space inside a header. CR and LF count: they are what is left of folding.
pub(crate) const fn is_lws(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

#[inline]
pub(crate) fn trim(raw: &[u8]) -> &[u8] {
    // Nearly everything comes without blanks at its ends; all of them are below `!`.
    match raw {
        [b'!'..=0xff, .., b'!'..=0xff] => raw,
        _ => trim_end(trim_start(raw)),
    }
}

pub(crate) fn trim_start(mut raw: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = raw
        && is_lws(*first)
    {
        raw = rest;
    }
    raw
}

pub(crate) fn trim_end(mut raw: &[u8]) -> &[u8] {
    while let [rest @ .., last] = raw
        && is_lws(*last)
    {
        raw = rest;
    }
    raw
}

/// RFC 3261 section 25.1 `token`.
pub(crate) fn is_token(raw: &[u8]) -> bool {
    !raw.is_empty() && raw.iter().all(|byte| CLASS[*byte as usize] & TOKEN != 0)
}

const TOKEN: u8 = 1;
const HOST: u8 = 2;
const UNFIT: u8 = 4;
const DIALLING: u8 = 8;

/// What a byte may be part of.
const CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let c = byte as u8;
        if c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_') {
            table[byte] = TOKEN | HOST;
        } else if matches!(c, b'!' | b'%' | b'*' | b'+' | b'`' | b'\'' | b'~') {
            table[byte] = TOKEN;
        } else if c <= b' ' || matches!(c, 0x7f | b'<' | b'>' | b'"') {
            table[byte] = UNFIT;
        }
        if is_dialling(c) {
            table[byte] |= DIALLING;
        }
        byte += 1;
    }
    table
};

/// Length of the quoted string that `raw` begins with, both quotes included; `None` if it is not closed.
pub(crate) fn quoted_end(raw: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        let found = at + memchr2(b'"', b'\\', raw.get(at..)?)?;
        if raw[found] == b'"' {
            return Some(found + 1);
        }
        at = found + 2;
    }
}

fn is_scheme(name: &[u8]) -> bool {
    name.first().is_some_and(u8::is_ascii_alphabetic)
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

fn is_host_byte(byte: u8) -> bool {
    CLASS[byte as usize] & HOST != 0
}

/// Bytes that end a URI in the surrounding grammar and so cannot be part of a user.
fn is_unfit(byte: u8) -> bool {
    CLASS[byte as usize] & UNFIT != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri<'_> {
        Uri::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn takes_a_full_sip_uri_apart() {
        let uri = uri("sips:alice:secret@[2001:db8::9]:5071;transport=tls;lr?Subject=hi&x=y");
        assert_eq!(uri.scheme, Scheme::Sips);
        assert_eq!(uri.user, Some(&b"alice"[..]));
        assert_eq!(uri.password, Some(&b"secret"[..]));
        assert_eq!(uri.host().ip(), Some("2001:db8::9".parse().unwrap()));
        assert_eq!(uri.port, Some(5071));
        assert_eq!(uri.param("TRANSPORT"), Some(&b"tls"[..]));
        assert_eq!(uri.param("lr"), Some(&b""[..]));
        assert!(!uri.has_param("maddr"));
        assert_eq!(uri.headers, b"Subject=hi&x=y");
    }

    #[test]
    fn a_user_may_hold_semicolons_and_question_marks() {
        let uri = uri("sip:user;par=u%40example.net?x@example.com;transport=udp");
        assert_eq!(uri.user, Some(&b"user;par=u%40example.net?x"[..]));
        assert_eq!(uri.host, b"example.com");
        assert_eq!(uri.param("transport"), Some(&b"udp"[..]));
        assert!(!uri.has_param("par"));
    }

    #[test]
    fn other_schemes_are_kept_whole() {
        let sos = uri("urn:service:sos");
        assert_eq!((sos.scheme, sos.opaque), (Scheme::Other, &b"service:sos"[..]));
        assert_eq!(uri("nobodyKnowsThisScheme:totallyopaquecontent").scheme, Scheme::Other);
    }

    #[test]
    fn broken_uris_name_what_is_wrong() {
        for (text, error) in [
            ("", UriError::Scheme),
            ("example.com", UriError::Scheme),
            ("1sip:x", UriError::Scheme),
            ("sip:", UriError::Host),
            ("sip:a@", UriError::Host),
            ("sip:a@b@c", UriError::Host),
            ("sip:a b@c", UriError::User),
            ("sip:a@[2001:db8::1", UriError::Host),
            ("sip:a@[2001:xyz::1]", UriError::Host),
            ("sip:a@2001:db8::1", UriError::Port),
            ("sip:a@b:65536", UriError::Port),
            ("sip:a@b:-1", UriError::Port),
            ("sip:a@b;x= y", UriError::Host),
            ("tel:", UriError::User),
        ] {
            assert_eq!(Uri::parse(text.as_bytes()).unwrap_err(), error, "{text}");
        }
    }

    #[test]
    fn dialled_numbers_lose_their_decoration() {
        for (text, number, plus, npdi, rn) in [
            ("tel:+1-202-555-0100", "12025550100", true, false, None),
            ("tel:+1415", "1415", true, false, None),
            ("sip:+1(202)555.0100@gw;user=phone", "12025550100", true, false, None),
            ("sip:00442079460000@10.0.0.1", "00442079460000", false, false, None),
            ("sip:12025550100;npdi;rn=+1-202-555-9999@gw", "12025550100", false, true, Some("12025559999")),
            ("tel:+12025550100;npdi;rn=12025559999", "12025550100", true, true, Some("12025559999")),
            ("sip:%2B1%32%3025550100@gw", "12025550100", true, false, None),
            ("sip:*21%23@gw", "*21#", false, false, None),
            ("sip:j.user@gw", "j.user", false, false, None),
            ("sip:+bob@gw", "+bob", false, false, None),
        ] {
            let dialled = uri(text).dialled().unwrap();
            assert_eq!(dialled.number(), number, "{text}");
            assert_eq!((dialled.plus, dialled.npdi, dialled.routing_number()), (plus, npdi, rn), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_dialled_is_refused() {
        let long = format!("sip:{}@gw", "1".repeat(NUMBER_BYTES_MAX + 1));
        for text in ["sip:gw", "sip:@gw", "sip:null-%00-null@gw", "sip:+@gw", "sip:%ff@gw", &long] {
            assert_eq!(uri(text).dialled().unwrap_err(), UriError::Number, "{text}");
        }
    }

    #[test]
    fn display_names_may_hold_every_delimiter() {
        let addr = NameAddr::parse(br#" "a <b>; \"c\", \\" <sip:x@y;lr>;tag=1;q="0,5;" ; flag "#).unwrap();
        assert_eq!(addr.display_text().unwrap().as_ref(), br#"a <b>; "c", \"#);
        assert_eq!(addr.uri_raw, b"sip:x@y;lr");
        assert_eq!(addr.tag(), Some(&b"1"[..]));
        assert_eq!(unquote(addr.param("q").unwrap()).as_ref(), b"0,5;");
        assert_eq!(addr.param("flag"), Some(&b""[..]));
    }

    #[test]
    fn without_brackets_parameters_belong_to_the_header() {
        let addr = NameAddr::parse(b"sip:x@y;tag=9").unwrap();
        assert_eq!((addr.uri_raw, addr.tag()), (&b"sip:x@y"[..], Some(&b"9"[..])));
        assert!(addr.uri().unwrap().params.into_iter().next().is_none());
    }

    #[test]
    fn open_quotes_and_brackets_are_errors() {
        assert_eq!(NameAddr::parse(br#""J. User <sip:j@x>"#).unwrap_err(), UriError::Unclosed);
        assert_eq!(NameAddr::parse(b"<sip:j@x").unwrap_err(), UriError::Unclosed);
        assert_eq!(NameAddr::parse(br#""name only""#).unwrap_err(), UriError::Scheme);
        assert_eq!(NameAddr::parse(b"").unwrap_err(), UriError::Scheme);
    }

    #[test]
    fn escapes_decode_once_and_bad_ones_stay() {
        assert_eq!(unescape(b"%41%2541%zz%").as_ref(), b"A%41%zz%");
    }
}
