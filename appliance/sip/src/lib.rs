//! RFC 3261 as a function of bytes and time
