//! `docs/reference/commands.md`, from the definition of the command line.

use std::fmt::Write as _;

use clap::builder::StyledStr;
use clap::{Arg, Command, CommandFactory as _};
use gatepost::cli::Cli;

use super::markdown::cell;

const HEAD: &str = "# Commands

`gatepost COMMAND --help` prints the same. The packages have it as manual pages (`man gatepost-check`), and
complete commands in bash, zsh and fish.

This page is generated from the code
(`GATEPOST_WRITE_DOCUMENTS=1 cargo test --all-features --test config documents`).
";

/// The heading of the options that most commands have.
const COMMON: &str = "Options of most commands";

/// The command line with everything that clap adds at the first use.
pub(super) fn command_line() -> Command {
    let mut command = Cli::command();
    command.build();
    command
}

/// The commands below a command that are shown to people.
pub(super) fn below(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|below| !below.is_hide_set())
}

/// What a command, or else the one above it, says about its exit codes.
pub(super) fn exit_codes(command: &Command, inherited: &str) -> String {
    command.get_after_help().map_or_else(|| inherited.to_owned(), ToString::to_string)
}

fn text(styled: Option<&StyledStr>) -> String {
    styled.map(ToString::to_string).unwrap_or_default()
}

fn takes_value(argument: &Arg) -> bool {
    argument.get_action().takes_values()
}

fn row(argument: &Arg) -> String {
    let value = match argument.get_value_names() {
        Some(names) if takes_value(argument) => format!(" {}", names.join(" ")),
        _ => String::new(),
    };
    let names = match (argument.get_short(), argument.get_long()) {
        (Some(short), Some(long)) => format!("`-{short}`, `--{long}{value}`"),
        (None, Some(long)) => format!("`--{long}{value}`"),
        (Some(short), None) => format!("`-{short}{value}`"),
        (None, None) => format!("`{}`", value.trim_start()),
    };
    let mut meaning = text(argument.get_help());
    let quoted = |words: Vec<String>| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    if takes_value(argument) {
        let values: Vec<String> =
            argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
        if !values.is_empty() {
            let _ = write!(meaning, ": {}", quoted(values));
        }
        let default: Vec<String> =
            argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
        if !default.is_empty() {
            let _ = write!(meaning, " [default: {}]", quoted(default));
        }
    }
    format!("| {names} | {} |\n", cell(&meaning))
}

fn table(arguments: &[&Arg], page: &mut String) {
    if !arguments.is_empty() {
        page.push_str("\n| argument or option | meaning |\n|---|---|\n");
        arguments.iter().for_each(|argument| page.push_str(&row(argument)));
    }
}

/// The arguments, those without a name first.
fn arguments(command: &Command) -> Vec<&Arg> {
    let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let (mut first, then): (Vec<&Arg>, Vec<&Arg>) = shown.partition(|argument| argument.is_positional());
    first.extend(then);
    first
}

fn write(command: &Command, name: &str, common: &[&Arg], inherited: &str, page: &mut String) {
    let exit_codes = exit_codes(command, inherited);
    if below(command).next().is_none() {
        let usage = command.clone().render_usage().to_string();
        let usage = usage.trim_start_matches("Usage: ");
        let _ = write!(page, "\n## `{name}`\n\n{}.\n\n```\n{usage}\n```\n", text(command.get_about()));
        let is_common = |argument: &&Arg| common.iter().any(|other| other.get_id() == argument.get_id());
        let (shared, own): (Vec<&Arg>, Vec<&Arg>) = arguments(command).into_iter().partition(is_common);
        table(&own, page);
        // All have `--help`.
        if shared.len() > 1 {
            page.push_str("\nIt also takes the [options of most commands](#options-of-most-commands).\n");
        }
        let _ = write!(page, "\n{exit_codes}\n");
    }
    for command in below(command) {
        write(command, &format!("{name} {}", command.get_name()), common, &exit_codes, page);
    }
}

pub(super) fn page() -> String {
    let mut page = HEAD.to_owned();
    let command = command_line();
    let common = arguments(&command);
    let _ = write!(
        page,
        "\n## {COMMON}\n\nWithout a command, `gatepost` takes these and does the same as `gatepost run`.\n"
    );
    table(&common, &mut page);
    write(&command, "gatepost", &common, "", &mut page);
    page
}
