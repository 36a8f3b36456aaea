//! One function at a time: nanoseconds here, instructions when `cargo xtask bench functions` runs this under callgrind.
//!
//! ```text
//! functions list                  names, one a line, with what each does
//! functions time [NAME]           nanoseconds of every bench whose name begins with NAME, as CSV
//! functions count NAME TIMES      runs one bench TIMES times inside `harness::measured`, for callgrind
//! functions invite                the INVITE that is parsed, for other parsers to be measured on
//! functions deck                  memory of decks of a million prefixes, as CSV
//! functions reserve RATE SECONDS  the round trip shard -> rating thread -> shard, as CSV
//! ```
#![forbid(unsafe_code)]

mod decks;
mod harness;
mod ledger;
mod material;
mod media;
mod routing;
mod signalling;
mod turn;

use std::io::Write;
use std::process::ExitCode;

// As in the daemon: what allocates is measured with the allocator it will meet.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let benches: Vec<harness::Bench> =
        [signalling::BENCHES, media::BENCHES, decks::BENCHES, routing::BENCHES, ledger::BENCHES].concat();
    // `cargo bench` adds an argument of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["list"] => harness::list(&benches),
        [] | ["time"] => harness::time(&benches, ""),
        ["time", name] => harness::time(&benches, name),
        ["count", name, times] => match times.parse() {
            Ok(times) if harness::count(&benches, name, times) => {}
            _ => return usage(&format!("no bench {name:?}, or no number {times:?}")),
        },
        ["invite"] => {
            // Read by whoever measures another parser on the same message.
            let _ = std::io::stdout().write_all(&material::invite());
        }
        ["deck"] => decks::memory(),
        ["reserve", rate, seconds] => match (rate.parse(), seconds.parse()) {
            (Ok(rate @ 1..=100_000), Ok(seconds @ 1..=3_600)) => {
                if let Err(error) = turn::run(rate, seconds) {
                    return usage(&format!("{error:#}"));
                }
            }
            _ => return usage("RATE is 1 to 100000 a second, SECONDS 1 to 3600"),
        },
        _ => return usage("list | time [NAME] | count NAME TIMES | deck | reserve RATE SECONDS"),
    }
    ExitCode::SUCCESS
}

fn usage(text: &str) -> ExitCode {
    eprintln!("functions: {text}");
    ExitCode::FAILURE
}
