//! Instants of rate sheets: the only file that names jiff.

use std::fmt;

use jiff::civil;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Unit};

/// What a text with a date says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// UTC ms.
    At(i64),
    /// Numbers that can be month and day or day and month.
    Ambiguous,
    /// No date.
    No,
}

/// UTC ms of a date ("2026-11-22", its first instant) or a date and time, with an offset or "Z";
/// without one it is UTC. `None`: no such text, or finer than a millisecond.
pub(crate) fn parse_ms(text: &str) -> Option<i64> {
    let instant = match text.parse::<Timestamp>() {
        Ok(instant) => instant,
        Err(_) => text.parse::<civil::DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp(),
    };
    let whole = instant.round(Unit::Millisecond).ok()?;
    (whole == instant).then(|| instant.as_millisecond())
}

/// `ms` as "2026-11-22T08:00:00Z", with as many decimals as it needs. An instant outside the
/// calendar (years -9999 to 9999) prints as its number.
pub(crate) fn format_ms(ms: i64) -> String {
    match Timestamp::from_millisecond(ms) {
        Ok(instant) => instant.to_string(),
        Err(_) => ms.to_string(),
    }
}

/// A date as sheets write it when nothing is said about its form: ISO 8601, a month by its name, the German order with
/// dots, or numbers with slashes when only one order makes a date of them.
pub(crate) fn parse_any(text: &str) -> Moment {
    if let Some(ms) = parse_ms(text) {
        return Moment::At(ms);
    }
    let (date, clock) = match text.split_once(' ') {
        Some((date, clock)) if clock.contains(':') && !date.is_empty() => (date, clock),
        _ => match text.rsplit_once(' ') {
            Some((date, clock)) if clock.contains(':') => (date, clock),
            _ => (text, ""),
        },
    };
    let Some(clock_ms) = clock_ms(clock) else { return Moment::No };
    let parts: Vec<&str> = date.split(['-', '/', ' ', '.', ',']).filter(|part| !part.is_empty()).collect();
    let [a, b, c] = parts[..] else { return Moment::No };
    let found = match (month(a), month(b)) {
        (_, Some(month)) => ymd(year(c), Some(month), number(a)),
        (Some(month), None) => ymd(year(c), Some(month), number(b)),
        (None, None) if a.len() == 4 => ymd(number(a), number(b), number(c)),
        (None, None) if date.contains('.') => ymd(year(c), number(b), number(a)),
        (None, None) => match (ymd(year(c), number(a), number(b)), ymd(year(c), number(b), number(a))) {
            (Some(us), Some(other)) if us != other => return Moment::Ambiguous,
            (one, other) => one.or(other),
        },
    };
    found.map_or(Moment::No, |ms| Moment::At(ms + clock_ms))
}

/// A form of dates, as `dd-MMM-yy`, `MM/dd/yyyy` or `yyyy-MM-dd HH:mm`; every date is UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DateFormat {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Day,
    Month,
    MonthName,
    Year,
    ShortYear,
    Hour,
    Minute,
    Second,
    Literal(char),
}

