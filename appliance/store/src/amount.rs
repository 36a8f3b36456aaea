//! Amounts as whole units of 10^-8 between the text of the journal and that of the database: a sum is then an addition of
//! integers, exact like [`Money`], and a decimal is made of it once, when it is written.

use rust_decimal::Decimal;
use tandem_rating::money::{Money, MoneyError, SCALE_MAX};

use crate::error::StoreError;
use crate::ledger;

/// Units in one.
const ONE: i128 = 100_000_000;

/// Digits before the point of an amount that is read here; with the eight after it they stay below 2^63.
const WHOLE_DIGITS_MAX: usize = 10;

/// The units of the amount `text`; `account` and `what` say in the error whose and which one it is.
pub(crate) fn units(account: &str, what: &str, text: &[u8]) -> Result<i128, StoreError> {
    match plain(text) {
        Some(units) => Ok(i128::from(units)),
        None => ledger::money(account, what, &String::from_utf8_lossy(text)).map(of),
    }
}

/// The units of an amount of ordinary size as [`Money`] prints it; `None` leaves it to the long way.
fn plain(text: &[u8]) -> Option<i64> {
    if text == b"0" {
        return Some(0);
    }
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let mut units: i64 = 0;
    let mut whole = 0;
    let mut fraction: Option<u32> = None;
    for byte in digits {
        match (byte, &mut fraction) {
            (b'0'..=b'9', None) if whole < WHOLE_DIGITS_MAX => whole += 1,
            (b'0'..=b'9', Some(places)) if *places < SCALE_MAX => *places += 1,
            (b'.', None) => {
                fraction = Some(0);
                continue;
            }
            _ => return None,
        }
        units = units * 10 + i64::from(byte - b'0');
    }
    // Neither ".5" nor "5." is an amount here.
    if whole == 0 || fraction == Some(0) {
        return None;
    }
    let units = units * 10_i64.pow(SCALE_MAX - fraction.unwrap_or(0));
    Some(if is_negative { -units } else { units })
}

/// The units of an amount.
pub(crate) fn of(amount: Money) -> i128 {
    let amount = amount.amount();
    // Money has no more decimals than that, and no more than twenty digits in all.
    amount.mantissa() * 10_i128.pow(SCALE_MAX.saturating_sub(amount.scale()))
}

/// The amount of so many units. Errors: out of range.
pub(crate) fn money(units: i128) -> Result<Money, MoneyError> {
    let amount = Decimal::try_from_i128_with_scale(units, SCALE_MAX).map_err(|_| MoneyError::Overflow)?;
    Money::new(amount)
}

/// `units` as [`Money`] prints them, behind what is in `text`. Errors: out of range.
pub(crate) fn write(text: &mut String, units: i128) -> Result<(), MoneyError> {
    let plain = |units: i128| u64::try_from(units.unsigned_abs()).ok();
    // Within 2^64 units it is well within the range of Money.
    let Some(left) = plain(units) else {
        text.push_str(&money(units)?.to_string());
        return Ok(());
    };
    // Twenty digits and a point.
    let mut digits = [0; 21];
    let mut at = digits.len();
    let (mut whole, mut fraction) = (left / ONE as u64, left % ONE as u64);
    let mut places = SCALE_MAX;
    while places > 0 && fraction % 10 == 0 {
        fraction /= 10;
        places -= 1;
    }
    let mut push = |digit: u8| {
        at -= 1;
        if let Some(place) = digits.get_mut(at) {
            *place = digit;
        }
    };
    for place in 0..places {
        push(b'0' + (fraction % 10) as u8);
        fraction /= 10;
        if place + 1 == places {
            push(b'.');
        }
    }
    loop {
        push(b'0' + (whole % 10) as u8);
        whole /= 10;
        if whole == 0 {
            break;
        }
    }
    if units < 0 {
        text.push('-');
    }
    text.push_str(std::str::from_utf8(digits.get(at..).unwrap_or_default()).unwrap_or_default());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(units: i128) -> Result<String, MoneyError> {
        let mut text = String::new();
        write(&mut text, units).map(|()| text)
    }

    proptest! {
        #[test]
        fn units_are_the_amount_and_are_written_as_money_is(
            units in prop_oneof![
                -1_000_000_000_000_i128..1_000_000_000_000,
                -99_999_999_999_999_999_999_i128..=99_999_999_999_999_999_999,
                (-100_000_i128..100_000).prop_map(|n| n * 1_000_000),
            ]
        ) {
            let amount = money(units).unwrap();
            prop_assert_eq!(of(amount), units);
            prop_assert_eq!(written(units).unwrap(), amount.to_string());
            prop_assert_eq!(super::units("a", "b", amount.to_string().as_bytes()).unwrap(), units);
        }

        #[test]
        fn a_text_is_an_amount_or_none_as_money_says(text in "-?[0-9]{0,13}\\.?[0-9]{0,9}") {
            let read = super::units("a", "b", text.as_bytes()).ok();
            prop_assert_eq!(read, text.parse::<Money>().ok().map(of), "{}", text);
        }
    }

    #[test]
    fn the_ends_of_the_range_hold() {
        let most = 99_999_999_999_999_999_999;
        assert_eq!(written(most).unwrap(), "999999999999.99999999");
        assert_eq!(written(-most).unwrap(), "-999999999999.99999999");
        assert!(written(most + 1).is_err() && written(i128::MIN).is_err());
        for (units, text) in [(0, "0"), (1, "0.00000001"), (-100_000_000, "-1"), (1_050_000_000, "10.5")] {
            assert_eq!(written(units).unwrap(), text);
        }
        for text in ["", "-", ".", "1.", ".5", "1e5", " 1", "1 ", "+1", "1.123456789", "--1", "1..2", "x"] {
            assert_eq!(super::units("a", "b", text.as_bytes()).ok(), text.parse::<Money>().ok().map(of), "{text:?}");
        }
    }
}
