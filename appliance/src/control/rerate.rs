//! Finished calls by other rates: `tandem replay` looks, `tandem rerate` looks and corrects (cdr.md 7).
//!
//! A slice of calls is read page by page and priced off this thread; what an answer holds is sums by account and destination,
//! so it does not grow with the calls. Corrections go to the rating thread in small batches, each call one record.

use std::collections::BTreeMap;
use std::sync::Arc;

use tandem_control::error::{ErrorCode, ErrorObject};
use tandem_control::reply;
use tandem_control::request::{Rerate, SLICE_CALLS};
use tandem_control::value::CallId;
use tandem_rating::cdr::Cdr;
use tandem_rating::fee::BillingParams;
use tandem_rating::money::{Money, parse_decimal};
use tandem_rating::proof::{self, Proof};
use tandem_rating::rate::{Deck, Lookup};
use tandem_rating::record::{Actor, Correction};
use tandem_rating::reprice::{Overrides, Pick, Rates, Repriced, is_run, reprice};
use tandem_rating::{BillingError, deck_csv};
use tandem_store::{CdrFilter, LIMIT_MAX, Queries, StoredCorrection};

use super::money::with_digits;
use super::{Control, Reply, internal, reply};
use crate::orders::RatingOrder;

/// Calls of one page: some tens of MB of records at most.
const PAGE: usize = 1_000;
const _: () = assert!(PAGE <= LIMIT_MAX);

/// Corrections that the rating thread books in one turn: it takes them between two batches of calls, so they must cost less
/// than a millisecond.
const BATCH: usize = 100;

/// Destinations of an answer; beyond them the rest is one row, `other`.
const DESTINATIONS_MAX: usize = 50_000;

/// A sheet that was sent and is not in force: kept for the questions that follow, until the next one comes.
#[derive(Clone)]
pub(super) struct HeldDeck {
    number: u64,
    deck: Arc<Deck>,
}

/// Where the rates come from.
#[derive(Clone)]
enum Source {
    Stored,
    Sheet(Arc<Deck>),
    /// Of the groups, by name.
    Groups(Arc<BTreeMap<String, Arc<Deck>>>),
}

/// How a slice is priced.
#[derive(Clone)]
struct Way {
    pick: Pick,
    source: Source,
    at_ms: Option<i64>,
    overrides: Overrides,
    /// Name of the run when it is to be corrected.
    run: Option<(String, String)>,
}

impl Control {
    pub(super) async fn rerate(&self, actor: &Actor, command: &str, q: Rerate) -> Reply {
        // Two runs at once would both begin from the same revision.
        let _one = if q.apply.is_some() { Some(self.changing.lock().await) } else { None };
        let filter = CdrFilter { limit: Some(PAGE), oldest_first: true, ..self.filter(q.filter.clone())? };
        let (way, deck_held) = self.way(&q)?;
        let mut after = q.after.map(|call| call.0);
        let mut sums = Sums::default();
        loop {
            let page = CdrFilter { after_flow_no: after, ..filter.clone() };
            let wanted = way.clone();
            let (part, corrections, last) = self.query(move |queries| slice(queries, &page, &wanted)).await?;
            after = last;
            sums.add(part)?;
            for batch in corrections.chunks(BATCH) {
                sums.corrected += batch.len() as u64;
                self.correct(actor, batch.to_vec()).await?;
            }
            if after.is_none() || sums.calls >= u64::from(SLICE_CALLS) {
                break;
            }
        }
        if q.apply.is_some() && sums.corrected > 0 {
            let change = format!("~ {} calls corrected, margin {} -> {}", sums.corrected, sums.margin.0, sums.margin.1);
            self.note(self.audit(actor, command, &q.memo, vec![change])).await;
        }
        if let Source::Sheet(deck) = &way.source {
            let now_ms = self.state.borrow().clock.now().wall_ms;
            for ((_, prefix), sum) in &mut sums.destinations {
                if let Lookup::Found(row) = deck.lookup(prefix, way.at_ms.unwrap_or(now_ms)) {
                    sum.name = row.rate().area_name;
                }
            }
        }
        let currency = self.state.borrow().config.currency.clone();
        reply(&sums.reply(currency, self.fee_digits(), deck_held, after.map(CallId)))
    }

