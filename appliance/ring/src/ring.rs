//! The ring: queue, submit and wait in one system call, then take completions one by one.
//!
//! `wait` is the only place that sleeps and the only place that arms receives again. `next` takes what is there: handling
//! one completion never takes another, so the caller's stack stays flat and its state whole between two of them.

mod end;
mod handle;
mod many;
mod queue;

use std::collections::VecDeque;
use std::io;
use std::mem::{self, ManuallyDrop};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

use io_uring::IoUring;

use crate::address;
use crate::buffers::{Buffer, Pool};
use crate::config::{BufferGroup, DATAGRAM_BYTES_MAX, RingConfig};
use crate::memory::{PAGE_BYTES, Region};
use crate::probe::{self, ProbeError};
use crate::raw::RawError;
use crate::sends::{SendError, Sends, Unsent};
use crate::sockets::{Entry, GENERATION_MASK, Role, SocketId, Sockets};
use crate::udp::{self, UdpError, UdpOptions};
use crate::wake::{Sleeper, Waker};

/// Something happened. New transports add kinds; matching without a wildcard finds every place that must know them.
#[derive(Debug)]
pub enum Completion {
    /// A datagram arrived.
    Datagram {
        /// The caller's name of the socket.
        token: u32,
        /// The socket, to answer on.
        socket: SocketId,
        /// Who sent it; IPv4 as IPv4 on every kind of socket.
        source: SocketAddr,
        /// The bytes, in place.
        buffer: Buffer,
        /// It was longer than a buffer of its group and is cut: count it, do not parse it.
        truncated: bool,
    },
    /// A [`Waker`] was used since the last wait returned.
    Wake,
    /// The peer answered with ICMP destination unreachable or parameter problem; signalling sockets only.
    ///
    /// ICMP can be forged by whoever guesses both ports, so it should fail only an attempt that has heard nothing yet.
    Unreachable {
        /// The caller's name of the socket.
        token: u32,
        /// The socket.
        socket: SocketId,
        /// Where the datagram went that will not arrive.
        to: SocketAddr,
        /// ECONNREFUSED for a closed port, EHOSTUNREACH, ENETUNREACH and so on.
        errno: i32,
    },
    /// The kernel did not take a datagram (no route, firewall, too long for the path).
    SendFailed {
        /// The caller's name of the socket.
        token: u32,
        /// The socket.
        socket: SocketId,
        /// Where it was to go.
        to: SocketAddr,
        /// What the kernel said.
        errno: i32,
    },
    /// Receiving on a socket failed. It goes on unless `deaf`.
    SocketError {
        /// The caller's name of the socket.
        token: u32,
        /// The socket.
        socket: SocketId,
        /// What the kernel said.
        errno: i32,
        /// It failed repeatedly and receives no more: close the socket and open another.
        deaf: bool,
    },
}

