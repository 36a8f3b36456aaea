//! What an endpoint is told from outside: where it listens, how it resends, whom it answers and its bounds.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

/// Most elements of a resend list (spec signalling.md S-D1).
pub const RESEND_ELEMENTS_MAX: usize = 20;
/// Shortest wait before a retransmission, milliseconds (spec signalling.md S-D1).
pub const RESEND_WAIT_MIN_MS: u32 = 100;
/// Longest wait before a retransmission, milliseconds (spec signalling.md S-D1).
pub const RESEND_WAIT_MAX_MS: u32 = 32_000;

/// `SS_SIP_RESEND_INTERVAL`: the wait before each retransmission (spec signalling.md 4, S-D1).
///
/// Element *i* is the wait before the *i*-th retransmission; the transaction fails at the sum of all elements plus the
/// first one. The default is that of RFC 3261 with T1 = 0.5 s and T2 = 4 s: 11 sends, failure after 32.0 s.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResendSchedule {
    waits_ms: Arc<[u32]>,
}

/// Why a resend list was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResendError {
    /// The list has no element or too many.
    #[error("a resend list has 1 to 20 elements, not {0}")]
    Elements(usize),
    /// An element is not a number of seconds with at most three decimals.
    #[error("resend element {0:?} is not a number of seconds with at most three decimals")]
    NotANumber(String),
    /// An element is out of range.
    #[error("resend element {0} s is outside 0.1 to 32 s")]
    Range(String),
}

impl ResendSchedule {
    /// A list of waits in milliseconds.
    ///
    /// # Errors
    /// [`ResendError`] when there are not 1-20 elements of 100-32000 ms each.
    pub fn from_millis(waits_ms: &[u32]) -> Result<ResendSchedule, ResendError> {
        if waits_ms.is_empty() || waits_ms.len() > RESEND_ELEMENTS_MAX {
            return Err(ResendError::Elements(waits_ms.len()));
        }
        for &wait in waits_ms {
            if !(RESEND_WAIT_MIN_MS..=RESEND_WAIT_MAX_MS).contains(&wait) {
                return Err(ResendError::Range(seconds(wait)));
            }
        }
        Ok(ResendSchedule { waits_ms: waits_ms.into() })
    }

    /// The wait before retransmission `n` (0 is the first one), milliseconds; `None` when the list is used up.
    pub fn wait_ms(&self, n: usize) -> Option<u32> {
        self.waits_ms.get(n).copied()
    }

    /// How long a transaction waits before it fails, milliseconds: sum of the list plus its first element.
    pub fn life_ms(&self) -> u64 {
        self.waits_ms.iter().map(|&w| u64::from(w)).sum::<u64>() + u64::from(self.waits_ms[0])
    }
}

impl Default for ResendSchedule {
    fn default() -> Self {
        ResendSchedule { waits_ms: [500, 1_000, 2_000, 4_000, 4_000, 4_000, 4_000, 4_000, 4_000, 4_000].into() }
    }
}

impl FromStr for ResendSchedule {
    type Err = ResendError;

    /// Reads the parameter as operators write it: seconds separated by commas, `0.5,1,2,4`.
    fn from_str(text: &str) -> Result<ResendSchedule, ResendError> {
        let elements = if text.trim().is_empty() { 0 } else { text.split(',').count() };
        if elements == 0 || elements > RESEND_ELEMENTS_MAX {
            return Err(ResendError::Elements(elements));
        }
        let waits = text.split(',').map(|e| millis(e.trim())).collect::<Result<Vec<u32>, _>>()?;
        ResendSchedule::from_millis(&waits)
    }
}

impl fmt::Display for ResendSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, &wait) in self.waits_ms.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            f.write_str(&seconds(wait))?;
        }
        Ok(())
    }
}

/// Exact decimal seconds -> milliseconds; floats would turn 0.1 into something else.
fn millis(element: &str) -> Result<u32, ResendError> {
    let bad = || ResendError::NotANumber(element.to_owned());
    let (whole, decimals) = element.split_once('.').unwrap_or((element, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && decimals.is_empty()) || !digits(whole) || !digits(decimals) || decimals.len() > 3 {
        return Err(bad());
    }
    let out_of_range = || ResendError::Range(element.to_owned());
    let whole: u32 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| out_of_range())? };
    let decimals: u32 = format!("{decimals:0<3}").parse().map_err(|_| bad())?;
    whole.checked_mul(1_000).and_then(|ms| ms.checked_add(decimals)).ok_or_else(out_of_range)
}

