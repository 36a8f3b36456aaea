//! `tandem rates`: rate groups.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use tandem_control::request::{self, ImportMode};
use tandem_control::{ExitCode, reply};

use super::confirm::{Commit, Decision, read_file};
use crate::client::Client;
use crate::failure::Failure;
use crate::human;
use crate::output::{Format, List, Output};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List rate groups
    List,
    /// Import a rate file, after a preview of what changes
    Import(ImportArguments),
    /// Print the rows of a group as a rate file
    Export {
        /// Rate group
        #[arg(long, value_name = "GROUP")]
        group: String,
    },
}

#[derive(Args)]
pub(crate) struct ImportArguments {
    /// Rate file (CSV); - for the standard input
    file: PathBuf,
    /// Rate group
    #[arg(long, value_name = "GROUP")]
    group: String,
    /// add: a prefix that is there is an error; merge: add or replace; replace: prefixes missing in the file are closed
    #[arg(long, default_value = "merge")]
    mode: Mode,
    /// Leave out columns that are not known instead of refusing the file
    #[arg(long)]
    ignore_columns: bool,
    /// Words for the history
    #[arg(short = 'm', long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    comment: String,
    #[command(flatten)]
    commit: Commit,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Mode {
    Add,
    Merge,
    Replace,
}

impl From<Mode> for ImportMode {
    fn from(mode: Mode) -> ImportMode {
        match mode {
            Mode::Add => ImportMode::Add,
            Mode::Merge => ImportMode::Merge,
            Mode::Replace => ImportMode::Replace,
        }
    }
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

pub(super) fn run(command: Command, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::List => {
            let reply = client.ask(request::RatesList {})?;
            output.list(&GROUPS, &reply.rows)?;
            super::note_cut(reply.rows.len(), reply.total, "the switch sent no more");
            Ok(())
        }
        Command::Import(arguments) => import(arguments, client, output),
        Command::Export { group } => export(group, client, output),
    }
}

fn import(arguments: ImportArguments, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let csv = read_file(&arguments.file)?;
    let mut question = request::RatesImport {
        group: arguments.group,
        mode: arguments.mode.into(),
        csv,
        commit: false,
        base_version: None,
        ignore_columns: arguments.ignore_columns,
        comment: arguments.comment,
    };
    let preview = client.ask(question.clone())?;
    // A program gets one document: that of the commit when there is one, else the preview.
    let quiet = output.format != Format::Text;
    let show = |output: &mut Output, reply: &reply::RatesImported| output.object(reply, text);
    if preview.errors_total > 0 || !preview.errors.is_empty() {
        show(output, &preview)?;
        return Err(refused(&arguments.file, &preview));
    }
    if !quiet {
        show(output, &preview)?;
        output.flush()?;
    }
    let touched = preview.added + preview.raised + preview.lowered + preview.changed + preview.closed;
    let question_text = format!("Import {touched} changes into rate group {}?", preview.group);
    let decided = if touched == 0 { Ok(Decision::Stop) } else { arguments.commit.decide(&question_text) };
    if !matches!(decided, Ok(Decision::Commit)) {
        if quiet {
            show(output, &preview)?;
        } else if touched == 0 {
            output.line("nothing differs, nothing to import")?;
        }
        return decided.map(|_| ());
    }
    question.commit = true;
    question.base_version = Some(preview.base_version);
    let done = client.ask(question)?;
    if !done.committed {
        return Err(if done.errors.is_empty() {
            Failure::new(ExitCode::Failed, "the switch did not import the file; nothing was changed")
        } else {
            refused(&arguments.file, &done)
        });
    }
    if quiet {
        return show(output, &done);
    }
    output.line(&format!("imported; rate group {} is now version {}", done.group, human::or_dash(done.version)))
}

/// The first bad rows, one sentence each.
fn refused(file: &std::path::Path, reply: &reply::RatesImported) -> Failure {
    const SHOWN_MAX: usize = 20;
    let mut lines: Vec<String> = reply
        .errors
        .iter()
        .take(SHOWN_MAX)
        .map(|error| {
            format!("{} line {}: {} is {:?}; {}", file.display(), error.line, error.column, error.value, error.rule)
        })
        .collect();
    let total = reply.errors_total.max(reply.errors.len() as u64);
    if total > lines.len() as u64 {
        lines.push(format!("{} more errors", total - lines.len() as u64));
    }
    lines.push("nothing was imported".to_owned());
    Failure::bad(lines.join("\n"))
}

fn text(output: &mut Output, reply: &reply::RatesImported) -> Result<(), Failure> {
    let raised = match reply.raised_early {
        0 => reply.raised.to_string(),
        early => format!("{} ({early} without the notice days)", reply.raised),
    };
    output.pairs(&[
        ("rate group", format!("{} (version {})", reply.group, reply.base_version)),
        ("rows", reply.rows.to_string()),
        ("new", reply.added.to_string()),
        ("raised", raised),
        ("lowered", reply.lowered.to_string()),
        ("otherwise changed", reply.changed.to_string()),
        ("unchanged", reply.unchanged.to_string()),
        ("closed", reply.closed.to_string()),
        ("losing digits", reply.digits_lost.to_string()),
    ])?;
    for warning in &reply.warnings {
        output.line(&format!("warning: {warning}"))?;
    }
    if !reply.examples.is_empty() {
        output.line("")?;
        let rows: Vec<Vec<String>> = reply
            .examples
            .iter()
            .map(|row| {
                vec![
                    row.change.clone(),
                    row.prefix.clone(),
                    row.area.clone(),
                    human::or_dash(row.before.as_ref()),
                    human::or_dash(row.after.as_ref()),
                    human::time(row.from_ms),
                ]
            })
            .collect();
        output.table(&["change", "prefix", "area", ">before", ">after", "from"], &rows)?;
    }
    Ok(())
}

fn export(group: String, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let mut pages: Vec<reply::RatesExported> = Vec::new();
    let mut offset = 0;
    loop {
        let page = client.ask(request::RatesExport { group: group.clone(), offset })?;
        if pages.first().is_some_and(|first| first.version != page.version) {
            return Err(Failure::new(
                ExitCode::Failed,
                format!("rate group {group} was changed while it was read; try again"),
            ));
        }
        offset += page.rows;
        let last = page.rows == 0 || offset >= page.total;
        pages.push(page);
        if last {
            break;
        }
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
    }
}
