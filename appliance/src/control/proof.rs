//! Whether finished calls were charged what their records prove: one with its steps, or many, counted.

use tandem_control::error::{ErrorCode, ErrorObject};
use tandem_control::reply;
use tandem_control::request::{CdrProve, SLICE_CALLS};
use tandem_control::value::CallId;
use tandem_rating::cdr::Cdr;
use tandem_rating::money::Money;
use tandem_rating::proof::{self, Proof};
use tandem_rating::prove::{Booked, Check, Proven, Verdict, due, leg_names, prove};
use tandem_rating::reprice::{Revision, revision_problems};
use tandem_store::{CdrFilter, LIMIT_MAX, LedgerFilter, Queries, StoredCorrection, StoredLedgerRow};

use super::cdrs::row;
use super::{Control, Reply, internal, reply};

/// Calls that differ which an answer names; the rest is counted.
const DIFFER_SHOWN: usize = 20;

impl Control {
    pub(super) async fn cdr_explain(&self, call: CallId) -> Reply {
        let found = self
            .query(move |queries| {
                let cdr = queries.cdr_show(call.0).map_err(|e| internal(e.to_string()))?;
                let Some(cdr) = cdr else { return Ok(None) };
                let corrections = queries.corrections(call.0).map_err(|e| internal(e.to_string()))?;
                Ok(Some((ledger_of(queries, call.0)?, cdr, corrections)))
            })
            .await?;
        let Some((ledger, cdr, corrections)) = found else {
            return Err(ErrorObject::new(
                ErrorCode::NotFound,
                format!("call {call} has no record; it may be in progress or unknown"),
            ));
        };
        let proven = proven(&cdr, &ledger, &corrections);
        let ledger = ledger.iter().map(|row| self.ledger_row(row)).collect();
        let shown = corrections.iter().map(correction_row).collect();
        reply(&reply::CallExplained { corrections: shown, ..explained(&cdr, &proven, ledger) })
    }

    pub(super) async fn cdr_prove(&self, q: CdrProve) -> Reply {
        let filter = CdrFilter { limit: Some(LIMIT_MAX), oldest_first: true, ..self.filter(q.filter)? };
        let mut after = q.after.map(|call| call.0);
        let proved = self
            .query(move |queries| {
                let mut answer = reply::CdrProved::default();
                loop {
                    let page = CdrFilter { after_flow_no: after, ..filter.clone() };
                    let cdrs = queries.cdr_list(&page).map_err(|e| internal(e.to_string()))?;
                    for cdr in &cdrs {
                        let corrections = queries.corrections(cdr.flow_no).map_err(|e| internal(e.to_string()))?;
                        let ledger = ledger_of(queries, cdr.flow_no)?;
                        count(&mut answer, cdr, &proven(cdr, &ledger, &corrections));
                    }
                    after = cdrs.last().map(|cdr| cdr.flow_no).filter(|_| cdrs.len() == LIMIT_MAX);
                    answer.next = after.map(CallId);
                    if after.is_none() || answer.calls >= u64::from(SLICE_CALLS) {
                        return Ok(answer);
                    }
                }
            })
            .await?;
        reply(&proved)
    }
}

/// The call as it was settled, and every correction of it.
fn proven(cdr: &Cdr, ledger: &[StoredLedgerRow], corrections: &[StoredCorrection]) -> Proven {
    let mut proven = prove(cdr, &booked(ledger));
    let mut before = proof::of_cdr(cdr).unwrap_or_default();
    for correction in corrections {
        let rows = ledger.iter().filter(|row| row.kind == "correction");
        let rows: Vec<(String, String, Money)> =
            rows.map(|row| (row.key.clone(), row.account.clone(), row.amount)).collect();
        let problems = revision_problems(
            proof::connect_ms_of(cdr),
            &before,
            Revision {
                flow_no: correction.flow_no,
                number: correction.revision,
                run: &correction.run,
                params: &correction.params,
                before: &correction.before,
                after: &correction.after,
            },
            &rows,
        );
        if !problems.is_empty() {
            proven.verdict = Verdict::Differs;
            proven.problems.extend(problems);
        }
        before.clone_from(&correction.after);
    }
    proven
}

