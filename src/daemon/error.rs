//! Why a service does not start, or a configuration is not taken over.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use gatepost_config::problem::Problems;
use gatepost_core::system_error::Plain;
use gatepost_net::tls::server::ServerError;
use gatepost_store::OpenError;
use gatepost_telemetry::audit::AuditError;
use gatepost_telemetry::log::LogError;

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("listener `{listener}`: cannot listen on {address}: {}. {}", Plain(.source), hint(.source, *.ours, .unit.as_deref()))]
    Bind {
        /// The listener's name.
        listener: Arc<str>,
        /// The address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
        /// Whether another listener of the configuration has the address.
        ours: bool,
        /// The name of the socket unit's socket that has the address.
        unit: Option<Arc<str>>,
    },
    /// The socket of `gatepost sendmail` cannot be opened.
    #[error("sendmail: cannot listen at `{}`: {}. {}", .socket.display(), Plain(.source), socket_hint(.source))]
    Sendmail {
        /// The socket.
        socket: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A certificate or key is not usable.
    #[error("listener `{listener}`: {source}")]
    Tls {
        /// The listener's name.
        listener: Arc<str>,
        /// The error.
        source: ServerError,
    },
    /// A service that runs beside the listeners, the status page, cannot be started.
    #[error("admin: {0}")]
    Admin(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The audit log cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// There is no journal for `log.format: journal`.
    #[error("log: {0}")]
    Log(#[from] LogError),
    /// The store of `state` cannot be used.
    #[error("state: {0}")]
    Store(#[from] OpenError),
    /// The queue cannot be used.
    #[error("queue: {0}")]
    Queue(#[source] OpenError),
    /// A name that no certificate can contain.
    #[error("listener `{listener}`: `upstream_name` `{name}` is neither a DNS name nor an address")]
    UpstreamName {
        /// The listener's name.
        listener: Arc<str>,
        /// The name.
        name: String,
    },
    /// Accounts that anybody who reaches a port could open.
    #[error("{0}")]
    AccountWithoutPassword(Problems),
}

fn socket_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "create its directory (systemd does so with `RuntimeDirectory=`), or set `sendmail.socket`"
        }
        io::ErrorKind::AlreadyExists => "remove the file there, or set `sendmail.socket`",
        _ => "let the service's user write into its directory, or set `sendmail.socket`",
    }
}

fn hint(error: &io::Error, ours: bool, unit: Option<&str>) -> Cow<'static, str> {
    if error.kind() == io::ErrorKind::AddrInUse
        && let Some(unit) = unit
    {
        return format!(
            "a socket unit of systemd has opened it with the name `{unit}`: write the listener's name into its \
             `FileDescriptorName=`, or set another `bind`"
        )
        .into();
    }
    Cow::Borrowed(match error.kind() {
        io::ErrorKind::AddrInUse if ours => {
            "another listener of this configuration has it, perhaps as part of `0.0.0.0` or `[::]`: set another `bind`"
        }
        io::ErrorKind::AddrInUse => "another program listens there: stop it, or set another `bind`",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE: grant it, or set a `bind` with a higher port"
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address: correct `bind`",
        _ => "correct `bind`",
    })
}
