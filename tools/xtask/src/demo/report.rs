//! What the calls came to: records, money, packets, times, one ladder.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::folder::Folder;
use super::packets::Account;
use super::sipp::{self, CustomerCount};
use super::switch::Switch;

/// Rows of the table of records; `cdr.json` has them all.
const ROWS: &str = "25";

/// What `--out` leaves, and what the verdict looks at.
pub(super) struct Outcome {
    /// Records of the switch.
    pub(super) records: u64,
    /// Packets relayed caller to vendor, vendor to caller.
    pub(super) relayed: (u64, u64),
    /// Packets by path.
    pub(super) account: Account,
    cdr: String,
    summary: Value,
    ladder: String,
}

/// Prints everything; `arrived` are packets counted at vendor and customer, when somebody counted.
///
/// # Errors
/// What `tandem` complained about.
pub(super) fn print(
    switch: &Switch,
    folder: &Folder,
    customer: &CustomerCount,
    totals: &Value,
    arrived: Option<(u64, u64)>,
) -> Result<Outcome> {
    let number = |name: &str| totals[name].as_u64().unwrap_or(0);
    let amount = |name: &str| totals[name].as_str().unwrap_or("0").to_owned();
    let cdr = switch.tandem(&["cdr", "list", "--all", "--oldest-first", "-o", "json"])?;
    let records = number("calls");

    heading(&format!("rated calls ({records})"));
    print!("{}", switch.tandem(&["cdr", "list", "--oldest-first", "--limit", ROWS])?);
    if records > ROWS.parse().unwrap_or(0) {
        println!("... the first {ROWS} of {records}");
    }

    heading("money");
    let currency = totals["currency"].as_str().unwrap_or_default();
    for (name, value) in [("fee", amount("fee")), ("cost", amount("cost")), ("margin", amount("margin"))] {
        println!("{name:<8} {value:>14} {currency}");
    }
    print!("{}", switch.tandem(&["account", "list"])?);

    heading("audio, RTP packets");
    let relayed = (number("rtp_relayed_a_to_b"), number("rtp_relayed_b_to_a"));
    let sent_by_vendor = sipp::sent_by_vendor(folder);
    let number_or = |count: Option<u64>, or: &str| count.map_or(or.to_owned(), |count| count.to_string());
    println!("{:<22} {:>12} {:>12} {:>12} {:>14}", "", "SIPp sent", "relayed", "arrived", "SIPp received");
    let here = arrived.map(|(vendor, customer)| [customer, vendor]);
    for (n, (what, sent, relayed, received)) in [
        ("vendor to customer", sent_by_vendor, relayed.1, number_or(customer.echoed, "unknown")),
        ("customer to vendor", customer.echoed, relayed.0, "not counted".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        let arrived = number_or(here.map(|counts| counts[n]), "not counted");
        println!("{what:<22} {:>12} {relayed:>12} {arrived:>12} {received:>14}", number_or(sent, "unknown"));
    }
    for (what, count, relayed) in [
        ("vendor sent", sent_by_vendor, relayed.1),
        ("customer received", customer.echoed, relayed.1),
        ("customer sent", customer.echoed, relayed.0),
    ] {
        if let Some(count) = count.filter(|count| *count != relayed) {
            println!("note: {what} {count}, relayed {relayed}: {} apart", count.abs_diff(relayed));
        }
    }

    let rows: Value = serde_json::from_str(&cdr).context("tandem cdr list wrote no JSON")?;
    let account = Account::ask(switch, &rows, relayed, arrived)?;
    println!("{}", account.told());

    heading("tandem media show");
    print!("{}", switch.tandem(&["media", "show"])?);
    heading("tandem media audit: what kernel and user space forwarded, and where the records have it");
    print!("{}", switch.tandem(&["media", "audit"])?);

    heading("set-up times, ms");
    let status = switch.status()?;
    println!("{:<44} {:>9} {:>9} {:>9} {:>9} {:>9}", "", "p50", "p90", "p99", "p99.9", "max");
    times("INVITE to 180 (SIPp's clock, steps of 4 ms)", &customer.ringing_ms);
    times("INVITE to 200 (the vendor rings 100 ms)", &customer.answer_ms);
    for (name, what) in [
        ("pdd_us", "INVITE in to 18x out (switch, vendor included)"),
        ("routing_us", "INVITE in to INVITE out (switch)"),
    ] {
        switch_times(what, name, &status["counters"]);
    }

    let ladder = one_ladder(switch, &rows)?;
    heading("one call");
    print!("{ladder}");

    let summary = json!({
        "calls_placed": customer.placed,
        "calls_answered": customer.answered,
        "calls_failed": customer.failed,
        "cdrs": records,
        "fee_total": amount("fee"),
        "cost_total": amount("cost"),
        "margin_total": amount("margin"),
        "currency": currency,
        "rtp_sent_by_customer": customer.echoed,
        "rtp_received_by_customer": customer.echoed,
        "rtp_sent_by_vendor": sent_by_vendor,
        "rtp_relayed_a_to_b": relayed.0,
        "rtp_relayed_b_to_a": relayed.1,
        "rtp_arrived_at_vendor": arrived.map(|(vendor, _)| vendor),
        "rtp_arrived_at_customer": arrived.map(|(_, customer)| customer),
        "audio": account.summary(),
        "sip_retransmissions_by_customer": customer.retransmissions,
        "setup_ms": {
            "invite_to_180": percentiles(&customer.ringing_ms),
            "invite_to_200": percentiles(&customer.answer_ms),
        },
    });
    println!(
        "\n{} calls placed, {} answered, {} failed, {records} CDRs",
        customer.placed, customer.answered, customer.failed
    );
    Ok(Outcome { records, relayed, account, cdr, summary, ladder })
}

impl Outcome {
    /// Leaves the three files.
    ///
    /// # Errors
    /// The file that cannot be written.
    pub(super) fn save(&self, folder: &Path) -> Result<()> {
        let summary = serde_json::to_string_pretty(&self.summary).context("the summary is no JSON")? + "\n";
        for (name, text) in [("cdr.json", &self.cdr), ("summary.json", &summary), ("ladder.txt", &self.ladder)] {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

fn heading(text: &str) {
    println!("\n== {text}");
}

/// The ladder of the first answered call, or of the first one at all.
fn one_ladder(switch: &Switch, rows: &Value) -> Result<String> {
    let rows = rows.as_array().map_or(&[][..], Vec::as_slice);
    let Some(row) = rows.iter().find(|row| !row["connect_ms"].is_null()).or(rows.first()) else {
        return Ok("no call\n".to_owned());
    };
    switch.tandem(&["trace", &row["flow_no"].to_string()])
}

fn histogram(values: &[u64]) -> Option<Histogram<u64>> {
    // Three digits, any length: a call cannot last longer than SIPp lets it.
    let mut histogram = Histogram::new(3).ok()?;
    values.iter().for_each(|value| histogram.saturating_record(*value));
    (!histogram.is_empty()).then_some(histogram)
}

const QUANTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)];

fn percentiles(values: &[u64]) -> Value {
    let Some(histogram) = histogram(values) else { return Value::Null };
    let pairs = QUANTILES.iter().map(|(name, quantile)| (*name, histogram.value_at_quantile(*quantile)));
    pairs.map(|(name, value)| (name.to_owned(), Value::from(value))).collect()
}

fn times(what: &str, values: &[u64]) {
    let Some(histogram) = histogram(values) else { return };
    let cells = QUANTILES.map(|(_, quantile)| format!("{:>9}", histogram.value_at_quantile(quantile)));
    println!("{what:<44} {}", cells.join(" "));
}

/// Percentiles that the switch keeps itself, in microseconds.
fn switch_times(what: &str, name: &str, counters: &Value) {
    let cells: Vec<String> = QUANTILES
        .iter()
        .filter_map(|(quantile, _)| counters[format!("{name}_{quantile}")].as_u64())
        .map(|us| format!("{:>9}", format!("{}.{:03}", us / 1000, us % 1000)))
        .collect();
    if !cells.is_empty() {
        println!("{what:<44} {}", cells.join(" "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_nothing_are_null() {
        assert_eq!(percentiles(&[]), Value::Null);
        assert_eq!(percentiles(&[4, 4, 8])["max"], 8);
        assert_eq!(percentiles(&[0])["p50"], 0);
    }
}
