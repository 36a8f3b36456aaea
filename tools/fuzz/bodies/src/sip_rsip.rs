//! The scanner beside `rsip`: where that reads a message whole, we read it too, and read the same.
//!
//! What counts as "reads whole", and every difference that is meant, is in `appliance/sip/tests/wire/oracle.rs`.

use tandem_sip::scan::scan;

#[path = "../../../../appliance/sip/tests/wire/oracle.rs"]
mod oracle;

/// One datagram.
pub fn run(datagram: &[u8]) {
    let Some(theirs) = oracle::theirs(datagram) else { return };
    match scan(datagram) {
        Ok(message) => assert_eq!(oracle::ours(&message), Some(theirs)),
        Err(error) => assert!(oracle::excused(error, datagram), "{error}, which rsip takes"),
    }
}
