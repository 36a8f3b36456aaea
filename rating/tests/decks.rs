//! Finding the rate for a number (rates.md section 3).

mod common;

use common::dec;
use proptest::prelude::*;
use tandem_rating::{Deck, Lookup, Rate};

const NOW_MS: i64 = 1_795_305_600_000;

fn row(fee_prefix: &str, area_code: &str, rate: &str) -> Rate {
    Rate {
        fee_prefix: fee_prefix.to_owned(),
        area_code: area_code.to_owned(),
        rate_per_min: dec(rate),
        ..Rate::default()
    }
}

fn between(row: Rate, from_ms: Option<i64>, to_ms: Option<i64>) -> Rate {
    Rate { effective_from_ms: from_ms, effective_to_ms: to_ms, ..row }
}

fn found(deck: &Deck, number: &str, at_ms: i64) -> Option<String> {
    match deck.lookup(number, at_ms) {
        Lookup::Found(rate) => Some(rate.rate_per_min().to_string()),
        Lookup::Locked(rate) => Some(format!("locked {}", rate.rate_per_min())),
        Lookup::NotFound => None,
    }
}

#[test]
fn the_longest_prefix_wins_and_the_empty_one_is_the_default() {
    let rows = vec![row("", "1", "0.01"), row("", "1212", "0.02"), row("", "", "9")];
    let deck = Deck::build("gold", rows).unwrap();
    assert_eq!((deck.name(), deck.len(), deck.is_empty()), ("gold", 3, false));
    assert_eq!(found(&deck, "12125550100", 0).unwrap(), "0.02");
    assert_eq!(found(&deck, "1213", 0).unwrap(), "0.01");
    assert_eq!(found(&deck, "44", 0).unwrap(), "9");
    assert_eq!(found(&deck, "", 0).unwrap(), "9");
    let bare = Deck::build("bare", vec![row("", "1", "0.01")]).unwrap();
    assert_eq!(found(&bare, "44", 0), None);
    assert_eq!(bare.lookup(b"\xff", 0), Lookup::NotFound);
}

#[test]
fn a_longer_row_that_is_not_valid_gives_way_to_a_shorter_one() {
    let rows = vec![
        row("", "1", "0.01"),
        between(row("", "12", "0.02"), Some(NOW_MS), Some(NOW_MS + 10)),
        between(row("", "12", "0.03"), Some(NOW_MS + 10), None),
    ];
    let deck = Deck::build("timed", rows).unwrap();
    for (at_ms, rate) in [
        (NOW_MS - 1, "0.01"),
        (NOW_MS, "0.02"),
        (NOW_MS + 9, "0.02"),
        (NOW_MS + 10, "0.03"),
        (i64::MAX, "0.03"),
        (i64::MIN, "0.01"),
    ] {
        assert_eq!(found(&deck, "121", at_ms).unwrap(), rate, "at {at_ms}");
    }
}

#[test]
fn of_one_length_the_longer_rate_prefix_wins() {
    let rows = vec![row("", "1212", "0.01"), row("12", "12", "0.02"), row("1", "212", "0.03")];
    let deck = Deck::build("splits", rows).unwrap();
    assert_eq!(found(&deck, "1212555", 0).unwrap(), "0.02");
}

#[test]
fn a_lock_takes_part_in_matching_and_then_refuses() {
    let locked = Rate { lock: true, ..row("", "1900", "1") };
    let deck = Deck::build("locks", vec![locked, row("", "1", "0.01"), row("", "19005", "2")]).unwrap();
    assert_eq!(found(&deck, "19001", 0).unwrap(), "locked 1");
    assert_eq!(found(&deck, "19005", 0).unwrap(), "2");
    assert_eq!(found(&deck, "1901", 0).unwrap(), "0.01");
}

#[test]
fn rows_that_contradict_each_other_are_refused_by_number() {
    let rows = vec![
        row("", "44", "1"),
        between(row("", "1212", "0.01"), None, Some(NOW_MS + 1)),
        between(row("", "1212", "0.02"), Some(NOW_MS), None),
    ];
    let error = Deck::build("gold", rows).unwrap_err().to_string();
    assert_eq!(error, "deck \"gold\": rows 2 and 3 (prefix \"1212\") are valid at the same time");
}

