//! Listening sockets that another process opened, and which of them this process uses:
//!
//! - A socket of a socket unit of systemd serves the listener that it is named after, in place of
//!   all of its `bind`. Otherwise its clients are sent away, because systemd keeps it open.
//! - A socket that systemd kept for the process before this one, or that this process takes over
//!   from a running one, serves the listener or status page with exactly this address in `bind`.
//!   Otherwise it is closed, and systemd forgets it.
//!
//! So a restart ends with the same open ports as a stop and a start: a socket from an older
//! configuration never takes the place of what the file says now.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;

use tokio::net::TcpListener;

/// The sockets that were handed over to this process at its start.
#[derive(Debug, Default)]
pub struct Inherited {
    units: Vec<UnitSocket>,
    kept: Vec<TcpListener>,
}

/// A socket of a socket unit. systemd keeps it open, whatever this process does.
#[derive(Clone, Debug)]
pub(super) struct UnitSocket {
    /// `FileDescriptorName=`.
    pub(super) name: Arc<str>,
    pub(super) socket: Arc<TcpListener>,
}

impl Inherited {
    /// Adds a socket of a socket unit, with its `FileDescriptorName=`.
    pub fn add_unit(&mut self, name: &str, socket: StdListener) {
        self.units.extend(listening(socket).map(|socket| UnitSocket { name: name.into(), socket: Arc::new(socket) }));
    }

    /// Adds a socket that a process before this one has bound.
    pub fn add_kept(&mut self, socket: StdListener) {
        self.kept.extend(listening(socket));
    }

    /// Takes the socket that was kept with this address.
    pub(crate) fn at(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let at = self.kept.iter().position(|socket| socket.local_addr().is_ok_and(|bound| bound == address))?;
        Some(self.kept.swap_remove(at))
    }

    /// Returns the kept sockets that nobody has taken.
    pub(crate) fn left(&self) -> impl Iterator<Item = &TcpListener> {
        self.kept.iter()
    }

    /// Returns the sockets of socket units.
    pub(super) fn units(&self) -> &[UnitSocket] {
        &self.units
    }
}

/// Returns `None` for a socket that is closed already, which on a listening socket does not happen.
fn listening(socket: StdListener) -> Option<TcpListener> {
    socket.set_nonblocking(true).ok()?;
    TcpListener::from_std(socket).ok()
}