    /// Reads the question.
    fn way(&self, q: &Rerate) -> Result<(Way, Option<u64>), ErrorObject> {
        if let Some(run) = &q.apply
            && !is_run(run)
        {
            return Err(ErrorObject::bad_value("apply", run, "1 to 40 letters, digits, - and _"));
        }
        let fu = q
            .fu
            .as_deref()
            .map(|text| parse_decimal(text).map_err(|_| ErrorObject::bad_value("fu", text, "a plain decimal above 0")));
        let overrides = Overrides {
            fp: q.fp,
            fu: fu.transpose()?,
            p_hold_ms: q.hold_precision,
            free_s: q.free,
            quantise_rate: q.quantise,
        };
        if q.fp.is_some() != q.fu.is_some() {
            return Err(ErrorObject::bad_value("fp", "without fu", "both or none: they must fit each other"));
        }
        let checked = overrides.over(&BillingParams::default()).validate();
        checked.map_err(|error| ErrorObject::new(ErrorCode::InvalidParams, error.to_string()))?;
        let pick = match (&q.group, &q.filter.account) {
            (Some(group), _) => Pick::Group(group.clone()),
            (None, Some(account)) => Pick::Account(account.clone()),
            (None, None) => Pick::Customer,
        };
        let (source, held) = self.source(q)?;
        let at_ms = match &q.rates_at {
            _ if q.all_begun => Some(all_begun(&source, self.state.borrow().clock.now().wall_ms)),
            None => None,
            Some(when) => {
                let at_ms = when.start_ms(&jiff::tz::TimeZone::UTC);
                Some(at_ms.ok_or_else(|| ErrorObject::bad_value("rates_at", "an instant", "one within the calendar"))?)
            }
        };
        let run = q.apply.clone().map(|run| (run, super::audit::tidy(&q.memo)));
        Ok((Way { pick, source, at_ms, overrides, run }, held))
    }

    fn source(&self, q: &Rerate) -> Result<(Source, Option<u64>), ErrorObject> {
        if q.stored {
            return Ok((Source::Stored, None));
        }
        if let Some(number) = q.deck_held {
            let held = self.held_deck.borrow().clone().filter(|held| held.number == number);
            let gone = || ErrorObject::new(ErrorCode::Conflict, "another rate sheet was sent meanwhile; start again");
            return Ok((Source::Sheet(held.ok_or_else(gone)?.deck), Some(number)));
        }
        if let Some(csv) = &q.deck {
            let parsed = deck_csv::parse(csv.as_bytes()).map_err(|errors| {
                let first =
                    errors.first().map(|e| format!("line {}: {} is {:?}; {}", e.line, e.column, e.value, e.rule));
                let message =
                    format!("{} errors in the rate sheet; the first: {}", errors.len(), first.unwrap_or_default());
                ErrorObject::new(ErrorCode::InvalidParams, message)
            })?;
            if let Some(column) = parsed.unknown_columns.first() {
                return Err(ErrorObject::unknown_word("column", column, &deck_csv::column_names()));
            }
            let name = q.group.clone().unwrap_or_else(|| "sheet".to_owned());
            let deck = Deck::build(name, parsed.rows)
                .map_err(|error| ErrorObject::new(ErrorCode::InvalidParams, error.to_string()))?;
            let mut held = self.held_deck.borrow_mut();
            let number = held.as_ref().map_or(1, |held| held.number + 1);
            let deck = Arc::new(deck);
            *held = Some(HeldDeck { number, deck: deck.clone() });
            return Ok((Source::Sheet(deck), Some(number)));
        }
        let state = self.state.borrow();
        if let Some(group) = &q.group
            && !state.decks.contains_key(group)
        {
            let names: Vec<&String> = state.decks.keys().collect();
            return Err(ErrorObject::not_found("rate group", group, &names));
        }
        let decks = state.decks.iter().map(|(name, stored)| (name.clone(), stored.deck.clone())).collect();
        Ok((Source::Groups(Arc::new(decks)), None))
    }

    /// Has corrections booked, and returns when they are written.
    async fn correct(&self, actor: &Actor, corrections: Vec<Correction>) -> Result<(), ErrorObject> {
        let user = actor.user.clone();
        let booked = self.order_rating(|done| RatingOrder::Correct { user, corrections, done }).await?;
        booked.map_err(internal)
    }
}

