//! Lines on standard error for the journal of the service manager; never on a path that a packet takes.

use std::io::Write;

/// Our fault, or money in danger.
pub fn error(message: &str) {
    line("error", message);
}

/// Something an operator should look at.
pub fn warning(message: &str) {
    line("warning", message);
}

/// What was done.
pub fn info(message: &str) {
    line("info", message);
}

fn line(level: &str, message: &str) {
    // A closed standard error must not take the switch down.
    let _ = writeln!(std::io::stderr().lock(), "{level}: {message}");
}
