//! Longest-prefix match over dialled numbers: an immutable index, for decks and for routing.
//!
//! Small sets are a trie (`nodes`); sets of thousands are a table by their first digits with short sorted lists behind it
//! (`buckets`), and the trie has what does not fit there. Neither has pointers, so a compiled deck is small (design.md section
//! 5), and a look-up is a wait for memory or two.
//!
//! The alphabet is what a dialled number may hold: 0-9, `*`, `#`, `+` and A-F (small letters are
//! the same). Any other byte in a number ends the match there; in a prefix it is an error.

mod buckets;
mod nodes;

use std::fmt;

use smallvec::SmallVec;

use buckets::{Asked, Buckets};
use nodes::{Descent, Nodes};

/// Longest prefix, in symbols: E.164 numbers end at 15, technical prefixes come on top, and the
/// number fields of a CDR hold 64.
pub const PREFIX_LEN_MAX: usize = 64;

/// No place.
const NONE: u32 = u32::MAX;

/// Why a set of prefixes could not be compiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// A byte outside the alphabet.
    #[error("prefix {prefix:?} holds a character that no number has; allowed are 0-9 * # + A-F")]
    Symbol {
        /// The prefix as given.
        prefix: String,
    },
    /// Longer than [`PREFIX_LEN_MAX`].
    #[error("prefix {prefix:?} is longer than {PREFIX_LEN_MAX} characters")]
    TooLong {
        /// The prefix as given.
        prefix: String,
    },
    /// The same prefix twice.
    #[error("prefix {prefix:?} is given twice")]
    Twice {
        /// The prefix as given.
        prefix: String,
    },
    /// More prefixes than an index can number.
    #[error("too many prefixes for one index")]
    TooMany,
}

/// An immutable map from prefix to `T`, asked by number.
#[derive(Clone)]
pub struct PrefixTrie<T> {
    /// All prefixes, or those that are in no bucket.
    nodes: Nodes,
    /// Of a large set.
    buckets: Option<Box<Buckets>>,
    /// In the order of the prefixes: the place of a prefix is that of its value.
    values: Vec<T>,
}

impl<T> PrefixTrie<T> {
    /// Compiles `entries` (any order; the empty prefix is legal and matches every number).
    ///
    /// Cost: one sort and one pass. Errors: a prefix with a foreign character, too long, or twice.
    pub fn build<P: AsRef<[u8]>>(entries: impl IntoIterator<Item = (P, T)>) -> Result<PrefixTrie<T>, PrefixError> {
        PrefixTrie::arrange(entries, Buckets::digits_for)
    }

