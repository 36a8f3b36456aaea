//! `tandem card`

use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use tandem_control::request::{self, CardCreate, CardLock};
use tandem_control::{Amount, Limit, When, reply};

use super::confirm::{Commit, Decision};
use crate::client::Client;
use crate::failure::Failure;
use crate::human;
use crate::output::{List, Output};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make phone cards with random PINs, after a preview; prints the PINs
    Create(CreateArguments),
    /// List cards
    List(ListArguments),
    /// Lock a card, or every card of a batch
    Lock {
        /// PIN
        pin: Option<String>,
        /// Every card of this batch
        #[arg(long, conflicts_with = "pin", required_unless_present = "pin")]
        batch: Option<String>,
        /// Unlock instead
        #[arg(long)]
        unlock: bool,
        #[command(flatten)]
        confirm: Commit,
    },
    /// Put the whole money of a card on an account
    Recharge {
        /// PIN
        pin: String,
        /// Account that gets it
        account: String,
        /// Text for the ledger
        #[arg(long, default_value = "", value_name = "TEXT")]
        memo: String,
        /// A second recharge with the same key is not booked again
        #[arg(long, value_name = "TEXT")]
        key: Option<String>,
        #[command(flatten)]
        confirm: Commit,
    },
}

#[derive(Args)]
pub(crate) struct CreateArguments {
    /// Name of the batch
    batch: String,
    /// How many, 1 to 1000
    #[arg(long)]
    count: u32,
    /// Money of each
    #[arg(long)]
    value: Amount,
    /// Rate group
    #[arg(long, value_name = "GROUP")]
    rate_group: Option<String>,
    /// The account above them
    #[arg(long, value_name = "ACCOUNT")]
    agent: Option<String>,
    /// Digits that every PIN begins with
    #[arg(long, default_value = "")]
    prefix: String,
    /// Digits drawn behind them, 8 to 20; 12 if not given
    #[arg(long)]
    digits: Option<u32>,
    /// Expire so many days after the first call that costs something
    #[arg(long, value_name = "DAYS")]
    valid_days: Option<u32>,
    /// Expire then, used or not; a day counts whole
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// Not usable before `card lock --unlock`
    #[arg(long)]
    locked: bool,
    #[command(flatten)]
    confirm: Commit,
}

#[derive(Args)]
pub(crate) struct ListArguments {
    /// Of this batch
    #[arg(long)]
    batch: Option<String>,
    /// PINs that begin with this
    #[arg(long, value_name = "DIGITS")]
    prefix: Option<String>,
    /// new, used, locked, expired, no_money or canceled
    #[arg(long)]
    state: Option<String>,
    /// pin, balance, first_use or valid_to; -balance turns the order
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    sort: Option<String>,
    /// Most rows, 1 to 5000
    #[arg(long, value_name = "ROWS", default_value = "100")]
    limit: Limit,
    /// Rows to leave out first
    #[arg(long, value_name = "ROWS", default_value_t = 0)]
    offset: u64,
}

const CARDS: List<'_, reply::CardRow> = List {
    fields: &[
        "pin",
        "batch",
        "state",
        "value",
        "balance",
        "first_use_ms",
        "valid_to_ms",
        "valid_days",
        "rate_group",
        "agent",
        "bound_numbers",
        "calls",
    ],
    titles: &["pin", "batch", "state", ">value", ">balance", "first use", "valid to", "rates", "numbers", ">calls"],
    line: |row| {
        vec![
            row.pin.clone(),
            row.batch.clone(),
            row.state.clone(),
            row.value.clone(),
            row.balance.clone(),
            human::time(row.first_use_ms),
            human::time(row.valid_to_ms),
            row.rate_group.clone(),
            row.bound_numbers.clone(),
            row.calls.to_string(),
        ]
    },
};

pub(super) fn run(command: Command, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Create(asked) => create(asked, client, output),
        Command::List(ListArguments { batch, prefix, state, sort, limit, offset }) => {
            let reply = client.ask(request::CardList { batch, prefix, state, sort, limit, offset })?;
            output.list(&CARDS, &reply.rows)?;
            super::note_cut(reply.rows.len(), reply.total.saturating_sub(offset), "see --limit and --offset");
            Ok(())
        }
        Command::Lock { pin, batch, unlock, confirm } => {
            let ask = |commit| CardLock { pin: pin.clone(), batch: batch.clone(), unlock, commit };
            let word = if unlock { "Unlock" } else { "Lock" };
            let cards = client.ask(ask(false))?.cards;
            if confirm.decide(&format!("{word} {cards} cards?"))? == Decision::Stop {
                return Ok(());
            }
            output.object(&client.ask(ask(true))?, |output, done| output.line(&format!("{} cards", done.cards)))
        }
        Command::Recharge { pin, account, memo, key, confirm } => {
            let card = client.ask(request::AccountShow { name: pin.clone() })?.account;
            if confirm.decide(&format!("Put {} of card {pin} on {account}?", card.balance))? == Decision::Stop {
                return Ok(());
            }
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let key = key.unwrap_or_else(|| format!("card-{}-{}", now.as_nanos(), std::process::id()));
            let paid = client.ask(request::CardRecharge { pin, account, memo, key: Some(key) })?;
            output.object(&paid, |output, paid| {
                let booked = if paid.booked { "booked" } else { "was booked before" };
                let row = &paid.row;
                output.line(&format!("{} {booked} on {}; balance {}", row.amount, row.account, row.balance_after))
            })
        }
    }
}

fn create(asked: CreateArguments, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let ask = |commit| CardCreate {
        count: asked.count,
        value: asked.value.clone(),
        batch: asked.batch.clone(),
        rate_group: asked.rate_group.clone(),
        agent: asked.agent.clone(),
        prefix: asked.prefix.clone(),
        digits: asked.digits,
        valid_days: asked.valid_days,
        until: asked.until.clone(),
        locked: asked.locked,
        commit,
    };
    let preview = client.ask(ask(false))?;
    let example = preview.pins.first().cloned().unwrap_or_default();
    super::note(&format!(
        "{} cards of {}, {} in all, batch {}, PINs such as {example}",
        preview.count, preview.value, preview.total, preview.batch
    ));
    if asked.confirm.decide("Make them?")? == Decision::Stop {
        return Ok(());
    }
    let made = client.ask(ask(true))?;
    output.object(&made, |output, made| {
        for pin in &made.pins {
            output.line(pin)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_has_every_field_of_the_rows() {
        super::super::tests::covers(CARDS.fields, &reply::CardRow::default());
    }
}
