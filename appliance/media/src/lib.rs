//! SDP, ports, latching and relay decisions: everything about the media of a call that can be computed.
//!
//! Opens no socket and reads no clock; packets, descriptions and times come in, flow commands, packets and events come
//! out. It does not mix, transcode or play anything.
#![forbid(unsafe_code)]

pub mod flow;
pub mod offer_answer;
pub mod sdp;

pub use flow::FlowCommand;
pub use offer_answer::{LegSdp, LocalMedia, Produced, PtMap, RtcpMode};
pub use sdp::{MediaDescription, Sdp, SdpError};
