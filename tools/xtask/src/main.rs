//! `cargo xtask`: what people do with the repository beyond `cargo build`. Nothing here is part of the switch.

#![forbid(unsafe_code)]

mod build;
mod demo;
mod ladder;
mod process;

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
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Ladder { name } => ladder::run(name.as_deref()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
