//! The history of the configuration and the audit log, from journal to questions.

mod support;

use std::path::Path;

use support::{open, write};
use tandem_rating::record::{Actor, Audit, Change, DeckText, Outcome, Record};
use tandem_store::{AuditFilter, Queries, Recovered, StoreOptions, recover};
use tempfile::tempdir;

fn audit(at_ms: i64, user: &str, changes: &[&str]) -> Audit {
    Audit {
        at_ms,
        actor: Actor { uid: Some(1000), user: user.into(), pid: Some(7) },
        command: "set".into(),
        comment: "why".into(),
        changes: changes.iter().map(|line| (*line).to_owned()).collect(),
        ..Audit::default()
    }
}

fn change(version: u64, text: Option<&str>) -> Change {
    Change {
        version,
        how: "set".into(),
        audit: Audit { version: Some(version), ..audit(version as i64 * 10, "ann", &["~ a: 1 -> 2", "+ b = 3"]) },
        text: text.map(str::to_owned),
        ..Change::default()
    }
}

fn recovered(dir: &Path) -> Recovered {
    recover(&mut open(dir), &StoreOptions::new("EUR"), 0).unwrap()
}

#[test]
fn a_change_is_site_decks_history_and_audit_in_one_record() {
    let dir = tempdir().unwrap();
    let deck = DeckText { group: "gold".into(), version: 4, csv: "rows".into(), ..DeckText::default() };
    let old = Record::Site { version: 1, at_ms: 1, user: "bootstrap".into(), text: "one".into() };
    let import = Change { decks: vec![deck], ..change(3, None) };
    write(&mut open(dir.path()), &[old, Record::Change(change(2, Some("two")).into()), Record::Change(import.into())]);

    let found = recovered(dir.path());
    assert_eq!((found.version, found.site.map(|site| (site.version, site.text))), (3, Some((2, "two".into()))));
    assert_eq!((found.decks[0].csv.as_str(), found.decks[0].version), ("rows", 4));
    assert_eq!(found.unconfirmed, None);

    let queries = Queries::open(dir.path()).unwrap();
    let (history, total) = queries.changes(None, 0).unwrap();
    assert_eq!((history.iter().map(|one| one.version).collect::<Vec<_>>(), total), (vec![3, 2, 1], 3));
    assert_eq!((history[0].actor.uid, history[0].comment.as_str()), (Some(1000), "why"));
    assert_eq!(history[0].changes, ["~ a: 1 -> 2", "+ b = 3"]);
    assert_eq!((history[2].actor.user.as_str(), history[2].actor.uid), ("bootstrap", None));
    assert_eq!(queries.changes(Some(1), 1).unwrap().0[0].version, 2);
    // An import keeps the site of the version before it.
    let at = |version| queries.site_at(version).unwrap().map(|site| site.text);
    assert_eq!((at(1), at(2), at(3), at(4), at(0)), (Some("one".into()), Some("two".into()), at(2), None, None));
}

#[test]
fn what_waits_for_a_confirmation_waits_until_it_is_confirmed_or_taken_back() {
    let waiting =
        |version| Change { confirm_until_ms: Some(99), fallback: Some(version - 1), ..change(version, Some("x")) };
    let confirmed = |version| Record::Confirmed { version, audit: audit(5, "bob", &[]).into() };
    let taken_back = |version| Change { ends_confirm: Some(version), ..change(version + 1, Some("y")) };
    let state = |records: &[Record]| {
        let dir = tempdir().unwrap();
        write(&mut open(dir.path()), records);
        let pending = recovered(dir.path()).unconfirmed.map(|one| (one.version, one.fallback, one.confirm_until_ms));
        let history = Queries::open(dir.path()).unwrap().changes(None, 0).unwrap().0;
        (pending, history.iter().map(|one| one.confirm_state.clone()).collect::<Vec<_>>())
    };
    let first = Record::Change(waiting(2).into());
    assert_eq!(state(std::slice::from_ref(&first)), (Some((2, Some(1), Some(99))), vec!["pending".to_owned()]));
    assert_eq!(state(&[first.clone(), confirmed(2)]), (None, vec!["confirmed".to_owned()]));
    let back = Record::Change(taken_back(2).into());
    assert_eq!(state(&[first.clone(), back]), (None, vec![String::new(), "rolled_back".to_owned()]));
    // Rates that are imported meanwhile neither confirm nor take back.
    let import = Record::Change(change(3, None).into());
    assert_eq!(state(&[first, import]).0, Some((2, Some(1), Some(99))));
}

#[test]
fn the_audit_log_has_what_was_refused_too_and_can_be_asked() {
    let dir = tempdir().unwrap();
    let refused = Audit { outcome: Outcome::Refused, error: "a = 1: no".into(), ..audit(20, "bob", &[]) };
    let records = [Record::Change(change(1, Some("x")).into()), Record::Audit(refused.into())];
    write(&mut open(dir.path()), &records);
    recovered(dir.path());
    let queries = Queries::open(dir.path()).unwrap();
    let (rows, total) = queries.audit(&AuditFilter::default()).unwrap();
    assert_eq!((rows.len(), total, rows[0].seq, rows[0].outcome.as_str()), (2, 2, 2, "refused"));
    assert_eq!((rows[0].error.as_str(), rows[1].version, rows[1].changes.len()), ("a = 1: no", Some(1), 2));
    let only = |filter: AuditFilter| queries.audit(&filter).unwrap().0.iter().map(|row| row.seq).collect::<Vec<_>>();
    assert_eq!(only(AuditFilter { user: Some("ann".into()), ..Default::default() }), [1]);
    assert_eq!(only(AuditFilter { from_ms: Some(11), ..Default::default() }), [2]);
    assert_eq!(only(AuditFilter { to_ms: Some(20), ..Default::default() }), [1]);
    assert_eq!(only(AuditFilter { oldest_first: true, limit: Some(1), ..Default::default() }), [1]);
    assert!(queries.audit(&AuditFilter { limit: Some(0), ..Default::default() }).is_err());
}
