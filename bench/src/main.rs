//! `cargo xtask bench`: load, peers, sweeps and soaks, with results as folders. SPECIFICATION.md has the promised figures.

#![forbid(unsafe_code)]

mod account;
mod common;
mod load;
mod peers;
mod results;
mod subject;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask bench", about = "Measure; bench/SPECIFICATION.md has the promised figures")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Generator of calls and RTP, one line of JSON a step
    Load(load::Arguments),
    /// tandem and its peers in turns: CPU per call, or with --media CPU per packet and latency
    Peers(peers::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Load(arguments) => load::run(&arguments),
        Command::Peers(arguments) => peers::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
