//! System parameters: name, default, range, unit, meaning, and which room reads them.
//!
//! A value is text as the operator writes it; [`Params`] holds what differs from the default, validated one by one and
//! together (the pair FP and FU of billing.md 6.6). Typed views are made from it for the rooms that read.

pub mod table;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use rust_decimal::Decimal;
use tandem_call::settings::{Settings, SortPlace};
use tandem_media::decide::SystemMode;
use tandem_rating::fee::BillingParams;
use tandem_sip::config::ResendSchedule;
use thiserror::Error;

pub use table::TABLE;

/// How CDRs leave the switch (cdr.md 5); in force from the next look on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CdrSettings {
    /// SERVER_CDR_FILE_WRITE_INTERVAL.
    pub write_interval: Duration,
    /// SERVER_CDR_FILE_WRITE_MAX.
    pub files_max: usize,
    /// SS_CDR_RECORD_TO_FILE.
    pub hourly: bool,
    /// SS_CDR_RECORD_NONCONNECT.
    pub hourly_unanswered: bool,
    /// TANDEM_CDR_RETENTION_DAYS; 0 keeps all.
    pub retention_days: u32,
    /// TANDEM_JOURNAL_MAX_MB; 0 keeps all.
    pub journal_max_mib: u32,
    /// SERVER_CDR_REAL_TIME_REPORT_SERVER as a URL.
    pub report_to: Option<String>,
}

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `On` or `Off`.
    Switch,
    /// `0` or `1`.
    Bit,
    /// A whole number in a range.
    Int {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A word, or a whole number in a range.
    WordOrInt {
        /// The word.
        word: &'static str,
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Two ports `low,high`, 1024-65535.
    Ports,
    /// A ToS byte, `0x00` to `0xfc`.
    Tos,
    /// A decimal above 0.
    DecimalAbove0,
    /// 1-20 waits of 0.1-32 s (S-D1).
    Schedule,
    /// Numbers, exact or a prefix with a trailing `*`, comma separated.
    NumberPatterns,
    /// Hours 0-23, comma separated.
    Hours,
    /// An address to send to by HTTP, as `http://host:8080/path` or `host:8080`; empty is off.
    HttpServer,
    /// Any text of at most 1,000 characters on one line.
    Text,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    /// Name, kept exactly.
    pub name: &'static str,
    /// Default value.
    pub default: &'static str,
    /// Range.
    pub kind: Kind,
    /// Unit.
    pub unit: &'static str,
    /// What it does.
    pub meaning: &'static str,
    /// Which room reads it in this version; `None` while the feature is not there yet.
    pub reader: Option<&'static str>,
}

/// Older names that mean the same setting (spec rates.md 9, parameters-ss.csv).
const ALIASES: &[(&str, &str)] = &[
    ("SERVER_GATEWAY_ROUTE_FEE_RATE_SORT_CONFIG", "SS_GATEWAY_FEE_RATE_ROUTE_SORT_CONFIG"),
    ("SERVER_GATEWAY_ROUTE_FEE_RATE_BEFORE_QUALITY", "SS_GATEWAY_FEE_RATE_ROUTE_BEFORE_ASR"),
    ("SS_AUTHCHALLENGEMODE", "SS_SIP_AUTHENTICATION_CODE"),
];

/// A name or value that is refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ParamError {
    /// No such parameter.
    #[error("{name} is no system parameter; the nearest is {nearest}")]
    Unknown {
        /// As given.
        name: String,
        /// Nearest name.
        nearest: &'static str,
    },
    /// The value is not in the range.
    #[error("{name} = {value:?} is not allowed; it takes {allowed}")]
    Value {
        /// Parameter.
        name: &'static str,
        /// As given.
        value: String,
        /// Range in words.
        allowed: String,
    },
    /// Two parameters do not fit each other.
    #[error("{0}")]
    Pair(String),
}

