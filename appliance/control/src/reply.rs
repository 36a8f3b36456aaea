//! What each verb answers.
//!
//! Money and prices are plain decimal strings. Times end in `_ms` and are UTC milliseconds. A list has `total`, the rows
//! that match, beside `rows`, the page of them. Fields may be added: a reader takes a missing field as its default and
//! leaves unknown ones alone, so that `tandem` and `tandemd` of neighbouring versions understand each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::request::{CallState, GatewayKind};
use crate::value::CallId;

macro_rules! reply {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }
    };
}

mod card;
mod package;
mod proof;
mod rates;
mod reprice;
mod site;

pub use card::{CardList, CardRow, CardsCreated, CardsLocked};
pub use package::{OrderRow, PackageDone, PackageList, PackageOrders, PackageRow};
pub use proof::{CallExplained, CdrProved, CheckRow, DifferRow, ExplainedLeg};
pub use rates::{
    RateArea, RateChange, RateGroupRow, RateRow, RateVersionRow, RatesDifferences, RatesDropped, RatesExported,
    RatesHistory, RatesImported, RatesList, RatesProgress, RatesShow, RatesUploaded, RowError,
};
pub use reprice::{CorrectionRow, RepricedRow, Rerated};
mod cdr;

pub use cdr::{CdrInserted, InsertedCdr, ReportChecked, ReportDay, ReportRow};
pub use site::{
    AuditList, AuditRow, ChangeRow, PendingConfirm, SiteApplied, SiteChange, SiteCompared, SiteConfirmed,
    SiteDiscarded, SiteExported, SiteHistory,
};

reply! {
    /// An interface of media.
    MediaInterface {
        /// Its name.
        interface: String,
        /// `native`, `generic` or `none`: how the kernel relays there.
        path: String,
        /// Why not better, and what to do about it; empty for the best.
        reason: String,
    }
}

reply! {
    /// `status`
    Status {
        /// Version of the switch.
        version: String,
        /// Node name.
        node: String,
        /// `running` or `draining`.
        state: String,
        /// When it was started.
        started_ms: i64,
        /// When it answered.
        now_ms: i64,
        /// Shards that answered.
        shards: u32,
        /// Whether the kernel gives SIP datagrams to the shard of their call: `on`, or `off: ` and why.
        steering: String,
        /// Calls accepted and not yet ringing.
        calls_setup: u64,
        /// Calls ringing.
        calls_ringing: u64,
        /// Calls answered and not yet over.
        calls_talking: u64,
        /// Initial INVITEs accepted in the last full second.
        cps: u32,
        /// Mean of the last 10 s, in hundredths.
        cps_10s_x100: u32,
        /// Highest since the start, at most 24 h back.
        cps_max: u32,
        /// Calls since the start.
        attempts: u64,
        /// Of those, answered.
        answered: u64,
        /// Of those, ended without an answer.
        failed: u64,
        /// Answered / ended attempts in percent; none before the first end.
        asr_pct: Option<u32>,
        /// Mean answered seconds.
        acd_s: Option<u32>,
        /// Mean INVITE to first 18x or 200.
        pdd_ms: Option<u32>,
        /// `xdp` or `user space`.
        media: String,
        /// How the interfaces of media are served; empty when user space relays everything.
        media_interfaces: Vec<MediaInterface>,
        /// What user space gets media by: `one socket a shard`, or `a socket a port: ` and why.
        media_sockets: String,
        /// Calls whose media is relayed.
        media_calls: u64,
        /// RTP packets relayed per second, both directions.
        media_packets_per_s: u64,
        /// Media ports free.
        media_ports_free: u32,
        /// Media ports in all.
        media_ports: u32,
        /// CDRs not yet in the database.
        cdr_queue: u64,
        /// Version of the site configuration.
        site_version: u64,
        /// A change that is rolled back unless it is confirmed.
        unconfirmed: Option<PendingConfirm>,
        /// Addresses SIP listens on.
        listen: Vec<String>,
        /// What needs attention, one sentence each.
        warnings: Vec<String>,
        /// Every other counter by its metric name.
        counters: BTreeMap<String, u64>,
    }
}

