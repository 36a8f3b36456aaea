//! Rate groups by time of day (spec billing.md 6.a): which window holds at an instant, and when that changes.
//!
//! Windows are in the wall clock of the server's zone, half-open, and may wrap midnight; then the weekday is that of the
//! instant itself. Durations are elapsed time: where the clock jumps, the windows jump with it.

use std::sync::Arc;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use tandem_rating::rate::Deck;

/// Seconds of a day without a change of the clock.
pub const DAY_S: u32 = 86_400;

/// When a rate group applies. What is not said holds always.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// First and last day, both included.
    pub dates: Option<(Date, Date)>,
    /// Bit 0 is Monday; 0 is every day.
    pub days: u8,
    /// From this second of the day on.
    pub from_s: u32,
    /// Up to this one; [`DAY_S`] is the end of the day. Not above `from_s`: over midnight.
    pub to_s: u32,
}

impl Window {
    /// Always.
    pub fn always() -> Window {
        Window { to_s: DAY_S, ..Window::default() }
    }

    fn holds(&self, date: Date, second: u32) -> bool {
        let day = date.weekday().to_monday_zero_offset();
        let dated = self.dates.is_none_or(|(first, last)| first <= date && date <= last);
        let timed = if self.from_s < self.to_s {
            (self.from_s..self.to_s).contains(&second)
        } else {
            second >= self.from_s || second < self.to_s
        };
        dated && timed && (self.days == 0 || self.days & (1 << day) != 0)
    }

    /// Most specific first: one date, dates, weekday, time only, always.
    fn level(&self) -> u8 {
        match self.dates {
            Some((first, last)) if first == last => 0,
            Some(_) => 1,
            None if self.days != 0 => 2,
            None if self.from_s != 0 || self.to_s != DAY_S => 3,
            None => 4,
        }
    }

    /// Seconds of a week.
    fn week_s(&self) -> u32 {
        let day_s = if self.from_s < self.to_s { self.to_s - self.from_s } else { DAY_S - self.from_s + self.to_s };
        day_s * if self.days == 0 { 7 } else { self.days.count_ones() }
    }
}

/// Days of the week, from Monday.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A period in words: dates, days and times, as far as they are said, and then the rate group.
///
/// `mon-fri 09:00-18:00 day`, `2026-12-24..2026-12-26 holiday`, `night`.
///
/// # Errors
/// One sentence with the word and what is allowed.
pub fn parse(text: &str) -> Result<(Window, &str), String> {
    let mut window = Window::always();
    let mut rest = text.trim();
    while let Some((word, behind)) = rest.split_once(char::is_whitespace) {
        if word.starts_with(|c: char| c.is_ascii_digit()) && word.contains(':') {
            (window.from_s, window.to_s) = times(word)?;
        } else if word.starts_with(|c: char| c.is_ascii_digit()) {
            let (first, last) = word.split_once("..").unwrap_or((word, word));
            let date = |text: &str| text.parse::<Date>().map_err(|_| format!("{text:?} is no date such as 2026-12-24"));
            let (first, last) = (date(first)?, date(last)?);
            if last < first {
                return Err(format!("{word:?} ends before it begins"));
            }
            window.dates = Some((first, last));
        } else if let Some(days) = days(word) {
            window.days = days;
        } else {
            break;
        }
        rest = behind.trim_start();
    }
    if rest.is_empty() {
        return Err("there is no rate group behind dates, days and times".to_owned());
    }
    Ok((window, rest))
}

fn times(word: &str) -> Result<(u32, u32), String> {
    let wrong = || format!("{word:?} is no time such as 09:00-18:00");
    let second = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let (hour, minute): (u32, u32) = (hour.parse().ok()?, minute.parse().ok()?);
        (minute < 60 && hour * 60 + minute <= 24 * 60).then_some(hour * 3600 + minute * 60)
    };
    let (from, to) = word.split_once('-').ok_or_else(wrong)?;
    let (from_s, to_s) = (second(from).ok_or_else(wrong)?, second(to).ok_or_else(wrong)?);
    // An end written 23:59 or 24:00 is the end of the day.
    let to_s = if to_s == DAY_S - 60 { DAY_S } else { to_s };
    if from_s == to_s || from_s == DAY_S {
        return Err(format!("{word:?} has no length"));
    }
    Ok((from_s, to_s))
}

