//! Forwarding of relayed RTP and RTCP as pure functions: parse, verdict, rewrite, count. The same code runs in the XDP
//! program, in the user-space relay and in the fuzzer, so that all three do the same with the same packet.
//!
//! It owns no memory, reads no clock and decides nothing about calls: what may be forwarded is in the
//! [`tandem_ebpf_abi::FlowValue`] that somebody else wrote. No allocation, no panics, no unbounded loops.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod checksum;
pub mod clock;
pub mod express;
pub mod frame;
pub mod packet;
pub mod rtp;
pub mod verdict;

pub use clock::Clock;
pub use packet::Packet;
pub use rtp::{Head, PacketClass, classify};
pub use tandem_ebpf_abi as abi;
pub use verdict::{Counted, Verdict, count, count_head, rewrite_payload, verdict, verdict_head};
