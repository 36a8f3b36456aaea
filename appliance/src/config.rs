//! `tandemd.toml`: only what the machine needs - addresses, paths, cores, limits. Everything a business changes lives in
//! the site configuration.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::limits;
use crate::site;

/// The machine's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Node name: CDR field `softswitch`, and part of our loop header.
    #[serde(default = "default_node")]
    pub node: String,
    /// ISO 4217 code of every amount (rates.md 11). Fixed once there are records.
    #[serde(default = "default_currency")]
    pub currency: String,
    /// Journal, database and CDR files; created when missing.
    pub data_dir: PathBuf,
    /// Where `tandem` reaches us.
    #[serde(default = "default_socket")]
    pub control_socket: PathBuf,
    /// SIP listeners, at least one.
    pub listen: Vec<Listen>,
    /// Media.
    pub media: Media,
    /// Threads.
    #[serde(default)]
    pub threads: Threads,
    /// Limits.
    #[serde(default)]
    pub limits: Limits,
    /// Folder of the programs for the kernel (`steer.o`); without it they are looked for beside `tandemd`.
    pub kernel_programs: Option<PathBuf>,
    /// What an empty store starts with.
    #[serde(default)]
    pub bootstrap: Bootstrap,
}

/// One SIP listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Address and port to bind; UDP.
    pub address: SocketAddr,
    /// Address written into Via and Contact, when the host sits behind 1:1 NAT.
    pub advertise: Option<SocketAddr>,
    /// Media addresses of the legs that use this listener. Of a family that is not named here any address may be used.
    #[serde(default)]
    pub media: Vec<IpAddr>,
}

/// Media addresses.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Media {
    /// Local address of relayed media.
    pub address: IpAddr,
    /// Address of the other family, for calls whose legs need it.
    pub address_other: Option<IpAddr>,
    /// Address written into SDP, when the host sits behind 1:1 NAT.
    pub advertise: Option<IpAddr>,
    /// Further addresses of either family: each has the whole range of ports.
    #[serde(default)]
    pub more: Vec<MoreMedia>,
    /// Whether media may go to loopback addresses: for tests and demos on one machine only.
    #[serde(default)]
    pub allow_loopback: bool,
    /// Interfaces that media comes in and goes out by, for the relay in the kernel; without any user space relays.
    #[serde(default)]
    pub interfaces: Vec<String>,
    /// How the kernel's program is attached: `auto` (native, else generic), `native`, `generic` or `off`.
    #[serde(default = "default_xdp")]
    pub xdp: String,
    /// The kernel's program, when it is not `relay.o` among the `kernel_programs`.
    pub xdp_object: Option<PathBuf>,
    /// What user space gets media by: a socket for each port, or one a shard.
    #[serde(default)]
    pub sockets: SocketsMode,
    /// The bpf file system, where it outlives us.
    #[serde(default = "default_bpffs")]
    pub bpffs: PathBuf,
}

/// How media comes to user space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SocketsMode {
    /// One socket a shard where the kernel relays and can direct datagrams to it; else one a port.
    #[default]
    Auto,
    /// One socket a shard also where user space relays everything.
    Shared,
    /// A socket a port.
    Port,
}

/// A further media address.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoreMedia {
    /// Local address of relayed media.
    pub address: IpAddr,
    /// Address written into SDP, when there is a 1:1 NAT before it.
    pub advertise: Option<IpAddr>,
}

impl Media {
    /// Local addresses in the order of their slots in the fast path.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.advertised().map(|(address, _)| address)
    }

    /// As [`Media::addresses`], each with the one that is written into SDP.
    pub fn advertised(&self) -> impl Iterator<Item = (IpAddr, IpAddr)> + '_ {
        let first = std::iter::once(self.address).chain(self.address_other);
        // One address is advertised for the first two; the other family has no NAT in front of it.
        let first = first.map(|ip| (ip, self.advertise.filter(|a| a.is_ipv4() == ip.is_ipv4()).unwrap_or(ip)));
        first.chain(self.more.iter().map(|more| (more.address, more.advertise.unwrap_or(more.address))))
    }
}

