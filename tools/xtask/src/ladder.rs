//! `cargo xtask ladder`: one golden ladder, played and drawn.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::build;

/// Plays the ladder `name` and draws it; lists the ladders when there is no name.
///
/// # Errors
/// An unknown name with those that contain it, or the ladder that does not hold.
pub(crate) fn run(name: Option<&str>) -> Result<()> {
    let names = names()?;
    let Some(name) = name else {
        println!("{}", names.join("\n"));
        return Ok(());
    };
    let alike: Vec<&str> = names.iter().map(String::as_str).filter(|known| known.contains(name)).collect();
    ensure!(
        alike.contains(&name),
        "{name} is no ladder; {}",
        if alike.is_empty() {
            "cargo xtask ladder lists them".to_owned()
        } else {
            format!("there is {}", alike.join(", "))
        }
    );
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["test", "--quiet", "--package", "tandem-ladder", "--test", "ladders", "--", name])
        .current_dir(build::root())
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "{name} does not hold");
    Ok(())
}

fn names() -> Result<Vec<String>> {
    let folder = build::root().join("appliance/call/tests/ladders");
    let files = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let paths: Vec<PathBuf> = files.flatten().map(|file| file.path()).collect();
    let is_ladder = |path: &&PathBuf| path.extension().is_some_and(|kind| kind == "ladder");
    let mut names: Vec<String> =
        paths.iter().filter(is_ladder).filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}
