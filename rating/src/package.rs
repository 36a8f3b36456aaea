//! Packages: time and money that are paid by rent, ordered for accounts and phones (rates.md 10, billing.md 5).
//!
//! What is here is plain values: a package as it is defined, an order of it, the period that runs, and what calls used of
//! it. The rating thread decides when a period begins and ends; the calendar is its business.

use std::fmt;
use std::str::FromStr;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::error::{BillingError, OutOfRange};
use crate::fee::BillingParams;
use crate::gift::Gift;
pub use crate::gift_use::{GiftUse, memo_of, uses};
use crate::money::{self, Money};
use crate::record::{Audit, LedgerRow};

/// Seconds of a day by the clock on the wall; a day of a change of clocks has its windows all the same.
pub const DAY_S: u32 = 86_400;
/// Most seconds of a gift, and longest period in its unit: far above any offer, and sums of them cannot overflow.
pub const GIFT_S_MAX: i64 = 1 << 40;

/// How long a period is, in units of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RentType {
    /// Days.
    Day,
    /// Months.
    #[default]
    Month,
    /// Years.
    Year,
    /// One period only, in seconds.
    Once,
}

impl RentType {
    /// Every one with its word.
    pub const WORDS: [(&'static str, RentType); 4] =
        [("month", RentType::Month), ("day", RentType::Day), ("year", RentType::Year), ("once", RentType::Once)];

    /// The word shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            RentType::Day => "day",
            RentType::Month => "month",
            RentType::Year => "year",
            RentType::Once => "once",
        }
    }
}

/// Time that a package gives to calls of some numbers at some hours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GiftRow {
    /// Beginnings of the billed number; none is every number.
    pub prefixes: Vec<String>,
    /// From this second of the day on, in the zone of the server, by the time of the answer.
    pub from_s: u32,
    /// Before this second; below `from_s` the window goes over midnight.
    pub to_s: u32,
    /// Seconds a period has.
    pub gift_s: i64,
    /// They are used in cycles of so many seconds.
    pub cycle_s: u32,
}

impl GiftRow {
    /// Length of the prefix by which the row serves `number` at second `second_s` of the day; `None` when it does not.
    fn fits(&self, number: &str, second_s: u32) -> Option<usize> {
        let open = match self.from_s < self.to_s {
            true => (self.from_s..self.to_s).contains(&second_s),
            false => second_s >= self.from_s || second_s < self.to_s,
        };
        if !open {
            return None;
        }
        if self.prefixes.is_empty() {
            return Some(0);
        }
        self.prefixes.iter().filter(|prefix| number.starts_with(prefix.as_str())).map(String::len).max()
    }
}

/// Places of the rows that serve a number at a second of the day: those with the longest prefix (billing.md 5, rule 1).
pub fn matching(rows: &[GiftRow], number: &str, second_s: u32) -> Vec<usize> {
    let fits: Vec<Option<usize>> = rows.iter().map(|row| row.fits(number, second_s)).collect();
    let longest = fits.iter().flatten().max().copied();
    (0..rows.len()).filter(|at| fits[*at].is_some() && fits[*at] == longest).collect()
}

/// `49|43 08:00-20:00 3600/60`: prefixes, daily window, seconds and billing cycle. `*` is every number; the window may be
/// left out.
impl FromStr for GiftRow {
    type Err = String;

    fn from_str(text: &str) -> Result<GiftRow, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let (prefixes, window, seconds) = match words[..] {
            [prefixes, seconds] => (prefixes, "00:00-24:00", seconds),
            [prefixes, window, seconds] => (prefixes, window, seconds),
            _ => return Err("it takes PREFIXES WINDOW SECONDS/CYCLE such as 49|43 08:00-20:00 3600/60".to_owned()),
        };
        let prefixes: Vec<String> =
            if prefixes == "*" { Vec::new() } else { prefixes.split('|').map(str::to_owned).collect() };
        if let Some(bad) = prefixes.iter().find(|one| one.is_empty() || !one.bytes().all(|b| b.is_ascii_digit())) {
            return Err(format!("{bad:?} is no prefix: digits, with | between, or * for every number"));
        }
        let wrong = || format!("{window:?} is no window such as 08:00-20:00");
        let (from, to) = window.split_once('-').ok_or_else(wrong)?;
        let (from_s, to_s) = (second_of(from).ok_or_else(wrong)?, second_of(to).ok_or_else(wrong)?);
        if from_s == to_s || from_s == DAY_S || to_s == 0 {
            return Err(format!("{window:?} has no length; a whole day is 00:00-24:00"));
        }
        let wrong = || format!("{seconds:?} is no seconds/cycle such as 3600/60, both 1 or more");
        let (gift, cycle) = seconds.split_once('/').ok_or_else(wrong)?;
        let gift_s = gift.parse().ok().filter(|gift_s| (1..=GIFT_S_MAX).contains(gift_s)).ok_or_else(wrong)?;
        let cycle_s = cycle.parse().ok().filter(|cycle_s| *cycle_s > 0).ok_or_else(wrong)?;
        if i64::from(cycle_s) > gift_s {
            return Err(format!("{seconds:?}: a cycle is longer than the gift, so nothing of it could be used"));
        }
        Ok(GiftRow { prefixes, from_s, to_s, gift_s, cycle_s })
    }
}