/// `mon`, `mon-fri`, `sat,sun`; `None` for another word.
fn days(word: &str) -> Option<u8> {
    let day = |name: &str| DAYS.iter().position(|day| *day == name);
    let mut mask = 0;
    for part in word.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut at, last) = (day(first)?, day(last)?);
        loop {
            mask |= 1 << at;
            if at == last {
                break;
            }
            at = (at + 1) % DAYS.len();
        }
    }
    Some(mask)
}

/// A rate group and when it applies.
#[derive(Clone, Debug)]
pub struct Period {
    /// When.
    pub window: Window,
    /// Rate group.
    pub deck: Arc<Deck>,
}

/// The rate groups of an account by time.
#[derive(Clone, Debug)]
pub struct Calendar {
    /// Best first.
    periods: Vec<Period>,
    zone: TimeZone,
}

impl Calendar {
    /// Orders the periods by precedence; equal ones stay in the order they are given in.
    pub fn new(mut periods: Vec<Period>, zone: TimeZone) -> Calendar {
        periods.sort_by_key(|period| (period.window.level(), period.window.week_s()));
        Calendar { periods, zone }
    }

    /// The rate group at an instant, UTC ms; `None` when no period covers it: then the account cannot call.
    pub fn deck_at(&self, at_ms: i64) -> Option<&Arc<Deck>> {
        let at = Timestamp::from_millisecond(at_ms).ok()?.to_zoned(self.zone.clone());
        let time = at.time();
        let second = u32::try_from(i32::from(time.hour()) * 3600 + i32::from(time.minute()) * 60).unwrap_or(0)
            + u32::try_from(time.second()).unwrap_or(0);
        let found = self.periods.iter().find(|period| period.window.holds(at.date(), second));
        found.map(|period| &period.deck)
    }

    /// The rate groups of all periods.
    pub fn decks(&self) -> impl Iterator<Item = &Deck> {
        self.periods.iter().map(|period| &*period.deck)
    }

