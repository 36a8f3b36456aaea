//! `tandem explain CALL` and `tandem cdr prove`: whether calls were charged what their records prove.

use tandem_control::{CallId, ExitCode, reply, request};

use crate::client::Client;
use crate::failure::Failure;
use crate::human;
use crate::output::{Output, plain};

/// One call with its steps. Exit code 1 when something does not agree.
pub(super) fn explain(call: CallId, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let reply = client.ask(request::CdrExplain { call })?;
    output.object(&reply, text)?;
    if reply.verdict == "differs" {
        output.flush()?;
        return Err(Failure::new(ExitCode::Failed, format!("call {call} does not prove itself")));
    }
    Ok(())
}

fn text(output: &mut Output, reply: &reply::CallExplained) -> Result<(), Failure> {
    let cell = |name: &str| reply.cdr.get(name).map(plain).unwrap_or_default();
    let time = |name: &str| human::time(reply.cdr.get(name).and_then(serde_json::Value::as_i64));
    let steps = |names: &[&str]| {
        let mut numbers: Vec<String> = names.iter().map(|name| cell(name)).collect();
        numbers.retain(|number| !number.is_empty());
        numbers.dedup();
        numbers.join(" > ")
    };
    let side = |gateway: &str, ip: &str| format!("{} ({})", cell(gateway), cell(ip));
    output.pairs(&[
        ("call", reply.call.to_string()),
        ("caller", steps(&["caller_in", "caller_billed", "caller_out"])),
        ("callee", steps(&["callee_in", "callee_billed", "callee_out"])),
        ("from", side("caller_gateway", "caller_ip")),
        ("to", side("callee_gateway", "callee_ip")),
        ("began", time("setup_ms")),
        ("answered", if cell("connect_ms").is_empty() { "no".to_owned() } else { time("connect_ms") }),
        ("ended", format!("{}: {} {}", time("end_ms"), cell("end_reason"), cell("end_reason_text"))),
        ("held", format!("{} ms", cell("hold_ms"))),
        (
            "parameters",
            format!(
                "fp {}, fu {}, hold precision {} ms, free time {} s{}{}{}",
                cell("fp"),
                cell("fu"),
                cell("p_hold"),
                cell("free_s"),
                if cell("rate_quantise") == "0" { ", rates with all decimals" } else { "" },
                if cell("vendor_free_time") == "0" { ", vendors give no free time" } else { "" },
                if cell("flags").is_empty() { String::new() } else { format!(", flags {}", cell("flags")) },
            ),
        ),
    ])?;
    super::cdr::attempts(output, &reply.cdr)?;
    for leg in &reply.legs {
        output.line("")?;
        let group = if leg.rate_group.is_empty() { String::new() } else { format!(", group {}", leg.rate_group) };
        let row = if leg.steps.is_empty() {
            "no rate: free, or a vendor without one".to_owned()
        } else {
            format!("row {} with prefix {} for {}", leg.rate_id, leg.prefix, leg.number)
        };
        output.line(&format!("{} {}{group}: {row}", leg.leg, leg.account))?;
        leg.steps.iter().try_for_each(|step| output.line(&format!("  {step}")))?;
    }
    if !reply.ledger.is_empty() {
        output.line("")?;
        let rows: Vec<Vec<String>> = reply
            .ledger
            .iter()
            .map(|row| {
                let (account, kind) = (row.account.clone(), row.kind.clone());
                vec![human::time(Some(row.at_ms)), account, kind, row.amount.clone(), row.key.clone()]
            })
            .collect();
        output.table(&["booked", "account", "kind", ">amount", "key"], &rows)?;
    }
    for row in &reply.corrections {
        output.line("")?;
        correction(output, row)?;
    }
    output.line("")?;
    let margin = format!("fee {} less cost {} is margin {}", cell("fee"), cell("vendor_fee"), cell("margin"));
    output.line(&margin)?;
    for difference in &reply.differences {
        output.line(&format!("DIFFERS: {difference}"))?;
    }
    output.line(&match reply.verdict.as_str() {
        "proved" => format!("proved: record, proof and ledger agree in all {} comparisons", reply.checked),
        "no_proof" => "no proof: this record was written before records kept what they were rated by".to_owned(),
        _ => format!("NOT PROVED: {} of {} comparisons differ", reply.differences.len(), reply.checked),
    })
}

/// One correction, with what it changed.
pub(super) fn correction(output: &mut Output, row: &reply::CorrectionRow) -> Result<(), Failure> {
    let memo = if row.memo.is_empty() { String::new() } else { format!(": {}", row.memo) };
    let at = human::time(Some(row.at_ms));
    output.line(&format!("correction {} of run {} by {}, {at}{memo}", row.revision, row.run, row.user))?;
    row.changes.iter().try_for_each(|change| output.line(&format!("  {change}")))
}

/// A range of calls, counted. Exit code 1 when one does not agree.
pub(super) fn prove(filter: request::CdrFilter, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let mut question = request::CdrProve { filter, after: None };
    let mut sum = reply::CdrProved::default();
    loop {
        let slice = client.ask(question.clone())?;
        sum.calls += slice.calls;
        sum.proved += slice.proved;
        sum.no_proof += slice.no_proof;
        sum.differ += slice.differ;
        let room = DIFFER_SHOWN.saturating_sub(sum.first.len());
        sum.first.extend(slice.first.into_iter().take(room));
        match slice.next {
            None => break,
            Some(next) if question.after == Some(next) => {
                return Err(Failure::new(ExitCode::Failed, format!("the switch repeats the calls behind {next}")));
            }
            next => question.after = next,
        }
    }
    output.object(&sum, |output, sum| {
        for row in &sum.first {
            row.differences.iter().try_for_each(|what| output.line(&format!("call {}: {what}", row.call)))?;
        }
        output.pairs(&[
            ("calls", sum.calls.to_string()),
            ("proved", sum.proved.to_string()),
            ("without proof", sum.no_proof.to_string()),
            ("differ", sum.differ.to_string()),
        ])
    })?;
    if sum.differ > 0 {
        output.flush()?;
        let message = format!("{} of {} calls do not prove themselves", sum.differ, sum.calls);
        return Err(Failure::new(ExitCode::Failed, message));
    }
    Ok(())
}

/// Calls that are named; the rest is counted.
const DIFFER_SHOWN: usize = 20;
