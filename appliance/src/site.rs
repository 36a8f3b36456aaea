//! The site: accounts, gateways and parameters as one declarative tree (TOML), applied whole or not at all.
//!
//! `tandem export` writes exactly what `tandem apply` reads; values equal to their default are left out. Decks and
//! balances are not part of it: decks come as CSV, money moves by ledger rows.

mod build;
mod diff;
mod edit;
mod package;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tandem_rating::sheet::Template;

pub(crate) use build::CARD;
pub use build::{Built, Ids, Listeners};
pub use diff::{diff, lines};
pub use package::PackageSite;

/// The zone of the server, in which days begin.
pub(crate) fn zone() -> jiff::tz::TimeZone {
    jiff::tz::TimeZone::system()
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn unlimited_time() -> i64 {
    -1
}

fn is_system_time(value: &i64) -> bool {
    *value == -1
}

fn call_level_all() -> u8 {
    5
}

fn is_call_level_all(value: &u8) -> bool {
    *value == 5
}

fn weight_default() -> u32 {
    100
}

fn is_weight_default(value: &u32) -> bool {
    *value == 100
}

/// The whole tree.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// System parameters that differ from their default.
    #[serde(default, skip_serializing_if = "is_default")]
    pub params: BTreeMap<String, String>,
    /// Media.
    #[serde(default, skip_serializing_if = "is_default")]
    pub media: MediaSite,
    /// Accounts by name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub account: BTreeMap<String, AccountSite>,
    /// Mapping gateways (customers' trunks) by name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mapping_gateway: BTreeMap<String, MappingSite>,
    /// Routing gateways (vendors' trunks) by name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub routing_gateway: BTreeMap<String, RoutingSite>,
    /// How vendors' rate sheets look, by name (rates.md 5).
    #[serde(default, skip_serializing_if = "is_default")]
    pub rate_template: BTreeMap<String, Template>,
    /// Phones that pay or are paid for, by number.
    #[serde(default, skip_serializing_if = "is_default")]
    pub phone: BTreeMap<String, PhoneSite>,
    /// Numbers bound to an account.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bound_number: BTreeMap<String, BoundSite>,
    /// What is set of rate groups besides their rows.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rate_group: BTreeMap<String, GroupSite>,
    /// Packages by name.
    #[serde(default, skip_serializing_if = "is_default")]
    pub package: BTreeMap<String, PackageSite>,
}

/// A phone as billing knows it (rates.md 6).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhoneSite {
    /// Account that pays.
    pub account: String,
    /// No calls.
    #[serde(default, skip_serializing_if = "is_default")]
    pub locked: bool,
    /// 1 net, 2 local, 4 domestic, 5 international.
    #[serde(default = "call_level_all", skip_serializing_if = "is_call_level_all")]
    pub call_level: u8,
    /// Calls to it are charged to its account only (toll-free).
    #[serde(default, skip_serializing_if = "is_default")]
    pub callee_billing: bool,
    /// `on`: its calls to phones of ours are free; `off`; `default` is off.
    #[serde(default, skip_serializing_if = "is_default")]
    pub no_billing_to_phone: String,
    /// Its calls are refused once they cost this much in a month.
    #[serde(default, skip_serializing_if = "is_default")]
    pub monthly_max: String,
    /// Private rate group, asked before those of the account.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rate_group: String,
    /// Taken as each month begins, the first time as the month after this is set.
    #[serde(default, skip_serializing_if = "is_default")]
    pub monthly_rent: String,
    /// What its calls have to cost in a month; the difference is taken as the next begins.
    #[serde(default, skip_serializing_if = "is_default")]
    pub monthly_min: String,
}

/// A number bound to an account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BoundSite {
    /// Account that pays.
    pub account: String,
}

/// A rate group besides its rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GroupSite {
    /// Rows may change during a call (billing.md 6.a).
    #[serde(skip_serializing_if = "is_default")]
    pub split_sections: bool,
}

/// Media settings of the site.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MediaSite {
    /// Networks that media may never be sent to, as `10.0.0.0/8` (media.md 4.6).
    #[serde(skip_serializing_if = "is_default")]
    pub prohibited: Vec<String>,
}

