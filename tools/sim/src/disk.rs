//! A disk under the real journal that can be slow, full or broken, and that forgets what was not synced.
//!
//! What the switch writes goes to a real file at once, as the page cache would show it to every reader. Beside it the disk
//! keeps what a power cut would leave: the content at the last sync, and the writes since. [`SimDisk::power_cut`] then
//! makes the file what some real disk could have kept of it: nothing of the unsynced writes, a torn prefix, some sectors
//! of each in any order, or a length without its data.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tandem_store::{Disk, MakeDisk};

use crate::fuse::Fuse;
use crate::hash::EventHash;

/// What a disk writes whole or not at all, bytes.
const SECTOR: u64 = 512;
/// One write in so many is cut short although nothing is wrong, as `write(2)` may.
const SHORT_WRITE_ONE_IN: u32 = 50;

/// What is wrong with the disk at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mood {
    /// Bytes it still takes; `None` is plenty.
    pub room: Option<u64>,
    /// Writes fail with EIO, after some bytes.
    pub write_errors: bool,
    /// The next sync fails with EIO, and some of the unsynced pages are gone.
    pub sync_error: bool,
    /// How long a write takes, microseconds.
    pub write_us: u64,
    /// How long a sync takes, microseconds.
    pub sync_us: u64,
}

/// How many of what the disk was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Writes.
    pub writes: u64,
    /// Of these refused.
    pub writes_failed: u64,
    /// Syncs.
    pub syncs: u64,
    /// Of these refused.
    pub syncs_failed: u64,
    /// Bytes of unsynced writes that a power cut or a failed sync took.
    pub bytes_lost: u64,
}

#[derive(Debug)]
enum Op {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen(u64),
}

#[derive(Debug)]
struct Kept {
    file: Arc<File>,
    /// Content at the last sync.
    durable: Vec<u8>,
    /// Since then, in order.
    pending: Vec<Op>,
}

#[derive(Debug)]
struct Inner {
    files: Vec<Kept>,
    mood: Mood,
    asked: Asked,
    rng: StdRng,
    hash: EventHash,
}

/// The disk of one boot of the switch.
#[derive(Clone, Debug)]
pub struct SimDisk {
    inner: Arc<Mutex<Inner>>,
    fuse: Arc<Fuse>,
}

/// One file on it, as the journal sees it.
#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    at: usize,
}

