//! What all requests to page and socket share.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::State;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::guard::HostPolicy;
use super::pending::SignIns;
use crate::admin::sessions::AdminSessions;
use crate::daemon::control::Control;
use crate::session::SessionContext;
use gatepost_core::clock::UnixTime;
use gatepost_oauth::expiry::Expiry;

/// How a handler gets them.
pub(super) type SharedState = State<Arc<AdminState>>;

/// What all requests share.
pub(super) struct AdminState {
    pub(super) shared: Arc<SessionContext>,
    pub(super) control: Control,
    pub(super) sessions: AdminSessions,
    pub(super) reach: HostPolicy,
    /// How a browser gets here; nothing when there is only the socket.
    pub(super) address: Option<String>,
    pub(super) open_metrics: bool,
    pub(super) known: Known,
    pub(super) sign_ins: SignIns,
}

impl AdminState {
    pub(super) fn new(control: Control, config: &gatepost_config::Admin, addresses: &[SocketAddr]) -> Self {
        // What is asked of it here lasts as long as the process: authenticator, journal, the word to drain.
        let shared = control.shared();
        let clock = shared.authenticator.clock().clone();
        let reach = HostPolicy::new(config);
        let address = addresses.first().map(|address| {
            let port = address.port();
            // Without TLS an address: a name could lead a browser to another program.
            match (reach.tls, config.hosts.first()) {
                (true, Some(host)) => format!("https://{host}:{port}"),
                (true, None) => format!("https://{address}"),
                (false, _) => format!("http://{address}"),
            }
        });
        Self {
            shared,
            control,
            sessions: AdminSessions::new(config.token.clone(), clock.clone()),
            reach,
            address,
            open_metrics: config.open_metrics,
            known: Known::default(),
            sign_ins: SignIns::new(clock),
        }
    }
}

/// Names of the cookies, without and with TLS. `__Secure-` keeps pages without TLS from setting one (RFC 6265bis §4.1.3);
/// `__Host-` would want the path `/`.
impl AdminState {
    /// Of a session.
    pub(super) fn cookie(&self) -> &'static str {
        if self.reach.tls { "__Secure-gatepost" } else { "gatepost" }
    }

    /// Of one sign-in: sent along when the browser comes back from Entra, which that of the session is not.
    pub(super) fn sign_in_cookie(&self) -> &'static str {
        if self.reach.tls { "__Secure-gatepost_sign_in" } else { "gatepost_sign_in" }
    }
}

/// Answers that are kept for a moment, so that whoever asks often costs the store and the disk nothing.
#[derive(Default)]
pub(super) struct Known {
    pub(super) store: Mutex<Option<(Instant, Option<String>)>>,
    pub(super) ends: Mutex<Option<(Instant, Arc<EndsKnown>)>>,
}

/// The ends of certificates and secrets.
#[derive(Debug, Default)]
pub(super) struct EndsKnown {
    pub(super) of_applications: Vec<Expiry>,
    pub(super) of_listeners: HashMap<PathBuf, UnixTime>,
}
