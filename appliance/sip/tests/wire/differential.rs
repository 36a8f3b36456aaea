//! Against `rsip`: where it takes a message and reads every field, so must we, and read the same.

use std::cell::Cell;

use proptest::prelude::*;
use tandem_sip::scan::scan;

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
