//! What the kernel and user space say to each other about relayed flows: key, value, counters and the closed lists of
//! reasons. Plain `#[repr(C)]` memory and nothing else: no parsing, no decisions (those are `tandem-forward`), no map
//! handling (that is the loader's).
//!
//! Integers are in host byte order; addresses keep the order of the wire (see [`IpWords`]). Sizes, alignment and the
//! absence of padding are asserted at compile time, because the two sides are compiled by different compilers.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod counters;
mod datapath;
mod flow;
mod hot;
mod reason;

pub use counters::{DROP_SLOTS, FlowCounters};
pub use datapath::{
    ABI_MARK, ABI_TEXT, ABI_VERSION, Device, EVENT_PAYLOAD_MAX, EventCopy, EventHead, EventKind, Hop, LEASE_SEEN_MAX,
    LEASE_SPAN_SHIFT, Layout, Lease, Locals, Port, SLOTS_MAX, TOTAL_SLOTS, TOTALS_WORDS, Totals,
};
pub use flow::{
    Endpoint, FLAG_DTMF_COPY, FLAG_EARLY, FLAG_ON_HOLD, FLAG_RELATCH_OPEN, FLAG_RTCP_DROP, FLAG_RTCP_PAIR,
    FLAG_SOURCE_FIXED, FLAG_SSRC_PINNED, FlowKey, FlowValue, IpWords, PT_REWRITES_MAX, PtRewrite,
};
pub use hot::{CLOCK_STEP_HZ, Express, Hot, Pulse, offset_of_place, place_of};
pub use reason::{DROP_REASONS, DropReason, PUNT_REASONS, PuntReason, REMOVE_REASONS, RemoveReason};
