//! Commands that are programs of their own: built with the profile that suits them, then started with what follows.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build;

/// Builds the binary of `package` (profile `fast`) and runs it with `arguments`.
///
/// # Errors
/// When cargo cannot be started or the program fails; it has said why.
pub(crate) fn run(package: &str, arguments: &[OsString]) -> Result<()> {
    let status = Command::new(build::cargo())
        .args(["run", "--quiet", "--profile", "fast", "--package", package, "--"])
        .args(arguments)
        .current_dir(build::root())
        .status()
        .with_context(|| format!("cannot start cargo for {package}"))?;
    if !status.success() {
        bail!("{package} failed ({status})");
    }
    Ok(())
}
