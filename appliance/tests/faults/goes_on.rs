//! `kill -9` again and again, and calls go on over it: every call is billed once, from its answer to its end, whatever happened
//! in between (design.md P1).
//!
//! The parties are scripted: they repeat their BYE until somebody answers, so that no call outlives its parties. `TANDEM_KILLS`
//! says how often it is killed (4 by default), `TANDEM_SEED` repeats an earlier run:
//!
//! ```sh
//! TANDEM_KILLS=50 cargo test -p tandem --test faults -- --nocapture calls_go_on
//! ```

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

use crate::books;
use crate::common::{Plan, Switch, int, until};
use crate::crash::{assert_price, number, rich, wall_ms};
use crate::peer::{Peer, Stage};

/// Calls that are answered and acknowledged before each kill.
const CALLS: u64 = 12;
/// Calls that are being set up when it is killed.
const CALLS_BEGUN: u64 = 6;

/// What the parties know of a call, by their own clock.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// It was answered between these, wall ms.
    answered_ms: [i64; 2],
    /// Kills that it outlived.
    kills: u64,
    /// The caller hung up at this instant.
    hung_up_ms: Option<i64>,
    /// Both sides were at the end by then.
    ended_ms: Option<i64>,
}

#[test]
fn killed_at_random_moments_calls_go_on_and_each_is_billed_once() {
    let kills = number("TANDEM_KILLS", 4);
    let seed = number("TANDEM_SEED", wall_ms() as u64);
    eprintln!("TANDEM_SEED={seed} TANDEM_KILLS={kills}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut switch = Switch::start(&Plan { adopt_within_s: Plan::default().adopt_within_s, ..rich() });
    let (vendor, customer) = (Peer::vendor(&switch), Peer::customer(&switch));
    let mut calls: BTreeMap<String, Known> = BTreeMap::new();
    let mut begun = Vec::new();
    for round in 0..kills {
        for n in 0..CALLS {
            let callee = format!("12125{round:04}{n:02}");
            let before_ms = wall_ms();
            customer.connect(&callee);
            let known = Known { answered_ms: [before_ms, wall_ms()], kills: 0, hung_up_ms: None, ended_ms: None };
            calls.insert(callee, known);
        }
        switch.written_down();
        for n in 0..rng.random_range(1..=CALLS_BEGUN) {
            let callee = format!("12126{round:04}{n:02}");
            customer.call(&callee);
            begun.push(callee);
        }
        switch.kill();
        // Some hang up while nobody listens, and say so until somebody does.
        let mut leaving = Vec::new();
        for (callee, known) in calls.iter_mut().filter(|(_, known)| known.ended_ms.is_none()) {
            known.kills += 1;
            if rng.random_range(0..3) == 0 {
                known.hung_up_ms = Some(wall_ms());
                customer.hang_up(callee);
                leaving.push(callee.clone());
            }
        }
        switch.start_again();
        for callee in leaving {
            end(&customer, &vendor, &callee, calls.get_mut(&callee).unwrap());
        }
    }
    for (callee, known) in calls.iter_mut().filter(|(_, known)| known.ended_ms.is_none()) {
        known.hung_up_ms = Some(wall_ms());
        customer.hang_up(callee);
        end(&customer, &vendor, callee, known);
    }
    // An INVITE that died with the switch unheard comes again, and makes a call of the new life.
    until("every set-up is heard of", || {
        let heard = |callee: &String| customer.dialog(callee).is_some_and(|dialog| !dialog.waits());
        begun.iter().all(heard).then_some(())
    });
    until("no set-up is under way", || {
        let status = switch.json(&["status"]);
        (status["calls_setup"] == 0 && status["calls_ringing"] == 0).then_some(())
    });
    // Other set-ups do not outlive the switch; a call that was answered just before goes on or is hung up at the start.
    for callee in &begun {
        if customer.dialog(callee).is_some_and(|dialog| dialog.stage == Stage::Talking) {
            customer.hang_up(callee);
            customer.once(callee, |dialog| dialog.stage == Stage::Ended);
        }
    }
    books::audit(&switch);

    let mut rows: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for row in switch.cdrs().into_iter().filter(|row| row["connect_ms"].is_i64()) {
        assert_price(&row);
        rows.entry(row["callee_in"].as_str().unwrap().to_owned()).or_default().push(row);
    }
    for (callee, known) in &calls {
        let Some([row]) = rows.get(callee).map(Vec::as_slice) else {
            panic!("not one record of {callee}: {known:?} {:#?}", rows.get(callee));
        };
        assert_eq!((int(&row["end_reason"]), int(&row["end_direction"])), (16, 0), "the caller ended it: {row:#}");
        assert_eq!(row["flags"], "adopted", "{known:?} {row:#}");
        let hold_ms = int(&row["hold_ms"]);
        let (hung_up_ms, ended_ms) = (known.hung_up_ms.unwrap(), known.ended_ms.unwrap());
        // Differences of two instants without their microseconds.
        let bounds = (hung_up_ms - known.answered_ms[1] - 1)..=(ended_ms - known.answered_ms[0] + 1);
        assert!(bounds.contains(&hold_ms), "held {bounds:?} ms by its parties: {row:#}");
    }
    let heard = begun.iter().filter(|callee| customer.dialog(callee).is_some_and(|dialog| dialog.status == 200));
    for callee in heard {
        assert_eq!(rows.get(callee).map(Vec::len), Some(1), "{callee} was answered: {:#?}", rows.get(callee));
    }
    let often = calls.values().filter(|known| known.kills > 1).count();
    eprintln!("{kills} kills, {} calls went on, {often} of them over several, {} set-ups", calls.len(), begun.len());
}

/// Waits for the end of the call on both sides.
#[track_caller]
fn end(customer: &Peer, vendor: &Peer, callee: &str, known: &mut Known) {
    for peer in [customer, vendor] {
        peer.once(callee, |dialog| dialog.stage == Stage::Ended);
    }
    known.ended_ms = Some(wall_ms());
}
