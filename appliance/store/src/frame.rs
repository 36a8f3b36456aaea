//! The bytes of the journal: a segment header and frames, each told apart from garbage by its own checksum.
//!
//! All integers are little-endian. A header is [`HEADER_LEN`] bytes:
//!
//! | bytes | meaning |
//! |---|---|
//! | 0..8 | `TANDEMJL` |
//! | 8..12 | format version, [`VERSION`] |
//! | 12..16 | CRC-32 of bytes 16..32 |
//! | 16..24 | sequence of the first record of this segment |
//! | 24..32 | sequence of the last record before this segment; one less than the first unless a gap was declared |
//!
//! A frame is [`FRAME_HEAD_LEN`] bytes and a payload:
//!
//! | bytes | meaning |
//! |---|---|
//! | 0..4 | length of the payload |
//! | 4..8 | CRC-32 of the length, the sequence and the payload |
//! | 8..16 | sequence, rising by one |
//! | 16.. | payload: the record in MessagePack, fields in order, the variant by its name |

use tandem_rating::record::Record;

/// First bytes of every segment.
pub(crate) const MAGIC: [u8; 8] = *b"TANDEMJL";
/// Format of segments this build reads and writes.
pub(crate) const VERSION: u32 = 1;
/// Bytes of a segment header.
pub(crate) const HEADER_LEN: usize = 32;
/// Bytes of a frame before its payload.
pub(crate) const FRAME_HEAD_LEN: usize = 16;
/// Longest payload, bytes. A deck of two million rows is about 100 MiB of CSV; anything longer is refused at append, so
/// that a damaged length never makes a reader ask for gigabytes.
pub const PAYLOAD_MAX: usize = 256 << 20;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Sequence of its first record.
    pub(crate) first_seq: u64,
    /// Sequence of the last record before it.
    pub(crate) previous_seq: u64,
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// Shorter than a header: the switch died while it made the file.
    Short,
    /// Not a journal.
    Magic,
    /// A newer format.
    Version(u32),
    /// Checksum wrong.
    Crc,
}

impl Header {
    pub(crate) fn encode(self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first_seq.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.previous_seq.to_le_bytes());
        let crc = crc32fast::hash(&bytes[16..32]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Header, BadHeader> {
        if bytes.len() < HEADER_LEN {
            return Err(BadHeader::Short);
        }
        if bytes[0..8] != MAGIC {
            return Err(BadHeader::Magic);
        }
        let version = u32_at(bytes, 8);
        if version != VERSION {
            return Err(BadHeader::Version(version));
        }
        if crc32fast::hash(&bytes[16..32]) != u32_at(bytes, 12) {
            return Err(BadHeader::Crc);
        }
        Ok(Header { first_seq: u64_at(bytes, 16), previous_seq: u64_at(bytes, 24) })
    }
}

/// What stands at one place of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    /// A whole record.
    Whole {
        /// Its record, still encoded.
        payload: &'a [u8],
        /// Bytes of head and payload.
        len: usize,
    },
    /// Nothing more.
    End,
    /// More bytes are needed to tell; as many as the frame has, as far as known.
    Short {
        /// Bytes of the whole frame, if its length can be believed.
        len: usize,
    },
    /// Not the frame that belongs here.
    Bad(BadFrame),
}

/// Why a frame was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadFrame {
    /// Longer than [`PAYLOAD_MAX`].
    Length(u32),
    /// Checksum wrong.
    Crc,
    /// Another sequence than the next one.
    Sequence(u64),
}

impl std::fmt::Display for BadFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BadFrame::Length(len) => write!(f, "length {len} is above {PAYLOAD_MAX}"),
            BadFrame::Crc => f.write_str("the checksum is wrong"),
            BadFrame::Sequence(seq) => write!(f, "sequence {seq} is not the next one"),
        }
    }
}

/// Reads the frame at the start of `bytes`, which must be record `expected_seq`.
pub(crate) fn decode(bytes: &[u8], expected_seq: u64) -> Frame<'_> {
    if bytes.is_empty() {
        return Frame::End;
    }
    if bytes.len() < FRAME_HEAD_LEN {
        return Frame::Short { len: FRAME_HEAD_LEN };
    }
    let payload_len = u32_at(bytes, 0);
    if payload_len as usize > PAYLOAD_MAX {
        return Frame::Bad(BadFrame::Length(payload_len));
    }
    let seq = u64_at(bytes, 8);
    if seq != expected_seq {
        return Frame::Bad(BadFrame::Sequence(seq));
    }
    let len = FRAME_HEAD_LEN + payload_len as usize;
    let Some(frame) = bytes.get(..len) else {
        return Frame::Short { len };
    };
    let payload = &frame[FRAME_HEAD_LEN..];
    if crc(payload_len, seq, payload) != u32_at(bytes, 4) {
        return Frame::Bad(BadFrame::Crc);
    }
    Frame::Whole { payload, len }
}

