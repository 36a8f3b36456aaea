//! One row on its way from cells to rates.

use csv::ByteRecord;
use rust_decimal::Decimal;

use super::codes::{self, INTERNATIONAL};
use super::columns::{Column, Header};
use super::{INCREMENT_DEFAULT_S, RowError};
use crate::error::OutOfRange;
use crate::fee::Section;
use crate::iso_time::{self, DateFormat, Moment};
use crate::money::{self, MoneyError};
use crate::rate::Rate;
use crate::sheet::SheetOptions;

/// Longest value that is repeated in an error.
const VALUE_SHOWN_MAX: usize = 60;

/// Words for a destination that may not be called.
const LOCKED: [&str; 18] = [
    "1",
    "yes",
    "y",
    "on",
    "true",
    "blocked",
    "block",
    "closed",
    "close",
    "barred",
    "locked",
    "lock",
    "suspended",
    "inactive",
    "disabled",
    "discontinued",
    "deleted",
    "not available",
];

/// Words for one that may; carriers also say there what became of the price.
const OPEN: [&str; 30] = [
    "",
    "0",
    "no",
    "n",
    "off",
    "false",
    "open",
    "active",
    "available",
    "ok",
    "enabled",
    "unblocked",
    "unlocked",
    "unlock",
    "new",
    "current",
    "increase",
    "increased",
    "decrease",
    "decreased",
    "unchanged",
    "no change",
    "same",
    "changed",
    "change",
    "pending",
    "pending increase",
    "pending decrease",
    "effective",
    "normal",
];

/// What is the same for all rows of a sheet.
pub(super) struct Reading<'a> {
    pub(super) header: &'a Header,
    pub(super) options: &'a SheetOptions,
    date_format: Option<DateFormat>,
    decimal_comma: bool,
    international: String,
    /// Of the sheet, when no cell says another.
    currency: Option<String>,
    /// Of [`SheetOptions::exchange_rate`].
    foreign: Option<String>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(header: &'a Header, options: &'a SheetOptions) -> Reading<'a> {
        let template = options.template_named(header.template.as_deref());
        let of_template =
            |text: fn(&crate::sheet::Template) -> &String| template.map(text).filter(|text| !text.is_empty()).cloned();
        let date_format =
            options.date_format.clone().or_else(|| DateFormat::parse(&of_template(|t| &t.date_format)?).ok());
        let international = options.international_prefix.clone().or_else(|| of_template(|t| &t.international_prefix));
        let international = match international.as_deref() {
            None => INTERNATIONAL.to_owned(),
            Some("none") => String::new(),
            Some(digits) => digits.to_owned(),
        };
        let named = options.currency.clone().or_else(|| of_template(|t| &t.currency)).map(|code| code.to_uppercase());
        let currency = header.currency.map(str::to_owned).or_else(|| named.clone());
        Reading {
            header,
            options,
            date_format,
            decimal_comma: options.decimal_comma || template.is_some_and(|t| t.decimal_comma),
            international,
            currency,
            foreign: named.filter(|code| options.own_currency.as_ref() != Some(code)),
        }
    }
}

/// One row; every bad cell is noted, not only the first.
pub(super) struct RowReader<'a> {
    pub(super) reading: &'a Reading<'a>,
    pub(super) record: &'a ByteRecord,
    pub(super) line: u64,
    pub(super) errors: &'a mut Vec<RowError>,
}

