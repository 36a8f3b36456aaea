//! UDP sockets: opened with socket2, every option set before the ring sees the descriptor.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, Socket, Type};

/// How to open a UDP socket.
#[derive(Clone, Copy, Debug)]
pub struct UdpOptions {
    /// Address and port to bind; port 0 lets the kernel choose.
    pub addr: SocketAddr,
    /// Share the port with other sockets of this user (`SO_REUSEPORT`), one per shard. A second process of the same
    /// user then binds without an error as well: call [`bind_exclusive_check`] once before the first shard binds.
    pub reuse_port: bool,
    /// The whole TOS or traffic-class byte of what is sent: DSCP in the upper six bits (0xB8 is EF, 0x60 is CS3).
    pub tos: u8,
    /// Receive buffer in bytes, 0 for the system's default. Without CAP_NET_ADMIN the kernel cuts it silently at
    /// `net.core.rmem_max`. Too small: bursts are dropped by the kernel before anybody sees them.
    pub recv_buffer: usize,
    /// Send buffer in bytes, 0 for the system's default; cut at `net.core.wmem_max` likewise.
    pub send_buffer: usize,
    /// For an IPv6 address: do not take IPv4 peers. Without it `[::]` talks IPv4 too, and IPv4 peers show as IPv4.
    pub v6_only: bool,
    /// Bind an address no interface has yet (`IP_FREEBIND`), for addresses that move between machines.
    pub free_bind: bool,
    /// Have the kernel tell the address each datagram was sent to ([`Buffer::destination`](crate::Buffer::destination)):
    /// for a socket to which a program directs those of other ports.
    pub tell_destination: bool,
}

impl UdpOptions {
    /// Plain exclusive socket on `addr` with the system's buffers and no marking.
    pub fn new(addr: SocketAddr) -> UdpOptions {
        UdpOptions {
            addr,
            reuse_port: false,
            tos: 0,
            recv_buffer: 0,
            send_buffer: 0,
            v6_only: true,
            free_bind: false,
            tell_destination: false,
        }
    }
}

