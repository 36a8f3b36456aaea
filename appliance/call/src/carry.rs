//! Calls that outlive the process (design.md P1): what of an answered call is written down at its answer and after every
//! change of its session, and how another life of the switch goes on with it.
//!
//! The money of the call is its [`Usage`] in the start record and, on the rating thread, a reservation made anew; the
//! dialogs belong to the protocol room. Here is the rest: ports, descriptions, and since when it is held. Not carried, and so
//! begun anew: counters of the slow path, how often a source has moved, the draw of a random longest duration.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use smallvec::SmallVec;
use tandem_ebpf_abi::{FlowKey, FlowValue, PtRewrite};
use tandem_leg::{LegId, ListenerId, Now, Time, Try};
use tandem_media::Side;
use tandem_rating::text::Text;
use tandem_rating::usage::Usage;

use crate::attempt::Attempt;
use crate::call::{Call, CallState};
use crate::calls::{Calls, MediaConfig, Shared};
use crate::media::{CallMedia, LegPlace};
use crate::output::Output;
use crate::question::{CallKey, Question};
use crate::route::Plan;
use crate::session::Session;
use crate::trace::TraceEvent;

/// The call room's part of what is written down.
#[derive(Debug, Serialize, Deserialize)]
struct Carried {
    started_us: u64,
    answered_us: u64,
    no_cdr: bool,
    /// Signalling address of the caller, and the listener it came to.
    caller: SocketAddr,
    listener: u16,
    /// Signalling address of the vendor.
    vendor: SocketAddr,
    media: CarriedMedia,
}

/// Descriptions and ports, caller first.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CarriedMedia {
    pub(crate) heard: [Option<ByteBuf>; 2],
    pub(crate) told: [Option<ByteBuf>; 2],
    pub(crate) codec: [Text; 2],
    pub(crate) relay: Option<CarriedRelay>,
}

/// What a relayed call has besides.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CarriedRelay {
    pub(crate) ports: (u16, u16),
    /// Session id and version of our `o=` towards each side.
    pub(crate) origins: [(u64, u64); 2],
    pub(crate) sessions: u64,
    /// Payload types that are rewritten in packets from the vendor.
    pub(crate) pt: Vec<(u8, u8)>,
    /// Our address on each side: its slot may be another one in the next life.
    pub(crate) addresses: (IpAddr, IpAddr),
}

impl CarriedRelay {
    /// Where its ports are now.
    ///
    /// # Errors
    /// One of its addresses is not ours any more.
    pub(crate) fn ports_of(&self, config: &MediaConfig) -> Result<(FlowKey, FlowKey), String> {
        let key = |ip: IpAddr, port: u16| {
            let slot = config.slot_of(ip).ok_or_else(|| format!("media address {ip} is gone"))?;
            Ok::<_, String>(FlowKey::new(slot, port))
        };
        Ok((key(self.addresses.0, self.ports.0)?, key(self.addresses.1, self.ports.1)?))
    }

    pub(crate) fn pairs(&self) -> Vec<PtRewrite> {
        self.pt.iter().map(|(from, to)| PtRewrite { from: *from, to: *to }).collect()
    }
}

/// A call of another life.
#[derive(Debug)]
pub struct Adopted<'a> {
    /// Its a-leg in this life.
    pub a_leg: LegId,
    /// Its b-leg, as [`Calls::number_leg`] numbered it.
    pub b_leg: LegId,
    /// As it was at the answer.
    pub usage: Usage,
    /// What the call room wrote down.
    pub carry: &'a [u8],
    /// Held seconds that are paid now, and whether that is all the money there is.
    pub grant: (Option<i64>, bool),
}

/// When the call was answered, by the monotonic clock of the machine that wrote it.
pub fn answered_at(carry: &[u8]) -> Option<Time> {
    let carried: Carried = rmp_serde::from_slice(carry).ok()?;
    Some(Time(carried.answered_us))
}

impl Call {
    /// What is written down of the call as it stands; empty while an offer waits for its answer, because the session is
    /// then neither the old nor the new one.
    pub(crate) fn carry(&self) -> Vec<u8> {
        let (Some(answered), Some(attempt)) = (self.session.answered, &self.attempt) else {
            return Vec::new();
        };
        let Some(media) = self.media.carry() else {
            return Vec::new();
        };
        let carried = Carried {
            started_us: self.started.mono.micros(),
            answered_us: answered.mono.micros(),
            no_cdr: self.session.no_cdr,
            caller: self.invite.remote,
            listener: self.invite.listener.0,
            vendor: attempt.remote,
            media,
        };
        // Plain data always has an encoding.
        rmp_serde::to_vec(&carried).unwrap_or_default()
    }

    /// The session was changed, or goes on in another life: what is written down is written again. Nobody waits for it.
    pub(crate) fn carry_again(&mut self, cx: &mut Shared) {
        let mut usage = self.usage.clone();
        usage.sip_status_in = 200;
        let carry = self.carry();
        if self.state() == CallState::Connected && !carry.is_empty() {
            cx.ask(Question::Answered { call: self.key, usage: Box::new(usage), carry });
        }
    }
}

impl Calls {
    /// A number for the b-leg of a call that goes on.
    pub fn number_leg(&mut self) -> LegId {
        self.shared.next_leg()
    }

