//! Keys that make it safe to ask for money twice.

use std::time::{SystemTime, UNIX_EPOCH};

use tandem_control::ExitCode;

use crate::failure::Failure;

/// A key that nothing else has: the instant in nanoseconds and this process.
pub(super) fn new_key() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("cli-{}-{}", now.as_nanos(), std::process::id())
}

/// The answer may be lost after it was `done`: the failure says how to ask again.
pub(super) fn in_doubt(failure: Failure, done: &str, key: &str) -> Failure {
    match failure.code {
        ExitCode::Failed if !failure.refused => {
            Failure::new(failure.code, format!("{failure}; if in doubt whether it was {done}, repeat with --key {key}"))
        }
        _ => failure,
    }
}
