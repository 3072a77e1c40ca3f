//! Turns a [`TokenRequest`] into a token. It bounds the requests at once, respects `Retry-After`, and
//! sends only probes to an authority that is out of order. If an application has two credentials, it
//! uses the one that Entra takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

use crate::aadsts::Class;
use crate::audience;
use crate::choosing::Choosing;
use crate::credential::{Choice, CredentialError, Credentials};
use crate::endpoint::{TokenEndpoint, TransportError, TransportFault};
use crate::fetch_error::FetchError;
use crate::grant::{self, ClientProof, GrantRequest, TokenHttpRequest, TokenRequest};
use crate::managed_identity::ManagedIdentities;
use crate::response::{self, DeviceAuthorization, Granted, NotGranted};
use crate::retry::{self, Admission, Breaker};
use crate::server;
use crate::token::Token;
use crate::tokens::explain;
use gatepost_config::{Application, Credential, Limits};
use gatepost_core::clock::{Clock, Moment, system_time};
use gatepost_core::jitter;
use gatepost_core::reloadable::Reloadable;
use gatepost_core::secret::{IdToken, RefreshToken};
use gatepost_core::tuple_key::TupleKey;
use gatepost_telemetry::metrics::{DEVICE_CODE, MANAGED_IDENTITY, Metrics, Throttle, TokenOutcome};

/// Most endpoints that are paused at once: with `tenant: auto` the logins choose the endpoints.
const PAUSES: usize = 10_000;

/// How long an endpoint is paused that throttles and gives no time. Microsoft's own libraries wait
/// as long.
const THROTTLED: Duration = Duration::from_secs(5);

/// The longest `Retry-After` that counts from an endpoint that is out of order (5xx), because it does
/// not know when it will be well again, and logins wait for it.
const LONGEST_OUT_OF_ORDER: Duration = Duration::from_secs(10);

/// Everything that one answer brought.
#[derive(Debug)]
pub struct Issued {
    /// The access token.
    pub token: Token,
    /// The refresh token for the next one; absent when the grant gives none, or when the present
    /// one stays valid.
    pub refresh_token: Option<RefreshToken>,
    /// Who signed in.
    pub id_token: Option<IdToken>,
    /// The scope of the token, where the server says so.
    pub scope: Option<String>,
}

impl Issued {
    fn of(sent_at: Moment, granted: Granted, ask: &TokenRequest) -> Result<Self, FetchError> {
        let token = Token {
            access_token: Arc::new(granted.access_token),
            requested_at: sent_at,
            expires_at: sent_at.after(granted.lifetime),
        };
        // Tokens of other providers are opaque to a client (RFC 6749 §1.4).
        if let Some(entra) = ask.application.issuer.entra() {
            audience::check(&token.access_token, ask, entra).map_err(FetchError::WrongAudience)?;
        }
        let Granted { refresh_token, id_token, scope, .. } = granted;
        Ok(Self { token, refresh_token, id_token, scope })
    }
}

/// The result of a request, for the metrics.
fn outcome(error: Option<&FetchError>) -> TokenOutcome {
    match error {
        None => TokenOutcome::Granted,
        Some(FetchError::Refused(_)) => TokenOutcome::Refused,
        Some(FetchError::Busy { .. } | FetchError::Paused { .. } | FetchError::Suspended { .. }) => TokenOutcome::Busy,
        Some(_) => TokenOutcome::Failed,
    }
}

/// Whether a person has not finished the sign-in yet. A device code is polled every few seconds.
fn is_pending(error: &FetchError) -> bool {
    matches!(error, FetchError::Refused(refused) if refused.class == Class::Polling)
}

/// What is known about an authority.
#[derive(Debug, Default)]
struct Authority {
    breaker: Breaker,
    /// Notified when an authority that was out of order answers again.
    well: Arc<Notify>,
}

/// The right to send one token request.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// Whether the request finds out if the authority is still out of order.
    pub(super) probe: bool,
    /// When the request must be decided.
    pub(super) deadline: Instant,
}

/// Why a request may not go out now.
pub(super) struct Held {
    /// When it may.
    pub(super) wait: Duration,
    /// Whether waiting makes sense.
    pub(super) may_pass: bool,
    pub(super) error: FetchError,
}

/// What the configuration says about token requests.
struct Settings {
    endpoint: Arc<dyn TokenEndpoint>,
    slots: Semaphore,
    waiting: Arc<AtomicUsize>,
    queue: usize,
    one: Duration,
    total: Duration,
}

