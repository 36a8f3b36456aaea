//! What happens on a leg, in words that no protocol owns.
//!
//! The same type goes both ways. From a leg it is news ("the callee rings"); to a leg it is an order ("show ringing to
//! the caller"). A back-to-back user agent mostly passes on what it got.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// One leg of one call on one shard; never re-used while the shard runs.
///
/// The protocol room numbers legs that come in, the call room legs that go out; the low bit keeps the two apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegId(pub u64);

impl LegId {
    /// The `n`-th leg that came in (an a-leg).
    pub const fn incoming(n: u64) -> LegId {
        LegId(n << 1)
    }

    /// The `n`-th leg that we started (a b-leg attempt).
    pub const fn outgoing(n: u64) -> LegId {
        LegId((n << 1) | 1)
    }

    /// Whether the far side started this leg.
    pub const fn is_incoming(self) -> bool {
        self.0 & 1 == 0
    }
}

/// Index into the configured listeners (address and port on which we speak a protocol).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ListenerId(pub u16);

/// How signalling of a leg travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Transport {
    /// Datagrams.
    #[default]
    Udp,
    /// A byte stream.
    Tcp,
    /// A byte stream inside TLS.
    Tls,
}

impl Transport {
    /// The name as it stands in a Via header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        }
    }
}

/// One party as written by the signalling: number or user part, display name, host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Party {
    /// User part; visual separators and a leading `+` are still there.
    pub user: String,
    /// Display name, unquoted; empty when there is none.
    pub display: String,
    /// Host part; empty means "our own address on that leg".
    pub host: String,
}

/// Where an identity header carried a number (spec signalling.md 15). Raw header values, unfolded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// User part of P-Asserted-Identity.
    pub asserted: Option<String>,
    /// User part of P-Preferred-Identity.
    pub preferred: Option<String>,
    /// User part of Remote-Party-ID.
    pub remote_party: Option<String>,
    /// User part of the first Diversion.
    pub diversion: Option<String>,
    /// `Privacy` asked for `id` (RFC 3323, RFC 3325).
    pub private: bool,
}

/// What the far side said of reliable provisional responses (RFC 3262).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rel100 {
    /// Not mentioned.
    #[default]
    Unsupported,
    /// In `Supported`.
    Supported,
    /// In `Require`.
    Required,
}

/// A new call: from an a-leg it came in, to a b-leg it goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Try {
    /// The socket address of the far side: source of the request, or where to send it.
    pub remote: SocketAddr,
    /// Our listener it came to, or leaves from.
    pub listener: ListenerId,
    /// How it travels.
    pub transport: Transport,
    /// Call-ID of the leg as received; left empty on a b-leg, where the protocol room mints one ([`LegEvent::Sent`]).
    pub call_id: String,
    /// The caller (From).
    pub caller: Party,
    /// The callee as named (To).
    pub callee: Party,
    /// The number in the request target (user part of the Request-URI), which is what is dialled (spec S-D17).
    pub dialled: String,
    /// Identity headers.
    pub identity: Identity,
    /// Headers that may be passed to the other leg, in order, names as received (spec signalling.md 1).
    pub headers: Vec<(String, String)>,
    /// Max-Forwards as received (70 when absent); on a b-leg the value to send.
    pub max_forwards: u8,
    /// Value of our own loop header `X-Tandem-Hop`, when one of us sent it before; on a b-leg the value to send.
    pub hop: Option<String>,
    /// User-Agent of the far side; empty when absent.
    pub user_agent: String,
    /// `Expires` in seconds, when the caller limits the set-up time.
    pub expires_s: Option<u32>,
    /// Reliable provisional responses.
    pub rel100: Rel100,
    /// Session description, if the request carried an offer.
    pub sdp: Option<Vec<u8>>,
}

impl Try {
    /// A call of which no more is known than where it came from.
    pub fn from_address(remote: SocketAddr, listener: ListenerId) -> Try {
        Try {
            remote,
            listener,
            transport: Transport::Udp,
            call_id: String::new(),
            caller: Party::default(),
            callee: Party::default(),
            dialled: String::new(),
            identity: Identity::default(),
            headers: Vec::new(),
            max_forwards: 70,
            hop: None,
            user_agent: String::new(),
            expires_s: None,
            rel100: Rel100::default(),
            sdp: None,
        }
    }
}

/// A provisional response above 100.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    /// 180, 181, 182, 183 or another 1xx.
    pub status: u16,
    /// Early session description.
    pub sdp: Option<Vec<u8>>,
    /// Headers that may be passed on (P-Early-Media and the like).
    pub headers: Vec<(String, String)>,
}

