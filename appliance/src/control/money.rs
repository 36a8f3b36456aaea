//! Accounts, payments, ledger, gateways.

use std::str::FromStr;

use tandem_call::snapshot::AccountKind;
use tandem_control::error::{ErrorCode, ErrorObject};
use tandem_control::reply;
use tandem_control::request::{AccountList, AccountPay, AccountReverse, AccountZero, GatewayKind, LedgerList};
use tandem_control::value::CallId;
use tandem_rater::{AccountView, FROM, Move, Movement, PayError};
use tandem_rating::money::Money;
use tandem_rating::record::{Actor, LedgerKind};
use tandem_store::{LIMIT_MAX, LedgerFilter, Queries, StoredLedgerRow};

use super::{Control, Reply, internal, reply};
use crate::orders::RatingOrder;
use crate::site::CARD;

/// Rows of the ledger shown with an account.
const LEDGER_SHOWN: usize = 20;
/// Rows that are read for a question about amounts: some seconds.
const SCANNED_MAX: u64 = 1_000_000;

impl Control {
    async fn account_views(&self) -> Result<Vec<AccountView>, ErrorObject> {
        self.ask_rating(RatingOrder::Accounts).await
    }

    fn account_row(&self, view: &AccountView) -> reply::AccountRow {
        let state = self.state.borrow();
        let now_ms = state.clock.now().wall_ms;
        let configured = state.snapshot.accounts.iter().find(|a| a.id == view.id);
        let site = state.site.account.get(&view.name);
        let money = |amount: Money| self.shown(amount);
        let text = |text: fn(&crate::site::AccountSite) -> &str| site.map_or_else(String::new, |s| text(s).to_owned());
        let valid_to_ms = [configured.and_then(|a| a.valid_until_ms), view.valid_to_ms].into_iter().flatten().min();
        let word = match configured {
            None => "canceled",
            Some(a) if a.cancelled => "canceled",
            Some(a) if a.locked => "locked",
            Some(_) if valid_to_ms.is_some_and(|t| t <= now_ms) => "expired",
            Some(a) if a.kind == AccountKind::General && view.available <= Money::ZERO => "no_money",
            Some(_) => "normal",
        };
        reply::AccountRow {
            name: view.name.clone(),
            display_name: configured.map_or_else(String::new, |a| a.display_name.clone()),
            kind: match view.kind {
                _ if site.is_some_and(|site| site.kind == CARD) => CARD,
                AccountKind::General => "customer",
                AccountKind::Clearing => "vendor",
            }
            .to_owned(),
            balance: money(view.balance),
            overdraft_limit: money(view.limit),
            reserved: money(view.reserved),
            available: money(view.available),
            currency: state.config.currency.clone(),
            state: word.to_owned(),
            rate_group: site.map_or_else(String::new, |s| s.rate_group.clone()),
            calls: view.calls,
            lines: None,
            valid_to_ms,
            agent: text(|s| &s.agent),
            spent_today: money(view.spent_today),
            spent_month: money(view.spent_month),
            monthly_max: text(|s| &s.monthly_max),
            alarm_below: text(|s| &s.alarm_below),
        }
    }

    pub(super) async fn account_named(&self, name: &str) -> Result<AccountView, ErrorObject> {
        let views = self.account_views().await?;
        let found = views.iter().find(|v| v.name == name).cloned();
        found.ok_or_else(|| {
            let names: Vec<&String> = views.iter().map(|v| &v.name).collect();
            ErrorObject::not_found("account", name, &names)
        })
    }

