//! What is billed and kept of one call: every field of spec cdr.md 2, flat, in its order.
//!
//! The field table at the bottom is the one list of columns: the store, JSON and CSV all walk it.

use serde::{Deserialize, Serialize};

use crate::fee::{BillingError, BillingParams, Charge, RateTerms, rate_tariff};
use crate::money::Money;
use crate::proof::{self, Proof, Role};
use crate::text::{Text, ToCompactString};
use crate::usage::{Attempt, Flags, LegTerms, MediaUsage, Usage};

/// One call, rated. Times are UTC milliseconds, money is exact and a decimal string in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cdr {
    /// primary key; time-ordered; de-duplication key
    pub flow_no: u64,
    /// row id of the day table; 0 until stored
    pub id: i64,
    /// 0 main; n = n-th agent above
    pub cdr_level: i32,
    /// main record of an agent record
    pub agent_cdr_id: Option<i64>,
    /// first CDR of a multi-leg call
    pub flow_no_first: u64,
    /// node
    pub softswitch: Text,
    /// call number of the node
    pub softswitch_call_id: i64,
    /// from API-started calls; empty otherwise
    pub transaction_id: Text,
    /// SIP Call-ID, ingress
    pub caller_call_id: Text,
    /// SIP Call-ID the caller's own switch had, when it told us
    pub caller_orig_call_id: Text,
    /// SIP Call-ID, egress
    pub callee_call_id: Text,
    /// caller as received
    pub caller_in: Text,
    /// caller after ingress rules
    pub caller_billed: Text,
    /// caller sent to the vendor
    pub caller_out: Text,
    /// callee as received
    pub callee_in: Text,
    /// callee after ingress rules; the number that is rated
    pub callee_billed: Text,
    /// callee sent to the vendor
    pub callee_out: Text,
    /// original caller data
    pub caller_orig_info: Text,
    /// number portability result
    pub lrn: Text,
    /// area of the caller
    pub caller_area: Text,
    /// matched rate prefix of the customer
    pub callee_area: Text,
    /// mapping gateway
    pub caller_gateway: Text,
    /// routing gateway; empty when none was chosen
    pub callee_gateway: Text,
    /// 0 phone, 1 gateway, 2 bound number, 3 card
    pub caller_type: i32,
    /// 0 phone, 1 gateway, 2 bound number, 3 card
    pub callee_type: i32,
    /// signalling address
    pub caller_ip: Text,
    /// signalling address
    pub callee_ip: Text,
    /// media address
    pub caller_rtp_ip: Text,
    /// media address
    pub callee_rtp_ip: Text,
    /// User-Agent
    pub caller_product: Text,
    /// Server
    pub callee_product: Text,
    /// negotiated
    pub caller_codec: Text,
    /// negotiated
    pub callee_codec: Text,
    /// media proxied 0 / 1
    pub rtp_forward: i32,
    /// step of the media decision
    pub media_step: Text,
    /// SIP or H.323
    pub caller_protocol: Text,
    /// SIP or H.323
    pub callee_protocol: Text,
    /// UDP, TCP or TLS
    pub caller_transport: Text,
    /// UDP, TCP or TLS
    pub callee_transport: Text,
    /// our address on the caller's leg
    pub caller_local_ip: Text,
    /// our address on the vendor's leg
    pub callee_local_ip: Text,
    /// INVITE in, UTC ms
    pub setup_ms: i64,
    /// first 18x, UTC ms
    pub ring_ms: Option<i64>,
    /// answer, UTC ms; null when not answered
    pub connect_ms: Option<i64>,
    /// release, UTC ms (connect_ms + hold_ms)
    pub end_ms: i64,
    /// exact duration
    pub hold_ms: i64,
    /// after hold precision, before free time
    pub hold_s: i64,
    /// INVITE to first 18x or 200, caller side
    pub caller_pdd_ms: Option<i64>,
    /// INVITE to first 18x or 200, vendor side
    pub callee_pdd_ms: Option<i64>,
    /// call recording began
    pub record_start_ms: Option<i64>,
    /// payer; empty when none
    pub account: Text,
    /// display name of the payer
    pub account_name: Text,
    /// billed seconds
    pub billed_s: i64,
    /// the account pays fee + tax
    pub fee: Money,
    /// tax on the fee
    pub tax: Money,
    /// paid by package
    pub suite_fee: Money,
    /// seconds paid by package
    pub suite_s: i64,
    /// income of this level after the charge of the level above
    pub income_fee: Money,
    /// tax part of the income
    pub income_tax: Money,
    /// rate type 1, 2, 4, 5; 0 unknown
    pub call_level: i32,
    /// -1 no billing, 0 phone, 1 mapping gateway, 2 bound number, 3 phone card
    pub billing_mode: i32,
    /// 0 caller pays, 1 callee pays, 2 external
    pub billing_type: i32,
    /// direct agent
    pub agent_account: Text,
    /// direct agent
    pub agent_name: Text,
    /// direct agent
    pub agent_fee: Money,
    /// direct agent
    pub agent_tax: Money,
    /// direct agent, billed seconds
    pub agent_s: i64,
    /// direct agent
    pub agent_suite_fee: Money,
    /// direct agent
    pub agent_suite_s: i64,
    /// direct agent, matched prefix
    pub agent_prefix: Text,
    /// clearing account
    pub vendor_account: Text,
    /// cost
    pub vendor_fee: Money,
    /// tax on the cost
    pub vendor_tax: Money,
    /// billed seconds of the cost
    pub vendor_s: i64,
    /// matched prefix of the cost
    pub vendor_prefix: Text,
    /// fee - vendor_fee
    pub margin: Money,
    /// SERVER_BILLING_FEE_PRECISTION at the answer
    pub fp: i32,
    /// SERVER_BILLING_FEE_UNIT at the answer
    pub fu: Text,
    /// SERVER_BILLING_HOLD_TIME_PRECISION at the answer, ms
    pub p_hold: i32,
    /// SERVER_BILLING_FREE_TIME at the answer
    pub free_s: i64,
    /// TANDEM_RATE_QUANTISE at the answer, 0 / 1
    pub rate_quantise: i32,
    /// TANDEM_FREE_TIME_VENDOR at the answer, 0 / 1
    pub vendor_free_time: i32,
    /// customer rate row; 0 when free
    pub rate_id: u64,
    /// customer price per minute as it was multiplied
    pub rate_used: Text,
    /// customer first block
    pub first_s: i64,
    /// customer next blocks
    pub next_s: i64,
    /// customer connection fee
    pub conn_fee: Money,
    /// vendor rate row; 0 when none
    pub vendor_rate_id: u64,
    /// vendor price per minute as it was multiplied
    pub vendor_rate_used: Text,
    /// vendor first block
    pub vendor_first_s: i64,
    /// vendor next blocks
    pub vendor_next_s: i64,
    /// vendor connection fee
    pub vendor_conn_fee: Money,
    /// clock_step, no_vendor_rate, recovered, adopted; comma list
    pub flags: Text,
    /// 0 caller, 1 callee, 2 server
    pub end_direction: i32,
    /// endreasons.md E-D1
    pub end_reason: i32,
    /// its name
    pub end_reason_text: Text,
    /// final status sent to the caller
    pub sip_status_in: i32,
    /// final status got from the vendor
    pub sip_status_out: i32,
    /// cause sent to the caller
    pub q850_in: i32,
    /// cause got from the vendor
    pub q850_out: i32,
    /// Reason header text
    pub sip_reason: Text,
    /// RTP packets from the caller
    pub caller_rtp_packets: i64,
    /// RTP bytes from the caller
    pub caller_rtp_bytes: i64,
    /// first to last packet from the caller, microseconds
    pub caller_rtp_duration_us: i64,
    /// packets from the caller forwarded to the other side
    pub caller_rtp_relayed: i64,
    /// packets from the caller that never came
    pub caller_rtp_lost: i64,
    /// packets from the caller seen twice
    pub caller_rtp_duplicates: i64,
    /// packets from the caller behind a later one
    pub caller_rtp_reordered: i64,
    /// packets from the caller dropped
    pub caller_rtp_dropped: i64,
    /// RTCP packets from the caller
    pub caller_rtcp_packets: i64,
    /// mean jitter from the caller, microseconds
    pub caller_jitter_us: i64,
    /// largest jitter from the caller, microseconds
    pub caller_jitter_max_us: i64,
    /// MOS estimate from the caller, hundredths; 0 unknown
    pub caller_mos_x100: i32,
    /// first packet from the caller, UTC ms
    pub caller_media_first_ms: Option<i64>,
    /// last packet from the caller, UTC ms
    pub caller_media_last_ms: Option<i64>,
    /// RTP packets from the vendor
    pub callee_rtp_packets: i64,
    /// RTP bytes from the vendor
    pub callee_rtp_bytes: i64,
    /// first to last packet from the vendor, microseconds
    pub callee_rtp_duration_us: i64,
    /// packets from the vendor forwarded to the other side
    pub callee_rtp_relayed: i64,
    /// packets from the vendor that never came
    pub callee_rtp_lost: i64,
    /// packets from the vendor seen twice
    pub callee_rtp_duplicates: i64,
    /// packets from the vendor behind a later one
    pub callee_rtp_reordered: i64,
    /// packets from the vendor dropped
    pub callee_rtp_dropped: i64,
    /// RTCP packets from the vendor
    pub callee_rtcp_packets: i64,
    /// mean jitter from the vendor, microseconds
    pub callee_jitter_us: i64,
    /// largest jitter from the vendor, microseconds
    pub callee_jitter_max_us: i64,
    /// MOS estimate from the vendor, hundredths; 0 unknown
    pub callee_mos_x100: i32,
    /// first packet from the vendor, UTC ms
    pub callee_media_first_ms: Option<i64>,
    /// last packet from the vendor, UTC ms
    pub callee_media_last_ms: Option<i64>,
    /// attempts to reach a vendor, in order
    pub attempts: Vec<Attempt>,
    /// ISO 4217 code of every amount
    pub currency: Text,
    /// what every leg was rated by and what came out, as JSON ([`crate::proof`])
    #[serde(default)]
    pub legs: Text,
}

