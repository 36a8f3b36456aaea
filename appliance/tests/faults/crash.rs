//! `kill -9` under load, again and again on the same data.
//!
//! `TANDEM_KILLS` says how often (8 by default), `TANDEM_SEED` repeats the moments of an earlier run:
//!
//! ```sh
//! TANDEM_KILLS=100 cargo test -p tandem --test faults -- --nocapture killed_at_random
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rust_decimal::Decimal;
use rustix::process::Signal;
use serde_json::Value;

use crate::books;
use crate::common::{Customer, Plan, Sipp, Switch, decimal, int, sipp_is_there, until};
use crate::peer::{Peer, Stage};

/// Most bytes that the journal grows by before a kill: some 600 calls, so that all stages are hit, also those of the first
/// call after a start.
const GROWTH_MAX: u64 = 512 << 10;
/// Longest life of a start that is killed before it is ready; recovery is within it.
const START_MAX: Duration = Duration::from_millis(60);
/// What a crash may take of a call (billing.md 6.10).
const LOST_MAX_MS: i64 = 10_000;

/// Money for many calls, and patience with a SIPp that gets no processor time. No call goes on after a crash: what is tested is
/// what a crash takes, and a SIPp that gives up after seconds would leave calls that nobody hangs up (`tests/e2e/restart.rs`
/// has those that go on).
pub(crate) fn rich() -> Plan {
    Plan { opening: "1000000", adopt_within_s: 0, params: vec![("SS_SIP_TIMEOUT_INVITE", "60")], ..Default::default() }
}

pub(crate) fn wall_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

pub(crate) fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn bytes(folder: &Path) -> u64 {
    let segments = fs::read_dir(folder).unwrap().map(Result::unwrap);
    segments
        .filter(|file| file.path().extension().is_some_and(|e| e == "tj"))
        .map(|file| file.metadata().unwrap().len())
        .sum()
}

