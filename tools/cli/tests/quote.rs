//! `tandem quote` through the real binary: the golden table, and rows that are refused.

mod common;

use common::run;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../rating/tests/golden/billing-golden.csv");
/// The table must not lose rows in silence.
const ROWS: usize = 109;
const HEADER: &str =
    "id,hold_ms,hold_time_precision_ms,free_time_s,block_first_s,block_next_s,rate_per_min,fee_precision,fee_unit";

/// The golden rows as maps of column to text.
fn golden() -> Vec<std::collections::HashMap<String, String>> {
    let rows: Vec<_> = csv::Reader::from_path(GOLDEN).unwrap().deserialize().map(Result::unwrap).collect();
    assert_eq!(rows.len(), ROWS);
    rows
}

fn quote_file(text: &str) -> common::Ran {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calls.csv");
    std::fs::write(&file, text).unwrap();
    run(&["quote", "--csv", file.to_str().unwrap()])
}

#[test]
fn every_golden_row_as_csv() {
    let out = run(&["quote", "--csv", GOLDEN]).fine().out;
    let mut expected = "id,hold_s,billed_s,fee\n".to_owned();
    for row in golden() {
        expected +=
            &format!("{},{},{},{}\n", row["id"], row["expect_hold_s"], row["expect_billed_s"], row["expect_fee"]);
    }
    assert_eq!(out, expected);
}

#[test]
fn every_golden_row_as_json() {
    let quoted = run(&["quote", "--csv", GOLDEN, "-o", "json"]).fine().json();
    let quoted = quoted.as_array().unwrap();
    assert_eq!(quoted.len(), ROWS);
    for (got, row) in quoted.iter().zip(golden()) {
        assert_eq!(got["id"], row["id"]);
        assert_eq!(got["hold_s"].to_string(), row["expect_hold_s"]);
        assert_eq!(got["fee"], row["expect_fee"], "money is a decimal string");
    }
}

#[test]
fn every_golden_row_by_its_options() {
    for row in golden() {
        let increment = format!("{}/{}", row["block_first_s"], row["block_next_s"]);
        let hold = format!("--hold-ms={}", row["hold_ms"]);
        let quoted = run(&[
            "-o",
            "json",
            "quote",
            &hold,
            "--rate",
            &row["rate_per_min"],
            "--increment",
            &increment,
            "--fp",
            &row["fee_precision"],
            "--fu",
            &row["fee_unit"],
            "--hold-precision",
            &row["hold_time_precision_ms"],
            "--free",
            &row["free_time_s"],
        ])
        .fine()
        .json();
        let got =
            (quoted["hold_s"].to_string(), quoted["billed_s"].to_string(), quoted["fee"].as_str().unwrap().to_owned());
        let expected = (row["expect_hold_s"].clone(), row["expect_billed_s"].clone(), row["expect_fee"].clone());
        assert_eq!(got, expected, "row {}", row["id"]);
    }
}

#[test]
fn the_steps_are_shown() {
    let out = run(&["quote", "--hold-ms", "66000", "--rate", "0.01", "--free", "6"]).fine().out;
    assert!(out.starts_with("hold_s:   66\nbilled_s: 60\nfee:      0.01\n"), "{out}");
    assert!(out.contains("3 free time: 66 s less 6 s is 60 s"), "{out}");
    assert!(out.contains("10 fee unit: "), "{out}");
}

#[test]
fn one_number_is_both_blocks() {
    let both = run(&["quote", "--hold-ms", "7000", "--rate", "0.6", "--increment", "6"]).fine().out;
    assert!(both.contains("billed_s: 12"), "{both}");
}

#[test]
fn a_rate_may_keep_its_decimals() {
    let arguments = ["quote", "--hold-ms", "6000000", "--rate", "0.00235", "--increment", "1/1"];
    let rounded = run(&arguments).fine().out;
    assert!(rounded.contains("fee:      1\n"), "0.01 a minute: {rounded}");
    let exact = run(&[&arguments[..], &["--exact-rate"]].concat()).fine().out;
    assert!(exact.contains("fee:      0.24\n"), "{exact}");
}

