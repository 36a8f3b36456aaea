//! Changes of rate groups: made ready on a thread of their own, shown, and committed when somebody says so.
//!
//! What is shown is what is committed: the compiled deck waits with its preview, and only the instant of "now" in it moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use rust_decimal::Decimal;
use tandem_control::error::{ErrorCode, ErrorObject};
use tandem_control::reply;
use tandem_control::request::{
    self, DIFFERENCES_MAX, RatesCommit, RatesCompare, RatesDelete, RatesDifferences, RatesImport, RatesRollback,
    RatesSet, RatesUpload, SheetTerms, UPLOAD_MAX,
};
use tandem_control::value::nearest;
use tandem_control::when::When;
use tandem_rating::deck_csv;
use tandem_rating::import::{self, Change, ENDED_KEPT_MS, Forgotten, ImportMode, ImportOptions, Kind};
use tandem_rating::rate::{Deck, Rate};
use tandem_rating::record::{Actor, DeckText, Record};
use tandem_rating::sheet::{DateFormat, SheetOptions, Template};
use tandem_store::{DECK_PART_BYTES, DeckCrc, Encoded};
use tokio::sync::oneshot;

use super::instant;
use crate::control::change::{DeckChange, Proposal};
use crate::control::{Control, Reply, StoredDeck, StoredText, internal, reply};
use crate::orders::RatingOrder;

/// Examples of each kind of change when none are asked for, and at most.
const EXAMPLES: (usize, usize) = (10, 1_000);

/// How long an upload or a preview is kept for whoever made it.
const KEPT_MS: i64 = 10 * 60_000;

const DAY_MS: i64 = 86_400_000;

/// Parts of a deck that may be written and not yet on the disk: 2 MiB, so that a sync on the way has little to wait for.
const PARTS_UNSYNCED: usize = 8;

/// Between two looks at how far the journal is on the disk. An import of many parts waits here, nothing else does.
const SYNCED_LOOK: std::time::Duration = std::time::Duration::from_millis(2);

/// What an import leaves on the control thread until it is committed.
#[derive(Default)]
pub(in crate::control) struct Imports {
    upload: Option<Upload>,
    prepared: Option<Prepared>,
    progress: Arc<Progress>,
    last: u64,
}

struct Upload {
    id: u64,
    text: String,
    at_ms: i64,
}

/// A change that was shown.
struct Prepared {
    id: u64,
    at_ms: i64,
    group: String,
    base_version: u64,
    deck: Deck,
    answer: reply::RatesImported,
    forgotten: Option<Forgotten>,
    differences: Arc<Vec<(Kind, Change)>>,
    how: &'static str,
    command: String,
    comment: String,
    source: String,
}

/// What the working thread tells of itself.
#[derive(Default)]
struct Progress {
    phase: AtomicU8,
    done: AtomicU64,
    total: AtomicU64,
}

const PHASES: [&str; 4] = ["idle", "reading", "comparing", "writing"];

impl Progress {
    fn begin(&self, phase: u8, total: u64) {
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        self.phase.store(phase, Ordering::Relaxed);
    }
}

/// What is to be made ready.
struct Job {
    group: String,
    old: Option<Arc<Deck>>,
    base_version: u64,
    new: Source,
    options: ImportOptions,
    keep_differences: bool,
    /// Only what differs is wanted, not a deck.
    compare: bool,
}

enum Source {
    /// A sheet; the flag leaves out columns that no rule knows.
    Sheet(String, Box<SheetOptions>, bool),
    /// Rows of a version, still to be read.
    Stored(String),
    Rows(Vec<Rate>),
}

/// What came of it.
struct Ready {
    answer: reply::RatesImported,
    deck: Option<Deck>,
    forgotten: Option<Forgotten>,
    differences: Vec<(Kind, Change)>,
}

