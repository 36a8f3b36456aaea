//! The sums of a day as they grow: whole numbers in memory, written once a batch (rows of [`crate::report`]).
//!
//! A row is read from the database when a batch first adds to it and is known from then on, so that a batch only writes. Who
//! rolls a batch back forgets all of it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::LazyLock;

use foldhash::fast::RandomState;
use rusqlite::{Connection, OptionalExtension};

use crate::amount;
use crate::cdr_table::{self, Key};
use crate::error::StoreError;
use crate::payload::{FIELDS, Field};
use crate::report::{AMOUNTS, COLUMNS, NUMBERS, ReportBy, ReportSums};
use crate::verify;

/// Rows that are known without reading them, some 300 bytes each: those of a few days of a switch with hundreds of accounts
/// and gateways. With more they are all forgotten at the end of a batch.
const KEPT_MAX: usize = 20_000;

/// Place of `agent_fee` among the amounts.
const AGENT_FEE: usize = 3;

/// Fields of a CDR that reports are made of: texts, numbers, money.
pub(crate) const TEXTS: [&str; 7] =
    ["account", "agent_account", "vendor_account", "caller_gateway", "callee_gateway", "callee_area", "legs"];
pub(crate) const INTS: [&str; 10] = [
    "cdr_level",
    "connect_ms",
    "end_ms",
    "end_reason",
    "call_level",
    "hold_s",
    "billed_s",
    "suite_s",
    "agent_s",
    "vendor_s",
];
pub(crate) const MONEY: [&str; AMOUNTS] =
    ["fee", "tax", "suite_fee", "agent_fee", "agent_tax", "agent_suite_fee", "vendor_fee", "vendor_tax", "margin"];

type Places = ([usize; TEXTS.len()], [usize; INTS.len()], [usize; MONEY.len()]);
static PLACES: LazyLock<Places> = LazyLock::new(|| {
    let place = |name| cdr_table::place(name).unwrap_or(FIELDS);
    (TEXTS.map(place), INTS.map(place), MONEY.map(place))
});

