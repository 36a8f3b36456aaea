//! The two records of every call, read from the bytes of the journal without making values of them: a settled call is a
//! hundred and thirty-one fields, and most of them go from the journal to the database as they are.
//!
//! What does not look as expected is left to serde, which understands it or says why not.

use tandem_rating::cdr::{CDR_FIELDS, CdrKind};
use tandem_rating::record::LedgerKind;

use crate::msgpack::{Token, Tokens};

/// Fields of a CDR.
pub(crate) const FIELDS: usize = CDR_FIELDS.len();

/// Fields of a `Usage`, and the place of `hold_ms` among them; a test holds both.
const USAGE_FIELDS: usize = 58;
const USAGE_HOLD_MS: usize = 35;

/// Names of the fields of an `Attempt`, in order; a test of the day tables holds them.
pub(crate) const ATTEMPT: [&str; 7] = ["gateway", "status", "q850", "reason", "start_ms", "end_ms", "next"];

/// A field of a CDR as the journal has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    #[default]
    Null,
    Int(i64),
    /// Above `i64::MAX`.
    Big(u64),
    /// Text, or a decimal as text; UTF-8.
    Text(&'a [u8]),
    /// The attempts, still encoded.
    Attempts(&'a [u8]),
}

/// A settled call.
#[derive(Debug)]
pub(crate) struct Settled<'a> {
    pub(crate) flow_no: u64,
    pub(crate) cdr: Option<Box<[Field<'a>; FIELDS]>>,
    pub(crate) ledger: Vec<Booking<'a>>,
}

/// A ledger row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Booking<'a> {
    pub(crate) key: &'a str,
    pub(crate) account: &'a str,
    /// The word of [`LedgerKind::as_str`].
    pub(crate) kind: &'static str,
    pub(crate) amount: &'a str,
    pub(crate) balance_after: &'a str,
    pub(crate) at_ms: i64,
    pub(crate) flow_no: Option<u64>,
    pub(crate) user: &'a str,
    pub(crate) memo: &'a str,
}

impl<'a> Booking<'a> {
    /// Reads the row of a record of its own, encoded.
    pub(crate) fn read(encoded: &'a [u8]) -> Option<Booking<'a>> {
        booking(&mut Tokens::new(encoded))
    }

    /// The rest of the key of a call's row, `call:<flow number>:<leg>`: with the flow number it is the whole key.
    pub(crate) fn leg(&self) -> Option<&'a str> {
        let (flow_no, leg) = call_key(self.key)?;
        (self.flow_no == Some(flow_no)).then_some(leg)
    }
}

/// Flow number and leg of the key of a call's row; `None` for any other key.
pub(crate) fn call_key(key: &str) -> Option<(u64, &str)> {
    let (digits, leg) = key.strip_prefix("call:")?.split_once(':')?;
    // As a number is written, so that the key can be told again from it.
    let canonical = digits == "0" || (digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0'));
    Some((digits.parse().ok().filter(|flow_no| canonical && *flow_no <= i64::MAX as u64)?, leg))
}

/// An answered call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Started<'a> {
    pub(crate) flow_no: u64,
    pub(crate) hold_ms: i64,
    /// The whole `Usage`, encoded, and behind it what its shard wants to have back.
    pub(crate) usage: &'a [u8],
}

/// What was recognised.
#[derive(Debug)]
pub(crate) enum Payload<'a> {
    Settled(Settled<'a>),
    Started(Started<'a>),
    /// Another record, or one of these in another shape.
    Other,
}

/// Looks at the payload of a frame.
pub(crate) fn read(payload: &[u8]) -> Payload<'_> {
    let mut tokens = Tokens::new(payload);
    if tokens.next() != Some(Token::Map(1)) {
        return Payload::Other;
    }
    let read = match tokens.next() {
        // Bytes behind the record are no record of this version.
        Some(Token::Text(b"Settled")) => settled(&mut tokens).filter(|_| tokens.is_at_end()).map(Payload::Settled),
        Some(Token::Text(b"Start")) => started(&mut tokens).map(Payload::Started),
        _ => None,
    };
    read.unwrap_or(Payload::Other)
}

/// Whether the payload is that of a settled call.
pub(crate) fn may_settle(payload: &[u8]) -> bool {
    let mut tokens = Tokens::new(payload);
    tokens.next() == Some(Token::Map(1)) && tokens.next() == Some(Token::Text(b"Settled"))
}

fn settled<'a>(tokens: &mut Tokens<'a>) -> Option<Settled<'a>> {
    list(tokens, 3)?;
    let flow_no = unsigned(tokens)?;
    let mut ahead = tokens.clone();
    let cdr = match ahead.next()? {
        Token::Nil => {
            *tokens = ahead;
            None
        }
        _ => Some(fields(tokens)?),
    };
    let Token::Array(rows) = tokens.next()? else { return None };
    // A row takes more bytes than one: a length that lies ends at the first row that is not there.
    let mut ledger = Vec::with_capacity(rows.min(8));
    for _ in 0..rows {
        ledger.push(booking(tokens)?);
    }
    Some(Settled { flow_no, cdr, ledger })
}

