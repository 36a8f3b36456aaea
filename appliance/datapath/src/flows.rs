//! Flows and counters as the kernel program sees them, in shared memory. No system call, no lock: a port has one owner.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use tandem_ebpf_abi::{
    Express, FlowCounters, FlowKey, FlowValue, Hot, IpWords, Layout, Port, Pulse, offset_of_place, place_of,
};
use tandem_forward::express;

use crate::memory::{Plain, Shared, read, words_of};

/// The tables of one configuration.
pub(crate) struct Flows {
    streams: Shared<Hot>,
    table: Shared<Port>,
    first: u16,
    ports: u32,
    /// Our own addresses: what comes from them goes in circles.
    locals: Vec<IpWords>,
    /// Packets that were counted after their flow had been removed: in flight on another CPU just then.
    late: AtomicU64,
}

/// Words of an entry: the flow, its counters; the short form, its way out, its pulse.
const FLOW_WORDS: usize = size_of::<FlowValue>() / 8;
const COUNTERS_AT: usize = std::mem::offset_of!(Port, counters) / 8;
const COUNTERS_END: usize = COUNTERS_AT + size_of::<FlowCounters>() / 8;
const EXPRESS_WORDS: usize = size_of::<Express>() / 8;
const PULSE_AT: usize = std::mem::offset_of!(Hot, pulse) / 8;
/// The word of a flow that ends with its version.
const VERSION_WORD: usize = size_of::<FlowValue>() / 8 - 1;

// The version is the last half of the last word, whatever the byte order: the word is built from its bytes.
const _: () = {
    assert!(std::mem::offset_of!(FlowValue, version) == 8 * VERSION_WORD + 4);
    assert!(std::mem::offset_of!(Express, version) == 8 * (EXPRESS_WORDS - 1) + 4);
};

fn without_version(word: u64) -> u64 {
    let [a, b, c, d, _, _, _, _] = word.to_ne_bytes();
    u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0])
}

impl Flows {
    pub(crate) fn new(streams: BorrowedFd<'_>, ports: BorrowedFd<'_>, layout: &Layout) -> io::Result<Flows> {
        let entries = layout.slots as usize * layout.ports as usize;
        Ok(Flows {
            streams: Shared::new(streams, entries)?,
            table: Shared::new(ports, entries)?,
            first: layout.first_port as u16,
            ports: layout.ports,
            locals: layout.addresses[..layout.slots as usize].to_vec(),
            late: AtomicU64::new(0),
        })
    }

    fn flow_at(&self, index: usize) -> FlowValue {
        read(&self.table.entry(index)[..FLOW_WORDS])
    }

    fn counters_at(&self, index: usize) -> FlowCounters {
        // The counters first: what the program does in between makes the pulse newer, never older than they are.
        let mut counters = read(&self.table.entry(index)[COUNTERS_AT..COUNTERS_END]);
        express::pour(&read(&self.streams.entry(index)[PULSE_AT..]), &mut counters);
        counters
    }

    fn index(&self, key: FlowKey) -> Option<usize> {
        let offset = u32::from(key.port.checked_sub(self.first)?);
        if offset >= self.ports {
            return None;
        }
        let index = (u32::from(key.slot) * self.ports + place_of(offset, self.ports)) as usize;
        (index < self.table.len()).then_some(index)
    }

    fn key(&self, index: usize) -> FlowKey {
        let index = index as u32;
        FlowKey::new((index / self.ports) as u8, self.first + offset_of_place(index % self.ports, self.ports) as u16)
    }

    /// Takes the short form away.
    fn close(&self, index: usize) {
        let word = &self.streams.entry(index)[EXPRESS_WORDS - 1];
        word.store(without_version(word.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    /// Writes a flow; `false` for a key outside the configuration. A flow that was there goes on with its counters.
    pub(crate) fn install(&self, key: FlowKey, value: &FlowValue) -> bool {
        let Some(index) = self.index(key) else { return false };
        let (entry, stream) = (self.table.entry(index), self.streams.entry(index));
        let last = &entry[VERSION_WORD];
        let before = last.load(Ordering::Relaxed);
        if before == without_version(before) {
            // A fresh one: what the counters hold is what came after the last removal.
            self.collect_late(index);
            for word in entry[FLOW_WORDS..].iter().chain(stream) {
                word.store(0, Ordering::Relaxed);
            }
        } else {
            self.close(index);
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
        let short = express::of(value, self.locals.contains(&value.source_ip));
        // The version is the end of the last word.
        for (word, new) in stream.iter().zip(words_of(&short)) {
            word.store(new, Ordering::Release);
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
        self.close(index);
        last.store(without_version(before), Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let mut counters = take(&entry[COUNTERS_AT..COUNTERS_END]);
        express::pour(&take::<Pulse>(&self.streams.entry(index)[PULSE_AT..]), &mut counters);
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
        // The program adds to these, so they are taken by subtraction.
        let rtp = &self.streams.entry(index)[PULSE_AT + std::mem::offset_of!(Pulse, packets) / 8];
        let rtcp = &self.table.entry(index)[COUNTERS_AT + std::mem::offset_of!(FlowCounters, rtcp_packets) / 8];
        for word in [rtp, rtcp] {
            let late = word.load(Ordering::Relaxed);
            if late != 0 {
                word.fetch_sub(late, Ordering::Relaxed);
                self.late.fetch_add(late, Ordering::Relaxed);
            }
        }
    }
}

/// Reads a value and takes it off, so that what remains is what comes late.
fn take<V: Plain>(words: &[AtomicU64]) -> V {
    let value = read(words);
    for (word, taken) in words.iter().zip(words_of::<V>(&value)) {
        word.fetch_sub(taken, Ordering::Relaxed);
    }
    value
}
