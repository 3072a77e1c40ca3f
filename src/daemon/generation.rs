//! Builds what one configuration needs: listeners ready to serve, and the outbound connections. A
//! reload builds the next generation from the one before and takes over what is unchanged. So what
//! was learned about names, addresses, proxies and servers stays known.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::StartError;
use crate::graph::GraphClient;
use crate::login::Authenticator;
use crate::session::drain::DrainSchedule;
use crate::session::http::Gateway;
use crate::session::journal::Journal;
use crate::session::mailbox_memory::MailboxMemory;
use crate::session::mailbox_slots::MailboxLimiter;
use crate::session::submission::SubmissionBackend;
use crate::session::trial::Trials;
use crate::session::upstream::{MailServers, Opener, Target};
use crate::session::{Backend, ListenerState, SessionContext, maildrop};
use gatepost_config::{Config, Identity, Listener, ListenerBackend, ListenerTls, Origin, OtherServer, State, Upstream};
use gatepost_core::clock::Clock;
use gatepost_net::connection_limit::ConnectionLimiter;
use gatepost_net::dial::Dialer;
use gatepost_net::penalty::Penalties;
use gatepost_net::tls::client::UpstreamTrust;
use gatepost_net::tls::server;
use gatepost_oauth::endpoint::{HttpEndpoint, TokenEndpoint};
use gatepost_store::Store;
use gatepost_store::queue::Queue;
use gatepost_telemetry::metrics::Metrics;

/// The state that outlives every configuration: counts, budgets, penalties, and the memory of
/// logins.
pub(crate) struct ProcessState {
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) connections: Arc<ConnectionLimiter>,
    pub(crate) penalties: Arc<Penalties>,
    pub(crate) places: Arc<MailboxLimiter>,
    pub(crate) maildrops: Arc<MailboxLimiter>,
    pub(crate) memory: Arc<MailboxMemory>,
    pub(crate) trials: Arc<Trials>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) draining: CancellationToken,
    pub(crate) drain: Arc<DrainSchedule>,
    pub(crate) server_name: Arc<str>,
    /// The queue, once it is open.
    pub(crate) queue: OnceCell<Queue>,
}

impl ProcessState {
    pub(crate) fn new(
        config: &Arc<Config>,
        ways: &Outbound,
        store: Arc<dyn Store>,
        journal: Arc<Journal>,
        server_name: Arc<str>,
    ) -> Self {
        let (limits, metrics) = (&config.limits, Arc::clone(journal.metrics()));
        let endpoint = Arc::clone(&ways.endpoint) as Arc<dyn TokenEndpoint>;
        let (config, clock) = (Arc::clone(config), Clock::system());
        Self {
            authenticator: Authenticator::with_metrics(config, endpoint, Arc::clone(&store), clock, metrics),
            store,
            connections: ConnectionLimiter::new(limits),
            penalties: Penalties::new(&limits.penalties, Clock::system()),
            places: MailboxLimiter::new(limits),
            maildrops: maildrop::locks(),
            memory: Arc::new(MailboxMemory::new(Clock::system())),
            trials: Arc::default(),
            journal,
            draining: CancellationToken::new(),
            drain: Arc::default(),
            server_name,
            queue: OnceCell::new(),
        }
    }

    /// Opens the queue, if `config` has listeners with one, or one has messages left.
    pub(crate) async fn open_queue(&self, config: &Config) -> Result<(), StartError> {
        let Some(queue) = &config.queue else { return Ok(()) };
        let (State::Sqlite { key, .. } | State::Redis { key, .. }) = &config.state else { return Ok(()) };
        if config.has_queue() || Queue::exists(&queue.directory) {
            let open = || Queue::open(&queue.directory, queue.size, key, Clock::system());
            self.queue.get_or_try_init(open).await.map_err(StartError::Queue)?.set_size(queue.size);
        }
        Ok(())
    }

