//! What a table of the reference consists of. Plain data.

use std::time::Duration;

use gatepost_core::protocol::Protocol;

/// A section of the configuration: keys that stand together.
#[derive(Debug)]
pub struct Block {
    /// The path of the section, such as `listeners.NAME`.
    pub path: &'static str,
    /// What the section is for, in sentences.
    pub meaning: &'static str,
    /// Its keys.
    pub groups: &'static [Group],
    /// Keys of which exactly one is written, if any.
    pub one_of: &'static [&'static str],
}

impl Block {
    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &'static Key> {
        self.groups.iter().flat_map(|group| group.keys)
    }

    /// The key of this name, if the section has it.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys().find(|key| key.name == name)
    }
}

/// Keys of a section that belong together.
#[derive(Debug)]
pub struct Group {
    /// The heading; empty for a section without headings.
    pub title: &'static str,
    /// The keys.
    pub keys: &'static [Key],
}

/// A key.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What is written behind it.
    pub kind: Kind,
    /// What holds without it.
    pub if_absent: IfAbsent,
    /// What it means, in sentences.
    pub meaning: &'static str,
    /// For a key of a listener: the protocols that have it. Empty: all of them.
    pub only: &'static [Protocol],
    /// Another key of the section without which this one is unknown.
    pub needs: Option<&'static str>,
}

impl Key {
    pub(super) const fn new(name: &'static str, kind: Kind, if_absent: IfAbsent, meaning: &'static str) -> Self {
        Self { name, kind, if_absent, meaning, only: &[], needs: None }
    }

    /// The same, for listeners of these protocols.
    pub(super) const fn only(self, only: &'static [Protocol]) -> Self {
        Self { only, ..self }
    }

    /// The same, beside this key only.
    pub(super) const fn beside(self, key: &'static str) -> Self {
        Self { needs: Some(key), ..self }
    }
}

/// What holds when a key is not written.
#[derive(Clone, Copy, Debug)]
pub enum IfAbsent {
    /// The key has to be written.
    Required,
    /// The same as with this value, in the form of YAML.
    Value(&'static str),
    /// What these words say.
    Means(&'static str),
    /// Nothing.
    Nothing,
}

/// What is written behind a key.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Text on one line.
    Text(&'static Form),
    /// One of these words.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Truth,
    /// A whole number, with its bounds.
    Count(u64, u64),
    /// A whole number with a unit of time, with its bounds.
    Time(Duration, Duration),
    /// A whole number with a unit of size, with its bounds in bytes.
    Size(u64, u64),
    /// A list.
    List(&'static Kind),
    /// A list, or one value without it.
    OneOrMore(&'static Kind),
    /// Names that the administrator chooses, each with a value.
    Map(&'static Kind),
    /// A section.
    Block(&'static Block),
    /// One of these.
    Either(&'static [Kind]),
}

impl Kind {
    /// The section that may be written here.
    pub fn block(&'static self) -> Option<&'static Block> {
        match self {
            Self::Block(block) => Some(block),
            Self::Either(kinds) => kinds.iter().find_map(Self::block),
            _ => None,
        }
    }

    /// The kind of each value in a list, if one may be written here.
    pub fn item(&'static self) -> Option<&'static Self> {
        match self {
            Self::List(item) | Self::OneOrMore(item) => Some(item),
            Self::Either(kinds) => kinds.iter().find_map(Self::item),
            _ => None,
        }
    }

    /// The words that may be written here.
    pub fn words(&self) -> Option<&'static [&'static str]> {
        match self {
            Self::Word(words) => Some(words),
            Self::Either(kinds) => kinds.iter().find_map(Self::words),
            _ => None,
        }
    }

    /// The bounds of a whole number, or of a size in bytes.
    pub(in super::super) fn number(&self) -> Option<(u64, u64)> {
        match self {
            Self::Count(least, most) | Self::Size(least, most) => Some((*least, *most)),
            Self::Either(kinds) => kinds.iter().find_map(Self::number),
            _ => None,
        }
    }

    /// The bounds of a time.
    pub(in super::super) fn time(&self) -> Option<(Duration, Duration)> {
        match self {
            Self::Time(least, most) => Some((*least, *most)),
            Self::Either(kinds) => kinds.iter().find_map(Self::time),
            _ => None,
        }
    }
}

/// What a text has to be.
#[derive(Debug)]
pub struct Form {
    /// Its name, such as `host:port`.
    pub what: &'static str,
    /// A regular expression that each valid text matches; empty for any text.
    pub pattern: &'static str,
}
