//! Stories of the endpoint on virtual time; each ends with nothing left.

mod calls;
mod cancel;
mod carry;
mod network;
mod refusals;
mod session;
mod shards;
mod support;
