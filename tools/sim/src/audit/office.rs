//! What operators asked for and were told: movements of money, calls of other systems, runs of corrections.

use std::collections::BTreeMap;

use tandem_leg::{Now, Time};
use tandem_rating::cdr::Cdr;

use super::Auditor;
use super::books::{Books, EXTERNAL};
use super::due::Due;
use super::packages::AskedOrder;
use crate::bill::{self, Leg, When};
use crate::office::Inserted;
use crate::trade::{Act, Again, ExternalCall};
use crate::world::key_of;

/// How much a movement moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    /// So much.
    Units(i128),
    /// Whatever there is.
    Zero,
    /// All there is, which is then gone.
    All,
    /// What that row moved, the other way.
    Back(String),
    /// The same, to an account that is known.
    Given(String),
}

/// A movement that somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) account: usize,
    pub(super) amount: Amount,
    /// When he was told that it is booked, and in which life.
    pub(super) told: Vec<(Time, u32)>,
    /// A row that has to be there when this one is.
    pub(super) needs: Option<String>,
}

/// External calls that somebody told the switch.
#[derive(Clone, Debug)]
struct Told {
    call: ExternalCall,
    at: Now,
    boot: u32,
    version: u64,
    /// Its number, and whether it was stored; `None` when it was refused.
    outcome: Option<(u64, bool)>,
}

/// A run of corrections.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) again: Again,
    /// Sequence at its last beginning: calls before it are corrected in the end.
    pub(super) from_seq: u64,
    /// When it was done, in which life, and the sequence then.
    pub(super) ended: Option<(Time, u32, u64)>,
}

/// See the module text.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// By the key of the row.
    pub(super) wanted: BTreeMap<String, Wanted>,
    pub(super) orders: Vec<AskedOrder>,
    /// Orders that were said to wait for a catch-up, and when, UTC ms.
    pub(super) late_orders: Vec<(String, i64)>,
    external: Vec<Told>,
    pub(super) runs: BTreeMap<String, Run>,
}

impl Auditor {
    /// A payment and what the operator was told.
    pub fn paid(&mut self, at: Time, account: usize, units: i128, key: &str, confirmed: bool) {
        self.want(at, key.to_owned(), account, Amount::Units(units), confirmed, None);
    }

    fn want(&mut self, at: Time, key: String, account: usize, amount: Amount, told: bool, needs: Option<String>) {
        let told = told.then_some((at, self.boot));
        let wanted = Wanted { account, amount, told: Vec::new(), needs };
        self.office.wanted.entry(key).or_insert(wanted).told.extend(told);
    }

    /// A movement of money, and whether the operator was told that it is booked.
    pub fn moved(&mut self, at: Time, name: &str, account: usize, act: &Act, told: bool) {
        self.seen.moves += 1;
        let key = key_of(name);
        match act {
            Act::Deduct(units) => self.want(at, key, account, Amount::Units(-units), told, None),
            Act::Pay(units) => self.want(at, key, account, Amount::Units(*units), told, None),
            Act::Zero => self.want(at, key, account, Amount::Zero, told, None),
            Act::From(agent, units) => {
                let half = format!("{key}:from");
                self.want(at, half.clone(), *agent, Amount::Units(-units), told, None);
                self.want(at, key, account, Amount::Units(*units), told, Some(half));
            }
            Act::Card(card) => {
                let half = format!("{key}:from");
                self.want(at, half.clone(), *card, Amount::All, told, None);
                self.want(at, key, account, Amount::Given(half.clone()), told, Some(half));
            }
            Act::Reverse(other) => {
                let other = key_of(other);
                self.want(at, format!("reverse:{other}"), account, Amount::Back(other.clone()), told, None);
                // What an agent paid goes back to him; when nobody did, there is no such row.
                let half = format!("{other}:from");
                self.want(at, format!("reverse:{half}"), account, Amount::Back(half), false, None);
            }
        }
    }

    /// External calls, and what the operator was told of each.
    pub fn external(&mut self, at: Now, list: &[ExternalCall], told: Result<Vec<Inserted>, String>) {
        for call in list {
            let outcome = told.as_ref().ok().and_then(|told| told.iter().find(|it| it.index == call.index));
            let outcome = outcome.map(|it| (it.flow_no, it.stored));
            self.seen.external_known += u64::from(outcome.is_some_and(|(_, stored)| !stored));
            let (boot, version) = (self.boot, self.version);
            self.office.external.push(Told { call: call.clone(), at, boot, version, outcome });
        }
    }

