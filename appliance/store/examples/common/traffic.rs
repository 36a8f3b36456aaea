//! Calls as the daemon writes them, made of nothing: the same ones every time.

use tandem_rating::cdr::settle;
use tandem_rating::fee::{Charge, RateTerms};
use tandem_rating::money::Money;
use tandem_rating::record::{LedgerKind, LedgerRow, Record};
use tandem_rating::usage::{Attempt, LegTerms, MediaUsage, Usage};

pub(crate) type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Calls that are in progress at once: how far the order of the ends is from that of the beginnings.
const OPEN: u64 = 3000;
const CUSTOMERS: u64 = 200;
const VENDORS: u64 = 50;

/// Makes the calls.
#[derive(Default)]
pub(crate) struct Traffic {
    state: u64,
    balances: std::collections::HashMap<String, Money>,
}

impl Traffic {
    /// The same numbers every time, in no order (splitmix64).
    pub(crate) fn random(&mut self, below: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }

    /// `calls` calls: start records and settled records in the order of their times.
    #[allow(dead_code, reason = "one of two programs asks for it")]
    pub(crate) fn records(&mut self, calls: u64) -> Fallible<Vec<Record>> {
        let mut records: Vec<(u64, bool, Usage)> = Vec::with_capacity(calls as usize * 2);
        for call in 0..calls {
            let usage = self.usage(call + 1);
            records.push((call, false, usage.clone()));
            records.push((call + 1 + self.random(OPEN), true, usage));
        }
        records.sort_by_key(|(at, ended, usage)| (*at, *ended, usage.flow_no));
        records
            .into_iter()
            .map(|(_, ended, usage)| if ended { self.settled(usage) } else { Ok(start(usage)) })
            .collect()
    }

    pub(crate) fn usage(&mut self, flow_no: u64) -> Usage {
        let (customer, vendor) = (self.random(CUSTOMERS), self.random(VENDORS));
        let (caller, callee) = (self.random(1_000_000_000), self.random(10_000_000_000));
        let hold_ms = 1000 + self.random(600_000) as i64;
        let setup_ms = 1_795_305_600_000 + flow_no as i64;
        let connect_ms = setup_ms + 3000;
        let media = MediaUsage {
            packets: hold_ms as u64 / 20,
            bytes: hold_ms as u64 * 8,
            rtcp_packets: hold_ms as u64 / 5000,
            duration_us: hold_ms as u64 * 1000,
            lost: self.random(10),
            jitter_us: self.random(3000) as u32,
            jitter_max_us: self.random(30_000) as u32,
            relayed: hold_ms as u64 / 20,
            mos_x100: 400 + self.random(40) as u16,
            first_ms: Some(connect_ms),
            last_ms: Some(connect_ms + hold_ms),
            ..MediaUsage::default()
        };
        let leg = |account: String, name: String, prefix: &str, rate: i64| LegTerms {
            account: account.into(),
            account_name: name.into(),
            terms: Some(RateTerms {
                rate_id: 1 + callee % 10_000,
                prefix: prefix.into(),
                rate_per_min: rust_decimal::Decimal::new(rate, 4),
                first_s: 1,
                next_s: 1,
                sections: Vec::new(),
                conn_fee: rust_decimal::Decimal::ZERO,
                tax_pct: rust_decimal::Decimal::ZERO,
                level: 5,
            }),
            rate_group: "wholesale".into(),
            number: format!("44{callee:010}").into(),
            ..LegTerms::default()
        };
        Usage {
            flow_no,
            flow_no_first: flow_no,
            softswitch: "ss1".into(),
            softswitch_call_id: flow_no as i64,
            caller_call_id: format!("{caller:016x}{callee:016x}@192.0.2.10").into(),
            callee_call_id: format!("{callee:016x}{caller:016x}@198.51.100.1").into(),
            caller_in: format!("+8613{caller:09}").into(),
            caller_billed: format!("8613{caller:09}").into(),
            caller_out: format!("8613{caller:09}").into(),
            callee_in: format!("0044{callee:010}").into(),
            callee_billed: format!("44{callee:010}").into(),
            callee_out: format!("44{callee:010}").into(),
            caller_gateway: format!("mapping-{customer}").into(),
            callee_gateway: format!("routing-{vendor}").into(),
            caller_type: 1,
            callee_type: 1,
            caller_ip: "192.0.2.10:5060".into(),
            callee_ip: "198.51.100.7:5060".into(),
            caller_rtp_ip: "192.0.2.10:40000".into(),
            callee_rtp_ip: "198.51.100.7:30000".into(),
            caller_product: "Carrier SBC 9.1".into(),
            callee_product: "Vendor GW 4.2".into(),
            caller_codec: "PCMA".into(),
            callee_codec: "PCMA".into(),
            rtp_forward: true,
            media_step: "default: relay".into(),
            caller_transport: "UDP".into(),
            callee_transport: "UDP".into(),
            caller_local_ip: "198.51.100.1:5060".into(),
            callee_local_ip: "198.51.100.1:5060".into(),
            setup_ms,
            ring_ms: Some(setup_ms + 2000),
            connect_ms: Some(connect_ms),
            end_ms: connect_ms + hold_ms,
            hold_ms,
            caller_pdd_ms: Some(2000),
            callee_pdd_ms: Some(1900),
            customer: Some(leg(
                format!("customer-{customer}"),
                format!("Customer {customer}"),
                "447",
                120 + caller as i64 % 300,
            )),
            vendor: Some(leg(format!("vendor-{vendor}"), format!("Vendor {vendor}"), "447", 100)),
            call_level: 5,
            billing_mode: 1,
            end_reason: 0,
            end_reason_text: "Normal".into(),
            sip_status_in: 200,
            sip_status_out: 200,
            q850_in: 16,
            q850_out: 16,
            attempts: vec![Attempt {
                gateway: format!("routing-{vendor}").into(),
                status: 200,
                q850: 16,
                reason: "OK".into(),
                start_ms: setup_ms + 5,
                end_ms: connect_ms,
                next: "answered".into(),
            }],
            caller_media: media,
            callee_media: MediaUsage { lost: self.random(10), ..media },
            ..Usage::default()
        }
    }

