//! Money that moves without a call (spec accounts.md 2).

use tandem_rating::money::Money;
use tandem_rating::record::{LedgerKind, LedgerRow};
use thiserror::Error;

use crate::Rater;

/// Why a payment is refused; nothing was booked.
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
}

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
        let id = self.account_names.get(account).copied().ok_or(PayError::NoAccount)?;
        if !self.keys.insert(key.clone()) {
            return Err(PayError::Duplicate(key));
        }
        self.book(at_ms, id, LedgerKind::Payment, amount, key, user, memo)
    }
}
