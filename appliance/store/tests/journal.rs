//! The journal on a good disk, a full one and a broken one.

mod support;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use support::{Traffic, open, param, write};
use tandem_rating::record::Record;
use tandem_store::{Disk, Encoded, Journal, JournalError, JournalOptions, MakeDisk, Reader};
use tempfile::tempdir;

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "tj"));
    paths.sort();
    paths
}

fn read_all(dir: &Path) -> Vec<(u64, Record)> {
    Reader::from_start(dir).unwrap().next_batch(usize::MAX).unwrap()
}

fn values(records: &[(u64, Record)]) -> Vec<(u64, String)> {
    records
        .iter()
        .map(|(seq, record)| match record {
            Record::Param { value, .. } => (*seq, value.clone()),
            other => panic!("not a parameter: {other:?}"),
        })
        .collect()
}

fn expect(pairs: &[(u64, &str)]) -> Vec<(u64, String)> {
    pairs.iter().map(|(seq, value)| (*seq, (*value).to_owned())).collect()
}

/// Rolls with every flush.
fn small() -> JournalOptions {
    JournalOptions { segment_bytes: 1, ..JournalOptions::default() }
}

#[test]
fn all_kinds_of_records_read_back_across_a_restart() {
    let dir = tempdir().unwrap();
    let records = Traffic::new(1).take(500);
    write(&mut open(dir.path()), &records[..200]);
    let mut journal = open(dir.path());
    assert_eq!(journal.next_seq(), 201);
    write(&mut journal, &records[200..]);
    assert_eq!(read_all(dir.path()), support::numbered(&records));
}

#[test]
fn a_tail_torn_at_any_byte_leaves_whole_records_only() {
    let dir = tempdir().unwrap();
    write(&mut open(dir.path()), &[param("1"), param("2")]);
    let path = segments(dir.path()).remove(0);
    let two = fs::read(&path).unwrap().len();
    write(&mut open(dir.path()), &[param("three")]);
    let whole = fs::read(&path).unwrap();
    for len in two..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        assert_eq!(values(&read_all(dir.path())), expect(&[(1, "1"), (2, "2")]), "read at {len}");
        let (mut journal, report) = Journal::open(dir.path(), JournalOptions::default()).unwrap();
        assert_eq!((report.last_seq, report.bytes_cut), (2, (len - two) as u64), "cut at {len}");
        assert_eq!(report.cut.is_some(), len > two);
        assert_eq!(fs::metadata(&path).unwrap().len(), two as u64, "the torn bytes are gone, not only passed over");
        assert_eq!(report.cut.and_then(|cut| cut.saved), None, "an ordinary torn tail is not kept");
        assert_eq!(journal.append(&param("again")).unwrap(), 3);
        journal.flush().unwrap();
        assert_eq!(values(&read_all(dir.path())), expect(&[(1, "1"), (2, "2"), (3, "again")]));
    }
}

#[test]
fn a_flipped_bit_in_the_last_record_cuts_it_and_nothing_else() {
    let dir = tempdir().unwrap();
    write(&mut open(dir.path()), &[param("1")]);
    let path = segments(dir.path()).remove(0);
    let one = fs::read(&path).unwrap().len();
    write(&mut open(dir.path()), &[param("2")]);
    let whole = fs::read(&path).unwrap();
    for at in one..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&path, &flipped).unwrap();
        assert_eq!(values(&read_all(dir.path())), expect(&[(1, "1")]), "byte {at}");
        let (_, report) = Journal::open(dir.path(), JournalOptions::default()).unwrap();
        assert_eq!((report.last_seq, report.bytes_cut), (1, (whole.len() - one) as u64), "byte {at}");
    }
}

