//! Ctrl-C and its relatives: noticed, and answered by putting everything away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// Whether somebody asked for the end.
pub(super) struct Interrupt {
    came: Arc<AtomicBool>,
}

impl Interrupt {
    /// Watches for signals from now on.
    ///
    /// # Errors
    /// When the system does not allow it.
    pub(super) fn watch() -> Result<Interrupt> {
        let came = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register(signal, came.clone()).context("cannot watch for signals")?;
        }
        Ok(Interrupt { came })
    }

    /// Whether one came.
    pub(super) fn came(&self) -> bool {
        self.came.load(Ordering::Relaxed)
    }

    /// To be asked in every loop.
    ///
    /// # Errors
    /// When one came.
    pub(super) fn check(&self) -> Result<()> {
        ensure!(!self.came(), "interrupted");
        Ok(())
    }
}
