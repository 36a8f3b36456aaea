//! Calls that were in progress when the switch died and go on: their lines and their money are held again.
//!
//! All of them together, in three rounds: what each owes by its last heartbeat is held first, then what it owes by now, and
//! only then is any of them granted more. One after the other, the first would be granted minutes of money that a later one
//! had reserved and used; what that one owes would then bring the balance below its limit.

use std::sync::Arc;

use tandem_call::question::Payer;
use tandem_call::snapshot::{AccountId, GatewayId};
use tandem_leg::Now;
use tandem_rating::account::Reservation;
use tandem_rating::duration;
use tandem_rating::fee::BillingParams;
use tandem_rating::usage::{LegTerms, Usage};

use crate::packages::Held;
use crate::settle::phone_of;
use crate::{CallState, Hold, Rater, granted, is_last, renew_hold};

/// Held seconds that are paid, `None` without limit, and whether that is all the money there is.
pub type AdoptedGrant = (Option<i64>, bool);

/// An answered call of another life of the switch.
#[derive(Clone, Copy, Debug)]
pub struct Adoption<'a> {
    /// The call at its answer.
    pub usage: &'a Usage,
    /// How it is charged if it cannot go on: until its last heartbeat.
    pub lost: &'a Usage,
    /// Held seconds by now.
    pub held_s: i64,
}