#[test]
fn damage_before_good_records_is_told_and_the_bytes_are_kept() {
    let dir = tempdir().unwrap();
    write(&mut open(dir.path()), &[param("1"), param("2"), param("3"), param("4")]);
    let path = segments(dir.path()).remove(0);
    let mut bytes = fs::read(&path).unwrap();
    let frame = (bytes.len() - 32) / 4;
    bytes[32 + frame + 20] ^= 4;
    fs::write(&path, &bytes).unwrap();
    let (_, report) = Journal::open(dir.path(), JournalOptions::default()).unwrap();
    assert_eq!(report.last_seq, 1);
    let cut = report.cut.clone().unwrap();
    assert_eq!((cut.records_behind, cut.offset), (2, (32 + frame) as u64));
    assert_eq!(fs::read(cut.saved.unwrap()).unwrap(), &bytes[32 + frame..]);
    assert!(report.lines().iter().any(|line| line.contains("2 whole records")), "{:?}", report.lines());
}

#[test]
fn damage_in_an_earlier_segment_is_an_error_with_file_and_offset() {
    let dir = tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), small()).unwrap();
    for value in ["1", "2", "3"] {
        write(&mut journal, &[param(value)]);
    }
    let paths = segments(dir.path());
    assert_eq!(paths.len(), 3);
    let good = fs::read(&paths[1]).unwrap();
    let mut bad = good.clone();
    bad[40] ^= 1;
    for (bytes, offset) in [(bad, 32), (good[..good.len() - 3].to_vec(), 32), (good[..32].to_vec(), 32)] {
        fs::write(&paths[1], &bytes).unwrap();
        let mut reader = Reader::from_seq(dir.path(), 1).unwrap();
        assert_eq!(reader.next_record().unwrap(), Some((1, param("1"))));
        for _ in 0..2 {
            match reader.next_record() {
                Err(JournalError::Damaged { path, offset: at, .. }) => assert_eq!((&path, at), (&paths[1], offset)),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(fs::read(&paths[1]).unwrap(), bytes, "an earlier segment is never touched");
    }
    fs::remove_file(&paths[1]).unwrap();
    let mut reader = Reader::from_seq(dir.path(), 1).unwrap();
    assert!(reader.next_record().unwrap().is_some());
    let error = reader.next_record().unwrap_err().to_string();
    assert!(error.contains("records 2 to 2 are missing"), "{error}");
}

#[test]
fn a_reader_follows_the_writer_through_segments() {
    let dir = tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), small()).unwrap();
    let mut reader = Reader::from_seq(dir.path(), 1).unwrap();
    let mut bound = Reader::from_seq(dir.path(), 1).unwrap().bound_to(journal.positions());
    let mut seen = Vec::new();
    for round in 0..20_u64 {
        assert_eq!(reader.next_record().unwrap(), None);
        let count = round % 4;
        for value in 0..count {
            journal.append(&param(&format!("{round}.{value}"))).unwrap();
            assert_eq!(reader.next_record().unwrap(), None, "not flushed");
        }
        journal.flush().unwrap();
        let synced = journal.positions().synced();
        let batch = bound.next_batch(100).unwrap();
        assert!(batch.iter().all(|(seq, _)| *seq <= synced), "read ahead of the disk");
        let batch = reader.next_batch(100).unwrap();
        assert_eq!(batch.len() as u64, count);
        seen.extend(batch);
    }
    assert!(segments(dir.path()).len() > 10);
    assert_eq!(seen, read_all(dir.path()));
    journal.sync_handle().sync().unwrap();
    bound.next_batch(usize::MAX).unwrap();
    assert_eq!(bound.next_seq(), journal.next_seq());
    assert_eq!(values(&Reader::from_seq(dir.path(), 5).unwrap().next_batch(2).unwrap()), values(&seen[4..6]));
}