fn fields<'a>(tokens: &mut Tokens<'a>) -> Option<Box<[Field<'a>; FIELDS]>> {
    list(tokens, FIELDS)?;
    let mut fields = Box::new([Field::Null; FIELDS]);
    for (field, (_, kind)) in fields.iter_mut().zip(CDR_FIELDS) {
        *field = match kind {
            CdrKind::Json => Field::Attempts(attempts(tokens)?),
            CdrKind::Int => match tokens.next_number()? {
                Token::Nil => Field::Null,
                Token::Int(value) => Field::Int(value),
                Token::Big(value) => Field::Big(value),
                _ => return None,
            },
            CdrKind::Text | CdrKind::Money => {
                let text = tokens.next_text()?;
                if !is_text(text) {
                    return None;
                }
                Field::Text(text)
            }
        };
    }
    Some(fields)
}

fn attempts<'a>(tokens: &mut Tokens<'a>) -> Option<&'a [u8]> {
    let encoded = tokens.clone().skip()?;
    let Token::Array(len) = tokens.next()? else { return None };
    for _ in 0..len {
        list(tokens, ATTEMPT.len())?;
        for _ in ATTEMPT {
            match tokens.next()? {
                Token::Int(_) => {}
                Token::Text(text) if is_text(text) => {}
                _ => return None,
            }
        }
    }
    Some(encoded)
}

fn booking<'a>(tokens: &mut Tokens<'a>) -> Option<Booking<'a>> {
    list(tokens, 9)?;
    Some(Booking {
        key: text(tokens)?,
        account: text(tokens)?,
        kind: kind(text(tokens)?)?,
        amount: text(tokens)?,
        balance_after: text(tokens)?,
        at_ms: match tokens.next()? {
            Token::Int(value) => value,
            _ => return None,
        },
        flow_no: match tokens.next()? {
            Token::Nil => None,
            Token::Int(value) => Some(u64::try_from(value).ok()?),
            Token::Big(value) => Some(value),
            _ => return None,
        },
        user: text(tokens)?,
        memo: text(tokens)?,
    })
}

/// Only as far as `hold_ms` is looked at: the rest of the payload is the usage, whatever it holds, and whoever settles the
/// call after a crash decodes it.
fn started<'a>(tokens: &mut Tokens<'a>) -> Option<Started<'a>> {
    list(tokens, 2)?;
    let usage = tokens.rest();
    list(tokens, USAGE_FIELDS)?;
    let flow_no = unsigned(tokens)?;
    for _ in 1..USAGE_HOLD_MS {
        tokens.skip()?;
    }
    let Token::Int(hold_ms) = tokens.next()? else { return None };
    Some(Started { flow_no, hold_ms, usage })
}

/// The word of a kind from the name of its variant, which is what serde writes.
fn kind(variant: &str) -> Option<&'static str> {
    let kind = match variant {
        "Call" => LedgerKind::Call,
        "Payment" => LedgerKind::Payment,
        "Opening" => LedgerKind::Opening,
        "MakeZero" => LedgerKind::MakeZero,
        "Correction" => LedgerKind::Correction,
        "Deduction" => LedgerKind::Deduction,
        "Reversal" => LedgerKind::Reversal,
        "Transfer" => LedgerKind::Transfer,
        "PackageRent" => LedgerKind::PackageRent,
        "PhoneRent" => LedgerKind::PhoneRent,
        "PhoneMinimum" => LedgerKind::PhoneMinimum,
        "PackageMinimum" => LedgerKind::PackageMinimum,
        "Gift" => LedgerKind::Gift,
        _ => return None,
    };
    Some(kind.as_str())
}

fn list(tokens: &mut Tokens<'_>, len: usize) -> Option<()> {
    (tokens.next()? == Token::Array(len)).then_some(())
}

fn unsigned(tokens: &mut Tokens<'_>) -> Option<u64> {
    match tokens.next()? {
        Token::Int(value) => u64::try_from(value).ok(),
        Token::Big(value) => Some(value),
        _ => None,
    }
}

fn text<'a>(tokens: &mut Tokens<'a>) -> Option<&'a str> {
    match tokens.next_text()? {
        b"" => Some(""),
        text => std::str::from_utf8(text).ok(),
    }
}

