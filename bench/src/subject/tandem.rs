//! tandem as it is measured: 10,000 prefixes, 20,000 channels, rating and journal on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::deck;
use super::ground::RELAY_LINKS;
use super::process::{Lane, Process};
use super::{Ground, Kind, PINS};

/// Where `cargo xtask ebpf` puts the kernel's programs.
pub(super) const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/ebpf");
/// Channels of gateways and switch.
const CHANNELS: u32 = 20_000;

/// The programs.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    /// The switch.
    pub(crate) tandemd: PathBuf,
    /// Its command line, beside it.
    pub(crate) tandem: PathBuf,
}

impl Binaries {
    /// Those beside `tandemd`, or built with profile `fast` when there is no such path.
    ///
    /// # Errors
    /// When they cannot be built or are not there.
    pub(crate) fn find(tandemd: Option<&Path>) -> Result<Binaries> {
        let tandemd = match tandemd {
            Some(path) => path.to_owned(),
            None => build()?,
        };
        let tandem = tandemd.with_file_name("tandem");
        for path in [&tandemd, &tandem] {
            ensure!(path.is_file(), "{} is not there; leave --tandemd out to have it built", path.display());
        }
        Ok(Binaries { tandemd, tandem })
    }
}

fn build() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("bench is a room of the repository")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--profile", "fast", "--package", "tandem", "--package", "tandem-cli"]);
    let status = command.current_dir(root).status().context("cannot run cargo")?;
    ensure!(status.success(), "tandemd cannot be built");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(root.join(target).join("fast/tandemd"))
}

/// Starts it in `folder`.
///
/// # Errors
/// What its log says.
pub(super) fn start(kind: Kind, binaries: &Binaries, lane: &Lane, ground: &Ground, folder: &Path) -> Result<Process> {
    let write =
        |name: &str, text: &str| fs::write(folder.join(name), text).with_context(|| format!("cannot write {name}"));
    write("customer.csv", &deck::csv(100))?;
    write("vendor.csv", &deck::csv(60))?;
    write("site.toml", &site(ground, matches!(kind, Kind::Tandem | Kind::TandemXdp)))?;
    write("tandemd.toml", &machine(kind, ground, folder))?;
    let mut command = ground.command(lane, &binaries.tandemd)?;
    command.arg("--config").arg(folder.join("tandemd.toml"));
    let mut process = Process::start("tandemd", &mut command, &folder.join("tandemd.log"))?;
    process.until_bound(ground.tandem)?;
    Ok(process)
}

fn machine(kind: Kind, ground: &Ground, folder: &Path) -> String {
    let (shards, steering) = match kind {
        Kind::TandemSteered => (2, "auto"),
        Kind::TandemHandingOver => (2, "off"),
        _ => (1, "off"),
    };
    let (sip, media) = (ground.tandem, ground.tandem_media);
    let path = match kind {
        Kind::TandemXdp => format!("interfaces = {RELAY_LINKS}\nxdp = \"native\"\nbpffs = {:?}\n", folder.join(PINS)),
        _ => format!("allow_loopback = {}\n", media.is_loopback()),
    };
    format!(
        "node = \"bench\"\nkernel_programs = \"{PROGRAMS}\"\ndata_dir = \"data\"\ncontrol_socket = \"control.sock\"\n\n[[listen]]\naddress = \"{sip}\"\n\n\
         [media]\naddress = \"{media}\"\n{path}\n\
         # The core is chosen from outside, for all threads alike.\n[threads]\nshards = {shards}\npin = false\nsteering = \"{steering}\"\n\n\
         [limits]\ncalls = {CHANNELS}\n\n[bootstrap]\nsite = \"site.toml\"\n\n\
         [bootstrap.rates]\nretail = \"customer.csv\"\nwholesale = \"vendor.csv\"\n"
    )
}

fn site(ground: &Ground, media: bool) -> String {
    let media = if media { "on" } else { "off" };
    format!(
        "[params]\nSERVER_BILLING_FEE_PRECISTION = \"4\"\nSERVER_BILLING_FEE_UNIT = \"0.0001\"\n\
         SS_RTP_PORT_RANGE = \"10000,59999\"\n\n\
         [account.acme]\nkind = \"customer\"\nrate_group = \"retail\"\nopening = \"100000000.00\"\n\n\
         [account.carrier]\nkind = \"vendor\"\nrate_group = \"wholesale\"\n\n\
         [mapping_gateway.acme]\naccount = \"acme\"\nsources = [\"{}\"]\ncapacity = {CHANNELS}\nmedia = \"{media}\"\n\n\
         [routing_gateway.carrier]\naccount = \"carrier\"\nremotes = [\"{}\"]\nprefixes = [\"1212\"]\n\
         capacity = {CHANNELS}\nmedia = \"{media}\"\n",
        ground.customer.ip(),
        ground.vendor
    )
}

/// The command line with `words`.
pub(super) fn command(binaries: &Binaries, folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(&binaries.tandem);
    command.args(words).env("TANDEM_SOCKET", folder.join("control.sock"));
    command
}

/// What `tandem` answers to a command.
///
/// # Errors
/// What it complained about.
pub(super) fn ask(binaries: &Binaries, folder: &Path, words: &[&str]) -> Result<Value> {
    let done = command(binaries, folder, words).args(["-o", "json"]).output().context("cannot run tandem")?;
    if !done.status.success() {
        bail!("tandem {}: {}", words.join(" "), String::from_utf8_lossy(&done.stderr).trim());
    }
    serde_json::from_slice(&done.stdout).with_context(|| format!("tandem {} wrote no JSON", words.join(" ")))
}
