//! The media of one call: relayed or direct, and what each side is told of the other (spec media.md 1-4, 6).

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde_bytes::ByteBuf;
use smallvec::SmallVec;
use tandem_ebpf_abi::{FlowCounters, FlowKey, FlowValue, PuntReason, RemoveReason};
use tandem_leg::{ListenerId, Now, ServerReason};
use tandem_media::anchor::PacketOut;
use tandem_media::decide::{self, Functions, Inputs, LegInput, Path, nat_address};
use tandem_media::latch::LatchMode;
use tandem_media::offer_answer::{pt_map, same_description};
use tandem_media::rtcp::Quality;
use tandem_media::rules::is_private;
use tandem_media::sdp::Host;
use tandem_media::{
    Anchor, LegSdp, LocalMedia, MediaDescription, MediaEvent, PortPool, ProhibitedAddress, PtMap, ResumedSide, Sdp,
    SdpError, Side, SideSetup,
};
use tandem_rating::text::{Text, ToCompactString};
use tandem_rating::usage::Usage;

use crate::calls::{MediaConfig, MediaSend};
use crate::carry::{CarriedMedia, CarriedRelay};
use crate::output::Output;
use crate::settings::Settings;
use crate::silence::Heard;
use crate::snapshot::{LatchSetting, NatSetting};

/// Why a description cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MediaProblem {
    #[error("{0}")]
    Unreadable(#[from] SdpError),
    #[error("no audio stream that can be relayed")]
    NoAudio,
    #[error("{0}")]
    Prohibited(#[from] ProhibitedAddress),
    #[error("no free media port")]
    /// `elsewhere`: another address of ours has some, which another gateway may use.
    NoPorts { elsewhere: bool },
    #[error("{0}")]
    Impossible(&'static str),
}

impl MediaProblem {
    /// The end reason it is.
    pub(crate) fn reason(&self) -> ServerReason {
        match self {
            MediaProblem::Unreadable(_) | MediaProblem::Impossible(_) => ServerReason::ProtocolLimit,
            MediaProblem::NoAudio => ServerReason::CodecMismatch,
            MediaProblem::Prohibited(_) => ServerReason::ProhibitedMediaIp,
            MediaProblem::NoPorts { .. } => ServerReason::MediaResourceExhausted,
        }
    }

    /// Whether no other gateway could help (column Sw of endreasons.md 2).
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, MediaProblem::Prohibited(_) | MediaProblem::NoPorts { elsewhere: false })
    }
}

/// One leg, as far as its media asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LegPlace {
    /// Signalling address of the far side.
    pub(crate) remote: IpAddr,
    /// Our listener that the leg uses: it says which of our media addresses.
    pub(crate) listener: ListenerId,
    /// Local network the leg uses.
    pub(crate) network: u32,
    pub(crate) device: decide::DeviceMode,
    pub(crate) nat: NatSetting,
    pub(crate) latch: LatchSetting,
}

impl LegPlace {
    fn nat_ip(&self, host: Option<IpAddr>) -> Option<IpAddr> {
        let forced = match self.nat {
            NatSetting::Auto => None,
            NatSetting::Yes => Some(true),
            NatSetting::No => Some(false),
        };
        nat_address(host, self.remote, forced)
    }

    /// Whether media may come from anywhere: only a private address says that its packets will. A carrier's media address
    /// differs from its signalling address as a rule, and a stranger must not win the race for its call (media.md 4 reads
    /// `nat(leg)` more widely; what is behind NAT with a public address in SDP needs `nat = "yes"`).
    fn latches_to_any(&self, host: Option<IpAddr>) -> bool {
        match self.nat {
            NatSetting::Yes => true,
            NatSetting::No => false,
            NatSetting::Auto => host.is_some_and(is_private),
        }
    }
}

/// What is told to a leg and heard from it.
#[derive(Debug, Default)]
pub(crate) struct CallMedia {
    /// The caller's first offer.
    offer: Option<Arc<Sdp>>,
    relay: Option<Box<Relay>>,
    /// An offer that waits for its answer, and who made it: a change of the session, or the offer in a 2xx.
    open: Option<(Side, Arc<Sdp>)>,
    /// Last description from each side that both agreed on, or that began the session.
    heard: [Option<Arc<Sdp>>; 2],
    /// What each side was told last.
    told: [Option<Vec<u8>>; 2],
    /// Codec in use on each side.
    pub(crate) codec: [Text; 2],
    /// The decision in words, for the CDR.
    pub(crate) step: Text,
    /// RTP packets that the slow path forwarded of attempts that failed.
    forgotten: u64,
}

