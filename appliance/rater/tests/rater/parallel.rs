//! A thousand calls at once, in any order of questions: the balance never falls below its limit, and everything comes back.

use tandem_rater::Rules;
use tandem_rating::fee::{BillingParams, RateTerms};
use tandem_rating::money::Money;

use crate::bench::{Bench, Lines, answered, failed, money, terms};

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
    until_s: Option<i64>,
}

/// One run: `calls` calls begin, change gateways, renew and end in random order.
fn run(seed: u64, calls: u32) {
    let mut dice = Dice(seed);
    let limit = ["0", "0.50", "20"][dice.below(3) as usize];
    let balance = ["1", "7.77", "100", "1000"][dice.below(4) as usize];
    let lines = Lines { mapping: (Some(400), None), b1: (Some(150), None), b2: (Some(100), None) };
    let mut bench = Bench::new(balance, limit, &lines, Rules::default());
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
                if let Ok(grant) = bench.admit_with(next, row.clone(), params.clone(), advance_min) {
                    admitted += 1;
                    alive.push(Call { n: next, terms: row, params, until_s: grant.until_s });
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
                    0 => failed(call.n, dice.below(3) as u8),
                    1 => answered(call.n, most_ms, call.terms, None),
                    _ => answered(call.n, dice.below(most_ms as u64 + 1) as i64, call.terms, Some(terms("0.4", 1, 1))),
                };
                bench.settle(&tandem_rating::usage::Usage { params: call.params, ..usage });
            }
            _ => {}
        }
        let account = bench.account("c");
        assert!(account.balance >= floor, "seed {seed}: balance {} below {floor}", account.balance);
        assert!(account.available >= Money::ZERO, "seed {seed}: more is reserved than there is");
        let held: Money = bench
            .rater
            .reservations("c")
            .iter()
            .fold(Money::ZERO, |sum, (_, amount, _)| sum.checked_add(*amount).unwrap());
        assert_eq!(account.reserved, held, "seed {seed}: reserved is the sum of the reservations");
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
