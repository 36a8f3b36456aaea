//! The error queue of a UDP socket: which of our datagrams came back as an ICMP error (ip(7), `IP_RECVERR`).

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::RawFd;

use crate::address;

/// ICMP destination unreachable and parameter problem (RFC 792); code 4 of the former is "fragmentation needed".
const ICMP_UNREACHABLE: u8 = 3;
const ICMP_PARAMETER_PROBLEM: u8 = 12;
const ICMP_FRAGMENTATION_NEEDED: u8 = 4;
/// The same for ICMPv6 (RFC 4443 §3.1, §3.4).
const ICMP6_UNREACHABLE: u8 = 1;
const ICMP6_PARAMETER_PROBLEM: u8 = 4;

/// One entry of the queue.
pub(crate) enum Report {
    /// The datagram to this address will not arrive.
    Unreachable { to: SocketAddr, errno: i32 },
    /// An ICMP error that is no verdict on the peer: time exceeded, fragmentation needed.
    ///
    /// RFC 3261 §18.4: "Source quench and TTL exceeded ICMP errors SHOULD be ignored."
    Ignored,
    /// An error of our own host, which the send that met it reports as well.
    Local,
}

/// Takes the oldest entry of the queue; `None` when it is empty or cannot be read.
pub(crate) fn take(fd: RawFd) -> Option<Report> {
    let mut name = [0u8; address::ADDRESS_BYTES];
    // Room for one `sock_extended_err` with the offender's address (16 + 44 bytes), aligned as control data must be.
    let mut control = [0u64; 16];

    loop {
        // SAFETY: zero is a valid value of every field of this plain C struct.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_name = name.as_mut_ptr().cast();
        header.msg_namelen = name.len() as u32;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = mem::size_of_val(&control) as _;
        // SAFETY: the header points to local arrays with their true lengths; no payload is asked for.
        let read = unsafe { libc::recvmsg(fd, &mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
        if read < 0 {
            if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return None;
        }
        // SAFETY: the header was filled by the successful recvmsg above and its control array is still alive.
        let error = unsafe { extended_error(&header) };
        let named = (header.msg_namelen as usize).min(name.len());
        return Some(match (error, address::decode(&name[..named])) {
            (Some(error), Some(to)) if unreachable(&error) => Report::Unreachable { to, errno: error.ee_errno as i32 },
            (Some(error), _) if error.ee_origin == libc::SO_EE_ORIGIN_LOCAL => Report::Local,
            _ => Report::Ignored,
        });
    }
}

fn unreachable(error: &libc::sock_extended_err) -> bool {
    match error.ee_origin {
        libc::SO_EE_ORIGIN_ICMP => match error.ee_type {
            ICMP_UNREACHABLE => error.ee_code != ICMP_FRAGMENTATION_NEEDED,
            ICMP_PARAMETER_PROBLEM => true,
            _ => false,
        },
        libc::SO_EE_ORIGIN_ICMP6 => {
            matches!(error.ee_type, ICMP6_UNREACHABLE | ICMP6_PARAMETER_PROBLEM)
        }
        _ => false,
    }
}

/// # Safety
///
/// `header` must have been filled by a successful `recvmsg` and its control memory must be alive.
unsafe fn extended_error(header: &libc::msghdr) -> Option<libc::sock_extended_err> {
    // SAFETY: the CMSG macros walk the control memory within the length the kernel wrote to the header; the data of a
    // message of at least that length is read unaligned.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            let kind = ((*message).cmsg_level, (*message).cmsg_type);
            let wanted =
                kind == (libc::IPPROTO_IP, libc::IP_RECVERR) || kind == (libc::IPPROTO_IPV6, libc::IPV6_RECVERR);
            let needed = libc::CMSG_LEN(size_of::<libc::sock_extended_err>() as u32) as usize;
            if wanted && (*message).cmsg_len as usize >= needed {
                return Some(libc::CMSG_DATA(message).cast::<libc::sock_extended_err>().read_unaligned());
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    None
}

/// Whether `errno` is one an ICMP error can have left on a socket (the kernel's `icmp_err_convert` and its IPv6 twin).
pub(crate) fn may_be_icmp(errno: i32) -> bool {
    matches!(
        errno,
        libc::ECONNREFUSED
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::ENOPROTOOPT
            | libc::EOPNOTSUPP
            | libc::EMSGSIZE
            | libc::EPROTO
            | libc::EACCES
    )
}
