//! Checksums finished by the sender, and packets taken together: what `ethtool -K LINK tx off` and `gro on` do, without
//! that program.

use std::io;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use rustix::net::{AddressFamily, SocketType, socket};

/// `ETHTOOL_STXCSUM` of the kernel: "set TX checksum offload".
const SET_TX_CHECKSUM: u32 = 0x17;
/// `ETHTOOL_SGRO`: "set GRO enable".
const SET_GRO: u32 = 0x2c;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Switches the offload of checksums off on an interface of this thread's namespace.
pub(crate) fn checksums_off(link: &str) -> Result<()> {
    set(link, SET_TX_CHECKSUM, 0).with_context(|| format!("checksum offload of {link}"))
}

/// Switches GRO on for an interface of this thread's namespace.
pub(crate) fn gro_on(link: &str) -> Result<()> {
    set(link, SET_GRO, 1).with_context(|| format!("GRO of {link}"))
}

fn set(link: &str, command: u32, data: u32) -> Result<()> {
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None).context("no socket")?;
    let mut value = Value { command, data };
    // SAFETY: all zero is a request about an interface without a name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    ensure!(link.len() < request.ifr_name.len(), "{link} is no name of an interface");
    for (to, byte) in request.ifr_name.iter_mut().zip(link.bytes()) {
        *to = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request reads the name and the value behind the pointer, which lives until after the call.
    let result = unsafe { libc::ioctl(any.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error().into()) }
}
