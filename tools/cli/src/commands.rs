//! The commands, one file a group.

mod account;
mod calls;
mod card;
mod cdr;
mod cdr_csv;
mod cdr_insert;
mod changes;
mod completion;
mod confirm;
mod edit;
mod explain;
mod gateway;
mod key;
mod media;
mod package;
mod param;
mod proof;
mod quote;
mod quote_csv;
mod rates;
mod replay_html;
mod report;
mod report_html;
mod rerate;
mod site;
mod status;
mod trace;

use clap::Subcommand;

use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// How the switch is
    Status,
    /// Calls in progress
    #[command(subcommand)]
    Calls(calls::Command),
    /// Media by path: ports, flows, packets; and whether the records account for every packet
    #[command(subcommand)]
    Media(media::Command),
    /// Put another program in the place of the kernel's relay, without losing a packet
    UpgradeDatapath(media::Upgrade),
    /// Finished calls
    #[command(subcommand)]
    Cdr(cdr::Command),
    /// Sums over the calls of a day, and a page with plots
    Report(report::Report),
    /// Gateways of customers and vendors
    #[command(subcommand)]
    Gateway(gateway::Command),
    /// Accounts and payments
    #[command(subcommand)]
    Account(account::Command),
    /// Movements of money
    #[command(subcommand)]
    Ledger(account::LedgerCommand),
    /// Packages of minutes and money, their orders and rent
    #[command(subcommand)]
    Package(package::Command),
    /// Phone cards
    #[command(subcommand)]
    Card(card::Command),
    /// Rate groups
    #[command(subcommand)]
    Rates(rates::Command),
    /// Put a site file in force, after a preview
    Apply(site::Apply),
    /// Print the site file in force, or as it was
    Export(site::Export),
    /// What differs between the site in force, its versions, a file and what is staged
    Compare(changes::Compare),
    /// Set fields of an object: set gateway acme capacity=200
    Set(edit::Set),
    /// Make an object: add routing v9 account=carrier remotes=192.0.2.9
    Add(edit::Set),
    /// Take fields back to their defaults
    Unset(edit::Unset),
    /// Take an object away
    Delete(edit::Delete),
    /// Put what is staged in force; without anything staged, confirm
    Commit(site::CommitStaged),
    /// Keep a change that would roll itself back
    Confirm(site::Confirm),
    /// Forget what is staged
    Discard,
    /// Put the site of an earlier version in force again, after a preview
    Rollback(site::Rollback),
    /// Versions of the configuration, newest first
    History(changes::Page),
    /// Who changed what, or tried to
    Audit(changes::Audit),
    /// System parameters
    #[command(subcommand)]
    Param(param::Command),
    /// Which gateway and price a call would get, and why; or how the fees of a finished CALL came about, proved
    Explain(explain::Explain),
    /// Finished calls by other rates or parameters: a preview, and corrections with --apply
    Rerate(Box<rerate::Rerate>),
    /// What a rate sheet that is not in force would have made of past calls
    Replay(rerate::Replay),
    /// The SIP ladder of a call
    Trace(trace::Trace),
    /// Price a call by hand, without the switch
    Quote(quote::Quote),
    /// Print the completion script of a shell
    Completion(completion::Completion),
}

/// Runs one command.
pub(crate) fn run(command: Command, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Status => status::run(client, output),
        Command::Calls(command) => calls::run(command, client, output),
        Command::Media(command) => media::run(command, client, output),
        Command::UpgradeDatapath(upgrade) => media::upgrade(upgrade, client, output),
        Command::Cdr(command) => cdr::run(command, client, output),
        Command::Report(report) => report::run(report, client, output),
        Command::Gateway(command) => gateway::run(command, client, output),
        Command::Account(command) => account::run(command, client, output),
        Command::Ledger(command) => account::run_ledger(command, client, output),
        Command::Card(command) => card::run(command, client, output),
        Command::Package(command) => package::run(command, client, output),
        Command::Rates(command) => rates::run(command, client, output),
        Command::Apply(apply) => site::apply(apply, client, output),
        Command::Export(export) => site::export(export, client, output),
        Command::Compare(compare) => changes::compare(compare, client, output),
        Command::Set(set) => edit::set(false, set, client, output),
        Command::Add(add) => edit::set(true, add, client, output),
        Command::Unset(unset) => edit::unset(unset, client, output),
        Command::Delete(delete) => edit::delete(delete, client, output),
        Command::Commit(commit) => site::commit(commit, client, output),
        Command::Confirm(confirm) => site::confirm(confirm, client, output),
        Command::Discard => site::discard(client, output),
        Command::Rollback(rollback) => site::rollback(rollback, client, output),
        Command::History(page) => changes::history(page, client, output),
        Command::Audit(audit) => changes::audit(audit, client, output),
        Command::Param(command) => param::run(command, client, output),
        Command::Explain(explain) => explain::run(explain, client, output),
        Command::Rerate(rerate) => rerate::rerate(*rerate, client, output),
        Command::Replay(replay) => rerate::replay(replay, client, output),
        Command::Trace(trace) => trace::run(trace, client, output),
        Command::Quote(quote) => quote::run(quote, output),
        Command::Completion(completion) => completion::run(completion, output),
    }
}

/// Says on the standard error that a list was cut, so that a page is never taken for the whole.
fn note_cut(shown: usize, total: u64, how: &str) {
    if (shown as u64) < total {
        note(&format!("{shown} of {total} rows; {how}"));
    }
}

/// A note for people beside the output.
fn note(text: &str) {
    use std::io::Write;
    // A note that nobody can read is no failure.
    let _ = writeln!(std::io::stderr(), "{}", crate::output::printable(text));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::CommandFactory;
    use serde::Serialize;

    /// Every field of a row is a column of its CSV, once.
    pub(super) fn covers<R: Serialize>(fields: &[&str], row: &R) {
        let value = serde_json::to_value(row).unwrap();
        let of_row: BTreeSet<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields.iter().copied().collect::<BTreeSet<_>>(), of_row);
        assert_eq!(fields.len(), of_row.len());
    }

    #[test]
    fn the_command_line_is_well_formed() {
        crate::Arguments::command().debug_assert();
    }
}
