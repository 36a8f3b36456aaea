//! Rate sheets: what is read, what is refused, and what an import does (rates.md sections 4 and 5).

mod common;

use common::{dec, section};
use proptest::prelude::*;
use tandem_rating::deck_csv::{ERRORS_MAX, ParsedDeck, RowError, export, parse};
use tandem_rating::import::{
    ImportError, ImportMode, ImportOptions, Imported, Preview, apply_import, diff, import_into,
};
use tandem_rating::{Deck, DeckError, Lookup, Rate};

const NOW_MS: i64 = 1_795_305_600_000; // 2026-11-22T00:00:00Z
const DAY_MS: i64 = 86_400_000;

fn read(text: &str) -> ParsedDeck {
    parse(text.as_bytes()).unwrap_or_else(|errors| panic!("{}", shown(&errors)))
}

fn shown(errors: &[RowError]) -> String {
    let lines: Vec<String> = errors.iter().map(RowError::to_string).collect();
    lines.join("\n")
}

fn refused(text: &str) -> String {
    shown(&parse(text.as_bytes()).expect_err(text))
}

#[test]
fn a_small_sheet_is_read() {
    let deck = read("prefix,rate_per_min,increment\n1212,0.012,30/6\n44,0.02,60\n");
    assert_eq!(deck.warnings, [] as [String; 0]);
    let row = &deck.rows[0];
    assert_eq!((row.area_code.as_str(), row.rate_per_min), ("1212", dec("0.012")));
    assert_eq!((row.first_s, row.next_s, row.level), (30, 6, 5));
    assert_eq!((deck.rows[1].first_s, deck.rows[1].next_s), (60, 60));
}

#[test]
fn separators_bom_quotes_and_case_are_understood() {
    let comma = read("Prefix,Rate_Per_Min,Period,Memo\n1,0.5,60,\"a, \"\"b\"\"\nc\"\n");
    let semicolon = read("\u{feff}PREFIX;rate_per_min;period;memo\r\n1;0.5;60;\"a, \"\"b\"\"\nc\"\r\n");
    let tab = read("prefix\trate_per_min\tperiod\tmemo\n1\t0.5\t60\t\"a, \"\"b\"\"\nc\"");
    assert_eq!(comma.rows[0].memo, "a, \"b\"\nc");
    assert_eq!(comma, semicolon);
    assert_eq!(comma, tab);
}

#[test]
fn vos_names_are_synonyms() {
    let deck = read(
        "Rate prefix,Area prefix,Area name,Rate type,Rate(minute),Billing cycle,Section rate,Tax rate,Lock type\n\
         00,44,UK,International,0.06,6,30:0.03,19,1\n",
    );
    let expected = Rate {
        fee_prefix: "00".to_owned(),
        area_code: "44".to_owned(),
        area_name: "UK".to_owned(),
        level: 5,
        rate_per_min: dec("0.06"),
        first_s: 6,
        next_s: 6,
        sections: vec![section(1, 30, "0.03")],
        tax_pct: dec("19"),
        lock: true,
        ..Rate::default()
    };
    assert_eq!(deck.rows, [expected]);
}

#[test]
fn a_price_per_billing_cycle_becomes_a_price_per_minute() {
    let deck = read("area prefix,billing rate,billing cycle\n1,3.91666e-05,1\n2,0.01,60\n3,0.01,6\n");
    let rates: Vec<String> = deck.rows.iter().map(|row| row.rate_per_min.to_string()).collect();
    assert_eq!(rates, ["0.00235", "0.01", "0.1"]);
    assert!(deck.warnings[0].contains("2 rows"), "{:?}", deck.warnings);
}

#[test]
fn what_is_missing_or_unknown_is_said() {
    let deck = read("prefix,rate_per_min,colour\n1,0.5,red\n");
    assert_eq!(
        deck.warnings,
        [
            "column \"colour\" is not known and was not read",
            "no column period or increment: every row is billed in blocks of 60/60 s",
        ]
    );
    assert!(refused("").contains("empty"));
    assert!(refused("1212,0.01\n").contains("no prefix"));
    assert!(refused("prefix,period\n1,60\n").contains("no price"));
    assert!(refused("prefix,area_code,rate_per_min\n").contains("means the same as column prefix"));
    assert!(refused("prefix,rate_per_min,increment,period\n").contains("give one"));
}

