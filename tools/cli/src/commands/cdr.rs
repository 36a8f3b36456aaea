//! `tandem cdr`: finished calls.

use clap::{Args, Subcommand};
use serde_json::Value;
use tandem_control::reply::{self, CdrRow};
use tandem_control::request::{self, CdrFilter, CdrSort};
use tandem_control::{Amount, CallId, ExitCode, Limit, When};

use super::cdr_csv;
use crate::client::Client;
use crate::failure::Failure;
use crate::human;
use crate::output::{Array, Format, Output, plain};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List finished calls, newest first
    List(ListArguments),
    /// Show every field of one finished call and how its fee came about
    Show {
        /// Number of the call
        call: CallId,
    },
    /// Sums over finished calls
    Totals(FilterArguments),
    /// Rate finished calls again from their stored proofs and compare with record and ledger
    Prove(FilterArguments),
    /// Book calls that other systems have made
    Insert(super::cdr_insert::Insert),
}

#[derive(Args)]
pub(crate) struct ListArguments {
    #[command(flatten)]
    filter: FilterArguments,
    /// Order: end, fee or duration; the last two go no further than 50,000 rows
    #[arg(long, value_name = "WHAT", default_value = "end")]
    sort: CdrSort,
    /// Oldest or smallest first
    #[arg(long)]
    oldest_first: bool,
    /// Most rows, 1 to 5000
    #[arg(long, value_name = "ROWS", default_value = "100", conflicts_with = "all")]
    limit: Limit,
    /// Rows to leave out first
    #[arg(long, value_name = "ROWS", default_value_t = 0, conflicts_with = "all")]
    offset: u64,
    /// Every row that matches, however many; in the order of the end
    #[arg(long, conflicts_with = "sort")]
    all: bool,
}

#[derive(Args)]
pub(crate) struct FilterArguments {
    /// Only of this paying or clearing account
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Only from this number; NUMBER* for a prefix
    #[arg(long, value_name = "NUMBER")]
    caller: Option<String>,
    /// Only to this number; NUMBER* for a prefix
    #[arg(long, value_name = "NUMBER")]
    callee: Option<String>,
    /// Only from this mapping gateway
    #[arg(long, value_name = "NAME")]
    caller_gateway: Option<String>,
    /// Only to this routing gateway
    #[arg(long, value_name = "NAME")]
    callee_gateway: Option<String>,
    /// Only from or to this gateway
    #[arg(long, value_name = "NAME")]
    gateway: Option<String>,
    /// Only of accounts under this agent
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// Only held so many seconds or more
    #[arg(long, value_name = "SECONDS")]
    min_duration: Option<u32>,
    /// Only held so many seconds or less
    #[arg(long, value_name = "SECONDS")]
    max_duration: Option<u32>,
    /// Only with a fee of so much or more
    #[arg(long, value_name = "AMOUNT")]
    min_fee: Option<Amount>,
    /// Only ended at or after TIME: ISO 8601, yyyyMMdd, yyyyMMddHHmmss or UTC milliseconds
    #[arg(long, value_name = "TIME")]
    from: Option<When>,
    /// Only ended before TIME; a day counts whole
    #[arg(long, value_name = "TIME")]
    to: Option<When>,
    /// Only with this end reason
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    end_reason: Option<i32>,
    /// Only answered calls
    #[arg(long, conflicts_with = "unanswered")]
    answered: bool,
    /// Only calls that were not answered
    #[arg(long)]
    unanswered: bool,
}

impl From<FilterArguments> for CdrFilter {
    fn from(arguments: FilterArguments) -> CdrFilter {
        CdrFilter {
            account: arguments.account,
            caller: arguments.caller,
            callee: arguments.callee,
            caller_gateway: arguments.caller_gateway,
            callee_gateway: arguments.callee_gateway,
            from: arguments.from,
            to: arguments.to,
            gateway: arguments.gateway,
            agent: arguments.agent,
            duration_min_s: arguments.min_duration,
            duration_max_s: arguments.max_duration,
            fee_min: arguments.min_fee,
            end_reason: arguments.end_reason,
            answered: (arguments.answered || arguments.unanswered).then_some(arguments.answered),
        }
    }
}

pub(super) fn run(command: Command, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::List(arguments) => list(arguments, client, output),
        Command::Show { call } => {
            let show = client.ask(request::CdrShow { call })?;
            if output.format == Format::Csv {
                output.csv(&cdr_csv::header())?;
                return output.csv(&cdr_csv::cells(&show.cdr));
            }
            output.object(&show, show_text)
        }
        Command::Prove(filter) => super::proof::prove(filter.into(), client, output),
        Command::Insert(insert) => super::cdr_insert::run(insert, client, output),
        Command::Totals(filter) => output.object(&client.ask(request::CdrTotals { filter: filter.into() })?, totals),
    }
}

