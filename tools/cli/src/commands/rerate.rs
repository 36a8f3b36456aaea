//! `tandem rerate` and `tandem replay`: finished calls by other rates.
//!
//! The switch prices slice after slice and answers with sums; they are added here, so neither side holds the calls.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use tandem_control::{CallId, ExitCode, When, reply, request};
use tandem_rating::money::Money;

use super::cdr::FilterArguments;
use super::confirm::{Commit, Decision, read_file};
use super::replay_html;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;

#[derive(Args)]
pub(crate) struct Rerate {
    #[command(flatten)]
    filter: FilterArguments,
    /// Legs that this rate group priced; else those of --account, else the customers'
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// By the rates that are stored with each call: nothing may change
    #[arg(long, conflicts_with_all = ["deck", "rates_at"])]
    stored: bool,
    /// By a rate sheet; else by the present version of each leg's group
    #[arg(long, value_name = "FILE")]
    deck: Option<PathBuf>,
    /// By the rows in force at TIME, for every call; else at the answer of each
    #[arg(long, value_name = "TIME")]
    rates_at: Option<When>,
    /// Decimals of rates and fees instead of those at the answer
    #[arg(long, value_name = "DIGITS", requires = "fu")]
    fp: Option<u8>,
    /// Fee unit
    #[arg(long, value_name = "DECIMAL", requires = "fp")]
    fu: Option<String>,
    /// Hold-time precision in milliseconds
    #[arg(long, value_name = "MS")]
    hold_precision: Option<u16>,
    /// Free time in seconds
    #[arg(long, value_name = "S")]
    free: Option<u32>,
    /// Whether rates are rounded before use
    #[arg(long, value_name = "BOOL")]
    quantise: Option<bool>,
    /// Book corrections after the preview; asks, or takes --yes
    #[arg(long)]
    apply: bool,
    /// Name of the run in the keys of the ledger; the switch's clock if not given
    #[arg(long, value_name = "NAME", requires = "apply")]
    run: Option<String>,
    /// Words for the ledger
    #[arg(short, long = "message", value_name = "TEXT", default_value = "", hide_default_value = true)]
    memo: String,
    #[command(flatten)]
    commit: Commit,
}

#[derive(Args)]
pub(crate) struct Replay {
    /// Rate sheet that is not in force
    #[arg(long, value_name = "FILE")]
    deck: PathBuf,
    /// Legs that this rate group priced
    #[arg(long, value_name = "GROUP", conflicts_with = "account")]
    group: Option<String>,
    /// Legs of this account; without --group and --account those of the customers
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Calls that ended since then: a TIME, or days or hours back as 30d or 12h
    #[arg(long, value_name = "TIME", default_value = "30d")]
    since: Since,
    /// Calls that ended before TIME; a day counts whole
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
    /// By the rows in force at TIME; else as they are when all of them have begun
    #[arg(long, value_name = "TIME")]
    rates_at: Option<When>,
    /// Also write a report with plots, one file that needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// An instant, or a span back from now.
#[derive(Clone, Debug)]
struct Since(When);

impl std::str::FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Since, String> {
        let wrong = |_| format!("{text:?} is not accepted; allowed is a TIME, or a span as 30d or 12h");
        let hours = match (text.strip_suffix('d'), text.strip_suffix('h')) {
            (Some(days), _) => days.parse::<u32>().map(|days| i64::from(days) * 24),
            (_, Some(hours)) => hours.parse::<u32>().map(i64::from),
            _ => return text.parse::<When>().map(Since).map_err(|error| error.to_string()),
        };
        let now_ms = jiff::Timestamp::now().as_millisecond();
        Ok(Since(When::from_ms(now_ms.saturating_sub(hours.map_err(wrong)?.saturating_mul(3_600_000)))))
    }
}

/// Legs of one account or destination, added up.
#[derive(Clone, Debug, Default)]
pub(super) struct Sum {
    pub(super) name: String,
    pub(super) calls: u64,
    pub(super) changed: u64,
    pub(super) seconds: (i64, i64),
    pub(super) old: Money,
    pub(super) new: Money,
    pub(super) no_rate: u64,
    pub(super) no_rate_old: Money,
}

/// All slices together.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    pub(super) calls: u64,
    pub(super) changed: u64,
    pub(super) no_proof: u64,
    pub(super) no_rate: u64,
    pub(super) failed: u64,
    pub(super) corrected: u64,
    pub(super) margin: (Money, Money),
    pub(super) destinations: BTreeMap<(String, String), Sum>,
    pub(super) accounts: BTreeMap<(String, String), Sum>,
    pub(super) currency: String,
}

fn wrong(error: impl std::fmt::Display) -> Failure {
    Failure::new(ExitCode::Failed, format!("the sums of the switch cannot be added: {error}"))
}