    pub(super) async fn account_list(&self, q: AccountList) -> Reply {
        let mut views = self.account_views().await?;
        let states = ["normal", "locked", "expired", "no_money", "canceled"];
        one_of("kind", &q.kind, &["customer", "vendor", CARD])?;
        one_of("state", &q.state, &states)?;
        if let Some(sort) = &q.sort {
            let (word, turned) = sort.strip_prefix('-').map_or((sort.as_str(), false), |word| (word, true));
            let amount: fn(&AccountView) -> Money = match word {
                "name" => |_| Money::ZERO,
                "balance" => |view| view.balance,
                "available" => |view| view.available,
                "spent_today" => |view| view.spent_today,
                "spent_month" => |view| view.spent_month,
                _ => {
                    let words = ["name", "balance", "available", "spent_today", "spent_month"];
                    return Err(ErrorObject::unknown_word("sort", word, &words));
                }
            };
            // They come by name, which decides between equals.
            views.sort_by_key(amount);
            if turned {
                views.reverse();
            }
        }
        let fits = |row: &reply::AccountRow| {
            q.kind.as_ref().is_none_or(|kind| row.kind == *kind)
                && q.state.as_ref().is_none_or(|state| row.state == *state)
                && q.agent.as_ref().is_none_or(|agent| row.agent == *agent)
        };
        let rows: Vec<_> = views.iter().map(|v| self.account_row(v)).filter(fits).collect();
        let total = rows.len() as u64;
        let most = q.limit.map_or(usize::MAX, |limit| limit.rows() as usize);
        let rows = rows.into_iter().skip(usize::try_from(q.offset).unwrap_or(usize::MAX)).take(most).collect();
        reply(&reply::AccountList { total, rows })
    }

    pub(super) async fn account_show(&self, name: &str) -> Reply {
        let view = self.account_named(name).await?;
        let held = self.ask_rating(|done| RatingOrder::Reservations(name.to_owned(), done)).await?;
        let filter = LedgerFilter { account: Some(name.to_owned()), limit: Some(LEDGER_SHOWN), ..Default::default() };
        let ledger = self.query(move |q| q.ledger_list(&filter).map_err(|e| internal(e.to_string()))).await?;
        let state = self.state.borrow();
        let mapping = state.site.mapping_gateway.iter().filter(|(_, g)| g.account == name).map(|(n, _)| n.clone());
        let routing = state.site.routing_gateway.iter().filter(|(_, g)| g.account == name).map(|(n, _)| n.clone());
        let gateways = mapping.chain(routing).collect();
        drop(state);
        reply(&reply::AccountShow {
            account: self.account_row(&view),
            gateways,
            reservations: held
                .into_iter()
                .map(|(flow_no, amount, seconds)| reply::ReservationRow {
                    call: CallId(flow_no),
                    amount: self.shown(amount),
                    seconds,
                })
                .collect(),
            ledger: ledger.iter().map(|row| self.ledger_row(row)).collect(),
        })
    }

    pub(super) async fn account_pay(&self, actor: &Actor, command: &str, q: AccountPay) -> Reply {
        let _one = self.changing.lock().await;
        let amount =
            Money::from_str(q.amount.as_str()).map_err(|e| ErrorObject::bad_value("amount", q.amount.as_str(), e))?;
        if amount == Money::ZERO {
            return Err(ErrorObject::bad_value("amount", q.amount.as_str(), "an amount that is not 0"));
        }
        one_of("method", &q.method, &["cash", "card", "other"])?;
        let account = self.payer_of(q.name, q.of.as_deref())?;
        let memo = match &q.method {
            Some(method) if q.memo.is_empty() => format!("[{method}]"),
            Some(method) => format!("[{method}] {}", q.memo),
            None => q.memo,
        };
        let what = match q.from {
            Some(_) if amount < Money::ZERO => {
                return Err(ErrorObject::bad_value("amount", q.amount.as_str(), "above 0 when an agent pays"));
            }
            Some(agent) => {
                self.account_named(&agent).await?;
                Move::PayFrom(agent, amount)
            }
            None => Move::Pay(amount),
        };
        let (key, user) = (key_of(q.key)?, actor.user.clone());
        let movement = Movement { account, what, key, user, memo };
        self.move_money(actor, command, movement, Some(amount)).await
    }

    /// The account that pays for what has that name.
    fn payer_of(&self, name: String, of: Option<&str>) -> Result<String, ErrorObject> {
        let state = self.state.borrow();
        let site = &state.site;
        let found = match of {
            None => return Ok(name),
            Some("phone") => site.phone.get(&name).map(|phone| &phone.account).ok_or_else(|| names(&site.phone)),
            Some("bound_number") => {
                site.bound_number.get(&name).map(|bound| &bound.account).ok_or_else(|| names(&site.bound_number))
            }
            Some("mapping") => {
                let gateways = &site.mapping_gateway;
                gateways.get(&name).map(|gateway| &gateway.account).ok_or_else(|| names(gateways))
            }
            Some(word) => return Err(ErrorObject::unknown_word("of", word, &["phone", "bound_number", "mapping"])),
        };
        found.cloned().map_err(|known| ErrorObject::not_found(of.unwrap_or_default(), &name, &known))
    }

