//! Accounts, payments, ledger, gateways.

use std::str::FromStr;

use tandem_call::snapshot::AccountKind;
use tandem_control::error::{ErrorCode, ErrorObject};
use tandem_control::reply;
use tandem_control::request::{AccountPay, GatewayKind, LedgerList};
use tandem_control::value::CallId;
use tandem_rater::{AccountView, PayError};
use tandem_rating::money::Money;
use tandem_rating::record::Actor;
use tandem_store::{LedgerFilter, StoredLedgerRow};

use super::{Control, Reply, internal, reply};
use crate::orders::RatingOrder;

/// Rows of the ledger shown with an account.
const LEDGER_SHOWN: usize = 20;

impl Control {
    async fn account_views(&self) -> Result<Vec<AccountView>, ErrorObject> {
        self.ask_rating(RatingOrder::Accounts).await
    }

    fn account_row(&self, view: &AccountView) -> reply::AccountRow {
        let state = self.state.borrow();
        let now_ms = state.clock.now().wall_ms;
        let fp = state.params.billing().map(|b| b.fp).unwrap_or(2);
        let configured = state.snapshot.accounts.iter().find(|a| a.id == view.id);
        let site = state.site.account.get(&view.name);
        let money = |amount: Money| {
            // Shown with the precision of fees; an amount that has more digits keeps them.
            let fixed = amount.to_fixed(fp);
            if Money::from_str(&fixed).ok() == Some(amount) { fixed } else { amount.to_string() }
        };
        let valid_to_ms = configured.and_then(|a| a.valid_until_ms);
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
            kind: if view.kind == AccountKind::General { "customer" } else { "vendor" }.to_owned(),
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
        }
    }

    async fn account_named(&self, name: &str) -> Result<AccountView, ErrorObject> {
        let views = self.account_views().await?;
        let found = views.iter().find(|v| v.name == name).cloned();
        found.ok_or_else(|| {
            let names: Vec<&String> = views.iter().map(|v| &v.name).collect();
            ErrorObject::not_found("account", name, &names)
        })
    }

    pub(super) async fn account_list(&self) -> Reply {
        let rows: Vec<_> = self.account_views().await?.iter().map(|v| self.account_row(v)).collect();
        reply(&reply::AccountList { total: rows.len() as u64, rows })
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
                    amount: amount.to_string(),
                    seconds,
                })
                .collect(),
            ledger: ledger.iter().map(ledger_row).collect(),
        })
    }

    pub(super) async fn account_pay(&self, actor: &Actor, command: &str, q: AccountPay) -> Reply {
        let _one = self.changing.lock().await;
        let amount =
            Money::from_str(q.amount.as_str()).map_err(|e| ErrorObject::bad_value("amount", q.amount.as_str(), e))?;
        if amount == Money::ZERO {
            return Err(ErrorObject::bad_value("amount", q.amount.as_str(), "an amount that is not 0"));
        }
        self.account_named(&q.name).await?;
        let key = match q.key {
            Some(key) if key.is_empty() || key.len() > 100 || key.chars().any(char::is_control) => {
                return Err(ErrorObject::bad_value("key", key, "1 to 100 characters without control characters"));
            }
            Some(key) => format!("pay:{key}"),
            None => {
                let random: [u8; 16] = crate::entropy::bytes().map_err(|e| internal(e.to_string()))?;
                format!("pay:{}", random.iter().map(|b| format!("{b:02x}")).collect::<String>())
            }
        };
        // The rating thread knows the keys of its own life; the database knows all.
        let wanted = key.clone();
        let known =
            self.query(move |queries| queries.ledger_by_key(&wanted).map_err(|e| internal(e.to_string()))).await?;
        if let Some(row) = known {
            if row.account != q.name || row.amount != amount {
                return Err(ErrorObject::new(
                    ErrorCode::Conflict,
                    format!(
                        "key: a payment of {} to {} is already booked under it; nothing was booked",
                        row.amount, row.account
                    ),
                ));
            }
            return reply(&reply::AccountPaid { row: ledger_row(&row), booked: false });
        }
        let paid = self
            .ask_rating(|done| RatingOrder::Pay {
                account: q.name,
                amount,
                key,
                audit: Box::new(self.audit(actor, command, &q.memo, Vec::new())),
                memo: q.memo,
                done,
            })
            .await?;
        match paid {
            Ok(row) => reply(&reply::AccountPaid {
                row: reply::LedgerRow {
                    key: row.key,
                    account: row.account,
                    kind: row.kind.as_str().to_owned(),
                    amount: row.amount.to_string(),
                    balance_after: row.balance_after.to_string(),
                    at_ms: row.at_ms,
                    call: row.flow_no.map(CallId),
                    user: row.user,
                    memo: row.memo,
                },
                booked: true,
            }),
            Err(error @ PayError::Duplicate(_)) => Err(ErrorObject::new(ErrorCode::Conflict, error.to_string())),
            Err(error) => Err(internal(error.to_string())),
        }
    }

    pub(super) async fn ledger_list(&self, q: LedgerList) -> Reply {
        let view = self.account_named(&q.account).await?;
        let filter = LedgerFilter {
            account: Some(q.account),
            limit: Some(q.limit.rows() as usize),
            offset: q.offset,
            ..Default::default()
        };
        let (rows, total) = self
            .query(move |queries| {
                let rows = queries.ledger_list(&filter).map_err(|e| internal(e.to_string()))?;
                let total = queries.ledger_count(&filter).map_err(|e| internal(e.to_string()))?;
                Ok((rows, total))
            })
            .await?;
        reply(&reply::LedgerList {
            total,
            rows: rows.iter().map(ledger_row).collect(),
            balance: view.balance.to_string(),
        })
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

fn ledger_row(row: &StoredLedgerRow) -> reply::LedgerRow {
    reply::LedgerRow {
        key: row.key.clone(),
        account: row.account.clone(),
        kind: row.kind.clone(),
        amount: row.amount.to_string(),
        balance_after: row.balance_after.to_string(),
        at_ms: row.at_ms,
        call: row.flow_no.map(CallId),
        user: row.user.clone(),
        memo: row.memo.clone(),
    }
}