impl fmt::Display for GiftRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefixes = if self.prefixes.is_empty() { "*".to_owned() } else { self.prefixes.join("|") };
        let time = |s: u32| format!("{:02}:{:02}", s / 3600, s / 60 % 60);
        write!(f, "{prefixes} {}-{} {}/{}", time(self.from_s), time(self.to_s), self.gift_s, self.cycle_s)
    }
}

fn second_of(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    let (hour, minute): (u32, u32) =
        (hour.parse().ok().filter(|_| digits(hour))?, minute.parse().ok().filter(|_| digits(minute))?);
    (minute < 60 && hour * 60 + minute <= 24 * 60).then_some(hour * 3600 + minute * 60)
}

/// A package as it is defined. What runs keeps the definition that it began with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Unit of a period.
    pub rent_type: RentType,
    /// Units of a period, 1 or more.
    pub rent_period: u32,
    /// Periods are those of the calendar, and the first is paid in part.
    pub partial: bool,
    /// What a period costs.
    pub rent: Money,
    /// Least that calls of a period have to cost; the difference is taken at its end.
    pub minimum: Money,
    /// Gifts are used once calls of the period have cost so much.
    pub lower: Money,
    /// Money that pays for calls before the balance does.
    pub gift_money: Money,
    /// Time that pays for calls.
    pub gifts: Vec<GiftRow>,
}

/// What becomes of an order when the account has not got the rent (rates.md 10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoMoney {
    /// It waits for money, and begins then.
    #[default]
    Wait,
    /// It is asked again when the next period begins.
    Next,
    /// It ends.
    Delete,
}

impl NoMoney {
    /// Every one with its word.
    pub const WORDS: [(&'static str, NoMoney); 3] =
        [("wait", NoMoney::Wait), ("next", NoMoney::Next), ("delete", NoMoney::Delete)];

    /// The word shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            NoMoney::Wait => "wait",
            NoMoney::Next => "next",
            NoMoney::Delete => "delete",
        }
    }
}

/// Why an order is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Its time is over, or its one period.
    Expired,
    /// Somebody cancelled it.
    Cancelled,
    /// The rent could not be paid.
    NoMoney,
    /// The account, or the phone, is cancelled or gone.
    Gone,
}

impl Ended {
    /// The word shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Ended::Expired => "expired",
            Ended::Cancelled => "cancelled",
            Ended::NoMoney => "no_money",
            Ended::Gone => "gone",
        }
    }
}

/// A period that is paid: an active package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Period {
    /// Which of its order; of a phone's fee the month.
    pub number: u64,
    /// Begin, UTC ms.
    pub from_ms: i64,
    /// End, UTC ms.
    pub to_ms: i64,
    /// Rent that was taken.
    pub rent: Money,
    /// Least that its calls have to cost.
    pub minimum: Money,
    /// Gifts are used once its calls have cost so much.
    pub lower: Money,
    /// Gift money it began with.
    pub gift_money: Money,
    /// Gift time it began with.
    pub gifts: Vec<GiftRow>,
}

/// What a call that is up holds of a period that is over: another start of the switch gives it back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StillHeld {
    /// The call.
    pub flow_no: u64,
    /// Which of those who pay: 0 the payer, then the agents upward.
    pub leg: usize,
    /// Number of the period.
    pub period: u64,
    /// Gift time.
    pub gifts: Vec<Gift>,
    /// Gift money.
    pub money: Money,
}

