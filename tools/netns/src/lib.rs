//! Three network namespaces, a relay between two parties, joined by veth pairs, with the traps of veth taken out. For
//! tests and measurements; needs root. Everything is gone when the [`Lab`] is dropped, or with `tandem-netns down NAME`.
//!
//! ```text
//! namespace NAME-a            namespace NAME-r             namespace NAME-b
//!   a0 10.99.1.2  fd99:1::2 --- r0 10.99.1.1  fd99:1::1
//!                               r1 10.99.2.1  fd99:2::1 --- b0 10.99.2.2  fd99:2::2
//! ```
//!
//! The traps: a driver transmits by XDP into a veth only when the far end has a program of its own ([`Lab::receive`]);
//! a sender behind veth leaves its checksums unfinished unless told not to; larger MTUs refuse native XDP; the first
//! packet waits for a neighbour unless all are known.
#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod offload;

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use aya::Ebpf;
use aya::programs::xdp::XdpMode;
use aya::programs::{ProgramError, Xdp};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The MTU of all links; native XDP on veth takes up to 3,498.
const MTU: &str = "1500";

/// Where a thread can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The relay.
    Relay,
    /// The caller's party.
    A,
    /// The callee's party.
    B,
}

/// The namespaces.
#[derive(Debug)]
pub struct Lab {
    name: String,
    keep: bool,
}

/// Why there can be no lab here; `None` when there can.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("root".to_owned());
    }
    match Command::new("ip").arg("-V").output() {
        Ok(output) if output.status.success() => None,
        _ => Some("ip (Debian: iproute2)".to_owned()),
    }
}

/// A program for the kernel as `cargo xtask ebpf` makes it (or `TANDEM_EBPF_FOLDER` has it), when this machine can run it:
/// root, `ip`, and the file. Else it is printed what is missing, and the test that asked cannot run.
///
/// # Panics
/// With `TANDEM_XDP_REQUIRED`, when something is missing: `tools/test` sets it where the programs could be built.
pub fn kernel_program(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("TANDEM_EBPF_FOLDER")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/ebpf"), PathBuf::from);
    let object = folder.join(name);
    let absent = || (!object.exists()).then(|| format!("{} (cargo xtask ebpf)", object.display()));
    let Some(what) = missing().or_else(absent) else { return Some(object) };
    assert!(std::env::var_os("TANDEM_XDP_REQUIRED").is_none(), "{what} is missing");
    println!("skipped: {what} is missing");
    None
}

impl Lab {
    /// Makes the namespaces; what is left of earlier ones of that name is removed first.
    ///
    /// # Errors
    /// When a command fails.
    pub fn up(name: &str) -> Result<Lab> {
        down(name);
        let lab = Lab { name: name.to_owned(), keep: false };
        for place in [Place::Relay, Place::A, Place::B] {
            ip(&["netns", "add", &lab.namespace(place)])?;
            lab.ip(place, &["link", "set", "lo", "up"])?;
        }
        lab.wire("r0", Place::A, "a0", 1)?;
        lab.wire("r1", Place::B, "b0", 2)?;
        Ok(lab)
    }

    /// Leaves the namespaces there when this is dropped.
    pub fn keep(mut self) {
        self.keep = true;
    }

    /// Name of a namespace.
    pub fn namespace(&self, place: Place) -> String {
        let letter = match place {
            Place::Relay => 'r',
            Place::A => 'a',
            Place::B => 'b',
        };
        format!("{}-{letter}", self.name)
    }

    /// One veth pair with addresses and neighbours.
    fn wire(&self, near: &str, place: Place, far: &str, net: u8) -> Result<()> {
        let (relay, party) = (self.namespace(Place::Relay), self.namespace(place));
        ip(&[
            "link", "add", near, "mtu", MTU, "netns", &relay, "type", "veth", "peer", "name", far, "mtu", MTU, "netns",
            &party,
        ])?;
        let mac = |host: u8| format!("02:00:00:00:{net:02x}:{host:02x}");
        for (place, link, own, other) in [(Place::Relay, near, 1, 2), (place, far, 2, 1)] {
            self.ip(place, &["link", "set", link, "address", &mac(own), "up"])?;
            for (prefix, bits) in [(format!("10.99.{net}."), 24), (format!("fd99:{net}::"), 64)] {
                let address = format!("{prefix}{own}/{bits}");
                let mut add = vec!["addr", "add", &address, "dev", link];
                if bits == 64 {
                    // No wait for duplicates of an address that nobody else can have.
                    add.push("nodad");
                }
                self.ip(place, &add)?;
                let (neighbour, lladdr) = (format!("{prefix}{other}"), mac(other));
                self.ip(place, &["neigh", "replace", &neighbour, "lladdr", &lladdr, "nud", "permanent", "dev", link])?;
                if own == 2 {
                    // The other party is behind the relay.
                    self.ip(place, &["route", "replace", "default", "via", &neighbour])?;
                }
            }
            self.at(place, || offload::checksums_off(link))??;
        }
        Ok(())
    }

