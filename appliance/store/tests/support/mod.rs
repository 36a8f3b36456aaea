//! What the tests share: a carrier's traffic as journal records, with its own books, and a dump of a database.
#![allow(dead_code, reason = "every test file uses its own part")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde_json::{Map, Value, json};
use tandem_rating::cdr::{CDR_FIELDS, Cdr, CdrKind};
use tandem_rating::money::Money;
use tandem_rating::record::{LedgerKind, LedgerRow, Record};
use tandem_rating::usage::Usage;
use tandem_store::{DATABASE_FILE, Journal, JournalOptions};

/// 2026-11-22 00:00:00 UTC.
pub(crate) const MIDNIGHT_MS: i64 = 1_795_305_600_000;

pub(crate) fn money(text: &str) -> Money {
    text.parse().unwrap()
}

pub(crate) fn param(value: &str) -> Record {
    Record::Param { at_ms: 5, user: "root".into(), name: "SS_SIP_SESSION_TTL".into(), value: value.into() }
}

/// Appends and flushes `records`.
pub(crate) fn write(journal: &mut Journal, records: &[Record]) {
    for record in records {
        journal.append(record).unwrap();
    }
    journal.flush().unwrap();
}

pub(crate) fn open(dir: &Path) -> Journal {
    Journal::open(dir, JournalOptions::default()).unwrap().0
}

/// A CDR with a value of its own in every field.
pub(crate) fn full_cdr(flow_no: u64, end_ms: i64) -> Cdr {
    let mut fields = Map::new();
    for (index, (name, kind)) in CDR_FIELDS.iter().enumerate() {
        let value = match kind {
            CdrKind::Int => json!(-1000 - index as i64),
            CdrKind::Text => json!(format!("{name} \u{e4}|'\"\n{index}")),
            CdrKind::Money => json!(format!("-{index}.000000{}", index % 90 + 10)),
            CdrKind::Json => json!([
                {"gateway": "acme", "status": 503, "q850": 41, "reason": "x\"y", "start_ms": 1, "end_ms": 2, "next": "row 3"},
                {"gateway": "best", "status": 200, "q850": 16, "reason": "", "start_ms": 3, "end_ms": 4, "next": ""}
            ]),
        };
        fields.insert((*name).to_owned(), value);
    }
    for (name, value) in [
        ("flow_no", json!(flow_no)),
        ("flow_no_first", json!(u64::MAX)),
        ("rate_id", json!(u64::MAX - 1)),
        ("vendor_rate_id", json!(i64::MAX as u64 + 1)),
        ("end_ms", json!(end_ms)),
        ("id", json!(0)),
    ] {
        fields.insert(name.to_owned(), value);
    }
    serde_json::from_value(Value::Object(fields)).unwrap()
}

/// Records as the rating thread writes them, and what they must come to.
pub(crate) struct Traffic {
    rng: StdRng,
    pub(crate) next_flow: u64,
    now_ms: i64,
    versions: u64,
    payments: u64,
    /// The books: account -> balance.
    pub(crate) balances: BTreeMap<String, Money>,
    /// Calls that were answered and are not over: flow number -> held ms by the last heartbeat.
    pub(crate) open: BTreeMap<u64, i64>,
    /// Settled calls: flow number -> whether it has a CDR.
    pub(crate) settled: BTreeMap<u64, bool>,
}

impl Traffic {
    pub(crate) fn new(seed: u64) -> Traffic {
        Traffic {
            rng: StdRng::seed_from_u64(seed),
            next_flow: 1_000,
            now_ms: MIDNIGHT_MS - 60_000,
            versions: 0,
            payments: 0,
            balances: BTreeMap::new(),
            open: BTreeMap::new(),
            settled: BTreeMap::new(),
        }
    }

    fn row(&mut self, key: String, account: &str, kind: LedgerKind, amount: Money, flow_no: Option<u64>) -> LedgerRow {
        let balance = self.balances.entry(account.to_owned()).or_default();
        *balance = balance.checked_add(amount).unwrap();
        LedgerRow {
            key,
            account: account.to_owned(),
            kind,
            amount,
            balance_after: *balance,
            at_ms: self.now_ms,
            flow_no,
            user: String::new(),
            memo: "memo".into(),
        }
    }

