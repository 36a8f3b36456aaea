//! Packages and fees of phones (spec rates.md 10, billing.md 5): what pays for calls, and what is taken once per period,
//! whatever kills and clocks do.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use tandem_call::question::{Answer, Payer, Question};
use tandem_call::snapshot::AccountId;
use tandem_leg::{Now, ServerReason};
use tandem_rater::{PackageAct, PackageConfig, PackageDone, PhoneFee, Rater, Rules};
use tandem_rating::fee::BillingParams;
use tandem_rating::money::Money;
use tandem_rating::package::{GiftUse, NoMoney, Order, Package, RentType, uses};
use tandem_rating::record::{Audit, LedgerKind, LedgerRow, Record};
use tandem_rating::usage::Usage;

use crate::bench::{Bench, FREE, WALL_MS, answered, money, now_ms, terms};

pub(crate) const DAY_MS: i64 = 86_400_000;

pub(crate) fn package(name: &str, rent: &str, gifts: &[&str]) -> Package {
    Package {
        name: name.to_owned(),
        rent_period: 1,
        rent: money(rent),
        gifts: gifts.iter().map(|gift| gift.parse().unwrap()).collect(),
        ..Package::default()
    }
}

fn at(bench: &Bench) -> Now {
    now_ms(bench.at_ms)
}

/// Midnight UTC is [`WALL_MS`]: 2026-11-22.
pub(crate) fn configure(bench: &mut Bench, packages: &[Package]) {
    let packages = packages.iter().map(|package| (package.name.clone(), package.clone())).collect();
    let fee = |rent: &str, minimum: &str| PhoneFee { account: "c".into(), rent: money(rent), minimum: money(minimum) };
    let phones = [("4930".to_owned(), fee("0", "0")), ("4931".to_owned(), fee("2", "5"))].into();
    let now = at(bench);
    bench.rater.configure_packages(now, PackageConfig { packages, phones, ..PackageConfig::default() });
    run(bench);
}

pub(crate) fn run(bench: &mut Bench) {
    let now = at(bench);
    while bench.rater.packages_due(now) {}
    bench.drain();
}

pub(crate) fn go_to(bench: &mut Bench, days: u64) {
    bench.at_ms = days * DAY_MS as u64;
    run(bench);
}

pub(crate) fn order_of(account: &str, package: &str) -> PackageAct {
    PackageAct::Order {
        account: account.to_owned(),
        phone: String::new(),
        package: package.to_owned(),
        effective_ms: None,
        expires_ms: None,
        priority: None,
        rent_percent: Decimal::ONE_HUNDRED,
        no_money: NoMoney::Wait,
        user: "ann".to_owned(),
        request: String::new(),
    }
}

#[track_caller]
pub(crate) fn act(bench: &mut Bench, act: PackageAct) -> PackageDone {
    let now = at(bench);
    let done = bench.rater.package(now, act, Some(Audit::default())).unwrap();
    bench.drain();
    done
}

/// Rows of packages and phones: kind, amount.
pub(crate) fn taken(bench: &Bench) -> Vec<(LedgerKind, String)> {
    let kinds = [LedgerKind::PackageRent, LedgerKind::PackageMinimum, LedgerKind::PhoneRent, LedgerKind::PhoneMinimum];
    let rows = all_rows(bench).into_iter().filter(|row| kinds.contains(&row.kind));
    rows.map(|row| (row.kind, row.amount.to_string())).collect()
}

fn all_rows(bench: &Bench) -> Vec<LedgerRow> {
    let rows = bench.records.iter().flat_map(|record| match record {
        Record::Settled { ledger, .. } => ledger.clone(),
        Record::Ledger(row) => vec![row.clone()],
        Record::Package(event) => event.ledger.clone(),
        _ => Vec::new(),
    });
    rows.collect()
}

