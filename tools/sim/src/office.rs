//! What an operator does with the money of a running switch: movements, calls of other systems, calls rated again.
//!
//! Deciding and booking are the daemon's `Rater` and `Desk`, asking is its `Queries`. What is written here is the glue of
//! `appliance/src/control/{money,external,rerate}.rs`; whoever changes one looks at the other.

use std::collections::HashSet;

use rust_decimal::Decimal;
use tandem_call::FlowNumbers;
use tandem_call::price::leg_at;
use tandem_rater::{FROM, Move, Movement, PackageAct};
use tandem_rating::cdr::Cdr;
use tandem_rating::fee::BillingParams;
use tandem_rating::gift::Gift;
use tandem_rating::package::NoMoney;
use tandem_rating::proof::{self, Proof};
use tandem_rating::rate::Deck;
use tandem_rating::record::{Audit, Correction, Record};
use tandem_rating::reprice::{Overrides, Pick, Rates, reprice};
use tandem_rating::usage::Usage;
use tandem_store::{CdrFilter, Queries, StoredLedgerRow};

use crate::machine::Machine;
use crate::plan::Plan;
use crate::rent::{self, OrderAct, Poor};
use crate::setup;
use crate::trade::{Again, ExternalCall};

/// The rows that an operator may take back (control/money.rs).
const REVERSIBLE: [&str; 3] = ["payment", "deduction", "make_zero"];
/// Normal clearing (control/external.rs NORMAL).
const NORMAL: i32 = 16;

/// What became of a movement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// It is booked now.
    Booked,
    /// It was booked before.
    Before,
}

/// What became of one external call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inserted {
    /// Number in the plan.
    pub index: u32,
    /// Its flow number.
    pub flow_no: u64,
    /// Stored now; false: that number is known.
    pub stored: bool,
}

/// One page of calls that are rated again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Calls that were corrected.
    pub corrected: Vec<u64>,
    /// The last call when there may be more.
    pub after: Option<u64>,
}

/// What the office of one life of the switch knows.
#[derive(Debug)]
pub(crate) struct Office {
    /// External calls of this life: the database may not have the last of them yet.
    external: HashSet<u64>,
    numbers: FlowNumbers,
}

impl Office {
    /// For a switch of one shard.
    pub(crate) fn new(flow_floor: u64) -> Office {
        Office { external: HashSet::new(), numbers: FlowNumbers::new(1, flow_floor) }
    }
}

impl Machine {
    /// What an operator's question waits for: that the database has everything that was written.
    ///
    /// # Errors
    /// It cannot.
    fn catch_up(&mut self) -> Result<Queries, String> {
        self.bring_up()?;
        Queries::open(&self.dir()).map_err(|error| error.to_string())
    }

    /// A movement of money, as control/money.rs has it booked.
    ///
    /// # Errors
    /// What the operator is told: refused, or not written yet.
    pub fn move_money(&mut self, account: &str, what: Move, key: &str) -> Result<Moved, String> {
        let queries = self.catch_up()?;
        let amount = match &what {
            Move::Pay(amount) | Move::PayFrom(_, amount) => Some(*amount),
            Move::MakeZero | Move::Reverse(_) | Move::ByCard(_) => None,
        };
        let row_of = |key: &str| queries.ledger_by_key(key).map_err(|error| error.to_string());
        if let Some(row) = row_of(key)? {
            if row.account != account || amount.is_some_and(|amount| row.amount != amount) {
                return Err(format!("{} of {} is already booked under {key}", row.kind, row.amount));
            }
            return Ok(Moved::Before);
        }
        let mut what = what;
        if let Move::ByCard(card) = &what
            && let Some(half) = row_of(&format!("{key}{FROM}"))?
        {
            if half.account != *card {
                return Err(format!("{} of {} is already booked under {key}", half.kind, half.amount));
            }
            what = Move::Pay(half.amount.checked_neg().map_err(|error| error.to_string())?);
        }
        if let Move::PayFrom(_, amount) = &what
            && row_of(&format!("{key}{FROM}"))?.is_some()
        {
            what = Move::Pay(*amount);
        }
        self.book(account, what, key)
    }