impl RowReader<'_> {
    /// Puts the rates of the row behind `rows`, one for each of its codes; none when something is wrong.
    pub(super) fn rates(&mut self, rows: &mut Vec<Rate>) {
        let errors_before = self.errors.len();
        let header = self.reading.header;
        if self.record.len() != header.names.len() {
            let rule = format!("{} cells, but the header has {}", self.record.len(), header.names.len());
            self.refuse_row(rule);
            return;
        }
        let (first_s, next_s) = self.blocks();
        let whole = header.prefix_column() == Column::FeePrefix;
        let fee_prefix = if whole { String::new() } else { self.digits(Column::FeePrefix) };
        let codes = if whole { self.list(Column::FeePrefix, "") } else { self.codes() };
        let (rate_per_min, is_closed) = self.rate_per_min(next_s);
        let mut rate = Rate {
            rate_id: 0,
            fee_prefix,
            area_code: String::new(),
            area_name: self.area_name(),
            level: self.level(),
            rate_per_min,
            first_s,
            next_s,
            sections: self.sections(),
            conn_fee: self.amount(Column::ConnFee),
            tax_pct: self.plain_amount(Column::Tax),
            lock: self.lock() || is_closed,
            effective_from_ms: self.instant(Column::EffectiveFrom),
            effective_to_ms: self.instant(Column::EffectiveTo),
            memo: self.text(Column::Memo).to_owned(),
        };
        if self.errors.len() > errors_before {
            return;
        }
        self.exchange(&mut rate);
        let last = codes.len().saturating_sub(1);
        for (n, code) in codes.into_iter().enumerate() {
            let mut one = if n == last { std::mem::take(&mut rate) } else { rate.clone() };
            *(if whole { &mut one.fee_prefix } else { &mut one.area_code }) = code;
            // The same rules as for a row from anywhere else: ranges, order of validity, length.
            if let Err(out_of_range) = one.validate() {
                self.refuse_value(out_of_range);
                return;
            }
            if self.errors.len() == errors_before {
                rows.push(one);
            }
        }
    }

    /// The trimmed cell; empty when the column is not there. Text that is not UTF-8 is an error.
    fn text(&mut self, column: Column) -> &str {
        let Some(cell) = self.reading.header.place(column).and_then(|place| self.record.get(place)) else {
            return "";
        };
        match std::str::from_utf8(cell) {
            Ok(text) => text.trim(),
            Err(_) => {
                let value = String::from_utf8_lossy(cell).into_owned();
                self.refuse(column, value, "is not UTF-8");
                ""
            }
        }
    }

    /// The one prefix of a cell that stands before each code of the row.
    fn digits(&mut self, column: Column) -> String {
        let mut list = self.list(column, "");
        if list.len() > 1 {
            let text = self.text(column).to_owned();
            self.refuse(column, text, "one prefix; lists and ranges stand in the column of the codes");
        }
        list.pop().unwrap_or_default()
    }

    /// Every code of the row, country code included.
    fn codes(&mut self) -> Vec<String> {
        let header = self.reading.header;
        let international = self.reading.international.as_str();
        let country = if header.has(Column::CountryCode) {
            let text = self.text(Column::CountryCode).to_owned();
            codes::digits(&text, international).unwrap_or_else(|rule| {
                self.refuse(Column::CountryCode, text, rule);
                String::new()
            })
        } else {
            String::new()
        };
        // Our own sheets mean every digit, and behind a country code nothing international begins.
        let (column, international) = match header.has(Column::Code) {
            true if country.is_empty() => (Column::Code, international),
            true => (Column::Code, ""),
            false => (Column::AreaCode, ""),
        };
        let found = self.list(column, international);
        if country.is_empty() { found } else { found.into_iter().map(|code| country.clone() + &code).collect() }
    }

    /// The codes of a cell, one or more; none when it is refused.
    fn list(&mut self, column: Column, international: &str) -> Vec<String> {
        let text = self.text(column);
        if text.bytes().all(|byte| byte.is_ascii_digit()) && international.is_empty() {
            return vec![text.to_owned()];
        }
        let text = text.to_owned();
        codes::codes(&text, international).unwrap_or_else(|rule| {
            self.refuse(column, text, rule);
            Vec::new()
        })
    }

    /// "Germany" and "Mobile" are "Germany Mobile", "Germany" and "Germany Mobile" too.
    fn area_name(&mut self) -> String {
        let country = self.text(Column::Country).to_owned();
        let name = self.text(Column::AreaName);
        if country.is_empty() || name.to_lowercase().starts_with(&country.to_lowercase()) {
            return name.to_owned();
        }
        format!("{country} {name}").trim().to_owned()
    }

    /// An amount that may be left out.
    fn amount(&mut self, column: Column) -> Decimal {
        let text = self.text(column).to_owned();
        if text.is_empty() { Decimal::ZERO } else { self.price(column, &text) }
    }

    /// The same without money's signs.
    fn plain_amount(&mut self, column: Column) -> Decimal {
        let text = self.text(column).trim_end_matches(['%', ' ']).to_owned();
        if text.is_empty() { Decimal::ZERO } else { self.price(column, &text) }
    }

    fn price(&mut self, column: Column, text: &str) -> Decimal {
        let (bare, sign) = without_sign(text);
        if let Some(currency) = sign {
            self.of_currency(column, text, currency);
        }
        let read = match self.reading.decimal_comma {
            true if bare.contains('.') || bare.matches(',').count() > 1 => {
                self.refuse(column, text, "a number with a decimal comma like 0,0125");
                return Decimal::ZERO;
            }
            true => money::parse_decimal(&bare.replace(',', ".")),
            false => money::parse_decimal(bare),
        };
        match read {
            Ok(value) if value >= Decimal::ZERO => value,
            Ok(_) => {
                self.refuse(column, text, "0 or more");
                Decimal::ZERO
            }
            Err(MoneyError::TooFine { .. }) => {
                self.refuse(column, text, "at most 8 decimals");
                Decimal::ZERO
            }
            Err(_) => {
                let rule = match !self.reading.decimal_comma && bare.contains(',') {
                    true => "a decimal number like 0.0125; --decimal-comma reads 0,0125",
                    false => "a decimal number like 0.0125",
                };
                self.refuse(column, text, rule);
                Decimal::ZERO
            }
        }
    }

    /// The price of a minute, and whether its cell says that there is none because the destination is closed.
    fn rate_per_min(&mut self, next_s: u32) -> (Decimal, bool) {
        let per_minute = self.text(Column::RatePerMin).to_owned();
        if !per_minute.is_empty() {
            let word = per_minute.to_lowercase();
            if word.parse::<Decimal>().is_err() && LOCKED.contains(&word.as_str()) {
                return (Decimal::ZERO, true);
            }
            return (self.price(Column::RatePerMin, &per_minute), false);
        }
        let per_period = self.text(Column::RatePerPeriod).to_owned();
        let header = self.reading.header;
        if per_period.is_empty() {
            if self.lock_said() == Some(true) {
                return (Decimal::ZERO, true);
            }
            let column = if header.has(Column::RatePerMin) { Column::RatePerMin } else { Column::RatePerPeriod };
            self.refuse(column, "", "a price is required; 0 for a free destination");
            return (Decimal::ZERO, false);
        }
        // VOS3000 exports doubles: any number of decimals, and exponents (3.91666e-05).
        let price = decimal_or_scientific(&per_period)
            .filter(|price| !price.is_sign_negative())
            .and_then(|price| per_minute_price(price, next_s));
        match price {
            Some(price) => (price, false),
            None => {
                self.refuse(Column::RatePerPeriod, per_period, "a decimal number, 0 or more");
                (Decimal::ZERO, false)
            }
        }
    }

    /// First and next block from period and first_s, or from "30/6".
    fn blocks(&mut self) -> (u32, u32) {
        let default = (INCREMENT_DEFAULT_S, INCREMENT_DEFAULT_S);
        let header = self.reading.header;
        if header.has(Column::Increment) {
            let text = self.text(Column::Increment);
            return match increment(text) {
                Some(blocks) => blocks,
                None => {
                    let text = text.to_owned();
                    let rule = "seconds, 1 or more: first/next like 30/6, or one number for both";
                    self.refuse(Column::Increment, text, rule);
                    default
                }
            };
        }
        let next_s = if header.has(Column::Period) { self.seconds(Column::Period) } else { INCREMENT_DEFAULT_S };
        let first_s = if self.text(Column::FirstS).is_empty() { next_s } else { self.seconds(Column::FirstS) };
        (first_s, next_s)
    }

    fn seconds(&mut self, column: Column) -> u32 {
        let text = self.text(column).to_owned();
        block_s(&text).unwrap_or_else(|| {
            self.refuse(column, text, "whole seconds, 1 or more");
            INCREMENT_DEFAULT_S
        })
    }

    fn level(&mut self) -> u8 {
        let text = self.text(Column::Level).to_lowercase();
        match text.as_str() {
            "1" | "in-network" => 1,
            "2" | "local" => 2,
            "4" | "domestic long distance" => 4,
            // Without a word the strictest level: only callers with the highest permission pass.
            "5" | "international" | "" => 5,
            _ => {
                let rule = "1 in-network, 2 local, 4 domestic long distance or 5 international";
                self.refuse(Column::Level, text, rule);
                5
            }
        }
    }

    fn lock_said(&mut self) -> Option<bool> {
        let text = self.text(Column::Lock).to_lowercase();
        let word = text.as_str();
        if OPEN.contains(&word) { Some(false) } else { LOCKED.contains(&word).then_some(true) }
    }

    fn lock(&mut self) -> bool {
        self.lock_said().unwrap_or_else(|| {
            let text = self.text(Column::Lock).to_owned();
            self.refuse(Column::Lock, text, "0 or 1, or a word like open, blocked, closed");
            false
        })
    }

    /// "time:amount" joined by "|"; positions are given in this order, from 1.
    fn sections(&mut self) -> Vec<Section> {
        let text = self.text(Column::Sections).to_owned();
        if text.is_empty() {
            return Vec::new();
        }
        let read = text.split('|').zip(1_u32..).map(|(part, position)| {
            let (time_s, amount) = part.split_once(':')?;
            let amount = money::parse_decimal(amount.trim()).ok()?;
            Some(Section {
                position,
                time_s: whole_number(time_s)?,
                amount: (amount >= Decimal::ZERO).then_some(amount)?,
            })
        });
        match read.collect::<Option<Vec<Section>>>() {
            Some(sections) => sections,
            None => {
                let rule = "seconds:amount joined by |, like 30:0.03|60:0.05";
                self.refuse(Column::Sections, text, rule);
                Vec::new()
            }
        }
    }

    fn instant(&mut self, column: Column) -> Option<i64> {
        let text = self.text(column);
        if text.is_empty() {
            return None;
        }
        let text = text.to_owned();
        let moment = match &self.reading.date_format {
            // Our own way of writing them is never mistaken for another.
            Some(format) => format.read_ms(&text).map_or(Moment::No, Moment::At),
            None => iso_time::parse_any(&text),
        };
        let rule = match (moment, &self.reading.date_format) {
            (Moment::At(ms), _) => return Some(ms),
            (_, Some(format)) => format!("a date like {format}"),
            (Moment::Ambiguous, None) => {
                "a date that can be one day only; --date-format MM/dd/yyyy or dd/MM/yyyy says which number is the month"
                    .to_owned()
            }
            (Moment::No, None) => {
                "an ISO 8601 date or time, like 2026-12-01 or 2026-12-01T00:00:00Z, or the form --date-format names"
                    .to_owned()
            }
        };
        self.refuse(column, text, rule);
        None
    }

    /// Brings the row's money into that of the switch.
    fn exchange(&mut self, rate: &mut Rate) {
        let text = self.text(Column::Currency).to_uppercase();
        let named = if text.is_empty() { self.reading.currency.clone() } else { Some(text) };
        let (Some(own), Some(named)) = (&self.reading.options.own_currency, named) else { return };
        if named == *own {
            return;
        }
        let column = if self.reading.header.has(Column::Currency) { Column::Currency } else { Column::RatePerMin };
        let exchange = self.reading.options.exchange_rate.filter(|_| self.reading.foreign.as_ref() == Some(&named));
        let Some(exchange) = exchange else {
            let rule = wrong_currency(own, &named);
            self.refuse(column, named, rule);
            return;
        };
        let converted =
            |amount: Decimal| money::decimal_from_units(money::units_rounded(amount.checked_mul(exchange)?)).ok();
        let all = [Some(&mut rate.rate_per_min), Some(&mut rate.conn_fee)];
        let sections = rate.sections.iter_mut().map(|section| &mut section.amount);
        let mut fits = true;
        for amount in all.into_iter().flatten().chain(sections) {
            match converted(*amount) {
                Some(value) => *amount = value,
                None => fits = false,
            }
        }
        if !fits {
            self.refuse(column, named, "an amount that fits after the exchange");
        }
    }

    fn of_currency(&mut self, column: Column, text: &str, currency: &str) {
        let own = self.reading.options.own_currency.clone();
        let said = self.reading.currency.clone();
        // A sign says less than a code does.
        if let Some(own) = own
            && said.is_none()
            && !self.reading.header.has(Column::Currency)
            && own != currency
        {
            let rule = wrong_currency(&own, currency);
            self.refuse(column, text, rule);
        }
    }

    fn refuse(&mut self, column: Column, value: impl Into<String>, rule: impl Into<String>) {
        let value: String = value.into();
        let value = match value.char_indices().nth(VALUE_SHOWN_MAX) {
            Some((end, _)) => format!("{}...", &value[..end]),
            None => value,
        };
        let column = self.reading.header.name(column);
        self.errors.push(RowError { line: self.line, column, value, rule: rule.into() });
    }

    fn refuse_row(&mut self, rule: String) {
        self.errors.push(RowError { line: self.line, column: String::new(), value: String::new(), rule });
    }

    fn refuse_value(&mut self, error: OutOfRange) {
        let column = match super::columns::by_name(error.field) {
            Some(Column::AreaCode) => self.reading.header.name(self.reading.header.prefix_column()),
            Some(column) => self.reading.header.name(column),
            None => error.field.to_owned(),
        };
        let rule = format!("allowed is {}", error.allowed);
        self.errors.push(RowError { line: self.line, column, value: error.value, rule });
    }
}

