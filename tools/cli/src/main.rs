//! `tandem`: the command line of the switch. The README beside this crate is its manual page.
//!
//! Every command but `quote` and `completion` asks the running switch over its control socket.

#![forbid(unsafe_code)]

mod client;
mod commands;
mod failure;
mod human;
mod output;
mod progress;
mod usage;

use std::path::PathBuf;
use std::process;

use clap::Parser;
use tandem_control::ExitCode;

use crate::client::Client;
use crate::commands::Command;
use crate::output::{Format, Output};

/// The command line of the tandem switch.
#[derive(Parser)]
#[command(
    name = "tandem",
    version,
    infer_long_args = false,
    after_help = "Exit codes: 0 done, 1 refused or failed, 2 bad value or usage, 3 no switch answers, 4 not found, \
                  5 preview only.\nWithout --socket: $TANDEM_SOCKET, else the first that answers of \
                  /run/tandem/control.sock, $XDG_RUNTIME_DIR/tandem/control.sock, /tmp/tandem-demo/control.sock."
)]
struct Arguments {
    /// Control socket of the switch
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Form of the output
    #[arg(short, long, global = true, value_enum, default_value = "text", value_name = "FORMAT")]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

fn main() -> process::ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage_error(&error),
    };
    let mut client = Client::new(arguments.socket);
    let mut output = Output::new(arguments.output);
    let done = commands::run(arguments.command, &mut client, &mut output);
    // What was written before a failure is shown too: a preview comes before the sentence that refuses it.
    let flushed = output.flush();
    match done.and(flushed) {
        Ok(()) => exit(ExitCode::Ok),
        Err(failure) => {
            complain(&failure.message);
            exit(failure.code)
        }
    }
}

fn usage_error(error: &clap::Error) -> process::ExitCode {
    let Some(sentence) = usage::sentence(error) else {
        // Help and version go to the standard output; help for a missing command to the standard error.
        let code = if error.use_stderr() { ExitCode::BadValue } else { ExitCode::Ok };
        return match error.print() {
            Ok(()) => exit(code),
            Err(_) => exit(ExitCode::Ok),
        };
    };
    complain(&format!("{sentence} (tandem --help)"));
    exit(ExitCode::BadValue)
}

fn complain(message: &str) {
    use std::io::Write;
    for line in message.lines() {
        // Nothing is left to tell it to when the standard error is closed.
        let _ = writeln!(std::io::stderr(), "tandem: {}", output::printable(line));
    }
}

fn exit(code: ExitCode) -> process::ExitCode {
    process::ExitCode::from(code as u8)
}
