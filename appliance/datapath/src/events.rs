//! What the kernel program tells at once, and sums over all flows.

use std::net::{IpAddr, SocketAddr};

use tandem_ebpf_abi::{DropReason, EventHead, EventKind, FlowKey, IpWords, PuntReason, TOTALS_WORDS, Totals};

use crate::memory;

/// One event. Times in microseconds of `CLOCK_MONOTONIC`, good to a tick of the kernel (1 to 10 ms).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// When.
    pub at_us: u64,
    /// Which port.
    pub key: FlowKey,
    /// What.
    pub what: EventKind,
    /// Version of the flow; 0 without one.
    pub version: u32,
    /// SSRC, for RTP.
    pub ssrc: u32,
    /// Who sent, for [`EventKind::NoFlow`]; the others come from the source of the flow.
    pub source: Option<SocketAddr>,
    /// The payload as it was forwarded, for the copies; at most [`tandem_ebpf_abi::EVENT_PAYLOAD_MAX`] bytes.
    pub payload: &'a [u8],
}

impl<'a> Event<'a> {
    /// From a record of the ring; `None` when it is no event of this version.
    pub(crate) fn read(record: &'a [u8]) -> Option<Event<'a>> {
        let head: EventHead = memory::from_bytes(record)?;
        let payload = record.get(size_of::<EventHead>()..)?;
        let source = (head.source_ip != IpWords::UNSPECIFIED)
            .then(|| SocketAddr::new(IpAddr::from(head.source_ip), head.source_port));
        Some(Event {
            at_us: head.at_us,
            key: FlowKey::new(head.slot, head.port),
            what: EventKind::from_u8(head.kind)?,
            version: head.version,
            ssrc: head.ssrc,
            source,
            payload: payload.get(..usize::from(head.len))?,
        })
    }
}

/// The sums of all CPUs.
pub(crate) fn sum(per_cpu: &[[u64; TOTALS_WORDS]]) -> Totals {
    let mut words = [0u64; TOTALS_WORDS];
    for cpu in per_cpu {
        for (sum, word) in words.iter_mut().zip(cpu) {
            *sum = sum.wrapping_add(*word);
        }
    }
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let mut totals: Totals = memory::from_bytes(&bytes).unwrap_or_default();
    // These are no sums.
    (totals.tick, totals.clock_us, totals.clock_second, totals.sampled) = (0, 0, 0, [0; 2]);
    totals
}

/// Punts of `totals` with their reasons, for metrics.
pub fn punts(totals: &Totals) -> impl Iterator<Item = (PuntReason, u64)> + '_ {
    PuntReason::ALL.iter().map(|reason| (*reason, totals.punts[*reason as usize]))
}

/// Drops of `totals` with their reasons, for metrics.
pub fn drops(totals: &Totals) -> impl Iterator<Item = (DropReason, u64)> + '_ {
    DropReason::ALL.iter().map(|reason| (*reason, totals.drops[*reason as usize]))
}
