//! Every verb with its parameters.
//!
//! Parameters are objects; a name that a verb does not know is refused, so that a mistyped filter cannot show everything
//! and a mistyped option cannot change something else.

mod card;
mod cdr;
mod package;
mod proof;
mod rates;
mod reprice;
mod site;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use card::{CARDS_MAX, CardCreate, CardList, CardLock, CardRecharge};
pub use cdr::{CdrInsert, ExternalCdr, INSERT_MAX, ReportCheck, ReportDay};
pub use package::{PackageCancel, PackageCatchUp, PackageChange, PackageList, PackageOrder, PackageOrders};
pub use proof::{CdrExplain, CdrProve, SLICE_CALLS};
pub use rates::{
    DIFFERENCES_MAX, EXPORT_ROWS_MAX, ImportMode, RateSort, RatesCommit, RatesCompare, RatesDelete, RatesDifferences,
    RatesDrop, RatesExport, RatesHistory, RatesImport, RatesList, RatesProgress, RatesRollback, RatesSet, RatesShow,
    RatesUpload, SheetTerms, UPLOAD_MAX,
};
pub use reprice::Rerate;
pub use site::{
    AuditList, Edit, EditKind, FieldEdit, FieldOp, Side, SiteApply, SiteCommit, SiteCompare, SiteConfirm, SiteDiscard,
    SiteEdit, SiteExport, SiteHistory, SiteRollback, Terms,
};

use crate::error::{ErrorCode, ErrorData, ErrorObject};
use crate::reply;
use crate::value::{Amount, CallId, Limit};
use crate::when::When;

/// Parameters of one verb: tied to its name and to its reply.
pub trait Verb: Serialize + for<'de> Deserialize<'de> {
    /// The method on the wire.
    const METHOD: &'static str;
    /// What the switch answers.
    type Reply: Serialize + for<'de> Deserialize<'de>;
}

