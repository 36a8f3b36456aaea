//! What a start tells the rater of a ledger that another life wrote.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use tandem_call::snapshot::{AccountId, AccountKind};
use tandem_desk::Past;
use tandem_leg::{Now, Time};
use tandem_rater::{AccountConfig, Bounds, Rater, Rules};
use tandem_rating::money::Money;
use tandem_rating::record::{LedgerKind, LedgerRow, Record};
use tandem_store::{Journal, JournalOptions, Queries, StoreOptions, recover};

/// 2026-12-02, midnight in Berlin.
const MIDNIGHT_MS: i64 = 1_796_166_000_000;
const HOUR_MS: i64 = 3_600_000;

fn money(text: &str) -> Money {
    text.parse().unwrap()
}

/// Writes rows of account "c" (kind, amount, hours after midnight), and starts anew at noon: what it says it has spent today and
/// this month, and when it was used first.
fn told(rows: &[(LedgerKind, &str, i64)]) -> (Money, Money, Option<i64>) {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(dir.path(), JournalOptions::default()).unwrap();
    let mut balance = Money::ZERO;
    for (n, (kind, amount, hours)) in rows.iter().enumerate() {
        balance = balance.checked_add(money(amount)).unwrap();
        let row = LedgerRow {
            key: format!("k{n}"),
            account: "c".to_owned(),
            kind: *kind,
            amount: money(amount),
            balance_after: balance,
            at_ms: MIDNIGHT_MS + hours * HOUR_MS,
            flow_no: None,
            user: String::new(),
            memo: String::new(),
        };
        journal.append(&Record::Ledger(row)).unwrap();
    }
    journal.flush().unwrap();
    let now = Now { mono: Time::ZERO, wall_ms: MIDNIGHT_MS + 12 * HOUR_MS };
    let recovered = recover(&mut journal, &StoreOptions::new("USD"), now.wall_ms).unwrap();
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let card = AccountConfig {
        id: AccountId(0),
        name: "c".to_owned(),
        kind: AccountKind::General,
        limit: Money::ZERO,
        opening: None,
        bounds: Bounds { is_card: true, valid_days: Some(30), ..Bounds::default() },
    };
    let accounts = [card];
    let mut rater = Rater::new(recovered.balances.clone());
    rater.configure(now, &accounts, &[], Rules { zone: zone.clone(), ..Rules::default() });
    let past =
        Past { now, zone: &zone, balances: &recovered.balances, accounts: &accounts, phone_payers: BTreeSet::new() };
    past.tell(&mut rater, &Queries::open(dir.path()).unwrap()).unwrap();
    let view = rater.accounts_at(now.wall_ms).remove(0);
    (view.spent_today, view.spent_month, view.first_use_ms)
}

#[test]
fn days_and_months_of_the_zone_are_told_without_what_is_no_call() {
    let rows = [
        (LedgerKind::Opening, "100", -40),
        // November.
        (LedgerKind::Call, "-5", -30),
        // The first of December, yesterday.
        (LedgerKind::Call, "-3", -20),
        (LedgerKind::Payment, "50", -10),
        // Today.
        (LedgerKind::Call, "-2", 1),
        (LedgerKind::Payment, "7", 2),
        (LedgerKind::Deduction, "-1", 3),
        (LedgerKind::Call, "-0.5", 4),
    ];
    assert_eq!(told(&rows), (money("2.5"), money("5.5"), Some(MIDNIGHT_MS - 30 * HOUR_MS)));
    assert_eq!(told(&rows[..1]), (Money::ZERO, Money::ZERO, None));
}

#[test]
fn a_row_with_an_older_date_behind_those_of_the_month_hides_none_of_them() {
    let rows = [
        (LedgerKind::Opening, "100", -40),
        (LedgerKind::Call, "-3", -20),
        (LedgerKind::Call, "-2", 1),
        // A call of another system, of November.
        (LedgerKind::Call, "-4", -30),
    ];
    // It was counted when it was booked, and is not the first that was.
    assert_eq!(told(&rows), (money("6"), money("9"), Some(MIDNIGHT_MS - 20 * HOUR_MS)));
}
