//! The database is damaged, cut, or gone: the journal is the truth, and writes it anew.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde_json::Value;

use crate::books;
use crate::common::{Customer, Plan, Sipp, Switch, sipp_is_there, until};
use crate::crash::rich;
use crate::machine::{open_for_damage, tampering};

/// Bytes of a page of a new database (`tandem_store`).
const PAGE: u64 = 8_192;

/// Its name, what is done to the file, and a word of the report.
type Damage = (&'static str, fn(&Path), &'static str);

const DAMAGES: [Damage; 6] = [
    ("deleted", |path| fs::remove_file(path).unwrap(), "missing"),
    ("cut to half", |path| cut(path, 2), "tandem.db"),
    ("cut to nothing", |path| open_for_damage(path).set_len(0).unwrap(), "empty"),
    ("header overwritten", |path| flip(path, &[0]), "not a database"),
    ("pages flipped", |path| flip(path, &[PAGE, 3 * PAGE, 9 * PAGE, 20 * PAGE]), "tandem.db"),
    ("another file", |path| fs::write(path, vec![0xa5; 100_000]).unwrap(), "not a database"),
];

fn cut(path: &Path, by: u64) {
    let file = open_for_damage(path);
    file.set_len(file.metadata().unwrap().len() / by).unwrap();
}

/// Inverts bytes at each offset.
fn flip(path: &Path, offsets: &[u64]) {
    let file = open_for_damage(path);
    for offset in offsets {
        let mut bytes = [0; 24];
        file.read_exact_at(&mut bytes, *offset).unwrap();
        file.write_all_at(&bytes.map(|byte| !byte), *offset).unwrap();
    }
}

/// Everything an operator can ask of money and calls.
fn told(switch: &Switch) -> Vec<Value> {
    let ledgers = ["acme", "carrier"].map(|name| switch.json(&["ledger", "list", name, "--limit", "5000"]));
    let site = Value::from(switch.ok(&["export"]));
    let mut all = vec![switch.json(&["account", "list"]), switch.json(&["cdr", "totals"]), site];
    all.extend(ledgers);
    all.extend(switch.cdrs());
    all
}

#[test]
fn a_damaged_database_is_written_anew_and_says_the_same() {
    if !sipp_is_there() {
        return;
    }
    let mut switch = Switch::start(&Plan { opening: "1000", ..rich() });
    let database = books::journal(&switch).join("tandem.db");
    let mut kept = 0;
    for (damage, apply, word) in DAMAGES {
        {
            let _vendor = Sipp::vendor(&switch, 1, "vendor_answers", &[]);
            Customer { calls: 30, rate: 30, hold_ms: 100, ..Default::default() }.run(&switch);
        }
        switch.ok(&["account", "pay", "acme", "12.34", "--memo", damage]);
        switch.ok(&["param", "set", "SS_SIP_SESSION_TTL", &(600 + kept).to_string()]);
        books::audit(&switch);
        let before = told(&switch);
        switch.stop();
        let seen = switch.log().len();
        apply(&database);
        switch.start_again();
        books::audit(&switch);
        assert_eq!(told(&switch), before, "{damage}");
        let log = switch.log()[seen..].to_owned();
        for part in [word, "the database was not used", "written anew from the whole journal"] {
            assert!(log.contains(part), "{damage}: {part} is not in\n{log}");
        }
        let aside = fs::read_dir(books::journal(&switch)).unwrap().map(|file| file.unwrap().file_name());
        let aside = aside.filter(|name| {
            let name = name.to_str().unwrap();
            name.starts_with("tandem.db.aside-") && !name.ends_with("-wal") && !name.ends_with("-shm")
        });
        let aside = aside.count();
        assert_eq!(aside, kept as usize + usize::from(damage != "deleted"), "{damage}");
        kept = aside as u64;
    }
    // And the switch works.
    let rows = switch.cdrs();
    assert_eq!(rows.len(), 30 * DAMAGES.len());
    switch.assert_the_books_agree(&rows);
}

