//! Questions about finished calls: rules for who may ask what, calls of other systems, reports of a day.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use serde_json::Value;

use crate::books;
use crate::common::{Plan, Switch, decimal, until};
use crate::peer::{Peer, Stage};

/// Today as the switch has it, `yyyyMMdd`.
fn today(switch: &Switch) -> String {
    let now_ms = switch.json(&["status"])["now_ms"].as_i64().unwrap();
    tandem_store::day_of(now_ms, 0).to_string()
}

#[test]
fn calls_of_other_systems_are_charged_once_and_reports_are_their_sums() {
    let mut switch = Switch::start(&Plan { opening: "1.00", ..Plan::default() });
    let (vendor, customer) = (Peer::vendor(&switch), Peer::customer(&switch));
    customer.connect("12125550001");
    customer.hang_up("12125550001");
    customer.refused("19995550001");
    customer.all(Stage::Ended);
    vendor.all(Stage::Ended);
    books::settle(&switch);
    let before = switch.balance("acme");
    let today = today(&switch);
    let start = format!("{today}000000");

    // 0.01 a second by the second, whatever the balance is.
    let one = [
        "cdr",
        "insert",
        "--account",
        "acme",
        "--caller",
        "4930",
        "--callee",
        "12125559",
        "--start",
        &start,
        "--billing-time",
        "150",
    ];
    let preview = switch.json(&[&one[..], &["--dry-run"]].concat());
    assert_eq!(
        (&preview[0]["outcome"], &preview[0]["fee"]),
        (&Value::from("preview"), &Value::from("1.5")),
        "{preview:#}"
    );
    assert_eq!(switch.balance("acme"), before);
    let stored = switch.json(&one);
    assert_eq!((&stored[0]["outcome"], &stored[0]["fee"]), (&Value::from("stored"), &Value::from("1.5")), "{stored:#}");
    let flow_no = stored[0]["call"].to_string();
    let charge: rust_decimal::Decimal = "1.5".parse().unwrap();
    assert_eq!(switch.balance("acme"), before - charge);
    // The same number again, with other values, in this life and in the next.
    let again = [&one[..], &["--flow-no", "4711"]].concat();
    assert_eq!(switch.json(&again)[0]["outcome"], "stored");
    for _ in 0..2 {
        let known = switch.json(&again);
        assert_eq!(known[0]["outcome"], "known", "{known:#}");
        assert_eq!(switch.balance("acme"), before - charge - charge);
        switch.kill();
        switch.start_again();
    }
    let cdr = switch.json(&["cdr", "show", &flow_no])["cdr"].clone();
    assert_eq!(
        (&cdr["billing_type"], &cdr["hold_s"], &cdr["callee_area"]),
        (&Value::from(2), &Value::from(150), &Value::from("1212")),
        "{cdr:#}"
    );

    // A file: every mistake is named and nothing of it is booked.
    let bad = format!(
        "account,caller,callee,start,billing_time,flow_no\nacme,1,12125558,{start},60,9\nacme,1,999,{start},60,\nacmee,1,12125558,{start},60,9\n"
    );
    fs::write(switch.folder.join("bad.csv"), bad).unwrap();
    let refused = switch.tandem(&["cdr", "insert", "bad.csv"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    for words in ["row 2: callee is 999", "row 3", "acmee"] {
        assert!(refused.err.contains(words), "{words} in {refused:?}");
    }
    assert_eq!(switch.balance("acme"), before - charge - charge);
    let future = switch.tandem(&[&one[..], &["--flow-no", "9007199254740991"]].concat());
    assert!(future.code == 2 && future.err.contains("flow_no"), "{future:?}");
    let good = format!(
        "account,caller,callee,start,billing_time,flow_no\nacme,1,12125558,{start},60,9\nacme,1,12125557,{start},30,4711\n"
    );
    fs::write(switch.folder.join("good.csv"), good).unwrap();
    let rows = switch.json(&["cdr", "insert", "good.csv"]);
    assert_eq!((&rows[0]["outcome"], &rows[1]["outcome"]), (&Value::from("stored"), &Value::from("known")), "{rows:#}");
    books::audit(&switch);
    let audit = switch.ok(&["audit"]);
    assert!(audit.contains("cdr insert (2 rows)"), "{audit}");

    // Reports: the sums of the records, for each division.
    let cdrs = switch.cdrs();
    assert_eq!(cdrs.len(), 5);
    for by in ["total", "account", "gateway", "routing", "vendor", "area", "end-reason", "hour", "level", "agent"] {
        let rows = switch.json(&["report", "day", &today, "--by", by]);
        let rows = rows.as_array().unwrap();
        let sum = |name: &str| -> rust_decimal::Decimal { rows.iter().map(|row| decimal(&row[name])).sum() };
        let of_cdrs = |name: &str| -> rust_decimal::Decimal { cdrs.iter().map(|row| decimal(&row[name])).sum() };
        assert_eq!(rows.iter().map(|row| row["calls"].as_i64().unwrap()).sum::<i64>(), 5, "{by}");
        assert_eq!(
            (sum("fee"), sum("cost"), sum("margin")),
            (of_cdrs("fee"), of_cdrs("vendor_fee"), of_cdrs("margin")),
            "{by}"
        );
    }
    let checked = switch.ok(&["report", "check", "--day", &today]);
    assert!(checked.contains("reports, CDRs and ledger agree"), "{checked}");
    switch.ok(&["report", "--day", &today, "--html", "day.html"]);
    let html = fs::read_to_string(switch.folder.join("day.html")).unwrap();
    assert!(html.contains("Margin by account, USD") && html.contains("acme") && !html.contains("http"), "{html}");
    let lines = switch.ok(&["cdr", "list", "-o", "jsonl", "--sort", "fee", "--min-fee", "0.6"]);
    let fees: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["fee"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(fees, ["1.5", "1.5", "0.6"]);

    // Retention: days before the last thousand have no calls; nothing is dropped, and the parameter is read.
    switch.ok(&["param", "set", "TANDEM_CDR_RETENTION_DAYS", "1000"]);
    assert_eq!(switch.cdrs().len(), 5);
    let old = format!("{}0101000000", today[..4].parse::<u32>().unwrap() - 2);
    let old_day = old[..8].to_owned();
    switch.ok(&[
        "cdr",
        "insert",
        "--account",
        "acme",
        "--caller",
        "1",
        "--callee",
        "12125559",
        "--start",
        &old,
        "--billing-time",
        "10",
    ]);
    assert_eq!(switch.cdrs().len(), 6);
    switch.ok(&["param", "set", "TANDEM_CDR_RETENTION_DAYS", "30"]);
    until("the old day is dropped", || (switch.cdrs().len() == 5).then_some(()));
    assert_eq!(switch.json(&["report", "day", &old_day, "--by", "total"])[0]["fee"], "0.1000", "its reports stay");
    let checked = switch.ok(&["report", "check", "--day", &old_day]);
    assert!(checked.contains("dropped"), "{checked}");
    books::audit(&switch);
}

#[test]
fn who_is_no_administrator_may_not_ask_for_everything() {
    if !rustix::process::getuid().is_root() {
        eprintln!("skipped: another user needs root");
        return;
    }
    let switch = Switch::start(&Plan::default());
    let today = today(&switch);
    for day in ["20240101", "20240110"] {
        let start = format!("{day}000000");
        switch.ok(&[
            "cdr",
            "insert",
            "--account",
            "acme",
            "--callee",
            "12125559",
            "--start",
            &start,
            "--billing-time",
            "1",
        ]);
    }
    // Nobody, in the group that may use the socket.
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(switch.program());
        command.args(arguments).env("TANDEM_SOCKET", switch.folder.join("control.sock")).uid(65_534).gid(0);
        let done = command.output().unwrap();
        (
            done.status.code(),
            String::from_utf8_lossy(&done.stderr).into_owned() + &String::from_utf8_lossy(&done.stdout),
        )
    };
    let (code, said) = ask(&["status"]);
    if code != Some(0) {
        eprintln!("skipped: another user cannot run the command here: {said}");
        return;
    }
    assert_eq!(ask(&["cdr", "list"]).0, Some(0), "ten days");
    switch.ok(&["param", "set", "SERVER_QUERY_CDR_MAX_DAY_INTERVAL", "9"]);
    for question in [&["cdr", "list"][..], &["cdr", "totals"], &["cdr", "list", "--from", "20240101"]] {
        let (code, said) = ask(question);
        assert!(code == Some(2) && said.contains("SERVER_QUERY_CDR_MAX_DAY_INTERVAL"), "{question:?}: {said}");
        switch.ok(question);
    }
    assert_eq!(ask(&["cdr", "list", "--from", "20240102"]).0, Some(0));
    let hours: Vec<String> = (0..24).map(|hour| hour.to_string()).collect();
    switch.ok(&["param", "set", "SERVER_QUERY_CDR_DENY_TIME", &hours.join(",")]);
    for question in [&["cdr", "list", "--from", "20240102"][..], &["cdr", "show", "1"], &["report", "day", &today]] {
        let (code, said) = ask(question);
        assert!(code == Some(1) && said.contains("SERVER_QUERY_CDR_DENY_TIME"), "{question:?}: {said}");
    }
    switch.ok(&["cdr", "list"]);
}