reply! {
    /// One call in progress (operations.md 2).
    CallRow {
        /// Flow number.
        call: CallId,
        /// Where it is.
        state: CallState,
        /// State code of operations.md 2: 0 or more are milliseconds talked, below 0 the states before.
        state_code: i64,
        /// INVITE in.
        setup_ms: i64,
        /// Answer.
        connect_ms: Option<i64>,
        /// Since the answer, else since the INVITE.
        duration_ms: i64,
        /// Caller after the rules of the mapping gateway.
        caller: String,
        /// Callee after the rules of the mapping gateway.
        callee: String,
        /// Mapping gateway.
        caller_gateway: String,
        /// Routing gateway that is tried or was reached; empty before.
        callee_gateway: String,
        /// Account that pays.
        account: String,
        /// Signalling address of the caller.
        caller_ip: String,
        /// Signalling address of the vendor.
        callee_ip: String,
        /// Codec on the caller's leg.
        caller_codec: String,
        /// Codec on the vendor's leg.
        callee_codec: String,
        /// Shard the call lives on.
        shard: u32,
    }
}

reply! {
    /// `calls.list`, newest first.
    CallsList {
        /// Calls that match.
        total: u64,
        /// The page.
        rows: Vec<CallRow>,
    }
}

reply! {
    /// Media of one side of a call.
    MediaSide {
        /// Our address and port towards this side.
        local: String,
        /// Address this side offered.
        offered: String,
        /// Address packets really come from; empty before the first.
        learned: String,
        /// RTP packets from this side.
        packets: u64,
        /// Their bytes.
        bytes: u64,
        /// Of those, forwarded to the other side.
        relayed: u64,
        /// Of the forwarded, by the kernel.
        kernel: u64,
        /// Of those, dropped.
        dropped: u64,
        /// Sequence numbers never seen.
        lost: u64,
        /// Mean jitter, microseconds.
        jitter_us: u64,
        /// Last packet.
        last_ms: Option<i64>,
    }
}

reply! {
    /// A rate row as it was matched.
    RateShown {
        /// Account whose price it is.
        account: String,
        /// Rate group.
        group: String,
        /// Row.
        rate_id: u64,
        /// Matched prefix.
        prefix: String,
        /// Name of the area, when known.
        area: String,
        /// Price per minute.
        rate_per_min: String,
        /// First block, seconds.
        first_s: u32,
        /// Later blocks, seconds.
        next_s: u32,
        /// Connection fee.
        conn_fee: String,
        /// Tax in percent.
        tax_pct: String,
        /// 1 in-network, 2 local, 4 domestic, 5 international.
        level: u8,
    }
}

reply! {
    /// One attempt of a call to reach a vendor.
    AttemptRow {
        /// Routing gateway.
        gateway: String,
        /// Final SIP status; 0 when none came.
        status: u16,
        /// Q.850 cause; 0 when none.
        q850: u8,
        /// Status or server reason in words.
        reason: String,
        /// INVITE out.
        start_ms: i64,
        /// Attempt over; none while it runs.
        end_ms: Option<i64>,
        /// Why another gateway was or was not tried.
        next: String,
    }
}

reply! {
    /// `calls.show`
    CallShow {
        /// The row of the list.
        call: CallRow,
        /// Call-ID of the caller's leg.
        caller_call_id: String,
        /// Call-ID of the vendor's leg.
        callee_call_id: String,
        /// Caller as received.
        caller_in: String,
        /// Callee as received.
        callee_in: String,
        /// Caller sent to the vendor.
        caller_out: String,
        /// Callee sent to the vendor.
        callee_out: String,
        /// Price of the customer; none for a free call.
        rate: Option<RateShown>,
        /// Price of the vendor.
        vendor_rate: Option<RateShown>,
        /// Money reserved for the call now.
        reserved: String,
        /// Seconds it may still last; none without a bound.
        remaining_s: Option<i64>,
        /// Step of the media decision that decided, in words.
        media_step: String,
        /// Media from and to the caller.
        caller_media: MediaSide,
        /// Media from and to the vendor.
        callee_media: MediaSide,
        /// Attempts in order.
        attempts: Vec<AttemptRow>,
    }
}

reply! {
    /// `calls.kill`
    CallKilled {
        /// The call.
        call: CallId,
        /// State it was in.
        state: CallState,
        /// End reason it got.
        end_reason: i32,
    }
}

/// A CDR: the fields of cdr.md 2 by their first-column names.
pub type CdrRow = Map<String, Value>;

