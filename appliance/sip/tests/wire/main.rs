//! The wire files of the room: what is taken from the network, what is given to it.
//!
//! `torture` follows the ideas of RFC 4475, `carrier` what trunks really send, `round_trip` and `mutation` are
//! properties with a printed seed, `differential` compares with the `rsip` crate where that accepts a message.

mod carrier;
mod corpus;
mod differential;
mod mutation;
mod oracle;
mod round_trip;
mod torture;
