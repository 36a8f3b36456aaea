//! The frame as the kernel shows it: two pointers. Every access is a whole word at a constant distance from the first
//! one, behind a comparison with the second; that is what the verifier can follow, and what costs one instruction.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{bpf_csum_diff, bpf_xdp_load_bytes};
use aya_ebpf::programs::XdpContext;
use tandem_forward::Packet;

use crate::maps::{SCRATCH, SCRATCH_WORDS};

/// Most bytes the kernel sums in one call before 6.13.
const SUM_MAX: u32 = 512;

pub struct RawFrame {
    data: usize,
    end: usize,
    ctx: *mut xdp_md,
}

impl RawFrame {
    #[inline(always)]
    pub fn new(ctx: &XdpContext) -> RawFrame {
        RawFrame { data: ctx.data(), end: ctx.data_end(), ctx: ctx.ctx }
    }
}

// SAFETY of all accesses below: the verifier proves for every one of them that it lies between the two pointers, or
// refuses the program. Words may stand at odd halves of a word; the kernels that run this (x86-64, arm64) load them so.
// Volatile keeps the compiler from splitting a word into bytes and from moving it before the comparison.
impl Packet for RawFrame {
    #[inline(always)]
    fn len(&self) -> usize {
        self.end - self.data
    }

    #[inline(always)]
    fn holds(&self, end: usize) -> bool {
        self.data + end <= self.end
    }

    #[inline(always)]
    fn u8(&self, at: usize) -> u8 {
        // SAFETY: as above.
        unsafe { read_volatile((self.data + at) as *const u8) }
    }

    #[inline(always)]
    fn u16(&self, at: usize) -> u16 {
        // SAFETY: as above.
        unsafe { read_volatile((self.data + at) as *const u16) }
    }

    #[inline(always)]
    fn u32(&self, at: usize) -> u32 {
        // SAFETY: as above.
        unsafe { read_volatile((self.data + at) as *const u32) }
    }

    #[inline(always)]
    fn sum(&self, at: usize, len: u32) -> Option<u32> {
        match sum(self.ctx, at as u32, len) {
            u64::MAX => None,
            sum => Some(sum as u32),
        }
    }

    #[inline(always)]
    fn put_u16(&mut self, at: usize, word: u16) {
        // SAFETY: as above.
        unsafe { write_volatile((self.data + at) as *mut u16, word) }
    }

    #[inline(always)]
    fn put_u32(&mut self, at: usize, word: u32) {
        // SAFETY: as above.
        unsafe { write_volatile((self.data + at) as *mut u32, word) }
    }
}

/// The sum of `len` bytes from `at` on; all ones when they are too many or not there. A function of its own, whose result
/// is one number.
#[inline(never)]
fn sum(ctx: *mut xdp_md, at: u32, len: u32) -> u64 {
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else { return u64::MAX };
    let last = (len >> 2) as usize;
    if len == 0 || last >= SCRATCH_WORDS {
        return u64::MAX;
    }
    let padded = (len + 3) & !3;
    // SAFETY: the buffer is this CPU's, and both lengths lie within it, which the verifier proves.
    unsafe {
        let words: *mut u32 = scratch.cast();
        // An odd end is filled with zeros.
        words.add(last).write(0);
        if bpf_xdp_load_bytes(ctx, at, words.cast(), len) != 0 {
            return u64::MAX;
        }
        let none = core::ptr::null_mut();
        let part = if padded > SUM_MAX { SUM_MAX } else { padded };
        let mut sum = bpf_csum_diff(none, 0, words, part, 0);
        let mut done = SUM_MAX;
        while done < 4 * SCRATCH_WORDS as u32 {
            if padded <= done {
                break;
            }
            let rest = padded - done;
            let part = if rest > SUM_MAX { SUM_MAX } else { rest };
            sum = bpf_csum_diff(none, 0, words.add(done as usize / 4), part, sum as u32);
            done += SUM_MAX;
        }
        if sum < 0 { u64::MAX } else { sum as u64 & 0xffff_ffff }
    }
}
