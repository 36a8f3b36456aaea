//! Packages and their orders: lists from the site and the database, acts by the rating thread.

use std::collections::HashMap;
use std::str::FromStr;

use rust_decimal::Decimal;
use tandem_control::When;
use tandem_control::error::{ErrorCode, ErrorObject};
use tandem_control::reply;
use tandem_control::request::{PackageCancel, PackageCatchUp, PackageChange, PackageList, PackageOrder, PackageOrders};
use tandem_control::value::Amount;
use tandem_rater::{PackageAct, PackageDone};
use tandem_rating::money::Money;
use tandem_rating::package::{NoMoney, RentType};
use tandem_rating::record::Actor;
use tandem_store::StoredOrder;

use super::money::checked_key;
use super::{Control, Reply, internal, reply};
use crate::orders::{OrderNow, PackageRefused, RatingOrder};

/// Words of `state`.
const STATES: [&str; 8] = ["open", "future", "active", "waiting", "expired", "cancelled", "no_money", "gone"];
/// Words of `sort`.
const SORTS: [&str; 5] = ["order", "account", "package", "to", "taken"];

impl Control {
    async fn stored_orders(&self) -> Result<Vec<StoredOrder>, ErrorObject> {
        self.query(|queries| queries.packages().map_err(|error| internal(error.to_string()))).await
    }

    pub(super) async fn package_list(&self, q: PackageList) -> Reply {
        let mut orders: HashMap<String, u64> = HashMap::new();
        for stored in self.stored_orders().await?.into_iter().filter(|stored| stored.order.ended.is_none()) {
            *orders.entry(stored.order.package).or_default() += 1;
        }
        let state = self.state.borrow();
        let prefix = q.prefix.unwrap_or_default();
        let rows: Vec<reply::PackageRow> = state
            .site
            .package
            .iter()
            .filter(|(name, _)| name.starts_with(&prefix))
            .map(|(name, site)| {
                let amount = |text: &str| if text.is_empty() { "0".to_owned() } else { text.to_owned() };
                let rent_type = RentType::WORDS.iter().find(|(word, _)| *word == site.rent_type);
                reply::PackageRow {
                    name: name.clone(),
                    rent_fee: amount(&site.rent_fee),
                    rent_type: rent_type.map_or(RentType::default(), |(_, rent_type)| *rent_type).as_str().to_owned(),
                    rent_period: site.rent_period,
                    partial: site.partial,
                    min_consumption: amount(&site.min_consumption),
                    lower_consumption: amount(&site.lower_consumption),
                    gift_money: amount(&site.gift_money),
                    gifts: site.gifts.join("; "),
                    orders: orders.get(name).copied().unwrap_or(0),
                }
            })
            .collect();
        drop(state);
        let total = rows.len() as u64;
        let skip = usize::try_from(q.offset).unwrap_or(usize::MAX);
        reply(&reply::PackageList { total, rows: rows.into_iter().skip(skip).take(q.limit.rows() as usize).collect() })
    }

    pub(super) async fn package_orders(&self, q: PackageOrders) -> Reply {
        if let Some(state) = q.state.as_deref().filter(|state| !STATES.contains(state)) {
            return Err(ErrorObject::unknown_word("state", state, &STATES));
        }
        let (sort, turned) = match q.sort.as_deref() {
            None => ("order", false),
            Some(sort) => sort.strip_prefix('-').map_or((sort, false), |sort| (sort, true)),
        };
        if !SORTS.contains(&sort) {
            return Err(ErrorObject::unknown_word("sort", sort, &SORTS));
        }
        let fits = |stored: &StoredOrder| {
            let order = &stored.order;
            q.account.as_ref().is_none_or(|account| order.account == *account)
                && q.phone.as_ref().is_none_or(|phone| order.phone == *phone)
                && q.package.as_ref().is_none_or(|package| order.package == *package)
                && q.state.as_ref().is_none_or(|state| match state.as_str() {
                    "open" => order.ended.is_none(),
                    state => order.state() == state,
                })
        };
        let mut orders = self.stored_orders().await?;
        orders.retain(fits);
        // They come by number, which decides between equals.
        match sort {
            "account" => orders.sort_by(|a, b| a.order.account.cmp(&b.order.account)),
            "package" => orders.sort_by(|a, b| a.order.package.cmp(&b.order.package)),
            "to" => orders.sort_by_key(|stored| stored.order.period.as_ref().map_or(i64::MAX, |period| period.to_ms)),
            "taken" => orders.sort_by_key(|stored| stored.order.taken),
            _ => {}
        }
        if turned {
            orders.reverse();
        }
        let total = orders.len() as u64;
        let skip = usize::try_from(q.offset).unwrap_or(usize::MAX);
        let page: Vec<StoredOrder> = orders.into_iter().skip(skip).take(q.limit.rows() as usize).collect();
        let keys = page.iter().map(|stored| stored.order.key.clone()).collect();
        let now = self.ask_rating(|done| RatingOrder::Packages(keys, done)).await?;
        let rows = page.iter().zip(now).map(|(stored, now)| self.order_row(stored, now)).collect();
        reply(&reply::PackageOrders { total, rows })
    }