/// An account (spec accounts.md 1).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccountSite {
    /// `customer`, `vendor` or `card`: a phone card, whose name is its PIN.
    pub kind: String,
    /// Name for people.
    #[serde(skip_serializing_if = "is_default")]
    pub display_name: String,
    /// Rate group.
    #[serde(skip_serializing_if = "is_default")]
    pub rate_group: String,
    /// Balance the account is opened with; booked once, when the account is new.
    #[serde(skip_serializing_if = "is_default")]
    pub opening: String,
    /// How far the balance may go below zero.
    #[serde(skip_serializing_if = "is_default")]
    pub credit_limit: String,
    /// No calls.
    #[serde(skip_serializing_if = "is_default")]
    pub locked: bool,
    /// Expiry, ISO 8601.
    #[serde(skip_serializing_if = "is_default")]
    pub valid_until: String,
    /// `signalling`, or `media`: charged until the last packet of relayed media.
    #[serde(skip_serializing_if = "is_default")]
    pub bill_until: String,
    /// The agent above it, charged for each of its calls by the agent's own rate group.
    #[serde(skip_serializing_if = "is_default")]
    pub agent: String,
    /// No calls, for good: CDRs and ledger stay, and the name is not given to anybody else.
    #[serde(skip_serializing_if = "is_default")]
    pub cancelled: bool,
    /// New calls are refused once this much was spent on calls in a month.
    #[serde(skip_serializing_if = "is_default")]
    pub monthly_max: String,
    /// An alarm is given when the balance falls below this.
    #[serde(skip_serializing_if = "is_default")]
    pub alarm_below: String,
    /// Asked before `rate_group`; a number it does not have falls through.
    #[serde(skip_serializing_if = "is_default")]
    pub private_rate_group: String,
    /// Rate groups by time, in the place of both: `mon-fri 09:00-18:00 day`. A time that none covers cannot call.
    #[serde(skip_serializing_if = "is_default")]
    pub periods: Vec<String>,
    /// Of a card: it expires so many days after the first call that cost something; 0 never.
    #[serde(skip_serializing_if = "is_default")]
    pub valid_days: u32,
    /// Of a card: what it was made with.
    #[serde(skip_serializing_if = "is_default")]
    pub batch: String,
}

/// A prefix rule of a gateway.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FilterSite {
    /// Only these pass.
    #[serde(skip_serializing_if = "is_default")]
    pub allow: Vec<String>,
    /// These are refused.
    #[serde(skip_serializing_if = "is_default")]
    pub deny: Vec<String>,
}

/// A mapping gateway (spec routing.md 2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MappingSite {
    /// Account that pays.
    pub account: String,
    /// Source addresses, with a port when that must match too.
    pub sources: Vec<String>,
    /// No calls.
    #[serde(default, skip_serializing_if = "is_default")]
    pub locked: bool,
    /// Among gateways of one source, low first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: i32,
    /// Concurrent calls.
    #[serde(default, skip_serializing_if = "is_default")]
    pub capacity: Option<u32>,
    /// New calls per second.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cps: Option<u32>,
    /// 1 net, 2 local, 4 domestic, 5 international.
    #[serde(default = "call_level_all", skip_serializing_if = "is_call_level_all")]
    pub call_level: u8,
    /// `orig:target,...` (routing.md 4.2).
    #[serde(default, skip_serializing_if = "is_default")]
    pub rewrite_caller: String,
    /// `orig:target,...`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rewrite_callee: String,
    /// Percent routing: prefix to add -> proportion.
    #[serde(default, skip_serializing_if = "is_default")]
    pub percent_routing: BTreeMap<String, u32>,
    /// Callers that may call.
    #[serde(default, skip_serializing_if = "is_default")]
    pub caller_prefixes: FilterSite,
    /// Callees that may be called.
    #[serde(default, skip_serializing_if = "is_default")]
    pub callee_prefixes: FilterSite,
    /// Allowed lengths of the caller's number.
    #[serde(default, skip_serializing_if = "is_default")]
    pub caller_lengths: Vec<u8>,
    /// Allowed lengths of the callee's number.
    #[serde(default, skip_serializing_if = "is_default")]
    pub callee_lengths: Vec<u8>,
    /// Groups of routing gateways it may use (`allow`) or not (`deny`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub routing_groups: FilterSite,
    /// `auto`, `on`, `off`, `must_on`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub media: String,
    /// `auto`, `yes`, `no`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub nat: String,
    /// `strict`, `always`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub latch: String,
    /// Which silence ends a relayed call: `none`, `to_remote`, `from_remote`, `both` (media.md 5).
    #[serde(default, skip_serializing_if = "is_default")]
    pub media_check: String,
    /// Longest call in seconds; two numbers draw a limit between them; absent takes the system's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_duration_s: Vec<i64>,
    /// Set-up limit over all attempts, seconds; -1 system, 0 none.
    #[serde(default = "unlimited_time", skip_serializing_if = "is_system_time")]
    pub timeout_call_proceeding_s: i64,
    /// `to`, `request_uri`, `diversion`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub callee_from: String,
    /// `from`, `remote_party_id`, `display`, `p_asserted_identity`, `p_preferred_identity`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub caller_from: String,
    /// Failure replacement `orig:target,...` (endreasons.md 5).
    #[serde(default, skip_serializing_if = "is_default")]
    pub failed_sip_code: String,
    /// Replace before the failover decision.
    #[serde(default, skip_serializing_if = "is_default")]
    pub replace_before_switch: bool,
    /// `none`, `asr`, `lowest_rate`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub first_policy: String,
    /// `none`, `asr`, `lowest_rate`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub second_policy: String,
    /// Least profit in percent of cost.
    #[serde(default, skip_serializing_if = "is_default")]
    pub min_profit_percent: Option<i32>,
    /// Dearest vendor price per second.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_second_rate: String,
    /// Headers passed on besides the default list.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pass_headers: Vec<String>,
    /// Callers that are phones pay themselves.
    #[serde(default, skip_serializing_if = "is_default")]
    pub phone_billing: bool,
    /// Callers that are bound numbers pay themselves.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bound_number_billing: bool,
    /// `on`: calls to phones of ours are free; `off`; `default` is off.
    #[serde(default, skip_serializing_if = "is_default")]
    pub no_billing_to_phone: String,
    /// Route prefixes taken off before the rate is looked up, the longest; none takes the system's count.
    #[serde(default, skip_serializing_if = "is_default")]
    pub billing_prefixes: Vec<String>,
}

