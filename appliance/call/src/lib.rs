//! Back-to-back calls and routing, without any protocol
