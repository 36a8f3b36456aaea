//! What an import does to a deck: the preview and the doing (rates.md sections 4 and 5).
//!
//! Both walk the same plan, so what was shown is what happens. History is kept: a row that was in
//! force is closed where its successor begins, never changed, so that old CDRs can be re-rated.
//! Rows meet by whole prefix, however it is split into rate prefix and area code.

mod preview;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::deck::{Builder, DECK_ROWS_MAX};
use crate::money;
use crate::rate::{Deck, DeckError, Rate};

pub use preview::{Area, Change, Changes, Kind, Preview};

/// Examples that a preview keeps of each kind of change.
pub const EXAMPLES_MAX: usize = 10;

/// Days of notice that a raised rate is commonly given (rates.md section 5).
pub const NOTICE_DAYS_DEFAULT: u32 = 7;

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
    /// When rows begin that name no beginning, and when rows end that the file does not name; UTC ms, never before `at_ms`.
    /// `None`: at once.
    pub from_ms: Option<i64>,
    /// A prefix that ends although the file does not name it, whatever the mode.
    pub close: Option<String>,
    /// Examples that the preview keeps of each kind of change.
    pub examples: usize,
    /// Rows that ended before this instant are let go of, UTC ms; `None`: as long as there is room. See [`Forgotten`].
    pub keep_ended_since_ms: Option<i64>,
    /// Most rows of the deck.
    pub rows_max: usize,
}

impl ImportOptions {
    /// An import at `at_ms` with the usual notice and no check for lost digits.
    pub fn new(mode: ImportMode, at_ms: i64) -> ImportOptions {
        ImportOptions {
            mode,
            at_ms,
            fp: None,
            notice_days: NOTICE_DAYS_DEFAULT,
            from_ms: None,
            close: None,
            examples: EXAMPLES_MAX,
            keep_ended_since_ms: None,
            rows_max: DECK_ROWS_MAX,
        }
    }
}

/// How long a row is kept in any case after it has ended: a call that was answered by it may still be rated by it. Longer than any
/// call is; shorter would take the rates from under calls in progress, longer would refuse more imports of whole decks in a row.
pub const ENDED_KEPT_MS: i64 = 2 * 86_400_000;

/// Rows that an import lets go of because they ended long ago. The versions that had them still have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// How many.
    pub rows: usize,
    /// All of them ended at this instant or before, UTC ms: calls answered before it may find no row in the deck any more.
    pub until_ms: i64,
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
    /// A row that ends before it would begin.
    #[error("prefix {prefix:?}: the row ends before it would begin, with the sheet")]
    NeverBegins {
        /// Whole prefix.
        prefix: String,
    },
}

/// What an import of `new` into `old` would do; changes nothing.
pub fn diff(old: &[Rate], new: &[Rate], options: &ImportOptions) -> Preview {
    let mut preview = Preview::new(options);
    walk(in_order(old), new, options, |plan| preview.take(plan, &mut |_, _| {}));
    preview.finish();
    preview
}

/// The rows after importing `new` into `old`, ordered by prefix and validity.
///
/// Rows of the file get numbers above all that were there; rows that stay keep theirs. A row that
/// names no beginning begins at `at_ms` when its prefix has been rated before, otherwise it is
/// open. A row whose beginning is past takes over at `at_ms`. Errors: the first conflict by
/// prefix; then nothing has changed.
pub fn apply_import(old: &[Rate], new: &[Rate], options: &ImportOptions) -> Result<Vec<Rate>, ImportError> {
    let mut rows = Vec::new();
    let mut conflict = None;
    let mut rate_id = old.iter().map(|row| row.rate_id).max().unwrap_or(0);
    walk(in_order(old), new, options, |plan| {
        conflict = conflict.take().or(plan.conflicts.first().cloned());
        let mut group = plan.result(&mut rate_id);
        group.sort_by_key(Rate::valid_from);
        rows.append(&mut group);
    });
    conflict.map_or(Ok(rows), Err)
}

/// What [`import_into`] did.
#[derive(Debug)]
pub struct Imported {
    /// What the import changes.
    pub preview: Preview,
    /// The deck after it; `None` when there are conflicts.
    pub deck: Option<Deck>,
    /// What it has no more; `None` when nothing was let go of.
    pub forgotten: Option<Forgotten>,
}

