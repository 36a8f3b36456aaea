//! What a leg costs, written from spec/billing.md alone: whole numbers, one line per step. It shares no code with the
//! rating room, which it checks.

/// One currency unit in the integers used here: eight decimals.
pub const UNITS: i128 = 100_000_000;

/// A price as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Number of the row.
    pub id: u64,
    /// Prefix of the called number; empty is every number.
    pub prefix: String,
    /// Price of a minute, units.
    pub per_min: i128,
    /// First block, seconds.
    pub first_s: i64,
    /// Later blocks, seconds.
    pub next_s: i64,
    /// Connection fee, units.
    pub connection: i128,
    /// Tax in percent, units (19 % is 19 * UNITS).
    pub tax_pct: i128,
    /// Valid from, UTC ms.
    pub from_ms: Option<i64>,
    /// Valid to (exclusive), UTC ms.
    pub to_ms: Option<i64>,
    /// Stepped start: seconds and what they cost, units.
    pub sections: Vec<(i64, i128)>,
    /// Calls there are refused.
    pub locked: bool,
}

/// Gift time: paid seconds, used in whole cycles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gift {
    /// Seconds of a cycle.
    pub cycle_s: i64,
    /// Seconds that are left.
    pub left_s: i64,
}

/// What a leg is priced by besides its row.
#[derive(Clone, Copy, Default)]
pub struct Extras<'a> {
    /// Gift time, in the order of its use.
    pub gifts: &'a [Gift],
    /// Gift money, units.
    pub money: i128,
    /// The row in force so many seconds after the answer, for groups that split; without it one row is in force throughout.
    pub row_at: Option<&'a dyn Fn(i64) -> Row>,
}

/// The parameters of a fee (billing.md 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Billing {
    /// FP: decimals of rates and fees.
    pub fp: u32,
    /// FU, units.
    pub fee_unit: i128,
    /// P_hold, ms.
    pub hold_ms: i64,
    /// Free seconds.
    pub free_s: i64,
    /// TANDEM_RATE_QUANTISE.
    pub quantise: bool,
    /// TANDEM_FREE_TIME_VENDOR.
    pub free_vendor: bool,
}

/// What a leg costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fee {
    /// After hold-time precision.
    pub hold_s: i64,
    /// Billed seconds.
    pub billed_s: i64,
    /// Fee, units.
    pub fee: i128,
    /// Tax, units.
    pub tax: i128,
    /// Seconds that gifts paid.
    pub suite_s: i64,
    /// What gift money paid, units.
    pub suite_fee: i128,
}

impl Fee {
    /// What the account pays.
    pub fn due(&self) -> i128 {
        self.fee + self.tax - self.suite_fee
    }
}

/// The row for `number` at `at_ms`: the longest prefix that is valid then.
pub fn find<'r>(rows: &'r [Row], number: &str, at_ms: i64) -> Option<&'r Row> {
    rows.iter()
        .filter(|row| number.starts_with(&row.prefix))
        .filter(|row| row.from_ms.is_none_or(|from| from <= at_ms) && row.to_ms.is_none_or(|to| at_ms < to))
        .max_by_key(|row| row.prefix.len())
}

/// Steps 1 to 11 of billing.md 2 for one row.
pub fn fee(hold_ms: i64, row: &Row, billing: &Billing) -> Fee {
    fee_with(hold_ms, row, billing, Extras::default())
}

