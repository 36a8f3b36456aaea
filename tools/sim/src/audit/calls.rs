//! What the wire tells of one call and its legs.

use std::collections::{BTreeMap, BTreeSet};

use tandem_leg::{Now, Time};

use super::message::{Kind, Message};
use crate::bill::When;

/// A client transaction is dead after this: a response that comes later is nobody's (RFC 3261 timer B and the 32 s in
/// which a 2xx may be repeated).
const TRANSACTION_S: u64 = 31;

/// How a life of the switch ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Death {
    pub(crate) at: Time,
    pub(crate) power: bool,
    /// Everything written before this is on the disk.
    pub(crate) durable_until: Time,
}

/// Who hung up, as far as the wire tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Caller,
    Callee,
    /// The switch, or an error on one of the legs.
    Other,
}

/// The vendor's 200 that the caller's 200 came from.
#[derive(Clone, Debug)]
pub(crate) struct VendorAnswer {
    pub(crate) leg: usize,
    pub(crate) vendor: usize,
    /// Version of the configuration in force then: it has the price.
    pub(crate) version: u64,
    pub(crate) at: Now,
    /// Tag of the branch that answered.
    pub(crate) tag: String,
}

/// A call as the wire has it, in one life of the switch.
#[derive(Clone, Debug)]
pub(crate) struct WireCall {
    pub(crate) index: Option<u32>,
    pub(crate) boot: u32,
    pub(crate) customer: usize,
    pub(crate) call_id: String,
    pub(crate) number: String,
    /// When its INVITE came first.
    pub(crate) began: Time,
    /// The prices of that time.
    pub(crate) admitted: When,
    pub(crate) legs: Vec<usize>,
    pub(crate) ports: Vec<u16>,
    pub(crate) vendor_answer: Option<VendorAnswer>,
    /// The first 200 to the caller.
    pub(crate) answered: Option<Now>,
    pub(crate) final_status: Option<u16>,
    /// Its end, and who hung up when it was answered.
    pub(crate) over: Option<(Time, Option<By>)>,
    /// When somebody hung up, whatever became of it.
    pub(crate) byes: Vec<(Time, By)>,
    /// Who hung up was told that it is over.
    pub(crate) bye_answered: Option<Time>,
    /// It came while nothing could be written.
    pub(crate) refused: bool,
    /// It was told so.
    pub(crate) overload: bool,
    /// The switch died in or after it, and it did not go on.
    pub(crate) death: Option<Death>,
    /// Power cuts before it.
    pub(crate) hardware: u32,
    /// When the switch heard that the caller had heard the 200.
    pub(crate) acked: Option<Time>,
    /// The deaths that it has outlived, each with the start behind it.
    pub(crate) gaps: Vec<(Time, Time)>,
    /// Whether it goes on was decided at the start after its death.
    pub(crate) sorted: bool,
    /// A later life hung it up.
    pub(crate) told_lost: bool,
}

