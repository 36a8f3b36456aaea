//! Anonymous mappings: memory the kernel may write, with one owner and a fixed address.
//!
//! A `Vec` would do for the address, but a mapping is page aligned (buffer rings demand it), costs nothing until a page
//! is touched (a send slot or signalling buffer has room for the largest datagram and normally uses one page of it), and
//! makes no Rust reference to bytes that the kernel is writing.

use std::io;
use std::ptr::{self, NonNull};

/// The page size assumed when sizes are rounded; mappings are aligned at least to this on every Linux architecture.
pub(crate) const PAGE_BYTES: usize = 4096;

/// One anonymous private mapping, zero-filled, unmapped when dropped.
pub(crate) struct Region {
    base: NonNull<u8>,
    len: usize,
}

impl Region {
    /// Maps `len` bytes. `small_pages` keeps transparent huge pages away, for regions that are touched sparsely.
    pub(crate) fn map(len: usize, small_pages: bool) -> io::Result<Region> {
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let Some(base) = NonNull::new(base.cast::<u8>()) else {
            return Err(io::Error::other("mmap gave address zero"));
        };
        if small_pages {
            // A kernel without transparent huge pages answers EINVAL, which means that the wish is already fulfilled.
            // SAFETY: the range is the mapping made above and the advice does not change its contents.
            unsafe { libc::madvise(base.as_ptr().cast(), len, libc::MADV_NOHUGEPAGE) };
        }
        Ok(Region { base, len })
    }

    /// The address of `offset`, from which at least `len` bytes belong to this region.
    ///
    /// Computing an address is safe; what is read or written there is the caller's to justify.
    pub(crate) fn at(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(offset.checked_add(len).is_some_and(|end| end <= self.len), "address outside of its region");
        self.base.as_ptr().wrapping_add(offset)
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length, is owned by `self` alone, and `Ring::drop` has seen
        // the last completion of every operation that could write to it (or leaks the region instead).
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