    /// Whether a record is of a call of another system.
    pub(super) fn is_external(&self, flow_no: u64) -> bool {
        self.due.get(&flow_no).is_some_and(|due| due.legs.iter().all(|(leg, _)| leg.name != "vendor"))
    }

    /// Every record of an external call is one that was told, rated by the prices of that time; what was confirmed is there.
    pub(super) fn check_external(&mut self, books: &Books) {
        let mut found = Vec::new();
        let mut due = BTreeMap::new();
        let cdrs = books.stories.values().filter_map(|story| story.cdr()).filter(|cdr| cdr.billing_type == EXTERNAL);
        let mut times: BTreeMap<(u32, Option<i64>), u64> = BTreeMap::new();
        for cdr in cdrs {
            match self.match_external(cdr) {
                Ok((index, owed)) => {
                    self.seen.external += 1;
                    if let Some(other) = times.insert((index, cdr.connect_ms), cdr.flow_no) {
                        found.push(format!("external call {index} is booked as {other} and as {}", cdr.flow_no));
                    }
                    due.insert(cdr.flow_no, owed);
                }
                Err(text) => found.push(format!("external record {}: {text}", cdr.flow_no)),
            }
        }
        for told in &self.office.external {
            let Some((flow_no, stored)) = told.outcome else { continue };
            let settled = books.stories.get(&flow_no).is_some_and(|story| story.settled.is_some());
            if !settled && self.is_durable(told.at.mono, told.boot) {
                let word = if stored { "stored" } else { "known" };
                found.push(format!("external call {}: told that {flow_no} is {word}, it is gone", told.call.index));
            }
        }
        self.due.extend(due);
        for text in found {
            self.report("external", None, text);
        }
    }

    fn match_external(&self, cdr: &Cdr) -> Result<(u32, Due), String> {
        let number = cdr.callee_billed.as_str();
        let fits = |told: &&Told| {
            let start_ms = told.at.wall_ms - told.call.ago_ms;
            told.call.number() == number
                && cdr.connect_ms == Some(start_ms)
                && told.call.flow_no.is_none_or(|flow_no| flow_no == cdr.flow_no)
                && told.call.hold_s * 1_000 == cdr.hold_ms
        };
        let told = self.office.external.iter().find(fits).ok_or("nobody told of it")?;
        let due = self.external_due(told)?;
        self.check_columns(cdr, &due).map(|()| (told.call.index, due))
    }

    fn external_due(&self, told: &Told) -> Result<Due, String> {
        let call = &told.call;
        let start_ms = told.at.wall_ms - call.ago_ms;
        let version = &self.plan.versions[told.version as usize - 1];
        let accounts = std::iter::once(call.account).chain(bill::agents(&self.plan, call.account));
        let mut legs = Vec::new();
        for (n, account) in accounts.enumerate() {
            // By the hour of its beginning and, in a group that splits, of each block: as a call of the switch itself.
            let when = When { version: told.version, wall_ms: start_ms };
            let name = match n {
                0 => "customer".to_owned(),
                1 => "agent".to_owned(),
                _ => format!("agent{n}"),
            };
            let (gifts, gift_money) = if n == 0 { (call.gifts.clone(), call.gift_money) } else { (Vec::new(), 0) };
            let leg = Leg::new(&self.plan, &name, account, &call.number(), when, when)?;
            legs.push(Leg { gifts, gift_money, ..leg });
        }
        let due = Due::new(&self.plan, start_ms, call.hold_s * 1_000, &version.billing, legs);
        Ok(Due { external: true, ..due.kept() })
    }

    /// The switch said that an order waits for a catch-up; false when it is no such alarm.
    pub fn late_order(&mut self, wall_ms: i64, text: &str) -> bool {
        let key = text.strip_prefix("order ").and_then(|rest| rest.split(' ').next());
        let Some(key) = key.filter(|_| text.contains("a period is due since")) else { return false };
        self.office.late_orders.push((key.to_owned(), wall_ms));
        true
    }

    /// A run of corrections begins, or begins anew.
    pub fn run_begins(&mut self, run: &str, again: &Again, seq: u64) {
        self.office.runs.insert(run.to_owned(), Run { again: again.clone(), from_seq: seq, ended: None });
    }

    /// Calls that a page has corrected, as the operator was told.
    pub fn corrected(&mut self, calls: &[u64]) {
        self.seen.corrections += calls.len() as u64;
    }

    /// The operator was told that a run is done.
    pub fn run_ends(&mut self, run: &str, at: Time, seq: u64) {
        self.seen.runs += 1;
        let boot = self.boot;
        if let Some(run) = self.office.runs.get_mut(run) {
            run.ended = Some((at, boot, seq));
        }
    }
}
