//! The sockets of one ring: a slab whose ids go stale instead of naming a successor.

use std::net::SocketAddr;

use socket2::Socket;

use crate::config::BufferGroup;

/// Names one socket of one ring for as long as it is open; a closed socket's id is never valid again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// Generations are compared in full here, and in their lower 24 bits where they travel with a cancellation.
pub(crate) const GENERATION_MASK: u32 = (1 << 24) - 1;

/// One socket, from bind to the last completion.
pub(crate) struct Entry {
    /// `None` once the cancellation was submitted: the kernel then holds the only reference.
    pub(crate) socket: Option<Socket>,
    pub(crate) token: u32,
    pub(crate) group: BufferGroup,
    pub(crate) local: SocketAddr,
    pub(crate) dual_stack: bool,
    /// What it is for, beyond plain UDP.
    pub(crate) role: Role,
    /// False from `close_udp` on; completions that still come are dropped.
    pub(crate) open: bool,
    /// A multishot receive is with the kernel (or in the submission queue).
    pub(crate) armed: bool,
    /// The receive ended for want of buffers: arm again only when there are some.
    pub(crate) starved: bool,
    /// Operations whose last completion has not been seen.
    pub(crate) in_flight: u32,
    /// Receive errors in a row without a datagram between.
    pub(crate) failures: u8,
    /// ICMP errors read from the error queue so far; tells a send that failed for another's ICMP error from a real failure.
    pub(crate) reports: u32,
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Datagrams of its own port.
    Port,
    /// Receives those of many ports and is told which.
    Many,
    /// Sends from many ports, with this traffic class, and receives nothing.
    Raw { tos: u8 },
}

pub(crate) struct Sockets {
    slots: Vec<Slot>,
    free: Vec<u32>,
    max: u32,
}

struct Slot {
    generation: u32,
    entry: Option<Entry>,
}

impl Sockets {
    pub(crate) fn new(max: u32) -> Sockets {
        Sockets { slots: Vec::with_capacity(max as usize), free: Vec::with_capacity(max as usize), max }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.free.is_empty() && self.slots.len() >= self.max as usize
    }

    /// Takes a place; the caller has asked `is_full`.
    pub(crate) fn insert(&mut self, entry: Entry) -> SocketId {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.entry = Some(entry);
            return SocketId { index, generation: slot.generation };
        }
        let index = self.slots.len() as u32;
        self.slots.push(Slot { generation: 0, entry: Some(entry) });
        SocketId { index, generation: 0 }
    }

    /// The open socket of that name.
    pub(crate) fn open(&mut self, id: SocketId) -> Option<&mut Entry> {
        let slot = self.slots.get_mut(id.index as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        slot.entry.as_mut().filter(|entry| entry.open)
    }

    /// The open socket of that name, to look at.
    pub(crate) fn peek(&self, id: SocketId) -> Option<&Entry> {
        let slot = self.slots.get(id.index as usize)?;
        if slot.generation != id.generation {
            return None;
        }
        slot.entry.as_ref().filter(|entry| entry.open)
    }

    /// The socket in that place, open or closing.
    pub(crate) fn at(&mut self, index: u32) -> Option<&mut Entry> {
        self.slots.get_mut(index as usize)?.entry.as_mut()
    }

    pub(crate) fn id(&self, index: u32) -> SocketId {
        SocketId { index, generation: self.slots.get(index as usize).map_or(0, |slot| slot.generation) }
    }

    /// Places there are, taken or free.
    pub(crate) fn places(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Frees the place when the socket is closing and its last completion has been seen.
    pub(crate) fn release_if_done(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return;
        };
        let done = slot.entry.as_ref().is_some_and(|entry| !entry.open && entry.in_flight == 0);
        if done {
            slot.entry = None;
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(index);
        }
    }

    /// No place is taken.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Places taken, closing sockets included.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            socket: None,
            token: 7,
            group: BufferGroup::Media,
            local: "127.0.0.1:1".parse().expect("test address"),
            dual_stack: false,
            role: Role::Port,
            open: true,
            armed: false,
            starved: false,
            in_flight: 0,
            failures: 0,
            reports: 0,
        }
    }

    #[test]
    fn a_reused_place_gets_a_new_name() {
        let mut sockets = Sockets::new(1);
        let first = sockets.insert(entry());
        assert!(sockets.is_full());
        sockets.open(first).expect("open").open = false;
        assert!(sockets.open(first).is_none(), "closing is not open");
        sockets.release_if_done(first.index);
        let second = sockets.insert(entry());
        assert_eq!(second.index, first.index);
        assert!(sockets.open(first).is_none());
        assert!(sockets.open(second).is_some());
    }

    #[test]
    fn a_place_is_kept_until_the_last_completion() {
        let mut sockets = Sockets::new(1);
        let id = sockets.insert(entry());
        let slot = sockets.at(id.index).expect("there");
        slot.open = false;
        slot.in_flight = 1;
        sockets.release_if_done(id.index);
        assert!(sockets.is_full());
        sockets.at(id.index).expect("there").in_flight = 0;
        sockets.release_if_done(id.index);
        assert_eq!(sockets.len(), 0);
    }
}
