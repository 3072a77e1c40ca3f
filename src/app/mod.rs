//! Everything put together from a [`Config`]: bind, serve, drain, stop.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, AdminError};
use crate::clock::{Clock, UnixTime};
use crate::config::problem::Problems;
use crate::config::{Config, Files};
use crate::confine::Confinement;
use crate::live::Live;
use crate::session::journal::Journal;
use crate::session::upstream::Target;
use crate::session::{Service, announce};
use crate::store::{self, OpenError, Store};
use crate::suspend;
use crate::telemetry::audit::{Audit, AuditError};
use crate::tls::server::ServerError;

#[cfg(unix)]
pub mod command;
pub mod control;
mod doors;
mod drain;
mod generation;
#[cfg(unix)]
mod handover;
pub mod inherited;
pub mod reload;
mod watch_files;

pub use control::Control;
pub use inherited::Inherited;

use control::{LastReload, Phase};
use doors::Doors;
use generation::{Generation, Lasting, Ways};
use reload::Source;

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("listener `{listener}`: listen on {address}: {source}; {}", hint(.source, *.ours))]
    Bind {
        /// The listener's name.
        listener: Arc<str>,
        /// The address.
        address: SocketAddr,
        /// The system's words.
        source: io::Error,
        /// A socket of this process is in the way, which a reload cannot close first.
        ours: bool,
    },
    /// A certificate or key is not usable.
    #[error("listener `{listener}`: {source}")]
    Tls {
        /// The listener's name.
        listener: Arc<str>,
        /// What is wrong with it.
        source: ServerError,
    },
    /// The status page cannot be served.
    #[error("admin: {0}")]
    Admin(#[from] AdminError),
    /// The audit log cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The store of `state` cannot be used.
    #[error("state: {0}")]
    Store(#[from] OpenError),
    /// A name that no certificate can carry.
    #[error("listener `{listener}`: `upstream_name` `{name}` is neither a DNS name nor an address")]
    UpstreamName {
        /// The listener's name.
        listener: Arc<str>,
        /// The name.
        name: String,
    },
    /// Accounts that anybody who reaches a port could open.
    #[error("{0}")]
    Unproved(Problems),
}

fn hint(error: &io::Error, ours: bool) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse if ours => {
            "another listener of Gatepost has it as part of `0.0.0.0` or `[::]`, or the other way round: restart Gatepost"
        }
        io::ErrorKind::AddrInUse => "another program listens there: stop it, or set another `bind`",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE: grant it, or set a `bind` with a higher port"
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address: correct `bind`",
        _ => "correct `bind`",
    }
}

/// A service that listens, but does not serve yet.
pub struct App {
    running: Arc<Running>,
    admin: admin::Bound,
}

/// Ends a running [`App`].
#[derive(Clone)]
pub struct Stop {
    draining: CancellationToken,
    stopping: CancellationToken,
}

impl Stop {
    /// No new connections; sessions may end by themselves until `limits.drain`.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// At once.
    pub fn now(&self) {
        self.draining.cancel();
        self.stopping.cancel();
    }
}

/// A service, from its start to its end.
struct Running {
    lasting: Lasting,
    generation: Live<Generation>,
    doors: Doors,
    /// Told to stop; sessions may go on for a while.
    stopping: CancellationToken,
    /// Another process has the sockets.
    superseded: CancellationToken,
    phase: watch::Sender<Phase>,
    /// The number of the generation.
    changed: watch::Sender<u64>,
    started_at: UnixTime,
    source: OnceLock<Source>,
    /// What the process has given up: not every configuration can be taken over.
    confinement: OnceLock<Confinement>,
    /// What the configuration was read from.
    files: Live<Files>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
    last_reload: Mutex<Option<LastReload>>,
    /// Who learns what which upstream announces.
    learning: Mutex<Vec<(Arc<Target>, AbortHandle)>>,
    /// Of the status page.
    admin_sockets: Vec<Arc<TcpListener>>,
}