pub(super) fn correction_row(correction: &StoredCorrection) -> reply::CorrectionRow {
    let due_of = |proof: &Proof| {
        proof.charge.as_ref().map_or_else(|| "0".to_owned(), |charge| due(charge).unwrap_or_default().to_string())
    };
    let legs = leg_names(&correction.after).into_iter().zip(correction.before.iter().zip(&correction.after));
    let changes = legs
        .map(|(leg, (before, after))| (leg, before.account.clone(), due_of(before), due_of(after)))
        .filter(|(_, _, old, new)| old != new)
        .map(|(leg, account, old, new)| format!("{leg} {account}: {old} -> {new}"));
    reply::CorrectionRow {
        revision: correction.revision,
        run: correction.run.clone(),
        at_ms: correction.at_ms,
        user: correction.user.clone(),
        memo: correction.memo.clone(),
        changes: changes.collect(),
    }
}

fn count(answer: &mut reply::CdrProved, cdr: &Cdr, proven: &Proven) {
    answer.calls += 1;
    match proven.verdict {
        Verdict::Proved => answer.proved += 1,
        Verdict::NoProof => answer.no_proof += 1,
        Verdict::Differs => {
            answer.differ += 1;
            if answer.first.len() < DIFFER_SHOWN {
                let call = CallId(cdr.flow_no);
                answer.first.push(reply::DifferRow { call, differences: proven.differences() });
            }
        }
    }
}

/// The movements of money that name a call.
pub(super) fn ledger_of(queries: &Queries, flow_no: u64) -> Result<Vec<StoredLedgerRow>, ErrorObject> {
    let filter = LedgerFilter { flow_no: Some(flow_no), oldest_first: true, ..LedgerFilter::default() };
    queries.ledger_list(&filter).map_err(|error| internal(error.to_string()))
}

/// Those that were booked when it was settled.
pub(super) fn booked(ledger: &[StoredLedgerRow]) -> Vec<Booked> {
    let of_call = |row: &&StoredLedgerRow| row.kind == "call";
    let booked = |row: &StoredLedgerRow| Booked {
        // call:<flow number>:<leg>
        leg: row.key.rsplit(':').next().unwrap_or_default().to_owned(),
        account: row.account.clone(),
        amount: row.amount,
    };
    ledger.iter().filter(of_call).map(booked).collect()
}

fn explained(cdr: &Cdr, proven: &Proven, ledger: Vec<reply::LedgerRow>) -> reply::CallExplained {
    // Without parameters there is no leg either.
    let params = proof::params_of(cdr).unwrap_or_default();
    let connect_ms = proof::connect_ms_of(cdr);
    let legs: Vec<reply::ExplainedLeg> = proven
        .legs
        .iter()
        .map(|leg| reply::ExplainedLeg {
            leg: leg.name.clone(),
            account: leg.proof.account.to_string(),
            name: leg.proof.name.to_string(),
            rate_group: leg.proof.group.to_string(),
            number: leg.proof.number.to_string(),
            prefix: leg.proof.row.as_ref().map_or_else(String::new, |row| row.prefix.to_string()),
            rate_id: leg.proof.row.as_ref().map_or(0, |row| row.id),
            steps: leg.proof.explain(connect_ms, &params),
            checks: leg.checks.iter().map(check).collect(),
        })
        .collect();
    reply::CallExplained {
        call: CallId(cdr.flow_no),
        verdict: proven.verdict.as_str().to_owned(),
        differences: proven.differences(),
        checked: (proven.checks.len() + proven.legs.iter().map(|leg| leg.checks.len()).sum::<usize>()) as u64,
        cdr: row(cdr),
        legs,
        checks: proven.checks.iter().map(check).collect(),
        ledger,
        corrections: Vec::new(),
    }
}

fn check(check: &Check) -> reply::CheckRow {
    reply::CheckRow {
        what: check.what.to_owned(),
        stored: check.stored.clone(),
        again: check.again.clone(),
        agrees: check.agrees(),
    }
}
