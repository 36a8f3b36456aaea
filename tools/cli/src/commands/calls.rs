//! `tandem calls`: calls in progress.

use clap::{Args, Subcommand};
use tandem_control::request::{CallState, CallsKill, CallsList, CallsShow};
use tandem_control::{CallId, Limit, reply};

use crate::client::Client;
use crate::failure::Failure;
use crate::human;
use crate::output::{List, Output};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List calls in progress, newest first
    List(ListArguments),
    /// Show one call with its media, prices and attempts
    Show {
        /// Number of the call
        call: CallId,
    },
    /// End a call; both sides are hung up
    Kill {
        /// Number of the call
        call: CallId,
    },
}

#[derive(Args)]
pub(crate) struct ListArguments {
    /// Only through this mapping or routing gateway
    #[arg(long, value_name = "NAME")]
    gateway: Option<String>,
    /// Only paid by this account
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Only from this number; NUMBER* for a prefix
    #[arg(long, value_name = "NUMBER")]
    caller: Option<String>,
    /// Only to this number; NUMBER* for a prefix
    #[arg(long, value_name = "NUMBER")]
    callee: Option<String>,
    /// Only in this state
    #[arg(long)]
    state: Option<State>,
    /// Most rows, 1 to 5000
    #[arg(long, value_name = "ROWS", default_value = "100")]
    limit: Limit,
    /// Rows to leave out first
    #[arg(long, value_name = "ROWS", default_value_t = 0)]
    offset: u64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum State {
    Setup,
    Ringing,
    Talking,
    Ending,
}

impl From<State> for CallState {
    fn from(state: State) -> CallState {
        match state {
            State::Setup => CallState::Setup,
            State::Ringing => CallState::Ringing,
            State::Talking => CallState::Talking,
            State::Ending => CallState::Ending,
        }
    }
}

const LIST: List<'_, reply::CallRow> = List {
    fields: &[
        "call",
        "state",
        "state_code",
        "setup_ms",
        "connect_ms",
        "duration_ms",
        "caller",
        "callee",
        "caller_gateway",
        "callee_gateway",
        "account",
        "caller_ip",
        "callee_ip",
        "caller_codec",
        "callee_codec",
        "shard",
    ],
    titles: &[">call", "state", ">time", "caller", "callee", "from", "to", "account", "codec"],
    line: |row| {
        let codec = match (row.caller_codec.as_str(), row.callee_codec.as_str()) {
            (caller, callee) if caller == callee || callee.is_empty() => caller.to_owned(),
            (caller, callee) => format!("{caller}/{callee}"),
        };
        vec![
            row.call.to_string(),
            row.state.as_str().to_owned(),
            human::duration_ms(row.duration_ms),
            row.caller.clone(),
            row.callee.clone(),
            row.caller_gateway.clone(),
            row.callee_gateway.clone(),
            row.account.clone(),
            codec,
        ]
    },
};

pub(super) fn run(command: Command, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::List(arguments) => {
            let reply = client.ask(CallsList {
                gateway: arguments.gateway,
                account: arguments.account,
                caller: arguments.caller,
                callee: arguments.callee,
                state: arguments.state.map(CallState::from),
                limit: arguments.limit,
                offset: arguments.offset,
            })?;
            output.list(&LIST, &reply.rows)?;
            super::note_cut(reply.rows.len(), reply.total, "see --limit and --offset");
            Ok(())
        }
        Command::Show { call } => output.object(&client.ask(CallsShow { call })?, show),
        Command::Kill { call } => output.object(&client.ask(CallsKill { call })?, |output, killed| {
            output.line(&format!(
                "call {} was {} and is ended with reason {}",
                killed.call,
                killed.state.as_str(),
                killed.end_reason
            ))
        }),
    }
}

