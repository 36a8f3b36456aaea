//! Amounts of money, and every rounding there is.
//!
//! [`Money`] is a decimal with at most [`SCALE_MAX`] digits after the point (rates.md section 11:
//! decimal(20,8)). The currency is one system setting and is kept beside the amounts, never inside
//! them. The two roundings of billing.md section 2 are [`quantise`] (Q: a nonzero amount never becomes
//! nothing) and [`quantise_half_up`] (Qt, for tax).
//!
//! The hot path counts in *units* of 10^-8; the decimal functions here and the integer functions of
//! `round` are the same rules, and a property test holds them together.

use std::fmt;
use std::str::FromStr;

use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::round::{Count, Least, round_units};

/// Most digits after the point that an amount or a rate may have (rates.md sections 1 and 11).
pub const SCALE_MAX: u32 = 8;

/// Units in one: amounts inside are counted in 10^-8.
pub(crate) const UNITS_PER_ONE: i128 = 100_000_000;

/// Largest amount, in units: decimal(20,8) is twelve digits before the point. Beyond it an addition
/// of decimals could drop digits in silence, so it is refused.
const AMOUNT_UNITS_MAX: i128 = 99_999_999_999_999_999_999;

/// Why an amount was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The result is outside decimal(20,8).
    #[error("amount too large: at most 12 digits before the point and 8 after it")]
    Overflow,
    /// Text that is no plain decimal number.
    #[error("{value:?} is no amount: digits, at most one point, at most {SCALE_MAX} decimals")]
    Syntax {
        /// The text as given.
        value: String,
    },
    /// More digits after the point than are kept.
    #[error("{value} has more than {SCALE_MAX} decimals")]
    TooFine {
        /// The number as given.
        value: String,
    },
    /// A rounding step below zero.
    #[error("rounding step {value} is below zero")]
    Step {
        /// The step as given.
        value: String,
    },
}

/// An amount in the system currency: exact, at most 8 decimals, at most 12 digits before the point.
///
/// Prints and serialises as a plain decimal string without trailing zeros and without exponent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(Decimal);

impl Money {
    /// Nothing.
    pub const ZERO: Money = Money(Decimal::ZERO);

    /// The amount `value`. Errors: more than 8 significant decimals, or out of range.
    pub fn new(value: Decimal) -> Result<Money, MoneyError> {
        let value = value.normalize();
        let units = units(value).ok_or_else(|| MoneyError::TooFine { value: value.to_string() })?;
        if units.abs() > AMOUNT_UNITS_MAX {
            return Err(MoneyError::Overflow);
        }
        Ok(Money(value))
    }

    /// The amount as a decimal without trailing zeros.
    pub fn amount(self) -> Decimal {
        self.0
    }

    /// `self + other`. Errors: the sum is out of range.
    pub fn checked_add(self, other: Money) -> Result<Money, MoneyError> {
        Money::from_units(self.units() + other.units())
    }

    /// `self - other`. Errors: the difference is out of range.
    pub fn checked_sub(self, other: Money) -> Result<Money, MoneyError> {
        Money::from_units(self.units() - other.units())
    }

    /// `-self`. The range is symmetrical, so this never fails today; it is checked like its sisters.
    pub fn checked_neg(self) -> Result<Money, MoneyError> {
        Money::from_units(-self.units())
    }

    /// True for nothing.
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// True below zero.
    pub fn is_negative(self) -> bool {
        self < Money::ZERO
    }

    /// For display: exactly `fp` digits after the point, rounded half up. Never calculate with it.
    pub fn to_fixed(self, fp: u8) -> String {
        let fp = u32::from(fp);
        let rounded = self.0.round_dp_with_strategy(fp, RoundingStrategy::MidpointAwayFromZero);
        format!("{rounded:.*}", fp as usize)
    }

    /// The amount in units of 10^-8; at most 67 bits, so sums of two need no check.
    pub(crate) fn units(self) -> i128 {
        // Both constructors refuse what has no exact count of units.
        units(self.0).unwrap_or_default()
    }

    /// The amount of `units` times 10^-8. Errors: out of range.
    pub(crate) fn from_units(units: i128) -> Result<Money, MoneyError> {
        if units.unsigned_abs() > AMOUNT_UNITS_MAX.unsigned_abs() {
            return Err(MoneyError::Overflow);
        }
        decimal_from_units(units).map(Money)
    }