/// Kill -9 is seen by nobody before it happens: what was written is all there is.
#[test]
fn killed_at_random_moments_every_answered_call_is_billed_once() {
    if !sipp_is_there() {
        return;
    }
    let kills = number("TANDEM_KILLS", 8);
    let seed = number("TANDEM_SEED", wall_ms() as u64);
    eprintln!("TANDEM_SEED={seed} TANDEM_KILLS={kills}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut switch = Switch::start(&rich());
    let mut answered_by_call_id: BTreeMap<String, u32> = BTreeMap::new();
    let (mut heard, mut recovered, mut killed_early) = (0, 0, 0);
    for round in 0..kills {
        let begun_ms = wall_ms();
        let mut vendor = Sipp::vendor(&switch, 1, "vendor_answers", &[]);
        // Calls that wait for an answer that died with the switch are given up.
        let load = Customer {
            calls: 100_000,
            rate: 200,
            hold_ms: 700,
            messages: true,
            more: &["-recv_timeout", "3000"],
            ..Default::default()
        };
        let mut customer = load.start(&switch);
        let wanted = bytes(&books::journal(&switch)) + rng.random_range(1..GROWTH_MAX);
        until("the journal grows", || (bytes(&books::journal(&switch)) >= wanted).then_some(()));
        switch.kill();
        let killed_ms = wall_ms();
        // Some of the starts are killed too: recovery must be able to begin anew anywhere.
        while rng.random_range(0..3) == 0 {
            killed_early += 1;
            switch.start_and_kill(rng.random_range(Duration::ZERO..START_MAX));
        }
        switch.start_again();
        // The load went on all the while; what is up now ends in order.
        customer.finish();
        let verified = books::audit(&switch);
        vendor.kill();

        let rows = rows_since(&switch, begun_ms);
        let mut answered: BTreeMap<&str, u32> = BTreeMap::new();
        for row in rows.iter().filter(|row| row["connect_ms"].is_i64()) {
            *answered.entry(row["caller_call_id"].as_str().unwrap()).or_default() += 1;
            recovered += u32::from(check(row, killed_ms));
        }
        let calls = customer.answered_calls();
        heard += calls.len();
        let wrong: Vec<_> = calls.iter().filter(|call| answered.get(call.as_str()) != Some(&1)).collect();
        assert!(wrong.is_empty(), "round {round}: of {} answered calls these have no record: {wrong:?}", calls.len());
        let cut = rows.iter().filter(|row| row["flags"].as_str().unwrap().contains("recovered")).count();
        for (call, n) in answered {
            *answered_by_call_id.entry(call.to_owned()).or_default() += n;
        }
        eprintln!(
            "round {round}: {} answered calls heard of, {cut} cut off, {} records in all",
            calls.len(),
            verified.cdrs
        );
    }
    let twice: Vec<_> = answered_by_call_id.iter().filter(|(_, n)| **n > 1).collect();
    assert!(twice.is_empty(), "billed twice: {twice:?}");
    let stored = rows_since(&switch, 0).iter().filter(|row| row["connect_ms"].is_i64()).count();
    assert_eq!(stored, answered_by_call_id.len(), "a record came or went after its round");
    eprintln!(
        "{kills} kills and {killed_early} more while starting: {heard} answered calls heard of, {stored} billed, {recovered} of \
         them cut off and recovered"
    );
    assert!(heard > 0 && recovered > 0, "{heard} {recovered}");
}

/// Records of calls that ended since then, oldest first.
#[track_caller]
fn rows_since(switch: &Switch, since_ms: i64) -> Vec<Value> {
    let since = since_ms.to_string();
    let rows = switch.json(&["cdr", "list", "--all", "--oldest-first", "--from", &since]);
    rows.as_array().unwrap().clone()
}

/// Whether the call was cut off; its price, and that nobody is billed for time after the kill.
#[track_caller]
fn check(row: &Value, killed_ms: i64) -> bool {
    let hold_ms = int(&row["hold_ms"]);
    assert_price(row);
    let recovered = row["flags"].as_str().unwrap().contains("recovered");
    if recovered {
        assert_eq!((int(&row["end_reason"]), int(&row["end_direction"])), (-40, 2), "{row:#}");
        assert!(hold_ms <= killed_ms - int(&row["connect_ms"]), "billed beyond the kill at {killed_ms}: {row:#}");
    }
    recovered
}

/// Both legs cost what the plan says for the time that was held; a rest of 50 ms counts as a second.
#[track_caller]
pub(crate) fn assert_price(row: &Value) {
    let hold_s = (int(&row["hold_ms"]) + 950) / 1000;
    let fees = (decimal(&row["fee"]), decimal(&row["vendor_fee"]));
    assert_eq!(fees, (Decimal::new(hold_s * 10, 3), Decimal::new(hold_s * 5, 3)), "{row:#}");
}

#[test]
fn a_call_cut_off_is_billed_to_its_last_heartbeat() {
    let mut switch = Switch::start(&rich());
    let (vendor, customer) = (Peer::vendor(&switch), Peer::customer(&switch));
    for n in 0..4 {
        customer.connect(&format!("1212555000{n}"));
    }
    let connected_ms = wall_ms();
    // Ended and recorded before the crash: nothing of it may change.
    customer.hang_up("12125550000");
    customer.once("12125550000", |dialog| dialog.stage == Stage::Ended);
    let before = switch.cdrs_of_answered_once(1);
    until("calls are longer than a crash may take", || (wall_ms() - connected_ms > LOST_MAX_MS + 500).then_some(()));
    switch.signal(Signal::KILL);
    let killed_ms = wall_ms();
    switch.kill();
    switch.start_again();
    books::audit(&switch);
    let rows = switch.cdrs();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows.iter().filter(|row| **row == before[0]).count(), 1, "{rows:#?}");
    for row in rows.iter().filter(|row| **row != before[0]) {
        assert!(check(row, killed_ms), "{row:#}");
        let real_ms = killed_ms - int(&row["connect_ms"]);
        assert!(int(&row["hold_ms"]) >= real_ms - LOST_MAX_MS, "held {real_ms} ms: {row:#}");
        assert!(decimal(&row["fee"]) > Decimal::ZERO);
    }
    // Both sides hear that the call is no more as soon as they speak.
    for number in ["12125550001", "12125550002", "12125550003"] {
        customer.hang_up(number);
        vendor.hang_up(number);
        for peer in [&customer, &vendor] {
            let dialog = peer.once(number, |dialog| dialog.stage == Stage::Ended);
            assert_eq!(dialog.heard.last().map(String::as_str), Some("481 BYE"));
        }
    }
}
