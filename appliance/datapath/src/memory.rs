//! Maps of the kernel as memory of ours: the only unsafe code of this crate.
//!
//! The kernel program reads and writes the same bytes at the same time, so everything here goes through atomic words;
//! what makes several words belong together (the version of a flow) is the business of the caller.

use std::ffi::CStr;
use std::io;
use std::marker::PhantomData;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use tandem_ebpf_abi::{
    EventHead, Express, FlowCounters, FlowValue, Hop, Hot, Layout, Lease, Locals, Port, Pulse, Totals,
};

/// A type of the kernel interface: any bytes are a value of it, and it has no padding.
///
/// # Safety
/// Both must hold, its size must be a multiple of its alignment, and its alignment at most that of a page.
pub(crate) unsafe trait Plain: Copy + 'static {}

// SAFETY: integers and arrays of integers only; `tandem-ebpf-abi` asserts at compile time that there is no padding.
unsafe impl Plain for FlowValue {}
// SAFETY: as above.
unsafe impl Plain for FlowCounters {}
// SAFETY: as above.
unsafe impl Plain for Port {}
// SAFETY: as above.
unsafe impl Plain for Hop {}
// SAFETY: as above.
unsafe impl Plain for Express {}
// SAFETY: as above.
unsafe impl Plain for Pulse {}
// SAFETY: as above.
unsafe impl Plain for Hot {}
// SAFETY: as above.
unsafe impl Plain for Layout {}
// SAFETY: as above.
unsafe impl Plain for Locals {}
// SAFETY: as above.
unsafe impl Plain for Totals {}
// SAFETY: as above.
unsafe impl Plain for EventHead {}
// SAFETY: as above.
unsafe impl Plain for Lease {}

/// The bytes of a value.
pub(crate) fn bytes_of<T: Plain>(value: &T) -> &[u8] {
    // SAFETY: `Plain` has no padding, so every byte is defined.
    unsafe { slice::from_raw_parts(ptr::from_ref(value).cast(), size_of::<T>()) }
}

/// The value these bytes begin with; `None` when they are too few.
pub(crate) fn from_bytes<T: Plain>(bytes: &[u8]) -> Option<T> {
    // SAFETY: the length is looked at, any bytes are a value, and the read does not need alignment.
    (bytes.len() >= size_of::<T>()).then(|| unsafe { ptr::read_unaligned(bytes.as_ptr().cast()) })
}

/// An array map in our address space.
pub(crate) struct Shared<T> {
    words: NonNull<AtomicU64>,
    entries: usize,
    of: PhantomData<T>,
}

// SAFETY: the memory belongs to the map, not to a thread, and is only reached through atomic words.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T: Plain> Shared<T> {
    /// Words of one entry.
    const WORDS: usize = size_of::<T>() / 8;

    /// Maps `entries` entries of the map `fd`, made with `BPF_F_MMAPABLE`. The map outlives its descriptor.
    pub(crate) fn new(fd: BorrowedFd<'_>, entries: usize) -> io::Result<Shared<T>> {
        const { assert!(size_of::<T>().is_multiple_of(8)) };
        let len = entries * size_of::<T>();
        // SAFETY: a new mapping at a place the kernel chooses; the kernel refuses a length beyond the map.
        let at = unsafe {
            libc::mmap(ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, fd.as_raw_fd(), 0)
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let words = NonNull::new(at.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Shared { words, entries, of: PhantomData })
    }

    /// Entries.
    pub(crate) fn len(&self) -> usize {
        self.entries
    }

    /// The words of one entry.
    ///
    /// # Panics
    /// When there is no such entry: callers compute the index from a key they have checked.
    pub(crate) fn entry(&self, index: usize) -> &[AtomicU64] {
        assert!(index < self.entries, "entry {index} of {}", self.entries);
        // SAFETY: within the mapping, which is page-aligned and lives as long as `self`; the kernel's own accesses are
        // those of another thread to atomic words.
        unsafe { slice::from_raw_parts(self.words.as_ptr().add(index * Self::WORDS), Self::WORDS) }
    }
}

