//! Names we mint (Call-ID, tag, branch) and the shard a datagram belongs to.
//!
//! All three carry our shard number and 64 or 128 random bits; the random part of a tag or branch is also its key in our
//! tables, so that what a stranger sends is never hashed by us on his terms.
//!
//! ```text
//! Call-ID  tdm<shard>-<32 hex>        tag  t<shard>-<16 hex>        branch  z9hG4bK<shard>-<16 hex>
//! ```

use std::num::NonZero;

use memchr::memchr;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tandem_home::{home_of, sip_hash};

use crate::uri::trim;
use tandem_leg::text::{into_string, push_hex};

const CALL_ID_MARK: &[u8] = b"tdm";
const TAG_MARK: &[u8] = b"t";
const BRANCH_MARK: &[u8] = b"z9hG4bK";
/// Two hexadecimal digits and a dash.
const SHARD_BYTES: usize = 3;

/// The generator of everything that must not be guessed.
#[derive(Debug)]
pub(crate) struct Mint {
    shard: u8,
    rng: StdRng,
    digest_key: (u64, u64),
}

impl Mint {
    pub(crate) fn new(shard: u8, seed: [u8; 32]) -> Mint {
        let mut rng = StdRng::from_seed(seed);
        let digest_key = (rng.random(), rng.random());
        Mint { shard, rng, digest_key }
    }

    pub(crate) fn call_id(&mut self) -> String {
        let key = self.rng.random();
        self.named(CALL_ID_MARK, key, 32)
    }

    /// The random part of a new tag or branch.
    pub(crate) fn key(&mut self) -> u64 {
        self.rng.random()
    }

    pub(crate) fn tag(&self, key: u64) -> String {
        self.named(TAG_MARK, key.into(), 16)
    }

    pub(crate) fn branch(&self, key: u64) -> String {
        self.named(BRANCH_MARK, key.into(), 16)
    }

    fn named(&self, mark: &[u8], key: u128, digits: u32) -> String {
        let mut out = Vec::with_capacity(mark.len() + SHARD_BYTES + digits as usize);
        out.extend_from_slice(mark);
        push_hex(&mut out, self.shard.into(), 2);
        out.push(b'-');
        push_hex(&mut out, key, digits);
        into_string(out)
    }

    /// The key of a tag of ours; `None` when it is not one.
    pub(crate) fn tag_key(&self, tag: &[u8]) -> Option<u64> {
        key_of(tag, TAG_MARK, self.shard)
    }

    /// The key of a branch of ours; `None` when it is not one.
    pub(crate) fn branch_key(&self, branch: &[u8]) -> Option<u64> {
        key_of(branch, BRANCH_MARK, self.shard)
    }

    /// The same number for the same bytes, which nobody else can foretell.
    pub(crate) fn digest(&self, bytes: &[u8]) -> u64 {
        sip_hash(self.digest_key, bytes)
    }

    /// A number of the inclusive range.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        self.rng.random_range(low..=high)
    }
}

fn key_of(text: &[u8], mark: &[u8], shard: u8) -> Option<u64> {
    let rest = text.strip_prefix(mark)?;
    if shard_of(rest)? != shard {
        return None;
    }
    let digits = &rest[SHARD_BYTES..];
    if digits.len() != 16 || !digits.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn shard_of(rest: &[u8]) -> Option<u8> {
    let [high, low, b'-', ..] = rest else { return None };
    let digit = |b: &u8| (*b as char).to_digit(16);
    Some((digit(high)? * 16 + digit(low)?) as u8)
}

/// Which shard owns a datagram, from its Call-ID; `None` when it has none (a keep-alive, noise).
///
/// Call-IDs we minted carry their shard; all others are hashed with `key`, so that every shard computes the same and no
/// stranger can choose. Costs one look at each header line up to the Call-ID. The steering program in the kernel answers the
/// same or not at all (`tandem_home::home`).
pub fn home_shard(bytes: &[u8], shards: u8, key: (u64, u64)) -> Option<u8> {
    find_call_id(bytes).map(|call_id| home_of_call_id(call_id, shards, key))
}

/// Which shard owns a Call-ID; see [`home_shard`].
pub fn home_of_call_id(call_id: &[u8], shards: u8, key: (u64, u64)) -> u8 {
    let shards = NonZero::new(u64::from(shards)).unwrap_or(NonZero::<u64>::MIN);
    let mut first = [0; 8];
    let known = call_id.len().min(8);
    first[..known].copy_from_slice(&call_id[..known]);
    home_of(u64::from_le_bytes(first), shards, || sip_hash(key, call_id)) as u8
}

/// The value of the first `Call-ID` or `i` line, trimmed; nothing else is looked at.
fn find_call_id(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes;
    // Line breaks before the start line do not count (RFC 3261 7.5).
    while let [b'\r' | b'\n', tail @ ..] = rest {
        rest = tail;
    }
    loop {
        rest = &rest[memchr(b'\n', rest)? + 1..];
        if matches!(rest, [b'\n', ..] | [b'\r', b'\n', ..]) {
            return None;
        }
        let name_len = match rest {
            [b'i' | b'I', ..] => 1,
            [b'c' | b'C', ..] if rest.get(..7).is_some_and(|name| name.eq_ignore_ascii_case(b"call-id")) => 7,
            _ => continue,
        };
        let after = &rest[name_len..];
        let blanks = after.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        if after.get(blanks) != Some(&b':') {
            continue;
        }
        let value = &after[blanks + 1..];
        // A line goes on while the next one begins with a blank (folding).
        let mut end = 0;
        loop {
            match memchr(b'\n', &value[end..]) {
                Some(at) => end += at + 1,
                None => return Some(trim(value)),
            }
            if !matches!(value.get(end), Some(b' ' | b'\t')) {
                return Some(trim(&value[..end]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_minted_is_recognised_by_its_own_shard_only() {
        let mut mint = Mint::new(3, [7; 32]);
        let key = mint.key();
        assert_eq!(mint.tag_key(mint.tag(key).as_bytes()), Some(key));
        assert_eq!(mint.branch_key(mint.branch(key).as_bytes()), Some(key));
        assert_eq!(Mint::new(4, [7; 32]).tag_key(mint.tag(key).as_bytes()), None);
        assert_eq!(mint.tag_key(mint.tag(key).to_uppercase().as_bytes()), None);
        assert_eq!(home_of_call_id(mint.call_id().as_bytes(), 8, (1, 2)), 3);
    }

    #[test]
    fn the_call_id_is_found_however_it_is_written() {
        let find = |text: &str| find_call_id(text.as_bytes()).map(|v| String::from_utf8_lossy(v).into_owned());
        let want = Some("a@b".to_owned());
        assert_eq!(find("\r\nBYE sip:x SIP/2.0\r\nVia: y\r\nCall-ID: a@b\r\n\r\n"), want);
        assert_eq!(find("BYE sip:x SIP/2.0\nI \t:a@b\n\n"), want);
        assert_eq!(find("BYE sip:x SIP/2.0\r\nCALL-id:\r\n a@b\r\nTo: x\r\n\r\n"), want);
        assert_eq!(find("BYE sip:x SIP/2.0\r\nCall-Info: x\r\nIdentity: y\r\n\r\nCall-ID: body\r\n"), None);
        assert_eq!(find("BYE sip:x SIP/2.0\r\nTo: x\r\n i: folded\r\nCall-ID: a@b"), want);
        assert_eq!(find("\r\n\r\n"), None);
        assert_eq!(find(""), None);
    }
}