/// Threads and cores.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Threads {
    /// Shards; 1 on a machine of two cores.
    pub shards: usize,
    /// Whether to pin shard n to core n+1 (the last ones wrap), leaving core 0 to rating and control.
    pub pin: bool,
    /// Whether the kernel gives each SIP datagram to the shard of its call, if it can; there is something to give with two
    /// shards or more.
    pub steering: SteeringMode,
}

/// Whether to steer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SteeringMode {
    /// If the kernel can and we may; else shards hand over.
    #[default]
    Auto,
    /// Shards hand over.
    Off,
}

impl Default for Threads {
    fn default() -> Self {
        Threads { shards: 1, pin: true, steering: SteeringMode::Auto }
    }
}

/// Limits an operator may lower or raise.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Calls in progress per shard.
    pub calls: usize,
    /// A start goes on with calls that were alive at most so many seconds before; older ones, and with 0 all, are billed to
    /// their last heartbeat.
    pub adopt_within_s: u32,
    /// Seconds between two searches for flows of the kernel that no call has.
    pub orphans_every_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            calls: limits::CALLS_MAX_DEFAULT,
            adopt_within_s: limits::ADOPT_WITHIN_S,
            orphans_every_s: limits::ORPHANS_EVERY_S,
        }
    }
}

/// First contents of an empty store; ignored once the store has a site.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bootstrap {
    /// Site file.
    pub site: Option<PathBuf>,
    /// Rate group -> CSV deck.
    pub rates: BTreeMap<String, PathBuf>,
}

fn default_node() -> String {
    "tandem".to_owned()
}

fn default_currency() -> String {
    "USD".to_owned()
}

fn default_xdp() -> String {
    "auto".to_owned()
}

fn default_bpffs() -> PathBuf {
    PathBuf::from("/sys/fs/bpf")
}

fn default_socket() -> PathBuf {
    PathBuf::from("/run/tandem/control.sock")
}

impl Config {
    /// Reads and checks the file. Relative paths inside are relative to it.
    ///
    /// # Errors
    /// One sentence naming file, key, value and what is allowed.
    pub fn read(path: &Path) -> Result<Config> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!("cannot read the configuration {}; give its path with --config", path.display())
        })?;
        let mut config = Config::parse(&text).with_context(|| format!("in {}", path.display()))?;
        let base = path.parent().unwrap_or(Path::new("."));
        let optional = [&mut config.bootstrap.site, &mut config.kernel_programs, &mut config.media.xdp_object];
        let given = optional.into_iter().filter_map(Option::as_mut);
        for file in [&mut config.data_dir, &mut config.control_socket, &mut config.media.bpffs].into_iter().chain(given)
        {
            *file = base.join(&*file);
        }
        for file in config.bootstrap.rates.values_mut() {
            *file = base.join(&*file);
        }
        Ok(config)
    }

    /// Parses and checks the text.
    ///
    /// # Errors
    /// As [`Config::read`].
    pub fn parse(text: &str) -> Result<Config> {
        let config: Config = toml::from_str(text).map_err(|e| anyhow::anyhow!(site::friendly(&e, text)))?;
        if config.listen.is_empty() {
            bail!("listen is empty; name at least one address such as [[listen]] address = \"192.0.2.1:5060\"");
        }
        for (n, listen) in config.listen.iter().enumerate() {
            if config.listen[..n].iter().any(|other| other.address == listen.address) {
                bail!("listen.address {} stands twice", listen.address);
            }
            if listen.address.ip().is_unspecified() && listen.advertise.is_none() {
                bail!(
                    "listen.address {} names every address; write the one callers are told, or give listen.advertise",
                    listen.address
                );
            }
            if listen.advertise.is_some_and(|a| a.is_ipv4() != listen.address.is_ipv4()) {
                bail!("listen.advertise is of another family than listen.address {}", listen.address);
            }
            if listen.address.port() == 0 {
                bail!("listen.address {} has port 0; name the port callers are told", listen.address);
            }
        }
        if !(1..=limits::SHARDS_MAX).contains(&config.threads.shards) {
            bail!("threads.shards = {} is not allowed; it takes 1 to {}", config.threads.shards, limits::SHARDS_MAX);
        }
        if !(1..=limits::CALLS_MAX).contains(&config.limits.calls) {
            bail!("limits.calls = {} is not allowed; it takes 1 to {}", config.limits.calls, limits::CALLS_MAX);
        }
        if !(1..=limits::ORPHANS_EVERY_MAX_S).contains(&config.limits.orphans_every_s) {
            bail!(
                "limits.orphans_every_s = {} is not allowed; it takes 1 to {}",
                config.limits.orphans_every_s,
                limits::ORPHANS_EVERY_MAX_S
            );
        }
        if config.limits.adopt_within_s > limits::ADOPT_WITHIN_MAX_S {
            bail!(
                "limits.adopt_within_s = {} is not allowed; it takes 0 to {}",
                config.limits.adopt_within_s,
                limits::ADOPT_WITHIN_MAX_S
            );
        }
        if config.node.is_empty()
            || config.node.len() > 32
            || !config.node.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            bail!("node = {:?} is not allowed; it takes 1 to 32 letters, digits and -", config.node);
        }
        if config.currency.len() != 3 || !config.currency.bytes().all(|b| b.is_ascii_uppercase()) {
            bail!("currency = {:?} is not allowed; it takes an ISO 4217 code such as USD", config.currency);
        }
        if let Some(other) = config.media.address_other
            && other.is_ipv4() == config.media.address.is_ipv4()
        {
            bail!("media.address_other {other} is of the same family as media.address {}", config.media.address);
        }
        check_addresses(&config)?;
        check_fast_path(&config.media)?;
        Ok(config)
    }
}

