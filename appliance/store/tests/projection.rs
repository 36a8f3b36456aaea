//! From journal to database and back to questions.

mod support;

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use rusqlite::Connection;
use rusqlite::types::Value as SqlValue;
use support::{MIDNIGHT_MS, Traffic, dump, full_cdr, money, numbered, open, param, write};
use tandem_rating::cdr::{CDR_FIELDS, Cdr, CdrValue};
use tandem_rating::money::Money;
use tandem_rating::record::{LedgerKind, LedgerRow, Record};
use tandem_rating::usage::Usage;
use tandem_store::{
    CdrFilter, Checkpointer, DATABASE_FILE, LIMIT_MAX, LedgerFilter, Projector, Queries, Reader, StoreError,
    StoreOptions, recover, settle_recovered,
};
use tempfile::tempdir;

fn projector(dir: &Path) -> Projector {
    Projector::open(dir, &StoreOptions::new("EUR")).unwrap()
}

fn settled(cdr: Cdr) -> Record {
    Record::Settled { flow_no: cdr.flow_no, cdr: Some(Box::new(cdr)), ledger: Vec::new() }
}

fn row(key: &str, account: &str, amount: &str, after: &str) -> LedgerRow {
    LedgerRow {
        key: key.into(),
        account: account.into(),
        kind: LedgerKind::Payment,
        amount: money(amount),
        balance_after: money(after),
        at_ms: 1,
        flow_no: None,
        user: "root".into(),
        memo: String::new(),
    }
}

/// Everything the database says agrees with itself and with the books of `traffic`.
fn audit(dir: &Path, traffic: &Traffic) {
    let queries = Queries::open(dir).unwrap();
    let verified = queries.verify().unwrap();
    assert_eq!(verified.problems, Vec::<String>::new());
    let balances: Vec<_> = queries.accounts().unwrap().into_iter().map(|one| (one.name, one.balance)).collect();
    assert_eq!(balances, traffic.balances.clone().into_iter().collect::<Vec<_>>());
    assert_eq!(verified.cdrs, traffic.settled.values().filter(|has| **has).count() as u64);
}

#[test]
fn a_cdr_reads_back_field_by_field() {
    let dir = tempdir().unwrap();
    let full = full_cdr(4_503_599_627_370_497, MIDNIGHT_MS);
    let bare = Cdr { flow_no: 7, end_ms: MIDNIGHT_MS + 1, ..Cdr::default() };
    let mut projector = projector(dir.path());
    projector.apply_batch(&numbered(&[settled(full.clone()), settled(bare.clone())])).unwrap();
    let queries = Queries::open(dir.path()).unwrap();
    assert_eq!(queries.cdr_show(full.flow_no).unwrap(), Some(Cdr { id: 1, ..full }));
    assert_eq!(queries.cdr_show(7).unwrap(), Some(Cdr { id: 2, ..bare }));
    assert_eq!(queries.cdr_show(8).unwrap(), None);
}

#[test]
fn applying_twice_changes_nothing() {
    let dir = tempdir().unwrap();
    let mut traffic = Traffic::new(2);
    let records = numbered(&traffic.take(600));
    let mut first = projector(dir.path());
    let applied = first.apply_batch(&records).unwrap();
    assert_eq!((applied.records, applied.duplicates, applied.disagreements), (600, 0, 0), "{:?}", applied.notes);
    let before = dump(dir.path());
    let again = first.apply_batch(&records).unwrap();
    assert_eq!((again.records, again.skipped), (0, 600));
    let mut later = projector(dir.path());
    let overlap = later.apply_batch(&records[300..]).unwrap();
    assert_eq!((overlap.records, overlap.skipped, overlap.applied_seq), (0, 300, 600));
    assert_eq!(dump(dir.path()), before);
    audit(dir.path(), &traffic);
}

