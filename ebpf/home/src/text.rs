//! The bytes of a datagram as the search reads them: eight at a time.

use crate::{LOOK_MAX, PLACES};

/// A datagram, or its beginning.
pub trait Text {
    /// Bytes that are known, at most [`LOOK_MAX`].
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The eight bytes from `at` on, the first one lowest; any bytes beyond [`Text::len`]. `at` is below [`PLACES`].
    fn word(&self, at: usize) -> u64;

    /// The same number. The program in the kernel makes its verifier forget what it knows of it, so that the many ways
    /// by which one comes to a number are one from here on.
    fn settle(&mut self, number: usize) -> usize {
        number
    }
}

/// What the program has in the memory of its processor: the beginning of a datagram, and behind it what an earlier one
/// left there. The same outside of the kernel, for tests.
#[derive(Clone, Debug)]
pub struct Copied {
    bytes: [u8; PLACES + 8],
    len: usize,
}

impl Copied {
    /// Memory that nothing was copied to yet, full of `filler`.
    pub fn new(filler: &[u8]) -> Copied {
        let mut bytes = [0; PLACES + 8];
        for (to, byte) in bytes.iter_mut().zip(filler.iter().cycle()) {
            *to = *byte;
        }
        Copied { bytes, len: 0 }
    }

    /// Copies the beginning of `datagram`.
    pub fn take(&mut self, datagram: &[u8]) {
        self.len = datagram.len().min(LOOK_MAX);
        self.bytes[..self.len].copy_from_slice(&datagram[..self.len]);
    }
}

impl Text for Copied {
    fn len(&self) -> usize {
        self.len
    }

    fn word(&self, at: usize) -> u64 {
        let at = at & (PLACES - 1);
        self.bytes[at..at + 8].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
    }
}