/// The call is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connect {
    /// Answer, or the offer when the INVITE carried none.
    pub sdp: Option<Vec<u8>>,
    /// Headers that may be passed on.
    pub headers: Vec<(String, String)>,
    /// Server header of the far side; empty when absent.
    pub user_agent: String,
}

/// The answer is acknowledged (ACK to a 2xx), for the first INVITE or a later one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Confirm {
    /// The answer, when the offer was in the 2xx.
    pub sdp: Option<Vec<u8>>,
}

/// How a running session is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateMethod {
    /// re-INVITE.
    Invite,
    /// UPDATE (RFC 3311).
    Update,
}

/// A request to change the running session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// How it came; a leg whose far side does not allow UPDATE is sent a re-INVITE instead.
    pub method: UpdateMethod,
    /// The new offer; `None` in a re-INVITE asks the far side to offer.
    pub sdp: Option<Vec<u8>>,
}

/// The change was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Updated {
    /// Answer, or the offer when the request carried none.
    pub sdp: Option<Vec<u8>>,
}

/// The change was refused; the session stays as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateFailed {
    /// Final status 300-699.
    pub status: u16,
    /// Retry-After in seconds.
    pub retry_after_s: Option<u32>,
}

/// Mid-call information (INFO).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Content-Type.
    pub content_type: String,
    /// Body, byte exact.
    pub body: Vec<u8>,
}

/// One place the far side asks us to try instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectTarget {
    /// User part.
    pub user: String,
    /// Host as written.
    pub host: String,
    /// Port as written.
    pub port: Option<u16>,
}

/// A 3xx answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 300-399.
    pub status: u16,
    /// Contacts in order.
    pub contacts: Vec<RedirectTarget>,
}

/// The `Reason` header (RFC 3326), both protocols it may name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// `Q.850;cause=`, 1-127.
    pub q850: Option<u8>,
    /// `SIP;cause=`.
    pub sip: Option<u16>,
    /// `text=`, without quotes.
    pub text: Option<String>,
}

impl Reason {
    /// A Q.850 cause without text.
    pub fn q850(cause: u8) -> Reason {
        Reason { q850: Some(cause), ..Reason::default() }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.q850.is_none() && self.sip.is_none()
    }
}

/// What made an attempt fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailCause {
    /// The far side said so.
    Response,
    /// Nothing came back within the transaction's life (timer B or F).
    Timeout,
    /// The transport refused (ICMP unreachable, connection refused).
    Transport,
}

/// A call that ends before it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fail {
    /// Final status 300-699 (408 for a timeout, 503 for a transport failure, as RFC 3261 8.1.3.1 asks).
    pub status: u16,
    /// What made it fail.
    pub cause: FailCause,
    /// Reason header, received or to be sent.
    pub reason: Reason,
    /// Retry-After in seconds.
    pub retry_after_s: Option<u32>,
}

impl Fail {
    /// A plain refusal with `status` and no more.
    pub fn status(status: u16) -> Fail {
        Fail { status, cause: FailCause::Response, reason: Reason::default(), retry_after_s: None }
    }
}

/// Why a leg ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectCause {
    /// The far side gave up before the answer (CANCEL).
    Cancel,
    /// The far side hung up (BYE).
    Bye,
    /// Our 2xx was never acknowledged within 64*T1.
    NoAck,
    /// The dialog is gone: 481 or a timeout to a request inside it.
    Lost,
    /// Our own order.
    Order,
}

/// The end of a leg: news when the far side does it, an order when we do (CANCEL, BYE or a hold until one is possible).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// Why.
    pub cause: DisconnectCause,
    /// Reason header, received or to be sent.
    pub reason: Reason,
}

impl Disconnect {
    /// An order to end the leg, with a reason for the far side.
    pub fn order(reason: Reason) -> Disconnect {
        Disconnect { cause: DisconnectCause::Order, reason }
    }
}

/// What happens on a leg; see the module text for the two directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LegEvent {
    /// A new call.
    Try(Box<Try>),
    /// A b-leg's request left; news only. Carries the Call-ID that was minted.
    Sent {
        /// Call-ID on this leg.
        call_id: String,
    },
    /// The far side works on it (100); news from a b-leg only.
    Proceeding,
    /// A provisional response above 100.
    Ring(Ring),
    /// Answered.
    Connect(Connect),
    /// The answer was acknowledged. As an order to a b-leg: acknowledge now, with this answer (delayed offer).
    Confirm(Confirm),
    /// A change of the session is asked.
    Update(Update),
    /// The change was accepted.
    Updated(Updated),
    /// The change was refused.
    UpdateFailed(UpdateFailed),
    /// Mid-call information.
    Info(Info),
    /// Try elsewhere.
    Redirect(Redirect),
    /// Refused or failed before the answer.
    Fail(Fail),
    /// The leg ends.
    Disconnect(Disconnect),
}
