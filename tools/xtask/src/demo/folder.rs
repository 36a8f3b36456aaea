//! The folder of one demo: configuration, decks, scenarios, logs, and the data of the switch.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::geteuid;

use super::deck::{self, Side};
use super::scene::{Addresses, INTERFACES, Scene};
use super::{Arguments, tandem_socket};
use crate::build;

/// Concurrent calls that the customer and the switch allow.
const CALLS: u32 = 20_000;
/// Two ports a call: more than the default range has, for the load of a switch that is left running.
const PORTS_SERVE: &str = "SS_RTP_PORT_RANGE = \"10000,59999\"\n";

/// The folder. Stays when something fails, so that its logs can be read.
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes it and writes everything that the switch and SIPp read.
    ///
    /// # Errors
    /// The file that cannot be written, or a data folder that holds something else.
    pub(super) fn make(arguments: &Arguments, scene: &Scene) -> Result<Folder> {
        let top = Path::new(tandem_socket()).parent().unwrap_or(Path::new("/tmp"));
        private_folder(top)?;
        if let Some(parent) = arguments.socket.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        let path = top.join(std::process::id().to_string());
        if path.exists() {
            // Left by a demo that failed and had our process id.
            fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        private_folder(&path)?;
        let folder = Folder { path };
        folder.write("tandemd.toml", &folder.machine(arguments, scene)?)?;
        folder.write("site.toml", &site(arguments, &scene.addresses))?;
        folder.write("customer.csv", &deck::csv(Side::Customer))?;
        folder.write("vendor.csv", &deck::csv(Side::Vendor))?;
        let from = build::root().join("tools/sipp");
        for name in ["customer_talks.xml", "vendor_talks.xml", "numbers.csv", "tone.alaw"] {
            fs::copy(from.join(name), folder.file(name)).with_context(|| format!("cannot copy tools/sipp/{name}"))?;
        }
        Ok(folder)
    }

    /// A file in it.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder itself.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it after a good end.
    pub(super) fn remove(&self) {
        // What is left of it does no harm; the folder above goes only when no other demo is in it.
        let _ = fs::remove_dir_all(&self.path);
        if let Some(top) = self.path.parent() {
            let _ = fs::remove_dir(top);
        }
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.file(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// What the machine needs.
    fn machine(&self, arguments: &Arguments, scene: &Scene) -> Result<String> {
        let data = match &arguments.data {
            None => self.file("data"),
            Some(data) => {
                if !arguments.serve && fs::read_dir(data).is_ok_and(|mut files| files.next().is_some()) {
                    bail!("--data {} is not empty: its calls would be counted among those of the demo", data.display());
                }
                absolute(data)?
            }
        };
        Ok(format!(
            "node = \"demo\"\ndata_dir = {data}\ncontrol_socket = {socket}\n\n\
             [[listen]]\naddress = \"{sip}\"\n\n\
             [media]\naddress = \"{media}\"\n{relay}\n\
             [limits]\ncalls = {CALLS}\n\n\
             [bootstrap]\nsite = \"site.toml\"\n\n\
             [bootstrap.rates]\nretail = \"customer.csv\"\nwholesale = \"vendor.csv\"\n",
            data = quoted(&data),
            socket = quoted(&absolute(&arguments.socket)?),
            sip = scene.addresses.sip,
            media = scene.addresses.media,
            relay = self.relay(scene),
        ))
    }

    /// The part of `[media]` that says who relays.
    fn relay(&self, scene: &Scene) -> String {
        match scene.object() {
            None => {
                "# Everything of the demo is on loopback; a switch in service leaves this out.\nallow_loopback = true\n"
                    .to_owned()
            }
            Some(object) => format!(
                "# The links to customer and vendor, each with the kernel's relay.\ninterfaces = {INTERFACES:?}\n\
                 xdp_object = {}\nbpffs = {}\n",
                quoted(object),
                quoted(&self.file("bpf"))
            ),
        }
    }
}

/// Who may call, who is paid, and where calls go.
fn site(arguments: &Arguments, addresses: &Addresses) -> String {
    format!(
        "[params]\n# Four decimals, so that a call of seconds does not cost a whole cent.\n\
         SERVER_BILLING_FEE_PRECISTION = \"4\"\nSERVER_BILLING_FEE_UNIT = \"0.0001\"\n{ports}\n\
         [account.acme]\nkind = \"customer\"\ndisplay_name = \"Acme Telecom\"\nrate_group = \"retail\"\n\
         opening = \"1000000.00\"\n\n\
         [account.carrier]\nkind = \"vendor\"\ndisplay_name = \"Carrier One\"\nrate_group = \"wholesale\"\n\n\
         [mapping_gateway.acme]\naccount = \"acme\"\nsources = [\"{customer}\"]\ncapacity = {CALLS}\n\
         # All of it is one network, where media would go direct.\nmedia = \"on\"\n\n\
         [routing_gateway.carrier]\naccount = \"carrier\"\nremotes = [\"{vendor}\"]\nprefixes = [\"1212\"]\n\
         capacity = {CALLS}\n",
        ports = if arguments.serve { PORTS_SERVE } else { "" },
        customer = addresses.customer,
        vendor = addresses.vendor,
    )
}

/// A folder of ours that nobody else may look into: others must not put a socket of theirs where ours is looked for.
fn private_folder(path: &Path) -> Result<()> {
    let show = path.display();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| format!("cannot make {show}"))?;
    let owner = fs::metadata(path).with_context(|| format!("cannot look at {show}"))?.uid();
    ensure!(owner == geteuid().as_raw(), "{show} belongs to another user ({owner}), who has a demo there; remove it");
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).with_context(|| format!("cannot protect {show}"))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} is no path", path.display()))
}

/// A path as a TOML string.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('\\', "\\\\").replace('"', "\\\""))
}