macro_rules! verbs {
    ($($(#[$doc:meta])* $name:ident = $method:literal -> $reply:ident;)*) => {
        /// One request to the switch. On the wire `"method"` and `"params"` of JSON-RPC.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "method", content = "params")]
        pub enum Call {
            $($(#[$doc])* #[serde(rename = $method)] $name($name),)*
        }

        /// Every verb, in the order of the manual.
        pub const METHODS: &[&str] = &[$($method,)*];

        impl Call {
            /// The method on the wire.
            pub fn method(&self) -> &'static str {
                match self { $(Call::$name(_) => $method,)* }
            }

            /// The verb `method` with `params`, which may be missing when nothing in them is required.
            ///
            /// # Errors
            /// [`ErrorCode::MethodNotFound`] with the nearest verb; [`ErrorCode::InvalidParams`] naming the field.
            pub fn from_parts(method: &str, params: Option<Value>) -> Result<Call, ErrorObject> {
                let params = params.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
                match method {
                    $($method => read(params).map(Call::$name),)*
                    _ => Err(unknown_method(method)),
                }
            }
        }

        $(
            impl Verb for $name {
                const METHOD: &'static str = $method;
                type Reply = reply::$reply;
            }

            impl From<$name> for Call {
                fn from(params: $name) -> Call {
                    Call::$name(params)
                }
            }
        )*
    };
}

verbs! {
    /// How the switch is.
    Status = "status" -> Status;
    /// Calls in progress.
    CallsList = "calls.list" -> CallsList;
    /// One call in progress, whole.
    CallsShow = "calls.show" -> CallShow;
    /// Ends one call (end side: server).
    CallsKill = "calls.kill" -> CallKilled;
    /// Finished calls.
    CdrList = "cdr.list" -> CdrList;
    /// One finished call, every field.
    CdrShow = "cdr.show" -> CdrShow;
    /// Sums over finished calls.
    CdrTotals = "cdr.totals" -> CdrTotals;
    /// One finished call: the steps of its fees, and whether record, proof and ledger agree.
    CdrExplain = "cdr.explain" -> CallExplained;
    /// The same for many, counted.
    CdrProve = "cdr.prove" -> CdrProved;
    /// Finished calls by other rates, and perhaps corrected.
    Rerate = "rerate" -> Rerated;
    /// Previews or books calls of other systems.
    CdrInsert = "cdr.insert" -> CdrInserted;
    /// Sums over the calls of a day.
    ReportDay = "report.day" -> ReportDay;
    /// Whether they are what CDRs and ledger come to.
    ReportCheck = "report.check" -> ReportChecked;
    /// Gateways of both kinds.
    GatewayList = "gateway.list" -> GatewayList;
    /// Accounts.
    AccountList = "account.list" -> AccountList;
    /// One account with its reservations.
    AccountShow = "account.show" -> AccountShow;
    /// Books a payment.
    AccountPay = "account.pay" -> AccountPaid;
    /// Sets a balance to zero.
    AccountZero = "account.zero" -> AccountPaid;
    /// Takes back a payment by a row of its own.
    AccountReverse = "account.reverse" -> AccountPaid;
    /// Movements of money of one account.
    LedgerList = "ledger.list" -> LedgerList;
    /// Packages.
    PackageList = "package.list" -> PackageList;
    /// Orders of packages, and monthly fees of phones.
    PackageOrders = "package.orders" -> PackageOrders;
    /// Previews or makes an order.
    PackageOrder = "package.order" -> PackageDone;
    /// Previews or makes a change of an order.
    PackageChange = "package.change" -> PackageDone;
    /// Previews or makes the end of an order.
    PackageCancel = "package.cancel" -> PackageDone;
    /// Periods that are due since long are taken.
    PackageCatchUp = "package.catch_up" -> PackageDone;
    /// Previews or makes phone cards.
    CardCreate = "card.create" -> CardsCreated;
    /// Phone cards.
    CardList = "card.list" -> CardList;
    /// Previews or makes the lock of a card or a batch.
    CardLock = "card.lock" -> CardsLocked;
    /// The money of a card goes to an account.
    CardRecharge = "card.recharge" -> AccountPaid;
    /// Previews and perhaps commits a rate file.
    RatesImport = "rates.import" -> RatesImported;
    /// Takes a piece of a large rate file.
    RatesUpload = "rates.upload" -> RatesUploaded;
    /// Commits what was previewed.
    RatesCommit = "rates.commit" -> RatesImported;
    /// How far the reading of a rate file is.
    RatesProgress = "rates.progress" -> RatesProgress;
    /// Every change of a preview, page by page.
    RatesDifferences = "rates.differences" -> RatesDifferences;
    /// Rows of a rate group as CSV, page by page.
    RatesExport = "rates.export" -> RatesExported;
    /// Rate groups.
    RatesList = "rates.list" -> RatesList;
    /// Rows of a rate group.
    RatesShow = "rates.show" -> RatesShow;
    /// Previews a row with some fields changed, or a new one.
    RatesSet = "rates.set" -> RatesImported;
    /// Previews the end of a prefix.
    RatesDelete = "rates.delete" -> RatesImported;
    /// Versions of a rate group.
    RatesHistory = "rates.history" -> RatesHistory;
    /// What differs between two versions of a rate group.
    RatesCompare = "rates.compare" -> RatesImported;
    /// Previews what brings back an earlier version of a rate group.
    RatesRollback = "rates.rollback" -> RatesImported;
    /// Deletes a rate group that nothing uses.
    RatesDrop = "rates.drop" -> RatesDropped;
    /// Previews and perhaps commits or stages a site file.
    SiteApply = "site.apply" -> SiteApplied;
    /// Previews and perhaps commits or stages small edits of the site.
    SiteEdit = "site.edit" -> SiteApplied;
    /// Previews and perhaps commits what is staged; without anything staged it confirms.
    SiteCommit = "site.commit" -> SiteApplied;
    /// A change that would roll itself back stays.
    SiteConfirm = "site.confirm" -> SiteConfirmed;
    /// Forgets what is staged.
    SiteDiscard = "site.discard" -> SiteDiscarded;
    /// Previews and perhaps puts an earlier version in force again.
    SiteRollback = "site.rollback" -> SiteApplied;
    /// What differs between two sites.
    SiteCompare = "site.compare" -> SiteCompared;
    /// Versions of the configuration.
    SiteHistory = "site.history" -> SiteHistory;
    /// The site file as it is now, as it was, or as it is staged.
    SiteExport = "site.export" -> SiteExported;
    /// Who changed what, or tried to.
    AuditList = "audit.list" -> AuditList;
    /// System parameters.
    ParamList = "param.list" -> ParamList;
    /// One system parameter.
    ParamGet = "param.get" -> ParamRow;
    /// Sets a system parameter.
    ParamSet = "param.set" -> ParamSet;
    /// What the switch would do with a call, and why.
    Explain = "explain" -> Explained;
    /// What it did with a call, as a ladder.
    Trace = "trace" -> Traced;
    /// Media by path: ports, flows, packets, reasons.
    MediaShow = "media.show" -> MediaShow;
    /// Whether the records account for every packet.
    MediaAudit = "media.audit" -> MediaAudit;
    /// Another program for the kernel's relay, without losing a packet.
    DatapathUpgrade = "datapath.upgrade" -> DatapathUpgraded;
}

fn read<T: for<'de> Deserialize<'de>>(params: Value) -> Result<T, ErrorObject> {
    // The original stays at hand: the sentence shows the value that was wrong.
    serde_path_to_error::deserialize(&params).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { "params".to_owned() } else { path };
        let reason = error.into_inner().to_string();
        let value = field.split('.').try_fold(&params, |at, key| at.get(key)).map(Value::to_string);
        ErrorObject {
            code: ErrorCode::InvalidParams.number(),
            message: format!("{field}: {reason}"),
            data: Some(Box::new(ErrorData { field: Some(field), value, ..ErrorData::default() })),
        }
    })
}

fn unknown_method(method: &str) -> ErrorObject {
    let mut error = ErrorObject::unknown_word("method", method, METHODS);
    error.code = ErrorCode::MethodNotFound.number();
    error
}

/// `status`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {}

/// Where a call in progress is (operations.md 2, the three groups of the dashboard).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// Accepted, nothing heard from a vendor.
    #[default]
    Setup,
    /// A vendor rings or plays early media.
    Ringing,
    /// Answered.
    Talking,
    /// Over, last messages on their way.
    Ending,
}

