//! Everything put together from a [`Config`]: bind, serve, drain, stop.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::admin;
use crate::admin::control::{Control, Standing};
use crate::clock::{Clock, UnixTime};
use crate::config::problem::Problems;
use crate::config::{Config, Identity, Listener, ListenerTls, Origin, Serves, Upstream};
use crate::graph::GraphClient;
use crate::login::Gatekeeper;
use crate::net::census::Census;
use crate::net::dial::Dialer;
use crate::net::listen;
use crate::net::penalty::Penalties;
use crate::oauth::endpoint::HttpEndpoint;
use crate::oauth::endpoint::TokenEndpoint;
use crate::session::http::Gateway;
use crate::session::journal::Journal;
use crate::session::places::Places;
use crate::session::submission::SubmissionWays;
use crate::session::upstream::{Opener, Target};
use crate::session::{Service, Serving, Shared, announce, enter, maildrop};
use crate::store::{self, OpenError, Store};
use crate::suspend;
use crate::telemetry::audit::{Audit, AuditError};
use crate::tls::client::UpstreamTrust;
use crate::tls::server::{self, ServerError};

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("listener `{listener}`: listen on {address}: {source}; {}", hint(.source))]
    Bind {
        /// The listener's name.
        listener: Arc<str>,
        /// The address.
        address: SocketAddr,
        /// The system's words.
        source: io::Error,
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
    Admin(#[from] admin::AdminError),
    /// The audit log cannot be written.
    #[error("log.audit: {0}")]
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

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
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
    shared: Arc<Shared>,
    listeners: Vec<(Arc<Service>, TcpListener)>,
    targets: Vec<Arc<Target>>,
    admin: admin::Bound,
    confinement: Option<String>,
    stopping: CancellationToken,
    drain: Duration,
}

/// What the status page is told of the service as a whole.
struct Whole {
    started_at: UnixTime,
    listeners: Vec<(Arc<Service>, SocketAddr)>,
    draining: CancellationToken,
    confinement: Option<String>,
}

impl Control for Whole {
    fn standing(&self) -> Standing {
        Standing {
            started_at: self.started_at,
            draining: self.draining.is_cancelled(),
            generation: 1,
            last_reload: None,
            sandbox: self.confinement.clone(),
        }
    }

    fn listeners(&self) -> Vec<(Arc<Service>, SocketAddr)> {
        self.listeners.clone()
    }
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

impl App {
    /// Opens the store that the configuration names, and goes on as [`App::with_store`].
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        let store = store::open(&config.state).await?;
        Self::with_store(config, store).await
    }

    /// Binds every listener and makes ready what logins will need, with the sign-ins and device passwords of `store`.
    /// Nothing is fetched yet.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn with_store(config: Config, store: Arc<dyn Store>) -> Result<Self, StartError> {
        refuse_unproved(&config, &*store).await?;
        let config = Arc::new(config);
        let limits = config.limits.clone();
        let trust = Arc::new(UpstreamTrust::new(config.trust.clone()));
        let draining = CancellationToken::new();

        let dialer = Arc::new(Dialer::new(Arc::clone(&config), Arc::clone(&trust)));
        let mut targets: HashMap<Upstream, Arc<Target>> = HashMap::new();
        let mut target = |listener: &Listener, upstream: &Upstream| {
            if let Some(target) = targets.get(upstream) {
                return Ok(Arc::clone(target));
            }
            let target = Target::new(upstream.clone()).map_err(|_| StartError::UpstreamName {
                listener: Arc::clone(&listener.name),
                name: upstream.name.clone(),
            })?;
            let target = Arc::new(target);
            targets.insert(upstream.clone(), Arc::clone(&target));
            Ok::<_, StartError>(target)
        };
        let mut graphs: HashMap<Origin, Arc<GraphClient>> = HashMap::new();
        let mut graph = |origin: &Origin| {
            let make = || Arc::new(GraphClient::new(origin.clone(), Arc::clone(&dialer), Arc::clone(&trust), &limits));
            Arc::clone(graphs.entry(origin.clone()).or_insert_with(make))
        };
        let mut identities: Vec<(Identity, Arc<ServerConfig>)> = Vec::new();
        let mut listeners = Vec::new();
        for listener in &config.listeners {
            let name = || Arc::clone(&listener.name);
            let serving = match &listener.serves {
                Serves::Relay(upstream) => Serving::Relay(target(listener, upstream)?),
                Serves::Submission(config) => {
                    let smtp = config.smtp.as_ref().map(|upstream| target(listener, upstream)).transpose()?;
                    Serving::Submission(Box::new(SubmissionWays::new(
                        config.clone(),
                        smtp,
                        graph(&config.graph),
                        &limits,
                    )))
                }
                Serves::Maildrop(origin) => Serving::Maildrop(graph(origin)),
                Serves::Http(http) => {
                    let connect = limits.connect.max(limits.connect_via_proxy);
                    let (dialer, trust) = (Arc::clone(&dialer), Arc::clone(&trust));
                    Serving::Http(Arc::new(Gateway::new(http.clone(), listener, dialer, trust, connect)))
                }
            };
            let tls = match &listener.tls {
                ListenerTls::None => None,
                ListenerTls::StartTls(identity) | ListenerTls::Implicit(identity) => {
                    let known = identities.iter().find(|(known, _)| known == identity).map(|(_, tls)| Arc::clone(tls));
                    let tls = match known {
                        Some(tls) => tls,
                        None => {
                            let tls = server::config(identity)
                                .map_err(|source| StartError::Tls { listener: name(), source })?;
                            identities.push((identity.clone(), Arc::clone(&tls)));
                            tls
                        }
                    };
                    Some(tls)
                }
            };
            let service = Arc::new(Service { listener: listener.clone(), tls, serving, full: AtomicU64::new(0) });
            for &address in &listener.bind {
                let socket =
                    listen::bind(address).map_err(|source| StartError::Bind { listener: name(), address, source })?;
                listeners.push((Arc::clone(&service), socket));
            }
        }

        let admin = admin::Bound::new(&config.admin)?;
        let server_name: Arc<str> = host_name().into();
        let audit = config.log.audit.as_ref().map(|to| Audit::start(to, Clock::system())).transpose()?;
        let journal = Journal::new(audit);
        let metrics = journal.metrics();
        let opener = Opener::new(Arc::clone(&dialer), Arc::clone(&trust), &limits, Arc::clone(&server_name))
            .with_metrics(Arc::clone(metrics));
        let endpoint: Arc<dyn TokenEndpoint> = Arc::new(HttpEndpoint::new(dialer, trust, limits.token_request));
        let shared = Arc::new(Shared {
            gatekeeper: Gatekeeper::with_metrics(
                Arc::clone(&config),
                endpoint,
                store,
                Clock::system(),
                Arc::clone(metrics),
            ),
            opener,
            census: Census::new(&limits),
            penalties: Penalties::new(&limits.penalties, Clock::system()),
            places: Places::new(&limits),
            maildrops: maildrop::locks(),
            journal,
            delays: Semaphore::new(limits.delayed_failures),
            draining: draining.clone(),
            server_name,
            limits: limits.clone(),
        });
        Ok(Self {
            shared,
            listeners,
            targets: targets.into_values().collect(),
            admin,
            confinement: None,
            stopping: CancellationToken::new(),
            drain: limits.drain,
        })
    }

    /// Name, protocol and address of every listening socket, in the order of the configuration.
    pub fn addresses(&self) -> Vec<(Arc<Service>, SocketAddr)> {
        let address = |socket: &TcpListener| socket.local_addr().ok();
        self.listeners.iter().filter_map(|(service, socket)| Some((Arc::clone(service), address(socket)?))).collect()
    }

    /// What the process has given up, for the status: a sentence for each kind.
    #[must_use]
    pub fn confined(self, report: &[String]) -> Self {
        Self { confinement: (!report.is_empty()).then(|| report.join("; ")), ..self }
    }

    /// Where the status page is.
    pub fn admin_addresses(&self) -> Vec<SocketAddr> {
        self.admin.addresses()
    }

    /// The handle that ends [`App::serve`].
    pub fn stop(&self) -> Stop {
        Stop { draining: self.shared.draining.clone(), stopping: self.stopping.clone() }
    }

    /// Treats loopback as any other source, which no configuration can ask for: the clients of tests are all there.
    #[doc(hidden)]
    pub fn penalise_loopback(&self) {
        self.shared.penalties.include_loopback();
    }

    /// Serves until [`Stop`], then drains. The result is the number of sessions that were cut.
    ///
    /// # Cancel safety
    /// Dropping the future cuts every session.
    pub async fn serve(self) -> usize {
        let whole = Whole {
            started_at: Clock::system().unix_time(),
            listeners: self.addresses(),
            draining: self.shared.draining.clone(),
            confinement: self.confinement.clone(),
        };
        let Self { shared, listeners, targets, admin, stopping, drain, .. } = self;
        // Until the last session has ended: somebody may want to know for what the process waits.
        let _admin = admin.serve(Arc::clone(&shared), Arc::new(whole));
        let upkeep = shared.gatekeeper.spawn_upkeep();
        let watching = tokio::spawn(resume(Arc::clone(&shared)));
        let of_learners = Arc::clone(&shared);
        tokio::spawn(async move {
            // Should it fail, the handshakes fail, and say so.
            let _seeded = tokio::task::spawn_blocking(crate::tls::gather_randomness).await;
            for target in targets {
                tokio::spawn(announce::keep_learning(Arc::clone(&of_learners), target));
            }
        });
        let mut accepting = JoinSet::new();
        for (service, socket) in listeners {
            accepting.spawn(accept(Arc::clone(&shared), service, socket));
        }
        let mut sessions = Vec::new();
        while let Some(of_listener) = accepting.join_next().await {
            sessions.extend(of_listener);
        }
        let cut = drain_sessions(&mut sessions, &stopping, drain).await;
        for of_listener in &mut sessions {
            of_listener.shutdown().await;
        }
        upkeep.abort();
        watching.abort();
        shared.gatekeeper.finish().await;
        cut
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
            config.unproved_accounts(&passwords).map_or(Ok(()), |problems| Err(StartError::Unproved(problems)))
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
async fn resume(shared: Arc<Shared>) {
    suspend::watch(Clock::system(), |slept| {
        tracing::info!(
            seconds = slept.as_secs(),
            "the machine was suspended; names are resolved anew, and dead sessions end within two minutes"
        );
        shared.opener.network_changed();
    })
    .await;
}

/// Takes connections until the service drains; the result are the sessions that still run. Nothing that one connection
/// does ends this loop.
async fn accept(shared: Arc<Shared>, service: Arc<Service>, socket: TcpListener) -> JoinSet<()> {
    let mut sessions = JoinSet::new();
    let mut back_off = Duration::from_millis(5);
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            Some(_ended) = sessions.join_next() => continue,
            () = shared.draining.cancelled() => return sessions,
        };
        let (connection, peer) = match accepted {
            Ok(accepted) => accepted,
            // The peer left while it waited in the backlog.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => {
                // Out of descriptors or memory: waiting helps, a busy loop does not.
                tracing::warn!(
                    listener = &*service.listener.name,
                    "cannot accept connections for now: {error}; whoever runs Gatepost: raise the limit of open files if this lasts"
                );
                sleep(back_off).await;
                back_off = (back_off * 2).min(Duration::from_secs(1));
                continue;
            }
        };
        back_off = Duration::from_millis(5);
        if let Some(place) = service.admit(&shared, peer) {
            sessions.spawn(enter::serve(Arc::clone(&shared), Arc::clone(&service), connection, peer, place));
        }
    }
}

