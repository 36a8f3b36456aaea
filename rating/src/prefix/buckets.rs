//! Large sets of prefixes: a table by the first digits, and behind it short sorted lists.
//!
//! A walk down a trie of a million prefixes is four or five waits for memory, one after the other. Here it is two: the table
//! says where in the order of all prefixes those begin that go on with these first digits, and one word a prefix says the rest.
//! Prefixes that do not fit (too short for the table, too long for a word, with letters) are in the trie beside it.

use super::NONE;

/// Digits behind those of the table that a word holds.
const REST_DIGITS: usize = 7;
/// Length of what is in no bucket, or has more than [`REST_DIGITS`] behind it: such a word fits no number.
const ODD: u32 = 15;
/// Longest list that is read through; longer ones are halved. Sixteen words are one line of the cache or two.
const READ_THROUGH: usize = 16;
/// Places are kept with a length of three bits beside them.
const PLACES_MAX: usize = (NONE >> 3) as usize;
/// From so many prefixes on the table has so many digits: as many entries as there are prefixes, roughly.
const SIZES: [(usize, usize); 3] = [(400_000, 6), (40_000, 5), (4_000, 4)];
/// A set of which more than one in so many is too long for a word, or has letters there, is better off as a trie alone.
const ODD_SHARE: usize = 4;

/// One entry of the table.
#[derive(Clone, Copy)]
struct Head {
    /// Place of the first prefix that begins with these digits or sorts behind them.
    first: u32,
    /// The longest prefix shorter than these digits: its place, eight times, and its length; [`NONE`] without one.
    above: u32,
}

/// Prefixes by their first digits.
#[derive(Clone)]
pub(super) struct Buckets {
    /// Digits of the table.
    digits: usize,
    /// One for every number of so many digits, and one more that says where the last list ends.
    heads: Vec<Head>,
    /// Of every prefix of the set, in their order: the digits behind those of the table, the first in the highest four bits,
    /// and how many they are in the lowest. Sorted in each bucket.
    rests: Vec<u32>,
    /// Prefixes with all the table's digits that are in the trie only.
    odd: usize,
}

/// A number that was looked up in the table.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    list: &'a [u32],
    /// Place of the first of the list.
    first: u32,
    above: u32,
    rest: u32,
}

impl Buckets {
    /// Digits of the table for so many prefixes; `None` when a trie does as well.
    pub(super) fn digits_for(count: usize) -> Option<usize> {
        let fits = |(from, _): &&(usize, usize)| (*from..PLACES_MAX).contains(&count);
        SIZES.iter().find(fits).map(|(_, digits)| *digits)
    }

    /// Of distinct keys (symbols) in their order, with the places of those that have to be in the trie. `None`: a trie alone is
    /// better.
    pub(super) fn build(keys: &[Vec<u8>], digits: usize) -> Option<(Buckets, Vec<u32>)> {
        Some(Buckets::of(keys, digits)).filter(|(buckets, _)| buckets.odd <= keys.len() / ODD_SHARE)
    }

    fn of(keys: &[Vec<u8>], digits: usize) -> (Buckets, Vec<u32>) {
        let size = 10_usize.pow(digits as u32);
        let mut heads = vec![Head { first: 0, above: NONE }; size + 1];
        let mut rests = Vec::with_capacity(keys.len());
        let mut misfits = Vec::new();
        let (mut odd, mut begun) = (0, 0);
        for (key, place) in keys.iter().zip(0_u32..) {
            let (table, rest) = key.split_at(digits.min(key.len()));
            if !table.iter().all(|symbol| *symbol < 10) {
                // No number that the table knows begins so.
                misfits.push(place);
                rests.push(u32::MAX);
                continue;
            }
            let number = table.iter().fold(0, |number, symbol| number * 10 + usize::from(*symbol));
            if table.len() < digits {
                // Longer ones come later and take the place of what they cover.
                let width = 10_usize.pow((digits - table.len()) as u32);
                let above = place << 3 | table.len() as u32;
                heads[number * width..(number + 1) * width].iter_mut().for_each(|head| head.above = above);
                misfits.push(place);
                rests.push(u32::MAX);
                continue;
            }
            heads[begun..=number].iter_mut().for_each(|head| head.first = place);
            begun = number + 1;
            let word = word_of(rest);
            if word & 15 == ODD {
                odd += 1;
                misfits.push(place);
            }
            rests.push(word);
        }
        heads[begun..].iter_mut().for_each(|head| head.first = keys.len() as u32);
        (Buckets { digits, heads, rests, odd }, misfits)
    }