/// What the store would tell a start: each order as its last record left it, and what the rows of its period used.
pub(crate) fn stored(bench: &Bench) -> Vec<(Order, Vec<i64>, Money, Money)> {
    let mut orders: BTreeMap<String, Order> = BTreeMap::new();
    for record in &bench.records {
        if let Record::Package(event) = record {
            orders.insert(event.order.key.clone(), event.order.clone());
        }
    }
    let gifts: Vec<GiftUse> = all_rows(bench)
        .iter()
        .filter(|row| row.kind == LedgerKind::Gift)
        .flat_map(|row| uses(&row.memo).unwrap())
        .collect();
    let with_uses = |order: Order| {
        let period = order.period.clone().unwrap_or_default();
        let (mut used_s, mut paid, mut spent) = (vec![0; period.gifts.len()], Money::ZERO, Money::ZERO);
        for used in gifts
            .iter()
            .filter(|used| used.order == order.key && order.period.is_some() && used.period == period.number)
        {
            used.gifts.iter().for_each(|(row, seconds)| used_s[*row] += seconds);
            paid = paid.checked_add(used.money).unwrap();
            spent = spent.checked_add(used.spent).unwrap();
        }
        (order, used_s, paid, spent)
    };
    orders.into_values().map(with_uses).collect()
}

/// The switch is killed, and starts with what its records say.
pub(crate) fn kill(bench: &mut Bench, packages: &[Package]) {
    let mut balances: BTreeMap<String, Money> = BTreeMap::new();
    for row in all_rows(bench) {
        let sum = balances.entry(row.account).or_default();
        *sum = sum.checked_add(row.amount).unwrap();
        assert_eq!(row.balance_after, *sum, "{}", row.key);
    }
    bench.rater = Rater::new(balances);
    bench.rater.packages_before(stored(bench));
    let records = bench.records.len();
    bench.configure("0", "0", &FREE, Rules::default());
    // Only accounts that had no row yet are opened.
    bench
        .records
        .drain(records..)
        .for_each(|record| assert!(matches!(record, Record::Ledger(row) if row.amount.is_zero())));
    configure(bench, packages);
}

/// Every key once, every order the sum of its rows.
#[track_caller]
pub(crate) fn invariant(bench: &Bench) {
    let mut keys = BTreeMap::new();
    let mut taken: BTreeMap<String, Money> = BTreeMap::new();
    for row in all_rows(bench) {
        assert_eq!(keys.insert(row.key.clone(), ()), None, "{} twice", row.key);
        if row.key.starts_with("rent:") || row.key.starts_with("min:") {
            let order = row.key.split_once(':').unwrap().1.rsplit_once(':').unwrap().0.to_owned();
            let sum = taken.entry(order).or_default();
            *sum = sum.checked_sub(row.amount).unwrap();
        }
    }
    for (order, used_s, paid, _) in stored(bench) {
        assert_eq!(order.taken, taken.remove(&order.key).unwrap_or_default(), "order {}", order.key);
        let period = order.period.unwrap_or_default();
        assert!(period.gifts.iter().zip(used_s).all(|(gift, used_s)| used_s <= gift.gift_s), "{}", order.key);
        assert!(paid <= period.gift_money);
    }
    assert!(taken.is_empty(), "{taken:?}");
}

fn payer(phone: &str) -> Payer {
    let number = "8613900000000".into();
    Payer { number, phone: phone.into(), ..Payer::plain(AccountId(0), Some(terms("0.60", 60, 60))) }
}

fn admit(bench: &mut Bench, n: u32) -> Result<Option<i64>, ServerReason> {
    bench.admit_payers(n, vec![payer("")], BillingParams::default(), 1).map(|grant| grant.until_s)
}

/// The vendor answers; the start record as the journal has it.
fn answer(bench: &mut Bench, usage: &Usage) -> Usage {
    let question = Question::Answered {
        call: crate::bench::key(u32::try_from(usage.flow_no).unwrap()),
        usage: Box::new(Usage { hold_ms: 0, ..usage.clone() }),
        carry: Vec::new(),
    };
    assert!(matches!(bench.ask(question), Some(Answer::Journaled { .. })));
    match bench.records.last() {
        Some(Record::Start { usage, .. }) => (**usage).clone(),
        other => panic!("{other:?}"),
    }
}

fn answer_to(bench: &mut Bench, n: u32) -> Usage {
    let usage = call(n, 0, bench);
    answer(bench, &usage)
}

fn call(n: u32, hold_s: i64, bench: &Bench) -> Usage {
    let connect_ms = at(bench).wall_ms;
    let mut usage = answered(n, hold_s * 1000, Some(terms("0.60", 60, 60)), None);
    (usage.connect_ms, usage.setup_ms, usage.end_ms) = (Some(connect_ms), connect_ms, connect_ms + hold_s * 1000);
    if let Some(leg) = &mut usage.customer {
        leg.number = "8613900000000".into();
    }
    usage
}

