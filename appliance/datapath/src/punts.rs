//! What the kernel leaves to user space, by one socket a shard instead of one a port: a program for the lookup of sockets, and
//! the table of leases that it reads.
//!
//! Nothing is pinned; it ends with the process, as the sockets of ports do.

use std::fmt;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aya::maps::{Map, MapData, SockMap};
use aya::programs::SkLookup;
use aya::{Ebpf, EbpfError, EbpfLoader};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use tandem_ebpf_abi::{FlowKey, Lease};

use crate::error::Refusal;
use crate::memory::{self, Shared};
use crate::object::{chain, errno, kernel, locals_of, missing, read, refused};

/// The program in the object.
const PROGRAM: &str = "punts";

/// The half of an entry that user space writes: the first four bytes.
const OWNER: u64 = u32::MAX as u64;
const _: () = assert!(cfg!(target_endian = "little") && std::mem::offset_of!(Lease, owner) == 0);

/// Which datagrams to direct.
#[derive(Clone, Debug)]
pub struct PuntOptions {
    /// The object file (`cargo xtask ebpf` makes `target/ebpf/punts.o`).
    pub object: PathBuf,
    /// The media addresses in the order of their slots.
    pub addresses: Vec<IpAddr>,
    /// The media ports.
    pub ports: RangeInclusive<u16>,
    /// Shards, each with a socket for IPv4 and one for IPv6.
    pub shards: u8,
}

/// The program, attached to the network namespace of the thread that made it. Every thread may use it; one has a lease.
pub struct Punts {
    sockets: Mutex<SockMap<MapData>>,
    leases: Shared<Lease>,
    first: u16,
    ports: usize,
    slots: usize,
    // What is too much of one port goes there, and is dropped in silence.
    _unread: Vec<UdpSocket>,
    // The program is attached as long as this is there.
    _ebpf: Ebpf,
}

impl fmt::Debug for Punts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Punts").field("first", &self.first).field("ports", &self.ports).finish_non_exhaustive()
    }
}

impl Punts {
    /// Loads the program and attaches it. Nothing is directed before [`Punts::join`] and [`Punts::lease`].
    ///
    /// # Errors
    /// Why it cannot be; every port then has a socket of its own.
    pub fn attach(options: &PuntOptions) -> Result<Punts, Refusal> {
        let path = &options.object;
        let object = read(path)?;
        let locals = locals_of(&options.addresses, &options.ports)?;
        let (ports, slots) = (options.ports.len(), options.addresses.len());
        let entries = ports * slots;
        let mut loader = EbpfLoader::new();
        loader.override_global("LOCALS", memory::bytes_of(&locals), true);
        loader.map_max_entries("SOCKETS", 2 * (u32::from(options.shards) + 1));
        loader.map_max_entries("LEASES", entries as u32);
        let mut ebpf = loader.load(&object).map_err(|error| refused(error, path))?;
        let leases = ebpf.map("LEASES").ok_or_else(|| missing(path, "the map LEASES"))?;
        let Map::Array(leases) = leases else { return Err(missing(path, "an array LEASES")) };
        let leases = Shared::new(leases.fd().as_fd(), entries).map_err(|error| kernel("mapping the leases", &error))?;
        let sockets = ebpf.take_map("SOCKETS").ok_or_else(|| missing(path, "the map SOCKETS"))?;
        let mut sockets = SockMap::try_from(sockets).map_err(|error| kernel("opening the map SOCKETS", &error))?;
        let mut unread = Vec::new();
        for (index, v6) in [(0, false), (1, true)] {
            if options.addresses.iter().any(|address| address.is_ipv6() == v6) {
                let socket = nobodys(v6).map_err(|error| kernel("opening a socket for what floods a port", &error))?;
                sockets.set(index, &socket, 0).map_err(|error| not_directed(None, &error))?;
                unread.push(socket);
            }
        }
        attach(&mut ebpf, path)?;
        let first = *options.ports.start();
        Ok(Punts { sockets: Mutex::new(sockets), leases, first, ports, slots, _unread: unread, _ebpf: ebpf })
    }

    /// Gives the program the sockets of a shard, instead of earlier ones: bound to whatever port, opened to be told where a
    /// datagram was sent.
    ///
    /// # Errors
    /// What the kernel did not take.
    pub fn join(&self, shard: u8, v4: Option<BorrowedFd<'_>>, v6: Option<BorrowedFd<'_>>) -> Result<(), Refusal> {
        let mut sockets = self.sockets();
        for (index, socket) in [(0, v4), (1, v6)] {
            let Some(socket) = socket else { continue };
            let index = 2 * (u32::from(shard) + 1) + index;
            sockets.set(index, &socket, 0).map_err(|error| not_directed(Some(shard), &error))?;
        }
        Ok(())
    }

    /// From now on what comes to the port goes to this shard; false for a port that is none of ours. Words in shared memory,
    /// no system call.
    pub fn lease(&self, key: FlowKey, shard: u8) -> bool {
        let Some(word) = self.word(key) else { return false };
        // The other half is the program's.
        word.fetch_and(!OWNER, Ordering::Relaxed);
        word.fetch_or(u64::from(shard) + 1, Ordering::Release);
        true
    }

    /// The port is nobody's.
    pub fn release(&self, key: FlowKey) {
        if let Some(word) = self.word(key) {
            word.fetch_and(!OWNER, Ordering::Release);
        }
    }

    /// The entry of a port.
    fn word(&self, key: FlowKey) -> Option<&AtomicU64> {
        let offset = usize::from(key.port.checked_sub(self.first)?);
        if offset >= self.ports || usize::from(key.slot) >= self.slots {
            return None;
        }
        self.leases.entry(usize::from(key.slot) * self.ports + offset).first()
    }

    fn sockets(&self) -> MutexGuard<'_, SockMap<MapData>> {
        // Nothing in here is left half-changed by a panic.
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket without a reader and with next to no room.
fn nobodys(v6: bool) -> io::Result<UdpSocket> {
    let loopback = if v6 { IpAddr::from(Ipv6Addr::LOCALHOST) } else { IpAddr::from(Ipv4Addr::LOCALHOST) };
    let socket = UdpSocket::bind((loopback, 0))?;
    // The kernel makes the least of it that it allows.
    set_socket_recv_buffer_size(&socket, 1)?;
    Ok(socket)
}

fn not_directed(shard: Option<u8>, error: &(dyn std::error::Error + 'static)) -> Refusal {
    match errno(error) {
        Some(libc::EPERM) => Refusal::NoCapability { what: "directing datagrams to a socket" },
        _ => Refusal::NotDirected { shard, error: chain(error) },
    }
}

fn attach(ebpf: &mut Ebpf, path: &Path) -> Result<(), Refusal> {
    let program = ebpf.program_mut(PROGRAM).ok_or_else(|| missing(path, "the program"))?;
    let program: &mut SkLookup =
        program.try_into().map_err(|_| missing(path, "a program for the lookup of sockets"))?;
    program.load().map_err(|error| refused(EbpfError::ProgramError(error), path))?;
    // Of the thread: tests have several namespaces in one process.
    let here = File::open("/proc/thread-self/ns/net").map_err(|e| kernel("opening the network namespace", &e))?;
    program.attach(here).map_err(|error| match errno(&error) {
        Some(libc::EPERM) => Refusal::NoCapability { what: "attaching a program to the network namespace" },
        _ => kernel("attaching a program to the network namespace", &error),
    })?;
    Ok(())
}
