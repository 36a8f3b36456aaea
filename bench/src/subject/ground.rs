//! Where a run takes place: on loopback, or in namespaces joined by veth, where the kernel can relay.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, anyhow, ensure};
use tandem_netns::{Lab, Place, Receiver};

use super::peer::find;
use super::process::Lane;
use super::{CUSTOMER, Kind, MEDIA_RTPENGINE, MEDIA_TANDEM, SIP_KAMAILIO, SIP_TANDEM, VENDOR};

/// The wires of a lab: whose end, its name.
const LINKS: [(Place, &str); 4] = [(Place::Relay, "r0"), (Place::Relay, "r1"), (Place::A, "a0"), (Place::B, "b0")];
/// Those at the relay.
pub(super) const RELAY_LINKS: &str = "[\"r0\", \"r1\"]";
/// Priority of the wires' threads in real-time scheduling: above the programs, as an interrupt is.
const DRIVER_PRIORITY: &str = "20";

const fn lab_address(net: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, net, host)
}

/// Addresses and namespaces of a run.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    /// Where calls come from.
    pub(crate) customer: SocketAddrV4,
    /// Where targets send them.
    pub(crate) vendor: SocketAddrV4,
    /// SIP of tandem.
    pub(super) tandem: SocketAddrV4,
    /// Its media.
    pub(super) tandem_media: Ipv4Addr,
    /// SIP of Kamailio.
    pub(super) kamailio: SocketAddrV4,
    /// Media of rtpengine.
    pub(super) rtpengine_media: Ipv4Addr,
    /// Namespaces of customer, target and vendor.
    pub(crate) namespaces: Option<[String; 3]>,
}

impl Ground {
    /// All on loopback.
    pub(crate) fn loopback() -> Ground {
        Ground {
            customer: CUSTOMER,
            vendor: VENDOR,
            tandem: SIP_TANDEM,
            tandem_media: MEDIA_TANDEM,
            kamailio: SIP_KAMAILIO,
            rtpengine_media: MEDIA_RTPENGINE,
            namespaces: None,
        }
    }

    /// Where the calls of a target of this kind go.
    pub(crate) fn address(&self, kind: Kind) -> SocketAddrV4 {
        match kind {
            Kind::Kamailio | Kind::KamailioRtpengine => self.kamailio,
            Kind::Direct | Kind::Wire => self.vendor,
            _ => self.tandem,
        }
    }

    /// Where a target of this kind takes part: past the relay's place when there is none.
    pub(super) fn of(&self, kind: Kind) -> Ground {
        let mut ground = self.clone();
        if kind == Kind::Wire {
            ground.customer.set_ip(lab_address(3, 1));
            ground.vendor.set_ip(lab_address(3, 2));
        }
        ground
    }

    /// The command that runs `program` as a target.
    ///
    /// # Errors
    /// When the program that enters namespaces is missing.
    pub(super) fn command(&self, lane: &Lane, program: &Path) -> Result<Command> {
        let Some([_, target, _]) = &self.namespaces else { return Ok(lane.command(program)) };
        let mut command = lane.command(&find("nsenter")?);
        command.arg(format!("--net=/run/netns/{target}")).arg(program);
        Ok(command)
    }
}

/// Namespaces joined by wires. Gone when dropped.
pub(crate) struct Wires {
    /// Threads of the relay's ends.
    pub(crate) drivers: Vec<u32>,
    _receivers: Vec<Receiver>,
    lab: Lab,
}

impl Wires {
    /// Joins customer, target and vendor. With `threads`, the work of the target's ends is done in `target`, that of the others in
    /// `load`; without, wherever a packet is sent.
    ///
    /// # Errors
    /// What is missing.
    pub(crate) fn up(target: &Lane, load: &Lane, threads: bool) -> Result<Wires> {
        if let Some(what) = tandem_netns::missing() {
            return Err(anyhow!("namespaces need {what}"));
        }
        let object = Path::new(super::tandem::PROGRAMS).join("relay.o");
        ensure!(object.is_file(), "the kernel program is not built: cargo xtask ebpf");
        let lab = Lab::up("tandem-bench")?;
        let mut receivers = lab.receive(&object)?;
        lab.shortcut()?;
        for (place, link) in [(Place::A, "a1"), (Place::B, "b1")] {
            receivers.push(lab.occupy(place, link, &object)?);
        }
        lab.at(Place::Relay, || std::fs::write("/proc/sys/net/ipv4/ip_forward", "1"))?
            .context("cannot switch forwarding on")?;
        let mut drivers = Vec::new();
        for (place, link) in LINKS.into_iter().filter(|_| threads) {
            lab.polled_by_thread(place, link)?;
            let lane = if place == Place::Relay { target } else { load };
            let threads = threads_of(link);
            ensure!(!threads.is_empty(), "{link} has no thread of its own (Linux 5.12 and later)");
            for thread in threads {
                change("taskset", &["-c", "-p", &lane.core.to_string(), &thread.to_string()])?;
                if lane.realtime {
                    change("chrt", &["-r", "-p", DRIVER_PRIORITY, &thread.to_string()])?;
                }
                if place == Place::Relay {
                    drivers.push(thread);
                }
            }
        }
        Ok(Wires { drivers, _receivers: receivers, lab })
    }

    /// Addresses there.
    pub(crate) fn ground(&self) -> Ground {
        let relay = lab_address(1, 1);
        let sip = SocketAddrV4::new(relay, 5060);
        Ground {
            customer: SocketAddrV4::new(lab_address(1, 2), 5060),
            vendor: SocketAddrV4::new(lab_address(2, 2), 5060),
            tandem: sip,
            tandem_media: relay,
            kamailio: sip,
            rtpengine_media: relay,
            namespaces: Some([Place::A, Place::Relay, Place::B].map(|place| self.lab.namespace(place))),
        }
    }
}

/// Threads that do the work of a link.
fn threads_of(link: &str) -> Vec<u32> {
    let prefix = format!("napi/{link}-");
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let name = |id: &u32| std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
    ids.filter(|id| name(id).starts_with(&prefix)).collect()
}

fn change(program: &str, arguments: &[&str]) -> Result<()> {
    let done =
        Command::new(find(program)?).args(arguments).output().with_context(|| format!("cannot run {program}"))?;
    ensure!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr).trim());
    Ok(())
}
