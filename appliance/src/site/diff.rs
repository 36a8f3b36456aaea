//! What differs between two sites, field by field.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;
use tandem_control::reply::SiteChange;

use super::Site;

/// Every field that differs, by kind and name; empty when nothing does. Values equal to their default count as absent.
pub fn diff(old: &Site, new: &Site) -> Vec<SiteChange> {
    let mut changes = Vec::new();
    object("params", "", Some(&old.params), Some(&new.params), &mut changes);
    object("media", "", Some(&old.media), Some(&new.media), &mut changes);
    table("account", &old.account, &new.account, &mut changes);
    table("mapping_gateway", &old.mapping_gateway, &new.mapping_gateway, &mut changes);
    table("routing_gateway", &old.routing_gateway, &new.routing_gateway, &mut changes);
    table("rate_template", &old.rate_template, &new.rate_template, &mut changes);
    table("phone", &old.phone, &new.phone, &mut changes);
    table("bound_number", &old.bound_number, &new.bound_number, &mut changes);
    table("rate_group", &old.rate_group, &new.rate_group, &mut changes);
    table("package", &old.package, &new.package, &mut changes);
    changes
}

fn table<T: Serialize + PartialEq>(
    kind: &str,
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
    changes: &mut Vec<SiteChange>,
) {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        object(kind, name, old.get(name), new.get(name), changes);
    }
}

/// Equal objects are not even looked into: a site of ten thousand gateways differs in one.
fn object<T: Serialize + PartialEq>(
    kind: &str,
    name: &str,
    old: Option<&T>,
    new: Option<&T>,
    changes: &mut Vec<SiteChange>,
) {
    if old == new {
        return;
    }
    // Trees of maps, lists, strings and numbers, which JSON always holds.
    let fields = |object: Option<&T>| {
        let mut fields = BTreeMap::new();
        let value = object.and_then(|object| serde_json::to_value(object).ok()).unwrap_or_default();
        flatten("", &value, &mut fields);
        fields
    };
    let (before, after) = (fields(old), fields(new));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for field in names {
        let (before, after) = (before.get(field), after.get(field));
        let change = match (before, after) {
            (before, after) if before == after => continue,
            (None, _) => "added",
            (_, None) => "removed",
            _ => "changed",
        };
        changes.push(SiteChange {
            change: change.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            field: field.clone(),
            whole: old.is_none() || new.is_none(),
            before: before.cloned().unwrap_or_default(),
            after: after.cloned().unwrap_or_default(),
        });
    }
}

fn flatten(path: &str, value: &Value, fields: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                flatten(&path, value, fields);
            }
        }
        Value::Null => {}
        other => {
            fields.insert(path.to_owned(), other.clone());
        }
    }
}

/// Lines of a change that are kept in the history and the audit log.
const LINES_MAX: usize = 100;

/// The changes as lines, cut when they are many.
pub fn lines(changes: &[SiteChange]) -> Vec<String> {
    let mut lines: Vec<String> = changes.iter().take(LINES_MAX).map(|change| change.line()).collect();
    if changes.len() > LINES_MAX {
        lines.push(format!("and {} more", changes.len() - LINES_MAX));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_removed_and_changed() {
        let old = Site::parse("[account.a]\nkind = \"customer\"\n[account.b]\nkind = \"vendor\"\n").unwrap();
        let new =
            Site::parse("[account.a]\nkind = \"customer\"\nlocked = true\n[account.c]\nkind = \"vendor\"\n").unwrap();
        let changes = diff(&old, &new);
        assert_eq!(
            lines(&changes),
            ["+ account a locked = true", "- account b kind = \"vendor\"", "+ account c kind = \"vendor\""]
        );
        assert_eq!(changes.iter().map(|change| change.whole).collect::<Vec<_>>(), [false, true, true]);
        assert!(diff(&new, &new).is_empty());
    }

    #[test]
    fn ten_thousand_changes_are_cut_to_a_hundred_lines() {
        let mut new = Site::default();
        for n in 0..10_000 {
            new.params.insert(format!("P{n}"), "1".to_owned());
        }
        let lines = lines(&diff(&Site::default(), &new));
        assert_eq!((lines.len(), lines[100].as_str()), (101, "and 9900 more"));
    }
}
