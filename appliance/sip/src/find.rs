//! Short searches, eight bytes at a time.
//!
//! Names, parameters and users are a dozen bytes long; there a call to memchr costs more than the search.

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The place of the first byte that is one of `needles`. Linear; for hay of up to some 30 bytes.
#[inline]
pub(crate) fn find<const N: usize>(hay: &[u8], needles: [u8; N]) -> Option<usize> {
    let (mut at, mut rest) = (0, hay);
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        let hits = hits(u64::from_le_bytes(*chunk), needles);
        if hits != 0 {
            return Some(at + hits.trailing_zeros() as usize / 8);
        }
        (at, rest) = (at + 8, tail);
    }
    if rest.is_empty() {
        return None;
    }
    // The last bytes, with some that were seen, which hold no needle; or all of a short hay, with zeros above it.
    let (word, base) = match (hay.last_chunk::<8>(), hay.first_chunk::<4>(), hay.last_chunk::<4>()) {
        (Some(chunk), _, _) => (u64::from_le_bytes(*chunk), hay.len() - 8),
        (None, Some(first), Some(last)) => {
            let last = u64::from(u32::from_le_bytes(*last)) << (8 * (hay.len() - 4));
            (u64::from(u32::from_le_bytes(*first)) | last, 0)
        }
        _ => return rest.iter().position(|byte| needles.contains(byte)),
    };
    let hits = hits(word, needles);
    let found = base + hits.trailing_zeros() as usize / 8;
    (hits != 0 && found < hay.len()).then_some(found)
}

/// The high bit of the first byte that is one of `needles`, and perhaps those of bytes above it.
#[inline(always)]
fn hits<const N: usize>(word: u64, needles: [u8; N]) -> u64 {
    let mut hits = 0;
    for needle in needles {
        // A byte that is the needle becomes 0, and 0 alone borrows its high bit here. A borrow may also mark the bytes
        // above a hit, never one below: the lowest mark is always true.
        let zeroed = word ^ (LOW * u64::from(needle));
        hits |= zeroed.wrapping_sub(LOW) & !zeroed & HIGH;
    }
    hits
}

/// Whether two byte strings of the same length, at most 24 bytes, are equal.
#[inline]
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    debug_assert!(one.len() == other.len() && one.len() <= 24);
    match (one.first_chunk::<8>(), other.first_chunk::<8>()) {
        (Some(first), Some(other_first)) => {
            first == other_first
                && one.last_chunk::<8>() == other.last_chunk::<8>()
                && (one.len() <= 16 || one.get(8..16) == other.get(8..16))
        }
        _ => one.iter().zip(other).all(|(one, other)| one == other),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        /// Few different bytes, among them neighbours and high ones, so that hits and borrows are common.
        #[test]
        fn finds_what_a_plain_search_finds(
            hay in proptest::collection::vec(proptest::sample::select(&b":;=\"\x00\x01\x80\xff9<"[..]), 0..40),
            needles in proptest::sample::select(vec![*b":;=", *b"\"<:", *b"\x00\x01\x80", *b"\xff\x80;"]),
        ) {
            let plain = hay.iter().position(|byte| needles.contains(byte));
            prop_assert_eq!(find(&hay, needles), plain);
            prop_assert_eq!(find(&hay, [needles[0]]), hay.iter().position(|byte| *byte == needles[0]));
        }

        #[test]
        fn sees_every_difference(one in proptest::collection::vec(any::<u8>(), 1..=24), at in 0usize..24, bit in 0u8..8) {
            let mut other = one.clone();
            prop_assert!(same(&one, &other));
            let at = at % one.len();
            other[at] ^= 1 << bit;
            prop_assert!(!same(&one, &other));
        }
    }
}
