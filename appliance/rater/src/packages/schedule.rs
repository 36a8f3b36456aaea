//! When periods begin and end, in the zone of the server.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use tandem_rating::package::{Package, RentType};

/// The period that begins at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// Its end, UTC ms.
    pub(super) to_ms: i64,
    /// Days of it, of `whole` days of the calendar's period that it is in: not the same for a first period in part.
    pub(super) part: i64,
    pub(super) whole: i64,
}

/// The period that begins at `from_ms`. Those of a partial package are those of the calendar. Of others each begins on the
/// day of the month that the order began on, or on the last of a month that is shorter.
pub(super) fn span(zone: &TimeZone, package: &Package, effective_ms: i64, from_ms: i64) -> Span {
    // Beyond the calendar: a period that never ends.
    let never = Span { to_ms: i64::MAX, part: 1, whole: 1 };
    let count = i64::from(package.rent_period);
    if package.rent_type == RentType::Once {
        return Span { to_ms: from_ms.saturating_add(count.saturating_mul(1000)), ..never };
    }
    let ends = || -> Option<Span> {
        let from = at(zone, from_ms)?.date();
        let anchor = at(zone, effective_ms)?.date();
        let first = if package.partial { grid(package.rent_type, from) } else { from };
        let to = match package.rent_type {
            RentType::Day | RentType::Once => from.checked_add(jiff::Span::new().try_days(count).ok()?).ok()?,
            RentType::Month | RentType::Year => {
                let months = if package.rent_type == RentType::Year { count.checked_mul(12)? } else { count };
                let month = first.first_of_month().checked_add(jiff::Span::new().try_months(months).ok()?).ok()?;
                let day = if package.partial { 1 } else { anchor.day() };
                Date::new(month.year(), month.month(), day.min(month.days_in_month())).ok()?
            }
        };
        let days = |from: Date| from.until(to).map(|span| i64::from(span.get_days())).ok();
        let to_ms = to.to_zoned(zone.clone()).ok()?.start_of_day().ok()?.timestamp().as_millisecond();
        Some(Span { to_ms, part: days(from)?, whole: days(first)? })
    };
    ends().filter(|span| span.to_ms > from_ms && span.part > 0 && span.whole > 0).unwrap_or(never)
}

/// The first day of the calendar's month or year.
fn grid(rent_type: RentType, date: Date) -> Date {
    match rent_type {
        RentType::Day | RentType::Once => date,
        RentType::Month => date.first_of_month(),
        RentType::Year => date.first_of_year(),
    }
}

/// Number and begin of the month after an instant: months since the year 0.
pub(super) fn next_month(zone: &TimeZone, at_ms: i64) -> (u64, i64) {
    let begins = || -> Option<(u64, i64)> {
        let date = at(zone, at_ms)?.date().first_of_month().checked_add(1.month()).ok()?;
        let begin = date.to_zoned(zone.clone()).ok()?.start_of_day().ok()?;
        let months = i64::from(date.year()) * 12 + i64::from(date.month()) - 1;
        Some((u64::try_from(months).ok()?, begin.timestamp().as_millisecond()))
    };
    begins().unwrap_or((u64::MAX, i64::MAX))
}

/// Seconds of the day by the clock on the wall.
pub(super) fn second_of_day(zone: &TimeZone, at_ms: i64) -> u32 {
    at(zone, at_ms).map_or(0, |at| {
        let time = at.time();
        u32::try_from(i32::from(time.hour()) * 3600 + i32::from(time.minute()) * 60 + i32::from(time.second()))
            .unwrap_or(0)
    })
}

/// The day of an instant.
pub(super) fn day_text(zone: &TimeZone, at_ms: i64) -> String {
    at(zone, at_ms).map_or_else(|| at_ms.to_string(), |at| at.date().to_string())
}

/// First and last day of a period.
pub(super) fn days_text(zone: &TimeZone, from_ms: i64, to_ms: i64) -> String {
    format!("{} to {}", day_text(zone, from_ms), day_text(zone, to_ms.saturating_sub(1)))
}

