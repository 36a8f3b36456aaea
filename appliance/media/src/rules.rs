//! Where media may go at all: the prohibited destinations of media.md 4 rule 6, and what counts as private.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::latch::LatchMode;
use crate::offer_answer::RtcpMode;

/// A network: address and prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpNet {
    ip: IpAddr,
    prefix: u8,
}

impl IpNet {
    /// `None` when the prefix is longer than the address (32 or 128 bits).
    pub fn new(ip: IpAddr, prefix: u8) -> Option<IpNet> {
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        (prefix <= bits).then_some(IpNet { ip, prefix })
    }

    /// True when `ip` is in the network.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.ip, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                (u32::from(net) ^ u32::from(ip)) & mask == 0
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                (u128::from(net) ^ u128::from(ip)) & mask == 0
            }
            _ => false,
        }
    }
}

/// The text is neither an address nor address/prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a network: an address, or an address, '/' and 0 to 32 (IPv6: 128)")]
pub struct BadNet(pub String);

impl FromStr for IpNet {
    type Err = BadNet;

    fn from_str(text: &str) -> Result<IpNet, BadNet> {
        let bad = || BadNet(text.to_owned());
        let (ip, prefix) = match text.split_once('/') {
            Some((ip, prefix)) => (ip, Some(prefix.parse::<u8>().map_err(|_| bad())?)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| bad())?;
        let whole = if ip.is_ipv4() { 32 } else { 128 };
        IpNet::new(ip, prefix.unwrap_or(whole)).ok_or_else(bad)
    }
}

impl fmt::Display for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

/// What holds for the media of every call of a node.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct AnchorRules {
    /// Loopback destinations are wanted: tests and the demo, where everything runs on 127.0.0.0/8.
    pub allow_loopback: bool,
    /// Our media addresses: never a destination, except for a hairpin call.
    pub own_media_ips: Vec<IpAddr>,
    /// "Prohibited media IP" list of the operator.
    pub prohibited: Vec<IpNet>,
    /// For legs that do not say otherwise.
    pub latch_default: LatchMode,
    /// What is done with RTCP.
    pub rtcp: RtcpMode,
    /// ToS byte or traffic class of relayed packets, `SS_QOS_RTP`.
    pub tos: u8,
    /// Packets per second a flow may carry at least, whatever its packet time (media.md 9: 200). 0 turns policing off.
    pub policer_pps_min: u16,
}

impl AnchorRules {
    /// Why media must not be sent to `ip`; `None` when it may. `hairpin`: the leg leads back to this node.
    pub fn prohibits(&self, ip: IpAddr, hairpin: bool) -> Option<&'static str> {
        // ::ffff:127.0.0.1 is 127.0.0.1 to the kernel.
        let ip = ip.to_canonical();
        if ip.is_unspecified() {
            return Some("unspecified");
        }
        if ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
            return Some("multicast");
        }
        if ip.is_loopback() && !self.allow_loopback {
            return Some("loopback");
        }
        if !hairpin && self.own_media_ips.contains(&ip) {
            return Some("own media address");
        }
        if self.prohibited.iter().any(|net| net.contains(ip)) {
            return Some("prohibited media address");
        }
        None
    }
}

/// 10/8, 172.16/12, 192.168/16, 100.64/10, fc00::/7 and link-local (media.md M-D2).
pub fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_private() || ip.is_link_local() || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(ip) => is_private_v6(ip),
    }
}

fn is_private_v6(ip: Ipv6Addr) -> bool {
    let first = ip.segments()[0];
    (first & 0xfe00) == 0xfc00 || (first & 0xffc0) == 0xfe80
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn networks_contain_what_their_prefix_says() {
        for (net, address, inside) in [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("::/0", "2001:db8::1", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
        ] {
            let parsed: IpNet = net.parse().unwrap();
            assert_eq!(parsed.contains(ip(address)), inside, "{address} in {net}");
        }
        for bad in ["", "1.2.3.4/33", "::1/129", "1.2.3.4/-1", "x/8"] {
            assert_eq!(bad.parse::<IpNet>(), Err(BadNet(bad.to_owned())));
        }
    }

    #[test]
    fn prohibited_destinations() {
        let rules = AnchorRules {
            own_media_ips: vec![ip("203.0.113.1")],
            prohibited: vec!["192.0.2.0/24".parse().unwrap()],
            ..AnchorRules::default()
        };
        for (address, reason) in [
            ("127.0.0.1", Some("loopback")),
            ("::1", Some("loopback")),
            ("::ffff:127.0.0.1", Some("loopback")),
            ("224.0.0.1", Some("multicast")),
            ("255.255.255.255", Some("multicast")),
            ("0.0.0.0", Some("unspecified")),
            ("203.0.113.1", Some("own media address")),
            ("192.0.2.9", Some("prohibited media address")),
            ("198.51.100.10", None),
        ] {
            assert_eq!(rules.prohibits(ip(address), false), reason, "{address}");
        }
        assert_eq!(rules.prohibits(ip("203.0.113.1"), true), None, "hairpin");
        let demo = AnchorRules { allow_loopback: true, ..rules };
        assert_eq!(demo.prohibits(ip("127.0.0.20"), false), None);
    }
}
