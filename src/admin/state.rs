//! What all requests to the page and the socket share.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::State;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use super::guard::HostPolicy;
use super::pending::SignIns;
use crate::admin::sessions::AdminSessions;
use crate::daemon::control::Control;
use crate::doctor::Slots;
use crate::session::SessionContext;
use gatepost_core::clock::UnixTime;
use gatepost_oauth::expiry::Expiry;

/// Most examinations at once, because each opens connections of its own.
const EXAMINATIONS: usize = 2;

/// The extractor by which a handler gets it.
pub(super) type SharedState = State<Arc<AdminState>>;

/// What all requests share.
pub(super) struct AdminState {
    pub(super) shared: Arc<SessionContext>,
    pub(super) control: Control,
    pub(super) sessions: AdminSessions,
    pub(super) reach: HostPolicy,
    /// The address for browsers; `None` when there is only the socket.
    pub(super) address: Option<String>,
    pub(super) open_metrics: bool,
    pub(super) known: Known,
    pub(super) sign_ins: SignIns,
    /// Permits for examinations, of the page and the socket together.
    pub(super) examinations: Arc<Semaphore>,
    /// Their right to ask servers.
    pub(super) slots: Slots,
}

impl AdminState {
    pub(super) fn new(control: Control, config: &gatepost_config::Admin, addresses: &[SocketAddr]) -> Self {
        // The parts used here last as long as the process: authenticator, journal, and the drain
        // signal.
        let shared = control.shared();
        let clock = shared.authenticator.clock().clone();
        let reach = HostPolicy::new(config);
        let address = addresses.first().map(|address| {
            let port = address.port();
            // Without TLS this is an address, because a name could lead a browser to another
            // program.
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
            examinations: Arc::new(Semaphore::new(EXAMINATIONS)),
            slots: Slots::default(),
        }
    }
}

/// Names of the cookies, without and with TLS. `__Secure-` keeps pages without TLS from setting one
/// (RFC 6265bis §4.1.3); `__Host-` would want the path `/`.
impl AdminState {
    /// Returns the name of a session's cookie.
    pub(super) fn cookie(&self) -> &'static str {
        if self.reach.tls { "__Secure-gatepost" } else { "gatepost" }
    }

    /// Returns the name of a sign-in's cookie. It is sent when the browser returns from Entra,
    /// unlike the session's.
    pub(super) fn sign_in_cookie(&self) -> &'static str {
        if self.reach.tls { "__Secure-gatepost_sign_in" } else { "gatepost_sign_in" }
    }
}

/// Answers that are cached briefly, so that frequent requests cost the store and the disk nothing.
#[derive(Default)]
pub(super) struct Known {
    pub(super) store: Mutex<Option<(Instant, Option<String>)>>,
    pub(super) ends: Mutex<Option<(Instant, Arc<EndsKnown>)>>,
}

/// The expiry of certificates and secrets.
#[derive(Debug, Default)]
pub(super) struct EndsKnown {
    pub(super) of_applications: Vec<Expiry>,
    pub(super) of_listeners: HashMap<PathBuf, UnixTime>,
}
