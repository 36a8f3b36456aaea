//! Calls that were rated again: every correction is what its run makes of the call, and a run that is done left none out.

use std::collections::BTreeMap;

use super::Auditor;
use super::books::{Books, units};
use super::due::Due;
use super::office::Run;
use crate::price;
use crate::trade::Again;

impl Auditor {
    /// What corrections gave each account, units.
    pub(super) fn check_corrections(&mut self, books: &Books) -> BTreeMap<usize, i128> {
        let mut found = Vec::new();
        let mut given: BTreeMap<usize, i128> = BTreeMap::new();
        let mut now = self.due.clone();
        let mut runs: Vec<(&String, &Run)> = self.office.runs.iter().collect();
        // What is done is looked at before anything behind it.
        runs.retain(|(_, run)| run.ended.is_some_and(|(at, boot, _)| self.is_durable(at, boot)));
        runs.sort_by_key(|(_, run)| run.ended.map(|(_, _, seq)| seq));
        let mut runs = runs.into_iter().peekable();
        let mut done = |now: &BTreeMap<u64, Due>, seq: u64, found: &mut Vec<String>| {
            while let Some((name, run)) = runs.next_if(|(_, run)| run.ended.is_some_and(|(_, _, end)| end <= seq)) {
                found.extend(self.left_out(name, run, now, books));
            }
        };
        let mut revisions: BTreeMap<u64, u32> = BTreeMap::new();
        for (seq, correction) in &books.corrections {
            done(&now, *seq, &mut found);
            let flow_no = correction.flow_no;
            let revision = revisions.entry(flow_no).or_default();
            *revision += 1;
            let (Some(run), Some(before)) = (self.office.runs.get(&correction.run), now.get(&flow_no)) else {
                found.push(format!(
                    "call {flow_no} is corrected by run {}, which has no business there",
                    correction.run
                ));
                continue;
            };
            if correction.revision != *revision {
                found.push(format!("call {flow_no}: correction {} comes as number {revision}", correction.revision));
            }
            let after = self.rated_again(before, &run.again);
            let key = |leg: &str| format!("rerate:{}:{flow_no}:{leg}", correction.run);
            let wanted: Vec<(String, usize, i128)> = before
                .legs
                .iter()
                .zip(&after.legs)
                .map(|((leg, was), (_, is))| (key(&leg.name), leg.account, was.due() - is.due()))
                .filter(|(_, _, amount)| *amount != 0)
                .collect();
            let named = |at: usize| self.plan.versions[0].accounts[at].name.as_str();
            let fits = |(row, (key, at, amount)): (&tandem_rating::record::LedgerRow, &(String, usize, i128))| {
                row.key == *key && row.account == named(*at) && units(row.amount) == *amount
            };
            if correction.ledger.len() != wanted.len() || !correction.ledger.iter().zip(&wanted).all(fits) {
                found.push(format!("call {flow_no}: {wanted:?} is due by run {}, not {correction:?}", correction.run));
            }
            for (_, at, amount) in wanted {
                *given.entry(at).or_default() += amount;
            }
            now.insert(flow_no, after);
        }
        done(&now, u64::MAX, &mut found);
        for text in found {
            self.report("correction", None, text);
        }
        given
    }

    /// Calls that were on record when a run began and are not what it makes of them.
    fn left_out(&self, name: &str, run: &Run, now: &BTreeMap<u64, Due>, books: &Books) -> Vec<String> {
        let mut found = Vec::new();
        for (flow_no, due) in now {
            let settled = books.stories.get(flow_no).and_then(|story| story.settled.as_ref());
            if !settled.is_some_and(|(seq, cdr, _)| *seq < run.from_seq && cdr.is_some()) {
                continue;
            }
            let again = self.rated_again(due, &run.again);
            if due.rows().ne(again.rows()) {
                let rows = |due: &Due| due.rows().map(|(leg, _, units)| (leg.to_owned(), units)).collect::<Vec<_>>();
                found.push(format!("call {flow_no}: {:?} after run {name}, not {:?}", rows(due), rows(&again)));
            }
        }
        found
    }

    /// What a run makes of a call.
    fn rated_again(&self, due: &Due, again: &Again) -> Due {
        let mut legs: Vec<_> = due.legs.iter().map(|(leg, _)| leg.clone()).collect();
        let mut billing = due.billing.clone();
        match again {
            Again::Params(other) => {
                let free_vendor = billing.free_vendor;
                billing = price::Billing { free_vendor, ..other.clone() };
            }
            Again::Sheet(account, rows) => {
                let taken = |leg: &&mut crate::bill::Leg| match account {
                    None => leg.name == "customer",
                    Some(account) => leg.account == *account,
                };
                for leg in legs.iter_mut().filter(taken).filter(|leg| leg.row.is_some()) {
                    // Without a row it stays as it is.
                    if let Some(row) = price::find(rows, &leg.number, due.connect_ms).filter(|row| !row.locked) {
                        (leg.row, leg.split) = (Some(row.clone()), None);
                    }
                }
            }
        }
        let again = Due::new(&self.plan, due.connect_ms, due.hold_ms, &billing, legs);
        Due { legs: again.legs, billing: again.billing, ..due.clone() }
    }
}
