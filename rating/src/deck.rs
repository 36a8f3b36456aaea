//! The compiled deck: finds the row for a number among a million (rates.md section 3).
//!
//! A sheet says the same few prices, names and dates over and over. A compiled row is 32 bytes of numbers: where its
//! digits stand, and which price, validity and texts it has; each of those is kept once. With the index that is some
//! 70 MiB for a million rows, a quarter of what the rows weigh as they are read, and a look-up touches little of it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::Hash;

use rust_decimal::Decimal;
use smallvec::SmallVec;

use crate::error::OutOfRange;
use crate::fee::{RateTerms, Section, in_order};
use crate::least_cost::{PerSecond, per_second};
use crate::prefix::{PrefixError, PrefixTrie};
use crate::rate::Rate;

/// Most rows of one sheet (rates.md section 5).
pub const ROWS_MAX: usize = 1_000_000;
/// Most rows of one deck: those of a sheet, and rows that have ended since others took their place.
pub const DECK_ROWS_MAX: usize = 4 * ROWS_MAX;

/// Look-ups for which [`Deck::lookup_each`] needs no place on the heap.
const TOGETHER: usize = 16;

/// What a deck says about a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// The rate in force.
    Found(Row<'a>),
    /// The destination is forbidden by this row ("rate locked").
    Locked(Row<'a>),
    /// No row: the call is refused before routing ("rate not found").
    NotFound,
}

impl<'a> Lookup<'a> {
    fn of(row: Option<Row<'a>>) -> Lookup<'a> {
        match row {
            Some(row) if row.is_locked() => Lookup::Locked(row),
            Some(row) => Lookup::Found(row),
            None => Lookup::NotFound,
        }
    }
}

/// Why rows do not make a deck.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeckError {
    /// A row with a value outside its range.
    #[error("deck {deck:?}, prefix {prefix:?}: {reason}")]
    Row {
        /// Name of the deck.
        deck: String,
        /// Prefix of the row.
        prefix: String,
        /// Field, value and allowed range.
        reason: OutOfRange,
    },
    /// Two rows of one prefix valid at the same time.
    #[error("deck {deck:?}: rows {first} and {second} (prefix {prefix:?}) are valid at the same time")]
    Overlap {
        /// Name of the deck.
        deck: String,
        /// Their common prefix.
        prefix: String,
        /// Number of the earlier row in the list as given, from 1.
        first: usize,
        /// Number of the later row in the list as given, from 1.
        second: usize,
    },
    /// More rows than a deck may have, [`DECK_ROWS_MAX`]. Those that ended long ago an import takes out by itself.
    #[error(
        "deck {deck:?} has {rows} rows with those that ended in the last days; at most {DECK_ROWS_MAX} are allowed"
    )]
    TooManyRows {
        /// Name of the deck.
        deck: String,
        /// Rows given.
        rows: usize,
    },
    /// A prefix the index refuses.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
}

/// One compiled row. Every `u32` is a position in a list of the deck; [`DECK_ROWS_MAX`] is far below 2^32.
#[derive(Clone, Copy, Debug)]
struct Slot {
    rate_id: u64,
    /// Where its prefix begins in `digits`.
    digits: u32,
    price: u32,
    life: u32,
    area_name: u32,
    memo: u32,
    /// Digits of the whole prefix, and how many of them are the rate prefix; at most `PREFIX_LEN_MAX`.
    length: u8,
    fee_length: u8,
    lock: bool,
}

/// What a second costs and in which steps: shared by all rows that say the same. 32 bytes, so that the ten thousand prices of
/// a large deck stay near the core.
#[derive(Clone, Copy, Debug)]
struct Price {
    rate_per_min: Decimal,
    first_s: u32,
    next_s: u32,
    /// Position of the rest in `extras`.
    extra: u32,
    level: u8,
}

/// The part of a price that few rows have: one for all others.
#[derive(Clone, Debug)]
struct Extra {
    conn_fee: Decimal,
    tax_pct: Decimal,
    sections: Vec<Section>,
}

/// From when to when rows are valid, UTC ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Life {
    from_ms: Option<i64>,
    to_ms: Option<i64>,
}

/// The rows of one prefix.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: u32,
    end: u32,
}