    /// Whether the trie may have a longer match than a bucket.
    #[inline]
    pub(super) fn is_odd(&self) -> bool {
        self.odd > 0
    }

    /// What the table says of `number`; `None` when it does not begin with as many digits as that needs: then all its prefixes
    /// are in the trie.
    #[inline]
    pub(super) fn ask(&self, number: &[u8]) -> Option<Asked<'_>> {
        let (table, behind) = number.split_at_checked(self.digits)?;
        let mut at = 0;
        for byte in table {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            at = at * 10 + usize::from(digit);
        }
        let [head, next] = self.heads.get(at..at + 2)? else { return None };
        let list = self.rests.get(head.first as usize..next.first as usize)?;
        // What is no digit, and what is behind the end, is like no digit of a prefix.
        let mut rest = 0;
        for at in 0..REST_DIGITS {
            let digit = behind.get(at).map_or(15, |byte| byte.wrapping_sub(b'0').min(15));
            rest = rest << 4 | u32::from(digit);
        }
        Some(Asked { list, first: head.first, above: head.above, rest: rest << 4 })
    }

    /// Length and place of the longest prefix in the table and its lists.
    #[inline]
    pub(super) fn longest(&self, asked: &Asked<'_>) -> Option<(usize, usize)> {
        let at = if asked.list.len() <= READ_THROUGH {
            let last = |last, (at, word): (usize, &u32)| if fits(*word, asked.rest) { at } else { last };
            Some(asked.list.iter().enumerate().fold(usize::MAX, last)).filter(|at| *at != usize::MAX)
        } else {
            last_fit(asked.list, asked.rest, REST_DIGITS as u32)
        };
        match at {
            Some(at) => Some((self.digits + (asked.list[at] & 15) as usize, asked.first as usize + at)),
            None if asked.above == NONE => None,
            None => Some(((asked.above & 7) as usize, (asked.above >> 3) as usize)),
        }
    }

    /// Tells length and place of every prefix in the list, the longest first.
    pub(super) fn each(&self, asked: &Asked<'_>, mut hit: impl FnMut(usize, u32)) {
        let mut length = REST_DIGITS as u32;
        while let Some(at) = last_fit(asked.list, asked.rest, length) {
            let found = asked.list[at] & 15;
            hit(self.digits + found as usize, asked.first + at as u32);
            let Some(shorter) = found.checked_sub(1) else { break };
            length = shorter;
        }
    }
}

/// The digits behind the table's as a word; [`ODD`] when they are too many or others.
fn word_of(rest: &[u8]) -> u32 {
    let plain = rest.iter().take(REST_DIGITS).take_while(|symbol| **symbol < 10).count();
    // Behind the first that is no digit all is the same, so that the order of words is that of prefixes.
    let other = rest.get(plain).filter(|_| plain < REST_DIGITS).map(|symbol| (*symbol).min(15));
    let filler = if other.is_some() { 15 } else { 0 };
    let nibbles = rest[..plain].iter().copied().chain(other).chain(std::iter::repeat(filler)).take(REST_DIGITS);
    let digits = nibbles.fold(0, |word, digit| word << 4 | u32::from(digit));
    let length = if plain == rest.len() { plain as u32 } else { ODD };
    digits << 4 | length
}

/// Whether the digits of `word` begin `rest`.
#[inline]
fn fits(word: u32, rest: u32) -> bool {
    // No digits: nothing is compared. ODD: all is, and differs in the length, which `rest` has none of.
    let behind = 32_u32.saturating_sub((word & 15) * 4);
    u64::from(word ^ rest) >> behind == 0
}

/// Position of the longest word of a sorted list, of at most `length` digits, that begins `rest`.
///
/// The greatest word that is not above the number is the answer, or else it parts from the number somewhere, and the answer is
/// no longer than up to there: at most one halving a digit.
fn last_fit(list: &[u32], rest: u32, length: u32) -> Option<usize> {
    let cut = |length: u32| (u64::from(rest) >> (32 - 4 * length) << (32 - 4 * length)) as u32 | length;
    let mut most = cut(length);
    loop {
        let at = list.partition_point(|word| *word <= most).checked_sub(1)?;
        let word = list[at];
        if fits(word, rest) {
            return Some(at);
        }
        // Fewer than before: with as many in common it would fit.
        most = cut((word ^ rest).leading_zeros() / 4);
    }
}