    /// Takes a movement back.
    ///
    /// # Errors
    /// As of [`Machine::move_money`].
    pub fn reverse(&mut self, key: &str) -> Result<Moved, String> {
        let queries = self.catch_up()?;
        let row_of = |key: &str| queries.ledger_by_key(key).map_err(|error| error.to_string());
        let row = row_of(key)?.ok_or_else(|| format!("there is no row {key}"))?;
        if !REVERSIBLE.contains(&row.kind.as_str()) {
            return Err(format!("a row of kind {} is not taken back", row.kind));
        }
        let half = row_of(&format!("{key}{FROM}"))?;
        let mut back = |row: &StoredLedgerRow| {
            self.move_money(&row.account, Move::Reverse(row.amount), &format!("reverse:{}", row.key))
        };
        let done = back(&row)?;
        if let Some(half) = half {
            back(&half)?;
        }
        Ok(done)
    }

    /// What somebody wants of an order, as rating_thread.rs has it booked; the account and the package afterwards.
    ///
    /// # Errors
    /// What he is told: refused, or not written yet.
    pub fn order(&mut self, plan: &Plan, name: &str, act: &OrderAct) -> Result<String, String> {
        let now_ms = self.now().wall_ms;
        let act = match act {
            OrderAct::New(order) => {
                let accounts = &plan.versions[0].accounts;
                PackageAct::Order {
                    account: accounts[order.account].name.clone(),
                    phone: order.phone.map(rent::house_number).unwrap_or_default(),
                    package: order.package.clone(),
                    effective_ms: (order.after_ms > 0).then(|| now_ms + order.after_ms),
                    expires_ms: order.for_ms.map(|for_ms| now_ms + for_ms),
                    priority: order.priority,
                    rent_percent: Decimal::from(order.percent),
                    no_money: match order.poor {
                        Poor::Wait => NoMoney::Wait,
                        Poor::Next => NoMoney::Next,
                        Poor::Delete => NoMoney::Delete,
                    },
                    user: name.to_owned(),
                    request: String::new(),
                }
            }
            OrderAct::Expire(of, for_ms) => {
                let expires_ms = Some(for_ms.map(|for_ms| now_ms + for_ms));
                let key = self.order_of(of)?;
                PackageAct::Change { key, expires_ms, priority: None, rent_percent: None, no_money: None }
            }
            OrderAct::Priority(of, priority) => {
                let (key, priority) = (self.order_of(of)?, Some(*priority));
                PackageAct::Change { key, expires_ms: None, priority, rent_percent: None, no_money: None }
            }
            OrderAct::Cancel(of, now) => PackageAct::Cancel { key: self.order_of(of)?, now: *now },
            OrderAct::CatchUp(of) => PackageAct::CatchUp { key: self.order_of(of)? },
        };
        self.begin_order()?;
        if self.sabotage.forgets_order() {
            return Ok("forgotten".to_owned());
        }
        let now = self.now();
        let done =
            self.desk.rater_mut().package(now, act, Some(Audit::default())).map_err(|error| error.to_string())?;
        self.turn_write()?;
        Ok(format!("order {}: {}", done.order.key, done.what))
    }

    /// The number of the order that an act made.
    fn order_of(&mut self, name: &str) -> Result<String, String> {
        let orders = self.catch_up()?.packages().map_err(|error| error.to_string())?;
        let found = orders.into_iter().find(|stored| stored.order.user == name);
        found.map(|stored| stored.order.key).ok_or_else(|| format!("{name} made no order"))
    }

