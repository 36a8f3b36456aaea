//! What the control thread asks the owners of state, each with the place for the answer.

use std::sync::Arc;

use tandem_call::calls::CallView;
use tandem_call::snapshot::Snapshot;
use tandem_media::rules::IpNet;
use tandem_rater::{AccountConfig, AccountView, GatewayConfig, GatewayView, PayError, Rules};
use tandem_rating::money::Money;
use tandem_rating::record::{LedgerRow, Record};
use tandem_sip::config::ResendSchedule;
use tokio::sync::oneshot;

use crate::shard::ShardCounts;
use crate::trace::Log;

/// For one shard. A dropped reply sender means that the shard is going down.
#[derive(Debug)]
pub enum ShardOrder {
    /// New calls read this from now on.
    Publish {
        /// What calls read.
        snapshot: Arc<Snapshot>,
        /// Networks media may not be sent to.
        prohibited: Vec<IpNet>,
        /// Waits before retransmissions.
        resend: ResendSchedule,
        /// Told when the shard has switched.
        done: oneshot::Sender<()>,
    },
    /// Every call in progress, bounded by the caller's filter afterwards.
    Calls(oneshot::Sender<Vec<CallView>>),
    /// One call in progress.
    Call(u64, oneshot::Sender<Option<CallView>>),
    /// End a call; whether it was there.
    Kill(u64, oneshot::Sender<Option<CallView>>),
    /// What happened on a call.
    Trace(u64, oneshot::Sender<Option<Log>>),
    /// Counters.
    Counts(oneshot::Sender<Box<ShardCounts>>),
}

/// For the rating thread.
#[derive(Debug)]
pub enum RatingOrder {
    /// Accounts, gateways and rules of a new configuration, with the records that make it durable.
    Configure {
        /// Accounts.
        accounts: Vec<AccountConfig>,
        /// Gateways.
        gateways: Vec<GatewayConfig>,
        /// Rules.
        rules: Rules,
        /// Written first.
        records: Vec<Record>,
        /// Told when the records are on disk, or why not.
        done: oneshot::Sender<Result<(), String>>,
    },
    /// Balances.
    Accounts(oneshot::Sender<Vec<AccountView>>),
    /// Lines.
    Gateways(oneshot::Sender<Vec<GatewayView>>),
    /// What calls of an account hold: (flow number, amount, seconds).
    Reservations(String, oneshot::Sender<Vec<(u64, Money, i64)>>),
    /// A payment.
    Pay {
        /// Account.
        account: String,
        /// Amount.
        amount: Money,
        /// Idempotency key.
        key: String,
        /// Who.
        user: String,
        /// Text.
        memo: String,
        /// The row once it is on disk.
        done: oneshot::Sender<Result<LedgerRow, PayError>>,
    },
}
