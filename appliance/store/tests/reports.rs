//! Reports of days, days that are dropped, and lists by value.

mod support;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rusqlite::Connection;
use support::{MIDNIGHT_MS, Traffic, money, numbered};
use tandem_rating::cdr::Cdr;
use tandem_rating::money::Money;
use tandem_rating::record::Record;
use tandem_store::{CdrFilter, CdrSort, DATABASE_FILE, Projector, Queries, ReportBy, StoreOptions, day_of};
use tempfile::{TempDir, tempdir};

const FIRST: u32 = 20_261_121;
const SECOND: u32 = 20_261_122;

/// Calls before and after midnight, with what else a journal has between them, in batches of any size.
fn stored(seed: u64) -> (TempDir, Vec<Cdr>) {
    let dir = tempdir().unwrap();
    let mut traffic = Traffic::new(seed);
    let records = numbered(&traffic.take(3_000));
    let mut rng = StdRng::seed_from_u64(seed);
    let mut projector = Projector::open(dir.path(), &StoreOptions::new("EUR")).unwrap();
    let mut rest = &records[..];
    while !rest.is_empty() {
        let (batch, more) = rest.split_at(rng.random_range(1..=rest.len().min(400)));
        projector.apply_batch(batch).unwrap();
        rest = more;
    }
    let settled = records.into_iter().filter_map(|(_, record)| match record {
        Record::Settled { cdr: Some(cdr), .. } => Some(*cdr),
        _ => None,
    });
    let mut seen = std::collections::HashSet::new();
    let cdrs: Vec<Cdr> = settled.filter(|cdr| seen.insert(cdr.flow_no)).collect();
    assert!(cdrs.iter().any(|cdr| cdr.end_ms < MIDNIGHT_MS) && cdrs.iter().any(|cdr| cdr.end_ms >= MIDNIGHT_MS));
    (dir, cdrs)
}

fn sum(amounts: impl Iterator<Item = Money>) -> Money {
    amounts.fold(Money::ZERO, |sum, amount| sum.checked_add(amount).unwrap())
}

#[test]
fn reports_are_the_sums_of_the_calls_and_of_the_ledger() {
    let (dir, cdrs) = stored(5);
    let queries = Queries::open(dir.path()).unwrap();
    assert_eq!(queries.report_days().unwrap(), [FIRST, SECOND]);
    for day in [FIRST, SECOND] {
        let of_day: Vec<&Cdr> = cdrs.iter().filter(|cdr| day_of(cdr.end_ms, 0) == i64::from(day)).collect();
        let total = &queries.report_day(day, Some(ReportBy::Total)).unwrap()[0].sums;
        assert_eq!(total.calls, of_day.len() as i64);
        assert_eq!(total.answered, of_day.iter().filter(|cdr| cdr.connect_ms.is_some()).count() as i64);
        assert_eq!(total.hold_s, of_day.iter().map(|cdr| cdr.hold_s).sum::<i64>());
        assert_eq!(total.margin, sum(of_day.iter().map(|cdr| cdr.margin)));
        // Each division has the whole day in it.
        for (by, _) in ReportBy::ALL.into_iter().filter(|(by, _)| *by != ReportBy::FurtherAgent) {
            let rows = queries.report_day(day, Some(by)).unwrap();
            assert_eq!(sum(rows.iter().map(|row| row.sums.fee)), sum(of_day.iter().map(|cdr| cdr.fee)), "{by:?}");
            assert_eq!(rows.iter().map(|row| row.sums.calls).sum::<i64>(), total.calls, "{by:?}");
        }
        for row in queries.report_day(day, Some(ReportBy::Account)).unwrap() {
            let of_account = || of_day.iter().filter(|cdr| cdr.account == row.key);
            assert_eq!(
                (row.sums.fee, row.sums.tax),
                (sum(of_account().map(|cdr| cdr.fee)), sum(of_account().map(|cdr| cdr.tax)))
            );
        }
        let checked = queries.report_check(day).unwrap();
        assert_eq!(checked.problems, Vec::<String>::new());
        assert_eq!(checked.cdrs, Some(of_day.len() as u64));
        assert!(checked.ledger_rows >= of_day.len() as u64);
    }
    assert_eq!(queries.verify().unwrap().problems, Vec::<String>::new());
    assert_eq!(queries.report_day(20_200_101, None).unwrap(), []);
}

#[test]
fn a_report_or_a_ledger_row_that_was_changed_is_told() {
    let (dir, _) = stored(6);
    let change = |sql: &str| {
        let changed = Connection::open(dir.path().join(DATABASE_FILE)).unwrap().execute(sql, []).unwrap();
        assert_eq!(changed, 1, "{sql}");
    };
    let problems = || Queries::open(dir.path()).unwrap().report_check(SECOND).unwrap().problems;
    change("UPDATE report_day SET calls = calls + 1 WHERE day = 20261122 AND divided_by = 'area' AND key = '861'");
    assert!(problems()[0].contains("by area, \"861\""), "{:?}", problems());
    assert!(Queries::open(dir.path()).unwrap().verify().unwrap().wrong > 0);
    change("UPDATE report_day SET calls = calls - 1 WHERE day = 20261122 AND divided_by = 'area' AND key = '861'");
    assert_eq!(problems(), Vec::<String>::new());
    change(
        "UPDATE ledger_row SET amount = '-7' WHERE id = (SELECT max(id) FROM ledger_row WHERE kind = 'call' AND account = 'vendor-1')",
    );
    assert!(problems()[0].contains("account vendor-1"), "{:?}", problems());
}

