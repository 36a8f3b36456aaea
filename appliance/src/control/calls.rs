//! Calls in progress, and the trace of a call.

use std::cmp::Reverse;

use tandem_call::calls::CallView;
use tandem_control::error::{ErrorCode, ErrorObject};
use tandem_control::reply;
use tandem_control::request::{CallState, CallsList};
use tandem_control::value::CallId;
use tandem_ebpf_abi::FlowKey;
use tandem_leg::{Now, ServerReason};
use tandem_rating::record::Actor;

use super::{Control, Reply, reply};
use crate::orders::{RatingOrder, ShardOrder};
use crate::trace::{Log, What};

/// Codes of operations.md 2 for the states before an answer.
const CODE_INVITE: i64 = -7;
const CODE_RINGING: i64 = -11;
const CODE_OK: i64 = -12;
const CODE_RELEASE: i64 = -13;
const CODE_AUTHORISING: i64 = -18;

impl Control {
    pub(super) async fn calls_list(&self, q: CallsList) -> Reply {
        let now = self.state.borrow().clock.now();
        let number = |wanted: &Option<String>, values: [&str; 2]| match wanted.as_deref() {
            None => true,
            Some(text) => match text.strip_suffix('*') {
                Some(prefix) => values.iter().any(|v| v.starts_with(prefix)),
                None => values.contains(&text),
            },
        };
        let wanted = |c: &CallView| {
            q.gateway.as_deref().is_none_or(|g| c.caller_gateway == g || c.callee_gateway == g)
                && q.account.as_deref().is_none_or(|a| c.account == a || c.vendor_account == a)
                && number(&q.caller, [&c.caller, &c.caller_in])
                && number(&q.callee, [&c.callee, &c.callee_in])
                && q.state.is_none_or(|s| state(c).0 == s)
        };
        // Page by page: no shard keeps its packets waiting while it shows thousands of calls.
        let mut calls: Vec<(u32, CallView)> = Vec::new();
        for shard in 0..self.shared().shards.len() {
            let mut place = Some(0);
            while let Some(from) = place {
                let (views, next) = self.ask_shard(shard, |done| ShardOrder::Calls(from, done)).await?;
                calls.extend(views.into_iter().filter(&wanted).map(|c| (shard as u32, c)));
                place = next;
            }
        }
        calls.sort_unstable_by_key(|(_, c)| Reverse(c.flow_no));
        let total = calls.len() as u64;
        let first = usize::try_from(q.offset).unwrap_or(usize::MAX);
        let rows = calls.iter().skip(first).take(q.limit.rows() as usize).map(|(n, c)| row(*n, c, now)).collect();
        reply(&reply::CallsList { total, rows })
    }

    async fn call_in_progress(&self, call: CallId) -> Result<(u32, CallView), ErrorObject> {
        let shards = self.ask_shards(|done| ShardOrder::Call(call.0, done)).await?;
        let found = shards.into_iter().enumerate().find_map(|(n, view)| Some((n as u32, view?)));
        found.ok_or_else(|| not_in_progress(call))
    }

    pub(super) async fn calls_show(&self, call: CallId) -> Reply {
        let (shard, view) = self.call_in_progress(call).await?;
        let held = self.ask_rating(|done| RatingOrder::Reservations(view.account.clone(), done)).await?;
        let now = self.state.borrow().clock.now();
        let reserved = held.iter().find(|(flow_no, _, _)| *flow_no == call.0).map(|(_, amount, _)| amount.to_string());
        let talked_s = view.answered.map(|at| (now.mono.since(at.mono) / 1_000_000) as i64);
        let address = |a: Option<std::net::SocketAddr>| a.map(|a| a.to_string()).unwrap_or_default();
        let media: Vec<std::net::IpAddr> = self.state.borrow().config.media.addresses().collect();
        let group = |account: &str| {
            let state = self.state.borrow();
            state.site.account.get(account).map_or_else(String::new, |a| a.rate_group.clone())
        };
        let local = |port: Option<FlowKey>| {
            let address = port.and_then(|port| Some((media.get(usize::from(port.slot))?, port.port)));
            address.map(|(ip, port)| std::net::SocketAddr::new(*ip, port).to_string()).unwrap_or_default()
        };
        let side = |port, (learned, offered), m: &tandem_rating::usage::MediaUsage, kernel| reply::MediaSide {
            local: local(port),
            offered: address(offered),
            learned: address(learned),
            packets: m.packets,
            bytes: m.bytes,
            relayed: m.relayed,
            kernel,
            dropped: m.dropped,
            lost: m.lost,
            jitter_us: u64::from(m.jitter_us),
            last_ms: m.last_ms,
        };
        reply(&reply::CallShow {
            call: row(shard, &view, now),
            caller_call_id: view.caller_call_id.clone(),
            callee_call_id: view.callee_call_id.clone(),
            caller_in: view.caller_in.clone(),
            callee_in: view.callee_in.clone(),
            caller_out: view.caller_out.clone(),
            callee_out: view.callee_out.clone(),
            rate: view
                .customer_terms
                .as_ref()
                .map(|t| super::explain::rate_shown(&view.account, &group(&view.account), t)),
            vendor_rate: view
                .vendor_terms
                .as_ref()
                .map(|t| super::explain::rate_shown(&view.vendor_account, &group(&view.vendor_account), t)),
            reserved: reserved.unwrap_or_else(|| "0".to_owned()),
            remaining_s: view.until_s.map(|until| until - talked_s.unwrap_or(0)),
            media_step: view.media_step.clone(),
            caller_media: side(
                view.media_ports.map(|p| p.0),
                view.caller_media,
                &view.caller_media_usage,
                view.fast_packets.0,
            ),
            callee_media: side(
                view.media_ports.map(|p| p.1),
                view.callee_media,
                &view.callee_media_usage,
                view.fast_packets.1,
            ),
            attempts: view
                .attempts
                .iter()
                .map(|a| reply::AttemptRow {
                    gateway: a.gateway.to_string(),
                    status: a.status,
                    q850: a.q850,
                    reason: a.reason.to_string(),
                    start_ms: a.start_ms,
                    end_ms: (a.end_ms != 0).then_some(a.end_ms),
                    next: a.next.to_string(),
                })
                .collect(),
        })
    }