#[test]
fn damage_while_running_is_told_and_the_next_start_mends_it() {
    if !sipp_is_there() {
        return;
    }
    let mut switch = Switch::start(&rich());
    let _vendor = Sipp::vendor(&switch, 1, "vendor_answers", &[]);
    Customer { calls: 50, rate: 30, ..Default::default() }.run(&switch);
    books::audit(&switch);
    let before = switch.cdrs();
    let database = books::journal(&switch).join("tandem.db");
    // Every page but the first, also what waits in the log.
    for file in [database.clone(), database.with_extension("db-wal")] {
        let file = open_for_damage(&file);
        let len = file.metadata().unwrap().len();
        file.write_all_at(&vec![0x5a; len.saturating_sub(PAGE) as usize], PAGE).unwrap();
    }
    let done = switch.tandem(&["cdr", "list", "-o", "json"]);
    assert!(done.code == 1 && done.err.contains("tandem.db"), "{done:?}");
    let status = switch.json(&["status"]);
    assert!(status["warnings"].to_string().contains("the database is damaged"), "{status:#}");
    // Calls know nothing of it.
    Customer { calls: 50, rate: 30, ..Default::default() }.run(&switch);
    until("the calls are settled", || (books::counter(&switch, "cdr_settled") == 100).then_some(()));
    switch.kill();
    switch.start_again();
    assert!(switch.log().contains("the database was not used: while the switch ran"), "{}", switch.log());
    assert_eq!(books::audit(&switch).cdrs, 100);
    let rows = switch.cdrs();
    assert!(before.iter().all(|row| rows.contains(row)));
    switch.assert_the_books_agree(&rows);
    assert_eq!(switch.json(&["status"])["warnings"], Value::Array(Vec::new()));
}

/// The file system refuses to take pages of the database, and only those.
#[test]
fn a_database_that_cannot_be_written_costs_no_record() {
    if !sipp_is_there() {
        return;
    }
    let mut through = None;
    let mut switch = Switch::start_through(&rich(), |folder| {
        let log = folder.join("data/journal/tandem.db-wal");
        // The first start writes tables, site and decks.
        through = tampering("pwrite64", "pwrite64:error=EIO:when=200+", Some(&log));
        through.clone().unwrap_or_default()
    });
    if through.is_none() {
        return;
    }
    let _vendor = Sipp::vendor(&switch, 1, "vendor_answers", &[]);
    let mut calls = 0;
    until("the database cannot be written", || {
        Customer { calls: 50, rate: 30, ..Default::default() }.run(&switch);
        calls += 50;
        (books::counter(&switch, "store_errors") > 0).then_some(())
    });
    Customer { calls: 50, rate: 30, ..Default::default() }.run(&switch);
    calls += 50;
    let status = switch.json(&["status"]);
    assert_eq!(status["state"], "running");
    assert!(status["cdr_queue"].as_u64() > Some(0), "{status:#}");
    assert!(status["warnings"].to_string().contains("the database"), "{status:#}");
    assert!(switch.log().contains("the database cannot be written, records stay in the journal"), "{}", switch.log());
    // Alarm 20006: told, and nothing else happens.
    switch.ok(&["param", "set", "SERVER_MAX_CDR_PENDING_LIST_LENGTH", "20"]);
    until("the alarm of waiting CDRs", || {
        let status = switch.json(&["status"]);
        let pending = status["counters"]["cdrs_pending"].as_u64().unwrap();
        (pending > 20 && status["warnings"].to_string().contains("alarm 20006")).then_some(())
    });
    assert!(switch.log().contains("error: alarm 20006: "), "{}", switch.log());
    Customer { calls: 10, rate: 30, ..Default::default() }.run(&switch);
    calls += 10;
    until("the calls are settled", || (books::counter(&switch, "cdr_settled") == calls).then_some(()));
    switch.kill();
    switch.start_again_through(Vec::new());
    assert_eq!(books::audit(&switch).cdrs, calls);
    switch.assert_the_books_agree(&switch.cdrs());
}
