//! The end of a call: one record, its ledger rows, everything it held given back (spec cdr.md 3, accounts.md 2 and 5).

use std::borrow::Cow;

use jiff::tz::TimeZone;
use smallvec::SmallVec;
use tandem_call::snapshot::{AccountId, GatewayId};
use tandem_leg::Now;
use tandem_rating::account::Reservation;
use tandem_rating::cdr::{self, Settlement};
use tandem_rating::duration;
use tandem_rating::fee::Charge;
use tandem_rating::money::Money;
use tandem_rating::package;
use tandem_rating::record::{LedgerKind, LedgerRow, Record};
use tandem_rating::usage::{LegTerms, Usage};

use crate::packages::Held;
use crate::{Hold, Output, Rater};

/// Settings of the rating thread.
#[derive(Clone, Debug)]
pub struct Rules {
    /// SERVER_BILLING_RECORD_ILLEGAL_CALL.
    pub record_illegal: bool,
    /// SERVER_BILLING_RECORD_ZERO_HOLD_TIME.
    pub record_zero_hold: bool,
    /// SERVER_BILLING_RECORD_SERVER_HANG_UP.
    pub record_server_hang_up: bool,
    /// SERVER_BILLING_NO_CDR_E164S.
    pub no_cdr_numbers: Vec<String>,
    /// SERVER_VERIFY_CLEARING_CUSTOMER_REMAIN_MONEY_LIMIT.
    pub check_clearing: bool,
    /// ISO 4217 code of every amount.
    pub currency: String,
    /// Records of illegal calls per source and second.
    pub illegal_per_s: u32,
    /// Zone of the server: where days and months begin.
    pub zone: TimeZone,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            record_illegal: true,
            record_zero_hold: true,
            record_server_hang_up: true,
            no_cdr_numbers: Vec::new(),
            check_clearing: false,
            currency: "USD".to_owned(),
            illegal_per_s: 100,
            zone: TimeZone::UTC,
        }
    }
}

/// Records held back, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Suppressed {
    /// Row 1: illegal calls.
    pub illegal: u64,
    /// Row 2: numbers without CDR.
    pub no_cdr: u64,
    /// Row 4: zero hold time.
    pub zero_hold: u64,
    /// Row 5: ended by the switch.
    pub server_hang_up: u64,
    /// RTP packets of the calls without a record.
    pub packets: u64,
}

/// `billing_type` of a call that another system told of.
const EXTERNAL: u8 = 2;

/// Sources of illegal calls whose records fit into one second, each with its own bound.
const ILLEGAL_SOURCES_PER_S: u32 = 10;

/// Keys of addresses with a running count are forgotten beyond this many.
const ILLEGAL_SOURCES_MAX: usize = 10_000;

