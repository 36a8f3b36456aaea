//! The disk is full, slow, or refuses.

use std::fs;

use serde_json::Value;

use crate::books;
use crate::common::{Customer, Sipp, Switch, int, sipp_is_there, until};
use crate::crash::{assert_price, rich};
use crate::machine::{SmallDisk, tampering};
use crate::peer::{Peer, Stage};

/// Small enough to be filled at once, large enough for journal and database of a test.
const DISK_MIB: u32 = 24;

/// A switch whose data lies on a small disk.
fn on_a_small_disk() -> Option<(Switch, SmallDisk)> {
    let mut disk = None;
    let missing = std::cell::Cell::new(false);
    let switch = Switch::start_through(&rich(), |folder| {
        disk = SmallDisk::over(&folder.join("data"), DISK_MIB);
        missing.set(disk.is_none());
        disk.as_ref().map(SmallDisk::through).unwrap_or_default()
    });
    disk.map(|disk| (switch, disk))
}

/// Calls until one is refused because the journal cannot be written: what is left of the last block of a file still takes a
/// record or two. Gives the numbers of the calls that were answered.
#[track_caller]
fn call_until_refused(customer: &Peer, first: u32) -> Vec<String> {
    let mut answered = Vec::new();
    for n in first..first + 100 {
        let number = format!("1212666{n:04}");
        customer.call(&number);
        // A call whose start is not written within 5 s is refused too; the ones behind it at once.
        let dialog = customer.once(&number, |dialog| dialog.status >= 200);
        match (dialog.status, dialog.retry_after) {
            (200, _) => answered.push(number),
            (503, Some(_)) => return answered,
            (503, None) => {}
            _ => panic!("{dialog:#?}"),
        }
    }
    panic!("a hundred calls, and none was refused with 503 and Retry-After");
}

fn numbers(from: u32, to: u32) -> Vec<String> {
    (from..to).map(|n| format!("1212555{n:04}")).collect()
}

#[track_caller]
fn hang_up(customer: &Peer, numbers: &[String]) {
    numbers.iter().for_each(|number| customer.hang_up(number));
    for number in numbers {
        let dialog = customer.once(number, |dialog| dialog.stage == Stage::Ended);
        assert_eq!(dialog.heard.last().map(String::as_str), Some("200 BYE"), "{number}");
    }
}

/// The alarm, where an operator looks.
#[track_caller]
fn assert_alarm(switch: &Switch) {
    let status = switch.json(&["status"]);
    assert_eq!(status["state"], "draining", "{status:#}");
    assert!(status["warnings"].to_string().contains("journal cannot be written"), "{status:#}");
    assert!(status["counters"]["journal_errors"].as_u64() > Some(0), "{status:#}");
    let log = switch.log();
    assert!(log.contains("error: the journal cannot be written, new calls are refused"), "{log}");
}

/// The audit, with the database that only the namespace sees.
#[track_caller]
fn audit(switch: &Switch, disk: &SmallDisk) {
    books::settle(switch);
    // SQLite follows the link into the namespace the wrong way, so a copy is looked at: first the log, whose pages may go
    // into the file meanwhile.
    let copy = switch.folder.join("copy");
    fs::create_dir_all(&copy).unwrap();
    for name in ["tandem.db-wal", "tandem.db"] {
        fs::copy(disk.path().join("journal").join(name), copy.join(name)).unwrap();
    }
    books::audit_of(switch, &copy);
}

#[track_caller]
fn answered(rows: &[Value]) -> Vec<&Value> {
    rows.iter().filter(|row| row["connect_ms"].is_i64()).collect()
}

#[test]
fn on_a_full_disk_calls_go_on_and_new_ones_are_refused_until_there_is_space() {
    let Some((switch, disk)) = on_a_small_disk() else { return };
    let (vendor, customer) = (Peer::vendor(&switch), Peer::customer(&switch));
    let running = numbers(0, 10);
    running.iter().for_each(|number| customer.connect(number));
    disk.fill();
    let mut all = call_until_refused(&customer, 0);
    assert_alarm(&switch);
    // Calls that are on go on, and can be ended; what they cost waits in memory.
    assert_eq!(switch.json(&["status"])["calls_talking"], running.len() + all.len());
    hang_up(&customer, &running[..6]);
    until("the ended calls are gone", || {
        (switch.json(&["status"])["calls_talking"] == running.len() + all.len() - 6).then_some(())
    });
    assert_eq!(customer.refused("12125551000").retry_after, Some(2));
    assert!(books::counter(&switch, "calls_refused_overload") > 0);
    assert_alarm(&switch);

    disk.free();
    until("the journal is written again", || (switch.json(&["status"])["state"] == "running").then_some(()));
    assert!(switch.log().contains("the journal can be written again"));
    let later = numbers(20, 23);
    later.iter().for_each(|number| customer.connect(number));
    hang_up(&customer, &[&running[6..], &all, &later].concat());
    customer.all(Stage::Ended);
    vendor.all(Stage::Ended);
    audit(&switch, &disk);
    all.extend([running, later].concat());
    let rows = switch.cdrs();
    let answered = answered(&rows);
    assert_eq!(answered.len(), all.len(), "{rows:#?}");
    for row in answered {
        assert_eq!(int(&row["end_reason"]), 16, "{row:#}");
        assert_price(row);
    }
    switch.assert_the_books_agree(&rows);
}

