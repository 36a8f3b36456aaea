//! Segments on disk: their names, their order, and walking the frames of one of them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::JournalError;
use crate::frame::{self, BadFrame, BadHeader, FRAME_HEAD_LEN, Frame, HEADER_LEN, Header, VERSION};
use crate::journal::Purged;

/// Bytes read at once; also what a cursor keeps between two polls.
const CHUNK: usize = 256 << 10;

const PREFIX: &str = "journal-";
const SUFFIX: &str = ".tj";

/// One file of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Sequence of its first record, from its name.
    pub(crate) first_seq: u64,
    pub(crate) path: PathBuf,
}

impl Segment {
    pub(crate) fn new(dir: &Path, first_seq: u64) -> Segment {
        Segment { first_seq, path: dir.join(format!("{PREFIX}{first_seq:020}{SUFFIX}")) }
    }

    /// Opens it for reading and reads its header; `None` while it is too short to have one.
    pub(crate) fn open(&self) -> Result<Option<(File, Header)>, JournalError> {
        let file = File::open(&self.path).map_err(JournalError::io(&self.path, "open"))?;
        let mut bytes = [0; HEADER_LEN];
        let read = read_full(&file, &mut bytes, 0).map_err(JournalError::io(&self.path, "read"))?;
        match Header::decode(&bytes[..read]) {
            Ok(header) if header.first_seq == self.first_seq => Ok(Some((file, header))),
            Ok(header) => Err(JournalError::Damaged {
                path: self.path.clone(),
                offset: 16,
                cause: format!("the name says record {}, the header {}", self.first_seq, header.first_seq),
            }),
            Err(BadHeader::Short) => Ok(None),
            Err(BadHeader::Version(version)) => Err(JournalError::TooNew {
                path: self.path.clone(),
                offset: 8,
                cause: format!("journal format {version}, this tandemd knows {VERSION}"),
            }),
            Err(bad @ (BadHeader::Magic | BadHeader::Crc)) => {
                let cause = match bad {
                    BadHeader::Magic => "this is no segment of a journal",
                    _ => "the checksum of the header is wrong",
                };
                Err(JournalError::Damaged { path: self.path.clone(), offset: 0, cause: cause.to_owned() })
            }
        }
    }
}

/// All segments of `dir`, oldest first; other files are not looked at.
pub(crate) fn list(dir: &Path) -> Result<Vec<Segment>, JournalError> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(dir).map_err(JournalError::io(dir, "list"))? {
        let entry = entry.map_err(JournalError::io(dir, "list"))?;
        let name = entry.file_name();
        let first_seq = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX))
            .filter(|digits| digits.len() == 20)
            .and_then(|digits| digits.parse().ok());
        if let Some(first_seq) = first_seq {
            segments.push(Segment { first_seq, path: entry.path() });
        }
    }
    segments.sort_by_key(|segment| segment.first_seq);
    Ok(segments)
}

/// Removes the oldest segments all of whose records are below `needed_from`, until those that are left have at most `bytes_max`;
/// the newest `keep` stay, and always the one being written.
pub(crate) fn remove_oldest(dir: &Path, needed_from: u64, keep: usize, bytes_max: u64) -> Result<Purged, JournalError> {
    let segments = list(dir)?;
    let size = |segment: &Segment| fs::metadata(&segment.path).map_or(0, |meta| meta.len());
    let mut left: u64 = segments.iter().map(size).sum();
    let mut purged = Purged::default();
    for pair in segments.windows(2).take(segments.len().saturating_sub(keep.max(1))) {
        let [segment, next] = pair else { break };
        if next.first_seq > needed_from || left <= bytes_max {
            break;
        }
        let bytes = size(segment);
        fs::remove_file(&segment.path).map_err(JournalError::io(&segment.path, "remove"))?;
        left = left.saturating_sub(bytes);
        purged.segments += 1;
        purged.bytes += bytes;
    }
    if purged.segments > 0 {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(JournalError::io(dir, "sync the folder"))?;
    }
    Ok(purged)
}

/// What a cursor found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A whole record; its payload is [`Cursor::payload`].
    Record(u64),
    /// The file ends here, between two records.
    End,
    /// The file ends within a record, or what follows is no record.
    Torn(Tear),
}