/// Waits until the sessions have ended, at most `drain`; the result is how many have not.
async fn drain_sessions(sessions: &mut [JoinSet<()>], stopping: &CancellationToken, drain: Duration) -> usize {
    let still = running(sessions);
    if still == 0 {
        return 0;
    }
    tracing::info!(
        sessions = still,
        "stopping: no new connections; sessions may end by themselves for {drain:?} (a second signal stops at once)"
    );
    let wait = async {
        let mut every = tokio::time::interval(Duration::from_secs(10));
        every.tick().await;
        for at in 0..sessions.len() {
            loop {
                let ended = async { sessions.get_mut(at)?.join_next().await };
                tokio::select! {
                    ended = ended => if ended.is_none() { break },
                    _ = every.tick() => tracing::info!(sessions = running(sessions), "still draining"),
                }
            }
        }
    };
    let over = tokio::select! {
        finished = timeout(drain, wait) => finished.err().map(|_| "`limits.drain` is over"),
        () = stopping.cancelled() => Some("told to stop at once"),
    };
    let cut = running(sessions);
    if let Some(why) = over {
        tracing::warn!(sessions = cut, "{why}: the remaining sessions are cut");
    }
    cut
}

fn running(sessions: &mut [JoinSet<()>]) -> usize {
    let of_listener = |sessions: &mut JoinSet<()>| {
        while sessions.try_join_next().is_some() {}
        sessions.len()
    };
    sessions.iter_mut().map(of_listener).sum()
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
