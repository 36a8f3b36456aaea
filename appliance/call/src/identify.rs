//! Who is calling: source address -> mapping gateway, and the numbers after its rules (spec signalling.md 5, S-D2).

use std::fmt;
use std::net::SocketAddr;

use rand::Rng;
use tandem_leg::{ServerReason, Try};

use crate::lists::length_passes;
use crate::number::{RewriteRules, normalise, normalise_caller};
use crate::snapshot::{CalleeFrom, CallerFrom, MappingGateway, Snapshot};
use crate::weights::Weights;

/// A call whose mapping gateway is known and whose numbers passed its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    /// Index into [`Snapshot::mapping`].
    pub mapping: usize,
    /// The numbers.
    pub numbers: Numbers,
}

/// Both numbers, as received and after the rules of the mapping gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Caller as received.
    pub caller_in: String,
    /// Callee as received.
    pub callee_in: String,
    /// Caller after the rules.
    pub caller: String,
    /// Callee after the rules and the proportional prefix; routed and rated.
    pub callee: String,
    /// Which caller rule was applied, from 1.
    pub caller_rule: Option<usize>,
    /// Which callee rule.
    pub callee_rule: Option<usize>,
}

/// A call that was refused at the door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Why.
    pub reason: ServerReason,
    /// Whose rule it was; `None` when the source is unknown.
    pub mapping: Option<usize>,
    /// The numbers as far as they got.
    pub numbers: Numbers,
    /// The rule in words, for the trace.
    pub detail: String,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.name(), self.detail)
    }
}

/// Finds the mapping gateway of `call` and applies its rules.
///
/// Gateways of the source address are asked by priority, then by the longest callee prefix they list for this number; the
/// first whose number rules accept the call is taken (S-D2). A locked gateway is not passed over: its calls must not
/// fall to another customer of the same address.
///
/// # Errors
/// [`Rejected`] with the reason of the first gateway, or [`ServerReason::IllegalCall`] for an unknown source.
pub fn identify(
    snapshot: &Snapshot,
    call: &Try,
    weights: &mut Weights,
    rng: &mut impl Rng,
) -> Result<Identified, Box<Rejected>> {
    let ip = call.remote.ip().to_canonical();
    let known = snapshot.by_source.get(&ip).map(Vec::as_slice).unwrap_or_default();
    let fits = |index: &&usize| snapshot.mapping[**index].sources.iter().any(|s| matches(s.ip, s.port, call.remote));
    let mut asked = Vec::new();
    for &index in known.iter().filter(fits) {
        let gateway = &snapshot.mapping[index];
        let outcome = admit(gateway, index, call, weights, rng);
        let callee = match &outcome {
            Ok(numbers) => &numbers.callee,
            Err(rejected) => &rejected.numbers.callee,
        };
        let listed = if gateway.callee_prefixes.allow { gateway.callee_prefixes.longest(callee) } else { None };
        asked.push((gateway.priority, std::cmp::Reverse(listed.unwrap_or(0)), index, outcome));
    }
    // Stable: equals keep the order of names that the index has.
    asked.sort_by_key(|(priority, listed, _, _)| (*priority, *listed));

    let mut first_refusal = None;
    for (_, _, index, outcome) in asked {
        match outcome {
            Ok(numbers) => {
                let gateway = &snapshot.mapping[index];
                if gateway.locked {
                    let detail = format!("mapping gateway {} is locked", gateway.name);
                    let reason = ServerReason::AccountLocked;
                    return Err(Box::new(Rejected { reason, mapping: Some(index), numbers, detail }));
                }
                weights.percent_turn(gateway.id, &gateway.percent_routing);
                return Ok(Identified { mapping: index, numbers });
            }
            Err(refusal) => first_refusal = first_refusal.or(Some(refusal)),
        }
    }
    Err(first_refusal.unwrap_or_else(|| {
        let numbers = Numbers {
            caller_in: call.caller.user.clone(),
            callee_in: call.dialled.clone(),
            caller: normalise_caller(&call.caller.user).unwrap_or_default(),
            callee: normalise(&call.dialled).unwrap_or_default(),
            ..Numbers::default()
        };
        let detail = format!("{} is no source of any mapping gateway", call.remote);
        Box::new(Rejected { reason: ServerReason::IllegalCall, mapping: None, numbers, detail })
    }))
}

fn matches(ip: std::net::IpAddr, port: Option<u16>, remote: SocketAddr) -> bool {
    ip.to_canonical() == remote.ip().to_canonical() && port.is_none_or(|p| p == remote.port())
}