#[test]
fn a_known_flow_number_and_a_known_key_are_not_booked_again() {
    let dir = tempdir().unwrap();
    let mut traffic = Traffic::new(3);
    let call = traffic.call(50);
    let payment = Record::Ledger(row("payment/1", "acme", "5", "5"));
    let mut projector = projector(dir.path());
    projector.apply_batch(&[(1, call.clone()), (2, payment.clone())]).unwrap();
    let before = dump(dir.path()).replace("applied_seq|2", "applied_seq|4");
    // The same call, ended on another day and with other keys, as a confused sender might report it.
    let Record::Settled { cdr: Some(cdr), mut ledger, .. } = call else { panic!("a call") };
    ledger.iter_mut().for_each(|row| row.key.push_str("/again"));
    let cdr = Some(Box::new(Cdr { end_ms: cdr.end_ms + 86_400_000, ..*cdr }));
    let applied = projector.apply_batch(&[(3, Record::Settled { flow_no: 50, cdr, ledger }), (4, payment)]).unwrap();
    assert_eq!((applied.duplicates, applied.cdrs, applied.ledger_rows), (2, 0, 0));
    assert!(applied.notes[0].contains("call 50") && applied.notes[1].contains("payment/1"), "{:?}", applied.notes);
    assert_eq!(dump(dir.path()), before);
}

#[test]
fn a_wrong_balance_after_is_told_and_the_sum_is_kept() {
    let dir = tempdir().unwrap();
    let mut projector = projector(dir.path());
    let records =
        [Record::Ledger(row("a", "acme", "0.10000001", "0.10000001")), Record::Ledger(row("b", "acme", "0.2", "0.4"))];
    let applied = projector.apply_batch(&numbered(&records)).unwrap();
    assert_eq!((applied.ledger_rows, applied.disagreements), (2, 1));
    assert!(applied.notes[0].contains("0.30000001"), "{:?}", applied.notes);
    let queries = Queries::open(dir.path()).unwrap();
    assert_eq!(queries.accounts().unwrap()[0].balance, money("0.30000001"));
    assert_eq!(queries.verify().unwrap().wrong, 1);
}

#[test]
fn a_batch_is_applied_whole_or_not_at_all() {
    let dir = tempdir().unwrap();
    let mut traffic = Traffic::new(4);
    let mut records = numbered(&traffic.take(50));
    let mut projector = projector(dir.path());
    projector.apply_batch(&records[..20]).unwrap();
    let before = dump(dir.path());
    let good = records.clone();
    let huge = Record::Ledger(row("huge", "customer-0", "999999999999.99999999", "0"));
    records[49].1 = huge.clone();
    records[48].1 = Record::Ledger(row("huger", "customer-0", "999999999999.99999999", "0"));
    let error = projector.apply_batch(&records).unwrap_err();
    assert!(matches!(&error, StoreError::Money { account, .. } if account == "customer-0"), "{error}");
    assert_eq!(dump(dir.path()), before);
    assert_eq!(projector.applied_seq(), 20);
    projector.apply_batch(&good).unwrap();
    audit(dir.path(), &traffic);
}

#[test]
fn the_projector_takes_the_same_records_again_after_an_error() {
    let dir = tempdir().unwrap();
    let mut journal = open(dir.path());
    write(&mut journal, &[param("1"), param("2")]);
    let mut reader = Reader::from_seq(dir.path(), 1).unwrap();
    let mut projector = projector(dir.path());
    let other = Connection::open(dir.path().join(DATABASE_FILE)).unwrap();
    other.execute_batch("DROP VIEW param; ALTER TABLE param_history RENAME TO moved").unwrap();
    let error = projector.run_once(&mut reader, 10).unwrap_err().to_string();
    assert!(error.contains("tandem.db") && error.contains("param_history"), "{error}");
    other.execute_batch("ALTER TABLE moved RENAME TO param_history").unwrap();
    assert_eq!(projector.run_once(&mut reader, 10).unwrap().records, 2);
}

#[test]
fn an_empty_database_is_rebuilt_from_the_journal() {
    let dir = tempdir().unwrap();
    let mut traffic = Traffic::new(5);
    let mut journal = open(dir.path());
    let mut projector = projector(dir.path());
    let mut reader = Reader::from_seq(dir.path(), 1).unwrap().bound_to(journal.positions());
    for _ in 0..20 {
        write(&mut journal, &traffic.take(50));
        journal.sync_handle().sync().unwrap();
        projector.run_once(&mut reader, 70).unwrap();
    }
    while projector.run_once(&mut reader, 70).unwrap().records > 0 {}
    drop(projector);
    let before = dump(dir.path());
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(dir.path().join(format!("{DATABASE_FILE}{suffix}")));
    }
    let recovered = recover(&mut journal, &StoreOptions::new("EUR"), MIDNIGHT_MS).unwrap();
    assert_eq!(dump(dir.path()), before);
    assert_eq!(recovered.balances, traffic.balances.clone().into_iter().collect::<Vec<_>>());
    audit(dir.path(), &traffic);
}

