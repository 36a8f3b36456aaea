//! What can go wrong while rating: a value outside its range, or an amount that does not fit.

use crate::money::MoneyError;

/// A value that a person or a file gave and that is refused: names the field, what was given and
/// what would have been accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}; allowed is {allowed}")]
pub struct OutOfRange {
    /// Name of the field or system parameter.
    pub field: &'static str,
    /// The value as given.
    pub value: String,
    /// The allowed range, as words.
    pub allowed: String,
}

impl OutOfRange {
    pub(crate) fn new(field: &'static str, value: impl ToString, allowed: impl ToString) -> Self {
        OutOfRange { field, value: value.to_string(), allowed: allowed.to_string() }
    }
}

/// Why a leg could not be rated. No fee is charged when this comes back; the caller reports it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BillingError {
    /// An amount or a number of seconds is larger than the system can hold.
    #[error("a fee or a duration is too large to be calculated")]
    Overflow,
    /// A parameter or a field of the rate row is outside its range.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// An amount is outside what [`crate::Money`] holds.
    #[error(transparent)]
    Money(#[from] MoneyError),
}

impl BillingError {
    /// True when the reason is size alone: a fee that does not fit is dearer than any balance.
    pub fn is_overflow(&self) -> bool {
        matches!(self, BillingError::Overflow | BillingError::Money(MoneyError::Overflow))
    }
}

/// `ok_or(BillingError::Overflow)` without an error that is made and dropped each time nothing overflows.
pub(crate) trait OrOverflow<T> {
    /// The value, or [`BillingError::Overflow`].
    fn or_overflow(self) -> Result<T, BillingError>;
}

impl<T> OrOverflow<T> for Option<T> {
    #[inline]
    fn or_overflow(self) -> Result<T, BillingError> {
        match self {
            Some(value) => Ok(value),
            None => Err(BillingError::Overflow),
        }
    }
}
