//! What changes the rows of a rate group: a preview, then perhaps the commit of just that.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use tandem_control::request::{self, ImportMode, SheetTerms, UPLOAD_MAX};
use tandem_control::{Amount, ExitCode, When, reply};

use super::{DIFFERENCES, differences, preview_text};
use crate::client::Client;
use crate::commands::confirm::{Commit, Decision, read_file, read_large};
use crate::failure::Failure;
use crate::human;
use crate::output::{Format, Output};
use crate::progress::{Bar, Watch};

/// Files above this travel in pieces of it.
const PIECE_BYTES: usize = 512 << 10;

#[derive(Args)]
pub(crate) struct Import {
    /// Rate file (CSV); - for the standard input
    file: PathBuf,
    /// Rate group
    #[arg(long, value_name = "GROUP")]
    group: String,
    /// add: a prefix that is there is an error; merge: add or replace; replace: prefixes missing in the file are closed
    #[arg(long, default_value = "merge")]
    mode: Mode,
    /// Template of the site, or of --template-file, to read the file by; the one that fits its header when missing
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    /// More templates: TOML, a table each
    #[arg(long, value_name = "FILE")]
    template_file: Option<PathBuf>,
    /// Which column of the file is what: --map price="Rate (USD)"; may be given several times
    #[arg(long, value_name = "COLUMN=NAME", value_parser = mapping)]
    map: Vec<(String, String)>,
    /// How the file writes dates: dd-MMM-yy, MM/dd/yyyy, dd.MM.yyyy, ...
    #[arg(long, value_name = "FORM")]
    date_format: Option<String>,
    /// The file writes 0,0125 for 0.0125
    #[arg(long)]
    decimal_comma: bool,
    /// Money of the file, where it does not say so itself
    #[arg(long, value_name = "CODE")]
    currency: Option<String>,
    /// Units of the switch's money for one of --currency
    #[arg(long, value_name = "RATE", requires = "currency")]
    exchange_rate: Option<Amount>,
    /// Digits taken off the beginning of codes, or none; 00 when missing
    #[arg(long, value_name = "DIGITS")]
    international_prefix: Option<String>,
    /// When rows begin that name no beginning, and missing ones are closed; now when missing
    #[arg(long, value_name = "TIME")]
    effective: Option<When>,
    /// Count raised rates that begin before so many days have passed; 7 when missing
    #[arg(long, value_name = "DAYS")]
    notice_days: Option<u32>,
    /// Examples of each kind of change
    #[arg(long, value_name = "N")]
    top: Option<u32>,
    /// Show every change instead of counts and examples; with -o json or csv as rows
    #[arg(long)]
    differences: bool,
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

fn mapping(text: &str) -> Result<(String, String), String> {
    let (column, name) = text.split_once('=').ok_or("a column of a rate table, =, and a column of the file")?;
    Ok((column.trim().to_owned(), name.to_owned()))
}

pub(super) fn import(arguments: Import, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let csv = read_large(&arguments.file, UPLOAD_MAX)?;
    let large = csv.len() > PIECE_BYTES;
    let templates = arguments.template_file.as_ref().map(read_file).transpose()?.unwrap_or_default();
    let (csv, upload) = if large { (String::new(), Some(upload(&csv, client)?)) } else { (csv, None) };
    let source = arguments.file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let question = request::RatesImport {
        group: arguments.group,
        mode: arguments.mode.into(),
        csv,
        upload,
        ignore_columns: arguments.ignore_columns,
        sheet: SheetTerms {
            template: arguments.template,
            templates,
            map: arguments.map.into_iter().collect(),
            date_format: arguments.date_format,
            decimal_comma: arguments.decimal_comma,
            currency: arguments.currency,
            exchange_rate: arguments.exchange_rate,
            international_prefix: arguments.international_prefix,
        },
        effective: arguments.effective,
        notice_days: arguments.notice_days,
        examples: arguments.top,
        differences: arguments.differences,
        comment: arguments.comment,
        source,
        ..request::RatesImport::default()
    };
    let watch = large.then(|| Watch::begin(client));
    let preview = client.ask(question)?;
    drop(watch);
    if preview.errors_total > 0 || !preview.errors.is_empty() {
        output.object(&preview, preview_text)?;
        return Err(refused(&arguments.file, &preview));
    }
    if arguments.differences {
        let rows = preview.preview.map_or(Ok(Vec::new()), |number| differences(number, client))?;
        output.list(&DIFFERENCES, &rows)?;
        output.flush()?;
        return decide(&preview, &arguments.commit, client, output, Show::Nothing, "Import");
    }
    decide(&preview, &arguments.commit, client, output, Show::Preview, "Import")
}

/// What is still to be shown of a preview.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    Preview,
    Nothing,
}

