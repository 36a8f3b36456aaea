//! `tandem package`

use clap::{Args, Subcommand};
use tandem_control::request::{self, PackageCancel, PackageCatchUp, PackageChange};
use tandem_control::{Amount, Limit, When, reply};

use super::confirm::{Commit, Decision};
use super::key::{in_doubt, new_key};
use crate::client::Client;
use crate::failure::Failure;
use crate::human;
use crate::output::{Format, List, Output};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List packages; `set package`, `add package` and `delete package` change them
    List {
        /// Only names that begin with this
        prefix: Option<String>,
        /// Most rows, 1 to 5000
        #[arg(long, value_name = "ROWS", default_value = "100")]
        limit: Limit,
        /// Rows to leave out first
        #[arg(long, value_name = "ROWS", default_value_t = 0)]
        offset: u64,
    },
    /// List orders of packages and monthly fees of phones, with what is left of them
    Orders(OrdersArguments),
    /// Order a package for an account, after a preview
    Order(OrderArguments),
    /// Change an order, after a preview
    Change(ChangeArguments),
    /// End an order with the period that runs, after a preview
    Cancel {
        /// Number of the order
        order: String,
        /// End it now: gifts are gone, no rent comes back, the minimum is not asked for
        #[arg(long)]
        now: bool,
        #[command(flatten)]
        confirm: Commit,
    },
    /// Take periods that are due since more than 62 days after all
    CatchUp {
        /// Number of the order
        order: String,
        #[command(flatten)]
        confirm: Commit,
    },
}

#[derive(Args)]
pub(crate) struct OrdersArguments {
    /// Who pays
    #[arg(long)]
    account: Option<String>,
    /// Of this phone
    #[arg(long, value_name = "NUMBER")]
    phone: Option<String>,
    /// Of this package
    #[arg(long)]
    package: Option<String>,
    /// future, active, waiting, expired, cancelled, no_money or gone; open is every one that is not over
    #[arg(long)]
    state: Option<String>,
    /// order, account, package, to or taken; -taken turns the order
    #[arg(long, value_name = "FIELD", allow_hyphen_values = true)]
    sort: Option<String>,
    /// Most rows, 1 to 5000
    #[arg(long, value_name = "ROWS", default_value = "100")]
    limit: Limit,
    /// Rows to leave out first
    #[arg(long, value_name = "ROWS", default_value_t = 0)]
    offset: u64,
}

#[derive(Args)]
pub(crate) struct OrderArguments {
    /// Account
    account: String,
    /// Package
    package: String,
    /// Only for calls of this phone of the account
    #[arg(long, value_name = "NUMBER")]
    phone: Option<String>,
    /// From this day or instant on; now if not given
    #[arg(long, value_name = "TIME")]
    from: Option<When>,
    /// Until this instant; a day counts whole
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// Among the packages of a call, low first; last if not given
    #[arg(long)]
    priority: Option<u32>,
    /// Percent of the rent, 0 to 100
    #[arg(long, value_name = "PERCENT")]
    rent_percent: Option<Amount>,
    /// Without money for the rent: wait for a payment, wait for the next period, or delete the order
    #[arg(long, value_name = "wait|next|delete")]
    no_money: Option<String>,
    /// A second order with the same key is not made
    #[arg(long)]
    key: Option<String>,
    #[command(flatten)]
    confirm: Commit,
}

#[derive(Args)]
pub(crate) struct ChangeArguments {
    /// Number of the order
    order: String,
    /// Until this instant; a day counts whole
    #[arg(long, value_name = "TIME", conflicts_with = "open")]
    until: Option<When>,
    /// Without an end
    #[arg(long)]
    open: bool,
    /// Among the packages of a call, low first
    #[arg(long, conflicts_with = "last")]
    priority: Option<u32>,
    /// Behind all others
    #[arg(long)]
    last: bool,
    /// Percent of the rent from the next period on, 0 to 100
    #[arg(long, value_name = "PERCENT")]
    rent_percent: Option<Amount>,
    /// Without money for the rent: wait, next or delete
    #[arg(long, value_name = "wait|next|delete")]
    no_money: Option<String>,
    #[command(flatten)]
    confirm: Commit,
}

const PACKAGES: List<'_, reply::PackageRow> = List {
    fields: &[
        "name",
        "rent_fee",
        "rent_type",
        "rent_period",
        "partial",
        "min_consumption",
        "lower_consumption",
        "gift_money",
        "gifts",
        "orders",
    ],
    titles: &["package", ">rent", "per", ">minimum", ">from", ">gift money", "gift time", ">orders"],
    line: |row| {
        let partial = if row.partial { ", first in part" } else { "" };
        vec![
            row.name.clone(),
            row.rent_fee.clone(),
            format!("{} {}{partial}", row.rent_period, row.rent_type),
            row.min_consumption.clone(),
            row.lower_consumption.clone(),
            row.gift_money.clone(),
            row.gifts.clone(),
            row.orders.to_string(),
        ]
    },
};