impl Kind {
    /// The allowed range in words.
    pub fn allowed(self) -> String {
        match self {
            Kind::Switch => "On or Off".to_owned(),
            Kind::Bit => "0 or 1".to_owned(),
            Kind::Int { min, max } => format!("a whole number from {min} to {max}"),
            Kind::WordOrInt { word, min, max } => format!("{word} or a whole number from {min} to {max}"),
            Kind::OneOf(words) => format!("one of {}", words.join(", ")),
            Kind::Ports => "two ports low,high from 1024 to 65535, low below high".to_owned(),
            Kind::Tos => "a byte from 0x00 to 0xfc".to_owned(),
            Kind::DecimalAbove0 => "a decimal above 0 with at most 8 decimals".to_owned(),
            Kind::Schedule => "1 to 20 waits of 0.1 to 32 seconds, comma separated".to_owned(),
            Kind::NumberPatterns => "numbers, exact or with a trailing *, comma separated".to_owned(),
            Kind::Hours => "hours from 0 to 23, comma separated".to_owned(),
            Kind::HttpServer => {
                "http://host[:port][/path] or host:port, without TLS (a proxy beside the switch can add it), or nothing"
                    .to_owned()
            }
            Kind::Text => "one line of at most 1000 characters".to_owned(),
        }
    }

    fn accepts(self, value: &str) -> bool {
        let int = |value: &str, min: u64, max: u64| value.parse::<u64>().is_ok_and(|n| (min..=max).contains(&n));
        match self {
            Kind::Switch => matches!(value, "On" | "Off"),
            Kind::Bit => matches!(value, "0" | "1"),
            Kind::Int { min, max } => int(value, min, max),
            Kind::WordOrInt { word, min, max } => value == word || int(value, min, max),
            Kind::OneOf(words) => words.contains(&value),
            Kind::Ports => ports(value).is_some(),
            Kind::Tos => tos(value).is_some(),
            Kind::DecimalAbove0 => {
                Decimal::from_str(value).is_ok_and(|d| d > Decimal::ZERO && d.normalize().scale() <= 8)
            }
            Kind::Schedule => value.parse::<ResendSchedule>().is_ok(),
            Kind::NumberPatterns => patterns(value).iter().all(|p| {
                let digits = p.strip_suffix('*').unwrap_or(p);
                (!digits.is_empty() || p == "*") && digits.len() <= 64 && digits.bytes().all(|b| b.is_ascii_digit())
            }),
            Kind::Hours => value.is_empty() || value.split(',').all(|h| int(h.trim(), 0, 23)),
            Kind::HttpServer => value.is_empty() || http_server(value).is_some(),
            Kind::Text => value.chars().count() <= 1_000 && !value.contains(['\n', '\r', '\0']),
        }
    }
}

/// The row of `name`; older names find the row that replaced them.
///
/// # Errors
/// [`ParamError::Unknown`] with the nearest name.
pub fn find(name: &str) -> Result<&'static Param, ParamError> {
    let name = ALIASES.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new);
    if let Some(param) = TABLE.iter().find(|p| p.name == name) {
        return Ok(param);
    }
    let nearest = TABLE
        .iter()
        .max_by(|a, b| strsim::jaro_winkler(a.name, name).total_cmp(&strsim::jaro_winkler(b.name, name)))
        .map_or("", |p| p.name);
    Err(ParamError::Unknown { name: name.to_owned(), nearest })
}

/// Values that differ from the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params {
    values: BTreeMap<&'static str, String>,
}

impl Params {
    /// The value in force.
    pub fn get(&self, param: &'static Param) -> &str {
        self.values.get(param.name).map_or(param.default, String::as_str)
    }