reply! {
    /// `cdr.list`
    CdrList {
        /// CDRs that match, on all pages.
        total: u64,
        /// There are more than that: counting them all would have taken long.
        more: bool,
        /// The page.
        rows: Vec<CdrRow>,
        /// `after` of the next page; none when this is the last.
        next: Option<CallId>,
    }
}

reply! {
    /// `cdr.show`
    CdrShow {
        /// The record.
        cdr: CdrRow,
        /// How the customer's fee came about, step by step (billing.md 2); empty when nothing was charged.
        customer_steps: Vec<String>,
        /// The same for the vendor's cost.
        vendor_steps: Vec<String>,
        /// Corrections of it, the first first; the record itself stays as it was settled.
        corrections: Vec<CorrectionRow>,
    }
}

reply! {
    /// `cdr.totals`
    CdrTotals {
        /// Records.
        calls: u64,
        /// Of those, answered.
        answered: u64,
        /// Held seconds.
        hold_s: i64,
        /// Billed seconds of the customers.
        billed_s: i64,
        /// Billed seconds of the vendors.
        vendor_s: i64,
        /// Fees.
        fee: String,
        /// Taxes on them.
        tax: String,
        /// Costs.
        cost: String,
        /// Taxes on them.
        cost_tax: String,
        /// Fees less costs.
        margin: String,
        /// ISO 4217 code.
        currency: String,
        /// RTP packets relayed from callers to vendors.
        rtp_relayed_a_to_b: u64,
        /// RTP packets relayed from vendors to callers.
        rtp_relayed_b_to_a: u64,
    }
}

reply! {
    /// One gateway.
    GatewayRow {
        /// Name.
        name: String,
        /// Side.
        kind: GatewayKind,
        /// Paying or clearing account.
        account: String,
        /// Addresses.
        addresses: Vec<String>,
        /// Routing: prefixes; empty matches every number.
        prefixes: Vec<String>,
        /// Lower is preferred.
        priority: i32,
        /// Routing: share among equals.
        weight: u32,
        /// `up`, `down`, `locked` or `unknown`.
        state: String,
        /// Why, when not up.
        state_reason: String,
        /// Calls now.
        calls: u32,
        /// Lines; none is unlimited.
        capacity: Option<u32>,
        /// Calls accepted in the last full second.
        cps: u32,
        /// Most a second; none is unlimited.
        cps_max: Option<u32>,
        /// Calls or attempts since the start.
        attempts: u64,
        /// Of those, answered.
        answered: u64,
        /// Answered / ended attempts in percent.
        asr_pct: Option<u32>,
        /// Mean answered seconds.
        acd_s: Option<u32>,
    }
}

reply! {
    /// `gateway.list`, by kind and name.
    GatewayList {
        /// Gateways that match.
        total: u64,
        /// All of them.
        rows: Vec<GatewayRow>,
    }
}

reply! {
    /// One account (accounts.md 1 to 3).
    AccountRow {
        /// Name.
        name: String,
        /// Name for people.
        display_name: String,
        /// `customer`, `vendor` or `card`.
        kind: String,
        /// Sum of the ledger.
        balance: String,
        /// How far below zero it may go.
        overdraft_limit: String,
        /// Held for calls in progress.
        reserved: String,
        /// balance + overdraft_limit - reserved
        available: String,
        /// ISO 4217 code.
        currency: String,
        /// `normal`, `locked`, `expired`, `no_money` or `canceled`.
        state: String,
        /// Rate group.
        rate_group: String,
        /// Calls now.
        calls: u32,
        /// Lines; none is unlimited.
        lines: Option<u32>,
        /// End of validity; none is open.
        valid_to_ms: Option<i64>,
        /// The account above it; empty for none.
        agent: String,
        /// Spent on calls since midnight.
        spent_today: String,
        /// Spent on calls since the first of the month.
        spent_month: String,
        /// New calls are refused once so much is spent in a month; empty for no bound.
        monthly_max: String,
        /// An alarm is given below this balance; empty for none.
        alarm_below: String,
    }
}

reply! {
    /// `account.list`
    AccountList {
        /// Accounts that fit.
        total: u64,
        /// The page.
        rows: Vec<AccountRow>,
    }
}

reply! {
    /// Money held for one call.
    ReservationRow {
        /// The call.
        call: CallId,
        /// Held.
        amount: String,
        /// Seconds it buys.
        seconds: i64,
    }
}

