//! Why the fast path, or a part of it, is not there: a closed list, each with its cure. The user-space relay takes over.

use std::io;
use std::path::PathBuf;

/// A reason why the kernel does not relay. The text names the cause; [`Refusal::cure`] what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Turned off in the configuration.
    #[error("the fast path is turned off")]
    Off,
    /// No interface was named.
    #[error("no interface is named for media")]
    NoInterface,
    /// Nothing to serve, or more than one program can.
    #[error("{count} media addresses; the program serves 1 to {max}")]
    Addresses {
        /// How many were given.
        count: usize,
        /// How many it can.
        max: usize,
    },
    /// The object file of the program is not there.
    #[error("the kernel program {path} cannot be read: {error}")]
    ObjectMissing {
        /// Where it was looked for.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The object file is no such program, or one of another version.
    #[error("{path} is not the kernel program of this version: {why}")]
    ObjectInvalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The kernel has no type information.
    #[error("the kernel was built without BTF ({why})")]
    NoBtf {
        /// What was refused because of it.
        why: String,
    },
    /// No place to pin to.
    #[error("{path} is not a bpf file system and cannot be made one: {error}")]
    NoBpffs {
        /// Where it was looked for.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Not allowed.
    #[error("the system does not permit {what}")]
    NoCapability {
        /// What was tried.
        what: &'static str,
    },
    /// The verifier did not accept the program.
    #[error("the kernel's verifier refuses the program ({error}); its last words:\n{log}")]
    Verifier {
        /// The errno.
        error: io::Error,
        /// The last lines of its log.
        log: String,
    },
    /// The driver has no XDP of its own.
    #[error("the driver of {interface} has no native XDP")]
    NoNativeDriver {
        /// Which.
        interface: String,
    },
    /// Frames could be larger than a page.
    #[error("the MTU of {interface} ({mtu}), or that of the other end of a veth, is too large for native XDP")]
    MtuTooLarge {
        /// Which.
        interface: String,
        /// Its MTU.
        mtu: u32,
    },
    /// There is no such interface.
    #[error("there is no interface {interface}")]
    InterfaceMissing {
        /// Which.
        interface: String,
    },
    /// The interface has another name now.
    #[error("the interface that was {interface} is called {now} now; media goes on there until the next start")]
    InterfaceRenamed {
        /// The name in the configuration.
        interface: String,
        /// Its name now.
        now: String,
    },
    /// The interface is down.
    #[error("the interface {interface} is down")]
    InterfaceDown {
        /// Which.
        interface: String,
    },
    /// Somebody else's XDP program is there.
    #[error("{interface} already has an XDP program of somebody else")]
    InterfaceBusy {
        /// Which.
        interface: String,
    },
    /// Maps of another version or configuration are pinned.
    #[error("{path} holds maps of another version or configuration: {difference}")]
    PinnedDiffers {
        /// The folder of the pins.
        path: PathBuf,
        /// What differs.
        difference: String,
    },
    /// The kernel's route table cannot be asked.
    #[error(
        "forwarding cannot be switched on for the loopback interface ({path}: {error}), which asking the routes needs"
    )]
    NoRoutes {
        /// The setting.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The kernel does not steer to a socket.
    #[error("the kernel does not steer SIP to shard {shard} on listener {listener}: {error}")]
    NotSteered {
        /// Number of the listener.
        listener: usize,
        /// Whose socket.
        shard: u8,
        /// What the system said.
        error: String,
    },
    /// The kernel does not direct media to a socket.
    #[error("the kernel does not direct media ports to one socket: {error}")]
    NotDirected {
        /// Whose socket; none for the one that nobody reads.
        shard: Option<u8>,
        /// What the system said.
        error: String,
    },
    /// Anything else the kernel said.
    #[error("{what} failed: {error}")]
    Kernel {
        /// What was tried.
        what: String,
        /// What the system said.
        error: String,
    },
}

impl Refusal {
    /// What to do about it: one sentence, with a command where there is one.
    pub fn cure(&self) -> &'static str {
        match self {
            Refusal::Off => "set the mode to auto to use it",
            Refusal::NoInterface => "name the interfaces that media comes in by",
            Refusal::Addresses { .. } => "give each media address once, and at least one",
            Refusal::ObjectMissing { .. } => "build it with `cargo xtask ebpf`, or name the file in the configuration",
            Refusal::ObjectInvalid { .. } => "build it anew from the same sources as the switch: `cargo xtask ebpf`",
            Refusal::NoBtf { .. } => "use a kernel with CONFIG_DEBUG_INFO_BTF, as every distribution builds it",
            Refusal::NoBpffs { .. } => "mount it at the start of the machine: mount -t bpf bpf /sys/fs/bpf",
            Refusal::NoCapability { .. } => {
                "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (and CAP_SYS_ADMIN to mount bpffs)"
            }
            Refusal::Verifier { .. } => "use a kernel of 6.1 or newer; if it is, report the log above",
            Refusal::NoNativeDriver { .. } => "generic mode is used instead; another network card would be faster",
            Refusal::MtuTooLarge { .. } => {
                "generic mode is used instead; for native XDP lower it: ip link set dev INTERFACE mtu 1500"
            }
            Refusal::InterfaceMissing { .. } => "look at `ip link` and correct the configuration",
            Refusal::InterfaceRenamed { .. } => "write the new name into the configuration",
            Refusal::InterfaceDown { .. } => "ip link set dev INTERFACE up",
            Refusal::InterfaceBusy { .. } => {
                "remove it: ip link set dev INTERFACE xdp off (or the tool that put it there)"
            }
            Refusal::PinnedDiffers { .. } => "let the calls end and start with the old maps discarded",
            Refusal::NoRoutes { .. } => {
                "set it by hand: sysctl net.ipv4.conf.lo.forwarding=1 net.ipv6.conf.lo.forwarding=1"
            }
            Refusal::NotSteered { .. } => "the other shards hand over instead; report the message",
            Refusal::NotDirected { .. } => "every port has a socket of its own instead; report the message",
            Refusal::Kernel { .. } => "the user-space relay takes over; report the message if it should have worked",
        }
    }
}
