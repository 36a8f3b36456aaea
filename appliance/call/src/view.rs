//! A running call as people see it.

use std::net::SocketAddr;

use tandem_ebpf_abi::FlowKey;
use tandem_leg::{LegId, Now};
use tandem_media::Side;
use tandem_rating::fee::RateTerms;
use tandem_rating::usage::MediaUsage;

use crate::call::Call;

/// One running call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallView {
    /// Flow number.
    pub flow_no: u64,
    /// The a-leg.
    pub a_leg: LegId,
    /// The b-leg of the attempt on its way, or of the one that answered.
    pub b_leg: Option<LegId>,
    /// State, see `CallState::as_str`; `ringing` for an attempt that rings.
    pub state: &'static str,
    /// Caller after the rules of the mapping gateway.
    pub caller: String,
    /// Callee after those rules.
    pub callee: String,
    /// Caller as received.
    pub caller_in: String,
    /// Callee as received.
    pub callee_in: String,
    /// Caller sent to the vendor.
    pub caller_out: String,
    /// Callee sent to the vendor.
    pub callee_out: String,
    /// Mapping gateway.
    pub caller_gateway: String,
    /// Routing gateway of the last attempt.
    pub callee_gateway: String,
    /// Account that pays.
    pub account: String,
    /// Clearing account of the last attempt.
    pub vendor_account: String,
    /// Signalling address of the caller.
    pub caller_ip: String,
    /// Signalling address of the vendor.
    pub callee_ip: String,
    /// Call-ID of the a-leg.
    pub caller_call_id: String,
    /// Call-ID of the b-leg.
    pub callee_call_id: String,
    /// Codec in use, empty while unknown.
    pub codec: String,
    /// Media is relayed.
    pub relayed: bool,
    /// The decision about it.
    pub media_step: String,
    /// Local media ports, caller's side first.
    pub media_ports: Option<(FlowKey, FlowKey)>,
    /// Media address of the caller: learned from its packets, and offered.
    pub caller_media: (Option<SocketAddr>, Option<SocketAddr>),
    /// Media address of the vendor: learned, and offered.
    pub callee_media: (Option<SocketAddr>, Option<SocketAddr>),
    /// When it came in.
    pub started: Now,
    /// When the vendor answered; the held time counts from here.
    pub answered: Option<Now>,
    /// Held seconds that are paid; `None` is no limit.
    pub until_s: Option<i64>,
    /// Attempts that failed.
    pub attempts_failed: usize,
    /// What the customer pays; `None` for a free call.
    pub customer_terms: Option<RateTerms>,
    /// What the vendor of the last attempt costs.
    pub vendor_terms: Option<RateTerms>,
    /// Attempts so far.
    pub attempts: Vec<tandem_rating::usage::Attempt>,
    /// Media from the caller; filled in by whoever owns the flow counters.
    pub caller_media_usage: MediaUsage,
    /// Media from the vendor.
    pub callee_media_usage: MediaUsage,
    /// RTP packets of caller and vendor that the fast path forwarded; filled in likewise.
    pub fast_packets: (u64, u64),
}

impl Call {
    pub(crate) fn view(&self) -> CallView {
        let usage = &self.usage;
        let account = |leg: &Option<tandem_rating::usage::LegTerms>| {
            leg.as_ref().map(|l| l.account.to_string()).unwrap_or_default()
        };
        CallView {
            flow_no: self.flow_no,
            a_leg: self.a_leg,
            b_leg: self.leg_of(Side::Callee),
            state: if self.is_ringing() && usage.connect_ms.is_none() && self.session.answered.is_none() {
                "ringing"
            } else {
                self.state().as_str()
            },
            caller: usage.caller_billed.to_string(),
            callee: usage.callee_billed.to_string(),
            caller_in: usage.caller_in.to_string(),
            callee_in: usage.callee_in.to_string(),
            caller_out: usage.caller_out.to_string(),
            callee_out: usage.callee_out.to_string(),
            caller_gateway: usage.caller_gateway.to_string(),
            callee_gateway: usage.callee_gateway.to_string(),
            account: account(&usage.customer),
            vendor_account: account(&usage.vendor),
            caller_ip: usage.caller_ip.to_string(),
            callee_ip: usage.callee_ip.to_string(),
            caller_call_id: usage.caller_call_id.to_string(),
            callee_call_id: usage.callee_call_id.to_string(),
            codec: self.media.codec[0].to_string(),
            relayed: self.media.is_relayed(),
            media_step: usage.media_step.to_string(),
            media_ports: self.media.ports(),
            caller_media: self.media.addresses(Side::Caller),
            callee_media: self.media.addresses(Side::Callee),
            started: self.started,
            answered: self.session.answered.filter(|_| usage.connect_ms.is_some()),
            until_s: self.session.until_s,
            attempts_failed: self.causes.len(),
            customer_terms: usage.customer.as_ref().and_then(|l| l.terms.clone()),
            vendor_terms: usage.vendor.as_ref().and_then(|l| l.terms.clone()),
            attempts: usage.attempts.clone(),
            caller_media_usage: MediaUsage::default(),
            callee_media_usage: MediaUsage::default(),
            fast_packets: (0, 0),
        }
    }
}
