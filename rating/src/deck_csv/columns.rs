//! What the columns of a sheet mean, whatever its writer calls them.

use std::collections::HashMap;

use csv::ByteRecord;

use super::RowError;
use crate::sheet::{SheetOptions, Template};

/// Records in which the header is looked for: sheets begin with an address, a logo's text, a validity.
pub(super) const HEADER_SEARCHED: usize = 50;

/// What a column means. The first of its [`NAMES`] is the one that is written, and the one of mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Column {
    FeePrefix,
    AreaCode,
    AreaName,
    Level,
    RatePerMin,
    /// Price of one billing cycle instead of 60 s, as VOS3000 keeps it (billing.md section 4).
    RatePerPeriod,
    Period,
    FirstS,
    /// "30/6", or "60" for 60/60.
    Increment,
    Sections,
    ConnFee,
    Tax,
    Lock,
    EffectiveFrom,
    EffectiveTo,
    Memo,
    /// Codes as a carrier writes them: with +, 00 or blanks, in lists and ranges. Never written.
    Code,
    /// Stands before each code of the row. Never written.
    CountryCode,
    /// Stands before the name of the area. Never written.
    Country,
    /// Money of the row's amounts. Never written.
    Currency,
}

/// Every accepted header, lower case. The words that [`key`] leaves out are left out here too.
const NAMES: &[(Column, &[&str])] = &[
    (Column::FeePrefix, &["fee_prefix", "rate prefix"]),
    (Column::AreaCode, &["area_code", "area prefix", "area code", "area codes", "city code", "city codes"]),
    (
        Column::AreaName,
        &[
            "area_name",
            "area name",
            "destination",
            "destinations",
            "destination name",
            "zone",
            "zone name",
            "description",
            "dest",
            "location",
            "breakout",
        ],
    ),
    (Column::Level, &["type", "rate type"]),
    (
        Column::RatePerMin,
        &[
            "rate_per_min",
            "rate(minute)",
            "rate",
            "rate_per_minute",
            "price_per_min",
            "price",
            "new rate",
            "new price",
            "rates",
            "tariff",
            "cost",
        ],
    ),
    (Column::RatePerPeriod, &["billing rate"]),
    (
        Column::Period,
        &["period", "billing cycle", "next interval", "subsequent increment", "next increment", "interval n"],
    ),
    (
        Column::FirstS,
        &["first_s", "first interval", "initial increment", "initial interval", "minimum duration", "interval 1"],
    ),
    (
        Column::Increment,
        &[
            "increment",
            "increments",
            "billing_increment",
            "billing increment",
            "billing increments",
            "billing terms",
            "rounding",
            "rounding rule",
        ],
    ),
    (Column::Sections, &["sections", "section rate"]),
    (
        Column::ConnFee,
        &["conn_fee", "connection_fee", "connection fee", "setup_fee", "setup fee", "connect fee", "connection charge"],
    ),
    (Column::Tax, &["tax", "tax rate"]),
    (Column::Lock, &["lock", "lock type", "blocked", "status", "locked", "rate status"]),
    (
        Column::EffectiveFrom,
        &[
            "effective_from",
            "effective_date",
            "effective date",
            "valid_from",
            "valid from",
            "effective from",
            "effective",
            "start date",
            "date effective",
            "activation date",
        ],
    ),
    (
        Column::EffectiveTo,
        &[
            "effective_to",
            "valid_to",
            "valid_until",
            "valid to",
            "valid until",
            "effective to",
            "end date",
            "expiry date",
        ],
    ),
    (Column::Memo, &["memo", "comment", "comments", "remarks"]),
    (
        Column::Code,
        &[
            "code",
            "codes",
            "prefix",
            "prefixes",
            "dial code",
            "dial codes",
            "dialcode",
            "dial_code",
            "dialling code",
            "dialing code",
            "destination code",
            "destination codes",
            "full code",
            "number prefix",
        ],
    ),
    (Column::CountryCode, &["country_code", "country code", "cc"]),
    (Column::Country, &["country", "country name"]),
    (Column::Currency, &["currency", "curr", "ccy"]),
];

/// Words that a header has beside its meaning.
const NOISE: [&str; 4] = ["per", "min", "minute", "in"];

/// Currencies that headers name ("Rate (USD)").
const CURRENCIES: [&str; 30] = [
    "AED", "AUD", "BRL", "CAD", "CHF", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF", "IDR", "ILS", "INR", "JPY",
    "KRW", "MXN", "MYR", "NOK", "NZD", "PHP", "PLN", "RUB", "SEK", "SGD", "THB", "TRY", "USD", "ZAR",
];

/// Every name a column may have.
pub(super) fn names() -> Vec<&'static str> {
    NAMES.iter().flat_map(|(_, names)| names.iter().copied()).collect()
}

