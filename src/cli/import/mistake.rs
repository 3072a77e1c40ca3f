//! Why a file cannot be imported.

/// A fault in the file of another proxy. It holds nothing of the file's content, which may be
/// secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}. {remedy}.", line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub(super) struct Mistake {
    /// Its line, from 1. None if it is about the whole file.
    pub(super) line: Option<usize>,
    /// What is wrong, without a full stop.
    pub(super) reason: String,
    /// What to do, without a full stop.
    pub(super) remedy: String,
}

impl Mistake {
    /// A fault in one line.
    pub(super) fn at(line: usize, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { line: Some(line), reason: reason.into(), remedy: remedy.into() }
    }

    /// A fault of the whole file.
    pub(super) fn whole(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { line: None, reason: reason.into(), remedy: remedy.into() }
    }
}