impl Settings {
    fn new(endpoint: Arc<dyn TokenEndpoint>, limits: &Limits) -> Self {
        Self {
            endpoint,
            slots: Semaphore::new(limits.token_requests.clamp(1, Semaphore::MAX_PERMITS)),
            waiting: Arc::default(),
            queue: limits.token_queue,
            one: limits.token_request,
            total: limits.token_total,
        }
    }

    async fn slot(&self, deadline: Instant) -> Result<SemaphorePermit<'_>, FetchError> {
        if let Ok(slot) = self.slots.try_acquire() {
            return Ok(slot);
        }
        let _place = Place::take(&self.waiting, self.queue).ok_or(FetchError::QueueFull)?;
        match timeout_at(deadline, self.slots.acquire()).await {
            Ok(Ok(slot)) => Ok(slot),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(FetchError::NoTurn),
        }
    }
}

/// Asks an endpoint for tokens.
pub struct TokenSource {
    settings: Reloadable<Settings>,
    clock: Clock,
    credentials: Credentials,
    identities: ManagedIdentities,
    /// By authority.
    authorities: DashMap<String, Authority>,
    /// Until when requests are paused that would be throttled, by [`TokenRequest::throttle_key`].
    pauses: DashMap<TupleKey, Moment>,
    metrics: Arc<Metrics>,
}

impl TokenSource {
    /// A source with the bounds and deadlines of `limits`.
    pub fn new(endpoint: Arc<dyn TokenEndpoint>, clock: Clock, limits: &Limits) -> Self {
        Self {
            settings: Reloadable::new(Settings::new(endpoint, limits)),
            credentials: Credentials::new(clock.clone()),
            identities: ManagedIdentities::default(),
            clock,
            authorities: DashMap::new(),
            pauses: DashMap::new(),
            metrics: Arc::default(),
        }
    }

