//! Requests and replies between `tandem` and `tandemd`: the types, the error codes and the framing.
//!
//! One JSON-RPC 2.0 object a line. [`Request`] carries a [`Call`], one variant a verb; every verb's parameters name their
//! reply by [`Verb::Reply`], so that neither side can mix them up. Money is always a decimal string.
//!
//! It will not: open a socket, read a clock, know a call, a rate or an account. Whoever reads and writes the bytes owns
//! the socket and gives the bytes to [`Splitter`].

#![forbid(unsafe_code)]

pub mod cdr_names;
pub mod error;
pub mod fields;
pub mod frame;
pub mod reply;
pub mod request;
pub mod rpc;
pub mod socket;
pub mod value;
pub mod when;

pub use error::{ErrorCode, ErrorData, ErrorObject, ExitCode};
pub use frame::{FRAME_MAX, FrameError, Splitter, encode};
pub use request::{Call, METHODS, Verb};
pub use rpc::{Id, Refused, Request, Response};
pub use value::{Amount, CallId, ConfirmWithin, Limit, nearest};
pub use when::When;
