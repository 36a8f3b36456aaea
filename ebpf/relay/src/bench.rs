//! Programs for measuring only, in an object of their own: the relay fed with its own output, and what it is compared to.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod datapath;
mod events;
mod frame;
mod hop;
mod maps;

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_TX};
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::Array;
use aya_ebpf::programs::XdpContext;
use tandem_forward::Packet;

use crate::frame::RawFrame;

/// Where the chain of sessions begins: its sequence number is the next one from here on, so that every session of the
/// chain sees a stream in order.
const CHAIN_BEGINS: u16 = 10_000;

/// The relay on a frame that the kernel hands back changed: the hop that the relay took is given back, and once around
/// the chain of sessions the sequence number and the timestamp step on.
#[xdp]
pub fn relay(ctx: XdpContext) -> u32 {
    let mut packet = RawFrame::new(&ctx);
    if packet.holds(54) {
        let [ttl, protocol, high, low] = packet.u32(22).to_ne_bytes();
        if ttl < 64 {
            // The step of one in the high byte of its word, taken off the complement sum.
            let sum = u32::from(u16::from_be_bytes([high, low])) + 0xfeff;
            let [high, low] = (((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes();
            packet.put_u32(22, u32::from_ne_bytes([ttl.wrapping_add(1), protocol, high, low]));
        }
        if packet.u16(36) == CHAIN_BEGINS.to_be() {
            let (old, old_time) = (packet.u32(42), packet.u32(46));
            let [first, second, high, low] = old.to_ne_bytes();
            let [high, low] = u16::from_be_bytes([high, low]).wrapping_add(1).to_be_bytes();
            let (new, time) =
                (u32::from_ne_bytes([first, second, high, low]), u32::from_be(old_time).wrapping_add(160).to_be());
            packet.put_u32(42, new);
            packet.put_u32(46, time);
            let sum = u64::from(!old) + u64::from(new) + u64::from(!old_time) + u64::from(time);
            let mut sum = sum + u64::from(!packet.u16(40));
            // Three times, for any carry.
            sum = (sum & 0xffff) + (sum >> 16);
            sum = (sum & 0xffff) + (sum >> 16);
            sum = (sum & 0xffff) + (sum >> 16);
            let check = !(sum as u16);
            packet.put_u16(40, if check == 0 { 0xffff } else { check });
        }
    }
    datapath::relay(&ctx)
}

/// The least that sends: what everything is compared to.
#[xdp]
pub fn bare(_ctx: XdpContext) -> u32 {
    XDP_TX
}

/// Sends back what comes, link-layer addresses exchanged: the reflector that the relay is compared to across a wire.
#[xdp]
pub fn reflect(ctx: XdpContext) -> u32 {
    let mut packet = RawFrame::new(&ctx);
    if !packet.holds(14) {
        return XDP_TX;
    }
    let (a, b, c) = (packet.u32(0), packet.u32(4), packet.u32(8));
    packet.put_u32(0, b >> 16 | c << 16);
    packet.put_u32(4, c >> 16 | a << 16);
    packet.put_u32(8, a >> 16 | b << 16);
    XDP_TX
}

/// What [`generate`] sends, and how far it is. All is of one CPU.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Generator {
    /// Sessions: every second port from [`CHAIN_BEGINS`] on.
    pub sessions: u32,
    /// Session of the next packet.
    pub at: u32,
    /// Packets of this round so far; after `sessions` of them the next sequence number begins.
    pub sent: u32,
    /// Sequence number.
    pub seq: u32,
    /// Sum of all that the UDP checksum covers and that does not change, not complemented.
    pub sum: u32,
    /// The Ethernet header, then the IPv4 header.
    pub head: [u32; 8],
    /// Bytes of the UDP datagram.
    pub len: u32,
}

/// From one session to the next: coprime to the usual numbers of sessions, so that no prefetcher foresees it.
const STRIDE: u32 = 7_919;

#[map]
pub static GENERATOR: Array<Generator> = Array::with_max_entries(1, 0);

/// Packets that came back.
#[map]
pub static SUNK: Array<u64> = Array::with_max_entries(1, 0);

/// The next packet of some session, over whatever is in the frame.
#[xdp]
pub fn generate(ctx: XdpContext) -> u32 {
    let Some(state) = GENERATOR.get_ptr_mut(0) else { return XDP_DROP };
    // SAFETY: entries of arrays never go away, and one CPU runs this.
    let state = unsafe { &mut *state };
    let mut packet = RawFrame::new(&ctx);
    if !packet.holds(54) {
        return XDP_DROP;
    }
    let mut at = 0;
    while at < 8 {
        packet.put_u32(4 * at, state.head[at]);
        at += 1;
    }
    // The end of the IPv4 header and the UDP header begin in the middle of a word: source and destination are fixed.
    let port = (CHAIN_BEGINS as u32 + 2 * state.at) as u16;
    let (seq, time) = (state.seq as u16, state.seq.wrapping_mul(160));
    packet.put_u16(32, u16::from_ne_bytes([1, 100]));
    packet.put_u16(34, 4_000u16.to_be());
    packet.put_u16(36, port.to_be());
    packet.put_u16(38, (state.len as u16).to_be());
    packet.put_u32(42, u32::from_ne_bytes([0x80, 8, (seq >> 8) as u8, seq as u8]));
    packet.put_u32(46, time.to_be());
    packet.put_u32(50, 7u32.to_be());
    let sum = state.sum + port as u32 + seq as u32 + (time >> 16) + (time & 0xffff);
    let sum = (sum & 0xffff) + (sum >> 16);
    let check = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet.put_u16(40, if check == 0 { 0xffff } else { check.to_be() });
    state.at += STRIDE;
    // A remainder, so that one session is served as well.
    state.at = if state.sessions == 0 { 0 } else { state.at % state.sessions };
    state.sent += 1;
    if state.sent >= state.sessions {
        state.sent = 0;
        state.seq += 1;
    }
    XDP_TX
}

/// Counts what comes back: IPv4, for the stack says a word over IPv6 now and then.
#[xdp]
pub fn sink(ctx: XdpContext) -> u32 {
    let packet = RawFrame::new(&ctx);
    if packet.holds(14)
        && packet.u16(12) == 0x0800u16.to_be()
        && let Some(count) = SUNK.get_ptr_mut(0) {
        // SAFETY: as above.
        unsafe { *count += 1 };
    }
    XDP_DROP
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // Never reached: the verifier refuses a program that could come here.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