/// Why a socket could not be opened, with the likely cause and a cure.
#[derive(Debug, thiserror::Error)]
pub enum UdpError {
    /// Another socket holds the port.
    #[error(
        "cannot bind UDP {addr}: the port is in use by another socket; see who holds it with \
         `ss -lunp 'sport = :{}'` and stop it, or choose another port",
        addr.port()
    )]
    InUse {
        /// What was asked for.
        addr: SocketAddr,
    },
    /// A port that needs a privilege.
    #[error(
        "cannot bind UDP {addr}: no privilege for port {}; grant CAP_NET_BIND_SERVICE \
         (`setcap cap_net_bind_service=+ep tandemd`), or `sysctl net.ipv4.ip_unprivileged_port_start={}`, \
         or choose a port from 1024",
        addr.port(), addr.port()
    )]
    NoPrivilege {
        /// What was asked for.
        addr: SocketAddr,
    },
    /// No interface has the address.
    #[error(
        "cannot bind UDP {addr}: no interface of this host has {}; see `ip address`, add it with \
         `ip address add {}/{} dev IFACE`, or set free_bind if it arrives later",
        addr.ip(), addr.ip(), if addr.is_ipv4() { 32 } else { 128 }
    )]
    NotLocal {
        /// What was asked for.
        addr: SocketAddr,
    },
    /// No more descriptors.
    #[error(
        "cannot open UDP {addr}: the limit of open files is reached; raise it \
         (`ulimit -n`, LimitNOFILE= of the service, fs.file-max) above the number of media ports"
    )]
    Descriptors {
        /// What was asked for.
        addr: SocketAddr,
    },
    /// The kernel has no such family.
    #[error(
        "cannot open UDP {addr}: this kernel has no {}; enable it (`sysctl net.ipv6.conf.all.disable_ipv6`) \
         or configure the other family",
        if addr.is_ipv4() { "IPv4" } else { "IPv6" }
    )]
    NoFamily {
        /// What was asked for.
        addr: SocketAddr,
    },
    /// Anything else, with the step that failed.
    #[error("cannot open UDP {addr}: {step}: {source}")]
    Other {
        /// What was asked for.
        addr: SocketAddr,
        /// The option or call.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

impl UdpError {
    fn from_step(addr: SocketAddr, step: &'static str, source: io::Error) -> UdpError {
        match source.raw_os_error() {
            Some(libc::EADDRINUSE) => UdpError::InUse { addr },
            Some(libc::EACCES) if step == BIND && addr.port() != 0 => UdpError::NoPrivilege { addr },
            Some(libc::EADDRNOTAVAIL) => UdpError::NotLocal { addr },
            Some(libc::EMFILE | libc::ENFILE) => UdpError::Descriptors { addr },
            Some(libc::EAFNOSUPPORT) => UdpError::NoFamily { addr },
            _ => UdpError::Other { addr, step, source },
        }
    }

    /// Whether the port is held by another socket.
    pub fn is_in_use(&self) -> bool {
        matches!(self, UdpError::InUse { .. })
    }
}

const BIND: &str = "bind";

/// Finds out whether anybody holds the port, also when every holder allows sharing it.
///
/// With `SO_REUSEPORT` a second daemon of the same user would bind without an error and silently take a share of the
/// datagrams. A plain bind fails where a shared one would not. The check frees the port before it returns, so a third
/// party can still slip in between: it protects against mistakes, not against malice.
///
/// # Errors
///
/// [`UdpError::InUse`] when the port is held, and whatever else keeps `addr` from being bound.
pub fn bind_exclusive_check(addr: SocketAddr) -> Result<(), UdpError> {
    open(&UdpOptions::new(addr)).map(drop)
}

/// Opens, marks and binds.
pub(crate) fn open(options: &UdpOptions) -> Result<Socket, UdpError> {
    let addr = options.addr;
    let fail = |step| move |source| UdpError::from_step(addr, step, source);

    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP)).map_err(fail("socket"))?;
    if options.reuse_port {
        socket.set_reuse_port(true).map_err(fail("SO_REUSEPORT"))?;
    }
    let dual_stack = addr.is_ipv6() && !options.v6_only;
    if addr.is_ipv6() {
        socket.set_only_v6(options.v6_only).map_err(fail("IPV6_V6ONLY"))?;
    }
    if options.tos != 0 {
        let tos = u32::from(options.tos);
        if addr.is_ipv6() {
            socket.set_tclass_v6(tos).map_err(fail("IPV6_TCLASS"))?;
        }
        if addr.is_ipv4() || dual_stack {
            socket.set_tos_v4(tos).map_err(fail("IP_TOS"))?;
        }
    }
    if options.recv_buffer != 0 && !force_buffer(&socket, libc::SO_RCVBUFFORCE, options.recv_buffer) {
        socket.set_recv_buffer_size(options.recv_buffer).map_err(fail("SO_RCVBUF"))?;
    }
    if options.send_buffer != 0 && !force_buffer(&socket, libc::SO_SNDBUFFORCE, options.send_buffer) {
        socket.set_send_buffer_size(options.send_buffer).map_err(fail("SO_SNDBUF"))?;
    }
    if options.free_bind {
        if addr.is_ipv6() {
            socket.set_freebind_v6(true).map_err(fail("IPV6_FREEBIND"))?;
        } else {
            socket.set_freebind_v4(true).map_err(fail("IP_FREEBIND"))?;
        }
    }
    if options.tell_destination {
        if addr.is_ipv6() {
            set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVORIGDSTADDR, 1)
                .map_err(fail("IPV6_RECVORIGDSTADDR"))?;
        }
        if addr.is_ipv4() || dual_stack {
            set_option(&socket, libc::IPPROTO_IP, libc::IP_RECVORIGDSTADDR, 1).map_err(fail("IP_RECVORIGDSTADDR"))?;
        }
    }
    socket.bind(&addr.into()).map_err(fail(BIND))?;
    Ok(socket)
}

/// Asks for ICMP errors by the error queue; without it an unconnected socket never hears of them.
pub(crate) fn receive_errors(socket: &Socket, options: &UdpOptions) -> Result<(), UdpError> {
    let fail = |step| move |source| UdpError::from_step(options.addr, step, source);
    let v6 = options.addr.is_ipv6();
    if v6 {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVERR, 1).map_err(fail("IPV6_RECVERR"))?;
    }
    if !v6 || !options.v6_only {
        set_option(socket, libc::IPPROTO_IP, libc::IP_RECVERR, 1).map_err(fail("IP_RECVERR"))?;
    }
    Ok(())
}

/// Sets a buffer size past the system's maximum, which takes CAP_NET_ADMIN; false when that is missing.
pub(crate) fn force_buffer(socket: &Socket, option: libc::c_int, bytes: usize) -> bool {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    set_option(socket, libc::SOL_SOCKET, option, bytes).is_ok()
}

pub(crate) fn set_option(
    socket: &Socket,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the descriptor is open and the value is a C int on this stack frame, passed with its own size.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