    fn book(&mut self, account: &str, what: Move, key: &str) -> Result<Moved, String> {
        if self.sabotage.movement() {
            return Ok(Moved::Booked);
        }
        self.begin_order()?;
        let movement = Movement {
            account: account.to_owned(),
            what,
            key: key.to_owned(),
            user: "sim".into(),
            memo: String::new(),
        };
        let again = self.sabotage.moves_twice().then(|| Movement { key: format!("{key}:again"), ..movement.clone() });
        let at_ms = self.now().wall_ms;
        self.desk.rater_mut().move_money(at_ms, movement).map_err(|error| error.to_string())?;
        if let Some(again) = again {
            let _ = self.desk.rater_mut().move_money(at_ms, again);
        }
        self.note();
        self.turn_write()?;
        Ok(Moved::Booked)
    }

    /// Nothing is begun while the journal cannot be written: what is refused must not be booked later.
    fn begin_order(&mut self) -> Result<(), String> {
        self.desk.write().map(|_| ()).map_err(|error| format!("nothing was booked: {error}"))
    }

    /// The row of the audit log beside an order.
    fn note(&mut self) {
        if let Err(error) = self.desk.journal_mut().append(&Record::Audit(Box::<Audit>::default())) {
            self.alarm(format!("a row of the audit log could not be journalled: {error}"));
        }
    }

    /// Calls of another system (control/external.rs).
    ///
    /// # Errors
    /// What the operator is told; then none is stored, unless the write of all of them failed.
    pub fn external(&mut self, plan: &Plan, list: &[ExternalCall]) -> Result<Vec<Inserted>, String> {
        let queries = self.catch_up()?;
        let mut seen = HashSet::new();
        if let Some(twice) = list.iter().filter_map(|call| call.flow_no).find(|flow_no| !seen.insert(*flow_no)) {
            return Err(format!("flow_no is {twice}; it stands twice"));
        }
        let now_ms = self.now().wall_ms;
        let mut usages = Vec::new();
        for call in list {
            usages.push((call.index, self.usage(plan, call, now_ms)?));
        }
        self.begin_order()?;
        let mut told = Vec::new();
        for (index, mut usage) in usages {
            let given = usage.flow_no != 0;
            if !given {
                usage.flow_no = self.office.numbers.next(now_ms);
            }
            let mut known = given && queries.is_settled(usage.flow_no).map_err(|error| error.to_string())?;
            if known && self.sabotage.external_again() {
                usage.flow_no = self.office.numbers.next(now_ms);
                known = false;
            }
            usage.flow_no_first = usage.flow_no;
            let stored = !known && self.office.external.insert(usage.flow_no);
            told.push(Inserted { index, flow_no: usage.flow_no, stored });
            if stored {
                let now = self.now();
                self.desk.rater_mut().settle_recovered(now, &usage);
            }
        }
        self.note();
        self.turn_write()?;
        Ok(told)
    }

    fn usage(&self, plan: &Plan, call: &ExternalCall, now_ms: i64) -> Result<Usage, String> {
        let snapshot = &self.snapshot;
        let name = &plan.versions[0].accounts[call.account].name;
        let account = snapshot.accounts.iter().find(|account| account.name == *name);
        let account = account.ok_or_else(|| format!("there is no account {name}"))?;
        let (number, start_ms) = (call.number(), now_ms - call.ago_ms);
        let leg = |account: &tandem_call::snapshot::Account| {
            leg_at(snapshot, account, None, &number, start_ms).map_err(|none| none.detail)
        };
        let mut customer = leg(account)?;
        let gift = |(n, gift): (usize, &crate::price::Gift)| Gift {
            package: format!("gift{n}").as_str().into(),
            cycle_s: gift.cycle_s as u32,
            left_s: gift.left_s,
        };
        customer.gifts = call.gifts.iter().enumerate().map(gift).collect();
        customer.gift_money = setup::money(call.gift_money)?;
        if self.sabotage.takes_gifts() {
            customer.gifts.clear();
        }
        let agents = snapshot.agents(account).map(leg).collect::<Result<_, _>>()?;
        Ok(Usage {
            flow_no: call.flow_no.unwrap_or(0),
            softswitch: "sim".into(),
            callee_in: number.as_str().into(),
            callee_billed: number.as_str().into(),
            setup_ms: start_ms,
            connect_ms: Some(start_ms),
            end_ms: start_ms + call.hold_s * 1_000,
            hold_ms: call.hold_s * 1_000,
            call_level: customer.terms.as_ref().map_or(0, |terms| terms.level),
            customer: Some(customer),
            agents,
            params: (*snapshot.billing).clone(),
            billing_type: 2,
            end_reason: NORMAL,
            ..Usage::default()
        })
    }

