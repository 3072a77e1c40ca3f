//! Gatepost as a systemd service. It takes the sockets that systemd has for it, and reports to
//! systemd: ready, reloading, stopping, the progress of the drain, that the process is alive, and
//! which sockets to keep for the next process. Without systemd it does nothing.

#[cfg(unix)]
pub use unix::{accompany, inherited};

#[cfg(not(unix))]
pub use elsewhere::{accompany, inherited};

#[cfg(not(unix))]
mod elsewhere {
    use crate::daemon::control::Control;
    use crate::daemon::inherited::Inherited;

    /// Returns no sockets, because there is no systemd here.
    pub fn inherited() -> Inherited {
        Inherited::default()
    }

    /// Does nothing, because there is no systemd here.
    pub async fn accompany(_control: Control) {}
}

#[cfg(unix)]
mod unix {
    use std::os::fd::AsFd as _;
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

    /// The name of every socket in systemd's store (sd_pid_notify_with_fds(3)). One name is enough,
    /// because these sockets are told apart by their addresses. It differs from the names of
    /// listeners, which socket units use.
    const KEPT: &str = "gatepost-kept";

    /// Returns the listening sockets that systemd has opened, or has kept from the process before
    /// this one.
    pub fn inherited() -> Inherited {
        let mut inherited = Inherited::default();
        for (name, socket) in listening_sockets() {
            match name.as_str() {
                KEPT => inherited.add_kept(socket),
                name => inherited.add_unit(name, socket),
            }
        }
        inherited
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
                    manager.tell(&["RELOADING=1", &monotonic(), "STATUS=Reloading the configuration"]);
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

    /// Makes systemd keep the sockets that the service has bound now, and no others, until a stop
    /// that no process follows.
    async fn keep_sockets(manager: &Manager, control: &Control) {
        let mut generations = control.generations();
        loop {
            generations.borrow_and_update();
            manager.forget(KEPT);
            for (_, socket) in control.sockets() {
                manager.keep(KEPT, socket.as_fd());
            }
            tokio::select! {
                changed = generations.changed() => if changed.is_err() { return },
                () = control.superseded().cancelled() => break,
                () = control.is_last().cancelled() => break,
            }
        }
        manager.forget(KEPT);
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