struct Relay {
    ports: (FlowKey, FlowKey),
    anchor: Anchor,
    sdp: [LegSdp; 2],
    local: [LocalMedia; 2],
    setup: [SideSetup; 2],
    /// Descriptions made so far, for session ids that no other one has.
    sessions: u64,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Relay {{ ports: {:?} }}", self.ports)
    }
}

/// What is left of the media at the end of a call.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    pub(crate) ports: Option<(FlowKey, FlowKey)>,
    pub(crate) counters: [Vec<FlowCounters>; 2],
    pub(crate) quality: [Quality; 2],
    pub(crate) forgotten: u64,
}

impl CallMedia {
    /// Takes the caller's offer.
    pub(crate) fn new(offer: Option<&[u8]>, config: &MediaConfig) -> Result<CallMedia, MediaProblem> {
        let mut media = CallMedia::default();
        if let Some(body) = offer {
            let sdp = Arc::new(Sdp::parse(body)?);
            check_addresses(&sdp, config)?;
            if !sdp.media().iter().any(|m| m.port != 0) {
                return Err(MediaProblem::NoAudio);
            }
            media.heard[Side::Caller as usize] = Some(Arc::clone(&sdp));
            media.offer = Some(sdp);
        }
        Ok(media)
    }

    /// What is written down of it; `None` while an offer waits for its answer.
    pub(crate) fn carry(&self) -> Option<CarriedMedia> {
        if self.open.is_some() {
            return None;
        }
        let heard = |side: Side| self.heard[side as usize].as_deref().map(|sdp| ByteBuf::from(text_of(sdp)));
        let told = |side: Side| self.told[side as usize].clone().map(ByteBuf::from);
        Some(CarriedMedia {
            heard: [heard(Side::Caller), heard(Side::Callee)],
            told: [told(Side::Caller), told(Side::Callee)],
            codec: self.codec.clone(),
            relay: self.relay.as_ref().map(|relay| CarriedRelay {
                ports: (relay.ports.0.port, relay.ports.1.port),
                origins: [relay.sdp[0].origin(), relay.sdp[1].origin()],
                sessions: relay.sessions,
                pt: relay.anchor.pt(Side::Callee).pairs().iter().map(|pair| (pair.from, pair.to)).collect(),
                addresses: (relay.setup[0].local_ip, relay.setup[1].local_ip),
            }),
        })
    }

    /// The media of a call that goes on. `flows`: what the fast path still forwards, caller's side first; `ports`: what
    /// [`CarriedRelay::ports_of`] says.
    pub(crate) fn adopt(
        now: Now,
        carried: CarriedMedia,
        usage: &Usage,
        config: &MediaConfig,
        places: [&LegPlace; 2],
        ports: Option<(FlowKey, FlowKey)>,
        flows: [Option<FlowValue>; 2],
    ) -> Result<CallMedia, String> {
        let parse = |text: &Option<ByteBuf>| match text {
            Some(text) => Sdp::parse(text).map(|sdp| Some(Arc::new(sdp))).map_err(|error| error.to_string()),
            None => Ok(None),
        };
        let heard = [parse(&carried.heard[0])?, parse(&carried.heard[1])?];
        let told = carried.told.map(|text| text.map(ByteBuf::into_vec));
        let relay = match carried.relay.zip(ports) {
            None => None,
            Some((relay, ports)) => {
                let pairs = PtMap::from_pairs(&relay.pairs());
                let mut sides = Vec::with_capacity(2);
                let mut locals = Vec::with_capacity(2);
                for (side, port) in [(Side::Caller, ports.0), (Side::Callee, ports.1)] {
                    let place = places[side as usize];
                    let description = heard[side as usize].as_deref();
                    let host = description.and_then(host_of);
                    let (setup, local) =
                        side_setup(config, port, place, host).map_err(|problem| problem.to_string())?;
                    let flow = flows[side as usize].filter(|flow| flow.version != 0);
                    sides.push(ResumedSide {
                        setup,
                        stream: description.and_then(Sdp::relayable_audio).map(|(_, stream)| stream.clone()),
                        pt: if side == Side::Callee { pairs } else { pairs.inverse() },
                        source: flow.and_then(|flow| flow.source()).map(SocketAddr::from),
                        rtcp_source: flow
                            .filter(|flow| flow.rtcp_source_port != 0)
                            .map(|flow| SocketAddr::new(flow.rtcp_source_ip.into(), flow.rtcp_source_port)),
                        version: flow.map_or(0, |flow| flow.version),
                    });
                    locals.push(local);
                }
                let setup = [sides[0].setup, sides[1].setup];
                let (Ok(sides), Ok(local)) = (<[ResumedSide; 2]>::try_from(sides), <[LocalMedia; 2]>::try_from(locals))
                else {
                    return Err("media of two sides".to_owned());
                };
                let resumed = |side: Side| {
                    let (id, version) = relay.origins[side as usize];
                    LegSdp::resume(id, version, told[side as usize].clone().unwrap_or_default())
                };
                Some(Box::new(Relay {
                    ports,
                    anchor: Anchor::resume(config.rules.clone(), now.mono.micros(), sides),
                    sdp: [resumed(Side::Caller), resumed(Side::Callee)],
                    local,
                    setup,
                    sessions: relay.sessions,
                }))
            }
        };
        Ok(CallMedia {
            offer: heard[Side::Caller as usize].clone(),
            relay,
            open: None,
            heard,
            told,
            codec: carried.codec,
            step: usage.media_step.clone(),
            forgotten: 0,
        })
    }

