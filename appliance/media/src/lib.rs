//! SDP, ports, latching and relay decisions: everything about the media of a call that can be computed.
//!
//! Opens no socket and reads no clock; packets, descriptions and times come in, flow commands, packets and events come
//! out. It does not mix, transcode or play anything.
#![forbid(unsafe_code)]

pub mod anchor;
pub mod decide;
pub mod flow;
pub mod latch;
pub mod offer_answer;
pub mod pool;
pub mod ports;
pub mod relay;
pub mod rtcp;
pub mod rtp;
pub mod rules;
pub mod sdp;
pub mod stats;

pub use anchor::{Anchor, MediaEvent, PacketOut, ProhibitedAddress, ResumedSide, Side, SideSetup};
pub use flow::FlowCommand;
pub use offer_answer::{LegSdp, LocalMedia, Produced, PtMap, RtcpMode};
pub use pool::PortPool;
pub use ports::{PortCounts, Ports};
pub use relay::{RelayVerdict, UserRelay};
pub use rules::{AnchorRules, IpNet};
pub use sdp::{MediaDescription, Sdp, SdpError};
pub use stats::LegMedia;
