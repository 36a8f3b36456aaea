//! `tandem rates`: rate groups.

mod change;
mod rows;

use clap::Subcommand;
use tandem_control::request;
use tandem_control::{ExitCode, reply};

use crate::client::Client;
use crate::failure::Failure;
use crate::human;
use crate::output::{Format, List, Output};
use crate::progress::Bar;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List rate groups
    List,
    /// Rows of a group
    Show(rows::Show),
    /// Import a rate file, after a preview of what changes
    Import(Box<change::Import>),
    /// Print the rows of a group as a rate file
    Export {
        /// Rate group
        #[arg(long, value_name = "GROUP")]
        group: String,
    },
    /// Set fields of one row, or make it: rates set 44 price=0.02 increment=30/6 --group retail
    Set(change::Set),
    /// End the rates of one prefix, after a preview
    Delete(change::Delete),
    /// Versions of a group, newest first
    History(rows::History),
    /// What differs between two versions of a group
    Compare(rows::Compare),
    /// Put the rates of an earlier version in force again, after a preview
    Rollback(change::Rollback),
    /// Delete a group that nothing uses
    Drop(change::DropGroup),
}

const GROUPS: List<'_, reply::RateGroupRow> = List {
    fields: &["group", "rows", "version", "accounts", "changed_ms"],
    titles: &["group", ">rows", ">version", ">accounts", "changed"],
    line: |row| {
        vec![
            row.group.clone(),
            row.rows.to_string(),
            row.version.to_string(),
            row.accounts.to_string(),
            human::time(row.changed_ms),
        ]
    },
};

/// Every change, for programs and for whoever wants all of them.
const DIFFERENCES: List<'_, reply::RateChange> = List {
    fields: &["change", "prefix", "area", "before", "after", "percent", "from_ms"],
    titles: &["change", "prefix", "area", ">before", ">after", ">percent", "from"],
    line: |row| {
        vec![
            row.change.clone(),
            row.prefix.clone(),
            row.area.clone(),
            human::or_dash(row.before.as_ref()),
            human::or_dash(row.after.as_ref()),
            human::or_dash(row.percent.as_ref()),
            human::time(row.from_ms),
        ]
    },
};

pub(super) fn run(command: Command, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::List => {
            let reply = client.ask(request::RatesList {})?;
            output.list(&GROUPS, &reply.rows)?;
            super::note_cut(reply.rows.len(), reply.total, "the switch sent no more");
            Ok(())
        }
        Command::Show(show) => rows::show(show, client, output),
        Command::Import(import) => change::import(*import, client, output),
        Command::Export { group } => export(group, client, output),
        Command::Set(set) => change::set(set, client, output),
        Command::Delete(delete) => change::delete(delete, client, output),
        Command::History(history) => rows::history(history, client, output),
        Command::Compare(compare) => rows::compare(compare, client, output),
        Command::Rollback(rollback) => change::rollback(rollback, client, output),
        Command::Drop(drop) => change::drop_group(drop, client, output),
    }
}

/// Every change of a preview.
fn differences(preview: u64, client: &mut Client) -> Result<Vec<reply::RateChange>, Failure> {
    let mut rows = Vec::new();
    loop {
        let page = client.ask(request::RatesDifferences { preview, offset: rows.len() as u64 })?;
        let last = page.rows.is_empty();
        rows.extend(page.rows);
        if last || rows.len() as u64 >= page.total {
            return Ok(rows);
        }
    }
}

/// Counts, examples and destinations of a preview.
fn preview_text(output: &mut Output, reply: &reply::RatesImported) -> Result<(), Failure> {
    let raised = match reply.raised_early {
        0 => reply.raised.to_string(),
        early => format!("{} ({early} without the notice days)", reply.raised),
    };
    let mut pairs = vec![("rate group", format!("{} (version {})", reply.group, reply.base_version))];
    if let Some(template) = &reply.template {
        pairs.push(("template", template.clone()));
    }
    pairs.extend([
        ("rows", reply.rows.to_string()),
        ("new", reply.added.to_string()),
        ("raised", raised),
        ("lowered", reply.lowered.to_string()),
        ("otherwise changed", reply.changed.to_string()),
        ("unchanged", reply.unchanged.to_string()),
        ("closed", reply.closed.to_string()),
        ("losing digits", reply.digits_lost.to_string()),
    ]);
    output.pairs(&pairs)?;
    for warning in &reply.warnings {
        output.line(&format!("warning: {warning}"))?;
    }
    if !reply.examples.is_empty() {
        output.line("")?;
        output.list(&DIFFERENCES, &reply.examples)?;
    }
    let areas: Vec<Vec<String>> = reply
        .areas
        .iter()
        .filter(|area| area.most_raised.is_some() || area.most_lowered.is_some())
        .map(|area| {
            let name = if area.area.is_empty() { "(no name)" } else { area.area.as_str() };
            let percent = |percent: &Option<String>| human::or_dash(percent.as_ref());
            vec![
                name.to_owned(),
                area.raised.to_string(),
                percent(&area.most_raised),
                area.lowered.to_string(),
                percent(&area.most_lowered),
                area.added.to_string(),
                area.closed.to_string(),
            ]
        })
        .collect();
    if !areas.is_empty() {
        output.line("")?;
        output.table(&["destination", ">raised", ">most %", ">lowered", ">most %", ">new", ">closed"], &areas)?;
    }
    Ok(())
}

fn export(group: String, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let mut pages: Vec<reply::RatesExported> = Vec::new();
    let mut offset = 0;
    let bar = Bar::new();
    loop {
        let page = client.ask(request::RatesExport { group: group.clone(), offset })?;
        if pages.first().is_some_and(|first| first.version != page.version) {
            bar.clear();
            return Err(Failure::new(
                ExitCode::Failed,
                format!("rate group {group} was changed while it was read; try again"),
            ));
        }
        offset += page.rows;
        let last = page.rows == 0 || offset >= page.total;
        if !last || offset > page.rows {
            bar.show("reading", offset, page.total);
        }
        pages.push(page);
        if last {
            break;
        }
    }
    if pages.len() > 1 {
        bar.clear();
    }
    if output.format != Format::Json {
        return pages.iter().try_for_each(|page| output.raw(&page.csv));
    }
    let mut whole = reply::RatesExported { rows: 0, csv: String::new(), ..pages.first().cloned().unwrap_or_default() };
    for page in &pages {
        whole.rows += page.rows;
        whole.csv.push_str(&page.csv);
    }
    output.json(&whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_has_every_field_of_the_row() {
        super::super::tests::covers(GROUPS.fields, &reply::RateGroupRow::default());
        super::super::tests::covers(DIFFERENCES.fields, &reply::RateChange::default());
    }
}
