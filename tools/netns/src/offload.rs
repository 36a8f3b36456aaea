//! Checksums finished by the sender: what `ethtool -K LINK tx off` does, without that program.

use std::io;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use rustix::net::{AddressFamily, SocketType, socket};

/// `ETHTOOL_STXCSUM` of the kernel: "set TX checksum offload".
const SET_TX_CHECKSUM: u32 = 0x17;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Switches the offload of checksums off on an interface of this thread's namespace.
pub(crate) fn checksums_off(link: &str) -> Result<()> {
    let any = socket(AddressFamily::INET, SocketType::DGRAM, None).context("no socket")?;
    let mut value = Value { command: SET_TX_CHECKSUM, data: 0 };
    // SAFETY: all zero is a request about an interface without a name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    ensure!(link.len() < request.ifr_name.len(), "{link} is no name of an interface");
    for (to, byte) in request.ifr_name.iter_mut().zip(link.bytes()) {
        *to = byte as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request reads the name and the value behind the pointer, which lives until after the call.
    let result = unsafe { libc::ioctl(any.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    ensure!(result == 0, "checksum offload of {link}: {}", io::Error::last_os_error());
    Ok(())
}
