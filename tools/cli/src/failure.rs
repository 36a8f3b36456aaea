//! Why a command did not do what was asked: one sentence and an exit code.

use std::fmt;
use std::io;

use tandem_control::error::ErrorCode;
use tandem_control::{ErrorObject, ExitCode};

/// The end of a command that failed. An empty message ends quietly.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: ExitCode,
    pub(crate) message: String,
    /// The switch said no: nothing was done.
    pub(crate) refused: bool,
}

impl Failure {
    pub(crate) fn new(code: ExitCode, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), refused: false }
    }

    /// A value or a file that is not accepted.
    pub(crate) fn bad(message: impl Into<String>) -> Failure {
        Failure::new(ExitCode::BadValue, message)
    }

    /// A preview was shown and nothing was changed.
    pub(crate) fn preview_only(message: impl Into<String>) -> Failure {
        Failure::new(ExitCode::PreviewOnly, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<ErrorObject> for Failure {
    fn from(error: ErrorObject) -> Failure {
        let refused = matches!(error.kind(), ErrorCode::Conflict | ErrorCode::Refused);
        Failure { refused, ..Failure::new(error.kind().exit_code(), error.message) }
    }
}

/// Only writing to the standard output gives these: `tandem cdr list | head` closes the pipe and means it.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::new(ExitCode::Ok, ""),
            _ => Failure::new(ExitCode::Failed, format!("the output could not be written: {error}")),
        }
    }
}

impl From<csv::Error> for Failure {
    fn from(error: csv::Error) -> Failure {
        match error.into_kind() {
            csv::ErrorKind::Io(error) => error.into(),
            other => Failure::new(ExitCode::Failed, format!("the output could not be written: {other:?}")),
        }
    }
}
