//! Why a call ended: one number per reason (spec endreasons.md 1 and 2), with what the caller is told.
//!
//! Negative numbers are the switch's own decisions, 16 is normal clearing of an answered call, 1-127 a Q.850 cause of an
//! H.323 device, 200-699 the final status of a SIP device (E-D1). Numbers are stable and never re-used.

use serde::{Deserialize, Serialize};

use crate::q850;

/// Which side ended the call (CDR field `endDirection`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EndDirection {
    /// 0: the caller.
    Caller,
    /// 1: the callee.
    Callee,
    /// 2: the switch.
    #[default]
    Server,
}

impl EndDirection {
    /// The number stored in a CDR.
    pub const fn code(self) -> u8 {
        match self {
            EndDirection::Caller => 0,
            EndDirection::Callee => 1,
            EndDirection::Server => 2,
        }
    }

    /// The word people read.
    pub const fn as_str(self) -> &'static str {
        match self {
            EndDirection::Caller => "caller",
            EndDirection::Callee => "callee",
            EndDirection::Server => "server",
        }
    }
}

/// A reason of the switch itself; the table of spec endreasons.md 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(i8)]
pub enum ServerReason {
    /// NoAvailableRouter.
    NoAvailableRouter = -1,
    /// Not Found.
    NotFound = -2,
    /// The Called Not Online.
    CalledNotOnline = -3,
    /// Unregistered.
    Unregistered = -4,
    /// Response Timeout.
    ResponseTimeout = -5,
    /// Connection Timeout.
    ConnectionTimeout = -6,
    /// No Answer.
    NoAnswer = -7,
    /// Session Timeout.
    SessionTimeout = -8,
    /// RTP Interrupted.
    RtpInterrupted = -9,
    /// Insufficient Balance.
    InsufficientBalance = -10,
    /// Rate Not Found.
    RateNotFound = -11,
    /// Account Locked.
    AccountLocked = -12,
    /// Account Expired.
    AccountExpired = -13,
    /// Account Disabled.
    AccountDisabled = -14,
    /// Authentication Failed.
    AuthenticationFailed = -15,
    /// Authentication Suspended.
    AuthenticationSuspended = -16,
    /// Authentication Timeout.
    AuthenticationTimeout = -17,
    /// Connection Limit Exceeded.
    ConnectionLimitExceeded = -18,
    /// CPS Limit.
    CpsLimit = -19,
    /// System Overload.
    SystemOverload = -20,
    /// Busy.
    Busy = -21,
    /// Caller Number Limited.
    CallerNumberLimited = -22,
    /// Callee Number Limited.
    CalleeNumberLimited = -23,
    /// Number Length Limited.
    NumberLengthLimited = -24,
    /// No Permission.
    NoPermission = -25,
    /// Dynamic Black List.
    DynamicBlackList = -26,
    /// Black List.
    BlackList = -27,
    /// Geofence Denied.
    GeofenceDenied = -28,
    /// Protocol Limit.
    ProtocolLimit = -29,
    /// Codec Mismatch.
    CodecMismatch = -30,
    /// Media Resource Exhausted.
    MediaResourceExhausted = -31,
    /// Prohibited Media IP.
    ProhibitedMediaIp = -32,
    /// Forward Loop.
    ForwardLoop = -33,
    /// Forward Denied.
    ForwardDenied = -34,
    /// Loop Detected.
    LoopDetected = -35,
    /// LRN Query Failed.
    LrnQueryFailed = -36,
    /// Number Rewrite Error.
    NumberRewriteError = -37,
    /// Max Duration.
    MaxDuration = -38,
    /// Server Forced Release.
    ServerForcedRelease = -39,
    /// System Restart.
    SystemRestart = -40,
    /// Calling Card Error.
    IvrClear = -41,
    /// Profit Limit.
    ProfitLimit = -42,
    /// Calendar Closed.
    CalendarClosed = -43,
    /// Setup Time Limit.
    SetupTimeLimit = -44,
    /// Illegal Call.
    IllegalCall = -45,
    /// Internal Error.
    InternalError = -46,
    /// Balance Exhausted.
    BalanceExhausted = -47,
    /// Rate Locked.
    RateLocked = -48,
    /// Monthly Limit.
    MonthlyLimit = -49,
}

