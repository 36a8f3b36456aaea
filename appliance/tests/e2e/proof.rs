//! Finished calls again: explained and proved from their records.

use rust_decimal::Decimal;
use serde_json::Value;

use crate::common::{Customer, Plan, Sipp, Switch, decimal, int, sipp_is_there};

/// Calls of one test.
const CALLS: u32 = 3;

/// A switch with a few finished calls.
fn with_calls(plan: &Plan) -> (Switch, Vec<Value>) {
    let switch = Switch::start(plan);
    let mut vendor = Sipp::vendor(&switch, 1, "vendor", &[]);
    Customer { calls: CALLS, hold_ms: 1100, ..Default::default() }.run(&switch);
    vendor.kill();
    let rows = switch.cdrs_once(CALLS as usize);
    (switch, rows)
}

#[test]
fn a_call_is_explained_line_by_line_and_proved() {
    if !sipp_is_there() {
        return;
    }
    let (switch, rows) = with_calls(&Plan::default());
    let call = rows[0]["flow_no"].to_string();
    let text = switch.ok(&["explain", &call]);
    for wanted in [
        "customer acme, group retail: row 1 with prefix 1212 for 1212",
        "vendor carrier, group wholesale",
        "2 hold time: ",
        "7 rate: 0.6 per minute at 4 decimals is 0.6",
        "7 rate: 0.3 per minute at 4 decimals is 0.3",
        "11 tax: ",
        &format!("call:{call}:customer"),
        &format!("call:{call}:vendor"),
        "proved: record, proof and ledger agree in all ",
    ] {
        assert!(text.contains(wanted), "{wanted} is not in\n{text}");
    }
    let json = switch.json(&["explain", &call]);
    assert_eq!((&json["verdict"], &json["differences"]), (&"proved".into(), &Value::Array(Vec::new())));
    let legs: Vec<&str> = json["legs"].as_array().unwrap().iter().map(|leg| leg["leg"].as_str().unwrap()).collect();
    assert_eq!(legs, ["customer", "vendor"]);

    let all = switch.json(&["cdr", "prove"]);
    assert_eq!((int(&all["calls"]), int(&all["proved"]), int(&all["differ"])), (3, 3, 0), "{all:#}");
    let none = switch.json(&["cdr", "prove", "--account", "nobody"]);
    assert_eq!(int(&none["calls"]), 0);
    let unknown = switch.tandem(&["explain", "1"]);
    assert_eq!(unknown.code, 4, "{unknown:?}");
}

/// A sheet that costs twice what the customer's does, and has no rate for other numbers.
const DEARER: &str = "fee_prefix,area_name,rate_per_min,increment\n1212,New York,1.2,1/1\n";

/// Money of an account that moved by corrections.
fn corrections(switch: &Switch, account: &str) -> (usize, Decimal) {
    let rows = switch.json(&["ledger", "list", account, "--limit", "5000"]);
    let rows = rows.as_array().unwrap().iter().filter(|row| row["kind"] == "correction");
    rows.fold((0, Decimal::ZERO), |(count, sum), row| (count + 1, sum + decimal(&row["amount"])))
}

#[test]
fn past_calls_are_replayed_and_corrected_each_once_also_over_kills() {
    if !sipp_is_there() {
        return;
    }
    let (mut switch, rows) = with_calls(&Plan::default());
    std::fs::write(switch.folder.join("new.csv"), DEARER).unwrap();
    let paid: Decimal = rows.iter().map(|row| decimal(&row["fee"])).sum();
    let before = (switch.balance("acme"), switch.balance("carrier"));

    // A replay looks, and touches nothing.
    let replay = switch.json(&["replay", "--deck", "new.csv", "--group", "retail", "--html", "replay.html"]);
    assert_eq!((int(&replay["calls"]), int(&replay["changed"])), (3, 3), "{replay:#}");
    let account = &replay["accounts"][0];
    assert_eq!((decimal(&account["old"]), decimal(&account["new"])), (paid, paid * Decimal::TWO), "{replay:#}");
    assert_eq!(replay["destinations"][0]["name"], "New York");
    assert_eq!(decimal(&replay["new_margin"]) - decimal(&replay["old_margin"]), paid);
    let html = std::fs::read_to_string(switch.folder.join("replay.html")).unwrap();
    assert!(html.contains("<svg") && html.contains("New York"), "{html}");
    let text = switch.ok(&["replay", "--deck", "new.csv", "--group", "retail"]);
    assert!(text.contains("+++++"), "a bar\n{text}");
    assert_eq!((switch.balance("acme"), switch.balance("carrier")), before);
    // By its own stored rates every call comes to what it came to.
    assert_eq!(int(&switch.json(&["rerate", "--stored"])["changed"]), 0);

    // A preview changes nothing either, and says so with its exit code when it was to be applied.
    let rerate = ["rerate", "--deck", "new.csv", "--group", "retail", "--apply", "--run", "march", "-m", "ticket 7"];
    let preview = switch.tandem(&rerate);
    assert_eq!(preview.code, 5, "{preview:?}");
    assert_eq!(switch.balance("acme"), before.0);

    // Killed while it is applied, at whatever place, and applied again until it is done. The instant is what varies; nothing
    // is waited for.
    let yes = [&rerate[..], &["--yes"]].concat();
    for after_ms in [0, 20, 60] {
        std::thread::scope(|scope| {
            let applying = scope.spawn(|| switch.tandem(&yes));
            std::thread::sleep(std::time::Duration::from_millis(after_ms));
            switch.signal(rustix::process::Signal::KILL);
            let _ = applying.join();
        });
        let _ = switch.ended();
        switch.start_again();
    }
    switch.ok(&yes);
    let done = switch.json(&yes);
    assert_eq!((int(&done["calls"]), int(&done["changed"])), (3, 0), "nothing is left to correct: {done:#}");
    assert_eq!(corrections(&switch, "acme"), (3, -paid), "each call once");
    assert_eq!(corrections(&switch, "carrier"), (0, Decimal::ZERO));
    assert_eq!((switch.balance("acme"), switch.balance("carrier")), (before.0 - paid, before.1));

    // The record is as it was; the correction stands beside it and proves itself.
    assert_eq!(switch.cdrs(), rows);
    let call = rows[0]["flow_no"].to_string();
    let explained = switch.json(&["explain", &call]);
    assert_eq!((&explained["verdict"], &explained["corrections"][0]["run"]), (&"proved".into(), &"march".into()));
    for question in [&["explain", &call][..], &["cdr", "show", &call]] {
        assert!(switch.ok(question).contains("correction 1 of run march by "), "{question:?}");
    }
    assert_eq!(int(&switch.json(&["cdr", "prove"])["proved"]), 3);
    switch.assert_the_books_agree(&rows);

    // Back again by the rates that are in force: the group's present version.
    let back = switch.json(&["rerate", "--group", "retail", "--apply", "--yes"]);
    assert_eq!(int(&back["changed"]), 3);
    assert_eq!(switch.balance("acme"), before.0);
    assert_eq!(corrections(&switch, "acme"), (6, Decimal::ZERO));
    assert_eq!(int(&switch.json(&["cdr", "prove"])["proved"]), 3);

    // What cannot be read is refused whole.
    std::fs::write(switch.folder.join("bad.csv"), "fee_prefix,rate_per_min\n12x,0.1\n").unwrap();
    let bad = switch.tandem(&["replay", "--deck", "bad.csv"]);
    assert!(bad.code == 2 && bad.err.contains("line 2"), "{bad:?}");
    assert_eq!(switch.tandem(&["rerate", "--group", "nobody"]).code, 4);
}