const ORDERS: List<'_, reply::OrderRow> = List {
    fields: &[
        "order",
        "account",
        "phone",
        "package",
        "state",
        "from_ms",
        "to_ms",
        "rent",
        "minimum",
        "spent",
        "gift_s",
        "gift_left_s",
        "gift_held_s",
        "gift_money",
        "gift_money_left",
        "gift_money_held",
        "next_ms",
        "expires_ms",
        "priority",
        "rent_percent",
        "no_money",
        "cancel",
        "taken",
        "user",
        "changed_ms",
        "what",
        "stuck",
    ],
    titles: &[
        "order",
        "account",
        "phone",
        "package",
        "state",
        "until",
        ">rent",
        ">time left",
        ">money left",
        ">spent",
        ">taken",
        "last",
    ],
    line: |row| {
        vec![
            row.order.clone(),
            row.account.clone(),
            row.phone.clone(),
            row.package.clone(),
            row.state.clone(),
            human::time(row.to_ms),
            row.rent.clone(),
            human::duration_ms(row.gift_left_s.saturating_mul(1000)),
            row.gift_money_left.clone(),
            format!("{} of {}", row.spent, row.minimum),
            row.taken.clone(),
            if row.stuck.is_empty() { row.what.clone() } else { row.stuck.clone() },
        ]
    },
};

pub(super) fn run(command: Command, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::List { prefix, limit, offset } => {
            let reply = client.ask(request::PackageList { prefix, limit, offset })?;
            output.list(&PACKAGES, &reply.rows)?;
            super::note_cut(reply.rows.len(), reply.total.saturating_sub(offset), "see --limit and --offset");
            Ok(())
        }
        Command::Orders(OrdersArguments { account, phone, package, state, sort, limit, offset }) => {
            let question = request::PackageOrders { account, phone, package, state, sort, limit, offset };
            let reply = client.ask(question)?;
            output.list(&ORDERS, &reply.rows)?;
            super::note_cut(reply.rows.len(), reply.total.saturating_sub(offset), "see --limit and --offset");
            Ok(())
        }
        Command::Order(asked) => {
            let OrderArguments { account, package, phone, from, until, priority, rent_percent, no_money, key, confirm } =
                asked;
            let key = key.unwrap_or_else(new_key);
            let ask = |commit| request::PackageOrder {
                account: account.clone(),
                package: package.clone(),
                phone: phone.clone(),
                from: from.clone(),
                until: until.clone(),
                priority,
                rent_percent: rent_percent.clone(),
                no_money: no_money.clone(),
                key: Some(key.clone()),
                commit,
            };
            let asked = twice(ask, &confirm, &format!("Order {package} for {account}?"), client, output);
            asked.map_err(|failure| in_doubt(failure, "ordered", &key))
        }
        Command::Change(asked) => {
            let ChangeArguments { order, until, open, priority, last, rent_percent, no_money, confirm } = asked;
            let ask = |commit| PackageChange {
                order: order.clone(),
                until: until.clone(),
                open,
                priority,
                last,
                rent_percent: rent_percent.clone(),
                no_money: no_money.clone(),
                commit,
            };
            twice(ask, &confirm, &format!("Change order {order}?"), client, output)
        }
        Command::Cancel { order, now, confirm } => {
            let ask = |commit| PackageCancel { order: order.clone(), now, commit };
            twice(ask, &confirm, &format!("Cancel order {order}?"), client, output)
        }
        Command::CatchUp { order, confirm } => {
            let ask = |commit| PackageCatchUp { order: order.clone(), commit };
            twice(ask, &confirm, &format!("Take what order {order} is due since long?"), client, output)
        }
    }
}

/// Previews, asks, does. A program that reads gets the last answer only.
fn twice<Q: request::Verb<Reply = reply::PackageDone> + Into<request::Call>>(
    ask: impl Fn(bool) -> Q,
    confirm: &Commit,
    question: &str,
    client: &mut Client,
    output: &mut Output,
) -> Result<(), Failure> {
    let preview = client.ask(ask(false))?;
    if output.format == Format::Text {
        output.object(&preview, told)?;
        output.flush()?;
    }
    match confirm.decide(question) {
        Ok(Decision::Commit) => output.object(&client.ask(ask(true))?, done),
        Ok(Decision::Stop) if output.format == Format::Text => Ok(()),
        Ok(Decision::Stop) => output.object(&preview, told),
        Err(failure) => {
            if output.format != Format::Text {
                output.object(&preview, told)?;
            }
            Err(failure)
        }
    }
}

fn told(output: &mut Output, done: &reply::PackageDone) -> Result<(), Failure> {
    output.pairs(&[
        ("order", done.order.clone()),
        ("account", format!("{}, {} available", done.account, done.available)),
        ("package", done.package.clone()),
        ("begins", human::time(done.from_ms)),
        ("ends", human::time(done.to_ms)),
        ("rent", done.rent.clone()),
        ("minimum", done.minimum.clone()),
        ("gift money", done.gift_money.clone()),
        ("gift time", done.gifts.join("; ")),
        ("would be", done.what.clone()),
    ])
}

fn done(output: &mut Output, done: &reply::PackageDone) -> Result<(), Failure> {
    output.line(&format!("order {} of {}: {}, {}", done.order, done.account, done.state, done.what))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_has_every_field_of_the_rows() {
        super::super::tests::covers(PACKAGES.fields, &reply::PackageRow::default());
        super::super::tests::covers(ORDERS.fields, &reply::OrderRow::default());
    }
}
