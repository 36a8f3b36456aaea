//! Everything a call reads of the configuration, as one immutable value.
//!
//! It is built and validated whole off the shards and published whole; a call keeps the snapshot it started with. Names
//! in the doc comments are those of the product's Web API (spec routing.md 2 and 3).

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tandem_leg::ListenerId;
use tandem_media::decide::DeviceMode;
use tandem_rating::fee::{BillingParams, RateTerms};
use tandem_rating::money::Money;
use tandem_rating::prefix::PrefixError;
use tandem_rating::rate::Deck;
use tandem_rating::text::Text;
use tandem_rating::usage::LegTerms;

use crate::calendar::Calendar;
use crate::number::RewriteRules;
use crate::route::PrefixTable;
use crate::settings::Settings;

/// An account, stable for the life of the process (the rating thread keeps its money under this number).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(pub u32);

/// A mapping or routing gateway, stable for the life of the process (lines and call rate are counted under this number).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GatewayId(pub u32);

/// What kind of account this is (spec accounts.md 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountKind {
    /// A customer.
    General,
    /// A vendor.
    Clearing,
}

/// The part of an account that a call reads; money lives on the rating thread.
#[derive(Clone, Debug)]
pub struct Account {
    /// Stable number.
    pub id: AccountId,
    /// Unique name.
    pub name: String,
    /// Display name.
    pub display_name: String,
    /// Customer or vendor.
    pub kind: AccountKind,
    /// `lockType` not 0.
    pub locked: bool,
    /// Cancelled for good.
    pub cancelled: bool,
    /// UTC ms from which the account is expired; `None` never.
    pub valid_until_ms: Option<i64>,
    /// Until when it is charged.
    pub bill_until: BillUntil,
    /// Rate group.
    pub deck: Option<Arc<Deck>>,
    /// Asked before `deck`; a number it does not have falls through (`privateFeeRateGroup`).
    pub private_deck: Option<Arc<Deck>>,
    /// Rate groups by time of day, in the place of both; a time that none covers cannot call (billing.md 6.a).
    pub calendar: Option<Arc<Calendar>>,
    /// The account above, an agent (`agentAccount`): index into [`Snapshot::accounts`].
    pub parent: Option<usize>,
}

impl Account {
    /// Its rate group at an instant: that of the hour, when it has periods. A private group of a customer comes before it, see
    /// [`crate::price`].
    pub fn group_at(&self, at_ms: i64) -> Option<&Arc<Deck>> {
        match &self.calendar {
            Some(calendar) => calendar.deck_at(at_ms),
            None => self.deck.as_ref(),
        }
    }

    /// What it is charged by for a call to `number`.
    pub fn leg(&self, terms: Option<RateTerms>, number: Text) -> LegTerms {
        LegTerms {
            account: self.name.as_str().into(),
            account_name: self.display_name.as_str().into(),
            rate_group: self
                .deck
                .as_ref()
                .filter(|_| terms.is_some())
                .map(|deck| deck.name().into())
                .unwrap_or_default(),
            terms,
            until_media: self.bill_until == BillUntil::Media,
            number,
            ..LegTerms::default()
        }
    }
}

/// Longest chain of agents above an account; a site with a longer one is refused.
pub const AGENTS_MAX: usize = 8;

/// One source address of a mapping gateway (`remoteIps`, `sipAuthenticationMethod` 0 IP or 1 IP and port).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Address.
    pub ip: IpAddr,
    /// Port, when it must match too.
    pub port: Option<u16>,
}

/// A list of prefixes and what a match means: allowed (only those pass) or refused. Empty: no rule (spec routing.md 9).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrefixFilter {
    /// Prefixes.
    pub prefixes: Vec<String>,
    /// Whether the list is what passes (`true`) or what is refused.
    pub allow: bool,
}

/// NAT as configured for a static gateway (spec media.md M-D2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NatSetting {
    /// Judge by the addresses.
    #[default]
    Auto,
    /// Behind NAT.
    Yes,
    /// Not behind NAT.
    No,
}

/// How much of an SDP address has to match before media is believed (spec media.md 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LatchSetting {
    /// Only the address offered, unless the leg is behind NAT.
    #[default]
    Strict,
    /// The first valid packet.
    Always,
}

