//! Numbers: what is accepted, and the dial-plan rules that rewrite them (spec routing.md 4, R-D2 to R-D5).

use rand::Rng;
use tandem_rating::prefix::is_number;

/// Longest number, characters (R-D4; the number fields of a CDR are as long).
pub const NUMBER_MAX: usize = 64;
/// Most rules of one list. Every call walks its list; a longer one belongs into a number transform table.
pub const RULES_MAX: usize = 1_000;
/// Widest number of a range target, digits: what fits into 64 bits.
const RANGE_DIGITS_MAX: usize = 18;

/// Why a number cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// Nothing left.
    #[error("the number is empty")]
    Empty,
    /// Longer than [`NUMBER_MAX`].
    #[error("the number has {0} characters, at most {NUMBER_MAX} are allowed")]
    TooLong(usize),
    /// A character no number has.
    #[error("{0:?} is not a number; allowed are 0-9 * # + A-F")]
    Illegal(String),
}

/// A called number as the signalling wrote it -> digits: parameters (`;npdi`), visual separators (RFC 3966 5.1.1) and a
/// leading `+` are taken off, letters made capital (signalling.md 15).
///
/// # Errors
/// [`NumberError`] when nothing is left, it is too long, or a character is not one of 0-9 * # A-F.
pub fn normalise(raw: &str) -> Result<String, NumberError> {
    if (1..=NUMBER_MAX).contains(&raw.len()) && raw.bytes().all(|byte| byte.is_ascii_digit()) {
        // Nearly every number: nothing to take off.
        return Ok(raw.to_owned());
    }
    let mut number = strip(raw);
    if number.starts_with('+') {
        number.remove(0);
    }
    check(&number)?;
    Ok(number)
}

/// A calling number: like [`normalise`], but one that is no number ("anonymous", a name) is kept as it is, because a
/// hidden or alphanumeric caller is no reason to refuse a call.
///
/// # Errors
/// [`NumberError`] when it is longer than [`NUMBER_MAX`] or has characters that are not printable ASCII.
pub fn normalise_caller(raw: &str) -> Result<String, NumberError> {
    match normalise(raw) {
        Ok(number) => Ok(number),
        Err(NumberError::TooLong(n)) => Err(NumberError::TooLong(n)),
        Err(NumberError::Empty | NumberError::Illegal(_)) => {
            let name = raw.split(';').next().unwrap_or_default().trim();
            if name.len() > NUMBER_MAX {
                return Err(NumberError::TooLong(name.len()));
            }
            if !name.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'<' | b'>' | b'"' | b'@')) {
                return Err(NumberError::Illegal(name.to_owned()));
            }
            Ok(name.to_owned())
        }
    }
}

fn strip(raw: &str) -> String {
    let user = raw.split(';').next().unwrap_or_default();
    let mut number = String::with_capacity(user.len());
    number.extend(
        user.chars()
            .filter(|c| !matches!(c, '-' | '.' | '(' | ')' | ' '))
            .map(|c| if matches!(c, 'a'..='f') { c.to_ascii_uppercase() } else { c }),
    );
    number
}

fn check(number: &str) -> Result<(), NumberError> {
    if number.is_empty() {
        return Err(NumberError::Empty);
    }
    if number.len() > NUMBER_MAX {
        return Err(NumberError::TooLong(number.len()));
    }
    if !is_number(number.as_bytes()) {
        return Err(NumberError::Illegal(number.to_owned()));
    }
    Ok(())
}

/// `number` without its first `digits` characters; a number with no more than that is left as it is
/// (`SERVER_BILLING_GATEWAY_ROUTE_PREFIX`, rates.md 2).
pub fn without_route_prefix(number: &str, digits: u32) -> &str {
    let digits = digits as usize;
    if number.len() > digits { number.get(digits..).unwrap_or(number) } else { number }
}

/// The number that is looked up for the price: without the longest of `prefixes` that begins it, or when the gateway has no such
/// list without its first `digits` characters (rates.md 2). A number with no more digits than that is left as it is.
pub fn billing_number<'a>(number: &'a str, prefixes: &[String], digits: u32) -> &'a str {
    if prefixes.is_empty() {
        return without_route_prefix(number, digits);
    }
    let longest = prefixes.iter().filter(|prefix| number.starts_with(prefix.as_str())).map(String::len).max();
    longest.filter(|len| number.len() > *len).and_then(|len| number.get(len..)).unwrap_or(number)
}

