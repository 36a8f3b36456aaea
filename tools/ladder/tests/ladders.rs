//! Every golden ladder of the call room, one named result per file.
//!
//! `LADDER=name cargo test -p tandem-ladder --test ladders` plays one and prints its drawing.

use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../appliance/call/tests/ladders")
}

#[test]
fn every_ladder_goes_as_written() {
    let wanted = std::env::var("LADDER").ok();
    let mut files: Vec<PathBuf> = fs::read_dir(folder())
        .expect("the folder of golden ladders")
        .map(|entry| entry.expect("an entry of it").path())
        .filter(|path| path.extension().is_some_and(|e| e == "ladder"))
        .collect();
    files.sort();
    let mut failed = Vec::new();
    let mut played = 0;
    for path in files {
        let name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if wanted.as_ref().is_some_and(|w| *w != name) {
            continue;
        }
        played += 1;
        let text = fs::read_to_string(&path).expect("a readable ladder");
        match tandem_ladder::run(&text) {
            Ok(report) => {
                println!("ladder {name} ... ok");
                if wanted.is_some() {
                    println!("{}\ndecisions:\n  {}", report.drawing, report.decisions.join("\n  "));
                }
            }
            Err(failure) => {
                println!("ladder {name} ... FAILED\n{failure}");
                failed.push(name);
            }
        }
    }
    assert!(played > 0, "no ladder was played");
    assert!(failed.is_empty(), "{} of {played} ladders failed: {}", failed.len(), failed.join(", "));
}
