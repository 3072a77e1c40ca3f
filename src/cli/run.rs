//! `gatepost run`: serves until told to stop.

use std::process;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

use super::exit::{CONFIGURATION, FAILED};
use super::options::RunOptions;
use super::output::{failed, report};
use super::owner;
use crate::app::App;
use crate::daemon::phase::Phase;
use crate::daemon::{Control, Inherited, StartError, Stop, supervision};
use crate::system::confine;
use crate::system::process::{hand_over_keytab, prepare};
use gatepost_config::load::Loaded;
use gatepost_config::{Config, ListenerTls, MeetingPlace};
use gatepost_core::system_error::Plain;
use gatepost_telemetry::log;

/// Serves with the configuration of `options`, and returns the exit code.
pub fn run(options: RunOptions) -> u8 {
    let Loaded { config, files } = options.settings.load_tracked(std::env::vars_os());
    let mut config = match config {
        Ok(config) => config,
        Err(problems) => return report(&problems),
    };
    if let Some(hindrance) = owner::hindrance(&config) {
        return failed(hindrance);
    }
    if let Err(error) = hand_over_keytab(&config) {
        let what = "it cannot begin again with `forward_proxy.keytab` in its environment";
        return failed(format_args!("{what}: {error}"));
    }
    if let Err(error) = log::init(&config.log) {
        return failed(format_args!("the log cannot be started: {error}"));
    }
    for note in config.notes.iter().cloned().chain(prepare(&config.limits)) {
        tracing::warn!("{note}");
    }
    for finding in &config.findings {
        tracing::warn!("{}", finding.to_line());
    }
    // Removed at the end of this process.
    let _meeting_place = meeting_place(&mut config);
    let confinement = match confine::enter(&config) {
        Ok(confinement) => confinement,
        Err(error) => {
            tracing::error!("not started: {error}");
            // The kernel does not change by trying again.
            return CONFIGURATION;
        }
    };
    for line in confinement.report() {
        tracing::info!("confinement: {line}");
    }
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    runtime.block_on(async {
        let (mut inherited, predecessor) = match sockets(&config, options.take_over).await {
            Ok(sockets) => sockets,
            Err(code) => return code,
        };
        let app = match App::bind(config, &mut inherited).await {
            Ok(app) => app,
            Err(StartError::AccountWithoutPassword(problems)) => return report(&problems),
            Err(error) => {
                tracing::error!("not started: {error}");
                return FAILED;
            }
        };
        drop(inherited);
        let settings = options.settings;
        let app =
            app.with_source(Arc::new(move || settings.load_tracked(std::env::vars_os())), files).within(confinement);
        tell_listeners(&app);
        for address in app.admin_addresses() {
            tracing::info!(%address, "status page. `gatepost status` prints a link to it");
        }
        let control = app.control();
        for (name, address) in control.unused_units() {
            tracing::warn!(
                name = &*name,
                %address,
                "clients of this socket unit are sent away: no listener has its name. Write the name of a listener \
                 into \
                 `FileDescriptorName=`, or disable the unit"
            );
        }
        tokio::spawn(stop_on_signal(app.stop()));
        tokio::spawn(note_last_stop(app.stop()));
        tokio::spawn(reload_on_signal(control.clone()));
        tokio::spawn(supervision::accompany(control.clone()));
        tokio::spawn(begin(control, predecessor));
        let cut = app.serve().await;
        tracing::info!(cut, "stopped");
        super::exit::DONE
    })
}

/// Prepares the place where commands find this service. If that fails, there is no socket at a place
/// that is not this user's alone.
fn meeting_place(config: &mut Config) -> Option<MeetingPlace> {
    let (place, socket) = (config.admin.meeting_place.clone()?, config.admin.socket.clone()?);
    MeetingPlace::prepare(&place, &socket).unwrap_or_else(|error| {
        let (shown, error) = (place.display(), Plain(&error));
        if place == socket {
            config.admin.socket = None;
            tracing::warn!(
                "`gatepost status` and `gatepost reload` will not find this service: cannot use `{shown}`: {error}. \
                 Gatepost admin: set `admin.socket`"
            );
        } else {
            tracing::debug!(
                "commands find this service at `{}` alone: cannot use `{shown}`: {error}",
                socket.display()
            );
        }
        None
    })
}