impl Rater {
    /// Rates, records and releases. Runs once per call: the caller sees to it that an answered call still holds its place,
    /// or is one that a crash left open.
    pub(crate) fn settle(&mut self, now: Now, usage: &Usage) {
        let state = self.calls.remove(&usage.flow_no);
        let filled = self.with_gifts(usage, state.as_ref());
        let usage = filled.as_ref().map_or(usage, |(usage, _)| usage);
        if let Some(state) = &state {
            if let Some(mapping) = self.gateways.get_mut(&state.mapping) {
                mapping.free_line();
            }
            self.free_line(state.routing);
        }
        let settlement = cdr::settle(usage, &self.rules.currency);
        for problem in &settlement.problems {
            self.out.push_back(Output::Alarm(format!("call {}: {problem}", usage.flow_no)));
        }
        let agents = usage.agents.iter().zip(settlement.agents.iter().map(Option::as_ref));
        let customer = usage.customer.iter().map(|leg| (leg, settlement.customer.as_ref()));
        let charges: Vec<(&LegTerms, Option<&Charge>)> = customer.chain(agents).collect();
        let mut ledger = Vec::new();
        let mut gifts = Vec::new();
        // A caller may be gone between the vendor's answer and his own: then the call was not answered, but has a start
        // record, which only a settlement closes.
        let started = state.as_ref().is_some_and(|state| state.started);
        let mut clearing = None;
        if let Some(state) = state {
            clearing = state.clearing;
            for (n, hold) in state.holds.into_iter().enumerate() {
                // The order of the holds: who pays, then the agents upward (accounts.md 2).
                let charge = charges.get(n).and_then(|(_, charge)| *charge);
                gifts.extend(self.use_gifts(n, hold.account, hold.held.as_deref(), charge, usage));
                ledger.extend(self.charge_hold(hold, charge, usage, &leg_name(n)));
            }
        } else {
            // A call taken over after a crash: its reservation is gone, its charge is not.
            let mut held = filled.as_ref().map(|(_, held)| held.iter()).into_iter().flatten();
            for (n, (leg, charge)) in charges.into_iter().enumerate() {
                let held = held.next().and_then(Option::as_ref);
                if let Some(account) = self.account_names.get(leg.account.as_str()).copied() {
                    gifts.extend(self.use_gifts(n, account, held, charge, usage));
                }
                if let Some(charge) = charge {
                    ledger.extend(self.charge_by_name(&leg.account, charge, usage, &leg_name(n)));
                }
            }
        }
        if let Some(hold) = clearing {
            ledger.extend(self.charge_hold(hold, settlement.vendor.as_ref(), usage, "vendor"));
        } else if let (Some(leg), Some(charge)) = (&usage.vendor, &settlement.vendor) {
            ledger.extend(self.charge_by_name(&leg.account, charge, usage, "vendor"));
        }
        self.spend(now, usage, &ledger);
        // Behind what was charged: their balance after is that of the end.
        for (account, leg, memo) in gifts {
            ledger.extend(self.gift_row(account, &leg, memo, usage));
        }
        self.count(usage);
        self.settled += 1;
        let record = self.wants_record(now, usage, &settlement, !ledger.is_empty());
        if !record {
            self.suppressed.packets += usage.caller_media.relayed + usage.callee_media.relayed;
        }
        if record || !ledger.is_empty() || usage.answered() || started {
            let cdr = record.then(|| Box::new(settlement.cdr));
            self.out.push_back(Output::Record(Record::Settled { flow_no: usage.flow_no, cdr, ledger }));
        }
    }

    /// Settles a call that was open when the switch died (billing.md 6.10).
    pub fn settle_recovered(&mut self, now: Now, usage: &Usage) {
        self.settle(now, usage);
    }

    /// The call with what packages hold for its legs; `None` when nothing is to be changed. Of a call that a crash left open
    /// the packages are asked anew, for as long as it lasted; what it held of periods that are over stays its own.
    #[allow(clippy::type_complexity)]
    fn with_gifts(
        &mut self,
        usage: &Usage,
        state: Option<&crate::CallState>,
    ) -> Option<(Usage, SmallVec<[Option<Held>; 2]>)> {
        let legs = || usage.customer.iter().chain(&usage.agents);
        let has = legs().any(|leg| !leg.gifts.is_empty() || !leg.gift_money.is_zero());
        if let Some(state) = state {
            if !has && state.holds.iter().all(|hold| hold.held.is_none()) {
                return None;
            }
            let mut usage = usage.clone();
            crate::fill_gifts(&mut usage, &state.holds);
            return Some((usage, SmallVec::new()));
        }
        // Calls of other systems are charged as they are told (cdr.md 7).
        let account = |leg: &LegTerms| self.account_names.get(leg.account.as_str()).copied();
        if usage.billing_type == EXTERNAL
            || !(has
                || self.packages.kept(usage.flow_no)
                || legs().any(|leg| account(leg).is_some_and(|a| self.packages.serves(a))))
        {
            return None;
        }
        let mut filled = usage.clone();
        let connect_ms = usage.connect_ms.unwrap_or(usage.setup_ms);
        let mut all = SmallVec::new();
        for (n, leg) in filled.customer.iter_mut().chain(&mut filled.agents).enumerate() {
            let phone = phone_of(usage).filter(|_| n == 0).unwrap_or_default();
            let mut held = Held::new(&phone.into(), &leg.number);
            self.packages.keep(&mut held, usage.flow_no, n);
            (leg.gifts, leg.gift_money) = (Vec::new(), Money::ZERO);
            let account = self.account_names.get(leg.account.as_str()).copied();
            if let (Some(account), Some(tariff)) = (account, leg.tariff(connect_ms)) {
                let held_s = duration::hold_s(usage.charged_ms(leg), usage.params.p_hold_ms);
                self.packages.hold(&self.rules.zone, &mut held, account, held_s, &tariff, &usage.params);
            }
            (leg.gifts, leg.gift_money) = (held.gifts.clone(), held.gift_money());
            all.push(Some(held));
        }
        Some((filled, all))
    }