fn mode(mode: request::ImportMode) -> ImportMode {
    match mode {
        request::ImportMode::Add => ImportMode::Add,
        request::ImportMode::Merge => ImportMode::Merge,
        request::ImportMode::Replace => ImportMode::ReplaceAll,
    }
}

/// Runs `work` on a thread that nobody else waits for: a million rows take seconds.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ErrorObject> {
    let (sender, receiver) = oneshot::channel();
    let run = move || {
        crate::topology::behind_calls();
        let _ = sender.send(work());
    };
    let thread = std::thread::Builder::new().name("rates".to_owned()).spawn(run);
    thread.map_err(|error| internal(format!("no thread for the rates: {error}")))?;
    receiver.await.map_err(|_| internal("the rates could not be worked on; see the log"))
}

impl Control {
    pub(in crate::control) fn rates_upload(&self, q: RatesUpload) -> Reply {
        let at_ms = self.state.borrow().clock.now().wall_ms;
        let mut imports = self.imports.borrow_mut();
        if q.offset == 0 {
            imports.upload = Some(Upload { id: q.upload, text: String::new(), at_ms });
        }
        let Some(upload) = imports.upload.as_mut().filter(|upload| upload.id == q.upload) else {
            return Err(ErrorObject::new(ErrorCode::Conflict, "somebody else uploaded a file meanwhile; begin again"));
        };
        if upload.text.len() as u64 != q.offset {
            let allowed = format!("{}, the bytes that are there", upload.text.len());
            return Err(ErrorObject::bad_value("offset", q.offset.to_string(), allowed));
        }
        if upload.text.len() + q.text.len() > UPLOAD_MAX {
            imports.upload = None;
            return Err(ErrorObject::bad_value("text", "the file", format!("at most {} MiB", UPLOAD_MAX >> 20)));
        }
        upload.text.push_str(&q.text);
        upload.at_ms = at_ms;
        reply(&reply::RatesUploaded { received: upload.text.len() as u64 })
    }

    pub(in crate::control) fn rates_progress(&self) -> Reply {
        let progress = self.imports.borrow().progress.clone();
        let phase = usize::from(progress.phase.load(Ordering::Relaxed));
        reply(&reply::RatesProgress {
            phase: PHASES.get(phase).copied().unwrap_or_default().to_owned(),
            done: progress.done.load(Ordering::Relaxed),
            total: progress.total.load(Ordering::Relaxed),
        })
    }

    /// Lets go of uploads and previews that nobody came back for.
    pub(in crate::control) fn drop_stale_imports(&self) {
        let now_ms = self.state.borrow().clock.now().wall_ms;
        let mut imports = self.imports.borrow_mut();
        imports.upload.take_if(|upload| (now_ms - upload.at_ms).abs() > KEPT_MS);
        imports.prepared.take_if(|prepared| (now_ms - prepared.at_ms).abs() > KEPT_MS);
    }

    pub(in crate::control) async fn rates_import(&self, actor: &Actor, command: &str, q: RatesImport) -> Reply {
        if q.group.is_empty() || q.group.len() > 64 || q.group.chars().any(char::is_control) {
            return Err(ErrorObject::bad_value("group", &q.group, "a name of 1 to 64 characters"));
        }
        let csv = match q.upload {
            None => q.csv,
            Some(id) => {
                let mut imports = self.imports.borrow_mut();
                let upload = imports.upload.take_if(|upload| upload.id == id);
                let gone = || ErrorObject::new(ErrorCode::Conflict, "the uploaded file is gone; begin again");
                upload.ok_or_else(gone)?.text
            }
        };
        let sheet = self.sheet_options(&q.sheet)?;
        let mut options = self.import_options(mode(q.mode), q.effective.as_ref())?;
        options.notice_days = q.notice_days.unwrap_or(options.notice_days);
        options.examples = (q.examples.unwrap_or(EXAMPLES.0 as u32) as usize).min(EXAMPLES.1);
        let mut source = q.source.clone();
        if let Some(rate) = &q.sheet.exchange_rate {
            let currency = q.sheet.currency.as_deref().unwrap_or_default();
            source.push_str(&format!(" ({currency} at {})", rate.as_str()));
        }
        let new = Source::Sheet(csv, Box::new(sheet), q.ignore_columns);
        let job = self.job(&q.group, new, options, q.differences);
        if q.base_version.is_some_and(|base| base != job.base_version) {
            return Err(moved_on(&q.group, job.base_version));
        }
        let words = Words { how: "import", command, comment: &q.comment, source };
        let answer = self.prepare(actor, job, words).await?;
        match answer.preview {
            Some(preview) if q.commit => self.rates_commit(actor, RatesCommit { preview }).await,
            _ => reply(&answer),
        }
    }

