//! The report of a day as one HTML file: tables and plots, nothing from elsewhere, readable without a network and printable.

use std::fmt::Write as _;

use tandem_control::reply::{ReportDay, ReportRow};

use super::report::key;

/// Bars in a plot: more could not be read. The tables under them have every row.
const BARS_MAX: usize = 15;

const STYLE: &str = "body{font:14px/1.4 system-ui,sans-serif;margin:2em auto;max-width:62em;color:#222}\
h1{font-size:1.5em}h2{font-size:1.15em;margin:2em 0 .5em}table{border-collapse:collapse;width:100%;font-size:13px}\
td,th{padding:.2em .6em;text-align:right;border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}\
svg{width:100%;height:auto;display:block}svg text{font:11px system-ui,sans-serif;fill:#333}.bar{fill:#2f6db5}\
.answered{fill:#2f6db5}.rest{fill:#c9d6e6}.loss{fill:#b5452f}details{margin:.5em 0}summary{cursor:pointer;color:#555}\
@media print{details{display:none}}";

/// The page.
pub(super) fn page(report: &ReportDay) -> String {
    let day = format!("{}-{:02}-{:02}", report.day / 10_000, report.day / 100 % 100, report.day % 100);
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Calls of {day}</title><style>{STYLE}</style></head><body>\n\
         <h1>Calls of {day}, {}</h1>\n",
        escape(&report.node)
    );
    let of = |by: &str| -> Vec<&ReportRow> { report.rows.iter().filter(|row| row.by == by).collect() };
    match of("total").first() {
        None => html.push_str("<p>There were no calls.</p>\n"),
        Some(total) => {
            let _ = writeln!(
                html,
                "<p>{} calls, {} answered: ASR {} %, ACD {} s. Held {} s, billed {} s.<br>Fee {}, tax {}, cost {}, margin <b>{}</b> {}.</p>",
                total.calls,
                total.answered,
                total.asr_pct,
                if total.acd_s.is_empty() { "-" } else { &total.acd_s },
                total.hold_s,
                total.billed_s,
                total.fee,
                total.tax,
                total.cost,
                total.margin,
                escape(&report.currency)
            );
        }
    }
    section(&mut html, "Calls per hour", &hours(&of("hour")), &of("hour"));
    let calls = |row: &&ReportRow| -row.calls as f64;
    for (title, by) in [("Mapping gateways: ASR and ACD", "gateway"), ("Routing gateways: ASR and ACD", "routing")] {
        let rows = sorted(of(by), calls);
        let bars = rows.iter().map(|row| {
            let acd = if row.acd_s.is_empty() { "-" } else { &row.acd_s };
            (key(row), number(&row.asr_pct), format!("ASR {} %, ACD {acd} s, {} calls", row.asr_pct, row.calls))
        });
        section(&mut html, title, &plot(bars, Some(100.0)), &rows);
    }
    let rows = sorted(of("account"), |row| -number(&row.margin));
    let bars = rows.iter().map(|row| (key(row), number(&row.margin), format!("{} of {}", row.margin, row.fee)));
    section(&mut html, &format!("Margin by account, {}", escape(&report.currency)), &plot(bars, None), &rows);
    for (title, by) in [("Top destinations: calls", "area"), ("End reasons: calls", "end-reason")] {
        let rows = sorted(of(by), calls);
        let bars = rows.iter().map(|row| (key(row), row.calls as f64, row.calls.to_string()));
        section(&mut html, title, &plot(bars, None), &rows);
    }
    let rows = sorted(of("vendor"), |row| -number(&row.cost));
    let bars = rows.iter().map(|row| (key(row), number(&row.cost), row.cost.clone()));
    section(&mut html, &format!("Cost by vendor, {}", escape(&report.currency)), &plot(bars, None), &rows);
    html.push_str("</body></html>\n");
    html
}

/// For the length of a bar only; tables have the amounts as they are.
fn number(text: &str) -> f64 {
    text.parse().unwrap_or(0.0)
}

