//! Listening sockets opened by another process: systemd (sd_listen_fds(3)), or the Gatepost before
//! this one.

use std::net::{SocketAddr, TcpListener as StdListener};

use tokio::net::TcpListener;

/// The sockets that are not used yet.
#[derive(Debug, Default)]
pub struct Inherited(Vec<Named>);

#[derive(Debug)]
struct Named {
    /// The name of the listener, if the process that opened the socket knew it.
    name: String,
    address: SocketAddr,
    socket: StdListener,
}

impl Inherited {
    /// Adds a socket under the name of its listener. A socket that is not a listening TCP socket is
    /// not added, but closed.
    pub fn add(&mut self, name: &str, socket: StdListener) {
        if let Ok(address) = socket.local_addr() {
            self.0.push(Named { name: name.to_owned(), address, socket });
        }
    }

    /// Returns the socket with this address.
    pub(crate) fn at(&mut self, address: SocketAddr) -> Option<TcpListener> {
        self.take(|named| named.address == address)
    }

    /// Returns a socket with the name of this listener. The process that opened it has chosen the
    /// address.
    pub(super) fn named(&mut self, name: &str) -> Option<TcpListener> {
        self.take(|named| named.name == name)
    }

    fn take(&mut self, is_it: impl Fn(&Named) -> bool) -> Option<TcpListener> {
        let at = self.0.iter().position(is_it)?;
        let socket = self.0.swap_remove(at).socket;
        // On a listening socket neither call fails.
        socket.set_nonblocking(true).ok()?;
        TcpListener::from_std(socket).ok()
    }

    /// Returns the unused sockets, by name and address.
    pub fn left(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.0.iter().map(|named| (named.name.as_str(), named.address))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
