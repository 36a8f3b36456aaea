//! `tandem apply` and `tandem export`: the site file.

use std::path::PathBuf;

use clap::Args;
use tandem_control::{ExitCode, reply, request};

use super::confirm::{Commit, Decision, read_file};
use crate::client::Client;
use crate::failure::Failure;
use crate::human;
use crate::output::{Format, Output};

#[derive(Args)]
pub(crate) struct Apply {
    /// Site file (TOML); - for the standard input
    file: PathBuf,
    #[command(flatten)]
    commit: Commit,
}

pub(super) fn apply(arguments: Apply, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let file = arguments.file.display().to_string();
    let toml = read_file(&arguments.file)?;
    let in_file = |failure: Failure| match failure.code {
        ExitCode::BadValue => Failure::bad(format!("{file}: {failure}; nothing was changed")),
        _ => failure,
    };
    let mut question = request::SiteApply { toml, commit: false, base_version: None };
    let preview = client.ask(question.clone()).map_err(in_file)?;
    // A program gets one document: that of the commit when there is one, else the preview.
    let quiet = output.format != Format::Text;
    if !quiet {
        text(output, &preview)?;
        output.flush()?;
    }
    let decided = if preview.changes.is_empty() {
        Ok(Decision::Stop)
    } else {
        arguments.commit.decide(&format!("Put {} changes in force?", preview.changes.len()))
    };
    if !matches!(decided, Ok(Decision::Commit)) {
        if quiet {
            output.object(&preview, text)?;
        }
        return decided.map(|_| ());
    }
    question.commit = true;
    question.base_version = Some(preview.base_version);
    let done = client.ask(question).map_err(in_file)?;
    if !done.committed {
        return Err(Failure::new(ExitCode::Failed, "the switch did not take the site file; nothing was changed"));
    }
    if quiet {
        return output.object(&done, text);
    }
    output.line(&format!("in force; the site is now version {}", human::or_dash(done.version)))
}

fn text(output: &mut Output, reply: &reply::SiteApplied) -> Result<(), Failure> {
    if reply.changes.is_empty() {
        output.line(&format!("nothing differs from version {}", reply.base_version))?;
    }
    for change in &reply.changes {
        output.line(change)?;
    }
    for warning in &reply.warnings {
        output.line(&format!("warning: {warning}"))?;
    }
    Ok(())
}

pub(super) fn export(client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let site = client.ask(request::SiteExport {})?;
    match output.format {
        Format::Text => output.raw(&site.toml),
        Format::Json | Format::Csv => output.object(&site, |output, site| output.raw(&site.toml)),
    }
}