fn check_addresses(config: &Config) -> Result<()> {
    let addresses: Vec<IpAddr> = config.media.addresses().collect();
    for (n, address) in addresses.iter().enumerate() {
        if address.is_unspecified() {
            bail!("media.address {address} names every address; write the one that media is sent to");
        }
        if addresses[..n].contains(address) {
            bail!("media.more has {address}, which stands there twice or is another address of [media]");
        }
    }
    if addresses.len() > limits::MEDIA_ADDRESSES_MAX {
        bail!("[media] has {} addresses; it takes at most {}", addresses.len(), limits::MEDIA_ADDRESSES_MAX);
    }
    for more in &config.media.more {
        if let Some(advertise) = more.advertise.filter(|advertise| advertise.is_ipv4() != more.address.is_ipv4()) {
            bail!("media.more.advertise {advertise} is of another family than media.more.address {}", more.address);
        }
    }
    for listen in &config.listen {
        if let Some(strange) = listen.media.iter().find(|address| !addresses.contains(address)) {
            bail!(
                "listen.media of {} has {strange}, which is no address of [media]; those are {}",
                listen.address,
                addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
            );
        }
    }
    Ok(())
}

/// Ways to attach, as `media.xdp` has them.
const XDP_MODES: [&str; 4] = ["auto", "native", "generic", "off"];
/// Longest name of an interface, bytes (`IFNAMSIZ` less its end).
const INTERFACE_NAME_MAX: usize = 15;

