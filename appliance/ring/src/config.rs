//! Sizes of one ring, with what goes wrong on either side of each.

use crate::memory::PAGE_BYTES;

/// The largest UDP payload: 65,535 less the 8 bytes of the UDP header (IPv6; IPv4 ends 20 bytes earlier).
///
/// RFC 3261 §18.1.1: "implementations MUST be able to handle messages up to the maximum datagram packet size."
pub(crate) const DATAGRAM_BYTES_MAX: usize = 65_527;

/// What the kernel writes in front of each datagram: `struct io_uring_recvmsg_out` (16) and the source address (28).
pub(crate) const HEADER_BYTES: usize = 16 + crate::address::ADDRESS_BYTES;

/// The most buffers a provided buffer ring can hold (kernel limit 2^15).
const GROUP_COUNT_MAX: u16 = 1 << 15;

/// Which pool of receive buffers a socket draws from, and whether ICMP errors are wanted on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferGroup {
    /// SIP and the like: room for the largest datagram; ICMP errors come back as `Completion::Unreachable`.
    Signalling,
    /// RTP and RTCP: many small buffers, so that a flood of media cannot starve signalling; ICMP errors are not asked for.
    Media,
}

impl BufferGroup {
    pub(crate) const ALL: [BufferGroup; 2] = [BufferGroup::Signalling, BufferGroup::Media];

    /// The group's number towards the kernel and its place in tables.
    pub(crate) fn index(self) -> usize {
        match self {
            BufferGroup::Signalling => 0,
            BufferGroup::Media => 1,
        }
    }
}

/// The receive buffers of one group.
#[derive(Clone, Copy, Debug)]
pub struct GroupConfig {
    /// Number of buffers, a power of two up to 32,768. Too few: bursts wait in socket buffers while receives are armed
    /// again (counted as `starved`).
    pub count: u16,
    /// Bytes of one buffer, of which 44 are the kernel's header. A longer datagram arrives cut, marked `truncated`.
    pub bytes: u32,
}

/// Sizes of one ring. [`RingConfig::default`] is meant for a shard with some 30,000 sockets.
#[derive(Clone, Copy, Debug)]
pub struct RingConfig {
    /// Submission entries. Fewer only means more system calls under load: a full queue is submitted and used on.
    pub submission_entries: u32,
    /// Completion entries. On overflow the kernel keeps completions aside but ends multishot receives, which costs
    /// re-arming (counted in `rearmed`); nothing is lost.
    pub completion_entries: u32,
    /// Datagrams that may be on their way out at once, copied and in place together. More is `SendError::SlotsExhausted`.
    pub send_slots: u32,
    /// Longest datagram `Ring::send` takes. Slots are virtual memory: a page is resident only after it was used.
    pub send_bytes: u32,
    /// Sockets open at once, closing ones included.
    pub sockets_max: u32,
    /// Buffers for signalling.
    pub signalling: GroupConfig,
    /// Buffers for media.
    pub media: GroupConfig,
}

impl Default for RingConfig {
    fn default() -> RingConfig {
        RingConfig {
            submission_entries: 1024,
            // Signalling and media buffers can all be full at once, with a send completion for each.
            completion_entries: 16_384,
            send_slots: 2048,
            send_bytes: 65_536,
            sockets_max: 32_768,
            // 68 KiB: the largest datagram and its header in whole pages. 1,024 of them are 68 MiB of addresses and, at
            // the usual SIP message below one page, 4 MiB of memory.
            signalling: GroupConfig { count: 1024, bytes: SIGNALLING_BYTES },
            // 2 KiB holds any RTP packet of an Ethernet frame with header to spare. 2,048 of them are 8 ms of 5,000
            // streams at 50 packets a second.
            media: GroupConfig { count: 2048, bytes: 2048 },
        }
    }
}

const SIGNALLING_BYTES: u32 = (17 * PAGE_BYTES) as u32;
const _: () = assert!(SIGNALLING_BYTES as usize >= DATAGRAM_BYTES_MAX + HEADER_BYTES);

impl RingConfig {
    pub(crate) fn group(&self, group: BufferGroup) -> GroupConfig {
        match group {
            BufferGroup::Signalling => self.signalling,
            BufferGroup::Media => self.media,
        }
    }

    /// The first thing wrong with the sizes, as a sentence.
    pub(crate) fn fault(&self) -> Option<String> {
        for group in BufferGroup::ALL {
            let GroupConfig { count, bytes } = self.group(group);
            if !count.is_power_of_two() || count > GROUP_COUNT_MAX {
                return Some(format!(
                    "{group:?} buffer count {count} is not a power of two from 1 to {GROUP_COUNT_MAX}"
                ));
            }
            // Addresses and lengths handed to the kernel are 4-byte aligned by keeping each buffer so.
            if !bytes.is_multiple_of(8) || !(64..=1 << 20).contains(&bytes) {
                return Some(format!("{group:?} buffer size {bytes} is not a multiple of 8 from 64 to 1048576"));
            }
        }
        if !(1..=1 << 15).contains(&self.send_slots) {
            return Some(format!("{} send slots are not within 1 to 32768", self.send_slots));
        }
        if !(64..=1 << 17).contains(&self.send_bytes) {
            return Some(format!("send slot size {} is not within 64 to 131072 bytes", self.send_bytes));
        }
        if !(1..=1 << 20).contains(&self.sockets_max) {
            return Some(format!("sockets_max {} is not within 1 to 1048576", self.sockets_max));
        }
        None
    }
}