    pub(crate) fn settled(&mut self, usage: Usage) -> Fallible<Record> {
        let settlement = settle(&usage, "EUR");
        let mut ledger = Vec::new();
        for (leg, terms, charge) in
            [("customer", &usage.customer, &settlement.customer), ("vendor", &usage.vendor, &settlement.vendor)]
        {
            if let (Some(terms), Some(charge)) = (terms, charge) {
                ledger.push(self.row(&usage, leg, &terms.account, charge)?);
            }
        }
        Ok(Record::Settled { flow_no: usage.flow_no, cdr: Some(Box::new(settlement.cdr)), ledger })
    }

    fn row(&mut self, usage: &Usage, leg: &str, account: &str, charge: &Charge) -> Fallible<LedgerRow> {
        let amount = charge.fee.checked_add(charge.tax)?.checked_neg()?;
        let balance = self.balances.entry(account.to_owned()).or_default();
        *balance = balance.checked_add(amount)?;
        Ok(LedgerRow {
            key: format!("call:{}:{leg}", usage.flow_no),
            account: account.to_owned(),
            kind: LedgerKind::Call,
            amount,
            balance_after: *balance,
            at_ms: usage.end_ms,
            flow_no: Some(usage.flow_no),
            user: String::new(),
            memo: String::new(),
        })
    }
}

/// A call as it is at the answer.
#[allow(dead_code, reason = "one of two programs asks for it")]
fn start(usage: Usage) -> Record {
    Record::Start {
        usage: Box::new(Usage {
            hold_ms: 0,
            end_ms: 0,
            end_reason_text: Default::default(),
            caller_media: MediaUsage::default(),
            callee_media: MediaUsage::default(),
            ..usage
        }),
        carry: Vec::new(),
    }
}
