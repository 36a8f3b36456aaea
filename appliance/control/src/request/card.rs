//! Phone cards (accounts.md 1): accounts whose name is a PIN.

use serde::{Deserialize, Serialize};

use crate::value::{Amount, Limit};
use crate::when::When;

/// Most cards of one `card.create`: each is an account of the site.
pub const CARDS_MAX: u32 = 1_000;

/// `card.create`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardCreate {
    /// How many, 1 to [`CARDS_MAX`].
    pub count: u32,
    /// Money of each.
    pub value: Amount,
    /// Name of the batch.
    pub batch: String,
    /// Rate group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_group: Option<String>,
    /// The account above them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Digits that every PIN begins with.
    #[serde(default)]
    pub prefix: String,
    /// Digits drawn behind them, 8 to 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digits: Option<u32>,
    /// Days from the first call that costs something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_days: Option<u32>,
    /// No call from then on, used or not; a day counts whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<When>,
    /// They cannot be used before they are unlocked.
    #[serde(default)]
    pub locked: bool,
    /// Make them; a preview otherwise.
    #[serde(default)]
    pub commit: bool,
}

/// `card.list`: what is given must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CardList {
    /// Of this batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// PINs that begin with this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// `new`, `used`, `locked`, `expired`, `no_money` or `canceled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// `pin`, `balance`, `first_use` or `valid_to`; a `-` in front turns the order. By PIN when missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<String>,
    /// Most rows of the answer.
    pub limit: Limit,
    /// Rows left out before the first.
    pub offset: u64,
}

/// `card.lock`: every card of a batch, or one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CardLock {
    /// One card.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pin: Option<String>,
    /// Every card of the batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// Unlock instead.
    pub unlock: bool,
    /// Do it; a preview otherwise.
    pub commit: bool,
}

/// `card.recharge`: the whole money of a card goes to an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardRecharge {
    /// The card.
    pub pin: String,
    /// Who gets its money.
    pub account: String,
    /// Free text for the ledger.
    #[serde(default)]
    pub memo: String,
    /// A second recharge with the same key is the same one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}