    pub(crate) fn is_relayed(&self) -> bool {
        self.relay.is_some()
    }

    /// Relay or direct for the next attempt (media.md 1.3).
    pub(crate) fn decide(&self, settings: &Settings, caller: &LegPlace, callee: &LegPlace) -> decide::Decision {
        let host = self.offer.as_deref().and_then(host_of);
        let mixed = host.unwrap_or(caller.remote).is_ipv4() != callee.remote.is_ipv4();
        decide::decide(&Inputs {
            mode: settings.media_proxy_mode,
            between_net: settings.media_proxy_between_net,
            behind_nat: settings.media_proxy_behind_nat,
            same_nat: settings.media_proxy_same_nat,
            functions: if mixed { Functions::Needed } else { Functions::None },
            relayed_before: self.relay.is_some(),
            local_ring: false,
            caller: LegInput {
                device: caller.device,
                dynamic_encrypted: false,
                network: caller.network,
                nat_ip: caller.nat_ip(host),
            },
            callee: LegInput {
                device: callee.device,
                dynamic_encrypted: false,
                network: callee.network,
                nat_ip: callee.nat_ip(None),
            },
        })
    }

    /// Makes ready for an attempt by `decision`. Ports are leased when the call has none yet, or when this gateway is reached
    /// by another of our addresses than the last one; the port that was given up then comes back.
    pub(crate) fn begin_attempt(
        &mut self,
        now: Now,
        flow_no: u64,
        config: &MediaConfig,
        decision: &decide::Decision,
        (caller, callee): (&LegPlace, &LegPlace),
        pool: &mut PortPool,
    ) -> Result<Option<FlowKey>, MediaProblem> {
        self.step = decision.step.to_compact_string();
        self.step.push(' ');
        self.step.push_str(decision.why);
        match decision.path {
            Path::Refuse => return Err(MediaProblem::Impossible(decision.why)),
            Path::Direct => return Ok(None),
            Path::Relay => {}
        }
        let stream = match &self.offer {
            Some(offer) => Some(offer.relayable_audio().ok_or(MediaProblem::NoAudio)?.1.clone()),
            None => None,
        };
        let now_us = now.mono.micros();
        let host = self.offer.as_deref().and_then(host_of);
        // An address for each side is known to exist before ports are taken.
        let callee_slots = slots(config, callee, None)?;
        if let Some(relay) = &mut self.relay {
            let before = relay.ports.1;
            let port = if callee_slots.contains(&before.slot) { before } else { lease(pool, &callee_slots)? };
            let (side, local) = side_setup(config, port, callee, None)?;
            relay.sessions += 1;
            relay.sdp[Side::Callee as usize] = LegSdp::new(session_id(flow_no, relay.sessions));
            relay.local[Side::Callee as usize] = local;
            relay.setup[Side::Callee as usize] = side;
            self.forgotten += relay.anchor.next_attempt(now_us, Side::Callee, side).packets;
            self.heard[Side::Callee as usize] = None;
            relay.ports.1 = port;
            if port == before {
                return Ok(None);
            }
            pool.release(now_us, before);
            return Ok(Some(before));
        }
        // What an earlier, direct attempt told the caller names that vendor's address.
        self.told[Side::Caller as usize] = None;
        let caller_slots = slots(config, caller, host)?;
        let caller_port = pool.lease(&caller_slots).ok_or(MediaProblem::NoPorts { elsewhere: false })?;
        let callee_port = lease(pool, &callee_slots).inspect_err(|_| pool.release(now_us, caller_port))?;
        let ports = (caller_port, callee_port);
        let (caller_side, caller_local) = side_setup(config, ports.0, caller, host)?;
        let (callee_side, callee_local) = side_setup(config, ports.1, callee, None)?;
        let mut anchor = Anchor::new(config.rules.clone(), caller_side, callee_side);
        let problem = stream.and_then(|stream| anchor.set_remote(now_us, Side::Caller, &stream).err());
        self.relay = Some(Box::new(Relay {
            ports,
            anchor,
            sdp: [LegSdp::new(session_id(flow_no, 0)), LegSdp::new(session_id(flow_no, 1))],
            local: [caller_local, callee_local],
            setup: [caller_side, callee_side],
            sessions: 1,
        }));
        problem.map_or(Ok(None), |p| Err(p.into()))
    }