impl CallState {
    /// Every state with its word.
    pub const WORDS: &[&str] = &["setup", "ringing", "talking", "ending"];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            CallState::Setup => "setup",
            CallState::Ringing => "ringing",
            CallState::Talking => "talking",
            CallState::Ending => "ending",
        }
    }
}

/// `calls.list`: what is given must all hold. Number filters are exact, or a prefix when they end in `*`; they match the
/// number as received or after the rules of the mapping gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallsList {
    /// Mapping or routing gateway by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Account that pays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Callee.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callee: Option<String>,
    /// State.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<CallState>,
    /// Most rows of the answer.
    pub limit: Limit,
    /// Rows left out before the first.
    pub offset: u64,
}

/// `calls.show`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallsShow {
    /// The call.
    pub call: CallId,
}

/// `calls.kill`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallsKill {
    /// The call.
    pub call: CallId,
}

/// Which finished calls (cdr.md 6). What is given must all hold; numbers as in [`CallsList`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CdrFilter {
    /// Paying or clearing account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Callee.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callee: Option<String>,
    /// Mapping gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller_gateway: Option<String>,
    /// Routing gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub callee_gateway: Option<String>,
    /// Ended at or after this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<When>,
    /// Ended before this; a day counts whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<When>,
    /// Mapping or routing gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Direct agent of the payer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Number of the end reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<i32>,
    /// Held so many seconds or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_min_s: Option<u32>,
    /// Held so many seconds or less.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_max_s: Option<u32>,
    /// The customer's fee is so much or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fee_min: Option<Amount>,
    /// Only answered, or only unanswered calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<bool>,
}

