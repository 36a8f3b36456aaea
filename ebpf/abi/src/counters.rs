//! What one flow has carried. Written by the one path that forwards (per CPU in the kernel), read by user space.

use core::mem::{align_of, offset_of, size_of};

use crate::reason::{DROP_REASONS, DropReason};

/// Counters of one direction of one leg: what arrived on one local port. Times in microseconds of the shard's clock.
///
/// Loss is exact under reordering: a gap counts as lost when it opens and is taken back when the late packet fills it
/// (within 64 packets).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(32))]
pub struct FlowCounters {
    /// RTP packets accepted.
    pub packets: u64,
    /// Their UDP payload bytes.
    pub bytes_payload: u64,
    /// Their bytes with IP and UDP headers.
    pub bytes_wire: u64,
    /// Arrival of the last RTP packet; 0 = none.
    pub last_us: u64,
    /// Bit n: which of the 64 sequence numbers up to [`FlowCounters::seq_highest`] arrived.
    pub seq_window: u64,
    /// Highest sequence number, extended by its cycles (RFC 3550 A.1).
    pub seq_highest: u32,
    /// SSRC of the last RTP packet.
    pub ssrc: u32,
    /// Payload types seen, bit `pt % 64` of word `pt / 64`.
    pub pt_seen: [u64; 2],

    /// When the bucket of the policer will be full again, in the policer's own unit; 0 = it was never used.
    pub policer_due: u64,
    /// Always 0.
    pub reserved: u64,
    /// RTP timestamp of the last packet that was stamped for the jitter.
    pub rtp_timestamp: u32,
    /// Interarrival jitter in clock units, times 16 (RFC 3550 A.8).
    pub jitter_scaled: u32,
    /// Largest jitter so far, same unit.
    pub jitter_max_scaled: u32,
    /// Clock the jitter was measured with, Hz.
    pub clock_hz: u32,
    /// Sum of the jitter after each sample, clock units times 16; divided by `jitter_samples` it is the mean.
    pub jitter_sum_scaled: u64,
    /// Packets that counted for the jitter.
    pub jitter_samples: u64,
    /// Arrival of the last packet that was stamped for the jitter; 0 = none.
    pub jitter_at_us: u64,
    /// Arrival of the first RTP packet; 0 = none.
    pub first_us: u64,

    /// Sequence numbers that never arrived.
    pub lost: u64,
    /// Packets that arrived again.
    pub duplicates: u64,
    /// Packets that arrived after a later one.
    pub reordered: u64,
    /// Packets too late to tell a duplicate from a reordered one; some of `lost` may be these.
    pub late: u64,
    /// How often the SSRC changed.
    pub ssrc_changes: u32,
    /// How often the sequence jumped too far to be loss.
    pub seq_jumps: u32,
    /// RTCP packets accepted.
    pub rtcp_packets: u64,
    /// Their UDP payload bytes.
    pub rtcp_bytes: u64,
    /// Arrival of the last RTCP packet; 0 = none.
    pub rtcp_last_us: u64,

    /// Dropped packets by [`DropReason`], modulo 2^32; the places behind the last reason are 0.
    pub drops: [u32; DROP_SLOTS],
}

/// Places for drop reasons: the list may grow this far before the layout of the counters changes.
pub const DROP_SLOTS: usize = 24;

impl FlowCounters {
    /// Nothing seen yet.
    pub const ZERO: FlowCounters = FlowCounters {
        packets: 0,
        bytes_payload: 0,
        bytes_wire: 0,
        first_us: 0,
        last_us: 0,
        seq_window: 0,
        seq_highest: 0,
        ssrc: 0,
        rtp_timestamp: 0,
        jitter_scaled: 0,
        jitter_max_scaled: 0,
        clock_hz: 0,
        jitter_sum_scaled: 0,
        jitter_samples: 0,
        jitter_at_us: 0,
        lost: 0,
        duplicates: 0,
        reordered: 0,
        pt_seen: [0; 2],
        rtcp_packets: 0,
        rtcp_bytes: 0,
        rtcp_last_us: 0,
        policer_due: 0,
        reserved: 0,
        ssrc_changes: 0,
        seq_jumps: 0,
        late: 0,
        drops: [0; DROP_SLOTS],
    };

    /// Counts one dropped packet.
    pub fn drop_packet(&mut self, reason: DropReason) {
        self.drops[reason as usize] = self.drops[reason as usize].wrapping_add(1);
    }

    /// Packets dropped for `reason`.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        u64::from(self.drops[reason as usize])
    }

    /// Packets dropped for any reason.
    pub fn dropped_total(&self) -> u64 {
        let mut total = 0;
        for n in self.drops {
            total += u64::from(n);
        }
        total
    }
}

impl Default for FlowCounters {
    fn default() -> FlowCounters {
        FlowCounters::ZERO
    }
}

const _: () = {
    assert!(align_of::<FlowCounters>() == 32);
    // No padding. One cache line for what every RTP packet changes, one for policer and jitter, one for what is rare;
    // then the drops.
    assert!(offset_of!(FlowCounters, policer_due) == 64);
    assert!(offset_of!(FlowCounters, lost) == 128);
    assert!(offset_of!(FlowCounters, drops) == 192);
    assert!(DROP_REASONS <= DROP_SLOTS);
    assert!(size_of::<FlowCounters>() == 288);
};