/// The instant at which every row of the sheet has begun.
fn all_begun(source: &Source, now_ms: i64) -> i64 {
    let decks: Vec<&Arc<Deck>> = match source {
        Source::Stored => Vec::new(),
        Source::Sheet(deck) => vec![deck],
        Source::Groups(decks) => decks.values().collect(),
    };
    let begins = decks.iter().flat_map(|deck| deck.iter()).filter_map(|row| row.rate().effective_from_ms);
    begins.fold(now_ms, i64::max)
}

/// What one page came to, the corrections it asks for, and its last call when there may be more.
type Slice = (Sums, Vec<Correction>, Option<u64>);

fn slice(queries: &Queries, page: &CdrFilter, way: &Way) -> Result<Slice, ErrorObject> {
    let cdrs = queries.cdr_list(page).map_err(|error| internal(error.to_string()))?;
    let (mut sums, mut corrections) = (Sums::default(), Vec::new());
    for cdr in &cdrs {
        sums.calls += 1;
        let Ok((params, proofs, revision)) = in_force(queries, cdr)? else {
            sums.failed += 1;
            continue;
        };
        if proofs.is_empty() {
            sums.no_proof += u64::from(!cdr.account.is_empty() || !cdr.vendor_account.is_empty());
            continue;
        }
        let connect_ms = proof::connect_ms_of(cdr);
        match price(connect_ms, (&params, &proofs), way).and_then(|repriced| {
            let changed = repriced.changes()?;
            sums.call(&repriced, changed)?;
            let correction = match &way.run {
                Some((run, memo)) if changed => {
                    let correction = repriced.correction(cdr.flow_no, revision + 1, run)?;
                    Some(Correction { memo: memo.clone(), ..correction })
                }
                _ => None,
            };
            Ok(correction)
        }) {
            Ok(correction) => corrections.extend(correction),
            Err(_) => sums.failed += 1,
        }
    }
    let last = cdrs.last().map(|cdr| cdr.flow_no).filter(|_| cdrs.len() == PAGE);
    Ok((sums, corrections, last))
}

/// By what a call is charged now, and how often it was corrected.
type InForce = (BillingParams, Vec<Proof>, u32);

fn in_force(queries: &Queries, cdr: &Cdr) -> Result<Result<InForce, String>, ErrorObject> {
    let corrections = queries.corrections(cdr.flow_no).map_err(|error| internal(error.to_string()))?;
    Ok(match corrections.into_iter().next_back() {
        Some(StoredCorrection { params, after, revision, .. }) => Ok((params, after, revision)),
        None => proof::params_of(cdr).and_then(|params| Ok((params, proof::of_cdr(cdr)?, 0))),
    })
}

fn price(connect_ms: i64, of: (&BillingParams, &[Proof]), way: &Way) -> Result<Repriced, BillingError> {
    let decks = match &way.source {
        Source::Stored => return reprice(connect_ms, of, &way.pick, Rates::Stored, &way.overrides),
        Source::Sheet(deck) => return reprice(connect_ms, of, &way.pick, Rates::Deck(deck, way.at_ms), &way.overrides),
        Source::Groups(decks) => decks,
    };
    // Each leg by the group it was priced by.
    let mut all = reprice(connect_ms, of, &Pick::Group(String::new()), Rates::Stored, &way.overrides)?;
    for group in of.1.iter().filter(|proof| way.pick.takes(proof)).map(|proof| proof.group.as_str()) {
        let pick = Pick::Group(group.to_owned());
        let Some(deck) = decks.get(group) else { continue };
        let priced = reprice(connect_ms, of, &pick, Rates::Deck(deck, way.at_ms), &way.overrides)?;
        for (leg, other) in all.legs.iter_mut().zip(priced.legs) {
            if other.before.group == group && way.pick.takes(&other.before) {
                *leg = other;
            }
        }
    }
    Ok(all)
}

/// Legs of one account or to one destination.
#[derive(Default)]
struct Sum {
    name: String,
    calls: u64,
    changed: u64,
    seconds: (i64, i64),
    due: (Money, Money),
    no_rate: u64,
    no_rate_due: Money,
}