    /// The offer for the vendor; `None` when the caller made none.
    pub(crate) fn offer_for_callee(&mut self) -> Option<Vec<u8>> {
        let offer = self.offer.as_ref()?;
        let body = match &mut self.relay {
            Some(relay) => relay.sdp[Side::Callee as usize].offer(offer, &relay.local[Side::Callee as usize]).body,
            None => text_of(offer),
        };
        self.told[Side::Callee as usize] = Some(body.clone());
        Some(body)
    }

    /// A description from the vendor, in an 18x or in the 2xx -> the one for the caller.
    ///
    /// What the caller was told in an 18x stays, and the relay maps payload types to it, as long as it names the codec
    /// that is used now (media.md 6).
    pub(crate) fn described(
        &mut self,
        now: Now,
        body: &[u8],
        place: &LegPlace,
        config: &MediaConfig,
    ) -> Result<Vec<u8>, MediaProblem> {
        let remote = Arc::new(Sdp::parse(body)?);
        let now_us = now.mono.micros();
        let made = match (&mut self.relay, &self.offer) {
            (None, _) => {
                check_addresses(&remote, config)?;
                body.to_vec()
            }
            (Some(relay), Some(offer)) => {
                let [caller, _] = &mut relay.sdp;
                let local = &relay.local[Side::Caller as usize];
                let stream = offer.relayable_audio().and_then(|(i, _)| Some((i, remote.media().get(i)?)));
                if let Some((at, stream)) = stream.filter(|(_, m)| m.relayable()) {
                    relay.anchor.set_remote(now_us, Side::Callee, stream)?;
                    let nat = place.latches_to_any(stream.address().map(|a| a.ip()));
                    relay.anchor.set_nat(now_us, Side::Callee, nat);
                    let told = self.told[Side::Caller as usize].as_deref().and_then(|t| Sdp::parse(t).ok());
                    let fixed = told.as_ref().and_then(|t| t.media().get(at)).filter(|t| {
                        stream.main_codec().is_none_or(|main| t.codecs.iter().any(|c| c.same_encoding(main)))
                    });
                    let (pt, made) = match (fixed, &self.told[Side::Caller as usize]) {
                        (Some(fixed), Some(text)) => (pt_map(stream, fixed), text.clone()),
                        _ => {
                            let produced = caller.answer(offer, &remote, local);
                            (produced.pt, produced.body)
                        }
                    };
                    relay.anchor.set_pt_map(now_us, Side::Callee, pt);
                    relay.anchor.set_pt_map(now_us, Side::Caller, pt.inverse());
                    made
                } else {
                    caller.answer(offer, &remote, local).body
                }
            }
            (Some(relay), None) => {
                let (_, stream) = remote.relayable_audio().ok_or(MediaProblem::NoAudio)?;
                relay.anchor.set_remote(now_us, Side::Callee, stream)?;
                let nat = place.latches_to_any(stream.address().map(|a| a.ip()));
                relay.anchor.set_nat(now_us, Side::Callee, nat);
                relay.sdp[Side::Caller as usize].offer(&remote, &relay.local[Side::Caller as usize]).body
            }
        };
        if self.offer.is_none() {
            self.open = Some((Side::Callee, Arc::clone(&remote)));
        }
        let codec = codec_of(&remote);
        self.codec = [codec.clone(), codec];
        self.heard[Side::Callee as usize] = Some(remote);
        self.told[Side::Caller as usize] = Some(made.clone());
        Ok(made)
    }