fn show(output: &mut Output, show: &reply::CallShow) -> Result<(), Failure> {
    let row = &show.call;
    output.pairs(&[
        ("call", row.call.to_string()),
        ("state", format!("{} ({})", row.state.as_str(), human::duration_ms(row.duration_ms))),
        ("begun", human::time(Some(row.setup_ms))),
        ("answered", human::time(row.connect_ms)),
        ("account", row.account.clone()),
        ("caller", arrow(&[&show.caller_in, &row.caller, &show.caller_out])),
        ("callee", arrow(&[&show.callee_in, &row.callee, &show.callee_out])),
        ("from", format!("{} {} {}", row.caller_gateway, row.caller_ip, show.caller_call_id)),
        ("to", format!("{} {} {}", row.callee_gateway, row.callee_ip, show.callee_call_id)),
        ("price", show.rate.as_ref().map_or_else(|| "free".to_owned(), price)),
        ("cost", show.vendor_rate.as_ref().map_or_else(|| "-".to_owned(), price)),
        ("reserved", show.reserved.clone()),
        ("may last", show.remaining_s.map_or_else(|| "without bound".to_owned(), |s| format!("{s} s more"))),
        ("media", show.media_step.clone()),
        ("shard", row.shard.to_string()),
    ])?;
    output.line("")?;
    let media = [("caller", &row.caller_codec, &show.caller_media), ("callee", &row.callee_codec, &show.callee_media)];
    let sides: Vec<Vec<String>> = media
        .iter()
        .map(|(side, codec, media)| {
            vec![
                (*side).to_owned(),
                (*codec).clone(),
                media.local.clone(),
                media.offered.clone(),
                media.learned.clone(),
                media.packets.to_string(),
                media.relayed.to_string(),
                media.kernel.to_string(),
                media.dropped.to_string(),
                media.lost.to_string(),
                format!("{}.{:03}", media.jitter_us / 1000, media.jitter_us % 1000),
            ]
        })
        .collect();
    output.table(
        &[
            "media",
            "codec",
            "local",
            "offered",
            "learned",
            ">packets",
            ">relayed",
            ">kernel",
            ">dropped",
            ">lost",
            ">jitter ms",
        ],
        &sides,
    )?;
    if !show.attempts.is_empty() {
        output.line("")?;
        let attempts: Vec<Vec<String>> = show.attempts.iter().map(attempt).collect();
        output.table(&["attempt", "begun", "ended", ">status", ">q850", "reason", "next"], &attempts)?;
    }
    Ok(())
}

fn attempt(row: &reply::AttemptRow) -> Vec<String> {
    vec![
        row.gateway.clone(),
        human::time(Some(row.start_ms)),
        human::time(row.end_ms),
        row.status.to_string(),
        row.q850.to_string(),
        row.reason.clone(),
        row.next.clone(),
    ]
}

/// A price in one line.
pub(super) fn price(rate: &reply::RateShown) -> String {
    let mut text = format!(
        "{} per minute, {}/{} (group {}, prefix {})",
        rate.rate_per_min,
        rate.first_s,
        rate.next_s,
        rate.group,
        if rate.prefix.is_empty() { "any" } else { &rate.prefix }
    );
    for (value, what) in [(&rate.conn_fee, "connection fee"), (&rate.tax_pct, "% tax")] {
        if !value.is_empty() && value != "0" {
            text.push_str(&format!(", {value} {what}"));
        }
    }
    text
}

/// A number through the steps that changed it: `0044 -> 44`.
pub(super) fn arrow(steps: &[&String]) -> String {
    let mut shown: Vec<&str> = Vec::new();
    for step in steps.iter().map(|step| step.as_str()).filter(|step| !step.is_empty()) {
        if shown.last() != Some(&step) {
            shown.push(step);
        }
    }
    shown.join(" -> ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_has_every_field_of_the_row() {
        super::super::tests::covers(LIST.fields, &reply::CallRow::default());
    }

    #[test]
    fn a_number_is_shown_once_when_nothing_changes_it() {
        let (a, b, none) = ("0044".to_owned(), "44".to_owned(), String::new());
        assert_eq!(arrow(&[&a, &b, &b]), "0044 -> 44");
        assert_eq!(arrow(&[&b, &b, &none]), "44");
    }
}
