//! The owner of money and lines: balances, reservations, line counts, call rates, the ledger, the CDR.
//!
//! A pure state machine behind two queues. The daemon's rating thread feeds it [`Question`]s and drains [`Output`]s; a
//! record that comes out before an answer must be written before that answer is sent. It opens no file and reads no
//! clock, so ladders and the simulator run the very code that charges customers.
#![forbid(unsafe_code)]

mod adopt;
mod correct;
mod gateway;
mod packages;
mod payment;
mod settle;
mod spent;

use std::collections::{HashMap, HashSet, VecDeque};

use foldhash::fast::RandomState;
use tandem_call::question::{Admit, Answer, CallKey, Candidate, LineSkip, Payer, Question};
use tandem_call::snapshot::{AccountId, AccountKind, GatewayId};
use tandem_leg::{Now, ServerReason};
use tandem_rating::account::{Account, Refused, Reservation};
use tandem_rating::error::BillingError;
use tandem_rating::fee::{BillingParams, RateTerms, Tariff};
use tandem_rating::money::Money;
use tandem_rating::record::{LedgerKind, LedgerRow, Record};
use tandem_rating::split::RateChange;
use tandem_rating::usage::Usage;

pub use adopt::{AdoptedGrant, Adoption};
pub use gateway::{GatewayConfig, GatewayView};
pub use packages::{ORDERS_MAX, PackageAct, PackageConfig, PackageDone, PhoneFee};
pub use payment::{FROM, Move, Movement, PayError};
pub use settle::{PHONE_MEMO, Rules, Suppressed};
pub use spent::{day_of, month_of};

use gateway::Gateway;
use packages::{Held, Packages};
use spent::Spent;

/// An account as configured.
#[derive(Clone, Debug)]
pub struct AccountConfig {
    /// Stable number.
    pub id: AccountId,
    /// Name.
    pub name: String,
    /// Customer or vendor.
    pub kind: AccountKind,
    /// Credit limit.
    pub limit: Money,
    /// Opening balance, booked once when the account is new.
    pub opening: Option<Money>,
    /// Bounds beyond the balance.
    pub bounds: Bounds,
}

/// What bounds an account beyond its balance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// New calls are refused once this much was spent on calls in a month.
    pub monthly_max: Option<Money>,
    /// An alarm is given when the balance falls below this.
    pub alarm_below: Option<Money>,
    /// The account above it.
    pub agent: Option<AccountId>,
    /// It is a phone card: its money may go to another account.
    pub is_card: bool,
    /// It expires so many days after the end of the first call that cost something.
    pub valid_days: Option<u32>,
}

/// An account as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountView {
    /// Stable number.
    pub id: AccountId,
    /// Name.
    pub name: String,
    /// Customer or vendor.
    pub kind: AccountKind,
    /// Sum of its ledger rows.
    pub balance: Money,
    /// Credit limit.
    pub limit: Money,
    /// Held by calls in progress.
    pub reserved: Money,
    /// What new calls may use.
    pub available: Money,
    /// Calls in progress that hold a reservation.
    pub calls: u32,
    /// Spent on calls since midnight, in the zone of the server.
    pub spent_today: Money,
    /// Spent on calls since the first of the month.
    pub spent_month: Money,
    /// End of the first call that cost something, UTC ms; of accounts whose validity begins with it.
    pub first_use_ms: Option<i64>,
    /// End of that validity, UTC ms.
    pub valid_to_ms: Option<i64>,
}

#[derive(Debug)]
struct Owned {
    name: String,
    kind: AccountKind,
    money: Account,
    calls: u32,
    bounds: Bounds,
    spent: Spent,
    /// End of the first call that cost something, where it matters.
    first_use_ms: Option<i64>,
    /// The alarm of its balance was given and the balance has not been above since.
    alarmed: bool,
}

#[derive(Debug)]
struct Hold {
    account: AccountId,
    /// What it is charged by; `None` is a free leg.
    terms: Option<RateTerms>,
    /// Rows that take the place of `terms` later.
    changes: Vec<RateChange>,
    /// From when the call is counted, UTC ms: its admission, then its answer.
    connect_ms: i64,
    reservation: Reservation,
    /// What packages hold for it; `None` for an account without packages.
    held: Option<Box<Held>>,
}

