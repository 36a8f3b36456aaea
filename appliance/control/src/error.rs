//! What goes wrong, as numbers for programs and one sentence for people.
//!
//! | code | name | meaning | exit code of `tandem` |
//! |---|---|---|---|
//! | -32700 | parse | the line is not JSON | 1 |
//! | -32600 | invalid_request | JSON, but no request of JSON-RPC 2.0 | 1 |
//! | -32601 | method_not_found | the switch has no such verb; `tandem` is newer or older than it | 1 |
//! | -32602 | invalid_params | a value is unknown or outside its range; nothing was changed | 2 |
//! | -32603 | internal | our fault; the log has more | 1 |
//! | -32001 | not_found | no call, account, gateway, rate group or parameter of that name | 4 |
//! | -32002 | refused | understood, but a rule of the switch forbids it now; nothing was changed | 1 |
//! | -32003 | not_allowed | this user may not do that | 1 |
//! | -32004 | busy | an owner did not answer in time; the sentence names it | 1 |
//! | -32005 | conflict | what was previewed is not what is there now; nothing was changed | 1 |
//! | -32006 | too_large | the answer does not fit one frame; ask for less | 1 |

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What `tandem` exits with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// Done.
    Ok = 0,
    /// The switch refused or failed.
    Failed = 1,
    /// A bad value or bad usage; nothing was changed.
    BadValue = 2,
    /// No switch answers at the socket.
    Unreachable = 3,
    /// Nothing of that name or number.
    NotFound = 4,
    /// A preview was shown and nothing was changed.
    PreviewOnly = 5,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $word:literal, $exit:ident;)*) => {
        /// The kinds of errors; see the table of this module.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$doc])* $name,)* }

        impl ErrorCode {
            /// All of them, in the order of the table.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$name,)*];

            /// The number on the wire.
            pub const fn number(self) -> i64 {
                match self { $(ErrorCode::$name => $number,)* }
            }

            /// The word of the table.
            pub const fn word(self) -> &'static str {
                match self { $(ErrorCode::$name => $word,)* }
            }

            /// What `tandem` exits with.
            pub const fn exit_code(self) -> ExitCode {
                match self { $(ErrorCode::$name => ExitCode::$exit,)* }
            }

            /// The kind of a number; a number this version does not know is [`ErrorCode::Internal`].
            pub const fn from_number(number: i64) -> ErrorCode {
                match number { $($number => ErrorCode::$name,)* _ => ErrorCode::Internal }
            }
        }
    };
}

codes! {
    /// The line is not JSON.
    Parse = -32700, "parse", Failed;
    /// JSON, but no request.
    InvalidRequest = -32600, "invalid_request", Failed;
    /// No such verb.
    MethodNotFound = -32601, "method_not_found", Failed;
    /// A value is unknown or outside its range.
    InvalidParams = -32602, "invalid_params", BadValue;
    /// Our own fault.
    Internal = -32603, "internal", Failed;
    /// Nothing of that name.
    NotFound = -32001, "not_found", NotFound;
    /// A rule forbids it now.
    Refused = -32002, "refused", Failed;
    /// This user may not.
    NotAllowed = -32003, "not_allowed", Failed;
    /// An owner did not answer in time.
    Busy = -32004, "busy", Failed;
    /// Changed since the preview.
    Conflict = -32005, "conflict", Failed;
    /// The answer does not fit a frame.
    TooLarge = -32006, "too_large", Failed;
}

/// The parts of the sentence, for programs. Every part may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ErrorData {
    /// The parameter, column or key that is wrong; a path with dots when it is nested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The value as given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// What would have been accepted, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
    /// The nearest valid word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    /// Line of a file that was sent, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

/// The error of a response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ErrorObject {
    /// One of the numbers of the table.
    pub code: i64,
    /// One sentence that names the field, the value and what is allowed.
    pub message: String,
    /// The parts of the sentence. What a newer switch puts there in another form is left out.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lenient")]
    pub data: Option<Box<ErrorData>>,
}

