//! The one file the journal writes to, as a trait: the real one is a file, the other one is the disk of tests and of the
//! simulator, which can be full, slow or broken.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A segment being written. Offsets are from the start of the file.
pub trait Disk: Debug + Send + Sync {
    /// Writes some of `bytes` at `offset`; how many were taken.
    ///
    /// # Errors
    /// What the disk says; nothing is known then of how much was written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Cuts the file to `len` bytes.
    ///
    /// # Errors
    /// What the disk says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Returns when everything written is safe from a power cut (fdatasync).
    ///
    /// # Errors
    /// What the disk says; the written bytes may be lost then.
    fn sync(&self) -> io::Result<()>;
}

impl Disk for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
