//! The words of messages and documents: every text of the program that a person may read, and every
//! document, without the words that make them hard to read.

use std::fs;
use std::path::{Path, PathBuf};

use gatepost_config::reference::{Block, Kind, ROOT};
use gatepost_core::cause::Cause;
use gatepost_oauth::aadsts;

/// Words that no message and no document has, in lower case.
const BANNED: &[&str] = &["whoever", "anew", "lest", "of late", "at hand", "is had", "thereof", "octet", "octets"];

/// What no message has besides: two sentences in one, and words for other readers.
const BANNED_IN_MESSAGES: &[&str] = &["; ", "should it ", "should they ", "as long as", "licence", "os error"];

/// Parts of texts that programs read.
const SYNTAX: &[&str] = &[
    "charset=",
    "Max-Age=",
    "HttpOnly",
    "default-src",
    "PRAGMA",
    "CREATE ",
    "DELETE FROM ",
    "UPDATE ",
    "version=",
    "Path=/",
    "xmlns",
    "redis.call",
    "IMAP4rev1",
    "listeners:",
    "+OK ",
];

/// The longest sentence of the catalogue, in words.
const WORDS: usize = 25;

/// The longest literal of a message, in characters; a place of a value counts as it is written.
const CHARACTERS: usize = 330;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below `folder` with this extension, tests excepted.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = entry.file_name().unwrap().to_str().unwrap();
            if entry.is_dir() {
                // The embedded Microsoft 365 says what Microsoft says.
                if !["tests", "sandbox", "target"].contains(&name) {
                    folders.push(entry);
                }
            } else if name.ends_with(extension) && name != "tests.rs" {
                found.push(entry);
            }
        }
    }
    found
}

/// The string literals of a source file with their lines, without its tests and comments, with
/// continued lines joined.
fn literals(source: &str) -> Vec<(usize, String)> {
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut found = Vec::new();
    let mut chars = source.chars().peekable();
    let mut line = 1;
    let mut before = ' ';
    while let Some(c) = chars.next() {
        match c {
            '\n' => line += 1,
            '/' if chars.peek() == Some(&'/') => {
                while chars.peek().is_some_and(|&c| c != '\n') {
                    chars.next();
                }
            }
            // A character, or a lifetime.
            '\'' => match chars.next() {
                Some('\\') => drop((chars.next(), chars.next())),
                _ => {
                    if chars.peek() == Some(&'\'') {
                        chars.next();
                    }
                }
            },
            '"' if before == '#' => {
                // A raw string; none of them is a message.
                while let Some(c) = chars.next() {
                    line += usize::from(c == '\n');
                    if c == '"' && chars.peek() == Some(&'#') {
                        break;
                    }
                }
            }
            '"' => {
                let (begin, mut text) = (line, String::new());
                while let Some(c) = chars.next() {
                    match c {
                        '"' => break,
                        '\\' => match chars.next() {
                            Some('\n') => {
                                line += 1;
                                while chars.peek().is_some_and(|c| c.is_whitespace()) {
                                    line += usize::from(chars.next() == Some('\n'));
                                }
                            }
                            Some(c) => text.push(c),
                            None => {}
                        },
                        c => {
                            line += usize::from(c == '\n');
                            text.push(c);
                        }
                    }
                }
                found.push((begin, text));
            }
            _ => {}
        }
        before = c;
    }
    found
}

fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        (!word.starts_with(is_part) || !before.is_some_and(is_part))
            && (word.ends_with(' ') || !after.is_some_and(is_part))
    })
}

/// Whether the literal is a text for people, not a key, a name or a piece of a protocol.
fn is_prose(text: &str) -> bool {
    text.split(' ').filter(|word| word.len() > 1).count() >= 3
        && text.chars().any(char::is_lowercase)
        && !SYNTAX.iter().any(|piece| text.contains(piece))
}

