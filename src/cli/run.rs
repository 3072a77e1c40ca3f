//! `gatepost run`: serve until told to stop.

use std::process;

use tokio::runtime::{Builder, Runtime};

use super::{FAILED, Settings, report};
use crate::app::{App, StartError, Stop};
use crate::config::ListenerTls;
use crate::confine;
use crate::process::{hand_over_keytab, prepare};
use crate::telemetry::log;

/// Serves with the configuration of `settings`; the result is the exit code.
pub fn run(settings: &Settings) -> u8 {
    let config = match settings.load(std::env::vars_os()) {
        Ok(config) => config,
        Err(problems) => return report(&problems),
    };
    if let Err(error) = hand_over_keytab(&config) {
        eprintln!("gatepost: it cannot begin again with `forward_proxy.keytab` in its environment: {error}");
        return FAILED;
    }
    if let Err(error) = log::init(&config.log) {
        eprintln!("gatepost: the log cannot be started: {error}");
        return FAILED;
    }
    for note in config.notes.iter().cloned().chain(prepare(&config.limits)) {
        tracing::warn!("{note}");
    }
    let confinement = match confine::enter(&config) {
        Ok(confinement) => confinement,
        Err(error) => {
            tracing::error!("not started: {error}");
            return FAILED;
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
        let app = match App::bind(config).await {
            Ok(app) => app.confined(confinement.report()),
            Err(StartError::Unproved(problems)) => return report(&problems),
            Err(error) => {
                tracing::error!("not started: {error}");
                return FAILED;
            }
        };
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
        for address in app.admin_addresses() {
            tracing::info!(%address, "status page; `gatepost status` prints a link to it");
        }
        tracing::info!(version = env!("CARGO_PKG_VERSION"), pid = process::id(), "ready");
        tokio::spawn(stop_on_signal(app.stop()));
        let cut = app.serve().await;
        tracing::info!(cut, "stopped");
        super::DONE
    })
}

/// One thread per core that this process may use. On a single core that is the present one, which saves waking another.
pub(super) fn runtime() -> Result<Runtime, u8> {
    let single = std::thread::available_parallelism().is_ok_and(|cores| cores.get() == 1);
    let mut builder = if single { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    builder.thread_name("gatepost").enable_all().build().map_err(|error| {
        eprintln!("gatepost: the runtime cannot be started: {error}");
        FAILED
    })
}

/// The first SIGTERM or SIGINT drains, the second one stops at once.
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