    /// The nearest amount in range: for sums that are only compared, never booked.
    pub(crate) fn from_units_clamped(units: i128) -> Money {
        Money::from_units(units.clamp(-AMOUNT_UNITS_MAX, AMOUNT_UNITS_MAX)).unwrap_or_default()
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Money {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Money, MoneyError> {
        Money::new(parse_decimal(text)?)
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_zero() {
            // Most amounts of a record: no agent, no tax, no package.
            return serializer.serialize_str("0");
        }
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Money, D::Error> {
        deserialize_text(deserializer, "an amount as a decimal string")
    }
}

/// An exact amount before any rounding: a count of 1/(60 * 10^8), because a rate is a price per
/// 60 s with 8 decimals (billing.md section 1).
///
/// Prints as a decimal when that is exact, otherwise as a reduced fraction ("1/6000").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawFee(i128);

impl RawFee {
    /// What one is counted in.
    pub const DENOMINATOR: i128 = 60 * UNITS_PER_ONE;

    /// The count of 1/(60 * 10^8).
    pub fn numerator(self) -> i128 {
        self.0
    }

    pub(crate) const fn from_numerator(numerator: i128) -> RawFee {
        RawFee(numerator)
    }

    /// The nearest decimal with 8 digits after the point, half up; for people only.
    pub fn approximate(self) -> Decimal {
        let units = self.0.nearest(60);
        Decimal::try_from_i128_with_scale(units, SCALE_MAX).unwrap_or(Decimal::MAX).normalize()
    }
}

impl fmt::Display for RawFee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // 60 * 10^8 is 3 * 2 * 10^9: without the 3 it is a plain decimal with ten places.
        if self.0 % 3 == 0
            && let Some(tenth_places) = (self.0 / 3).checked_mul(5)
        {
            return f.write_str(&decimal_text(tenth_places, 10));
        }
        let divisor = greatest_common_divisor(self.0.unsigned_abs(), Self::DENOMINATOR as u128);
        let sign = if self.0 < 0 { "-" } else { "" };
        let numerator = self.0.unsigned_abs() / divisor;
        let denominator = Self::DENOMINATOR as u128 / divisor;
        if denominator == 1 {
            return write!(f, "{sign}{numerator}");
        }
        write!(f, "{sign}{numerator}/{denominator}")
    }
}

impl FromStr for RawFee {
    type Err = MoneyError;

    /// Reads what [`fmt::Display`] writes: a decimal, or a fraction of whole numbers.
    fn from_str(text: &str) -> Result<RawFee, MoneyError> {
        let refused = || MoneyError::Syntax { value: text.to_owned() };
        let (numerator, denominator) = match text.split_once('/') {
            Some((numerator, denominator)) => {
                (numerator.parse::<i128>().map_err(|_| refused())?, denominator.parse::<i128>().map_err(|_| refused())?)
            }
            None => {
                let digits = text.strip_prefix('-').unwrap_or(text);
                let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
                let all = [whole, fraction].concat();
                if fraction.len() > 10 || !all.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(refused());
                }
                let count: i128 = all.parse().map_err(|_| refused())?;
                let count = if text.starts_with('-') { -count } else { count };
                (count, 10_i128.pow(fraction.len() as u32))
            }
        };
        if denominator <= 0 {
            return Err(refused());
        }
        // Reduced first, so that every amount that fits can be read back.
        let divisor = greatest_common_divisor(numerator.unsigned_abs(), denominator as u128) as i128;
        let (numerator, denominator) = (numerator / divisor, denominator / divisor);
        if Self::DENOMINATOR % denominator != 0 {
            return Err(refused());
        }
        numerator.checked_mul(Self::DENOMINATOR / denominator).map(RawFee).ok_or(MoneyError::Overflow)
    }
}

impl Serialize for RawFee {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RawFee {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawFee, D::Error> {
        deserialize_text(deserializer, "an exact fee, \"0.15\" or \"1/60\"")
    }
}

/// Q of billing.md section 2: the nearest multiple of `step`, ties away from zero; a nonzero `x`
/// never becomes 0, it becomes one step. A step of 0 leaves `x` alone. Idempotent.
///
/// Errors: a negative step, or a result that does not fit a decimal.
pub fn quantise(x: Decimal, step: Decimal) -> Result<Decimal, MoneyError> {
    round_to_step(x, step, Least::OneStep)
}

/// Qt of billing.md section 2: like [`quantise`], but a small amount may become 0. For tax.
///
/// Errors: as [`quantise`].
pub fn quantise_half_up(x: Decimal, step: Decimal) -> Result<Decimal, MoneyError> {
    round_to_step(x, step, Least::Nothing)
}

/// A plain decimal: digits, at most one point, an optional minus. No exponent, no grouping, no
/// plus sign, at most 8 significant decimals. The error names the text.
pub fn parse_decimal(text: &str) -> Result<Decimal, MoneyError> {
    let refused = || MoneyError::Syntax { value: text.to_owned() };
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit());
    if !all_digits || (whole.is_empty() && fraction.is_empty()) || digits.ends_with('.') {
        return Err(refused());
    }
    // Zeros at the end change nothing, so they do not count as decimals.
    let significant = fraction.trim_end_matches('0');
    if significant.len() > SCALE_MAX as usize {
        return Err(MoneyError::TooFine { value: text.to_owned() });
    }
    let mantissa: i128 =
        format!("{whole}{significant}").parse().or_else(|error: std::num::ParseIntError| match error.kind() {
            std::num::IntErrorKind::Empty => Ok(0),
            _ => Err(MoneyError::Overflow),
        })?;
    let mantissa = if text.starts_with('-') { -mantissa } else { mantissa };
    Decimal::try_from_i128_with_scale(mantissa, significant.len() as u32)
        .map(|value| value.normalize())
        .map_err(|_| MoneyError::Overflow)
}