    /// What the caller was told so far.
    pub(crate) fn told_caller(&self) -> Option<Vec<u8>> {
        self.told[Side::Caller as usize].clone()
    }

    /// Whether an offer waits for an answer in an ACK.
    pub(crate) fn answer_due(&self, from: Side) -> bool {
        self.open.as_ref().is_some_and(|(side, _)| *side == from.other())
    }

    /// A new offer from `from` -> the one for the other side. Nothing is changed before it is answered.
    pub(crate) fn change_offered(
        &mut self,
        from: Side,
        body: &[u8],
        config: &MediaConfig,
    ) -> Result<Change, MediaProblem> {
        let offer = Arc::new(Sdp::parse(body)?);
        check_addresses(&offer, config)?;
        let told = &self.told[from as usize];
        if let (Some(before), Some(told)) = (&self.heard[from as usize], told)
            && same_description(before, &offer)
        {
            return Ok(Change::Same(told.clone()));
        }
        let to = from.other() as usize;
        let made = match &mut self.relay {
            Some(relay) => {
                let produced = relay.sdp[to].offer(&offer, &relay.local[to]);
                // Only audio is relayed: moving the call to a fax would end it in silence.
                if produced.stream.is_none() && offer.media().iter().any(|m| m.port != 0) {
                    return Err(MediaProblem::NoAudio);
                }
                produced.body
            }
            None => body.to_vec(),
        };
        self.open = Some((from, offer));
        Ok(Change::Ask(made))
    }

    /// The answer of `from` to the open offer of the other side -> the one for that side.
    pub(crate) fn answered(
        &mut self,
        now: Now,
        from: Side,
        body: &[u8],
        config: &MediaConfig,
    ) -> Result<Vec<u8>, MediaProblem> {
        let answer = Arc::new(Sdp::parse(body)?);
        check_addresses(&answer, config)?;
        let Some((offerer, offer)) = self.open.take() else {
            return Ok(body.to_vec());
        };
        let now_us = now.mono.micros();
        let made = match &mut self.relay {
            Some(relay) => {
                let to = offerer as usize;
                let produced = relay.sdp[to].answer(&offer, &answer, &relay.local[to]);
                let index = offer.relayable_audio().map(|(i, _)| i);
                if let Some(stream) = index.and_then(|i| offer.media().get(i)) {
                    relay.anchor.set_remote(now_us, offerer, stream)?;
                }
                if let Some(stream) = produced.stream.and_then(|i| answer.media().get(i)) {
                    relay.anchor.set_remote(now_us, from, stream)?;
                    relay.anchor.set_pt_map(now_us, from, produced.pt);
                    relay.anchor.set_pt_map(now_us, offerer, produced.pt.inverse());
                }
                self.told[from as usize] = Some(relay.sdp[from as usize].sent().to_vec());
                produced.body
            }
            None => {
                self.told[from as usize] = Some(text_of(&offer));
                body.to_vec()
            }
        };
        let codec = codec_of(&answer);
        if !codec.is_empty() {
            self.codec = [codec.clone(), codec];
        }
        self.told[offerer as usize] = Some(made.clone());
        self.heard[offerer as usize] = Some(offer);
        self.heard[from as usize] = Some(answer);
        Ok(made)
    }

    /// The change was refused: the session stays as it was.
    pub(crate) fn change_refused(&mut self) {
        self.open = None;
    }

