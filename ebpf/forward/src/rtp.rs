//! What kind of packet is on a media port, and the few RTP header fields that forwarding needs.

use crate::packet::Packet;

/// Fixed RTP header (RFC 3550 5.1).
pub const RTP_HEADER_LEN: usize = 12;
/// Smallest RTCP packet: common header and one SSRC (RFC 3550 6.1).
pub const RTCP_HEADER_LEN: usize = 8;
/// STUN header (RFC 8489 5).
pub const STUN_HEADER_LEN: usize = 20;
/// STUN magic cookie (RFC 8489 5).
pub const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// What the first bytes say (RFC 7983 7, RFC 5761 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketClass {
    /// RTP version 2 with a whole fixed header.
    Rtp,
    /// RTCP version 2: packet type 192-223, which is RTCP on a muxed port (media.md M-D4).
    Rtcp,
    /// STUN with its magic cookie.
    Stun,
    /// DTLS.
    Dtls,
    /// Version 2, but shorter than its header.
    TooShort,
    /// Anything else.
    Unknown,
}

/// All that forwarding looks at in a UDP payload: its length and its first 12 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Head {
    /// Length of the whole payload.
    pub len: u32,
    /// Its first bytes as words of memory; a word that is not there whole is 0, but for the first two bytes.
    pub words: [u32; 3],
}

impl Head {
    /// Of a payload in memory.
    #[inline(always)]
    pub fn of(payload: &[u8]) -> Head {
        Head::read(payload, 0, payload.len() as u32)
    }

    /// Of the payload of `len` bytes at `at`; the frame holds it all.
    #[inline(always)]
    pub fn read<P: Packet + ?Sized>(packet: &P, at: usize, len: u32) -> Head {
        let mut words = [0; 3];
        if len >= RTP_HEADER_LEN as u32 && packet.holds(at + RTP_HEADER_LEN) {
            words = [packet.u32(at), packet.u32(at + 4), packet.u32(at + 8)];
        } else if len >= RTCP_HEADER_LEN as u32 && packet.holds(at + RTCP_HEADER_LEN) {
            words = [packet.u32(at), packet.u32(at + 4), 0];
        } else if len >= 2 && packet.holds(at + 2) {
            let [first, second] = packet.u16(at).to_ne_bytes();
            words[0] = u32::from_ne_bytes([first, second, 0, 0]);
        }
        Head { len, words }
    }

    /// What the packet is.
    #[inline(always)]
    pub fn class(&self) -> PacketClass {
        if self.len < 2 {
            return PacketClass::TooShort;
        }
        let [first, second, _, _] = self.words[0].to_ne_bytes();
        if first & 0xc0 == 0x80 {
            // 192 to 223: the first three bits are 110.
            let (class, least) = if second & 0xe0 == 0xc0 {
                (PacketClass::Rtcp, RTCP_HEADER_LEN)
            } else {
                (PacketClass::Rtp, RTP_HEADER_LEN)
            };
            return if self.len >= least as u32 { class } else { PacketClass::TooShort };
        }
        match first {
            20..=63 => PacketClass::Dtls,
            0..=3 if self.len >= STUN_HEADER_LEN as u32 && self.words[1] == u32::from_ne_bytes(STUN_COOKIE) => {
                PacketClass::Stun
            }
            _ => PacketClass::Unknown,
        }
    }

    /// The fields, when it is RTP.
    #[inline(always)]
    pub fn rtp(&self) -> RtpHeader {
        let [_, mpt, s0, s1] = self.words[0].to_ne_bytes();
        RtpHeader {
            marker: mpt & 0x80 != 0,
            payload_type: mpt & 0x7f,
            seq: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be(self.words[1]),
            ssrc: u32::from_be(self.words[2]),
        }
    }
}

/// Tells RTP, RTCP, STUN and DTLS apart by the first bytes of a UDP payload. Constant cost.
#[inline(always)]
pub fn classify(payload: &[u8]) -> PacketClass {
    Head::of(payload).class()
}

/// The header fields that forwarding reads, from a payload classified as [`PacketClass::Rtp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// Marker bit.
    pub marker: bool,
    /// Payload type, 0-127.
    pub payload_type: u8,
    /// Sequence number.
    pub seq: u16,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

impl RtpHeader {
    /// Reads the fixed header; `None` when the payload is shorter than it. The version is not looked at.
    #[inline(always)]
    pub fn read(payload: &[u8]) -> Option<RtpHeader> {
        if payload.len() < RTP_HEADER_LEN {
            return None;
        }
        Some(Head::of(payload).rtp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_the_protocol() {
        let mut rtp = [0u8; 12];
        rtp[0] = 0x80;
        let mut table: std::vec::Vec<(std::vec::Vec<u8>, PacketClass)> = std::vec![
            (std::vec![], PacketClass::TooShort),
            (std::vec![0x80], PacketClass::TooShort),
            (rtp.to_vec(), PacketClass::Rtp),
            (rtp[..11].to_vec(), PacketClass::TooShort),
            (std::vec![0x40; 40], PacketClass::Unknown),
            (std::vec![0xc0; 40], PacketClass::Unknown),
            (std::vec![22; 40], PacketClass::Dtls),
            (std::vec![1; 40], PacketClass::Unknown),
        ];
        let mut stun = std::vec![0u8; 20];
        stun[1] = 1;
        stun[4..8].copy_from_slice(&STUN_COOKIE);
        table.push((stun, PacketClass::Stun));
        // RTCP is 192-223; its neighbours are RTP with the marker bit set (payload types 63 and 96).
        for (second, class) in [
            (191, PacketClass::Rtp),
            (192, PacketClass::Rtcp),
            (200, PacketClass::Rtcp),
            (223, PacketClass::Rtcp),
            (224, PacketClass::Rtp),
        ] {
            let mut p = rtp;
            p[1] = second;
            table.push((p.to_vec(), class));
        }
        for (bytes, class) in table {
            assert_eq!(classify(&bytes), class, "{bytes:02x?}");
        }
    }

    #[test]
    fn the_header_is_read_in_network_order() {
        let p = [0x80, 0x88, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0xff];
        let h = RtpHeader::read(&p).unwrap();
        assert!(h.marker);
        assert_eq!((h.payload_type, h.seq, h.timestamp, h.ssrc), (8, 0x0102, 0x0304_0506, 0x0708_090a));
        assert_eq!(RtpHeader::read(&p[..11]), None);
    }
}