impl ServerReason {
    /// Every reason, in the order of its number.
    pub const ALL: &'static [ServerReason] = &[
        ServerReason::NoAvailableRouter,
        ServerReason::NotFound,
        ServerReason::CalledNotOnline,
        ServerReason::Unregistered,
        ServerReason::ResponseTimeout,
        ServerReason::ConnectionTimeout,
        ServerReason::NoAnswer,
        ServerReason::SessionTimeout,
        ServerReason::RtpInterrupted,
        ServerReason::InsufficientBalance,
        ServerReason::RateNotFound,
        ServerReason::AccountLocked,
        ServerReason::AccountExpired,
        ServerReason::AccountDisabled,
        ServerReason::AuthenticationFailed,
        ServerReason::AuthenticationSuspended,
        ServerReason::AuthenticationTimeout,
        ServerReason::ConnectionLimitExceeded,
        ServerReason::CpsLimit,
        ServerReason::SystemOverload,
        ServerReason::Busy,
        ServerReason::CallerNumberLimited,
        ServerReason::CalleeNumberLimited,
        ServerReason::NumberLengthLimited,
        ServerReason::NoPermission,
        ServerReason::DynamicBlackList,
        ServerReason::BlackList,
        ServerReason::GeofenceDenied,
        ServerReason::ProtocolLimit,
        ServerReason::CodecMismatch,
        ServerReason::MediaResourceExhausted,
        ServerReason::ProhibitedMediaIp,
        ServerReason::ForwardLoop,
        ServerReason::ForwardDenied,
        ServerReason::LoopDetected,
        ServerReason::LrnQueryFailed,
        ServerReason::NumberRewriteError,
        ServerReason::MaxDuration,
        ServerReason::ServerForcedRelease,
        ServerReason::SystemRestart,
        ServerReason::IvrClear,
        ServerReason::ProfitLimit,
        ServerReason::CalendarClosed,
        ServerReason::SetupTimeLimit,
        ServerReason::IllegalCall,
        ServerReason::InternalError,
        ServerReason::BalanceExhausted,
        ServerReason::RateLocked,
        ServerReason::MonthlyLimit,
    ];

    /// The number stored in a CDR.
    pub const fn code(self) -> i32 {
        self as i8 as i32
    }

    /// The name people read.
    pub const fn name(self) -> &'static str {
        match self {
            ServerReason::NoAvailableRouter => "NoAvailableRouter",
            ServerReason::NotFound => "Not Found",
            ServerReason::CalledNotOnline => "The Called Not Online",
            ServerReason::Unregistered => "Unregistered",
            ServerReason::ResponseTimeout => "Response Timeout",
            ServerReason::ConnectionTimeout => "Connection Timeout",
            ServerReason::NoAnswer => "No Answer",
            ServerReason::SessionTimeout => "Session Timeout",
            ServerReason::RtpInterrupted => "RTP Interrupted",
            ServerReason::InsufficientBalance => "Insufficient Balance",
            ServerReason::RateNotFound => "Rate Not Found",
            ServerReason::AccountLocked => "Account Locked",
            ServerReason::AccountExpired => "Account Expired",
            ServerReason::AccountDisabled => "Account Disabled",
            ServerReason::AuthenticationFailed => "Authentication Failed",
            ServerReason::AuthenticationSuspended => "Authentication Suspended",
            ServerReason::AuthenticationTimeout => "Authentication Timeout",
            ServerReason::ConnectionLimitExceeded => "Connection Limit Exceeded",
            ServerReason::CpsLimit => "CPS Limit",
            ServerReason::SystemOverload => "System Overload",
            ServerReason::Busy => "Busy",
            ServerReason::CallerNumberLimited => "Caller Number Limited",
            ServerReason::CalleeNumberLimited => "Callee Number Limited",
            ServerReason::NumberLengthLimited => "Number Length Limited",
            ServerReason::NoPermission => "No Permission",
            ServerReason::DynamicBlackList => "Dynamic Black List",
            ServerReason::BlackList => "Black List",
            ServerReason::GeofenceDenied => "Geofence Denied",
            ServerReason::ProtocolLimit => "Protocol Limit",
            ServerReason::CodecMismatch => "Codec Mismatch",
            ServerReason::MediaResourceExhausted => "Media Resource Exhausted",
            ServerReason::ProhibitedMediaIp => "Prohibited Media IP",
            ServerReason::ForwardLoop => "Forward Loop",
            ServerReason::ForwardDenied => "Forward Denied",
            ServerReason::LoopDetected => "Loop Detected",
            ServerReason::LrnQueryFailed => "LRN Query Failed",
            ServerReason::NumberRewriteError => "Number Rewrite Error",
            ServerReason::MaxDuration => "Max Duration",
            ServerReason::ServerForcedRelease => "Server Forced Release",
            ServerReason::SystemRestart => "System Restart",
            ServerReason::IvrClear => "Calling Card Error",
            ServerReason::ProfitLimit => "Profit Limit",
            ServerReason::CalendarClosed => "Calendar Closed",
            ServerReason::SetupTimeLimit => "Setup Time Limit",
            ServerReason::IllegalCall => "Illegal Call",
            ServerReason::InternalError => "Internal Error",
            ServerReason::BalanceExhausted => "Balance Exhausted",
            ServerReason::RateLocked => "Rate Locked",
            ServerReason::MonthlyLimit => "Monthly Limit",
        }
    }

    /// Status the caller gets when the call ends before its answer. Reasons that only occur during a call carry the
    /// status that fits their cause; they go out as a BYE.
    pub const fn status(self) -> u16 {
        match self {
            ServerReason::InsufficientBalance | ServerReason::BalanceExhausted => 402,
            ServerReason::Unregistered
            | ServerReason::RateNotFound
            | ServerReason::AccountLocked
            | ServerReason::AccountExpired
            | ServerReason::AccountDisabled
            | ServerReason::AuthenticationFailed
            | ServerReason::AuthenticationSuspended
            | ServerReason::CallerNumberLimited
            | ServerReason::CalleeNumberLimited
            | ServerReason::NoPermission
            | ServerReason::DynamicBlackList
            | ServerReason::BlackList
            | ServerReason::GeofenceDenied
            | ServerReason::ForwardDenied
            | ServerReason::IllegalCall
            | ServerReason::RateLocked
            | ServerReason::MonthlyLimit => 403,
            ServerReason::NotFound => 404,
            ServerReason::SessionTimeout | ServerReason::AuthenticationTimeout => 408,
            ServerReason::CalledNotOnline
            | ServerReason::ResponseTimeout
            | ServerReason::NoAnswer
            | ServerReason::IvrClear
            | ServerReason::CalendarClosed
            | ServerReason::SetupTimeLimit => 480,
            ServerReason::ForwardLoop | ServerReason::LoopDetected => 482,
            ServerReason::NumberLengthLimited | ServerReason::NumberRewriteError => 484,
            ServerReason::Busy => 486,
            ServerReason::ProtocolLimit | ServerReason::CodecMismatch | ServerReason::ProhibitedMediaIp => 488,
            ServerReason::InternalError => 500,
            ServerReason::NoAvailableRouter
            | ServerReason::ConnectionTimeout
            | ServerReason::RtpInterrupted
            | ServerReason::ConnectionLimitExceeded
            | ServerReason::CpsLimit
            | ServerReason::SystemOverload
            | ServerReason::MediaResourceExhausted
            | ServerReason::LrnQueryFailed
            | ServerReason::MaxDuration
            | ServerReason::ServerForcedRelease
            | ServerReason::SystemRestart
            | ServerReason::ProfitLimit => 503,
        }
    }

    /// Q.850 cause for the `Reason` header and for H.323.
    pub const fn q850(self) -> u8 {
        match self {
            ServerReason::NotFound => 1,
            ServerReason::NoAvailableRouter | ServerReason::ProfitLimit => 3,
            ServerReason::IvrClear => 16,
            ServerReason::Busy => 17,
            ServerReason::NoAnswer => 19,
            ServerReason::CalledNotOnline => 20,
            ServerReason::Unregistered
            | ServerReason::InsufficientBalance
            | ServerReason::RateNotFound
            | ServerReason::AccountLocked
            | ServerReason::AccountExpired
            | ServerReason::AccountDisabled
            | ServerReason::AuthenticationFailed
            | ServerReason::AuthenticationSuspended
            | ServerReason::CallerNumberLimited
            | ServerReason::CalleeNumberLimited
            | ServerReason::DynamicBlackList
            | ServerReason::BlackList
            | ServerReason::GeofenceDenied
            | ServerReason::ProhibitedMediaIp
            | ServerReason::ForwardDenied
            | ServerReason::IllegalCall
            | ServerReason::BalanceExhausted
            | ServerReason::RateLocked
            | ServerReason::MonthlyLimit => 21,
            ServerReason::ForwardLoop | ServerReason::LoopDetected => 25,
            ServerReason::NumberLengthLimited | ServerReason::NumberRewriteError => 28,
            ServerReason::MaxDuration | ServerReason::ServerForcedRelease | ServerReason::CalendarClosed => 31,
            ServerReason::RtpInterrupted
            | ServerReason::LrnQueryFailed
            | ServerReason::SystemRestart
            | ServerReason::InternalError => 41,
            ServerReason::ConnectionLimitExceeded | ServerReason::CpsLimit | ServerReason::SystemOverload => 42,
            ServerReason::MediaResourceExhausted => 47,
            ServerReason::NoPermission => 57,
            ServerReason::CodecMismatch => 65,
            ServerReason::ProtocolLimit => 88,
            ServerReason::ResponseTimeout
            | ServerReason::ConnectionTimeout
            | ServerReason::SessionTimeout
            | ServerReason::AuthenticationTimeout
            | ServerReason::SetupTimeLimit => 102,
        }
    }

    /// The reason with this number.
    pub fn from_code(code: i32) -> Option<ServerReason> {
        Self::ALL.iter().copied().find(|r| r.code() == code)
    }
}

