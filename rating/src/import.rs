//! What an import does to a deck: the preview and the doing (rates.md sections 4 and 5).
//!
//! Both walk the same plan, so what was shown is what happens. History is kept: a row that was in
//! force is closed where its successor begins, never changed, so that old CDRs can be re-rated.
//! Rows meet by whole prefix, however it is split into rate prefix and area code.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::money;
use crate::rate::Rate;

/// Examples that a preview keeps of each kind of change.
pub const EXAMPLES_MAX: usize = 10;

/// Days of notice that a raised rate is commonly given (rates.md section 5).
pub const NOTICE_DAYS_DEFAULT: u32 = 7;

const DAY_MS: i64 = 86_400_000;

/// What a file may do to the rows that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportMode {
    /// Only new prefixes; an existing one fails the whole file.
    Add,
    /// New prefixes are added, existing ones replaced.
    Merge,
    /// As merge, and prefixes missing from the file are closed.
    ReplaceAll,
}

/// How and when an import takes place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportOptions {
    /// What may happen to existing rows.
    pub mode: ImportMode,
    /// The instant of the import, UTC ms: nothing before it is changed.
    pub at_ms: i64,
    /// Fee precision when rates are quantised (TANDEM_RATE_QUANTISE on): rates that lose digits by
    /// it are counted. `None`: rates are used as they are.
    pub fp: Option<u8>,
    /// Raised rates that begin earlier than this many days after `at_ms` are flagged.
    pub notice_days: u32,
}

impl ImportOptions {
    /// An import at `at_ms` with the usual notice and no check for lost digits.
    pub fn new(mode: ImportMode, at_ms: i64) -> ImportOptions {
        ImportOptions { mode, at_ms, fp: None, notice_days: NOTICE_DAYS_DEFAULT }
    }
}

/// One changed prefix, as an example in a preview.
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

/// How many rows of one kind, and the first of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// All of them.
    pub count: usize,
    /// The first [`EXAMPLES_MAX`], by prefix.
    pub first: Vec<Change>,
}

impl Changes {
    fn add(&mut self, change: impl FnOnce() -> Change) {
        self.count += 1;
        if self.first.len() < EXAMPLES_MAX {
            self.first.push(change());
        }
    }
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
    /// Why the import would fail, by prefix; the first [`EXAMPLES_MAX`].
    pub conflicts: Vec<ImportError>,
}

/// Why an import was refused; nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ImportError {
    /// Mode add met a prefix that has a rate.
    #[error("prefix {prefix:?} already has a rate at that time; mode add only takes new prefixes")]
    Exists {
        /// Whole prefix.
        prefix: String,
    },
    /// A row that ended before the import would overwrite rates that calls were charged by.
    #[error("prefix {prefix:?}: the row ends before now and would rewrite rates that were in force")]
    History {
        /// Whole prefix.
        prefix: String,
    },
}

/// What an import of `new` into `old` would do; changes nothing.
pub fn diff(old: &[Rate], new: &[Rate], options: &ImportOptions) -> Preview {
    let plan = Plan::make(old, new, options);
    let mut preview = Preview::default();
    for (row, step) in &plan.steps {
        let from_ms = plan.begin_ms(row, step);
        let change = |old: Option<&Rate>| Change {
            prefix: row.prefix(),
            area_name: row.area_name.clone(),
            old: old.map(|old| old.rate_per_min),
            new: Some(row.rate_per_min),
            from_ms,
        };
        match step {
            Step::Keep { old } => preview.unchanged.add(|| change(Some(old))),
            Step::Insert { replaces: None, .. } => preview.added.add(|| change(None)),
            Step::Insert { replaces: Some(old), .. } => {
                if row.rate_per_min > old.rate_per_min {
                    preview.raised.add(|| change(Some(old)));
                    let notice_ms = i64::from(options.notice_days).saturating_mul(DAY_MS);
                    if from_ms < options.at_ms.saturating_add(notice_ms) {
                        preview.raised_early.add(|| change(Some(old)));
                    }
                } else if row.rate_per_min < old.rate_per_min {
                    preview.lowered.add(|| change(Some(old)));
                } else {
                    preview.changed.add(|| change(Some(old)));
                }
            }
        }
        if let Some(used) = options.fp.and_then(|fp| rounded_rate(row.rate_per_min, fp)) {
            preview.digits_lost.add(|| Change { old: Some(row.rate_per_min), new: Some(used), ..change(None) });
        }
    }
    for row in &plan.missing {
        preview.closed.add(|| Change {
            prefix: row.prefix(),
            area_name: row.area_name.clone(),
            old: Some(row.rate_per_min),
            new: None,
            from_ms: options.at_ms,
        });
    }
    preview.conflicts = plan.conflicts;
    preview.conflicts.truncate(EXAMPLES_MAX);
    preview
}

