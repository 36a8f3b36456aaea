//! Provided buffers: pools the kernel takes receive buffers from, and the handle under which one is lent to the caller.
//!
//! A buffer is owned by exactly one side at a time. In the kernel's ring it belongs to the kernel; a completion that names
//! it moves it to us, and it is wrapped in a [`Buffer`] at once; dropping the `Buffer` moves it back. `Buffer` is neither
//! `Clone` nor `Send`, so safe code cannot break this.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, RecvMsgOut};

use crate::config::{BufferGroup, GroupConfig};
use crate::memory::{PAGE_BYTES, Region};

/// One received datagram, readable and writable where the kernel put it.
///
/// Dropping it gives the memory back to the kernel; `Ring::send_buffer` sends it out of the same memory. Holding many
/// starves the sockets of its group, so keep none longer than the handling of its completion.
pub struct Buffer {
    pool: Rc<Pool>,
    id: u16,
    /// Where the payload starts inside the buffer.
    start: u32,
    len: u32,
    destination: Option<SocketAddr>,
}

impl Buffer {
    /// Where the sender sent it, on a socket that was opened to be told.
    pub fn destination(&self) -> Option<SocketAddr> {
        self.destination
    }

    /// Puts bytes in front, where the kernel's header was; false when there is no room.
    pub(crate) fn prepend(&mut self, bytes: &[u8]) -> bool {
        let Some(start) = (self.start as usize).checked_sub(bytes.len()) else { return false };
        self.start = start as u32;
        self.len += bytes.len() as u32;
        self[..bytes.len()].copy_from_slice(bytes);
        true
    }

    /// Takes away what [`Buffer::prepend`] put there.
    pub(crate) fn strip(&mut self, bytes: usize) {
        let bytes = (bytes as u32).min(self.len);
        self.start += bytes;
        self.len -= bytes;
    }

    /// Shortens the datagram to its first `len` bytes; does nothing when it is not longer.
    pub fn truncate(&mut self, len: usize) {
        if let Ok(len) = u32::try_from(len) {
            self.len = self.len.min(len);
        }
    }

    fn address(&self) -> *mut u8 {
        self.pool.address(self.id).wrapping_add(self.start as usize)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `Pool::take` checked that start and len lie in the buffer `id`. The kernel gave the buffer up with the
        // completion and gets it back only in `drop`, so nobody else reads or writes it; the pool is kept mapped by `Rc`.
        unsafe { std::slice::from_raw_parts(self.address(), self.len as usize) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`; `&mut self` makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.address(), self.len as usize) }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.give(self.id);
        self.pool.lent.set(self.pool.lent.get() - 1);
    }
}

/// What a multishot `recvmsg` left in a buffer.
pub(crate) struct Received {
    pub(crate) source: Option<std::net::SocketAddr>,
    pub(crate) buffer: Buffer,
    pub(crate) truncated: bool,
}

/// The buffers of one group and the ring through which the kernel is given them.
pub(crate) struct Pool {
    /// `count` entries of `struct io_uring_buf`, shared with the kernel; the tail lives in the first one.
    entries: Region,
    memory: Region,
    count: u16,
    bytes: u32,
    /// Next entry to write; wraps, and is masked with `count - 1`.
    tail: Cell<u16>,
    /// Buffers held in a `Buffer` at the moment.
    lent: Cell<u32>,
    group: BufferGroup,
}

impl Pool {
    /// Maps the memory and fills the ring; the kernel learns of it by [`Pool::register`].
    pub(crate) fn new(config: GroupConfig, group: BufferGroup) -> io::Result<Rc<Pool>> {
        let count = config.count as usize;
        let bytes = config.bytes as usize;
        let pool = Pool {
            entries: Region::map(count * size_of::<BufRingEntry>(), false)?,
            memory: Region::map(count * bytes, bytes > PAGE_BYTES)?,
            count: config.count,
            bytes: config.bytes,
            tail: Cell::new(0),
            lent: Cell::new(0),
            group,
        };
        for id in 0..config.count {
            pool.give(id);
        }
        Ok(Rc::new(pool))
    }

    /// Tells the kernel of the ring of buffers, under the group's number.
    pub(crate) fn register(&self, submitter: &io_uring::Submitter<'_>) -> io::Result<()> {
        let ring = self.entries.at(0, 0) as u64;
        // SAFETY: the entries are page aligned, `count` of them are mapped, and they stay mapped until the kernel has
        // let go: `Ring::drop` unregisters them before its reference to the pool is dropped.
        unsafe { submitter.register_buf_ring_with_flags(ring, self.count, self.group.index() as u16, 0) }
    }

    /// Buffers that are not lent to the caller.
    pub(crate) fn available(&self) -> u32 {
        u32::from(self.count) - self.lent.get()
    }

    /// Wraps buffer `id`, into which a multishot `recvmsg` with `header` wrote `filled` bytes.
    ///
    /// `None` when the kernel's header does not make sense; the buffer has then gone back.
    ///
    /// # Safety
    ///
    /// A completion of this group must just have named `id`, and each completion may be taken once.
    pub(crate) unsafe fn take(self: &Rc<Pool>, id: u16, filled: usize, header: &libc::msghdr) -> Option<Received> {
        let len = filled.min(self.bytes as usize) as u32;
        let mut buffer = Buffer { pool: Rc::clone(self), id, start: 0, len, destination: None };
        self.lent.set(self.lent.get() + 1);

        let all: &[u8] = &buffer;
        let out = RecvMsgOut::parse(all, header).ok()?;
        let source = crate::address::decode(out.name_data());
        let destination = crate::address::destination(out.control_data());
        let truncated = out.is_payload_truncated();
        let payload = out.payload_data();
        let start = payload.as_ptr() as usize - all.as_ptr() as usize;
        let len = payload.len();
        buffer.start = start as u32;
        buffer.len = len as u32;
        buffer.destination = destination;
        Some(Received { source, buffer, truncated })
    }

    fn address(&self, id: u16) -> *mut u8 {
        let bytes = self.bytes as usize;
        self.memory.at(id as usize * bytes, bytes)
    }

    /// Hands buffer `id` to the kernel.
    fn give(&self, id: u16) {
        let tail = self.tail.get();
        let place = (tail & (self.count - 1)) as usize;
        let entry =
            self.entries.at(place * size_of::<BufRingEntry>(), size_of::<BufRingEntry>()).cast::<BufRingEntry>();
        // SAFETY: the entry lies in the mapping and is aligned. There are as many places as buffers and the kernel has
        // consumed this one, or it could not hold `count` buffers, so it does not read it now. The three setters leave
        // the reserved field alone, which in the first entry is the tail.
        unsafe {
            (*entry).set_addr(self.address(id) as u64);
            (*entry).set_len(self.bytes);
            (*entry).set_bid(id);
        }
        let tail = tail.wrapping_add(1);
        self.tail.set(tail);
        // SAFETY: the tail is an aligned u16 inside the first entry, written by this thread only and read by the kernel;
        // the release store makes the entry visible before it.
        unsafe {
            let shared = BufRingEntry::tail(self.entries.at(0, 0).cast::<BufRingEntry>());
            AtomicU16::from_ptr(shared.cast_mut()).store(tail, Ordering::Release);
        }
    }
}
