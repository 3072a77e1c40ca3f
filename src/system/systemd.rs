//! Gatepost as a service of systemd: sockets that systemd has opened (sd_listen_fds(3)), and what systemd is told
//! (sd_notify(3)): ready, reloading, stopping, how far the drain is, that the process is alive, and which sockets to keep
//! for the process after this one. Without systemd none of it does anything.

#[cfg(unix)]
pub use unix::{accompany, disown, inherited};

#[cfg(not(unix))]
pub use elsewhere::{accompany, disown, inherited};

#[cfg(not(unix))]
mod elsewhere {
    use crate::daemon::{Control, Inherited};

    /// There is no systemd here.
    pub fn inherited() -> Inherited {
        Inherited::default()
    }

    /// There is no systemd here.
    pub fn disown(_left: &Inherited) {}

    /// There is no systemd here.
    pub async fn accompany(_control: Control) {}
}

#[cfg(unix)]
mod unix {
    use std::collections::BTreeSet;
    use std::ffi::OsStr;
    use std::io::{self, IoSlice};
    use std::mem::MaybeUninit;
    use std::os::fd::{AsFd, BorrowedFd};
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use listenfd::ListenFd;
    use rustix::io::{FdFlags, fcntl_setfd};
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use rustix::time::{ClockId, clock_gettime};
    use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

    use crate::daemon::phase::Phase;
    use crate::daemon::{Control, Inherited};

    /// How often systemd is told how far the drain is, and asked for a little more time.
    const PROGRESS: Duration = Duration::from_secs(5);

    /// What is asked for.
    const MORE_TIME: Duration = Duration::from_secs(30);

