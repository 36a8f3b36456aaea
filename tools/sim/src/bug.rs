//! Planted bugs: what a broken switch would do, done between its pieces, so that a test can show that the auditor sees it.
//!
//! Nothing here is in the switch. Each bug spoils a question, an answer, a datagram or a port on its way from one room to
//! the next, once or always.

use std::collections::{BTreeMap, VecDeque};

use tandem_call::question::{Answer, Question};
use tandem_ladder::site::Built;
use tandem_leg::Time;
use tandem_rater::PackageConfig;
use tandem_rating::money::Money;
use tandem_rating::usage::Usage;
use tandem_store::StoredOrder;

/// What is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bug {
    /// Nothing: the switch as it is.
    #[default]
    None,
    /// The end of an answered call is never told to the owner of money.
    SettlementDropped,
    /// A call is charged by twice its price.
    PriceDoubled,
    /// A call is billed a second too long.
    HoldTooLong,
    /// The vendor's side of a call is not charged.
    VendorForgotten,
    /// A socket of a media port is never closed.
    SocketLeaked,
    /// A line and a reservation are taken for nobody.
    LineForgotten,
    /// The caller hears of the answer before it is written, and it never is.
    WriteSkipped,
    /// Two calls are told the same media port.
    PortShared,
    /// A refused caller is answered twice, with different words.
    SecondFinal,
    /// A vendor's answer is never acknowledged.
    AckDropped,
    /// A vendor hears of a call that is over for him.
    LateRequest,
    /// A payment is confirmed and not booked.
    PaymentForgotten,
    /// The last records never reach the database.
    ProjectionStops,
    /// A call that goes on after a crash is settled as lost as well.
    AdoptedTwice,
    /// What a call held of money and lines before a crash is not held for it after it.
    AdoptedUnpaid,
    /// A call that goes on is billed from the start of its new life.
    AdoptedAnew,
    /// Calls that should go on are forgotten.
    AdoptedNever,
    /// The topmost agent of a call is not charged.
    AgentForgotten,
    /// Agents are charged by twice their price.
    AgentDoubled,
    /// A callee who should pay does not.
    CalleeSpared,
    /// A price that changes during a call does not.
    SplitIgnored,
    /// Prices by the hour do not know that clocks change.
    ClockChangeIgnored,
    /// A change of decks is confirmed and does not reach the calls.
    DeckLate,
    /// A movement of money is confirmed and not booked.
    MoveForgotten,
    /// A movement of money is booked twice.
    MovedTwice,
    /// An external call whose number is known is booked all the same.
    ExternalTwice,
    /// Gift time is not used.
    GiftsTaken,
    /// A correction is confirmed and not booked.
    CorrectionForgotten,
    /// A call is corrected once more, under another run.
    CorrectedTwice,
    /// Days and hours of reports are those of another zone.
    DaysSkewed,
    /// No period of a package begins or ends by itself.
    PackagesAsleep,
    /// Minimum consumption is not asked for.
    MinimumForgotten,
    /// Days and months of packages are those of UTC.
    PackagesInUtc,
    /// An order of a package is confirmed and not booked.
    OrderForgotten,
    /// Packages of a phone do not know its calls, and its month has no bound.
    PhoneForgotten,
    /// Gift time is for every number.
    GiftsForAll,
    /// Accounts that are locked or expired call.
    LocksIgnored,
    /// Months have no bounds.
    MonthsUnbounded,
    /// Cards are valid for ever.
    CardsForever,
    /// A period that runs begins anew after a crash.
    PeriodAnew,
    /// What calls used of packages before a crash is not known behind it.
    UsesForgotten,
    /// What was spent this month before a crash is not known behind it, nor when a card was used first.
    SpentForgotten,
}

