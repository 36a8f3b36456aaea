//! Sheets as carriers send them (rates.md section 5): whole files, each with what must come out of it.

mod common;

use common::dec;
use proptest::prelude::*;
use tandem_rating::deck_csv::{ParsedDeck, RowError, export, parse, parse_with};
use tandem_rating::import::{ImportMode, ImportOptions, apply_import, diff, import_into};
use tandem_rating::sheet::{DateFormat, SheetOptions, Template};
use tandem_rating::{Deck, Lookup, Rate};

const DECEMBER_MS: i64 = 1_796_083_200_000; // 2026-12-01
const NOW_MS: i64 = 1_795_305_600_000; // 2026-11-22
const DAY_MS: i64 = 86_400_000;

const NORTH: &str = include_str!("sheets/north.csv");
const SUED: &str = include_str!("sheets/sued.csv");
const WEST: &str = include_str!("sheets/west.csv");
const VOS: &str = include_str!("sheets/vos.csv");

fn read(text: &str, options: &SheetOptions) -> ParsedDeck {
    parse_with(text.as_bytes(), options, |_| {}).unwrap_or_else(|errors| panic!("{}", shown(&errors)))
}

fn refused(text: &str, options: &SheetOptions) -> String {
    shown(&parse_with(text.as_bytes(), options, |_| {}).expect_err(text))
}

fn shown(errors: &[RowError]) -> String {
    errors.iter().map(RowError::to_string).collect::<Vec<_>>().join("\n")
}

/// Prefix, price, blocks, days from 22 November, lock.
fn table(deck: &ParsedDeck) -> Vec<String> {
    let line = |row: &Rate| {
        let days = row.effective_from_ms.map(|ms| (ms - NOW_MS) / DAY_MS);
        let lock = if row.lock { " locked" } else { "" };
        format!("{} {} {}/{} {days:?}{lock}", row.prefix(), row.rate_per_min.normalize(), row.first_s, row.next_s)
    };
    deck.rows.iter().map(line).collect()
}

fn usd() -> SheetOptions {
    SheetOptions { own_currency: Some("USD".to_owned()), ..SheetOptions::default() }
}

