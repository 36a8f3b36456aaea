//! Answered calls that outlive the process (design.md P1): the two dialogs and the call room's part in one value, which goes
//! into the start record, and the way back.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use tandem_call::carry::{Adopted, answered_at};
use tandem_call::question::{CallKey, Question};
use tandem_leg::{Disconnect, LegEvent, Now, Reason, ServerReason, Time};
use tandem_rating::usage::Usage;
use tandem_sip::CarriedDialog;

use crate::core::{Core, Output};

/// Two starts of the machine that cannot be told apart: nothing is carried from one to the other.
const BOOT_UNKNOWN: [u8; 16] = [0; 16];

/// An answered call as it is written down.
#[derive(Debug, Serialize, Deserialize)]
struct Carried {
    /// Since the start of which machine its monotonic times count.
    #[serde(with = "serde_bytes")]
    boot: Vec<u8>,
    /// Dialogs with caller and vendor.
    dialogs: [CarriedDialog; 2],
    /// The call room's part.
    call: ByteBuf,
}

/// A call of another life, with its reservation made anew.
#[derive(Debug)]
pub struct Carry {
    /// The call at its answer.
    pub usage: Usage,
    /// What the shard wrote.
    pub carry: Vec<u8>,
    /// Held seconds that are paid; `None` is no limit. And whether that is all the money there is.
    pub grant: (Option<i64>, bool),
    /// How the call is billed if it cannot go on.
    pub lost: Box<Usage>,
}

/// The shard that can go on with a carried call (our tags carry its number), and when the call was answered. `None` when it was
/// written before the machine was started, by another number of shards, or not by us.
pub fn home_of(carry: &[u8], boot: &[u8; 16], shards: u8) -> Option<(u8, Time)> {
    let carried: Carried = rmp_serde::from_slice(carry).ok()?;
    let shard = |dialog: &CarriedDialog| u8::from_str_radix(dialog.local_tag.get(1..3)?, 16).ok();
    if *boot == BOOT_UNKNOWN {
        return None;
    }
    let [caller, callee] = &carried.dialogs;
    let home = shard(caller).filter(|home| Some(*home) == shard(callee) && *home < shards)?;
    let answered = answered_at(&carried.call)?;
    (carried.boot == boot).then_some((home, answered))
}

impl Core {
    /// The whole value of a call; empty when it cannot be carried.
    pub(crate) fn carry(&self, call: CallKey, part: Vec<u8>) -> Vec<u8> {
        let dialogs = || {
            let (caller, callee) = self.calls.legs_of(call)?;
            Some([self.endpoint.carry(caller)?, self.endpoint.carry(callee)?])
        };
        match dialogs().filter(|_| !part.is_empty() && self.boot != BOOT_UNKNOWN) {
            // Plain data always has an encoding.
            Some(dialogs) => {
                let carried = Carried { boot: self.boot.to_vec(), dialogs, call: ByteBuf::from(part) };
                rmp_serde::to_vec(&carried).unwrap_or_default()
            }
            None => Vec::new(),
        }
    }

    /// Goes on with a call of another life. One that cannot go on is settled as it was lost.
    ///
    /// # Errors
    /// Why it cannot go on, for the log.
    pub fn adopt(&mut self, now: Now, carry: Carry) -> Result<(), String> {
        let lost = carry.lost.clone();
        let outcome = self.try_adopt(now, carry);
        if outcome.is_err() {
            self.unsettled += 1;
            // No slot was ever used; nobody will look for this key.
            let call = CallKey { shard: self.endpoint.config().shard, index: u32::MAX, generation: 0 };
            self.queued.push_back(Output::Ask(Question::Settle { call, usage: lost, awaited: false }));
        }
        outcome
    }

    /// Hangs up both sides of a call of another life that does not go on; it is settled already. Nothing more is heard of it.
    pub fn say_goodbye(&mut self, now: Now, carry: &[u8]) {
        let Ok(carried) = rmp_serde::from_slice::<Carried>(carry) else { return };
        let reason = Reason::q850(ServerReason::SystemRestart.q850());
        for dialog in carried.dialogs {
            let outgoing = (!dialog.incoming).then(|| self.calls.number_leg());
            if let Ok(leg) = self.endpoint.adopt(dialog, outgoing) {
                let order = LegEvent::Disconnect(Disconnect::order(reason.clone()));
                // An established leg takes the order.
                let _ = self.endpoint.handle_leg_event(now.mono, leg, order);
            }
        }
    }

    fn try_adopt(&mut self, now: Now, carry: Carry) -> Result<(), String> {
        let carried: Carried =
            rmp_serde::from_slice(&carry.carry).map_err(|error| format!("what was written: {error}"))?;
        if carried.boot != self.boot {
            return Err("the machine was started anew since".to_owned());
        }
        let flows = match (self.calls.ports_of(&carried.call), &self.fast_path) {
            (Some((caller, callee)), Some(fast)) => [fast.flow(caller), fast.flow(callee)],
            _ => [None, None],
        };
        let b_leg = self.calls.number_leg();
        let [caller, callee] = carried.dialogs;
        let a_leg = self.endpoint.adopt(caller, None).map_err(|error| format!("caller: {error}"))?;
        if let Err(error) = self.endpoint.adopt(callee, Some(b_leg)) {
            self.endpoint.abandon(a_leg);
            return Err(format!("vendor: {error}"));
        }
        let adopted = Adopted { a_leg, b_leg, usage: carry.usage, carry: &carried.call, grant: carry.grant };
        self.calls.adopt(now, adopted, flows).inspect_err(|_| {
            self.endpoint.abandon(a_leg);
            self.endpoint.abandon(b_leg);
        })?;
        self.queued.push_back(Output::Attempt { leg: b_leg, a_leg });
        Ok(())
    }
}