    /// The media ports in what the call room wrote down, caller's first: they may have flows in the fast path.
    pub fn ports_of(&self, carry: &[u8]) -> Option<(FlowKey, FlowKey)> {
        let carried: Carried = rmp_serde::from_slice(carry).ok()?;
        carried.media.relay?.ports_of(&self.shared.config.media).ok()
    }

    /// The legs of a call.
    pub fn legs_of(&self, key: CallKey) -> Option<(LegId, LegId)> {
        let call = self.calls.get(key.index as usize).filter(|call| call.key == key)?;
        Some((call.a_leg, call.attempt.as_ref()?.leg))
    }

    /// Goes on with a call of another life; its dialogs are in the protocol room, its money is held. `flows` are those that
    /// the fast path still forwards for it, caller's side first.
    ///
    /// # Errors
    /// Why it cannot go on; then nothing was changed.
    pub fn adopt(&mut self, now: Now, adopted: Adopted<'_>, flows: [Option<FlowValue>; 2]) -> Result<(), String> {
        let Adopted { a_leg, b_leg, usage, carry, grant } = adopted;
        let carried: Carried = rmp_serde::from_slice(carry).map_err(|error| format!("what was written: {error}"))?;
        let snapshot = Arc::clone(&self.shared.snapshot);
        let flow_no = usage.flow_no;
        if self.calls.len() >= self.shared.config.calls_max {
            return Err(format!("{} calls are all that is allowed", self.calls.len()));
        }
        if carried.answered_us > now.mono.micros() {
            return Err("its clock is not that of this machine since its start".to_owned());
        }
        let mapping = snapshot.mapping.iter().position(|gateway| gateway.name == usage.caller_gateway);
        let mapping = mapping.ok_or_else(|| format!("mapping gateway {} is gone", usage.caller_gateway))?;
        let vendor = snapshot.routing.iter().find(|gateway| gateway.name == usage.callee_gateway);
        let vendor = vendor.ok_or_else(|| format!("routing gateway {} is gone", usage.callee_gateway))?;
        let caller = &snapshot.mapping[mapping];
        let caller_place = LegPlace {
            remote: carried.caller.ip(),
            listener: ListenerId(carried.listener),
            network: self.shared.network(ListenerId(carried.listener)),
            device: caller.media_mode,
            nat: caller.nat,
            latch: caller.latch,
        };
        let place = LegPlace {
            remote: carried.vendor.ip(),
            listener: vendor.listener,
            network: self.shared.network(vendor.listener),
            device: vendor.media_mode,
            nat: vendor.nat,
            latch: vendor.latch,
        };
        let checks = [caller.media_check, vendor.media_check];
        let config = &self.shared.config.media;
        let ports = carried.media.relay.as_ref().map(|relay| relay.ports_of(config)).transpose()?;
        let media = CallMedia::adopt(now, carried.media, &usage, config, [&caller_place, &place], ports, flows)?;
        let mut to_open = SmallVec::<[FlowKey; 2]>::new();
        for port in ports.iter().flat_map(|(first, second)| [*first, *second]) {
            match self.shared.ports.adopt(port) {
                Some(true) => to_open.push(port),
                Some(false) => {}
                None => {
                    if let Some((first, _)) = ports.filter(|(_, second)| *second == port) {
                        self.shared.ports.release(now.mono.micros(), first);
                    }
                    return Err(format!("media port {} is not free", port.port));
                }
            }
        }
        let mut usage = usage;
        usage.flags.adopted = true;
        let answered = Now { mono: Time(carried.answered_us), wall_ms: usage.connect_ms.unwrap_or(usage.setup_ms) };
        let started = Now { mono: Time(carried.started_us), wall_ms: usage.setup_ms };
        let session = Session::adopted(carried.no_cdr, answered, grant.0);
        let make = |key: CallKey| {
            Box::new(Call {
                key,
                flow_no,
                a_leg,
                snapshot: Arc::clone(&snapshot),
                invite: Box::new(Try::from_address(carried.caller, ListenerId(carried.listener))),
                mapping,
                started,
                plan: Plan::default(),
                routes: Vec::new(),
                asked: Vec::new(),
                media,
                caller_place,
                attempt: Some(Attempt::answered(b_leg, carried.vendor, started, place)),
                causes: Vec::new(),
                switches: 0,
                usage,
                session,
                timers: SmallVec::new(),
                guarded: false,
                state: CallState::Connected,
            })
        };
        let key = self.admit(make).key;
        let (cx, calls) = (&mut self.shared, &mut self.calls);
        let Some(call) = calls.get_mut(key.index as usize) else {
            return Err("the call has no place".to_owned());
        };
        cx.legs.insert(a_leg, key);
        cx.legs.insert(b_leg, key);
        cx.flows.insert(flow_no, key);
        if let Some((first, second)) = ports {
            cx.media_ports.insert(first, (key, Side::Caller));
            cx.media_ports.insert(second, (key, Side::Callee));
            to_open.into_iter().for_each(|port| cx.out.push_back(Output::OpenPort(port)));
        }
        call.trace(cx, now, TraceEvent::Adopted);
        call.resume(cx, now, grant.1, checks);
        call.drain_media(cx, now);
        // Numbers of requests go on from where this life begins: the next one must not say them again.
        call.carry_again(cx);
        Ok(())
    }
}