/// An order of a package, or the monthly fee of a phone, whole: whatever changes it is written as what it is afterwards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its number; of a phone's fee `phone:<number>`.
    pub key: String,
    /// Who pays.
    pub account: String,
    /// Only calls of this phone; empty for every call of the account.
    pub phone: String,
    /// Package; empty for the fee of a phone.
    pub package: String,
    /// Begin, UTC ms.
    pub effective_ms: i64,
    /// No period begins at or after this, and the last one ends with it.
    pub expires_ms: Option<i64>,
    /// Among the packages of a call, low first; none is last.
    pub priority: Option<u32>,
    /// Percent of the rent that is taken.
    pub rent_percent: Decimal,
    /// What a lack of money means.
    pub no_money: NoMoney,
    /// Who ordered it.
    pub user: String,
    /// Number of the next period.
    pub next: u64,
    /// When it begins, UTC ms; a period that could not be paid and is waited for may have begun.
    pub next_ms: i64,
    /// The rent of that period was asked for in vain.
    pub waits: bool,
    /// It ends with the period that runs.
    pub cancel: bool,
    /// It is over.
    pub ended: Option<Ended>,
    /// What runs.
    pub period: Option<Period>,
    /// Rent and differences taken in all its life.
    pub taken: Money,
    /// The key its asker gave it: who asks again by the same key makes no second order. Empty without one.
    #[serde(default)]
    pub request: String,
    /// What calls held when a period of it ended; it stays until they are over and the order changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub still_held: Vec<StillHeld>,
}

impl Order {
    /// Whether it is the monthly fee of a phone.
    pub fn is_phone_fee(&self) -> bool {
        self.package.is_empty()
    }

    /// The word for where it is: `future`, `active`, `waiting`, or why it ended.
    pub fn state(&self) -> &'static str {
        match (self.ended, &self.period) {
            (Some(ended), _) => ended.as_str(),
            (None, Some(_)) => "active",
            (None, None) if self.waits => "waiting",
            (None, None) => "future",
        }
    }
}

/// An order was made or changed, with the money it took: one step, whole or never.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageEvent {
    /// UTC ms.
    pub at_ms: i64,
    /// What happened, in words.
    pub what: String,
    /// The order afterwards.
    pub order: Order,
    /// Rent or difference, when there was one.
    pub ledger: Vec<LedgerRow>,
    /// Who asked, when somebody did.
    pub audit: Option<Box<Audit>>,
}

/// `amount` * `part` / `whole`, rounded like a fee: precision, then unit, and never to nothing (rates.md 10).
///
/// # Errors
/// The amount leaves its range, or the parameters theirs.
pub fn part_of(amount: Money, part: Decimal, whole: Decimal, params: &BillingParams) -> Result<Money, BillingError> {
    let exact = amount.amount().checked_mul(part).and_then(|product| product.checked_div(whole));
    let exact = exact.ok_or(BillingError::Overflow)?;
    let precise = money::quantise(exact, Decimal::new(1, u32::from(params.fp)))?;
    Ok(Money::new(money::quantise(precise, params.fu)?)?)
}

/// Seconds of a gift for a part of a period: nearest, and never nothing.
pub fn seconds_of(gift_s: i64, part: i64, whole: i64) -> i64 {
    let (gift, part, whole) = (i128::from(gift_s), i128::from(part.max(0)), i128::from(whole.max(1)));
    let seconds = (2 * gift * part + whole) / (2 * whole);
    i64::try_from(seconds.max(i128::from(gift > 0 && part > 0))).unwrap_or(gift_s)
}

/// The rent that an order pays: its percent of `rent`, rounded like a fee.
///
/// # Errors
/// As of [`part_of`].
pub fn rent_of(rent: Money, percent: Decimal, params: &BillingParams) -> Result<Money, BillingError> {
    part_of(rent, percent, Decimal::ONE_HUNDRED, params)
}

