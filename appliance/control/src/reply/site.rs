//! Replies about the configuration and its history.

use serde::{Deserialize, Serialize};
use serde_json::Value;

reply! {
    /// One field that differs.
    SiteChange {
        /// `added`, `removed` or `changed`.
        change: String,
        /// `params`, `media`, `account`, `mapping_gateway`, `routing_gateway`.
        kind: String,
        /// Name of the object; empty for a kind without names.
        name: String,
        /// Field, with dots when it is nested.
        field: String,
        /// Whether the whole object is new or gone.
        whole: bool,
        /// Value before; null when it was not there.
        before: Value,
        /// Value after; null when it is not there any more.
        after: Value,
    }
}

/// Longest value in a line, in characters; the rest is in the row.
const VALUE_SHOWN_MAX: usize = 200;

impl SiteChange {
    /// `kind name`, or the kind alone.
    pub fn object(&self) -> String {
        if self.name.is_empty() { self.kind.clone() } else { format!("{} {}", self.kind, self.name) }
    }

    /// What differs, without the object: `~ capacity: 1 -> 2`, `+ cps = 5`, `- cps = 5`, `~ prefixes: +44, -1212`.
    pub fn what(&self) -> String {
        let field = &self.field;
        match self.change.as_str() {
            "added" => format!("+ {field} = {}", shown(&self.after)),
            "removed" => format!("- {field} = {}", shown(&self.before)),
            _ => match (&self.before, &self.after) {
                (Value::Array(before), Value::Array(after)) => match elements(before, after) {
                    Some(elements) => format!("~ {field}: {elements}"),
                    None => format!("~ {field}: {} -> {}", shown(&self.before), shown(&self.after)),
                },
                (before, after) => format!("~ {field}: {} -> {}", shown(before), shown(after)),
            },
        }
    }

    /// The whole line: object and what differs.
    pub fn line(&self) -> String {
        let what = self.what();
        let (sign, rest) = what.split_at(2);
        format!("{sign}{} {rest}", self.object())
    }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(VALUE_SHOWN_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// What a list gained and lost; `None` when only its order differs.
fn elements(before: &[Value], after: &[Value]) -> Option<String> {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let known: std::collections::HashSet<String> = before.iter().map(plain).collect();
    let wanted: std::collections::HashSet<String> = after.iter().map(plain).collect();
    let gained = after.iter().map(plain).filter(|one| !known.contains(one)).map(|one| format!("+{one}"));
    let lost = before.iter().map(plain).filter(|one| !wanted.contains(one)).map(|one| format!("-{one}"));
    let all: Vec<String> = gained.chain(lost).collect();
    match all.len() {
        0 => None,
        n @ 0..=10 => Some(format!("{} ({} now)", all[..n].join(", "), after.len())),
        n => Some(format!("{}, {} more ({} now)", all[..10].join(", "), n - 10, after.len())),
    }
}

reply! {
    /// A change that rolls itself back.
    PendingConfirm {
        /// The version that waits.
        version: u64,
        /// The version whose site comes back.
        fallback: u64,
        /// When, UTC ms.
        until_ms: i64,
        /// Who made it.
        user: String,
    }
}

reply! {
    /// `site.apply`, `site.edit`, `site.commit`, `site.rollback`: the preview, and what was done. What does not hold
    /// together is refused as a whole.
    SiteApplied {
        /// What changes, by object.
        changes: Vec<SiteChange>,
        /// What to look at, one sentence each.
        warnings: Vec<String>,
        /// Version the preview was made from.
        base_version: u64,
        /// Version after it; none for a preview.
        version: Option<u64>,
        /// Whether it is in force.
        committed: bool,
        /// Whether it is staged.
        staged: bool,
        /// The version that stays because of this, when nothing was staged.
        confirmed: Option<u64>,
        /// For a rollback: the version whose site comes back.
        from_version: Option<u64>,
        /// When it rolls itself back unless confirmed.
        unconfirmed: Option<PendingConfirm>,
    }
}

reply! {
    /// `site.confirm`
    SiteConfirmed {
        /// The version that stays.
        version: u64,
    }
}

reply! {
    /// `site.discard`
    SiteDiscarded {
        /// How many fields had been changed.
        changes: u64,
    }
}

reply! {
    /// `site.compare`
    SiteCompared {
        /// The old side in words.
        from: String,
        /// The new side in words.
        to: String,
        /// What differs, by object.
        changes: Vec<SiteChange>,
    }
}

reply! {
    /// A version of the configuration.
    ChangeRow {
        /// The version.
        version: u64,
        /// When it came into force.
        at_ms: i64,
        /// Login name.
        user: String,
        /// User number; none for the switch itself.
        uid: Option<u32>,
        /// Process.
        pid: Option<i32>,
        /// `apply`, `set`, `param`, `import`, `commit`, `rollback`, `auto-rollback`, `bootstrap`, `start`.
        how: String,
        /// Words of the operator.
        comment: String,
        /// Old -> new, one line a change; long lists are cut and say so.
        changes: Vec<String>,
        /// Empty, `pending`, `confirmed`, `rolled_back`.
        confirm_state: String,
        /// When it rolls or would have rolled itself back.
        confirm_until_ms: Option<i64>,
        /// Whether it is the one in force.
        running: bool,
    }
}

reply! {
    /// `site.history`
    SiteHistory {
        /// Versions there are.
        total: u64,
        /// The page.
        rows: Vec<ChangeRow>,
    }
}

reply! {
    /// `site.export`
    SiteExported {
        /// The file.
        toml: String,
        /// Its version.
        version: u64,
    }
}

reply! {
    /// Somebody changed something, or tried to.
    AuditRow {
        /// Rising.
        seq: u64,
        /// When.
        at_ms: i64,
        /// Login name.
        user: String,
        /// User number; none for the switch itself.
        uid: Option<u32>,
        /// Process.
        pid: Option<i32>,
        /// What was asked for.
        command: String,
        /// `done`, `refused` or `failed`.
        outcome: String,
        /// Why not.
        error: String,
        /// Version of the configuration it made.
        version: Option<u64>,
        /// Words of the operator.
        comment: String,
        /// Old -> new, one line a change.
        changes: Vec<String>,
    }
}

reply! {
    /// `audit.list`
    AuditList {
        /// Rows that match.
        total: u64,
        /// The page.
        rows: Vec<AuditRow>,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_says_what_differs() {
        let change = |change: &str, before, after| SiteChange {
            change: change.to_owned(),
            kind: "mapping_gateway".to_owned(),
            name: "acme".to_owned(),
            field: "f".to_owned(),
            before,
            after,
            ..Default::default()
        };
        assert_eq!(change("changed", json!(1), json!(2)).line(), "~ mapping_gateway acme f: 1 -> 2");
        assert_eq!(change("added", json!(null), json!("x")).line(), "+ mapping_gateway acme f = \"x\"");
        assert_eq!(change("removed", json!(true), json!(null)).line(), "- mapping_gateway acme f = true");
        let list = change("changed", json!(["1", "2"]), json!(["2", "3"]));
        assert_eq!(list.what(), "~ f: +3, -1 (2 now)");
        assert_eq!(change("changed", json!([1, 2]), json!([2, 1])).what(), "~ f: [1,2] -> [2,1]");
        let long: Vec<u32> = (0..1000).collect();
        assert!(change("changed", json!([]), json!(long)).what().ends_with("990 more (1000 now)"));
        assert!(change("added", json!(null), json!("x".repeat(5000))).line().len() < 300);
    }
}