impl DateFormat {
    /// Reads a form: `d`/`dd`, `M`/`MM`, `MMM`, `yy`, `yyyy`, `HH`, `mm`, `ss`; anything else stands for itself.
    ///
    /// # Errors
    /// What is missing or not known, in words.
    pub fn parse(text: &str) -> Result<DateFormat, String> {
        let mut parts = Vec::new();
        let mut rest = text.trim();
        while let Some(first) = rest.chars().next() {
            let run = rest.chars().take_while(|c| *c == first).count();
            let part = match (first, run) {
                ('d', 1 | 2) => Part::Day,
                ('M', 1 | 2) => Part::Month,
                ('M', 3 | 4) => Part::MonthName,
                ('y', 4) => Part::Year,
                ('y', 2) => Part::ShortYear,
                ('H', 1 | 2) => Part::Hour,
                ('m', 1 | 2) => Part::Minute,
                ('s', 1 | 2) => Part::Second,
                (c, _) if c.is_ascii_alphabetic() => {
                    return Err(format!(
                        "{:?} in {text:?}; known are dd, MM, MMM, yy, yyyy, HH, mm, ss",
                        c.to_string().repeat(run)
                    ));
                }
                (c, _) => {
                    parts.extend(std::iter::repeat_n(Part::Literal(c), run));
                    rest = &rest[c.len_utf8() * run..];
                    continue;
                }
            };
            parts.push(part);
            rest = &rest[run..];
        }
        let has = |wanted: &[Part]| parts.iter().filter(|part| wanted.contains(part)).count() == 1;
        if !has(&[Part::Day]) || !has(&[Part::Month, Part::MonthName]) || !has(&[Part::Year, Part::ShortYear]) {
            return Err(format!("{text:?} needs a day, a month and a year once each, as dd-MMM-yy or MM/dd/yyyy"));
        }
        Ok(DateFormat { text: text.trim().to_owned(), parts })
    }

    /// UTC ms of `text`, when it has this form.
    pub(crate) fn read_ms(&self, text: &str) -> Option<i64> {
        let (mut day, mut month_no, mut year_no) = (None, None, None);
        let (mut hour, mut minute, mut second) = (0, 0, 0);
        let mut rest = text.trim();
        for part in &self.parts {
            let mut take = |most: usize| {
                let len = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
                let (digits, behind) = rest.split_at(len);
                rest = behind;
                number(digits)
            };
            match part {
                Part::Day => day = Some(take(2)?),
                Part::Month => month_no = Some(take(2)?),
                Part::Year => year_no = Some(take(4)?),
                Part::ShortYear => year_no = Some(century(take(2)?)),
                Part::Hour => hour = take(2)?,
                Part::Minute => minute = take(2)?,
                Part::Second => second = take(2)?,
                Part::MonthName => {
                    let len = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
                    let (name, behind) = rest.split_at(len);
                    rest = behind.strip_prefix('.').unwrap_or(behind);
                    month_no = Some(month(name)?);
                }
                Part::Literal(c) => rest = rest.strip_prefix(*c)?,
            }
        }
        if !rest.is_empty() || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        ymd(year_no, month_no, day).map(|ms| ms + i64::from((hour * 60 + minute) * 60 + second) * 1_000)
    }
}

impl fmt::Display for DateFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn number(text: &str) -> Option<i32> {
    (!text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.parse().ok())?
}

/// A year of two or four digits.
fn year(text: &str) -> Option<i32> {
    match text.len() {
        2 => number(text).map(century),
        4 => number(text),
        _ => None,
    }
}

/// Rates are of this century, and some of the last.
fn century(short: i32) -> i32 {
    if short < 80 { 2000 + short } else { 1900 + short }
}

fn month(text: &str) -> Option<i32> {
    const NAMES: [&str; 12] = [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ];
    let text = text.to_ascii_lowercase();
    let known = |name: &&str| {
        text.len() >= 3 && (**name == text || name[..3] == text || text == "sept" && name.starts_with("sept"))
    };
    (1..).zip(NAMES).find(|(_, name)| known(name)).map(|(n, _)| n)
}

