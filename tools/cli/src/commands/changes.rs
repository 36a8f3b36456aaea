//! `tandem compare`, `tandem history` and `tandem audit`: what changed, when, by whom.

use std::path::PathBuf;

use clap::Args;
use tandem_control::request::{self, Side};
use tandem_control::{Limit, When, reply};

use super::confirm::read_file;
use crate::client::Client;
use crate::failure::Failure;
use crate::human;
use crate::output::{Format, List, Output};

#[derive(Args)]
pub(crate) struct Compare {
    /// Version, file, running or staged
    first: Option<String>,
    /// Version, file, running or staged
    second: Option<String>,
}

#[derive(Args)]
pub(crate) struct Page {
    /// Most rows
    #[arg(long, value_name = "ROWS", default_value = "100")]
    limit: Limit,
    /// Rows left out before the first
    #[arg(long, value_name = "ROWS", default_value_t = 0)]
    offset: u64,
}

#[derive(Args)]
pub(crate) struct Audit {
    /// At or after this instant or day
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// Before this instant; a day counts whole
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// Only this login name
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Oldest first
    #[arg(long)]
    oldest_first: bool,
    #[command(flatten)]
    page: Page,
}

const CHANGES: List<'_, reply::SiteChange> = List {
    fields: &["change", "kind", "name", "field", "whole", "before", "after"],
    titles: &[],
    line: |_| Vec::new(),
};

const HISTORY: List<'_, reply::ChangeRow> = List {
    fields: &[
        "version",
        "at_ms",
        "user",
        "uid",
        "pid",
        "how",
        "comment",
        "changes",
        "confirm_state",
        "confirm_until_ms",
        "running",
    ],
    titles: &[">version", "", "when", "who", "how", "changes", "comment"],
    line: |row| {
        let mark = match (row.running, row.confirm_state.as_str()) {
            (_, "pending") => "unconfirmed",
            (_, "rolled_back") => "taken back",
            (true, _) => "running",
            _ => "",
        };
        vec![
            row.version.to_string(),
            mark.to_owned(),
            human::time(Some(row.at_ms)),
            row.user.clone(),
            row.how.clone(),
            summary(&row.changes),
            row.comment.clone(),
        ]
    },
};

const AUDIT: List<'_, reply::AuditRow> = List {
    fields: &["seq", "at_ms", "user", "uid", "pid", "command", "outcome", "error", "version", "comment", "changes"],
    titles: &["when", "who", ">pid", "command", "outcome", ">version", "changes or reason"],
    line: |row| {
        vec![
            human::time(Some(row.at_ms)),
            row.user.clone(),
            human::or_dash(row.pid),
            shorter(&row.command),
            row.outcome.clone(),
            human::or_dash(row.version),
            if row.error.is_empty() { summary(&row.changes) } else { shorter(&row.error) },
        ]
    },
};

/// Longest cell of a table here, characters; -o json has all of it.
const CELL_MAX: usize = 100;

fn shorter(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() <= CELL_MAX {
        line.to_owned()
    } else {
        line.chars().take(CELL_MAX).chain("...".chars()).collect()
    }
}

/// The first change, and how many there are beside it.
fn summary(changes: &[String]) -> String {
    match changes {
        [] => String::new(),
        [one] => shorter(one),
        [first, rest @ ..] => format!("{} (and {} more)", shorter(first), rest.len()),
    }
}

/// Changes below the object they are of.
pub(super) fn text(output: &mut Output, changes: &[reply::SiteChange]) -> Result<(), Failure> {
    let mut before = None;
    for change in changes {
        let gone = change.whole && change.change == "removed";
        if before != Some((&change.kind, &change.name)) {
            let word = match (change.whole, gone) {
                (_, true) => " (gone)",
                (true, false) => " (new)",
                (false, false) => "",
            };
            output.line(&format!("{}{word}", change.object()))?;
            before = Some((&change.kind, &change.name));
        }
        if !gone {
            output.line(&format!("  {}", change.what()))?;
        }
    }
    Ok(())
}

fn side(word: &str) -> Result<Side, Failure> {
    match word {
        "running" => Ok(Side::Running),
        "staged" => Ok(Side::Staged),
        _ if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()) => {
            word.parse().map(Side::Version).map_err(|_| Failure::bad(format!("{word:?} is no version")))
        }
        file => Ok(Side::Toml(read_file(&PathBuf::from(file))?)),
    }
}

pub(super) fn compare(arguments: Compare, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let (from, to) = match (arguments.first, arguments.second) {
        (Some(first), Some(second)) => (Some(side(&first)?), Some(side(&second)?)),
        // An earlier version is the old side; a file and what is staged are what may come.
        (Some(one), None) => match side(&one)? {
            version @ Side::Version(_) => (Some(version), None),
            other => (None, Some(other)),
        },
        (None, _) => (None, None),
    };
    let compared = client.ask(request::SiteCompare { from, to })?;
    if output.format == Format::Csv {
        return output.list(&CHANGES, &compared.changes);
    }
    output.object(&compared, |output, compared| {
        output.line(&format!("{} -> {}", compared.from, compared.to))?;
        if compared.changes.is_empty() {
            return output.line("nothing differs");
        }
        text(output, &compared.changes)
    })
}

pub(super) fn history(page: Page, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let reply = client.ask(request::SiteHistory { limit: page.limit, offset: page.offset })?;
    output.list(&HISTORY, &reply.rows)?;
    super::note_cut(reply.rows.len(), reply.total, "--limit and --offset show others");
    Ok(())
}

pub(super) fn audit(arguments: Audit, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let reply = client.ask(request::AuditList {
        since: arguments.since,
        until: arguments.until,
        user: arguments.user,
        oldest_first: arguments.oldest_first,
        limit: arguments.page.limit,
        offset: arguments.page.offset,
    })?;
    output.list(&AUDIT, &reply.rows)?;
    super::note_cut(reply.rows.len(), reply.total, "--limit and --offset show others");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_has_every_field_of_the_rows() {
        super::super::tests::covers(CHANGES.fields, &reply::SiteChange::default());
        super::super::tests::covers(HISTORY.fields, &reply::ChangeRow::default());
        super::super::tests::covers(AUDIT.fields, &reply::AuditRow::default());
    }

    #[test]
    fn a_cell_is_cut_and_says_so() {
        assert_eq!(summary(&["a".to_owned(), "b".to_owned(), "c".to_owned()]), "a (and 2 more)");
        assert_eq!(shorter(&"x".repeat(200)).len(), CELL_MAX + 3);
        assert_eq!(shorter("one\ntwo"), "one");
    }
}
