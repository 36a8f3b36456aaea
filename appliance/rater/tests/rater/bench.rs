//! A rater on a bench: short questions, sorted outputs, and the sums that must always hold.
#![allow(unreachable_pub)]

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_call::question::{Admit, Answer, CallKey, Candidate, LineSkip, Payer, Question};
use tandem_call::snapshot::{AccountId, AccountKind, GatewayId};
use tandem_leg::{Now, ServerReason, Time};
use tandem_rater::{
    AccountConfig, AccountView, AdoptedGrant, Adoption, Bounds, GatewayConfig, GatewayView, Output, Rater, Rules,
};
use tandem_rating::fee::{BillingParams, RateTerms};
use tandem_rating::money::Money;
use tandem_rating::record::{LedgerRow, Record};
use tandem_rating::usage::{LegTerms, Usage};

pub const WALL_MS: i64 = 1_795_305_600_000;

pub fn now_ms(ms: u64) -> Now {
    Now { mono: Time::from_millis(ms), wall_ms: WALL_MS + ms as i64 }
}

pub fn money(text: &str) -> Money {
    text.parse().expect("an amount")
}

pub fn terms(rate: &str, first_s: u32, next_s: u32) -> RateTerms {
    RateTerms {
        rate_id: 7,
        prefix: "86".into(),
        rate_per_min: rate.parse().expect("a rate"),
        first_s,
        next_s,
        sections: Vec::new(),
        conn_fee: Default::default(),
        tax_pct: Default::default(),
        level: 5,
    }
}

pub fn key(n: u32) -> CallKey {
    CallKey { shard: 0, index: n, generation: 1 }
}

/// Customer "c" (account 0) under agent "g1" (3) under agent "g2" (4), vendors "v1" and "v2" (1 and 2); mapping gateway 0, routing gateways 1 and 2 ("b1", "b2").
pub struct Bench {
    pub rater: Rater,
    pub at_ms: u64,
    pub records: Vec<Record>,
    pub answers: Vec<Answer>,
    pub alarms: Vec<String>,
    /// Of customer "c".
    pub bounds: Bounds,
}

pub struct Lines {
    pub mapping: (Option<u32>, Option<u32>),
    pub b1: (Option<u32>, Option<u32>),
    pub b2: (Option<u32>, Option<u32>),
}

pub const FREE: Lines = Lines { mapping: (None, None), b1: (None, None), b2: (None, None) };

impl Bench {
    pub fn new(balance: &str, limit: &str, lines: &Lines, rules: Rules) -> Bench {
        let mut bench = Bench::over(Rater::new([]));
        bench.configure(balance, limit, lines, rules);
        bench
    }

    pub fn over(rater: Rater) -> Bench {
        let (records, answers, alarms) = Default::default();
        Bench { rater, at_ms: 0, records, answers, alarms, bounds: Bounds::default() }
    }

    pub fn prepaid(balance: &str) -> Bench {
        Bench::new(balance, "0", &FREE, Rules::default())
    }

    pub fn configure(&mut self, balance: &str, limit: &str, lines: &Lines, rules: Rules) {
        let account = |id, name: &str, kind, limit, opening| AccountConfig {
            id: AccountId(id),
            name: name.to_owned(),
            kind,
            limit,
            opening,
            bounds: Bounds::default(),
        };
        let gateway = |id, name: &str, routing, (capacity, cps): (Option<u32>, Option<u32>)| GatewayConfig {
            id: GatewayId(id),
            name: name.to_owned(),
            routing,
            capacity,
            cps,
        };
        let mut accounts = vec![
            account(0, "c", AccountKind::General, money(limit), Some(money(balance))),
            account(1, "v1", AccountKind::Clearing, Money::ZERO, None),
            account(2, "v2", AccountKind::Clearing, Money::ZERO, None),
            account(3, "g1", AccountKind::General, Money::ZERO, None),
            account(4, "g2", AccountKind::General, Money::ZERO, None),
        ];
        accounts[0].bounds = Bounds { agent: Some(AccountId(3)), ..self.bounds.clone() };
        accounts[3].bounds.agent = Some(AccountId(4));
        self.rater.configure(
            now_ms(self.at_ms),
            &accounts,
            &[
                gateway(0, "a", false, lines.mapping),
                gateway(1, "b1", true, lines.b1),
                gateway(2, "b2", true, lines.b2),
            ],
            rules,
        );
        self.drain();
    }

