//! The fast path from user space: loads the XDP relay, keeps it and its maps pinned, writes flows, reads counters and
//! events. It decides nothing about calls and knows none; [`tandem_media::flow::FlowCommand`] is all it obeys.
//!
//! ```no_run
//! use tandem_datapath::{Options, open};
//!
//! let options = Options::new("n1", "target/ebpf/relay.o".into(), &["eth0"], &["192.0.2.1".parse().unwrap()], 10_000..=39_999);
//! let opened = open(&options);
//! opened.notices.iter().for_each(|notice| println!("{notice}"));
//! if let Some(datapath) = opened.datapath {
//!     // `datapath.apply(&command)` for every `Output::Flow`, `datapath.poll_events(..)` and `datapath.scan(..)` now and then.
//! }
//! ```
#![deny(unsafe_code)]

mod bpffs;
mod datapath;
mod error;
mod events;
mod flows;
mod interfaces;
#[allow(unsafe_code)]
mod memory;
mod object;
mod options;
mod punts;
mod steer;

pub use datapath::{Datapath, InterfaceStatus, Opened, Simulated, Status, discard, open};
pub use error::Refusal;
pub use events::{Event, drops, punts};
pub use options::{Attached, Mode, Notice, Options};
pub use punts::{PuntOptions, Punts};
pub use steer::{Steering, SteeringOptions};
pub use tandem_ebpf_abi::{EventKind, Totals};