/// A routing gateway (spec routing.md 3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutingSite {
    /// Clearing account.
    pub account: String,
    /// Where calls are sent, `address:port`.
    pub remotes: Vec<String>,
    /// Our listener, as `address:port`; absent takes the first of the remote's address family.
    #[serde(default, skip_serializing_if = "is_default")]
    pub local: String,
    /// Prefixes; none makes it a default gateway.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prefixes: Vec<String>,
    /// `continuation` or `terminal`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub prefix_style: String,
    /// Low first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: i32,
    /// Share among equals.
    #[serde(default = "weight_default", skip_serializing_if = "is_weight_default")]
    pub weight: u32,
    /// Concurrent calls.
    #[serde(default, skip_serializing_if = "is_default")]
    pub capacity: Option<u32>,
    /// New calls per second.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cps: Option<u32>,
    /// No calls.
    #[serde(default, skip_serializing_if = "is_default")]
    pub locked: bool,
    /// First day or instant of use, ISO 8601.
    #[serde(default, skip_serializing_if = "is_default")]
    pub valid_from: String,
    /// Last day (inclusive) or instant of use, ISO 8601.
    #[serde(default, skip_serializing_if = "is_default")]
    pub valid_to: String,
    /// Groups it belongs to.
    #[serde(default, skip_serializing_if = "is_default")]
    pub groups: Vec<String>,
    /// `orig:target,...`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rewrite_caller: String,
    /// `orig:target,...`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rewrite_callee: String,
    /// Callers it takes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub caller_prefixes: FilterSite,
    /// Callees it takes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub callee_prefixes: FilterSite,
    /// Lengths of callers it takes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub caller_lengths: Vec<u8>,
    /// Lengths of callees it takes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub callee_lengths: Vec<u8>,
    /// Skip it when the vendor has no rate.
    #[serde(default, skip_serializing_if = "is_default")]
    pub check_rate: bool,
    /// Sort by cost among equals.
    #[serde(default, skip_serializing_if = "is_default")]
    pub least_cost: bool,
    /// Rate the number after outbound rewriting.
    #[serde(default, skip_serializing_if = "is_default")]
    pub clearing_use_callout: bool,
    /// Least profit in percent of cost.
    #[serde(default, skip_serializing_if = "is_default")]
    pub min_profit_percent: Option<i32>,
    /// Dearest price per second.
    #[serde(default, skip_serializing_if = "is_default")]
    pub max_second_rate: String,
    /// Only after every normal candidate failed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub protect: bool,
    /// Switch permissions.
    #[serde(default, skip_serializing_if = "is_default")]
    pub switch: SwitchSite,
    /// Set-up timers in seconds; absent takes the system's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub timeouts: TimeoutsSite,
    /// `auto`, `on`, `off`, `must_on`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub media: String,
    /// `auto`, `yes`, `no`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub nat: String,
    /// `strict`, `always`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub latch: String,
    /// Which silence ends a relayed call: `none`, `to_remote`, `from_remote`, `both` (media.md 5).
    #[serde(default, skip_serializing_if = "is_default")]
    pub media_check: String,
    /// Send the caller as P-Asserted-Identity.
    #[serde(default, skip_serializing_if = "is_default")]
    pub send_asserted: bool,
    /// Headers passed on besides the default list.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pass_headers: Vec<String>,
    /// Route prefixes taken off before its rate is looked up, the longest; none takes the system's count.
    #[serde(default, skip_serializing_if = "is_default")]
    pub billing_prefixes: Vec<String>,
}