/// One value of a CDR, as a store or a file writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CdrValue<'a> {
    /// Not known.
    Null,
    /// A whole number.
    Int(i64),
    /// Text.
    Text(&'a str),
    /// Exact money; written as a plain decimal.
    Money(Money),
    /// The attempts; written as JSON.
    Attempts(&'a [Attempt]),
}

/// How a column is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CdrKind {
    /// A whole number, perhaps null.
    Int,
    /// Text.
    Text,
    /// A decimal written as text, so that nothing is rounded by the store.
    Money,
    /// JSON text.
    Json,
}

/// Name and kind of every field, in order.
pub const CDR_FIELDS: &[(&str, CdrKind)] = &[
    ("flow_no", CdrKind::Int),
    ("id", CdrKind::Int),
    ("cdr_level", CdrKind::Int),
    ("agent_cdr_id", CdrKind::Int),
    ("flow_no_first", CdrKind::Int),
    ("softswitch", CdrKind::Text),
    ("softswitch_call_id", CdrKind::Int),
    ("transaction_id", CdrKind::Text),
    ("caller_call_id", CdrKind::Text),
    ("caller_orig_call_id", CdrKind::Text),
    ("callee_call_id", CdrKind::Text),
    ("caller_in", CdrKind::Text),
    ("caller_billed", CdrKind::Text),
    ("caller_out", CdrKind::Text),
    ("callee_in", CdrKind::Text),
    ("callee_billed", CdrKind::Text),
    ("callee_out", CdrKind::Text),
    ("caller_orig_info", CdrKind::Text),
    ("lrn", CdrKind::Text),
    ("caller_area", CdrKind::Text),
    ("callee_area", CdrKind::Text),
    ("caller_gateway", CdrKind::Text),
    ("callee_gateway", CdrKind::Text),
    ("caller_type", CdrKind::Int),
    ("callee_type", CdrKind::Int),
    ("caller_ip", CdrKind::Text),
    ("callee_ip", CdrKind::Text),
    ("caller_rtp_ip", CdrKind::Text),
    ("callee_rtp_ip", CdrKind::Text),
    ("caller_product", CdrKind::Text),
    ("callee_product", CdrKind::Text),
    ("caller_codec", CdrKind::Text),
    ("callee_codec", CdrKind::Text),
    ("rtp_forward", CdrKind::Int),
    ("media_step", CdrKind::Text),
    ("caller_protocol", CdrKind::Text),
    ("callee_protocol", CdrKind::Text),
    ("caller_transport", CdrKind::Text),
    ("callee_transport", CdrKind::Text),
    ("caller_local_ip", CdrKind::Text),
    ("callee_local_ip", CdrKind::Text),
    ("setup_ms", CdrKind::Int),
    ("ring_ms", CdrKind::Int),
    ("connect_ms", CdrKind::Int),
    ("end_ms", CdrKind::Int),
    ("hold_ms", CdrKind::Int),
    ("hold_s", CdrKind::Int),
    ("caller_pdd_ms", CdrKind::Int),
    ("callee_pdd_ms", CdrKind::Int),
    ("record_start_ms", CdrKind::Int),
    ("account", CdrKind::Text),
    ("account_name", CdrKind::Text),
    ("billed_s", CdrKind::Int),
    ("fee", CdrKind::Money),
    ("tax", CdrKind::Money),
    ("suite_fee", CdrKind::Money),
    ("suite_s", CdrKind::Int),
    ("income_fee", CdrKind::Money),
    ("income_tax", CdrKind::Money),
    ("call_level", CdrKind::Int),
    ("billing_mode", CdrKind::Int),
    ("billing_type", CdrKind::Int),
    ("agent_account", CdrKind::Text),
    ("agent_name", CdrKind::Text),
    ("agent_fee", CdrKind::Money),
    ("agent_tax", CdrKind::Money),
    ("agent_s", CdrKind::Int),
    ("agent_suite_fee", CdrKind::Money),
    ("agent_suite_s", CdrKind::Int),
    ("agent_prefix", CdrKind::Text),
    ("vendor_account", CdrKind::Text),
    ("vendor_fee", CdrKind::Money),
    ("vendor_tax", CdrKind::Money),
    ("vendor_s", CdrKind::Int),
    ("vendor_prefix", CdrKind::Text),
    ("margin", CdrKind::Money),
    ("fp", CdrKind::Int),
    ("fu", CdrKind::Text),
    ("p_hold", CdrKind::Int),
    ("free_s", CdrKind::Int),
    ("rate_quantise", CdrKind::Int),
    ("vendor_free_time", CdrKind::Int),
    ("rate_id", CdrKind::Int),
    ("rate_used", CdrKind::Text),
    ("first_s", CdrKind::Int),
    ("next_s", CdrKind::Int),
    ("conn_fee", CdrKind::Money),
    ("vendor_rate_id", CdrKind::Int),
    ("vendor_rate_used", CdrKind::Text),
    ("vendor_first_s", CdrKind::Int),
    ("vendor_next_s", CdrKind::Int),
    ("vendor_conn_fee", CdrKind::Money),
    ("flags", CdrKind::Text),
    ("end_direction", CdrKind::Int),
    ("end_reason", CdrKind::Int),
    ("end_reason_text", CdrKind::Text),
    ("sip_status_in", CdrKind::Int),
    ("sip_status_out", CdrKind::Int),
    ("q850_in", CdrKind::Int),
    ("q850_out", CdrKind::Int),
    ("sip_reason", CdrKind::Text),
    ("caller_rtp_packets", CdrKind::Int),
    ("caller_rtp_bytes", CdrKind::Int),
    ("caller_rtp_duration_us", CdrKind::Int),
    ("caller_rtp_relayed", CdrKind::Int),
    ("caller_rtp_lost", CdrKind::Int),
    ("caller_rtp_duplicates", CdrKind::Int),
    ("caller_rtp_reordered", CdrKind::Int),
    ("caller_rtp_dropped", CdrKind::Int),
    ("caller_rtcp_packets", CdrKind::Int),
    ("caller_jitter_us", CdrKind::Int),
    ("caller_jitter_max_us", CdrKind::Int),
    ("caller_mos_x100", CdrKind::Int),
    ("caller_media_first_ms", CdrKind::Int),
    ("caller_media_last_ms", CdrKind::Int),
    ("callee_rtp_packets", CdrKind::Int),
    ("callee_rtp_bytes", CdrKind::Int),
    ("callee_rtp_duration_us", CdrKind::Int),
    ("callee_rtp_relayed", CdrKind::Int),
    ("callee_rtp_lost", CdrKind::Int),
    ("callee_rtp_duplicates", CdrKind::Int),
    ("callee_rtp_reordered", CdrKind::Int),
    ("callee_rtp_dropped", CdrKind::Int),
    ("callee_rtcp_packets", CdrKind::Int),
    ("callee_jitter_us", CdrKind::Int),
    ("callee_jitter_max_us", CdrKind::Int),
    ("callee_mos_x100", CdrKind::Int),
    ("callee_media_first_ms", CdrKind::Int),
    ("callee_media_last_ms", CdrKind::Int),
    ("attempts", CdrKind::Json),
    ("currency", CdrKind::Text),
    ("legs", CdrKind::Text),
];

