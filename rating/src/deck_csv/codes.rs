//! Cells with codes: one, a list, a range, and whatever carriers put between the digits.

/// Most codes of one range: "1000-1999" is a sheet's short way, 44-447 millions are a slip.
const RANGE_MAX: u64 = 10_000;

/// What stands before a country code in the sheets of most carriers.
pub(super) const INTERNATIONAL: &str = "00";

/// The codes of a cell, in its order; one empty code for an empty cell.
///
/// Lists have `,`, `;`, `|` or line breaks between their elements. Ranges are `1201-1205`, both ends with the same number
/// of digits; a dash behind a shorter group ("1-264") only separates. `international` is taken off the beginning of
/// each end.
///
/// # Errors
/// The rule that was broken, in words.
pub(super) fn codes(cell: &str, international: &str) -> Result<Vec<String>, String> {
    let mut found = Vec::new();
    for element in cell.split([',', ';', '|', '\n']).map(str::trim) {
        if element.is_empty() {
            continue;
        }
        match ends(element) {
            Some((first, last)) => range(&digits(first, international)?, &digits(last, international)?, &mut found)?,
            None => found.push(digits(element, international)?),
        }
    }
    if found.is_empty() {
        if !cell.trim().is_empty() {
            return Err("a list without a code".to_owned());
        }
        found.push(String::new());
    }
    Ok(found)
}

/// The ends of a range: groups on both sides of one dash, with the same number of digits.
fn ends(element: &str) -> Option<(&str, &str)> {
    let mut parts = element.split(['-', '\u{2013}']);
    let (first, last) = (parts.next()?.trim(), parts.next()?.trim());
    let count = |text: &str| text.bytes().filter(u8::is_ascii_digit).count();
    let is_range = parts.next().is_none() && count(first) >= count(last) && count(last) > 0;
    is_range.then_some((first, last))
}

fn range(first: &str, last: &str, found: &mut Vec<String>) -> Result<(), String> {
    let bad = || {
        format!(
            "a range needs two ends with the same number of digits, the lower one first, and at most {RANGE_MAX} codes, like 1201-1205"
        )
    };
    if first.len() != last.len() {
        return Err(bad());
    }
    let (Ok(from), Ok(to)) = (first.parse::<u64>(), last.parse::<u64>()) else { return Err(bad()) };
    if from > to || to - from >= RANGE_MAX {
        return Err(bad());
    }
    let width = first.len();
    found.extend((from..=to).map(|code| format!("{code:0width$}")));
    Ok(())
}

/// The digits of one code.
pub(super) fn digits(text: &str, international: &str) -> Result<String, String> {
    let text = text.trim();
    let has_plus = text.starts_with('+');
    let mut digits = String::with_capacity(text.len());
    for c in text.strip_prefix('+').unwrap_or(text).chars() {
        match c {
            '0'..='9' => digits.push(c),
            ' ' | '-' | '.' | '(' | ')' | '\u{a0}' | '\u{2013}' | '\'' => {}
            _ => return Err("digits 0-9 only, or empty".to_owned()),
        }
    }
    if digits.is_empty() && !text.is_empty() {
        return Err("digits 0-9 only, or empty".to_owned());
    }
    if !has_plus && !international.is_empty() && digits.len() > international.len() && digits.starts_with(international)
    {
        digits.drain(..international.len());
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(cell: &str) -> String {
        codes(cell, INTERNATIONAL).map_or_else(|_| "refused".to_owned(), |codes| codes.join(" "))
    }

    #[test]
    fn lists_ranges_and_decoration() {
        for (cell, expected) in [
            ("", ""),
            ("44", "44"),
            ("+44 20", "4420"),
            ("0044-20", "refused"),
            ("0044 20", "4420"),
            ("1-264", "1264"),
            ("1 (264) 555", "1264555"),
            ("44.7700", "447700"),
            ("9370,9372-9375", "9370 9372 9373 9374 9375"),
            ("9370; 9372 - 9373;", "9370 9372 9373"),
            ("+1201-+1203", "1201 1202 1203"),
            ("001201-001203", "1201 1202 1203"),
            ("0501-0503", "0501 0502 0503"),
            ("1201-1201", "1201"),
            ("1205-1201", "refused"),
            ("1201-05", "refused"),
            ("10000-19999", &(10_000..20_000).map(|n| n.to_string()).collect::<Vec<_>>().join(" ")),
            ("100000-119999", "refused"),
            ("44x", "refused"),
            ("+", "refused"),
            (",", "refused"),
            ("12*", "refused"),
        ] {
            assert_eq!(read(cell), expected, "{cell}");
        }
        assert_eq!(codes("0044", ""), Ok(vec!["0044".to_owned()]));
        assert_eq!(codes("01144", "011"), Ok(vec!["44".to_owned()]));
    }
}