impl Rater {
    /// Holds for calls of another life what they held before, and grants each more time, in the order given. Lines are taken
    /// even above a capacity that was lowered meanwhile: the call is there.
    ///
    /// # Errors
    /// Of each call, why it cannot go on: it is settled as lost then.
    pub fn adopt(&mut self, now: Now, calls: &[Adoption<'_>], advance_min: u32) -> Vec<Result<AdoptedGrant, String>> {
        let mut outcomes: Vec<Result<(), String>> = Vec::with_capacity(calls.len());
        for call in calls {
            let resumed = self.resume(call, advance_min);
            if resumed.is_err() && !self.calls.contains_key(&call.usage.flow_no) {
                self.settle(now, call.lost);
            }
            outcomes.push(resumed);
        }
        for (call, outcome) in calls.iter().zip(&mut outcomes).filter(|(_, outcome)| outcome.is_ok()) {
            *outcome = self.reach(call);
            if outcome.is_err() {
                // It gives back what it holds and is charged in one step.
                self.settle(now, call.lost);
            }
        }
        let all = calls.iter().zip(outcomes);
        all.map(|(call, outcome)| outcome.map(|()| self.grant_more(call.usage.flow_no))).collect()
    }

    /// Holds lines, and money for what the call owes by its last heartbeat.
    fn resume(&mut self, call: &Adoption<'_>, advance_min: u32) -> Result<(), String> {
        let usage = call.usage;
        if self.calls.contains_key(&usage.flow_no) {
            return Err("it is there already".to_owned());
        }
        let mapping = self.mapping_names.get(usage.caller_gateway.as_str()).copied();
        let mapping = mapping.ok_or_else(|| format!("mapping gateway {} is gone", usage.caller_gateway))?;
        let routing = self.routing_names.get(usage.callee_gateway.as_str()).copied();
        let routing = routing.ok_or_else(|| format!("routing gateway {} is gone", usage.callee_gateway))?;
        let mut holds = Vec::new();
        // A free call holds nothing, as when it was let in.
        let legs = || usage.customer.iter().chain(&usage.agents);
        if legs().any(|leg| leg.terms.is_some()) {
            for (n, leg) in legs().enumerate() {
                match self.resume_leg(leg, n, call) {
                    Ok(hold) => holds.push(hold),
                    Err(why) => {
                        self.release_holds(holds);
                        return Err(why);
                    }
                }
            }
        }
        let clearing = match self.resume_clearing(call) {
            Ok(clearing) => clearing,
            Err(why) => {
                self.release_holds(holds);
                return Err(why);
            }
        };
        for gateway in [mapping, routing] {
            self.hold_line(gateway);
        }
        let params = Arc::new(usage.params.clone());
        // Its start record is there.
        let state = CallState { mapping, routing: Some(routing), holds, clearing, params, advance_min, started: true };
        self.calls.insert(usage.flow_no, state);
        Ok(())
    }

    fn resume_leg(&mut self, leg: &LegTerms, n: usize, call: &Adoption<'_>) -> Result<Hold, String> {
        let account = self.account_of(leg)?;
        let phone = phone_of(call.usage).filter(|_| n == 0).unwrap_or_default();
        let payer = Payer { phone: phone.into(), ..Payer::of(account, leg) };
        let mut hold = empty_hold(account, leg, call.usage);
        let flow_no = call.usage.flow_no;
        if hold.terms.is_some() && (self.packages.serves(account) || self.packages.kept(flow_no)) {
            let mut held = Box::new(Held::new(&payer.phone, &payer.number));
            self.packages.keep(&mut held, flow_no, n);
            hold.held = Some(held);
        }
        self.resume_hold(hold, &call.usage.params, owed_s(call, leg))
    }

    fn resume_clearing(&mut self, call: &Adoption<'_>) -> Result<Option<Hold>, String> {
        let leg = call.usage.vendor.as_ref().filter(|leg| self.rules.check_clearing && leg.terms.is_some());
        let Some(leg) = leg else { return Ok(None) };
        let Ok(account) = self.account_of(leg) else { return Ok(None) };
        let hold = empty_hold(account, leg, call.usage);
        self.resume_hold(hold, &call.usage.params.for_vendor(), owed_s(call, leg)).map(Some)
    }

    fn resume_hold(&mut self, mut hold: Hold, params: &BillingParams, owed_s: i64) -> Result<Hold, String> {
        if let (Some(terms), Some(held)) = (&hold.terms, &mut hold.held) {
            let tariff = Hold::tariff(terms, &hold.changes, hold.connect_ms, &None);
            self.packages.hold(&self.rules.zone, held, hold.account, owed_s, &tariff, params);
        }
        let Some(owned) = self.accounts.get_mut(&hold.account) else { return Ok(hold) };
        if let Some(terms) = &hold.terms {
            let tariff = Hold::tariff(terms, &hold.changes, hold.connect_ms, &hold.held);
            match owned.money.resume(tariff, params, owed_s) {
                Ok(reservation) => hold.reservation = reservation,
                Err(error) => {
                    if let Some(held) = &hold.held {
                        self.packages.give_back(held);
                    }
                    return Err(format!("account {}: {error}", owned.name));
                }
            }
        }
        owned.calls += 1;
        Ok(hold)
    }

    /// Every payer has to have what the call is held by now.
    fn reach(&mut self, call: &Adoption<'_>) -> Result<(), String> {
        let Some(state) = self.calls.get_mut(&call.usage.flow_no) else { return Ok(()) };
        let (of_vendor, clearing) = (state.params.for_vendor(), state.clearing.iter_mut());
        let payers = state.holds.iter_mut().map(|hold| (hold, &*state.params));
        for (hold, params) in payers.chain(clearing.map(|hold| (hold, &of_vendor))) {
            let (Some(terms), Some(owned)) = (&hold.terms, self.accounts.get_mut(&hold.account)) else { continue };
            let tariff = Hold::tariff(terms, &hold.changes, hold.connect_ms, &None);
            if let Some(held) = hold.held.as_mut().filter(|_| !hold.reservation.is_unlimited()) {
                self.packages.hold(&self.rules.zone, held, hold.account, call.held_s + 1, &tariff, params);
            }
            let tariff = Hold::tariff(terms, &hold.changes, hold.connect_ms, &hold.held);
            // The second that runs, or at least those that are over: then it is cut at once.
            let mut reach = |held_s| owned.money.reach(&mut hold.reservation, tariff, params, held_s);
            let reached = match reach(call.held_s + 1) {
                Ok(false) => reach(call.held_s),
                reached => reached,
            };
            match reached {
                Ok(true) => {}
                Ok(false) => return Err(format!("account {} cannot pay {} s", owned.name, call.held_s)),
                Err(error) => return Err(format!("account {}: {error}", owned.name)),
            }
        }
        Ok(())
    }

    /// Renews every grant of a call once.
    fn grant_more(&mut self, flow_no: u64) -> AdoptedGrant {
        let Some(state) = self.calls.get_mut(&flow_no) else { return (Some(0), true) };
        let (of_vendor, clearing) = (state.params.for_vendor(), state.clearing.iter_mut());
        let payers = state.holds.iter_mut().map(|hold| (hold, &*state.params));
        for (hold, params) in payers.chain(clearing.map(|hold| (hold, &of_vendor))) {
            let Some(owned) = self.accounts.get_mut(&hold.account) else { continue };
            // An overflow leaves the grant as it is: the call is cut at its end, nothing is charged beyond it.
            let _ = renew_hold(&mut self.packages, &self.rules, owned, hold, params, state.advance_min);
        }
        (granted(state.all()), is_last(state.all()))
    }

    fn account_of(&self, leg: &LegTerms) -> Result<AccountId, String> {
        let account = self.account_names.get(leg.account.as_str()).copied();
        account.ok_or_else(|| format!("account {} is gone", leg.account))
    }

    fn hold_line(&mut self, gateway: GatewayId) {
        self.gateways.entry(gateway).or_default().in_use += 1;
    }
}

fn empty_hold(account: AccountId, leg: &LegTerms, usage: &Usage) -> Hold {
    Hold {
        account,
        terms: leg.terms.clone(),
        changes: leg.changes.clone(),
        connect_ms: usage.connect_ms.unwrap_or(usage.setup_ms),
        reservation: Reservation::nothing(),
        held: None,
    }
}

/// Held seconds that the leg is charged for if the call is lost.
fn owed_s(call: &Adoption<'_>, leg: &LegTerms) -> i64 {
    duration::hold_s(call.lost.charged_ms(leg), call.usage.params.p_hold_ms)
}
