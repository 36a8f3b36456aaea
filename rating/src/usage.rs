//! What a finished call reports: everything a CDR needs before money is computed (spec cdr.md 2).
//!
//! The same value, taken at the answer, is the start record of the journal: if the switch dies, the call is billed from
//! it up to the last heartbeat. Fields are only ever appended, each with a serde default: old journals stay readable.

use serde::{Deserialize, Serialize};

use crate::fee::{BillingParams, RateTerms, Tariff};
use crate::gift::Gift;
use crate::money::Money;
use crate::split::RateChange;
use crate::text::Text;

/// One leg's price: who pays and by which row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegTerms {
    /// Account that is charged (customer) or charges us (vendor).
    pub account: Text,
    /// Display name of the account.
    pub account_name: Text,
    /// The rate row as it stood at the answer; `None` when the leg is free or the vendor has no row.
    pub terms: Option<RateTerms>,
    /// Charged until the last packet of relayed media, not until the end by signalling.
    #[serde(default)]
    pub until_media: bool,
    /// Rate group the row is of.
    #[serde(default)]
    pub rate_group: Text,
    /// The number that was looked up (rates.md 2).
    #[serde(default)]
    pub number: Text,
    /// Rows that take the place of `terms` during the call, by time; empty unless the rate group splits sections.
    #[serde(default)]
    pub changes: Vec<RateChange>,
    /// Gift time that is held for the call; filled in by the rating thread.
    #[serde(default)]
    pub gifts: Vec<Gift>,
    /// Gift money that is held for the call; filled in by the rating thread.
    #[serde(default)]
    pub gift_money: Money,
}

impl LegTerms {
    /// What prices the leg of a call that was answered at `connect_ms`; `None` for a free leg.
    pub fn tariff(&self, connect_ms: i64) -> Option<Tariff<'_>> {
        let terms = self.terms.as_ref()?;
        Some(Tariff { terms, changes: &self.changes, connect_ms, gifts: &self.gifts, gift_money: self.gift_money })
    }
}

/// One attempt to reach a vendor, in order; kept in the CDR, never a CDR of its own (spec cdr.md 1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Routing gateway.
    pub gateway: Text,
    /// Final SIP status, 0 when none came.
    pub status: u16,
    /// Q.850 cause of the end.
    pub q850: u8,
    /// Server reason or status in words.
    pub reason: Text,
    /// Wall clock, ms: INVITE sent.
    pub start_ms: i64,
    /// Wall clock, ms: attempt over.
    pub end_ms: i64,
    /// Why another gateway was or was not tried, by the row of routing.md 8 that decided.
    pub next: Text,
}

/// Media of one side as the switch saw it: what came in from that side (spec media.md 10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaUsage {
    /// RTP packets received and accepted.
    pub packets: u64,
    /// RTP payload bytes of those packets (UDP payload).
    pub bytes: u64,
    /// RTCP packets received and accepted.
    pub rtcp_packets: u64,
    /// First to last packet, microseconds.
    pub duration_us: u64,
    /// Sequence numbers never seen.
    pub lost: u64,
    /// Packets seen twice.
    pub duplicates: u64,
    /// Packets behind a later one.
    pub reordered: u64,
    /// Mean interarrival jitter (RFC 3550 6.4.1), microseconds.
    pub jitter_us: u32,
    /// Largest interarrival jitter, microseconds.
    pub jitter_max_us: u32,
    /// Packets dropped, whatever the reason.
    pub dropped: u64,
    /// Packets forwarded to the other side.
    pub relayed: u64,
    /// Mean opinion score estimate in hundredths, 0 when unknown.
    pub mos_x100: u16,
    /// Wall clock of the first packet, ms.
    pub first_ms: Option<i64>,
    /// Wall clock of the last packet, ms.
    pub last_ms: Option<i64>,
}

