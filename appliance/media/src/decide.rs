//! Relay or direct: the modes and the eight steps of media.md 1, and the name of the step that decided.

use std::net::IpAddr;

use crate::rules::is_private;

/// `SS_MEDIAPROXYMODE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SystemMode {
    /// Never relay.
    Off,
    /// Relay, unless a device says Off.
    On,
    /// The eight steps.
    #[default]
    Auto,
    /// Relay, whatever the devices say.
    MustOn,
}

/// Setting of a phone or gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DeviceMode {
    /// No wish (0).
    #[default]
    Auto,
    /// Relay (1).
    On,
    /// Do not relay (2).
    Off,
    /// Relay, over an Off of the other side (3).
    MustOn,
}

/// Functions of the call that need its media (media.md 1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Functions {
    /// None.
    #[default]
    None,
    /// Some that may be skipped: recording, prompts.
    Wanted,
    /// Some without which the call cannot work: SRTP or IP version on one side only, no common codec.
    Needed,
}

/// One leg, as far as the decision asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LegInput {
    /// `pa`, `pb`.
    pub device: DeviceMode,
    /// Dynamically registered and encrypted.
    pub dynamic_encrypted: bool,
    /// Number of the local network the leg uses.
    pub network: u32,
    /// Public source address when the leg is behind NAT ([`nat_address`]).
    pub nat_ip: Option<IpAddr>,
}

/// Everything the decision asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// `SS_MEDIAPROXYMODE`.
    pub mode: SystemMode,
    /// `SS_MEDIAPROXYBETWEENNET`, default on.
    pub between_net: bool,
    /// `SS_MEDIAPROXYBEHINDNAT`, default on.
    pub behind_nat: bool,
    /// `SS_MEDIAPROXYSAMENAT`, default off.
    pub same_nat: bool,
    /// Functions that need the media.
    pub functions: Functions,
    /// An earlier attempt of this call was relayed: the caller has our SDP already (media.md 1.3).
    pub relayed_before: bool,
    /// The callee's side has local ring.
    pub local_ring: bool,
    /// Caller.
    pub caller: LegInput,
    /// Callee: the attempt's routing gateway or the called phone.
    pub callee: LegInput,
}

impl Default for Inputs {
    fn default() -> Inputs {
        Inputs {
            mode: SystemMode::Auto,
            between_net: true,
            behind_nat: true,
            same_nat: false,
            functions: Functions::None,
            relayed_before: false,
            local_ring: false,
            caller: LegInput::default(),
            callee: LegInput::default(),
        }
    }
}

/// Where the media goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Through our ports.
    Relay,
    /// SDP passes untouched.
    Direct,
    /// The call cannot work without a relay and the relay is off: 488.
    Refuse,
}

/// The decision and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Where the media goes.
    pub path: Path,
    /// Deciding row: 0 = functions (1.2), 1 to 8 = the steps (1.1), 9 to 11 = system mode Off, On, Must On, 12 = an
    /// earlier attempt (1.3). Goes into trace and CDR.
    pub step: u8,
    /// The same for people.
    pub why: &'static str,
}

const fn decision(path: Path, step: u8, why: &'static str) -> Decision {
    Decision { path, step, why }
}

/// Relay or direct for one B attempt, before its INVITE is built. First match wins (media.md M-D1, M-D3).
///
/// A direct decision with `local_ring` means that the ring tone cannot be ours: local ring is off for the call.
pub fn decide(i: &Inputs) -> Decision {
    use DeviceMode::{MustOn, Off, On};
    use Path::{Direct, Refuse, Relay};

    if i.mode == SystemMode::Off {
        return match i.functions {
            Functions::Needed => decision(Refuse, 0, "a needed function has no relay"),
            Functions::None | Functions::Wanted => decision(Direct, 9, "system mode off"),
        };
    }
    if i.functions != Functions::None {
        return decision(Relay, 0, "a function needs the media");
    }
    if i.relayed_before {
        return decision(Relay, 12, "an earlier attempt was relayed");
    }
    if i.mode == SystemMode::MustOn {
        return decision(Relay, 11, "system mode must on");
    }
    let either = |mode| i.caller.device == mode || i.callee.device == mode;
    if either(MustOn) {
        return decision(Relay, 1, "a device must be relayed");
    }
    if either(Off) {
        return decision(Direct, 2, "a device must not be relayed");
    }
    if i.mode == SystemMode::On {
        return decision(Relay, 10, "system mode on");
    }
    if either(On) {
        return decision(Relay, 3, "a device is relayed");
    }
    if i.local_ring {
        return decision(Relay, 4, "local ring");
    }
    if i.caller.dynamic_encrypted || i.callee.dynamic_encrypted {
        return decision(Relay, 5, "registered with encryption");
    }
    if i.between_net && i.caller.network != i.callee.network {
        return decision(Relay, 6, "legs use different networks");
    }
    if i.behind_nat {
        match (i.caller.nat_ip, i.callee.nat_ip) {
            (Some(a), Some(b)) if a == b => {
                if i.same_nat {
                    return decision(Relay, 7, "7a: both behind the same NAT");
                }
            }
            (None, None) => {}
            _ => return decision(Relay, 7, "7b: behind different NATs"),
        }
    }
    decision(Direct, 8, "nothing asks for a relay")
}

