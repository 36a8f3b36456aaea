//! Orders of packages at the end of a run: what was confirmed is there, nothing that is due is left out, and the database says the same.

use std::collections::BTreeMap;

use tandem_store::Queries;

use super::Auditor;
use super::books::{Books, units};
use super::packages::{Desk, LONG_MS, Order};
use crate::machine::Machine;
use crate::rent::{self, OrderAct};
use crate::term;

impl Auditor {
    /// What people were told is done; what nobody was told is there may be there.
    pub(super) fn check_asked(&self, desk: &Desk) -> Vec<String> {
        let mut found = Vec::new();
        for asked in self.office.orders.iter().filter(|asked| asked.told && self.is_durable(asked.at.mono, asked.boot))
        {
            let made = asked.act.of().unwrap_or(&asked.name);
            let Some(order) = desk.live.values().chain(desk.over.values()).find(|order| order.user == made) else {
                found.push(format!("{} was confirmed, and {made} has made no order", asked.name));
                continue;
            };
            if matches!(asked.act, OrderAct::Cancel(..)) && !order.cancel {
                found.push(format!("{} was confirmed, and {made} is not cancelled", asked.name));
            }
        }
        for (key, at_ms) in &self.office.late_orders {
            let since = |(of, next_ms): &&(String, i64)| of == key && at_ms - next_ms > LONG_MS;
            if !desk.wanted_ms.iter().any(|one| since(&one)) {
                found.push(format!("order {key} waits for a catch-up at {at_ms}, and nothing is due so long"));
            }
        }
        found
    }

    /// Nothing that is due is left out at the end.
    pub(super) fn check_due(&self, desk: &Desk, books: &Books, machine: &Machine) -> Vec<String> {
        let mut found = Vec::new();
        let now_ms = machine.now().wall_ms;
        let version = self.version_at(books, u64::MAX);
        for (key, order) in &desk.live {
            let due = match &order.period {
                Some(period) => now_ms >= period.to_ms,
                None => {
                    let gone = term::package_of(version, &order.package, &order.phone).is_none();
                    let over = gone || order.expires_ms.is_some_and(|expires_ms| order.next_ms >= expires_ms);
                    over || (!order.waits && (order.next_ms..=order.next_ms + LONG_MS).contains(&now_ms))
                }
            };
            if due {
                found.push(format!("order {key}: a step is due at {now_ms} and not taken: {order:?}"));
            }
        }
        for (n, phone) in version.phones.iter().enumerate().filter(|(_, phone)| phone.rent + phone.minimum > 0) {
            let number = rent::house_number(n);
            if !desk.live.contains_key(&format!("phone:{number}")) {
                found.push(format!("phone {number} pays no fee, {phone:?}"));
            }
        }
        found
    }

    /// The database has the same orders, and of each period what calls used of it; nothing is held of them any more.
    pub(super) fn compare_orders(&self, desk: &Desk, machine: &Machine) -> Result<(), String> {
        let queries = Queries::open(&machine.dir()).map_err(|error| error.to_string())?;
        let stored = queries.packages().map_err(|error| error.to_string())?;
        let mut ours: BTreeMap<&str, &Order> = desk.over.iter().map(|(key, order)| (key.as_str(), order)).collect();
        ours.extend(desk.live.iter().map(|(key, order)| (key.as_str(), order)));
        for stored in &stored {
            let key = stored.order.key.as_str();
            let said = Order::said(&self.plan, &stored.order)?;
            if ours.remove(key) != Some(&said) {
                return Err(format!("order {key} is {said:?} in the database"));
            }
            if let Some(ran) = desk.runs.get(key).map(|n| &desk.ran[*n]) {
                let said = (stored.used_s.clone(), units(stored.money), units(stored.spent));
                if said != ran.used() {
                    return Err(format!("order {key} has used {said:?} in the database, {:?} by calls", ran.used()));
                }
            }
            let held = machine.rater().package_held(key);
            if held.0 != 0 || !held.1.is_zero() {
                return Err(format!("order {key}: {held:?} is held, and there is no call"));
            }
        }
        ours.keys().next().map_or(Ok(()), |key| Err(format!("order {key} is not in the database")))
    }
}