    /// Applies the limits of another generation from now on.
    pub(super) fn adjust(&self, generation: &Generation) {
        let limits = &generation.config.limits;
        self.connections.adjust(limits);
        self.penalties.adjust(&limits.penalties);
        self.places.adjust(limits);
        let endpoint = Arc::clone(&generation.ways.endpoint) as Arc<dyn TokenEndpoint>;
        self.authenticator.reconfigure(Arc::clone(&generation.config), endpoint);
    }
}

/// The connections to Microsoft, with what was learned about them. They stay while forward proxy,
/// trust and limits are unchanged.
pub(crate) struct Outbound {
    pub(crate) dialer: Arc<Dialer>,
    pub(crate) trust: Arc<UpstreamTrust>,
    opener: Arc<Opener>,
    pub(crate) endpoint: Arc<HttpEndpoint>,
}

impl Outbound {
    pub(crate) fn new(config: &Arc<Config>, server_name: &Arc<str>, metrics: &Arc<Metrics>) -> Arc<Self> {
        let limits = &config.limits;
        let trust = Arc::new(UpstreamTrust::new(config.trust.clone()));
        let dialer = Arc::new(Dialer::new(Arc::clone(config), Arc::clone(&trust)));
        let opener = Opener::new(Arc::clone(&dialer), Arc::clone(&trust), limits, Arc::clone(server_name))
            .with_metrics(Arc::clone(metrics));
        let endpoint = HttpEndpoint::new(Arc::clone(&dialer), Arc::clone(&trust), limits.token_request);
        Arc::new(Self { dialer, trust, opener: Arc::new(opener), endpoint: Arc::new(endpoint) })
    }
}

/// A certificate that is presented to clients.
struct ServerCertificate {
    identity: Identity,
    /// A different chain makes it a different certificate; its key fits it.
    chain: Vec<CertificateDer<'static>>,
    tls: Arc<ServerConfig>,
}

/// One configuration in use.
pub(crate) struct Generation {
    /// Its number, counted from 1.
    pub(crate) number: u64,
    pub(crate) config: Arc<Config>,
    pub(crate) shared: Arc<SessionContext>,
    /// In the order of the configuration.
    pub(crate) services: Vec<Arc<ListenerState>>,
    pub(crate) targets: HashMap<Upstream, Arc<Target>>,
    pub(crate) ways: Arc<Outbound>,
    graphs: HashMap<Origin, Arc<GraphClient>>,
    presented: Vec<Arc<ServerCertificate>>,
}

impl Generation {
    /// Builds the generation of `config`: the first one, or the one after `before`. It changes and
    /// opens nothing, but reads the certificates of listeners.
    pub(crate) fn new(
        config: Arc<Config>,
        process: &ProcessState,
        ways: Option<Arc<Outbound>>,
        before: Option<&Self>,
    ) -> Result<Self, StartError> {
        let same_ways = |former: &&Self| {
            let (before, after) = (&former.config, &config);
            before.forward_proxy == after.forward_proxy && before.trust == after.trust && before.limits == after.limits
        };
        let kept = before.filter(same_ways);
        let ways = ways
            .or_else(|| kept.map(|kept| Arc::clone(&kept.ways)))
            .unwrap_or_else(|| Outbound::new(&config, &process.server_name, process.journal.metrics()));
        let mut assembly = Assembly {
            config: &config,
            queue: process.queue.get(),
            ways: &ways,
            kept,
            before,
            targets: HashMap::new(),
            graphs: HashMap::new(),
            presented: Vec::new(),
        };
        let services = config.listeners.iter().map(|listener| assembly.service(listener)).collect::<Result<_, _>>()?;
        let Assembly { targets, graphs, presented, .. } = assembly;
        let delays = match kept {
            Some(kept) => Arc::clone(&kept.shared.delays),
            None => Arc::new(Semaphore::new(config.limits.delayed_failures)),
        };
        let shared = Arc::new(SessionContext {
            authenticator: Arc::clone(&process.authenticator),
            opener: Arc::clone(&ways.opener),
            limits: config.limits.clone(),
            connections: Arc::clone(&process.connections),
            penalties: Arc::clone(&process.penalties),
            places: Arc::clone(&process.places),
            maildrops: Arc::clone(&process.maildrops),
            memory: Arc::clone(&process.memory),
            trials: Arc::clone(&process.trials),
            delays,
            journal: Arc::clone(&process.journal),
            draining: process.draining.clone(),
            drain: Arc::clone(&process.drain),
            server_name: Arc::clone(&process.server_name),
        });
        let number = before.map_or(1, |before| before.number + 1);
        Ok(Self { number, config, shared, services, targets, ways, graphs, presented })
    }

