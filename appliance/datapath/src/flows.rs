//! Flows and counters as the kernel program sees them, in shared memory. No system call, no lock: a port has one owner.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use tandem_ebpf_abi::{FlowCounters, FlowKey, FlowValue, Port};

use crate::memory::{Shared, read, words_of};

/// The tables of one configuration.
pub(crate) struct Flows {
    table: Shared<Port>,
    first: u16,
    ports: usize,
    /// Packets that were counted after their flow had been removed: in flight on another CPU just then.
    late: AtomicU64,
}

/// Words of an entry: the flow, its hop, its counters.
const FLOW_WORDS: usize = size_of::<FlowValue>() / 8;
const COUNTERS_AT: usize = std::mem::offset_of!(Port, counters) / 8;
const COUNTERS_END: usize = COUNTERS_AT + size_of::<FlowCounters>() / 8;
/// The word of a flow that ends with its version.
const VERSION_WORD: usize = size_of::<FlowValue>() / 8 - 1;

// The version is the last half of the last word, whatever the byte order: the word is built from its bytes.
const _: () = assert!(std::mem::offset_of!(FlowValue, version) == 8 * VERSION_WORD + 4);

fn without_version(word: u64) -> u64 {
    let [a, b, c, d, _, _, _, _] = word.to_ne_bytes();
    u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0])
}

impl Flows {
    pub(crate) fn new(map: BorrowedFd<'_>, slots: usize, first: u16, ports: usize) -> io::Result<Flows> {
        Ok(Flows { table: Shared::new(map, slots * ports)?, first, ports, late: AtomicU64::new(0) })
    }

    fn flow_at(&self, index: usize) -> FlowValue {
        read(&self.table.entry(index)[..FLOW_WORDS])
    }

    fn counters_at(&self, index: usize) -> FlowCounters {
        read(&self.table.entry(index)[COUNTERS_AT..COUNTERS_END])
    }

    fn index(&self, key: FlowKey) -> Option<usize> {
        let offset = usize::from(key.port.checked_sub(self.first)?);
        let index = usize::from(key.slot) * self.ports + offset;
        (offset < self.ports && index < self.table.len()).then_some(index)
    }

    fn key(&self, index: usize) -> FlowKey {
        FlowKey::new((index / self.ports) as u8, self.first + (index % self.ports) as u16)
    }

    /// Writes a flow; `false` for a key outside the configuration. A flow that was there goes on with its counters.
    pub(crate) fn install(&self, key: FlowKey, value: &FlowValue) -> bool {
        let Some(index) = self.index(key) else { return false };
        let entry = self.table.entry(index);
        let last = &entry[VERSION_WORD];
        let before = last.load(Ordering::Relaxed);
        if before == without_version(before) {
            // A fresh one: what the counters hold is what came after the last removal.
            self.collect_late(index);
            for word in &entry[FLOW_WORDS..] {
                word.store(0, Ordering::Relaxed);
            }
        } else {
            // The kernel program leaves packets to user space until the version is back.
            last.store(without_version(before), Ordering::Relaxed);
        }
        fence(Ordering::SeqCst);
        let mut words = words_of(value);
        for (word, new) in entry[..VERSION_WORD].iter().zip(&mut words) {
            word.store(new, Ordering::Relaxed);
        }
        if let Some(new) = words.next() {
            last.store(new, Ordering::Release);
        }
        true
    }

    /// Takes a flow away and returns its counters; `None` when there was none.
    ///
    /// A packet that another CPU is just forwarding may be counted after this; it is in [`Flows::late`] then, as soon as
    /// the port is used again or [`Flows::collect`] ran.
    pub(crate) fn remove(&self, key: FlowKey) -> Option<FlowCounters> {
        let index = self.index(key)?;
        let entry = self.table.entry(index);
        let last = &entry[VERSION_WORD];
        let before = last.load(Ordering::Relaxed);
        if before == without_version(before) {
            return None;
        }
        last.store(without_version(before), Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let words = &entry[COUNTERS_AT..COUNTERS_END];
        let counters = read(words);
        // Taken off, so that what remains is what comes late.
        for (word, taken) in words.iter().zip(words_of::<FlowCounters>(&counters)) {
            word.fetch_sub(taken, Ordering::Relaxed);
        }
        Some(counters)
    }

    /// Counters of a port, whether it has a flow or not; `None` outside the configuration.
    pub(crate) fn counters(&self, key: FlowKey) -> Option<FlowCounters> {
        self.index(key).map(|index| self.counters_at(index))
    }

    /// The flow of a port.
    pub(crate) fn flow(&self, key: FlowKey) -> Option<FlowValue> {
        let value = self.flow_at(self.index(key)?);
        (value.version != 0).then_some(value)
    }

    /// Calls `each` for every flow with its counters; returns how many there were.
    pub(crate) fn scan(&self, each: &mut dyn FnMut(FlowKey, &FlowCounters)) -> usize {
        let mut found = 0;
        for index in 0..self.table.len() {
            let last = self.table.entry(index)[VERSION_WORD].load(Ordering::Relaxed);
            if last != without_version(last) {
                found += 1;
                each(self.key(index), &self.counters_at(index));
            }
        }
        found
    }

    /// All flows.
    pub(crate) fn all(&self) -> Vec<(FlowKey, FlowValue)> {
        (0..self.table.len())
            .map(|index| (self.key(index), self.flow_at(index)))
            .filter(|(_, value)| value.version != 0)
            .collect()
    }

    /// Packets counted too late for the final counters of their flow, so far.
    pub(crate) fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// Adds up what came late on ports without a flow. For audits: reads all entries.
    pub(crate) fn collect(&self) {
        for index in 0..self.table.len() {
            let last = self.table.entry(index)[VERSION_WORD].load(Ordering::Relaxed);
            if last == without_version(last) {
                self.collect_late(index);
            }
        }
    }

    fn collect_late(&self, index: usize) {
        // `packets` and `rtcp_packets`; the program adds to them, so they are taken by subtraction.
        for offset in [std::mem::offset_of!(FlowCounters, packets), std::mem::offset_of!(FlowCounters, rtcp_packets)] {
            let word = &self.table.entry(index)[COUNTERS_AT + offset / 8];
            let late = word.load(Ordering::Relaxed);
            if late != 0 {
                word.fetch_sub(late, Ordering::Relaxed);
                self.late.fetch_add(late, Ordering::Relaxed);
            }
        }
    }
}