impl Cdr {
    /// The value of field `index` of [`CDR_FIELDS`]; [`CdrValue::Null`] past the end.
    pub fn value(&self, index: usize) -> CdrValue<'_> {
        match index {
            0 => CdrValue::Int(self.flow_no as i64),
            1 => CdrValue::Int(self.id),
            2 => CdrValue::Int(i64::from(self.cdr_level)),
            3 => self.agent_cdr_id.map_or(CdrValue::Null, CdrValue::Int),
            4 => CdrValue::Int(self.flow_no_first as i64),
            5 => CdrValue::Text(&self.softswitch),
            6 => CdrValue::Int(self.softswitch_call_id),
            7 => CdrValue::Text(&self.transaction_id),
            8 => CdrValue::Text(&self.caller_call_id),
            9 => CdrValue::Text(&self.caller_orig_call_id),
            10 => CdrValue::Text(&self.callee_call_id),
            11 => CdrValue::Text(&self.caller_in),
            12 => CdrValue::Text(&self.caller_billed),
            13 => CdrValue::Text(&self.caller_out),
            14 => CdrValue::Text(&self.callee_in),
            15 => CdrValue::Text(&self.callee_billed),
            16 => CdrValue::Text(&self.callee_out),
            17 => CdrValue::Text(&self.caller_orig_info),
            18 => CdrValue::Text(&self.lrn),
            19 => CdrValue::Text(&self.caller_area),
            20 => CdrValue::Text(&self.callee_area),
            21 => CdrValue::Text(&self.caller_gateway),
            22 => CdrValue::Text(&self.callee_gateway),
            23 => CdrValue::Int(i64::from(self.caller_type)),
            24 => CdrValue::Int(i64::from(self.callee_type)),
            25 => CdrValue::Text(&self.caller_ip),
            26 => CdrValue::Text(&self.callee_ip),
            27 => CdrValue::Text(&self.caller_rtp_ip),
            28 => CdrValue::Text(&self.callee_rtp_ip),
            29 => CdrValue::Text(&self.caller_product),
            30 => CdrValue::Text(&self.callee_product),
            31 => CdrValue::Text(&self.caller_codec),
            32 => CdrValue::Text(&self.callee_codec),
            33 => CdrValue::Int(i64::from(self.rtp_forward)),
            34 => CdrValue::Text(&self.media_step),
            35 => CdrValue::Text(&self.caller_protocol),
            36 => CdrValue::Text(&self.callee_protocol),
            37 => CdrValue::Text(&self.caller_transport),
            38 => CdrValue::Text(&self.callee_transport),
            39 => CdrValue::Text(&self.caller_local_ip),
            40 => CdrValue::Text(&self.callee_local_ip),
            41 => CdrValue::Int(self.setup_ms),
            42 => self.ring_ms.map_or(CdrValue::Null, CdrValue::Int),
            43 => self.connect_ms.map_or(CdrValue::Null, CdrValue::Int),
            44 => CdrValue::Int(self.end_ms),
            45 => CdrValue::Int(self.hold_ms),
            46 => CdrValue::Int(self.hold_s),
            47 => self.caller_pdd_ms.map_or(CdrValue::Null, CdrValue::Int),
            48 => self.callee_pdd_ms.map_or(CdrValue::Null, CdrValue::Int),
            49 => self.record_start_ms.map_or(CdrValue::Null, CdrValue::Int),
            50 => CdrValue::Text(&self.account),
            51 => CdrValue::Text(&self.account_name),
            52 => CdrValue::Int(self.billed_s),
            53 => CdrValue::Money(self.fee),
            54 => CdrValue::Money(self.tax),
            55 => CdrValue::Money(self.suite_fee),
            56 => CdrValue::Int(self.suite_s),
            57 => CdrValue::Money(self.income_fee),
            58 => CdrValue::Money(self.income_tax),
            59 => CdrValue::Int(i64::from(self.call_level)),
            60 => CdrValue::Int(i64::from(self.billing_mode)),
            61 => CdrValue::Int(i64::from(self.billing_type)),
            62 => CdrValue::Text(&self.agent_account),
            63 => CdrValue::Text(&self.agent_name),
            64 => CdrValue::Money(self.agent_fee),
            65 => CdrValue::Money(self.agent_tax),
            66 => CdrValue::Int(self.agent_s),
            67 => CdrValue::Money(self.agent_suite_fee),
            68 => CdrValue::Int(self.agent_suite_s),
            69 => CdrValue::Text(&self.agent_prefix),
            70 => CdrValue::Text(&self.vendor_account),
            71 => CdrValue::Money(self.vendor_fee),
            72 => CdrValue::Money(self.vendor_tax),
            73 => CdrValue::Int(self.vendor_s),
            74 => CdrValue::Text(&self.vendor_prefix),
            75 => CdrValue::Money(self.margin),
            76 => CdrValue::Int(i64::from(self.fp)),
            77 => CdrValue::Text(&self.fu),
            78 => CdrValue::Int(i64::from(self.p_hold)),
            79 => CdrValue::Int(self.free_s),
            80 => CdrValue::Int(i64::from(self.rate_quantise)),
            81 => CdrValue::Int(i64::from(self.vendor_free_time)),
            82 => CdrValue::Int(self.rate_id as i64),
            83 => CdrValue::Text(&self.rate_used),
            84 => CdrValue::Int(self.first_s),
            85 => CdrValue::Int(self.next_s),
            86 => CdrValue::Money(self.conn_fee),
            87 => CdrValue::Int(self.vendor_rate_id as i64),
            88 => CdrValue::Text(&self.vendor_rate_used),
            89 => CdrValue::Int(self.vendor_first_s),
            90 => CdrValue::Int(self.vendor_next_s),
            91 => CdrValue::Money(self.vendor_conn_fee),
            92 => CdrValue::Text(&self.flags),
            93 => CdrValue::Int(i64::from(self.end_direction)),
            94 => CdrValue::Int(i64::from(self.end_reason)),
            95 => CdrValue::Text(&self.end_reason_text),
            96 => CdrValue::Int(i64::from(self.sip_status_in)),
            97 => CdrValue::Int(i64::from(self.sip_status_out)),
            98 => CdrValue::Int(i64::from(self.q850_in)),
            99 => CdrValue::Int(i64::from(self.q850_out)),
            100 => CdrValue::Text(&self.sip_reason),
            101 => CdrValue::Int(self.caller_rtp_packets),
            102 => CdrValue::Int(self.caller_rtp_bytes),
            103 => CdrValue::Int(self.caller_rtp_duration_us),
            104 => CdrValue::Int(self.caller_rtp_relayed),
            105 => CdrValue::Int(self.caller_rtp_lost),
            106 => CdrValue::Int(self.caller_rtp_duplicates),
            107 => CdrValue::Int(self.caller_rtp_reordered),
            108 => CdrValue::Int(self.caller_rtp_dropped),
            109 => CdrValue::Int(self.caller_rtcp_packets),
            110 => CdrValue::Int(self.caller_jitter_us),
            111 => CdrValue::Int(self.caller_jitter_max_us),
            112 => CdrValue::Int(i64::from(self.caller_mos_x100)),
            113 => self.caller_media_first_ms.map_or(CdrValue::Null, CdrValue::Int),
            114 => self.caller_media_last_ms.map_or(CdrValue::Null, CdrValue::Int),
            115 => CdrValue::Int(self.callee_rtp_packets),
            116 => CdrValue::Int(self.callee_rtp_bytes),
            117 => CdrValue::Int(self.callee_rtp_duration_us),
            118 => CdrValue::Int(self.callee_rtp_relayed),
            119 => CdrValue::Int(self.callee_rtp_lost),
            120 => CdrValue::Int(self.callee_rtp_duplicates),
            121 => CdrValue::Int(self.callee_rtp_reordered),
            122 => CdrValue::Int(self.callee_rtp_dropped),
            123 => CdrValue::Int(self.callee_rtcp_packets),
            124 => CdrValue::Int(self.callee_jitter_us),
            125 => CdrValue::Int(self.callee_jitter_max_us),
            126 => CdrValue::Int(i64::from(self.callee_mos_x100)),
            127 => self.callee_media_first_ms.map_or(CdrValue::Null, CdrValue::Int),
            128 => self.callee_media_last_ms.map_or(CdrValue::Null, CdrValue::Int),
            129 => CdrValue::Attempts(&self.attempts),
            130 => CdrValue::Text(&self.currency),
            131 => CdrValue::Text(&self.legs),
            _ => CdrValue::Null,
        }
    }
}

