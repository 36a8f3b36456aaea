//! The rules of media.md 4, one table row or story each.

use std::net::SocketAddr;

use tandem_ebpf_abi::{DropReason, PuntReason};
use tandem_media::latch::{Latch, LatchMode, Latching, RELATCH_WINDOW_US};

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

const SDP: &str = "192.0.2.10:4000";
const NAT: &str = "198.51.100.77:31000";
const EVIL: &str = "203.0.113.66:666";

#[test]
fn rule_2_first_packet() {
    let refused = Latching::Refused(DropReason::SourceMismatch);
    for (mode, nat, source, expected) in [
        (LatchMode::Strict, false, SDP, Latching::Latched),
        (LatchMode::Strict, false, NAT, refused),
        (LatchMode::Strict, true, NAT, Latching::Latched),
        (LatchMode::Strict, true, SDP, Latching::Latched),
        (LatchMode::Always, false, NAT, Latching::Latched),
        (LatchMode::Always, false, SDP, Latching::Latched),
    ] {
        let mut latch = Latch::new(mode, nat);
        latch.set_offered(Some(at(SDP)));
        let got = latch.judge(0, PuntReason::Unlatched, at(source));
        assert_eq!(got, expected, "{mode:?} nat={nat} from {source}");
        assert_eq!(latch.source().is_some(), expected == Latching::Latched);
    }
}

/// A leg behind NAT, latched to `NAT` before the answer at 10 s.
fn latched() -> Latch {
    let mut latch = Latch::new(LatchMode::Strict, true);
    latch.set_offered(Some(at("10.0.0.5:4000")));
    assert_eq!(latch.judge(0, PuntReason::Unlatched, at(NAT)), Latching::Latched);
    latch.answered(10_000_000);
    latch
}

#[test]
fn rule_3_one_change_within_three_seconds_of_the_answer() {
    let mut latch = latched();
    let second = at("198.51.100.77:31002");
    let end = 10_000_000 + RELATCH_WINDOW_US;
    assert_eq!(latch.judge(end - 1, PuntReason::SourceChange, second), Latching::Relatched { from: at(NAT) });
    assert!(!latch.window_open(end - 1), "one change only");
    assert_eq!(latch.judge(end - 1, PuntReason::SourceChange, at(EVIL)), Latching::Refused(DropReason::SourceMismatch));
    assert_eq!(latch.source(), Some(second));
}

#[test]
fn rule_3_not_before_the_answer_and_not_after_the_window() {
    let mut early = Latch::new(LatchMode::Always, false);
    early.judge(0, PuntReason::Unlatched, at(NAT));
    let refused = Latching::Refused(DropReason::SourceMismatch);
    assert_eq!(early.judge(1, PuntReason::SourceChange, at(EVIL)), refused);
    let mut late = latched();
    let end = 10_000_000 + RELATCH_WINDOW_US;
    assert_eq!(late.judge(end, PuntReason::SourceChange, at(EVIL)), refused);
}

#[test]
fn rule_3b_the_heir_of_a_silent_source() {
    let mut latch = latched();
    let heir = at("198.51.100.77:40000");
    assert_eq!(latch.judge(60_000_000, PuntReason::SourceSilent, heir), Latching::Relatched { from: at(NAT) });
    assert_eq!(latch.source(), Some(heir));
}

#[test]
fn a_strict_leg_has_no_heirs_and_no_window() {
    let mut latch = Latch::new(LatchMode::Strict, false);
    latch.set_offered(Some(at(SDP)));
    latch.judge(0, PuntReason::Unlatched, at(SDP));
    latch.answered(0);
    assert!(latch.fixed() && !latch.window_open(1));
    for reason in [PuntReason::SourceChange, PuntReason::SourceSilent] {
        assert_eq!(latch.judge(1, reason, at(EVIL)), Latching::Refused(DropReason::SourceMismatch));
    }
}

#[test]
fn rule_3a_new_sdp_opens_the_latch() {
    let mut latch = Latch::new(LatchMode::Strict, false);
    latch.set_offered(Some(at(SDP)));
    latch.judge(0, PuntReason::Unlatched, at(SDP));
    latch.answered(0);
    // Hold by 0.0.0.0 and back: nothing moves.
    latch.set_offered(None);
    latch.set_offered(Some(at(SDP)));
    assert_eq!(latch.source(), Some(at(SDP)));
    let moved = at("192.0.2.10:5000");
    latch.set_offered(Some(moved));
    assert_eq!(latch.source(), None);
    assert_eq!(
        latch.judge(100_000_000, PuntReason::Unlatched, at(EVIL)),
        Latching::Refused(DropReason::SourceMismatch)
    );
    assert_eq!(latch.judge(100_000_000, PuntReason::Unlatched, moved), Latching::Relatched { from: at(SDP) });
    assert_eq!(latch.relatches(), 0, "announced by signalling");
}

#[test]
fn rule_4_another_fork_answers() {
    let mut latch = Latch::new(LatchMode::Always, false);
    latch.judge(0, PuntReason::Unlatched, at(SDP));
    latch.reopen();
    assert_eq!(latch.judge(1, PuntReason::Unlatched, at(NAT)), Latching::Relatched { from: at(SDP) });
}

#[test]
fn more_than_three_changes_freeze_the_leg() {
    let mut latch = latched();
    let mut now = 100_000_000;
    let mut last = at(NAT);
    for n in 1..=3 {
        let next = at(&format!("198.51.100.77:4000{n}"));
        assert_eq!(latch.judge(now, PuntReason::SourceSilent, next), Latching::Relatched { from: last });
        (last, now) = (next, now + 5_000_000);
    }
    assert_eq!(latch.judge(now, PuntReason::SourceSilent, at(EVIL)), Latching::HijackSuspect);
    assert_eq!(latch.source(), Some(last), "stays where it was");
    assert!(latch.frozen() && latch.fixed());
    assert_eq!(
        latch.judge(now, PuntReason::SourceSilent, at(EVIL)),
        Latching::Refused(DropReason::Frozen),
        "suspicion is raised once"
    );
    // Signalling is trusted even then, but for exactly the address it names.
    latch.set_offered(Some(at(SDP)));
    assert_eq!(latch.judge(now, PuntReason::Unlatched, at(EVIL)), Latching::Refused(DropReason::Frozen));
    assert_eq!(latch.judge(now, PuntReason::Unlatched, at(SDP)), Latching::Relatched { from: last });
}
