//! Parse, verdict and rewrite of relayed packets
