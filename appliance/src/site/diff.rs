//! What an apply would change, line by line.

use serde_json::Value;

use super::Site;

/// Lines `+ path = value`, `- path = value`, `~ path: old -> new`; empty when nothing changes.
pub fn diff(old: &Site, new: &Site) -> Vec<String> {
    let mut lines = Vec::new();
    // Both are trees of maps, lists, strings and numbers, which JSON always holds.
    let (old, new) = (serde_json::to_value(old).unwrap_or_default(), serde_json::to_value(new).unwrap_or_default());
    walk("", Some(&old), Some(&new), &mut lines);
    lines
}

fn walk(path: &str, old: Option<&Value>, new: Option<&Value>, lines: &mut Vec<String>) {
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            for key in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(&path, old.get(key), new.get(key), lines);
            }
        }
        (Some(old), Some(new)) if old == new => {}
        (Some(old), Some(new)) => lines.push(format!("~ {path}: {old} -> {new}")),
        (None, Some(Value::Object(map))) => {
            map.iter().for_each(|(k, v)| walk(&format!("{path}.{k}"), None, Some(v), lines))
        }
        (Some(Value::Object(map)), None) => {
            map.iter().for_each(|(k, v)| walk(&format!("{path}.{k}"), Some(v), None, lines))
        }
        (None, Some(new)) => lines.push(format!("+ {path} = {new}")),
        (Some(old), None) => lines.push(format!("- {path} = {old}")),
        (None, None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_removed_and_changed() {
        let old = Site::parse("[account.a]\nkind = \"customer\"\n[account.b]\nkind = \"vendor\"\n").unwrap();
        let new =
            Site::parse("[account.a]\nkind = \"customer\"\nlocked = true\n[account.c]\nkind = \"vendor\"\n").unwrap();
        assert_eq!(
            diff(&old, &new),
            ["+ account.a.locked = true", "- account.b.kind = \"vendor\"", "+ account.c.kind = \"vendor\""]
        );
        assert!(diff(&new, &new).is_empty());
    }
}