/// A compiled, immutable rate group: built and checked whole, then shared and swapped whole.
#[derive(Clone, Default)]
pub struct Deck {
    name: String,
    /// Ordered by prefix; in a prefix the longer rate prefix first, then the earlier validity.
    slots: Vec<Slot>,
    /// All prefixes, one behind the other.
    digits: String,
    prices: Vec<Price>,
    /// One for each of `prices`: all that routing asks of it.
    costs: Vec<PerSecond>,
    extras: Vec<Extra>,
    lives: Vec<Life>,
    texts: Vec<Box<str>>,
    /// The distinct prefixes in order: number n has the rows of run n.
    index: PrefixTrie<()>,
    /// Empty when every prefix has one row, as in most decks: then run n is row n.
    runs: Vec<Run>,
}

impl Deck {
    /// Compiles `rows`, in any order.
    ///
    /// Errors: a row that is out of range, two rows of one rate prefix and area code that are valid
    /// at the same time, more than [`DECK_ROWS_MAX`] rows. Rows that make one prefix from different
    /// splits may overlap: the longer rate prefix wins (rates.md section 3).
    pub fn build(name: impl Into<String>, rows: Vec<Rate>) -> Result<Deck, DeckError> {
        let name = name.into();
        if rows.len() > DECK_ROWS_MAX {
            return Err(DeckError::TooManyRows { deck: name, rows: rows.len() });
        }
        let mut numbered: Vec<(usize, &Rate)> = (1..).zip(&rows).collect();
        numbered.sort_by(|(_, a), (_, b)| Builder::order(a, b));
        let mut builder = Builder::new(name);
        for (number, row) in numbered {
            builder.push(row, number)?;
        }
        builder.finish(DECK_ROWS_MAX)
    }

    fn push(&mut self, prefix: &str, row: &Rate, known: &mut Known) {
        let (costs, extras) = (&mut self.costs, &mut self.extras);
        let price = known.prices.place(PriceKey::of(row), &mut self.prices, || {
            costs.push(per_second(row.rate_per_min));
            let extra = known.extras.place(ExtraKey::of(row), extras, || Extra {
                conn_fee: row.conn_fee,
                tax_pct: row.tax_pct,
                sections: row.sections.clone(),
            });
            Price { rate_per_min: row.rate_per_min, first_s: row.first_s, next_s: row.next_s, extra, level: row.level }
        });
        let life = Life { from_ms: row.effective_from_ms, to_ms: row.effective_to_ms };
        let life = known.lives.place(life, &mut self.lives, || life);
        let mut text = |text: &String| known.texts.place(text.clone(), &mut self.texts, || text.as_str().into());
        let slot = Slot {
            rate_id: row.rate_id,
            digits: self.digits.len() as u32,
            price,
            life,
            area_name: text(&row.area_name),
            memo: text(&row.memo),
            length: prefix.len() as u8,
            fee_length: row.fee_prefix.len() as u8,
            lock: row.lock,
        };
        self.slots.push(slot);
        self.digits.push_str(prefix);
    }

