//! `tools/demo`: a real switch between a SIPp customer and a SIPp vendor: in network namespaces with the kernel's relay
//! where that is possible, else on loopback with the relay in user space.

mod deck;
mod folder;
mod interrupt;
mod packets;
mod report;
mod scene;
mod serve;
mod show;
mod sipp;
mod switch;
mod tap;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Result, bail, ensure};

use crate::build::{self, Binaries};
use folder::Folder;
use interrupt::Interrupt;
use scene::Scene;

/// Calls that a demo may place: enough to look at, few enough to end.
const CALLS_MAX: u32 = 100_000;
/// Calls per second that SIPp and the switch share two cores for.
const RATE_MAX: u32 = 500;
/// Seconds of a call.
const SECONDS_MAX: u32 = 600;

/// Who relays the audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Relay {
    /// The kernel where it can, else user space and why
    Auto,
    /// The kernel, in network namespaces; an error where it cannot
    Xdp,
    /// User space, on loopback
    User,
}

/// Options of the demo.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Calls to place
    #[arg(long, default_value_t = 20)]
    calls: u32,
    /// Calls per second
    #[arg(long, default_value_t = 4, value_name = "CPS")]
    rate: u32,
    /// Seconds that each call lasts
    #[arg(long, default_value_t = 6)]
    seconds: u32,
    /// Leave cdr.json, summary.json and ladder.txt in this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Start the switch and leave it running for your own SIPp until interrupted
    #[arg(long, conflicts_with_all = ["calls", "rate", "seconds", "out"])]
    serve: bool,
    /// Who relays the audio; --serve stays in user space unless this is xdp
    #[arg(long, value_enum, default_value_t = Relay::Auto)]
    path: Relay,
    /// Address and port of SIP [default: 127.0.0.12:5060]; this and the other addresses are for user space
    #[arg(long, value_name = "IP:PORT")]
    sip: Option<SocketAddr>,
    /// Address of relayed media [default: 127.0.0.13]
    #[arg(long, value_name = "IP")]
    media: Option<IpAddr>,
    /// Address that calls come from; any port [default: 127.0.0.20]
    #[arg(long, value_name = "IP")]
    customer: Option<IpAddr>,
    /// Address and port that numbers 1212... are routed to [default: 127.0.0.30:5060]
    #[arg(long, value_name = "IP:PORT")]
    vendor: Option<SocketAddr>,
    /// Control socket; the default is where `tandem` looks without further options
    #[arg(long, default_value = tandem_socket(), value_name = "PATH")]
    socket: PathBuf,
    /// Folder of journal and database: kept, and used again by --serve; the default is a new one each time
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Build with all optimisations; takes minutes
    #[arg(long)]
    release: bool,
    /// Take tandemd and tandem of this folder and build nothing; for tests of the demo
    #[arg(long, hide = true, conflicts_with = "release", value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// The last place in the search order of `tandem` (appliance/control, socket.rs).
const fn tandem_socket() -> &'static str {
    "/tmp/tandem-demo/control.sock"
}

/// Runs the demo.
///
/// # Errors
/// One sentence with the cause, and the end of the log of the program that failed.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    check(arguments)?;
    let binaries = match &arguments.programs {
        Some(folder) => Binaries { tandemd: folder.join("tandemd"), tandem: folder.join("tandem") },
        None => build::switch(arguments.release)?,
    };
    let interrupt = Interrupt::watch()?;
    let result = place(arguments, &binaries, &interrupt);
    if interrupt.came() && (result.is_err() || !arguments.serve) {
        // Whatever failed then failed because of it.
        bail!("interrupted; switch, SIPp and namespaces are gone");
    }
    result
}

/// Everything that has to be put away again, whatever comes.
fn place(arguments: &Arguments, binaries: &Binaries, interrupt: &Interrupt) -> Result<()> {
    let scene = Scene::make(arguments, interrupt)?;
    println!("{}", scene.told());
    let folder = Folder::make(arguments, &scene)?;
    let result = if arguments.serve {
        serve::run(arguments, binaries, &folder, &scene, interrupt)
    } else {
        show::run(arguments, binaries, &folder, &scene, interrupt)
    };
    if result.is_ok() || interrupt.came() {
        folder.remove();
    }
    result
}

fn check(arguments: &Arguments) -> Result<()> {
    let bounded = |name: &str, value: u32, max: u32| {
        ensure!((1..=max).contains(&value), "--{name} is {value}; allowed is 1 to {max}");
        Ok(())
    };
    bounded("calls", arguments.calls, CALLS_MAX)?;
    bounded("rate", arguments.rate, RATE_MAX)?;
    ensure!(
        (2..=SECONDS_MAX).contains(&arguments.seconds),
        "--seconds is {}; allowed is 2 to {SECONDS_MAX}",
        arguments.seconds
    );
    ensure!(
        arguments.path != Relay::Xdp || !arguments.has_addresses(),
        "--path xdp has the addresses of its namespaces; leave out --sip, --media, --customer and --vendor"
    );
    Ok(())
}

impl Arguments {
    /// Whether an address of this machine is asked for.
    fn has_addresses(&self) -> bool {
        self.sip.is_some() || self.media.is_some() || self.customer.is_some() || self.vendor.is_some()
    }
}
