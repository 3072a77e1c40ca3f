//! Reads INI files strictly, with the line of each key. Errors hold nothing of the content.
//!
//! Two dialects are known: that of Python's `configparser`, in which deeper indented lines continue
//! a value, and that of Genesys Configuration Manager's exports.

use std::collections::HashMap;

use zeroize::Zeroizing;

use super::mistake::Mistake;
use crate::cli::draft::origin::Origin;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Python's `configparser` without interpolation: `key = value` or `key: value`, keys without
    /// case, continuation lines.
    Python,
    /// Genesys: `key=value`, values perhaps in double quotes, one line each.
    Genesys,
}

/// A key with its value.
pub(super) struct Entry {
    pub(super) key: String,
    /// It may be secret.
    pub(super) value: Zeroizing<String>,
    pub(super) line: usize,
}

/// A section.
pub(super) struct Section {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) entries: Vec<Entry>,
}

impl Section {
    /// The entry of a key, unless its value is empty.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key && !entry.value.is_empty())
    }

    /// Where an entry is.
    pub(super) fn origin(&self, entry: &Entry) -> Origin {
        Origin::key(&self.name, &entry.key, entry.line)
    }

    /// Where the section is.
    pub(super) fn place(&self) -> Origin {
        Origin::section(&self.name, self.line)
    }
}

/// Reads a text.
///
/// # Errors
/// A line that is none of the dialect; a section or key that is written twice.
pub(super) fn read(text: &str, dialect: Dialect) -> Result<Vec<Section>, Mistake> {
    let mut sections: Vec<Section> = Vec::new();
    // The lines of all sections, and of the keys in the current one.
    let (mut names, mut keys) = (HashMap::new(), HashMap::new());
    // Indentation of the key that deeper lines continue.
    let mut open_key: Option<usize> = None;
    for (index, raw) in text.lines().enumerate() {
        let (line, trimmed) = (index + 1, raw.trim());
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        let indentation = raw.chars().take_while(|c| c.is_whitespace()).count();
        if dialect == Dialect::Python
            && open_key.is_some_and(|key| indentation > key)
            && let Some(entry) = sections.last_mut().and_then(|section| section.entries.last_mut())
        {
            entry.value.push('\n');
            entry.value.push_str(trimmed);
            continue;
        }
        if let Some(rest) = trimmed.strip_prefix('[') {
            let section = section(rest, line)?;
            if let Some(first) = names.insert(section.name.clone(), line) {
                return Err(Mistake::at(
                    line,
                    format!("the section is in the file twice, first in line {first}"),
                    "Put all keys into one of them",
                ));
            }
            sections.push(section);
            keys.clear();
            open_key = None;
            continue;
        }
        let Some(current) = sections.last_mut() else {
            return Err(Mistake::at(
                line,
                "a key is here before any section",
                "Look whether the beginning of the file was lost",
            ));
        };
        let entry = entry(trimmed, line, dialect)?;
        if let Some(first) = keys.insert(entry.key.clone(), line) {
            return Err(Mistake::at(
                line,
                format!("the key is in this section twice, first in line {first}"),
                "Remove one of the two lines",
            ));
        }
        current.entries.push(entry);
        open_key = Some(indentation);
    }
    Ok(sections)
}

/// Reads the head of a section behind its opening bracket.
fn section(rest: &str, line: usize) -> Result<Section, Mistake> {
    let Some((name, _)) = rest.rsplit_once(']').filter(|(name, _)| !name.trim().is_empty()) else {
        return Err(Mistake::at(
            line,
            "the section's name does not end in `]`, or is empty",
            "Look whether the file was cut off or edited by mistake",
        ));
    };
    Ok(Section { name: name.trim().to_owned(), line, entries: Vec::new() })
}

fn entry(text: &str, line: usize, dialect: Dialect) -> Result<Entry, Mistake> {
    let split = match dialect {
        Dialect::Python => text.split_once(['=', ':']),
        Dialect::Genesys => text.split_once('='),
    };
    let Some((key, value)) = split.filter(|(key, _)| !key.trim().is_empty()) else {
        return Err(Mistake::at(
            line,
            "this is neither a section nor a key with a value",
            "Look whether the file was cut off or edited by mistake",
        ));
    };
    let (key, value) = (key.trim(), value.trim());
    let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    Ok(match dialect {
        Dialect::Python => Entry { key: key.to_lowercase(), value: Zeroizing::new(value.to_owned()), line },
        Dialect::Genesys => {
            Entry { key: key.to_owned(), value: Zeroizing::new(quoted.unwrap_or(value).to_owned()), line }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, dialect: Dialect) -> Result<Vec<String>, String> {
        let sections = read(text, dialect).map_err(|mistake| mistake.to_string())?;
        let entries = |section: &Section| -> Vec<String> {
            let shown = |entry: &Entry| format!("{}: {}={} @{}", section.name, entry.key, *entry.value, entry.line);
            section.entries.iter().map(shown).collect()
        };
        Ok(sections.iter().flat_map(entries).collect())
    }

    #[test]
    fn continuation_lines_belong_to_the_key_above_them() {
        let text = "[a]\ndocumentation = one\n\ttwo = 2\n\t\n\t[not a section]\n    three\n# no\nKey : v\n  [b] x\n[b]\nk==v\n";
        assert_eq!(
            told(text, Dialect::Python).unwrap(),
            ["a: documentation=one\ntwo = 2\n[not a section]\nthree @2", "a: key=v\n[b] x @8", "b: k==v @11"]
        );
    }

    #[test]
    fn values_of_genesys_may_be_quoted_and_are_one_line() {
        let text = "[pop-client]\nscope=\"https://x/.default\"\n  mail.imap.auth.mechanisms = XOAUTH2\nendpoint=a:b\n";
        assert_eq!(
            told(text, Dialect::Genesys).unwrap(),
            [
                "pop-client: scope=https://x/.default @2",
                "pop-client: mail.imap.auth.mechanisms=XOAUTH2 @3",
                "pop-client: endpoint=a:b @4"
            ]
        );
    }

    #[test]
    fn damage_is_told_with_its_line_and_without_its_content() {
        for (text, line) in [
            ("k = hunter2\n", "line 1: "),
            ("[a]\nhunter2\n", "line 2: "),
            ("[a]\n= hunter2\n", "line 2: "),
            ("[a\nk = hunter2", "line 1: "),
            ("[]\n", "line 1: "),
            ("[a]\nk = hunter2\nK = hunter3\n", "line 3: "),
            ("[a]\n[b]\n[a]\n", "line 3: "),
        ] {
            let told = told(text, Dialect::Python).unwrap_err();
            assert!(told.starts_with(line) && !told.contains("hunter"), "{text:?}: {told}");
        }
    }
}