/// What a settled call costs each side, for the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settlement {
    /// The finished record.
    pub cdr: Cdr,
    /// Customer's charge; `None` when the leg is free or not billed.
    pub customer: Option<Charge>,
    /// Vendor's charge; `None` when no vendor answered or it has no rate.
    pub vendor: Option<Charge>,
    /// Charges of the agents, in the order of [`Usage::agents`].
    pub agents: Vec<Option<Charge>>,
    /// What could not be rated, one sentence each; an operator has to bill it by hand.
    pub problems: Vec<String>,
}

/// Rates both legs of a finished call and fills the record (spec billing.md 2 and 9, cdr.md 2).
///
/// A call that was never answered costs nothing on either leg. A free leg keeps its hold time and gets no billed
/// seconds (billing.md 6.13). A leg that cannot be rated (an absurd row, an amount out of range) is left without a charge
/// and named in [`Settlement::problems`]; it never takes the other leg's charge with it.
pub fn settle(usage: &Usage, currency: &str) -> Settlement {
    let params = &usage.params;
    let hold_ms = if usage.answered() { usage.hold_ms } else { 0 };
    let mut problems = Vec::new();
    let mut rated = |role: Role, leg: Option<&LegTerms>, params: &BillingParams| {
        let leg = leg?;
        rate(usage, leg, params).unwrap_or_else(|error| {
            problems.push(format!("the {} leg ({}) is not rated: {error}", role.as_str(), leg.account));
            None
        })
    };
    let customer = rated(Role::Customer, usage.customer.as_ref(), params);
    let vendor = rated(Role::Vendor, usage.vendor.as_ref(), &params.for_vendor());
    let agents: Vec<_> = usage.agents.iter().map(|leg| rated(Role::Agent, Some(leg), params)).collect();

    let mut cdr = record(usage, currency);
    cdr.hold_s = crate::duration::hold_s(hold_ms, params.p_hold_ms);
    let mut proofs = Vec::new();
    if let Some(leg) = &usage.customer {
        cdr.account.clone_from(&leg.account);
        cdr.account_name.clone_from(&leg.account_name);
        if let Some(terms) = &leg.terms {
            cdr.callee_area.clone_from(&terms.prefix);
            cdr.rate_id = terms.rate_id;
            cdr.first_s = i64::from(terms.first_s);
            cdr.next_s = i64::from(terms.next_s);
            cdr.conn_fee = Money::new(terms.conn_fee).unwrap_or_default();
            cdr.rate_used = rate_used(terms, customer.as_ref());
        }
        if let Some(charge) = &customer {
            cdr.billed_s = charge.billed_s;
            cdr.fee = charge.fee;
            cdr.tax = charge.tax;
            cdr.suite_fee = charge.suite_fee;
            cdr.suite_s = charge.suite_s;
        }
        proofs.push(Proof::of(Role::Customer, usage, leg, customer.as_ref()));
    }
    for (n, (leg, charge)) in usage.agents.iter().zip(&agents).enumerate() {
        if n == 0 {
            cdr.agent_account.clone_from(&leg.account);
            cdr.agent_name.clone_from(&leg.account_name);
            if let Some(terms) = &leg.terms {
                cdr.agent_prefix.clone_from(&terms.prefix);
            }
            if let Some(charge) = charge {
                cdr.agent_fee = charge.fee;
                cdr.agent_tax = charge.tax;
                cdr.agent_s = charge.billed_s;
                cdr.agent_suite_fee = charge.suite_fee;
                cdr.agent_suite_s = charge.suite_s;
            }
        }
        proofs.push(Proof::of(Role::Agent, usage, leg, charge.as_ref()));
    }
    if let Some(leg) = &usage.vendor {
        cdr.vendor_account.clone_from(&leg.account);
        if let Some(terms) = &leg.terms {
            cdr.vendor_prefix.clone_from(&terms.prefix);
            cdr.vendor_rate_id = terms.rate_id;
            cdr.vendor_first_s = i64::from(terms.first_s);
            cdr.vendor_next_s = i64::from(terms.next_s);
            cdr.vendor_conn_fee = Money::new(terms.conn_fee).unwrap_or_default();
            cdr.vendor_rate_used = rate_used(terms, vendor.as_ref());
        }
        if let Some(charge) = &vendor {
            cdr.vendor_s = charge.billed_s;
            cdr.vendor_fee = charge.fee;
            cdr.vendor_tax = charge.tax;
        }
        proofs.push(Proof::of(Role::Vendor, usage, leg, vendor.as_ref()));
    }
    cdr.legs = proof::to_text(&proofs);
    // The income of this level is what is left of its fee after the level above took its own (cdr.md 2).
    let (above_fee, above_tax) =
        if usage.agents.is_empty() { (cdr.vendor_fee, cdr.vendor_tax) } else { (cdr.agent_fee, cdr.agent_tax) };
    let margin = cdr.fee.checked_sub(cdr.vendor_fee);
    match (margin, cdr.fee.checked_sub(above_fee), cdr.tax.checked_sub(above_tax)) {
        (Ok(margin), Ok(fee), Ok(tax)) => {
            cdr.margin = margin;
            cdr.income_fee = fee;
            cdr.income_tax = tax;
        }
        _ => problems.push("the margin is out of the range of amounts".to_owned()),
    }
    Settlement { cdr, customer, vendor, agents, problems }
}

