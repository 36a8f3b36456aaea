//! Number lists: prefix filters, allowed lengths, patterns of free numbers (spec routing.md 9, rates.md 6).

use crate::snapshot::PrefixFilter;

impl PrefixFilter {
    /// Whether `number` passes: an empty list is no rule, an allow list wants a match, a refuse list wants none.
    pub fn passes(&self, number: &str) -> bool {
        self.prefixes.is_empty() || self.longest(number).is_some() == self.allow
    }

    /// Length of the longest listed prefix of `number`.
    pub fn longest(&self, number: &str) -> Option<usize> {
        self.prefixes.iter().filter(|p| number.starts_with(p.as_str())).map(String::len).max()
    }
}

/// Whether `number` has an allowed length: bit x of `mask` allows length x, 0 allows all.
pub fn length_passes(mask: u64, number: &str) -> bool {
    mask == 0 || (number.len() < 64 && mask & (1 << number.len()) != 0)
}

/// The first entry of `patterns` that `number` matches: an exact number, or a prefix with a trailing `*`.
pub fn pattern_of<'a>(patterns: &'a [String], number: &str) -> Option<&'a str> {
    patterns.iter().map(String::as_str).find(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => number.starts_with(prefix),
        None => *pattern == number,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(prefixes: &[&str], allow: bool) -> PrefixFilter {
        PrefixFilter { prefixes: prefixes.iter().map(|p| (*p).to_owned()).collect(), allow }
    }

    #[test]
    fn an_empty_list_is_no_rule() {
        assert!(filter(&[], true).passes("49"));
        assert!(filter(&[], false).passes("49"));
    }

    #[test]
    fn allow_and_refuse() {
        assert!(filter(&["49", "44"], true).passes("4930"));
        assert!(!filter(&["49", "44"], true).passes("1212"));
        assert!(!filter(&["49", "44"], false).passes("4930"));
        assert!(filter(&["49", "44"], false).passes("1212"));
        assert_eq!(filter(&["4", "493", "44"], true).longest("4930"), Some(3));
    }

    #[test]
    fn bit_x_is_length_x() {
        assert!(length_passes(0, "123"));
        assert!(length_passes(1 << 3, "123"));
        assert!(!length_passes(1 << 3, "1234"));
        assert!(!length_passes(u64::MAX, &"1".repeat(64)), "no bit stands for 64");
    }

    #[test]
    fn patterns_are_exact_or_a_prefix_with_a_star() {
        let list = ["1800*".to_owned(), "911".to_owned()];
        assert_eq!(pattern_of(&list, "18005550100"), Some("1800*"));
        assert_eq!(pattern_of(&list, "911"), Some("911"));
        assert_eq!(pattern_of(&list, "9110"), None);
        assert_eq!(pattern_of(&list, "180"), None);
    }
}