    /// The other side answered an empty re-INVITE with an offer -> the one for `to`.
    pub(crate) fn offered_back(
        &mut self,
        to: Side,
        body: &[u8],
        config: &MediaConfig,
    ) -> Result<Vec<u8>, MediaProblem> {
        let from = to.other();
        let offer = Arc::new(Sdp::parse(body)?);
        check_addresses(&offer, config)?;
        let made = match &mut self.relay {
            Some(relay) => relay.sdp[to as usize].offer(&offer, &relay.local[to as usize]).body,
            None => body.to_vec(),
        };
        self.open = Some((from, offer));
        Ok(made)
    }

    /// The caller was told of the answer: early media is over.
    pub(crate) fn established(&mut self, now: Now) {
        if let Some(relay) = &mut self.relay {
            relay.anchor.established(now.mono.micros());
        }
    }

    /// A punted packet.
    pub(crate) fn packet(
        &mut self,
        now: Now,
        side: Side,
        reason: PuntReason,
        source: SocketAddr,
        payload: &mut [u8],
    ) -> Option<MediaSend> {
        let relay = self.relay.as_mut()?;
        match relay.anchor.handle_packet(now.mono.micros(), side, reason, source, payload) {
            PacketOut::Forward { from_port, from_ip, to } => {
                Some(MediaSend { from: SocketAddr::new(from_ip, from_port), to })
            }
            PacketOut::Drop(_) => None,
        }
    }

    /// A copy of a packet that was forwarded.
    pub(crate) fn copy(&mut self, now: Now, side: Side, reason: PuntReason, payload: &[u8]) {
        if let Some(relay) = &mut self.relay {
            relay.anchor.handle_copy(now.mono.micros(), side, reason, payload);
        }
    }

    /// Hands out what the anchor queued.
    pub(crate) fn drain(&mut self, out: &mut VecDeque<Output>) -> SmallVec<[MediaEvent; 2]> {
        let mut events = SmallVec::new();
        if let Some(relay) = &mut self.relay {
            while let Some(flow) = relay.anchor.poll_flow() {
                out.push_back(Output::Flow(flow));
            }
            while let Some(event) = relay.anchor.poll_event() {
                events.push(event);
            }
        }
        events
    }

    /// Media address of a side: learned, else offered.
    pub(crate) fn address(&self, side: Side) -> Option<SocketAddr> {
        match &self.relay {
            Some(relay) => relay.anchor.learned(side).or(relay.anchor.offered(side)),
            None => self.heard[side as usize].as_ref()?.relayable_audio()?.1.address(),
        }
    }

    /// Media address of a side as its packets showed it, and as it was offered.
    pub(crate) fn addresses(&self, side: Side) -> (Option<SocketAddr>, Option<SocketAddr>) {
        match &self.relay {
            Some(relay) => (relay.anchor.learned(side), relay.anchor.offered(side)),
            None => (None, self.address(side)),
        }
    }

    /// When the slow path heard a side last.
    pub(crate) fn heard_at(&self, side: Side) -> Heard {
        let counters = self.relay.as_ref().map(|relay| relay.anchor.counters(side));
        counters.map_or(Heard::default(), |c| Heard { rtp_us: c.last_us, rtcp_us: c.rtcp_last_us })
    }

    /// RTP packets that the slow path has forwarded.
    pub(crate) fn slow_packets(&self) -> u64 {
        let sides = [Side::Caller, Side::Callee];
        let of = |relay: &Relay| sides.map(|side| relay.anchor.counters(side).packets).iter().sum::<u64>();
        self.forgotten + self.relay.as_deref().map_or(0, of)
    }

    /// Whether a side does not want to hear the other one.
    pub(crate) fn on_hold(&self) -> bool {
        self.relay.as_ref().is_some_and(|relay| relay.anchor.on_hold())
    }

    /// Whether both sides agreed that a silent speaker sends nothing: comfort noise (RFC 3389), or G.729 with annex B, which is
    /// meant when nothing is said of it (RFC 4856 2.1.9).
    pub(crate) fn suppresses_silence(&self) -> bool {
        let agreed = |fits: fn(&MediaDescription) -> bool| {
            let mut sides = self.heard.iter().flatten().filter_map(|sdp| sdp.relayable_audio());
            sides.clone().count() == 2 && sides.all(|(_, media)| fits(media))
        };
        agreed(|media| media.codecs.iter().any(|codec| codec.name.eq_ignore_ascii_case("CN")))
            || agreed(|media| {
                media.main_codec().is_some_and(|codec| {
                    codec.name.eq_ignore_ascii_case("G729")
                        && !codec.fmtp.as_deref().unwrap_or_default().to_ascii_lowercase().contains("annexb=no")
                })
            })
    }

