//! System parameters that calls read, typed. Names and ranges are in the appliance's parameter table.

use tandem_media::decide::SystemMode;

/// Values of system parameters; the default is the default of the spec's parameter list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// SS_SIP_TIMEOUT_INVITE.
    pub timeout_invite_s: u32,
    /// SS_SIP_TIMEOUT_TRYING.
    pub timeout_trying_s: u32,
    /// SS_SIP_TIMEOUT_SESSION_PROGRESS.
    pub timeout_session_progress_s: u32,
    /// SS_SIP_TIMEOUT_SESSION_PROGRESS_SDP.
    pub timeout_session_progress_sdp_s: u32,
    /// SS_SIP_TIMEOUT_RINGING.
    pub timeout_ringing_s: u32,
    /// SS_GATEWAY_SWITCH_LIMIT; `None` unlimited.
    pub switch_limit: Option<u32>,
    /// SS_GATEWAY_SWITCH_UNTIL_CONNECT.
    pub switch_until_connect: bool,
    /// SS_GATEWAY_SWITCH_STOP_AFTER_RTP_START.
    pub switch_stop_after_rtp_start: bool,
    /// SS_GATEWAY_SWITCH_STOP_AFTER_USER_BUSY.
    pub switch_stop_after_user_busy: bool,
    /// SS_SIP_STOP_SWITCH_AFTER_SDP.
    pub switch_stop_after_sdp: bool,
    /// SS_TRY_PROTECT_ROUTE_DELAY; 0 no limit.
    pub protect_route_delay_s: u32,
    /// SS_MEDIAPROXYMODE.
    pub media_proxy_mode: SystemMode,
    /// SS_MEDIAPROXYBETWEENNET.
    pub media_proxy_between_net: bool,
    /// SS_MEDIAPROXYBEHINDNAT.
    pub media_proxy_behind_nat: bool,
    /// SS_MEDIAPROXYSAMENAT.
    pub media_proxy_same_nat: bool,
    /// SS_NOMEDIAHANGUPTIME; 0 off.
    pub no_media_hangup_s: u32,
    /// SS_MAXCALLDURATION; 0 none.
    pub max_call_duration_s: u32,
    /// SS_REPLY_UNAUTHORIZED.
    pub reply_unauthorized: bool,
    /// TANDEM_NO_ROUTE_CODE.
    pub no_route_code: u16,
    /// SERVER_BILLING_PREVENT_OVERDRAFT_ADVANCE_TIME.
    pub overdraft_advance_min: u32,
    /// SERVER_BILLING_FREE_E164S: exact numbers or prefixes with a trailing `*`.
    pub free_numbers: Vec<String>,
    /// SERVER_BILLING_NO_CDR_E164S.
    pub no_cdr_numbers: Vec<String>,
    /// SERVER_BILLING_GATEWAY_ROUTE_PREFIX: digits removed before the rate look-up.
    pub route_prefix_digits: u32,
    /// SS_GATEWAY_FEE_RATE_ROUTE_SORT_CONFIG.
    pub cost_sort: SortPlace,
}

/// Where a sort key stands in the order of routing gateways (R-D13).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortPlace {
    /// Not used.
    #[default]
    None,
    /// Before priority.
    BeforePriority,
    /// After priority.
    AfterPriority,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            timeout_invite_s: 10,
            timeout_trying_s: 20,
            timeout_session_progress_s: 20,
            timeout_session_progress_sdp_s: 120,
            timeout_ringing_s: 120,
            switch_limit: None,
            switch_until_connect: false,
            switch_stop_after_rtp_start: true,
            switch_stop_after_user_busy: true,
            switch_stop_after_sdp: false,
            protect_route_delay_s: 0,
            media_proxy_mode: SystemMode::Auto,
            media_proxy_between_net: true,
            media_proxy_behind_nat: true,
            media_proxy_same_nat: false,
            no_media_hangup_s: 30,
            max_call_duration_s: 0,
            reply_unauthorized: true,
            no_route_code: 503,
            overdraft_advance_min: 1,
            free_numbers: Vec::new(),
            no_cdr_numbers: Vec::new(),
            route_prefix_digits: 0,
            cost_sort: SortPlace::None,
        }
    }
}