#[test]
fn recovery_gives_back_what_the_switch_needs() {
    let dir = tempdir().unwrap();
    let usage =
        Usage { flow_no: 900, setup_ms: 1_000, connect_ms: Some(3_000), caller_in: "123".into(), ..Usage::default() };
    let started =
        |flow_no| Record::Start { usage: Box::new(Usage { flow_no, ..usage.clone() }), carry: vec![flow_no as u8] };
    let mut traffic = Traffic::new(6);
    let records = [
        started(900),
        started(901),
        started(902),
        Record::Heartbeat {
            at_ms: 10_000,
            alive: vec![(900, 7_000), (901, 7_000)],
            unacknowledged: vec![(902, 4_000)],
        },
        Record::Heartbeat { at_ms: 15_000, alive: vec![(900, 12_000)], unacknowledged: vec![(902, 9_000)] },
        traffic.call(901),
        Record::Site { version: 1, at_ms: 1, user: "a".into(), text: "one".into() },
        Record::Site { version: 2, at_ms: 2, user: "b".into(), text: "two".into() },
        param("600"),
        param("900"),
        Record::Deck { version: 1, at_ms: 3, user: "a".into(), group: "gold".into(), csv: "old".into() },
        Record::Deck { version: 2, at_ms: 4, user: "a".into(), group: "gold".into(), csv: "new".into() },
        Record::Settled { flow_no: 950, cdr: None, ledger: Vec::new() },
    ];
    write(&mut open(dir.path()), &records);
    let mut journal = open(dir.path());
    let mut recovered = recover(&mut journal, &StoreOptions::new("EUR"), 20_000).unwrap();
    let open_calls: Vec<_> = recovered.open_calls.iter().map(|call| (call.usage.flow_no, call.held_ms)).collect();
    assert_eq!(open_calls, [(900, 12_000), (902, 9_000)]);
    assert_eq!(recovered.open_calls[0].usage, usage);
    assert_eq!([recovered.open_calls[0].acknowledged, recovered.open_calls[1].acknowledged], [true, false]);
    assert_eq!(recovered.open_calls[0].carry, [900u16 as u8]);
    assert_eq!(recovered.flow_floor, 950);
    let site = recovered.site.clone().unwrap();
    assert_eq!((site.version, site.text.as_str(), site.user.as_str()), (2, "two", "b"));
    assert_eq!(recovered.params.len(), 1);
    assert_eq!(recovered.params[0].value, "900");
    assert_eq!((recovered.decks.len(), recovered.decks[0].csv.as_str()), (1, "new"));
    assert_eq!(journal.positions().applied(), 13);
    assert!(recovered.lines.iter().any(|line| line.contains("5000 ms ago")), "{:?}", recovered.lines);

    let call = recovered.open_calls.remove(0);
    let settled = settle_recovered(call.usage, call.held_ms);
    assert_eq!((settled.hold_ms, settled.end_ms, settled.connect_ms), (12_000, 15_000, Some(3_000)));
    assert_eq!((settled.end_direction, settled.end_reason, settled.flags.recovered), (2, -40, true));
    assert_eq!(settled.caller_in, "123");

    // Settling them through the journal closes them, once.
    for flow_no in [900, 902] {
        journal.append(&traffic.call(flow_no)).unwrap();
    }
    journal.flush().unwrap();
    assert_eq!(recovered.projector.run_once(&mut recovered.reader, 10).unwrap().records, 0, "not synced yet");
    journal.sync_handle().sync().unwrap();
    assert_eq!(recovered.projector.run_once(&mut recovered.reader, 10).unwrap().records, 2);
    drop(recovered);
    assert!(recover(&mut journal, &StoreOptions::new("EUR"), 0).unwrap().open_calls.is_empty());
}

#[test]
fn a_start_that_comes_again_does_not_reopen_a_settled_call() {
    let dir = tempdir().unwrap();
    let mut traffic = Traffic::new(7);
    let start = traffic.start();
    let call = traffic.call(traffic.next_flow);
    write(&mut open(dir.path()), &[start.clone(), start.clone(), call, start]);
    let mut journal = open(dir.path());
    assert!(recover(&mut journal, &StoreOptions::new("EUR"), 0).unwrap().open_calls.is_empty());
}