fn tell_listeners(app: &App) {
    for (service, address) in app.addresses() {
        let listener = &service.listener;
        tracing::info!(
            listener = &*listener.name,
            %address,
            protocol = listener.protocol.name(),
            tls = match listener.tls {
                ListenerTls::None => "none",
                ListenerTls::StartTls(_) => "starttls",
                ListenerTls::Implicit(_) => "implicit",
            },
            upstream = listener.destination(),
            "listening"
        );
    }
}

/// Waits until connections are accepted, logs it, and lets the process before this one stop.
async fn begin(control: Control, predecessor: Option<Predecessor>) {
    let mut phases = control.phases();
    // Waiting holds a lock on the phase, so the handle itself must not be asked.
    if phases.wait_for(Phase::is_ready).await.is_err() {
        return;
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), pid = process::id(), "ready");
    relieve(predecessor).await;
}

#[cfg(unix)]
use super::socket::{self, NotAsked};
#[cfg(unix)]
use crate::daemon::take_over::Predecessor;

#[cfg(not(unix))]
type Predecessor = std::convert::Infallible;

/// Returns the sockets opened by another process: by the running service, with `take_over`, or by
/// systemd.
#[cfg(unix)]
async fn sockets(config: &Config, take_over: bool) -> Result<(Inherited, Option<Predecessor>), u8> {
    if !take_over {
        return Ok((supervision::inherited(), None));
    }
    let places = &config.admin.service_sockets;
    if places.is_empty() {
        tracing::error!("not started: `--take-over` finds the running service by `admin.socket`: set it");
        return Err(FAILED);
    }
    match socket::take_over(places).await {
        Ok((inherited, predecessor)) => {
            // What systemd kept is older than what the running service has, and is closed.
            drop(supervision::inherited());
            Ok((inherited, Some(predecessor)))
        }
        Err(error @ NotAsked::Older(_)) => {
            tracing::error!("not started: {error}");
            Err(FAILED)
        }
        Err(error @ NotAsked::Refused(_)) => {
            tracing::error!("not started: {error}");
            // Trying again does not help.
            Err(CONFIGURATION)
        }
        Err(error) => {
            // If a service runs all the same, binding its addresses fails, which is a separate
            // error.
            tracing::info!("there is no service to take over from ({error}): starting without");
            Ok((supervision::inherited(), None))
        }
    }
}

#[cfg(not(unix))]
async fn sockets(_config: &Config, _take_over: bool) -> Result<(Inherited, Option<Predecessor>), u8> {
    Ok((supervision::inherited(), None))
}

#[cfg(unix)]
async fn relieve(predecessor: Option<Predecessor>) {
    if let Some(predecessor) = predecessor
        && let Err(error) = predecessor.relieve().await
    {
        tracing::warn!(
            "the former service did not hear that this one serves: {error}. Gatepost admin: stop the former one"
        );
    }
}

#[cfg(not(unix))]
async fn relieve(_predecessor: Option<Predecessor>) {}

/// Creates a runtime with one thread per core that this process may use. On a single core it is the
/// present thread, which saves waking another.
pub(super) fn runtime() -> Result<Runtime, u8> {
    let single = std::thread::available_parallelism().is_ok_and(|cores| cores.get() == 1);
    let mut builder = if single { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder
        .thread_name("gatepost")
        .enable_all()
        .build()
        .map_err(|error| failed(format_args!("the runtime cannot be started: {}", Plain(&error))))
}

/// Drains at the first SIGTERM or SIGINT, and stops at once at the second.
pub(super) async fn stop_on_signal(stop: Stop) {
    if signal().await.is_err() {
        return;
    }
    stop.drain();
    if signal().await.is_ok() {
        stop.now();
    }
}

#[cfg(unix)]
pub(super) async fn signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
pub(super) async fn signal() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

/// At SIGUSR1, expects that the stop that follows is no restart. The unit file's `ExecStop=` sends
/// it, because a service cannot tell the one from the other.
#[cfg(unix)]
async fn note_last_stop(stop: Stop) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut signals) = signal(SignalKind::user_defined1()) else { return };
    if signals.recv().await.is_some() {
        stop.expect_no_successor();
    }
}

#[cfg(not(unix))]
async fn note_last_stop(_stop: Stop) {}

/// Reloads at each SIGHUP.
#[cfg(unix)]
async fn reload_on_signal(control: Control) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangups) = signal(SignalKind::hangup()) else { return };
    while hangups.recv().await.is_some() {
        // The outcome is in the log.
        let _outcome = control.reload().await;
    }
}

#[cfg(not(unix))]
async fn reload_on_signal(_control: Control) {}