    pub(super) async fn calls_kill(&self, actor: &Actor, command: &str, call: CallId) -> Reply {
        let shards = self.ask_shards(|done| ShardOrder::Kill(call.0, done)).await?;
        let Some(view) = shards.into_iter().flatten().next() else {
            return Err(not_in_progress(call));
        };
        let changes = vec![format!("call {call} {}: {} -> ended", view.caller_gateway, state(&view).0.as_str())];
        self.note(self.audit(actor, command, "", changes)).await;
        reply(&reply::CallKilled { call, state: state(&view).0, end_reason: ServerReason::ServerForcedRelease.code() })
    }

    pub(super) async fn trace(&self, call: CallId) -> Reply {
        let shards = self.ask_shards(|done| ShardOrder::Trace(call.0, done)).await?;
        let Some(log) = shards.into_iter().flatten().next() else {
            return Err(ErrorObject::new(
                ErrorCode::NotFound,
                format!("call {call} has no trace; traces of the last calls are kept in memory since the start"),
            ));
        };
        reply(&reply::Traced { call, text: log.ladder(), events: events(&log), dropped: u64::from(log.dropped) })
    }
}

fn not_in_progress(call: CallId) -> ErrorObject {
    ErrorObject::new(
        ErrorCode::NotFound,
        format!("call {call} is not in progress; tandem cdr show {call} shows a finished one"),
    )
}

fn state(view: &CallView) -> (CallState, i64) {
    match view.state {
        "authorizing" | "choosing" => (CallState::Setup, CODE_AUTHORISING),
        "ringing" => (CallState::Ringing, CODE_RINGING),
        "answering" => (CallState::Talking, CODE_OK),
        "connected" => (CallState::Talking, 0),
        "over" => (CallState::Ending, CODE_RELEASE),
        _ => (CallState::Setup, CODE_INVITE),
    }
}

fn row(shard: u32, view: &CallView, now: Now) -> reply::CallRow {
    let (state, code) = state(view);
    let since = view.answered.unwrap_or(view.started);
    let duration_ms = (now.mono.since(since.mono) / 1_000) as i64;
    reply::CallRow {
        call: CallId(view.flow_no),
        state,
        state_code: if view.answered.is_some() && code == 0 { duration_ms } else { code },
        setup_ms: view.started.wall_ms,
        connect_ms: view.answered.map(|at| at.wall_ms),
        duration_ms,
        caller: view.caller.clone(),
        callee: view.callee.clone(),
        caller_gateway: view.caller_gateway.clone(),
        callee_gateway: view.callee_gateway.clone(),
        account: view.account.clone(),
        caller_ip: view.caller_ip.clone(),
        callee_ip: view.callee_ip.clone(),
        caller_codec: view.codec.clone(),
        callee_codec: view.codec.clone(),
        shard,
    }
}

fn events(log: &Log) -> Vec<reply::TraceEvent> {
    let mut vendors = Vec::new();
    log.events
        .iter()
        .map(|event| {
            let mut shown = reply::TraceEvent {
                at_ms: log.start.wall_ms + (event.at.since(log.start.mono) / 1_000) as i64,
                offset_us: event.at.since(log.start.mono) as i64,
                ..Default::default()
            };
            match &event.what {
                What::Message(message) => {
                    let summary = log.summary(message);
                    shown.leg = if message.leg.is_incoming() {
                        "a".to_owned()
                    } else {
                        let at = vendors.iter().position(|l| *l == message.leg).unwrap_or_else(|| {
                            vendors.push(message.leg);
                            vendors.len() - 1
                        });
                        format!("b{}", at + 1)
                    };
                    shown.direction = if message.out { "out" } else { "in" }.to_owned();
                    shown.kind = "sip".to_owned();
                    shown.text = crate::trace::label(&summary);
                    shown.detail = serde_json::json!({
                        "peer": log.peer(message).map(|peer| peer.to_string()),
                        "sdp": summary.sdp.map(|s| s.to_string()),
                        "retransmission": summary.retransmission,
                    });
                }
                What::Decision(decision) => {
                    shown.kind = "decision".to_owned();
                    shown.text = decision.to_string();
                }
            }
            shown
        })
        .collect()
}
