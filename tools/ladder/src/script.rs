//! Ladder text -> statements. The grammar is in the README; nothing here knows what a statement does.

use crate::site::Site;

/// A ladder file, read.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) title: String,
    pub(crate) site: Site,
    pub(crate) lines: Vec<Line>,
}

/// One line of the story.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Number in the file, from 1.
    pub(crate) number: usize,
    #[cfg(test)]
    pub(crate) text: String,
    pub(crate) statement: Statement,
}

#[derive(Clone, Debug)]
pub(crate) enum Statement {
    /// `+ 1.5s`
    Advance(u64),
    /// `at 10s ...`: go to that instant of the story, which something must have made.
    At(u64, Vec<Step>),
    /// `between 2.1s 4s ...`: the next thing comes in that time from now, a multiple of 10 ms after now.
    Between(u64, u64, Vec<Step>),
    Steps(Vec<Step>),
    /// `from now`: the origin of `at`.
    FromNow,
    /// `rtp a <> b 50`
    Rtp {
        from: (String, String),
        to: (String, String),
        both: bool,
        packets: u32,
    },
    /// `pay customer 10.00 [key]`
    Pay {
        account: String,
        amount: String,
        key: String,
    },
    Kill,
    Shutdown,
    /// The switch dies and is started anew.
    Restart,
    Draining(bool),
    Unreachable(String),
    Ignore(String),
    /// `wall clock +5s`
    WallClock(i64),
    Counts(Vec<Check>),
    Gateway(String, Vec<Check>),
    Account(String, Vec<Check>),
    Trace {
        wanted: bool,
        text: String,
    },
    Cdr(Vec<Check>),
    Cdrs(usize),
    Ledger(usize),
    NothingLeft,
}

/// `a/2 > INVITE sdp=...`
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) party: String,
    pub(crate) label: String,
    /// The party sends; otherwise it is to hear.
    pub(crate) sends: bool,
    pub(crate) words: Vec<String>,
    /// Must come after the step before it.
    pub(crate) then: bool,
    pub(crate) text: String,
}

/// `key=value` or `key~part`.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    pub(crate) key: String,
    pub(crate) contains: bool,
    pub(crate) value: String,
}

impl Check {
    pub(crate) fn holds(&self, actual: &str) -> bool {
        if self.contains { actual.contains(&self.value) } else { same(actual, &self.value) }
    }
}

/// Equal, as text or as a number (`0.10` is `0.1`).
fn same(actual: &str, expected: &str) -> bool {
    let number = |t: &str| t.parse::<rust_decimal::Decimal>().ok();
    actual == expected || matches!((number(actual), number(expected)), (Some(a), Some(e)) if a == e)
}

impl Script {
    /// # Errors
    /// `line N: what is wrong`.
    pub(crate) fn read(text: &str) -> Result<Script, String> {
        let mut script = Script { title: String::new(), site: Site::default(), lines: Vec::new() };
        for (number, raw) in text.lines().enumerate() {
            let line = without_comment(raw).trim();
            let wrong = |problem: String| format!("line {}: {problem}", number + 1);
            if line.is_empty() {
            } else if let Some(title) = line.strip_prefix("ladder:") {
                script.title = title.trim().to_owned();
            } else if let Some(site) = line.strip_prefix("site:") {
                script.site.line(&words(site).map_err(wrong)?).map_err(wrong)?;
            } else {
                for text in expand(line).map_err(wrong)? {
                    let statement = statement(&text).map_err(wrong)?;
                    script.lines.push(Line {
                        number: number + 1,
                        #[cfg(test)]
                        text,
                        statement,
                    });
                }
            }
        }
        if script.title.is_empty() {
            return Err("line 1: a ladder begins with `ladder: TITLE`".to_owned());
        }
        script.site.fill();
        Ok(script)
    }
}

