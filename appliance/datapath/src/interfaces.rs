//! Interfaces, as the network namespace of the calling thread knows them.

use std::fs;

use rustix::net::netdevice::{index_to_name, name_to_index};
use rustix::net::{AddressFamily, SocketType, socket};

use crate::memory;

/// `IFF_UP`.
const UP: u16 = 1;

/// Number of an interface.
pub(crate) fn index_of(interface: &str) -> Option<u32> {
    name_to_index(any_socket()?, interface).ok()
}

/// The name that interface number `index` has now.
pub(crate) fn name_of(index: u32) -> Option<String> {
    index_to_name(any_socket()?, index).ok().map(|name| name.to_string())
}

/// Its MTU.
pub(crate) fn mtu_of(interface: &str) -> Option<u32> {
    memory::interface_mtu(&any_socket()?, interface)
}

/// Whether it is switched on.
pub(crate) fn is_up(interface: &str) -> bool {
    any_socket().and_then(|socket| memory::interface_flags(&socket, interface)).is_some_and(|flags| flags & UP != 0)
}

/// The kernel answers questions about interfaces through sockets of any kind.
fn any_socket() -> Option<rustix::fd::OwnedFd> {
    socket(AddressFamily::INET, SocketType::DGRAM, None).ok()
}

/// VLANs on `interface`: number of the VLAN's own interface, and of the VLAN.
pub(crate) fn vlans_on(interface: &str) -> Vec<(u32, u32)> {
    // "eth0.42        | 42  | eth0", after two lines of titles; the file is missing without the kernel's VLAN module.
    let table = fs::read_to_string("/proc/thread-self/net/vlan/config").unwrap_or_default();
    table.lines().skip(2).filter_map(|line| vlan(line, interface)).collect()
}

fn vlan(line: &str, interface: &str) -> Option<(u32, u32)> {
    let mut fields = line.split('|').map(str::trim);
    let (name, id, parent) = (fields.next()?, fields.next()?, fields.next()?);
    if parent != interface {
        return None;
    }
    Some((index_of(name)?, id.parse().ok()?))
}
