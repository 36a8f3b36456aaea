//! `tandem report`: the sums of a day, by account, gateway, vendor, area and so on.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use tandem_control::reply::{ReportDay, ReportRow};
use tandem_control::{ExitCode, When, request};

use super::report_html;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{Format, List, Output};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Report {
    #[command(subcommand)]
    command: Option<Command>,
    /// The day
    #[arg(long, value_name = "DAY", required = true)]
    day: Option<When>,
    /// Write the day as one page with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// The sums of a day
    Day {
        /// The day
        day: When,
        /// By what: total, account, agent, further-agent, vendor, gateway, routing, area, end-reason, hour, level
        #[arg(long, value_name = "WHAT", default_value = "account")]
        by: String,
        /// The row of most calls first, not the smallest key
        #[arg(long)]
        largest_first: bool,
        /// Most rows
        #[arg(long, value_name = "ROWS")]
        limit: Option<usize>,
        /// Write the day as one page with plots
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// Add the day's CDRs and ledger rows up again and compare
    Check {
        /// The day
        #[arg(long, value_name = "DAY")]
        day: When,
    },
}

pub(super) fn run(report: Report, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    match (report.command, report.day) {
        (Some(Command::Day { day, html: Some(html), .. }), _) => page(day, &html, client),
        (Some(Command::Day { day, by, largest_first, limit, html: None }), _) => {
            let mut report = client.ask(request::ReportDay { day, by: Some(by) })?;
            if largest_first {
                report.rows.sort_by_key(|row| std::cmp::Reverse(row.calls));
            }
            let total = report.rows.len();
            report.rows.truncate(limit.unwrap_or(total));
            output.list(&ROWS, &report.rows)?;
            super::note_cut(report.rows.len(), total as u64, "see --limit");
            Ok(())
        }
        (Some(Command::Check { day }), _) => check(day, client, output),
        (None, Some(day)) => match report.html {
            Some(html) => page(day, &html, client),
            None => {
                let report = client.ask(request::ReportDay { day, by: Some("total".to_owned()) })?;
                output.list(&ROWS, &report.rows)
            }
        },
        (None, None) => Err(Failure::bad("--day is missing")),
    }
}

fn check(day: When, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let checked = client.ask(request::ReportCheck { day })?;
    output.object(&checked, |output, checked| {
        let cdrs = checked.cdrs.map_or_else(|| "dropped, the reports stay".to_owned(), |cdrs| cdrs.to_string());
        output.pairs(&[
            ("day", checked.day.to_string()),
            ("CDRs", cdrs),
            ("rows of reports", checked.rows.to_string()),
            ("ledger rows", checked.ledger_rows.to_string()),
        ])?;
        for problem in &checked.problems {
            output.line(&format!("wrong: {problem}"))?;
        }
        if checked.problems.is_empty() {
            output.line("reports, CDRs and ledger agree")?;
        }
        Ok(())
    })?;
    if output.format != Format::Text || checked.problems.is_empty() {
        return if checked.problems.is_empty() {
            Ok(())
        } else {
            Err(Failure::new(ExitCode::Failed, "reports, CDRs and ledger do not agree"))
        };
    }
    Err(Failure::new(ExitCode::Failed, "reports, CDRs and ledger do not agree"))
}

fn page(day: When, path: &std::path::Path, client: &mut Client) -> Result<(), Failure> {
    let report: ReportDay = client.ask(request::ReportDay { day, by: None })?;
    std::fs::write(path, report_html::page(&report))
        .map_err(|error| Failure::new(ExitCode::Failed, format!("{} cannot be written: {error}", path.display())))?;
    super::note(&format!("the report of {} is in {}", report.day, path.display()));
    Ok(())
}

/// A key for people.
pub(super) fn key(row: &ReportRow) -> String {
    match (row.key.as_str(), row.name.as_str()) {
        ("", _) if row.by == "total" => "all".to_owned(),
        ("", _) => "(none)".to_owned(),
        (key, "") => key.to_owned(),
        (key, name) => format!("{key} {name}"),
    }
}

const ROWS: List<'_, ReportRow> = List {
    fields: &[
        "by",
        "key",
        "name",
        "calls",
        "answered",
        "asr_pct",
        "acd_s",
        "hold_s",
        "billed_s",
        "suite_s",
        "agent_s",
        "vendor_s",
        "fee",
        "tax",
        "suite_fee",
        "agent_fee",
        "agent_tax",
        "agent_suite_fee",
        "cost",
        "cost_tax",
        "margin",
    ],
    titles: &[
        "key",
        ">calls",
        ">answered",
        ">ASR %",
        ">ACD s",
        ">held s",
        ">billed s",
        ">fee",
        ">tax",
        ">cost",
        ">margin",
    ],
    line: |row| {
        vec![
            key(row),
            row.calls.to_string(),
            row.answered.to_string(),
            row.asr_pct.clone(),
            row.acd_s.clone(),
            row.hold_s.to_string(),
            row.billed_s.to_string(),
            row.fee.clone(),
            row.tax.clone(),
            row.cost.clone(),
            row.margin.clone(),
        ]
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_has_every_field() {
        super::super::tests::covers(ROWS.fields, &ReportRow::default());
    }
}
