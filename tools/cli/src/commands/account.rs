//! `tandem account` and `tandem ledger`

use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use tandem_control::request;
use tandem_control::{Amount, ExitCode, Limit, reply};

use crate::client::Client;
use crate::failure::Failure;
use crate::human;
use crate::output::{List, Output};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List accounts with their balances
    List,
    /// Show one account with its reservations and last movements
    Show {
        /// Account
        name: String,
    },
    /// Book a payment; a negative amount is a deduction
    Pay(PayArguments),
}

#[derive(Args)]
pub(crate) struct PayArguments {
    /// Account
    name: String,
    /// Plain decimal such as 100 or -20.5
    #[arg(allow_negative_numbers = true)]
    amount: Amount,
    /// Text for the ledger
    #[arg(long, default_value = "", value_name = "TEXT")]
    memo: String,
    /// A second payment with the same key is not booked again
    #[arg(long, value_name = "TEXT")]
    key: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum LedgerCommand {
    /// List the movements of an account, newest first
    List {
        /// Account
        account: String,
        /// Most rows, 1 to 5000
        #[arg(long, value_name = "ROWS", default_value = "100")]
        limit: Limit,
        /// Rows to leave out first
        #[arg(long, value_name = "ROWS", default_value_t = 0)]
        offset: u64,
    },
}

const ACCOUNTS: List<'_, reply::AccountRow> = List {
    fields: &[
        "name",
        "display_name",
        "kind",
        "balance",
        "overdraft_limit",
        "reserved",
        "available",
        "currency",
        "state",
        "rate_group",
        "calls",
        "lines",
        "valid_to_ms",
    ],
    titles: &[
        "account",
        "kind",
        "state",
        ">balance",
        ">limit",
        ">reserved",
        ">available",
        "currency",
        "rates",
        ">calls",
    ],
    line: |row| {
        vec![
            row.name.clone(),
            row.kind.clone(),
            row.state.clone(),
            row.balance.clone(),
            row.overdraft_limit.clone(),
            row.reserved.clone(),
            row.available.clone(),
            row.currency.clone(),
            row.rate_group.clone(),
            human::of_limit(row.calls, row.lines),
        ]
    },
};

const LEDGER: List<'_, reply::LedgerRow> = List {
    fields: &["key", "account", "kind", "amount", "balance_after", "at_ms", "call", "user", "memo"],
    titles: &["when", "kind", ">amount", ">balance", ">call", "by", "memo", "key"],
    line: |row| {
        vec![
            human::time(Some(row.at_ms)),
            row.kind.clone(),
            row.amount.clone(),
            row.balance_after.clone(),
            row.call.map(|call| call.to_string()).unwrap_or_default(),
            row.user.clone(),
            row.memo.clone(),
            row.key.clone(),
        ]
    },
};

pub(super) fn run(command: Command, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::List => {
            let reply = client.ask(request::AccountList {})?;
            output.list(&ACCOUNTS, &reply.rows)?;
            super::note_cut(reply.rows.len(), reply.total, "the switch sent no more");
            Ok(())
        }
        Command::Show { name } => output.object(&client.ask(request::AccountShow { name })?, show),
        Command::Pay(arguments) => pay(arguments, client, output),
    }
}

pub(super) fn run_ledger(command: LedgerCommand, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let LedgerCommand::List { account, limit, offset } = command;
    let reply = client.ask(request::LedgerList { account, limit, offset })?;
    output.list(&LEDGER, &reply.rows)?;
    super::note_cut(reply.rows.len(), reply.total.saturating_sub(offset), "see --limit and --offset");
    Ok(())
}

fn pay(arguments: PayArguments, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let key = arguments.key.unwrap_or_else(new_key);
    let question = request::AccountPay {
        name: arguments.name,
        amount: arguments.amount,
        memo: arguments.memo,
        key: Some(key.clone()),
    };
    let paid = client.ask(question).map_err(|failure| match failure.code {
        // The answer may be lost after the money was booked: the same key makes it safe to ask again.
        ExitCode::Failed => {
            Failure::new(failure.code, format!("{failure}; if in doubt whether it was booked, repeat with --key {key}"))
        }
        _ => failure,
    })?;
    output.object(&paid, |output, paid| {
        let row = &paid.row;
        let booked = if paid.booked { "booked" } else { "was booked before" };
        output.line(&format!("{} {booked} on {}; balance {}", row.amount, row.account, row.balance_after))
    })
}

/// A key that no other payment has: the instant in nanoseconds and this process.
fn new_key() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("cli-{}-{}", now.as_nanos(), std::process::id())
}

fn show(output: &mut Output, show: &reply::AccountShow) -> Result<(), Failure> {
    let row = &show.account;
    output.pairs(&[
        ("account", row.name.clone()),
        ("name", row.display_name.clone()),
        ("kind", row.kind.clone()),
        ("state", row.state.clone()),
        ("balance", format!("{} {}", row.balance, row.currency)),
        ("limit", row.overdraft_limit.clone()),
        ("reserved", row.reserved.clone()),
        ("available", row.available.clone()),
        ("rates", row.rate_group.clone()),
        ("calls", human::of_limit(row.calls, row.lines)),
        ("valid to", row.valid_to_ms.map_or_else(|| "open".to_owned(), |ms| human::time(Some(ms)))),
        ("gateways", show.gateways.join(", ")),
    ])?;
    if !show.reservations.is_empty() {
        output.line("")?;
        let held: Vec<Vec<String>> = show
            .reservations
            .iter()
            .map(|held| vec![held.call.to_string(), held.amount.clone(), held.seconds.to_string()])
            .collect();
        output.table(&[">call", ">reserved", ">seconds"], &held)?;
    }
    if !show.ledger.is_empty() {
        output.line("")?;
        output.table(LEDGER.titles, &show.ledger.iter().map(LEDGER.line).collect::<Vec<_>>())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_has_every_field_of_the_rows() {
        super::super::tests::covers(ACCOUNTS.fields, &reply::AccountRow::default());
        super::super::tests::covers(LEDGER.fields, &reply::LedgerRow::default());
    }
}