    /// One page of calls rated again, and their corrections booked (control/rerate.rs).
    ///
    /// # Errors
    /// What the operator is told: some of the page may be corrected.
    pub fn rerate(
        &mut self,
        plan: &Plan,
        run: &str,
        again: &Again,
        page: usize,
        after: Option<u64>,
    ) -> Result<Page, String> {
        let queries = self.catch_up()?;
        let filter = CdrFilter { limit: Some(page), oldest_first: true, after_flow_no: after, ..CdrFilter::default() };
        let cdrs = queries.cdr_list(&filter).map_err(|error| error.to_string())?;
        let deck = match again {
            Again::Sheet(_, rows) => Some(Deck::build("sheet", setup::rates(rows)).map_err(|error| error.to_string())?),
            Again::Params(_) => None,
        };
        let mut corrections = Vec::new();
        for cdr in &cdrs {
            let (params, proofs, revision) = in_force(&queries, cdr)?;
            let (pick, overrides) = match again {
                Again::Sheet(None, _) => (Pick::Customer, Overrides::default()),
                Again::Sheet(Some(account), _) => {
                    (Pick::Account(plan.versions[0].accounts[*account].name.clone()), Overrides::default())
                }
                Again::Params(billing) => (Pick::Customer, overrides(setup::params(billing))),
            };
            let rates = deck.as_ref().map_or(Rates::Stored, |deck| Rates::Deck(deck, None));
            let priced = reprice(proof::connect_ms_of(cdr), (&params, &proofs), &pick, rates, &overrides)
                .map_err(|error| format!("call {}: {error}", cdr.flow_no))?;
            if !proofs.is_empty() && priced.changes().map_err(|error| error.to_string())? {
                corrections.push(priced.correction(cdr.flow_no, revision + 1, run).map_err(|error| error.to_string())?);
            }
        }
        drop(queries);
        self.begin_order()?;
        let at_ms = self.now().wall_ms;
        let mut corrected = Vec::new();
        for correction in corrections {
            corrected.push(correction.flow_no);
            if self.sabotage.correction() {
                continue;
            }
            let flow_no = correction.flow_no;
            if self.sabotage.corrects_twice() {
                let (run, revision) = (format!("{run}-again"), correction.revision + 1);
                let again = Correction { run, revision, before: correction.after.clone(), ..correction.clone() };
                let _ = self.desk.rater_mut().correct(at_ms, "sim", again);
            }
            let booked = self.desk.rater_mut().correct(at_ms, "sim", correction);
            booked.map_err(|error| format!("call {flow_no} is not corrected: {error}"))?;
        }
        self.turn_write()?;
        let after = cdrs.last().map(|cdr| cdr.flow_no).filter(|_| cdrs.len() == page);
        Ok(Page { corrected, after })
    }
}

/// By what a call is charged now, and how often it was corrected.
fn in_force(queries: &Queries, cdr: &Cdr) -> Result<(BillingParams, Vec<Proof>, u32), String> {
    let corrections = queries.corrections(cdr.flow_no).map_err(|error| error.to_string())?;
    match corrections.into_iter().next_back() {
        Some(last) => Ok((last.params, last.after, last.revision)),
        None => Ok((proof::params_of(cdr)?, proof::of_cdr(cdr)?, 0)),
    }
}

fn overrides(params: BillingParams) -> Overrides {
    Overrides {
        fp: Some(params.fp),
        fu: Some(params.fu),
        p_hold_ms: Some(params.p_hold_ms),
        free_s: Some(params.free_s),
        quantise_rate: Some(params.quantise_rate),
    }
}
