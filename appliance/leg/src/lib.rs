//! The few words that protocols and calls share: legs and what happens on them, end reasons, virtual time,
//! timers, and numbers and addresses as text.
//!
//! A protocol room (SIP, later H.323) turns bytes into [`LegEvent`]s and leg events into bytes; the call room joins two
//! legs and knows no protocol. This crate holds the vocabulary between them and nothing else: no I/O, no clock, no
//! protocol.
#![forbid(unsafe_code)]

pub mod end_reason;
pub mod event;
pub mod q850;
pub mod text;
pub mod time;
pub mod timer;

pub use end_reason::{EndDirection, EndReason, ServerReason};
pub use event::{
    Confirm, Connect, Disconnect, DisconnectCause, Fail, FailCause, Identity, Info, LegEvent, LegId, ListenerId, Party,
    Reason, Redirect, RedirectTarget, Rel100, Ring, Transport, Try, Update, UpdateFailed, UpdateMethod, Updated,
};
pub use time::{Now, Time};
pub use timer::{TimerKey, TimerWheel};
