//! What the media of one leg came to: the counters of slow and fast path added up, in integers that can be stored
//! (media.md 10).

use tandem_ebpf_abi::FlowCounters;

use crate::rtcp::Quality;

/// A stream with fewer packets than this says nothing about one-way audio (media.md 10).
pub const ONE_WAY_PACKETS_MIN: u64 = 50;
/// Calls shorter than this are not judged for one-way audio, microseconds (media.md 10).
pub const ONE_WAY_CALL_US_MIN: u64 = 5_000_000;

/// Media received from one leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LegMedia {
    /// RTP packets received.
    pub packets: u64,
    /// Their UDP payload bytes.
    pub bytes: u64,
    /// Their bytes with IP and UDP headers.
    pub bytes_wire: u64,
    /// Sequence numbers that never came.
    pub lost: u64,
    /// Packets that came twice.
    pub duplicates: u64,
    /// Packets that came after a later one.
    pub reordered: u64,
    /// Mean interarrival jitter, microseconds.
    pub jitter_mean_us: u32,
    /// Largest interarrival jitter, microseconds.
    pub jitter_max_us: u32,
    /// First RTP packet, microseconds of the shard's clock; 0 = none.
    pub first_us: u64,
    /// Last RTP packet; 0 = none.
    pub last_us: u64,
    /// From the first to the last packet, microseconds.
    pub duration_us: u64,
    /// RTCP packets received.
    pub rtcp_packets: u64,
    /// Packets dropped for any reason.
    pub dropped: u64,
    /// How often the SSRC changed.
    pub ssrc_changes: u32,
    /// Round trip to the peer by RTCP, microseconds.
    pub rtt_us: Option<u32>,
    /// Estimated quality of what this leg sent, hundredths of MOS, 100-450; 0 without packets.
    pub mos_hundredths: u16,
}

impl LegMedia {
    /// Adds up all counters of a leg: the slow path's, and the fast path's for every time its flow was removed.
    pub fn merge<'a>(parts: impl IntoIterator<Item = &'a FlowCounters>, quality: &Quality) -> LegMedia {
        let mut sum = LegMedia { rtt_us: quality.rtt_us, ..LegMedia::default() };
        let (mut jitter_us, mut samples) = (0u128, 0u64);
        for c in parts {
            sum.packets += c.packets;
            sum.bytes += c.bytes_payload;
            sum.bytes_wire += c.bytes_wire;
            sum.lost += c.lost;
            sum.duplicates += c.duplicates;
            sum.reordered += c.reordered;
            sum.rtcp_packets += c.rtcp_packets;
            sum.dropped += c.dropped_total();
            sum.ssrc_changes += c.ssrc_changes;
            if c.first_us != 0 && (sum.first_us == 0 || c.first_us < sum.first_us) {
                sum.first_us = c.first_us;
            }
            sum.last_us = sum.last_us.max(c.last_us);
            sum.jitter_max_us = sum.jitter_max_us.max(to_us(u128::from(c.jitter_max_scaled), c.clock_hz) as u32);
            jitter_us += to_us(u128::from(c.jitter_sum_scaled), c.clock_hz);
            samples += c.jitter_samples;
        }
        sum.jitter_mean_us = (jitter_us / u128::from(samples.max(1))) as u32;
        sum.duration_us = sum.last_us.saturating_sub(sum.first_us);
        sum.mos_hundredths = mos_hundredths(&sum);
        sum
    }

    /// Packets lost, in hundredths of a percent of those sent.
    pub fn loss_bp(&self) -> u32 {
        let sent = self.packets.saturating_sub(self.duplicates) + self.lost;
        match sent {
            0 => 0,
            _ => (self.lost.saturating_mul(10_000) / sent) as u32,
        }
    }
}

/// True when one direction carried audio and the other nothing at all (media.md 10).
pub fn one_way(a: &LegMedia, b: &LegMedia, call_us: u64) -> bool {
    let only = |x: &LegMedia, y: &LegMedia| x.packets > ONE_WAY_PACKETS_MIN && y.packets == 0;
    call_us >= ONE_WAY_CALL_US_MIN && (only(a, b) || only(b, a))
}

/// Clock units times 16 as microseconds.
fn to_us(scaled: u128, clock_hz: u32) -> u128 {
    match clock_hz {
        0 => 0,
        hz => scaled * 1_000_000 / 16 / u128::from(hz),
    }
}

