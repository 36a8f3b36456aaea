//! `kill -9` under many calls: every packet arrives, every call goes on, each is billed once.

use std::time::{Duration, Instant};

use rust_decimal::Decimal;

use crate::common::{Plan, decimal, int, until};
use crate::peer::Stage;
use crate::scene::Scene;
use crate::streams::Talk;

/// Calls, unless `TANDEM_KILL_CALLS` says otherwise: what any machine that tests carries beside other tests.
const CALLS: u32 = 100;
/// Calls set up at a time.
const BATCH: usize = 25;
/// Between two packets of a stream: little, because what is counted are packets, not how many fit on a machine.
const PAUSE: Duration = Duration::from_millis(100);
/// The customer pays 0.01 a second, a second being begun (`Plan`).
const CENT: Decimal = Decimal::from_parts(1, 0, 0, false, 2);

/// When a call was placed and seen connected; what its record may say lies in between.
struct Placed {
    number: String,
    before: Instant,
    after: Instant,
}

/// What the switch holds for its calls.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    talking: u64,
    lines: Vec<i64>,
    /// Of each shard: ports used, flows, flows of the kernel.
    ports: Vec<[u64; 3]>,
    reserved: Decimal,
}

fn held(scene: &Scene) -> Held {
    let (status, show) = (scene.switch.json(&["status"]), scene.switch.json(&["media", "show"]));
    let shards = show["shards"].as_array().unwrap();
    let lines = scene.switch.json(&["gateway", "list"]);
    Held {
        talking: status["calls_talking"].as_u64().unwrap(),
        lines: lines.as_array().unwrap().iter().map(|gateway| int(&gateway["calls"])).collect(),
        ports: shards.iter().map(|s| ["used", "flows", "kernel_flows"].map(|name| s[name].as_u64().unwrap())).collect(),
        reserved: decimal(&scene.switch.json(&["account", "show", "acme"])["account"]["reserved"]),
    }
}

#[test]
fn killed_with_many_calls_it_loses_no_packet_and_bills_each_once() {
    let calls = std::env::var("TANDEM_KILL_CALLS").map_or(CALLS, |calls| calls.parse().expect("a number of calls"));
    let plan = Plan { shards: 2, opening: "1000000", ..Plan::default() };
    let Some(mut scene) = Scene::of(&["r0", "r1"], "", plan) else { return };
    let numbers: Vec<String> = (0..calls).map(|n| format!("1212{n:07}")).collect();
    let mut placed = Vec::new();
    let mut sides = Vec::new();
    for batch in numbers.chunks(BATCH) {
        let before = Instant::now();
        batch.iter().for_each(|number| scene.place(number));
        sides.extend(batch.iter().map(|number| scene.both_sides(number)));
        let after = Instant::now();
        placed.extend(batch.iter().map(|number| Placed { number: number.clone(), before, after }));
    }
    let talk = Talk::start(sides, PAUSE);
    scene.written_down();
    let flows = 2 * u64::from(calls);
    until("every stream is the kernel's", || {
        (held(&scene).ports.iter().map(|[_, _, kernel]| kernel).sum::<u64>() == flows).then_some(())
    });
    talk.go_on(2);
    let before = held(&scene);
    assert_eq!(before.talking, u64::from(calls));
    assert!(before.ports.iter().all(|[used, ..]| *used > 0), "both shards have calls: {before:?}");
    // What user space forwarded of these calls dies with it.
    let learned = scene.counter("media_packets_relayed");

    scene.switch.kill();
    talk.go_on(10);
    scene.switch.start_again();
    let after = held(&scene);
    assert_eq!((after.talking, &after.lines, &after.ports), (before.talking, &before.lines, &before.ports));
    // Before the kill what was promised at their answer; after it what they cost by now and the same promise from now on.
    assert!(
        (before.reserved..=before.reserved + before.reserved).contains(&after.reserved),
        "{} was reserved, {} is",
        before.reserved,
        after.reserved
    );
    talk.go_on(10);
    let heard = talk.stop_all();
    let sent = 2 * heard.iter().map(|call| u64::from(call.sent)).sum::<u64>();
    let lost: Vec<_> = heard.iter().zip(&numbers).filter(|(call, _)| call.arrived != [call.sent; 2]).collect();
    assert!(lost.is_empty(), "of {} calls: {lost:?}", heard.len());
    assert_eq!(scene.counter("media_packets_relayed"), 0, "the kernel had every stream");
    assert_eq!(scene.counter("xdp_rtp_packets") + learned, sent);
    assert_eq!((scene.counter("calls_adopted"), scene.counter("xdp_orphans_removed")), (u64::from(calls), 0));
    audit(&scene);

    // One side of every other call hangs up, the other side of the others.
    let bye = Instant::now();
    for (n, number) in numbers.iter().enumerate() {
        if n % 2 == 0 { scene.customer().hang_up(number) } else { scene.vendor().hang_up(number) }
    }
    scene.customer().all(Stage::Ended);
    scene.vendor().all(Stage::Ended);
    let ended = Instant::now();

    let rows = scene.switch.cdrs_once(numbers.len());
    let mut packets = 0;
    for (n, call) in placed.iter().enumerate() {
        let mut own = rows.iter().filter(|row| row["callee_in"] == call.number.as_str());
        let (Some(row), None) = (own.next(), own.next()) else { panic!("{} has not one record", call.number) };
        let by = (n % 2) as i64;
        assert_eq!((int(&row["end_reason"]), int(&row["end_direction"])), (16, by), "{row:#}");
        assert_eq!(row["flags"], "adopted", "{row:#}");
        // A millisecond is what rounding takes.
        let (least, most) = (bye - call.after, ended - call.before);
        let hold = int(&row["hold_ms"]);
        assert!((least.as_millis() as i64 - 1..=most.as_millis() as i64 + 1).contains(&hold), "{least:?}: {row:#}");
        // A rest of 50 ms counts as a second.
        let seconds = (hold + 950) / 1000;
        assert_eq!((int(&row["billed_s"]), int(&row["vendor_s"])), (seconds, seconds), "{row:#}");
        assert_eq!(decimal(&row["fee"]), CENT * Decimal::from(seconds), "{row:#}");
        packets += int(&row["caller_rtp_packets"]) + int(&row["callee_rtp_packets"]);
    }
    assert_eq!(packets as u64 + learned, sent, "the records have what the kernel forwarded");
    scene.switch.assert_the_books_agree(&rows);
    audit(&scene);
    let none = held(&scene);
    assert_eq!((none.talking, none.lines.iter().sum::<i64>(), none.reserved), (0, 0, Decimal::ZERO));
    assert!(none.ports.iter().all(|shard| *shard == [0; 3]), "{none:?}");
    println!("{calls} calls, {sent} packets, {learned} before the kernel had the streams, none lost");
}

#[track_caller]
fn audit(scene: &Scene) {
    let audit = scene.switch.json(&["media", "audit"]);
    assert_eq!((&audit["equal"], &audit["difference"]), (&true.into(), &0.into()), "{audit:#}");
}