/// Bugs of the money side.
pub const OF_MONEY: [Bug; 22] = [
    Bug::AgentForgotten,
    Bug::AgentDoubled,
    Bug::CalleeSpared,
    Bug::SplitIgnored,
    Bug::ClockChangeIgnored,
    Bug::DeckLate,
    Bug::MoveForgotten,
    Bug::MovedTwice,
    Bug::ExternalTwice,
    Bug::GiftsTaken,
    Bug::CorrectionForgotten,
    Bug::CorrectedTwice,
    Bug::DaysSkewed,
    Bug::PackagesAsleep,
    Bug::MinimumForgotten,
    Bug::PackagesInUtc,
    Bug::OrderForgotten,
    Bug::PhoneForgotten,
    Bug::GiftsForAll,
    Bug::LocksIgnored,
    Bug::MonthsUnbounded,
    Bug::CardsForever,
];

/// Bugs of the money side that only a crash brings to light.
pub const OF_MONEY_AND_CRASHES: [Bug; 3] = [Bug::PeriodAnew, Bug::UsesForgotten, Bug::SpentForgotten];

/// Bugs that only a crash brings to light.
pub const OF_CRASHES: [Bug; 4] = [Bug::AdoptedTwice, Bug::AdoptedUnpaid, Bug::AdoptedAnew, Bug::AdoptedNever];

/// All other bugs.
pub const ALL: [Bug; 13] = [
    Bug::SettlementDropped,
    Bug::PriceDoubled,
    Bug::HoldTooLong,
    Bug::VendorForgotten,
    Bug::SocketLeaked,
    Bug::LineForgotten,
    Bug::WriteSkipped,
    Bug::PortShared,
    Bug::SecondFinal,
    Bug::AckDropped,
    Bug::LateRequest,
    Bug::PaymentForgotten,
    Bug::ProjectionStops,
];

/// Carries a bug out.
#[derive(Debug)]
pub struct Sabotage {
    bug: Bug,
    done: bool,
    port: Option<Vec<u8>>,
    forgotten: Option<u64>,
    /// Held milliseconds of calls of an earlier life, by flow number.
    adopted: BTreeMap<u64, i64>,
}

impl Sabotage {
    /// For one life of the switch.
    pub fn new(bug: Bug) -> Sabotage {
        Sabotage { bug, done: false, port: None, forgotten: None, adopted: BTreeMap::new() }
    }

    fn once(&mut self, bug: Bug) -> bool {
        self.bug == bug && !std::mem::replace(&mut self.done, true)
    }

    /// What the owner of money hears instead of `question`.
    pub(crate) fn question(
        &mut self,
        mut question: Question,
        answers: &mut VecDeque<(Time, Answer)>,
        now: Time,
    ) -> Vec<Question> {
        if let Question::Answered { usage, .. } | Question::Settle { usage, .. } = &mut question {
            self.spoil(usage);
        }
        match &mut question {
            Question::Settle { usage, awaited, .. } if usage.hold_ms > 1_000 => {
                if self.once(Bug::SettlementDropped) {
                    answers.push_back((now, Answer::Settled { flow_no: usage.flow_no, awaited: *awaited }));
                    return Vec::new();
                }
                if self.bug == Bug::HoldTooLong {
                    usage.hold_ms += 1_000;
                }
                if let Some(held_ms) = self.adopted.get(&usage.flow_no) {
                    usage.hold_ms -= held_ms;
                }
                if self.bug == Bug::VendorForgotten {
                    usage.vendor = None;
                }
                if self.bug == Bug::PriceDoubled
                    && let Some(terms) = usage.customer.as_mut().and_then(|leg| leg.terms.as_mut())
                {
                    terms.rate_per_min *= rust_decimal::Decimal::TWO;
                }
            }
            Question::Admit(admit) if self.bug == Bug::PhoneForgotten => {
                for payer in &mut admit.payers {
                    (payer.phone, payer.monthly_max) = (Default::default(), None);
                }
            }
            Question::Admit(admit) if self.once(Bug::LineForgotten) => {
                let mut nobody = admit.clone();
                nobody.flow_no += 1 << 40;
                nobody.call.generation = u32::MAX;
                self.forgotten = Some(nobody.flow_no);
                return vec![question, Question::Admit(nobody)];
            }
            Question::Answered { call, .. } if self.bug == Bug::WriteSkipped => {
                answers.push_back((now, Answer::Journaled { call: *call, regranted: None }));
                return Vec::new();
            }
            _ => {}
        }
        vec![question]
    }

