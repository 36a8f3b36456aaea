//! Against `rsip`: where it takes a message and reads every field, so must we, and read the same.

use std::cell::Cell;

use proptest::prelude::*;
use tandem_sip::scan::{ScanError, scan};

use crate::corpus;
use crate::mutation::{apply, changes, runner};
use crate::oracle::{excused, ours, theirs};

#[test]
fn agrees_on_ordinary_messages() {
    for datagram in [corpus::invite(), corpus::ok(), corpus::bye(), corpus::register()] {
        let message = scan(&datagram).unwrap();
        let theirs = theirs(&datagram).expect("ordinary enough for rsip");
        assert_eq!(ours(&message).unwrap(), theirs);
    }
}

/// Every one of them for a reason that [`excused`] finds by itself.
#[test]
fn refuses_what_rsip_takes_only_for_a_known_reason() {
    let invite = String::from_utf8(corpus::invite()).unwrap();
    let uri = invite.split(' ').nth(1).unwrap();
    let head = invite.split("\r\n\r\n").next().unwrap();
    for (datagram, error) in [
        (invite.replacen(uri, &uri.replacen(':', ":a ", 1), 1), ScanError::RequestLine),
        (invite.replacen(uri, &format!("<{uri}>"), 1), ScanError::RequestLine),
        (format!("{head}\r\n"), ScanError::Truncated),
    ] {
        assert_eq!(scan(datagram.as_bytes()).unwrap_err(), error, "{datagram}");
        assert!(excused(error, datagram.as_bytes()), "{datagram}");
    }
    assert!(!excused(ScanError::RequestLine, invite.as_bytes()) && !excused(ScanError::Truncated, invite.as_bytes()));
}

#[test]
fn agrees_on_whatever_rsip_reads_whole() {
    let messages = [corpus::invite(), corpus::ok(), corpus::bye(), corpus::register()];
    let (compared, excuses) = (Cell::new(0), Cell::new(0));
    runner(12_000)
        .run(&(0..messages.len(), changes(3)), |(message, changes)| {
            let datagram = apply(messages[message].clone(), &changes);
            let Some(theirs) = theirs(&datagram) else { return Ok(()) };
            match scan(&datagram) {
                Ok(message) => {
                    prop_assert_eq!(ours(&message), Some(theirs), "{}", datagram.escape_ascii());
                    compared.set(compared.get() + 1);
                }
                Err(error) => {
                    prop_assert!(excused(error, &datagram), "{:?}: {}", error, datagram.escape_ascii());
                    excuses.set(excuses.get() + 1);
                }
            }
            Ok(())
        })
        .unwrap();
    assert!(compared.get() > 1000 && compared.get() > excuses.get() * 5, "hardly anything was compared");
}
