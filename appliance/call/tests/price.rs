//! What a call costs by its account's rate groups, where a row changes while it lasts (spec billing.md 6.a).

mod common;

use common::{deck, rate, snapshot};
use tandem_call::price::price;
use tandem_rating::rate::Rate;

const CALLEE: &str = "8613900000000";
const AT_MS: i64 = common::WALL;

/// Instants and prices that follow the first one, for a group that splits.
fn changes(rows: Vec<Rate>) -> (String, Vec<(i64, String)>) {
    let mut snapshot = snapshot();
    snapshot.accounts[0].deck = deck("split", rows);
    snapshot.billing_numbers.split_groups.insert("split".to_owned());
    snapshot.index().unwrap();
    let price = price(&snapshot, &snapshot.mapping[0], "4930100", CALLEE, AT_MS).unwrap();
    let leg = &price.legs[0];
    let later = leg.changes.iter().map(|change| (change.from_ms - AT_MS, change.terms.rate_per_min.to_string()));
    (leg.terms.as_ref().unwrap().rate_per_min.to_string(), later.collect())
}

fn row(prefix: &str, price: &str, from_ms: Option<i64>, to_ms: Option<i64>) -> Rate {
    let at = |ms: i64| AT_MS + ms;
    Rate { effective_from_ms: from_ms.map(at), effective_to_ms: to_ms.map(at), ..rate(prefix, price) }
}

#[test]
fn a_longer_prefix_that_begins_during_the_call_takes_the_place_of_the_shorter_one() {
    let rows = vec![row("86", "0.1", None, None), row("8613", "0.3", Some(30_000), Some(90_000))];
    let later = vec![(30_000, "0.3".to_owned()), (90_000, "0.1".to_owned())];
    assert_eq!(changes(rows), ("0.1".to_owned(), later));
}

#[test]
fn a_row_that_ends_leaves_its_price_until_another_one_begins() {
    let rows = vec![row("86", "0.1", None, Some(10_000)), row("86", "0.2", Some(60_000), None)];
    assert_eq!(changes(rows), ("0.1".to_owned(), vec![(60_000, "0.2".to_owned())]));
    let others = vec![row("86", "0.1", None, None), row("49", "0.2", Some(60_000), None)];
    assert_eq!(changes(others), ("0.1".to_owned(), Vec::new()), "rows of other numbers change nothing");
}
