//! Finished calls: lists, one record with its steps, totals.

use std::str::FromStr;

use rust_decimal::Decimal;
use serde_json::{Map, Value};
use tandem_control::error::{ErrorCode, ErrorObject};
use tandem_control::reply;
use tandem_control::request::{self, CdrList};
use tandem_control::value::CallId;
use tandem_rating::cdr::{CDR_FIELDS, Cdr, CdrValue};
use tandem_rating::fee::{BillingParams, RateTerms, explain_leg};
use tandem_rating::money::Money;
use tandem_rating::record::Actor;
use tandem_store::{CdrFilter, CdrSort, NumberMatch, StoreError};

use super::{Control, Reply, internal, reply};

impl Control {
    pub(super) fn filter(&self, filter: request::CdrFilter) -> Result<CdrFilter, ErrorObject> {
        // Days are those of the server; its zone is UTC until a zone can be set.
        let zone = jiff::tz::TimeZone::UTC;
        let out_of_range = |field: &str| ErrorObject::bad_value(field, "a day", "a day within the calendar");
        let from_ms = match &filter.from {
            Some(when) => Some(when.start_ms(&zone).ok_or_else(|| out_of_range("filter.from"))?),
            None => None,
        };
        let to_ms = match &filter.to {
            Some(when) => Some(when.end_ms(&zone).ok_or_else(|| out_of_range("filter.to"))?),
            None => None,
        };
        let fee_min = match &filter.fee_min {
            None => None,
            Some(amount) => Some(
                Money::from_str(amount.as_str())
                    .map_err(|error| ErrorObject::bad_value("filter.fee_min", amount.as_str(), error))?,
            ),
        };
        let number = |text: String| match text.strip_suffix('*') {
            Some(prefix) => NumberMatch::Prefix(prefix.to_owned()),
            None => NumberMatch::Exact(text),
        };
        Ok(CdrFilter {
            any_account: filter.account,
            agent_account: filter.agent,
            gateway: filter.gateway,
            hold_min_s: filter.duration_min_s.map(i64::from),
            hold_max_s: filter.duration_max_s.map(i64::from),
            fee_min,
            caller: filter.caller.map(number),
            callee: filter.callee.map(number),
            caller_gateway: filter.caller_gateway,
            callee_gateway: filter.callee_gateway,
            from_ms,
            to_ms,
            end_reason: filter.end_reason,
            answered: filter.answered,
            ..CdrFilter::default()
        })
    }

    /// SERVER_QUERY_CDR_DENY_TIME: refused in these hours, but to administrators.
    pub(super) fn cdr_hours_allow(&self, actor: &Actor) -> Result<(), ErrorObject> {
        let state = self.state.borrow();
        let (_, hours) = state.params.cdr_query_rules();
        // The server's zone is UTC until a zone can be set.
        let hour = state.clock.now().wall_ms.div_euclid(3_600_000).rem_euclid(24) as u8;
        refuse_hour(is_administrator(actor), hour, &hours)
    }

    /// That, and SERVER_QUERY_CDR_MAX_DAY_INTERVAL: longer ranges are refused, but to administrators. A range without an end
    /// is as long as there are days.
    async fn cdr_query_allowed(&self, actor: &Actor, filter: &CdrFilter) -> Result<(), ErrorObject> {
        self.cdr_hours_allow(actor)?;
        if is_administrator(actor) {
            return Ok(());
        }
        let days = self.query(|queries| queries.cdr_days().map_err(|e| internal(e.to_string()))).await?;
        let Some((first, last)) = days else { return Ok(()) };
        let (days_max, _) = self.state.borrow().params.cdr_query_rules();
        refuse_days(filter.from_ms, filter.to_ms, (first, last), days_max)
    }

    pub(super) async fn cdr_list(&self, actor: &Actor, q: CdrList) -> Reply {
        let filter = self.filter(q.filter)?;
        self.cdr_query_allowed(actor, &filter).await?;
        let page = CdrFilter {
            limit: Some(q.limit.rows() as usize),
            offset: q.offset,
            oldest_first: q.oldest_first,
            sort: match q.sort {
                request::CdrSort::End => CdrSort::Booking,
                request::CdrSort::Fee => CdrSort::Fee,
                request::CdrSort::Duration => CdrSort::Duration,
            },
            after_flow_no: q.after.map(|id| id.0),
            ..filter
        };
        let limit = q.limit.rows() as usize;
        let (rows, counted) = self.query(move |queries| queries.cdr_page(&page).map_err(refused)).await?;
        let next = if rows.len() == limit { rows.last().map(|cdr| CallId(cdr.flow_no)) } else { None };
        // A count that was given up before the end of this page has at least seen it.
        let seen = if rows.is_empty() || counted.is_all { 0 } else { q.offset.saturating_add(rows.len() as u64) };
        let total = counted.rows.max(seen);
        reply(&reply::CdrList { total, more: !counted.is_all, rows: rows.iter().map(row).collect(), next })
    }

