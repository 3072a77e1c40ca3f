//! Where the values of a file came from.

/// Longest name of a section or key in a message, in characters.
const SHOWN: usize = 80;

/// The place that a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Origin {
    line: Option<usize>,
    text: String,
}

impl Origin {
    /// A key of the file. `section` is empty in files without sections.
    pub(in crate::cli) fn key(section: &str, key: &str, line: usize) -> Self {
        let section = if section.is_empty() { String::new() } else { format!("[{}] ", shown(section)) };
        Self { line: Some(line), text: format!("{section}{}", shown(key)) }
    }

    /// A section of the file.
    pub(in crate::cli) fn section(name: &str, line: usize) -> Self {
        Self { line: Some(line), text: format!("[{}]", shown(name)) }
    }

    /// A flag of the command line.
    pub(in crate::cli) fn flag(name: &str) -> Self {
        Self { line: None, text: name.to_owned() }
    }

    /// What the other proxy does when its file says nothing.
    pub(in crate::cli) fn default_of(proxy: &str) -> Self {
        Self { line: None, text: format!("{proxy}'s default") }
    }

    /// The comment behind the value.
    pub(in crate::cli) fn comment(&self) -> String {
        format!("from {}", self.text)
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "{} (line {line})", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// A name of the file as it may be shown: in one line, and not too long.
fn shown(name: &str) -> String {
    name.chars().take(SHOWN).map(|c| if is_odd(c) { '?' } else { c }).collect()
}

/// True for what a line of YAML cannot hold as it is: control characters, line separators, byte
/// order marks.
pub(in crate::cli) fn is_odd(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// A value, and the place that it came from.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Found<T> {
    pub(in crate::cli) value: T,
    pub(in crate::cli) from: Origin,
}

impl<T> Found<T> {
    pub(in crate::cli) fn new(value: T, from: &Origin) -> Self {
        Self { value, from: from.clone() }
    }
}
