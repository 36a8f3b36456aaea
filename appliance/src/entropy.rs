//! Unguessable bytes of the operating system.

use anyhow::{Context, Result};
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