impl Hold {
    /// What prices the leg, without its reservation.
    fn tariff<'a>(
        terms: &'a RateTerms,
        changes: &'a [RateChange],
        connect_ms: i64,
        held: &'a Option<Box<Held>>,
    ) -> Tariff<'a> {
        let plain = Tariff { changes, connect_ms, ..Tariff::plain(terms) };
        match held {
            None => plain,
            Some(held) => Tariff { gifts: &held.gifts, gift_money: held.gift_money(), ..plain },
        }
    }
}

#[derive(Debug)]
struct CallState {
    mapping: GatewayId,
    routing: Option<GatewayId>,
    holds: Vec<Hold>,
    /// Of the clearing account of the vendor that answered, when its balance is checked.
    clearing: Option<Hold>,
    params: std::sync::Arc<BillingParams>,
    advance_min: u32,
    /// Its start record was made: a settlement has to follow in the journal, whatever the rules of records say.
    started: bool,
}

/// What the owner of the files and queues has to do, in order.
#[derive(Debug)]
pub enum Output {
    /// Append to the journal.
    Record(Record),
    /// Send to the shard, after everything before it is written.
    Answer {
        /// Which shard.
        shard: u8,
        /// The answer.
        answer: Answer,
    },
    /// Something an operator has to know.
    Alarm(String),
}

/// See the module text.
#[derive(Debug, Default)]
pub struct Rater {
    accounts: HashMap<AccountId, Owned, RandomState>,
    /// Balances of accounts that the configuration does not name (yet).
    unclaimed: HashMap<String, Money>,
    gateways: HashMap<GatewayId, Gateway, RandomState>,
    account_names: HashMap<String, AccountId>,
    mapping_names: HashMap<String, GatewayId>,
    routing_names: HashMap<String, GatewayId>,
    calls: HashMap<u64, CallState, RandomState>,
    /// Spent by phones, by number.
    phones: HashMap<String, Spent, RandomState>,
    rules: Rules,
    suppressed: Suppressed,
    illegal: HashMap<String, (i64, u32)>,
    illegal_all: (i64, u32),
    keys: HashSet<String>,
    packages: Packages,
    out: VecDeque<Output>,
    settled: u64,
}

impl Rater {
    /// An owner of the balances that the store told.
    pub fn new(balances: impl IntoIterator<Item = (String, Money)>) -> Rater {
        Rater { unclaimed: balances.into_iter().collect(), ..Rater::default() }
    }

    /// Takes over accounts, gateways and rules of a new configuration. Money and lines in use stay as they are; an
    /// account seen for the first time is opened, with a ledger row.
    pub fn configure(&mut self, now: Now, accounts: &[AccountConfig], gateways: &[GatewayConfig], rules: Rules) {
        self.rules = rules;
        // A limit may be higher than before.
        self.packages.money_came(None);
        for config in accounts {
            if let Some(owned) = self.accounts.get_mut(&config.id) {
                owned.money.limit = config.limit;
                owned.kind = config.kind;
                owned.bounds = config.bounds.clone();
                continue;
            }
            self.account_names.insert(config.name.clone(), config.id);
            let known = self.unclaimed.remove(&config.name);
            let money = Account { balance: known.unwrap_or_default(), limit: config.limit, reserved: Money::ZERO };
            let owned = Owned {
                name: config.name.clone(),
                kind: config.kind,
                money,
                calls: 0,
                bounds: config.bounds.clone(),
                spent: Spent::default(),
                first_use_ms: None,
                alarmed: false,
            };
            self.accounts.insert(config.id, owned);
            if known.is_none() {
                let opening = config.opening.unwrap_or_default();
                // Cannot be refused: the account was made just above and the key is its name.
                let _ = self.book(
                    now.wall_ms,
                    config.id,
                    LedgerKind::Opening,
                    opening,
                    format!("opening:{}", config.name),
                    "",
                    "",
                );
            }
        }
        for config in gateways {
            self.gateways.entry(config.id).or_default().configure(config);
            let names = if config.routing { &mut self.routing_names } else { &mut self.mapping_names };
            names.insert(config.name.clone(), config.id);
        }
        let named: HashSet<GatewayId> = gateways.iter().map(|g| g.id).collect();
        for (id, gateway) in &mut self.gateways {
            gateway.configured = named.contains(id);
        }
    }