#[test]
fn a_record_is_safe_only_after_flush_and_synced_only_after_sync() {
    let dir = tempdir().unwrap();
    let mut journal = open(dir.path());
    let positions = journal.positions();
    let handle = journal.sync_handle();
    assert_eq!(journal.append(&param("1")).unwrap(), 1);
    assert_eq!((positions.written(), positions.synced()), (0, 0));
    assert!(journal.buffered_bytes() > 0);
    assert_eq!(journal.flush().unwrap(), 1);
    assert_eq!((positions.written(), positions.synced(), journal.buffered_bytes()), (1, 0, 0));
    assert_eq!(handle.sync().unwrap(), 1);
    assert_eq!((positions.written(), positions.synced()), (1, 1));
}

#[test]
fn a_second_writer_is_refused_by_name_of_the_folder() {
    let dir = tempdir().unwrap();
    let journal = open(dir.path());
    let error = Journal::open(dir.path(), JournalOptions::default()).unwrap_err();
    assert!(matches!(error, JournalError::Locked { .. }));
    assert!(error.to_string().contains(&dir.path().display().to_string()));
    drop(journal);
    open(dir.path());
}

#[test]
fn purge_removes_whole_applied_segments_and_keeps_some() {
    let dir = tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), small()).unwrap();
    for value in 0..6 {
        write(&mut journal, &[param(&value.to_string()), param("x")]);
    }
    assert_eq!(journal.purge(u64::MAX, 1).unwrap().segments, 0, "nothing is applied yet");
    journal.positions().advance_applied(7);
    assert_eq!(journal.purge(4, 1).unwrap().segments, 1, "records 3 and 4 share a segment");
    assert_eq!(journal.purge(u64::MAX, 4).unwrap().segments, 1);
    assert_eq!(journal.purge(u64::MAX, 1).unwrap().segments, 1, "record 8 is not applied");
    journal.positions().advance_applied(12);
    assert_eq!(journal.purge(u64::MAX, 0).unwrap().segments, 2, "the one being written stays");
    assert_eq!(read_all(dir.path()).first().map(|(seq, _)| *seq), Some(11));
    let error = Reader::from_seq(dir.path(), 1).unwrap_err();
    assert!(matches!(error, JournalError::Missing { wanted: 1, first: 11, .. }), "{error}");
}

#[test]
fn an_unfinished_segment_is_removed_and_its_number_kept() {
    let dir = tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), small()).unwrap();
    write(&mut journal, &[param("1")]);
    write(&mut journal, &[param("2")]);
    drop(journal);
    let paths = segments(dir.path());
    let whole = fs::read(&paths[1]).unwrap();
    for len in 0..32 {
        fs::write(&paths[1], &whole[..len]).unwrap();
        assert_eq!(read_all(dir.path()).len(), 1);
        assert_eq!(open(dir.path()).next_seq(), 2, "header of {len} bytes");
        assert!(!paths[1].exists());
    }
    // The only segment there is: the sequence must not begin anew.
    let other = tempdir().unwrap();
    fs::write(other.path().join("journal-00000000000000000042.tj"), b"TANDEM").unwrap();
    assert_eq!(open(other.path()).next_seq(), 42);
}

