//! Packages on the running switch: a gift pays for calls, and rent and minimum stand in the ledger once, whatever is killed
//! in between.

use std::collections::BTreeSet;

use rust_decimal::Decimal;
use serde_json::Value;

use crate::common::{Customer, Plan, Sipp, Switch, decimal, int, sipp_is_there, until};

const PACKAGES: &str = "[package.gold]\nrent_fee = \"10\"\ngifts = [\"1212 3600/1\"]\n\
    [package.trial]\nrent_fee = \"1\"\nrent_type = \"once\"\nrent_period = 3\nmin_consumption = \"5\"\n";

fn order(switch: &Switch, number: &str) -> Value {
    let rows = switch.json(&["package", "orders"]);
    rows.as_array().unwrap().iter().find(|row| row["order"] == number).cloned().unwrap_or(Value::Null)
}

/// Rows of packages, by key and amount; the same key twice fails.
fn taken(switch: &Switch) -> Vec<(String, Decimal)> {
    let rows = switch.json(&["ledger", "list", "acme", "--oldest-first"]);
    let of_package = |row: &&Value| ["package_rent", "package_minimum"].contains(&row["kind"].as_str().unwrap());
    let rows: Vec<_> = rows.as_array().unwrap().iter().filter(of_package).cloned().collect();
    let keys: BTreeSet<&str> = rows.iter().map(|row| row["key"].as_str().unwrap()).collect();
    assert_eq!(keys.len(), rows.len(), "{rows:#?}");
    rows.iter().map(|row| (row["key"].as_str().unwrap().to_owned(), decimal(&row["amount"]))).collect()
}

fn row(key: &str, amount: i64) -> (String, Decimal) {
    (key.to_owned(), Decimal::from(amount))
}

#[test]
fn a_gift_pays_for_calls_and_rent_is_taken_once_whatever_is_killed() {
    if !sipp_is_there() {
        return;
    }
    let site = |_| PACKAGES.to_owned();
    let mut switch = Switch::start(&Plan { site, opening: "20", adopt_within_s: 0, ..Plan::default() });
    // A preview takes nothing and makes nothing.
    let preview = switch.tandem(&["package", "order", "acme", "gold"]);
    assert!(preview.code == 5 && preview.out.contains("10.0000") && preview.err.contains("--yes"), "{preview:?}");
    assert_eq!((order(&switch, "1"), taken(&switch)), (Value::Null, Vec::new()));
    let by_key = ["package", "order", "acme", "gold", "--key", "first", "--yes"];
    assert!(switch.ok(&by_key).contains("order 1 of acme: active, ordered"));
    switch.ok(&["package", "order", "acme", "trial", "--yes"]);
    assert_eq!((&order(&switch, "1")["state"], &order(&switch, "2")["state"]), (&"active".into(), &"active".into()));
    switch.kill();
    switch.start_again();
    assert_eq!(taken(&switch)[..2], [row("rent:1:0", -10), row("rent:2:0", -1)]);
    // Whose answer was lost asks again; the key is that of one order for ever.
    assert!(switch.ok(&by_key).contains("order 1 of acme: active, ordered before by the same key"));
    let other = switch.tandem(&["package", "order", "acme", "trial", "--key", "first", "--yes"]);
    assert!(other.code == 1 && other.err.contains("order 1 of gold for account acme was made by it"), "{other:?}");
    assert_eq!((order(&switch, "3"), taken(&switch).len()), (Value::Null, 2));

    let mut vendor = Sipp::vendor(&switch, 1, "vendor", &[]);
    Customer { hold_ms: 1100, ..Default::default() }.run(&switch);
    let cdr = switch.cdrs_once(1).remove(0);
    assert_eq!((decimal(&cdr["fee"]), int(&cdr["billed_s"])), (Decimal::ZERO, 0), "{cdr:#}");
    let used_s = int(&cdr["suite_s"]);
    assert!(used_s >= 1, "{cdr:#}");
    let left_s = |switch: &Switch| int(&order(switch, "1")["gift_left_s"]);
    assert_eq!(left_s(&switch), 3600 - used_s);
    // The proof of the call knows its gift.
    let proof = switch.json(&["explain", &cdr["flow_no"].to_string()]);
    assert_eq!(proof["verdict"], "proved", "{proof:#}");

    // Killed while a call is up: it is charged to its last heartbeat, which the gift pays as well.
    let mut customer = Customer { hold_ms: 60_000, ..Default::default() }.start(&switch);
    switch.call_in("talking");
    switch.written_down();
    switch.kill();
    customer.kill();
    vendor.kill();
    switch.start_again();
    let rows = switch.cdrs_once(2);
    assert_eq!((decimal(&rows[1]["fee"]), &rows[1]["flags"]), (Decimal::ZERO, &"recovered".into()), "{:#}", rows[1]);
    assert_eq!(left_s(&switch), 3600 - used_s - int(&rows[1]["suite_s"]));

    // The trial is over at some time: what is missing to its minimum is taken, once.
    until("the end of the trial", || (order(&switch, "2")["state"] == "expired").then_some(()));
    for _ in 0..2 {
        switch.kill();
        switch.start_again();
    }
    assert_eq!(taken(&switch), [row("rent:1:0", -10), row("rent:2:0", -1), row("min:2:0", -5)]);
    assert_eq!(switch.balance("acme"), Decimal::from(4));
    switch.assert_the_books_agree(&rows);

    let kept = switch.tandem(&["delete", "package", "gold", "--yes"]);
    assert!(kept.code == 1 && kept.err.contains("order 1 of account acme"), "{kept:?}");
    switch.ok(&["package", "cancel", "1", "--now", "--yes"]);
    switch.ok(&["delete", "package", "gold", "--yes"]);
    assert_eq!(order(&switch, "1")["state"], "cancelled");
    let audited = switch.ok(&["audit"]);
    assert!(audited.contains("package order acme gold") && audited.contains("package cancel 1 --now"), "{audited}");
}

