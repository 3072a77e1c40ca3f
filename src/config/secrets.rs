//! Secrets of the configuration: a literal, or where to find one.

use std::path::PathBuf;

use super::reader::Node;
use super::value::quoted;

const FORMS: &str = "write `{env: NAME}`, `{file: PATH}` or `{command: [PROGRAM, ARGUMENT]}`";

/// Reads a secret; what is wrong with it is reported without any of it.
pub(super) fn read(node: &Node<'_>) -> Option<String> {
    read_source(node, &[]).map(|(text, _)| text)
}

/// The same, with the file that the secret stands in, when that may change while the program runs. `beside` are keys that
/// its table may hold besides the source.
pub(super) fn read_source(node: &Node<'_>, beside: &[&'static str]) -> Option<(String, Option<PathBuf>)> {
    let (text, file) = if node.is_table() { referenced(node, beside)? } else { (literal(node)?, None) };
    if text.is_empty() {
        node.problem("the secret is empty", "look at the source of the secret");
        return None;
    }
    if text.chars().any(char::is_control) {
        node.problem(
            "the secret holds a line break or another control character",
            "a secret is one line of text; one line break at its end is left out",
        );
        return None;
    }
    Some((text, file))
}

/// The secret in the content of a file: one line of text, whose line break does not count. `None` when it is anything else.
pub(crate) fn line(content: &[u8]) -> Option<&str> {
    let text = without_line_end(std::str::from_utf8(content).ok()?);
    (!text.is_empty() && !text.chars().any(char::is_control)).then_some(text)
}

fn without_line_end(text: &str) -> &str {
    let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    line.unwrap_or(text)
}

fn literal(node: &Node<'_>) -> Option<String> {
    let text = node.text()?.to_owned();
    let context = node.context();
    let in_file = matches!(node.place(), super::problem::Place::File { .. });
    if let Some((name, _)) = context.document.file.as_ref().filter(|_| in_file)
        && context.outside.world_readable(name.as_ref())
    {
        context.note(format!(
            "`{name}` holds a secret and everybody on this machine can read it; take that right away with `chmod o-r {name}`"
        ));
    }
    Some(text)
}

fn referenced(node: &Node<'_>, beside: &[&'static str]) -> Option<(String, Option<PathBuf>)> {
    let section = node.section();
    for key in beside {
        section.get(key);
    }
    let sources = [("env", section.get("env")), ("file", section.get("file")), ("command", section.get("command"))];
    section.finish();
    let mut given = sources.into_iter().filter_map(|(kind, node)| Some((kind, node?)));
    let (Some((kind, source)), None) = (given.next(), given.next()) else {
        node.problem("exactly one source of the secret is expected", FORMS);
        return None;
    };
    let outside = node.context().outside;
    let mut file = None;
    let bytes = match kind {
        "env" => {
            let name = source.text()?;
            let value = outside.variable(name);
            if value.is_none() {
                source.problem(
                    format!("the environment variable {} is not set", quoted(name)),
                    "set it where Gatepost is started, or use `{file: PATH}`",
                );
            }
            value?.into_bytes()
        }
        "file" => {
            let path = node.context().path(source.text()?);
            if outside.world_readable(&path) {
                let shown = path.display();
                node.context().note(format!(
                    "everybody on this machine can read the secret in `{shown}`; take that right away with `chmod o-r {shown}`"
                ));
            }
            match outside.read(&path) {
                Ok(bytes) => {
                    file = Some(path);
                    bytes
                }
                Err(error) => {
                    source.problem(
                        format!("`{}` cannot be read: {error}", path.display()),
                        "name a file that the user who runs Gatepost can read",
                    );
                    return None;
                }
            }
        }
        _ => {
            let command =
                source.list()?.iter().map(|item| item.text().map(str::to_owned)).collect::<Option<Vec<_>>>()?;
            match outside.run(&command) {
                Ok(bytes) => bytes,
                Err(error) => {
                    source.problem(
                        format!("the command did not give a secret: {error}"),
                        "run it by hand as the user who runs Gatepost",
                    );
                    return None;
                }
            }
        }
    };
    let Ok(text) = String::from_utf8(bytes) else {
        source.problem("the secret is not UTF-8", "give the secret as text");
        return None;
    };
    Some((without_line_end(&text).to_owned(), file))
}
