//! tandemd: a carrier Class-4 softswitch in one process.
#![forbid(unsafe_code)]
#![allow(unreachable_pub, reason = "a binary has no outside: `pub` says that other files use it")]

mod boot;
mod cdr_output;
mod clock;
mod config;
mod control;
mod disk;
mod entropy;
mod fast_path;
mod journal_room;
mod limits;
mod log;
mod one_socket;
mod orders;
mod params;
mod rating_thread;
mod shard;
mod site;
mod steering;
mod topology;
mod trace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The switch. Everything a business changes is done with `tandem`; this only needs the machine's configuration.
#[derive(Debug, Parser)]
#[command(name = "tandemd", version)]
struct Arguments {
    /// The machine's configuration.
    #[arg(long, default_value = "/etc/tandem/tandemd.toml")]
    config: PathBuf,
    /// Read and check the configuration, then end.
    #[arg(long)]
    check: bool,
    /// Start with this site file instead of the stored one, as a new version: the way out when the stored one does not fit
    /// the machine's listeners any more.
    #[arg(long)]
    site: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let config = config::Config::read(&arguments.config)?;
    if arguments.check {
        log::info(&format!("{} is valid", arguments.config.display()));
        return Ok(());
    }
    // Before any thread: a signal that comes during the start must not kill us half-way through a write.
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("cannot watch for signals")?;
    let running = boot::start(&config, arguments.site.as_deref())?;
    let listen: Vec<String> = config.listen.iter().map(|l| l.address.to_string()).collect();
    let media: Vec<String> = config.media.addresses().map(|address| address.to_string()).collect();
    log::info(&format!(
        "ready: SIP on {}, media on {}, control at {}",
        listen.join(", "),
        media.join(", "),
        config.control_socket.display()
    ));
    // A second signal while stopping has no handler's work to do; the wait for the last records is bounded.
    // A closed terminal or a log rotation (SIGHUP) is no reason to end calls: configuration is changed with `tandem`.
    let _ = signals.forever().find(|signal| *signal != SIGHUP);
    log::info("stopping: calls in progress are ended and recorded");
    if !running.stop() {
        anyhow::bail!("stopped because the journal failed; see above");
    }
    Ok(())
}