/// Which silence ends a relayed call (`mediaCheckDirection`, `rtpInterruptDetection`; spec media.md 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MediaCheck {
    /// 0: none.
    #[default]
    None,
    /// 1, server to remote: nothing is sent to the device.
    ToRemote,
    /// 2, remote to server: nothing comes from the device.
    FromRemote,
    /// 3: either.
    Both,
}

/// Until when an account is charged for a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BillUntil {
    /// The end of the call by signalling.
    #[default]
    Signalling,
    /// The last media packet of the call in either direction, when media was relayed (design.md P3).
    Media,
}

/// Where the called number is taken from (`sipCalleeE164Domain`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CalleeFrom {
    /// To header.
    To,
    /// Request-URI.
    #[default]
    RequestUri,
    /// Diversion.
    Diversion,
}

/// Where the calling number is taken from (`sipCallerE164Domain`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CallerFrom {
    /// From header.
    #[default]
    From,
    /// Remote-Party-ID.
    RemotePartyId,
    /// Display name of From.
    DisplayName,
    /// P-Asserted-Identity.
    PAssertedIdentity,
    /// P-Preferred-Identity.
    PPreferredIdentity,
}

/// Sort key a mapping gateway asks for (`firstRoutePolicy`, `secondRoutePolicy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoutePolicy {
    /// None.
    #[default]
    None,
    /// Higher answer-seizure ratio first.
    Asr,
    /// Lower vendor rate first.
    LowestRate,
}

/// A customer's trunk: calls come from it and its account pays (spec routing.md 2).
#[derive(Clone, Debug)]
pub struct MappingGateway {
    /// Stable number.
    pub id: GatewayId,
    /// `name`.
    pub name: String,
    /// Index into [`Snapshot::accounts`].
    pub account: usize,
    /// `remoteIps`.
    pub sources: Vec<Source>,
    /// `lockType` 3.
    pub locked: bool,
    /// `priority`: among gateways that match the same source, low first.
    pub priority: i32,
    /// `capacity`: concurrent calls; `None` unlimited, 0 blocks all (R-D9).
    pub capacity: Option<u32>,
    /// Rate limit, calls per second; `None` off.
    pub cps: Option<u32>,
    /// `callLevel`: 1 net, 2 local, 4 domestic, 5 international.
    pub call_level: u8,
    /// `rewriteRulesOutCaller`.
    pub rewrite_caller: RewriteRules,
    /// `rewriteRulesOutCallee`.
    pub rewrite_callee: RewriteRules,
    /// `proportionCalleePrefixs`: (proportion, prefix to add).
    pub percent_routing: Vec<(u32, String)>,
    /// `calloutCallerPrefixes`.
    pub caller_prefixes: PrefixFilter,
    /// `calloutCalleePrefixes`.
    pub callee_prefixes: PrefixFilter,
    /// `callerAllowLength`: bit x set allows length x, 0 allows all.
    pub caller_lengths: u64,
    /// `calleeAllowLength`.
    pub callee_lengths: u64,
    /// `routingGatewayGroups`.
    pub routing_groups: Vec<String>,
    /// `routingGatewayGroupsAllow`: whether those are the allowed ones.
    pub routing_groups_allow: bool,
    /// `rtpForwardType`.
    pub media_mode: DeviceMode,
    /// NAT.
    pub nat: NatSetting,
    /// Latching.
    pub latch: LatchSetting,
    /// `rtpInterruptDetection`.
    pub media_check: MediaCheck,
    /// `maxCallDurationLower/Upper` in seconds; (-1, -1) system, (0, 0) none.
    pub max_duration_s: (i64, i64),
    /// `timeoutCallProceeding`: set-up limit over all attempts in seconds; -1 system, 0 none.
    pub timeout_call_proceeding_s: i64,
    /// Called number source.
    pub callee_from: CalleeFrom,
    /// Calling number source.
    pub caller_from: CallerFrom,
    /// `callFailedSipCode`: (original, target) with 0 for any other / no change.
    pub failed_sip_code: Vec<(u16, u16)>,
    /// `replace_before_switch` (endreasons.md 5 rule 4).
    pub replace_before_switch: bool,
    /// `firstRoutePolicy`.
    pub first_policy: RoutePolicy,
    /// `secondRoutePolicy`.
    pub second_policy: RoutePolicy,
    /// `minProfitPercent`, when enabled.
    pub min_profit_percent: Option<i32>,
    /// `maxSecondRates`, when enabled: price per second.
    pub max_second_rate: Option<rust_decimal::Decimal>,
    /// Headers passed on besides the default list; lower case, `x-*` style wildcards.
    pub pass_headers: Vec<String>,
    /// Who pays, and what is rated.
    pub billing: GatewayBilling,
}