/// Why a ring could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// A size does not make sense.
    #[error("ring configuration: {0}")]
    Config(String),
    /// The kernel cannot.
    #[error(transparent)]
    Kernel(#[from] ProbeError),
    /// Memory, an eventfd or a registration failed.
    #[error("cannot set up the ring: {step}: {source}")]
    Setup {
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// A socket could not be opened.
    #[error(transparent)]
    Udp(#[from] UdpError),
    /// A raw socket could not be opened.
    #[error(transparent)]
    Raw(#[from] RawError),
    /// All places are taken.
    #[error("all {max} sockets of the ring are open; raise sockets_max")]
    SocketsExhausted {
        /// `RingConfig::sockets_max`.
        max: u32,
    },
    /// The kernel refused to wait, which it does only for a ring that is no longer whole.
    #[error("io_uring_enter: {0}")]
    Enter(io::Error),
}

/// What a ring counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Datagrams delivered, truncated ones included.
    pub received: u64,
    /// Datagrams longer than their buffer.
    pub truncated: u64,
    /// Datagrams dropped because their socket was being closed or the kernel's header made no sense.
    pub dropped: u64,
    /// Datagrams the kernel took.
    pub sent: u64,
    /// Datagrams it did not take, reported as `SendFailed` or lost with their socket.
    pub send_failed: u64,
    /// Sends repeated because the socket held the ICMP error of another datagram.
    pub send_repeated: u64,
    /// Receives that ended for want of buffers.
    pub starved: u64,
    /// Receives armed again after they ended.
    pub rearmed: u64,
    /// ICMP errors reported as `Unreachable`.
    pub unreachable: u64,
    /// Wakes delivered.
    pub wakes: u64,
    /// Waits the kernel turned down because completions had overflowed; they are delivered all the same.
    pub overflows: u64,
}

// What a completion belongs to: kind in the upper 8 bits, then 24 bits of generation (cancellations), then the index.
const KIND_SHIFT: u32 = 56;
const RECEIVE: u64 = 1;
const SEND: u64 = 2;
const CANCEL: u64 = 3;
const WAKE: u64 = 4;

/// ICMP reports and the like that are kept without allocating; more make the queue grow once.
const PENDING_RESERVED: usize = 256;

// Layout of the page that holds what the kernel reads or writes besides buffers.
const HEADER_OFFSET: usize = 0;
const HEADER_MANY_OFFSET: usize = 128;
const WORD_OFFSET: usize = 256;
const _: () = assert!(size_of::<libc::msghdr>() <= HEADER_MANY_OFFSET);
const _: () = assert!(HEADER_MANY_OFFSET + size_of::<libc::msghdr>() <= WORD_OFFSET);

/// One io_uring with its sockets, for one thread. See the crate's README for threads and ownership.
///
/// ```
/// # use tandem_ring::{BufferGroup, Completion, Ring, RingConfig, UdpOptions};
/// # use std::time::Duration;
/// # if let Err(missing) = tandem_ring::probe() { println!("skipped: {missing}"); return Ok(()); }
/// let mut ring = Ring::new(RingConfig::default())?;
/// let socket = ring.open_udp(7, &UdpOptions::new("127.0.0.1:0".parse()?), BufferGroup::Signalling)?;
/// let here = ring.local_addr(socket).ok_or("closed")?;
/// ring.send(socket, here, b"hello")?;
/// let mut heard = false;
/// while !heard {
///     ring.wait(Some(Duration::from_secs(1)))?;
///     while let Some(completion) = ring.next() {
///         if let Completion::Datagram { token: 7, buffer, .. } = completion {
///             heard = &buffer[..] == b"hello";
///         }
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Ring {
    // Fields drop in this order, after `Ring::drop` has seen the last completion of everything in flight: first the
    // kernel's ring, then the memory it was told of, then descriptors.
    io: IoUring,
    pools: [Rc<Pool>; 2],
    sends: ManuallyDrop<Sends>,
    /// The message headers all receives share, and the word the eventfd is read into.
    fixed: ManuallyDrop<Region>,
    header: libc::msghdr,
    /// The one with room for the destination.
    header_many: libc::msghdr,
    sockets: Sockets,
    sockets_max: u32,
    /// Places whose receive is to be armed at the next wait.
    to_arm: Vec<u32>,
    /// Places whose receive is to be cancelled at the next wait.
    to_cancel: Vec<u32>,
    /// Places whose descriptor is to be closed once the submission queue was submitted.
    to_close: Vec<u32>,
    /// Sends to be submitted again.
    to_repeat: Vec<u32>,
    /// Sends in the submission queue that complete without a word when all goes well.
    silent: Vec<u32>,
    /// Those of them that the kernel has taken: done, unless a completion says otherwise.
    taken: Vec<u32>,
    /// Completions that did not come from the kernel one to one.
    pending: VecDeque<Completion>,
    sleeper: Sleeper,
    sleeper_armed: bool,
    /// Operations whose last completion has not been seen, of all kinds.
    in_flight: u32,
    stats: Stats,
}

impl Ring {
    /// Makes a ring on the thread that will use it; it cannot leave that thread.
    ///
    /// # Errors
    ///
    /// A size that makes no sense, a kernel that lacks a feature, or no memory. [`probe`](crate::probe()) tells more.
    pub fn new(config: RingConfig) -> Result<Ring, RingError> {
        if let Some(fault) = config.fault() {
            return Err(RingError::Config(fault));
        }
        let setup = |step| move |source| RingError::Setup { step, source };

        let io = probe::setup(config.submission_entries, config.completion_entries)?;
        let pool = |group| -> Result<Rc<Pool>, RingError> {
            let pool = Pool::new(config.group(group), group).map_err(setup("map receive buffers"))?;
            pool.register(&io.submitter()).map_err(setup("register receive buffers"))?;
            Ok(pool)
        };
        let pools = [pool(BufferGroup::Signalling)?, pool(BufferGroup::Media)?];
        let sends = Sends::new(config.send_slots, config.send_bytes).map_err(setup("map send slots"))?;
        let fixed = Region::map(PAGE_BYTES, false).map_err(setup("map the message header"))?;
        // SAFETY: zero is a valid value of every field of this plain C struct.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_namelen = address::ADDRESS_BYTES as u32;
        let mut header_many = header;
        header_many.msg_controllen = address::CONTROL_BYTES as _;
        // SAFETY: the page is fresh, aligned and large enough (asserted above); the kernel only ever reads the headers.
        unsafe {
            fixed.at(HEADER_OFFSET, size_of::<libc::msghdr>()).cast::<libc::msghdr>().write(header);
            fixed.at(HEADER_MANY_OFFSET, size_of::<libc::msghdr>()).cast::<libc::msghdr>().write(header_many);
        }
        let sockets_max = config.sockets_max as usize;
        Ok(Ring {
            io,
            pools,
            sends: ManuallyDrop::new(sends),
            fixed: ManuallyDrop::new(fixed),
            header,
            header_many,
            sockets: Sockets::new(config.sockets_max),
            sockets_max: config.sockets_max,
            to_arm: Vec::with_capacity(sockets_max),
            to_cancel: Vec::with_capacity(sockets_max),
            to_close: Vec::with_capacity(sockets_max),
            to_repeat: Vec::with_capacity(config.send_slots as usize),
            silent: Vec::with_capacity(config.send_slots as usize),
            taken: Vec::with_capacity(config.send_slots as usize),
            pending: VecDeque::with_capacity(PENDING_RESERVED),
            sleeper: Sleeper::new().map_err(setup("eventfd"))?,
            sleeper_armed: false,
            in_flight: 0,
            stats: Stats::default(),
        })
    }

    /// A handle for other threads to wake this ring with.
    pub fn waker(&self) -> Waker {
        self.sleeper.waker()
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Sockets that take a place: open ones, and closed ones whose last completion has not been taken.
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }

    /// Receive buffers of `group` that are not lent out; all of them when the caller keeps none.
    pub fn buffers_available(&self, group: BufferGroup) -> u32 {
        self.pools[group.index()].available()
    }

    /// Opens and binds a UDP socket; it receives from the next wait on (the kernel queues from now on).
    ///
    /// `token` is the caller's name for the socket and comes back with everything that happens on it.
    ///
    /// # Errors
    ///
    /// [`RingError::Udp`] with cause and cure, or [`RingError::SocketsExhausted`].
    pub fn open_udp(&mut self, token: u32, options: &UdpOptions, group: BufferGroup) -> Result<SocketId, RingError> {
        if self.sockets.is_full() {
            return Err(RingError::SocketsExhausted { max: self.sockets_max });
        }
        let socket = match udp::open(options) {
            // The port may be held by a socket we closed a moment ago, whose receive the kernel has yet to let go.
            Err(error) if error.is_in_use() => {
                self.let_go()?;
                udp::open(options)?
            }
            opened => opened?,
        };
        if group == BufferGroup::Signalling {
            udp::receive_errors(&socket, options)?;
        }
        let local = socket.local_addr().ok().and_then(|local| local.as_socket()).unwrap_or(options.addr);
        let id = self.sockets.insert(Entry {
            socket: Some(socket),
            token,
            group,
            local,
            dual_stack: local.is_ipv6() && !options.v6_only,
            role: if options.tell_destination { Role::Many } else { Role::Port },
            open: true,
            armed: false,
            starved: false,
            in_flight: 0,
            failures: 0,
            reports: 0,
        });
        self.to_arm.push(id.index);
        Ok(id)
    }

    /// The address the socket is bound to, with the port the kernel chose; `None` when it is closed.
    pub fn local_addr(&self, socket: SocketId) -> Option<SocketAddr> {
        self.sockets.peek(socket).map(|entry| entry.local)
    }

    /// The socket's descriptor, for options that this crate does not know; `None` when it is closed. Reading from it would
    /// take what the ring waits for.
    pub fn descriptor(&self, socket: SocketId) -> Option<BorrowedFd<'_>> {
        self.sockets.peek(socket).and_then(|entry| entry.socket.as_ref()).map(AsFd::as_fd)
    }

    /// Closes a socket: what it still receives is dropped, sends queued before are tried, its id is dead at once.
    ///
    /// The port is free after the next wait, and for `open_udp` of this ring at once. Closing twice does nothing.
    pub fn close_udp(&mut self, socket: SocketId) {
        let Some(entry) = self.sockets.open(socket) else {
            return;
        };
        entry.open = false;
        if entry.in_flight == 0 {
            self.sockets.release_if_done(socket.index);
        } else {
            self.to_cancel.push(socket.index);
        }
    }

    /// Queues a copy of `bytes` to go out with the next wait.
    ///
    /// # Errors
    ///
    /// [`SendError`]; nothing was queued then. A failure in the kernel comes back as [`Completion::SendFailed`].
    pub fn send(&mut self, socket: SocketId, to: SocketAddr, bytes: &[u8]) -> Result<(), SendError> {
        let wire = self.wire_address(socket, to)?;
        if bytes.len() > self.sends.slot_bytes().min(DATAGRAM_BYTES_MAX) {
            return Err(SendError::TooLong);
        }
        let Some(slot) = self.sends.copy(socket.index, to, wire, bytes) else {
            return Err(SendError::SlotsExhausted);
        };
        if !self.queue_send(slot) {
            self.sends.withdraw(slot);
            return Err(SendError::QueueFull);
        }
        Ok(())
    }

    /// Queues a received buffer, changed or not, to go out with the next wait, without copying it.
    ///
    /// Its memory goes back to its group when the send has completed.
    ///
    /// # Errors
    ///
    /// [`Unsent`] gives the buffer back with the reason.
    pub fn send_buffer(&mut self, socket: SocketId, to: SocketAddr, buffer: Buffer) -> Result<(), Unsent> {
        let wire = match self.wire_address(socket, to) {
            Ok(wire) => wire,
            Err(error) => return Err(Unsent { buffer, error }),
        };
        let slot = match self.sends.lend(socket.index, to, wire, buffer) {
            Ok(slot) => slot,
            Err(buffer) => {
                let error = SendError::SlotsExhausted;
                return Err(Unsent { buffer, error });
            }
        };
        if self.queue_send(slot) {
            return Ok(());
        }
        match self.sends.withdraw(slot) {
            Some(buffer) => Err(Unsent { buffer, error: SendError::QueueFull }),
            None => Ok(()),
        }
    }

    /// Submits all that is queued and waits until something completes or `timeout` has passed; `None` waits for ever,
    /// zero does not wait. One system call.
    ///
    /// May return early and with nothing for [`Ring::next`]: a send that had to wait and signals end a wait as well. It does
    /// not sleep while completions are left from the wait before.
    ///
    /// # Errors
    ///
    /// [`RingError::Enter`] when the kernel refuses, which leaves the ring unusable.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<(), RingError> {
        self.queue_housekeeping();
        let idle = self.pending.is_empty() && self.io.completion().is_empty();
        let sleep = idle && timeout != Some(Duration::ZERO) && self.sleeper.may_sleep();
        let entered = if sleep { self.enter_and_sleep(timeout) } else { self.enter_and_poll() };
        if self.sleeper.awake() {
            self.stats.wakes += 1;
            self.pending.push_back(Completion::Wake);
        }
        self.close_cancelled();
        entered
    }

    /// Looks for a wake for up to `most` without sleeping; true when one is due, which the next wait then delivers at once.
    ///
    /// For a thread that has just asked another one for something short: to be put to sleep and got up again takes longer than
    /// the answer. Datagrams wait meanwhile, and so do those that are to be sent.
    pub fn look_for_wake(&self, most: Duration) -> bool {
        self.sleeper.look(most)
    }

    /// The next completion of the last wait, `None` when all are taken. Take all before waiting again.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator would borrow the ring, which the handling of each completion needs"
    )]
    pub fn next(&mut self) -> Option<Completion> {
        loop {
            if let Some(completion) = self.pending.pop_front() {
                return Some(completion);
            }
            let Some(entry) = self.io.completion().next() else {
                self.settle_sends();
                return None;
            };
            let index = entry.user_data() as u32;
            let completion = match entry.user_data() >> KIND_SHIFT {
                RECEIVE => self.handle_receive(index, &entry),
                SEND => {
                    let generation = (entry.user_data() >> 32) as u32 & GENERATION_MASK;
                    self.handle_send(index, generation, entry.result())
                }
                CANCEL => self.handle_cancel(&entry),
                _ => {
                    self.in_flight -= 1;
                    self.sleeper_armed = false;
                    None
                }
            };
            if completion.is_some() {
                return completion;
            }
        }
    }
}