fn ymd(year: Option<i32>, month: Option<i32>, day: Option<i32>) -> Option<i64> {
    let (year, month, day) = (year?, month?, day?);
    let date = civil::Date::new(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?).ok()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

/// ms since midnight of "8:00", "08:00:00" or nothing.
fn clock_ms(text: &str) -> Option<i64> {
    if text.trim().is_empty() {
        return Some(0);
    }
    let parts: Vec<Option<i32>> = text.trim().split(':').map(number).collect();
    let (hour, minute, second) = match parts[..] {
        [Some(hour), Some(minute)] => (hour, minute, 0),
        [Some(hour), Some(minute), Some(second)] => (hour, minute, second),
        _ => return None,
    };
    (hour < 24 && minute < 60 && second < 60).then(|| i64::from((hour * 60 + minute) * 60 + second) * 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECEMBER: i64 = 1_796_083_200_000; // 2026-12-01

    #[test]
    fn dates_and_times_are_utc_unless_they_say_otherwise() {
        for (text, ms) in [
            ("1970-01-02", 86_400_000),
            ("2026-11-22T00:00:00Z", 1_795_305_600_000),
            ("2026-11-22T01:00:00+01:00", 1_795_305_600_000),
            ("2026-11-22 00:00:00.5", 1_795_305_600_500),
            ("2026-11-22", 1_795_305_600_000),
        ] {
            assert_eq!(parse_ms(text), Some(ms), "{text}");
        }
        for text in ["", "tomorrow", "22/11/2026", "2026-13-01", "2026-11-22T00:00:00.0001Z"] {
            assert_eq!(parse_ms(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for ms in [0, 1_795_305_600_000, 1_795_305_600_123, -1] {
            assert_eq!(parse_ms(&format_ms(ms)), Some(ms), "{}", format_ms(ms));
        }
        assert_eq!(format_ms(1_795_305_600_000), "2026-11-22T00:00:00Z");
    }

    #[test]
    fn a_date_is_read_when_it_can_only_be_one_day() {
        for text in [
            "2026-12-01",
            "01-Dec-26",
            "1-Dec-2026",
            "1 December 2026",
            "Dec 1, 2026",
            "1.12.2026",
            "01.12.26",
            "2026/12/01",
            "01/Dec/2026",
            "01-DEC-2026 00:00",
            "20261201",
        ] {
            assert_eq!(parse_any(text), Moment::At(DECEMBER), "{text}");
        }
        assert_eq!(parse_any("12/13/2026"), Moment::At(DECEMBER + 12 * 86_400_000));
        assert_eq!(parse_any("13/12/2026"), Moment::At(DECEMBER + 12 * 86_400_000));
        assert_eq!(parse_any("12/12/2026 08:30:01"), Moment::At(DECEMBER + 11 * 86_400_000 + 30_601_000));
        assert_eq!(parse_any("01/12/2026"), Moment::Ambiguous);
        for text in ["", "soon", "32.12.2026", "31/02/2026", "1-Foo-26", "45627", "1/2", "99-99-99", "1-Dec-026"] {
            assert_eq!(parse_any(text), Moment::No, "{text}");
        }
    }

    #[test]
    fn a_form_says_which_number_is_the_day() {
        for (form, text) in [
            ("dd-MMM-yy", "01-Dec-26"),
            ("dd-MMM-yyyy", "1-DEC-2026"),
            ("MM/dd/yyyy", "12/01/2026"),
            ("M/d/yyyy", "12/1/2026"),
            ("dd/MM/yyyy", "01/12/2026"),
            ("dd.MM.yyyy", "01.12.2026"),
            ("yyyyMMdd", "20261201"),
            ("dd MMMM yyyy", "01 December 2026"),
            ("yyyy-MM-dd HH:mm:ss", "2026-12-01 00:00:00"),
        ] {
            assert_eq!(DateFormat::parse(form).unwrap().read_ms(text), Some(DECEMBER), "{form}");
        }
        let form = DateFormat::parse("dd/MM/yyyy").unwrap();
        for text in ["12/13/2026", "01-12-2026", "01/12/2026 ", "1/12/2026x", "", "//"] {
            let expected = (text.trim() == "01/12/2026").then_some(DECEMBER);
            assert_eq!(form.read_ms(text), expected, "{text}");
        }
        for wrong in ["", "yyyy", "dd/MM", "dd/dd/yyyy", "tt/MM/yyyy", "dd/MM/yyy"] {
            assert!(DateFormat::parse(wrong).is_err(), "{wrong}");
        }
    }
}
