//! The addresses of the page, from binding to the end of the service.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{routes, server};
use crate::admin::state::AdminState;
use crate::daemon::control::Control;
use crate::daemon::inherited::Inherited;
use gatepost_core::system_error::Plain;
use gatepost_net::listen::{self, Loopbacks};
use gatepost_net::tls::server::{self as tls, ServerError};

/// Why the page cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// An address cannot be listened on.
    #[error("the status page cannot use `{address}`: {}. {}", Plain(.source), hint(.source))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] ServerError),
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there, and a browser could be led to it with the key to the page: stop that \
             program, or set \
             another port in `admin.bind`"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE: grant it, or set a higher port in `admin.bind`"
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address: correct `admin.bind`",
        _ => "correct `admin.bind`",
    }
}

fn bind(address: SocketAddr, closing: &[&TcpListener]) -> io::Result<TcpListener> {
    // Whether the machine has a loopback address is known at the start.
    if address.ip().is_loopback() {
        return listen::bind_beside(address, closing);
    }
    let bound = listen::bind_early(address, closing)?;
    if bound.is_address_missing {
        tracing::warn!(%address, "status page: this machine does not have that address yet. If it never will, correct \
        `admin.bind`");
    }
    Ok(bound.socket)
}

/// The page's addresses, bound but not served yet.
pub struct Bound {
    config: gatepost_config::Admin,
    listeners: Vec<Arc<TcpListener>>,
    tls: Option<Arc<ServerConfig>>,
}

impl Bound {
    /// Binds the page's addresses, unless another process has done so already. If the configuration
    /// has none, nothing is bound. Of the two loopback addresses both are bound, or none.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub fn new(config: &gatepost_config::Admin, inherited: &mut Inherited) -> Result<Self, AdminError> {
        let tls = config.tls.as_ref().map(tls::config).transpose()?;
        let tls = tls.map(|tls| tls::speaking(&tls, &["http/1.1"]));
        let mut listeners: Vec<Arc<TcpListener>> = Vec::new();
        for &address in &config.bind {
            if listeners.iter().any(|listener| listener.local_addr().is_ok_and(|bound| bound == address)) {
                continue;
            }
            let open = |address| match inherited.at(address) {
                Some(socket) => Ok(socket),
                None => bind(address, &inherited.left().collect::<Vec<_>>()),
            };
            let Loopbacks { wanted, other } = listen::bind_both_loopbacks(address, open)
                .map_err(|(address, source)| AdminError::Bind { address, source })?;
            if other.is_none()
                && let Some(missing) = listen::other_loopback(address)
            {
                tracing::info!("the status page is at `{address}` alone: this machine has no address {}", missing.ip());
            }
            listeners.extend([Some(wanted), other].into_iter().flatten().map(Arc::new));
        }
        Ok(Self { config: config.clone(), listeners, tls })
    }

    /// Returns the addresses of the page.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// The sockets, for a process that takes over.
    pub fn sockets(&self) -> &[Arc<TcpListener>] {
        &self.listeners
    }

    /// Serves the page and the socket until the result is dropped. If the socket cannot be opened,
    /// this is logged, but mail is served all the same.
    pub fn serve(self, control: Control) -> Serving {
        let mut tasks = JoinSet::new();
        let addresses = self.addresses();
        let site = Arc::new(AdminState::new(control, &self.config, &addresses));
        let Self { config, listeners, tls } = self;
        for listener in listeners {
            tasks.spawn(server::serve_tcp(listener, tls.clone(), routes::page(&site)));
        }
        #[cfg(unix)]
        if let Some(path) = &config.socket {
            match server::Local::bind(path) {
                Ok(local) => drop(tasks.spawn(local.serve(routes::socket(&site)))),
                Err(error) => tracing::warn!(
                    "`gatepost status`, `gatepost reload` and `--take-over` will not find this service: the socket \
                     `{}` cannot be used: {}. SIGHUP still reloads. Gatepost admin: set `admin.socket` to a path that Gatepost can write to",
                    path.display(),
                    Plain(&error)
                ),
            }
        }
        #[cfg(not(unix))]
        let _socket = config.socket;
        tasks.spawn(async move { site.shared.journal.keep_history().await });
        Serving { _tasks: tasks }
    }
}

/// Keeps the page and the socket served until it is dropped.
pub struct Serving {
    _tasks: JoinSet<()>,
}
