//! A key that may be absent: its value, and the default.

use super::problem::Place;
use super::reader::{Node, Section};
use super::value::ValueError;

/// A key that is absent, is wrong (and reported), or has a value.
#[derive(Clone)]
pub(super) enum Setting<T> {
    Absent,
    Wrong,
    Value(T),
}

impl<T: Clone> Setting<T> {
    pub(super) fn read(section: &Section<'_>, key: &'static str, read: impl FnOnce(Node<'_>) -> Option<T>) -> Self {
        section.get(key).map_or(Self::Absent, |node| read(node).map_or(Self::Wrong, Self::Value))
    }

    pub(super) fn or(self, inherited: &Self) -> Self {
        if let Self::Absent = self { inherited.clone() } else { self }
    }

    pub(super) fn optional(self) -> Option<Option<T>> {
        match self {
            Self::Absent => Some(None),
            Self::Wrong => None,
            Self::Value(value) => Some(Some(value)),
        }
    }

    /// Uses an environment variable if the key is absent.
    pub(super) fn or_variable(
        &mut self,
        section: &Section<'_>,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, ValueError>,
    ) {
        let context = section.context();
        let variable = context.outside.variable(name).filter(|text| !text.is_empty());
        let (Self::Absent, Some(text)) = (&self, variable) else { return };
        *self = match read(&text) {
            Ok(value) => Self::Value(value),
            Err(ValueError { reason, hint }) => {
                context.problem(Place::Environment(name.to_owned()), "", reason, hint);
                Self::Wrong
            }
        };
    }

    pub(super) fn or_default(self, default: T) -> Option<T> {
        match self {
            Self::Absent => Some(default),
            Self::Wrong => None,
            Self::Value(value) => Some(value),
        }
    }
}
