//! Money that moves without a call (spec accounts.md 2).

use tandem_call::snapshot::AccountId;
use tandem_rating::money::Money;
use tandem_rating::record::{LedgerKind, LedgerRow};
use thiserror::Error;

use crate::Rater;

/// Why a movement is refused; nothing was booked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PayError {
    /// Unknown account.
    #[error("there is no such account")]
    NoAccount,
    /// The key was booked before.
    #[error("a payment with key {0:?} is already booked")]
    Duplicate(String),
    /// The journal cannot be written, so it was not begun.
    #[error("the journal cannot be written, nothing was booked: {0}")]
    NotBegun(String),
    /// The record is not on disk yet; it is written as soon as the disk lets us.
    #[error("the payment is not written yet: {0}")]
    NotWritten(String),
    /// The balance would leave the range of money.
    #[error("the balance would leave the range of amounts")]
    Overflow,
    /// Who pays is not above who is paid.
    #[error("account {0} is no agent above the account")]
    NoAgent(String),
    /// Who pays has not got it.
    #[error("account {account} has {available} available, not {amount}")]
    NoMoney {
        /// Who pays.
        account: String,
        /// What there is.
        available: Money,
        /// What is to be paid.
        amount: Money,
    },
    /// A card cannot be paid out.
    #[error("card {card} {why}")]
    Card {
        /// Its PIN.
        card: String,
        /// What stands in the way.
        why: &'static str,
    },
    /// There is nothing to set to zero.
    #[error("the balance is 0 already")]
    Zero,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// A payment; negative is a deduction.
    Pay(Money),
    /// A payment out of the money of an agent above.
    PayFrom(String, Money),
    /// A payment of all the money of a phone card.
    ByCard(String),
    /// The balance becomes 0.
    MakeZero,
    /// An earlier row is taken back: its amount with the other sign.
    Reverse(Money),
}

/// A movement of money without a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Movement {
    /// Account.
    pub account: String,
    /// What.
    pub what: Move,
    /// A second movement with the same key is the same movement.
    pub key: String,
    /// Who.
    pub user: String,
    /// Text.
    pub memo: String,
}

/// Added to the key of a payment for the half that the agent pays.
pub const FROM: &str = ":from";

impl Rater {
    /// Books a payment (negative: a deduction) under an idempotency key.
    ///
    /// # Errors
    /// See [`PayError`].
    pub fn pay(
        &mut self,
        at_ms: i64,
        account: &str,
        amount: Money,
        key: String,
        user: &str,
        memo: &str,
    ) -> Result<LedgerRow, PayError> {
        let (account, what) = (account.to_owned(), Move::Pay(amount));
        self.move_money(at_ms, Movement { account, what, key, user: user.to_owned(), memo: memo.to_owned() })
    }

    /// Books a movement under its key; returns the row of the account itself. What an agent pays out of its own money is two
    /// rows, his first: should the machine lose power between them, no money was made, and the same key books the rest.
    ///
    /// # Errors
    /// See [`PayError`].
    pub fn move_money(&mut self, at_ms: i64, movement: Movement) -> Result<LedgerRow, PayError> {
        let Movement { account, what, key, user, memo } = movement;
        let id = self.account_names.get(&account).copied().ok_or(PayError::NoAccount)?;
        let balance = self.accounts.get(&id).ok_or(PayError::NoAccount)?.money.balance;
        let (kind, amount, from) = match what {
            Move::Pay(amount) if amount < Money::ZERO => (LedgerKind::Deduction, amount, None),
            Move::Pay(amount) => (LedgerKind::Payment, amount, None),
            Move::PayFrom(agent, amount) => (LedgerKind::Payment, amount, Some(self.agent_above(id, &agent, amount)?)),
            Move::ByCard(card) => {
                let (from, amount) = self.card_to_pay_out(at_ms, id, card)?;
                (LedgerKind::Payment, amount, Some(from))
            }
            Move::MakeZero if balance == Money::ZERO => return Err(PayError::Zero),
            Move::MakeZero => (LedgerKind::MakeZero, balance.checked_neg().map_err(|_| PayError::Overflow)?, None),
            Move::Reverse(amount) => {
                (LedgerKind::Reversal, amount.checked_neg().map_err(|_| PayError::Overflow)?, None)
            }
        };
        balance.checked_add(amount).map_err(|_| PayError::Overflow)?;
        if !self.keys.insert(key.clone()) {
            return Err(PayError::Duplicate(key));
        }
        if let Some(agent) = from {
            let paid = amount.checked_neg().map_err(|_| PayError::Overflow)?;
            self.book(at_ms, agent, LedgerKind::Transfer, paid, format!("{key}{FROM}"), &user, &memo)?;
        }
        self.book(at_ms, id, kind, amount, key, &user, &memo)
    }

    /// A card and what it has: not one that is in use, and not into itself.
    fn card_to_pay_out(&self, at_ms: i64, account: AccountId, card: String) -> Result<(AccountId, Money), PayError> {
        let refused = |card: &str, why| Err(PayError::Card { card: card.to_owned(), why });
        let Some((id, owned)) = self.account_names.get(&card).and_then(|id| Some((*id, self.accounts.get(id)?))) else {
            return refused(&card, "is not known");
        };
        let why = match () {
            () if !owned.bounds.is_card => "is no card",
            () if id == account => "cannot be paid into itself",
            () if owned.calls > 0 => "has a call in progress",
            () if owned.valid_to_ms().is_some_and(|to_ms| at_ms >= to_ms) => "is expired",
            () if owned.money.balance <= Money::ZERO => "has no money",
            () => return Ok((id, owned.money.balance)),
        };
        refused(&card, why)
    }

    /// The agent of that name above the account, when it has the amount.
    fn agent_above(&self, account: AccountId, name: &str, amount: Money) -> Result<AccountId, PayError> {
        let above = |id: &AccountId| self.accounts.get(id).and_then(|owned| owned.bounds.agent);
        let mut chain = std::iter::successors(above(&account), |id| above(id)).take(tandem_call::snapshot::AGENTS_MAX);
        let agent = chain.find(|id| self.accounts.get(id).is_some_and(|owned| owned.name == name));
        let agent = agent.ok_or_else(|| PayError::NoAgent(name.to_owned()))?;
        let available = self.accounts.get(&agent).map_or(Money::ZERO, |owned| owned.money.available());
        if amount <= Money::ZERO || available < amount {
            return Err(PayError::NoMoney { account: name.to_owned(), available, amount });
        }
        Ok(agent)
    }
}
