//! Which shard a SIP datagram belongs to: the hash and the mark that decide it, and the search for the Call-ID as the
//! steering program in the kernel does it.
//!
//! The switch asks [`home_of`] with the Call-ID it found by itself; the program asks [`home`] with the bytes of the
//! datagram. Both answers are the same, or the program has none: then the kernel chooses a socket by the flow, and the
//! shard that gets the datagram hands it over once.
//!
//! No allocation, no panics, no loops without a constant bound; knows nothing of SIP beyond that one line.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod find;
mod hash;
mod text;

use core::num::NonZero;

pub use hash::{SipHash, sip_hash};
pub use text::{Copied, Text};

/// The line of the Call-ID must begin within so many bytes. INVITEs of carriers have it after 250 to 500; each eight bytes
/// more cost the program a step.
pub const HEAD_MAX: usize = 768;
/// Longest Call-ID, in bytes. Usual ones have 20 to 80.
pub const VALUE_MAX: usize = 128;
/// Line breaks before the start line, and blanks around the colon and after the value, each.
pub const BLANKS_MAX: usize = 4;
/// So many bytes of a datagram are looked at: the last line may begin at the end of the head.
pub const LOOK_MAX: usize = 960;
/// Places that [`Text::word`] can be asked for: a power of two, so that one instruction keeps within.
pub const PLACES: usize = 1024;

// The line break, the name, the colon with blanks around, the value, blanks and the first byte of the next line.
const _: () = assert!(HEAD_MAX + BLANKS_MAX + 8 + 7 + 2 * BLANKS_MAX + 1 + VALUE_MAX + BLANKS_MAX + 3 <= LOOK_MAX);
const _: () = assert!(LOOK_MAX + 2 * 8 <= PLACES && HEAD_MAX.is_multiple_of(8) && VALUE_MAX.is_multiple_of(8));

/// Which shard owns a Call-ID: the one that it was minted by, else the one its hash falls to.
///
/// `first` is its first eight bytes, zero beyond its end, and `hash` its [`sip_hash`], asked for only when needed.
#[inline(always)]
pub fn home_of(first: u64, shards: NonZero<u64>, hash: impl FnOnce() -> u64) -> u32 {
    let shards_known = shards.get();
    match minted_by(first) {
        shard if shard < shards_known => shard as u32,
        _ => (hash() % shards) as u32,
    }
}

/// The shard that the mark `tdm<2 hex>-` names; a number that no shard has when there is none.
#[inline(always)]
fn minted_by(first: u64) -> u64 {
    const MARK: u64 = u64::from_le_bytes([b't', b'd', b'm', 0, 0, b'-', 0, 0]);
    const MARKED: u64 = u64::from_le_bytes([0xff, 0xff, 0xff, 0, 0, 0xff, 0, 0]);
    if first & MARKED != MARK {
        return u64::MAX;
    }
    // What is no digit makes a number beyond all shards.
    digit(first >> 24 & 0xff) << 4 | digit(first >> 32 & 0xff)
}

/// A hexadecimal digit of either case; at least 256 for anything else.
#[inline(always)]
fn digit(byte: u64) -> u64 {
    match byte {
        0x30..=0x39 => byte - 0x30,
        0x41..=0x46 => byte - 0x37,
        0x61..=0x66 => byte - 0x57,
        _ => 256,
    }
}

/// Which shard owns a datagram; `None` without a Call-ID or beyond the bounds above.
#[inline(always)]
pub fn home<T: Text>(text: &mut T, shards: NonZero<u64>, key: (u64, u64)) -> Option<u32> {
    let (start, len) = find::call_id(text)?;
    let first = text.word(start);
    // The mark has six bytes.
    let marked = if len < 6 { 0 } else { first };
    Some(home_of(marked, shards, || hash::sip_hash_text(key, text, start, len)))
}
