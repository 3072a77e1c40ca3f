//! One type for everything that fails for a client: what happened, who must act, and what to do.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use crate::cause::Cause;

pub use crate::actor::Actor;
pub use crate::refusal::Refusal;

/// Something that failed for a client. `refusal` is for the client, and all fields are for the log.
///
/// It begins as the catalogue has it ([`Cause::row`](crate::cause::Cause::row)), so that one cause
/// is answered and mended in one way wherever it occurs. What a place knows better, it sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the client is told.
    pub refusal: Refusal,
    /// Who must act.
    pub actor: Actor,
    /// A short fixed word for logs and counters, such as `wrong-password` or `entra-unreachable`.
    pub cause: Cause,
    /// The other side's own code, where it gave one: `AADSTS50126`, `5.7.139`, `407`,
    /// `ErrorAccessDenied`.
    pub code: Option<Box<str>>,
    /// What happened, in one sentence without full stop, with the other side's code if it has one
    /// (`AADSTS50126`, `5.7.139`, `407`). Control characters are escaped; it never holds a secret.
    pub message: String,
    /// The next step, an imperative in lower case without full stop.
    pub remedy: Cow<'static, str>,
    /// Whether the refusal is delayed for a moment, because the client may be guessing passwords.
    pub delay: bool,
}

impl Failure {
    /// Creates the failure of `cause`, answered and mended as the catalogue says. For a cause that
    /// refuses nothing there, the refusal is temporary.
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        let row = cause.row();
        Self {
            refusal: row.refusal.unwrap_or(Refusal::Unavailable),
            actor: row.actor,
            cause,
            code: None,
            message: message.into(),
            remedy: Cow::Borrowed(row.remedy),
            delay: false,
        }
    }

    /// Sets another remedy, which names what the catalogue cannot know.
    #[must_use]
    pub fn to_do(self, remedy: impl Into<Cow<'static, str>>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }

    /// Sets another one who must act.
    #[must_use]
    pub fn by(self, actor: Actor) -> Self {
        Self { actor, ..self }
    }

    /// Sets another answer to the client.
    #[must_use]
    pub fn answered(self, refusal: Refusal) -> Self {
        Self { refusal, ..self }
    }

    /// Notes the other side's own code.
    #[must_use]
    pub fn coded(self, code: impl Into<Box<str>>) -> Self {
        Self { code: Some(code.into()), ..self }
    }

    /// Delays the answer for a moment, because somebody may be guessing.
    #[must_use]
    pub fn delayed(self) -> Self {
        Self { delay: true, ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {}: {}.", self.message, self.actor.label(), self.remedy)
    }
}

/// An error with its causes, joined by colons: at most 400 characters, without control characters.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some errors repeat their cause in their own text.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(400).collect()
}
