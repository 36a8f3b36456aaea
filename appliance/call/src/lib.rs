//! Back-to-back calls and routing, without any protocol: leg events, answers of the rating thread, media packets and time
//! come in; orders to legs, questions, flow commands and finished calls come out.
//!
//! It opens no socket, reads no clock, knows no SIP, counts no money and keeps no lines: balances, reservations and lines
//! live on the rating thread, which is asked.
#![forbid(unsafe_code)]

pub mod failover;
pub mod identify;
pub mod lists;
pub mod number;
pub mod question;
pub mod replace;
pub mod route;
pub mod settings;
pub mod snapshot;
pub mod weights;
