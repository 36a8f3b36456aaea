//! How a ring goes away: first the kernel lets go, then memory is freed.

use std::mem::{self, ManuallyDrop};
use std::rc::Rc;

use io_uring::opcode;
use io_uring::types::{CancelBuilder, SubmitArgs, Timespec};

use super::{CANCEL, KIND_SHIFT, Ring};
use crate::config::BufferGroup;

/// How often `drop` asks the kernel to cancel, 100 ms apart, before memory is leaked instead of freed.
const DROP_ROUNDS: u32 = 50;
const DROP_ROUND_NS: u32 = 100_000_000;

impl Drop for Ring {
    /// Cancels everything, waits for the last completion of each operation, and only then frees memory.
    ///
    /// Closing the ring's descriptor alone would not do: the kernel ends what is in flight some time later, and a receive
    /// could write into memory that has been given to somebody else by then.
    fn drop(&mut self) {
        self.close_all();
        let round = Timespec::new().nsec(DROP_ROUND_NS);
        for _ in 0..DROP_ROUNDS {
            if self.in_flight == 0 {
                break;
            }
            let cancel = opcode::AsyncCancel2::new(CancelBuilder::any())
                .build()
                .user_data(CANCEL << KIND_SHIFT | u64::from(u32::MAX));
            // SAFETY: a cancellation of everything names no memory and no descriptor.
            if unsafe { self.push(&cancel) } {
                self.in_flight += 1;
            }
            let arguments = SubmitArgs::new().timespec(&round);
            // A failure shows as operations left in flight, for which there is the next round and the end.
            let _ = self.io.submitter().submit_with_args(1, &arguments);
            self.note_taken();
            // Takes completions as always: buffers go back, slots and places are freed, nothing is armed again.
            while self.next().is_some() {}
        }
        let released =
            BufferGroup::ALL.map(|group| self.io.submitter().unregister_buf_ring(group.index() as u16).is_ok());
        if self.in_flight == 0 && released == [true, true] {
            // SAFETY: both are dropped here, once, and not used afterwards: the kernel has nothing in flight and `self`
            // is going away.
            unsafe {
                ManuallyDrop::drop(&mut self.sends);
                ManuallyDrop::drop(&mut self.fixed);
            }
        } else {
            // The kernel may still write there: leak the mappings rather than have it write into somebody else's memory.
            for pool in &self.pools {
                mem::forget(Rc::clone(pool));
            }
        }
    }
}
