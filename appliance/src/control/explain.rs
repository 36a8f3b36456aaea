//! What the switch would do with a call, by the very functions that calls use.

use rand::SeedableRng;
use rand::rngs::StdRng;
use rust_decimal::Decimal;
use tandem_call::identify::identify;
use tandem_call::price::price;
use tandem_call::replace::status_for_caller;
use tandem_call::route::{Plan, Route, Wanted, plan};
use tandem_call::snapshot::Snapshot;
use tandem_call::weights::Weights;
use tandem_control::error::ErrorObject;
use tandem_control::reply;
use tandem_control::request::Explain;
use tandem_leg::{ListenerId, Party, ServerReason, Transport, Try};
use tandem_rating::account::{MaxHold, max_hold_s};
use tandem_rating::fee::RateTerms;

use super::{Control, Reply, reply};
use crate::orders::RatingOrder;

impl Control {
    pub(super) async fn explain(&self, q: Explain) -> Reply {
        let (snapshot, now_ms, currency) = {
            let state = self.state.borrow();
            (state.snapshot.clone(), state.clock.now().wall_ms, state.config.currency.clone())
        };
        let at_ms = match &q.at {
            None => now_ms,
            Some(when) => when
                .start_ms(&jiff::tz::TimeZone::UTC)
                .ok_or_else(|| ErrorObject::bad_value("at", "an instant", "an instant within the calendar"))?,
        };
        let invite = invite(&snapshot, &q)?;
        let mut answer = reply::Explained { at_ms, site_version: snapshot.version, currency, ..Default::default() };
        // A rotation of its own: asking changes nothing. The seed is fixed so that the same question has one answer.
        let (mut weights, mut rng) = (Weights::default(), StdRng::seed_from_u64(0));
        let refusal = |reason: ServerReason, detail: String| reply::Refusal {
            end_reason: reason.code(),
            reason: reason.name().to_owned(),
            sip_status: status_for_caller(reason.into(), snapshot.settings.no_route_code),
            detail,
        };
        let identified = identify(&snapshot, &invite, &mut weights, &mut rng);
        let (mapping, numbers) = match &identified {
            Ok(found) => (Some(found.mapping), &found.numbers),
            Err(rejected) => (rejected.mapping, &rejected.numbers),
        };
        let gateway = mapping.map(|m| &snapshot.mapping[m]);
        let rule = |n: Option<usize>, text: Option<String>| {
            n.and_then(|n| text.and_then(|t| t.split(',').nth(n - 1).map(str::to_owned))).unwrap_or_default()
        };
        answer.gateway = gateway.map_or_else(String::new, |g| g.name.clone());
        answer.numbers = reply::Numbers {
            caller_in: numbers.caller_in.clone(),
            caller: numbers.caller.clone(),
            caller_rule: rule(numbers.caller_rule, gateway.map(|g| g.rewrite_caller.text())),
            callee_in: numbers.callee_in.clone(),
            callee: numbers.callee.clone(),
            callee_rule: rule(numbers.callee_rule, gateway.map(|g| g.rewrite_callee.text())),
        };
        let account = gateway.and_then(|g| snapshot.accounts.get(g.account));
        answer.account = account.map_or_else(String::new, |a| a.name.clone());
        let found = match &identified {
            Ok(found) => found,
            Err(rejected) => {
                answer.refusal = Some(refusal(rejected.reason, rejected.detail.clone()));
                return reply(&answer);
            }
        };
        let (Some(gateway), Some(account)) = (gateway, account) else {
            return reply(&answer);
        };
        let (sell, agents) = match price(&snapshot, gateway, &numbers.caller, &numbers.callee, at_ms) {
            Ok(price) => (price.terms, price.agents),
            Err(no) => {
                answer.refusal = Some(refusal(no.reason, no.detail));
                (None, Vec::new())
            }
        };
        let group = account.deck.as_ref().map_or("", |d| d.name());
        answer.rate = sell.as_ref().map(|terms| rate_shown(&account.name, group, terms));
        let above: Vec<_> = snapshot.agents(account).zip(&agents).collect();
        answer.agents = above
            .iter()
            .map(|(agent, terms)| rate_shown(&agent.name, agent.deck.as_ref().map_or("", |d| d.name()), terms))
            .collect();
        if let Some(terms) = &sell {
            let views = self.ask_rating(RatingOrder::Accounts).await?;
            for (payer, terms) in std::iter::once((account, terms)).chain(above.iter().copied()) {
                let Some(view) = views.iter().find(|v| v.id == payer.id) else { continue };
                match max_hold_s(view.available, terms, &snapshot.billing) {
                    Ok(MaxHold::Seconds(s)) => answer.seconds_max = Some(answer.seconds_max.map_or(s, |m| m.min(s))),
                    Ok(MaxHold::NotOneBlock) => {
                        answer.seconds_max = Some(0);
                        let detail = format!("account {} has {} available", payer.name, view.available);
                        answer.refusal.get_or_insert(refusal(ServerReason::InsufficientBalance, detail));
                    }
                    Ok(MaxHold::Unlimited) | Err(_) => {}
                }
            }
        }
        let wanted = Wanted {
            mapping: found.mapping,
            caller: &numbers.caller,
            callee: &numbers.callee,
            at_ms,
            sell: sell.as_ref(),
            source: invite.remote.ip(),
        };
        let plan = plan(&snapshot, &wanted, &mut weights, &mut rng);
        let order = plan.open(false, |_| false, |_| false).into_iter().chain(plan.open(true, |_| false, |_| false));
        answer.candidates = order.map(|n| candidate(&snapshot, at_ms, &plan, &plan.routes[n], sell.as_ref())).collect();
        answer.skipped = plan
            .all_skipped(&snapshot)
            .iter()
            .map(|s| reply::SkippedRow {
                gateway: snapshot.routing[s.gateway].name.clone(),
                reason: s.reason.to_string(),
                detail: s.prefix_len.map_or_else(String::new, |n| format!("prefix of {n} digits matches")),
            })
            .collect();
        self.lines(&mut answer).await?;
        if answer.candidates.is_empty() && answer.refusal.is_none() {
            answer.refusal = Some(refusal(plan.no_route(), format!("no gateway for {}", numbers.callee)));
        }
        reply(&answer)
    }