    pub(super) async fn cdr_show(&self, actor: &Actor, call: CallId) -> Reply {
        self.cdr_hours_allow(actor)?;
        let found = self
            .query(move |queries| {
                let cdr = queries.cdr_show(call.0).map_err(|e| internal(e.to_string()))?;
                let Some(cdr) = cdr else { return Ok(None) };
                Ok(Some((cdr, queries.corrections(call.0).map_err(|e| internal(e.to_string()))?)))
            })
            .await?;
        let Some((cdr, corrections)) = found else {
            return Err(ErrorObject::new(
                ErrorCode::NotFound,
                format!("call {call} has no record; it may be in progress or unknown"),
            ));
        };
        let (customer_steps, vendor_steps) = (steps(&cdr, true), steps(&cdr, false));
        let corrections = corrections.iter().map(super::proof::correction_row).collect();
        reply(&reply::CdrShow { cdr: row(&cdr), customer_steps, vendor_steps, corrections })
    }

    pub(super) async fn cdr_totals(&self, actor: &Actor, filter: request::CdrFilter) -> Reply {
        let filter = self.filter(filter)?;
        self.cdr_query_allowed(actor, &filter).await?;
        let totals =
            self.query(move |queries| queries.cdr_totals(&filter).map_err(|e| internal(e.to_string()))).await?;
        let currency = self.state.borrow().config.currency.clone();
        reply(&reply::CdrTotals {
            calls: totals.calls,
            answered: totals.answered,
            hold_s: totals.hold_s,
            billed_s: totals.billed_s,
            vendor_s: totals.vendor_s,
            fee: self.shown(totals.fee),
            tax: self.shown(totals.tax),
            cost: self.shown(totals.cost),
            cost_tax: self.shown(totals.cost_tax),
            margin: self.shown(totals.margin),
            currency,
            rtp_relayed_a_to_b: totals.caller_rtp_relayed,
            rtp_relayed_b_to_a: totals.callee_rtp_relayed,
        })
    }
}

/// A question that the store does not take is a bad value; all else is its trouble.
fn refused(error: StoreError) -> ErrorObject {
    match error {
        StoreError::Refused { field, value, range } => ErrorObject::bad_value(field, value, range),
        error => internal(error.to_string()),
    }
}

/// Whether the rules of CDR queries leave them alone (cdr.md 6, accounts.md 6): the machine's administrator, whoever runs the
/// switch, and the switch itself.
fn is_administrator(actor: &Actor) -> bool {
    actor.uid.is_none_or(|uid| uid == 0 || uid == rustix::process::geteuid().as_raw())
}

fn refuse_hour(is_administrator: bool, hour: u8, denied: &[u8]) -> Result<(), ErrorObject> {
    if is_administrator || !denied.contains(&hour) {
        return Ok(());
    }
    let hours: Vec<String> = denied.iter().map(u8::to_string).collect();
    let message = format!(
        "CDRs cannot be queried from {hour:02}:00 to {hour:02}:59 UTC: SERVER_QUERY_CDR_DENY_TIME is {}; administrators are \
         exempt",
        hours.join(",")
    );
    Err(ErrorObject::new(ErrorCode::Refused, message))
}

fn refuse_days(from_ms: Option<i64>, to_ms: Option<i64>, stored: (u32, u32), days_max: u32) -> Result<(), ErrorObject> {
    const DAY_MS: i64 = 86_400_000;
    // Days are those of the server; its zone is UTC until a zone can be set.
    let midnight = |day: u32| tandem_store::day_start_ms(i64::from(day));
    let from_day = from_ms.unwrap_or(i64::MIN).max(midnight(stored.0)).div_euclid(DAY_MS);
    let to_day = (to_ms.unwrap_or(i64::MAX).min(midnight(stored.1) + DAY_MS) - 1).div_euclid(DAY_MS);
    let days = to_day - from_day + 1;
    if days <= i64::from(days_max) {
        return Ok(());
    }
    let allowed = format!(
        "at most {days_max} days a query (SERVER_QUERY_CDR_MAX_DAY_INTERVAL); name a shorter range with from and to; \
         administrators are exempt"
    );
    Err(ErrorObject::bad_value("filter.from", format!("{days} days before the end of the range"), allowed))
}

