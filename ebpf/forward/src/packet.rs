//! How forwarding reaches the bytes of a frame: whole words at fixed places, after one look at the length.
//!
//! User space and the fuzzer have a slice. The kernel program has two pointers and a verifier that wants to see the
//! comparison with the end of the frame before every access; it implements [`Packet`] itself.

/// The bytes of one frame. Words are in the order of memory, so that a word can be compared, stored and summed whole
/// whatever the byte order of the machine.
///
/// Reads outside the frame return 0 and writes there are lost: [`Packet::holds`] comes first. (In the kernel program the
/// verifier refuses code that forgets it.)
pub trait Packet {
    /// Bytes in the frame.
    fn len(&self) -> usize;

    /// True when the frame has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the frame has at least `end` bytes. `end` is a constant at every call.
    fn holds(&self, end: usize) -> bool;

    /// One byte.
    fn u8(&self, at: usize) -> u8;

    /// Two bytes as they are in memory.
    fn u16(&self, at: usize) -> u16;

    /// Four bytes as they are in memory.
    fn u32(&self, at: usize) -> u32;

    /// One's complement sum of the 16-bit words of `len` bytes from `at` on, in the order of memory (RFC 1071), not folded;
    /// `None` when they are not there, or too many.
    fn sum(&self, at: usize, len: u32) -> Option<u32>;

    /// Writes two bytes.
    fn put_u16(&mut self, at: usize, word: u16);

    /// Writes four bytes.
    fn put_u32(&mut self, at: usize, word: u32);
}

impl Packet for [u8] {
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    fn holds(&self, end: usize) -> bool {
        <[u8]>::len(self) >= end
    }

    fn u8(&self, at: usize) -> u8 {
        self.get(at).copied().unwrap_or(0)
    }

    fn u16(&self, at: usize) -> u16 {
        chunk(self, at).map_or(0, u16::from_ne_bytes)
    }

    fn u32(&self, at: usize) -> u32 {
        chunk(self, at).map_or(0, u32::from_ne_bytes)
    }

    fn sum(&self, at: usize, len: u32) -> Option<u32> {
        let mut sum = 0u32;
        // A frame has less than 2^15 words: no overflow.
        for pair in self.get(at..)?.get(..len as usize)?.chunks(2) {
            let [first, second] = [pair[0], pair.get(1).copied().unwrap_or(0)];
            sum += u32::from(u16::from_ne_bytes([first, second]));
        }
        Some(sum)
    }

    fn put_u16(&mut self, at: usize, word: u16) {
        if let Some(to) = self.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            *to = word.to_ne_bytes();
        }
    }

    fn put_u32(&mut self, at: usize, word: u32) {
        if let Some(to) = self.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
            *to = word.to_ne_bytes();
        }
    }
}

fn chunk<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}
