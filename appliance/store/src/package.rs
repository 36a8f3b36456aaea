//! Orders of packages and fees of phones as the journal left them, and what calls used of each period.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension};
use tandem_rating::money::Money;
use tandem_rating::package::{self, GiftUse, Order};
use tandem_rating::record::PackageEvent;

use crate::error::StoreError;
use crate::ledger;
use crate::verify::Verified;

/// Tables, made whenever they are missing. `item` of a use is `g<row>` for seconds of a gift, `m` gift money, `c` what the
/// balance paid for the calls.
pub(crate) const TABLES: &str = "
CREATE TABLE IF NOT EXISTS package_order (
    key TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    phone TEXT NOT NULL,
    package TEXT NOT NULL,
    state TEXT NOT NULL,
    changed_ms INTEGER NOT NULL,
    what TEXT NOT NULL,
    json TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS package_use (
    order_key TEXT NOT NULL,
    period INTEGER NOT NULL,
    item TEXT NOT NULL,
    amount TEXT NOT NULL,
    PRIMARY KEY (order_key, period, item)
) STRICT, WITHOUT ROWID;
";

/// An order with what was used of the period that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredOrder {
    /// The order.
    pub order: Order,
    /// Seconds used of each gift of its period.
    pub used_s: Vec<i64>,
    /// Gift money used.
    pub money: Money,
    /// What the balance paid for calls of the period.
    pub spent: Money,
    /// When it changed last, UTC ms.
    pub changed_ms: i64,
    /// What happened then.
    pub what: String,
}

/// Puts the order as it is after an event in the place of what it was.
pub(crate) fn apply(connection: &Connection, path: &Path, event: &PackageEvent) -> Result<(), StoreError> {
    let PackageEvent { at_ms, what, order, ledger: _, audit: _ } = event;
    // A plain structure of texts and numbers always has a JSON form.
    let json = serde_json::to_string(order).unwrap_or_default();
    connection
        .prepare_cached(
            "INSERT INTO package_order (key, account, phone, package, state, changed_ms, what, json)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (key) DO UPDATE SET account = ?2, phone = ?3,
             package = ?4, state = ?5, changed_ms = ?6, what = ?7, json = ?8",
        )
        .and_then(|mut statement| {
            let (account, phone, package) = (&order.account, &order.phone, &order.package);
            statement.execute((&order.key, account, phone, package, order.state(), at_ms, what, json))
        })
        .map(|_| ())
        .map_err(StoreError::sql(path, "write table package_order"))
}

/// Counts what a call used, from the memo of its row.
pub(crate) fn used(connection: &Connection, path: &Path, memo: &str) -> Result<(), StoreError> {
    let uses = package::uses(memo).map_err(|cause| StoreError::Row {
        table: "ledger".to_owned(),
        row: "of kind gift".to_owned(),
        column: "memo".to_owned(),
        cause,
    })?;
    for GiftUse { order, period, gifts, money, spent } in uses {
        for (row, seconds) in gifts {
            add(connection, path, &order, period, &format!("g{row}"), Money::new(seconds.into()).unwrap_or_default())?;
        }
        for (item, amount) in [("m", money), ("c", spent)] {
            if !amount.is_zero() {
                add(connection, path, &order, period, item, amount)?;
            }
        }
    }
    Ok(())
}

fn add(
    connection: &Connection,
    path: &Path,
    order: &str,
    period: u64,
    item: &str,
    amount: Money,
) -> Result<(), StoreError> {
    let failed = || StoreError::sql(path, "write table package_use");
    let known: Option<String> = connection
        .prepare_cached("SELECT amount FROM package_use WHERE order_key = ?1 AND period = ?2 AND item = ?3")
        .and_then(|mut statement| statement.query_row((order, period as i64, item), |row| row.get(0)).optional())
        .map_err(failed())?;
    let known = known.map_or(Ok(Money::ZERO), |known| ledger::money(order, item, &known))?;
    let sum = known.checked_add(amount).map_err(|error| StoreError::Money {
        account: order.to_owned(),
        what: format!("{known} + {amount} of {item} of period {period}"),
        cause: error.to_string(),
    })?;
    connection
        .prepare_cached(
            "INSERT INTO package_use (order_key, period, item, amount) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (order_key, period, item) DO UPDATE SET amount = ?4",
        )
        .and_then(|mut statement| statement.execute((order, period as i64, item, sum.to_string())))
        .map(|_| ())
        .map_err(failed())
}

