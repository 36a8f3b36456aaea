//! The object that gives every SIP datagram to the shard of its call: one program, attached to the sockets of a listener.
//!
//! It chooses, it never refuses: whatever it cannot place goes where the kernel's hash of the flow sends it.
#![no_std]
#![no_main]

use core::num::NonZero;
use core::ptr::{addr_of, addr_of_mut, read_volatile, write_volatile};

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::sk_action::SK_PASS;
use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use aya_ebpf::macros::{map, sk_reuseport};
use aya_ebpf::maps::{PerCpuArray, ReusePortSockArray};
use aya_ebpf::programs::SkReuseportContext;
use tandem_home::{LOOK_MAX, PLACES, Text, home};

/// The header of UDP, which the kernel shows first.
const UDP_HEADER: usize = 8;

/// The socket of each shard, by its number; the loader sets how many there are.
#[map]
static SOCKETS: ReusePortSockArray = ReusePortSockArray::with_max_entries(1, 0);

/// A copy of the datagram's beginning, one for each processor: nothing interrupts the choice of a socket to make another.
#[map]
static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// The key of the hash, in two halves, and the number of shards; constant once loaded.
#[unsafe(no_mangle)]
static STEERING: [u64; 3] = [0; 3];

#[repr(C)]
struct Scratch {
    bytes: [u8; PLACES + 8],
    len: u64,
    settled: u64,
}

/// Chooses the socket of the shard that owns the datagram.
#[sk_reuseport]
pub fn steer(ctx: SkReuseportContext) -> u32 {
    if let Some(shard) = owner(&ctx) {
        // A shard that has no socket here just now: the hash of the flow chooses one, and that shard hands over.
        let _ = SOCKETS.select_reuseport(&ctx, shard);
    }
    SK_PASS
}

#[inline(always)]
fn owner(ctx: &SkReuseportContext) -> Option<u32> {
    // SAFETY: constants of the program.
    let [low, high, shards] = unsafe { read_volatile(addr_of!(STEERING)) };
    let shards = NonZero::new(shards)?;
    let mut text = Beginning::of(ctx)?;
    home(&mut text, shards, (low, high))
}

/// The beginning of the datagram in the scratch memory.
struct Beginning(*mut Scratch);

impl Beginning {
    #[inline(always)]
    fn of(ctx: &SkReuseportContext) -> Option<Beginning> {
        let scratch = SCRATCH.get_ptr_mut(0)?;
        let len = ctx.len().wrapping_sub(UDP_HEADER).min(LOOK_MAX);
        // SAFETY: the memory is this processor's own; the verifier proves the length.
        let copied = unsafe {
            write_volatile(addr_of_mut!((*scratch).len), len as u64);
            // Read back, so that the next comparisons are made with what is handed to the kernel.
            let len = read_volatile(addr_of!((*scratch).len));
            if len == 0 || len > LOOK_MAX as u64 {
                return None;
            }
            bpf_skb_load_bytes(ctx.as_ptr(), UDP_HEADER as u32, addr_of_mut!((*scratch).bytes).cast(), len as u32)
        };
        (copied == 0).then_some(Beginning(scratch))
    }
}

// SAFETY of all accesses below: within the scratch memory, which the verifier proves by the mask. Volatile keeps the compiler
// from splitting a word into bytes, and from knowing what was written.
impl Text for Beginning {
    #[inline(always)]
    fn len(&self) -> usize {
        // SAFETY: as above.
        unsafe { read_volatile(addr_of!((*self.0).len)) as usize }
    }

    #[inline(always)]
    fn word(&self, at: usize) -> u64 {
        // SAFETY: as above.
        unsafe { read_volatile(addr_of!((*self.0).bytes).cast::<u8>().add(at & (PLACES - 1)).cast::<u64>()) }
    }

    #[inline(always)]
    fn settle(&mut self, number: usize) -> usize {
        // SAFETY: as above.
        unsafe {
            write_volatile(addr_of_mut!((*self.0).settled), number as u64);
            read_volatile(addr_of!((*self.0).settled)) as usize
        }
    }
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // Never reached: the verifier refuses a program that could come here.
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