reply! {
    /// `account.show`
    AccountShow {
        /// The row of the list.
        account: AccountRow,
        /// Gateways of this account.
        gateways: Vec<String>,
        /// Money held now.
        reservations: Vec<ReservationRow>,
        /// The last movements, newest first.
        ledger: Vec<LedgerRow>,
    }
}

reply! {
    /// One movement of money.
    LedgerRow {
        /// A second row with the same key is the same row.
        key: String,
        /// Account.
        account: String,
        /// `call`, `payment`, `deduction`, `opening`, `make_zero`, `reversal`, `transfer`, `correction`, or of packages and
        /// phones `package_rent`, `package_minimum`, `phone_rent`, `phone_minimum`, `gift`.
        kind: String,
        /// Added to the balance.
        amount: String,
        /// Balance after it.
        balance_after: String,
        /// When.
        at_ms: i64,
        /// The call it is for.
        call: Option<CallId>,
        /// Who asked for it; empty for the switch itself.
        user: String,
        /// Free text.
        memo: String,
    }
}

reply! {
    /// `account.pay`
    AccountPaid {
        /// The row in the ledger.
        row: LedgerRow,
        /// False: the key was there already, nothing was booked now.
        booked: bool,
    }
}

reply! {
    /// `ledger.list`
    LedgerList {
        /// Rows of this account.
        total: u64,
        /// The page.
        rows: Vec<LedgerRow>,
        /// Balance of the account now; empty when none was asked for.
        balance: String,
    }
}

reply! {
    /// One system parameter.
    ParamRow {
        /// Name.
        name: String,
        /// Value in force.
        value: String,
        /// Value when nothing is set.
        default: String,
        /// What is allowed, in words.
        range: String,
        /// Unit.
        unit: String,
        /// What it does.
        meaning: String,
        /// Whether this version reads it.
        used: bool,
        /// What reads it; empty when nothing does.
        read_by: String,
    }
}

reply! {
    /// `param.list`, by name.
    ParamList {
        /// Parameters that match.
        total: u64,
        /// All of them.
        rows: Vec<ParamRow>,
    }
}

reply! {
    /// `param.set`
    ParamSet {
        /// As it is now.
        param: ParamRow,
        /// Value before.
        before: String,
    }
}

reply! {
    /// The numbers of a call at each step (routing.md 1).
    Numbers {
        /// Caller as received.
        caller_in: String,
        /// Caller after the rules of the mapping gateway.
        caller: String,
        /// Rule that was applied to the caller; empty when none.
        caller_rule: String,
        /// Callee as received.
        callee_in: String,
        /// Callee after the rules of the mapping gateway.
        callee: String,
        /// Rule that was applied to the callee; empty when none.
        callee_rule: String,
    }
}

reply! {
    /// One routing gateway that would be tried.
    CandidateRow {
        /// Routing gateway.
        gateway: String,
        /// Its prefix that matches; empty for a default gateway.
        prefix: String,
        /// Address.
        address: String,
        /// Clearing account.
        account: String,
        /// Priority.
        priority: i32,
        /// Weight.
        weight: u32,
        /// The vendor's price; none when it has no row.
        rate: Option<RateShown>,
        /// Cost of a minute, before rounding to the fee unit.
        cost_per_min: String,
        /// Customer's price less cost, per minute.
        margin_per_min: String,
        /// Caller as it would be sent.
        caller_out: String,
        /// Callee as it would be sent.
        callee_out: String,
        /// Why at this place: the sort key that decided, in words.
        why: String,
    }
}

reply! {
    /// One routing gateway that would not be tried.
    SkippedRow {
        /// Routing gateway.
        gateway: String,
        /// The rule of routing.md 6 that excludes it.
        reason: String,
        /// The values it saw.
        detail: String,
    }
}

reply! {
    /// Why a call would be refused before any vendor is tried.
    Refusal {
        /// Number of the end reason (endreasons.md).
        end_reason: i32,
        /// Its name.
        reason: String,
        /// SIP status the caller would get.
        sip_status: u16,
        /// The values that led to it.
        detail: String,
    }
}

