//! Calls of other systems (cdr.md 5, external CDRs): rated here, booked by the rating thread as one record with its ledger rows.

use std::collections::HashSet;

use tandem_call::lists::pattern_of;
use tandem_call::price::leg_at;
use tandem_call::snapshot::{Account, Phone};
use tandem_control::error::ErrorObject;
use tandem_control::reply::{self, InsertedCdr};
use tandem_control::request::{CdrInsert, ExternalCdr, INSERT_MAX};
use tandem_control::value::CallId;
use tandem_rating::cdr::settle;
use tandem_rating::record::Actor;
use tandem_rating::usage::{LegTerms, Usage};

use super::change::wrong;
use super::{Control, Reply, internal, reply};
use crate::orders::{RatingOrder, ShardOrder};

/// Longest number, characters (str64 of cdr.md 2).
const NUMBER_MAX: usize = 64;
/// Longest call, s: a week, as no call may last longer (accounts.md 4).
const HOLD_MAX_S: i64 = 7 * 86_400;
/// Normal clearing: the other system has told nothing else.
const NORMAL: i32 = 16;
/// A number that is given has to be of a time before this, ms: the switch gives out those of now.
const FLOW_AGE_MS: i64 = 60_000;

impl Control {
    pub(super) async fn cdr_insert(&self, actor: &Actor, command: &str, q: CdrInsert) -> Reply {
        let _one = self.changing.lock().await;
        if q.rows.is_empty() || q.rows.len() > INSERT_MAX {
            return Err(ErrorObject::bad_value("rows", q.rows.len(), format!("1 to {INSERT_MAX} rows")));
        }
        let mut usages = self.usages(&q.rows)?;
        let mut known = HashSet::new();
        for usage in usages.iter().filter(|usage| usage.flow_no != 0) {
            if self.is_known(usage.flow_no).await? {
                known.insert(usage.flow_no);
            }
        }
        let mut stored = HashSet::new();
        if q.commit {
            let now_ms = self.state.borrow().clock.now().wall_ms;
            for usage in usages.iter_mut().filter(|usage| usage.flow_no == 0) {
                let mut state = self.state.borrow_mut();
                let number = state.external_numbers.as_mut().map(|numbers| numbers.next(now_ms));
                usage.flow_no = number.ok_or_else(|| {
                    ErrorObject::bad_value("flow_no", "missing", "a number of its own while the switch runs 16 shards")
                })?;
                usage.flow_no_first = usage.flow_no;
            }
            let new: Vec<Usage> = usages.iter().filter(|usage| !known.contains(&usage.flow_no)).cloned().collect();
            if !new.is_empty() {
                let changes = vec![format!("+ {} external CDRs", new.len())];
                let audit = Box::new(self.audit(actor, command, &q.comment, changes));
                stored = self
                    .order_rating(|done| RatingOrder::External { usages: new, audit, done })
                    .await?
                    .map_err(internal)?;
            }
        }
        let currency = self.state.borrow().config.currency.clone();
        let rows: Vec<InsertedCdr> = usages
            .iter()
            .zip(1..)
            .map(|(usage, row)| {
                let cdr = settle(usage, &currency).cdr;
                let outcome = match (known.contains(&usage.flow_no), q.commit) {
                    (true, _) => "known",
                    (false, false) => "preview",
                    (false, true) if stored.contains(&usage.flow_no) => "stored",
                    (false, true) => "known",
                };
                InsertedCdr {
                    row,
                    call: CallId(usage.flow_no),
                    outcome: outcome.to_owned(),
                    account: cdr.account.to_string(),
                    callee: cdr.callee_billed.to_string(),
                    prefix: cdr.callee_area.to_string(),
                    billed_s: cdr.billed_s,
                    fee: cdr.fee.to_string(),
                    tax: cdr.tax.to_string(),
                }
            })
            .collect();
        let count = |word: &str| rows.iter().filter(|row| row.outcome == word).count() as u32;
        let (stored, known) = (count("stored"), count("known"));
        reply(&reply::CdrInserted { rows, stored, known })
    }

    /// Whether a call of this number is in progress, ended a moment ago, or is stored.
    async fn is_known(&self, flow_no: u64) -> Result<bool, ErrorObject> {
        let calls = self.ask_shards(|done| ShardOrder::Call(flow_no, done)).await?;
        if calls.iter().any(Option::is_some) {
            return Ok(true);
        }
        // What the shards have told the rating thread is in the journal when it answers, and the query waits for that.
        self.ask_rating(RatingOrder::Accounts).await?;
        self.query(move |queries| queries.is_settled(flow_no).map_err(|e| internal(e.to_string()))).await
    }

