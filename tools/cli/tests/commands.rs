//! Every command through the real binary against a switch that answers from a closure.

mod common;

use std::io::Read;
use std::process::Stdio;

use common::{Answer, Switch, finish, reply, run, tandem};
use serde_json::{Value, json};
use tandem_control::request::{CallState, GatewayKind, ImportMode};
use tandem_control::{Call, CallId, ErrorCode, ErrorObject, METHODS, reply as r};

/// A switch that gives every question the same answer.
fn always(answer: impl serde::Serialize) -> Switch {
    let value = serde_json::to_value(answer).unwrap();
    Switch::start(move |_| Ok(value.clone()))
}

fn refusing(error: ErrorObject) -> Switch {
    Switch::start(move |_| Err(error.clone()))
}

fn cdr(flow_no: u64) -> r::CdrRow {
    let row = json!({
        "flow_no": flow_no, "caller_billed": "441", "callee_billed": "1212", "caller_gateway": "in",
        "callee_gateway": "out", "connect_ms": null, "end_ms": 1_795_305_600_000_i64, "hold_s": 21, "billed_s": 60,
        "fee": "0.01", "vendor_fee": "0.005", "margin": "0.005", "end_reason": 200, "end_reason_text": "normal",
        "attempts": [{"gateway": "out", "status": 200, "reason": "OK", "next": ""}],
    });
    row.as_object().unwrap().clone()
}

#[test]
fn status_in_three_forms() {
    let switch = always(r::Status { version: "0.1.0".to_owned(), attempts: 7, calls_talking: 3, ..Default::default() });
    let text = switch.run(&["status"]).fine().out;
    assert!(text.contains("tandemd 0.1.0") && text.contains("3 talking"), "{text}");
    assert_eq!(switch.run(&["status", "-o", "json"]).fine().json()["attempts"], 7);
    let csv = switch.run(&["status", "-o", "csv"]).fine().out;
    assert!(csv.starts_with("field,value\n") && csv.contains("\nattempts,7\n"), "{csv}");
}

#[test]
fn calls_list_asks_for_what_was_given_and_shows_rows() {
    let row = r::CallRow {
        call: CallId(42),
        state: CallState::Talking,
        duration_ms: 65_000,
        caller: "\u{1b}[2J".to_owned(),
        callee: "1212".to_owned(),
        ..Default::default()
    };
    let switch = always(r::CallsList { total: 5, rows: vec![row] });
    let ran = switch.run(&["calls", "list", "--gateway", "in", "--state", "talking", "--limit", "1", "--offset", "2"]);
    assert_eq!(ran.code, 0);
    let mut lines = ran.out.lines();
    assert_eq!(lines.next().unwrap().split_whitespace().collect::<Vec<_>>()[..3], ["call", "state", "time"]);
    assert!(lines.next().unwrap().starts_with("  42  talking  1:05"), "{}", ran.out);
    assert!(!ran.out.contains('\u{1b}'), "a number from outside must not drive the terminal");
    assert!(ran.err.contains("1 of 5 rows"), "{ran:?}");
    let [Call::CallsList(asked)] = &switch.asked()[..] else { panic!("{:?}", switch.asked()) };
    assert_eq!(asked.gateway.as_deref(), Some("in"));
    assert_eq!((asked.state, asked.limit.rows(), asked.offset), (Some(CallState::Talking), 1, 2));

    let json = switch.run(&["calls", "list", "-o", "json"]).json();
    assert_eq!(json.as_array().unwrap()[0]["call"], 42);
    let csv = switch.run(&["calls", "list", "-o", "csv"]).out;
    assert!(csv.starts_with("call,state,state_code,setup_ms,"), "{csv}");
}

#[test]
fn an_empty_list_is_an_empty_array() {
    let switch = always(r::CallsList::default());
    assert_eq!(switch.run(&["calls", "list", "-o", "json"]).fine().out, "[]\n");
}

#[test]
fn calls_show_and_kill() {
    let show = r::CallShow {
        call: r::CallRow { call: CallId(7), caller: "44".to_owned(), ..Default::default() },
        caller_in: "0044".to_owned(),
        rate: Some(r::RateShown { rate_per_min: "0.02".to_owned(), first_s: 60, next_s: 60, ..Default::default() }),
        ..Default::default()
    };
    let switch = always(show);
    let text = switch.run(&["calls", "show", "7"]).fine().out;
    assert!(text.contains("0044 -> 44") && text.contains("0.02 per minute, 60/60"), "{text}");

    let switch = always(r::CallKilled { call: CallId(7), state: CallState::Ringing, end_reason: -40 });
    let text = switch.run(&["calls", "kill", "7"]).fine().out;
    assert_eq!(text, "call 7 was ringing and is ended with reason -40\n");
    assert!(matches!(&switch.asked()[..], [Call::CallsKill(kill)] if kill.call == CallId(7)));
}

#[test]
fn what_is_not_there_is_exit_code_4() {
    let switch = refusing(ErrorObject::not_found("account", "acem", &["acme", "vendor"]));
    switch.run(&["account", "show", "acem"]).failed(4, &["no account is named \"acem\"; did you mean acme?"]);
}

#[test]
fn every_error_of_the_switch_has_its_exit_code() {
    for code in ErrorCode::ALL {
        let switch = refusing(ErrorObject::new(*code, "the sentence"));
        switch.run(&["status"]).failed(code.exit_code() as i32, &["tandem: the sentence"]);
    }
}

#[test]
fn cdr_list_as_table_json_and_csv() {
    let switch = always(r::CdrList { total: 1, rows: vec![cdr(9)], ..Default::default() });
    let text = switch.run(&["cdr", "list"]).fine().out;
    assert!(text.contains("2026-11-22 00:00:00") && text.contains("200 normal"), "{text}");

    let json = switch.run(&["cdr", "list", "-o", "json"]).fine().json();
    assert_eq!(json[0], Value::Object(cdr(9)), "the names of the first column of cdr.md 2, untouched");
    assert_eq!(json[0]["fee"], "0.01");

    let csv = switch.run(&["cdr", "list", "-o", "csv"]).fine().out;
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header = reader.headers().unwrap().clone();
    assert_eq!((header.get(0), header.len()), (Some("callere164"), 52));
    let row: std::collections::HashMap<String, String> = reader.deserialize().next().unwrap().unwrap();
    assert_eq!(
        (row["flowno"].as_str(), row["feetime"].as_str(), row["starttime"].as_str()),
        ("9", "60", "1795305600000")
    );
}