/// The rows after importing `new` into `old`, ordered by prefix and validity.
///
/// Rows of the file get numbers above all that were there; rows that stay keep theirs. A row that
/// names no beginning begins at `at_ms` when its prefix has been rated before, otherwise it is
/// open. A row whose beginning is past takes over at `at_ms`. Errors: the first conflict by
/// prefix; then nothing has changed.
pub fn apply_import(old: &[Rate], new: &[Rate], options: &ImportOptions) -> Result<Vec<Rate>, ImportError> {
    let plan = Plan::make(old, new, options);
    if let Some(conflict) = plan.conflicts.into_iter().next() {
        return Err(conflict);
    }
    let mut rows = plan.kept;
    let mut rate_id = old.iter().map(|row| row.rate_id).max().unwrap_or(0);
    for (row, step) in plan.steps {
        if let Step::Insert { from_ms, .. } = step {
            rate_id += 1;
            rows.push(Rate { rate_id, effective_from_ms: from_ms, ..row.clone() });
        }
    }
    rows.sort_by_cached_key(|row| (row.prefix(), row.valid_from()));
    Ok(rows)
}

/// What happens to one row of the file.
enum Step<'a> {
    /// It says what is already so.
    Keep { old: &'a Rate },
    /// It is put in, beginning at `from_ms`, in place of a row or of none.
    Insert { from_ms: Option<i64>, replaces: Option<&'a Rate> },
}

struct Plan<'a> {
    at_ms: i64,
    /// Rows of the file, by prefix.
    steps: Vec<(&'a Rate, Step<'a>)>,
    /// Old rows that stay, closed where a successor begins.
    kept: Vec<Rate>,
    /// Old rows that end because the file does not name their prefix.
    missing: Vec<&'a Rate>,
    conflicts: Vec<ImportError>,
}

