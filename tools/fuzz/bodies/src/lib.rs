//! What each fuzz target does with a piece of hostile input, as plain functions.
//!
//! libFuzzer calls them on nightly (`cargo xtask fuzz`); the replay test calls them on stable with every checked-in
//! input. A body panics where a promise is broken: nothing from outside may panic the switch, make it lose count, or be
//! read in two ways. It reads no clock and no randomness: the same bytes always do the same.

#![forbid(unsafe_code)]

pub mod config;
pub mod deck_csv;
pub mod journal;
pub mod json_rpc;
pub mod rtp;
pub mod sdp;
pub mod sip_endpoint;
pub mod sip_headers;
pub mod sip_rsip;
pub mod sip_scan;

/// One target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of the target, of its file in `fuzz_targets` and of its folder in `corpus`.
    pub name: &'static str,
    /// What it does with the bytes; panics where a promise is broken.
    pub run: fn(&[u8]),
    /// Inputs kept elsewhere that it takes as well, from the root of the repository.
    pub shared: Option<&'static str>,
}

/// The messages of RFC 4475, as the SIP room's tests have them.
const TORTURE: Option<&str> = Some("appliance/sip/tests/rfc4475/messages");

/// Every target.
pub const TARGETS: [Target; 10] = [
    Target { name: "config", run: config::run, shared: None },
    Target { name: "deck_csv", run: deck_csv::run, shared: None },
    Target { name: "journal", run: journal::run, shared: None },
    Target { name: "json_rpc", run: json_rpc::run, shared: None },
    Target { name: "rtp", run: rtp::run, shared: None },
    Target { name: "sdp", run: sdp::run, shared: None },
    Target { name: "sip_endpoint", run: sip_endpoint::run, shared: TORTURE },
    Target { name: "sip_headers", run: sip_headers::run, shared: TORTURE },
    Target { name: "sip_rsip", run: sip_rsip::run, shared: TORTURE },
    Target { name: "sip_scan", run: sip_scan::run, shared: TORTURE },
];

/// Modules of the daemon that live in its binary and so cannot be imported. They are included as they are.
#[path = "../../../../appliance/src"]
#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    reason = "they are the daemon's, which uses and documents them its way"
)]
mod daemon {
    pub(crate) mod config;
    pub(crate) mod limits;
    pub(crate) mod params;
    pub(crate) mod site;
}

/// The places where those modules look for each other.
use daemon::{limits, params, site};