fn list(arguments: ListArguments, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let mut question = request::CdrList {
        filter: arguments.filter.into(),
        sort: arguments.sort,
        oldest_first: arguments.oldest_first,
        after: None,
        limit: if arguments.all { Limit::MAX } else { arguments.limit },
        offset: arguments.offset,
    };
    let mut writer = Writer::default();
    loop {
        let page = client.ask(question.clone())?;
        let shown = page.rows.len();
        writer.page(output, page.rows)?;
        match page.next {
            Some(next) if arguments.all => {
                if question.after == Some(next) {
                    return Err(Failure::new(
                        ExitCode::Failed,
                        format!("the switch repeats the page behind call {next}"),
                    ));
                }
                question.after = Some(next);
            }
            Some(_) => {
                writer.end(output)?;
                let hidden = arguments.offset.min(page.total);
                let how = "see --limit, --offset and --all";
                match page.more {
                    true => super::note(&format!("{shown} of more than {} rows; {how}", page.total - hidden)),
                    false => super::note_cut(shown, page.total - hidden, how),
                }
                return Ok(());
            }
            None => return writer.end(output),
        }
    }
}

/// Rows of several pages as one list. JSON and CSV go out page by page; a table waits for its widest cell.
#[derive(Default)]
struct Writer {
    array: Array,
    header_written: bool,
    lines: Vec<Vec<String>>,
}

impl Writer {
    fn page(&mut self, output: &mut Output, rows: Vec<CdrRow>) -> Result<(), Failure> {
        if output.format == Format::Csv && !self.header_written {
            self.header_written = true;
            output.csv(&cdr_csv::header())?;
        }
        for row in rows {
            match output.format {
                Format::Text => self.lines.push(line(&row)),
                Format::Json => self.array.row(output, &row)?,
                Format::Jsonl => output.json_line(&row)?,
                Format::Csv => output.csv(&cdr_csv::cells(&row))?,
            }
        }
        Ok(())
    }

    fn end(self, output: &mut Output) -> Result<(), Failure> {
        match output.format {
            Format::Text => output.table(TITLES, &self.lines),
            Format::Json => self.array.end(output),
            Format::Csv | Format::Jsonl => Ok(()),
        }
    }
}

const TITLES: &[&str] =
    &[">call", "ended", "caller", "callee", "from", "to", ">held s", ">billed s", ">fee", ">cost", ">margin", "end"];

fn line(row: &CdrRow) -> Vec<String> {
    let cell = |name: &str| row.get(name).map(plain).unwrap_or_default();
    let end = match cell("end_reason_text") {
        text if text.is_empty() => cell("end_reason"),
        text => format!("{} {text}", cell("end_reason")),
    };
    vec![
        cell("flow_no"),
        human::time(row.get("end_ms").and_then(Value::as_i64)),
        cell("caller_billed"),
        cell("callee_billed"),
        cell("caller_gateway"),
        cell("callee_gateway"),
        cell("hold_s"),
        cell("billed_s"),
        cell("fee"),
        cell("vendor_fee"),
        cell("margin"),
        end,
    ]
}

/// One line an attempt to reach a vendor.
pub(super) fn attempts(output: &mut Output, cdr: &reply::CdrRow) -> Result<(), Failure> {
    for attempt in cdr.get("attempts").and_then(Value::as_array).into_iter().flatten() {
        let field = |name: &str| plain(&attempt[name]);
        output.line(&format!(
            "attempt: {} {} {} {}",
            field("gateway"),
            field("status"),
            field("reason"),
            field("next")
        ))?;
    }
    Ok(())
}

fn show_text(output: &mut Output, show: &reply::CdrShow) -> Result<(), Failure> {
    let value = |(name, value): (&String, &Value)| match value {
        Value::Number(ms) if name.ends_with("_ms") && ms.as_i64().is_some_and(is_wall_clock) => {
            format!("{ms} ({})", human::time(ms.as_i64()))
        }
        other => plain(other),
    };
    let pairs: Vec<(&str, String)> = show
        .cdr
        .iter()
        .filter(|(name, _)| name.as_str() != "attempts")
        .map(|pair| (pair.0.as_str(), value(pair)))
        .collect();
    output.pairs(&pairs)?;
    attempts(output, &show.cdr)?;
    for (title, steps) in [("fee", &show.customer_steps), ("cost", &show.vendor_steps)] {
        if !steps.is_empty() {
            output.line(&format!("how the {title} came about:"))?;
            for step in steps {
                output.line(&format!("  {step}"))?;
            }
        }
    }
    show.corrections.iter().try_for_each(|row| super::proof::correction(output, row))
}

/// Whether a number of milliseconds is an instant of this century and no duration.
fn is_wall_clock(ms: i64) -> bool {
    ms > 946_684_800_000
}

fn totals(output: &mut Output, totals: &reply::CdrTotals) -> Result<(), Failure> {
    let money = |amount: &str| format!("{amount} {}", totals.currency).trim_end().to_owned();
    output.pairs(&[
        ("calls", totals.calls.to_string()),
        ("answered", totals.answered.to_string()),
        ("held", format!("{} s", totals.hold_s)),
        ("billed", format!("{} s to customers, {} s by vendors", totals.billed_s, totals.vendor_s)),
        ("fee", money(&totals.fee)),
        ("tax", money(&totals.tax)),
        ("cost", money(&totals.cost)),
        ("tax on cost", money(&totals.cost_tax)),
        ("margin", money(&totals.margin)),
        (
            "RTP relayed",
            format!("{} caller to vendor, {} vendor to caller", totals.rtp_relayed_a_to_b, totals.rtp_relayed_b_to_a),
        ),
    ])
}
