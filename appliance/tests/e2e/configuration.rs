//! Configuration that is wrong, and configuration that changes while the switch runs. No SIPp needed.

use std::fs;
use std::net::UdpSocket;
use std::process::{Command, Output, Stdio};

use crate::common::{Net, Plan, Switch, daemon, int};

/// Runs the daemon on `machine`, which it must refuse.
#[track_caller]
fn refused(name: &str, machine: &str, site: &str) -> String {
    let folder = std::env::temp_dir().join(format!("tandem-e2e-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("tandemd.toml"), machine).unwrap();
    fs::write(folder.join("site.toml"), site).unwrap();
    for deck in ["retail.csv", "wholesale.csv"] {
        fs::write(folder.join(deck), "fee_prefix,rate_per_min\n1212,0.6\n").unwrap();
    }
    let Output { status, stderr, .. } =
        Command::new(daemon()).arg("--config").arg(folder.join("tandemd.toml")).stdin(Stdio::null()).output().unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let text = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{text}");
    text
}

#[test]
fn an_unknown_key_is_named_with_the_nearest_one() {
    let (net, plan) = (Net::new(), Plan::default());
    let machine = plan.machine(net).replace("[threads]", "[thread]");
    let text = refused("key", &machine, &plan.site(net));
    assert!(
        text.contains("unknown key thread;") && text.contains("threads") && text.contains("tandemd.toml"),
        "{text}"
    );

    let site = plan.site(net).replace("priority = 1", "priorty = 1");
    let text = refused("site", &plan.machine(net), &site);
    assert!(text.contains("priorty") && text.contains("priority") && text.contains("site.toml"), "{text}");
}

#[test]
fn a_port_that_is_in_use_is_named() {
    let (net, plan) = (Net::new(), Plan::default());
    let _holder = UdpSocket::bind(net.sip()).unwrap();
    let text = refused("port", &plan.machine(net), &plan.site(net));
    assert!(text.contains(&net.sip().to_string()) && text.contains("in use"), "{text}");
}

#[test]
fn a_bad_rate_file_changes_nothing() {
    let switch = Switch::start(&Plan::default());
    let before = (switch.ok(&["rates", "list", "-o", "json"]), switch.ok(&["rates", "export", "--group", "retail"]));
    fs::write(switch.folder.join("new.csv"), "fee_prefix,rate_per_min,increment\n44,0.02,60/60\n4420,abc,60/60\n")
        .unwrap();
    let done = switch.tandem(&["rates", "import", "new.csv", "--group", "retail", "--yes"]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(
        ["line 3", "rate_per_min", "abc", "nothing was imported"].iter().all(|words| done.err.contains(words)),
        "{done:?}"
    );
    let after = (switch.ok(&["rates", "list", "-o", "json"]), switch.ok(&["rates", "export", "--group", "retail"]));
    assert_eq!(before, after);

    // A column that nothing knows is a mistake, unless it is said not to be.
    let text = "fee_prefix,rate_per_min,increment,colour,area_nme\n44,0.02,60/60,red,UK\n";
    fs::write(switch.folder.join("new.csv"), text).unwrap();
    let done = switch.tandem(&["rates", "import", "new.csv", "--group", "retail", "--yes"]);
    assert_eq!((done.code, switch.ok(&["rates", "export", "--group", "retail"])), (2, before.1.clone()), "{done:?}");
    assert!(["colour", "did you mean area_name?", "--ignore-columns"].iter().all(|words| done.err.contains(words)));
    switch.ok(&["rates", "import", "new.csv", "--group", "retail", "--ignore-columns", "--dry-run"]);

    // The good rows alone: without --yes a preview, with it an import.
    fs::write(switch.folder.join("new.csv"), "fee_prefix,rate_per_min,increment\n44,0.02,60/60\n").unwrap();
    let preview = switch.tandem(&["rates", "import", "new.csv", "--group", "retail"]);
    assert_eq!((preview.code, switch.ok(&["rates", "export", "--group", "retail"])), (5, before.1), "{preview:?}");
    switch.ok(&["rates", "import", "new.csv", "--group", "retail", "--yes"]);
    let export = switch.ok(&["rates", "export", "--group", "retail"]);
    assert!(export.contains("\n44,") && export.contains("\n1212,"), "{export}");
}

#[test]
fn what_is_exported_can_be_applied() {
    let mut switch = Switch::start(&Plan { vendors: 2, ..Default::default() });
    let exported = switch.ok(&["export"]);
    fs::write(switch.folder.join("same.toml"), &exported).unwrap();
    assert!(switch.ok(&["apply", "same.toml"]).contains("nothing differs"), "an export applied again is no change");

    let changed = exported.replace("[mapping_gateway.acme]", "[mapping_gateway.acme]\ncapacity = 7");
    fs::write(switch.folder.join("changed.toml"), &changed).unwrap();
    let preview = switch.tandem(&["apply", "changed.toml"]);
    assert_eq!((preview.code, switch.ok(&["export"])), (5, exported.clone()), "{preview:?}");
    assert!(preview.out.contains("acme") && preview.out.contains('7'), "{preview:?}");
    switch.ok(&["apply", "changed.toml", "--yes"]);
    let acme = |switch: &Switch| switch.json(&["gateway", "list", "--kind", "mapping"])[0]["capacity"].clone();
    assert_eq!(acme(&switch), 7);

    // One bad value: the whole file is refused, the sentence names path, value and what is allowed.
    let bad = changed.replace("capacity = 7", "capacity = 8").replace("media = \"on\"", "media = \"sometimes\"");
    fs::write(switch.folder.join("bad.toml"), bad).unwrap();
    let done = switch.tandem(&["apply", "bad.toml", "--yes"]);
    assert_eq!(done.code, 2, "{done:?}");
    assert!(
        ["mapping_gateway.acme.media", "sometimes", "must_on"].iter().all(|words| done.err.contains(words)),
        "{done:?}"
    );
    assert_eq!(acme(&switch), 7);

    // It is still in force after a restart, although the bootstrap file says otherwise.
    let exported = switch.ok(&["export"]);
    switch.stop();
    switch.start_again();
    assert_eq!((switch.ok(&["export"]), acme(&switch)), (exported, 7.into()));
}

#[test]
fn a_decision_is_explained_without_a_call() {
    let switch = Switch::start(&Plan { vendors: 2, ..Default::default() });
    let ask = |callee| switch.json(&["explain", "--from", "acme", "--caller", "4930100", "--callee", callee]);
    let explained = ask("12125550100");
    let names: Vec<&str> =
        explained["candidates"].as_array().unwrap().iter().map(|row| row["gateway"].as_str().unwrap()).collect();
    assert_eq!(names, ["v1", "v2"], "{explained:#}");
    assert_eq!(
        (&explained["account"], &explained["rate"]["prefix"]),
        (&"acme".into(), &"1212".into()),
        "{explained:#}"
    );
    assert_eq!(explained["rate"]["rate_per_min"], "0.6", "{explained:#}");
    // 100.00 at 0.01 a second.
    assert_eq!(int(&explained["seconds_max"]), 10_000, "{explained:#}");

    let explained = ask("4420123");
    assert_eq!(explained["candidates"].as_array().map(Vec::len), Some(0), "{explained:#}");
    assert_eq!(explained["skipped"].as_array().map(Vec::len), Some(2), "{explained:#}");
    assert!(explained["refusal"]["sip_status"].as_u64().is_some(), "{explained:#}");
}