/// Appends `record` as a frame to `out`, which is left as it was when the record cannot be written.
///
/// # Errors
/// In words: the record cannot be encoded, or is longer than [`PAYLOAD_MAX`].
pub(crate) fn encode(out: &mut Vec<u8>, seq: u64, record: &Record) -> Result<(), String> {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_HEAD_LEN]);
    if let Err(error) = rmp_serde::encode::write(out, record) {
        out.truncate(start);
        return Err(error.to_string());
    }
    let payload_len = out.len() - start - FRAME_HEAD_LEN;
    if payload_len > PAYLOAD_MAX {
        out.truncate(start);
        return Err(format!("{payload_len} bytes, at most {PAYLOAD_MAX}"));
    }
    let payload_len = payload_len as u32;
    let crc = crc(payload_len, seq, &out[start + FRAME_HEAD_LEN..]);
    out[start..start + 4].copy_from_slice(&payload_len.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    out[start + 8..start + 16].copy_from_slice(&seq.to_le_bytes());
    Ok(())
}

/// A record whose bytes were made elsewhere, so that a large one does not keep the writer of the journal from its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded(Vec<u8>);

impl Encoded {
    /// The bytes of `record`.
    ///
    /// # Errors
    /// In words: it cannot be encoded, or is longer than [`PAYLOAD_MAX`].
    pub fn of(record: &Record) -> Result<Encoded, String> {
        let payload = rmp_serde::to_vec(record).map_err(|error| error.to_string())?;
        match payload.len() {
            0..=PAYLOAD_MAX => Ok(Encoded(payload)),
            len => Err(format!("{len} bytes, at most {PAYLOAD_MAX}")),
        }
    }
}

/// Appends a record that is encoded already.
pub(crate) fn put(out: &mut Vec<u8>, seq: u64, record: &Encoded) {
    // `Encoded` is never longer than PAYLOAD_MAX, which fits.
    let payload_len = record.0.len() as u32;
    out.reserve(FRAME_HEAD_LEN + record.0.len());
    out.extend_from_slice(&payload_len.to_le_bytes());
    out.extend_from_slice(&crc(payload_len, seq, &record.0).to_le_bytes());
    out.extend_from_slice(&seq.to_le_bytes());
    out.extend_from_slice(&record.0);
}

fn crc(payload_len: u32, seq: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&payload_len.to_le_bytes());
    hasher.update(&seq.to_le_bytes());
    hasher.update(payload);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn param(value: &str) -> Record {
        Record::Param { at_ms: 1, user: "root".into(), name: "SS_SIP_SESSION_TTL".into(), value: value.into() }
    }

    #[test]
    fn a_frame_reads_back() {
        let mut bytes = Vec::new();
        encode(&mut bytes, 7, &param("600")).unwrap();
        let Frame::Whole { payload, len } = decode(&bytes, 7) else { panic!("no frame") };
        assert_eq!(len, bytes.len());
        assert_eq!(rmp_serde::from_slice::<Record>(payload).unwrap(), param("600"));
    }

    #[test]
    fn a_record_encoded_elsewhere_is_the_same_frame() {
        let (mut here, mut elsewhere) = (Vec::new(), Vec::new());
        encode(&mut here, 7, &param("600")).unwrap();
        put(&mut elsewhere, 7, &Encoded::of(&param("600")).unwrap());
        assert_eq!(here, elsewhere);
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let mut bytes = Vec::new();
        encode(&mut bytes, 7, &param("600")).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(decode(&flipped, 7), Frame::Whole { .. }), "bit {bit} went unseen");
        }
    }

    #[test]
    fn every_cut_is_short_or_the_end() {
        let mut bytes = Vec::new();
        encode(&mut bytes, 7, &param("600")).unwrap();
        assert_eq!(decode(&[], 7), Frame::End);
        for len in 1..bytes.len() {
            assert!(matches!(decode(&bytes[..len], 7), Frame::Short { .. }), "cut at {len}");
        }
    }

    #[test]
    fn a_header_reads_back_and_names_what_is_wrong() {
        let header = Header { first_seq: 42, previous_seq: 41 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        assert_eq!(Header::decode(&bytes[..31]), Err(BadHeader::Short));
        let mut newer = bytes;
        newer[8] = 9;
        assert_eq!(Header::decode(&newer), Err(BadHeader::Version(9)));
        let mut damaged = bytes;
        damaged[17] ^= 1;
        assert_eq!(Header::decode(&damaged), Err(BadHeader::Crc));
        assert_eq!(Header::decode(&[0; HEADER_LEN]), Err(BadHeader::Magic));
    }
}
