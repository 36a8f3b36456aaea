//! Reports by day: what they say is the sum of the records of that day, and of the ledger's rows.

use std::collections::BTreeMap;

use tandem_rating::cdr::Cdr;
use tandem_rating::record::LedgerKind;
use tandem_store::{Queries, ReportSums};

use super::Auditor;
use super::books::{Books, units};
use crate::civil;
use crate::machine::Machine;
use crate::price;

const DAY_MS: i64 = 86_400_000;
const HOUR_MS: i64 = 3_600_000;

/// Sums of a row: calls, answered, seconds; amounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sums {
    numbers: [i64; 7],
    amounts: [i128; 9],
}

impl Sums {
    fn of(cdr: &Cdr) -> Sums {
        let answered = i64::from(cdr.connect_ms.is_some());
        let numbers = [1, answered, cdr.hold_s, cdr.billed_s, cdr.suite_s, cdr.agent_s, cdr.vendor_s];
        let customer = [cdr.fee, cdr.tax, cdr.suite_fee].map(units);
        let agent = [cdr.agent_fee, cdr.agent_tax, cdr.agent_suite_fee].map(units);
        let vendor = [cdr.vendor_fee, cdr.vendor_tax].map(units);
        let mut amounts = [0; 9];
        amounts[..3].copy_from_slice(&customer);
        amounts[3..6].copy_from_slice(&agent);
        amounts[6..8].copy_from_slice(&vendor);
        amounts[8] = customer[0] - vendor[0];
        Sums { numbers, amounts }
    }

    fn said(s: &ReportSums) -> Sums {
        Sums {
            numbers: [s.calls, s.answered, s.hold_s, s.billed_s, s.suite_s, s.agent_s, s.vendor_s],
            amounts: [
                s.fee,
                s.tax,
                s.suite_fee,
                s.agent_fee,
                s.agent_tax,
                s.agent_suite_fee,
                s.cost,
                s.cost_tax,
                s.margin,
            ]
            .map(units),
        }
    }

    fn add(&mut self, other: &Sums) {
        self.numbers.iter_mut().zip(other.numbers).for_each(|(sum, one)| *sum += one);
        self.amounts.iter_mut().zip(other.amounts).for_each(|(sum, one)| *sum += one);
    }
}

/// Of what: the day, the word that it is divided by, the key.
type Row = (u32, &'static str, String);

impl Auditor {
    pub(super) fn check_reports(&mut self, books: &Books, machine: &Machine) {
        match self.compare_reports(books, machine) {
            Ok(problems) => problems.into_iter().for_each(|text| self.report("reports", None, text)),
            Err(error) => self.report("reports", None, error),
        }
    }

    /// The day of an instant, and its hour.
    fn day_of(&self, at_ms: i64) -> (u32, i64) {
        let shown_ms = at_ms + i64::from(self.plan.store_offset_min) * 60_000;
        let (year, month, day) = civil::date_of(shown_ms.div_euclid(DAY_MS));
        ((year * 10_000 + month * 100 + day) as u32, shown_ms.rem_euclid(DAY_MS) / HOUR_MS)
    }

    /// The reports as they have to be.
    fn wanted(&self, books: &Books) -> BTreeMap<Row, Sums> {
        let mut rows: BTreeMap<Row, Sums> = BTreeMap::new();
        for (flow_no, story) in &books.stories {
            let Some(cdr) = story.cdr() else { continue };
            let (day, hour) = self.day_of(cdr.end_ms);
            let sums = Sums::of(cdr);
            for (word, key) in [
                ("total", String::new()),
                ("account", cdr.account.to_string()),
                ("agent", cdr.agent_account.to_string()),
                ("vendor", cdr.vendor_account.to_string()),
                ("gateway", cdr.caller_gateway.to_string()),
                ("routing", cdr.callee_gateway.to_string()),
                ("area", cdr.callee_area.to_string()),
                ("end-reason", cdr.end_reason.to_string()),
                ("hour", format!("{hour:02}")),
                ("level", cdr.call_level.to_string()),
            ] {
                rows.entry((day, word, key)).or_default().add(&sums);
            }
            // Agents above the direct one have no columns: what each of them paid is all there is of them.
            for (leg, at, due) in self.due.get(flow_no).into_iter().flat_map(|due| due.rows()) {
                if leg.starts_with("agent") && leg != "agent" {
                    let name = self.plan.versions[0].accounts[at].name.clone();
                    rows.entry((day, "further-agent", name)).or_default().amounts[3] += due;
                }
            }
        }
        rows
    }

    fn compare_reports(&mut self, books: &Books, machine: &Machine) -> Result<Vec<String>, String> {
        let fail = |error: tandem_store::StoreError| error.to_string();
        let queries = Queries::open(&machine.dir()).map_err(fail)?;
        let mut wanted = self.wanted(books);
        let mut problems = Vec::new();
        // What calls took from each account by day, as the reports have it.
        let mut charged: BTreeMap<(u32, String), i128> = BTreeMap::new();
        for day in queries.report_days().map_err(fail)? {
            self.seen.days += 1;
            problems.extend(queries.report_check(day).map_err(fail)?.problems);
            for row in queries.report_day(day, None).map_err(fail)? {
                self.seen.report_rows += 1;
                let mut said = Sums::said(&row.sums);
                let [fee, tax, gift, agent_fee, agent_tax, agent_gift, cost, cost_tax, _] = said.amounts;
                let word = row.by.as_str();
                let due = match word {
                    "account" => fee + tax - gift,
                    "agent" => agent_fee + agent_tax - agent_gift,
                    "further-agent" => agent_fee,
                    "vendor" => cost + cost_tax,
                    _ => 0,
                };
                *charged.entry((day, row.key.clone())).or_default() += due;
                let further = word == "further-agent";
                if further {
                    said.numbers = [0; 7];
                }
                let due = wanted.remove(&(day, word, row.key.clone()));
                if due.as_ref() != Some(&said) && !(further && due.is_none() && said == Sums::default()) {
                    problems.push(format!("{day} by {word} {:?}: {said:?}, the records come to {due:?}", row.key));
                }
            }
        }
        problems.extend(wanted.keys().map(|row| format!("{row:?} is missing")));
        for row in books.ledger.iter().filter(|row| row.kind == LedgerKind::Call) {
            *charged.entry((self.day_of(row.at_ms).0, row.account.clone())).or_default() += units(row.amount);
        }
        for ((day, account), rest) in charged.into_iter().filter(|(_, rest)| *rest != 0) {
            let rest = price::text(rest);
            problems.push(format!("{day}: reports and ledger of {account:?} are {rest} apart"));
        }
        Ok(problems)
    }
}
