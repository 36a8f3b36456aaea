//! An operator changes the configuration: looks first, waits for a confirmation, goes back, edits, is told what was wrong.

use std::fs;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;

use crate::common::{Plan, Switch, int, until};

fn acme(switch: &Switch) -> Value {
    switch.json(&["gateway", "list", "--kind", "mapping"])[0]["capacity"].clone()
}

fn version(switch: &Switch) -> i64 {
    int(&switch.json(&["status"])["site_version"])
}

/// The words must all be in what was said, and the exit code `code`.
#[track_caller]
fn refused(switch: &Switch, arguments: &[&str], code: i32, words: &[&str]) {
    let done = switch.tandem(arguments);
    assert_eq!(done.code, code, "tandem {arguments:?}: {done:?}");
    for word in words {
        assert!(done.err.contains(word), "{word:?} is missing: {done:?}");
    }
}

fn wall_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

#[test]
fn an_object_is_edited_and_the_whole_tree_checked() {
    let switch = Switch::start(&Plan { vendors: 2, ..Default::default() });
    let out = switch.ok(&["set", "gateway", "acme", "capacity=7", "callee_prefixes.deny=900", "-m", "night"]);
    assert!(out.contains("+ capacity = 7") && out.contains("now version 2"), "{out}");
    assert_eq!(acme(&switch), 7);
    switch.ok(&["set", "gateway", "v1", "prefixes+=44,49", "priority=-3"]);
    let v1 = switch.json(&["gateway", "list", "--kind", "routing"])[0].clone();
    assert_eq!((&v1["prefixes"], &v1["priority"]), (&serde_json::json!(["1212", "44", "49"]), &(-3).into()), "{v1:#}");
    switch.ok(&["add", "routing", "v3", "account=carrier", "remotes=192.0.2.77", "prefixes=33"]);
    switch.ok(&["unset", "gateway", "acme", "capacity"]);
    assert_eq!(acme(&switch), Value::Null);
    switch.ok(&["set", "param", "SS_SIP_SESSION_TTL=700"]);
    assert_eq!(switch.json(&["param", "get", "SS_SIP_SESSION_TTL"])["value"], "700");
    switch.ok(&["delete", "routing", "v3", "--yes"]);
    let at = version(&switch);

    // The same again is no change and no version.
    assert!(switch.ok(&["set", "param", "SS_SIP_SESSION_TTL=700"]).contains("nothing differs"));
    refused(&switch, &["set", "gateway", "acme", "capcity=1"], 2, &["capcity", "did you mean capacity?"]);
    refused(&switch, &["set", "gateway", "acem", "capacity=1"], 4, &["acem", "did you mean acme?"]);
    refused(&switch, &["set", "gateway", "acme", "media=sometimes"], 2, &["mapping_gateway.acme.media", "must_on"]);
    refused(&switch, &["set", "gateway", "acme", "account=carrier"], 2, &["no customer account"]);
    refused(&switch, &["set", "param", "SS_SIP_SESSION_TTL=soon"], 2, &["SS_SIP_SESSION_TTL", "soon"]);
    // Something else still needs it.
    refused(&switch, &["delete", "account", "carrier", "--yes"], 2, &["routing_gateway.v1.account", "no account"]);
    assert_eq!(version(&switch), at);

    let history = switch.json(&["history"]);
    let first = history.as_array().unwrap().last().unwrap();
    assert_eq!((&first["version"], &first["how"]), (&1.into(), &"bootstrap".into()), "{history:#}");
    let second = &history.as_array().unwrap()[history.as_array().unwrap().len() - 2];
    assert_eq!((&second["how"], &second["comment"]), (&"set".into(), &"night".into()), "{second:#}");
    assert_eq!(second["changes"][1], "+ mapping_gateway acme capacity = 7", "{second:#}");
    assert_eq!(second["uid"], rustix::process::getuid().as_raw(), "{second:#}");
    assert!(int(&second["pid"]) > 0);
    assert_eq!(history[0]["running"], true);
}