#[test]
fn cdr_filters_reach_the_switch() {
    let switch = always(r::CdrList::default());
    switch
        .run(&[
            "cdr",
            "list",
            "--account",
            "a",
            "--caller",
            "44*",
            "--callee-gateway",
            "out",
            "--from",
            "20261122",
            "--to",
            "2026-11-23",
            "--end-reason",
            "-69",
            "--unanswered",
            "--oldest-first",
        ])
        .fine();
    let [Call::CdrList(asked)] = &switch.asked()[..] else { panic!() };
    let filter = &asked.filter;
    assert_eq!(filter.account.as_deref(), Some("a"));
    assert_eq!(filter.caller.as_deref(), Some("44*"));
    assert_eq!(filter.callee_gateway.as_deref(), Some("out"));
    assert_eq!(filter.from.as_ref().map(ToString::to_string).as_deref(), Some("20261122"));
    assert_eq!((filter.end_reason, filter.answered, asked.oldest_first), (Some(-69), Some(false), true));
}

#[test]
fn cdr_list_all_reads_page_by_page() {
    let page = |call: &Call| -> Answer {
        let Call::CdrList(list) = call else { panic!("{call:?}") };
        assert_eq!(list.limit.rows(), 5000);
        let first = list.after.map_or(1, |after| after.0 + 1);
        let next = (first == 1).then_some(CallId(first + 1));
        reply(r::CdrList { total: 4, rows: vec![cdr(first), cdr(first + 1)], next, ..Default::default() })
    };
    let numbers = |ran: common::Ran| -> Vec<u64> {
        ran.fine().json().as_array().unwrap().iter().map(|row| row["flow_no"].as_u64().unwrap()).collect()
    };
    let switch = Switch::start(page);
    assert_eq!(numbers(switch.run(&["cdr", "list", "--all", "-o", "json"])), [1, 2, 3, 4]);
    assert_eq!(switch.run(&["cdr", "list", "--all", "-o", "csv"]).fine().out.lines().count(), 5, "one header");
    assert_eq!(switch.run(&["cdr", "list", "--all"]).fine().out.lines().count(), 5, "one title line");
}

#[test]
fn a_switch_that_repeats_its_page_does_not_hold_us_for_ever() {
    let switch = always(r::CdrList { total: 9, rows: vec![cdr(1)], next: Some(CallId(1)), more: true });
    switch.run(&["cdr", "list", "--all"]).failed(1, &["repeats"]);
}

#[test]
fn a_count_that_was_given_up_is_told_as_such() {
    for (more, said) in [(false, "1 of 9 rows"), (true, "1 of more than 9 rows")] {
        let switch = always(r::CdrList { total: 9, rows: vec![cdr(1)], next: Some(CallId(1)), more });
        switch.run(&["cdr", "list"]).failed(0, &[said]);
    }
}

#[test]
fn cdr_show_tells_how_the_fee_came_about() {
    let switch =
        always(r::CdrShow { cdr: cdr(9), customer_steps: vec!["1 duration".to_owned()], ..Default::default() });
    let text = switch.run(&["cdr", "show", "9"]).fine().out;
    assert!(text.contains("how the fee came about:\n  1 duration"), "{text}");
    assert!(text.contains("attempt: out 200 OK"), "{text}");
    assert_eq!(switch.run(&["cdr", "show", "9", "-o", "csv"]).fine().out.lines().count(), 2);
}

#[test]
fn cdr_totals_are_sums() {
    let switch =
        always(r::CdrTotals { calls: 3, fee: "1.50".to_owned(), currency: "USD".to_owned(), ..Default::default() });
    let text = switch.run(&["cdr", "totals", "--answered"]).fine().out;
    assert!(text.contains("1.50 USD"), "{text}");
}

#[test]
fn gateways_accounts_ledger_and_rate_groups() {
    let switch = Switch::start(|call| match call {
        Call::GatewayList(list) => {
            let row = r::GatewayRow {
                name: "out".to_owned(),
                kind: list.kind.unwrap_or_default(),
                calls: 3,
                capacity: Some(200),
                prefixes: vec!["1".to_owned(), "44".to_owned()],
                ..Default::default()
            };
            reply(r::GatewayList { total: 1, rows: vec![row] })
        }
        Call::AccountList(_) => reply(r::AccountList {
            total: 1,
            rows: vec![r::AccountRow { name: "acme".to_owned(), balance: "12.5".to_owned(), ..Default::default() }],
        }),
        Call::AccountShow(_) => reply(r::AccountShow {
            reservations: vec![r::ReservationRow { call: CallId(8), amount: "0.5".to_owned(), seconds: 60 }],
            ..Default::default()
        }),
        Call::LedgerList(_) => reply(r::LedgerList {
            total: 1,
            rows: vec![r::LedgerRow { call: Some(CallId(8)), amount: "-0.01".to_owned(), ..Default::default() }],
            balance: "12.5".to_owned(),
        }),
        Call::RatesList(_) => reply(r::RatesList {
            total: 1,
            rows: vec![r::RateGroupRow { group: "retail".to_owned(), rows: 10_000, ..Default::default() }],
        }),
        other => panic!("{other:?}"),
    });
    let text = switch.run(&["gateway", "list", "--kind", "routing"]).fine().out;
    assert!(text.contains("routing") && text.contains("3 of 200") && text.contains("1 44"), "{text}");
    assert!(matches!(&switch.asked()[..], [Call::GatewayList(list)] if list.kind == Some(GatewayKind::Routing)));
    let csv = switch.run(&["gateway", "list", "-o", "csv"]).fine().out;
    assert!(csv.lines().nth(1).unwrap().contains(",1 44,"), "{csv}");
    assert_eq!(switch.run(&["account", "list", "-o", "json"]).fine().json()[0]["balance"], "12.5");
    assert!(switch.run(&["account", "show", "acme"]).fine().out.contains("0.5"));
    assert_eq!(switch.run(&["ledger", "list", "acme", "-o", "json"]).fine().json()[0]["call"], 8);
    assert!(switch.run(&["rates", "list"]).fine().out.contains("10000"));
}