    pub(super) async fn account_zero(&self, actor: &Actor, command: &str, q: AccountZero) -> Reply {
        let _one = self.changing.lock().await;
        let (key, user) = (key_of(q.key)?, actor.user.clone());
        let movement = Movement { account: q.name, what: Move::MakeZero, key, user, memo: q.memo };
        self.move_money(actor, command, movement, None).await
    }

    pub(super) async fn account_reverse(&self, actor: &Actor, command: &str, q: AccountReverse) -> Reply {
        let _one = self.changing.lock().await;
        let row =
            self.row_of(&q.key).await?.ok_or_else(|| ErrorObject::not_found::<String>("ledger row", &q.key, &[]))?;
        if !["payment", "deduction", "make_zero"].contains(&row.kind.as_str()) {
            return Err(ErrorObject::new(
                ErrorCode::Refused,
                format!(
                    "key {}: a row of kind {} is not taken back; payments, deductions and zeroings are",
                    q.key, row.kind
                ),
            ));
        }
        let reversal = |row: &StoredLedgerRow| Movement {
            account: row.account.clone(),
            what: Move::Reverse(row.amount),
            key: format!("reverse:{}", row.key),
            user: actor.user.clone(),
            memo: q.memo.clone(),
        };
        // What an agent paid goes back to him as well, and first comes off the account below.
        let done = self.move_money(actor, command, reversal(&row), row.amount.checked_neg().ok()).await?;
        if let Some(from) = self.row_of(&format!("{}{FROM}", q.key)).await? {
            self.move_money(actor, command, reversal(&from), from.amount.checked_neg().ok()).await?;
        }
        Ok(done)
    }

    async fn row_of(&self, key: &str) -> Result<Option<StoredLedgerRow>, ErrorObject> {
        let key = key.to_owned();
        self.query(move |queries| queries.ledger_by_key(&key).map_err(|e| internal(e.to_string()))).await
    }

    /// Books a movement unless its key is booked. `amount` is that of the row it makes, when that is known before.
    pub(super) async fn move_money(
        &self,
        actor: &Actor,
        command: &str,
        movement: Movement,
        amount: Option<Money>,
    ) -> Reply {
        self.account_named(&movement.account).await?;
        // The rating thread knows the keys of its own life; the database, which has caught up when it answers, knows all.
        if let Some(row) = self.row_of(&movement.key).await? {
            if row.account != movement.account || amount.is_some_and(|amount| row.amount != amount) {
                return Err(ErrorObject::new(
                    ErrorCode::Conflict,
                    format!(
                        "key: {} of {} to {} is already booked under it; nothing was booked",
                        row.kind, row.amount, row.account
                    ),
                ));
            }
            return reply(&reply::AccountPaid { row: self.ledger_row(&row), booked: false });
        }
        if let Move::ByCard(card) = &movement.what
            && let Some(half) = self.row_of(&format!("{}{FROM}", movement.key)).await?
        {
            // The machine lost power between the two halves: the card has paid.
            if half.account != *card {
                let message = format!("key: {} of {} is already booked under it", half.kind, half.amount);
                return Err(ErrorObject::new(ErrorCode::Conflict, message));
            }
            let what = Move::Pay(half.amount.checked_neg().unwrap_or_default());
            return self.book(actor, command, Movement { what, ..movement }).await;
        }
        if let Move::PayFrom(agent, _) = &movement.what
            && let Some(half) = self.row_of(&format!("{}{FROM}", movement.key)).await?
        {
            // The machine lost power between the two halves: the agent has paid, the account did not get it.
            if half.account != *agent || Some(half.amount) != amount.and_then(|amount| amount.checked_neg().ok()) {
                let message = format!("key: {} of {} is already booked under it", half.kind, half.amount);
                return Err(ErrorObject::new(ErrorCode::Conflict, message));
            }
            let what = Move::Pay(amount.unwrap_or_default());
            return self.book(actor, command, Movement { what, ..movement }).await;
        }
        self.book(actor, command, movement).await
    }