/// Whether shorter prefixes may be used after this gateway (`prefixStyle`, R-D10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PrefixStyle {
    /// 0: no.
    Terminal,
    /// 1: yes.
    #[default]
    Continuation,
}

/// Per-gateway permission to go on to another gateway; `None` takes the system parameter (spec routing.md 8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SwitchAllow {
    /// `switchAllowRing`.
    pub ring: Option<bool>,
    /// `switchAllowSdp`.
    pub sdp: Option<bool>,
    /// `switchAllowRtp`.
    pub rtp: Option<bool>,
    /// `switchAllowBusy`.
    pub busy: Option<bool>,
    /// `switchAllowErrorCode`.
    pub error_code: bool,
    /// Its list of codes.
    pub error_codes: Vec<u16>,
}

/// Set-up timers of one gateway in seconds; 0 takes the system value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetupTimeouts {
    /// `timeoutInvite`.
    pub invite_s: u32,
    /// `timeoutTrying`.
    pub trying_s: u32,
    /// `timeoutSessionProgress`.
    pub session_progress_s: u32,
    /// `timeoutSessionProgressSdp`.
    pub session_progress_sdp_s: u32,
    /// `timeoutRinging`.
    pub ringing_s: u32,
}

/// A vendor's trunk: we send calls to it and its clearing account charges us (spec routing.md 3).
#[derive(Clone, Debug)]
pub struct RoutingGateway {
    /// Stable number.
    pub id: GatewayId,
    /// `name`.
    pub name: String,
    /// Index into [`Snapshot::accounts`]; the clearing account.
    pub account: usize,
    /// `clearingAccountUseCalloutE164`: rate the callee after outbound rewriting.
    pub clearing_use_callout: bool,
    /// `remoteIp`: where calls are sent; the first that is not known to be down.
    pub remotes: Vec<SocketAddr>,
    /// `localIp`: which of our listeners the call leaves from; must be of the remote's address family.
    pub listener: ListenerId,
    /// `prefix`; empty list is a default gateway.
    pub prefixes: Vec<String>,
    /// `prefixStyle`.
    pub prefix_style: PrefixStyle,
    /// `priority`: low first.
    pub priority: i32,
    /// Weight among equals.
    pub weight: u32,
    /// `capacity`.
    pub capacity: Option<u32>,
    /// Rate limit, calls per second.
    pub cps: Option<u32>,
    /// `lockType` 3.
    pub locked: bool,
    /// Valid from, UTC ms, inclusive.
    pub valid_from_ms: Option<i64>,
    /// Valid to, UTC ms, exclusive.
    pub valid_to_ms: Option<i64>,
    /// `gatewayGroups`.
    pub groups: Vec<String>,
    /// `rewriteRulesInCaller`.
    pub rewrite_caller: RewriteRules,
    /// `rewriteRulesInCallee`.
    pub rewrite_callee: RewriteRules,
    /// `callinCallerPrefixes`.
    pub caller_prefixes: PrefixFilter,
    /// `callinCalleePrefixes`.
    pub callee_prefixes: PrefixFilter,
    /// Allowed caller lengths, as on the mapping gateway.
    pub caller_lengths: u64,
    /// Allowed callee lengths.
    pub callee_lengths: u64,
    /// `feerateRestrict`: skip when the vendor has no rate.
    pub check_rate: bool,
    /// `leastCostRouting`.
    pub least_cost: bool,
    /// `minProfitPercent`, when enabled.
    pub min_profit_percent: Option<i32>,
    /// `maxSecondRates`, when enabled: price per second.
    pub max_second_rate: Option<rust_decimal::Decimal>,
    /// Protect route: only after every normal candidate failed.
    pub protect: bool,
    /// Switch permissions.
    pub switch: SwitchAllow,
    /// Set-up timers.
    pub timeouts: SetupTimeouts,
    /// Media mode.
    pub media_mode: DeviceMode,
    /// NAT.
    pub nat: NatSetting,
    /// Latching.
    pub latch: LatchSetting,
    /// `rtpInterruptDetection`.
    pub media_check: MediaCheck,
    /// `sipPAssertedIdentity` 2: send the caller number as P-Asserted-Identity.
    pub send_asserted: bool,
    /// Headers passed on besides the default list.
    pub pass_headers: Vec<String>,
    /// Route prefixes taken off before its rate is looked up, the longest; empty takes the system's count.
    pub billing_prefixes: Vec<String>,
}

