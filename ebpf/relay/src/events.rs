//! What user space wants to hear of at once, through the ring. Rare, so these are functions of their own, with a stack of
//! their own: the hot path keeps its registers.

use aya_ebpf::helpers::generated::bpf_xdp_load_bytes;
use aya_ebpf::programs::XdpContext;
use tandem_ebpf_abi::{EVENT_PAYLOAD_MAX, EventCopy, EventHead, EventKind, IpWords};

use crate::maps::{EVENTS, TOTALS};

/// What an event is about, in one register.
#[derive(Clone, Copy)]
pub struct Subject(u64);

impl Subject {
    #[inline(always)]
    pub fn new(kind: EventKind, slot: u8, port: u16, version: u32) -> Subject {
        Subject(kind as u64 | (slot as u64) << 8 | (port as u64) << 16 | (version as u64) << 32)
    }

    #[inline(always)]
    fn head(self, at_us: u64, ssrc: u32) -> EventHead {
        EventHead {
            at_us,
            source_ip: IpWords::UNSPECIFIED,
            source_port: 0,
            port: (self.0 >> 16) as u16,
            slot: (self.0 >> 8) as u8,
            kind: self.0 as u8,
            len: 0,
            ssrc,
            version: (self.0 >> 32) as u32,
        }
    }
}

/// Tells it. The source is that of the flow.
#[inline(never)]
pub fn tell(subject: Subject, at_us: u64, ssrc: u32) {
    tell_from(subject, at_us, ssrc, IpWords::UNSPECIFIED, 0);
}

/// Tells it with its source.
#[inline(always)]
pub fn tell_from(subject: Subject, at_us: u64, ssrc: u32, source_ip: IpWords, source_port: u16) {
    match EVENTS.reserve::<EventHead>(0) {
        Some(mut entry) => {
            entry.write(EventHead { source_ip, source_port, ..subject.head(at_us, ssrc) });
            entry.submit(0);
        }
        None => lost(),
    }
}

/// Tells it together with the payload, `len` bytes from `at` on.
#[inline(never)]
pub fn copy(ctx: &XdpContext, subject: Subject, at_us: u64, at: u32, len: u32) {
    let Some(mut entry) = EVENTS.reserve::<EventCopy>(0) else { return lost() };
    let record = entry.as_mut_ptr();
    let len = if len > EVENT_PAYLOAD_MAX as u32 { EVENT_PAYLOAD_MAX as u32 } else { len };
    // SAFETY: the record is ours until it is submitted; the verifier proves the length.
    let copied = unsafe {
        (*record).head = EventHead { len: len as u16, ..subject.head(at_us, 0) };
        if len == 0 { -1 } else { bpf_xdp_load_bytes(ctx.ctx, at, (&raw mut (*record).payload).cast(), len) }
    };
    if copied == 0 {
        entry.submit(0);
    } else {
        entry.discard(0);
        lost();
    }
}

#[inline(always)]
fn lost() {
    if let Some(totals) = TOTALS.get_ptr_mut(0) {
        // SAFETY: one set per CPU.
        unsafe { (*totals).events_lost += 1 };
    }
}