/// The price of 60 s as it was multiplied.
fn rate_used(terms: &RateTerms, charge: Option<&Charge>) -> Text {
    charge.map_or(terms.rate_per_min.normalize(), |charge| charge.rate_used).to_compact_string()
}

fn rate(usage: &Usage, leg: &LegTerms, params: &BillingParams) -> Result<Option<Charge>, BillingError> {
    let tariff = leg.tariff(usage.connect_ms.unwrap_or(usage.setup_ms));
    tariff.map(|tariff| rate_tariff(usage.charged_ms(leg), &tariff, params)).transpose()
}

/// The only protocol there is.
const SIP: Text = Text::const_new("SIP");

fn record(usage: &Usage, currency: &str) -> Cdr {
    let mut cdr = Cdr {
        flow_no: usage.flow_no,
        flow_no_first: usage.flow_no_first,
        softswitch: usage.softswitch.clone(),
        softswitch_call_id: usage.softswitch_call_id,
        caller_call_id: usage.caller_call_id.clone(),
        caller_orig_call_id: usage.caller_call_id.clone(),
        callee_call_id: usage.callee_call_id.clone(),
        caller_in: usage.caller_in.clone(),
        caller_billed: usage.caller_billed.clone(),
        caller_out: usage.caller_out.clone(),
        callee_in: usage.callee_in.clone(),
        callee_billed: usage.callee_billed.clone(),
        callee_out: usage.callee_out.clone(),
        caller_orig_info: usage.caller_orig_info.clone(),
        caller_gateway: usage.caller_gateway.clone(),
        callee_gateway: usage.callee_gateway.clone(),
        caller_type: i32::from(usage.caller_type),
        callee_type: i32::from(usage.callee_type),
        caller_ip: usage.caller_ip.clone(),
        callee_ip: usage.callee_ip.clone(),
        caller_rtp_ip: usage.caller_rtp_ip.clone(),
        callee_rtp_ip: usage.callee_rtp_ip.clone(),
        caller_product: usage.caller_product.clone(),
        callee_product: usage.callee_product.clone(),
        caller_codec: usage.caller_codec.clone(),
        callee_codec: usage.callee_codec.clone(),
        rtp_forward: i32::from(usage.rtp_forward),
        media_step: usage.media_step.clone(),
        caller_protocol: SIP,
        callee_protocol: if usage.callee_gateway.is_empty() { Text::default() } else { SIP },
        caller_transport: usage.caller_transport.clone(),
        callee_transport: usage.callee_transport.clone(),
        caller_local_ip: usage.caller_local_ip.clone(),
        callee_local_ip: usage.callee_local_ip.clone(),
        setup_ms: usage.setup_ms,
        ring_ms: usage.ring_ms,
        connect_ms: usage.connect_ms,
        end_ms: usage.end_ms,
        hold_ms: if usage.answered() { usage.hold_ms } else { 0 },
        caller_pdd_ms: usage.caller_pdd_ms,
        callee_pdd_ms: usage.callee_pdd_ms,
        call_level: i32::from(usage.call_level),
        billing_mode: i32::from(usage.billing_mode),
        billing_type: i32::from(usage.billing_type),
        fp: i32::from(usage.params.fp),
        fu: usage.params.fu.normalize().to_compact_string(),
        p_hold: i32::from(usage.params.p_hold_ms),
        free_s: i64::from(usage.params.free_s),
        rate_quantise: i32::from(usage.params.quantise_rate),
        vendor_free_time: i32::from(usage.params.vendor_free_time),
        flags: flag_list(usage.flags),
        end_direction: i32::from(usage.end_direction),
        end_reason: usage.end_reason,
        end_reason_text: usage.end_reason_text.clone(),
        sip_status_in: i32::from(usage.sip_status_in),
        sip_status_out: i32::from(usage.sip_status_out),
        q850_in: i32::from(usage.q850_in),
        q850_out: i32::from(usage.q850_out),
        sip_reason: usage.sip_reason.clone(),
        attempts: usage.attempts.clone(),
        currency: currency.into(),
        ..Cdr::default()
    };
    caller_media(&mut cdr, &usage.caller_media);
    callee_media(&mut cdr, &usage.callee_media);
    cdr
}