#[test]
fn a_database_ahead_of_its_journal_still_books_what_comes() {
    let dir = tempdir().unwrap();
    let mut traffic = Traffic::new(8);
    let mut journal = open(dir.path());
    write(&mut journal, &traffic.take(100));
    recover(&mut journal, &StoreOptions::new("EUR"), 0).unwrap();
    drop(journal);
    // The journal comes back from an older backup: its end is gone.
    let path = dir.path().join("journal-00000000000000000001.tj");
    let len = fs::metadata(&path).unwrap().len();
    fs::File::options().write(true).open(&path).unwrap().set_len(len / 2).unwrap();
    let mut journal = open(dir.path());
    let recovered = recover(&mut journal, &StoreOptions::new("EUR"), 0).unwrap();
    assert!(recovered.lines[0].contains("ahead of the journal"), "{:?}", recovered.lines);
    drop(recovered);
    write(&mut journal, &traffic.take(100));
    recover(&mut journal, &StoreOptions::new("EUR"), 0).unwrap();
    audit(dir.path(), &traffic);
}

/// Twelve calls on two days: six customers' worth of filters.
fn filled(dir: &Path) -> Queries {
    let cdr = |index: u64| Cdr {
        flow_no: 100 + index,
        end_ms: MIDNIGHT_MS - 6_000 + index as i64 * 1_000,
        connect_ms: (!index.is_multiple_of(3)).then_some(1),
        hold_s: index as i64,
        account: if index.is_multiple_of(2) { "acme".into() } else { "best".into() },
        vendor_account: "tel".into(),
        caller_billed: format!("49{index}").into(),
        callee_billed: format!("1212{index}").into(),
        caller_gateway: "mg".into(),
        callee_gateway: if index < 4 { "rg1".into() } else { "rg2".into() },
        end_reason: if index == 5 { 486 } else { 200 },
        fee: money(&format!("0.{index}1")),
        vendor_fee: money(&format!("0.{index}")),
        margin: money("0.01"),
        ..Cdr::default()
    };
    let records: Vec<Record> = (0..12).map(|index| settled(cdr(index))).collect();
    projector(dir).apply_batch(&numbered(&records)).unwrap();
    Queries::open(dir).unwrap()
}

fn flows(queries: &Queries, filter: CdrFilter) -> Vec<u64> {
    queries.cdr_list(&filter).unwrap().iter().map(|cdr| cdr.flow_no - 100).collect()
}