    fn order_row(&self, stored: &StoredOrder, now: OrderNow) -> reply::OrderRow {
        let order = &stored.order;
        let period = order.period.clone().unwrap_or_default();
        let runs = order.period.is_some();
        let gift_s: i64 = period.gifts.iter().map(|gift| gift.gift_s).sum();
        let left = period.gift_money.checked_sub(stored.money).unwrap_or_default();
        reply::OrderRow {
            order: order.key.clone(),
            account: order.account.clone(),
            phone: order.phone.clone(),
            package: order.package.clone(),
            state: order.state().to_owned(),
            from_ms: runs.then_some(period.from_ms),
            to_ms: runs.then_some(period.to_ms),
            rent: self.shown(period.rent),
            minimum: self.shown(period.minimum),
            spent: self.shown(stored.spent),
            gift_s,
            gift_left_s: gift_s - stored.used_s.iter().sum::<i64>(),
            gift_held_s: now.held_s,
            gift_money: self.shown(period.gift_money),
            gift_money_left: self.shown(left),
            gift_money_held: self.shown(now.held),
            next_ms: (order.ended.is_none() && !order.cancel).then_some(order.next_ms),
            expires_ms: order.expires_ms,
            priority: order.priority,
            rent_percent: order.rent_percent.normalize().to_string(),
            no_money: order.no_money.as_str().to_owned(),
            cancel: order.cancel,
            taken: self.shown(order.taken),
            user: order.user.clone(),
            changed_ms: stored.changed_ms,
            what: stored.what.clone(),
            stuck: now.stuck,
        }
    }

    pub(super) async fn package_order(&self, actor: &Actor, command: &str, q: PackageOrder) -> Reply {
        let zone = crate::site::zone();
        let effective_ms = match &q.from {
            None => None,
            Some(when) => Some(when.start_ms(&zone).ok_or_else(|| beyond("from", when))?),
        };
        let key = q.key.map(checked_key).transpose()?;
        let act = PackageAct::Order {
            account: q.account,
            phone: q.phone.unwrap_or_default(),
            package: q.package,
            effective_ms,
            expires_ms: until(&q.until)?,
            priority: q.priority,
            rent_percent: percent(&q.rent_percent)?.unwrap_or(Decimal::ONE_HUNDRED),
            no_money: no_money(&q.no_money)?.unwrap_or_default(),
            user: actor.user.clone(),
            request: key.unwrap_or_default(),
        };
        self.package_act(actor, command, act, q.commit).await
    }

    pub(super) async fn package_change(&self, actor: &Actor, command: &str, q: PackageChange) -> Reply {
        let expires_ms = match (until(&q.until)?, q.open) {
            (Some(_), true) => return Err(ErrorObject::bad_value("open", true, "until or open, not both")),
            (None, true) => Some(None),
            (until, false) => until.map(Some),
        };
        let priority = match (q.priority, q.last) {
            (Some(_), true) => return Err(ErrorObject::bad_value("last", true, "priority or last, not both")),
            (None, true) => Some(None),
            (priority, false) => priority.map(Some),
        };
        let (rent_percent, no_money) = (percent(&q.rent_percent)?, no_money(&q.no_money)?);
        if expires_ms.is_none() && priority.is_none() && rent_percent.is_none() && no_money.is_none() {
            return Err(ErrorObject::bad_value("order", q.order, "something to change beside it"));
        }
        let act = PackageAct::Change { key: q.order, expires_ms, priority, rent_percent, no_money };
        self.package_act(actor, command, act, q.commit).await
    }

    pub(super) async fn package_cancel(&self, actor: &Actor, command: &str, q: PackageCancel) -> Reply {
        let act = PackageAct::Cancel { key: q.order, now: q.now };
        self.package_act(actor, command, act, q.commit).await
    }

    pub(super) async fn package_catch_up(&self, actor: &Actor, command: &str, q: PackageCatchUp) -> Reply {
        self.package_act(actor, command, PackageAct::CatchUp { key: q.order }, q.commit).await
    }

