//! What is spent since midnight and since the first of the month, in the zone of the server (accounts.md 1, rates.md 10).

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use tandem_rating::money::Money;

/// Spent by one account or phone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    /// UTC ms at which `day` begins anew.
    day_ends_ms: i64,
    day: Money,
    month_ends_ms: i64,
    month: Money,
}

impl Spent {
    /// What a start of the switch finds in the ledger.
    pub(crate) fn known(zone: &TimeZone, now_ms: i64, day: Money, month: Money) -> Spent {
        Spent { day_ends_ms: day_of(zone, now_ms).1, day, month_ends_ms: month_of(zone, now_ms).1, month }
    }

    /// (today, this month) at `now_ms`.
    pub(crate) fn at(&self, now_ms: i64) -> (Money, Money) {
        let live = |ends_ms: i64, sum: Money| if now_ms < ends_ms { sum } else { Money::ZERO };
        (live(self.day_ends_ms, self.day), live(self.month_ends_ms, self.month))
    }

    /// Counts a charge. A sum that leaves the range of money stays at its end: it only bounds calls.
    pub(crate) fn add(&mut self, zone: &TimeZone, now_ms: i64, charged: Money) {
        (self.day, self.month) = self.at(now_ms);
        // The calendar is asked once a day, not once a call.
        if now_ms >= self.day_ends_ms {
            self.day_ends_ms = day_of(zone, now_ms).1;
        }
        if now_ms >= self.month_ends_ms {
            self.month_ends_ms = month_of(zone, now_ms).1;
        }
        let sum = |sum: Money| sum.checked_add(charged).unwrap_or(sum);
        (self.day, self.month) = (sum(self.day), sum(self.month));
    }
}

/// Begin and end of the day of an instant, UTC ms. A day of a change of clocks has 23 or 25 hours.
pub fn day_of(zone: &TimeZone, at_ms: i64) -> (i64, i64) {
    span(zone, at_ms, |day| Some((day.clone(), day.tomorrow().ok()?)))
}

/// Begin and end of the month of an instant, UTC ms.
pub fn month_of(zone: &TimeZone, at_ms: i64) -> (i64, i64) {
    span(zone, at_ms, |day| {
        let first = day.first_of_month().ok()?.start_of_day().ok()?;
        let next = first.last_of_month().ok()?.tomorrow().ok()?.start_of_day().ok()?;
        Some((first, next))
    })
}

fn span(zone: &TimeZone, at_ms: i64, of: impl FnOnce(Zoned) -> Option<(Zoned, Zoned)>) -> (i64, i64) {
    let day = Timestamp::from_millisecond(at_ms).ok().and_then(|at| at.to_zoned(zone.clone()).start_of_day().ok());
    let ms = |at: &Zoned| at.timestamp().as_millisecond();
    // Out of the calendar: one span that never ends.
    day.and_then(of).map_or((i64::MIN, i64::MAX), |(from, to)| (ms(&from), ms(&to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn money(text: &str) -> Money {
        text.parse().unwrap()
    }

    #[test]
    fn days_and_months_follow_the_clocks_of_the_zone() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let hours = |(from, to): (i64, i64)| (to - from) / 3_600_000;
        assert_eq!(hours(day_of(&berlin, ms("2026-03-29T10:00:00Z"))), 23);
        assert_eq!(hours(day_of(&berlin, ms("2026-10-25T10:00:00Z"))), 25);
        assert_eq!(day_of(&berlin, ms("2026-11-21T23:30:00Z")).0, ms("2026-11-21T23:00:00Z"));
        assert_eq!(
            month_of(&berlin, ms("2026-10-05T12:00:00Z")),
            (ms("2026-09-30T22:00:00Z"), ms("2026-10-31T23:00:00Z"))
        );
        assert_eq!(month_of(&TimeZone::UTC, ms("2026-12-31T23:59:59Z")).1, ms("2027-01-01T00:00:00Z"));
    }

    #[test]
    fn what_is_spent_begins_anew_with_the_day_and_the_month() {
        let (zone, mut spent) = (TimeZone::UTC, Spent::default());
        spent.add(&zone, ms("2026-11-29T23:00:00Z"), money("1"));
        spent.add(&zone, ms("2026-11-30T01:00:00Z"), money("2"));
        assert_eq!(spent.at(ms("2026-11-30T23:59:59Z")), (money("2"), money("3")));
        assert_eq!(spent.at(ms("2026-12-01T00:00:00Z")), (Money::ZERO, Money::ZERO));
        spent.add(&zone, ms("2026-12-01T00:00:00Z"), money("4"));
        assert_eq!(spent.at(ms("2026-12-01T00:00:01Z")), (money("4"), money("4")));
    }
}
