//! A thousand calls at once, in any order of questions: the balance never falls below its limit, and everything comes back.

use tandem_call::question::{Answer, Payer, Question};
use tandem_call::snapshot::{AccountId, AccountKind};
use tandem_rater::Rules;
use tandem_rating::fee::{BillingParams, RateTerms};
use tandem_rating::money::Money;
use tandem_rating::usage::{LegTerms, Usage};

use crate::bench::{Bench, Lines, answered, failed, key, money, terms};

/// splitmix64: random enough to mix calls, and the same on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

struct Call {
    n: u32,
    terms: Option<RateTerms>,
    params: BillingParams,
    above: Vec<RateTerms>,
    until_s: Option<i64>,
    /// The rating thread was told of its answer.
    asked: bool,
}

impl Call {
    fn usage(&self, hold_ms: i64, vendor: bool) -> Usage {
        let leg = |(name, terms): (&str, &RateTerms)| LegTerms {
            account: name.into(),
            terms: Some(terms.clone()),
            ..LegTerms::default()
        };
        Usage {
            params: self.params.clone(),
            agents: ["g1", "g2"].into_iter().zip(&self.above).map(leg).collect(),
            ..answered(self.n, hold_ms, self.terms.clone(), vendor.then(|| terms("0.4", 1, 1)))
        }
    }

    /// From here on the vendor's money may bound it.
    fn answer(&mut self, bench: &mut Bench) {
        let (call, usage) = (key(self.n), Box::new(self.usage(0, true)));
        self.asked = true;
        match bench.ask(Question::Answered { call, usage, carry: Vec::new() }) {
            Some(Answer::Journaled { regranted: Some((until_s, _)), .. }) => self.until_s = until_s,
            Some(Answer::Journaled { regranted: None, .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn agent_terms(dice: &mut Dice) -> RateTerms {
    let blocks = [(1, 1), (60, 60), (30, 6)][dice.below(3) as usize];
    terms(["0.005", "0.4", "2.2222"][dice.below(3) as usize], blocks.0, blocks.1)
}

/// One run: `calls` calls begin, change gateways, renew and end in random order.
fn run(seed: u64, calls: u32) {
    let mut dice = Dice(seed);
    let limit = ["0", "0.50", "20"][dice.below(3) as usize];
    let balance = ["1", "7.77", "100", "1000"][dice.below(4) as usize];
    let lines = Lines { mapping: (Some(400), None), b1: (Some(150), None), b2: (Some(100), None) };
    let check_clearing = dice.below(2) == 0;
    let mut bench = Bench::new(balance, limit, &lines, Rules { check_clearing, ..Rules::default() });
    for (account, most) in [("g1", 60), ("g2", 300), ("v1", 40), ("v2", 40)] {
        let amount = money(&(dice.below(most) + 1).to_string());
        bench.rater.pay(0, account, amount, format!("open-{account}"), "", "").unwrap();
    }
    let floor = money(limit).checked_neg().unwrap();
    let mut alive: Vec<Call> = Vec::new();
    let (mut next, mut admitted, mut ended) = (1, 0, 0);
    while next <= calls || !alive.is_empty() {
        bench.at_ms += dice.below(50);
        let pick = |dice: &mut Dice, alive: &[Call]| dice.below(alive.len() as u64) as usize;
        match dice.below(10) {
            0..=4 if next <= calls => {
                let rate = ["0", "0.01", "0.6", "3.3333", "12"][dice.below(5) as usize];
                let blocks = [(1, 1), (60, 60), (30, 6), (6, 6)][dice.below(4) as usize];
                let free = dice.below(10) == 0;
                let row = (!free).then(|| {
                    let mut row = terms(rate, blocks.0, blocks.1);
                    row.conn_fee = ["0", "0.05"][dice.below(2) as usize].parse().unwrap();
                    row.tax_pct = ["0", "19"][dice.below(2) as usize].parse().unwrap();
                    row
                });
                let params = BillingParams {
                    free_s: dice.below(8) as u32,
                    p_hold_ms: dice.below(1_000) as u16,
                    ..BillingParams::default()
                };
                let advance_min = 1 + dice.below(3) as u32;
                // Agents above have prices of their own.
                let above = if free { 0 } else { dice.below(3) as usize };
                let above: Vec<RateTerms> = (0..above).map(|_| agent_terms(&mut dice)).collect();
                let mut payers = vec![Payer::plain(AccountId(0), row.clone())];
                payers.extend((3..).zip(&above).map(|(id, terms)| Payer::plain(AccountId(id), Some(terms.clone()))));
                if let Ok(grant) = bench.admit_payers(next, payers, params.clone(), advance_min) {
                    admitted += 1;
                    let mut call = Call { n: next, terms: row, params, above, until_s: grant.until_s, asked: false };
                    if dice.below(2) == 0 {
                        call.answer(&mut bench);
                    }
                    alive.push(call);
                }
                next += 1;
            }
            5 if !alive.is_empty() => {
                let at = pick(&mut dice, &alive);
                let gateways: &[u32] = if dice.below(2) == 0 { &[2] } else { &[1, 2] };
                bench.next_line(alive[at].n, gateways);
            }
            6 | 7 if !alive.is_empty() => {
                let at = pick(&mut dice, &alive);
                let (until_s, _) = bench.renew(alive[at].n);
                assert!(until_s >= alive[at].until_s || until_s.is_none(), "seed {seed}: a grant shrank");
                alive[at].until_s = until_s;
            }
            8 | 9 if !alive.is_empty() => {
                let at = pick(&mut dice, &alive);
                let call = alive.swap_remove(at);
                ended += 1;
                // A call ends at its grant at the latest: that is what the call room promises.
                let most_ms = call.until_s.unwrap_or(600) * 1_000;
                let usage = match dice.below(4) {
                    0 => Usage { params: call.params.clone(), ..failed(call.n, dice.below(3) as u8) },
                    1 => call.usage(most_ms, call.asked),
                    _ => call.usage(dice.below(most_ms as u64 + 1) as i64, call.asked || !check_clearing),
                };
                bench.settle(&usage);
            }
            _ => {}
        }
        for account in bench.rater.accounts() {
            let name = &account.name;
            let held: Money = bench
                .rater
                .reservations(name)
                .iter()
                .fold(Money::ZERO, |sum, (_, amount, _)| sum.checked_add(*amount).unwrap());
            assert_eq!(account.reserved, held, "seed {seed}: reserved of {name} is the sum of the reservations");
            // Vendors run into debt unless that is checked.
            if account.kind == AccountKind::General || check_clearing {
                let floor = if name == "c" { floor } else { Money::ZERO };
                assert!(account.balance >= floor, "seed {seed}: {name} has {}, below {floor}", account.balance);
                assert!(account.available >= Money::ZERO, "seed {seed}: more of {name} is reserved than there is");
            }
        }
        assert_eq!(bench.rater.calls_held(), alive.len(), "seed {seed}");
        for (name, most) in [("a", 400), ("b1", 150), ("b2", 100)] {
            assert!(bench.gateway(name).in_use <= most, "seed {seed}: too many lines of {name}");
        }
    }
    assert_eq!(admitted, ended);
    assert!(admitted > 0 || balance == "1", "seed {seed}: nothing was admitted");
    bench.nothing_left();
}

#[test]
fn a_thousand_random_calls_give_everything_back() {
    for seed in 0..12 {
        run(seed, 1_000);
    }
}

#[test]
fn many_small_mixes() {
    for seed in 100..400 {
        run(seed, 20);
    }
}
