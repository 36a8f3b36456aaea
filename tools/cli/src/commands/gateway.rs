//! `tandem gateway`

use clap::Subcommand;
use tandem_control::reply;
use tandem_control::request::{GatewayKind, GatewayList};

use crate::client::Client;
use crate::failure::Failure;
use crate::human;
use crate::output::{List, Output};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List gateways with their state and load
    List {
        /// Only customers' (mapping) or vendors' (routing) gateways
        #[arg(long)]
        kind: Option<Kind>,
    },
}

#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Kind {
    Mapping,
    Routing,
}

const LIST: List<'_, reply::GatewayRow> = List {
    fields: &[
        "name",
        "kind",
        "account",
        "addresses",
        "prefixes",
        "priority",
        "weight",
        "state",
        "state_reason",
        "calls",
        "capacity",
        "cps",
        "cps_max",
        "attempts",
        "answered",
        "asr_pct",
        "acd_s",
    ],
    titles: &[
        "gateway",
        "kind",
        "account",
        "state",
        ">calls",
        ">cps",
        ">attempts",
        ">ASR %",
        ">ACD s",
        ">prio",
        ">weight",
        "addresses",
        "prefixes",
    ],
    line: |row| {
        let state = match row.state_reason.as_str() {
            "" => row.state.clone(),
            reason => format!("{} ({reason})", row.state),
        };
        vec![
            row.name.clone(),
            row.kind.as_str().to_owned(),
            row.account.clone(),
            state,
            human::of_limit(row.calls, row.capacity),
            human::of_limit(row.cps, row.cps_max),
            row.attempts.to_string(),
            human::or_dash(row.asr_pct),
            human::or_dash(row.acd_s),
            row.priority.to_string(),
            row.weight.to_string(),
            row.addresses.join(" "),
            row.prefixes.join(" "),
        ]
    },
};

pub(super) fn run(command: Command, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let Command::List { kind } = command;
    let kind = kind.map(|kind| match kind {
        Kind::Mapping => GatewayKind::Mapping,
        Kind::Routing => GatewayKind::Routing,
    });
    let reply = client.ask(GatewayList { kind })?;
    output.list(&LIST, &reply.rows)?;
    super::note_cut(reply.rows.len(), reply.total, "the switch sent no more");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_has_every_field_of_the_row() {
        super::super::tests::covers(LIST.fields, &reply::GatewayRow::default());
    }
}
