//! What callgrind leaves in its file: the total, and what each function gave each function it called.

use std::collections::HashMap;

/// Instructions collected in all.
pub(super) fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("summary:").or_else(|| line.strip_prefix("totals:")));
    line?.split_whitespace().next()?.parse().ok()
}

/// Instructions of every call from one function to another, all that was called below included: (caller, callee).
pub(super) fn edges(text: &str) -> HashMap<(String, String), u64> {
    let mut names: HashMap<&str, &str> = HashMap::new();
    let (mut caller, mut callee) = ("", "");
    let mut edges = HashMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(named) = line.strip_prefix("fn=") {
            caller = name(&mut names, named);
        } else if let Some(named) = line.strip_prefix("cfn=") {
            callee = name(&mut names, named);
        } else if line.starts_with("calls=") {
            // The line behind it: where the call is, and what it cost.
            let cost = lines.next().and_then(|line| line.split_whitespace().last()?.parse::<u64>().ok());
            *edges.entry((caller.to_owned(), callee.to_owned())).or_insert(0) += cost.unwrap_or(0);
        }
    }
    edges
}

/// `(12) parse_msg` the first time, `(12)` from then on.
fn name<'a>(names: &mut HashMap<&'a str, &'a str>, text: &'a str) -> &'a str {
    match text.split_once(' ') {
        Some((key, name)) => {
            names.insert(key, name);
            name
        }
        None => names.get(text).copied().unwrap_or(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "events: Ir\nfn=(1) main\n0 5\ncfn=(2) parse_msg\ncalls=2 0\n0 300\nfn=(2)\n0 100\n\
        cfn=(3) parse_headers\ncalls=1 +3\n* 200\nfn=(1)\ncfn=(2)\ncalls=1 0\n0 50\ntotals: 355\n";

    #[test]
    fn calls_add_up_under_their_names() {
        let edges = edges(FILE);
        let edge = |a: &str, b: &str| edges.get(&(a.to_owned(), b.to_owned())).copied();
        assert_eq!(edge("main", "parse_msg"), Some(350));
        assert_eq!(edge("parse_msg", "parse_headers"), Some(200));
        assert_eq!(edges.len(), 2);
    }

    #[test]
    fn the_total_is_read() {
        assert_eq!(total(FILE), Some(355));
        assert_eq!(total("events: Ir\n"), None);
    }
}