impl App {
    /// Opens the store that the configuration names, and goes on as [`App::with_store`].
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn bind(config: Config, inherited: &mut Inherited) -> Result<Self, StartError> {
        let store = store::open(&config.state).await?;
        Self::with_sockets(config, store, inherited).await
    }

    /// Binds every listener and makes ready what logins will need, with the sign-ins and device passwords of `store`.
    /// Nothing is fetched yet.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn with_store(config: Config, store: Arc<dyn Store>) -> Result<Self, StartError> {
        Self::with_sockets(config, store, &mut Inherited::default()).await
    }

    /// The same, with sockets that are open already for some of the listeners.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn with_sockets(
        config: Config,
        store: Arc<dyn Store>,
        inherited: &mut Inherited,
    ) -> Result<Self, StartError> {
        refuse_unproved(&config, &*store).await?;
        let config = Arc::new(config);
        let server_name: Arc<str> = host_name().into();
        let audit = config.log.audit.as_ref().map(|to| Audit::start(to, Clock::system())).transpose()?;
        let journal = Journal::new(audit);
        let ways = Ways::new(&config, &server_name, journal.metrics());
        let lasting = Lasting::new(&config, &ways, store, journal, server_name);
        let admin = admin::Bound::new(&config.admin, inherited)?;
        let generation = Generation::new(config, &lasting, Some(ways), None)?;
        let stopping = CancellationToken::new();
        let doors = Doors::new(lasting.draining.clone(), stopping.clone());
        doors.swap(doors.prepare(&generation.services, inherited)?, &generation.shared);
        let running = Running {
            lasting,
            changed: watch::channel(generation.number).0,
            generation: Live::new(generation),
            doors,
            stopping,
            superseded: CancellationToken::new(),
            phase: watch::channel(Phase::Starting).0,
            started_at: Clock::system().unix_time(),
            source: OnceLock::new(),
            confinement: OnceLock::new(),
            files: Live::default(),
            reloading: tokio::sync::Mutex::default(),
            last_reload: Mutex::default(),
            learning: Mutex::default(),
            admin_sockets: admin.sockets().to_vec(),
        };
        Ok(Self { running: Arc::new(running), admin })
    }

    /// Reloads read the configuration from `source`; `files` is what it was read from at the start.
    #[must_use]
    pub fn with_source(self, source: Source, files: Files) -> Self {
        // Nobody else has set it: the service has just been made.
        let _ = self.running.source.set(source);
        self.running.files.set(files);
        self
    }

    /// The process has confined itself, which reloads have to respect.
    #[must_use]
    pub fn within(self, confinement: Confinement) -> Self {
        // As above.
        let _ = self.running.confinement.set(confinement);
        self
    }

    /// Name, protocol and address of every listening socket, in the order of the configuration.
    pub fn addresses(&self) -> Vec<(Arc<Service>, SocketAddr)> {
        self.running.doors.addresses()
    }

    /// Where the status page is.
    pub fn admin_addresses(&self) -> Vec<SocketAddr> {
        self.admin.addresses()
    }

    /// The handle that ends [`App::serve`].
    pub fn stop(&self) -> Stop {
        self.running.stop()
    }

    /// The handle of whoever runs the service.
    pub fn control(&self) -> Control {
        Control(Arc::clone(&self.running))
    }

    /// Treats loopback as any other source, which no configuration can ask for: the clients of tests are all there.
    #[doc(hidden)]
    pub fn penalise_loopback(&self) {
        self.running.lasting.penalties.include_loopback();
    }

    /// Serves until [`Stop`], then drains. The result is the number of sessions that were cut.
    ///
    /// # Cancel safety
    /// Dropping the future cuts every session.
    pub async fn serve(self) -> usize {
        let Self { running, admin } = self;
        let _cut_when_dropped = running.stopping.clone().drop_guard();
        // Until the last session has ended: somebody may want to know for what the process waits. A process that has taken
        // over answers in its place.
        let page = admin.serve(Control(Arc::clone(&running)));
        let superseded = running.superseded.clone();
        let showing = tokio::spawn(async move {
            let _page = page;
            superseded.cancelled().await;
        });
        let upkeep = running.lasting.gatekeeper.spawn_upkeep();
        let resuming = tokio::spawn(resume(Arc::clone(&running)));
        let watching = tokio::spawn(watch_files::watch(Arc::clone(&running)));
        let seeding = Arc::clone(&running);
        tokio::spawn(async move {
            // Should it fail, the handshakes fail, and say so.
            let _seeded = tokio::task::spawn_blocking(crate::tls::gather_randomness).await;
            seeding.learn(&seeding.generation.get());
        });
        running.doors.open();
        running.phase.send_replace(Phase::Ready);
        running.lasting.draining.cancelled().await;
        let cut = drain::drain(&running).await;
        for task in [upkeep, resuming, watching, showing] {
            task.abort();
        }
        running.lasting.gatekeeper.finish().await;
        cut
    }
}

