//! Rate groups: import with preview, export, list.

use tandem_control::error::{ErrorCode, ErrorObject};
use tandem_control::reply;
use tandem_control::request::{self, EXPORT_ROWS_MAX, RatesImport};
use tandem_control::value::nearest;
use tandem_rating::deck_csv;
use tandem_rating::import::{self, Change, ImportMode, ImportOptions};
use tandem_rating::record::Actor;

use super::change::Proposal;
use super::{Control, Reply, StoredDeck, reply};

fn mode(mode: request::ImportMode) -> ImportMode {
    match mode {
        request::ImportMode::Add => ImportMode::Add,
        request::ImportMode::Merge => ImportMode::Merge,
        request::ImportMode::Replace => ImportMode::ReplaceAll,
    }
}

impl Control {
    pub(super) async fn rates_import(&self, actor: &Actor, command: &str, q: RatesImport) -> Reply {
        let _one = self.changing.lock().await;
        if q.group.is_empty() || q.group.len() > 64 || q.group.chars().any(char::is_control) {
            return Err(ErrorObject::bad_value("group", &q.group, "a name of 1 to 64 characters"));
        }
        let (old, fp, at_ms) = {
            let state = self.state.borrow();
            let fp = state.params.billing().map(|b| b.fp).unwrap_or(2);
            (state.decks.get(&q.group).cloned(), fp, state.clock.now().wall_ms)
        };
        let base_version = old.as_ref().map_or(0, |deck| deck.version);
        if q.base_version.is_some_and(|base| base != base_version) {
            return Err(ErrorObject::new(
                ErrorCode::Conflict,
                format!("rate group {} is at version {base_version} now; look at the changes again", q.group),
            ));
        }
        let mut answer = reply::RatesImported { group: q.group.clone(), base_version, ..Default::default() };
        let parsed = match deck_csv::parse(q.csv.as_bytes()) {
            Ok(parsed) => parsed,
            Err(errors) => {
                answer.errors_total = errors.len() as u64;
                answer.errors = errors
                    .into_iter()
                    .map(|e| reply::RowError { line: e.line, column: e.column, value: e.value, rule: e.rule })
                    .collect();
                return self.not_imported(actor, command, &answer).await;
            }
        };
        if !q.ignore_columns && !parsed.unknown_columns.is_empty() {
            // A price column that is spelled wrong must not pass as a remark.
            let known = deck_csv::column_names();
            answer.errors = parsed.unknown_columns.iter().map(|name| unknown_column(name, &known)).collect();
            answer.errors_total = answer.errors.len() as u64;
            return self.not_imported(actor, command, &answer).await;
        }
        let rows = old.as_ref().map_or_else(Vec::new, |deck| deck.deck.rows());
        let options = ImportOptions { fp: Some(fp), ..ImportOptions::new(mode(q.mode), at_ms) };
        let preview = import::diff(&rows, &parsed.rows, &options);
        answer.rows = parsed.rows.len() as u64;
        answer.added = preview.added.count as u64;
        answer.raised = preview.raised.count as u64;
        answer.lowered = preview.lowered.count as u64;
        answer.changed = preview.changed.count as u64;
        answer.unchanged = preview.unchanged.count as u64;
        answer.closed = preview.closed.count as u64;
        answer.raised_early = preview.raised_early.count as u64;
        answer.digits_lost = preview.digits_lost.count as u64;
        answer.warnings = parsed.warnings;
        if preview.digits_lost.count > 0 {
            answer.warnings.push(format!(
                "{} rates lose digits to SERVER_BILLING_FEE_PRECISION {fp}; set TANDEM_RATE_QUANTISE Off to keep them",
                preview.digits_lost.count
            ));
        }
        let kinds = [
            ("raised", &preview.raised.first),
            ("lowered", &preview.lowered.first),
            ("added", &preview.added.first),
            ("changed", &preview.changed.first),
            ("closed", &preview.closed.first),
        ];
        answer.examples =
            kinds.iter().flat_map(|(kind, list)| list.iter().map(|c| example(kind, c))).take(20).collect();
        if let Some(conflict) = preview.conflicts.first() {
            return Err(ErrorObject::new(ErrorCode::InvalidParams, conflict.to_string()));
        }
        let next = import::apply_import(&rows, &parsed.rows, &options)
            .map_err(|error| ErrorObject::new(ErrorCode::InvalidParams, error.to_string()))?;
        let deck = StoredDeck::from_rows(&q.group, base_version + 1, at_ms, next)
            .map_err(|error| ErrorObject::new(ErrorCode::InvalidParams, error.to_string()))?;
        if q.commit {
            let version = base_version + 1;
            let changes = vec![format!(
                "~ rates {}: version {base_version} -> {version}; {} new, {} raised, {} lowered, {} otherwise changed, {} closed",
                q.group, answer.added, answer.raised, answer.lowered, answer.changed, answer.closed
            )];
            let decks = vec![(q.group, deck)];
            self.commit(actor, Proposal { decks, changes, ..Proposal::new("import", command, &q.comment) }).await?;
            answer.version = Some(version);
            answer.committed = true;
        }
        reply(&answer)
    }

    /// The file has mistakes: the answer lists them, the audit log has the first.
    async fn not_imported(&self, actor: &Actor, command: &str, answer: &reply::RatesImported) -> Reply {
        let first = answer.errors.first().cloned().unwrap_or_default();
        let said = format!(
            "line {}: {} is {:?}; {} ({} errors)",
            first.line, first.column, first.value, first.rule, answer.errors_total
        );
        self.note_refused(actor, command, &ErrorObject::new(ErrorCode::InvalidParams, said)).await;
        reply(answer)
    }

    pub(super) fn rates_export(&self, group: &str, offset: u64) -> Reply {
        let state = self.state.borrow();
        let Some(deck) = state.decks.get(group) else {
            let names: Vec<&String> = state.decks.keys().collect();
            return Err(ErrorObject::not_found("rate group", group, &names));
        };
        let all = deck.deck.rows();
        let first = usize::try_from(offset).unwrap_or(usize::MAX).min(all.len());
        let page = &all[first..all.len().min(first + EXPORT_ROWS_MAX as usize)];
        let mut csv = deck_csv::export(page);
        if offset > 0 {
            // The header stands on the first page only.
            csv = csv.split_once('\n').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        }
        reply(&reply::RatesExported {
            group: group.to_owned(),
            version: deck.version,
            total: all.len() as u64,
            rows: page.len() as u64,
            csv,
        })
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
}

fn unknown_column(name: &str, known: &[&str]) -> reply::RowError {
    let nearest = nearest(name, known).map_or_else(String::new, |word| format!("; did you mean {word}?"));
    reply::RowError {
        line: 1,
        column: "header".to_owned(),
        value: name.to_owned(),
        rule: format!("no column has that name{nearest} --ignore-columns leaves it out"),
    }
}

fn example(kind: &str, change: &Change) -> reply::RateChange {
    reply::RateChange {
        change: kind.to_owned(),
        prefix: change.prefix.clone(),
        area: change.area_name.clone(),
        from_ms: Some(change.from_ms),
        before: change.old.map(|d| d.normalize().to_string()),
        after: change.new.map(|d| d.normalize().to_string()),
    }
}