/// Marks of a CDR that needs a second look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags {
    /// The wall clock moved against the monotonic one by more than a second during the call (billing.md 6.9).
    pub clock_step: bool,
    /// The vendor had no rate for the number; cost is 0 (rates.md 3.4).
    pub no_vendor_rate: bool,
    /// Written on restart after a crash, billed to the last heartbeat (billing.md 6.10).
    pub recovered: bool,
    /// The switch was started anew during the call and went on with it; what user space had counted of its media before is
    /// not in the record.
    #[serde(default)]
    pub adopted: bool,
}

/// A call as it ended, before rating.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Unique, time-ordered key of the call; below 2^53 so that every JSON reader keeps it exact.
    pub flow_no: u64,
    /// First CDR of a multi-leg call; equal to `flow_no` for a plain one.
    pub flow_no_first: u64,
    /// Node name.
    pub softswitch: Text,
    /// The node's own call number.
    pub softswitch_call_id: i64,
    /// Call-ID of the a-leg.
    pub caller_call_id: Text,
    /// Call-ID of the b-leg that was used last.
    pub callee_call_id: Text,
    /// Caller as received.
    pub caller_in: Text,
    /// Caller after the rules of the mapping gateway.
    pub caller_billed: Text,
    /// Caller sent to the vendor.
    pub caller_out: Text,
    /// Callee as received.
    pub callee_in: Text,
    /// Callee after the rules of the mapping gateway; this number is rated.
    pub callee_billed: Text,
    /// Callee sent to the vendor.
    pub callee_out: Text,
    /// Original caller data: display name, diversion.
    pub caller_orig_info: Text,
    /// Mapping gateway; empty when none.
    pub caller_gateway: Text,
    /// Routing gateway of the last attempt; empty when none was chosen.
    pub callee_gateway: Text,
    /// 0 phone, 1 gateway, 2 bound number, 3 card.
    pub caller_type: u8,
    /// Same for the called side.
    pub callee_type: u8,
    /// Signalling address of the caller.
    pub caller_ip: Text,
    /// Signalling address of the vendor.
    pub callee_ip: Text,
    /// Media address of the caller as learned, else as offered.
    pub caller_rtp_ip: Text,
    /// Media address of the vendor.
    pub callee_rtp_ip: Text,
    /// User-Agent of the caller.
    pub caller_product: Text,
    /// Server or User-Agent of the vendor.
    pub callee_product: Text,
    /// Codec on the caller's leg.
    pub caller_codec: Text,
    /// Codec on the vendor's leg.
    pub callee_codec: Text,
    /// Whether media was relayed.
    pub rtp_forward: bool,
    /// Which step decided relay or direct, with its words.
    pub media_step: Text,
    /// `UDP`, `TCP` or `TLS`.
    pub caller_transport: Text,
    /// Same for the vendor's leg.
    pub callee_transport: Text,
    /// Our address on the caller's leg.
    pub caller_local_ip: Text,
    /// Our address on the vendor's leg.
    pub callee_local_ip: Text,
    /// INVITE in, wall ms.
    pub setup_ms: i64,
    /// First 18x, wall ms.
    pub ring_ms: Option<i64>,
    /// Answer, wall ms.
    pub connect_ms: Option<i64>,
    /// Release, wall ms; `connect_ms + hold_ms` for an answered call.
    pub end_ms: i64,
    /// Answer to release by the monotonic clock, ms; 0 when not answered.
    pub hold_ms: i64,
    /// INVITE in to the first 18x or 200 towards the caller, ms.
    pub caller_pdd_ms: Option<i64>,
    /// INVITE out to the first 18x or 200 from the vendor, ms.
    pub callee_pdd_ms: Option<i64>,
    /// The paying side.
    pub customer: Option<LegTerms>,
    /// The vendor side of the answering gateway.
    pub vendor: Option<LegTerms>,
    /// Billing parameters as they stood at the answer (billing.md 7).
    pub params: BillingParams,
    /// 1 in-network, 2 local, 4 domestic, 5 international; 0 unknown.
    pub call_level: u8,
    /// -1 no billing, 0 phone, 1 mapping gateway, 2 bound number, 3 phone card.
    pub billing_mode: i8,
    /// 0 caller pays, 1 callee pays, 2 external.
    pub billing_type: u8,
    /// 0 caller, 1 callee, 2 server.
    pub end_direction: u8,
    /// Number of the end reason (endreasons.md E-D1).
    pub end_reason: i32,
    /// Its name.
    pub end_reason_text: Text,
    /// Final status sent to the caller; 0 when none.
    pub sip_status_in: u16,
    /// Final status got from the vendor; 0 when none.
    pub sip_status_out: u16,
    /// Q.850 cause sent to the caller.
    pub q850_in: u8,
    /// Q.850 cause got from the vendor.
    pub q850_out: u8,
    /// Text of the Reason header.
    pub sip_reason: Text,
    /// Attempts in order.
    pub attempts: Vec<Attempt>,
    /// Media from the caller.
    pub caller_media: MediaUsage,
    /// Media from the vendor.
    pub callee_media: MediaUsage,
    /// Marks.
    pub flags: Flags,
    /// Answer to the last packet of relayed media in either direction, by the monotonic clock, ms; `None` when none was seen.
    #[serde(default)]
    pub media_hold_ms: Option<i64>,
    /// Agents of the paying account, the direct one first; each is charged by its own rate group (billing.md 9).
    #[serde(default)]
    pub agents: Vec<LegTerms>,
}

