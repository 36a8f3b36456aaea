//! The frame as the kernel shows it: two pointers. Every access is a whole word at a constant distance from the first
//! one, behind a comparison with the second; that is what the verifier can follow, and what costs one instruction.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::programs::XdpContext;
use tandem_forward::Packet;

pub struct RawFrame {
    data: usize,
    end: usize,
}

impl RawFrame {
    #[inline(always)]
    pub fn new(ctx: &XdpContext) -> RawFrame {
        RawFrame { data: ctx.data(), end: ctx.data_end() }
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
        unsafe { read_volatile((self.data + at) as *const u8) }
    }

    #[inline(always)]
    fn u16(&self, at: usize) -> u16 {
        unsafe { read_volatile((self.data + at) as *const u16) }
    }

    #[inline(always)]
    fn u32(&self, at: usize) -> u32 {
        unsafe { read_volatile((self.data + at) as *const u32) }
    }

    #[inline(always)]
    fn put_u16(&mut self, at: usize, word: u16) {
        unsafe { write_volatile((self.data + at) as *mut u16, word) }
    }

    #[inline(always)]
    fn put_u32(&mut self, at: usize, word: u32) {
        unsafe { write_volatile((self.data + at) as *mut u32, word) }
    }
}