    async fn book(&self, actor: &Actor, command: &str, movement: Movement) -> Reply {
        let audit = Box::new(self.audit(actor, command, &movement.memo, Vec::new()));
        let booked = self.ask_rating(|done| RatingOrder::Move { movement, audit, done }).await?;
        match booked {
            Ok(row) => reply(&reply::AccountPaid {
                row: reply::LedgerRow {
                    key: row.key,
                    account: row.account,
                    kind: row.kind.as_str().to_owned(),
                    amount: self.shown(row.amount),
                    balance_after: self.shown(row.balance_after),
                    at_ms: row.at_ms,
                    call: row.flow_no.map(CallId),
                    user: row.user,
                    memo: row.memo,
                },
                booked: true,
            }),
            Err(error @ PayError::Duplicate(_)) => Err(ErrorObject::new(ErrorCode::Conflict, error.to_string())),
            Err(error @ (PayError::NoAgent(_) | PayError::NoMoney { .. } | PayError::Zero | PayError::Card { .. })) => {
                Err(ErrorObject::new(ErrorCode::Refused, error.to_string()))
            }
            Err(error) => Err(internal(error.to_string())),
        }
    }

    pub(super) async fn ledger_list(&self, q: LedgerList) -> Reply {
        let view = match &q.account {
            Some(account) => Some(self.account_named(account).await?),
            None => None,
        };
        let kinds = LedgerKind::ALL.map(LedgerKind::as_str);
        one_of("kind", &q.kind, &kinds)?;
        let zone = crate::site::zone();
        let beyond = |field: &str, when: &tandem_control::When| {
            ErrorObject::bad_value(field, when, "an instant that the calendar has")
        };
        let from_ms =
            q.from.as_ref().map(|when| when.start_ms(&zone).ok_or_else(|| beyond("from", when))).transpose()?;
        let to_ms = q.to.as_ref().map(|when| when.end_ms(&zone).ok_or_else(|| beyond("to", when))).transpose()?;
        let min = match &q.min_amount {
            Some(min) => {
                Some(Money::from_str(min.as_str()).map_err(|e| ErrorObject::bad_value("min_amount", min.as_str(), e))?)
            }
            None => None,
        };
        let filter = LedgerFilter {
            account: q.account,
            kind: q.kind,
            flow_no: q.call.map(|call| call.0),
            from_ms,
            to_ms,
            oldest_first: q.oldest_first,
            limit: Some(q.limit.rows() as usize),
            offset: q.offset,
        };
        let (rows, total) = self.query(move |queries| ledger_page(queries, filter, min)).await?;
        reply(&reply::LedgerList {
            total,
            rows: rows.iter().map(|row| self.ledger_row(row)).collect(),
            balance: view.map_or_else(String::new, |view| self.shown(view.balance)),
        })
    }

    pub(super) fn ledger_row(&self, row: &StoredLedgerRow) -> reply::LedgerRow {
        reply::LedgerRow {
            key: row.key.clone(),
            account: row.account.clone(),
            kind: row.kind.clone(),
            amount: self.shown(row.amount),
            balance_after: self.shown(row.balance_after),
            at_ms: row.at_ms,
            call: row.flow_no.map(CallId),
            user: row.user.clone(),
            memo: row.memo.clone(),
        }
    }

    /// With the digits of fees; an amount that has more keeps them.
    pub(super) fn shown(&self, amount: Money) -> String {
        with_digits(amount, self.fee_digits())
    }

    /// SERVER_BILLING_FEE_PRECISION.
    pub(super) fn fee_digits(&self) -> u8 {
        self.state.borrow().params.billing().map_or(2, |billing| billing.fp)
    }

