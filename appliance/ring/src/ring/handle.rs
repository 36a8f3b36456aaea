//! What completions mean: to the tables of the ring, and to the caller.

use std::os::fd::AsRawFd;

use io_uring::cqueue;

use super::{Completion, Ring};
use crate::config::BufferGroup;
use crate::error_queue::{self, Report};
use crate::sockets::{GENERATION_MASK, Role};

/// Receive errors in a row after which a socket is given up. ICMP errors do not count.
const FAILURES_MAX: u8 = 8;

/// Times one send is repeated because of others' ICMP errors. Each round at least halves the number of sends hit, so 16
/// outlast the largest table of sends.
const RETRIES_MAX: u8 = 16;

impl Ring {
    pub(super) fn handle_receive(&mut self, index: u32, completion: &cqueue::Entry) -> Option<Completion> {
        let result = completion.result();
        let socket = self.sockets.id(index);
        let Some(entry) = self.sockets.at(index) else {
            unreachable!("a socket's place is kept until its receive has completed");
        };
        let (token, group, open) = (entry.token, entry.group, entry.open);
        let header = if entry.role == Role::Many { &self.header_many } else { &self.header };
        let ended = !cqueue::more(completion.flags());
        if ended {
            entry.armed = false;
            entry.in_flight -= 1;
            self.in_flight -= 1;
        }

        // A completion that names a buffer has taken it from the kernel, whatever else it says.
        let received = cqueue::buffer_select(completion.flags()).and_then(|id| {
            // SAFETY: this completion names `id` of the group its socket receives into, and is taken once.
            unsafe { self.pools[group.index()].take(id, result.max(0) as usize, header) }
        });
        if !open {
            self.stats.dropped += u64::from(received.is_some());
            self.sockets.release_if_done(index);
            return None;
        }

        let told = if result >= 0 {
            entry.failures = 0;
            match received {
                Some(received) if received.source.is_some() => {
                    self.stats.received += 1;
                    self.stats.truncated += u64::from(received.truncated);
                    received.source.map(|source| Completion::Datagram {
                        token,
                        socket,
                        source,
                        buffer: received.buffer,
                        truncated: received.truncated,
                    })
                }
                Some(_) | None => {
                    self.stats.dropped += 1;
                    None
                }
            }
        } else {
            self.handle_receive_error(index, -result)
        };
        if ended
            && let Some(entry) = self.sockets.at(index)
            && entry.failures < FAILURES_MAX
        {
            self.stats.rearmed += 1;
            self.to_arm.push(index);
        }
        told
    }

    fn handle_receive_error(&mut self, index: u32, errno: i32) -> Option<Completion> {
        let socket = self.sockets.id(index);
        let entry = self.sockets.at(index)?;
        match errno {
            libc::ENOBUFS => {
                entry.starved = true;
                self.stats.starved += 1;
                None
            }
            libc::EINTR | libc::EAGAIN | libc::ECANCELED => None,
            _ if entry.group == BufferGroup::Signalling && error_queue::may_be_icmp(errno) => {
                self.drain_error_queue(index);
                None
            }
            _ => {
                entry.failures += 1;
                Some(Completion::SocketError {
                    token: entry.token,
                    socket,
                    errno,
                    deaf: entry.failures >= FAILURES_MAX,
                })
            }
        }
    }

    /// Reads every ICMP error the socket holds.
    ///
    /// All of them, because a queue that is not empty keeps the socket readable, and a receive armed on it would be tried
    /// in vain until the kernel gives it to a worker thread.
    fn drain_error_queue(&mut self, index: u32) {
        let socket = self.sockets.id(index);
        let Some(entry) = self.sockets.at(index) else {
            return;
        };
        let Some(fd) = entry.socket.as_ref().map(AsRawFd::as_raw_fd) else {
            return;
        };
        while let Some(report) = error_queue::take(fd) {
            let (to, errno) = match report {
                Report::Local => continue,
                Report::Ignored => {
                    entry.reports = entry.reports.wrapping_add(1);
                    continue;
                }
                Report::Unreachable { to, errno } => {
                    entry.reports = entry.reports.wrapping_add(1);
                    (to, errno)
                }
            };
            // A burst of datagrams to one dead peer is one piece of news.
            let known = matches!(
                self.pending.back(),
                Some(Completion::Unreachable { socket: s, to: t, .. }) if *s == socket && *t == to
            );
            if !known {
                self.stats.unreachable += 1;
                self.pending.push_back(Completion::Unreachable { token: entry.token, socket, to, errno });
            }
        }
    }