impl Usage {
    /// Held time that a leg is charged for, ms. A leg charged by its media ends with the last packet that was relayed in either
    /// direction, and costs nothing without any (design.md P3). Where the switch cannot know - direct media, or a life that
    /// ended before it could tell - signalling decides.
    pub fn charged_ms(&self, leg: &LegTerms) -> i64 {
        let hold_ms = if self.answered() { self.hold_ms } else { 0 };
        let unknown = !self.rtp_forward || self.flags.recovered || (self.flags.adopted && self.media_hold_ms.is_none());
        if leg.until_media && !unknown { self.media_hold_ms.unwrap_or(0).clamp(0, hold_ms.max(0)) } else { hold_ms }
    }

    /// Whether the caller was ever connected.
    pub fn answered(&self) -> bool {
        self.connect_ms.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leg_charged_by_its_media_ends_with_the_last_packet_the_switch_saw() {
        let leg = |until_media| LegTerms { until_media, ..LegTerms::default() };
        let call = |media_hold_ms, flags| Usage {
            connect_ms: Some(1),
            hold_ms: 60_000,
            rtp_forward: true,
            media_hold_ms,
            flags,
            ..Usage::default()
        };
        let plain = Flags::default();
        assert_eq!(call(Some(10_000), plain).charged_ms(&leg(true)), 10_000);
        assert_eq!(call(Some(10_000), plain).charged_ms(&leg(false)), 60_000, "by signalling");
        assert_eq!(call(None, plain).charged_ms(&leg(true)), 0, "nothing was heard");
        assert_eq!(call(Some(-500), plain).charged_ms(&leg(true)), 0, "early media only");
        assert_eq!(call(Some(61_000), plain).charged_ms(&leg(true)), 60_000, "packets after the end");
        // Where the switch cannot know, signalling decides.
        assert_eq!(Usage { rtp_forward: false, ..call(None, plain) }.charged_ms(&leg(true)), 60_000);
        let recovered = Flags { recovered: true, ..plain };
        assert_eq!(call(None, recovered).charged_ms(&leg(true)), 60_000);
        let adopted = Flags { adopted: true, ..plain };
        assert_eq!(call(None, adopted).charged_ms(&leg(true)), 60_000);
        assert_eq!(call(Some(5_000), adopted).charged_ms(&leg(true)), 5_000);
        assert_eq!(Usage { connect_ms: None, ..call(Some(5_000), plain) }.charged_ms(&leg(true)), 0, "never answered");
    }
}