    /// The row for `number` at `at_ms` (UTC ms): the longest prefix among the rows valid then, an
    /// empty prefix being the default row; of one length, the longer rate prefix.
    pub fn lookup(&self, number: impl AsRef<[u8]>, at_ms: i64) -> Lookup<'_> {
        let number = number.as_ref();
        let run = self.index.longest_at(number).map(|(_, run)| run);
        Lookup::of(self.valid_or_shorter(run, number, at_ms))
    }

    /// [`lookup`](Self::lookup) of several numbers, each in its own deck, in their order.
    ///
    /// A look-up in a large deck is a row of waits for memory; those of different decks overlap when each step is taken
    /// in all decks before the next.
    pub fn lookup_each<'a>(asked: &[(&'a Deck, &str)], at_ms: i64) -> SmallVec<[Lookup<'a>; TOGETHER]> {
        let mut runs: SmallVec<[Option<usize>; TOGETHER]> = SmallVec::new();
        let walks: SmallVec<[_; TOGETHER]> =
            asked.iter().map(|(deck, number)| (&deck.index, number.as_bytes())).collect();
        PrefixTrie::longest_each(&walks, |found| runs.push(found.map(|(_, run)| run)));
        let row = |((deck, number), run): (&(&'a Deck, &str), Option<usize>)| {
            Lookup::of(deck.valid_or_shorter(run, number.as_bytes(), at_ms))
        };
        asked.iter().zip(runs).map(row).collect()
    }

    /// The row that [`Row::place`] named; `None` from another deck.
    pub fn row(&self, place: u32) -> Option<Row<'_>> {
        ((place as usize) < self.slots.len()).then_some(Row { deck: self, at: place as usize })
    }

    /// The valid row of `run`, the longest match of `number`, or else of the next shorter one that has one.
    fn valid_or_shorter(&self, run: Option<usize>, number: &[u8], at_ms: i64) -> Option<Row<'_>> {
        // Nearly always the longest match is also valid; the full list is the exception.
        let shorter = || self.index.matches_at(number).rev().skip(1).find_map(|(_, run)| self.valid(run, at_ms));
        self.valid(run?, at_ms).or_else(shorter)
    }

    /// The first row of a run that is valid at `at_ms`.
    fn valid(&self, run: usize, at_ms: i64) -> Option<Row<'_>> {
        self.rows_of(run).find(|row| row.is_valid_at(at_ms))
    }

    fn rows_of(&self, run: usize) -> impl Iterator<Item = Row<'_>> {
        let rows = match self.runs.get(run) {
            Some(run) => run.first as usize..run.end as usize,
            None => run..run + 1,
        };
        rows.map(|at| Row { deck: self, at })
    }

    /// Instants after `from_ms` and before `until_ms` at which a row for `number` begins or ends, in no order: between two of
    /// them the same row is found.
    pub fn edges(&self, number: impl AsRef<[u8]>, from_ms: i64, until_ms: i64) -> Vec<i64> {
        let rows = self.index.matches_at(number.as_ref()).flat_map(|(_, run)| self.rows_of(run));
        let lives = rows.flat_map(|row| [row.life().from_ms, row.life().to_ms]);
        lives.flatten().filter(|edge| *edge > from_ms && *edge < until_ms).collect()
    }

    /// Puts `to_ms` in the place of `from_ms` wherever a validity begins or ends then: a deck that was made ready at one
    /// instant and comes into force at a later one. False, and nothing is changed, when another validity begins or ends
    /// in between, or would be left empty.
    #[must_use]
    pub fn move_instant(&mut self, from_ms: i64, to_ms: i64) -> bool {
        let between = |ms: Option<i64>| ms.is_some_and(|ms| from_ms < ms && ms <= to_ms);
        if self.lives.iter().any(|life| between(life.from_ms) || between(life.to_ms)) {
            return false;
        }
        let moved = |ms: &mut Option<i64>| {
            if *ms == Some(from_ms) {
                *ms = Some(to_ms);
            }
        };
        for life in &mut self.lives {
            moved(&mut life.from_ms);
            moved(&mut life.to_ms);
        }
        true
    }

    /// Name of the rate group.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The rows as they were given, ordered by prefix and validity: made anew, for lists and sheets.
    pub fn rows(&self) -> Vec<Rate> {
        self.iter().map(|row| row.rate()).collect()
    }

    /// The compiled rows in the same order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Row<'_>> + DoubleEndedIterator {
        (0..self.slots.len()).map(|at| Row { deck: self, at })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// True without rows.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

impl fmt::Debug for Deck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Deck {{ {:?}, {} rows, {} prices }}", self.name, self.slots.len(), self.prices.len())
    }
}

/// Compiles rows one after the other, so that a million of them need not be there at once.
pub(crate) struct Builder {
    deck: Deck,
    known: Known,
    /// The row before: its number, and until when it is valid.
    last: Option<(usize, Option<i64>)>,
}

impl Builder {
    pub(crate) fn new(name: impl Into<String>) -> Builder {
        Builder { deck: Deck { name: name.into(), ..Deck::default() }, known: Known::default(), last: None }
    }

