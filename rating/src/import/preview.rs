//! What an import changes, for a person to look at.

use std::cmp::Ordering;
use std::collections::HashMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{EXAMPLES_MAX, ImportError, ImportOptions, Plan, Step, rounded_rate};

const DAY_MS: i64 = 86_400_000;

/// What becomes of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It had no rate.
    Added,
    /// Dearer than before.
    Raised,
    /// Cheaper than before.
    Lowered,
    /// Same price, something else differs.
    Changed,
    /// Nothing differs.
    Unchanged,
    /// It ends.
    Closed,
}

impl Kind {
    /// The word that is shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Added => "added",
            Kind::Raised => "raised",
            Kind::Lowered => "lowered",
            Kind::Changed => "changed",
            Kind::Unchanged => "unchanged",
            Kind::Closed => "closed",
        }
    }
}

/// One changed prefix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Whole prefix.
    pub prefix: String,
    /// Name of the destination.
    pub area_name: String,
    /// Price per minute before, when there was one.
    pub old: Option<Decimal>,
    /// Price per minute after, when there is one.
    pub new: Option<Decimal>,
    /// From when, UTC ms.
    pub from_ms: i64,
}

impl Change {
    /// By how many percent the price rises, negative when it falls, to two decimals; `None` without two prices, or when
    /// the old one is 0.
    pub fn percent(&self) -> Option<Decimal> {
        percent(self.old?, self.new?)
    }
}

fn percent(old: Decimal, new: Decimal) -> Option<Decimal> {
    let of_old = new.checked_sub(old)?.checked_mul(Decimal::ONE_HUNDRED)?.checked_div(old)?;
    Some(of_old.round_dp_with_strategy(2, rust_decimal::RoundingStrategy::MidpointAwayFromZero))
}

/// How many rows of one kind, and some of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// All of them.
    pub count: usize,
    /// Some, [`ImportOptions::examples`] at most: of prices that rise or fall those that do by the most percent, the
    /// largest first; of others the first by prefix.
    pub first: Vec<Change>,
}

impl Changes {
    fn add(&mut self, most: usize, change: impl FnOnce() -> Change) {
        self.count += 1;
        if self.first.len() < most {
            self.first.push(change());
        }
    }

    /// Keeps the largest. A price that was 0 rises by more than any percentage.
    fn add_largest(&mut self, most: usize, change: &Change) {
        self.count += 1;
        let full = most > 0 && self.first.len() == most;
        if full && self.first.last().is_some_and(|least| larger(change, least) != Ordering::Less) {
            return;
        }
        let at = self.first.partition_point(|known| larger(known, change) != Ordering::Greater);
        self.first.insert(at, change.clone());
        self.first.truncate(most);
    }
}

/// [`Ordering::Less`] when `a` changes by more percent than `b`.
fn larger(a: &Change, b: &Change) -> Ordering {
    let key = |change: &Change| (change.percent().is_none(), change.percent().unwrap_or_default().abs());
    key(b).cmp(&key(a))
}

/// What happens to one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Area {
    /// Its name.
    pub name: String,
    /// Prefixes that are new.
    pub added: usize,
    /// Prefixes that get dearer.
    pub raised: usize,
    /// Prefixes that get cheaper.
    pub lowered: usize,
    /// Prefixes that end.
    pub closed: usize,
    /// The largest rise in percent.
    pub most_raised: Option<Decimal>,
    /// The largest fall in percent, negative.
    pub most_lowered: Option<Decimal>,
}

/// What an import would do. Every row of the file is in exactly one of `added`, `raised`,
/// `lowered`, `changed` and `unchanged`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// Prefixes that had no rate.
    pub added: Changes,
    /// Dearer than before.
    pub raised: Changes,
    /// Cheaper than before.
    pub lowered: Changes,
    /// Same price, something else differs (blocks, name, lock, validity, ...).
    pub changed: Changes,
    /// Nothing differs.
    pub unchanged: Changes,
    /// Rows that end because their prefix is missing from the file (replace all).
    pub closed: Changes,
    /// Raised rates that begin before the notice is over.
    pub raised_early: Changes,
    /// Rates of the file that the fee precision rounds; `new` is the rate as it would be used.
    pub digits_lost: Changes,
    /// Destinations by their largest change in percent, [`ImportOptions::examples`] at most.
    pub areas: Vec<Area>,
    /// Why the import would fail, by prefix; the first [`EXAMPLES_MAX`].
    pub conflicts: Vec<ImportError>,
    #[serde(skip)]
    by_area: HashMap<String, Area>,
    #[serde(skip)]
    options: Option<(Option<u8>, i64, usize)>,
}

