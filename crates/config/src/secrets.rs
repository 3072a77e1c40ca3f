//! Reads secrets of the configuration: literal ones, or those from a source.

use std::path::PathBuf;

use config::{Value, ValueKind};

use super::finding::Severity;
use super::plausible::is_placeholder;
use super::problem::Place;
use super::purpose::{Purpose, Secret};
use super::raw::Table;
use super::reader::Node;
use super::value::{ValueError, quoted, wrong};

const FORMS: &str = "write `{env: NAME}`, `{file: PATH}`, `{credential: NAME}` or `{command: [PROGRAM, ARGUMENT]}`";

/// The content of a secret's source, and the file that it was read from, if any.
type Content = (Vec<u8>, Option<PathBuf>);

/// A source of secrets: its key, and the function that reads it.
type Source = (&'static str, fn(&Node<'_>, Purpose) -> Option<Secret<Content>>);

/// Reads a secret that `needed_for` and everything beyond it needs. Reports of mistakes hold no
/// part of it.
pub(super) fn read(node: &Node<'_>, needed_for: Purpose) -> Option<Secret<String>> {
    read_source(node, &[], needed_for).map(|secret| secret.map(|(text, _)| text))
}

/// Like [`read`], and also returns the secret's file, if that may change while the program runs.
/// `beside` are keys that its table may hold in addition to the source.
pub(super) fn read_source(
    node: &Node<'_>,
    beside: &[&'static str],
    needed_for: Purpose,
) -> Option<Secret<(String, Option<PathBuf>)>> {
    let (text, file) = if node.is_table() {
        match referenced(node, beside, needed_for)? {
            Secret::Read(read) => read,
            Secret::NotRead => return Some(Secret::NotRead),
        }
    } else {
        (literal(node)?, None)
    };
    if text.is_empty() {
        node.problem("the secret is empty", "look at the source of the secret");
        return None;
    }
    if text.chars().any(char::is_control) {
        node.problem(
            "the secret holds a line break or another control character",
            "a secret is one line of text. One line break at its end is left out",
        );
        return None;
    }
    Some(Secret::Read((text, file)))
}

/// The path of a file that the configuration names: as it is written, or `{credential: NAME}`.
pub(super) fn path(node: &Node<'_>) -> Option<PathBuf> {
    if !node.is_table() {
        return Some(node.context().path(node.text()?));
    }
    let section = node.section();
    let Some(credential) = section.get("credential") else {
        node.problem("a file is expected here", "write its path, or `{credential: NAME}`");
        return None;
    };
    section.finish();
    credential_path(&credential)
}

/// The secret in the content of a file: one line of text, without its line break. `None` when the
/// content is anything else.
pub fn line(content: &[u8]) -> Option<&str> {
    let text = without_line_end(std::str::from_utf8(content).ok()?);
    (!text.is_empty() && !text.chars().any(char::is_control)).then_some(text)
}

fn without_line_end(text: &str) -> &str {
    let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    line.unwrap_or(text)
}

/// Takes the written text as the secret, and notes who may read it.
pub(super) fn literal(node: &Node<'_>) -> Option<String> {
    let text = node.text()?.to_owned();
    let context = node.context();
    if let Place::Flag(_) = node.place() {
        node.problem("everybody on this machine can read a secret on the command line", FORMS);
        return None;
    }
    if is_placeholder(&text) {
        node.find(Severity::Problem, "the secret is a placeholder in angle brackets", "write the value of the secret");
    }
    let in_file = matches!(node.place(), Place::File { .. });
    if let Some((name, _)) = context.document.file.as_ref().filter(|_| in_file)
        && context.outside.world_readable(name.as_ref())
    {
        context
            .note(format!("`{name}` has a secret, and every user of this machine can read it. Run `chmod o-r {name}`"));
    }
    Some(text)
}

fn referenced(
    node: &Node<'_>,
    beside: &[&'static str],
    needed_for: Purpose,
) -> Option<Secret<(String, Option<PathBuf>)>> {
    let section = node.section();
    for key in beside {
        section.get(key);
    }
    let sources: [Source; 4] =
        [("env", of_variable), ("file", of_file), ("credential", of_credential), ("command", of_command)];
    let given: Vec<_> = sources.iter().filter_map(|(key, read)| Some((section.get(key)?, read))).collect();
    section.finish();
    let [(source, read)] = &given[..] else {
        node.problem("exactly one source of the secret is expected", FORMS);
        return None;
    };
    if !node.context().is_for(needed_for) {
        return Some(Secret::NotRead);
    }
    let Secret::Read((bytes, file)) = read(source, needed_for)? else { return Some(Secret::NotRead) };
    let Ok(text) = String::from_utf8(bytes) else {
        source.problem("the secret is not UTF-8", "give the secret as text");
        return None;
    };
    Some(Secret::Read((without_line_end(&text).to_owned(), file)))
}

fn of_variable(source: &Node<'_>, _: Purpose) -> Option<Secret<Content>> {
    let name = source.text()?;
    let value = source.context().outside.variable(name);
    if value.is_none() {
        source.problem(
            format!("the environment variable {} is not set", quoted(name)),
            "set it where Gatepost is started, or use `{file: PATH}`",
        );
    }
    value.map(|value| Secret::Read((value.into_bytes(), None)))
}

fn of_file(source: &Node<'_>, needed_for: Purpose) -> Option<Secret<Content>> {
    let context = source.context();
    let path = context.path(source.text()?);
    if context.outside.world_readable(&path) {
        let shown = path.display();
        context.note(format!("every user of this machine can read the secret in `{shown}`. Run `chmod o-r {shown}`"));
    }
    read_file(source, path, needed_for, "name a file that the user who runs Gatepost can read")
}

fn of_credential(source: &Node<'_>, needed_for: Purpose) -> Option<Secret<Content>> {
    let path = credential_path(source)?;
    read_file(source, path, needed_for, &load_credential(source.text()?))
}

/// The path of the credential whose name is written here.
pub(super) fn credential_path(source: &Node<'_>) -> Option<PathBuf> {
    let name = source.read(credential_name)?;
    let path = source.context().credential(&name);
    if path.is_none() {
        let reason = "there are no credentials: Gatepost was not started by systemd with any";
        source.problem(reason, load_credential(&name));
    }
    path
}

/// How systemd is told to hand over a credential.
pub(super) fn load_credential(name: &str) -> String {
    format!("write `LoadCredentialEncrypted={name}` or `LoadCredential={name}:PATH` into the unit")
}

/// Checks a credential's name (systemd.exec(5)): that of a file, at most 255 octets of ASCII.
fn credential_name(text: &str) -> Result<String, ValueError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'@');
    if text.len() <= 255 && text.bytes().all(allowed) && !matches!(text, "." | "..") {
        return Ok(text.to_owned());
    }
    wrong(
        format!("{} is not the name of a credential", quoted(text)),
        "use up to 255 ASCII letters, digits, `.`, `_`, `-` and `@`, as in the unit's `LoadCredential=`",
    )
}