    /// Instants after `from_ms` and before `until_ms` at which another period may hold, in order: ends and beginnings of
    /// windows, midnights, and changes of the clock.
    pub fn edges(&self, from_ms: i64, until_ms: i64) -> Vec<i64> {
        let mut edges = Vec::new();
        let (Ok(from), Ok(until)) = (Timestamp::from_millisecond(from_ms), Timestamp::from_millisecond(until_ms))
        else {
            return edges;
        };
        edges.extend(
            self.zone.following(from).map(|t| t.timestamp()).take_while(|t| *t < until).map(Timestamp::as_millisecond),
        );
        let mut seconds: Vec<u32> =
            self.periods.iter().flat_map(|p| [p.window.from_s, p.window.to_s % DAY_S]).collect();
        seconds.push(0);
        seconds.sort_unstable();
        seconds.dedup();
        let last = until.to_zoned(self.zone.clone()).date();
        let mut date = from.to_zoned(self.zone.clone()).date();
        while date <= last {
            for second in &seconds {
                let (hour, minute) = ((second / 3600) as i8, (second / 60 % 60) as i8);
                let Ok(time) = Time::new(hour, minute, (second % 60) as i8, 0) else { continue };
                // A wall time that the clock shows twice begins a window twice; one that it skips does so at the jump, which
                // is an edge of its own.
                let ambiguous = self.zone.to_ambiguous_timestamp(date.to_datetime(time));
                edges.extend(
                    [ambiguous.earlier(), ambiguous.later()].into_iter().flatten().map(Timestamp::as_millisecond),
                );
            }
            let Ok(next) = date.checked_add(1.day()) else { break };
            date = next;
        }
        edges.retain(|edge| (from_ms + 1..until_ms).contains(edge));
        edges.sort_unstable();
        edges.dedup();
        edges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deck(name: &str) -> Arc<Deck> {
        Arc::new(Deck::build(name, Vec::new()).unwrap())
    }

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn berlin(windows: &[(&str, Window)]) -> Calendar {
        let periods = windows.iter().map(|(name, window)| Period { window: window.clone(), deck: deck(name) });
        Calendar::new(periods.collect(), TimeZone::get("Europe/Berlin").unwrap())
    }

    fn hours(from: u32, to: u32) -> Window {
        Window { from_s: from * 3600, to_s: to * 3600, ..Window::default() }
    }

    fn at(calendar: &Calendar, text: &str) -> String {
        calendar.deck_at(ms(text)).map_or("none", |deck| deck.name()).to_owned()
    }

    #[test]
    fn the_most_specific_window_wins_and_uncovered_time_has_none() {
        let holiday: Date = "2026-12-25".parse().unwrap();
        let calendar = berlin(&[
            ("night", hours(18, 9)),
            ("weekday", Window { days: 0b001_1111, ..hours(9, 17) }),
            ("christmas", Window { dates: Some((holiday, holiday)), ..Window::always() }),
            (
                "december",
                Window { dates: Some(("2026-12-01".parse().unwrap(), "2026-12-31".parse().unwrap())), ..hours(0, 24) },
            ),
        ]);
        // Winter: one hour ahead of UTC. 2026-11-23 is a Monday, 2026-11-22 a Sunday.
        assert_eq!(at(&calendar, "2026-11-23T08:00:00Z"), "weekday");
        assert_eq!(at(&calendar, "2026-11-23T07:59:59Z"), "night");
        assert_eq!(at(&calendar, "2026-11-23T16:30:00Z"), "none");
        assert_eq!(at(&calendar, "2026-11-22T10:00:00Z"), "none", "a Sunday");
        assert_eq!(at(&calendar, "2026-11-22T22:59:59Z"), "night");
        assert_eq!(at(&calendar, "2026-12-25T10:00:00Z"), "christmas");
        assert_eq!(at(&calendar, "2026-12-24T10:00:00Z"), "december");
        assert_eq!(at(&calendar, "2026-12-31T23:00:00Z"), "night", "the last day is included, the next not");
        // Same level: the narrower.
        let two = berlin(&[("wide", hours(8, 20)), ("narrow", hours(9, 10))]);
        assert_eq!(at(&two, "2026-11-23T08:30:00Z"), "narrow");
    }

    #[test]
    fn periods_are_read_from_words_and_mistakes_are_named() {
        assert_eq!(parse("night"), Ok((Window::always(), "night")));
        let (window, group) = parse("sat-mon,wed 18:00-09:00 off peak").unwrap();
        assert_eq!((window.days, window.from_s, window.to_s, group), (0b110_0101, 64_800, 32_400, "off peak"));
        let (window, _) = parse("2026-12-24..2026-12-26 08:30-23:59 holiday").unwrap();
        assert_eq!((window.dates.map(|d| d.1.day()), window.to_s), (Some(26), DAY_S));
        for (text, word) in [
            ("25:00-26:00 x", "25:00"),
            ("09:00-09:00 x", "no length"),
            ("2026-13-01 x", "no date"),
            ("2026-12-02..2026-12-01 x", "before"),
            ("", "no rate group"),
        ] {
            assert!(parse(text).unwrap_err().contains(word), "{text}");
        }
    }

    #[test]
    fn edges_of_the_day_of_a_clock_change_are_where_the_wall_clock_says() {
        let calendar = berlin(&[("day", hours(6, 22)), ("night", hours(22, 6))]);
        // Spring: 02:00 becomes 03:00 at 01:00 UTC; 06:00 is 04:00 UTC that day.
        let spring = calendar.edges(ms("2026-03-28T23:00:00Z"), ms("2026-03-29T12:00:00Z"));
        assert_eq!(spring, [ms("2026-03-29T01:00:00Z"), ms("2026-03-29T04:00:00Z")]);
        // Autumn: 03:00 becomes 02:00 at 01:00 UTC; 06:00 is 05:00 UTC.
        let autumn = calendar.edges(ms("2026-10-24T22:00:00Z"), ms("2026-10-25T12:00:00Z"));
        assert_eq!(autumn, [ms("2026-10-25T01:00:00Z"), ms("2026-10-25T05:00:00Z")]);
        assert_eq!(at(&calendar, "2026-10-25T04:59:59Z"), "night");
        assert_eq!(at(&calendar, "2026-10-25T05:00:00Z"), "day");
    }

    #[test]
    fn a_window_that_begins_in_the_hour_that_comes_twice_begins_twice() {
        let half = Window { from_s: 2 * 3600 + 1800, to_s: 3 * 3600, ..Window::default() };
        let calendar = berlin(&[("half", half), ("rest", Window::always())]);
        for (text, name) in [
            ("2026-10-25T00:29:59Z", "rest"),
            ("2026-10-25T00:30:00Z", "half"),
            ("2026-10-25T01:00:00Z", "rest"),
            ("2026-10-25T01:30:00Z", "half"),
            ("2026-10-25T02:00:00Z", "rest"),
        ] {
            assert_eq!(at(&calendar, text), name, "{text}");
        }
        let edges = calendar.edges(ms("2026-10-25T00:00:00Z"), ms("2026-10-25T03:00:00Z"));
        for text in ["2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"] {
            assert!(edges.contains(&ms(text)), "{text}: {edges:?}");
        }
    }
}