    /// Uses these metrics.
    #[must_use]
    pub fn with_metrics(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics, ..self }
    }

    /// Uses another endpoint and other bounds from now on. Requests under way end as they began.
    /// Pauses that authorities asked for stay in force.
    pub fn adjust(&self, endpoint: Arc<dyn TokenEndpoint>, limits: &Limits) {
        self.settings.set(Settings::new(endpoint, limits));
    }

    /// Replaces the platform's endpoints for managed identities. For tests.
    #[must_use]
    pub fn with_identities(self, identities: ManagedIdentities) -> Self {
        Self { identities, ..self }
    }

    /// The credentials of the applications.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Sends a request whose turn it is, once.
    ///
    /// # Errors
    /// [`FetchError`]. Only [`FetchError::Refused`] is a verdict about the user or the application.
    /// [`FetchError::WrongAudience`] needs another configuration. All others may pass.
    pub async fn send(&self, ask: &TokenRequest, turn: Turn) -> Result<Issued, FetchError> {
        if let Credential::ManagedIdentity(identity) = &*ask.application.credential {
            let began = Instant::now();
            let fetched = self.identities.fetch(identity, &ask.scope, &self.clock).await.map_err(FetchError::Identity);
            self.metrics.token_requested(MANAGED_IDENTITY, outcome(fetched.as_ref().err()), began.elapsed());
            let token = fetched?;
            return Ok(Issued { token, refresh_token: None, id_token: None, scope: None });
        }
        let mut choosing = self.choose(ask);
        while let Some(choice) = choosing.next() {
            let result = self.send_with(ask, choice, turn).await;
            if let Some(result) = choosing.settle(result) {
                return result;
            }
        }
        Err(choosing.failure())
    }

    /// The credentials of the application, to be tried in turn.
    pub(super) fn choose<'a>(&'a self, ask: &'a TokenRequest) -> Choosing<'a> {
        Choosing::new(&self.credentials, ask)
    }

    /// The proof of the application for one request.
    ///
    /// # Errors
    /// [`FetchError::Credential`].
    pub(super) async fn proof(
        &self,
        ask: &TokenRequest,
        choice: Choice,
        deadline: Instant,
    ) -> Result<ClientProof, FetchError> {
        match timeout_at(deadline, self.credentials.prove(ask, choice)).await {
            Ok(proof) => proof.map_err(FetchError::Credential),
            Err(_) => Err(FetchError::Credential(CredentialError::Slow)),
        }
    }

    /// Begins a sign-in by device code (RFC 8628 §3.1). Returns the codes and the time of the
    /// request. It is not retried, because the person who waits for it can ask again.
    ///
    /// # Errors
    /// As [`TokenSource::send`].
    pub async fn authorize_device(
        &self,
        application: &Arc<Application>,
        tenant: &str,
        scope: &str,
    ) -> Result<(Moment, DeviceAuthorization), FetchError> {
        let turn = Turn { probe: false, deadline: Instant::now() + self.total() };
        let ask = TokenRequest::of_application(application, tenant, scope);
        // Entra takes a device for a public client.
        if application.issuer.provider().is_none() {
            return self.authorize_device_with(&ask, &ClientProof::None, turn).await;
        }
        // The application proves itself as at the token endpoint (RFC 8628 §3.1).
        let mut choosing = self.choose(&ask);
        while let Some(choice) = choosing.next() {
            let result = match self.proof(&ask, choice, turn.deadline).await {
                Ok(proof) => self.authorize_device_with(&ask, &proof, turn).await,
                Err(error) => Err(error),
            };
            if let Some(result) = choosing.settle(result) {
                return result;
            }
        }
        Err(choosing.failure())
    }

    async fn authorize_device_with(
        &self,
        ask: &TokenRequest,
        proof: &ClientProof,
        turn: Turn,
    ) -> Result<(Moment, DeviceAuthorization), FetchError> {
        let request = grant::device_authorization_request(&ask.application, &ask.tenant, &ask.scope, proof);
        let request = request.ok_or(FetchError::NoDeviceCodes)?;
        let dialect = server::of(&ask.application).dialect();
        self.attempt(&request, DEVICE_CODE, ask, turn, false, |status, body| {
            response::parse_device(status, body, dialect)
        })
        .await
    }

    async fn send_with(&self, ask: &TokenRequest, choice: Choice, turn: Turn) -> Result<Issued, FetchError> {
        let mut was_out_of_time = false;
        loop {
            // Makes a new proof for each try: an assertion is valid for one request, and a file may have
            // changed.
            let proof = self.proof(ask, choice, turn.deadline).await?;
            let (request, grant, dialect) = (ask.request(&proof), &ask.grant, server::of(&ask.application).dialect());
            let judge = |status, body: &[u8]| response::parse(status, body, dialect);
            let attempt = self.attempt(&request, grant.name(), ask, turn, grant.is_repeatable(), judge).await;
            match attempt {
                Ok((sent_at, granted)) => return Issued::of(sent_at, granted, ask),
                // The answer's `Date` has corrected the clock offset.
                Err(error) if error.is_out_of_time() && !was_out_of_time => was_out_of_time = true,
                Err(FetchError::Refused(mut refused)) => {
                    let is_of_service_account = matches!(ask.grant, GrantRequest::ServiceAccount { .. });
                    if refused.class == Class::Administrator || is_of_service_account {
                        refused.presented = self.credentials.presented(ask, choice).await.map(Box::new);
                    }
                    return Err(FetchError::Refused(refused));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends one request, once, and judges its answer. Returns the time of the request with it.
    pub(super) async fn attempt<T>(
        &self,
        request: &TokenHttpRequest,
        grant: &'static str,
        ask: &TokenRequest,
        turn: Turn,
        repeatable: bool,
        judge: impl Fn(u16, &[u8]) -> Result<T, NotGranted>,
    ) -> Result<(Moment, T), FetchError> {
        let (settings, key) = (self.settings.get(), ask.throttle_key());
        let _slot = settings.slot(turn.deadline).await?;
        let authority = request.url.origin().ascii_serialization();
        // Checked after the wait for a slot, because the state may have changed meanwhile.
        self.admit(&authority, &key, turn.probe).map_err(|held| held.error)?;
        let sent_at = self.clock.now();
        let began = Instant::now();
        let one = turn.deadline.min(began + settings.one);
        let no_answer = |detail: &str| TransportError::new(TransportFault::Timeout, detail);
        let well = self.well(&authority);
        let exchanged = tokio::select! {
            exchanged = timeout_at(one, settings.endpoint.exchange(request)) => {
                exchanged.unwrap_or_else(|_| Err(no_answer("no answer in time")))
            }
            // What was sent during an outage may never be answered.
            () = well.notified(), if repeatable => {
                self.metrics.token_requested(grant, TokenOutcome::Failed, began.elapsed());
                return Err(FetchError::Transport(no_answer("no answer, while another request had one")));
            }
        };
        let result = exchanged.map_err(FetchError::Transport).and_then(|answer| {
            let judged = judge(answer.status, &answer.body);
            if matches!(judged, Ok(_) | Err(NotGranted::Refused(_))) {
                self.credentials.heard(&authority, ask.application.issuer.title(), answer.date.as_deref());
            }
            judged.map_err(|error| {
                let asked = answer.retry_after.as_deref().and_then(|value| retry::retry_after(value, system_time()));
                match error {
                    NotGranted::Busy { status: 429, .. } => {
                        self.pause(&key, asked.unwrap_or(THROTTLED));
                        self.metrics.throttled(Throttle::Entra);
                    }
                    NotGranted::Busy { .. } => {
                        if let Some(wait) = asked {
                            self.pause(&key, wait.min(LONGEST_OUT_OF_ORDER));
                        }
                    }
                    _ => {}
                }
                FetchError::from(error)
            })
        });
        if !result.as_ref().is_err_and(is_pending) {
            self.metrics.token_requested(grant, outcome(result.as_ref().err()), began.elapsed());
        }
        self.count(&authority, ask, result.as_ref().err());
        Ok((sent_at, result?))
    }

    /// Whether the request may go out. If it may, returns whether it is a probe.
    pub(super) fn hold(&self, ask: &TokenRequest) -> Result<bool, Held> {
        if matches!(*ask.application.credential, Credential::ManagedIdentity(_)) {
            return Ok(false);
        }
        self.admit(&ask.authority(), &ask.throttle_key(), false)
    }

    /// Like [`Self::hold`]. A request that `is_probe` already need not wait for the authority.
    fn admit(&self, authority: &str, key: &TupleKey, is_probe: bool) -> Result<bool, Held> {
        let now = self.clock.now();
        if let Some(until) = self.pauses.get(key).map(|until| *until) {
            if until > now {
                let wait = until.since(now);
                return Err(Held { wait, may_pass: true, error: FetchError::Paused { wait } });
            }
            self.pauses.remove_if(key, |_, until| *until <= now);
        }
        if is_probe {
            return Ok(true);
        }
        let Some(mut authority) = self.authorities.get_mut(authority) else { return Ok(false) };
        match authority.breaker.admits(now, jitter::fraction()) {
            Admission::Well => Ok(false),
            Admission::Probe => Ok(true),
            Admission::Held { wait, may_pass } => Err(Held { wait, may_pass, error: FetchError::Suspended { wait } }),
        }
    }

    /// How long the authority has been out of order.
    pub(super) fn away_for(&self, ask: &TokenRequest) -> Duration {
        let now = self.clock.now();
        self.authorities.get(&ask.authority()).map_or(Duration::ZERO, |authority| authority.breaker.open_for(now))
    }

    /// Notified when the authority answers again.
    pub(super) fn well(&self, authority: &str) -> Arc<Notify> {
        if let Some(known) = self.authorities.get(authority) {
            return Arc::clone(&known.well);
        }
        Arc::clone(&self.authorities.entry(authority.to_owned()).or_default().well)
    }

    /// A place in the queue of requests that wait, if there is one.
    pub(super) fn place(&self) -> Option<Place> {
        let settings = self.settings.get();
        Place::take(&settings.waiting, settings.queue)
    }

    /// All tries for one token end within this time.
    pub(super) fn total(&self) -> Duration {
        self.settings.get().total
    }

    fn pause(&self, key: &TupleKey, wait: Duration) {
        let now = self.clock.now();
        if self.pauses.len() >= PAUSES {
            self.pauses.retain(|_, until| *until > now);
        }
        // Beyond this number the authority's breaker must suffice.
        if self.pauses.len() < PAUSES {
            self.pauses.insert(key.clone(), now.after(wait));
        }
    }

    fn count(&self, authority: &str, ask: &TokenRequest, error: Option<&FetchError>) {
        let title = ask.application.issuer.title();
        let now = self.clock.now();
        let mut known = self.authorities.entry(authority.to_owned()).or_default();
        match error.filter(|error| error.is_outage()) {
            Some(error) => {
                if known.breaker.failed(now, error.may_pass(), jitter::fraction()) {
                    tracing::warn!(
                        authority,
                        "{title} does not answer as it should: {}. Cached tokens stay in use, and logins without one \
                         wait while one of them asks every second",
                        explain::of(error, ask).message
                    );
                }
            }
            None => {
                if known.breaker.answered(now) {
                    known.well.notify_waiters();
                    tracing::info!(authority, "{title} answers again");
                }
            }
        }
    }
}

/// One slot in a queue of bounded length.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Place {
    /// Takes a slot, unless `most` are taken.
    pub fn take(taken: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        if taken.fetch_add(1, Ordering::Relaxed) < most {
            return Some(Self(Arc::clone(taken)));
        }
        taken.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
pub(crate) mod tests;