    pub(in crate::control) async fn rates_set(&self, actor: &Actor, command: &str, q: RatesSet) -> Reply {
        let deck = self.deck(&q.group)?;
        let options = self.import_options(ImportMode::Merge, q.effective.as_ref())?;
        let rates = edited(
            &deck.deck,
            &q,
            options.from_ms.unwrap_or(options.at_ms),
            self.sheet_options(&SheetTerms::default())?,
        )?;
        let job = self.job(&q.group, Source::Rows(rates), options, false);
        let words = Words { how: "set", command, comment: &q.comment, source: String::new() };
        reply(&self.prepare(actor, job, words).await?)
    }

    pub(in crate::control) async fn rates_delete(&self, actor: &Actor, command: &str, q: RatesDelete) -> Reply {
        let deck = self.deck(&q.group)?;
        let mut options = self.import_options(ImportMode::Merge, q.effective.as_ref())?;
        let ends_ms = options.from_ms.unwrap_or(options.at_ms);
        let is_there = deck
            .deck
            .iter()
            .any(|row| row.prefix() == q.prefix && row.validity_ms().1.is_none_or(|to_ms| to_ms > ends_ms));
        if !is_there {
            let allowed = format!("a prefix that group {} has a rate for; tandem rates show lists them", q.group);
            return Err(ErrorObject::bad_value("prefix", &q.prefix, allowed));
        }
        options.close = Some(q.prefix);
        let job = self.job(&q.group, Source::Rows(Vec::new()), options, false);
        let words = Words { how: "delete", command, comment: &q.comment, source: String::new() };
        reply(&self.prepare(actor, job, words).await?)
    }

    pub(in crate::control) async fn rates_rollback(&self, actor: &Actor, command: &str, q: RatesRollback) -> Reply {
        let stored = self.version(&q.group, q.version).await?;
        let options = self.import_options(ImportMode::ReplaceAll, q.effective.as_ref())?;
        let job = self.job(&q.group, Source::Stored(stored), options, false);
        let words = Words { how: "rollback", command, comment: &q.comment, source: format!("version {}", q.version) };
        reply(&self.prepare(actor, job, words).await?)
    }

    pub(in crate::control) async fn rates_compare(&self, actor: &Actor, q: RatesCompare) -> Reply {
        let current = self.deck(&q.group).ok();
        let before = self.version(&q.group, q.from).await?;
        let to = q.to.or(current.as_ref().map(|deck| deck.version)).unwrap_or_default();
        let after = match current.filter(|deck| deck.version == to) {
            Some(deck) => Source::Rows(deck.deck.rows()),
            None => Source::Stored(self.version(&q.group, to).await?),
        };
        let group = q.group.clone();
        let old =
            aside(move || StoredDeck::from_csv(&group, 0, 0, &before)).await?.map_err(|e| internal(e.to_string()))?;
        let mut options = self.import_options(ImportMode::ReplaceAll, None)?;
        options.examples = (q.examples.unwrap_or(EXAMPLES.0 as u32) as usize).min(EXAMPLES.1);
        options.fp = None;
        let job = Job {
            old: Some(old.deck),
            base_version: q.from,
            compare: true,
            ..self.job(&q.group, after, options, true)
        };
        let words = Words { how: "compare", command: "", comment: "", source: String::new() };
        let mut answer = self.prepare(actor, job, words).await?;
        answer.version = Some(to);
        reply(&answer)
    }

