//! `load`: the generator of calls and RTP. Caller and vendor in one process on one thread, at most 20,000 calls a second.
//!
//! Works with a proxy and with a back-to-back agent: the two legs of a call are paired by the last seven digits of the called
//! number, and by the tag that the vendor minted. Loopback only.

mod calls;
mod clock;
mod counts;
mod engine;
mod message;
mod port;
mod rtp;
mod script;
mod signalling;
mod vendor;
mod wheel;

#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context, Result};

pub(crate) use script::Step;
use signalling::Plan;

/// First port of RTP of both sides.
const MEDIA_PORT: u16 = 20_000;

/// Options of `load`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Arguments {
    /// Where calls go
    #[arg(long, default_value = "127.0.1.12:5060", value_name = "IP:PORT")]
    target: SocketAddrV4,
    /// Where calls come from
    #[arg(long, default_value = "127.0.1.20:5060", value_name = "IP:PORT")]
    customer: SocketAddrV4,
    /// Where the target sends called numbers
    #[arg(long, default_value = "127.0.1.30:5060", value_name = "IP:PORT")]
    vendor: SocketAddrV4,
    /// Namespace of the caller, as `ip netns` names it; with it other addresses than those of loopback are allowed
    #[arg(long, requires = "vendor_namespace", value_name = "NAME")]
    customer_namespace: Option<String>,
    /// Namespace of the vendor
    #[arg(long, requires = "customer_namespace", value_name = "NAME")]
    vendor_namespace: Option<String>,
    /// What called numbers begin with; seven digits follow
    #[arg(long, default_value = "1212", value_name = "DIGITS")]
    prefix: String,
    /// From 180 to 200, ms
    #[arg(long, default_value_t = 100)]
    ring_ms: u32,
    /// When a call without an answer has failed, ms
    #[arg(long, default_value_t = 8_000)]
    patience_ms: u32,
    /// Processes to account for, step by step
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    watch: Vec<u32>,
    /// What to do: calls:rate=R,count=N[,hold_ms=500] | hold:count=N[,rate=400] | rtp:seconds=S[,pps=50] |
    /// idle:seconds=S | release[:rate=400]; several are done in order
    #[arg(long = "step", required = true, value_name = "STEP")]
    steps: Vec<Step>,
}

/// Addresses and names of a run from its options.
fn plan(arguments: &Arguments) -> Plan {
    let media = |ip: &Ipv4Addr| SocketAddrV4::new(*ip, MEDIA_PORT);
    Plan {
        target: arguments.target,
        customer: arguments.customer,
        vendor: arguments.vendor,
        customer_media: media(arguments.customer.ip()),
        vendor_media: media(arguments.vendor.ip()),
        namespaces: arguments.customer_namespace.clone().zip(arguments.vendor_namespace.clone()),
        prefix: arguments.prefix.clone(),
        ring: calls::hold_of(arguments.ring_ms),
        patience: calls::hold_of(arguments.patience_ms),
        // Different for each run on this machine.
        run: (clock::Moment::now().wall / clock::MILLISECOND) as u32,
    }
}

/// Runs the steps and prints one line of JSON for each.
///
/// # Errors
/// An address that is taken, or a step that cannot be done.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    // Sleeps of microseconds; without it the kernel rounds them up by 50.
    if let Err(error) = nix::sys::prctl::set_timerslack(1) {
        eprintln!("note: sleeps stay coarse: {error}");
    }
    let mut engine = engine::Engine::open(plan(arguments), arguments.watch.clone())?;
    for step in &arguments.steps {
        let report = engine.run(step)?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{report}").and_then(|()| out.flush()).context("cannot write the result")?;
    }
    Ok(())
}