/// Preview and import in one pass over a compiled deck, with few rows in memory at a time but those of the file: `old` may be none.
/// `see` gets every change, `watch` now and then how many rows of the file are done.
///
/// Rows that ended before [`ImportOptions::keep_ended_since_ms`] are left out of the new deck; when it would have more
/// than [`ImportOptions::rows_max`] all the same, those that ended first are too, never one that ended within [`ENDED_KEPT_MS`].
///
/// # Errors
/// Rows that do not make a deck together.
pub fn import_into(
    name: &str,
    old: Option<&Deck>,
    new: Vec<Rate>,
    options: &ImportOptions,
    mut see: impl FnMut(Kind, &Change),
    watch: impl Fn(u64),
) -> Result<Imported, DeckError> {
    const TOLD_EVERY: u64 = 4_096;
    let mut preview = Preview::new(options);
    let mut builder = Builder::with_room(name, old, &new);
    let mut failed = None;
    let mut rate_id = old.into_iter().flat_map(Deck::iter).map(|row| row.rate_id()).max().unwrap_or(0);
    let (mut number, mut done) = (0, 0);
    walk(old.into_iter().flat_map(Deck::iter).map(|row| row.rate()), &new, options, |plan| {
        preview.take(plan, &mut see);
        done += plan.steps.len() as u64;
        if done % TOLD_EVERY == 0 {
            watch(done);
        }
        if failed.is_some() || !preview.conflicts.is_empty() {
            return;
        }
        let mut group = plan.result(&mut rate_id);
        group.sort_by(Builder::order);
        for row in &group {
            number += 1;
            if let Err(error) = builder.push(row, number) {
                failed = Some(error);
                return;
            }
        }
    });
    // The index of the deck takes as much again for a moment.
    drop(new);
    preview.finish();
    if let Some(error) = failed {
        return Err(error);
    }
    if !preview.conflicts.is_empty() {
        return Ok(Imported { preview, deck: None, forgotten: None });
    }
    let newest_ms = options.at_ms.saturating_sub(ENDED_KEPT_MS);
    let asked_ms = options.keep_ended_since_ms.map(|since_ms| since_ms.saturating_sub(1));
    let until_ms = asked_ms.max(builder.ends_to_forget(options.rows_max)).map(|until_ms| until_ms.min(newest_ms));
    let forgotten = until_ms.and_then(|until_ms| match builder.forget(until_ms) {
        0 => None,
        rows => Some(Forgotten { rows, until_ms }),
    });
    Ok(Imported { preview, deck: Some(builder.finish(options.rows_max)?), forgotten })
}

/// Rows by prefix, and in their order within one.
fn in_order(rows: &[Rate]) -> impl Iterator<Item = Rate> {
    let mut order: Vec<&Rate> = rows.iter().collect();
    order.sort_by(|a, b| a.cmp_prefix(b));
    order.into_iter().cloned()
}

