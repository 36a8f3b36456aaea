//! Questions to the database, on a connection that cannot write: CDRs, ledger, accounts, configuration.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params_from_iter};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use tandem_rating::cdr::Cdr;
use tandem_rating::money::Money;
use tandem_rating::record::LedgerKind;

use crate::amount;
use crate::block_index::LEDGER;
use crate::block_sums::Sums;
use crate::block_values::{self, Range};
use crate::cdr_table::{self, Layout};
use crate::changes::{self, AuditFilter, StoredAudit, StoredChange};
use crate::config::{self, StoredParam, StoredSite};
use crate::correction::{self, StoredCorrection};
use crate::decks::{self, DeckVersion, StoredDeck};
use crate::error::StoreError;
use crate::ledger::{self, StoredAccount};
use crate::package::{self, StoredOrder};
use crate::plan::{Budget, Lookup, Plan, Sorted, Span};
use crate::rebuild;
use crate::report::{self, ReportBy, ReportChecked, ReportRow};
use crate::schema;
use crate::verify::{self, Verified};

/// Rows of one page when none is asked for.
pub const LIMIT_DEFAULT: usize = 100;
/// Most rows of one page: about 1.5 MiB of CDRs. More come page by page.
pub const LIMIT_MAX: usize = 5000;

/// Rows of a sorted list, all pages together: their places are in memory.
const SORTED_MAX: usize = 50_000;
/// Rows of one call, and of others between them, that are read without asking which blocks they are in.
const FEW_ROWS: i64 = 1_000;

/// Rows that [`Queries::cdr_count_soon`] reads, each by itself and some 10 us each, until it says what it has.
const COUNT_READS_MAX: u64 = 4_000;

/// The customer's fee in units of the eighth decimal. A fee below 90 million is exact as a float of this size.
const FEE_UNITS: &str = "CAST(round(fee * 100000000.0) AS INTEGER)";

/// How a number is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NumberMatch {
    /// This very number.
    Exact(String),
    /// Numbers that begin so.
    Prefix(String),
}

/// How a list of CDRs is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CdrSort {
    /// By day and the order of booking: what the index serves.
    #[default]
    Booking,
    /// By the customer's fee.
    Fee,
    /// By held time.
    Duration,
}

/// Which CDRs. Every part that is set must hold; the default is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CdrFilter {
    /// The payer.
    pub account: Option<String>,
    /// The direct agent of the payer.
    pub agent_account: Option<String>,
    /// The clearing account.
    pub vendor_account: Option<String>,
    /// Payer or clearing account.
    pub any_account: Option<String>,
    /// Billing caller begins so.
    pub caller_prefix: Option<String>,
    /// Billing callee begins so.
    pub callee_prefix: Option<String>,
    /// Caller as received or as billed.
    pub caller: Option<NumberMatch>,
    /// Callee as received or as billed.
    pub callee: Option<NumberMatch>,
    /// Mapping or routing gateway.
    pub gateway: Option<String>,
    /// Mapping gateway.
    pub caller_gateway: Option<String>,
    /// Routing gateway.
    pub callee_gateway: Option<String>,
    /// Day of the end in the server's zone, yyyymmdd.
    pub day: Option<u32>,
    /// Ended at or after, UTC ms.
    pub from_ms: Option<i64>,
    /// Ended before, UTC ms.
    pub to_ms: Option<i64>,
    /// End reason, by number.
    pub end_reason: Option<i32>,
    /// Answered calls only, or the others only.
    pub answered: Option<bool>,
    /// Held so many seconds or more.
    pub hold_min_s: Option<i64>,
    /// Held so many seconds or less.
    pub hold_max_s: Option<i64>,
    /// The customer's fee is so much or more; with at most eight decimals.
    pub fee_min: Option<Money>,
    /// One call.
    pub flow_no: Option<u64>,
    /// How the list is sorted.
    pub sort: CdrSort,
    /// Rows at most, 1 to [`LIMIT_MAX`]; [`LIMIT_DEFAULT`] when not set.
    pub limit: Option<usize>,
    /// Rows to leave out first: the next page begins at `offset + limit`.
    pub offset: u64,
    /// In the chosen order; newest or largest first by default.
    pub oldest_first: bool,
    /// Only CDRs behind this one in the chosen order: pages that neither skip nor repeat while new calls end.
    pub after_flow_no: Option<u64>,
}

/// Sums over CDRs, exact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CdrTotals {
    /// CDRs.
    pub calls: u64,
    /// Of these, answered.
    pub answered: u64,
    /// Held seconds.
    pub hold_s: i64,
    /// Billed seconds of the customers.
    pub billed_s: i64,
    /// Billed seconds of the vendors.
    pub vendor_s: i64,
    /// RTP packets from callers that were forwarded.
    pub caller_rtp_relayed: u64,
    /// RTP packets from vendors that were forwarded.
    pub callee_rtp_relayed: u64,
    /// Fees of the customers.
    pub fee: Money,
    /// Tax on them.
    pub tax: Money,
    /// Fees of the vendors.
    pub cost: Money,
    /// Tax on them.
    pub cost_tax: Money,
    /// `fee - cost`, as the CDRs have it.
    pub margin: Money,
}

/// How many rows there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// So many, or so many at least.
    pub rows: u64,
    /// These are all.
    pub is_all: bool,
}