    /// What a call costs.
    fn spoil(&mut self, usage: &mut Usage) {
        match self.bug {
            Bug::AgentForgotten => {
                usage.agents.pop();
            }
            Bug::AgentDoubled => {
                for terms in usage.agents.iter_mut().filter_map(|leg| leg.terms.as_mut()) {
                    terms.rate_per_min *= rust_decimal::Decimal::TWO;
                }
            }
            Bug::CalleeSpared if usage.billing_type == 1 => {
                usage.customer.iter_mut().for_each(|leg| leg.terms = None);
            }
            Bug::SplitIgnored => {
                let legs = usage.customer.iter_mut().chain(&mut usage.agents).chain(&mut usage.vendor);
                legs.for_each(|leg| leg.changes.clear());
            }
            _ => {}
        }
    }

    /// Whether orders of packages take no steps.
    pub(crate) fn packages_sleep(&self) -> bool {
        self.bug == Bug::PackagesAsleep
    }

    /// Whether an order gets lost behind its confirmation.
    pub(crate) fn forgets_order(&mut self) -> bool {
        self.once(Bug::OrderForgotten)
    }

    /// Whether the owner of money has another zone.
    pub(crate) fn forgets_zone(&self) -> bool {
        self.bug == Bug::PackagesInUtc
    }

    /// Whether what was spent before a start is not told.
    pub(crate) fn forgets_spent(&self) -> bool {
        self.bug == Bug::SpentForgotten
    }

    /// Packages as the owner of money is told of them.
    pub(crate) fn packages(&self, config: &mut PackageConfig) {
        for package in config.packages.values_mut() {
            if self.bug == Bug::MinimumForgotten {
                package.minimum = Money::ZERO;
            }
            if self.bug == Bug::GiftsForAll {
                package.gifts.iter_mut().for_each(|gift| gift.prefixes.clear());
            }
        }
    }

    /// The configuration of a version.
    pub(crate) fn built(&self, built: &mut Built) {
        if self.bug == Bug::LocksIgnored
            && let Some(snapshot) = std::sync::Arc::get_mut(&mut built.snapshot)
        {
            for account in &mut snapshot.accounts {
                (account.locked, account.valid_until_ms) = (false, None);
            }
        }
        for account in &mut built.accounts {
            if self.bug == Bug::MonthsUnbounded {
                account.bounds.monthly_max = None;
            }
            if self.bug == Bug::CardsForever {
                account.bounds.valid_days = None;
            }
        }
    }

    /// An order as a start finds it.
    pub(crate) fn order(&self, mut stored: StoredOrder) -> StoredOrder {
        if self.bug == Bug::PeriodAnew
            && let Some(period) = stored.order.period.take()
        {
            (stored.order.next, stored.order.next_ms) = (period.number, period.from_ms);
        }
        if self.bug == Bug::UsesForgotten {
            stored.used_s.iter_mut().for_each(|used_s| *used_s = 0);
            (stored.money, stored.spent) = Default::default();
        }
        stored
    }

    /// Whether a movement of money gets lost behind its confirmation.
    pub(crate) fn movement(&mut self) -> bool {
        self.once(Bug::MoveForgotten)
    }

    /// Whether it is booked again under another key.
    pub(crate) fn moves_twice(&mut self) -> bool {
        self.once(Bug::MovedTwice)
    }

    /// Whether an external call is booked although it is known.
    pub(crate) fn external_again(&mut self) -> bool {
        self.once(Bug::ExternalTwice)
    }