    /// A call from nothing to its end in one record.
    pub(crate) fn call(&mut self, flow_no: u64) -> Record {
        let customer = format!("customer-{}", self.rng.random_range(0..5));
        let vendor = format!("vendor-{}", self.rng.random_range(0..3));
        let hold_s: i64 = self.rng.random_range(0..600);
        let fee = money(&format!("{}.{:06}", hold_s / 60, self.rng.random_range(0..1_000_000)));
        let vendor_fee = money(&format!("0.{:08}", self.rng.random_range(0..100_000_000)));
        let tax = money(&format!("0.{:02}", hold_s % 100));
        let cdr = Cdr {
            flow_no,
            flow_no_first: flow_no,
            softswitch: "ss1".into(),
            caller_call_id: format!("{flow_no:x}@10.0.0.1").into(),
            callee_call_id: format!("{flow_no:x}@10.0.0.2").into(),
            caller_in: format!("86138{:08}", flow_no % 100_000_000).into(),
            caller_billed: format!("138{:08}", flow_no % 100_000_000).into(),
            caller_out: format!("86138{:08}", flow_no % 100_000_000).into(),
            callee_in: format!("00861{:09}", self.rng.random_range(0..1_000_000_000)).into(),
            callee_billed: format!("861{:09}", self.rng.random_range(0..1_000_000_000)).into(),
            callee_out: format!("861{:09}", self.rng.random_range(0..1_000_000_000)).into(),
            callee_area: "861".into(),
            caller_gateway: format!("mg-{customer}").into(),
            callee_gateway: format!("rg-{vendor}").into(),
            caller_ip: "10.0.0.1:5060".into(),
            callee_ip: "10.0.0.2:5060".into(),
            caller_rtp_ip: "10.0.0.1:4000".into(),
            callee_rtp_ip: "10.0.0.2:5000".into(),
            caller_product: "SIPp".into(),
            callee_product: "SIPp".into(),
            caller_codec: "PCMA".into(),
            callee_codec: "PCMA".into(),
            caller_protocol: "SIP".into(),
            callee_protocol: "SIP".into(),
            caller_transport: "UDP".into(),
            callee_transport: "UDP".into(),
            setup_ms: self.now_ms - hold_s * 1000 - 2000,
            connect_ms: (hold_s > 0).then_some(self.now_ms - hold_s * 1000),
            end_ms: self.now_ms,
            hold_ms: hold_s * 1000,
            hold_s,
            account: customer.clone().into(),
            account_name: customer.clone().into(),
            billed_s: hold_s,
            fee,
            tax,
            vendor_account: vendor.clone().into(),
            vendor_fee,
            vendor_s: hold_s,
            margin: fee.checked_sub(vendor_fee).unwrap(),
            fu: "0.01".into(),
            rate_used: "0.0123".into(),
            end_reason: 200,
            end_reason_text: "Normal".into(),
            currency: "EUR".into(),
            ..Cdr::default()
        };
        let charge = fee.checked_add(tax).unwrap().checked_neg().unwrap();
        let cost = vendor_fee.checked_neg().unwrap();
        let ledger = vec![
            self.row(format!("call:{flow_no}:customer"), &customer, LedgerKind::Call, charge, Some(flow_no)),
            self.row(format!("call:{flow_no}:vendor"), &vendor, LedgerKind::Call, cost, Some(flow_no)),
        ];
        self.now_ms += self.rng.random_range(0..400);
        self.open.remove(&flow_no);
        self.settled.insert(flow_no, true);
        Record::Settled { flow_no, cdr: Some(Box::new(cdr)), ledger }
    }

    pub(crate) fn start(&mut self) -> Record {
        let flow_no = self.flow();
        self.open.insert(flow_no, 0);
        let connect_ms = Some(self.now_ms);
        let usage = Usage { flow_no, setup_ms: self.now_ms - 2000, connect_ms, ..Usage::default() };
        Record::Start { usage: Box::new(usage), carry: Vec::new() }
    }

    fn flow(&mut self) -> u64 {
        self.next_flow += 1;
        self.next_flow
    }

    pub(crate) fn next(&mut self) -> Record {
        match self.rng.random_range(0..100) {
            0..30 => self.start(),
            30..60 if !self.open.is_empty() => {
                let at = self.rng.random_range(0..self.open.len());
                let flow_no = *self.open.keys().nth(at).unwrap();
                self.call(flow_no)
            }
            60..70 => {
                for held_ms in self.open.values_mut() {
                    *held_ms += 5_000;
                }
                let alive = self.open.iter().map(|(flow_no, held_ms)| (*flow_no, *held_ms)).collect();
                Record::Heartbeat { at_ms: self.now_ms, alive, unacknowledged: Vec::new() }
            }
            70..80 => {
                self.payments += 1;
                let account = format!("customer-{}", self.rng.random_range(0..5));
                let amount = money(&format!("{}.12345678", self.rng.random_range(-10..1000)));
                let key = format!("payment/{}", self.payments);
                Record::Ledger(self.row(key, &account, LedgerKind::Payment, amount, None))
            }
            80..84 => {
                let flow_no = self.flow();
                self.settled.insert(flow_no, false);
                Record::Settled { flow_no, cdr: None, ledger: Vec::new() }
            }
            84..88 => param(&self.rng.random_range(0..1000).to_string()),
            88..91 => {
                self.versions += 1;
                Record::Site { version: self.versions, at_ms: 7, user: "root".into(), text: "[site]".into() }
            }
            91..94 => {
                self.versions += 1;
                let group = format!("group-{}", self.rng.random_range(0..3));
                Record::Deck { version: self.versions, at_ms: 7, user: "root".into(), group, csv: "prefix\n1\n".into() }
            }
            _ => {
                let flow_no = self.flow();
                self.call(flow_no)
            }
        }
    }

    pub(crate) fn take(&mut self, count: usize) -> Vec<Record> {
        (0..count).map(|_| self.next()).collect()
    }
}

/// Records with their sequences, from 1.
pub(crate) fn numbered(records: &[Record]) -> Vec<(u64, Record)> {
    (1..).zip(records.iter().cloned()).collect()
}

/// Every row of every table, as text.
pub(crate) fn dump(dir: &Path) -> String {
    let connection = Connection::open(dir.join(DATABASE_FILE)).unwrap();
    let tables: Vec<String> = connection
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let mut text = String::new();
    for table in tables {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            write!(text, "{table}").unwrap();
            for column in 0..columns {
                match row.get_ref(column).unwrap() {
                    ValueRef::Null => text.push_str("|-"),
                    ValueRef::Integer(value) => write!(text, "|{value}").unwrap(),
                    ValueRef::Real(value) => write!(text, "|real {value}").unwrap(),
                    ValueRef::Text(value) => write!(text, "|{}", String::from_utf8_lossy(value)).unwrap(),
                    ValueRef::Blob(value) => write!(text, "|{value:?}").unwrap(),
                }
            }
            text.push('\n');
        }
    }
    text
}