    /// Sets one value; nothing changes on an error.
    ///
    /// # Errors
    /// Unknown name, value outside the range, or a pair that does not fit.
    pub fn set(&mut self, name: &str, value: &str) -> Result<&'static Param, ParamError> {
        let param = find(name)?;
        let value = value.trim();
        if !param.kind.accepts(value) {
            return Err(ParamError::Value { name: param.name, value: value.to_owned(), allowed: param.kind.allowed() });
        }
        let mut next = self.clone();
        next.values.insert(param.name, value.to_owned());
        next.billing()?;
        *self = next;
        Ok(param)
    }

    fn text(&self, name: &'static str) -> &str {
        // Invariant: `name` is a literal of this file and the test below finds each of them in the table.
        self.values
            .get(name)
            .map(String::as_str)
            .or_else(|| TABLE.iter().find(|p| p.name == name).map(|p| p.default))
            .unwrap_or("")
    }

    fn int(&self, name: &'static str) -> u32 {
        self.text(name).parse().unwrap_or(0)
    }

    fn on(&self, name: &'static str) -> bool {
        matches!(self.text(name), "On" | "1")
    }

    /// Billing parameters, which each call keeps from its answer on.
    ///
    /// # Errors
    /// [`ParamError::Pair`] when FP and FU do not fit (billing.md 6.6).
    pub fn billing(&self) -> Result<BillingParams, ParamError> {
        let params = BillingParams {
            fp: self.int("SERVER_BILLING_FEE_PRECISTION") as u8,
            fu: Decimal::from_str(self.text("SERVER_BILLING_FEE_UNIT")).unwrap_or(Decimal::new(1, 2)),
            p_hold_ms: self.int("SERVER_BILLING_HOLD_TIME_PRECISION") as u16,
            free_s: self.int("SERVER_BILLING_FREE_TIME"),
            quantise_rate: self.on("TANDEM_RATE_QUANTISE"),
            vendor_free_time: self.on("TANDEM_FREE_TIME_VENDOR"),
        };
        params.validate().map_err(|e| ParamError::Pair(e.to_string()))?;
        Ok(params)
    }

    /// What the call room reads.
    pub fn settings(&self) -> Settings {
        Settings {
            timeout_invite_s: self.int("SS_SIP_TIMEOUT_INVITE"),
            timeout_trying_s: self.int("SS_SIP_TIMEOUT_TRYING"),
            timeout_session_progress_s: self.int("SS_SIP_TIMEOUT_SESSION_PROGRESS"),
            timeout_session_progress_sdp_s: self.int("SS_SIP_TIMEOUT_SESSION_PROGRESS_SDP"),
            timeout_ringing_s: self.int("SS_SIP_TIMEOUT_RINGING"),
            switch_limit: self.text("SS_GATEWAY_SWITCH_LIMIT").parse().ok(),
            switch_until_connect: self.on("SS_GATEWAY_SWITCH_UNTIL_CONNECT"),
            switch_stop_after_rtp_start: self.on("SS_GATEWAY_SWITCH_STOP_AFTER_RTP_START"),
            switch_stop_after_user_busy: self.on("SS_GATEWAY_SWITCH_STOP_AFTER_USER_BUSY"),
            switch_stop_after_sdp: self.on("SS_SIP_STOP_SWITCH_AFTER_SDP"),
            protect_route_delay_s: self.int("SS_TRY_PROTECT_ROUTE_DELAY"),
            media_proxy_mode: match self.text("SS_MEDIAPROXYMODE") {
                "Off" => SystemMode::Off,
                "On" => SystemMode::On,
                "Must On" => SystemMode::MustOn,
                _ => SystemMode::Auto,
            },
            media_proxy_between_net: self.on("SS_MEDIAPROXYBETWEENNET"),
            media_proxy_behind_nat: self.on("SS_MEDIAPROXYBEHINDNAT"),
            media_proxy_same_nat: self.on("SS_MEDIAPROXYSAMENAT"),
            no_media_hangup_s: self.int("SS_NOMEDIAHANGUPTIME"),
            max_call_duration_s: self.int("SS_MAXCALLDURATION"),
            reply_unauthorized: self.on("SS_REPLY_UNAUTHORIZED"),
            no_route_code: self.int("TANDEM_NO_ROUTE_CODE") as u16,
            overdraft_advance_min: self.int("SERVER_BILLING_PREVENT_OVERDRAFT_ADVANCE_TIME"),
            free_numbers: patterns(self.text("SERVER_BILLING_FREE_E164S")),
            no_cdr_numbers: patterns(self.text("SERVER_BILLING_NO_CDR_E164S")),
            route_prefix_digits: self.int("SERVER_BILLING_GATEWAY_ROUTE_PREFIX"),
            cost_sort: match self.text("SS_GATEWAY_FEE_RATE_ROUTE_SORT_CONFIG") {
                "before_priority" => SortPlace::BeforePriority,
                "after_priority" => SortPlace::AfterPriority,
                _ => SortPlace::None,
            },
        }
    }

    /// SS_SIP_RESEND_INTERVAL.
    pub fn resend(&self) -> ResendSchedule {
        self.text("SS_SIP_RESEND_INTERVAL").parse().unwrap_or_default()
    }

    /// Which calls leave a record (cdr.md 3): illegal, zero hold time, ended by the switch.
    pub fn record_rules(&self) -> (bool, bool, bool) {
        (
            self.on("SERVER_BILLING_RECORD_ILLEGAL_CALL"),
            self.on("SERVER_BILLING_RECORD_ZERO_HOLD_TIME"),
            self.on("SERVER_BILLING_RECORD_SERVER_HANG_UP"),
        )
    }

    /// SERVER_MAX_CDR_PENDING_LIST_LENGTH.
    pub fn cdr_pending_max(&self) -> u64 {
        self.int("SERVER_MAX_CDR_PENDING_LIST_LENGTH").into()
    }

    /// SERVER_QUERY_CDR_MAX_DAY_INTERVAL, and the hours of SERVER_QUERY_CDR_DENY_TIME.
    pub fn cdr_query_rules(&self) -> (u32, Vec<u8>) {
        let hours = self.text("SERVER_QUERY_CDR_DENY_TIME").split(',').filter_map(|hour| hour.trim().parse().ok());
        (self.int("SERVER_QUERY_CDR_MAX_DAY_INTERVAL"), hours.collect())
    }

    /// How CDRs leave the switch (cdr.md 5).
    pub fn cdr_output(&self) -> CdrSettings {
        CdrSettings {
            write_interval: Duration::from_secs(self.int("SERVER_CDR_FILE_WRITE_INTERVAL").into()),
            files_max: self.int("SERVER_CDR_FILE_WRITE_MAX") as usize,
            hourly: self.on("SS_CDR_RECORD_TO_FILE"),
            hourly_unanswered: self.on("SS_CDR_RECORD_NONCONNECT"),
            retention_days: self.int("TANDEM_CDR_RETENTION_DAYS"),
            journal_max_mib: self.int("TANDEM_JOURNAL_MAX_MB"),
            report_to: http_server(self.text("SERVER_CDR_REAL_TIME_REPORT_SERVER")),
        }
    }

    /// SERVER_VERIFY_CLEARING_CUSTOMER_REMAIN_MONEY_LIMIT: whether vendor balances bound calls.
    pub fn check_clearing(&self) -> bool {
        self.on("SERVER_VERIFY_CLEARING_CUSTOMER_REMAIN_MONEY_LIMIT")
    }

    /// SS_RTP_PORT_RANGE, inclusive.
    pub fn rtp_ports(&self) -> (u16, u16) {
        ports(self.text("SS_RTP_PORT_RANGE")).unwrap_or((10_000, 39_999))
    }

    /// SS_QOS_SIGNAL and SS_QOS_RTP; the two low bits are ECN and stay clear (S-D18).
    pub fn qos(&self) -> (u8, u8) {
        (tos(self.text("SS_QOS_SIGNAL")).unwrap_or(0xa0), tos(self.text("SS_QOS_RTP")).unwrap_or(0xa0))
    }
}