/// How finished calls are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CdrSort {
    /// In the order of booking, which is that of the end but for calls settled after a crash.
    #[default]
    End,
    /// By the customer's fee, largest first; every call that fits is read.
    Fee,
    /// By held time, longest first; every call that fits is read.
    Duration,
}

impl CdrSort {
    /// Every one with its word.
    pub const WORDS: &[&str] = &["end", "fee", "duration"];
}

impl std::str::FromStr for CdrSort {
    type Err = crate::value::BadValue;

    fn from_str(text: &str) -> Result<CdrSort, crate::value::BadValue> {
        match text {
            "end" => Ok(CdrSort::End),
            "fee" => Ok(CdrSort::Fee),
            "duration" => Ok(CdrSort::Duration),
            _ => Err(crate::value::BadValue { value: text.to_owned(), allowed: "end, fee or duration" }),
        }
    }
}

/// `cdr.list`: ordered by booking, or as `sort` says. Pages by `offset`, or by `after`, which neither skips nor repeats a row while new
/// calls end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CdrList {
    /// Which.
    pub filter: CdrFilter,
    /// The order.
    pub sort: CdrSort,
    /// Oldest or smallest first; newest or largest first when false.
    pub oldest_first: bool,
    /// Only rows behind this flow number in the chosen order: the `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<CallId>,
    /// Most rows of the answer.
    pub limit: Limit,
    /// Rows left out before the first.
    pub offset: u64,
}

/// `cdr.show`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CdrShow {
    /// The call.
    pub call: CallId,
}

/// `cdr.totals`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CdrTotals {
    /// Which.
    pub filter: CdrFilter,
}

/// The side a gateway is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayKind {
    /// Customer side.
    #[default]
    Mapping,
    /// Vendor side.
    Routing,
}

impl GatewayKind {
    /// Every kind with its word.
    pub const WORDS: &[&str] = &["mapping", "routing"];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            GatewayKind::Mapping => "mapping",
            GatewayKind::Routing => "routing",
        }
    }
}

/// `gateway.list`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayList {
    /// Only this kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<GatewayKind>,
}

/// `account.list`: what is given must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountList {
    /// `customer`, `vendor` or `card`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// `normal`, `locked`, `expired`, `no_money` or `canceled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Accounts directly below this agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// `name`, `balance`, `available`, `spent_today` or `spent_month`; a `-` in front turns the order. By name when missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<String>,
    /// Most rows of the answer; all when missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// Rows left out before the first.
    pub offset: u64,
}

/// `account.show`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountShow {
    /// Account.
    pub name: String,
}

/// `account.pay`: a positive amount is a payment, a negative one a deduction (accounts.md 2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountPay {
    /// Account, or what `of` says.
    pub name: String,
    /// Amount; not zero.
    pub amount: Amount,
    /// Free text for the ledger.
    #[serde(default)]
    pub memo: String,
    /// A second payment with the same key is the same payment and is not booked again. Missing: the switch makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// An agent above the account, out of whose money it is paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// `cash`, `card` or `other`; stands in front of the memo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// `name` is a `phone`, a `bound_number` or a `mapping` gateway: the account that pays for it is meant (accounts.md 2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

/// `account.zero`: the balance becomes 0 by a row of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountZero {
    /// Account.
    pub name: String,
    /// Free text for the ledger.
    #[serde(default)]
    pub memo: String,
    /// As of [`AccountPay`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// `account.reverse`: a payment, deduction or zeroing is taken back, once; its row stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountReverse {
    /// Key of the row, as `ledger.list` shows it.
    pub key: String,
    /// Free text for the ledger.
    #[serde(default)]
    pub memo: String,
}