#[test]
fn every_bad_cell_is_named_with_line_and_column() {
    let text = "prefix;Rate(Minute);increment;lock;effective_from\n\
                1212;0.01;60/60;0;\n\
                12x2;0,01;60/0;2;soon\n\
                \n\
                44;;60;0;2026-12-01\n\
                44;0.01\n";
    assert_eq!(
        refused(text),
        "line 3, column increment: \"60/0\": seconds, 1 or more: first/next like 30/6, or one number for both\n\
         line 3, column prefix: \"12x2\": digits 0-9 only, or empty\n\
         line 3, column Rate(Minute): \"0,01\": a decimal number like 0.0125; --decimal-comma reads 0,0125\n\
         line 3, column lock: \"2\": 0 or 1, or a word like open, blocked, closed\n\
         line 3, column effective_from: \"soon\": an ISO 8601 date or time, like 2026-12-01 or 2026-12-01T00:00:00Z, or the form --date-format names\n\
         line 5, column Rate(Minute): a price is required; 0 for a free destination\n\
         line 6: 2 cells, but the header has 5"
    );
}

#[test]
fn lines_are_counted_as_an_editor_counts_them() {
    let text = "\u{feff}prefix,rate_per_min,period,memo\r\n\r\n1,1,60,\"two\r\nlines\"\r\n\r\n2,x,60,\r\n";
    assert!(refused(text).starts_with("line 6, column rate_per_min"), "{}", refused(text));
}

#[test]
fn values_out_of_range_are_refused() {
    for (column, value, rule) in [
        ("rate_per_min", "-1", "0 or more"),
        ("rate_per_min", "1e3", "a decimal number"),
        ("rate_per_min", "0.123456789", "at most 8 decimals"),
        ("rate_per_min", "10000000000", "10 digits before the point"),
        ("conn_fee", "x", "a decimal number"),
        ("tax", "-5", "0 or more"),
        ("type", "3", "1 in-network"),
        ("period", "0", "whole seconds, 1 or more"),
        ("period", "", "whole seconds, 1 or more"),
        ("period", "+6", "whole seconds"),
        ("period", "4294967296", "whole seconds"),
        ("first_s", "0", "whole seconds"),
        ("sections", "30", "seconds:amount"),
        ("sections", "30:-1", "seconds:amount"),
        ("sections", "30:0.1|", "seconds:amount"),
        ("effective_to", "2020-01-01", "after effective_from"),
    ] {
        let mut cells =
            vec![("prefix", "1"), ("rate_per_min", "1"), ("period", "60"), ("effective_from", "2020-01-01")];
        cells.retain(|(name, _)| *name != column);
        cells.push((column, value));
        let (header, row): (Vec<&str>, Vec<&str>) = cells.into_iter().unzip();
        let error = refused(&format!("{}\n{}\n", header.join(","), row.join(",")));
        assert!(error.starts_with(&format!("line 2, column {column}: ")), "{error}");
        assert!(error.contains(rule), "{column} {value}: {error}");
    }
}

#[test]
fn one_prefix_twice_at_a_time_is_refused() {
    let text = "prefix,rate_per_min,period,effective_from,effective_to\n\
                44,1,60,,2026-12-02\n1,1,60,,\n44,2,60,2026-12-01,\n";
    assert_eq!(refused(text), "line 4, column prefix: \"44\": the same prefix is valid at the same time in line 2");
    read("prefix,rate_per_min,period,effective_from,effective_to\n44,1,60,,2026-12-01\n44,2,60,2026-12-01,\n");
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    let errors = parse(b"prefix,rate_per_min,period,memo\n1,1,60,\xff\n").unwrap_err();
    assert_eq!(shown(&errors), "line 2, column memo: \"\u{fffd}\": is not UTF-8");
}

#[test]
fn errors_are_limited() {
    let text = format!("prefix,rate_per_min,period\n{}", "x,y,z\n".repeat(1000));
    assert_eq!(parse(text.as_bytes()).unwrap_err().len(), ERRORS_MAX);
    let long = format!("prefix,rate_per_min,period\n{},1,60\n", "x".repeat(5000));
    assert!(refused(&long).len() < 200);
}

fn row(area_code: &str, rate: &str) -> Rate {
    Rate { area_code: area_code.to_owned(), rate_per_min: dec(rate), ..Rate::default() }
}

fn numbered(rows: Vec<Rate>) -> Vec<Rate> {
    (1..).zip(rows).map(|(rate_id, row)| Rate { rate_id, ..row }).collect()
}