    pub fn drain(&mut self) {
        while let Some(output) = self.rater.poll_output() {
            match output {
                Output::Record(record) => self.records.push(record),
                Output::Answer { answer, .. } => self.answers.push(answer),
                Output::Alarm(text) => self.alarms.push(text),
            }
        }
    }

    pub fn ask(&mut self, question: Question) -> Option<Answer> {
        self.rater.handle(now_ms(self.at_ms), question);
        self.drain();
        self.answers.pop()
    }

    /// Asks for admission of call `n` to b1, then b2.
    pub fn admit(&mut self, n: u32, terms: Option<RateTerms>) -> Result<Grant, ServerReason> {
        self.admit_with(n, terms, BillingParams::default(), 1)
    }

    pub fn admit_with(
        &mut self,
        n: u32,
        terms: Option<RateTerms>,
        params: BillingParams,
        advance_min: u32,
    ) -> Result<Grant, ServerReason> {
        self.admit_payers(n, vec![Payer::plain(AccountId(0), terms)], params, advance_min)
    }

    pub fn admit_payers(
        &mut self,
        n: u32,
        payers: Vec<Payer>,
        params: BillingParams,
        advance_min: u32,
    ) -> Result<Grant, ServerReason> {
        let admit = Admit {
            call: key(n),
            flow_no: u64::from(n),
            mapping: GatewayId(0),
            payers,
            params: Arc::new(params),
            advance_min,
            candidates: vec![candidate(1), candidate(2)],
        };
        match self.ask(Question::Admit(Box::new(admit))) {
            Some(Answer::Granted { call, until_s, candidate, skipped }) => {
                assert_eq!(call, key(n));
                Ok(Grant { until_s, candidate, skipped })
            }
            Some(Answer::Refused { call, reason }) => {
                assert_eq!(call, key(n));
                Err(reason)
            }
            other => panic!("admission was answered {other:?}"),
        }
    }

    pub fn next_line(&mut self, n: u32, gateways: &[u32]) -> (Option<usize>, Vec<(usize, LineSkip)>) {
        let candidates = gateways.iter().map(|g| candidate(*g)).collect();
        match self.ask(Question::NextLine { call: key(n), flow_no: u64::from(n), candidates }) {
            Some(Answer::Line { candidate, skipped, .. }) => (candidate, skipped),
            other => panic!("NextLine was answered {other:?}"),
        }
    }

    pub fn renew(&mut self, n: u32) -> (Option<i64>, bool) {
        match self.ask(Question::Renew { call: key(n), flow_no: u64::from(n) }) {
            Some(Answer::Renewed { until_s, last, .. }) => (until_s, last),
            other => panic!("Renew was answered {other:?}"),
        }
    }

    pub fn settle(&mut self, usage: &Usage) {
        let n = u32::try_from(usage.flow_no).expect("a small flow number");
        let answer = self.ask(Question::Settle { call: key(n), usage: Box::new(usage.clone()), awaited: false });
        assert!(matches!(answer, Some(Answer::Settled { flow_no, .. }) if flow_no == usage.flow_no), "{answer:?}");
    }

    /// Goes on with one call of another life; if it cannot, it is settled for no time.
    pub fn adopt(&mut self, usage: &Usage, held_s: i64) -> Result<AdoptedGrant, String> {
        self.adopt_all(&[(usage.clone(), 0, held_s)]).remove(0)
    }