impl Package {
    /// Refuses values that make no sense together, naming the field.
    ///
    /// # Errors
    /// The first of them.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        // A century, and for one period in seconds what 32 bits hold.
        let most = match self.rent_type {
            RentType::Day => 36_525,
            RentType::Month => 1_200,
            RentType::Year => 100,
            RentType::Once => u32::MAX,
        };
        if !(1..=most).contains(&self.rent_period) {
            return Err(OutOfRange::new("rent_period", self.rent_period, format!("1 to {most}")));
        }
        if self.partial && self.rent_type == RentType::Once {
            return Err(OutOfRange::new("partial", true, "false with rent_type once, which has one period"));
        }
        let amounts = [
            ("rent_fee", self.rent),
            ("min_consumption", self.minimum),
            ("lower_consumption", self.lower),
            ("gift_money", self.gift_money),
        ];
        match amounts.into_iter().find(|(_, amount)| amount.is_negative()) {
            Some((field, amount)) => Err(OutOfRange::new(field, amount, "0 or more")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> GiftRow {
        text.parse().unwrap()
    }

    fn money(text: &str) -> Money {
        text.parse().unwrap()
    }

    #[test]
    fn rows_are_written_as_they_are_read() {
        for text in ["49|43 08:00-20:00 3600/60", "* 22:30-06:00 60/6", "1 00:00-24:00 1/1"] {
            assert_eq!(row(text).to_string(), text);
        }
        assert_eq!(row("49 600/60"), row("49 00:00-24:00 600/60"));
        for (text, says) in [
            ("", "it takes PREFIXES"),
            ("49x 60/6", "\"49x\" is no prefix"),
            ("49||43 60/6", "\"\" is no prefix"),
            ("49 8-20 60/6", "no window"),
            ("49 08:00-24:01 60/6", "no window"),
            ("49 +8:00-24:00 60/6", "no window"),
            ("49 08:00-08:00 60/6", "no length"),
            ("49 60", "no seconds/cycle"),
            ("49 0/1", "no seconds/cycle"),
            ("49 60/0", "no seconds/cycle"),
            ("49 30/60", "nothing of it could be used"),
        ] {
            let refused = text.parse::<GiftRow>().unwrap_err();
            assert!(refused.contains(says), "{text:?}: {refused}");
        }
    }

    #[test]
    fn the_longest_prefix_within_its_hours_serves() {
        let rows = [row("49 60/6"), row("* 60/6"), row("4930|43 08:00-20:00 60/6"), row("49 60/1")];
        let noon = 12 * 3600;
        assert_eq!(matching(&rows, "493012345", noon), [2]);
        assert_eq!(matching(&rows, "493012345", 20 * 3600), [0, 3], "its hours are over: both of the next length");
        assert_eq!(matching(&rows, "4312345", noon), [2]);
        assert_eq!(matching(&rows, "33123", noon), [1]);
        assert_eq!(matching(&rows[..1], "33123", noon), [0usize; 0]);
        let night = [row("* 22:00-06:00 60/6")];
        for (second_s, serves) in [(21 * 3600, false), (22 * 3600, true), (0, true), (6 * 3600, false)] {
            assert_eq!(matching(&night, "1", second_s).len(), usize::from(serves), "{second_s}");
        }
    }

    #[test]
    fn a_part_of_a_month_is_rounded_like_a_fee() {
        let params = BillingParams::default();
        let part = |amount: &str, days: i64, of: i64| {
            part_of(money(amount), days.into(), of.into(), &params).unwrap().to_string()
        };
        // 30 November days: half of it, a tie goes up, and a cent does not become nothing.
        assert_eq!(part("30", 15, 30), "15");
        assert_eq!(part("10", 9, 30), "3");
        assert_eq!(part("0.05", 15, 30), "0.03");
        assert_eq!(part("0.01", 1, 30), "0.01");
        assert_eq!(part("0", 1, 30), "0");
        assert_eq!(part("100", 1, 3), "33.33");
        let whole = BillingParams { fp: 0, fu: Decimal::ONE, ..params.clone() };
        assert_eq!(part_of(money("100"), 1.into(), 3.into(), &whole).unwrap(), money("33"));
        assert_eq!(rent_of(money("9.99"), Decimal::new(505, 1), &params).unwrap(), money("5.04"));
        assert_eq!((seconds_of(3600, 9, 30), seconds_of(1, 1, 30), seconds_of(0, 1, 30)), (1080, 1, 0));
        assert_eq!(seconds_of(GIFT_S_MAX, 365, 366), 1_096_507_497_645);
    }

    #[test]
    fn a_definition_is_refused_with_its_field() {
        let good = Package { rent_period: 1, ..Package::default() };
        good.validate().unwrap();
        let refused = |package: Package| package.validate().unwrap_err().to_string();
        assert_eq!(refused(Package::default()), "rent_period is 0; allowed is 1 to 1200");
        let negative = Package { gift_money: money("-1"), ..good.clone() };
        assert_eq!(refused(negative), "gift_money is -1; allowed is 0 or more");
        let once = Package { partial: true, rent_type: RentType::Once, ..good };
        assert!(refused(once).contains("rent_type once"));
    }
}