fn options(mode: ImportMode) -> ImportOptions {
    ImportOptions::new(mode, NOW_MS)
}

fn counts(preview: &Preview) -> [usize; 6] {
    [
        preview.added.count,
        preview.raised.count,
        preview.lowered.count,
        preview.changed.count,
        preview.unchanged.count,
        preview.closed.count,
    ]
}

/// Number, prefix, rate, from, to.
type Line = (u64, String, String, Option<i64>, Option<i64>);

fn table(rows: &[Rate]) -> Vec<Line> {
    rows.iter()
        .map(|row| {
            let rate = row.rate_per_min.normalize().to_string();
            (row.rate_id, row.prefix(), rate, row.effective_from_ms, row.effective_to_ms)
        })
        .collect()
}

fn line(rate_id: u64, prefix: &str, rate: &str, from_ms: Option<i64>, to_ms: Option<i64>) -> Line {
    (rate_id, prefix.to_owned(), rate.to_owned(), from_ms, to_ms)
}

#[test]
fn merge_replaces_adds_and_keeps() {
    let old = numbered(vec![row("1", "0.01"), row("2", "0.02"), row("3", "0.03"), row("4", "0.04"), row("5", "0.05")]);
    let renamed = Rate { area_name: "new name".to_owned(), ..row("4", "0.04") };
    let new = vec![row("1", "0.010"), row("2", "0.025"), row("3", "0.02"), renamed, row("6", "0.06")];
    let preview = diff(&old, &new, &options(ImportMode::Merge));
    assert_eq!(counts(&preview), [1, 1, 1, 1, 1, 0]);
    assert_eq!(preview.raised_early.count, 1);
    let raised = &preview.raised.first[0];
    assert_eq!((raised.prefix.as_str(), raised.old, raised.new), ("2", Some(dec("0.02")), Some(dec("0.025"))));

    let after = apply_import(&old, &new, &options(ImportMode::Merge)).unwrap();
    let now = Some(NOW_MS);
    assert_eq!(
        table(&after),
        [
            line(1, "1", "0.01", None, None),
            line(2, "2", "0.02", None, now),
            line(6, "2", "0.025", now, None),
            line(3, "3", "0.03", None, now),
            line(7, "3", "0.02", now, None),
            line(4, "4", "0.04", None, now),
            line(8, "4", "0.04", now, None),
            line(5, "5", "0.05", None, None),
            line(9, "6", "0.06", None, None),
        ]
    );
    Deck::build("after", after.clone()).unwrap();
    // The same file again finds nothing to do.
    let again = diff(&after, &new, &options(ImportMode::Merge));
    assert_eq!(counts(&again), [0, 0, 0, 0, 5, 0]);
    assert_eq!(apply_import(&after, &new, &options(ImportMode::Merge)).unwrap(), after);
}

/// Imports `rate` of prefixes 1 to 9, one each, on day `day`.
fn import_on(day: i64, old: Option<&Deck>, rate: &str, with: ImportOptions) -> Result<Imported, DeckError> {
    let new: Vec<Rate> = (1..=9).map(|prefix| row(&prefix.to_string(), rate)).collect();
    let options = ImportOptions { at_ms: NOW_MS + day * DAY_MS, ..with };
    import_into("retail", old, new, &options, |_, _| {}, |_| {})
}

#[test]
fn a_sheet_a_week_never_fills_the_deck() {
    let with = ImportOptions { rows_max: 36, ..options(ImportMode::ReplaceAll) };
    let mut deck: Option<Deck> = None;
    let mut first_id = 1;
    for week in 0..12 {
        let imported = import_on(week * 7, deck.as_ref(), &format!("0.{:02}", week + 1), with.clone()).unwrap();
        // Four sheets have room: the rates of the last three weeks stay, those before go.
        let gone = imported.forgotten.map(|forgotten| (forgotten.rows, forgotten.until_ms));
        assert_eq!(gone, (week >= 4).then(|| (9, NOW_MS + (week - 3) * 7 * DAY_MS)), "week {week}");
        let next = imported.deck.unwrap();
        assert_eq!(next.len(), 9 * (week as usize + 1).min(4));
        for weeks_ago in 0..=week.min(3) {
            let at_ms = NOW_MS + (week - weeks_ago) * 7 * DAY_MS + 1;
            let Lookup::Found(row) = next.lookup("5123", at_ms) else { panic!("week {week}, {weeks_ago} ago") };
            assert_eq!(row.rate_per_min(), dec(&format!("0.{:02}", week - weeks_ago + 1)));
        }
        if week > 3 {
            assert_eq!(next.lookup("5123", NOW_MS + (week - 4) * 7 * DAY_MS + 1), Lookup::NotFound);
        }
        // Numbers of rows are never given twice.
        let ids: Vec<u64> = next.iter().map(|row| row.rate_id()).collect();
        assert_eq!(ids.iter().max(), Some(&(first_id + 8)), "{ids:?}");
        first_id += 9;
        // What is read back from the sheet is the deck.
        let again = Deck::build("retail", next.rows()).unwrap();
        assert_eq!(again.rows(), next.rows());
        deck = Some(next);
    }
}

