//! The small values of requests that are more than a string: call ids, amounts, page sizes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};

/// Largest flow number: every JSON reader keeps whole numbers up to here exactly.
pub const CALL_ID_MAX: u64 = (1 << 53) - 1;
/// Rows of a page when nothing is said: a screen or two.
pub const LIMIT_DEFAULT: u32 = 100;
/// Most rows of one page: CDRs of some 5 kB stay well below a frame. Longer lists are read page by page.
pub const LIMIT_MAX: u32 = 5_000;
/// Longest amount in characters; decimal(20,8) and its sign fit with room.
const AMOUNT_MAX: usize = 40;

/// The flow number of a call; a number in JSON, also read from a decimal string. 0 names no call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct CallId(pub u64);

/// A value that could not be read: names it and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is not accepted; allowed is {allowed}")]
pub struct BadValue {
    /// As given.
    pub value: String,
    /// What would have been accepted, in words.
    pub allowed: &'static str,
}

const CALL_ALLOWED: &str =
    "a call number of at most 9007199254740991, as in the first column of calls list and cdr list";
const AMOUNT_ALLOWED: &str = "a plain decimal such as 100, -20.5 or 0.0001, with at most 8 decimals";
const LIMIT_ALLOWED: &str = "1 to 5000 rows";

impl FromStr for CallId {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<CallId, BadValue> {
        let bad = || BadValue { value: text.to_owned(), allowed: CALL_ALLOWED };
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad());
        }
        text.parse().ok().filter(|number| *number <= CALL_ID_MAX).map(CallId).ok_or_else(bad)
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<u64> for CallId {
    fn from(number: u64) -> CallId {
        CallId(number)
    }
}

impl<'de> Deserialize<'de> for CallId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<CallId, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = CallId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(CALL_ALLOWED)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<CallId, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<CallId, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// An amount of money in a request: a plain decimal, kept as text so that nothing is rounded on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Amount(String);

impl Amount {
    /// The decimal as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Amount {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Amount, BadValue> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, decimals) = digits.split_once('.').unwrap_or((digits, "0"));
        let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !number(whole) || !number(decimals) || decimals.len() > 8 || text.len() > AMOUNT_MAX {
            return Err(BadValue { value: text.to_owned(), allowed: AMOUNT_ALLOWED });
        }
        Ok(Amount(text.to_owned()))
    }
}

impl TryFrom<String> for Amount {
    type Error = BadValue;

    fn try_from(text: String) -> Result<Amount, BadValue> {
        text.parse()
    }
}

impl From<Amount> for String {
    fn from(amount: Amount) -> String {
        amount.0
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Most rows of an answer, 1 to [`LIMIT_MAX`]; [`LIMIT_DEFAULT`] when not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u32")]
pub struct Limit(u32);

impl Limit {
    /// The largest page.
    pub const MAX: Limit = Limit(LIMIT_MAX);

    /// The number of rows.
    pub const fn rows(self) -> u32 {
        self.0
    }
}

impl Default for Limit {
    fn default() -> Limit {
        Limit(LIMIT_DEFAULT)
    }
}

impl TryFrom<u64> for Limit {
    type Error = BadValue;

    fn try_from(rows: u64) -> Result<Limit, BadValue> {
        match u32::try_from(rows) {
            Ok(rows @ 1..=LIMIT_MAX) => Ok(Limit(rows)),
            _ => Err(BadValue { value: rows.to_string(), allowed: LIMIT_ALLOWED }),
        }
    }
}

impl From<Limit> for u32 {
    fn from(limit: Limit) -> u32 {
        limit.0
    }
}

impl FromStr for Limit {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Limit, BadValue> {
        let bad = || BadValue { value: text.to_owned(), allowed: LIMIT_ALLOWED };
        text.parse::<u64>().map_err(|_| bad()).and_then(|rows| Limit::try_from(rows).map_err(|_| bad()))
    }
}

/// Longest wait for a confirmation, seconds: a day.
pub const CONFIRM_MAX_S: u32 = 86_400;
const CONFIRM_ALLOWED: &str = "1s to 24h, such as 90s, 5m or 1h; a bare number is minutes";

/// How long a change waits for its confirmation before it rolls itself back: 1 s to [`CONFIRM_MAX_S`]. Written as `90s`,
/// `5m` or `1h`; a bare number is minutes, as on other routers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u32")]
pub struct ConfirmWithin(u32);

impl ConfirmWithin {
    /// Seconds.
    pub const fn seconds(self) -> u32 {
        self.0
    }
}

impl TryFrom<u64> for ConfirmWithin {
    type Error = BadValue;

    fn try_from(seconds: u64) -> Result<ConfirmWithin, BadValue> {
        match u32::try_from(seconds) {
            Ok(seconds @ 1..=CONFIRM_MAX_S) => Ok(ConfirmWithin(seconds)),
            _ => Err(BadValue { value: seconds.to_string(), allowed: "1 to 86400 seconds" }),
        }
    }
}

impl From<ConfirmWithin> for u32 {
    fn from(within: ConfirmWithin) -> u32 {
        within.0
    }
}

impl FromStr for ConfirmWithin {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<ConfirmWithin, BadValue> {
        let bad = || BadValue { value: text.to_owned(), allowed: CONFIRM_ALLOWED };
        let (number, unit) = match text.char_indices().next_back() {
            Some((at, 's')) => (&text[..at], 1),
            Some((at, 'm')) => (&text[..at], 60),
            Some((at, 'h')) => (&text[..at], 3600),
            _ => (text, 60),
        };
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad());
        }
        let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(bad)?;
        ConfirmWithin::try_from(seconds).map_err(|_| bad())
    }
}

