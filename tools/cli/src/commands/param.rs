//! `tandem param`: system parameters.

use clap::Subcommand;
use tandem_control::{reply, request};

use crate::client::Client;
use crate::failure::Failure;
use crate::output::{List, Output};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List parameters with their values
    List {
        /// Only names that begin with this, such as SS_SIP
        prefix: Option<String>,
    },
    /// Show one parameter with its range and meaning
    Get {
        /// Name
        name: String,
    },
    /// Set a parameter
    Set {
        /// Name
        name: String,
        /// Value
        #[arg(allow_hyphen_values = true)]
        value: String,
    },
}

const LIST: List<'_, reply::ParamRow> = List {
    fields: &["name", "value", "default", "range", "unit", "meaning", "used", "read_by"],
    titles: &["parameter", "value", "default", "range", "unit", "read by"],
    line: |row| {
        let changed = if row.value == row.default { "" } else { " *" };
        vec![
            row.name.clone(),
            format!("{}{changed}", row.value),
            row.default.clone(),
            row.range.clone(),
            row.unit.clone(),
            read_by(row),
        ]
    },
};

fn read_by(row: &reply::ParamRow) -> String {
    if row.used { row.read_by.clone() } else { "not used yet".to_owned() }
}

pub(super) fn run(command: Command, client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::List { prefix } => {
            let reply = client.ask(request::ParamList { prefix })?;
            output.list(&LIST, &reply.rows)?;
            super::note_cut(reply.rows.len(), reply.total, "the switch sent no more");
            Ok(())
        }
        Command::Get { name } => output.object(&client.ask(request::ParamGet { name })?, |output, row| {
            output.pairs(&[
                ("parameter", row.name.clone()),
                ("value", row.value.clone()),
                ("default", row.default.clone()),
                ("range", row.range.clone()),
                ("unit", row.unit.clone()),
                ("meaning", row.meaning.clone()),
                ("read by", read_by(row)),
            ])
        }),
        Command::Set { name, value } => {
            output.object(&client.ask(request::ParamSet { name, value, comment: String::new() })?, |output, set| {
                output.line(&format!("{} is {} (was {})", set.param.name, set.param.value, set.before))?;
                if !set.param.used {
                    output.line(&format!("warning: nothing in this version reads {}", set.param.name))?;
                }
                Ok(())
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_has_every_field_of_the_row() {
        super::super::tests::covers(LIST.fields, &reply::ParamRow::default());
    }
}