    /// The rows as finished calls; every mistake of every row, or none.
    fn usages(&self, rows: &[ExternalCdr]) -> Result<Vec<Usage>, ErrorObject> {
        let state = self.state.borrow();
        let now_ms = state.clock.now().wall_ms;
        let params = state.params.billing().map_err(|error| internal(error.to_string()))?;
        let free = &state.snapshot.settings.free_numbers;
        let flow_max = tandem_call::FlowNumbers::new(0, 0).next(now_ms - FLOW_AGE_MS);
        let zone = jiff::tz::TimeZone::UTC;
        let mut errors = Vec::new();
        let mut seen = HashSet::new();
        let mut usages = Vec::new();
        for (row, n) in rows.iter().zip(1..) {
            let mut bad = |field: &str, value: &dyn std::fmt::Display, allowed: String| {
                errors.push(format!("row {n}: {field} is {value}; {allowed}"));
            };
            let is_number = |text: &str, may_be_empty: bool| {
                (may_be_empty || !text.is_empty())
                    && text.len() <= NUMBER_MAX
                    && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+*#-_.".contains(&b))
            };
            if !is_number(&row.caller, true) {
                bad(
                    "caller",
                    &format!("{:?}", row.caller),
                    format!("allowed are digits and letters, at most {NUMBER_MAX}"),
                );
            }
            if !is_number(&row.callee, false) {
                bad(
                    "callee",
                    &format!("{:?}", row.callee),
                    format!("allowed are digits and letters, 1 to {NUMBER_MAX}"),
                );
            }
            let start_ms = row.start.start_ms(&zone).filter(|start_ms| (0..=now_ms).contains(start_ms));
            if start_ms.is_none() {
                bad("start", &row.start, "allowed is a time that is over".to_owned());
            }
            let stop_ms = match (&row.stop, start_ms, row.billing_time) {
                (Some(stop), Some(start_ms), _) => {
                    let stop_ms = stop.start_ms(&zone).filter(|stop_ms| (start_ms..=now_ms).contains(stop_ms));
                    if stop_ms.is_none() {
                        bad("stop", stop, "allowed is a time from start to now".to_owned());
                    }
                    stop_ms
                }
                // It is over, whatever its length says: what a month was spent is counted by ends of calls.
                (None, Some(start_ms), Some(billing_s)) => Some((start_ms + i64::from(billing_s) * 1_000).min(now_ms)),
                (None, _, None) => {
                    bad("stop", &"missing", "stop or billing_time is needed".to_owned());
                    None
                }
                _ => None,
            };
            let hold_s = match (row.billing_time, start_ms, stop_ms) {
                (Some(billing_s), ..) => i64::from(billing_s),
                (None, Some(start_ms), Some(stop_ms)) => (stop_ms - start_ms + 999).div_euclid(1_000),
                _ => 0,
            };
            if hold_s > HOLD_MAX_S {
                bad("billing_time", &hold_s, format!("allowed are 0 to {HOLD_MAX_S} s"));
            }
            let flow_no = match row.flow_no {
                None | Some(-1) => 0,
                Some(given) => match u64::try_from(given).ok().filter(|given| (1..=flow_max).contains(given)) {
                    Some(given) if seen.insert(given) => given,
                    Some(given) => {
                        bad("flow_no", &given, "it stands twice; each call has its own".to_owned());
                        0
                    }
                    None => {
                        let allowed =
                            format!("allowed is 1 to {flow_max}: the switch gives out larger ones itself; or -1");
                        bad("flow_no", &given, allowed);
                        0
                    }
                },
            };
            let mode = row.mode.unwrap_or(0);
            if mode > 3 {
                bad("mode", &mode, "allowed is 0 phone, 1 mapping gateway, 2 bound number, 3 phone card".to_owned());
            }
            let account = state.snapshot.accounts.iter().find(|account| account.name == row.account);
            let Some(account) = account else {
                let names: Vec<&str> = state.snapshot.accounts.iter().map(|account| account.name.as_str()).collect();
                let error = ErrorObject::not_found("account", &row.account, &names);
                bad("account", &format!("{:?}", row.account), error.message);
                continue;
            };
            let is_free = pattern_of(free, &row.callee).is_some();
            let at_ms = start_ms.unwrap_or(now_ms);
            // Whoever is no phone of this account calls by the account's groups alone.
            let phone = state.snapshot.billing_numbers.phones.get(&row.caller).filter(|phone| {
                mode == 0 && state.snapshot.accounts.get(phone.account).is_some_and(|own| own.name == account.name)
            });
            let mut leg = |account: &Account, phone: Option<&Phone>| {
                let free = || account.leg(None, row.callee.as_str().into());
                if is_free {
                    return free();
                }
                leg_at(&state.snapshot, account, phone, &row.callee, at_ms).unwrap_or_else(|none| {
                    bad("callee", &row.callee, format!("at that time: {}", none.detail));
                    free()
                })
            };
            let customer = leg(account, phone);
            // A free number costs nobody anything.
            let agents: Vec<LegTerms> = if is_free {
                Vec::new()
            } else {
                state.snapshot.agents(account).map(|agent| leg(agent, None)).collect()
            };
            let (start_ms, stop_ms) = (start_ms.unwrap_or(0), stop_ms.unwrap_or(0));
            usages.push(Usage {
                flow_no,
                flow_no_first: flow_no,
                softswitch: state.config.node.as_str().into(),
                caller_in: row.caller.as_str().into(),
                caller_billed: row.caller.as_str().into(),
                callee_in: row.callee.as_str().into(),
                callee_billed: row.callee.as_str().into(),
                caller_type: mode,
                setup_ms: start_ms,
                connect_ms: Some(start_ms),
                end_ms: stop_ms,
                hold_ms: hold_s * 1_000,
                call_level: customer.terms.as_ref().map_or(0, |terms| terms.level),
                customer: Some(customer),
                agents,
                params: params.clone(),
                billing_mode: mode as i8,
                billing_type: 2,
                end_reason: NORMAL,
                end_reason_text: "Normal Call Clearing".into(),
                ..Usage::default()
            });
        }
        if errors.is_empty() { Ok(usages) } else { Err(wrong(errors)) }
    }
}
