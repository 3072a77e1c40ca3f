//! The interface of systemd for a service: sockets that it has opened (sd_listen_fds(3)), and
//! messages to it (sd_notify(3)). Without systemd it does nothing.
//!
//! Written by hand, because the crate `sd-notify` (0.5) does not know abstract addresses, and
//! blocks if systemd does not read.

use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use listenfd::ListenFd;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::time::{ClockId, clock_gettime};

/// Returns the listening sockets that systemd has opened, or has kept from the process before this
/// one, with their names.
pub(crate) fn listening_sockets() -> Vec<(String, TcpListener)> {
    let mut inherited = Vec::new();
    let mut sockets = ListenFd::from_env();
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    for at in 0..sockets.len() {
        let name = names.next().unwrap_or_default();
        match sockets.take_tcp_listener(at) {
            Ok(Some(socket)) => {
                // Keeps the socket from the commands of secrets. If this fails they inherit it, but
                // can do nothing with it.
                let _kept = fcntl_setfd(&socket, FdFlags::CLOEXEC);
                inherited.push((name.to_owned(), socket));
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(name, "systemd has handed over something else than a TCP socket: {error}"),
        }
    }
    inherited
}

/// The socket of the service manager.
pub(crate) struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    /// Returns `None` when no service manager expects messages.
    pub(crate) fn of_environment() -> Option<Self> {
        let path = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty())?;
        Self::at(&path).inspect_err(|error| tracing::warn!("systemd cannot be told anything: {error}")).ok()
    }

    fn at(path: &OsStr) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        match path.as_bytes().split_first() {
            Some((b'@', name)) => socket.connect_addr(&abstract_address(name)?)?,
            _ => socket.connect(Path::new(path))?,
        }
        // The socket's queue does not fill up. If it should, no task may block on it.
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }

    pub(crate) fn tell(&self, lines: &[&str]) {
        if let Err(error) = self.socket.send(lines.join("\n").as_bytes()) {
            tracing::debug!("systemd did not hear {lines:?}: {error}");
        }
    }

    /// Lets systemd keep a socket under a name (`FDSTORE=1`). It does so if the unit allows it.
    pub(crate) fn keep(&self, name: &str, socket: BorrowedFd<'_>) {
        let message = format!("FDSTORE=1\nFDNAME={name}");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut with = SendAncillaryBuffer::new(&mut space);
        let descriptors = [socket];
        // The space fits exactly one descriptor.
        with.push(SendAncillaryMessage::ScmRights(&descriptors));
        let sent = sendmsg(&self.socket, &[IoSlice::new(message.as_bytes())], &mut with, SendFlags::NOSIGNAL);
        if let Err(error) = sent {
            tracing::debug!(name, "systemd did not take a socket: {error}");
        }
    }

    pub(crate) fn forget(&self, name: &str) {
        self.tell(&["FDSTOREREMOVE=1", &format!("FDNAME={name}")]);
    }
}

#[cfg(target_os = "linux")]
fn abstract_address(name: &[u8]) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt as _;
    SocketAddr::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn abstract_address(_name: &[u8]) -> io::Result<SocketAddr> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Returns how often systemd expects to be told that the process is alive (sd_watchdog_enabled(3)).
pub(crate) fn watchdog() -> Option<Duration> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    number("WATCHDOG_USEC").filter(|every| ours && *every > 0).map(Duration::from_micros)
}

/// Returns the line with the time at which the reload began (`Type=notify-reload`).
pub(crate) fn monotonic() -> String {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let within = u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000;
    format!("MONOTONIC_USEC={}", seconds.saturating_mul(1_000_000).saturating_add(within))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn both_kinds_of_addresses_are_understood() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        // Unique as the path is.
        let name = path.to_str().unwrap();
        let address = abstract_address(name.as_bytes()).unwrap();
        let heard = UnixDatagram::bind_addr(&address).unwrap();
        Manager::at(OsStr::new(&format!("@{name}"))).unwrap().tell(&["READY=1", "STATUS=Serving"]);
        let mut octets = [0; 100];
        let length = heard.recv(&mut octets).unwrap();
        assert_eq!(&octets[..length], b"READY=1\nSTATUS=Serving");

        let heard = UnixDatagram::bind(&path).unwrap();
        Manager::at(path.as_os_str()).unwrap().forget("imap");
        let length = heard.recv(&mut octets).unwrap();
        assert_eq!(&octets[..length], b"FDSTOREREMOVE=1\nFDNAME=imap");
    }
}
