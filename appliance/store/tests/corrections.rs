//! Corrections of calls: one record each, told again after a crash, and audited.

use tandem_rating::cdr::settle;
use tandem_rating::proof;
use tandem_rating::record::{Correction, LedgerKind, LedgerRow, Record};
use tandem_rating::reprice::{Overrides, Pick, Rates, reprice};
use tandem_rating::usage::{LegTerms, Usage};
use tandem_rating::{Money, RateTerms};
use tandem_store::{Projector, Queries, StoreOptions};

fn money(text: &str) -> Money {
    text.parse().unwrap()
}

/// A call of a minute at 1.00, and its correction by a free time of a minute: nothing is to be paid.
fn call() -> (Record, Correction) {
    let terms = RateTerms {
        rate_id: 1,
        prefix: "44".into(),
        rate_per_min: 1.into(),
        first_s: 60,
        next_s: 60,
        sections: Vec::new(),
        conn_fee: Default::default(),
        tax_pct: Default::default(),
        level: 5,
    };
    let usage = Usage {
        flow_no: 7,
        connect_ms: Some(1_795_305_600_000),
        end_ms: 1_795_305_660_000,
        hold_ms: 60_000,
        customer: Some(LegTerms { account: "acme".into(), terms: Some(terms), ..LegTerms::default() }),
        ..Usage::default()
    };
    let cdr = settle(&usage, "USD").cdr;
    let (params, proofs) = (proof::params_of(&cdr).unwrap(), proof::of_cdr(&cdr).unwrap());
    let overrides = Overrides { free_s: Some(60), ..Overrides::default() };
    let connect_ms = proof::connect_ms_of(&cdr);
    let repriced = reprice(connect_ms, (&params, &proofs), &Pick::Customer, Rates::Stored, &overrides).unwrap();
    let mut correction = repriced.correction(7, 1, "r").unwrap();
    correction.ledger[0].balance_after = money("0");
    let row = LedgerRow {
        key: "call:7:customer".to_owned(),
        account: "acme".to_owned(),
        kind: LedgerKind::Call,
        amount: money("-1"),
        balance_after: money("-1"),
        at_ms: usage.end_ms,
        flow_no: Some(7),
        user: String::new(),
        memo: String::new(),
    };
    (Record::Settled { flow_no: 7, cdr: Some(Box::new(cdr)), ledger: vec![row] }, correction)
}

#[test]
fn a_correction_is_booked_once_and_the_audit_knows_it() {
    let folder = tempfile::tempdir().unwrap();
    let (settled, correction) = call();
    assert_eq!(correction.ledger.iter().map(|row| row.amount).collect::<Vec<_>>(), [money("1")]);
    let mut projector = Projector::open(folder.path(), &StoreOptions::new("USD")).unwrap();
    let corrected = || Record::Corrected(Box::new(correction.clone()));
    // The same once more: as a record that was written twice would be.
    let applied = projector.apply_batch(&[(1, settled), (2, corrected()), (3, corrected())]).unwrap();
    assert_eq!((applied.cdrs, applied.ledger_rows, applied.duplicates), (1, 2, 1), "{:?}", applied.notes);
    let queries = Queries::open(folder.path()).unwrap();
    assert_eq!(queries.accounts().unwrap()[0].balance, Money::ZERO);
    let verified = queries.verify().unwrap();
    assert_eq!(verified.wrong, 0, "{:?}", verified.problems);
    let kept = queries.corrections(7).unwrap();
    assert_eq!((kept.len(), kept[0].revision, kept[0].params.free_s), (1, 1, 60));
    assert!(kept[0].after[0].holds(1_795_305_600_000, &kept[0].params));
    assert_eq!(queries.cdr_show(7).unwrap().unwrap().fee, money("1"), "the record keeps what it says");
}

#[test]
fn a_correction_whose_rows_say_something_else_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let (settled, mut correction) = call();
    correction.ledger[0].amount = money("0.5");
    correction.ledger[0].balance_after = money("-0.5");
    let mut projector = Projector::open(folder.path(), &StoreOptions::new("USD")).unwrap();
    projector.apply_batch(&[(1, settled), (2, Record::Corrected(Box::new(correction)))]).unwrap();
    let verified = Queries::open(folder.path()).unwrap().verify().unwrap();
    assert_eq!(verified.wrong, 1, "{:?}", verified.problems);
    assert!(
        verified.problems[0].contains("corrections of its calls come to 1, their rows to 0.5"),
        "{:?}",
        verified.problems
    );
}