fn seconds(ms: u32) -> String {
    let text = format!("{}.{:03}", ms / 1_000, ms % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// One address on which we speak SIP over UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The bound address.
    pub local: SocketAddr,
    /// The address the world knows it by: what stands in Via and Contact (differs behind a static NAT).
    pub advertised: SocketAddr,
}

/// Bounds of one endpoint and what happens at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Transactions alive at once; at the bound a new call is answered 503 without keeping state.
    pub transactions_max: usize,
    /// Legs alive at once; at the bound a new call is answered 503 without keeping state.
    pub dialogs_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // 32 s of lingering transactions at 1,000 calls/s with about four transactions each; a leg takes about 2 KiB.
        Limits { transactions_max: 200_000, dialogs_max: 100_000 }
    }
}

/// Everything an [`Endpoint`](crate::Endpoint) is configured with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our shard number, carried by all we mint.
    pub shard: u8,
    /// Number of shards; 1 switches the home check off.
    pub shards: u8,
    /// Key of the hash that gives a stranger's Call-ID its home; the same on all shards.
    pub shard_key: (u64, u64),
    /// Our addresses; a [`tandem_leg::ListenerId`] is an index into this list.
    pub listeners: Vec<Listener>,
    /// Value of User-Agent and Server; empty leaves both out (spec signalling.md 1).
    pub user_agent: String,
    /// Realm of our digest challenges; not used before authentication is built.
    pub realm: String,
    /// Waits before retransmissions; a change applies to new transactions.
    pub resend: ResendSchedule,
    /// Seed of the generator behind tags, branches, Call-IDs and random waits. From the operating system's entropy in
    /// the daemon, fixed in tests.
    pub seed: [u8; 32],
    /// `SS_REPLY_UNAUTHORIZED`: whether a request from an unknown source is refused (on) or ignored (off).
    pub reply_unauthorized: bool,
    /// Addresses of configured peers (gateways, static phones).
    pub known: Vec<IpAddr>,
    /// Whether an INVITE from an address that is not in `known` is refused at once with one 403 and nothing kept, told to
    /// the call room as a leg that is already forgotten. A forged source then costs no state and gets no more back than it
    /// sent.
    pub refuse_unknown: bool,
    /// Bounds.
    pub limits: Limits,
}

impl Config {
    /// A single-shard endpoint on `listeners` with the defaults of the specification.
    pub fn new(listeners: Vec<Listener>, seed: [u8; 32]) -> Config {
        Config {
            shard: 0,
            shards: 1,
            shard_key: (0, 0),
            listeners,
            user_agent: "tandem".to_owned(),
            realm: String::new(),
            resend: ResendSchedule::default(),
            seed,
            reply_unauthorized: true,
            known: Vec::new(),
            refuse_unknown: false,
            limits: Limits::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_list_is_that_of_rfc_3261() {
        let schedule: ResendSchedule = "0.5,1,2,4,4,4,4,4,4,4".parse().unwrap();
        assert_eq!(schedule, ResendSchedule::default());
        assert_eq!(schedule.life_ms(), 32_000);
        assert_eq!(schedule.to_string(), "0.5,1,2,4,4,4,4,4,4,4");
    }

    #[test]
    fn bounds_of_the_list() {
        let parse = |s: &str| s.parse::<ResendSchedule>();
        assert_eq!(parse("0.1").unwrap().life_ms(), 200);
        assert_eq!(parse("32, 0.125").unwrap().life_ms(), 64_125);
        assert_eq!(parse(&["1"; 20].join(",")).unwrap().life_ms(), 21_000);
        assert_eq!(parse(&["1"; 21].join(",")), Err(ResendError::Elements(21)));
        assert_eq!(parse(""), Err(ResendError::Elements(0)));
        assert_eq!(parse("0.099"), Err(ResendError::Range("0.099".into())));
        assert_eq!(parse("32.001"), Err(ResendError::Range("32.001".into())));
        assert_eq!(parse("99999999999"), Err(ResendError::Range("99999999999".into())));
        for bad in ["1,,2", "-1", "1e1", "0.1234", ".", "a", "١"] {
            assert!(matches!(parse(bad), Err(ResendError::NotANumber(_))), "{bad}");
        }
    }
}
