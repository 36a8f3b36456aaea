//! What breaks under a running switch, and what must hold all the same: crashes, disks, a damaged database, a stopped
//! process, floods, too much media, no more ports.
//!
//! The daemon is the real one. Calls come from SIPp where it can make them, else from a scripted [`peer`]. Nothing is
//! proven by the passing of time: a test waits for what it expects, and compares counts.

#[allow(dead_code, unused_imports, reason = "the end-to-end tests share it and use another part")]
#[path = "../common/mod.rs"]
mod common;

mod books;
mod cdr_output;
mod cdr_queries;
mod crash;
mod database;
mod disk;
mod flood;
mod goes_on;
mod machine;
mod media;
mod pause;
mod peer;
mod ports;
