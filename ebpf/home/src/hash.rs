//! SipHash-1-3, so that nobody can choose the shard that his calls fall to.

use crate::VALUE_MAX;
use crate::text::Text;

/// The state of a hash.
#[derive(Clone, Copy, Debug)]
pub struct SipHash {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl SipHash {
    /// Nothing hashed so far.
    #[inline(always)]
    pub fn new(key: (u64, u64)) -> SipHash {
        SipHash {
            v0: key.0 ^ 0x736f_6d65_7073_6575,
            v1: key.1 ^ 0x646f_7261_6e64_6f6d,
            v2: key.0 ^ 0x6c79_6765_6e65_7261,
            v3: key.1 ^ 0x7465_6462_7974_6573,
        }
    }

    /// Eight bytes, the first one lowest.
    #[inline(always)]
    pub fn word(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.v0 ^= word;
    }

    /// The last bytes, at most seven, zero beyond them, and how many there were in all.
    #[inline(always)]
    pub fn finish(mut self, rest: u64, len: usize) -> u64 {
        self.word(rest | (len as u64) << 56);
        self.v2 ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.v0 ^ self.v1 ^ self.v2 ^ self.v3
    }

    #[inline(always)]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v2 = self.v2.rotate_left(32);
    }
}

/// The hash of `bytes`.
pub fn sip_hash(key: (u64, u64), bytes: &[u8]) -> u64 {
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
    let mut hash = SipHash::new(key);
    let mut words = bytes.chunks_exact(8);
    for bytes in &mut words {
        hash.word(word(bytes));
    }
    hash.finish(word(words.remainder()), bytes.len())
}

/// The hash of the `len` bytes of `text` from `start` on, at most [`VALUE_MAX`].
#[inline(always)]
pub(crate) fn sip_hash_text<T: Text>(key: (u64, u64), text: &mut T, start: usize, len: usize) -> u64 {
    let mut hash = SipHash::new(key);
    for at in (0..VALUE_MAX).step_by(8) {
        if at + 8 > len {
            break;
        }
        hash.word(text.word(start + at));
    }
    let len = text.settle(len);
    let rest = text.word(start + (len & !7)) & !(u64::MAX << ((len & 7) * 8));
    hash.finish(rest, len)
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher;
    use std::vec::Vec;

    use super::sip_hash;

    #[test]
    fn the_hash_is_siphash_1_3() {
        for len in 0..40 {
            let bytes: Vec<u8> = (0..len).collect();
            let mut reference = std::collections::hash_map::DefaultHasher::new();
            reference.write(&bytes);
            assert_eq!(sip_hash((0, 0), &bytes), reference.finish(), "{len} bytes");
        }
    }
}