#[test]
fn what_is_wrong_is_named_and_lists_filter_sort_and_page() {
    let site = |_| PACKAGES.to_owned();
    let switch = Switch::start(&Plan { site, opening: "20", ..Plan::default() });
    let refused = |arguments: &[&str], code: i32, word: &str| {
        let done = switch.tandem(arguments);
        assert!(done.code == code && done.err.contains(word), "tandem {arguments:?}: {done:?}");
    };
    refused(&["package", "order", "acme", "silver", "--yes"], 2, "package is \"silver\"; allowed is gold, trial");
    refused(&["package", "order", "carrier", "gold", "--yes"], 2, "kind customer");
    refused(&["package", "order", "acme", "gold", "--from", "2020-01-01", "--yes"], 2, "today or later");
    refused(&["package", "order", "acme", "gold", "--rent-percent", "101", "--yes"], 2, "0 to 100");
    refused(&["package", "order", "acme", "gold", "--no-money", "perhaps", "--yes"], 2, "wait");
    refused(&["package", "cancel", "7", "--yes"], 4, "7");
    refused(&["package", "orders", "--state", "activ"], 2, "active");
    refused(&["package", "orders", "--sort", "size"], 2, "size");
    refused(&["set", "package", "gold", "gifts=1212 25:00-26:00 60/1"], 2, "package.gold.gifts[0]");
    refused(&["set", "package", "gold", "rent_fee=-1"], 2, "rent_fee");
    refused(&["set", "package", "gold", "rent_type=week"], 2, "month, day, year, once");
    refused(&["add", "phone", "4930", "account=acme", "monthly_rent=x"], 2, "phone.4930.monthly_rent");

    switch.ok(&["add", "phone", "4930", "account=acme", "monthly_rent=2", "monthly_min=5"]);
    switch.ok(&["package", "order", "acme", "gold", "--phone", "4930", "--priority", "3", "--yes"]);
    // No money is left for another: it waits, and a payment wakes it.
    switch.ok(&["package", "order", "acme", "gold", "--rent-percent", "50", "--yes"]);
    switch.ok(&["package", "order", "acme", "gold", "--no-money", "delete", "--yes"]);
    switch.ok(&["package", "order", "acme", "gold", "--yes"]);
    let states = |arguments: &[&str]| {
        let rows = switch.json(&[&["package", "orders"], arguments].concat());
        let state = |row: &Value| format!("{} {}", row["order"].as_str().unwrap(), row["state"].as_str().unwrap());
        rows.as_array().unwrap().iter().map(state).collect::<Vec<_>>()
    };
    assert_eq!(states(&[]), ["1 active", "2 active", "3 no_money", "4 waiting", "phone:4930 future"]);
    assert_eq!(states(&["--state", "open", "--sort", "-taken", "--limit", "1"]), ["1 active"]);
    assert_eq!(states(&["--phone", "4930", "--package", "gold"]), ["1 active"]);
    switch.ok(&["account", "pay", "acme", "5"]);
    until("the order that waits", || (states(&["--state", "waiting"]).is_empty()).then_some(()));
    assert_eq!(switch.balance("acme"), Decimal::ZERO);
    let csv = switch.ok(&["package", "orders", "-o", "csv"]);
    assert!(csv.starts_with("order,account,phone,package,state,") && csv.lines().count() == 6, "{csv}");
    let packages = switch.json(&["package", "list", "go"]);
    assert_eq!((&packages[0]["name"], &packages[0]["orders"]), (&"gold".into(), &3.into()), "{packages:#}");
    let preview = switch.json(&["package", "change", "1", "--last", "--dry-run"]);
    assert_eq!((&preview["committed"], &preview["state"]), (&false.into(), &"active".into()), "{preview:#}");
    switch.ok(&["package", "change", "1", "--last", "--yes"]);
    assert_eq!(order(&switch, "1")["priority"], Value::Null);
}
