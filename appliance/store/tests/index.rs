//! Questions over enough calls that blocks of the index are closed: the answers are those of the rows themselves.

mod support;

use std::collections::HashMap;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rusqlite::Connection;
use support::{MIDNIGHT_MS, Traffic, numbered};
use tandem_rating::cdr::Cdr;
use tandem_rating::record::Record;
use tandem_rating::text::Text;
use tandem_store::{
    CdrFilter, CdrSort, CdrTotals, DATABASE_FILE, LIMIT_MAX, LedgerFilter, NumberMatch, Projector, Queries,
    StoreOptions,
};
use tempfile::{TempDir, tempdir};

/// A day and a half: one block of the first day by its size, one because the day is over, and rows without an index on both
/// days, among them calls of the first day that were told late.
const FIRST_DAY: u64 = 18_000;
const SECOND_DAY: u64 = 2_000;
const LATE: u64 = 20;

fn traffic() -> (Vec<Record>, Vec<Cdr>) {
    let mut traffic = Traffic::new(1);
    let mut rng = StdRng::seed_from_u64(2);
    let mut records = Vec::new();
    let mut cdrs = Vec::new();
    for flow_no in 1..=FIRST_DAY + SECOND_DAY + LATE {
        let Record::Settled { cdr: Some(cdr), ledger, .. } = traffic.call(flow_no) else { panic!("a call") };
        let day_ms = if flow_no <= FIRST_DAY || flow_no > FIRST_DAY + SECOND_DAY { -80_000_000 } else { 0 };
        let cdr = Cdr {
            // The times of neighbours overlap, and so do those of blocks.
            end_ms: MIDNIGHT_MS + day_ms + flow_no as i64 * 1_000 + rng.random_range(0..20_000),
            caller_billed: format!("49{}", rng.random_range(0..3_000)).into(),
            caller_in: if rng.random_range(0..50) == 0 {
                Default::default()
            } else {
                format!("+49{}", rng.random_range(0..3_000)).into()
            },
            end_reason: rng.random_range(0..3),
            connect_ms: cdr.connect_ms.filter(|_| rng.random_range(0..3) > 0),
            // Many of the least and of the greatest are equal.
            hold_s: match rng.random_range(0..4) {
                0 => rng.random_range(0..3),
                1 => rng.random_range(597..600),
                _ => rng.random_range(0..600),
            },
            caller_rtp_relayed: rng.random_range(0..50_000),
            callee_rtp_relayed: rng.random_range(0..50_000),
            ..*cdr
        };
        cdrs.push(cdr.clone());
        records.push(Record::Settled { flow_no, cdr: Some(Box::new(cdr)), ledger });
    }
    // As they are listed: day by day, and within a day as they were booked.
    cdrs.sort_by_key(|cdr| (cdr.end_ms >= MIDNIGHT_MS, cdr.flow_no));
    (records, cdrs)
}

/// The database as an older version would have left it: without the values of one block, and of all.
fn older_blocks(dir: &Path) -> [TempDir; 3] {
    let one = "DELETE FROM block_value WHERE first_id = 1; DELETE FROM block_sum WHERE first_id = 16385";
    [one, "DROP TABLE block_sum", "DROP TABLE block_value; DROP TABLE block_sum"].map(|change| {
        let older = tempdir().unwrap();
        let copy = older.path().join(DATABASE_FILE);
        let connection = Connection::open(dir.join(DATABASE_FILE)).unwrap();
        connection.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
        let connection = Connection::open(copy).unwrap();
        connection.execute_batch(change).unwrap();
        older
    })
}