/// Shows the preview, asks, commits.
fn decide(
    preview: &reply::RatesImported,
    commit: &Commit,
    client: &mut Client,
    output: &mut Output,
    show: Show,
    verb: &str,
) -> Result<(), Failure> {
    // A program gets one document: that of the commit when there is one, else the preview.
    let quiet = output.format != Format::Text;
    if !quiet && show == Show::Preview {
        preview_text(output, preview)?;
        output.flush()?;
    }
    let touched = preview.added + preview.raised + preview.lowered + preview.changed + preview.closed;
    let question = format!("{verb} {touched} changes into rate group {}?", preview.group);
    let decided = if touched == 0 { Ok(Decision::Stop) } else { commit.decide(&question) };
    if !matches!(decided, Ok(Decision::Commit)) {
        if quiet && show == Show::Preview {
            output.object(preview, preview_text)?;
        } else if touched == 0 && !quiet {
            output.line("nothing differs, nothing to import")?;
        }
        return decided.map(|_| ());
    }
    let done = put_in_force(preview, client)?;
    match (quiet, show) {
        (true, Show::Preview) => output.object(&done, preview_text),
        (true, Show::Nothing) => Ok(()),
        (false, _) => {
            let version = human::or_dash(done.version);
            output.line(&format!("imported; rate group {} is now version {version}", done.group))
        }
    }
}

fn put_in_force(preview: &reply::RatesImported, client: &mut Client) -> Result<reply::RatesImported, Failure> {
    let failed = || Failure::new(ExitCode::Failed, "the switch did not make the change; nothing was changed");
    let watch = (preview.rows as usize > PIECE_BYTES / 32).then(|| Watch::begin(client));
    let done = client.ask(request::RatesCommit { preview: preview.preview.ok_or_else(failed)? })?;
    drop(watch);
    if done.committed { Ok(done) } else { Err(failed()) }
}

/// Sends a file in pieces; its number.
fn upload(csv: &str, client: &mut Client) -> Result<u64, Failure> {
    let bar = Bar::new();
    // One number a run: the process and the time, which no other has together.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let upload = (u64::from(std::process::id()) << 32) ^ u64::from(now.subsec_nanos()) ^ (now.as_secs() << 8);
    // JSON readers of other languages keep whole numbers up to 2^53.
    let upload = upload & ((1 << 53) - 1);
    let mut offset = 0;
    while offset < csv.len() {
        let mut end = (offset + PIECE_BYTES).min(csv.len());
        while !csv.is_char_boundary(end) {
            end -= 1;
        }
        let text = csv.get(offset..end).unwrap_or_default().to_owned();
        client.ask(request::RatesUpload { upload, offset: offset as u64, text })?;
        offset = end;
        bar.show("sending", offset as u64, csv.len() as u64);
    }
    bar.clear();
    Ok(upload)
}

