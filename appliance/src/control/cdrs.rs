//! Finished calls: lists, one record with its steps, totals.

use rust_decimal::Decimal;
use serde_json::{Map, Value};
use tandem_control::error::{ErrorCode, ErrorObject};
use tandem_control::reply;
use tandem_control::request::{self, CdrList};
use tandem_control::value::CallId;
use tandem_rating::cdr::{CDR_FIELDS, Cdr, CdrValue};
use tandem_rating::fee::{BillingParams, RateTerms, explain_leg};
use tandem_rating::money::Money;
use tandem_store::{CdrFilter, NumberMatch};

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
        let number = |text: String| match text.strip_suffix('*') {
            Some(prefix) => NumberMatch::Prefix(prefix.to_owned()),
            None => NumberMatch::Exact(text),
        };
        Ok(CdrFilter {
            any_account: filter.account,
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

    pub(super) async fn cdr_list(&self, q: CdrList) -> Reply {
        let filter = self.filter(q.filter)?;
        let page = CdrFilter {
            limit: Some(q.limit.rows() as usize),
            offset: q.offset,
            oldest_first: q.oldest_first,
            after_flow_no: q.after.map(|id| id.0),
            ..filter.clone()
        };
        let limit = q.limit.rows() as usize;
        let (rows, total) = self
            .query(move |queries| {
                let rows = queries.cdr_list(&page).map_err(|e| internal(e.to_string()))?;
                let total = queries.cdr_count(&filter).map_err(|e| internal(e.to_string()))?;
                Ok((rows, total))
            })
            .await?;
        let next = if rows.len() == limit { rows.last().map(|cdr| CallId(cdr.flow_no)) } else { None };
        reply(&reply::CdrList { total, rows: rows.iter().map(row).collect(), next })
    }

    pub(super) async fn cdr_show(&self, call: CallId) -> Reply {
        let cdr = self.query(move |queries| queries.cdr_show(call.0).map_err(|e| internal(e.to_string()))).await?;
        let Some(cdr) = cdr else {
            return Err(ErrorObject::new(
                ErrorCode::NotFound,
                format!("call {call} has no record; it may be in progress or unknown"),
            ));
        };
        let (customer_steps, vendor_steps) = (steps(&cdr, true), steps(&cdr, false));
        reply(&reply::CdrShow { cdr: row(&cdr), customer_steps, vendor_steps })
    }

    pub(super) async fn cdr_totals(&self, filter: request::CdrFilter) -> Reply {
        let filter = self.filter(filter)?;
        let totals =
            self.query(move |queries| queries.cdr_totals(&filter).map_err(|e| internal(e.to_string()))).await?;
        let currency = self.state.borrow().config.currency.clone();
        reply(&reply::CdrTotals {
            calls: totals.calls,
            answered: totals.answered,
            hold_s: totals.hold_s,
            billed_s: totals.billed_s,
            vendor_s: totals.vendor_s,
            fee: totals.fee.to_string(),
            tax: totals.tax.to_string(),
            cost: totals.cost.to_string(),
            cost_tax: totals.cost_tax.to_string(),
            margin: totals.margin.to_string(),
            currency,
            rtp_relayed_a_to_b: totals.caller_rtp_relayed,
            rtp_relayed_b_to_a: totals.callee_rtp_relayed,
        })
    }
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
