//! The report of a replay: one HTML file with its plots inside, that needs nothing else and no network.

use std::fmt::Write as _;

use rust_decimal::Decimal;

use super::rerate::{Sum, Totals, facts, less, minutes, signed};

/// Rows of a plot and of a table.
const SHOWN: usize = 100;
/// Bars of the plot.
const BARS: usize = 30;
/// Geometry of the plot, px: half of the width for each direction, height of a bar.
const HALF: i64 = 260;
const LABELS: i64 = 200;
const BAR: i64 = 20;

const STYLE: &str = "body{font:14px/1.4 system-ui,sans-serif;margin:2em;max-width:60em;color:#222;background:#fff}\
table{border-collapse:collapse;margin:1em 0}td,th{padding:.2em .8em;border-bottom:1px solid #ddd;text-align:left}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}svg text{font:12px system-ui,sans-serif}";

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// The whole page.
pub(super) fn page(title: &str, totals: &Totals) -> String {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title><style>{STYLE}</style></head>\
         <body><h1>{0}</h1>\n<table>\n",
        escaped(title)
    );
    for (name, value) in facts(totals) {
        // Writing to a String cannot fail.
        let _ = writeln!(html, "<tr><th>{name}</th><td class=\"n\">{}</td></tr>", escaped(&value));
    }
    html.push_str("</table>\n");
    for (title, map) in [("By destination", &totals.destinations), ("By account", &totals.accounts)] {
        let rows = Totals::largest(map);
        let _ = writeln!(html, "<h2>{title}</h2>");
        plot(&mut html, &rows);
        table(&mut html, &rows);
    }
    html.push_str("</body></html>\n");
    html
}

type Rows<'a> = [(&'a (String, String), &'a Sum)];

/// Differences as bars to both sides of a line.
fn plot(html: &mut String, rows: &Rows<'_>) {
    let rows: Vec<_> = rows.iter().filter(|(_, sum)| sum.new != sum.old).take(BARS).collect();
    let Some(most) = rows.first().map(|(_, sum)| less(sum.new, sum.old).amount().abs()) else {
        html.push_str("<p>Nothing comes to something else.</p>\n");
        return;
    };
    let (width, height) = (LABELS + 2 * HALF + 200, BAR * (rows.len() as i64 + 1));
    let zero = LABELS + HALF;
    let _ = writeln!(html, "<svg width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"differences\">");
    for (n, ((_, key), sum)) in rows.into_iter().enumerate() {
        let difference = less(sum.new, sum.old);
        let part = difference.amount().abs().checked_div(most).unwrap_or_default() * Decimal::from(HALF);
        let length = i64::try_from(part.round()).unwrap_or(0).max(1);
        let (x, colour) = if difference.is_negative() { (zero - length, "#c0392b") } else { (zero, "#27803b") };
        let (y, label) = (BAR * n as i64 + 4, escaped(&format!("{key} {}", sum.name)));
        let text_y = y + BAR - 8;
        let _ = writeln!(
            html,
            "<text x=\"0\" y=\"{text_y}\">{label}</text><rect x=\"{x}\" y=\"{y}\" width=\"{length}\" height=\"{}\" \
             fill=\"{colour}\"/><text x=\"{}\" y=\"{text_y}\">{}</text>",
            BAR - 6,
            zero + HALF + 10,
            escaped(&signed(difference))
        );
    }
    let _ = writeln!(html, "<line x1=\"{zero}\" y1=\"0\" x2=\"{zero}\" y2=\"{height}\" stroke=\"#888\"/></svg>");
}

fn table(html: &mut String, rows: &Rows<'_>) {
    html.push_str("<table><tr><th></th><th>side</th><th>name</th>");
    for title in ["calls", "old min", "new min", "old", "new", "difference", "no rate", "their charge"] {
        let _ = write!(html, "<th class=\"n\">{title}</th>");
    }
    html.push_str("</tr>\n");
    for ((side, key), sum) in rows.iter().take(SHOWN) {
        let _ = write!(html, "<tr><td>{}</td><td>{side}</td><td>{}</td>", escaped(key), escaped(&sum.name));
        for cell in [
            sum.calls.to_string(),
            minutes(sum.seconds.0),
            minutes(sum.seconds.1),
            sum.old.to_string(),
            sum.new.to_string(),
            signed(less(sum.new, sum.old)),
            sum.no_rate.to_string(),
            sum.no_rate_old.to_string(),
        ] {
            let _ = write!(html, "<td class=\"n\">{}</td>", escaped(&cell));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</table>\n");
    if rows.len() > SHOWN {
        let _ = writeln!(html, "<p>{SHOWN} of {} rows.</p>", rows.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_whole_and_safe() {
        let mut totals = Totals { calls: 3, currency: "USD".to_owned(), ..Totals::default() };
        for (key, old, new) in [("44", "1.5", "2"), ("49", "3", "1")] {
            let sum =
                Sum { name: "<b>".to_owned(), old: old.parse().unwrap(), new: new.parse().unwrap(), ..Sum::default() };
            totals.destinations.insert(("customer".to_owned(), key.to_owned()), sum);
        }
        let html = page("a & b", &totals);
        assert!(html.starts_with("<!doctype html>") && html.trim_end().ends_with("</html>"));
        assert!(html.contains("a &amp; b") && html.contains("&lt;b&gt;") && !html.contains("<b>"));
        assert!(html.contains("-2") && html.contains("+0.5"), "{html}");
        assert_eq!(html.matches("<rect").count(), 2);
        // The larger difference has the whole length, the other a quarter of it.
        assert!(html.contains("width=\"260\"") && html.contains("width=\"65\""), "{html}");
        assert!(!html.contains("http"), "it needs no network");
    }
}
