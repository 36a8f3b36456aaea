//! The subjects of measurement: tandem, its peers, and nothing at all.

mod deck;
mod ground;
mod peer;
mod process;
mod tandem;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) use ground::{Ground, Wires};
pub(crate) use peer::find;
pub(crate) use process::{Lane, Process, files};
pub(crate) use tandem::Binaries;

const fn loopback(last: u8, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(127, 0, 1, last), port)
}

/// Where calls come from.
pub(crate) const CUSTOMER: SocketAddrV4 = loopback(20, 5060);
/// Where targets send them.
pub(crate) const VENDOR: SocketAddrV4 = loopback(30, 5060);
const SIP_TANDEM: SocketAddrV4 = loopback(12, 5060);
const MEDIA_TANDEM: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 13);
const SIP_KAMAILIO: SocketAddrV4 = loopback(10, 5060);
const MEDIA_RTPENGINE: Ipv4Addr = Ipv4Addr::new(127, 0, 1, 11);
const MEDIA_CONTROL: SocketAddrV4 = loopback(11, 2223);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Kind {
    /// tandem, relaying media.
    Tandem,
    /// tandem, relaying media in the kernel; in namespaces only (root).
    TandemXdp,
    /// tandem, signalling only.
    TandemNomedia,
    /// The same with two shards, to which the kernel gives what is theirs (root).
    TandemSteered,
    /// The same with two shards, which hand over what is the other's.
    TandemHandingOver,
    /// Kamailio alone.
    Kamailio,
    /// Kamailio with rtpengine.
    KamailioRtpengine,
    /// No switch: the generator calls itself; in namespaces the kernel of the switch's place routes.
    Direct,
    /// Not even that: one wire between both sides; in namespaces only.
    Wire,
}

impl Kind {
    /// Programs that must be installed.
    pub(crate) fn needs(self) -> &'static [&'static str] {
        match self {
            Kind::Kamailio => &["kamailio"],
            Kind::KamailioRtpengine => &["kamailio", "rtpengine"],
            _ => &[],
        }
    }

    /// Whether it can only be where namespaces are.
    pub(crate) fn needs_wires(self) -> bool {
        matches!(self, Kind::TandemXdp | Kind::Wire)
    }

    /// Whether it is tandem.
    fn is_ours(self) -> bool {
        !matches!(self, Kind::Kamailio | Kind::KamailioRtpengine | Kind::Direct | Kind::Wire)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Tandem => "tandem",
            Kind::TandemXdp => "tandem-xdp",
            Kind::TandemNomedia => "tandem-nomedia",
            Kind::TandemSteered => "tandem-steered",
            Kind::TandemHandingOver => "tandem-handing-over",
            Kind::Kamailio => "kamailio",
            Kind::KamailioRtpengine => "kamailio-rtpengine",
            Kind::Direct => "direct",
            Kind::Wire => "wire",
        })
    }
}

/// A running target; ends when dropped.
pub(crate) struct Target {
    /// What it is.
    pub(crate) kind: Kind,
    /// Where it is.
    pub(crate) ground: Ground,
    binaries: Option<Binaries>,
    // The relay ends before the switch that talks to it, both before their folder goes.
    relay: Option<Process>,
    switch: Option<Process>,
    _pins: Pins,
    folder: TempDir,
}

impl Target {
    /// Starts it in a temporary folder and waits until it takes calls.
    ///
    /// # Errors
    /// What is missing or what its log says.
    pub(crate) fn start(kind: Kind, lane: &Lane, ground: &Ground, binaries: &Binaries) -> Result<Target> {
        let folder = tempfile::Builder::new().prefix("tandem-bench-").tempdir().context("cannot make a folder")?;
        let path = folder.path();
        let ground = &ground.of(kind);
        let (relay, switch) = match kind {
            Kind::Kamailio => (None, Some(peer::kamailio(lane, ground, false, path)?)),
            Kind::KamailioRtpengine => {
                let relay = peer::rtpengine(lane, ground, path)?;
                (Some(relay), Some(peer::kamailio(lane, ground, true, path)?))
            }
            Kind::Direct | Kind::Wire => (None, None),
            _ => (None, Some(tandem::start(kind, binaries, lane, ground, path)?)),
        };
        let binaries = kind.is_ours().then(|| binaries.clone());
        Ok(Target { kind, ground: ground.clone(), binaries, relay, switch, _pins: Pins(path.join(PINS)), folder })
    }

    /// All its processes.
    pub(crate) fn ids(&self) -> Vec<u32> {
        [&self.switch, &self.relay].into_iter().flatten().flat_map(Process::ids).collect()
    }

    /// Those that relay RTP.
    pub(crate) fn relay_ids(&self) -> Vec<u32> {
        self.relay.as_ref().or(self.switch.as_ref()).map(Process::ids).unwrap_or_default()
    }

    /// Its folder, with logs and data.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What tandem says of itself; null for others.
    ///
    /// # Errors
    /// What `tandem status` complained about.
    pub(crate) fn status(&self) -> Result<Value> {
        self.ask(&["status"])
    }

    /// The command line of tandem with `words`, for those who look while it runs; none for others.
    pub(crate) fn command(&self, words: &[&str]) -> Option<Command> {
        self.binaries.as_ref().map(|binaries| tandem::command(binaries, self.folder(), words))
    }

    /// What tandem answers to a command; null for others.
    ///
    /// # Errors
    /// What it complained about.
    pub(crate) fn ask(&self, words: &[&str]) -> Result<Value> {
        self.binaries.as_ref().map_or(Ok(Value::Null), |binaries| tandem::ask(binaries, self.folder(), words))
    }
}

/// Where the kernel's maps are pinned, in the folder of a target.
const PINS: &str = "bpf";

/// The file system of the pins: without it the kernel's program ends with the switch.
struct Pins(PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        if self.0.exists() {
            // What is not mounted need not be taken away.
            let _ = Command::new("umount").arg("-l").arg(&self.0).output();
        }
    }
}