    /// [`build`](Self::build) with buckets of so many digits as `digits` says for the number of prefixes.
    fn arrange<P: AsRef<[u8]>>(
        entries: impl IntoIterator<Item = (P, T)>,
        digits: impl Fn(usize) -> Option<usize>,
    ) -> Result<PrefixTrie<T>, PrefixError> {
        let mut keyed = Vec::new();
        for (prefix, value) in entries {
            keyed.push((symbols_of(prefix.as_ref())?, value));
        }
        keyed.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some(pair) = keyed.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(PrefixError::Twice { prefix: pair[0].0.iter().map(|symbol| char_of(*symbol)).collect() });
        }
        let (keys, values): (Vec<Vec<u8>>, Vec<T>) = keyed.into_iter().unzip();
        index(keys.len())?;
        let buckets = digits(keys.len()).and_then(|digits| Buckets::build(&keys, digits));
        let (buckets, nodes) = match buckets {
            Some((buckets, others)) => {
                let others = others.into_iter().map(|place| (keys[place as usize].as_slice(), place));
                (Some(Box::new(buckets)), others.collect::<Vec<_>>())
            }
            None => (None, keys.iter().map(Vec::as_slice).zip(0..).collect()),
        };
        Ok(PrefixTrie { nodes: Nodes::compile(&nodes)?, buckets, values })
    }

    /// The longest prefix of `number`: its length and its value.
    pub fn longest(&self, number: impl AsRef<[u8]>) -> Option<(usize, &T)> {
        let (length, at) = self.longest_at(number.as_ref())?;
        Some((length, &self.values[at]))
    }

    /// The longest prefix of `number`: its length, and its place among all prefixes in the order of their symbols.
    #[inline]
    pub fn longest_at(&self, number: &[u8]) -> Option<(usize, usize)> {
        let mut walk = Walk::begin(self, number);
        while walk.step() {}
        walk.found()
    }

    /// Every prefix of `number` as (length, value), shortest first; `.rev()` gives longest first.
    pub fn matches(
        &self,
        number: impl AsRef<[u8]>,
    ) -> impl DoubleEndedIterator<Item = (usize, &T)> + ExactSizeIterator {
        self.matches_at(number.as_ref()).map(|(length, at)| (length, &self.values[at]))
    }

    /// The same with the place of each prefix, as [`longest_at`](Self::longest_at) gives it.
    pub fn matches_at(&self, number: &[u8]) -> Matches {
        let mut found = Matches { hits: [(0, 0); PREFIX_LEN_MAX + 1], front: 0, back: 0 };
        let mut hit = |length: usize, place| {
            // At most one hit a length, and no prefix is longer than PREFIX_LEN_MAX.
            found.hits[found.back] = (length as u32, place);
            found.back += 1;
        };
        self.nodes.walk(number, &mut hit);
        if let Some(buckets) = &self.buckets
            && let Some(asked) = buckets.ask(number)
        {
            buckets.each(&asked, hit);
            found.hits[..found.back].sort_unstable();
        }
        found
    }

    /// [`longest_at`](Self::longest_at) of several numbers, each in its own set, in their order.
    ///
    /// Each step is taken in all sets before the next: a step in a large set is a wait for memory, and the waits of different
    /// sets overlap. Ten look-ups take little longer than two. `found` is told each result.
    pub fn longest_each(asked: &[(&PrefixTrie<T>, &[u8])], mut found: impl FnMut(Option<(usize, usize)>)) {
        let mut walks: SmallVec<[Walk<'_>; TOGETHER]> = SmallVec::new();
        for asked in asked.chunks(TOGETHER) {
            walks.clear();
            walks.extend(asked.iter().map(|(set, number)| Walk::begin(set, number)));
            let mut walking = true;
            while walking {
                walking = false;
                for walk in &mut walks {
                    walking |= walk.step();
                }
            }
            walks.iter().for_each(|walk| found(walk.found()));
        }
    }

    /// Number of prefixes.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// True without any prefix.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl<T> Default for PrefixTrie<T> {
    fn default() -> Self {
        PrefixTrie { nodes: Nodes::default(), buckets: None, values: Vec::new() }
    }
}

impl<T> fmt::Debug for PrefixTrie<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrefixTrie {{ {} prefixes, {} nodes }}", self.values.len(), self.nodes.len())
    }
}

/// Walks that go together: more than this many loads a core does not have under way at once.
const TOGETHER: usize = 16;

/// A number on its way to its longest prefix.
enum Walk<'a> {
    /// What the table said is known, its list not read.
    List(&'a Buckets, Asked<'a>),
    /// Down the trie; with what the list had, when there was one.
    Trie(Descent<'a>, Option<(usize, usize)>),
    /// Known.
    Done(Option<(usize, usize)>),
}

impl<'a> Walk<'a> {
    #[inline]
    fn begin<T>(set: &'a PrefixTrie<T>, number: &'a [u8]) -> Walk<'a> {
        if let Some(buckets) = &set.buckets
            && let Some(asked) = buckets.ask(number)
        {
            if buckets.is_odd() {
                let found = buckets.longest(&asked);
                return Walk::Trie(Descent::begin(&set.nodes, number), found);
            }
            return Walk::List(buckets, asked);
        }
        Walk::Trie(Descent::begin(&set.nodes, number), None)
    }

    /// One wait for memory; false at the end.
    #[inline]
    fn step(&mut self) -> bool {
        match self {
            Walk::List(buckets, asked) => *self = Walk::Done(buckets.longest(asked)),
            Walk::Trie(descent, found) => {
                if descent.step() {
                    return true;
                }
                // Lengths differ, or the prefix is the same one.
                *self = Walk::Done(descent.found().max(*found));
            }
            Walk::Done(_) => {}
        }
        false
    }

    /// Length and place of the longest prefix, once there is no step left.
    #[inline]
    fn found(&self) -> Option<(usize, usize)> {
        match self {
            Walk::Done(found) => *found,
            Walk::List(..) | Walk::Trie(..) => None,
        }
    }
}

/// All prefixes of one number with their places, from [`PrefixTrie::matches_at`].
pub struct Matches {
    hits: [(u32, u32); PREFIX_LEN_MAX + 1],
    front: usize,
    back: usize,
}

impl Matches {
    fn at(&self, index: usize) -> (usize, usize) {
        let (length, value) = self.hits[index];
        (length as usize, value as usize)
    }
}

