//! Borrowed view of RTCP compounds (RFC 3550 6): sender and receiver reports, and the round trip seen from the relay.

/// One report block (RFC 3550 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReportBlock {
    /// Whose packets are reported.
    pub ssrc: u32,
    /// Loss since the report before, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the beginning; negative with duplicates.
    pub lost: i32,
    /// Interarrival jitter, clock units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report; 0 = none arrived.
    pub last_sr: u32,
    /// Time since that report, in 1/65536 s.
    pub delay_since_sr: u32,
}

/// A report out of a compound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Beginning of a sender report: who, and the middle 32 bits of its NTP time.
    Sender {
        /// SSRC of the sender.
        ssrc: u32,
        /// Middle 32 bits of the NTP time, which come back as `last_sr`.
        ntp_middle: u32,
    },
    /// A report block of a sender or receiver report.
    Block(ReportBlock),
    /// BYE: a source leaves.
    Bye,
}

/// Reports of a compound packet, in order. Ends at the first packet whose length does not fit.
pub fn reports(compound: &[u8]) -> impl Iterator<Item = Report> + '_ {
    packets(compound).flat_map(|(kind, count, body)| {
        let (sender, blocks) = match kind {
            200 => (sender_of(body), body.get(24..).unwrap_or_default()),
            201 => (None, body.get(4..).unwrap_or_default()),
            203 => (Some(Report::Bye), &[][..]),
            _ => (None, &[][..]),
        };
        sender.into_iter().chain(blocks.chunks_exact(24).take(count).filter_map(|b| block(b).map(Report::Block)))
    })
}

/// Packet type, count field and body (after the common header) of each packet.
fn packets(mut rest: &[u8]) -> impl Iterator<Item = (u8, usize, &[u8])> {
    std::iter::from_fn(move || {
        let &[first, kind, hi, lo] = rest.first_chunk::<4>()?;
        let len = 4 + 4 * usize::from(u16::from_be_bytes([hi, lo]));
        if first >> 6 != 2 {
            return None;
        }
        let body = rest.get(4..len)?;
        rest = &rest[len..];
        Some((kind, usize::from(first & 0x1f), body))
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().map(|b| u32::from_be_bytes(*b))
}

fn sender_of(body: &[u8]) -> Option<Report> {
    Some(Report::Sender { ssrc: word(body, 0)?, ntp_middle: (word(body, 4)? << 16) | (word(body, 8)? >> 16) })
}

fn block(b: &[u8]) -> Option<ReportBlock> {
    let loss = word(b, 4)?;
    Some(ReportBlock {
        ssrc: word(b, 0)?,
        fraction_lost: (loss >> 24) as u8,
        // 24 bits with sign.
        lost: ((loss << 8) as i32) >> 8,
        jitter: word(b, 12)?,
        last_sr: word(b, 16)?,
        delay_since_sr: word(b, 20)?,
    })
}

/// What the reports of one party say, and the round trip between the relay and it.
///
/// The relay sends no reports of its own: it times the sender report of the other side on its way out and the block that
/// answers it on its way in (RFC 3550 6.4.1, figure 2, with the relay in the place of the sender).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Quality {
    /// Last sender report that was forwarded to this party: middle NTP bits and time.
    sent: Option<(u32, u64)>,
    /// Last round trip, microseconds.
    pub rtt_us: Option<u32>,
    /// Worst fraction lost this party reported, in 1/256.
    pub fraction_lost_max: u8,
    /// Packets this party says it lost, last report.
    pub peer_lost: u32,
    /// Report blocks seen.
    pub blocks: u32,
}

/// A round trip above this is a wrong clock or a lie, microseconds.
const RTT_US_MAX: u64 = 10_000_000;

impl Quality {
    /// A sender report goes out to this party.
    pub fn forwarded(&mut self, now_us: u64, compound: &[u8]) {
        for report in reports(compound) {
            if let Report::Sender { ntp_middle, .. } = report {
                self.sent = Some((ntp_middle, now_us));
            }
        }
    }

    /// RTCP came in from this party.
    pub fn received(&mut self, now_us: u64, compound: &[u8]) {
        for report in reports(compound) {
            let Report::Block(block) = report else {
                continue;
            };
            self.blocks = self.blocks.saturating_add(1);
            self.fraction_lost_max = self.fraction_lost_max.max(block.fraction_lost);
            self.peer_lost = u32::try_from(block.lost).unwrap_or(0);
            let Some((ntp_middle, sent_us)) = self.sent else {
                continue;
            };
            if block.last_sr != ntp_middle || block.last_sr == 0 {
                continue;
            }
            let delay_us = (u64::from(block.delay_since_sr) * 1_000_000) >> 16;
            let trip = now_us.saturating_sub(sent_us).checked_sub(delay_us);
            if let Some(us) = trip.filter(|us| *us <= RTT_US_MAX) {
                self.rtt_us = Some(us as u32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender_report(ntp: u64) -> Vec<u8> {
        let mut p = vec![0x80, 200, 0, 6];
        p.extend(7u32.to_be_bytes());
        p.extend(ntp.to_be_bytes());
        p.extend([0; 12]);
        p
    }

    fn receiver_report(last_sr: u32, delay: u32, fraction: u8, lost: i32) -> Vec<u8> {
        let mut p = vec![0x81, 201, 0, 7];
        p.extend(8u32.to_be_bytes());
        p.extend(7u32.to_be_bytes());
        p.extend(((u32::from(fraction) << 24) | (lost as u32 & 0xff_ffff)).to_be_bytes());
        p.extend([0; 4]);
        p.extend(160u32.to_be_bytes());
        p.extend(last_sr.to_be_bytes());
        p.extend(delay.to_be_bytes());
        p
    }

    #[test]
    fn the_round_trip_leaves_out_the_delay_at_the_peer() {
        let mut quality = Quality::default();
        quality.forwarded(1_000_000, &sender_report(0x0000_1234_5678_0000));
        // Half a second at the peer, 80 ms on the way.
        quality.received(1_580_000, &receiver_report(0x1234_5678, 32_768, 25, -3));
        assert_eq!(quality.rtt_us, Some(80_000));
        assert_eq!((quality.fraction_lost_max, quality.peer_lost), (25, 0));
        // An answer to a report we did not forward says nothing about the way.
        quality.received(9_000_000, &receiver_report(0x9999_9999, 0, 3, 12));
        assert_eq!(quality.rtt_us, Some(80_000));
        assert_eq!((quality.fraction_lost_max, quality.peer_lost), (25, 12));
    }

    #[test]
    fn lying_lengths_end_the_compound() {
        let mut compound = receiver_report(0, 0, 1, 5);
        assert_eq!(reports(&compound).count(), 1);
        compound[0] = 0x9f; // 31 blocks announced, one there
        assert_eq!(reports(&compound).count(), 1);
        compound[3] = 200; // longer than the packet
        assert_eq!(reports(&compound).count(), 0);
        for cut in 0..compound.len() {
            let _ = reports(&compound[..cut]).count();
        }
    }
}