impl<'a> Plan<'a> {
    fn make(old: &'a [Rate], new: &'a [Rate], options: &ImportOptions) -> Plan<'a> {
        let mut by_prefix: BTreeMap<String, (Vec<&Rate>, Vec<&Rate>)> = BTreeMap::new();
        for row in old {
            by_prefix.entry(row.prefix()).or_default().0.push(row);
        }
        for row in new {
            by_prefix.entry(row.prefix()).or_default().1.push(row);
        }
        let mut plan = Plan {
            at_ms: options.at_ms,
            steps: Vec::new(),
            kept: Vec::new(),
            missing: Vec::new(),
            conflicts: Vec::new(),
        };
        for (prefix, (old, mut new)) in by_prefix {
            if new.is_empty() && options.mode == ImportMode::ReplaceAll {
                plan.close_missing(&old);
            } else {
                new.sort_by_key(|row| row.valid_from());
                plan.meet(&prefix, &old, &new, options.mode);
            }
        }
        plan
    }

    /// Puts the file's rows of one prefix (ordered by beginning) among the rows that are there.
    fn meet(&mut self, prefix: &str, old: &[&'a Rate], new: &[&'a Rate], mode: ImportMode) {
        let placed: Vec<Rate> = new.iter().map(|row| self.placed(row, !old.is_empty())).collect();
        let mut inserted: Vec<&Rate> = Vec::new();
        let mut kept_whole: Vec<&Rate> = Vec::new();
        for (&row, place) in new.iter().zip(&placed) {
            let met: Vec<&Rate> = old.iter().copied().filter(|old| old.overlaps(place)).collect();
            // An old row that another row of the file cuts into cannot simply stay.
            let is_alone = |old: &Rate| {
                let mut others = placed.iter().filter(|other| !std::ptr::eq(*other, place));
                !others.any(|other| other.overlaps(old))
            };
            let same = met.iter().copied().find(|old| says_the_same(old, row, place) && is_alone(old));
            if let Some(same) = same
                && mode != ImportMode::Add
            {
                kept_whole.push(same);
                self.steps.push((row, Step::Keep { old: same }));
                continue;
            }
            if mode == ImportMode::Add && !met.is_empty() {
                let prefix = prefix.to_owned();
                self.conflicts.push(ImportError::Exists { prefix });
            } else if self.is_past(row) && !met.is_empty() {
                let prefix = prefix.to_owned();
                self.conflicts.push(ImportError::History { prefix });
            }
            // Compared with what a caller pays at that moment: the row in force where it begins.
            let replaces = met.iter().copied().find(|old| old.is_valid_at(place.valid_from())).or(met.first().copied());
            self.steps.push((row, Step::Insert { from_ms: place.effective_from_ms, replaces }));
            inserted.push(place);
        }
        for &row in old {
            let is_same = kept_whole.iter().any(|kept| std::ptr::eq(*kept, row));
            let successor_ms = inserted.iter().filter(|new| new.overlaps(row)).map(|new| new.valid_from()).min();
            match successor_ms {
                Some(at_ms) if !is_same => {
                    // A row that had not begun when its successor does was never in force.
                    if row.valid_from() < at_ms {
                        self.kept.push(closed_at(row, at_ms));
                    }
                }
                _ => self.kept.push(row.clone()),
            }
        }
    }

    /// The row with the beginning it gets: history stays, so beside old rows it is not before now.
    fn placed(&self, row: &Rate, beside_old: bool) -> Rate {
        let mut placed = row.clone();
        if beside_old && !self.is_past(row) {
            let from_ms = row.effective_from_ms.unwrap_or(self.at_ms);
            placed.effective_from_ms = Some(from_ms.max(self.at_ms));
        }
        placed
    }

    fn is_past(&self, row: &Rate) -> bool {
        row.effective_to_ms.is_some_and(|to_ms| to_ms <= self.at_ms)
    }

    fn close_missing(&mut self, old: &[&'a Rate]) {
        for &row in old {
            if self.is_past(row) {
                self.kept.push(row.clone());
                continue;
            }
            self.missing.push(row);
            if row.valid_from() < self.at_ms {
                self.kept.push(closed_at(row, self.at_ms));
            }
        }
    }

    fn begin_ms(&self, row: &Rate, step: &Step<'_>) -> i64 {
        match step {
            Step::Keep { old } => old.effective_from_ms.unwrap_or(self.at_ms),
            Step::Insert { from_ms, .. } => from_ms.or(row.effective_from_ms).unwrap_or(self.at_ms),
        }
    }
}

fn closed_at(row: &Rate, at_ms: i64) -> Rate {
    Rate { effective_to_ms: Some(at_ms), ..row.clone() }
}

/// Whether `old` already is what the file's `row` asks for: equal in all that is charged or shown,
/// ending together, and in force from where the row would begin.
fn says_the_same(old: &Rate, row: &Rate, placed: &Rate) -> bool {
    let validity_holds = old.effective_to_ms == row.effective_to_ms
        && (old.effective_from_ms == row.effective_from_ms || old.valid_from() <= placed.valid_from());
    validity_holds
        && *old
            == Rate {
                rate_id: old.rate_id,
                effective_from_ms: old.effective_from_ms,
                effective_to_ms: old.effective_to_ms,
                ..row.clone()
            }
}

/// The rate as step 7 of billing.md would use it, when that differs.
fn rounded_rate(rate_per_min: Decimal, fp: u8) -> Option<Decimal> {
    let step = Decimal::new(1, u32::from(fp.min(crate::fee::FP_MAX)));
    money::quantise(rate_per_min, step).ok().filter(|used| *used != rate_per_min)
}