#[test]
fn a_payment_carries_a_key_and_says_it_when_in_doubt() {
    let paid = r::AccountPaid {
        row: r::LedgerRow {
            account: "acme".to_owned(),
            amount: "-5".to_owned(),
            balance_after: "7".to_owned(),
            ..Default::default()
        },
        booked: true,
    };
    let switch = always(&paid);
    assert_eq!(
        switch.run(&["account", "pay", "acme", "-5", "--memo", "m"]).fine().out,
        "-5 booked on acme; balance 7\n"
    );
    switch.run(&["account", "pay", "acme", "-5", "--key", "k1"]).fine();
    let asked = switch.asked();
    let [Call::AccountPay(first), Call::AccountPay(second)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((first.amount.as_str(), first.memo.as_str()), ("-5", "m"));
    assert!(first.key.as_ref().is_some_and(|key| key.starts_with("cli-")), "{first:?}");
    assert_eq!(second.key.as_deref(), Some("k1"));

    let again = always(r::AccountPaid { booked: false, ..paid });
    assert!(again.run(&["account", "pay", "acme", "-5"]).fine().out.contains("was booked before"));

    // What takes away is asked for, or takes --yes.
    switch.run(&["account", "reverse", "pay:k1"]).failed(5, &["--yes"]);
    switch.run(&["account", "reverse", "pay:k1", "--yes"]).fine();
    assert!(matches!(&switch.asked()[..], [.., Call::AccountReverse(asked)] if asked.key == "pay:k1"));
    switch.run(&["account", "pay", "acme", "5", "--from", "reseller", "--method", "card"]).fine();
    let asked = switch.asked();
    let Some(Call::AccountPay(third)) = asked.last() else { panic!("{asked:?}") };
    assert_eq!((third.from.as_deref(), third.method.as_deref()), (Some("reseller"), Some("card")));

    // The connection is lost: the money may be booked, and the same key may safely be sent again.
    let lost = Switch::babbling(b"");
    lost.run(&["account", "pay", "acme", "5", "--key", "k2"]).failed(1, &["repeat with --key k2"]);
}

/// Answers an import like a switch that has ten changes to offer.
fn importing(call: &Call) -> Answer {
    let committed = match call {
        Call::RatesImport(import) => import.commit,
        Call::RatesCommit(commit) => commit.preview == 77,
        _ => panic!("{call:?}"),
    };
    reply(r::RatesImported {
        group: "retail".to_owned(),
        rows: 10,
        added: 10,
        base_version: 4,
        preview: Some(77),
        version: committed.then_some(5),
        committed,
        warnings: vec!["2 rates lose digits".to_owned()],
        examples: vec![r::RateChange { change: "added".to_owned(), prefix: "1212".to_owned(), ..Default::default() }],
        ..Default::default()
    })
}

#[test]
fn an_import_without_a_terminal_is_a_preview() {
    let switch = Switch::start(importing);
    let file = switch.file("deck.csv", "fee_prefix,rate_per_min\n1212,0.01\n");
    let ran = switch.run(&["rates", "import", &file, "--group", "retail"]);
    ran.failed(5, &["nothing was changed", "--yes"]);
    assert!(ran.out.contains("new:") && ran.out.contains("warning: 2 rates lose digits"), "{ran:?}");
    let asked = switch.asked();
    let [Call::RatesImport(only)] = &asked[..] else { panic!("{asked:?}") };
    assert!(!only.commit && only.mode == ImportMode::Merge);
    assert_eq!(only.csv, "fee_prefix,rate_per_min\n1212,0.01\n");
    switch.run(&["rates", "import", &file, "--group", "retail", "--dry-run"]).fine();
}

#[test]
fn an_import_with_yes_commits_what_was_previewed() {
    let switch = Switch::start(importing);
    let file = switch.file("deck.csv", "x\n");
    let ran = switch.run(&["rates", "import", &file, "--group", "retail", "--mode", "replace", "--yes"]).fine();
    assert!(ran.out.contains("imported; rate group retail is now version 5"), "{ran:?}");
    let asked = switch.asked();
    // What was shown is committed, by its number: the file is not sent again.
    let [Call::RatesImport(preview), Call::RatesCommit(commit)] = &asked[..] else { panic!("{asked:?}") };
    assert!(!preview.commit && preview.mode == ImportMode::Replace && preview.source == "deck.csv");
    assert_eq!(commit.preview, 77);
    // A program gets one document, with the outcome.
    let json = switch.run(&["rates", "import", &file, "--group", "retail", "--yes", "-o", "json"]).fine().json();
    assert_eq!((&json["committed"], &json["version"]), (&json!(true), &json!(5)));
    let preview = switch.run(&["rates", "import", &file, "--group", "retail", "-o", "json"]);
    assert_eq!((preview.code, &preview.json()["committed"]), (5, &json!(false)));
}

#[test]
fn an_import_with_a_bad_row_names_it_and_commits_nothing() {
    let error = r::RowError {
        line: 3,
        column: "rate_per_min".to_owned(),
        value: "abc".to_owned(),
        rule: "allowed is a decimal".to_owned(),
    };
    let switch = always(r::RatesImported { errors: vec![error], errors_total: 7, ..Default::default() });
    let file = switch.file("deck.csv", "x\n");
    let ran = switch.run(&["rates", "import", &file, "--group", "retail", "--yes"]);
    ran.failed(
        2,
        &["deck.csv line 3: rate_per_min is \"abc\"; allowed is a decimal", "6 more errors", "nothing was imported"],
    );
    assert_eq!(switch.asked().len(), 1, "no commit was asked for");
}

#[test]
fn an_import_that_changes_nothing_is_not_committed() {
    let switch = always(r::RatesImported { rows: 3, unchanged: 3, ..Default::default() });
    let file = switch.file("deck.csv", "x\n");
    let ran = switch.run(&["rates", "import", &file, "--group", "retail", "--yes"]).fine();
    assert!(ran.out.contains("nothing differs"), "{ran:?}");
    assert_eq!(switch.asked().len(), 1);
}

#[test]
fn an_export_is_read_page_by_page() {
    let page = |version: u64| {
        move |call: &Call| -> Answer {
            let Call::RatesExport(export) = call else { panic!("{call:?}") };
            let csv = if export.offset == 0 { "head\n1\n2\n" } else { "3\n" };
            let rows = if export.offset == 0 { 2 } else { 1 };
            let version = if export.offset == 0 { 1 } else { version };
            reply(r::RatesExported { total: 3, rows, csv: csv.to_owned(), version, ..Default::default() })
        }
    };
    let same = Switch::start(page(1));
    assert_eq!(same.run(&["rates", "export", "--group", "retail"]).fine().out, "head\n1\n2\n3\n");
    let json = same.run(&["rates", "export", "--group", "retail", "-o", "json"]).fine().json();
    assert_eq!((&json["rows"], &json["csv"]), (&json!(3), &json!("head\n1\n2\n3\n")));
    let changed = Switch::start(page(2)).run(&["rates", "export", "--group", "retail"]);
    changed.failed(1, &["was changed while it was read"]);
    assert_eq!(changed.out, "");
}

fn changed(change: &str, name: &str, whole: bool, before: Value, after: Value) -> r::SiteChange {
    let (kind, field) = ("mapping_gateway".to_owned(), "capacity".to_owned());
    r::SiteChange { change: change.to_owned(), kind, name: name.to_owned(), field, whole, before, after }
}

#[test]
fn apply_shows_the_difference_and_commits_with_yes() {
    let switch = Switch::start(|call| {
        let Call::SiteApply(apply) = call else { panic!("{call:?}") };
        assert_eq!(apply.terms.base_version, apply.terms.commit.then_some(2));
        let changes = vec![
            changed("changed", "acme", false, json!(1), json!(7)),
            changed("added", "new", true, json!(null), json!(3)),
            changed("removed", "old", true, json!(5), json!(null)),
        ];
        let version = apply.terms.commit.then_some(3);
        let committed = apply.terms.commit;
        reply(r::SiteApplied { changes, base_version: 2, version, committed, ..Default::default() })
    });
    let file = switch.file("site.toml", "[gateway.acme]\n");
    let shown = "mapping_gateway acme\n  ~ capacity: 1 -> 7\nmapping_gateway new (new)\n  + capacity = 3\n\
                 mapping_gateway old (gone)\n";
    let ran = switch.run(&["apply", &file]);
    ran.failed(5, &["nothing was changed"]);
    assert_eq!(ran.out, shown);
    let ran = switch.run(&["apply", &file, "--yes"]).fine();
    assert_eq!(ran.out, format!("{shown}in force; the configuration is now version 3\n"));
    assert_eq!(switch.run(&["apply", &file, "--yes", "-o", "json"]).fine().json()["committed"], true);
}

#[test]
fn a_change_can_wait_for_a_confirmation() {
    let switch = Switch::start(|call| match call {
        Call::SiteApply(apply) => {
            assert_eq!(apply.terms.confirm_within.map(|within| within.seconds()), Some(300));
            assert_eq!((apply.terms.comment.as_str(), apply.terms.stage), ("why", false));
            let until =
                r::PendingConfirm { version: 3, fallback: 2, until_ms: 1_795_305_600_000, ..Default::default() };
            reply(r::SiteApplied {
                changes: vec![changed("changed", "acme", false, json!(1), json!(7))],
                base_version: 2,
                version: apply.terms.commit.then_some(3),
                committed: apply.terms.commit,
                unconfirmed: apply.terms.commit.then_some(until),
                ..Default::default()
            })
        }
        Call::SiteConfirm(_) => reply(r::SiteConfirmed { version: 3 }),
        Call::SiteCommit(commit) => {
            assert!(commit.terms.commit);
            reply(r::SiteApplied { confirmed: Some(3), committed: true, ..Default::default() })
        }
        other => panic!("{other:?}"),
    });
    let file = switch.file("site.toml", "");
    let out = switch.run(&["apply", &file, "--confirm", "5m", "-m", "why", "--yes"]).fine().out;
    assert!(out.contains("site of version 2 at 2026-11-22 00:00:00 unless confirmed"), "{out}");
    assert_eq!(switch.run(&["confirm"]).fine().out, "confirmed; version 3 stays\n");
    assert_eq!(switch.run(&["commit"]).fine().out, "confirmed; version 3 stays\n");
    switch.run(&["apply", &file, "--confirm", "soon"]).failed(2, &["--confirm", "\"soon\"", "5m"]);
    switch.run(&["apply", &file, "--confirm", "5m", "--stage"]).failed(2, &["cannot be given together"]);
}

#[test]
fn set_sends_what_was_typed_and_shows_what_changed() {
    let switch = Switch::start(|call| {
        let Call::SiteEdit(edit) = call else { panic!("{call:?}") };
        let changes = vec![changed("changed", "acme", false, json!(1), json!(7))];
        let (committed, staged) = (edit.terms.commit && !edit.terms.stage, edit.terms.commit && edit.terms.stage);
        reply(r::SiteApplied { changes, version: committed.then_some(4), committed, staged, ..Default::default() })
    });
    let out = switch.run(&["set", "gateway", "acme", "capacity=7", "sources+=192.0.2.1", "rewrite_caller=00:,+:=x"]);
    assert_eq!(
        out.fine().out,
        "mapping_gateway acme\n  ~ capacity: 1 -> 7\nin force; the configuration is now version 4\n"
    );
    assert!(switch.run(&["unset", "gateway", "acme", "capacity", "--stage"]).fine().out.contains("staged"));
    switch.run(&["add", "routing", "v9", "account=c", "priority=-1", "--if-version", "8", "-m", "more"]).fine();
    switch.run(&["set", "param", "SS_SIP_SESSION_TTL=600", "--dry-run"]).fine();
    switch.run(&["delete", "gateway", "acme"]).failed(5, &["nothing was changed"]);
    switch.run(&["delete", "gateway", "acme", "--yes"]).fine();
    let asked = switch.asked();
    let edit = |n: usize| {
        let Call::SiteEdit(edit) = &asked[n] else { panic!("{:?}", asked[n]) };
        (serde_json::to_value(&edit.edits[0]).unwrap(), edit.terms.clone())
    };
    let fields = json!([
        {"field": "capacity", "op": "=", "value": "7"},
        {"field": "sources", "op": "+=", "value": "192.0.2.1"},
        {"field": "rewrite_caller", "op": "=", "value": "00:,+:=x"},
    ]);
    assert_eq!(edit(0).0, json!({"edit": "set", "kind": "gateway", "name": "acme", "fields": fields}));
    assert!(edit(0).1.commit && !edit(0).1.stage);
    assert!(edit(1).1.stage && edit(1).0["edit"] == "unset");
    assert_eq!(
        (edit(2).0["edit"].as_str(), edit(2).1.base_version, edit(2).1.comment.as_str()),
        (Some("add"), Some(8), "more")
    );
    assert_eq!((edit(3).0.get("name"), edit(3).1.commit), (None, false));
    // A deletion is looked at twice, once when nobody says yes.
    assert_eq!((edit(4).1.commit, edit(5).1.commit, edit(6).1.commit, asked.len()), (false, false, true, 7));

    switch.run(&["set", "gatway", "acme", "capacity=7"]).failed(2, &["\"gatway\"", "did you mean gateway?"]);
    switch.run(&["set", "gateway", "capacity=7"]).failed(2, &["name of the gateway is missing"]);
    switch.run(&["set", "gateway", "acme", "capacity"]).failed(2, &["\"capacity\" is no field=value"]);
    switch.run(&["unset", "gateway", "acme", "capacity=7"]).failed(2, &["without a value"]);
    assert_eq!(switch.asked().len(), 7, "a mistake of the command line does not reach the switch");
}

#[test]
fn compare_takes_versions_files_and_what_is_staged() {
    let switch = always(r::SiteCompared {
        from: "version 3".to_owned(),
        to: "version 4 (running)".to_owned(),
        changes: vec![changed("changed", "acme", false, json!([1]), json!([1, 2]))],
    });
    let file = switch.file("site.toml", "x = 1\n");
    let out = switch.run(&["compare", "3"]).fine().out;
    assert_eq!(out, "version 3 -> version 4 (running)\nmapping_gateway acme\n  ~ capacity: +2 (2 now)\n");
    assert_eq!(switch.run(&["compare", &file, "-o", "json"]).fine().json()["changes"][0]["after"], json!([1, 2]));
    let csv = switch.run(&["compare", "3", "4", "-o", "csv"]).fine().out;
    assert_eq!(csv, "change,kind,name,field,whole,before,after\nchanged,mapping_gateway,acme,capacity,false,1,1 2\n");
    switch.run(&["compare"]).fine();
    switch.run(&["compare", "staged"]).fine();
    switch.run(&["compare", "no such file"]).failed(2, &["no such file"]);
    let sides: Vec<Value> = switch
        .asked()
        .iter()
        .map(|call| {
            let Call::SiteCompare(compare) = call else { panic!("{call:?}") };
            serde_json::to_value(compare).unwrap()
        })
        .collect();
    assert_eq!(
        sides,
        [
            json!({"from": {"version": 3}}),
            json!({"to": {"toml": "x = 1\n"}}),
            json!({"from": {"version": 3}, "to": {"version": 4}}),
            json!({}),
            json!({"to": "staged"}),
        ]
    );
}

#[test]
fn a_rollback_is_shown_first() {
    let switch = Switch::start(|call| {
        let Call::SiteRollback(rollback) = call else { panic!("{call:?}") };
        let committed = rollback.terms.commit;
        reply(r::SiteApplied {
            changes: vec![changed("changed", "acme", false, json!(7), json!(1))],
            from_version: Some(rollback.version.unwrap_or(4)),
            base_version: 5,
            version: committed.then_some(6),
            committed,
            ..Default::default()
        })
    });
    let ran = switch.run(&["rollback", "2"]);
    ran.failed(5, &["nothing was changed"]);
    assert_eq!(ran.out, "the site of version 2 comes back:\nmapping_gateway acme\n  ~ capacity: 7 -> 1\n");
    assert!(switch.run(&["rollback", "--yes"]).fine().out.ends_with("is now version 6\n"));
    let Some(Call::SiteRollback(last)) = switch.asked().pop() else { panic!("no rollback") };
    assert_eq!((last.version, last.terms.base_version), (None, Some(5)));
}

#[test]
fn history_and_audit_are_lists() {
    let history = r::ChangeRow {
        version: 4,
        user: "ann".to_owned(),
        how: "set".to_owned(),
        changes: vec!["~ mapping_gateway acme capacity: 1 -> 7".to_owned(), "+ x".to_owned()],
        comment: "night".to_owned(),
        confirm_state: "pending".to_owned(),
        running: true,
        ..Default::default()
    };
    let audit = r::AuditRow {
        seq: 9,
        user: "bob".to_owned(),
        pid: Some(77),
        command: "set gateway acme capacity=x".to_owned(),
        outcome: "refused".to_owned(),
        error: "capacity is \"x\"".to_owned(),
        ..Default::default()
    };
    let switch = Switch::start(move |call| match call {
        Call::SiteHistory(_) => reply(r::SiteHistory { total: 1, rows: vec![history.clone()] }),
        Call::AuditList(list) => {
            assert_eq!((list.user.as_deref(), list.oldest_first, list.limit.rows()), (Some("bob"), true, 7));
            assert!(list.since.is_some() && list.until.is_none());
            reply(r::AuditList { total: 1, rows: vec![audit.clone()] })
        }
        other => panic!("{other:?}"),
    });
    let text = switch.run(&["history"]).fine().out;
    assert!(
        ["unconfirmed", "ann", "capacity: 1 -> 7 (and 1 more)", "night"].iter().all(|word| text.contains(word)),
        "{text}"
    );
    assert_eq!(switch.run(&["history", "-o", "json"]).fine().json()[0]["version"], 4);
    let ask = ["audit", "--user", "bob", "--since", "20261122", "--oldest-first", "--limit", "7"];
    let text = switch.run(&ask).fine().out;
    assert!(["bob", "77", "refused", "capacity is \"x\""].iter().all(|word| text.contains(word)), "{text}");
    assert!(switch.run(&[&ask[..], &["-o", "csv"]].concat()).fine().out.starts_with("seq,at_ms,user,uid,pid,command,"));
}

#[test]
fn shells_complete_kinds_and_fields() {
    for (shell, option) in [("bash", "--if-version"), ("fish", "-l if-version"), ("zsh", "--if-version")] {
        let script = run(&["completion", shell]).fine().out;
        for word in ["switch.error_codes=", "mapping_gateway", "rollback", option] {
            assert!(script.contains(word), "{word} is missing for {shell}");
        }
    }
}

#[test]
fn apply_names_the_file_with_the_mistake() {
    let switch = refusing(ErrorObject::unknown_word("gateway.acme.capcity", "capcity", &["capacity", "cps"]));
    let file = switch.file("site.toml", "x");
    switch.run(&["apply", &file, "--yes"]).failed(2, &["site.toml: gateway.acme.capcity", "did you mean capacity?"]);
    assert_eq!(switch.asked().len(), 1);
}

#[test]
fn export_is_the_file_to_the_byte() {
    let toml = "# ü\r\n[a]\n";
    let switch = always(r::SiteExported { toml: toml.to_owned(), version: 2 });
    assert_eq!(switch.run(&["export"]).fine().out, toml);
    assert_eq!(switch.run(&["export", "-o", "json"]).fine().json()["version"], 2);
}

#[test]
fn parameters() {
    let row = r::ParamRow {
        name: "SS_SIP_SESSION_TTL".to_owned(),
        value: "600".to_owned(),
        range: "90..86400".to_owned(),
        used: false,
        ..Default::default()
    };
    let switch = Switch::start(move |call| match call {
        Call::ParamList(_) => reply(r::ParamList { total: 1, rows: vec![row.clone()] }),
        Call::ParamGet(_) => reply(&row),
        Call::ParamSet(set) if set.value == "-1" => Err(ErrorObject::bad_value(&set.name, &set.value, "90 to 86400 s")),
        Call::ParamSet(_) => reply(r::ParamSet { param: row.clone(), before: "1800".to_owned() }),
        other => panic!("{other:?}"),
    });
    assert!(switch.run(&["param", "list", "SS_"]).fine().out.contains("90..86400"));
    assert!(switch.run(&["param", "get", "SS_SIP_SESSION_TTL"]).fine().out.contains("not used yet"));
    let set = switch.run(&["param", "set", "SS_SIP_SESSION_TTL", "600"]).fine().out;
    assert!(set.contains("SS_SIP_SESSION_TTL is 600 (was 1800)") && set.contains("warning"), "{set}");
    switch.run(&["param", "set", "SS_SIP_SESSION_TTL", "-1"]).failed(2, &["is \"-1\"; allowed is 90 to 86400 s"]);
}

#[test]
fn explain_shows_order_prices_and_skips() {
    let rate = r::RateShown { prefix: "1212".to_owned(), rate_per_min: "0.02".to_owned(), ..Default::default() };
    let explained = r::Explained {
        gateway: "in".to_owned(),
        rate: Some(rate.clone()),
        candidates: vec![r::CandidateRow {
            gateway: "cheap".to_owned(),
            rate: Some(rate),
            cost_per_min: "0.01".to_owned(),
            margin_per_min: "0.01".to_owned(),
            ..Default::default()
        }],
        skipped: vec![r::SkippedRow {
            gateway: "dear".to_owned(),
            reason: "profit below the minimum".to_owned(),
            detail: "-5 % < 0 %".to_owned(),
        }],
        refusal: Some(r::Refusal {
            end_reason: -6,
            reason: "no money".to_owned(),
            sip_status: 402,
            ..Default::default()
        }),
        ..Default::default()
    };
    let switch = always(explained);
    let arguments = ["explain", "--from", "in", "--caller", "44", "--callee", "1212", "--at", "2026-11-22T08:00:00Z"];
    let text = switch.run(&arguments).fine().out;
    for word in ["cheap", "0.01", "dear", "profit below the minimum", "-5 % < 0 %", "refused: no money (-6), SIP 402"] {
        assert!(text.contains(word), "{word} in {text}");
    }
    let asked = switch.asked();
    let [Call::Explain(explain)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(explain.at.as_ref().unwrap().to_string(), "2026-11-22T08:00:00Z");
}

#[test]
fn a_trace_is_the_ladder_as_the_switch_drew_it() {
    let event =
        r::TraceEvent { kind: "sip".to_owned(), text: "INVITE".to_owned(), offset_us: 1_500, ..Default::default() };
    let traced =
        r::Traced { call: CallId(7), text: "a  ->  b\n\u{1b}[31m\n".to_owned(), events: vec![event], dropped: 2 };
    let switch = always(traced);
    let ran = switch.run(&["trace", "7"]);
    assert_eq!(ran.out, "a  ->  b\n\u{fffd}[31m\n");
    assert!(ran.err.contains("2 events were not kept"), "{ran:?}");
    assert_eq!(switch.run(&["trace", "7", "-o", "json"]).json()["events"][0]["text"], "INVITE");
}

#[test]
fn no_switch_is_exit_code_3_and_names_the_socket() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("none.sock");
    let socket = socket.to_str().unwrap();
    run(&["--socket", socket, "status"]).failed(3, &[socket, "no such file", "tandemd --config"]);
    drop(std::os::unix::net::UnixListener::bind(socket).unwrap());
    run(&["--socket", socket, "status"]).failed(3, &[socket, "nobody listens"]);
}

#[test]
fn the_environment_names_the_socket() {
    let switch = always(r::Status::default());
    finish(tandem().env("TANDEM_SOCKET", switch.socket()).arg("status")).fine();
    finish(tandem().env("TANDEM_SOCKET", "/nonexistent").args(["--socket"]).arg(switch.socket()).arg("status")).fine();
    if std::path::Path::new("/run/tandem/control.sock").exists() {
        eprintln!("skipped: a switch is installed on this machine and comes first");
        return;
    }
    finish(tandem().env("XDG_RUNTIME_DIR", switch.folder()).arg("status")).fine();
}

#[test]
fn an_answer_that_is_none_is_told() {
    Switch::babbling(b"").run(&["status"]).failed(1, &["closed the connection before it answered"]);
    Switch::babbling(b"HTTP/1.1 400 Bad Request\r\n\r\n").run(&["status"]).failed(1, &["is not understood"]);
    Switch::babbling(b"{\"jsonrpc\":\"2.0\"").run(&["status"]).failed(1, &["closed the connection"]);
    Switch::babbling(b"{\"jsonrpc\":\"2.0\",\"id\":99,\"result\":{}}\n")
        .run(&["status"])
        .failed(1, &["another request"]);
    let form = Switch::start(|_| Ok(json!({"attempts": "many"})));
    form.run(&["status"]).failed(1, &["attempts", "not understood"]);
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let row = r::CallRow { caller: "4".repeat(64), ..Default::default() };
    let switch = always(r::CallsList { total: 5_000, rows: vec![row; 5_000] });
    for form in ["text", "json", "csv"] {
        let mut child = tandem()
            .args(["-o", form, "calls", "list", "--socket"])
            .arg(switch.socket())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // One byte, as `head -c1` would take, then nobody reads.
        let mut out = child.stdout.take().unwrap();
        out.read_exact(&mut [0]).unwrap();
        drop(out);
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""), "{form}");
    }
}

