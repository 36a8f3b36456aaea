//! Section 3.2: the transaction layer.

use crate::support::{A, Bench, fail};
use crate::{ack, answered, feed, message, ringing, text};

#[test]
fn t3_2_1_a_branch_that_is_nothing_but_the_cookie() {
    answered(&message("3.2.1-badbranch"), 200);
    // Two calls with that branch are two calls: it tells nothing apart, so they are matched the old way.
    let first = text("3.2.1-badbranch").replace("OPTIONS", "INVITE");
    let second = first.replace("badbranch.sadonfo23i420jv0as0derf3j3n", "another");
    let mut bench = Bench::default();
    feed(&mut bench, A, first.as_bytes());
    let (one, _) = ringing(&mut bench);
    feed(&mut bench, A, second.as_bytes());
    let (other, _) = ringing(&mut bench);
    assert_ne!(one, other);
    for (leg, invite) in [(other, &second), (one, &first)] {
        bench.order(leg, fail(404));
        let refusal = bench.expect("SIP/2.0 404 ");
        assert_eq!(refusal.leg, Some(leg));
        feed(&mut bench, A, &ack(invite.as_bytes(), &refusal.tag("To")));
    }
    bench.nothing_left();
}