fn check_fast_path(media: &Media) -> Result<()> {
    if !XDP_MODES.contains(&media.xdp.as_str()) {
        bail!("media.xdp = {:?} is not allowed; it takes auto, native, generic or off", media.xdp);
    }
    for (n, name) in media.interfaces.iter().enumerate() {
        let fits = (1..=INTERFACE_NAME_MAX).contains(&name.len())
            && name != "."
            && name != ".."
            && name.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':');
        if !fits {
            bail!(
                "media.interfaces has {name:?}, which is no name of an interface; it takes names such as \"eth0\", 1 to \
                 {INTERFACE_NAME_MAX} characters (ip link shows them)"
            );
        }
        if media.interfaces[..n].contains(name) {
            bail!("media.interfaces has {name:?} twice; name each interface once");
        }
    }
    if media.interfaces.len() > limits::MEDIA_INTERFACES_MAX {
        bail!(
            "media.interfaces has {} names; it takes at most {}",
            media.interfaces.len(),
            limits::MEDIA_INTERFACES_MAX
        );
    }
    for (key, path) in [("xdp_object", media.xdp_object.as_deref()), ("bpffs", Some(media.bpffs.as_path()))] {
        if path.is_some_and(|path| path.as_os_str().is_empty()) {
            bail!("media.{key} = \"\" is not allowed; it takes a path, or leave it out");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "data_dir = \"d\"\n[[listen]]\naddress = \"127.0.0.12:5060\"\n[media]\naddress = \"127.0.0.13\"\n";

    #[test]
    fn a_small_file_is_enough() {
        let config = Config::parse(GOOD).unwrap();
        assert_eq!((config.threads.shards, config.threads.steering), (1, SteeringMode::Auto));
        assert_eq!(config.media.sockets, SocketsMode::Auto);
        assert_eq!(config.limits.calls, limits::CALLS_MAX_DEFAULT);
    }

    #[test]
    fn an_unknown_key_is_named_with_the_nearest_valid_one() {
        let error = format!("{:#}", Config::parse(&format!("data_dirr = \"x\"\n{GOOD}")).unwrap_err());
        assert!(error.contains("data_dirr") && error.contains("data_dir"), "{error}");
        assert!(error.contains("line 1"), "{error}");
    }

    #[test]
    fn bad_values_of_the_fast_path_are_named() {
        for (line, words) in [
            ("xdp = \"fast\"", ["media.xdp", "\"fast\"", "native"]),
            ("interfaces = [\"eth0\", \"eth0\"]", ["media.interfaces", "\"eth0\"", "twice"]),
            ("interfaces = [\"../eth0\"]", ["media.interfaces", "../eth0", "name of an interface"]),
            ("sockets = \"one\"", ["auto", "shared", "port"]),
            ("bpffs = \"\"", ["media.bpffs", "\"\"", "path"]),
        ] {
            let error = format!("{:#}", Config::parse(&format!("{GOOD}{line}\n")).unwrap_err());
            assert!(words.iter().all(|word| error.contains(word)), "{line}: {error}");
        }
        let config = Config::parse(&format!("{GOOD}interfaces = [\"eth0\"]\nxdp = \"generic\"\n")).unwrap();
        assert_eq!((config.media.interfaces.len(), config.media.xdp.as_str()), (1, "generic"));
    }

    #[test]
    fn media_addresses_belong_to_listeners() {
        let more = "[[media.more]]\naddress = \"127.0.0.14\"\nadvertise = \"192.0.2.14\"\n";
        let listen = "[[listen]]\naddress = \"127.0.0.14:5060\"\nmedia = [\"127.0.0.14\"]\n";
        let config = Config::parse(&format!("{GOOD}{more}{listen}")).unwrap();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let advertised: Vec<(IpAddr, IpAddr)> = config.media.advertised().collect();
        assert_eq!(advertised, [(ip("127.0.0.13"), ip("127.0.0.13")), (ip("127.0.0.14"), ip("192.0.2.14"))]);
        assert_eq!(config.listen[1].media, [ip("127.0.0.14")]);
        let many: String = (20..28).map(|n| format!("[[media.more]]\naddress = \"127.0.0.{n}\"\n")).collect();
        for (text, words) in [
            (listen.to_owned(), ["listen.media", "127.0.0.14:5060", "those are 127.0.0.13"]),
            (more.replace("0.0.14", "0.0.13"), ["media.more", "127.0.0.13", "twice"]),
            (more.replace("192.0.2.14", "2001:db8::1"), ["media.more.advertise", "2001:db8::1", "another family"]),
            (more.replace("127.0.0.14", "::"), ["media.address", "::", "every address"]),
            (many, ["[media]", "9 addresses", "at most 8"]),
        ] {
            let error = format!("{:#}", Config::parse(&format!("{GOOD}{text}")).unwrap_err());
            assert!(words.iter().all(|word| error.contains(word)), "{text}: {error}");
        }
    }

    #[test]
    fn bad_values_are_named_with_their_range() {
        let error = format!("{:#}", Config::parse(&format!("{GOOD}[threads]\nshards = 99\n")).unwrap_err());
        assert!(error.contains("threads.shards = 99") && error.contains("1 to 16"), "{error}");
        let error = format!("{:#}", Config::parse(&format!("{GOOD}[threads]\nsteering = \"on\"\n")).unwrap_err());
        assert!(error.contains("auto") && error.contains("off"), "{error}");
    }
}
