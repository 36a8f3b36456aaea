//! Periods of packages and what they cost, from appliance/PACKAGES.md alone. It shares no code with the rater, which it checks.

use crate::civil::{self, Zone};
use crate::plan::Version;
use crate::price::{self, Billing, UNITS};
use crate::rent::{self, PackagePlan, Unit};

/// What begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Rent, units.
    pub rent: i128,
    /// Minimum, units.
    pub minimum: i128,
    /// What calls must have cost before gifts are used, units.
    pub lower: i128,
    /// Gift money, units.
    pub money: i128,
    /// Gift time, seconds, by row.
    pub gifts_s: Vec<i64>,
    /// End by the calendar, UTC ms.
    pub to_ms: i64,
}

/// End of the period that begins at `from_ms`, and its days of the days that its share is counted of.
pub fn span(zone: Zone, package: &PackagePlan, effective_ms: i64, from_ms: i64) -> (i64, i64, i64) {
    let length = i64::from(package.length);
    if package.unit == Unit::Once {
        return (from_ms + length * 1_000, 1, 1);
    }
    let from = zone.local(from_ms).day;
    let (year, month, _) = civil::date_of(from);
    let (_, _, anchor) = civil::date_of(zone.local(effective_ms).day);
    let first = match (package.partial, package.unit) {
        (false, _) | (_, Unit::Day | Unit::Once) => from,
        (true, Unit::Month) => civil::days_to(year, month),
        (true, Unit::Year) => civil::days_to(year, 1),
    };
    let to = if package.unit == Unit::Day {
        from + length
    } else {
        let begin = if package.partial && package.unit == Unit::Year { 1 } else { month };
        let months = year * 12 + begin - 1 + if package.unit == Unit::Year { 12 * length } else { length };
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
        let (begins, ends) = (civil::days_to(year, month), civil::days_to(year, month + 1));
        if package.partial { begins } else { begins + anchor.min(ends - begins) - 1 }
    };
    (zone.midnight(to), to - from, to - first)
}

/// The offer of a package for the period that begins at `from_ms`. `percent` in units of 10^-8.
pub fn offer(
    zone: Zone,
    package: &PackagePlan,
    billing: &Billing,
    percent: i128,
    effective_ms: i64,
    from_ms: i64,
) -> Offer {
    let (to_ms, part, whole) = span(zone, package, effective_ms, from_ms);
    let share = |amount: i128| price::rounded(amount * i128::from(part), i128::from(whole), billing);
    let seconds = |gift_s: i64| ((2 * gift_s * part + whole) / (2 * whole)).max(1);
    Offer {
        rent: price::rounded(share(package.rent) * percent, 100 * UNITS, billing),
        minimum: share(package.minimum),
        lower: share(package.lower),
        money: share(package.money),
        gifts_s: package.gifts.iter().map(|gift| seconds(gift.gift_s)).collect(),
        to_ms,
    }
}

/// What an order is of, and whether it has one period only; `None` when that is gone. The fee of a phone is a package of a month
/// of the calendar.
pub fn package_of(version: &Version, package: &str, phone: &str) -> Option<(PackagePlan, bool)> {
    if !package.is_empty() {
        let package = version.packages.iter().find(|one| one.name == package)?;
        return Some((package.clone(), package.unit == Unit::Once));
    }
    let n = (0..version.phones.len()).find(|n| rent::house_number(*n) == phone)?;
    let (rent, minimum) = (version.phones[n].rent, version.phones[n].minimum);
    let fee = PackagePlan {
        name: String::new(),
        unit: Unit::Month,
        length: 1,
        partial: true,
        rent,
        minimum,
        lower: 0,
        money: 0,
        gifts: Vec::new(),
    };
    (rent + minimum > 0).then_some((fee, false))
}

/// Number and begin of the month after an instant.
pub fn next_month(zone: Zone, at_ms: i64) -> (u64, i64) {
    let ends_ms = zone.month_ends(at_ms);
    let (year, month, _) = civil::date_of(zone.local(ends_ms).day);
    ((year * 12 + month - 1) as u64, ends_ms)
}
