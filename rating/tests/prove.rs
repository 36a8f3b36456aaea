//! Record, proof and ledger of a call have to agree; whatever is changed in one of them is named.

use rust_decimal::Decimal;
use tandem_rating::cdr::{Cdr, settle};
use tandem_rating::fee::BillingParams;
use tandem_rating::prove::{Booked, Verdict, leg_names, prove};
use tandem_rating::usage::{LegTerms, Usage};
use tandem_rating::{Money, RateTerms, proof};

fn leg(account: &str, rate: i64, tax: i64) -> LegTerms {
    let terms = RateTerms {
        rate_id: 9,
        prefix: "44".into(),
        rate_per_min: Decimal::new(rate, 3),
        first_s: 30,
        next_s: 6,
        sections: Vec::new(),
        conn_fee: Decimal::new(1, 3),
        tax_pct: Decimal::from(tax),
        level: 5,
    };
    let number = "442071234567".into();
    LegTerms { account: account.into(), terms: Some(terms), rate_group: "g".into(), number, ..LegTerms::default() }
}

/// A call of 61 s with two agents above the customer, and what the rater books of it.
fn call() -> (Cdr, Vec<Booked>) {
    let usage = Usage {
        flow_no: 7,
        connect_ms: Some(1_700_000_000_000),
        end_ms: 1_700_000_061_000,
        hold_ms: 61_000,
        customer: Some(leg("acme", 120, 19)),
        agents: vec![leg("agent", 100, 0), leg("top", 90, 0)],
        vendor: Some(leg("carrier", 50, 0)),
        params: BillingParams { fp: 4, fu: Decimal::new(1, 4), ..BillingParams::default() },
        ..Usage::default()
    };
    let settlement = settle(&usage, "USD");
    let charges = settlement.customer.iter().chain(settlement.agents.iter().flatten()).chain(settlement.vendor.iter());
    let names = leg_names(&proof::of_cdr(&settlement.cdr).unwrap());
    let accounts = ["acme", "agent", "top", "carrier"];
    let booked = names.into_iter().zip(accounts).zip(charges).map(|((leg, account), charge)| Booked {
        leg,
        account: account.to_owned(),
        amount: charge.due().unwrap().checked_neg().unwrap(),
    });
    let booked = booked.collect();
    (settlement.cdr, booked)
}

fn cent(money: Money) -> Money {
    money.checked_add("0.0001".parse().unwrap()).unwrap()
}

#[test]
fn a_call_as_it_was_settled_is_proved() {
    let (cdr, booked) = call();
    let proven = prove(&cdr, &booked);
    assert_eq!(proven.verdict, Verdict::Proved, "{:?}", proven.differences());
    let names: Vec<&str> = proven.legs.iter().map(|leg| leg.name.as_str()).collect();
    assert_eq!(names, ["customer", "agent", "agent2", "vendor"]);
    // 61 s are 30 + 6 x 6 = 66 s: 0.001 + 0.12 x 66 / 60 = 0.133.
    assert_eq!((cdr.fee.to_string(), cdr.tax.to_string()), ("0.133".to_owned(), "0.0253".to_owned()));
}

/// One change of a record.
type Change = fn(&mut Cdr);

#[test]
fn every_column_that_says_something_else_is_named() {
    let changes: [(&str, Change); 16] = [
        ("customer (acme): fee ", |cdr| cdr.fee = cent(cdr.fee)),
        ("customer (acme): tax ", |cdr| cdr.tax = cent(cdr.tax)),
        ("customer (acme): billed seconds ", |cdr| cdr.billed_s += 6),
        ("customer (acme): fee paid by packages ", |cdr| cdr.suite_fee = cent(cdr.suite_fee)),
        ("customer (acme): seconds paid by packages ", |cdr| cdr.suite_s += 1),
        ("customer (acme): account ", |cdr| cdr.account = "other".into()),
        ("agent (agent): fee ", |cdr| cdr.agent_fee = cent(cdr.agent_fee)),
        ("agent (agent): billed seconds ", |cdr| cdr.agent_s -= 1),
        ("vendor (carrier): fee ", |cdr| cdr.vendor_fee = cent(cdr.vendor_fee)),
        ("vendor (carrier): billed seconds ", |cdr| cdr.vendor_s -= 1),
        ("margin ", |cdr| cdr.margin = cent(cdr.margin)),
        ("income_fee ", |cdr| cdr.income_fee = cent(cdr.income_fee)),
        ("hold_s ", |cdr| cdr.hold_s += 1),
        ("end_ms ", |cdr| cdr.end_ms += 1),
        // The parameters of the answer: with 7 s of free time the call has one block less.
        ("customer (acme): fee in the proof ", |cdr| cdr.free_s = 7),
        ("charged milliseconds ", |cdr| cdr.hold_ms -= 1),
    ];
    for (named, change) in changes {
        let (mut cdr, booked) = call();
        change(&mut cdr);
        let proven = prove(&cdr, &booked);
        assert_eq!(proven.verdict, Verdict::Differs, "{named}");
        let differences = proven.differences();
        assert!(differences.iter().any(|what| what.contains(named)), "{named}: {differences:?}");
    }
}

#[test]
fn every_ledger_row_that_says_something_else_is_named() {
    let (cdr, booked) = call();
    for (n, row) in booked.iter().enumerate() {
        let differs = |booked: &[Booked]| {
            let proven = prove(&cdr, booked);
            assert_eq!(proven.verdict, Verdict::Differs);
            let named = format!("{} ({}): ledger", row.leg, row.account);
            assert!(proven.differences().iter().any(|what| what.starts_with(&named)), "{:?}", proven.differences());
        };
        let mut other = booked.clone();
        other[n].amount = cent(other[n].amount);
        differs(&other);
        let mut other = booked.clone();
        other.remove(n);
        differs(&other);
        let mut other = booked.clone();
        other.push(row.clone());
        differs(&other);
        let mut other = booked.clone();
        other[n].account = "other".to_owned();
        differs(&other);
    }
    let mut other = booked.clone();
    other[0].leg = "agent9".to_owned();
    assert!(prove(&cdr, &other).differences().iter().any(|what| what.contains("agent9")));
}

#[test]
fn a_proof_that_was_changed_differs_and_one_that_is_no_proof_is_told() {
    let (mut cdr, booked) = call();
    cdr.legs = cdr.legs.replace(r#""rate":"0.120""#, r#""rate":"0.121""#).into();
    assert_eq!(prove(&cdr, &booked).verdict, Verdict::Differs);
    cdr.legs = "[{".into();
    let proven = prove(&cdr, &booked);
    assert_eq!(proven.verdict, Verdict::Differs);
    assert!(proven.differences()[0].contains("legs is [{"), "{:?}", proven.differences());
}

#[test]
fn a_record_of_an_older_version_has_no_proof_and_a_refused_call_needs_none() {
    let (mut cdr, booked) = call();
    cdr.legs = "".into();
    assert_eq!(prove(&cdr, &booked).verdict, Verdict::NoProof);
    let refused = Cdr { fu: "0.01".into(), fp: 2, ..Cdr::default() };
    assert_eq!(prove(&refused, &[]).verdict, Verdict::Proved);
    // Money was taken for it all the same.
    assert_eq!(prove(&refused, &booked).verdict, Verdict::NoProof);
}
