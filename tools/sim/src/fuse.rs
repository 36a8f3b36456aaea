//! The instant of death: a counter of small steps that a crash is set on.
//!
//! Whatever the switch does that somebody else could notice (a datagram out, a byte on the disk, an answer handed from one
//! thread to the next) is a step. A crash is "so many steps after this instant", so that it can fall between any two of
//! them, inside a write as well.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// Not set.
const NEVER: i64 = i64::MAX;

/// See the module text. Shared by the parts of one boot of the switch; all of them on one thread.
#[derive(Debug)]
pub struct Fuse {
    left: AtomicI64,
    /// Counts only what the disk is asked.
    on_disk: AtomicBool,
    dead: AtomicBool,
}

impl Default for Fuse {
    fn default() -> Self {
        Fuse { left: AtomicI64::new(NEVER), on_disk: AtomicBool::new(false), dead: AtomicBool::new(false) }
    }
}

impl Fuse {
    /// The switch dies after `steps` more steps; `on_disk` counts only those that ask the disk.
    pub fn light(&self, steps: u32, on_disk: bool) {
        self.left.store(i64::from(steps), Ordering::Relaxed);
        self.on_disk.store(on_disk, Ordering::Relaxed);
    }

    /// The switch dies now.
    pub fn blow(&self) {
        self.dead.store(true, Ordering::Relaxed);
    }

    /// One step is about to be taken. False when the switch is dead and nothing happens any more.
    pub fn step(&self) -> bool {
        if self.on_disk.load(Ordering::Relaxed) { !self.is_dead() } else { self.count() }
    }

    /// The same for something that the disk is asked.
    pub fn disk_step(&self) -> bool {
        self.count()
    }

    fn count(&self) -> bool {
        if self.is_dead() {
            return false;
        }
        let left = self.left.load(Ordering::Relaxed);
        if left == NEVER {
            return true;
        }
        if left <= 0 {
            self.blow();
            return false;
        }
        self.left.store(left - 1, Ordering::Relaxed);
        true
    }

    /// Whether the switch is dead.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }
}