impl WireCall {
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn new(
        index: Option<u32>,
        boot: u32,
        customer: usize,
        call_id: &str,
        number: &str,
        began: Time,
        leg: usize,
        refused: bool,
    ) -> WireCall {
        WireCall {
            index,
            boot,
            customer,
            call_id: call_id.to_owned(),
            number: number.to_owned(),
            began,
            admitted: When { version: 1, wall_ms: 0 },
            legs: vec![leg],
            ports: Vec::new(),
            vendor_answer: None,
            answered: None,
            final_status: None,
            over: None,
            byes: Vec::new(),
            bye_answered: None,
            refused,
            overload: false,
            death: None,
            hardware: 0,
            acked: None,
            gaps: Vec::new(),
            sorted: false,
            told_lost: false,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// The call as a record that says `hold_ms` and `direction` may tell it: a BYE is answered when the end is on record, so the
    /// one that ended the call came before anything on the wire tells of it, and perhaps nothing ever does.
    pub(crate) fn ended_as(&self, hold_ms: i64, direction: i32) -> WireCall {
        let begins = [self.answered, self.vendor_answer.as_ref().map(|answer| answer.at)];
        let fits = |(at, by): &&(Time, By)| {
            let side = if matches!(by, By::Caller) { 0 } else { 1 };
            let held = |begin: Now| at.since(begin.mono) / 1_000 == hold_ms.unsigned_abs();
            side == direction && self.over.is_none_or(|(over, _)| *at <= over) && begins.into_iter().flatten().any(held)
        };
        let ended = self.byes.iter().find(fits).map(|(at, by)| (*at, Some(*by)));
        WireCall { over: ended.or(self.over), ..self.clone() }
    }

    /// Held milliseconds by the wire: from the 200 to the caller to the first BYE.
    pub(crate) fn held_ms(&self) -> Option<i64> {
        self.held_since(self.answered?)
    }

    /// The same from another beginning.
    pub(crate) fn held_since(&self, begin: Now) -> Option<i64> {
        let (end, _) = self.over?;
        Some((end.since(begin.mono) / 1_000) as i64)
    }
}

#[derive(Clone, Debug, Default)]
struct Transaction {
    finals: BTreeSet<u16>,
    acked: bool,
    began: Time,
    /// When a final response came that must be acknowledged.
    owed: Option<Time>,
    /// An earlier life began it: only a 2xx still wants its ACK.
    forgotten: bool,
}

/// One leg: a Call-ID in one life of the switch.
#[derive(Clone, Debug)]
pub(crate) struct Leg {
    pub(crate) call: usize,
    pub(crate) call_id: String,
    /// Which vendor; `None` is the caller's.
    pub(crate) vendor: Option<usize>,
    /// The switch has a line of the vendor in use for it.
    pub(crate) active: bool,
    /// The network said that the vendor is not there.
    pub(crate) lost: bool,
    first_cseq: Option<u32>,
    /// INVITE transactions of the far party by (branch, CSeq), and the finals they got.
    incoming: BTreeMap<(String, u32), Transaction>,
    /// INVITE transactions of the switch by CSeq.
    outgoing: BTreeMap<u32, Transaction>,
    /// The leg is over for the far party with this tag; `*` for all.
    over: BTreeSet<String>,
    /// Tags to which the switch has said BYE.
    hung_up: BTreeSet<String>,
    /// Branches of the switch's requests so far: a repeated one is a retransmission.
    branches: BTreeSet<String>,
}

impl Leg {
    pub(crate) fn new(call: usize, call_id: &str, vendor: Option<usize>) -> Leg {
        Leg {
            call,
            call_id: call_id.to_owned(),
            vendor,
            active: vendor.is_some(),
            lost: false,
            first_cseq: None,
            incoming: BTreeMap::new(),
            outgoing: BTreeMap::new(),
            over: BTreeSet::new(),
            hung_up: BTreeSet::new(),
            branches: BTreeSet::new(),
        }
    }

    /// An INVITE of the far party.
    pub(crate) fn invite(&mut self, message: &Message<'_>, at: Time) {
        self.first_cseq.get_or_insert(message.cseq);
        let transaction = Transaction { began: at, ..Transaction::default() };
        self.incoming.entry((message.branch.to_owned(), message.cseq)).or_insert(transaction);
    }

    /// Whether a message belongs to the INVITE that began the leg.
    pub(crate) fn is_first(&self, message: &Message<'_>) -> bool {
        message.method == "INVITE" && self.is_of_first(message.cseq)
    }

    /// Whether a CSeq number is that of the INVITE that began the leg.
    pub(crate) fn is_of_first(&self, cseq: u32) -> bool {
        self.first_cseq == Some(cseq)
    }

    /// A response to an INVITE of the switch; whether it is the first final one with its tag.
    pub(crate) fn response(&mut self, message: &Message<'_>, status: u16, at: Time) -> bool {
        let is_first = self.is_first(message);
        let over = self.over.contains("*") || self.over.contains(message.to_tag);
        let Some(transaction) = self.outgoing.get_mut(&message.cseq) else {
            return false;
        };
        if status < 200 {
            return false;
        }
        let fresh = transaction.finals.insert(status);
        let answers = at.since(transaction.began) < TRANSACTION_S * 1_000_000;
        // A life that was told of the dialog alone knows nothing of the INVITE once the dialog is over.
        if answers && (!transaction.forgotten || (status < 300 && !over)) {
            transaction.owed.get_or_insert(at);
        }
        // Only a vendor's leg begins with an INVITE of the switch; on the caller's this is a change of the session.
        let refused =
            status >= 300 && is_first && self.vendor.is_some() && transaction.finals.iter().all(|s| *s >= 300);
        if refused {
            self.over.insert("*".to_owned());
        }
        fresh
    }

    /// A request of the switch.
    pub(crate) fn request_out(&mut self, message: &Message<'_>, method: &str, at: Time) -> Result<(), String> {
        debug_assert!(matches!(message.kind, Kind::Request(..)));
        let repeated = !self.branches.insert(format!("{method}{}", message.branch));
        match method {
            "INVITE" => {
                self.first_cseq.get_or_insert(message.cseq);
                let transaction = Transaction { began: at, ..Transaction::default() };
                self.outgoing.entry(message.cseq).or_insert(transaction);
            }
            "ACK" => {
                let Some(transaction) = self.outgoing.get_mut(&message.cseq) else {
                    return Err(format!("ACK {} acknowledges no INVITE", message.cseq));
                };
                if transaction.finals.is_empty() {
                    return Err(format!("ACK {} before any final answer", message.cseq));
                }
                transaction.acked = true;
                return Ok(());
            }
            "CANCEL" => {
                let Some(transaction) = self.outgoing.get(&message.cseq) else {
                    return Err(format!("CANCEL {} of no INVITE", message.cseq));
                };
                if !transaction.finals.is_empty() && !repeated {
                    return Err(format!("CANCEL {} after the final answer {:?}", message.cseq, transaction.finals));
                }
                return Ok(());
            }
            _ => {}
        }
        let over = self.over.contains("*") || self.over.contains(message.to_tag);
        // A 2xx that crossed a BYE or a CANCEL makes a dialog all the same: it is ended by one BYE (RFC 3261 13.2.2.4).
        let crossed = method == "BYE" && self.is_answered() && !self.hung_up.contains(message.to_tag);
        if over && !repeated && !crossed {
            return Err(format!("{method} {} although the dialog is over for {:?}", message.cseq, self.over));
        }
        if method == "BYE" {
            self.over.insert(message.to_tag.to_owned());
            self.hung_up.insert(message.to_tag.to_owned());
        }
        Ok(())
    }

    /// The switch died and goes on with the dialog; transactions that were under way are forgotten. `ended`: so is its end.
    pub(crate) fn carried(&mut self, ended: bool) {
        self.active = self.vendor.is_some();
        self.incoming.clear();
        self.outgoing.values_mut().for_each(|transaction| {
            (transaction.owed, transaction.forgotten) = (None, true);
        });
        if ended {
            self.over.clear();
            self.hung_up.clear();
        }
    }

    fn is_answered(&self) -> bool {
        self.outgoing.values().any(|transaction| transaction.finals.iter().any(|status| *status < 300))
    }

    /// A response of the switch.
    pub(crate) fn response_out(&mut self, message: &Message<'_>, status: u16) -> Result<(), String> {
        if message.method == "INVITE" && status >= 200 {
            let key = (message.branch.to_owned(), message.cseq);
            let transaction = self.incoming.entry(key).or_default();
            transaction.finals.insert(status);
            // A re-INVITE that overtook the message that made its dialog is 481, and its copy behind that is served.
            let odd = transaction.finals.iter().filter(|s| **s != 481).count();
            if odd > 1 {
                return Err(format!("INVITE {} was answered {:?}", message.cseq, transaction.finals));
            }
            if status >= 300 && self.vendor.is_none() && self.is_first(message) {
                self.over.insert("*".to_owned());
            }
        }
        if message.method == "BYE" && status == 200 {
            self.over.insert(message.from_tag.to_owned());
        }
        Ok(())
    }

    /// What should have happened by the end.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        let mut texts = Vec::new();
        for ((_, cseq), transaction) in &self.incoming {
            if transaction.finals.is_empty() {
                texts.push(format!("INVITE {cseq} was never answered"));
            }
        }
        for (cseq, transaction) in &self.outgoing {
            if transaction.owed.is_some() && !transaction.acked {
                texts.push(format!("the answer {:?} to INVITE {cseq} was never acknowledged", transaction.finals));
            }
        }
        texts
    }
}
