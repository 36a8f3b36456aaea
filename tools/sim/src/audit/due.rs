//! What a call owes whom, by the plan and the wire, and whether its record and its ledger rows say the same.

use std::collections::BTreeMap;

use tandem_leg::Time;
use tandem_rating::cdr::Cdr;
use tandem_rating::record::LedgerKind;

use super::books::{Books, units};
use super::calls::WireCall;
use super::{Auditor, Seen};
use crate::bill::{self, Leg, Payer, When};
use crate::plan::{CallPlan, Plan};
use crate::price::{Billing, Fee};

/// What a call owes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// Wall clock from which its blocks are counted.
    pub(super) connect_ms: i64,
    pub(super) hold_ms: i64,
    pub(super) billing: Billing,
    pub(super) legs: Vec<(Leg, Fee)>,
    pub(super) free: bool,
    pub(super) callee_pays: bool,
    /// The phone that pays; empty for none.
    pub(super) phone: String,
    /// It was told by another system.
    pub(super) external: bool,
    /// Which call: its life and the Call-ID of its caller.
    pub(super) call: (u32, String),
    /// From its INVITE to its settlement.
    pub(super) span: (Time, Time),
    /// When it was answered, by the vendor and towards the caller, UTC ms.
    pub(super) answered_ms: [i64; 2],
    /// Where its start is in the journal.
    pub(super) start_seq: u64,
}

impl Due {
    /// Of legs that are rated by `billing`.
    pub(super) fn new(plan: &Plan, connect_ms: i64, hold_ms: i64, billing: &Billing, legs: Vec<Leg>) -> Due {
        let rated = |leg: Leg| {
            let fee = leg.fee(plan, hold_ms, connect_ms, billing);
            (leg, fee)
        };
        let legs = legs.into_iter().map(rated).collect();
        Due {
            connect_ms,
            hold_ms,
            billing: billing.clone(),
            legs,
            free: false,
            callee_pays: false,
            phone: String::new(),
            external: false,
            call: Default::default(),
            span: (Time::ZERO, Time::ZERO),
            answered_ms: [connect_ms; 2],
            start_seq: u64::MAX,
        }
    }

    /// With gifts as they were used: what was not used went back.
    pub(super) fn kept(mut self) -> Due {
        for (leg, fee) in &mut self.legs {
            let mut left_s = fee.suite_s;
            for gift in &mut leg.gifts {
                let cycles = (left_s + gift.cycle_s - 1) / gift.cycle_s;
                gift.left_s = (cycles * gift.cycle_s).min(gift.left_s / gift.cycle_s * gift.cycle_s);
                left_s -= gift.left_s.min(left_s);
            }
            leg.gift_money = fee.suite_fee;
        }
        self
    }

    /// Name of a leg in the ledger, index of its account, units; what costs nothing is not booked.
    pub(super) fn rows(&self) -> impl Iterator<Item = (&str, usize, i128)> {
        self.legs.iter().map(|(leg, fee)| (leg.name.as_str(), leg.account, fee.due())).filter(|row| row.2 != 0)
    }

    pub(super) fn count(&self, plan: &Plan, seen: &mut Seen) {
        seen.free += u64::from(self.free);
        seen.callee_pays += u64::from(self.callee_pays);
        for (leg, fee) in &self.legs {
            seen.agent_legs += u64::from(leg.name.starts_with("agent") && fee.billed_s > 0);
            seen.split_legs += u64::from(leg.changes(plan, self.hold_ms, self.connect_ms));
        }
    }
}

impl Auditor {
    /// Who pays for a call.
    pub(super) fn payer(&self, call: &WireCall) -> Payer {
        let plan = call.index.and_then(|index| self.plans.get(&index));
        bill::payer(&self.plan, call.customer, &call.number, plan)
    }

    /// The legs of an answered call; `None` when no vendor answered.
    fn legs(&self, call: &WireCall) -> Result<Option<(Vec<Leg>, When)>, String> {
        let Some(answer) = &call.vendor_answer else { return Ok(None) };
        let when = When { version: answer.version, wall_ms: answer.at.wall_ms };
        let payer = self.payer(call);
        let leg = |name: &str, account| Leg::new(&self.plan, name, account, &call.number, call.admitted, when);
        let mut legs = Vec::new();
        if payer.free {
            legs.push(Leg::free("customer", payer.account, &call.number));
        } else {
            legs.push(leg("customer", payer.account)?);
            for (n, agent) in bill::agents(&self.plan, payer.account).into_iter().enumerate() {
                legs.push(leg(&if n == 0 { "agent".to_owned() } else { format!("agent{}", n + 1) }, agent)?);
            }
        }
        legs.push(leg("vendor", self.plan.versions[0].vendors[answer.vendor].account)?);
        Ok(Some((legs, when)))
    }

    /// Held seconds of an answered call, after hold-time precision.
    pub(super) fn hold_s(&self, call: &WireCall, held_ms: i64) -> Option<i64> {
        let answer = call.vendor_answer.as_ref()?;
        let billing = &self.plan.versions[answer.version as usize - 1].billing;
        Some(Leg::free("customer", 0, "").fee(&self.plan, held_ms, 0, billing).hold_s)
    }