#[test]
fn rows_are_let_go_of_when_their_calls_are() {
    let keep = |days: i64, day: i64| ImportOptions {
        keep_ended_since_ms: Some(NOW_MS + (day - days) * DAY_MS),
        ..options(ImportMode::ReplaceAll)
    };
    let first = import_on(0, None, "0.1", keep(30, 0)).unwrap().deck.unwrap();
    let second = import_on(7, Some(&first), "0.2", keep(30, 7)).unwrap().deck.unwrap();
    // Ended on day 7; day 37 is the last that may ask.
    let third = import_on(37, Some(&second), "0.3", keep(30, 37)).unwrap();
    assert_eq!((third.forgotten, third.deck.as_ref().map(Deck::len)), (None, Some(27)));
    let third = import_on(38, Some(&second), "0.3", keep(30, 38)).unwrap();
    assert_eq!((third.forgotten.map(|gone| gone.rows), third.deck.as_ref().map(Deck::len)), (Some(9), Some(18)));
}

#[test]
fn rows_of_calls_in_progress_stay_even_when_there_is_no_room() {
    let with = ImportOptions { rows_max: 20, keep_ended_since_ms: Some(i64::MAX), ..options(ImportMode::ReplaceAll) };
    let first = import_on(0, None, "0.1", with.clone()).unwrap().deck.unwrap();
    let second = import_on(1, Some(&first), "0.2", with.clone()).unwrap();
    assert_eq!((second.forgotten, second.deck.as_ref().map(Deck::len)), (None, Some(18)));
    // The third on the same day: the first rows ended yesterday, calls may still run by them.
    let third = import_on(2, second.deck.as_ref(), "0.3", with.clone());
    assert!(matches!(third, Err(DeckError::TooManyRows { rows: 27, .. })), "{third:?}");
    let third = import_on(3, second.deck.as_ref(), "0.3", with).unwrap();
    assert_eq!((third.forgotten.map(|gone| gone.rows), third.deck.as_ref().map(Deck::len)), (Some(9), Some(18)));
}

#[test]
fn the_row_with_the_highest_number_stays() {
    let ended = Rate { rate_id: 90, effective_to_ms: Some(NOW_MS - 90 * DAY_MS), ..row("7", "0.07") };
    let long = Rate { rate_id: 3, effective_to_ms: Some(NOW_MS - 90 * DAY_MS), ..row("8", "0.07") };
    let live = Rate { rate_id: 2, ..row("1", "0.1") };
    let old = Deck::build("retail", vec![ended, long, live]).unwrap();
    let with = ImportOptions { keep_ended_since_ms: Some(NOW_MS), ..options(ImportMode::Merge) };
    // Nothing is put in that would have a higher one.
    let imported = import_into("retail", Some(&old), Vec::new(), &with, |_, _| {}, |_| {}).unwrap();
    let deck = imported.deck.unwrap();
    assert_eq!(deck.iter().map(|row| row.rate_id()).collect::<Vec<_>>(), [2, 90]);
}

#[test]
fn replace_all_closes_what_the_file_does_not_name() {
    let ended = Rate { effective_to_ms: Some(NOW_MS - 5), ..row("7", "0.07") };
    let to_come = Rate { effective_from_ms: Some(NOW_MS + 5), ..row("8", "0.08") };
    let old = numbered(vec![row("1", "0.01"), row("2", "0.02"), ended, to_come]);
    let new = vec![row("1", "0.01")];
    assert_eq!(counts(&diff(&old, &new, &options(ImportMode::ReplaceAll))), [0, 0, 0, 0, 1, 2]);
    let after = apply_import(&old, &new, &options(ImportMode::ReplaceAll)).unwrap();
    assert_eq!(
        table(&after),
        [
            line(1, "1", "0.01", None, None),
            line(2, "2", "0.02", None, Some(NOW_MS)),
            line(3, "7", "0.07", None, Some(NOW_MS - 5)),
        ]
    );
}