fn plus(sum: &mut Money, text: &str) -> Result<(), Failure> {
    let amount: Money = text.parse().map_err(wrong)?;
    *sum = sum.checked_add(amount).map_err(wrong)?;
    Ok(())
}

pub(super) fn less(a: Money, b: Money) -> Money {
    // Both are sums of this very run; a difference beyond the range of amounts is shown as nothing.
    a.checked_sub(b).unwrap_or_default()
}

impl Totals {
    fn add(&mut self, slice: &reply::Rerated) -> Result<(), Failure> {
        self.calls += slice.calls;
        self.changed += slice.changed;
        self.no_proof += slice.no_proof;
        self.no_rate += slice.no_rate;
        self.failed += slice.failed;
        self.corrected += slice.corrected;
        self.currency.clone_from(&slice.currency);
        plus(&mut self.margin.0, &slice.old_margin)?;
        plus(&mut self.margin.1, &slice.new_margin)?;
        for (map, rows) in [(&mut self.destinations, &slice.destinations), (&mut self.accounts, &slice.accounts)] {
            for row in rows {
                let sum = map.entry((row.side.clone(), row.key.clone())).or_default();
                if !row.name.is_empty() {
                    sum.name.clone_from(&row.name);
                }
                sum.calls += row.calls;
                sum.changed += row.changed;
                sum.seconds.0 += row.old_s;
                sum.seconds.1 += row.new_s;
                sum.no_rate += row.no_rate;
                plus(&mut sum.old, &row.old)?;
                plus(&mut sum.new, &row.new)?;
                plus(&mut sum.no_rate_old, &row.no_rate_old)?;
            }
        }
        Ok(())
    }

    fn rows(map: &BTreeMap<(String, String), Sum>) -> Vec<reply::RepricedRow> {
        map.iter()
            .map(|((side, key), sum)| reply::RepricedRow {
                side: side.clone(),
                key: key.clone(),
                name: sum.name.clone(),
                calls: sum.calls,
                changed: sum.changed,
                old_s: sum.seconds.0,
                new_s: sum.seconds.1,
                old: sum.old.to_string(),
                new: sum.new.to_string(),
                difference: less(sum.new, sum.old).to_string(),
                no_rate: sum.no_rate,
                no_rate_old: sum.no_rate_old.to_string(),
            })
            .collect()
    }

    fn reply(&self) -> reply::Rerated {
        reply::Rerated {
            calls: self.calls,
            changed: self.changed,
            no_proof: self.no_proof,
            no_rate: self.no_rate,
            failed: self.failed,
            corrected: self.corrected,
            old_margin: self.margin.0.to_string(),
            new_margin: self.margin.1.to_string(),
            destinations: Totals::rows(&self.destinations),
            accounts: Totals::rows(&self.accounts),
            currency: self.currency.clone(),
            deck_held: None,
            next: None,
        }
    }

    /// Destinations, largest difference first.
    pub(super) fn largest(map: &BTreeMap<(String, String), Sum>) -> Vec<(&(String, String), &Sum)> {
        let mut rows: Vec<_> = map.iter().collect();
        let size = |sum: &Sum| less(sum.new, sum.old).amount().abs();
        rows.sort_by(|a, b| size(b.1).cmp(&size(a.1)).then_with(|| a.0.cmp(b.0)));
        rows
    }
}

/// Asks slice after slice.
fn all(mut question: request::Rerate, client: &mut Client) -> Result<Totals, Failure> {
    let mut totals = Totals::default();
    loop {
        let slice = client.ask(question.clone())?;
        totals.add(&slice)?;
        // The sheet travels once.
        if slice.deck_held.is_some() {
            question.deck_held = slice.deck_held;
            question.deck = None;
        }
        match slice.next {
            None => return Ok(totals),
            Some(next) if question.after == Some(next) => return Err(repeats(next)),
            next => question.after = next,
        }
    }
}

fn repeats(next: CallId) -> Failure {
    Failure::new(ExitCode::Failed, format!("the switch repeats the calls behind {next}"))
}

