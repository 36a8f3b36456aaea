//! The real daemon, the real command line and real SIPp on loopback.
//!
//! Every test has addresses and a folder of its own, so they run beside each other. A test waits for what it expects and
//! fails at a deadline far beyond it; nothing is proven by the passing of time.

mod accounts;
mod admission;
mod agents;
mod answered;
mod cards;
mod changes;
mod changes_under_load;
#[allow(dead_code, unused_imports, reason = "the tests of faults share it and use another part")]
#[path = "../common/mod.rs"]
mod common;
mod configuration;
mod hostile;
mod load;
mod media_billing;
mod operation;
mod packages;
mod proof;
mod rates;
mod restart;
mod unanswered;