    /// Runs `ip` in a namespace.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn ip(&self, place: Place, arguments: &[&str]) -> Result<()> {
        let namespace = self.namespace(place);
        let mut all = vec!["-n", namespace.as_str()];
        all.extend(arguments);
        ip(&all)
    }

    /// Runs `work` in a thread that is in a namespace; sockets and processes that it makes stay there.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or `work` panics.
    pub fn at<T: Send>(&self, place: Place, work: impl FnOnce() -> T + Send) -> Result<T> {
        let there = || -> Result<T> {
            enter(&self.namespace(place))?;
            Ok(work())
        };
        thread::scope(|scope| scope.spawn(there).join()).map_err(|_| anyhow!("a thread of the test panicked"))?
    }

    /// Gives the work of a link a thread of its own, `napi/LINK-NUMBER`, which can be pinned and whose time is counted. A link
    /// without a program has such work only with GRO.
    ///
    /// # Errors
    /// When the kernel cannot do it.
    pub fn polled_by_thread(&self, place: Place, link: &str) -> Result<()> {
        self.at(place, || offload::gro_on(link))??;
        // The files of links are those of the namespace in which they were mounted, so a mount of our own it is.
        let script = format!("echo 1 >/sys/class/net/{link}/threaded");
        ip(&["netns", "exec", &self.namespace(place), "sh", "-c", &script])
    }

    /// Puts a program on the parties' ends that lets everything pass, so that what the relay transmits arrives.
    ///
    /// # Errors
    /// When it cannot be loaded or attached. The programs are there as long as the returned value.
    pub fn receive(&self, object: &Path) -> Result<Vec<Receiver>> {
        [(Place::A, "a0"), (Place::B, "b0")].map(|(place, link)| self.occupy(place, link, object)).into_iter().collect()
    }

    /// A wire between the two parties, past the relay: `a1` 10.99.3.1, `b1` 10.99.3.2.
    ///
    /// # Errors
    /// When a command fails.
    pub fn shortcut(&self) -> Result<()> {
        let b = self.namespace(Place::B);
        self.ip(
            Place::A,
            &["link", "add", "a1", "mtu", MTU, "type", "veth", "peer", "name", "b1", "mtu", MTU, "netns", &b],
        )?;
        for (place, link, own, other) in [(Place::A, "a1", 1, 2), (Place::B, "b1", 2, 1)] {
            let (mac, address) = (format!("02:00:00:00:03:{own:02x}"), format!("10.99.3.{own}/24"));
            let (neighbour, lladdr) = (format!("10.99.3.{other}"), format!("02:00:00:00:03:{other:02x}"));
            self.ip(place, &["link", "set", link, "address", &mac, "up"])?;
            self.ip(place, &["addr", "add", &address, "dev", link])?;
            self.ip(place, &["neigh", "replace", &neighbour, "lladdr", &lladdr, "nud", "permanent", "dev", link])?;
            self.at(place, move || offload::checksums_off(link))??;
        }
        Ok(())
    }

    /// Puts the same program on any link of the lab: for a driver of XDP there is somebody else's then.
    ///
    /// # Errors
    /// As [`Lab::receive`].
    pub fn occupy(&self, place: Place, link: &str, object: &Path) -> Result<Receiver> {
        let bytes = fs::read(object).with_context(|| format!("cannot read {}", object.display()))?;
        self.at(place, || Receiver::new(&bytes, link))?
    }
}

/// A program that lets everything pass, on a link.
pub struct Receiver {
    _ebpf: Ebpf,
}

impl Receiver {
    fn new(object: &[u8], link: &str) -> Result<Receiver> {
        let mut ebpf = Ebpf::load(object).context("cannot load the object")?;
        let program: &mut Xdp = ebpf.program_mut("pass").context("no program `pass`")?.try_into()?;
        program.load()?;
        program.attach(link, XdpMode::Driver).map_err(|error: ProgramError| anyhow!("{link}: {error}"))?;
        Ok(Receiver { _ebpf: ebpf })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !self.keep {
            down(&self.name);
        }
    }
}

/// Moves this thread into a namespace: sockets that it makes from now on are there, earlier ones stay where they are.
///
/// # Errors
/// When there is no such namespace, or it may not be entered.
pub fn enter(namespace: &str) -> Result<()> {
    let path = Path::new("/run/netns").join(namespace);
    let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).context("cannot enter the namespace")
}

/// Removes the namespaces of a lab.
pub fn down(name: &str) {
    for letter in ["r", "a", "b"] {
        // It need not be there.
        let _ = Command::new("ip").args(["netns", "del", &format!("{name}-{letter}")]).output();
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("cannot run ip (Debian: iproute2)")?;
    ensure!(output.status.success(), "ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// What the program does: `up NAME`, `down NAME`.
///
/// # Errors
/// When the arguments are wrong or a command fails.
pub fn command(arguments: &[String]) -> Result<()> {
    match arguments {
        [verb, name] if verb == "up" => {
            if let Some(what) = missing() {
                bail!("this needs {what}");
            }
            Lab::up(name)?.keep();
            println!("{name}-a, {name}-r, {name}-b are up; ip netns exec {name}-r COMMAND");
            Ok(())
        }
        [verb, name] if verb == "down" => {
            down(name);
            Ok(())
        }
        _ => bail!("tandem-netns up NAME | down NAME"),
    }
}