/// The usual short form of the E-model (ITU-T G.107 with G.711): R from delay, jitter and loss, MOS from R.
///
/// Delay is half the round trip (20 ms when unknown) plus a jitter buffer of twice the jitter plus 10 ms for codecs; R
/// starts at 93.2, loses 1 per 40 ms of delay (beyond 160 ms: 1 per 10 ms above 120) and 2.5 per percent of loss.
fn mos_hundredths(leg: &LegMedia) -> u16 {
    if leg.packets == 0 {
        return 0;
    }
    let way_us = leg.rtt_us.map_or(20_000, |rtt| i64::from(rtt) / 2);
    let delay_us = way_us + 2 * i64::from(leg.jitter_mean_us) + 10_000;
    let delay_milli_r = if delay_us < 160_000 { delay_us / 40 } else { (delay_us - 120_000) / 10 };
    // In thousandths of R: 2.5 R per percent are 25 per hundredth of a percent.
    let r = (93_200 - delay_milli_r - i64::from(leg.loss_bp()) * 25).clamp(0, 100_000);
    // MOS = 1 + 0.035 R + 7e-6 R (R - 60) (100 - R), with R in thousandths and MOS in hundredths.
    let line = i128::from(r) * 35_000_000_000;
    let curve = i128::from(r) * i128::from(r - 60_000) * i128::from(100_000 - r) * 7;
    let mos = 100 + (line + curve) / 10_000_000_000_000;
    mos.clamp(100, 450) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(packets: u64, lost: u64, first_us: u64, last_us: u64) -> FlowCounters {
        FlowCounters {
            packets,
            lost,
            first_us,
            last_us,
            bytes_payload: packets * 172,
            clock_hz: 8_000,
            ..FlowCounters::ZERO
        }
    }

    #[test]
    fn slow_and_fast_counters_add_up() {
        let slow = counters(1, 0, 1_000, 1_000);
        let fast = FlowCounters {
            jitter_max_scaled: 16 * 80,
            jitter_sum_scaled: 16 * 8 * 99,
            jitter_samples: 99,
            ..counters(99, 3, 21_000, 2_001_000)
        };
        let leg = LegMedia::merge([&slow, &fast], &Quality::default());
        assert_eq!((leg.packets, leg.bytes, leg.lost), (100, 17_200, 3));
        assert_eq!((leg.first_us, leg.last_us, leg.duration_us), (1_000, 2_001_000, 2_000_000));
        assert_eq!((leg.jitter_mean_us, leg.jitter_max_us), (1_000, 10_000));
        assert_eq!(leg.loss_bp(), 291);
    }

    #[test]
    fn nothing_received_is_nothing() {
        let leg = LegMedia::merge([&FlowCounters::ZERO], &Quality::default());
        assert_eq!(leg, LegMedia::default());
    }

    #[test]
    fn mos_falls_with_loss_jitter_and_delay() {
        let mos = |lost, jitter_us: u32, rtt_us| {
            mos_hundredths(&LegMedia {
                packets: 1_000 - lost,
                lost,
                jitter_mean_us: jitter_us,
                rtt_us,
                ..LegMedia::default()
            })
        };
        // R = 92.45: MOS 4.40 by the formula of G.107 annex B.
        assert_eq!(mos(0, 0, None), 439);
        // 5 % loss: R = 79.95, MOS 4.02.
        assert_eq!(mos(50, 0, None), 402);
        assert!(mos(0, 40_000, None) < mos(0, 0, None));
        assert!(mos(0, 0, Some(800_000)) < mos(0, 0, Some(100_000)));
        assert_eq!(mos(999, 0, None), 100);
    }

    #[test]
    fn one_way_audio_needs_a_talker_a_silence_and_time() {
        let talks = LegMedia { packets: 51, ..LegMedia::default() };
        let silent = LegMedia::default();
        assert!(one_way(&talks, &silent, 5_000_000));
        assert!(one_way(&silent, &talks, 5_000_000));
        assert!(!one_way(&talks, &silent, 4_999_999));
        assert!(!one_way(&talks, &talks, 60_000_000));
        assert!(!one_way(&silent, &silent, 60_000_000));
    }
}