/// A record by the names of cdr.md 2; money as decimal strings.
pub(super) fn row(cdr: &Cdr) -> Map<String, Value> {
    let mut map = Map::with_capacity(CDR_FIELDS.len());
    for (index, (name, _)) in CDR_FIELDS.iter().enumerate() {
        let value = match cdr.value(index) {
            CdrValue::Null => Value::Null,
            CdrValue::Int(n) => Value::from(n),
            CdrValue::Text(text) => Value::from(text),
            CdrValue::Money(money) => Value::from(money.to_string()),
            CdrValue::Attempts(attempts) => serde_json::to_value(attempts).unwrap_or_default(),
        };
        map.insert((*name).to_owned(), value);
    }
    map
}

/// The fee again from what the record kept, line by line (billing.md 7: each CDR can be proved).
fn steps(cdr: &Cdr, customer: bool) -> Vec<String> {
    let (rate_id, rate, first_s, next_s, conn_fee, prefix) = if customer {
        (cdr.rate_id, &cdr.rate_used, cdr.first_s, cdr.next_s, cdr.conn_fee, &cdr.callee_area)
    } else {
        (
            cdr.vendor_rate_id,
            &cdr.vendor_rate_used,
            cdr.vendor_first_s,
            cdr.vendor_next_s,
            cdr.vendor_conn_fee,
            &cdr.vendor_prefix,
        )
    };
    let (Ok(rate_per_min), Ok(fu)) = (rate.parse::<Decimal>(), cdr.fu.parse::<Decimal>()) else {
        return Vec::new();
    };
    let (Ok(first_s), Ok(next_s)) = (u32::try_from(first_s), u32::try_from(next_s)) else {
        return Vec::new();
    };
    let (fee, tax) = if customer { (cdr.fee, cdr.tax) } else { (cdr.vendor_fee, cdr.vendor_tax) };
    let tax_pct = if fee == Money::ZERO {
        Decimal::ZERO
    } else {
        (tax.amount() / fee.amount() * Decimal::ONE_HUNDRED).round_dp(4)
    };
    let terms = RateTerms {
        rate_id,
        prefix: prefix.as_str().into(),
        rate_per_min,
        first_s,
        next_s,
        sections: Vec::new(),
        conn_fee: conn_fee.amount(),
        tax_pct,
        level: cdr.call_level as u8,
    };
    let free_s = if customer || cdr.vendor_free_time == 1 { cdr.free_s as u32 } else { 0 };
    let params = BillingParams {
        fp: cdr.fp as u8,
        fu,
        p_hold_ms: cdr.p_hold as u16,
        free_s,
        quantise_rate: cdr.rate_quantise == 1,
        vendor_free_time: cdr.vendor_free_time == 1,
    };
    explain_leg(cdr.hold_ms, &terms, &params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denied_hours_are_named_and_leave_administrators_alone() {
        assert!(refuse_hour(false, 7, &[]).is_ok());
        assert!(refuse_hour(false, 7, &[6, 8]).is_ok());
        assert!(refuse_hour(true, 7, &[7]).is_ok());
        let error = refuse_hour(false, 7, &[7, 8]).unwrap_err();
        assert!(error.message.contains("SERVER_QUERY_CDR_DENY_TIME is 7,8"), "{}", error.message);
        let uid = |uid| Actor { uid, ..Actor::default() };
        assert!(is_administrator(&uid(Some(0))) && is_administrator(&uid(None)));
        assert!(is_administrator(&uid(Some(rustix::process::geteuid().as_raw()))));
        assert!(!is_administrator(&uid(Some(65_534))));
    }

    #[test]
    fn a_range_is_counted_in_days_that_can_have_calls() {
        let day = |day: i64| tandem_store::day_start_ms(day);
        let stored = (20_261_001, 20_261_122);
        let allowed = |from: Option<i64>, to: Option<i64>, max| refuse_days(from, to, stored, max).is_ok();
        assert!(allowed(None, None, 53) && !allowed(None, None, 52), "October has 31 days");
        assert!(allowed(Some(day(20_261_121)), None, 2) && !allowed(Some(day(20_261_121)), None, 1));
        assert!(allowed(Some(day(20_261_121)), Some(day(20_261_122)), 1), "the end of a range is not in it");
        assert!(!allowed(Some(day(20_261_121)), Some(day(20_261_122) + 1), 1));
        assert!(allowed(None, Some(day(20_261_002)), 1), "days before the first have no calls");
        let error = refuse_days(None, None, stored, 31).unwrap_err();
        assert!(error.message.contains("SERVER_QUERY_CDR_MAX_DAY_INTERVAL"), "{}", error.message);
    }
}
