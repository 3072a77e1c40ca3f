//! Connects to an upstream: dials, sets up TLS, and runs the machine that signs in or learns the
//! capabilities.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustls::ClientConfig;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};

use crate::login::own_token::Judge;
use gatepost_config::{Issuer, Limits, OtherAccounts, Upstream, UpstreamTls};
use gatepost_core::protocol::{MailProtocol, Protocol};
use gatepost_net::dial::Dialer;
use gatepost_net::error::DialError;
use gatepost_net::rate_limiter::{QueueFull, RateLimiter};
use gatepost_net::stream::Stream;
use gatepost_net::tls::TrustError;
use gatepost_net::tls::client::UpstreamTrust;
use gatepost_proto::mail;
use gatepost_proto::mail::{
    Authenticated, Capabilities, Goal, UpstreamEvent, UpstreamFailure, UpstreamSettings, upstream_side,
};
use gatepost_proto::sasl::Bearer;
use gatepost_telemetry::metrics::Metrics;

/// An upstream, and what all sessions with it share.
pub struct Target {
    /// Its configuration.
    pub upstream: Upstream,
    name: ServerName<'static>,
    /// One configuration for all sessions, so that TLS sessions are resumed.
    tls: OnceCell<Arc<ClientConfig>>,
    announced: RwLock<Arc<Capabilities>>,
}

impl Target {
    /// Creates a target that announces what Exchange Online does, until its own list has been
    /// learned.
    ///
    /// # Errors
    /// The upstream's name is neither a DNS name nor an address.
    pub fn new(upstream: Upstream) -> Result<Self, InvalidDnsNameError> {
        let name = ServerName::try_from(upstream.name.clone())?;
        let announced = RwLock::new(Arc::new(mail::exchange_online(upstream.protocol)));
        Ok(Self { upstream, name, tls: OnceCell::new(), announced })
    }

    /// Returns the upstream as a judge of clients' own tokens.
    pub(super) fn judge(&self, protocol: Protocol) -> Judge<'_> {
        Judge { protocol, name: &self.upstream.name }
    }

    /// Returns the list learned last.
    pub fn announced(&self) -> Arc<Capabilities> {
        // The list is replaced as a whole, so it is complete after any panic.
        Arc::clone(&self.announced.read())
    }

    pub(crate) fn announce(&self, learned: Capabilities) {
        *self.announced.write() = Arc::new(learned);
    }
}

/// The mail servers to which the accounts of one listener lead, all of one protocol.
pub struct MailServers {
    own: Arc<Target>,
    others: Vec<(OtherAccounts, Arc<Target>)>,
}

impl MailServers {
    /// Creates the servers of a listener.
    pub fn new(own: Arc<Target>, others: Vec<(OtherAccounts, Arc<Target>)>) -> Self {
        Self { own, others }
    }

    /// Returns the listener's own server, to which all accounts lead that have no other.
    pub fn own(&self) -> &Arc<Target> {
        &self.own
    }

    /// Returns all of them, the listener's own first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Target>> {
        std::iter::once(&self.own).chain(self.others.iter().map(|(_, target)| target))
    }

    /// Returns the protocol, which is the same for all of them.
    pub fn protocol(&self) -> MailProtocol {
        self.own.upstream.protocol
    }

    /// Returns what clients are told before the login, when nobody knows whose account it will be:
    /// what all of the servers announce.
    pub fn announced(&self) -> Arc<Capabilities> {
        let own = self.own.announced();
        if self.others.is_empty() {
            return own;
        }
        let others: Vec<Arc<Capabilities>> = self.others.iter().map(|(_, target)| target.announced()).collect();
        Arc::new(others.iter().fold((*own).clone(), |common, other| common.in_common_with(other)))
    }

    /// Whether all accounts are led to the same servers.
    pub fn leads_where(&self, other: &Self) -> bool {
        let pairs = self.others.iter().zip(&other.others);
        Arc::ptr_eq(&self.own, &other.own)
            && self.others.len() == other.others.len()
            && pairs.into_iter().all(|(one, other)| one.0 == other.0 && Arc::ptr_eq(&one.1, &other.1))
    }

    /// Returns the server of an account. A token of one provider is sent to no server of another.
    ///
    /// # Errors
    /// [`OpenError::NoServer`]: its provider has none for this protocol.
    pub(crate) fn of(&self, issuer: &Issuer, is_personal: bool) -> Result<&Arc<Target>, OpenError> {
        let find = |of: &OtherAccounts| self.others.iter().find(|(known, _)| known == of).map(|(_, target)| target);
        match issuer.provider() {
            Some(provider) => find(&OtherAccounts::Provider(provider.name.clone()))
                .ok_or_else(|| OpenError::NoServer(provider.title.clone())),
            None if is_personal => Ok(find(&OtherAccounts::Personal).unwrap_or(&self.own)),
            None => Ok(&self.own),
        }
    }
}