fn flag_list(flags: Flags) -> Text {
    let names = [
        (flags.clock_step, "clock_step"),
        (flags.no_vendor_rate, "no_vendor_rate"),
        (flags.recovered, "recovered"),
        (flags.adopted, "adopted"),
    ];
    let mut list = Text::default();
    for (_, name) in names.iter().filter(|(set, _)| *set) {
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(name);
    }
    list
}

fn caller_media(cdr: &mut Cdr, media: &MediaUsage) {
    cdr.caller_rtp_packets = media.packets as i64;
    cdr.caller_rtp_bytes = media.bytes as i64;
    cdr.caller_rtp_duration_us = media.duration_us as i64;
    cdr.caller_rtp_relayed = media.relayed as i64;
    cdr.caller_rtp_lost = media.lost as i64;
    cdr.caller_rtp_duplicates = media.duplicates as i64;
    cdr.caller_rtp_reordered = media.reordered as i64;
    cdr.caller_rtp_dropped = media.dropped as i64;
    cdr.caller_rtcp_packets = media.rtcp_packets as i64;
    cdr.caller_jitter_us = i64::from(media.jitter_us);
    cdr.caller_jitter_max_us = i64::from(media.jitter_max_us);
    cdr.caller_mos_x100 = i32::from(media.mos_x100);
    cdr.caller_media_first_ms = media.first_ms;
    cdr.caller_media_last_ms = media.last_ms;
}

