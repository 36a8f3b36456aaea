//! Packages and their orders (rates.md 10). Packages themselves are a part of the site.

use serde::{Deserialize, Serialize};

use crate::value::{Amount, Limit};
use crate::when::When;

/// `package.list`: packages of the site, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PackageList {
    /// Only names that begin with this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Most rows of the answer.
    pub limit: Limit,
    /// Rows left out before the first.
    pub offset: u64,
}

/// `package.orders`: what is given must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PackageOrders {
    /// Who pays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Of this phone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// Of this package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// `future`, `active`, `waiting`, `expired`, `cancelled`, `no_money`, `gone`; `open` is every one that is not over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// `order`, `account`, `package`, `to` or `taken`; a `-` in front turns the order. By number when missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<String>,
    /// Most rows of the answer.
    pub limit: Limit,
    /// Rows left out before the first.
    pub offset: u64,
}

/// `package.order`: a package for an account, or for one of its phones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageOrder {
    /// Account.
    pub account: String,
    /// Package.
    pub package: String,
    /// Only for calls of this phone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// From this day or instant on; missing: now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<When>,
    /// Until this instant; a day counts whole. Missing: open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<When>,
    /// Among the packages of a call, low first; missing: last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// Percent of the rent; 100 when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rent_percent: Option<Amount>,
    /// Without money for the rent: `wait` (the default), `next` or `delete`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_money: Option<String>,
    /// A second order with the same key is not made: the answer is the first. 1 to 100 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Make it; a preview otherwise.
    #[serde(default)]
    pub commit: bool,
}

/// `package.change`: what is not given stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PackageChange {
    /// Number of the order.
    pub order: String,
    /// Until this instant; a day counts whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<When>,
    /// Without an end.
    pub open: bool,
    /// Among the packages of a call, low first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// Without a priority: last.
    pub last: bool,
    /// Percent of the rent, from the next period on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rent_percent: Option<Amount>,
    /// `wait`, `next` or `delete`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_money: Option<String>,
    /// Change it; a preview otherwise.
    pub commit: bool,
}

/// `package.cancel`: no period begins any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PackageCancel {
    /// Number of the order.
    pub order: String,
    /// The period that runs ends now: gifts are gone, no rent comes back, the minimum is not asked for.
    pub now: bool,
    /// Do it; a preview otherwise.
    pub commit: bool,
}

/// `package.catch_up`: periods that are due since more than 62 days are taken after all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PackageCatchUp {
    /// Number of the order.
    pub order: String,
    /// Do it; a preview otherwise.
    pub commit: bool,
}