impl Iterator for Matches {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        (self.front < self.back).then(|| {
            self.front += 1;
            self.at(self.front - 1)
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.back - self.front, Some(self.back - self.front))
    }
}

impl DoubleEndedIterator for Matches {
    fn next_back(&mut self) -> Option<Self::Item> {
        (self.front < self.back).then(|| {
            self.back -= 1;
            self.at(self.back)
        })
    }
}

impl ExactSizeIterator for Matches {}

/// Whether every byte of `text` may stand in a dialled number.
pub fn is_number(text: &[u8]) -> bool {
    text.iter().all(|byte| symbol_of(*byte).is_some())
}

fn symbol_of(byte: u8) -> Option<u32> {
    let symbol = SYMBOLS[usize::from(byte)];
    (symbol != FOREIGN).then_some(u32::from(symbol))
}

/// A byte that no number has.
const FOREIGN: u8 = u8::MAX;

/// Symbol of every byte.
const SYMBOLS: [u8; 256] = {
    let mut symbols = [FOREIGN; 256];
    let alphabet = b"0123456789ABCDEF*#+";
    let mut symbol = 0;
    while symbol < alphabet.len() {
        symbols[alphabet[symbol] as usize] = symbol as u8;
        symbols[alphabet[symbol].to_ascii_lowercase() as usize] = symbol as u8;
        symbol += 1;
    }
    symbols
};

fn char_of(symbol: u8) -> char {
    // Only ever given what symbol_of made.
    char::from(b"0123456789ABCDEF*#+"[usize::from(symbol)])
}

fn symbols_of(prefix: &[u8]) -> Result<Vec<u8>, PrefixError> {
    let shown = || String::from_utf8_lossy(prefix).into_owned();
    if prefix.len() > PREFIX_LEN_MAX {
        return Err(PrefixError::TooLong { prefix: shown() });
    }
    prefix
        .iter()
        .map(|byte| symbol_of(*byte).map(|symbol| symbol as u8))
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(|| PrefixError::Symbol { prefix: shown() })
}

