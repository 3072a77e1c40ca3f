//! The certificates of the listeners: when they expire, and reminders of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::running::Running;
use gatepost_config::{Config, Identity, ListenerTls, server_identity};
use gatepost_core::clock::{Clock, UnixTime};
use gatepost_oauth::expiry::{Expiry, Reminder};
use gatepost_oauth::watched;

/// How often the certificates are looked at. A reminder comes once a day at most.
const LOOK_TICK: Duration = Duration::from_secs(3600);
/// What to do about a certificate that expires.
const REPLACE: &str = "Gatepost admin: replace the file, which needs no restart";

/// Returns the certificate and key of a listener with TLS.
pub(crate) fn identity(tls: &ListenerTls) -> Option<&Identity> {
    match tls {
        ListenerTls::None => None,
        ListenerTls::StartTls(identity) | ListenerTls::Implicit(identity) => Some(identity),
    }
}

/// Returns when the first certificate in a PEM file expires. `None` if the file cannot be read.
pub(crate) fn expiry(path: &Path) -> Option<UnixTime> {
    server_identity::expiry(&watched::content(path).ok()?)
}

/// Logs once a day which certificates of listeners expire within 30 days, or have expired. Never
/// returns.
pub(crate) async fn remind(running: Arc<Running>) {
    let mut ticks = interval(LOOK_TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reminder = Reminder::default();
    loop {
        ticks.tick().await;
        let config = Arc::clone(&running.generation.get().config);
        // Files are read outside the threads of the sessions.
        if let Ok(expiries) = spawn_blocking(move || expiries(&config)).await {
            reminder.tell(&expiries, Clock::system().unix_time(), REPLACE);
        }
    }
}

/// Returns the known expiries, one for each file.
fn expiries(config: &Config) -> Vec<Expiry> {
    let listeners = config.listeners.iter();
    let files: BTreeSet<&PathBuf> =
        listeners.filter_map(|listener| identity(&listener.tls)).map(|identity| &identity.certificate).collect();
    let expiry = |path: &PathBuf| {
        let named = config
            .listeners
            .iter()
            .filter(|listener| identity(&listener.tls).is_some_and(|identity| identity.certificate == *path));
        let names: Vec<String> = named.map(|listener| format!("`{}`", listener.name)).collect();
        let of = if names.len() == 1 { "listener" } else { "listeners" };
        let what = format!("the certificate of {of} {} in `{}`", names.join(", "), path.display());
        Some(Expiry { client_id: String::new(), what, expires: expiry(path)?, renewal: None })
    };
    files.into_iter().filter_map(expiry).collect()
}
