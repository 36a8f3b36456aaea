//! SDP, ports, latching and relay decisions