fn of_command(source: &Node<'_>, _: Purpose) -> Option<Secret<Content>> {
    let command = source.list()?.iter().map(|item| item.text().map(str::to_owned)).collect::<Option<Vec<_>>>()?;
    let context = source.context();
    let given = context.outside.run(&command, &variables(&context.document.merged.values));
    given
        .map_err(|error| {
            source.problem(
                format!("the command did not give a secret: {error}"),
                "run it by hand as the user who runs Gatepost",
            );
        })
        .ok()
        .map(|content| Secret::Read((content, None)))
}

fn read_file(source: &Node<'_>, path: PathBuf, needed_for: Purpose, hint: &str) -> Option<Secret<Content>> {
    Some(source.content(&path, needed_for, hint)?.map(|content| (content, Some(path))))
}

/// The names in every `{env: NAME}` of the configuration. Their values must not reach other
/// programs.
pub(super) fn variables(values: &Table) -> Vec<String> {
    fn collect(value: &Value, names: &mut Vec<String>) {
        match &value.kind {
            ValueKind::Table(table) => {
                if let Some(ValueKind::String(name)) = table.get("env").map(|value| &value.kind) {
                    names.push(name.clone());
                }
                table.values().for_each(|value| collect(value, names));
            }
            ValueKind::Array(items) => items.iter().for_each(|value| collect(value, names)),
            _ => {}
        }
    }
    let mut names = Vec::new();
    values.values().for_each(|value| collect(value, &mut names));
    names
}