    pub(crate) fn ports(&self) -> Option<(FlowKey, FlowKey)> {
        self.relay.as_ref().map(|r| r.ports)
    }

    /// Ends the media. The removals of both flows wait in [`CallMedia::drain`].
    pub(crate) fn close(&mut self, reason: RemoveReason) -> Remains {
        let Some(relay) = &mut self.relay else {
            return Remains::default();
        };
        relay.anchor.close(reason);
        let counters = |side| vec![*relay.anchor.counters(side)];
        Remains {
            ports: Some(relay.ports),
            counters: [counters(Side::Caller), counters(Side::Callee)],
            quality: [*relay.anchor.quality(Side::Caller), *relay.anchor.quality(Side::Callee)],
            forgotten: self.forgotten,
        }
    }
}

/// Slots of our addresses that one side may use.
fn slots(config: &MediaConfig, place: &LegPlace, host: Option<IpAddr>) -> Result<SmallVec<[u8; 8]>, MediaProblem> {
    let slots = config.slots(place.listener, host.unwrap_or(place.remote).is_ipv4());
    if slots.is_empty() { Err(MediaProblem::Impossible("no media address")) } else { Ok(slots) }
}

/// A port for the vendor's side.
fn lease(pool: &mut PortPool, slots: &[u8]) -> Result<FlowKey, MediaProblem> {
    pool.lease(slots).ok_or_else(|| MediaProblem::NoPorts { elsewhere: pool.counts().any(|counts| counts.ready > 0) })
}

/// What the relay and the descriptions need of one side.
fn side_setup(
    config: &MediaConfig,
    key: FlowKey,
    place: &LegPlace,
    host: Option<IpAddr>,
) -> Result<(SideSetup, LocalMedia), MediaProblem> {
    let address = config.address(key.slot).ok_or(MediaProblem::Impossible("no media address"))?;
    let side = SideSetup {
        key,
        local_ip: address.ip,
        latch: Some(match place.latch {
            LatchSetting::Strict => LatchMode::Strict,
            LatchSetting::Always => LatchMode::Always,
        }),
        nat: place.latches_to_any(host),
        signalling_ip: Some(place.remote),
        hairpin: false,
    };
    Ok((side, LocalMedia { ip: address.advertised, port: key.port, rtcp: config.rules.rtcp }))
}

/// What becomes of an offer inside the session.
#[derive(Debug)]
pub(crate) enum Change {
    /// It changes nothing; this was the last answer (signalling.md 9).
    Same(Vec<u8>),
    /// The other side is asked with this.
    Ask(Vec<u8>),
}

/// No `o=` of ours ever has the session id of another one: flow numbers are unique, a call makes fewer than 1024.
fn session_id(flow_no: u64, n: u64) -> u64 {
    (flow_no << 10) | (n & 1023)
}

fn text_of(sdp: &Sdp) -> Vec<u8> {
    let mut out = Vec::new();
    sdp.write(&mut out);
    out
}

fn host_of(sdp: &Sdp) -> Option<IpAddr> {
    let host = sdp.relayable_audio().and_then(|(_, m)| m.host.as_ref()).or(sdp.host());
    match host {
        Some(Host::Ip(ip)) if !ip.is_unspecified() => Some(*ip),
        Some(Host::Ip(_) | Host::Name) | None => None,
    }
}

fn codec_of(sdp: &Sdp) -> Text {
    let codec = sdp.relayable_audio().and_then(|(_, m)| m.main_codec());
    codec.map(|c| c.name.as_str().into()).unwrap_or_default()
}

/// Addresses that media must never be sent to (media.md 4 rule 6), whoever sends it.
fn check_addresses(sdp: &Sdp, config: &MediaConfig) -> Result<(), MediaProblem> {
    for address in sdp.media().iter().filter_map(|m| m.address()) {
        if let Some(why) = config.rules.prohibits(address.ip(), false) {
            return Err(MediaProblem::Prohibited(ProhibitedAddress { ip: address.ip(), why }));
        }
    }
    Ok(())
}
