//! Longest-prefix match over dialled numbers: an immutable trie, for decks and for routing.
//!
//! A node is 12 bytes: which symbols follow (a bitmap), where its children start (they lie side by
//! side, in symbol order) and which value ends here. Where only one prefix goes on, its rest is kept in
//! one leaf. The whole is two vectors without pointers, so a compiled deck is small, and walks stop at
//! the first symbol that no prefix continues with. It was chosen over a ten-way table: a third of the
//! memory, and with leaves as fast (design.md section 5).
//!
//! The alphabet is what a dialled number may hold: 0-9, `*`, `#`, `+` and A-F (small letters are
//! the same). Any other byte in a number ends the match there; in a prefix it is an error.

use std::fmt;

/// Longest prefix, in symbols: E.164 numbers end at 15, technical prefixes come on top, and the
/// number fields of a CDR hold 64.
pub const PREFIX_LEN_MAX: usize = 64;

/// No value ends at this node.
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

/// Set in [`Node::symbols`] of a leaf.
const LEAF: u32 = 1 << 31;
/// Bits of one symbol in a leaf; the alphabet has 19.
const SYMBOL_BITS: usize = 5;
/// Symbols that a leaf holds in its 32 bits. A longer rest is a chain of nodes that ends in a leaf.
const REST_MAX: usize = 32 / SYMBOL_BITS;

/// A place where prefixes part, or a leaf: the rest of the only prefix that goes on here.
///
/// Most prefixes of a large deck are alone after a few digits. Kept as leaves they cost one node instead of one a digit,
/// and a look-up ends with one cache line instead of one a digit.
#[derive(Clone, Copy)]
struct Node {
    /// Bit n is set when a child with symbol n exists. Of a leaf: [`LEAF`], and how many symbols follow.
    symbols: u32,
    /// Index of the first child. Of a leaf: the symbols that follow, the first in the lowest bits.
    children: u32,
    /// Index into `values`, or [`NONE`].
    value: u32,
}

impl Node {
    fn leaf(rest: &[u8], value: u32) -> Node {
        Node { symbols: LEAF | rest.len() as u32, children: packed(rest.iter().map(|s| u32::from(*s))), value }
    }

    /// Index of the child that `byte` leads to.
    #[inline]
    fn child(&self, byte: u8) -> Option<u32> {
        let bit = 1_u32 << symbol_of(byte)?;
        let before = (self.symbols & (bit - 1)).count_ones();
        (self.symbols & bit != 0).then_some(self.children + before)
    }

    /// Symbols left of the prefix of this leaf, if `number` goes on with them.
    #[inline]
    fn leaf_length(&self, number: &[u8]) -> Option<usize> {
        let length = (self.symbols & !LEAF) as usize;
        let rest = number.get(..length)?;
        // A byte that is no symbol has all bits: no leaf holds that.
        let same = packed(rest.iter().map(|byte| symbol_of(*byte).unwrap_or(u32::MAX))) == self.children;
        same.then_some(length)
    }
}

/// Up to [`REST_MAX`] symbols in one word.
#[inline]
fn packed(symbols: impl Iterator<Item = u32>) -> u32 {
    symbols.enumerate().fold(0, |word, (at, symbol)| word | (symbol << (SYMBOL_BITS * at)))
}

/// Digits that [`Start`]s are kept for: country codes. A fourth would make ten times as many of them, too many for a core's
/// cache when a dozen decks are asked, and saves a step among nodes that are still few.
const START_DIGITS: usize = 3;
/// One for every number of [`START_DIGITS`] digits.
const STARTS: usize = 1_000;
/// Nodes from which on the starts are worth their 12 KB.
const STARTS_FROM: usize = 4_096;

/// What the first digits of a number lead to: the steps that all look-ups of a large trie begin with, taken beforehand.
#[derive(Clone, Copy)]
struct Start {
    /// The next node to look at; [`NONE`] when no prefix goes on.
    node: u32,
    /// The longest prefix above it, as an index into `values`; [`NONE`] without one.
    value: u32,
    /// Symbols above the node.
    depth: u8,
    /// Symbols of that prefix.
    length: u8,
}

/// An immutable map from prefix to `T`, asked by number.
#[derive(Clone)]
pub struct PrefixTrie<T> {
    nodes: Vec<Node>,
    values: Vec<T>,
    /// [`STARTS`] of a large trie, none of a small one.
    starts: Vec<Start>,
}

