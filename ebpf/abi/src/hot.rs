//! The two cache lines of a port that a packet of an established stream touches, side by side and apart from all else:
//! what to do with it, and what it changes.

use core::mem::{align_of, offset_of, size_of};

use crate::datapath::Hop;

/// Clock rates in [`Express`] are multiples of this, Hz: all rates of audio, and 90,000, fit into 16 bits.
pub const CLOCK_STEP_HZ: u32 = 25;

/// The short form of a [`crate::FlowValue`] whose packets need nothing special: IPv4 to IPv4, latched, not on hold, no
/// payload type to change. Made by `tandem-forward`, so that the short form and the long one mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Express {
    /// Expected source address, the word of the wire.
    pub source_ip: u32,
    /// Expected source port, in the order of the wire.
    pub source_port: u16,
    /// ToS byte of what leaves, without its ECN bits.
    pub tos: u8,
    /// Payload type of telephone-event; 255 for none. It goes the long way.
    pub dtmf_pt: u8,
    /// Source address of what leaves.
    pub out_source_ip: u32,
    /// Destination of what leaves.
    pub out_dest_ip: u32,
    /// Both ports of what leaves, as they stand in the UDP header.
    pub out_ports: u32,
    /// Time between two packets at the rate of the policer, units of `tandem-forward`; 0 for no limit.
    pub policer_interval: u32,
    /// Packets that may come at once.
    pub policer_burst: u16,
    /// RTP clock in units of [`CLOCK_STEP_HZ`]; 0 when unknown.
    pub clock: u16,
    /// Version of the flow; 0 when it has no short form. Written last.
    pub version: u32,
}

/// The part of [`crate::FlowCounters`] that every RTP packet changes. In the kernel program these are the valid ones;
/// `tandem-forward` joins them with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Pulse {
    /// RTP packets accepted.
    pub packets: u64,
    /// Their UDP payload bytes.
    pub bytes_payload: u64,
    /// Arrival of the last one, microseconds.
    pub last_us: u64,
    /// Which of the 64 sequence numbers up to the highest arrived.
    pub seq_window: u64,
    /// When the policer's bucket will be full again, in its own unit.
    pub policer_due: u64,
    /// Arrival of the packet that was stamped last for the jitter, microseconds; 0 = none.
    pub jitter_at_us: u64,
    /// Its RTP timestamp.
    pub rtp_timestamp: u32,
    /// Highest sequence number, extended.
    pub seq_highest: u32,
    /// SSRC of the last packet, the word of the wire.
    pub ssrc: u32,
    /// Payload type of the last packet that may go the short way, plus 128; 0 for none.
    pub payload_type: u8,
    /// Always 0.
    pub reserved: [u8; 3],
}

/// Both, and the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C, align(128))]
pub struct Hot {
    /// What to do. Written by user space, `version` last.
    pub express: Express,
    /// Where it leaves. Written by the program, made void by user space before a new flow begins.
    pub hop: Hop,
    /// What was done. Written by the program, set to zero by user space before a new flow begins.
    pub pulse: Pulse,
}

/// Place of a port in the tables of one address: even ports (RTP) first, odd ones (RTCP) behind them, so that what is
/// used most lies together. `offset` counts from the first port, which is below `ports`.
#[inline(always)]
pub const fn place_of(offset: u32, ports: u32) -> u32 {
    let half = (ports + 1) >> 1;
    (offset >> 1) + if offset & 1 == 0 { 0 } else { half }
}

/// The other way round: which port lies at `place`.
pub const fn offset_of_place(place: u32, ports: u32) -> u32 {
    let half = (ports + 1) >> 1;
    if place < half { place << 1 } else { ((place - half) << 1) | 1 }
}

const _: () = {
    assert!(size_of::<Express>() == 32 && offset_of!(Express, version) == 28);
    assert!(size_of::<Pulse>() == 64 && offset_of!(Pulse, ssrc) == 56);
    assert!(size_of::<Hot>() == 128 && align_of::<Hot>() == 128);
    assert!(offset_of!(Hot, hop) == 32 && offset_of!(Hot, pulse) == 64);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_has_its_place() {
        for ports in [1, 2, 7, 30_000] {
            let mut places: std::vec::Vec<u32> = (0..ports).map(|offset| place_of(offset, ports)).collect();
            for (offset, place) in (0..ports).zip(&places) {
                assert_eq!(offset_of_place(*place, ports), offset);
            }
            places.sort_unstable();
            assert_eq!(places, (0..ports).collect::<std::vec::Vec<u32>>());
        }
    }
}