    /// All completions were taken: silent sends of which none spoke are done. Not while completions may be waiting in the
    /// kernel because the queue was full.
    pub(super) fn settle_sends(&mut self) {
        if self.taken.is_empty() || self.io.submission().cq_overflow() {
            return;
        }
        while let Some(slot) = self.taken.pop() {
            let Some(index) = self.sends.finish(slot).map(|sending| sending.socket) else {
                unreachable!("a send slot is kept until it is settled");
            };
            self.in_flight -= 1;
            self.stats.sent += 1;
            if let Some(entry) = self.sockets.at(index) {
                entry.in_flight -= 1;
            }
            self.sockets.release_if_done(index);
        }
    }

    pub(super) fn handle_send(&mut self, slot: u32, generation: u32, result: i32) -> Option<Completion> {
        if self.sends.generation(slot) != generation || self.sends.at(slot).is_none() {
            // It was settled, and fails all the same: it was counted as sent, and its datagram is lost like any other.
            self.stats.send_failed += 1;
            return None;
        }
        // Failures are rare and lists short.
        for list in [&mut self.taken, &mut self.silent] {
            if let Some(at) = list.iter().position(|silent| *silent == slot) {
                list.swap_remove(at);
            }
        }
        self.in_flight -= 1;
        let Some(index) = self.sends.at(slot).map(|sending| sending.socket) else {
            unreachable!("a send slot is kept until its completion");
        };
        let Some(entry) = self.sockets.at(index) else {
            unreachable!("a socket's place is kept until its sends have completed");
        };
        entry.in_flight -= 1;
        if result >= 0 {
            self.stats.sent += 1;
            self.sends.finish(slot);
            self.sockets.release_if_done(index);
            return None;
        }

        let errno = -result;
        let (token, open, group) = (entry.token, entry.open, entry.group);
        if open && errno == libc::EAGAIN && self.wait_for_room(slot, index) {
            return None;
        }
        if open && group == BufferGroup::Signalling && error_queue::may_be_icmp(errno) {
            self.drain_error_queue(index);
            if self.hit_by_another(slot, index, errno) {
                self.stats.send_repeated += 1;
                self.to_repeat.push(slot);
                // Keeps the place until `repeat_send` has settled it.
                if let Some(entry) = self.sockets.at(index) {
                    entry.in_flight += 1;
                }
                return None;
            }
        }
        self.stats.send_failed += 1;
        let socket = self.sockets.id(index);
        let to = self.sends.finish(slot).map(|sending| sending.to);
        self.sockets.release_if_done(index);
        if !open {
            return None;
        }
        to.map(|to| Completion::SendFailed { token, socket, to, errno })
    }

    /// The socket's send buffer is full: the send goes again, and this time the kernel holds it until there is room.
    fn wait_for_room(&mut self, slot: u32, index: u32) -> bool {
        let Some(sending) = self.sends.at(slot).filter(|sending| !sending.patient) else {
            return false;
        };
        sending.patient = true;
        self.to_repeat.push(slot);
        // Keeps the place until `repeat_send` has settled it.
        if let Some(entry) = self.sockets.at(index) {
            entry.in_flight += 1;
        }
        true
    }

    /// Whether send `slot` failed only because an ICMP error about an earlier datagram was waiting on the socket.
    ///
    /// The kernel reports such an error to whatever call comes next, and takes the datagram when it is tried again. It is
    /// told from a failure of this datagram by the error queue: an entry came since it was submitted. ECONNREFUSED needs
    /// no such proof, because sending UDP has no other way to be refused.
    fn hit_by_another(&mut self, slot: u32, index: u32, errno: i32) -> bool {
        let Some(reports) = self.sockets.at(index).map(|entry| entry.reports) else {
            return false;
        };
        let Some(sending) = self.sends.at(slot) else {
            return false;
        };
        if sending.retries >= RETRIES_MAX || (sending.reports == reports && errno != libc::ECONNREFUSED) {
            return false;
        }
        sending.retries += 1;
        true
    }

    pub(super) fn handle_cancel(&mut self, completion: &cqueue::Entry) -> Option<Completion> {
        self.in_flight -= 1;
        let index = completion.user_data() as u32;
        let generation = (completion.user_data() >> 32) as u32 & GENERATION_MASK;
        // Not found, although the receive is out: it was between two states. Once more.
        if completion.result() < 0
            && self.sockets.id(index).generation & GENERATION_MASK == generation
            && self.sockets.at(index).is_some_and(|entry| !entry.open && entry.armed)
        {
            self.to_cancel.push(index);
        }
        None
    }
}
