//! Another configuration for a running service: everything is read and checked first, then taken over at once, or not at
//! all.

use std::fmt;
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::control::{LastReload, Phase};
use super::generation::Generation;
use super::inherited::Inherited;
use super::{Running, StartError, refuse_unproved};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::load::Loaded;
use crate::config::problem::Problems;
use crate::confine::Confinement;
use crate::telemetry::log;

/// Where the configuration comes from; asked once for each reload.
pub type Source = Arc<dyn Fn() -> Loaded + Send + Sync>;

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
pub struct Closed(bool);

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
    /// A short fixed word, for the log.
    pub fn cause(&self) -> &'static str {
        match self {
            Self::Mistakes(..) | Self::Start(StartError::Unproved(_)) => "mistakes",
            Self::Start(_) => "not-possible",
            Self::NeedsRestart(_) | Self::Beyond(_) => "needs-restart",
            Self::Stopping => "stopping",
            Self::NoSource => "no-source",
            Self::Broken => "broken",
        }
    }
}

impl Running {
    /// See [`super::Control::reload`].
    pub(super) async fn reload(self: &Arc<Self>) -> Result<Reloaded, NotReloaded> {
        // In a task of its own: whoever asked may go away in the middle.
        let this = Arc::clone(self);
        let reload = tokio::spawn(async move {
            let _turn = this.reloading.lock().await;
            if this.lasting.draining.is_cancelled() {
                return Err(NotReloaded::Stopping);
            }
            this.phase.send_if_modified(|phase| change(phase, Phase::Ready, Phase::Reloading));
            let outcome = this.take_over_configuration().await;
            this.phase.send_if_modified(|phase| change(phase, Phase::Reloading, Phase::Ready));
            this.note_reload(&outcome);
            outcome
        });
        reload.await.unwrap_or(Err(NotReloaded::Broken))
    }

    async fn take_over_configuration(self: &Arc<Self>) -> Result<Reloaded, NotReloaded> {
        let source = Arc::clone(self.source.get().ok_or(NotReloaded::NoSource)?);
        let Loaded { config, files } = spawn_blocking(move || source()).await.map_err(|_| NotReloaded::Broken)?;
        // Also when it has mistakes: it is read again when they are mended.
        self.files.set(files);
        let config = Arc::new(config.map_err(|problems| {
            let closed = self.closes(&problems);
            NotReloaded::Mistakes(problems, closed)
        })?);
        let before = self.generation.get();
        let fixed = needs_restart(&before.config, &config);
        if !fixed.is_empty() {
            return Err(NotReloaded::NeedsRestart(fixed));
        }
        if let Some(confinement) = self.confinement.get() {
            confinement.covers(&config).map_err(NotReloaded::Beyond)?;
        }
        refuse_unproved(&config, &*self.lasting.store).await.map_err(NotReloaded::Start)?;

        let (this, former) = (Arc::clone(self), Arc::clone(&before));
        let made = spawn_blocking(move || Generation::new(config, &this.lasting, None, Some(&former)));
        let next = made.await.map_err(|_| NotReloaded::Broken)?.map_err(NotReloaded::Start)?;
        let changed = next.changes(&before);
        if changed.is_empty() {
            return Ok(Reloaded { generation: before.number, changed, notes: Vec::new() });
        }
        let doors = self.doors.prepare(&next.services, &mut Inherited::default()).map_err(NotReloaded::Start)?;

        // From here on nothing can fail, and nothing waits.
        let next = Arc::new(next);
        log::change(&next.config.log);
        self.lasting.adjust(&next);
        self.generation.set(Arc::clone(&next));
        self.doors.swap(doors, &next.shared);
        self.learn(&next);
        self.changed.send_replace(next.number);
        let mut notes = next.config.notes.clone();
        if next.config.limits.connections > before.config.limits.connections {
            notes.extend(crate::process::raise_descriptors(&next.config.limits));
        }
        notes.retain(|note| !before.config.notes.contains(note));
        Ok(Reloaded { generation: next.number, changed, notes })
    }

    /// Whether a file that cannot be read may be one that confinement has closed.
    fn closes(&self, problems: &Problems) -> Closed {
        let confined = self.confinement.get().is_some_and(Confinement::closes_files);
        // The system's words, which are a part of the reason.
        Closed(confined && problems.to_string().contains("Permission denied"))
    }

    fn note_reload(&self, outcome: &Result<Reloaded, NotReloaded>) {
        match outcome {
            Ok(reloaded) => {
                tracing::info!(
                    generation = reloaded.generation,
                    changed = reloaded.changed.join(","),
                    outcome = "reloaded",
                    "the configuration was read anew; {reloaded}"
                );
                reloaded.notes.iter().for_each(|note| tracing::warn!("{note}"));
            }
            Err(error) => tracing::error!(
                outcome = "not-reloaded",
                cause = error.cause(),
                "the configuration was read anew, and everything stays as it was: {error}"
            ),
        }
        let outcome = match outcome {
            Ok(reloaded) => Ok(reloaded.clone()),
            Err(error) => Err(error.to_string()),
        };
        let at = Clock::system().unix_time();
        match &outcome {
            Ok(reloaded) => self.lasting.journal.reloaded(Ok(&reloaded.to_string()), at),
            Err(why) => self.lasting.journal.reloaded(Err(why), at),
        }
        self.set_last_reload(LastReload { at, outcome });
    }
}

fn change(phase: &mut Phase, from: Phase, to: Phase) -> bool {
    let is_from = *phase == from;
    if is_from {
        *phase = to;
    }
    is_from
}

/// What cannot be changed in a process that runs: the store is open, and the environment of the process is as it is.
fn needs_restart(before: &Config, after: &Config) -> Vec<&'static str> {
    let mut keys = Vec::new();
    if before.state != after.state {
        keys.push("state");
    } else if before.admin != after.admin {
        // Where the socket is, follows from `state` unless it is written.
        keys.push("admin");
    }
    if before.log.audit != after.log.audit {
        keys.push("log.audit");
    }
    if before.confinement != after.confinement {
        keys.push("confinement");
    }
    if crate::process::keytab(before) != crate::process::keytab(after) {
        keys.push("forward_proxy.keytab");
    }
    keys
}