    /// Tells packages what a leg used of them: who, leg and memo of its row.
    fn use_gifts(
        &mut self,
        n: usize,
        account: AccountId,
        held: Option<&Held>,
        charge: Option<&Charge>,
        usage: &Usage,
    ) -> Option<(AccountId, String, String)> {
        if held.is_none() && !self.packages.serves(account) {
            return None;
        }
        let phone = phone_of(usage).filter(|_| n == 0).unwrap_or_default();
        let uses = self.packages.settle(account, phone, held, charge);
        (!uses.is_empty()).then(|| (account, format!("{}.gift", leg_name(n)), package::memo_of(&uses)))
    }

    /// The row that says so; it moves nothing.
    fn gift_row(&self, account: AccountId, leg: &str, memo: String, usage: &Usage) -> Option<LedgerRow> {
        let owned = self.accounts.get(&account)?;
        Some(LedgerRow {
            key: format!("call:{}:{leg}", usage.flow_no),
            account: owned.name.clone(),
            kind: LedgerKind::Gift,
            amount: Money::ZERO,
            balance_after: owned.money.balance,
            at_ms: usage.end_ms,
            flow_no: Some(usage.flow_no),
            user: String::new(),
            memo,
        })
    }

    /// Takes a charge from the account that holds for it, or gives back what it held.
    fn charge_hold(&mut self, hold: Hold, charge: Option<&Charge>, usage: &Usage, leg: &str) -> Option<LedgerRow> {
        let owned = self.accounts.get_mut(&hold.account)?;
        owned.calls = owned.calls.saturating_sub(1);
        match charge {
            Some(charge) => charge_account(owned, hold.reservation, charge, usage, leg),
            None => {
                owned.money.release(hold.reservation);
                None
            }
        }
    }

    /// Counts what the call cost for the day and the month of each account and of the phone that paid.
    fn spend(&mut self, now: Now, usage: &Usage, ledger: &[LedgerRow]) {
        for (n, row) in ledger.iter().enumerate() {
            let Some(id) = self.account_names.get(&row.account).copied() else { continue };
            let cost = row.amount.checked_neg().unwrap_or_default();
            if let Some(owned) = self.accounts.get_mut(&id) {
                if owned.bounds.valid_days.is_some() && owned.first_use_ms.is_none() {
                    owned.first_use_ms = Some(usage.end_ms);
                }
                owned.spent.add(&self.rules.zone, now.wall_ms, cost);
            }
            self.watch(id);
            if let Some(phone) = phone_of(usage).filter(|_| n == 0 && row.key.ends_with(":customer")) {
                self.phones.entry(phone.to_owned()).or_default().add(&self.rules.zone, now.wall_ms, cost);
            }
        }
    }

    fn charge_by_name(&mut self, account: &str, charge: &Charge, usage: &Usage, leg: &str) -> Option<LedgerRow> {
        let owned = self.account_names.get(account).and_then(|id| self.accounts.get_mut(id));
        if let Some(owned) = owned {
            return charge_account(owned, Reservation::nothing(), charge, usage, leg);
        }
        // The account left the configuration; its money has not left us.
        let total = charge.due().ok().filter(|total| *total != Money::ZERO)?;
        let balance = self.unclaimed.entry(account.to_owned()).or_default();
        *balance = balance.checked_sub(total).ok()?;
        Some(call_row(account, total, *balance, usage, leg))
    }

    /// The six rules of cdr.md 3, in their order. A charge always leaves a record.
    fn wants_record(&mut self, now: Now, usage: &Usage, settlement: &Settlement, charged: bool) -> bool {
        if usage.billing_mode == -1 && usage.customer.is_none() && usage.caller_gateway.is_empty() {
            let wanted = self.rules.record_illegal && self.illegal_allowed(now, &usage.caller_ip);
            self.suppressed.illegal += u64::from(!wanted);
            return wanted;
        }
        if !charged && tandem_call::lists::pattern_of(&self.rules.no_cdr_numbers, &usage.callee_billed).is_some() {
            self.suppressed.no_cdr += 1;
            return false;
        }
        if settlement.cdr.hold_s > 0 || charged {
            return true;
        }
        if !self.rules.record_zero_hold {
            self.suppressed.zero_hold += 1;
            return false;
        }
        if usage.end_direction == 2 && !self.rules.record_server_hang_up {
            self.suppressed.server_hang_up += 1;
            return false;
        }
        true
    }

