//! `tandem completion`: scripts that let a shell complete commands and options.

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use tandem_control::fields;

use crate::Arguments;
use crate::failure::Failure;
use crate::output::Output;

#[derive(Args)]
pub(crate) struct Completion {
    /// Shell
    shell: Known,
}

/// The shells that operators use; clap_complete knows more.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Known {
    Bash,
    Zsh,
    Fish,
}

pub(super) fn run(arguments: Completion, output: &mut Output) -> Result<(), Failure> {
    let shell = match arguments.shell {
        Known::Bash => Shell::Bash,
        Known::Zsh => Shell::Zsh,
        Known::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "tandem", &mut script);
    output.raw(&String::from_utf8_lossy(&script))?;
    output.raw(&match shell {
        Shell::Bash => BASH_NO_SPACE.to_owned(),
        Shell::Fish => fish_edits(),
        _ => String::new(),
    })
}

/// Behind `field=` the value follows, not a space.
const BASH_NO_SPACE: &str = r#"
_tandem_no_space() {
    _tandem "$@"
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
    return 0
}
complete -F _tandem_no_space -o bashdefault -o default tandem
"#;

/// clap_complete leaves the words of positional arguments out for fish.
fn fish_edits() -> String {
    let kinds: Vec<&str> = fields::KINDS.iter().map(|(word, _)| *word).collect();
    let names = fields::all();
    let signed: Vec<String> = names.iter().map(|name| format!("{name}=")).collect();
    let seen = |commands: &str| format!("complete -c tandem -f -n '__fish_seen_subcommand_from {commands}' -a");
    format!(
        "{} '{}'\n{} '{}'\n{} '{}'\n",
        seen("set add unset delete"),
        kinds.join(" "),
        seen("set add"),
        signed.join(" "),
        seen("unset"),
        names.join(" ")
    )
}