    pub(in crate::control) fn rates_differences(&self, q: RatesDifferences) -> Reply {
        let imports = self.imports.borrow();
        let Some(prepared) = imports.prepared.as_ref().filter(|prepared| prepared.id == q.preview) else {
            return Err(gone());
        };
        let all = &prepared.differences;
        let first = usize::try_from(q.offset).unwrap_or(usize::MAX);
        let page = all.iter().skip(first).take(DIFFERENCES_MAX as usize);
        let rows = page.map(|(kind, change)| shown(*kind, change)).collect();
        reply(&reply::RatesDifferences { total: all.len() as u64, rows })
    }

    /// Puts in force what a preview showed.
    pub(in crate::control) async fn rates_commit(&self, actor: &Actor, q: RatesCommit) -> Reply {
        let _one = self.changing.lock().await;
        let prepared = self.imports.borrow_mut().prepared.take_if(|prepared| prepared.id == q.preview);
        let Some(mut prepared) = prepared.filter(|prepared| prepared.how != "compare") else {
            return Err(gone());
        };
        let (base_version, at_ms) = {
            let state = self.state.borrow();
            (state.deck_version(&prepared.group), state.clock.now().wall_ms)
        };
        if base_version != prepared.base_version {
            return Err(moved_on(&prepared.group, base_version));
        }
        if !prepared.deck.move_instant(prepared.at_ms, at_ms.max(prepared.at_ms)) {
            return Err(ErrorObject::new(
                ErrorCode::Conflict,
                "a rate was to begin or to end since the preview was made; look at the changes again",
            ));
        }
        let (group, version) = (prepared.group.clone(), base_version + 1);
        let deck = StoredDeck { version, changed_ms: at_ms, deck: Arc::new(prepared.deck) };
        let progress = self.imports.borrow().progress.clone();
        progress.begin(3, 0);
        let written = self.write_deck(&group, &deck, &prepared.source).await;
        let outcome = match written {
            Ok(text) => {
                let mut answer = prepared.answer;
                let mut change = format!(
                    "~ rates {group}: version {base_version} -> {version}; {} new, {} raised, {} lowered, {} otherwise changed, {} closed",
                    answer.added, answer.raised, answer.lowered, answer.changed, answer.closed
                );
                if let Some(forgotten) = prepared.forgotten {
                    change.push_str(&format!(", {} that ended long ago taken out", forgotten.rows));
                }
                let changes = vec![change];
                let decks = vec![DeckChange { deck: Some(deck), text }];
                let proposal = Proposal::new(prepared.how, &prepared.command, &prepared.comment);
                self.commit(actor, Proposal { decks, changes, ..proposal }).await.map(|_| {
                    answer.version = Some(version);
                    answer.committed = true;
                    answer.preview = None;
                    answer
                })
            }
            Err(error) => Err(error),
        };
        progress.begin(0, 0);
        reply(&outcome?)
    }

