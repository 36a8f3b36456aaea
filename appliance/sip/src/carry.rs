//! Dialogs that outlive the process: what another endpoint needs to go on with an established session after a restart.
//!
//! Transactions are not carried. What was under way when the process died is sent again by the far side, and is answered
//! by the dialog as if it came for the first time.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tandem_leg::{LegId, ListenerId};

use crate::dialog::Dialog;
use crate::endpoint::Endpoint;
use crate::leg::{Leg, Phase};
use crate::message::Message;
use crate::method::Method;
use crate::summary::Outcome;

/// Added to our sequence number, because requests that we sent after the state was written are not in it: "each request ...
/// MUST contain strictly monotonically increasing and contiguous CSeq" holds within reach, and a gap is no error at the far
/// side (RFC 3261 12.2.1.1 and 12.2.2). More INFOs than this in one call are not expected.
const SEQUENCE_GAP: u32 = 10_000;
/// CSeq numbers are below 2^31 (RFC 3261 8.1.1.5).
const SEQUENCE_MAX: u32 = (1 << 31) - 1;

/// An established dialog (RFC 3261 12).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarriedDialog {
    /// Call-ID of the leg.
    #[serde(with = "text")]
    pub call_id: Vec<u8>,
    /// Our tag; carries the shard.
    pub local_tag: String,
    /// Their tag; empty for an RFC 2543 element.
    #[serde(with = "text")]
    pub remote_tag: Vec<u8>,
    /// From of our requests.
    #[serde(with = "text")]
    pub local: Vec<u8>,
    /// To of our requests.
    #[serde(with = "text")]
    pub remote: Vec<u8>,
    /// Our last sequence number.
    pub local_seq: u32,
    /// Theirs.
    pub remote_seq: Option<u32>,
    /// Route set, first hop first.
    pub route_set: Vec<String>,
    /// Remote target.
    #[serde(with = "text")]
    pub target: Vec<u8>,
    /// Our Contact.
    pub contact: String,
    /// Bound address of the listener.
    pub listener: SocketAddr,
    /// Socket address of the far side.
    pub peer: SocketAddr,
    /// Whether the far side began it.
    pub incoming: bool,
    /// Whether the far side takes UPDATE.
    pub allows_update: bool,
}

/// Header values are bytes to us and nearly always text: a string is half the size of a list of numbers. What is not UTF-8 is
/// written with replacement characters; such a dialog is then not found by its Call-ID, which costs that call alone.
mod text {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&String::from_utf8_lossy(bytes))
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Vec<u8>, D::Error> {
        String::deserialize(from).map(String::into_bytes)
    }
}

/// Why a dialog cannot go on here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CarryError {
    /// The listener is not configured any more.
    #[error("there is no listener on {0} any more")]
    Listener(SocketAddr),
    /// The tag is not one of this shard: the number of shards changed.
    #[error("tag {0:?} is not of this shard")]
    Tag(String),
    /// There is a leg with this tag or number already.
    #[error("the leg exists already")]
    Exists,
    /// No place for another leg.
    #[error("too many legs")]
    Full,
}

impl Endpoint {
    /// The dialog of a leg whose far side has agreed to the session or is about to hear that it is agreed; `None` when there
    /// is no such leg or no dialog yet.
    pub fn carry(&self, leg: LegId) -> Option<CarriedDialog> {
        let leg = self.legs.get(&leg)?;
        let dialog = &leg.dialog;
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        Some(CarriedDialog {
            call_id: dialog.call_id.clone(),
            local_tag: dialog.local_tag.clone(),
            remote_tag: dialog.remote_tag.clone()?,
            local: dialog.local.clone(),
            remote: dialog.remote.clone(),
            local_seq: dialog.local_seq,
            remote_seq: dialog.remote_seq,
            route_set: dialog.route_set.iter().map(text).collect(),
            target: dialog.target.clone(),
            contact: dialog.contact.clone(),
            listener: self.config.listeners.get(usize::from(dialog.listener.0))?.local,
            peer: dialog.peer,
            incoming: dialog.incoming,
            allows_update: leg.allows_update,
        })
    }

    /// Goes on with a dialog of another life of this switch. `outgoing` numbers a leg that we had called; one that had called
    /// us is numbered here. The session stands as if its ACK had been seen.
    ///
    /// # Errors
    /// [`CarryError`]; nothing is changed then.
    pub fn adopt(&mut self, carried: CarriedDialog, outgoing: Option<LegId>) -> Result<LegId, CarryError> {
        let listener = self.config.listeners.iter().position(|l| l.local == carried.listener);
        let listener = listener.ok_or(CarryError::Listener(carried.listener))?;
        let Some(local_key) = self.mint.tag_key(carried.local_tag.as_bytes()) else {
            return Err(CarryError::Tag(carried.local_tag));
        };
        let id = outgoing.unwrap_or(LegId::incoming(self.legs_in));
        if self.dialogs.contains_key(&local_key) || self.legs.contains_key(&id) || id.is_incoming() != carried.incoming
        {
            return Err(CarryError::Exists);
        }
        if self.legs.len() >= self.config.limits.dialogs_max {
            return Err(CarryError::Full);
        }
        if id.is_incoming() {
            self.legs_in += 1;
        }
        let dialog = Dialog {
            call_id: carried.call_id,
            local_tag: carried.local_tag,
            local_key,
            remote_tag: Some(carried.remote_tag),
            local: carried.local,
            remote: carried.remote,
            local_seq: carried.local_seq.saturating_add(SEQUENCE_GAP).min(SEQUENCE_MAX),
            remote_seq: carried.remote_seq,
            route_set: carried.route_set.into_iter().map(String::into_bytes).collect(),
            target: carried.target,
            contact: carried.contact,
            listener: ListenerId(listener as u16),
            peer: carried.peer,
            incoming: carried.incoming,
        };
        let mut leg = Leg::new(id, Phase::Established, dialog, carried.local_seq, true);
        leg.allows_update = carried.allows_update;
        self.dialogs.insert(local_key, id);
        self.legs.insert(id, leg);
        Ok(id)
    }

    /// Forgets a dialog that was adopted and cannot go on after all: nobody is told.
    pub fn abandon(&mut self, leg: LegId) {
        if let Some(leg) = self.legs.remove(&leg) {
            self.dialogs.remove(&leg.dialog.local_key);
        }
    }

    /// A 2xx to an INVITE that another life of this switch sent: it wants its ACK, or the far side takes the session for dead
    /// after 32 s (RFC 3261 13.3.1.4).
    pub(crate) fn late_answer(&mut self, response: &Message<'_>, status: u16) -> (Option<LegId>, Outcome) {
        let nothing = (None, Outcome::Stray);
        if !(200..=299).contains(&status) || response.cseq.method != Method::Invite {
            return nothing;
        }
        let key = response.from_tag.and_then(|tag| self.mint.tag_key(tag));
        let Some(id) = key.and_then(|key| self.dialogs.get(&key).copied()) else { return nothing };
        let Some(mut leg) = self.legs.remove(&id) else { return nothing };
        let tag = response.to_tag.unwrap_or(b"");
        let cseq = response.cseq.number;
        let ours = leg.phase == Phase::Established
            && leg.dialog.call_id == response.call_id
            && leg.dialog.remote_tag.as_deref() == Some(tag)
            && cseq <= leg.dialog.local_seq;
        if ours && !self.repeat_ack(&leg, cseq, tag) {
            self.send_ack(&mut leg, cseq, None);
        }
        self.put_back(leg);
        if ours { (Some(id), Outcome::Retransmission) } else { nothing }
    }
}