    /// The listening sockets that systemd has opened, or has kept from the process before this one.
    pub fn inherited() -> Inherited {
        let mut inherited = Inherited::default();
        let mut sockets = ListenFd::from_env();
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        for at in 0..sockets.len() {
            let name = names.next().unwrap_or_default();
            match sockets.take_tcp_listener(at) {
                Ok(Some(socket)) => {
                    // The commands of secrets do not get it. Where that fails they do, and can do nothing with it.
                    let _kept = fcntl_setfd(&socket, FdFlags::CLOEXEC);
                    inherited.add(name, socket);
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(name, "systemd has handed over something else than a TCP socket: {error}"),
            }
        }
        inherited
    }

    /// Where systemd listens.
    struct Manager {
        socket: UnixDatagram,
    }

    impl Manager {
        /// `None` when nobody wants to know.
        fn of_environment() -> Option<Self> {
            let path = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty())?;
            Self::at(&path).inspect_err(|error| tracing::warn!("systemd cannot be told anything: {error}")).ok()
        }

        fn at(path: &OsStr) -> io::Result<Self> {
            let socket = UnixDatagram::unbound()?;
            match path.as_bytes().split_first() {
                Some((b'@', name)) => socket.connect_addr(&abstract_address(name)?)?,
                _ => socket.connect(Path::new(path))?,
            }
            // It does not fill up; and should it, nobody waits for it.
            socket.set_nonblocking(true)?;
            Ok(Self { socket })
        }

        fn tell(&self, lines: &[&str]) {
            if let Err(error) = self.socket.send(lines.join("\n").as_bytes()) {
                tracing::debug!("systemd did not hear {lines:?}: {error}");
            }
        }

        /// Lets systemd keep a socket under a name (`FDSTORE=1`); it does where the unit says so.
        fn keep(&self, name: &str, socket: BorrowedFd<'_>) {
            let message = format!("FDSTORE=1\nFDNAME={name}");
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut with = SendAncillaryBuffer::new(&mut space);
            let descriptors = [socket];
            // There is room for exactly one.
            with.push(SendAncillaryMessage::ScmRights(&descriptors));
            let sent = sendmsg(&self.socket, &[IoSlice::new(message.as_bytes())], &mut with, SendFlags::NOSIGNAL);
            if let Err(error) = sent {
                tracing::debug!(name, "systemd did not take a socket: {error}");
            }
        }

        fn forget(&self, name: &str) {
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

    /// Says which sockets nobody wants any longer: kept by systemd, they would take connections that nobody accepts.
    pub fn disown(left: &Inherited) {
        for (name, address) in left.left() {
            tracing::warn!(
                name,
                %address,
                "systemd has opened a socket that no listener has asked for: name the socket after a listener \
                 (FileDescriptorName=), or give the listener this address as `bind`"
            );
        }
        let Some(manager) = Manager::of_environment() else { return };
        let names: BTreeSet<&str> = left.left().map(|(name, _)| name).collect();
        names.into_iter().for_each(|name| manager.forget(name));
    }

    /// Tells systemd what becomes of the service, from now to its end. Never returns where nothing has to be told.
    pub async fn accompany(control: Control) {
        let Some(manager) = Manager::of_environment() else { return std::future::pending().await };
        tokio::join!(tell_phases(&manager, &control), keep_sockets(&manager, &control), feed_watchdog(&manager));
    }

    async fn tell_phases(manager: &Manager, control: &Control) {
        let mut phases = control.phases();
        let mut said = Phase::Starting;
        loop {
            let phase = *phases.borrow_and_update();
            match phase {
                Phase::Ready if said != Phase::Ready => manager.tell(&["READY=1", "STATUS=Serving"]),
                Phase::Reloading if said != Phase::Reloading => {
                    manager.tell(&["RELOADING=1", &monotonic(), "STATUS=Reading the configuration anew"]);
                }
                Phase::Draining { .. } => return tell_drain(manager, control).await,
                _ => {}
            }
            said = phase;
            if phases.changed().await.is_err() {
                return;
            }
        }
    }

    async fn tell_drain(manager: &Manager, control: &Control) {
        let mut ticks = interval(PROGRESS);
        let mut stopping = Some("STOPPING=1");
        loop {
            ticks.tick().await;
            let left: usize = control.sessions().iter().map(|(_, count)| count).sum();
            let status = format!("STATUS=Stopping, {left} connections left");
            let more = format!("EXTEND_TIMEOUT_USEC={}", MORE_TIME.as_micros());
            let lines: Vec<&str> = stopping.take().into_iter().chain([status.as_str(), more.as_str()]).collect();
            manager.tell(&lines);
        }
    }

    /// systemd keeps the sockets that the service has now, and no others.
    async fn keep_sockets(manager: &Manager, control: &Control) {
        let mut generations = control.generations();
        let mut kept: BTreeSet<Arc<str>> = BTreeSet::new();
        loop {
            generations.borrow_and_update();
            kept.iter().for_each(|name| manager.forget(name));
            kept.clear();
            // A name with a colon could not be told from two names.
            for (name, socket) in control.sockets().iter().filter(|(name, _)| !name.contains(':')) {
                manager.keep(name, socket.as_fd());
                kept.insert(Arc::clone(name));
            }
            if generations.changed().await.is_err() {
                return;
            }
        }
    }

    /// Twice in each interval that systemd gives, for as long as the runtime runs tasks (sd_watchdog_enabled(3)).
    async fn feed_watchdog(manager: &Manager) {
        let Some(every) = watchdog() else { return };
        let mut ticks = interval_at(Instant::now(), every / 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            manager.tell(&["WATCHDOG=1"]);
        }
    }

    fn watchdog() -> Option<Duration> {
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        number("WATCHDOG_USEC").filter(|every| ours && *every > 0).map(Duration::from_micros)
    }

    /// When the reload began (`Type=notify-reload`).
    fn monotonic() -> String {
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
            let name = format!("gatepost-test-{}", std::process::id());
            let address = abstract_address(name.as_bytes()).unwrap();
            let heard = UnixDatagram::bind_addr(&address).unwrap();
            Manager::at(OsStr::new(&format!("@{name}"))).unwrap().tell(&["READY=1", "STATUS=Serving"]);
            let mut octets = [0; 100];
            let length = heard.recv(&mut octets).unwrap();
            assert_eq!(&octets[..length], b"READY=1\nSTATUS=Serving");

            let path = std::env::temp_dir().join(&name);
            let heard = UnixDatagram::bind(&path).unwrap();
            Manager::at(path.as_os_str()).unwrap().forget("imap");
            let length = heard.recv(&mut octets).unwrap();
            assert_eq!(&octets[..length], b"FDSTOREREMOVE=1\nFDNAME=imap");
            std::fs::remove_file(&path).unwrap();
        }
    }
}
