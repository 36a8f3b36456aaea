//! Back-to-back calls and routing, without any protocol: leg events, answers of the rating thread, media packets and time
//! come in; orders to legs, questions, flow commands and finished calls come out.
//!
//! It opens no socket, reads no clock, knows no SIP, counts no money and keeps no lines: balances, reservations and lines
//! live on the rating thread, which is asked.
#![forbid(unsafe_code)]

mod attempt;
pub mod calendar;
mod call;
pub mod calls;
pub mod carry;
mod ending;
pub mod failover;
mod flow_no;
mod guard;
pub mod identify;
mod intake;
pub mod lists;
mod media;
pub mod number;
pub mod output;
pub mod price;
pub mod question;
mod rank;
pub mod replace;
pub mod route;
mod session;
pub mod settings;
pub mod silence;
pub mod snapshot;
pub mod trace;
mod view;
pub mod weights;

pub use call::CallState;
pub use calls::{Calls, CallsConfig, Counts, MediaAddress, MediaConfig, MediaSend};
pub use flow_no::{FLOW_NO_MAX, FlowNumbers};
pub use output::{Finish, Output};
pub use view::CallView;
