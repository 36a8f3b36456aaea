//! What a call costs by its account's rate groups, where a row changes while it lasts (spec billing.md 6.a).

mod common;

use common::{deck, rate, snapshot};
use tandem_call::price::{leg_at, price};
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

/// A call of another system costs what one of the account's own would have cost then.
#[test]
fn a_finished_call_is_rated_by_the_groups_of_its_hour_and_by_private_ones() {
    use std::sync::Arc;
    use tandem_call::calendar::{Calendar, Period, parse};

    let mut snapshot = snapshot();
    let price_of = |snapshot: &tandem_call::snapshot::Snapshot, at_ms| {
        let leg = leg_at(snapshot, &snapshot.accounts[0], None, CALLEE, at_ms).map_err(|none| none.detail)?;
        let of_a_call = price(snapshot, &snapshot.mapping[0], "4930100", CALLEE, at_ms).map_err(|none| none.detail)?;
        assert_eq!(leg, of_a_call.legs[0], "as a call of its own");
        Ok::<_, String>((leg.terms.unwrap().rate_per_min.to_string(), leg.rate_group.to_string()))
    };
    snapshot.accounts[0].private_deck = deck("private", vec![rate("8613", "0.02")]);
    assert_eq!(price_of(&snapshot, AT_MS).unwrap(), ("0.02".to_owned(), "private".to_owned()));
    let period = |text: &str, price| {
        let (window, _) = parse(&format!("{text} x")).unwrap();
        Period { window, deck: deck(text, vec![rate("86", price)]).unwrap() }
    };
    let periods = vec![period("00:00-12:00", "0.3"), period("12:00-23:00", "0.5")];
    snapshot.accounts[0].calendar = Some(Arc::new(Calendar::new(periods, jiff::tz::TimeZone::UTC)));
    let midnight_ms = AT_MS - AT_MS.rem_euclid(86_400_000);
    let at = |hour: i64| price_of(&snapshot, midnight_ms + hour * 3_600_000);
    assert_eq!(at(3).unwrap().0, "0.3");
    assert_eq!(at(13).unwrap().0, "0.5");
    assert!(at(23).unwrap_err().contains("no period"));
}
