//! Connecting through a forward proxy: choosing one, connecting to it, and opening a tunnel.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::direct::DirectDialer;
use super::error::{DialError, timed_out};
#[cfg(feature = "pac")]
use super::pac::{Pac, PacError, Way};
use super::socket::Socket;
use crate::credential_gate::CredentialGate;
use crate::proxy_authenticator::ProxyAuthenticator;
use crate::tls::client::UpstreamTrust;
use gatepost_config::{ForwardProxy, ProxyChoice, ProxyScheme, ProxyServer};
use gatepost_core::failure::chain;
use gatepost_core::jitter;
use gatepost_proto::tunnel::connect::{Connect, ConnectError, ConnectEvent, Scheme};
use gatepost_proto::tunnel::credentials::ProxyAuthentication;
use gatepost_proto::tunnel::socks::{Socks, SocksEvent};

/// How long other proxies are preferred to one that failed. Up to a quarter is added at random, so
/// that not every replica returns to it at once.
const AVOIDED: Duration = Duration::from_secs(30);

/// Most proxies remembered, because a script can name any number.
const MOST_KNOWN: usize = 64;

/// Size of a read. Most replies of a proxy come in one piece.
const READ_OCTETS: usize = 2_048;

/// The proxies, and what is known about them.
pub(super) struct ProxyPool {
    trust: Arc<UpstreamTrust>,
    known: Mutex<HashMap<ProxyServer, Arc<ProxyState>>>,
    #[cfg(feature = "pac")]
    pac: Pac,
}

/// One proxy.
struct ProxyState {
    server: ProxyServer,
    /// One configuration for all connections, so that TLS sessions are resumed.
    tls: OnceCell<Arc<ClientConfig>>,
    /// The proxy failed. Until this time, the others are tried first.
    avoided_until: Mutex<Option<Instant>>,
    /// What is known about the credentials at this proxy.
    credentials: CredentialGate,
}

impl ProxyPool {
    pub(super) fn new(trust: Arc<UpstreamTrust>) -> Self {
        Self {
            #[cfg(feature = "pac")]
            pac: Pac::new(Arc::clone(&trust)),
            trust,
            known: Mutex::default(),
        }
    }

    /// Those of `servers` that are not avoided, then the others, so that all are tried if all are
    /// avoided.
    fn in_order<'a>(&self, servers: impl IntoIterator<Item = &'a ProxyServer>) -> Vec<Arc<ProxyState>> {
        let mut known = self.known.lock();
        let mut gateways = Vec::new();
        for server in servers {
            let gateway = known.get(server).map_or_else(|| Arc::new(ProxyState::new(server)), Arc::clone);
            // Known proxies are not removed, because what is known about the credentials must not
            // be forgotten.
            if known.len() < MOST_KNOWN {
                known.entry(server.clone()).or_insert_with(|| Arc::clone(&gateway));
            }
            gateways.push(gateway);
        }
        let now = Instant::now();
        gateways.sort_by_key(|gateway| gateway.is_avoided(now));
        gateways
    }

    /// What is tried for `host:port`, in order.
    #[cfg_attr(
        not(feature = "pac"),
        expect(clippy::unused_async, unused_variables, reason = "only a script must be asked")
    )]
    async fn candidates(
        &self,
        proxy: &ForwardProxy,
        host: &str,
        port: u16,
        deadline: Instant,
    ) -> Result<Candidates, DialError> {
        match &proxy.choice {
            ProxyChoice::Servers(servers) => Ok(Candidates { gateways: self.in_order(servers), direct: false }),
            #[cfg(feature = "pac")]
            ProxyChoice::Script { location, .. } => {
                let ways = timeout_at(deadline, self.pac.ways(location, host, port)).await;
                let ways = ways.unwrap_or(Err(PacError::TimedOut))?;
                // Entries after `DIRECT` would never be tried.
                let servers = ways.iter().map_while(|way| match way {
                    Way::Proxy(server) => Some(server),
                    Way::Direct => None,
                });
                Ok(Candidates { gateways: self.in_order(servers), direct: ways.contains(&Way::Direct) })
            }
        }
    }

    /// Opens a tunnel to `host:port` through the first proxy that opens one, and returns it with
    /// the octets received through it so far. If a script allows it, a direct connection is tried
    /// last. While other candidates remain, each gets an equal share of the time left.
    pub(super) async fn via_proxy(
        &self,
        direct: &DirectDialer,
        proxy: &ForwardProxy,
        host: &str,
        port: u16,
        deadline: Instant,
    ) -> Result<(Socket, Vec<u8>), DialError> {
        let Candidates { gateways: in_order, direct: direct_last } =
            self.candidates(proxy, host, port, deadline).await?;
        let (mut left, several) = (in_order.len() + usize::from(direct_last), in_order.len() > 1 || direct_last);
        let mut outcome = Err(DialError::Resolve { host: host.to_owned(), source: timed_out() });
        for gateway in in_order {
            let now = Instant::now();
            let share = deadline.saturating_duration_since(now) / u32::try_from(left).unwrap_or(u32::MAX);
            left -= 1;
            let authentication = authentication_for(proxy, &gateway.server);
            let tunnel = Tunnel { direct, trust: &self.trust, gateway: &gateway, authentication, host, port };
            outcome = tunnel.open(now + share).await;
            let alive = !outcome.as_ref().is_err_and(DialError::is_dead_proxy);
            if gateway.remember(alive) && several {
                match &outcome {
                    Err(error) if !alive => {
                        tracing::warn!(proxy = %gateway.server, error = chain(error), "proxy avoided for a while");
                    }
                    _ => tracing::info!(proxy = %gateway.server, "proxy is back"),
                }
            }
            if !outcome.as_ref().is_err_and(DialError::another_proxy_may_help) {
                return outcome;
            }
        }
        if direct_last {
            return Ok((direct.direct(host, port, deadline).await?.into(), Vec::new()));
        }
        outcome
    }
}

