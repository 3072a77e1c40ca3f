//! What whoever runs Gatepost may ask of the running service, and see of it.

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

/// The handle of a running service; clones are the same.
#[derive(Clone)]
pub struct Control(pub(crate) Arc<Running>);

impl Control {
    /// Reads the configuration anew and takes it over, or leaves everything as it is. One at a time.
    ///
    /// # Errors
    /// Why nothing has changed.
    ///
    /// # Cancel safety
    /// A reload that is dropped has happened, or has not.
    pub async fn reload(&self) -> Result<Reloaded, NotReloaded> {
        self.0.reload().await
    }

    /// The handle that ends the service.
    pub fn stop(&self) -> Stop {
        self.0.stop()
    }

    /// Where the service stands.
    pub fn phase(&self) -> Phase {
        *self.0.phase.borrow()
    }

    /// The same, for whoever waits for changes.
    pub fn phases(&self) -> watch::Receiver<Phase> {
        self.0.phase.subscribe()
    }

    /// Whether new connections are served: what readiness probes want to know.
    pub fn is_ready(&self) -> bool {
        self.phase().is_ready()
    }

    /// When the process took up its work.
    pub fn started_at(&self) -> UnixTime {
        self.0.started_at
    }

    /// How many configurations have been in force, this one included.
    pub fn generation(&self) -> u64 {
        self.0.generation.get().number
    }

    /// The same, for whoever has to follow: told after each reload that changed something.
    pub fn generations(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.0.generation.get().config)
    }

    /// What new sessions share.
    pub fn shared(&self) -> Arc<SessionContext> {
        Arc::clone(&self.0.generation.get().shared)
    }

    /// The listeners at work, with the addresses of their sockets.
    pub fn listeners(&self) -> Vec<(Arc<ListenerState>, SocketAddr)> {
        self.0.listeners.addresses()
    }

    /// Connections that are there, by protocol; those that have not logged in as well.
    pub fn sessions(&self) -> [(Protocol, usize); Protocol::ALL.len()] {
        self.0.listeners.sessions().by_protocol()
    }

    /// What is told of every decision.
    pub fn journal(&self) -> &Arc<Journal> {
        &self.0.process.journal
    }

    /// The latest reload, if there was one.
    pub fn last_reload(&self) -> Option<LastReload> {
        self.0.last_reload()
    }

    /// Every listening socket with the name of its listener, those of the status page as well.
    pub fn sockets(&self) -> Vec<(Arc<str>, Arc<TcpListener>)> {
        let mut sockets = self.0.listeners.sockets();
        // No listener can have this name.
        let page = Arc::from("status page");
        sockets.extend(self.0.admin_sockets.iter().map(|socket| (Arc::clone(&page), Arc::clone(socket))));
        sockets
    }

    /// Another process serves on the same sockets: this one drains.
    pub fn supersede(&self) {
        self.0.superseded.cancel();
        self.stop().drain();
    }

    /// What the process has given up, if it was confined.
    pub fn confinement(&self) -> Option<&Confinement> {
        self.0.confinement.get()
    }

    /// Cancelled when another process has taken over the listening sockets: whatever else this one listens on is to be
    /// closed as well.
    pub fn superseded(&self) -> &CancellationToken {
        &self.0.superseded
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("phase", &self.phase()).finish_non_exhaustive()
    }
}
