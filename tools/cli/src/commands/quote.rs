//! `tandem quote`: prices a call without the switch, with the same code (billing.md 2). A price dispute is settled here.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use serde::Serialize;
use tandem_rating::money::parse_decimal;
use tandem_rating::{BillingParams, RateTerms, explain_leg, rate_leg};

use super::quote_csv;
use crate::failure::Failure;
use crate::output::Output;

/// The options are text here and read by [`Case::read`], so that an option and a CSV column of the same meaning are
/// refused with the same words.
#[derive(Args)]
pub(crate) struct Quote {
    /// A CSV file with the columns of billing-golden.csv, one call a row; - for the standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["hold_ms", "rate"])]
    csv: Option<PathBuf>,
    /// Answer to hang-up in milliseconds
    #[arg(long, value_name = "MS", allow_hyphen_values = true, required_unless_present = "csv")]
    hold_ms: Option<String>,
    /// Price of a minute
    #[arg(long, value_name = "DECIMAL", allow_hyphen_values = true, required_unless_present = "csv")]
    rate: Option<String>,
    /// First and next block in seconds; one number serves for both
    #[arg(
        long,
        value_name = "FIRST/NEXT",
        default_value = "60/60",
        allow_hyphen_values = true,
        conflicts_with = "csv"
    )]
    increment: String,
    /// Decimals of rates and fees, 0 to 4 (SERVER_BILLING_FEE_PRECISION)
    #[arg(long, value_name = "DIGITS", default_value = "2", allow_hyphen_values = true, conflicts_with = "csv")]
    fp: String,
    /// Smallest step of a fee (SERVER_BILLING_FEE_UNIT)
    #[arg(long, value_name = "DECIMAL", default_value = "0.01", allow_hyphen_values = true, conflicts_with = "csv")]
    fu: String,
    /// Fraction of a second that counts as one, 0 to 999 ms (SERVER_BILLING_HOLD_TIME_PRECISION)
    #[arg(long, value_name = "MS", default_value = "50", allow_hyphen_values = true, conflicts_with = "csv")]
    hold_precision: String,
    /// Seconds taken off every call (SERVER_BILLING_FREE_TIME)
    #[arg(long, value_name = "S", default_value = "0", allow_hyphen_values = true, conflicts_with = "csv")]
    free: String,
    /// Connection fee
    #[arg(long, value_name = "DECIMAL", default_value = "0", allow_hyphen_values = true, conflicts_with = "csv")]
    conn_fee: String,
    /// Tax on the fee in percent
    #[arg(long, value_name = "PERCENT", default_value = "0", allow_hyphen_values = true, conflicts_with = "csv")]
    tax: String,
    /// Use the rate with all its decimals (TANDEM_RATE_QUANTISE Off)
    #[arg(long, conflicts_with = "csv")]
    exact_rate: bool,
}

/// A value that is refused: its option or column, what was given, what is allowed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) field: String,
    pub(super) value: String,
    pub(super) allowed: String,
}

impl Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is {:?}; allowed is {}", self.field, self.value, self.allowed)
    }
}

/// What a call is described by, with the name each value has where it was given.
pub(super) struct Given<'a> {
    pub(super) hold_ms: (&'a str, &'a str),
    pub(super) p_hold_ms: (&'a str, &'a str),
    pub(super) free_s: (&'a str, &'a str),
    pub(super) first_s: (&'a str, &'a str),
    pub(super) next_s: (&'a str, &'a str),
    pub(super) rate: (&'a str, &'a str),
    pub(super) fp: (&'a str, &'a str),
    pub(super) fu: (&'a str, &'a str),
    pub(super) conn_fee: (&'a str, &'a str),
    pub(super) tax: (&'a str, &'a str),
    pub(super) quantise_rate: bool,
}

/// One call to be priced.
pub(super) struct Case {
    hold_ms: i64,
    terms: RateTerms,
    params: BillingParams,
}

/// The price of a call and the steps that led to it.
#[derive(Serialize)]
pub(super) struct Quoted {
    pub(super) hold_s: i64,
    pub(super) billed_s: i64,
    pub(super) fee: String,
    pub(super) tax: String,
    pub(super) steps: Vec<String>,
}

