//! `tandem account` and `tandem ledger`

use clap::{Args, Subcommand};
use tandem_control::request::{self, Edit, EditKind, FieldEdit, FieldOp};
use tandem_control::{Amount, CallId, Limit, When, reply};

use super::confirm::{Commit, Decision};
use super::key::{in_doubt, new_key};
use crate::client::Client;
use crate::failure::Failure;
use crate::human;
use crate::output::{List, Output};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List accounts with their balances
    List(ListArguments),
    /// Show one account with its reservations and last movements
    Show {
        /// Account
        name: String,
    },
    /// Book a payment; a negative amount is a deduction
    Pay(PayArguments),
    /// Set how far the balance may go below zero
    Credit {
        /// Account
        name: String,
        /// Amount of 0 or more
        amount: Amount,
        /// Text for the history
        #[arg(short, long, default_value = "", value_name = "TEXT")]
        memo: String,
    },
    /// Set the balance to zero by a row of its own
    Zero {
        /// Account
        name: String,
        /// Text for the ledger
        #[arg(long, default_value = "", value_name = "TEXT")]
        memo: String,
        /// A second zeroing with the same key is not booked again
        #[arg(long, value_name = "TEXT")]
        key: Option<String>,
        #[command(flatten)]
        confirm: Commit,
    },
    /// Take back a payment, deduction or zeroing by a row of its own, once
    Reverse {
        /// Key of the row, as `ledger list` shows it
        key: String,
        /// Text for the ledger
        #[arg(long, default_value = "", value_name = "TEXT")]
        memo: String,
        #[command(flatten)]
        confirm: Commit,
    },
}

#[derive(Args)]
pub(crate) struct ListArguments {
    /// customer, vendor or card
    #[arg(long)]
    kind: Option<String>,
    /// normal, locked, expired, no_money or canceled
    #[arg(long)]
    state: Option<String>,
    /// Accounts directly below this agent
    #[arg(long, value_name = "ACCOUNT")]
    agent: Option<String>,
    /// name, balance, available, spent_today or spent_month; -balance turns the order
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    sort: Option<String>,
    /// Most rows, 1 to 5000
    #[arg(long, value_name = "ROWS")]
    limit: Option<Limit>,
    /// Rows to leave out first
    #[arg(long, value_name = "ROWS", default_value_t = 0)]
    offset: u64,
}

#[derive(Args)]
pub(crate) struct PayArguments {
    /// Account, or what --of says
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
    /// An agent above the account pays it out of his own money
    #[arg(long, value_name = "AGENT")]
    from: Option<String>,
    /// cash, card or other
    #[arg(long)]
    method: Option<String>,
    /// NAME is a phone, a bound_number or a mapping gateway: its account is paid
    #[arg(long, value_name = "KIND")]
    of: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum LedgerCommand {
    /// List movements of money, newest first
    List(LedgerArguments),
}

#[derive(Args)]
pub(crate) struct LedgerArguments {
    /// Account; all if not given
    account: Option<String>,
    /// Kind of row: call, payment, deduction, ...
    #[arg(long)]
    kind: Option<String>,
    /// Booked at or after: ISO 8601, yyyyMMdd, yyyyMMddHHmmss or UTC milliseconds
    #[arg(long, value_name = "TIME")]
    from: Option<When>,
    /// Booked before; a day counts whole
    #[arg(long, value_name = "TIME")]
    to: Option<When>,
    /// Rows of one call
    #[arg(long)]
    call: Option<CallId>,
    /// Amounts of at least this, whatever their sign
    #[arg(long, value_name = "AMOUNT")]
    min_amount: Option<Amount>,
    /// In the order of booking
    #[arg(long)]
    oldest_first: bool,
    /// Most rows, 1 to 5000
    #[arg(long, value_name = "ROWS", default_value = "100")]
    limit: Limit,
    /// Rows to leave out first
    #[arg(long, value_name = "ROWS", default_value_t = 0)]
    offset: u64,
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
        "agent",
        "spent_today",
        "spent_month",
        "monthly_max",
        "alarm_below",
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
        "agent",
        ">today",
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
            row.agent.clone(),
            row.spent_today.clone(),
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

/// Rows of several accounts.
const LEDGERS: List<'_, reply::LedgerRow> = List {
    fields: LEDGER.fields,
    titles: &["when", "account", "kind", ">amount", ">balance", ">call", "by", "memo", "key"],
    line: |row| {
        let mut line = (LEDGER.line)(row);
        line.insert(1, row.account.clone());
        line
    },
};

pub(super) fn run(command: Command, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::List(ListArguments { kind, state, agent, sort, limit, offset }) => {
            let reply = client.ask(request::AccountList { kind, state, agent, sort, limit, offset })?;
            output.list(&ACCOUNTS, &reply.rows)?;
            super::note_cut(reply.rows.len(), reply.total.saturating_sub(offset), "see --limit and --offset");
            Ok(())
        }
        Command::Show { name } => output.object(&client.ask(request::AccountShow { name })?, show),
        Command::Pay(arguments) => pay(arguments, client, output),
        Command::Credit { name, amount, memo } => credit(name, &amount, memo, client, output),
        Command::Zero { name, memo, key, confirm } => {
            let shown = client.ask(request::AccountShow { name: name.clone() })?;
            let question = format!("The balance of {name} is {}; set it to 0?", shown.account.balance);
            if confirm.decide(&question)? == Decision::Stop {
                return Ok(());
            }
            let key = key.unwrap_or_else(new_key);
            booked(client.ask(request::AccountZero { name, memo, key: Some(key.clone()) }), &key, output)
        }
        Command::Reverse { key, memo, confirm } => {
            if confirm.decide(&format!("Take back the row with key {key}?"))? == Decision::Stop {
                return Ok(());
            }
            let paid = client.ask(request::AccountReverse { key, memo })?;
            output.object(&paid, told)
        }
    }
}

