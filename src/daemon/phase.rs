//! What is told of a running service: where it stands, and what its latest reload has come to.

use std::fmt;

use super::error::StartError;
use gatepost_config::problem::Problems;
use gatepost_core::cause::Cause;
use gatepost_core::clock::UnixTime;

/// Where the service stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It has its sockets, and does not accept yet.
    Starting,
    /// It serves.
    Ready,
    /// It serves, and reads its configuration anew.
    Reloading,
    /// It lets nobody in any longer; sessions may end by themselves until then.
    Draining {
        /// When the rest is cut.
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
    /// When.
    pub at: UnixTime,
    /// What changed; or why nothing did, in full.
    pub outcome: Result<Reloaded, String>,
}

/// What a reload has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// How many configurations have been in force.
    pub generation: u64,
    /// The sections that have changed; none when everything is as it was.
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

/// Why everything stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum NotReloaded {
    /// The configuration has mistakes.
    #[error("{0}{1}")]
    Mistakes(Problems, Closed),
    /// It cannot be put into force.
    #[error(transparent)]
    Start(StartError),
    /// Something has changed that only a new process can take over.
    #[error(
        "{} cannot change while Gatepost runs: restart it (with `--take-over` nobody is sent away), or undo the change",
        .0.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(" and ")
    )]
    NeedsRestart(Vec<&'static str>),
    /// The process has confined itself, and could not serve it.
    #[error("{0}")]
    Beyond(String),
    /// The service is about to end.
    #[error("Gatepost is stopping")]
    Stopping,
    /// It was not started from a configuration that could be read again.
    #[error("this Gatepost has no configuration that could be read again")]
    NoSource,
    /// Something inside broke.
    #[error("the reload broke off; report it with the log")]
    Broken,
}

/// Whether files are closed to the process that could be read when it began.
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
    /// Whether the configuration has mistakes, which the text lists.
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