    /// Waits until the drafts of broken-off messages are removed, at most this long.
    pub(super) async fn removed_drafts(&self, most: Duration) {
        let end = Instant::now() + most;
        for graph in self.graphs.values() {
            graph.removed_drafts(end.saturating_duration_since(Instant::now())).await;
        }
    }

    /// Returns what differs from `before`, by the names of sections; empty when nothing does.
    pub(super) fn changes(&self, before: &Self) -> Vec<&'static str> {
        let (was, is) = (&before.config, &self.config);
        let same_certificates = self.presented.len() == before.presented.len()
            && self.presented.iter().zip(&before.presented).all(|(is, was)| Arc::ptr_eq(is, was));
        [
            ("listeners", was.listeners == is.listeners),
            ("certificates", same_certificates),
            ("accounts", was.accounts == is.accounts),
            ("sendmail", was.sendmail == is.sendmail),
            ("forward_proxy", was.forward_proxy == is.forward_proxy),
            ("trust", was.trust == is.trust),
            ("queue", was.queue == is.queue),
            ("limits", was.limits == is.limits),
            ("log", was.log == is.log),
        ]
        .into_iter()
        .filter_map(|(section, same)| (!same).then_some(section))
        .collect()
    }
}

/// A generation under construction.
struct Assembly<'a> {
    config: &'a Arc<Config>,
    queue: Option<&'a Queue>,
    ways: &'a Arc<Outbound>,
    /// The generation before, if its outbound connections are kept.
    kept: Option<&'a Generation>,
    before: Option<&'a Generation>,
    targets: HashMap<Upstream, Arc<Target>>,
    graphs: HashMap<Origin, Arc<GraphClient>>,
    presented: Vec<Arc<ServerCertificate>>,
}

