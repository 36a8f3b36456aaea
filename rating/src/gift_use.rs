//! What calls used of packages, as ledger rows of kind `gift` say it in their memo.

use std::fmt;
use std::str::FromStr;

use crate::money::Money;

/// What one call used of one period, as it stands in the memo of a ledger row of kind `gift`: `7/3 g0=60 m=0.5 c=0.12`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GiftUse {
    /// Order.
    pub order: String,
    /// Its period.
    pub period: u64,
    /// Seconds of each row that was used.
    pub gifts: Vec<(usize, i64)>,
    /// Gift money.
    pub money: Money,
    /// What the balance paid for the call: counts for the minimum.
    pub spent: Money,
}

impl fmt::Display for GiftUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.order, self.period)?;
        for (row, seconds) in &self.gifts {
            write!(f, " g{row}={seconds}")?;
        }
        if !self.money.is_zero() {
            write!(f, " m={}", self.money)?;
        }
        if !self.spent.is_zero() {
            write!(f, " c={}", self.spent)?;
        }
        Ok(())
    }
}

impl FromStr for GiftUse {
    type Err = String;

    fn from_str(text: &str) -> Result<GiftUse, String> {
        let wrong = || format!("{text:?} is no use of a package");
        let mut words = text.split(' ');
        let (order, period) = words.next().and_then(|word| word.rsplit_once('/')).ok_or_else(wrong)?;
        let mut used =
            GiftUse { order: order.to_owned(), period: period.parse().map_err(|_| wrong())?, ..GiftUse::default() };
        for word in words {
            let (what, value) = word.split_once('=').ok_or_else(wrong)?;
            match what {
                "m" => used.money = value.parse().map_err(|_| wrong())?,
                "c" => used.spent = value.parse().map_err(|_| wrong())?,
                _ => {
                    let row = what.strip_prefix('g').and_then(|row| row.parse().ok()).ok_or_else(wrong)?;
                    used.gifts.push((row, value.parse().map_err(|_| wrong())?));
                }
            }
        }
        Ok(used)
    }
}

/// The uses of a memo, `; ` between.
///
/// # Errors
/// What cannot be read.
pub fn uses(memo: &str) -> Result<Vec<GiftUse>, String> {
    memo.split("; ").filter(|part| !part.is_empty()).map(str::parse).collect()
}

/// The memo of uses.
pub fn memo_of(uses: &[GiftUse]) -> String {
    uses.iter().map(GiftUse::to_string).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(text: &str) -> Money {
        text.parse().unwrap()
    }

    #[test]
    fn a_use_is_read_back_from_its_memo() {
        let one = GiftUse { order: "7".into(), period: 3, gifts: vec![(0, 60), (2, 6)], ..GiftUse::default() };
        let two = GiftUse {
            order: "phone:4930".into(),
            period: 24_322,
            money: money("0.5"),
            spent: money("0.125"),
            ..GiftUse::default()
        };
        let memo = memo_of(&[one.clone(), two.clone()]);
        assert_eq!(memo, "7/3 g0=60 g2=6; phone:4930/24322 m=0.5 c=0.125");
        assert_eq!(uses(&memo).unwrap(), [one, two]);
        assert_eq!(uses("").unwrap(), []);
        for bad in ["7", "7/x", "7/3 g=1", "7/3 m=x", "7/3 q=1", "7/3 g0"] {
            assert!(uses(bad).is_err(), "{bad}");
        }
    }
}
