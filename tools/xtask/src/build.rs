//! Builds the switch and its command line, and knows where they are.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The programs that a demo starts.
pub(crate) struct Binaries {
    /// The switch.
    pub(crate) tandemd: PathBuf,
    /// Its command line.
    pub(crate) tandem: PathBuf,
}

/// The top folder of the repository.
pub(crate) fn root() -> &'static Path {
    // tools/xtask is two levels below it.
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."))
}

/// The cargo that started this program, or the one on the path.
pub(crate) fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Builds `tandemd` and `tandem`. `fast` is nearly the speed of a release and takes a fraction of its time to link.
///
/// # Errors
/// When cargo cannot be run or does not succeed; it has told why.
pub(crate) fn switch(release: bool) -> Result<Binaries> {
    let profile = if release { "release" } else { "fast" };
    println!("building tandemd and tandem (profile {profile})");
    let status = Command::new(cargo())
        .args(["build", "--profile", profile, "--package", "tandem", "--package", "tandem-cli"])
        .current_dir(root())
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the build failed");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let folder = root().join(target).join(profile);
    Ok(Binaries { tandemd: folder.join("tandemd"), tandem: folder.join("tandem") })
}
