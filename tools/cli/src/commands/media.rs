//! `tandem media`: media by path.

use tandem_control::reply;

use crate::failure::Failure;
use crate::output::Output;

/// How each interface is served, a line each.
pub(super) fn interfaces(output: &mut Output, interfaces: &[reply::MediaInterface]) -> Result<(), Failure> {
    for row in interfaces {
        let reason = if row.reason.is_empty() { String::new() } else { format!(" ({})", row.reason) };
        output.line(&format!("media path {}: {}{reason}", row.interface, row.path))?;
    }
    Ok(())
}
