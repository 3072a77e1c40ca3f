//! Applies another configuration to a running service. Everything is read and checked first, then
//! taken over at once or not at all.

use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::generation::Generation;
use super::inherited::Inherited;
use super::phase::{Closed, LastReload, NotReloaded, Phase, Reloaded};
use super::running::{Running, refuse_unproved};
use crate::system::confine::Confinement;
use gatepost_config::load::Loaded;
use gatepost_config::problem::Problems;
use gatepost_config::{Config, Finding};
use gatepost_core::clock::Clock;
use gatepost_telemetry::log;

impl Running {
    /// See [`super::Control::reload`].
    pub(super) async fn reload(self: &Arc<Self>) -> Result<Reloaded, NotReloaded> {
        // A caller that stops waiting for its turn leaves nothing behind.
        let turn = Arc::clone(&self.reloading).lock_owned().await;
        // A task of its own, because the caller may go away in the middle.
        let this = Arc::clone(self);
        let reload = tokio::spawn(async move {
            let _turn = turn;
            if this.process.draining.is_cancelled() {
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
        // Set even if the configuration has mistakes, so that corrected files are noticed.
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
        refuse_unproved(&config, &*self.process.store).await.map_err(NotReloaded::Start)?;
        let log = log::prepare(&config.log).map_err(|error| NotReloaded::Start(error.into()))?;
        // A confined process creates no directories.
        let is_confined = self.confinement.get().is_some_and(Confinement::closes_files);
        if is_confined && config.has_queue() && self.process.queue.get().is_none() {
            return Err(NotReloaded::NeedsRestart(vec!["queue"]));
        }
        self.process.open_queue(&config).await.map_err(NotReloaded::Start)?;

        let (this, former) = (Arc::clone(self), Arc::clone(&before));
        let made = spawn_blocking(move || Generation::new(config, &this.process, None, Some(&former)));
        let next = made.await.map_err(|_| NotReloaded::Broken)?.map_err(NotReloaded::Start)?;
        let changed = next.changes(&before);
        if changed.is_empty() {
            return Ok(Reloaded { generation: before.number, changed, notes: Vec::new() });
        }
        self.listeners.closed().await;
        let listeners =
            self.listeners.prepare(&next.services, &mut Inherited::default()).map_err(NotReloaded::Start)?;

        // From here on nothing can fail or wait.
        let next = Arc::new(next);
        log.apply();
        self.process.adjust(&next);
        self.generation.set(Arc::clone(&next));
        self.listeners.swap(listeners, &next.shared);
        self.learn(&next);
        self.changed.send_replace(next.number);
        let mut notes = next.config.notes.clone();
        if next.config.limits.connections > before.config.limits.connections {
            notes.extend(crate::system::process::raise_descriptors(&next.config.limits));
        }
        notes.retain(|note| !before.config.notes.contains(note));
        // Its line in the file may be another one now.
        let is_known = |new: &&Finding| {
            let same = |old: &Finding| old.problem.key == new.problem.key && old.problem.reason == new.problem.reason;
            before.config.findings.iter().any(same)
        };
        notes.extend(next.config.findings.iter().filter(|new| !is_known(new)).map(Finding::to_line));
        Ok(Reloaded { generation: next.number, changed, notes })
    }

    /// Whether a file that cannot be read may be one that confinement has closed.
    fn closes(&self, problems: &Problems) -> Closed {
        let confined = self.confinement.get().is_some_and(Confinement::closes_files);
        // The system's error text, which is part of the reason.
        Closed(confined && problems.to_string().contains("permission denied"))
    }

    fn note_reload(&self, outcome: &Result<Reloaded, NotReloaded>) {
        match outcome {
            Ok(reloaded) => {
                tracing::info!(
                    generation = reloaded.generation,
                    changed = reloaded.changed.join(","),
                    outcome = "reloaded",
                    "configuration reloaded: {reloaded}"
                );
                reloaded.notes.iter().for_each(|note| tracing::warn!("{note}"));
            }
            Err(error) => {
                let told = |why: String| {
                    tracing::error!(
                        outcome = "not-reloaded",
                        cause = error.cause().name(),
                        "reload failed, the former configuration stays active: {why}"
                    );
                };
                // A line has one mistake, so that each can be read and searched for.
                match error {
                    NotReloaded::Mistakes(problems, closed) => {
                        problems.iter().for_each(|problem| told(problem.to_line()));
                        if *closed != Closed(false) {
                            told(closed.to_string().trim_end().to_owned());
                        }
                    }
                    error => told(error.to_string()),
                }
            }
        }
        let outcome = match outcome {
            Ok(reloaded) => Ok(reloaded.clone()),
            Err(error) => Err(error.to_string()),
        };
        let at = Clock::system().unix_time();
        match &outcome {
            Ok(reloaded) => self.process.journal.reloaded(Ok(&reloaded.to_string()), at),
            Err(why) => self.process.journal.reloaded(Err(why), at),
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

/// Returns the keys that cannot change in a running process: the store is already open, the
/// environment is fixed, and connections to Microsoft are shared with their name.
fn needs_restart(before: &Config, after: &Config) -> Vec<&'static str> {
    let mut keys = Vec::new();
    if before.state != after.state || before.devices != after.devices {
        keys.push("state");
    } else if before.admin != after.admin {
        // The path of the socket follows from `state` unless it is configured.
        keys.push("admin");
    }
    let socket = |config: &Config| config.sendmail.as_ref().map(|sendmail| sendmail.socket.clone());
    if socket(before) != socket(after) {
        keys.push("sendmail");
    }
    let directory = |config: &Config| config.queue.as_ref().map(|queue| queue.directory.clone());
    if before.state == after.state && directory(before) != directory(after) {
        keys.push("queue.directory");
    }
    if before.server_name != after.server_name {
        keys.push("server_name");
    }
    if before.log.audit != after.log.audit {
        keys.push("log.audit");
    }
    if before.confinement != after.confinement {
        keys.push("confinement");
    }
    if crate::system::process::keytab(before) != crate::system::process::keytab(after) {
        keys.push("forward_proxy.keytab");
    }
    keys
}