    /// Answers one question; drain [`poll_output`](Self::poll_output) afterwards.
    pub fn handle(&mut self, now: Now, question: Question) {
        match question {
            Question::Admit(admit) => self.admit(now, *admit),
            Question::NextLine { call, flow_no, candidates } => {
                self.release_line(flow_no);
                let (candidate, skipped) = self.take_line(now, &candidates);
                match self.calls.get_mut(&flow_no) {
                    Some(state) => state.routing = candidate.map(|n| candidates[n].gateway),
                    // A call that was never admitted holds nothing; the line just taken goes back.
                    None => self.free_line(candidate.map(|n| candidates[n].gateway)),
                }
                self.answer(call, Answer::Line { call, candidate, skipped });
            }
            Question::Answered { call, mut usage, carry } => {
                // A call writes its start record again when its session changes and when it goes on after a restart: what
                // it has been granted since stays.
                let state = self.calls.get_mut(&usage.flow_no);
                let again = state.is_some_and(|state| std::mem::replace(&mut state.started, true));
                let regranted = if again {
                    None
                } else {
                    let clearing = self.hold_clearing(&usage);
                    self.reprice(&usage).or(clearing)
                };
                if let Some(state) = self.calls.get(&usage.flow_no) {
                    fill_gifts(&mut usage, &state.holds);
                }
                self.out.push_back(Output::Record(Record::Start { usage, carry }));
                self.answer(call, Answer::Journaled { call, regranted });
            }
            Question::Renew { call, flow_no } => self.renew(call, flow_no),
            Question::Heartbeat { at_ms, alive, unacknowledged } => {
                self.out.push_back(Output::Record(Record::Heartbeat { at_ms, alive, unacknowledged }));
            }
            Question::Pause { gateway, until_ms } => {
                if let Some(gateway) = self.gateways.get_mut(&gateway) {
                    gateway.paused_until_ms = gateway.paused_until_ms.max(until_ms);
                }
            }
            Question::Settle { call, usage, awaited } => {
                let flow_no = usage.flow_no;
                if usage.answered() && !self.calls.contains_key(&flow_no) {
                    // Every answered call was admitted and holds its place until it is settled: this is a second word
                    // about a call that is paid.
                    self.out
                        .push_back(Output::Alarm(format!("call {flow_no}: settled a second time, not charged again")));
                } else {
                    self.settle(now, &usage);
                }
                self.answer(call, Answer::Settled { flow_no, awaited });
            }
        }
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// Every account, by name; what is spent is shown as of `now_ms`.
    pub fn accounts_at(&self, now_ms: i64) -> Vec<AccountView> {
        let mut views: Vec<AccountView> = self.accounts.iter().map(|(id, owned)| owned.view(*id, now_ms)).collect();
        views.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        views
    }

    /// Every account, by name, with all that was spent in the day and the month of the last charge.
    pub fn accounts(&self) -> Vec<AccountView> {
        self.accounts_at(i64::MIN)
    }

    /// What an account spent on calls before this start of the switch, today and this month.
    pub fn spent_before(&mut self, now: Now, account: &str, today: Money, month: Money) {
        let owned = self.account_names.get(account).and_then(|id| self.accounts.get_mut(id));
        if let Some(owned) = owned {
            owned.spent = Spent::known(&self.rules.zone, now.wall_ms, today, month);
        }
    }

    /// When an account whose validity begins with its first use was used before this start of the switch.
    pub fn first_use_before(&mut self, account: &str, at_ms: i64) {
        if let Some(owned) = self.account_names.get(account).and_then(|id| self.accounts.get_mut(id)) {
            owned.first_use_ms = Some(at_ms);
        }
    }

    /// What a phone spent this month before this start of the switch.
    pub fn phone_spent_before(&mut self, now: Now, number: &str, month: Money) {
        let spent = Spent::known(&self.rules.zone, now.wall_ms, Money::ZERO, month);
        self.phones.insert(number.to_owned(), spent);
    }

    /// Every gateway that the configuration names or that still carries calls.
    pub fn gateways(&self, now: Now) -> Vec<GatewayView> {
        let mut views: Vec<GatewayView> = self
            .gateways
            .iter()
            .filter(|(_, g)| g.configured || g.in_use > 0)
            .map(|(id, g)| g.view(*id, now))
            .collect();
        views.sort_unstable_by(|a, b| (a.routing, &a.name).cmp(&(b.routing, &b.name)));
        views
    }

    /// What calls in progress hold of one account: (flow number, amount, seconds covered), by flow number.
    pub fn reservations(&self, account: &str) -> Vec<(u64, Money, i64)> {
        let Some(id) = self.account_names.get(account) else {
            return Vec::new();
        };
        let mut rows: Vec<_> = self
            .calls
            .iter()
            .flat_map(|(flow_no, state)| state.holds.iter().chain(&state.clearing).map(move |hold| (*flow_no, hold)))
            .filter(|(_, hold)| hold.account == *id)
            .map(|(flow_no, hold)| (flow_no, hold.reservation.amount(), hold.reservation.grant().until_s))
            .collect();
        rows.sort_unstable_by_key(|row| row.0);
        rows
    }

    /// Calls that hold lines or reservations.
    pub fn calls_held(&self) -> usize {
        self.calls.len()
    }

    /// Calls settled since the start.
    pub fn settled(&self) -> u64 {
        self.settled
    }

    /// Records that the rules of cdr.md 3 held back, by cause.
    pub fn suppressed(&self) -> Suppressed {
        self.suppressed
    }

    fn answer(&mut self, call: CallKey, answer: Answer) {
        self.out.push_back(Output::Answer { shard: call.shard, answer });
    }

    /// Admission in the order of accounts.md 3 as far as it spans calls: call rate, money, lines.
    fn admit(&mut self, now: Now, admit: Admit) {
        let call = admit.call;
        match self.try_admit(now, &admit) {
            Ok((until_s, candidate, skipped)) => {
                self.answer(call, Answer::Granted { call, until_s, candidate, skipped })
            }
            Err(reason) => self.answer(call, Answer::Refused { call, reason }),
        }
    }

    #[allow(clippy::type_complexity)]
    fn try_admit(
        &mut self,
        now: Now,
        admit: &Admit,
    ) -> Result<(Option<i64>, Option<usize>, Vec<(usize, LineSkip)>), ServerReason> {
        if self.calls.contains_key(&admit.flow_no) {
            return Err(ServerReason::InternalError);
        }
        let mapping = self.gateways.get_mut(&admit.mapping).ok_or(ServerReason::InternalError)?;
        if !mapping.take_token(now) {
            return Err(ServerReason::CpsLimit);
        }
        let mut holds = Vec::with_capacity(admit.payers.len());
        for payer in &admit.payers {
            match self.reserve(payer, now.wall_ms, &admit.params, admit.advance_min) {
                Ok(hold) => holds.push(hold),
                Err(reason) => {
                    self.release_holds(holds);
                    return Err(reason);
                }
            }
        }
        let taken = self.gateways.get_mut(&admit.mapping).is_some_and(Gateway::take_line);
        if !taken {
            self.release_holds(holds);
            return Err(ServerReason::ConnectionLimitExceeded);
        }
        let (candidate, skipped) = self.take_line(now, &admit.candidates);
        let until_s = granted(holds.iter());
        self.calls.insert(
            admit.flow_no,
            CallState {
                mapping: admit.mapping,
                routing: candidate.map(|n| admit.candidates[n].gateway),
                holds,
                clearing: None,
                params: admit.params.clone(),
                advance_min: admit.advance_min,
                started: false,
            },
        );
        Ok((until_s, candidate, skipped))
    }

    fn reserve(
        &mut self,
        payer: &Payer,
        now_ms: i64,
        params: &BillingParams,
        advance_min: u32,
    ) -> Result<Hold, ServerReason> {
        let owned = self.accounts.get_mut(&payer.account).ok_or(ServerReason::InternalError)?;
        if payer.terms.is_some() && owned.valid_to_ms().is_some_and(|to_ms| now_ms >= to_ms) {
            return Err(ServerReason::AccountExpired);
        }
        let spent = |spent: Option<&Spent>| spent.map_or(Money::ZERO, |spent| spent.at(now_ms).1);
        let reached = |max: Option<Money>, spent: Money| max.is_some_and(|max| spent >= max);
        let charged = payer.terms.is_some();
        if charged
            && (reached(owned.bounds.monthly_max, spent(Some(&owned.spent)))
                || reached(payer.monthly_max, spent(self.phones.get(payer.phone.as_str()))))
        {
            return Err(ServerReason::MonthlyLimit);
        }
        let mut held = None;
        let reservation = match &payer.terms {
            None => Reservation::nothing(),
            Some(terms) => {
                if self.packages.serves(payer.account) {
                    let target_s = packages::target_s(i64::from(params.free_s), advance_min);
                    let tariff = Hold::tariff(terms, &payer.changes, now_ms, &None);
                    let mut own = Box::new(Held::new(&payer.phone, &payer.number));
                    self.packages.hold(&self.rules.zone, &mut own, payer.account, target_s, &tariff, params);
                    held = Some(own);
                }
                let tariff = Hold::tariff(terms, &payer.changes, now_ms, &held);
                match owned.money.admit(tariff, params, advance_min) {
                    Ok(reservation) => reservation,
                    Err(refused) => {
                        if let Some(held) = &held {
                            self.packages.give_back(held);
                        }
                        return Err(match refused {
                            Refused::NoMoney { .. } | Refused::Insufficient { .. } => ServerReason::InsufficientBalance,
                            Refused::Billing(_) => ServerReason::InternalError,
                        });
                    }
                }
            }
        };
        owned.calls += 1;
        let (terms, changes) = (payer.terms.clone(), payer.changes.clone());
        Ok(Hold { account: payer.account, terms, changes, connect_ms: now_ms, reservation, held })
    }

    /// The vendor that answered is paid from what we have there, when that is checked (accounts.md 3): its balance bounds the
    /// call like that of any payer. What it cannot pay does not stop the call that is answered, it ends it in time.
    fn hold_clearing(&mut self, usage: &Usage) -> Option<(Option<i64>, bool)> {
        let leg = usage.vendor.as_ref().filter(|_| self.rules.check_clearing)?;
        let terms = leg.terms.as_ref()?;
        let account = *self.account_names.get(leg.account.as_str())?;
        let state = self.calls.get_mut(&usage.flow_no).filter(|state| state.clearing.is_none())?;
        let owned = self.accounts.get_mut(&account)?;
        let mut hold = Hold {
            account,
            terms: Some(terms.clone()),
            changes: leg.changes.clone(),
            connect_ms: usage.connect_ms.unwrap_or(usage.setup_ms),
            reservation: Reservation::nothing(),
            held: None,
        };
        let tariff = Hold::tariff(terms, &hold.changes, hold.connect_ms, &None);
        let params = usage.params.for_vendor();
        if let Err(error) = owned.money.reprice(&mut hold.reservation, tariff, &params, state.advance_min) {
            self.out.push_back(Output::Alarm(format!("call {}: the vendor's money: {error}", usage.flow_no)));
            return None;
        }
        owned.calls += 1;
        state.clearing = Some(hold);
        Some((granted(state.all()), is_last(state.all())))
    }

    fn release_holds(&mut self, holds: Vec<Hold>) {
        for hold in holds {
            if let Some(held) = &hold.held {
                self.packages.give_back(held);
            }
            if let Some(owned) = self.accounts.get_mut(&hold.account) {
                owned.calls = owned.calls.saturating_sub(1);
                owned.money.release(hold.reservation);
            }
        }
    }

    /// The row or the parameters at the answer may differ from those of the admission; then the reservation is made anew,
    /// with whatever the account can pay now.
    fn reprice(&mut self, usage: &Usage) -> Option<(Option<i64>, bool)> {
        let state = self.calls.get_mut(&usage.flow_no)?;
        let params_changed = *state.params != usage.params;
        if params_changed {
            state.params = std::sync::Arc::new(usage.params.clone());
        }
        let mut repriced = false;
        let legs = usage.customer.iter().chain(&usage.agents);
        for (n, (hold, leg)) in state.holds.iter_mut().zip(legs).enumerate() {
            let (Some(terms), Some(owned)) = (&leg.terms, self.accounts.get_mut(&hold.account)) else { continue };
            if hold.held.is_none() && hold.terms.is_some() && self.packages.serves(hold.account) {
                // Its first package began while it rang.
                let phone = settle::phone_of(usage).filter(|_| n == 0).unwrap_or_default();
                hold.held = Some(Box::new(Held::new(&phone.into(), &leg.number)));
            }
            // Rows that change later count from the answer, whatever they were at the admission.
            let same = hold.terms.as_ref() == Some(terms) && leg.changes.is_empty() && hold.changes.is_empty();
            if same && !params_changed && hold.held.is_none() {
                continue;
            }
            hold.terms = Some(terms.clone());
            hold.changes.clone_from(&leg.changes);
            hold.connect_ms = usage.connect_ms.unwrap_or(hold.connect_ms);
            if let Some(held) = &mut hold.held {
                // Period and hours are those of the answer.
                self.packages.give_back(held);
                held.gifts.clear();
                held.money.clear();
                let target_s = packages::target_s(i64::from(state.params.free_s), state.advance_min);
                let tariff = Hold::tariff(terms, &hold.changes, hold.connect_ms, &None);
                self.packages.hold(&self.rules.zone, held, hold.account, target_s, &tariff, &state.params);
            }
            let tariff = Hold::tariff(terms, &hold.changes, hold.connect_ms, &hold.held);
            if let Err(error) = owned.money.reprice(&mut hold.reservation, tariff, &state.params, state.advance_min) {
                self.out
                    .push_back(Output::Alarm(format!("call {}: not repriced at the answer: {error}", usage.flow_no)));
            }
            repriced = true;
        }
        repriced.then(|| (granted(state.all()), is_last(state.all())))
    }

    fn renew(&mut self, call: CallKey, flow_no: u64) {
        let Some(state) = self.calls.get_mut(&flow_no) else {
            return;
        };
        let (of_vendor, clearing) = (state.params.for_vendor(), state.clearing.iter_mut());
        let payers = state.holds.iter_mut().map(|hold| (hold, &*state.params));
        for (hold, params) in payers.chain(clearing.map(|hold| (hold, &of_vendor))) {
            let Some(owned) = self.accounts.get_mut(&hold.account) else { continue };
            // An overflow leaves the grant as it is: the call is cut at its end, nothing is charged beyond it.
            if let Err(error) = renew_hold(&mut self.packages, &self.rules, owned, hold, params, state.advance_min) {
                self.out.push_back(Output::Alarm(format!("call {flow_no}: renewal failed: {error}")));
            }
        }
        let (until_s, last) = (granted(state.all()), is_last(state.all()));
        self.answer(call, Answer::Renewed { call, until_s, last });
    }

    fn take_line(&mut self, now: Now, candidates: &[Candidate]) -> (Option<usize>, Vec<(usize, LineSkip)>) {
        let mut skipped = Vec::new();
        for (n, candidate) in candidates.iter().enumerate() {
            if self.rules.check_clearing
                && self.accounts.get(&candidate.clearing).is_some_and(|a| a.money.available() <= Money::ZERO)
            {
                skipped.push((n, LineSkip::ClearingExhausted));
                continue;
            }
            match self.gateways.entry(candidate.gateway).or_default().take(now) {
                Ok(()) => return (Some(n), skipped),
                Err(skip) => skipped.push((n, skip)),
            }
        }
        (None, skipped)
    }

    fn release_line(&mut self, flow_no: u64) {
        let line = self.calls.get_mut(&flow_no).and_then(|state| state.routing.take());
        self.free_line(line);
    }

    fn free_line(&mut self, gateway: Option<GatewayId>) {
        if let Some(gateway) = gateway.and_then(|id| self.gateways.get_mut(&id)) {
            gateway.free_line();
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn book(
        &mut self,
        at_ms: i64,
        account: AccountId,
        kind: LedgerKind,
        amount: Money,
        key: String,
        user: &str,
        memo: &str,
    ) -> Result<LedgerRow, PayError> {
        let row = self.move_balance(at_ms, account, kind, amount, key, user, memo)?;
        self.out.push_back(Output::Record(Record::Ledger(row.clone())));
        self.watch(account);
        if amount > Money::ZERO {
            self.packages.money_came(Some(&row.account));
        }
        Ok(row)
    }

    /// Moves a balance; the row is still to be put on record.
    #[allow(clippy::too_many_arguments)]
    fn move_balance(
        &mut self,
        at_ms: i64,
        account: AccountId,
        kind: LedgerKind,
        amount: Money,
        key: String,
        user: &str,
        memo: &str,
    ) -> Result<LedgerRow, PayError> {
        let owned = self.accounts.get_mut(&account).ok_or(PayError::NoAccount)?;
        let balance = owned.money.balance.checked_add(amount).map_err(|_| PayError::Overflow)?;
        owned.money.balance = balance;
        Ok(LedgerRow {
            key,
            account: owned.name.clone(),
            kind,
            amount,
            balance_after: balance,
            at_ms,
            flow_no: None,
            user: user.to_owned(),
            memo: memo.to_owned(),
        })
    }

    /// Gives the alarm of a balance once when it falls below its threshold.
    fn watch(&mut self, account: AccountId) {
        let Some(owned) = self.accounts.get_mut(&account) else { return };
        let Some(below) = owned.bounds.alarm_below else { return };
        let low = owned.money.balance < below;
        if low && !owned.alarmed {
            let text = format!("account {}: balance {} is below {below}", owned.name, owned.money.balance);
            self.out.push_back(Output::Alarm(text));
        }
        owned.alarmed = low;
    }
}

impl CallState {
    /// Everything that is held for it.
    fn all(&self) -> impl Iterator<Item = &Hold> + Clone {
        self.holds.iter().chain(&self.clearing)
    }
}

impl Owned {
    /// End of the validity that began with the first use.
    fn valid_to_ms(&self) -> Option<i64> {
        let days = i64::from(self.bounds.valid_days?);
        Some(self.first_use_ms?.saturating_add(days * 86_400_000))
    }

    fn view(&self, id: AccountId, now_ms: i64) -> AccountView {
        let (spent_today, spent_month) = self.spent.at(now_ms);
        AccountView {
            spent_today,
            spent_month,
            first_use_ms: self.first_use_ms.filter(|_| self.bounds.is_card),
            valid_to_ms: self.valid_to_ms(),
            id,
            name: self.name.clone(),
            kind: self.kind,
            balance: self.money.balance,
            limit: self.money.limit,
            reserved: self.money.reserved,
            available: self.money.available(),
            calls: self.calls,
        }
    }
}

/// Lengthens what is held for a call, of packages first.
fn renew_hold(
    packages: &mut Packages,
    rules: &Rules,
    owned: &mut Owned,
    hold: &mut Hold,
    params: &BillingParams,
    advance_min: u32,
) -> Result<(), BillingError> {
    let Some(terms) = &hold.terms else { return Ok(()) };
    if let Some(held) = hold.held.as_mut().filter(|_| !hold.reservation.is_unlimited()) {
        let target_s = packages::target_s(hold.reservation.grant().until_s, advance_min);
        let tariff = Hold::tariff(terms, &hold.changes, hold.connect_ms, &None);
        packages.hold(&rules.zone, held, hold.account, target_s, &tariff, params);
    }
    let tariff = Hold::tariff(terms, &hold.changes, hold.connect_ms, &hold.held);
    owned.money.renew(&mut hold.reservation, tariff, params, advance_min).map(|_| ())
}

/// Writes into the legs of a call what packages hold for them, and nothing where they hold nothing.
fn fill_gifts(usage: &mut Usage, holds: &[Hold]) {
    for (leg, hold) in usage.customer.iter_mut().chain(&mut usage.agents).zip(holds) {
        (leg.gifts, leg.gift_money) = match &hold.held {
            Some(held) => (held.gifts.clone(), held.gift_money()),
            None => (Vec::new(), Money::ZERO),
        };
    }
}

/// Whether an account that ends the call first has no money for more.
fn is_last<'a>(holds: impl Iterator<Item = &'a Hold> + Clone) -> bool {
    let until_s = granted(holds.clone());
    holds.filter(|hold| !hold.reservation.is_unlimited()).any(|hold| {
        let grant = hold.reservation.grant();
        grant.last && Some(grant.until_s) == until_s
    })
}

/// The shortest grant of several accounts; `None` when all are unlimited.
fn granted<'a>(holds: impl Iterator<Item = &'a Hold>) -> Option<i64> {
    holds.filter(|h| !h.reservation.is_unlimited()).map(|h| h.reservation.grant().until_s).min()
}
