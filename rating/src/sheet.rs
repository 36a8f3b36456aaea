//! How a carrier's sheet is to be read: templates, mappings, dates, money (rates.md section 5).

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

pub use crate::iso_time::DateFormat;

/// How the sheets of one vendor look. A sheet is read by the template whose names all stand in its header line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Template {
    /// Column of a rate table -> name of the column in the sheet: `code`, `country_code`, `area_name`, `rate_per_min` (or
    /// `price`), `effective_from`, `increment`, `lock`, `currency`, ... Other columns of the sheet are not read.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
    /// More names that tell the sheet's header line from others.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub header: Vec<String>,
    /// `dd-MMM-yy`, `MM/dd/yyyy`, ...; empty: ISO 8601 and whatever can be read in one way only.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub date_format: String,
    /// `0,0125` is a price.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub decimal_comma: bool,
    /// Money of the sheet, when it does not say so itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub currency: String,
    /// What stands before a country code and is taken off: `00` when empty, `none` to take nothing off.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub international_prefix: String,
}

impl Template {
    /// Refuses words that mean nothing.
    ///
    /// # Errors
    /// Field, value and what is allowed, in words.
    pub fn validate(&self) -> Result<(), String> {
        if self.columns.is_empty() {
            return Err("columns is empty; it names at least a code and a price".to_owned());
        }
        for word in self.columns.keys() {
            if crate::deck_csv::meaning(word).is_none() {
                let allowed = crate::deck_csv::meanings().join(", ");
                return Err(format!("columns.{word} is no column of a rate table; allowed are {allowed}"));
            }
        }
        if !self.date_format.is_empty() {
            DateFormat::parse(&self.date_format).map_err(|error| format!("date_format: {error}"))?;
        }
        let prefix = &self.international_prefix;
        if !prefix.is_empty() && prefix != "none" && !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("international_prefix is {prefix:?}; allowed are digits or none"));
        }
        Ok(())
    }
}

/// What is known of a sheet besides its text. The default reads what says everything itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SheetOptions {
    /// Templates to choose from, by name.
    pub templates: Vec<(String, Template)>,
    /// The one to use; without it the one that fits the header line.
    pub template: Option<String>,
    /// Column of a rate table and name in the sheet; goes before the template.
    pub map: Vec<(String, String)>,
    /// How dates are written; goes before the template.
    pub date_format: Option<DateFormat>,
    /// `0,0125` is a price, also when the template does not say so.
    pub decimal_comma: bool,
    /// Money of the sheet where it does not say so itself; goes before the template.
    pub currency: Option<String>,
    /// Money of the switch; without it currencies are not looked at.
    pub own_currency: Option<String>,
    /// Units of the switch's money for one of [`SheetOptions::currency`].
    pub exchange_rate: Option<Decimal>,
    /// As [`Template::international_prefix`]; goes before the template.
    pub international_prefix: Option<String>,
}

impl SheetOptions {
    /// The template that was asked for.
    pub(crate) fn chosen(&self) -> Option<(&str, &Template)> {
        let name = self.template.as_deref()?;
        self.templates.iter().find(|(known, _)| known == name).map(|(name, template)| (name.as_str(), template))
    }

    /// Whether the sheet is spoken of at all.
    pub(crate) fn template_named(&self, name: Option<&str>) -> Option<&Template> {
        self.templates.iter().find(|(known, _)| Some(known.as_str()) == name).map(|(_, template)| template)
    }
}