/// Admitted, answered, renewed as often as it takes, and over.
pub(crate) fn whole_call(bench: &mut Bench, n: u32, hold_s: i64) {
    let mut until_s = admit(bench, n).unwrap();
    let usage = call(n, hold_s, bench);
    answer(bench, &usage);
    while until_s.is_some_and(|until_s| until_s < hold_s) {
        let (next, last) = bench.renew(n);
        until_s = next;
        assert!(!last || until_s.is_none_or(|until_s| until_s >= hold_s), "no money for {hold_s} s");
    }
    bench.settle(&usage);
}

#[test]
fn gift_time_pays_first_then_gift_money_then_the_balance() {
    let mut bench = Bench::prepaid("20");
    let gold = Package { gift_money: money("1"), ..package("gold", "10", &["86 120/60"]) };
    configure(&mut bench, &[gold]);
    let done = act(&mut bench, order_of("c", "gold"));
    assert_eq!(done.order.state(), "active", "{done:?}");
    assert_eq!(bench.account("c").balance, money("10"));
    // Five minutes at 0.60: two are a gift, 1.80 is left, of which gift money pays 1.
    whole_call(&mut bench, 1, 300);
    let (_, cdr) = bench.settlements()[0];
    let cdr = cdr.unwrap();
    assert_eq!((cdr.suite_s, cdr.suite_fee, cdr.fee, cdr.billed_s), (120, money("1"), money("1.80"), 180));
    assert_eq!(bench.account("c").balance, money("9.20"));
    let memo = all_rows(&bench).iter().find(|row| row.kind == LedgerKind::Gift).unwrap().memo.clone();
    assert_eq!(memo, "1/0 g0=120 m=1");
    // Nothing is left of it.
    whole_call(&mut bench, 2, 60);
    assert_eq!(bench.account("c").balance, money("8.60"));
    invariant(&bench);
}

#[test]
fn a_call_that_rang_when_the_first_package_began_uses_its_gifts() {
    let mut bench = Bench::prepaid("20");
    configure(&mut bench, &[package("gold", "0", &["86 120/60"])]);
    assert_eq!(admit(&mut bench, 1), Ok(Some(60)));
    act(&mut bench, order_of("c", "gold"));
    let start = answer_to(&mut bench, 1);
    let gifts = start.customer.unwrap().gifts;
    assert_eq!(
        (gifts.len(), gifts.first().map(|gift| gift.left_s)),
        (1, Some(60)),
        "hours and period are those of the answer"
    );
    let usage = call(1, 60, &bench);
    bench.settle(&usage);
    assert_eq!(bench.settlements()[0].1.unwrap().suite_s, 60);
    assert_eq!(bench.account("c").balance, money("20"));
    invariant(&bench);
}

#[test]
fn a_gift_pays_whole_calls_of_an_account_without_money() {
    let mut bench = Bench::prepaid("10");
    configure(&mut bench, &[package("gold", "10", &["86 180/60"])]);
    act(&mut bench, order_of("c", "gold"));
    assert_eq!(bench.account("c").available, Money::ZERO);
    assert_eq!(admit(&mut bench, 1), Ok(Some(60)));
    let start = answer_to(&mut bench, 1);
    let gifts = start.customer.unwrap().gifts;
    assert_eq!((gifts.len(), gifts[0].package.as_str(), gifts[0].left_s), (1, "1/0/0", 60));
    assert_eq!(bench.renew(1), (Some(120), false));
    // A second call finds the last minute, a third nothing.
    assert_eq!(admit(&mut bench, 2), Ok(Some(60)));
    assert_eq!(admit(&mut bench, 3), Err(ServerReason::InsufficientBalance));
    assert_eq!(bench.renew(1), (Some(120), true), "the rest is held by another");
    let unanswered = Usage { connect_ms: None, hold_ms: 0, ..call(2, 0, &bench) };
    bench.settle(&unanswered);
    // What the call that was not answered held comes back.
    assert_eq!(bench.renew(1), (Some(180), false));
    let usage = call(1, 175, &bench);
    bench.settle(&usage);
    let cdr = bench.settlements()[1].1.unwrap();
    assert_eq!((cdr.suite_s, cdr.fee, cdr.billed_s), (175, Money::ZERO, 0));
    assert_eq!(bench.account("c").balance, Money::ZERO);
    invariant(&bench);
}

