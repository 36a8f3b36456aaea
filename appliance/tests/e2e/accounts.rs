//! Money without calls on the running switch: payments that survive a kill as duplicates, reversals, agents, states.

use serde_json::Value;

use crate::common::{Customer, Plan, Sipp, Switch, decimal, int, sipp_is_there};

#[track_caller]
fn refused(switch: &Switch, arguments: &[&str], code: i32, word: &str) {
    let done = switch.tandem(arguments);
    assert!(done.code == code && done.err.contains(word), "tandem {arguments:?}: {done:?}");
}

fn kinds(switch: &Switch, arguments: &[&str]) -> Vec<String> {
    let rows = switch.json(&[&["ledger", "list"], arguments].concat());
    rows.as_array().unwrap().iter().map(|row| row["kind"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn payments_are_booked_once_whatever_happens_and_taken_back_by_rows() {
    let site = |_| "[account.sub]\nkind = \"customer\"\nagent = \"acme\"\n".to_owned();
    let mut switch = Switch::start(&Plan { site, ..Plan::default() });
    switch.ok(&["account", "pay", "acme", "7.50", "--key", "cheque", "--method", "cash", "--memo", "till 3"]);
    switch.ok(&["account", "pay", "sub", "20", "--from", "acme", "--key", "share"]);
    switch.kill();
    switch.start_again();
    // The same again after a crash: the keys of the life before are known.
    assert!(switch.ok(&["account", "pay", "acme", "7.50", "--key", "cheque"]).contains("was booked before"));
    assert!(
        switch.ok(&["account", "pay", "sub", "20", "--from", "acme", "--key", "share"]).contains("was booked before")
    );
    refused(&switch, &["account", "pay", "acme", "8", "--key", "cheque"], 1, "already booked");
    assert_eq!((switch.balance("acme"), switch.balance("sub")), (decimal(&"87.5".into()), decimal(&"20".into())));
    refused(&switch, &["account", "pay", "sub", "100", "--from", "acme"], 1, "87.5");
    refused(&switch, &["account", "pay", "acme", "1", "--from", "sub"], 1, "no agent");

    refused(&switch, &["account", "reverse", "pay:share"], 5, "--yes");
    switch.ok(&["account", "reverse", "pay:share", "--yes", "--memo", "wrong account"]);
    switch.ok(&["account", "reverse", "pay:share", "--yes"]);
    assert_eq!((switch.balance("acme"), switch.balance("sub")), (decimal(&"107.5".into()), decimal(&"0".into())));
    refused(&switch, &["account", "reverse", "reverse:pay:share", "--yes"], 1, "not taken back");
    refused(&switch, &["account", "reverse", "pay:nothing", "--yes"], 4, "pay:nothing");
    switch.ok(&["account", "pay", "acme", "-7.5"]);
    switch.ok(&["account", "zero", "acme", "--yes"]);
    refused(&switch, &["account", "zero", "acme", "--yes"], 1, "0 already");

    assert_eq!(
        kinds(&switch, &["acme", "--oldest-first"]),
        ["opening", "payment", "transfer", "reversal", "deduction", "make_zero"]
    );
    assert_eq!(kinds(&switch, &["--kind", "transfer"]), ["transfer"]);
    assert_eq!(kinds(&switch, &["acme", "--min-amount", "50"]), ["make_zero", "opening"]);
    assert_eq!(kinds(&switch, &["acme", "--min-amount", "50", "--limit", "1", "--offset", "1"]), ["opening"]);
    assert_eq!(kinds(&switch, &["acme", "--to", "2020-01-01"]), Vec::<String>::new());
    let cheque = switch.json(&["ledger", "list", "acme", "--kind", "payment"])[0].clone();
    // With the digits of fees, four here.
    assert_eq!((&cheque["memo"], &cheque["amount"]), (&"[cash] till 3".into(), &"7.5000".into()), "{cheque:#}");
    refused(&switch, &["ledger", "list", "--kind", "paiment"], 2, "payment");
    switch.assert_the_books_agree(&[]);
}

#[test]
fn a_cancelled_account_stays_and_its_name_is_not_given_again() {
    let switch = Switch::start(&Plan::default());
    switch.ok(&["set", "param", "SERVER_ACCOUNT_DEFAULT_VALID_DAYS=30"]);
    switch.ok(&["add", "account", "old", "kind=customer", "opening=3"]);
    let dated = switch.json(&["account", "show", "old"])["account"]["valid_to_ms"].clone();
    let now_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    assert!((now_ms + 29 * 86_400_000..now_ms + 31 * 86_400_000).contains(&int(&dated)), "{dated}");
    switch.ok(&["account", "credit", "old", "2.5", "-m", "trusted"]);
    switch.ok(&["set", "account", "old", "cancelled=true"]);
    let rows = switch.json(&["account", "list", "--state", "canceled"]);
    assert_eq!((&rows[0]["name"], &rows[0]["overdraft_limit"]), (&"old".into(), &"2.5000".into()), "{rows:#}");
    refused(&switch, &["set", "account", "old", "cancelled=false"], 2, "for good");
    refused(&switch, &["delete", "account", "old", "--yes"], 2, "for good");
    refused(&switch, &["add", "account", "old", "kind=customer"], 2, "old");
    assert_eq!(kinds(&switch, &["old"]), ["opening"]);
    let sorted = switch.json(&["account", "list", "--kind", "customer", "--sort", "-balance", "--limit", "1"]);
    assert_eq!(
        sorted.as_array().map(|rows| rows.iter().map(|row| &row["name"]).collect::<Vec<_>>()),
        Some(vec![&Value::from("acme")])
    );
}

#[test]
fn what_is_spent_is_known_after_a_kill() {
    if !sipp_is_there() {
        return;
    }
    let mut switch = Switch::start(&Plan::default());
    switch.ok(&["add", "phone", "4930100", "account=acme"]);
    let _vendor = Sipp::vendor(&switch, 1, "vendor", &[]);
    Customer { hold_ms: 1100, ..Default::default() }.run(&switch);
    let fee = decimal(&switch.cdrs_once(1)[0]["fee"]);
    let spent = |switch: &Switch| {
        let row = switch.json(&["account", "show", "acme"])["account"].clone();
        (decimal(&row["spent_today"]), decimal(&row["spent_month"]))
    };
    assert_eq!(spent(&switch), (fee, fee));
    switch.ok(&["account", "pay", "4930100", "5", "--of", "phone"]);
    refused(&switch, &["account", "pay", "493010", "5", "--of", "phone"], 4, "did you mean 4930100?");
    refused(&switch, &["account", "pay", "acme", "5", "--of", "gateway"], 2, "mapping");
    refused(&switch, &["account", "pay", "nowhere", "5", "--of", "mapping"], 4, "no mapping is named");
    switch.kill();
    switch.start_again();
    assert_eq!(spent(&switch), (fee, fee));
    // Reached: nothing more this month.
    switch.ok(&["set", "account", "acme", "monthly_max=0.0001"]);
    Customer { scenario: "customer_refused", status: "403", ..Default::default() }.run(&switch);
    assert_eq!(int(&switch.cdrs_once(2)[1]["end_reason"]), -49);
}