fn callee_media(cdr: &mut Cdr, media: &MediaUsage) {
    cdr.callee_rtp_packets = media.packets as i64;
    cdr.callee_rtp_bytes = media.bytes as i64;
    cdr.callee_rtp_duration_us = media.duration_us as i64;
    cdr.callee_rtp_relayed = media.relayed as i64;
    cdr.callee_rtp_lost = media.lost as i64;
    cdr.callee_rtp_duplicates = media.duplicates as i64;
    cdr.callee_rtp_reordered = media.reordered as i64;
    cdr.callee_rtp_dropped = media.dropped as i64;
    cdr.callee_rtcp_packets = media.rtcp_packets as i64;
    cdr.callee_jitter_us = i64::from(media.jitter_us);
    cdr.callee_jitter_max_us = i64::from(media.jitter_max_us);
    cdr.callee_mos_x100 = i32::from(media.mos_x100);
    cdr.callee_media_first_ms = media.first_ms;
    cdr.callee_media_last_ms = media.last_ms;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fee::RateTerms;
    use rust_decimal::Decimal;

    fn leg(rate: i64, block_s: u32) -> Option<LegTerms> {
        let terms = RateTerms {
            rate_id: 1,
            prefix: "1".into(),
            rate_per_min: Decimal::new(rate, 2),
            first_s: block_s,
            next_s: block_s,
            sections: Vec::new(),
            conn_fee: Decimal::ZERO,
            tax_pct: Decimal::ZERO,
            level: 5,
        };
        Some(LegTerms { account: "a".into(), terms: Some(terms), ..LegTerms::default() })
    }

    #[test]
    fn a_vendor_row_that_cannot_be_rated_does_not_make_the_call_free() {
        let usage = Usage {
            connect_ms: Some(1),
            hold_ms: 60_000,
            customer: leg(10, 60),
            vendor: leg(999_999_999_999, u32::MAX),
            ..Usage::default()
        };
        let settlement = settle(&usage, "USD");
        assert_eq!(settlement.cdr.fee.to_string(), "0.1");
        assert_eq!(settlement.cdr.account, "a");
        assert!(settlement.vendor.is_none());
        assert!(settlement.problems[0].contains("vendor"), "{:?}", settlement.problems);
    }

    #[test]
    fn every_field_has_a_value_and_nothing_is_left_over() {
        let cdr = Cdr::default();
        assert_eq!(cdr.value(CDR_FIELDS.len()), CdrValue::Null);
        for (index, (name, kind)) in CDR_FIELDS.iter().enumerate() {
            let fits = matches!(
                (cdr.value(index), kind),
                (CdrValue::Null | CdrValue::Int(_), CdrKind::Int)
                    | (CdrValue::Text(_), CdrKind::Text)
                    | (CdrValue::Money(_), CdrKind::Money)
                    | (CdrValue::Attempts(_), CdrKind::Json)
            );
            assert!(fits, "{name}");
        }
    }
}
