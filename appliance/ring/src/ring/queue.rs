//! What is queued before a wait, and the two ways into the kernel.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{opcode, squeue};

use super::{CANCEL, HEADER_MANY_OFFSET, HEADER_OFFSET, KIND_SHIFT, RECEIVE, Ring, RingError, SEND, WAKE, WORD_OFFSET};
use crate::address;
use crate::sends::SendError;
use crate::sockets::{GENERATION_MASK, Role, SocketId};

/// Longest sleep the kernel is asked for; longer ones are cut, which callers see as a wait that returned early.
const SLEEP_MAX_S: u64 = 86_400;

/// Visits of the kernel between two looks at what is left of closing all sockets.
const VISITS: usize = 8;

impl Ring {
    pub(super) fn wire_address(&self, socket: SocketId, to: SocketAddr) -> Result<SocketAddr, SendError> {
        let entry = self.sockets.peek(socket).ok_or(SendError::Closed)?;
        let mut wire = address::for_socket(entry.local, entry.dual_stack, to).ok_or(SendError::WrongFamily)?;
        if matches!(entry.role, Role::Raw { .. }) {
            // It is in the UDP header; here the kernel would take it for a protocol.
            wire.set_port(0);
        }
        Ok(wire)
    }

    /// Puts one entry into the submission queue, submitting what is there when it is full.
    ///
    /// # Safety
    ///
    /// Descriptor and memory the entry names must stay valid until its last completion, which the caller counts in
    /// `in_flight`.
    pub(super) unsafe fn push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: the caller's promise is that of `push`.
        if unsafe { self.io.submission().push(entry) }.is_ok() {
            return true;
        }
        // Overflow or lack of memory leave the queue full: the caller tries later.
        if self.io.submitter().submit().is_err() {
            return false;
        }
        // SAFETY: as above.
        unsafe { self.io.submission().push(entry) }.is_ok()
    }

    /// Queues send `slot`; false when the kernel takes nothing more now.
    pub(super) fn queue_send(&mut self, slot: u32) -> bool {
        let Some((payload, len, to, to_len)) = self.sends.wire(slot) else {
            return false;
        };
        let Some(socket) = self.sends.at(slot).map(|sending| sending.socket) else {
            return false;
        };
        let Some(entry) = self.sockets.at(socket) else {
            return false;
        };
        let Some(fd) = entry.socket.as_ref().map(AsRawFd::as_raw_fd) else {
            return false;
        };
        let reports = entry.reports;
        let patient = self.sends.at(slot).is_some_and(|sending| sending.patient);
        let name = SEND << KIND_SHIFT | u64::from(self.sends.generation(slot)) << 32 | u64::from(slot);
        // As a rule the kernel takes a datagram while it is submitted. A completion for each would end every wait behind
        // a send at once, one empty turn per datagram.
        let (now, silent) =
            if patient { (0, squeue::Flags::empty()) } else { (libc::MSG_DONTWAIT, squeue::Flags::SKIP_SUCCESS) };
        let submission = opcode::Send::new(Fd(fd), payload, len)
            .flags(now)
            .dest_addr(to)
            .dest_addr_len(to_len)
            .build()
            .flags(silent)
            .user_data(name);
        // SAFETY: payload and address belong to the slot, which is freed by its completion, or, for a silent send, when the
        // kernel has taken the entry: with MSG_DONTWAIT it is done by then. The descriptor is closed only after the
        // submission queue that holds this entry was submitted (`close_cancelled`).
        if !unsafe { self.push(&submission) } {
            return false;
        }
        self.in_flight += 1;
        if let Some(entry) = self.sockets.at(socket) {
            entry.in_flight += 1;
        }
        if let Some(sending) = self.sends.at(slot) {
            sending.reports = reports;
        }
        if !patient {
            self.silent.push(slot);
        }
        true
    }

    /// Everything that waits for the next submission: repeated sends, receives to arm, cancellations, the eventfd.
    ///
    /// What does not fit now stays for the next time. Cancellations come last, behind the sends of their socket.
    pub(super) fn queue_housekeeping(&mut self) {
        if !self.sleeper_armed {
            let word = self.fixed.at(WORD_OFFSET, size_of::<u64>());
            let submission = opcode::Read::new(Fd(self.sleeper.fd()), word, size_of::<u64>() as u32)
                .build()
                .user_data(WAKE << KIND_SHIFT);
            // SAFETY: the word lies in the fixed page and the eventfd in the sleeper, both of which outlive the ring's
            // last completion.
            if unsafe { self.push(&submission) } {
                self.sleeper_armed = true;
                self.in_flight += 1;
            }
        }
        while let Some(&slot) = self.to_repeat.last() {
            if !self.repeat_send(slot) {
                break;
            }
            self.to_repeat.pop();
        }
        let mut kept = 0;
        for at in 0..self.to_arm.len() {
            let index = self.to_arm[at];
            if !self.arm(index) {
                self.to_arm[kept] = index;
                kept += 1;
            }
        }
        self.to_arm.truncate(kept);
        self.queue_cancellations();
    }

    /// Submits a send again; true when it is settled, be it that its socket has closed meanwhile.
    fn repeat_send(&mut self, slot: u32) -> bool {
        let Some(socket) = self.sends.at(slot).map(|sending| sending.socket) else {
            return true;
        };
        let open = self.sockets.at(socket).is_some_and(|entry| entry.open);
        if open && !self.queue_send(slot) {
            return false;
        }
        // The place was held for this send while it was waiting here.
        if let Some(entry) = self.sockets.at(socket) {
            entry.in_flight -= 1;
        }
        if !open {
            self.sends.finish(slot);
            self.stats.send_failed += 1;
            self.sockets.release_if_done(socket);
        }
        true
    }

    /// Arms the receive in place `index`; true when it is settled, be it that there is nothing to arm any more.
    fn arm(&mut self, index: u32) -> bool {
        let Some(entry) = self.sockets.at(index) else {
            return true;
        };
        if !entry.open || entry.armed {
            return true;
        }
        let group = entry.group.index();
        // Armed without buffers it would end at once, and the shard would spin until the caller lets some go.
        if entry.starved && self.pools[group].available() == 0 {
            return false;
        }
        let Some(fd) = entry.socket.as_ref().map(AsRawFd::as_raw_fd) else {
            return true;
        };
        let offset = if entry.role == Role::Many { HEADER_MANY_OFFSET } else { HEADER_OFFSET };
        let header = self.fixed.at(offset, size_of::<libc::msghdr>()).cast_const().cast::<libc::msghdr>();
        let submission = opcode::RecvMsgMulti::new(Fd(fd), header, group as u16)
            .build()
            .user_data(RECEIVE << KIND_SHIFT | u64::from(index));
        // SAFETY: the header lies in the fixed page and buffers come from a registered pool, all of which outlive the
        // ring's last completion; for the descriptor see `queue_send`.
        if !unsafe { self.push(&submission) } {
            return false;
        }
        self.in_flight += 1;
        if let Some(entry) = self.sockets.at(index) {
            entry.armed = true;
            entry.starved = false;
            entry.in_flight += 1;
        }
        true
    }

    /// Cancels the receives of closed sockets and notes their descriptors to be closed.
    ///
    /// By name, which the kernel finds in a hash table. By descriptor it would search everything in flight: 1 ms for each
    /// socket closed among 15,000. Sends need no cancelling, a UDP send buffer empties by itself.
    fn queue_cancellations(&mut self) {
        while let Some(&index) = self.to_cancel.last() {
            let generation = self.sockets.id(index).generation & GENERATION_MASK;
            // The place may have emptied by itself, and even have been taken by a socket that is open.
            let armed = self.sockets.at(index).filter(|entry| !entry.open).map(|entry| entry.armed);
            if armed == Some(true) {
                let receive = RECEIVE << KIND_SHIFT | u64::from(index);
                let name = CANCEL << KIND_SHIFT | u64::from(generation) << 32 | u64::from(index);
                let submission = opcode::AsyncCancel::new(receive).build().user_data(name);
                // SAFETY: a cancellation by name refers to no memory and no descriptor.
                if !unsafe { self.push(&submission) } {
                    return;
                }
                self.in_flight += 1;
            }
            if let Some(entry) = self.sockets.at(index).filter(|entry| !entry.open && entry.socket.is_some()) {
                // Keeps place and descriptor until all entries that name the descriptor were submitted.
                entry.in_flight += 1;
                self.to_close.push(index);
            }
            self.to_cancel.pop();
        }
    }

    /// Closes every socket by name, before the rest is cancelled as a whole: that makes the kernel walk over everything in
    /// flight for each operation it finds, half a second for 2,000 sockets, and grows with their square.
    pub(super) fn close_all(&mut self) {
        for index in 0..self.sockets.places() {
            let id = self.sockets.id(index);
            self.close_udp(id);
        }
        // The kernel ends some twenty operations a visit. What does not move any more is cancelled as a whole.
        let mut left = usize::MAX;
        while self.sockets.len() < left && !self.sockets.is_empty() {
            left = self.sockets.len();
            for _ in 0..VISITS {
                if self.let_go().is_err() {
                    return;
                }
                while self.next().is_some() {}
            }
        }
    }

    /// Submits cancellations and lets the kernel finish them, so that closed ports are free. Takes no completion.
    pub(super) fn let_go(&mut self) -> Result<(), RingError> {
        self.queue_cancellations();
        self.enter_and_poll()?;
        self.close_cancelled();
        // The first enter cancels; what the cancelled receives still had to do is done by the second, and the last
        // reference to a socket is dropped on the way out of it.
        self.enter_and_poll()
    }

    /// Closes the descriptors of closed sockets once all entries that name them were submitted: the kernel resolved the
    /// number when it took the entry, so the number may be used again.
    pub(super) fn close_cancelled(&mut self) {
        if self.to_close.is_empty() || !self.io.submission().is_empty() {
            return;
        }
        while let Some(index) = self.to_close.pop() {
            if let Some(entry) = self.sockets.at(index) {
                entry.socket = None;
                entry.in_flight -= 1;
            }
            self.sockets.release_if_done(index);
        }
    }

    pub(super) fn enter_and_sleep(&mut self, timeout: Option<Duration>) -> Result<(), RingError> {
        let deadline = timeout.map(|timeout| Timespec::from(timeout.min(Duration::from_secs(SLEEP_MAX_S))));
        let arguments = SubmitArgs::new();
        let entered = match &deadline {
            Some(deadline) => self.io.submitter().submit_with_args(1, &arguments.timespec(deadline)),
            None => self.io.submitter().submit_and_wait(1),
        };
        self.entered(entered)
    }

    /// Submits, runs the kernel's deferred work and returns.
    pub(super) fn enter_and_poll(&mut self) -> Result<(), RingError> {
        const GETEVENTS: u32 = 1;
        let queued = self.io.submission().len() as u32;
        // SAFETY: no argument is passed; `queued` entries are in the queue, each pushed under the promise of `push`.
        let entered = unsafe { self.io.submitter().enter::<()>(queued, 0, GETEVENTS, None) };
        self.entered(entered)
    }

    /// Once the submission queue is empty the kernel has taken every silent send.
    pub(super) fn note_taken(&mut self) {
        if self.io.submission().is_empty() {
            self.taken.append(&mut self.silent);
        }
    }

    fn entered(&mut self, result: io::Result<usize>) -> Result<(), RingError> {
        self.note_taken();
        let Err(error) = result else {
            return Ok(());
        };
        match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR) => Ok(()),
            // Completions wait to be taken, or memory is short for the moment: what is queued goes next time.
            Some(libc::EBUSY | libc::EAGAIN) => {
                self.stats.overflows += 1;
                Ok(())
            }
            _ => Err(RingError::Enter(error)),
        }
    }
}