/// What a slice comes to.
#[derive(Default)]
struct Sums {
    calls: u64,
    changed: u64,
    no_proof: u64,
    no_rate: u64,
    failed: u64,
    corrected: u64,
    margin: (Money, Money),
    destinations: BTreeMap<(&'static str, String), Sum>,
    accounts: BTreeMap<(&'static str, String), Sum>,
}

fn plus(sum: &mut Money, amount: Money) -> Result<(), BillingError> {
    *sum = sum.checked_add(amount)?;
    Ok(())
}

impl Sum {
    fn add(&mut self, other: Sum) -> Result<(), BillingError> {
        if self.name.is_empty() {
            self.name = other.name;
        }
        self.calls += other.calls;
        self.changed += other.changed;
        self.seconds.0 = self.seconds.0.saturating_add(other.seconds.0);
        self.seconds.1 = self.seconds.1.saturating_add(other.seconds.1);
        self.no_rate += other.no_rate;
        plus(&mut self.due.0, other.due.0)?;
        plus(&mut self.due.1, other.due.1)?;
        plus(&mut self.no_rate_due, other.no_rate_due)
    }
}

fn put(
    map: &mut BTreeMap<(&'static str, String), Sum>,
    key: (&'static str, String),
    sum: Sum,
) -> Result<(), BillingError> {
    let full = map.len() >= DESTINATIONS_MAX && !map.contains_key(&key);
    let key = if full { (key.0, "other".to_owned()) } else { key };
    map.entry(key).or_default().add(sum)
}

impl Sums {
    fn call(&mut self, repriced: &Repriced, changed: bool) -> Result<(), BillingError> {
        let (before, after) = repriced.margin()?;
        plus(&mut self.margin.0, before)?;
        plus(&mut self.margin.1, after)?;
        self.changed += u64::from(changed);
        self.no_rate += u64::from(repriced.legs.iter().any(|leg| leg.no_rate));
        for leg in repriced.legs.iter().filter(|leg| leg.taken) {
            let due = leg.due()?;
            let seconds = |proof: &Proof| proof.charge.as_ref().map_or(0, |charge| charge.billed_s);
            let sum = || match leg.no_rate {
                true => Sum { calls: 1, no_rate: 1, no_rate_due: due.0, ..Sum::default() },
                false => Sum {
                    calls: 1,
                    changed: u64::from(due.0 != due.1),
                    seconds: (seconds(&leg.before), seconds(&leg.after)),
                    due,
                    ..Sum::default()
                },
            };
            let side = leg.before.leg.as_str();
            let prefix = leg.after.row.as_ref().map_or_else(String::new, |row| row.prefix.to_string());
            put(&mut self.destinations, (side, prefix), sum())?;
            put(&mut self.accounts, (side, leg.before.account.to_string()), sum())?;
        }
        Ok(())
    }

    fn add(&mut self, other: Sums) -> Result<(), ErrorObject> {
        self.calls += other.calls;
        self.changed += other.changed;
        self.no_proof += other.no_proof;
        self.no_rate += other.no_rate;
        self.failed += other.failed;
        let add = || -> Result<(), BillingError> {
            plus(&mut self.margin.0, other.margin.0)?;
            plus(&mut self.margin.1, other.margin.1)?;
            for (key, sum) in other.destinations {
                put(&mut self.destinations, key, sum)?;
            }
            for (key, sum) in other.accounts {
                put(&mut self.accounts, key, sum)?;
            }
            Ok(())
        };
        add().map_err(|error| internal(format!("the sums are out of range: {error}")))
    }

    fn reply(self, currency: String, digits: u8, deck_held: Option<u64>, next: Option<CallId>) -> reply::Rerated {
        let money = |amount| with_digits(amount, digits);
        let rows = |map: BTreeMap<(&'static str, String), Sum>| {
            let row = |((side, key), sum): ((&str, String), Sum)| reply::RepricedRow {
                side: side.to_owned(),
                key,
                name: sum.name,
                calls: sum.calls,
                changed: sum.changed,
                old_s: sum.seconds.0,
                new_s: sum.seconds.1,
                old: money(sum.due.0),
                new: money(sum.due.1),
                difference: money(sum.due.1.checked_sub(sum.due.0).unwrap_or_default()),
                no_rate: sum.no_rate,
                no_rate_old: money(sum.no_rate_due),
            };
            map.into_iter().map(row).collect()
        };
        reply::Rerated {
            calls: self.calls,
            changed: self.changed,
            no_proof: self.no_proof,
            no_rate: self.no_rate,
            failed: self.failed,
            corrected: self.corrected,
            old_margin: money(self.margin.0),
            new_margin: money(self.margin.1),
            destinations: rows(self.destinations),
            accounts: rows(self.accounts),
            currency,
            deck_held,
            next,
        }
    }
}