#[test]
fn killed_on_a_full_disk_what_was_written_is_billed_once() {
    let Some((mut switch, disk)) = on_a_small_disk() else { return };
    let (_vendor, customer) = (Peer::vendor(&switch), Peer::customer(&switch));
    let running = numbers(0, 8);
    running.iter().for_each(|number| customer.connect(number));
    hang_up(&customer, &running[..2]);
    let before = switch.cdrs_of_answered_once(2);
    disk.fill();
    let more = call_until_refused(&customer, 0);
    // Ended, but the end is in memory only when the switch dies.
    hang_up(&customer, &running[2..5]);
    switch.kill();
    disk.free();
    switch.start_again();
    audit(&switch, &disk);
    let rows = switch.cdrs();
    assert_eq!(answered(&rows).len(), running.len() + more.len(), "{rows:#?}");
    assert!(before.iter().all(|row| rows.contains(row)), "a record that was written has changed: {rows:#?}");
    switch.assert_the_books_agree(&rows);
}

/// A second in the kernel for every fdatasync and fsync, as on a disk that is busy with something else. Device mapper's delay
/// target needs a kernel module, and cgroups throttle bytes, not syncs; strace delays the one thread that asks.
#[test]
fn on_a_slow_disk_calls_are_answered_before_the_sync() {
    const DELAY: &str = "fdatasync,fsync:delay_enter=1000000";
    if !sipp_is_there() {
        return;
    }
    let Some(through) = tampering("fdatasync,fsync", DELAY, None) else { return };
    let mut switch = Switch::start_through(&rich(), |_| through);
    let (vendor, customer) = (Peer::vendor(&switch), Peer::customer(&switch));
    until("everything is synced", || {
        let counters = &switch.json(&["status"])["counters"];
        (counters["journal_written"] == counters["journal_synced"]).then_some(())
    });
    // Talking means that the 200 is here: if it had waited for the sync, the start of the call would be synced.
    let running = numbers(0, 10);
    running.iter().for_each(|number| customer.call(number));
    customer.all(Stage::Talking);
    let status = switch.json(&["status"]);
    let count = |name: &str| status["counters"][name].as_u64().unwrap();
    assert!(count("journal_written") >= count("journal_synced") + 5, "{status:#}");
    hang_up(&customer, &running);
    // SIPp takes their places.
    drop((vendor, customer));

    let _vendor = Sipp::vendor(&switch, 1, "vendor_answers", &[]);
    Customer { calls: 120, rate: 30, hold_ms: 500, ..Default::default() }.run(&switch);
    books::audit(&switch);
    // Killed while syncs are under way: what was written is there.
    let mut load =
        Customer { calls: 2000, rate: 30, hold_ms: 500, messages: true, ..Default::default() }.start(&switch);
    let settled = books::counter(&switch, "cdr_settled");
    until("calls end", || (books::counter(&switch, "cdr_settled") >= settled + 50).then_some(()));
    switch.kill();
    load.stop();
    switch.start_again_through(Vec::new());
    books::audit(&switch);
    let rows = switch.cdrs();
    for call in load.answered_calls() {
        assert_eq!(rows.iter().filter(|row| row["caller_call_id"] == call.as_str()).count(), 1, "{call}");
    }
    switch.assert_the_books_agree(&rows);
}

/// What the kernel could not write it has thrown away: the switch says so, ends its calls and stops; the next start bills what
/// is really there.
#[test]
fn a_sync_that_fails_stops_the_switch_and_the_next_start_bills_once() {
    // Later ones fail too: what matters is the first.
    let Some(through) = tampering("fdatasync", "fdatasync:error=EIO:when=40+", None) else { return };
    let mut switch = Switch::start_through(&rich(), |_| through);
    let (_vendor, customer) = (Peer::vendor(&switch), Peer::customer(&switch));
    let mut called = 0;
    until("a sync fails", || {
        let number = format!("1212555{called:04}");
        customer.call(&number);
        called += 1;
        until("an answer, or the end of the switch", || {
            let dialog = customer.dialog(&number).unwrap();
            (dialog.status >= 200 || switch.log().contains("could not be synced")).then_some(())
        });
        switch.log().contains("could not be synced").then_some(())
    });
    assert!(!switch.ended().success(), "a switch that lost its journal ended well\n{}", switch.log());
    let connected: Vec<String> =
        customer.dialogs().into_iter().filter(|(_, dialog)| dialog.status == 200).map(|(number, _)| number).collect();
    assert!(!connected.is_empty());
    switch.start_again_through(Vec::new());
    books::audit(&switch);
    let rows = switch.cdrs();
    for number in &connected {
        let records = rows.iter().filter(|row| row["callee_in"] == number.as_str() && row["connect_ms"].is_i64());
        assert_eq!(records.count(), 1, "{number}: {rows:#?}");
    }
    switch.assert_the_books_agree(&rows);
}
