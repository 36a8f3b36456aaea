//! The I/O of one shard: one thread, one io_uring, many UDP sockets, one place to wait.
//!
//! [`Ring`] receives with multishot `recvmsg` into provided buffers, sends in batches, wakes on an eventfd that other
//! threads hold ([`Waker`]), and hands everything over as one [`Completion`] after another. It knows sockets and bytes;
//! it will not look into a datagram, keep a timer, log, or choose an address. The caller names its sockets with a token
//! and gets that token back.
//!
//! All `unsafe` of the signalling and media path lives in this crate; callers can `forbid(unsafe_code)`.

mod address;
mod buffers;
mod config;
mod error_queue;
mod memory;
mod probe;
mod raw;
mod ring;
mod sends;
mod sockets;
mod udp;
mod wake;

pub use buffers::Buffer;
pub use config::{BufferGroup, GroupConfig, RingConfig};
pub use probe::{Features, ProbeError, probe};
pub use raw::{RawError, RawOptions};
pub use ring::{Completion, Ring, RingError, Stats};
pub use sends::{SendError, Unsent};
pub use sockets::SocketId;
pub use udp::{UdpError, UdpOptions, bind_exclusive_check};
pub use wake::Waker;
