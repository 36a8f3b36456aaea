//! The bitmap trie: prefixes as nodes of 12 bytes. Small sets are nothing else; of a large one it has what does not fit into
//! buckets (see [`super::buckets`]).
//!
//! A node says which symbols follow (a bitmap), where its children start (they lie side by side, in symbol order) and which
//! prefix ends here. Where only one prefix goes on, its rest is kept in one leaf. No pointers, and walks stop at the first
//! symbol that no prefix continues with.

use super::{NONE, PrefixError, index, symbol_of};

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
    /// Place of the prefix that ends here, or [`NONE`].
    place: u32,
}

impl Node {
    fn leaf(rest: &[u8], place: u32) -> Node {
        Node { symbols: LEAF | rest.len() as u32, children: packed(rest.iter().map(|s| u32::from(*s))), place }
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

/// Prefixes as a trie; each has its place among all prefixes of the set, which need not all be in here.
#[derive(Clone, Default)]
pub(super) struct Nodes(Vec<Node>);

impl Nodes {
    /// Of distinct keys in the order of their symbols, each with its place. Children of a node lie together, level by level.
    pub(super) fn compile(keys: &[(&[u8], u32)]) -> Result<Nodes, PrefixError> {
        if keys.is_empty() {
            return Ok(Nodes::default());
        }
        let empty = Node { symbols: 0, children: 0, place: NONE };
        let mut nodes = vec![empty];
        // The keys below each node of the level at hand, as (node, first key, end of keys).
        let mut level = vec![(0_usize, 0_usize, keys.len())];
        let mut depth = 0;
        while !level.is_empty() {
            let mut next_level = Vec::new();
            for (node, mut first, end) in level {
                let (key, place) = keys[first];
                if end - first == 1 && key.len() - depth <= REST_MAX {
                    nodes[node] = Node::leaf(&key[depth..], place);
                    continue;
                }
                // Sorted keys put the one that ends here in front.
                if key.len() == depth {
                    nodes[node].place = place;
                    first += 1;
                }
                nodes[node].children = index(nodes.len())?;
                while first < end {
                    let symbol = keys[first].0[depth];
                    let mut after = first + 1;
                    while after < end && keys[after].0[depth] == symbol {
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
        Ok(Nodes(nodes))
    }

    /// Number of nodes.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells length and place of every prefix of `number`, shortest first.
    #[inline]
    pub(super) fn walk(&self, number: &[u8], mut hit: impl FnMut(usize, u32)) {
        let (mut next, mut depth) = (self.0.first(), 0);
        while let Some(node) = next {
            if node.symbols & LEAF != 0 {
                if let Some(rest) = node.leaf_length(&number[depth..]) {
                    hit(depth + rest, node.place);
                }
                return;
            }
            if node.place != NONE {
                hit(depth, node.place);
            }
            let child = number.get(depth).and_then(|byte| node.child(*byte));
            next = child.and_then(|child| self.0.get(child as usize));
            depth += 1;
        }
    }
}

/// A number on its way down a trie, after its longest prefix.
#[derive(Clone, Copy)]
pub(super) struct Descent<'a> {
    nodes: &'a [Node],
    number: &'a [u8],
    /// The next node to look at; [`NONE`] at the end.
    node: u32,
    /// Symbols above it.
    depth: usize,
    /// Place of the longest prefix so far, or [`NONE`].
    place: u32,
    /// Its symbols.
    length: usize,
}

impl<'a> Descent<'a> {
    #[inline]
    pub(super) fn begin(nodes: &'a Nodes, number: &'a [u8]) -> Descent<'a> {
        Descent { nodes: &nodes.0, number, node: 0, depth: 0, place: NONE, length: 0 }
    }

    /// One node; false at the end.
    #[inline]
    pub(super) fn step(&mut self) -> bool {
        // An empty trie has no first node, and there is none at `NONE`.
        let Some(node) = self.nodes.get(self.node as usize) else { return false };
        if node.symbols & LEAF != 0 {
            if let Some(rest) = node.leaf_length(&self.number[self.depth..]) {
                (self.place, self.length) = (node.place, self.depth + rest);
            }
            self.node = NONE;
            return false;
        }
        if node.place != NONE {
            (self.place, self.length) = (node.place, self.depth);
        }
        self.node = self.number.get(self.depth).and_then(|byte| node.child(*byte)).unwrap_or(NONE);
        self.depth += 1;
        self.node != NONE
    }

    /// Length and place of the longest prefix.
    #[inline]
    pub(super) fn found(&self) -> Option<(usize, usize)> {
        (self.place != NONE).then_some((self.length, self.place as usize))
    }
}