/// What is wrong with a list of rules; names the rule and the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// No colon.
    #[error("rule {rule} ({text:?}) has no ':' between original and target")]
    NoColon {
        /// Number of the rule from 1.
        rule: usize,
        /// The rule.
        text: String,
    },
    /// A character that means nothing there.
    #[error("rule {rule} ({text:?}), character {at}: {found:?} is not allowed in the {part}; allowed are {allowed}")]
    Character {
        /// Number of the rule from 1.
        rule: usize,
        /// The rule.
        text: String,
        /// Place in the rule from 1.
        at: usize,
        /// The character.
        found: char,
        /// `original` or `target`.
        part: &'static str,
        /// What may stand there.
        allowed: &'static str,
    },
    /// `L`, `E`, `G` or `F` without a length from 1 to 64.
    #[error("rule {rule} ({text:?}), character {at}: after {condition:?} a length from 1 to {NUMBER_MAX} is needed")]
    Length {
        /// Number of the rule from 1.
        rule: usize,
        /// The rule.
        text: String,
        /// Place in the rule from 1.
        at: usize,
        /// The letter.
        condition: char,
    },
    /// A range that is empty, uneven or too wide.
    #[error(
        "rule {rule} ({text:?}): the range {range:?} needs two numbers of the same length (at most 18 digits), the \
         smaller one first"
    )]
    Range {
        /// Number of the rule from 1.
        rule: usize,
        /// The rule.
        text: String,
        /// The range.
        range: String,
    },
    /// Original or target longer than a number can be.
    #[error("rule {rule} ({text:?}): the {part} is longer than {NUMBER_MAX} characters")]
    TooLong {
        /// Number of the rule from 1.
        rule: usize,
        /// The rule.
        text: String,
        /// `original` or `target`.
        part: &'static str,
    },
    /// More than [`RULES_MAX`].
    #[error("{0} rules, at most {RULES_MAX} are allowed")]
    TooMany(usize),
}

/// A number after rewriting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// The number.
    pub number: String,
    /// Which rule was applied, from 1; `None` when none matched and the number is unchanged.
    pub rule: Option<usize>,
}

/// A rule made a number that cannot be used ("Number Rewrite Error").
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rule {rule} ({text:?}) on {number:?}: {error}")]
pub struct RewriteError {
    /// Number of the rule from 1.
    pub rule: usize,
    /// The rule.
    pub text: String,
    /// The number it was applied to.
    pub number: String,
    /// What is wrong with the result.
    pub error: NumberError,
}

