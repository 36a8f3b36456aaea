//! `cargo xtask sim`.

#![forbid(unsafe_code)]

fn main() {}