fn sorted<'a>(mut rows: Vec<&'a ReportRow>, by: impl Fn(&&'a ReportRow) -> f64) -> Vec<&'a ReportRow> {
    rows.sort_by(|a, b| by(a).total_cmp(&by(b)));
    rows
}

fn section(html: &mut String, title: &str, plot: &str, rows: &[&ReportRow]) {
    if rows.is_empty() {
        return;
    }
    let _ = write!(
        html,
        "<h2>{title}</h2>\n{plot}<details><summary>{} rows</summary><table><tr><th>key</th><th>calls</th><th>answered</th><th>ASR %</th>\
         <th>ACD s</th><th>billed s</th><th>fee</th><th>tax</th><th>cost</th><th>margin</th></tr>\n",
        rows.len()
    );
    for row in rows {
        let cells = [
            row.calls.to_string(),
            row.answered.to_string(),
            row.asr_pct.clone(),
            row.acd_s.clone(),
            row.billed_s.to_string(),
            row.fee.clone(),
            row.tax.clone(),
            row.cost.clone(),
            row.margin.clone(),
        ];
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
        let _ = writeln!(html, "<tr><td>{}</td>{cells}</tr>", escape(&key(row)));
    }
    html.push_str("</table></details>\n");
}

/// Lying bars; what is below 0 is of another colour.
fn plot(bars: impl Iterator<Item = (String, f64, String)>, max: Option<f64>) -> String {
    let bars: Vec<(String, f64, String)> = bars.take(BARS_MAX).collect();
    let longest = max.unwrap_or_else(|| bars.iter().map(|(_, value, _)| value.abs()).fold(0.0, f64::max)).max(1e-9);
    let mut svg = format!("<svg viewBox=\"0 0 860 {}\" role=\"img\">", bars.len() * 22 + 4);
    for (n, (name, value, text)) in bars.iter().enumerate() {
        let (y, width) = (n * 22 + 4, (value.abs() / longest).min(1.0) * 400.0);
        let class = if *value < 0.0 { "loss" } else { "bar" };
        let name: String = name.chars().take(34).collect();
        let _ = write!(
            svg,
            "<text x=\"200\" y=\"{}\" text-anchor=\"end\">{}</text><rect class=\"{class}\" x=\"208\" y=\"{y}\" width=\"{width:.1}\" \
             height=\"16\"/><text x=\"{:.1}\" y=\"{}\">{}</text>",
            y + 12,
            escape(&name),
            214.0 + width,
            y + 12,
            escape(text)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// Standing bars for the 24 hours: answered calls, and the others on top.
fn hours(rows: &[&ReportRow]) -> String {
    let most = rows.iter().map(|row| row.calls).max().unwrap_or(0).max(1) as f64;
    let mut svg = "<svg viewBox=\"0 0 860 190\" role=\"img\">".to_owned();
    for hour in 0..24 {
        let row = rows.iter().find(|row| row.key == format!("{hour:02}"));
        let (calls, answered) = row.map_or((0, 0), |row| (row.calls, row.answered));
        let height = |calls: i64| calls as f64 / most * 140.0;
        let (x, all, part) = (hour * 35 + 12, height(calls), height(answered));
        let _ = write!(
            svg,
            "<rect class=\"rest\" x=\"{x}\" y=\"{:.1}\" width=\"27\" height=\"{:.1}\"><title>{calls} calls, {answered} answered</title></rect>\
             <rect class=\"answered\" x=\"{x}\" y=\"{:.1}\" width=\"27\" height=\"{part:.1}\"/>\
             <text x=\"{}\" y=\"180\" text-anchor=\"middle\">{hour:02}</text>",
            165.0 - all,
            all - part,
            165.0 - part,
            x + 13
        );
        if calls > 0 {
            let _ =
                write!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"middle\">{calls}</text>", x + 13, 160.0 - all);
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Names come from strangers.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(by: &str, key: &str, calls: i64, margin: &str) -> ReportRow {
        ReportRow {
            by: by.to_owned(),
            key: key.to_owned(),
            calls,
            answered: calls / 2,
            asr_pct: "50.00".to_owned(),
            acd_s: "61.5".to_owned(),
            margin: margin.to_owned(),
            fee: "1".to_owned(),
            cost: "2".to_owned(),
            ..ReportRow::default()
        }
    }

    #[test]
    fn the_page_has_every_section_and_nothing_from_elsewhere() {
        let by = ["total", "hour", "gateway", "routing", "account", "area", "end-reason", "vendor"];
        let mut rows: Vec<ReportRow> = by.iter().map(|by| row(by, "07", 10, "-0.5")).collect();
        rows.push(row("account", "<script>alert(\"x\")</script>", 3, "2.25"));
        let report = ReportDay { day: 20_261_122, currency: "USD".to_owned(), node: "n<1>".to_owned(), rows };
        let html = page(&report);
        for words in [
            "Calls of 2026-11-22, n&lt;1&gt;",
            "Calls per hour",
            "Mapping gateways",
            "Routing gateways",
            "Margin by account, USD",
            "Top destinations",
            "End reasons",
            "class=\"loss\"",
            "ASR 50.00 %, ACD 61.5 s, 10 calls",
            "&lt;script&gt;",
        ] {
            assert!(html.contains(words), "{words} in {html}");
        }
        for words in ["<script", "http", "href", "src=", "url("] {
            assert!(!html.contains(words), "{words} in {html}");
        }
        assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
        assert_eq!(html.matches("<svg").count(), 7);
    }

    #[test]
    fn a_day_without_calls_says_so() {
        let html = page(&ReportDay { day: 20_261_122, ..ReportDay::default() });
        assert!(html.contains("There were no calls") && !html.contains("<svg"), "{html}");
    }
}