impl Case {
    /// Reads and checks every value.
    pub(super) fn read(given: &Given<'_>) -> Result<Case, Wrong> {
        let params = BillingParams {
            fp: whole(given.fp, 0..=4, "0 to 4")?,
            fu: decimal(given.fu)?,
            p_hold_ms: whole(given.p_hold_ms, 0..=999, "0 to 999 ms")?,
            free_s: whole(given.free_s, 0..=u32::MAX, "0 or more whole seconds")?,
            quantise_rate: given.quantise_rate,
            ..BillingParams::default()
        };
        let terms = RateTerms {
            rate_id: 0,
            prefix: Default::default(),
            rate_per_min: decimal(given.rate)?,
            first_s: whole(given.first_s, 1..=u32::MAX, "1 or more whole seconds")?,
            next_s: whole(given.next_s, 1..=u32::MAX, "1 or more whole seconds")?,
            sections: Vec::new(),
            conn_fee: decimal(given.conn_fee)?,
            tax_pct: decimal(given.tax)?,
            level: 5,
        };
        // What is left to refuse has one field each; it is told under the name it was given by.
        let name = |field: &str| match field {
            "SERVER_BILLING_FEE_UNIT" => given.fu,
            "conn_fee" => given.conn_fee,
            "tax" => given.tax,
            _ => given.rate,
        };
        let wrong = |error: tandem_rating::OutOfRange| Wrong {
            field: name(error.field).0.to_owned(),
            value: name(error.field).1.to_owned(),
            allowed: error.allowed,
        };
        params.validate().map_err(wrong)?;
        terms.validate().map_err(wrong)?;
        let hold_ms = whole(given.hold_ms, i64::MIN..=i64::MAX, "whole milliseconds")?;
        let case = Case { hold_ms, terms, params };
        // An amount too large to calculate is a wrong value too: of the duration, which alone has no bound.
        case.price().map_err(|error| Wrong {
            field: given.hold_ms.0.to_owned(),
            value: given.hold_ms.1.to_owned(),
            allowed: format!("what can be calculated ({error})"),
        })?;
        Ok(case)
    }

    pub(super) fn price(&self) -> Result<Quoted, tandem_rating::BillingError> {
        let charge = rate_leg(self.hold_ms, &self.terms, &self.params)?;
        Ok(Quoted {
            hold_s: charge.hold_s,
            billed_s: charge.billed_s,
            fee: charge.fee.to_string(),
            tax: charge.tax.to_string(),
            steps: explain_leg(self.hold_ms, &self.terms, &self.params),
        })
    }
}

fn whole<T: FromStr + PartialOrd>(
    (field, value): (&str, &str),
    range: std::ops::RangeInclusive<T>,
    allowed: &str,
) -> Result<T, Wrong> {
    value.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| Wrong {
        field: field.to_owned(),
        value: value.to_owned(),
        allowed: allowed.to_owned(),
    })
}

fn decimal((field, value): (&str, &str)) -> Result<rust_decimal::Decimal, Wrong> {
    parse_decimal(value).map_err(|_| Wrong {
        field: field.to_owned(),
        value: value.to_owned(),
        allowed: "a plain decimal of 0 or more with at most 8 decimals".to_owned(),
    })
}

pub(super) fn run(arguments: Quote, output: &mut Output) -> Result<(), Failure> {
    if let Some(file) = &arguments.csv {
        return quote_csv::run(file, output);
    }
    let (first, next) = match arguments.increment.split_once('/') {
        Some(pair) => pair,
        // Import accepts "60" as 60/60 (billing.md 2).
        None => (arguments.increment.as_str(), arguments.increment.as_str()),
    };
    let given = Given {
        hold_ms: ("--hold-ms", arguments.hold_ms.as_deref().unwrap_or_default()),
        p_hold_ms: ("--hold-precision", &arguments.hold_precision),
        free_s: ("--free", &arguments.free),
        first_s: ("--increment", first),
        next_s: ("--increment", next),
        rate: ("--rate", arguments.rate.as_deref().unwrap_or_default()),
        fp: ("--fp", &arguments.fp),
        fu: ("--fu", &arguments.fu),
        conn_fee: ("--conn-fee", &arguments.conn_fee),
        tax: ("--tax", &arguments.tax),
        quantise_rate: !arguments.exact_rate,
    };
    let refuse = |wrong: Wrong| match wrong.field.as_str() {
        "--increment" => {
            let allowed = "FIRST/NEXT in whole seconds of 1 or more, such as 60/60, 30/6 or 1/1";
            Failure::bad(format!("--increment is {:?}; allowed is {allowed}", arguments.increment))
        }
        _ => Failure::bad(wrong.to_string()),
    };
    let case = Case::read(&given).map_err(refuse)?;
    let quoted = case.price().map_err(|error| Failure::bad(error.to_string()))?;
    output.object(&quoted, |output, quoted| {
        output.pairs(&[
            ("hold_s", quoted.hold_s.to_string()),
            ("billed_s", quoted.billed_s.to_string()),
            ("fee", quoted.fee.clone()),
        ])?;
        if quoted.tax != "0" {
            output.line(&format!("tax:      {}", quoted.tax))?;
        }
        output.line("")?;
        quoted.steps.iter().try_for_each(|step| output.line(step))
    })
}