/// What reports need of one CDR.
pub(crate) struct Facts<'a> {
    /// UTF-8.
    pub(crate) texts: [&'a [u8]; TEXTS.len()],
    pub(crate) ints: [Option<i64>; INTS.len()],
    pub(crate) money: [&'a [u8]; MONEY.len()],
}

impl<'a> Facts<'a> {
    pub(crate) fn of(fields: &[Field<'a>; FIELDS]) -> Facts<'a> {
        let (texts, ints, money) = &*PLACES;
        let text = |index: &usize| match fields.get(*index) {
            Some(Field::Text(text)) => text,
            _ => &b""[..],
        };
        let int = |index: &usize| match fields.get(*index) {
            Some(Field::Int(number)) => Some(*number),
            _ => None,
        };
        Facts {
            texts: std::array::from_fn(|n| text(&texts[n])),
            ints: std::array::from_fn(|n| int(&ints[n])),
            money: std::array::from_fn(|n| text(&money[n])),
        }
    }
}

/// What a CDR adds to a row.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    numbers: [i64; NUMBERS],
    /// In units of 10^-8. Each is below 2^67, so that no number of CDRs that could be stored overflows.
    amounts: [i128; AMOUNTS],
}

impl Sums {
    fn add(&mut self, other: &Sums) {
        for (sum, number) in self.numbers.iter_mut().zip(&other.numbers) {
            *sum = sum.saturating_add(*number);
        }
        for (sum, amount) in self.amounts.iter_mut().zip(&other.amounts) {
            *sum = sum.saturating_add(*amount);
        }
    }
}

/// A row.
#[derive(Debug)]
struct Tally {
    by: ReportBy,
    key: Box<[u8]>,
    sums: Sums,
    /// Whether what the database has is in `sums`.
    is_whole: bool,
    is_touched: bool,
}

/// The rows of a day.
#[derive(Debug, Default)]
struct Day {
    /// Places in `tallies`, by division and key.
    places: [HashMap<Box<[u8]>, usize, RandomState>; ReportBy::ALL.len()],
    tallies: Vec<Tally>,
    /// Those that differ from the database.
    touched: Vec<usize>,
}

impl Day {
    fn add(&mut self, by: ReportBy, key: &[u8], sums: &Sums) {
        let Some(places) = self.places.get_mut(by as usize) else { return };
        let place = match places.get(key) {
            Some(place) => *place,
            None => {
                let place = self.tallies.len();
                places.insert(key.into(), place);
                let (sums, is_whole, is_touched) = (Sums::default(), false, false);
                self.tallies.push(Tally { by, key: key.into(), sums, is_whole, is_touched });
                place
            }
        };
        let Some(tally) = self.tallies.get_mut(place) else { return };
        tally.sums.add(sums);
        if !tally.is_touched {
            tally.is_touched = true;
            self.touched.push(place);
        }
    }
}

/// The sums of some calls, by day.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    days: HashMap<i64, Day>,
}

impl Tallies {
    /// Counts a CDR of `day`.
    pub(crate) fn add(&mut self, day: i64, zone_offset_ms: i64, facts: &Facts<'_>) -> Result<(), StoreError> {
        let int = |n: usize| facts.ints[n].unwrap_or(0);
        // The record of an agent, should there be such, is no call of its own.
        if int(0) != 0 {
            return Ok(());
        }
        let numbers = [1, i64::from(facts.ints[1].is_some()), int(5), int(6), int(7), int(8), int(9)];
        let mut sums = Sums { numbers, amounts: [0; AMOUNTS] };
        for (sum, text) in sums.amounts.iter_mut().zip(facts.money) {
            if !matches!(text, b"0" | b"") {
                *sum = amount::units("of a report", "an amount of a CDR", text)?;
            }
        }
        let day_table = day;
        let day = self.days.entry(day).or_default();
        let [account, agent, vendor, mapping, routing, area, legs] = facts.texts;
        // Agents above the direct one are there only with that one.
        if !agent.is_empty() {
            let above = verify::further_agents(std::str::from_utf8(legs).unwrap_or_default()).map_err(|cause| {
                StoreError::Row {
                    table: cdr_table::table_name(day_table),
                    row: "of a report".to_owned(),
                    column: "legs".to_owned(),
                    cause,
                }
            })?;
            for (account, due) in above {
                let mut only = Sums { numbers: [1, numbers[1], 0, 0, 0, 0, 0], ..Sums::default() };
                only.amounts[AGENT_FEE] = amount::of(due);
                day.add(ReportBy::FurtherAgent, account.as_bytes(), &only);
            }
        }
        day.add(ReportBy::Total, b"", &sums);
        day.add(ReportBy::Account, account, &sums);
        day.add(ReportBy::Agent, agent, &sums);
        day.add(ReportBy::Vendor, vendor, &sums);
        day.add(ReportBy::Mapping, mapping, &sums);
        day.add(ReportBy::Routing, routing, &sums);
        day.add(ReportBy::Area, area, &sums);
        day.add(ReportBy::EndReason, Key::number(int(3)).as_ref(), &sums);
        let hour = int(2).saturating_add(zone_offset_ms).div_euclid(3_600_000).rem_euclid(24) as u8;
        day.add(ReportBy::Hour, &[b'0' + hour / 10, b'0' + hour % 10], &sums);
        day.add(ReportBy::Level, Key::number(int(4)).as_ref(), &sums);
        Ok(())
    }

    /// Writes the rows that were added to.
    pub(crate) fn store(&mut self, connection: &Connection, path: &Path) -> Result<(), StoreError> {
        let failed = || StoreError::sql(path, "write table report_day");
        let mut read = connection
            .prepare_cached(&format!(
                "SELECT {COLUMNS} FROM report_day WHERE day = ?1 AND divided_by = ?2 AND key = ?3"
            ))
            .map_err(failed())?;
        let mut write = connection
            .prepare_cached(&format!(
                "INSERT OR REPLACE INTO report_day (day, divided_by, key, {COLUMNS}) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            ))
            .map_err(failed())?;
        let mut text = String::new();
        for (number, day) in &mut self.days {
            for place in day.touched.drain(..) {
                let Some(tally) = day.tallies.get_mut(place) else { continue };
                let word = tally.by.as_str();
                if !tally.is_whole {
                    let stored = read
                        .query_row((number, word, cdr_table::as_text(&tally.key)), |row| ReportSums::read(row, 0))
                        .optional()
                        .map_err(failed())?;
                    if let Some((stored, amounts)) = stored {
                        tally.sums.add(&Sums::of(stored.with(&amounts)?));
                    }
                }
                write.raw_bind_parameter(1, *number).map_err(failed())?;
                write.raw_bind_parameter(2, word).map_err(failed())?;
                write.raw_bind_parameter(3, cdr_table::as_text(&tally.key)).map_err(failed())?;
                for (mark, number) in (4..).zip(tally.sums.numbers) {
                    write.raw_bind_parameter(mark, number).map_err(failed())?;
                }
                for (mark, units) in (4 + NUMBERS..).zip(tally.sums.amounts) {
                    text.clear();
                    amount::write(&mut text, units).map_err(|error| out_of_range(units, &error.to_string()))?;
                    write.raw_bind_parameter(mark, &text).map_err(failed())?;
                }
                write.raw_execute().map_err(failed())?;
                (tally.is_whole, tally.is_touched) = (true, false);
            }
        }
        if self.days.values().map(|day| day.tallies.len()).sum::<usize>() > KEPT_MAX {
            self.days.clear();
        }
        Ok(())
    }

    /// The rows of `day`, by division and key.
    pub(crate) fn rows(&self, day: i64) -> Result<BTreeMap<(ReportBy, String), ReportSums>, StoreError> {
        let tallies = self.days.get(&day).into_iter().flat_map(|day| &day.tallies);
        tallies
            .map(|tally| Ok(((tally.by, String::from_utf8_lossy(&tally.key).into_owned()), tally.sums.report()?)))
            .collect()
    }
}

impl Sums {
    fn of(mut report: ReportSums) -> Sums {
        let numbers = report.numbers().map(|number| *number);
        Sums { numbers, amounts: report.amounts().map(|amount| amount::of(*amount)) }
    }

    fn report(&self) -> Result<ReportSums, StoreError> {
        let mut report = ReportSums::default();
        for (number, sum) in report.numbers().into_iter().zip(self.numbers) {
            *number = sum;
        }
        for (amount, units) in report.amounts().into_iter().zip(self.amounts) {
            *amount = amount::money(units).map_err(|error| out_of_range(units, &error.to_string()))?;
        }
        Ok(report)
    }
}

fn out_of_range(units: i128, cause: &str) -> StoreError {
    StoreError::Money {
        account: "of a report".to_owned(),
        what: format!("a sum of {units} units of 10^-8"),
        cause: cause.to_owned(),
    }
}