/// Units of 10^-8 in `value`, or `None` when it has finer digits. Any decimal fits 123 bits.
pub(crate) fn units(value: Decimal) -> Option<i128> {
    let value = if value.scale() > SCALE_MAX { value.normalize() } else { value };
    let places = SCALE_MAX.checked_sub(value.scale())?;
    Some(value.mantissa() * i128::from(POWERS[places as usize]))
}

/// 1 to 10^8: what a decimal of each scale is short of units.
const POWERS: [u32; SCALE_MAX as usize + 1] = {
    let mut powers = [1; SCALE_MAX as usize + 1];
    let mut scale = 1;
    while scale < powers.len() {
        powers[scale] = powers[scale - 1] * 10;
        scale += 1;
    }
    powers
};

/// Units of 10^-8 in `value`, finer digits rounded half up.
pub(crate) fn units_rounded(value: Decimal) -> i128 {
    if value.scale() <= SCALE_MAX {
        // All that decks and parameters accept: nothing to round.
        return units(value).unwrap_or_default();
    }
    let rounded = value.round_dp_with_strategy(SCALE_MAX, RoundingStrategy::MidpointAwayFromZero);
    units(rounded).unwrap_or_default()
}

/// The decimal of `units` times 10^-8, without trailing zeros. Errors: more than 96 bits.
pub(crate) fn decimal_from_units(units: i128) -> Result<Decimal, MoneyError> {
    if units == 0 {
        return Ok(Decimal::ZERO);
    }
    if let Ok(mut mantissa) = u64::try_from(units.unsigned_abs()) {
        // Nearly every amount: 184 billion. Trailing zeros go by words of 64 bits instead of 96; divided by what is known
        // beforehand, which takes no division.
        let mut scale = SCALE_MAX;
        if mantissa.is_multiple_of(10_000) {
            (mantissa, scale) = (mantissa / 10_000, scale - 4);
        }
        if mantissa.is_multiple_of(100) {
            (mantissa, scale) = (mantissa / 100, scale - 2);
        }
        if mantissa.is_multiple_of(10) {
            (mantissa, scale) = (mantissa / 10, scale - 1);
        }
        if scale > 0 && mantissa.is_multiple_of(10) {
            (mantissa, scale) = (mantissa / 10, scale - 1);
        }
        return Ok(Decimal::from_parts(mantissa as u32, (mantissa >> 32) as u32, 0, units < 0, scale));
    }
    Decimal::try_from_i128_with_scale(units, SCALE_MAX).map(|value| value.normalize()).map_err(|_| MoneyError::Overflow)
}

/// Units in 10^-`fp`, the step of a fee precision. `fp` is at most 8.
pub(crate) fn precision_step_units(fp: u8) -> i128 {
    let places = SCALE_MAX.saturating_sub(u32::from(fp));
    i128::from(POWERS[places as usize])
}

fn round_to_step(x: Decimal, step: Decimal, least: Least) -> Result<Decimal, MoneyError> {
    if step.is_zero() {
        return Ok(x);
    }
    if step.is_sign_negative() {
        return Err(MoneyError::Step { value: step.to_string() });
    }
    let (x, step) = (x.normalize(), step.normalize());
    let scale = x.scale().max(step.scale());
    let at_scale = |value: Decimal| {
        10_i128
            .checked_pow(scale - value.scale())
            .and_then(|factor| value.mantissa().checked_mul(factor))
            .ok_or(MoneyError::Overflow)
    };
    let rounded = round_units(at_scale(x)?, 1, at_scale(step)?, least).ok_or(MoneyError::Overflow)?;
    Decimal::try_from_i128_with_scale(rounded, scale).map(|value| value.normalize()).map_err(|_| MoneyError::Overflow)
}

