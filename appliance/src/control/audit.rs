//! The audit log: what was asked for in the words of the command line, and what became of it.

use jiff::tz::TimeZone;
use tandem_control::error::{ErrorCode, ErrorObject};
use tandem_control::reply;
use tandem_control::request::{AuditList, Call, Edit, RatesImport, Terms};
use tandem_rating::record::{Actor, Audit, Outcome, Record};
use tandem_store::{AuditFilter, Encoded};

use super::{Control, Reply, internal, reply};
use crate::log;
use crate::orders::RatingOrder;

/// Longest command, comment or reason that is kept, in characters.
pub(super) const TEXT_MAX: usize = 1_000;

/// `text` without control characters, cut when it is long.
pub(super) fn tidy(text: &str) -> String {
    text.chars().take(TEXT_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What `call` would change, as it is typed; `None` for a question.
pub(super) fn command(call: &Call) -> Option<String> {
    let text = match call {
        Call::CallsKill(q) => format!("calls kill {}", q.call),
        Call::AccountPay(q) => {
            let from = q.from.as_ref().map_or_else(String::new, |agent| format!(" --from {agent}"));
            format!("account pay {} {}{from}", q.name, q.amount)
        }
        Call::AccountZero(q) => format!("account zero {}", q.name),
        Call::AccountReverse(q) => format!("account reverse {}", q.key),
        Call::CardCreate(q) if q.commit => {
            format!("card create --batch {} --count {} --value {}", q.batch, q.count, q.value.as_str())
        }
        Call::CardLock(q) if q.commit => {
            let what = q.batch.as_ref().map_or_else(String::new, |batch| format!(" --batch {batch}"));
            format!("card lock{what}{}", if q.unlock { " --unlock" } else { "" })
        }
        Call::CardRecharge(q) => format!("card recharge ... {}", q.account),
        Call::PackageOrder(q) if q.commit => {
            let phone = q.phone.as_ref().map_or_else(String::new, |phone| format!(" --phone {phone}"));
            format!("package order {} {}{phone}", q.account, q.package)
        }
        Call::PackageChange(q) if q.commit => format!("package change {}", q.order),
        Call::PackageCancel(q) if q.commit => {
            format!("package cancel {}{}", q.order, if q.now { " --now" } else { "" })
        }
        Call::PackageCatchUp(q) if q.commit => format!("package catch-up {}", q.order),
        Call::CdrInsert(q) if q.commit => format!("cdr insert ({} rows)", q.rows.len()),
        Call::RatesImport(RatesImport { group, mode, .. }) => {
            format!("rates import --group {group} --mode {}", mode.as_str())
        }
        Call::RatesSet(q) => {
            let fields: Vec<String> = q.fields.iter().map(|(field, value)| format!("{field}={value}")).collect();
            format!("rates set --group {} {} {}", q.group, q.prefix, fields.join(" "))
        }
        Call::RatesDelete(q) => format!("rates delete --group {} {}", q.group, q.prefix),
        Call::RatesRollback(q) => format!("rates rollback --group {} {}", q.group, q.version),
        Call::RatesCommit(q) => format!("rates commit {}", q.preview),
        Call::RatesDrop(q) => format!("rates drop {}", q.group),
        Call::SiteApply(q) => format!("apply{}", terms(&q.terms)),
        Call::SiteEdit(q) => {
            let edits: Vec<String> = q.edits.iter().map(edit).collect();
            format!("{}{}", edits.join("; "), terms(&q.terms))
        }
        Call::SiteCommit(q) => format!("commit{}", terms(&q.terms)),
        Call::SiteConfirm(_) => "confirm".to_owned(),
        Call::SiteDiscard(_) => "discard".to_owned(),
        Call::SiteRollback(q) => {
            let version = q.version.map_or_else(String::new, |version| format!(" {version}"));
            format!("rollback{version}{}", terms(&q.terms))
        }
        Call::Rerate(q) => format!("rerate --apply, run {}", q.apply.as_ref()?),
        Call::ParamSet(q) => format!("param set {} {}", q.name, q.value),
        Call::DatapathUpgrade(q) => match &q.object {
            Some(object) => format!("upgrade-datapath --object {object}"),
            None => "upgrade-datapath".to_owned(),
        },
        _ => return None,
    };
    Some(tidy(&text))
}

fn terms(terms: &Terms) -> String {
    let mut text = String::new();
    if terms.stage {
        text.push_str(" --stage");
    }
    if let Some(within) = terms.confirm_within {
        text.push_str(&format!(" --confirm {}s", within.seconds()));
    }
    text
}

fn edit(edit: &Edit) -> String {
    let mut text = format!("{} {}", edit.edit.as_str(), edit.kind);
    if !edit.name.is_empty() {
        text.push_str(&format!(" {}", edit.name));
    }
    for one in &edit.fields {
        text.push_str(&format!(" {}{}{}", one.field, one.op.as_str(), one.value));
    }
    text
}

impl Control {
    /// A row of the audit log about now.
    pub(super) fn audit(&self, actor: &Actor, command: &str, comment: &str, changes: Vec<String>) -> Audit {
        Audit {
            at_ms: self.state.borrow().clock.now().wall_ms,
            actor: actor.clone(),
            command: command.to_owned(),
            comment: tidy(comment),
            changes,
            ..Audit::default()
        }
    }

    /// Puts a row in the log that belongs to no change of the configuration. What was done is done: a journal that cannot
    /// be written keeps the row and writes it later.
    pub(super) async fn note(&self, audit: Audit) {
        let noted = self.ask_rating(|done| RatingOrder::Note(Box::new(Record::Audit(Box::new(audit))), done)).await;
        if let Err(error) = noted {
            log::warning(&format!("a row of the audit log is late: {error}"));
        }
    }

    /// Notes that something was not done.
    pub(super) async fn note_refused(&self, actor: &Actor, command: &str, error: &ErrorObject) {
        let outcome = match error.kind() {
            ErrorCode::Internal | ErrorCode::Busy => Outcome::Failed,
            _ => Outcome::Refused,
        };
        let audit = self.audit(actor, command, "", Vec::new());
        self.note(Audit { outcome, error: tidy(&error.message), ..audit }).await;
    }

    /// Writes a record about the configuration, on disk when this returns.
    ///
    /// # Errors
    /// It is not written, and never will be.
    pub(super) async fn write(&self, record: &Record) -> Result<(), ErrorObject> {
        let record = Encoded::of(record).map_err(internal)?;
        let seq = self.order_rating(|done| RatingOrder::Write { record, done }).await?.map_err(internal)?;
        self.on_disk(seq).await;
        Ok(())
    }

    pub(super) async fn audit_list(&self, q: AuditList) -> Reply {
        let zone = TimeZone::system();
        let out_of_range = |field: &str, when: &tandem_control::When| {
            ErrorObject::bad_value(field, when, "an instant that the calendar has")
        };
        let from_ms = match &q.since {
            Some(when) => Some(when.start_ms(&zone).ok_or_else(|| out_of_range("since", when))?),
            None => None,
        };
        let to_ms = match &q.until {
            Some(when) => Some(when.end_ms(&zone).ok_or_else(|| out_of_range("until", when))?),
            None => None,
        };
        let filter = AuditFilter {
            from_ms,
            to_ms,
            user: q.user,
            limit: Some(q.limit.rows() as usize),
            offset: q.offset,
            oldest_first: q.oldest_first,
        };
        let (rows, total) =
            self.query(move |queries| queries.audit(&filter).map_err(|error| internal(error.to_string()))).await?;
        let rows = rows
            .into_iter()
            .map(|row| reply::AuditRow {
                seq: row.seq,
                at_ms: row.at_ms,
                user: row.actor.user,
                uid: row.actor.uid,
                pid: row.actor.pid,
                command: row.command,
                outcome: row.outcome,
                error: row.error,
                version: row.version,
                comment: row.comment,
                changes: row.changes,
            })
            .collect();
        reply(&reply::AuditList { total, rows })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tandem_control::METHODS;

    use super::*;

    #[test]
    fn a_command_is_in_the_words_of_the_command_line() {
        let said = |method: &str, params| command(&Call::from_parts(method, Some(params)).unwrap());
        let fields =
            json!([{"field": "capacity", "value": "7"}, {"field": "sources", "op": "+=", "value": "192.0.2.1"}]);
        let edit = json!({"edit": "set", "kind": "gateway", "name": "a", "fields": fields});
        assert_eq!(
            said("site.edit", json!({"edits": [edit], "terms": {"stage": true}})).unwrap(),
            "set gateway a capacity=7 sources+=192.0.2.1 --stage"
        );
        assert_eq!(
            said("site.rollback", json!({"version": 3, "terms": {"confirm_within": 90}})).unwrap(),
            "rollback 3 --confirm 90s"
        );
        assert_eq!(said("param.set", json!({"name": "A", "value": "x\ny"})).unwrap(), "param set A x y");
        assert_eq!(said("status", json!({})), None);
    }

    /// A verb that is new and changes something must not be forgotten here.
    #[test]
    fn every_verb_that_changes_something_has_a_row() {
        let questions = [
            "status",
            "calls.list",
            "calls.show",
            "cdr.list",
            "cdr.show",
            "cdr.totals",
            "cdr.explain",
            "cdr.prove",
            "gateway.list",
            "cdr.insert",
            "report.day",
            "report.check",
            "account.list",
            "account.show",
            "ledger.list",
            "package.list",
            "package.orders",
            "card.list",
            "rates.upload",
            "rates.progress",
            "rates.differences",
            "rates.export",
            "rates.list",
            "rates.show",
            "rates.history",
            "rates.compare",
            "site.compare",
            "site.history",
            "site.export",
            "audit.list",
            "media.audit",
            "media.show",
            "param.list",
            "param.get",
            "explain",
            "trace",
        ];
        let full = json!({"call": 1, "key": "k", "name": "a", "amount": "1", "value": "1", "group": "g", "csv": "", "toml": "", "edits": [],
            "preview": 1, "prefix": "1", "fields": {}, "version": 1, "apply": "run", "account": "a", "package": "p", "order": "1", "count": 1, "batch": "b", "pin": "7",
            "commit": true});
        for method in METHODS.iter().filter(|method| !questions.contains(method)) {
            // Each verb takes the parameters it knows.
            let mut params = full.clone();
            let call = loop {
                match Call::from_parts(method, Some(params.clone())) {
                    Ok(call) => break call,
                    Err(error) => {
                        let unknown =
                            error.message.split("unknown field `").nth(1).and_then(|rest| rest.split('`').next());
                        let unknown = unknown.unwrap_or_else(|| panic!("{method}: {error}")).to_owned();
                        params.as_object_mut().unwrap().shift_remove(&unknown);
                    }
                }
            };
            assert!(command(&call).is_some(), "{method}");
        }
    }
}