#[test]
fn what_differs_is_shown_between_any_two_sites() {
    let switch = Switch::start(&Plan::default());
    let first = switch.ok(&["export"]);
    switch.ok(&["set", "gateway", "acme", "capacity=7"]);
    switch.ok(&["set", "gateway", "acme", "capacity=8", "cps=3"]);
    assert_eq!(switch.ok(&["export", "1"]), first);
    let says = |arguments: &[&str], lines: &[&str]| {
        let out = switch.ok(arguments);
        assert_eq!(out.lines().skip(1).collect::<Vec<_>>(), lines, "{arguments:?}: {out}");
    };
    says(&["compare"], &["mapping_gateway acme", "  ~ capacity: 7 -> 8", "  + cps = 3"]);
    says(&["compare", "1"], &["mapping_gateway acme", "  + capacity = 8", "  + cps = 3"]);
    says(&["compare", "3", "2"], &["mapping_gateway acme", "  ~ capacity: 8 -> 7", "  - cps = 3"]);
    fs::write(switch.folder.join("first.toml"), &first).unwrap();
    says(&["compare", "first.toml"], &["mapping_gateway acme", "  - capacity = 8", "  - cps = 3"]);
    says(&["compare", "1", "first.toml"], &["nothing differs"]);
    let json = switch.json(&["compare", "2"]);
    assert_eq!((&json["changes"][0]["before"], &json["changes"][0]["after"]), (&7.into(), &8.into()), "{json:#}");
    refused(&switch, &["compare", "9"], 4, &["no version 9", "newest is 3"]);
}

#[test]
fn a_rollback_brings_back_a_version_or_says_why_not() {
    let switch = Switch::start(&Plan::default());
    let first = switch.ok(&["export"]);
    refused(&switch, &["rollback", "--yes"], 4, &["no version before"]);
    switch.ok(&["set", "gateway", "acme", "capacity=7"]);
    switch.ok(&["set", "gateway", "acme", "capacity=8"]);
    let preview = switch.tandem(&["rollback"]);
    assert_eq!((preview.code, acme(&switch)), (5, 8.into()), "{preview:?}");
    assert!(preview.out.contains("version 2 comes back") && preview.out.contains("8 -> 7"), "{preview:?}");
    switch.ok(&["rollback", "--yes"]);
    assert_eq!(acme(&switch), 7);
    switch.ok(&["rollback", "1", "--yes", "-m", "back"]);
    assert_eq!((switch.ok(&["export"]), version(&switch)), (first, 5));
    // Rates that come in between stay.
    fs::write(switch.folder.join("new.csv"), "fee_prefix,rate_per_min,increment\n44,0.02,60/60\n").unwrap();
    switch.ok(&["rates", "import", "new.csv", "--group", "retail", "--yes"]);
    switch.ok(&["rollback", "3", "--yes"]);
    assert_eq!(acme(&switch), 8);
    assert!(switch.ok(&["rates", "export", "--group", "retail"]).contains("\n44,"));
    assert_eq!(switch.ok(&["export", "6"]), switch.ok(&["export", "5"]), "an import leaves the site as it was");

    refused(&switch, &["rollback", "99", "--yes"], 4, &["no version 99"]);
    // An account that has money since.
    switch.ok(&["add", "account", "fresh", "kind=customer", "opening=5.00"]);
    refused(&switch, &["rollback", "3", "--yes"], 2, &["version 3", "account.fresh", "balance of 5", "account pay"]);
    switch.ok(&["account", "pay", "fresh", "-5.00"]);
    switch.ok(&["rollback", "3", "--yes"]);
    assert!(!switch.ok(&["export"]).contains("fresh"));
}