#[test]
fn no_message_has_a_word_that_makes_it_hard_to_read() {
    let mut found = Vec::new();
    let mut read = 0;
    for path in ["src", "crates"].iter().flat_map(|folder| files(folder, ".rs")) {
        let source = fs::read_to_string(&path).unwrap();
        let path = path.strip_prefix(root()).unwrap().display().to_string();
        for (line, text) in literals(&source).into_iter().filter(|(_, text)| is_prose(text)) {
            read += 1;
            // What stands in braces is code.
            let mut inside = 0_usize;
            let plain: String = text
                .chars()
                .filter(|&c| {
                    inside = if c == '{' { inside + 1 } else { inside };
                    let keep = inside == 0;
                    inside = if c == '}' { inside.saturating_sub(1) } else { inside };
                    keep
                })
                .collect::<String>()
                .to_lowercase();
            let words = BANNED.iter().chain(BANNED_IN_MESSAGES).filter(|word| has_word(&plain, word));
            found.extend(words.map(|word| format!("{path}:{line}: `{word}` in {text:?}")));
            if plain.chars().count() > CHARACTERS {
                found.push(format!("{path}:{line}: {} characters: {text:?}", plain.chars().count()));
            }
        }
    }
    assert!(read > 1_000, "only {read} messages were found");
    assert!(found.is_empty(), "{} messages:\n{}", found.len(), found.join("\n"));
}

#[test]
fn no_document_has_a_word_that_makes_it_hard_to_read() {
    let mut paths: Vec<PathBuf> = ["README.md", "proxy.example.yaml"].iter().map(|path| root().join(path)).collect();
    paths.extend(files("docs", ".md"));
    paths.extend(files("docs", ".1"));
    paths.extend(files("deploy", ".md"));
    paths.extend(files("deploy", ".yaml"));
    paths.extend(files("src/admin/templates", ".html"));
    let mut found = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let path = path.strip_prefix(root()).unwrap().display();
        for (number, line) in text.lines().enumerate() {
            // What a template computes has the code's names.
            let line: String = line.split("{{").map(|part| part.rsplit("}}").next().unwrap()).collect();
            let line = line.to_lowercase();
            let words = BANNED.iter().filter(|word| has_word(&line, word));
            found.extend(words.map(|word| format!("{path}:{}: `{word}`", number + 1)));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// A meaning, a remedy: short sentences, and one label, which the line that shows it adds.
fn flaw_of(remedy: &str) -> Option<&'static str> {
    const LABELS: [&str; 6] =
        ["gatepost admin", "microsoft 365 admin", "network admin", "device owner", "no action needed", "gatepost bug"];
    let lower = remedy.to_lowercase();
    if remedy.ends_with('.') || remedy.contains('\n') {
        Some("it ends like a text")
    } else if LABELS.iter().any(|label| lower.contains(label)) {
        Some("it has a label of its own")
    } else if remedy.split(". ").any(|sentence| sentence.split(' ').count() > WORDS) {
        Some("a sentence is too long")
    } else {
        None
    }
}

#[test]
fn each_key_of_the_configuration_is_explained_in_short_sentences() {
    fn look(block: &'static Block, found: &mut Vec<String>) {
        let of_keys = block.keys().map(|key| (key.name, key.meaning));
        for (name, meaning) in of_keys.chain([("", block.meaning)]) {
            let is_long = meaning.split(". ").any(|sentence| sentence.split(' ').count() > WORDS);
            if is_long || !meaning.ends_with('.') {
                found.push(format!("{}.{name}: {meaning}", block.path));
            }
        }
        block.keys().for_each(|key| look_below(&key.kind, found));
    }
    fn look_below(kind: &'static Kind, found: &mut Vec<String>) {
        match kind {
            Kind::Block(block) => look(block, found),
            Kind::List(item) | Kind::OneOrMore(item) | Kind::Map(item) => look_below(item, found),
            Kind::Either(kinds) => kinds.iter().for_each(|kind| look_below(kind, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    look(ROOT, &mut found);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn each_row_of_the_catalogues_has_one_short_remedy_for_its_reader() {
    let mut found = Vec::new();
    let mut look = |name: String, actor: gatepost_core::failure::Actor, remedy: &str| {
        if let Some(flaw) = flaw_of(remedy) {
            found.push(format!("{name}: {flaw}: {remedy}"));
        }
        // Whom the remedy is for cannot run a command on the server.
        if actor == gatepost_core::failure::Actor::ClientOwner && remedy.contains("`gatepost ") {
            found.push(format!("{name}: a command for the device's owner: {remedy}"));
        }
    };
    for cause in Cause::ALL {
        let row = cause.row();
        assert!(!row.meaning.is_empty() && row.meaning.ends_with('.'), "{cause}");
        assert!(row.refusal.is_none() || !row.remedy.is_empty(), "{cause}: a refusal without a remedy");
        look(cause.to_string(), row.actor, row.remedy);
    }
    for entry in aadsts::CATALOGUE {
        let codes = format!("{:?}", entry.codes);
        look(codes.clone(), entry.actor, entry.remedy);
        assert!(!entry.meaning.ends_with('.') && !entry.remedy.is_empty(), "{codes}");
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