fn columns(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

fn sued() -> Template {
    Template {
        columns: columns(&[
            ("area_name", "Land"),
            ("country_code", "Vorwahl"),
            ("code", "Ortsnetz"),
            ("price", "Preis EUR/Min"),
            ("effective_from", "g\u{fc}ltig ab"),
            ("increment", "Takt"),
        ]),
        date_format: "dd.MM.yyyy".to_owned(),
        decimal_comma: true,
        ..Template::default()
    }
}

#[test]
fn a_sheet_with_a_preamble_lists_ranges_and_blocked_destinations() {
    let deck = read(NORTH, &usd());
    assert_eq!(
        table(&deck),
        [
            "49 0.012 60/60 Some(9)",
            "49151 0.039 1/1 Some(9)",
            "49152 0.039 1/1 Some(9)",
            "49155 0.039 1/1 Some(9)",
            "49156 0.039 1/1 Some(9)",
            "49157 0.039 1/1 Some(9)",
            "44 0.008 30/6 Some(9)",
            "1264 0.211 60/60 Some(9)",
            "53 0 60/60 Some(9) locked",
            "247 1.95 60/60 Some(9) locked",
        ]
    );
    assert_eq!((deck.lines, deck.rows[1].area_name.as_str()), (6, "Germany Mobile"));
    assert!(deck.unknown_columns.is_empty() && deck.warnings.is_empty(), "{deck:?}");
    // Errors name the line of the file, preamble included.
    let error = refused(&NORTH.replace("0.0080", "-0.0080"), &usd());
    assert_eq!(error, "line 8, column Rate (USD): \"-0.0080\": 0 or more");
    let error = refused(&NORTH.replace("+44", "49152"), &usd());
    assert_eq!(error, "line 8, column Dial Code: \"49152\": the same prefix is valid at the same time in line 7");
}

#[test]
fn a_template_is_found_by_the_header_line() {
    let templates = vec![
        ("north".to_owned(), Template { columns: columns(&[("code", "Dial Code")]), ..Template::default() }),
        ("sued".to_owned(), sued()),
    ];
    let euro = SheetOptions { templates, own_currency: Some("EUR".to_owned()), ..SheetOptions::default() };
    let deck = read(SUED, &euro);
    assert_eq!(deck.template.as_deref(), Some("sued"));
    let expected = [
        "43 0.0145 60/1 Some(9)",
        "43650 0.0985 60/1 Some(9)",
        "43660 0.0985 60/1 Some(9)",
        "43661 0.0985 60/1 Some(9)",
        "43662 0.0985 60/1 Some(9)",
        "43663 0.0985 60/1 Some(9)",
        "43664 0.0985 60/1 Some(9)",
        "41 0.02 1/1 Some(23)",
    ];
    assert_eq!(table(&deck), expected);
    assert_eq!(deck.rows[0].memo, "", "a column that the template does not name is not read");

    // The same with everything said by hand, and nothing from a template.
    let by_hand = SheetOptions {
        map: sued().columns.into_iter().collect(),
        date_format: Some(DateFormat::parse("dd.MM.yyyy").unwrap()),
        decimal_comma: true,
        own_currency: Some("EUR".to_owned()),
        ..SheetOptions::default()
    };
    assert_eq!(table(&read(SUED, &by_hand)), expected);

    let named = |name: &str| SheetOptions { template: Some(name.to_owned()), ..euro.clone() };
    assert_eq!(table(&read(SUED, &named("sued"))), expected);
    assert!(refused(SUED, &named("east")).contains("no template has that name; there are: north, sued"));
    assert!(refused(SUED, &named("north")).contains("every column of template north: Dial Code"));
    let twice = SheetOptions { templates: vec![("a".to_owned(), sued()), ("b".to_owned(), sued())], ..usd() };
    assert!(refused(SUED, &twice).contains("templates a and b both fit"));
    // Without the decimal comma its prices are no numbers, and that is said of each.
    let plain = Template { decimal_comma: false, ..sued() };
    let error = refused(SUED, &SheetOptions { templates: vec![("sued".to_owned(), plain)], ..usd() });
    assert!(error.contains("line 2, column Preis EUR/Min: \"0,0145\": a decimal number"), "{error}");
}

#[test]
fn templates_are_checked_when_they_are_kept() {
    assert_eq!(sued().validate(), Ok(()));
    let wrong = |change: fn(&mut Template)| {
        let mut template = sued();
        change(&mut template);
        template.validate().unwrap_err()
    };
    assert!(wrong(|t| t.columns.clear()).contains("columns is empty"));
    assert!(wrong(|t| t.columns = columns(&[("colour", "x")])).contains("columns.colour is no column"));
    assert!(wrong(|t| t.date_format = "tt.MM.yyyy".to_owned()).contains("date_format"));
    assert!(wrong(|t| t.international_prefix = "+".to_owned()).contains("international_prefix"));
}

#[test]
fn country_and_area_code_are_two_columns_and_the_old_price_is_left() {
    let options = SheetOptions { map: vec![("period".to_owned(), "Next Increment".to_owned())], ..usd() };
    // 12/01 can be two days: the sheet is refused rather than guessed.
    let error = refused(WEST, &options);
    assert!(
        error.starts_with("line 2, column Effective Date: \"12/01/2026\": a date that can be one day only"),
        "{error}"
    );
    let american = SheetOptions { date_format: Some(DateFormat::parse("MM/dd/yyyy").unwrap()), ..options };
    let deck = read(WEST, &american);
    assert_eq!(deck.unknown_columns, ["Current Rate"]);
    let prefixes: Vec<String> = deck.rows.iter().map(Rate::prefix).collect();
    assert_eq!(prefixes, ["33", "336", "3373", "3374", "3375", "3376", "3377", "3378", "377"]);
    assert_eq!(table(&deck)[0], "33 0.005 30/6 Some(9)");
    assert_eq!(deck.rows[8].effective_from_ms, Some(DECEMBER_MS + 45 * DAY_MS));
    let european = SheetOptions { date_format: Some(DateFormat::parse("dd/MM/yyyy").unwrap()), ..american };
    assert!(refused(WEST, &european).contains("\"01/15/2027\": a date like dd/MM/yyyy"));
}

#[test]
fn a_vos_sheet_keeps_its_rate_prefix() {
    let deck = read(VOS, &usd());
    assert_eq!(table(&deck), ["0044 0.008 6/6 None", "00447 0.00235 1/1 None", "00979 0.5 60/60 None locked"]);
    assert_eq!((deck.rows[0].fee_prefix.as_str(), deck.rows[0].area_code.as_str()), ("00", "44"));
}

#[test]
fn money_of_another_currency_is_refused_or_exchanged() {
    // By the header, by a column, by a sign.
    let euro = SheetOptions { own_currency: Some("EUR".to_owned()), ..SheetOptions::default() };
    let error = refused(NORTH, &euro);
    assert!(
        error.contains(
            "line 6, column Rate (USD): \"USD\": the money of the switch is EUR; --currency USD --exchange-rate"
        ),
        "{error}"
    );
    let west = SheetOptions { date_format: Some(DateFormat::parse("MM/dd/yyyy").unwrap()), ..euro.clone() };
    assert!(refused(WEST, &west).contains("line 2, column Currency: \"USD\": the money of the switch is EUR"));
    assert!(refused("code,price,period\n44,$0.5,60\n", &euro).contains("line 2, column price: \"$0.5\": the money"));
    // Said for the whole sheet.
    let said = SheetOptions { currency: Some("usd".to_owned()), ..euro.clone() };
    assert!(refused("code,price,period\n44,0.5,60\n", &said).contains("\"USD\": the money of the switch is EUR"));
    let exchanged = SheetOptions { exchange_rate: Some(dec("0.91")), ..said };
    let deck = read("code,price,period,conn_fee,sections\n44,0.015,60,0.1,30:0.01\n", &exchanged);
    let row = &deck.rows[0];
    let amounts = [row.rate_per_min, row.conn_fee, row.sections[0].amount].map(|amount| amount.normalize().to_string());
    assert_eq!(amounts, ["0.01365", "0.091", "0.0091"]);
    assert_eq!(read(NORTH, &exchanged).rows[0].rate_per_min, dec("0.01092"));
    // A third currency is not exchanged at that rate; the own one stays.
    let third = "code,price,period,currency\n44,1,60,EUR\n45,1,60,GBP\n";
    assert!(refused(third, &exchanged).starts_with("line 3, column currency: \"GBP\""));
    assert_eq!(read("code,price,period,currency\n44,1,60,EUR\n", &exchanged).rows[0].rate_per_min, dec("1"));
}

#[test]
fn increments_and_words_of_many_kinds() {
    for (cell, blocks) in [
        ("60/60", Some((60, 60))),
        ("30/6", Some((30, 6))),
        ("1-1", Some((1, 1))),
        ("60+60", Some((60, 60))),
        ("30:6", Some((30, 6))),
        ("60", Some((60, 60))),
        ("60s/1s", Some((60, 1))),
        ("30 / 6 sec", Some((30, 6))),
        ("0/60", None),
        ("", None),
        ("1/1/1", None),
        ("60min", None),
        ("/6", None),
        ("6/", None),
    ] {
        let text = format!("code,price,increment\n44,0.5,{cell}\n");
        match (parse(text.as_bytes()), blocks) {
            (Ok(deck), Some(blocks)) => assert_eq!((deck.rows[0].first_s, deck.rows[0].next_s), blocks, "{cell}"),
            (Err(errors), None) => assert!(shown(&errors).contains("column increment"), "{cell}"),
            (got, _) => panic!("{cell}: {got:?}"),
        }
    }
    for (price, status, locked) in
        [("0.5", "open", false), ("0.5", "BLOCKED", true), ("Closed", "", true), ("", "Barred", true)]
    {
        let deck = read(&format!("code,price,period,status\n44,{price},60,{status}\n"), &usd());
        assert_eq!(deck.rows[0].lock, locked, "{price} {status}");
    }
    assert!(refused("code,price,period,status\n44,,60,New\n", &usd()).contains("a price is required"));
    assert!(refused("code,price,period,status\n44,0.5,60,perhaps\n", &usd()).contains("column status: \"perhaps\""));
}

#[test]
fn codes_keep_or_lose_what_stands_before_them() {
    let one = |options: &SheetOptions, header: &str, code: &str| {
        read(&format!("{header},price,period\n\"{code}\",1,60\n"), options).rows[0].prefix()
    };
    assert_eq!(one(&usd(), "code", "0044 20"), "4420");
    let keep = SheetOptions { international_prefix: Some("none".to_owned()), ..usd() };
    assert_eq!(one(&keep, "code", "0044 20"), "004420");
    let us = SheetOptions { international_prefix: Some("011".to_owned()), ..usd() };
    assert_eq!(one(&us, "code", "011 44"), "44");
    // Our own sheets mean every digit.
    assert_eq!(one(&usd(), "area_code", "0044"), "0044");
    let error = refused("code,price,period\n1205-1201,1,60\n", &usd());
    assert!(error.starts_with("line 2, column code: \"1205-1201\": a range needs two ends"), "{error}");
}

#[test]
fn a_sheet_whose_only_prefix_is_fee_prefix_has_its_codes_there() {
    let read_of = |text: &str| read(text, &usd()).rows.iter().map(Rate::prefix).collect::<Vec<_>>();
    assert_eq!(
        read_of("fee_prefix,price,period\n1201-1203,1,60\n\"44,+45\",1,60\n"),
        ["1201", "1202", "1203", "44", "45"]
    );
    let error = refused("fee_prefix,price,period\n1205-1201,1,60\n", &usd());
    assert!(error.starts_with("line 2, column fee_prefix: \"1205-1201\": a range needs two ends"), "{error}");
    let error = refused("fee_prefix,price,period\n44,1,60\n44,2,60\n", &usd());
    assert!(error.starts_with("line 3, column fee_prefix: \"44\": the same prefix"), "{error}");
    // In front of codes it is one prefix.
    let error = refused("fee_prefix,area_code,price,period\n1201-1203,44,1,60\n", &usd());
    assert!(error.starts_with("line 2, column fee_prefix: \"1201-1203\": one prefix; lists"), "{error}");
    assert_eq!(read_of("fee_prefix,area_code,price,period\n99,1201-1202,1,60\n"), ["991201", "991202"]);
}

fn row(area_code: &str, area_name: &str, rate: &str) -> Rate {
    Rate {
        area_code: area_code.to_owned(),
        area_name: area_name.to_owned(),
        rate_per_min: dec(rate),
        ..Rate::default()
    }
}

fn numbered(rows: Vec<Rate>) -> Vec<Rate> {
    (1..).zip(rows).map(|(rate_id, row)| Rate { rate_id, ..row }).collect()
}

fn price(deck: &Deck, number: &str, at_ms: i64) -> Option<String> {
    match deck.lookup(number, at_ms) {
        Lookup::Found(row) => Some(row.rate_per_min().normalize().to_string()),
        Lookup::Locked(_) => Some("locked".to_owned()),
        Lookup::NotFound => None,
    }
}

#[test]
fn a_sheet_of_the_future_takes_force_by_itself_and_closes_the_old_rows_then() {
    let old =
        Deck::build("old", numbered(vec![row("44", "UK", "0.01"), row("49", "DE", "0.02"), row("33", "FR", "0.03")]))
            .unwrap();
    let new = read("code,price,period,effective\n44,0.02,60,\n49,0.01,60,2026-12-05\n1,0.005,60,\n", &usd()).rows;
    let options = ImportOptions { from_ms: Some(DECEMBER_MS), ..ImportOptions::new(ImportMode::ReplaceAll, NOW_MS) };
    let imported = import_into("new", Some(&old), new.clone(), &options, |_, _| {}, |_| {}).unwrap();
    let deck = imported.deck.unwrap();
    let fifth = DECEMBER_MS + 4 * DAY_MS;
    for (number, expected) in [
        // now, the last instant before, the instant, the day after, the 5th
        ("441", [Some("0.01"), Some("0.01"), Some("0.02"), Some("0.02"), Some("0.02")]),
        ("491", [Some("0.02"), Some("0.02"), Some("0.02"), Some("0.02"), Some("0.01")]),
        ("331", [Some("0.03"), Some("0.03"), None, None, None]),
        ("121", [None, None, Some("0.005"), Some("0.005"), Some("0.005")]),
    ] {
        let got = [NOW_MS, DECEMBER_MS - 1, DECEMBER_MS, DECEMBER_MS + DAY_MS, fifth]
            .map(|at_ms| price(&deck, number, at_ms));
        assert_eq!(got, expected.map(|price| price.map(str::to_owned)), "{number}");
    }
    let preview = imported.preview;
    assert_eq!((preview.raised.count, preview.lowered.count, preview.added.count, preview.closed.count), (1, 1, 1, 1));
    assert_eq!((preview.raised_early.count, preview.closed.first[0].from_ms), (0, DECEMBER_MS));
    // With ten days of notice the 1st is too early for a price that rises.
    let strict = ImportOptions { notice_days: 10, ..options };
    assert_eq!(diff(&old.rows(), &new, &strict).raised_early.count, 1);
    // A row that ends before the sheet begins cannot be meant.
    let ended = Rate { effective_to_ms: Some(NOW_MS + DAY_MS), ..row("44", "UK", "0.5") };
    assert_eq!(
        diff(&old.rows(), &[ended], &strict).conflicts[0].to_string(),
        "prefix \"44\": the row ends before it would begin, with the sheet"
    );
}

#[test]
fn the_largest_changes_and_the_destinations_are_shown() {
    let names = ["UK", "DE", "FR", "IT"];
    let old: Vec<Rate> = (0..40).map(|n| row(&format!("{}", 100 + n), names[n % 4], "0.10")).collect();
    let new: Vec<Rate> =
        (0..40).map(|n| row(&format!("{}", 100 + n), names[n % 4], &format!("0.{:02}", n + 1))).collect();
    let options = ImportOptions { examples: 3, ..ImportOptions::new(ImportMode::Merge, NOW_MS) };
    let mut seen = 0;
    let old = Deck::build("old", numbered(old)).unwrap();
    let preview = import_into("new", Some(&old), new, &options, |_, _| seen += 1, |_| {}).unwrap().preview;
    assert_eq!((seen, preview.raised.count, preview.lowered.count, preview.unchanged.count), (40, 30, 9, 1));
    let percents = |list: &[tandem_rating::import::Change]| {
        list.iter().map(|c| c.percent().unwrap().normalize().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(percents(&preview.raised.first), ["300", "290", "280"]);
    assert_eq!(percents(&preview.lowered.first), ["-90", "-80", "-70"]);
    let areas: Vec<_> = preview.areas.iter().map(|area| (area.name.as_str(), area.raised, area.lowered)).collect();
    assert_eq!(areas, [("IT", 8, 2), ("FR", 8, 2), ("DE", 7, 2)]);
    assert_eq!(preview.areas[0].most_raised, Some(dec("300")));
    // A price that was nothing rises by more than any percentage.
    let free = vec![row("1", "UK", "0"), row("2", "UK", "0.01")];
    let dear = vec![row("1", "UK", "0.01"), row("2", "UK", "0.99")];
    assert_eq!(diff(&free, &dear, &options).raised.first[0].prefix, "1");
}

fn any_rows() -> impl Strategy<Value = Vec<Rate>> {
    let one = ("[0-9]{0,2}", "[0-9]{1,4}", 0_i64..5_000, 0_i64..4, any::<bool>());
    prop::collection::vec(one, 0..30).prop_map(|rows| {
        let mut rows: Vec<Rate> = rows
            .into_iter()
            .map(|(fee_prefix, area_code, rate, day, lock)| Rate {
                fee_prefix,
                area_code,
                rate_per_min: rust_decimal::Decimal::new(rate, 4),
                effective_from_ms: (day > 0).then_some(NOW_MS + day * DAY_MS),
                lock,
                ..Rate::default()
            })
            .collect();
        rows.sort_by_key(Rate::prefix);
        rows.dedup_by_key(|row| row.prefix());
        rows
    })
}

proptest! {
    /// Both ways to import do the same, and an export of the result reads back to it.
    #[test]
    fn importing_into_a_deck_is_importing_into_its_rows(old in any_rows(), new in any_rows(), day in 0_i64..3) {
        let old = numbered(old);
        let deck = Deck::build("old", old.clone()).unwrap();
        let from_ms = (day > 0).then_some(NOW_MS + day * DAY_MS);
        for mode in [ImportMode::Add, ImportMode::Merge, ImportMode::ReplaceAll] {
            let options = ImportOptions { from_ms, ..ImportOptions::new(mode, NOW_MS) };
            let imported = import_into("old", Some(&deck), new.clone(), &options, |_, _| {}, |_| {}).unwrap();
            prop_assert_eq!(&imported.preview, &diff(&deck.rows(), &new, &options));
            let Ok(rows) = apply_import(&deck.rows(), &new, &options) else {
                prop_assert!(imported.deck.is_none());
                continue;
            };
            let expected = Deck::build("old", rows).unwrap().rows();
            let rows = imported.deck.unwrap().rows();
            prop_assert_eq!(&rows, &expected);
            let mut back = parse(export(&rows).as_bytes()).map_err(|errors| TestCaseError::fail(shown(&errors)))?.rows;
            back.iter_mut().zip(&rows).for_each(|(back, row)| back.rate_id = row.rate_id);
            prop_assert_eq!(back, rows);
        }
    }
}
