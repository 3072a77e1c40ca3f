//! Puts the whole service together from a [`Config`]: bind, serve, drain, stop.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::admin;
use crate::daemon::control::Control;
use crate::daemon::generation::{Generation, Outbound, ProcessState};
use crate::daemon::inherited::Inherited;
use crate::daemon::listeners::Listeners;
use crate::daemon::phase::Phase;
use crate::daemon::running::{Running, Source, Stop, refuse_unproved};
#[cfg(unix)]
use crate::daemon::sendmail;
use crate::daemon::{StartError, certificates, deliveries, devices, drain, renewal, watch_files};
use crate::doctor;
use crate::session::ListenerState;
use crate::session::journal::Journal;
use crate::system::confine::Confinement;
#[cfg(unix)]
use crate::system::local_socket::LocalSocket;
use crate::system::low_priority;
use crate::system::suspend;
use gatepost_config::{Config, Files};
use gatepost_core::clock::Clock;
use gatepost_core::escape::escaped;
use gatepost_core::reloadable::Reloadable;
use gatepost_core::server_name::ServerName;
use gatepost_core::system_error::Plain;
use gatepost_store::{SealedWriter, Store};
use gatepost_telemetry::audit::Audit;

/// A service that is bound, but does not serve yet.
pub struct App {
    running: Arc<Running>,
    admin: admin::Bound,
    #[cfg(unix)]
    sendmail: Option<LocalSocket>,
}

impl App {
    /// Opens the store that the configuration names, and continues as [`App::with_store`].
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn bind(config: Config, inherited: &mut Inherited) -> Result<Self, StartError> {
        let store = gatepost_store::open(&config.state).await?;
        Self::with_sockets(config, store, inherited).await
    }