#[test]
fn rows_out_of_range_are_refused_by_field() {
    let cases: Vec<(Rate, &str)> = vec![
        (row("", "12x", "1"), "area_code"),
        (row("+1", "", "1"), "fee_prefix"),
        (row("", &"1".repeat(65), "1"), "area_code"),
        (row("", "1", "-0.01"), "rate_per_min"),
        (row("", "1", "0.000000001"), "rate_per_min"),
        (row("", "1", "10000000000"), "rate_per_min"),
        (Rate { next_s: 0, ..row("", "1", "1") }, "period"),
        (Rate { first_s: 0, ..row("", "1", "1") }, "first_s"),
        (Rate { level: 3, ..row("", "1", "1") }, "type"),
        (Rate { tax_pct: dec("-1"), ..row("", "1", "1") }, "tax"),
        (Rate { conn_fee: dec("-1"), ..row("", "1", "1") }, "conn_fee"),
        (Rate { sections: vec![common::section(1, 30, "-0.1")], ..row("", "1", "1") }, "sections"),
        (
            Rate { sections: vec![common::section(1, 30, "0.1"), common::section(1, 60, "0.1")], ..row("", "1", "1") },
            "sections",
        ),
        (between(row("", "1", "1"), Some(5), Some(5)), "effective_to"),
    ];
    for (bad, field) in cases {
        let shown = format!("{bad:?}");
        let error = Deck::build("d", vec![bad]).unwrap_err().to_string();
        assert!(error.contains(&format!(": {field} is ")), "{shown}: {error}");
    }
}

#[test]
fn terms_are_the_row_as_it_is() {
    let rate = Rate {
        rate_id: 9,
        sections: vec![common::section(2, 60, "0.2"), common::section(1, 30, "0.1")],
        conn_fee: dec("0.5"),
        tax_pct: dec("19"),
        level: 2,
        first_s: 30,
        next_s: 6,
        ..row("00", "44", "0.123")
    };
    let terms = rate.terms();
    assert_eq!((terms.rate_id, terms.prefix.as_str(), terms.level), (9, "0044", 2));
    assert_eq!((terms.first_s, terms.next_s), (30, 6));
    assert_eq!((terms.rate_per_min, terms.conn_fee, terms.tax_pct), (dec("0.123"), dec("0.5"), dec("19")));
    let positions: Vec<u32> = terms.sections.iter().map(|s| s.position).collect();
    assert_eq!(positions, [1, 2]);
}

fn any_row() -> impl Strategy<Value = Rate> {
    let edge = prop_oneof![Just(None), (0_i64..20).prop_map(Some)];
    ("[12]{0,2}", "[12]{0,3}", edge.clone(), edge, any::<bool>()).prop_map(
        |(fee_prefix, area_code, from_ms, to_ms, lock)| Rate {
            lock,
            ..between(row(&fee_prefix, &area_code, "0.01"), from_ms, to_ms)
        },
    )
}