impl SimDisk {
    /// An empty disk whose whims `seed` decides.
    pub fn new(seed: u64, fuse: Arc<Fuse>) -> SimDisk {
        let inner = Inner {
            files: Vec::new(),
            mood: Mood::default(),
            asked: Asked::default(),
            rng: StdRng::seed_from_u64(seed),
            hash: EventHash::default(),
        };
        SimDisk { inner: Arc::new(Mutex::new(inner)), fuse }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // One thread runs a simulation; a panic inside is reported by it.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the journal is opened with.
    pub fn maker(&self) -> MakeDisk {
        let disk = self.clone();
        Arc::new(move |file: File| disk.clone().adopt(file))
    }

    fn adopt(self, file: File) -> Arc<dyn Disk> {
        let file = Arc::new(file);
        let mut inner = self.lock();
        let mut bytes = vec![0; file.metadata().map_or(0, |meta| meta.len() as usize)];
        let read = read_full(&file, &mut bytes);
        bytes.truncate(read);
        // What is there is what the journal synced before it asked; a segment that it begins is still empty.
        let kept = Kept { file, durable: bytes, pending: Vec::new() };
        inner.files.push(kept);
        let at = inner.files.len() - 1;
        drop(inner);
        Arc::new(SimFile { disk: self, at })
    }

    /// What is wrong with it.
    pub fn mood(&self) -> Mood {
        self.lock().mood
    }

    /// Makes it better or worse.
    pub fn set_mood(&self, change: impl FnOnce(&mut Mood)) {
        change(&mut self.lock().mood);
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Asked {
        self.lock().asked
    }

    /// Hash of everything that was written and synced.
    pub fn hash(&self) -> u64 {
        self.lock().hash.value()
    }

    /// The power goes: every file becomes what the disk really had of it.
    ///
    /// # Errors
    /// The real file cannot be written.
    pub fn power_cut(&self) -> io::Result<()> {
        let inner = &mut *self.lock();
        for kept in &mut inner.files {
            let lost = kept.forget(&mut inner.rng)?;
            inner.asked.bytes_lost += lost;
        }
        Ok(())
    }
}

impl Kept {
    fn sync(&mut self) {
        for op in self.pending.drain(..) {
            apply(&mut self.durable, &op);
        }
    }

    /// Replaces the file by one of the contents that a disk may have after a power cut; how many bytes that cost.
    fn forget(&mut self, rng: &mut StdRng) -> io::Result<u64> {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() {
            return Ok(0);
        }
        let mut left = self.durable.clone();
        let total: u64 =
            pending.iter().map(|op| if let Op::Write { bytes, .. } = op { bytes.len() as u64 } else { 0 }).sum();
        let mut kept = 0;
        match rng.random_range(0..4) {
            // Nothing reached the disk.
            0 => {}
            // What was written first is there, the rest is not; the cut may fall within a record.
            1 => {
                let mut budget = rng.random_range(0..=total);
                for op in &pending {
                    match op {
                        Op::Write { offset, bytes } => {
                            let n = budget.min(bytes.len() as u64);
                            budget -= n;
                            kept += n;
                            apply(&mut left, &Op::Write { offset: *offset, bytes: bytes[..n as usize].to_vec() });
                        }
                        Op::SetLen(_) => apply(&mut left, op),
                    }
                }
            }
            // Sectors in any order.
            2 => {
                for op in &pending {
                    match op {
                        Op::Write { offset, bytes } => kept += scatter(&mut left, *offset, bytes, rng),
                        Op::SetLen(_) if rng.random_bool(0.5) => apply(&mut left, op),
                        Op::SetLen(_) => {}
                    }
                }
            }
            // The length was written, the data was not.
            _ => {
                let mut whole = self.durable.clone();
                for op in &pending {
                    apply(&mut whole, op);
                }
                left.resize(whole.len().max(left.len()), 0);
            }
        }
        self.file.set_len(0)?;
        self.file.write_all_at(&left, 0)?;
        self.durable = left;
        Ok(total - kept.min(total))
    }
}

fn apply(content: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write { bytes, .. } if bytes.is_empty() => {}
        Op::Write { offset, bytes } => {
            let (start, end) = (*offset as usize, *offset as usize + bytes.len());
            if content.len() < end {
                content.resize(end, 0);
            }
            content[start..end].copy_from_slice(bytes);
        }
        Op::SetLen(len) => content.resize(*len as usize, 0),
    }
}

/// Writes each sector of a write or leaves it out; how many bytes were written.
fn scatter(content: &mut Vec<u8>, offset: u64, bytes: &[u8], rng: &mut StdRng) -> u64 {
    let mut kept = 0;
    let mut at = 0u64;
    while at < bytes.len() as u64 {
        let end = ((offset + at) / SECTOR + 1) * SECTOR - offset;
        let end = end.min(bytes.len() as u64);
        if rng.random_bool(0.5) {
            let part = bytes[at as usize..end as usize].to_vec();
            kept += part.len() as u64;
            apply(content, &Op::Write { offset: offset + at, bytes: part });
        }
        at = end;
    }
    kept
}

fn read_full(file: &File, bytes: &mut [u8]) -> usize {
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], read as u64) {
            Ok(count @ 1..) => read += count,
            _ => break,
        }
    }
    read
}

fn gone() -> io::Error {
    io::Error::other("the switch is dead")
}