/// The same with gifts (5) and with rows that change during the call (6.a).
pub fn fee_with(hold_ms: i64, row: &Row, billing: &Billing, extras: Extras<'_>) -> Fee {
    let precision = 10i128.pow(8 - billing.fp);
    // 1, 2
    let hold_ms = hold_ms.max(0);
    let rest = hold_ms % 1_000;
    let hold_s = hold_ms / 1_000 + i64::from(rest > 0 && rest >= billing.hold_ms);
    // 3, 4
    let mut left_s = (hold_s - billing.free_s).max(0);
    // 5
    let mut suite_s = 0;
    for gift in extras.gifts {
        let mut cycles = gift.left_s / gift.cycle_s;
        while left_s > 0 && cycles > 0 {
            let paid_s = left_s.min(gift.cycle_s);
            (left_s, suite_s, cycles) = (left_s - paid_s, suite_s + paid_s, cycles - 1);
        }
    }
    if left_s == 0 {
        return Fee { hold_s, suite_s, ..Fee::default() };
    }
    // 6, 7, 8: the fee times sixty, exact
    let (mut billed_s, mut raw_60) = (0, row.connection * 60);
    let mut at_s = hold_s - left_s;
    for (time_s, amount) in &row.sections {
        if left_s <= 0 {
            break;
        }
        raw_60 += amount * 60;
        (billed_s, at_s, left_s) = (billed_s + time_s, at_s + time_s, left_s - time_s);
    }
    let mut first = row.sections.is_empty();
    while left_s > 0 {
        let other = extras.row_at.map(|row_at| row_at(at_s));
        let now = other.as_ref().unwrap_or(row);
        let block_s = if std::mem::take(&mut first) { now.first_s } else { now.next_s };
        let per_min = if billing.quantise { nearest(now.per_min, 1, precision, true) } else { now.per_min };
        raw_60 += per_min * i128::from(block_s);
        (billed_s, at_s, left_s) = (billed_s + block_s, at_s + block_s, left_s - block_s);
    }
    // 9, 10
    let precise = nearest(raw_60, 60, precision, true);
    let fee = nearest(precise, 1, billing.fee_unit, true);
    // 11
    let tax = nearest(fee * row.tax_pct, 100 * UNITS, precision, false);
    Fee { hold_s, billed_s, fee, tax, suite_s, suite_fee: (fee + tax).min(extras.money) }
}

/// `value / over` rounded like a fee: precision, then unit, never to nothing.
pub fn rounded(value: i128, over: i128, billing: &Billing) -> i128 {
    let precise = nearest(value, over, 10i128.pow(8 - billing.fp), true);
    nearest(precise, 1, billing.fee_unit, true)
}

/// `value / over` to the nearest multiple of `step`, ties up; `least`: what is not nothing is one step at least.
fn nearest(value: i128, over: i128, step: i128, least: bool) -> i128 {
    let steps = (2 * value + over * step) / (2 * over * step);
    if least && value > 0 && steps == 0 { step } else { steps * step }
}

/// A decimal text as units; `None` when it has more than eight decimals.
pub fn units(text: &str) -> Option<i128> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, ""));
    let rest = rest.trim_end_matches('0');
    if rest.len() > 8 {
        return None;
    }
    let whole: i128 = whole.parse().ok()?;
    let part: i128 = format!("{rest:0<8}").parse().ok()?;
    let value = whole * UNITS + part;
    Some(if negative { -value } else { value })
}