impl<T> PrefixTrie<T> {
    /// Compiles `entries` (any order; the empty prefix is legal and matches every number).
    ///
    /// Cost: one sort and one pass. Errors: a prefix with a foreign character, too long, or twice.
    pub fn build<P: AsRef<[u8]>>(entries: impl IntoIterator<Item = (P, T)>) -> Result<PrefixTrie<T>, PrefixError> {
        let mut keyed = Vec::new();
        for (prefix, value) in entries {
            keyed.push((symbols_of(prefix.as_ref())?, value));
        }
        keyed.sort_by(|a, b| a.0.cmp(&b.0));
        if let Some(pair) = keyed.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(PrefixError::Twice { prefix: pair[0].0.iter().map(|symbol| char_of(*symbol)).collect() });
        }
        let (keys, values): (Vec<Vec<u8>>, Vec<T>) = keyed.into_iter().unzip();
        let mut trie = PrefixTrie { nodes: compile(&keys)?, values, starts: Vec::new() };
        if trie.nodes.len() >= STARTS_FROM {
            trie.starts = (0..STARTS).map(|number| trie.start_of(number)).collect();
        }
        Ok(trie)
    }

    /// Where the walk of every number stands that begins with the three digits of `number`.
    fn start_of(&self, number: usize) -> Start {
        let digits = [number / 100, number / 10 % 10, number % 10].map(|digit| b'0' + digit as u8);
        let mut start = Start { node: 0, value: NONE, depth: 0, length: 0 };
        while let Some(node) = self.nodes.get(start.node as usize).filter(|node| node.symbols & LEAF == 0) {
            if node.value != NONE {
                (start.value, start.length) = (node.value, start.depth);
            }
            let Some(digit) = digits.get(usize::from(start.depth)) else { break };
            start.node = node.child(*digit).unwrap_or(NONE);
            start.depth += 1;
        }
        start
    }

    /// The longest prefix of `number`: its length and its value.
    pub fn longest(&self, number: impl AsRef<[u8]>) -> Option<(usize, &T)> {
        let (length, at) = self.longest_at(number.as_ref())?;
        Some((length, &self.values[at]))
    }

    /// The longest prefix of `number`: its length, and its place among all prefixes in the order of their symbols.
    pub fn longest_at(&self, number: &[u8]) -> Option<(usize, usize)> {
        let mut walk = Descent::begin(self, number);
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
        self.walk(number, |length, value| {
            // At most one hit a length, and no prefix is longer than PREFIX_LEN_MAX.
            found.hits[found.back] = (length as u32, value);
            found.back += 1;
        });
        found
    }

    /// [`longest_at`](Self::longest_at) of several numbers, each in its own trie, in their order.
    ///
    /// All walks go down together, a level a turn: a level of a large trie is a wait for memory, and the waits of
    /// different tries overlap. Ten look-ups take little longer than two. `found` is told each result.
    pub fn longest_each(asked: &[(&PrefixTrie<T>, &[u8])], mut found: impl FnMut(Option<(usize, usize)>)) {
        for asked in asked.chunks(TOGETHER) {
            let mut walks: [Option<Descent<'_>>; TOGETHER] = [const { None }; TOGETHER];
            for (walk, (trie, number)) in walks.iter_mut().zip(asked) {
                *walk = Some(Descent::begin(trie, number));
            }
            let mut walking = true;
            while walking {
                walking = false;
                for walk in walks.iter_mut().take(asked.len()).flatten() {
                    walking |= walk.step();
                }
            }
            walks.iter().flatten().for_each(|walk| found(walk.found()));
        }
    }

    /// Tells length and value index of every prefix of `number`, shortest first.
    #[inline]
    fn walk(&self, number: &[u8], mut hit: impl FnMut(usize, u32)) {
        let (mut next, mut depth) = (self.nodes.first(), 0);
        while let Some(node) = next {
            if node.symbols & LEAF != 0 {
                if let Some(rest) = node.leaf_length(&number[depth..]) {
                    hit(depth + rest, node.value);
                }
                return;
            }
            if node.value != NONE {
                hit(depth, node.value);
            }
            let child = number.get(depth).and_then(|byte| node.child(*byte));
            next = child.and_then(|child| self.nodes.get(child as usize));
            depth += 1;
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
        PrefixTrie { nodes: Vec::new(), values: Vec::new(), starts: Vec::new() }
    }
}

impl<T> fmt::Debug for PrefixTrie<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrefixTrie {{ {} prefixes, {} nodes }}", self.values.len(), self.nodes.len())
    }
}

/// Walks that go down together: more than this many loads a core does not have under way at once.
const TOGETHER: usize = 16;

/// A number on its way down a trie, after its longest prefix.
struct Descent<'a> {
    nodes: &'a [Node],
    number: &'a [u8],
    /// The next node to look at; [`NONE`] at the end.
    node: u32,
    /// Symbols above it.
    depth: usize,
    /// The longest prefix so far, or [`NONE`].
    value: u32,
    /// Its symbols.
    length: usize,
}

