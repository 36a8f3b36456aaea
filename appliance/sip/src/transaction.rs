//! The four transaction machines of RFC 3261 17 with RFC 6026.
//!
//! A machine knows states and timers, no bytes: what it says is carried out by [`crate::transactions`].

pub mod client;
pub mod client_invite;
pub mod server;
pub mod server_invite;
