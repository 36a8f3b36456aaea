//! Every checked-in input through its target, on the stable tool chain: what a fuzzer once found stays found.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use tandem_fuzz_bodies::{TARGETS, Target};

/// Bytes of all inputs together: they are read with every clone.
const CORPUS_BYTES_MAX: u64 = 1 << 20;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

fn inputs(folder: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = listed.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    paths
}

fn corpus(target: &Target) -> Vec<PathBuf> {
    let mut paths = inputs(&root().join("tools/fuzz/corpus").join(target.name));
    paths.extend(target.shared.iter().flat_map(|folder| inputs(&root().join(folder))));
    // What a fuzzer collected on this machine: for the coverage report.
    if let Some(found) = std::env::var_os("TANDEM_FUZZ_FOUND").map(|folder| PathBuf::from(folder).join(target.name))
        && found.is_dir()
    {
        paths.extend(fs::read_dir(found).unwrap().map(|entry| entry.unwrap().path()));
    }
    paths
}

/// Runs all of them even when one fails, so that one look tells everything.
fn replay(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of that name");
    let mut failed = Vec::new();
    for path in corpus(target) {
        let bytes = fs::read(&path).unwrap();
        // Cut short as well: the cheapest damage there is.
        for len in [bytes.len(), bytes.len() / 2, bytes.len().saturating_sub(1)] {
            if catch_unwind(AssertUnwindSafe(|| (target.run)(&bytes[..len]))).is_err() {
                failed.push(format!("{} ({len} bytes of it)", path.display()));
            }
        }
    }
    assert!(failed.is_empty(), "{name} failed on:\n{}", failed.join("\n"));
}

macro_rules! replay {
    ($($name:ident)*) => {
        $(#[test] fn $name() { replay(stringify!($name)); })*

        #[test]
        fn every_target_is_replayed_and_has_its_files() {
            let names: BTreeSet<&str> = [$(stringify!($name)),*].into();
            assert_eq!(names, TARGETS.iter().map(|target| target.name).collect());
            for target in &TARGETS {
                let file = root().join(format!("tools/fuzz/fuzz_targets/{}.rs", target.name));
                assert!(file.is_file(), "{} is missing", file.display());
            }
            let folders: BTreeSet<String> = inputs(&root().join("tools/fuzz/corpus"))
                .iter()
                .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
                .collect();
            assert_eq!(folders, names.iter().map(|name| (*name).to_owned()).collect());
        }
    };
}

replay! { config deck_csv journal json_rpc rtp sdp sip_endpoint sip_headers sip_rsip sip_scan }

#[test]
fn the_inputs_stay_small() {
    let bytes: u64 = TARGETS
        .iter()
        .flat_map(|target| inputs(&root().join("tools/fuzz/corpus").join(target.name)))
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert!(bytes <= CORPUS_BYTES_MAX, "{bytes} bytes of inputs");
}
