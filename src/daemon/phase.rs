//! The state of a running service: its phase, and the outcome of its latest reload.

use std::fmt;

use super::error::StartError;
use gatepost_config::problem::Problems;
use gatepost_core::cause::Cause;
use gatepost_core::clock::UnixTime;

/// The phase of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has its sockets, but does not accept connections yet.
    Starting,
    /// It serves.
    Ready,
    /// It serves, and reads its configuration again.
    Reloading,
    /// It accepts no new connections. Sessions may end by themselves until the deadline.
    Draining {
        /// When the remaining sessions are cut.
        until: UnixTime,
    },
}

impl Phase {
    /// Whether new connections are served.
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready | Self::Reloading)
    }
}

/// The latest reload.
#[derive(Clone, Debug)]
pub struct LastReload {
    /// The time of the reload.
    pub at: UnixTime,
    /// What changed, or why nothing did, in full.
    pub outcome: Result<Reloaded, String>,
}

/// The outcome of a successful reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// How many configurations have been in force.
    pub generation: u64,
    /// The changed sections; none when nothing has changed.
    pub changed: Vec<&'static str>,
    /// What the operator should know, one sentence each.
    pub notes: Vec<String>,
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.changed.as_slice() {
            [] => f.write_str("nothing has changed"),
            changed => write!(f, "taken over: {}", changed.join(", ")),
        }
    }
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum NotReloaded {
    /// The configuration has mistakes.
    #[error("{0}{1}")]
    Mistakes(Problems, Closed),
    /// It cannot be taken over.
    #[error(transparent)]
    Start(StartError),
    /// Something has changed that only a new process can take over.
    #[error(
        "{} cannot change while Gatepost runs: restart it (with `--take-over` nobody is sent away), or undo the change",
        .0.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(" and ")
    )]
    NeedsRestart(Vec<&'static str>),
    /// The process has confined itself and could not serve the new configuration.
    #[error("{0}")]
    Beyond(String),
    /// The service is ending.
    #[error("Gatepost is stopping")]
    Stopping,
    /// The service was not started from a configuration that can be read again.
    #[error("this Gatepost has no configuration that could be read again")]
    NoSource,
    /// An internal error.
    #[error("the reload broke off. Gatepost bug: report it with the log")]
    Broken,
}

/// Whether confinement has closed files that could be read at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed(pub(super) bool);

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            false => Ok(()),
            true => f.write_str(
                "A file in a directory that the configuration did not name when Gatepost was started can be read only after \
                 a restart: the process has confined itself (`confinement`).\n",
            ),
        }
    }
}

impl NotReloaded {
    /// Whether the configuration has mistakes, which the error text lists.
    pub fn is_mistakes(&self) -> bool {
        self.cause() == Cause::Mistakes
    }

    /// Why, in the word for the log.
    pub fn cause(&self) -> Cause {
        match self {
            Self::Mistakes(..) | Self::Start(StartError::AccountWithoutPassword(_)) => Cause::Mistakes,
            Self::Start(_) => Cause::NotPossible,
            Self::NeedsRestart(_) | Self::Beyond(_) => Cause::NeedsRestart,
            Self::Stopping => Cause::Stopping,
            Self::NoSource => Cause::NoSource,
            Self::Broken => Cause::Broken,
        }
    }
}