pub(super) fn run_ledger(command: LedgerCommand, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let LedgerCommand::List(asked) = command;
    let LedgerArguments { account, kind, from, to, call, min_amount, oldest_first, limit, offset } = asked;
    let all = account.is_none();
    let question = request::LedgerList { account, kind, from, to, call, min_amount, oldest_first, limit, offset };
    let reply = client.ask(question)?;
    output.list(if all { &LEDGERS } else { &LEDGER }, &reply.rows)?;
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
        from: arguments.from,
        method: arguments.method,
        of: arguments.of,
    };
    booked(client.ask(question), &key, output)
}

fn booked(paid: Result<reply::AccountPaid, Failure>, key: &str, output: &mut Output) -> Result<(), Failure> {
    let paid = paid.map_err(|failure| in_doubt(failure, "booked", key))?;
    output.object(&paid, told)
}

fn told(output: &mut Output, paid: &reply::AccountPaid) -> Result<(), Failure> {
    let row = &paid.row;
    let booked = if paid.booked { "booked" } else { "was booked before" };
    output.line(&format!("{} {booked} on {}; balance {}", row.amount, row.account, row.balance_after))
}

/// The overdraft is part of the site: a small edit of it, as `set account` makes.
fn credit(
    name: String,
    amount: &Amount,
    memo: String,
    client: &mut Client,
    output: &mut Output,
) -> Result<(), Failure> {
    let fields =
        vec![FieldEdit { field: "credit_limit".to_owned(), op: FieldOp::Replace, value: amount.as_str().to_owned() }];
    let edit = Edit { edit: EditKind::Set, kind: "account".to_owned(), name: name.clone(), fields };
    let terms = request::Terms { commit: true, comment: memo, ..request::Terms::default() };
    client.ask(request::SiteEdit { edits: vec![edit], terms })?;
    let shown = client.ask(request::AccountShow { name })?;
    output.object(&shown, |output, shown| {
        let row = &shown.account;
        output.line(&format!("account {}: limit {}, available {}", row.name, row.overdraft_limit, row.available))
    })
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
        ("agent", row.agent.clone()),
        ("spent today", row.spent_today.clone()),
        ("spent this month", bounded(&row.spent_month, &row.monthly_max)),
        ("alarm below", row.alarm_below.clone()),
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

fn bounded(spent: &str, max: &str) -> String {
    if max.is_empty() { spent.to_owned() } else { format!("{spent} of {max}") }
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