#[test]
fn filters_choose_and_pages_follow_each_other() {
    let dir = tempdir().unwrap();
    let queries = filled(dir.path());
    let all = CdrFilter::default;
    let text = |value: &str| Some(value.to_owned());
    assert_eq!(flows(&queries, all()), [11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    for (filter, expected) in [
        (CdrFilter { account: text("acme"), oldest_first: true, ..all() }, vec![0, 2, 4, 6, 8, 10]),
        (CdrFilter { account: text("nobody"), ..all() }, vec![]),
        (CdrFilter { vendor_account: text("tel"), limit: Some(1), ..all() }, vec![11]),
        (CdrFilter { caller_prefix: text("491"), ..all() }, vec![11, 10, 1]),
        (CdrFilter { callee_prefix: text("12121"), account: text("best"), ..all() }, vec![11, 1]),
        (CdrFilter { callee_prefix: text("121%"), ..all() }, vec![]),
        (CdrFilter { gateway: text("rg1"), ..all() }, vec![3, 2, 1, 0]),
        (CdrFilter { gateway: text("mg"), callee_gateway: text("rg1"), limit: Some(2), ..all() }, vec![3, 2]),
        (CdrFilter { caller_gateway: text("rg1"), ..all() }, vec![]),
        (CdrFilter { end_reason: Some(486), ..all() }, vec![5]),
        (CdrFilter { answered: Some(false), ..all() }, vec![9, 6, 3, 0]),
        (CdrFilter { answered: Some(true), account: text("best"), ..all() }, vec![11, 7, 5, 1]),
        (CdrFilter { flow_no: Some(103), ..all() }, vec![3]),
        (CdrFilter { flow_no: Some(999), ..all() }, vec![]),
        (CdrFilter { day: Some(20_261_121), ..all() }, vec![5, 4, 3, 2, 1, 0]),
        (CdrFilter { day: Some(20_261_121), flow_no: Some(111), ..all() }, vec![]),
        (CdrFilter { from_ms: Some(MIDNIGHT_MS - 1_000), to_ms: Some(MIDNIGHT_MS + 1_000), ..all() }, vec![6, 5]),
        (CdrFilter { from_ms: Some(MIDNIGHT_MS + 86_400_000 * 9), ..all() }, vec![]),
        (CdrFilter { account: text("a' OR '1'='1"), ..all() }, vec![]),
    ] {
        assert_eq!(flows(&queries, filter.clone()), expected, "{filter:?}");
    }
    for oldest_first in [true, false] {
        for limit in 1..=13 {
            let mut seen = Vec::new();
            for page in 0..13 {
                let filter = CdrFilter { limit: Some(limit), offset: page * limit as u64, oldest_first, ..all() };
                seen.extend(flows(&queries, filter));
            }
            if !oldest_first {
                seen.reverse();
            }
            assert_eq!(seen, (0..12).collect::<Vec<u64>>(), "pages of {limit}");
        }
    }
}

#[test]
fn totals_are_exact() {
    let dir = tempdir().unwrap();
    let queries = filled(dir.path());
    let totals = queries.cdr_totals(&CdrFilter::default()).unwrap();
    assert_eq!((totals.calls, totals.answered, totals.hold_s), (12, 8, 66));
    // 0.01, 0.11, .. 0.91, 0.101, 0.111; and 0, 0.1, .. 0.9, 0.10, 0.11.
    assert_eq!((totals.fee, totals.cost, totals.margin), (money("4.812"), money("4.71"), money("0.12")));
    let filter =
        CdrFilter { day: Some(20_261_122), account: Some("best".into()), limit: Some(1), ..CdrFilter::default() };
    let totals = queries.cdr_totals(&filter).unwrap();
    assert_eq!((totals.calls, totals.fee), (3, money("1.731")));
    assert_eq!(totals.tax, Money::ZERO);
}

#[test]
fn questions_that_cannot_be_answered_are_refused_in_words() {
    let dir = tempdir().unwrap();
    let queries = filled(dir.path());
    let all = CdrFilter::default;
    for limit in [0, LIMIT_MAX + 1] {
        let error = queries.cdr_list(&CdrFilter { limit: Some(limit), ..all() }).unwrap_err().to_string();
        assert!(error.contains(&format!("limit {limit}: 1 to {LIMIT_MAX}")), "{error}");
    }
    assert_eq!(flows(&queries, CdrFilter { limit: Some(LIMIT_MAX), ..all() }).len(), 12);
    for (filter, words) in [
        (CdrFilter { day: Some(20_261_123), ..all() }, "there are days from 20261121 to 20261122"),
        (CdrFilter { day: Some(7), ..all() }, "day 7:"),
        (CdrFilter { from_ms: Some(2), to_ms: Some(2), ..all() }, "from_ms 2: must be before to_ms 2"),
    ] {
        let error = queries.cdr_list(&filter).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let filter = LedgerFilter { kind: Some("tribute".into()), ..LedgerFilter::default() };
    let error = queries.ledger_list(&filter).unwrap_err().to_string();
    assert!(error.contains("\"tribute\"") && error.contains("make_zero"), "{error}");
    let empty = tempdir().unwrap();
    assert!(Queries::open(empty.path()).unwrap_err().to_string().contains("tandem.db"));
    projector(empty.path());
    let error = Queries::open(empty.path()).unwrap().cdr_list(&CdrFilter { day: Some(20_261_123), ..all() });
    assert!(error.unwrap_err().to_string().contains("no calls are stored yet"));
}

#[test]
fn the_ledger_is_listed_by_account_kind_and_call() {
    let dir = tempdir().unwrap();
    let mut traffic = Traffic::new(9);
    let records = [Record::Ledger(row("p/1", "acme", "10", "10")), traffic.call(77), traffic.call(78)];
    projector(dir.path()).apply_batch(&numbered(&records)).unwrap();
    let queries = Queries::open(dir.path()).unwrap();
    let list =
        |filter: LedgerFilter| queries.ledger_list(&filter).unwrap().into_iter().map(|row| row.key).collect::<Vec<_>>();
    let all = LedgerFilter::default;
    assert_eq!(list(all()).len(), 5);
    assert_eq!(list(LedgerFilter { account: Some("acme".into()), ..all() }), ["p/1"]);
    assert_eq!(list(LedgerFilter { kind: Some("payment".into()), ..all() }), ["p/1"]);
    let call = LedgerFilter { flow_no: Some(78), oldest_first: true, ..all() };
    assert_eq!(list(call), ["call:78:customer", "call:78:vendor"]);
    assert_eq!(list(LedgerFilter { limit: Some(2), offset: 4, ..all() }), ["p/1"]);
    let row = queries.ledger_list(&LedgerFilter { account: Some("acme".into()), ..all() }).unwrap().remove(0);
    assert_eq!((row.amount, row.balance_after, row.user.as_str()), (money("10"), money("10"), "root"));
}

#[test]
fn the_audit_sees_money_that_was_tampered_with() {
    let dir = tempdir().unwrap();
    let mut traffic = Traffic::new(10);
    projector(dir.path()).apply_batch(&numbered(&traffic.take(300))).unwrap();
    audit(dir.path(), &traffic);
    let tables: Vec<i64> = {
        let connection = Connection::open(dir.path().join(DATABASE_FILE)).unwrap();
        let mut statement = connection.prepare("SELECT day FROM cdr_day").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let table = format!("cdr_{}_row", tables[0]);
    for change in [
        "UPDATE account SET balance = '1' WHERE name = 'customer-1'".to_owned(),
        "UPDATE ledger_row SET amount = '0.00000001' WHERE id = 3".to_owned(),
        "DELETE FROM ledger_row WHERE id = 5".to_owned(),
        format!("UPDATE {table} SET fee = '123' WHERE flow_no = (SELECT min(flow_no) FROM {table})"),
        format!("DELETE FROM {table} WHERE flow_no = (SELECT min(flow_no) FROM {table})"),
        format!("DELETE FROM settled WHERE flow_no = (SELECT min(flow_no) FROM {table})"),
    ] {
        let connection = Connection::open(dir.path().join(DATABASE_FILE)).unwrap();
        connection.execute_batch("BEGIN").unwrap();
        assert_eq!(connection.execute(&change, []).unwrap(), 1, "{change}");
        connection.execute_batch("COMMIT").unwrap();
        assert!(Queries::open(dir.path()).unwrap().verify().unwrap().wrong > 0, "{change}");
        drop(connection);
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(dir.path().join(format!("{DATABASE_FILE}{suffix}")));
        }
        let mut again = Traffic::new(10);
        projector(dir.path()).apply_batch(&numbered(&again.take(300))).unwrap();
    }
}

#[test]
fn files_that_are_not_ours_are_refused_with_name_and_cure() {
    let dir = tempdir().unwrap();
    let path = dir.path().join(DATABASE_FILE);
    fs::write(&path, vec![b'x'; 8192]).unwrap();
    let error = Projector::open(dir.path(), &StoreOptions::new("EUR")).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("tandem.db") && error.to_string().contains("from the journal"), "{error}");
    fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE other (a)").unwrap();
    let error = Projector::open(dir.path(), &StoreOptions::new("EUR")).unwrap_err().to_string();
    assert!(error.contains("another program"), "{error}");
    fs::remove_file(&path).unwrap();
    drop(projector(dir.path()));
    let error = Projector::open(dir.path(), &StoreOptions::new("USD")).unwrap_err().to_string();
    assert!(error.contains("EUR") && error.contains("USD"), "{error}");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = Projector::open(dir.path(), &StoreOptions::new("EUR")).unwrap_err();
    assert!(matches!(error, StoreError::TooNew { found: 99, .. }), "{error}");
    assert!(matches!(Queries::open(dir.path()), Err(StoreError::TooNew { .. })));
}

#[test]
fn days_are_those_of_the_servers_zone() {
    let dir = tempdir().unwrap();
    let options = StoreOptions { zone_offset_min: -300, ..StoreOptions::new("EUR") };
    let cdr = Cdr { flow_no: 1, end_ms: MIDNIGHT_MS + 4 * 3_600_000, ..Cdr::default() };
    Projector::open(dir.path(), &options).unwrap().apply_batch(&numbered(&[settled(cdr)])).unwrap();
    let queries = Queries::open(dir.path()).unwrap();
    let filter = CdrFilter { day: Some(20_261_121), from_ms: Some(MIDNIGHT_MS), ..CdrFilter::default() };
    assert_eq!(queries.cdr_list(&filter).unwrap().len(), 1);
}

#[test]
fn a_day_table_of_another_layout_is_written_and_read_by_its_own() {
    let dir = tempdir().unwrap();
    let cdr = |flow_no| Cdr { flow_no, end_ms: MIDNIGHT_MS, callee_rtp_relayed: flow_no as i64, ..Cdr::default() };
    projector(dir.path()).apply_batch(&[(1, settled(cdr(1)))]).unwrap();
    // As a version would have made it that knew fewer columns, and had not got the last fields.
    let connection = Connection::open(dir.path().join(DATABASE_FILE)).unwrap();
    connection
        .execute_batch(
            "DROP VIEW cdr_20261122; DELETE FROM cdr_20261122_row; DELETE FROM settled; UPDATE cdr_day SET cdrs = 0;
             ALTER TABLE cdr_20261122_row DROP COLUMN callee_rtp_relayed;",
        )
        .unwrap();
    let full = Cdr { id: 1, callee_rtp_relayed: 40, ..full_cdr(2, MIDNIGHT_MS + 5) };
    projector(dir.path()).apply_batch(&[(2, settled(full.clone())), (3, settled(cdr(3)))]).unwrap();
    let queries = Queries::open(dir.path()).unwrap();
    assert_eq!(queries.cdr_show(2).unwrap(), Some(full));
    assert_eq!(queries.cdr_show(3).unwrap(), Some(Cdr { id: 2, ..cdr(3) }));
    let shown: i64 = connection
        .query_row("SELECT callee_rtp_relayed FROM cdr_20261122 WHERE flow_no = 3", [], |row| row.get(0))
        .unwrap();
    assert_eq!(shown, 3);
    let totals = queries.cdr_totals(&CdrFilter::default()).unwrap();
    assert_eq!((totals.calls, totals.callee_rtp_relayed), (2, 43));
}

#[test]
fn the_view_of_a_day_shows_every_field_under_its_name() {
    let dir = tempdir().unwrap();
    let cdr = full_cdr(5, MIDNIGHT_MS);
    projector(dir.path()).apply_batch(&[(1, settled(cdr.clone()))]).unwrap();
    let connection = Connection::open(dir.path().join(DATABASE_FILE)).unwrap();
    for (index, (name, _)) in CDR_FIELDS.iter().enumerate().filter(|(_, (name, _))| *name != "id") {
        let shown = connection
            .query_row(&format!("SELECT \"{name}\" FROM cdr_20261122"), [], |row| row.get::<_, SqlValue>(0))
            .unwrap();
        let expected = match cdr.value(index) {
            // SQLite makes a float of what is above its integers; no number that is given out comes near.
            CdrValue::Int(value) if ["flow_no_first", "rate_id", "vendor_rate_id"].contains(name) => {
                SqlValue::Real(value as u64 as f64)
            }
            CdrValue::Int(value) => SqlValue::Integer(value),
            CdrValue::Text(text) => SqlValue::Text(text.to_owned()),
            CdrValue::Money(money) => SqlValue::Text(money.to_string()),
            CdrValue::Attempts(attempts) => SqlValue::Text(serde_json::to_string(attempts).unwrap()),
            CdrValue::Null => SqlValue::Null,
        };
        assert_eq!(shown, expected, "{name}");
    }
}

#[test]
fn a_checkpoint_moves_the_log_while_the_writer_stays_open() {
    let dir = tempdir().unwrap();
    let mut writer = projector(dir.path());
    writer.apply_batch(&numbered(&Traffic::new(11).take(300))).unwrap();
    let done = Checkpointer::open(dir.path()).unwrap().run().unwrap();
    assert!(!done.busy && done.log_pages > 0, "{done:?}");
    assert_eq!(done.log_pages, done.done_pages);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// However the records are cut into batches, and however often the process begins anew, the content is the same.
    #[test]
    fn batches_do_not_matter(seed in any::<u64>(), cuts in prop::collection::vec((1_usize..60, any::<bool>()), 1..12)) {
        let mut traffic = Traffic::new(seed);
        let records = numbered(&traffic.take(200));
        let whole = tempdir().unwrap();
        projector(whole.path()).apply_batch(&records).unwrap();
        let parts = tempdir().unwrap();
        let mut writer = projector(parts.path());
        let mut at = 0;
        for (count, reopen) in cuts {
            let end = (at + count).min(records.len());
            // Begins a little before, as a replay does.
            writer.apply_batch(&records[at.saturating_sub(count / 2)..end]).unwrap();
            at = end;
            if reopen {
                writer = projector(parts.path());
            }
        }
        writer.apply_batch(&records[at..]).unwrap();
        prop_assert_eq!(dump(whole.path()), dump(parts.path()));
        audit(parts.path(), &traffic);
    }
}