#[test]
fn a_day_that_is_dropped_leaves_its_reports_and_the_books_agree() {
    let (dir, cdrs) = stored(7);
    let before = Queries::open(dir.path()).unwrap().report_day(FIRST, None).unwrap();
    let mut projector = Projector::open(dir.path(), &StoreOptions::new("EUR")).unwrap();
    assert_eq!(projector.drop_days_before(i64::from(FIRST)).unwrap(), Vec::<i64>::new());
    assert_eq!(projector.drop_days_before(i64::from(SECOND)).unwrap(), [i64::from(FIRST)]);
    let queries = Queries::open(dir.path()).unwrap();
    let left: Vec<&Cdr> = cdrs.iter().filter(|cdr| cdr.end_ms >= MIDNIGHT_MS).collect();
    assert_eq!(queries.cdr_count(&CdrFilter::default()).unwrap(), left.len() as u64);
    assert_eq!(queries.cdr_days().unwrap(), Some((SECOND, SECOND)));
    let gone = cdrs.iter().find(|cdr| cdr.end_ms < MIDNIGHT_MS).unwrap();
    assert_eq!(queries.cdr_show(gone.flow_no).unwrap(), None);
    assert!(queries.is_settled(gone.flow_no).unwrap(), "it is charged once all the same");
    assert_eq!(queries.report_day(FIRST, None).unwrap(), before);
    assert_eq!(queries.report_check(FIRST).unwrap().cdrs, None);
    for day in [FIRST, SECOND] {
        assert_eq!(queries.report_check(day).unwrap().problems, Vec::<String>::new());
    }
    assert_eq!(queries.verify().unwrap().problems, Vec::<String>::new());
    // A call of that day that is told late has a table again, and the next look drops it.
    let seq = queries.applied_seq().unwrap();
    let late = Cdr { flow_no: 1 << 40, end_ms: gone.end_ms, ..Cdr::default() };
    let record = Record::Settled { flow_no: late.flow_no, cdr: Some(Box::new(late)), ledger: Vec::new() };
    projector.apply_batch(&[(seq + 1, record)]).unwrap();
    assert!(queries.cdr_show(1 << 40).unwrap().is_some());
    assert_eq!(projector.drop_days_before(i64::from(SECOND)).unwrap(), [i64::from(FIRST)]);
    assert_eq!(queries.verify().unwrap().problems, Vec::<String>::new());
}

#[test]
fn lists_by_value_and_bounds_are_those_of_the_calls() {
    let (dir, cdrs) = stored(8);
    let queries = Queries::open(dir.path()).unwrap();
    let flow_nos =
        |filter: &CdrFilter| -> Vec<u64> { queries.cdr_list(filter).unwrap().iter().map(|cdr| cdr.flow_no).collect() };
    for (sort, oldest_first) in [(CdrSort::Fee, false), (CdrSort::Fee, true), (CdrSort::Duration, false)] {
        let mut wanted: Vec<&Cdr> = cdrs.iter().collect();
        // The order of booking is that of the records.
        match sort {
            CdrSort::Fee => wanted.sort_by_key(|cdr| cdr.fee.amount()),
            _ => wanted.sort_by_key(|cdr| cdr.hold_s),
        }
        if !oldest_first {
            wanted.reverse();
        }
        let all = CdrFilter { sort, oldest_first, limit: Some(50), ..CdrFilter::default() };
        for offset in [0, 50, 500] {
            let page = flow_nos(&CdrFilter { offset, ..all.clone() });
            let fits: Vec<u64> = wanted.iter().skip(offset as usize).take(50).map(|cdr| cdr.flow_no).collect();
            assert_eq!(page.len(), fits.len());
            // Equal values are in the order of booking, which is by day first.
            let values = |page: &[u64]| -> Vec<String> {
                let of = |flow_no: &u64| cdrs.iter().find(|cdr| cdr.flow_no == *flow_no).unwrap();
                page.iter()
                    .map(|flow_no| {
                        if sort == CdrSort::Fee { of(flow_no).fee.to_string() } else { of(flow_no).hold_s.to_string() }
                    })
                    .collect()
            };
            assert_eq!(values(&page), values(&fits), "{sort:?} {offset}");
        }
    }
    let bound = cdrs[cdrs.len() / 2].fee;
    let count = |filter: CdrFilter| queries.cdr_count(&filter).unwrap() as usize;
    let least = CdrFilter { fee_min: Some(bound), ..CdrFilter::default() };
    assert_eq!(
        count(least),
        cdrs.iter().filter(|cdr| cdr.fee.amount() >= bound.amount()).count(),
        "the bound itself is in"
    );
    let above = CdrFilter { fee_min: Some(bound.checked_add(money("0.00000001")).unwrap()), ..CdrFilter::default() };
    assert_eq!(count(above), cdrs.iter().filter(|cdr| cdr.fee.amount() > bound.amount()).count());
    let held = CdrFilter { hold_min_s: Some(100), hold_max_s: Some(200), ..CdrFilter::default() };
    assert_eq!(count(held), cdrs.iter().filter(|cdr| (100..=200).contains(&cdr.hold_s)).count());
    let nobody = CdrFilter { agent_account: Some("nobody".to_owned()), ..CdrFilter::default() };
    assert_eq!(count(nobody), 0);
    for refused in [
        CdrFilter { sort: CdrSort::Fee, after_flow_no: Some(1), ..CdrFilter::default() },
        CdrFilter { sort: CdrSort::Fee, offset: 1 << 40, ..CdrFilter::default() },
    ] {
        assert!(queries.cdr_list(&refused).is_err());
    }
}