#[test]
fn mistakes_on_the_command_line_are_one_sentence() {
    let cases: &[(&[&str], &str)] = &[
        (&["calls", "lst"], "\"lst\" is no command; did you mean list?"),
        (
            &["calls", "list", "--state", "talkin"],
            "--state is \"talkin\"; allowed is setup, ringing, talking, ending; did you mean talking?",
        ),
        (&["calls", "list", "--limit", "0"], "--limit is \"0\"; allowed is 1 to 5000 rows"),
        (&["calls", "show", "x"], "<CALL> is \"x\"; allowed is a call number"),
        (&["calls", "show"], "<CALL> is missing"),
        (&["cdr", "list", "--form", "1"], "--form is no argument of this command; did you mean --from?"),
        (&["cdr", "list", "--to", "soon"], "--to is \"soon\"; allowed is 2026-11-22"),
        (&["cdr", "list", "--all", "--limit", "5"], "cannot be given together"),
        (&["account", "pay", "acme", "1e3"], "<AMOUNT> is \"1e3\"; allowed is a plain decimal"),
        (
            &["rates", "import", "x", "--group", "g", "--mode", "marge"],
            "--mode is \"marge\"; allowed is add, merge, replace; did you mean merge?",
        ),
        (&["-o", "jsn", "status"], "--output is \"jsn\"; allowed is text, json, jsonl, csv; did you mean json?"),
        (&["completion", "tcsh"], "<SHELL> is \"tcsh\"; allowed is bash, zsh, fish"),
        (&["rates", "import", "/nonexistent/deck.csv", "--group", "g"], "/nonexistent/deck.csv cannot be read"),
    ];
    for (arguments, sentence) in cases {
        let ran = run(arguments);
        ran.failed(2, &[sentence]);
        assert_eq!((ran.err.lines().count(), ran.out.as_str()), (1, ""), "{ran:?}");
    }
}

