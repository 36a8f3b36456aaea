//! `tools/demo`: a real switch between a SIPp customer and a SIPp vendor, on loopback.

mod deck;
mod folder;
mod report;
mod serve;
mod show;
mod sipp;
mod switch;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Result, ensure};

use crate::build;
use folder::Folder;

/// Calls that a demo may place: enough to look at, few enough to end.
const CALLS_MAX: u32 = 100_000;
/// Calls per second that SIPp and the switch share two cores for.
const RATE_MAX: u32 = 500;
/// Seconds of a call.
const SECONDS_MAX: u32 = 600;

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
    /// Address and port of SIP
    #[arg(long, default_value = "127.0.0.12:5060", value_name = "IP:PORT")]
    sip: SocketAddr,
    /// Address of relayed media
    #[arg(long, default_value = "127.0.0.13", value_name = "IP")]
    media: IpAddr,
    /// Address that calls come from; any port
    #[arg(long, default_value = "127.0.0.20", value_name = "IP")]
    customer: IpAddr,
    /// Address and port that numbers 1212... are routed to
    #[arg(long, default_value = "127.0.0.30:5060", value_name = "IP:PORT")]
    vendor: SocketAddr,
    /// Control socket; the default is where `tandem` looks without further options
    #[arg(long, default_value = tandem_socket(), value_name = "PATH")]
    socket: PathBuf,
    /// Folder of journal and database: kept, and used again by --serve; the default is a new one each time
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Build with all optimisations; takes minutes
    #[arg(long)]
    release: bool,
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
    let binaries = build::switch(arguments.release)?;
    let folder = Folder::make(arguments)?;
    if arguments.serve {
        serve::run(arguments, &binaries, &folder)?;
    } else {
        show::run(arguments, &binaries, &folder)?;
    }
    folder.remove();
    Ok(())
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
    Ok(())
}
