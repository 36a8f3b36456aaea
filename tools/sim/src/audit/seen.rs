//! How much a run has seen.

use crate::price;

/// How much was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Datagrams in.
    pub heard: u64,
    /// Datagrams out.
    pub said: u64,
    /// Media packets in.
    pub media_in: u64,
    /// Media packets out.
    pub media_out: u64,
    /// Calls that the switch heard of, once for each life it had then.
    pub calls: u64,
    /// Of these, answered towards the caller.
    pub answered: u64,
    /// Refused because nothing can be written.
    pub refused: u64,
    /// Settled by a later life.
    pub recovered: u64,
    /// Times that a call went on in a later life.
    pub adopted: u64,
    /// Of these, calls that had ended so shortly before the crash that nothing of it was on record.
    pub ghosts: u64,
    /// CDRs.
    pub cdrs: u64,
    /// Charged altogether, units.
    pub charged: i128,
    /// Changes of the configuration.
    pub changes: u64,
    /// Legs of agents that were charged.
    pub agent_legs: u64,
    /// Answered calls that the callee paid for.
    pub callee_pays: u64,
    /// Answered calls that were free.
    pub free: u64,
    /// Answered calls that leave no record.
    pub no_cdr: u64,
    /// Legs over a change of their price.
    pub split_legs: u64,
    /// Movements of money that were asked for.
    pub moves: u64,
    /// External calls stored.
    pub external: u64,
    /// External calls whose number was known.
    pub external_known: u64,
    /// Runs of corrections that came to their end.
    pub runs: u64,
    /// Calls corrected.
    pub corrections: u64,
    /// Days with reports.
    pub days: u64,
    /// Rows of reports compared.
    pub report_rows: u64,
    /// Orders of packages, and what people did with them.
    pub orders: u64,
    /// Periods of packages and fees that began.
    pub periods: u64,
    /// Legs of calls that packages paid something of.
    pub gifted: u64,
    /// Calls that stopped at an account or a phone that is locked or expired.
    pub stopped: u64,
    /// Calls that stopped because of a month or a card.
    pub bounded: u64,
}

impl Seen {
    /// Adds another run's.
    pub fn add(&mut self, other: &Seen) {
        for (sum, one) in [
            (&mut self.heard, other.heard),
            (&mut self.said, other.said),
            (&mut self.media_in, other.media_in),
            (&mut self.media_out, other.media_out),
            (&mut self.calls, other.calls),
            (&mut self.answered, other.answered),
            (&mut self.refused, other.refused),
            (&mut self.recovered, other.recovered),
            (&mut self.adopted, other.adopted),
            (&mut self.ghosts, other.ghosts),
            (&mut self.cdrs, other.cdrs),
            (&mut self.changes, other.changes),
            (&mut self.agent_legs, other.agent_legs),
            (&mut self.callee_pays, other.callee_pays),
            (&mut self.free, other.free),
            (&mut self.no_cdr, other.no_cdr),
            (&mut self.split_legs, other.split_legs),
            (&mut self.moves, other.moves),
            (&mut self.external, other.external),
            (&mut self.external_known, other.external_known),
            (&mut self.runs, other.runs),
            (&mut self.corrections, other.corrections),
            (&mut self.days, other.days),
            (&mut self.report_rows, other.report_rows),
            (&mut self.orders, other.orders),
            (&mut self.periods, other.periods),
            (&mut self.gifted, other.gifted),
            (&mut self.stopped, other.stopped),
            (&mut self.bounded, other.bounded),
        ] {
            *sum += one;
        }
        self.charged += other.charged;
    }

    /// Calls and records.
    pub fn calls_text(&self) -> String {
        format!(
            "{} calls, {} answered, {} refused without a record, {} records ({} of crashes), {} charged; {} SIP messages in, {} \
             out; {} media packets in, {} out",
            self.calls,
            self.answered,
            self.refused,
            self.cdrs,
            self.recovered,
            price::text(self.charged),
            self.heard,
            self.said,
            self.media_in,
            self.media_out
        )
    }

    /// The money side.
    pub fn money_text(&self) -> String {
        format!(
            "{} legs of agents, {} calls paid by the callee, {} free, {} without a record, {} legs over a change of price; {} \
             changes of the configuration, {} movements of money, {} external calls ({} known), {} runs of {} corrections; {} \
             days with {} rows of reports; {} acts on orders, {} periods of packages and fees, {} legs paid by packages, {} calls \
             stopped at accounts or phones, {} at a month or a card",
            self.agent_legs,
            self.callee_pays,
            self.free,
            self.no_cdr,
            self.split_legs,
            self.changes,
            self.moves,
            self.external,
            self.external_known,
            self.runs,
            self.corrections,
            self.days,
            self.report_rows,
            self.orders,
            self.periods,
            self.gifted,
            self.stopped,
            self.bounded
        )
    }
}
