//! A little fuzzing on the stable tool chain: every checked-in input of a target, damaged in some dozens of ways that one
//! seed fixes. `TANDEM_SHAKE=100000` does more; what it finds is printed as bytes that can be checked in.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tandem_fuzz_bodies::{TARGETS, Target};

/// Damaged inputs per target: a few seconds in all on a quiet machine.
const TRIES: usize = 60;
/// Largest input that is tried.
const LEN_MAX: usize = 8192;

fn inputs(target: &Target) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    let folders =
        [Some(root.join("tools/fuzz/corpus").join(target.name)), target.shared.map(|shared| root.join(shared))];
    let mut paths: Vec<PathBuf> = folders
        .into_iter()
        .flatten()
        .flat_map(|folder| fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// One to four changes: a byte, a piece of another input, a piece less, a piece twice, a cut.
fn damage(rng: &mut StdRng, inputs: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = inputs[rng.random_range(0..inputs.len())].clone();
    for _ in 0..rng.random_range(1..=4) {
        let at = rng.random_range(0..=bytes.len());
        let end = bytes.len().min(at + rng.random_range(0..40));
        match rng.random_range(0..6) {
            0 => bytes.get_mut(at).into_iter().for_each(|byte| *byte = rng.random()),
            1 => bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << rng.random_range(0..8)),
            2 => {
                let other = &inputs[rng.random_range(0..inputs.len())];
                let from = rng.random_range(0..=other.len());
                let to = other.len().min(from + rng.random_range(0..60));
                bytes.splice(at..end, other[from..to].iter().copied()).for_each(drop);
            }
            3 => bytes.drain(at..end).for_each(drop),
            4 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece).for_each(drop);
            }
            _ => bytes.truncate(at),
        }
    }
    bytes.truncate(LEN_MAX);
    bytes
}

fn shake(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of that name");
    let inputs = inputs(target);
    let tries = std::env::var("TANDEM_SHAKE").ok().and_then(|tries| tries.parse().ok()).unwrap_or(TRIES);
    let mut rng = StdRng::seed_from_u64(26);
    for number in 0..tries {
        let bytes = damage(&mut rng, &inputs);
        if catch_unwind(AssertUnwindSafe(|| (target.run)(&bytes))).is_err() {
            panic!("{name}, input {number}: b\"{}\"", bytes.escape_ascii());
        }
    }
}

macro_rules! shake {
    ($($name:ident)*) => { $(#[test] fn $name() { shake(stringify!($name)); })* };
}

shake! { config deck_csv journal json_rpc rtp sdp sip_endpoint sip_headers sip_rsip sip_scan }