/// Why a call ended, whoever ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EndReason {
    /// The switch decided.
    Server(ServerReason),
    /// An answered call was hung up by a side (16).
    Normal,
    /// A SIP device refused with this status; 487 when the caller gave up.
    Sip(u16),
    /// An H.323 device released with this cause.
    Q850(u8),
}

impl EndReason {
    /// The number stored in a CDR (`endReason`).
    pub const fn code(self) -> i32 {
        match self {
            EndReason::Server(reason) => reason.code(),
            EndReason::Normal => 16,
            EndReason::Sip(status) => status as i32,
            EndReason::Q850(cause) => cause as i32,
        }
    }

    /// Q.850 cause of this end.
    pub const fn q850(self) -> u8 {
        match self {
            EndReason::Server(reason) => reason.q850(),
            EndReason::Normal => 16,
            EndReason::Sip(status) => q850::of_sip(status),
            EndReason::Q850(cause) => cause,
        }
    }

    /// Status the caller gets when the call was not answered.
    pub const fn status(self) -> u16 {
        match self {
            EndReason::Server(reason) => reason.status(),
            EndReason::Normal => 480,
            EndReason::Sip(status) => status,
            EndReason::Q850(cause) => q850::to_sip(cause),
        }
    }

    /// Text for people: the server reason's name, `SIP 486` or `Q.850 17 user busy`.
    pub fn text(self) -> String {
        match self {
            EndReason::Server(reason) => reason.name().to_owned(),
            EndReason::Normal => "normal clearing".to_owned(),
            EndReason::Sip(status) => format!("SIP {status}"),
            EndReason::Q850(cause) => format!("Q.850 {cause} {}", q850::name(cause)),
        }
    }
}

impl From<ServerReason> for EndReason {
    fn from(reason: ServerReason) -> EndReason {
        EndReason::Server(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_dense_and_found_again() {
        let mut codes: Vec<i32> = ServerReason::ALL.iter().map(|r| r.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes, (-49..=-1).collect::<Vec<_>>());
        for &reason in ServerReason::ALL {
            assert_eq!(ServerReason::from_code(reason.code()), Some(reason));
            assert!((400..700).contains(&reason.status()), "{}", reason.name());
        }
    }

    #[test]
    fn what_the_caller_is_told() {
        let told = |r: ServerReason| (r.status(), r.q850());
        assert_eq!(told(ServerReason::NoAvailableRouter), (503, 3));
        assert_eq!(told(ServerReason::InsufficientBalance), (402, 21));
        assert_eq!(told(ServerReason::NoAnswer), (480, 19));
        assert_eq!(EndReason::Sip(486).q850(), 17);
        assert_eq!(EndReason::Normal.code(), 16);
    }
}
