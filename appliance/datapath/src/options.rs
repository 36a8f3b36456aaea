//! What the fast path is asked to serve, and what came of it.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use crate::error::Refusal;

/// How to attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// Native, else generic.
    #[default]
    Auto,
    /// In the driver, or not at all.
    Native,
    /// After the kernel has made a packet buffer: any interface, slower.
    Generic,
    /// Not at all.
    Off,
}

/// How an interface is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// In the driver.
    Native,
    /// After the kernel has made a packet buffer.
    Generic,
}

impl Attached {
    /// Its name in `tandem status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Attached::Native => "native",
            Attached::Generic => "generic",
        }
    }
}

/// What to serve.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the node: pins are in `<bpffs>/tandem-<name>`.
    pub name: String,
    /// The object file (`cargo xtask ebpf` makes `target/ebpf/relay.o`).
    pub object: PathBuf,
    /// Interfaces that media comes in and goes out by.
    pub interfaces: Vec<String>,
    /// Local media addresses; the position is the slot of a [`tandem_media::flow::FlowKey`].
    pub addresses: Vec<IpAddr>,
    /// Media ports, the same for every address.
    pub ports: RangeInclusive<u16>,
    /// How to attach.
    pub mode: Mode,
    /// The bpf file system; `/sys/fs/bpf` unless a test has its own.
    pub bpffs: PathBuf,
    /// Verify the UDP checksum of what arrives for a flow, and leave what is wrong to the stack (which drops it).
    pub verify_udp: bool,
    /// Throw away pinned maps that do not fit, with the streams in them.
    pub discard_pins: bool,
}

impl Options {
    /// The usual: automatic mode, `/sys/fs/bpf`, checksums verified, nothing thrown away.
    pub fn new(
        name: &str,
        object: PathBuf,
        interfaces: &[&str],
        addresses: &[IpAddr],
        ports: RangeInclusive<u16>,
    ) -> Options {
        Options {
            name: name.to_owned(),
            object,
            interfaces: interfaces.iter().map(|i| (*i).to_owned()).collect(),
            addresses: addresses.to_vec(),
            ports,
            mode: Mode::Auto,
            bpffs: PathBuf::from("/sys/fs/bpf"),
            verify_udp: true,
            discard_pins: false,
        }
    }

    /// Where its pins are.
    pub fn pins(&self) -> PathBuf {
        pins_of(&self.name, &self.bpffs)
    }
}

/// Where the pins of a node are.
pub(crate) fn pins_of(name: &str, bpffs: &Path) -> PathBuf {
    bpffs.join(format!("tandem-{name}"))
}

/// One line about the start, for the log and for `tandem status`.
#[derive(Debug)]
pub enum Notice {
    /// An interface is served.
    Attached {
        /// Which.
        interface: String,
        /// How.
        attached: Attached,
        /// The link of an earlier process was taken over: no packet was lost in between.
        adopted: bool,
        /// Why not natively.
        instead_of_native: Option<Refusal>,
    },
    /// Something is not served, or not right.
    Refused {
        /// Which interface; `None` for the whole fast path.
        interface: Option<String>,
        /// Why.
        refusal: Refusal,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::Attached { interface, attached, adopted, instead_of_native } => {
                write!(f, "{interface}: XDP {}", attached.as_str())?;
                if *adopted {
                    write!(f, ", taken over")?;
                }
                if let Some(refusal) = instead_of_native {
                    write!(f, ": {refusal}; {}", refusal.cure())?;
                }
                Ok(())
            }
            Notice::Refused { interface: Some(interface), refusal } => {
                write!(f, "{interface}: no XDP: {refusal}; {}", refusal.cure())
            }
            Notice::Refused { interface: None, refusal } => write!(f, "no XDP: {refusal}; {}", refusal.cure()),
        }
    }
}
