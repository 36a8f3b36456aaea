//! Packages and fees of phones as the rating thread is told of them (rates.md 10).

use serde::{Deserialize, Serialize};
use tandem_rater::{PackageConfig, PhoneFee};
use tandem_rating::fee::BillingParams;
use tandem_rating::money::Money;
use tandem_rating::package::{GiftRow, Package, RentType};

use super::build::Errors;
use super::{Site, is_default};

/// Most rows of gift time of a package: each is looked at for each call.
const GIFTS_MAX: usize = 50;

fn one() -> u32 {
    1
}

fn is_one(value: &u32) -> bool {
    *value == 1
}

/// A package: what a period costs and what it gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageSite {
    /// What a period costs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rent_fee: String,
    /// `month`, `day`, `year`, or `once`: one period, in seconds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rent_type: String,
    /// How many of them a period has.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub rent_period: u32,
    /// Periods are those of the calendar, and the first is paid in part.
    #[serde(default, skip_serializing_if = "is_default")]
    pub partial: bool,
    /// What calls of a period have to cost; the difference is taken at its end.
    #[serde(default, skip_serializing_if = "is_default")]
    pub min_consumption: String,
    /// Gifts are used once calls of the period have cost so much.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lower_consumption: String,
    /// Money that pays for calls before the balance does.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gift_money: String,
    /// Time that pays for calls: `49|43 08:00-20:00 3600/60`, prefixes, hours, seconds and cycle.
    #[serde(default, skip_serializing_if = "is_default")]
    pub gifts: Vec<String>,
}

impl Default for PackageSite {
    fn default() -> PackageSite {
        PackageSite {
            rent_fee: String::new(),
            rent_type: String::new(),
            rent_period: 1,
            partial: false,
            min_consumption: String::new(),
            lower_consumption: String::new(),
            gift_money: String::new(),
            gifts: Vec::new(),
        }
    }
}

/// An amount of 0 or more; 0 when the text is empty.
fn amount(e: &mut Errors, path: &str, text: &str) -> Money {
    if text.is_empty() {
        return Money::ZERO;
    }
    let amount = e.take(path, text, text.parse::<Money>()).unwrap_or_default();
    if amount.is_negative() {
        e.0.push(format!("{path} = {text:?} is not allowed; it takes an amount of 0 or more"));
    }
    amount
}

fn package(e: &mut Errors, name: &str, site: &PackageSite) -> Package {
    let at = |key: &str| format!("package.{name}.{key}");
    let gifts = site.gifts.iter().enumerate();
    let gifts: Vec<GiftRow> =
        gifts.filter_map(|(n, text)| e.take(&format!("{}[{n}]", at("gifts")), text, text.parse())).collect();
    if site.gifts.len() > GIFTS_MAX {
        e.0.push(format!("{} has {} rows; it takes {GIFTS_MAX} at most", at("gifts"), site.gifts.len()));
    }
    let package = Package {
        name: name.to_owned(),
        rent_type: e.word(&at("rent_type"), &site.rent_type, &RentType::WORDS).unwrap_or_default(),
        rent_period: site.rent_period,
        partial: site.partial,
        rent: amount(e, &at("rent_fee"), &site.rent_fee),
        minimum: amount(e, &at("min_consumption"), &site.min_consumption),
        lower: amount(e, &at("lower_consumption"), &site.lower_consumption),
        gift_money: amount(e, &at("gift_money"), &site.gift_money),
        gifts,
    };
    if let Err(error) = package.validate() {
        e.0.push(format!("package.{name}.{error}"));
    }
    package
}

/// What the rating thread is told.
pub(super) fn config(e: &mut Errors, site: &Site, params: BillingParams) -> PackageConfig {
    let mut packages = std::collections::BTreeMap::new();
    for (name, one) in &site.package {
        super::build::check_name(e, "package", name);
        packages.insert(name.clone(), package(e, name, one));
    }
    let mut phones = std::collections::BTreeMap::new();
    for (number, phone) in &site.phone {
        let rent = amount(e, &format!("phone.{number}.monthly_rent"), &phone.monthly_rent);
        let minimum = amount(e, &format!("phone.{number}.monthly_min"), &phone.monthly_min);
        phones.insert(number.clone(), PhoneFee { account: phone.account.clone(), rent, minimum });
    }
    let cancelled = site.account.iter().filter(|(_, account)| account.cancelled);
    let cancelled = cancelled.map(|(name, _)| name.clone()).collect();
    PackageConfig { packages, phones, cancelled, params }
}
