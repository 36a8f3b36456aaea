//! The user-space fast path: a table of flows indexed by local port that judges, rewrites and counts with the same
//! `tandem-forward` code as the XDP program. Pure: the shard owns the sockets and does the sending.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use tandem_ebpf_abi::{DropReason, Endpoint, FlowCounters, FlowValue, PuntReason, RemoveReason};
use tandem_forward::{Verdict, count, rewrite_payload, verdict};

use crate::flow::FlowCommand;

/// What to do with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayVerdict {
    /// Send the (rewritten) payload.
    Send {
        /// Local port to send from: that of the other side.
        from_port: u16,
        /// Local address to send from.
        from_ip: IpAddr,
        /// Destination.
        to: SocketAddr,
        /// User space wants to see this packet too (RTCP reports, DTMF): `Anchor::handle_copy`.
        copy: Option<PuntReason>,
    },
    /// Hand it to `Anchor::handle_packet` with this reason.
    Punt(PuntReason),
    /// Forget it; it is counted.
    Drop(DropReason),
}

struct Entry {
    port: u16,
    value: FlowValue,
    counters: FlowCounters,
}

/// All flows of one shard on one media address.
pub struct UserRelay {
    first: u16,
    /// Position in `entries` plus one, by port; 0 = no flow.
    index: Vec<u32>,
    entries: Vec<Entry>,
    no_flow: u64,
}

/// IP and UDP headers.
fn overhead(ip: IpAddr) -> u32 {
    match ip {
        IpAddr::V4(_) => 28,
        IpAddr::V6(_) => 48,
    }
}

impl UserRelay {
    /// An empty table for the ports of `range`: 4 bytes a port, and 448 bytes for each flow in it.
    pub fn new(range: RangeInclusive<u16>) -> UserRelay {
        UserRelay { first: *range.start(), index: vec![0; range.count()], entries: Vec::new(), no_flow: 0 }
    }

    /// Flows in the table.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True without any flow.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// RTP packets that the flows in the table have accepted.
    pub fn packets(&self) -> u64 {
        self.entries.iter().map(|entry| entry.counters.packets).sum()
    }

    /// Packets that came to a port without a flow.
    pub fn no_flow(&self) -> u64 {
        self.no_flow
    }

    /// Does what `command` says. For a removal the final counters come back with their port and reason.
    pub fn apply(&mut self, command: &FlowCommand) -> Option<(u16, RemoveReason, FlowCounters)> {
        match command {
            FlowCommand::Install { key, value } => {
                self.install(key.port, *value);
                None
            }
            FlowCommand::Remove { key, reason } => {
                let counters = self.remove(key.port)?;
                Some((key.port, *reason, counters))
            }
        }
    }

    /// Writes the flow of `port`; an existing one is replaced and its counters go on. Returns false when the port is
    /// outside the range (our own bug, or two configurations mixed).
    pub fn install(&mut self, port: u16, value: FlowValue) -> bool {
        let Some(slot) = self.slot(port) else {
            debug_assert!(false, "port {port} is outside the range of this table");
            return false;
        };
        match self.index[slot] {
            0 => {
                self.entries.push(Entry { port, value, counters: FlowCounters::ZERO });
                self.index[slot] = self.entries.len() as u32;
            }
            at => self.entries[at as usize - 1].value = value,
        }
        true
    }

    /// Deletes the flow of `port` and returns its counters; `None` when there was none.
    pub fn remove(&mut self, port: u16) -> Option<FlowCounters> {
        let slot = self.slot(port)?;
        let at = (self.index[slot] as usize).checked_sub(1)?;
        self.index[slot] = 0;
        let gone = self.entries.swap_remove(at);
        if let Some(moved) = self.entries.get(at) {
            let moved_slot = usize::from(moved.port - self.first);
            self.index[moved_slot] = at as u32 + 1;
        }
        Some(gone.counters)
    }

    /// Counters of the flow of `port`.
    pub fn counters(&self, port: u16) -> Option<&FlowCounters> {
        let at = (self.index[self.slot(port)?] as usize).checked_sub(1)?;
        Some(&self.entries[at].counters)
    }

    /// Judges one datagram that came to `port` and, when it is sent, rewrites `payload` and counts it. No allocation.
    pub fn handle(&mut self, now_us: u64, port: u16, source: SocketAddr, payload: &mut [u8]) -> RelayVerdict {
        let at = self.slot(port).and_then(|slot| (self.index[slot] as usize).checked_sub(1));
        let Some(at) = at else {
            self.no_flow += 1;
            return RelayVerdict::Punt(PuntReason::NoFlow);
        };
        let Entry { value, counters, .. } = &mut self.entries[at];
        forward(value, counters, Endpoint::from(source), payload, overhead(source.ip()), now_us)
    }

    /// As [`UserRelay::handle`], for a packet that another path of the same flow left to this one. What that path has heard
    /// counts for the judgement: without it a stranger's packet would find every sender silent.
    pub fn handle_beside(
        &mut self,
        now_us: u64,
        port: u16,
        source: SocketAddr,
        payload: &mut [u8],
        beside: &FlowCounters,
    ) -> RelayVerdict {
        let at = self.slot(port).and_then(|slot| (self.index[slot] as usize).checked_sub(1));
        if let Some(Entry { value, counters, .. }) = at.map(|at| &mut self.entries[at])
            && beside.packets > 0
        {
            let mut both = *counters;
            both.packets += beside.packets;
            if beside.last_us > both.last_us {
                (both.last_us, both.ssrc) = (beside.last_us, beside.ssrc);
            }
            match verdict(value, &mut both, Endpoint::from(source), payload, now_us) {
                Verdict::Send { .. } => {}
                Verdict::Punt(reason) => return RelayVerdict::Punt(reason),
                Verdict::Drop(reason) => {
                    counters.drop_packet(reason);
                    return RelayVerdict::Drop(reason);
                }
            }
        }
        self.handle(now_us, port, source, payload)
    }

    fn slot(&self, port: u16) -> Option<usize> {
        let slot = usize::from(port.checked_sub(self.first)?);
        (slot < self.index.len()).then_some(slot)
    }
}

/// Verdict, count, rewrite: one packet through one flow. Shared by the table and by the slow path.
pub(crate) fn forward(
    value: &FlowValue,
    counters: &mut FlowCounters,
    source: Endpoint,
    payload: &mut [u8],
    overhead: u32,
    now_us: u64,
) -> RelayVerdict {
    match verdict(value, counters, source, payload, now_us) {
        Verdict::Send { rtcp, copy } => {
            // The verdict looked: a flow without destination is dropped there.
            let Some(to) = value.out_dest(rtcp) else {
                counters.drop_packet(DropReason::NoDestination);
                return RelayVerdict::Drop(DropReason::NoDestination);
            };
            let wire_bytes = overhead + payload.len() as u32;
            count(value, counters, payload, wire_bytes, now_us);
            if !rtcp {
                rewrite_payload(value, payload);
            }
            RelayVerdict::Send {
                from_port: value.out_source_port,
                from_ip: value.out_source_ip.into(),
                to: to.into(),
                copy,
            }
        }
        Verdict::Punt(reason) => RelayVerdict::Punt(reason),
        Verdict::Drop(reason) => {
            counters.drop_packet(reason);
            RelayVerdict::Drop(reason)
        }
    }
}

pub(crate) fn wire_overhead(source: SocketAddr) -> u32 {
    overhead(source.ip())
}