#[test]
fn foreign_and_newer_files_are_refused_and_left_alone() {
    let dir = tempdir().unwrap();
    write(&mut open(dir.path()), &[param("1")]);
    let path = segments(dir.path()).remove(0);
    let good = fs::read(&path).unwrap();
    let mut newer = good.clone();
    newer[8] = 2;
    let mut foreign = good.clone();
    foreign[0] = b'X';
    for (bytes, words) in [(newer, "journal format 2"), (foreign, "no segment of a journal")] {
        fs::write(&path, &bytes).unwrap();
        let error = Journal::open(dir.path(), JournalOptions::default()).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("journal-0"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn a_journal_behind_its_database_gives_no_sequence_twice() {
    let dir = tempdir().unwrap();
    let mut journal = open(dir.path());
    write(&mut journal, &[param("1")]);
    assert_eq!(journal.skip_to(1).unwrap(), 0);
    journal.append(&param("2")).unwrap();
    assert_eq!(journal.skip_to(10).unwrap(), 8);
    assert_eq!(journal.append(&param("11")).unwrap(), 11);
    journal.flush().unwrap();
    assert_eq!(values(&read_all(dir.path())), expect(&[(1, "1"), (2, "2"), (11, "11")]));
    assert_eq!(Reader::from_seq(dir.path(), 5).unwrap().next_record().unwrap(), Some((11, param("11"))));
    drop(journal);
    assert_eq!(open(dir.path()).next_seq(), 12);
}

/// A disk with so many bytes left, and a switch to break it.
#[derive(Debug)]
struct Faulty {
    file: File,
    room: Arc<AtomicI64>,
    broken: Arc<AtomicBool>,
    /// Whether cutting the file back works.
    cuts: bool,
}

impl Disk for Faulty {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let room = self.room.load(Ordering::Relaxed);
        // Takes some and then refuses, as a real one does.
        let count = bytes.len().min(usize::try_from(room).unwrap_or(0)).min(7);
        if count == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.room.store(room - count as i64, Ordering::Relaxed);
        Disk::write_at(&self.file, &bytes[..count], offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if self.cuts { Disk::set_len(&self.file, len) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    fn sync(&self) -> io::Result<()> {
        if self.broken.load(Ordering::Relaxed) { Err(io::Error::other("EIO")) } else { self.file.sync() }
    }
}

fn faulty(room: &Arc<AtomicI64>, broken: &Arc<AtomicBool>, cuts: bool) -> JournalOptions {
    let (room, broken) = (Arc::clone(room), Arc::clone(broken));
    let disk = move |file: File| {
        Arc::new(Faulty { file, room: Arc::clone(&room), broken: Arc::clone(&broken), cuts }) as Arc<dyn Disk>
    };
    JournalOptions { disk: Arc::new(disk), ..JournalOptions::default() }
}

#[test]
fn a_full_disk_loses_nothing_and_leaves_no_garbage() {
    for cuts in [true, false] {
        for room in 0..150 {
            let dir = tempdir().unwrap();
            let left = Arc::new(AtomicI64::new(i64::MAX));
            let (mut journal, _) = Journal::open(dir.path(), faulty(&left, &Arc::default(), cuts)).unwrap();
            write(&mut journal, &[param("1")]);
            left.store(room, Ordering::Relaxed);
            journal.append(&param("2")).unwrap();
            journal.append(&param("3")).unwrap();
            if journal.flush().is_ok() {
                continue;
            }
            let error = journal.flush().unwrap_err();
            assert!(error.is_disk_full(), "{error}");
            assert!(error.to_string().contains("free space"), "{error}");
            assert_eq!(journal.positions().written(), 1);
            // Killed now, a restart finds whole records only.
            let copy = tempdir().unwrap();
            let path = segments(dir.path()).remove(0);
            fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
            open(copy.path());
            let found = values(&read_all(copy.path()));
            assert_eq!(found, expect(&[(1, "1"), (2, "2"), (3, "3")])[..found.len()], "room {room}");
            // Space is there again.
            left.store(i64::MAX, Ordering::Relaxed);
            journal.append(&param("4")).unwrap();
            assert_eq!(journal.flush().unwrap(), 4);
            assert_eq!(values(&read_all(dir.path())), expect(&[(1, "1"), (2, "2"), (3, "3"), (4, "4")]));
        }
    }
}

#[test]
fn a_record_that_is_refused_whole_is_never_written_later() {
    for cuts in [true, false] {
        for room in 0..150 {
            let dir = tempdir().unwrap();
            let left = Arc::new(AtomicI64::new(i64::MAX));
            let (mut journal, _) = Journal::open(dir.path(), faulty(&left, &Arc::default(), cuts)).unwrap();
            write(&mut journal, &[param("1")]);
            left.store(room, Ordering::Relaxed);
            // A call's record that waits for the disk is not taken back with it.
            journal.append(&param("2")).unwrap();
            let refused = journal.write_whole(&Encoded::of(&param("3")).unwrap()).is_err();
            let copy = tempdir().unwrap();
            let path = segments(dir.path()).remove(0);
            fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
            open(copy.path());
            let killed_now = values(&read_all(copy.path()));
            assert_eq!(killed_now.iter().any(|(_, value)| value == "3"), !refused, "room {room}: {killed_now:?}");
            left.store(i64::MAX, Ordering::Relaxed);
            journal.append(&param("4")).unwrap();
            journal.flush().unwrap();
            let all = if refused {
                [(1, "1"), (2, "2"), (3, "4")].to_vec()
            } else {
                [(1, "1"), (2, "2"), (3, "3"), (4, "4")].to_vec()
            };
            assert_eq!(values(&read_all(dir.path())), expect(&all), "room {room}");
        }
    }
}

#[test]
fn what_waits_for_a_full_disk_is_bounded() {
    let dir = tempdir().unwrap();
    let left = Arc::new(AtomicI64::new(0));
    let options = JournalOptions { buffer_max_bytes: 1000, ..faulty(&left, &Arc::default(), true) };
    let (mut journal, _) = Journal::open(dir.path(), options).unwrap();
    let mut taken = 0;
    let error = loop {
        match journal.append(&param("x")) {
            Ok(seq) => taken = seq,
            Err(error) => break error,
        }
        assert!(taken < 1000, "no bound");
    };
    assert!(matches!(error, JournalError::BufferFull { max: 1000, .. }), "{error}");
    left.store(i64::MAX, Ordering::Relaxed);
    assert_eq!(journal.flush().unwrap(), taken);
    assert_eq!(journal.append(&param("y")).unwrap(), taken + 1);
}

#[test]
fn a_failed_sync_is_final() {
    let dir = tempdir().unwrap();
    let broken = Arc::new(AtomicBool::new(false));
    let options = faulty(&Arc::new(AtomicI64::new(i64::MAX)), &broken, true);
    let (mut journal, _) = Journal::open(dir.path(), options).unwrap();
    let handle = journal.sync_handle();
    write(&mut journal, &[param("1")]);
    broken.store(true, Ordering::Relaxed);
    assert!(matches!(handle.sync(), Err(JournalError::Io { .. })));
    broken.store(false, Ordering::Relaxed);
    assert!(matches!(handle.sync(), Err(JournalError::Poisoned { .. })), "a later success proves nothing");
    assert_eq!(journal.positions().synced(), 0);
    journal.append(&param("2")).unwrap();
    assert!(matches!(journal.flush(), Err(JournalError::Poisoned { .. })));
}

/// A file that writes down what it is asked: `w` and the offset, or `s`.
#[derive(Debug)]
struct Noted(File, Arc<Mutex<Vec<String>>>);

impl Disk for Noted {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.1.lock().unwrap().push(format!("w{offset}"));
        Disk::write_at(&self.0, bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        Disk::set_len(&self.0, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.1.lock().unwrap().push("s".to_owned());
        Disk::sync(&self.0)
    }
}

#[test]
fn the_header_of_a_new_segment_is_synced_before_its_first_record() {
    let dir = tempdir().unwrap();
    let noted = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&noted);
    let disk: MakeDisk = Arc::new(move |file: File| Arc::new(Noted(file, Arc::clone(&log))) as Arc<dyn Disk>);
    let (mut journal, _) =
        Journal::open(dir.path(), JournalOptions { segment_bytes: 1, disk, ..JournalOptions::default() }).unwrap();
    write(&mut journal, &[param("1")]);
    noted.lock().unwrap().clear();
    write(&mut journal, &[param("2")]);
    let noted = noted.lock().unwrap().clone();
    // The old segment's end, then the new one's header, then the record.
    assert_eq!(noted[..3], ["s", "w0", "s"], "{noted:?}");
    assert!(noted[3..].iter().all(|op| op.starts_with('w') && op != "w0"), "{noted:?}");
}
