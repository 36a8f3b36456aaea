//! What every test needs: addresses, a switch, SIPp, and waiting for things.

mod net;
mod plan;
mod sipp;
mod switch;

use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rust_decimal::Decimal;
use serde_json::Value;

pub(crate) use net::{Family, Net};
pub(crate) use plan::Plan;
pub(crate) use sipp::{Customer, Sipp};
pub(crate) use switch::{Switch, daemon};

/// Far beyond what anything here takes, also on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something that does not tell by itself.
const LOOK: Duration = Duration::from_millis(10);

/// Whether SIPp is there. Without it a test says so and ends; in CI that is a failure.
pub(crate) fn sipp_is_there() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    let found = *FOUND.get_or_init(|| {
        Command::new("sipp").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).status().is_ok()
    });
    if !found {
        assert!(std::env::var_os("CI").is_none(), "sipp is missing (apt-get install sip-tester)");
        eprintln!("skipped: sipp is missing (apt-get install sip-tester)");
    }
    found
}

/// Looks until `look` finds something.
#[track_caller]
pub(crate) fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, look)
}

/// The same with another patience.
#[track_caller]
pub(crate) fn until_within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {} s for: {what}", patience.as_secs());
        sleep(LOOK);
    }
}

/// A decimal string of a reply.
#[track_caller]
pub(crate) fn decimal(value: &Value) -> Decimal {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is no decimal string"))
}

/// A whole number of a reply.
#[track_caller]
pub(crate) fn int(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no whole number"))
}
