//! The same 10,000 prefixes for every target.

use std::fmt::Write as _;

/// Prefixes of each deck.
const ROWS: u32 = 10_000;
/// Of those below 1212, which is what the generator calls: 1212 itself and 1212000 to 1212999.
const CALLED: u32 = 1_001;

/// All prefixes, none twice.
pub(super) fn prefixes() -> impl Iterator<Item = String> {
    (0..ROWS).map(|row| match row {
        0 => "1212".to_owned(),
        1..CALLED => format!("1212{:03}", row - 1),
        // 7,919 is prime to 800,000: no prefix comes twice, and none begins with 1.
        _ => format!("{}", 200_000 + row * 7_919 % 800_000),
    })
}

/// A deck of tandem; `share` is the price in hundredths of the customer's.
pub(super) fn csv(share: u32) -> String {
    let mut text = String::from("fee_prefix,area_name,rate_per_min,increment\n");
    for (row, prefix) in (0u32..).zip(prefixes()) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{prefix},Area {row},0.{:04},1/1", (500 + row * 37 % 3_000) * share / 100);
    }
    text
}

/// Kamailio's mtree as a dbtext table: every prefix to vendor set 1.
pub(super) fn dbtext() -> String {
    let mut text = String::from("id(int,auto) tprefix(string) tvalue(string)\n");
    for (row, prefix) in (1..).zip(prefixes()) {
        let _ = writeln!(text, "{row}:{prefix}:1");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ten_thousand_different_prefixes_of_which_a_thousand_are_called() {
        let all: BTreeSet<String> = prefixes().collect();
        assert_eq!(all.len(), 10_000);
        assert_eq!(all.iter().filter(|prefix| prefix.starts_with("1212")).count(), 1_001);
        assert_eq!(csv(100).lines().count(), 10_001);
        assert_eq!(dbtext().lines().last().map(|line| line.starts_with("10000:")), Some(true));
    }
}
