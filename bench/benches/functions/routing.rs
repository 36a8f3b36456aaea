//! From a dialled number to the ordered list of vendors, as a shard does it for every call.

use std::hint::black_box;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tandem_call::identify::identify;
use tandem_call::price::price;
use tandem_call::route::{Wanted, plan};
use tandem_call::weights::Weights;

use crate::harness::Bench;
use crate::material::{self, AT_MS, MILLION};

pub(crate) const BENCHES: &[Bench] = &[
    Bench { name: "route_plan", what: "ten vendors judged, priced, sorted; decks of 100,000 each", make: plan_only },
    Bench {
        name: "route_decision",
        what: "the same with identification and the customer's price, 1 M rows",
        make: small,
    },
    Bench { name: "route_big_decks", what: "the same with 1 M rows for each of the ten vendors", make: big },
];

/// Rows of a vendor where all ten together have a million.
const SHARE: usize = MILLION / material::VENDORS;

fn plan_only() -> Box<dyn FnMut()> {
    let snapshot = material::site(SHARE);
    let numbers = material::numbers(&material::prefixes(MILLION, 1), 1);
    let (mut weights, mut rng) = (Weights::default(), StdRng::seed_from_u64(1));
    let sell = snapshot.accounts[0].deck.as_ref().map(|deck| deck.rows()[0].terms());
    let source = material::address(material::CUSTOMER).ip();
    let mut turn = 0;
    Box::new(move || {
        turn = (turn + 1) % numbers.len();
        let wanted = Wanted {
            mapping: 0,
            caller: "12025550100",
            callee: &numbers[turn],
            at_ms: AT_MS,
            sell: sell.as_ref(),
            source,
        };
        black_box(plan(&snapshot, &wanted, &mut weights, &mut rng));
    })
}

fn small() -> Box<dyn FnMut()> {
    decision(SHARE)
}

fn big() -> Box<dyn FnMut()> {
    decision(MILLION)
}

fn decision(vendor_rows: usize) -> Box<dyn FnMut()> {
    let snapshot = material::site(vendor_rows);
    let numbers = material::numbers(&material::prefixes(MILLION, 1), 1);
    let (mut weights, mut rng) = (Weights::default(), StdRng::seed_from_u64(1));
    let mut call = material::call_to("");
    let mut turn = 0;
    Box::new(move || {
        turn = (turn + 1) % numbers.len();
        call.dialled.clone_from(&numbers[turn]);
        let Ok(found) = identify(&snapshot, &call, &mut weights, &mut rng) else {
            return;
        };
        let gateway = &snapshot.mapping[found.mapping];
        let Ok(paid) = price(&snapshot, gateway, &found.numbers.caller, &found.numbers.callee, AT_MS) else {
            return;
        };
        let wanted = Wanted {
            mapping: found.mapping,
            caller: &found.numbers.caller,
            callee: &found.numbers.callee,
            at_ms: AT_MS,
            sell: paid.terms.as_ref(),
            source: call.remote.ip(),
        };
        let plan = plan(&snapshot, &wanted, &mut weights, &mut rng);
        black_box(plan.open(false, |_| false, |_| false));
        black_box((plan, paid));
    })
}