pub(super) fn name_of(column: Column) -> &'static str {
    NAMES.iter().find(|(named, _)| *named == column).map_or("", |(_, names)| names[0])
}

/// The column that a mapping calls `word`: its first name, or any other.
pub(super) fn by_name(word: &str) -> Option<Column> {
    let word = word.trim().to_lowercase();
    NAMES.iter().find(|(_, names)| names.contains(&word.as_str())).map(|(column, _)| *column)
}

/// First names of all columns, for mappings.
pub(super) fn meanings() -> Vec<&'static str> {
    NAMES.iter().map(|(_, names)| names[0]).collect()
}

/// A header as it is compared: lower case, one blank between words.
fn folded(name: &str) -> String {
    name.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a header means without a template, and the currency it names.
fn known(name: &str) -> Option<(Column, Option<&'static str>)> {
    let whole = folded(name);
    let exact = |key: &str| NAMES.iter().find(|(_, names)| names.contains(&key)).map(|(column, _)| *column);
    if let Some(column) = exact(&whole) {
        return Some((column, None));
    }
    let mut currency = None;
    let mut words: Vec<&str> = Vec::new();
    for word in whole.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty()) {
        match CURRENCIES.iter().find(|code| code.eq_ignore_ascii_case(word)) {
            Some(code) => currency = Some(*code),
            None if NOISE.contains(&word) => {}
            None => words.push(word),
        }
    }
    exact(&words.join(" ")).map(|column| (column, currency))
}

/// Which cell of a row holds what.
pub(super) struct Header {
    /// Line of the file.
    line: u64,
    /// Names as the file spells them.
    pub(super) names: Vec<String>,
    places: HashMap<Column, usize>,
    /// Named by the header of the price.
    pub(super) currency: Option<&'static str>,
    /// The template that was used.
    pub(super) template: Option<String>,
}

fn cells(record: &ByteRecord) -> Vec<String> {
    record.iter().map(|cell| String::from_utf8_lossy(cell).trim_start_matches('\u{feff}').trim().to_owned()).collect()
}

/// Whether `record` can be the header that `options` ask for.
pub(super) fn is_header(record: &ByteRecord, options: &SheetOptions) -> bool {
    let names = cells(record);
    if names.len() < 2 {
        return false;
    }
    if options.template.is_some() {
        return options.chosen().is_some_and(|(_, template)| fits(template, &names));
    }
    if options.templates.iter().any(|(_, template)| fits(template, &names)) {
        return true;
    }
    let has = |wanted: &[Column]| {
        let by_map = options.map.iter().any(|(word, name)| {
            by_name(word).is_some_and(|column| wanted.contains(&column))
                && names.iter().any(|n| folded(n) == folded(name))
        });
        by_map || names.iter().any(|name| known(name).is_some_and(|(column, _)| wanted.contains(&column)))
    };
    has(&[Column::AreaCode, Column::FeePrefix, Column::Code, Column::CountryCode])
        && has(&[Column::RatePerMin, Column::RatePerPeriod])
}

/// Every name the template looks for stands in the header line.
fn fits(template: &Template, names: &[String]) -> bool {
    let names: Vec<String> = names.iter().map(|name| folded(name)).collect();
    let mut wanted = template.columns.values().chain(&template.header).peekable();
    wanted.peek().is_some() && wanted.all(|name| names.contains(&folded(name)))
}

impl Header {
    pub(super) fn read(
        record: &ByteRecord,
        line: u64,
        options: &SheetOptions,
        unknown: &mut Vec<String>,
    ) -> Result<Header, Vec<RowError>> {
        let names = cells(record);
        let mut header = Header { line, names, places: HashMap::new(), currency: None, template: None };
        let template = header.template(options).map_err(|error| vec![error])?;
        let mut errors = Vec::new();
        let mut mapped: Vec<(&str, &str)> = options.map.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        if let Some((name, template)) = template {
            header.template = Some(name.to_owned());
            mapped.extend(template.columns.iter().map(|(a, b)| (a.as_str(), b.as_str())));
        }
        let mut taken: Vec<usize> = Vec::new();
        for (word, name) in mapped {
            let place = header.names.iter().position(|known| folded(known) == folded(name));
            match (by_name(word), place) {
                (None, _) => errors.push(header.error(
                    word,
                    format!("no column of a rate table has that name; allowed are {}", meanings().join(", ")),
                )),
                (Some(_), None) => errors.push(header.error(name, "the header has no column of that name".to_owned())),
                (Some(column), Some(place)) => {
                    // What was typed goes before the template.
                    if let std::collections::hash_map::Entry::Vacant(free) = header.places.entry(column) {
                        free.insert(place);
                        taken.push(place);
                        if matches!(column, Column::RatePerMin | Column::RatePerPeriod) {
                            header.currency = known(&header.names[place]).and_then(|(_, currency)| currency);
                        }
                    }
                }
            }
        }
        for place in 0..header.names.len() {
            let name = header.names[place].clone();
            if taken.contains(&place) || name.is_empty() {
                continue;
            }
            if header.template.is_some() {
                // The template says which columns are read.
                continue;
            }
            let Some((column, currency)) = known(&name) else {
                unknown.push(name);
                continue;
            };
            match header.places.get(&column) {
                Some(other) if options.map.iter().any(|(word, _)| by_name(word) == Some(column)) => {
                    let _ = other;
                    unknown.push(name);
                }
                Some(other) => {
                    let rule = format!("means the same as column {}; give it once", header.names[*other]);
                    errors.push(header.error(&name, rule));
                }
                None => {
                    header.places.insert(column, place);
                    if matches!(column, Column::RatePerMin | Column::RatePerPeriod) {
                        header.currency = currency;
                    }
                }
            }
        }
        header.check(&mut errors);
        if errors.is_empty() { Ok(header) } else { Err(errors) }
    }