    async fn package_act(&self, actor: &Actor, command: &str, act: PackageAct, commit: bool) -> Reply {
        let _one = self.changing.lock().await;
        if let Some(before) = self.ordered_before(&act).await? {
            return reply(&before);
        }
        let audit = commit.then(|| Box::new(self.audit(actor, command, "", Vec::new())));
        let done = self.ask_rating(|done| RatingOrder::Package { act, audit, done }).await?;
        match done {
            Ok(PackageDone { order, what, rent, from_ms, to_ms, minimum, gift_money, gifts, available }) => {
                let runs = to_ms > from_ms;
                reply(&reply::PackageDone {
                    state: order.state().to_owned(),
                    order: order.key,
                    account: order.account,
                    package: order.package,
                    what,
                    rent: self.shown(rent),
                    from_ms: runs.then_some(from_ms),
                    to_ms: runs.then_some(to_ms),
                    minimum: self.shown(minimum),
                    gift_money: self.shown(gift_money),
                    gifts: gifts.iter().map(ToString::to_string).collect(),
                    available: self.shown(available),
                    committed: commit,
                })
            }
            Err(PackageRefused::Value(error)) if error.field == "order" => {
                Err(ErrorObject::new(ErrorCode::NotFound, error.to_string()))
            }
            Err(PackageRefused::Value(error)) => Err(ErrorObject::bad_value(error.field, error.value, error.allowed)),
            Err(PackageRefused::Disk(text)) => Err(internal(text)),
        }
    }

    /// The order that was made by the same key before.
    async fn ordered_before(&self, act: &PackageAct) -> Result<Option<reply::PackageDone>, ErrorObject> {
        let PackageAct::Order { account, phone, package, request, .. } = act else { return Ok(None) };
        if request.is_empty() {
            return Ok(None);
        }
        let orders = self.stored_orders().await?;
        let Some(StoredOrder { order, .. }) = orders.into_iter().find(|stored| stored.order.request == *request) else {
            return Ok(None);
        };
        if (&order.account, &order.phone, &order.package) != (account, phone, package) {
            let of = format!("{} for account {} {}", order.package, order.account, order.phone);
            let message = format!("key: order {} of {} was made by it; nothing was ordered", order.key, of.trim_end());
            return Err(ErrorObject::new(ErrorCode::Conflict, message));
        }
        let available = self.account_named(&order.account).await.map(|view| self.shown(view.available));
        let state = order.state().to_owned();
        let period = order.period.clone().unwrap_or_default();
        let runs = order.period.is_some();
        Ok(Some(reply::PackageDone {
            state,
            order: order.key,
            account: order.account,
            package: order.package,
            what: "ordered before by the same key; nothing was ordered now".to_owned(),
            rent: self.shown(period.rent),
            from_ms: runs.then_some(period.from_ms),
            to_ms: runs.then_some(period.to_ms),
            minimum: self.shown(period.minimum),
            gift_money: self.shown(period.gift_money),
            gifts: period.gifts.iter().map(ToString::to_string).collect(),
            // Its account may be gone since.
            available: available.unwrap_or_default(),
            committed: true,
        }))
    }

    /// Refuses to take away packages that somebody has ordered.
    pub(super) async fn packages_free(&self, gone: Vec<String>) -> Result<(), ErrorObject> {
        if gone.is_empty() {
            return Ok(());
        }
        let orders = self.stored_orders().await?;
        let used = orders.iter().find(|stored| stored.order.ended.is_none() && gone.contains(&stored.order.package));
        match used {
            None => Ok(()),
            Some(StoredOrder { order, .. }) => Err(ErrorObject::new(
                ErrorCode::Refused,
                format!(
                    "package {} cannot be taken away: order {} of account {} has it; cancel that first",
                    order.package, order.key, order.account
                ),
            )),
        }
    }
}

fn beyond(field: &str, when: &When) -> ErrorObject {
    ErrorObject::bad_value(field, when, "an instant that the calendar has")
}

fn until(when: &Option<When>) -> Result<Option<i64>, ErrorObject> {
    match when {
        None => Ok(None),
        Some(when) => when.end_ms(&crate::site::zone()).map(Some).ok_or_else(|| beyond("until", when)),
    }
}

fn percent(text: &Option<Amount>) -> Result<Option<Decimal>, ErrorObject> {
    let Some(text) = text else { return Ok(None) };
    let percent =
        Money::from_str(text.as_str()).map_err(|e| ErrorObject::bad_value("rent_percent", text.as_str(), e))?;
    Ok(Some(percent.amount()))
}

fn no_money(word: &Option<String>) -> Result<Option<NoMoney>, ErrorObject> {
    let Some(word) = word else { return Ok(None) };
    let found = NoMoney::WORDS.iter().find(|(one, _)| one == word).map(|(_, no_money)| *no_money);
    found.map(Some).ok_or_else(|| ErrorObject::unknown_word("no_money", word, &NoMoney::WORDS.map(|(word, _)| word)))
}