    /// One with room for the rows of `old` and `new`: lists that grow by doubling are there twice for a moment.
    pub(crate) fn with_room(name: impl Into<String>, old: Option<&Deck>, new: &[Rate]) -> Builder {
        let mut builder = Builder::new(name);
        let (old_rows, old_digits) = old.map_or((0, 0), |old| (old.slots.len(), old.digits.len()));
        let new_digits: usize = new.iter().map(|row| row.fee_prefix.len() + row.area_code.len()).sum();
        builder.deck.slots.reserve_exact(old_rows + new.len());
        builder.deck.digits.reserve_exact(old_digits + new_digits);
        builder
    }

    /// The order in which rows are pushed. In a run the longer rate prefix comes first, then the earlier validity: the
    /// first valid row of a run is the answer.
    pub(crate) fn order(a: &Rate, b: &Rate) -> std::cmp::Ordering {
        let split = b.fee_prefix.len().cmp(&a.fee_prefix.len());
        a.cmp_prefix(b).then(split).then(a.valid_from().cmp(&b.valid_from()))
    }

    /// Takes the next row in [`Builder::order`]; `number` is named when it overlaps with another.
    pub(crate) fn push(&mut self, row: &Rate, number: usize) -> Result<(), DeckError> {
        let deck = &mut self.deck;
        let prefix = row.prefix();
        if let Err(reason) = row.validate() {
            return Err(DeckError::Row { deck: deck.name.clone(), prefix, reason });
        }
        if deck.slots.len() == DECK_ROWS_MAX + ROWS_MAX {
            // A full deck and a full sheet; what ended long ago can be let go of before the end.
            return Err(DeckError::TooManyRows { deck: deck.name.clone(), rows: deck.slots.len() + 1 });
        }
        let at = deck.slots.len() as u32;
        let last =
            deck.slots.last().map(|slot| (slot.fee_length, Row { deck, at: deck.slots.len() - 1 }.prefix() == prefix));
        let same_prefix = last.is_some_and(|(_, same)| same);
        if let (Some((fee_length, true)), Some((last_number, last_to_ms))) = (last, self.last)
            && usize::from(fee_length) == row.fee_prefix.len()
            && last_to_ms.is_none_or(|to_ms| row.valid_from() < to_ms)
        {
            let (first, second) = (number.min(last_number), number.max(last_number));
            return Err(DeckError::Overlap { deck: deck.name.clone(), prefix, first, second });
        }
        deck.push(&prefix, row, &mut self.known);
        self.last = Some((number, row.effective_to_ms));
        match deck.runs.last_mut() {
            Some(run) if same_prefix => run.end = at + 1,
            _ => deck.runs.push(Run { first: at, end: at + 1 }),
        }
        Ok(())
    }

    /// The instant up to which rows must have ended that are let go of for the deck to have at most `most` rows, those that
    /// ended first going first; `None` when there is room for all. One pass over the rows.
    pub(crate) fn ends_to_forget(&self, most: usize) -> Option<i64> {
        let deck = &self.deck;
        let mut over = deck.slots.len().checked_sub(most).filter(|over| *over > 0)?;
        let mut ended: BTreeMap<i64, usize> = BTreeMap::new();
        // Few validities, many rows.
        let mut counts = vec![0; deck.lives.len()];
        for slot in &deck.slots {
            counts[slot.life as usize] += 1;
        }
        for (life, count) in deck.lives.iter().zip(counts) {
            if let Some(to_ms) = life.to_ms {
                *ended.entry(to_ms).or_default() += count;
            }
        }
        let mut until_ms = None;
        for (to_ms, count) in ended {
            until_ms = Some(to_ms);
            over = over.saturating_sub(count);
            if over == 0 {
                break;
            }
        }
        until_ms
    }