    /// The template of this header: the one that was asked for, or the one that fits with the most names.
    fn template<'o>(&self, options: &'o SheetOptions) -> Result<Option<(&'o str, &'o Template)>, RowError> {
        if options.template.is_some() {
            return match options.chosen() {
                Some((name, template)) if fits(template, &self.names) => Ok(Some((name, template))),
                Some((name, template)) => {
                    let wanted: Vec<&str> =
                        template.columns.values().chain(&template.header).map(String::as_str).collect();
                    Err(self.error(
                        "",
                        format!(
                            "no line of the first {HEADER_SEARCHED} has every column of template {name}: {}",
                            wanted.join(", ")
                        ),
                    ))
                }
                None => {
                    let names: Vec<&str> = options.templates.iter().map(|(name, _)| name.as_str()).collect();
                    let known = if names.is_empty() { "none is known".to_owned() } else { names.join(", ") };
                    Err(self.error("", format!("no template has that name; there are: {known}")))
                }
            };
        }
        let mut fitting: Vec<(usize, &str, &Template)> = options
            .templates
            .iter()
            .filter(|(_, template)| fits(template, &self.names))
            .map(|(name, template)| (template.columns.len() + template.header.len(), name.as_str(), template))
            .collect();
        fitting.sort_by_key(|(names, _, _)| std::cmp::Reverse(*names));
        match &fitting[..] {
            [] => Ok(None),
            [(a, one, _), (b, other, _), ..] if a == b => {
                Err(self
                    .error("", format!("templates {one} and {other} both fit this header; name one with --template")))
            }
            [(_, name, template), ..] => Ok(Some((name, template))),
        }
    }

    fn check(&self, errors: &mut Vec<RowError>) {
        let codes = [Column::AreaCode, Column::FeePrefix, Column::Code, Column::CountryCode];
        if !codes.iter().any(|column| self.has(*column)) {
            errors.push(self.error(
                "",
                "the header names no prefix: one of area_code, prefix, code, fee_prefix is required, or --map code=COLUMN"
                    .to_owned(),
            ));
        }
        if self.has(Column::Code) && self.has(Column::AreaCode) && !self.has(Column::CountryCode) {
            let rule = format!("means the same as column {}; give it once", self.name(Column::Code));
            errors.push(self.error(&self.name(Column::AreaCode), rule));
        }
        if !self.has(Column::RatePerMin) && !self.has(Column::RatePerPeriod) {
            errors.push(
                self.error(
                    "",
                    "the header names no price: rate_per_min (or \"rate(minute)\") is required, or --map price=COLUMN"
                        .to_owned(),
                ),
            );
        }
        if self.has(Column::Increment)
            && let Some(other) = [Column::Period, Column::FirstS].into_iter().find(|column| self.has(*column))
        {
            let rule = format!("says the same as column {}; give one", self.name(other));
            errors.push(self.error(&self.name(Column::Increment), rule));
        }
    }

    fn error(&self, column: &str, rule: String) -> RowError {
        RowError { line: self.line, column: column.to_owned(), value: String::new(), rule }
    }

    pub(super) fn place(&self, column: Column) -> Option<usize> {
        self.places.get(&column).copied()
    }

    pub(super) fn has(&self, column: Column) -> bool {
        self.places.contains_key(&column)
    }

    /// The column of the codes: a sheet whose only prefix is `fee_prefix` has them there.
    pub(super) fn prefix_column(&self) -> Column {
        let of_codes = [Column::Code, Column::AreaCode].into_iter().find(|column| self.has(*column));
        let other = if self.has(Column::CountryCode) { Column::AreaCode } else { Column::FeePrefix };
        of_codes.unwrap_or(other)
    }

    pub(super) fn name(&self, column: Column) -> String {
        match self.places.get(&column) {
            Some(place) => self.names[*place].clone(),
            None => name_of(column).to_owned(),
        }
    }
}
