//! The closed lists: why a packet was dropped, why it was handed to user space, why a flow was removed. A name is at
//! the same time the metric label, so renaming one is a change of the metrics.

macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident, $count:ident, $($(#[$doc:meta])* $variant:ident = $value:literal => $label:literal,)+) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum $name {
            $($(#[$doc])* $variant = $value,)+
        }

        impl $name {
            /// Every reason, in the order of its number.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// Label of this reason in metrics and traces.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $label,)+
                }
            }
        }

        /// How many reasons there are.
        pub const $count: usize = $name::ALL.len();

        // The number is the index into the counters: no gaps.
        const _: () = {
            let mut at = 0;
            while at < $count {
                assert!($name::ALL[at] as usize == at);
                at += 1;
            }
        };
    };
}

reasons! {
    /// Why a packet that reached a flow was not forwarded. Index into [`crate::FlowCounters::drops`].
    DropReason, DROP_REASONS,
    /// Shorter than a fixed RTP header (12 bytes) or RTCP header (8 bytes).
    TooShort = 0 => "too_short",
    /// Neither RTP nor RTCP version 2, nor STUN, nor DTLS.
    BadVersion = 1 => "bad_version",
    /// Not from the latched source, and nothing allows a change of it (media.md 4).
    SourceMismatch = 2 => "source_mismatch",
    /// RTCP from an address that is neither the RTP source nor the latched RTCP source (media.md M-D4).
    RtcpStray = 3 => "rtcp_stray",
    /// RTCP while `TANDEM_RTCP_MODE` is `drop`.
    RtcpPolicy = 4 => "rtcp_policy",
    /// The other side has told no usable address yet.
    NoDestination = 5 => "no_destination",
    /// The other side does not want to receive (on hold).
    OnHold = 6 => "on_hold",
    /// More packets per second than the policer of the flow lets through.
    Rate = 7 => "rate",
    /// Another SSRC than the pinned one.
    SsrcPinned = 8 => "ssrc_pinned",
    /// The destination is on the list of prohibited media addresses (media.md 4 rule 6).
    Prohibited = 9 => "prohibited",
    /// Payload type that nobody negotiated, on a leg that is not latched yet.
    UnknownPayloadType = 10 => "unknown_payload_type",
    /// STUN: this relay does not speak ICE (media.md 3).
    Stun = 11 => "stun",
    /// DTLS: keys are not negotiated through this relay.
    Dtls = 12 => "dtls",
    /// The source changed more often than a call may; it stays frozen (media.md 4 rule 3).
    Frozen = 13 => "frozen",
    /// No flow and no call on that port.
    NoFlow = 14 => "no_flow",
    /// The call has ended; late packets are swallowed during the linger time.
    Closed = 15 => "closed",
    /// Comes from one of our own media addresses: it went round in a circle, or somebody pretends.
    Looped = 16 => "looped",
    /// TTL or hop limit used up: a relay that sent it on with a new one would keep circles alive for ever.
    TtlExpired = 17 => "ttl_expired",
}

reasons! {
    /// Why the fast path gave a packet to user space.
    PuntReason, PUNT_REASONS,
    /// First packet of a leg whose source is not known yet.
    Unlatched = 0 => "unlatched",
    /// Another source while a change is allowed (first seconds after the answer).
    SourceChange = 1 => "source_change",
    /// Another source with the SSRC of the latched one, which has been silent for two seconds.
    SourceSilent = 2 => "source_silent",
    /// First RTCP packet that does not come from the RTP source.
    RtcpUnlatched = 3 => "rtcp_unlatched",
    /// First two bits 00 and the magic cookie (RFC 8489).
    Stun = 4 => "stun",
    /// First byte 20 to 63 (RFC 7983).
    Dtls = 5 => "dtls",
    /// RTCP, forwarded and copied for its reports.
    RtcpCopy = 6 => "rtcp_copy",
    /// telephone-event, forwarded and copied.
    DtmfCopy = 7 => "dtmf_copy",
    /// A port of the range without a flow.
    NoFlow = 8 => "no_flow",
    /// An IP fragment: ports unknown.
    Fragment = 9 => "fragment",
    /// IPv4 header longer than 20 bytes.
    IpOptions = 10 => "ip_options",
    /// IPv6 extension header before UDP.
    Ipv6Extension = 11 => "ipv6_extension",
    /// Frame ends before its headers do, or lengths disagree.
    Truncated = 12 => "truncated",
    /// Neither IPv4 nor IPv6 behind at most one VLAN tag.
    NotIp = 13 => "not_ip",
    /// IP, but not UDP.
    NotUdp = 14 => "not_udp",
    /// A checksum is wrong, or was left to hardware that this frame never met: the stack verifies and decides.
    BadChecksum = 15 => "bad_checksum",
    /// IPv4 on one side, IPv6 on the other: only user space relays that (media.md 9).
    FamilyMixed = 16 => "family_mixed",
    /// The link-layer address of the next hop is not known: the stack asks for it when user space sends.
    NoNeighbour = 17 => "no_neighbour",
    /// No route, or one that ends on this machine, or leaves by an interface or VLAN that the fast path does not serve.
    NoRoute = 18 => "no_route",
    /// Longer than the MTU of the way out.
    TooLong = 19 => "too_long",
}

reasons! {
    /// Why a flow left the fast path. Every removal has one.
    RemoveReason, REMOVE_REASONS,
    /// The call ended regularly.
    CallEnded = 0 => "call_ended",
    /// The call ended before it was answered.
    CallFailed = 1 => "call_failed",
    /// No media for too long (media.md 5).
    RtpInterrupted = 2 => "rtp_interrupted",
    /// A B-leg attempt ended and the next one starts without the old sources.
    AttemptEnded = 3 => "attempt_ended",
    /// The media was moved to another port or turned off by a new offer.
    Renegotiated = 4 => "renegotiated",
    /// The node stops.
    Shutdown = 5 => "shutdown",
    /// Left over from an earlier life of the switch: no call owns it.
    Orphaned = 6 => "orphaned",
}
