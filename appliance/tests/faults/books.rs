//! The audit after a fault: money, records, and that nothing of the calls is left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tandem_store::{Queries, Verified};

use crate::common::{Switch, decimal, until, until_within};

/// The folder of journal and database.
pub(crate) fn journal(switch: &Switch) -> PathBuf {
    switch.folder.join("data/journal")
}

/// A call whose customer is gone rings for timer B, is answered for timer H, and is hung up for timer F: 32 s each (RFC 3261),
/// on a machine that may do other things too.
const LAST_CALL: Duration = Duration::from_secs(240);

/// Waits until no call is on and no record is on its way.
#[track_caller]
pub(crate) fn settle(switch: &Switch) -> Value {
    until_within(LAST_CALL, "the switch is idle", || {
        let status = switch.json(&["status"]);
        let calls =
            ["calls_setup", "calls_ringing", "calls_talking", "cdr_queue"].iter().all(|name| status[*name] == 0);
        (calls && status["counters"]["calls_unsettled"] == 0).then_some(status)
    })
}

/// Waits for the end of all calls and checks that nothing of them is left: no port, no line, no flow, no reservation, no
/// question, no leg; that the balances of the rating thread are those of the database; and that the database agrees with
/// itself (the audit of the store: every balance is the sum of its ledger rows, every call's rows are what its record says,
/// every record is of a call settled once).
#[track_caller]
pub(crate) fn audit(switch: &Switch) -> Verified {
    audit_of(switch, &journal(switch))
}

/// [`audit`] with the database in `folder`.
#[track_caller]
pub(crate) fn audit_of(switch: &Switch, folder: &Path) -> Verified {
    settle(switch);
    let status = until("ports come back", || {
        let status = switch.json(&["status"]);
        (status["media_ports_free"] == status["media_ports"]).then_some(status)
    });
    for name in ["media_flows", "call_questions"] {
        assert_eq!(status["counters"][name], 0, "{name} in {status:#}");
    }
    for gateway in switch.json(&["gateway", "list"]).as_array().unwrap() {
        assert_eq!(gateway["calls"], 0, "{gateway:#}");
    }
    let queries = Queries::open(folder).unwrap();
    let stored: BTreeMap<String, String> =
        queries.accounts().unwrap().into_iter().map(|one| (one.name, one.balance.to_string())).collect();
    for account in switch.json(&["account", "list"]).as_array().unwrap() {
        let name = account["name"].as_str().unwrap();
        assert_eq!(decimal(&account["reserved"]), 0.into(), "reserved of {name}");
        let balance = stored.get(name).map_or("0", String::as_str);
        assert_eq!(decimal(&account["balance"]), balance.parse().unwrap(), "balance of {name}");
    }
    let verified = queries.verify().unwrap();
    assert_eq!(verified.problems, Vec::<String>::new());
    verified
}

/// A counter of `tandem status`.
#[track_caller]
pub(crate) fn counter(switch: &Switch, name: &str) -> u64 {
    switch.json(&["status"])["counters"][name].as_u64().unwrap_or(0)
}
