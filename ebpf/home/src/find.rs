//! The search for the value of the first `Call-ID` or `i` line.
//!
//! Whatever is unusual (a folded line, more blanks than anybody writes, a value without an end) has no answer here: such
//! a datagram goes the way of those without a Call-ID.

use crate::text::Text;
use crate::{BLANKS_MAX, HEAD_MAX, VALUE_MAX};

const ONES: u64 = 0x0101_0101_0101_0101;
const LOW: u64 = 0x7f * ONES;

/// Where the value begins, and its length: 1 to [`VALUE_MAX`].
#[inline(always)]
pub(crate) fn call_id<T: Text>(text: &mut T) -> Option<(usize, usize)> {
    let value = line(text)?;
    let value = text.settle(value);
    let start = value + blanks(text.word(value))?;
    let start = text.settle(start);
    let end = line_end(text, start)?;
    let end = text.settle(end);
    if end >= text.len() {
        return None;
    }
    let after = text.word(end);
    // CR LF or LF; a blank after it would go on with the value.
    let next = match after as u8 {
        b'\n' => 1,
        _ if after as u16 == u16::from_le_bytes(*b"\r\n") => 2,
        _ => return None,
    };
    if end + next < text.len() && is_blank((after >> (next * 8)) as u8) {
        return None;
    }
    let end = trimmed(text, end)?;
    let end = text.settle(end);
    let len = end.wrapping_sub(start);
    // Nothing between the blanks: no value, or one that begins on the next line.
    if len == 0 || len > VALUE_MAX {
        return None;
    }
    Some((start, text.settle(len)))
}

/// What follows the colon of the line.
#[inline(always)]
fn line<T: Text>(text: &mut T) -> Option<usize> {
    // Line breaks before the start line do not count (RFC 3261 7.5).
    let from = text.word(0);
    let mut begin = 0;
    while begin < BLANKS_MAX && matches!((from >> (begin * 8)) as u8, b'\r' | b'\n') {
        begin += 1;
    }
    if matches!((from >> (begin * 8)) as u8, b'\r' | b'\n') {
        return None;
    }
    let begin = text.settle(begin);
    for step in (0..HEAD_MAX).step_by(8) {
        let base = begin + step;
        if base >= text.len() {
            return None;
        }
        let mut breaks = equal(text.word(base), b'\n');
        // Header lines are longer than two bytes.
        for _ in 0..3 {
            if breaks == 0 {
                break;
            }
            let at = base + first(breaks) + 1;
            breaks &= breaks - 1;
            let begins = text.word(at);
            let name = match begins as u8 {
                b'i' | b'I' => 1,
                b'c' | b'C' if is_call_id(begins) => 7,
                // The end of the header.
                b'\n' => return None,
                b'\r' if begins as u16 == u16::from_le_bytes(*b"\r\n") => return None,
                _ => continue,
            };
            let rest = text.word(at + name);
            let blanks = blanks(rest)?;
            if (rest >> (blanks * 8)) as u8 == b':' {
                let value = at + name + blanks + 1;
                return if value <= text.len() { Some(value) } else { None };
            }
        }
        if breaks != 0 {
            return None;
        }
    }
    None
}

/// Where the next CR or LF is; `None` when the value would be too long.
#[inline(always)]
fn line_end<T: Text>(text: &T, start: usize) -> Option<usize> {
    for at in (0..VALUE_MAX + 2 * BLANKS_MAX).step_by(8) {
        let word = text.word(start + at);
        let breaks = equal(word, b'\n') | equal(word, b'\r');
        if breaks != 0 {
            return Some(start + at + first(breaks));
        }
    }
    None
}

/// The end without the blanks before it.
#[inline(always)]
fn trimmed<T: Text>(text: &T, end: usize) -> Option<usize> {
    // The line has at least a colon before its end, so this does not go below zero.
    let before = text.word(end.wrapping_sub(8));
    for count in 0..=BLANKS_MAX {
        if !is_blank((before >> (56 - count * 8)) as u8) {
            return Some(end.wrapping_sub(count));
        }
    }
    None
}

/// How many blanks these bytes begin with; `None` when there are too many.
#[inline(always)]
fn blanks(word: u64) -> Option<usize> {
    (0..=BLANKS_MAX).find(|count| !is_blank((word >> (count * 8)) as u8))
}

#[inline(always)]
fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

#[inline(always)]
fn is_call_id(word: u64) -> bool {
    // Small letters for capitals, the dash as it is.
    const LETTERS: u64 = u64::from_le_bytes([0x20, 0x20, 0x20, 0x20, 0, 0x20, 0x20, 0]);
    (word | LETTERS) << 8 == u64::from_le_bytes(*b"call-id\0") << 8
}

/// The top bit of every byte of `word` that is `byte`.
#[inline(always)]
fn equal(word: u64, byte: u8) -> u64 {
    let differs = word ^ (ONES * byte as u64);
    !(((differs & LOW) + LOW) | differs | LOW)
}

/// The number of the first byte whose top bit is set; there is one.
#[inline(always)]
fn first(tops: u64) -> usize {
    // As many ones as there are bytes below it, added up in the highest byte.
    let below = ((tops & tops.wrapping_neg()) >> 7).wrapping_sub(1) & ONES;
    ((below.wrapping_mul(ONES) >> 56) & 7) as usize
}
