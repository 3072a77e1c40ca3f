//! Everything that is shown, at one moment. The page, `/status.json` and `gatepost status` are made
//! from it.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, timeout};

use super::attention::{Attention, Facts, Health};
use super::queued::QueueView;
use super::view::{
    AccountLine, ConfinementView, DevicePasswordLine, ExpiryLine, FailureLine, ListenerView, ReloadView, SessionLine,
    SignInLine, TokenLine,
};
use crate::admin::state::{AdminState, EndsKnown};
use crate::daemon::certificates;
use crate::daemon::phase::Phase;
use crate::login::overview::{AccountView, SignInView};
use crate::session::ListenerState;
use crate::session::registry::SessionEntry;
use gatepost_config::{Cloud, Config, Credential, Grant, ListenerBackend, ListenerTls, suggestion};
use gatepost_core::account::MailAddress;
use gatepost_core::clock::UnixTime;
use gatepost_oauth::expiry::{Expiry, Renewing};
use gatepost_oauth::tokens::TokenView;
use gatepost_proto::http::rules::HttpService;
use gatepost_store::DevicePassword;
use gatepost_store::queue::QueueError;
use gatepost_telemetry::history::Minute;
use gatepost_telemetry::metrics::Ends;
use gatepost_telemetry::recent::Recent;

/// Most entries of a list that may become long.
pub(super) const MOST: usize = 10_000;
/// Time limit of the store for showing that it is available.
const STORE: Duration = Duration::from_secs(2);
/// How long its answer is cached.
const STORE_KNOWN: Duration = Duration::from_secs(2);
/// How long expiry times of certificates are cached.
const ENDS_KNOWN: Duration = Duration::from_secs(60);

/// The day, UTC, on which EWS ends for everybody (Microsoft, "Retirement of Exchange Web Services
/// in Exchange Online").
pub(super) const EWS_ENDS: &str = "2027-04-01";

/// The whole status.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    pub(super) version: &'static str,
    pub(super) pid: u32,
    pub(super) now: String,
    pub(super) started_at: String,
    pub(super) uptime_seconds: u64,
    pub(super) health: Health,
    /// What needs an administrator, the urgent first.
    pub(super) attention: Vec<Attention>,
    pub(super) ready: bool,
    pub(super) draining: bool,
    /// While it drains: how long the remaining sessions have at most.
    pub(super) drain_seconds_left: Option<u64>,
    /// Why it is not ready.
    pub(super) hindrance: Option<String>,
    pub(super) generation: u64,
    pub(super) last_reload: Option<ReloadView>,
    pub(super) confinement: Option<ConfinementView>,
    pub(super) listeners: Vec<ListenerView>,
    /// Absent if there is no queue.
    pub(super) queue: Option<QueueView>,
    pub(super) accounts: Vec<AccountLine>,
    pub(super) accounts_total: usize,
    pub(super) device_passwords: Vec<DevicePasswordLine>,
    pub(super) device_passwords_total: usize,
    pub(super) sessions: Vec<SessionLine>,
    pub(super) sessions_total: usize,
    pub(super) failures: Vec<FailureLine>,
    pub(super) expiries: Vec<ExpiryLine>,
    pub(super) logins_accepted: u64,
    pub(super) logins_refused: u64,
    pub(super) token_cache_hits: u64,
    pub(super) token_cache_misses: u64,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    #[serde(skip)]
    pub(super) history: Vec<Minute>,
}

