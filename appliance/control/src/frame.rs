//! Frames: one JSON text a line, ended by `\n`.
//!
//! Compact JSON never holds a raw line break, so the line is the whole frame and any tool that reads lines can talk to
//! the socket.

use serde::Serialize;

/// Longest frame in bytes, without its line break.
///
/// A rate deck travels whole in one request: a million rows (rates.md 5) of some 60 bytes fit. Lower and a full
/// A-Z deck cannot be imported; higher and one client could make the switch hold that much more memory.
pub const FRAME_MAX: usize = 64 * 1024 * 1024;

/// Why a frame could not be written or read. After a read error the connection is of no more use: where the next frame
/// begins is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// More bytes than allowed before a line break.
    #[error("a message of {bytes} bytes or more is longer than the {max} bytes allowed")]
    TooLong {
        /// Bytes seen so far, or the size of the frame to be written.
        bytes: usize,
        /// The limit that was passed.
        max: usize,
    },
    /// The connection ended inside a frame.
    #[error("the connection ended inside a message, after {bytes} bytes of it")]
    Truncated {
        /// Bytes of the unfinished frame.
        bytes: usize,
    },
    /// The value cannot be written as JSON.
    #[error("a message could not be written as JSON: {reason}")]
    Unwritable {
        /// What the JSON writer said.
        reason: String,
    },
}

/// One frame with its line break.
///
/// # Errors
/// [`FrameError::TooLong`] beyond [`FRAME_MAX`]; [`FrameError::Unwritable`] for a value that JSON has no form for.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, FrameError> {
    let mut bytes = serde_json::to_vec(value).map_err(|error| FrameError::Unwritable { reason: error.to_string() })?;
    if bytes.len() > FRAME_MAX {
        return Err(FrameError::TooLong { bytes: bytes.len(), max: FRAME_MAX });
    }
    bytes.push(b'\n');
    Ok(bytes)
}

/// Cuts a stream of bytes into frames, however the reads fall.
#[derive(Debug)]
pub struct Splitter {
    buffer: Vec<u8>,
    /// Bytes of `buffer` already given out.
    taken: usize,
    /// Bytes of `buffer` already searched for a line break, so that a long frame is searched once.
    searched: usize,
    max: usize,
}

impl Default for Splitter {
    fn default() -> Self {
        Splitter::new(FRAME_MAX)
    }
}

impl Splitter {
    /// A splitter that refuses frames longer than `max` bytes.
    pub fn new(max: usize) -> Splitter {
        Splitter { buffer: Vec::new(), taken: 0, searched: 0, max }
    }

    /// Adds bytes as they were read. Drain [`Splitter::next_frame`] after each call: only that keeps the memory bounded.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.searched -= self.taken;
            self.taken = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame without its line break; `None` when more bytes are needed. Blank lines are skipped and a
    /// carriage return before the line break is dropped.
    ///
    /// # Errors
    /// [`FrameError::TooLong`]; from then on every call fails and the connection should be closed.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        loop {
            let rest = &self.buffer[self.searched..];
            let Some(at) = rest.iter().position(|byte| *byte == b'\n') else {
                self.searched = self.buffer.len();
                return self.check(self.searched - self.taken).map(|()| None);
            };
            let end = self.searched + at;
            self.check(end - self.taken)?;
            let line = &self.buffer[self.taken..end];
            let frame = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
            self.taken = end + 1;
            self.searched = self.taken;
            if !frame.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some(frame));
            }
        }
    }

    /// To be called when the connection has ended.
    ///
    /// # Errors
    /// [`FrameError::Truncated`] when it ended inside a frame.
    pub fn finish(&self) -> Result<(), FrameError> {
        match self.buffer.len() - self.taken {
            0 => Ok(()),
            bytes => Err(FrameError::Truncated { bytes }),
        }
    }

    fn check(&self, bytes: usize) -> Result<(), FrameError> {
        if bytes > self.max {
            return Err(FrameError::TooLong { bytes, max: self.max });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(splitter: &mut Splitter) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        while let Some(frame) = splitter.next_frame().unwrap() {
            found.push(frame);
        }
        found
    }

    #[test]
    fn blank_lines_and_carriage_returns_are_no_part_of_a_frame() {
        let mut splitter = Splitter::default();
        splitter.push(b"\n\r\n{}\r\n  \n[]\n");
        assert_eq!(frames(&mut splitter), vec![b"{}".to_vec(), b"[]".to_vec()]);
        assert_eq!(splitter.finish(), Ok(()));
    }

    #[test]
    fn a_frame_of_the_limit_passes_and_one_byte_more_does_not() {
        let mut splitter = Splitter::new(4);
        splitter.push(b"1234\n12345\n");
        assert_eq!(splitter.next_frame(), Ok(Some(b"1234".to_vec())));
        assert_eq!(splitter.next_frame(), Err(FrameError::TooLong { bytes: 5, max: 4 }));
        assert_eq!(splitter.next_frame(), Err(FrameError::TooLong { bytes: 5, max: 4 }));
    }

    #[test]
    fn an_endless_line_is_refused_before_it_ends() {
        let mut splitter = Splitter::new(4);
        splitter.push(b"123456789");
        assert!(matches!(splitter.next_frame(), Err(FrameError::TooLong { bytes: 9, max: 4 })));
    }

    #[test]
    fn an_end_inside_a_frame_is_told() {
        let mut splitter = Splitter::default();
        splitter.push(b"{}\n{\"a");
        assert_eq!(frames(&mut splitter).len(), 1);
        assert_eq!(splitter.finish(), Err(FrameError::Truncated { bytes: 3 }));
    }

    #[test]
    fn what_is_written_is_one_line() {
        let frame = encode(&"a\nb\r\n").unwrap();
        assert_eq!(frame.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(frame.last(), Some(&b'\n'));
    }
}