#[test]
fn packages_are_used_by_priority_and_only_for_their_phone() {
    let mut bench = Bench::prepaid("20");
    configure(&mut bench, &[package("a", "1", &["86 60/60"]), package("b", "1", &["* 60/60"])]);
    act(&mut bench, order_of("c", "a"));
    let order = |of: &str, number| {
        let mut order = order_of("c", "b");
        if let PackageAct::Order { phone, priority, .. } = &mut order {
            (*phone, *priority) = (of.to_owned(), number);
        }
        order
    };
    act(&mut bench, order("", Some(1)));
    act(&mut bench, order("4930", Some(0)));
    bench.admit_payers(1, vec![payer("")], BillingParams::default(), 3).map(|_| ()).unwrap();
    let used: Vec<String> =
        answer_to(&mut bench, 1).customer.unwrap().gifts.iter().map(|g| g.package.to_string()).collect();
    // The one with a priority before the one without; that of the phone is for calls of the phone.
    assert_eq!(used, ["2/0/0", "1/0/0"]);
    bench.settle(&call(1, 10, &bench));
    bench.admit_payers(2, vec![payer("4930")], BillingParams::default(), 1).map(|_| ()).unwrap();
    let gifts = answer_to(&mut bench, 2).customer.unwrap().gifts;
    assert_eq!(gifts[0].package, "3/0/0");
    bench.settle(&call(2, 10, &bench));
    assert_eq!(bench.account("c").balance, money("17"), "rents only");
    invariant(&bench);
}

#[test]
fn hours_and_lower_consumption_bound_the_gifts() {
    let mut bench = Bench::prepaid("50");
    let late = Package { lower: money("0.60"), ..package("late", "1", &["86 08:00-20:00 600/60"]) };
    configure(&mut bench, &[late]);
    act(&mut bench, order_of("c", "late"));
    bench.at_ms = 9 * 3_600_000;
    whole_call(&mut bench, 1, 60);
    assert_eq!(bench.account("c").balance, money("48.40"), "calls have not cost 0.60 yet");
    whole_call(&mut bench, 2, 60);
    assert_eq!(bench.account("c").balance, money("48.40"), "now they have");
    bench.at_ms = 20 * 3_600_000;
    whole_call(&mut bench, 3, 60);
    assert_eq!(bench.account("c").balance, money("47.80"), "after hours");
    invariant(&bench);
}

#[test]
fn a_first_month_in_part_costs_and_gives_its_part() {
    let mut bench = Bench::prepaid("100");
    let gold = Package {
        partial: true,
        minimum: money("30"),
        gift_money: money("6"),
        ..package("gold", "10", &["86 3000/60"])
    };
    configure(&mut bench, &[gold]);
    let now = at(&bench);
    let preview = bench.rater.package(now, order_of("c", "gold"), None).unwrap();
    // The 22nd to the 30th: 9 of 30 days.
    assert_eq!((preview.rent, preview.minimum, preview.gift_money), (money("3"), money("9"), money("1.80")));
    assert_eq!((preview.gifts[0].gift_s, preview.to_ms), (900, month_ms(1, 1)));
    assert!(taken(&bench).is_empty() && preview.order.key.is_empty(), "a preview takes nothing");
    act(&mut bench, order_of("c", "gold"));
    // 15 minutes are a gift, 3 more cost 1.80, which gift money pays: the minimum counts what the balance paid.
    whole_call(&mut bench, 1, 1080);
    whole_call(&mut bench, 2, 60);
    go_to(&mut bench, 9);
    let rows: Vec<String> = taken(&bench).into_iter().map(|(_, amount)| amount).collect();
    assert_eq!(rows, ["-3", "-8.4", "-10", "-2"], "part, difference, whole month, the phone");
    invariant(&bench);
}