/// `ledger.list`: what is given must all hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LedgerList {
    /// Account; all when missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Kind of row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Booked at or after this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<When>,
    /// Booked before this; a day counts whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<When>,
    /// The call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<CallId>,
    /// Amounts of at least this, whatever their sign.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_amount: Option<Amount>,
    /// In the order of booking; newest first when false.
    pub oldest_first: bool,
    /// Most rows of the answer.
    pub limit: Limit,
    /// Rows left out before the first.
    pub offset: u64,
}

/// `param.list`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParamList {
    /// Only names that begin with this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
}

/// `param.get`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParamGet {
    /// Name, exactly as in the parameter tables.
    pub name: String,
}

/// `param.set`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParamSet {
    /// Name.
    pub name: String,
    /// New value as text.
    pub value: String,
    /// Words for the history.
    #[serde(default)]
    pub comment: String,
}

/// `explain`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explain {
    /// Mapping gateway by name, or the source address of the caller.
    pub from: String,
    /// Caller as the gateway would send it.
    pub caller: String,
    /// Callee as the gateway would send it.
    pub callee: String,
    /// When; now if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<When>,
}

/// `media.show`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MediaShow {}

/// `media.audit`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MediaAudit {}

/// `datapath.upgrade`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DatapathUpgrade {
    /// File of the program, absolute; missing: that of the start, read anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
}

/// `trace`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trace {
    /// The call, in progress or finished.
    pub call: CallId,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_are_what_the_wire_has() {
        let states = [CallState::Setup, CallState::Ringing, CallState::Talking, CallState::Ending];
        for (state, word) in states.iter().zip(CallState::WORDS) {
            assert_eq!(json!(state), json!(word));
            assert_eq!(state.as_str(), *word);
        }
        for (mode, word) in [ImportMode::Add, ImportMode::Merge, ImportMode::Replace].iter().zip(ImportMode::WORDS) {
            assert_eq!(json!(mode), json!(word));
            assert_eq!(mode.as_str(), *word);
        }
        for (kind, word) in [GatewayKind::Mapping, GatewayKind::Routing].iter().zip(GatewayKind::WORDS) {
            assert_eq!(json!(kind), json!(word));
            assert_eq!(kind.as_str(), *word);
        }
    }

    #[test]
    fn missing_params_are_empty_params() {
        assert_eq!(Call::from_parts("status", None).unwrap(), Call::Status(Status {}));
        let Call::CallsList(list) = Call::from_parts("calls.list", None).unwrap() else { panic!("another verb") };
        assert_eq!(list.limit.rows(), 100);
    }

    #[test]
    fn an_error_names_the_field() {
        let message = |method: &str, params: Value| Call::from_parts(method, Some(params)).unwrap_err().message;
        assert_eq!(message("calls.show", json!({})), "params: missing field `call`");
        let unknown = message("cdr.list", json!({"filter": {"acount": "a"}}));
        assert!(unknown.contains("acount") && unknown.contains("account"), "{unknown}");
        let limit = message("calls.list", json!({"limit": 0}));
        assert!(limit.starts_with("limit: ") && limit.contains("1 to 5000"), "{limit}");
        let state = message("calls.list", json!({"state": "talkin"}));
        assert!(state.starts_with("state: ") && state.contains("talkin") && state.contains("talking"), "{state}");
    }

    #[test]
    fn an_unknown_verb_is_told_with_the_nearest() {
        let error = Call::from_parts("call.list", None).unwrap_err();
        assert_eq!(error.kind(), ErrorCode::MethodNotFound);
        assert!(error.message.ends_with("did you mean calls.list?"), "{}", error.message);
    }
}
