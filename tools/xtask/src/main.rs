//! `cargo xtask`: what people do with the repository beyond `cargo build`. Nothing here is part of the switch.

#![forbid(unsafe_code)]

mod build;
mod delegate;
mod demo;
mod ebpf;
mod fuzz;
mod ladder;
mod process;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "xtask", about = "What people do with the repository beyond cargo build")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The switch at work between two SIPp, then the rated calls; tools/demo calls this
    Demo(demo::Arguments),
    /// Play one golden ladder and draw it; without a name, list them
    Ladder {
        /// Name of a file of appliance/call/tests/ladders
        name: Option<String>,
    },
    /// Simulate calls, faults and crashes from a seed; `cargo xtask sim --help` has the options
    #[command(disable_help_flag = true)]
    Sim {
        /// Given to the simulator
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Build the kernel program that relays media (target/ebpf/relay.o)
    Ebpf(ebpf::Arguments),
    /// Hostile input: look for what breaks one parser, or list the targets
    Fuzz(fuzz::Arguments),
    /// Measure; `cargo xtask bench --help` has the options
    #[command(disable_help_flag = true)]
    Bench {
        /// Given to the benchmarks
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Ladder { name } => ladder::run(name.as_deref()),
        Command::Sim { arguments } => delegate::run("tandem-sim", &arguments),
        Command::Ebpf(arguments) => ebpf::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Bench { arguments } => delegate::run("tandem-bench", &arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