/// The value that these words are, read one by one.
pub(crate) fn read<V: Plain>(words: &[AtomicU64]) -> V {
    const { assert!(size_of::<V>().is_multiple_of(8)) };
    assert_eq!(words.len() * 8, size_of::<V>());
    let mut value = MaybeUninit::<V>::uninit();
    let to: *mut u64 = value.as_mut_ptr().cast();
    for (at, word) in words.iter().enumerate() {
        // SAFETY: the words are the whole value; its alignment may be less than a word's.
        unsafe { to.add(at).write_unaligned(word.load(Ordering::Relaxed)) };
    }
    // SAFETY: all words were written, and any bytes are a value.
    unsafe { value.assume_init() }
}

/// The words of a value, as they are stored.
pub(crate) fn words_of<V: Plain>(value: &V) -> impl Iterator<Item = u64> {
    let from: *const u64 = ptr::from_ref(value).cast();
    // SAFETY: as in `read`.
    (0..size_of::<V>() / 8).map(move |at| unsafe { from.add(at).read_unaligned() })
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length; no reference outlives `self`.
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.entries * size_of::<T>()) };
    }
}

/// `BPF_MAP_LOOKUP_ELEM` of the kernel.
const MAP_LOOKUP: libc::c_int = 1;

/// The first members of `union bpf_attr` for questions about an element.
#[repr(C)]
struct Lookup {
    map: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Entry 0 of `map`, which must be an array (not one per CPU) whose values have `size` bytes: the caller has asked the kernel.
pub(crate) fn array_value(map: BorrowedFd<'_>, size: usize) -> io::Result<Vec<u8>> {
    // The kernel writes values in whole words.
    let mut value = vec![0u8; size.next_multiple_of(8)];
    let key = 0u32;
    let question = Lookup {
        map: map.as_raw_fd() as u32,
        reserved: 0,
        key: (&raw const key) as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    // SAFETY: the kernel reads the question and the key, four bytes in an array, and writes one value of the size that it
    // told for this map; all three live until after the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, MAP_LOOKUP, &raw const question, size_of::<Lookup>()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    value.truncate(size);
    Ok(value)
}

/// `BPF_FS_MAGIC` of the kernel.
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// Whether `path` lies on a bpf file system.
pub(crate) fn is_bpffs(path: &CStr) -> io::Result<bool> {
    let mut stat = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the path ends with a zero byte, and the structure is written when the call succeeds.
    let stat = unsafe {
        if libc::statfs(path.as_ptr(), stat.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        stat.assume_init()
    };
    // The type of the field differs between machines.
    #[allow(clippy::unnecessary_cast)]
    Ok(stat.f_type as u64 & 0xffff_ffff == BPF_FS_MAGIC)
}

/// Mounts a bpf file system on `path`.
pub(crate) fn mount_bpffs(path: &CStr) -> io::Result<()> {
    // SAFETY: all strings end with a zero byte; no options.
    let result = unsafe { libc::mount(c"bpf".as_ptr(), path.as_ptr(), c"bpf".as_ptr(), 0, ptr::null()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Asks about an interface by one of the old requests; the answer is in the union.
fn ask_interface(socket: &OwnedFd, interface: &str, request: libc::Ioctl) -> Option<libc::ifreq> {
    // SAFETY: all zero is a valid request about an interface without a name.
    let mut question: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    // The last byte stays 0.
    if interface.len() >= question.ifr_name.len() {
        return None;
    }
    for (to, byte) in question.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = byte as libc::c_char;
    }
    // SAFETY: both requests read the name and write the union of this structure.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), request, &raw mut question) };
    (result == 0).then_some(question)
}

/// MTU of an interface.
pub(crate) fn interface_mtu(socket: &OwnedFd, interface: &str) -> Option<u32> {
    let answer = ask_interface(socket, interface, libc::SIOCGIFMTU)?;
    // SAFETY: the request writes this member.
    u32::try_from(unsafe { answer.ifr_ifru.ifru_mtu }).ok()
}

/// Flags of an interface (`IFF_*`).
pub(crate) fn interface_flags(socket: &OwnedFd, interface: &str) -> Option<u16> {
    let answer = ask_interface(socket, interface, libc::SIOCGIFFLAGS)?;
    // SAFETY: the request writes this member.
    Some(unsafe { answer.ifr_ifru.ifru_flags } as u16)
}
