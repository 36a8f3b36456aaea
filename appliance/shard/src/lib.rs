//! One shard without its thread: the SIP room, the call room and the relay, joined.
//!
//! The daemon gives it a ring and a clock, ladders and the simulator a virtual network and a virtual clock; what happens
//! between a datagram in and a datagram out is the same code. It opens no socket, knows no thread and asks the owner of
//! money by values that somebody else carries.

#![forbid(unsafe_code)]

mod byes;
mod carry;
mod core;

pub use crate::carry::{Carry, home_of};
pub use crate::core::{Config, Core, FastPath, MediaPacket, Output};

pub use tandem_ebpf_abi::FlowKey;