/// Whether another gateway is tried after this one failed (routing.md 8); absent takes the system's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SwitchSite {
    /// After 180.
    #[serde(skip_serializing_if = "is_default")]
    pub ring: Option<bool>,
    /// After SDP in 18x.
    #[serde(skip_serializing_if = "is_default")]
    pub sdp: Option<bool>,
    /// After its first packet.
    #[serde(skip_serializing_if = "is_default")]
    pub rtp: Option<bool>,
    /// After user busy.
    #[serde(skip_serializing_if = "is_default")]
    pub busy: Option<bool>,
    /// Codes that decide by themselves.
    #[serde(skip_serializing_if = "is_default")]
    pub error_codes: Vec<u16>,
    /// Whether those codes switch (`true`) or stop.
    #[serde(skip_serializing_if = "is_default")]
    pub error_code: bool,
}

/// Set-up timers, seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutsSite {
    /// INVITE to any response.
    #[serde(skip_serializing_if = "is_default")]
    pub invite: u32,
    /// After 100.
    #[serde(skip_serializing_if = "is_default")]
    pub trying: u32,
    /// After 183 without SDP.
    #[serde(skip_serializing_if = "is_default")]
    pub session_progress: u32,
    /// After 183 with SDP.
    #[serde(skip_serializing_if = "is_default")]
    pub session_progress_sdp: u32,
    /// After 180.
    #[serde(skip_serializing_if = "is_default")]
    pub ringing: u32,
}

impl Site {
    /// Reads the text of a site file.
    ///
    /// # Errors
    /// One sentence with the line, the key and, for an unknown key, the nearest valid one.
    pub fn parse(text: &str) -> Result<Site, String> {
        toml::from_str(text).map_err(|e| friendly(&e, text))
    }

    /// The text that [`Site::parse`] reads back to the same tree.
    pub fn to_text(&self) -> String {
        // A tree of maps, strings and numbers always has a TOML form.
        toml::to_string_pretty(self).unwrap_or_default()
    }
}

/// A TOML error as one sentence: line, message, and the nearest valid key for an unknown one.
pub fn friendly(error: &toml::de::Error, text: &str) -> String {
    let line = error.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let message = error.message().trim();
    let mut sentence = if line > 0 { format!("line {line}: {message}") } else { message.to_owned() };
    if let Some(rest) = message.strip_prefix("unknown field `") {
        let mut words = rest.split('`');
        let unknown = words.next().unwrap_or_default();
        let nearest = words
            .skip(1)
            .step_by(2)
            .max_by(|a, b| strsim::jaro_winkler(a, unknown).total_cmp(&strsim::jaro_winkler(b, unknown)));
        if let Some(nearest) = nearest {
            sentence = format!("line {line}: unknown key {unknown}; the nearest valid one is {nearest}");
        }
    }
    sentence
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn export_then_apply_is_the_same_tree() {
        let text = "[params]\nSS_SIP_TIMEOUT_INVITE = \"9\"\n[account.acme]\nkind = \"customer\"\nopening = \"10.00\"\n\
                    [mapping_gateway.acme]\naccount = \"acme\"\nsources = [\"192.0.2.1\"]\ncapacity = 30\n\
                    [routing_gateway.v1]\naccount = \"v\"\nremotes = [\"192.0.2.9:5060\"]\nprefixes = [\"49\"]\n\
                    [routing_gateway.v1.switch]\nring = true\n";
        let site = Site::parse(text).unwrap();
        assert_eq!(Site::parse(&site.to_text()).unwrap(), site);
    }

    #[test]
    fn an_unknown_key_names_line_and_nearest() {
        let error = Site::parse("[mapping_gateway.a]\naccount = \"x\"\nsources = []\ncapcity = 3\n").unwrap_err();
        assert_eq!(error, "line 4: unknown key capcity; the nearest valid one is capacity");
    }
}
