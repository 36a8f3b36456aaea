//! The generator against itself, and through the real switch.

use std::path::Path;

use serde_json::Value;

use super::engine::Engine;
use super::{Arguments, Step, plan};
use crate::common::turn;
use crate::subject::{Binaries, Ground, Kind, Lane, Target};

fn engine(target: &str, customer: &str, vendor: &str, patience_ms: u32) -> Engine {
    let arguments = Arguments {
        target: target.parse().unwrap(),
        customer: customer.parse().unwrap(),
        vendor: vendor.parse().unwrap(),
        customer_namespace: None,
        vendor_namespace: None,
        prefix: "1212".to_owned(),
        ring_ms: 20,
        patience_ms,
        watch: Vec::new(),
        steps: Vec::new(),
    };
    Engine::open(plan(&arguments), vec![std::process::id()]).unwrap()
}

fn run(engine: &mut Engine, step: &str) -> Value {
    let step: Step = step.parse().unwrap();
    engine.run(&step).unwrap()
}

/// Calls, then calls that stay and talk, then their end: everything comes out that went in.
fn story(engine: &mut Engine) -> Vec<Value> {
    let calls = run(engine, "calls:rate=100,count=50,hold_ms=50");
    assert_eq!(
        (&calls["offered"], &calls["completed"], &calls["failed"]),
        (&50.into(), &50.into(), &0.into()),
        "{calls}"
    );
    assert_eq!(calls["invite_180_ms"]["n"], 50);
    assert!(calls["heard_again"]["BYE"].is_null(), "every BYE found its leg: {calls}");
    assert!(calls["invite_200_ms"]["p50"].as_f64().unwrap() >= 20.0, "the vendor rings 20 ms: {calls}");
    let held = run(engine, "hold:rate=100,count=5");
    assert_eq!((&held["answered"], &held["held"]), (&5.into(), &5.into()), "{held}");
    let rtp = run(engine, "rtp:pps=50,seconds=1");
    assert_eq!((&rtp["rtp"]["streams"], &rtp["rtp"]["sent"]), (&10.into(), &500.into()), "{rtp}");
    assert_eq!((&rtp["rtp"]["received"], &rtp["rtp"]["lost"]), (&500.into(), &0.into()), "{rtp}");
    assert_eq!(rtp["rtp"]["streams_alive_within_1s"], 10);
    let end = run(engine, "release:rate=100");
    assert_eq!((&end["completed"], &end["held"]), (&5.into(), &0.into()), "{end}");
    vec![calls, held, rtp, end]
}

#[test]
fn calls_and_rtp_to_itself_all_come_out() {
    let mut engine = engine("127.0.1.42:5060", "127.0.1.41:5060", "127.0.1.42:5060", 8_000);
    let reports = story(&mut engine);
    assert!(reports.iter().all(|report| report["watched"]["pss_kib"].as_u64() > Some(0)), "{reports:?}");
}

#[test]
fn a_target_that_is_not_there_fails_every_call_and_hears_it_again() {
    let mut engine = engine("127.0.1.45:5060", "127.0.1.43:5060", "127.0.1.44:5060", 1_700);
    let report = run(&mut engine, "calls:rate=100,count=3");
    assert_eq!((&report["completed"], &report["failed"]), (&0.into(), &3.into()), "{report}");
    assert_eq!(report["failed_by"]["timeout of INVITE"], 3);
    // After 0.5 and 1.5 s.
    assert_eq!(report["sent_again"]["INVITE"], 6, "{report}");
}

#[test]
fn calls_and_rtp_through_the_switch_all_come_out() {
    let test = std::env::current_exe().unwrap();
    let tandemd = test.parent().and_then(Path::parent).unwrap().join("tandemd");
    if !tandemd.is_file() {
        println!("skipped: tandemd is not built; cargo build builds it");
        return;
    }
    let Some(_turn) = turn(false).unwrap() else {
        println!("skipped: a measurement runs on this machine");
        return;
    };
    if let Err(missing) = Binaries::find(Some(&tandemd)) {
        println!("skipped: {missing:#}");
        return;
    }
    let lane = Lane { core: 0, realtime: false };
    let ground = Ground::loopback();
    let target = Target::start(Kind::Tandem, &lane, &ground, &Binaries::find(Some(&tandemd)).unwrap()).unwrap();
    let mut engine = engine(
        &ground.address(Kind::Tandem).to_string(),
        &ground.customer.to_string(),
        &ground.vendor.to_string(),
        8_000,
    );
    story(&mut engine);
    let status = target.status().unwrap();
    assert_eq!((&status["answered"], &status["failed"]), (&55.into(), &0.into()), "{status}");
    assert_eq!(status["media_ports_free"], status["media_ports"], "{status}");
}
