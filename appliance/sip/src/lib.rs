//! RFC 3261 as a function of bytes and time: one [`Endpoint`] per shard turns datagrams into leg events and orders of the
//! call room into datagrams.
//!
//! It keeps transactions, dialogs and timers. It opens no socket, reads no clock, starts no thread, knows nothing of
//! calls, routing or media, and never looks into a session description beyond the address a trace shows.

#![forbid(unsafe_code)]

pub mod carry;
pub mod config;
pub mod endpoint;
pub mod header;
pub mod message;
pub mod method;
pub mod mint;
pub mod scan;
pub mod summary;

pub mod timer;
pub mod transaction;
pub mod uri;
pub mod write;

mod compose;
mod dialog;
mod find;
mod leg;
mod relay;
mod session;
mod transactions;
mod uac;
mod uas;

pub use carry::{CarriedDialog, CarryError};
pub use config::{Config, Limits, Listener, ResendError, ResendSchedule};
pub use endpoint::{Counts, Endpoint, OrderError, Output};
pub use mint::{home_of_call_id, home_shard};
pub use summary::{MessageKind, MessageSummary, Outcome, Received};