impl AdminState {
    /// Returns why the service does not take logins as it should; `None` when it does. Entra and
    /// Exchange are not considered: if one of them fails, every replica is affected, and replacing
    /// replicas does not help.
    pub(super) async fn hindrance(&self) -> Option<String> {
        if !self.control.is_ready() {
            let why = if self.is_draining() { "the service is stopping" } else { "the service is starting" };
            return Some(why.to_owned());
        }
        let mut known = self.known.store.lock().await;
        if let Some((at, answer)) = &*known
            && at.elapsed() < STORE_KNOWN
        {
            return answer.clone();
        }
        let answer = match timeout(STORE, self.shared.authenticator.store().revision()).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("the store does not answer".to_owned()),
        };
        *known = Some((Instant::now(), answer.clone()));
        answer
    }

    fn is_draining(&self) -> bool {
        matches!(self.control.phase(), Phase::Draining { .. })
    }

    /// Returns the expiry of certificates and secrets, looked up at most once a minute.
    pub(super) async fn ends(&self) -> Arc<EndsKnown> {
        let mut known = self.known.ends.lock().await;
        if let Some((at, ends)) = &*known
            && at.elapsed() < ENDS_KNOWN
        {
            return Arc::clone(ends);
        }
        let of_applications = timeout(STORE, self.shared.authenticator.expiries()).await.unwrap_or_default();
        let identities: BTreeSet<PathBuf> = self
            .control
            .listeners()
            .iter()
            .filter_map(|(service, _)| Some(certificates::identity(&service.listener.tls)?.certificate.clone()))
            .collect();
        let read = move || {
            let ends = identities.into_iter().filter_map(|path| certificates::expiry(&path).map(|end| (path, end)));
            ends.collect()
        };
        let of_listeners = tokio::task::spawn_blocking(read).await.unwrap_or_default();
        let ends = Arc::new(EndsKnown { of_applications, of_listeners });
        *known = Some((Instant::now(), Arc::clone(&ends)));
        ends
    }

    /// Updates the metrics that are looked up rather than counted.
    pub(super) async fn measure(&self) {
        let journal = &self.shared.journal;
        journal.add_up();
        let metrics = journal.metrics();
        let hindrance = self.hindrance().await;
        metrics.standing(hindrance.is_none(), self.is_draining());
        let ends = self.ends().await;
        let config = self.shared.authenticator.config();
        let first = |secret: bool| {
            let of_kind = ends.of_applications.iter().filter(|expiry| is_secret(&config, expiry) == secret);
            of_kind.map(|expiry| expiry.expires.0).min()
        };
        metrics.expires(Ends::Secret, first(true));
        metrics.expires(Ends::Certificate, first(false));
        metrics.expires(Ends::Listener, ends.of_listeners.values().map(|end| end.0).min());
    }

    /// Returns what the queue has; `None` if there is no queue.
    async fn queue(&self, now: UnixTime) -> Result<Option<QueueView>, QueueError> {
        match self.control.queue() {
            Some(queue) => QueueView::of(&queue, now).await.map(Some),
            None => Ok(None),
        }
    }

    /// Returns the status at this moment.
    pub(super) async fn status(&self) -> Status {
        let started_at = self.control.started_at();
        let confinement = self
            .control
            .confinement()
            .map(|confinement| ConfinementView { degree: confinement.degree(), report: confinement.report().to_vec() });
        let authenticator = &self.shared.authenticator;
        let journal = &self.shared.journal;
        let now = authenticator.clock().unix_time();
        let config = authenticator.config();
        let mut hindrance = self.hindrance().await;
        let ends = self.ends().await;

        let live = journal.sessions();
        let mut by_account: HashMap<&str, usize> = HashMap::new();
        let mut by_listener: HashMap<&str, usize> = HashMap::new();
        for session in &live {
            *by_account.entry(&session.account).or_default() += 1;
            *by_listener.entry(&session.listener).or_default() += 1;
        }
        let in_use: Vec<_> = by_account.keys().filter_map(|account| MailAddress::parse(account).ok()).collect();
        let (accounts, passwords) = match timeout(STORE, authenticator.overview(in_use)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                hindrance.get_or_insert(error.to_string());
                Default::default()
            }
            Err(_) => {
                hindrance.get_or_insert_with(|| "the store does not answer".to_owned());
                Default::default()
            }
        };
        let traffic = journal.traffic();
        let (logins_accepted, logins_refused) = journal.metrics().logins();
        let (token_cache_hits, token_cache_misses) = journal.metrics().token_lookups();
        let listeners = self.control.listeners();
        let listener = |(service, address): &(Arc<ListenerState>, SocketAddr)| {
            let sessions = by_listener.get(&*service.listener.name).copied().unwrap_or_default();
            listener_view(service, *address, sessions, &ends, &config, now)
        };
        let last_reload = self.control.last_reload().map(|reload| ReloadView {
            at: reload.at.rfc3339(),
            succeeded: reload.outcome.is_ok(),
            error: reload.outcome.err(),
        });
        let account_lines: Vec<_> =
            accounts.iter().take(MOST).map(|account| account_line(account, &by_account)).collect();
        let failures: Vec<_> = journal.failures().into_iter().map(|failure| failure_line(failure, now)).collect();
        let expiries = expiry_lines(&ends, now);
        let queue = self.queue(now).await.unwrap_or_else(|error| {
            hindrance.get_or_insert(error.to_string());
            None
        });
        let queue_failure = journal.queue_failure();
        let facts = Facts {
            hindrance: hindrance.as_deref(),
            queue: queue.as_ref(),
            queue_failure: queue_failure.as_deref(),
            last_reload: last_reload.as_ref(),
            accounts: &account_lines,
            expiries: &expiries,
            failures: &failures,
        };
        let attention = facts.attention();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            now: now.rfc3339(),
            started_at: started_at.rfc3339(),
            uptime_seconds: now.since(started_at).as_secs(),
            health: facts.health(self.is_draining(), &attention),
            attention,
            ready: hindrance.is_none(),
            draining: self.is_draining(),
            drain_seconds_left: match self.control.phase() {
                Phase::Draining { until } => Some(until.since(now).as_secs()),
                Phase::Starting | Phase::Ready | Phase::Reloading => None,
            },
            hindrance,
            generation: self.control.generation(),
            last_reload,
            confinement,
            listeners: listeners.iter().map(listener).collect(),
            queue,
            accounts_total: accounts.len(),
            accounts: account_lines,
            device_passwords_total: passwords.len(),
            device_passwords: device_passwords(passwords),
            sessions_total: live.len(),
            sessions: live.iter().take(MOST).map(|session| session_line(session, now)).collect(),
            failures,
            expiries,
            logins_accepted,
            logins_refused,
            token_cache_hits,
            token_cache_misses,
            bytes_sent: traffic.0,
            bytes_received: traffic.1,
            history: journal.history(),
        }
    }
}

