//! The seeded simulator: the real switch among many customers and vendors, on a virtual network, a virtual clock and a
//! disk that forgets, killed at any step and started again; and an auditor that recomputes everything from the wire.
//!
//! One `u64` fixes a run. It opens no socket and reads no clock; its journal and database are real files in a folder of
//! its own that is removed afterwards.

#![forbid(unsafe_code)]

pub mod actor;
pub mod audit;
pub mod bill;
pub mod bug;
pub mod civil;
pub mod disk;
pub mod fuse;
pub mod hash;
pub mod machine;
pub mod office;
pub mod plan;
pub mod price;
pub mod rent;
pub mod run;
pub mod setup;
pub mod term;
pub mod trade;
pub mod world;
