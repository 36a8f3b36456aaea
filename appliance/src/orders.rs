//! What the control thread asks the owners of state, each with the place for the answer.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use tandem_call::calls::CallView;
use tandem_call::snapshot::Snapshot;
use tandem_ebpf_abi::{FlowKey, PuntReason};
use tandem_media::rules::IpNet;
use tandem_rater::{
    AccountConfig, AccountView, GatewayConfig, GatewayView, Movement, PackageAct, PackageConfig, PackageDone, PayError,
    Rules,
};
use tandem_rating::error::OutOfRange;
use tandem_rating::money::Money;
use tandem_rating::record::{Audit, Correction, LedgerRow, Record};
use tandem_rating::usage::Usage;
use tandem_sip::config::ResendSchedule;
use tandem_store::Encoded;
use tokio::sync::oneshot;

use crate::shard::{MediaCounts, ShardCounts};
use crate::trace::Log;

/// For one shard. A dropped reply sender means that the shard is going down.
#[derive(Debug)]
pub enum ShardOrder {
    /// New calls read this from now on.
    Publish {
        /// What calls read.
        snapshot: Arc<Snapshot>,
        /// Addresses whose OPTIONS are answered.
        known: Vec<IpAddr>,
        /// Networks media may not be sent to.
        prohibited: Vec<IpNet>,
        /// Waits before retransmissions.
        resend: ResendSchedule,
        /// Told when the shard has switched.
        done: oneshot::Sender<()>,
    },
    /// Some calls in progress, from a place on, and the place of the next page; see `CALLS_PAGE`.
    Calls(usize, oneshot::Sender<(Vec<CallView>, Option<usize>)>),
    /// One call in progress.
    Call(u64, oneshot::Sender<Option<CallView>>),
    /// End a call; whether it was there.
    Kill(u64, oneshot::Sender<Option<CallView>>),
    /// What happened on a call.
    Trace(u64, oneshot::Sender<Option<Log>>),
    /// Counters.
    Counts(oneshot::Sender<Box<ShardCounts>>),
    /// Media.
    Media(oneshot::Sender<Box<MediaCounts>>),
    /// Packets that the kernel forwarded and that calls look at.
    Copies(Vec<Copy>),
    /// Flows of the shard's ports: those that no call has are removed.
    Orphans(Vec<FlowKey>),
}

/// A packet that was forwarded already.
#[derive(Debug)]
pub struct Copy {
    /// Local port it came to.
    pub port: FlowKey,
    /// Why it is looked at.
    pub reason: PuntReason,
    /// As it was forwarded.
    pub payload: Box<[u8]>,
}

/// An order as only the rating thread knows it.
#[derive(Debug, Default)]
pub struct OrderNow {
    /// Gift seconds held by calls in progress.
    pub held_s: i64,
    /// Gift money held by them.
    pub held: Money,
    /// What stands in its way; empty for nothing.
    pub stuck: String,
}

/// Why an order was not made or changed.
#[derive(Debug)]
pub enum PackageRefused {
    /// A value is not allowed.
    Value(OutOfRange),
    /// The journal cannot be written.
    Disk(String),
}

/// For the rating thread.
#[derive(Debug)]
pub enum RatingOrder {
    /// Accounts, gateways and rules of a new configuration, with the record that makes it durable.
    Configure {
        /// Accounts.
        accounts: Vec<AccountConfig>,
        /// Gateways.
        gateways: Vec<GatewayConfig>,
        /// Rules.
        rules: Rules,
        /// Packages and phones.
        packages: Box<PackageConfig>,
        /// Written first, whole or never.
        record: Encoded,
        /// Its sequence once it is written, or why nothing was changed.
        done: oneshot::Sender<Result<u64, String>>,
    },
    /// A record about the configuration that changes nothing here, whole or never.
    Write {
        /// The record.
        record: Encoded,
        /// Its sequence once it is written, or why not.
        done: oneshot::Sender<Result<u64, String>>,
    },
    /// A record about something that was done or refused elsewhere; waits for the disk when it must.
    Note(Box<Record>, oneshot::Sender<()>),
    /// Balances.
    Accounts(oneshot::Sender<Vec<AccountView>>),
    /// Lines.
    Gateways(oneshot::Sender<Vec<GatewayView>>),
    /// What calls of an account hold: (flow number, amount, seconds).
    Reservations(String, oneshot::Sender<Vec<(u64, Money, i64)>>),
    /// Corrections of finished calls, each whole or never.
    Correct {
        /// Who.
        user: String,
        /// The corrections, without balances.
        corrections: Vec<Correction>,
        /// Told when they are on disk; else why those that are missing were not booked.
        done: oneshot::Sender<Result<(), String>>,
    },
    /// Money without a call.
    Move {
        /// What.
        movement: Movement,
        /// For the audit log, with the balances.
        audit: Box<Audit>,
        /// The row once it is on disk.
        done: oneshot::Sender<Result<LedgerRow, PayError>>,
    },
    /// An order of a package: made, changed, or only looked at.
    Package {
        /// What.
        act: PackageAct,
        /// For the audit log; `None` looks only.
        audit: Option<Box<Audit>>,
        /// What it does; it is on disk when it was not only looked at.
        done: oneshot::Sender<Result<PackageDone, PackageRefused>>,
    },
    /// Of these orders: seconds and money that calls in progress hold, and what stands in their way.
    Packages(Vec<String>, oneshot::Sender<Vec<OrderNow>>),
    /// Calls of other systems.
    External {
        /// Finished calls.
        usages: Vec<Usage>,
        /// Who.
        audit: Box<Audit>,
        /// Numbers of those that were stored, once they are written; the others were known.
        done: oneshot::Sender<Result<HashSet<u64>, String>>,
    },
}