    /// At most so many records of illegal calls per source address and second.
    fn illegal_allowed(&mut self, now: Now, source: &str) -> bool {
        let address = source.parse::<std::net::SocketAddr>().map_or_else(|_| source.to_owned(), |a| a.ip().to_string());
        let second = now.wall_ms.div_euclid(1_000);
        if self.illegal.len() >= ILLEGAL_SOURCES_MAX {
            self.illegal.retain(|_, (at, _)| *at == second);
        }
        let entry = self.illegal.entry(address).or_insert((second, 0));
        if entry.0 != second {
            *entry = (second, 0);
        }
        entry.1 += 1;
        let of_source = entry.1 <= self.rules.illegal_per_s;
        // Sources can be forged: all of them together have a bound as well.
        if self.illegal_all.0 != second {
            self.illegal_all = (second, 0);
        }
        self.illegal_all.1 += u32::from(of_source);
        of_source && self.illegal_all.1 <= self.rules.illegal_per_s.saturating_mul(ILLEGAL_SOURCES_PER_S)
    }

    fn count(&mut self, usage: &Usage) {
        let held = u64::try_from(usage.hold_ms).unwrap_or(0);
        let mut ended = |id: Option<&GatewayId>, attempts: u64, answered: bool| {
            if let Some(gateway) = id.and_then(|id| self.gateways.get_mut(id)) {
                gateway.attempts += attempts;
                gateway.answered += u64::from(answered);
                gateway.answered_ms += if answered { held } else { 0 };
            }
        };
        ended(self.mapping_names.get(usage.caller_gateway.as_str()), 1, usage.answered());
        for attempt in &usage.attempts {
            ended(self.routing_names.get(attempt.gateway.as_str()), 1, false);
        }
        if usage.answered() {
            ended(self.routing_names.get(usage.callee_gateway.as_str()), 0, true);
        }
    }
}

/// The phone whose account pays for the call.
pub(crate) fn phone_of(usage: &Usage) -> Option<&str> {
    match (usage.billing_type, usage.billing_mode) {
        (1, 0) => usage.customer.as_ref().map(|leg| leg.number.as_str()),
        (0, 0) => Some(&usage.caller_billed),
        _ => None,
    }
}

/// In front of the number in the memo of what a phone's call cost; a start of the switch adds them up.
pub const PHONE_MEMO: &str = "phone ";

/// The name of a payer's leg in the key of its ledger row.
fn leg_name(n: usize) -> Cow<'static, str> {
    match n {
        0 => "customer".into(),
        1 => "agent".into(),
        _ => format!("agent{n}").into(),
    }
}

fn charge_account(
    owned: &mut crate::Owned,
    reservation: Reservation,
    charge: &Charge,
    usage: &Usage,
    leg: &str,
) -> Option<LedgerRow> {
    // An overflow leaves balance and reservation as they were; the amount is in the CDR and the row below is missing,
    // which the reconciliation of ledger and CDRs reports.
    let settled = owned.money.settle(reservation, charge).ok()?;
    if settled.charged == Money::ZERO {
        return None;
    }
    Some(call_row(&owned.name, settled.charged, owned.money.balance, usage, leg))
}

fn call_row(account: &str, charged: Money, balance_after: Money, usage: &Usage, leg: &str) -> LedgerRow {
    LedgerRow {
        key: format!("call:{}:{leg}", usage.flow_no),
        account: account.to_owned(),
        kind: LedgerKind::Call,
        amount: charged.checked_neg().unwrap_or_default(),
        balance_after,
        at_ms: usage.end_ms,
        flow_no: Some(usage.flow_no),
        user: String::new(),
        memo: match phone_of(usage) {
            Some(phone) if leg == "customer" => format!("{PHONE_MEMO}{phone}"),
            _ => String::new(),
        },
    }
}
