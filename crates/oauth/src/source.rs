//! Turns a [`TokenRequest`] into a token. It bounds the requests at once, retries little, respects
//! `Retry-After`, and sends no requests to an authority that is out of order. If an application has
//! two credentials, it uses the one that Entra takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout_at};

use crate::aadsts::Class;
use crate::audience::{self, Mismatch};
use crate::credential::{CredentialError, Credentials};
use crate::endpoint::{TokenEndpoint, TransportError, TransportFault};
use crate::grant::{self, TokenHttpRequest, TokenRequest};
use crate::managed_identity::{IdentityError, ManagedIdentities};
use crate::response::{self, DeviceAuthorization, Granted, NotGranted, OauthError};
use crate::retry::{self, Breaker, RetryBudget};
use crate::token::Token;
use crate::token_key;
use gatepost_config::{Application, Credential, Limits};
use gatepost_core::clock::{Clock, Moment, system_time};
use gatepost_core::jitter;
use gatepost_core::reloadable::Reloadable;
use gatepost_core::secret::{IdToken, RefreshToken};
use gatepost_core::tuple_key::TupleKey;
use gatepost_telemetry::metrics::{DEVICE_CODE, MANAGED_IDENTITY, Metrics, Throttle, TokenOutcome};

/// Retries of one token request.
const RETRIES: u32 = 2;

/// Most endpoints that are paused at once: with `tenant: auto` the logins choose the endpoints.
const PAUSES: usize = 10_000;

/// How long an endpoint is paused that was busy at the last try and gave no time.
const PAUSE: Duration = Duration::from_secs(60);

/// AADSTS700024: an assertion outside its time.
const OUT_OF_TIME: u32 = 700_024;

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchError {
    /// Entra refused.
    Refused(OauthError),
    /// Entra is busy or out of order.
    Busy {
        /// The HTTP status.
        status: u16,
        /// Entra's own code, if it gave one.
        code: Option<u32>,
    },
    /// Something answered that is not a token endpoint.
    Unclear {
        /// The HTTP status.
        status: u16,
        /// What was wrong with the answer.
        why: &'static str,
    },
    /// The token is for something else than what was asked for; it is not used.
    WrongAudience(Mismatch),
    /// No answer.
    Transport(TransportError),
    /// Entra asked for a pause (`Retry-After`, 429), which is not over.
    Paused {
        /// How long it still lasts.
        wait: Duration,
    },
    /// The authority was out of order, so it is not asked for a while.
    Suspended {
        /// When it may be asked again.
        wait: Duration,
    },
    /// Too many requests wait already.
    QueueFull,
    /// The request had to wait too long for its turn.
    NoTurn,
    /// The application's credential cannot be used; Entra was not asked.
    Credential(CredentialError),
    /// The platform gave no token of the managed identity.
    Identity(IdentityError),
}

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
}