/// Whether the expiry is that of a secret, by the application that it belongs to.
fn is_secret(config: &Config, expiry: &Expiry) -> bool {
    let applications = config.accounts.entries().iter().map(|account| &account.application);
    applications
        .filter(|application| application.client_id == expiry.client_id)
        .any(|application| matches!(*application.credential, Credential::Secrets(_)))
}

fn listener_view(
    service: &ListenerState,
    address: SocketAddr,
    sessions: usize,
    ends: &EndsKnown,
    config: &Config,
    now: UnixTime,
) -> ListenerView {
    let listener = &service.listener;
    let identity = certificates::identity(&listener.tls);
    let end = identity.and_then(|identity| ends.of_listeners.get(&identity.certificate)).copied();
    let is_ews = matches!(&listener.serves, ListenerBackend::Http(http) if http.service == HttpService::Ews);
    let worldwide =
        config.accounts.entries().iter().any(|account| account.application.issuer.cloud() == Some(Cloud::Worldwide));
    ListenerView {
        name: listener.name.to_string(),
        protocol: listener.protocol.name(),
        bind: address.to_string(),
        tls: match listener.tls {
            ListenerTls::None => "none",
            ListenerTls::StartTls(_) => "starttls",
            ListenerTls::Implicit(_) => "implicit",
        },
        certificate_expires_at: end.map(UnixTime::rfc3339),
        certificate_days_left: end.map(|end| days_left(end, now)),
        destination: listener.destination(),
        serves: match &listener.serves {
            ListenerBackend::Relay(_) => "relay",
            ListenerBackend::Submission(_) => "submission",
            ListenerBackend::Maildrop(_) => "maildrop",
            ListenerBackend::Http(_) => "http",
        },
        sessions,
        warning: (is_ews && worldwide)
            .then(|| format!("Microsoft switches EWS off on {EWS_ENDS}: move this client to Microsoft Graph before")),
    }
}

fn days_left(end: UnixTime, now: UnixTime) -> i64 {
    let day = 24 * 3_600;
    let signed = |time: UnixTime| i64::try_from(time.0).unwrap_or(i64::MAX);
    signed(end).saturating_sub(signed(now)).div_euclid(day)
}

/// Returns the name of a grant, as in the configuration.
pub(super) fn grant_name(grant: Grant) -> &'static str {
    match grant {
        Grant::Password => "password",
        Grant::ClientCredentials => "client_credentials",
        Grant::AuthorizationCode => "authorization_code",
        Grant::DeviceCode => "device_code",
    }
}