/// Opens connections to upstreams.
pub struct Opener {
    dialer: Arc<Dialer>,
    rate: RateLimiter,
    trust: Arc<UpstreamTrust>,
    limits: Arc<mail::Limits>,
    login: Duration,
    client_name: Arc<str>,
    metrics: Arc<Metrics>,
}

/// Why an upstream could not be reached or signed in to.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The trusted roots cannot be read.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Too many logins want a connection, so this one would wait too long.
    #[error(transparent)]
    QueueFull(#[from] QueueFull),
    /// There is no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// Octets arrived before our ClientHello where TLS comes first, so this is no tunnel to that
    /// server.
    #[error("the other end spoke before TLS")]
    EarlyBytes,
    /// The handshake failed: certificate, version, or something that is not TLS.
    #[error("TLS handshake")]
    Tls(#[source] io::Error),
    /// The connection broke during the login.
    #[error("exchange with the upstream")]
    Lost(#[source] io::Error),
    /// There was no answer in time.
    #[error("wait for the upstream during {0}")]
    Timeout(&'static str),
    /// It answered with a failure.
    #[error("the upstream answered `{}`", .0.detail)]
    Upstream(UpstreamFailure),
    /// It accepted the token, and the mailbox does not answer, which it did lately.
    #[error("the upstream answered `{}`", .0.detail)]
    Outage(UpstreamFailure),
    /// The provider of the account has no server for this protocol.
    #[error("{0} has no server for this protocol (`hosts` of the provider)")]
    NoServer(String),
    /// It wants no login of this mailbox for so long.
    #[error("the upstream asked for a pause, of which {0:?} are left")]
    Paused(Duration),
}

enum Reached {
    Learned(Capabilities),
    Authenticated(Authenticated),
}

impl Opener {
    /// Creates an opener. `trust` is shared with the token requests.
    pub fn new(dialer: Arc<Dialer>, trust: Arc<UpstreamTrust>, limits: &Limits, client_name: Arc<str>) -> Self {
        let login = limits.upstream_login;
        let rate = RateLimiter::new(limits.upstream_connects_per_second);
        Self { dialer, rate, trust, limits: Arc::clone(&limits.protocol), login, client_name, metrics: Arc::default() }
    }

    /// Counts in `metrics`.
    #[must_use]
    pub fn with_metrics(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics, ..self }
    }

    /// See [`Dialer::network_changed`].
    pub fn network_changed(&self) {
        self.dialer.network_changed();
    }

    /// Connects and signs in, until `end` at the latest.
    ///
    /// # Errors
    /// See [`OpenError`].
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn sign_in(
        &self,
        target: &Target,
        bearer: Bearer,
        end: Instant,
    ) -> Result<(Stream, Authenticated), OpenError> {
        match self.reach(target, Goal::Authenticate(bearer), Some(end)).await? {
            (stream, Reached::Authenticated(authenticated)) => Ok((stream, authenticated)),
            (_, Reached::Learned(_)) => Err(out_of_turn()),
        }
    }

    /// Connects, reads the list of capabilities, and leaves.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn learn(&self, target: &Target) -> Result<Capabilities, OpenError> {
        match self.reach(target, Goal::Learn, None).await? {
            (_, Reached::Learned(capabilities)) => Ok(capabilities),
            (_, Reached::Authenticated(_)) => Err(out_of_turn()),
        }
    }

    async fn reach(&self, target: &Target, goal: Goal, end: Option<Instant>) -> Result<(Stream, Reached), OpenError> {
        let upstream = &target.upstream;
        let tls =
            Arc::clone(target.tls.get_or_try_init(|| async { self.trust.records_config().await.map(Arc::new) }).await?);
        self.rate.acquire().await?;
        let began = Instant::now();
        let dialed = self.dialer.dial(&upstream.host, upstream.port, Duration::MAX).await?;
        let mut stream = Stream::Plain(dialed.socket);
        if upstream.tls == UpstreamTls::Implicit {
            if !dialed.early.is_empty() {
                return Err(OpenError::EarlyBytes);
            }
            stream = handshake(stream, &tls, target, dialed.deadline).await?;
        }
        let mut machine = upstream_side(
            upstream.protocol,
            UpstreamSettings {
                exchange: target.upstream.exchange,
                limits: Arc::clone(&self.limits),
                starttls: upstream.tls == UpstreamTls::StartTls,
                client_name: Arc::clone(&self.client_name),
                goal,
            },
        );
        if !dialed.early.is_empty() {
            machine.handle_input(&dialed.early);
        }
        let limit = Instant::now() + self.login;
        let deadline = end.map_or(limit, |end| end.min(limit));
        let mut buffer = vec![0; 4_096];
        loop {
            let event = machine.poll_event();
            if let Some(output) = machine.poll_output() {
                let written = timeout_at(deadline, stream.write(&output)).await;
                written.map_err(|_| OpenError::Timeout("the login"))?.map_err(OpenError::Lost)?;
            }
            match event {
                Some(UpstreamEvent::StartTls) => {
                    stream = handshake(stream, &tls, target, deadline).await?;
                    machine.tls_established();
                }
                Some(UpstreamEvent::Learned(list)) => return Ok((stream, Reached::Learned(list))),
                Some(UpstreamEvent::Authenticated(proof)) => {
                    self.metrics.upstream_connect.observe(began.elapsed());
                    return Ok((stream, Reached::Authenticated(proof)));
                }
                Some(UpstreamEvent::Failed(failure)) => return Err(OpenError::Upstream(failure)),
                None => {
                    let read = timeout_at(deadline, stream.read(&mut buffer)).await;
                    match read.map_err(|_| OpenError::Timeout("the login"))?.map_err(OpenError::Lost)? {
                        0 => machine.handle_eof(),
                        read => machine.handle_input(&buffer[..read]),
                    }
                }
            }
        }
    }
}

async fn handshake(
    stream: Stream,
    tls: &Arc<ClientConfig>,
    target: &Target,
    deadline: Instant,
) -> Result<Stream, OpenError> {
    let handshake = stream.connect_tls(Arc::clone(tls), target.name.clone());
    timeout_at(deadline, handshake).await.map_err(|_| OpenError::Timeout("the TLS handshake"))?.map_err(OpenError::Tls)
}

/// The error of a machine that reached another goal than its own, which must not happen. The
/// session ends as lost.
fn out_of_turn() -> OpenError {
    OpenError::Lost(io::Error::other("the machine reached another goal than its own"))
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;
    use gatepost_config::{Cloud, Entra, Provider, Tenant};
    use gatepost_proto::mail::TokenExchange;

    fn target(host: &str) -> Arc<Target> {
        let upstream = Upstream {
            protocol: MailProtocol::Smtp,
            host: host.to_owned(),
            port: 587,
            name: host.to_owned(),
            tls: UpstreamTls::StartTls,
            exchange: TokenExchange::EXCHANGE_ONLINE,
        };
        Arc::new(Target::new(upstream).unwrap())
    }

    fn provider(name: &str) -> Issuer {
        Issuer::Provider(Arc::new(Provider {
            name: name.to_owned(),
            title: name.to_owned(),
            authorize_url: None,
            authorize_parameters: &[],
            token_url: Url::parse("https://login.example/token").unwrap(),
            device_url: None,
            revoke_url: None,
            issuers: Vec::new(),
            scope: "mail".to_owned(),
            client_authentication: gatepost_config::ClientAuthentication::Post,
            pkce: true,
            domains: Vec::new(),
            hosts: Vec::new(),
        }))
    }

    #[test]
    fn before_the_login_clients_are_told_what_all_servers_have() {
        let announce = |of: &Arc<Target>, entries: &[&str]| {
            of.announce(Capabilities(entries.iter().map(|&entry| entry.to_owned()).collect()));
        };
        let (own, google) = (target("smtp.office365.com"), target("smtp.gmail.com"));
        announce(&own, &["SIZE 157286400", "DSN", "8BITMIME"]);
        announce(&google, &["SIZE 35882577", "8BITMIME", "SMTPUTF8"]);
        let alone = MailServers::new(Arc::clone(&own), Vec::new());
        assert!(Arc::ptr_eq(&alone.announced(), &own.announced()));
        let others = vec![(OtherAccounts::Provider("google".to_owned()), Arc::clone(&google))];
        let servers = MailServers::new(own, others);
        assert_eq!(servers.announced().0, ["SIZE 35882577", "8BITMIME"]);
        // What a server has learned to do since counts at once.
        announce(&google, &["SIZE 35882577", "8BITMIME", "DSN"]);
        assert_eq!(servers.announced().0, ["SIZE 35882577", "DSN", "8BITMIME"]);
    }

    #[test]
    fn servers_lead_where_others_do_if_each_kind_of_account_has_the_same_one() {
        let (work, personal, google) =
            (target("smtp.office365.com"), target("smtp-mail.outlook.com"), target("smtp.gmail.com"));
        let of = |name: &str| OtherAccounts::Provider(name.to_owned());
        let servers = |own: &Arc<Target>, others: &[(OtherAccounts, &Arc<Target>)]| {
            let others = others.iter().map(|(of, target)| (of.clone(), Arc::clone(target)));
            MailServers::new(Arc::clone(own), others.collect())
        };
        let both = [(OtherAccounts::Personal, &personal), (of("google"), &google)];
        let one = servers(&work, &both);
        assert!(one.leads_where(&servers(&work, &both)));
        assert!(servers(&work, &[]).leads_where(&servers(&work, &[])));
        for other in [
            servers(&google, &both),
            servers(&work, &[]),
            servers(&work, &both[..1]),
            servers(&work, &[(of("google"), &personal), (of("google"), &google)]),
            servers(&work, &[(OtherAccounts::Personal, &personal), (of("google"), &work)]),
            servers(&work, &[(OtherAccounts::Personal, &google), (of("google"), &google)]),
            // Of another server of the same name nobody knows that it is the same.
            servers(&target("smtp.office365.com"), &both),
        ] {
            assert!(!one.leads_where(&other) && !other.leads_where(&one));
        }
    }

    #[test]
    fn each_account_has_the_server_of_its_provider_and_no_other() {
        const WORK: &str = "smtp.office365.com";
        const PERSONAL: &str = "smtp-mail.outlook.com";
        const GOOGLE: &str = "smtp.gmail.com";
        let entra = Issuer::Entra(Entra {
            authority: Url::parse("https://login.microsoftonline.com/").unwrap(),
            tenant: Tenant::Common,
            cloud: Cloud::Worldwide,
        });
        let others = vec![
            (OtherAccounts::Personal, target(PERSONAL)),
            (OtherAccounts::Provider("google".to_owned()), target(GOOGLE)),
        ];
        let servers = MailServers::new(target(WORK), others);
        let host = |issuer: &Issuer, is_personal| servers.of(issuer, is_personal).map(|of| of.upstream.host.clone());
        assert_eq!(host(&entra, false).unwrap(), WORK);
        assert_eq!(host(&entra, true).unwrap(), PERSONAL);
        assert_eq!(host(&provider("google"), false).unwrap(), GOOGLE);
        // Never the listener's own.
        assert!(matches!(host(&provider("other"), false), Err(OpenError::NoServer(title)) if title == "other"));
        // A server that the configuration names is meant for both kinds of Microsoft's accounts.
        let servers = MailServers::new(target("smtp.relay.example"), Vec::new());
        for is_personal in [false, true] {
            assert_eq!(servers.of(&entra, is_personal).unwrap().upstream.host, "smtp.relay.example");
        }
        assert!(servers.of(&provider("google"), false).is_err());
    }
}
