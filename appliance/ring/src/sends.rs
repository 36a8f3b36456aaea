//! Datagrams on their way out: what the kernel must find unchanged until each send completes.

use std::io;
use std::net::SocketAddr;
use std::ptr;

use crate::address;
use crate::buffers::Buffer;
use crate::memory::{PAGE_BYTES, Region};
use crate::sockets::GENERATION_MASK;

/// Why a datagram was not queued. The name is the label of the counter the caller keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The socket is closed or was never opened on this ring.
    #[error("the socket is closed")]
    Closed,
    /// Longer than a send slot, or than UDP can carry.
    #[error("the datagram is longer than a send slot")]
    TooLong,
    /// The socket cannot address that family.
    #[error("the socket is not of the address family of the destination")]
    WrongFamily,
    /// All send slots are in use; they come back as completions are taken.
    #[error("all send slots are in use")]
    SlotsExhausted,
    /// The kernel does not take submissions at the moment.
    #[error("the kernel takes no more submissions at the moment")]
    QueueFull,
}

impl SendError {
    /// The label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            SendError::Closed => "closed",
            SendError::TooLong => "too_long",
            SendError::WrongFamily => "wrong_family",
            SendError::SlotsExhausted => "slots_exhausted",
            SendError::QueueFull => "queue_full",
        }
    }
}

/// A received buffer that could not be sent, given back.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Unsent {
    /// The datagram; drop it to give its memory back.
    pub buffer: Buffer,
    /// Why.
    pub error: SendError,
}

/// One datagram on its way.
pub(crate) struct Sending {
    /// Place of the socket in the slab; it stays taken until this send completed.
    pub(crate) socket: u32,
    /// Where to, as the caller said it.
    pub(crate) to: SocketAddr,
    pub(crate) len: u32,
    address_len: u32,
    /// The received buffer it is sent from; `None` when it was copied into the slot.
    buffer: Option<Buffer>,
    /// Times it was submitted again because another datagram's ICMP error hit it.
    pub(crate) retries: u8,
    /// The socket's `reports` when it was last submitted.
    pub(crate) reports: u32,
    /// The socket's buffer was full: the kernel may take its time and says when it is done.
    pub(crate) patient: bool,
}

/// Fixed table of sends; a slot's number travels through the kernel.
pub(crate) struct Sends {
    slots: Vec<Option<Sending>>,
    /// Which tenant of each slot; travels with the send, so that news of a former one is not taken for its successor's.
    generations: Vec<u32>,
    /// Last in, first out: few slots stay warm and few pages are ever touched.
    free: Vec<u32>,
    addresses: Region,
    payloads: Region,
    slot_bytes: usize,
}

/// An address takes 28 bytes; 32 keeps it inside one cache line.
const ADDRESS_STRIDE: usize = 32;
const _: () = assert!(ADDRESS_STRIDE >= address::ADDRESS_BYTES && ADDRESS_STRIDE.is_multiple_of(8));

impl Sends {
    pub(crate) fn new(count: u32, slot_bytes: u32) -> io::Result<Sends> {
        let count = count as usize;
        let slot_bytes = (slot_bytes as usize).next_multiple_of(8);
        Ok(Sends {
            slots: (0..count).map(|_| None).collect(),
            generations: vec![0; count],
            free: (0..count as u32).rev().collect(),
            addresses: Region::map(count * ADDRESS_STRIDE, false)?,
            payloads: Region::map(count * slot_bytes, slot_bytes > PAGE_BYTES)?,
            slot_bytes,
        })
    }

    pub(crate) fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    /// Takes a slot and copies address and bytes into it; `None` when all are taken. `bytes` must fit a slot.
    pub(crate) fn copy(&mut self, socket: u32, to: SocketAddr, wire: SocketAddr, bytes: &[u8]) -> Option<u32> {
        let index = self.free.pop()?;
        let target = self.payloads.at(index as usize * self.slot_bytes, bytes.len());
        assert!(bytes.len() <= self.slot_bytes, "datagram longer than its slot");
        // SAFETY: the slot is free, so the kernel has completed whatever used it; `at` checked the length against the
        // region and the assertion against the slot; the source is a Rust slice outside of this mapping.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
        self.fill(index, socket, to, wire, bytes.len() as u32, None);
        Some(index)
    }

    /// Takes a slot for a buffer that is sent where it lies; gives it back when all are taken.
    pub(crate) fn lend(
        &mut self,
        socket: u32,
        to: SocketAddr,
        wire: SocketAddr,
        buffer: Buffer,
    ) -> Result<u32, Buffer> {
        let Some(index) = self.free.pop() else {
            return Err(buffer);
        };
        let len = buffer.len() as u32;
        self.fill(index, socket, to, wire, len, Some(buffer));
        Ok(index)
    }

    fn fill(&mut self, index: u32, socket: u32, to: SocketAddr, wire: SocketAddr, len: u32, buffer: Option<Buffer>) {
        let (raw, address_len) = address::encode(wire);
        let target = self.addresses.at(index as usize * ADDRESS_STRIDE, raw.len());
        // SAFETY: the slot was free, so the kernel does not read its address; `at` checked the bounds.
        unsafe { ptr::copy_nonoverlapping(raw.as_ptr(), target, raw.len()) };
        let sending = Sending { socket, to, len, address_len, buffer, retries: 0, reports: 0, patient: false };
        self.slots[index as usize] = Some(sending);
        let generation = &mut self.generations[index as usize];
        *generation = generation.wrapping_add(1) & GENERATION_MASK;
    }

    /// The tenant of slot `index`, in 24 bits.
    pub(crate) fn generation(&self, index: u32) -> u32 {
        self.generations.get(index as usize).copied().unwrap_or(0)
    }

    pub(crate) fn at(&mut self, index: u32) -> Option<&mut Sending> {
        self.slots.get_mut(index as usize)?.as_mut()
    }

    /// What the kernel is to send for slot `index`: payload, its length, address, its length.
    pub(crate) fn wire(&self, index: u32) -> Option<(*const u8, u32, *const libc::sockaddr, u32)> {
        let sending = self.slots.get(index as usize)?.as_ref()?;
        let payload = match &sending.buffer {
            Some(buffer) => buffer.as_ptr(),
            None => self.payloads.at(index as usize * self.slot_bytes, sending.len as usize).cast_const(),
        };
        let address = self.addresses.at(index as usize * ADDRESS_STRIDE, ADDRESS_STRIDE).cast_const().cast();
        Some((payload, sending.len, address, sending.address_len))
    }

    /// Frees slot `index` after its last completion.
    pub(crate) fn finish(&mut self, index: u32) -> Option<Sending> {
        let sending = self.slots.get_mut(index as usize)?.take()?;
        self.free.push(index);
        Some(sending)
    }

    /// Frees a slot that never reached the kernel, with the buffer it held.
    pub(crate) fn withdraw(&mut self, index: u32) -> Option<Buffer> {
        self.finish(index)?.buffer
    }
}