/// `for n=1..3: LINE` repeats LINE with `{n}` replaced.
fn expand(line: &str) -> Result<Vec<String>, String> {
    let Some(rest) = line.strip_prefix("for ") else {
        return Ok(vec![line.to_owned()]);
    };
    let wrong = || "a loop is `for NAME=FIRST..LAST: LINE`".to_owned();
    let (head, body) = rest.split_once(':').ok_or_else(wrong)?;
    let (name, range) = head.split_once('=').ok_or_else(wrong)?;
    let (first, last) = range.split_once("..").ok_or_else(wrong)?;
    let bound = |text: &str| text.trim().parse::<u32>().map_err(|_| wrong());
    let marker = format!("{{{}}}", name.trim());
    Ok((bound(first)?..=bound(last)?).map(|n| body.trim().replace(&marker, &n.to_string())).collect())
}

pub(crate) fn statement(line: &str) -> Result<Statement, String> {
    if let Some(time) = line.strip_prefix('+') {
        return duration(time).map(Statement::Advance).ok_or_else(|| format!("{time:?} is no time like 1.5s"));
    }
    let all = words(line)?;
    let word = |n: usize| all.get(n).map_or("", String::as_str);
    let amount = |n: usize| word(n).parse::<usize>().map_err(|_| format!("{line:?} needs a number"));
    Ok(match word(0) {
        "at" => {
            let at = duration(word(1)).ok_or_else(|| format!("{:?} is no time like 1.5s", word(1)))?;
            let rest = line.splitn(3, char::is_whitespace).nth(2).unwrap_or("");
            Statement::At(at, steps(rest)?)
        }
        "between" => {
            let time = |n| duration(word(n)).ok_or_else(|| format!("{:?} is no time like 1.5s", word(n)));
            let rest = line.splitn(4, char::is_whitespace).nth(3).unwrap_or("");
            Statement::Between(time(1)?, time(2)?, steps(rest)?)
        }
        "from" if word(1) == "now" => Statement::FromNow,
        "rtp" => {
            let both = word(2) == "<>";
            if !both && word(2) != ">" {
                return Err("media is `rtp a > b PACKETS` or `rtp a <> b PACKETS`".to_owned());
            }
            Statement::Rtp { from: party(word(1)), to: party(word(3)), both, packets: amount(4)? as u32 }
        }
        "pay" => {
            let key = if word(3).is_empty() { format!("ladder:{}", word(2)) } else { word(3).to_owned() };
            Statement::Pay { account: word(1).to_owned(), amount: word(2).to_owned(), key }
        }
        "kill" => Statement::Kill,
        "shutdown" => Statement::Shutdown,
        "restart" => Statement::Restart,
        "draining" => Statement::Draining(word(1) == "on"),
        "unreachable" => Statement::Unreachable(word(1).to_owned()),
        "ignore" => Statement::Ignore(word(1).to_owned()),
        "wall" => {
            let (sign, text) = match word(2).strip_prefix('-') {
                Some(text) => (-1, text),
                None => (1, word(2).trim_start_matches('+')),
            };
            let us = duration(text).ok_or_else(|| format!("{:?} is no time like 5s", word(2)))?;
            Statement::WallClock(sign * (us / 1_000) as i64)
        }
        "counts" => Statement::Counts(checks(&all[1..])?),
        "gateway" => Statement::Gateway(word(1).to_owned(), checks(&all[2.min(all.len())..])?),
        "account" => Statement::Account(word(1).to_owned(), checks(&all[2.min(all.len())..])?),
        "trace" if word(1) == "no" => Statement::Trace { wanted: false, text: word(2).to_owned() },
        "trace" => Statement::Trace { wanted: true, text: word(1).to_owned() },
        "cdr" => Statement::Cdr(checks(&all[1..])?),
        "cdrs" => Statement::Cdrs(amount(1)?),
        "no" if word(1) == "cdr" => Statement::Cdrs(0),
        "ledger" => Statement::Ledger(amount(1)?),
        "nothing" if word(1) == "left" => Statement::NothingLeft,
        _ => Statement::Steps(steps(line)?),
    })
}

fn steps(line: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    for part in split_outside_quotes(line, "|") {
        for (n, text) in split_outside_quotes(&part, " then ").into_iter().enumerate() {
            let text = text.trim().to_owned();
            let words = words(&text)?;
            let sends = match words.get(1).map(String::as_str) {
                Some(">") => true,
                Some("<") => false,
                _ => return Err(format!("{text:?} is not `PARTY > MESSAGE` or `PARTY < MESSAGE`")),
            };
            if words.len() < 3 {
                return Err(format!("{text:?} names no message"));
            }
            let (party, label) = party(&words[0]);
            steps.push(Step { party, label, sends, words: words[2..].to_vec(), then: n > 0, text });
        }
    }
    Ok(steps)
}