/// What is tried for one destination.
struct Candidates {
    gateways: Vec<Arc<ProxyState>>,
    /// A direct connection is tried last.
    direct: bool,
}

impl ProxyState {
    fn new(server: &ProxyServer) -> Self {
        Self {
            server: server.clone(),
            tls: OnceCell::new(),
            avoided_until: Mutex::default(),
            credentials: CredentialGate::default(),
        }
    }

    fn is_avoided(&self, now: Instant) -> bool {
        self.avoided_until.lock().is_some_and(|until| now < until)
    }

    /// Notes whether the proxy works. True if that has changed.
    fn remember(&self, alive: bool) -> bool {
        let quarter = u64::try_from(AVOIDED.as_millis() / 4).unwrap_or(u64::MAX);
        let until = Instant::now() + AVOIDED + Duration::from_millis(jitter::random() % quarter);
        let mut avoided = self.avoided_until.lock();
        let was_alive = avoided.is_none();
        *avoided = (!alive).then_some(until);
        was_alive != alive
    }
}

impl DialError {
    /// The proxy does not work, whatever destination it is asked for.
    fn is_dead_proxy(&self) -> bool {
        matches!(self, Self::ProxyUnreachable { .. } | Self::ProxyTls { .. } | Self::ProxyBroke { .. })
    }

    /// Whether another proxy may succeed. After a refusal, the next proxy is not asked, least of
    /// all with a password that may be wrong.
    fn another_proxy_may_help(&self) -> bool {
        match self {
            Self::Proxy(error) => !error.permanent(),
            Self::Socks(error) => !error.permanent(),
            _ => self.is_dead_proxy(),
        }
    }
}

/// The credentials that may be sent to this proxy.
fn authentication_for<'a>(proxy: &'a ForwardProxy, server: &ProxyServer) -> &'a ProxyAuthentication {
    let may_know = match &proxy.choice {
        ProxyChoice::Servers(servers) => servers.contains(server),
        #[cfg(feature = "pac")]
        ProxyChoice::Script { authenticate_to, .. } => authenticate_to.lists(&server.host, server.port),
    };
    proxy.authentication.as_ref().filter(|_| may_know).unwrap_or(&ProxyAuthentication::None)
}

/// A tunnel to be opened.
struct Tunnel<'a> {
    direct: &'a DirectDialer,
    trust: &'a UpstreamTrust,
    gateway: &'a ProxyState,
    authentication: &'a ProxyAuthentication,
    host: &'a str,
    port: u16,
}

