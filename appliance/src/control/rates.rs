//! Rate groups: lists, rows, versions, export; [`prepare`] has what changes them.

mod prepare;

use std::cmp::Ordering;

use tandem_control::error::{ErrorCode, ErrorObject};
use tandem_control::reply;
use tandem_control::request::{EXPORT_ROWS_MAX, RateSort, RatesDrop, RatesHistory, RatesShow};
use tandem_control::when::When;
use tandem_rating::deck_csv;
use tandem_rating::rate::Row;
use tandem_rating::record::{Actor, DeckText};

use super::change::{DeckChange, Proposal};
use super::{Control, Reply, StoredDeck, internal, reply};
use crate::site::Site;

pub(super) use prepare::Imports;

/// The instant that a parameter names.
fn instant(field: &str, when: &When) -> Result<i64, ErrorObject> {
    let out_of_range = || ErrorObject::bad_value(field, "a day", "a day within the calendar");
    // The zone of the server is UTC until one can be set.
    when.start_ms(&jiff::tz::TimeZone::UTC).ok_or_else(out_of_range)
}

impl Control {
    /// The group as it is, or that there is none.
    fn deck(&self, group: &str) -> Result<StoredDeck, ErrorObject> {
        let state = self.state.borrow();
        state.decks.get(group).cloned().ok_or_else(|| {
            let names: Vec<&String> = state.decks.keys().collect();
            ErrorObject::not_found("rate group", group, &names)
        })
    }

    pub(super) fn rates_export(&self, group: &str, offset: u64) -> Reply {
        let deck = self.deck(group)?;
        let mut csv = if offset == 0 { deck_csv::header_line() } else { String::new() };
        let first = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut rows = 0;
        for row in deck.deck.iter().skip(first).take(EXPORT_ROWS_MAX as usize) {
            deck_csv::export_row(&row.rate(), &mut csv);
            rows += 1;
        }
        let total = deck.deck.len() as u64;
        reply(&reply::RatesExported { group: group.to_owned(), version: deck.version, total, rows, csv })
    }

    pub(super) fn rates_list(&self) -> Reply {
        let state = self.state.borrow();
        let mut rows: Vec<_> = state
            .decks
            .iter()
            .map(|(group, deck)| reply::RateGroupRow {
                group: group.clone(),
                rows: deck.deck.len() as u64,
                version: deck.version,
                accounts: state.site.account.values().filter(|a| a.rate_group == *group).count() as u64,
                changed_ms: Some(deck.changed_ms),
            })
            .collect();
        rows.sort_unstable_by(|a, b| a.group.cmp(&b.group));
        reply(&reply::RatesList { total: rows.len() as u64, rows })
    }