/// Which ledger rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerFilter {
    /// Account.
    pub account: Option<String>,
    /// `call`, `payment`, `opening`, `make_zero`, `correction`.
    pub kind: Option<String>,
    /// The call.
    pub flow_no: Option<u64>,
    /// At or after, UTC ms.
    pub from_ms: Option<i64>,
    /// Before, UTC ms.
    pub to_ms: Option<i64>,
    /// Rows at most, 1 to [`LIMIT_MAX`]; [`LIMIT_DEFAULT`] when not set.
    pub limit: Option<usize>,
    /// Rows to leave out first.
    pub offset: u64,
    /// In the order of booking; newest first by default.
    pub oldest_first: bool,
}

/// A ledger row as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLedgerRow {
    /// Order of booking.
    pub id: i64,
    /// Unique key.
    pub key: String,
    /// Account.
    pub account: String,
    /// The word of [`tandem_rating::record::LedgerKind::as_str`].
    pub kind: String,
    /// Added to the balance.
    pub amount: Money,
    /// Balance after this row.
    pub balance_after: Money,
    /// UTC ms.
    pub at_ms: i64,
    /// The call.
    pub flow_no: Option<u64>,
    /// Who.
    pub user: String,
    /// Free text.
    pub memo: String,
}

/// The columns of a [`StoredLedgerRow`].
const LEDGER_COLUMNS: &str = "id, coalesce(key, 'call:' || flow_no || ':' || leg), account, kind, amount, balance_after, at_ms, flow_no, user, memo";

/// The ledger rows of one call: those settled with it stand behind each other, from the one that `settled` names; another
/// row that names it has a key, and an index for it. [`of_call`] gives the values.
const OF_CALL: &str = "id IN (
    SELECT one.id FROM settled JOIN ledger_row AS one
    ON one.id BETWEEN settled.ledger_id AND settled.ledger_id + 15
    WHERE settled.flow_no = ? AND one.flow_no = ?
    UNION ALL SELECT id FROM ledger_row WHERE flow_no = ? AND key IS NOT NULL)";

/// Words accepted by [`LedgerFilter::kind`].
const KINDS: [&str; LedgerKind::ALL.len()] = {
    let mut words = [""; LedgerKind::ALL.len()];
    let mut n = 0;
    while n < words.len() {
        words[n] = LedgerKind::ALL[n].as_str();
        n += 1;
    }
    words
};

/// Leaves a note for the next start when the answer is that the database is damaged. The writer has most pages in memory and
/// may not see for long what a question meets.
fn noted<T>(path: &Path, answer: Result<T, StoreError>) -> Result<T, StoreError> {
    if let (Err(error @ StoreError::Damaged { .. }), Some(dir)) = (&answer, path.parent()) {
        // A folder that cannot be written to is told by everybody who has to write there.
        let _ = rebuild::mark_damaged(dir, &error.to_string());
    }
    answer
}

/// Reads the database while the switch writes it. Each answer is of one moment.
#[derive(Debug)]
pub struct Queries {
    connection: Connection,
    path: PathBuf,
    /// Whether the blocks have values.
    has_values: bool,
}

impl Queries {
    /// Opens the database in folder `dir`, which must exist.
    ///
    /// # Errors
    /// The file is missing, damaged, of another program or of a newer version.
    pub fn open(dir: &Path) -> Result<Queries, StoreError> {
        let path = dir.join(schema::DATABASE_FILE);
        let connection = noted(&path, schema::open_reader(&path))?;
        let has_values = block_values::are_there(&connection);
        let has_values = noted(&path, has_values.map_err(StoreError::sql(&path, "read the tables")))?;
        Ok(Queries { connection, path, has_values })
    }

    /// A page of CDRs, by day and then in the order of booking.
    ///
    /// # Errors
    /// [`StoreError::Refused`] naming the part of the question that cannot be answered; the database.
    pub fn cdr_list(&self, filter: &CdrFilter) -> Result<Vec<Cdr>, StoreError> {
        let limit = checked_limit(filter.limit)?;
        self.snapshot(|| self.list(filter, limit))
    }

