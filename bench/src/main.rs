//! `cargo xtask bench`: load, peers, sweeps and soaks, with results as folders. SPECIFICATION.md has the promised figures.

#![forbid(unsafe_code)]

mod account;
mod all;
mod cdrs;
mod common;
mod deck;
mod figures;
mod functions;
mod kernel;
mod load;
mod peers;
mod plot;
mod results;
mod soak;
mod subject;
mod sweep;
mod xdp;

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
    /// Every promised figure of this room, one command after the other
    All(all::Arguments),
    /// tandem and its peers in turns: CPU per call, or with --media CPU per packet and latency
    Peers(peers::Arguments),
    /// Calls a second on one core, without failure and without a storm
    Rate(figures::RateArguments),
    /// Four seconds of too many packets, then: which streams live again?
    Overload(figures::OverloadArguments),
    /// Memory of an established call
    Memory(figures::MemoryArguments),
    /// CPU per call beside many established calls against beside few
    Growth(figures::GrowthArguments),
    /// Rate sheets of a million rows imported while calls run: time, memory, and whether calls notice
    Deck(deck::Arguments),
    /// What questions take in a database of ten million finished calls
    Cdrs(cdrs::Arguments),
    /// One function at a time: instructions and nanoseconds, with rsip and Kamailio's parser as yardsticks
    Functions(functions::Arguments),
    /// CPU per call and latency against rate and established calls, with plots
    Sweep(sweep::Arguments),
    /// Very many calls in one run: is everything flat after warm-up?
    Soak(soak::Arguments),
    /// The relay in the kernel with frames that the kernel makes: ns a packet, the wire, 15,000 sessions, scans (root)
    Kernel(kernel::Arguments),
    /// Relays across veth in namespaces: latency against load, CPU of a packet (root)
    Xdp(xdp::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Load(arguments) => load::run(&arguments),
        Command::All(arguments) => all::run(&arguments),
        Command::Peers(arguments) => peers::run(&arguments),
        Command::Rate(arguments) => figures::rate(&arguments),
        Command::Overload(arguments) => figures::overload(&arguments),
        Command::Memory(arguments) => figures::memory(&arguments),
        Command::Growth(arguments) => figures::growth(&arguments),
        Command::Cdrs(arguments) => cdrs::run(&arguments),
        Command::Deck(arguments) => deck::run(&arguments),
        Command::Functions(arguments) => functions::run(&arguments),
        Command::Sweep(arguments) => sweep::run(&arguments),
        Command::Soak(arguments) => soak::run(&arguments),
        Command::Kernel(arguments) => kernel::run(&arguments),
        Command::Xdp(arguments) => xdp::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_holds_together_and_all_knows_its_commands() {
        Arguments::command().debug_assert();
        for (words, quick) in all::COMMANDS {
            let line = ["bench"].iter().chain(*words).chain(*quick);
            assert!(Arguments::try_parse_from(line).is_ok(), "{words:?} {quick:?}");
        }
    }
}