    /// What a call with a record owes; `None` when no vendor answered.
    pub(super) fn owed(&self, call: &WireCall, cdr: &Cdr) -> Result<Option<Due>, String> {
        let Some((legs, when)) = self.legs(call)? else { return Ok(None) };
        let billing = &self.plan.versions[when.version as usize - 1].billing;
        let payer = self.payer(call);
        let connect_ms = cdr.connect_ms.unwrap_or(cdr.setup_ms);
        let legs = legs.into_iter().map(|leg| self.with_claims(cdr.flow_no, leg)).collect();
        let due = Due::new(&self.plan, connect_ms, cdr.hold_ms, billing, legs);
        let caller = call.index.and_then(|index| self.plans.get(&index)).map(CallPlan::caller);
        let phone = match (payer.kind, payer.mode) {
            (1, 0) => call.number.clone(),
            (0, 0) => caller.unwrap_or_default(),
            _ => String::new(),
        };
        let over = call.over.map(|(at, _)| self.settled_by(at)).or(call.death.map(|death| death.at));
        Ok(Some(Due {
            free: payer.free,
            callee_pays: payer.kind == 1,
            phone,
            call: (call.boot, call.call_id.clone()),
            span: (call.began, over.unwrap_or(Time(u64::MAX))),
            answered_ms: [when.wall_ms, connect_ms],
            ..due
        }))
    }

    /// The columns of a record.
    pub(super) fn check_price(&self, call: &WireCall, cdr: &Cdr) -> Result<(), String> {
        let Some(due) = self.owed(call, cdr)? else {
            return if cdr.fee.is_zero() && cdr.vendor_fee.is_zero() && cdr.agent_fee.is_zero() {
                Ok(())
            } else {
                Err(format!("charged {} although nobody answered", cdr.fee))
            };
        };
        let payer = self.payer(call);
        if (cdr.billing_mode, cdr.billing_type) != (payer.mode, payer.kind) {
            let said = (cdr.billing_mode, cdr.billing_type);
            return Err(format!("billing mode and type {said:?}, not {:?}", (payer.mode, payer.kind)));
        }
        self.check_columns(cdr, &due)
    }

    /// Accounts, seconds, fees and taxes of a record against what is due.
    pub(super) fn check_columns(&self, cdr: &Cdr, due: &Due) -> Result<(), String> {
        let columns = |name: &str| match name {
            "customer" => Some((&cdr.account, cdr.billed_s, cdr.fee, cdr.tax, cdr.suite_s, cdr.suite_fee)),
            "agent" => Some((
                &cdr.agent_account,
                cdr.agent_s,
                cdr.agent_fee,
                cdr.agent_tax,
                cdr.agent_suite_s,
                cdr.agent_suite_fee,
            )),
            "vendor" => {
                Some((&cdr.vendor_account, cdr.vendor_s, cdr.vendor_fee, cdr.vendor_tax, 0, Default::default()))
            }
            _ => None,
        };
        for (leg, fee) in &due.legs {
            let Some((account, billed_s, said_fee, tax, suite_s, suite_fee)) = columns(&leg.name) else { continue };
            let wanted = &self.plan.versions[0].accounts[leg.account].name;
            if *account != wanted.as_str() {
                return Err(format!("{}: paid by {account:?}, not {wanted}", leg.name));
            }
            let (said_fee, tax, suite_fee) = (units(said_fee), units(tax), units(suite_fee));
            let said = Fee { hold_s: cdr.hold_s, billed_s, fee: said_fee, tax, suite_s, suite_fee };
            if said != *fee {
                return Err(format!("{}: {said:?} on record, {fee:?} due for {} ms", leg.name, due.hold_ms));
            }
        }
        let none = due.legs.iter().all(|(leg, _)| leg.name != "agent");
        if none && !cdr.agent_account.is_empty() {
            return Err(format!("agent {} is on record, there is none", cdr.agent_account));
        }
        Ok(())
    }

    /// The ledger rows of every call, row by row: who is charged how much, and nobody else.
    pub(super) fn check_charges(&mut self, books: &Books) {
        let mut found = Vec::new();
        for (flow_no, story) in &books.stories {
            let Some((_, _, rows)) = &story.settled else { continue };
            let charged = rows.iter().filter(|row| row.kind != LedgerKind::Gift);
            let said: BTreeMap<&str, (&str, i128)> =
                charged.map(|row| (row.key.as_str(), (row.account.as_str(), units(row.amount)))).collect();
            let due = self.due.get(flow_no);
            let wanted: Vec<(String, (&str, i128))> = due
                .into_iter()
                .flat_map(Due::rows)
                .map(|(leg, at, due)| {
                    (format!("call:{flow_no}:{leg}"), (self.plan.versions[0].accounts[at].name.as_str(), -due))
                })
                .collect();
            self.seen.charged += wanted.iter().map(|(_, (_, amount))| -amount).sum::<i128>();
            if wanted.len() != said.len() || wanted.iter().any(|(key, row)| said.get(key.as_str()) != Some(row)) {
                found.push(format!("call {flow_no}: {wanted:?} is due, {said:?} were booked"));
            }
        }
        for text in found {
            self.report("money", None, text);
        }
    }
}