/// Units as a decimal text.
pub fn text(units: i128) -> String {
    let sign = if units < 0 { "-" } else { "" };
    let text = format!("{sign}{}.{:08}", units.abs() / UNITS, units.abs() % UNITS);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every row of the product's golden table that has no fields beyond these.
    #[test]
    fn agrees_with_the_golden_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../rating/tests/golden/billing-golden.csv");
        let text = std::fs::read_to_string(path).expect("the golden table of the rating room");
        let mut lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let names: Vec<&str> = lines.next().expect("a heading").split(',').collect();
        let mut rows = 0;
        for line in lines {
            let cells: Vec<&str> = line.split(',').collect();
            let cell =
                |name: &str| cells[names.iter().position(|n| *n == name).unwrap_or_else(|| panic!("no column {name}"))];
            let int = |name: &str| cell(name).parse::<i64>().unwrap_or_else(|e| panic!("{name}: {e} in {line}"));
            let row = Row {
                id: 1,
                prefix: String::new(),
                per_min: units(cell("rate_per_min")).unwrap(),
                first_s: int("block_first_s"),
                next_s: int("block_next_s"),
                ..Row::default()
            };
            let billing = Billing {
                fp: int("fee_precision") as u32,
                fee_unit: units(cell("fee_unit")).unwrap(),
                hold_ms: int("hold_time_precision_ms"),
                free_s: int("free_time_s"),
                quantise: true,
                free_vendor: true,
            };
            // Three billion seconds in steps of one block: not with this loop.
            if int("hold_ms") / 1_000 / row.next_s > 1_000_000 {
                continue;
            }
            let got = fee(int("hold_ms"), &row, &billing);
            assert_eq!((got.hold_s, got.billed_s), (int("expect_hold_s"), int("expect_billed_s")), "{line}");
            assert_eq!(got.fee, units(cell("expect_fee")).unwrap(), "{line}");
            rows += 1;
        }
        assert!(rows > 90, "only {rows} rows");
    }

    #[test]
    fn texts_and_units_are_the_same_numbers() {
        for (t, u) in [("0", 0), ("0.01", UNITS / 100), ("-1.5", -3 * UNITS / 2), ("0.00000001", 1)] {
            assert_eq!(units(t), Some(u));
            assert_eq!(text(u), t);
        }
        assert_eq!(units("0.123456789"), None);
    }

    #[test]
    fn the_longest_valid_prefix_wins() {
        let row = |prefix: &str, to_ms| Row {
            id: 1,
            prefix: prefix.to_owned(),
            per_min: 0,
            first_s: 1,
            next_s: 1,
            to_ms,
            ..Row::default()
        };
        let rows = [row("", None), row("86", Some(100)), row("8613", Some(50))];
        assert_eq!(find(&rows, "86139", 10).unwrap().prefix, "8613");
        assert_eq!(find(&rows, "86139", 50).unwrap().prefix, "86");
        assert_eq!(find(&rows, "86139", 100).unwrap().prefix, "");
    }

    fn plain(per_min: i128, first_s: i64, next_s: i64) -> (Row, Billing) {
        let billing =
            Billing { fp: 2, fee_unit: UNITS / 100, hold_ms: 50, free_s: 0, quantise: true, free_vendor: true };
        (Row { per_min, first_s, next_s, ..Row::default() }, billing)
    }

    #[test]
    fn sections_gifts_and_changes_follow_the_specification() {
        let cents = UNITS / 100;
        // billing.md 4: the first three minutes 0.22, then 0.11 a minute.
        let (mut row, billing) = plain(11 * cents, 60, 60);
        row.sections = vec![(180, 22 * cents)];
        let got = fee(200_000, &row, &billing);
        assert_eq!((got.billed_s, got.fee), (240, 33 * cents));
        // 5: 61 s take two cycles of sixty; what is less than a cycle gives nothing.
        let (row, billing) = plain(10 * cents, 60, 60);
        let with = |gifts: &[Gift], money| fee_with(61_000, &row, &billing, Extras { gifts, money, row_at: None });
        assert_eq!(with(&[Gift { cycle_s: 60, left_s: 600 }], 0), Fee { hold_s: 61, suite_s: 61, ..Fee::default() });
        let got = with(&[Gift { cycle_s: 60, left_s: 119 }], 3 * cents);
        assert_eq!((got.suite_s, got.billed_s, got.due()), (60, 60, 7 * cents));
        // 6.a: the block that begins before the change has the old price whole, the next one the new one.
        let later = |at_s: i64| plain(if at_s < 61 { 10 } else { 30 } * cents, 60, 60).0;
        let got = fee_with(150_000, &row, &billing, Extras { row_at: Some(&later), ..Extras::default() });
        assert_eq!((got.billed_s, got.fee), (180, 50 * cents));
    }
}