fn account_line(view: &AccountView, sessions: &HashMap<&str, usize>) -> AccountLine {
    let token = |token: &TokenView| TokenLine {
        resource: match token.resource {
            gatepost_config::Resource::Exchange => "exchange",
            gatepost_config::Resource::Graph => "graph",
        },
        age_seconds: token.age.as_secs(),
        seconds_left: token.left.as_secs(),
    };
    let sign_in = |sign_in: &SignInView| match sign_in {
        SignInView::Missing => SignInLine { state: "missing", username: None, at: None, renewed_at: None, code: None },
        SignInView::SignedIn { username, at, renewed_at } => SignInLine {
            state: "signed-in",
            username: Some(username.clone()),
            at: Some(at.rfc3339()),
            renewed_at: Some(renewed_at.rfc3339()),
            code: None,
        },
        SignInView::Refused { username, refused } => SignInLine {
            state: "refused",
            username: Some(username.clone()),
            at: Some(refused.at.rfc3339()),
            renewed_at: None,
            code: refused.code,
        },
    };
    let provider = view.account.application.issuer.provider();
    AccountLine {
        login: view.login.to_string(),
        grant: grant_name(view.account.grant),
        mailbox: view.account.mailbox.as_ref().map(ToString::to_string),
        tokens: view.tokens.iter().map(token).collect(),
        sign_in: view.sign_in.as_ref().map(sign_in),
        takes_browser: provider.is_none_or(|provider| provider.authorize_url.is_some()),
        takes_code: provider.is_none_or(|provider| provider.device_url.is_some()),
        device_passwords: view.device_passwords,
        wrong_passwords: view.wrong_passwords,
        sessions: sessions.get(view.login.as_str()).copied().unwrap_or_default(),
    }
}

fn device_passwords(mut passwords: Vec<DevicePassword>) -> Vec<DevicePasswordLine> {
    passwords.sort_by(|a, b| (&a.login, &a.name).cmp(&(&b.login, &b.name)));
    let line = |password: DevicePassword| DevicePasswordLine {
        id: password.id.0,
        login: password.login.to_string(),
        name: password.name,
        protocols: password.protocols.iter().map(|protocol| protocol.name()).collect(),
        from: password.from.iter().map(ToString::to_string).collect(),
        created_at: password.created_at.rfc3339(),
        expires_at: password.expires_at.map(UnixTime::rfc3339),
        last_used_at: password.last_use.map(|last_use| last_use.at.rfc3339()),
        last_used_from: password.last_use.map(|last_use| last_use.from.to_string()),
    };
    passwords.into_iter().take(MOST).map(line).collect()
}

fn session_line(session: &SessionEntry, now: UnixTime) -> SessionLine {
    let (bytes_sent, bytes_received) = session.traffic();
    SessionLine {
        id: session.id.to_string(),
        listener: session.listener.to_string(),
        protocol: session.protocol.name(),
        peer: session.peer().to_string(),
        account: session.account.to_string(),
        device: session.device.as_ref().map(|device| device.password().name.clone()),
        since: session.since.rfc3339(),
        seconds: now.since(session.since).as_secs(),
        bytes_sent,
        bytes_received,
    }
}

fn failure_line(failure: Recent, now: UnixTime) -> FailureLine {
    FailureLine {
        cause: failure.cause,
        action_by: failure.actor.name(),
        label: failure.actor.label(),
        code: failure.code,
        message: suggestion::complete(&failure.message).into_owned(),
        remedy: suggestion::complete(&failure.remedy).into_owned(),
        account: failure.account,
        listener: failure.listener.to_string(),
        protocol: failure.protocol.name(),
        peer: failure.peer,
        session: failure.session.to_string(),
        count: failure.count,
        first: failure.first.rfc3339(),
        last: failure.last.rfc3339(),
        seconds_ago: now.since(failure.last).as_secs(),
    }
}

fn expiry_lines(ends: &EndsKnown, now: UnixTime) -> Vec<ExpiryLine> {
    let line = |end: UnixTime, what: String, client_id: &str, renewal: Option<&Renewing>| ExpiryLine {
        what,
        client_id: client_id.to_owned(),
        expires_at: end.rfc3339(),
        days_left: days_left(end, now),
        renews_itself: renewal.is_some(),
        renewal_failure: match renewal {
            Some(Renewing::Failed(why)) => Some(why.clone()),
            _ => None,
        },
    };
    let of_applications = ends
        .of_applications
        .iter()
        .map(|expiry| line(expiry.expires, expiry.what.clone(), &expiry.client_id, expiry.renewal.as_ref()));
    let of_listeners = ends
        .of_listeners
        .iter()
        .map(|(path, end)| line(*end, format!("the listeners' certificate in `{}`", path.display()), "", None));
    let mut all: Vec<_> = of_applications.chain(of_listeners).collect();
    all.sort_by(|a, b| (&a.expires_at, &a.what, &a.client_id).cmp(&(&b.expires_at, &b.what, &b.client_id)));
    all
}