#[test]
fn a_change_that_nobody_confirms_goes_away_by_itself() {
    let switch = Switch::start(&Plan::default());
    let before = switch.ok(&["export"]);
    refused(&switch, &["confirm"], 1, &["no change waits"]);
    refused(&switch, &["commit"], 1, &["nothing is staged"]);
    let out = switch.ok(&["set", "gateway", "acme", "capacity=7", "--confirm", "10m"]);
    assert!(out.contains("unless confirmed"), "{out}");
    assert_eq!(acme(&switch), 7, "in force at once");
    refused(&switch, &["set", "gateway", "acme", "capacity=9"], 1, &["version 2", "confirm"]);
    refused(&switch, &["param", "set", "SS_SIP_SESSION_TTL", "700"], 1, &["version 2"]);
    let warnings = switch.json(&["status"])["warnings"].to_string();
    assert!(warnings.contains("version 2") && warnings.contains("confirm"), "{warnings}");
    switch.ok(&["commit"]);
    switch.ok(&["set", "gateway", "acme", "capacity=9", "--confirm", "10m"]);
    // Taken back at once, without saying where to.
    switch.ok(&["rollback", "--yes"]);
    assert_eq!(acme(&switch), 7);

    switch.ok(&["set", "gateway", "acme", "capacity=11", "--confirm", "1s"]);
    until("the change takes itself back", || (acme(&switch) == 7).then_some(()));
    switch.ok(&["rollback", "1", "--yes"]);
    assert_eq!(switch.ok(&["export"]), before);
    let states: Vec<String> = switch
        .json(&["history"])
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            format!("{} {} {}", row["version"], row["how"].as_str().unwrap(), row["confirm_state"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        states,
        [
            "7 rollback ",
            "6 auto-rollback ",
            "5 set rolled_back",
            "4 rollback ",
            "3 set rolled_back",
            "2 set confirmed",
            "1 bootstrap "
        ]
    );
}

#[test]
fn a_change_that_waits_goes_on_waiting_after_a_crash() {
    let mut switch = Switch::start(&Plan::default());
    let before = switch.ok(&["export"]);
    // Its time ends while the switch is away.
    let waiting = switch.json(&["set", "gateway", "acme", "capacity=7", "--confirm", "1s"]);
    switch.kill();
    let until_ms = int(&waiting["unconfirmed"]["until_ms"]);
    until("its time is over", || (wall_ms() > until_ms).then_some(()));
    switch.start_again();
    assert_eq!((switch.ok(&["export"]), acme(&switch)), (before.clone(), Value::Null), "before the first call");
    assert!(switch.log().contains("was not confirmed in time"), "{}", switch.log());
    assert_eq!(switch.json(&["history"])[0]["how"], "auto-rollback");
    // Once, not at every start.
    switch.stop();
    switch.start_again();
    assert_eq!(version(&switch), 3);

    // Its time does not end meanwhile: it waits, also through an import, and can be confirmed by another process.
    switch.ok(&["set", "gateway", "acme", "capacity=8", "--confirm", "1h"]);
    fs::write(switch.folder.join("new.csv"), "fee_prefix,rate_per_min,increment\n44,0.02,60/60\n").unwrap();
    switch.ok(&["rates", "import", "new.csv", "--group", "retail", "--yes"]);
    switch.kill();
    switch.start_again();
    assert_eq!((acme(&switch), &switch.json(&["status"])["unconfirmed"]["version"]), (8.into(), &4.into()));
    switch.ok(&["confirm"]);
    switch.kill();
    switch.start_again();
    assert_eq!((acme(&switch), &switch.json(&["status"])["unconfirmed"]), (8.into(), &Value::Null));
    refused(&switch, &["confirm"], 1, &["no change waits"]);
}

#[test]
fn edits_are_staged_and_committed_together() {
    let switch = Switch::start(&Plan::default());
    switch.ok(&["set", "gateway", "acme", "capacity=7", "--stage"]);
    switch.ok(&["set", "gateway", "v1", "weight=50", "--stage"]);
    assert_eq!((acme(&switch), version(&switch)), (Value::Null, 1), "not in force yet");
    let shown = switch.ok(&["compare"]);
    assert!(shown.contains("+ capacity = 7") && shown.contains("+ weight = 50"), "{shown}");
    refused(&switch, &["set", "gateway", "v1", "weight=0", "--stage"], 2, &["routing_gateway.v1.weight"]);
    switch.ok(&["commit", "--confirm", "10m", "-m", "both"]);
    assert_eq!((acme(&switch), version(&switch)), (7.into(), 2));
    switch.ok(&["confirm"]);
    refused(&switch, &["discard"], 1, &["nothing is staged"]);

    // Somebody else was faster.
    switch.ok(&["set", "gateway", "acme", "capacity=8", "--stage"]);
    switch.ok(&["set", "gateway", "v1", "weight=60"]);
    refused(&switch, &["commit"], 1, &["version 3", "changed since", "(set)"]);
    switch.ok(&["discard"]);
    refused(
        &switch,
        &["set", "gateway", "acme", "capacity=9", "--if-version", "2"],
        1,
        &["version 3", "changed since"],
    );
    refused(&switch, &["set", "gateway", "acme", "capacity=9", "--if-version", "8"], 1, &["version 3"]);
    switch.ok(&["set", "gateway", "acme", "capacity=9", "--if-version", "3"]);
    assert_eq!(acme(&switch), 9);
}

#[test]
fn whatever_was_changed_or_refused_is_in_the_audit_log() {
    let mut switch = Switch::start(&Plan::default());
    switch.ok(&["set", "gateway", "acme", "capacity=7", "-m", "night"]);
    switch.tandem(&["set", "gateway", "acme", "media=sometimes"]);
    switch.ok(&["param", "set", "SS_SIP_SESSION_TTL", "700"]);
    switch.ok(&["account", "pay", "acme", "10", "--memo", "cash"]);
    switch.tandem(&["account", "pay", "nobody", "10"]);
    switch.tandem(&["calls", "kill", "99"]);
    fs::write(switch.folder.join("bad.csv"), "fee_prefix,rate_per_min\n44,abc\n").unwrap();
    switch.tandem(&["rates", "import", "bad.csv", "--group", "retail", "--yes"]);
    fs::write(switch.folder.join("good.csv"), "fee_prefix,rate_per_min\n44,0.02\n").unwrap();
    switch.ok(&["rates", "import", "good.csv", "--group", "retail", "--yes"]);
    switch.ok(&["rollback", "1", "--yes"]);
    // A look changes nothing and leaves no row.
    switch.tandem(&["rollback", "2"]);
    switch.ok(&["set", "gateway", "acme", "capacity=1", "--dry-run"]);
    switch.kill();
    switch.start_again();
    let rows = switch.json(&["audit", "--oldest-first"]);
    let short: Vec<String> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| format!("{} | {}", row["command"].as_str().unwrap(), row["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(
        short,
        [
            "tandemd (first start) | done",
            "set gateway acme capacity=7 | done",
            "set gateway acme media=sometimes | refused",
            "param set SS_SIP_SESSION_TTL 700 | done",
            "account pay acme 10 | done",
            "account pay nobody 10 | refused",
            "calls kill 99 | refused",
            "rates import --group retail --mode merge | refused",
            "rates import --group retail --mode merge | done",
            "rollback 1 | done",
        ],
        "{rows:#}"
    );
    let row = |n: usize| &rows[n];
    assert_eq!((&row(1)["comment"], &row(1)["version"]), (&"night".into(), &2.into()));
    assert_eq!(row(1)["changes"][0], "+ mapping_gateway acme capacity = 7");
    assert!(row(2)["error"].as_str().unwrap().contains("must_on"), "{:#}", row(2));
    assert_eq!(row(4)["changes"][0], "~ account acme balance: 100 -> 110", "{:#}", row(4));
    assert!(row(7)["error"].as_str().unwrap().contains("line 2"), "{:#}", row(7));
    assert!(row(8)["changes"][0].as_str().unwrap().contains("1 new"), "{:#}", row(8));
    let user = row(1)["user"].as_str().unwrap().to_owned();
    let of_user = switch.json(&["audit", "--user", &user, "--limit", "2"]);
    assert_eq!((of_user[0]["command"].as_str(), of_user.as_array().unwrap().len()), (Some("rollback 1"), 2));
    assert_eq!(switch.json(&["audit", "--since", "2200-01-01"]).as_array().unwrap().len(), 0);
    assert_eq!(switch.ok(&["audit", "-o", "csv"]).lines().count(), 11);
}

/// Lets the files of the switch grow to `bytes` at most, which a full disk does; `None` takes the limit away.
fn limit_files(switch: &Switch, bytes: Option<u64>) {
    let limit = Rlimit { current: bytes, maximum: None };
    prlimit(Pid::from_raw(switch.pid().cast_signed()), Resource::Fsize, limit).unwrap();
}

#[test]
fn what_a_full_disk_refused_does_not_come_into_force_later() {
    // The signal for a file that is too large is ignored, so that the write fails as it does on a full disk.
    let through = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"];
    let mut switch = Switch::start_through(&Plan::default(), |_| through.map(str::to_owned).to_vec());
    switch.ok(&["set", "gateway", "acme", "capacity=7"]);
    let before = switch.ok(&["export"]);
    let journal = fs::read_dir(switch.folder.join("data/journal"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|extension| extension == "tj"))
        .unwrap();
    // None of it, and a part that is too small for any of these records.
    for room in [0, 200] {
        let at = version(&switch);
        limit_files(&switch, Some(fs::metadata(&journal).unwrap().len() + room));
        refused(
            &switch,
            &["set", "gateway", "acme", "capacity=8"],
            1,
            &["journal cannot be written", "nothing was changed"],
        );
        if room == 0 {
            refused(&switch, &["account", "pay", "acme", "1"], 1, &["journal cannot be written", "nothing was booked"]);
        }
        fs::write(switch.folder.join("new.csv"), "fee_prefix,rate_per_min\n44,0.02\n").unwrap();
        refused(
            &switch,
            &["rates", "import", "new.csv", "--group", "retail", "--yes"],
            1,
            &["journal cannot be written"],
        );
        assert_eq!((switch.ok(&["export"]), version(&switch)), (before.clone(), at));
        // There is room again, and what waits for the disk is written: what was refused is not among it.
        limit_files(&switch, None);
        switch.ok(&["account", "pay", "acme", "0.01"]);
        switch.kill();
        switch.start_again();
        assert_eq!((switch.ok(&["export"]), version(&switch)), (before.clone(), at));
        assert!(!switch.ok(&["rates", "export", "--group", "retail"]).contains("\n44,"));
        // The next change is the next version.
        switch.ok(&["param", "set", "SS_SIP_SESSION_TTL", &format!("{}", 700 + room)]);
        assert_eq!((acme(&switch), version(&switch)), (7.into(), at + 1));
        switch.ok(&["unset", "param", "SS_SIP_SESSION_TTL"]);
    }
    let balance = switch.balance("acme");
    // Killed while it is full: what was refused is not there after the start.
    limit_files(&switch, Some(fs::metadata(&journal).unwrap().len()));
    refused(&switch, &["set", "gateway", "acme", "capacity=9"], 1, &["nothing was changed"]);
    switch.kill();
    switch.start_again();
    assert_eq!((switch.ok(&["export"]), acme(&switch), switch.balance("acme")), (before, 7.into(), balance));
    assert!(!switch.ok(&["rates", "export", "--group", "retail"]).contains("\n44,"));
    let failed = switch.json(&["audit"]).as_array().unwrap().iter().filter(|row| row["outcome"] == "failed").count();
    assert_eq!(failed, 5, "what was refused for the disk is told when there is room");
}

#[test]
fn a_site_of_ten_thousand_gateways_is_edited_and_rolled_back() {
    use std::fmt::Write as _;

    let switch = Switch::start(&Plan::default());
    let mut site = switch.ok(&["export"]);
    for n in 0..10_000 {
        let (a, b) = (n / 250, n % 250 + 1);
        let _ = writeln!(
            site,
            "[mapping_gateway.c{n}]\naccount = \"acme\"\nsources = [\"10.1.{a}.{b}\"]\ncapacity = {n}\n\
             [routing_gateway.r{n}]\naccount = \"carrier\"\nremotes = [\"10.2.{a}.{b}:5060\"]\nprefixes = [\"7{n}\"]"
        );
    }
    fs::write(switch.folder.join("large.toml"), &site).unwrap();
    let out = switch.ok(&["apply", "large.toml", "--yes"]);
    assert!(out.contains("mapping_gateway c9999 (new)"), "{}", out.len());
    assert!(switch.ok(&["apply", "large.toml"]).contains("nothing differs"));
    // One edit is one line in all of it.
    let out = switch.ok(&["set", "gateway", "c5000", "capacity=1"]);
    assert_eq!(out.lines().take(2).collect::<Vec<_>>(), ["mapping_gateway c5000", "  ~ capacity: 5000 -> 1"]);
    refused(&switch, &["set", "gateway", "c10000", "capacity=1"], 4, &["did you mean"]);
    // What is wrong ten thousand times is told some times.
    let bad = site.replace("account = \"carrier\"\nremotes = [\"10.2", "account = \"nobody\"\nremotes = [\"10.2");
    fs::write(switch.folder.join("bad.toml"), bad).unwrap();
    refused(&switch, &["apply", "bad.toml", "--yes"], 2, &["nobody", "more mistakes"]);
    switch.ok(&["rollback", "1", "--yes"]);
    assert_eq!(switch.json(&["gateway", "list"]).as_array().unwrap().len(), 2);
    let history = switch.json(&["history"]);
    assert!(history[0]["changes"].as_array().unwrap().len() <= 101, "the history keeps a summary");
}
