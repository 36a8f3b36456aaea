//! Reports of a day, and whether they are what CDRs and ledger come to.

use rust_decimal::Decimal;
use tandem_control::error::ErrorObject;
use tandem_control::reply;
use tandem_control::request;
use tandem_control::when::When;
use tandem_leg::{EndReason, ServerReason};
use tandem_rating::record::Actor;
use tandem_store::{ReportBy, ReportRow};

use super::money::with_digits;
use super::{Control, Reply, internal, reply};

impl Control {
    /// The day of an instant, yyyymmdd, in the server's zone; it is UTC until a zone can be set.
    fn day(when: &When) -> Result<u32, ErrorObject> {
        let start_ms = when.start_ms(&jiff::tz::TimeZone::UTC);
        let day = start_ms.map(|at_ms| tandem_store::day_of(at_ms, 0)).and_then(|day| u32::try_from(day).ok());
        day.ok_or_else(|| ErrorObject::bad_value("day", when, "a day within the calendar"))
    }

    pub(super) async fn report_day(&self, actor: &Actor, q: request::ReportDay) -> Reply {
        self.cdr_hours_allow(actor)?;
        let day = Control::day(&q.day)?;
        let by = match q.by {
            None => None,
            Some(word) => match ReportBy::ALL.iter().find(|(_, known)| *known == word) {
                Some((by, _)) => Some(*by),
                None => {
                    let words: Vec<&str> = ReportBy::ALL.iter().map(|(_, word)| *word).collect();
                    return Err(ErrorObject::unknown_word("by", &word, &words));
                }
            },
        };
        let rows = self.query(move |queries| queries.report_day(day, by).map_err(|e| internal(e.to_string()))).await?;
        let digits = self.fee_digits();
        let state = self.state.borrow();
        reply(&reply::ReportDay {
            day,
            currency: state.config.currency.clone(),
            node: state.config.node.clone(),
            rows: rows.iter().map(|each| row(each, digits)).collect(),
        })
    }

    pub(super) async fn report_check(&self, actor: &Actor, q: request::ReportCheck) -> Reply {
        self.cdr_hours_allow(actor)?;
        let day = Control::day(&q.day)?;
        let checked = self.query(move |queries| queries.report_check(day).map_err(|e| internal(e.to_string()))).await?;
        reply(&reply::ReportChecked {
            day,
            cdrs: checked.cdrs,
            rows: checked.rows,
            ledger_rows: checked.ledger_rows,
            problems: checked.problems,
        })
    }
}

fn row(row: &ReportRow, digits: u8) -> reply::ReportRow {
    let sums = &row.sums;
    let money = |amount| with_digits(amount, digits);
    let ratio = |part: i64, whole: i64, decimals: u32| match Decimal::from(part).checked_div(Decimal::from(whole)) {
        None => String::new(),
        Some(ratio) => format!("{:.*}", decimals as usize, ratio.round_dp(decimals)),
    };
    reply::ReportRow {
        by: row.by.as_str().to_owned(),
        key: row.key.clone(),
        name: name(row.by, &row.key),
        calls: sums.calls,
        answered: sums.answered,
        asr_pct: ratio(sums.answered * 100, sums.calls, 2),
        acd_s: ratio(sums.hold_s, sums.answered, 1),
        hold_s: sums.hold_s,
        billed_s: sums.billed_s,
        suite_s: sums.suite_s,
        agent_s: sums.agent_s,
        vendor_s: sums.vendor_s,
        fee: money(sums.fee),
        tax: money(sums.tax),
        suite_fee: money(sums.suite_fee),
        agent_fee: money(sums.agent_fee),
        agent_tax: money(sums.agent_tax),
        agent_suite_fee: money(sums.agent_suite_fee),
        cost: money(sums.cost),
        cost_tax: money(sums.cost_tax),
        margin: money(sums.margin),
    }
}

/// An end reason in words: below 0 the switch's own, from 100 on SIP, between a cause of Q.850.
fn reason(code: i32) -> String {
    match u16::try_from(code) {
        Err(_) => ServerReason::from_code(code).map_or_else(String::new, |reason| reason.name().to_owned()),
        Ok(16) => EndReason::Normal.text(),
        Ok(cause @ 0..100) => EndReason::Q850(cause as u8).text(),
        Ok(status) => EndReason::Sip(status).text(),
    }
}

/// A key in words, where it is a number.
fn name(by: ReportBy, key: &str) -> String {
    match by {
        ReportBy::EndReason => key.parse().map_or_else(|_| String::new(), reason),
        ReportBy::Level => match key {
            "1" => "in-network",
            "2" => "local",
            "4" => "domestic",
            "5" => "international",
            _ => "unknown",
        }
        .to_owned(),
        _ => String::new(),
    }
}