fn ports(value: &str) -> Option<(u16, u16)> {
    let (low, high) = value.split_once(',')?;
    let (low, high) = (low.trim().parse::<u16>().ok()?, high.trim().parse::<u16>().ok()?);
    (low >= 1_024 && low < high).then_some((low, high))
}

/// The URL meant by `value`; `None` when it is none.
fn http_server(value: &str) -> Option<String> {
    let rest = value.strip_prefix("http://").unwrap_or(value);
    let (host, path) = rest.split_once('/').map_or((rest, ""), |(host, path)| (host, path));
    let (name, port) = match host.rsplit_once(':') {
        // The colons of an IPv6 address stand in brackets.
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let has_scheme = rest.len() < value.len();
    let named = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    };
    let port_fits = port.map_or(has_scheme, |port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let path_fits = path.bytes().all(|b| b.is_ascii_graphic());
    (named && port_fits && path_fits && value.len() <= 1_000).then(|| format!("http://{host}/{path}"))
}

fn tos(value: &str) -> Option<u8> {
    let byte = match value.strip_prefix("0x") {
        Some(hex) => u8::from_str_radix(hex, 16).ok()?,
        None => value.parse().ok()?,
    };
    (byte <= 0xfc).then_some(byte & 0xfc)
}

fn patterns(value: &str) -> Vec<String> {
    value.split(',').map(str::trim).filter(|p| !p.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_lies_in_its_own_range_and_names_are_unique() {
        let mut names = std::collections::HashSet::new();
        for param in TABLE {
            assert!(
                param.kind.accepts(param.default),
                "{} = {:?}: {}",
                param.name,
                param.default,
                param.kind.allowed()
            );
            assert!(names.insert(param.name), "{} twice", param.name);
        }
    }

    #[test]
    fn typed_defaults_are_the_defaults_of_the_rooms() {
        let params = Params::default();
        assert_eq!(params.settings(), Settings::default());
        assert_eq!(params.billing().unwrap(), BillingParams::default());
        assert_eq!(params.rtp_ports(), (10_000, 39_999));
        assert_eq!(params.record_rules(), (true, true, true));
    }

    #[test]
    fn a_bad_value_names_parameter_value_and_range_and_changes_nothing() {
        let mut params = Params::default();
        let error = params.set("SS_SIP_TIMEOUT_INVITE", "0").unwrap_err().to_string();
        assert_eq!(error, "SS_SIP_TIMEOUT_INVITE = \"0\" is not allowed; it takes a whole number from 1 to 120");
        let error = params.set("SERVER_BILLING_FEE_PRECISION", "3").unwrap_err().to_string();
        assert!(error.contains("SERVER_BILLING_FEE_PRECISTION"), "{error}");
        assert!(params.set("SERVER_BILLING_FEE_UNIT", "0.025").is_err(), "0.025 does not fit two decimals");
        assert_eq!(params, Params::default());
        params.set("SERVER_BILLING_FEE_PRECISTION", "4").unwrap();
        assert_eq!(params.billing().unwrap().fp, 4);
    }

    #[test]
    fn a_server_is_named_by_url_or_by_host_and_port() {
        for (value, url) in [
            ("http://192.0.2.1:8080/cdr?x=1", Some("http://192.0.2.1:8080/cdr?x=1")),
            ("billing.example:8080", Some("http://billing.example:8080/")),
            ("http://billing.example", Some("http://billing.example/")),
            ("http://[2001:db8::1]:80/a", Some("http://[2001:db8::1]:80/a")),
            ("billing.example", None),
            ("https://billing.example/", None),
            ("http://:80/", None),
            ("http://a b:80/", None),
            ("host:99999", None),
            ("host:0", None),
        ] {
            assert_eq!(http_server(value).as_deref(), url, "{value}");
        }
        let mut params = Params::default();
        let name = "SERVER_CDR_REAL_TIME_REPORT_SERVER";
        assert!(params.set(name, "https://x/").unwrap_err().to_string().contains("without TLS"));
        assert_eq!(params.cdr_output().report_to, None);
        params.set(name, "127.0.0.1:80").unwrap();
        assert_eq!(params.cdr_output().report_to.as_deref(), Some("http://127.0.0.1:80/"));
    }

    #[test]
    fn older_names_reach_the_setting_that_replaced_them() {
        let mut params = Params::default();
        params.set("SERVER_GATEWAY_ROUTE_FEE_RATE_SORT_CONFIG", "before_priority").unwrap();
        assert_eq!(params.settings().cost_sort, SortPlace::BeforePriority);
    }
}