    /// Goes on with calls of another life: each with its last heartbeat and how long it is held by now, seconds.
    pub fn adopt_all(&mut self, calls: &[(Usage, i64, i64)]) -> Vec<Result<AdoptedGrant, String>> {
        let lost: Vec<_> =
            calls.iter().map(|(usage, beat_s, _)| Usage { hold_ms: beat_s * 1_000, ..usage.clone() }).collect();
        let all = calls.iter().zip(&lost);
        let all: Vec<_> = all.map(|((usage, _, held_s), lost)| Adoption { usage, lost, held_s: *held_s }).collect();
        let grants = self.rater.adopt(now_ms(self.at_ms), &all, 1);
        self.drain();
        grants
    }

    pub fn account(&self, name: &str) -> AccountView {
        self.rater.accounts().into_iter().find(|a| a.name == name).expect("the account")
    }

    pub fn gateway(&self, name: &str) -> GatewayView {
        self.rater.gateways(now_ms(self.at_ms)).into_iter().find(|g| g.name == name).expect("the gateway")
    }

    pub fn rows(&self) -> Vec<&LedgerRow> {
        let rows = self.records.iter().flat_map(|r| match r {
            Record::Settled { ledger, .. } => ledger.as_slice(),
            Record::Ledger(row) => std::slice::from_ref(row),
            _ => &[],
        });
        rows.collect()
    }

    /// CDRs of settlements so far; `None` for one without a CDR.
    pub fn settlements(&self) -> Vec<(u64, Option<&tandem_rating::cdr::Cdr>)> {
        let settled = self.records.iter().filter_map(|r| match r {
            Record::Settled { flow_no, cdr, .. } => Some((*flow_no, cdr.as_deref())),
            _ => None,
        });
        settled.collect()
    }

    /// Everything given back, and every balance the sum of its rows.
    #[track_caller]
    pub fn nothing_left(&self) {
        assert_eq!(self.rater.calls_held(), 0, "calls held");
        let mut sums: BTreeMap<&str, Money> = BTreeMap::new();
        for row in self.rows() {
            let sum = sums.entry(&row.account).or_default();
            *sum = sum.checked_add(row.amount).expect("a sum");
            assert_eq!(row.balance_after, *sum, "{}", row.key);
        }
        for account in self.rater.accounts() {
            assert_eq!(account.reserved, Money::ZERO, "reserved on {}", account.name);
            assert_eq!(account.calls, 0, "calls on {}", account.name);
            let sum = sums.get(account.name.as_str()).copied().unwrap_or_default();
            assert_eq!(account.balance, sum, "ledger of {}", account.name);
        }
        for gateway in self.rater.gateways(now_ms(self.at_ms)) {
            assert_eq!(gateway.in_use, 0, "lines of {}", gateway.name);
        }
        assert!(self.alarms.is_empty(), "{:?}", self.alarms);
    }
}

pub struct Grant {
    pub until_s: Option<i64>,
    pub candidate: Option<usize>,
    pub skipped: Vec<(usize, LineSkip)>,
}

pub fn candidate(gateway: u32) -> Candidate {
    Candidate { gateway: GatewayId(gateway), clearing: AccountId(gateway) }
}

/// A call of customer "c" over b1 that was answered and held `hold_ms`.
pub fn answered(n: u32, hold_ms: i64, sell: Option<RateTerms>, buy: Option<RateTerms>) -> Usage {
    let leg = |account: &str, terms| LegTerms {
        account: account.into(),
        account_name: account.into(),
        terms,
        ..LegTerms::default()
    };
    Usage {
        connect_ms: Some(WALL_MS),
        end_ms: WALL_MS + hold_ms,
        hold_ms,
        customer: Some(leg("c", sell)),
        vendor: Some(leg("v1", buy)),
        callee_gateway: "b1".into(),
        end_reason: 16,
        ..failed(n, 0)
    }
}

/// A call of customer "c" that never was answered.
pub fn failed(n: u32, end_direction: u8) -> Usage {
    Usage {
        flow_no: u64::from(n),
        flow_no_first: u64::from(n),
        caller_gateway: "a".into(),
        caller_ip: "198.51.100.10:5060".into(),
        callee_billed: "8613900000000".into(),
        setup_ms: WALL_MS,
        end_ms: WALL_MS,
        billing_mode: 1,
        end_direction,
        end_reason: 486,
        ..Usage::default()
    }
}