/// The whole configuration of calls.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Rises with every publication.
    pub version: u64,
    /// Node name.
    pub node: String,
    /// System parameters that calls read.
    pub settings: Settings,
    /// Billing parameters.
    pub billing: Arc<BillingParams>,
    /// Accounts.
    pub accounts: Vec<Account>,
    /// Mapping gateways.
    pub mapping: Vec<MappingGateway>,
    /// Routing gateways.
    pub routing: Vec<RoutingGateway>,
    /// Mapping gateways by source address, best priority first (S-D2); made by [`Snapshot::index`].
    pub by_source: HashMap<IpAddr, Vec<usize>>,
    /// Routing gateways by prefix; made by [`Snapshot::index`].
    pub by_prefix: PrefixTable,
    /// Numbers that pay or are paid for.
    pub billing_numbers: BillingNumbers,
}

/// Numbers that mean something to billing (rates.md 6).
#[derive(Clone, Debug, Default)]
pub struct BillingNumbers {
    /// Phones, by number.
    pub phones: HashMap<String, Phone>,
    /// Bound numbers: index into [`Snapshot::accounts`] by number.
    pub bound: HashMap<String, usize>,
    /// Rate groups whose rows may change during a call (`split_sections`).
    pub split_groups: HashSet<String>,
    /// Accounts that are phone cards: indices into [`Snapshot::accounts`].
    pub cards: HashSet<usize>,
}

/// A phone as billing knows it; it need not be registered.
#[derive(Clone, Debug)]
pub struct Phone {
    /// Index into [`Snapshot::accounts`].
    pub account: usize,
    /// No calls from it, and none to it that it pays for.
    pub locked: bool,
    /// 1 net, 2 local, 4 domestic, 5 international.
    pub call_level: u8,
    /// Calls to it are charged to its account only.
    pub callee_billing: bool,
    /// Whether its calls to phones of ours are free; `None` is the system's, which is no.
    pub no_billing_to_phone: Option<bool>,
    /// Its calls are refused once they cost this much in a month.
    pub monthly_max: Option<Money>,
    /// Private rate group, asked first.
    pub deck: Option<Arc<Deck>>,
}

/// Who pays for calls of a mapping gateway besides its account, and what is rated.
#[derive(Clone, Debug, Default)]
pub struct GatewayBilling {
    /// Callers that are phones pay themselves.
    pub phones: bool,
    /// Callers that are bound numbers pay themselves.
    pub bound_numbers: bool,
    /// Whether its calls to phones of ours are free; `None` is the system's, which is no.
    pub no_billing_to_phone: Option<bool>,
    /// Route prefixes taken off before the rate is looked up, the longest; empty takes the system's count.
    pub prefixes: Vec<String>,
}

impl Snapshot {
    /// The agents above an account, the direct one first.
    pub fn agents(&self, account: &Account) -> impl Iterator<Item = &Account> {
        let above = |account: &Account| account.parent.and_then(|index| self.accounts.get(index));
        std::iter::successors(above(account), move |agent| above(agent)).take(AGENTS_MAX)
    }

    /// Makes the two indexes out of the gateways; to be called once, after the last change.
    ///
    /// # Errors
    /// [`PrefixError`] for a routing prefix that no number can have.
    pub fn index(&mut self) -> Result<(), PrefixError> {
        self.by_source.clear();
        for (index, gateway) in self.mapping.iter().enumerate() {
            for source in &gateway.sources {
                let list = self.by_source.entry(source.ip.to_canonical()).or_default();
                if list.last() != Some(&index) {
                    list.push(index);
                }
            }
        }
        for list in self.by_source.values_mut() {
            list.sort_by_key(|i| (self.mapping[*i].priority, &self.mapping[*i].name));
        }
        self.by_prefix = PrefixTable::build(&self.routing)?;
        Ok(())
    }
}