fn index(position: usize) -> Result<u32, PrefixError> {
    u32::try_from(position).ok().filter(|index| *index != NONE).ok_or(PrefixError::TooMany)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_longest_prefix_wins_and_all_are_listed() {
        let trie = PrefixTrie::build([("12", 1), ("1212", 2), ("", 0), ("1213", 3)]).unwrap();
        assert_eq!(trie.longest("12125550100"), Some((4, &2)));
        assert_eq!(trie.longest("1214"), Some((2, &1)));
        assert_eq!(trie.longest("121"), Some((2, &1)));
        assert_eq!(trie.longest(""), Some((0, &0)));
        let all: Vec<_> = trie.matches("1212555").collect();
        assert_eq!(all, [(0, &0), (2, &1), (4, &2)]);
        let longest_first: Vec<_> = trie.matches("1212555").rev().collect();
        assert_eq!(longest_first, [(4, &2), (2, &1), (0, &0)]);
    }

    #[test]
    fn without_a_default_a_foreign_number_finds_nothing() {
        let trie = PrefixTrie::build([("44", ())]).unwrap();
        assert_eq!(trie.longest("49"), None);
        assert_eq!(trie.longest(""), None);
        assert_eq!(PrefixTrie::<()>::default().longest("44"), None);
    }

    #[test]
    fn the_whole_alphabet_matches_and_other_bytes_end_the_match() {
        let trie = PrefixTrie::build([("*21#", 1), ("+44", 2), ("1A", 3), ("1", 4)]).unwrap();
        assert_eq!(trie.longest("*21#5"), Some((4, &1)));
        assert_eq!(trie.longest("+4420"), Some((3, &2)));
        assert_eq!(trie.longest("1a5"), Some((2, &3)));
        assert_eq!(trie.longest(b"1\xff5"), Some((1, &4)));
        assert_eq!(trie.longest(b"\x00"), None);
    }

    #[test]
    fn bad_sets_are_refused_by_name() {
        let twice = PrefixTrie::build([("1a", 1), ("1A", 2)]).unwrap_err();
        assert_eq!(twice.to_string(), "prefix \"1A\" is given twice");
        let foreign = PrefixTrie::build([("12x", 1)]).unwrap_err().to_string();
        assert!(foreign.contains("\"12x\""), "{foreign}");
        let long = "1".repeat(PREFIX_LEN_MAX + 1);
        assert!(matches!(PrefixTrie::build([(long, 1)]), Err(PrefixError::TooLong { .. })));
    }

    #[test]
    fn a_prefix_of_the_greatest_length_is_found() {
        let prefixes: Vec<_> = (0..=PREFIX_LEN_MAX).map(|n| ("7".repeat(n), n)).collect();
        let trie = PrefixTrie::build(prefixes).unwrap();
        let number = "7".repeat(100);
        assert_eq!(trie.matches(&number).count(), PREFIX_LEN_MAX + 1);
        assert_eq!(trie.longest(&number), Some((PREFIX_LEN_MAX, &PREFIX_LEN_MAX)));
    }

    /// Random texts over an alphabet, from a fixed seed.
    struct Texts(proptest::test_runner::TestRng);

    impl Texts {
        fn new() -> Texts {
            let algorithm = proptest::test_runner::RngAlgorithm::ChaCha;
            Texts(proptest::test_runner::TestRng::deterministic_rng(algorithm))
        }

        fn below(&mut self, end: usize) -> usize {
            self.0.next_u32() as usize % end
        }

        fn text(&mut self, length_max: usize, alphabet: &[u8]) -> String {
            let length = self.below(length_max + 1);
            (0..length).map(|_| char::from(alphabet[self.below(alphabet.len())])).collect()
        }
    }

    /// Every prefix of a number by asking for each of them: what an index must agree with.
    fn plain<'a>(set: &'a BTreeMap<String, u32>, number: &str) -> Vec<(usize, &'a u32)> {
        let begins = (0..=number.len()).filter_map(|end| Some((end, number.get(..end)?)));
        begins.filter_map(|(length, begin)| Some((length, set.get(&begin.to_uppercase())?))).collect()
    }

    /// Compares the index of `prefixes` with buckets of `digits` with the plain way.
    fn agrees(prefixes: impl IntoIterator<Item = String>, digits: usize, odd: bool, numbers: &[String]) {
        let set: BTreeMap<String, u32> = prefixes.into_iter().zip(0..).collect();
        let trie = PrefixTrie::arrange(set.clone(), |_| Some(digits)).unwrap();
        let buckets = trie.buckets.as_ref().expect("it has buckets");
        assert_eq!(buckets.is_odd(), odd);
        let asked: Vec<_> = numbers.iter().map(|number| (&trie, number.as_bytes())).collect();
        let mut together = Vec::new();
        PrefixTrie::longest_each(&asked, |found| together.push(found.map(|(length, _)| length)));
        for (number, together) in numbers.iter().zip(together) {
            let expected = plain(&set, number);
            let found: Vec<_> = trie.matches(number).collect();
            assert_eq!(found, expected, "{number}");
            assert_eq!(trie.longest(number), expected.last().copied(), "{number}");
            assert_eq!(together, expected.last().map(|(length, _)| *length), "{number}");
        }
    }

    /// Whole countries without a prefix, countries with one, lists of one, of a few and of hundreds, prefixes shorter than the
    /// table, longer than a word and with letters, with and without a default, with a table of every size.
    #[test]
    fn buckets_find_what_a_plain_search_finds() {
        let mut texts = Texts::new();
        for digits in [4, 5, 6] {
            for (odd, default) in [(false, false), (true, true)] {
                let mut prefixes = std::collections::BTreeSet::new();
                while prefixes.len() < 4_000 {
                    let (begin, rest): (&str, usize) = match texts.below(4) {
                        0 => ("", digits + 3),
                        1 => ("1", digits),
                        // A few long lists: many prefixes of every length behind few first digits.
                        2 => ("44207912", 5 + digits - 6 + usize::from(digits < 6) * 2),
                        _ => ("", digits + 7),
                    };
                    let alphabet: &[u8] = if odd && texts.below(10) == 0 { b"0123456789*A#" } else { b"012356789" };
                    let mut prefix = begin.to_owned();
                    prefix.truncate(digits + 2);
                    prefix.push_str(&texts.text(rest, alphabet));
                    if odd && texts.below(50) == 0 {
                        prefix.push_str(&texts.text(12, b"0123456789"));
                    }
                    let fits = odd || prefix.len() <= digits + 7;
                    if fits && !prefix.starts_with("53") && !prefix.is_empty() {
                        prefixes.insert(prefix);
                    }
                }
                prefixes.extend(["5", "53123", "777", "8", "8800"].map(str::to_owned));
                prefixes.extend(default.then(String::new));
                let known: Vec<&String> = prefixes.iter().collect();
                let mut numbers = Vec::new();
                for _ in 0..2_000 {
                    numbers.push(texts.text(14, b"0123456789"));
                    numbers.push(texts.text(14, b"0123456789*#Aax"));
                    let mut near = known[texts.below(known.len())].clone();
                    near.truncate(texts.below(near.len() + 1).max(near.len().saturating_sub(2)));
                    near.push_str(&texts.text(6, b"0123456789A"));
                    numbers.push(near);
                }
                agrees(prefixes, digits, odd, &numbers);
            }
        }
    }

    /// One list with everything in it: the halving has to find its way back to prefixes of every length.
    #[test]
    fn a_list_of_thousands_is_halved() {
        let mut texts = Texts::new();
        let mut prefixes: std::collections::BTreeSet<String> = (0..8_000).map(|_| texts.text(7, b"0123")).collect();
        prefixes.retain(|rest| texts.below(3) > 0 || rest.len() > 5);
        let numbers: Vec<String> = (0..8_000).map(|_| format!("4420{}", texts.text(9, b"01234"))).collect();
        assert!(prefixes.len() > 2_000);
        agrees(prefixes.into_iter().map(|rest| format!("4420{rest}")), 4, false, &numbers);
    }

    #[test]
    fn a_set_that_buckets_do_not_suit_is_a_trie() {
        let letters = (0..10_000).map(|n| (format!("{n:04}*{n:05}"), n));
        let trie = PrefixTrie::build(letters).unwrap();
        assert!(trie.buckets.is_none());
        assert_eq!(trie.longest("0042*000421"), Some((10, &42)));
        let digits = [0, 3_999, 4_000, 40_000, 399_999, 400_000, 4_000_000].map(Buckets::digits_for);
        assert_eq!(digits, [None, None, Some(4), Some(5), Some(5), Some(6), Some(6)]);
    }

    proptest! {
        #[test]
        fn equals_a_linear_scan(
            prefixes in prop::collection::btree_map("[0-3*A]{0,5}|[01]{0,20}", any::<u16>(), 0..60),
            numbers in prop::collection::vec("[0-4*A ]{0,8}|[01]{0,24}", 1..20),
            reached in prop::collection::vec((any::<prop::sample::Index>(), "[0-3x]{0,3}"), 0..20),
        ) {
            // Numbers that begin with a prefix, or nearly, besides those by chance.
            let keys: Vec<&String> = prefixes.keys().collect();
            let near = reached.iter().filter(|_| !keys.is_empty()).flat_map(|(at, more)| {
                let key = keys[at.index(keys.len())];
                [format!("{key}{more}"), format!("{}{more}", &key[..key.len().saturating_sub(1)])]
            });
            let numbers: Vec<String> = numbers.into_iter().chain(near).collect();
            let trie = PrefixTrie::build(prefixes.clone()).unwrap();
            prop_assert_eq!(trie.len(), prefixes.len());
            for number in numbers {
                let expected = scan(&prefixes, &number);
                let found: Vec<_> = trie.matches(&number).map(|(length, value)| (length, *value)).collect();
                prop_assert_eq!(&found, &expected);
                prop_assert_eq!(trie.longest(&number).map(|(length, value)| (length, *value)), expected.last().copied());
            }
        }

        /// Together or one by one, in one trie or in several.
        #[test]
        fn walks_together_end_where_walks_alone_do(
            sets in prop::collection::vec(prop::collection::btree_set("[01]{0,9}", 0..20), 1..5),
            asked in prop::collection::vec((any::<prop::sample::Index>(), "[012]{0,12}"), 0..16),
        ) {
            let build = |set: &std::collections::BTreeSet<String>| PrefixTrie::build(set.iter().map(|p| (p, ()))).unwrap();
            let tries: Vec<_> = sets.iter().map(build).collect();
            let asked: Vec<(&PrefixTrie<()>, &[u8])> =
                asked.iter().map(|(at, number)| (&tries[at.index(tries.len())], number.as_bytes())).collect();
            let alone: Vec<_> = asked.iter().map(|(trie, number)| trie.longest_at(number)).collect();
            let mut together = Vec::new();
            PrefixTrie::longest_each(&asked, |found| together.push(found));
            prop_assert_eq!(together, alone);
        }
    }

    fn scan(prefixes: &BTreeMap<String, u16>, number: &str) -> Vec<(usize, u16)> {
        let mut found: Vec<_> = prefixes
            .iter()
            .filter(|(prefix, _)| number.starts_with(prefix.as_str()))
            .map(|(prefix, value)| (prefix.len(), *value))
            .collect();
        found.sort();
        found
    }
}
