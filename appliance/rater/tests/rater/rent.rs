//! Rent, minimum and fees: once per period, whatever is killed and wherever the clock goes (spec rates.md 10).

use tandem_rater::PackageAct;
use tandem_rating::package::{NoMoney, Package, RentType};
use tandem_rating::record::LedgerKind;

use crate::bench::{Bench, WALL_MS, money, now_ms};
use crate::packages::{
    DAY_MS, act, configure, go_to, invariant, kill, month_ms, order_of, package, run, stored, taken, whole_call,
};

#[test]
fn rent_is_taken_once_per_period_over_kills_and_clock_jumps() {
    let month = package("month", "3", &["86 600/60"]);
    let packages = [month, Package { rent_type: RentType::Day, minimum: money("0.50"), ..package("day", "0.10", &[]) }];
    let mut bench = Bench::prepaid("1000");
    configure(&mut bench, &packages);
    act(&mut bench, order_of("c", "month"));
    act(&mut bench, order_of("c", "day"));
    let mut seed = 7u64;
    let mut latest = 0;
    for n in 0..200u32 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match (seed >> 33) % 5 {
            0 => kill(&mut bench, &packages),
            1 => {
                let at = bench.at_ms;
                // The clock goes back, and comes again over what was charged.
                bench.at_ms = at.saturating_sub((seed >> 20) % (50 * DAY_MS as u64));
                run(&mut bench);
                kill(&mut bench, &packages);
                bench.at_ms = at;
                run(&mut bench);
            }
            2 => whole_call(&mut bench, n + 1, 60),
            _ => {
                bench.at_ms += (seed >> 20) % (9 * DAY_MS as u64);
                run(&mut bench);
            }
        }
        latest = latest.max(bench.at_ms);
        invariant(&bench);
    }
    let count = |kind| taken(&bench).iter().filter(|(of, _)| *of == kind).count() as u64;
    let days = latest / DAY_MS as u64;
    assert!(days > 300, "{days}");
    // Months from the 22nd of November on; days from the day of the order; the fee of the phone from December on.
    let months = (1..).take_while(|month| month_ms(*month, 22) <= WALL_MS + latest as i64).count() as u64;
    assert_eq!(count(LedgerKind::PackageRent), months + 1 + days + 1);
    let of_calendar = (1..).take_while(|month| month_ms(*month, 1) <= WALL_MS + latest as i64).count() as u64;
    assert_eq!(count(LedgerKind::PhoneRent), of_calendar);
    assert_eq!(count(LedgerKind::PhoneMinimum), of_calendar - 1, "the last month is not over");
    assert!(count(LedgerKind::PackageMinimum) >= days - 40, "days with calls need less or none");
}

#[test]
fn a_switch_that_was_off_for_forty_days_takes_every_period_of_them() {
    let mut bench = Bench::prepaid("100");
    let packages = [Package { rent_type: RentType::Day, rent_period: 7, ..package("week", "1", &[]) }];
    configure(&mut bench, &packages);
    act(&mut bench, order_of("c", "week"));
    kill(&mut bench, &packages);
    go_to(&mut bench, 40);
    // Days 0, 7, 14, 21, 28, 35; and the phone's rent on the 1st of December, its minimum and rent on the 1st of January.
    assert_eq!(taken(&bench).iter().filter(|(kind, _)| *kind == LedgerKind::PackageRent).count(), 6);
    let of_phone: Vec<String> = taken(&bench)
        .into_iter()
        .filter(|(kind, _)| *kind != LedgerKind::PackageRent)
        .map(|(_, amount)| amount)
        .collect();
    assert_eq!(of_phone, ["-2", "-5", "-2"]);
    invariant(&bench);
}

#[test]
fn a_clock_that_is_years_ahead_takes_nothing_before_somebody_says_so() {
    let mut bench = Bench::prepaid("1000");
    let packages = [Package { rent_type: RentType::Day, ..package("day", "1", &[]) }];
    configure(&mut bench, &packages);
    act(&mut bench, order_of("c", "day"));
    let before = bench.account("c").balance;
    go_to(&mut bench, 3650);
    assert_eq!(bench.account("c").balance, before);
    assert!(bench.alarms.iter().any(|text| text.contains("package catch-up 1")), "{:?}", bench.alarms);
    let alarms = bench.alarms.len();
    go_to(&mut bench, 3651);
    assert_eq!(bench.alarms.len(), alarms, "told once");
    // The clock is set right: it goes on as if nothing had been.
    go_to(&mut bench, 2);
    assert_eq!(taken(&bench).iter().filter(|(kind, _)| *kind == LedgerKind::PackageRent).count(), 3);
    go_to(&mut bench, 100);
    act(&mut bench, PackageAct::CatchUp { key: "1".into() });
    run(&mut bench);
    assert_eq!(
        taken(&bench).iter().filter(|(kind, _)| *kind == LedgerKind::PackageRent).count(),
        101,
        "day 0 to day 100"
    );
    invariant(&bench);
}

#[test]
fn without_money_an_order_waits_leaves_out_or_ends() {
    let day = |name: &str| Package { rent_type: RentType::Day, ..package(name, "4", &["86 60/60"]) };
    let packages = [day("w"), day("n"), day("d")];
    let mut bench = Bench::prepaid("1");
    configure(&mut bench, &packages);
    for (name, no_money, state) in
        [("w", NoMoney::Wait, "waiting"), ("n", NoMoney::Next, "waiting"), ("d", NoMoney::Delete, "no_money")]
    {
        let mut order = order_of("c", name);
        if let PackageAct::Order { no_money: of, .. } = &mut order {
            *of = no_money;
        }
        assert_eq!(act(&mut bench, order).order.state(), state, "{name}");
    }
    let pay = |bench: &mut Bench, key: &str| {
        bench.rater.pay(now_ms(bench.at_ms).wall_ms, "c", money("4"), key.to_owned(), "ann", "").unwrap();
        run(bench);
    };
    bench.at_ms = 3_600_000;
    pay(&mut bench, "p1");
    let states = |bench: &Bench| stored(bench).iter().map(|(order, ..)| order.state().to_owned()).collect::<Vec<_>>();
    assert_eq!(states(&bench)[..3], ["active", "waiting", "no_money"], "who waits begins with the payment");
    // Two days without money: what waits is not owed for the days it did not get.
    kill(&mut bench, &packages);
    go_to(&mut bench, 3);
    assert_eq!(states(&bench)[..2], ["waiting", "waiting"]);
    pay(&mut bench, "p2");
    assert_eq!(states(&bench)[..2], ["active", "waiting"]);
    assert_eq!(taken(&bench), vec![(LedgerKind::PackageRent, "-4".to_owned()); 2]);
    pay(&mut bench, "p3");
    go_to(&mut bench, 4);
    let rents = taken(&bench).len();
    assert_eq!((rents, states(&bench)[..2].iter().filter(|state| *state == "active").count()), (3, 1));
    invariant(&bench);
}
