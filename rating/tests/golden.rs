//! Every row of billing-golden.csv: what a user's price dispute is settled by.

use rust_decimal::Decimal;
use tandem_rating::{BillingParams, Money, RateTerms, rate_leg};

const GOLDEN: &str = include_str!("golden/billing-golden.csv");
/// The table must not lose rows in silence.
const ROWS: usize = 109;

#[test]
fn every_golden_row() {
    let mut reader = csv::Reader::from_reader(GOLDEN.as_bytes());
    let headers = reader.headers().unwrap().clone();
    let column = |name: &str| headers.iter().position(|h| h == name).unwrap();
    let mut failures = Vec::new();
    let mut rows = 0;
    for record in reader.records() {
        let record = record.unwrap();
        rows += 1;
        let text = |name: &str| &record[column(name)];
        let id = text("id");
        let params = BillingParams {
            fp: text("fee_precision").parse().unwrap(),
            fu: text("fee_unit").parse::<Decimal>().unwrap(),
            p_hold_ms: text("hold_time_precision_ms").parse().unwrap(),
            free_s: text("free_time_s").parse().unwrap(),
            ..BillingParams::default()
        };
        params.validate().unwrap_or_else(|error| panic!("row {id}: {error}"));
        let terms = RateTerms {
            rate_id: 1,
            prefix: Default::default(),
            rate_per_min: text("rate_per_min").parse().unwrap(),
            first_s: text("block_first_s").parse().unwrap(),
            next_s: text("block_next_s").parse().unwrap(),
            sections: Vec::new(),
            conn_fee: Decimal::ZERO,
            tax_pct: Decimal::ZERO,
            level: 5,
        };
        let charge = rate_leg(text("hold_ms").parse().unwrap(), &terms, &params)
            .unwrap_or_else(|error| panic!("row {id}: {error}"));
        let got = (charge.hold_s, charge.billed_s, charge.fee);
        let expected: (i64, i64, Money) = (
            text("expect_hold_s").parse().unwrap(),
            text("expect_billed_s").parse().unwrap(),
            text("expect_fee").parse().unwrap(),
        );
        if got != expected {
            failures.push(format!(
                "row {id} ({}): hold, billed, fee {} {} {}, expected {} {} {}",
                text("source"),
                got.0,
                got.1,
                got.2,
                expected.0,
                expected.1,
                expected.2
            ));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(rows, ROWS, "rows in billing-golden.csv");
}
