//! Whom a leg's packets may come from: symmetric RTP with limits (media.md 4, RFC 4961).
//!
//! The rules, and what each means here:
//! 1. Before the first valid packet the leg is sent to at its SDP address (that part is in `anchor.rs`).
//! 2. First valid packet from S: S = SDP address latches; a leg behind NAT or with `always` latches to any S; `strict`
//!    refuses. A strict leg never latches to anything but its SDP address, later neither.
//! 3. Re-latch: within 3 s after the answer one change; later only after a new SDP, or to a source that carries on with
//!    the SSRC of one silent for 2 s, or when the registration moved. More than 3 per call: hijack suspect, frozen.
//! 4. Another fork answers: latching is open again ([`Latch::reopen`]).
//! 5. RTCP from another port latches by itself, once, and only from the machine that sends the RTP.
//!
//! A move to exactly the address that the current SDP names was announced by signalling: it is an event, but does not
//! count towards the freeze, and even a frozen leg follows it.

use std::net::SocketAddr;

use tandem_ebpf_abi::{DropReason, PuntReason};

/// How long after the answer one change of source is allowed, microseconds (media.md 4 rule 3).
pub const RELATCH_WINDOW_US: u64 = 3_000_000;
/// Re-latches a call may have; the next one freezes it (media.md 4 rule 3).
pub const RELATCHES_MAX: u8 = 3;

/// Who may become the source of a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LatchMode {
    /// Only the SDP address, unless the leg is behind NAT.
    #[default]
    Strict,
    /// Any.
    Always,
}

/// State of one leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LatchState {
    /// No source yet.
    #[default]
    Init,
    /// Packets are accepted from this source.
    Latched(SocketAddr),
}

/// What became of a packet's source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latching {
    /// It is the latched source.
    Known,
    /// First latch of the leg.
    Latched,
    /// The source changed.
    Relatched {
        /// The one before.
        from: SocketAddr,
    },
    /// Not accepted.
    Refused(DropReason),
    /// Not accepted, and one change too many: raised once per call.
    HijackSuspect,
}

/// The latch of one leg.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Latch {
    state: LatchState,
    mode: LatchMode,
    nat: bool,
    /// Address in the current SDP.
    offered: Option<SocketAddr>,
    /// Source before the latch was opened again, for the event.
    before: Option<SocketAddr>,
    answered_us: Option<u64>,
    changed_in_window: bool,
    relatches: u8,
    frozen: bool,
}

impl Latch {
    /// An open latch.
    pub fn new(mode: LatchMode, nat: bool) -> Latch {
        Latch { mode, nat, ..Latch::default() }
    }

    /// The latch of a call that was answered long ago, at the source that its flow has.
    pub fn resume(mode: LatchMode, nat: bool, offered: Option<SocketAddr>, source: Option<SocketAddr>) -> Latch {
        Latch {
            state: source.map_or(LatchState::Init, LatchState::Latched),
            offered,
            changed_in_window: true,
            ..Latch::new(mode, nat)
        }
    }

    /// The state.
    pub fn state(&self) -> LatchState {
        self.state
    }

    /// The latched source.
    pub fn source(&self) -> Option<SocketAddr> {
        match self.state {
            LatchState::Latched(source) => Some(source),
            LatchState::Init => None,
        }
    }

    /// The source now, or before the latch was opened again.
    pub fn last_source(&self) -> Option<SocketAddr> {
        self.source().or(self.before)
    }

    /// Re-latches that count.
    pub fn relatches(&self) -> u8 {
        self.relatches
    }

    /// True after a hijack suspicion.
    pub fn frozen(&self) -> bool {
        self.frozen
    }

    /// Whether the leg is behind NAT, known after registration or from its SDP.
    pub fn set_nat(&mut self, nat: bool) {
        self.nat = nat;
    }

    /// True when any source may latch.
    pub fn open_to_any(&self) -> bool {
        self.nat || self.mode == LatchMode::Always
    }

    /// The SDP names this address now. Another one than before opens the latch again (rule 3a).
    pub fn set_offered(&mut self, offered: Option<SocketAddr>) {
        // Hold by 0.0.0.0 or port 0 names no address; the source stays for the resume.
        if offered.is_some() && offered != self.offered {
            self.offered = offered;
            if self.source() != offered {
                self.reopen();
            }
        }
    }

    /// The next valid packet latches anew (rules 3a and 4: new SDP, moved registration, another fork).
    pub fn reopen(&mut self) {
        if let LatchState::Latched(source) = self.state {
            self.before = Some(source);
            self.state = LatchState::Init;
        }
    }

    /// 200 OK: the window of rule 3 opens.
    pub fn answered(&mut self, now_us: u64) {
        self.answered_us.get_or_insert(now_us);
    }

    /// True while one change is allowed.
    pub fn window_open(&self, now_us: u64) -> bool {
        !self.frozen
            && self.open_to_any()
            && !self.changed_in_window
            && self.answered_us.is_some_and(|at| now_us.saturating_sub(at) < RELATCH_WINDOW_US)
    }

    /// True when no other source than the present one can be accepted without new signalling.
    pub fn fixed(&self) -> bool {
        self.source().is_some() && (self.frozen || !self.open_to_any())
    }

    /// A valid RTP packet from `source`, which the fast path did not pass for `reason`.
    pub fn judge(&mut self, now_us: u64, reason: PuntReason, source: SocketAddr) -> Latching {
        match self.state {
            LatchState::Latched(latched) if latched == source => Latching::Known,
            LatchState::Init => self.judge_open(source),
            LatchState::Latched(latched) => self.judge_change(now_us, reason, source, latched),
        }
    }

    fn judge_open(&mut self, source: SocketAddr) -> Latching {
        let announced = self.offered == Some(source);
        if self.frozen && !announced {
            return Latching::Refused(DropReason::Frozen);
        }
        if !announced && !self.open_to_any() {
            return Latching::Refused(DropReason::SourceMismatch);
        }
        match self.before {
            None => {
                self.state = LatchState::Latched(source);
                Latching::Latched
            }
            Some(before) if before == source => {
                self.state = LatchState::Latched(source);
                self.before = None;
                Latching::Known
            }
            Some(before) => self.relatch(source, before),
        }
    }

    fn judge_change(&mut self, now_us: u64, reason: PuntReason, source: SocketAddr, latched: SocketAddr) -> Latching {
        if self.frozen {
            return Latching::Refused(DropReason::Frozen);
        }
        if !self.open_to_any() && self.offered != Some(source) {
            return Latching::Refused(DropReason::SourceMismatch);
        }
        if self.window_open(now_us) {
            let outcome = self.relatch(source, latched);
            self.changed_in_window = true;
            return outcome;
        }
        if reason == PuntReason::SourceSilent {
            return self.relatch(source, latched);
        }
        Latching::Refused(DropReason::SourceMismatch)
    }

    fn relatch(&mut self, source: SocketAddr, from: SocketAddr) -> Latching {
        if self.offered != Some(source) {
            if self.relatches == RELATCHES_MAX {
                self.frozen = true;
                self.state = LatchState::Latched(from);
                self.before = None;
                return Latching::HijackSuspect;
            }
            self.relatches += 1;
        }
        self.state = LatchState::Latched(source);
        self.before = None;
        Latching::Relatched { from }
    }
}