/// The first bad rows, one sentence each.
fn refused(file: &Path, reply: &reply::RatesImported) -> Failure {
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

#[derive(Args)]
pub(crate) struct Set {
    /// Whole prefix
    prefix: String,
    /// price=0.02, increment=30/6, area_name=TEXT, lock=1, effective_to=TIME, ...; the others stay as they are
    #[arg(value_name = "FIELD=VALUE", required = true, value_parser = mapping)]
    fields: Vec<(String, String)>,
    /// Rate group
    #[arg(long, value_name = "GROUP")]
    group: String,
    /// When it begins; now when missing
    #[arg(long, value_name = "TIME")]
    effective: Option<When>,
    /// Words for the history
    #[arg(short = 'm', long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    comment: String,
    /// Preview only; nothing is changed
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn set(set: Set, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let fields: BTreeMap<String, String> = set.fields.into_iter().collect();
    let question = request::RatesSet {
        group: set.group,
        prefix: set.prefix,
        fields,
        effective: set.effective,
        comment: set.comment,
    };
    let preview = client.ask(question)?;
    let differs = preview.added + preview.raised + preview.lowered + preview.changed > 0;
    let done = if differs && !set.dry_run { put_in_force(&preview, client)? } else { preview };
    if output.format != Format::Text {
        return output.object(&done, preview_text);
    }
    if !differs {
        return output.line("nothing differs, nothing was changed");
    }
    output.list(&DIFFERENCES, &done.examples)?;
    match done.version {
        Some(version) => output.line(&format!("done; rate group {} is now version {version}", done.group)),
        None => Ok(()),
    }
}

#[derive(Args)]
pub(crate) struct Delete {
    /// Whole prefix
    prefix: String,
    /// Rate group
    #[arg(long, value_name = "GROUP")]
    group: String,
    /// When it ends; now when missing
    #[arg(long, value_name = "TIME")]
    effective: Option<When>,
    /// Words for the history
    #[arg(short = 'm', long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    comment: String,
    #[command(flatten)]
    commit: Commit,
}

pub(super) fn delete(delete: Delete, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let Delete { prefix, group, effective, comment, commit } = delete;
    let preview = client.ask(request::RatesDelete { group, prefix, effective, comment })?;
    decide(&preview, &commit, client, output, Show::Preview, "Make")
}

#[derive(Args)]
pub(crate) struct Rollback {
    /// Version of the group; rates history lists them
    version: u64,
    /// Rate group
    #[arg(long, value_name = "GROUP")]
    group: String,
    /// When; now when missing
    #[arg(long, value_name = "TIME")]
    effective: Option<When>,
    /// Words for the history
    #[arg(short = 'm', long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    comment: String,
    #[command(flatten)]
    commit: Commit,
}

pub(super) fn rollback(rollback: Rollback, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let Rollback { version, group, effective, comment, commit } = rollback;
    let preview = client.ask(request::RatesRollback { group, version, effective, comment })?;
    decide(&preview, &commit, client, output, Show::Preview, "Make")
}

#[derive(Args)]
pub(crate) struct DropGroup {
    /// Rate group
    group: String,
    /// Words for the history
    #[arg(short = 'm', long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    comment: String,
    #[command(flatten)]
    commit: Commit,
}

pub(super) fn drop_group(drop: DropGroup, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let mut question = request::RatesDrop { group: drop.group, commit: false, comment: drop.comment };
    let text = |output: &mut Output, reply: &reply::RatesDropped| {
        let done = if reply.committed { "deleted" } else { "can be deleted" };
        output.line(&format!("rate group {} (version {}, {} rows) {done}", reply.group, reply.version, reply.rows))
    };
    let preview = client.ask(question.clone())?;
    let asked = format!("Delete rate group {} with {} rows?", preview.group, preview.rows);
    match drop.commit.decide(&asked) {
        Ok(Decision::Commit) => {
            question.commit = true;
            let done = client.ask(question)?;
            output.object(&done, text)
        }
        other => {
            output.object(&preview, text)?;
            other.map(|_| ())
        }
    }
}