/// Whether it is UTF-8. Nearly all is ASCII, which is seen a word at a time.
fn is_text(bytes: &[u8]) -> bool {
    bytes.is_empty() || bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recover::{OpenCall, open_call};
    use tandem_rating::cdr::{Cdr, CdrValue};
    use tandem_rating::record::{LedgerRow, Record};
    use tandem_rating::usage::Usage;

    #[test]
    fn every_kind_is_read_by_the_name_that_is_written() {
        for of in LedgerKind::ALL {
            assert_eq!(kind(&format!("{of:?}")), Some(of.as_str()));
        }
    }

    #[test]
    fn a_settled_call_is_read_field_by_field() {
        let cdr = Cdr {
            flow_no: 5,
            rate_id: u64::MAX,
            caller_in: "49".repeat(40).into(),
            fee: "-0.125".parse().unwrap(),
            ring_ms: Some(7),
            end_reason: -40,
            ..Cdr::default()
        };
        let row = LedgerRow {
            key: "call:5:customer".into(),
            account: "acme".into(),
            kind: LedgerKind::Call,
            amount: "-0.125".parse().unwrap(),
            balance_after: "10".parse().unwrap(),
            at_ms: -3,
            flow_no: Some(5),
            user: String::new(),
            memo: "x".into(),
        };
        let record = Record::Settled { flow_no: 5, cdr: Some(Box::new(cdr.clone())), ledger: vec![row] };
        let bytes = rmp_serde::to_vec(&record).unwrap();
        let Payload::Settled(settled) = read(&bytes) else { panic!("not recognised") };
        assert_eq!(settled.flow_no, 5);
        for (index, field) in settled.cdr.unwrap().iter().enumerate() {
            let same = match (field, cdr.value(index)) {
                (Field::Null, CdrValue::Null) => true,
                (Field::Int(read), CdrValue::Int(value)) => *read == value,
                (Field::Big(read), CdrValue::Int(value)) => *read == value as u64,
                (Field::Text(read), CdrValue::Text(value)) => *read == value.as_bytes(),
                (Field::Text(read), CdrValue::Money(value)) => *read == value.to_string().as_bytes(),
                (Field::Attempts(read), CdrValue::Attempts([])) => *read == [0x90],
                _ => false,
            };
            assert!(same, "{}: {field:?}", CDR_FIELDS[index].0);
        }
        let expected = Booking {
            key: "call:5:customer",
            account: "acme",
            kind: "call",
            amount: "-0.125",
            balance_after: "10",
            at_ms: -3,
            flow_no: Some(5),
            user: "",
            memo: "x",
        };
        assert_eq!(settled.ledger, [expected]);
        for cut in 0..bytes.len() {
            assert!(matches!(read(&bytes[..cut]), Payload::Other), "cut at {cut}");
        }
        let mut longer = bytes;
        longer.push(0xc0);
        assert!(matches!(read(&longer), Payload::Other), "something behind it");
    }

    #[test]
    fn an_answered_call_tells_its_number_and_time() {
        let usage = Usage { flow_no: 9, hold_ms: 12_345_678, ..Usage::default() };
        let bytes = rmp_serde::to_vec(&Record::Start { usage: Box::new(usage.clone()), carry: vec![1, 2, 3] }).unwrap();
        let Payload::Started(started) = read(&bytes) else { panic!("not recognised") };
        assert_eq!((started.flow_no, started.hold_ms), (9, 12_345_678));
        assert_eq!(
            open_call(started.usage, 7, true).unwrap(),
            OpenCall { usage, held_ms: 7, acknowledged: true, carry: vec![1, 2, 3] }
        );
    }

    #[test]
    fn an_answered_call_of_an_older_version_has_nothing_to_carry() {
        #[derive(serde::Serialize)]
        enum Old {
            Start { usage: Box<Usage> },
        }
        let usage = Usage { flow_no: 9, ..Usage::default() };
        let bytes = rmp_serde::to_vec(&Old::Start { usage: Box::new(usage.clone()) }).unwrap();
        assert!(matches!(read(&bytes), Payload::Other));
        let Record::Start { usage: read, carry } = rmp_serde::from_slice(&bytes).unwrap() else { panic!() };
        assert_eq!((*read, carry), (usage.clone(), Vec::new()));
        // And as its row stands in a database of that version.
        let row = rmp_serde::to_vec(&usage).unwrap();
        assert_eq!(
            open_call(&row, 0, false).unwrap(),
            OpenCall { usage, held_ms: 0, acknowledged: false, carry: Vec::new() }
        );
    }

    #[test]
    fn other_records_are_left_to_serde() {
        let record = Record::Param { at_ms: 1, user: "Settled".into(), name: "Start".into(), value: String::new() };
        assert!(matches!(read(&rmp_serde::to_vec(&record).unwrap()), Payload::Other));
        assert!(matches!(read(&[]), Payload::Other));
    }

    #[test]
    fn only_the_key_of_a_call_is_taken_apart() {
        assert_eq!(call_key("call:5:customer"), Some((5, "customer")));
        assert_eq!(call_key("call:0:"), Some((0, "")));
        for key in ["call:05:x", "call:+5:x", "call::x", "call:5", "pay:5:x", "call:9223372036854775808:x", "call:5 :x"]
        {
            assert_eq!(call_key(key), None, "{key}");
        }
        for kind in ["Call", "Payment", "Opening", "MakeZero", "Correction"] {
            let read: LedgerKind = serde_json::from_str(&format!("\"{kind}\"")).unwrap();
            assert_eq!(super::kind(kind), Some(read.as_str()));
        }
    }
}