fn greatest_common_divisor(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// `count` times 10^-`scale` as text without trailing zeros; for counts beyond a decimal's 96 bits.
fn decimal_text(count: i128, scale: usize) -> String {
    let sign = if count < 0 { "-" } else { "" };
    let digits = format!("{:0width$}", count.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// Reads a value that is written as text; works for formats that lend and that give the string.
fn deserialize_text<'de, D, T>(deserializer: D, expected: &'static str) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = MoneyError>,
{
    struct Text<T>(&'static str, std::marker::PhantomData<T>);
    impl<T: FromStr<Err = MoneyError>> de::Visitor<'_> for Text<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse().map_err(de::Error::custom)
        }
    }
    deserializer.deserialize_str(Text(expected, std::marker::PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dec(text: &str) -> Decimal {
        parse_decimal(text).unwrap()
    }

    #[test]
    fn q_is_nearest_with_ties_up_and_never_nothing() {
        for (x, step, expected) in [
            ("0.00456", "0.01", "0.01"),
            ("0.02341", "0.01", "0.02"),
            ("1.23456", "0.01", "1.23"),
            ("0.015", "0.01", "0.02"),
            ("0.025", "0.01", "0.03"),
            ("-0.015", "0.01", "-0.02"),
            ("-0.0001", "0.01", "-0.01"),
            ("0", "0.01", "0"),
            ("0.3", "1", "1"),
            ("2.5", "1", "3"),
            ("0.0149", "0", "0.0149"),
            ("0.07", "0.05", "0.05"),
        ] {
            assert_eq!(quantise(dec(x), dec(step)).unwrap(), dec(expected), "Q({x}, {step})");
        }
    }

    #[test]
    fn tax_rounding_may_give_nothing() {
        assert_eq!(quantise_half_up(dec("0.0049"), dec("0.01")).unwrap(), dec("0"));
        assert_eq!(quantise_half_up(dec("0.005"), dec("0.01")).unwrap(), dec("0.01"));
    }

    #[test]
    fn q_reports_what_does_not_fit() {
        assert_eq!(quantise(Decimal::MAX, Decimal::new(1, 28)), Err(MoneyError::Overflow));
        assert!(matches!(quantise(Decimal::ONE, dec("-0.01")), Err(MoneyError::Step { .. })));
    }

    #[test]
    fn text_is_plain_and_normalised() {
        for (text, shown) in [
            ("1.2300", "1.23"),
            ("100", "100"),
            ("0.00000001", "0.00000001"),
            ("-0.50", "-0.5"),
            ("-0.00", "0"),
            (".5", "0.5"),
            ("007", "7"),
            ("1.000000000000", "1"),
            ("999999999999.99999999", "999999999999.99999999"),
        ] {
            let money: Money = text.parse().unwrap();
            assert_eq!(money.to_string(), shown);
            assert_eq!(shown.parse::<Money>().unwrap(), money);
        }
    }

    #[test]
    fn bad_text_is_refused_and_named() {
        for text in ["", "-", ".", "1.", "1e5", "1_000", "1,5", "+1", " 1", "--1", "0x10", "1.2.3", "NaN", "١"] {
            let error = text.parse::<Money>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{text:?}: {error}");
        }
        for text in ["1000000000000", "-1000000000000", &"9".repeat(60)] {
            assert_eq!(text.parse::<Money>(), Err(MoneyError::Overflow), "{text}");
        }
        let error = "0.000000001".parse::<Money>().unwrap_err().to_string();
        assert!(error.contains("0.000000001 has more than 8 decimals"), "{error}");
    }

    #[test]
    fn sums_beyond_the_range_are_errors() {
        let most: Money = "999999999999.99999999".parse().unwrap();
        let least: Money = "0.00000001".parse().unwrap();
        assert_eq!(most.checked_add(least), Err(MoneyError::Overflow));
        assert_eq!(most.checked_add(Money::ZERO), Ok(most));
        let debt = most.checked_neg().unwrap();
        assert_eq!(debt.checked_sub(least), Err(MoneyError::Overflow));
        assert_eq!(debt.checked_add(most), Ok(Money::ZERO));
    }

    #[test]
    fn fixed_display_pads_and_rounds_half_up() {
        let money: Money = "1.235".parse().unwrap();
        assert_eq!(money.to_fixed(2), "1.24");
        assert_eq!(money.to_fixed(4), "1.2350");
        assert_eq!(money.to_fixed(0), "1");
        assert_eq!(Money::ZERO.to_fixed(2), "0.00");
    }

    #[test]
    fn json_is_a_string() {
        let money: Money = "12.50".parse().unwrap();
        assert_eq!(serde_json::to_string(&money).unwrap(), "\"12.5\"");
        assert_eq!(serde_json::to_string(&Money::ZERO).unwrap(), "\"0\"");
        let nothing = money.checked_sub(money).unwrap();
        assert_eq!(serde_json::to_string(&nothing).unwrap(), format!("\"{nothing}\""));
        assert_eq!(serde_json::from_str::<Money>("\"12.5\"").unwrap(), money);
        assert!(serde_json::from_str::<Money>("12.5").is_err());
    }

    #[test]
    fn raw_fees_print_exactly() {
        for (numerator, shown) in [
            (0, "0"),
            (60 * UNITS_PER_ONE, "1"),
            (60, "0.00000001"),
            (3, "0.0000000005"),
            (UNITS_PER_ONE, "1/60"),
            (-UNITS_PER_ONE, "-1/60"),
            (1, "1/6000000000"),
        ] {
            let raw = RawFee::from_numerator(numerator);
            assert_eq!(raw.to_string(), shown);
            assert_eq!(shown.parse::<RawFee>().unwrap(), raw);
        }
        for text in ["", "-", "1/0", "1/-60", "1/7", "x", "1e3", "0.00000000001"] {
            assert!(text.parse::<RawFee>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn text_and_back(units in -AMOUNT_UNITS_MAX..=AMOUNT_UNITS_MAX) {
            let money = Money::from_units(units).unwrap();
            prop_assert_eq!(money.units(), units);
            prop_assert_eq!(money.to_string().parse::<Money>().unwrap(), money);
        }

        /// The 64-bit path against the decimal's own way, to the last digit of the scale.
        #[test]
        fn decimals_of_units_are_normal(count in any::<i64>(), places in 0_u32..20, wide in any::<i128>()) {
            let short = i128::from(count) >> (places * 3);
            for units in [i128::from(count), short * 10_i128.pow(places), -short, wide] {
                let decimal = Decimal::try_from_i128_with_scale(units, SCALE_MAX).ok().map(|value| value.normalize());
                let made = decimal_from_units(units).ok();
                prop_assert_eq!(made.map(|d| (d.mantissa(), d.scale())), decimal.map(|d| (d.mantissa(), d.scale())));
            }
        }

        /// Without rounding where there is nothing to round, against the decimal's rounding.
        #[test]
        fn units_are_what_decimals_round_to(mantissa in -(1_i128 << 96) + 1..1_i128 << 96, scale in 0_u32..=28) {
            let value = Decimal::from_i128_with_scale(mantissa, scale);
            let rounded = value.round_dp_with_strategy(SCALE_MAX, RoundingStrategy::MidpointAwayFromZero);
            let places = SCALE_MAX - rounded.scale();
            prop_assert_eq!(units_rounded(value), rounded.mantissa() * 10_i128.pow(places));
        }

        #[test]
        fn raw_text_and_back(numerator in any::<i128>()) {
            let raw = RawFee::from_numerator(numerator);
            prop_assert_eq!(raw.to_string().parse::<RawFee>().unwrap(), raw);
        }

        #[test]
        fn q_is_idempotent_and_near(units in -10_i128.pow(16)..10_i128.pow(16), step in 1..10_i128.pow(9)) {
            let (x, step) = (decimal_from_units(units).unwrap(), decimal_from_units(step).unwrap());
            let once = quantise(x, step).unwrap();
            prop_assert_eq!(quantise(once, step).unwrap(), once);
            prop_assert!((once - x).abs() <= step);
            prop_assert_eq!(once.is_zero(), x.is_zero());
        }

        #[test]
        fn integer_and_decimal_rounding_agree(units in -10_i128.pow(20)..10_i128.pow(20), step in 1..10_i128.pow(10)) {
            for (least, decimal_form) in [
                (Least::OneStep, quantise as fn(Decimal, Decimal) -> Result<Decimal, MoneyError>),
                (Least::Nothing, quantise_half_up),
            ] {
                let by_units = round_units(units, 1, step, least).unwrap();
                let by_decimal = decimal_form(decimal_from_units(units).unwrap(), decimal_from_units(step).unwrap());
                prop_assert_eq!(decimal_from_units(by_units).unwrap(), by_decimal.unwrap());
            }
        }

        #[test]
        fn any_text_is_an_amount_or_an_error(text in "\\PC{0,24}") {
            if let Ok(money) = text.parse::<Money>() {
                prop_assert_eq!(money.to_string().parse::<Money>().unwrap(), money);
            }
        }
    }
}
