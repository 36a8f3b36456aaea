//! The rating thread's work for one call: questions, records, the journal.

use std::hint::black_box;
use std::sync::Arc;

use tandem_call::question::{Admit, CallKey, Candidate, Payer, Question};
use tandem_call::snapshot::{AccountId, AccountKind, GatewayId};
use tandem_leg::{Now, Time};
use tandem_rater::{AccountConfig, GatewayConfig, Output, Rater, Rules};
use tandem_rating::cdr;
use tandem_rating::fee::{BillingParams, RateTerms};
use tandem_rating::money::Money;
use tandem_rating::record::Record;
use tandem_rating::usage::{Attempt, LegTerms, Usage};
use tandem_store::{Journal, JournalOptions};

use crate::harness::Bench;
use crate::material::{self, AT_MS};

pub(crate) const BENCHES: &[Bench] = &[
    Bench { name: "cdr_settle", what: "both legs rated and the record filled", make: settle },
    Bench { name: "journal_append", what: "start record of a call encoded into the buffer", make: append_start },
    Bench {
        name: "journal_append_settled",
        what: "record of a finished call and its ledger rows encoded",
        make: append_settled,
    },
    Bench { name: "journal_append_flush", what: "the same and one write to the file", make: append_flush },
    Bench { name: "rater_heartbeat", what: "heartbeat of 1,000 calls, journalled", make: heartbeat },
    Bench { name: "rater_call", what: "one call: admitted, answered, settled, journalled, no file", make: whole_call },
];

/// Calls of one heartbeat question.
const BEATS: u64 = 1_000;

/// Terms as a row of a deck gives them.
pub(crate) fn terms(rate: i64) -> RateTerms {
    let row = tandem_rating::rate::Rate {
        rate_id: 4711,
        area_code: "442079".into(),
        rate_per_min: rust_decimal::Decimal::new(rate, 4),
        first_s: 1,
        next_s: 1,
        ..Default::default()
    };
    row.terms()
}

/// A call as it is told at its end.
pub(crate) fn usage(flow_no: u64) -> Usage {
    let leg = |account: &str, rate| {
        Some(LegTerms {
            account: account.into(),
            account_name: format!("{account} Ltd").into(),
            terms: Some(terms(rate)),
            ..LegTerms::default()
        })
    };
    Usage {
        flow_no,
        flow_no_first: flow_no,
        softswitch: "node-1".into(),
        softswitch_call_id: flow_no as i64,
        caller_call_id: "a84b4c76e66710@198.51.100.7".into(),
        callee_call_id: "0a5f3b7c9d1e2f40@203.0.113.5".into(),
        caller_in: "12025550100".into(),
        caller_billed: "12025550100".into(),
        caller_out: "12025550100".into(),
        callee_in: "442079460123".into(),
        callee_billed: "442079460123".into(),
        callee_out: "442079460123".into(),
        caller_orig_info: "Alice Example".into(),
        caller_gateway: "acme-trunk".into(),
        callee_gateway: "vendor-1".into(),
        caller_type: 1,
        callee_type: 1,
        caller_ip: material::CUSTOMER.into(),
        callee_ip: "192.0.2.1:5060".into(),
        caller_rtp_ip: "198.51.100.7:40000".into(),
        callee_rtp_ip: "192.0.2.1:6000".into(),
        caller_product: "carrier-sbc/7.2".into(),
        callee_product: "vendor-sbc/3.1".into(),
        caller_codec: "PCMA".into(),
        callee_codec: "PCMA".into(),
        rtp_forward: true,
        media_step: "gateway asks for it".into(),
        caller_transport: "UDP".into(),
        callee_transport: "UDP".into(),
        caller_local_ip: "203.0.113.5".into(),
        callee_local_ip: "203.0.113.5".into(),
        setup_ms: AT_MS,
        ring_ms: Some(AT_MS + 800),
        connect_ms: Some(AT_MS + 4_000),
        end_ms: AT_MS + 69_432,
        hold_ms: 65_432,
        caller_pdd_ms: Some(800),
        callee_pdd_ms: Some(790),
        customer: leg("acme", 4_321),
        vendor: leg("vendor-1", 1_234),
        params: BillingParams::default(),
        call_level: 5,
        billing_mode: 1,
        end_reason: 1,
        end_reason_text: "Normal".into(),
        sip_status_in: 200,
        sip_status_out: 200,
        q850_in: 16,
        q850_out: 16,
        attempts: vec![Attempt { gateway: "vendor-1".into(), status: 200, start_ms: AT_MS, ..Attempt::default() }],
        ..Usage::default()
    }
}

