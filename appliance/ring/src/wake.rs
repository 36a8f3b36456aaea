//! How other threads get a sleeping ring up: an eventfd the ring reads, written only when it must be.
//!
//! Two flags save the system calls. `pending` says that a wake is due and not yet delivered: a second one adds nothing.
//! `sleeping` says that the ring is, or is about to be, in the kernel: only then the eventfd is written, otherwise the
//! ring finds `pending` before it sleeps. Each side writes its flag first and reads the other's after, all sequentially
//! consistent, so at least one of them sees the other and no wake is lost.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Looks between two readings of the clock: half a microsecond or so.
const LOOKS: u32 = 8;

/// Wakes one ring from any thread. Cheap to clone; outliving the ring is harmless.
#[derive(Clone, Debug)]
pub struct Waker {
    shared: Arc<Shared>,
}

impl Waker {
    /// Makes the ring deliver one `Completion::Wake`, in this wait or the next.
    ///
    /// What this thread wrote before is visible to the ring's thread after that completion. Wakes not yet delivered
    /// count as one. At most one system call, none when the ring is awake or a wake is already due.
    pub fn wake(&self) {
        let due = self.shared.pending.swap(true, Ordering::SeqCst);
        if !due && self.shared.sleeping.load(Ordering::SeqCst) {
            self.shared.kick();
        }
    }
}

/// The ring's side.
pub(crate) struct Sleeper {
    shared: Arc<Shared>,
}

impl Sleeper {
    pub(crate) fn new() -> io::Result<Sleeper> {
        // Blocking on purpose: io_uring answers EAGAIN instead of waiting when the file is non-blocking. The writer
        // never blocks, because coalescing keeps the counter far from its limit of 2^64 - 2.
        // SAFETY: creates a descriptor and touches no memory.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Sleeper {
            shared: Arc::new(Shared {
                eventfd: File::from(fd),
                pending: AtomicBool::new(false),
                sleeping: AtomicBool::new(false),
            }),
        })
    }

    pub(crate) fn waker(&self) -> Waker {
        Waker { shared: Arc::clone(&self.shared) }
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.shared.eventfd.as_raw_fd()
    }

    /// Looks for a wake for so long without sleeping; true as soon as one is due, which stays so.
    pub(crate) fn look(&self, most: Duration) -> bool {
        let begun = Instant::now();
        loop {
            for _ in 0..LOOKS {
                if self.shared.pending.load(Ordering::SeqCst) {
                    return true;
                }
                std::hint::spin_loop();
            }
            if begun.elapsed() >= most {
                return false;
            }
        }
    }

    /// Announces that the ring is going to sleep; false when a wake is due and it must not.
    pub(crate) fn may_sleep(&self) -> bool {
        self.shared.sleeping.store(true, Ordering::SeqCst);
        !self.shared.pending.load(Ordering::SeqCst)
    }

    /// Ends the announcement and takes the wake that is due, if one is.
    pub(crate) fn awake(&self) -> bool {
        self.shared.sleeping.store(false, Ordering::SeqCst);
        // A swap, not a store: it reads the waker's write and so makes visible what the waker wrote before.
        self.shared.pending.swap(false, Ordering::SeqCst)
    }
}

#[derive(Debug)]
struct Shared {
    eventfd: File,
    pending: AtomicBool,
    sleeping: AtomicBool,
}

impl Shared {
    fn kick(&self) {
        // Only EINTR can fail this write of a valid descriptor with a near-empty counter.
        while let Err(error) = (&self.eventfd).write(&1u64.to_ne_bytes()) {
            if error.kind() != io::ErrorKind::Interrupted {
                break;
            }
        }
    }
}