    /// Binds every listener and prepares what logins need, with the sign-ins and device passwords
    /// of `store`. Nothing is fetched yet.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn with_store(config: Config, store: Arc<dyn Store>) -> Result<Self, StartError> {
        Self::with_sockets(config, store, &mut Inherited::default()).await
    }

    /// Like [`App::with_store`], with sockets that are already open for some of the listeners.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn with_sockets(
        config: Config,
        store: Arc<dyn Store>,
        inherited: &mut Inherited,
    ) -> Result<Self, StartError> {
        refuse_unproved(&config, &*store).await?;
        if let Some(spool) = &config.spool
            && let Err(error) = SealedWriter::prepare(spool).await
        {
            tracing::warn!(
                directory = %spool.display(),
                "large messages for Microsoft Graph are refused until their directory can be used: {}",
                Plain(&error)
            );
        }
        let config = Arc::new(config);
        let server_name = server_name(&config);
        let audit = config.log.audit.as_ref().map(|to| Audit::start(to, Clock::system())).transpose()?;
        let journal = Journal::new(audit);
        if config.devices.is_some() {
            journal.devices().begin();
        }
        let ways = Outbound::new(&config, &server_name, journal.metrics());
        let process = ProcessState::new(&config, &ways, store, journal, server_name);
        let admin = admin::Bound::new(&config.admin, inherited).map_err(|error| StartError::Admin(error.into()))?;
        process.open_queue(&config).await?;
        let generation = Generation::new(config, &process, Some(ways), None)?;
        let stopping = CancellationToken::new();
        let listeners = Listeners::new(inherited, process.draining.clone(), stopping.clone());
        listeners.swap(listeners.prepare(&generation.services, inherited)?, &generation.shared);
        let running = Running {
            process,
            changed: watch::channel(generation.number).0,
            generation: Reloadable::new(generation),
            listeners,
            stopping,
            superseded: CancellationToken::new(),
            is_last: CancellationToken::new(),
            phase: watch::channel(Phase::Starting).0,
            started_at: Clock::system().unix_time(),
            source: OnceLock::new(),
            confinement: OnceLock::new(),
            files: Reloadable::default(),
            reloading: Arc::default(),
            #[cfg(unix)]
            taking_over: Arc::new(tokio::sync::Semaphore::new(1)),
            last_reload: Mutex::default(),
            learning: Mutex::default(),
            delivered: CancellationToken::new(),
            admin_sockets: admin.sockets().to_vec(),
        };
        #[cfg(unix)]
        let sendmail = running.generation.get().config.sendmail.as_ref().map(sendmail::open).transpose()?;
        Ok(Self {
            running: Arc::new(running),
            admin,
            #[cfg(unix)]
            sendmail,
        })
    }

    /// Sets where reloads read the configuration: from `source`. `files` is what it was read from
    /// at the start.
    #[must_use]
    pub fn with_source(self, source: Source, files: Files) -> Self {
        // It cannot be set yet, because the service was just created.
        let _ = self.running.source.set(source);
        self.running.files.set(files);
        self
    }

    /// Notes the confinement of the process, which reloads must respect.
    #[must_use]
    pub fn within(self, confinement: Confinement) -> Self {
        // Not set yet either.
        let _ = self.running.confinement.set(confinement);
        self
    }

    /// Returns name, protocol and address of every listening socket, in the order of the
    /// configuration.
    pub fn addresses(&self) -> Vec<(Arc<ListenerState>, SocketAddr)> {
        self.running.listeners.addresses()
    }

    /// Returns the addresses of the status page.
    pub fn admin_addresses(&self) -> Vec<SocketAddr> {
        self.admin.addresses()
    }

    /// Returns the handle that ends [`App::serve`].
    pub fn stop(&self) -> Stop {
        self.running.stop()
    }

    /// Returns the handle that controls the service.
    pub fn control(&self) -> Control {
        Control(Arc::clone(&self.running))
    }

    /// Treats loopback like any other source. No configuration can do so; it is for tests, whose
    /// clients all come from there.
    #[doc(hidden)]
    pub fn penalise_loopback(&self) {
        self.running.process.penalties.include_loopback();
    }

    /// Serves until [`Stop`], then drains. Returns the number of sessions that were cut.
    ///
    /// # Cancel safety
    /// Dropping the future cuts every session.
    pub async fn serve(self) -> usize {
        #[cfg(unix)]
        let socket = self.sendmail;
        let (running, admin) = (self.running, self.admin);
        let _cut_when_dropped = running.stopping.clone().drop_guard();
        // Served until the last session has ended, because an operator may ask what the process
        // waits for. A process that has taken over answers in its place.
        let page = admin.serve(Control(Arc::clone(&running)));
        let superseded = running.superseded.clone();
        let showing = tokio::spawn(async move {
            let _page = page;
            superseded.cancelled().await;
        });
        let upkeep = running.process.authenticator.spawn_upkeep();
        let resuming = tokio::spawn(resume(Arc::clone(&running)));
        let watching = tokio::spawn(watch_files::watch(Arc::clone(&running)));
        let reminding = tokio::spawn(certificates::remind(Arc::clone(&running)));
        let renewing = tokio::spawn(renewal::keep_renewing(Arc::clone(&running)));
        let drained = CancellationToken::new();
        let listing = tokio::spawn(devices::keep(Arc::clone(&running), drained.clone()));
        let delivering = tokio::spawn(deliveries::keep_delivering(Arc::clone(&running)));
        tokio::spawn(doctor::at_start(Arc::clone(&running.process.authenticator)));
        let seeding = Arc::clone(&running);
        tokio::spawn(async move {
            // If it fails, the handshakes fail and report it.
            let _seeded = low_priority::run(gatepost_net::tls::gather_randomness).await;
            seeding.learn(&seeding.generation.get());
        });
        running.listeners.open();
        #[cfg(unix)]
        if let Some(socket) = socket {
            sendmail::accept(&running, socket);
        }
        running.phase.send_replace(Phase::Ready);
        running.process.draining.cancelled().await;
        let cut = drain::drain(&running).await;
        for task in [upkeep, resuming, watching, reminding, renewing, delivering, showing] {
            task.abort();
        }
        devices::finish(listing, &drained).await;
        running.process.authenticator.finish().await;
        cut
    }
}

/// Forgets what was known about the network after each suspend. The clock for tokens continues
/// during a suspend.
async fn resume(running: Arc<Running>) {
    suspend::watch(Clock::system(), |slept| {
        tracing::info!(
            seconds = slept.as_secs(),
            "the machine was suspended. Names are resolved again, and dead sessions end within two minutes"
        );
        running.generation.get().shared.opener.network_changed();
    })
    .await;
}

/// Returns the name for greetings and EHLO.
pub(crate) fn server_name(config: &Config) -> Arc<str> {
    config.server_name.clone().unwrap_or_else(name_of_machine).into_shared()
}

/// Returns the name for greetings and EHLO if the configuration has none.
fn name_of_machine() -> ServerName {
    let machine = machine_name();
    let name = ServerName::of_machine(&machine);
    if name.is_literal() {
        tracing::info!(
            "the name of this machine, `{}`, is not valid in EHLO, so Gatepost uses `{}`. To choose another name, set \
             `server_name`",
            escaped(machine.as_bytes(), 100),
            name.as_str()
        );
    }
    name
}

#[cfg(unix)]
fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn machine_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}