    /// Writes the rows of a deck to the journal ahead of the change that puts it in force: in pieces, between the records
    /// of calls. Pieces without their change mean nothing.
    async fn write_deck(&self, group: &str, deck: &StoredDeck, source: &str) -> Result<DeckText, ErrorObject> {
        let mut record = DeckText {
            group: group.to_owned(),
            version: deck.version,
            rows: deck.deck.len() as u64,
            source: source.trim().to_owned(),
            ..DeckText::default()
        };
        let mut text = StoredText::new(deck.deck.clone());
        let mut piece = text.next(DECK_PART_BYTES).unwrap_or_default();
        if text.is_at_end() {
            record.csv = piece;
            return Ok(record);
        }
        record.import = self.next_import();
        let mut crc = DeckCrc::default();
        let (positions, progress) = (self.state.borrow().positions.clone(), self.imports.borrow().progress.clone());
        progress.begin(3, deck.deck.len() as u64);
        let mut written: std::collections::VecDeque<u64> = std::collections::VecDeque::new();
        while !piece.is_empty() {
            crc.add(&piece);
            let part =
                Record::DeckPart { group: group.to_owned(), import: record.import, part: record.parts, text: piece };
            // Encoded here, and the next one made aside: the rating thread has calls to serve, and this one has people.
            let encoded = Encoded::of(&part).map_err(internal)?;
            drop(part);
            let seq =
                self.order_rating(|done| RatingOrder::Write { record: encoded, done }).await?.map_err(internal)?;
            written.push_back(seq);
            record.parts += 1;
            progress.done.store(text.rows() as u64, Ordering::Relaxed);
            while written.len() >= PARTS_UNSYNCED && written.front().is_some_and(|seq| positions.synced() < *seq) {
                tokio::time::sleep(SYNCED_LOOK).await;
            }
            if written.len() >= PARTS_UNSYNCED {
                written.pop_front();
            }
            (text, piece) = aside(move || {
                let next = text.next(DECK_PART_BYTES).unwrap_or_default();
                (text, next)
            })
            .await?;
        }
        record.crc = crc.sum();
        Ok(record)
    }

    /// A number that no import of this switch had before.
    fn next_import(&self) -> u64 {
        let now_ms = self.state.borrow().clock.now().wall_ms;
        let mut imports = self.imports.borrow_mut();
        imports.last = (imports.last + 1).max(u64::try_from(now_ms).unwrap_or_default());
        imports.last
    }

    fn job(&self, group: &str, new: Source, options: ImportOptions, keep_differences: bool) -> Job {
        let state = self.state.borrow();
        Job {
            group: group.to_owned(),
            old: state.decks.get(group).map(|deck| deck.deck.clone()),
            base_version: state.deck_version(group),
            new,
            options,
            keep_differences,
            compare: false,
        }
    }

    fn import_options(&self, mode: ImportMode, effective: Option<&When>) -> Result<ImportOptions, ErrorObject> {
        let from_ms = effective.map(|when| instant("effective", when)).transpose()?;
        let state = self.state.borrow();
        let at_ms = state.clock.now().wall_ms;
        if from_ms.is_some_and(|from_ms| from_ms < at_ms) {
            let allowed = "a time to come: what calls were charged by is not changed";
            return Err(ErrorObject::bad_value("effective", "the time given", allowed));
        }
        // Digits are lost only when rates are rounded (billing.md C16).
        let fp = state.params.billing().ok().filter(|billing| billing.quantise_rate).map(|billing| billing.fp);
        // Rows are history for as long as there are calls that were rated by them.
        let days = Some(state.params.cdr_output().retention_days).filter(|days| *days > 0).map(i64::from);
        let keep_ended_since_ms = days.map(|days| at_ms - days * DAY_MS - ENDED_KEPT_MS);
        Ok(ImportOptions { fp, from_ms, keep_ended_since_ms, ..ImportOptions::new(mode, at_ms) })
    }

