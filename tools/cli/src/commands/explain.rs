//! `tandem explain`: what the switch would do with a call, and what it did with one.

use clap::Args;
use tandem_control::{CallId, When, reply, request};

use super::calls::{arrow, price};
use crate::client::Client;
use crate::failure::Failure;
use crate::human;
use crate::output::Output;

#[derive(Args)]
pub(crate) struct Explain {
    /// A finished call: each step of its fees, and the proof that record and ledger agree with them
    #[arg(value_name = "CALL", conflicts_with_all = ["from", "caller", "callee", "at"])]
    call: Option<CallId>,
    /// Mapping gateway, or the address the call would come from
    #[arg(long, value_name = "GATEWAY", required_unless_present = "call")]
    from: Option<String>,
    /// Caller as the gateway would send it
    #[arg(long, value_name = "NUMBER", required_unless_present = "call")]
    caller: Option<String>,
    /// Callee as the gateway would send it
    #[arg(long, value_name = "NUMBER", required_unless_present = "call")]
    callee: Option<String>,
    /// When: ISO 8601, yyyyMMdd, yyyyMMddHHmmss or UTC milliseconds; now if not given
    #[arg(long, value_name = "TIME")]
    at: Option<When>,
}

pub(super) fn run(arguments: Explain, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    if let Some(call) = arguments.call {
        return super::proof::explain(call, client, output);
    }
    let reply = client.ask(request::Explain {
        from: arguments.from.unwrap_or_default(),
        caller: arguments.caller.unwrap_or_default(),
        callee: arguments.callee.unwrap_or_default(),
        at: arguments.at,
    })?;
    output.object(&reply, text)
}

fn text(output: &mut Output, reply: &reply::Explained) -> Result<(), Failure> {
    let numbers = &reply.numbers;
    let with_rule =
        |number: String, rule: &str| if rule.is_empty() { number } else { format!("{number} (rule {rule})") };
    output.pairs(&[
        ("at", human::time(Some(reply.at_ms))),
        ("site version", reply.site_version.to_string()),
        ("gateway", if reply.gateway.is_empty() { "none".to_owned() } else { reply.gateway.clone() }),
        ("account", reply.account.clone()),
        ("caller", with_rule(arrow(&[&numbers.caller_in, &numbers.caller]), &numbers.caller_rule)),
        ("callee", with_rule(arrow(&[&numbers.callee_in, &numbers.callee]), &numbers.callee_rule)),
        ("price", reply.rate.as_ref().map_or_else(|| "none".to_owned(), price)),
        ("may last", may_last(reply)),
    ])?;
    for agent in &reply.agents {
        output.line(&format!("agent {}: {}", agent.account, price(agent)))?;
    }
    if let Some(refusal) = &reply.refusal {
        output.line(&format!(
            "refused: {} ({}), SIP {}: {}",
            refusal.reason, refusal.end_reason, refusal.sip_status, refusal.detail
        ))?;
    }
    if !reply.candidates.is_empty() {
        output.line("")?;
        let rows: Vec<Vec<String>> = reply.candidates.iter().enumerate().map(candidate).collect();
        output.table(
            &[
                ">",
                "gateway",
                "prefix",
                "address",
                "account",
                ">cost/min",
                ">margin/min",
                "blocks",
                "rate prefix",
                "caller",
                "callee",
                "why",
            ],
            &rows,
        )?;
    }
    if !reply.skipped.is_empty() {
        output.line("")?;
        let rows: Vec<Vec<String>> =
            reply.skipped.iter().map(|row| vec![row.gateway.clone(), row.reason.clone(), row.detail.clone()]).collect();
        output.table(&["skipped", "reason", "detail"], &rows)?;
    }
    Ok(())
}

fn may_last(reply: &reply::Explained) -> String {
    match (reply.seconds_max, &reply.refusal) {
        (Some(s), _) => format!("{s} s"),
        (None, Some(_)) => "-".to_owned(),
        (None, None) => "without bound".to_owned(),
    }
}

fn candidate((index, row): (usize, &reply::CandidateRow)) -> Vec<String> {
    let rate = row.rate.as_ref();
    vec![
        (index + 1).to_string(),
        row.gateway.clone(),
        if row.prefix.is_empty() { "any".to_owned() } else { row.prefix.clone() },
        row.address.clone(),
        row.account.clone(),
        if row.cost_per_min.is_empty() { "no rate".to_owned() } else { row.cost_per_min.clone() },
        row.margin_per_min.clone(),
        rate.map(|rate| format!("{}/{}", rate.first_s, rate.next_s)).unwrap_or_default(),
        rate.map(|rate| rate.prefix.clone()).unwrap_or_default(),
        row.caller_out.clone(),
        row.callee_out.clone(),
        row.why.clone(),
    ]
}
