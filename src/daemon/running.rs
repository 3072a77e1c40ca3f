//! A running service: what its parts share from start to end.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::error::StartError;
use super::generation::{Generation, ProcessState};
use super::listeners::Listeners;
use super::phase::{LastReload, Phase};
use crate::session::capabilities;
use crate::session::upstream::Target;
use crate::system::confine::Confinement;
use gatepost_config::load::Loaded;
use gatepost_config::{Config, Files};
use gatepost_core::clock::{Clock, UnixTime};
use gatepost_core::reloadable::Reloadable;
use gatepost_store::Store;

/// Returns the configuration. It is called once for each reload.
pub type Source = Arc<dyn Fn() -> Loaded + Send + Sync>;

/// Ends a running service.
#[derive(Clone)]
pub struct Stop {
    draining: CancellationToken,
    stopping: CancellationToken,
    is_last: CancellationToken,
}

impl Stop {
    /// Stops accepting connections. Sessions may end by themselves until `limits.drain`.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Notes that no process comes after this one. New connections must not wait for it, so systemd
    /// is told to forget the sockets that it keeps.
    pub fn expect_no_successor(&self) {
        self.is_last.cancel();
    }

    /// Stops at once.
    pub fn now(&self) {
        self.draining.cancel();
        self.stopping.cancel();
    }
}

/// A service, from its start to its end.
pub(crate) struct Running {
    pub(crate) process: ProcessState,
    pub(crate) generation: Reloadable<Generation>,
    pub(crate) listeners: Listeners,
    /// Cancelled when the service is told to stop. Sessions may continue for a while.
    pub(crate) stopping: CancellationToken,
    /// Cancelled when another process has the sockets.
    pub(crate) superseded: CancellationToken,
    /// Cancelled when no process comes after this one.
    pub(crate) is_last: CancellationToken,
    pub(crate) phase: watch::Sender<Phase>,
    /// The number of the current generation.
    pub(crate) changed: watch::Sender<u64>,
    pub(crate) started_at: UnixTime,
    pub(crate) source: OnceLock<Source>,
    /// The confinement of the process. It excludes some configurations.
    pub(crate) confinement: OnceLock<Confinement>,
    /// The files that the configuration was read from.
    pub(crate) files: Reloadable<Files>,
    /// Serializes reloads.
    pub(crate) reloading: Arc<tokio::sync::Mutex<()>>,
    /// Lets one process at a time take over.
    #[cfg(unix)]
    pub(crate) taking_over: Arc<tokio::sync::Semaphore>,
    pub(crate) last_reload: Mutex<Option<LastReload>>,
    /// The tasks that learn what each upstream announces.
    pub(crate) learning: Mutex<Vec<(Arc<Target>, AbortHandle)>>,
    /// Cancelled when no message of the queue is being delivered any more.
    pub(crate) delivered: CancellationToken,
    /// Sockets of the status page.
    pub(crate) admin_sockets: Vec<Arc<TcpListener>>,
}

impl Running {
    pub(crate) fn stop(&self) -> Stop {
        Stop { draining: self.process.draining.clone(), stopping: self.stopping.clone(), is_last: self.is_last.clone() }
    }

    /// Ensures that the list of every upstream of this generation is learned, and of no other.
    pub(crate) fn learn(&self, generation: &Generation) {
        let mut learning = self.learning.lock();
        learning.retain(|(target, task)| {
            let needed = generation.targets.values().any(|needed| Arc::ptr_eq(needed, target));
            if !needed {
                task.abort();
            }
            needed
        });
        for target in generation.targets.values() {
            if !learning.iter().any(|(known, _)| Arc::ptr_eq(known, target)) {
                let task =
                    tokio::spawn(capabilities::keep_learning(Arc::clone(&generation.shared), Arc::clone(target)));
                learning.push((Arc::clone(target), task.abort_handle()));
            }
        }
    }

    pub(crate) fn begin_drain(&self, limit: Duration) {
        self.process.drain.begin(limit);
        self.phase.send_replace(Phase::Draining { until: Clock::system().unix_time().after(limit) });
    }

    pub(crate) fn last_reload(&self) -> Option<LastReload> {
        self.last_reload.lock().clone()
    }

    pub(crate) fn set_last_reload(&self, reload: LastReload) {
        *self.last_reload.lock() = Some(reload);
    }
}

/// Refuses to start with an account that has neither a password nor a device password. If this
/// cannot be looked up, the service starts, because such an account admits no client.
pub(crate) async fn refuse_unproved(config: &Config, store: &dyn Store) -> Result<(), StartError> {
    if config.unproved.is_empty() {
        return Ok(());
    }
    match store.device_passwords().await {
        Ok(passwords) => {
            let logins = passwords.iter().map(|password| &password.login);
            config
                .unproved_accounts(logins)
                .map_or(Ok(()), |problems| Err(StartError::AccountWithoutPassword(problems)))
        }
        Err(error) => {
            tracing::warn!(
                "device passwords cannot be looked up, so accounts without another password accept no login: {error}"
            );
            Ok(())
        }
    }
}