    /// Takes out the rows that ended at `until_ms` or before, and says how many. The row with the highest number stays
    /// whatever it is: numbers are given out above it, and none is given twice.
    pub(crate) fn forget(&mut self, until_ms: i64) -> usize {
        let deck = &mut self.deck;
        let highest = deck.slots.iter().map(|slot| slot.rate_id).max().unwrap_or(0);
        let lives = &deck.lives;
        let stays = |slot: &Slot| {
            slot.rate_id == highest || lives[slot.life as usize].to_ms.is_none_or(|to_ms| to_ms > until_ms)
        };
        let before = deck.slots.len();
        if deck.slots.iter().all(stays) {
            return 0;
        }
        let mut digits = String::with_capacity(deck.digits.len());
        let mut slots = Vec::with_capacity(before);
        let mut runs = Vec::with_capacity(deck.runs.len());
        for run in &deck.runs {
            let first = slots.len() as u32;
            for slot in deck.slots[run.first as usize..run.end as usize].iter().filter(|slot| stays(slot)) {
                let begin = slot.digits as usize;
                slots.push(Slot { digits: digits.len() as u32, ..*slot });
                digits.push_str(&deck.digits[begin..begin + usize::from(slot.length)]);
            }
            let end = slots.len() as u32;
            if end > first {
                runs.push(Run { first, end });
            }
        }
        (deck.slots, deck.digits, deck.runs) = (slots, digits, runs);
        before - deck.slots.len()
    }

    /// The deck, when it has at most `most` rows.
    pub(crate) fn finish(self, most: usize) -> Result<Deck, DeckError> {
        let Builder { mut deck, known, .. } = self;
        drop(known);
        if deck.slots.len() > most {
            return Err(DeckError::TooManyRows { deck: deck.name, rows: deck.slots.len() });
        }
        let first = |run: &Run| (Row { deck: &deck, at: run.first as usize }.prefix(), ());
        let index = PrefixTrie::build(deck.runs.iter().map(first))?;
        deck.index = index;
        if deck.runs.len() == deck.slots.len() {
            deck.runs = Vec::new();
        }
        deck.slots.shrink_to_fit();
        deck.digits.shrink_to_fit();
        deck.runs.shrink_to_fit();
        deck.prices.shrink_to_fit();
        deck.costs.shrink_to_fit();
        deck.extras.shrink_to_fit();
        deck.texts.shrink_to_fit();
        Ok(deck)
    }
}

/// One row of a deck, by reference.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    deck: &'a Deck,
    at: usize,
}

impl<'a> Row<'a> {
    /// The row as it was given to [`Deck::build`].
    pub fn rate(&self) -> Rate {
        let (slot, price, extra, life) = (self.slot(), self.price(), self.extra(), self.life());
        let (fee_prefix, area_code) = self.prefix().split_at(usize::from(slot.fee_length));
        Rate {
            rate_id: slot.rate_id,
            fee_prefix: fee_prefix.to_owned(),
            area_code: area_code.to_owned(),
            area_name: self.deck.texts[slot.area_name as usize].to_string(),
            level: price.level,
            rate_per_min: price.rate_per_min,
            first_s: price.first_s,
            next_s: price.next_s,
            sections: extra.sections.clone(),
            conn_fee: extra.conn_fee,
            tax_pct: extra.tax_pct,
            lock: slot.lock,
            effective_from_ms: life.from_ms,
            effective_to_ms: life.to_ms,
            memo: self.deck.texts[slot.memo as usize].to_string(),
        }
    }

    /// What a leg is charged by; taken at the answer and kept for the life of the call.
    pub fn terms(&self) -> RateTerms {
        self.terms_with(self.prefix())
    }

    /// [`terms`](Self::terms) of the row that was found for `number`: its prefix is what `number` begins with, and need not be
    /// fetched, which in a large deck is a wait for memory.
    pub fn terms_for(&self, number: &str) -> RateTerms {
        match number.get(..usize::from(self.slot().length)) {
            Some(begin) => {
                debug_assert_eq!(begin, self.prefix(), "the row of another number");
                self.terms_with(begin)
            }
            None => self.terms(),
        }
    }

    #[inline]
    fn terms_with(&self, prefix: &str) -> RateTerms {
        let (price, extra) = (self.price(), self.extra());
        RateTerms {
            rate_id: self.slot().rate_id,
            prefix: prefix.into(),
            rate_per_min: price.rate_per_min,
            first_s: price.first_s,
            next_s: price.next_s,
            sections: in_order(&extra.sections).into_iter().cloned().collect(),
            conn_fee: extra.conn_fee,
            tax_pct: extra.tax_pct,
            level: price.level,
        }
    }

    /// Where it stands in its deck; [`Deck::row`] gives it back.
    pub fn place(&self) -> u32 {
        // Far below 2^32: a deck has at most DECK_ROWS_MAX of them.
        self.at as u32
    }

