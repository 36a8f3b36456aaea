//! The failover table of spec routing.md 8: every row, its exceptions, and the order of rows.

use tandem_call::failover::{Cause, Decision, Failed, decide, final_cause};
use tandem_call::settings::Settings;
use tandem_call::snapshot::SwitchAllow;
use tandem_leg::{EndReason, ServerReason};

fn failed(cause: Cause) -> Failed {
    Failed {
        a_gone: false,
        answered: false,
        cause,
        rtp_seen: false,
        sdp_seen: false,
        ringing_seen: false,
        registered_stop: false,
        switches: 0,
    }
}

fn status(status: u16) -> Failed {
    failed(Cause::status(status))
}

fn with_cause(status: u16, q850: u8) -> Failed {
    failed(Cause { reason: EndReason::Sip(status), q850: Some(q850) })
}

const NEXT: bool = true;
const STOP: bool = false;

#[test]
fn every_row() {
    let system = Settings::default();
    let until_connect = Settings { switch_until_connect: true, ..Settings::default() };
    let after_rtp = Settings { switch_stop_after_rtp_start: false, ..Settings::default() };
    let stop_sdp = Settings { switch_stop_after_sdp: true, ..Settings::default() };
    let after_busy = Settings { switch_stop_after_user_busy: false, ..Settings::default() };
    let limit_1 = Settings { switch_limit: Some(1), ..Settings::default() };
    let limit_0 = Settings { switch_limit: Some(0), ..Settings::default() };
    let none = SwitchAllow::default();
    let list = |error_code, code: u16| SwitchAllow { error_code, error_codes: vec![code], ..SwitchAllow::default() };
    let rtp = |allow| SwitchAllow { rtp: Some(allow), ..SwitchAllow::default() };
    let sdp = |allow| SwitchAllow { sdp: Some(allow), ..SwitchAllow::default() };
    let ring = |allow| SwitchAllow { ring: Some(allow), ..SwitchAllow::default() };
    let busy = |allow| SwitchAllow { busy: Some(allow), ..SwitchAllow::default() };
    let server = |reason| failed(Cause::server(reason));

    for (facts, allow, settings, row, next, why) in [
        (Failed { a_gone: true, ..status(503) }, none.clone(), &system, 1, STOP, "A cancelled"),
        (Failed { a_gone: true, ..status(503) }, none.clone(), &until_connect, 1, STOP, "row 1 before row 3"),
        (Failed { answered: true, ..status(503) }, none.clone(), &system, 2, STOP, "answered"),
        (Failed { answered: true, ..status(503) }, none.clone(), &until_connect, 2, STOP, "never switch after 200"),
        (status(486), none.clone(), &until_connect, 3, NEXT, "until connect ignores busy"),
        (
            Failed { rtp_seen: true, sdp_seen: true, ringing_seen: true, ..status(503) },
            none.clone(),
            &until_connect,
            3,
            NEXT,
            "until connect ignores 5 to 7",
        ),
        (status(404), list(true, 404), &system, 4, NEXT, "listed and allowed: beats row 9"),
        (status(503), list(false, 503), &system, 4, STOP, "listed and not allowed"),
        (with_cause(503, 34), list(false, 34), &system, 4, STOP, "a Q.850 cause may be listed"),
        (Failed { ringing_seen: true, ..status(404) }, list(true, 404), &system, 4, NEXT, "row 4 before row 7"),
        (Failed { rtp_seen: true, ..status(503) }, none.clone(), &system, 5, STOP, "4f: media came"),
        (Failed { rtp_seen: true, ..status(503) }, rtp(true), &system, 11, NEXT, "the gateway allows it"),
        (Failed { rtp_seen: true, ..status(503) }, none.clone(), &after_rtp, 11, NEXT, "the system allows it"),
        (Failed { rtp_seen: true, ..status(503) }, rtp(false), &after_rtp, 5, STOP, "the gateway forbids it"),
        (Failed { sdp_seen: true, ..status(503) }, none.clone(), &system, 11, NEXT, "SDP alone does not stop"),
        (Failed { sdp_seen: true, ..status(503) }, none.clone(), &stop_sdp, 6, STOP, "STOP_AFTER_SDP"),
        (Failed { sdp_seen: true, ..status(503) }, sdp(true), &stop_sdp, 11, NEXT, "the gateway allows it"),
        (Failed { sdp_seen: true, ..status(503) }, sdp(false), &system, 6, STOP, "the gateway forbids it"),
        (Failed { ringing_seen: true, ..status(503) }, none.clone(), &system, 7, STOP, "stop after ringing"),
        (Failed { ringing_seen: true, ..status(503) }, ring(true), &system, 11, NEXT, "the gateway allows it"),
        (Failed { ringing_seen: true, ..server(ServerReason::NoAnswer) }, none.clone(), &system, 7, STOP, "5c"),
        (status(486), none.clone(), &system, 8, STOP, "user busy"),
        (status(600), none.clone(), &system, 8, STOP, "busy everywhere"),
        (with_cause(503, 17), none.clone(), &system, 8, STOP, "busy by cause"),
        (status(486), busy(true), &system, 11, NEXT, "the gateway allows it"),
        (status(486), none.clone(), &after_busy, 11, NEXT, "the system allows it"),
        (status(486), busy(false), &after_busy, 8, STOP, "the gateway forbids it"),
        (status(404), none.clone(), &system, 9, STOP, "404"),
        (status(410), none.clone(), &system, 9, STOP, "410"),
        (status(484), none.clone(), &system, 9, STOP, "484"),
        (status(485), none.clone(), &system, 9, STOP, "485"),
        (status(603), none.clone(), &system, 9, STOP, "603"),
        (status(604), none.clone(), &system, 9, STOP, "604"),
        (with_cause(480, 1), none.clone(), &system, 9, STOP, "cause 1"),
        (with_cause(503, 21), none.clone(), &system, 9, STOP, "cause 21"),
        (with_cause(503, 22), none.clone(), &system, 9, STOP, "cause 22"),
        (with_cause(503, 28), none.clone(), &system, 9, STOP, "cause 28"),
        (
            Failed { registered_stop: true, ..server(ServerReason::ConnectionTimeout) },
            none.clone(),
            &system,
            10,
            STOP,
            "a registered gateway did not answer",
        ),
        (server(ServerReason::ConnectionTimeout), none.clone(), &system, 11, NEXT, "5a: no answer to INVITE"),
        (server(ServerReason::ResponseTimeout), none.clone(), &system, 11, NEXT, "5b: setup timer before ringing"),
        (status(503), none.clone(), &limit_1, 11, NEXT, "first switch of one"),
        (Failed { switches: 1, ..status(503) }, none.clone(), &limit_1, 12, STOP, "4d: limit reached"),
        (Failed { switches: 1, ..status(404) }, list(true, 404), &limit_1, 12, STOP, "the limit holds for row 4"),
        (status(503), none.clone(), &limit_0, 12, STOP, "no switch at all"),
        (Failed { switches: 1_000, ..status(503) }, none.clone(), &system, 11, NEXT, "None is unlimited"),
    ] {
        assert_eq!(decide(&facts, &allow, settings), Decision { row, next }, "{why}");
    }
    let limited = Settings { switch_limit: Some(1), ..until_connect };
    let second = Failed { switches: 1, ..status(503) };
    assert_eq!(decide(&second, &none, &limited), Decision { row: 12, next: false }, "the limit holds for row 3");
}

