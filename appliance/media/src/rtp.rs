//! Borrowed view of an RTP packet (RFC 3550 5.1).

pub use tandem_forward::rtp::{PacketClass, RTP_HEADER_LEN, RtpHeader, classify};

/// An RTP packet in somebody's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpPacket<'a> {
    /// The fixed header.
    pub header: RtpHeader,
    /// Payload without contributing sources, header extension and padding.
    pub payload: &'a [u8],
}

impl<'a> RtpPacket<'a> {
    /// Reads a packet; `None` when it is no RTP version 2, or when extension or padding do not fit into it.
    pub fn read(bytes: &'a [u8]) -> Option<RtpPacket<'a>> {
        if classify(bytes) != PacketClass::Rtp {
            return None;
        }
        let header = RtpHeader::read(bytes)?;
        let first = bytes[0];
        let mut start = RTP_HEADER_LEN + 4 * usize::from(first & 0x0f);
        if first & 0x10 != 0 {
            let [_, _, hi, lo] = *bytes.get(start..)?.first_chunk::<4>()?;
            start += 4 + 4 * usize::from(u16::from_be_bytes([hi, lo]));
        }
        let padding = if first & 0x20 != 0 { usize::from(*bytes.last()?).max(1) } else { 0 };
        let end = bytes.len().checked_sub(padding)?;
        Some(RtpPacket { header, payload: bytes.get(start..end)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_extension_and_padding_are_left_out() {
        let mut p = vec![0x80 | 0x20 | 0x10 | 1, 8];
        p.extend([0; 10]);
        p.extend([9; 4]); // one contributing source
        p.extend([0xbe, 0xde, 0, 1, 7, 7, 7, 7]); // extension of one word
        p.extend([1, 2, 3]);
        p.extend([0, 2]); // two bytes of padding
        assert_eq!(RtpPacket::read(&p).unwrap().payload, [1, 2, 3]);
        let last = p.len() - 1;
        p[last] = 200;
        assert_eq!(RtpPacket::read(&p), None, "padding longer than the packet");
    }

    #[test]
    fn a_truncated_packet_is_none() {
        let mut p = vec![0x80 | 0x10, 8];
        p.extend([0; 10]);
        assert!(RtpPacket::read(&p).is_none(), "extension announced, not there");
        assert!(RtpPacket::read(&p[..11]).is_none());
    }
}
