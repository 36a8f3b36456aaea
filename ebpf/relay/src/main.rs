//! The object that the switch loads: one XDP program.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod datapath;
mod events;
mod frame;
mod hop;
mod maps;

use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;

/// Relays what belongs to an established stream; everything else goes to the stack.
#[xdp]
pub fn relay(ctx: XdpContext) -> u32 {
    datapath::relay(&ctx)
}

/// Lets everything pass. For the far end of a veth pair: the kernel transmits into a veth by XDP only when the peer has a
/// program of its own.
#[xdp]
pub fn pass(_ctx: XdpContext) -> u32 {
    aya_ebpf::bindings::xdp_action::XDP_PASS
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // Never reached: the verifier refuses a program that could come here.
    loop {}
}

/// Read by the loader before it loads anything.
#[unsafe(link_section = "layout")]
#[unsafe(no_mangle)]
static LAYOUT: [u8; tandem_ebpf_abi::ABI_TEXT.len()] = tandem_ebpf_abi::ABI_TEXT;

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
