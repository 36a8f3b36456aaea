//! Unguessable bytes of the operating system.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rand::TryRngCore;
use rand::rngs::OsRng;

/// `N` bytes nobody can guess.
///
/// # Errors
/// The system has none, which a running system always has.
pub fn bytes<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0u8; N];
    OsRng.try_fill_bytes(&mut bytes).context("the system has no randomness")?;
    Ok(bytes)
}

/// `N` bytes nobody can guess, the same ones for every start on this data: made and kept in `path` when there is no such file.
///
/// # Errors
/// The file cannot be read or written, or has another length; the sentence names it and the cure.
pub fn kept<const N: usize>(path: &Path) -> Result<[u8; N]> {
    match fs::read(path) {
        Ok(bytes) => {
            let length = bytes.len();
            match bytes.try_into() {
                Ok(bytes) => Ok(bytes),
                Err(_) => bail!("{} has {length} bytes instead of {N}; delete it, a new one is made", path.display()),
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let made = bytes::<N>()?;
            write_new(path, &made).with_context(|| format!("cannot write {}", path.display()))?;
            Ok(made)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Under another name first: a start that dies in between leaves no short file.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&partial, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_the_same_for_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("home.key");
        let made = kept::<16>(&path).unwrap();
        assert_ne!(made, [0; 16]);
        assert_eq!(kept::<16>(&path).unwrap(), made);
        fs::write(&path, b"short").unwrap();
        let error = format!("{:#}", kept::<16>(&path).unwrap_err());
        assert!(error.contains("home.key") && error.contains("5 bytes instead of 16"), "{error}");
    }
}
