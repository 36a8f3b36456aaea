//! Programs for measuring only, in an object of their own: the relay fed with its own output, and what it is compared to.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod datapath;
mod events;
mod frame;
mod hop;
mod maps;

use aya_ebpf::bindings::xdp_action::XDP_TX;
use aya_ebpf::macros::xdp;
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
            let [first, second, high, low] = packet.u32(42).to_ne_bytes();
            let [high, low] = u16::from_be_bytes([high, low]).wrapping_add(1).to_be_bytes();
            packet.put_u32(42, u32::from_ne_bytes([first, second, high, low]));
            packet.put_u32(46, u32::from_be(packet.u32(46)).wrapping_add(160).to_be());
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

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // Never reached: the verifier refuses a program that could come here.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
