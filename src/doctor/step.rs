//! What is told of an examination: steps with their outcome, and the events around them.

use serde::{Deserialize, Serialize};

use gatepost_core::cause::Cause;
use gatepost_core::failure::{Actor, Failure};

/// A part of the way, in the order of the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Section {
    /// The configuration in use.
    Configuration,
    /// This machine: clock, state, limits.
    Host,
    /// The connections to Microsoft.
    Network,
    /// Tenants, applications and sign-ins.
    Entra,
    /// What the tokens permit.
    Permissions,
    /// Each mailbox over each protocol.
    Mailboxes,
    /// Device passwords and listeners.
    Clients,
}

impl Section {
    /// Its title.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Configuration => "Configuration",
            Self::Host => "Host",
            Self::Network => "Network",
            Self::Entra => "Entra",
            Self::Permissions => "Permissions",
            Self::Mailboxes => "Mailboxes",
            Self::Clients => "Clients",
        }
    }
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// It works.
    Ok,
    /// It works, and an administrator should know.
    Warning,
    /// Clients fail, or will.
    Failed,
    /// It was not examined; the text says why.
    Skipped,
}

/// One thing that was examined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) section: Section,
    /// The account, listener or host; empty where the section says enough.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) subject: String,
    pub(crate) outcome: Outcome,
    /// What was found, without full stop.
    pub(crate) text: String,
    /// Who must act, by the name for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) action_by: Option<String>,
    /// Who must act, as the label for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) label: Option<String>,
    /// What to do, without full stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
    /// The cause, as in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<String>,
}

impl Step {
    /// A step that found what it should.
    pub(crate) fn ok(section: Section, subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self::without_remedy(section, subject, Outcome::Ok, text)
    }

    /// A step that was not done.
    pub(crate) fn skipped(section: Section, subject: impl Into<String>, why: impl Into<String>) -> Self {
        Self::without_remedy(section, subject, Outcome::Skipped, why)
    }

    /// Something an administrator should know.
    pub(crate) fn warning(
        section: Section,
        subject: impl Into<String>,
        text: impl Into<String>,
        (actor, remedy): (Actor, String),
    ) -> Self {
        Self::without_remedy(section, subject, Outcome::Warning, text).mended(actor, remedy)
    }

    /// Something that fails, and what to do.
    pub(crate) fn problem(
        section: Section,
        subject: impl Into<String>,
        text: impl Into<String>,
        (actor, remedy): (Actor, String),
    ) -> Self {
        Self::without_remedy(section, subject, Outcome::Failed, text).mended(actor, remedy)
    }

    /// Something that fails, in the words that a client's login would be logged with.
    pub(crate) fn failed(section: Section, subject: impl Into<String>, failure: &Failure) -> Self {
        Self::problem(section, subject, &*failure.message, (failure.actor, failure.remedy.clone().into_owned()))
            .because(failure.cause)
    }

    /// A step whose text says everything.
    pub(crate) fn without_remedy(
        section: Section,
        subject: impl Into<String>,
        outcome: Outcome,
        text: impl Into<String>,
    ) -> Self {
        Self {
            section,
            subject: subject.into(),
            outcome,
            text: text.into(),
            action_by: None,
            label: None,
            remedy: None,
            cause: None,
        }
    }

    /// Adds the cause.
    #[must_use]
    pub(crate) fn because(self, cause: Cause) -> Self {
        Self { cause: Some(cause.name().to_owned()), ..self }
    }

    fn mended(self, actor: Actor, remedy: String) -> Self {
        Self {
            action_by: Some(actor.name().to_owned()),
            label: Some(actor.label().to_owned()),
            remedy: Some(remedy),
            ..self
        }
    }
}

/// The numbers at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) ok: usize,
    pub(crate) warnings: usize,
    pub(crate) problems: usize,
    pub(crate) skipped: usize,
}

impl Summary {
    /// Counts a step.
    pub(crate) fn count(&mut self, step: &Step) {
        match step.outcome {
            Outcome::Ok => self.ok += 1,
            Outcome::Warning => self.warnings += 1,
            Outcome::Failed => self.problems += 1,
            Outcome::Skipped => self.skipped += 1,
        }
    }
}

/// One line of the answer to `POST /doctor`. The steps of a section follow each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event {
    /// The beginning.
    Begin {
        /// The version of the Gatepost that examines.
        version: String,
        /// Whether that is the running service; `None`: it is not, and whether one runs is not
        /// known, because there is no socket at which to ask.
        running: Option<bool>,
        /// Its process ID.
        pid: u32,
        /// The user that it runs as.
        user: String,
        /// The file of the configuration, if it comes from one.
        file: Option<String>,
    },
    /// Work on a section has begun; its steps come later.
    Working {
        /// The section.
        section: Section,
    },
    /// A step.
    Step(Step),
    /// The end.
    End(Summary),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_that_reads_as_it_was_written() {
        let warning = (Actor::GatepostAdmin, "set a time service up".to_owned());
        for event in [
            Event::Begin { version: "1".into(), running: Some(true), pid: 7, user: "gatepost".into(), file: None },
            Event::Working { section: Section::Network },
            Event::Step(Step::ok(Section::Host, "", "state writable")),
            Event::Step(Step::warning(Section::Host, "", "the clock is off\nby a lot", warning)),
            Event::End(Summary { ok: 1, warnings: 1, ..Summary::default() }),
        ] {
            let line = serde_json::to_string(&event).unwrap();
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
        }
    }
}
