//! Rows and versions of a rate group.

use clap::Args;
use tandem_control::request::{self, RateSort};
use tandem_control::{Limit, When, reply};

use super::{DIFFERENCES, differences, preview_text};
use crate::client::Client;
use crate::commands::note_cut;
use crate::failure::Failure;
use crate::human;
use crate::output::{Format, List, Output};

#[derive(Args)]
pub(crate) struct Show {
    /// Rate group
    #[arg(long, value_name = "GROUP")]
    group: String,
    /// Prefix; one that ends in * is a beginning
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// A called number: the rows that could price it, the one that does first
    #[arg(long, value_name = "NUMBER", conflicts_with = "prefix")]
    number: Option<String>,
    /// Part of the name of the destination
    #[arg(long, value_name = "TEXT")]
    area: Option<String>,
    /// Rows in force at TIME instead of now
    #[arg(long, value_name = "TIME")]
    at: Option<When>,
    /// Rows of the past and of the future too
    #[arg(long)]
    all: bool,
    /// Only forbidden destinations
    #[arg(long)]
    locked: bool,
    /// Order
    #[arg(long, default_value = "prefix")]
    sort: Sort,
    /// The other way round
    #[arg(long)]
    descending: bool,
    /// Most rows
    #[arg(long, value_name = "R", default_value = "100")]
    limit: Limit,
    /// Rows to leave out first
    #[arg(long, value_name = "R", default_value_t = 0)]
    offset: u64,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Sort {
    Prefix,
    Price,
    Area,
    From,
}

impl From<Sort> for RateSort {
    fn from(sort: Sort) -> RateSort {
        match sort {
            Sort::Prefix => RateSort::Prefix,
            Sort::Price => RateSort::Price,
            Sort::Area => RateSort::Area,
            Sort::From => RateSort::From,
        }
    }
}

const ROWS: List<'_, reply::RateRow> = List {
    fields: &[
        "prefix",
        "area",
        "rate_per_min",
        "first_s",
        "period",
        "conn_fee",
        "tax",
        "sections",
        "level",
        "lock",
        "state",
        "from_ms",
        "to_ms",
        "fee_prefix",
        "rate_id",
        "memo",
    ],
    titles: &["prefix", "area", ">per minute", "blocks", "", "from", "to", ">row"],
    line: |row| {
        let mut remarks = Vec::new();
        if row.lock {
            remarks.push("locked");
        }
        if row.state != "now" {
            remarks.push(&row.state);
        }
        vec![
            row.prefix.clone(),
            row.area.clone(),
            row.rate_per_min.clone(),
            format!("{}/{}", row.first_s, row.period),
            remarks.join(" "),
            human::time(row.from_ms),
            human::time(row.to_ms),
            row.rate_id.to_string(),
        ]
    },
};

pub(super) fn show(show: Show, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let offset = show.offset;
    let reply = client.ask(request::RatesShow {
        group: show.group,
        prefix: show.prefix,
        number: show.number,
        area: show.area,
        at: show.at,
        all: show.all,
        locked: show.locked,
        sort: show.sort.into(),
        descending: show.descending,
        limit: show.limit,
        offset,
    })?;
    output.list(&ROWS, &reply.rows)?;
    note_cut(reply.rows.len(), reply.total.saturating_sub(offset), "--limit and --offset show others");
    Ok(())
}

#[derive(Args)]
pub(crate) struct History {
    /// Rate group
    #[arg(long, value_name = "GROUP")]
    group: String,
    /// Most rows
    #[arg(long, value_name = "R", default_value = "100")]
    limit: Limit,
    /// Rows to leave out first
    #[arg(long, value_name = "R", default_value_t = 0)]
    offset: u64,
}

const VERSIONS: List<'_, reply::RateVersionRow> = List {
    fields: &["version", "at_ms", "user", "how", "rows", "site_version", "source", "changes", "comment"],
    titles: &[">version", "when", "who", "how", ">rows", "changes", "source", "comment"],
    line: |row| {
        vec![
            row.version.to_string(),
            human::time(Some(row.at_ms)),
            row.user.clone(),
            row.how.clone(),
            human::or_dash(row.rows),
            row.changes.clone(),
            row.source.clone(),
            row.comment.clone(),
        ]
    },
};

pub(super) fn history(history: History, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let offset = history.offset;
    let reply = client.ask(request::RatesHistory { group: history.group, limit: history.limit, offset })?;
    output.list(&VERSIONS, &reply.rows)?;
    note_cut(reply.rows.len(), reply.total.saturating_sub(offset), "--limit and --offset show others");
    Ok(())
}

#[derive(Args)]
pub(crate) struct Compare {
    /// The earlier version
    from: u64,
    /// The later version; the one in force when missing
    to: Option<u64>,
    /// Rate group
    #[arg(long, value_name = "GROUP")]
    group: String,
    /// Examples of each kind of change in text
    #[arg(long, value_name = "N")]
    top: Option<u32>,
}

pub(super) fn compare(compare: Compare, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let question =
        request::RatesCompare { group: compare.group, from: compare.from, to: compare.to, examples: compare.top };
    let reply = client.ask(question)?;
    if output.format != Format::Text {
        let rows = reply.preview.map_or(Ok(Vec::new()), |preview| differences(preview, client))?;
        return output.list(&DIFFERENCES, &rows);
    }
    preview_text(output, &reply)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::tests::covers;

    #[test]
    fn csv_has_every_field_of_the_row() {
        covers(ROWS.fields, &reply::RateRow::default());
        covers(VERSIONS.fields, &reply::RateVersionRow::default());
    }
}