/// Every order, over or not, in the order they were made; fees of phones last.
pub(crate) fn orders(connection: &Connection, path: &Path) -> Result<Vec<StoredOrder>, StoreError> {
    let failed = || StoreError::sql(path, "read table package_order");
    if is_missing(connection, path)? {
        return Ok(Vec::new());
    }
    let rows: Vec<(String, i64, String, String)> = connection
        .prepare_cached("SELECT key, changed_ms, what, json FROM package_order")
        .and_then(|mut statement| {
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?.collect()
        })
        .map_err(failed())?;
    let mut list = Vec::with_capacity(rows.len());
    for (key, changed_ms, what, json) in rows {
        let order: Order = serde_json::from_str(&json).map_err(|error| StoreError::Row {
            table: "package_order".to_owned(),
            row: key.clone(),
            column: "json".to_owned(),
            cause: error.to_string(),
        })?;
        let mut stored = StoredOrder { order, changed_ms, what, ..StoredOrder::default() };
        if let Some(period) = &stored.order.period {
            stored.used_s = vec![0; period.gifts.len()];
            let items: Vec<(String, String)> = connection
                .prepare_cached("SELECT item, amount FROM package_use WHERE order_key = ?1 AND period = ?2")
                .and_then(|mut statement| {
                    statement.query_map((&key, period.number as i64), |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
                })
                .map_err(StoreError::sql(path, "read table package_use"))?;
            for (item, amount) in items {
                let amount = ledger::money(&key, &item, &amount)?;
                match item.as_str() {
                    "m" => stored.money = amount,
                    "c" => stored.spent = amount,
                    _ => {
                        let row = item.strip_prefix('g').and_then(|row| row.parse::<usize>().ok());
                        let seconds = amount.to_string().parse().unwrap_or_default();
                        if let Some(used_s) = row.and_then(|row| stored.used_s.get_mut(row)) {
                            *used_s = seconds;
                        }
                    }
                }
            }
        }
        list.push(stored);
    }
    list.sort_by(|a, b| {
        let number = |stored: &StoredOrder| stored.order.key.parse::<u64>().unwrap_or(u64::MAX);
        number(a).cmp(&number(b)).then_with(|| a.order.key.cmp(&b.order.key))
    });
    Ok(list)
}

/// Whether an older version wrote the database, which no writer has opened since.
fn is_missing(connection: &Connection, path: &Path) -> Result<bool, StoreError> {
    connection
        .prepare_cached("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'package_order')")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(StoreError::sql(path, "read the schema"))
}

/// Checks that the rows of each order are what the order says it took, and that nothing is used beyond its gifts.
pub(crate) fn verify(connection: &Connection, path: &Path, verified: &mut Verified) -> Result<(), StoreError> {
    let mut taken: BTreeMap<String, Money> = BTreeMap::new();
    {
        let failed = || StoreError::sql(path, "read table ledger");
        let mut statement = connection
            .prepare(
                "SELECT key, amount, account FROM ledger_row WHERE kind IN
                 ('package_rent', 'package_minimum', 'phone_rent', 'phone_minimum')",
            )
            .map_err(failed())?;
        let mut rows = statement.query([]).map_err(failed())?;
        while let Some(row) = rows.next().map_err(failed())? {
            let key: Option<String> = row.get(0).map_err(failed())?;
            let (amount, account): (String, String) = (row.get(1).map_err(failed())?, row.get(2).map_err(failed())?);
            // rent:<order>:<period>; the order of a phone has a colon of its own.
            let order = key.as_deref().and_then(|key| key.split_once(':')).and_then(|(_, rest)| rest.rsplit_once(':'));
            let Some((order, _)) = order else {
                verified.problem(format!("account {account}: a row of a package has the key {key:?}"));
                continue;
            };
            let sum = taken.entry(order.to_owned()).or_default();
            let amount = ledger::money(&account, "amount", &amount)?;
            *sum = sum.checked_sub(amount).map_err(|error| StoreError::Money {
                account,
                what: format!("the rows of order {order}"),
                cause: error.to_string(),
            })?;
        }
    }
    for StoredOrder { order, used_s, money, .. } in orders(connection, path)? {
        let rows = taken.remove(&order.key).unwrap_or_default();
        if rows != order.taken {
            verified.problem(format!("order {}: it took {}, its rows come to {rows}", order.key, order.taken));
        }
        let Some(period) = &order.period else { continue };
        for (row, (gift, used_s)) in period.gifts.iter().zip(used_s).enumerate() {
            if used_s > gift.gift_s {
                verified.problem(format!(
                    "order {}: {used_s} s are used of gift {row}, which has {} s",
                    order.key, gift.gift_s
                ));
            }
        }
        if money > period.gift_money {
            verified.problem(format!(
                "order {}: {money} is used of its gift money, which is {}",
                order.key, period.gift_money
            ));
        }
    }
    for (order, rows) in taken {
        verified.problem(format!("order {order}: its rows come to {rows}, and there is no such order"));
    }
    Ok(())
}