impl Tunnel<'_> {
    async fn open(&self, deadline: Instant) -> Result<(Socket, Vec<u8>), DialError> {
        let opened = async {
            match self.gateway.server.scheme {
                ProxyScheme::Http | ProxyScheme::Https => self.connect(deadline).await,
                ProxyScheme::Socks5h => self.socks(deadline).await,
            }
        };
        timeout_at(deadline, opened).await.unwrap_or_else(|_| Err(self.broke(timed_out())))
    }

    fn broke(&self, source: io::Error) -> DialError {
        let target = format!("{}:{}", self.host, self.port);
        DialError::ProxyBroke { proxy: self.gateway.server.clone(), target, source }
    }

    /// Opens a new connection to the proxy, with TLS if its URL says so.
    async fn reach(&self, deadline: Instant) -> Result<Socket, DialError> {
        let server = &self.gateway.server;
        let socket = self.direct.direct(&server.host, server.port, deadline).await;
        let socket =
            socket.map_err(|source| DialError::ProxyUnreachable { proxy: server.clone(), source: Box::new(source) })?;
        if server.scheme != ProxyScheme::Https {
            return Ok(socket.into());
        }
        let tls = self.gateway.tls.get_or_try_init(|| async { self.trust.client_config().await.map(Arc::new) });
        let tls = Arc::clone(tls.await.map_err(DialError::ProxyTrust)?);
        let failed = |source| DialError::ProxyTls { proxy: server.clone(), source };
        let name = ServerName::try_from(server.host.clone()).map_err(|error| failed(io::Error::other(error)))?;
        Socket::to_proxy(socket, tls, name).await.map_err(failed)
    }

    async fn connect(&self, deadline: Instant) -> Result<(Socket, Vec<u8>), DialError> {
        let scheme = Scheme::of(self.authentication);
        let mut machine = Connect::new(self.host, self.port, scheme).map_err(DialError::Proxy)?;
        let proxy_host = &self.gateway.server.host;
        let mut authenticator = ProxyAuthenticator::new(self.authentication, proxy_host, machine.destination());
        let mut socket = self.reach(deadline).await?;
        let mut turn = match scheme {
            Some(_) => Some(self.gateway.credentials.turn(machine.destination()).await.map_err(DialError::Proxy)?),
            None => None,
        };
        let mut ends = |outcome: Result<(), &ConnectError>| turn.take().into_iter().for_each(|turn| turn.ends(outcome));
        let mut buffer = [0; READ_OCTETS];
        loop {
            if let Some(request) = machine.poll_output() {
                self.send(&mut socket, request).await?;
            }
            match machine.poll_event() {
                Some(ConnectEvent::Challenge(challenge)) => {
                    machine.handle_answer(authenticator.answer(challenge).await);
                }
                Some(ConnectEvent::Reconnect) => {
                    drop(socket);
                    socket = self.reach(deadline).await?;
                    machine.handle_connected();
                }
                Some(ConnectEvent::Tunnel { leftovers }) => {
                    ends(Ok(()));
                    return Ok((socket, leftovers));
                }
                Some(ConnectEvent::Failed(error)) => {
                    ends(Err(&error));
                    return Err(DialError::Proxy(error));
                }
                None => match socket.read(&mut buffer).await.map_err(|error| self.broke(error))? {
                    0 => machine.handle_eof(),
                    read => machine.handle_input(&buffer[..read]),
                },
            }
        }
    }

    async fn socks(&self, deadline: Instant) -> Result<(Socket, Vec<u8>), DialError> {
        let mut machine = Socks::new(self.host, self.port, self.authentication).map_err(DialError::Socks)?;
        let mut socket = self.reach(deadline).await?;
        let mut buffer = [0; READ_OCTETS];
        loop {
            if let Some(message) = machine.poll_output() {
                self.send(&mut socket, message).await?;
            }
            match machine.poll_event() {
                Some(SocksEvent::Tunnel { leftovers }) => return Ok((socket, leftovers)),
                Some(SocksEvent::Failed(error)) => return Err(DialError::Socks(error)),
                None => match socket.read(&mut buffer).await.map_err(|error| self.broke(error))? {
                    0 => machine.handle_eof(),
                    read => machine.handle_input(&buffer[..read]),
                },
            }
        }
    }

    /// Sends octets that may hold credentials, and wipes them.
    async fn send(&self, socket: &mut Socket, octets: Vec<u8>) -> Result<(), DialError> {
        let octets = Zeroizing::new(octets);
        let sent = async {
            socket.write_all(&octets).await?;
            socket.flush().await
        };
        sent.await.map_err(|error| self.broke(error))
    }
}