impl Disk for SimFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let alive = !self.disk.fuse.is_dead();
        let steps = alive && self.disk.fuse.disk_step();
        let inner = &mut *self.disk.lock();
        if !alive {
            return Err(gone());
        }
        inner.asked.writes += 1;
        let mut take = bytes.len();
        let mut error = None;
        if !steps {
            // Killed in the middle of the write.
            take = inner.rng.random_range(0..=take);
            error = Some(gone());
        } else if inner.mood.write_errors {
            take = inner.rng.random_range(0..=take);
            error = Some(io::Error::from_raw_os_error(EIO));
        } else if let Some(room) = inner.mood.room {
            take = take.min(room as usize);
            if take == 0 {
                error = Some(io::Error::from_raw_os_error(ENOSPC));
            }
            inner.mood.room = Some(room - take as u64);
        } else if take > 1 && inner.rng.random_ratio(1, SHORT_WRITE_ONE_IN) {
            take = inner.rng.random_range(1..take);
        }
        let kept = &mut inner.files[self.at];
        FileExt::write_all_at(&*kept.file, &bytes[..take], offset)?;
        kept.pending.push(Op::Write { offset, bytes: bytes[..take].to_vec() });
        inner.hash.add(b'w', offset, &bytes[..take]);
        match error {
            None => Ok(take),
            Some(error) => {
                inner.asked.writes_failed += 1;
                Err(error)
            }
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if !self.disk.fuse.disk_step() {
            return Err(gone());
        }
        let inner = &mut *self.disk.lock();
        let kept = &mut inner.files[self.at];
        let before = kept.file.metadata()?.len();
        kept.file.set_len(len)?;
        kept.pending.push(Op::SetLen(len));
        if let Some(room) = &mut inner.mood.room {
            *room += before.saturating_sub(len);
        }
        inner.hash.add(b'l', len, &[]);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if !self.disk.fuse.disk_step() {
            return Err(gone());
        }
        let inner = &mut *self.disk.lock();
        inner.asked.syncs += 1;
        inner.hash.add(b's', self.at as u64, &[]);
        if std::mem::take(&mut inner.mood.sync_error) {
            // The kernel says so once and drops what it could not write.
            inner.asked.syncs_failed += 1;
            return Err(io::Error::from_raw_os_error(EIO));
        }
        inner.files[self.at].sync();
        Ok(())
    }
}

/// `errno` of a broken disk.
const EIO: i32 = 5;
/// `errno` of a full disk.
const ENOSPC: i32 = 28;

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> (SimDisk, Arc<dyn Disk>, tempfile::NamedTempFile, Arc<Fuse>) {
        let fuse = Arc::new(Fuse::default());
        let disk = SimDisk::new(1, fuse.clone());
        let real = tempfile::NamedTempFile::new().unwrap();
        let file = (disk.maker())(real.reopen().unwrap());
        (disk, file, real, fuse)
    }

    fn write(file: &dyn Disk, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = file.write_at(bytes, offset)?;
            bytes = &bytes[n..];
            offset += n as u64;
        }
        Ok(())
    }

    #[test]
    fn a_power_cut_keeps_what_was_synced_and_any_part_of_the_rest() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..40 {
            let fuse = Arc::new(Fuse::default());
            let disk = SimDisk::new(seed, fuse);
            let real = tempfile::NamedTempFile::new().unwrap();
            let file = (disk.maker())(real.reopen().unwrap());
            write(&*file, &[1; 1000], 0).unwrap();
            file.sync().unwrap();
            write(&*file, &[2; 3000], 1000).unwrap();
            disk.power_cut().unwrap();
            let left = std::fs::read(real.path()).unwrap();
            assert_eq!(left[..1000], [1; 1000], "what was synced stays");
            assert!(left.len() <= 4000);
            assert!(left[1000..].iter().all(|b| *b == 0 || *b == 2));
            seen.insert(left);
        }
        assert!(seen.len() > 10, "only {} different outcomes", seen.len());
    }

    #[test]
    fn a_full_disk_takes_what_fits_and_the_rest_after_it_was_cut() {
        let (disk, file, real, _) = one();
        disk.set_mood(|mood| mood.room = Some(100));
        let error = write(&*file, &[3; 150], 0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(ENOSPC));
        assert_eq!(real.as_file().metadata().unwrap().len(), 100);
        file.set_len(0).unwrap();
        assert_eq!(disk.mood().room, Some(100));
        write(&*file, &[3; 100], 0).unwrap();
    }

    #[test]
    fn the_dead_write_nothing() {
        let (_, file, real, fuse) = one();
        fuse.light(1, false);
        write(&*file, &[1; 10], 0).unwrap();
        assert!(file.write_at(&[2; 10], 10).is_err());
        assert!(fuse.is_dead());
        let len = real.as_file().metadata().unwrap().len();
        assert!(file.write_at(&[2; 10], 20).is_err() && file.sync().is_err() && file.set_len(0).is_err());
        assert_eq!(real.as_file().metadata().unwrap().len(), len);
    }

    #[test]
    fn a_failed_sync_is_said_once() {
        let (disk, file, ..) = one();
        disk.set_mood(|mood| mood.sync_error = true);
        write(&*file, &[1; 10], 0).unwrap();
        assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(EIO));
        file.sync().unwrap();
        assert_eq!(disk.asked().syncs_failed, 1);
    }
}