#[test]
fn a_cancelled_order_keeps_its_period_or_ends_now() {
    let gold = || Package { minimum: money("5"), ..package("gold", "10", &["86 600/60"]) };
    let mut bench = Bench::prepaid("100");
    configure(&mut bench, &[gold()]);
    act(&mut bench, order_of("c", "gold"));
    act(&mut bench, order_of("c", "gold"));
    let cancel = |key: &str, now| PackageAct::Cancel { key: key.to_owned(), now };
    assert_eq!(act(&mut bench, cancel("1", false)).order.state(), "active");
    assert_eq!(act(&mut bench, cancel("2", true)).order.state(), "cancelled");
    whole_call(&mut bench, 1, 60);
    assert_eq!(bench.account("c").balance, money("80"), "still a gift");
    go_to(&mut bench, 31);
    let states: Vec<String> = stored(&bench).iter().map(|(order, ..)| order.state().to_owned()).collect();
    assert_eq!(states[..2], ["cancelled", "cancelled"]);
    let of_package: Vec<(LedgerKind, String)> =
        taken(&bench).into_iter().filter(|(kind, _)| *kind != LedgerKind::PhoneRent).collect();
    let row = |kind, amount: &str| (kind, amount.to_owned());
    assert_eq!(
        of_package,
        [
            row(LedgerKind::PackageRent, "-10"),
            row(LedgerKind::PackageRent, "-10"),
            row(LedgerKind::PackageMinimum, "-5")
        ]
    );
    let error = bench.rater.package(at(&bench), cancel("1", true), None).unwrap_err().to_string();
    assert_eq!(error, "order is 1; allowed is the number of an order that is not over");
    invariant(&bench);
}

#[test]
fn a_call_that_a_crash_left_open_uses_gifts_for_as_long_as_it_lasted() {
    let packages = [package("gold", "10", &["86 300/60"])];
    let mut bench = Bench::prepaid("20");
    configure(&mut bench, &packages);
    act(&mut bench, order_of("c", "gold"));
    admit(&mut bench, 1).unwrap();
    let start = answer_to(&mut bench, 1);
    kill(&mut bench, &packages);
    // Four minutes later: more than it held at the answer.
    let usage = Usage { hold_ms: 240_000, ..start.clone() };
    bench.rater.settle_recovered(at(&bench), &usage);
    bench.drain();
    let cdr = bench.settlements()[0].1.unwrap();
    assert_eq!((cdr.suite_s, cdr.fee), (240, Money::ZERO));
    // Another went on: it holds the last minute, and pays for the next.
    let start = Usage { flow_no: 2, ..start };
    assert_eq!(bench.adopt(&start, 29), Ok((Some(90), false)));
    assert_eq!(bench.renew(2), (Some(150), false));
    bench.settle(&Usage { flow_no: 2, ..call(2, 90, &bench) });
    assert_eq!(bench.account("c").balance, money("9.40"));
    assert_eq!(bench.account("c").reserved, Money::ZERO);
    invariant(&bench);
}

#[test]
fn a_gift_that_a_call_held_over_the_end_of_the_period_is_its_own() {
    let packages = [Package { rent_type: RentType::Day, ..package("day", "1", &["86 120/60"]) }];
    let mut bench = Bench::prepaid("20");
    configure(&mut bench, &packages);
    act(&mut bench, order_of("c", "day"));
    bench.at_ms = DAY_MS as u64 - 30_000;
    admit(&mut bench, 1).unwrap();
    let usage = call(1, 90, &bench);
    answer(&mut bench, &usage);
    bench.renew(1);
    bench.at_ms += 60_000;
    run(&mut bench);
    bench.settle(&usage);
    let cdr = bench.settlements()[0].1.unwrap();
    assert_eq!((cdr.suite_s, cdr.fee), (90, Money::ZERO));
    // The new day has all of its own.
    let (order, used_s, ..) = stored(&bench).remove(0);
    assert_eq!((order.next, used_s), (2, vec![0]));
    assert_eq!(admit(&mut bench, 2), Ok(Some(60)));
    bench.settle(&call(2, 60, &bench));
    invariant(&bench);
}

