//! The switch with its relay in the kernel: the real daemon between two parties in network namespaces (`tools/netns`),
//! native XDP on veth. Needs root and `cargo xtask ebpf`; without them each test says `skipped:` and why, and with
//! `TANDEM_XDP_REQUIRED=1` that is a failure.

#[allow(dead_code, unused_imports, reason = "the end-to-end tests share it and use another part")]
#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code, reason = "the fault tests share it and use another part")]
#[path = "../faults/peer.rs"]
mod peer;

mod addresses;
mod calls;
mod fallback;
mod faults;
mod interfaces;
mod many;
mod paths;
mod scene;
mod sockets;
mod streams;