/// Words less alike than this are no help to a reader who mistyped.
const LIKENESS_LEAST: f64 = 0.75;

/// The word of `words` that looks most like `given`; `None` when none does.
pub fn nearest<'a, S: AsRef<str>>(given: &str, words: &'a [S]) -> Option<&'a str> {
    let given = given.to_lowercase();
    words
        .iter()
        .map(|word| (strsim::jaro_winkler(&given, &word.as_ref().to_lowercase()), word.as_ref()))
        .filter(|(likeness, _)| *likeness >= LIKENESS_LEAST)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_id_is_a_number_or_its_digits() {
        assert_eq!(serde_json::from_str::<CallId>("42").unwrap(), CallId(42));
        assert_eq!(serde_json::from_str::<CallId>("\"42\"").unwrap(), CallId(42));
        assert_eq!(serde_json::to_string(&CallId(42)).unwrap(), "42");
        for bad in ["-1", "1.5", "\"\"", "\"4x\"", "\"+4\"", "9007199254740992", "null", "[]"] {
            assert!(serde_json::from_str::<CallId>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_amount_is_a_plain_decimal_string() {
        for good in ["0", "100", "-20.50", "0.00000001"] {
            assert_eq!(good.parse::<Amount>().unwrap().as_str(), good);
        }
        for bad in ["", "-", ".5", "5.", "1e3", "1,5", "0.000000001", " 1", "+1", "NaN", "--1"] {
            assert!(bad.parse::<Amount>().is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<Amount>("1.5").is_err(), "a JSON number has passed through a float");
    }

    #[test]
    fn a_limit_is_within_its_range() {
        assert_eq!(serde_json::from_str::<Limit>("5000").unwrap(), Limit::MAX);
        for bad in ["0", "5001", "-1", "99999999999"] {
            assert!(serde_json::from_str::<Limit>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wait_for_a_confirmation_has_a_unit_or_is_minutes() {
        let seconds = |text: &str| text.parse::<ConfirmWithin>().map(ConfirmWithin::seconds);
        assert_eq!((seconds("90s"), seconds("5m"), seconds("1h"), seconds("5")), (Ok(90), Ok(300), Ok(3600), Ok(300)));
        assert_eq!((seconds("24h"), seconds("1s")), (Ok(86_400), Ok(1)));
        for bad in ["", "0", "0s", "25h", "m", "-1m", "+1m", "5 m", "5d", "1.5h", "99999999999999999999h", "5ü"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        assert_eq!(serde_json::to_string(&"5m".parse::<ConfirmWithin>().unwrap()).unwrap(), "300");
        assert!(serde_json::from_str::<ConfirmWithin>("0").is_err());
    }

    #[test]
    fn the_nearest_word_or_none() {
        let words = ["gateway", "account", "calls"];
        assert_eq!(nearest("gatewya", &words), Some("gateway"));
        assert_eq!(nearest("GATEWAY", &words), Some("gateway"));
        assert_eq!(nearest("zzz", &words), None);
    }
}