fn wrong_currency(own: &str, named: &str) -> String {
    format!("the money of the switch is {own}; --currency {named} --exchange-rate RATE converts")
}

/// A price without the sign of its money, and the money of the sign.
fn without_sign(text: &str) -> (&str, Option<&'static str>) {
    for (sign, currency) in [("$", "USD"), ("\u{20ac}", "EUR"), ("\u{a3}", "GBP")] {
        if let Some(rest) = text.strip_prefix(sign).or_else(|| text.strip_suffix(sign)) {
            return (rest.trim(), Some(currency));
        }
    }
    (text, None)
}

/// "30/6", "60+60", "1-1", "60", with or without an s behind the numbers.
fn increment(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(['/', '+', '-', ':']).map(|part| {
        let part = part.trim();
        let lower = part.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit = &part[lower.len()..];
        let is_seconds = ["", "s", "sec", "secs", "seconds"].iter().any(|word| word.eq_ignore_ascii_case(unit));
        is_seconds.then(|| block_s(lower)).flatten()
    });
    let first_s = parts.next()??;
    let next_s = parts.next().unwrap_or(Some(first_s))?;
    parts.next().is_none().then_some((first_s, next_s))
}

fn decimal_or_scientific(text: &str) -> Option<Decimal> {
    // The decimal library would also read 1_000.
    if text.contains('_') {
        return None;
    }
    text.parse().or_else(|_| Decimal::from_scientific(text)).ok()
}

/// fee x 60 / period, rounded half up to 8 decimals (billing.md section 4, storage note).
fn per_minute_price(per_period: Decimal, period_s: u32) -> Option<Decimal> {
    let per_minute = per_period.checked_mul(Decimal::from(60))?.checked_div(Decimal::from(period_s))?;
    money::decimal_from_units(money::units_rounded(per_minute)).ok()
}

fn block_s(text: &str) -> Option<u32> {
    whole_number(text).filter(|seconds| *seconds > 0)
}

/// Digits only: `parse` alone would also take a plus sign.
fn whole_number(text: &str) -> Option<u32> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}