    fn sheet_options(&self, terms: &SheetTerms) -> Result<SheetOptions, ErrorObject> {
        let bad = |field: &str, value: &str, allowed: String| {
            ErrorObject::bad_value(format!("sheet.{field}"), value, allowed)
        };
        let state = self.state.borrow();
        let mut templates: Vec<(String, Template)> = Vec::new();
        if !terms.templates.is_empty() {
            let read: std::collections::BTreeMap<String, Template> = toml::from_str(&terms.templates)
                .map_err(|error| bad("templates", error.message(), "TOML, a table of each template".to_owned()))?;
            for (name, template) in read {
                template.validate().map_err(|error| bad("templates", &name, error))?;
                templates.push((name, template));
            }
        }
        // A file's template goes before one of the same name in the site.
        let names: Vec<String> = templates.iter().map(|(name, _)| name.clone()).collect();
        let of_site = state.site.rate_template.iter().filter(|(name, _)| !names.contains(name));
        templates.extend(of_site.map(|(name, template)| (name.clone(), template.clone())));
        let date_format = terms.date_format.as_deref().map(DateFormat::parse).transpose();
        let given = terms.date_format.as_deref().unwrap_or_default();
        let exchange_rate = match &terms.exchange_rate {
            None => None,
            Some(rate) => match rate.as_str().parse::<Decimal>() {
                Ok(value) if value > Decimal::ZERO && terms.currency.is_some() => Some(value),
                Ok(value) if value > Decimal::ZERO => {
                    return Err(bad("currency", "", "the currency that the exchange rate is of".to_owned()));
                }
                _ => return Err(bad("exchange_rate", rate.as_str(), "a decimal above 0".to_owned())),
            },
        };
        for word in terms.map.keys() {
            if deck_csv::meaning(word).is_none() {
                return Err(bad("map", word, deck_csv::meanings().join(", ")));
            }
        }
        Ok(SheetOptions {
            templates,
            template: terms.template.clone(),
            map: terms.map.clone().into_iter().collect(),
            date_format: date_format.map_err(|error| bad("date_format", given, error))?,
            decimal_comma: terms.decimal_comma,
            currency: terms.currency.clone(),
            own_currency: Some(state.config.currency.clone()),
            exchange_rate,
            international_prefix: terms.international_prefix.clone(),
        })
    }

    /// The stored text of a version.
    async fn version(&self, group: &str, version: u64) -> Result<String, ErrorObject> {
        let name = group.to_owned();
        let found = self
            .query(move |queries| queries.deck_at(&name, version).map_err(|error| internal(error.to_string())))
            .await?;
        match found.filter(|deck| !deck.deleted) {
            Some(deck) => Ok(deck.csv),
            None => {
                let allowed =
                    format!("a version of rate group {group}; tandem rates history --group {group} lists them");
                Err(ErrorObject::bad_value("version", version.to_string(), allowed))
            }
        }
    }

    /// Makes a change ready and keeps it; the answer has its number, or what is wrong.
    async fn prepare(&self, actor: &Actor, job: Job, words: Words<'_>) -> Result<reply::RatesImported, ErrorObject> {
        let progress = self.imports.borrow().progress.clone();
        // The one before is not committed any more; two would be twice the memory.
        drop(self.imports.borrow_mut().prepared.take());
        let (group, base_version, at_ms) = (job.group.clone(), job.base_version, job.options.at_ms);
        let watched = progress.clone();
        let ready = aside(move || work(job, &watched)).await;
        progress.begin(0, 0);
        let Ready { mut answer, deck, forgotten, differences } = ready??;
        if !answer.errors.is_empty() {
            self.not_imported(actor, words.command, &answer).await;
            return Ok(answer);
        }
        let id = self.next_import();
        answer.preview = Some(id);
        let prepared = Prepared {
            id,
            at_ms,
            group,
            base_version,
            deck: deck.unwrap_or_default(),
            answer: answer.clone(),
            forgotten,
            differences: Arc::new(differences),
            how: words.how,
            command: words.command.to_owned(),
            comment: words.comment.to_owned(),
            source: words.source,
        };
        self.imports.borrow_mut().prepared = Some(prepared);
        Ok(answer)
    }

    /// The file has mistakes: the answer lists them, the audit log has the first.
    async fn not_imported(&self, actor: &Actor, command: &str, answer: &reply::RatesImported) {
        let first = answer.errors.first().cloned().unwrap_or_default();
        let said = format!(
            "line {}: {} is {:?}; {} ({} errors)",
            first.line, first.column, first.value, first.rule, answer.errors_total
        );
        self.note_refused(actor, command, &ErrorObject::new(ErrorCode::InvalidParams, said)).await;
    }
}

