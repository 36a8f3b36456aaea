//! System parameters by the name the field knows, as far as calls, SIP and rating read them.
//!
//! The daemon's own table (with ranges, units and help) cannot be imported; a ladder only needs name -> typed setting.

use std::str::FromStr;

use jiff::tz::TimeZone;
use tandem_call::settings::SortPlace;
use tandem_media::decide::SystemMode;

use crate::site::Site;

impl Site {
    /// Sets one system parameter from its text.
    ///
    /// # Errors
    /// One sentence naming the parameter and the value.
    pub fn set_param(&mut self, name: &str, value: &str) -> Result<(), String> {
        let s = &mut self.settings;
        match name {
            "SS_SIP_TIMEOUT_INVITE" => s.timeout_invite_s = number(name, value)?,
            "SS_SIP_TIMEOUT_TRYING" => s.timeout_trying_s = number(name, value)?,
            "SS_SIP_TIMEOUT_SESSION_PROGRESS" => s.timeout_session_progress_s = number(name, value)?,
            "SS_SIP_TIMEOUT_SESSION_PROGRESS_SDP" => s.timeout_session_progress_sdp_s = number(name, value)?,
            "SS_SIP_TIMEOUT_RINGING" => s.timeout_ringing_s = number(name, value)?,
            "SS_GATEWAY_SWITCH_LIMIT" => {
                s.switch_limit = if value == "None" { None } else { Some(number(name, value)?) };
            }
            "SS_GATEWAY_SWITCH_UNTIL_CONNECT" => s.switch_until_connect = switch(name, value)?,
            "SS_GATEWAY_SWITCH_STOP_AFTER_RTP_START" => s.switch_stop_after_rtp_start = switch(name, value)?,
            "SS_GATEWAY_SWITCH_STOP_AFTER_USER_BUSY" => s.switch_stop_after_user_busy = switch(name, value)?,
            "SS_SIP_STOP_SWITCH_AFTER_SDP" => s.switch_stop_after_sdp = switch(name, value)?,
            "SS_TRY_PROTECT_ROUTE_DELAY" => s.protect_route_delay_s = number(name, value)?,
            "SS_MEDIAPROXYMODE" => {
                s.media_proxy_mode = match value {
                    "Off" => SystemMode::Off,
                    "On" => SystemMode::On,
                    "Auto" => SystemMode::Auto,
                    "Must On" => SystemMode::MustOn,
                    _ => return Err(format!("{name} takes Off, On, Auto, \"Must On\", not {value:?}")),
                }
            }
            "SS_MEDIAPROXYBETWEENNET" => s.media_proxy_between_net = switch(name, value)?,
            "SS_MEDIAPROXYBEHINDNAT" => s.media_proxy_behind_nat = switch(name, value)?,
            "SS_MEDIAPROXYSAMENAT" => s.media_proxy_same_nat = switch(name, value)?,
            "SS_NOMEDIAHANGUPTIME" => s.no_media_hangup_s = number(name, value)?,
            "SS_MAXCALLDURATION" => s.max_call_duration_s = number(name, value)?,
            "SS_REPLY_UNAUTHORIZED" => s.reply_unauthorized = switch(name, value)?,
            "TANDEM_NO_ROUTE_CODE" => s.no_route_code = number(name, value)?,
            "SS_GATEWAY_FEE_RATE_ROUTE_SORT_CONFIG" => {
                s.cost_sort = match value {
                    "none" => SortPlace::None,
                    "before_priority" => SortPlace::BeforePriority,
                    "after_priority" => SortPlace::AfterPriority,
                    _ => return Err(format!("{name} takes none, before_priority, after_priority, not {value:?}")),
                }
            }
            "SERVER_BILLING_PREVENT_OVERDRAFT_ADVANCE_TIME" => s.overdraft_advance_min = number(name, value)?,
            "SERVER_BILLING_FREE_E164S" => s.free_numbers = list(value),
            "SERVER_BILLING_NO_CDR_E164S" => {
                s.no_cdr_numbers = list(value);
                self.rules.no_cdr_numbers = list(value);
            }
            "SERVER_BILLING_GATEWAY_ROUTE_PREFIX" => s.route_prefix_digits = number(name, value)?,
            "SERVER_BILLING_FEE_PRECISTION" => self.billing.fp = number(name, value)?,
            "SERVER_BILLING_FEE_UNIT" => self.billing.fu = number(name, value)?,
            "SERVER_BILLING_HOLD_TIME_PRECISION" => self.billing.p_hold_ms = number(name, value)?,
            "SERVER_BILLING_FREE_TIME" => self.billing.free_s = number(name, value)?,
            "TANDEM_RATE_QUANTISE" => self.billing.quantise_rate = switch(name, value)?,
            "TANDEM_FREE_TIME_VENDOR" => self.billing.vendor_free_time = switch(name, value)?,
            "SERVER_BILLING_RECORD_ILLEGAL_CALL" => self.rules.record_illegal = bit(name, value)?,
            "SERVER_BILLING_RECORD_ZERO_HOLD_TIME" => self.rules.record_zero_hold = bit(name, value)?,
            "SERVER_BILLING_RECORD_SERVER_HANG_UP" => self.rules.record_server_hang_up = bit(name, value)?,
            "SERVER_VERIFY_CLEARING_CUSTOMER_REMAIN_MONEY_LIMIT" => self.rules.check_clearing = switch(name, value)?,
            // The zone of the server is no parameter of the product; days and periods need one.
            "ZONE" => self.rules.zone = TimeZone::get(value).map_err(|error| format!("{name}: {error}"))?,
            "SS_SIP_RESEND_INTERVAL" => self.resend = value.parse().map_err(|e| format!("{name}: {e}"))?,
            _ => return Err(format!("no parameter {name} that a ladder can set")),
        }
        Ok(())
    }
}

pub(crate) fn number<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{name} takes a number, not {value:?}"))
}

pub(crate) fn switch(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "On" | "on" => Ok(true),
        "Off" | "off" => Ok(false),
        _ => Err(format!("{name} takes On or Off, not {value:?}")),
    }
}

fn bit(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "1" => Ok(true),
        "0" => Ok(false),
        _ => Err(format!("{name} takes 0 or 1, not {value:?}")),
    }
}

pub(crate) fn list(value: &str) -> Vec<String> {
    value.split(',').filter(|v| !v.is_empty()).map(str::to_owned).collect()
}