#[test]
fn network_type_answers_switch() {
    for code in [401, 402, 403, 407, 408, 480, 405, 406, 413, 415, 420, 482, 483, 488, 500, 502, 503, 504, 513, 606] {
        let decision = decide(&status(code), &SwitchAllow::default(), &Settings::default());
        assert_eq!(decision, Decision { row: 11, next: true }, "{code}");
    }
}

#[test]
fn a_decision_names_its_row() {
    let decision = decide(&status(486), &SwitchAllow::default(), &Settings::default());
    assert_eq!(decision.to_string(), "row 8: stop, user busy");
}

#[test]
fn the_caller_is_told_about_the_user_before_the_network() {
    let cause = Cause::status;
    for (causes, want, why) in [
        (vec![], None, "no attempt"),
        (vec![cause(503)], Some(0), "the only one"),
        (vec![cause(503), cause(500)], Some(1), "the last one"),
        (vec![cause(486), cause(503)], Some(0), "486 wins over a later 503"),
        (vec![cause(480), cause(503), cause(502)], Some(0), "480 too"),
        (vec![cause(486), cause(404), cause(503)], Some(1), "the later of two"),
        (vec![Cause::server(ServerReason::NoAnswer), cause(503)], Some(0), "nobody answered"),
        (vec![Cause::server(ServerReason::ResponseTimeout), cause(503)], Some(1), "a network cause of ours"),
    ] {
        assert_eq!(final_cause(&causes), want, "{why}");
    }
}