/// Midnight before an instant, UTC ms.
pub(super) fn midnight(zone: &TimeZone, at_ms: i64) -> i64 {
    crate::day_of(zone, at_ms).0
}

fn at(zone: &TimeZone, at_ms: i64) -> Option<Zoned> {
    Timestamp::from_millisecond(at_ms).ok().map(|at| at.to_zoned(zone.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn package(rent_type: RentType, rent_period: u32, partial: bool) -> Package {
        Package { rent_type, rent_period, partial, ..Package::default() }
    }

    /// The days on which the first periods begin, and the part of the first.
    fn days(package: &Package, zone: &TimeZone, effective: &str, count: usize) -> (Vec<String>, (i64, i64)) {
        let effective_ms = ms(effective);
        let (mut from_ms, mut begins) = (effective_ms, Vec::new());
        let first = span(zone, package, effective_ms, from_ms);
        for _ in 0..count {
            begins.push(day_text(zone, from_ms));
            from_ms = span(zone, package, effective_ms, from_ms).to_ms;
        }
        (begins, (first.part, first.whole))
    }

    #[test]
    fn months_begin_on_the_day_of_the_order_or_with_the_calendar() {
        let utc = TimeZone::UTC;
        let (begins, part) = days(&package(RentType::Month, 1, false), &utc, "2027-01-31T00:00:00Z", 4);
        assert_eq!(begins, ["2027-01-31", "2027-02-28", "2027-03-31", "2027-04-30"]);
        assert_eq!(part, (28, 28), "a whole period costs the whole rent");
        let (begins, part) = days(&package(RentType::Month, 1, true), &utc, "2026-11-22T14:00:00Z", 3);
        assert_eq!(begins, ["2026-11-22", "2026-12-01", "2027-01-01"]);
        assert_eq!(part, (9, 30), "the 22nd to the 30th");
        let (begins, part) = days(&package(RentType::Month, 3, true), &utc, "2026-11-22T00:00:00Z", 2);
        assert_eq!((begins[1].as_str(), part), ("2027-02-01", (71, 92)));
        let (begins, _) = days(&package(RentType::Year, 1, false), &utc, "2028-02-29T00:00:00Z", 3);
        assert_eq!(begins, ["2028-02-29", "2029-02-28", "2030-02-28"]);
        let (begins, part) = days(&package(RentType::Year, 1, true), &utc, "2026-07-02T00:00:00Z", 2);
        assert_eq!((begins[1].as_str(), part), ("2027-01-01", (183, 365)));
        let (begins, _) = days(&package(RentType::Day, 7, true), &utc, "2026-11-22T14:00:00Z", 3);
        assert_eq!(begins, ["2026-11-22", "2026-11-29", "2026-12-06"]);
    }

    #[test]
    fn days_follow_the_clocks_of_the_zone() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let day = package(RentType::Day, 1, false);
        let long = span(&berlin, &day, ms("2026-10-24T22:00:00Z"), ms("2026-10-24T22:00:00Z"));
        assert_eq!(long.to_ms, ms("2026-10-25T23:00:00Z"), "25 hours");
        let once = span(&berlin, &package(RentType::Once, 90, false), 0, 1_000);
        assert_eq!((once.to_ms, once.part, once.whole), (91_000, 1, 1));
        assert_eq!(next_month(&berlin, ms("2026-11-22T00:00:00Z")), (2026 * 12 + 11, ms("2026-11-30T23:00:00Z")));
        assert_eq!(second_of_day(&berlin, ms("2026-11-22T23:00:01Z")), 1);
    }

    #[test]
    fn beyond_the_calendar_a_period_never_ends() {
        for rent_type in [RentType::Day, RentType::Month, RentType::Year] {
            let span = span(&TimeZone::UTC, &package(rent_type, u32::MAX, false), 0, 0);
            assert_eq!((span.to_ms, span.part, span.whole), (i64::MAX, 1, 1));
        }
    }
}