impl Running {
    fn stop(&self) -> Stop {
        Stop { draining: self.lasting.draining.clone(), stopping: self.stopping.clone() }
    }

    /// Sees to it that the list of every upstream of this generation is learned, and of no other.
    fn learn(&self, generation: &Generation) {
        let mut learning = self.learning.lock().unwrap_or_else(PoisonError::into_inner);
        learning.retain(|(target, task)| {
            let needed = generation.targets.values().any(|needed| Arc::ptr_eq(needed, target));
            if !needed {
                task.abort();
            }
            needed
        });
        for target in generation.targets.values() {
            if !learning.iter().any(|(known, _)| Arc::ptr_eq(known, target)) {
                let task = tokio::spawn(announce::keep_learning(Arc::clone(&generation.shared), Arc::clone(target)));
                learning.push((Arc::clone(target), task.abort_handle()));
            }
        }
    }

    fn begin_drain(&self, limit: Duration) {
        self.lasting.farewells.begin(limit);
        self.phase.send_replace(Phase::Draining { until: Clock::system().unix_time().after(limit) });
    }

    fn last_reload(&self) -> Option<LastReload> {
        self.last_reload.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_last_reload(&self, reload: LastReload) {
        *self.last_reload.lock().unwrap_or_else(PoisonError::into_inner) = Some(reload);
    }
}

/// Does not start with an account that has neither a password nor a device password. That this cannot be looked up is no
/// reason not to start: such an account lets nobody in.
async fn refuse_unproved(config: &Config, store: &dyn Store) -> Result<(), StartError> {
    if config.unproved.is_empty() {
        return Ok(());
    }
    match store.device_passwords().await {
        Ok(passwords) => {
            let logins = passwords.iter().map(|password| &password.login);
            config.unproved_accounts(logins).map_or(Ok(()), |problems| Err(StartError::Unproved(problems)))
        }
        Err(error) => {
            tracing::warn!(
                "device passwords cannot be looked up; accounts without another password let nobody in: {error}"
            );
            Ok(())
        }
    }
}

/// After each suspend, forgets what was known about the network. Tokens are judged by a clock that went on meanwhile.
async fn resume(running: Arc<Running>) {
    suspend::watch(Clock::system(), |slept| {
        tracing::info!(
            seconds = slept.as_secs(),
            "the machine was suspended; names are resolved anew, and dead sessions end within two minutes"
        );
        running.generation.get().shared.opener.network_changed();
    })
    .await;
}

/// The name for greetings and EHLO: the machine's, when it can stand there, else an address literal.
fn host_name() -> String {
    let name = machine_name();
    let fits = !name.is_empty()
        && name.len() <= 255
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    if fits { name } else { "[127.0.0.1]".to_owned() }
}

#[cfg(unix)]
fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn machine_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}
