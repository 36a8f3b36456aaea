//! The object that gives the datagrams of leased media ports, as far as the stack gets them, to one socket of the shard that has
//! the lease: one program, attached to the network namespace.
//!
//! It adds receivers and takes none away: a port without a lease is looked up as if the program were not there.
#![no_std]
#![no_main]

use core::ptr::{addr_of, addr_of_mut, read_volatile, write_volatile};

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::bindings::sk_action::SK_PASS;
use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use aya_ebpf::macros::{map, sk_lookup};
use aya_ebpf::maps::{Array, SockMap};
use aya_ebpf::programs::SkLookupContext;
use tandem_ebpf_abi::{LEASE_SEEN_MAX, LEASE_SPAN_SHIFT, Lease, Locals, SLOTS_MAX};

const UDP: u32 = 17;
const AF_INET: u32 = 2;

/// A socket that nobody reads, for IPv4 and for IPv6, then the same for each shard; the loader sets how many there are.
#[map]
static SOCKETS: SockMap = SockMap::with_max_entries(1, 0);

/// Whose each port is.
#[map]
static LEASES: Array<Lease> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The local media addresses; constant once loaded.
#[unsafe(no_mangle)]
static LOCALS: Locals = Locals {
    count: 0,
    first_port: 0,
    ports: 0,
    verify_udp: 0,
    v4: [0; SLOTS_MAX],
    v6: [tandem_ebpf_abi::IpWords::UNSPECIFIED; SLOTS_MAX],
};

/// Chooses the socket of the shard.
#[sk_lookup]
pub fn punts(ctx: SkLookupContext) -> u32 {
    if let Some(socket) = socket_of(&ctx) {
        // Without the socket, for a shard that is just beginning, nobody gets it.
        let _ = SOCKETS.redirect_sk_lookup(&ctx, socket, 0);
    }
    SK_PASS
}

#[inline(always)]
fn socket_of(ctx: &SkLookupContext) -> Option<u32> {
    let look = ctx.lookup;
    // SAFETY: fields of the context and constants of the loaded program.
    let (protocol, family, port) = unsafe {
        (
            read_volatile(addr_of!((*look).protocol)),
            read_volatile(addr_of!((*look).family)),
            read_volatile(addr_of!((*look).local_port)),
        )
    };
    // SAFETY: as above.
    let (count, first, ports) = unsafe {
        (
            read_volatile(addr_of!(LOCALS.count)),
            read_volatile(addr_of!(LOCALS.first_port)),
            read_volatile(addr_of!(LOCALS.ports)),
        )
    };
    let offset = port.wrapping_sub(first);
    if protocol != UDP || offset >= ports {
        return None;
    }
    let slot = slot_of(ctx, family == AF_INET, count)?;
    let place = slot * ports + offset;
    let lease = LEASES.get_ptr_mut(place)?;
    // SAFETY: an entry of an array never goes away; user space writes this word, and no other.
    let owner = unsafe { read_volatile(addr_of!((*lease).owner)) };
    if owner == 0 {
        return None;
    }
    let whose = if is_flooded(lease) { 0 } else { owner };
    Some(2 * whose + u32::from(family != AF_INET))
}

/// Counts a datagram of a port: too many of them, and the queue that all ports share would be full of one port's.
#[inline(always)]
fn is_flooded(lease: *mut Lease) -> bool {
    // SAFETY: a helper without arguments; only this program writes the word, and what two processors count at the same time
    // may be one too few.
    unsafe {
        let span = (bpf_ktime_get_coarse_ns() >> LEASE_SPAN_SHIFT) as u32;
        let seen = read_volatile(addr_of!((*lease).seen));
        let (next, flooded) = match seen {
            seen if seen >> 8 != span & 0x00ff_ffff => (span << 8 | 1, false),
            seen if seen & 0xff >= LEASE_SEEN_MAX => (seen, true),
            seen => (seen + 1, false),
        };
        if !flooded {
            write_volatile(addr_of_mut!((*lease).seen), next);
        }
        flooded
    }
}

/// Number of the media address, if it is one.
#[inline(always)]
fn slot_of(ctx: &SkLookupContext, v4: bool, count: u32) -> Option<u32> {
    let look = ctx.lookup;
    if v4 {
        // SAFETY: as above.
        let ip = unsafe { read_volatile(addr_of!((*look).local_ip4)) };
        // SAFETY: as above.
        return (0..SLOTS_MAX as u32)
            .find(|slot| *slot < count && unsafe { read_volatile(addr_of!(LOCALS.v4[*slot as usize])) } == ip);
    }
    // SAFETY: as above.
    let ip = unsafe {
        [
            read_volatile(addr_of!((*look).local_ip6[0])),
            read_volatile(addr_of!((*look).local_ip6[1])),
            read_volatile(addr_of!((*look).local_ip6[2])),
            read_volatile(addr_of!((*look).local_ip6[3])),
        ]
    };
    let mut slot = 0;
    while slot < SLOTS_MAX {
        // SAFETY: as above.
        let same = unsafe {
            read_volatile(addr_of!(LOCALS.v6[slot].0[0])) == ip[0]
                && read_volatile(addr_of!(LOCALS.v6[slot].0[1])) == ip[1]
                && read_volatile(addr_of!(LOCALS.v6[slot].0[2])) == ip[2]
                && read_volatile(addr_of!(LOCALS.v6[slot].0[3])) == ip[3]
        };
        if same && (slot as u32) < count {
            return Some(slot as u32);
        }
        slot += 1;
    }
    None
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // Never reached: the verifier refuses a program that could come here.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
