//! `docs/reference/configuration.md`, from the reference of the configuration.

use std::fmt::Write as _;

use gatepost_config::reference::{Block, Group, IfAbsent, Key, Kind, ROOT};
use gatepost_config::value::{show_duration, show_size};

use super::markdown::{anchor, cell};

const HEAD: &str = "# Configuration

Every key of `proxy.yaml`, with its kind, its default and its meaning. The file
[proxy.example.yaml](../../proxy.example.yaml) shows the keys in their place. Editors that know YAML
schemas check the file while you write it, if its first line is
`# yaml-language-server: $schema=proxy.schema.json` and
[proxy.schema.json](../../proxy.schema.json) is beside it. `gatepost check` reports every mistake at
once.

Any key can also come from the environment (`GATEPOST__LISTENERS__SMTP__BIND=localhost:2587`) or from
the command line (`--set listeners.smtp.bind=localhost:2587`). The command line wins over the
environment, and the environment over the file. Relative paths start from the directory of the file.

This page is generated from the code
(`GATEPOST_WRITE_DOCUMENTS=1 cargo test --all-features --test config documents`).
";

fn link(block: &Block) -> String {
    format!("[{}](#{})", title(block), anchor(&title(block)))
}

fn title(block: &Block) -> String {
    match block.path {
        "" => "Outermost keys".to_owned(),
        path if path.contains('`') => path.to_owned(),
        path => format!("`{path}`"),
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn kind(of: &'static Kind) -> String {
    match of {
        Kind::Text(form) => form.what.to_owned(),
        Kind::Word(words) => joined(words.iter().map(|word| format!("`{word}`"))),
        Kind::Truth => "`true`, `false`".to_owned(),
        Kind::Count(least, most) => format!("number, {least} to {most}"),
        Kind::Time(least, most) => format!("time, {} to {}", show_duration(*least), show_duration(*most)),
        Kind::Size(least, most) => format!("size, {} to {}", show_size(*least), show_size(*most)),
        Kind::List(item) => format!("list of {}", kind(item)),
        Kind::OneOrMore(item) => format!("{}, or a list", kind(item)),
        Kind::Map(item) => format!("names of your own, each with {}", kind(item)),
        Kind::Block(block) => link(block),
        Kind::Either(kinds) => joined(kinds.iter().map(kind)),
    }
}

fn default(of: IfAbsent) -> String {
    match of {
        IfAbsent::Required => "required".to_owned(),
        IfAbsent::Value("[]" | "{}") | IfAbsent::Nothing => "–".to_owned(),
        IfAbsent::Value(value) => format!("`{value}`"),
        IfAbsent::Means(words) => words.to_owned(),
    }
}

fn row(block: &Block, key: &'static Key) -> String {
    let name = key.name;
    let address = [block.path, name].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
    let only = match key.only {
        [] => String::new(),
        protocols => {
            let names = protocols.iter().map(|protocol| format!("`{}`", protocol.name()));
            format!(" Only with the protocol {}.", names.collect::<Vec<_>>().join(" or "))
        }
    };
    let beside = key.needs.map_or_else(String::new, |other| format!(" Only with `{other}`."));
    format!(
        "| <a id=\"{}\"></a>`{name}` | {} | {} | {}{only}{beside} |\n",
        address.replace(['`', ' '], ""),
        cell(&kind(&key.kind)),
        cell(&default(key.if_absent)),
        cell(key.meaning),
    )
}

/// The sections in the order in which the keys name them.
fn blocks(block: &'static Block, found: &mut Vec<&'static Block>) {
    if found.iter().any(|known| known.path == block.path) {
        return;
    }
    found.push(block);
    for key in block.keys() {
        of_kind(&key.kind, found);
    }
}

fn of_kind(kind: &'static Kind, found: &mut Vec<&'static Block>) {
    match kind {
        Kind::Block(block) => blocks(block, found),
        Kind::List(item) | Kind::OneOrMore(item) | Kind::Map(item) => of_kind(item, found),
        Kind::Either(kinds) => kinds.iter().for_each(|kind| of_kind(kind, found)),
        _ => {}
    }
}

pub(super) fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut found = Vec::new();
    blocks(ROOT, &mut found);
    let mut written: Vec<(&str, &Block)> = Vec::new();
    for block in found {
        let _ = write!(page, "\n## {}\n\n{}\n", title(block), block.meaning);
        for Group { title: heading, keys } in block.groups {
            if !heading.is_empty() {
                let _ = write!(page, "\n### {heading}\n");
            }
            // Keys that stand in two sections are explained once.
            let first = keys.first().map_or("", |key| key.meaning);
            if let Some((_, other)) = written.iter().find(|(meaning, _)| *meaning == first && keys.len() > 4) {
                let _ = write!(page, "\nThe keys of {}, which they replace here.\n", link(other));
                continue;
            }
            written.push((first, block));
            page.push_str("\n| key | kind | default | meaning |\n|---|---|---|---|\n");
            keys.iter().for_each(|key| page.push_str(&row(block, key)));
        }
    }
    page
}
