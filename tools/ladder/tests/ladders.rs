//! Every golden ladder of the call room, one named result per file.
//!
//! `cargo test -p tandem-ladder --test ladders hold` plays those whose name contains `hold`; a single one is drawn.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let filters: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let exact = arguments.iter().any(|a| a == "--exact");
    let ladders: Vec<(String, PathBuf)> = ladders()
        .into_iter()
        .filter(|(name, _)| {
            filters.is_empty() || filters.iter().any(|f| if exact { name == *f } else { name.contains(f.as_str()) })
        })
        .collect();
    if arguments.iter().any(|a| a == "--list") {
        ladders.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", ladders.len());
    let mut failed = Vec::new();
    for (name, path) in &ladders {
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        match tandem_ladder::run(&text) {
            Ok(report) => {
                println!("test {name} ... ok");
                if ladders.len() == 1 {
                    println!("\n{}\ndecisions:\n  {}", report.drawing, report.decisions.join("\n  "));
                }
            }
            Err(failure) => {
                println!("test {name} ... FAILED");
                failed.push((name, failure));
            }
        }
    }
    for (name, failure) in &failed {
        println!("\n---- {name} ----\n{failure}");
    }
    // The summary line that scripts look for in every test binary.
    let result = if failed.is_empty() { "ok" } else { "FAILED" };
    let (passed, failed) = (ladders.len() - failed.len(), failed.len());
    println!("\ntest result: {result}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out\n");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Name and path of each, in the order of the names.
fn ladders() -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../appliance/call/tests/ladders");
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut all: Vec<(String, PathBuf)> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "ladder"))
        .filter_map(|path| Some((path.file_stem()?.to_string_lossy().into_owned(), path)))
        .collect();
    assert!(!all.is_empty(), "no ladder in {}", folder.display());
    all.sort();
    all
}