/// `nat(x)` and `natip(x)` of media.md M-D2: the signalling source when the leg is behind NAT.
///
/// `host` is the SDP connection address, else the Contact host, when it is an address; `forced` is the setting of a
/// static gateway.
pub fn nat_address(host: Option<IpAddr>, source: IpAddr, forced: Option<bool>) -> Option<IpAddr> {
    let nat = forced.unwrap_or_else(|| host.is_some_and(|h| is_private(h) || h != source));
    nat.then_some(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut Inputs);
    /// Name, change, path and step in mode Auto, paths in modes On, Off, Must On.
    type Row = (&'static str, Change, (Path, u8), [Path; 3]);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn devices(i: &mut Inputs, a: DeviceMode, b: DeviceMode) {
        i.caller.device = a;
        i.callee.device = b;
    }

    /// The conflicting pairs of media.md 1.1: Auto (with its step), On, Off, Must On.
    #[test]
    fn conflicting_pairs() {
        use DeviceMode::{Auto, MustOn, Off, On};
        use Path::{Direct, Relay};
        let same_nat: Change = |i| {
            i.caller.nat_ip = Some(ip("198.51.100.77"));
            i.callee.nat_ip = Some(ip("198.51.100.77"));
        };
        let rows: [Row; 11] = [
            ("MustOn Off", |i| devices(i, MustOn, Off), (Relay, 1), [Relay, Direct, Relay]),
            ("Off On", |i| devices(i, Off, On), (Direct, 2), [Direct, Direct, Relay]),
            ("Off Auto", |i| devices(i, Off, Auto), (Direct, 2), [Direct, Direct, Relay]),
            ("On Auto", |i| devices(i, On, Auto), (Relay, 3), [Relay, Direct, Relay]),
            ("nothing else", |_| {}, (Direct, 8), [Relay, Direct, Relay]),
            ("ring_b", |i| i.local_ring = true, (Relay, 4), [Relay, Direct, Relay]),
            ("dynenc(a)", |i| i.caller.dynamic_encrypted = true, (Relay, 5), [Relay, Direct, Relay]),
            ("nets differ", |i| i.callee.network = 9, (Relay, 6), [Relay, Direct, Relay]),
            ("same NAT, SAMENAT off", same_nat, (Direct, 8), [Relay, Direct, Relay]),
            (
                "same NAT, SAMENAT on",
                |i| {
                    i.same_nat = true;
                    i.caller.nat_ip = Some(ip("198.51.100.77"));
                    i.callee.nat_ip = Some(ip("198.51.100.77"));
                },
                (Relay, 7),
                [Relay, Direct, Relay],
            ),
            ("one NATed", |i| i.caller.nat_ip = Some(ip("198.51.100.77")), (Relay, 7), [Relay, Direct, Relay]),
        ];
        for (name, change, auto, others) in rows {
            let mut inputs = Inputs::default();
            change(&mut inputs);
            let got = decide(&inputs);
            assert_eq!((got.path, got.step), auto, "{name}, Auto");
            let modes = [SystemMode::On, SystemMode::Off, SystemMode::MustOn];
            for (mode, path) in modes.into_iter().zip(others) {
                inputs.mode = mode;
                assert_eq!(decide(&inputs).path, path, "{name}, {mode:?}");
            }
        }
    }

    #[test]
    fn switched_off_parameters_and_different_nats() {
        let mut i = Inputs::default();
        i.callee.network = 9;
        i.between_net = false;
        assert_eq!(decide(&i).step, 8);
        i.caller.nat_ip = Some(ip("198.51.100.77"));
        i.callee.nat_ip = Some(ip("198.51.100.78"));
        assert_eq!(decide(&i).why, "7b: behind different NATs");
        i.behind_nat = false;
        assert_eq!(decide(&i).step, 8);
    }

    #[test]
    fn functions_and_earlier_attempts() {
        let mut i = Inputs::default();
        i.caller.device = DeviceMode::Off;
        i.functions = Functions::Wanted;
        assert_eq!((decide(&i).path, decide(&i).step), (Path::Relay, 0));
        i.mode = SystemMode::Off;
        assert_eq!(decide(&i).path, Path::Direct);
        i.functions = Functions::Needed;
        assert_eq!(decide(&i).path, Path::Refuse);
        let kept = Inputs { relayed_before: true, caller: i.caller, ..Inputs::default() };
        assert_eq!((decide(&kept).path, decide(&kept).step), (Path::Relay, 12));
    }

    #[test]
    fn who_is_behind_nat() {
        let source = ip("198.51.100.77");
        for (host, forced, nat) in [
            (Some("10.0.0.5"), None, true),
            (Some("100.64.1.1"), None, true),
            (Some("198.51.100.77"), None, false),
            (Some("198.51.100.78"), None, true),
            (None, None, false),
            (Some("10.0.0.5"), Some(false), false),
            (Some("198.51.100.77"), Some(true), true),
        ] {
            let got = nat_address(host.map(ip), source, forced);
            assert_eq!(got, nat.then_some(source), "{host:?} {forced:?}");
        }
    }
}
