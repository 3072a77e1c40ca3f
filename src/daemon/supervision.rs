//! Gatepost as a systemd service. It takes the sockets that systemd has for it, and reports to
//! systemd: ready, reloading, stopping, the progress of the drain, that the process is alive, and
//! which sockets to keep for the next process. Without systemd it does nothing.

#[cfg(unix)]
pub use unix::{accompany, disown, inherited};

#[cfg(not(unix))]
pub use elsewhere::{accompany, disown, inherited};

#[cfg(not(unix))]
mod elsewhere {
    use crate::daemon::control::Control;
    use crate::daemon::inherited::Inherited;

    /// Returns no sockets, because there is no systemd here.
    pub fn inherited() -> Inherited {
        Inherited::default()
    }

    /// Does nothing, because there is no systemd here.
    pub fn disown(_left: &Inherited) {}

    /// Does nothing, because there is no systemd here.
    pub async fn accompany(_control: Control) {}
}

#[cfg(unix)]
mod unix {
    use std::collections::BTreeSet;
    use std::os::fd::AsFd as _;
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

    use crate::daemon::control::Control;
    use crate::daemon::inherited::Inherited;
    use crate::daemon::phase::Phase;
    use crate::system::systemd::{Manager, listening_sockets, monotonic, watchdog};

    /// How often systemd is told the progress of the drain and asked for more time.
    const PROGRESS: Duration = Duration::from_secs(5);

    /// The extra time that is requested.
    const MORE_TIME: Duration = Duration::from_secs(30);

    /// Returns the listening sockets that systemd has opened, or has kept from the process before
    /// this one.
    pub fn inherited() -> Inherited {
        let mut inherited = Inherited::default();
        for (name, socket) in listening_sockets() {
            inherited.add(&name, socket);
        }
        inherited
    }

    /// Tells systemd which sockets are no longer used. If systemd kept them, they would take
    /// connections that are never accepted.
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

    /// Reports the state of the service to systemd until its end. Never returns if there is nothing
    /// to report to.
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

    /// Makes systemd keep the sockets that the service has now, and no others.
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

    /// Reports twice in each interval that systemd sets, while the runtime runs tasks
    /// (sd_watchdog_enabled(3)).
    async fn feed_watchdog(manager: &Manager) {
        let Some(every) = watchdog() else { return };
        let mut ticks = interval_at(Instant::now(), every / 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            manager.tell(&["WATCHDOG=1"]);
        }
    }
}
