//! Where the calls are placed: in three network namespaces, with the kernel's relay between them, or on loopback.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail, ensure};
use rustix::process::geteuid;
use tandem_netns::{Lab, Place, Receiver};

use super::interrupt::Interrupt;
use super::tap::Tap;
use super::{Arguments, Relay};
use crate::ebpf;

/// Names of the demo's namespaces begin with this; its process id follows.
const PREFIX: &str = "tandem-demo-";
/// The links of the switch in a lab, to the customer and to the vendor.
pub(super) const INTERFACES: [&str; 2] = ["r0", "r1"];
/// Port of SIP in the namespaces.
const SIP: u16 = 5060;

/// Where everybody is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    /// SIP of the switch.
    pub(super) sip: SocketAddr,
    /// Media of the switch.
    pub(super) media: IpAddr,
    /// Where calls come from.
    pub(super) customer: IpAddr,
    /// Where they go.
    pub(super) vendor: SocketAddr,
}

/// The place of a demo. What it made is gone when it is dropped.
pub(super) struct Scene {
    pub(super) addresses: Addresses,
    kernel: Option<Kernel>,
    told: String,
}

/// Namespaces and what relays between them. The programs go before the links they are on.
struct Kernel {
    _receivers: Vec<Receiver>,
    lab: Lab,
    object: PathBuf,
}

impl Scene {
    /// Makes it.
    ///
    /// # Errors
    /// When it has to be the kernel (`--path xdp`) and cannot, with the cure; or when interrupted.
    pub(super) fn make(arguments: &Arguments, interrupt: &Interrupt) -> Result<Scene> {
        if let Some(reason) = unwanted(arguments) {
            return Ok(Scene::on_loopback(arguments, reason));
        }
        match Kernel::make() {
            Ok(kernel) => Ok(Scene {
                addresses: Addresses {
                    sip: ([10, 99, 1, 1], SIP).into(),
                    media: [10, 99, 1, 1].into(),
                    customer: [10, 99, 1, 2].into(),
                    vendor: ([10, 99, 2, 2], SIP).into(),
                },
                told: format!(
                    "place: network namespaces {} (customer), {} (switch), {} (vendor)",
                    kernel.lab.namespace(Place::A),
                    kernel.lab.namespace(Place::Relay),
                    kernel.lab.namespace(Place::B),
                ),
                kernel: Some(kernel),
            }),
            Err(error) => {
                interrupt.check()?;
                if arguments.path == Relay::Xdp {
                    bail!("--path xdp cannot be: {error:#}");
                }
                Ok(Scene::on_loopback(arguments, &format!("{error:#}")))
            }
        }
    }

    fn on_loopback(arguments: &Arguments, reason: &str) -> Scene {
        Scene {
            addresses: Addresses {
                sip: arguments.sip.unwrap_or(([127, 0, 0, 12], SIP).into()),
                media: arguments.media.unwrap_or([127, 0, 0, 13].into()),
                customer: arguments.customer.unwrap_or([127, 0, 0, 20].into()),
                vendor: arguments.vendor.unwrap_or(([127, 0, 0, 30], SIP).into()),
            },
            kernel: None,
            told: format!("place: loopback, audio relayed in user space: {reason}"),
        }
    }

    /// One line: where, and why not elsewhere.
    pub(super) fn told(&self) -> &str {
        &self.told
    }

    /// The program of the kernel's relay; nothing on loopback.
    pub(super) fn object(&self) -> Option<&Path> {
        self.kernel.as_ref().map(|kernel| kernel.object.as_path())
    }

    /// What a shell command at a place begins with; nothing on loopback.
    pub(super) fn prefix(&self, place: Place) -> String {
        let kernel = self.kernel.as_ref();
        kernel.map_or_else(String::new, |kernel| format!("ip netns exec {} ", kernel.lab.namespace(place)))
    }

    /// A program at a place. Whatever happens to us, it does not stay behind: it gets `signal` at our end.
    pub(super) fn command(&self, place: Place, signal: &str, program: &Path) -> Command {
        // Each of these becomes the next one: the process id is that of the program.
        let mut all: Vec<String> = Vec::new();
        if works("setpriv") {
            all.extend(["setpriv", "--pdeathsig", signal, "--"].map(str::to_owned));
        }
        if let Some(kernel) = &self.kernel {
            all.extend([
                "nsenter".to_owned(),
                format!("--net=/run/netns/{}", kernel.lab.namespace(place)),
                "--".to_owned(),
            ]);
            if place == Place::Relay {
                // What it pins is mounted for it alone and gone with it, also after a kill.
                all.extend(["unshare", "--mount", "--"].map(str::to_owned));
            }
        }
        let mut words = all.into_iter();
        match words.next() {
            None => Command::new(program),
            Some(first) => {
                let mut command = Command::new(first);
                command.args(words).arg(program);
                command
            }
        }
    }

    /// Counts the audio that arrives at the customer and at the vendor; nothing on loopback, where it takes privileges.
    ///
    /// # Errors
    /// When it cannot.
    pub(super) fn taps(&self) -> Result<Option<[Tap; 2]>> {
        let Some(Kernel { lab, .. }) = &self.kernel else { return Ok(None) };
        let tap = |place| Tap::start(lab, place, self.addresses.media);
        Ok(Some([tap(Place::A)?, tap(Place::B)?]))
    }
}

impl Kernel {
    /// # Errors
    /// What is missing, and the cure.
    fn make() -> Result<Kernel> {
        ensure!(geteuid().is_root(), "namespaces and kernel programs are root's; cure: sudo tools/demo");
        if let Some(what) = tandem_netns::missing() {
            bail!("{what} is missing; cure: tools/setup --ebpf");
        }
        for program in ["nsenter", "unshare"] {
            ensure!(works(program), "{program} is missing; cure: apt-get install util-linux");
        }
        let object = ebpf::relay()?;
        put_away();
        let lab = Lab::up(&format!("{PREFIX}{}", std::process::id())).map_err(|error| {
            error.context("no network namespaces here; cure: a machine, or a container that may make them (CAP_SYS_ADMIN, CAP_NET_ADMIN)")
        })?;
        let receivers = lab.receive(&object).map_err(|error| {
            error.context(
                "the kernel takes no program here; cure: Linux 6.1 or later and CAP_BPF, which containers rarely have",
            )
        })?;
        Ok(Kernel { _receivers: receivers, lab, object })
    }
}

/// Why the kernel is not even tried.
fn unwanted(arguments: &Arguments) -> Option<&'static str> {
    match arguments.path {
        Relay::Xdp => None,
        Relay::User => Some("as --path user asks"),
        Relay::Auto if arguments.serve => {
            Some("--serve stays where your own SIPp reaches it; with --path xdp it is in namespaces")
        }
        Relay::Auto if arguments.has_addresses() => {
            Some("the given addresses are those of this machine; without them it is in namespaces")
        }
        Relay::Auto => None,
    }
}

/// Removes the namespaces of demos that were killed.
fn put_away() {
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u32>().ok());
        if let Some(process) = process.filter(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            tandem_netns::down(&format!("{PREFIX}{process}"));
        }
    }
}

/// Whether a program can be started.
fn works(program: &str) -> bool {
    let tried = Command::new(program).arg("--version").stdin(Stdio::null()).output();
    tried.is_ok_and(|output| output.status.success())
}
