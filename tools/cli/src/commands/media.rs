//! `tandem media` and `tandem upgrade-datapath`: media by path.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use tandem_control::{ExitCode, reply, request};

use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Ports and flows of each shard, packets by path, punts and drops by reason
    Show,
    /// Whether the records account for every RTP packet that was forwarded; exit code 1 when they do not
    Audit,
}

#[derive(Args)]
pub(crate) struct Upgrade {
    /// File of the program; without it the file of the start is read anew
    #[arg(long, value_name = "FILE")]
    object: Option<PathBuf>,
}

pub(super) fn run(command: Command, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Show => output.object(&client.ask(request::MediaShow {})?, show),
        Command::Audit => {
            let audit = client.ask(request::MediaAudit {})?;
            output.object(&audit, self::audit)?;
            if audit.equal {
                return Ok(());
            }
            Err(Failure::new(
                ExitCode::Failed,
                format!("{} packets were forwarded that no record and no call has", audit.difference),
            ))
        }
    }
}

pub(super) fn upgrade(arguments: Upgrade, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    // The switch has another working directory.
    let absolute = |path: PathBuf| {
        std::path::absolute(&path).map_err(|error| Failure::bad(format!("--object {}: {error}", path.display())))
    };
    let object = arguments.object.map(absolute).transpose()?.map(|path| path.to_string_lossy().into_owned());
    let upgraded = client.ask(request::DatapathUpgrade { object })?;
    output.object(&upgraded, |output, upgraded| {
        output.line(&format!(
            "program {} of {} relays on {} in the place of program {}",
            upgraded.program,
            upgraded.object,
            upgraded.interfaces.join(", "),
            upgraded.before
        ))
    })
}

fn show(output: &mut Output, show: &reply::MediaShow) -> Result<(), Failure> {
    output.pairs(&[
        ("media path", show.path.clone()),
        ("kernel program", show.program.map_or_else(|| "-".to_owned(), |id| id.to_string())),
        ("forwarded by the kernel", show.kernel_packets.to_string()),
        ("forwarded by user space", show.user_packets.to_string()),
        ("flows without a call", format!("{} removed", show.orphans)),
    ])?;
    interfaces(output, &show.interfaces)?;
    output.line("")?;
    let shards: Vec<Vec<String>> = show
        .shards
        .iter()
        .map(|row| {
            let mut line = vec![row.shard.to_string(), row.address.clone(), format!("{}-{}", row.first, row.last)];
            let numbers = [row.free, row.used, row.lingering, row.busy, row.flows, row.kernel_flows, row.forwarded];
            line.extend(numbers.iter().map(u64::to_string));
            line
        })
        .collect();
    output.table(
        &[
            ">shard",
            "address",
            "ports",
            ">free",
            ">used",
            ">lingering",
            ">busy",
            ">flows",
            ">in kernel",
            ">by user space",
        ],
        &shards,
    )?;
    for (title, reasons) in [
        ("left to user space", &show.punts),
        ("dropped by the kernel", &show.kernel_drops),
        ("dropped by user space", &show.user_drops),
    ] {
        by_reason(output, title, reasons)?;
    }
    Ok(())
}

fn by_reason(output: &mut Output, title: &str, reasons: &BTreeMap<String, u64>) -> Result<(), Failure> {
    if reasons.is_empty() {
        return Ok(());
    }
    output.line("")?;
    let rows: Vec<Vec<String>> = reasons.iter().map(|(reason, n)| vec![reason.clone(), n.to_string()]).collect();
    output.table(&[title, ">packets"], &rows)
}

fn audit(output: &mut Output, audit: &reply::MediaAudit) -> Result<(), Failure> {
    output.pairs(&[
        ("forwarded by the kernel", audit.kernel.to_string()),
        ("forwarded by user space", audit.user_space.to_string()),
        ("in records", audit.records.to_string()),
        ("in calls in progress", audit.live.to_string()),
        ("in calls without a record", audit.unrecorded.to_string()),
        ("in failed attempts", audit.attempts.to_string()),
        ("in flows without a call", audit.orphans.to_string()),
        ("counted late", audit.late.to_string()),
        ("difference", audit.difference.to_string()),
    ])
}

/// How each interface is served, a line each.
pub(super) fn interfaces(output: &mut Output, interfaces: &[reply::MediaInterface]) -> Result<(), Failure> {
    for row in interfaces {
        let reason = if row.reason.is_empty() { String::new() } else { format!(" ({})", row.reason) };
        output.line(&format!("media path {}: {}{reason}", row.interface, row.path))?;
    }
    Ok(())
}