reply! {
    /// `explain`
    Explained {
        /// The instant that was asked about.
        at_ms: i64,
        /// Version of the configuration that was used.
        site_version: u64,
        /// Mapping gateway; empty when the source is unknown.
        gateway: String,
        /// Account that pays.
        account: String,
        /// ISO 4217 code of the amounts.
        currency: String,
        /// The numbers at each step.
        numbers: Numbers,
        /// The customer's price; none for a free number or when there is no row.
        rate: Option<RateShown>,
        /// Prices of the agents above the account, the direct one first.
        agents: Vec<RateShown>,
        /// Seconds the balances buy now, the shortest of the account and its agents; none without a bound.
        seconds_max: Option<i64>,
        /// Gateways in the order they would be tried.
        candidates: Vec<CandidateRow>,
        /// Every other gateway.
        skipped: Vec<SkippedRow>,
        /// Why nothing would be tried; none when the call would be routed.
        refusal: Option<Refusal>,
    }
}

reply! {
    /// One event of a call.
    TraceEvent {
        /// When.
        at_ms: i64,
        /// Since the first event, microseconds.
        offset_us: i64,
        /// `a`, `b1`, `b2`, ... or empty for the call itself.
        leg: String,
        /// `in`, `out` or empty.
        direction: String,
        /// Kind of event.
        kind: String,
        /// Message or decision in one line.
        text: String,
        /// The rest, as the kind has it.
        detail: Value,
    }
}

reply! {
    /// `trace`
    Traced {
        /// The call.
        call: CallId,
        /// The ladder of both legs.
        text: String,
        /// What it is drawn from, in order.
        events: Vec<TraceEvent>,
        /// Events that were not kept because the call had too many.
        dropped: u64,
    }
}

reply! {
    /// The media ports of one shard on one media address.
    MediaShard {
        /// Number of the shard.
        shard: u32,
        /// Our address.
        address: String,
        /// First port.
        first: u16,
        /// Last port.
        last: u16,
        /// Ports nobody uses, those with a socket ahead of need among them.
        free: u64,
        /// Ports of calls.
        used: u64,
        /// Ports that swallow late packets of a call that is over.
        lingering: u64,
        /// Ports that somebody else has.
        busy: u64,
        /// Flows of calls.
        flows: u64,
        /// Of those, in the kernel too.
        kernel_flows: u64,
        /// Packets to this address that user space forwarded.
        forwarded: u64,
    }
}

reply! {
    /// `media.show`
    MediaShow {
        /// `xdp` or `user space`.
        path: String,
        /// How the interfaces are served.
        interfaces: Vec<MediaInterface>,
        /// Number of the program in the kernel; none without one.
        program: Option<u32>,
        /// RTP and RTCP packets that the kernel forwarded, since its maps were made.
        kernel_packets: u64,
        /// Packets that user space forwarded since the start.
        user_packets: u64,
        /// Flows that no call had and that were removed, since the start.
        orphans: u64,
        /// What the kernel left to user space or the stack, by reason.
        punts: BTreeMap<String, u64>,
        /// What the kernel dropped, by reason.
        kernel_drops: BTreeMap<String, u64>,
        /// What user space dropped, by reason.
        user_drops: BTreeMap<String, u64>,
        /// The ports, by shard and media address.
        shards: Vec<MediaShard>,
    }
}

reply! {
    /// `media.audit`: RTP packets, both sides of the account.
    MediaAudit {
        /// Whether both sides agree.
        equal: bool,
        /// Forwarded by the kernel: its own sum since the start, and what flows that were adopted then had before.
        kernel: u64,
        /// Forwarded by user space since the start.
        user_space: u64,
        /// In records of calls that ended since the start.
        records: u64,
        /// In calls that are on.
        live: u64,
        /// In calls whose records the rules held back.
        unrecorded: u64,
        /// In attempts that failed.
        attempts: u64,
        /// In flows that no call had.
        orphans: u64,
        /// RTP and RTCP counted while their flow was being removed: in no record.
        late: u64,
        /// Forwarded less accounted for; 0 when they agree.
        difference: i64,
    }
}

reply! {
    /// `datapath.upgrade`
    DatapathUpgraded {
        /// File of the program.
        object: String,
        /// Number of the program that ended.
        before: u32,
        /// Number of the program that runs.
        program: u32,
        /// Its instructions.
        instructions: u32,
        /// Interfaces it is on.
        interfaces: Vec<String>,
    }
}