/// What the history says of a change.
struct Words<'a> {
    how: &'static str,
    command: &'a str,
    comment: &'a str,
    source: String,
}

fn gone() -> ErrorObject {
    ErrorObject::new(
        ErrorCode::Conflict,
        "that preview is gone: it was committed, another took its place, or it is old",
    )
}

fn moved_on(group: &str, version: u64) -> ErrorObject {
    let said = format!("rate group {group} is at version {version} now; look at the changes again");
    ErrorObject::new(ErrorCode::Conflict, said)
}

/// The seconds of work, on their own thread.
fn work(job: Job, progress: &Progress) -> Result<Ready, ErrorObject> {
    let invalid = |error: String| ErrorObject::new(ErrorCode::InvalidParams, error);
    let mut answer =
        reply::RatesImported { group: job.group.clone(), base_version: job.base_version, ..Default::default() };
    let wrong = |mut answer: reply::RatesImported, errors: Vec<reply::RowError>| {
        answer.errors_total = errors.len() as u64;
        answer.errors = errors;
        Ok(Ready { answer, deck: None, forgotten: None, differences: Vec::new() })
    };
    let is_sheet = matches!(job.new, Source::Sheet(..));
    let mut rows = match job.new {
        Source::Rows(rows) => rows,
        Source::Stored(text) => {
            progress.begin(1, text.len() as u64);
            let stored = StoredDeck::from_csv(&job.group, 0, 0, &text).map_err(|error| internal(error.to_string()))?;
            drop(text);
            stored.deck.rows()
        }
        Source::Sheet(csv, sheet, ignore_columns) => {
            progress.begin(1, csv.len() as u64);
            let watch = |bytes| progress.done.store(bytes, Ordering::Relaxed);
            let parsed = match deck_csv::parse_with(csv.as_bytes(), &sheet, watch) {
                Ok(parsed) => parsed,
                Err(errors) => {
                    let shown = |e: deck_csv::RowError| reply::RowError {
                        line: e.line,
                        column: e.column,
                        value: e.value,
                        rule: e.rule,
                    };
                    return wrong(answer, errors.into_iter().map(shown).collect());
                }
            };
            if !ignore_columns && !parsed.unknown_columns.is_empty() {
                // A price column that is spelled wrong must not pass as a remark.
                let known = deck_csv::column_names();
                return wrong(answer, parsed.unknown_columns.iter().map(|name| unknown_column(name, &known)).collect());
            }
            answer.warnings = parsed.warnings;
            answer.template = parsed.template;
            parsed.rows
        }
    };
    if !is_sheet {
        // A version has rows that ended long ago too; they are history, not rates.
        let at_ms = job.options.at_ms;
        rows.retain(|row| row.effective_to_ms.is_none_or(|to_ms| to_ms > at_ms));
    }
    answer.rows = rows.len() as u64;
    progress.begin(2, rows.len() as u64);
    let mut differences = Vec::new();
    let see = |kind: Kind, change: &Change| {
        if job.keep_differences && kind != Kind::Unchanged {
            differences.push((kind, change.clone()));
        }
    };
    let watch = |done| progress.done.store(done, Ordering::Relaxed);
    let imported = import::import_into(&job.group, job.old.as_deref(), rows, &job.options, see, watch)
        .map_err(|error| invalid(error.to_string()))?;
    let preview = imported.preview;
    answer.added = preview.added.count as u64;
    answer.raised = preview.raised.count as u64;
    answer.lowered = preview.lowered.count as u64;
    answer.changed = preview.changed.count as u64;
    answer.unchanged = preview.unchanged.count as u64;
    answer.closed = preview.closed.count as u64;
    answer.raised_early = preview.raised_early.count as u64;
    answer.digits_lost = preview.digits_lost.count as u64;
    if let Some(fp) = job.options.fp.filter(|_| preview.digits_lost.count > 0) {
        answer.warnings.push(format!(
            "{} rates lose digits to SERVER_BILLING_FEE_PRECISION {fp}; set TANDEM_RATE_QUANTISE Off to keep them",
            preview.digits_lost.count
        ));
    }
    let kinds = [
        (Kind::Raised, &preview.raised.first),
        (Kind::Lowered, &preview.lowered.first),
        (Kind::Added, &preview.added.first),
        (Kind::Changed, &preview.changed.first),
        (Kind::Closed, &preview.closed.first),
    ];
    answer.examples = kinds.iter().flat_map(|(kind, list)| list.iter().map(|change| shown(*kind, change))).collect();
    let percent = |percent: Option<Decimal>| percent.map(|percent| percent.normalize().to_string());
    answer.areas = preview
        .areas
        .into_iter()
        .map(|area| reply::RateArea {
            area: area.name,
            added: area.added as u64,
            raised: area.raised as u64,
            lowered: area.lowered as u64,
            closed: area.closed as u64,
            most_raised: percent(area.most_raised),
            most_lowered: percent(area.most_lowered),
        })
        .collect();
    if let Some(conflict) = preview.conflicts.first().filter(|_| !job.compare) {
        return Err(invalid(conflict.to_string()));
    }
    let forgotten = imported.forgotten.filter(|_| !job.compare);
    if let Some(forgotten) = forgotten {
        answer.warnings.push(format!(
            "{} rows that ended by {} are taken out; calls of that time can be rated again by version {} or earlier only",
            forgotten.rows,
            day(forgotten.until_ms),
            job.base_version
        ));
    }
    Ok(Ready { answer, deck: imported.deck.filter(|_| !job.compare), forgotten, differences })
}