#[test]
fn help_version_and_completion() {
    assert!(run(&["--help"]).fine().out.contains("Exit codes:"));
    assert!(run(&["--version"]).fine().out.starts_with("tandem "));
    assert_eq!(run(&[]).code, 2);
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completion", shell]).fine().out;
        assert!(script.contains("explain") && script.contains("quote"), "{shell}");
    }
}

#[test]
fn every_verb_of_the_protocol_has_a_command_and_the_manual_names_it() {
    let manual = include_str!("../README.md");
    for method in METHODS {
        assert!(manual.contains(&format!("`{method}`")), "{method} is missing in the manual");
    }
}

#[test]
fn an_audit_that_does_not_agree_is_a_failure_that_says_by_how_much() {
    let audit = r::MediaAudit { kernel: 1_000, records: 993, difference: 7, ..Default::default() };
    let done = always(audit.clone()).run(&["media", "audit"]);
    assert_eq!(done.code, 1);
    assert!(done.out.contains("1000") && done.out.contains("993"), "{}", done.out);
    assert!(done.err.contains("7 packets"), "{}", done.err);
    let done = always(r::MediaAudit { equal: true, difference: 0, ..audit }).run(&["media", "audit"]);
    assert_eq!(done.code, 0, "{}", done.err);
}

#[test]
fn a_large_file_travels_in_pieces_and_its_terms_with_it() {
    let switch = Switch::start(|call| match call {
        Call::RatesUpload(piece) => reply(r::RatesUploaded { received: piece.offset + piece.text.len() as u64 }),
        Call::RatesDifferences(page) => {
            let row =
                r::RateChange { change: "raised".to_owned(), prefix: page.offset.to_string(), ..Default::default() };
            reply(r::RatesDifferences { total: 2, rows: vec![row] })
        }
        other => importing(other),
    });
    let text = "\u{d6}sterreich,43,0.01\n".repeat(40_000);
    let file = switch.file("deck.csv", &text);
    let arguments = [
        "rates",
        "import",
        &file,
        "--group",
        "retail",
        "--template",
        "north",
        "--map",
        "price=Rate (USD)",
        "--date-format",
        "dd-MMM-yy",
        "--currency",
        "EUR",
        "--exchange-rate",
        "1.08",
        "--effective",
        "2026-12-01",
        "--notice-days",
        "3",
        "--top",
        "5",
        "--differences",
        "--dry-run",
        "-o",
        "csv",
    ];
    let ran = switch.run(&arguments).fine();
    assert_eq!(ran.out, "change,prefix,area,before,after,percent,from_ms\nraised,0,,,,,\nraised,1,,,,,\n");
    let mut sent = String::new();
    let mut uploads = Vec::new();
    for call in switch.asked() {
        match call {
            Call::RatesUpload(piece) => {
                assert_eq!(piece.offset, sent.len() as u64);
                sent.push_str(&piece.text);
                uploads.push(piece.upload);
            }
            Call::RatesImport(import) => {
                assert_eq!((import.csv.as_str(), import.upload), ("", uploads.first().copied()));
                assert_eq!(import.sheet.template.as_deref(), Some("north"));
                assert_eq!(import.sheet.map.get("price").map(String::as_str), Some("Rate (USD)"));
                assert_eq!((import.notice_days, import.examples, import.differences), (Some(3), Some(5), true));
                assert!(import.effective.is_some() && import.sheet.exchange_rate.is_some());
            }
            _ => {}
        }
    }
    assert!(uploads.len() > 1 && uploads.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(sent, text);
    switch.run(&["rates", "import", &file, "--group", "g", "--exchange-rate", "2"]).failed(2, &["--currency"]);
}

#[test]
fn a_row_is_set_at_once_and_a_group_is_dropped_after_a_question() {
    let switch = Switch::start(|call| match call {
        Call::RatesSet(set) => {
            assert_eq!(set.fields.get("price").map(String::as_str), Some("0.02"));
            let change =
                r::RateChange { change: "raised".to_owned(), prefix: set.prefix.clone(), ..Default::default() };
            let reply_of =
                r::RatesImported { group: "retail".to_owned(), raised: 1, preview: Some(77), ..Default::default() };
            reply(r::RatesImported { examples: vec![change], ..reply_of })
        }
        Call::RatesDrop(drop) => {
            reply(r::RatesDropped { group: drop.group.clone(), committed: drop.commit, ..Default::default() })
        }
        other => importing(other),
    });
    let set = ["rates", "set", "44", "price=0.02", "--group", "retail"];
    assert!(switch.run(&set).fine().out.contains("rate group retail is now version 5"));
    let before = switch.asked().len();
    switch.run(&[&set[..], &["--dry-run"]].concat()).fine();
    assert_eq!(switch.asked().len(), before + 1, "no commit");
    switch.run(&["rates", "drop", "old"]).failed(5, &["--yes"]);
    assert!(switch.run(&["rates", "drop", "old", "--yes"]).fine().out.contains("old (version 0, 0 rows) deleted"));
}

#[test]
fn a_call_that_does_not_prove_itself_is_a_failure_that_says_what_differs() {
    let explained = r::CallExplained {
        call: CallId(7),
        verdict: "differs".to_owned(),
        differences: vec!["customer (acme): fee is stored as 0.02, comes out as 0.01".to_owned()],
        checked: 40,
        cdr: cdr(7),
        legs: vec![r::ExplainedLeg {
            leg: "customer".to_owned(),
            account: "acme".to_owned(),
            steps: vec!["1 duration: 21000 ms".to_owned()],
            ..Default::default()
        }],
        ..Default::default()
    };
    let done = always(explained.clone()).run(&["explain", "7"]);
    assert_eq!(done.code, 1);
    for wanted in ["1 duration", "DIFFERS: customer (acme): fee", "NOT PROVED: 1 of 40"] {
        assert!(done.out.contains(wanted), "{wanted} in {}", done.out);
    }
    assert!(done.err.contains("call 7 does not prove itself"), "{}", done.err);
    let proved = r::CallExplained { verdict: "proved".to_owned(), differences: Vec::new(), ..explained.clone() };
    assert_eq!(always(proved).run(&["explain", "7"]).code, 0);
    let older = r::CallExplained { verdict: "no_proof".to_owned(), differences: Vec::new(), ..explained };
    let done = always(older).run(&["explain", "7"]);
    assert!(done.code == 0 && done.out.contains("no proof: "), "{done:?}");
    assert_eq!(run(&["explain", "7", "--from", "in"]).code, 2, "one or the other");
}

#[test]
fn a_range_is_proved_slice_by_slice() {
    let switch = Switch::start(|call| {
        let Call::CdrProve(q) = call else { panic!("{call:?}") };
        let (next, differ) = match q.after {
            None => (Some(CallId(20)), 0),
            Some(CallId(20)) => (Some(CallId(40)), 1),
            _ => (None, 0),
        };
        let first = (0..differ).map(|_| r::DifferRow { call: CallId(33), differences: vec!["margin".to_owned()] });
        let first = first.collect();
        let proved = r::CdrProved { calls: 20, proved: 19 - differ, no_proof: 1, differ, first, next };
        Ok(serde_json::to_value(proved).unwrap())
    });
    let done = switch.run(&["cdr", "prove", "--from", "20261101", "-o", "json"]);
    assert_eq!(done.code, 1);
    let sum: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(
        (&sum["calls"], &sum["proved"], &sum["no_proof"], &sum["differ"]),
        (&60.into(), &56.into(), &3.into(), &1.into())
    );
    assert_eq!(switch.asked().len(), 3);
    assert!(done.err.contains("1 of 60 calls"), "{}", done.err);
}
