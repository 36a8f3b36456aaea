//! Phone cards on the running switch: made in a batch, called on by a number that is bound to one, paid out, locked.

use rust_decimal::Decimal;

use crate::common::{Customer, Plan, Sipp, Switch, decimal, int, sipp_is_there};

/// With it the caller is 4930100.
const CALLEE: Option<&str> = Some("12120000000");

#[test]
fn a_bound_number_calls_on_a_card_until_its_money_goes_to_an_account() {
    if !sipp_is_there() {
        return;
    }
    let mut switch = Switch::start(&Plan::default());
    let create =
        ["card", "create", "spring", "--count", "2", "--value", "5", "--rate-group", "retail", "--prefix", "77"];
    let create = [&create[..], &["--valid-days", "90"]].concat();
    let preview = switch.tandem(&create);
    assert!(preview.code == 5 && preview.err.contains("2 cards of 5.0000, 10.0000 in all"), "{preview:?}");
    assert_eq!(switch.json(&["card", "list"]), serde_json::json!([]));
    let made = switch.json(&[&create[..], &["--yes"]].concat());
    let pins: Vec<&str> = made["pins"].as_array().unwrap().iter().map(|pin| pin.as_str().unwrap()).collect();
    assert!(pins.len() == 2 && pins.iter().all(|pin| pin.len() == 14 && pin.starts_with("77")), "{pins:?}");
    switch.ok(&["add", "bound_number", "4930100", &format!("account={}", pins[0])]);
    switch.ok(&["set", "mapping", "acme", "bound_number_billing=true"]);

    let _vendor = Sipp::vendor(&switch, 1, "vendor", &[]);
    Customer { hold_ms: 1100, callee: CALLEE, ..Default::default() }.run(&switch);
    let rows = switch.cdrs_once(1);
    assert_eq!((rows[0]["account"].as_str(), int(&rows[0]["billing_mode"])), (Some(pins[0]), 3), "{:#}", rows[0]);
    assert_eq!(int(&rows[0]["caller_type"]), 3);
    let fee = decimal(&rows[0]["fee"]);
    assert!(fee > Decimal::ZERO);
    switch.kill();
    switch.start_again();
    let cards = switch.json(&["card", "list", "--batch", "spring", "--sort", "balance"]);
    let used = &cards[0];
    assert_eq!((used["pin"].as_str(), used["state"].as_str()), (Some(pins[0]), Some("used")), "{cards:#}");
    assert_eq!(int(&used["valid_to_ms"]), int(&used["first_use_ms"]) + 90 * 86_400_000);
    assert_eq!((used["bound_numbers"].as_str(), cards[1]["state"].as_str()), (Some("4930100"), Some("new")));

    // Locked: neither calls nor money.
    switch.ok(&["card", "lock", "--batch", "spring", "--yes"]);
    let mut customer = Customer { scenario: "customer_refused", status: "403", callee: CALLEE, ..Default::default() };
    customer.run(&switch);
    let locked = switch.tandem(&["card", "recharge", pins[0], "acme", "--yes"]);
    assert!(locked.code == 1 && locked.err.contains("is locked"), "{locked:?}");
    switch.ok(&["card", "lock", "--batch", "spring", "--unlock", "--yes"]);
    let recharge = ["card", "recharge", pins[0], "acme", "--key", "till", "--yes"];
    switch.ok(&recharge);
    assert!(switch.ok(&recharge).contains("was booked before"));
    assert_eq!(switch.balance("acme"), Decimal::from(105) - fee);
    assert_eq!(switch.balance(pins[0]), Decimal::ZERO);
    customer = Customer { scenario: "customer_refused", status: "402", callee: CALLEE, ..Default::default() };
    customer.run(&switch);
    let rows = switch.cdrs_once(3);
    assert_eq!(rows.iter().map(|row| int(&row["end_reason"])).collect::<Vec<_>>()[1..], [-12, -10], "{rows:#?}");
    switch.assert_the_books_agree(&rows);
    let list = |arguments: &[&str]| switch.json(&[&["card", "list"], arguments].concat()).as_array().map(Vec::len);
    assert_eq!((list(&["--state", "no_money"]), list(&["--prefix", "77", "--limit", "1"])), (Some(1), Some(1)));
    // PINs are money: they are not in the audit log.
    let audit = switch.ok(&["audit", "-o", "json"]);
    let of_cards = audit.lines().filter(|line| line.contains("\"card ")).collect::<Vec<_>>();
    assert!(of_cards.len() >= 4 && of_cards.iter().all(|line| !line.contains(pins[1])), "{audit}");
}

#[test]
fn what_is_wrong_with_cards_is_named() {
    let switch = Switch::start(&Plan::default());
    let refused = |arguments: &[&str], code: i32, word: &str| {
        let done = switch.tandem(arguments);
        assert!(done.code == code && done.err.contains(word), "tandem {arguments:?}: {done:?}");
    };
    let create =
        |more: &[&'static str]| [&["card", "create", "b", "--count", "1", "--value", "5", "--yes"], more].concat();
    refused(&["card", "create", "b", "--count", "0", "--value", "5", "--yes"], 2, "1 to 1000");
    refused(&["card", "create", "b", "--count", "1", "--value", "0", "--yes"], 2, "above 0");
    refused(&create(&["--digits", "4"]), 2, "8 to 20");
    refused(&create(&["--prefix", "7x"]), 2, "digits");
    refused(&create(&["--agent", "nobody"]), 2, "nobody");
    refused(&["card", "lock", "--batch", "none", "--yes"], 4, "none");
    refused(&["card", "list", "--state", "fresh"], 2, "fresh");
    refused(&["add", "account", "7a", "kind=card"], 2, "PIN");
    refused(&["set", "account", "acme", "valid_days=3"], 2, "fields of a card");
}
