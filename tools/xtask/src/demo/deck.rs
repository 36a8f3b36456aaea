//! Two decks of 10,000 prefixes, the same ones on every machine: what the customer pays and what the vendor costs.

use std::fmt::Write as _;

/// Rows of each deck.
pub(super) const ROWS: u32 = 10_000;
/// Rows below 1212, the numbers that the demo calls: 1212 itself and 1212000 to 1212999.
const CALLED: u32 = 1_001;

/// Which of the two decks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// What we charge.
    Customer,
    /// What we pay: a part of what we charge, so that every call leaves a margin.
    Vendor,
}

/// The deck as CSV.
pub(super) fn csv(side: Side) -> String {
    let mut text = String::from("fee_prefix,area_name,rate_per_min,increment\n");
    for row in 0..ROWS {
        let (prefix, area) = match row {
            0 => ("1212".to_owned(), "New York".to_owned()),
            1..CALLED => (format!("1212{:03}", row - 1), format!("New York {:03}", row - 1)),
            // 71 has no factor in common with 700,000: no prefix comes twice, and none begins with 1.
            _ => (format!("{}", 200_000 + row * 71 % 700_000), format!("Area {row}")),
        };
        let (ten_thousandths, increment) = price(row, side);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{prefix},{area},0.{ten_thousandths:04},{increment}");
    }
    text
}

/// Price of a minute in 0.0001, and the blocks: customers pay by the second, by six seconds or by the minute.
fn price(row: u32, side: Side) -> (u32, &'static str) {
    let sold = 500 + row * 37 % 3_000;
    match side {
        Side::Customer => (sold, ["1/1", "6/6", "60/60"][row as usize % 3]),
        Side::Vendor => (sold * 6 / 10, "1/1"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_deck_has_ten_thousand_prefixes_and_a_thousand_are_called() {
        let deck = csv(Side::Customer);
        let prefixes: BTreeSet<&str> = deck.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
        assert_eq!(prefixes.len(), 10_000);
        assert_eq!(prefixes.iter().filter(|prefix| prefix.starts_with("1212")).count(), 1_001);
    }

    #[test]
    fn every_minute_leaves_a_margin() {
        for row in 0..ROWS {
            assert!(price(row, Side::Customer).0 > price(row, Side::Vendor).0, "row {row}");
        }
    }
}