impl Assembly<'_> {
    fn service(&mut self, listener: &Listener) -> Result<Arc<ListenerState>, StartError> {
        let tls = self.tls(listener)?;
        // Built even if the former service is kept, because it records which servers are still
        // needed.
        let serving = self.serving(listener)?;
        let same = |former: &&Arc<ListenerState>| {
            let same_tls = match (&former.tls, &tls) {
                (Some(was), Some(is)) => Arc::ptr_eq(was, is),
                (None, None) => true,
                _ => false,
            };
            same_tls && former.listener == *listener
        };
        // An unchanged service keeps what it has learned.
        let former = self.kept.and_then(|kept| kept.services.iter().find(same));
        Ok(former.map_or_else(
            || {
                Arc::new(ListenerState {
                    listener: listener.clone(),
                    tls,
                    serving,
                    full: AtomicU64::new(0),
                    headerless: AtomicBool::new(false),
                })
            },
            Arc::clone,
        ))
    }

    fn serving(&mut self, listener: &Listener) -> Result<Backend, StartError> {
        match &listener.serves {
            ListenerBackend::Relay(upstream) => {
                self.mail_servers(listener, upstream).map(|servers| Backend::Relay(Arc::new(servers)))
            }
            ListenerBackend::Submission(config) => {
                let smtp = config.smtp.as_ref().map(|upstream| self.mail_servers(listener, upstream)).transpose()?;
                let smtp = smtp.map(Arc::new);
                let graph = self.graph(&config.graph);
                let ways = SubmissionBackend::new(
                    config.clone(),
                    smtp,
                    graph,
                    &self.config.limits,
                    self.config.spool.as_deref(),
                );
                let queue = self.queue.filter(|_| config.queue).cloned();
                Ok(Backend::Submission(Arc::new(ways.with_queue(queue))))
            }
            ListenerBackend::Maildrop(origin) => Ok(Backend::Maildrop(self.graph(origin))),
            ListenerBackend::Http(http) => {
                let limits = &self.config.limits;
                let connect = limits.connect.max(limits.connect_via_proxy);
                let (dialer, trust) = (Arc::clone(&self.ways.dialer), Arc::clone(&self.ways.trust));
                Ok(Backend::Http(Arc::new(Gateway::new(http.clone(), listener, dialer, trust, connect))))
            }
        }
    }

    fn mail_servers(&mut self, listener: &Listener, own: &Upstream) -> Result<MailServers, StartError> {
        let own = self.target(listener, own)?;
        let other = |other: &OtherServer| Ok((other.of.clone(), self.target(listener, &other.upstream)?));
        let others = listener.others.iter().map(other).collect::<Result<_, StartError>>()?;
        Ok(MailServers::new(own, others))
    }

    fn target(&mut self, listener: &Listener, upstream: &Upstream) -> Result<Arc<Target>, StartError> {
        let known = self.targets.get(upstream).or_else(|| self.kept?.targets.get(upstream));
        let target = match known {
            Some(target) => Arc::clone(target),
            None => {
                let target = Target::new(upstream.clone()).map_err(|_| StartError::UpstreamName {
                    listener: Arc::clone(&listener.name),
                    name: upstream.name.clone(),
                })?;
                // What the same server announced before is valid until it is asked again.
                if let Some(former) = self.before.and_then(|before| before.targets.get(upstream)) {
                    target.announce((*former.announced()).clone());
                }
                Arc::new(target)
            }
        };
        self.targets.insert(upstream.clone(), Arc::clone(&target));
        Ok(target)
    }

    fn graph(&mut self, origin: &Origin) -> Arc<GraphClient> {
        let known = self.graphs.get(origin).or_else(|| self.kept?.graphs.get(origin));
        let graph = known.cloned().unwrap_or_else(|| {
            let (dialer, trust) = (Arc::clone(&self.ways.dialer), Arc::clone(&self.ways.trust));
            Arc::new(GraphClient::new(origin.clone(), dialer, trust, &self.config.limits))
        });
        self.graphs.insert(origin.clone(), Arc::clone(&graph));
        graph
    }

    /// Returns the certificate of a listener as its files are now. An unchanged one keeps its
    /// session tickets.
    fn tls(&mut self, listener: &Listener) -> Result<Option<Arc<ServerConfig>>, StartError> {
        let identity = match &listener.tls {
            ListenerTls::None => return Ok(None),
            ListenerTls::StartTls(identity) | ListenerTls::Implicit(identity) => identity,
        };
        let speaking =
            |presented: &ServerCertificate| server::speaking(&presented.tls, server::names(listener.protocol));
        if let Some(known) = self.presented.iter().find(|known| known.identity == *identity) {
            return Ok(Some(speaking(known)));
        }
        let of_listener = |source| StartError::Tls { listener: Arc::clone(&listener.name), source };
        let certified = server::load(identity).map_err(of_listener)?;
        let former = self.before.into_iter().flat_map(|before| &before.presented);
        let same = |was: &&Arc<ServerCertificate>| was.identity == *identity && was.chain == certified.cert;
        let presented = match former.into_iter().find(same) {
            Some(former) => Arc::clone(former),
            None => {
                let chain = certified.cert.clone();
                let tls = server::presenting(certified).map_err(|error| of_listener(error.into()))?;
                Arc::new(ServerCertificate { identity: identity.clone(), chain, tls })
            }
        };
        self.presented.push(Arc::clone(&presented));
        Ok(Some(speaking(&presented)))
    }
}
