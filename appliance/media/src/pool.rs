//! The media ports of a shard on all its media addresses: each address has the whole range of the shard, so that every
//! further address is room for as many calls again (media.md 2).

use std::ops::RangeInclusive;

use tandem_ebpf_abi::FlowKey;

use crate::ports::{PortCounts, Ports};

/// One [`Ports`] for each media address, by slot.
#[derive(Debug)]
pub struct PortPool {
    slots: Vec<Ports>,
}

impl PortPool {
    /// All ports of `range` but those of `excluded`, once for each seed: slot n is in the order that seed n decides.
    pub fn new(range: &RangeInclusive<u16>, seeds: &[u64], excluded: &[RangeInclusive<u16>]) -> PortPool {
        PortPool { slots: seeds.iter().map(|seed| Ports::without(range.clone(), *seed, excluded)).collect() }
    }

    fn slot(&mut self, key: FlowKey) -> Option<&mut Ports> {
        self.slots.get_mut(usize::from(key.slot))
    }

    /// A port that the shard shall open now. Answer each with [`PortPool::opened`].
    pub fn want_open(&mut self) -> Option<FlowKey> {
        let mut slots = self.slots.iter_mut().zip(0..);
        slots.find_map(|(ports, slot)| Some(FlowKey::new(slot, ports.want_open()?)))
    }

    /// The shard tried to open `key`: [`Ports::opened`].
    pub fn opened(&mut self, now_us: u64, key: FlowKey, ok: bool) {
        if let Some(ports) = self.slot(key) {
            ports.opened(now_us, key.port, ok);
        }
    }

    /// A ready port of one of the addresses in `slots`: of the one that has most left. `None` when none has a ready one.
    pub fn lease(&mut self, slots: &[u8]) -> Option<FlowKey> {
        let left = |slot: &u8| {
            let counts = self.slots.get(usize::from(*slot))?.counts();
            (counts.ready > 0).then_some((counts.ready + counts.opening + counts.free, *slot))
        };
        // Of equals the first: one address is used like another only because calls are on it.
        let (_, slot) =
            slots.iter().filter_map(left).reduce(|best, other| if other.0 > best.0 { other } else { best })?;
        let port = self.slots.get_mut(usize::from(slot))?.lease()?;
        Some(FlowKey::new(slot, port))
    }

    /// Leases `key` to a call that goes on after a restart: [`Ports::adopt`].
    pub fn adopt(&mut self, key: FlowKey) -> Option<bool> {
        self.slot(key)?.adopt(key.port)
    }

    /// The call on `key` ended, or has no use for it any more.
    pub fn release(&mut self, now_us: u64, key: FlowKey) {
        if let Some(ports) = self.slot(key) {
            ports.release(now_us, key.port);
        }
    }

    /// A port whose linger time is over: the shard closes its socket, the port is free. Drain it.
    pub fn poll_close(&mut self, now_us: u64) -> Option<FlowKey> {
        let mut slots = self.slots.iter_mut().zip(0..);
        slots.find_map(|(ports, slot)| Some(FlowKey::new(slot, ports.poll_close(now_us)?)))
    }

    /// When [`PortPool::poll_close`] has something to do.
    pub fn next_timeout(&self) -> Option<u64> {
        self.slots.iter().filter_map(Ports::next_timeout).min()
    }

    /// How many ports are where, of each address by slot.
    pub fn counts(&self) -> impl Iterator<Item = PortCounts> + '_ {
        self.slots.iter().map(Ports::counts)
    }

    /// Ports in use of the address that has fewest left, in hundredths of those that can be used.
    pub fn used_percent(&self) -> u8 {
        self.slots.iter().map(Ports::used_percent).max().unwrap_or_default()
    }
}