/// Why a record could not be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tear {
    /// The file ends too early.
    Short,
    /// The bytes are wrong.
    Bad(BadFrame),
}

impl std::fmt::Display for Tear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Tear::Short => f.write_str("the file ends within a record"),
            Tear::Bad(bad) => bad.fmt(f),
        }
    }
}

/// Walks the frames of one segment.
///
/// After [`Step::End`] or [`Step::Torn`] it can be asked again: what it could not use is read from the file anew.
#[derive(Debug)]
pub(crate) struct Cursor {
    file: File,
    buffer: Vec<u8>,
    /// Start of the unread bytes in `buffer`.
    at: usize,
    /// Offset in the file of `buffer[at]`.
    offset: u64,
    next_seq: u64,
    payload: std::ops::Range<usize>,
}

impl Cursor {
    /// From the first record of a segment whose header was read.
    pub(crate) fn new(file: File, first_seq: u64) -> Cursor {
        Cursor { file, buffer: Vec::new(), at: 0, offset: HEADER_LEN as u64, next_seq: first_seq, payload: 0..0 }
    }

    /// Sequence the next record will have.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Where in the file the next record begins.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The encoded record of the last [`Step::Record`].
    pub(crate) fn payload(&self) -> &[u8] {
        &self.buffer[self.payload.clone()]
    }

    /// The next record.
    pub(crate) fn step(&mut self) -> io::Result<Step> {
        loop {
            let (step, wanted) = match frame::decode(&self.buffer[self.at..], self.next_seq) {
                Frame::Whole { len, .. } => {
                    let seq = self.next_seq;
                    self.payload = self.at + FRAME_HEAD_LEN..self.at + len;
                    self.at += len;
                    self.offset += len as u64;
                    self.next_seq += 1;
                    return Ok(Step::Record(seq));
                }
                Frame::End => (Step::End, FRAME_HEAD_LEN),
                Frame::Short { len } => (Step::Torn(Tear::Short), len),
                Frame::Bad(bad) => {
                    self.forget();
                    return Ok(Step::Torn(Tear::Bad(bad)));
                }
            };
            if !self.fill(wanted)? {
                self.forget();
                return Ok(step);
            }
        }
    }

    /// Reads until `wanted` bytes are there or the file ends; false when not one byte more was there.
    fn fill(&mut self, wanted: usize) -> io::Result<bool> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let have = self.buffer.len();
        // Grows with what the file has, not with what a damaged length promises.
        let room = (wanted - have).clamp(CHUNK, CHUNK.max(have));
        self.buffer.resize(have + room, 0);
        let read = read_full(&self.file, &mut self.buffer[have..], self.offset + have as u64);
        self.buffer.truncate(have + *read.as_ref().unwrap_or(&0));
        Ok(read? > 0)
    }

    /// Drops what was read and not used, so that the next step sees what is in the file then.
    fn forget(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(CHUNK);
        self.at = 0;
        self.payload = 0..0;
    }
}

/// Whether any whole record follows the bad bytes at `offset` of a file: then the file was damaged, not just cut short.
///
/// Looks for the sequences that could follow; a wrong answer needs a checksum that fits by chance.
pub(crate) fn records_after(file: &File, offset: u64, next_seq: u64) -> io::Result<u64> {
    let len = file.metadata()?.len();
    let mut bytes = vec![0; usize::try_from(len.saturating_sub(offset)).unwrap_or(0)];
    let read = read_full(file, &mut bytes, offset)?;
    bytes.truncate(read);
    let (mut at, mut found, mut next) = (0, 0, next_seq);
    while at + FRAME_HEAD_LEN <= bytes.len() {
        let seq = bytes[at + 8..].first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk));
        // As many records as there are bytes left could stand between.
        let plausible = seq >= next && seq - next <= bytes.len() as u64;
        match if plausible { frame::decode(&bytes[at..], seq) } else { Frame::End } {
            Frame::Whole { len, .. } => {
                found += 1;
                next = seq + 1;
                at += len;
            }
            _ => at += 1,
        }
    }
    Ok(found)
}

/// Reads at `offset` until `bytes` is full or the file ends.
pub(crate) fn read_full(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(count) => read += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