    pub(super) fn rates_show(&self, q: RatesShow) -> Reply {
        let deck = self.deck(&q.group)?;
        let at_ms = match &q.at {
            Some(when) => instant("at", when)?,
            None => self.state.borrow().clock.now().wall_ms,
        };
        let area = q.area.as_ref().map(|area| area.to_lowercase());
        let fits = |row: &Row<'_>| {
            let prefix = match (&q.prefix, &q.number) {
                (Some(wanted), _) => match wanted.strip_suffix('*') {
                    Some(begin) => row.prefix().starts_with(begin),
                    None => row.prefix() == wanted,
                },
                (None, _) => true,
            };
            prefix
                && q.number.as_ref().is_none_or(|number| number.starts_with(row.prefix()))
                && (q.all || row.is_valid_at(at_ms))
                && (!q.locked || row.is_locked())
                && area.as_ref().is_none_or(|area| row.area_name().to_lowercase().contains(area))
        };
        let mut found: Vec<Row<'_>> = deck.deck.iter().filter(fits).collect();
        let total = found.len() as u64;
        let order = |a: &Row<'_>, b: &Row<'_>| match q.sort {
            // Rows stand by prefix; the longest that begins a number is the one that prices it.
            RateSort::Prefix if q.number.is_some() => b.prefix().len().cmp(&a.prefix().len()),
            RateSort::Prefix => Ordering::Equal,
            RateSort::Price => a.rate_per_min().cmp(&b.rate_per_min()),
            RateSort::Area => a.area_name().cmp(b.area_name()),
            RateSort::From => a.validity_ms().0.cmp(&b.validity_ms().0),
        };
        found.sort_by(order);
        if q.descending {
            found.reverse();
        }
        let first = usize::try_from(q.offset).unwrap_or(usize::MAX);
        let page = found.into_iter().skip(first).take(q.limit.rows() as usize);
        let rows = page.map(|row| shown(&row, at_ms)).collect();
        reply(&reply::RatesShow { group: q.group, version: deck.version, total, rows })
    }

    pub(super) async fn rates_history(&self, q: RatesHistory) -> Reply {
        let (group, limit, offset) = (q.group.clone(), q.limit.rows() as usize, q.offset);
        let (versions, total) = self
            .query(move |queries| queries.deck_versions(&group, limit, offset).map_err(|e| internal(e.to_string())))
            .await?;
        if total == 0 {
            self.deck(&q.group)?;
        }
        let rows = versions
            .into_iter()
            .map(|version| reply::RateVersionRow {
                version: version.version,
                at_ms: version.at_ms,
                user: version.user,
                how: if version.how.is_empty() { "import".to_owned() } else { version.how },
                rows: version.rows,
                site_version: version.site_version,
                source: version.source,
                changes: own_lines(&q.group, &version.changes),
                comment: version.comment,
            })
            .collect();
        reply(&reply::RatesHistory { total, rows })
    }

    pub(super) async fn rates_drop(&self, actor: &Actor, command: &str, q: RatesDrop) -> Reply {
        let _one = self.changing.lock().await;
        let deck = self.deck(&q.group)?;
        {
            let state = self.state.borrow();
            let sites = [
                ("the site", Some(&state.site)),
                (
                    "the site that comes back unless the last change is confirmed",
                    state.pending.as_ref().map(|p| &p.site),
                ),
                ("the staged site", state.staged.as_ref().map(|staged| &staged.site)),
            ];
            for (which, site) in sites {
                if let Some(user) = site.and_then(|site| user_of(site, &q.group)) {
                    return Err(ErrorObject::new(
                        ErrorCode::Refused,
                        format!("rate group {} is in use: {user} in {which}; nothing was changed", q.group),
                    ));
                }
            }
        }
        let (rows, version) = (deck.deck.len() as u64, deck.version);
        if q.commit {
            let text = DeckText { group: q.group.clone(), version: version + 1, deleted: true, ..DeckText::default() };
            let changes = vec![format!("- rates {}: version {version}, {rows} rows", q.group)];
            let decks = vec![DeckChange { deck: None, text }];
            self.commit(actor, Proposal { decks, changes, ..Proposal::new("drop", command, &q.comment) }).await?;
        }
        reply(&reply::RatesDropped { group: q.group, rows, version, committed: q.commit })
    }
}

/// The lines of a change that speak of `group`, without its name.
fn own_lines(group: &str, changes: &[String]) -> String {
    let begin = format!(" rates {group}: ");
    let own = changes.iter().filter_map(|line| line.split_once(&begin).map(|(_, rest)| rest));
    own.collect::<Vec<_>>().join("; ")
}

/// What names `group` as its rate group, by its path in the site file.
fn user_of(site: &Site, group: &str) -> Option<String> {
    fn search(path: &str, value: &serde_json::Value, group: &str) -> Option<String> {
        match value {
            serde_json::Value::Object(fields) => fields.iter().find_map(|(key, value)| {
                let inside = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let named = key.ends_with("rate_group") && value.as_str() == Some(group);
                if named { Some(inside) } else { search(&inside, value, group) }
            }),
            serde_json::Value::Array(items) => items.iter().find_map(|item| search(path, item, group)),
            _ => None,
        }
    }
    search("", &serde_json::to_value(site).ok()?, group)
}

fn shown(row: &Row<'_>, at_ms: i64) -> reply::RateRow {
    let rate = row.rate();
    let state = match () {
        () if row.is_valid_at(at_ms) => "now",
        () if rate.effective_from_ms.is_some_and(|from_ms| from_ms > at_ms) => "future",
        () => "past",
    };
    let sections = rate.sections.iter().map(|s| format!("{}:{}", s.time_s, s.amount.normalize()));
    reply::RateRow {
        prefix: row.prefix().to_owned(),
        rate_per_min: rate.rate_per_min.normalize().to_string(),
        first_s: rate.first_s,
        period: rate.next_s,
        conn_fee: rate.conn_fee.normalize().to_string(),
        tax: rate.tax_pct.normalize().to_string(),
        sections: sections.collect::<Vec<_>>().join("|"),
        level: rate.level,
        lock: rate.lock,
        state: state.to_owned(),
        from_ms: rate.effective_from_ms,
        to_ms: rate.effective_to_ms,
        rate_id: rate.rate_id,
        area: rate.area_name,
        fee_prefix: rate.fee_prefix,
        memo: rate.memo,
    }
}
