//! Requests about rate groups.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::value::{Amount, Limit};
use crate::when::When;

/// What an import does with rows that are there already (rates.md 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportMode {
    /// A prefix that is there already is an error.
    Add,
    /// Adds or replaces.
    #[default]
    Merge,
    /// Prefixes missing from the file are closed.
    Replace,
}

impl ImportMode {
    /// Every mode with its word.
    pub const WORDS: &[&str] = &["add", "merge", "replace"];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            ImportMode::Add => "add",
            ImportMode::Merge => "merge",
            ImportMode::Replace => "replace",
        }
    }
}

/// How a sheet is to be read; what it says itself need not be said here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SheetTerms {
    /// Template by name; missing: the one that fits the header line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Templates besides those of the site: TOML, a table each.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub templates: String,
    /// Column of a rate table -> name of the column in the sheet.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub map: BTreeMap<String, String>,
    /// `dd-MMM-yy`, `MM/dd/yyyy`, ...
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date_format: Option<String>,
    /// `0,0125` is a price.
    pub decimal_comma: bool,
    /// Money of the sheet where it does not say so itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub currency: Option<String>,
    /// Units of the switch's money for one of `currency`; above 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchange_rate: Option<Amount>,
    /// Digits taken off the beginning of codes; `none` takes nothing off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub international_prefix: Option<String>,
}

/// `rates.import`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatesImport {
    /// Rate group.
    pub group: String,
    /// What to do with rows that are there already.
    #[serde(default)]
    pub mode: ImportMode,
    /// The file, whole; empty when it was uploaded.
    #[serde(default)]
    pub csv: String,
    /// Number of the upload that has the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<u64>,
    /// False: preview only. True: all rows or, when one has an error, none.
    #[serde(default)]
    pub commit: bool,
    /// Version of the group the preview was made from; when it has moved on, [`crate::ErrorCode::Conflict`] and no change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_version: Option<u64>,
    /// Columns that no rule knows are left out instead of refused.
    #[serde(default)]
    pub ignore_columns: bool,
    /// How to read it.
    #[serde(default)]
    pub sheet: SheetTerms,
    /// When rows begin that name no beginning, and when missing ones are closed; now when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<When>,
    /// Raised rates that begin before so many days have passed are counted; 7 when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice_days: Option<u32>,
    /// Examples of each kind of change; 10 when missing, at most 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examples: Option<u32>,
    /// Keeps every change for `rates.differences`.
    #[serde(default)]
    pub differences: bool,
    /// Words for the history.
    #[serde(default)]
    pub comment: String,
    /// Where the rows come from, for the history: the name of the file.
    #[serde(default)]
    pub source: String,
}

/// Most bytes of an uploaded file: a million rows of 200 bytes.
pub const UPLOAD_MAX: usize = 200 << 20;

/// `rates.upload`: the pieces of a file in order. A file that fits one request need not be uploaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatesUpload {
    /// A number that nobody else uses. Another one forgets what was uploaded before.
    pub upload: u64,
    /// Bytes sent before.
    pub offset: u64,
    /// The piece.
    pub text: String,
}

/// `rates.commit`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatesCommit {
    /// Number of the preview.
    pub preview: u64,
}

/// `rates.progress`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RatesProgress {}

/// Most rows of one page of `rates.differences`.
pub const DIFFERENCES_MAX: u64 = 20_000;

/// `rates.differences`: at most [`DIFFERENCES_MAX`] rows an answer, by prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatesDifferences {
    /// Number of the preview.
    pub preview: u64,
    /// Rows left out before the first.
    #[serde(default)]
    pub offset: u64,
}

/// Most rows of one page of `rates.export`: about 2 MB.
pub const EXPORT_ROWS_MAX: u64 = 20_000;

/// `rates.export`: at most [`EXPORT_ROWS_MAX`] rows an answer, in the order of the prefixes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatesExport {
    /// Rate group.
    pub group: String,
    /// Rows left out before the first.
    #[serde(default)]
    pub offset: u64,
}

/// `rates.list`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RatesList {}

/// What `rates.show` orders by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateSort {
    /// Prefix.
    #[default]
    Prefix,
    /// Price of a minute.
    Price,
    /// Name of the destination.
    Area,
    /// Beginning.
    From,
}

/// `rates.show`: what is given must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatesShow {
    /// Rate group.
    pub group: String,
    /// Whole prefix; one that ends in `*` is a beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// A called number: the rows that could price it, the one that does first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// Part of the name of the destination, in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub area: Option<String>,
    /// Rows in force then; now when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<When>,
    /// Rows of the past and of the future too.
    #[serde(default)]
    pub all: bool,
    /// Only forbidden destinations.
    #[serde(default)]
    pub locked: bool,
    /// Order.
    #[serde(default)]
    pub sort: RateSort,
    /// The other way round.
    #[serde(default)]
    pub descending: bool,
    /// Most rows of the answer.
    #[serde(default)]
    pub limit: Limit,
    /// Rows left out before the first.
    #[serde(default)]
    pub offset: u64,
}

/// `rates.set`: a preview; `rates.commit` makes the change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatesSet {
    /// Rate group.
    pub group: String,
    /// Whole prefix.
    pub prefix: String,
    /// Column of a rate table -> value; the others stay as they are.
    pub fields: BTreeMap<String, String>,
    /// When it begins; now when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<When>,
    /// Words for the history.
    #[serde(default)]
    pub comment: String,
}

/// `rates.delete`: a preview; `rates.commit` makes the change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatesDelete {
    /// Rate group.
    pub group: String,
    /// Whole prefix.
    pub prefix: String,
    /// When it ends; now when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<When>,
    /// Words for the history.
    #[serde(default)]
    pub comment: String,
}

/// `rates.history`: newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatesHistory {
    /// Rate group.
    pub group: String,
    /// Most rows of the answer.
    #[serde(default)]
    pub limit: Limit,
    /// Rows left out before the first.
    #[serde(default)]
    pub offset: u64,
}

/// `rates.compare`: what an import of the rows of one version into the other would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatesCompare {
    /// Rate group.
    pub group: String,
    /// The earlier version.
    pub from: u64,
    /// The later one; the one in force when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// Examples of each kind of change; 10 when missing, at most 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub examples: Option<u32>,
}

/// `rates.rollback`: a preview; `rates.commit` makes the change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatesRollback {
    /// Rate group.
    pub group: String,
    /// Version whose rates come back.
    pub version: u64,
    /// When; now when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effective: Option<When>,
    /// Words for the history.
    #[serde(default)]
    pub comment: String,
}

/// `rates.drop`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatesDrop {
    /// Rate group.
    pub group: String,
    /// False: only whether it could be deleted.
    #[serde(default)]
    pub commit: bool,
    /// Words for the history.
    #[serde(default)]
    pub comment: String,
}