impl ErrorObject {
    /// An error with a sentence and no parts.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> ErrorObject {
        ErrorObject { code: code.number(), message: message.into(), data: None }
    }

    /// A value that is not accepted: `FIELD is VALUE; allowed is ALLOWED`.
    pub fn bad_value(field: impl ToString, value: impl ToString, allowed: impl ToString) -> ErrorObject {
        let (field, value, allowed) = (field.to_string(), value.to_string(), allowed.to_string());
        ErrorObject {
            code: ErrorCode::InvalidParams.number(),
            message: format!("{field} is {}; allowed is {allowed}", shown(&value)),
            data: Some(Box::new(ErrorData {
                field: Some(field),
                value: Some(value),
                allowed: Some(allowed),
                ..ErrorData::default()
            })),
        }
    }

    /// A word that is none of `words`, with the nearest of them.
    pub fn unknown_word<S: AsRef<str>>(field: &str, value: &str, words: &[S]) -> ErrorObject {
        let list = words.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
        let mut error = ErrorObject::bad_value(field, value, list);
        error.suggest(crate::value::nearest(value, words));
        error
    }

    /// Nothing of that name: `no KIND is named NAME`, with the nearest of `known`.
    pub fn not_found<S: AsRef<str>>(kind: &str, name: &str, known: &[S]) -> ErrorObject {
        let mut error = ErrorObject {
            code: ErrorCode::NotFound.number(),
            message: format!("no {kind} is named {}", shown(name)),
            data: Some(Box::new(ErrorData {
                field: Some(kind.to_owned()),
                value: Some(name.to_owned()),
                ..ErrorData::default()
            })),
        };
        error.suggest(crate::value::nearest(name, known));
        error
    }

    /// The kind of this error.
    pub fn kind(&self) -> ErrorCode {
        ErrorCode::from_number(self.code)
    }

    fn suggest(&mut self, nearest: Option<&str>) {
        let (Some(nearest), Some(data)) = (nearest, self.data.as_mut()) else { return };
        self.message.push_str(&format!("; did you mean {nearest}?"));
        data.nearest = Some(nearest.to_owned());
    }
}

/// Longest piece of a wrong value that a sentence repeats, in characters.
const SHOWN_MAX: usize = 80;

/// A value for a sentence: quoted, control characters escaped, cut when long.
fn shown(value: &str) -> String {
    let mut text: String = value.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect();
    if value.chars().nth(SHOWN_MAX).is_some() {
        text.push_str("...");
    }
    format!("\"{text}\"")
}

fn lenient<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Box<ErrorData>>, D::Error> {
    let value = Option::<Value>::deserialize(deserializer)?;
    Ok(value.and_then(|value| serde_json::from_value(value).ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_lead_back() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), *code);
        }
        assert_eq!(ErrorCode::from_number(7), ErrorCode::Internal);
    }

    #[test]
    fn a_sentence_names_field_value_allowed_and_the_nearest_word() {
        let error = ErrorObject::unknown_word("state", "talkin", &["setup", "ringing", "talking"]);
        assert_eq!(error.message, "state is \"talkin\"; allowed is setup, ringing, talking; did you mean talking?");
        assert_eq!(error.kind().exit_code(), ExitCode::BadValue);
        assert_eq!(error.data.unwrap().nearest.as_deref(), Some("talking"));
    }

    #[test]
    fn a_hostile_value_cannot_write_to_the_terminal() {
        let error = ErrorObject::bad_value("name", "\u{1b}[2J\n".repeat(100), "a name");
        assert!(!error.message.contains('\u{1b}'), "{}", error.message);
        assert!(error.message.len() < 600);
    }

    #[test]
    fn data_of_another_form_is_left_out() {
        let error: ErrorObject = serde_json::from_str(r#"{"code":-32001,"message":"m","data":[1]}"#).unwrap();
        assert_eq!(error.data, None);
    }
}
