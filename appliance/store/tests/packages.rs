//! Orders of packages: as the journal leaves them, over a start and over a database written anew, and audited.

use tandem_rating::Money;
use tandem_rating::package::{Order, PackageEvent, Period};
use tandem_rating::record::{LedgerKind, LedgerRow, Record};
use tandem_store::{
    Journal, JournalOptions, Projector, Queries, StoreOptions, StoredOrder, recover, recover_or_rebuild,
};

fn money(text: &str) -> Money {
    text.parse().unwrap()
}

fn row(key: &str, kind: LedgerKind, amount: &str, balance: &str, flow_no: Option<u64>, memo: &str) -> LedgerRow {
    LedgerRow {
        key: key.to_owned(),
        account: "acme".to_owned(),
        kind,
        amount: money(amount),
        balance_after: money(balance),
        at_ms: 1_795_305_600_000,
        flow_no,
        user: String::new(),
        memo: memo.to_owned(),
    }
}

fn order() -> Order {
    Order {
        key: "7".to_owned(),
        account: "acme".to_owned(),
        package: "gold".to_owned(),
        rent_percent: "62.5".parse().unwrap(),
        next: 1,
        period: Some(Period {
            number: 0,
            to_ms: 1_797_897_600_000,
            rent: money("10"),
            gift_money: money("1"),
            gifts: vec!["49|43 08:00-20:00 3600/60".parse().unwrap(), "* 600/6".parse().unwrap()],
            ..Period::default()
        }),
        taken: money("10"),
        ..Order::default()
    }
}

/// An order with its rent, and two calls that use it.
fn records() -> Vec<Record> {
    let rent = row("rent:7:0", LedgerKind::PackageRent, "-10", "-10", None, "");
    let event =
        PackageEvent { what: "begins".to_owned(), order: order(), ledger: vec![rent], ..PackageEvent::default() };
    let used = |flow_no: u64, memo: &str| Record::Settled {
        flow_no,
        cdr: None,
        ledger: vec![row(&format!("call:{flow_no}:customer.gift"), LedgerKind::Gift, "0", "-10", Some(flow_no), memo)],
    };
    let again = used(2, "7/0 g1=12 m=0.25");
    vec![
        Record::Package(Box::new(event)),
        used(1, "7/0 g0=60 c=0.5"),
        again.clone(),
        // A settlement that comes twice uses nothing twice, and one of another period is not of this.
        again,
        used(3, "7/1 g0=60"),
    ]
}

fn expected() -> StoredOrder {
    StoredOrder {
        order: order(),
        used_s: vec![60, 12],
        money: money("0.25"),
        spent: money("0.5"),
        changed_ms: 0,
        what: "begins".to_owned(),
    }
}

#[test]
fn an_order_and_what_is_used_of_it_survive_a_start_and_a_lost_database() {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions::new("USD");
    let (mut journal, _) = Journal::open(folder.path(), JournalOptions::default()).unwrap();
    for record in records() {
        journal.append(&record).unwrap();
    }
    journal.flush().unwrap();
    journal.sync_handle().sync().unwrap();
    let recovered = recover(&mut journal, &options, 0).unwrap();
    assert_eq!(recovered.packages, [expected()]);
    drop((recovered, journal));
    let queries = Queries::open(folder.path()).unwrap();
    assert_eq!(queries.packages().unwrap(), [expected()]);
    let verified = queries.verify().unwrap();
    assert_eq!(verified.wrong, 0, "{:?}", verified.problems);
    drop(queries);

    // The database is gone: the journal has all of it.
    std::fs::write(folder.path().join("tandem.db"), b"no database").unwrap();
    let (mut journal, _) = Journal::open(folder.path(), JournalOptions::default()).unwrap();
    let (recovered, rebuilt) = recover_or_rebuild(&mut journal, &options, 0).unwrap();
    assert!(rebuilt.is_some());
    assert_eq!(recovered.packages, [expected()]);
}

#[test]
fn the_audit_names_an_order_whose_rows_or_uses_do_not_agree() {
    let wrong = |change: &dyn Fn(&mut Vec<Record>)| {
        let folder = tempfile::tempdir().unwrap();
        let mut records = records();
        change(&mut records);
        let records: Vec<(u64, Record)> = (1..).zip(records).collect();
        let mut projector = Projector::open(folder.path(), &StoreOptions::new("USD")).unwrap();
        projector.apply_batch(&records).unwrap();
        Queries::open(folder.path()).unwrap().verify().unwrap().problems
    };
    let event = |records: &mut Vec<Record>, change: &dyn Fn(&mut PackageEvent)| {
        if let Record::Package(event) = &mut records[0] {
            change(event);
        }
    };
    assert_eq!(wrong(&|_| {}), Vec::<String>::new());
    let taken = wrong(&|records| event(records, &|event| event.order.taken = money("9")));
    assert_eq!(taken, ["order 7: it took 9, its rows come to 10"]);
    let twice = wrong(&|records| {
        event(records, &|event| {
            event.ledger.push(row("rent:7:1", LedgerKind::PackageRent, "-10", "-20", None, ""));
        });
        for record in &mut records[1..] {
            if let Record::Settled { ledger, .. } = record {
                ledger[0].balance_after = money("-20");
            }
        }
    });
    assert_eq!(twice, ["order 7: it took 10, its rows come to 20"]);
    let nobody = wrong(&|records| event(records, &|event| event.ledger[0].key = "rent:8:0".to_owned()));
    assert_eq!(
        nobody,
        ["order 7: it took 10, its rows come to 0", "order 8: its rows come to 10, and there is no such order"]
    );
    let beyond = wrong(&|records| {
        if let Record::Settled { ledger, .. } = &mut records[1] {
            ledger[0].memo = "7/0 g0=3660 m=2".to_owned();
        }
    });
    assert_eq!(
        beyond,
        ["order 7: 3660 s are used of gift 0, which has 3600 s", "order 7: 2.25 is used of its gift money, which is 1"]
    );
}

#[test]
fn a_row_of_the_same_period_is_booked_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut projector = Projector::open(folder.path(), &StoreOptions::new("USD")).unwrap();
    let first = records().remove(0);
    let applied = projector.apply_batch(&[(1, first.clone()), (2, first)]).unwrap();
    assert_eq!((applied.ledger_rows, applied.duplicates), (1, 1), "{:?}", applied.notes);
    assert_eq!(Queries::open(folder.path()).unwrap().accounts().unwrap()[0].balance, money("-10"));
}