impl Preview {
    pub(super) fn new(options: &ImportOptions) -> Preview {
        let notice_ms = i64::from(options.notice_days).saturating_mul(DAY_MS);
        let notice_until_ms = options.at_ms.saturating_add(notice_ms);
        Preview { options: Some((options.fp, notice_until_ms, options.examples)), ..Preview::default() }
    }

    /// Counts what happens to one prefix.
    pub(super) fn take(&mut self, plan: &Plan<'_>, see: &mut impl FnMut(Kind, &Change)) {
        let (fp, notice_until_ms, most) = self.options.unwrap_or_default();
        for (row, step) in &plan.steps {
            let old = match step {
                Step::Keep { old } => Some(*old),
                Step::Insert { replaces, .. } => *replaces,
            };
            let change = Change {
                prefix: row.prefix(),
                area_name: row.area_name.clone(),
                old: old.map(|old| old.rate_per_min),
                new: Some(row.rate_per_min),
                from_ms: plan.begin_ms(row, step),
            };
            let kind = match (step, old) {
                (Step::Keep { .. }, _) => Kind::Unchanged,
                (_, None) => Kind::Added,
                (_, Some(old)) => match row.rate_per_min.cmp(&old.rate_per_min) {
                    Ordering::Greater => Kind::Raised,
                    Ordering::Less => Kind::Lowered,
                    Ordering::Equal => Kind::Changed,
                },
            };
            if kind == Kind::Raised && change.from_ms < notice_until_ms {
                self.raised_early.add(most, || change.clone());
            }
            if let Some(used) = fp.and_then(|fp| rounded_rate(row.rate_per_min, fp)) {
                let lost = || Change { old: Some(row.rate_per_min), new: Some(used), ..change.clone() };
                self.digits_lost.add(most, lost);
            }
            self.count(kind, change, most, see);
        }
        for row in &plan.missing {
            let change = Change {
                prefix: row.prefix(),
                area_name: row.area_name.clone(),
                old: Some(row.rate_per_min),
                new: None,
                from_ms: plan.from_ms,
            };
            self.count(Kind::Closed, change, most, see);
        }
        let room = EXAMPLES_MAX.saturating_sub(self.conflicts.len());
        self.conflicts.extend(plan.conflicts.iter().take(room).cloned());
    }

    fn count(&mut self, kind: Kind, change: Change, most: usize, see: &mut impl FnMut(Kind, &Change)) {
        match kind {
            Kind::Added => self.added.add(most, || change.clone()),
            Kind::Raised => self.raised.add_largest(most, &change),
            Kind::Lowered => self.lowered.add_largest(most, &change),
            Kind::Changed => self.changed.add(most, || change.clone()),
            Kind::Unchanged => self.unchanged.add(most, || change.clone()),
            Kind::Closed => self.closed.add(most, || change.clone()),
        }
        see(kind, &change);
        if matches!(kind, Kind::Unchanged | Kind::Changed) {
            return;
        }
        let area = match self.by_area.get_mut(&change.area_name) {
            Some(area) => area,
            None => {
                let name = change.area_name.clone();
                self.by_area.entry(name.clone()).or_insert(Area { name, ..Area::default() })
            }
        };
        let percent = change.percent();
        match kind {
            Kind::Added => area.added += 1,
            Kind::Raised => {
                area.raised += 1;
                area.most_raised = area.most_raised.max(percent);
            }
            Kind::Lowered => {
                area.lowered += 1;
                area.most_lowered = area.most_lowered.into_iter().chain(percent).min();
            }
            Kind::Closed => area.closed += 1,
            Kind::Changed | Kind::Unchanged => {}
        }
    }

    /// Orders the destinations; called once, at the end.
    pub(super) fn finish(&mut self) {
        let (_, _, most) = self.options.take().unwrap_or_default();
        let mut areas: Vec<Area> = std::mem::take(&mut self.by_area).into_values().collect();
        let change = |area: &Area| {
            let largest = |percent: Option<Decimal>| percent.unwrap_or_default().abs();
            largest(area.most_raised).max(largest(area.most_lowered))
        };
        areas.sort_by(|a, b| change(b).cmp(&change(a)).then_with(|| a.name.cmp(&b.name)));
        areas.truncate(most);
        self.areas = areas;
    }
}
