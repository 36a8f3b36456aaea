//! Rate groups of a running switch, by its command line: a carrier's sheet, versions, rows, deletion. No SIPp needed.

use std::fmt::Write as _;
use std::fs;

use crate::common::{Plan, Switch, int};

const SHEET: &str = "North Carrier Ltd;;;;;\n\nDestination;Dial Code;Rate;Effective Date;Increments;Status\n\
    Germany;49;0,0120;01-Dec-49;60/60;Increase\nGermany Mobile;49151,49155-49157;0,0390;;1/1;New\n\
    Anguilla;1-264;0,2110;;30/6;\nCuba;0053;;;60+60;Blocked\n";

const TEMPLATE: &str = "[rate_template.north]\ndate_format = \"dd-MMM-yy\"\ndecimal_comma = true\n\
    [rate_template.north.columns]\ncode = \"Dial Code\"\nprice = \"Rate\"\narea_name = \"Destination\"\n\
    effective_from = \"Effective Date\"\nincrement = \"Increments\"\nlock = \"Status\"\n";

/// Prefix, price and lock of what is in force.
fn rows(switch: &Switch, more: &[&str]) -> Vec<String> {
    let asked = [&["rates", "show", "--group", "az"], more].concat();
    let line = |row: &serde_json::Value| {
        let lock = if row["lock"] == true { " locked" } else { "" };
        format!("{} {}{lock}", row["prefix"].as_str().unwrap(), row["rate_per_min"].as_str().unwrap())
    };
    switch.json(&asked).as_array().unwrap().iter().map(line).collect()
}