/// Sums over calls, one by one.
fn totals<'a>(cdrs: impl Iterator<Item = &'a Cdr>) -> CdrTotals {
    let mut totals = CdrTotals::default();
    for cdr in cdrs {
        totals.calls += 1;
        totals.answered += u64::from(cdr.connect_ms.is_some());
        totals.hold_s += cdr.hold_s;
        totals.billed_s += cdr.billed_s;
        totals.vendor_s += cdr.vendor_s;
        totals.caller_rtp_relayed += cdr.caller_rtp_relayed as u64;
        totals.callee_rtp_relayed += cdr.callee_rtp_relayed as u64;
        let sums = [&mut totals.fee, &mut totals.tax, &mut totals.cost, &mut totals.cost_tax, &mut totals.margin];
        for (sum, amount) in sums.into_iter().zip([cdr.fee, cdr.tax, cdr.vendor_fee, cdr.vendor_tax, cdr.margin]) {
            *sum = sum.checked_add(amount).unwrap();
        }
    }
    totals
}

#[test]
fn questions_find_the_same_calls_as_a_look_at_every_one() {
    let dir = tempdir().unwrap();
    let (records, cdrs) = traffic();
    let records = numbered(&records);
    let mut projector = Projector::open(dir.path(), &StoreOptions::new("EUR")).unwrap();
    for (n, batch) in records.chunks(7_777).enumerate() {
        projector.apply_batch(batch).unwrap();
        if n == 1 {
            // The keys of the open block are read back from the rows.
            projector = Projector::open(dir.path(), &StoreOptions::new("EUR")).unwrap();
        }
    }
    let connection = Connection::open(dir.path().join(DATABASE_FILE)).unwrap();
    let blocks: Vec<(i64, i64, i64)> = connection
        .prepare("SELECT space, first_id, last_id FROM block ORDER BY space, first_id")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let expected = [(0, 1, 16_384), (0, 16_385, 32_768), (20_261_121, 1, 16_384), (20_261_121, 16_385, 18_000)];
    assert_eq!(blocks, expected);

    let queries = Queries::open(dir.path()).unwrap();
    let mut rng = StdRng::seed_from_u64(3);
    let mut found = 0;
    let older = older_blocks(dir.path());
    let by_number: HashMap<u64, &Cdr> = cdrs.iter().map(|cdr| (cdr.flow_no, cdr)).collect();
    for n in 0..60 {
        let one = &cdrs[rng.random_range(0..cdrs.len())];
        let mut filter = CdrFilter { oldest_first: rng.random(), limit: Some(LIMIT_MAX), ..CdrFilter::default() };
        let cut = |text: &str, rng: &mut StdRng| text[..rng.random_range(0..=text.len())].to_owned();
        match rng.random_range(0..11) {
            0 => filter.caller = Some(NumberMatch::Exact(one.caller_billed.to_string())),
            1 => filter.caller = Some(NumberMatch::Prefix(cut(&one.caller_in, &mut rng))),
            2 => filter.callee = Some(NumberMatch::Exact(one.callee_in.to_string())),
            3 => filter.caller_prefix = Some(cut(&one.caller_billed, &mut rng)),
            4 => filter.account = Some(one.account.to_string()),
            5 => filter.any_account = Some(one.vendor_account.to_string()),
            6 => filter.gateway = Some(one.caller_gateway.to_string()),
            7 => filter.callee_gateway = Some(one.callee_gateway.to_string()),
            9 => filter.account = Some(String::new()),
            8 => filter.caller = Some(NumberMatch::Exact(one.caller_in.to_string())),
            _ => {}
        }
        if rng.random_range(0..4) == 0 {
            filter.end_reason = Some(one.end_reason);
        }
        if rng.random_range(0..4) == 0 {
            // Two keys at once, of this call or of another.
            filter.vendor_account = Some(cdrs[rng.random_range(0..cdrs.len())].vendor_account.to_string());
        }
        if rng.random_range(0..3) == 0 {
            filter.from_ms = Some(one.end_ms - rng.random_range(0..3_000_000));
        }
        if rng.random_range(0..3) == 0 {
            // Now and then the very end of a call, which is then not in it.
            let other = &cdrs[rng.random_range(0..cdrs.len())];
            let to_ms = if rng.random() { other.end_ms } else { one.end_ms + rng.random_range(1..3_000_000) };
            filter.to_ms = Some(to_ms.max(one.end_ms + 1));
        }
        if rng.random_range(0..4) == 0 {
            filter.answered = Some(rng.random());
        }
        if rng.random_range(0..4) == 0 {
            filter.hold_min_s = Some(rng.random_range(-1..700));
        }
        if rng.random_range(0..4) == 0 {
            filter.hold_max_s = Some(rng.random_range(-1..700));
        }
        if rng.random_range(0..4) == 0 {
            filter.fee_min = Some(one.fee);
        }
        let number = |asked: &Option<NumberMatch>, billed: &str, given: &str| match asked {
            None => true,
            Some(NumberMatch::Exact(text)) => billed == text || given == text,
            Some(NumberMatch::Prefix(text)) => billed.starts_with(text) || given.starts_with(text),
        };
        let is = |asked: &Option<String>, values: &[&Text]| match asked {
            None => true,
            Some(text) => values.iter().any(|value| value.as_str() == text),
        };
        let mut fits: Vec<u64> = cdrs
            .iter()
            .filter(|cdr| {
                number(&filter.caller, &cdr.caller_billed, &cdr.caller_in)
                    && number(&filter.callee, &cdr.callee_billed, &cdr.callee_in)
                    && filter.caller_prefix.as_ref().is_none_or(|text| cdr.caller_billed.starts_with(text))
                    && is(&filter.account, &[&cdr.account])
                    && is(&filter.vendor_account, &[&cdr.vendor_account])
                    && is(&filter.any_account, &[&cdr.account, &cdr.vendor_account])
                    && is(&filter.gateway, &[&cdr.caller_gateway, &cdr.callee_gateway])
                    && is(&filter.callee_gateway, &[&cdr.callee_gateway])
                    && filter.end_reason.is_none_or(|reason| cdr.end_reason == reason)
                    && filter.from_ms.is_none_or(|from_ms| cdr.end_ms >= from_ms)
                    && filter.to_ms.is_none_or(|to_ms| cdr.end_ms < to_ms)
                    && filter.answered.is_none_or(|answered| cdr.connect_ms.is_some() == answered)
                    && filter.hold_min_s.is_none_or(|hold_s| cdr.hold_s >= hold_s)
                    && filter.hold_max_s.is_none_or(|hold_s| cdr.hold_s <= hold_s)
                    && filter.fee_min.is_none_or(|fee| cdr.fee >= fee)
            })
            .map(|cdr| cdr.flow_no)
            .collect();
        if !filter.oldest_first {
            fits.reverse();
        }
        found += fits.len().min(1);
        let sums = totals(fits.iter().map(|flow_no| by_number[flow_no]));
        assert_eq!(queries.cdr_totals(&filter).unwrap(), sums, "{filter:?}");
        assert_eq!(queries.cdr_count(&filter).unwrap(), fits.len() as u64, "{filter:?}");
        let (page, counted) = queries.cdr_page(&CdrFilter { limit: Some(50), ..filter.clone() }).unwrap();
        assert_eq!(page.len(), fits.len().min(50), "{filter:?}");
        assert!(
            counted.rows <= fits.len() as u64 && (!counted.is_all || counted.rows == fits.len() as u64),
            "{counted:?}"
        );
        let soon = queries.cdr_count_soon(&filter).unwrap();
        assert!(
            soon.rows <= fits.len() as u64 && (!soon.is_all || soon.rows == fits.len() as u64),
            "{soon:?} {filter:?}"
        );
        let list = |filter: &CdrFilter| -> Vec<u64> {
            queries.cdr_list(filter).unwrap().iter().map(|cdr| cdr.flow_no).collect()
        };
        let some = CdrFilter { limit: Some(50), ..filter.clone() };
        assert_eq!(list(&some), fits[..fits.len().min(50)], "{filter:?}");
        // A page from the middle, by its number and by a cursor.
        let at = rng.random_range(0..=fits.len());
        let end = fits.len().min(at + 50);
        assert_eq!(list(&CdrFilter { offset: at as u64, ..some.clone() }), fits[at..end], "{at} {filter:?}");
        if at > 0 {
            let after_flow_no = Some(fits[at - 1]);
            assert_eq!(list(&CdrFilter { after_flow_no, ..some.clone() }), fits[at..end], "{at} {filter:?}");
        }
        // The same by value; equal ones stay in the order of booking.
        let of = |flow_no: &u64| by_number[flow_no];
        for sort in [CdrSort::Fee, CdrSort::Duration].into_iter().filter(|_| n % 2 == 0) {
            let mut sorted = fits.clone();
            match (sort, filter.oldest_first) {
                (CdrSort::Fee, true) => sorted.sort_by_key(|flow_no| of(flow_no).fee),
                (CdrSort::Fee, false) => sorted.sort_by_key(|flow_no| std::cmp::Reverse(of(flow_no).fee)),
                (_, true) => sorted.sort_by_key(|flow_no| of(flow_no).hold_s),
                (_, false) => sorted.sort_by_key(|flow_no| std::cmp::Reverse(of(flow_no).hold_s)),
            }
            let sorted_list = CdrFilter { sort, offset: at as u64, ..some.clone() };
            assert_eq!(list(&sorted_list), sorted[at..end], "{at} {sorted_list:?}");
        }
        // A database of which only some blocks have values, and one that has none, answer the same.
        for older in older.iter().filter(|_| n % 3 == 0) {
            let queries = Queries::open(older.path()).unwrap();
            assert_eq!(queries.cdr_count(&filter).unwrap(), fits.len() as u64, "{filter:?}");
            assert_eq!(queries.cdr_totals(&filter).unwrap(), sums, "{filter:?}");
            let page = queries.cdr_list(&CdrFilter { offset: at as u64, ..some.clone() }).unwrap();
            assert_eq!(page.iter().map(|cdr| cdr.flow_no).collect::<Vec<_>>(), fits[at..end], "{filter:?}");
            let by_fee = CdrFilter { sort: CdrSort::Fee, ..some.clone() };
            assert_eq!(
                queries.cdr_list(&by_fee).unwrap().iter().map(|cdr| cdr.flow_no).collect::<Vec<_>>(),
                list(&by_fee)
            );
        }
    }
    // Sorted, a block adds the rows that beat those of the blocks before it: to the last one, and to an equal one.
    for (oldest_first, offset) in [(true, 0), (true, 1_900), (true, 6_000), (false, 0), (false, 900), (false, 6_000)] {
        let filter =
            CdrFilter { oldest_first, offset, limit: Some(200), sort: CdrSort::Duration, ..Default::default() };
        let mut sorted: Vec<&Cdr> = cdrs.iter().collect();
        if !oldest_first {
            sorted.reverse();
        }
        sorted.sort_by_key(|cdr| if oldest_first { cdr.hold_s } else { -cdr.hold_s });
        let expected = sorted.iter().skip(offset as usize).take(200).map(|cdr| cdr.flow_no);
        let found: Vec<u64> = queries.cdr_list(&filter).unwrap().iter().map(|cdr| cdr.flow_no).collect();
        assert_eq!(found, expected.collect::<Vec<_>>(), "{filter:?}");
    }
    // A range of time begins with its first millisecond and ends before its last, to a call.
    for one in (0..20).map(|n| &cdrs[n * 997]) {
        let times = (one.end_ms - 400_000, one.end_ms);
        for (from_ms, to_ms) in [times, (times.1, times.1 + 400_000)] {
            let filter = CdrFilter { from_ms: Some(from_ms), to_ms: Some(to_ms), ..CdrFilter::default() };
            let fits = || cdrs.iter().filter(|cdr| (from_ms..to_ms).contains(&cdr.end_ms));
            assert_eq!(queries.cdr_count(&filter).unwrap(), fits().count() as u64, "{filter:?}");
            assert_eq!(queries.cdr_totals(&filter).unwrap(), totals(fits()), "{filter:?}");
        }
    }
    let all = totals(cdrs.iter());
    assert!(all.fee > all.cost && all.caller_rtp_relayed > 0 && all.hold_s != all.billed_s, "{all:?}");
    assert_eq!(queries.cdr_totals(&CdrFilter::default()).unwrap(), all);
    for older in older {
        let older = Queries::open(older.path()).unwrap();
        assert_eq!(older.cdr_totals(&CdrFilter::default()).unwrap(), all);
        let answered = CdrFilter { answered: Some(true), ..CdrFilter::default() };
        let of_answered = totals(cdrs.iter().filter(|cdr| cdr.connect_ms.is_some()));
        assert_eq!(older.cdr_totals(&answered).unwrap(), of_answered);
        assert_eq!(older.verify().unwrap().problems, Vec::<String>::new());
    }
    assert!(found > 25, "most questions have an answer: {found}");

    let verified = queries.verify().unwrap();
    assert_eq!((verified.problems, verified.cdrs), (vec![], FIRST_DAY + SECOND_DAY + LATE));
    for account in ["customer-1", "vendor-0", "nobody"] {
        let filter = LedgerFilter { account: Some(account.into()), limit: Some(LIMIT_MAX), ..LedgerFilter::default() };
        let rows = cdrs.iter().filter(|cdr| cdr.account == account || cdr.vendor_account == account).count();
        assert_eq!(queries.ledger_count(&filter).unwrap(), rows as u64);
        let list = queries.ledger_list(&filter).unwrap();
        assert_eq!(list.len(), rows.min(LIMIT_MAX));
        assert!(list.iter().all(|row| row.account == account) && list.is_sorted_by(|a, b| a.id > b.id));
    }
    let call = queries.ledger_list(&LedgerFilter { flow_no: Some(9_000), ..LedgerFilter::default() }).unwrap();
    assert_eq!(call.iter().map(|row| row.key.as_str()).collect::<Vec<_>>(), ["call:9000:vendor", "call:9000:customer"]);
    assert_eq!(queries.ledger_by_key("call:9000:vendor").unwrap().unwrap().flow_no, Some(9_000));
    assert_eq!(queries.ledger_by_key("call:9000:agent").unwrap(), None);

    // The audit sees an index that does not fit its rows, and sums that do not; the blocks they are of are not read again.
    connection.execute("UPDATE block_sum SET sums = '9' || sums WHERE first_id = 16385", []).unwrap();
    assert_eq!(queries.verify().unwrap().wrong, 1);
    assert!(queries.cdr_totals(&CdrFilter::default()).unwrap().calls > 90_000);
    connection.execute("UPDATE block_sum SET sums = substr(sums, 2) WHERE first_id = 16385", []).unwrap();
    let mut wrong = 0;
    for change in [
        "UPDATE cdr_20261121_row SET caller_in = caller_in || '1' WHERE id = 77",
        "DELETE FROM block_index WHERE space = 0 AND field = 'kind'",
        "UPDATE block_value SET distances = zeroblob(length(distances)) WHERE first_id = 16385 AND field = 'fee'",
    ] {
        assert!(connection.execute(change, []).unwrap() > 0, "{change}");
        let now_wrong = queries.verify().unwrap().wrong;
        assert!(now_wrong > wrong, "{change}");
        wrong = now_wrong;
    }
    connection.execute("UPDATE block_sum SET sums = '1 2'", []).unwrap();
    let refused = queries.cdr_totals(&CdrFilter::default()).unwrap_err().to_string();
    assert!(refused.contains("block_sum") && refused.contains("are not 12 numbers"), "{refused}");
}
