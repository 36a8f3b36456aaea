//! Days, hours and the clock changes of a few zones, from the calendar's own rules. It shares no code with the library that
//! the switch asks, which it checks.

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;

/// A zone of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Zone {
    /// UTC.
    #[default]
    Utc,
    /// One hour east, two from the last Sunday of March to that of October, 01:00 UTC.
    Berlin,
    /// Five hours west, four from the second Sunday of March 07:00 UTC to the first of November 06:00 UTC.
    NewYork,
    /// Ten and a half hours east, eleven from the first Sunday of October to that of April: half an hour, in the other half of
    /// the year.
    LordHowe,
}

/// All of them.
pub const ZONES: [Zone; 4] = [Zone::Utc, Zone::Berlin, Zone::NewYork, Zone::LordHowe];

impl Zone {
    /// Its name in the table of zones.
    pub const fn name(self) -> &'static str {
        match self {
            Zone::Utc => "UTC",
            Zone::Berlin => "Europe/Berlin",
            Zone::NewYork => "America/New_York",
            Zone::LordHowe => "Australia/Lord_Howe",
        }
    }

    /// How far the wall clock is ahead of UTC at an instant, ms.
    pub fn offset_ms(self, at_ms: i64) -> i64 {
        let (year, _, _) = date_of(at_ms.div_euclid(DAY_MS));
        let [first, second] = self.changes(year);
        let between = (first..second).contains(&at_ms);
        match self {
            Zone::Utc => 0,
            Zone::Berlin => HOUR_MS * if between { 2 } else { 1 },
            Zone::NewYork => -HOUR_MS * if between { 4 } else { 5 },
            // Winter is in the middle of the year.
            Zone::LordHowe => HOUR_MS / 2 * if between { 21 } else { 22 },
        }
    }

    /// The two changes of a year, UTC ms.
    pub fn changes(self, year: i64) -> [i64; 2] {
        let at = |month, nth, hour_ms| sunday(year, month, nth) * DAY_MS + hour_ms;
        match self {
            Zone::Utc => [i64::MAX; 2],
            Zone::Berlin => [at(3, 0, HOUR_MS), at(10, 0, HOUR_MS)],
            Zone::NewYork => [at(3, 2, 7 * HOUR_MS), at(11, 1, 6 * HOUR_MS)],
            // 02:00 on the clocks of before: of eleven hours, and of ten and a half.
            Zone::LordHowe => [at(4, 1, -9 * HOUR_MS), at(10, 1, -8 * HOUR_MS - HOUR_MS / 2)],
        }
    }

    /// The midnight at which a day begins, UTC ms. No zone here changes its clocks at midnight.
    pub fn midnight(self, day: i64) -> i64 {
        let about_ms = day * DAY_MS - self.offset_ms(day * DAY_MS);
        day * DAY_MS - self.offset_ms(about_ms)
    }

    /// Begin of the month of an instant, UTC ms.
    pub fn month_begins(self, at_ms: i64) -> i64 {
        let (year, month, _) = date_of(self.local(at_ms).day);
        self.midnight(days_to(year, month))
    }

    /// End of the month of an instant, UTC ms.
    pub fn month_ends(self, at_ms: i64) -> i64 {
        let (year, month, _) = date_of(self.local(at_ms).day);
        self.midnight(days_to(year, month + 1))
    }

    /// What the clock on the wall shows.
    pub fn local(self, at_ms: i64) -> Local {
        let shown_ms = at_ms + self.offset_ms(at_ms);
        Local { day: shown_ms.div_euclid(DAY_MS), second: shown_ms.rem_euclid(DAY_MS) / 1_000 }
    }
}

/// A wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// Days since 1970-01-01.
    pub day: i64,
    /// Second of the day.
    pub second: i64,
}

impl Local {
    /// Day of the week, 0 is Monday.
    pub fn weekday(self) -> u32 {
        // 1970-01-01 was a Thursday.
        (self.day + 3).rem_euclid(7) as u32
    }
}

/// Year, month and day of a number of days since 1970-01-01.
pub fn date_of(days: i64) -> (i64, i64, i64) {
    let mut year = 1970 + days.div_euclid(366);
    while days_to(year + 1, 1) <= days {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days_to(year, month + 1) <= days {
        month += 1;
    }
    (year, month, days - days_to(year, month) + 1)
}

/// Days from 1970-01-01 to the first of a month; the month behind December is the next January.
pub fn days_to(year: i64, month: i64) -> i64 {
    let leap = |year: i64| year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0);
    let before =
        |year: i64| year * 365 + (year + 3).div_euclid(4) - (year + 99).div_euclid(100) + (year + 399).div_euclid(400);
    let lengths = [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    before(year) - before(1970) + lengths.iter().take(month as usize - 1).sum::<i64>()
}

/// Days since 1970-01-01 of the `nth` Sunday of a month; 0 is the last.
fn sunday(year: i64, month: i64, nth: i64) -> i64 {
    let weekday = |day: i64| (day + 3).rem_euclid(7);
    if nth == 0 {
        let last = days_to(year, month + 1) - 1;
        return last - (weekday(last) + 1) % 7;
    }
    let first = days_to(year, month);
    first + (6 - weekday(first)) + 7 * (nth - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_the_calendar() {
        assert_eq!(date_of(0), (1970, 1, 1));
        assert_eq!(date_of(-1), (1969, 12, 31));
        assert_eq!(date_of(11_016), (2000, 2, 29));
        assert_eq!(date_of(20_779), (2026, 11, 22));
        for day in -200_000..200_000 {
            let (year, month, of_month) = date_of(day);
            assert_eq!(days_to(year, month) + of_month - 1, day);
        }
    }

    /// The same instants by the zone's table, hour by hour over three years.
    #[test]
    fn clocks_change_when_the_table_of_zones_says() {
        for zone in ZONES {
            let table = jiff::tz::TimeZone::get(zone.name()).unwrap();
            let from_ms = days_to(2025, 1) * DAY_MS;
            for hour in 0..3 * 365 * 24 * 2 {
                let at_ms = from_ms + hour * HOUR_MS / 2;
                let at = jiff::Timestamp::from_millisecond(at_ms).unwrap();
                assert_eq!(zone.offset_ms(at_ms), i64::from(table.to_offset(at).seconds()) * 1_000, "{zone:?} {at}");
            }
        }
    }
}