/// The instant as a person reads it, UTC.
fn day(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map_or_else(|_| ms.to_string(), |at| at.strftime("%Y-%m-%d %H:%M").to_string())
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

fn shown(kind: Kind, change: &Change) -> reply::RateChange {
    reply::RateChange {
        change: kind.as_str().to_owned(),
        prefix: change.prefix.clone(),
        area: change.area_name.clone(),
        from_ms: Some(change.from_ms),
        before: change.old.map(|d| d.normalize().to_string()),
        after: change.new.map(|d| d.normalize().to_string()),
        percent: change.percent().map(|d| d.normalize().to_string()),
    }
}

/// The row of `q.prefix` in force at `at_ms` with the fields of `q` changed, or a new one: by way of a sheet, so that
/// every rule of sheets holds.
fn edited(deck: &Deck, q: &RatesSet, at_ms: i64, sheet: SheetOptions) -> Result<Vec<Rate>, ErrorObject> {
    if q.fields.is_empty() {
        return Err(ErrorObject::bad_value("fields", "", "at least one field=value"));
    }
    let found = deck.iter().find(|row| row.prefix() == q.prefix && row.is_valid_at(at_ms)).map(|row| row.rate());
    let has_price = q.fields.keys().any(|word| deck_csv::meaning(word) == Some("rate_per_min"));
    if found.is_none() && !has_price {
        return Err(ErrorObject::bad_value("rate_per_min", "", "a price, for a prefix that has no rate then"));
    }
    let base = found.unwrap_or_else(|| Rate { area_code: q.prefix.clone(), ..Rate::default() });
    let base = Rate { effective_from_ms: None, ..base };
    base.validate().map_err(|error| ErrorObject::bad_value("prefix", error.value, error.allowed))?;
    let fields: Vec<(&str, &str)> = q.fields.iter().map(|(word, value)| (word.as_str(), value.as_str())).collect();
    let row = deck_csv::edit(&base, &fields, &sheet);
    row.map(|row| vec![row]).map_err(|error| ErrorObject::bad_value(error.column, error.value, error.rule))
}