pub(super) fn rerate(arguments: Rerate, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let question = request::Rerate {
        filter: arguments.filter.into(),
        group: arguments.group,
        stored: arguments.stored,
        deck: arguments.deck.as_ref().map(read_file).transpose()?,
        rates_at: arguments.rates_at,
        fp: arguments.fp,
        fu: arguments.fu,
        hold_precision: arguments.hold_precision,
        free: arguments.free,
        quantise: arguments.quantise,
        memo: arguments.memo,
        ..request::Rerate::default()
    };
    let preview = all(question.clone(), client)?;
    output.object(&preview.reply(), |output, _| text(output, &preview))?;
    output.flush()?;
    if arguments.stored && preview.changed > 0 && !arguments.apply {
        let message = format!("{} calls are charged otherwise than their records prove", preview.changed);
        return Err(Failure::new(ExitCode::Failed, message));
    }
    if !arguments.apply || preview.changed == 0 {
        return Ok(());
    }
    if arguments.commit.decide(&format!("Correct {} calls?", preview.changed))? == Decision::Stop {
        return Ok(());
    }
    let run = arguments.run.unwrap_or_else(|| jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S").to_string());
    let done = all(request::Rerate { apply: Some(run.clone()), ..question }, client).map_err(|failure| {
        let again = "what is booked stays booked; the same command goes on where it stopped";
        Failure::new(failure.code, format!("{}; {again}", failure.message))
    })?;
    super::note(&format!("{} calls corrected by run {run}", done.corrected));
    Ok(())
}

pub(super) fn replay(arguments: Replay, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let filter = request::CdrFilter {
        account: arguments.account,
        from: Some(arguments.since.0),
        to: arguments.until,
        answered: Some(true),
        ..request::CdrFilter::default()
    };
    let question = request::Rerate {
        filter,
        group: arguments.group,
        deck: Some(read_file(&arguments.deck)?),
        all_begun: arguments.rates_at.is_none(),
        rates_at: arguments.rates_at,
        ..request::Rerate::default()
    };
    let totals = all(question, client)?;
    if let Some(file) = &arguments.html {
        let title = format!("Replay of {}", arguments.deck.display());
        std::fs::write(file, replay_html::page(&title, &totals))
            .map_err(|error| Failure::bad(format!("{} cannot be written: {error}", file.display())))?;
    }
    output.object(&totals.reply(), |output, _| {
        text(output, &totals)?;
        bars(output, &totals)
    })
}

/// Rows of a table or chart; `-o json` has them all.
const SHOWN: usize = 25;

/// What every report begins with.
pub(super) fn facts(totals: &Totals) -> [(&'static str, String); 6] {
    let (old, new) = totals.margin;
    [
        ("calls", totals.calls.to_string()),
        ("come to something else", totals.changed.to_string()),
        ("without a rate", totals.no_rate.to_string()),
        ("without proof", totals.no_proof.to_string()),
        ("cannot be rated", totals.failed.to_string()),
        ("margin", format!("{old} -> {new} ({}) {}", signed(less(new, old)), totals.currency)),
    ]
}

fn text(output: &mut Output, totals: &Totals) -> Result<(), Failure> {
    output.pairs(&facts(totals))?;
    for (title, map) in [("account", &totals.accounts), ("prefix", &totals.destinations)] {
        let rows = Totals::largest(map);
        if rows.is_empty() {
            continue;
        }
        output.line("")?;
        let lines: Vec<Vec<String>> = rows.iter().take(SHOWN).map(|(key, sum)| line(key, sum)).collect();
        let titles =
            [title, "side", "name", ">calls", ">old min", ">new min", ">old", ">new", ">difference", ">no rate"];
        output.table(&titles, &lines)?;
        super::note_cut(lines.len(), rows.len() as u64, "-o json has all of them");
    }
    Ok(())
}

fn line((side, key): &(String, String), sum: &Sum) -> Vec<String> {
    vec![
        if key.is_empty() { "none".to_owned() } else { key.clone() },
        side.clone(),
        sum.name.clone(),
        sum.calls.to_string(),
        minutes(sum.seconds.0),
        minutes(sum.seconds.1),
        sum.old.to_string(),
        sum.new.to_string(),
        signed(less(sum.new, sum.old)),
        if sum.no_rate == 0 { String::new() } else { format!("{} ({})", sum.no_rate, sum.no_rate_old) },
    ]
}

/// Seconds as minutes with one decimal, rounded down.
pub(super) fn minutes(seconds: i64) -> String {
    format!("{}.{}", seconds / 60, seconds % 60 / 6)
}

pub(super) fn signed(amount: Money) -> String {
    if amount.is_zero() || amount.is_negative() { amount.to_string() } else { format!("+{amount}") }
}

/// Characters of the longest bar.
const BAR: u32 = 40;

/// The differences by destination, as bars to the left (less) and to the right (more).
fn bars(output: &mut Output, totals: &Totals) -> Result<(), Failure> {
    let rows = Totals::largest(&totals.destinations);
    let rows: Vec<_> = rows.into_iter().filter(|(_, sum)| sum.new != sum.old).take(SHOWN).collect();
    let Some(most) = rows.first().map(|(_, sum)| less(sum.new, sum.old).amount().abs()) else { return Ok(()) };
    output.line("")?;
    for ((_, key), sum) in rows {
        let difference = less(sum.new, sum.old);
        let part = difference.amount().abs().checked_div(most).unwrap_or_default() * rust_decimal::Decimal::from(BAR);
        let length: usize = part.round().try_into().unwrap_or(0);
        let bar = if difference.is_negative() { "-" } else { "+" }.repeat(length.max(1));
        output.line(&format!("{key:>12} {bar} {}", signed(difference)))?;
    }
    Ok(())
}
