//! An agent between the customer and the vendor: charged by its own group, shown, and part of the books.

use rust_decimal::Decimal;

use crate::common::{Customer, Plan, Sipp, Switch, decimal, int, sipp_is_there};

/// Everybody's number costs the agent 0.48 a minute, 0.008 a second.
fn switch() -> Switch {
    let site = |_| {
        "[account.reseller]\nkind = \"customer\"\nrate_group = \"agents\"\nopening = \"50.00\"\n\
         [account.master]\nkind = \"customer\"\nrate_group = \"agents\"\nopening = \"40.00\"\n"
            .to_owned()
    };
    let switch = Switch::start(&Plan { site, ..Plan::default() });
    let deck = "fee_prefix,rate_per_min,increment\n1212,0.48,1/1\n";
    std::fs::write(switch.folder.join("agents.csv"), deck).unwrap();
    switch.ok(&["rates", "import", "agents.csv", "--group", "agents", "--yes"]);
    switch.ok(&["set", "account", "reseller", "agent=master"]);
    switch.ok(&["set", "account", "acme", "agent=reseller"]);
    switch
}

#[test]
fn agents_are_charged_shown_and_in_the_books() {
    if !sipp_is_there() {
        return;
    }
    let switch = switch();
    let explained = switch.ok(&["explain", "--from", "acme", "--caller", "4930100", "--callee", "12125550100"]);
    assert!(explained.contains("reseller") && explained.contains("master"), "{explained}");

    let _vendor = Sipp::vendor(&switch, 1, "vendor", &[]);
    Customer { calls: 2, hold_ms: 1500, ..Default::default() }.start(&switch).assert_good(2);
    let rows = switch.cdrs_once(2);
    let mut paid = Decimal::ZERO;
    for row in &rows {
        let seconds = int(&row["billed_s"]);
        let agent_fee = Decimal::new(seconds * 8, 3);
        assert_eq!((&row["agent_account"], decimal(&row["agent_fee"])), (&"reseller".into(), agent_fee), "{row:#}");
        assert_eq!(decimal(&row["income_fee"]), decimal(&row["fee"]) - agent_fee, "{row:#}");
        assert_eq!(decimal(&row["margin"]), decimal(&row["fee"]) - decimal(&row["vendor_fee"]), "{row:#}");
        paid += agent_fee;
    }
    assert_eq!(switch.balance("reseller"), Decimal::from(50) - paid);
    assert_eq!(switch.balance("master"), Decimal::from(40) - paid);
    switch.assert_the_books_agree(&rows);

    // A locked agent stops the accounts below it, and says so.
    switch.ok(&["set", "account", "master", "locked=true"]);
    Customer { scenario: "customer_refused", status: "403", ..Default::default() }.run(&switch);
    let refused = switch.cdrs_once(3).pop().unwrap();
    assert_eq!((int(&refused["end_reason"]), int(&refused["end_direction"])), (-12, 2), "{refused:#}");
}