impl<'a> Descent<'a> {
    #[inline]
    fn begin<T>(trie: &'a PrefixTrie<T>, number: &'a [u8]) -> Descent<'a> {
        let start = match number {
            [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', ..] => {
                let digit = |byte: &u8| usize::from(byte - b'0');
                trie.starts.get(digit(a) * 100 + digit(b) * 10 + digit(c)).copied()
            }
            _ => None,
        };
        const { assert!(START_DIGITS == 3) };
        let start = start.unwrap_or(Start { node: 0, value: NONE, depth: 0, length: 0 });
        Descent {
            nodes: &trie.nodes,
            number,
            node: start.node,
            depth: usize::from(start.depth),
            value: start.value,
            length: usize::from(start.length),
        }
    }

    /// One node; false at the end.
    #[inline]
    fn step(&mut self) -> bool {
        // An empty trie has no first node, and there is none at `NONE`.
        let Some(node) = self.nodes.get(self.node as usize) else { return false };
        if node.symbols & LEAF != 0 {
            if let Some(rest) = node.leaf_length(&self.number[self.depth..]) {
                (self.value, self.length) = (node.value, self.depth + rest);
            }
            self.node = NONE;
            return false;
        }
        if node.value != NONE {
            (self.value, self.length) = (node.value, self.depth);
        }
        self.node = self.number.get(self.depth).and_then(|byte| node.child(*byte)).unwrap_or(NONE);
        self.depth += 1;
        self.node != NONE
    }

    /// Length and place of the longest prefix.
    #[inline]
    fn found(&self) -> Option<(usize, usize)> {
        (self.value != NONE).then_some((self.length, self.value as usize))
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

/// Sorted, distinct keys to nodes, level by level, so that the children of a node lie together.
fn compile(keys: &[Vec<u8>]) -> Result<Vec<Node>, PrefixError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let empty = Node { symbols: 0, children: 0, value: NONE };
    let mut nodes = vec![empty];
    // The keys below each node of the level at hand, as (node, first key, end of keys).
    let mut level = vec![(0_usize, 0_usize, keys.len())];
    let mut depth = 0;
    while !level.is_empty() {
        let mut next_level = Vec::new();
        for (node, mut first, end) in level {
            if end - first == 1 && keys[first].len() - depth <= REST_MAX {
                nodes[node] = Node::leaf(&keys[first][depth..], index(first)?);
                continue;
            }
            // Sorted keys put the one that ends here in front.
            if keys[first].len() == depth {
                nodes[node].value = index(first)?;
                first += 1;
            }
            nodes[node].children = index(nodes.len())?;
            while first < end {
                let symbol = keys[first][depth];
                let mut after = first + 1;
                while after < end && keys[after][depth] == symbol {
                    after += 1;
                }
                nodes[node].symbols |= 1 << symbol;
                next_level.push((nodes.len(), first, after));
                nodes.push(empty);
                first = after;
            }
        }
        level = next_level;
        depth += 1;
    }
    nodes.shrink_to_fit();
    Ok(nodes)
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

    /// Large enough to have starts: the walk from the top, which `matches` takes, is what they must agree with.
    #[test]
    fn starts_lead_where_the_walk_from_the_top_does() {
        let mut rng = proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha);
        let mut text = |length_max: usize, alphabet: &[u8]| -> String {
            let length = rng.next_u32() as usize % (length_max + 1);
            (0..length).map(|_| char::from(alphabet[rng.next_u32() as usize % alphabet.len()])).collect()
        };
        // Whole countries without a prefix, countries with one, one that is alone (a leaf above the starts), short ones.
        let mut prefixes: std::collections::BTreeSet<String> = (0..20_000).map(|_| text(6, b"0123459*")).collect();
        prefixes.retain(|prefix| !prefix.starts_with('4') && !prefix.starts_with("53") && prefix.as_str() != "1");
        prefixes.extend(["4", "53123", "777", "8", "8800"].map(str::to_owned));
        for with_default in [false, true] {
            let default = with_default.then(String::new);
            let trie =
                PrefixTrie::build(prefixes.iter().filter(|p| !p.is_empty()).cloned().chain(default).zip(0..)).unwrap();
            assert_eq!(trie.starts.len(), STARTS);
            for _ in 0..50_000 {
                let number = text(9, b"0123456789*x");
                let expected = trie.matches(&number).next_back();
                assert_eq!(trie.longest(&number), expected, "{number}");
            }
        }
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
