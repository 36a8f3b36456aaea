//! Preview first, then commit: what `rates import` and `apply` have in common.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use tandem_control::FRAME_MAX;

use crate::failure::Failure;

/// What happens after the preview.
#[derive(Args)]
pub(crate) struct Commit {
    /// Commit after the preview without asking
    #[arg(long, short, conflicts_with = "dry_run")]
    yes: bool,
    /// Preview only; nothing is changed
    #[arg(long)]
    dry_run: bool,
}

/// What was decided after the preview.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Commit,
    /// As asked for by `--dry-run`.
    Stop,
}

impl Commit {
    /// Asks the person at the terminal, unless an option has decided.
    ///
    /// Errors: exit code 5 when the answer is no or there is nobody to ask.
    pub(super) fn decide(&self, question: &str) -> Result<Decision, Failure> {
        if self.dry_run {
            return Ok(Decision::Stop);
        }
        if self.yes {
            return Ok(Decision::Commit);
        }
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Err(Failure::preview_only("preview only, nothing was changed; --yes commits it"));
        }
        let mut stderr = io::stderr();
        let mut answer = String::new();
        let asked = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
        // Whoever cannot be asked has not said yes.
        let read = asked.and_then(|()| io::stdin().lock().read_line(&mut answer));
        if read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
            return Ok(Decision::Commit);
        }
        Err(Failure::preview_only("not committed, nothing was changed"))
    }
}

/// The file at `path`, whole; `-` is the standard input. It must fit a request and be UTF-8.
pub(super) fn read_file(path: &PathBuf) -> Result<String, Failure> {
    read_large(path, FRAME_MAX)
}

/// The same for a file that travels in pieces, of at most `max` bytes.
pub(super) fn read_large(path: &PathBuf, max: usize) -> Result<String, Failure> {
    let shown = path.display();
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        read_bounded(io::stdin().lock(), max, &mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| read_bounded(file, max, &mut bytes))
    };
    read.map_err(|error| Failure::bad(format!("{shown} cannot be read: {error}")))?;
    if bytes.len() > max {
        return Err(Failure::bad(format!("{shown} is larger than {} MiB, the most a request carries", max >> 20)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..good].iter().filter(|byte| **byte == b'\n').count() + 1;
        Failure::bad(format!("{shown} line {line} is not UTF-8; allowed is UTF-8 text"))
    })
}

fn read_bounded(source: impl io::Read, max: usize, bytes: &mut Vec<u8>) -> io::Result<usize> {
    source.take(max as u64 + 1).read_to_end(bytes)
}