proptest! {
    #[test]
    fn equals_a_linear_scan(
        rows in prop::collection::vec(any_row(), 0..40),
        questions in prop::collection::vec(("[123]{0,6}", -1_i64..22), 1..20),
    ) {
        // Rows that contradict earlier ones stay out; numbers tell rows apart.
        let mut kept: Vec<Rate> = Vec::new();
        for mut row in rows {
            let clash = kept.iter().any(|other| {
                other.fee_prefix == row.fee_prefix && other.area_code == row.area_code && other.overlaps(&row)
            });
            if !clash && row.validate().is_ok() {
                row.rate_id = kept.len() as u64 + 1;
                kept.push(row);
            }
        }
        let deck = Deck::build("random", kept.clone()).unwrap();
        // Together, in two decks, as one by one.
        let other = Deck::build("half", kept[kept.len() / 2..].to_vec()).unwrap();
        let asked: Vec<(&Deck, &str)> =
            questions.iter().flat_map(|(number, _)| [(&deck, number.as_str()), (&other, number.as_str())]).collect();
        let alone: Vec<Lookup<'_>> = asked.iter().map(|(deck, number)| deck.lookup(number, 10)).collect();
        prop_assert_eq!(Deck::lookup_each(&asked, 10).to_vec(), alone);
        for (number, at_ms) in questions {
            if let Lookup::Found(row) | Lookup::Locked(row) = deck.lookup(&number, at_ms) {
                prop_assert_eq!(row.terms_for(&number), row.terms());
            }
            let best = kept
                .iter()
                .filter(|row| number.starts_with(&row.prefix()))
                .filter(|row| row.effective_from_ms.is_none_or(|from| from <= at_ms))
                .filter(|row| row.effective_to_ms.is_none_or(|to| at_ms < to))
                .max_by_key(|row| (row.prefix().len(), row.fee_prefix.len()));
            let told = match deck.lookup(&number, at_ms) {
                Lookup::Found(row) | Lookup::Locked(row) => Some(row.rate()),
                Lookup::NotFound => None,
            };
            prop_assert_eq!(matches!(deck.lookup(&number, at_ms), Lookup::Locked(_)), best.is_some_and(|row| row.lock));
            prop_assert_eq!(told.as_ref(), best);
        }
    }

    /// Compiled and given back, whatever was said of prices, texts, dates and scale; prices said twice are kept once.
    #[test]
    fn a_deck_gives_back_its_rows_as_they_were(
        rows in prop::collection::btree_map("[12]{0,4}", (any_said(), 0_usize..4), 0..30),
    ) {
        let mut given = Vec::new();
        for (n, (prefix, (said, split))) in rows.into_iter().enumerate() {
            let (fee_prefix, area_code) = prefix.split_at(split.min(prefix.len()));
            let row = Rate {
                rate_id: u64::MAX - n as u64,
                fee_prefix: fee_prefix.to_owned(),
                area_code: area_code.to_owned(),
                ..said
            };
            given.push(row);
        }
        // In the order of prefixes, as the map has them; every prefix once.
        let deck = Deck::build("random", given.iter().rev().cloned().collect()).unwrap();
        prop_assert_eq!(format!("{:?}", deck.rows()), format!("{given:?}"), "to the last digit");
        for row in &given {
            let found = deck.lookup(row.prefix(), row.effective_from_ms.unwrap_or(0));
            let (Lookup::Found(compiled) | Lookup::Locked(compiled)) = found else {
                return Err(TestCaseError::fail(format!("{row:?} is not found")));
            };
            prop_assert_eq!(compiled.terms(), row.terms());
            prop_assert_eq!(compiled.prefix(), row.prefix());
            prop_assert_eq!((compiled.rate_id(), compiled.level()), (row.rate_id, row.level));
            prop_assert_eq!(compiled.per_second(), row.per_second());
        }
    }
}

/// Everything of a row but its prefix, from few values, so that rows share some of it.
fn any_said() -> impl Strategy<Value = Rate> {
    let amount = || prop::sample::select(vec!["0.1", "0.10", "0", "9999999999.99999999", "0.00000001"]);
    let section = (0_u32..3, 0_u32..90, amount()).prop_map(|(at, time_s, fee)| common::section(at, time_s, fee));
    let sections = prop::collection::vec(section, 0..3).prop_map(|mut sections| {
        sections.dedup_by_key(|section| section.position);
        sections.sort_by_key(|section| section.position);
        sections.dedup_by_key(|section| section.position);
        sections
    });
    let texts = ("[ab]{0,2}", "[ab]{0,2}");
    (amount(), amount(), amount(), 1_u32..3, 1_u32..3, sections, any::<bool>(), texts, prop::option::of(0_i64..5))
        .prop_map(|(rate, conn, tax, first_s, next_s, sections, lock, (area_name, memo), from_ms)| Rate {
            area_name,
            memo,
            level: 4,
            // As written: `dec` would take the zeros off, which the deck must not.
            rate_per_min: rate.parse().unwrap(),
            conn_fee: conn.parse().unwrap(),
            tax_pct: tax.parse().unwrap(),
            first_s,
            next_s,
            sections,
            lock,
            effective_from_ms: from_ms,
            ..Rate::default()
        })
}
