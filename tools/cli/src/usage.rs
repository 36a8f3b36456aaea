//! Mistakes on the command line as one sentence: what is wrong, what is allowed, what comes nearest.

use std::error::Error as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use tandem_control::value::BadValue;

/// The sentence for a mistake; `None` for help and version, which clap prints itself.
pub(crate) fn sentence(error: &clap::Error) -> Option<String> {
    let text = |kind: ContextKind| error.get(kind).map(words);
    let argument = || text(ContextKind::InvalidArg).unwrap_or_default();
    let value = || text(ContextKind::InvalidValue).unwrap_or_default();
    let mut sentence = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            return None;
        }
        ErrorKind::InvalidValue if value().is_empty() => {
            let allowed = text(ContextKind::ValidValue).map(|words| format!("; allowed is {words}"));
            format!("{} needs a value{}", argument(), allowed.unwrap_or_default())
        }
        ErrorKind::InvalidValue => {
            let allowed = text(ContextKind::ValidValue).unwrap_or_default();
            format!("{} is {:?}; allowed is {allowed}", argument(), value())
        }
        ErrorKind::ValueValidation => {
            let source = error.source();
            let allowed = match source.and_then(|source| source.downcast_ref::<BadValue>()) {
                Some(bad) => format!("allowed is {}", bad.allowed),
                None => source.map(ToString::to_string).unwrap_or_default(),
            };
            format!("{} is {:?}; {allowed}", argument(), value())
        }
        ErrorKind::UnknownArgument => format!("{} is no argument of this command", argument()),
        ErrorKind::InvalidSubcommand => {
            format!("{:?} is no command", text(ContextKind::InvalidSubcommand).unwrap_or_default())
        }
        ErrorKind::MissingRequiredArgument => format!("{} is missing", argument()),
        ErrorKind::MissingSubcommand => {
            let words = text(ContextKind::ValidSubcommand).unwrap_or_default();
            format!("a command is missing; allowed is {words}")
        }
        ErrorKind::ArgumentConflict => match text(ContextKind::PriorArg) {
            Some(prior) => format!("{} and {prior} cannot be given together", argument()),
            None => format!("{} is given twice", argument()),
        },
        _ => error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    };
    let suggested = [ContextKind::SuggestedValue, ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand];
    if let Some(nearest) = suggested.into_iter().find_map(text) {
        sentence.push_str(&format!("; did you mean {nearest}?"));
    }
    Some(sentence)
}

/// The words of a context value; an argument loses the placeholder of its value.
fn words(value: &ContextValue) -> String {
    match value {
        ContextValue::String(text) => option_name(text),
        ContextValue::Strings(texts) => texts.iter().map(|text| option_name(text)).collect::<Vec<_>>().join(", "),
        ContextValue::StyledStrs(texts) => texts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// `--at <TIME>` as `--at`; a positional argument stays as it is.
fn option_name(text: &str) -> String {
    match text.split_once(' ') {
        Some((name, rest)) if name.starts_with('-') && (rest.starts_with('<') || rest.starts_with('[')) => {
            name.to_owned()
        }
        _ => text.to_owned(),
    }
}