    /// Whether gifts are kept from it.
    pub(crate) fn takes_gifts(&self) -> bool {
        self.bug == Bug::GiftsTaken
    }

    /// Whether a correction gets lost behind its confirmation.
    pub(crate) fn correction(&mut self) -> bool {
        self.once(Bug::CorrectionForgotten)
    }

    /// Whether it is booked again.
    pub(crate) fn corrects_twice(&mut self) -> bool {
        self.once(Bug::CorrectedTwice)
    }

    /// Whether the zone has no changes of the clock.
    pub(crate) fn fixed_zone(&self) -> bool {
        self.bug == Bug::ClockChangeIgnored
    }

    /// How far days and hours of reports are off, minutes.
    pub(crate) fn skew_min(&self) -> i32 {
        if self.bug == Bug::DaysSkewed { 60 } else { 0 }
    }

    /// Whether the calls hear of a change.
    pub(crate) fn publishes(&self) -> bool {
        self.bug != Bug::DeckLate
    }

    /// Whether the shard hears this answer.
    pub(crate) fn answer(&mut self, answer: &Answer) -> bool {
        let key = match answer {
            Answer::Granted { call, .. } | Answer::Refused { call, .. } => Some(call.generation),
            _ => None,
        };
        !(self.forgotten.is_some() && key == Some(u32::MAX))
    }

    /// Whether the socket is closed.
    pub(crate) fn close_port(&mut self) -> bool {
        !self.once(Bug::SocketLeaked)
    }

    /// Whether a payment gets lost behind its confirmation.
    pub(crate) fn payment(&mut self) -> bool {
        self.once(Bug::PaymentForgotten)
    }

    /// Whether the database is left behind.
    pub(crate) fn projection(&self) -> bool {
        self.bug == Bug::ProjectionStops
    }

    /// Whether a call that goes on is settled as well.
    pub(crate) fn settles_adopted(&self) -> bool {
        self.bug == Bug::AdoptedTwice
    }

    /// A call goes on that was held so long.
    pub(crate) fn adopts(&mut self, flow_no: u64, held_ms: i64) {
        if self.bug == Bug::AdoptedAnew {
            self.adopted.insert(flow_no, held_ms);
        }
    }

    /// Whether open calls are left as they are.
    pub(crate) fn forgets_open(&self) -> bool {
        self.bug == Bug::AdoptedNever
    }

    /// Whether nothing is held for a call that goes on.
    pub(crate) fn reserves_nothing(&self) -> bool {
        self.bug == Bug::AdoptedUnpaid
    }

    /// What goes out instead of `bytes`.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut out = vec![bytes.to_vec()];
        if self.bug == Bug::None {
            return out;
        }
        let text = String::from_utf8_lossy(bytes);
        match self.bug {
            Bug::SecondFinal if text.starts_with("SIP/2.0 4") && text.contains(" INVITE\r\n") && !self.done => {
                self.done = true;
                out.push(text.replacen("SIP/2.0 4", "SIP/2.0 5", 1).into_bytes());
            }
            Bug::AckDropped if text.starts_with("ACK ") => out.clear(),
            Bug::LateRequest if text.starts_with("BYE ") && !self.done => {
                self.done = true;
                out.push(
                    text.replacen("branch=z9hG4bK", "branch=z9hG4bKlate", 1).replacen("BYE", "INFO", 2).into_bytes(),
                );
            }
            Bug::PortShared => {
                if let Some(at) = text.find("m=audio ") {
                    let rest = &bytes[at + 8..];
                    let port = rest[..rest.iter().position(|b| *b == b' ').unwrap_or(0)].to_vec();
                    match &self.port {
                        None => self.port = Some(port),
                        Some(first) if first.len() == port.len() => {
                            out[0][at + 8..at + 8 + port.len()].copy_from_slice(first);
                        }
                        Some(_) => {}
                    }
                }
            }
            _ => {}
        }
        out
    }
}
