//! RFC 3261 as a function of bytes and time

#![forbid(unsafe_code)]

pub mod header;
pub mod message;
pub mod method;
pub mod scan;
pub mod uri;
pub mod write;