impl Issued {
    fn of(sent_at: Moment, granted: Granted, ask: &TokenRequest) -> Result<Self, FetchError> {
        let token = Token {
            access_token: Arc::new(granted.access_token),
            requested_at: sent_at,
            expires_at: sent_at.after(granted.lifetime),
        };
        audience::check(&token.access_token, ask).map_err(FetchError::WrongAudience)?;
        Ok(Self { token, refresh_token: granted.refresh_token, id_token: granted.id_token })
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

/// A pause in the requests to an endpoint.
#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Moment,
    /// Whether the endpoint asked for it.
    asked: bool,
}

/// What the configuration says about token requests.
struct Settings {
    endpoint: Arc<dyn TokenEndpoint>,
    slots: Semaphore,
    waiting: AtomicUsize,
    queue: usize,
    one: Duration,
    total: Duration,
}

impl Settings {
    fn new(endpoint: Arc<dyn TokenEndpoint>, limits: &Limits) -> Self {
        Self {
            endpoint,
            slots: Semaphore::new(limits.token_requests.clamp(1, Semaphore::MAX_PERMITS)),
            waiting: AtomicUsize::new(0),
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
    breakers: DashMap<String, Breaker>,
    /// By [`TokenRequest::throttle_key`].
    pauses: DashMap<TupleKey, Pause>,
    retries: Mutex<RetryBudget>,
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
            breakers: DashMap::new(),
            pauses: DashMap::new(),
            retries: Mutex::default(),
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

    /// Gets a token, within `limits.token_total`; that of a managed identity within 90 seconds.
    ///
    /// # Errors
    /// [`FetchError`]. Only [`FetchError::Refused`] is a verdict about the user or the application.
    /// [`FetchError::WrongAudience`] needs another configuration. All others may pass.
    pub async fn fetch(&self, ask: &TokenRequest) -> Result<Token, FetchError> {
        self.issue(ask).await.map(|issued| issued.token)
    }

    /// Like [`TokenSource::fetch`], but returns everything that comes with the access token.
    ///
    /// # Errors
    /// As [`TokenSource::fetch`].
    pub async fn issue(&self, ask: &TokenRequest) -> Result<Issued, FetchError> {
        if let Credential::ManagedIdentity(identity) = &*ask.application.credential {
            let began = Instant::now();
            let fetched = self.identities.fetch(identity, &ask.scope, &self.clock).await.map_err(FetchError::Identity);
            self.metrics.token_requested(MANAGED_IDENTITY, outcome(fetched.as_ref().err()), began.elapsed());
            let token = fetched?;
            return Ok(Issued { token, refresh_token: None, id_token: None });
        }
        let deadline = Instant::now() + self.settings.get().total;
        let mut refused: Option<FetchError> = None;
        for number in self.credentials.order(ask) {
            let result = self.issue_with(ask, number, deadline).await;
            match result {
                // Entra's refusal of one credential matters more than why the other could not be
                // used.
                Err(error) if error.blames_credential() => {
                    if refused.is_none() || matches!(error, FetchError::Refused(_)) {
                        refused = Some(error);
                    }
                }
                Err(error) if !matches!(error, FetchError::Refused(_)) => return Err(error),
                result => {
                    self.credentials.taken(ask, number);
                    return result;
                }
            }
        }
        // There is at least one credential, which may be [`Credential::None`].
        Err(refused.unwrap_or(FetchError::Credential(CredentialError::NoProof)))
    }

    /// Begins a sign-in by device code (RFC 8628 §3.1). Returns the codes and the time of the
    /// request. It is not retried, because the person who waits for it can ask again.
    ///
    /// # Errors
    /// As [`TokenSource::fetch`].
    pub async fn authorize_device(
        &self,
        application: &Application,
        tenant: &str,
        scope: &str,
    ) -> Result<(Moment, DeviceAuthorization), FetchError> {
        let request = grant::device_authorization_request(application, tenant, scope);
        let key = token_key::of_throttle(application, tenant, scope);
        let deadline = Instant::now() + self.settings.get().total;
        self.attempt(&request, DEVICE_CODE, &key, deadline, response::parse_device).await
    }

    async fn issue_with(&self, ask: &TokenRequest, number: usize, deadline: Instant) -> Result<Issued, FetchError> {
        let pause_key = ask.throttle_key();
        let mut retry = 0;
        let mut before = None;
        let mut was_out_of_time = false;
        loop {
            // Proves anew for each try: an assertion is valid for one request, and a file may have
            // changed.
            let proof = timeout_at(deadline, self.credentials.prove(ask, number)).await;
            let attempted = match proof {
                Ok(Ok(proof)) => {
                    let grant = ask.grant.name();
                    self.attempt(&ask.request(&proof), grant, &pause_key, deadline, response::parse).await
                }
                Ok(Err(error)) => Err(FetchError::Credential(error)),
                Err(_) => Err(FetchError::Credential(CredentialError::Slow)),
            };
            let error = match attempted {
                Ok((sent_at, granted)) => return Issued::of(sent_at, granted, ask),
                Err(error) => error,
            };
            if error.is_out_of_time() && !was_out_of_time {
                // The answer's `Date` has corrected the clock offset.
                was_out_of_time = true;
                continue;
            }
            if !error.was_sent() {
                // The failure of the earlier try matters more than why there was no further one.
                return Err(before.unwrap_or(error));
            }
            let wait = retry::backoff(retry, jitter::fraction());
            let may_retry = retry < RETRIES
                && error.may_pass_at_once()
                && (ask.grant.is_repeatable() || error.never_arrived())
                && !self.pauses.contains_key(&pause_key)
                && Instant::now() + wait < deadline
                && self.retry_budget(RetryBudget::spend);
            if !may_retry {
                if let FetchError::Busy { status, .. } = error {
                    // A pause that the endpoint asked for takes precedence.
                    if !self.pauses.contains_key(&pause_key) {
                        self.pause(&pause_key, PAUSE, status == 429);
                    }
                }
                return Err(error);
            }
            tracing::debug!(?error, "token request failed and is tried again");
            before = Some(error);
            sleep(wait).await;
            retry += 1;
        }
    }

    async fn attempt<T>(
        &self,
        request: &TokenHttpRequest,
        grant: &'static str,
        key: &TupleKey,
        deadline: Instant,
        judge: fn(u16, &[u8]) -> Result<T, NotGranted>,
    ) -> Result<(Moment, T), FetchError> {
        let settings = self.settings.get();
        let _slot = settings.slot(deadline).await?;
        let authority = request.url.origin().ascii_serialization();
        // Checked after the wait for a turn, because the state may have changed meanwhile.
        self.clear_to_send(&authority, key)?;
        self.retry_budget(|budget| {
            budget.earn();
            true
        });
        let sent_at = self.clock.now();
        let began = Instant::now();
        let one = deadline.min(began + settings.one);
        let exchanged = timeout_at(one, settings.endpoint.exchange(request)).await.unwrap_or_else(|_| {
            Err(TransportError { fault: TransportFault::Timeout, detail: "no answer in time".into() })
        });
        let result = exchanged.map_err(FetchError::Transport).and_then(|answer| {
            let judged = judge(answer.status, &answer.body);
            if matches!(judged, Ok(_) | Err(NotGranted::Refused(_))) {
                self.credentials.heard(&authority, answer.date.as_deref());
            }
            judged.map_err(|error| {
                if let (NotGranted::Busy { .. }, Some(value)) = (&error, &answer.retry_after)
                    && let Some(wait) = retry::retry_after(value, system_time())
                {
                    self.pause(key, wait, true);
                }
                if matches!(error, NotGranted::Busy { status: 429, .. }) {
                    self.metrics.throttled(Throttle::Entra);
                }
                FetchError::from(error)
            })
        });
        if !result.as_ref().is_err_and(is_pending) {
            self.metrics.token_requested(grant, outcome(result.as_ref().err()), began.elapsed());
        }
        self.count(&authority, result.as_ref().err());
        Ok((sent_at, result?))
    }

    fn clear_to_send(&self, authority: &str, key: &TupleKey) -> Result<(), FetchError> {
        let now = self.clock.now();
        let pause = self.pauses.get(key).map(|pause| *pause);
        if let Some(Pause { until, asked }) = pause {
            if until > now {
                let wait = until.since(now);
                return Err(if asked { FetchError::Paused { wait } } else { FetchError::Suspended { wait } });
            }
            self.pauses.remove_if(key, |_, pause| pause.until <= now);
        }
        if let Some(mut breaker) = self.breakers.get_mut(authority)
            && !breaker.admits(now, jitter::fraction())
        {
            return Err(FetchError::Suspended { wait: breaker.opens_in(now) });
        }
        Ok(())
    }

    fn pause(&self, key: &TupleKey, wait: Duration, asked: bool) {
        let now = self.clock.now();
        if self.pauses.len() >= PAUSES {
            self.pauses.retain(|_, pause| pause.until > now);
        }
        // Beyond this number the authority's breaker must suffice.
        if self.pauses.len() < PAUSES {
            self.pauses.insert(key.clone(), Pause { until: now.after(wait), asked });
        }
    }

    fn count(&self, authority: &str, error: Option<&FetchError>) {
        let now = self.clock.now();
        match error.filter(|error| error.is_outage()) {
            Some(error) => {
                let opened = self.breakers.entry(authority.to_owned()).or_default().failed(now, jitter::fraction());
                if opened {
                    tracing::warn!(
                        authority,
                        ?error,
                        "Entra does not answer as it should; tokens at hand stay in use, and a probe goes out every 5 to 30 s"
                    );
                }
            }
            None => {
                let closed = self.breakers.get_mut(authority).is_some_and(|mut breaker| breaker.answered(now));
                if closed {
                    tracing::info!(authority, "Entra answers again");
                }
            }
        }
    }

    fn retry_budget(&self, change: impl FnOnce(&mut RetryBudget) -> bool) -> bool {
        change(&mut self.retries.lock())
    }
}

impl FetchError {
    fn was_sent(&self) -> bool {
        !matches!(
            self,
            Self::Paused { .. } | Self::Suspended { .. } | Self::QueueFull | Self::NoTurn | Self::Credential(_)
        )
    }

    /// Whether another credential of the application may succeed (RFC 6749 §5.2, `invalid_client`).
    fn blames_credential(&self) -> bool {
        match self {
            Self::Credential(_) => true,
            Self::Refused(error) => error.error == "invalid_client",
            _ => false,
        }
    }

    fn is_out_of_time(&self) -> bool {
        matches!(self, Self::Refused(OauthError { code: Some(OUT_OF_TIME), .. }))
    }

    /// Whether a retry within the same login makes sense.
    fn may_pass_at_once(&self) -> bool {
        match self {
            Self::Busy { .. } => true,
            Self::Transport(error) => matches!(error.fault, TransportFault::Connect | TransportFault::Timeout),
            _ => false,
        }
    }

    /// Whether Entra cannot have acted on the request.
    fn never_arrived(&self) -> bool {
        matches!(self, Self::Transport(error) if error.fault == TransportFault::Connect)
    }

    /// Whether the authority, or the network to it, failed.
    fn is_outage(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::Transport(_) => true,
            Self::Unclear { status, .. } => !(400..500).contains(status),
            _ => false,
        }
    }
}

impl From<NotGranted> for FetchError {
    fn from(error: NotGranted) -> Self {
        match error {
            NotGranted::Refused(error) => Self::Refused(error),
            NotGranted::Busy { status, code } => Self::Busy { status, code },
            NotGranted::Unclear { status, why } => Self::Unclear { status, why },
        }
    }
}

/// One slot in a queue of bounded length.
#[derive(Debug)]
pub struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    /// Takes a slot, unless `most` are taken.
    pub fn take(taken: &'a AtomicUsize, most: usize) -> Option<Self> {
        if taken.fetch_add(1, Ordering::Relaxed) < most {
            return Some(Self(taken));
        }
        taken.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