/// Numbers by the rules of one gateway: where they are taken from, rewriting, proportional prefix, then the checks in
/// the order of spec routing.md 9.
fn admit(
    gateway: &MappingGateway,
    index: usize,
    call: &Try,
    weights: &Weights,
    rng: &mut impl Rng,
) -> Result<Numbers, Box<Rejected>> {
    let mut numbers = Numbers {
        caller_in: caller_of(gateway, call).to_owned(),
        callee_in: callee_of(gateway, call).to_owned(),
        ..Numbers::default()
    };
    let reject = |reason, numbers: &Numbers, detail: String| {
        let detail = format!("mapping gateway {}: {detail}", gateway.name);
        Box::new(Rejected { reason, mapping: Some(index), numbers: numbers.clone(), detail })
    };
    let unusable = ServerReason::NumberRewriteError;

    numbers.caller = normalise_caller(&numbers.caller_in)
        .map_err(|e| reject(unusable, &numbers, format!("caller as received: {e}")))?;
    numbers.callee =
        normalise(&numbers.callee_in).map_err(|e| reject(unusable, &numbers, format!("callee as received: {e}")))?;

    let mut rewrite = |rules: &RewriteRules, number: &str, whose: &str| {
        if rules.is_empty() {
            return Ok(None);
        }
        rules.apply(number, rng).map(Some).map_err(|e| reject(unusable, &numbers, format!("{whose}: {e}")))
    };
    let caller = rewrite(&gateway.rewrite_caller, &numbers.caller, "caller")?;
    let callee = rewrite(&gateway.rewrite_callee, &numbers.callee, "callee")?;
    if let Some(caller) = caller {
        (numbers.caller, numbers.caller_rule) = (caller.number, caller.rule);
    }
    if let Some(callee) = callee {
        (numbers.callee, numbers.callee_rule) = (callee.number, callee.rule);
    }
    if let Some(share) = weights.percent_next(gateway.id, &gateway.percent_routing) {
        let with_prefix = format!("{}{}", gateway.percent_routing[share].1, numbers.callee);
        numbers.callee = normalise(&with_prefix)
            .map_err(|e| reject(unusable, &numbers, format!("callee with its proportional prefix: {e}")))?;
    }

    if !length_passes(gateway.caller_lengths, &numbers.caller) {
        let detail = format!("caller length {} is not allowed", numbers.caller.len());
        return Err(reject(ServerReason::NumberLengthLimited, &numbers, detail));
    }
    if !gateway.caller_prefixes.passes(&numbers.caller) {
        let detail = format!("caller {} is not allowed by its prefixes", numbers.caller);
        return Err(reject(ServerReason::CallerNumberLimited, &numbers, detail));
    }
    if !length_passes(gateway.callee_lengths, &numbers.callee) {
        let detail = format!("callee length {} is not allowed", numbers.callee.len());
        return Err(reject(ServerReason::NumberLengthLimited, &numbers, detail));
    }
    if !gateway.callee_prefixes.passes(&numbers.callee) {
        let detail = format!("callee {} is not allowed by its prefixes", numbers.callee);
        return Err(reject(ServerReason::CalleeNumberLimited, &numbers, detail));
    }
    Ok(numbers)
}

/// Where the called number stands (S-D17); a missing Diversion means the Request-URI.
fn callee_of<'a>(gateway: &MappingGateway, call: &'a Try) -> &'a str {
    match gateway.callee_from {
        CalleeFrom::RequestUri => &call.dialled,
        CalleeFrom::To => &call.callee.user,
        CalleeFrom::Diversion => call.identity.diversion.as_deref().unwrap_or(&call.dialled),
    }
}

/// Where the calling number stands (spec signalling.md 15); a missing header means From.
fn caller_of<'a>(gateway: &MappingGateway, call: &'a Try) -> &'a str {
    let from = call.caller.user.as_str();
    match gateway.caller_from {
        CallerFrom::From => from,
        CallerFrom::RemotePartyId => call.identity.remote_party.as_deref().unwrap_or(from),
        CallerFrom::DisplayName if call.caller.display.is_empty() => from,
        CallerFrom::DisplayName => &call.caller.display,
        CallerFrom::PAssertedIdentity => call.identity.asserted.as_deref().unwrap_or(from),
        CallerFrom::PPreferredIdentity => call.identity.preferred.as_deref().unwrap_or(from),
    }
}