/// A rater with one rich customer, ten vendors and their gateways.
pub(crate) fn rater() -> Rater {
    let mut rater = Rater::new([]);
    let rich: Money = "999999999".parse().unwrap_or_default();
    let account = |id: u32, name: String, kind| AccountConfig {
        id: AccountId(id),
        name,
        kind,
        limit: rich,
        opening: Some(rich),
        bounds: Default::default(),
    };
    let gateway =
        |id: u32, name: String, routing| GatewayConfig { id: GatewayId(id), name, routing, capacity: None, cps: None };
    let mut accounts = vec![account(0, "acme".into(), AccountKind::General)];
    let mut gateways = vec![gateway(0, "acme-trunk".into(), false)];
    for n in 1..=material::VENDORS as u32 {
        accounts.push(account(n, format!("vendor-{n}"), AccountKind::Clearing));
        gateways.push(gateway(n, format!("vendor-{n}"), true));
    }
    rater.configure(now(), &accounts, &gateways, Rules::default());
    while rater.poll_output().is_some() {}
    rater
}

/// Admission of a call with ten candidates.
pub(crate) fn admit(flow_no: u64, params: &Arc<BillingParams>) -> Question {
    Question::Admit(Box::new(Admit {
        call: key(flow_no),
        flow_no,
        mapping: GatewayId(0),
        payers: vec![Payer::plain(AccountId(0), Some(terms(4_321)))],
        params: Arc::clone(params),
        advance_min: 1,
        candidates: (1..=material::VENDORS as u32)
            .map(|n| Candidate { gateway: GatewayId(n), clearing: AccountId(n) })
            .collect(),
    }))
}

/// Key of a call on shard 0.
pub(crate) fn key(flow_no: u64) -> CallKey {
    CallKey { shard: 0, index: flow_no as u32, generation: 1 }
}

fn now() -> Now {
    Now { mono: Time::from_millis(1), wall_ms: AT_MS }
}

/// A journal in a folder of its own; the folder is kept as long as the journal is.
pub(crate) fn journal() -> Option<(Journal, tempfile::TempDir)> {
    let folder = tempfile::tempdir().ok()?;
    let (journal, _) = Journal::open(folder.path(), JournalOptions::default()).ok()?;
    Some((journal, folder))
}

fn settle() -> Box<dyn FnMut()> {
    let usage = usage(1);
    Box::new(move || {
        black_box(cdr::settle(black_box(&usage), "USD"));
    })
}

fn append_start() -> Box<dyn FnMut()> {
    let record = Record::Start { usage: Box::new(usage(1)), carry: Vec::new() };
    append(record, false)
}

fn append_settled() -> Box<dyn FnMut()> {
    append(settled(), false)
}

fn append_flush() -> Box<dyn FnMut()> {
    append(settled(), true)
}

/// What the rater writes at the end of a call.
fn settled() -> Record {
    let mut rater = rater();
    let params = Arc::new(BillingParams::default());
    rater.handle(now(), admit(1, &params));
    rater.handle(now(), Question::Settle { call: key(1), usage: Box::new(usage(1)), awaited: false });
    let mut record = Record::Heartbeat { at_ms: 0, alive: Vec::new(), unacknowledged: Vec::new() };
    while let Some(output) = rater.poll_output() {
        if let Output::Record(made) = output {
            record = made;
        }
    }
    record
}

fn append(record: Record, flush_each: bool) -> Box<dyn FnMut()> {
    let mut place = journal();
    Box::new(move || {
        if let Some((journal, _folder)) = &mut place {
            let _ = black_box(journal.append(black_box(&record)));
            // Encoding alone is measured with a write now and then, as the batches of a busy switch have it.
            if flush_each || journal.buffered_bytes() > 1 << 20 {
                let _ = black_box(journal.flush());
            }
        }
    })
}

fn heartbeat() -> Box<dyn FnMut()> {
    let mut rater = rater();
    let mut place = journal();
    let alive: Vec<(u64, i64)> = (0..BEATS).map(|n| (AT_MS as u64 * 4_096 + n, 65_000)).collect();
    Box::new(move || {
        rater.handle(now(), Question::Heartbeat { at_ms: AT_MS, alive: alive.clone(), unacknowledged: Vec::new() });
        drain(&mut rater, place.as_mut().map(|(journal, _)| journal));
    })
}

fn whole_call() -> Box<dyn FnMut()> {
    let mut rater = rater();
    let mut place = journal();
    let params = Arc::new(BillingParams::default());
    let told = usage(0);
    let mut flow_no = 0;
    Box::new(move || {
        flow_no += 1;
        let call = key(flow_no);
        let usage = || Box::new(Usage { flow_no, ..told.clone() });
        rater.handle(now(), admit(flow_no, &params));
        drain(&mut rater, None);
        rater.handle(now(), Question::Answered { call, usage: usage(), carry: Vec::new() });
        drain(&mut rater, place.as_mut().map(|(journal, _)| journal));
        rater.handle(now(), Question::Settle { call, usage: usage(), awaited: false });
        drain(&mut rater, place.as_mut().map(|(journal, _)| journal));
    })
}

fn drain(rater: &mut Rater, mut journal: Option<&mut Journal>) {
    while let Some(output) = rater.poll_output() {
        if let (Output::Record(record), Some(journal)) = (&output, &mut journal) {
            let _ = black_box(journal.append(record));
            if journal.buffered_bytes() > 1 << 20 {
                let _ = journal.flush();
            }
        }
        black_box(output);
    }
}