    /// What the rating thread would pass over right now.
    async fn lines(&self, answer: &mut reply::Explained) -> Result<(), ErrorObject> {
        let gateways = self.ask_rating(RatingOrder::Gateways).await?;
        let mut passed = Vec::new();
        answer.candidates.retain(|candidate| {
            let Some(view) = gateways.iter().find(|g| g.routing && g.name == candidate.gateway) else {
                return true;
            };
            let why = if view.retry_after_ms > 0 {
                format!("Retry-After runs {} ms more", view.retry_after_ms)
            } else if view.capacity.is_some_and(|c| view.in_use >= c) {
                format!("{} of {} lines in use", view.in_use, view.capacity.unwrap_or(0))
            } else {
                return true;
            };
            passed.push(reply::SkippedRow {
                gateway: view.name.clone(),
                reason: "no free line".to_owned(),
                detail: why,
            });
            false
        });
        answer.skipped.extend(passed);
        Ok(())
    }
}

/// The call as it would come in.
fn invite(snapshot: &Snapshot, q: &Explain) -> Result<Try, ErrorObject> {
    let remote = match snapshot.mapping.iter().find(|g| g.name == q.from) {
        Some(gateway) => gateway.sources.first().map(|s| std::net::SocketAddr::new(s.ip, s.port.unwrap_or(5060))),
        None => q.from.parse().ok().or_else(|| q.from.parse().ok().map(|ip| std::net::SocketAddr::new(ip, 5060))),
    };
    let Some(remote) = remote else {
        let names: Vec<&String> = snapshot.mapping.iter().map(|g| &g.name).collect();
        return Err(ErrorObject::not_found("mapping gateway or source address", &q.from, &names));
    };
    let party = |user: &str| Party { user: user.to_owned(), ..Party::default() };
    Ok(Try {
        remote,
        listener: ListenerId(0),
        transport: Transport::Udp,
        call_id: String::new(),
        caller: party(&q.caller),
        callee: party(&q.callee),
        dialled: q.callee.clone(),
        identity: Default::default(),
        headers: Vec::new(),
        max_forwards: 70,
        hop: None,
        user_agent: String::new(),
        expires_s: None,
        rel100: Default::default(),
        sdp: None,
    })
}

fn candidate(
    snapshot: &Snapshot,
    at_ms: i64,
    plan: &Plan,
    route: &Route,
    sell: Option<&RateTerms>,
) -> reply::CandidateRow {
    let gateway = &snapshot.routing[route.gateway];
    let account = snapshot.accounts.get(gateway.account);
    let name = account.map_or("", |a| a.name.as_str());
    let group = account.and_then(|a| a.group_at(at_ms)).map_or("", |d| d.name());
    let terms = route.terms(snapshot, at_ms);
    let cost = terms.as_ref().map(|t| t.rate_per_min);
    let plain = |d: Decimal| d.normalize().to_string();
    let margin = sell.map(|s| s.rate_per_min).zip(cost).and_then(|(sell, cost)| sell.checked_sub(cost));
    let mut why = format!("prefix of {} digits, priority {}", route.prefix_len, gateway.priority);
    if route.protect {
        why.push_str(", protect route");
    }
    reply::CandidateRow {
        gateway: gateway.name.clone(),
        prefix: plan.callee().get(..route.prefix_len).unwrap_or_default().to_owned(),
        address: gateway.remotes.first().map(ToString::to_string).unwrap_or_default(),
        account: name.to_owned(),
        priority: gateway.priority,
        weight: gateway.weight,
        rate: terms.as_ref().map(|t| rate_shown(name, group, t)),
        cost_per_min: cost.map(plain).unwrap_or_default(),
        margin_per_min: margin.map(plain).unwrap_or_default(),
        caller_out: plan.caller_out(route).to_owned(),
        callee_out: plan.callee_out(route).to_owned(),
        why,
    }
}

/// A rate row as replies have it.
pub(super) fn rate_shown(account: &str, group: &str, terms: &RateTerms) -> reply::RateShown {
    reply::RateShown {
        account: account.to_owned(),
        group: group.to_owned(),
        rate_id: terms.rate_id,
        prefix: terms.prefix.to_string(),
        area: String::new(),
        rate_per_min: terms.rate_per_min.normalize().to_string(),
        first_s: terms.first_s,
        next_s: terms.next_s,
        conn_fee: terms.conn_fee.normalize().to_string(),
        tax_pct: terms.tax_pct.normalize().to_string(),
        level: terms.level,
    }
}
