//! Who may call: accounts that are locked or expired, phones that are locked, cards whose validity began with their first use,
//! and what a month may cost. A call that may not is tried at no vendor; one that may is not refused for it.

use tandem_leg::ServerReason;
use tandem_rating::record::LedgerKind;

use super::Auditor;
use super::books::{Books, units};
use super::calls::WireCall;
use crate::bill;
use crate::plan::FaultKind;
use crate::price;
use crate::trade::{Line, OWN_PHONE};

const DAY_MS: i64 = 86_400_000;
/// From the INVITE to the answer of the rating thread, ms: a card or a month may end within it.
const ASKED_MS: i64 = 5_000;

impl Auditor {
    pub(super) fn check_bounds(&mut self, books: &Books) {
        let mut found = Vec::new();
        let (mut stopped, mut of_month) = (0, 0);
        let reasons = [ServerReason::AccountLocked, ServerReason::AccountExpired, ServerReason::MonthlyLimit];
        let codes = reasons.map(|reason| reason as i32);
        let mut refused: std::collections::HashMap<(u32, &str), i32> = std::collections::HashMap::new();
        for story in books.stories.values() {
            if let Some((seq, Some(cdr), _)) = &story.settled
                && codes.contains(&cdr.end_reason)
            {
                refused.insert((self.boot_of(*seq), cdr.caller_call_id.as_str()), cdr.end_reason);
            }
        }
        for call in self.calls.iter().filter(|call| !call.refused) {
            let said = refused.get(&(call.boot, call.call_id.as_str())).copied();
            let tried = call.legs.len() > 1 || call.answered.is_some();
            let text = match self.stands(call) {
                Some(why) if tried => Some(format!("it was tried, although {why}")),
                Some(_) => {
                    stopped += 1;
                    None
                }
                None => {
                    let (must, may) = self.bounded(call, books);
                    of_month += u64::from(must.is_some() && !tried);
                    match (must, said) {
                        (Some(why), _) if tried => Some(format!("it was tried, although {why}")),
                        (_, Some(code)) if !may.contains(&code) => {
                            Some(format!("it was refused with {code}, and nothing stands in its way"))
                        }
                        _ => None,
                    }
                }
            };
            found.extend(text.map(|text| (call.index, text)));
        }
        self.seen.stopped += stopped;
        self.seen.bounded += of_month;
        for (index, text) in found {
            self.report("bounds", index, text);
        }
    }

    /// What the configuration has against a call.
    fn stands(&self, call: &WireCall) -> Option<String> {
        let plan = call.index.and_then(|index| self.plans.get(&index));
        let version = &self.plan.versions[call.admitted.version as usize - 1];
        let payer = self.payer(call);
        let usable = |at: usize| {
            let account = &version.accounts[at];
            if account.locked {
                return Some(format!("{} is locked", account.name));
            }
            let over = account.until_ms.is_some_and(|until_ms| call.admitted.wall_ms >= until_ms);
            over.then(|| format!("{} is expired", account.name))
        };
        let free_number = payer.free && !call.number.starts_with(OWN_PHONE);
        if free_number {
            return None;
        }
        let gateway = &version.customers[call.customer];
        let caller = bill::caller(&self.plan, call.customer, plan).0;
        let house = match plan.map(|plan| plan.line) {
            Some(Line::House(n)) if gateway.phones => Some(&version.phones[usize::from(n)]),
            _ => None,
        };
        let phone = house.filter(|phone| phone.locked).map(|_| "its phone is locked".to_owned());
        let first = usable(caller).or(phone);
        if payer.free {
            return first;
        }
        let above = bill::agents(&self.plan, payer.account).into_iter().find_map(usable);
        first.or(usable(payer.account)).or(above)
    }

    /// What the money has against a call: what surely stands in its way, and what may.
    fn bounded(&self, call: &WireCall, books: &Books) -> (Option<String>, Vec<i32>) {
        let payer = self.payer(call);
        let (mut must, mut may) = (None, Vec::new());
        if payer.free {
            return (must, may);
        }
        let version = &self.plan.versions[call.admitted.version as usize - 1];
        let account = &version.accounts[payer.account];
        let wall_ms = call.admitted.wall_ms;
        let plan = call.index.and_then(|index| self.plans.get(&index));
        if let Some(days) = account.card_days {
            let first = self.call_rows(books, &account.name).next();
            if let Some((seq, at_ms, ..)) = first {
                let ends_ms = at_ms + i64::from(days) * DAY_MS;
                if self.time_of(seq) <= call.began && wall_ms >= ends_ms {
                    must = Some(format!("{} was used at {at_ms} first, and is valid for {days} days", account.name));
                }
                if wall_ms + ASKED_MS >= ends_ms {
                    may.push(ServerReason::AccountExpired as i32);
                }
            }
        }
        let phone = match plan.map(|plan| plan.line) {
            Some(Line::House(n)) if payer.mode == 0 && payer.kind == 0 => Some((n, &version.phones[usize::from(n)])),
            _ => None,
        };
        let begins_ms = self.plan.zone.month_begins(wall_ms);
        // What a month is when somebody turns the clock back is nobody's rule: what was spent in one that is over, or to come.
        let back = |fault: &crate::plan::Fault| matches!(fault.kind, FaultKind::Clock { by_ms } if by_ms < 0);
        let steady = !self.plan.faults.iter().any(|fault| back(fault) && fault.at_us <= call.began.micros());
        let maxima = [
            account.monthly_max.map(|max| (max, None)),
            phone.and_then(|(n, phone)| Some((phone.max?, Some(crate::rent::house_number(usize::from(n)))))),
        ];
        for (max, phone) in maxima.into_iter().flatten() {
            let (mut least, mut most) = (0, 0);
            for (seq, at_ms, amount, memo) in self.call_rows(books, &account.name) {
                if phone.as_ref().is_some_and(|phone| memo.strip_prefix("phone ") != Some(phone.as_str())) {
                    continue;
                }
                most += amount;
                least += if self.time_of(seq) <= call.began && at_ms >= begins_ms { amount } else { 0 };
            }
            if steady && least >= max {
                let (least, max) = (price::text(least), price::text(max));
                let whose = phone.clone().unwrap_or_else(|| account.name.clone());
                must = Some(format!("{whose} has spent {least} this month, the most is {max}"));
            }
            if most >= max {
                may.push(ServerReason::MonthlyLimit as i32);
            }
        }
        (must, may)
    }

    /// What calls cost an account, in the order of the journal: where, when, how much, whose phone.
    fn call_rows<'b>(&self, books: &'b Books, account: &'b str) -> impl Iterator<Item = (u64, i64, i128, &'b str)> {
        books
            .charges
            .iter()
            .filter(move |(_, row)| row.kind == LedgerKind::Call && row.account == account)
            .map(|(seq, row)| (*seq, row.at_ms, -units(row.amount), row.memo.as_str()))
    }
}