    fn list(&self, filter: &CdrFilter, limit: usize) -> Result<Vec<Cdr>, StoreError> {
        let of_value = match filter.sort {
            CdrSort::Booking => None,
            CdrSort::Fee => Some((cdr_table::FEE, FEE_UNITS)),
            CdrSort::Duration => Some((cdr_table::HOLD_S, "hold_s")),
        };
        if let Some(value) = of_value {
            return self.sorted_list(filter, value, limit);
        }
        let mut skip = filter.offset;
        let mut cdrs = Vec::new();
        self.each_day(filter, filter.after_flow_no, |plan, day, last_id| {
            let mut layout = None;
            for span in plan.spans(last_id)? {
                if skip > 0 {
                    let count = plan.count(span, &mut Budget::endless())?;
                    if count <= skip {
                        skip -= count;
                        continue;
                    }
                }
                let layout = match &mut layout {
                    Some(layout) => layout,
                    None => layout.insert(self.layout(day)?),
                };
                plan.read(span, &layout.select_list(), |row| {
                    if skip > 0 {
                        skip -= 1;
                    } else {
                        cdrs.push(cdr_table::read(row, layout, day)?);
                    }
                    Ok(cdrs.len() < limit)
                })?;
                if cdrs.len() >= limit {
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        Ok(cdrs)
    }

    /// A page of CDRs by a whole number, which is `field` in the index and `value` in the table; equal ones in the order of
    /// booking.
    fn sorted_list(
        &self,
        filter: &CdrFilter,
        (field, value): (&'static str, &str),
        limit: usize,
    ) -> Result<Vec<Cdr>, StoreError> {
        let refused = |field, value: String, range: String| Err(StoreError::Refused { field, value, range });
        if filter.after_flow_no.is_some() {
            return refused("after", "with sort".to_owned(), "only in the order of booking; use offset".to_owned());
        }
        let wanted = usize::try_from(filter.offset).unwrap_or(usize::MAX).saturating_add(limit);
        if wanted > SORTED_MAX {
            return refused(
                "offset",
                filter.offset.to_string(),
                format!("the first {SORTED_MAX} rows of a sorted list; a smaller range of time has all of them"),
            );
        }
        // The best so far and some that are not; what does not beat the bound is none of them.
        let mut best: Vec<(i64, i64, i64)> = Vec::new();
        let mut bound: Option<i64> = None;
        let sign = if filter.oldest_first { -1 } else { 1 };
        let columns = format!("id, {value}");
        self.each_day(filter, None, |plan, day, last_id| {
            for span in plan.spans(last_id)? {
                let place = |id: i64, value: i64| (value.saturating_mul(sign), day * sign, id * sign);
                match plan.sorted(span, field, bound, filter.oldest_first)? {
                    Sorted::Behind => {}
                    Sorted::These(rows) => best.extend(rows.into_iter().map(|(id, value)| place(id, value))),
                    Sorted::Unknown => plan.read(span, &columns, |row| {
                        let failed = self.failed("read a CDR day table");
                        let (id, value) = row.get(0).and_then(|id| Ok((id, row.get(1)?))).map_err(failed)?;
                        best.push(place(id, value));
                        Ok(true)
                    })?,
                }
                // Half of them go at a time, so that each is looked at a few times only.
                if best.len() >= wanted.saturating_mul(2) {
                    let (_, worst, _) = best.select_nth_unstable_by(wanted - 1, |a, b| b.cmp(a));
                    bound = Some(worst.0.saturating_mul(sign));
                    best.truncate(wanted);
                }
            }
            Ok(true)
        })?;
        let mut places = best;
        places.sort_unstable_by(|a, b| b.cmp(a));
        places.truncate(wanted);
        let skip = usize::try_from(filter.offset).unwrap_or(usize::MAX);
        let mut layouts: HashMap<i64, Layout> = HashMap::new();
        let mut cdrs = Vec::new();
        for (_, day, id) in places.into_iter().skip(skip) {
            let (day, id) = (day * sign, id * sign);
            let layout = match layouts.entry(day) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(self.layout(day)?),
            };
            let sql = format!("SELECT {} FROM {} WHERE id = ?1", layout.select_list(), cdr_table::table_name(day));
            let mut statement = self.connection.prepare_cached(&sql).map_err(self.failed("read a CDR day table"))?;
            let mut rows = statement.query([id]).map_err(self.failed("read a CDR day table"))?;
            if let Some(row) = rows.next().map_err(self.failed("read a CDR day table"))? {
                cdrs.push(cdr_table::read(row, layout, day)?);
            }
        }
        Ok(cdrs)
    }

    /// The first and the last day with CDRs, yyyymmdd.
    ///
    /// # Errors
    /// The database.
    pub fn cdr_days(&self) -> Result<Option<(u32, u32)>, StoreError> {
        let days = verify::days(&self.connection, &self.path)?;
        let number = |day: i64| u32::try_from(day).unwrap_or(0);
        Ok(days.first().zip(days.last()).map(|((first, _), (last, _))| (number(*first), number(*last))))
    }

    /// The reports of a day (yyyymmdd), all or those of one division; empty when there were no calls.
    ///
    /// # Errors
    /// The database.
    pub fn report_day(&self, day: u32, by: Option<ReportBy>) -> Result<Vec<ReportRow>, StoreError> {
        self.snapshot(|| report::rows(&self.connection, &self.path, day.into(), by))
    }

    /// The days that have reports, oldest first.
    ///
    /// # Errors
    /// The database.
    pub fn report_days(&self) -> Result<Vec<u32>, StoreError> {
        let days = report::days(&self.connection, &self.path)?;
        Ok(days.into_iter().filter_map(|day| u32::try_from(day).ok()).collect())
    }

    /// Makes the reports of a day again from its CDRs and compares them, and compares them with the ledger.
    ///
    /// # Errors
    /// The database. What does not agree is no error but [`ReportChecked::problems`].
    pub fn report_check(&self, day: u32) -> Result<ReportChecked, StoreError> {
        let day = i64::from(day);
        self.snapshot(|| {
            let has_cdrs = verify::days(&self.connection, &self.path)?.iter().any(|(known, _)| *known == day);
            let zone_offset_ms = report::zone_offset_ms(&self.connection, &self.path)?;
            report::check(&self.connection, &self.path, day, has_cdrs, zone_offset_ms)
        })
    }

    /// Whether a call of this number is settled, with or without a CDR.
    ///
    /// # Errors
    /// The database.
    pub fn is_settled(&self, flow_no: u64) -> Result<bool, StoreError> {
        Ok(self.settled(flow_no)?.is_some())
    }

    /// The CDR of one call; `None` when that call is not known, not over, or was suppressed (cdr.md 3).
    ///
    /// # Errors
    /// The database.
    pub fn cdr_show(&self, flow_no: u64) -> Result<Option<Cdr>, StoreError> {
        let filter = CdrFilter { flow_no: Some(flow_no), limit: Some(1), ..CdrFilter::default() };
        Ok(self.cdr_list(&filter)?.pop())
    }

    /// How many CDRs `filter` has on all its pages, however long it takes. A question of keys and times is answered from the
    /// index.
    ///
    /// # Errors
    /// [`StoreError::Refused`]; the database.
    pub fn cdr_count(&self, filter: &CdrFilter) -> Result<u64, StoreError> {
        self.count(filter, Budget::endless()).map(|counted| counted.rows)
    }

    /// [`cdr_count`](Self::cdr_count), given up after about 50 ms of work: beside a page a person wants the page, and an idea of
    /// how many more there are. The same question gets the same answer as long as no calls end.
    ///
    /// # Errors
    /// As of [`cdr_count`](Self::cdr_count).
    pub fn cdr_count_soon(&self, filter: &CdrFilter) -> Result<Counted, StoreError> {
        self.count(filter, Budget::of(COUNT_READS_MAX))
    }

    /// A page and how many CDRs `filter` has on all its pages, of one moment; the count as of
    /// [`cdr_count_soon`](Self::cdr_count_soon), but certain and for nothing when the page is the last.
    ///
    /// # Errors
    /// As of [`cdr_list`](Self::cdr_list).
    pub fn cdr_page(&self, filter: &CdrFilter) -> Result<(Vec<Cdr>, Counted), StoreError> {
        let limit = checked_limit(filter.limit)?;
        self.snapshot(|| {
            let page = self.list(filter, limit)?;
            let is_last = page.len() < limit && (filter.offset == 0 || !page.is_empty());
            let counted = match filter.after_flow_no {
                None if is_last => Counted { rows: filter.offset.saturating_add(page.len() as u64), is_all: true },
                _ => self.counted(filter, Budget::of(COUNT_READS_MAX))?,
            };
            Ok((page, counted))
        })
    }

    fn count(&self, filter: &CdrFilter, budget: Budget) -> Result<Counted, StoreError> {
        self.snapshot(|| self.counted(filter, budget))
    }

    fn counted(&self, filter: &CdrFilter, mut budget: Budget) -> Result<Counted, StoreError> {
        let mut counted = Counted { rows: 0, is_all: true };
        self.each_day(filter, None, |plan, _, last_id| {
            for span in plan.spans(last_id)? {
                if budget.is_spent() {
                    counted.is_all = false;
                    return Ok(false);
                }
                counted.rows += plan.count(span, &mut budget)?;
            }
            Ok(true)
        })?;
        Ok(counted)
    }

    /// Sums over all CDRs of `filter`; limit and offset are not looked at. Blocks of rows that fit whole have their sums;
    /// of others each row is read, about a million a second.
    ///
    /// # Errors
    /// [`StoreError::Refused`]; a sum out of range; the database.
    pub fn cdr_totals(&self, filter: &CdrFilter) -> Result<CdrTotals, StoreError> {
        self.snapshot(|| {
            let mut totals = Sums::default();
            let columns = cdr_table::sums_list();
            self.each_day(filter, None, |plan, day, last_id| {
                // Whatever columns the table was made with.
                let plan = Plan { table: &cdr_table::view_name(day), ..*plan };
                for span in plan.spans(last_id)? {
                    match plan.sums(span)? {
                        Some(sums) => totals.add(&sums),
                        None => plan.read(span, &columns, |row| {
                            totals.add(&cdr_table::sums_of_row(row, 0, &self.path, plan.table)?);
                            Ok(true)
                        })?,
                    }
                }
                Ok(true)
            })?;
            totals_of(&totals)
        })
    }

    /// Plans the question for each day that can hold an answer, in order, until `ask` says false.
    fn each_day(
        &self,
        filter: &CdrFilter,
        after: Option<u64>,
        mut ask: impl FnMut(&Plan<'_>, i64, i64) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let after = after.map(|flow_no| self.place_of(flow_no)).transpose()?;
        let condition = cdr_condition(filter);
        let one = match filter.flow_no {
            None => None,
            Some(flow_no) => Some(self.settled(flow_no)?.unwrap_or((0, 0))),
        };
        let mut days = self.days(filter)?;
        if !filter.oldest_first {
            days.reverse();
        }
        for (day, cdrs) in days {
            let mut ids = (1, cdrs);
            if let Some((after_day, after_id)) = after {
                match (day.cmp(&after_day), filter.oldest_first) {
                    (Ordering::Less, true) | (Ordering::Greater, false) => continue,
                    (Ordering::Equal, true) => ids.0 = after_id + 1,
                    (Ordering::Equal, false) => ids.1 = after_id - 1,
                    (Ordering::Greater, true) | (Ordering::Less, false) => {}
                }
            }
            if let Some((one_day, id)) = one {
                if one_day != day {
                    continue;
                }
                ids = (ids.0.max(id), ids.1.min(id));
            }
            let plan = Plan {
                connection: &self.connection,
                path: &self.path,
                space: day,
                table: &cdr_table::table_name(day),
                sql: &condition.sql(),
                values: &condition.values,
                lookups: &condition.lookups,
                ranges: &condition.ranges,
                is_plain: condition.is_plain,
                has_values: self.has_values,
                times: (filter.from_ms, filter.to_ms),
                ids,
                oldest_first: filter.oldest_first,
            };
            if !ask(&plan, day, cdrs)? {
                break;
            }
        }
        Ok(())
    }

    /// Day and row of the CDR of a settled call.
    fn settled(&self, flow_no: u64) -> Result<Option<(i64, i64)>, StoreError> {
        self.connection
            .prepare_cached("SELECT day, cdr_id FROM settled WHERE flow_no = ?1")
            .and_then(|mut statement| {
                statement.query_row([flow_no as i64], |row| Ok((row.get(0)?, row.get(1)?))).optional()
            })
            .map_err(self.failed("read table settled"))
    }

    /// The same for a cursor.
    fn place_of(&self, flow_no: u64) -> Result<(i64, i64), StoreError> {
        match self.settled(flow_no)? {
            Some((day, id)) if day != 0 => Ok((day, id)),
            _ => Err(StoreError::Refused {
                field: "after",
                value: flow_no.to_string(),
                range: "the flow number of a stored call".to_owned(),
            }),
        }
    }

    fn layout(&self, day: i64) -> Result<Layout, StoreError> {
        Layout::of(&self.connection, &self.path, day)?.ok_or_else(|| StoreError::Damaged {
            path: self.path.clone(),
            cause: format!("table {} is gone", cdr_table::table_name(day)),
        })
    }

    /// A page of ledger rows.
    ///
    /// # Errors
    /// [`StoreError::Refused`]; the database.
    pub fn ledger_list(&self, filter: &LedgerFilter) -> Result<Vec<StoredLedgerRow>, StoreError> {
        let limit = checked_limit(filter.limit)?;
        if let Some(kind) = &filter.kind
            && !KINDS.contains(&kind.as_str())
        {
            return Err(StoreError::Refused {
                field: "kind",
                value: format!("{kind:?}"),
                range: format!("one of {}", KINDS.join(", ")),
            });
        }
        self.snapshot(|| {
            let mut skip = filter.offset;
            let mut list = Vec::new();
            self.ledger(filter, |plan, spans| {
                for span in spans {
                    if skip > 0 {
                        let count = plan.count(*span, &mut Budget::endless())?;
                        if count <= skip {
                            skip -= count;
                            continue;
                        }
                    }
                    plan.read(*span, LEDGER_COLUMNS, |row| {
                        if skip > 0 {
                            skip -= 1;
                        } else {
                            list.push(self.ledger_row(row)?);
                        }
                        Ok(list.len() < limit)
                    })?;
                    if list.len() >= limit {
                        break;
                    }
                }
                Ok(())
            })?;
            Ok(list)
        })
    }

    /// How many ledger rows `filter` has on all its pages.
    ///
    /// # Errors
    /// The database.
    pub fn ledger_count(&self, filter: &LedgerFilter) -> Result<u64, StoreError> {
        self.snapshot(|| {
            let mut total = 0;
            self.ledger(filter, |plan, spans| {
                for span in spans {
                    total += plan.count(*span, &mut Budget::endless())?;
                }
                Ok(())
            })?;
            Ok(total)
        })
    }

    /// Plans the question to the ledger.
    fn ledger(
        &self,
        filter: &LedgerFilter,
        ask: impl FnOnce(&Plan<'_>, &[Span]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let condition = ledger_condition(filter);
        let failed = || self.failed("read table ledger");
        let ids = match filter.flow_no {
            // The rows of a call stand behind each other; another row that names it has a key, and an index for it.
            Some(flow_no) => {
                let rows = format!("SELECT min(id), max(id) FROM ledger_row WHERE {OF_CALL}");
                let found: (Option<i64>, Option<i64>) = self
                    .connection
                    .prepare_cached(&rows)
                    .and_then(|mut statement| {
                        statement.query_row(params_from_iter(of_call(flow_no)), |row| Ok((row.get(0)?, row.get(1)?)))
                    })
                    .map_err(failed())?;
                let (Some(first_id), Some(last_id)) = found else { return Ok(()) };
                (first_id, last_id)
            }
            None => {
                let last_id = self
                    .connection
                    .prepare_cached("SELECT ifnull(max(id), 0) FROM ledger_row")
                    .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
                    .map_err(failed())?;
                (1, last_id)
            }
        };
        let plan = Plan {
            connection: &self.connection,
            path: &self.path,
            space: LEDGER,
            table: "ledger_row",
            sql: &condition.sql(),
            values: &condition.values,
            lookups: &condition.lookups,
            ranges: &condition.ranges,
            is_plain: condition.is_plain,
            has_values: self.has_values,
            times: (filter.from_ms, filter.to_ms),
            ids,
            oldest_first: filter.oldest_first,
        };
        // A call has a handful: to look for its blocks among all there are takes longer than to read them.
        let few = ids.1 - ids.0 < FEW_ROWS && filter.flow_no.is_some();
        match few {
            true => ask(&plan, &[Span::row_by_row(ids.0, ids.1)]),
            false => ask(&plan, &plan.spans(ids.1)?),
        }
    }

    /// The ledger row with this idempotency key, whatever its account.
    ///
    /// # Errors
    /// The database.
    pub fn ledger_by_key(&self, key: &str) -> Result<Option<StoredLedgerRow>, StoreError> {
        let sql = format!("SELECT {LEDGER_COLUMNS} FROM ledger_row WHERE {}", ledger::BY_KEY);
        let mut statement = self.connection.prepare_cached(&sql).map_err(self.failed("read table ledger"))?;
        let mut rows = statement.query(ledger::by_key(key)).map_err(self.failed("read table ledger"))?;
        match rows.next().map_err(self.failed("read table ledger"))? {
            Some(row) => self.ledger_row(row).map(Some),
            None => Ok(None),
        }
    }

    fn ledger_row(&self, row: &rusqlite::Row<'_>) -> Result<StoredLedgerRow, StoreError> {
        let (stored, amount, balance_after) = ledger_row(row).map_err(self.failed("read table ledger"))?;
        Ok(StoredLedgerRow {
            amount: ledger::money(&stored.account, "amount", &amount)?,
            balance_after: ledger::money(&stored.account, "balance after", &balance_after)?,
            ..stored
        })
    }

    /// Every order of a package and fee of a phone, over or not, with what was used of the period that runs.
    ///
    /// # Errors
    /// The database.
    pub fn packages(&self) -> Result<Vec<StoredOrder>, StoreError> {
        package::orders(&self.connection, &self.path)
    }

    /// All accounts with their balances, by name.
    ///
    /// # Errors
    /// The database.
    pub fn accounts(&self) -> Result<Vec<StoredAccount>, StoreError> {
        ledger::accounts(&self.connection, &self.path)
    }

    /// The newest site configuration, or the one of `version`; `None` when there is none.
    ///
    /// # Errors
    /// The database.
    pub fn site(&self, version: Option<u64>) -> Result<Option<StoredSite>, StoreError> {
        config::site(&self.connection, &self.path, version)
    }

    /// All versions of the site configuration, newest first: (version, UTC ms, user).
    ///
    /// # Errors
    /// The database.
    pub fn site_history(&self) -> Result<Vec<(u64, i64, String)>, StoreError> {
        config::site_history(&self.connection, &self.path)
    }

    /// The site configuration as it was at `version`, which may have been made by a change that left the site as it was.
    ///
    /// # Errors
    /// The database.
    pub fn site_at(&self, version: u64) -> Result<Option<StoredSite>, StoreError> {
        changes::site_at(&self.connection, &self.path, version)
    }

    /// Changes of the configuration, newest first, and how many there are in all.
    ///
    /// # Errors
    /// [`StoreError::Refused`]; the database.
    pub fn changes(&self, limit: Option<usize>, offset: u64) -> Result<(Vec<StoredChange>, u64), StoreError> {
        let limit = checked_limit(limit)?;
        self.snapshot(|| changes::list(&self.connection, &self.path, limit, offset))
    }

    /// A page of the audit log, and how many rows `filter` has on all its pages.
    ///
    /// # Errors
    /// [`StoreError::Refused`]; the database.
    pub fn audit(&self, filter: &AuditFilter) -> Result<(Vec<StoredAudit>, u64), StoreError> {
        let limit = checked_limit(filter.limit)?;
        let mut condition = Condition::default();
        condition.number("at_ms >= ?", filter.from_ms);
        condition.number("at_ms < ?", filter.to_ms);
        condition.text("user = ?", &filter.user);
        let sql = condition.sql();
        self.snapshot(|| changes::audit_list(&self.connection, &self.path, &sql, &condition.values, filter, limit))
    }

    /// Parameters that were ever set, by name.
    ///
    /// # Errors
    /// The database.
    pub fn params(&self) -> Result<Vec<StoredParam>, StoreError> {
        config::params(&self.connection, &self.path)
    }

    /// The newest version of each rate group, of deleted ones too.
    ///
    /// # Errors
    /// The database.
    pub fn decks(&self) -> Result<Vec<StoredDeck>, StoreError> {
        decks::newest(&self.connection, &self.path)
    }

    /// One version of a rate group; `None` when there is no such version.
    ///
    /// # Errors
    /// The database.
    pub fn deck_at(&self, group: &str, version: u64) -> Result<Option<StoredDeck>, StoreError> {
        decks::at(&self.connection, &self.path, group, version)
    }

    /// A page of the versions of a rate group without their rows, newest first, and how many there are.
    ///
    /// # Errors
    /// The database.
    pub fn deck_versions(&self, group: &str, limit: usize, offset: u64) -> Result<(Vec<DeckVersion>, u64), StoreError> {
        decks::versions(&self.connection, &self.path, group, (limit.clamp(1, LIMIT_MAX), offset))
    }

    /// Corrections of a call, the first first.
    ///
    /// # Errors
    /// The database.
    pub fn corrections(&self, flow_no: u64) -> Result<Vec<StoredCorrection>, StoreError> {
        noted(&self.path, correction::of_call(&self.connection, &self.path, flow_no))
    }

    /// Last journal record in the database.
    ///
    /// # Errors
    /// The database.
    pub fn applied_seq(&self) -> Result<u64, StoreError> {
        Ok(schema::meta_number(&self.connection, &self.path, schema::key::APPLIED_SEQ)? as u64)
    }

    /// Recomputes all money: balances against ledger rows, ledger rows against CDRs. Reads everything.
    ///
    /// # Errors
    /// The database. Wrong sums are no error but [`Verified::problems`].
    pub fn verify(&self) -> Result<Verified, StoreError> {
        self.snapshot(|| verify::verify(&self.connection, &self.path))
    }

    /// Runs `ask` within one read transaction, so that all its statements see the same moment.
    fn snapshot<T>(&self, ask: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let transaction = self.connection.unchecked_transaction().map_err(self.failed("begin to read"))?;
        let answer = noted(&self.path, ask());
        transaction.finish().map_err(self.failed("end to read"))?;
        answer
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(rusqlite::Error) -> StoreError {
        StoreError::sql(&self.path, doing)
    }

    /// Days that can hold what `filter` asks for and how many CDRs each has, oldest first.
    fn days(&self, filter: &CdrFilter) -> Result<Vec<(i64, i64)>, StoreError> {
        let all = verify::days(&self.connection, &self.path)?;
        if let Some(day) = filter.day {
            let day = i64::from(day);
            if !all.iter().any(|(known, _)| *known == day) {
                let range = match (all.first(), all.last()) {
                    (Some((first, _)), Some((last, _))) => {
                        format!("no calls of that day are stored; there are days from {first} to {last}")
                    }
                    _ => "no calls are stored yet".to_owned(),
                };
                return Err(StoreError::Refused { field: "day", value: day.to_string(), range });
            }
        }
        if let (Some(from_ms), Some(to_ms)) = (filter.from_ms, filter.to_ms)
            && from_ms >= to_ms
        {
            return Err(StoreError::Refused {
                field: "from_ms",
                value: from_ms.to_string(),
                range: format!("must be before to_ms {to_ms}"),
            });
        }
        // The zone may have been another when a day was written: half a day either way covers all of them.
        let zone_ms = 14 * 3_600_000;
        let first = filter.from_ms.map_or(i64::MIN, |at_ms| cdr_table::day_of(at_ms, -zone_ms));
        let last = filter.to_ms.map_or(i64::MAX, |at_ms| cdr_table::day_of(at_ms, zone_ms));
        Ok(all
            .into_iter()
            .filter(|(day, _)| (first..=last).contains(day))
            .filter(|(day, _)| filter.day.is_none_or(|asked| i64::from(asked) == *day))
            .collect())
    }
}

/// A row without its two amounts, which are given as text.
fn ledger_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<(StoredLedgerRow, String, String)> {
    let stored = StoredLedgerRow {
        id: row.get(0)?,
        key: row.get(1)?,
        account: row.get(2)?,
        kind: row.get(3)?,
        amount: Money::ZERO,
        balance_after: Money::ZERO,
        at_ms: row.get(6)?,
        flow_no: row.get::<_, Option<i64>>(7)?.map(|flow_no| flow_no as u64),
        user: row.get(8)?,
        memo: row.get(9)?,
    };
    Ok((stored, row.get(4)?, row.get(5)?))
}

/// `sum` and the stored amount `text` together.
pub(crate) fn add(sum: Money, text: &str, table: &str) -> Result<Money, StoreError> {
    let amount: Money = ledger::money("of the sum", table, text)?;
    sum.checked_add(amount).map_err(|error| StoreError::Money {
        account: "of the sum".to_owned(),
        what: format!("{sum} + {amount} in {table}"),
        cause: error.to_string(),
    })
}

/// Sums as they are shown.
fn totals_of(sums: &Sums) -> Result<CdrTotals, StoreError> {
    let count = |sum: i128| u64::try_from(sum.max(0)).unwrap_or(u64::MAX);
    let seconds = |sum: i128| i64::try_from(sum).unwrap_or(i64::MAX);
    let money = |sum: i128| {
        amount::money(sum).map_err(|error| StoreError::Money {
            account: "of the sum".to_owned(),
            what: format!("{sum} units of 10^-8 in all"),
            cause: error.to_string(),
        })
    };
    let [hold_s, billed_s, vendor_s, caller, callee, fee, tax, cost, cost_tax, margin] = sums.of;
    Ok(CdrTotals {
        calls: count(sums.rows),
        answered: count(sums.answered),
        hold_s: seconds(hold_s),
        billed_s: seconds(billed_s),
        vendor_s: seconds(vendor_s),
        caller_rtp_relayed: count(caller),
        callee_rtp_relayed: count(callee),
        fee: money(fee)?,
        tax: money(tax)?,
        cost: money(cost)?,
        cost_tax: money(cost_tax)?,
        margin: money(margin)?,
    })
}

fn checked_limit(limit: Option<usize>) -> Result<usize, StoreError> {
    match limit {
        None => Ok(LIMIT_DEFAULT),
        Some(limit @ 1..=LIMIT_MAX) => Ok(limit),
        Some(limit) => Err(StoreError::Refused {
            field: "limit",
            value: limit.to_string(),
            range: format!("1 to {LIMIT_MAX}; the next page comes with an offset"),
        }),
    }
}

/// Conditions joined by AND, and their values in order.
#[derive(Default)]
struct Condition {
    parts: Vec<&'static str>,
    values: Vec<Value>,
    /// The parts that the index serves, those first that choose fewest.
    lookups: Vec<Lookup>,
    /// The parts that the values of the blocks serve.
    ranges: Vec<Range>,
    /// Whether there is nothing but those parts and times.
    is_plain: bool,
}

impl Condition {
    fn text(&mut self, part: &'static str, value: &Option<String>) {
        if let Some(value) = value {
            self.parts.push(part);
            // A part with several marks asks for the same value each time.
            self.values.extend(part.matches('?').map(|_| Value::Text(value.clone())));
        }
    }

    /// A part that asks for `key` in one of `fields`, which have an index.
    fn key(&mut self, part: &'static str, fields: &'static [&'static str], key: Option<NumberMatch>) {
        if let Some(key) = key {
            let (NumberMatch::Exact(text) | NumberMatch::Prefix(text)) = &key;
            self.text(part, &Some(text.clone()));
            // Rows without the field are not in the index.
            if !text.is_empty() {
                self.lookups.push(Lookup { fields, key });
            }
        }
    }

    fn number(&mut self, part: &'static str, value: Option<i64>) {
        if let Some(value) = value {
            self.parts.push(part);
            self.values.push(Value::Integer(value));
        }
    }

    /// A part that bounds a number which the blocks have as a value, from and to.
    fn range(&mut self, part: &'static str, field: &'static str, value: Option<i64>, from: bool, to: bool) {
        self.number(part, value);
        if let Some(value) = value {
            let (from, to) = (if from { value } else { i64::MIN }, if to { value } else { i64::MAX });
            self.ranges.push(Range { field, from, to });
        }
    }

    /// Adds the times, of column `column`, when all else is there.
    fn times(&mut self, parts: [&'static str; 2], from_ms: Option<i64>, to_ms: Option<i64>) {
        self.is_plain = self.parts.len() == self.lookups.len() + self.ranges.len();
        self.number(parts[0], from_ms);
        self.number(parts[1], to_ms);
    }

    fn sql(&self) -> String {
        if self.parts.is_empty() { "1".to_owned() } else { self.parts.join(" AND ") }
    }
}

fn ledger_condition(filter: &LedgerFilter) -> Condition {
    let mut condition = Condition::default();
    let exact = |text: &Option<String>| text.clone().map(NumberMatch::Exact);
    condition.key("account = ?", &["account"], exact(&filter.account));
    condition.key("kind = ?", &["kind"], exact(&filter.kind));
    if let Some(flow_no) = filter.flow_no {
        condition.parts.push(OF_CALL);
        condition.values.extend(of_call(flow_no));
    }
    condition.times(["at_ms >= ?", "at_ms < ?"], filter.from_ms, filter.to_ms);
    condition
}

/// An amount in units of [`FEE_UNITS`]; what is beyond them is more than any fee.
fn fee_units(amount: Money) -> i64 {
    let units = amount.amount().checked_mul(Decimal::from(100_000_000)).map(|units| units.ceil());
    units.and_then(|units| units.to_i64()).unwrap_or(i64::MAX)
}

/// The values of [`OF_CALL`].
fn of_call(flow_no: u64) -> [Value; 3] {
    [Value::Integer(flow_no as i64), Value::Integer(flow_no as i64), Value::Integer(flow_no as i64)]
}

fn cdr_condition(filter: &CdrFilter) -> Condition {
    let mut condition = Condition::default();
    let exact = |text: &Option<String>| text.clone().map(NumberMatch::Exact);
    let prefix = |text: &Option<String>| text.clone().map(NumberMatch::Prefix);
    // What chooses fewest comes first.
    let mut numbers = [
        (
            &filter.caller,
            "(caller_billed = ? OR caller_in = ?)",
            "(caller_billed >= ? AND caller_billed < ? || char(0x10FFFF) OR caller_in >= ? AND caller_in < ? || char(0x10FFFF))",
            &["caller_billed", "caller_in"],
        ),
        (
            &filter.callee,
            "(callee_billed = ? OR callee_in = ?)",
            "(callee_billed >= ? AND callee_billed < ? || char(0x10FFFF) OR callee_in >= ? AND callee_in < ? || char(0x10FFFF))",
            &["callee_billed", "callee_in"],
        ),
    ];
    numbers.sort_by_key(|(number, ..)| !matches!(number, Some(NumberMatch::Exact(_))));
    for (number, exact, prefix, fields) in numbers {
        match number {
            Some(NumberMatch::Exact(_)) => condition.key(exact, fields, number.clone()),
            Some(NumberMatch::Prefix(_)) => condition.key(prefix, fields, number.clone()),
            None => {}
        }
    }
    // A range instead of LIKE, which would not heed the case; the last code point sorts behind all that can follow.
    let (caller, callee) = (prefix(&filter.caller_prefix), prefix(&filter.callee_prefix));
    condition.key("(caller_billed >= ? AND caller_billed < ? || char(0x10FFFF))", &["caller_billed"], caller);
    condition.key("(callee_billed >= ? AND callee_billed < ? || char(0x10FFFF))", &["callee_billed"], callee);
    condition.key("account = ?", &["account"], exact(&filter.account));
    condition.key("agent_account = ?", &["agent_account"], exact(&filter.agent_account));
    condition.key("vendor_account = ?", &["vendor_account"], exact(&filter.vendor_account));
    let any_account = exact(&filter.any_account);
    condition.key("(account = ? OR vendor_account = ?)", &["account", "vendor_account"], any_account);
    let gateways = &["caller_gateway", "callee_gateway"];
    condition.key("(caller_gateway = ? OR callee_gateway = ?)", gateways, exact(&filter.gateway));
    condition.key("caller_gateway = ?", &["caller_gateway"], exact(&filter.caller_gateway));
    condition.key("callee_gateway = ?", &["callee_gateway"], exact(&filter.callee_gateway));
    let end_reason = filter.end_reason.map(|number| NumberMatch::Exact(number.to_string()));
    condition.key("end_reason = ?", &["end_reason"], end_reason);
    condition.range("(connect_ms IS NOT NULL) = ?", cdr_table::ANSWERED, filter.answered.map(i64::from), true, true);
    condition.range("hold_s >= ?", cdr_table::HOLD_S, filter.hold_min_s, true, false);
    condition.range("hold_s <= ?", cdr_table::HOLD_S, filter.hold_max_s, false, true);
    let fee_min = filter.fee_min.map(fee_units);
    condition.range("CAST(round(fee * 100000000.0) AS INTEGER) >= ?", cdr_table::FEE, fee_min, true, false);
    condition.number("flow_no = ?", filter.flow_no.map(|flow_no| flow_no as i64));
    condition.times(["end_ms >= ?", "end_ms < ?"], filter.from_ms, filter.to_ms);
    condition
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    #[test]
    fn the_rows_of_another_call_are_found_by_the_plan_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tandem.db");
        drop(schema::open_writer(&path, "USD").unwrap());
        let connection = schema::open_reader(&path).unwrap();
        let mut statement =
            connection.prepare(&format!("SELECT min(id), max(id) FROM ledger_row WHERE {OF_CALL}")).unwrap();
        for flow_no in 1..=3 {
            let found = statement.query_row(params_from_iter(of_call(flow_no)), |row| row.get::<_, Option<i64>>(0));
            assert_eq!(found.unwrap(), None);
        }
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
    }
}