/// Plans prefix by prefix; `old` comes ordered by prefix.
fn walk(old: impl Iterator<Item = Rate>, new: &[Rate], options: &ImportOptions, mut group: impl FnMut(&mut Plan<'_>)) {
    // Positions, not references: half the memory.
    let mut order: Vec<u32> = (0..new.len() as u32).collect();
    let row = |at: u32| &new[at as usize];
    order.sort_by(|a, b| row(*a).cmp_prefix(row(*b)).then(row(*a).valid_from().cmp(&row(*b).valid_from())));
    let mut old = old.peekable();
    let mut new = order.into_iter().map(row).peekable();
    loop {
        let first = match (old.peek(), new.peek()) {
            (None, None) => return,
            (Some(row), None) => row.clone(),
            (None, Some(row)) => (*row).clone(),
            (Some(old), Some(new)) => {
                if old.cmp_prefix(new).is_le() {
                    old.clone()
                } else {
                    (*new).clone()
                }
            }
        };
        let is_same = |row: &Rate| row.cmp_prefix(&first).is_eq();
        let (mut olds, mut news): (Vec<Rate>, Vec<&Rate>) = (Vec::new(), Vec::new());
        while let Some(row) = old.next_if(|row| is_same(row)) {
            olds.push(row);
        }
        while let Some(row) = new.next_if(|row| is_same(row)) {
            news.push(row);
        }
        let mut plan = Plan::new(options);
        let ends =
            || options.mode == ImportMode::ReplaceAll || options.close.as_deref() == Some(first.prefix().as_str());
        if news.is_empty() && ends() {
            plan.close_missing(&olds);
        } else {
            plan.meet(&first.prefix(), &olds, &news, options.mode);
        }
        group(&mut plan);
    }
}

/// What happens to one row of the file.
enum Step<'a> {
    /// It says what is already so.
    Keep { old: &'a Rate },
    /// It is put in, beginning at `from_ms`, in place of a row or of none.
    Insert { from_ms: Option<i64>, replaces: Option<&'a Rate> },
}

/// What happens to the rows of one prefix.
struct Plan<'a> {
    at_ms: i64,
    /// When rows begin that do not say when.
    from_ms: i64,
    /// The sheet says when.
    is_dated: bool,
    /// Rows of the file, by beginning.
    steps: Vec<(&'a Rate, Step<'a>)>,
    /// Old rows that stay, closed where a successor begins.
    kept: Vec<Rate>,
    /// Old rows that end because the file does not name their prefix.
    missing: Vec<&'a Rate>,
    conflicts: Vec<ImportError>,
}

impl<'a> Plan<'a> {
    fn new(options: &ImportOptions) -> Plan<'a> {
        Plan {
            at_ms: options.at_ms,
            from_ms: options.from_ms.unwrap_or(options.at_ms).max(options.at_ms),
            is_dated: options.from_ms.is_some(),
            steps: Vec::new(),
            kept: Vec::new(),
            missing: Vec::new(),
            conflicts: Vec::new(),
        }
    }

    /// The rows of this prefix after the import, in no order; new ones take the numbers above `rate_id`.
    fn result(&mut self, rate_id: &mut u64) -> Vec<Rate> {
        let mut rows = std::mem::take(&mut self.kept);
        for (row, step) in &self.steps {
            if let Step::Insert { from_ms, .. } = step {
                *rate_id += 1;
                rows.push(Rate { rate_id: *rate_id, effective_from_ms: *from_ms, ..(*row).clone() });
            }
        }
        rows
    }

    /// Puts the file's rows of one prefix (ordered by beginning) among the rows that are there.
    fn meet(&mut self, prefix: &str, old: &'a [Rate], new: &[&'a Rate], mode: ImportMode) {
        let placed: Vec<Rate> = new.iter().map(|row| self.placed(row, !old.is_empty())).collect();
        let mut inserted: Vec<&Rate> = Vec::new();
        let mut kept_whole: Vec<&Rate> = Vec::new();
        for (&row, place) in new.iter().zip(&placed) {
            let met: Vec<&'a Rate> = old.iter().filter(|old| old.overlaps(place)).collect();
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
            } else if place.effective_to_ms.is_some_and(|to_ms| to_ms <= place.valid_from()) {
                let prefix = prefix.to_owned();
                self.conflicts.push(ImportError::NeverBegins { prefix });
            }
            // Compared with what a caller pays at that moment: the row in force where it begins.
            let replaces = met.iter().copied().find(|old| old.is_valid_at(place.valid_from())).or(met.first().copied());
            self.steps.push((row, Step::Insert { from_ms: place.effective_from_ms, replaces }));
            inserted.push(place);
        }
        for row in old {
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
            let from_ms = row.effective_from_ms.unwrap_or(self.from_ms);
            placed.effective_from_ms = Some(from_ms.max(self.at_ms));
        } else if self.is_dated && row.effective_from_ms.is_none() {
            placed.effective_from_ms = Some(self.from_ms);
        }
        placed
    }

    fn is_past(&self, row: &Rate) -> bool {
        row.effective_to_ms.is_some_and(|to_ms| to_ms <= self.at_ms)
    }

    fn close_missing(&mut self, old: &'a [Rate]) {
        for row in old {
            // What ends before the sheet begins ends by itself.
            if row.effective_to_ms.is_some_and(|to_ms| to_ms <= self.from_ms) {
                self.kept.push(row.clone());
                continue;
            }
            self.missing.push(row);
            if row.valid_from() < self.from_ms {
                self.kept.push(closed_at(row, self.from_ms));
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