#[test]
fn a_bad_option_is_named_with_what_is_allowed() {
    let quote = |more: &[&str]| run(&[&["quote", "--hold-ms", "1000", "--rate", "0.1"], more].concat());
    quote(&["--increment", "0/6"]).failed(2, &["--increment is \"0/6\"", "60/60"]);
    quote(&["--increment", "6/6/6"]).failed(2, &["--increment is \"6/6/6\""]);
    quote(&["--fp", "5"]).failed(2, &["--fp is \"5\"", "0 to 4"]);
    quote(&["--fu", "0.025"]).failed(2, &["--fu is \"0.025\"", "whole multiple"]);
    quote(&["--fu", "0"]).failed(2, &["--fu is \"0\"", "above 0"]);
    quote(&["--hold-precision", "1000"]).failed(2, &["--hold-precision is \"1000\"", "0 to 999 ms"]);
    quote(&["--free", "-1"]).failed(2, &["--free is \"-1\"", "0 or more"]);
    quote(&["--tax", "-1"]).failed(2, &["--tax is \"-1\"", "0 or more"]);
    run(&["quote", "--hold-ms", "1", "--rate", "-1"]).failed(2, &["--rate is \"-1\"", "0 or more"]);
    run(&["quote", "--hold-ms", "1s", "--rate", "1"]).failed(2, &["--hold-ms is \"1s\"", "whole milliseconds"]);
    run(&["quote", "--hold-ms", "9223372036854775807", "--rate", "9999999999"]).failed(2, &["--hold-ms", "too large"]);
    run(&["quote"]).failed(2, &["--hold-ms", "missing"]);
    run(&["quote", "--csv", GOLDEN, "--fp", "3"]).failed(2, &["cannot be given together"]);
}

#[test]
fn one_bad_row_prints_nothing_and_names_row_and_column() {
    let ran = quote_file(&format!("{HEADER}\nA,1000,50,0,60,60,0.01,2,0.01\nB,1000,50,0,60,x,0.01,2,0.01\nC,1\n"));
    ran.failed(
        2,
        &["line 3: block_next_s is \"x\"; allowed is 1 or more whole seconds", "line 4: the row has 2 columns"],
    );
    assert!(ran.err.ends_with("no row was priced\n"), "{ran:?}");
    assert_eq!(ran.out, "");
}

#[test]
fn each_wrong_column_is_named() {
    let good = ["A", "1000", "50", "0", "60", "60", "0.01", "2", "0.01"];
    let wrong = [(1, "1.5"), (2, "1000"), (3, "-6"), (4, "0"), (5, ""), (6, "1,5"), (7, "5"), (8, "0.025")];
    for (place, value) in wrong {
        let mut row = good;
        row[place] = value;
        let quoted: Vec<String> = row.iter().map(|cell| format!("\"{cell}\"")).collect();
        let ran = quote_file(&format!("{HEADER}\n{}\n", quoted.join(",")));
        let column = HEADER.split(',').nth(place).unwrap();
        ran.failed(2, &[&format!("line 2: {column} is {value:?}; allowed is ")]);
    }
}

#[test]
fn many_bad_rows_are_counted() {
    let rows = "A,x,50,0,60,60,0.01,2,0.01\n".repeat(25);
    let ran = quote_file(&format!("{HEADER}\n{rows}"));
    ran.failed(2, &["line 2:", "line 21:", "5 more wrong rows"]);
    assert!(!ran.err.contains("line 22:"), "{ran:?}");
}

#[test]
fn a_header_without_a_column_is_refused() {
    quote_file("id,hold_ms\nA,1\n").failed(2, &["line 1: column hold_time_precision_ms is missing"]);
    let renamed = HEADER.replace("fee_unit", "feeunit");
    quote_file(&format!("{renamed}\n")).failed(2, &["column fee_unit is missing", "feeunit?"]);
    quote_file(&format!("{HEADER},fee_unit\n")).failed(2, &["column fee_unit is there twice"]);
    quote_file("").failed(2, &["column id is missing"]);
}

#[test]
fn columns_in_any_order_with_bom_and_windows_line_ends() {
    let text = "\u{feff}fee_unit,ID,hold_ms,hold_time_precision_ms,free_time_s,block_first_s,block_next_s,rate_per_min,\
                fee_precision,note\r\n0.01,\"a,b\",1000, 50 ,0,60,60,0.01,2,x\r\n";
    assert_eq!(quote_file(text).fine().out, "id,hold_s,billed_s,fee\n\"a,b\",1,60,0.01\n");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    run(&["quote", "--csv", "/nonexistent/x.csv"]).failed(2, &["/nonexistent/x.csv cannot be read"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("latin.csv");
    std::fs::write(&file, b"id\n\xe9\n").unwrap();
    run(&["quote", "--csv", file.to_str().unwrap()]).failed(2, &["line 2 is not UTF-8"]);
}