#[test]
fn add_fails_whole_on_a_prefix_that_is_there() {
    let old = numbered(vec![row("1", "0.01")]);
    let both = [row("1", "0.01"), row("2", "0.02")];
    let error = apply_import(&old, &both, &options(ImportMode::Add)).unwrap_err();
    assert_eq!(error, ImportError::Exists { prefix: "1".to_owned() });
    assert_eq!(diff(&old, &both, &options(ImportMode::Add)).conflicts, [error]);
    let after = apply_import(&old, &both[1..], &options(ImportMode::Add)).unwrap();
    assert_eq!(after.len(), 2);
    // The other split of the same prefix is the same prefix.
    let split = Rate { fee_prefix: "1".to_owned(), ..row("", "0.01") };
    assert!(apply_import(&old, &[split], &options(ImportMode::Add)).is_err());
}

#[test]
fn a_row_of_the_future_leaves_the_present_alone() {
    let later = Rate { effective_from_ms: Some(NOW_MS + 30 * DAY_MS), ..row("1", "0.02") };
    let old = numbered(vec![row("1", "0.01")]);
    let preview = diff(&old, std::slice::from_ref(&later), &options(ImportMode::Merge));
    assert_eq!((preview.raised.count, preview.raised_early.count), (1, 0));
    let after = apply_import(&old, &[later], &options(ImportMode::Merge)).unwrap();
    let then = Some(NOW_MS + 30 * DAY_MS);
    assert_eq!(table(&after), [line(1, "1", "0.01", None, then), line(2, "1", "0.02", then, None)]);
}

#[test]
fn a_beginning_in_the_past_takes_over_now() {
    let backdated = Rate { effective_from_ms: Some(NOW_MS - DAY_MS), ..row("1", "0.02") };
    let old = numbered(vec![row("1", "0.01")]);
    let after = apply_import(&old, std::slice::from_ref(&backdated), &options(ImportMode::Merge)).unwrap();
    let now = Some(NOW_MS);
    assert_eq!(table(&after), [line(1, "1", "0.01", None, now), line(2, "1", "0.02", now, None)]);
    let over = Rate { effective_to_ms: Some(NOW_MS - 1), ..backdated };
    assert!(matches!(apply_import(&old, &[over], &options(ImportMode::Merge)), Err(ImportError::History { .. })));
}

#[test]
fn two_rows_of_the_file_can_share_what_was_one() {
    // The price falls now and is back as it was in ten days: the old row cannot just stay.
    let old = numbered(vec![row("1", "0.02")]);
    let back_ms = Some(NOW_MS + 10 * DAY_MS);
    let cheap = Rate { effective_to_ms: back_ms, ..row("1", "0.01") };
    let back = Rate { effective_from_ms: back_ms, ..row("1", "0.02") };
    let after = apply_import(&old, &[back, cheap], &options(ImportMode::Merge)).unwrap();
    assert_eq!(
        table(&after),
        [
            line(1, "1", "0.02", None, Some(NOW_MS)),
            line(2, "1", "0.01", Some(NOW_MS), back_ms),
            line(3, "1", "0.02", back_ms, None),
        ]
    );
}

#[test]
fn lost_digits_are_counted() {
    let new = [row("1", "0.0125"), row("2", "0.01"), row("3", "0.004")];
    let quantised = ImportOptions { fp: Some(2), ..options(ImportMode::Merge) };
    let lost = diff(&[], &new, &quantised).digits_lost;
    let used: Vec<_> = lost.first.iter().map(|change| change.new.unwrap()).collect();
    assert_eq!((lost.count, used), (2, vec![dec("0.01"), dec("0.01")]));
    assert_eq!(diff(&[], &new, &options(ImportMode::Merge)).digits_lost.count, 0);
}