    pub(super) async fn gateway_list(&self, kind: Option<GatewayKind>) -> Reply {
        let views = self.ask_rating(RatingOrder::Gateways).await?;
        let state = self.state.borrow();
        let mut rows = Vec::new();
        for view in views {
            let side = if view.routing { GatewayKind::Routing } else { GatewayKind::Mapping };
            if kind.is_some_and(|kind| kind != side) {
                continue;
            }
            let mut row = reply::GatewayRow {
                name: view.name.clone(),
                kind: side,
                calls: view.in_use,
                capacity: view.capacity,
                cps_max: view.cps,
                attempts: view.attempts,
                answered: view.answered,
                asr_pct: (view.attempts > 0).then(|| (view.answered * 100 / view.attempts) as u32),
                acd_s: view.answered_ms.checked_div(view.answered * 1_000).map(|s| s as u32),
                state: "up".to_owned(),
                ..Default::default()
            };
            let account =
                |index: usize| state.snapshot.accounts.get(index).map_or_else(String::new, |a| a.name.clone());
            let mut locked = false;
            if view.routing {
                if let Some(g) = state.snapshot.routing.iter().find(|g| g.id == view.id) {
                    row.account = account(g.account);
                    row.addresses = g.remotes.iter().map(ToString::to_string).collect();
                    row.prefixes.clone_from(&g.prefixes);
                    row.priority = g.priority;
                    row.weight = g.weight;
                    locked = g.locked;
                }
            } else if let Some(g) = state.snapshot.mapping.iter().find(|g| g.id == view.id) {
                row.account = account(g.account);
                row.addresses = g
                    .sources
                    .iter()
                    .map(|s| {
                        s.port.map_or_else(|| s.ip.to_string(), |p| std::net::SocketAddr::new(s.ip, p).to_string())
                    })
                    .collect();
                row.priority = g.priority;
                locked = g.locked;
            }
            if locked {
                row.state = "locked".to_owned();
            } else if view.retry_after_ms > 0 {
                row.state = "down".to_owned();
                row.state_reason = format!("Retry-After runs {} ms more", view.retry_after_ms);
            }
            rows.push(row);
        }
        reply(&reply::GatewayList { total: rows.len() as u64, rows })
    }
}

/// A page of the ledger and how many rows fit. The database does not compare amounts: with `min` rows are read until the end.
fn ledger_page(
    queries: &Queries,
    filter: LedgerFilter,
    min: Option<Money>,
) -> Result<(Vec<StoredLedgerRow>, u64), ErrorObject> {
    let failed = |error: tandem_store::StoreError| internal(error.to_string());
    let Some(min) = min else {
        return Ok((queries.ledger_list(&filter).map_err(failed)?, queries.ledger_count(&filter).map_err(failed)?));
    };
    let (most, skip) = (filter.limit.unwrap_or(0), filter.offset);
    let (mut rows, mut total, mut read) = (Vec::new(), 0, 0);
    loop {
        let page = LedgerFilter { limit: Some(LIMIT_MAX), offset: read, ..filter.clone() };
        let page = queries.ledger_list(&page).map_err(failed)?;
        read += page.len() as u64;
        if read > SCANNED_MAX {
            let allowed = format!("a time, kind or account with at most {SCANNED_MAX} rows");
            return Err(ErrorObject::bad_value("min_amount", min, allowed));
        }
        let end = page.len() < LIMIT_MAX;
        for row in page {
            if row.amount >= min || row.amount.checked_neg().is_ok_and(|amount| amount >= min) {
                if total >= skip && rows.len() < most {
                    rows.push(row);
                }
                total += 1;
            }
        }
        if end {
            return Ok((rows, total));
        }
    }
}

fn one_of(field: &str, word: &Option<String>, words: &[&str]) -> Result<(), ErrorObject> {
    match word {
        Some(word) if !words.contains(&word.as_str()) => Err(ErrorObject::unknown_word(field, word, words)),
        _ => Ok(()),
    }
}

fn names<T>(objects: &std::collections::BTreeMap<String, T>) -> Vec<&String> {
    objects.keys().collect()
}

/// At least so many decimals; an amount that has more keeps them.
pub(super) fn with_digits(amount: Money, digits: u8) -> String {
    let fixed = amount.to_fixed(digits);
    if Money::from_str(&fixed).ok() == Some(amount) { fixed } else { amount.to_string() }
}

/// A key by which an asker may ask again.
pub(super) fn checked_key(key: String) -> Result<String, ErrorObject> {
    if key.is_empty() || key.len() > 100 || key.chars().any(char::is_control) {
        return Err(ErrorObject::bad_value("key", key, "1 to 100 characters without control characters"));
    }
    Ok(key)
}

/// The key of a movement in the ledger; without one of the asker, one that nobody has.
pub(super) fn key_of(key: Option<String>) -> Result<String, ErrorObject> {
    match key {
        Some(key) => Ok(format!("pay:{}", checked_key(key)?)),
        None => {
            let random: [u8; 16] = crate::entropy::bytes().map_err(|e| internal(e.to_string()))?;
            Ok(format!("pay:{}", random.iter().map(|b| format!("{b:02x}")).collect::<String>()))
        }
    }
}
