//! The handle by which the operator's tools control and inspect the running service.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::phase::{LastReload, NotReloaded, Phase, Reloaded};
use super::running::{Running, Stop};
use crate::session::journal::Journal;
use crate::session::{ListenerState, SessionContext};
use crate::system::confine::Confinement;
use gatepost_config::Config;
use gatepost_core::clock::UnixTime;
use gatepost_core::protocol::Protocol;
use gatepost_store::queue::Queue;

/// The handle of a running service. Clones control the same service.
#[derive(Clone)]
pub struct Control(pub(crate) Arc<Running>);

impl Control {
    /// Reads the configuration again and takes it over, or changes nothing. Reloads run one at a
    /// time.
    ///
    /// # Errors
    /// Why nothing was changed.
    ///
    /// # Cancel safety
    /// A dropped reload either happens completely or not at all.
    pub async fn reload(&self) -> Result<Reloaded, NotReloaded> {
        self.0.reload().await
    }

    /// Returns the handle that ends the service.
    pub fn stop(&self) -> Stop {
        self.0.stop()
    }

    /// Returns the phase of the service.
    pub fn phase(&self) -> Phase {
        *self.0.phase.borrow()
    }

    /// Returns a receiver of the phase, for callers that wait for changes.
    pub fn phases(&self) -> watch::Receiver<Phase> {
        self.0.phase.subscribe()
    }

    /// Whether new connections are served, for readiness probes.
    pub fn is_ready(&self) -> bool {
        self.phase().is_ready()
    }

    /// Returns when the process started its work.
    pub fn started_at(&self) -> UnixTime {
        self.0.started_at
    }

    /// Returns how many configurations have been in force, including this one.
    pub fn generation(&self) -> u64 {
        self.0.generation.get().number
    }

    /// Returns a receiver of the generation, which is notified after each reload that changed
    /// something.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// Returns the configuration in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.0.generation.get().config)
    }

    /// Returns what new sessions share.
    pub fn shared(&self) -> Arc<SessionContext> {
        Arc::clone(&self.0.generation.get().shared)
    }

    /// Returns the queue; `None` while there is none.
    pub fn queue(&self) -> Option<Queue> {
        self.0.process.queue.get().cloned()
    }

    /// Returns the running listeners, with the addresses of their sockets.
    pub fn listeners(&self) -> Vec<(Arc<ListenerState>, SocketAddr)> {
        self.0.listeners.addresses()
    }

    /// Returns the number of connections by protocol, including those that have not logged in.
    pub fn sessions(&self) -> [(Protocol, usize); Protocol::ALL.len()] {
        self.0.listeners.sessions().by_protocol()
    }

    /// Returns the journal of all decisions.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.0.process.journal
    }

    /// Returns the latest reload, if there was one.
    pub fn last_reload(&self) -> Option<LastReload> {
        self.0.last_reload()
    }

    /// Returns every listening socket that is not systemd's, with the name of its listener,
    /// including those of the status page.
    pub fn sockets(&self) -> Vec<(Arc<str>, Arc<TcpListener>)> {
        let mut sockets = self.0.listeners.sockets();
        // No listener can have this name, because of its blank.
        let page = Arc::from("status page");
        sockets.extend(self.0.admin_sockets.iter().map(|socket| (Arc::clone(&page), Arc::clone(socket))));
        sockets
    }

    /// Returns the names of the sockets of socket units.
    pub fn unit_names(&self) -> Vec<Arc<str>> {
        self.0.listeners.unit_names()
    }

    /// Returns name and address of each socket of a socket unit that no listener is named after.
    pub fn unused_units(&self) -> Vec<(Arc<str>, SocketAddr)> {
        self.0.listeners.unused_units()
    }

    /// Starts the drain, because another process now serves on the same sockets.
    pub fn supersede(&self) {
        self.0.superseded.cancel();
        self.stop().drain();
    }

    /// Returns the confinement of the process, if there is one.
    pub fn confinement(&self) -> Option<&Confinement> {
        self.0.confinement.get()
    }

    /// Cancelled when no process comes after this one.
    pub fn is_last(&self) -> &CancellationToken {
        &self.0.is_last
    }

    /// Cancelled when another process has taken over the listening sockets. Any other socket of
    /// this process must then be closed as well.
    pub fn superseded(&self) -> &CancellationToken {
        &self.0.superseded
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("phase", &self.phase()).finish_non_exhaustive()
    }
}
