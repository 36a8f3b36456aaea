//! Prefix look-up and the price of one leg over a million prefixes, and what such a deck weighs.

use std::hint::black_box;

use tandem_rating::fee::{BillingParams, rate_leg};
use tandem_rating::prefix::PrefixTrie;
use tandem_rating::rate::{Deck, Lookup};

use crate::harness::Bench;
use crate::material::{self, AT_MS, MILLION};

pub(crate) const BENCHES: &[Bench] = &[
    Bench { name: "prefix_match", what: "longest prefix of a number among 1 M", make: prefix_match },
    Bench { name: "rate_lookup", what: "row of a deck of 1 M prefixes that is valid now", make: rate_lookup },
    Bench { name: "rate_fee", what: "fee and tax of one leg, row known", make: rate_fee },
    Bench { name: "rate_leg", what: "look-up in 1 M prefixes, then fee and tax of the leg", make: rate_one_leg },
];

const HOLD_MS: i64 = 65_432;

fn prefix_match() -> Box<dyn FnMut()> {
    let prefixes = material::prefixes(MILLION, 1);
    let numbers = material::numbers(&prefixes, 1);
    let trie = PrefixTrie::build(prefixes.into_iter().zip(0_u32..)).unwrap_or_default();
    let mut turn = 0;
    Box::new(move || {
        turn = (turn + 1) % numbers.len();
        black_box(trie.longest(&numbers[turn]));
    })
}

fn rate_lookup() -> Box<dyn FnMut()> {
    let numbers = material::numbers(&material::prefixes(MILLION, 1), 1);
    let deck = material::deck("retail", MILLION, 1);
    let mut turn = 0;
    Box::new(move || {
        turn = (turn + 1) % numbers.len();
        black_box(deck.lookup(&numbers[turn], AT_MS));
    })
}

fn rate_fee() -> Box<dyn FnMut()> {
    let deck = material::deck("retail", 1_000, 1);
    let terms: Vec<_> = deck.rows().iter().map(|row| row.terms()).collect();
    let params = BillingParams::default();
    let mut turn = 0;
    Box::new(move || {
        turn = (turn + 1) % terms.len();
        let _ = black_box(rate_leg(black_box(HOLD_MS), &terms[turn], &params));
    })
}

fn rate_one_leg() -> Box<dyn FnMut()> {
    let numbers = material::numbers(&material::prefixes(MILLION, 1), 1);
    let deck = material::deck("retail", MILLION, 1);
    let params = BillingParams::default();
    let mut turn = 0;
    Box::new(move || {
        turn = (turn + 1) % numbers.len();
        if let Lookup::Found(row) = deck.lookup(&numbers[turn], AT_MS) {
            let _ = black_box(rate_leg(black_box(HOLD_MS), &row.terms_for(&numbers[turn]), &params));
        }
    })
}

/// Resident memory of decks of a million rows, as the process sees it before and after.
pub(crate) fn memory() {
    println!("what,rows,bytes");
    let prefixes = material::prefixes(MILLION, 1);
    weigh("trie", || PrefixTrie::build(prefixes.iter().zip(0_u32..)).unwrap_or_default());
    weigh("deck", || Deck::build("retail", material::rows(&prefixes, 1)).unwrap_or_default());
}

/// Decks that are kept, to divide by.
const KEPT: u64 = 4;

fn weigh<T>(what: &str, make: impl Fn() -> T) {
    // What building needs for a while is taken by the first two, and used again by the others.
    let mut kept = vec![make(), make()];
    let before = resident_bytes();
    kept.extend((0..KEPT).map(|_| make()));
    let each = resident_bytes().saturating_sub(before) / KEPT;
    println!("{what},{MILLION},{each}");
    drop(kept);
}

/// Resident bytes of this process, from `/proc/self/status`.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib: u64 = line.trim_end_matches("kB").trim().parse().unwrap_or(0);
    kib * 1_024
}