#[test]
fn what_a_call_held_of_a_period_that_is_over_outlives_kills() {
    let packages =
        [Package { rent_type: RentType::Day, gift_money: money("1"), ..package("day", "1", &["86 120/60"]) }];
    for (kills, goes_on) in [(1, false), (1, true), (2, true), (2, false)] {
        let mut bench = Bench::prepaid("20");
        configure(&mut bench, &packages);
        act(&mut bench, order_of("c", "day"));
        bench.at_ms = DAY_MS as u64 - 30_000;
        admit(&mut bench, 1).unwrap();
        let start = answer_to(&mut bench, 1);
        // Four minutes: two of gift time, 1 of gift money, 0.20 of the balance; at the answer it held one minute.
        assert_eq!(start.customer.as_ref().unwrap().gifts[0].left_s, 60);
        for until_s in [120, 180, 240] {
            assert_eq!(bench.renew(1), (Some(until_s), false));
        }
        for kill_no in 1..=kills {
            go_to(&mut bench, kill_no);
            kill(&mut bench, &packages);
            if kill_no < kills || goes_on {
                assert_eq!(bench.adopt(&start, 200), Ok((Some(261), false)), "{kills}");
            }
        }
        let usage = Usage { hold_ms: 240_000, ..start.clone() };
        match goes_on {
            true => bench.settle(&usage),
            false => {
                kill(&mut bench, &packages);
                bench.rater.settle_recovered(at(&bench), &usage);
                bench.drain();
            }
        }
        let cdr = bench.settlements()[0].1.unwrap();
        assert_eq!((cdr.suite_s, cdr.suite_fee, cdr.fee), (120, money("1"), money("1.20")), "{kills} {goes_on}");
        let rents = Money::new((1 + kills).into()).unwrap();
        let left = money("19.80").checked_sub(rents).unwrap();
        assert_eq!((bench.account("c").balance, bench.account("c").reserved), (left, Money::ZERO));
        // No other call has any of it: its period is over, and that of today has all it began with.
        whole_call(&mut bench, 2, 180);
        let cdr = bench.settlements()[1].1.unwrap();
        assert_eq!((cdr.suite_s, cdr.suite_fee), (120, money("0.60")));
        invariant(&bench);
    }
}

#[test]
fn what_is_ordered_wrong_is_refused_with_field_and_value() {
    let mut bench = Bench::prepaid("20");
    configure(&mut bench, &[package("gold", "10", &[])]);
    let mut refused = |change: &dyn Fn(&mut PackageAct)| {
        let mut act = order_of("c", "gold");
        change(&mut act);
        let now = at(&bench);
        bench.rater.package(now, act, Some(Audit::default())).unwrap_err().to_string()
    };
    macro_rules! with {
        ($field:ident, $value:expr) => {
            refused(&|act| {
                if let PackageAct::Order { $field, .. } = act {
                    *$field = $value;
                }
            })
        };
    }
    assert_eq!(with!(account, "x".into()), "account is x; allowed is an account of the configuration");
    assert_eq!(with!(account, "v1".into()), "account is v1; allowed is an account of kind customer");
    assert_eq!(with!(package, "silver".into()), "package is silver; allowed is gold");
    assert_eq!(with!(phone, "1".into()), "phone is 1; allowed is a phone of account c");
    assert_eq!(with!(effective_ms, Some(WALL_MS - 1)), "effective is 2026-11-21; allowed is today or later");
    assert!(with!(expires_ms, Some(WALL_MS)).starts_with("expires is 2026-11-22T00:00:00Z"));
    assert_eq!(with!(rent_percent, Decimal::from(101)), "rent_percent is 101; allowed is 0 to 100");
    bench.drain();
    assert!(!bench.records.iter().any(|record| matches!(record, Record::Package(e) if !e.order.is_phone_fee())));
}

#[test]
fn an_account_without_packages_is_asked_for_none() {
    let mut bench = Bench::prepaid("20");
    configure(&mut bench, &[package("gold", "10", &["* 600/60"])]);
    act(&mut bench, order_of("g1", "gold"));
    whole_call(&mut bench, 1, 60);
    assert!(all_rows(&bench).iter().all(|row| row.kind != LedgerKind::Gift));
    assert_eq!(bench.account("c").balance, money("19.40"));
}

/// Begin of the `day` of the `months`-th month after November 2026.
pub(crate) fn month_ms(months: i64, day: i8) -> i64 {
    let (year, month) = ((10 + months) / 12 + 2026, (10 + months) % 12 + 1);
    let date = jiff::civil::date(year as i16, month as i8, day);
    date.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_millisecond()
}