fn any_row() -> impl Strategy<Value = Rate> {
    let text = "[a-zé,;\"\t|\n]([a-z ,;\"\r\n]{0,6}[a-z])?|";
    let edge = prop_oneof![Just(None), (0_i64..8).prop_map(|day| Some(NOW_MS + (day - 4) * DAY_MS + 1))];
    let price = (0_i64..10_000_000_000, 0_u32..=8).prop_map(|(n, scale)| rust_decimal::Decimal::new(n, scale));
    (
        ("[12]{0,1}", "[12]{0,2}", text, text),
        prop_oneof![Just(1_u8), Just(2), Just(4), Just(5)],
        price.clone(),
        (1_u32..100, 1_u32..100),
        prop::collection::vec((0_u32..60, price.clone()), 0..3),
        (price.clone(), price, any::<bool>()),
        (edge.clone(), edge),
    )
        .prop_map(|(texts, level, rate_per_min, blocks, sections, fees, validity)| Rate {
            rate_id: 0,
            fee_prefix: texts.0,
            area_code: texts.1,
            area_name: texts.2.trim().to_owned(),
            level,
            rate_per_min,
            first_s: blocks.0,
            next_s: blocks.1,
            sections: (1..)
                .zip(sections)
                .map(|(position, (time_s, amount))| tandem_rating::Section { position, time_s, amount })
                .collect(),
            conn_fee: fees.0,
            tax_pct: fees.1,
            lock: fees.2,
            effective_from_ms: validity.0,
            effective_to_ms: validity.1,
            memo: texts.3.trim().to_owned(),
        })
}

/// Rows that make a deck: each in range, and none against another.
fn any_rows() -> impl Strategy<Value = Vec<Rate>> {
    prop::collection::vec(any_row(), 0..25).prop_map(|rows| {
        let mut kept: Vec<Rate> = Vec::new();
        for row in rows {
            let clash = kept.iter().any(|other| other.prefix() == row.prefix() && other.overlaps(&row));
            if !clash && row.validate().is_ok() {
                kept.push(row);
            }
        }
        kept
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn export_and_import_is_the_same_table(rows in any_rows()) {
        let text = export(&rows);
        let back = parse(text.as_bytes()).map_err(|errors| TestCaseError::fail(shown(&errors)))?;
        prop_assert_eq!(&back.rows, &rows);
        prop_assert!(back.warnings.is_empty());
        // Over itself it changes nothing, in every mode that may meet itself.
        let old = numbered(rows);
        for mode in [ImportMode::Merge, ImportMode::ReplaceAll] {
            let preview = diff(&old, &back.rows, &options(mode));
            prop_assert_eq!(counts(&preview), [0, 0, 0, 0, old.len(), 0]);
        }
    }

    #[test]
    fn an_import_leaves_a_deck_whose_past_is_as_it_was(old in any_rows(), new in any_rows()) {
        let old = numbered(old);
        let before = Deck::build("before", old.clone()).unwrap();
        for mode in [ImportMode::Add, ImportMode::Merge, ImportMode::ReplaceAll] {
            let preview = diff(&old, &new, &options(mode));
            let of_file: usize = counts(&preview)[..5].iter().sum();
            prop_assert_eq!(of_file, new.len());
            let after = apply_import(&old, &new, &options(mode));
            prop_assert_eq!(after.is_err(), !preview.conflicts.is_empty());
            let Ok(after) = after else { continue };
            let mut numbers: Vec<u64> = after.iter().map(|row| row.rate_id).collect();
            numbers.sort_unstable();
            numbers.dedup();
            prop_assert_eq!(numbers.len(), after.len());
            let after = Deck::build("after", after).unwrap();
            for number in ["", "1", "11", "12", "112", "2", "21", "222"] {
                for day in [-5, -3, -1] {
                    let then = NOW_MS + day * DAY_MS;
                    let price = |deck: &Deck| match deck.lookup(number, then) {
                        tandem_rating::Lookup::Found(row) | tandem_rating::Lookup::Locked(row) => Some((row.prefix().to_owned(), row.rate_per_min())),
                        tandem_rating::Lookup::NotFound => None,
                    };
                    // A prefix that was never rated may be given a past; one that was, not another.
                    if let Some((prefix, rate)) = price(&before)
                        && let Some((now_prefix, now_rate)) = price(&after)
                        && prefix == now_prefix
                    {
                        prop_assert_eq!(rate, now_rate);
                    }
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_a_table_or_errors(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Err(errors) = parse(&bytes) {
            prop_assert!(!errors.is_empty() && errors.len() <= ERRORS_MAX);
        }
        let mut text = b"prefix,rate_per_min,period\n".to_vec();
        text.extend(bytes);
        if let Err(errors) = parse(&text) {
            prop_assert!(!errors.is_empty() && errors.len() <= ERRORS_MAX);
        }
    }
}