    /// Number of the row, kept for life.
    pub fn rate_id(&self) -> u64 {
        self.slot().rate_id
    }

    /// The whole prefix: rate prefix and area code together.
    pub fn prefix(&self) -> &'a str {
        let slot = self.slot();
        let begin = slot.digits as usize;
        &self.deck.digits[begin..begin + usize::from(slot.length)]
    }

    /// Call level: 1 in-network, 2 local, 4 domestic long distance, 5 international.
    pub fn level(&self) -> u8 {
        self.price().level
    }

    /// Price of 60 s.
    pub fn rate_per_min(&self) -> Decimal {
        self.price().rate_per_min
    }

    /// Name of the destination.
    pub fn area_name(&self) -> &'a str {
        &self.deck.texts[self.slot().area_name as usize]
    }

    /// Destination forbidden.
    pub fn is_locked(&self) -> bool {
        self.slot().lock
    }

    /// From when and until when it is valid, UTC ms; `None` is open.
    pub fn validity_ms(&self) -> (Option<i64>, Option<i64>) {
        let life = self.life();
        (life.from_ms, life.to_ms)
    }

    /// The price of one second, for routing (rates.md section 9).
    pub fn per_second(&self) -> PerSecond {
        self.deck.costs[self.slot().price as usize]
    }

    /// True when the row is valid at `at_ms` (half-open, billing.md section 6.a).
    pub fn is_valid_at(&self, at_ms: i64) -> bool {
        let life = self.life();
        life.from_ms.is_none_or(|from_ms| from_ms <= at_ms) && life.to_ms.is_none_or(|to_ms| at_ms < to_ms)
    }

    fn slot(&self) -> &'a Slot {
        &self.deck.slots[self.at]
    }

    fn price(&self) -> &'a Price {
        &self.deck.prices[self.slot().price as usize]
    }

    fn extra(&self) -> &'a Extra {
        &self.deck.extras[self.price().extra as usize]
    }

    fn life(&self) -> &'a Life {
        &self.deck.lives[self.slot().life as usize]
    }
}

impl PartialEq for Row<'_> {
    fn eq(&self, other: &Row<'_>) -> bool {
        self.rate() == other.rate()
    }
}

impl Eq for Row<'_> {}

impl fmt::Debug for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rate().fmt(f)
    }
}

/// Where everything that is kept once already stands, while a deck is built.
#[derive(Default)]
struct Known {
    prices: Places<PriceKey>,
    extras: Places<ExtraKey>,
    lives: Places<Life>,
    texts: Places<String>,
}

struct Places<K>(HashMap<K, u32>);

impl<K> Default for Places<K> {
    fn default() -> Self {
        Places(HashMap::new())
    }
}

impl<K: Hash + Eq> Places<K> {
    /// Position of what `key` stands for in `list`; it is put there the first time.
    fn place<T>(&mut self, key: K, list: &mut Vec<T>, make: impl FnOnce() -> T) -> u32 {
        *self.0.entry(key).or_insert_with(|| {
            list.push(make());
            list.len() as u32 - 1
        })
    }
}

/// A price to the last digit as written: 0.10 and 0.1 cost the same, but come back as they were given.
#[derive(PartialEq, Eq, Hash)]
struct PriceKey {
    rate_per_min: [u8; 16],
    blocks: (u32, u32),
    level: u8,
    extra: ExtraKey,
}

/// The same of an [`Extra`].
#[derive(PartialEq, Eq, Hash)]
struct ExtraKey {
    amounts: [[u8; 16]; 2],
    sections: Vec<(u32, u32, [u8; 16])>,
}

impl PriceKey {
    fn of(row: &Rate) -> PriceKey {
        PriceKey {
            rate_per_min: row.rate_per_min.serialize(),
            blocks: (row.first_s, row.next_s),
            level: row.level,
            extra: ExtraKey::of(row),
        }
    }
}

impl ExtraKey {
    fn of(row: &Rate) -> ExtraKey {
        ExtraKey {
            amounts: [row.conn_fee, row.tax_pct].map(|amount| amount.serialize()),
            sections: row.sections.iter().map(|s| (s.position, s.time_s, s.amount.serialize())).collect(),
        }
    }
}
