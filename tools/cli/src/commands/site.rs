//! The site file and its versions: apply, commit, confirm, discard, rollback, export.

use std::path::PathBuf;

use clap::Args;
use tandem_control::request::{self, Terms};
use tandem_control::{ConfirmWithin, ExitCode, reply};

use super::changes;
use super::confirm::{Commit, Decision, read_file};
use crate::client::Client;
use crate::failure::Failure;
use crate::human;
use crate::output::{Format, Output};

/// How a change is made, besides whether.
#[derive(Args)]
pub(crate) struct Making {
    /// In force at once, and rolled back after this time unless confirmed: 90s, 5m, 1h
    #[arg(long, value_name = "TIME")]
    confirm: Option<ConfirmWithin>,
    /// Only when the configuration is still at this version
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,
    /// Words for the history
    #[arg(short = 'm', long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    comment: String,
}

impl Making {
    pub(super) fn terms(self, commit: bool, stage: bool) -> Terms {
        Terms { commit, stage, base_version: self.if_version, confirm_within: self.confirm, comment: self.comment }
    }
}

#[derive(Args)]
pub(crate) struct Apply {
    /// Site file (TOML); - for the standard input
    file: PathBuf,
    #[command(flatten)]
    commit: Commit,
    #[command(flatten)]
    making: Making,
    /// Into the staged site instead of into force
    #[arg(long, conflicts_with_all = ["confirm", "yes"])]
    stage: bool,
}

#[derive(Args)]
pub(crate) struct CommitStaged {
    #[command(flatten)]
    making: Making,
    /// Preview only; nothing is changed
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
pub(crate) struct Confirm {
    /// Words for the audit log
    #[arg(short = 'm', long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    comment: String,
}

#[derive(Args)]
pub(crate) struct Rollback {
    /// Version whose site comes back, as history shows it; without it the one before the last change
    version: Option<u64>,
    #[command(flatten)]
    commit: Commit,
    #[command(flatten)]
    making: Making,
}

#[derive(Args)]
pub(crate) struct Export {
    /// As it was at this version
    version: Option<u64>,
    /// The staged site
    #[arg(long, conflicts_with = "version")]
    staged: bool,
}

pub(super) fn apply(arguments: Apply, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let file = arguments.file.display().to_string();
    let toml = read_file(&arguments.file)?;
    let in_file = move |failure: Failure| match failure.code {
        ExitCode::BadValue => Failure::bad(format!("{file}: {failure}; nothing was changed")),
        _ => failure,
    };
    let terms = arguments.making.terms(false, arguments.stage);
    let stage = arguments.stage;
    preview_then(
        |client, terms| client.ask(request::SiteApply { toml: toml.clone(), terms }).map_err(&in_file),
        terms,
        // What is only staged is looked at again before it is committed.
        |changes| if stage { Ok(Decision::Commit) } else { arguments.commit.decide(&question(changes)) },
        client,
        output,
    )
}

pub(super) fn rollback(arguments: Rollback, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let version = arguments.version;
    preview_then(
        |client, terms| client.ask(request::SiteRollback { version, terms }),
        arguments.making.terms(false, false),
        |changes| arguments.commit.decide(&question(changes)),
        client,
        output,
    )
}

fn question(changes: usize) -> String {
    format!("Put {changes} changes in force?")
}

/// Asks without committing, shows, lets `decide` decide from the number of changes, and commits what was shown.
pub(super) fn preview_then(
    ask: impl Fn(&mut Client, Terms) -> Result<reply::SiteApplied, Failure>,
    mut terms: Terms,
    decide: impl FnOnce(usize) -> Result<Decision, Failure>,
    client: &mut Client,
    output: &mut Output,
) -> Result<(), Failure> {
    let preview = ask(client, terms.clone())?;
    // A program gets one document: that of the commit when there is one, else the preview.
    let quiet = output.format != Format::Text;
    if !quiet {
        text(output, &preview)?;
        output.flush()?;
    }
    // A stage may hold what a file without a difference takes back, so it is always written.
    let decided =
        if preview.changes.is_empty() && !terms.stage { Ok(Decision::Stop) } else { decide(preview.changes.len()) };
    if !matches!(decided, Ok(Decision::Commit)) {
        if quiet {
            output.object(&preview, text)?;
        }
        return decided.map(|_| ());
    }
    terms.commit = true;
    terms.base_version = Some(preview.base_version);
    let done = ask(client, terms)?;
    if !done.committed && !done.staged {
        return Err(Failure::new(ExitCode::Failed, "the switch did not make the change; nothing was changed"));
    }
    if quiet {
        return output.object(&done, text);
    }
    said(output, &done)
}

pub(super) fn commit(arguments: CommitStaged, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let terms = arguments.making.terms(!arguments.dry_run, false);
    let done = client.ask(request::SiteCommit { terms })?;
    output.object(&done, |output, done| {
        if done.confirmed.is_none() {
            text(output, done)?;
        }
        if done.committed { said(output, done) } else { Ok(()) }
    })
}

pub(super) fn confirm(arguments: Confirm, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let done = client.ask(request::SiteConfirm { comment: arguments.comment })?;
    output.object(&done, |output, done| output.line(&format!("confirmed; version {} stays", done.version)))
}

pub(super) fn discard(client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let done = client.ask(request::SiteDiscard {})?;
    output.object(&done, |output, done| output.line(&format!("{} staged changes are forgotten", done.changes)))
}

pub(super) fn export(arguments: Export, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let site = client.ask(request::SiteExport { version: arguments.version, staged: arguments.staged })?;
    match output.format {
        Format::Text => output.raw(&site.toml),
        Format::Json | Format::Jsonl | Format::Csv => output.object(&site, |output, site| output.raw(&site.toml)),
    }
}

/// The changes and warnings of a preview.
pub(super) fn text(output: &mut Output, reply: &reply::SiteApplied) -> Result<(), Failure> {
    if let Some(version) = reply.from_version {
        output.line(&format!("the site of version {version} comes back:"))?;
    }
    if reply.changes.is_empty() {
        output.line(&format!("nothing differs from version {}", reply.base_version))?;
    }
    changes::text(output, &reply.changes)?;
    for warning in &reply.warnings {
        output.line(&format!("warning: {warning}"))?;
    }
    Ok(())
}

/// What was done.
pub(super) fn said(output: &mut Output, done: &reply::SiteApplied) -> Result<(), Failure> {
    if let Some(version) = done.confirmed {
        return output.line(&format!("confirmed; version {version} stays"));
    }
    if done.staged {
        return output.line("staged; tandem compare shows it, tandem commit puts it in force");
    }
    let Some(version) = done.version else {
        return Ok(());
    };
    output.line(&format!("in force; the configuration is now version {version}"))?;
    match &done.unconfirmed {
        Some(waiting) => output.line(&format!(
            "rolled back to the site of version {} at {} unless confirmed: tandem confirm",
            waiting.fallback,
            human::time(Some(waiting.until_ms))
        )),
        None => Ok(()),
    }
}
