//! Calls that were in progress when the switch died and go on: their lines and their money are held again.

use std::sync::Arc;

use tandem_call::question::Payer;
use tandem_call::snapshot::GatewayId;
use tandem_rating::usage::{LegTerms, Usage};

use crate::settle::phone_of;
use crate::{CallState, Hold, Rater, granted, is_last, renew_hold};

/// Renewals until a grant covers what the call is held already. One covers at least a minute (accounts.md 5): these are the
/// minutes of two months.
const RENEWALS_MAX: u32 = 100_000;

impl Rater {
    /// Holds for an answered call of another life of the switch what it held before; `held_s` is how long it is held by now.
    /// Returns the held seconds that are paid, and whether that is all the money there is. Lines are taken even above a
    /// capacity that was lowered meanwhile: the call is there.
    ///
    /// # Errors
    /// Why it cannot go on; nothing is held then, and it is to be settled.
    pub fn adopt(&mut self, usage: &Usage, held_s: i64, advance_min: u32) -> Result<(Option<i64>, bool), String> {
        if self.calls.contains_key(&usage.flow_no) {
            return Err("it is there already".to_owned());
        }
        let mapping = self.mapping_names.get(usage.caller_gateway.as_str()).copied();
        let mapping = mapping.ok_or_else(|| format!("mapping gateway {} is gone", usage.caller_gateway))?;
        let routing = self.routing_names.get(usage.callee_gateway.as_str()).copied();
        let routing = routing.ok_or_else(|| format!("routing gateway {} is gone", usage.callee_gateway))?;
        let mut holds = Vec::new();
        // A free call holds nothing, as when it was let in.
        for leg in usage.customer.iter().chain(&usage.agents).filter(|leg| leg.terms.is_some()) {
            match self.hold_again(leg, usage, held_s, advance_min) {
                Ok(hold) => holds.push(hold),
                Err(why) => {
                    self.release_holds(holds);
                    return Err(why);
                }
            }
        }
        for gateway in [mapping, routing] {
            self.hold_line(gateway);
        }
        let params = Arc::new(usage.params.clone());
        let routing = Some(routing);
        // Its start record is there.
        let state = CallState { mapping, routing, holds, clearing: None, params, advance_min, started: true };
        let (until_s, last) = (granted(state.all()), is_last(state.all()));
        self.calls.insert(usage.flow_no, state);
        if self.hold_clearing(usage).is_none() {
            return Ok((until_s, last));
        }
        self.lengthen_clearing(usage.flow_no, held_s);
        let state = &self.calls[&usage.flow_no];
        Ok((granted(state.all()), is_last(state.all())))
    }

    fn hold_again(&mut self, leg: &LegTerms, usage: &Usage, held_s: i64, advance_min: u32) -> Result<Hold, String> {
        let account = self.account_names.get(leg.account.as_str()).copied();
        let account = account.ok_or_else(|| format!("account {} is gone", leg.account))?;
        let is_customer = usage.customer.as_ref().is_some_and(|customer| std::ptr::eq(customer, leg));
        let phone = phone_of(usage).filter(|_| is_customer).unwrap_or_default();
        let payer = Payer { phone: phone.into(), ..Payer::of(account, leg) };
        let connect_ms = usage.connect_ms.unwrap_or(usage.setup_ms);
        let mut hold = self
            .reserve(&payer, connect_ms, &usage.params, advance_min)
            .map_err(|reason| format!("account {}: {}", leg.account, reason.name()))?;
        if let Some(held) = &mut hold.held {
            self.packages.keep_old(held, leg);
        }
        let Some(owned) = self.accounts.get_mut(&account).filter(|_| hold.terms.is_some()) else { return Ok(hold) };
        for _ in 0..RENEWALS_MAX {
            let grant = hold.reservation.grant();
            if hold.reservation.is_unlimited() || grant.until_s > held_s || grant.last {
                break;
            }
            // An overflow leaves the grant as it is: the call is cut at its end, nothing is charged beyond it.
            if renew_hold(&mut self.packages, &self.rules, owned, &mut hold, &usage.params, advance_min).is_err() {
                break;
            }
        }
        Ok(hold)
    }

    /// Renews what is held of the vendor until it covers what the call is held already.
    fn lengthen_clearing(&mut self, flow_no: u64, held_s: i64) {
        let Some(state) = self.calls.get_mut(&flow_no) else { return };
        let params = state.params.for_vendor();
        let Some(hold) = &mut state.clearing else { return };
        let Some(owned) = self.accounts.get_mut(&hold.account) else { return };
        for _ in 0..RENEWALS_MAX {
            let grant = hold.reservation.grant();
            if hold.reservation.is_unlimited() || grant.until_s > held_s || grant.last {
                break;
            }
            if renew_hold(&mut self.packages, &self.rules, owned, hold, &params, state.advance_min).is_err() {
                break;
            }
        }
    }

    fn hold_line(&mut self, gateway: GatewayId) {
        self.gateways.entry(gateway).or_default().in_use += 1;
    }
}
