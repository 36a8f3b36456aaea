//! `tandem set`, `add`, `unset` and `delete`: small edits of one object.

use std::sync::LazyLock;

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, StringValueParser, TypedValueParser};
use tandem_control::fields;
use tandem_control::request::{self, Edit, EditKind, FieldEdit, FieldOp};

use super::confirm::{Commit, Decision};
use super::site::{self, Making};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Output;

/// A word that shells complete to a field; what it must be is said by the switch.
#[derive(Clone)]
struct Word {
    /// With the sign behind the name.
    sign: bool,
}

/// Every field with the sign behind it: clap wants names that stay.
static WITH_SIGN: LazyLock<Vec<String>> =
    LazyLock::new(|| fields::all().into_iter().map(|name| format!("{name}=")).collect());

impl TypedValueParser for Word {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(if self.sign {
            Box::new(WITH_SIGN.iter().map(|name| PossibleValue::new(name.as_str())))
        } else {
            Box::new(fields::all().into_iter().map(PossibleValue::new))
        })
    }
}

fn kinds() -> PossibleValuesParser {
    PossibleValuesParser::new(fields::KINDS.iter().map(|(word, _)| *word))
}

#[derive(Args)]
pub(crate) struct Set {
    /// What: a gateway is the mapping or routing gateway of that name
    #[arg(value_parser = kinds())]
    kind: String,
    /// Name (not for media and param), then field=value; of lists field+=value and field-=value too
    #[arg(value_parser = Word { sign: true }, hide_possible_values = true, value_name = "NAME FIELD=VALUE", required = true)]
    words: Vec<String>,
    #[command(flatten)]
    making: Making,
    #[command(flatten)]
    how: How,
}

#[derive(Args)]
pub(crate) struct Unset {
    /// What: a gateway is the mapping or routing gateway of that name
    #[arg(value_parser = kinds())]
    kind: String,
    /// Name (not for media and param), then the fields that take their defaults again
    #[arg(value_parser = Word { sign: false }, hide_possible_values = true, value_name = "NAME FIELD", required = true)]
    words: Vec<String>,
    #[command(flatten)]
    making: Making,
    #[command(flatten)]
    how: How,
}

#[derive(Args)]
pub(crate) struct Delete {
    /// What: a gateway is the mapping or routing gateway of that name
    #[arg(value_parser = kinds())]
    kind: String,
    /// Name
    name: String,
    #[command(flatten)]
    commit: Commit,
    #[command(flatten)]
    making: Making,
    /// Into the staged site instead of into force
    #[arg(long, conflicts_with_all = ["confirm", "yes"])]
    stage: bool,
}

/// What happens with an edit that needs no second thought.
#[derive(Args)]
struct How {
    /// Show what would change; nothing is changed
    #[arg(long)]
    dry_run: bool,
    /// Into the staged site instead of into force
    #[arg(long, conflicts_with = "confirm")]
    stage: bool,
}

/// `field=value`, `field+=value` or `field-=value`.
fn field(word: &str) -> Result<FieldEdit, Failure> {
    let Some((field, value)) = word.split_once('=') else {
        return Err(Failure::bad(format!("{word:?} is no field=value")));
    };
    let (field, op) = match (field.strip_suffix('+'), field.strip_suffix('-')) {
        (Some(field), _) => (field, FieldOp::Append),
        (_, Some(field)) => (field, FieldOp::Remove),
        _ => (field, FieldOp::Replace),
    };
    Ok(FieldEdit { field: field.to_owned(), op, value: value.to_owned() })
}

fn edit(edit: EditKind, kind: String, mut words: Vec<String>) -> Result<Edit, Failure> {
    let name = if !fields::is_named(&kind) {
        String::new()
    } else if words.len() == 1 && words[0].contains('=') {
        return Err(Failure::bad(format!("the name of the {kind} is missing before {}", words[0])));
    } else {
        words.remove(0)
    };
    let fields = words.iter().map(|word| match edit {
        EditKind::Unset if word.contains('=') => {
            Err(Failure::bad(format!("unset takes fields without a value, not {word:?}")))
        }
        EditKind::Unset => Ok(FieldEdit { field: word.clone(), op: FieldOp::Replace, value: String::new() }),
        _ => field(word),
    });
    Ok(Edit { edit, kind, name, fields: fields.collect::<Result<_, _>>()? })
}

pub(super) fn set(add: bool, arguments: Set, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let kind = if add { EditKind::Add } else { EditKind::Set };
    make(edit(kind, arguments.kind, arguments.words)?, arguments.making, &arguments.how, client, output)
}

pub(super) fn unset(arguments: Unset, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    make(edit(EditKind::Unset, arguments.kind, arguments.words)?, arguments.making, &arguments.how, client, output)
}

/// At once: what was typed is small enough to be looked at before.
fn make(edit: Edit, making: Making, how: &How, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let terms = making.terms(!how.dry_run, how.stage);
    let done = client.ask(request::SiteEdit { edits: vec![edit], terms })?;
    output.object(&done, |output, done| {
        site::text(output, done)?;
        site::said(output, done)
    })
}

pub(super) fn delete(arguments: Delete, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let Delete { kind, name, commit, making, stage } = arguments;
    let question = format!("Delete {kind} {name}?");
    let edit = edit(EditKind::Delete, kind, vec![name])?;
    site::preview_then(
        |client, terms| client.ask(request::SiteEdit { edits: vec![edit.clone()], terms }),
        making.terms(false, stage),
        |_| if stage { Ok(Decision::Commit) } else { commit.decide(&question) },
        client,
        output,
    )
}