#[test]
fn a_carriers_sheet_its_versions_and_the_way_back() {
    let mut switch = Switch::start(&Plan::default());
    let site = switch.ok(&["export"]);
    fs::write(switch.folder.join("with.toml"), format!("{site}\n{TEMPLATE}")).unwrap();
    switch.ok(&["apply", "with.toml", "--yes"]);
    assert!(switch.ok(&["export"]).contains("[rate_template.north"));

    fs::write(switch.folder.join("north.csv"), SHEET).unwrap();
    let import = ["rates", "import", "north.csv", "--group", "az"];
    let preview = switch.tandem(&import);
    assert!(preview.code == 5 && preview.out.contains("template:") && preview.out.contains("north"), "{preview:?}");
    let differences = switch.ok(&[&import[..], &["--differences", "--dry-run", "-o", "csv"]].concat());
    assert_eq!(differences.lines().count(), 8, "{differences}");
    switch.ok(&[&import[..], &["--yes", "-m", "first list"]].concat());
    let first = ["1264 0.211", "49151 0.039", "49155 0.039", "49156 0.039", "49157 0.039", "53 0 locked"];
    assert_eq!(rows(&switch, &[]), first);
    // Germany begins in 2049.
    assert_eq!(rows(&switch, &["--prefix", "49", "--all"]), ["49 0.012"]);
    assert_eq!(rows(&switch, &["--number", "4915123", "--all"]), ["49151 0.039", "49 0.012"]);
    assert_eq!(rows(&switch, &["--sort", "price", "--descending", "--limit", "2"]), ["1264 0.211", "49157 0.039"]);
    assert_eq!(rows(&switch, &["--locked"]), ["53 0 locked"]);

    // A sheet that is wrong names line and column, and nothing is changed.
    fs::write(switch.folder.join("bad.csv"), SHEET.replace("0,0390", "-0,0390")).unwrap();
    let bad = switch.tandem(&["rates", "import", "bad.csv", "--group", "az", "--yes"]);
    assert_eq!(bad.code, 2);
    assert!(
        ["line 5", "Rate", "-0,0390", "0 or more", "nothing was imported"].iter().all(|w| bad.err.contains(w)),
        "{bad:?}"
    );

    // One row, a whole new list, a look at what differs, and back.
    switch.ok(&["rates", "set", "1264", "price=0.5", "--group", "az"]);
    fs::write(switch.folder.join("next.csv"), "code,price,increment\n1264,0.1,1/1\n7,0.02,60/60\n").unwrap();
    switch.ok(&["rates", "import", "next.csv", "--group", "az", "--mode", "replace", "--yes"]);
    assert_eq!(rows(&switch, &[]), ["1264 0.1", "7 0.02"]);
    let history = switch.json(&["rates", "history", "--group", "az"]);
    let of = |n: usize, field: &str| history[n][field].clone();
    assert_eq!([of(0, "version"), of(1, "version"), of(2, "version")].map(|v| int(&v)), [3, 2, 1]);
    assert_eq!(
        [of(0, "how"), of(1, "how"), of(2, "comment")].map(|v| v.as_str().unwrap().to_owned()),
        ["import", "set", "first list"]
    );
    assert_eq!((of(2, "source"), int(&of(2, "rows"))), ("north.csv".into(), 7));
    let compared = switch.json(&["rates", "compare", "1", "3", "--group", "az"]);
    let line =
        |row: &serde_json::Value| format!("{} {}", row["change"].as_str().unwrap(), row["prefix"].as_str().unwrap());
    let lines: Vec<String> = compared.as_array().unwrap().iter().map(line).collect();
    assert_eq!(
        lines,
        [
            "lowered 1264",
            "closed 49",
            "closed 49151",
            "closed 49155",
            "closed 49156",
            "closed 49157",
            "closed 53",
            "added 7"
        ]
    );
    assert_eq!(compared[0]["percent"], "-52.61");
    switch.ok(&["rates", "rollback", "1", "--group", "az", "--yes"]);
    assert_eq!(rows(&switch, &[]), first);
    switch.ok(&["rates", "delete", "53", "--group", "az", "--yes"]);
    assert_eq!(rows(&switch, &[]).len(), 5);

    // What is exported imports to the same, and a restart keeps all of it.
    let export = switch.ok(&["rates", "export", "--group", "az"]);
    fs::write(switch.folder.join("same.csv"), &export).unwrap();
    switch.ok(&["rates", "import", "same.csv", "--group", "copy", "--yes"]);
    assert_eq!(switch.ok(&["rates", "export", "--group", "copy"]), export);
    switch.stop();
    switch.start_again();
    assert_eq!(switch.ok(&["rates", "export", "--group", "az"]), export);

    // A group that an account has stays; another goes, and its versions go on when it comes back.
    let used = switch.tandem(&["rates", "drop", "retail", "--yes"]);
    assert!(used.code != 0 && used.err.contains("account.acme.rate_group"), "{used:?}");
    switch.ok(&["rates", "drop", "copy", "--yes"]);
    assert_ne!(switch.tandem(&["rates", "export", "--group", "copy"]).code, 0);
    switch.ok(&["rates", "import", "next.csv", "--group", "copy", "--yes"]);
    let versions = switch.json(&["rates", "history", "--group", "copy"]);
    assert_eq!((int(&versions[0]["version"]), versions[1]["how"].as_str()), (3, Some("drop")));
}

#[test]
fn a_deck_in_parts_is_whole_after_a_kill() {
    let mut switch = Switch::start(&Plan::default());
    let mut csv = "code,area_name,price,increment\n".to_owned();
    for code in 0..30_000 {
        let _ = writeln!(csv, "1{code:05},Area {},0.{:04},60/60", code % 700, code % 9_000 + 1);
    }
    fs::write(switch.folder.join("large.csv"), &csv).unwrap();
    switch.ok(&["rates", "import", "large.csv", "--group", "large", "--yes"]);
    let export = switch.ok(&["rates", "export", "--group", "large"]);
    assert_eq!(export.lines().count(), 30_001);
    switch.kill();
    switch.start_again();
    assert_eq!(switch.ok(&["rates", "export", "--group", "large"]), export);
    // Without its database, from the journal alone.
    switch.kill();
    fs::remove_file(switch.folder.join("data/journal/tandem.db")).unwrap();
    switch.start_again();
    assert_eq!(switch.ok(&["rates", "export", "--group", "large"]), export);
    assert_eq!(int(&switch.json(&["rates", "history", "--group", "large"])[0]["rows"]), 30_000);
}