fn party(word: &str) -> (String, String) {
    let (name, label) = word.split_once('/').unwrap_or((word, "1"));
    (name.to_owned(), label.to_owned())
}

fn checks(words: &[String]) -> Result<Vec<Check>, String> {
    words
        .iter()
        .map(|word| {
            let at = word.find(['=', '~']).ok_or_else(|| format!("{word:?} is not key=value or key~part"))?;
            Ok(Check {
                key: word[..at].to_owned(),
                contains: word.as_bytes()[at] == b'~',
                value: word[at + 1..].to_owned(),
            })
        })
        .collect()
}

/// Words; a part in double quotes may hold blanks.
pub(crate) fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quoted, mut any) = (false, false);
    for c in text.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                any = true;
            }
            c if c.is_whitespace() && !quoted => {
                if any {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            c => {
                word.push(c);
                any = true;
            }
        }
    }
    if quoted {
        return Err(format!("a quote is not closed in {text:?}"));
    }
    if any {
        words.push(word);
    }
    Ok(words)
}

fn split_outside_quotes(text: &str, separator: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if !quoted && rest.starts_with(separator) {
            parts.push(String::new());
            rest = &rest[separator.len()..];
            continue;
        }
        quoted ^= c == '"';
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
        rest = &rest[c.len_utf8()..];
    }
    parts
}

/// A `#` at the beginning of a word starts a comment.
fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with('#') {
        return "";
    }
    line.find(" #").map_or(line, |at| &line[..at])
}

/// `1.5s`, `50ms`, `2m` or plain seconds -> microseconds.
pub(crate) fn duration(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, unit_us) = if let Some(n) = text.strip_suffix("ms") {
        (n, 1_000)
    } else if let Some(n) = text.strip_suffix('s') {
        (n, 1_000_000)
    } else if let Some(n) = text.strip_suffix('m') {
        (n, 60_000_000)
    } else {
        (text, 1_000_000)
    };
    let value: rust_decimal::Decimal = number.trim().parse().ok()?;
    let us = value * rust_decimal::Decimal::from(unit_us);
    u64::try_from(us.trunc().mantissa() / 10i128.pow(us.trunc().scale())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_exact() {
        assert_eq!(duration("65.400s"), Some(65_400_000));
        assert_eq!(duration("0.5"), Some(500_000));
        assert_eq!(duration("50ms"), Some(50_000));
        assert_eq!(duration("2m"), Some(120_000_000));
        assert_eq!(duration("soon"), None);
        assert_eq!(duration("-1s"), None);
    }

    #[test]
    fn steps_of_a_line() {
        let parsed = steps("a > INVITE sdp=10.0.0.1:4000 | a/2 < 100 then b < BYE header=\"X: a | b\"").unwrap();
        assert_eq!(parsed.len(), 3);
        assert_eq!((parsed[1].party.as_str(), parsed[1].label.as_str(), parsed[1].sends), ("a", "2", false));
        assert!(parsed[2].then && !parsed[1].then);
        assert_eq!(parsed[2].words[1], "header=X: a | b");
        assert!(steps("a INVITE").is_err());
    }

    #[test]
    fn loops_and_comments() {
        let script = Script::read("ladder: x # y\n# all\nfor n=1..3: a/{n} > INVITE\n").unwrap();
        assert_eq!(script.lines.len(), 3);
        assert_eq!(script.lines[2].text, "a/3 > INVITE");
        assert_eq!(Script::read("a > INVITE").unwrap_err(), "line 1: a ladder begins with `ladder: TITLE`");
        assert!(Script::read("ladder: x\nsite: vendor b colour=red").unwrap_err().starts_with("line 2: "));
    }

    #[test]
    fn numbers_compare_as_numbers() {
        let check = &checks(&["fee=0.10".to_owned()]).unwrap()[0];
        assert!(check.holds("0.1") && !check.holds("0.11") && !check.holds("x"));
        assert!(checks(&["next~busy".to_owned()]).unwrap()[0].holds("row 8: user busy"));
    }
}