/// A dial plan: rules `original:target`, comma-separated (R-D2). The default has none and changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RewriteRules {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    text: String,
    pattern: Vec<Symbol>,
    length: Option<Length>,
    targets: Vec<Target>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Symbol {
    Literal(u8),
    AnyDigit,
    AnyRun,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Less(usize),
    Equal(usize),
    Greater(usize),
    NotEqual(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Pieces(Vec<Piece>),
    Range { from: u64, to: u64, width: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Literal(u8),
    RandomDigit,
    Copy,
}

impl RewriteRules {
    /// Reads a list as operators write it: `0134:$$$, 00:, :9`. An empty text is the empty list.
    ///
    /// # Errors
    /// [`RuleError`] naming rule and place.
    pub fn parse(text: &str) -> Result<RewriteRules, RuleError> {
        if text.trim().is_empty() {
            return Ok(RewriteRules::default());
        }
        let count = text.split(',').count();
        if count > RULES_MAX {
            return Err(RuleError::TooMany(count));
        }
        let rules = text.split(',').enumerate().map(|(at, rule)| Rule::parse(at + 1, rule.trim()));
        Ok(RewriteRules { rules: rules.collect::<Result<_, _>>()? })
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The list as text, as [`parse`](Self::parse) reads it.
    pub fn text(&self) -> String {
        self.rules.iter().map(|r| r.text.as_str()).collect::<Vec<_>>().join(",")
    }

    /// [`apply`](Self::apply) for those who only want to know the number when it is another one.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn changed(&self, number: &str, rng: &mut impl Rng) -> Result<Option<Box<str>>, RewriteError> {
        if self.rules.is_empty() {
            return Ok(None);
        }
        let rewritten = self.apply(number, rng)?;
        Ok(rewritten.rule.map(|_| rewritten.number.into()))
    }

    /// Applies the best matching rule once (R-D4). `rng` serves targets with `?`, `a;b` and ranges. Cost: one pass over
    /// the list.
    ///
    /// A caller that is no number ("anonymous") can only be replaced whole, never glued to digits.
    ///
    /// # Errors
    /// [`RewriteError`] when the result is empty, too long or no number.
    pub fn apply(&self, number: &str, rng: &mut impl Rng) -> Result<Rewritten, RewriteError> {
        let best = self
            .rules
            .iter()
            .enumerate()
            .filter_map(|(at, rule)| rule.matched(number).map(|taken| (rule.rank(), at, taken)))
            // max_by_key takes the last of equals; list order says the first.
            .max_by_key(|(rank, at, _)| (*rank, std::cmp::Reverse(*at)));
        let unchanged = || Rewritten { number: number.to_owned(), rule: None };
        let Some((_, at, taken)) = best else {
            return Ok(unchanged());
        };
        let rule = &self.rules[at];
        let mut result = rule.expand(number, rng);
        result.push_str(number.get(taken..).unwrap_or_default());
        match check(&result) {
            Ok(()) => Ok(Rewritten { number: result, rule: Some(at + 1) }),
            Err(NumberError::Illegal(_)) if !is_number(number.as_bytes()) => Ok(unchanged()),
            Err(error) => Err(RewriteError { rule: at + 1, text: rule.text.clone(), number: number.to_owned(), error }),
        }
    }
}

impl std::str::FromStr for RewriteRules {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<RewriteRules, RuleError> {
        RewriteRules::parse(text)
    }
}

impl Rule {
    fn parse(rule: usize, text: &str) -> Result<Rule, RuleError> {
        let Some((original, target)) = text.split_once(':') else {
            return Err(RuleError::NoColon { rule, text: text.to_owned() });
        };
        if original.len() > NUMBER_MAX + 3 {
            return Err(RuleError::TooLong { rule, text: text.to_owned(), part: "original" });
        }
        let (pattern, length) = parse_original(rule, text, original)?;
        let mut at = original.chars().count() + 1;
        let mut targets = Vec::new();
        for alternative in target.split(';') {
            targets.push(parse_target(rule, text, alternative, at)?);
            at += alternative.chars().count() + 1;
        }
        Ok(Rule { text: text.to_owned(), pattern, length, targets })
    }

    /// How many characters of `number` the pattern takes; `None` when it does not match. `*` takes as many as it can.
    fn matched(&self, number: &str) -> Option<usize> {
        let length_ok = match self.length {
            None => true,
            Some(Length::Less(n)) => number.len() < n,
            Some(Length::Equal(n)) => number.len() == n,
            Some(Length::Greater(n)) => number.len() > n,
            Some(Length::NotEqual(n)) => number.len() != n,
        };
        if !length_ok || number.len() > NUMBER_MAX {
            return None;
        }
        // Bit i is set when the pattern so far can end before character i; a number has at most 64 of them.
        let bytes = number.as_bytes();
        let all: u128 = (1 << (bytes.len() + 1)) - 1;
        let mut ends: u128 = 1;
        for symbol in &self.pattern {
            let step = |allowed: &dyn Fn(u8) -> bool| {
                let fits = bytes.iter().enumerate().filter(|(_, b)| allowed(**b)).map(|(i, _)| 1u128 << i);
                (ends & fits.sum::<u128>()) << 1
            };
            ends = match *symbol {
                Symbol::Literal(want) => step(&|b| b == want),
                Symbol::AnyDigit => step(&|b| b.is_ascii_digit()),
                Symbol::AnyRun => all & !((1u128 << ends.trailing_zeros()) - 1),
            };
            if ends == 0 {
                return None;
            }
        }
        Some(127 - ends.leading_zeros() as usize)
    }

    /// R-D4 step 2: most literal digits; then more `?`; then a length condition, E before L and G before F.
    fn rank(&self) -> (usize, usize, u8) {
        let count = |f: fn(&Symbol) -> bool| self.pattern.iter().filter(|s| f(s)).count();
        let condition = match self.length {
            Some(Length::Equal(_)) => 3,
            Some(Length::Less(_) | Length::Greater(_)) => 2,
            Some(Length::NotEqual(_)) => 1,
            None => 0,
        };
        (count(|s| matches!(s, Symbol::Literal(_))), count(|s| matches!(s, Symbol::AnyDigit)), condition)
    }

    fn expand(&self, number: &str, rng: &mut impl Rng) -> String {
        // `;` always leaves at least one alternative, if an empty one.
        let pick = if self.targets.len() > 1 { rng.random_range(0..self.targets.len()) } else { 0 };
        match &self.targets[pick] {
            Target::Range { from, to, width } => format!("{:0width$}", rng.random_range(*from..=*to), width = *width),
            Target::Pieces(pieces) => pieces
                .iter()
                .enumerate()
                .filter_map(|(i, piece)| match piece {
                    Piece::Literal(b) => Some(char::from(*b)),
                    Piece::RandomDigit => Some(char::from(b'0' + rng.random_range(0..10u8))),
                    // Beyond the end of the number there is nothing to copy.
                    Piece::Copy => number.as_bytes().get(i).map(|b| char::from(*b)),
                })
                .collect(),
        }
    }
}

fn parse_original(rule: usize, text: &str, original: &str) -> Result<(Vec<Symbol>, Option<Length>), RuleError> {
    let mut pattern = Vec::new();
    for (i, c) in original.char_indices() {
        match c {
            '0'..='9' | '#' | '+' | 'A'..='D' => pattern.push(Symbol::Literal(c as u8)),
            '*' => pattern.push(Symbol::AnyRun),
            '?' => pattern.push(Symbol::AnyDigit),
            'L' | 'E' | 'G' | 'F' => {
                let digits = &original[i + 1..];
                let n = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
                let Some(n) = n.filter(|n| (1..=NUMBER_MAX).contains(n)) else {
                    return Err(RuleError::Length { rule, text: text.to_owned(), at: i + 1, condition: c });
                };
                let length = match c {
                    'L' => Length::Less(n),
                    'E' => Length::Equal(n),
                    'G' => Length::Greater(n),
                    _ => Length::NotEqual(n),
                };
                return Ok((pattern, Some(length)));
            }
            found => {
                let at = original[..i].chars().count() + 1;
                let allowed = "0-9 * ? # + A-D, and at the end L, E, G or F with a length";
                return Err(RuleError::Character { rule, text: text.to_owned(), at, found, part: "original", allowed });
            }
        }
    }
    Ok((pattern, None))
}

fn parse_target(rule: usize, text: &str, target: &str, start: usize) -> Result<Target, RuleError> {
    if let Some((from, to)) = target.split_once('-') {
        let bad = || RuleError::Range { rule, text: text.to_owned(), range: target.to_owned() };
        let number = |digits: &str| {
            let fits = (1..=RANGE_DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            fits.then(|| digits.parse::<u64>().ok()).flatten()
        };
        let (Some(first), Some(last)) = (number(from), number(to)) else {
            return Err(bad());
        };
        if from.len() != to.len() || first > last {
            return Err(bad());
        }
        return Ok(Target::Range { from: first, to: last, width: from.len() });
    }
    if target.len() > NUMBER_MAX {
        return Err(RuleError::TooLong { rule, text: text.to_owned(), part: "target" });
    }
    let mut pieces = Vec::new();
    for (i, c) in target.chars().enumerate() {
        pieces.push(match c {
            '0'..='9' | '*' | '#' | '+' | 'A'..='F' => Piece::Literal(c as u8),
            '?' => Piece::RandomDigit,
            '$' => Piece::Copy,
            found => {
                let at = start + i + 1;
                let allowed = "0-9 * # + A-F ? $, a range 100-199, and ; between alternatives";
                return Err(RuleError::Character { rule, text: text.to_owned(), at, found, part: "target", allowed });
            }
        });
    }
    Ok(Target::Pieces(pieces))
}
